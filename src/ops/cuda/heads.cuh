// Shared by the attention kernels: what is added to a score, and how scores become weights. HEAD_DIM is the width of a
// head.

// Length of a row in shared memory: whole vectors of four.
#define WHOLE ((HEAD_DIM + 3) / 4 * 4)

struct Heads {
    // With row strides `query_step` and `key_step`.
    const float *queries, *keys, *values;
    const u32 *query_starts, *key_starts;
    // Added to the product of a query and a key by the key's position; may be null.
    const float* position_bias;
    // The score of the sink of each map; null if there are none, or if they are 0.
    const float* sinks;
    // For RELATIVE, the bias of each bucket of distances, `[BUCKETS, heads]`. For FORGET, the cumulative sums of
    // each key's log forget gates, `[keys, heads]` with row stride `addend_step`.
    const float* addends;
    u32 query_step, key_step, addend_step;
    // Number of attention maps, how many of them share a key/value head, and how many belong to one query head.
    u32 maps, group, maps_of_head;
    // Number of keys that a query attends to, its own being the last.
    u32 window;
    // How scores become weights; what positions add to them; whether there are sinks.
    u32 similarity, bias, sink;
    // Number of keys, counted back from its own, that a query does not attend to.
    u32 hidden;
    // `softcap` is 0 if scores are not capped.
    float scale, softcap;
    Dropout dropout;
    // Number of keys that a dropout index reserves per query.
    u32 context;
};

// `similarity`: as in scoring.rs. The weights of those before SIGMOID are divided by their sum.
#define SOFTMAX 0
#define FEATURES 1
#define TAYLOR 2
#define SIGMOID 3
#define PRODUCT 4
#define STICK_BREAKING 5

// `bias`: as in scoring.rs. From RELATIVE on it is learned, or depends on the tokens.
#define NO_BIAS 0
#define ALIBI 1
#define DECAY 2
#define RELATIVE 3
#define FORGET 4

// What holds for all kernels of a source is a compile-time constant, which saves registers: whether there is a position
// bias, whether the bias is RELATIVE or FORGET, and whether weights are those of stick-breaking.
#ifndef POSITION_BIAS
#define POSITION_BIAS (h.position_bias != 0)
#define LEARNED_BIAS (h.bias >= RELATIVE)
#define STICKS (h.similarity == STICK_BREAKING)
#endif

// The first key that a query attends to whose last one is `last`.
__device__ __forceinline__ u32 first_key_of(u32 last, u32 window) {
    return last + 1 > window ? last + 1 - window : 0;
}

// Number of query heads, and that of a map.
__device__ __forceinline__ u32 heads_of(const Heads& h) { return h.maps / h.maps_of_head; }
__device__ __forceinline__ u32 head_of(const Heads& h, u32 map) { return map / h.maps_of_head; }

// What is subtracted from a score per unit of distance: ALiBi (Press et al. 2022, §3), or the decay of retention (Sun et
// al. 2023, §2.1).
__device__ __forceinline__ float slope_of(const Heads& h, u32 map) {
    const u32 head = head_of(h, map);
    if (h.bias == DECAY) return -log1pf(-exp2f(-5.0f - (float)head));
    return h.bias == ALIBI ? exp2f(-8.0f * (head + 1) / heads_of(h)) : 0.0f;
}

#define BUCKETS 32

// The bucket of a distance: see relative.rs. No limit between two buckets is near a whole number, but those of 16 and
// 128, which are exact.
__device__ __forceinline__ u32 bucket_of(u32 distance) {
    if (distance < BUCKETS / 2) return distance;
    return min(BUCKETS / 2 + (u32)(log2f((float)distance / 16.0f) * (16.0f / 3.0f)), BUCKETS - 1u);
}

// The smallest distance of a bucket.
__device__ __forceinline__ u32 first_distance_of(u32 bucket) {
    return bucket < BUCKETS / 2 ? bucket : (u32)ceilf(16.0f * exp2f((float)(bucket - BUCKETS / 2) * (3.0f / 16.0f)));
}

// What is added to the scaled product of a query and a key, of a document whose keys start at the row `first`; `last` is
// the query's own key.
__device__ __forceinline__ float addend_of(const Heads& h, u32 map, float slope, u32 first, u32 key, u32 last) {
    float addend = -slope * (float)(last - key);
    if (LEARNED_BIAS && h.bias == RELATIVE) addend += h.addends[bucket_of(last - key) * heads_of(h) + head_of(h, map)];
    if (LEARNED_BIAS && h.bias == FORGET) {
        const float* sums = h.addends + (size_t)first * h.addend_step + head_of(h, map);
        addend += sums[(size_t)last * h.addend_step] - sums[(size_t)key * h.addend_step];
    }
    return addend;
}

// The scaled product of a query and a key.
__device__ __forceinline__ float scaled(const Heads& h, float product, u32 key) {
    return product * h.scale + (POSITION_BIAS ? h.position_bias[key] : 0.0f);
}

// The index at which dropout draws for a key; the maps of a head drop the same keys.
__device__ __forceinline__ u32 drop_index(const Heads& h, u32 query, u32 map, u32 key) {
    return (query * heads_of(h) + head_of(h, map)) * h.context + key;
}

// A scaled product of query and key, bounded if scores are.
__device__ __forceinline__ float capped(const Heads& h, float score) {
    return h.softcap > 0.0f ? h.softcap * tanhf(score / h.softcap) : score;
}

// The derivative of the bound, given the bounded score.
__device__ __forceinline__ float cap_slope(const Heads& h, float score) {
    return h.softcap > 0.0f ? 1.0f - score / h.softcap * (score / h.softcap) : 1.0f;
}

// The weight of a score before any sum divides it, except in a softmax; `addend` is what positions add, and the query's
// last key is `last`. In stick-breaking it is the part that the key takes of what is left.
__device__ __forceinline__ float weight_of_score(const Heads& h, float score, float addend, u32 last) {
    if (h.similarity == FEATURES) return score;
    if (h.similarity == TAYLOR) return 1.0f + score + 0.5f * score * score;
    if (h.similarity == PRODUCT) return score * expf(addend);
    if (STICKS) return sigmoid(score + addend);
    const u32 keys = last + 1 - first_key_of(last, h.window);
    return 1.0f / (1.0f + expf(logf((float)keys) - score - addend));
}

// Whether weights are divided by their sum.
__device__ __forceinline__ bool has_sum(const Heads& h) { return h.similarity < SIGMOID; }

// The score of a map's sink.
__device__ __forceinline__ float sink_of(const Heads& h, u32 map) { return h.sinks == 0 ? 0.0f : h.sinks[map]; }
