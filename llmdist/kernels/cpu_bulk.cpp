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
constexpr int64_t BLOCK = (512 + TOKENS - 1) / TOKENS * TOKENS;  // tokens that pass a panel before it is turned again

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
    if (count == ROWS) {
        for (int r = 0; r < ROWS; r += 8)  // 8 rows to their end: of 32 that lie 4 KiB apart, no cache keeps the lines
            for (k = 0; k + 8 <= depth; k += 8)
                turn8<KIND>(from + r * row_bytes, row_bytes, first + k, out + k * ROWS + r, ROWS);
    }
#endif
    for (; k < depth; k++)
        for (int64_t r = 0; r < ROWS; r++)
            out[k * ROWS + r] = r < count ? load_one(from + r * row_bytes, KIND, first + k) : 0.f;
}

// sums[m][ROWS] of TOKENS tokens = a panel times x[depth][TOKENS], added to what is there where `more`.
static void panel_times(const float *panel, const float *x, int64_t depth, float *sums, bool more) {
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
        float *at = sums + m * ROWS + i * LANES;
        const Lanes sum = more ? load(at) + acc[m][i] : acc[m][i];
        memcpy(at, &sum, sizeof sum);
    }
}

// Tokens as pieces of DEPTH columns, in each TOKENS tokens side by side; those missing from the last group are zeros.
struct Groups { const float *values; int64_t count; };

static Groups side_by_side(const float *x, int64_t tokens, int64_t columns) {
    const int64_t groups = (tokens + TOKENS - 1) / TOKENS, padded = groups * TOKENS;
    float *out = scratch.take<float>(padded * columns);
    parallel(groups, [=](int64_t g) {
        for (int64_t first = 0; first < columns; first += DEPTH) {
            const int64_t depth = std::min(DEPTH, columns - first);
            float *piece = out + first * padded + g * TOKENS * depth;
            for (int64_t m = 0; m < TOKENS; m++) {  // one token to the piece's end: tokens may lie 4 KiB apart, too
                const bool missing = g * TOKENS + m >= tokens;
                const float *from = x + (g * TOKENS + m) * columns + first;
                for (int64_t k = 0; k < depth; k++) piece[k * TOKENS + m] = missing ? 0.f : from[k];
            }
        }
    });
    return {out, groups};
}

// Ask for columns [first, first + depth) of rows [from, to): a row is too short a read for the processor to look ahead.
template <int KIND> static void ask_rows(const Matrix &w, int64_t from, int64_t to, int64_t first, int64_t depth) {
    constexpr int64_t size = KIND == FP32 ? 4 : 2;
    for (int64_t row = from; row < to; row++) {
        const char *at = (const char *)w.data + (row * w.columns + first) * size;
        for (int64_t byte = 0; byte < depth * size; byte += 64) __builtin_prefetch(at + byte, 0, 2);
    }
}

// Room of one thread. Sums wait here for their row to end: lines of y itself are so far apart that they would push each
// other out of the caches.
struct Room { alignas(64) float panel[ROWS * DEPTH], sums[ROWS * BLOCK]; };

// Up to ROWS rows of y from `row` on, for tokens [begin, end), at most BLOCK of them; `begin` starts a group.
template <int KIND>
static void panel_of_rows(const Matrix &w, int64_t row, const Groups &x, int64_t begin, int64_t end, Room &room, float *y) {
    const int64_t first_group = begin / TOKENS, here = (end + TOKENS - 1) / TOKENS - first_group;
    const int64_t count = std::min<int64_t>(ROWS, w.rows - row);
    for (int64_t first = 0; first < w.columns; first += DEPTH) {
        const int64_t depth = std::min(DEPTH, w.columns - first), next = first + depth;
        const int64_t then = std::min(DEPTH, w.columns - next);
        turn_panel<KIND>(w, row, count, first, depth, room.panel);
        const float *piece = x.values + first * x.count * TOKENS + first_group * TOKENS * depth;
        for (int64_t g = 0; g < here; g++, piece += TOKENS * depth) {
            ask_rows<KIND>(w, row + count * g / here, row + count * (g + 1) / here, next, then);
            panel_times(room.panel, piece, depth, room.sums + g * TOKENS * ROWS, first > 0);
        }
    }
    for (int64_t m = begin; m < end; m++) {
        const float *from = room.sums + (m - begin) * ROWS;
        std::copy(from, from + count, y + m * w.rows + row);
    }
}

void multiply_many(const Matrix &w, const float *x, int64_t tokens, float *y) {
    const Groups groups = side_by_side(x, tokens, w.columns);
    parallel((w.rows + ROWS - 1) / ROWS, [&](int64_t item) {
        Room room;
        for (int64_t t = 0; t < tokens; t += BLOCK) {
            const int64_t end = std::min(tokens, t + BLOCK);
            if (w.kind == FP32) panel_of_rows<FP32>(w, item * ROWS, groups, t, end, room, y);
            else if (w.kind == BF16) panel_of_rows<BF16>(w, item * ROWS, groups, t, end, room, y);
            else panel_of_rows<FP16>(w, item * ROWS, groups, t, end, room, y);
        }
    });
    add_bias(w, tokens, y);
}
