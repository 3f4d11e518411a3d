// The threads behind cuda_runtime.h: a team of the block's size, which runs the grid's blocks one by one.
#pragma once

#include <functional>
#include <vector>

#include "host_barrier.h"

struct HostIndex {
    unsigned x, y, z;
};

// The index of this thread. Kernels here use one axis; the others have size 1.
inline thread_local HostIndex threadIdx, blockIdx, blockDim, gridDim;

namespace cpm_test {

inline thread_local HostBarrier* host_barrier;

// The blocks that later launches run, given how many the grid has; empty: all, the last one first.
using ChosenBlocks = std::function<std::vector<unsigned>(unsigned)>;
ChosenBlocks& chosen_blocks();

// Returns false for sizes beyond CUDA's limits, which CUDA would refuse. Ends the process if threads of a block do not
// reach the same barriers.
bool run_grid(unsigned blocks, unsigned threads, const std::function<void()>& kernel);

}  // namespace cpm_test
