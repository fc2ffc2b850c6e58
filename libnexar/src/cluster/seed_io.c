/* cluster/seed_io.c - connections of those who join, certificates for them, and the clock, for the machine of seed.c.
 *
 * Owner: the engine, but for the result and the count of connections, which are under the lock.  Connections that are
 * sent away stay until they have what was said to them, at most LINGER. */
#include "cluster/seed_io.h"

#include "base/log.h"
#include "base/mem.h"
#include "cluster/seed_serve.h"
#include "cluster/talk.h"
#include "net/conn.h"

#include <string.h>

enum {
    CONNECTIONS_MAX = 2 * NX_RANKS_MAX,
    LINGER_MS = 2000, /* of those that have joined */
    LINGER_STRANGER_MS = 500,
};

/* Somebody who is connected. */
struct caller {
    struct nx_list link;
    struct nx_seed *seed;
    struct nx_quic_conn *quic;
    struct nx_talk talk;
    struct nx_seed_client *client; /* NULL once the machine has forgotten it */
    struct nx_proof_context context;
    struct nx_buffer *hello, *challenge; /* what was said, for the proofs */
    struct nx_timer linger;
    struct nx_watch watch; /* its process, if that is of this host */
    bool bound;
};

void nx_seed_settle(struct nx_seed *seed)
{
    nx_time next = nx_seed_tick(&seed->machine, nx_now());

    if (next == NX_NEVER)
        nx_timer_cancel(&seed->timer);
    else
        nx_timer_set(&seed->timer, next);
    if (seed->machine.state < NX_SEED_FORMED)
        return;
    nx_lock(&seed->lock);
    if (!seed->over) {
        seed->over = true;
        seed->error = seed->machine.error;
        if (seed->machine.state == NX_SEED_FORMED)
            nx_info("the job of %u ranks has formed", seed->machine.size);
        else
            nx_warn("%s", seed->error.text);
    }
    nx_seed_wake(seed);
    nx_unlock(&seed->lock);
}

/* ---- actions of the machine ---- */

static nexar_status challenge(void *arg, struct nx_seed_client *client, const struct nx_msg_join_hello *hello,
                              const uint8_t *archive, size_t n, struct nx_msg_join_challenge *out)
{
    struct nx_seed *seed = arg;
    struct caller *c = client->io;
    struct nx_span said;
    nexar_status st;

    if (hello->nonce.len != NX_NONCE_SIZE)
        return nx_fail(NEXAR_EPROTO, "a nonce of %zu bytes", hello->nonce.len);
    memcpy(c->context.nonce_worker, hello->nonce.data, NX_NONCE_SIZE);
    memcpy(c->context.seed_cert_sha256, seed->bundle->cert_sha256, NX_SHA256_SIZE);
    c->hello = nx_buffer_get(n);
    if (c->hello == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory");
    memcpy(c->hello->data, archive, n);
    c->hello->used = n;
    st = nx_random(c->context.nonce_seed, NX_NONCE_SIZE);
    if (st != NEXAR_OK)
        return st;
    said = (struct nx_span){.data = c->hello->data, .size = n};
    c->context.said = &said;
    c->context.said_count = 1;
    st = nx_proof_make(&seed->proof, NX_PROOF_SEED, &c->context, seed->seed_proof);
    c->context.said = NULL;
    memcpy(seed->nonce, c->context.nonce_seed, NX_NONCE_SIZE);
    *out = (struct nx_msg_join_challenge){.nonce = nx_bytes(seed->nonce, NX_NONCE_SIZE),
                                          .proof = nx_bytes(seed->seed_proof, NX_PROOF_SIZE)};
    return st;
}

static nexar_status admit(void *arg, struct nx_seed_client *client, const struct nx_msg_join_proof *proof)
{
    struct nx_seed *seed = arg;
    struct caller *c = client->io;
    struct nx_span said[2];
    struct nx_der certificate = {0};
    nexar_status st;

    if (c->challenge == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory");
    said[0] = (struct nx_span){.data = c->hello->data, .size = c->hello->used};
    said[1] = (struct nx_span){.data = c->challenge->data, .size = c->challenge->used};
    c->context.said = said;
    c->context.said_count = 2;
    st = nx_proof_check(&seed->proof, NX_PROOF_WORKER, &c->context, proof->proof.data, proof->proof.len);
    c->context.said = NULL;
    if (st == NEXAR_OK)
        st = nx_ca_issue_member(seed->ca, proof->csr.data, proof->csr.len, nx_seed_clock(), NX_SEED_LIFETIME,
                                client->node, &certificate);
    if (st == NEXAR_OK && certificate.size > sizeof(client->certificate))
        st = nx_fail(NEXAR_ENOMEM, "its certificate is too long");
    if (st == NEXAR_OK && proof->process.len != 0 && !nx_watch_is_on(&c->watch) &&
        !nx_watch_start(&c->watch, &seed->self, proof->process.data, proof->process.len))
        st = nx_fail(NEXAR_EPROTO, "it is no process");
    if (st == NEXAR_OK) {
        memcpy(client->certificate, certificate.data, certificate.size);
        client->certificate_len = certificate.size;
        c->talk.limit = NX_TALK_MEMBER_MAX;
    }
    nx_der_free(&certificate);
    nx_buffer_put(c->hello);
    nx_buffer_put(c->challenge);
    c->hello = c->challenge = NULL;
    return st;
}

static void say(void *arg, struct nx_seed_client *client, const struct nx_message *message)
{
    struct caller *c = client->io;
    bool keep = message->kind == NX_KIND_JOIN_CHALLENGE;

    (void)arg;
    if (nx_talk_say(&c->talk, message, keep ? &c->challenge : NULL) != NEXAR_OK) {
        nx_debug("%s is not told: %s", client->from, nexar_last_error());
        nx_quic_conn_shutdown(c->quic, NX_CLOSE_ABORTED);
    }
}

static void full(void *arg)
{
    struct nx_seed *seed = arg;

    if (seed->full != NULL)
        seed->full(seed->full_arg);
}

/* Who was told something hangs up when it has it, or we do after a while. */
static void close_client(void *arg, struct nx_seed_client *client, bool told)
{
    struct caller *c = client->io;

    (void)arg;
    c->talk.deaf = true;
    if (told)
        nx_timer_set(&c->linger, nx_now() + (client->stage < NX_SEED_PROVEN ? LINGER_STRANGER_MS : LINGER_MS) * NX_MS);
    else
        nx_quic_conn_shutdown(c->quic, NX_CLOSE_DONE);
}

static void forget(void *arg, struct nx_seed_client *client)
{
    struct caller *c = client->io;

    (void)arg;
    c->client = NULL;
}

static bool elsewhere(void *arg, struct nx_pairs *out)
{
    struct nx_seed *seed = arg;

    if (seed->elsewhere != NULL)
        return seed->elsewhere(seed->elsewhere_arg, out);
    for (uint32_t i = 0; i < seed->nexts; i++)
        seed->pair[i] = (struct nx_pair){.key = i, .text = nx_text(seed->next[i])};
    *out = (struct nx_pairs){.count = seed->nexts, .items = seed->pair};
    return seed->nexts != 0;
}

/* The first address of each rank, then the second: whoever is new may not reach all of them. */
static void formed(void *arg)
{
    struct nx_seed *seed = arg;
    const struct nx_seed_machine *m = &seed->machine;

    seed->nexts = 0;
    for (uint32_t i = 0; i < NX_ADDRESSES_MAX; i++) {
        for (uint32_t rank = 0; rank < m->size && seed->nexts < NX_ADDRESSES_MAX; rank++) {
            if (i < m->by_rank[rank]->lobbies)
                memcpy(seed->next[seed->nexts++], m->by_rank[rank]->lobby[i], NX_ADDRESS_SIZE);
        }
    }
}

const struct nx_seed_ops nx_seed_ops = {.challenge = challenge,
                                        .admit = admit,
                                        .send = say,
                                        .close = close_client,
                                        .full = full,
                                        .forget = forget,
                                        .elsewhere = elsewhere,
                                        .formed = formed};

/* ---- connections ---- */

/* Sooner than the connection notices. */
static void process_ended(struct nx_watch *watch)
{
    struct caller *c = nx_container_of(watch, struct caller, watch);

    if (c->client != NULL) {
        nx_seed_gone(&c->seed->machine, c->client, "its process has ended");
        nx_seed_settle(c->seed);
    }
    nx_quic_conn_shutdown(c->quic, NX_CLOSE_DONE);
}

static void linger_over(struct nx_timer *timer)
{
    nx_quic_conn_shutdown(nx_container_of(timer, struct caller, linger)->quic, NX_CLOSE_DONE);
}

static bool on_message(void *arg, const struct nx_message *message, const uint8_t *archive, size_t n)
{
    struct caller *c = arg;

    if (c->client == NULL)
        return false;
    nx_seed_said(&c->seed->machine, c->client, message, archive, n, nx_now());
    nx_seed_settle(c->seed);
    return true;
}

static void on_broken(void *arg, const char *why)
{
    struct caller *c = arg;

    if (c->client == NULL)
        return;
    nx_seed_babbled(&c->seed->machine, c->client, why);
    nx_seed_settle(c->seed);
}

static nexar_status on_certificate(void *arg, const uint8_t *leaf, size_t leaf_len, const uint8_t *chain,
                                   size_t chain_len)
{
    (void)arg, (void)leaf, (void)leaf_len, (void)chain, (void)chain_len;
    return NEXAR_OK; /* those who join have none yet; they prove themselves by the token */
}

static void on_connected(void *arg, const char *alpn)
{
    (void)arg, (void)alpn;
}

static bool on_stream(void *arg, struct nx_quic_stream *stream, bool bidirectional)
{
    struct caller *c = arg;

    if (!bidirectional || c->bound)
        return false;
    c->bound = true;
    nx_quic_stream_bind(stream, &nx_talk_events, &c->talk);
    nx_talk_open(&c->talk, stream);
    return true;
}

static void on_closed(void *arg, nexar_status status, uint64_t code, const char *why)
{
    struct caller *c = arg;
    struct nx_seed *seed = c->seed;

    (void)status, (void)code;
    if (c->client != NULL) {
        nx_seed_gone(&seed->machine, c->client, why);
        nx_seed_settle(seed);
    }
    nx_timer_cancel(&c->linger);
    nx_watch_stop(&c->watch);
    nx_list_remove(&c->link);
    nx_talk_fini(&c->talk);
    nx_buffer_put(c->hello);
    nx_buffer_put(c->challenge);
    nx_quic_conn_drop(c->quic);
    nx_free(c);
    nx_lock(&seed->lock);
    seed->connections--;
    nx_seed_wake(seed);
    nx_unlock(&seed->lock);
}

struct nx_quic_config *nx_seed_accept(void *arg, struct nx_quic_conn *quic, const char *alpn,
                                      const struct sockaddr *from, const struct nx_quic_conn_events **events,
                                      void **conn_arg)
{
    static const struct nx_quic_conn_events caller_events = {
        .certificate = on_certificate, .connected = on_connected, .stream = on_stream, .closed = on_closed};
    struct nx_seed *seed = arg;
    struct caller *c;
    char text[NX_ADDRESS_SIZE];

    (void)alpn;
    nx_address_text(from, text, sizeof(text));
    if (seed->connections >= CONNECTIONS_MAX)
        return NULL;
    c = nx_calloc(1, sizeof(*c));
    if (c == NULL)
        return NULL;
    c->client = nx_seed_connected(&seed->machine, c, text, nx_now());
    if (c->client == NULL) {
        nx_free(c);
        return NULL;
    }
    c->seed = seed;
    c->quic = quic;
    nx_talk_init(&c->talk, NX_TALK_STRANGER_MAX, c, on_message, on_broken);
    nx_timer_init(&c->linger, linger_over);
    nx_watch_init(&c->watch, process_ended);
    nx_list_push_back(&seed->callers, &c->link);
    nx_lock(&seed->lock);
    seed->connections++;
    nx_unlock(&seed->lock);
    *events = &caller_events;
    *conn_arg = c;
    nx_seed_settle(seed);
    return seed->config;
}

void nx_seed_hang_up(struct nx_seed *seed)
{
    nx_list_for_each_safe(pos, tmp, &seed->callers)
    {
        struct caller *c = nx_container_of(pos, struct caller, link);

        if (!c->talk.deaf)
            nx_quic_conn_shutdown(c->quic, NX_CLOSE_DONE);
    }
}
