// The check for maps that tiles would get wrong.
#pragma once

#include <cstdint>

#include "kernels.h"

namespace cpm::spectral {

// Marks images whose blocks' magnitudes differ by more than `most_range` times, or that are not finite. Photographs in
// trained networks reach 20 within, 128 at the input (docs/spectral-convolution.md).
//
// x, gate   [images, h, w, channels], a cell every `pitch` floats; see Ranges
// broken    [images], set to 1 or left
void find_wide_ranges(const float* x, const float* gate, int64_t images, int64_t height, int64_t width,
                      int64_t channels, int64_t pitch, int kernel, float most_range, int threads,
                      unsigned char* broken);

}  // namespace cpm::spectral
