#include "host_grid.h"

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>

namespace cpm_test {
namespace {

constexpr unsigned kMostThreads = 1024, kMostBlocks = 2147483647u;
// Not a line of a kernel.
constexpr int kEndOfBlock = 0;

std::vector<unsigned> blocks_of(unsigned grid) {
    if (chosen_blocks()) return chosen_blocks()(grid);
    std::vector<unsigned> blocks;
    for (unsigned block = grid; block > 0; --block) blocks.push_back(block - 1);
    return blocks;
}

}  // namespace

bool HostBarrier::meet(int line, bool any) {
    // No thread can pass a barrier that this thread has not reached.
    const unsigned now = past_.load(std::memory_order_relaxed);
    Meeting& meeting = meetings_[now % 2];
    int first = kNoLine;
    if (!meeting.line.compare_exchange_strong(first, line, std::memory_order_relaxed) && first != line) {
        std::fprintf(stderr, "threads of a block wait at different barriers: lines %d and %d (0: the kernel's end)\n", first,
                     line);
        std::_Exit(EXIT_FAILURE);
    }
    if (any) meeting.any.store(true, std::memory_order_relaxed);
    if (meeting.arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == threads_) {
        Meeting& next = meetings_[(now + 1) % 2];
        next.arrived.store(0, std::memory_order_relaxed);
        next.line.store(kNoLine, std::memory_order_relaxed);
        next.any.store(false, std::memory_order_relaxed);
        past_.store(now + 1, std::memory_order_release);
        past_.notify_all();
    } else {
        past_.wait(now, std::memory_order_acquire);
    }
    return meeting.any.load(std::memory_order_relaxed);
}

ChosenBlocks& chosen_blocks() {
    static ChosenBlocks chosen;
    return chosen;
}

bool run_grid(unsigned grid, unsigned threads, const std::function<void()>& kernel) {
    if (grid == 0 || grid > kMostBlocks || threads == 0 || threads > kMostThreads) return false;
    static std::mutex one_grid;
    const std::lock_guard<std::mutex> lock(one_grid);
    const std::vector<unsigned> blocks = blocks_of(grid);
    HostBarrier barrier(threads);
    std::vector<std::thread> team;
    for (unsigned thread = 0; thread < threads; ++thread) {
        team.emplace_back([&, thread] {
            host_barrier = &barrier;
            threadIdx = {thread, 0, 0};
            blockDim = {threads, 1, 1};
            gridDim = {grid, 1, 1};
            for (const unsigned block : blocks) {
                blockIdx = {block, 0, 0};
                kernel();
                barrier.meet(kEndOfBlock, false);
            }
        });
    }
    for (std::thread& thread : team) thread.join();
    return true;
}

}  // namespace cpm_test
