// Products by the tiles of cpu_tiles.h: tokens are packed, rows handed to the threads. A unit of its own, as the many
// shapes of a tile take a compiler as long as everything else.
#include "cpu_product.h"
#include "cpu_tiles.h"

// Even elements, then odd ones, of every 16 (32): the order in which `load16` (`load32`) unpacks bf16.
static void even_then_odd(const float *x, int64_t columns, float *out) {
    const int64_t whole = columns & ~(FLOATS - 1);
#if defined(LLMDIST_AVX512)
    const __m512i even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    for (int64_t k = 0; k < whole; k += 32) {
        const __m512 a = _mm512_loadu_ps(x + k), b = _mm512_loadu_ps(x + k + 16);
        _mm512_storeu_ps(out + k, _mm512_permutex2var_ps(a, even, b));
        _mm512_storeu_ps(out + k + 16, _mm512_permutex2var_ps(a, odd, b));
    }
    std::copy(x + whole, x + columns, out + whole);
#elif defined(LLMDIST_AVX2)
    for (int64_t k = 0; k < whole; k += 16) {
        __m256 a = _mm256_loadu_ps(x + k), b = _mm256_loadu_ps(x + k + 8);
        __m256d even = _mm256_castps_pd(_mm256_shuffle_ps(a, b, 0x88));
        __m256d odd = _mm256_castps_pd(_mm256_shuffle_ps(a, b, 0xdd));
        _mm256_storeu_ps(out + k, _mm256_castpd_ps(_mm256_permute4x64_pd(even, 0xd8)));
        _mm256_storeu_ps(out + k + 8, _mm256_castpd_ps(_mm256_permute4x64_pd(odd, 0xd8)));
    }
    std::copy(x + whole, x + columns, out + whole);
#else
    (void)whole;
    std::copy(x, x + columns, out);
#endif
}

// The power of two that brings `peak` to 2^14 .. 2^15: fp16 then keeps 11 bits of every number down to 2^-28 of the peak.
static float to_range_of_fp16(float peak) {
    int exponent;
    if (!(peak > 0) || !std::isfinite(peak)) return 1;
    std::frexp(peak, &exponent);
    return std::ldexp(1.f, std::min(15 - exponent, 100));
}

// Multiply by `factor` and round to fp16, which `out` holds as such or as floats (`x` itself then, if need be).
template <class T> static void round_to_fp16(const float *x, int64_t count, float factor, T *out) {
    int64_t k = 0;
#ifdef LLMDIST_AVX2
    for (; k + 8 <= count; k += 8) {
        const __m128i halves = _mm256_cvtps_ph(_mm256_mul_ps(_mm256_loadu_ps(x + k), _mm256_set1_ps(factor)), 0);
        if (sizeof(T) == 2) _mm_storeu_si128((__m128i *)(out + k), halves);
        else _mm256_storeu_ps((float *)(out + k), _mm256_cvtph_ps(halves));
    }
#endif
    for (; k < count; k++) {
        const uint16_t half = to_fp16(x[k] * factor);
        out[k] = sizeof(T) == 2 ? (T)half : (T)from_fp16(half);
    }
}

static Packed16 pack_fp16(const float *x, int64_t tokens, int64_t columns, int kind) {
    auto *values = scratch.take<float>(tokens * columns), *scales = scratch.take<float>(tokens);
    auto *halves = tokens == 1 ? scratch.take<uint16_t>(columns) : nullptr;
    for (int64_t t = 0; t < tokens; t++) {
        const float *from = x + t * columns, factor = to_range_of_fp16(largest(from, columns));
        float *to = values + t * columns;
        if (kind == BF16) even_then_odd(from, columns, to), from = to;
        if (halves) round_to_fp16(from, columns, factor, halves);
        else round_to_fp16(from, columns, factor, to);
        scales[t] = 1 / factor;
    }
    return {halves ? (const void *)halves : values, scales, tokens == 1};
}

// Round `count` floats to integers of at most `limit`, pad with zeros to `width`; returns scale and sum.
template <class T>
static float quantise_block(const float *x, int64_t count, int64_t width, float limit, T *out, int32_t &sum) {
    const float peak = largest(x, count), inverse = peak > 0 ? limit / peak : 0;
    int64_t k = 0;
    sum = 0;
#ifdef LLMDIST_AVX2
    const __m256 factor = _mm256_set1_ps(inverse);
    __m256i sums = _mm256_setzero_si256();
    for (; k + 16 <= count; k += 16) {
        __m256i a = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + k), factor));
        __m256i b = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + k + 8), factor));
        sums = _mm256_add_epi32(sums, _mm256_add_epi32(a, b));
        __m256i both = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
        if (sizeof(T) == 2) _mm256_storeu_si256((__m256i *)(out + k), both);
        else {
            __m128i narrow = _mm_packs_epi16(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
            _mm_storeu_si128((__m128i *)(out + k), narrow);
        }
    }
    int32_t lanes[8];
    _mm256_storeu_si256((__m256i *)lanes, sums);
    for (int32_t lane : lanes) sum += lane;
#endif
    for (; k < count; k++) sum += out[k] = (T)std::nearbyint(x[k] * inverse);
    std::fill(out + count, out + width, (T)0);
    return peak / limit;
}

static Packed8 pack_int16(const float *x, int64_t tokens, int64_t columns, int64_t padded) {
    const int64_t blocks = (padded + 255) / 256;
    auto *values = scratch.take<int16_t>(tokens * padded);
    auto *scales = scratch.take<float>(tokens * blocks);
    auto one = [=](int64_t t) {
        for (int64_t b = 0; b < blocks; b++) {
            const int64_t k = b * 256, width = std::min<int64_t>(256, padded - k);
            int32_t sum;
            const int64_t count = std::min(width, std::max<int64_t>(0, columns - k));
            scales[t * blocks + b] =
                quantise_block(x + t * columns + k, count, width, 32767.f, values + t * padded + k, sum);
        }
    };
    if (tokens < 8) for (int64_t t = 0; t < tokens; t++) one(t);
    else parallel(tokens, one);
    return {values, scales, padded, blocks};
}

static Packed4 pack_int8(const float *x, int64_t tokens, int64_t columns, int64_t padded) {
    const int64_t blocks = padded / 32;
    auto *values = scratch.take<int8_t>(tokens * padded);
    auto *scales = scratch.take<float>(tokens * blocks);
    auto *offsets = scratch.take<int32_t>(tokens * blocks);
    auto one = [=](int64_t t) {
        for (int64_t b = 0; b < blocks; b++) {
            const int64_t k = b * 32, count = std::min<int64_t>(32, std::max<int64_t>(0, columns - k));
            int32_t sum;
            scales[t * blocks + b] =
                quantise_block(x + t * columns + k, count, 32, 127.f, values + t * padded + k, sum);
            offsets[t * blocks + b] = -8 * sum;
        }
    };
    if (tokens < 8) for (int64_t t = 0; t < tokens; t++) one(t);
    else parallel(tokens, one);
    return {values, scales, offsets, padded, blocks};
}

// Compute rows [row, row + count) for `m` tokens from `t` into tile[m][count]; the widths are those of the tiles.
struct Product {
    const Matrix &w;
    Packed16 x16;  // of fp32 weights, the tokens themselves
    Packed8 x8;
    Packed4 x4;

    template <int KIND, int N, int M> void plain(int64_t row, int64_t t, float *out) const {
        const char *at = (const char *)w.data + row * w.columns * (KIND == FP32 ? 4 : 2);
        const float *x = (const float *)x16.values + t * w.columns;
        if (KIND != FP32 && M == 1 && x16.halves) tile_rows<KIND, FP16, N, M>(at, w.columns, x16.values, 0, out, N);
        else tile_rows<KIND, FP32, N, M>(at, w.columns, x, w.columns, out, N);
        if (KIND != FP32)
            for (int i = 0; i < N * M; i++) out[i] *= x16.scales[t + i / N];
    }
    template <int N, int M> void tile(int64_t row, int64_t t, float *out) const {
        const int64_t before = w.kind < INT8 ? 0 : row / 8 * panel_bytes(w.kind, w.padded, w.group);
        const auto *panels = (const uint8_t *)w.data + before;
        if (w.kind == INT8) {
            Packed8 at{x8.values + t * x8.stride, x8.scales + t * x8.blocks, x8.stride, x8.blocks};
            tile_int8<N, M>(panels, w.padded, at, out, 8 * N);
        } else if (w.kind == INT4) {
            const int64_t skip = t * x4.blocks;
            Packed4 at{x4.values + t * x4.stride, x4.scales + skip, x4.offsets + skip, x4.stride, x4.blocks};
            tile_int4<N, M>(panels, w.padded, w.group, at, out, 8 * N);
        } else if (w.kind == FP32) plain<FP32, N, M>(row, t, out);
        else if (w.kind == BF16) plain<BF16, N, M>(row, t, out);
        else plain<FP16, N, M>(row, t, out);
    }
    // The tile of `n` rows or panels and `m` tokens; every pair that `multiply` asks for is listed.
    void dispatch(int n, int m, int64_t row, int64_t t, float *out) const {
        switch (n * 10 + m) {
            case 81: return tile<8, 1>(row, t, out);
            case 41: return tile<4, 1>(row, t, out);
            case 21: return tile<2, 1>(row, t, out);
            case 11: return tile<1, 1>(row, t, out);
            case 42: return tile<4, 2>(row, t, out);
            case 43: return tile<4, 3>(row, t, out);
            case 22: return tile<2, 2>(row, t, out);
            case 23: return tile<2, 3>(row, t, out);
            case 24: return tile<2, 4>(row, t, out);
            case 12: return tile<1, 2>(row, t, out);
            case 13: return tile<1, 3>(row, t, out);
            default: return tile<1, 4>(row, t, out);
        }
    }
};

void multiply(const Matrix &w, const float *x, int64_t tokens, float *y) {
    const bool whole = w.kind == INT8 || w.kind == INT4;
    const int unit = whole ? 8 : 1, few = w.kind == INT4 ? 4 : 2;
    const int side = whole ? (tokens <= few ? 1 : PANELS) : SUMS / 6;
    const int64_t token = w.columns * (w.kind == FP32 ? 4 : w.kind == INT4 ? 1 : 2);
    const int one = w.rows * w.columns < ALONE ? (whole ? 4 : 8) : streams_of[w.kind][token > NARROW];
    const int widest = tokens == 1 ? one : side;  // a small matrix comes from a cache, whatever the order
    const int most = whole ? 4 : 3;
    Product product{w, {x, nullptr, false}, {}, {}};
    if (w.kind == INT8) product.x8 = pack_int16(x, tokens, w.columns, w.padded);
    else if (w.kind == INT4) product.x4 = pack_int8(x, tokens, w.columns, w.padded);
    else if (w.kind != FP32) product.x16 = pack_fp16(x, tokens, w.columns, (int)w.kind);
    const int64_t units = (w.rows + unit - 1) / unit;
    int64_t per_item = std::max<int64_t>(widest, units / (threads * 8) / widest * widest);
    if (tokens > 8) per_item = std::min<int64_t>(per_item, 64 / unit);
    const int64_t block = 48;  // tokens whose packed form stays in the second cache
    parallel((units + per_item - 1) / per_item, [&](int64_t item) {
        const int64_t end = std::min(units, (item + 1) * per_item);
        float out[8 * 8 * 4];
        for (int64_t first = 0; first < tokens; first += block)
            for (int64_t u = item * per_item; u < end;) {
                int n = widest;
                while (n > end - u) n /= 2;
                if (tokens > 1 && n < widest) n = 1;
                const int64_t last = std::min(tokens, first + block), row = u * unit, width = n * unit;
                for (int64_t t = first; t < last;) {
                    const int64_t left = last - t;
                    int m = (int)std::min<int64_t>(most, left);
                    if (most == 4 && m == 3) m = 2;
                    if (most == 3 && left == 4) m = 2;
                    product.dispatch(n, m, row, t, out);
                    const int64_t valid = std::min<int64_t>(width, w.rows - row);
                    for (int j = 0; j < m; j++) std::copy(out + j * width, out + j * width + valid, y + (t + j) * w.rows + row);
                    t += m;
                }
                u += n;
            }
    }, w.rows * w.columns * tokens);
    add_bias(w, tokens, y);
}
