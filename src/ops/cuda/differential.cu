// Heads with two maps, of which the second is subtracted: to the kernels of attention they are two heads that share keys
// and values, whose queries have zeros in the channels of the other map. HEAD_DIM is the width of a head; the outputs of
// both maps lie side by side.

#define HALF ((HEAD_DIM + 1) / 2)

// Where the channel of a query's map goes: `[tokens, heads, 2, HEAD_DIM]`.
__device__ __forceinline__ size_t spread_at(u32 i, u32 map) { return ((size_t)(i / HEAD_DIM) * 2 + map) * HEAD_DIM + i % HEAD_DIM; }

// Queries for each map: the channels of its half, and zeros for the other.
extern "C" __global__ void spread(Matrix queries, u32 width, float* maps, u32 count) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const u32 map = i % HEAD_DIM / HALF;
    maps[spread_at(i, map)] = queries.row(i / width)[i % width];
    maps[spread_at(i, 1 - map)] = 0.0f;
}

// Backward of `spread`.
extern "C" __global__ void gather(const float* maps, Matrix queries, u32 width, u32 count) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    queries.row(i / width)[i % width] = maps[spread_at(i, i % HEAD_DIM / HALF)];
}

// The sum over the maps of each head, `[rows, heads, 2]`.
extern "C" __global__ void sum_maps(const float* maps, float* sums, u32 count) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) sums[i] = maps[2 * i] + maps[2 * i + 1];
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

// out = (1 - start) gain · o / √(mean(o²) + epsilon), o = first - λ second; one warp per head of a token.
extern "C" __global__ void difference(const float* maps, const float* lambda, const float* gain, float* out, float start,
                                      float epsilon, u32 rows) {
    const u32 row = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= rows) return;
    const float2 powers = powers_of(lambda, lane);
    const float factor = powers.x - powers.y + start;
    const float *first = maps + (size_t)row * 2 * HEAD_DIM, *second = first + HEAD_DIM;
    float weighted[PER_LANE(HEAD_DIM)], squares = 0.0f;
#pragma unroll
    for (int i = 0; i < PER_LANE(HEAD_DIM); i++) {
        const u32 channel = lane + 32 * i;
        weighted[i] = channel < HEAD_DIM ? first[channel] - factor * second[channel] : 0.0f;
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
extern "C" __global__ void difference_backward(const float* maps, const float* lambda, const float* gain, const float* dout,
                                               float* dmaps, float* shares, float start, float epsilon, u32 rows) {
    __shared__ float sums[HEAD_DIM + 1];
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const float2 powers = powers_of(lambda, lane);
    const float factor = powers.x - powers.y + start;
    float of_gain[PER_LANE(HEAD_DIM)], of_factor = 0.0f;
#pragma unroll
    for (int i = 0; i < PER_LANE(HEAD_DIM); i++) of_gain[i] = 0.0f;
    for (u32 row = blockIdx.x * WARPS + warp; row < rows; row += gridDim.x * WARPS) {
        const size_t at = (size_t)row * HEAD_DIM;
        const float *first = maps + 2 * at, *second = first + HEAD_DIM;
        float weighted[PER_LANE(HEAD_DIM)], upstream[PER_LANE(HEAD_DIM)], squares = 0.0f, along = 0.0f;
#pragma unroll
        for (int i = 0; i < PER_LANE(HEAD_DIM); i++) {
            const u32 channel = lane + 32 * i;
            const bool there = channel < HEAD_DIM;
            weighted[i] = there ? first[channel] - factor * second[channel] : 0.0f;
            upstream[i] = there ? dout[at + channel] * (1.0f - start) : 0.0f;
            squares += weighted[i] * weighted[i];
            along += upstream[i] * (there ? gain[channel] : 0.0f) * weighted[i];
        }
        const float scale = rsqrtf(warp_sum(squares) / HEAD_DIM + epsilon);
        along = warp_sum(along) / HEAD_DIM * scale * scale;
#pragma unroll
        for (int i = 0; i < PER_LANE(HEAD_DIM); i++) {
            const u32 channel = lane + 32 * i;
            if (channel >= HEAD_DIM) continue;
            const float gradient = scale * (upstream[i] * gain[channel] - weighted[i] * along);
            of_gain[i] += upstream[i] * weighted[i] * scale;
            of_factor -= gradient * second[channel];
            dmaps[2 * at + channel] = gradient;
            dmaps[2 * at + HEAD_DIM + channel] = -factor * gradient;
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
