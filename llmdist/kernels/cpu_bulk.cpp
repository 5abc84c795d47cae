// Products of plain weights with many tokens, as a prompt has them: sums in registers over packed panels.
//
// A piece of a few rows and a few hundred columns is widened to float32 and turned, so that one column of it is two
// registers, and stays in the first cache while all tokens pass; a token's element is broadcast. Every product of two
// numbers is then one lane of a fused multiply-add whose operands are registers or lines of the first cache, where the
// tiles of cpu_tiles.h load two operands for it. Sums add up in another order than there: see `MANY`.
#include "cpu_product.h"

#if defined(LLMDIST_AVX512) || defined(LLMDIST_WIDE)  // LLMDIST_WIDE: such registers made of two, for tests
constexpr int LANES = 16, TOKENS = 12;  // 24 registers of sums, of 32
#elif defined(LLMDIST_AVX2)
constexpr int LANES = 8, TOKENS = 6;  // 12, of 16
#elif defined(__aarch64__)
constexpr int LANES = 4, TOKENS = 10;  // 20, of 32
#else
constexpr int LANES = 4, TOKENS = 6;
#endif
constexpr int ROWS = 2 * LANES;      // of one panel
constexpr int64_t DEPTH = 4096 / ROWS;  // columns of a panel: 16 KiB of float32

typedef float Lanes __attribute__((vector_size(4 * LANES)));
static inline Lanes load(const float *from) {  // from any address
    Lanes value;
    memcpy(&value, from, sizeof value);
    return value;
}

#ifdef LLMDIST_AVX2
// 8 columns of 8 rows become 8 columns of 8 lanes, `stride` floats apart.
template <int KIND> static inline void turn8(const char *w, int64_t row_bytes, int64_t k, float *out, int64_t stride) {
    __m256 a[8], b[8];
    UNROLL for (int r = 0; r < 8; r++) a[r] = wide8<KIND>(w + r * row_bytes, k);
    UNROLL for (int i = 0; i < 4; i++) {
        b[2 * i] = _mm256_unpacklo_ps(a[2 * i], a[2 * i + 1]);
        b[2 * i + 1] = _mm256_unpackhi_ps(a[2 * i], a[2 * i + 1]);
    }
    UNROLL for (int i = 0; i < 2; i++) UNROLL for (int j = 0; j < 2; j++) {
        a[4 * i + 2 * j] = _mm256_shuffle_ps(b[4 * i + j], b[4 * i + 2 + j], 0x44);
        a[4 * i + 2 * j + 1] = _mm256_shuffle_ps(b[4 * i + j], b[4 * i + 2 + j], 0xee);
    }
    UNROLL for (int i = 0; i < 4; i++) {
        _mm256_storeu_ps(out + i * stride, _mm256_permute2f128_ps(a[i], a[4 + i], 0x20));
        _mm256_storeu_ps(out + (4 + i) * stride, _mm256_permute2f128_ps(a[i], a[4 + i], 0x31));
    }
}
#endif

// Columns [first, first + depth) of `count` rows from `row` into out[depth][ROWS]; rows that are missing become zeros.
template <int KIND>
static void turn_panel(const Matrix &w, int64_t row, int64_t count, int64_t first, int64_t depth, float *out) {
    const int64_t row_bytes = w.columns * (KIND == FP32 ? 4 : 2);
    const char *from = (const char *)w.data + row * row_bytes;
    int64_t k = 0;
#ifdef LLMDIST_AVX2
    if (count == ROWS)
        for (; k + 8 <= depth; k += 8)
            for (int r = 0; r < ROWS; r += 8)
                turn8<KIND>(from + r * row_bytes, row_bytes, first + k, out + k * ROWS + r, ROWS);
#endif
    for (; k < depth; k++)
        for (int64_t r = 0; r < ROWS; r++)
            out[k * ROWS + r] = r < count ? load_one(from + r * row_bytes, KIND, first + k) : 0.f;
}

// y[m][ROWS] of `tokens` tokens = a panel times x[depth][TOKENS], added to what is there where `more`.
static void panel_times(const float *panel, const float *x, int64_t depth, float *y, int64_t stride, bool more) {
    Lanes acc[TOKENS][2] = {};
    for (int64_t k = 0; k < depth; k++) {
        const Lanes first = load(panel + k * ROWS), second = load(panel + k * ROWS + LANES);
        UNROLL for (int m = 0; m < TOKENS; m++) {
            const float one = x[k * TOKENS + m];
            acc[m][0] += first * one;
            acc[m][1] += second * one;
        }
    }
    UNROLL for (int m = 0; m < TOKENS; m++) UNROLL for (int i = 0; i < 2; i++) {
        float *at = y + m * stride + i * LANES;
        const Lanes sum = more ? load(at) + acc[m][i] : acc[m][i];
        memcpy(at, &sum, sizeof sum);
    }
}

// x (tokens, columns) as pieces of DEPTH columns, in each TOKENS tokens side by side; tokens that are missing are zeros.
static float *side_by_side(const float *x, int64_t tokens, int64_t columns) {
    const int64_t groups = (tokens + TOKENS - 1) / TOKENS, padded = groups * TOKENS;
    float *out = scratch.take<float>(padded * columns);
    parallel(groups, [=](int64_t g) {
        const int64_t count = std::min<int64_t>(TOKENS, tokens - g * TOKENS);
        for (int64_t first = 0; first < columns; first += DEPTH) {
            const int64_t depth = std::min(DEPTH, columns - first);
            float *piece = out + first * padded + g * TOKENS * depth;
            for (int64_t k = 0; k < depth; k++)
                for (int64_t m = 0; m < TOKENS; m++)
                    piece[k * TOKENS + m] = m < count ? x[(g * TOKENS + m) * columns + first + k] : 0.f;
        }
    });
    return out;
}

// Rows [row, row + count) of y, count at most ROWS; `panel` is room for ROWS x DEPTH floats.
template <int KIND>
static void panel_of_rows(const Matrix &w, const float *x, int64_t tokens, int64_t row, int64_t count, float *panel,
                          float *y) {
    const int64_t groups = (tokens + TOKENS - 1) / TOKENS;
    float edge[TOKENS * ROWS];
    for (int64_t first = 0; first < w.columns; first += DEPTH) {
        const int64_t depth = std::min(DEPTH, w.columns - first);
        turn_panel<KIND>(w, row, count, first, depth, panel);
        const float *piece = x + first * groups * TOKENS;
        for (int64_t g = 0; g < groups; g++, piece += TOKENS * depth) {
            const int64_t valid = std::min<int64_t>(TOKENS, tokens - g * TOKENS);
            float *at = y + g * TOKENS * w.rows + row;
            if (valid == TOKENS && count == ROWS) {
                panel_times(panel, piece, depth, at, w.rows, first > 0);
                continue;
            }
            panel_times(panel, piece, depth, edge, ROWS, false);
            for (int64_t m = 0; m < valid; m++)
                for (int64_t r = 0; r < count; r++)
                    at[m * w.rows + r] = edge[m * ROWS + r] + (first > 0 ? at[m * w.rows + r] : 0.f);
        }
    }
}

void multiply_many(const Matrix &w, const float *x, int64_t tokens, float *y) {
    const float *packed = side_by_side(x, tokens, w.columns);
    parallel((w.rows + ROWS - 1) / ROWS, [&](int64_t item) {
        alignas(64) float panel[ROWS * DEPTH];
        const int64_t row = item * ROWS, count = std::min<int64_t>(ROWS, w.rows - row);
        if (w.kind == FP32) panel_of_rows<FP32>(w, packed, tokens, row, count, panel, y);
        else if (w.kind == BF16) panel_of_rows<BF16>(w, packed, tokens, row, count, panel, y);
        else panel_of_rows<FP16>(w, packed, tokens, row, count, panel, y);
    });
    add_bias(w, tokens, y);
}
