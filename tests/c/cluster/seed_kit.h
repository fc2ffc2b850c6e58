/* seed_kit.h - the seed's machine with clients that are played by a test: what it does becomes lines of text. */
#ifndef NX_TEST_SEED_KIT_H
#define NX_TEST_SEED_KIT_H

#include "cluster/seed.h"

#include "check.h"
#include "text.h"

enum { SEED_CLIENTS = 66 };

struct fake_seed {
    struct nx_seed_machine m;
    nx_time now;
    struct text log;
    struct nx_seed_client *client[SEED_CLIENTS]; /* NULL once forgotten */
    uint32_t rank[SEED_CLIENTS];                 /* as it was told */
    struct {
        bool stranger;
        uint8_t node; /* 0: its own */
        const uint8_t *group;
        uint32_t rank_plus_one, size, local_rank_plus_one, formation;
    } who[SEED_CLIENTS];
    bool elsewhere; /* who is new is sent on */
};

static inline int seed_index(struct fake_seed *f, const struct nx_seed_client *client)
{
    (void)f;
    return (int)(intptr_t)client->io - 1;
}

static inline nexar_status seed_challenge(void *arg, struct nx_seed_client *client,
                                          const struct nx_msg_join_hello *hello, const uint8_t *archive, size_t n,
                                          struct nx_msg_join_challenge *out)
{
    (void)arg, (void)client, (void)archive, (void)n;
    if (hello->nonce.len == 0)
        return nx_fail(NEXAR_EPROTO, "a nonce of 0 bytes");
    *out = (struct nx_msg_join_challenge){.nonce = nx_bytes("nonce", 5)};
    return NEXAR_OK;
}

static inline nexar_status seed_admit(void *arg, struct nx_seed_client *client, const struct nx_msg_join_proof *proof)
{
    struct fake_seed *f = arg;
    int i = seed_index(f, client);

    (void)proof;
    if (f->who[i].stranger)
        return nx_fail(NEXAR_EAUTH, "the proof is wrong");
    memset(client->node, 0, NX_ID_SIZE);
    client->node[0] = f->who[i].node != 0 ? f->who[i].node : (uint8_t)(i + 1);
    return NEXAR_OK;
}

static inline void seed_send(void *arg, struct nx_seed_client *client, const struct nx_message *message)
{
    struct fake_seed *f = arg;
    int i = seed_index(f, client);

    text_print(&f->log, "%d< %s", i, nx_message_name(message->kind));
    if (message->kind == NX_KIND_ABORT) {
        text_print(&f->log, " %u: ", message->abort.code);
        text_add(&f->log, message->abort.reason.data, message->abort.reason.len);
    } else if (message->kind == NX_KIND_JOIN_WELCOME) {
        f->rank[i] = message->join_welcome.rank;
        text_print(&f->log, " %u of %u", f->rank[i], message->join_welcome.world_size);
    } else if (message->kind == NX_KIND_ROSTER) {
        for (size_t k = 0; k < message->roster.addresses.count; k++) {
            struct nx_pair pair = nx_pairs_at(&message->roster.addresses, k);

            text_print(&f->log, " %u=%.*s/%u", pair.key, (int)pair.text.len, pair.text.data,
                       message->roster.nodes.data[pair.key * NX_ID_SIZE]);
        }
    }
    text_print(&f->log, "\n");
}

static inline void seed_close(void *arg, struct nx_seed_client *client, bool told)
{
    struct fake_seed *f = arg;

    text_print(&f->log, "%d close%s\n", seed_index(f, client), told ? " told" : "");
}

static inline void seed_full(void *arg)
{
    struct fake_seed *f = arg;

    text_print(&f->log, "full\n");
}

static inline bool seed_elsewhere(void *arg, struct nx_pairs *out)
{
    struct fake_seed *f = arg;

    *out = (struct nx_pairs){0};
    return f->elsewhere;
}

static inline void seed_formed(void *arg)
{
    struct fake_seed *f = arg;

    text_print(&f->log, "formed %u\n", f->m.size);
}

static inline void seed_forget(void *arg, struct nx_seed_client *client)
{
    struct fake_seed *f = arg;

    f->client[seed_index(f, client)] = NULL;
}

static inline void seed_open(struct fake_seed *f, uint32_t size)
{
    static const struct nx_seed_ops ops = {.challenge = seed_challenge,
                                           .admit = seed_admit,
                                           .send = seed_send,
                                           .close = seed_close,
                                           .full = seed_full,
                                           .forget = seed_forget,
                                           .elsewhere = seed_elsewhere,
                                           .formed = seed_formed};
    static const uint8_t cluster[NX_ID_SIZE];

    memset(f, 0, sizeof(*f));
    f->now = 1000 * NX_S;
    nx_seed_init(&f->m, size, 60 * NX_S, cluster, nx_bytes("ca", 2), &ops, f);
}

static inline void seed_shut(struct fake_seed *f)
{
    nx_seed_fini(&f->m);
    text_free(&f->log);
    for (int i = 0; i < SEED_CLIENTS; i++)
        assert_null(f->client[i]);
}

/* What it did since the last time is this; and no line is left out. */
static inline void seed_did(struct fake_seed *f, const char *wanted)
{
    assert_string_equal(f->log.data == NULL ? "" : f->log.data, wanted);
    text_free(&f->log);
}

static inline void seed_connect(struct fake_seed *f, int i)
{
    char from[16];

    snprintf(from, sizeof(from), "host%d", i);
    f->client[i] = nx_seed_connected(&f->m, (void *)(intptr_t)(i + 1), from, f->now);
    assert_non_null(f->client[i]);
}

static inline void seed_say(struct fake_seed *f, int i, const struct nx_message *message)
{
    assert_non_null(f->client[i]);
    nx_seed_said(&f->m, f->client[i], message, (const uint8_t *)"", 0, f->now);
}

static inline struct nx_message seed_hello(struct fake_seed *f, int i)
{
    static const uint8_t none[NX_ID_SIZE];
    struct nx_message m = {.kind = NX_KIND_JOIN_HELLO};

    m.join_hello =
        (struct nx_msg_join_hello){.version = NX_JOIN_VERSION,
                                   .rank_plus_one = f->who[i].rank_plus_one,
                                   .world_size = f->who[i].size,
                                   .local_rank_plus_one = f->who[i].local_rank_plus_one,
                                   .formation = f->who[i].formation,
                                   .nonce = nx_bytes("nonce", 5),
                                   .group = nx_bytes(f->who[i].group == NULL ? none : f->who[i].group, NX_ID_SIZE)};
    return m;
}

static inline void seed_say_hello(struct fake_seed *f, int i)
{
    struct nx_message m = seed_hello(f, i);

    seed_say(f, i, &m);
}

static inline void seed_say_proof(struct fake_seed *f, int i)
{
    seed_say(f, i, &(struct nx_message){.kind = NX_KIND_JOIN_PROOF});
}

static inline void seed_say_listen(struct fake_seed *f, int i)
{
    struct nx_message m = {.kind = NX_KIND_JOIN_LISTEN};
    struct nx_pair pair;
    char address[16];

    snprintf(address, sizeof(address), "a%d", i);
    pair = (struct nx_pair){.text = nx_text(address)};
    m.join_listen.addresses = (struct nx_pairs){.count = 1, .items = &pair};
    if (nx_seed_grows(&f->m))
        m.join_listen.lobby = m.join_listen.addresses;
    seed_say(f, i, &m);
}

static inline void seed_say_ready(struct fake_seed *f, int i)
{
    seed_say(f, i, &(struct nx_message){.kind = NX_KIND_JOIN_READY});
}

static inline void seed_say_abort(struct fake_seed *f, int i, enum nx_abort_code code, const char *reason)
{
    struct nx_message m = {.kind = NX_KIND_ABORT};

    m.abort = (struct nx_msg_abort){.code = (uint16_t)code, .reason = nx_text(reason)};
    seed_say(f, i, &m);
}

/* Everything up to a stage, as far as it goes alone. */
static inline void seed_bring(struct fake_seed *f, int i, enum nx_seed_stage stage)
{
    seed_connect(f, i);
    if (stage >= NX_SEED_CHALLENGED)
        seed_say_hello(f, i);
    if (stage >= NX_SEED_PROVEN)
        seed_say_proof(f, i);
    if (stage >= NX_SEED_LISTENING)
        seed_say_listen(f, i);
    if (stage >= NX_SEED_READY)
        seed_say_ready(f, i);
}

#endif
