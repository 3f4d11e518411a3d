// A sum over pieces of memory that changes with every value in them and its place.
#pragma once

#include <cstdint>
#include <vector>

namespace cpm {

struct Piece {
    const unsigned char* from;
    int64_t bytes;
};

// It is no protection against someone who constructs two memories with one sum. Any number of threads gives the same
// sum. Throws std::invalid_argument for a negative size.
uint64_t checksum_cpu(const std::vector<Piece>& pieces, int threads);

}  // namespace cpm
