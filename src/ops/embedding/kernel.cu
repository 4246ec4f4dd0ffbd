// Embeddings: rows of tables. WIDTH is the width of a row.

// x[t] = dropout(token_table[ids[t]] + position_table[positions[t]]); a null table of positions is left out.
extern "C" __global__ void embed(const float* token_table, const u32* ids, const float* position_table,
                                 const u32* positions, float* x, Dropout dropout, u32 count) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const u32 row = i / WIDTH, column = i % WIDTH;
    float sum = position_table ? position_table[(size_t)positions[row] * WIDTH + column] : 0.0f;
    sum += token_table[(size_t)ids[row] * WIDTH + column];
    x[i] = sum * kept(dropout, i);
}

// Sums the gradients of tokens that used the same row of a table: `spans[b]` is the start and end of block
// b's tokens in `order`. The result goes to `shares[b]`.
extern "C" __global__ void gather_gradients(const float* dx, const u32* order, const uint2* spans,
                                            float* shares, Dropout dropout) {
    const uint2 span = spans[blockIdx.x];
    for (u32 column = threadIdx.x; column < WIDTH; column += blockDim.x) {
        float sum = 0.0f;
        for (u32 i = span.x; i < span.y; i++) {
            const u32 at = order[i] * WIDTH + column;
            sum += dx[at] * kept(dropout, at);
        }
        shares[(size_t)blockIdx.x * WIDTH + column] = sum;
    }
}

// Adds the partial sums `owners[b].y` to `owners[b].z`, in order, to row `owners[b].x` of a table.
extern "C" __global__ void add_to_rows(const float* shares, const uint3* owners, float* table) {
    const uint3 owner = owners[blockIdx.x];
    for (u32 column = threadIdx.x; column < WIDTH; column += blockDim.x) {
        float sum = 0.0f;
        for (u32 share = owner.y; share < owner.z; share++) sum += shares[(size_t)share * WIDTH + column];
        table[(size_t)owner.x * WIDTH + column] += sum;
    }
}
