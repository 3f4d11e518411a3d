// The factors of plain sums: how weights and cells of a map lie in memory, and how their products are added.
//
// A sum has a word of 32 bits for each weight: a float, or the bfloat16 of two neighboring inputs. Products of bfloat16
// are added in float. Cells are pairs too if the instruction set has the products of pairs; otherwise words are taken
// apart, and cells are floats that were rounded.
#pragma once

#include "dft.h"
#include "pair_vectors.h"

namespace cpm::spectral {
namespace {

struct Floats {
    using Number = float;             // of a cell in memory
    static constexpr int kParts = 1;  // of a word

    static int64_t words(int64_t inputs) { return inputs; }
    static int64_t cell_floats(int64_t inputs) { return inputs; }
    // Whether a map's cells can be used where they lie.
    static constexpr bool kInPlace = true;

    template <int Part>
    CPM_INLINE static Vector weight(const float* at) {
        return load(at);
    }
    template <int Part>
    CPM_INLINE static float value(const float* cell, int64_t word) {
        return cell[word];
    }
    CPM_INLINE static void add(Vector& sum, Vector weight, float value) { sum += weight * value; }

    // Copies numbers of cells: of one, or of neighbors if words have no gaps.
    CPM_INLINE static void copy(const float* from, int64_t count, float* to) {
        memcpy(to, from, count * sizeof(float));
    }
    // Stores a vector of a cell's inputs, from input `first` on, at the cell's begin.
    CPM_INLINE static void store_lanes(Vector values, int64_t first, float* cell) { store(cell + first, values); }
};

struct SplitPairs {
    using Number = float;
    static constexpr int kParts = 2;
    static constexpr bool kInPlace = false;

    static int64_t words(int64_t inputs) { return (inputs + 1) / 2; }
    static int64_t cell_floats(int64_t inputs) { return 2 * words(inputs); }

    template <int Part>
    CPM_INLINE static Vector weight(const float* at) {
        const Words pairs = load_words(reinterpret_cast<const unsigned char*>(at));
        return Part == 0 ? first_halves(pairs) : second_halves(pairs);
    }
    template <int Part>
    CPM_INLINE static float value(const float* cell, int64_t word) {
        return cell[2 * word + Part];
    }
    CPM_INLINE static void add(Vector& sum, Vector weight, float value) { sum += weight * value; }

    CPM_INLINE static void copy(const float* from, int64_t count, float* to) {
        for (int64_t i = 0; i < count; ++i) to[i] = bfloat16_of(from[i]);
        if (count % 2 == 1) to[count] = 0.0f;
    }
    CPM_INLINE static void store_lanes(Vector values, int64_t first, float* cell) {
        alignas(64) float staged[kLanes];
        store(staged, values);
        copy(staged, kLanes, cell + first);
    }
};

#if defined(__AVX512BF16__) || defined(CPM_FAST_PLAIN_PAIRS)

struct Pairs {
    using Number = uint16_t;
    static constexpr int kParts = 1;
    static constexpr bool kInPlace = false;

    static int64_t words(int64_t inputs) { return (inputs + 1) / 2; }
    static int64_t cell_floats(int64_t inputs) { return words(inputs); }

    template <int Part>
    CPM_INLINE static PairVector weight(const float* at) {
        return load_pairs(at);
    }
    template <int Part>
    CPM_INLINE static PairVector value(const float* cell, int64_t word) {
        int32_t pair;
        memcpy(&pair, cell + word, sizeof(pair));
        return repeated_pair(pair);
    }
    CPM_INLINE static void add(Vector& sum, PairVector weight, PairVector value) { add_products(sum, weight, value); }

    CPM_INLINE static void copy(const float* from, int64_t count, float* to) {
        for (int64_t i = store_pairs(from, count, to); i < count; i += 2) {
            const uint32_t pair = bfloat16_pair(from[i], i + 1 < count ? from[i + 1] : 0.0f);
            memcpy(to + i / 2, &pair, sizeof(pair));
        }
    }
    CPM_INLINE static void store_lanes(Vector values, int64_t first, float* cell) {
        store_pairs(values, cell + first / 2);
    }
};
using Bfloat16 = Pairs;

#else

using Bfloat16 = SplitPairs;

#endif

}  // namespace
}  // namespace cpm::spectral
