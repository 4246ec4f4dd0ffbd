// For dfdx's kernels, which name it: a half that is as exact as a float. Nothing of attnlab computes with it.
#pragma once

struct __half {
    float value;
    __half() = default;
    template <typename T> __half(T from) : value(from) {}
    operator float() const { return value; }
    __half &operator+=(float more) { return value += more, *this; }
};
#define emulated_half(name, function)                                                                                  \
    inline __half name(__half x) { return function(x.value); }
emulated_half(hcos, cosf) emulated_half(hsin, sinf) emulated_half(hsqrt, sqrtf) emulated_half(hlog, logf)
emulated_half(hexp, expf) emulated_half(__habs, fabsf) emulated_half(__float2half, )
#undef emulated_half
inline float __half2float(__half x) { return x.value; }
inline bool __hisnan(__half x) { return x.value != x.value; }
inline __half __hmax_nan(__half a, __half b) { return a < b ? b : a; }
inline __half __hmin_nan(__half a, __half b) { return b < a ? b : a; }
inline unsigned short __half_as_ushort(__half x) { return x.value; }
inline __half __ushort_as_half(unsigned short x) { return x; }
