// RMS norm of one vector by one CTA: x * rsqrt(mean(x^2) + eps) * weight, rounded where the plain layer rounds.
#pragma once
#include "gemv.cuh"

// Writes (columns) to `target`; `scratch` holds WARPS floats. Ends with a barrier.
template <class Act>
__device__ __forceinline__ void normalise(
    const u16* x,       // (columns)
    const u16* weight,  // (columns)
    u16* target,        // (columns)
    float* scratch, int columns, float eps
) {
    float squares = 0.0f;
    for (int k = threadIdx.x * 2; k < columns; k += THREADS * 2) {
        const u32 pair = *reinterpret_cast<const u32*>(x + k);
        squares += low<Act>(pair) * low<Act>(pair) + high<Act>(pair) * high<Act>(pair);
    }
    squares = warp_sum(squares);
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = squares;
    __syncthreads();
    float sum = 0.0f;
    for (int warp = 0; warp < WARPS; warp++) sum += scratch[warp];
    const float factor = rsqrtf(sum / columns + eps);
    for (int k = threadIdx.x * 2; k < columns; k += THREADS * 2) {
        const u32 pair = *reinterpret_cast<const u32*>(x + k);
        const u32 by = *reinterpret_cast<const u32*>(weight + k);
        const float first = rounded<Act>(low<Act>(pair) * factor), second = rounded<Act>(high<Act>(pair) * factor);
        *reinterpret_cast<u32*>(target + k) = pack<Act>(first * low<Act>(by), second * high<Act>(by));
    }
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
