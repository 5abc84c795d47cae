// A small pool of threads that share one loop at a time; the caller works along.
//
// A worker spins for a few dozen microseconds after a loop, because the next one of a decode step follows at once,
// then sleeps on a condition variable, so an idle engine uses no processor. Each thread has a run of neighbouring items and
// takes them from the front, so what it asked memory for ahead is what it computes next; one that is done takes from the
// back of another's run. So a loop ends without those who slept, and a core that another program takes away costs little.
// A pool is never taken apart.
#pragma once
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
static inline void relax() { _mm_pause(); }
#else
static inline void relax() {}
#endif

class Pool {
  public:
    // Run body(context, item) for every item of [0, items) on `threads` threads, the caller being one of them.
    void run(int threads, int64_t items, void (*body)(void *, int64_t), void *context) {
        if (threads <= 1 || items <= 1) {
            for (int64_t i = 0; i < items; i++) body(context, i);
            return;
        }
        grow(threads - 1);
        body_ = body, context_ = context, helpers_ = threads - 1;
        for (int64_t i = 0; i < threads; i++)
            runs_[i].left.store((uint64_t)(items * (i + 1) / threads) << 32 | (uint64_t)(items * i / threads));
        open_.store(true);
        {
            std::lock_guard<std::mutex> hold(mutex_);
            round_.fetch_add(1);
        }
        if (asleep_.load()) wake_.notify_all();
        work(0);
        open_.store(false);  // a worker that comes later finds nothing; those inside finish their item
        for (int i = 0; inside_.load(); i++) i % 1024 == 1023 ? std::this_thread::yield() : relax();
    }

  private:
    // The items of one thread that nobody has taken: the first in the lower half, the end in the upper.
    struct alignas(64) Run {
        std::atomic<uint64_t> left{0};

        int64_t take(bool front) {  // or -1
            uint64_t seen = left.load(std::memory_order_relaxed);
            for (;;) {
                const uint64_t first = seen & 0xffffffffu, end = seen >> 32;
                if (first >= end) return -1;
                const uint64_t then = front ? seen + 1 : seen - (1ull << 32);
                if (left.compare_exchange_weak(seen, then, std::memory_order_relaxed))
                    return (int64_t)(front ? first : end - 1);
            }
        }
    };

    void work(int self) {
        const int count = helpers_ + 1;
        for (int other = 0; other < count; other++) {
            Run &run = runs_[(self + other) % count];
            for (int64_t i; (i = run.take(!other)) >= 0;) body_(context_, i);
        }
    }

    void grow(int count) {
        while ((int)runs_.size() <= count) runs_.emplace_back();
        while ((int)workers_.size() < count) {
            int index = (int)workers_.size();
            unsigned seen = round_.load(std::memory_order_acquire);
            workers_.emplace_back([this, index, seen] { serve(index, seen); });
        }
    }

    void serve(int index, unsigned seen) {
        for (;;) {
            wait(seen);
            seen = round_.load();
            inside_.fetch_add(1);
            if (open_.load() && index < helpers_) work(index + 1);
            inside_.fetch_sub(1);
        }
    }

    void wait(unsigned seen) {
        auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(60);
        for (int i = 0;; i++) {
            if (round_.load(std::memory_order_acquire) != seen) return;
            relax();
            if (i % 32 == 31 && std::chrono::steady_clock::now() > end) break;
        }
        std::unique_lock<std::mutex> hold(mutex_);
        asleep_.fetch_add(1, std::memory_order_release);
        wake_.wait(hold, [&] { return round_.load(std::memory_order_acquire) != seen; });
        asleep_.fetch_sub(1, std::memory_order_release);
    }

    std::vector<std::thread> workers_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::atomic<unsigned> round_{0};
    std::atomic<int> inside_{0}, asleep_{0};
    std::atomic<bool> open_{false};
    std::deque<Run> runs_;  // never moved: a thread may still look at the last loop's
    int helpers_ = 0;
    void (*body_)(void *, int64_t) = nullptr;
    void *context_ = nullptr;
};
