/* net/link.c - one link's life: attached, ready, broken and accounted for, tried again.
 *
 * Owner: the engine.  When a link breaks, each end tells the other which messages had begun to arrive and which of them
 * are not whole; only then the sender knows what to send again.  The lower rank tries again. */
#include "net/way.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/plain.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

static const nx_time PAUSE_FIRST = NX_S, PAUSE_MAX = 30 * NX_S;

enum { EARLY_MAX = 8 }; /* words of the other end before it is attached here */

enum { ENTRY = 16 }; /* bytes of an open message in an account: number and bytes that have come, u64 each */

static uint32_t peer_rank(const nexar_link *link)
{
    return atomic_load(&link->conn->peer)->rank;
}

static struct nx_text name_of(const nexar_link *link)
{
    return nx_text(link->way->module->name);
}

static void say(nexar_link *link, const struct nx_message *m)
{
    if (nx_conn_control(link->conn, m, false) != NEXAR_OK)
        nx_conn_shutdown(link->conn, NX_CLOSE_ABORTED);
}

/* ---- trying again ---- */

static void try_again(struct nx_timer *timer)
{
    nexar_link *link = nx_container_of(timer, nexar_link, again);
    struct nx_message m = {.kind = NX_KIND_WAY_OPEN};

    if (link->state != NX_LINK_BROKEN || atomic_load(&link->conn->ended))
        return;
    m.way_open = (struct nx_msg_way_open){.way = name_of(link), .generation = link->generation + 1};
    say(link, &m);
    nx_link_attach(link, link->generation + 1);
}

/* Both ends have given their accounts. */
static void is_broken(nexar_link *link)
{
    link->state = NX_LINK_BROKEN;
    if (link->conn->net->config.rank > peer_rank(link))
        return;
    nx_timer_set(&link->again, nx_now() + link->pause);
    link->pause = 2 * link->pause < PAUSE_MAX ? 2 * link->pause : PAUSE_MAX;
}

/* ---- life ---- */

/* The other end was attached first, and has begun to talk. */
static void tell_early(nexar_link *link)
{
    while (link->early != NULL) {
        struct nx_buffer *buf = link->early;

        link->early = buf->next;
        if (link->half != NULL)
            link->way->module->told(link->half, buf->data, buf->used);
        nx_buffer_put(buf);
    }
    link->early_count = 0;
}

nexar_status nx_link_init(nexar_link *link, struct nx_way *way, nexar_conn *conn)
{
    *link = (nexar_link){.way = way, .conn = conn, .pause = PAUSE_FIRST};
    nx_timer_init(&link->again, try_again);
    nx_list_init(&link->kept);
    nx_list_init(&link->promised);
    nx_mutex_init(&link->lock, NX_LOCK_CONN);
    return nx_dock_init(link);
}

void nx_link_fini(nexar_link *link)
{
    tell_early(link); /* to nobody */
    nx_dock_fini(link);
    nx_mutex_fini(&link->lock);
}

void nx_link_settle(nexar_link *link)
{
    if (link->settled)
        return;
    link->settled = true;
    nx_ways_settled_one(link->way->node);
}

static bool keep_early(nexar_link *link, const struct nx_bytes *bytes)
{
    struct nx_buffer *buf, **last = &link->early;

    if (link->early_count == EARLY_MAX)
        return false;
    buf = nx_buffer_get(bytes->len);
    if (buf == NULL)
        return false;
    memcpy(buf->data, bytes->data, bytes->len);
    buf->used = bytes->len;
    buf->next = NULL;
    while (*last != NULL)
        last = &(*last)->next;
    *last = buf;
    link->early_count++;
    return true;
}

void nx_link_attach(nexar_link *link, uint32_t generation)
{
    const nexar_module *module = link->way->module;
    nexar_status st;

    link->state = NX_LINK_ATTACHED;
    link->generation = generation;
    link->accounted = false;
    link->begun = link->heard = link->done = 0;
    atomic_store(&link->arrived, 0);
    atomic_store(&link->answered, 0);
    link->sent = 0;
    st = module->attach(link->way->self, link, &link->half);
    if (st == NEXAR_OK) {
        tell_early(link);
        return;
    }
    link->half = NULL;
    nx_link_break(link, true, nexar_last_error());
}

/* The module lets go of it; from then on nothing is sent or arrives. */
static void detach(nexar_link *link, bool orderly)
{
    void *half = link->half;

    struct nx_peer *peer = atomic_load(&link->conn->peer);
    nexar_link *self = link;

    if (atomic_exchange(&link->ready, false))
        atomic_fetch_sub(&link->way->stats.links, 1);
    atomic_compare_exchange_strong(&peer->sure, &self, NULL);
    while (atomic_load(&link->users) != 0 || atomic_load(&peer->sure_users) != 0)
        sched_yield(); /* a send that was quick enough; it does not block */
    link->half = NULL;
    if (half != NULL)
        link->way->module->detach(half, orderly);
}

static void tell_broken(nexar_link *link, bool useless)
{
    struct nx_message m = {.kind = NX_KIND_WAY_LOST};
    uint64_t open[NEXAR_BULK_OPEN_MAX][2];
    uint8_t bytes[NEXAR_BULK_OPEN_MAX * ENTRY];
    size_t n = nx_dock_cut(link, open, NEXAR_BULK_OPEN_MAX);

    for (size_t i = 0; i < n; i++) {
        nx_store64(bytes + i * ENTRY, open[i][0]);
        nx_store64(bytes + i * ENTRY + 8, open[i][1]);
    }
    m.way_lost = (struct nx_msg_way_lost){.way = name_of(link),
                                          .generation = link->generation,
                                          .useless = useless,
                                          .begun = link->begun,
                                          .open = nx_bytes(bytes, n * ENTRY),
                                          .why = nx_text(link->why)};
    say(link, &m);
}

void nx_link_break(nexar_link *link, bool useless, const char *why)
{
    bool was_ready = link->state == NX_LINK_READY;
    bool sure = was_ready && (atomic_load(&link->ops)->flags & NEXAR_BULK_SURE) != 0;

    if (link->state != NX_LINK_ATTACHED && !was_ready)
        return;
    snprintf(link->why, sizeof(link->why), "%s", why);
    detach(link, false);
    if (was_ready)
        atomic_fetch_add(&link->way->stats.lost, 1);
    if (was_ready)
        nx_warn("the %s link with rank %u broke: %s; QUIC carries its messages", link->way->module->name,
                peer_rank(link), link->why);
    else
        nx_info("no %s link with rank %u: %s", link->way->module->name, peer_rank(link), link->why);
    if (sure) {
        link->state = NX_LINK_USELESS;
        nx_conn_fault(link->conn, "its %s link broke: %s", link->way->module->name, link->why);
        nx_link_settle(link);
        return;
    }
    link->state = NX_LINK_ENDING;
    tell_broken(link, useless);
    if (useless)
        link->state = NX_LINK_USELESS;
    else if (link->accounted)
        is_broken(link);
    nx_link_settle(link);
}

void nx_link_end(nexar_link *link, bool left)
{
    nx_timer_cancel(&link->again);
    detach(link, left);
    link->state = NX_LINK_USELESS;
    if (link->why[0] == '\0')
        snprintf(link->why, sizeof(link->why), "the connection has ended");
    nx_dock_drop(link);
    nx_carry_end(link, left);
    nx_link_settle(link);
}

/* ---- what the module says ---- */

static const nexar_ext_key bulk_key = {.size = sizeof(bulk_key), .name = "nexar.bulk"};
static const nexar_ext_key tagged_key = {.size = sizeof(tagged_key), .name = "nexar.tagged_bulk"};

void nx_link_ready(nexar_link *link, const nexar_bulk_ops *ops, void *self)
{
    if (link->state != NX_LINK_ATTACHED)
        return;
    link->state = NX_LINK_READY;
    atomic_store(&link->ops, ops);
    atomic_store(&link->ops_self, self);
    atomic_store(&link->ready, true);
    atomic_fetch_add(&link->way->stats.links, 1);
    if (link == link->conn->links && (ops->flags & NEXAR_BULK_SURE) != 0 && (ops->flags & NEXAR_BULK_TAGGED) != 0)
        atomic_store(&atomic_load(&link->conn->peer)->sure, link); /* the best there is */
    (void)nexar_conn_ext_set(link->conn, (ops->flags & NEXAR_BULK_TAGGED) != 0 ? &tagged_key : &bulk_key,
                             (void *)(uintptr_t)ops, NULL); /* for those who look; the link does not need it */
    nx_debug("%s with rank %u", link->way->module->name, peer_rank(link));
    link->pause = PAUSE_FIRST;
    nx_dock_ready(link);
    nx_link_settle(link);
}

nexar_status nx_link_tell(nexar_link *link, const void *bytes, size_t n)
{
    struct nx_message m = {.kind = NX_KIND_WAY_TELL};

    if (n > NEXAR_TELL_MAX)
        return nx_fail(NEXAR_EINVAL, "tell: %zu bytes are more than %d", n, NEXAR_TELL_MAX);
    m.way_tell =
        (struct nx_msg_way_tell){.way = name_of(link), .generation = link->generation, .bytes = nx_bytes(bytes, n)};
    return nx_conn_control(link->conn, &m, false);
}

/* ---- what the other end says ---- */

/* Its account of what has arrived there: false if it cannot be. */
static bool account(nexar_link *link, const struct nx_msg_way_lost *lost)
{
    uint64_t open[NEXAR_BULK_OPEN_MAX];
    size_t n = lost->open.len / ENTRY;

    if (lost->open.len % ENTRY != 0 || n > NEXAR_BULK_OPEN_MAX || lost->begun > link->sent)
        return false;
    for (size_t i = 0; i < n; i++)
        open[i] = nx_load64(lost->open.data + i * ENTRY);
    link->accounted = true;
    nx_carry_resend(link, lost->begun, open, n);
    return true;
}

static bool on_lost(nexar_link *link, const struct nx_msg_way_lost *lost)
{
    char why[100], text[160];

    if (link->generation == 0 && lost->generation == 1 && link->offered && !link->refused) {
        link->refused = true;
        nx_plain(why, sizeof(why), lost->why.data, lost->why.len);
        snprintf(link->why, sizeof(link->why), "rank %u says: %s", peer_rank(link), why);
        return true;
    }
    if (lost->generation != link->generation || link->accounted || link->state == NX_LINK_NONE ||
        link->state == NX_LINK_BROKEN)
        return false;
    nx_plain(why, sizeof(why), lost->why.data, lost->why.len);
    snprintf(text, sizeof(text), "rank %u says: %s", peer_rank(link), why);
    nx_link_break(link, lost->useless != 0, text);
    if (!account(link, lost))
        return false;
    if (link->state == NX_LINK_ENDING)
        is_broken(link);
    return true;
}

bool nx_link_handle(nexar_link *link, const struct nx_message *m)
{
    switch ((int)m->kind) {
    case NX_KIND_WAY_OPEN:
        if (link->state == NX_LINK_USELESS)
            return true; /* as it was told, or is about to be */
        if (link->state != NX_LINK_BROKEN || m->way_open.generation != link->generation + 1)
            return false;
        nx_link_attach(link, m->way_open.generation);
        return true;
    case NX_KIND_WAY_TELL:
        if (link->generation == 0 && m->way_tell.generation == 1 && link->offered)
            return keep_early(link, &m->way_tell.bytes);
        if (link->half != NULL && m->way_tell.generation == link->generation)
            link->way->module->told(link->half, m->way_tell.bytes.data, m->way_tell.bytes.len);
        return link->state != NX_LINK_NONE && m->way_tell.generation <= link->generation;
    default:
        return on_lost(link, &m->way_lost);
    }
}
