// The kinds of weights, single numbers of each, and what the processor offers: shared by all CPU kernels.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__) && !defined(LLMDIST_PORTABLE)
#define LLMDIST_AVX2 1
#include <immintrin.h>
#endif
#if defined(LLMDIST_AVX2) && defined(__AVX512VNNI__) && defined(__AVX512VL__) && defined(__AVX512BW__) && \
    defined(__AVX512DQ__) && !defined(LLMDIST_NARROW)
#define LLMDIST_AVX512 1
#endif
#if defined(__aarch64__) && !defined(LLMDIST_PORTABLE)
#define LLMDIST_NEON 1
#include <arm_neon.h>
#endif
#define UNROLL _Pragma("GCC unroll 16")

enum Kind { FP32 = 0, BF16 = 1, FP16 = 2, INT8 = 3, INT4 = 4 };

static inline float from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}
static inline float from_bf16(uint16_t bits) { return from_bits((uint32_t)bits << 16); }
static inline float from_fp16(uint16_t bits) {
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16, rest = bits & 0x7fff;
    if (rest >= 0x7c00) return from_bits(sign | 0x7f800000u | (rest & 0x3ff) << 13);
    float scaled = from_bits(rest << 13) * from_bits(0x77800000u);  // 2^112
    return sign ? -scaled : scaled;
}
static inline uint16_t to_bf16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
static inline uint16_t to_fp16(float value) {
#ifdef LLMDIST_AVX2
    return (uint16_t)_cvtss_sh(value, 0);
#else  // to nearest, ties to even; not every compiler has a type of 16 bits
    uint32_t bits;
    memcpy(&bits, &value, 4);
    const uint32_t sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    if (size >= 0x47800000) return (uint16_t)(sign | (size > 0x7f800000 ? 0x7e00 : 0x7c00));
    if (size < 0x38800000) {  // the last place of 1/2 is that of halves below 2^-14
        const float shifted = from_bits(size) + 0.5f;
        memcpy(&bits, &shifted, 4);
        return (uint16_t)(sign | (bits - 0x3f000000));
    }
    return (uint16_t)(sign | (size - 0x38000000 + 0xfff + (size >> 13 & 1)) >> 13);
#endif
}
static inline float load_one(const void *data, int kind, int64_t i) {
    if (kind == FP32) return ((const float *)data)[i];
    return kind == BF16 ? from_bf16(((const uint16_t *)data)[i]) : from_fp16(((const uint16_t *)data)[i]);
}
static inline void store_one(void *data, int kind, int64_t i, float value) {
    if (kind == FP32) ((float *)data)[i] = value;
    else ((uint16_t *)data)[i] = kind == BF16 ? to_bf16(value) : to_fp16(value);
}

// Numbers [at, at + 8) of plain weights or a plain cache, in order, as float32.
#ifdef LLMDIST_AVX2
template <int KIND> static inline __m256 wide8(const void *data, int64_t at) {
    if (KIND == FP32) return _mm256_loadu_ps((const float *)data + at);
    const __m128i half = _mm_loadu_si128((const __m128i *)((const uint16_t *)data + at));
    if (KIND == FP16) return _mm256_cvtph_ps(half);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}
#elif defined(LLMDIST_NEON)
template <int KIND> static inline void wide8(const void *data, int64_t at, float32x4_t &first, float32x4_t &second) {
    if (KIND == FP32) {
        first = vld1q_f32((const float *)data + at), second = vld1q_f32((const float *)data + at + 4);
    } else if (KIND == FP16) {
        const float16x8_t half = vreinterpretq_f16_u16(vld1q_u16((const uint16_t *)data + at));
        first = vcvt_f32_f16(vget_low_f16(half)), second = vcvt_high_f32_f16(half);
    } else {
        const uint16x8_t half = vld1q_u16((const uint16_t *)data + at);
        first = vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(half), 16));
        second = vreinterpretq_f32_u32(vshll_high_n_u16(half, 16));
    }
}
#endif

#ifdef LLMDIST_AVX2
static inline float sum8(__m256 v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
#endif

static inline float largest(const float *x, int64_t count) {
    float peak = 0;
    int64_t k = 0;
#ifdef LLMDIST_AVX2
    const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    __m256 peaks = _mm256_setzero_ps();
    for (; k + 8 <= count; k += 8) peaks = _mm256_max_ps(peaks, _mm256_and_ps(_mm256_loadu_ps(x + k), magnitude));
    float lanes[8];
    _mm256_storeu_ps(lanes, peaks);
    for (float lane : lanes) peak = std::max(peak, lane);
#endif
    for (; k < count; k++) peak = std::max(peak, std::fabs(x[k]));
    return peak;
}

// The bytes of one panel of 8 rows. int8: 8 float scales, then the weights, two columns of each row in turn.
// int4, for each group: 8 fp16 scales, then 8 columns of each row in turn, the second four in the upper half bytes.
// A panel is read from its first byte to its last: scales apart from their weights would be a second stream of reads.
static inline int64_t panel_bytes(int kind, int64_t columns, int64_t group) {
    return kind == INT8 ? 32 + 8 * columns : columns / group * 16 + 4 * columns;
}
