/* One lane is filled to its limit by a receiver that does not read; control messages, remote calls, all other lanes and
 * tags, and collectives go on, in both directions, and memory stays within its limits all the time.
 *
 * Takes 60 seconds if NX_TEST_FULL is set and not empty, else 5. */
#include "traffic_kit.h"

#include "net/peer.h"

enum { FULL_TAG = 7777, LARGE = 200000, LANE = 4 << 20 };

static const nexar_config config = {
    .size = sizeof(config), .peer_timeout_ns = 20 * NX_S, .lane_bytes = LANE, .lane_messages = 256};

static nx_time duration(void)
{
    const char *full = getenv("NX_TEST_FULL");

    return full != NULL && full[0] != '\0' ? 60 * NX_S : 5 * NX_S;
}

enum { STUCK = 8, PENDING = 512 };

/* What is sent to nobody, until its key is held back and nothing more leaves. */
struct flood {
    size_t size; /* of a message */
    bool tagged; /* on the raw lane of a tag; else between ranks */
    uint32_t sent;
    nexar_op *op[PENDING]; /* sends that are not done, and their memory */
    uint8_t *bytes[PENDING];
    uint32_t pending;
    uint32_t leaving; /* of these, begun before the key was held back: they may be done in time */
};

static uint32_t held_keys(nexar_comm *comm)
{
    struct nx_peer *peer = comm->net->peer[1 - nexar_comm_rank(comm)];
    uint32_t n;

    nx_lock(&peer->lock);
    n = peer->held;
    nx_unlock(&peer->lock);
    return n;
}

static void flood_one(struct flood *f, nexar_comm *comm)
{
    uint8_t *bytes = calloc(1, f->size);
    nexar_op *op;
    nexar_status st;

    must(bytes != NULL && f->sent < 100000 && f->pending < PENDING); /* it does get full */
    memcpy(bytes, &f->sent, sizeof(f->sent));
    if (f->tagged)
        st = nexar_conn_send_raw_tagged(peer_of(comm), FULL_TAG, bytes, f->size, NULL, &op);
    else
        st = nexar_send(comm, bytes, f->size, 1 - nexar_comm_rank(comm), FULL_TAG, NULL, &op);
    must(st == NEXAR_OK);
    f->sent++;
    if (nexar_op_wait(op, NX_MS) == NEXAR_OK) {
        nexar_op_close(op);
        free(bytes);
    } else {
        f->bytes[f->pending] = bytes;
        f->op[f->pending++] = op;
    }
}

static void fill_up(struct flood *f, nexar_comm *comm)
{
    uint32_t before = held_keys(comm);

    while (held_keys(comm) == before)
        flood_one(f, comm);
    f->leaving = f->pending;
    for (int i = 0; i < STUCK; i++)
        flood_one(f, comm);
    must(f->pending == f->leaving + STUCK);
}

static void check_stuck(const struct flood *f)
{
    for (uint32_t i = f->leaving; i < f->pending; i++)
        must(nexar_op_test(f->op[i]) == NEXAR_EAGAIN);
}

static void close_pending(struct flood *f)
{
    must(nexar_op_wait_all(f->op, f->pending, CHECK_PATIENCE) == NEXAR_OK);
    for (uint32_t i = 0; i < f->pending; i++) {
        nexar_op_close(f->op[i]);
        free(f->bytes[i]);
    }
}

/* All of it is there, in order. */
static void drain(const struct flood *f, nexar_comm *comm)
{
    uint8_t *into = malloc(f->size);

    must(into != NULL);
    for (uint32_t i = 0; i < f->sent; i++) {
        nexar_recv_info info;
        nexar_status st;
        uint32_t number;

        if (f->tagged)
            st = nexar_conn_recv_raw_tagged(peer_of(comm), FULL_TAG, into, f->size, &info, NULL, NULL);
        else
            st = nexar_recv(comm, into, f->size, 1 - nexar_comm_rank(comm), FULL_TAG, &info, NULL);
        memcpy(&number, into, sizeof(number));
        must(st == NEXAR_OK && info.nbytes == f->size && number == i);
    }
    free(into);
}

static uint64_t memory(void)
{
    struct nx_mem_stats stats;

    nx_mem_stats(&stats);
    return stats.bytes;
}

/* Both ranks are in this process: what both may keep of each other's, what may be on its way, and some for records. */
static const uint64_t allowed = 2 * (3 * (uint64_t)LANE + (24 << 20)) + (16 << 20);

static struct flood small = {.size = 1000, .tagged = true}, large = {.size = 300000};
static uint64_t baseline;
static _Atomic uint32_t turns[2];

static void run(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm), goes_on = 1;
    uint8_t *scratch = calloc(2, LARGE);
    nx_time until;

    (void)arg;
    must(scratch != NULL);
    if (rank == 0) {
        fill_up(&small, comm);
        fill_up(&large, comm);
    }
    must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
    must(rank == 0 || atomic_load(&lane_stats(comm)->held) >= 2);
    until = nx_now() + duration();
    while (goes_on != 0) {
        all_lanes_work(comm, turns[rank], scratch, turns[rank] % 10 == 0 ? LARGE : 64);
        must(memory() < baseline + allowed);
        must(atomic_load(&lane_stats(comm)->unread_bytes) <= 3 * (uint64_t)LANE);
        turns[rank]++;
        goes_on = nx_now() < until; /* as rank 0 says */
        must(nexar_broadcast(comm, &goes_on, 1, NEXAR_UINT32, 0, NULL, NULL) == NEXAR_OK);
    }
    if (rank == 0) {
        check_stuck(&small);
        check_stuck(&large);
    }
    must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
    if (rank == 1) {
        drain(&large, comm);
        drain(&small, comm);
    } else {
        close_pending(&small);
        close_pending(&large);
    }
    free(scratch);
}

static void test_o2_a_full_lane_stops_nothing_else(void **state)
{
    struct job job;

    (void)state;
    job_local(&job, 2, &config);
    job_works(&job);
    baseline = memory();
    job_each(&job, run, NULL);
    print_message("%u small and %u large messages filled two keys; %u turns\n", small.sent, large.sent, turns[0]);
    assert_true(turns[0] > 50);
    assert_int_equal(turns[0], turns[1]);
    assert_true(small.sent > 100 && large.sent > 10);
    job_close(&job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_o2_a_full_lane_stops_nothing_else)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
