// The start of a token: its embedding row, and the angles of its position for every layer.
#include "numbers.cuh"

template <class Act>
__global__ void begin_step(
    const long long* __restrict__ tokens,  // (batch)
    const int* __restrict__ positions,     // (batch)
    const u16* __restrict__ embedding,     // (vocabulary, columns)
    const float* __restrict__ speeds,      // (half), radians per position
    u16* __restrict__ x,                   // (batch, columns)
    float* __restrict__ cosines,           // (batch, half), rounded as the plain layer rounds them
    float* __restrict__ sines,             // (batch, half)
    int columns, int half
) {
    let_next_begin();
    wait_for_previous();
    const long long b = blockIdx.x;
    const u16* row = embedding + tokens[b] * columns;
    for (int k = threadIdx.x; k < columns; k += blockDim.x) x[b * columns + k] = row[k];
    for (int i = threadIdx.x; i < half; i += blockDim.x) {
        // The float32 angle is the definition; turns are taken off in float64, as float32 has no digits left for it.
        const double turns = double(float(positions[b]) * speeds[i]) * 0.15915494309189535;  // 1 / (2 pi)
        const float half_turns = float(2.0 * (turns - rint(turns)));
        cosines[b * half + i] = rounded<Act>(cospif(half_turns));
        sines[b * half + i] = rounded<Act>(sinpif(half_turns));
    }
}
