// batch_norm_cpu and its gradient against plain loops in double precision, on any number of threads the same bits.

#include "cpm/batch_norm.h"

#include <cmath>
#include <limits>
#include <random>
#include <stdexcept>
#include <vector>

#include "check.h"

namespace {

struct Problem {
    int64_t cells, channels;
    bool relu;
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
    cpm::BatchNorm params() const { return {cells, channels, 1e-5, relu}; }
};

struct Results {
    std::vector<float> y, mean, variance, dx, dweight, dbias;

    Results(const Problem& given, int threads)
        : y(given.x.size(), 7.0f), mean(given.weight.size()), variance(mean), dx(y), dweight(mean), dbias(mean) {
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

void test_rejects_no_cells() {
    CHECK(cpm_test::throws<std::invalid_argument>(
        [] { cpm::batch_norm_cpu(nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, {0, 3, 1e-5, true}, 1); }));
}

}  // namespace

int main() {
    test_matches_plain_loops();
    test_outlier();
    test_nan_stays_in_its_channel();
    test_rejects_no_cells();
    return cpm_test::finish();
}
