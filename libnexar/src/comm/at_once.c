/* comm/at_once.c - messages that leave, or are received, within a call: they need no op.
 *
 * Owner: any thread; while it looks out for a message it is the engine.  What takes longer, p2p.c makes an op of. */
#include "comm/at_once.h"

#include "net/arrive.h"

/* Receives of at most so many bytes look out for their message for a moment before they become an op.  What comes in
 * pieces would be copied twice: large messages, and all but the smallest that do not come through memory. */
enum { LOOK_OUT = 64, LOOK_OUT_NEAR = 64 << 10 };

static bool are_fine(const nexar_call_opts *opts)
{
    return opts == NULL || (opts->size >= sizeof(*opts) && opts->timeout_ns >= 0);
}

/* Of a message that needed no op, and no time. */
static void record(nexar_comm *comm, enum nx_record_kind kind, uint64_t id, uint32_t rank, uint64_t nbytes)
{
    nx_time now = nx_now_about();
    struct nx_record r = {.comm = comm->id,
                          .id = id,
                          .call = rank,
                          .count = nbytes,
                          .begun = now,
                          .ended = now,
                          .peer = NEXAR_NO_RANK,
                          .kind = (uint8_t)kind};

    nx_record_put(comm->net->recorder, &r);
}

bool nx_send_at_once(nexar_comm *comm, const void *buf, size_t nbytes, uint32_t dest, uint64_t id,
                     const nexar_call_opts *opts)
{
    uint32_t world = nx_comm_world(comm, dest);
    struct nx_send_req req;

    if (!are_fine(opts) || dest == comm->rank || atomic_load_explicit(&comm->net->closed, memory_order_relaxed))
        return false;
    req.head = (struct nx_head){.lane = NX_LANE_P2P, .scope = comm->id, .id = id};
    req.prefix_len = 0;
    req.payload = buf;
    req.pieces = NULL;
    req.payload_len = nbytes;
    req.order = &comm->scope->peer[world].send_order;
    if (!nx_send_now(comm->net->peer[world], &req))
        return false;
    record(comm, NX_RECORD_SEND, req.head.id, dest, nbytes);
    if (!req.gathered)
        nx_engine_kick(true);
    return true;
}

static bool may_look_out(nexar_comm *comm, const struct nx_key *key, size_t nbytes)
{
    if (nbytes <= LOOK_OUT || nbytes > LOOK_OUT_NEAR || key->peer == NX_ANY_PEER || comm->net->peer[key->peer] == NULL)
        return nbytes <= LOOK_OUT;
    return atomic_load_explicit(&comm->net->peer[key->peer]->sure, memory_order_relaxed) != NULL;
}

/* It comes while we look out for it. */
static bool look_out(struct nx_lanes *lanes, struct nx_recv *recv, struct nx_scope *scope)
{
    bool found = false;

    if (!nx_engine_peek_begin())
        return false;
    nx_expect(lanes, recv, scope);
    for (int i = 0; i < NX_PEEKS && !found; i++)
        found = nx_engine_peek() && (!nx_expected(lanes) || nx_lane_take(lanes, recv));
    nx_expect_no_more(lanes);
    nx_engine_peek_end();
    return found;
}

bool nx_recv_at_once(nexar_comm *comm, void *buf, size_t nbytes, const struct nx_key *key, const nexar_call_opts *opts,
                     nexar_recv_info *info)
{
    struct nx_lanes *lanes = &comm->net->lanes;
    struct nx_recv recv;

    if (!are_fine(opts) || atomic_load_explicit(&comm->net->closed, memory_order_relaxed))
        return false;
    recv.key = *key;
    recv.dst = buf;
    recv.cap = nbytes;
    if (!nx_lane_take(lanes, &recv) && !(may_look_out(comm, key, nbytes) && look_out(lanes, &recv, comm->scope)))
        return false;
    recv.from = nx_comm_rank_of(comm, recv.from);
    record(comm, NX_RECORD_RECV, recv.id, recv.from, recv.len);
    if (info != NULL)
        *info = (nexar_recv_info){.source = recv.from, .tag = (uint32_t)recv.id, .nbytes = recv.len};
    return true;
}
