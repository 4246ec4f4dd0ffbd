// Differences of the outputs of two attention maps. HEAD_DIM is the width of a head; a row is one head of
// one token.

#define HALF (HEAD_DIM / 2)
// Attention divides by √HEAD_DIM, but a map has only half of the channels.
#define ROOT_OF_TWO 1.41421356f

// Queries for each map, `[tokens, width]`: the channels of its half, and zeros for the other.
extern "C" __global__ void halve(const float* queries, u32 step, u32 width, float* first, float* second, u32 count) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const float query = queries[(size_t)(i / width) * step + i % width] * ROOT_OF_TWO;
    const bool of_first = i % HEAD_DIM < HALF;
    first[i] = of_first ? query : 0.0f;
    second[i] = of_first ? 0.0f : query;
}

// Backward of `halve`: adds the gradients of the second map to those of the first,
// `heads: [tokens, 3 * width]`, of queries, keys and values.
extern "C" __global__ void join(float* heads, u32 width, const float* queries, const float* keys_and_values, u32 count) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const u32 row = i / (3 * width), column = i % (3 * width);
    if (column < width) {
        const bool of_first = column % HEAD_DIM < HALF;
        heads[i] = ROOT_OF_TWO * (of_first ? heads[i] : queries[(size_t)row * width + column]);
    } else {
        heads[i] += keys_and_values[(size_t)row * 2 * width + column - width];
    }
}

// exp(λ_q1·λ_k1) and exp(λ_q2·λ_k2) of `lambda: [2, HEAD_DIM]`, the same for every lane.
__device__ float2 powers_of(const float* lambda, u32 lane) {
    float first = 0.0f, second = 0.0f;
    for (u32 channel = lane; channel < HEAD_DIM; channel += 32) {
        const float product = lambda[channel] * lambda[HEAD_DIM + channel];
        if (channel < HALF) first += product;
        else second += product;
    }
    return make_float2(expf(warp_sum(first)), expf(warp_sum(second)));
}

// out = (1 - start) gain · o / √(mean(o²) + epsilon), o = first - λ second; one warp per row.
extern "C" __global__ void difference(const float* first, const float* second, const float* lambda, const float* gain,
                                      float* out, float start, float epsilon, u32 rows) {
    const u32 row = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= rows) return;
    const float2 powers = powers_of(lambda, lane);
    const float factor = powers.x - powers.y + start;
    float weighted[PER_LANE(HEAD_DIM)], squares = 0.0f;
#pragma unroll
    for (int i = 0; i < PER_LANE(HEAD_DIM); i++) {
        const u32 channel = lane + 32 * i;
        const size_t at = (size_t)row * HEAD_DIM + channel;
        weighted[i] = channel < HEAD_DIM ? first[at] - factor * second[at] : 0.0f;
        squares += weighted[i] * weighted[i];
    }
    const float scale = rsqrtf(warp_sum(squares) / HEAD_DIM + epsilon) * (1.0f - start);
#pragma unroll
    for (int i = 0; i < PER_LANE(HEAD_DIM); i++) {
        const u32 channel = lane + 32 * i;
        if (channel < HEAD_DIM) out[(size_t)row * HEAD_DIM + channel] = weighted[i] * scale * gain[channel];
    }
}

// Backward of `difference`: writes the gradients of both maps' outputs, and each block's partial gradients
// of the gain and of λ, `shares: [blocks, HEAD_DIM + 1]`.
extern "C" __global__ void difference_backward(const float* first, const float* second, const float* lambda,
                                               const float* gain, const float* dout, float* dfirst, float* dsecond,
                                               float* shares, float start, float epsilon, u32 rows) {
    __shared__ float sums[HEAD_DIM + 1];
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const float2 powers = powers_of(lambda, lane);
    const float factor = powers.x - powers.y + start;
    float of_gain[PER_LANE(HEAD_DIM)], of_factor = 0.0f;
#pragma unroll
    for (int i = 0; i < PER_LANE(HEAD_DIM); i++) of_gain[i] = 0.0f;
    for (u32 row = blockIdx.x * WARPS + warp; row < rows; row += gridDim.x * WARPS) {
        float weighted[PER_LANE(HEAD_DIM)], upstream[PER_LANE(HEAD_DIM)], squares = 0.0f, along = 0.0f;
#pragma unroll
        for (int i = 0; i < PER_LANE(HEAD_DIM); i++) {
            const u32 channel = lane + 32 * i;
            const size_t at = (size_t)row * HEAD_DIM + channel;
            const bool there = channel < HEAD_DIM;
            weighted[i] = there ? first[at] - factor * second[at] : 0.0f;
            upstream[i] = there ? dout[at] * (1.0f - start) : 0.0f;
            squares += weighted[i] * weighted[i];
            along += upstream[i] * (there ? gain[channel] : 0.0f) * weighted[i];
        }
        const float scale = rsqrtf(warp_sum(squares) / HEAD_DIM + epsilon);
        along = warp_sum(along) / HEAD_DIM * scale * scale;
#pragma unroll
        for (int i = 0; i < PER_LANE(HEAD_DIM); i++) {
            const u32 channel = lane + 32 * i;
            if (channel >= HEAD_DIM) continue;
            const size_t at = (size_t)row * HEAD_DIM + channel;
            const float gradient = scale * (upstream[i] * gain[channel] - weighted[i] * along);
            of_gain[i] += upstream[i] * weighted[i] * scale;
            of_factor -= gradient * second[at];
            dfirst[at] = gradient;
            dsecond[at] = -factor * gradient;
        }
    }
    const float of_row[1] = {warp_sum(of_factor)};
    sum_over_warps(of_gain, HEAD_DIM, of_row, 1, sums);
    for (u32 column = threadIdx.x; column <= HEAD_DIM; column += blockDim.x)
        shares[(size_t)blockIdx.x * (HEAD_DIM + 1) + column] = sums[column];
}

// Adds the partial gradients, in a fixed order, to those of the gain and of the vectors of λ; a single
// block.
extern "C" __global__ void add_to_learned(const float* shares, u32 parts, const float* lambda, float* dgain,
                                          float* dlambda) {
    __shared__ float of_factor;
    for (u32 first = 0; first <= HEAD_DIM; first += 32) {
        const u32 column = first + threadIdx.x % 32;
        const float sum = column_sum(shares, HEAD_DIM + 1, 0, parts, column, HEAD_DIM + 1);
        if (threadIdx.x < 32 && column < HEAD_DIM) dgain[column] += sum;
        if (threadIdx.x < 32 && column == HEAD_DIM) of_factor = sum;
    }
    __syncthreads();
    const float2 powers = powers_of(lambda, threadIdx.x % 32);
    for (u32 channel = threadIdx.x; channel < HEAD_DIM; channel += blockDim.x) {
        const float of_product = of_factor * (channel < HALF ? powers.x : -powers.y);
        dlambda[channel] += of_product * lambda[HEAD_DIM + channel];
        dlambda[HEAD_DIM + channel] += of_product * lambda[channel];
    }
}
