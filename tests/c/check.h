/* check.h - cmocka with what it needs, statuses as assertions, and waiting for a condition with a deadline. */
#ifndef NX_TEST_CHECK_H
#define NX_TEST_CHECK_H

#include "base/engine.h"
#include "base/mem.h"
#include "base/status.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#if defined(__has_feature) /* clang, which defines no macro for it */
#if __has_feature(address_sanitizer) && !defined(__SANITIZE_ADDRESS__)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif

/* By how much long tests are shortened, where every access to memory is watched or the whole processor emulated. */
#if defined(__SANITIZE_THREAD__) || defined(JOB_IS_SHORT)
enum { CHECK_SHORTER = 8 };
#elif defined(__SANITIZE_ADDRESS__)
enum { CHECK_SHORTER = 4 };
#else
enum { CHECK_SHORTER = 1 };
#endif

/* Sanitizers and busy machines are slow; a condition that never comes true costs a failed test this much, once. */
#define CHECK_PATIENCE (60 * NX_S)

#define assert_ok(call)                                    \
    do {                                                   \
        nexar_status ok_ = (call);                         \
        if (ok_ != NEXAR_OK)                               \
            fail_msg("%s: %s", #call, nexar_last_error()); \
    } while (0)

#define assert_status(call, wanted)                                                                \
    do {                                                                                           \
        nexar_status got_ = (call);                                                                \
        if (got_ != (wanted))                                                                      \
            fail_msg("%s: %s, not %s", #call, nexar_status_name(got_), nexar_status_name(wanted)); \
    } while (0)

/* Looks again and again until it is true. */
#define assert_eventually(condition)                                      \
    do {                                                                  \
        nx_time until_ = nx_now() + CHECK_PATIENCE;                       \
        while (!(condition)) {                                            \
            if (nx_now() > until_)                                        \
                fail_msg("it did not come true in time: %s", #condition); \
            poll(NULL, 0, 1);                                             \
        }                                                                 \
    } while (0)

/* The same, driving the engine meanwhile as a blocked caller does. */
#define assert_driven(condition)                                          \
    do {                                                                  \
        nx_time until_ = nx_now() + CHECK_PATIENCE;                       \
        while (!(condition)) {                                            \
            struct nx_waiter waiter_;                                     \
            if (nx_now() > until_)                                        \
                fail_msg("it did not come true in time: %s", #condition); \
            nx_waiter_init(&waiter_);                                     \
            nx_waiter_wait(&waiter_, nx_now() + NX_MS);                   \
        }                                                                 \
    } while (0)

static inline uint64_t live_blocks(void)
{
    struct nx_mem_stats stats;

    nx_mem_stats(&stats);
    return stats.blocks;
}

#endif
