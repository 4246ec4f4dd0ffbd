// Shared by all kernels. This text is put before each source, after the constant of the source and those of
// a block, THREADS and WARPS; no header of the CUDA toolkit is needed.

typedef unsigned int u32;

// Columns per lane if a warp processes a row.
#define PER_LANE(columns) (((columns) + 31) / 32)

#define NEGATIVE_INFINITY __int_as_float(0xff800000)

// `Matrix` of products.rs: rows of numbers, with the distance between two of them.
struct Matrix {
    float* start;
    u32 step;

    __device__ __forceinline__ float* row(size_t i) const { return start + i * step; }
};

// `DocumentRows` of documents.rs: for each of `count` documents its first row, the first row that is not done yet, and the
// row after the last.
struct DocumentRows {
    const u32 *starts, *firsts, *ends;
    u32 count;
};

// `Dropout` of dropout.rs: the draw is a hash of key and index.
struct Dropout {
    u32 key_low, key_high;
    u32 threshold;
    float scale;
};

// Finaliser of Wellons 2018 ("lowbias32").
__device__ __forceinline__ u32 mix(u32 x) {
    x = (x ^ (x >> 16)) * 0x7feb352du;
    x = (x ^ (x >> 15)) * 0x846ca68bu;
    return x ^ (x >> 16);
}

// The dropout factor of the activation at `index`: 0, or 1 / (1 - probability).
__device__ __forceinline__ float kept(Dropout dropout, u32 index) {
    if (dropout.threshold == 0) return 1.0f;
    const u32 hash = mix(mix(index ^ dropout.key_low) + dropout.key_high);
    return hash >= dropout.threshold ? dropout.scale : 0.0f;
}

// Sum over a warp, the same for every lane.
__device__ __forceinline__ float warp_sum(float x) {
    for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
}

// Maximum over a warp, the same for every lane.
__device__ __forceinline__ float warp_max(float x) {
    for (int step = 16; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
    return x;
}

// Exclusive scan from the last lane down, by products or by sums: `*carry` combined with `x` of the lanes after this one.
// `*carry` becomes its combination with `x` of all lanes.
template <bool PRODUCTS> __device__ __forceinline__ float scan_after(float x, u32 lane, float* carry) {
    for (u32 step = 1; step < 32; step *= 2) {
        const float other = __shfl_sync(0xffffffffu, x, (lane + step) % 32);
        if (lane + step < 32) x = PRODUCTS ? x * other : x + other;
    }
    const float others = __shfl_sync(0xffffffffu, x, (lane + 1) % 32), all = __shfl_sync(0xffffffffu, x, 0);
    const float before = *carry;
    *carry = PRODUCTS ? before * all : before + all;
    if (lane == 31) return before;
    return PRODUCTS ? before * others : before + others;
}

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
