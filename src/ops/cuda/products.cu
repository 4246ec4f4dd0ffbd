// Splits factors of matrix products for tensor cores into PARTS parts.

// Rounds to 11 bits.
__device__ __forceinline__ float rounded(float x) {
    return isfinite(x) ? __uint_as_float((__float_as_uint(x) + 0x1000u) & 0xffffe000u) : x;
}

// Writes each number of a matrix PARTS times, with stride `of_part`: its remainder below 11 bits as part
// `low`, and its value rounded to 11 bits as the other parts. The remainder of a number that is not finite
// is 0.
extern "C" __global__ void split(Matrix from, u32 columns, Matrix to, u32 of_part, u32 low, u32 count) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const u32 row = i / columns, column = i % columns;
    const float x = from.row(row)[column];
    const float high = rounded(x), rest = isfinite(x) ? rounded(x - high) : 0.0f;
    for (u32 part = 0; part < PARTS; part++)
        to.row(row)[column + (size_t)part * of_part] = part == low ? rest : high;
}
