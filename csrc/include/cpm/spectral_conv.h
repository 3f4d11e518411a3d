// spectral_conv: same-size k x k convolution by overlap-save tiles in the frequency domain, and its gradients.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace cpm {

struct SpectralConv {
    int64_t images;   // N
    int64_t height;   // h
    int64_t width;    // w
    int64_t inputs;   // C
    int64_t outputs;  // O
    int kernel;       // k, odd, at most 15
    int tile;         // t, one of spectral_tiles
    // Floats from one cell of x or out to the next, for maps that are channels of a wider one; 0: they lie side by side.
    int64_t x_pitch = 0;
    int64_t out_pitch = 0;
    // Side of the windows, two cells apart, whose maximum is all that is written: 2 or 3, with h and w even; 0: none.
    int pool = 0;
    int pool_padding = 0;  // cells that the first window begins before the map: 0, or 1 of 3
    bool bf16 = false;     // whether the spectra of spectral_conv_cpu are bfloat16; its products may round those of maps so
};

// The values of a map x that count; all others count as 0.
struct Gate {
    // Floats like x: a value counts where this is above 0, as in a gradient that comes back through ReLU. Null: all count.
    // With `side`, bytes like x, which then holds one value for each window of a maximum pool, [N, h/2, w/2, C]: a value
    // counts at the cell that the byte tells, 1 + its place in the window, row by row, or nowhere if that is 0.
    const void* at;
    int side, padding;  // of the windows, as `pool` and `pool_padding` above

    Gate(const void* at = nullptr, int side = 0, int padding = 0) : at(at), side(side), padding(padding) {}

    // The gate of what follows so many values.
    Gate after(int64_t values) const {
        if (at == nullptr) return {};
        return {static_cast<const unsigned char*>(at) + values * (side == 0 ? static_cast<int64_t>(sizeof(float)) : 1),
                side, padding};
    }
    // The cells of the map for each value.
    int64_t cells() const { return side == 0 ? 1 : 4; }
};

// The tile sizes there are, ascending; the last is followed by 0.
const int* spectral_tiles();

// Floats of the spectra of a weight with C inputs and O outputs, C and O exchanged for an adjoint.
int64_t spectra_floats(int64_t outputs, int64_t inputs, int kernel, int tile);

// weight   [O, C, k, k]
// spectra  [t/2, ceil(O / 16), C, k, 2, 16], written in full: frequencies along x of the k rows, real and imaginary
//          parts of 16 outputs, and of 0 where there is none. With `adjoint` they are of the transposed convolution,
//          [t/2, ceil(C / 16), O, k, 2, 16].
//
// Parallel over outputs and inputs. Throws std::invalid_argument for sizes that are negative, overflow or do not exist.
void transform_weight_cpu(const float* weight, float* spectra, int64_t outputs, int64_t inputs, int kernel, int tile,
                          bool adjoint, int threads);

// Floats of workspace that spectral_conv_cpu needs: `budget` bytes at most for what grows with the tiles that go together,
// unless one row of tiles and 16 outputs need more, and half a megabyte or a little more a thread for weights.
int64_t spectral_workspace(const SpectralConv& params, int64_t budget, int threads);

// x        [N, h, w, C], a cell every x_pitch floats
// gate     which values of x count; with windows x is [N, h/2, w/2, C]
// spectra  [t/2, ceil(O / 16), C, k, 2, 16] of transform_weight_cpu, rounded to bfloat16 with bf16
// bias     [O], or null
// out      [N, h, w, O], or [N, h/2, w/2, O] with pool, a cell every out_pitch floats, written in full; with relu at
//          least 0, and NaN stays; a window that the map's border cuts has only the cells within
// places   [N, h/2, w/2, O] with pool and ReLU and no wider pitch, or null: where the maxima were, as `Gate` reads them;
//          the first of equal ones, and 0 for a maximum of 0
//
// Returns the images that must be done in another way, whose outputs tiles would get wrong: x is not finite, or its largest
// magnitude is more than 8192 times that of a block of (k + 1) / 2 x (k + 1) / 2 cells, all channels together, that is not
// all 0; or sums are not finite. An image's place in the batch and its scale do not matter.
//
// The others contiguous; `workspace` of as many floats as spectral_workspace says for the same params, budget and threads. Any
// number of threads gives the same bits. Throws std::invalid_argument as above; does nothing when out is empty.
std::vector<int64_t> spectral_conv_cpu(const float* x, const Gate& gate, const void* spectra, const float* bias,
                                       float* out, const SpectralConv& params, bool relu, float* workspace,
                                       int64_t budget, int threads, unsigned char* places = nullptr);

// Floats of workspace that spectral_weight_gradient_cpu needs: likewise, but the budget is for one thread, and a further
// one takes some columns of spectra; and as much as the weight's spectra take.
int64_t spectral_gradient_workspace(const SpectralConv& params, int64_t budget, int threads);

// gradient  [N, h, w, O], in the output of spectral_conv; all contiguous
// gate      which values of gradient count; with windows gradient is [N, h/2, w/2, O]
// x         [N, h, w, C]
// dweight   [O, C, k, k], written in full
// dbias     [O], written in full
//
// The gradient in x is spectral_conv_cpu itself, of `gradient` and `gate` with adjoint spectra. Otherwise as above.
void spectral_weight_gradient_cpu(const float* gradient, const Gate& gate, const float* x, float* dweight,
                                  float* dbias, const SpectralConv& params, float* workspace, int64_t budget,
                                  int threads);

// Instruction sets that this machine can run, best first, separated by blanks; the one in use; and another choice, for
// every later call of any thread. CPM_FAST_SIMD sets the first. Throws std::invalid_argument for one that is not there.
std::string simd_choices();
std::string simd();
void use_simd(const std::string& name);

}  // namespace cpm
