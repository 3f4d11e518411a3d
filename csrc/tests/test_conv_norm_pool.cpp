// conv_norm_pool_cpu and its gradient against plain loops in double precision, on any number of threads the same bits.

#include "cpm/conv_norm_pool.h"

#include <cmath>
#include <random>
#include <stdexcept>
#include <vector>

#include "bfloat16_maps.h"
#include "check.h"

namespace {

using Floats = std::vector<float>;

struct Problem {
    cpm::ConvNormPool params;
    Floats x, weight, bias, scale, shift, dy;

    Problem(std::mt19937& generator, const cpm::ConvNormPool& params) : params(params) {
        std::normal_distribution<float> normal;
        const auto draw = [&](int64_t count, float around) {
            Floats values(static_cast<size_t>(count));
            for (float& value : values) value = around + normal(generator);
            return values;
        };
        const int64_t cells = params.images * params.height * params.width;
        x = draw(cells * params.inputs, 0.0f);
        weight = draw(params.outputs * params.inputs * 9, 0.0f);
        bias = draw(params.outputs, 1.0f);
        scale = draw(params.outputs, 0.0f);
        shift = draw(params.outputs, 0.0f);
        dy = draw(cells / 4 * params.outputs, 0.0f);
    }
};

size_t count_of_moments(const cpm::ConvNormPool& params) {
    return static_cast<size_t>((1 + 9 * params.inputs) * 9 * params.inputs);
}

struct Results {
    Floats y, mean, variance, dweight, dscale, dshift;
    std::vector<double> moments;
    std::vector<unsigned char> places;

    Results(const Problem& given, int threads)
        : y(given.dy.size(), 7.0f), mean(given.bias.size()), variance(mean), dweight(given.weight.size(), 7.0f),
          dscale(mean), dshift(mean), moments(count_of_moments(given.params), 7.0),
          places(given.dy.size(), 7) {
        const auto& [params, x, weight, bias, scale, shift, dy] = given;
        cpm::conv_norm_pool_cpu(x.data(), weight.data(), bias.data(), scale.data(), shift.data(), y.data(),
                                places.data(), mean.data(), variance.data(), moments.data(), params, threads);
        cpm::conv_norm_pool_gradient_cpu(dy.data(), places.data(), x.data(), weight.data(), scale.data(),
                                         variance.data(), moments.data(), dweight.data(), dscale.data(), dshift.data(),
                                         params, threads);
    }
    bool operator==(const Results& other) const {
        return y == other.y && mean == other.mean && variance == other.variance && dweight == other.dweight &&
               dscale == other.dscale && dshift == other.dshift && moments == other.moments && places == other.places;
    }
};

bool near(double found, double wanted, double scale) { return std::abs(found - wanted) <= 1e-5 * scale; }

void check_output(const Problem& given, const Results& found, int64_t output) {
    const auto& [images, height, width, inputs, outputs, eps, bf16] = given.params;
    const int64_t cells = images * height * width;
    const auto tap = [&, h = height, w = width, n = inputs](int64_t cell, int64_t i) {
        const int64_t row = cell / w % h + i % 9 / 3 - 1, column = cell % w + i % 3 - 1;
        if (row < 0 || row >= h || column < 0 || column >= w) return 0.0;
        return static_cast<double>(given.x[((cell / (h * w) * h + row) * w + column) * n + i / 9]);
    };
    std::vector<double> map(static_cast<size_t>(cells), given.bias[output]), gradient(map.size(), 0.0);
    double mean = 0.0, variance = 0.0;
    for (int64_t cell = 0; cell < cells; ++cell) {
        for (int64_t i = 0; i < 9 * inputs; ++i) map[cell] += given.weight[output * 9 * inputs + i] * tap(cell, i);
        mean += map[cell] / static_cast<double>(cells);
    }
    for (const double value : map) variance += (value - mean) * (value - mean) / static_cast<double>(cells);
    const double deviation = std::sqrt(variance + eps), size = std::sqrt(static_cast<double>(cells)) * 10.0;
    CHECK(near(found.mean[output], mean, 10.0) && near(found.variance[output], variance, 10.0 + variance));
    double sum = 0.0, product = 0.0;
    for (int64_t window = 0; window < cells / 4; ++window) {
        const int64_t corner = window / (width / 2) * 2 * width + window % (width / 2) * 2;
        int64_t largest = corner;
        const auto value = [&](int64_t cell) {
            return (map[cell] - mean) / deviation * given.scale[output] + given.shift[output];
        };
        for (const int64_t cell : {corner + 1, corner + width, corner + width + 1}) {
            if (value(cell) > value(largest)) largest = cell;
        }
        const float y = found.y[window * outputs + output];
        CHECK(near(y, std::max(value(largest), 0.0), 10.0 + 10.0 / deviation));
        if (y <= 0.0f) continue;
        gradient[largest] = given.dy[window * outputs + output];
        sum += gradient[largest];
        product += gradient[largest] * (map[largest] - mean) / deviation;
    }
    CHECK(near(found.dshift[output], sum, size) && near(found.dscale[output], product, size));
    for (int64_t i = 0; i < 9 * inputs; ++i) {
        double wanted = 0.0;
        for (int64_t cell = 0; cell < cells; ++cell) {
            const double distance = (map[cell] - mean) / deviation, count = static_cast<double>(cells);
            const double dx = given.scale[output] / deviation * (gradient[cell] - sum / count - distance * product / count);
            wanted += dx * tap(cell, i);
        }
        CHECK(near(found.dweight[output * 9 * inputs + i], wanted, size * (1.0 + 1.0 / deviation)));
    }
}

// Strips have 64 windows, blocks 16 outputs.
void test_matches_plain_loops() {
    std::mt19937 generator(3);
    for (const int64_t inputs : {1, 3, 4}) {
        for (const int64_t outputs : {1, 8, 16, 24, 33}) {
            for (const int64_t width : {2, 6, 128, 134}) {
                const Problem given(generator, {2, width > 100 ? 2 : 8, width, inputs, outputs, 1e-3});
                const Results found(given, 1);
                for (int64_t output = 0; output < outputs; ++output) check_output(given, found, output);
                CHECK(found == Results(given, 2) && found == Results(given, 5));
            }
        }
    }
}

// y and dy of bfloat16 against the same of floats.
void test_bfloat16_maps() {
    std::mt19937 generator(4);
    for (const int64_t outputs : {3, 16, 33}) {
        Problem given(generator, {2, 4, 134, 3, outputs, 1e-3});
        const cpm_test::Halves dy = cpm_test::cut(given.dy);
        given.dy = cpm_test::widened(dy);
        const Results floats(given, 1);
        auto [params, x, weight, bias, scale, shift, _] = given;
        params.bf16 = true;
        for (const int threads : {1, 3}) {
            cpm_test::Halves y(dy.size(), 7);
            Floats mean(bias.size()), variance(mean), dweight(weight.size()), dscale(mean), dshift(mean);
            std::vector<double> moments(count_of_moments(params));
            std::vector<unsigned char> places(dy.size());
            cpm::conv_norm_pool_cpu(x.data(), weight.data(), bias.data(), scale.data(), shift.data(), y.data(),
                                    places.data(), mean.data(), variance.data(), moments.data(), params, threads);
            cpm::conv_norm_pool_gradient_cpu(dy.data(), places.data(), x.data(), weight.data(), scale.data(),
                                             variance.data(), moments.data(), dweight.data(), dscale.data(),
                                             dshift.data(), params, threads);
            CHECK(cpm_test::rounded(y, floats.y));
            CHECK(mean == floats.mean && variance == floats.variance && moments == floats.moments && places == floats.places);
            for (size_t i = 0; i < dweight.size(); ++i) CHECK(near(dweight[i], floats.dweight[i], 300.0));
            for (size_t c = 0; c < mean.size(); ++c) {
                CHECK(near(dscale[c], floats.dscale[c], 300.0) && near(dshift[c], floats.dshift[c], 300.0));
            }
        }
    }
}

void test_rejects() {
    for (const cpm::ConvNormPool& params : {cpm::ConvNormPool{0, 2, 2, 3, 4, 1e-5}, {1, 3, 2, 3, 4, 1e-5},
                                            {1, 2, 5, 3, 4, 1e-5}, {1, 2, 2, 0, 4, 1e-5}, {1, -2, 2, 3, 4, 1e-5},
                                            {int64_t{1} << 40, 1 << 12, 1 << 12, 3, 4, 1e-5}, {1, 2, 2, 3, -20, 1e-5}}) {
        CHECK(cpm_test::throws<std::invalid_argument>([&] {
            cpm::conv_norm_pool_cpu(nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr,
                                    nullptr, params, 1);
        }));
    }
}

}  // namespace

int main() {
    test_matches_plain_loops();
    test_bfloat16_maps();
    test_rejects();
    return cpm_test::finish();
}
