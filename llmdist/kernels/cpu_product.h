// Matrix products of packed weights with a few or many tokens, over all threads of the pool.
//
// Tokens are first brought into the form that the weights' kind multiplies (floats, int16 or int8), once per product;
// then items of neighbouring rows are handed to the threads. Scratch memory grows to the largest product and stays.
#pragma once
#include <algorithm>

#include "cpu_numbers.h"
#include "cpu_pool.h"

struct Matrix {
    const void *data;  // see `tile_rows`, `tile_int8`, `tile_int4`
    const void *bias;  // of the type `bias_kind`, or null
    int64_t rows, columns, padded;  // `padded` columns are stored by int8 and int4
    int32_t kind, group, bias_kind, unused;
};

inline Pool &pool = *new Pool;  // never destroyed: its threads may outlive static objects
inline std::mutex entrance;     // one product at a time
inline int threads = 1;
constexpr int64_t NARROW = 12 << 10;  // bytes of a packed token that stays in the first cache beside the weights
// Rows or panels that one thread reads side by side for one token, by kind; narrow and wide matrices.
inline int streams_of[5][2] = {{4, 8}, {4, 8}, {4, 8}, {1, 1}, {1, 1}};

// Memory that is handed out in order and taken back at once at the end of a call.
class Scratch {
  public:
    template <class T> T *take(int64_t count) {
        const size_t bytes = ((size_t)count * sizeof(T) + 127) & ~(size_t)63;
        if (chunk_ == chunks_.size()) {
            chunks_.emplace_back(std::max(bytes, (size_t)1 << 16) + 64);
            used_ = 0;
        } else if (used_ + bytes + 64 > chunks_[chunk_].size()) {
            chunk_++;
            used_ = 0;
            return take<T>(count);
        }
        char *start = (char *)(((uintptr_t)chunks_[chunk_].data() + used_ + 63) & ~(uintptr_t)63);
        used_ += bytes;
        return (T *)start;
    }
    int64_t bytes() const {
        int64_t sum = 0;
        for (auto &chunk : chunks_) sum += (int64_t)chunk.size();
        return sum;
    }
    // Start anew; several chunks become one, so that the next call of this size takes one piece.
    void reset() {
        if (chunks_.size() > 1) {
            const size_t sum = (size_t)bytes();
            chunks_.clear();
            chunks_.emplace_back(sum);
        }
        chunk_ = 0, used_ = 0;
    }
    void clear() { chunks_.clear(), chunk_ = 0, used_ = 0; }

  private:
    std::vector<std::vector<char>> chunks_;
    size_t chunk_ = 0, used_ = 0;
};
inline Scratch &scratch = *new Scratch;

// So many products of two numbers are done before a second thread has come to help; so many weights stay in a cache.
constexpr int64_t ALONE = 1 << 19;

// The lambda's items run on all threads, or on the caller's where the `work` (products of two numbers) is small.
template <class F> static void parallel(int64_t items, F body, int64_t work = ALONE) {
    pool.run(work < ALONE ? 1 : threads, items, [](void *context, int64_t i) { (*(F *)context)(i); }, &body);
}

inline void add_bias(const Matrix &w, int64_t tokens, float *y) {
    if (w.bias)
        for (int64_t t = 0; t < tokens; t++)
            for (int64_t r = 0; r < w.rows; r++) y[t * w.rows + r] += load_one(w.bias, w.bias_kind, r);
}

// y (tokens, rows) = x (tokens, columns) times the matrix transposed, plus the bias.
void multiply(const Matrix &w, const float *x, int64_t tokens, float *y);
// The same for plain weights and at least MANY tokens, by sums in another order. Below MANY a token's result does not
// depend on the tokens beside it.
constexpr int64_t MANY = 33;
void multiply_many(const Matrix &w, const float *x, int64_t tokens, float *y);
