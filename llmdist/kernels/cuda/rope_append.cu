// Norm (where the model has one) and rotation of q and k; k and v go into the cache. One warp per head.
//
// Pair (i, i + HEAD_DIM / 2) turns by angle i of its position (Su et al. 2021, in the halves layout of Llama).
#include "numbers.cuh"

template <class Act, int HEAD_DIM>
__global__ void __launch_bounds__(32) rope_append(
    const u16* qkv,                     // (batch, heads + 2 * kv_heads, HEAD_DIM)
    const float* cosines,               // (batch, HEAD_DIM / 2)
    const float* sines,                 // (batch, HEAD_DIM / 2)
    const int* positions,               // (batch)
    const u16* __restrict__ q_norm,     // (HEAD_DIM) or null
    const u16* __restrict__ k_norm,     // (HEAD_DIM) or null
    u16* __restrict__ query,            // (batch, heads, HEAD_DIM)
    u16* __restrict__ keys,             // (batch, kv_heads, capacity, HEAD_DIM)
    u16* __restrict__ values,           // (batch, kv_heads, capacity, HEAD_DIM)
    int heads, int kv_heads, int capacity, float eps
) {
    let_next_begin();
    wait_for_previous();
    const int HALF = HEAD_DIM / 2;
    const int head = blockIdx.x, lane = threadIdx.x;
    const long long b = blockIdx.y;
    const u16* source = qkv + (b * (heads + 2 * kv_heads) + head) * HEAD_DIM;
    u16* target;
    if (head < heads) {
        target = query + (b * heads + head) * HEAD_DIM;
    } else {
        const long long kv_head = (head - heads) % kv_heads;
        u16* cache = head < heads + kv_heads ? keys : values;
        target = cache + ((b * kv_heads + kv_head) * capacity + positions[b]) * HEAD_DIM;
    }
    if (head >= heads + kv_heads) {
        for (int i = lane; i < HEAD_DIM; i += 32) target[i] = source[i];
        return;
    }
    const u16* norm = head < heads ? q_norm : k_norm;
    float factor = 1.0f;
    if (norm) {
        float squares = 0.0f;
        for (int i = lane; i < HEAD_DIM; i += 32) squares += Act::widen(source[i]) * Act::widen(source[i]);
        factor = rsqrtf(warp_sum(squares) / HEAD_DIM + eps);
    }
    for (int i = lane; i < HALF; i += 32) {
        float first = Act::widen(source[i]), second = Act::widen(source[i + HALF]);
        if (norm) {
            first = rounded<Act>(rounded<Act>(first * factor) * Act::widen(norm[i]));
            second = rounded<Act>(rounded<Act>(second * factor) * Act::widen(norm[i + HALF]));
        }
        const float cosine = cosines[b * HALF + i], sine = sines[b * HALF + i];
        target[i] = Act::narrow(rounded<Act>(first * cosine) - rounded<Act>(second * sine));
        target[i + HALF] = Act::narrow(rounded<Act>(second * cosine) + rounded<Act>(first * sine));
    }
}
