// Random difficult inputs of resize_merge and merge_peaks: plateaus, equal maxima, all-negative maps, crops that end
// inside the output, mirrored and shrinking frames, and, on request, NaN and infinities.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include "cpm/resize_merge.h"

namespace cpm_test {

struct Stack {
    cpm::ResizeMerge params;
    std::vector<float> maps;
    std::vector<double> frames;
};

using Generator = std::mt19937;

inline int64_t between(Generator& generator, int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(generator);
}

inline double real(Generator& generator, double low, double high) {
    return std::uniform_real_distribution<double>(low, high)(generator);
}

// A fast random number from 0 to 1.
inline float unit(Generator& generator) { return static_cast<float>(generator() >> 8) * 0x1p-24f; }

// One map [h, w] of a kind drawn at random.
inline void append_map(Generator& generator, int64_t h, int64_t w, std::vector<float>& maps) {
    const int64_t kind = between(generator, 0, 6);
    const float level = static_cast<float>(real(generator, -1.0, 1.0));
    const double x = real(generator, 0, w), y = real(generator, 0, h), width = real(generator, 0.5, 4.0);
    const int64_t left = between(generator, 0, w - 1), top = between(generator, 0, h - 1);
    for (int64_t i = 0; i < h; ++i) {
        for (int64_t j = 0; j < w; ++j) {
            float value = level;                                                          // flat
            if (kind == 1) value = 2.0f * unit(generator) - 1.0f;                         // noise
            if (kind == 2) value = static_cast<float>(generator() >> 31);                 // many equal maxima
            if (kind == 3) value = -1.0f - unit(generator);                               // all negative
            if (kind == 4) value = i >= top && j >= left && i < top + 3 && j < left + 3;  // a plateau on zero
            if (kind >= 5) {                                                              // a peak, or two alike
                const double dx = kind == 5 ? j - x : std::min(std::abs(j - x), std::abs(w - 1 - j - x)), dy = i - y;
                value = std::exp(static_cast<float>(-(dx * dx + dy * dy) / (2 * width * width)));
            }
            maps.push_back(value);
        }
    }
}

// A pyramid about the output's middle, or arbitrary frames.
inline void append_frame(Generator& generator, const cpm::ResizeMerge& params, bool wild, std::vector<double>& frames) {
    const auto axis = [&](int64_t pixels, int64_t cells, double factor) {
        const double scale = factor * static_cast<double>(cells) / static_cast<double>(std::max<int64_t>(pixels, 1));
        const double middle = (static_cast<double>(cells - 1) - scale * static_cast<double>(pixels - 1)) / 2;
        if (!wild) return std::pair{scale, middle};
        const double mirrored = between(generator, 0, 4) == 0 ? -scale : scale;
        return std::pair{mirrored, real(generator, -1.0, 1.0) * static_cast<double>(cells)};
    };
    const double factor = wild ? real(generator, 0.0, 4.0) : real(generator, 0.7, 1.3);
    const auto x = axis(params.width, params.cell_width, factor), y = axis(params.height, params.cell_height, factor);
    frames.insert(frames.end(), {x.first, y.first, x.second, y.second});
}

inline Stack random_stack(Generator& generator, cpm::ResizeMerge params, bool wild, bool finite) {
    Stack stack{params, {}, {}};
    for (int64_t map = 0; map < params.images * params.scales * params.maps; ++map) {
        append_map(generator, params.cell_height, params.cell_width, stack.maps);
    }
    for (int64_t f = 0; f < params.frame_sets * params.scales; ++f) append_frame(generator, params, wild, stack.frames);
    if (!finite && !stack.maps.empty()) {
        const float infinite = std::numeric_limits<float>::infinity();
        const float nan = std::numeric_limits<float>::quiet_NaN();
        const float strange[] = {nan, infinite, -infinite, 3e38f, -3e38f, 1e-40f, -0.0f};
        for (int64_t count = between(generator, 0, 5); count > 0; --count) {
            const int64_t cell = between(generator, 0, static_cast<int64_t>(stack.maps.size()) - 1);
            stack.maps[cell] = strange[between(generator, 0, 6)];
        }
    }
    return stack;
}

}  // namespace cpm_test
