// One AdamW step over all tensors of a model. A block processes CHUNK elements of one tensor.

// Elements per thread.
#define EACH (CHUNK / THREADS)

struct Slot {
    float *weights, *gradient, *first, *second;
    u32 count;
    float decay, rate;
};

// The tensor that a block works on, and its first element.
struct Chunk {
    u32 slot, start;
};

// Metrics for the host.
struct Report {
    double loss, norm;
};

__device__ double block_sum(double x) {
    __shared__ double sums[THREADS];
    sums[threadIdx.x] = x;
    __syncthreads();
    for (u32 half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
        __syncthreads();
    }
    return sums[0];
}

// Sum of the squares of each chunk's gradient.
extern "C" __global__ void squares(const Slot* slots, const Chunk* chunks, double* sums) {
    const Chunk chunk = chunks[blockIdx.x];
    const Slot slot = slots[chunk.slot];
    const u32 end = min(chunk.start + CHUNK, slot.count);
    double sum = 0.0;
    for (u32 i = chunk.start + threadIdx.x; i < end; i += THREADS) {
        const double g = slot.gradient[i];
        sum += g * g;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// Norm of the whole gradient, stored with the loss; a single block.
extern "C" __global__ void gradient_norm(const double* sums, u32 count, const float* loss, Report* report) {
    double sum = 0.0;
    for (u32 i = threadIdx.x; i < count; i += THREADS) sum += sums[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) {
        report->loss = *loss;
        report->norm = sqrt(sum);
    }
}

// AdamW (optimiser/mod.rs has the formula), skipped if the loss or the norm is not finite.
extern "C" __global__ void adamw(const Slot* slots, const Chunk* chunks, const Report* report, float clip_norm,
                                 float beta1, float beta2, float correction1,
                                 float correction2, float epsilon) {
    const Chunk chunk = chunks[blockIdx.x];
    const Slot slot = slots[chunk.slot];
    const u32 end = min(chunk.start + CHUNK, slot.count);
    const double loss = report->loss, norm = report->norm;
    if (!isfinite(loss) || !isfinite(norm)) return;
    // As PyTorch's clip_grad_norm_.
    const float scale = clip_norm > 0.0f ? fmin(clip_norm / (norm + 1e-6), 1.0) : 1.0;
    const float rate = slot.rate, decayed = 1.0f - rate * slot.decay;
    // All loads are issued before the first store.
    float w[EACH], g[EACH], m[EACH], v[EACH];
#pragma unroll
    for (int k = 0; k < EACH; k++) {
        const u32 i = chunk.start + threadIdx.x + THREADS * k;
        if (i >= end) continue;
        w[k] = slot.weights[i];
        g[k] = slot.gradient[i];
        m[k] = slot.first[i];
        v[k] = slot.second[i];
    }
#pragma unroll
    for (int k = 0; k < EACH; k++) {
        const u32 i = chunk.start + threadIdx.x + THREADS * k;
        if (i >= end) continue;
        const float gradient = g[k] * scale;
        m[k] = beta1 * m[k] + (1.0f - beta1) * gradient;
        v[k] = beta2 * v[k] + (1.0f - beta2) * gradient * gradient;
        slot.first[i] = m[k];
        slot.second[i] = v[k];
        const float direction = (m[k] / correction1) / (sqrtf(v[k] / correction2) + epsilon);
        slot.weights[i] = w[k] * decayed - rate * direction;
    }
}
