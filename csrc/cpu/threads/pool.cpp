// An elastic pool: a region is a number of pieces, which any thread of the pool, including the caller, takes one by
// one. It ends when its pieces are done; no thread waits for one that has taken none. So a thread that the system has
// not scheduled delays the others by at most the one piece that it holds.
//
//     caller     opens a region, wakes sleepers, takes pieces, closes the region, waits for pieces that others hold;
//                for a StartedRegion it does something else before it takes pieces
//     worker     takes pieces of any open region | spins for the next one | sleeps
//     segments   [ member 0 | member 1 | ... ]   a member takes the pieces of its own first, then those of the others:
//                on a quiet machine a member gets the same pieces of every region, which are in its core's cache
//
// Regions live in a fixed number of slots, which are never freed: a worker that comes late to a slot finds no pieces, or
// another region. There is no lock that a thread could hold while it is not scheduled. A region that finds no slot runs
// on its caller alone.
//
// `python benchmarks/run.py --suite busy` measures it beside other programs (benchmarks/results/busy.json).

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <system_error>
#include <thread>

#include "cpm/threads.h"
#include "cpus.h"
#include "seat.h"
#include "wait_word.h"

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <signal.h>
#endif
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace cpm::threads {
namespace {

using Clock = std::chrono::steady_clock;

// The time that a worker spins after its last piece: longer than Python takes from one layer to the next (5 to 30 us),
// and short compared with a time slice.
constexpr auto kIdleSpin = std::chrono::microseconds(100);
// The time that the caller spins for pieces that others hold: about twice the time to be woken.
constexpr auto kFinishSpin = std::chrono::microseconds(50);
constexpr int kSlots = 32;
constexpr int kLine = 64;

void relax() {
#if defined(__x86_64__) || defined(_M_X64)
    _mm_pause();
#elif defined(__aarch64__) && defined(__GNUC__)
    __asm__ __volatile__("yield");
#endif
}

// Returns whether `done` became true within the time.
template <typename Done>
bool spin(std::chrono::microseconds limit, Done done) {
    if (done()) return true;
    if (usable_cpus() < 2) return false;
    const auto end = Clock::now() + limit;
    do {
        for (int i = 0; i < 32; ++i) {
            relax();
            if (done()) return true;
        }
    } while (Clock::now() < end);
    return false;
}

struct alignas(kLine) Segment {
    std::atomic<int64_t> next;
    int64_t end;
};

enum State : uint32_t { kRunning, kAwaited, kFinished };

// A region in its slot. The caller writes everything except the atomics before it opens the slot.
struct Region {
    Piece piece;
    void* context;
    int members;
    alignas(kLine) std::atomic<int> joined;
    std::atomic<int> users{0};  // threads that read this slot; it is not reused while there are any
    alignas(kLine) std::atomic<int64_t> remaining;
    WaitWord state;
    Seat seat;  // of the caller
    Segment segments[kMaxMembers];

    void fill(int members_wanted, int64_t pieces, Piece what, void* with) {
        piece = what;
        context = with;
        members = members_wanted;
        joined.store(1, std::memory_order_relaxed);
        remaining.store(pieces, std::memory_order_relaxed);
        state.value.store(kRunning, std::memory_order_relaxed);
        for (int m = 0; m < members; ++m) {
            segments[m].next.store(pieces * m / members, std::memory_order_relaxed);
            segments[m].end = pieces * (m + 1) / members;
        }
    }

    // Runs pieces until none is left. Returns whether the caller sleeps and must be woken.
    bool take_pieces(int member) {
        int64_t done = 0;
        for (int i = 0; i < members; ++i) {
            Segment& segment = segments[(member + i) % members];
            while (segment.next.load(std::memory_order_relaxed) < segment.end) {
                const int64_t index = segment.next.fetch_add(1, std::memory_order_relaxed);
                if (index >= segment.end) break;
                piece(context, member, index);
                ++done;
            }
        }
        if (done == 0 || remaining.fetch_sub(done, std::memory_order_acq_rel) != done) return false;
        return state.value.exchange(kFinished) == kAwaited;
    }

    void wait_for_others() {
        const auto finished = [this] { return state.value.load(std::memory_order_acquire) == kFinished; };
        if (spin(kFinishSpin, finished)) return;
        uint32_t expected = kRunning;
        state.value.compare_exchange_strong(expected, kAwaited);
        seat.sit();
        while (!finished()) {
            seat.sleeps();
            state.sleep_while(kAwaited);
            seat.wakes();
        }
    }
};

class Pool {
public:
    void run(int members, int64_t pieces, Piece piece, void* context) {
        if (Region* region = start(members, pieces, piece, context)) return finish(*region);
        for (int64_t index = 0; index < pieces; ++index) piece(context, 0, index);
    }

    // Opens a region for the workers; null if there is no slot for it.
    Region* start(int members, int64_t pieces, Piece piece, void* context) {
        start_workers(members - 1);
        const int slot = claim();
        if (slot < 0) return nullptr;
        Region& region = regions_[slot];
        region.fill(members, pieces, piece, context);
        open_.fetch_or(uint32_t{1} << slot);
        opened_.value.fetch_add(1);
        wake_workers(members - 1);
        return &region;
    }

    // Takes part in a region until its end, and frees its slot.
    void finish(Region& region) {
        const uint32_t bit = uint32_t{1} << (&region - regions_);
        region.take_pieces(0);
        open_.fetch_and(~bit);
        region.wait_for_others();
        claimed_.fetch_and(~bit);
    }

    int started() const { return workers_.load(); }

private:
    // Returns a slot that no caller owns and no worker reads, or -1.
    int claim() {
        uint32_t taken = claimed_.load();
        for (int slot = 0; slot < kSlots; ++slot) {
            const uint32_t bit = uint32_t{1} << slot;
            if ((taken & bit) != 0 || regions_[slot].users.load() != 0) continue;
            taken = claimed_.fetch_or(bit);
            if ((taken & bit) == 0) return slot;
        }
        return -1;
    }

    void start_workers(int wanted) {
        if (workers_.load(std::memory_order_relaxed) >= wanted) return;
        const std::lock_guard<std::mutex> lock(starting_);
        // If the system gives no more threads, that is no error: the others do the work.
        while (workers_.load() < wanted && start_worker()) workers_.fetch_add(1);
    }

    bool start_worker() {
#if defined(__unix__) || defined(__APPLE__)
        // A worker inherits the mask: signals go to the program's own threads.
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
#endif
        bool started = true;
        try {
            Seat& seat = seats_[workers_.load()];
            std::thread([this, &seat] { work(seat); }).detach();
        } catch (const std::system_error&) {
            started = false;
        }
#if defined(__unix__) || defined(__APPLE__)
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
#endif
        return started;
    }

    void wake_workers(int wanted) {
        const int asleep = sleepers_.load(), missing = wanted - spinning_.load();
        if (asleep <= 0 || missing <= 0) return;
        const int workers = workers_.load();
        if (has_cpus_for(1 + workers)) {
            // Any of the sleepers may be the ones that are woken.
            Taken taken;
            for (int i = 0; i < workers; ++i) seats_[i].keep_from(taken);
        }
        opened_.wake(std::min(missing, asleep));
    }

    void wake_caller(Region& region) {
        if (has_cpus_for(1 + workers_.load())) {
            Taken taken;
            region.seat.keep_from(taken);
        }
        region.state.wake(1);
    }

    [[noreturn]] void work(Seat& seat) {
        seat.sit();
        for (;;) {
            const uint32_t seen = opened_.value.load();
            if (help()) continue;
            const auto changed = [&] { return opened_.value.load(std::memory_order_acquire) != seen; };
            spinning_.fetch_add(1);
            const bool woken = spin(kIdleSpin, changed);
            spinning_.fetch_sub(1);
            if (woken) continue;
            sleepers_.fetch_add(1);
            seat.sleeps();
            opened_.sleep_while(seen);
            seat.wakes();
            sleepers_.fetch_sub(1);
        }
    }

    // Takes pieces of every open region; returns whether one had room for another member.
    bool help() {
        bool helped = false;
        for (uint32_t open = open_.load(), slot = 0; slot < kSlots; ++slot) {
            if ((open >> slot & 1) == 0) continue;
            Region& region = regions_[slot];
            region.users.fetch_add(1);
            // The slot is still open, or open again with another region; its contents stay until `users` is
            // decremented.
            if ((open_.load() >> slot & 1) != 0) {
                const int member = region.joined.fetch_add(1);
                if (member < region.members) {
                    if (region.take_pieces(member)) wake_caller(region);
                    helped = true;
                }
            }
            region.users.fetch_sub(1);
        }
        return helped;
    }

    alignas(kLine) std::atomic<uint32_t> open_{0}, claimed_{0};
    alignas(kLine) WaitWord opened_;
    alignas(kLine) std::atomic<int> sleepers_{0}, spinning_{0}, workers_{0};
    std::mutex starting_;
    Seat seats_[kMaxMembers];  // of the workers
    Region regions_[kSlots];
};

std::atomic<Pool*>& current() {
    // It is never destroyed: workers sleep in it until the process ends.
    static std::atomic<Pool*> pool{[] {
#if defined(__unix__) || defined(__APPLE__)
        // A child process has none of its parent's workers, and locks that they held are never released, so it begins
        // with a new pool.
        pthread_atfork(nullptr, nullptr, [] { current().store(new Pool); });
#endif
        return new Pool;
    }()};
    return pool;
}

// Returns how many of the members that are wanted may take part in so many pieces.
int fitting(int members, int64_t pieces) {
    return static_cast<int>(std::min<int64_t>({members < 1 ? 1 : members, kMaxMembers, pieces}));
}

}  // namespace

void run_pieces(int members, int64_t pieces, Piece piece, void* context) {
    if (pieces < 1) return;
    current().load()->run(fitting(members, pieces), pieces, piece, context);
}

StartedRegion::StartedRegion(int members, int64_t pieces, Piece piece, void* context)
    : pieces_(pieces), piece_(piece), context_(context) {
    members = fitting(members, pieces);
    if (members < 2) return;
    Pool* pool = current().load();
    pool_ = pool;
    region_ = pool->start(members, pieces, piece, context);
}

void StartedRegion::finish() {
    if (finished_) return;
    finished_ = true;
    Pool* pool = current().load();
    if (region_ != nullptr && pool == pool_) return pool->finish(*static_cast<Region*>(region_));
    for (int64_t index = 0; index < pieces_; ++index) piece_(context_, 0, index);
}

int started_workers() { return current().load()->started(); }

}  // namespace cpm::threads
