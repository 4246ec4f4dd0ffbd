// Parts of attention around the kernels of heads.cu; heads lie side by side. HEAD_DIM is the width of a head.

// The gains of a norm of queries, which are the first `query_heads` of a row, and of keys, or their gradients: of each head
// if `by_head` is set, otherwise of each channel. They may be null.
struct Gains {
    float *queries, *keys;
    u32 query_heads, by_head;
};

// What a channel of a normalised head is multiplied by.
__device__ __forceinline__ float gain_of(const Gains& gains, u32 head, u32 channel) {
    const float* gain = head < gains.query_heads ? gains.queries : gains.keys;
    return gain == 0 ? 1.0f : gain[gains.by_head ? head : channel];
}

// 1 / √(share · Σ x² + 1e-6) of a head's channels; a warp calls it.
__device__ __forceinline__ float factor_of(const float* x, u32 lane, float share) {
    float squares = 0.0f;
    for (u32 channel = lane; channel < HEAD_DIM; channel += 32) squares += x[channel] * x[channel];
    return 1.0f / sqrtf(share * warp_sum(squares) + 1e-6f);
}

// Normalises the first `all` heads of each row, in place; one warp each. `kept: [rows, all, HEAD_DIM]` gets them as they
// were, unless it is null.
extern "C" __global__ void normalise(Matrix heads, float* kept, u32 all, u32 rows, float share, Gains gains) {
    const u32 at = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (at >= rows * all) return;
    const u32 head = at % all;
    float* x = heads.row(at / all) + head * HEAD_DIM;
    const float factor = factor_of(x, lane, share);
    for (u32 channel = lane; channel < HEAD_DIM; channel += 32) {
        if (kept != 0) kept[(size_t)at * HEAD_DIM + channel] = x[channel];
        x[channel] *= factor * gain_of(gains, head, channel);
    }
}

// Backward of `normalise`, in place. The grid is [parts, all]: a block has the rows of a part, for one head, and writes its
// share of the gradient of the gain to `shares: [parts, all, HEAD_DIM]`.
extern "C" __global__ void normalise_backward(Matrix gradients, const float* kept, u32 rows, float share, Gains gains,
                                              float* shares) {
    __shared__ float sums[WARPS][PER_LANE(HEAD_DIM) * 32];
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32, all = gridDim.y, head = blockIdx.y;
    float own[PER_LANE(HEAD_DIM)];
    for (int i = 0; i < PER_LANE(HEAD_DIM); i++) own[i] = 0.0f;
    for (u32 row = blockIdx.x * WARPS + warp; row < rows; row += gridDim.x * WARPS) {
        float* d = gradients.row(row) + head * HEAD_DIM;
        const float* x = kept + ((size_t)row * all + head) * HEAD_DIM;
        const float factor = factor_of(x, lane, share);
        float along = 0.0f;
        for (int i = 0; i < PER_LANE(HEAD_DIM); i++) {
            const u32 channel = lane + 32 * i;
            if (channel >= HEAD_DIM) continue;
            own[i] += d[channel] * x[channel] * factor;
            d[channel] *= gain_of(gains, head, channel);
            along += d[channel] * x[channel];
        }
        along = share * factor * factor * warp_sum(along);
        for (u32 channel = lane; channel < HEAD_DIM; channel += 32)
            d[channel] = factor * (d[channel] - along * x[channel]);
    }
    for (int i = 0; i < PER_LANE(HEAD_DIM); i++) sums[warp][lane + 32 * i] = own[i];
    __syncthreads();
    for (u32 channel = threadIdx.x; channel < HEAD_DIM; channel += blockDim.x) {
        float sum = 0.0f;
        for (int w = 0; w < WARPS; w++) sum += sums[w][channel];
        shares[((size_t)blockIdx.x * all + head) * HEAD_DIM + channel] = sum;
    }
}

// Adds the shares to the gradients of the gains: of heads of queries if `by_head` is set, otherwise of the channels of
// queries and then of keys.
extern "C" __global__ void add_gains(const float* shares, u32 parts, u32 all, Gains dgains, u32 count) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const u32 by_head = dgains.by_head, query_heads = dgains.query_heads;
    const bool of_keys = !by_head && i >= HEAD_DIM;
    const u32 first = by_head ? i : of_keys ? query_heads : 0, end = by_head ? i + 1 : of_keys ? all : query_heads;
    const u32 channel = by_head ? 0 : i % HEAD_DIM, channels = by_head ? HEAD_DIM : 1;
    float sum = 0.0f;
    for (u32 part = 0; part < parts; part++)
        for (u32 head = first; head < end; head++)
            for (u32 c = 0; c < channels; c++) sum += shares[((size_t)part * all + head) * HEAD_DIM + channel + c];
    (of_keys ? dgains.keys : dgains.queries)[by_head ? i : channel] += sum;
}

// Multiplies heads, `[tokens, width]`, by the sigmoid of `gates: [tokens, gates_of_token]`.
extern "C" __global__ void gate(const float* heads, const float* gates, float* gated, u32 width, u32 gates_of_token,
                                u32 count) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    gated[i] = heads[i] * sigmoid(gates[(size_t)(i / width) * gates_of_token + i % width / (width / gates_of_token)]);
}

// Backward of `gate`: turns the gradient of the gated heads into that of the heads, and writes that of the gates; one thread
// for each of `count` gates.
extern "C" __global__ void gate_backward(const float* heads, float* dheads, const float* gates, float* dgates, u32 width,
                                         u32 gates_of_token, u32 count) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const u32 channels = width / gates_of_token;
    const size_t first = (size_t)(i / gates_of_token) * width + i % gates_of_token * channels;
    const float open = sigmoid(gates[i]);
    float along = 0.0f;
    for (u32 channel = 0; channel < channels; channel++) {
        along += heads[first + channel] * dheads[first + channel];
        dheads[first + channel] *= open;
    }
    dgates[i] = open * (1.0f - open) * along;
}

// Accumulates the gradient of each map's sink, whose weight is `e^(sink - statistic)`; one block per map.
// `statistics` and `along` are `[queries, maps]`, as in heads.cu.
extern "C" __global__ void sink_backward(const float* sinks, const float* statistics, const float* along, float* dsinks,
                                         u32 queries) {
    __shared__ float sums[WARPS];
    const u32 map = blockIdx.x, maps = gridDim.x;
    float sum = 0.0f;
    for (u32 query = threadIdx.x; query < queries; query += blockDim.x) {
        const size_t at = (size_t)query * maps + map;
        sum += expf(sinks[map] - statistics[at]) * along[at];
    }
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (int w = 0; w < WARPS; w++) dsinks[map] -= sums[w];
}

// The head that a warp handles, and where its document's rows start and end.
struct HeadRows {
    u32 head, start, first, end;
};

// Of the warp that has document `at / heads`; the rows before `first` are done.
__device__ __forceinline__ HeadRows rows_of(const DocumentRows& rows, u32 at, u32 heads) {
    const u32 document = at / heads;
    return {at % heads, rows.starts[document], rows.firsts[document], rows.ends[document]};
}

// Running sums of the logarithms of forget gates over each document, going on from the row before the first;
// `gates: [rows, heads]`, and the sums may take their place. One warp per document and head.
extern "C" __global__ void sum_gates(Matrix gates, Matrix sums, DocumentRows rows, u32 heads, float divisor) {
    const u32 at = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (at >= rows.count * heads) return;
    const HeadRows own = rows_of(rows, at, heads);
    float before = own.first > own.start ? sums.row(own.first - 1)[own.head] : 0.0f;
    for (u32 tile = own.first; tile < own.end; tile += 32) {
        // The lanes after a row's have the rows before it.
        const u32 row = tile + 31 - lane;
        const float x = row < own.end ? gates.row(row)[own.head] : 0.0f;
        float gate = 0.0f;
        if (row < own.end) gate = (fminf(x, 0.0f) - log1pf(expf(-fabsf(x)))) / divisor;
        const float sum = gate + scan_after<false>(gate, lane, &before);
        if (row < own.end) sums.row(row)[own.head] = sum;
    }
}

// Backward of `sum_gates`: writes the gradients of the gates, given those of the sums, and further ones unless they are
// null; `[rows, heads]` each.
extern "C" __global__ void sum_gates_backward(const float* gates, const float* dsums, const float* further, float* dgates,
                                              DocumentRows rows, u32 heads, float divisor) {
    const u32 at = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (at >= rows.count * heads) return;
    const HeadRows own = rows_of(rows, at, heads);
    float after = 0.0f;
    for (u32 tiles = (own.end - own.first + 31) / 32; tiles > 0; tiles--) {
        const u32 row = own.first + 32 * (tiles - 1) + lane;
        const size_t to = (size_t)row * heads + own.head;
        float d = 0.0f;
        if (row < own.end) d = dsums[to] + (further ? further[to] : 0.0f);
        const float sum = d + scan_after<false>(d, lane, &after);
        // The derivative of log σ(x) is σ(-x).
        if (row < own.end) dgates[to] = sum / (divisor * (1.0f + expf(gates[to])));
    }
}
