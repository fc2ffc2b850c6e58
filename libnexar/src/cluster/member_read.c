/* cluster/member_read.c - messages of the membership from bytes.
 *
 * Owner: nobody, it is pure.  What arrives is checked here as far as bytes can be: lengths, order, digests; whether its
 * sender may say it is the machine's business.  Lengths from outside are compared with what is there before anything is
 * allocated for them. */
#include "cluster/member_wire.h"

#include "base/bytes.h"
#include "base/mem.h"
#include "base/status.h"

static nexar_status refuse(const char *what)
{
    return nx_fail(NEXAR_EPROTO, "a message about the members has %s", what);
}

static nexar_status take_uids(struct nx_reader *in, uint32_t n, struct nx_uids *out)
{
    const uint8_t *bytes;

    if (n > NX_WORLD_MAX)
        return refuse("more processes than a job can have");
    bytes = nx_read(in, n * sizeof(struct nx_uid));
    if (bytes == NULL)
        return refuse("a list that is cut off");
    out->at = nx_alloc(n * sizeof(struct nx_uid) + 1);
    if (out->at == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a list of %u processes", n);
    if (n != 0)
        memcpy(out->at, bytes, n * sizeof(struct nx_uid));
    out->n = n;
    return NEXAR_OK;
}

static nexar_status take_stand(const struct nx_bytes *bytes, struct nx_member_msg *m)
{
    struct nx_reader in = nx_reader(bytes->data, bytes->len);
    const uint8_t *head = nx_read(&in, NX_STAND_HEAD);
    nexar_status status;

    if (head == NULL)
        return refuse("half a stand");
    m->stands = true;
    m->stand.agree = nx_load64(head);
    m->stand.flag = nx_load64(head + 8);
    m->stand.ready = (nx_load32(head + 16) & NX_STAND_READY) != 0;
    m->stand.leaving = (nx_load32(head + 16) & NX_STAND_LEAVING) != 0;
    status = take_uids(&in, nx_load32(head + 20), &m->stand.suspects);
    if (status == NEXAR_OK)
        status = take_uids(&in, nx_load32(head + 24), &m->stand.candidates);
    if (status == NEXAR_OK)
        status = take_uids(&in, nx_load32(head + 28), &m->uids);
    if (status != NEXAR_OK)
        return status;
    if (in.at != in.end || nx_load32(head + 16) > (NX_STAND_READY | NX_STAND_LEAVING) ||
        !nx_uids_valid(&m->stand.suspects) || !nx_uids_valid(&m->stand.candidates) || !nx_uids_valid(&m->uids))
        return refuse("a stand that is none");
    return NEXAR_OK;
}

/* The pieces of an entry as they lie in the message. */
struct pieces {
    const uint8_t *head, *digest, *gone, *gone_uids, *uids;
    uint32_t n_gone, joined, world, flags;
};

static nexar_status take_pieces(struct nx_reader *in, bool whole, struct pieces *p)
{
    p->head = nx_read(in, NX_CHANGE_HEAD);
    p->digest = nx_read(in, NX_ENTRY_DIGEST);
    if (p->digest == NULL)
        return refuse("an entry that is cut off");
    p->flags = nx_load32(p->head + 32);
    p->world = nx_load32(p->head + 36);
    p->n_gone = nx_load32(p->head + 40);
    p->joined = nx_load32(p->head + 44);
    if (p->world > NX_WORLD_MAX || p->n_gone > NX_WORLD_MAX || p->joined > p->world)
        return refuse("an entry with more members than a job can have");
    if ((p->flags & ~(uint32_t)(NX_ENTRY_AGREE | NX_ENTRY_CHECKPOINT)) != (whole ? NX_ENTRY_WHOLE : 0u))
        return refuse("an entry of the wrong form");
    p->gone = nx_read(in, p->n_gone * sizeof(uint32_t));
    p->gone_uids = nx_read(in, whole ? p->n_gone * sizeof(struct nx_uid) : 0);
    p->uids = nx_read(in, (whole ? p->world : p->joined) * sizeof(struct nx_uid));
    return in->failed ? refuse("an entry that is cut off") : NEXAR_OK;
}

static void take_gone(const struct pieces *p, struct nx_gone *gone)
{
    for (uint32_t i = 0; i < p->n_gone; i++) {
        uint32_t word = nx_load32(p->gone + (size_t)i * 4);

        gone[i] = (struct nx_gone){.rank = word & ~NX_GONE_LEFT, .left = (word & NX_GONE_LEFT) != 0};
        if (p->gone_uids != NULL)
            memcpy(&gone[i].uid, p->gone_uids + i * sizeof(struct nx_uid), sizeof(struct nx_uid));
    }
}

static nexar_status make_whole(const struct pieces *p, const struct nx_gone *gone, struct nx_entry **out)
{
    struct nx_entry head = {.joined = p->joined,
                            .epoch = nx_load64(p->head),
                            .agrees = nx_load64(p->head + 8),
                            .checkpoints = nx_load64(p->head + 16),
                            .result = nx_load64(p->head + 24),
                            .agree = (p->flags & NX_ENTRY_AGREE) != 0,
                            .checkpoint = (p->flags & NX_ENTRY_CHECKPOINT) != 0,
                            .n_gone = p->n_gone};

    memcpy(head.digest, p->digest, NX_ENTRY_DIGEST);
    if (p->world == 0 || head.epoch > INT64_MAX)
        return refuse("an entry without members");
    *out = nx_entry_whole(&head, (const struct nx_uid *)(const void *)p->uids, p->world, gone);
    return *out == NULL ? nx_last_error()->status : NEXAR_OK;
}

/* NULL in *out if `last` is: the entry is known to be well formed, no more. */
static nexar_status make_next(const struct pieces *p, const struct nx_entry *last, const struct nx_gone *gone,
                              struct nx_entry **out)
{
    struct nx_change change = {.n_gone = p->n_gone,
                               .n_joined = p->joined,
                               .gone = gone,
                               .joined = (const struct nx_uid *)(const void *)p->uids,
                               .agree = (p->flags & NX_ENTRY_AGREE) != 0,
                               .checkpoint = (p->flags & NX_ENTRY_CHECKPOINT) != 0,
                               .result = nx_load64(p->head + 24)};
    uint8_t head[NX_CHANGE_HEAD];

    *out = NULL;
    if (last == NULL)
        return NEXAR_OK;
    *out = nx_entry_next(last, &change);
    if (*out == NULL)
        return nx_last_error()->status;
    nx_entry_head(*out, head);
    if (memcmp(head, p->head, NX_CHANGE_HEAD) == 0 && memcmp((*out)->digest, p->digest, NX_ENTRY_DIGEST) == 0)
        return NEXAR_OK;
    nx_entry_drop(*out);
    *out = NULL;
    return refuse("an entry that does not follow the one before");
}

/* The entry in force when this one was made: one of ours, or `before`. */
static const struct nx_entry *entry_before(const struct nx_acceptor *own, const struct nx_entry *before, uint64_t epoch)
{
    if (epoch == 0 || epoch > INT64_MAX)
        return NULL;
    if (before != NULL && before->epoch == epoch - 1)
        return before;
    return nx_acceptor_find(own, epoch - 1);
}

static nexar_status take_entry(struct nx_reader *in, const struct nx_acceptor *own, const struct nx_entry *before,
                               bool whole, struct nx_entry **out)
{
    struct pieces p = {0};
    struct nx_gone *gone;
    nexar_status status = take_pieces(in, whole, &p);

    *out = NULL;
    if (status != NEXAR_OK)
        return status;
    if (!whole)
        p.gone_uids = NULL;
    gone = nx_calloc(p.n_gone + 1, sizeof(*gone));
    if (gone == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a list of %u processes", p.n_gone);
    take_gone(&p, gone);
    status = whole ? make_whole(&p, gone, out) : make_next(&p, entry_before(own, before, nx_load64(p.head)), gone, out);
    nx_free(gone);
    return status;
}

static nexar_status take_value(const struct nx_acceptor *own, const struct nx_bytes *bytes, size_t skip,
                               struct nx_member_msg *m)
{
    struct nx_reader in = nx_reader(bytes->data, bytes->len);
    const uint8_t *ballot = nx_read(&in, skip);
    nexar_status status;

    if (ballot == NULL)
        return refuse("an entry that is cut off");
    if (skip != 0)
        m->other = (struct nx_ballot){.round = nx_load32(ballot), .rank = nx_load32(ballot + 4)};
    status = take_entry(&in, own, NULL, false, &m->value);
    if (status != NEXAR_OK)
        return status;
    if (in.at != in.end || (m->value != NULL && m->value->epoch != m->epoch + 1))
        return refuse("an entry that is not the next one");
    return NEXAR_OK;
}

static nexar_status take_chain(const struct nx_acceptor *own, const struct nx_msg_member_chain *w,
                               struct nx_member_msg *m)
{
    struct nx_reader in = nx_reader(w->entries.data, w->entries.len);
    const struct nx_entry *before = NULL;
    nexar_status status = NEXAR_OK;

    m->whole = w->form == 1;
    m->behind = w->form == 2;
    for (uint32_t i = 0; in.at != in.end && status == NEXAR_OK; i++) {
        struct nx_entry *e = NULL;

        if (i == NX_HISTORY || w->form > 2)
            return refuse("a chain that is none");
        status = take_entry(&in, own, before, m->whole && i == 0, &e);
        if (e != NULL) {
            m->chain[m->n++] = e;
            before = e;
        }
    }
    return status;
}

static nexar_status take_members(const struct nx_bytes *bytes, struct nx_member_msg *m)
{
    struct nx_reader in = nx_reader(bytes->data, bytes->len);

    if (bytes->len % sizeof(struct nx_uid) != 0 || bytes->len / sizeof(struct nx_uid) > NX_WORLD_MAX)
        return refuse("a list of members that is none");
    return take_uids(&in, (uint32_t)(bytes->len / sizeof(struct nx_uid)), &m->uids);
}

static void take_vote(struct nx_member_msg *m, uint64_t epoch, uint32_t round, uint32_t rank, uint32_t who)
{
    m->epoch = epoch;
    m->ballot = (struct nx_ballot){.round = round, .rank = rank};
    m->who = who;
}

static nexar_status take(const struct nx_acceptor *own, const struct nx_message *w, struct nx_member_msg *m)
{
    const struct nx_msg_member_promise *p = &w->member_promise;
    nexar_status status = NEXAR_OK;

    switch (m->kind) {
    case NX_MEMBER_BEAT:
        m->epoch = w->member_beat.epoch;
        if (w->member_beat.digest.len != NX_ENTRY_DIGEST)
            return refuse("a digest of another size");
        memcpy(m->digest, w->member_beat.digest.data, NX_ENTRY_DIGEST);
        status = take_stand(&w->member_beat.stand, m);
        break;
    case NX_MEMBER_PREPARE:
        take_vote(m, w->member_prepare.epoch, w->member_prepare.round, w->member_prepare.rank, w->member_prepare.who);
        break;
    case NX_MEMBER_PROMISE:
        take_vote(m, p->epoch, p->round, p->rank, p->who);
        if (p->stand.len != 0)
            status = take_stand(&p->stand, m);
        if (status == NEXAR_OK && p->accepted.len != 0)
            status = take_value(own, &p->accepted, 8, m);
        break;
    case NX_MEMBER_PROPOSE:
        take_vote(m, w->member_propose.epoch, w->member_propose.round, w->member_propose.rank, w->member_propose.who);
        status = take_value(own, &w->member_propose.value, 0, m);
        break;
    case NX_MEMBER_ACCEPT:
        take_vote(m, w->member_accept.epoch, w->member_accept.round, w->member_accept.rank, w->member_accept.who);
        break;
    case NX_MEMBER_NACK:
        m->ballot = (struct nx_ballot){.round = w->member_nack.round, .rank = w->member_nack.rank};
        m->other = (struct nx_ballot){.round = w->member_nack.promised_round, .rank = w->member_nack.promised_rank};
        break;
    case NX_MEMBER_CHAIN:
        status = take_chain(own, &w->member_chain, m);
        break;
    case NX_MEMBER_JOINACK:
        status = take_members(&w->member_joinack.members, m);
        break;
    default:
        break;
    }
    if (status == NEXAR_OK && m->epoch > INT64_MAX)
        return refuse("an epoch that nobody reaches");
    return status;
}

nexar_status nx_member_from_wire(const struct nx_acceptor *own, const struct nx_message *wire,
                                 struct nx_member_msg **out)
{
    enum nx_member_kind kind = (enum nx_member_kind)(wire->kind - NX_KIND_MEMBER_BEAT);
    struct nx_member_msg *m;
    nexar_status status;

    *out = NULL;
    if (wire->kind < NX_KIND_MEMBER_BEAT || wire->kind > NX_KIND_MEMBER_JOINACK)
        return nx_fail(NEXAR_EPROTO, "message %s says nothing about the members", nx_message_name(wire->kind));
    m = nx_member_msg_new(kind, kind == NX_MEMBER_CHAIN ? NX_HISTORY : 0);
    if (m == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a message");
    status = take(own, wire, m);
    if (status != NEXAR_OK) {
        nx_member_msg_drop(m);
        return status;
    }
    *out = m;
    return NEXAR_OK;
}
