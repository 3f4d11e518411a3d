// The threads behind cuda_runtime.h: a team the size of a block, which goes through the grid's blocks together.
#pragma once

#include <functional>
#include <vector>

#include "host_barrier.h"

struct HostIndex {
    unsigned x, y, z;
};

// Which thread this is. Kernels here use one axis; of the others there is one.
inline thread_local HostIndex threadIdx, blockIdx, blockDim, gridDim;

namespace cpm_test {

inline thread_local HostBarrier* host_barrier;

// The blocks that later launches run, given how many the grid has; empty: all, the last one first.
using ChosenBlocks = std::function<std::vector<unsigned>(unsigned)>;
ChosenBlocks& chosen_blocks();

// False, as CUDA would refuse it, for sizes beyond CUDA's. Ends the process where threads of a block do not meet at the
// same barriers.
bool run_grid(unsigned blocks, unsigned threads, const std::function<void()>& kernel);

}  // namespace cpm_test
