// CUDA for a machine without it: the parts of the language and the runtime that csrc/cuda uses, so that a C++ compiler
// builds the unchanged .cu files and runs them on the processor. A grid's blocks run one after the other, a block's
// threads are threads of the machine, so that ThreadSanitizer finds a missing barrier and AddressSanitizer an access
// beyond shared memory. host_grid.h has the threads.
#pragma once

#include <math.h>

#include <utility>

#include "host_grid.h"

#define __global__
#define __device__
#define __host__
// Blocks run one at a time, so one copy is enough; it keeps the values of the previous block.
#define __shared__ static
#define __launch_bounds__(...)

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

// The line of the caller identifies the barrier.
inline void __syncthreads(int line = __builtin_LINE()) { cpm_test::host_barrier->meet(line, false); }

inline int __syncthreads_or(int predicate, int line = __builtin_LINE()) {
    return cpm_test::host_barrier->meet(line, predicate != 0);
}

inline int atomicAdd(int* address, int value) { return __atomic_fetch_add(address, value, __ATOMIC_RELAXED); }

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidConfiguration = 9, cudaErrorInvalidDevice = 101 };
using cudaStream_t = void*;

struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    unsigned long dynamicSmemBytes;
    cudaStream_t stream;
};

inline const char* cudaGetErrorString(cudaError_t error) {
    return error == cudaErrorInvalidDevice          ? "invalid device ordinal"
           : error == cudaErrorInvalidConfiguration ? "invalid configuration argument"
                                                    : "no error";
}

inline cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudaErrorInvalidDevice; }

template <typename... Wanted, typename... Given>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Wanted...), Given&&... arguments) {
    const dim3 &grid = config->gridDim, &block = config->blockDim;
    if (grid.y != 1 || grid.z != 1 || block.y != 1 || block.z != 1) return cudaErrorInvalidConfiguration;
    const bool runs = cpm_test::run_grid(grid.x, block.x, [&] { kernel(static_cast<Wanted>(arguments)...); });
    return runs ? cudaSuccess : cudaErrorInvalidConfiguration;
}
