// Helpers of the unit tests: CHECK counts and prints failures, finish() is main's result.
#pragma once

#include <cstdio>

namespace cpm_test {

inline int& failures() {
    static int count = 0;
    return count;
}

inline void check(bool holds, const char* claim, const char* file, int line) {
    if (holds) return;
    ++failures();
    std::fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, claim);
}

template <typename Error, typename Action>
bool throws(Action action) {
    try {
        action();
    } catch (const Error&) {
        return true;
    }
    return false;
}

inline int finish() { return failures() == 0 ? 0 : 1; }

}  // namespace cpm_test

#define CHECK(claim) cpm_test::check((claim), #claim, __FILE__, __LINE__)
