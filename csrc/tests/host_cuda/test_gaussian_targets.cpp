// The CUDA kernel gaussian_targets, run on the host, against the CPU op.

#include "cpm/gaussian_targets.h"

#include <stdexcept>

#include "../case_tables.h"
#include "../check.h"
#include "../random_points.h"
#include "on_host.h"

namespace {

// Both multiply the same float exponentials.
const bool* flags(const std::vector<char>& labeled) { return reinterpret_cast<const bool*>(labeled.data()); }

void test_matches_cpu() {
    unsigned seed = 1;
    for (const auto& params : cpm_test::kGaussianCases) {
        const auto points = cpm_test::random_points(params, seed++);
        const int64_t elements = params.images * (params.parts + 1) * params.height * params.width;
        std::vector<float> wanted(elements, cpm_test::kUntouched), maps = wanted;
        cpm::gaussian_targets_cpu(points.parts.data(), flags(points.labeled), wanted.data(), params, 1);
        const auto run = [&](float* out) {
            cpm::gaussian_targets_cuda(points.parts.data(), flags(points.labeled), out, params, 0, nullptr);
        };
        run(maps.data());
        CHECK(cpm_test::same(maps, wanted));
        CHECK(cpm_test::written_once(elements, seed, run));
    }
}

// Images 0 and N - 1 of so many that every array exceeds 2^32 elements.
void check_ends(const cpm::GaussianTargets& params) {
    const int64_t points = params.people * params.parts, cells = params.height * params.width;
    const int64_t own = (params.parts + 1) * cells;
    const cpm_test::Untouched<float> parts(params.images * points * 2), maps(params.images * own);
    const cpm_test::Untouched<char> labeled(params.images * points);
    cpm::GaussianTargets one = params;
    one.images = 1;
    const auto input = cpm_test::random_points(one, 7);
    for (const int64_t n : {int64_t{0}, params.images - 1}) {
        std::copy(input.parts.begin(), input.parts.end(), parts.data() + n * points * 2);
        std::copy(input.labeled.begin(), input.labeled.end(), labeled.data() + n * points);
    }
    const int64_t tasks = (params.images * cells + 255) / 256;
    const cpm_test::OnlyBlocks only(cpm_test::blocks_of_tasks(cpm_test::first_and_last(tasks, (cells + 255) / 256 + 1)));
    cpm::gaussian_targets_cuda(parts.data(), reinterpret_cast<const bool*>(labeled.data()), maps.data(), params, 0, nullptr);
    std::vector<float> wanted(own);
    cpm::gaussian_targets_cpu(input.parts.data(), flags(input.labeled), wanted.data(), one, 1);
    for (const int64_t n : {int64_t{0}, params.images - 1}) {
        CHECK(cpm_test::same(wanted.data(), maps.data() + n * own, own));
    }
}

void test_sizes() {
    cpm::gaussian_targets_cuda(nullptr, nullptr, nullptr, {0, 1, 14, 46, 46, 7.0, 8.0}, 0, nullptr);
    const int64_t large = int64_t{1} << 31;
    CHECK(cpm_test::throws<std::invalid_argument>(
        [&] { cpm::gaussian_targets_cuda(nullptr, nullptr, nullptr, {large, 1, 14, large, large, 7.0, 8.0}, 0, nullptr); }));
    CHECK(cpm_test::throws<std::runtime_error>(
        [&] { cpm::gaussian_targets_cuda(nullptr, nullptr, nullptr, {1, 1, 14, 46, 46, 7.0, 8.0}, 1, nullptr); }));
}

}  // namespace

int main() {
    test_matches_cpu();
    check_ends({(int64_t{1} << 21) + 1, 2, 1, 46, 46, 7.0, 8.0});
    check_ends({(int64_t{1} << 26) + 1, 8, 8, 1, 1, 7.0, 8.0});
    test_sizes();
    return cpm_test::finish();
}
