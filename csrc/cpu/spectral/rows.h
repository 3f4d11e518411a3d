// The x transforms. Two rows are the real and imaginary part of one complex DFT and are separated by its symmetry,
// which leaves every number twice too large; the weights include the factor 1/2.
//
//     Z = DFT(row0 + i row1):  2 X0[k] = Z[k] + conj Z[t-k],  2i X1[k] = Z[k] - conj Z[t-k]
#pragma once

#include "dft.h"
#include "range.h"
#include "unpool.h"

namespace cpm::spectral {
namespace {

struct Span {
    int64_t begin, end;
};

// The local cells of a tile that are read from the map; the others count as 0.
CPM_INLINE Span covered(const Axis& axis, int64_t tile, int size, Cover cover) {
    const int64_t start = tile * axis.step - axis.first;
    if (cover == Cover::outputs) return {axis.first, least(axis.first + axis.step, axis.cells - start)};
    return {most(0, -start), least(size, axis.cells - start)};
}

// Converts the DFT of row0 + i row1 to the half spectra of two real rows, or back. z is [t, complex block], row0 and
// row1 are complex blocks a unit apart; unit 0 holds frequencies 0 and t/2. A row without a partner is passed as both:
// row0 is written last, and on the way back the other half is unused.
CPM_INLINE void separate_rows(const float* z, int tile, float* row0, float* row1, int64_t unit_step) {
    const Complex low = load_complex(z), high = load_complex(z + tile / 2 * kComplex);
    store_complex(row1, {low.im, high.im});
    store_complex(row0, {low.re, high.re});
    for (int k = 1; k < tile / 2; ++k) {
        const Complex a = load_complex(z + k * kComplex), b = load_complex(z + (tile - k) * kComplex);
        store_complex(row1 + k * unit_step, {a.im + b.im, b.re - a.re});
        store_complex(row0 + k * unit_step, {a.re + b.re, a.im - b.im});
    }
}

CPM_INLINE void combine_rows(const float* row0, const float* row1, int64_t unit_step, int tile, float* z) {
    const Complex first = load_complex(row0), second = load_complex(row1);
    store_complex(z, {first.re, second.re});
    store_complex(z + tile / 2 * kComplex, {first.im, second.im});
    for (int k = 1; k < tile / 2; ++k) {
        const Complex a = load_complex(row0 + k * unit_step), b = load_complex(row1 + k * unit_step);
        store_complex(z + k * kComplex, {a.re - b.im, a.im + b.re});
        store_complex(z + (tile - k) * kComplex, {a.re + b.im, b.re - a.im});
    }
}

// A task's place: tasks run over images, bands of rows, tiles across, blocks, the last fastest.
struct RowTask {
    int64_t image, tile, block, begin, end;  // rows of the strip
    float* strip;                            // of unit 0, at row 0
};

CPM_INLINE RowTask row_task(const Strips& strips, int64_t task) {
    const int64_t block = task % strips.blocks, tile = task / strips.blocks % strips.tiles;
    const int64_t band = task / (strips.blocks * strips.tiles) % bands_of(strips);
    const int64_t image = task / (strips.blocks * strips.tiles * bands_of(strips));
    const int64_t place = (image * strips.tiles + tile) * strips.blocks + block;
    return {image, tile, block, band * kBandRows, least((band + 1) * kBandRows, strips.rows),
            strips.data + place * strips.rows * kComplex};
}

// Copies up to 16 channels of a row's covered cells to every second half block of z, with zeros elsewhere; the gate is
// closed where it is not above 0.
void stage_row(const float* x, const float* gate, int64_t channels, int64_t pixel_step, Span cells, int tile,
               float* z) {
    for (int64_t i = 0; i < tile; ++i) {
        float* to = z + i * kComplex;
        if (x == nullptr || i < cells.begin || i >= cells.end) {
            for (int lane = 0; lane < kBlock; ++lane) to[lane] = 0.0f;
            continue;
        }
        const float *from = x + i * pixel_step, *open = gate == nullptr ? nullptr : gate + i * pixel_step;
        if (channels == kBlock) {
            // Vectors, since a compiler makes a branch of a gate on every number, which takes three times as long.
            for (int lane = 0; lane < kBlock; lane += kLanes) {
                const Vector values = load(from + lane);
                store(to + lane, open == nullptr ? values : passed(values, load(open + lane)));
            }
        } else {
            for (int lane = 0; lane < kBlock; ++lane) {
                to[lane] = lane < channels && (open == nullptr || open[lane] > 0.0f) ? from[lane] : 0.0f;
            }
        }
    }
}

// Writes the covered cells of a row whose values came back through a pool to every second half block of z, and zeros
// elsewhere. `start` is the map's cell at local cell 0, perhaps before it; a row that is not there is negative.
void stage_unpooled(const Unpool& job, int side, int64_t row, int64_t start, Span cells, int tile, float* z) {
    for (int64_t i = 0; i < tile; ++i) {
        if (row >= 0 && i == cells.begin) i = cells.end;
        for (int lane = 0; lane < kBlock && i < tile; lane += kLanes) store(z + i * kComplex + lane, Vector{});
    }
    if (row < 0) return;
    unpool_row(job, side, row, start + cells.begin, start + cells.end, z + cells.begin * kComplex, kComplex);
}

void read_rows(const ReadRows& job, int64_t begin, int64_t end) {
    const Dft dft = find_dft<>(job.tile);
    alignas(64) float staged[kMaxTile * kComplex], z[kMaxTile * kComplex];
    const int64_t row_step = job.across.cells * job.pitch;
    for (int64_t index = begin; index < end; ++index) {
        const RowTask task = row_task(job.strips, index);
        const Span cells = covered(job.across, task.tile, job.tile, job.cover);
        const int64_t channels = least(kBlock, job.channels - task.block * kBlock);
        const bool windows = job.gate.side != 0;
        const float* gate = windows ? nullptr : static_cast<const float*>(job.gate.at);
        const bool direct = channels == kBlock && job.gate.at == nullptr && cells.begin == 0 && cells.end == job.tile;
        // This may point before the map; only covered cells are accessed.
        const int64_t start = task.tile * job.across.step - job.across.first;
        const int64_t origin = task.image * job.height * row_step + start * job.pitch + task.block * kBlock;
        for (int64_t row = task.begin; row < task.end; row += 2) {
            const bool pair = row + 1 < task.end;
            const int64_t offset0 = origin + (job.strips.first_row + row) * row_step, offset1 = offset0 + row_step;
            const float *re = job.x + offset0, *im = job.x + offset1;
            if (!windows) {
                fetch<false>(re + 2 * row_step, job.tile, job.pitch, kBlock);
                fetch<false>(im + 2 * row_step, job.tile, job.pitch, kBlock);
            }
            if (gate != nullptr) {
                fetch<false>(gate + offset0 + 2 * row_step, job.tile, job.pitch, kBlock);
                fetch<false>(gate + offset1 + 2 * row_step, job.tile, job.pitch, kBlock);
            }
            int64_t step = job.pitch;
            if (windows) {
                const Unpool from = unpool_of(job, job.across.cells, task.image, task.block * kBlock, job.channels);
                const int64_t place = job.strips.first_row + row;
                stage_unpooled(from, job.gate.side, place, start, cells, job.tile, staged);
                stage_unpooled(from, job.gate.side, pair ? place + 1 : -1, start, cells, job.tile, staged + kBlock);
            } else if (!direct || !pair) {
                stage_row(re, gate ? gate + offset0 : nullptr, channels, job.pitch, cells, job.tile, staged);
                stage_row(pair ? im : nullptr, gate ? gate + offset1 : nullptr, channels, job.pitch, cells, job.tile,
                          staged + kBlock);
            }
            if (!direct || !pair) {
                re = staged;
                im = staged + kBlock;
                step = kComplex;
            }
            float* row0 = task.strip + row * kComplex;
            float* row1 = pair ? row0 + kComplex : row0;
            fetch<true>(row0 + 2 * kComplex, job.tile / 2, job.strips.unit_step, 2 * kComplex);
            for (int lane = 0; lane < kBlock; lane += kLanes) {
                dft(re + lane, im + lane, step, z + lane, z + kBlock + lane, kComplex);
                separate_rows(z + lane, job.tile, row0 + lane, row1 + lane, job.strips.unit_step);
            }
        }
    }
}

// z [t, complex block] holds two rows of outputs as its real and imaginary halves; `half` picks one. Returns whether all
// were finite before ReLU, which makes 0 of an infinity.
bool finish_row(const float* z, const float* bias, bool relu, int64_t channels, int64_t cells, int64_t pixel_step,
                float* out) {
    Integers largest = {};
    int32_t single = 0;
    alignas(64) float offsets[kBlock];
    for (int lane = 0; lane < kBlock; ++lane) offsets[lane] = bias != nullptr && lane < channels ? bias[lane] : 0.0f;
    const float floor = relu ? 0.0f : kLowest;
    for (int64_t i = 0; i < cells; ++i) {
        const float* from = z + i * kComplex;
        float* to = out + i * pixel_step;
        if (channels == kBlock) {
            for (int lane = 0; lane < kBlock; lane += kLanes) {
                const Vector value = load(from + lane) + load(offsets + lane);
                largest = larger(largest, magnitudes(value));
                store(to + lane, at_least(value, floor));
            }
        } else {
            for (int lane = 0; lane < channels; ++lane) {
                const float value = from[lane] + offsets[lane];
                single = magnitude(value) > single ? magnitude(value) : single;
                to[lane] = value < floor ? floor : value;
            }
        }
    }
    for (int lane = 0; lane < kLanes; ++lane) single = largest[lane] > single ? largest[lane] : single;
    return single < kInfinite;
}

void write_rows(const WriteRows& job, int64_t begin, int64_t end) {
    const Dft dft = find_dft<>(job.tile);
    alignas(64) float z[kMaxTile * kComplex];
    const int64_t row_step = job.across.cells * job.pitch;
    for (int64_t index = begin; index < end; ++index) {
        const RowTask task = row_task(job.strips, index);
        const int64_t first_channel = (job.first_block + task.block) * kBlock;
        const int64_t channels = least(kBlock, job.channels - first_channel);
        const int64_t start = task.tile * job.across.step;
        const int64_t cells = least(job.across.step, job.across.cells - start);
        const float* bias = job.bias == nullptr ? nullptr : job.bias + first_channel;
        float* origin = job.out + task.image * job.height * row_step + start * job.pitch + first_channel;
        for (int64_t row = task.begin; row < task.end; row += 2) {
            const bool pair = row + 1 < task.end;
            const float* row0 = task.strip + row * kComplex;
            const float* row1 = pair ? row0 + kComplex : row0;
            float* out = origin + (job.strips.first_row + row) * row_step;
            fetch<false>(row0 + 2 * kComplex, job.tile / 2, job.strips.unit_step, 2 * kComplex);
            fetch<true>(out, cells, job.pitch, kBlock);
            fetch<true>(out + row_step, cells, job.pitch, kBlock);
            for (int lane = 0; lane < kBlock; lane += kLanes) {
                combine_rows(row0 + lane, row1 + lane, job.strips.unit_step, job.tile, z + lane);
                dft(z + kBlock + lane, z + lane, kComplex, z + kBlock + lane, z + lane, kComplex);
            }
            const float* first = z + job.across.first * kComplex;
            const auto finish = [&](int half) {
                const bool finite = finish_row(first + half * kBlock, bias, job.relu, channels, cells, job.pitch,
                                               out + half * row_step);
                if (!finite) __atomic_store_n(job.broken + task.image, 1, __ATOMIC_RELAXED);
            };
            finish(0);
            if (pair) finish(1);
        }
    }
}

}  // namespace
}  // namespace cpm::spectral
