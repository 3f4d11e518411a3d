// Products and sums that are rounded one by one on CPU and GPU, so that both make the same decisions.
#pragma once

#ifdef __CUDACC__
#define CPM_HOST_DEVICE __host__ __device__
#else
#define CPM_HOST_DEVICE
#endif

namespace cpm {

CPM_HOST_DEVICE inline float rounded_product(float a, float b) {
#ifdef __CUDA_ARCH__
    return __fmul_rn(a, b);
#else
    return a * b;  // host code is compiled with -ffp-contract=off
#endif
}

CPM_HOST_DEVICE inline float rounded_sum(float a, float b) {
#ifdef __CUDA_ARCH__
    return __fadd_rn(a, b);
#else
    return a + b;
#endif
}

CPM_HOST_DEVICE inline double rounded_product(double a, double b) {
#ifdef __CUDA_ARCH__
    return __dmul_rn(a, b);
#else
    return a * b;
#endif
}

CPM_HOST_DEVICE inline double rounded_sum(double a, double b) {
#ifdef __CUDA_ARCH__
    return __dadd_rn(a, b);
#else
    return a + b;
#endif
}

CPM_HOST_DEVICE inline float rounded_quotient(float a, float b) {
#ifdef __CUDA_ARCH__
    return __fdiv_rn(a, b);
#else
    return a / b;
#endif
}

}  // namespace cpm
