// The Python module cpm_fast._C. Pointers are passed as integers, and cpm_fast/ops has made all checks of shape, dtype
// and device; this is the only native file that uses Python.

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <tuple>
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

// An argument as Python gives it: a pointer is an integer, a gate a pointer with the side and padding of windows, and
// everything else is itself.
template <typename T>
struct Given {
    using Type = T;
    static T taken(Type given) { return given; }
};

template <typename T>
struct Given<T*> {
    using Type = std::uintptr_t;
    static T* taken(Type address) { return reinterpret_cast<T*>(address); }
};

template <>
struct Given<const cpm::Gate&> {
    using Type = std::tuple<std::uintptr_t, int, int>;
    static cpm::Gate taken(const Type& given) {
        const auto [address, side, padding] = given;
        return {reinterpret_cast<const void*>(address), side, padding};
    }
};

template <typename T>
using given_t = typename Given<T>::Type;

// The function as Python calls it.
template <typename Result, typename... Arguments>
auto bound(Result (*function)(Arguments...)) {
    return [function](given_t<Arguments>... given) { return function(Given<Arguments>::taken(given)...); };
}

template <typename Class, typename... Arguments>
auto bound(void (Class::*method)(Arguments...)) {
    return [method](Class& self, given_t<Arguments>... given) {
        return (self.*method)(Given<Arguments>::taken(given)...);
    };
}

// Returns (next, images).
std::pair<int64_t, std::vector<int64_t>> run_chain(const cpm::Chain& chain, int64_t first, std::uintptr_t workspace,
                                                   int64_t budget, int threads) {
    cpm::Chain::Progress progress = chain.run(first, reinterpret_cast<float*>(workspace), budget, threads);
    return {progress.next, std::move(progress.images)};
}

// pieces: (address, bytes) of each.
std::unique_ptr<cpm::StartedChecksum> start_checksum(const std::vector<std::pair<std::uintptr_t, int64_t>>& pieces,
                                                     int threads) {
    std::vector<cpm::Piece> given;
    given.reserve(pieces.size());
    for (const auto& [from, bytes] : pieces) given.push_back({reinterpret_cast<const unsigned char*>(from), bytes});
    return std::make_unique<cpm::StartedChecksum>(given, threads);
}

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
    m.def("gaussian_targets_cpu", bound(&cpm::gaussian_targets_cpu), no_gil);
    m.def("resize_merge_cpu", bound(&cpm::resize_merge_cpu), no_gil);
    m.def("peaks_cpu", bound(&cpm::peaks_cpu), no_gil);
    m.def("many_peaks_cpu", bound(&cpm::many_peaks_cpu), no_gil);
    m.def("merge_peaks_cpu", bound(&cpm::merge_peaks_cpu), no_gil);
    m.def("transform_weight_cpu", bound(&cpm::transform_weight_cpu), no_gil);
    m.def("spectral_workspace", bound(&cpm::spectral_workspace));
    m.def("spectral_conv_cpu", bound(&cpm::spectral_conv_cpu), no_gil);
    m.def("spectral_gradient_workspace", bound(&cpm::spectral_gradient_workspace));
    m.def("spectral_weight_gradient_cpu", bound(&cpm::spectral_weight_gradient_cpu), no_gil);
    m.def("pack_weight_cpu", bound(&cpm::pack_weight_cpu), no_gil);
    m.def("direct_workspace", bound(&cpm::direct_workspace));
    m.def("direct_conv_cpu", bound(&cpm::direct_conv_cpu), no_gil);
    m.def("winograd_weight_cpu", bound(&cpm::winograd_weight_cpu), no_gil);
    m.def("winograd_workspace", bound(&cpm::winograd_workspace));
    m.def("winograd_conv_cpu", bound(&cpm::winograd_conv_cpu), no_gil);
    m.def("batch_norm_cpu", bound(&cpm::batch_norm_cpu), no_gil);
    m.def("batch_norm_gradient_cpu", bound(&cpm::batch_norm_gradient_cpu), no_gil);
    m.def("conv_norm_pool_cpu", bound(&cpm::conv_norm_pool_cpu), no_gil);
    m.def("conv_norm_pool_gradient_cpu", bound(&cpm::conv_norm_pool_gradient_cpu), no_gil);
    m.def("copy_maps_cpu", bound(&cpm::copy_maps_cpu), no_gil);
    py::class_<cpm::Chain>(m, "Chain")
        .def(py::init<>())
        .def("spectral_conv", bound(&cpm::Chain::spectral_conv))
        .def("direct_conv", bound(&cpm::Chain::direct_conv))
        .def("winograd_conv", bound(&cpm::Chain::winograd_conv))
        .def("copy_maps", bound(&cpm::Chain::copy_maps))
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
    m.def("gaussian_targets_cuda", bound(&cpm::gaussian_targets_cuda), no_gil);
    m.def("resize_merge_cuda", bound(&cpm::resize_merge_cuda), no_gil);
    m.def("peaks_cuda", bound(&cpm::peaks_cuda), no_gil);
    m.def("many_peaks_cuda", bound(&cpm::many_peaks_cuda), no_gil);
    m.def("merge_peaks_cuda", bound(&cpm::merge_peaks_cuda), no_gil);
    m.def("merge_peaks_tiles", &cpm::merge_peaks_tiles);
#endif
}
