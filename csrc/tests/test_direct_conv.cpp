// direct_conv against plain loops in double, on every instruction set, and sizes that are refused or skipped.

#include "cpm/direct_conv.h"

#include <functional>
#include <sstream>
#include <stdexcept>

#include "check.h"
#include "plain_conv.h"

namespace {

void for_each_simd(const std::function<void()>& action) {
    std::istringstream names(cpm::simd_choices());
    for (std::string name; names >> name;) {
        cpm::use_simd(name);
        action();
    }
}

void test_matches_plain_loop() {
    std::mt19937 generator(5);
    for_each_simd([&] {
        for (const cpm::DirectConv& params :
             {cpm::DirectConv{1, 9, 13, 3, 16, 3}, {2, 5, 7, 17, 33, 1}, {1, 12, 24, 20, 96, 3, 23, 100},
              {1, 6, 3, 5, 15, 5, 5, 48}, {1, 1, 1, 2, 3, 15}, {3, 30, 11, 4, 50, 1, 4, 64}, {0, 9, 9, 3, 4, 5},
              {1, 0, 9, 3, 4, 5}, {1, 9, 9, 0, 4, 3}, {1, 9, 9, 3, 0, 5}, {2, 14, 10, 3, 16, 3, 0, 0, 2},
              {1, 22, 18, 6, 40, 3, 8, 41, 3}, {2, 10, 16, 7, 20, 5, 0, 0, 3, 1}, {1, 2, 2, 1, 1, 9, 0, 0, 3},
              {1, 8, 26, 4, 32, 1, 0, 0, 2}}) {
            for (const int threads : {-1, 1, 2, 5}) cpm_test::check_direct(generator, params, threads);
        }
    });
}

void test_sizes() {
    const int64_t huge = int64_t{1} << 40;
    for (const cpm::DirectConv& params :
         {cpm::DirectConv{1, 8, 8, 3, 4, 4}, {1, 8, 8, 3, 4, 17}, {-1, 8, 8, 3, 4, 5}, {1, huge, huge, 3, 4, 5},
          {1, 8, 8, 3, 4, 5, 2}, {1, 8, 8, 3, 4, 5, 0, 0, 4}, {1, 7, 8, 3, 4, 5, 0, 0, 2}}) {
        CHECK(cpm_test::throws<std::invalid_argument>([&] { cpm::direct_workspace(params, 1); }));
        CHECK(cpm_test::throws<std::invalid_argument>(
            [&] { cpm::direct_conv_cpu(nullptr, nullptr, nullptr, nullptr, params, true, nullptr, 1); }));
    }
    CHECK(cpm_test::throws<std::invalid_argument>([] { cpm::pack_weight_cpu(nullptr, nullptr, -5, -5, 5, 1); }));
}

}  // namespace

int main() {
    test_matches_plain_loop();
    test_sizes();
    return cpm_test::finish();
}
