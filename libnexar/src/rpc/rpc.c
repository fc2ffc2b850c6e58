/* rpc/rpc.c - the receives by which messages of calls come, and the beginning and end of it all.
 *
 * Owner: any thread, under the lock.  Messages come on the engine, or on the thread that sends to its own rank; they
 * are given on at once, and nothing here runs a function of the user. */
#include "rpc/rpc.h"

#include "base/bytes.h"
#include "base/log.h"
#include "net/arrive.h"

#include <string.h>

enum { POSTING, POSTED, DONE }; /* states of a slot */
enum { WAITING_BYTES = 256 << 20, THREADS = 4, QUEUE = 1024 };

/* With the lock. */
static bool is_full(const struct nx_rpc *rpc)
{
    return rpc->waiting >= rpc->queue || rpc->waiting_bytes >= WAITING_BYTES;
}

/* Where it goes from here: false if it is not to be posted now. */
static bool goes_on(struct nx_rpc_slot *slot)
{
    struct nx_rpc *rpc = slot->rpc;
    bool on = true;

    nx_lock(&rpc->lock);
    if (atomic_load(&rpc->closing)) {
        on = false;
        if (--rpc->posted == 0) {
            atomic_fetch_add(&rpc->word, 1);
            nx_futex_wake(&rpc->word);
        }
    } else if (slot->recv.key.id == NX_RPC_TO_ASK && is_full(rpc)) {
        on = false;
        nx_list_push_back(&rpc->resting, &slot->link);
    }
    nx_unlock(&rpc->lock);
    return on;
}

/* A receive may be done before, or while, posting it returns: then it is posted again here, not deeper in the stack. */
static void post(struct nx_rpc_slot *slot)
{
    uint32_t expected;

    while (goes_on(slot)) {
        atomic_store(&slot->state, POSTING);
        slot->recv.dst = NULL;
        nx_lane_post(&slot->rpc->net->lanes, &slot->recv);
        expected = POSTING;
        if (!atomic_compare_exchange_strong(&slot->state, &expected, POSTED))
            continue;
        if (atomic_load(&slot->rpc->closing)) /* closing may have come by before it was posted */
            nx_lane_cancel(&slot->rpc->net->lanes, &slot->recv, NEXAR_ECLOSED);
        return;
    }
}

void nx_rpc_room(struct nx_rpc *rpc)
{
    struct nx_list *pos = NULL;

    if (!nx_rpc_enter(rpc))
        return;
    do {
        nx_lock(&rpc->lock);
        pos = is_full(rpc) ? NULL : nx_list_pop(&rpc->resting);
        nx_unlock(&rpc->lock);
        if (pos != NULL)
            post(nx_container_of(pos, struct nx_rpc_slot, link));
    } while (pos != NULL);
    nx_rpc_leave(rpc);
}

static void come(struct nx_rpc *rpc, struct nx_recv *recv)
{
    bool ask = (uint32_t)recv->id == NX_RPC_TO_ASK;
    uint8_t *bytes = recv->dst;
    struct nx_rpc_tail tail;

    recv->dst = NULL;
    if (!nx_rpc_tail_decode(bytes, recv->len, &tail) || ask != (tail.kind == NX_RPC_REQUEST)) {
        nx_log(NEXAR_LOG_WARN, "rank %u sent %llu bytes that are no message of a call: thrown away", recv->from,
               (unsigned long long)recv->len);
        nx_free(bytes);
    } else if (tail.kind == NX_RPC_REQUEST) {
        nx_request_come(rpc, recv->from, &tail, bytes, recv->len);
    } else if (tail.kind == NX_RPC_ANSWER) {
        nx_call_answered(rpc, recv->from, &tail, bytes, (size_t)recv->len - NX_RPC_TAIL);
    } else {
        nx_request_cancelled(rpc, recv->from, tail.id);
        nx_free(bytes);
    }
}

static void slot_done(struct nx_recv *recv, nexar_status status)
{
    struct nx_rpc_slot *slot = nx_container_of(recv, struct nx_rpc_slot, recv);
    struct nx_rpc *rpc = slot->rpc;
    uint32_t expected = POSTING;

    if (status == NEXAR_OK) {
        come(rpc, recv);
    } else {
        nx_free(recv->dst);
        recv->dst = NULL;
    }
    /* It would be met again, without end, if it stayed. */
    if (status == NEXAR_EMSGSIZE || status == NEXAR_ENOMEM) {
        if (status == NEXAR_EMSGSIZE)
            nx_log(NEXAR_LOG_WARN, "rank %u sent a call of %llu bytes, %d are allowed: thrown away", recv->from,
                   (unsigned long long)recv->len, NX_RPC_MOST);
        else
            nx_log(NEXAR_LOG_WARN, "no memory for a call of %llu bytes from rank %u: thrown away",
                   (unsigned long long)recv->len, recv->from);
        nx_lane_discard(
            &rpc->net->lanes,
            &(struct nx_key){.peer = recv->from, .lane = NX_LANE_P2P, .scope = NX_RPC_SCOPE, .id = recv->key.id});
    }
    if (!atomic_compare_exchange_strong(&slot->state, &expected, DONE))
        post(slot);
}

nexar_status nx_rpc_open(struct nx_net *net, uint32_t threads, uint32_t queue)
{
    struct nx_rpc *rpc = nx_calloc(1, sizeof(*rpc));
    nexar_status st;

    if (rpc == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for calls");
    rpc->net = net;
    rpc->threads = threads != 0 ? threads : THREADS;
    rpc->queue = queue != 0 ? queue : QUEUE;
    atomic_init(&rpc->refs, 1);
    nx_mutex_init(&rpc->lock, NX_LOCK_COMM);
    nx_hash_init(&rpc->calls);
    nx_hash_init(&rpc->requests);
    nx_list_init(&rpc->desks);
    nx_list_init(&rpc->resting);
    st = nx_scope_open(&net->lanes, NX_RPC_SCOPE, NULL, NULL, &rpc->scope);
    if (st != NEXAR_OK) {
        nx_rpc_drop(rpc);
        return st;
    }
    net->rpc = rpc;
    rpc->posted = NX_RPC_FLOWS * NX_RPC_SLOTS;
    for (uint32_t flow = 0; flow < NX_RPC_FLOWS; flow++) {
        for (uint32_t i = 0; i < NX_RPC_SLOTS; i++) {
            struct nx_rpc_slot *slot = &rpc->slot[flow][i];

            slot->rpc = rpc;
            slot->recv =
                (struct nx_recv){.key = {.peer = NX_ANY_PEER, .lane = NX_LANE_P2P, .scope = NX_RPC_SCOPE, .id = flow},
                                 .own = true,
                                 .cap = NX_RPC_MOST,
                                 .done = slot_done};
            post(slot);
        }
    }
    return NEXAR_OK;
}

/* Until nobody uses the network: slots that are still posted, threads that still send. */
static void wait_idle(struct nx_rpc *rpc)
{
    uint32_t seen;
    bool idle;

    for (;;) {
        nx_lock(&rpc->lock);
        seen = atomic_load(&rpc->word);
        idle = rpc->posted == 0 && rpc->users == 0;
        nx_unlock(&rpc->lock);
        if (idle)
            return;
        nx_futex_wait(&rpc->word, seen, NX_NEVER);
    }
}

void nx_rpc_close(struct nx_net *net)
{
    struct nx_rpc *rpc = net->rpc;
    struct nx_list *pos;

    if (rpc == NULL)
        return;
    net->rpc = NULL;
    nx_lock(&rpc->lock);
    rpc->shut = true;
    atomic_store(&rpc->closing, true);
    while ((pos = nx_list_pop(&rpc->resting)) != NULL)
        rpc->posted--;
    nx_unlock(&rpc->lock);
    for (uint32_t flow = 0; flow < NX_RPC_FLOWS; flow++) {
        for (uint32_t i = 0; i < NX_RPC_SLOTS; i++)
            nx_lane_cancel(&net->lanes, &rpc->slot[flow][i].recv, NEXAR_ECLOSED);
    }
    wait_idle(rpc);
    nx_desks_end(rpc);
    nx_requests_end(rpc, 0);
    nx_scope_close(&net->lanes, rpc->scope);
    nx_rpc_drop(rpc);
}

void nx_rpc_hold(struct nx_rpc *rpc)
{
    atomic_fetch_add_explicit(&rpc->refs, 1, memory_order_relaxed);
}

void nx_rpc_drop(struct nx_rpc *rpc)
{
    if (atomic_fetch_sub_explicit(&rpc->refs, 1, memory_order_acq_rel) != 1)
        return;
    nx_hash_fini(&rpc->calls);
    nx_hash_fini(&rpc->requests);
    nx_mutex_fini(&rpc->lock);
    nx_free(rpc);
}

bool nx_rpc_enter(struct nx_rpc *rpc)
{
    bool open;

    nx_lock(&rpc->lock);
    open = !rpc->shut;
    rpc->users += open;
    nx_unlock(&rpc->lock);
    return open;
}

void nx_rpc_leave(struct nx_rpc *rpc)
{
    nx_lock(&rpc->lock);
    if (--rpc->users == 0 && rpc->shut) {
        atomic_fetch_add(&rpc->word, 1);
        nx_futex_wake(&rpc->word);
    }
    nx_unlock(&rpc->lock);
}

/* ---- notices ---- */

struct notice {
    struct nx_send_req req;
    uint8_t bytes[];
};

static void notice_done(struct nx_send_req *req, nexar_status status)
{
    (void)status; /* who is gone does not wait for it */
    nx_free(nx_container_of(req, struct notice, req));
}

void nx_rpc_notice(struct nx_rpc *rpc, uint32_t peer, const struct nx_rpc_tail *tail, const void *payload, size_t n)
{
    struct notice *notice = nx_alloc(sizeof(*notice) + n + NX_RPC_TAIL);

    if (notice == NULL)
        return; /* then the other end waits for its deadline */
    notice->req = (struct nx_send_req){
        .head = {.lane = NX_LANE_P2P, .scope = NX_RPC_SCOPE, .id = NX_RPC_TO_TELL, .len = n + NX_RPC_TAIL},
        .payload = notice->bytes,
        .payload_len = n + NX_RPC_TAIL,
        .order = &rpc->scope->peer[peer].send_order,
        .done = notice_done};
    if (n != 0)
        memcpy(notice->bytes, payload, n);
    nx_rpc_tail_encode(tail, notice->bytes + n);
    if (peer == rpc->net->config.rank) {
        nx_arrive_local(&rpc->net->lanes, peer, &notice->req.head, notice->bytes);
        nx_free(notice);
    } else if (nx_send(rpc->net->peer[peer], &notice->req) != NEXAR_EAGAIN) {
        nx_free(notice);
        nx_engine_kick(false);
    }
}

void nx_rpc_peer_gone(struct nx_net *net, uint32_t peer, nexar_status why)
{
    if (net->rpc == NULL)
        return;
    nx_calls_peer_gone(net->rpc, peer, why);
    nx_requests_peer_gone(net->rpc, peer);
}
