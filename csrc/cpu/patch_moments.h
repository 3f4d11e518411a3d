// The moments of the patches of a 3x3 convolution: the mean of each tap, and the covariance of each two. The mean and
// variance of the convolution of any weight follow from them, and the part of its gradient that no output's own gradient
// enters. A tap is [3 rows, 3 columns, inputs], zero around the image.
//
//     patch of a cell   0 0 0      Two taps at one distance meet the same pairs of values, except at the image's edges.
//                       1 1 1      So the pairs of rows at most two apart are multiplied by distance, and the edges are
//                       2 2 2      taken off in the end: 129 products per cell of 3 inputs, where all pairs are 378.
//
// Products and sums are of doubles. In floats, those of a smooth image would cancel.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cpm/threads.h"
#include "spectral/kernels.h"

namespace cpm {

constexpr int64_t kWindowSide = 3;
// Rows are summed in this many parts, whatever the number of threads.
constexpr int64_t kMomentParts = 32;

// Lanes of a vector of doubles.
inline int64_t double_lanes() { return spectral::kernels().lanes / 2; }

// Sums of products of a value in one row and a value in another, by their distance in the rows and the input of the first.
class RowProducts {
public:
    RowProducts(int64_t inputs, int64_t least, int64_t most)
        : inputs_(inputs), least_(least), distances_(most - least + 1),
          sums_(static_cast<size_t>(distances_ * inputs * double_lanes())),
          left_(static_cast<size_t>(inputs * inputs)), right_(left_) {}

    // Adds the products of two rows; `values` are those of the image, and zeros are around them.
    void add(const double* a, const double* b, int64_t values) {
        spectral::kernels().narrow_products({a, b + least_, sums_.data(), values, inputs_, distances_});
        const int64_t last = values - inputs_;
        for (int64_t i = 0; i < inputs_; ++i) {
            for (int64_t j = 0; j < inputs_; ++j) {
                left_[i * inputs_ + j] += a[i] * b[j];
                right_[i * inputs_ + j] += a[last + i] * b[last + j];
            }
        }
    }

    void add(const RowProducts& other) {
        for (size_t i = 0; i < sums_.size(); ++i) sums_[i] += other.sums_[i];
        for (size_t i = 0; i < left_.size(); ++i) left_[i] += other.left_[i];
        for (size_t i = 0; i < right_.size(); ++i) right_[i] += other.right_[i];
    }

    // Returns the sum over all cells for two taps, which are the s-th and the t-th of their rows.
    double of_taps(int64_t s, int64_t t) const {
        const int64_t step = static_cast<int64_t>(sums_.size()) / distances_, ends = s % inputs_ * inputs_ + t % inputs_;
        double sum = 0.0;
        for (int64_t i = s % inputs_; i < step; i += inputs_) sum += sums_[(t - s - least_) * step + i];
        // The left tap meets no value of the last column, and the right tap none of the first.
        if (s / inputs_ == t / inputs_ && s / inputs_ == 0) sum -= right_[ends];
        if (s / inputs_ == t / inputs_ && s / inputs_ == 2) sum -= left_[ends];
        return sum;
    }

private:
    int64_t inputs_, least_, distances_;
    std::vector<double> sums_, left_, right_;  // [distances, inputs * lanes]; [inputs, inputs] of the edge columns
};

// The sums of some rows of the images.
class PatchSums {
public:
    PatchSums(int64_t height, int64_t width, int64_t inputs)
        : height_(height), values_(width * inputs), margin_(kWindowSide * inputs), inputs_(inputs),
          near_{all(inputs, 0), all(inputs, margin_), all(inputs, margin_)}, edges_{near_[0], near_[0]},
          means_(3, RowProducts(inputs, 0, 0)) {}

    // Adds the rows begin .. end - 1 of all images.
    void add_rows(const float* x, int64_t begin, int64_t end) {
        // The kernel reads whole blocks of vectors.
        const int64_t block = inputs_ * double_lanes(), padded = values_ + block + 2 * margin_;
        std::vector<double> memory(static_cast<size_t>(4 * padded), 0.0);
        double* const ones = memory.data() + 3 * padded + margin_;
        std::fill_n(ones, values_, 1.0);
        int64_t read = begin;
        for (int64_t row = begin; row < end; ++row) {
            const int64_t at = row % height_, next = std::min(row + kWindowSide, row - at + height_);
            const auto place = [&](int64_t of) { return memory.data() + of % kWindowSide * padded + margin_; };
            for (; read < next; ++read) std::copy_n(x + read * values_, values_, place(read));
            for (int64_t apart = 0; row + apart < next; ++apart) near_[apart].add(place(row), place(row + apart), values_);
            means_[0].add(place(row), ones, values_);
            for (const int edge : {0, 1}) {
                if (at != (edge == 0 ? 0 : height_ - 1)) continue;
                edges_[edge].add(place(row), place(row), values_);
                means_[1 + edge].add(place(row), ones, values_);
            }
        }
    }

    void add(const PatchSums& other) {
        for (size_t i = 0; i < near_.size(); ++i) near_[i].add(other.near_[i]);
        for (size_t i = 0; i < edges_.size(); ++i) edges_[i].add(other.edges_[i]);
        for (size_t i = 0; i < means_.size(); ++i) means_[i].add(other.means_[i]);
    }

    // Returns the sum of a tap, and that of the product of two taps, s <= t.
    double of_tap(int64_t tap) const {
        const int64_t place = tap % margin_;
        return without_edges(tap / margin_, means_[0], means_[1], means_[2], place, place);
    }
    double of_taps(int64_t s, int64_t t) const {
        const int64_t row = s / margin_, apart = t / margin_ - row;
        if (apart != 0) return near_[apart].of_taps(s % margin_, t % margin_);
        return without_edges(row, near_[0], edges_[0], edges_[1], s % margin_, t % margin_);
    }

private:
    // By the distances of all taps of a row to those of another, and `back` to the left.
    static RowProducts all(int64_t inputs, int64_t back) { return {inputs, -back, kWindowSide * inputs - 1}; }

    // The upper taps meet no value of the last row, and the lower taps none of the first.
    static double without_edges(int64_t row, const RowProducts& rows, const RowProducts& first, const RowProducts& last,
                                int64_t s, int64_t t) {
        const double sum = rows.of_taps(s, t);
        return row == 0 ? sum - last.of_taps(s, t) : row == 2 ? sum - first.of_taps(s, t) : sum;
    }

    int64_t height_, values_, margin_, inputs_;
    std::vector<RowProducts> near_;   // by the distance of rows
    std::vector<RowProducts> edges_;  // of the first and the last row of each image with itself
    std::vector<RowProducts> means_;  // with ones: all rows, first, last
};

// Writes [1 + taps, taps]: the mean of each tap, then the covariances.
inline void patch_moments(const float* x, int64_t images, int64_t height, int64_t width, int64_t inputs, double* moments,
                          int threads) {
    const int64_t rows = images * height, parts = std::min(kMomentParts, rows);
    const int64_t taps = kWindowSide * kWindowSide * inputs;
    std::vector<PatchSums> sums(static_cast<size_t>(parts), PatchSums(height, width, inputs));
    threads::parallel(threads, parts, [&](int, int64_t part) {
        sums[part].add_rows(x, rows * part / parts, rows * (part + 1) / parts);
    });
    for (int64_t part = 1; part < parts; ++part) sums[0].add(sums[part]);
    const double cells = static_cast<double>(rows * width);
    double* const covariances = moments + taps;
    for (int64_t t = 0; t < taps; ++t) {
        moments[t] = sums[0].of_tap(t) / cells;
        for (int64_t s = 0; s <= t; ++s) {
            const double covariance = sums[0].of_taps(s, t) / cells - moments[s] * moments[t];
            covariances[s * taps + t] = covariances[t * taps + s] = covariance;
        }
    }
}

}  // namespace cpm
