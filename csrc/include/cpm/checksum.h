// A sum over pieces of memory that changes with every value in them and its place.
#pragma once

#include <cstdint>
#include <vector>

#include "cpm/threads.h"

namespace cpm {

struct Piece {
    const unsigned char* from;
    int64_t bytes;
};

// A sum that other threads begin to compute while the caller does something else. It is no protection against someone
// who constructs two memories with one sum. Any number of threads gives the same sum.
class StartedChecksum {
public:
    // Throws std::invalid_argument for a negative size.
    StartedChecksum(const std::vector<Piece>& pieces, int threads);

    // Waits for the sum, with the caller's help.
    uint64_t result();

private:
    static void sum_part(void* self, int member, int64_t part);

    std::vector<Piece> parts_;
    std::vector<uint64_t> sums_;
    uint64_t count_;
    threads::StartedRegion region_;
};

}  // namespace cpm
