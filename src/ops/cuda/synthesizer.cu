// The keys of the synthesizer. HEAD_DIM is the width of a head.

// Keys of tokens, the same for every head of keys: the column of `w2: [HEAD_DIM, all]` for the token's position.
extern "C" __global__ void lay_keys(Matrix keys, u32 width, const float* w2, u32 all, const u32* positions, u32 count) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const u32 row = i / width, column = i % width;
    keys.row(row)[column] = w2[column % HEAD_DIM * all + positions[row]];
}

// Adds the gradients of all keys at a position, over documents and heads, to that position's column of
// `w2: [HEAD_DIM, all]`, and those of scores, `dscores: [keys, heads]`, to its bias; one block per position.
extern "C" __global__ void add_to_positions(Matrix dkeys, u32 kv_heads, const float* dscores, u32 heads,
                                            const u32* starts, u32 documents, float* dw2, float* db2, u32 all) {
    __shared__ float sums[HEAD_DIM + 1];
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32, position = blockIdx.x;
    float of_keys[PER_LANE(HEAD_DIM)], of_score = 0.0f;
#pragma unroll
    for (int i = 0; i < PER_LANE(HEAD_DIM); i++) of_keys[i] = 0.0f;
    for (u32 pair = warp; pair < documents * heads; pair += WARPS) {
        const u32 head = pair % heads, token = starts[pair / heads] + position;
        if (token >= starts[pair / heads + 1]) continue;
        of_score += dscores[(size_t)token * heads + head];
        if (head >= kv_heads) continue;
#pragma unroll
        for (int i = 0; i < PER_LANE(HEAD_DIM); i++) {
            const u32 channel = lane + 32 * i;
            if (channel < HEAD_DIM) of_keys[i] += dkeys.row(token)[head * HEAD_DIM + channel];
        }
    }
    // Every lane has the complete sum of the score; one column takes that of the first.
    const float of_row[1] = {of_score};
    sum_over_warps(of_keys, HEAD_DIM, of_row, 1, sums);
    for (u32 column = threadIdx.x; column <= HEAD_DIM; column += blockDim.x) {
        if (column < HEAD_DIM) dw2[column * all + position] += sums[column];
        else db2[position] += sums[column];
    }
}
