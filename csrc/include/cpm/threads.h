// The pool that all CPU ops share. See cpu/threads/pool.cpp.
#pragma once

#include <cstdint>

namespace cpm {

// The number of CPUs that this process may use by its affinity mask and the CPU quota of its control groups.
int usable_cpus();

namespace threads {

// The most threads that take part in one region, including the caller.
constexpr int kMaxMembers = 128;

using Piece = void (*)(void* context, int member, int64_t index);

// Calls piece(context, member, index) once for every index in [0, pieces), and returns when all calls have returned. At
// most `members` threads take part, the caller as member 0. One member is one thread for the whole region, so it may
// own a place in memory. Pieces must not throw. Any number of threads may call this at once, and so may pieces.
void run_pieces(int members, int64_t pieces, Piece piece, void* context);

// A region that the other threads begin while the caller does something else; the caller takes part in its end.
class StartedRegion {
public:
    // As run_pieces, whose pieces must not be changed by running twice: after a fork the child runs all of them again.
    StartedRegion(int members, int64_t pieces, Piece piece, void* context);
    ~StartedRegion() { finish(); }
    StartedRegion(const StartedRegion&) = delete;
    StartedRegion& operator=(const StartedRegion&) = delete;

    // Takes pieces until none is left, and returns when all calls have returned. Later calls do nothing.
    void finish();

private:
    int64_t pieces_;
    Piece piece_;
    void *context_, *pool_ = nullptr, *region_ = nullptr;  // region: null if no other thread takes part
    bool finished_ = false;
};

template <typename Action>
void parallel(int members, int64_t pieces, const Action& action) {
    if (members <= 1 || pieces <= 1) {
        for (int64_t index = 0; index < pieces; ++index) action(0, index);
        return;
    }
    run_pieces(
        members, pieces,
        [](void* context, int member, int64_t index) { (*static_cast<const Action*>(context))(member, index); },
        const_cast<Action*>(&action));
}

// Pieces per member of a shared range: a thread that the system has not scheduled delays the others by at most one
// piece.
constexpr int kPiecesPerMember = 4;

// Calls action(member, begin, end) over pieces of [0, tasks).
template <typename Action>
void parallel_ranges(int members, int64_t tasks, const Action& action) {
    if (tasks <= 0) return;
    const int64_t wanted = members <= 1 ? 1 : int64_t{members} * kPiecesPerMember;
    const int64_t pieces = wanted < tasks ? wanted : tasks;
    parallel(members, pieces, [&](int member, int64_t piece) {
        action(member, tasks * piece / pieces, tasks * (piece + 1) / pieces);
    });
}

// Threads that the pool has started in this process.
int started_workers();

}  // namespace threads
}  // namespace cpm
