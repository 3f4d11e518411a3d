// Parts of usable_cpus.
#pragma once

#include <string>

namespace cpm::threads {

// Returns the least CPU limit of the control groups named in `groups` (the text of /proc/self/cgroup) and of those
// above them, rounded up; their files are below `root`. Returns the largest int if there is no limit.
int quota_below(const std::string& root, const std::string& groups);

int quota_cpus();

// Returns whether the caller's threads, `own` of them, have the processors that they can use to themselves: those that are
// runnable beyond so many, by /proc/loadavg, are others'. Their number may be a millisecond old. False where it can't be
// read.
bool has_cpus_for(int own);

// Returns the number of runnable threads in a text like /proc/loadavg, "0.5 0.4 0.3 2/345 6789"; -1 if there is none.
int runnable_in(const std::string& text);

}  // namespace cpm::threads
