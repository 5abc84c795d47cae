// Attention of one new token per sequence over its whole context, in two launches.
//
// flash_decode: each CTA takes one share of the context for QUERIES heads that read the same keys, and keeps a running
// maximum, sum and mix per token stream (Milakov & Gimelshein 2018; Dao et al. 2023 for the split). combine: adds the
// shares. Scores are in units of log2, so that exp is one instruction.
#include "numbers.cuh"

const int ATTENTION_WARPS = 4;
const float NO_SCORE = -1e30f;  // finite, so that a difference of two is no NaN

template <class Act>
__device__ __forceinline__ void widen_eight(const uint4& raw, float (&out)[8]) {
    out[0] = low<Act>(raw.x), out[1] = high<Act>(raw.x), out[2] = low<Act>(raw.y), out[3] = high<Act>(raw.y);
    out[4] = low<Act>(raw.z), out[5] = high<Act>(raw.z), out[6] = low<Act>(raw.w), out[7] = high<Act>(raw.w);
}

template <class Act, int HEAD_DIM, int QUERIES>
__global__ void __launch_bounds__(ATTENTION_WARPS * 32) flash_decode(
    const u16* query,                   // (batch, heads, HEAD_DIM)
    const u16* keys,                    // (batch, kv_heads, capacity, HEAD_DIM)
    const u16* values,                  // (batch, kv_heads, capacity, HEAD_DIM)
    const int* positions,               // (batch): the last token of the context
    float* __restrict__ mixes,          // (batch, heads, splits, HEAD_DIM)
    float* __restrict__ maxima,         // (batch, heads, splits)
    float* __restrict__ sums,           // (batch, heads, splits)
    int heads, int kv_heads, int capacity, int splits, float scale  // scale includes log2(e)
) {
    SHARED_MEMORY(shared);
    let_next_begin();
    wait_for_previous();
    const int LANES = HEAD_DIM <= 64 ? 8 : HEAD_DIM <= 128 ? 16 : 32;  // lanes that share one token
    const int TOKENS = 32 / LANES;                                     // tokens that a warp reads at once
    const int STREAMS = ATTENTION_WARPS * TOKENS;
    const int UNROLL = QUERIES > 2 ? 2 : 4;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int piece = lane % LANES, slot = lane / LANES;
    const bool active = piece * 8 < HEAD_DIM;
    const int groups = heads / kv_heads, tiles = (groups + QUERIES - 1) / QUERIES;
    const int split = blockIdx.x, kv_head = blockIdx.y / tiles, b = blockIdx.z;
    const int first_query = blockIdx.y % tiles * QUERIES;
    const int first_head = kv_head * groups + first_query, count = min(QUERIES, groups - first_query);
    const int length = positions[b] + 1;
    const int share = (length + splits - 1) / splits;
    const int begin = min(length, split * share), end = min(length, begin + share);
    const long long cache = ((long long)b * kv_heads + kv_head) * capacity;

    float q[QUERIES][8], mix[QUERIES][8] = {}, top[QUERIES], sum[QUERIES] = {};
#pragma unroll
    for (int g = 0; g < QUERIES; g++) {
        top[g] = NO_SCORE;
        uint4 raw = make_uint4(0, 0, 0, 0);
        if (active && g < count) {
            const long long row = ((long long)b * heads + first_head + g) * HEAD_DIM;
            raw = *reinterpret_cast<const uint4*>(query + row + piece * 8);
        }
        widen_eight<Act>(raw, q[g]);
    }

    for (int first = begin + warp * TOKENS; first < end; first += STREAMS * UNROLL) {
        uint4 key[UNROLL], value[UNROLL];
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            const int token = first + u * STREAMS + slot;
            key[u] = value[u] = make_uint4(0, 0, 0, 0);
            if (active && token < end) {
                const long long place = (cache + token) * HEAD_DIM + piece * 8;
                key[u] = *reinterpret_cast<const uint4*>(keys + place);
                value[u] = *reinterpret_cast<const uint4*>(values + place);
            }
        }
        float score[QUERIES][UNROLL];
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            float k[8];
            widen_eight<Act>(key[u], k);
#pragma unroll
            for (int g = 0; g < QUERIES; g++) {
                float dot = 0.0f;
#pragma unroll
                for (int i = 0; i < 8; i++) dot += q[g][i] * k[i];
#pragma unroll
                for (int distance = LANES / 2; distance > 0; distance /= 2)
                    dot += __shfl_xor_sync(0xffffffffu, dot, distance);
                score[g][u] = first + u * STREAMS + slot < end ? dot * scale : NO_SCORE;
            }
        }
#pragma unroll
        for (int g = 0; g < QUERIES; g++) {
            float highest = top[g];
#pragma unroll
            for (int u = 0; u < UNROLL; u++) highest = fmaxf(highest, score[g][u]);
            const float fade = exp2_fast(top[g] - highest);
            top[g] = highest;
            sum[g] *= fade;
#pragma unroll
            for (int i = 0; i < 8; i++) mix[g][i] *= fade;
#pragma unroll
            for (int u = 0; u < UNROLL; u++) {
                const float p = score[g][u] > NO_SCORE ? exp2_fast(score[g][u] - highest) : 0.0f;
                score[g][u] = p;
                sum[g] += p;
            }
        }
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            float v[8];
            widen_eight<Act>(value[u], v);
#pragma unroll
            for (int g = 0; g < QUERIES; g++)
#pragma unroll
                for (int i = 0; i < 8; i++) mix[g][i] += score[g][u] * v[i];
        }
    }

    // The streams of this CTA become one.
    float* stream_mix = reinterpret_cast<float*>(shared);                 // (STREAMS, QUERIES, HEAD_DIM)
    float* stream_top = stream_mix + STREAMS * QUERIES * HEAD_DIM;        // (STREAMS, QUERIES)
    float* stream_sum = stream_top + STREAMS * QUERIES;                   // (STREAMS, QUERIES)
    const int stream = warp * TOKENS + slot;
#pragma unroll
    for (int g = 0; g < QUERIES; g++) {
        if (active)
#pragma unroll
            for (int i = 0; i < 8; i++) stream_mix[(stream * QUERIES + g) * HEAD_DIM + piece * 8 + i] = mix[g][i];
        if (piece == 0) stream_top[stream * QUERIES + g] = top[g], stream_sum[stream * QUERIES + g] = sum[g];
    }
    __syncthreads();
    for (int i = threadIdx.x; i < count * HEAD_DIM; i += ATTENTION_WARPS * 32) {
        const int g = i / HEAD_DIM, d = i % HEAD_DIM;
        float highest = NO_SCORE, all = 0.0f, mixed = 0.0f;
        for (int s = 0; s < STREAMS; s++) highest = fmaxf(highest, stream_top[s * QUERIES + g]);
        for (int s = 0; s < STREAMS; s++) {
            const float weight = exp2_fast(stream_top[s * QUERIES + g] - highest);
            all += weight * stream_sum[s * QUERIES + g];
            mixed += weight * stream_mix[(s * QUERIES + g) * HEAD_DIM + d];
        }
        const long long row = ((long long)b * heads + first_head + g) * splits + split;
        mixes[row * HEAD_DIM + d] = mixed;
        if (d == 0) maxima[row] = highest, sums[row] = all;
    }
}

template <class Act, int HEAD_DIM>
__global__ void __launch_bounds__(HEAD_DIM) combine(
    const float* mixes,     // (batch, heads, splits, HEAD_DIM)
    const float* maxima,    // (batch, heads, splits)
    const float* sums,      // (batch, heads, splits)
    u16* __restrict__ out,  // (batch, heads, HEAD_DIM)
    int splits
) {
    let_next_begin();
    wait_for_previous();
    const long long head = blockIdx.x, d = threadIdx.x;
    float highest = NO_SCORE, all = 0.0f, mixed = 0.0f;
    for (int s = 0; s < splits; s++) highest = fmaxf(highest, maxima[head * splits + s]);
    for (int s = 0; s < splits; s++) {
        const float weight = exp2_fast(maxima[head * splits + s] - highest);
        all += weight * sums[head * splits + s];
        mixed += weight * mixes[(head * splits + s) * HEAD_DIM + d];
    }
    out[head * HEAD_DIM + d] = Act::narrow(mixed / all);
}
