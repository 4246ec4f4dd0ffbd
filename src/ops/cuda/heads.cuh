// What kernels of heads have in common. HEAD_DIM is the width of a head.

// A row in shared memory: whole vectors of four.
#define WHOLE ((HEAD_DIM + 3) / 4 * 4)

struct Heads {
    // Rows lie `query_step` and `key_step` apart.
    const float *queries, *keys, *values;
    const u32 *query_starts, *key_starts;
    // Added to the score of a key by its place; null where nothing is.
    const float* of_places;
    u32 query_step, key_step;
    // Of queries; `group` of them share a head of keys and values.
    u32 heads, group;
    // A query sees so many keys, itself the last.
    u32 window;
    // Whether scores are products of features, or exponents less `slope` times the distance.
    u32 features, distance;
    float scale;
    Dropout dropout;
    // Keys that an index of dropout reserves for a query.
    u32 context;
};

// The first key that a query sees whose last one is `last`.
__device__ __forceinline__ u32 first_seen(u32 last, u32 window) {
    return last + 1 > window ? last + 1 - window : 0;
}

// What a score loses a key further away: ALiBi (Press et al. 2022, §3).
__device__ __forceinline__ float slope_of(const Heads& h, u32 head) {
    return h.distance ? exp2f(-8.0f * (head + 1) / h.heads) : 0.0f;
}

// Whether something is added to scores by place. A constant here saves a kernel registers.
#ifndef OF_PLACES
#define OF_PLACES (h.of_places != 0)
#endif

// What is added to the product of query and key.
__device__ __forceinline__ float addend_of(const Heads& h, float slope, u32 key, u32 distance) {
    return (OF_PLACES ? h.of_places[key] : 0.0f) - slope * (float)distance;
}
