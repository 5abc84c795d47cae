// Dot products of a few weight rows with a few tokens: the inner loops of every matrix product.
//
// Rows (or panels of 8 rows) are read one by one or several side by side, whichever fills the memory bus of a core
// (`tune.py` times it); each (row, token) adds up in the same order in every tile shape, so the result of a token does not
// depend on how many tokens are computed with it. Without AVX2 the same sums are written as plain loops.
#pragma once
#include "cpu_numbers.h"

#ifdef LLMDIST_AVX2
// Rows or panels side by side are several streams of reads. Those after them are asked for in one, into the second cache,
// so that memory is read from first to last all the same. Into the first cache it would be slower than nothing.
static inline void ask(const char *later) { _mm_prefetch(later, _MM_HINT_T1); }
template <int KIND> static inline void load16(const void *row, int64_t k, __m256 &first, __m256 &second) {
    if (KIND != BF16) {
        first = wide8<KIND>(row, k), second = wide8<KIND>(row, k + 8);
    } else {  // even and odd elements: see `even_then_odd`
        __m256i w = _mm256_loadu_si256((const __m256i *)((const uint16_t *)row + k));
        first = _mm256_castsi256_ps(_mm256_slli_epi32(w, 16));
        second = _mm256_castsi256_ps(_mm256_and_si256(w, _mm256_set1_epi32((int)0xffff0000u)));
    }
}
#endif

// Tokens of 16-bit weights, rounded to fp16 after a power of two that makes the most of its range, and what takes that
// back. One token is kept as fp16: beside one row of weights it stays in the first cache however wide it is, and the
// weights are read from first to last. Several are floats of the same values, as every tile would widen them again.
struct Packed16 { const void *values; const float *scales; bool halves; };
// Tokens as integers: int16 in blocks of 256 for int8 weights, int8 in blocks of 32 for int4 weights.
struct Packed8 { const int16_t *values; const float *scales; int64_t stride, blocks; };
struct Packed4 { const int8_t *values; const float *scales; const int32_t *offsets; int64_t stride, blocks; };

#ifdef LLMDIST_AVX512
#include "cpu_tiles_avx512.h"
constexpr int64_t FLOATS = 32;  // columns that are multiplied at a time
constexpr int SUMS = 24;        // registers for sums, of 32 (16)
constexpr int PANELS = 2;       // side by side with several tokens
#elif defined(LLMDIST_NEON)
#include "cpu_tiles_neon.h"
constexpr int64_t FLOATS = 16;
constexpr int SUMS = 24, PANELS = 1;
#else
constexpr int64_t FLOATS = 16;
constexpr int SUMS = 12, PANELS = 2;
#endif

// y[m][r] = rows r .. r + R of a row-major matrix times tokens m .. m + M, which are numbers of kind TOKEN (FP32 or FP16).
template <int KIND, int TOKEN, int R, int M>
static void tile_rows(const char *w, int64_t columns, const void *x, int64_t xs, float *y, int64_t ys) {
    const int64_t stride = columns * (KIND == FP32 ? 4 : 2), whole = columns & ~(FLOATS - 1);
    float sums[R][M];
#if defined(LLMDIST_AVX512)
    rows_512<KIND, TOKEN, R, M>(w, stride, whole, x, xs, sums);
#elif defined(LLMDIST_AVX2)
    __m256 acc[R][M][2];
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int m = 0; m < M; m++)
        acc[r][m][0] = acc[r][m][1] = _mm256_setzero_ps();
    const char *later = w + R * stride;
    for (int64_t k = 0; k < whole; k += 16)
        UNROLL for (int r = 0; r < R; r++) {
            if (R > 1 && k % 32 == 0) ask(later), later += 64;
            __m256 first, second;
            load16<KIND>(w + r * stride, k, first, second);
            UNROLL for (int m = 0; m < M; m++) {
                acc[r][m][0] = _mm256_fmadd_ps(first, wide8<TOKEN>(x, m * xs + k), acc[r][m][0]);
                acc[r][m][1] = _mm256_fmadd_ps(second, wide8<TOKEN>(x, m * xs + k + 8), acc[r][m][1]);
            }
        }
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int m = 0; m < M; m++)
        sums[r][m] = sum8(_mm256_add_ps(acc[r][m][0], acc[r][m][1]));
#elif defined(LLMDIST_NEON)
    rows_neon<KIND, TOKEN, R, M>(w, stride, whole, x, xs, sums);
#else
    for (int r = 0; r < R; r++)
        for (int m = 0; m < M; m++) {
            float lanes[16] = {};
            for (int64_t k = 0; k < whole; k += 16)
                for (int i = 0; i < 16; i++)
                    lanes[i] += load_one(w + r * stride, KIND, k + i) * load_one(x, TOKEN, m * xs + k + i);
            sums[r][m] = 0;
            for (int i = 0; i < 16; i++) sums[r][m] += lanes[i];
        }
#endif
    for (int r = 0; r < R; r++)
        for (int m = 0; m < M; m++) {
            float sum = sums[r][m];
            for (int64_t k = whole; k < columns; k++)
                sum += load_one(w + r * stride, KIND, k) * load_one(x, TOKEN, m * xs + k);
            y[m * ys + r] = sum;
        }
}

// y[m][0 .. 8 S) = S panels of 8 rows in int8 times tokens m .. m + M; `columns` is a multiple of 32.
template <int S, int M>
static void tile_int8(const uint8_t *w, int64_t columns, Packed8 x, float *y, int64_t ys) {
    const int64_t panel = panel_bytes(INT8, columns, 0);
#if defined(LLMDIST_NEON)
    int8_neon<S, M>(w, panel, columns, x, y, ys);
#elif defined(LLMDIST_AVX2)
    __m256 total[S][M];
    UNROLL for (int s = 0; s < S; s++) UNROLL for (int m = 0; m < M; m++) total[s][m] = _mm256_setzero_ps();
#ifdef LLMDIST_AVX512
    int8_512<S, M>(w, panel, columns, x, total);
#else
    const char *later = (const char *)w + S * panel;
    for (int64_t b = 0, k = 0; k < columns; b++) {
        const int64_t end = k + 256 < columns ? k + 256 : columns;
        __m256i acc[S][M];
        UNROLL for (int s = 0; s < S; s++) UNROLL for (int m = 0; m < M; m++) acc[s][m] = _mm256_setzero_si256();
        for (; k < end; k += 4)
            UNROLL for (int s = 0; s < S; s++) {
                const uint8_t *p = w + s * panel + 32 + 8 * k;
                if (S > 1 && k % 8 == 0) ask(later), later += 64;
                __m256i w0 = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)p));
                __m256i w1 = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(p + 16)));
                UNROLL for (int m = 0; m < M; m++) {
                    const int32_t *t = (const int32_t *)(x.values + m * x.stride + k);
                    __m256i part = _mm256_add_epi32(_mm256_madd_epi16(w0, _mm256_set1_epi32(t[0])),
                                                    _mm256_madd_epi16(w1, _mm256_set1_epi32(t[1])));
                    acc[s][m] = _mm256_add_epi32(acc[s][m], part);
                }
            }
        UNROLL for (int s = 0; s < S; s++) UNROLL for (int m = 0; m < M; m++)
            total[s][m] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(acc[s][m]),
                                          _mm256_set1_ps(x.scales[m * x.blocks + b]), total[s][m]);
    }
#endif
    UNROLL for (int s = 0; s < S; s++) UNROLL for (int m = 0; m < M; m++)
        _mm256_storeu_ps(y + m * ys + 8 * s,
                         _mm256_mul_ps(total[s][m], _mm256_loadu_ps((const float *)(w + s * panel))));
#else
    for (int s = 0; s < S; s++)
        for (int m = 0; m < M; m++)
            for (int r = 0; r < 8; r++) {
                float total = 0;
                for (int64_t b = 0, k = 0; k < columns; b++) {
                    const int64_t end = k + 256 < columns ? k + 256 : columns;
                    int32_t acc = 0;
                    for (; k < end; k++)
                        acc += (int8_t)w[s * panel + 32 + 8 * (k & ~1) + 2 * r + (k & 1)] * x.values[m * x.stride + k];
                    total += acc * x.scales[m * x.blocks + b];
                }
                y[m * ys + 8 * s + r] = total * ((const float *)(w + s * panel))[r];
            }
#endif
}

#ifdef LLMDIST_AVX2
// Sums of S panels with groups of B blocks of 32 columns. B is known to the compiler, as a loop of one turn would cost
// a tenth; a piece of a token is broadcast once for all panels.
template <int S, int M, int B>
static void groups_int4(const uint8_t *w, int64_t panel, int64_t groups, Packed4 x, float *y, int64_t ys) {
#ifndef LLMDIST_AVX512
    const __m256i low = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
#endif
    __m256 total[S][M];
    UNROLL for (int s = 0; s < S; s++) UNROLL for (int m = 0; m < M; m++) total[s][m] = _mm256_setzero_ps();
    const char *later = (const char *)w + S * panel;
    for (int64_t g = 0; g < groups; g++) {
        const uint8_t *at = w + g * (16 + 128 * B);
        __m256 part[S][M];
        UNROLL for (int j = 0; j < B; j++) {
            const int64_t b = g * B + j;
            const uint8_t *p = at + 16 + j * 128;
#ifdef LLMDIST_AVX512
            __m512i acc[S][M];
            block_int4_512<S, M>(p, panel, x, b, later, acc);
#else
            __m256i acc[S][M];
            UNROLL for (int i = 0; i < 4; i++)
                UNROLL for (int m = 0; m < M; m++) {
                    const int32_t *t = (const int32_t *)(x.values + m * x.stride + b * 32 + 8 * i);
                    const __m256i t0 = _mm256_set1_epi32(t[0]), t1 = _mm256_set1_epi32(t[1]);
                    UNROLL for (int s = 0; s < S; s++) {
                        const __m256i q = _mm256_loadu_si256((const __m256i *)(p + s * panel + 32 * i));
                        if (S > 1 && m == 0 && i % 2 == 0) ask(later), later += 64;
                        const __m256i first = _mm256_maddubs_epi16(_mm256_and_si256(q, low), t0);
                        const __m256i upper = _mm256_and_si256(_mm256_srli_epi16(q, 4), low);
                        const __m256i sum = _mm256_add_epi16(first, _mm256_maddubs_epi16(upper, t1));
                        acc[s][m] = i ? _mm256_add_epi16(acc[s][m], sum) : sum;
                    }
                }
#endif
            UNROLL for (int m = 0; m < M; m++) {
                const __m256 scale = _mm256_set1_ps(x.scales[m * x.blocks + b]);
                UNROLL for (int s = 0; s < S; s++) {
#ifdef LLMDIST_AVX512
                    const __m256 wide = _mm256_cvtepi32_ps(both_halves(acc[s][m]));
#else
                    const __m256i offset = _mm256_set1_epi32(x.offsets[m * x.blocks + b]);
                    const __m256 wide = _mm256_cvtepi32_ps(_mm256_add_epi32(_mm256_madd_epi16(acc[s][m], ones), offset));
#endif
                    part[s][m] = j ? _mm256_fmadd_ps(wide, scale, part[s][m]) : _mm256_mul_ps(wide, scale);
                }
            }
        }
        UNROLL for (int s = 0; s < S; s++) {
            const __m256 scale = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(at + s * panel)));
            UNROLL for (int m = 0; m < M; m++) total[s][m] = _mm256_fmadd_ps(part[s][m], scale, total[s][m]);
        }
    }
    UNROLL for (int s = 0; s < S; s++) UNROLL for (int m = 0; m < M; m++)
        _mm256_storeu_ps(y + m * ys + 8 * s, total[s][m]);
}
#endif

// y[m][0 .. 8 S) = S panels of 8 rows in int4 times tokens m .. m + M; `columns` is a multiple of `group`.
template <int S, int M>
static void tile_int4(const uint8_t *w, int64_t columns, int64_t group, Packed4 x, float *y, int64_t ys) {
    const int64_t panel = panel_bytes(INT4, columns, group);
#if defined(LLMDIST_AVX2) || defined(LLMDIST_NEON)
    if (group == 32) groups_int4<S, M, 1>(w, panel, columns / 32, x, y, ys);
    else if (group == 64) groups_int4<S, M, 2>(w, panel, columns / 64, x, y, ys);
    else groups_int4<S, M, 4>(w, panel, columns / 128, x, y, ys);
#else
    for (int s = 0; s < S; s++)
        for (int m = 0; m < M; m++)
            for (int r = 0; r < 8; r++) {
                float total = 0;
                for (int64_t g = 0, b = 0; g < columns / group; g++) {
                    const uint8_t *at = w + s * panel + g * (16 + 4 * group), *p = at + 16;
                    float part = 0;
                    for (const int64_t end = b + group / 32; b < end; b++, p += 128) {
                        int32_t acc = x.offsets[m * x.blocks + b];
                        for (int64_t k = 0; k < 32; k++) {
                            const uint8_t two = p[k / 8 * 32 + 4 * r + k % 4];
                            acc += (k % 8 < 4 ? two & 15 : two >> 4) * x.values[m * x.stride + b * 32 + k];
                        }
                        part += acc * x.scales[m * x.blocks + b];
                    }
                    total += part * from_fp16(((const uint16_t *)at)[r]);
                }
                y[m * ys + 8 * s + r] = total;
            }
#endif
}
