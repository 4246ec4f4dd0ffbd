// Talking heads: scores are mixed over the heads before they become weights, and weights before they weigh values
// (Shazeer et al. 2020, Talking-Heads Attention, §3).
//
// All heads of a query are needed at once, so maps are stored: `[queries, heads, step]`, 0 after the last key that a query
// attends to. In training a query's keys are those of its document; `h.key_starts` has the position of each query, and
// `h.query_starts` is null. In decoding `h.key_starts` has the number of keys of each query, and `h.query_starts` its
// sequence, with room for `h.context` keys.

// Maps of `queries` queries, `step` columns each.
struct Maps {
    Heads heads;
    u32 step, queries;
};

// Number of rows of all maps.
__device__ __forceinline__ u32 rows_of(const Maps& maps) { return maps.queries * maps.heads.maps; }

// A query of a head: the row at which its keys start, and its last key.
struct Row {
    u32 query, head, first, last;
};

__device__ __forceinline__ Row row_of(const Heads& h, u32 at) {
    const u32 query = at / h.maps, head = at % h.maps, number = h.key_starts[query];
    if (h.query_starts == 0) return {query, head, query - number, number};
    return {query, head, h.query_starts[query] * h.context, number - 1};
}

__device__ __forceinline__ bool sees(const Heads& h, const Row& row, u32 key) {
    return key + h.hidden <= row.last && key >= first_key_of(row.last, h.window);
}

__device__ __forceinline__ float dropped(const Heads& h, const Row& row, u32 key) {
    return kept(h.dropout, drop_index(h, row.query, row.head, key));
}

// What is added to the score of a key.
__device__ __forceinline__ float addend_of(const Heads& h, const Row& row, u32 key) {
    return addend_of(h, row.head, slope_of(h, row.head), row.first, key, row.last);
}

// The weight of a key before any sum divides it.
__device__ __forceinline__ float part_of(const Heads& h, const Row& row, float score, u32 key) {
    if (!sees(h, row, key)) return 0.0f;
    return weight_of_score(h, capped(h, score), addend_of(h, row, key), row.last);
}

// The score of a key in a softmax.
__device__ __forceinline__ float exponent_of(const Heads& h, const Row& row, float score, u32 key) {
    return sees(h, row, key) ? capped(h, score) + addend_of(h, row, key) : NEGATIVE_INFINITY;
}

// The products of rows, `[queries, heads * HEAD_DIM]`, with each of the keys, or of the values if `of_values` is set; these are
// multiplied by dropout. One warp per query and head.
extern "C" __global__ void compare(Maps maps, Matrix rows, u32 of_values, float* map) {
    const u32 at = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (at >= rows_of(maps)) return;
    const Heads& h = maps.heads;
    const Row row = row_of(h, at);
    const float* own = rows.row(row.query) + row.head * HEAD_DIM;
    const float* others = (of_values ? h.values : h.keys) + (size_t)row.first * h.key_step + row.head / h.group * HEAD_DIM;
    for (u32 key = lane; key < maps.step; key += 32) {
        float sum = 0.0f;
        if (key <= row.last) {
            for (u32 channel = 0; channel < HEAD_DIM; channel++) sum += own[channel] * others[(size_t)key * h.key_step + channel];
            sum = of_values ? sum * dropped(h, row, key) : scaled(h, sum, key);
        }
        map[(size_t)at * maps.step + key] = sum;
    }
}

// mixed[h] = Σ_k matrix[h, k] map[k], or with the transposed matrix; one thread per element.
extern "C" __global__ void mix_maps(Maps maps, const float* matrix, u32 transposed, const float* map, float* mixed) {
    const u32 heads = maps.heads.maps;
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x, of_query = (size_t)heads * maps.step;
    if (i >= maps.queries * of_query) return;
    const u32 head = i % of_query / maps.step;
    const float* from = map + i / of_query * of_query + i % maps.step;
    float sum = 0.0f;
    for (u32 other = 0; other < heads; other++)
        sum += matrix[transposed ? other * heads + head : head * heads + other] * from[(size_t)other * maps.step];
    mixed[i] = sum;
}

// Accumulates the gradient of a matrix that mixed maps, given that of the mixed ones; the grid is [heads, heads].
extern "C" __global__ void matrix_gradient(Maps maps, const float* map, const float* dmixed, float* dmatrix) {
    __shared__ float sums[WARPS];
    const u32 head = blockIdx.x, other = blockIdx.y, heads = gridDim.x;
    float sum = 0.0f;
    for (u32 query = threadIdx.x / 32; query < maps.queries; query += WARPS) {
        const float* d = dmixed + ((size_t)query * heads + head) * maps.step;
        const float* of = map + ((size_t)query * heads + other) * maps.step;
        for (u32 key = threadIdx.x % 32; key < maps.step; key += 32) sum += d[key] * of[key];
    }
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (int w = 0; w < WARPS; w++) dmatrix[head * heads + other] += sums[w];
}

// From mixed scores to weights, and the logarithm of each query's sum of exponentials in a softmax, its sink's included;
// one warp per query and head.
extern "C" __global__ void weigh(Maps maps, const float* scores, float* weights, float* statistics) {
    const u32 at = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (at >= rows_of(maps)) return;
    const Heads& h = maps.heads;
    const Row row = row_of(h, at);
    scores += (size_t)at * maps.step;
    weights += (size_t)at * maps.step;
    float most = h.sink ? sink_of(h, row.head) : NEGATIVE_INFINITY, total = 0.0f, left = 1.0f;
    if (h.similarity == SOFTMAX) {
        for (u32 key = lane; key <= row.last; key += 32) most = fmaxf(most, exponent_of(h, row, scores[key], key));
        most = warp_max(most);
        for (u32 key = lane; key <= row.last; key += 32) total += expf(exponent_of(h, row, scores[key], key) - most);
        total = warp_sum(total) + (h.sink ? expf(sink_of(h, row.head) - most) : 0.0f);
        if (lane == 0) statistics[at] = most + logf(total);
    }
    // Stick-breaking starts at the last key.
    for (u32 tiles = (maps.step + 31) / 32; tiles > 0; tiles--) {
        const u32 key = 32 * (tiles - 1) + lane;
        const float score = key < maps.step ? scores[key] : 0.0f;
        float weight = h.similarity == SOFTMAX ? expf(exponent_of(h, row, score, key) - most) / total : part_of(h, row, score, key);
        if (STICKS) weight *= scan_after<true>(1.0f - weight, lane, &left);
        if (key < maps.step) weights[key] = weight;
    }
}

// The gradient of the bias of each bucket of distances, from those of a query's keys; one lane per bucket.
__device__ __forceinline__ float bucket_gradient(const float* d, u32 last, u32 lane) {
    const u32 end = lane == BUCKETS - 1 ? last + 1 : min(first_distance_of(lane + 1), last + 1);
    float sum = 0.0f;
    for (u32 distance = first_distance_of(lane); distance < end; distance++) sum += d[last - distance];
    return sum;
}

// Backward of `weigh`, in place: from the gradients of weights to those of what is added to mixed scores. Writes
// `along: [queries, heads]`, the sum of weights times their gradients, and `daddends` as `attend_backward_queries` does.
extern "C" __global__ void weigh_backward(Maps maps, const float* scores, const float* weights, float* d, float* along,
                                          float* daddends) {
    const u32 at = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (at >= rows_of(maps)) return;
    const Heads& h = maps.heads;
    const Row row = row_of(h, at);
    scores += (size_t)at * maps.step;
    weights += (size_t)at * maps.step;
    d += (size_t)at * maps.step;
    float all = 0.0f, added = 0.0f, later = 0.0f;
    for (u32 key = lane; key < maps.step; key += 32) all += d[key] * weights[key];
    all = warp_sum(all);
    if (lane == 0) along[at] = all;
    for (u32 tiles = (maps.step + 31) / 32; tiles > 0; tiles--) {
        const u32 key = 32 * (tiles - 1) + lane;
        const bool is_key = key < maps.step;
        const float weight = is_key ? weights[key] : 0.0f, own = is_key ? d[key] * weight : 0.0f;
        float gradient = h.similarity == SIGMOID ? own * (1.0f - weight) : own - weight * all;
        if (STICKS) {
            const float up_to = all - scan_after<false>(own, lane, &later);
            gradient = own - (is_key ? part_of(h, row, scores[key], key) : 0.0f) * up_to;
        }
        if (is_key) d[key] = gradient;
        added += gradient;
    }
    __syncwarp();
    if (h.bias == FORGET) added = warp_sum(added);
    if (h.bias == FORGET && lane == 0) daddends[at] = added;
    if (h.bias == RELATIVE)
        daddends[((size_t)row.query * BUCKETS + lane) * h.maps + row.head] = bucket_gradient(d, row.last, lane);
}

// Writes the sum of each key's column of a map, `[keys, heads]`, or subtracts it; one thread each.
extern "C" __global__ void sum_columns(Maps maps, const float* map, u32 subtract, float* sums) {
    const u32 at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= rows_of(maps)) return;
    const Heads& h = maps.heads;
    const Row row = row_of(h, at);
    float sum = 0.0f;
    for (u32 query = row.query; query < maps.queries && (query == row.query || h.key_starts[query] > 0); query++)
        sum += map[((size_t)query * h.maps + row.head) * maps.step + row.last];
    sums[at] = subtract ? sums[at] - sum : sum;
}

// In place: from the gradients of bounded scores to those of the scores; one thread per element.
extern "C" __global__ void cap_backward(Maps maps, const float* scores, float* d) {
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < (size_t)rows_of(maps) * maps.step) d[i] *= cap_slope(maps.heads, capped(maps.heads, scores[i]));
}

// out = map · keys, times the scale, or map · values with dropout: `[queries, heads * HEAD_DIM]`; one warp per query and
// head.
extern "C" __global__ void apply_rows(Maps maps, const float* map, u32 of_values, Matrix out) {
    const u32 at = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (at >= rows_of(maps)) return;
    const Heads& h = maps.heads;
    const Row row = row_of(h, at);
    const float* others = (of_values ? h.values : h.keys) + (size_t)row.first * h.key_step + row.head / h.group * HEAD_DIM;
    float sums[PER_LANE(HEAD_DIM)] = {};
    for (u32 key = 0; key <= row.last; key++) {
        const float weight = map[(size_t)at * maps.step + key] * (of_values ? dropped(h, row, key) : h.scale);
        for (int i = 0; i < PER_LANE(HEAD_DIM); i++)
            if (lane + 32 * i < HEAD_DIM) sums[i] += weight * others[(size_t)key * h.key_step + lane + 32 * i];
    }
    for (int i = 0; i < PER_LANE(HEAD_DIM); i++)
        if (lane + 32 * i < HEAD_DIM) out.row(row.query)[row.head * HEAD_DIM + lane + 32 * i] = sums[i];
}

// The same with the map transposed, for the gradients of keys and values; one warp per key and head of keys.
extern "C" __global__ void apply_columns(Maps maps, const float* map, u32 of_values, Matrix rows, Matrix out) {
    const Heads& h = maps.heads;
    const u32 at = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32, kv_heads = h.maps / h.group;
    if (at >= maps.queries * kv_heads) return;
    const u32 token = at / kv_heads, key = h.key_starts[token];
    float sums[PER_LANE(HEAD_DIM)] = {};
    for (u32 query = token; query < maps.queries && (query == token || h.key_starts[query] > 0); query++) {
        for (u32 member = 0; member < h.group; member++) {
            const Row row = row_of(h, query * h.maps + at % kv_heads * h.group + member);
            const float factor = of_values ? dropped(h, row, key) : h.scale;
            const float weight = map[((size_t)query * h.maps + row.head) * maps.step + key] * factor;
            const float* own = rows.row(query) + row.head * HEAD_DIM;
            for (int i = 0; i < PER_LANE(HEAD_DIM); i++)
                if (lane + 32 * i < HEAD_DIM) sums[i] += weight * own[lane + 32 * i];
        }
    }
    for (int i = 0; i < PER_LANE(HEAD_DIM); i++)
        if (lane + 32 * i < HEAD_DIM) out.row(token)[at % kv_heads * HEAD_DIM + lane + 32 * i] = sums[i];
}
