/* cluster/member_io.c - moves the bytes of the membership machine: its messages on the control streams, its timer, the
 * ends of connections.
 *
 * Owner: the engine.  It decides nothing.  A connection that has ended does not come back, so whom this rank has lost
 * stays suspected by it until the members agree that one of the two is out. */
#include "cluster/member_io.h"

#include "base/log.h"
#include "base/mem.h"
#include "cluster/member_wire.h"
#include "cluster/record_io.h"
#include "net/conn.h"
#include "net/peer.h"

#include <stdio.h>

/* While there is something to decide, and while there is nothing. */
#define TICK (125 * NX_MS)

uint32_t nx_members_rank(const struct nx_members *members, const struct nx_uid *uid)
{
    uint32_t rank = nx_entry_rank(members->first, uid);

    return rank == NX_NO_RANK_IN ? NEXAR_NO_RANK : rank;
}

/* ---- what the machine wants ---- */

static void say(void *arg, const struct nx_uid *to, struct nx_member_msg *msg)
{
    struct nx_members *members = arg;
    uint32_t world = nx_members_rank(members, to);
    struct nx_member_wire wire;
    nexar_status st;
    nexar_conn *conn;

    if (world == NEXAR_NO_RANK)
        return;
    conn = nx_peer_conn(members->net->peer[world], &st);
    if (conn == NULL)
        return; /* out of reach */
    st = nx_member_to_wire(msg, &wire);
    if (st == NEXAR_OK) {
        st = nx_conn_control(conn, &wire.message, false);
        nx_free(wire.memory);
    }
    if (st != NEXAR_OK)
        nx_debug("%s for rank %u was not sent: %s", nx_member_kind_name(msg->kind), world, nexar_last_error());
    nx_conn_drop(conn);
}

static void event(void *arg, const struct nx_member_event *event)
{
    struct nx_members *members = arg;
    uint32_t world;

    switch (event->kind) {
    case NX_MEMBER_INSTALLED:
        members->changed = true;
        break;
    case NX_MEMBER_AGREED:
        members->changed = true;
        nx_entry_drop(members->agreed);
        members->agreed = nx_entry_hold((struct nx_entry *)(uintptr_t)event->entry);
        break;
    case NX_MEMBER_NO_QUORUM:
    case NX_MEMBER_QUORUM:
        members->is_short = event->kind == NX_MEMBER_NO_QUORUM;
        members->changed = true;
        break;
    case NX_MEMBER_LIE:
        world = nx_members_rank(members, &event->who);
        members->liar = world == NEXAR_NO_RANK ? 0 : world + 1;
        members->lie = event->why;
        break;
    }
}

static const struct nx_member_ops ops = {
    .send = say, .record = nx_members_record, .commit = nx_members_commit, .event = event};

/* ---- what comes of it ---- */

bool nx_members_excluded(const struct nx_members *members)
{
    return members->machine.state == NX_MEMBER_EXCLUDED;
}

const struct nx_entry *nx_members_entry(const struct nx_members *members)
{
    return nx_acceptor_entry(&members->machine.own);
}

bool nx_members_has(const struct nx_members *members, uint32_t world)
{
    return nx_entry_rank(nx_members_entry(members), &members->uid[world]) != NX_NO_RANK_IN;
}

static void tell_out(struct nx_members *members)
{
    unsigned long long epoch = (unsigned long long)nx_members_entry(members)->epoch;
    bool excluded = nx_members_excluded(members);
    char why[120];

    for (uint32_t i = 0; i < members->net->config.size; i++) {
        if (i == members->net->config.rank || members->out[i] || (!excluded && nx_members_has(members, i)))
            continue;
        members->out[i] = true;
        if (excluded)
            snprintf(why, sizeof(why), "the other members have gone on without this rank");
        else
            snprintf(why, sizeof(why), "the members have agreed in epoch %llu that it is out", epoch);
        members->owner->out(members->owner_arg, i, why);
    }
}

/* After each call of the machine.  What is told may lead to more calls of it. */
static void tell(struct nx_members *members)
{
    if (members->telling)
        return;
    members->telling = true;
    while (members->changed) {
        members->changed = false;
        nx_debug("epoch %llu: %u of %u ranks are members%s", (unsigned long long)nx_members_entry(members)->epoch,
                 nx_members_entry(members)->roll->n, members->net->config.size,
                 nx_members_excluded(members) ? ", this one is not" : "");
        tell_out(members);
        nx_list_for_each_safe(pos, tmp, &members->waits)
        {
            struct nx_members_wait *wait = nx_container_of(pos, struct nx_members_wait, link);

            wait->look(wait);
        }
    }
    members->telling = false;
}

static void set_timer(struct nx_members *members)
{
    const struct nx_member *m = &members->machine;
    bool busy = m->needed || m->attempt.open || m->agree != 0 || m->own.value != NULL;

    if (m->state == NX_MEMBER_IN && !members->stopped)
        nx_timer_set(&members->timer, busy ? nx_now() + TICK : m->next_beat);
}

/* Not from within the machine, which hears of the end of the connection. */
static void cut_liar(struct nx_members *members)
{
    uint32_t world = members->liar - 1;
    nexar_status st;
    nexar_conn *conn;

    if (members->liar == 0)
        return;
    members->liar = 0;
    nx_warn("rank %u is no honest member: it told %s", world, members->lie);
    conn = nx_peer_conn(members->net->peer[world], &st);
    if (conn != NULL)
        nx_conn_fault(conn, "it told %s", members->lie);
    nx_conn_drop(conn);
}

static void after(struct nx_members *members)
{
    cut_liar(members);
    tell(members);
    set_timer(members);
}

/* ---- what happens ---- */

/* Its connection has ended.  That its process has, may be seen later. */
static void end_of(struct nx_members *members, uint32_t world, nx_time now)
{
    uint8_t *fate = &members->fate[world];

    if (*fate != NX_FATE_DEAD && nx_members_is_witnessed(members, world)) {
        *fate = NX_FATE_DEAD;
        nx_member_died(&members->machine, &members->uid[world], now);
    } else if (*fate < NX_FATE_GONE) {
        *fate = NX_FATE_GONE;
        nx_member_closed(&members->machine, &members->uid[world], now);
    }
}

static void tick(struct nx_timer *timer)
{
    struct nx_members *members = nx_container_of(timer, struct nx_members, timer);
    nx_time now = nx_now();

    for (uint32_t i = 0; i < members->net->config.size; i++) {
        if (members->fate[i] == NX_FATE_HERE)
            nx_member_heard(&members->machine, &members->uid[i], now); /* else its connection had ended */
        else if (!members->out[i])
            end_of(members, i, now);
    }
    nx_member_tick(&members->machine, now);
    nx_members_look_at_records(members, now);
    after(members);
}

bool nx_members_said(struct nx_members *members, uint32_t world, const struct nx_message *message)
{
    struct nx_member_msg *msg;
    nexar_status st;

    if (members == NULL || members->stopped)
        return true;
    st = nx_member_from_wire(&members->machine.own, message, &msg);
    if (st == NEXAR_EPROTO)
        return false;
    if (st != NEXAR_OK)
        return true; /* as if it had been lost: it comes again */
    nx_member_said(&members->machine, &members->uid[world], msg, nx_now());
    nx_member_msg_drop(msg);
    after(members);
    return true;
}

void nx_members_gone(struct nx_members *members, uint32_t world, bool left)
{
    if (members == NULL)
        return;
    members->changed = true; /* somebody may wait for just that */
    if (!members->stopped && !members->out[world]) {
        if (left) /* usually all leave at the same time: what the next tick says is early enough */
            members->fate[world] = NX_FATE_LEFT;
        else
            end_of(members, world, nx_now());
    }
    after(members);
}

void nx_members_blamed(struct nx_members *members, uint32_t by, uint32_t world)
{
    if (members != NULL)
        members->blamed_by[world] = by + 1;
}

bool nx_members_doubted(const struct nx_members *members, uint32_t world)
{
    const struct nx_net *net = members->net;

    if (!nx_members_has(members, world))
        return false;
    if (world != net->config.rank && nx_lane_peer_status((struct nx_lanes *)&members->net->lanes, world) != NEXAR_OK)
        return true;
    return members->blamed_by[world] != 0 && nx_members_has(members, members->blamed_by[world] - 1);
}

void nx_members_wait(struct nx_members *members, struct nx_members_wait *wait)
{
    nx_list_push_back(&members->waits, &wait->link);
    wait->look(wait);
}

void nx_members_unwait(struct nx_members_wait *wait)
{
    nx_list_remove(&wait->link);
    nx_list_init(&wait->link);
}

void nx_members_agree(struct nx_members *members, uint64_t flag)
{
    if (members->agreed != NULL)
        return;
    nx_member_call_agree(&members->machine, flag, nx_now());
    after(members);
}

struct shrunk {
    struct nx_list link;
    uint64_t root, epoch, times;
};

static struct shrunk *find_shrunk(const struct nx_members *members, uint64_t root)
{
    nx_list_for_each_safe(pos, tmp, &members->shrunk)
    {
        struct shrunk *each = nx_container_of(pos, struct shrunk, link);

        if (each->root == root)
            return each;
    }
    return NULL;
}

uint64_t nx_members_times(const struct nx_members *members, uint64_t root)
{
    const struct shrunk *found = find_shrunk(members, root);

    return found == NULL || found->epoch != nx_members_entry(members)->epoch ? 0 : found->times;
}

bool nx_members_count(struct nx_members *members, uint64_t root)
{
    struct shrunk *found = find_shrunk(members, root);
    uint64_t times = nx_members_times(members, root);

    if (found == NULL) {
        found = nx_calloc(1, sizeof(*found));
        if (found == NULL)
            return false;
        found->root = root;
        nx_list_push_back(&members->shrunk, &found->link);
    }
    found->epoch = nx_members_entry(members)->epoch;
    found->times = times + 1;
    return true;
}

void nx_members_shrunk(struct nx_members *members, uint32_t world, uint64_t id)
{
    struct nx_shrunk *s;

    if (members == NULL || members->stopped)
        return;
    s = &members->ready[world];
    s->id[s->count++ % NX_SHRUNK_KEPT] = id;
    members->changed = true;
    after(members);
}

bool nx_members_ready(const struct nx_members *members, uint32_t world, uint64_t id)
{
    for (uint32_t i = 0; i < NX_SHRUNK_KEPT; i++) {
        if (members->ready[world].id[i] == id)
            return true;
    }
    return false;
}

void nx_members_tell_shrunk(struct nx_members *members, uint32_t world, uint64_t id)
{
    struct nx_message m = {.kind = NX_KIND_SHRUNK, .shrunk = {.comm = id}};
    nexar_status st;
    nexar_conn *conn = nx_peer_conn(members->net->peer[world], &st);

    if (conn != NULL)
        (void)nx_conn_control(conn, &m, false); /* if it fails, so does the connection */
    nx_conn_drop(conn);
}

struct nx_entry *nx_members_take(struct nx_members *members)
{
    struct nx_entry *agreed = members->agreed;

    members->agreed = NULL;
    return agreed;
}

/* ---- life ---- */

static void free_members(struct nx_members *members)
{
    struct nx_list *pos;

    while ((pos = nx_list_pop(&members->shrunk)) != NULL)
        nx_free(nx_container_of(pos, struct shrunk, link));
    nx_acceptor_fini(&members->witnessed);
    nx_entry_drop(members->agreed);
    nx_entry_drop(members->first);
    nx_free(members->uid);
    nx_free(members->out);
    nx_free(members->fate);
    nx_free(members->ready);
    nx_free(members->blamed_by);
    nx_free(members);
}

nexar_status nx_members_open(struct nx_net *net, struct nx_uid *uid, const struct nx_member_config *config,
                             const struct nx_members_owner *owner, void *owner_arg, struct nx_members **out)
{
    struct nx_members *members = nx_calloc(1, sizeof(*members));
    uint32_t size = net->config.size;
    nexar_status st;

    *out = NULL;
    if (members == NULL) {
        nx_free(uid);
        return nx_fail(NEXAR_ENOMEM, "no memory for the membership");
    }
    members->net = net;
    members->owner = owner;
    members->owner_arg = owner_arg;
    members->uid = uid;
    members->out = nx_calloc(size, sizeof(*members->out));
    members->fate = nx_calloc(size, sizeof(*members->fate));
    members->ready = nx_calloc(size, sizeof(*members->ready));
    members->blamed_by = nx_calloc(size, sizeof(*members->blamed_by));
    members->record_bytes = nx_record_bytes(size);
    nx_list_init(&members->waits);
    nx_list_init(&members->shrunk);
    nx_timer_init(&members->timer, tick);
    if (members->out != NULL && members->fate != NULL && members->ready != NULL && members->blamed_by != NULL)
        members->first = nx_entry_first(uid, size);
    if (members->first == NULL) {
        free_members(members);
        return nx_fail(NEXAR_ENOMEM, "no memory for the membership of %u ranks", size);
    }
    st = nx_member_init(&members->machine, &uid[net->config.rank], config, members->first, nx_now(), &ops, members);
    if (st != NEXAR_OK) {
        nx_member_fini(&members->machine);
        free_members(members);
        return st;
    }
    nx_members_keep_record(members);
    for (uint32_t i = 0; i < size; i++) { /* some may be gone already */
        if (i != net->config.rank && nx_lane_peer_status(&net->lanes, i) != NEXAR_OK)
            members->fate[i] = NX_FATE_LEFT;
    }
    set_timer(members);
    *out = members;
    return NEXAR_OK;
}

void nx_members_stop(struct nx_members *members)
{
    if (members == NULL)
        return;
    members->stopped = true;
    nx_timer_cancel(&members->timer);
}

void nx_members_close(struct nx_members *members)
{
    if (members == NULL)
        return;
    nx_members_stop(members);
    nx_member_fini(&members->machine);
    free_members(members);
}
