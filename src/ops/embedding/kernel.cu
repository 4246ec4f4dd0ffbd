// Rows of tables: embeddings. WIDTH is that of a row.

// x[t] = dropout(tokens[ids[t]] + positions[places[t]]); without `tokens` the position alone.
extern "C" __global__ void embed(const float* tokens, const u32* ids, const float* positions,
                                 const u32* places, float* x, Dropout dropout, u32 count) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const u32 row = i / WIDTH, column = i % WIDTH;
    float sum = positions[(size_t)places[row] * WIDTH + column];
    if (tokens) sum += tokens[(size_t)ids[row] * WIDTH + column];
    x[i] = sum * kept(dropout, i);
}

// Sums of the gradients of some tokens that have read one row of a table: `spans[b]` is where the tokens of
// block b start and end in `order`. Written to `shares[b]`.
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

// Adds to a row of a table, `owners[b].x`, the shares `owners[b].y` to `owners[b].z`, in order.
extern "C" __global__ void add_to_rows(const float* shares, const uint3* owners, float* table) {
    const uint3 owner = owners[blockIdx.x];
    for (u32 column = threadIdx.x; column < WIDTH; column += blockDim.x) {
        float sum = 0.0f;
        for (u32 share = owner.y; share < owner.z; share++) sum += shares[(size_t)share * WIDTH + column];
        table[(size_t)owner.x * WIDTH + column] += sum;
    }
}
