// Attention of one token over one kv head's cache: scores of its queries, and the values mixed by their weights.
//
// Up to eight query heads share each row that is read, in registers; a row is widened as it is loaded, so the cache may
// have any type. Each (token, head) adds up in the same order whatever is computed beside it.
#pragma once
#include <type_traits>

#include "cpu_numbers.h"

// Inlined beside its seven sisters a tile is at times given registers that make it half as fast.
#define KEPT_WHOLE __attribute__((noinline))

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

// sums[k] = the sum of v[k], each in the order of `sum`; eight at once cost less than half of eight alone.
static inline void sum_all(const Eight (&v)[8], float *sums) {
#ifdef LLMDIST_AVX2
    __m256 two[4], pair[2];
    UNROLL for (int k = 0; k < 4; k++) {
        const __m256 a = (__m256)v[k], b = (__m256)v[k + 4];
        two[k] = _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
    }
    UNROLL for (int k = 0; k < 2; k++)
        pair[k] = _mm256_add_ps(_mm256_unpacklo_ps(two[2 * k], two[2 * k + 1]), _mm256_unpackhi_ps(two[2 * k], two[2 * k + 1]));
    const __m256 all = _mm256_add_ps(_mm256_shuffle_ps(pair[0], pair[1], 0x44), _mm256_shuffle_ps(pair[0], pair[1], 0xee));
    _mm256_storeu_ps(sums, all);
#else
    UNROLL for (int k = 0; k < 8; k++) sums[k] = sum(v[k]);
#endif
}

// scores[j][p] = q[j] (d) times row p of the cache, for J heads and P rows that begin with element `at`. Eight sums or
// nearly so are under way at once, whatever J is: one alone would wait for itself.
template <int KIND, int J, int P>
static inline void score_rows(const void *keys, int64_t at, int64_t d, const float *q, float *scores, int64_t stride) {
    Eight acc[8] = {};
    int64_t i = 0;
    for (; i + 8 <= d; i += 8) {
        Eight row[P];
        UNROLL for (int p = 0; p < P; p++) row[p] = cached8<KIND>(keys, at + p * d + i);
        UNROLL for (int j = 0; j < J; j++) {
            const Eight own = eight(q + j * d + i);
            UNROLL for (int p = 0; p < P; p++) acc[j * P + p] += row[p] * own;
        }
    }
    float sums[8];
    sum_all(acc, sums);
    for (; i < d; i++)
        UNROLL for (int p = 0; p < P; p++) {
            const float one = cached_one(keys, KIND, at + p * d + i);
            UNROLL for (int j = 0; j < J; j++) sums[j * P + p] += q[j * d + i] * one;
        }
    UNROLL for (int j = 0; j < J; j++) UNROLL for (int p = 0; p < P; p++) scores[j * stride + p] = sums[j * P + p];
}

template <int KIND, int J>
static KEPT_WHOLE void score(const void *keys, int64_t base, int64_t count, int64_t d, const float *q, float *scores,
                             int64_t stride) {
    constexpr int P = KIND == FP32 && J > 2 ? 1 : 8 / J;  // rows of floats would be loaded anew for each head
    int64_t p = 0;
    for (; p + P <= count; p += P) score_rows<KIND, J, P>(keys, base + p * d, d, q, scores + p, stride);
    if constexpr (P > 1)
        for (; p < count; p++) score_rows<KIND, J, 1>(keys, base + p * d, d, q, scores + p, stride);
}

// Columns [i, i + 8 I) of rows [first, last), times their weights, added to out[j].
template <int KIND, int J, int I>
static inline void mix_columns(const void *values, int64_t base, int64_t first, int64_t last, int64_t d, int64_t i,
                               const float *weights, int64_t stride, float *out) {
    Eight acc[J][I];
    UNROLL for (int j = 0; j < J; j++) UNROLL for (int k = 0; k < I; k++) acc[j][k] = eight(out + j * d + i + 8 * k);
    for (int64_t p = first; p < last; p++) {
        Eight row[I];
        UNROLL for (int k = 0; k < I; k++) row[k] = cached8<KIND>(values, base + p * d + i + 8 * k);
        UNROLL for (int j = 0; j < J; j++) {
            const float weight = weights[j * stride + p];
            UNROLL for (int k = 0; k < I; k++) acc[j][k] += row[k] * weight;
        }
    }
    UNROLL for (int j = 0; j < J; j++) UNROLL for (int k = 0; k < I; k++)
        memcpy(out + j * d + i + 8 * k, &acc[j][k], sizeof acc[j][k]);
}

// out[j] (d) += the sum over rows p of weights[j][p] times row p; some rows at a time, so that they stay in the cache.
template <int KIND, int J>
static KEPT_WHOLE void mix(const void *values, int64_t base, int64_t count, int64_t d, const float *weights,
                           int64_t stride, float *out) {
    constexpr int I = 8 / J;
    for (int64_t first = 0; first < count; first += 64) {
        const int64_t last = first + 64 < count ? first + 64 : count;
        int64_t i = 0;
        for (; i + 8 * I <= d; i += 8 * I) mix_columns<KIND, J, I>(values, base, first, last, d, i, weights, stride, out);
        if constexpr (I > 1)
            for (; i + 8 <= d; i += 8) mix_columns<KIND, J, 1>(values, base, first, last, d, i, weights, stride, out);
        for (int64_t p = first; p < last; p++)
            for (int64_t k = i; k < d; k++) {
                const float one = cached_one(values, KIND, base + p * d + k);
                for (int j = 0; j < J; j++) out[j * d + k] += weights[j * stride + p] * one;
            }
    }
}

// Calls tile(heads, j) for `group` heads by eights and what is left; `heads` is their number as a constant, j the first.
template <class F> static inline void by_eights(int64_t group, F tile) {
    for (int64_t j = 0; j < group; j += 8) switch (group - j) {
        case 1: tile(std::integral_constant<int, 1>{}, j); break;
        case 2: tile(std::integral_constant<int, 2>{}, j); break;
        case 3: tile(std::integral_constant<int, 3>{}, j); break;
        case 4: tile(std::integral_constant<int, 4>{}, j); break;
        case 5: tile(std::integral_constant<int, 5>{}, j); break;
        case 6: tile(std::integral_constant<int, 6>{}, j); break;
        case 7: tile(std::integral_constant<int, 7>{}, j); break;
        default: tile(std::integral_constant<int, 8>{}, j);
    }
}

template <int KIND>
static void score_group(const void *keys, int64_t base, int64_t count, int64_t d, const float *q, int64_t group,
                        float *s) {
    by_eights(group, [=](auto heads, int64_t j) {
        score<KIND, decltype(heads)::value>(keys, base, count, d, q + j * d, s + j * count, count);
    });
}

template <int KIND>
static void mix_group(const void *values, int64_t base, int64_t count, int64_t d, const float *s, int64_t group,
                      float *out) {
    by_eights(group, [=](auto heads, int64_t j) {
        mix<KIND, decltype(heads)::value>(values, base, count, d, s + j * count, count, out + j * d);
    });
}
