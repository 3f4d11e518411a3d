// The sizes for which both forms of an op, CPU and CUDA, are tested: no part or person, one cell, tails, many images.
#pragma once

#include "cpm/gaussian_targets.h"
#include "cpm/resize_merge.h"

namespace cpm_test {

constexpr cpm::GaussianTargets kGaussianCases[] = {
    {1, 1, 14, 46, 46, 7.0, 8.0},  {3, 5, 14, 46, 46, 7.0, 8.0}, {2, 3, 5, 7, 61, 9.0, 4.0},
    {5, 2, 1, 61, 3, 21.0, 1.0},   {2, 4, 3, 1, 1, 7.0, 8.0},    {2, 0, 4, 9, 11, 7.0, 8.0},
    {3, 2, 0, 9, 11, 7.0, 8.0},    {2, 2, 3, 30, 30, 0.5, 8.0},  {2, 2, 2, 40, 40, 500.0, 8.0},
    {2, 6, 2, 33, 35, 2.3, 2.75},
};

constexpr cpm::ResizeMerge kResizeCases[] = {
    {1, 1, 1, 1, 1, 1, 1, 1},    {2, 3, 4, 7, 9, 61, 70, 2},  {1, 7, 2, 46, 46, 130, 129, 1},
    {3, 2, 2, 9, 1, 200, 3, 1},  {2, 2, 3, 30, 40, 11, 5, 1}, {1, 2, 3, 5, 5, 0, 9, 1},
};

constexpr cpm::ResizeMerge kMergeCases[] = {
    {2, 1, 4, 1, 1, 1, 1, 1},   {3, 2, 3, 1, 9, 5, 200, 3},  {2, 3, 15, 46, 46, 368, 368, 1},
    {1, 1, 2, 5, 7, 300, 1, 1}, {2, 5, 3, 64, 3, 33, 31, 2}, {1, 33, 2, 8, 8, 64, 64, 1},
};

}  // namespace cpm_test
