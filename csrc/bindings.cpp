// The Python module cpm_fast._C. Pointers are passed as integers, and cpm_fast/ops has made all checks of shape, dtype
// and device; this is the only native file that uses Python.

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "cpm/abi.h"
#include "cpm/batch_norm.h"
#include "cpm/chain.h"
#include "cpm/checksum.h"
#include "cpm/conv_norm_pool.h"
#include "cpm/copy_maps.h"
#include "cpm/direct_conv.h"
#include "cpm/gaussian_targets.h"
#include "cpm/many_peaks.h"
#include "cpm/merge_peaks.h"
#include "cpm/peaks.h"
#include "cpm/resize_merge.h"
#include "cpm/spectral_conv.h"
#include "cpm/threads.h"
#include "cpm/winograd_conv.h"

namespace py = pybind11;

namespace {

template <typename T>
T* pointer(std::uintptr_t address) {
    return reinterpret_cast<T*>(address);
}

void gaussian_targets_cpu(std::uintptr_t parts, std::uintptr_t labeled, std::uintptr_t maps,
                          const cpm::GaussianTargets& params, int threads) {
    cpm::gaussian_targets_cpu(pointer<const float>(parts), pointer<const bool>(labeled), pointer<float>(maps), params,
                              threads);
}

void resize_merge_cpu(std::uintptr_t maps, std::uintptr_t frames, std::uintptr_t merged,
                      const cpm::ResizeMerge& params, int threads) {
    cpm::resize_merge_cpu(pointer<const float>(maps), pointer<const double>(frames), pointer<float>(merged),
                          params, threads);
}

void peaks_cpu(std::uintptr_t maps, std::uintptr_t points, std::uintptr_t scores, const cpm::Peaks& params,
               int threads) {
    cpm::peaks_cpu(pointer<const float>(maps), pointer<float>(points), pointer<float>(scores), params, threads);
}

void many_peaks_cpu(std::uintptr_t maps, std::uintptr_t points, std::uintptr_t scores, const cpm::ManyPeaks& params,
                    int threads) {
    cpm::many_peaks_cpu(pointer<const float>(maps), pointer<float>(points), pointer<float>(scores), params, threads);
}

void merge_peaks_cpu(std::uintptr_t maps, std::uintptr_t frames, std::uintptr_t points, std::uintptr_t scores,
                     const cpm::ResizeMerge& params, bool refine, int threads) {
    cpm::merge_peaks_cpu(pointer<const float>(maps), pointer<const double>(frames), pointer<float>(points),
                         pointer<float>(scores), params, refine, threads);
}

void transform_weight_cpu(std::uintptr_t weight, std::uintptr_t spectra, int64_t outputs, int64_t inputs, int kernel,
                          int tile, bool adjoint, int threads) {
    cpm::transform_weight_cpu(pointer<const float>(weight), pointer<float>(spectra), outputs, inputs, kernel, tile,
                              adjoint, threads);
}

int64_t spectral_workspace(const cpm::SpectralConv& params, int64_t budget, int threads) {
    return cpm::spectral_workspace(params, budget, threads);
}

std::vector<int64_t> spectral_conv_cpu(std::uintptr_t x, std::uintptr_t gate, std::uintptr_t spectra,
                                       std::uintptr_t bias, std::uintptr_t out, const cpm::SpectralConv& params,
                                       bool relu, std::uintptr_t workspace, int64_t budget, int threads) {
    return cpm::spectral_conv_cpu(pointer<const float>(x), pointer<const float>(gate), pointer<const void>(spectra),
                                  pointer<const float>(bias), pointer<float>(out), params, relu,
                                  pointer<float>(workspace), budget, threads);
}

int64_t spectral_gradient_workspace(const cpm::SpectralConv& params, int64_t budget, int threads) {
    return cpm::spectral_gradient_workspace(params, budget, threads);
}

void spectral_weight_gradient_cpu(std::uintptr_t gradient, std::uintptr_t gate, std::uintptr_t x,
                                  std::uintptr_t dweight, std::uintptr_t dbias, const cpm::SpectralConv& params,
                                  std::uintptr_t workspace, int64_t budget, int threads) {
    cpm::spectral_weight_gradient_cpu(pointer<const float>(gradient), pointer<const float>(gate),
                                      pointer<const float>(x), pointer<float>(dweight), pointer<float>(dbias),
                                      params, pointer<float>(workspace), budget, threads);
}

void pack_weight_cpu(std::uintptr_t weight, std::uintptr_t packed, int64_t outputs, int64_t inputs, int kernel,
                     bool bf16, int threads) {
    cpm::pack_weight_cpu(pointer<const float>(weight), pointer<void>(packed), outputs, inputs, kernel, bf16, threads);
}

int64_t direct_workspace(const cpm::DirectConv& params, int threads) {
    return cpm::direct_workspace(params, threads);
}

void direct_conv_cpu(std::uintptr_t x, std::uintptr_t packed, std::uintptr_t bias, std::uintptr_t out,
                     const cpm::DirectConv& params, bool relu, std::uintptr_t workspace, int threads) {
    cpm::direct_conv_cpu(pointer<const float>(x), pointer<const void>(packed), pointer<const float>(bias),
                         pointer<float>(out), params, relu, pointer<float>(workspace), threads);
}

void winograd_weight_cpu(std::uintptr_t weight, std::uintptr_t transformed, int64_t outputs, int64_t inputs,
                         bool adjoint, bool bf16, int threads) {
    cpm::winograd_weight_cpu(pointer<const float>(weight), pointer<void>(transformed), outputs, inputs, adjoint, bf16,
                             threads);
}

int64_t winograd_workspace(const cpm::DirectConv& params, int threads) {
    return cpm::winograd_workspace(params, threads);
}

std::vector<int64_t> winograd_conv_cpu(std::uintptr_t x, std::uintptr_t transformed, std::uintptr_t bias,
                                       std::uintptr_t out, const cpm::DirectConv& params, bool relu,
                                       std::uintptr_t workspace, int threads) {
    return cpm::winograd_conv_cpu(pointer<const float>(x), pointer<const void>(transformed),
                                  pointer<const float>(bias), pointer<float>(out), params, relu,
                                  pointer<float>(workspace), threads);
}

void add_spectral_conv(cpm::Chain& chain, std::uintptr_t x, std::uintptr_t spectra, std::uintptr_t bias,
                       std::uintptr_t out, const cpm::SpectralConv& params, bool relu) {
    chain.spectral_conv(pointer<const float>(x), pointer<const void>(spectra), pointer<const float>(bias),
                        pointer<float>(out), params, relu);
}

void add_direct_conv(cpm::Chain& chain, std::uintptr_t x, std::uintptr_t packed, std::uintptr_t bias,
                     std::uintptr_t out, const cpm::DirectConv& params, bool relu) {
    chain.direct_conv(pointer<const float>(x), pointer<const void>(packed), pointer<const float>(bias),
                      pointer<float>(out), params, relu);
}

void add_winograd_conv(cpm::Chain& chain, std::uintptr_t x, std::uintptr_t transformed, std::uintptr_t bias,
                       std::uintptr_t out, const cpm::DirectConv& params, bool relu) {
    chain.winograd_conv(pointer<const float>(x), pointer<const void>(transformed), pointer<const float>(bias),
                        pointer<float>(out), params, relu);
}

void add_copy_maps(cpm::Chain& chain, std::uintptr_t from, std::uintptr_t to, const cpm::CopyMaps& params) {
    chain.copy_maps(pointer<const float>(from), pointer<float>(to), params);
}

// Returns (next, images).
std::pair<int64_t, std::vector<int64_t>> run_chain(const cpm::Chain& chain, int64_t first, std::uintptr_t workspace,
                                                   int64_t budget, int threads) {
    cpm::Chain::Progress progress = chain.run(first, pointer<float>(workspace), budget, threads);
    return {progress.next, std::move(progress.images)};
}

void copy_maps_cpu(std::uintptr_t from, std::uintptr_t to, const cpm::CopyMaps& params, int threads) {
    cpm::copy_maps_cpu(pointer<const float>(from), pointer<float>(to), params, threads);
}

void batch_norm_cpu(std::uintptr_t x, std::uintptr_t weight, std::uintptr_t bias, std::uintptr_t y, std::uintptr_t mean,
                    std::uintptr_t variance, const cpm::BatchNorm& params, int threads) {
    cpm::batch_norm_cpu(pointer<const void>(x), pointer<const float>(weight), pointer<const float>(bias),
                        pointer<void>(y), pointer<float>(mean), pointer<float>(variance), params, threads);
}

void batch_norm_gradient_cpu(std::uintptr_t dy, std::uintptr_t x, std::uintptr_t weight, std::uintptr_t bias,
                             std::uintptr_t mean, std::uintptr_t variance, std::uintptr_t dx, std::uintptr_t dweight,
                             std::uintptr_t dbias, const cpm::BatchNorm& params, int threads) {
    cpm::batch_norm_gradient_cpu(pointer<const void>(dy), pointer<const void>(x), pointer<const float>(weight),
                                 pointer<const float>(bias), pointer<const float>(mean),
                                 pointer<const float>(variance), pointer<void>(dx), pointer<float>(dweight),
                                 pointer<float>(dbias), params, threads);
}

void conv_norm_pool_cpu(std::uintptr_t x, std::uintptr_t weight, std::uintptr_t bias, std::uintptr_t scale,
                        std::uintptr_t shift, std::uintptr_t y, std::uintptr_t mean, std::uintptr_t variance,
                        const cpm::ConvNormPool& params, int threads) {
    cpm::conv_norm_pool_cpu(pointer<const float>(x), pointer<const float>(weight), pointer<const float>(bias),
                            pointer<const float>(scale), pointer<const float>(shift), pointer<void>(y),
                            pointer<float>(mean), pointer<float>(variance), params, threads);
}

void conv_norm_pool_gradient_cpu(std::uintptr_t dy, std::uintptr_t x, std::uintptr_t weight, std::uintptr_t bias,
                                 std::uintptr_t scale, std::uintptr_t shift, std::uintptr_t mean,
                                 std::uintptr_t variance, std::uintptr_t dweight, std::uintptr_t dscale,
                                 std::uintptr_t dshift, const cpm::ConvNormPool& params, int threads) {
    cpm::conv_norm_pool_gradient_cpu(pointer<const void>(dy), pointer<const float>(x), pointer<const float>(weight),
                                     pointer<const float>(bias), pointer<const float>(scale),
                                     pointer<const float>(shift), pointer<const float>(mean),
                                     pointer<const float>(variance), pointer<float>(dweight), pointer<float>(dscale),
                                     pointer<float>(dshift), params, threads);
}

// pieces: (address, bytes) of each.
std::unique_ptr<cpm::StartedChecksum> start_checksum(const std::vector<std::pair<std::uintptr_t, int64_t>>& pieces,
                                                     int threads) {
    std::vector<cpm::Piece> given;
    given.reserve(pieces.size());
    for (const auto& [from, bytes] : pieces) given.push_back({pointer<const unsigned char>(from), bytes});
    return std::make_unique<cpm::StartedChecksum>(given, threads);
}

#if CPM_FAST_HAS_CUDA
void gaussian_targets_cuda(std::uintptr_t parts, std::uintptr_t labeled, std::uintptr_t maps,
                           const cpm::GaussianTargets& params, int device, std::uintptr_t stream) {
    cpm::gaussian_targets_cuda(pointer<const float>(parts), pointer<const bool>(labeled), pointer<float>(maps), params,
                               device, pointer<void>(stream));
}

void resize_merge_cuda(std::uintptr_t maps, std::uintptr_t frames, std::uintptr_t merged,
                       const cpm::ResizeMerge& params, int device, std::uintptr_t stream) {
    cpm::resize_merge_cuda(pointer<const float>(maps), pointer<const double>(frames), pointer<float>(merged),
                           params, device, pointer<void>(stream));
}

void peaks_cuda(std::uintptr_t maps, std::uintptr_t points, std::uintptr_t scores, const cpm::Peaks& params,
                int device, std::uintptr_t stream) {
    cpm::peaks_cuda(pointer<const float>(maps), pointer<float>(points), pointer<float>(scores), params, device,
                    pointer<void>(stream));
}

void many_peaks_cuda(std::uintptr_t maps, std::uintptr_t points, std::uintptr_t scores, std::uintptr_t found,
                     const cpm::ManyPeaks& params, int device, std::uintptr_t stream) {
    cpm::many_peaks_cuda(pointer<const float>(maps), pointer<float>(points), pointer<float>(scores),
                         pointer<uint64_t>(found), params, device, pointer<void>(stream));
}

void merge_peaks_cuda(std::uintptr_t maps, std::uintptr_t frames, std::uintptr_t points, std::uintptr_t scores,
                      std::uintptr_t bounds, const cpm::ResizeMerge& params, bool refine, int device,
                      std::uintptr_t stream) {
    cpm::merge_peaks_cuda(pointer<const float>(maps), pointer<const double>(frames), pointer<float>(points),
                          pointer<float>(scores), pointer<float>(bounds), params, refine, device,
                          pointer<void>(stream));
}
#endif

// The sizes of the ops by name, so that no size can take another's place.
void define_sizes(py::module_& m) {
    using py::arg;
    using I = int64_t;
    const py::kw_only named;
    py::class_<cpm::GaussianTargets>(m, "GaussianTargets")
        .def(py::init([](I images, I people, I parts, I height, I width, double sigma, double stride) {
                 return cpm::GaussianTargets{images, people, parts, height, width, sigma, stride};
             }),
             named, arg("images"), arg("people"), arg("parts"), arg("height"), arg("width"), arg("sigma"),
             arg("stride"));
    py::class_<cpm::ResizeMerge>(m, "ResizeMerge")
        .def(py::init([](I images, I scales, I maps, I cell_height, I cell_width, I height, I width, I frame_sets) {
                 return cpm::ResizeMerge{images, scales, maps, cell_height, cell_width, height, width, frame_sets};
             }),
             named, arg("images"), arg("scales"), arg("maps"), arg("cell_height"), arg("cell_width"), arg("height"),
             arg("width"), arg("frame_sets"));
    py::class_<cpm::Peaks>(m, "Peaks")
        .def(py::init([](I maps, I height, I width, bool refine) { return cpm::Peaks{maps, height, width, refine}; }),
             named, arg("maps"), arg("height"), arg("width"), arg("refine"));
    py::class_<cpm::ManyPeaks>(m, "ManyPeaks")
        .def(py::init([](I maps, I height, I width, float threshold, I radius) {
                 return cpm::ManyPeaks{maps, height, width, threshold, radius};
             }),
             named, arg("maps"), arg("height"), arg("width"), arg("threshold"), arg("radius"));
    py::class_<cpm::SpectralConv>(m, "SpectralConv")
        .def(py::init([](I images, I height, I width, I inputs, I outputs, int kernel, int tile, I x_pitch, I out_pitch,
                         int pool, int pool_padding, bool bf16) {
                 return cpm::SpectralConv{images,  height,    width, inputs,       outputs, kernel, tile,
                                          x_pitch, out_pitch, pool,  pool_padding, bf16};
             }),
             named, arg("images"), arg("height"), arg("width"), arg("inputs"), arg("outputs"), arg("kernel"),
             arg("tile"), arg("x_pitch") = 0, arg("out_pitch") = 0, arg("pool") = 0, arg("pool_padding") = 0,
             arg("bf16") = false);
    py::class_<cpm::DirectConv>(m, "DirectConv")
        .def(py::init([](I images, I height, I width, I inputs, I outputs, int kernel, I x_pitch, I out_pitch, int pool,
                         int pool_padding, bool bf16) {
                 return cpm::DirectConv{images,  height,    width, inputs,       outputs, kernel,
                                        x_pitch, out_pitch, pool,  pool_padding, bf16};
             }),
             named, arg("images"), arg("height"), arg("width"), arg("inputs"), arg("outputs"), arg("kernel"),
             arg("x_pitch") = 0, arg("out_pitch") = 0, arg("pool") = 0, arg("pool_padding") = 0, arg("bf16") = false);
    py::class_<cpm::BatchNorm>(m, "BatchNorm")
        .def(py::init([](I cells, I channels, double eps, bool relu, I pooled_width, bool bf16) {
                 return cpm::BatchNorm{cells, channels, eps, relu, pooled_width, bf16};
             }),
             named, arg("cells"), arg("channels"), arg("eps"), arg("relu"), arg("pooled_width") = 0,
             arg("bf16") = false);
    py::class_<cpm::ConvNormPool>(m, "ConvNormPool")
        .def(py::init([](I images, I height, I width, I inputs, I outputs, double eps, bool bf16) {
                 return cpm::ConvNormPool{images, height, width, inputs, outputs, eps, bf16};
             }),
             named, arg("images"), arg("height"), arg("width"), arg("inputs"), arg("outputs"), arg("eps"),
             arg("bf16") = false);
    using Four = std::array<I, 4>;
    py::class_<cpm::CopyMaps>(m, "CopyMaps")
        .def(py::init([](const Four& sizes, const Four& from_strides, const Four& to_strides) {
                 cpm::CopyMaps params;
                 std::copy(sizes.begin(), sizes.end(), params.sizes);
                 std::copy(from_strides.begin(), from_strides.end(), params.from_strides);
                 std::copy(to_strides.begin(), to_strides.end(), params.to_strides);
                 return params;
             }),
             named, arg("sizes"), arg("from_strides"), arg("to_strides"));
}

}  // namespace

PYBIND11_MODULE(_C, m) {
    const auto no_gil = py::call_guard<py::gil_scoped_release>();

    m.doc() = "Native code of cpm_fast; called by cpm_fast.ops only.";
    m.attr("abi") = cpm::ABI;
    m.attr("has_cuda") = py::bool_(CPM_FAST_HAS_CUDA);
    m.attr("compiler") = CPM_FAST_COMPILER;
    m.attr("cuda_version") = CPM_FAST_CUDA_VERSION;
    m.attr("cuda_archs") = CPM_FAST_CUDA_ARCHS;

    define_sizes(m);
    m.def("gaussian_targets_cpu", &gaussian_targets_cpu, no_gil);
    m.def("resize_merge_cpu", &resize_merge_cpu, no_gil);
    m.def("peaks_cpu", &peaks_cpu, no_gil);
    m.def("many_peaks_cpu", &many_peaks_cpu, no_gil);
    m.def("merge_peaks_cpu", &merge_peaks_cpu, no_gil);
    m.def("transform_weight_cpu", &transform_weight_cpu, no_gil);
    m.def("spectral_workspace", &spectral_workspace);
    m.def("spectral_conv_cpu", &spectral_conv_cpu, no_gil);
    m.def("spectral_gradient_workspace", &spectral_gradient_workspace);
    m.def("spectral_weight_gradient_cpu", &spectral_weight_gradient_cpu, no_gil);
    m.def("pack_weight_cpu", &pack_weight_cpu, no_gil);
    m.def("direct_workspace", &direct_workspace);
    m.def("direct_conv_cpu", &direct_conv_cpu, no_gil);
    m.def("winograd_weight_cpu", &winograd_weight_cpu, no_gil);
    m.def("winograd_workspace", &winograd_workspace);
    m.def("winograd_conv_cpu", &winograd_conv_cpu, no_gil);
    m.def("batch_norm_cpu", &batch_norm_cpu, no_gil);
    m.def("batch_norm_gradient_cpu", &batch_norm_gradient_cpu, no_gil);
    m.def("conv_norm_pool_cpu", &conv_norm_pool_cpu, no_gil);
    m.def("conv_norm_pool_gradient_cpu", &conv_norm_pool_gradient_cpu, no_gil);
    m.def("copy_maps_cpu", &copy_maps_cpu, no_gil);
    py::class_<cpm::Chain>(m, "Chain")
        .def(py::init<>())
        .def("spectral_conv", &add_spectral_conv)
        .def("direct_conv", &add_direct_conv)
        .def("winograd_conv", &add_winograd_conv)
        .def("copy_maps", &add_copy_maps)
        .def("workspace", &cpm::Chain::workspace)
        .def("run", &run_chain, no_gil);
    py::class_<cpm::StartedChecksum>(m, "StartedChecksum")
        .def(py::init(&start_checksum))
        .def("result", &cpm::StartedChecksum::result, no_gil);
    m.def("usable_cpus", &cpm::usable_cpus);
    m.def("started_workers", &cpm::threads::started_workers);
    m.def("simd_choices", &cpm::simd_choices);
    m.def("simd", &cpm::simd);
    m.def("use_simd", &cpm::use_simd);
#if CPM_FAST_HAS_CUDA
    m.def("gaussian_targets_cuda", &gaussian_targets_cuda, no_gil);
    m.def("resize_merge_cuda", &resize_merge_cuda, no_gil);
    m.def("peaks_cuda", &peaks_cuda, no_gil);
    m.def("many_peaks_cuda", &many_peaks_cuda, no_gil);
    m.def("merge_peaks_cuda", &merge_peaks_cuda, no_gil);
    m.def("merge_peaks_tiles", &cpm::merge_peaks_tiles);
#endif
}
