/* Messages between two ranks by the public calls: order, matching, oneself, sizes, probing, ops and groups of them. */
#include "job.h"

#include "rng.h"

static const uint32_t sizes[] = {1, 2, 3, 5, 8};
static const size_t lengths[] = {0, 1, 100, 16384, 16385, 65536, 65537, 1000003};

enum { LENGTHS = sizeof(lengths) / sizeof(lengths[0]), LONGEST = 1000003 };

static void on_all_sizes(void (*fn)(nexar_comm *comm, void *arg))
{
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct job job;

        job_local(&job, sizes[i], NULL);
        job_each(&job, fn, NULL);
        job_close(&job);
    }
}

static void fill(uint8_t *bytes, size_t n, uint64_t seed)
{
    struct rng rng = {seed};

    rng_fill(&rng, bytes, n);
}

static bool is_filled(const uint8_t *bytes, size_t n, uint64_t seed)
{
    struct rng rng = {seed};

    for (size_t i = 0; i < n; i++) {
        if (bytes[i] != (uint8_t)rng_next(&rng))
            return false;
    }
    return true;
}

static bool info_is(const nexar_recv_info *info, uint32_t source, uint32_t tag, size_t nbytes)
{
    return info->source == source && info->tag == tag && info->nbytes == nbytes;
}

/* ---- rings ---- */

/* Each rank sends to the next, and the last to the first: of a job of one rank, to itself. */
static void ring(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm), size = nexar_comm_size(comm);
    uint32_t next = (rank + 1) % size, previous = (rank + size - 1) % size;
    uint8_t *out = malloc(LONGEST), *in = malloc(LONGEST);

    (void)arg;
    must(out != NULL && in != NULL);
    for (uint32_t k = 0; k < LENGTHS; k++) {
        nexar_recv_info info;
        nexar_op *ops[2];

        fill(out, lengths[k], rank);
        must(nexar_sendrecv(comm, out, lengths[k], next, k, in, LONGEST, previous, k, &info, NULL) == NEXAR_OK);
        must(info_is(&info, previous, k, lengths[k]) && is_filled(in, lengths[k], previous));
        memset(in, 0, LONGEST);
        /* The same as a group of ops. */
        must(nexar_send(comm, out, lengths[k], next, 100 + k, NULL, &ops[0]) == NEXAR_OK);
        must(nexar_recv_nb(comm, in, LONGEST, previous, 100 + k, NULL, &ops[1]) == NEXAR_OK);
        must(nexar_op_wait_all(ops, 2, NEXAR_FOREVER) == NEXAR_OK);
        must(nexar_op_recv_info(ops[1], &info) == NEXAR_OK && info_is(&info, previous, 100 + k, lengths[k]));
        must(nexar_op_recv_info(ops[0], &info) == NEXAR_EINVAL);
        must(is_filled(in, lengths[k], previous));
        nexar_op_close(ops[0]);
        nexar_op_close(ops[1]);
    }
    free(out);
    free(in);
}

static void test_rings(void **state)
{
    (void)state;
    on_all_sizes(ring);
}

/* ---- order ---- */

enum { MESSAGES = 300 };

static size_t length_of(uint32_t i)
{
    return lengths[1 + i % (LENGTHS - 2)]; /* all ways to travel, mixed */
}

/* All send to rank 0, with two tags; it takes the tags one after the other. */
static void to_the_first(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm), size = nexar_comm_size(comm);
    uint8_t *bytes = malloc(LONGEST);

    (void)arg;
    must(bytes != NULL);
    for (uint32_t i = 0; rank != 0 && i < MESSAGES; i++) {
        fill(bytes, length_of(i), rank * MESSAGES + i);
        must(nexar_send(comm, bytes, length_of(i), 0, i % 2, NULL, NULL) == NEXAR_OK);
    }
    for (uint32_t k = 0; rank == 0 && k < MESSAGES * (size - 1); k++) {
        uint32_t from = 1 + k % (size - 1), turn = k / (size - 1);
        uint32_t tag = turn >= MESSAGES / 2, i = 2 * (turn % (MESSAGES / 2)) + tag;
        nexar_recv_info info;

        must(nexar_recv(comm, bytes, LONGEST, from, tag, &info, NULL) == NEXAR_OK);
        must(info_is(&info, from, tag, length_of(i)) && is_filled(bytes, info.nbytes, from * MESSAGES + i));
    }
    free(bytes);
}

static void test_order(void **state)
{
    struct job job;

    (void)state;
    job_local(&job, 3, NULL);
    job_each(&job, to_the_first, NULL);
    job_close(&job);
}

/* ---- any source, any tag ---- */

static void anything(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm), size = nexar_comm_size(comm), next[JOB_RANKS] = {0};
    uint32_t bytes;

    (void)arg;
    for (uint32_t i = 0; i < 100; i++) {
        bytes = rank * 1000 + i;
        must(nexar_send(comm, &bytes, sizeof(bytes), 0, i % 7, NULL, NULL) == NEXAR_OK);
    }
    for (uint32_t k = 0; rank == 0 && k < 100 * size; k++) {
        nexar_recv_info seen, info;

        must(nexar_probe(comm, NEXAR_ANY, NEXAR_ANY, &seen, NULL) == NEXAR_OK);
        must(nexar_recv(comm, &bytes, sizeof(bytes), NEXAR_ANY, NEXAR_ANY, &info, NULL) == NEXAR_OK);
        must(info.source < size && info_is(&seen, info.source, info.tag, info.nbytes));
        must(bytes == info.source * 1000 + next[info.source] && info.tag == next[info.source] % 7);
        next[info.source]++; /* of each in the order in which it sent them */
    }
}

static void test_any_source_and_tag(void **state)
{
    (void)state;
    on_all_sizes(anything);
}

/* ---- sizes, probing ---- */

/* One that is too large stays where it is. */
static void too_large(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm);
    uint8_t *bytes = malloc(LONGEST);

    (void)arg;
    must(bytes != NULL);
    for (uint32_t k = 2; k < LENGTHS; k++) {
        nexar_op *op;
        nexar_recv_info info;

        if (rank == 1) {
            fill(bytes, lengths[k], k);
            must(nexar_send(comm, bytes, lengths[k], 0, k, NULL, NULL) == NEXAR_OK);
            must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
            continue;
        }
        memset(bytes, 0x55, LONGEST);
        /* Posted before it comes, or after. */
        must(nexar_recv_nb(comm, bytes, lengths[k] - 1, 1, k, NULL, &op) == NEXAR_OK);
        must_fail(nexar_op_wait(op, NEXAR_FOREVER), NEXAR_EMSGSIZE, 1, "recv from rank 1|it can still be received");
        nexar_op_close(op);
        must_fail(nexar_recv(comm, bytes, lengths[k] - 1, NEXAR_ANY, NEXAR_ANY, NULL, NULL), NEXAR_EMSGSIZE, 1,
                  "bytes, the buffer");
        must(bytes[0] == 0x55 && bytes[lengths[k] - 2] == 0x55);
        must(nexar_probe(comm, 1, k, &info, NULL) == NEXAR_OK && info_is(&info, 1, k, lengths[k]));
        must(nexar_recv(comm, bytes, lengths[k], 1, k, &info, NULL) == NEXAR_OK);
        must(is_filled(bytes, lengths[k], k) && info.nbytes == lengths[k]);
        must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
    }
    free(bytes);
}

static void test_too_large(void **state)
{
    struct job job;

    (void)state;
    job_local(&job, 2, NULL);
    job_each(&job, too_large, NULL);
    job_close(&job);
}

static void probing(nexar_comm *comm, void *arg)
{
    const nexar_call_opts now = {.size = sizeof(now), .timeout_ns = 1};
    uint32_t rank = nexar_comm_rank(comm), word = 42;
    nexar_recv_info info;

    (void)arg;
    if (rank == 0) {
        must_fail(nexar_probe(comm, 1, 5, &info, &now), NEXAR_ETIMEDOUT, NEXAR_NO_RANK, "probe: no such message");
        must(nexar_send(comm, NULL, 0, 1, 1, NULL, NULL) == NEXAR_OK); /* go */
        must(nexar_probe(comm, 1, 5, &info, NULL) == NEXAR_OK && info_is(&info, 1, 5, 4));
        must(nexar_probe(comm, 1, 5, NULL, &now) == NEXAR_OK); /* it is still there */
        must_fail(nexar_probe(comm, 1, 6, &info, &now), NEXAR_ETIMEDOUT, NEXAR_NO_RANK, "probe");
        must_fail(nexar_probe(comm, 0, NEXAR_ANY, &info, &now), NEXAR_ETIMEDOUT, NEXAR_NO_RANK, "probe");
        must(nexar_recv(comm, &word, sizeof(word), 1, 5, NULL, NULL) == NEXAR_OK && word == 43);
    } else {
        must(nexar_recv(comm, NULL, 0, 0, 1, NULL, NULL) == NEXAR_OK);
        word++;
        must(nexar_send(comm, &word, sizeof(word), 0, 5, NULL, NULL) == NEXAR_OK);
    }
}

static void test_probe(void **state)
{
    struct job job;

    (void)state;
    job_local(&job, 2, NULL);
    job_each(&job, probing, NULL);
    job_close(&job);
}

/* ---- any size, spaces ---- */

/* Into memory of the library, posted before the message comes or after. */
static void any_size(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm);
    uint8_t *bytes = malloc(LONGEST);

    (void)arg;
    must(bytes != NULL);
    for (uint32_t k = 0; k < LENGTHS; k++) {
        nexar_recv_info info;
        nexar_op *op, *other;
        nexar_iov got;

        if (rank == 1) {
            fill(bytes, lengths[k], k);
            for (uint32_t tag = 0; tag < 2; tag++)
                must(nexar_send(comm, bytes, lengths[k], 0, tag, NULL, NULL) == NEXAR_OK);
            must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
            continue;
        }
        for (uint32_t tag = 0; tag < 2; tag++) {
            must(nexar_recv_alloc_nb(comm, LONGEST, NEXAR_ANY, tag, NULL, &op) == NEXAR_OK);
            must(nexar_op_wait(op, NEXAR_FOREVER) == NEXAR_OK);
            must(nexar_op_recv_info(op, &info) == NEXAR_OK && info_is(&info, 1, tag, lengths[k]));
            if (tag == 1) { /* nobody takes it */
                nexar_op_close(op);
                break;
            }
            must(nexar_recv_take(op, &got) == NEXAR_OK && got.nbytes == lengths[k]);
            must((got.base == NULL) == (got.nbytes == 0) && is_filled(got.base, got.nbytes, k));
            nexar_free(got.base);
            if (lengths[k] != 0)
                must_fail(nexar_recv_take(op, &got), NEXAR_EINVAL, NEXAR_NO_RANK, "taken already");
            else
                must(nexar_recv_take(op, &got) == NEXAR_OK);
            must(nexar_recv_alloc_nb(comm, LONGEST, 1, 7, NULL, &other) == NEXAR_OK);
            must(nexar_recv_take(other, &got) == NEXAR_EAGAIN);
            nexar_op_close(other);
            nexar_op_close(op);
        }
        must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
    }
    free(bytes);
}

static void any_size_limits(nexar_comm *comm, void *arg)
{
    char bytes[100] = "one hundred";
    nexar_iov got;
    nexar_op *op;

    (void)arg;
    must(nexar_send(comm, bytes, 100, 0, 3, NULL, NULL) == NEXAR_OK);
    must(nexar_recv_alloc_nb(comm, 99, 0, 3, NULL, &op) == NEXAR_OK);
    must_fail(nexar_op_wait(op, NEXAR_FOREVER), NEXAR_EMSGSIZE, 0, "100 bytes|can still be received");
    must_fail(nexar_recv_take(op, &got), NEXAR_EINVAL, NEXAR_NO_RANK, "failed");
    nexar_op_close(op);
    must(nexar_recv_alloc_nb(comm, 100, NEXAR_ANY, NEXAR_ANY, NULL, &op) == NEXAR_OK);
    must(nexar_op_wait(op, NEXAR_FOREVER) == NEXAR_OK && nexar_recv_take(op, &got) == NEXAR_OK);
    must(got.nbytes == 100 && memcmp(got.base, bytes, 100) == 0);
    nexar_op_close(op);
    nexar_free(got.base);
    nexar_free(NULL);
    must(nexar_recv_nb(comm, bytes, 8, 0, 3, NULL, &op) == NEXAR_OK);
    must_fail(nexar_recv_take(op, &got), NEXAR_EINVAL, NEXAR_NO_RANK, "library's memory");
    nexar_op_close(op);
    must_fail(nexar_recv_take(NULL, &got), NEXAR_EINVAL, NEXAR_NO_RANK, "NULL");
    must_fail(nexar_recv_alloc_nb(comm, 8, 0, 3, NULL, NULL), NEXAR_EINVAL, NEXAR_NO_RANK, "nowhere");
    must_fail(nexar_recv_alloc_nb(comm, 8, 1, 3, NULL, &op), NEXAR_EINVAL, NEXAR_NO_RANK, "src 1");
}

/* The same rank, the same tag: what is sent in one space is nothing to another, whatever it waits for. */
static void spaces(nexar_comm *comm, void *arg)
{
    const nexar_call_opts mine = {.size = sizeof(mine), .space = 9};
    const nexar_call_opts now = {.size = sizeof(now), .timeout_ns = 1};
    const nexar_call_opts nine_now = {.size = sizeof(now), .timeout_ns = 1, .space = 9};
    uint32_t word = 1, got = 0;
    nexar_recv_info info;
    nexar_op *op;

    (void)arg;
    must(nexar_recv_nb(comm, &got, 4, NEXAR_ANY, NEXAR_ANY, NULL, &op) == NEXAR_OK);
    must(nexar_send(comm, &word, 4, 0, 5, &mine, NULL) == NEXAR_OK);
    must(nexar_op_test(op) == NEXAR_EAGAIN);
    must_fail(nexar_probe(comm, 0, 5, NULL, &now), NEXAR_ETIMEDOUT, NEXAR_NO_RANK, "no such message");
    must_fail(nexar_probe(comm, NEXAR_ANY, NEXAR_ANY, NULL, &now), NEXAR_ETIMEDOUT, NEXAR_NO_RANK, "no such message");
    must(nexar_probe(comm, NEXAR_ANY, NEXAR_ANY, &info, &nine_now) == NEXAR_OK && info_is(&info, 0, 5, 4));
    word = 2;
    must(nexar_send(comm, &word, 4, 0, 5, NULL, NULL) == NEXAR_OK);
    must(nexar_op_wait(op, NEXAR_FOREVER) == NEXAR_OK && got == 2);
    nexar_op_close(op);
    must(nexar_recv(comm, &got, 4, NEXAR_ANY, NEXAR_ANY, &info, &mine) == NEXAR_OK);
    must(got == 1 && info_is(&info, 0, 5, 4));
    must_fail(nexar_recv(comm, &got, 4, 0, NEXAR_ANY, NULL, &nine_now), NEXAR_ETIMEDOUT, 0, "any tag");
    must_fail(nexar_recv(comm, &got, 4, 0, 5, NULL, &nine_now), NEXAR_ETIMEDOUT, 0, "tag 5:");
}

static void test_any_size(void **state)
{
    struct job job;

    (void)state;
    job_local(&job, 2, NULL);
    job_each(&job, any_size, NULL);
    job_close(&job);
    job_local(&job, 1, NULL);
    job_each(&job, any_size_limits, NULL);
    job_close(&job);
}

static void test_spaces(void **state)
{
    struct job job;

    (void)state;
    job_local(&job, 1, NULL);
    job_each(&job, spaces, NULL);
    job_close(&job);
}

/* ---- groups ---- */

enum { GROUP = 64 };

/* Receives in any order, each with its own tag; what is done first is taken first. */
static void group(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm), other = 1 - rank, got[GROUP];
    nexar_op *ops[GROUP];
    bool seen[GROUP] = {false};

    (void)arg;
    for (uint32_t i = 0; i < GROUP; i++)
        must(nexar_recv_nb(comm, &got[i], sizeof(got[i]), other, i, NULL, &ops[i]) == NEXAR_OK);
    for (uint32_t i = 0; i < GROUP; i++) {
        uint32_t tag = (i * 29 + 7) % GROUP, word = tag * 3;

        must(nexar_send(comm, &word, sizeof(word), other, tag, NULL, NULL) == NEXAR_OK);
    }
    for (uint32_t left = GROUP; left > 0; left--) {
        nexar_op *rest[GROUP];
        size_t which[GROUP], n = 0, index;

        for (size_t i = 0; i < GROUP; i++) {
            which[n] = i;
            rest[n] = ops[i];
            n += !seen[i];
        }
        must(n == left && nexar_op_wait_any(rest, n, NEXAR_FOREVER, &index) == NEXAR_OK);
        must(nexar_op_test(rest[index]) == NEXAR_OK && got[which[index]] == which[index] * 3);
        seen[which[index]] = true;
        nexar_op_close(rest[index]);
    }
}

static void test_groups(void **state)
{
    struct job job;

    (void)state;
    job_local(&job, 2, NULL);
    job_each(&job, group, NULL);
    job_close(&job);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rings),     cmocka_unit_test(test_order),  cmocka_unit_test(test_any_source_and_tag),
        cmocka_unit_test(test_too_large), cmocka_unit_test(test_probe),  cmocka_unit_test(test_groups),
        cmocka_unit_test(test_any_size),  cmocka_unit_test(test_spaces),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
