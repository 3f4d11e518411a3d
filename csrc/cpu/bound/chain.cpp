// Between two calls from Python lie 15 to 20 us: the interpreter's objects have left the caches, and so has its code.
//
// Versions, wide-lsp with one image, ms on two Zen 3 cores (medians of 12 processes in turns):
//
//     1  a call for every layer                          24.5
//     2  one call for layers that follow one another     22.1
//
// The prediction for 25 layers was half a millisecond. The rest was not traced; the pool's thread sleeps after 100 us
// without work, which Python sometimes takes.
//
// Tried and left out: another thread begins the first layer while the caller checks the weights. Predicted 0.3 ms less,
// measured 0.985 (compact-lsp) and 0.958 (wide-lsp) of version 2's speed.

#include "cpm/chain.h"

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <string>

namespace cpm {
namespace {

constexpr auto kLongest = std::chrono::milliseconds(100);

}  // namespace

void Chain::spectral_conv(const float* x, const void* spectra, const float* bias, float* out,
                          const SpectralConv& params, bool relu) {
    layers_.push_back({[=](int64_t budget, int threads) { return spectral_workspace(params, budget, threads); },
                       [=](float* workspace, int64_t budget, int threads) {
                           return spectral_conv_cpu(x, nullptr, spectra, bias, out, params, relu, workspace, budget,
                                                    threads);
                       }});
}

void Chain::direct_conv(const float* x, const void* packed, const float* bias, float* out, const DirectConv& params,
                        bool relu) {
    layers_.push_back({[=](int64_t, int threads) { return direct_workspace(params, threads); },
                       [=](float* workspace, int64_t, int threads) {
                           direct_conv_cpu(x, packed, bias, out, params, relu, workspace, threads);
                           return std::vector<int64_t>();
                       }});
}

void Chain::winograd_conv(const float* x, const void* transformed, const float* bias, float* out,
                          const DirectConv& params, bool relu) {
    layers_.push_back({[=](int64_t, int threads) { return winograd_workspace(params, threads); },
                       [=](float* workspace, int64_t, int threads) {
                           return winograd_conv_cpu(x, transformed, bias, out, params, relu, workspace, threads);
                       }});
}

void Chain::copy_maps(const float* from, float* to, const CopyMaps& params) {
    layers_.push_back({[](int64_t, int) { return int64_t{0}; },
                       [=](float*, int64_t, int threads) {
                           copy_maps_cpu(from, to, params, threads);
                           return std::vector<int64_t>();
                       }});
}

int64_t Chain::workspace(int64_t budget, int threads) const {
    int64_t most = 0;
    for (const Layer& layer : layers_) most = std::max(most, layer.workspace(budget, threads));
    return most;
}

Chain::Progress Chain::run(int64_t first, float* workspace, int64_t budget, int threads) const {
    const int64_t end = static_cast<int64_t>(layers_.size());
    if (first < 0 || first > end) throw std::invalid_argument("no layer " + std::to_string(first));
    const auto limit = std::chrono::steady_clock::now() + kLongest;
    for (int64_t i = first; i < end; ++i) {
        std::vector<int64_t> images = layers_[static_cast<size_t>(i)].run(workspace, budget, threads);
        if (!images.empty() || std::chrono::steady_clock::now() > limit) return {i + 1, std::move(images)};
    }
    return {end, {}};
}

}  // namespace cpm
