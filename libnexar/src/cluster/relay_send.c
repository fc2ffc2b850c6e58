/* cluster/relay_send.c - the relay machine: the messages of this rank to others.
 *
 * Owner: the machine's thread.  A message is kept, sealed as it is, until its destination says that it has it; it is
 * sent again when that takes too long (RFC 6298), or when the ways have changed.  Only the destination's credit lets a
 * message be sent, so it never has more to keep than it said. */
#include "cluster/relay_parts.h"

#include "base/bytes.h"
#include "base/mem.h"
#include "base/status.h"

static struct nx_relay_packet **place(struct nx_relay_pair *pair, uint64_t number)
{
    return &pair->sent[number % NX_RELAY_WINDOW];
}

/* Whether `bits` of an ACK, or its `next`, say that it is there. */
static bool is_there(uint64_t number, uint64_t next, uint64_t bits)
{
    return number < next ||
           (number > next && number - next <= NX_RELAY_WINDOW && (bits >> (number - next - 1) & 1) != 0);
}

static bool is_far(const struct nx_relay *r, const struct nx_relay_pair *pair)
{
    return r->routes->to[pair->rank].distance == NX_ROUTE_FAR;
}

/* Those to whom there is no path keep what they have, and get no more. */
static bool has_room(const struct nx_relay *r, const struct nx_relay_pair *pair, size_t n)
{
    size_t all = r->stats.unacknowledged - r->stranded + n;

    return pair->next < pair->limit && all <= r->config.send_limit && pair->bytes + n <= r->config.send_limit / 8 &&
           !is_far(r, pair);
}

/* What it wants may be there when others have their ACKs. */
static bool is_tight(const struct nx_relay *r, const struct nx_relay_pair *pair)
{
    return r->stats.unacknowledged - r->stranded + pair->wants > r->config.send_limit;
}

/* When the pair is looked at again: while something has no ACK, or credit is waited for. */
static void set_resend(struct nx_relay *r, struct nx_relay_pair *pair, nx_time now)
{
    bool dry = pair->wants > 0 && pair->next >= pair->limit;
    nx_time wait = pair->wait << (pair->patience < 16 ? pair->patience : 16);

    pair->resend_at = NX_NEVER;
    if (pair->open > 0 || dry)
        pair->resend_at = nx_after(now, wait < r->config.resend_most ? wait : r->config.resend_most);
}

static void give(struct nx_relay *r, struct nx_relay_packet *p, nx_time now)
{
    p->times++;
    p->sent = now;
    if (p->times > 1)
        r->stats.resent++;
    nx_relay_dispatch(r, p, r->rank); /* what finds no way, or no room, has its next time */
}

nexar_status nx_relay_send(struct nx_relay *r, uint32_t destination, const void *body, size_t n, nx_time now)
{
    struct nx_relay_head head = {.version = NX_RELAY_VERSION_1,
                                 .kind = NX_RELAY_MESSAGE,
                                 .source = r->rank,
                                 .destination = destination,
                                 .world = r->config.world};
    struct nx_relay_packet *p;
    struct nx_relay_pair *pair;

    if (destination >= r->n || destination == r->rank)
        return nx_fail(NEXAR_EINVAL, "a message to rank %u, from rank %u of %u", destination, r->rank, r->n);
    if (n > NX_RELAY_BODY_MAX)
        return nx_fail(NEXAR_EMSGSIZE, "a message of %zu bytes; %zu is the most", n, NX_RELAY_BODY_MAX);
    if (r->gone[destination])
        return nx_fail_peer(NEXAR_EPEER, destination, "rank %u is out of the job", destination);
    pair = nx_relay_pair(r, destination);
    if (pair == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a message to rank %u", destination);
    if (!has_room(r, pair, NX_RELAY_HEADER + n + NX_RELAY_TAG)) {
        pair->wants = NX_RELAY_HEADER + n + NX_RELAY_TAG;
        r->tight = r->tight || is_tight(r, pair);
        if (nx_list_empty(&pair->wanting))
            nx_list_push_back(&r->wanting, &pair->wanting);
        if (pair->resend_at == NX_NEVER)
            set_resend(r, pair, now);
        nx_relay_arm(r, pair);
        return nx_fail_peer(NEXAR_EAGAIN, destination, "rank %u has no room for a message now", destination);
    }
    head.number = pair->next;
    p = nx_relay_packet_new(r, &head, body, n);
    if (p == NULL)
        return nx_last_error()->status;
    pair->next++;
    *place(pair, head.number) = p;
    pair->open++;
    pair->bytes += p->n;
    r->stats.unacknowledged += p->n;
    r->stats.sent++;
    give(r, p, now);
    if (pair->open == 1)
        set_resend(r, pair, now);
    nx_relay_arm(r, pair);
    return NEXAR_OK;
}

void nx_relay_on_resend(struct nx_relay *r, struct nx_relay_pair *pair, nx_time now)
{
    nx_time old = now - pair->wait;

    if (pair->open == 0 && pair->wants > 0 && pair->next >= pair->limit) {
        r->stats.probes++;
        nx_relay_control(r, pair, NX_RELAY_PROBE, NULL, 0);
    }
    for (uint64_t i = pair->acked; i < pair->next; i++) {
        struct nx_relay_packet *p = *place(pair, i);

        if (p != NULL && !p->queued && p->sent <= old)
            give(r, p, now);
    }
    pair->patience++;
    set_resend(r, pair, now);
}

static void forget(struct nx_relay *r, struct nx_relay_pair *pair, uint64_t number)
{
    struct nx_relay_packet **at = place(pair, number);

    if (*at == NULL)
        return;
    pair->open--;
    pair->bytes -= (*at)->n;
    if (pair->stranded)
        r->stranded -= (*at)->n;
    r->stats.unacknowledged -= (*at)->n;
    nx_relay_packet_drop(*at);
    *at = NULL;
}

/* A partition does not hold up what goes elsewhere: what waits for its end has room of its own, send_limit again. */
static void strand(struct nx_relay *r, struct nx_relay_pair *pair)
{
    bool far = is_far(r, pair) && (pair->stranded || r->stranded + pair->bytes <= r->config.send_limit);

    if (far && !pair->stranded)
        r->stranded += pair->bytes;
    else if (!far && pair->stranded)
        r->stranded -= pair->bytes;
    pair->stranded = far;
}

void nx_relay_send_again(struct nx_relay *r, struct nx_relay_pair *pair, nx_time now)
{
    strand(r, pair);
    if (pair->open == 0)
        return;
    for (uint32_t i = 0; i < NX_RELAY_WINDOW; i++) {
        if (pair->sent[i] != NULL)
            pair->sent[i]->sent = INT64_MIN / 2; /* long ago */
    }
    pair->patience = 0;
    pair->resend_at = now;
    nx_relay_arm(r, pair);
}

uint32_t nx_relay_forget_sent(struct nx_relay *r, struct nx_relay_pair *pair)
{
    uint32_t lost = pair->open;

    for (uint64_t i = pair->acked; i < pair->next; i++)
        forget(r, pair, i);
    return lost;
}

/* RFC 6298; of one that was sent once alone: else nobody knows which of them was answered (Karn's rule). */
static void measure(struct nx_relay *r, struct nx_relay_pair *pair, const struct nx_relay_packet *p, nx_time now)
{
    nx_time trip = now - p->sent, off;

    if (p->times != 1 || p->sent < 0)
        return;
    off = trip > pair->smooth ? trip - pair->smooth : pair->smooth - trip;
    pair->varies = pair->smooth == 0 ? trip / 2 : (3 * pair->varies + off) / 4;
    pair->smooth = pair->smooth == 0 ? trip : (7 * pair->smooth + trip) / 8;
    pair->wait = pair->smooth + 4 * pair->varies;
    if (pair->wait < r->config.resend_least)
        pair->wait = r->config.resend_least;
    if (pair->wait > r->config.resend_most)
        pair->wait = r->config.resend_most;
}

static void tell_room(struct nx_relay *r, struct nx_relay_pair *pair)
{
    if (pair->wants == 0)
        return;
    if (!has_room(r, pair, pair->wants)) {
        r->tight = r->tight || is_tight(r, pair);
        return;
    }
    nx_list_remove(&pair->wanting);
    pair->wants = 0;
    nx_relay_say(r, NX_RELAY_ROOM, pair->rank, 0);
}

/* What one destination gives back may be what others wait for. */
void nx_relay_tell_room(struct nx_relay *r)
{
    r->tight = false;
    nx_list_for_each_safe(at, next, &r->wanting)
    {
        struct nx_relay_pair *pair = nx_container_of(at, struct nx_relay_pair, wanting);

        tell_room(r, pair);
    }
}

enum nx_relay_refusal nx_relay_on_ack(struct nx_relay *r, struct nx_relay_pair *pair, uint64_t number,
                                      const uint8_t text[NX_RELAY_ACK_BODY], nx_time now)
{
    uint64_t next = nx_load64(text), limit = nx_load64(text + 8), bits = nx_load64(text + 16);
    const struct nx_relay_packet *newest = NULL;
    uint32_t before = pair->open;

    if (number <= pair->heard_ack)
        return NX_RELAY_OLD;
    if (next > pair->next || next < pair->acked || limit < pair->limit || limit > next + NX_RELAY_WINDOW)
        return NX_RELAY_LIE;
    for (uint64_t i = 0; i < NX_RELAY_WINDOW; i++) {
        if ((bits >> i & 1) != 0 && next + 1 + i >= pair->next)
            return NX_RELAY_LIE;
    }
    pair->heard_ack = number;
    for (uint64_t i = pair->acked; i < pair->next; i++) {
        if (*place(pair, i) != NULL && is_there(i, next, bits))
            newest = *place(pair, i);
    }
    if (newest != NULL)
        measure(r, pair, newest, now);
    for (uint64_t i = pair->acked; i < pair->next; i++) {
        if (is_there(i, next, bits))
            forget(r, pair, i);
    }
    pair->acked = next;
    if (pair->open < before || limit > pair->limit) {
        pair->patience = 0;
        pair->limit = limit;
        set_resend(r, pair, now);
    }
    if (r->tight)
        nx_relay_tell_room(r);
    else
        tell_room(r, pair);
    nx_relay_arm(r, pair);
    return NX_RELAY_TAKEN;
}
