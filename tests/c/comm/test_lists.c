/* Messages of several pieces: whatever the pieces on one side and on the other, the bytes are the same. */
#include "job.h"

#include "rng.h"

enum { PIECES = 40, MOST = 3 << 20, ROUNDS = 60 / JOB_SHORTER + 4 };

static uint8_t byte_of(uint32_t round, size_t i)
{
    return (uint8_t)(round * 31 + i * 7 + i / 251);
}

/* Cuts `nbytes` of memory into some pieces with gaps between them; some are empty. */
static size_t cut(uint8_t *memory, size_t nbytes, size_t most, struct rng *rng, nexar_iov *iov)
{
    size_t n = 1 + rng_below(rng, (uint32_t)most), at = 0;

    for (size_t i = 0; i < n; i++) {
        size_t left = nbytes - at, len = i + 1 == n ? left : rng_below(rng, (uint32_t)left + 1);

        if (i + 1 < n && rng_below(rng, 4) == 0)
            len = 0;
        iov[i] = (nexar_iov){.base = len == 0 && i % 2 == 0 ? NULL : memory + at + i, .nbytes = len};
        at += len;
    }
    return n;
}

static void fill(const nexar_iov *iov, size_t n, uint32_t round)
{
    size_t at = 0;

    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < iov[i].nbytes; k++)
            ((uint8_t *)iov[i].base)[k] = byte_of(round, at++);
    }
}

static void must_have(const nexar_iov *iov, size_t n, uint32_t round, size_t nbytes)
{
    size_t at = 0;

    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < iov[i].nbytes; k++, at++)
            must(((uint8_t *)iov[i].base)[k] == (at < nbytes ? byte_of(round, at) : 0x5a));
    }
}

/* Every rank sends to the next one and receives from the one before; the lists of both come from other numbers. */
static void exchange(nexar_comm *comm, void *arg)
{
    static const size_t sizes[] = {0, 1, 100, 5000, 65536, 65537, 400000, MOST};
    uint32_t rank = nexar_comm_rank(comm), size = nexar_comm_size(comm);
    uint32_t left = (rank + size - 1) % size, right = (rank + 1) % size;
    struct rng own = {rank + 7};
    uint8_t *out = malloc(MOST + PIECES), *in = malloc(MOST + 2 * PIECES + 100);

    (void)arg;
    must(out != NULL && in != NULL);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        size_t nbytes = sizes[round % 8], room = nbytes + (round % 3 == 0 ? 100 : 0), n, m;
        nexar_iov sent[PIECES], received[PIECES], checked[PIECES];
        nexar_recv_info info = {0};
        nexar_op *send, *recv;

        memset(in, 0x5a, MOST + 2 * PIECES + 100);
        n = cut(out, nbytes, round % 2 == 0 ? 5 : PIECES, &own, sent);
        m = cut(in, room, PIECES, &own, received);
        fill(sent, n, round);
        if (round % 4 == 3)
            must(nexar_sendv(comm, sent, n, right, round, NULL, &send) == NEXAR_OK); /* comes first, and is kept */
        must(nexar_recvv_nb(comm, received, m, left, round, NULL, &recv) == NEXAR_OK);
        if (round % 4 != 3)
            must(nexar_sendv(comm, sent, n, right, round, NULL, &send) == NEXAR_OK);
        memcpy(checked, received, sizeof(received));
        memset(sent, 0xff, sizeof(sent)); /* lists are not needed any more */
        memset(received, 0xff, sizeof(received));
        must(nexar_op_wait(send, NEXAR_FOREVER) == NEXAR_OK && nexar_op_wait(recv, NEXAR_FOREVER) == NEXAR_OK);
        must(nexar_op_recv_info(recv, &info) == NEXAR_OK && info.nbytes == nbytes && info.source == left);
        nexar_op_close(send);
        nexar_op_close(recv);
        must_have(checked, m, round, nbytes);
        for (size_t i = 0; i < nbytes; i++)
            out[i] = byte_of(round, i);
        must(nexar_send(comm, out, nbytes, right, 1000, NULL, &send) == NEXAR_OK); /* one piece, to be read by many */
        memset(in, 0x5a, MOST + 2 * PIECES + 100);
        m = cut(in, room, PIECES, &own, received);
        must(nexar_recvv(comm, received, m, left, 1000, &info, NULL) == NEXAR_OK && info.nbytes == nbytes);
        must_have(received, m, round, nbytes);
        must(nexar_op_wait(send, NEXAR_FOREVER) == NEXAR_OK);
        nexar_op_close(send);
    }
    free(out);
    free(in);
}

static void test_any_pieces(void **state)
{
    static const uint32_t sizes[] = {1, 2, 3};

    (void)state;
    for (size_t s = 0; s < 3; s++) {
        struct job job;

        job_local(&job, sizes[s], NULL);
        job_each(&job, exchange, NULL);
        job_works(&job);
        job_close(&job);
    }
}

/* A receive that is cancelled while it is written gives back what its pieces have got. */
static void cancel(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm), other = 1 - rank;
    struct rng own = {rank + 3};
    uint8_t *out = malloc(MOST), *in = malloc(MOST + PIECES), *again = malloc(MOST);

    (void)arg;
    must(out != NULL && in != NULL && again != NULL);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        nexar_iov whole = {.base = out, .nbytes = MOST / 4}, received[PIECES];
        size_t m = cut(in, MOST / 4, PIECES, &own, received);
        nexar_op *send, *recv;
        nexar_status st;

        fill(&whole, 1, round);
        must(nexar_recvv_nb(comm, received, m, other, round, NULL, &recv) == NEXAR_OK);
        must(nexar_sendv(comm, &whole, 1, other, round, NULL, &send) == NEXAR_OK);
        for (volatile size_t left = rng_below(&own, 600000); left > 0; left--)
            ;
        must(nexar_op_cancel(recv) == NEXAR_OK);
        st = nexar_op_wait(recv, NEXAR_FOREVER);
        nexar_op_close(recv);
        if (st != NEXAR_OK) {
            must(st == NEXAR_ECANCELLED);
            m = 1;
            received[0] = (nexar_iov){.base = again, .nbytes = MOST / 4};
            must(nexar_recv(comm, again, MOST / 4, other, round, NULL, NULL) == NEXAR_OK);
        }
        must_have(received, m, round, MOST / 4);
        must(nexar_op_wait(send, NEXAR_FOREVER) == NEXAR_OK);
        nexar_op_close(send);
    }
    free(out);
    free(in);
    free(again);
}

static void test_cancelled(void **state)
{
    struct job job;

    (void)state;
    job_local(&job, 2, NULL);
    job_each(&job, cancel, NULL);
    job_close(&job);
}

static void test_bad_input(void **state)
{
    char bytes[8];
    nexar_iov hole[] = {{bytes, 4}, {NULL, 4}}, endless[] = {{bytes, SIZE_MAX / 2}, {bytes, SIZE_MAX / 2}};
    nexar_iov twice[] = {{bytes, 5}, {bytes + 4, 4}}, fine[] = {{bytes, 4}, {bytes + 4, 4}};
    nexar_op *op = NULL;
    struct job job;
    nexar_comm *c;

    (void)state;
    job_local(&job, 1, NULL);
    c = job.comm[0];
    must_fail(nexar_sendv(NULL, fine, 2, 0, 0, NULL, NULL), NEXAR_EINVAL, JOB_ANY_PEER, "sendv|communicator is NULL");
    must_fail(nexar_sendv(c, NULL, 2, 0, 0, NULL, NULL), NEXAR_EINVAL, JOB_ANY_PEER, "sendv|the list is NULL");
    must_fail(nexar_sendv(c, fine, SIZE_MAX, 0, 0, NULL, NULL), NEXAR_EINVAL, JOB_ANY_PEER, "sendv|no list has");
    must_fail(nexar_sendv(c, hole, 2, 0, 0, NULL, &op), NEXAR_EINVAL, JOB_ANY_PEER, "sendv|piece 1 is NULL|4 bytes");
    assert_null(op);
    must_fail(nexar_sendv(c, endless, 2, 0, 0, NULL, NULL), NEXAR_EINVAL, JOB_ANY_PEER, "sendv|than memory can hold");
    must_fail(nexar_sendv(c, fine, 2, 1, 0, NULL, NULL), NEXAR_EINVAL, JOB_ANY_PEER, "sendv|dest 1");
    must_fail(nexar_sendv(c, fine, 2, 0, NEXAR_ANY, NULL, NULL), NEXAR_EINVAL, JOB_ANY_PEER, "sendv|the tag");
    must_fail(nexar_recvv(c, hole, 2, 0, 0, NULL, NULL), NEXAR_EINVAL, JOB_ANY_PEER, "recvv|piece 1 is NULL");
    must_fail(nexar_recvv(c, twice, 2, 0, 0, NULL, NULL), NEXAR_EINVAL, JOB_ANY_PEER, "recvv|overlap");
    must_fail(nexar_recvv(c, fine, 2, 3, 0, NULL, NULL), NEXAR_EINVAL, JOB_ANY_PEER, "recvv|src 3");
    must_fail(nexar_recvv_nb(c, fine, 2, 0, 0, NULL, NULL), NEXAR_EINVAL, JOB_ANY_PEER, "recvv|nowhere to put the op");
    must_fail(nexar_sendrecv(c, bytes, 5, 0, 0, bytes + 4, 4, 0, 0, NULL, NULL), NEXAR_EINVAL, JOB_ANY_PEER,
              "sendrecv|overlap");
    /* One that is too large stays, and nothing of it is written. */
    memcpy(bytes, "abcdefgh", 8);
    must(nexar_sendv(c, fine, 2, 0, 9, NULL, NULL) == NEXAR_OK);
    must_fail(nexar_recvv(c, fine, 1, 0, 9, NULL, NULL), NEXAR_EMSGSIZE, JOB_ANY_PEER, "8 bytes|4");
    must(nexar_recvv(c, twice + 1, 0, 0, 8, NULL,
                     &(nexar_call_opts){.size = sizeof(nexar_call_opts), .timeout_ns = 1}) == NEXAR_ETIMEDOUT);
    memset(bytes, 0, 8);
    must(nexar_recvv(c, fine, 2, 0, 9, NULL, NULL) == NEXAR_OK && memcmp(bytes, "abcdefgh", 8) == 0);
    job_close(&job);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_pieces),
        cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_bad_input),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
