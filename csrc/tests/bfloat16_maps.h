// Maps of bfloat16 for tests, which go through floats.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace cpm_test {

using Halves = std::vector<uint16_t>;

// Returns floats without their lower halves.
inline Halves cut(const std::vector<float>& values) {
    Halves halves;
    for (const float& value : values) {
        uint32_t bits;
        std::memcpy(&bits, &value, sizeof(bits));
        halves.push_back(static_cast<uint16_t>(bits >> 16));
    }
    return halves;
}

inline std::vector<float> widened(const Halves& halves) {
    std::vector<float> values;
    for (const uint16_t half : halves) {
        const uint32_t bits = static_cast<uint32_t>(half) << 16;
        float value;
        std::memcpy(&value, &bits, sizeof(value));
        values.push_back(value);
    }
    return values;
}

// Whether a map of bfloat16 holds the nearest numbers to floats, up to the rounding of float.
inline bool rounded(const Halves& found, const std::vector<float>& wanted) {
    const std::vector<float> values = widened(found);
    bool all = values.size() == wanted.size();
    for (size_t i = 0; all && i < values.size(); ++i) {
        all = std::abs(values[i] - wanted[i]) <= std::abs(wanted[i]) / 256.0f * 1.001f + 1e-6f;
    }
    return all;
}

}  // namespace cpm_test
