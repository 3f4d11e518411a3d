// 64-bit size arithmetic that refuses what does not fit.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <stdexcept>
#include <string>

namespace cpm {

// Returns the product of the sizes; throws std::invalid_argument if one is negative or the product overflows int64_t.
inline int64_t element_count(std::initializer_list<int64_t> sizes) {
    bool empty = false;
    for (const int64_t size : sizes) {
        if (size < 0) throw std::invalid_argument("sizes must not be negative, got " + std::to_string(size));
        empty = empty || size == 0;
    }
    if (empty) return 0;
    int64_t count = 1;
    for (const int64_t size : sizes) {
        if (size > std::numeric_limits<int64_t>::max() / count) {
            throw std::invalid_argument("sizes must have a product within 64 bits");
        }
        count *= size;
    }
    return count;
}

}  // namespace cpm
