// The barrier of a block. It orders accesses before it against accesses after it, and nothing else, so that
// ThreadSanitizer finds accesses without an order: a mutex would also order a thread that arrives at one barrier before
// one that leaves the previous barrier late.
#pragma once

#include <atomic>

namespace cpm_test {

class HostBarrier {
public:
    explicit HostBarrier(unsigned threads) : threads_(threads) {}

    // Waits for all threads; returns whether `any` was true for one. All must call it from the same line.
    bool meet(int line, bool any);

private:
    static constexpr int kNoLine = -1;
    struct Meeting {
        std::atomic<unsigned> arrived{0};
        std::atomic<int> line{kNoLine};
        std::atomic<bool> any{false};
    };

    const unsigned threads_;
    // The slot of a barrier is free again when all threads have reached the next one.
    Meeting meetings_[2];
    std::atomic<unsigned> past_{0};
};

}  // namespace cpm_test
