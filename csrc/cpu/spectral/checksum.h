// A sum over memory that changes with every value and its place: 64 or 128 parallel chains, each of which adds every
// number by an invertible step, so that a change of one number always changes the sum, and changes of several cancel
// only by chance, once in 2^32 in every chain that they affect.
#pragma once

#include "dft.h"

namespace cpm::spectral {
namespace {

constexpr int kChains = 8;
constexpr uint32_t kFactor = 0x9e3779b1u;

CPM_INLINE Words mixed(Words sum, Words word) {
    sum = (sum ^ word) * kFactor;
    return sum ^ (sum >> 15);
}

CPM_INLINE uint64_t mixed_last(uint64_t sum, uint64_t word) {
    sum = (sum ^ word) * 0x9fb21c651e98df25u;
    return sum ^ (sum >> 29);
}

uint64_t checksum(const unsigned char* from, int64_t bytes, uint64_t seed) {
    constexpr int64_t vector = sizeof(Words), step = kChains * vector;
    Words chains[kChains];
    for (int i = 0; i < kChains; ++i) {
        for (int lane = 0; lane < kLanes; ++lane) chains[i][lane] = kFactor * static_cast<uint32_t>(i * kLanes + lane + 1);
    }
    int64_t at = 0;
    for (; at + step <= bytes; at += step) {
        unroll<kChains>([&](auto i) CPM_INLINE_LAMBDA {
            chains[i] = mixed(chains[i], load_words(from + at + i * vector));
        });
    }
    uint64_t sum = mixed_last(seed, static_cast<uint64_t>(bytes));
    for (int i = 0; i < kChains; ++i) {
        for (int lane = 0; lane < kLanes; ++lane) sum = mixed_last(sum, chains[i][lane]);
    }
    for (; at < bytes; at += 8) {
        uint64_t word = 0;
        std::memcpy(&word, from + at, static_cast<uint64_t>(least(8, bytes - at)));
        sum = mixed_last(sum, word);
    }
    return sum;
}

}  // namespace
}  // namespace cpm::spectral
