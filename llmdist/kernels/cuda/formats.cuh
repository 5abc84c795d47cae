// How weights are stored: rows in chunks of 64 bytes, of which each of four lanes loads 16 at once.
//
// A chunk holds COLUMNS weights. `column` says which 8 activations belong to pair `p` of a lane's multiplications;
// `fragment` turns 16 loaded bytes into the two words of multiplication `step`. The order of the columns inside a
// chunk is free, because weights and activations are permuted alike.
#pragma once
#include "numbers.cuh"

__device__ __forceinline__ u32 word_of(const uint4& raw, int index) {
    return index == 0 ? raw.x : index == 1 ? raw.y : index == 2 ? raw.z : raw.w;
}

struct Dense {
    static const int COLUMNS = 32, GROUP = 0;
    static const bool CHANNEL_SCALE = false;

    static __device__ __forceinline__ int column(int quad, int) { return 8 * quad; }

    template <class Act>
    static __device__ __forceinline__ void fragment(const uint4& raw, int step, u32& first, u32& second) {
        first = word_of(raw, 2 * step);
        second = word_of(raw, 2 * step + 1);
    }
};

// One byte per weight, the integer plus 128; one scale per row, applied to the finished sum.
struct Int8 {
    static const int COLUMNS = 64, GROUP = 0;
    static const bool CHANNEL_SCALE = true;

    static __device__ __forceinline__ int column(int quad, int p) { return 16 * quad + 8 * p; }

    template <class Act>
    static __device__ __forceinline__ void fragment(const uint4& raw, int step, u32& first, u32& second) {
        const u32 word = word_of(raw, step);
        first = Act::from_bytes(word, 0);
        second = Act::from_bytes(word, 2);
    }
};

// Half a byte per weight, the integer plus 8; one scale per row and group. Nibble i of a word is column 2 i of the
// eight, nibble i + 4 is column 2 i + 1, so that one masked OR makes two neighbours.
template <int GROUP_SIZE>
struct Int4 {
    static const int COLUMNS = 128, GROUP = GROUP_SIZE;
    static const bool CHANNEL_SCALE = false;

    static __device__ __forceinline__ int column(int quad, int p) { return 32 * p + 8 * quad; }

    template <class Act>
    static __device__ __forceinline__ u32 nibbles(u32 word) {
        return Act::add((word & 0x000f000fu) | Act::NIBBLE_EXPONENT, Act::NIBBLE_OFFSET);
    }

    template <class Act>
    static __device__ __forceinline__ void fragment(const uint4& raw, int step, u32& first, u32& second) {
        const u32 word = word_of(raw, step / 2) >> (step % 2 * 8);
        first = nibbles<Act>(word);
        second = nibbles<Act>(word >> 4);
    }
};
