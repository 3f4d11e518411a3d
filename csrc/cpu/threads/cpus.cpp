// The number of CPUs that this process may use. The affinity mask is read at every call, since it may change; the quota
// of the control groups is read once per process.

#include "cpus.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <thread>

#include "cpm/threads.h"

#if defined(__linux__)
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>
#endif

namespace cpm {
namespace threads {
namespace {

constexpr int kUnlimited = std::numeric_limits<int>::max();

int rounded_up(double quota, double period) {
    if (!(quota > 0.0) || !(period > 0.0)) return kUnlimited;
    return std::max(1, static_cast<int>(std::min(std::ceil(quota / period), 1e6)));
}

double number_in(const std::string& path) {
    std::ifstream file(path);
    double number = -1.0;
    return file >> number ? number : -1.0;
}

// The limit of one group: "max 100000" or "200000 100000" in cpu.max of version 2, two files in version 1.
int group_limit(const std::string& folder) {
    std::ifstream file(folder + "/cpu.max");
    std::string quota;
    double period = 0.0;
    if (file >> quota >> period) return quota == "max" ? kUnlimited : rounded_up(std::atof(quota.c_str()), period);
    return rounded_up(number_in(folder + "/cpu.cfs_quota_us"), number_in(folder + "/cpu.cfs_period_us"));
}

int affinity_count() {
#if defined(__linux__)
    // A machine with more than 1024 CPUs needs a larger mask than cpu_set_t.
    for (int cpus = 1024; cpus <= 1 << 16; cpus *= 4) {
        cpu_set_t* set = CPU_ALLOC(cpus);
        if (set == nullptr) break;
        const size_t bytes = CPU_ALLOC_SIZE(cpus);
        const bool known = sched_getaffinity(0, bytes, set) == 0;
        const int count = known ? CPU_COUNT_S(bytes, set) : 0;
        CPU_FREE(set);
        if (known) return std::max(count, 1);
    }
#endif
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace

int quota_below(const std::string& root, const std::string& groups) {
    std::istringstream lines(groups);
    std::string line;
    int limit = kUnlimited;
    // "0::/a/b" in version 2, "4:cpu,cpuacct:/a/b" in version 1.
    while (std::getline(lines, line)) {
        const size_t first = line.find(':'), second = line.find(':', first + 1);
        if (first == std::string::npos || second == std::string::npos) continue;
        const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
        const bool unified = controllers == ",,";
        if (!unified && controllers.find(",cpu,") == std::string::npos) continue;
        std::string group = line.substr(second + 1);
        // The limits of parent groups apply too. In a container the path may be that of the host, so the root always
        // counts.
        for (;;) {
            for (const char* mount : {"", "/cpu", "/cpu,cpuacct"}) limit = std::min(limit, group_limit(root + mount + group));
            const size_t slash = group.rfind('/');
            if (slash == std::string::npos || group.empty()) break;
            group.resize(slash);
        }
    }
    return limit;
}

int quota_cpus() {
#if defined(__linux__)
    static const int limit = [] {
        std::ifstream file("/proc/self/cgroup");
        std::stringstream groups;
        groups << file.rdbuf();
        return quota_below("/sys/fs/cgroup", groups.str());
    }();
    return limit;
#else
    return kUnlimited;
#endif
}

int runnable_in(const std::string& text) {
    int runnable = 0, all = 0;
    return std::sscanf(text.c_str(), "%*f %*f %*f %d/%d", &runnable, &all) == 2 ? runnable : -1;
}

bool has_cpus_for(int own) {
#if defined(__linux__)
    constexpr int64_t kNanoseconds = 1'000'000;
    static const int file = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
    static const long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    static std::atomic<int64_t> valid_until{0};
    static std::atomic<int> runnable{-1};
    const int64_t now = std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
    if (now >= valid_until.load(std::memory_order_relaxed)) {
        char text[64] = {};
        const bool known = file >= 0 && pread(file, text, sizeof(text) - 1, 0) > 0;
        runnable.store(known ? runnable_in(text) : -1, std::memory_order_relaxed);
        valid_until.store(now + kNanoseconds, std::memory_order_relaxed);
    }
    const int found = runnable.load(std::memory_order_relaxed);
    return found >= 0 && found <= std::max<long>(own, cpus);
#else
    static_cast<void>(own);
    return false;
#endif
}

}  // namespace threads

int usable_cpus() { return std::min(threads::affinity_count(), threads::quota_cpus()); }

}  // namespace cpm
