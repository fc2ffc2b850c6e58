/* cluster/relay_receive.c - the relay machine: the messages of others to this rank.
 *
 * Owner: the machine's thread.  Nothing of a packet counts before its seal is open: who forges one can neither give nor
 * take credit, nor make state here.  What is stored is acknowledged and never dropped again; what is not, is sent
 * again. */
#include "cluster/relay_parts.h"

#include "base/bytes.h"
#include "base/mem.h"

static struct nx_relay_message **place(struct nx_relay_pair *pair, uint64_t number)
{
    return &pair->early[number % NX_RELAY_WINDOW];
}

static void ack_within(struct nx_relay *r, struct nx_relay_pair *pair, nx_time at)
{
    if (at < pair->ack_at)
        pair->ack_at = at;
    nx_relay_arm(r, pair);
}

void nx_relay_send_ack(struct nx_relay *r, struct nx_relay_pair *pair)
{
    uint8_t text[NX_RELAY_ACK_BODY];
    uint64_t bits = 0;

    for (uint64_t i = 0; i + 1 < NX_RELAY_WINDOW; i++)
        bits |= (uint64_t)(*place(pair, pair->expected + 1 + i) != NULL) << i;
    pair->told = pair->taken + r->config.window;
    nx_store64(text, pair->expected);
    nx_store64(text + 8, pair->told);
    nx_store64(text + 16, bits);
    pair->new_ones = 0;
    pair->ack_at = NX_NEVER;
    r->stats.acks++;
    nx_relay_control(r, pair, NX_RELAY_ACK, text, sizeof(text));
}

/* Those that are early may not take what those need that fill the gaps in front of them. */
static bool has_room(const struct nx_relay *r, bool in_order)
{
    size_t ready = r->stats.received - r->early, half = r->config.receive_limit / 2;

    return in_order ? ready < half : ready + r->early < half;
}

/* It and those that were waiting for it. */
static void in_order(struct nx_relay *r, struct nx_relay_pair *pair, struct nx_relay_message *m)
{
    bool first = nx_list_empty(&pair->ready);

    while (m != NULL) {
        nx_list_push_back(&pair->ready, &m->link);
        pair->expected++;
        m = *place(pair, pair->expected);
        *place(pair, pair->expected) = NULL;
        if (m != NULL)
            r->early -= m->n;
    }
    if (first)
        nx_relay_say(r, NX_RELAY_ARRIVED, pair->rank, 0);
}

static enum nx_relay_refusal on_message(struct nx_relay *r, struct nx_relay_pair *pair, struct nx_relay_message *m,
                                        nx_time now)
{
    if (m->number >= pair->told)
        return NX_RELAY_CREDIT;
    if (m->number < pair->expected || *place(pair, m->number) != NULL) {
        ack_within(r, pair, now + r->config.ack_delay); /* mine may be lost */
        return NX_RELAY_OLD;
    }
    if (!has_room(r, m->number == pair->expected))
        return NX_RELAY_FULL;
    r->stats.received += m->n;
    r->stats.arrived++;
    if (m->number == pair->expected) {
        in_order(r, pair, m);
    } else {
        r->early += m->n;
        *place(pair, m->number) = m;
    }
    pair->new_ones++;
    ack_within(r, pair, pair->new_ones >= (r->config.window + 3) / 4 ? now : now + r->config.ack_delay);
    return NX_RELAY_TAKEN;
}

enum nx_relay_refusal nx_relay_on_packet(struct nx_relay *r, const struct nx_relay_head *head, const uint8_t *bytes,
                                         size_t n, nx_time now)
{
    size_t sealed_n = n - NX_RELAY_HEADER, text_n = sealed_n - NX_RELAY_TAG;
    enum nx_relay_refusal why = NX_RELAY_TAKEN;
    uint8_t sealed_head[NX_RELAY_HEADER];
    struct nx_relay_message *m;
    struct nx_relay_pair *pair;

    if (r->gone[head->source])
        return NX_RELAY_UNKNOWN;
    m = nx_alloc(sizeof(*m) + text_n);
    if (m == NULL)
        return NX_RELAY_MEMORY;
    *m = (struct nx_relay_message){.number = head->number, .n = text_n};
    nx_list_init(&m->link);
    nx_relay_sealed_head(head, sealed_head);
    if (!r->ops->open(r->arg, head->source, sealed_head, bytes + NX_RELAY_HEADER, sealed_n, m->body)) {
        nx_free(m);
        return NX_RELAY_FORGED;
    }
    pair = nx_relay_pair(r, head->source);
    if (pair == NULL) {
        why = NX_RELAY_MEMORY;
    } else if (head->kind == NX_RELAY_MESSAGE) {
        why = on_message(r, pair, m, now);
        if (why == NX_RELAY_TAKEN)
            return why;
    } else if (head->kind == NX_RELAY_ACK) {
        why = nx_relay_on_ack(r, pair, head->number, m->body, now);
    } else if (head->number <= pair->heard_probe) {
        why = NX_RELAY_OLD;
    } else {
        pair->heard_probe = head->number;
        ack_within(r, pair, now + r->config.ack_delay);
    }
    nx_free(m);
    return why;
}

struct nx_relay_message *nx_relay_take(struct nx_relay *r, uint32_t source, nx_time now)
{
    struct nx_relay_pair *pair = source < r->n ? r->pair[source] : NULL;
    struct nx_list *at = pair == NULL ? NULL : nx_list_pop(&pair->ready);
    struct nx_relay_message *m;

    if (at == NULL)
        return NULL;
    m = nx_container_of(at, struct nx_relay_message, link);
    r->stats.received -= m->n;
    pair->taken++;
    if (!r->gone[source])
        ack_within(r, pair,
                   pair->taken + r->config.window - pair->told >= (r->config.window + 3) / 4
                       ? now
                       : now + r->config.ack_delay);
    return m;
}

void nx_relay_forget_early(struct nx_relay *r, struct nx_relay_pair *pair)
{
    for (uint32_t i = 0; i < NX_RELAY_WINDOW; i++) {
        struct nx_relay_message *m = pair->early[i];

        if (m == NULL)
            continue;
        r->early -= m->n;
        r->stats.received -= m->n;
        nx_free(m);
        pair->early[i] = NULL;
    }
}
