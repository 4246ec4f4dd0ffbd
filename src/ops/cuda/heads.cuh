// Shared by the attention kernels. HEAD_DIM is the width of a head.

// Length of a row in shared memory: whole vectors of four.
#define WHOLE ((HEAD_DIM + 3) / 4 * 4)

struct Heads {
    // With row strides `query_step` and `key_step`.
    const float *queries, *keys, *values;
    const u32 *query_starts, *key_starts;
    // Added to the score of a key by its position; may be null.
    const float* position_bias;
    u32 query_step, key_step;
    // Number of query heads; `group` of them share a head of keys and values.
    u32 heads, group;
    // Number of keys that a query attends to, its own being the last.
    u32 window;
    // Whether scores are products of feature maps; whether `slope` times the distance is subtracted.
    u32 features, distance;
    float scale;
    Dropout dropout;
    // Number of keys that a dropout index reserves per query.
    u32 context;
};

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
