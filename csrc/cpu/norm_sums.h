// The sums of a batch normalization, which are made chunk by chunk: chunks are added in their order, in double precision,
// so that any number of threads gives the same bits. Also the factors and places in maps that follow.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "spectral/kernels.h"

namespace cpm {

// The sums of each chunk and channel.
class NormSums {
public:
    NormSums(int64_t chunks, int64_t channels)
        : chunks_(chunks), channels_(channels), first_(static_cast<size_t>(chunks * channels)), second_(first_.size()) {}

    double* first(int64_t chunk) { return first_.data() + chunk * channels_; }
    double* second(int64_t chunk) { return second_.data() + chunk * channels_; }

    // Makes means and variances from the chunks' means and sums of squared distances from them; cells(chunk) is the size
    // of a chunk.
    template <typename Cells>
    void moments(int64_t channels, const Cells& cells, float* mean, float* variance) {
        std::vector<double> middle(static_cast<size_t>(channels)), distance(middle);
        double count = 0.0;
        for (int64_t chunk = 0; chunk < chunks_; ++chunk) {
            const double size = static_cast<double>(cells(chunk)), *means = first(chunk);
            for (int64_t c = 0; c < channels; ++c) middle[c] += means[c] * size;
            count += size;
        }
        for (double& sum : middle) sum /= count;
        for (int64_t chunk = 0; chunk < chunks_; ++chunk) {
            const double size = static_cast<double>(cells(chunk)), *means = first(chunk), *squares = second(chunk);
            for (int64_t c = 0; c < channels; ++c) {
                const double apart = means[c] - middle[c];
                distance[c] += squares[c] + apart * apart * size;
            }
        }
        for (int64_t c = 0; c < channels; ++c) {
            mean[c] = static_cast<float>(middle[c]);
            // std::max takes 0 for NaN.
            variance[c] = static_cast<float>(std::isnan(distance[c]) ? distance[c] : std::max(distance[c] / count, 0.0));
        }
    }

    // Adds the sums of all chunks to those of the first.
    void add_up() {
        for (int64_t chunk = 1; chunk < chunks_; ++chunk) {
            for (int64_t c = 0; c < channels_; ++c) first_[c] += first(chunk)[c];
            for (int64_t c = 0; c < channels_; ++c) second_[c] += second(chunk)[c];
        }
    }

private:
    int64_t chunks_, channels_;
    std::vector<double> first_, second_;
};

// Returns the place of a value of a map of floats or of bfloat16; null if there is no map.
inline const void* value_at(const void* map, int64_t at, bool bf16) {
    const int64_t bytes = bf16 ? sizeof(uint16_t) : sizeof(float);
    return map == nullptr ? nullptr : static_cast<const char*>(map) + at * bytes;
}
inline void* value_at(void* map, int64_t at, bool bf16) {
    return const_cast<void*>(value_at(static_cast<const void*>(map), at, bf16));
}

// The factor and the offset of each channel.
class NormFactors {
public:
    NormFactors(int64_t channels, const float* weight, const float* bias, const float* mean, const float* variance,
                double eps)
        : factor_(static_cast<size_t>(channels)), offset_(factor_), slope_(factor_), shift_(factor_), weight_(weight),
          mean_(mean), variance_(variance), eps_(eps) {
        for (size_t c = 0; c < factor_.size(); ++c) {
            factor_[c] = static_cast<float>(weight[c] / std::sqrt(variance[c] + eps));
            offset_[c] = bias[c];
        }
    }

    // Makes the gradients of weight and bias, and the terms of that of x, from the sums of the gradient over `cells` and
    // of its product with the distance from the mean.
    void take_gradient(NormSums& sums, int64_t cells, float* dweight, float* dbias) {
        sums.add_up();
        for (size_t c = 0; c < factor_.size(); ++c) {
            const double sum = sums.first(0)[c], product = sums.second(0)[c];
            const double inverse = 1.0 / std::sqrt(variance_[c] + eps_), factor = weight_[c] * inverse;
            const double count = static_cast<double>(cells);
            dweight[c] = static_cast<float>(product * inverse);
            dbias[c] = static_cast<float>(sum);
            shift_[c] = static_cast<float>(factor * sum / count);
            slope_[c] = static_cast<float>(factor * product * inverse * inverse / count);
        }
    }

    // The terms from a channel on.
    spectral::NormTerms view(int64_t channel = 0) const {
        return {factor_.data() + channel, offset_.data() + channel, mean_ + channel, slope_.data() + channel,
                shift_.data() + channel};
    }

private:
    std::vector<float> factor_, offset_, slope_, shift_;
    const float *weight_, *mean_, *variance_;
    double eps_;
};

}  // namespace cpm
