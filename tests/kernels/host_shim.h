// The CUDA kernels on a CPU: a C++ compiler takes the very same .cu files with this header in front.
//
// Every thread of a CTA is a fiber that runs until it waits: at a barrier for the CTA, at a shuffle or matrix
// multiplication for its warp. The order in which fibers run is a parameter, so a forgotten barrier shows. Shared memory
// has exactly the bytes that were asked for and holds NaN at the start of every CTA.
#pragma once
#define HOST_SHIM 1
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__
#define SHARED_MEMORY(name) unsigned char* name = shim::cta.shared.get()

using std::max;
using std::min;
typedef unsigned short u16;
typedef unsigned int u32;
struct uint2 { u32 x, y; };
struct uint4 { u32 x, y, z, w; };
struct dim3 { u32 x, y, z; };
inline uint4 make_uint4(u32 x, u32 y, u32 z, u32 w) { return {x, y, z, w}; }

namespace shim {

enum State { READY, AT_WARP, AT_BARRIER, DONE };
struct Message { u32 a[4], b[2]; float value; };  // what a lane shows to its warp
struct Fiber {
    ucontext_t context;
    State state;
    int parity;  // two mailboxes in turn: a lane is never more than one exchange ahead
};
struct Cta {
    std::vector<Fiber> fibers;
    std::vector<std::unique_ptr<char[]>> stacks;
    std::vector<Message> mail[2];
    std::unique_ptr<unsigned char[]> shared;
    ucontext_t scheduler;
    int current;
    dim3 block, grid, threads;
};
inline Cta cta;
inline void (*kernel_entry)(void**);
inline void** kernel_arguments;
const size_t STACK = 256 << 10;

inline void wait(State state) {
    Fiber& me = cta.fibers[cta.current];
    me.state = state;
    swapcontext(&me.context, &cta.scheduler);
}

inline std::vector<Message>& exchange(const Message& message) {
    Fiber& me = cta.fibers[cta.current];
    std::vector<Message>& box = cta.mail[me.parity ^= 1];
    box[cta.current] = message;
    wait(AT_WARP);
    return box;
}

inline void fiber_main() {
    kernel_entry(kernel_arguments);
    cta.fibers[cta.current].state = DONE;
}

// Lets go every warp, or the whole CTA, whose living threads all wait for the same thing.
inline bool release(size_t first, size_t last, State state) {
    bool any = false;
    for (size_t i = first; i < last; i++) {
        if (cta.fibers[i].state != DONE && cta.fibers[i].state != state) return false;
        any |= cta.fibers[i].state == state;
    }
    for (size_t i = first; i < last; i++)
        if (cta.fibers[i].state == state) cta.fibers[i].state = READY;
    return any;
}

inline bool run_cta(const std::vector<int>& order) {
    const size_t count = order.size();
    for (size_t i = 0; i < count; i++) {
        Fiber& fiber = cta.fibers[i];
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = cta.stacks[i].get();
        fiber.context.uc_stack.ss_size = STACK;
        fiber.context.uc_link = &cta.scheduler;
        fiber.state = READY;
        fiber.parity = 0;
        makecontext(&fiber.context, fiber_main, 0);
    }
    for (;;) {
        for (int i : order) {
            if (cta.fibers[i].state != READY) continue;
            cta.current = i;
            swapcontext(&cta.scheduler, &cta.fibers[i].context);
        }
        bool moved = release(0, count, AT_BARRIER);
        for (size_t warp = 0; warp < count; warp += 32) moved |= release(warp, min(warp + 32, count), AT_WARP);
        if (moved) continue;
        for (size_t i = 0; i < count; i++)
            if (cta.fibers[i].state != DONE) return false;  // threads wait for threads that never come
        return true;
    }
}

// seed 0: threads in order; 1: in reverse; else shuffled. Returns 0, or 1 on a deadlock.
inline int launch(void (*entry)(void**), dim3 grid, u32 threads, size_t shared_bytes, int seed, void** arguments) {
    std::vector<int> order(threads);
    for (u32 i = 0; i < threads; i++) order[i] = seed == 1 ? threads - 1 - i : i;
    if (seed > 1) std::shuffle(order.begin(), order.end(), std::mt19937(seed));
    kernel_entry = entry, kernel_arguments = arguments;
    cta.grid = grid, cta.threads = {threads, 1, 1};
    cta.fibers.resize(threads);
    while (cta.stacks.size() < threads) cta.stacks.emplace_back(new char[STACK]);
    cta.mail[0].resize(threads), cta.mail[1].resize(threads);
    cta.shared.reset(new unsigned char[max<size_t>(shared_bytes, 1)]);
    for (cta.block.z = 0; cta.block.z < grid.z; cta.block.z++)
        for (cta.block.y = 0; cta.block.y < grid.y; cta.block.y++)
            for (cta.block.x = 0; cta.block.x < grid.x; cta.block.x++) {
                memset(cta.shared.get(), 0xff, shared_bytes);
                if (!run_cta(order)) return 1;
            }
    return 0;
}

template <class... A, size_t... I>
void call_with(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_reference_t<A>*>(arguments[I])...);
}
template <class... A>
void call(void (*kernel)(A...), void** arguments) {
    call_with(kernel, arguments, std::index_sequence_for<A...>());
}

}  // namespace shim

#define threadIdx (dim3{u32(shim::cta.current), 0, 0})
#define blockIdx (shim::cta.block)
#define blockDim (shim::cta.threads)
#define gridDim (shim::cta.grid)

inline void __syncthreads() { shim::wait(shim::AT_BARRIER); }

inline float __shfl_xor_sync(u32, float value, int distance) {
    return shim::exchange({{}, {}, value})[shim::cta.current ^ distance].value;
}

template <class To, class From>
To bits_of(From value) {
    To to;
    static_assert(sizeof(To) == sizeof(From), "same size");
    memcpy(&to, &value, sizeof(to));
    return to;
}
inline float __uint_as_float(u32 bits) { return bits_of<float>(bits); }
inline u32 __float_as_uint(float value) { return bits_of<u32>(value); }
inline u32 __byte_perm(u32 low, u32 high, u32 selector) {
    const unsigned long long both = (unsigned long long)high << 32 | low;
    u32 out = 0;
    for (int i = 0; i < 4; i++) out |= u32(both >> (selector >> 4 * i & 7) * 8 & 0xff) << 8 * i;
    return out;
}
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline float cospif(float x) { return float(cos(M_PI * x)); }
inline float sinpif(float x) { return float(sin(M_PI * x)); }
inline float exp2_fast(float x) { return exp2f(x); }
inline uint4 load_once(const uint4* address) { return *address; }

inline float widen_fp16(u16 bits) {
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const float size = exponent == 31  ? (fraction ? NAN : INFINITY)
                       : exponent == 0 ? ldexpf(float(fraction), -24)
                                       : ldexpf(float(fraction + 1024), exponent - 25);
    return bits & 0x8000 ? -size : size;
}
inline u16 narrow_fp16(float value) {
    const u16 sign = u16(__float_as_uint(value) >> 16 & 0x8000);
    if (std::isnan(value)) return 0x7e00;
    const float size = fabsf(value);
    if (size >= 65520.0f) return sign | 0x7c00;
    const int exponent = max(size > 0 ? std::ilogb(size) : -14, -14);
    const int units = int(std::nearbyint(ldexpf(size, 10 - exponent)));  // carries into the exponent by itself
    return u16(sign | (((exponent + 14) << 10) + units));
}
inline float widen_bf16(u16 bits) { return __uint_as_float(u32(bits) << 16); }
inline u16 narrow_bf16(float value) {
    if (std::isnan(value)) return 0x7fff;
    const u32 bits = __float_as_uint(value);
    return u16((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
template <float (*WIDEN)(u16), u16 (*NARROW)(float)>
u32 add_pairs(u32 a, u32 b) {
    return NARROW(WIDEN(u16(a)) + WIDEN(u16(b))) | u32(NARROW(WIDEN(u16(a >> 16)) + WIDEN(u16(b >> 16)))) << 16;
}
inline u32 add_fp16x2(u32 a, u32 b) { return add_pairs<widen_fp16, narrow_fp16>(a, b); }
inline u32 add_bf16x2(u32 a, u32 b) { return add_pairs<widen_bf16, narrow_bf16>(a, b); }

// PTX ISA, "Matrix fragments for mma.m16n8k16": lane 4 g + q holds rows g and g + 8, column pairs q and q + 4.
template <float (*WIDEN)(u16)>
void mma(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    const int lane = shim::cta.current % 32, first = shim::cta.current - lane;
    const std::vector<shim::Message>& box = shim::exchange({{a[0], a[1], a[2], a[3]}, {b0, b1}, 0.0f});
    for (int i = 0; i < 4; i++) {
        const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        for (int k = 0; k < 16; k++) {
            const u32 left = box[first + row % 8 * 4 + k % 8 / 2].a[row / 8 + k / 8 * 2];
            const u32 right = box[first + column * 4 + k % 8 / 2].b[k / 8];
            c[i] += WIDEN(u16(left >> k % 2 * 16)) * WIDEN(u16(right >> k % 2 * 16));
        }
    }
}
inline void mma_fp16(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) { mma<widen_fp16>(c, a, b0, b1); }
inline void mma_bf16(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) { mma<widen_bf16>(c, a, b0, b1); }
