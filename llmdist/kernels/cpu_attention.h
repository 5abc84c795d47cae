// Attention of one token over one kv head's cache: scores of its queries, and the values mixed by their weights.
//
// Up to eight query heads share each row that is read, in registers; a row is widened as it is loaded, so the cache may
// have any type. Each (token, head) adds up in the same order whatever is computed beside it.
#pragma once
#include "cpu_numbers.h"

static inline float cached_one(const void *cache, int kind, int64_t i) {
    return kind == INT8 ? (float)((const int8_t *)cache)[i] : load_one(cache, kind, i);
}

// Eight numbers in one register, or in two where registers are shorter.
typedef float Eight __attribute__((vector_size(32)));

static inline Eight eight(const float *from) {
    Eight value;
    memcpy(&value, from, sizeof value);
    return value;
}
static inline float sum(const Eight &v) {
#ifdef LLMDIST_AVX2
    return sum8((__m256)v);
#else
    const float pairs[4] = {v[0] + v[4], v[1] + v[5], v[2] + v[6], v[3] + v[7]};
    return (pairs[0] + pairs[2]) + (pairs[1] + pairs[3]);
#endif
}
// Numbers [at, at + 8) of a cache.
template <int KIND> static inline Eight cached8(const void *cache, int64_t at) {
#if defined(LLMDIST_AVX2)
    if (KIND != INT8) return (Eight)wide8<KIND>(cache, at);
    const __m128i bytes = _mm_loadl_epi64((const __m128i *)((const int8_t *)cache + at));
    return (Eight)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
#elif defined(LLMDIST_NEON)
    float32x4_t wide[2];
    if (KIND == INT8) {
        const int16x8_t x = vmovl_s8(vld1_s8((const int8_t *)cache + at));
        wide[0] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(x))), wide[1] = vcvtq_f32_s32(vmovl_high_s16(x));
    } else {
        wide8<KIND>(cache, at, wide[0], wide[1]);
    }
    return eight((const float *)wide);
#else
    Eight value;
    for (int i = 0; i < 8; i++) value[i] = cached_one(cache, KIND, at + i);
    return value;
#endif
}

// The largest of `count` numbers, at least one; compilers leave this a chain of single comparisons.
static inline float highest(const float *s, int64_t count) {
    float peak = s[0];
    int64_t i = 0;
#ifdef LLMDIST_AVX2
    __m256 peaks = _mm256_set1_ps(peak);
    for (; i + 8 <= count; i += 8) peaks = _mm256_max_ps(peaks, _mm256_loadu_ps(s + i));
    float lanes[8];
    _mm256_storeu_ps(lanes, peaks);
    for (float lane : lanes) peak = lane > peak ? lane : peak;
#endif
    for (; i < count; i++) peak = s[i] > peak ? s[i] : peak;
    return peak;
}

// scores[j][p] = q[j] (d) times row p of the cache, for J heads and `count` rows from element `base`.
template <int KIND, int J>
static void score(const void *keys, int64_t base, int64_t count, int64_t d, const float *q, float *scores,
                  int64_t stride) {
    for (int64_t p = 0; p < count; p++) {
        const int64_t at = base + p * d;
        int64_t i = 0;
        float sums[J] = {};
        Eight acc[J] = {};
        for (; i + 8 <= d; i += 8) {
            const Eight row = cached8<KIND>(keys, at + i);
            UNROLL for (int j = 0; j < J; j++) acc[j] += row * eight(q + j * d + i);
        }
        UNROLL for (int j = 0; j < J; j++) sums[j] = sum(acc[j]);
        for (; i < d; i++) {
            const float one = cached_one(keys, KIND, at + i);
            for (int j = 0; j < J; j++) sums[j] += q[j * d + i] * one;
        }
        for (int j = 0; j < J; j++) scores[j * stride + p] = sums[j];
    }
}

// out[j] (d) += the sum over rows p of weights[j][p] times row p; some rows at a time, so that they stay in the cache.
template <int KIND, int J>
static void mix(const void *values, int64_t base, int64_t count, int64_t d, const float *weights, int64_t stride,
                float *out) {
    for (int64_t first = 0; first < count; first += 64) {
        const int64_t last = first + 64 < count ? first + 64 : count;
        int64_t i = 0;
        for (; i + 8 <= d; i += 8) {
            Eight acc[J];
            UNROLL for (int j = 0; j < J; j++) acc[j] = eight(out + j * d + i);
            for (int64_t p = first; p < last; p++) {
                const Eight row = cached8<KIND>(values, base + p * d + i);
                UNROLL for (int j = 0; j < J; j++) acc[j] += row * weights[j * stride + p];
            }
            UNROLL for (int j = 0; j < J; j++) memcpy(out + j * d + i, &acc[j], sizeof acc[j]);
        }
        for (int64_t p = first; p < last; p++)
            for (int64_t k = i; k < d; k++) {
                const float one = cached_one(values, KIND, base + p * d + k);
                for (int j = 0; j < J; j++) out[j * d + k] += weights[j * stride + p] * one;
            }
    }
}

// `group` heads by tiles of eight, four, two and one.
template <int KIND>
static void score_group(const void *keys, int64_t base, int64_t count, int64_t d, const float *q, int64_t group,
                        float *s) {
    for (int64_t j = 0; j < group;) {
        const int64_t left = group - j;
        const float *from = q + j * d;
        if (left >= 8) score<KIND, 8>(keys, base, count, d, from, s + j * count, count), j += 8;
        else if (left >= 4) score<KIND, 4>(keys, base, count, d, from, s + j * count, count), j += 4;
        else if (left >= 2) score<KIND, 2>(keys, base, count, d, from, s + j * count, count), j += 2;
        else score<KIND, 1>(keys, base, count, d, from, s + j * count, count), j++;
    }
}

template <int KIND>
static void mix_group(const void *values, int64_t base, int64_t count, int64_t d, const float *s, int64_t group,
                      float *out) {
    for (int64_t j = 0; j < group;) {
        const int64_t left = group - j;
        float *to = out + j * d;
        if (left >= 8) mix<KIND, 8>(values, base, count, d, s + j * count, count, to), j += 8;
        else if (left >= 4) mix<KIND, 4>(values, base, count, d, s + j * count, count, to), j += 4;
        else if (left >= 2) mix<KIND, 2>(values, base, count, d, s + j * count, count, to), j += 2;
        else mix<KIND, 1>(values, base, count, d, s + j * count, count, to), j++;
    }
}
