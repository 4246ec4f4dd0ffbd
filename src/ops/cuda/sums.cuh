// Sums in an order that depends only on the sizes, so that a step gives the same bits every time.

// Sums two consecutive vectors over the warps of a block, in the order of the warps, into `sums`; a lane
// has every 32nd element. All threads must call it, and `sums` is complete when it returns.
template <int FIRST, int SECOND>
__device__ __forceinline__ void sum_over_warps(const float (&first)[FIRST], u32 of_first, const float (&second)[SECOND],
                                               u32 of_second, float* sums) {
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    for (u32 turn = 0; turn < WARPS; turn++) {
        if (turn == warp) {
#pragma unroll
            for (int i = 0; i < FIRST; i++) {
                const u32 at = lane + 32 * i;
                if (at < of_first) sums[at] = (turn ? sums[at] : 0.0f) + first[i];
            }
#pragma unroll
            for (int i = 0; i < SECOND; i++) {
                const u32 at = of_first + lane + 32 * i;
                if (lane + 32 * i < of_second) sums[at] = (turn ? sums[at] : 0.0f) + second[i];
            }
        }
        __syncthreads();
    }
}

// Sums 32 columns over a block's rows: each thread sums every WARPS-th row of a column. The first 32
// threads have the results.
__device__ float column_sum(const float* from, u32 step, u32 first, u32 end, u32 column, u32 columns) {
    __shared__ float sums[WARPS][32];
    const u32 across = threadIdx.x % 32, down = threadIdx.x / 32;
    float sum = 0.0f;
    if (column < columns) {
        // Four loads in flight at a time. They bypass the L1 cache, which does not see writes of other
        // blocks.
        const size_t turn = (size_t)WARPS * step;
        u32 row = first + down;
        for (; row + 3 * WARPS < end; row += 4 * WARPS) {
            const float *at = from + (size_t)row * step + column, *below = at + 2 * turn;
            const float a = __ldcg(at), b = __ldcg(at + turn);
            const float c = __ldcg(below), d = __ldcg(below + turn);
            sum += (a + b) + (c + d);
        }
        for (; row < end; row += WARPS) sum += __ldcg(from + (size_t)row * step + column);
    }
    __syncthreads();
    sums[down][across] = sum;
    __syncthreads();
    sum = 0.0f;
    if (down == 0)
        for (int i = 0; i < WARPS; i++) sum += sums[i][across];
    return sum;
}
