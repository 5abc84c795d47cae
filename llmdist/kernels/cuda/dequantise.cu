// A packed matrix as plain rows of 16-bit numbers, for prefill through the library's matrix multiplication.
#include "gemv.cuh"

template <class Act, class Format>
__global__ void __launch_bounds__(THREADS) dequantise(
    const unsigned char* __restrict__ weight, const u16* __restrict__ scale,  // Matrix
    u16* __restrict__ out,  // (rows, columns)
    int rows, int columns, int chunks
) {
    const long long row = blockIdx.x;
    const Matrix m{weight, scale, rows, chunks};
    for (int i = threadIdx.x; i < chunks * 4; i += THREADS) {
        const int chunk = i / 4, quad = i % 4;
        const uint4 raw = load_once(reinterpret_cast<const uint4*>(weight + (row * chunks + chunk) * 64 + 16 * quad));
        u32 by[2];
        load_scales<Format>(m, row, chunk, by);
#pragma unroll
        for (int p = 0; p < Format::COLUMNS / 32; p++) {
            const int column = chunk * Format::COLUMNS + Format::column(quad, p);
            if (column >= columns) continue;
            const int group = Format::GROUP ? p * 32 / (Format::GROUP ? Format::GROUP : 1) : 0;
            const float factor = Format::CHANNEL_SCALE ? Act::widen(scale[row])
                                 : Format::GROUP       ? Act::widen(u16(by[group / 2] >> group % 2 * 16))
                                                       : 1.0f;
            u32 words[4];
            Format::template fragment<Act>(raw, 2 * p, words[0], words[1]);
            Format::template fragment<Act>(raw, 2 * p + 1, words[2], words[3]);
#pragma unroll
            for (int j = 0; j < 4; j++)
                words[j] = pack<Act>(low<Act>(words[j]) * factor, high<Act>(words[j]) * factor);
            *reinterpret_cast<uint4*>(out + row * columns + column) = make_uint4(words[0], words[1], words[2], words[3]);
        }
    }
}
