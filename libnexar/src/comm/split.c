/* comm/split.c - communicators made from others: who is a member, which id, and that all ranks have it before one uses
 * it.
 *
 * Owner: the thread that waits.  Two collectives of the parent: all_gather of what each rank wants, from which each
 * computes the same answer; then, when its own part is open, all_reduce of how that went.  So nobody sends into a
 * communicator that is not there, and none is there on some of its ranks alone. */
#include "comm/comms.h"

#include "base/bytes.h"
#include "base/mem.h"
#include "coll/ask.h"
#include "coll/op.h"

#include <stdlib.h>
#include <string.h>

/* What a rank wants, 32 bytes: group [16], proposal u64, key i32, member u32. */
enum {
    GROUP = 0,
    PROPOSAL = 16,
    KEY = 24,
    MEMBER = 28,
    RECORD = 32,
};
_Static_assert(PROPOSAL - GROUP == NX_HOST_SIZE, "a host is a group");

enum phase {
    GATHERING,
    AGREEING,
    MADE,
    TAKEN,
    FAILED,
};

struct nexar_splitting {
    nexar_comm *parent; /* a reference */
    enum nx_coll call;
    nx_time begun, deadline;
    enum phase phase;
    nexar_op *op;
    int64_t vote, verdict;
    nexar_comm *child; /* owned */
    nexar_error error; /* FAILED: why; AGREEING: what went wrong here */
    uint8_t *all;      /* the records of all ranks */
    uint8_t own[RECORD];
};

/* ---- the two collectives ---- */

static nexar_call_opts rest_of_time(const nexar_splitting *s, nx_time now)
{
    nx_time left = s->deadline == NX_NEVER ? NEXAR_FOREVER : s->deadline - now;

    return (nexar_call_opts){.size = sizeof(nexar_call_opts), .timeout_ns = left < 1 ? 1 : left};
}

static nexar_status gather(nexar_splitting *s)
{
    nexar_call_opts opts = rest_of_time(s, s->begun);
    struct nx_ask ask;

    nx_ask_begin(&ask, s->parent, NX_COLL_ALL_GATHER, &s->op);
    ask.call = nx_coll_name(s->call);
    ask.args.call.coll = s->call;
    nx_ask_type(&ask, NEXAR_UINT8);
    nx_ask_count(&ask, RECORD, ask.shape.n);
    nx_ask_bind(&ask, s->own, s->all, false);
    return nx_ask_run(&ask, &opts, &s->op);
}

static nexar_status agree(nexar_splitting *s)
{
    nexar_call_opts opts = rest_of_time(s, nx_now());
    struct nx_ask ask;

    nx_ask_begin(&ask, s->parent, NX_COLL_ALL_REDUCE, &s->op);
    ask.call = nx_coll_name(s->call);
    ask.args.call.coll = s->call;
    nx_ask_reduction(&ask, NEXAR_INT64, NEXAR_MIN);
    nx_ask_vectors(&ask, &s->vote, &s->verdict, 1);
    return nx_ask_run(&ask, &opts, &s->op);
}

/* ---- members ---- */

struct member {
    int32_t key;
    uint32_t rank;
};

static int by_key(const void *x, const void *y)
{
    const struct member *a = x;
    const struct member *b = y;

    if (a->key != b->key)
        return a->key < b->key ? -1 : 1;
    return a->rank < b->rank ? -1 : 1;
}

static uint32_t list_members(const nexar_splitting *s, struct member *members)
{
    uint32_t n = 0;

    for (uint32_t rank = 0; rank < s->parent->size; rank++) {
        const uint8_t *record = s->all + (size_t)rank * RECORD;

        if (nx_load32(record + MEMBER) == 1 && memcmp(record + GROUP, s->own + GROUP, NX_HOST_SIZE) == 0)
            members[n++] = (struct member){.key = (int32_t)nx_load32(record + KEY), .rank = rank};
    }
    qsort(members, n, sizeof(*members), by_key);
    return n;
}

static nexar_status open_child(nexar_splitting *s, const struct member *members, uint32_t n)
{
    nexar_comm *parent = s->parent;
    uint32_t leader = members[0].rank, me = 0;
    uint64_t proposal = nx_load64(s->all + (size_t)leader * RECORD + PROPOSAL);
    uint32_t *world = nx_alloc(n * sizeof(*world));
    bool everybody = n == parent->net->config.size;

    if (world == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a communicator of %u ranks", n);
    for (uint32_t i = 0; i < n; i++) {
        world[i] = nx_comm_world(parent, members[i].rank);
        everybody = everybody && world[i] == i;
        if (members[i].rank == parent->rank)
            me = i;
    }
    if (proposal == 0 || proposal > NX_PROPOSAL_MAX) {
        nx_free(world);
        return nx_fail(NEXAR_EPROTO, "rank %u proposed an id that no rank proposes", leader);
    }
    proposal = nx_comm_id_make(world[0], proposal);
    if (everybody) {
        nx_free(world);
        world = NULL;
    }
    return nx_comms_open(parent->comms, proposal, me, n, world, &s->child);
}

static nexar_status make_child(nexar_splitting *s)
{
    struct member *members;
    nexar_status st;

    if (nx_load32(s->own + MEMBER) != 1)
        return NEXAR_OK;
    members = nx_alloc(s->parent->size * sizeof(*members));
    if (members == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for %u ranks", s->parent->size);
    st = open_child(s, members, list_members(s, members));
    nx_free(members);
    return st;
}

/* ---- the steps ---- */

/* Others begin a call by the rules of `coll`, to which this rank does not come. */
static nexar_status miss(nexar_comm *comm, enum nx_coll coll, struct nx_call call, uint64_t count)
{
    uint64_t nbytes = count * nexar_dtype_size(call.dtype) * (coll == NX_COLL_ALL_GATHER ? comm->size : 1);

    call.algorithm = nx_algorithm_number(nx_coll_choose(comm, coll, &call, nbytes));
    return nx_coll_missed(comm, &call, count, NULL);
}

/* With this thread's last error: this rank does not come to the second collective.  It counts all the same, since ranks
 * for which the first went well are in it; they are told. */
static void miss_agreement(nexar_comm *parent, enum nx_coll call)
{
    bool dead;

    nx_lock(&parent->lock);
    dead = parent->broken || atomic_load(&parent->closed);
    nx_unlock(&parent->lock);
    if (!dead)
        miss(parent, NX_COLL_ALL_REDUCE, (struct nx_call){.coll = call, .dtype = NEXAR_INT64, .op = NEXAR_MIN}, 1);
}

static nexar_status fail(nexar_splitting *s)
{
    s->error = *nx_last_error();
    if (s->phase == GATHERING)
        miss_agreement(s->parent, s->call);
    s->phase = FAILED;
    nexar_comm_close(s->child);
    s->child = NULL;
    return nx_fail_with(&s->error);
}

/* A status is at the upper end of its vote, the rank below it; the worst one wins. */
static int64_t vote_of(nexar_status st, uint32_t rank)
{
    return (int64_t)st * (INT64_C(1) << 32) + rank;
}

static nexar_status gathered(nexar_splitting *s)
{
    nexar_status st = make_child(s);

    if (st != NEXAR_OK)
        s->error = *nx_last_error();
    s->vote = vote_of(st, s->parent->rank);
    s->phase = AGREEING;
    st = agree(s);
    return st == NEXAR_OK ? st : fail(s);
}

static nexar_status agreed(nexar_splitting *s)
{
    uint32_t rank = (uint32_t)(uint64_t)s->verdict;
    nexar_status st = (nexar_status)((s->verdict - rank) / (INT64_C(1) << 32));
    const char *call = nx_coll_name(s->call), *why = nexar_status_text(st);
    nexar_error *error;

    if (st == NEXAR_OK) {
        s->phase = MADE;
        return NEXAR_OK;
    }
    if (strcmp(nexar_status_name(st), "?") == 0 || rank >= s->parent->size) {
        st = NEXAR_EPROTO;
        rank = NEXAR_NO_RANK;
        nx_fail(st, "%s: a rank reports a failure that there is none of", call);
    } else if (rank == s->parent->rank) {
        nx_fail(st, "%s: %s", call, s->error.text);
    } else {
        nx_fail_peer(st, rank, "%s: rank %u failed to make its part: %s", call, rank, why);
    }
    error = nx_last_error();
    nx_error_hint(error, "no rank has the communicator; the one from which it was to be made is as before");
    error->comm = s->parent->id;
    error->elapsed_ns = (uint64_t)(nx_now() - s->begun);
    memcpy(error->op, call, strlen(call) + 1);
    return fail(s);
}

/* ---- the calls ---- */

static void fill_own(nexar_splitting *s, nexar_split how, uint32_t color, int32_t key)
{
    struct nx_comms *comms = s->parent->comms;

    if (how == NEXAR_SPLIT_BY_HOST)
        memcpy(s->own + GROUP, comms->host, NX_HOST_SIZE);
    else if (how == NEXAR_SPLIT_BY_COLOR)
        nx_store32(s->own + GROUP, color);
    nx_store64(s->own + PROPOSAL, nx_comms_propose(comms));
    nx_store32(s->own + KEY, how == NEXAR_SPLIT_BY_COLOR ? (uint32_t)key : 0);
    nx_store32(s->own + MEMBER, how == NEXAR_SPLIT_BY_COLOR && color == NEXAR_NO_COLOR ? 0 : 1);
}

static nexar_status begin(nexar_comm *comm, nexar_split how, enum nx_coll call, uint32_t color, int32_t key,
                          const nexar_call_opts *opts, nexar_splitting **out)
{
    nexar_splitting *s;
    nx_time now, deadline;
    nexar_status st = nx_comm_check(comm, nx_coll_name(call), true);

    if (st == NEXAR_OK)
        st = nx_deadline(opts, comm->timeout, &now, &deadline);
    if (st != NEXAR_OK)
        return st;
    s = nx_calloc(1, sizeof(*s));
    if (s != NULL)
        s->all = nx_alloc((size_t)comm->size * RECORD);
    if (s == NULL || s->all == NULL) {
        nx_free(s);
        nx_fail(NEXAR_ENOMEM, "no memory for what %u ranks want", comm->size);
        st = miss(comm, NX_COLL_ALL_GATHER, (struct nx_call){.coll = call, .dtype = NEXAR_UINT8}, RECORD);
        miss_agreement(comm, call);
        return st;
    }
    nx_comm_hold(comm);
    s->parent = comm;
    s->call = call;
    s->begun = now;
    s->deadline = deadline;
    fill_own(s, how, color, key);
    st = gather(s);
    if (st != NEXAR_OK) {
        nexar_error error = *nx_last_error();

        if (st == NEXAR_ENOMEM) /* else it has not begun */
            miss_agreement(comm, call);
        s->phase = FAILED;
        nexar_split_close(s);
        return nx_fail_with(&error);
    }
    *out = s;
    return NEXAR_OK;
}

nexar_status nexar_split_start(nexar_comm *comm, nexar_split how, uint32_t color, int32_t key,
                               const nexar_call_opts *opts, nexar_splitting **out)
{
    static const enum nx_coll calls[] = {[NEXAR_SPLIT_BY_COLOR] = NX_COLL_SPLIT,
                                         [NEXAR_SPLIT_BY_HOST] = NX_COLL_SPLIT_BY_HOST,
                                         [NEXAR_SPLIT_DUP] = NX_COLL_DUP};

    if (out == NULL)
        return nx_fail(NEXAR_EINVAL, "split: there is no place for the communicator");
    *out = NULL;
    if ((size_t)how >= sizeof(calls) / sizeof(calls[0]))
        return nx_fail(NEXAR_EINVAL, "split: %d is no way to split", (int)how);
    return begin(comm, how, calls[how], color, key, opts, out);
}

nexar_status nexar_split_wait(nexar_splitting *s, int64_t timeout_ns, nexar_comm **out)
{
    nx_time until = nx_after(nx_now(), timeout_ns);
    nexar_status st = NEXAR_OK;

    if (out != NULL)
        *out = NULL;
    if (s == NULL || out == NULL)
        return nx_fail(NEXAR_EINVAL, "split: it was not started, or there is no place for the communicator");
    while (st == NEXAR_OK && (s->phase == GATHERING || s->phase == AGREEING)) {
        nx_time left = until == NX_NEVER ? NEXAR_FOREVER : until - nx_now();

        st = nexar_op_wait(s->op, left < 0 ? 0 : left);
        if (nexar_op_test(s->op) == NEXAR_EAGAIN)
            return st;
        if (st != NEXAR_OK)
            st = fail(s);
        nexar_op_close(s->op);
        s->op = NULL;
        if (st == NEXAR_OK)
            st = s->phase == GATHERING ? gathered(s) : agreed(s);
    }
    if (s->phase == FAILED)
        return nx_fail_with(&s->error);
    if (s->phase == TAKEN)
        return nx_fail(NEXAR_EINVAL, "%s: the communicator was given before", nx_coll_name(s->call));
    s->phase = TAKEN;
    *out = s->child;
    s->child = NULL;
    return NEXAR_OK;
}

void nexar_split_close(nexar_splitting *s)
{
    if (s == NULL || nx_engine_alive() != NEXAR_OK)
        return;
    nexar_op_close(s->op);
    if (s->phase == GATHERING) {
        nx_fail(NEXAR_ECANCELLED, "rank %u gave it up", s->parent->rank);
        miss_agreement(s->parent, s->call);
    }
    nexar_comm_close(s->child);
    nx_comm_drop(s->parent);
    nx_free(s->all);
    nx_free(s);
}

static nexar_status whole(nexar_comm *comm, nexar_split how, uint32_t color, int32_t key, const nexar_call_opts *opts,
                          nexar_comm **out)
{
    nexar_splitting *s;
    nexar_status st;
    nexar_error error;

    if (out == NULL)
        return nx_fail(NEXAR_EINVAL, "split: there is no place for the communicator");
    *out = NULL;
    st = nexar_split_start(comm, how, color, key, opts, &s);
    if (st != NEXAR_OK)
        return st;
    do
        st = nexar_split_wait(s, NEXAR_FOREVER, out);
    while (st == NEXAR_EINTR);
    error = *nx_last_error();
    nexar_split_close(s);
    return st == NEXAR_OK ? st : nx_fail_with(&error);
}

nexar_status nexar_comm_split(nexar_comm *comm, uint32_t color, int32_t key, const nexar_call_opts *opts,
                              nexar_comm **out)
{
    return whole(comm, NEXAR_SPLIT_BY_COLOR, color, key, opts, out);
}

nexar_status nexar_comm_dup(nexar_comm *comm, const nexar_call_opts *opts, nexar_comm **out)
{
    return whole(comm, NEXAR_SPLIT_DUP, 0, 0, opts, out);
}

nexar_status nexar_comm_split_by_host(nexar_comm *comm, const nexar_call_opts *opts, nexar_comm **out)
{
    return whole(comm, NEXAR_SPLIT_BY_HOST, 0, 0, opts, out);
}
