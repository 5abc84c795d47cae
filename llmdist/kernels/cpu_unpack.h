// From panels of 8 quantised rows back to bf16 rows, for products with so many tokens that a library's matmul wins.
//
// The value of every weight is what `PackedMatrix.dequantise` says, rounded to bf16 the same way, to the bit.
#pragma once
#include "cpu_product.h"

static inline float one_int8(const uint8_t *panel, int r, int64_t k) {
    float scale;
    memcpy(&scale, panel + 4 * r, 4);
    return (int8_t)panel[32 + 8 * (k & ~(int64_t)1) + 2 * r + (k & 1)] * scale;
}

static inline float one_int4(const uint8_t *panel, int64_t group, int r, int64_t k) {
    const uint8_t *at = panel + k / group * (16 + 4 * group);
    uint16_t scale;
    memcpy(&scale, at + 2 * r, 2);
    const uint8_t two = at[16 + k % group / 8 * 32 + 4 * r + k % 4];
    return ((int)(k % 8 < 4 ? two & 15 : two >> 4) - 8) * from_fp16(scale);
}

#ifdef LLMDIST_AVX2
// 16 integers of 8 bits, times `scale`, as 16 bf16.
static inline void store_scaled(__m128i values, __m256 scale, uint16_t *out) {
    const __m256i half = _mm256_set1_epi32(0x7fff), one = _mm256_set1_epi32(1);
    __m256i bits[2];
    for (int i = 0; i < 2; i++) {
        const __m256i wide = _mm256_cvtepi8_epi32(i ? _mm_srli_si128(values, 8) : values);
        const __m256i raw = _mm256_castps_si256(_mm256_mul_ps(_mm256_cvtepi32_ps(wide), scale));
        const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(raw, 16), one);
        bits[i] = _mm256_srli_epi32(_mm256_add_epi32(raw, _mm256_add_epi32(half, odd)), 16);
    }
    const __m256i both = _mm256_permute4x64_epi64(_mm256_packus_epi32(bits[0], bits[1]), 0xd8);
    _mm256_storeu_si256((__m256i *)out, both);
}

// Columns [k, k + 16) of a panel: pairs of every row in turn become rows by an 8 x 8 transposition of 16 bits.
static inline void unpack16_int8(const uint8_t *panel, const __m256 *scales, int64_t k, int64_t stride, uint16_t *out) {
    const auto *from = (const __m128i *)(panel + 32 + 8 * k);
    __m128i a[8], b[8];
    for (int i = 0; i < 8; i++) a[i] = _mm_loadu_si128(from + i);
    for (int i = 0; i < 4; i++) {
        b[2 * i] = _mm_unpacklo_epi16(a[2 * i], a[2 * i + 1]);
        b[2 * i + 1] = _mm_unpackhi_epi16(a[2 * i], a[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
            a[4 * i + 2 * j] = _mm_unpacklo_epi32(b[4 * i + j], b[4 * i + 2 + j]);
            a[4 * i + 2 * j + 1] = _mm_unpackhi_epi32(b[4 * i + j], b[4 * i + 2 + j]);
        }
    for (int i = 0; i < 4; i++) {
        store_scaled(_mm_unpacklo_epi64(a[i], a[4 + i]), scales[2 * i], out + 2 * i * stride + k);
        store_scaled(_mm_unpackhi_epi64(a[i], a[4 + i]), scales[2 * i + 1], out + (2 * i + 1) * stride + k);
    }
}

// Columns [k, k + 32) of a panel, all of one group: four words of every row become rows.
static inline void unpack32_int4(const uint8_t *block, const __m256 *scales, int64_t k, int64_t stride, uint16_t *out) {
    const auto *from = (const __m256i *)block;
    __m256i v[4];
    for (int i = 0; i < 4; i++) v[i] = _mm256_loadu_si256(from + i);
    const __m256i a = _mm256_unpacklo_epi32(v[0], v[1]), b = _mm256_unpackhi_epi32(v[0], v[1]);
    const __m256i c = _mm256_unpacklo_epi32(v[2], v[3]), d = _mm256_unpackhi_epi32(v[2], v[3]);
    const __m256i rows[4] = {_mm256_unpacklo_epi64(a, c), _mm256_unpackhi_epi64(a, c),
                             _mm256_unpacklo_epi64(b, d), _mm256_unpackhi_epi64(b, d)};
    const __m128i mask = _mm_set1_epi8(15), eight = _mm_set1_epi8(8);
    for (int r = 0; r < 8; r++) {
        const __m128i packed = r < 4 ? _mm256_castsi256_si128(rows[r]) : _mm256_extracti128_si256(rows[r - 4], 1);
        const __m128i low = _mm_sub_epi8(_mm_and_si128(packed, mask), eight);
        const __m128i high = _mm_sub_epi8(_mm_and_si128(_mm_srli_epi16(packed, 4), mask), eight);
        store_scaled(_mm_unpacklo_epi32(low, high), scales[r], out + r * stride + k);
        store_scaled(_mm_unpackhi_epi32(low, high), scales[r], out + r * stride + k + 16);
    }
}
#endif

// One whole panel into 8 rows of `columns` bf16.
static void unpack_panel(const Matrix &w, const uint8_t *panel, uint16_t *out) {
    int64_t k = 0;
#ifdef LLMDIST_AVX2
    __m256 scales[8];
    if (w.kind == INT8) {
        for (int r = 0; r < 8; r++) scales[r] = _mm256_broadcast_ss((const float *)(panel + 4 * r));
        for (; k + 16 <= w.columns; k += 16) unpack16_int8(panel, scales, k, w.columns, out);
    } else {
        for (; k + 32 <= w.columns; k += 32) {
            const uint8_t *at = panel + k / w.group * (16 + 4 * w.group);
            if (k % w.group == 0)
                for (int r = 0; r < 8; r++) {
                    uint16_t bits;
                    memcpy(&bits, at + 2 * r, 2);
                    scales[r] = _mm256_set1_ps(from_fp16(bits));
                }
            unpack32_int4(at + 16 + k % w.group * 4, scales, k, w.columns, out);
        }
    }
#endif
    for (; k < w.columns; k++)
        for (int r = 0; r < 8; r++)
            out[r * w.columns + k] =
                to_bf16(w.kind == INT8 ? one_int8(panel, r, k) : one_int4(panel, w.group, r, k));
}
