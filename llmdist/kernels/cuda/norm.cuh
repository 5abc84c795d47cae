// RMS norm of one vector by one CTA: x * rsqrt(mean(x^2) + eps) * weight, rounded where the plain layer rounds.
#pragma once
#include "gemv.cuh"

const int HELD = 4;  // pieces of eight numbers that a thread keeps between the two passes: 8192 columns in a CTA

template <class Act>
__device__ __forceinline__ float squares_of(const uint4& raw) {
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const u32 pair = word_of(raw, i);
        sum += low<Act>(pair) * low<Act>(pair) + high<Act>(pair) * high<Act>(pair);
    }
    return sum;
}

template <class Act>
__device__ __forceinline__ uint4 scaled(const uint4& raw, const uint4& by, float factor) {
    u32 out[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const u32 pair = word_of(raw, i), weight = word_of(by, i);
        const float first = rounded<Act>(low<Act>(pair) * factor), second = rounded<Act>(high<Act>(pair) * factor);
        out[i] = pack<Act>(first * low<Act>(weight), second * high<Act>(weight));
    }
    return make_uint4(out[0], out[1], out[2], out[3]);
}

// Writes (columns), a multiple of 8, to `target`; `scratch` holds WARPS floats. Ends with a barrier.
template <class Act>
__device__ __forceinline__ void normalise(
    const u16* x,       // (columns)
    const u16* weight,  // (columns)
    u16* target,        // (columns)
    float* scratch, int columns, float eps
) {
    const uint4 *from = reinterpret_cast<const uint4*>(x), *weights = reinterpret_cast<const uint4*>(weight);
    uint4* to = reinterpret_cast<uint4*>(target);
    const int pieces = columns / 8;
    uint4 held[HELD];
    float squares = 0.0f;
#pragma unroll
    for (int h = 0; h < HELD; h++) {
        const int k = threadIdx.x + h * THREADS;
        held[h] = k < pieces ? from[k] : make_uint4(0, 0, 0, 0);
        squares += squares_of<Act>(held[h]);
    }
    for (int k = threadIdx.x + HELD * THREADS; k < pieces; k += THREADS) squares += squares_of<Act>(from[k]);
    squares = warp_sum(squares);
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = squares;
    __syncthreads();
    float sum = 0.0f;
    for (int warp = 0; warp < WARPS; warp++) sum += scratch[warp];
    const float factor = rsqrtf(sum / columns + eps);
#pragma unroll
    for (int h = 0; h < HELD; h++) {
        const int k = threadIdx.x + h * THREADS;
        if (k < pieces) to[k] = scaled<Act>(held[h], weights[k], factor);
    }
    for (int k = threadIdx.x + HELD * THREADS; k < pieces; k += THREADS) to[k] = scaled<Act>(from[k], weights[k], factor);
    __syncthreads();
}

// The input of a projection: one vector is normed here into shared memory; several were normed before.
template <class Act, bool NORM>
__device__ __forceinline__ Vectors normed_input(
    const u16* x, const u16* weight, unsigned char* shared, float* scratch, int count, int columns, float eps
) {
    if (!NORM) return Vectors{x, columns, count, columns};
    u16* target = reinterpret_cast<u16*>(shared);
    normalise<Act>(x, weight, target, scratch, columns, eps);
    return Vectors{target, columns, 1, columns};
}
