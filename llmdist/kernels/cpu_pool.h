// A small pool of threads that share one loop at a time; the caller works along.
//
// A worker spins for a few dozen microseconds after a loop, because the next one of a decode step follows at once,
// then sleeps on a condition variable, so an idle engine uses no processor. Items are handed out one by one from an
// atomic counter, and a loop ends without those who slept: a core that another program takes away costs little. A pool is never taken apart.
#pragma once
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
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
        body_ = body, context_ = context, items_ = items, helpers_ = threads - 1;
        next_.store(0);
        open_.store(true);
        {
            std::lock_guard<std::mutex> hold(mutex_);
            round_.fetch_add(1);
        }
        if (asleep_.load()) wake_.notify_all();
        work();
        open_.store(false);  // a worker that comes later finds nothing; those inside finish their item
        for (int i = 0; inside_.load(); i++) i % 1024 == 1023 ? std::this_thread::yield() : relax();
    }

  private:
    void work() {
        for (int64_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < items_;) body_(context_, i);
    }

    void grow(int count) {
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
            if (open_.load() && index < helpers_) work();
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
    std::atomic<int64_t> next_{0};
    int64_t items_ = 0;
    int helpers_ = 0;
    void (*body_)(void *, int64_t) = nullptr;
    void *context_ = nullptr;
};
