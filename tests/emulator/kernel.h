// CUDA C++ for g++: what a kernel's source takes for granted, so that a processor runs it.
//
// A thread of a block is a coroutine. Those of a block take turns on one thread of the host, and go on when
// all have come to the barrier (gpu.cpp), so that shared memory is a variable of the host's thread.
#pragma once

#include <cassert>
#include <cmath>
#include <cstdint>
#include <cstring>

struct dim3 {
    unsigned x, y, z;
};

// Where a kernel's code is at.
struct Lane {
    dim3 thread, block, block_size, grid;
    unsigned warp, number;
    // What the lanes of a warp show each other.
    uint64_t *shown;
};

extern "C" {
extern thread_local Lane *emulated_lane;
void emulated_block_barrier();
void emulated_warp_barrier();
}

#define threadIdx (emulated_lane->thread)
#define blockIdx (emulated_lane->block)
#define blockDim (emulated_lane->block_size)
#define gridDim (emulated_lane->grid)
#define __device__
#define __global__
#define __shared__ static thread_local
#define __forceinline__ inline
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __restrict__

inline void __syncthreads() { emulated_block_barrier(); }
inline void __syncwarp() { emulated_warp_barrier(); }
inline void __threadfence() {}

template <typename T> T __shfl_sync(unsigned, T value, unsigned from) {
    static_assert(sizeof(T) <= sizeof(uint64_t));
    memcpy(&emulated_lane->shown[emulated_lane->number], &value, sizeof(T));
    emulated_warp_barrier();
    memcpy(&value, &emulated_lane->shown[from % 32], sizeof(T));
    emulated_warp_barrier();
    return value;
}
template <typename T> T __shfl_xor_sync(unsigned mask, T value, unsigned step) {
    return __shfl_sync(mask, value, emulated_lane->number ^ step);
}

// Blocks of a launch follow one another: what is atomic to the GPU needs nothing here.
template <typename T, typename U> T atomicAdd(T *at, U more) {
    const T before = *at;
    *at = before + more;
    return before;
}
template <typename T, typename U> T atomicMin(T *at, U given) {
    const T before = *at, other = given;
    return *at = other < before ? other : before, before;
}
template <typename T, typename U> T atomicMax(T *at, U given) {
    const T before = *at, other = given;
    return *at = before < other ? other : before, before;
}
template <typename T, typename U> T atomicCAS(T *at, U expected, U other) {
    const T before = *at;
    return *at = before == T(expected) ? T(other) : before, before;
}
template <typename T> T __ldcg(const T *at) { return *at; }

struct float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct uint2 {
    unsigned x, y;
};
struct uint3 {
    unsigned x, y, z;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
template <typename To, typename From> To emulated_bits(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
inline float __int_as_float(int bits) { return emulated_bits<float>(bits); }
inline float __uint_as_float(unsigned bits) { return emulated_bits<float>(bits); }
inline int __float_as_int(float x) { return emulated_bits<int>(x); }
inline unsigned __float_as_uint(float x) { return emulated_bits<unsigned>(x); }
inline double __longlong_as_double(long long bits) { return emulated_bits<double>(bits); }
inline long long __double_as_longlong(double x) { return emulated_bits<long long>(x); }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }

// As CUDA has them: of whichever types.
#define emulated_smaller_and_larger(T)                                                                                 \
    inline T min(T a, T b) { return b < a ? b : a; }                                                                   \
    inline T max(T a, T b) { return a < b ? b : a; }
emulated_smaller_and_larger(int) emulated_smaller_and_larger(unsigned) emulated_smaller_and_larger(unsigned long)
#undef emulated_smaller_and_larger
using std::isfinite;
using std::isnan;
using std::signbit;

// A kernel with the arguments that a launch points to.
template <typename... A> void emulated_call(void (*kernel)(A...), void **arguments) {
    unsigned i = 0;
    // Braces evaluate from left to right.
    struct Call {
        Call(void (*kernel)(A...), A... values) { kernel(values...); }
    };
    Call{kernel, *static_cast<A *>(arguments[i++])...};
}
