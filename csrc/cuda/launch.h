// The function that launches all kernels. It is a plain call, so a host that supplies another cuda_runtime.h
// (csrc/tests/host_cuda) runs the same sources.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "cpm/cuda_check.h"

namespace cpm {

// Kernels stride over the rest.
constexpr int64_t kMaxBlocks = 1 << 20;

// Starts `kernel` for `tasks` tasks, at least 1, with one block per task, on `stream` (a cudaStream_t) of `device`,
// without waiting. Throws std::runtime_error if CUDA refuses.
template <typename... Wanted, typename... Given>
void launch(const std::string& op, void (*kernel)(Wanted...), int64_t tasks, int threads, int device, void* stream,
            Given&&... arguments) {
    // This module has its own cudart, whose current device may differ from the caller's.
    cuda_check(cudaSetDevice(device), op + ": choosing the device");
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(std::min(tasks, kMaxBlocks)));
    config.blockDim = dim3(static_cast<unsigned>(threads));
    config.stream = static_cast<cudaStream_t>(stream);
    cuda_check(cudaLaunchKernelEx(&config, kernel, std::forward<Given>(arguments)...), op + ": launch");
}

}  // namespace cpm
