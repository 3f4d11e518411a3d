// A 32-bit number; threads can sleep until it changes.
#pragma once

#include <atomic>
#include <cstdint>

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#else
#include <condition_variable>
#include <mutex>
#endif

namespace cpm::threads {

class WaitWord {
public:
    std::atomic<uint32_t> value{0};

    // Sleeps while value is `seen`; may return early.
    void sleep_while(uint32_t seen) {
#if defined(__linux__)
        syscall(SYS_futex, address(), FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
#else
        std::unique_lock<std::mutex> lock(mutex_);
        if (value.load() == seen) changed_.wait(lock);
#endif
    }

    // Wakes up to `count` sleepers; call it after value has changed.
    void wake(int count) {
#if defined(__linux__)
        syscall(SYS_futex, address(), FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0);
#else
        // While this thread holds the lock, no thread is between its check of value and its sleep.
        std::lock_guard<std::mutex> lock(mutex_);
        for (int i = 0; i < count; ++i) changed_.notify_one();
#endif
    }

private:
#if defined(__linux__)
    uint32_t* address() { return reinterpret_cast<uint32_t*>(&value); }
    static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t), "a futex is a plain 32-bit number");
#else
    std::mutex mutex_;
    std::condition_variable changed_;
#endif
};

}  // namespace cpm::threads
