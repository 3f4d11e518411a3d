// A copy of maps between any two layouts.
#pragma once

#include <cstdint>

namespace cpm {

// N, C, h, w, and the floats from one to the next along each in both tensors.
struct CopyMaps {
    int64_t sizes[4], from_strides[4], to_strides[4];
};

// from  [N, C, h, w], of any strides
// to    [N, C, h, w], of any strides by which no two elements meet; it does not overlap with from
void copy_maps_cpu(const float* from, float* to, const CopyMaps& params, int threads);

}  // namespace cpm
