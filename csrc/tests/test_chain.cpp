// A chain writes the bits that its layers write one by one, and stops where its caller must act.

#include "cpm/chain.h"

#include <random>
#include <stdexcept>

#include "check.h"
#include "plain_conv.h"

namespace {

using cpm_test::kNan;
using Floats = std::vector<float>;

constexpr int64_t kBudget = 1 << 20;
// 4 -> 20 channels by tiles, 20 -> 8 by plain sums, and the result between the channels of a wider map.
const cpm::SpectralConv kSpectral{2, 30, 26, 4, 20, 7, 16};
const cpm::DirectConv kDirect{2, 30, 26, 20, 8, 3};
const cpm::CopyMaps kCopy{{2, 8, 30, 26}, {30 * 26 * 8, 1, 26 * 8, 8}, {30 * 26 * 11, 1, 26 * 11, 11}};
constexpr int64_t kCells = 2 * 30 * 26, kLayers = 3;

struct Network {
    cpm_test::Conv first;
    Floats spectra, packed, second_bias, middle, second, wide;

    explicit Network(std::mt19937& generator) : first(cpm_test::random_conv(generator, kSpectral)) {
        spectra = cpm_test::spectra_of(first, false, 1);
        const Floats weight = cpm_test::random_floats(generator, kDirect.outputs * kDirect.inputs * 9);
        packed.resize(16 * kDirect.inputs * 9);
        cpm::pack_weight_cpu(weight.data(), packed.data(), kDirect.outputs, kDirect.inputs, 3, false, 1);
        second_bias = cpm_test::random_floats(generator, kDirect.outputs);
        forget();
    }

    void forget() {
        middle.assign(kCells * 20, kNan);
        second.assign(kCells * 8, kNan);
        wide.assign(kCells * 11, kNan);
    }

    cpm::Chain chain() {
        cpm::Chain made;
        made.spectral_conv(first.x.data(), spectra.data(), first.bias.data(), middle.data(), kSpectral, true);
        made.direct_conv(middle.data(), packed.data(), second_bias.data(), second.data(), kDirect, false);
        made.copy_maps(second.data(), wide.data() + 3, kCopy);
        return made;
    }

    // Runs the layers from `layer` on, one by one.
    void run_layers(int layer) {
        Floats workspace(std::max(cpm::spectral_workspace(kSpectral, kBudget, 2), cpm::direct_workspace(kDirect, 2)));
        if (layer == 0) {
            cpm::spectral_conv_cpu(first.x.data(), nullptr, spectra.data(), first.bias.data(), middle.data(), kSpectral,
                                   true, workspace.data(), kBudget, 2);
        }
        cpm::direct_conv_cpu(middle.data(), packed.data(), second_bias.data(), second.data(), kDirect, false,
                             workspace.data(), 2);
        cpm::copy_maps_cpu(second.data(), wide.data() + 3, kCopy, 2);
    }
};

// Runs the layers from `first` on, as a caller does: on a slow machine a chain returns before its last layer.
cpm::Chain::Progress run_to_end(const cpm::Chain& chain, int64_t first, float* workspace, int threads) {
    cpm::Chain::Progress progress{first, {}};
    while (progress.next < kLayers && progress.images.empty()) {
        progress = chain.run(progress.next, workspace, kBudget, threads);
    }
    return progress;
}

void test_same_bits() {
    std::mt19937 generator(7);
    Network network(generator);
    network.run_layers(0);
    const Floats wanted = cpm_test::gathered(Floats(network.wide.begin() + 3, network.wide.end() - 8), 8, 11);
    const cpm::Chain chain = network.chain();
    for (const int threads : {1, 2, 5}) {
        Floats workspace(chain.workspace(kBudget, threads), kNan);
        network.forget();
        const auto [next, images] = run_to_end(chain, 0, workspace.data(), threads);
        CHECK(next == kLayers && images.empty());
        CHECK(cpm_test::gathered(Floats(network.wide.begin() + 3, network.wide.end() - 8), 8, 11) == wanted);
    }
}

// The second image has a value that tiles would spread; the layers after it run only when the caller goes on.
void test_stops_at_images_that_are_left() {
    std::mt19937 generator(8);
    Network network(generator);
    network.first.x[kCells / 2 * 4 + 77] = kNan;
    const cpm::Chain chain = network.chain();
    Floats workspace(chain.workspace(kBudget, 2), kNan);
    const auto [next, images] = chain.run(0, workspace.data(), kBudget, 2);
    CHECK(next == 1 && images == std::vector<int64_t>{1});
    CHECK(std::isnan(network.second[0]));
    std::fill(network.middle.begin(), network.middle.end(), 2.0f);
    CHECK(run_to_end(chain, next, workspace.data(), 2).next == kLayers);
    const Floats found = network.second;
    network.run_layers(1);
    CHECK(found == network.second);
}

// 1600 layers of 0.3 GFLOP each: the caller gets its turns.
void test_returns_now_and_then() {
    std::mt19937 generator(9);
    const cpm::DirectConv large{1, 160, 160, 8, 32, 5};
    const Floats x = cpm_test::random_floats(generator, 160 * 160 * 8), bias(32);
    const Floats packed = cpm_test::random_floats(generator, 2 * 25 * 8 * 16);
    Floats out(160 * 160 * 32);
    cpm::Chain chain;
    const int64_t layers = 1600;
    for (int64_t i = 0; i < layers; ++i) {
        chain.direct_conv(x.data(), packed.data(), bias.data(), out.data(), large, true);
    }
    Floats workspace(chain.workspace(kBudget, 1));
    int64_t next = 0, runs = 0;
    while (next < layers && runs < 3) {
        const int64_t before = next;
        next = chain.run(next, workspace.data(), kBudget, 1).next;
        CHECK(next > before);
        ++runs;
    }
    CHECK(runs == 3);
}

void test_places() {
    cpm::Chain chain;
    CHECK(chain.workspace(kBudget, 2) == 0);
    CHECK(chain.run(0, nullptr, kBudget, 2).next == 0);
    for (const int64_t first : {-1, 1}) {
        CHECK(cpm_test::throws<std::invalid_argument>([&] { chain.run(first, nullptr, kBudget, 2); }));
    }
}

}  // namespace

int main() {
    test_same_bits();
    test_stops_at_images_that_are_left();
    test_returns_now_and_then();
    test_places();
    return cpm_test::finish();
}
