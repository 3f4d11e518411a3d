// The check for maps that tiles would get wrong.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels.h"

namespace cpm::spectral {

// Finds images whose blocks' magnitudes differ by more than a factor, or that are not finite. Photographs in trained
// networks reach 20 within, 128 at the input (docs/spectral-convolution.md). A convolution computes the ranges along with
// what it makes of the map: a region of their own took 5 % of a small network's time.
class WideRanges {
public:
    // x, gate   as in Ranges; h and w are those of the map
    WideRanges(const float* x, const Gate& gate, int64_t images, int64_t height, int64_t width, int64_t channels,
               int64_t pitch, int kernel);

    // Computes the given part of all ranges: tasks begin..end of `count`. Any number of threads may call this at once.
    void find(int64_t begin, int64_t end, int64_t count);

    // Marks the images once all parts are computed: sets their places in broken [images] to 1.
    void mark(float most_range, unsigned char* broken) const;

private:
    int64_t images_, bands_;
    std::vector<int32_t> found_;
    Ranges job_;
};

}  // namespace cpm::spectral
