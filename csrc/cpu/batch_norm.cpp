// Two passes each way: sums, then values. Sums are made chunk by chunk, each in cache, where a second look costs little:
// so a chunk's squares are of the distance from its own mean, and nothing cancels; see norm_sums.h. The loops over a
// chunk's cells are in spectral/norm.h, and with a pool in spectral/norm_pool.h.
//
// Forward reads x twice and writes y; backward reads dy and x twice and writes dx: 3 and 5 passes over memory. PyTorch's
// normalization and ReLU take 5 and 9: the ReLU reads and writes y again, and its mask is read from y; here the mask
// comes from x, by the forward pass's own arithmetic. With a pool these are 2.25 and 3.5 passes, where a pool of its own
// adds 1.5 and, with the zeros it starts from, 3.
//
// Versions, ms of one thread forward and backward, AVX2, [16, 24, 128, 128] with fresh outputs; PyTorch's took 66 to 68
// in the same minutes, and its sums were off by 5e-5 where these are by 4e-7:
//     1  blocks of 16 channels, loops over lanes left to the compiler    84
//     2  vectors of channels, two accumulators per sum                   41
//     3  a chunk's lines are fetched before it is read, and the second pass begins with the chunks that are still in cache:
//        in a step of wide-lsp in bfloat16 on two Zen 5 cores 37.7 ms, 39.4 before

#include "cpm/batch_norm.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "cpm/sizes.h"
#include "cpm/threads.h"
#include "norm_sums.h"
#include "vectors.h"

namespace cpm {
namespace {

using spectral::Kernels;
using spectral::kernels;

constexpr int64_t kChunk = 256;   // cells
constexpr int64_t kWindows = 64;  // side by side
constexpr int64_t kLineBytes = 64;

// A map of `cells` or windows, `across` in a row, cut into chunks, each within a row.
struct Cut {
    int64_t across, most, segments, chunks;

    Cut(int64_t cells, int64_t across, int64_t most)
        : across(across), most(most), segments((across + most - 1) / most), chunks(cells / across * segments) {}
    int64_t first(int64_t chunk) const { return chunk / segments * across + chunk % segments * most; }
    int64_t cells(int64_t chunk) const { return std::min(most, across - chunk % segments * most); }
};

void check(const BatchNorm& params) {
    if (params.cells < 1) throw std::invalid_argument("x must have cells");
    element_count({params.cells, params.channels, static_cast<int64_t>(sizeof(double))});
    if (params.pooled_width != 0 && (params.pooled_width < 0 || params.pooled_width % 2 != 0 ||
                                     params.cells % (2 * params.pooled_width) != 0)) {
        throw std::invalid_argument("rows and columns must be even before a pool, got " + std::to_string(params.cells) +
                                    " cells in rows of " + std::to_string(params.pooled_width));
    }
}

spectral::NormMaps maps_of(const BatchNorm& params) {
    return params.bf16 ? spectral::kBfloat16Maps : spectral::kFloatMaps;
}

// A row is all cells, as no chunk has to end with a row of the map.
Cut cells_of(const BatchNorm& params) { return {params.cells, params.cells, kChunk}; }
Cut windows_of(const BatchNorm& params) { return {params.cells / 4, params.pooled_width / 2, kWindows}; }

// Chunks run in their order while sums are made, and then from the last to the first: the last are still in cache.
template <typename Run>
void each_chunk(const Cut& cut, bool sums, int threads, const Run& run) {
    threads::parallel_ranges(threads, cut.chunks, [&](int, int64_t begin, int64_t end) {
        for (int64_t chunk = begin; chunk < end; ++chunk) run(sums ? chunk : cut.chunks - 1 - chunk);
    });
}

// Fetches consecutive values, line by line. Kernels run through a chunk once for each vector of channels, with steps that
// the hardware does not foresee.
void fetch(const void* map, int64_t at, int64_t values, bool bf16) {
    if (map == nullptr) return;
    const auto* from = static_cast<const char*>(value_at(map, at, bf16));
    const int64_t bytes = values * static_cast<int64_t>(bf16 ? sizeof(uint16_t) : sizeof(float));
    for (int64_t i = 0; i < bytes; i += kLineBytes) prefetch<false>(reinterpret_cast<const float*>(from + i));
}

// Calls run for all chunks of x and, for the gradient, dy; the output goes to y.
void run_cells(const BatchNorm& params, void (*const (&run)[2])(const spectral::NormChunk&), const void* x,
               const void* dy, void* y, const spectral::NormTerms& terms, NormSums* sums, int threads) {
    const Cut cut = cells_of(params);
    each_chunk(cut, sums != nullptr, threads, [&](int64_t chunk) {
        const int64_t at = cut.first(chunk) * params.channels;
        for (const void* map : {x, dy}) fetch(map, at, cut.cells(chunk) * params.channels, params.bf16);
        run[maps_of(params)]({value_at(x, at, params.bf16), value_at(dy, at, params.bf16), value_at(y, at, params.bf16),
                              cut.cells(chunk), params.channels, params.relu, terms,
                              sums == nullptr ? nullptr : sums->first(chunk),
                              sums == nullptr ? nullptr : sums->second(chunk)});
    });
}

// Likewise for all windows. The output goes to `pooled`, or to dx.
void run_windows(const BatchNorm& params, void (*const* run)(const spectral::NormWindows&), const void* x,
                 const void* dy, void* pooled, void* dx, const spectral::NormTerms& terms, NormSums* sums,
                 int threads) {
    const Cut cut = windows_of(params);
    const int64_t row = params.pooled_width * params.channels;
    each_chunk(cut, sums != nullptr, threads, [&](int64_t chunk) {
        const int64_t window = cut.first(chunk), at = window * params.channels;
        const int64_t cell = window / cut.across * 2 * row + window % cut.across * 2 * params.channels;
        const int64_t values = cut.cells(chunk) * params.channels;
        for (const int64_t start : {cell, cell + row}) fetch(x, start, 2 * values, params.bf16);
        fetch(dy, at, values, params.bf16);
        void* y = pooled != nullptr ? value_at(pooled, at, params.bf16) : value_at(dx, cell, params.bf16);
        run[maps_of(params)]({value_at(x, cell, params.bf16), value_at(dy, at, params.bf16), y, cut.cells(chunk),
                              params.channels, params.channels, row, params.channels, params.relu, terms,
                              sums == nullptr ? nullptr : sums->first(chunk),
                              sums == nullptr ? nullptr : sums->second(chunk), nullptr});
    });
}

}  // namespace

void batch_norm_cpu(const void* x, const float* weight, const float* bias, void* y, float* mean, float* variance,
                    const BatchNorm& params, int threads) {
    check(params);
    const Cut cut = cells_of(params);
    NormSums sums(cut.chunks, params.channels);
    run_cells(params, kernels().norm_sums, x, nullptr, nullptr, {}, &sums, threads);
    sums.moments(params.channels, [&](int64_t chunk) { return cut.cells(chunk); }, mean, variance);
    const NormFactors factors(params.channels, weight, bias, mean, variance, params.eps);
    if (params.pooled_width == 0) {
        run_cells(params, kernels().norm_write, x, nullptr, y, factors.view(), nullptr, threads);
    } else {
        run_windows(params, kernels().norm_pool_write, x, nullptr, y, nullptr, factors.view(), nullptr, threads);
    }
}

void batch_norm_gradient_cpu(const void* dy, const void* x, const float* weight, const float* bias, const float* mean,
                             const float* variance, void* dx, float* dweight, float* dbias, const BatchNorm& params,
                             int threads) {
    check(params);
    NormFactors factors(params.channels, weight, bias, mean, variance, params.eps);
    const Kernels& run = kernels();
    const bool pool = params.pooled_width != 0;
    NormSums sums((pool ? windows_of(params) : cells_of(params)).chunks, params.channels);
    if (pool) {
        run_windows(params, run.norm_pool_gradient_sums, x, dy, nullptr, nullptr, factors.view(), &sums, threads);
    } else {
        run_cells(params, run.norm_gradient_sums, x, dy, nullptr, factors.view(), &sums, threads);
    }
    factors.take_gradient(sums, params.cells, dweight, dbias);
    if (pool) {
        run_windows(params, run.norm_pool_gradient_write, x, dy, nullptr, dx, factors.view(), nullptr, threads);
    } else {
        run_cells(params, run.norm_gradient_write, x, dy, dx, factors.view(), nullptr, threads);
    }
}

}  // namespace cpm
