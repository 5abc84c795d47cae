// The two 16-bit types of activations. Arithmetic is float32; values are rounded where the plain layers round.
#pragma once
#include "primitives.cuh"

struct Fp16 {
    // A nibble v under this exponent reads as 1024 + v; the offset brings it to v - 8.
    static const u32 NIBBLE_EXPONENT = 0x64006400u, NIBBLE_OFFSET = 0xe408e408u;  // 1024, -1032

    static __device__ __forceinline__ float widen(u16 bits) { return widen_fp16(bits); }
    static __device__ __forceinline__ u16 narrow(float value) { return narrow_fp16(value); }
    static __device__ __forceinline__ u32 add(u32 a, u32 b) { return add_fp16x2(a, b); }
    static __device__ __forceinline__ void mma(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
        mma_fp16(c, a, b0, b1);
    }
    // Bytes `first` and `first` + 1 of `word`, each an integer plus 128.
    static __device__ __forceinline__ u32 from_bytes(u32 word, int first) {
        const u32 shifted = __byte_perm(word, 0x64646464u, first == 0 ? 0x4140u : 0x4342u);  // 1024 + byte
        return add_fp16x2(shifted, 0xe480e480u);                                             // -1152
    }
};

#if defined(HOST_SHIM) || __CUDA_ARCH__ >= 800

struct Bf16 {
    static const u32 NIBBLE_EXPONENT = 0x43004300u, NIBBLE_OFFSET = 0xc308c308u;  // 128, -136

    static __device__ __forceinline__ float widen(u16 bits) { return __uint_as_float(u32(bits) << 16); }
    static __device__ __forceinline__ u16 narrow(float value) { return narrow_bf16(value); }
    static __device__ __forceinline__ u32 add(u32 a, u32 b) { return add_bf16x2(a, b); }
    static __device__ __forceinline__ void mma(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
        mma_bf16(c, a, b0, b1);
    }
    // bf16 has 7 bits of fraction, too few for the trick above: go through float32, whose upper half is exact.
    static __device__ __forceinline__ u32 from_bytes(u32 word, int first) {
        const u32 exponent = 0x4b000000u;  // 2^23
        const float bias = 8388736.0f;     // 2^23 + 128
        const float low = __uint_as_float(__byte_perm(word, exponent, 0x7650u + first)) - bias;
        const float high = __uint_as_float(__byte_perm(word, exponent, 0x7651u + first)) - bias;
        return __byte_perm(__float_as_uint(low), __float_as_uint(high), 0x7632u);
    }
};

#endif

template <class Act>
__device__ __forceinline__ float low(u32 pair) {
    return Act::widen(u16(pair));
}

template <class Act>
__device__ __forceinline__ float high(u32 pair) {
    return Act::widen(u16(pair >> 16));
}

template <class Act>
__device__ __forceinline__ u32 pack(float first, float second) {
    return u32(Act::narrow(first)) | u32(Act::narrow(second)) << 16;
}

template <class Act>
__device__ __forceinline__ float rounded(float value) {
    return Act::widen(Act::narrow(value));
}
