/* fakekit.h - pairs of fakehost.h that come to be ready, and messages that can be told apart. */
#ifndef NX_TEST_FAKEKIT_H
#define NX_TEST_FAKEKIT_H

#include "check.h"
#include "fakehost.h"

#include <dirent.h>

static inline struct fake_pair *kit_open(const struct fake_options *options)
{
    struct fake_pair *pair = fake_open(options);

    assert_driven(fake_ready(pair) || fake_state(pair, 0) == FAKE_UNUSABLE || fake_state(pair, 1) == FAKE_UNUSABLE);
    if (!fake_ready(pair))
        fail_msg("%s%s", pair->node[0].link.why, pair->node[1].link.why);
    return pair;
}

/* That are open. */
static inline uint32_t kit_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    uint32_t n = 0;

    assert_non_null(dir);
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

/* ---- messages: the bytes follow from number and length ---- */

static inline void kit_fill(uint8_t *to, uint64_t number, size_t n)
{
    struct rng rng = {.state = number * 977 + n};
    size_t i = 0;

    for (; i + 8 <= n; i += 8) {
        uint64_t v = rng_next(&rng);

        memcpy(to + i, &v, 8);
    }
    for (; i < n; i++)
        to[i] = (uint8_t)i;
}

static inline nexar_status kit_send(struct fake_pair *pair, uint32_t rank, uint64_t number, uint8_t *payload, size_t n,
                                    bool must_copy)
{
    uint8_t head[NEXAR_BULK_HEAD_MAX];

    memset(head, (int)(number & 0x7f), sizeof(head));
    memcpy(head, &number, sizeof(number));
    kit_fill(payload, number, n);
    return fake_send(pair, rank, head, (uint32_t)(8 + number % 57), payload, n, must_copy);
}

/* The next message at `rank` is that one. */
static inline void kit_expect(struct fake_pair *pair, uint32_t rank, uint64_t number, size_t n)
{
    struct fake_message *m = fake_take(pair, rank);
    uint8_t *expected = malloc(n + 1);
    uint64_t got;

    assert_non_null(m);
    assert_non_null(expected);
    memcpy(&got, m->head, sizeof(got));
    assert_int_equal(got, number);
    assert_int_equal(m->head_nbytes, 8 + number % 57);
    assert_int_equal(m->nbytes, n);
    kit_fill(expected, number, n);
    assert_memory_equal(m->payload, expected, n);
    free(expected);
    fake_free(m);
}

#endif
