// What a block's call is given: `_Attention`, `_Mlp` and `_Head` of decode.py are these.
#pragma once
#include "cpu_product.h"

struct Vector { const void *data; int64_t kind; };

struct Attention {
    Matrix qkv, out;
    Vector norm, q_norm, k_norm;  // q_norm and k_norm may be null
    void *keys, *values;          // (batch, kv_heads, context, head_dim)
    uint16_t *key_scales, *value_scales;  // bf16 (batch, kv_heads, context) of an int8 cache, else null
    const float *cos, *sin;       // (tokens, head_dim / 2), `table_stride` apart for each sequence
    const int64_t *starts;        // position of each sequence's first token
    int64_t batch, tokens, table_stride, context, heads, kv_heads, head_dim, cache_kind;
    float eps, unused;
};

struct Mlp { Matrix gate_up, down; Vector norm; float eps, unused; };
struct Head { Matrix lm_head; Vector norm; float eps, unused; };
