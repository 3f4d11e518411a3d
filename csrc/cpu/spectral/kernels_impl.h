// The table of this file's instruction set; included by avx512.cpp, avx2.cpp and portable.cpp, each compiled for its
// own.
#pragma once

#include "checksum.h"
#include "columns.h"
#include "direct.h"
#include "gradient.h"
#include "narrow.h"
#include "norm_pool.h"
#include "pooled_rows.h"
#include "product.h"
#include "range.h"
#include "rows.h"
#include "weights.h"
#include "winograd_outputs.h"

namespace cpm::spectral {
namespace {

constexpr Kernels table(const char* name) {
    return {name, kLanes, find_dft<>, read_rows, {kTriple, kTriple}, {kComplex, kComplex},
            {columns_forward<Triples>, columns_forward<Triples>}, {multiply, multiply}, columns_inverse, write_rows,
            write_pooled, transform_weight, {weight_columns<Complexes>, weight_columns<Complexes>}, gradient_columns,
            gradient_rows,
            {direct_cells<Floats>, direct_cells<Bfloat16>}, {direct_rows<Floats>, direct_rows<Bfloat16>},
            {winograd_read<Floats>, winograd_read<Bfloat16>},
            {winograd_multiply<Floats>, winograd_multiply<Bfloat16>}, winograd_write,
            {norm_sums<float>, norm_sums<uint16_t>}, {norm_write<float>, norm_write<uint16_t>},
            {norm_gradient_sums<float>, norm_gradient_sums<uint16_t>},
            {norm_gradient_write<float>, norm_gradient_write<uint16_t>},
            {norm_pool_write<float>, norm_pool_write<uint16_t>},
            {norm_pool_gradient_sums<float>, norm_pool_gradient_sums<uint16_t>},
            {norm_pool_gradient_write<float>, norm_pool_gradient_write<uint16_t>},
            {norm_pool_places<float>, norm_pool_places<uint16_t>},
            {norm_pool_gradient_places<float>, norm_pool_gradient_places<uint16_t>},
            narrow_conv, narrow_gradient, narrow_products, find_ranges, checksum};
}

}  // namespace
}  // namespace cpm::spectral
