// Products for a processor that is not this one: cases come in on standard input, results leave on standard output.
//
// A case is eight int64 (what: 0 product, 1 packing, 2 unpacking; kind, group, rows, columns, padded, tokens, bytes), `bytes`
// of weights and the floats of x; or (3, kind of cache, heads, kv heads, hidden, head_dim, tokens, 0) and the floats of an
// attention block and of x, which pass one by one. test_other_processors.py writes them and judges what comes back.
#include <cstdint>
#include <cstdio>
#include <vector>

#include "../../llmdist/kernels/cpu_blocks.h"

extern "C" {
void llmdist_product(const Matrix *w, const float *x, int64_t tokens, float *y);
void llmdist_pack(int32_t kind, const float *x, int64_t rows, int64_t columns, int64_t group, uint8_t *out);
void llmdist_unpack(const Matrix *w, uint16_t *out);
void llmdist_attention(const Attention *args, float *x);
void llmdist_threads(int32_t count);
}

template <class T> static std::vector<T> read_in(int64_t count) {
    std::vector<T> data((size_t)count);
    if (fread(data.data(), sizeof(T), data.size(), stdin) != data.size()) throw 1;
    return data;
}

static void attention(const int64_t *h) {
    const int64_t heads = h[2], kv_heads = h[3], hidden = h[4], d = h[5], tokens = h[6], width = (heads + 2 * kv_heads) * d;
    const auto norm = read_in<float>(hidden), qkv = read_in<float>(width * hidden), out = read_in<float>(hidden * heads * d);
    auto x = read_in<float>(tokens * hidden);
    std::vector<float> keys((size_t)(kv_heads * tokens * d)), values = keys, cos((size_t)d / 2, 1.f), sin((size_t)d / 2);
    std::vector<uint16_t> key_scales((size_t)(kv_heads * tokens)), value_scales = key_scales;
    Attention a{};
    a.qkv = {qkv.data(), nullptr, width, hidden, hidden, FP32, 1, 0, 0};
    a.out = {out.data(), nullptr, hidden, heads * d, heads * d, FP32, 1, 0, 0};
    a.norm = {norm.data(), FP32};
    a.keys = keys.data(), a.values = values.data(), a.cos = cos.data(), a.sin = sin.data();
    if (h[1] == INT8) a.key_scales = key_scales.data(), a.value_scales = value_scales.data();
    a.batch = a.tokens = 1, a.context = tokens, a.heads = heads, a.kv_heads = kv_heads, a.head_dim = d;
    a.cache_kind = h[1], a.eps = 1e-6f;
    for (int64_t start = 0; start < tokens; start++) {
        a.starts = &start;
        llmdist_attention(&a, x.data() + start * hidden);
    }
    fwrite(x.data(), 4, x.size(), stdout);
}

int main() {
    llmdist_threads(2);
    int64_t h[8];
    while (fread(h, 8, 8, stdin) == 8) {
        if (h[0] == 3) {
            attention(h);
            continue;
        }
        const auto weights = read_in<uint8_t>(h[7]);
        const auto x = read_in<float>(h[6] * h[4]);
        const Matrix matrix{weights.data(), nullptr, h[3], h[4], h[5], (int32_t)h[1], (int32_t)h[2], 0, 0};
        if (h[0] == 0) {
            std::vector<float> y((size_t)(h[3] * h[6]), 1e30f);
            llmdist_product(&matrix, x.data(), h[6], y.data());
            fwrite(y.data(), 4, y.size(), stdout);
        } else if (h[0] == 1) {  // the floats to pack are in `x`, h[7] bytes come out
            std::vector<uint8_t> out((size_t)h[7], 255);
            llmdist_pack((int32_t)h[1], x.data(), h[3], h[4], h[2], out.data());
            fwrite(out.data(), 1, out.size(), stdout);
        } else {
            std::vector<uint16_t> out((size_t)(h[3] * h[4]));
            llmdist_unpack(&matrix, out.data());
            fwrite(out.data(), 2, out.size(), stdout);
        }
    }
}
