// The y transforms of one unit, before the product and after it. Unit 0 holds two real columns as one complex column,
// which are separated like rows in rows.h, with the same factor 2.
#pragma once

#include "rows.h"

namespace cpm::spectral {
namespace {

// z [t, complex block] of unit 0 to t/2 + 1 frequencies of column 0, then as many of column t/2.
template <typename Form>
CPM_INLINE void separate_columns(const float* z, int tile, float* out, int64_t step) {
    const int64_t second = (tile / 2 + 1) * step;
    for (int k = 0; k <= tile / 2; ++k) {
        const Complex a = load_complex(z + k * kComplex), b = load_complex(z + (tile - k) % tile * kComplex);
        const Complex column0{a.re + b.re, a.im - b.im}, column1{a.im + b.im, b.re - a.re};
        Form::put(column0, out + k * step, out + k * step + kBlock);
        Form::put(column1, out + k * step + second, out + k * step + second + kBlock);
    }
}

CPM_INLINE void combine_columns(const float* from, int64_t step, int tile, float* z) {
    const int64_t second = (tile / 2 + 1) * step;
    for (int k = 0; k <= tile / 2; ++k) {
        const Complex a = load_complex(from + k * step), b = load_complex(from + k * step + second);
        store_complex(z + (tile - k) % tile * kComplex, {a.re + b.im, b.re - a.im});
        // This comes last, for k of 0 and t/2: their numbers are real, and both forms agree.
        store_complex(z + k * kComplex, {a.re - b.im, a.im + b.re});
    }
}

// A tile of one unit: its column in the strips at the tile's local cell 0, and its spectrum's place without the width
// of a block of frequencies. Tasks run over images, tiles across, tiles down, blocks, the last fastest.
struct ColumnTask {
    int64_t start;  // row of the strip at local cell 0, perhaps before it
    int64_t down, place;
    float* strip;  // row 0
};

CPM_INLINE ColumnTask column_task(const Columns& job, int64_t task) {
    const Strips& strips = job.strips;
    const int64_t block = task % strips.blocks, tile = task / strips.blocks;
    const int64_t down = job.spectra.first_down + tile % job.spectra.tiles_down, across = tile / job.spectra.tiles_down;
    return {down * job.down.step - job.down.first - strips.first_row, down, task,
            strips.data + job.unit * strips.unit_step + (across * strips.blocks + block) * strips.rows * kComplex};
}

template <typename Form>
CPM_INLINE void columns_forward_as(const Columns& job, int64_t begin, int64_t end) {
    const Dft dft = find_dft<>(job.tile), dft_out = find_dft<Form>(job.tile);
    const int64_t frequencies = unit_frequencies(job.tile, job.unit);
    alignas(64) float staged[kMaxTile * kComplex], z[kMaxTile * kComplex];
    for (int64_t index = begin; index < end; ++index) {
        const ColumnTask task = column_task(job, index);
        const Span cells = covered(job.down, task.down, job.tile, job.cover);
        const bool direct = cells.begin == 0 && cells.end == job.tile;
        const float* from = task.strip + task.start * kComplex;
        float* to = job.spectra.data + task.place * Form::kFloats;
        if (!direct) {
            for (int64_t i = 0; i < job.tile; ++i) {
                const bool taken = i >= cells.begin && i < cells.end;
                for (int lane = 0; lane < kComplex; lane += kLanes) {
                    store(staged + i * kComplex + lane, taken ? load(from + i * kComplex + lane) : Vector{});
                }
            }
            from = staged;
        }
        if (index + 1 < end) fetch<true>(to + Form::kFloats, frequencies, job.spectra.frequency_step, Form::kFloats);
        for (int lane = 0; lane < kBlock; lane += kLanes) {
            const float *re = from + lane, *im = re + kBlock;
            float* out = to + lane;
            if (job.unit == 0) {
                dft(re, im, kComplex, z + lane, z + kBlock + lane, kComplex);
                separate_columns<Form>(z + lane, job.tile, out, job.spectra.frequency_step);
            } else {
                dft_out(re, im, kComplex, out, out + kBlock, job.spectra.frequency_step);
            }
        }
    }
}

// In the form of the product's left side where all cells are covered; as complex blocks otherwise, for its right.
template <typename Left>
void columns_forward(const Columns& job, int64_t begin, int64_t end) {
    if (job.cover == Cover::all) {
        columns_forward_as<Left>(job, begin, end);
    } else {
        columns_forward_as<Complexes>(job, begin, end);
    }
}

void columns_inverse(const Columns& job, int64_t begin, int64_t end) {
    const Dft dft = find_dft<>(job.tile);
    const int64_t frequencies = unit_frequencies(job.tile, job.unit);
    alignas(64) float z[kMaxTile * kComplex];
    for (int64_t index = begin; index < end; ++index) {
        const ColumnTask task = column_task(job, index);
        const float* from = job.spectra.data + task.place * kComplex;
        if (index + 1 < end) fetch<false>(from + kComplex, frequencies, job.spectra.frequency_step, kComplex);
        const int64_t step = job.unit == 0 ? kComplex : job.spectra.frequency_step;
        for (int lane = 0; lane < kBlock; lane += kLanes) {
            const float* re = from + lane;
            if (job.unit == 0) {
                combine_columns(from + lane, job.spectra.frequency_step, job.tile, z + lane);
                re = z + lane;
            }
            dft(re + kBlock, re, step, z + kBlock + lane, z + lane, kComplex);
        }
        const Span outputs = covered(job.down, task.down, job.tile, Cover::outputs);
        float* to = task.strip + task.start * kComplex;
        for (int64_t i = outputs.begin * kComplex; i < outputs.end * kComplex; i += kLanes) store(to + i, load(z + i));
    }
}

}  // namespace
}  // namespace cpm::spectral
