// Shared by the attention kernels. HEAD_DIM is the width of a head.

// Length of a row in shared memory: whole vectors of four.
#define WHOLE ((HEAD_DIM + 3) / 4 * 4)

struct Heads {
    // With row strides `query_step` and `key_step`.
    const float *queries, *keys, *values;
    const u32 *query_starts, *key_starts;
    // Added to the score of a key by its position; may be null.
    const float* position_bias;
    // The score of each head's sink; null if there are none, or if they are 0.
    const float* sinks;
    u32 query_step, key_step;
    // Number of query heads; `group` of them share a head of keys and values.
    u32 heads, group;
    // Number of keys that a query attends to, its own being the last.
    u32 window;
    // How scores become weights; whether `slope` times the distance is subtracted; whether there are sinks.
    u32 similarity, distance, sink;
    // The bound of scores is 0 if there is none.
    float scale, softcap;
    Dropout dropout;
    // Number of keys that a dropout index reserves per query.
    u32 context;
};

// `similarity`: as in scoring.rs. The weights of FEATURES and TAYLOR are divided by their sum.
#define SOFTMAX 0
#define FEATURES 1
#define TAYLOR 2
#define SIGMOID 3

// The first key that a query attends to whose last one is `last`.
__device__ __forceinline__ u32 first_key_of(u32 last, u32 window) {
    return last + 1 > window ? last + 1 - window : 0;
}

// What is subtracted from a score per unit of distance: ALiBi (Press et al. 2022, §3).
__device__ __forceinline__ float slope_of(const Heads& h, u32 head) {
    return h.distance ? exp2f(-8.0f * (head + 1) / h.heads) : 0.0f;
}

// Whether there is a position bias. A compile-time constant saves registers.
#ifndef POSITION_BIAS
#define POSITION_BIAS (h.position_bias != 0)
#endif

// What is added to the scaled product of query and key.
__device__ __forceinline__ float addend_of(const Heads& h, float slope, u32 key, u32 distance) {
    return (POSITION_BIAS ? h.position_bias[key] : 0.0f) - slope * (float)distance;
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
// last key is `last`.
__device__ __forceinline__ float weight_of_score(const Heads& h, float score, float addend, u32 last) {
    if (h.similarity == FEATURES) return score;
    if (h.similarity == TAYLOR) return 1.0f + score + 0.5f * score * score;
    const u32 keys = last + 1 - first_key_of(last, h.window);
    return 1.0f / (1.0f + expf(logf((float)keys) - score - addend));
}

// Whether weights are divided by their sum.
__device__ __forceinline__ bool has_sum(const Heads& h) { return h.similarity != SIGMOID; }

// The score of a head's sink.
__device__ __forceinline__ float sink_of(const Heads& h, u32 head) { return h.sinks == 0 ? 0.0f : h.sinks[head]; }
