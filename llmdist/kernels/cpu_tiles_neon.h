// The inner loops of `cpu_tiles.h` for 64-bit ARM, in registers of 16 bytes.
//
// A panel of 8 rows is two registers of sums. int4 weights are multiplied four columns of a row at a time, which is what
// the processor's dot product of bytes takes; without it the same integers are summed by widening products.
#pragma once
#include "cpu_numbers.h"

static inline void ask(const char *later) { __builtin_prefetch(later, 0, 2); }

// sums[r][m] of the first `whole` columns, a multiple of 16.
template <int KIND, int TOKEN, int R, int M>
static inline void rows_neon(const char *w, int64_t stride, int64_t whole, const void *x, int64_t xs, float (&sums)[R][M]) {
    float32x4_t acc[R][M][2];
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int m = 0; m < M; m++)
        acc[r][m][0] = acc[r][m][1] = vdupq_n_f32(0);
    const char *later = w + R * stride;
    for (int64_t k = 0; k < whole; k += 8)
        UNROLL for (int r = 0; r < R; r++) {
            if (R > 1 && k % 32 == 0) ask(later), later += 64;
            float32x4_t first, second;
            wide8<KIND>(w + r * stride, k, first, second);
            UNROLL for (int m = 0; m < M; m++) {
                float32x4_t t0, t1;
                wide8<TOKEN>(x, m * xs + k, t0, t1);
                acc[r][m][0] = vfmaq_f32(acc[r][m][0], first, t0);
                acc[r][m][1] = vfmaq_f32(acc[r][m][1], second, t1);
            }
        }
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int m = 0; m < M; m++)
        sums[r][m] = vaddvq_f32(vaddq_f32(acc[r][m][0], acc[r][m][1]));
}

// y[m][0 .. 8 S) of S panels in int8.
template <int S, int M>
static inline void int8_neon(const uint8_t *w, int64_t panel, int64_t columns, Packed8 x, float *y, int64_t ys) {
    float32x4_t total[S][M][2];
    UNROLL for (int s = 0; s < S; s++) UNROLL for (int m = 0; m < M; m++)
        total[s][m][0] = total[s][m][1] = vdupq_n_f32(0);
    const char *later = (const char *)w + S * panel;
    for (int64_t b = 0, k = 0; k < columns; b++) {
        const int64_t end = k + 256 < columns ? k + 256 : columns;
        int32x4_t acc[S][M][4];  // two rows each, their even and odd columns apart
        UNROLL for (int s = 0; s < S; s++) UNROLL for (int m = 0; m < M; m++) UNROLL for (int i = 0; i < 4; i++)
            acc[s][m][i] = vdupq_n_s32(0);
        for (; k < end; k += 2)
            UNROLL for (int s = 0; s < S; s++) {
                if (S > 1 && k % 8 == 0) ask(later), later += 64;
                const int8x16_t p = vreinterpretq_s8_u8(vld1q_u8(w + s * panel + 32 + 8 * k));
                const int16x8_t first = vmovl_s8(vget_low_s8(p)), second = vmovl_high_s8(p);
                UNROLL for (int m = 0; m < M; m++) {
                    int32_t two;
                    memcpy(&two, x.values + m * x.stride + k, 4);
                    const int16x8_t t = vreinterpretq_s16_s32(vdupq_n_s32(two));
                    acc[s][m][0] = vmlal_s16(acc[s][m][0], vget_low_s16(first), vget_low_s16(t));
                    acc[s][m][1] = vmlal_high_s16(acc[s][m][1], first, t);
                    acc[s][m][2] = vmlal_s16(acc[s][m][2], vget_low_s16(second), vget_low_s16(t));
                    acc[s][m][3] = vmlal_high_s16(acc[s][m][3], second, t);
                }
            }
        UNROLL for (int s = 0; s < S; s++) UNROLL for (int m = 0; m < M; m++) {
            const float32x4_t scale = vdupq_n_f32(x.scales[m * x.blocks + b]);
            UNROLL for (int i = 0; i < 2; i++)
                total[s][m][i] = vfmaq_f32(
                    total[s][m][i], vcvtq_f32_s32(vpaddq_s32(acc[s][m][2 * i], acc[s][m][2 * i + 1])), scale);
        }
    }
    UNROLL for (int s = 0; s < S; s++) UNROLL for (int m = 0; m < M; m++) UNROLL for (int i = 0; i < 2; i++)
        vst1q_f32(y + m * ys + 8 * s + 4 * i,
                  vmulq_f32(total[s][m][i], vld1q_f32((const float *)(w + s * panel) + 4 * i)));
}

// Each of four sums plus the products of its four bytes with the four bytes of `x` that LANE names.
template <int LANE> static inline int32x4_t dot4(int32x4_t sum, int8x16_t w, int8x16_t x) {
#ifdef __ARM_FEATURE_DOTPROD
    return vdotq_laneq_s32(sum, w, x, LANE);
#else
    const int8x16_t four = vreinterpretq_s8_s32(vdupq_laneq_s32(vreinterpretq_s32_s8(x), LANE));
    return vpadalq_s16(sum, vpaddq_s16(vmull_s8(vget_low_s8(w), vget_low_s8(four)), vmull_high_s8(w, four)));
#endif
}

// Columns [8 I, 8 I + 8) of a block of 32: the sums of rows 0 .. 3 and of rows 4 .. 7 for each token.
template <int I, int M>
static inline void dot8(const uint8_t *p, const int8x16_t (&t)[M][2], int32x4_t (&acc)[M][2]) {
    UNROLL for (int h = 0; h < 2; h++) {
        const uint8x16_t q = vld1q_u8(p + 32 * I + 16 * h);
        const int8x16_t low = vreinterpretq_s8_u8(vandq_u8(q, vdupq_n_u8(15)));
        const int8x16_t high = vreinterpretq_s8_u8(vshrq_n_u8(q, 4));
        UNROLL for (int m = 0; m < M; m++) {
            acc[m][h] = dot4<I % 2 * 2>(acc[m][h], low, t[m][I / 2]);
            acc[m][h] = dot4<I % 2 * 2 + 1>(acc[m][h], high, t[m][I / 2]);
        }
    }
}

// y[m][0 .. 8 S) of S panels in int4, with groups of B blocks of 32 columns.
template <int S, int M, int B>
static void groups_int4(const uint8_t *w, int64_t panel, int64_t groups, Packed4 x, float *y, int64_t ys) {
    float32x4_t total[S][M][2];
    UNROLL for (int s = 0; s < S; s++) UNROLL for (int m = 0; m < M; m++)
        total[s][m][0] = total[s][m][1] = vdupq_n_f32(0);
    const char *later = (const char *)w + S * panel;
    for (int64_t g = 0; g < groups; g++) {
        const uint8_t *at = w + g * (16 + 128 * B);
        float32x4_t part[S][M][2];
        UNROLL for (int j = 0; j < B; j++) {
            const int64_t b = g * B + j;
            int8x16_t t[M][2];
            UNROLL for (int m = 0; m < M; m++) UNROLL for (int h = 0; h < 2; h++)
                t[m][h] = vld1q_s8(x.values + m * x.stride + b * 32 + 16 * h);
            UNROLL for (int s = 0; s < S; s++) {
                const uint8_t *p = at + 16 + j * 128 + s * panel;
                if (S > 1) ask(later), ask(later + 64), later += 128;
                int32x4_t acc[M][2];
                UNROLL for (int m = 0; m < M; m++) acc[m][0] = acc[m][1] = vdupq_n_s32(x.offsets[m * x.blocks + b]);
                dot8<0, M>(p, t, acc), dot8<1, M>(p, t, acc), dot8<2, M>(p, t, acc), dot8<3, M>(p, t, acc);
                UNROLL for (int m = 0; m < M; m++) UNROLL for (int h = 0; h < 2; h++) {
                    const float32x4_t wide = vcvtq_f32_s32(acc[m][h]), scale = vdupq_n_f32(x.scales[m * x.blocks + b]);
                    part[s][m][h] = j ? vfmaq_f32(part[s][m][h], wide, scale) : vmulq_f32(wide, scale);
                }
            }
        }
        UNROLL for (int s = 0; s < S; s++) {
            const float16x8_t scales = vreinterpretq_f16_u16(vld1q_u16((const uint16_t *)(at + s * panel)));
            const float32x4_t wide[2] = {vcvt_f32_f16(vget_low_f16(scales)), vcvt_high_f32_f16(scales)};
            UNROLL for (int m = 0; m < M; m++) UNROLL for (int h = 0; h < 2; h++)
                total[s][m][h] = vfmaq_f32(total[s][m][h], part[s][m][h], wide[h]);
        }
    }
    UNROLL for (int s = 0; s < S; s++) UNROLL for (int m = 0; m < M; m++) UNROLL for (int h = 0; h < 2; h++)
        vst1q_f32(y + m * ys + 8 * s + 4 * h, total[s][m][h]);
}
