// Layers bound to their maps, run one after another without a return to the caller.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "cpm/copy_maps.h"
#include "cpm/direct_conv.h"
#include "cpm/spectral_conv.h"
#include "cpm/winograd_conv.h"

namespace cpm {

class Chain {
public:
    // The layers that have run end before `next`. `images` are those that the last of them left to be done in another
    // way; see spectral_conv_cpu.
    struct Progress {
        int64_t next;
        std::vector<int64_t> images;
    };

    // Each adds a layer: the function of this name, with these arguments. The memory must outlive the last run.
    void spectral_conv(const float* x, const void* spectra, const float* bias, float* out, const SpectralConv& params,
                       bool relu);
    void direct_conv(const float* x, const void* packed, const float* bias, float* out, const DirectConv& params,
                     bool relu);
    void winograd_conv(const float* x, const void* transformed, const float* bias, float* out, const DirectConv& params,
                       bool relu);
    void copy_maps(const float* from, float* to, const CopyMaps& params);

    // Floats of workspace that `run` needs: the most that a layer does.
    int64_t workspace(int64_t budget, int threads) const;

    // Runs the layers from `first` on. It returns after the last, after a layer that left images, and after the layer
    // during which a tenth of a second has passed: then its caller can look at signals. Any number of threads may run a
    // chain at once, if its maps allow it.
    Progress run(int64_t first, float* workspace, int64_t budget, int threads) const;

private:
    struct Layer {
        std::function<int64_t(int64_t budget, int threads)> workspace;
        std::function<std::vector<int64_t>(float* workspace, int64_t budget, int threads)> run;
    };
    std::vector<Layer> layers_;
};

}  // namespace cpm
