// o_proj_residual and down_residual: out = residual + (x W^T + bias).
//
// STAGED: the one input vector is brought into shared memory while the first weights are on their way.
#include "gemv.cuh"

template <class Act, class Format, int TILES, bool STAGED>
__global__ void __launch_bounds__(THREADS, TILES == 1 ? 2 : 1) residual_gemv(
    const u16* x,                      // (vectors, columns)
    const unsigned char* __restrict__ weight, const u16* __restrict__ scale,  // Matrix
    const u16* __restrict__ bias,      // (rows) or null
    const u16* residual,               // (vectors, rows)
    u16* out,                          // (vectors, rows), may be `residual`
    int vectors, int columns, int rows, int chunks
) {
    SHARED_MEMORY(shared);
    float* sums = reinterpret_cast<float*>(shared);
    const Matrix m{weight, scale, rows, chunks};
    const int first_row[1] = {int(blockIdx.x) * TILE_ROWS};
    Turn<Format, 1> turn;
    turn.load(m, first_row, rows - 1 - first_row[0], threadIdx.x / 32);
    let_next_begin();
    wait_for_previous();
    const u16* source = x;
    if (STAGED) {
        uint4* input = reinterpret_cast<uint4*>(shared + WARPS * TILE_ROWS * TILES * TILE_VECTORS * 4);
        for (int k = threadIdx.x; k < columns / 8; k += THREADS) input[k] = reinterpret_cast<const uint4*>(x)[k];
        source = reinterpret_cast<const u16*>(input);
        __syncthreads();
    }
    const Vectors input{source, columns, vectors, columns};
    multiply<Act, Format, 1, TILES>(turn, m, first_row, rows - 1 - first_row[0], input, sums);
    for (int i = threadIdx.x; i < TILE_ROWS * vectors; i += THREADS) {
        const int row = first_row[0] + i % TILE_ROWS, n = i / TILE_ROWS;
        if (row >= rows) continue;
        float value = total<Format, 1, TILES, Act>(m, sums, 0, i % TILE_ROWS, row, n);
        if (bias) value += Act::widen(bias[row]);
        const long long place = (long long)n * rows + row;
        out[place] = Act::narrow(Act::widen(residual[place]) + rounded<Act>(value));
    }
}
