// The one launch that all kernels go through, a plain function call, so that a host which supplies another
// cuda_runtime.h (csrc/tests/host_cuda) runs the same sources.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "cpm/cuda_check.h"

namespace cpm {

// Kernels stride over the rest.
constexpr int64_t kMaxBlocks = 1 << 20;

// Starts `kernel` for `tasks` tasks, at least 1, each of one block, on `stream` (a cudaStream_t) of `device`, without
// waiting. Throws std::runtime_error when CUDA refuses.
template <typename... Wanted, typename... Given>
void launch(const std::string& op, void (*kernel)(Wanted...), int64_t tasks, int threads, int device, void* stream,
            Given&&... arguments) {
    // This module has its own cudart, whose idea of the current device need not be the caller's.
    cuda_check(cudaSetDevice(device), op + ": choosing the device");
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(std::min(tasks, kMaxBlocks)));
    config.blockDim = dim3(static_cast<unsigned>(threads));
    config.stream = static_cast<cudaStream_t>(stream);
    cuda_check(cudaLaunchKernelEx(&config, kernel, std::forward<Given>(arguments)...), op + ": launch");
}

}  // namespace cpm
