#include "wide_ranges.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace cpm::spectral {

WideRanges::WideRanges(const float* x, const Gate& gate, int64_t images, int64_t height, int64_t width,
                       int64_t channels, int64_t pitch, int kernel)
    : images_(images) {
    // Every window of the kernel contains a whole block.
    const int64_t side = (kernel + 1) / 2;
    bands_ = (height + side - 1) / side;
    found_.resize(static_cast<size_t>(2 * images * bands_));
    job_ = {x, gate, height, width, channels, pitch, side, found_.data(), found_.data() + images * bands_};
}

void WideRanges::find(int64_t begin, int64_t end, int64_t count) {
    // Without channels there are no tasks either.
    if (begin == end) return;
    const int64_t tasks = images_ * bands_;
    kernels().find_ranges(job_, tasks * begin / count, tasks * end / count);
}

void WideRanges::mark(float most_range, unsigned char* broken) const {
    for (int64_t image = 0; image < images_; ++image) {
        const int32_t *largest = job_.largest + image * bands_, *smallest = job_.smallest + image * bands_;
        const int32_t most = *std::max_element(largest, largest + bands_);
        const int32_t least = *std::min_element(smallest, smallest + bands_);
        if (most == 0) continue;
        float high, low;
        std::memcpy(&high, &most, sizeof(high));
        std::memcpy(&low, &least, sizeof(low));
        if (!std::isfinite(high) || high / most_range > low) broken[image] = 1;
    }
}

}  // namespace cpm::spectral
