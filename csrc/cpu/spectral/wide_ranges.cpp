#include "wide_ranges.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "cpm/threads.h"

namespace cpm::spectral {

void find_wide_ranges(const float* x, const float* gate, int64_t images, int64_t height, int64_t width,
                      int64_t channels, int64_t pitch, int kernel, float most_range, int threads,
                      unsigned char* broken) {
    // Every window of the kernel contains a whole block.
    const int64_t side = (kernel + 1) / 2, bands = (height + side - 1) / side;
    std::vector<int32_t> found(static_cast<size_t>(2 * images * bands));
    int32_t *largest = found.data(), *smallest = largest + images * bands;
    const Kernels& run = kernels();
    const Ranges job{x, gate, height, width, channels, pitch, side, largest, smallest};
    threads::parallel_ranges(threads, images * bands,
                             [&](int, int64_t begin, int64_t end) { run.find_ranges(job, begin, end); });
    for (int64_t image = 0; image < images; ++image) {
        const int32_t most = *std::max_element(largest + image * bands, largest + (image + 1) * bands);
        const int32_t least = *std::min_element(smallest + image * bands, smallest + (image + 1) * bands);
        if (most == 0) continue;
        float high, low;
        std::memcpy(&high, &most, sizeof(high));
        std::memcpy(&low, &least, sizeof(low));
        if (!std::isfinite(high) || high / most_range > low) broken[image] = 1;
    }
}

}  // namespace cpm::spectral
