// The inner loops of `cpu_tiles.h` in registers of 64 bytes: half the instructions a byte, so more reads are under way.
//
// Sums of int8 and int4 weights are the same integers in the same order as in 32-byte registers, bit for bit.
#pragma once
#include <immintrin.h>

template <int KIND> static inline __m512 wide16(const void *data, int64_t at) {  // FP32 or FP16
    if (KIND == FP32) return _mm512_loadu_ps((const float *)data + at);
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)((const uint16_t *)data + at)));
}
template <int KIND> static inline void load32(const void *row, int64_t k, __m512 &first, __m512 &second) {
    if (KIND != BF16) {
        first = wide16<KIND>(row, k), second = wide16<KIND>(row, k + 16);
    } else {  // even and odd elements: see `even_then_odd`
        const __m512i w = _mm512_loadu_si512((const uint16_t *)row + k);
        first = _mm512_castsi512_ps(_mm512_slli_epi32(w, 16));
        second = _mm512_castsi512_ps(_mm512_and_si512(w, _mm512_set1_epi32((int)0xffff0000u)));
    }
}

// sums[r][m] of the first `whole` columns, a multiple of 32.
template <int KIND, int TOKEN, int R, int M>
static inline void rows_512(const char *w, int64_t stride, int64_t whole, const void *x, int64_t xs, float (&sums)[R][M]) {
    __m512 acc[R][M][2];
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int m = 0; m < M; m++)
        acc[r][m][0] = acc[r][m][1] = _mm512_setzero_ps();
    const char *later = w + R * stride;
    for (int64_t k = 0; k < whole; k += 32)
        UNROLL for (int r = 0; r < R; r++) {
            if (R > 1) ask(later), later += 64;
            __m512 first, second;
            load32<KIND>(w + r * stride, k, first, second);
            UNROLL for (int m = 0; m < M; m++) {
                acc[r][m][0] = _mm512_fmadd_ps(first, wide16<TOKEN>(x, m * xs + k), acc[r][m][0]);
                acc[r][m][1] = _mm512_fmadd_ps(second, wide16<TOKEN>(x, m * xs + k + 16), acc[r][m][1]);
            }
        }
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int m = 0; m < M; m++)
        sums[r][m] = _mm512_reduce_add_ps(_mm512_add_ps(acc[r][m][0], acc[r][m][1]));
}

// Number `first` of 16 in the lower half of a register, number `second` in the upper.
static inline __m512i halves(int first, int second) {
    return _mm512_inserti64x4(_mm512_set1_epi32(first), _mm256_set1_epi32(second), 1);
}
static inline __m256i both_halves(__m512i v) {
    return _mm256_add_epi32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
}

// The sums of S panels in int8, before the rows' scales.
template <int S, int M>
static inline void int8_512(const uint8_t *w, int64_t panel, int64_t columns, Packed8 x, __m256 (&total)[S][M]) {
    const char *later = (const char *)w + S * panel;
    for (int64_t b = 0, k = 0; k < columns; b++) {
        const int64_t end = k + 256 < columns ? k + 256 : columns;
        __m512i acc[S][M][2];
        UNROLL for (int s = 0; s < S; s++) UNROLL for (int m = 0; m < M; m++)
            acc[s][m][0] = acc[s][m][1] = _mm512_setzero_si512();
        for (; k < end; k += 32) {
            __m512i token[M];
            UNROLL for (int m = 0; m < M; m++) token[m] = _mm512_loadu_si512(x.values + m * x.stride + k);
            UNROLL for (int i = 0; i < 8; i++) {
                __m512i t[M];
                UNROLL for (int m = 0; m < M; m++)
                    t[m] = _mm512_permutexvar_epi32(halves(2 * i, 2 * i + 1), token[m]);
                UNROLL for (int s = 0; s < S; s++) {
                    const uint8_t *p = w + s * panel + 32 + 8 * k + 32 * i;
                    if (S > 1 && i % 2 == 0) ask(later), later += 64;
                    const __m512i wide = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)p));
                    UNROLL for (int m = 0; m < M; m++) acc[s][m][i % 2] = _mm512_dpwssd_epi32(acc[s][m][i % 2], wide, t[m]);
                }
            }
        }
        UNROLL for (int m = 0; m < M; m++) {
            const __m256 scale = _mm256_set1_ps(x.scales[m * x.blocks + b]);
            UNROLL for (int s = 0; s < S; s++) {
                const __m256i sum = both_halves(_mm512_add_epi32(acc[s][m][0], acc[s][m][1]));
                total[s][m] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, total[s][m]);
            }
        }
    }
}

// The integer sums of one block of 32 columns of S panels, the token's offset included.
template <int S, int M>
static inline void block_int4_512(const uint8_t *p, int64_t panel, Packed4 x, int64_t b, const char *&later,
                                  __m512i (&acc)[S][M]) {
    const __m512i low = _mm512_set1_epi8(15);
    __m512i token[M];
    UNROLL for (int m = 0; m < M; m++) {
        const __m256i values = _mm256_loadu_si256((const __m256i *)(x.values + m * x.stride + b * 32));
        token[m] = _mm512_broadcast_i64x4(values);
        const __m512i offset = _mm512_maskz_set1_epi32(0x00ff, x.offsets[m * x.blocks + b]);
        UNROLL for (int s = 0; s < S; s++) acc[s][m] = offset;
    }
    UNROLL for (int i = 0; i < 2; i++) {
        __m512i t0[M], t1[M];
        UNROLL for (int m = 0; m < M; m++) {
            t0[m] = _mm512_permutexvar_epi32(halves(4 * i, 4 * i + 2), token[m]);
            t1[m] = _mm512_permutexvar_epi32(halves(4 * i + 1, 4 * i + 3), token[m]);
        }
        UNROLL for (int s = 0; s < S; s++) {
            if (S > 1) ask(later), later += 64;
            const __m512i q = _mm512_loadu_si512(p + s * panel + 64 * i);
            const __m512i first = _mm512_and_si512(q, low);
            const __m512i upper = _mm512_and_si512(_mm512_srli_epi16(q, 4), low);
            UNROLL for (int m = 0; m < M; m++) {
                acc[s][m] = _mm512_dpbusd_epi32(acc[s][m], first, t0[m]);
                acc[s][m] = _mm512_dpbusd_epi32(acc[s][m], upper, t1[m]);
            }
        }
    }
}
