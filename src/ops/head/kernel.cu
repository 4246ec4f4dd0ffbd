// Cross-entropy of rows of logits, one warp per row; COLUMNS is the vocabulary size.

// Cross-entropy of each row's target, and the log-sum-exp of the row.
extern "C" __global__ void cross_entropy(const float* logits, const u32* targets, float* losses,
                                         float* log_sums, u32 rows) {
    const u32 row = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= rows) return;
    logits += (size_t)row * COLUMNS;
    float most = NEGATIVE_INFINITY;
    for (u32 column = lane; column < COLUMNS; column += 32) most = fmaxf(most, logits[column]);
    most = warp_max(most);
    float sum = 0.0f;
    for (u32 column = lane; column < COLUMNS; column += 32) sum += expf(logits[column] - most);
    const float log_sum = most + logf(warp_sum(sum));
    if (lane == 0) {
        log_sums[row] = log_sum;
        losses[row] = log_sum - logits[targets[row]];
    }
}

// Mean of the rows' losses; a single block.
extern "C" __global__ void mean(const float* losses, u32 rows, float* loss) {
    __shared__ double sums[THREADS];
    double sum = 0.0;
    for (u32 row = threadIdx.x; row < rows; row += THREADS) sum += losses[row];
    sums[threadIdx.x] = sum;
    __syncthreads();
    for (u32 half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) *loss = sums[0] / rows;
}

// In place: logits become the gradient of the mean with respect to them, times that of the mean.
extern "C" __global__ void cross_entropy_backward(float* logits, const u32* targets, const float* log_sums,
                                                  const float* dloss, u32 rows) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= rows * COLUMNS) return;
    const u32 row = i / COLUMNS, column = i % COLUMNS;
    const float probability = expf(logits[i] - log_sums[row]);
    logits[i] = (probability - (column == targets[row] ? 1.0f : 0.0f)) * *dloss / rows;
}
