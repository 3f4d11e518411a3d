// The choice of the instruction set: the widest that the machine supports, or the requested one.

#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "cpm/spectral_conv.h"
#include "kernels.h"

namespace cpm {
namespace spectral {
namespace {

#if CPM_SPECTRAL_X86 && CPM_SPECTRAL_BF16
constexpr const Kernels* (*kTables[])() = {avx512_bf16_kernels, avx512_kernels, avx2_kernels, portable_kernels};
#elif CPM_SPECTRAL_X86
constexpr const Kernels* (*kTables[])() = {avx512_kernels, avx2_kernels, portable_kernels};
#else
constexpr const Kernels* (*kTables[])() = {portable_kernels};
#endif

const Kernels& find(const std::string& name) {
    for (const auto table : kTables) {
        const Kernels* found = table();
        if (found != nullptr && (name.empty() || name == found->name)) return *found;
    }
    throw std::invalid_argument("simd must be one of " + simd_choices() + ", got " + name);
}

std::atomic<const Kernels*>& chosen() {
    static std::atomic<const Kernels*> kernels{[] {
        const char* asked = std::getenv("CPM_FAST_SIMD");
        return &find(asked == nullptr ? "" : asked);
    }()};
    return kernels;
}

}  // namespace

const Kernels& kernels() { return *chosen().load(); }

}  // namespace spectral

std::string simd_choices() {
    std::string names;
    for (const auto table : spectral::kTables) {
        const spectral::Kernels* kernels = table();
        if (kernels != nullptr) names += (names.empty() ? "" : " ") + std::string(kernels->name);
    }
    return names;
}

std::string simd() { return spectral::kernels().name; }

void use_simd(const std::string& name) { spectral::chosen().store(&spectral::find(name)); }

}  // namespace cpm
