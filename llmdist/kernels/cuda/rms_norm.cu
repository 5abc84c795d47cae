// RMS norm of several vectors, one CTA each; a single vector is normed inside the projection that reads it.
#include "norm.cuh"

template <class Act>
__global__ void __launch_bounds__(THREADS) rms_norm(
    const u16* x,                    // (vectors, columns)
    const u16* __restrict__ weight,  // (columns)
    u16* __restrict__ out,           // (vectors, columns)
    int columns, float eps
) {
    SHARED_MEMORY(shared);
    let_next_begin();
    wait_for_previous();
    const long long offset = (long long)blockIdx.x * columns;
    normalise<Act>(x + offset, weight, out + offset, reinterpret_cast<float*>(shared), columns, eps);
}
