// The barrier of a block. It orders what stands before it against what stands behind it, and nothing else, so that
// ThreadSanitizer finds accesses that are not ordered by it: a mutex would also order a thread that arrives at one
// barrier before one that is late in leaving the last.
#pragma once

#include <atomic>

namespace cpm_test {

class HostBarrier {
public:
    explicit HostBarrier(unsigned threads) : threads_(threads) {}

    // Waits for all threads; returns whether `any` was true of one. All must come from the same line.
    bool meet(int line, bool any);

private:
    static constexpr int kNoLine = -1;
    struct Meeting {
        std::atomic<unsigned> arrived{0};
        std::atomic<int> line{kNoLine};
        std::atomic<bool> any{false};
    };

    const unsigned threads_;
    // A meeting's place is free again when all have come to the next one.
    Meeting meetings_[2];
    std::atomic<unsigned> past_{0};
};

}  // namespace cpm_test
