// The host's grid: indices, barriers, sizes that CUDA would refuse, and two faulty kernels, test_grid race and
// test_grid diverge, which must fail, the first of them under ThreadSanitizer.

#include <cuda_runtime.h>

#include <cstring>
#include <numeric>

#include "../check.h"
#include "on_host.h"

namespace {

constexpr int kThreads = 128;

cudaLaunchConfig_t sizes(unsigned blocks, unsigned threads) {
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(blocks);
    config.blockDim = dim3(threads);
    return config;
}

// Sets each of values [blocks, threads] to the sum of the others in its block, and any [blocks] to whether one was 0.
__global__ void sum_kernel(int* values, int* any) {
    __shared__ int total;
    const unsigned index = blockIdx.x * blockDim.x + threadIdx.x;
    if (threadIdx.x == 0) total = 0;
    __syncthreads();
    atomicAdd(&total, values[index]);
    const int zero = __syncthreads_or(values[index] == 0);
    values[index] = total - values[index];
    if (threadIdx.x == 0) any[blockIdx.x] = zero * static_cast<int>(gridDim.x);
}

void test_sums() {
    std::vector<int> values(5 * kThreads), any(5, -1);
    std::iota(values.begin(), values.end(), 0);
    const auto config = sizes(5, kThreads);
    CHECK(cudaLaunchKernelEx(&config, sum_kernel, values.data(), any.data()) == cudaSuccess);
    CHECK((any == std::vector<int>{5, 0, 0, 0, 0}));
    for (int i = 0; i < 5 * kThreads; ++i) {
        const int first = i / kThreads * kThreads, total = kThreads * first + kThreads * (kThreads - 1) / 2;
        CHECK(values[i] == total - i);
    }
}

// No barrier orders the write before the reads.
__global__ void race_kernel(int* values) {
    __shared__ int first;
    if (threadIdx.x == 0) first = values[blockIdx.x];
    values[gridDim.x + threadIdx.x] = first;
}

__global__ void diverge_kernel(int* values) {
    if (threadIdx.x % 2) __syncthreads();
    values[threadIdx.x] = 0;
}

void test_refusals() {
    for (const auto& config : {sizes(0, 1), sizes(1, 0), sizes(1, 1025), sizes(1u << 31, 1)}) {
        CHECK(cudaLaunchKernelEx(&config, sum_kernel, nullptr, nullptr) == cudaErrorInvalidConfiguration);
    }
}

}  // namespace

int main(int count, char** arguments) {
    std::vector<int> values(2 * kThreads);
    const auto config = sizes(2, kThreads);
    if (count == 2 && std::strcmp(arguments[1], "race") == 0) {
        cudaLaunchKernelEx(&config, race_kernel, values.data());
    } else if (count == 2 && std::strcmp(arguments[1], "diverge") == 0) {
        cudaLaunchKernelEx(&config, diverge_kernel, values.data());
    } else {
        test_sums();
        test_refusals();
    }
    return cpm_test::finish();
}
