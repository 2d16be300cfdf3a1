// Tasks on several threads: those of the OpenMP runtime that the caller already has, else threads of their own.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace bench {

// Whether denormal numbers count as zero is a setting of each thread.
inline std::uint64_t float_mode() {
#if defined(__SSE__)
    return _mm_getcsr();
#elif defined(__aarch64__)
    std::uint64_t mode;
    asm volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
#else
    return 0;
#endif
}

inline void set_float_mode(std::uint64_t mode) {
#if defined(__SSE__)
    _mm_setcsr(static_cast<unsigned>(mode));
#elif defined(__aarch64__)
    asm volatile("msr fpcr, %0" : : "r"(mode));
#else
    (void)mode;
#endif
}

// GOMP_parallel of GNU's OpenMP runtime, which LLVM's and Intel's have too: body(data) on so many threads at once.
using Launch = void (*)(void (*body)(void*), void* data, unsigned threads, unsigned flags);

struct Team {
    Launch launch = nullptr;  // null: threads of their own
    int threads = 1;
};

// body(task) for every task below `tasks`, each once, on any thread; with the caller's treatment of denormal numbers.
template <typename Body> void for_each_task(const Team& team, std::size_t tasks, const Body& body) {
    if (team.threads <= 1 || tasks <= 1) {
        for (std::size_t task = 0; task < tasks; ++task) body(task);
        return;
    }
    struct Shared {
        const Body& body;
        std::size_t tasks;
        std::uint64_t mode;
        std::atomic<std::size_t> next{0};
    } shared{body, tasks, float_mode()};
    auto work = [](void* data) {
        auto& all = *static_cast<Shared*>(data);
        const std::uint64_t own = float_mode();
        set_float_mode(all.mode);
        for (std::size_t task; (task = all.next.fetch_add(1)) < all.tasks;) all.body(task);
        set_float_mode(own);
    };
    const unsigned threads = unsigned(std::min<std::size_t>(std::size_t(team.threads), tasks));
    if (team.launch) return team.launch(work, &shared, threads, 0);
    std::vector<std::thread> others;
    for (unsigned i = 1; i < threads; ++i) others.emplace_back(work, &shared);
    work(&shared);
    for (auto& other : others) other.join();
}

}  // namespace bench
