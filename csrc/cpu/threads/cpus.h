// Parts of usable_cpus.
#pragma once

#include <string>

namespace cpm::threads {

// Returns the least CPU limit of the control groups named in `groups` (the text of /proc/self/cgroup) and of those
// above them, rounded up; their files are below `root`. Returns the largest int if there is no limit.
int quota_below(const std::string& root, const std::string& groups);

int quota_cpus();

}  // namespace cpm::threads
