// Logits of the normed input, rounded to the activations' type as the plain head does, stored as float32.
#include "norm.cuh"

template <class Act, class Format, int TILES, bool NORM>
__global__ void __launch_bounds__(THREADS, TILES == 1 ? 2 : 1) lm_head(
    const u16* x,                         // (vectors, columns)
    const u16* __restrict__ norm_weight,  // (columns)
    const unsigned char* __restrict__ weight, const u16* __restrict__ scale,  // Matrix
    float* __restrict__ out,              // (vectors, rows)
    int vectors, int columns, int rows, int chunks, float eps
) {
    SHARED_MEMORY(shared);
    float* sums = reinterpret_cast<float*>(shared);
    unsigned char* input = shared + WARPS * TILE_ROWS * TILES * TILE_VECTORS * 4;
    const Matrix m{weight, scale, rows, chunks};
    const int first_row[1] = {int(blockIdx.x) * TILE_ROWS};
    Turn<Format, 1> turn;
    turn.load(m, first_row, rows - 1 - first_row[0], threadIdx.x / 32);
    let_next_begin();
    wait_for_previous();
    const Vectors source = normed_input<Act, NORM>(x, norm_weight, input, sums, vectors, columns, eps);
    multiply<Act, Format, 1, TILES>(turn, m, first_row, rows - 1 - first_row[0], source, sums);
    for (int i = threadIdx.x; i < TILE_ROWS * vectors; i += THREADS) {
        const int row = first_row[0] + i % TILE_ROWS, n = i / TILE_ROWS;
        if (row >= rows) continue;
        const float value = total<Format, 1, TILES, Act>(m, sums, 0, i % TILE_ROWS, row, n);
        out[(long long)n * rows + row] = rounded<Act>(value);
    }
}
