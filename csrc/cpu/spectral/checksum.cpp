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

}  // namespace

uint64_t checksum_cpu(const std::vector<Piece>& pieces, int threads) {
    std::vector<Piece> parts;
    for (const Piece& piece : pieces) {
        element_count({piece.bytes});
        for (int64_t at = 0; at < piece.bytes; at += kPartBytes) {
            parts.push_back({piece.from + at, std::min(kPartBytes, piece.bytes - at)});
        }
    }
    std::vector<uint64_t> sums(parts.size());
    const spectral::Kernels& run = spectral::kernels();
    threads::parallel_ranges(std::max(threads, 1), static_cast<int64_t>(parts.size()),
                             [&](int, int64_t begin, int64_t end) {
                                 for (int64_t i = begin; i < end; ++i) {
                                     sums[i] = run.checksum(parts[i].from, parts[i].bytes, static_cast<uint64_t>(i));
                                 }
                             });
    return run.checksum(reinterpret_cast<const unsigned char*>(sums.data()),
                        static_cast<int64_t>(sums.size() * sizeof(uint64_t)), pieces.size());
}

}  // namespace cpm
