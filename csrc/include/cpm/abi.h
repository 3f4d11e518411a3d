// The number of the interface between the Python code and this compiled module.
#pragma once

namespace cpm {

// Add one at every change of what csrc/bindings.cpp exports, here and in cpm_fast/ops/backend.py: an old module beside
// new Python code is then detected at import, not at the first call of a missing function.
constexpr int ABI = 13;

}  // namespace cpm
