// The pool runs every piece once, for any number of callers, in child processes too; and the CPUs that a process may
// use.

#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "../cpu/threads/cpus.h"
#include "../cpu/threads/seat.h"
#include "../cpu/threads/wait_word.h"
#include "check.h"
#include "cpm/copy_maps.h"
#include "cpm/threads.h"

#if defined(__linux__)
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

namespace {

using cpm::threads::parallel;

// Every piece runs exactly once, and no two threads are the same member at a time.
bool region_is_right(int members, int64_t pieces) {
    std::vector<int> taken(static_cast<size_t>(pieces));
    std::vector<std::atomic<int>> inside(static_cast<size_t>(members));
    std::atomic<bool> right{true};
    parallel(members, pieces, [&](int member, int64_t index) {
        if (member < 0 || member >= members || inside[member].fetch_add(1) != 0) right = false;
        ++taken[index];
        inside[member].fetch_sub(1);
    });
    for (const int count : taken) right = right && count == 1;
    return right;
}

void test_regions() {
    for (const int members : {1, 2, 3, 8, 200}) {
        for (const int64_t pieces : {0, 1, 2, 3, 7, 64, 1000}) CHECK(region_is_right(members, pieces));
    }
    CHECK(cpm::threads::started_workers() < cpm::threads::kMaxMembers);
}

void test_ranges_cover_all_tasks() {
    for (const int64_t tasks : {0, 1, 5, 8, 9, 1001}) {
        std::vector<int> taken(static_cast<size_t>(tasks));
        cpm::threads::parallel_ranges(2, tasks, [&](int, int64_t begin, int64_t end) {
            for (int64_t task = begin; task < end; ++task) ++taken[task];
        });
        for (const int count : taken) CHECK(count == 1);
    }
}

struct Taken {
    std::vector<std::atomic<int>> counts;
    explicit Taken(int64_t pieces) : counts(static_cast<size_t>(pieces)) {}

    static void take(void* self, int, int64_t index) { ++static_cast<Taken*>(self)->counts[static_cast<size_t>(index)]; }

    static void take_slowly(void* self, int member, int64_t index) {
        std::this_thread::sleep_for(std::chrono::microseconds(100));
        take(self, member, index);
    }

    bool begun() const { return !all(0); }

    bool all(int wanted) const {
        for (const std::atomic<int>& count : counts) {
            if (count != wanted) return false;
        }
        return true;
    }
};

void test_started_regions() {
    for (const int members : {-1, 1, 2, 3, 200}) {
        for (const int64_t pieces : {0, 1, 2, 7, 1000}) {
            Taken taken(pieces), left(pieces);
            {
                cpm::threads::StartedRegion region(members, pieces, Taken::take, &taken);
                cpm::threads::StartedRegion other(members, pieces, Taken::take, &left);
                CHECK(region_is_right(2, 20));
                region.finish();
                CHECK(taken.all(1));
                region.finish();
            }
            CHECK(taken.all(1) && left.all(1));
        }
    }
    // Other threads do it without the caller.
    Taken taken(100);
    cpm::threads::StartedRegion region(2, 100, Taken::take, &taken);
    for (int i = 0; i < 10'000 && !taken.all(1); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    CHECK(taken.all(1));
}

// There are more callers than slots; some call from within a piece.
void test_callers_at_once(int callers, int regions) {
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int caller = 0; caller < callers; ++caller) {
        threads.emplace_back([&, caller] {
            for (int i = 0; i < regions; ++i) {
                Taken taken(9);
                cpm::threads::StartedRegion region(2, 9, Taken::take, &taken);
                wrong += !region_is_right(2 + caller % 5, 1 + (i * 7 + caller) % 40);
                region.finish();
                wrong += !taken.all(1);
            }
            parallel(2, 4, [&](int, int64_t) { wrong += !region_is_right(3, 9); });
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0);
}

#if defined(__linux__)
// ThreadSanitizer does not follow a child of a process with threads.
#if !defined(__SANITIZE_THREAD__)
bool child_is_right() {
    const pid_t child = fork();
    // Runs in a child of a process with threads; _exit runs none of the parent's exit code.
    if (child == 0) _exit(cpm::threads::started_workers() == 0 && region_is_right(3, 100) ? 0 : 1);
    int status = -1;
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

// The child runs the pieces that its parent's threads may have had.
bool child_finishes(cpm::threads::StartedRegion& region, const Taken& taken) {
    const pid_t child = fork();
    if (child == 0) {
        region.finish();
        bool right = true;
        for (const std::atomic<int>& count : taken.counts) right = right && count >= 1;
        _exit(right ? 0 : 1);
    }
    int status = -1;
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

void test_forks(int count) {
    for (int i = 0; i < count / 10; ++i) {
        Taken taken(20);
        cpm::threads::StartedRegion region(3, 20, Taken::take_slowly, &taken);
        for (int wait = 0; wait < 10'000 && !taken.begun(); ++wait) {
            std::this_thread::sleep_for(std::chrono::microseconds(100));
        }
        CHECK(child_finishes(region, taken));
        region.finish();
        CHECK(taken.all(1));
    }
    CHECK(region_is_right(3, 100));
    std::atomic<bool> stop{false};
    std::thread busy([&] {
        while (!stop) region_is_right(2, 50);
    });
    for (int i = 0; i < count; ++i) CHECK(child_is_right());
    stop = true;
    busy.join();
}
#endif

void test_affinity() {
    cpu_set_t before, one;
    CHECK(sched_getaffinity(0, sizeof before, &before) == 0);
    int first = 0;
    while (!CPU_ISSET(first, &before)) ++first;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
    CHECK(cpm::usable_cpus() == 1);
    CHECK(region_is_right(4, 100));
    CHECK(sched_setaffinity(0, sizeof before, &before) == 0);
    CHECK(cpm::usable_cpus() <= CPU_COUNT(&before));
}

cpu_set_t mask_of_this_thread() {
    cpu_set_t mask;
    CHECK(sched_getaffinity(0, sizeof mask, &mask) == 0);
    return mask;
}

// A sleeper is woken on another processor than the one that is taken, and then has its own mask again, or the one that
// somebody else has given it.
void test_seat() {
    using cpm::threads::Seat;
    using cpm::threads::WaitWord;
    const cpu_set_t before = mask_of_this_thread();
    if (CPU_COUNT(&before) < 2) return;
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET(sched_getcpu(), &here);
    for (const bool changed : {false, true}) {
        Seat seat;
        WaitWord word, ready;
        std::atomic<pid_t> thread{0};
        cpu_set_t asleep, after;
        std::thread sleeper([&] {
            seat.sit();
            thread = static_cast<pid_t>(syscall(SYS_gettid));
            seat.sleeps();
            ready.value = 1;
            while (word.value.load() == 0) word.sleep_while(0);
            asleep = mask_of_this_thread();
            seat.wakes();
            after = mask_of_this_thread();
        });
        while (ready.value.load() == 0) std::this_thread::sleep_for(std::chrono::microseconds(100));
        CHECK(sched_setaffinity(0, sizeof here, &here) == 0);
        cpm::threads::Taken taken;
        seat.keep_from(taken);
        CHECK(CPU_COUNT(&taken.set()) == 2);
        if (changed) CHECK(sched_setaffinity(thread, sizeof here, &here) == 0);
        word.value = 1;
        word.wake(1);
        sleeper.join();
        CHECK(sched_setaffinity(0, sizeof before, &before) == 0);
        cpu_set_t common;
        CPU_AND(&common, &asleep, &here);
        CHECK(changed == (CPU_COUNT(&common) == 1));
        CHECK(CPU_EQUAL(&after, changed ? &here : &before));
    }
}

// Callers keep their masks, though they are moved while they sleep.
void test_masks_after_regions() {
    const cpu_set_t before = mask_of_this_thread();
    std::atomic<bool> same{true};
    std::vector<std::thread> callers;
    for (int i = 0; i < 3; ++i) {
        callers.emplace_back([&] {
            for (int call = 0; call < 60; ++call) {
                parallel(3, 9, [](int, int64_t) { std::this_thread::sleep_for(std::chrono::microseconds(200)); });
                const cpu_set_t mask = mask_of_this_thread();
                if (!CPU_EQUAL(&mask, &before)) same = false;
            }
        });
    }
    for (std::thread& caller : callers) caller.join();
    CHECK(same);
}

void test_runnable() {
    CHECK(cpm::threads::runnable_in("0.50 0.40 0.30 2/345 6789\n") == 2);
    for (const char* text : {"", "0.50 0.40", "0.50 0.40 0.30 x/345", "nonsense"}) {
        CHECK(cpm::threads::runnable_in(text) == -1);
    }
    CHECK(cpm::threads::has_cpus_for(1 << 20));
}

void write(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

void test_quota() {
    char name[] = "/tmp/cpm_quota_XXXXXX";
    const std::string root = mkdtemp(name);
    for (const char* folder : {"/a", "/a/b", "/cpu", "/cpu/job"}) mkdir((root + folder).c_str(), 0700);
    const int none = std::numeric_limits<int>::max();
    CHECK(cpm::threads::quota_below(root, "0::/a/b\n") == none);
    write(root + "/a/cpu.max", "350000 100000\n");
    write(root + "/a/b/cpu.max", "max 100000\n");
    CHECK(cpm::threads::quota_below(root, "0::/a/b\n") == 4);
    write(root + "/a/b/cpu.max", "50000 100000\n");
    CHECK(cpm::threads::quota_below(root, "0::/a/b\n") == 1);
    write(root + "/cpu/job/cpu.cfs_quota_us", "200000\n");
    write(root + "/cpu/job/cpu.cfs_period_us", "100000\n");
    CHECK(cpm::threads::quota_below(root, "4:cpu,cpuacct:/job\n3:memory:/a\n") == 2);
    write(root + "/cpu/job/cpu.cfs_quota_us", "-1\n");
    CHECK(cpm::threads::quota_below(root, "4:cpu,cpuacct:/job\n") == none);
    write(root + "/cpu.max", "300000 100000\n");
    CHECK(cpm::threads::quota_below(root, "0::/docker/1234\n") == 3);
    CHECK(cpm::threads::quota_below(root, "nonsense\n0:\n") == none);
    CHECK(std::system(("rm -r " + root).c_str()) == 0);
}
#endif

void test_copies() {
    const int64_t n = 2, c = 5, h = 64, w = 48;
    std::vector<float> plain(static_cast<size_t>(n * c * h * w));
    for (size_t i = 0; i < plain.size(); ++i) plain[i] = static_cast<float>(i);
    const int64_t pitch = c + 3;
    const cpm::CopyMaps to_last{{n, c, h, w}, {c * h * w, h * w, w, 1}, {h * w * pitch, 1, w * pitch, pitch}};
    const cpm::CopyMaps to_dense{{n, c, h, w}, {h * w * pitch, 1, w * pitch, pitch}, {h * w * c, 1, w * c, c}};
    const cpm::CopyMaps back{{n, c, h, w}, {h * w * c, 1, w * c, c}, {c * h * w, h * w, w, 1}};
    for (const int threads : {1, 2, 3}) {
        std::vector<float> last(static_cast<size_t>(n * h * w * pitch), -1.0f), dense(plain.size()), again(plain.size());
        cpm::copy_maps_cpu(plain.data(), last.data(), to_last, threads);
        int64_t untouched = 0;
        for (const float value : last) untouched += value == -1.0f;
        CHECK(untouched == n * h * w * 3);
        cpm::copy_maps_cpu(last.data(), dense.data(), to_dense, threads);
        cpm::copy_maps_cpu(dense.data(), again.data(), back, threads);
        CHECK(again == plain);
    }
}

}  // namespace

int main() {
    test_regions();
    test_ranges_cover_all_tasks();
    test_started_regions();
    test_callers_at_once(64, 40);
#if defined(__linux__)
#if !defined(__SANITIZE_THREAD__)
    // QEMU's user mode loses the threads of a process that forks.
    if (std::getenv("CPM_FAST_EMULATED") == nullptr) test_forks(200);
#endif
    test_affinity();
    test_seat();
    test_masks_after_regions();
    test_runnable();
    test_quota();
#endif
    test_copies();
    return cpm_test::finish();
}
