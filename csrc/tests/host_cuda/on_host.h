// Shared by the tests of the CUDA kernels on the host.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <random>
#include <vector>

#include "host_grid.h"

namespace cpm_test {

// Unwritten elements hold this number, which no kernel computes.
constexpr float kUntouched = -7.25e33f;

// Equal numbers, or both NaN.
inline bool same(const float* a, const float* b, int64_t count) {
    return std::equal(a, a + count, b, [](float x, float y) { return x == y || (std::isnan(x) && std::isnan(y)); });
}

inline bool same(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && same(a.data(), b.data(), static_cast<int64_t>(a.size()));
}

// During its lifetime, launches run only these blocks.
class OnlyBlocks {
public:
    explicit OnlyBlocks(ChosenBlocks chosen) { chosen_blocks() = std::move(chosen); }
    ~OnlyBlocks() { chosen_blocks() = nullptr; }
};

// Returns whether exactly one block writes each element of the output: the grid's blocks are dealt to two runs, each
// with an output of its own. `run` fills the output.
template <typename Run>
bool written_once(int64_t elements, unsigned seed, Run run) {
    std::vector<float> outputs[2];
    for (unsigned hand : {0u, 1u}) {
        outputs[hand].assign(static_cast<size_t>(elements), kUntouched);
        const OnlyBlocks only([&](unsigned grid) {
            std::mt19937 generator(seed);
            std::vector<unsigned> blocks;
            for (unsigned block = 0; block < grid; ++block) {
                if (generator() % 2 == hand) blocks.push_back(block);
            }
            return blocks;
        });
        run(outputs[hand].data());
    }
    return std::equal(outputs[0].begin(), outputs[0].end(), outputs[1].begin(),
                      [](float a, float b) { return (a == kUntouched) != (b == kUntouched); });
}

// Zeros that take memory only where they are written, so an array may be larger than the machine's memory.
template <typename T>
class Untouched {
public:
    explicit Untouched(int64_t count) : bytes_(static_cast<size_t>(count) * sizeof(T)) {
        void* const memory =
            mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) throw std::bad_alloc();
        data_ = static_cast<T*>(memory);
    }
    // For an array that is read completely: one zero page represents 2 MB.
    void take_large_pages() const {
#ifdef MADV_HUGEPAGE
        madvise(data_, bytes_, MADV_HUGEPAGE);
#endif
    }
    ~Untouched() { munmap(data_, bytes_); }
    Untouched(const Untouched&) = delete;
    Untouched& operator=(const Untouched&) = delete;
    T* data() const { return data_; }

private:
    size_t bytes_;
    T* data_;
};

// Returns the blocks that do these tasks; block t modulo the grid does task t.
inline ChosenBlocks blocks_of_tasks(std::vector<int64_t> tasks) {
    return [tasks](unsigned grid) {
        std::vector<unsigned> blocks;
        for (const int64_t task : tasks) blocks.push_back(static_cast<unsigned>(task % grid));
        std::sort(blocks.begin(), blocks.end());
        blocks.erase(std::unique(blocks.begin(), blocks.end()), blocks.end());
        return blocks;
    };
}

inline std::vector<int64_t> first_and_last(int64_t tasks, int64_t each) {
    std::vector<int64_t> ends;
    for (int64_t task = 0; task < each; ++task) {
        ends.push_back(task);
        ends.push_back(tasks - 1 - task);
    }
    return ends;
}

}  // namespace cpm_test
