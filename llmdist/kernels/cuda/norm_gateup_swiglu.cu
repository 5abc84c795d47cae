// The gated half of the MLP: out = silu(norm(x) G^T) * (norm(x) U^T), G above U in one matrix of 2 * rows rows.
#include "norm.cuh"

template <class Act, class Format, int TILES, bool NORM>
__global__ void __launch_bounds__(THREADS, TILES == 1 ? 2 : 1) norm_gateup_swiglu(
    const u16* x,                         // (vectors, columns)
    const u16* __restrict__ norm_weight,  // (columns)
    const unsigned char* __restrict__ weight, const u16* __restrict__ scale,  // Matrix
    u16* __restrict__ out,                // (vectors, rows)
    int vectors, int columns, int rows, int chunks, float eps
) {
    SHARED_MEMORY(shared);
    float* sums = reinterpret_cast<float*>(shared);
    unsigned char* input = shared + WARPS * 2 * TILE_ROWS * TILES * TILE_VECTORS * 4;
    const Matrix m{weight, scale, 2 * rows, chunks};
    const int tile_row = blockIdx.x * TILE_ROWS;
    const int first_row[2] = {tile_row, rows + tile_row};
    Turn<Format, 2> turn;
    turn.load(m, first_row, rows - 1 - tile_row, threadIdx.x / 32);
    let_next_begin();
    wait_for_previous();
    const Vectors source = normed_input<Act, NORM>(x, norm_weight, input, sums, vectors, columns, eps);
    multiply<Act, Format, 2, TILES>(turn, m, first_row, rows - 1 - tile_row, source, sums);
    for (int i = threadIdx.x; i < TILE_ROWS * vectors; i += THREADS) {
        const int r = i % TILE_ROWS, row = tile_row + r, n = i / TILE_ROWS;
        if (row >= rows) continue;
        const float gate = rounded<Act>(total<Format, 2, TILES, Act>(m, sums, 0, r, row, n));
        const float up = rounded<Act>(total<Format, 2, TILES, Act>(m, sums, 1, r, rows + row, n));
        const float silu = rounded<Act>(gate / (1.0f + expf(-gate)));
        out[(long long)n * rows + row] = Act::narrow(silu * up);
    }
}
