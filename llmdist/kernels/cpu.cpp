// What the CPU kernels export: one product, one attention block, one MLP, the head, and a read test.
//
// A block is one call, so that a decode step costs Python a few microseconds a block. Everything between two products
// is computed in float32. Plain torch (model/layers.py) is the definition that all of it is tested against.
#include "cpu_attention.h"
#include "cpu_blocks.h"
#include "cpu_unpack.h"

#if defined(_WIN32)
#define EXPORT extern "C" __declspec(dllexport)
#else
#define EXPORT extern "C" __attribute__((visibility("default")))
#endif

static inline float fast_exp(float x) {  // Cephes' expf: within 2 units in the last place
    x = std::min(88.f, std::max(-87.f, x));
    const float n = std::nearbyint(x * 1.44269504f);
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f, p = p * r + 8.3334519073e-3f, p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f, p = p * r + 5.0000001201e-1f;
    const float value = p * r * r + r + 1.f;
    return value * from_bits((uint32_t)((int32_t)n + 127) << 23);
}

static void rms_norm(const float *x, const Vector &weight, int64_t size, float eps, float *out) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < size; i++) sum += x[i] * x[i];
    const float scale = 1.f / std::sqrt(sum / size + eps);
    if (weight.kind == FP32)
        for (int64_t i = 0; i < size; i++) out[i] = x[i] * scale * ((const float *)weight.data)[i];
    else if (weight.kind == BF16)
        for (int64_t i = 0; i < size; i++) out[i] = x[i] * scale * from_bf16(((const uint16_t *)weight.data)[i]);
    else
        for (int64_t i = 0; i < size; i++) out[i] = x[i] * scale * from_fp16(((const uint16_t *)weight.data)[i]);
}

static float *normed(const float *x, const Vector &weight, int64_t rows, int64_t size, float eps) {
    float *out = scratch.take<float>(rows * size);
    for (int64_t r = 0; r < rows; r++) rms_norm(x + r * size, weight, size, eps, out + r * size);
    return out;
}

static void rotate(float *head, const float *cos, const float *sin, int64_t half) {
    for (int64_t i = 0; i < half; i++) {
        const float a = head[i], b = head[i + half];
        head[i] = a * cos[i] - b * sin[i];
        head[i + half] = b * cos[i] + a * sin[i];
    }
}

// Store one token's key or value of one head; in int8 as `quantise_rows` of int8_cache.py does.
static void store_row(void *cache, uint16_t *scales, int kind, int64_t position, int64_t d, const float *x) {
    if (kind != INT8) {
        for (int64_t i = 0; i < d; i++) store_one(cache, kind, position * d + i, x[i]);
        return;
    }
    const uint16_t bits = to_bf16(largest(x, d) / 127.f);
    const float scale = from_bf16(bits), inverse = scale > 1e-30f ? 1.f / scale : 0.f;
    scales[position] = bits;
    for (int64_t i = 0; i < d; i++) ((int8_t *)cache)[position * d + i] = (int8_t)std::nearbyint(x[i] * inverse);
}

// Norm and rotate the heads of every token and write its keys and values into the caches.
static void append(const Attention &a, float *qkv) {
    const int64_t d = a.head_dim, width = (a.heads + 2 * a.kv_heads) * d;
    for (int64_t n = 0; n < a.batch * a.tokens; n++) {
        const int64_t t = n % a.tokens, b = n / a.tokens;
        for (int64_t h = 0; h < a.heads + a.kv_heads; h++) {
            float *head = qkv + n * width + h * d;
            const Vector &norm = h < a.heads ? a.q_norm : a.k_norm;
            if (norm.data) rms_norm(head, norm, d, a.eps, head);
            const int64_t at = b * a.table_stride + t * d / 2;
            rotate(head, a.cos + at, a.sin + at, d / 2);
        }
        for (int64_t g = 0; g < a.kv_heads; g++) {
            const int64_t at = (b * a.kv_heads + g) * a.context + a.starts[b] + t;
            const float *key = qkv + n * width + (a.heads + g) * d, *value = key + a.kv_heads * d;
            store_row(a.keys, a.key_scales, (int)a.cache_kind, at, d, key);
            store_row(a.values, a.value_scales, (int)a.cache_kind, at, d, value);
        }
    }
}

// One token's queries of one kv head against its cache; `base` is the head's first element there.
template <int KIND>
static void attend_kind(const Attention &a, const float *q, int64_t base, int64_t count, float *scores, float *out) {
    const int64_t d = a.head_dim, group = a.heads / a.kv_heads;
    const float scale = 1.f / std::sqrt((float)d);
    score_group<KIND>(a.keys, base, count, d, q, group, scores);
    for (int64_t j = 0; j < group; j++) {
        float *s = scores + j * count, sum = 0;
        for (int64_t p = 0; p < count; p++)
            s[p] *= a.key_scales ? scale * from_bf16(a.key_scales[base / d + p]) : scale;
        const float peak = highest(s, count);
#pragma omp simd reduction(+ : sum)
        for (int64_t p = 0; p < count; p++) sum += s[p] = fast_exp(s[p] - peak);
        for (int64_t p = 0; p < count; p++) s[p] /= sum;
        if (a.value_scales)
            for (int64_t p = 0; p < count; p++) s[p] *= from_bf16(a.value_scales[base / d + p]);
    }
    std::fill(out, out + group * d, 0.f);
    mix_group<KIND>(a.values, base, count, d, scores, group, out);
}

static void attend(const Attention &a, const float *q, int64_t base, int64_t count, float *scores, float *out) {
    if (a.cache_kind == FP32) attend_kind<FP32>(a, q, base, count, scores, out);
    else if (a.cache_kind == BF16) attend_kind<BF16>(a, q, base, count, scores, out);
    else if (a.cache_kind == INT8) attend_kind<INT8>(a, q, base, count, scores, out);
    else attend_kind<FP16>(a, q, base, count, scores, out);
}

static void add(float *x, const float *y, int64_t count) {
    for (int64_t i = 0; i < count; i++) x[i] += y[i];
}

// x (batch * tokens, hidden) becomes the block's output.
EXPORT void llmdist_attention(const Attention *args, float *x) {
    std::lock_guard<std::mutex> hold(entrance);
    scratch.reset();
    const Attention &a = *args;
    const int64_t rows = a.batch * a.tokens, d = a.head_dim, hidden = a.out.rows, group = a.heads / a.kv_heads;
    const int64_t width = (a.heads + 2 * a.kv_heads) * d;
    const int64_t longest = *std::max_element(a.starts, a.starts + a.batch) + a.tokens;
    float *in = normed(x, a.norm, rows, hidden, a.eps);
    float *qkv = scratch.take<float>(rows * width), *mixed = scratch.take<float>(rows * a.heads * d);
    multiply(a.qkv, in, rows, qkv);
    append(a, qkv);
    float *scores = scratch.take<float>(rows * a.heads * longest);
    parallel(rows * a.kv_heads, [&](int64_t item) {
        const int64_t n = item / a.kv_heads, g = item % a.kv_heads, b = n / a.tokens, t = n % a.tokens;
        attend(a, qkv + n * width + g * group * d, (b * a.kv_heads + g) * a.context * d, a.starts[b] + t + 1,
               scores + item * group * longest, mixed + (n * a.heads + g * group) * d);
    }, 2 * rows * a.heads * d * longest);
    float *result = scratch.take<float>(rows * hidden);
    multiply(a.out, mixed, rows, result);
    add(x, result, rows * hidden);
}

// x (rows, hidden) becomes the block's output.
EXPORT void llmdist_mlp(const Mlp *args, float *x, int64_t rows) {
    std::lock_guard<std::mutex> hold(entrance);
    scratch.reset();
    const Mlp &a = *args;
    const int64_t hidden = a.down.rows, inner = a.down.columns;
    float *in = normed(x, a.norm, rows, hidden, a.eps);
    float *both = scratch.take<float>(rows * 2 * inner), *gated = scratch.take<float>(rows * inner);
    multiply(a.gate_up, in, rows, both);
    for (int64_t n = 0; n < rows; n++) {
        const float *gate = both + n * 2 * inner, *up = gate + inner;
        float *out = gated + n * inner;
#pragma omp simd
        for (int64_t i = 0; i < inner; i++) out[i] = gate[i] / (1.f + fast_exp(-gate[i])) * up[i];
    }
    float *result = scratch.take<float>(rows * hidden);
    multiply(a.down, gated, rows, result);
    add(x, result, rows * hidden);
}

// Blocks that follow each other, in one call: arguments[i] is an Attention, or an Mlp where is_mlp[i]. x (rows, hidden) becomes
// the last one's output; seconds[i] is what block i took.
EXPORT void llmdist_blocks(const void *const *arguments, const uint8_t *is_mlp, int64_t count, float *x, int64_t rows,
                           double *seconds) {
    auto before = std::chrono::steady_clock::now();
    for (int64_t i = 0; i < count; i++) {
        if (is_mlp[i]) llmdist_mlp((const Mlp *)arguments[i], x, rows);
        else llmdist_attention((const Attention *)arguments[i], x);
        const auto now = std::chrono::steady_clock::now();
        seconds[i] = std::chrono::duration<double>(now - before).count();
        before = now;
    }
}

// logits (rows, vocab_size) of x (rows, hidden).
EXPORT void llmdist_head(const Head *args, const float *x, int64_t rows, float *logits) {
    std::lock_guard<std::mutex> hold(entrance);
    scratch.reset();
    multiply(args->lm_head, normed(x, args->norm, rows, args->lm_head.columns, args->eps), rows, logits);
}

EXPORT void llmdist_product(const Matrix *w, const float *x, int64_t tokens, float *y) {
    std::lock_guard<std::mutex> hold(entrance);
    scratch.reset();
    if (w->kind < INT8 && tokens >= MANY) multiply_many(*w, x, tokens, y);
    else multiply(*w, x, tokens, y);
}

// One panel of 8 rows; the same rounding as `pack` in packing.py.
static void pack_panel_int8(const float *rows, int64_t columns, uint8_t *out) {
    auto *values = (int8_t *)(out + 32);
    for (int r = 0; r < 8; r++) {
        const float *x = rows + r * columns, scale = largest(x, columns) / 127.f;
        memcpy(out + 4 * r, &scale, 4);
        const float divisor = std::max(scale, 1e-30f);
        for (int64_t k = 0; k < columns; k++) {
            const float q = std::min(127.f, std::max(-127.f, std::nearbyint(x[k] / divisor)));
            values[8 * (k & ~(int64_t)1) + 2 * r + (k & 1)] = (int8_t)q;
        }
    }
}

static void pack_panel_int4(const float *rows, int64_t columns, int64_t group, uint8_t *out) {
    for (int r = 0; r < 8; r++)
        for (int64_t g = 0; g < columns / group; g++) {
            const float *x = rows + r * columns + g * group;
            float extreme = x[0];
            for (int64_t k = 1; k < group; k++)
                if (std::fabs(x[k]) > std::fabs(extreme)) extreme = x[k];
            const uint16_t bits = to_fp16(extreme / -8.f);
            uint8_t *at = out + g * (16 + 4 * group), *values = at + 16;
            memcpy(at + 2 * r, &bits, 2);
            const float scale = from_fp16(bits), inverse = scale == 0 ? 0.f : 1.f / scale;
            for (int64_t k = 0; k < group; k++) {
                const float q = std::min(7.f, std::max(-8.f, std::nearbyint(x[k] * inverse))) + 8.f;
                uint8_t &two = values[k / 8 * 32 + 4 * r + k % 4];
                two = k % 8 < 4 ? (uint8_t)q : (uint8_t)(two | (uint8_t)q << 4);
            }
        }
}

// Pack `rows` x `columns` floats (rows a multiple of 8, columns of the group) into panels.
EXPORT void llmdist_pack(int32_t kind, const float *x, int64_t rows, int64_t columns, int64_t group, uint8_t *out) {
    std::lock_guard<std::mutex> hold(entrance);
    parallel(rows / 8, [&](int64_t panel) {
        const float *from = x + panel * 8 * columns;
        uint8_t *to = out + panel * panel_bytes(kind, columns, group);
        if (kind == INT8) pack_panel_int8(from, columns, to);
        else pack_panel_int4(from, columns, group, to);
    });
}

// The quantised matrix (rows a multiple of 8) as bf16 (rows, columns).
EXPORT void llmdist_unpack(const Matrix *w, uint16_t *out) {
    std::lock_guard<std::mutex> hold(entrance);
    const int64_t size = panel_bytes(w->kind, w->padded, w->group);
    parallel(w->rows / 8, [&](int64_t panel) {
        unpack_panel(*w, (const uint8_t *)w->data + panel * size, out + panel * 8 * w->columns);
    });
}

EXPORT void llmdist_threads(int32_t count) {
    std::lock_guard<std::mutex> hold(entrance);
    threads = count;
}

EXPORT void llmdist_streams(int32_t kind, int32_t narrow, int32_t wide) {
    std::lock_guard<std::mutex> hold(entrance);
    streams_of[kind][0] = narrow, streams_of[kind][1] = wide;
}

EXPORT int64_t llmdist_scratch_bytes() { return scratch.bytes(); }

EXPORT void llmdist_free_scratch() {
    std::lock_guard<std::mutex> hold(entrance);
    scratch.clear();
}

// Drop `data` from every cache, so that what reads it next reads memory; does nothing where a processor cannot say that.
EXPORT void llmdist_forget(const char *data, int64_t bytes) {
#if defined(__x86_64__) || defined(_M_X64)
    for (int64_t at = 0; at < bytes; at += 64)
#if defined(__CLFLUSHOPT__)
        _mm_clflushopt((void *)(data + at));
#else
        _mm_clflush(data + at);
#endif
    _mm_mfence();
#elif defined(__aarch64__)
    for (int64_t at = 0; at < bytes; at += 64) asm volatile("dc civac, %0" : : "r"(data + at) : "memory");
    asm volatile("dsb ish" : : : "memory");
#else
    (void)data, (void)bytes;
#endif
}

// Read `bytes` (a multiple of 4096 a thread) in `streams` streams a thread; the sum keeps the compiler honest.
EXPORT uint64_t llmdist_read(const char *data, int64_t bytes, int32_t count, int32_t streams) {
    std::lock_guard<std::mutex> hold(entrance);
    std::atomic<uint64_t> total{0};
    const int64_t pieces = 64, piece = bytes / pieces, stride = piece / streams / 64 * 64;
    struct Context { const char *data; int64_t piece, stride; int streams; std::atomic<uint64_t> *total; };
    Context context{data, piece, stride, streams, &total};
    pool.run(count, pieces, [](void *raw, int64_t i) {
        Context &c = *(Context *)raw;
        uint64_t lanes[8] = {};
        for (int64_t at = 0; at < c.stride; at += 64)
            for (int s = 0; s < c.streams; s++) {
                const uint64_t *words = (const uint64_t *)(c.data + i * c.piece + s * c.stride + at);
                for (int w = 0; w < 8; w++) lanes[w] += words[w];
            }
        for (uint64_t lane : lanes) c.total->fetch_add(lane, std::memory_order_relaxed);
    }, &context);
    return total;
}
