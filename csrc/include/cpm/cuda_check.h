// The error check around every CUDA call.
#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

namespace cpm {

inline void cuda_check(cudaError_t status, const std::string& what) {
    if (status != cudaSuccess) {
        throw std::runtime_error(what + ": CUDA says: " + cudaGetErrorString(status));
    }
}

}  // namespace cpm
