// The Python module cpm_fast._C. Pointers come as integers, and all checks of shape, dtype and device have been made by
// cpm_fast/ops; this is the only native file that knows of Python.

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "cpm/batch_norm.h"
#include "cpm/copy_maps.h"
#include "cpm/direct_conv.h"
#include "cpm/gaussian_targets.h"
#include "cpm/merge_peaks.h"
#include "cpm/peaks.h"
#include "cpm/resize_merge.h"
#include "cpm/spectral_conv.h"
#include "cpm/threads.h"

namespace py = pybind11;

namespace {

template <typename T>
T* pointer(std::uintptr_t address) {
    return reinterpret_cast<T*>(address);
}

void gaussian_targets_cpu(std::uintptr_t parts, std::uintptr_t labeled, std::uintptr_t maps, int64_t images,
                          int64_t people, int64_t part_count, int64_t height, int64_t width, double sigma,
                          double stride, int threads) {
    cpm::gaussian_targets_cpu(pointer<const float>(parts), pointer<const bool>(labeled), pointer<float>(maps),
                              {images, people, part_count, height, width, sigma, stride}, threads);
}

// Sizes of resize_merge and merge_peaks, in the order of the struct: N, S, P+1, h, w, H, W, sets of frames.
cpm::ResizeMerge resize_sizes(const std::array<int64_t, 8>& sizes) {
    return {sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], sizes[6], sizes[7]};
}

void resize_merge_cpu(std::uintptr_t maps, std::uintptr_t frames, std::uintptr_t merged,
                      const std::array<int64_t, 8>& sizes, int threads) {
    cpm::resize_merge_cpu(pointer<const float>(maps), pointer<const double>(frames), pointer<float>(merged),
                          resize_sizes(sizes), threads);
}

void peaks_cpu(std::uintptr_t maps, std::uintptr_t points, std::uintptr_t scores, int64_t count, int64_t height,
               int64_t width, bool refine, int threads) {
    cpm::peaks_cpu(pointer<const float>(maps), pointer<float>(points), pointer<float>(scores),
                   {count, height, width, refine}, threads);
}

void merge_peaks_cpu(std::uintptr_t maps, std::uintptr_t frames, std::uintptr_t points, std::uintptr_t scores,
                     const std::array<int64_t, 8>& sizes, bool refine, int threads) {
    cpm::merge_peaks_cpu(pointer<const float>(maps), pointer<const double>(frames), pointer<float>(points),
                         pointer<float>(scores), resize_sizes(sizes), refine, threads);
}

// Sizes of spectral_conv, in the order of the struct: N, h, w, C, O, k, t, pitches of x and out, pool and its padding.
using SpectralSizes = std::array<int64_t, 11>;

cpm::SpectralConv spectral_sizes(const SpectralSizes& sizes) {
    return {sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], static_cast<int>(sizes[5]), static_cast<int>(sizes[6]),
            sizes[7], sizes[8], static_cast<int>(sizes[9]), static_cast<int>(sizes[10])};
}

void transform_weight_cpu(std::uintptr_t weight, std::uintptr_t spectra, int64_t outputs, int64_t inputs, int kernel,
                          int tile, bool adjoint, int threads) {
    cpm::transform_weight_cpu(pointer<const float>(weight), pointer<float>(spectra), outputs, inputs, kernel, tile,
                              adjoint, threads);
}

int64_t spectral_workspace(const SpectralSizes& sizes, int64_t budget, int threads) {
    return cpm::spectral_workspace(spectral_sizes(sizes), budget, threads);
}

void spectral_conv_cpu(std::uintptr_t x, std::uintptr_t gate, std::uintptr_t spectra, std::uintptr_t bias,
                       std::uintptr_t out, const SpectralSizes& sizes, bool relu, std::uintptr_t workspace,
                       int64_t budget, int threads) {
    cpm::spectral_conv_cpu(pointer<const float>(x), pointer<const float>(gate), pointer<const float>(spectra),
                           pointer<const float>(bias), pointer<float>(out), spectral_sizes(sizes), relu,
                           pointer<float>(workspace), budget, threads);
}

int64_t spectral_gradient_workspace(const SpectralSizes& sizes, int64_t budget, int threads) {
    return cpm::spectral_gradient_workspace(spectral_sizes(sizes), budget, threads);
}

void spectral_weight_gradient_cpu(std::uintptr_t gradient, std::uintptr_t gate, std::uintptr_t x,
                                  std::uintptr_t dweight, std::uintptr_t dbias, const SpectralSizes& sizes,
                                  std::uintptr_t workspace, int64_t budget, int threads) {
    cpm::spectral_weight_gradient_cpu(pointer<const float>(gradient), pointer<const float>(gate),
                                      pointer<const float>(x), pointer<float>(dweight), pointer<float>(dbias),
                                      spectral_sizes(sizes), pointer<float>(workspace), budget, threads);
}

// Sizes of direct_conv, in the order of the struct: N, h, w, C, O, k, pitches of x and out, pool and its padding.
using DirectSizes = std::array<int64_t, 10>;

cpm::DirectConv direct_sizes(const DirectSizes& sizes) {
    return {sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], static_cast<int>(sizes[5]), sizes[6], sizes[7],
            static_cast<int>(sizes[8]), static_cast<int>(sizes[9])};
}

void pack_weight_cpu(std::uintptr_t weight, std::uintptr_t packed, int64_t outputs, int64_t inputs, int kernel,
                     int threads) {
    cpm::pack_weight_cpu(pointer<const float>(weight), pointer<float>(packed), outputs, inputs, kernel, threads);
}

int64_t direct_workspace(const DirectSizes& sizes, int threads) {
    return cpm::direct_workspace(direct_sizes(sizes), threads);
}

void direct_conv_cpu(std::uintptr_t x, std::uintptr_t packed, std::uintptr_t bias, std::uintptr_t out,
                     const DirectSizes& sizes, bool relu, std::uintptr_t workspace, int threads) {
    cpm::direct_conv_cpu(pointer<const float>(x), pointer<const float>(packed), pointer<const float>(bias),
                         pointer<float>(out), direct_sizes(sizes), relu, pointer<float>(workspace), threads);
}

// The three fours of CopyMaps: sizes, strides of one tensor, strides of the other.
using Four = std::array<int64_t, 4>;

void copy_maps_cpu(std::uintptr_t from, std::uintptr_t to, const Four& sizes, const Four& from_strides,
                   const Four& to_strides, int threads) {
    cpm::CopyMaps params;
    std::copy(sizes.begin(), sizes.end(), params.sizes);
    std::copy(from_strides.begin(), from_strides.end(), params.from_strides);
    std::copy(to_strides.begin(), to_strides.end(), params.to_strides);
    cpm::copy_maps_cpu(pointer<const float>(from), pointer<float>(to), params, threads);
}

void batch_norm_cpu(std::uintptr_t x, std::uintptr_t weight, std::uintptr_t bias, std::uintptr_t y, std::uintptr_t mean,
                    std::uintptr_t variance, int64_t cells, int64_t channels, double eps, bool relu, int threads) {
    cpm::batch_norm_cpu(pointer<const float>(x), pointer<const float>(weight), pointer<const float>(bias),
                        pointer<float>(y), pointer<float>(mean), pointer<float>(variance),
                        {cells, channels, eps, relu}, threads);
}

void batch_norm_gradient_cpu(std::uintptr_t dy, std::uintptr_t x, std::uintptr_t weight, std::uintptr_t bias,
                             std::uintptr_t mean, std::uintptr_t variance, std::uintptr_t dx, std::uintptr_t dweight,
                             std::uintptr_t dbias, int64_t cells, int64_t channels, double eps, bool relu,
                             int threads) {
    cpm::batch_norm_gradient_cpu(pointer<const float>(dy), pointer<const float>(x), pointer<const float>(weight),
                                 pointer<const float>(bias), pointer<const float>(mean),
                                 pointer<const float>(variance), pointer<float>(dx), pointer<float>(dweight),
                                 pointer<float>(dbias), {cells, channels, eps, relu}, threads);
}

#if CPM_FAST_HAS_CUDA
void gaussian_targets_cuda(std::uintptr_t parts, std::uintptr_t labeled, std::uintptr_t maps, int64_t images,
                           int64_t people, int64_t part_count, int64_t height, int64_t width, double sigma,
                           double stride, int device, std::uintptr_t stream) {
    cpm::gaussian_targets_cuda(pointer<const float>(parts), pointer<const bool>(labeled), pointer<float>(maps),
                               {images, people, part_count, height, width, sigma, stride}, device,
                               pointer<void>(stream));
}

void resize_merge_cuda(std::uintptr_t maps, std::uintptr_t frames, std::uintptr_t merged,
                       const std::array<int64_t, 8>& sizes, int device, std::uintptr_t stream) {
    cpm::resize_merge_cuda(pointer<const float>(maps), pointer<const double>(frames), pointer<float>(merged),
                           resize_sizes(sizes), device, pointer<void>(stream));
}

void peaks_cuda(std::uintptr_t maps, std::uintptr_t points, std::uintptr_t scores, int64_t count, int64_t height,
                int64_t width, bool refine, int device, std::uintptr_t stream) {
    cpm::peaks_cuda(pointer<const float>(maps), pointer<float>(points), pointer<float>(scores),
                    {count, height, width, refine}, device, pointer<void>(stream));
}

void merge_peaks_cuda(std::uintptr_t maps, std::uintptr_t frames, std::uintptr_t points, std::uintptr_t scores,
                      std::uintptr_t bounds, const std::array<int64_t, 8>& sizes, bool refine, int device,
                      std::uintptr_t stream) {
    cpm::merge_peaks_cuda(pointer<const float>(maps), pointer<const double>(frames), pointer<float>(points),
                          pointer<float>(scores), pointer<float>(bounds), resize_sizes(sizes), refine, device,
                          pointer<void>(stream));
}
#endif

}  // namespace

PYBIND11_MODULE(_C, m) {
    const auto no_gil = py::call_guard<py::gil_scoped_release>();

    m.doc() = "Native code of cpm_fast; called by cpm_fast.ops only.";
    m.attr("has_cuda") = py::bool_(CPM_FAST_HAS_CUDA);
    m.attr("compiler") = CPM_FAST_COMPILER;
    m.attr("cuda_version") = CPM_FAST_CUDA_VERSION;
    m.attr("cuda_archs") = CPM_FAST_CUDA_ARCHS;

    m.def("gaussian_targets_cpu", &gaussian_targets_cpu, no_gil);
    m.def("resize_merge_cpu", &resize_merge_cpu, no_gil);
    m.def("peaks_cpu", &peaks_cpu, no_gil);
    m.def("merge_peaks_cpu", &merge_peaks_cpu, no_gil);
    m.def("transform_weight_cpu", &transform_weight_cpu, no_gil);
    m.def("spectral_workspace", &spectral_workspace);
    m.def("spectral_conv_cpu", &spectral_conv_cpu, no_gil);
    m.def("spectral_gradient_workspace", &spectral_gradient_workspace);
    m.def("spectral_weight_gradient_cpu", &spectral_weight_gradient_cpu, no_gil);
    m.def("pack_weight_cpu", &pack_weight_cpu, no_gil);
    m.def("direct_workspace", &direct_workspace);
    m.def("direct_conv_cpu", &direct_conv_cpu, no_gil);
    m.def("batch_norm_cpu", &batch_norm_cpu, no_gil);
    m.def("batch_norm_gradient_cpu", &batch_norm_gradient_cpu, no_gil);
    m.def("copy_maps_cpu", &copy_maps_cpu, no_gil);
    m.def("usable_cpus", &cpm::usable_cpus);
    m.def("started_workers", &cpm::threads::started_workers);
    m.def("simd_choices", &cpm::simd_choices);
    m.def("simd", &cpm::simd);
    m.def("use_simd", &cpm::use_simd);
#if CPM_FAST_HAS_CUDA
    m.def("gaussian_targets_cuda", &gaussian_targets_cuda, no_gil);
    m.def("resize_merge_cuda", &resize_merge_cuda, no_gil);
    m.def("peaks_cuda", &peaks_cuda, no_gil);
    m.def("merge_peaks_cuda", &merge_peaks_cuda, no_gil);
    m.def("merge_peaks_tiles", &cpm::merge_peaks_tiles);
#endif
}
