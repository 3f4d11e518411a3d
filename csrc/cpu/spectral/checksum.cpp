// Threads share parts of the pieces; the parts and their sums do not depend on the number of threads. The kernel is in
// checksum.h and reads every byte once.

#include "cpm/checksum.h"

#include <algorithm>

#include "cpm/sizes.h"
#include "cpm/threads.h"
#include "kernels.h"

namespace cpm {
namespace {

constexpr int64_t kPartBytes = 64 << 10;

std::vector<Piece> parts_of(const std::vector<Piece>& pieces) {
    std::vector<Piece> parts;
    for (const Piece& piece : pieces) {
        element_count({piece.bytes});
        for (int64_t at = 0; at < piece.bytes; at += kPartBytes) {
            parts.push_back({piece.from + at, std::min(kPartBytes, piece.bytes - at)});
        }
    }
    return parts;
}

}  // namespace

StartedChecksum::StartedChecksum(const std::vector<Piece>& pieces, int threads)
    : parts_(parts_of(pieces)),
      sums_(parts_.size()),
      count_(pieces.size()),
      region_(threads, static_cast<int64_t>(parts_.size()), sum_part, this) {}

void StartedChecksum::sum_part(void* self, int, int64_t part) {
    StartedChecksum& all = *static_cast<StartedChecksum*>(self);
    const Piece& read = all.parts_[static_cast<size_t>(part)];
    all.sums_[static_cast<size_t>(part)] =
        spectral::kernels().checksum(read.from, read.bytes, static_cast<uint64_t>(part));
}

uint64_t StartedChecksum::result() {
    region_.finish();
    return spectral::kernels().checksum(reinterpret_cast<const unsigned char*>(sums_.data()),
                                        static_cast<int64_t>(sums_.size() * sizeof(uint64_t)), count_);
}

}  // namespace cpm
