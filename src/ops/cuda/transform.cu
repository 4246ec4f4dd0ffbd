// Transformations of queries and keys between their projection and attention; heads lie side by side.
// HEAD_DIM is the width of a head.

// Rotates the first `channels` channels of each head, in the first `columns` of each row, pair by pair, by their position
// times base^(-2 pair / channels) (Su et al. 2021, RoFormer, §3.2.2); a `sign` of -1 rotates back.
extern "C" __global__ void rotate(Matrix heads, u32 columns, const u32* positions, u32 rows, double base, u32 channels,
                                  float sign) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x, pairs = columns / 2;
    if (i >= rows * pairs) return;
    const u32 row = i / pairs, pair = i % pairs, of_head = pair % ((HEAD_DIM + 1) / 2);
    if (2 * of_head >= channels) return;
    const double turn = pow(base, -2.0 * of_head / channels);
    float sine, cosine;
    sincosf((float)(positions[row] * turn), &sine, &cosine);
    sine *= sign;
    float* at = heads.row(row) + 2 * pair;
    const float x = at[0], y = at[1];
    at[0] = x * cosine - y * sine;
    at[1] = x * sine + y * cosine;
}

// In place, of the first `columns` of each row: the feature map φ(x) = elu(x) + 1, or max(x, 0) if `relu` is set.
extern "C" __global__ void activate(Matrix heads, u32 columns, u32 rows, u32 relu) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= rows * columns) return;
    float* at = heads.row(i / columns) + i % columns;
    const float x = *at;
    *at = relu ? fmaxf(x, 0.0f) : x > 0.0f ? x + 1.0f : expf(x);
}

// Backward of `activate`, given what it wrote; φ' is 1 where φ > 1, and φ elsewhere.
extern "C" __global__ void activate_backward(Matrix gradients, Matrix heads, u32 columns, u32 rows, u32 relu) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= rows * columns) return;
    const float y = heads.row(i / columns)[i % columns];
    gradients.row(i / columns)[i % columns] *= relu ? (y > 0.0f ? 1.0f : 0.0f) : fminf(y, 1.0f);
}
