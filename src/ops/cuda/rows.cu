// Element-wise work on rows of the stream, and its norms. WIDTH is the width of the stream.
//
// Sums over rows are computed in two stages, in an order that depends only on the number of rows, so a step
// gives the same bits every time: atomics only count which blocks are done.

// y = (x - mean) / deviation * weight + bias, for the rows `picked[0..rows]` of x, or its first rows if
// `picked` is null; one warp per row. If `bias` is null, the mean counts as 0: an RMS norm. Stores mean and
// 1 / deviation for backward.
extern "C" __global__ void normalise(const float* x, const float* weight, const float* bias,
                                     const u32* picked, float* y, float2* statistics, u32 rows) {
    const u32 row = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= rows) return;
    x += (size_t)(picked ? picked[row] : row) * WIDTH;
    y += (size_t)row * WIDTH;
    float values[PER_LANE(WIDTH)], sum = 0.0f;
#pragma unroll
    for (int i = 0; i < PER_LANE(WIDTH); i++) {
        const u32 column = lane + 32 * i;
        values[i] = column < WIDTH ? x[column] : 0.0f;
        sum += values[i];
    }
    const float mean = bias ? warp_sum(sum) / WIDTH : 0.0f;
    float squares = 0.0f;
#pragma unroll
    for (int i = 0; i < PER_LANE(WIDTH); i++) {
        values[i] -= mean;
        if (lane + 32 * i < WIDTH) squares += values[i] * values[i];
    }
    const float scale = rsqrtf(warp_sum(squares) / WIDTH + 1e-5f);
#pragma unroll
    for (int i = 0; i < PER_LANE(WIDTH); i++) {
        const u32 column = lane + 32 * i;
        if (column < WIDTH) y[column] = values[i] * scale * weight[column] + (bias ? bias[column] : 0.0f);
    }
    if (lane == 0) statistics[row] = make_float2(mean, scale);
}

// Backward of `normalise`: accumulates dx, and writes each block's partial gradients of weight and bias,
// `shares: [blocks, 2 * WIDTH]`, or of the weight alone if `bias` is null.
extern "C" __global__ void normalise_backward(const float* dy, const float* x, const float* weight,
                                              const float* bias, const u32* picked, const float2* statistics,
                                              float* dx, float* shares, u32 rows) {
    __shared__ float sums[2 * WIDTH];
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    float of_weight[PER_LANE(WIDTH)], of_bias[PER_LANE(WIDTH)];
#pragma unroll
    for (int i = 0; i < PER_LANE(WIDTH); i++) of_weight[i] = of_bias[i] = 0.0f;
    for (u32 row = blockIdx.x * WARPS + warp; row < rows; row += gridDim.x * WARPS) {
        const size_t from = (size_t)(picked ? picked[row] : row) * WIDTH;
        const float2 of_row = statistics[row];
        float normed[PER_LANE(WIDTH)], gradient[PER_LANE(WIDTH)], sum = 0.0f, along = 0.0f;
#pragma unroll
        for (int i = 0; i < PER_LANE(WIDTH); i++) {
            const u32 column = lane + 32 * i;
            normed[i] = gradient[i] = 0.0f;
            if (column < WIDTH) {
                const float upstream = dy[(size_t)row * WIDTH + column];
                normed[i] = (x[from + column] - of_row.x) * of_row.y;
                gradient[i] = upstream * weight[column];
                of_weight[i] += upstream * normed[i];
                of_bias[i] += upstream;
            }
            sum += gradient[i];
            along += gradient[i] * normed[i];
        }
        sum = bias ? warp_sum(sum) / WIDTH : 0.0f;
        along = warp_sum(along) / WIDTH;
#pragma unroll
        for (int i = 0; i < PER_LANE(WIDTH); i++) {
            const u32 column = lane + 32 * i;
            if (column < WIDTH) dx[from + column] += of_row.y * (gradient[i] - sum - normed[i] * along);
        }
    }
    sum_over_warps(of_weight, WIDTH, of_bias, WIDTH, sums);
    const u32 columns = bias ? 2 * WIDTH : WIDTH;
    for (u32 column = threadIdx.x; column < columns; column += blockDim.x)
        shares[(size_t)blockIdx.x * columns + column] = sums[column];
}

// Up to three vectors that are treated as one.
struct Vectors {
    float *first, *second, *third;
    u32 of_first, of_second, of_third;
};

__device__ __forceinline__ u32 length_of(const Vectors& to) {
    return to.of_first + to.of_second + to.of_third;
}

// The element for a column.
__device__ __forceinline__ float* element_of(const Vectors& of, u32 column) {
    return column < of.of_first ? of.first + column
        : column < of.of_first + of.of_second ? of.second + (column - of.of_first)
                                              : of.third + (column - of.of_first - of.of_second);
}

// Adds the column sums of `from: [rows, columns]`. First the sums of gridDim.y parts are computed; then the block
// that finishes last adds these up, in order. `counters` counts the finished blocks of each 32 columns; it is 0
// before and after.
extern "C" __global__ void add_column_sums(Matrix from, u32 rows, float* shares, u32* counters, Vectors to) {
    __shared__ bool last;
    const u32 column = blockIdx.x * 32 + threadIdx.x % 32, columns = length_of(to);
    const u32 height = (rows + gridDim.y - 1) / gridDim.y, first = blockIdx.y * height;
    const float sum = column_sum(from.start, from.step, first, min(first + height, rows), column, columns);
    if (threadIdx.x < 32 && column < columns) shares[(size_t)blockIdx.y * columns + column] = sum;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) last = atomicAdd(&counters[blockIdx.x], 1u) == gridDim.y - 1;
    __syncthreads();
    if (!last) return;
    __threadfence();
    const float whole = column_sum(shares, columns, 0, gridDim.y, column, columns);
    if (threadIdx.x < 32 && column < columns) *element_of(to, column) += whole;
    if (threadIdx.x == 0) counters[blockIdx.x] = 0;
}

// Adds the column sums of `shares: [parts, columns]`.
extern "C" __global__ void add_shares(const float* shares, u32 parts, Vectors to) {
    const u32 column = blockIdx.x * 32 + threadIdx.x % 32, columns = length_of(to);
    const float sum = column_sum(shares, columns, 0, parts, column, columns);
    if (threadIdx.x < 32 && column < columns) *element_of(to, column) += sum;
}

// Adds a joined vector to the vectors.
extern "C" __global__ void add_joined(const float* joined, Vectors to) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < length_of(to)) *element_of(to, i) += joined[i];
}

// Adds the vectors to each row.
extern "C" __global__ void add_to_each(Matrix to, u32 rows, Vectors from) {
    const u32 columns = length_of(from);
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < rows * columns) to.row(i / columns)[i % columns] += *element_of(from, i % columns);
}

// y = x + dropout(branch + bias); dropout index: row * WIDTH + column.
extern "C" __global__ void residual(const float* x, const float* branch, const float* bias, float* y, Dropout dropout,
                                    u32 count) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) y[i] = x[i] + (branch[i] + bias[i % WIDTH]) * kept(dropout, i);
}

// Backward of dropout: the gradient of the branch from the gradient of the sum.
extern "C" __global__ void drop(const float* dy, float* dbranch, Dropout dropout, u32 count) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) dbranch[i] = dy[i] * kept(dropout, i);
}

// Activations of an MLP, y: [rows, columns], and their backward passes. All have the same arguments; `gate_bias` is
// used by a gate only.

// Exact GELU, x Φ(x), of `hidden + bias`.
extern "C" __global__ void gelu(const float* hidden, const float* gate_bias, const float* bias, float* y, u32 columns,
                                u32 count) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const float x = hidden[i] + bias[i % columns];
    y[i] = 0.5f * x * (1.0f + erff(x * 0.70710678f));
}

// In place: dy becomes the gradient of `hidden`; the derivative is Φ(x) + x φ(x).
extern "C" __global__ void gelu_backward(const float* hidden, const float* gate_bias, const float* bias, float* dy,
                                         u32 columns, u32 count) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const float x = hidden[i] + bias[i % columns];
    const float share = 0.5f * (1.0f + erff(x * 0.70710678f));
    dy[i] *= share + x * 0.39894228f * expf(-0.5f * x * x);
}

// max(0, x)² of `hidden + bias`; a NaN stays one.
extern "C" __global__ void squared_relu(const float* hidden, const float* gate_bias, const float* bias, float* y,
                                        u32 columns, u32 count) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const float x = hidden[i] + bias[i % columns];
    y[i] = x < 0.0f ? 0.0f : x * x;
}

// In place: dy becomes the gradient of `hidden`.
extern "C" __global__ void squared_relu_backward(const float* hidden, const float* gate_bias, const float* bias,
                                                 float* dy, u32 columns, u32 count) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const float x = hidden[i] + bias[i % columns];
    dy[i] *= x < 0.0f ? 0.0f : 2.0f * x;
}

// silu(gate + gate_bias) * (up + bias), where a row of `hidden` is `columns` gates and as many ups; silu is x σ(x).
extern "C" __global__ void swiglu(const float* hidden, const float* gate_bias, const float* bias, float* y, u32 columns,
                                  u32 count) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const u32 column = i % columns;
    hidden += (size_t)(i / columns) * 2 * columns + column;
    const float gate = hidden[0] + gate_bias[column], up = hidden[columns] + bias[column];
    y[i] = gate / (1.0f + expf(-gate)) * up;
}

// In place: `hidden` becomes its own gradient; the derivative of silu is σ(x) (1 + x (1 - σ(x))).
extern "C" __global__ void swiglu_backward(float* hidden, const float* gate_bias, const float* bias, const float* dy,
                                           u32 columns, u32 count) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const u32 column = i % columns;
    hidden += (size_t)(i / columns) * 2 * columns + column;
    const float gate = hidden[0] + gate_bias[column], up = hidden[columns] + bias[column];
    const float share = 1.0f / (1.0f + expf(-gate));
    hidden[0] = dy[i] * up * share * (1.0f + gate * (1.0f - share));
    hidden[columns] = dy[i] * gate * share;
}
