/* cluster/member_wire.c - messages of the membership as bytes.
 *
 * Owner: nobody, it is pure.  docs/MEMBERSHIP.md has the layouts; member_read.c reads them. */
#include "cluster/member_wire.h"

#include "base/bytes.h"
#include "base/mem.h"
#include "base/status.h"

static size_t stand_size(const struct nx_member_msg *m)
{
    return NX_STAND_HEAD + ((size_t)m->stand.suspects.n + m->stand.candidates.n + m->uids.n) * sizeof(struct nx_uid);
}

static uint8_t *put_uids(uint8_t *at, const struct nx_uid *uids, uint32_t n)
{
    if (n != 0)
        memcpy(at, uids, n * sizeof(*uids));
    return at + n * sizeof(*uids);
}

static struct nx_bytes put_stand(uint8_t *to, const struct nx_member_msg *m)
{
    const struct nx_stand *s = &m->stand;
    uint8_t *at = to + NX_STAND_HEAD;

    nx_store64(to, s->agree);
    nx_store64(to + 8, s->flag);
    nx_store32(to + 16, (s->ready ? NX_STAND_READY : 0) | (s->leaving ? NX_STAND_LEAVING : 0));
    nx_store32(to + 20, s->suspects.n);
    nx_store32(to + 24, s->candidates.n);
    nx_store32(to + 28, m->uids.n);
    at = put_uids(at, s->suspects.at, s->suspects.n);
    at = put_uids(at, s->candidates.at, s->candidates.n);
    at = put_uids(at, m->uids.at, m->uids.n);
    return nx_bytes(to, (size_t)(at - to));
}

static size_t entry_size(const struct nx_entry *e, bool whole)
{
    size_t uids = whole ? (size_t)e->n_gone + e->roll->n : e->joined;

    return NX_CHANGE_HEAD + NX_ENTRY_DIGEST + e->n_gone * sizeof(uint32_t) + uids * sizeof(struct nx_uid);
}

static uint8_t *put_entry(uint8_t *at, const struct nx_entry *e, bool whole)
{
    uint32_t first = whole ? 0 : e->roll->n - e->joined;

    nx_entry_head(e, at);
    nx_store32(at + 32, nx_load32(at + 32) | (whole ? NX_ENTRY_WHOLE : 0));
    at += NX_CHANGE_HEAD;
    memcpy(at, e->digest, NX_ENTRY_DIGEST);
    at += NX_ENTRY_DIGEST;
    for (uint32_t i = 0; i < e->n_gone; i++, at += 4)
        nx_store32(at, e->gone[i].rank | (e->gone[i].left ? NX_GONE_LEFT : 0));
    for (uint32_t i = 0; whole && i < e->n_gone; i++)
        at = put_uids(at, &e->gone[i].uid, 1);
    return put_uids(at, e->roll->uid + first, e->roll->n - first);
}

static size_t chain_size(const struct nx_member_msg *m)
{
    size_t n = 0;

    for (uint32_t i = 0; i < m->n; i++)
        n += entry_size(m->chain[i], m->whole && i == 0);
    return n;
}

static void put_promise(const struct nx_member_msg *m, uint8_t *memory, struct nx_msg_member_promise *out)
{
    *out = (struct nx_msg_member_promise){
        .epoch = m->epoch, .round = m->ballot.round, .rank = m->ballot.rank, .who = m->who};
    if (m->stands) {
        out->stand = put_stand(memory, m);
        memory += out->stand.len;
    }
    if (m->value != NULL) {
        nx_store32(memory, m->other.round);
        nx_store32(memory + 4, m->other.rank);
        out->accepted = nx_bytes(memory, (size_t)(put_entry(memory + 8, m->value, false) - memory));
    }
}

static void put_chain(const struct nx_member_msg *m, uint8_t *memory, struct nx_msg_member_chain *out)
{
    uint8_t *at = memory;

    for (uint32_t i = 0; i < m->n; i++)
        at = put_entry(at, m->chain[i], m->whole && i == 0);
    out->form = m->behind ? 2 : m->whole;
    out->entries = nx_bytes(memory, (size_t)(at - memory));
}

nexar_status nx_member_to_wire(const struct nx_member_msg *m, struct nx_member_wire *out)
{
    size_t n = (m->stands ? stand_size(m) : 0) + (m->value != NULL ? 8 + entry_size(m->value, false) : 0) +
               chain_size(m) + m->uids.n * sizeof(struct nx_uid);
    struct nx_message *w = &out->message;
    struct nx_msg_member_prepare vote = {
        .epoch = m->epoch, .round = m->ballot.round, .rank = m->ballot.rank, .who = m->who};

    *out = (struct nx_member_wire){.memory = nx_alloc(n + 1)};
    if (out->memory == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a message of %zu bytes", n);
    switch (m->kind) {
    case NX_MEMBER_BEAT:
        w->kind = NX_KIND_MEMBER_BEAT;
        w->member_beat = (struct nx_msg_member_beat){
            .epoch = m->epoch, .digest = nx_bytes(m->digest, NX_ENTRY_DIGEST), .stand = put_stand(out->memory, m)};
        break;
    case NX_MEMBER_PREPARE:
        w->kind = NX_KIND_MEMBER_PREPARE;
        w->member_prepare = vote;
        break;
    case NX_MEMBER_PROMISE:
        w->kind = NX_KIND_MEMBER_PROMISE;
        put_promise(m, out->memory, &w->member_promise);
        break;
    case NX_MEMBER_PROPOSE:
        w->kind = NX_KIND_MEMBER_PROPOSE;
        w->member_propose = (struct nx_msg_member_propose){
            .epoch = m->epoch,
            .round = vote.round,
            .rank = vote.rank,
            .who = vote.who,
            .value = nx_bytes(out->memory, (size_t)(put_entry(out->memory, m->value, false) - out->memory))};
        break;
    case NX_MEMBER_ACCEPT:
        w->kind = NX_KIND_MEMBER_ACCEPT;
        w->member_accept =
            (struct nx_msg_member_accept){.epoch = m->epoch, .round = vote.round, .rank = vote.rank, .who = vote.who};
        break;
    case NX_MEMBER_NACK:
        w->kind = NX_KIND_MEMBER_NACK;
        w->member_nack = (struct nx_msg_member_nack){.round = m->ballot.round,
                                                     .rank = m->ballot.rank,
                                                     .promised_round = m->other.round,
                                                     .promised_rank = m->other.rank};
        break;
    case NX_MEMBER_CHAIN:
        w->kind = NX_KIND_MEMBER_CHAIN;
        put_chain(m, out->memory, &w->member_chain);
        break;
    case NX_MEMBER_JOINACK:
        w->kind = NX_KIND_MEMBER_JOINACK;
        w->member_joinack.members =
            nx_bytes(out->memory, (size_t)(put_uids(out->memory, m->uids.at, m->uids.n) - out->memory));
        break;
    default:
        w->kind = NX_KIND_MEMBER_JOIN;
        break;
    }
    return NEXAR_OK;
}
