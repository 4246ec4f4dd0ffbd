// The KV cache of incremental decoding: appending to it, and attending to it.

// Copies the entries of tokens, `entries: [tokens, 2 * width + numbers]`, into the caches of keys, of values, and of
// further numbers of each token: those of token `sources[i]` go to `slots[i]`.
extern "C" __global__ void append(const float* entries, u32 width, u32 numbers, const u32* sources, const u32* slots,
                                  float* keys, float* values, float* further, u32 count) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x, step = 2 * width + numbers;
    if (i >= count * step) return;
    const u32 entry = i / step, column = i % step;
    const size_t slot = slots[entry];
    const float x = entries[(size_t)sources[entry] * step + column];
    if (column < width) keys[slot * width + column] = x;
    else if (column < 2 * width) values[slot * width + column - width] = x;
    else further[slot * numbers + column - 2 * width] = x;
}

// Each query attends to the first `h.key_starts[query]` keys of its sequence's cache; one warp per query and map.
// `h.query_starts` has the sequence of each query, `h.key_step` is the stride of keys, and a sequence has room for
// `h.context` of them.
extern "C" __global__ void attend_cached(Heads h, float* out, u32 queries) {
    __shared__ __align__(16) float own[WARPS][WHOLE];
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const u32 at = blockIdx.x * WARPS + warp;
    if (at >= queries * h.maps) return;
    const u32 query = at / h.maps, map = at % h.maps;
    for (u32 channel = lane; channel < WHOLE; channel += 32)
        own[warp][channel] = channel < HEAD_DIM
            ? h.queries[(size_t)query * h.query_step + map * HEAD_DIM + channel] : 0.0f;
    __syncwarp();
    const u32 first_row = h.query_starts[query] * h.context;
    const size_t row = (size_t)first_row * h.key_step + map / h.group * HEAD_DIM;
    const u32 last = h.key_starts[query] - 1, first = first_key_of(last, h.window);
    const float slope = slope_of(h, map);
    float weighted[PER_LANE(HEAD_DIM)], most = NEGATIVE_INFINITY, total = 0.0f, left = 1.0f;
#pragma unroll
    for (int i = 0; i < PER_LANE(HEAD_DIM); i++) weighted[i] = 0.0f;
    const u32 tiles = (last - first) / 32 + 1;
    for (u32 i = 0; i < tiles; i++) {
        // Stick-breaking starts at the last key.
        const u32 tile = first + 32 * (STICKS ? tiles - 1 - i : i), key = tile + lane;
        const bool seen = key + h.hidden <= last;
        float score = 0.0f, weight;
        if (seen) {
            const float* of_key = h.keys + row + (size_t)key * h.key_step;
            for (u32 channel = 0; channel < HEAD_DIM; channel++) score += of_key[channel] * own[warp][channel];
            score = capped(h, scaled(h, score, key));
        }
        const float addend = seen ? addend_of(h, map, slope, first_row, key, last) : 0.0f;
        if (h.similarity != SOFTMAX) {
            weight = seen ? weight_of_score(h, score, addend, last) : 0.0f;
            if (STICKS) weight *= scan_after<true>(1.0f - weight, lane, &left);
        } else {
            score = seen ? score + addend : NEGATIVE_INFINITY;
            const float larger = fmaxf(most, warp_max(score));
            const float before = expf(most - larger);
            weight = seen ? expf(score - larger) : 0.0f;
            total *= before;
#pragma unroll
            for (int i = 0; i < PER_LANE(HEAD_DIM); i++) weighted[i] *= before;
            most = larger;
        }
        total += warp_sum(weight);
        const u32 count = min(32u, last + 1 - tile);
        for (u32 j = 0; j < count; j++) {
            const float of_key = __shfl_sync(0xffffffffu, weight, j);
            const float* of_value = h.values + row + (size_t)(tile + j) * h.key_step;
#pragma unroll
            for (int i = 0; i < PER_LANE(HEAD_DIM); i++) {
                const u32 channel = lane + 32 * i;
                if (channel < HEAD_DIM) weighted[i] += of_key * of_value[channel];
            }
        }
    }
    if (!has_sum(h)) total = 1.0f;
    if (h.sink) {
        const float sink = sink_of(h, map), larger = fmaxf(most, sink), before = expf(most - larger);
        total = total * before + expf(sink - larger);
#pragma unroll
        for (int i = 0; i < PER_LANE(HEAD_DIM); i++) weighted[i] *= before;
    }
#pragma unroll
    for (int i = 0; i < PER_LANE(HEAD_DIM); i++) {
        const u32 channel = lane + 32 * i;
        if (channel < HEAD_DIM) out[((size_t)query * h.maps + map) * HEAD_DIM + channel] = weighted[i] / total;
    }
}
