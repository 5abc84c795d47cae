// Rows of a weight matrix times a few activation vectors: the core of every projection.
//
// A CTA of 8 warps owns 16 rows of each of MATRICES matrices; its warps share the columns chunk by chunk, multiply
// with the tensor cores (16 rows x 16 columns x 8 vectors) and add up through shared memory. One vector costs what
// eight do, as the weights' bytes are the limit. Letters: n vectors, k columns, q the lane's place in its four.
#pragma once
#include "formats.cuh"

const int WARPS = 8;
const int THREADS = WARPS * 32;
const int TILE_ROWS = 16;
const int TILE_VECTORS = 8;

// A packed matrix: `weight` (rows, chunks, 64 bytes); `scale` (rows, chunks * COLUMNS / GROUP), (rows) or unused.
struct Matrix {
    const unsigned char* weight;
    const u16* scale;
    int rows;
    int chunks;
};

// Activation vectors (vectors, columns), `stride` elements apart; columns a multiple of 8, 16-byte aligned.
struct Vectors {
    const u16* values;
    long long stride;
    int count;
    int columns;

    // Eight activations from column k on; zero outside, so that padding never counts.
    __device__ __forceinline__ uint4 load(int n, int k) const {
        if (n >= count || k >= columns) return make_uint4(0, 0, 0, 0);
        return *reinterpret_cast<const uint4*>(values + n * stride + k);
    }
};

template <class Act, class Format, int TILES>
__device__ __forceinline__ void multiply_chunk(
    const uint4 (&raw)[2],      // 16 bytes of rows r and r + 8
    const u32 (&scale)[2][2],   // their groups' scales, two 16-bit numbers in a word
    const Vectors& x, int k0,
    float (&sum)[TILES][4]      // (16 rows, 8 vectors) of each tile, as mma.m16n8k16 spreads them
) {
    const int lane = threadIdx.x % 32, quad = lane % 4;
    const int pairs_per_group = Format::GROUP ? Format::GROUP / 32 : 1;
    float part[TILES][4] = {};
#pragma unroll
    for (int p = 0; p < Format::COLUMNS / 32; p++) {
        u32 a[2][4];
#pragma unroll
        for (int half = 0; half < 2; half++) {
            Format::template fragment<Act>(raw[0], 2 * p + half, a[half][0], a[half][2]);
            Format::template fragment<Act>(raw[1], 2 * p + half, a[half][1], a[half][3]);
        }
#pragma unroll
        for (int tile = 0; tile < TILES; tile++) {
            const uint4 b = x.load(tile * TILE_VECTORS + lane / 4, k0 + Format::column(quad, p));
            float(&target)[4] = Format::GROUP ? part[tile] : sum[tile];
            Act::mma(target, a[0], b.x, b.y);
            Act::mma(target, a[1], b.z, b.w);
        }
        if (Format::GROUP && (p + 1) % pairs_per_group == 0) {
#pragma unroll
            for (int tile = 0; tile < TILES; tile++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const int group = p / pairs_per_group;
                    sum[tile][i] += Act::widen(u16(scale[i / 2][group / 2] >> group % 2 * 16)) * part[tile][i];
                    part[tile][i] = 0.0f;
                }
        }
    }
}

// The scales of one chunk of a row: one, two or four 16-bit numbers.
template <class Format>
__device__ __forceinline__ void load_scales(const Matrix& m, long long row, int chunk, u32 (&scale)[2]) {
    if (!Format::GROUP) return;
    const int groups = Format::GROUP ? Format::COLUMNS / Format::GROUP : 1;
    const u16* first = m.scale + (row * m.chunks + chunk) * groups;
    if (groups == 1) scale[0] = *first;
    if (groups == 2) scale[0] = *reinterpret_cast<const u32*>(first);
    if (groups == 4) {
        const uint2 both = *reinterpret_cast<const uint2*>(first);
        scale[0] = both.x, scale[1] = both.y;
    }
}

// What a warp multiplies in one turn: UNROLL chunks of 16 rows, loaded one turn ahead so that memory is never idle.
template <class Format, int MATRICES>
struct Turn {
    static const int UNROLL = (Format::COLUMNS == 128 ? 2 : 4) / MATRICES;
    uint4 raw[UNROLL][MATRICES][2];
    u32 scale[UNROLL][MATRICES][2][2];

    __device__ __forceinline__ void load(const Matrix& m, const int (&first_row)[MATRICES], int last_row, int start) {
        const int lane = threadIdx.x % 32;
#pragma unroll
        for (int u = 0; u < UNROLL; u++)
#pragma unroll
            for (int matrix = 0; matrix < MATRICES; matrix++)
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    // Outside the matrix the last row or chunk is read again: its products are zero or unused.
                    const int chunk = min(start + u * WARPS, m.chunks - 1);
                    const long long row = first_row[matrix] + min(lane / 4 + 8 * half, last_row);
                    const unsigned char* address = m.weight + (row * m.chunks + chunk) * 64 + lane % 4 * 16;
                    raw[u][matrix][half] = load_once(reinterpret_cast<const uint4*>(address));
                    load_scales<Format>(m, row, chunk, scale[u][matrix][half]);
                }
    }
};

// Leaves in `shared` (WARPS, MATRICES, 16 rows, TILES * 8 vectors) float32 partial sums, with a barrier behind them.
// `turn` holds the first chunks already: they were asked for before the input was ready.
template <class Act, class Format, int MATRICES, int TILES>
__device__ __forceinline__ void multiply(
    Turn<Format, MATRICES>& turn, const Matrix& m, const int (&first_row)[MATRICES], int last_row, const Vectors& x,
    float* shared
) {
    const int UNROLL = Turn<Format, MATRICES>::UNROLL;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int quad = lane % 4, r = lane / 4;
    float sum[MATRICES][TILES][4] = {};
    for (int start = warp; start < m.chunks; start += WARPS * UNROLL) {
        const Turn<Format, MATRICES> now = turn;
        if (start + WARPS * UNROLL < m.chunks) turn.load(m, first_row, last_row, start + WARPS * UNROLL);
#pragma unroll
        for (int u = 0; u < UNROLL; u++)
#pragma unroll
            for (int matrix = 0; matrix < MATRICES; matrix++)
                multiply_chunk<Act, Format, TILES>(
                    now.raw[u][matrix], now.scale[u][matrix], x, (start + u * WARPS) * Format::COLUMNS, sum[matrix]
                );
    }
#pragma unroll
    for (int matrix = 0; matrix < MATRICES; matrix++)
#pragma unroll
        for (int tile = 0; tile < TILES; tile++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int row = r + i / 2 * 8, n = tile * TILE_VECTORS + 2 * quad + i % 2;
                const int place = (warp * MATRICES + matrix) * TILE_ROWS + row;
                shared[place * TILES * TILE_VECTORS + n] = sum[matrix][tile][i];
            }
    __syncthreads();
}

// The finished product of row `row` of the tile and vector n.
template <class Format, int MATRICES, int TILES, class Act>
__device__ __forceinline__ float total(
    const Matrix& m, const float* shared, int matrix, int row, long long global_row, int n
) {
    float sum = 0.0f;
#pragma unroll
    for (int warp = 0; warp < WARPS; warp++)
        sum += shared[((warp * MATRICES + matrix) * TILE_ROWS + row) * TILES * TILE_VECTORS + n];
    return Format::CHANNEL_SCALE ? sum * Act::widen(m.scale[global_row]) : sum;
}
