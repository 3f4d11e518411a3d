// batch_norm_cpu and its gradient against plain loops in double precision, on any number of threads the same bits.

#include "cpm/batch_norm.h"

#include <cmath>
#include <limits>
#include <random>
#include <stdexcept>
#include <vector>

#include "bfloat16_maps.h"
#include "check.h"

namespace {

struct Problem {
    int64_t cells, channels;
    bool relu;
    int64_t pooled_width = 0;
    std::vector<float> x, dy, weight, bias;

    Problem(std::mt19937& generator, int64_t cells, int64_t channels, bool relu, float middle)
        : cells(cells), channels(channels), relu(relu) {
        std::normal_distribution<float> normal;
        const auto draw = [&](int64_t count, float around) {
            std::vector<float> values(static_cast<size_t>(count));
            for (float& value : values) value = around + normal(generator);
            return values;
        };
        x = draw(cells * channels, middle);
        dy = draw(cells * channels, 0.0f);
        weight = draw(channels, 1.0f);
        bias = draw(channels, 0.0f);
    }
    cpm::BatchNorm params() const { return {cells, channels, 1e-5, relu, pooled_width}; }
};

struct Results {
    std::vector<float> y, mean, variance, dx, dweight, dbias;

    Results(const Problem& given, int threads)
        : y(given.dy.size(), 7.0f), mean(given.weight.size()), variance(mean), dx(given.x.size(), 7.0f), dweight(mean), dbias(mean) {
        const cpm::BatchNorm params = given.params();
        cpm::batch_norm_cpu(given.x.data(), given.weight.data(), given.bias.data(), y.data(), mean.data(),
                            variance.data(), params, threads);
        cpm::batch_norm_gradient_cpu(given.dy.data(), given.x.data(), given.weight.data(), given.bias.data(),
                                     mean.data(), variance.data(), dx.data(), dweight.data(), dbias.data(), params,
                                     threads);
    }
    bool operator==(const Results& other) const {
        return y == other.y && mean == other.mean && variance == other.variance && dx == other.dx &&
               dweight == other.dweight && dbias == other.dbias;
    }
};

bool near(double found, double wanted, double scale) { return std::abs(found - wanted) <= 4e-6 * scale; }

void check_channel(const Problem& given, const Results& found, int64_t c) {
    const double count = static_cast<double>(given.cells);
    const auto at = [&](int64_t i) { return i * given.channels + c; };
    double mean = 0.0, variance = 0.0;
    for (int64_t i = 0; i < given.cells; ++i) mean += given.x[at(i)] / count;
    for (int64_t i = 0; i < given.cells; ++i) variance += std::pow(given.x[at(i)] - mean, 2) / count;
    const double deviation = std::sqrt(variance + 1e-5), scale = 1.0 + std::abs(mean);
    CHECK(near(found.mean[c], mean, scale) && near(found.variance[c], variance, scale + variance));
    double sum = 0.0, product = 0.0;
    for (int64_t i = 0; i < given.cells; ++i) {
        const double distance = (given.x[at(i)] - mean) / deviation;
        const double plain = distance * given.weight[c] + given.bias[c];
        const double y = given.relu && plain < 0.0 ? 0.0 : plain;
        CHECK(near(found.y[at(i)], y, 3.0 * (scale / deviation + std::abs(plain))));
        // The mask comes from the tested code itself, as rounding may change a sign.
        const double gradient = given.relu && found.y[at(i)] <= 0.0f ? 0.0 : given.dy[at(i)];
        sum += gradient;
        product += gradient * distance;
    }
    const double size = std::sqrt(count) * 10.0 * scale / deviation;
    CHECK(near(found.dbias[c], sum, size) && near(found.dweight[c], product, size));
    for (int64_t i = 0; i < given.cells; ++i) {
        const double distance = (given.x[at(i)] - mean) / deviation;
        const double gradient = given.relu && found.y[at(i)] <= 0.0f ? 0.0 : given.dy[at(i)];
        const double dx = given.weight[c] / deviation * (gradient - sum / count - distance * product / count);
        CHECK(near(found.dx[at(i)], dx, 10.0 * scale * scale / (deviation * deviation)));
    }
}

void test_matches_plain_loops() {
    std::mt19937 generator(3);
    for (const int64_t channels : {1, 7, 8, 16, 24, 33}) {
        for (const int64_t cells : {1, 5, 255, 256, 257, 1500}) {
            for (const float middle : {0.0f, 100.0f}) {
                const Problem given(generator, cells, channels, generator() % 2 == 0, middle);
                const Results found(given, 1);
                for (int64_t c = 0; c < channels; ++c) check_channel(given, found, c);
                CHECK(found == Results(given, 2) && found == Results(given, 5));
            }
        }
    }
}

// The first value is far from all others: sums of squares about 0 or about it would lose the rest.
void test_outlier() {
    std::mt19937 generator(4);
    Problem given(generator, 3000, 4, false, 0.0f);
    for (int64_t c = 0; c < 4; ++c) given.x[c] = 1e4f;
    const Results found(given, 2);
    for (int64_t c = 0; c < 4; ++c) check_channel(given, found, c);
}

void test_nan_stays_in_its_channel() {
    std::mt19937 generator(5);
    Problem given(generator, 600, 3, true, 0.0f);
    given.x[3 * 300 + 1] = std::numeric_limits<float>::quiet_NaN();
    const Results found(given, 2);
    for (int64_t i = 0; i < given.cells; ++i) {
        CHECK(std::isnan(found.y[3 * i + 1]) && std::isnan(found.dx[3 * i + 1]));
        CHECK(std::isfinite(found.y[3 * i]) && std::isfinite(found.dx[3 * i + 2]));
    }
    CHECK(std::isnan(found.variance[1]) && std::isnan(found.mean[1]));
}

// Against the same maps as floats, with a pool and without.
void test_bfloat16_maps() {
    std::mt19937 generator(6);
    for (const int64_t channels : {1, 16, 35}) {
        for (const int64_t width : {0, 2, 134}) {
            const int64_t cells = width == 0 ? 517 : 4 * width;
            Problem given(generator, cells, channels, generator() % 2 == 0, 1.0f);
            given.dy.resize(static_cast<size_t>(width == 0 ? cells * channels : cells / 4 * channels));
            const cpm_test::Halves x = cpm_test::cut(given.x), dy = cpm_test::cut(given.dy);
            given.x = cpm_test::widened(x);
            given.dy = cpm_test::widened(dy);
            given.pooled_width = width;
            const Results floats(given, 1);
            cpm::BatchNorm params = given.params();
            params.bf16 = true;
            for (const int threads : {1, 3}) {
                cpm_test::Halves y(dy.size(), 7), dx(x.size(), 7);
                std::vector<float> mean(given.weight.size()), variance(mean), dweight(mean), dbias(mean);
                cpm::batch_norm_cpu(x.data(), given.weight.data(), given.bias.data(), y.data(), mean.data(),
                                    variance.data(), params, threads);
                cpm::batch_norm_gradient_cpu(dy.data(), x.data(), given.weight.data(), given.bias.data(), mean.data(),
                                             variance.data(), dx.data(), dweight.data(), dbias.data(), params, threads);
                CHECK(cpm_test::rounded(y, floats.y) && cpm_test::rounded(dx, floats.dx));
                for (size_t c = 0; c < mean.size(); ++c) {
                    CHECK(near(mean[c], floats.mean[c], 3.0) && near(variance[c], floats.variance[c], 3.0));
                    CHECK(near(dweight[c], floats.dweight[c], 1000.0) && near(dbias[c], floats.dbias[c], 1000.0));
                }
            }
        }
    }
}

void test_bfloat16_keeps_nan_and_infinity() {
    const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
    for (const float odd : {nan, infinity}) {
        const cpm_test::Halves x = cpm_test::cut({1.0f, 2.0f, odd, 3.0f, 4.0f, 5.0f});
        const std::vector<float> weight(2, 1.0f), bias(2);
        cpm_test::Halves y(x.size());
        std::vector<float> mean(2), variance(2);
        cpm::BatchNorm params{3, 2, 1e-5, false};
        params.bf16 = true;
        cpm::batch_norm_cpu(x.data(), weight.data(), bias.data(), y.data(), mean.data(), variance.data(), params, 1);
        const std::vector<float> values = cpm_test::widened(y);
        CHECK(std::isnan(values[2]) && std::isnan(values[0]) && std::isfinite(values[1]));
    }
}

void test_rejects_no_cells() {
    CHECK(cpm_test::throws<std::invalid_argument>(
        [] { cpm::batch_norm_cpu(nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, {0, 3, 1e-5, true}, 1); }));
}

}  // namespace

int main() {
    test_matches_plain_loops();
    test_outlier();
    test_nan_stays_in_its_channel();
    test_bfloat16_maps();
    test_bfloat16_keeps_nan_and_infinity();
    test_rejects_no_cells();
    return cpm_test::finish();
}
