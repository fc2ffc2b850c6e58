/* cluster/seed_io.c - connections of those who join, certificates for them, and the clock, for the machine of seed.c.
 *
 * Owner: the engine, but for the result and the count of connections, which are under the lock.  Connections that are
 * sent away stay until they have what was said to them, at most LINGER. */
#include "cluster/seed_io.h"

#include "base/call.h"
#include "base/log.h"
#include "base/mem.h"
#include "cluster/talk.h"
#include "identity/bundle.h"
#include "identity/ca.h"
#include "net/conn.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    CONNECTIONS_MAX = 4096,
    LINGER_MS = 2000,
    LIFETIME_DAYS = 365, /* of certificates: the longest job */
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
    bool bound;
};

struct nx_seed {
    /* const after init */
    struct nx_ca *ca;
    struct nx_key *key;
    struct nx_bundle *bundle;
    struct nx_proof_key proof;
    struct nx_quic_config *config;
    struct nx_quic_listener *listener;
    char *text;
    uint16_t port;
    /* engine */
    struct nx_seed_machine machine;
    struct nx_list callers;
    struct nx_timer timer;
    uint8_t nonce[NX_NONCE_SIZE], seed_proof[NX_PROOF_SIZE]; /* of the challenge that is being made */
    /* lock */
    struct nx_mutex lock;
    struct nx_list waiters; /* struct waiting */
    bool over;              /* formed or failed */
    nexar_error error;
    uint32_t connections;
};

struct waiting {
    struct nx_list link;
    struct nx_waiter waiter;
    bool for_end; /* of all connections */
};

static int64_t wall_clock(void)
{
    return (int64_t)time(NULL);
}

/* ---- results ---- */

/* With the lock. */
static void wake(struct nx_seed *seed)
{
    nx_list_for_each_safe(pos, tmp, &seed->waiters)
    {
        struct waiting *w = nx_container_of(pos, struct waiting, link);

        if (w->for_end ? seed->connections == 0 : seed->over)
            nx_waiter_wake(&w->waiter);
    }
}

/* After anything that the machine did. */
static void settle(struct nx_seed *seed)
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
    wake(seed);
    nx_unlock(&seed->lock);
}

static void tick(struct nx_timer *timer)
{
    settle(nx_container_of(timer, struct nx_seed, timer));
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
        st = nx_ca_issue_member(seed->ca, proof->csr.data, proof->csr.len, wall_clock(), (int64_t)LIFETIME_DAYS * 86400,
                                client->node, &certificate);
    if (st == NEXAR_OK && certificate.size > sizeof(client->certificate))
        st = nx_fail(NEXAR_ENOMEM, "its certificate is too long");
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

static void close_client(void *arg, struct nx_seed_client *client)
{
    struct caller *c = client->io;

    (void)arg;
    c->talk.deaf = true;
    nx_timer_set(&c->linger, nx_now() + LINGER_MS * NX_MS);
}

static void forget(void *arg, struct nx_seed_client *client)
{
    struct caller *c = client->io;

    (void)arg;
    c->client = NULL;
}

static const struct nx_seed_ops seed_ops = {
    .challenge = challenge, .admit = admit, .send = say, .close = close_client, .forget = forget};

/* ---- connections ---- */

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
    settle(c->seed);
    return true;
}

static void on_broken(void *arg, const char *why)
{
    struct caller *c = arg;

    if (c->client == NULL)
        return;
    nx_seed_babbled(&c->seed->machine, c->client, why);
    settle(c->seed);
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
    nx_timer_cancel(&c->linger);
    if (c->client != NULL) {
        nx_seed_gone(&seed->machine, c->client, why);
        settle(seed);
    }
    nx_list_remove(&c->link);
    nx_talk_fini(&c->talk);
    nx_buffer_put(c->hello);
    nx_buffer_put(c->challenge);
    nx_quic_conn_drop(c->quic);
    nx_free(c);
    nx_lock(&seed->lock);
    seed->connections--;
    wake(seed);
    nx_unlock(&seed->lock);
}

static struct nx_quic_config *accept_caller(void *arg, struct nx_quic_conn *quic, const char *alpn,
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
    nx_list_push_back(&seed->callers, &c->link);
    nx_lock(&seed->lock);
    seed->connections++;
    nx_unlock(&seed->lock);
    *events = &caller_events;
    *conn_arg = c;
    settle(seed);
    return seed->config;
}

/* ---- life ---- */

static nexar_status make_identity(struct nx_seed *seed)
{
    int64_t now = wall_clock(), lifetime = (int64_t)LIFETIME_DAYS * 86400;
    struct nx_der leaf = {0};
    nexar_status st = nx_ca_make(now, lifetime, &seed->ca);

    if (st == NEXAR_OK)
        st = nx_key_make(&seed->key);
    if (st == NEXAR_OK)
        st = nx_ca_issue_seed(seed->ca, seed->key, now, lifetime, &leaf);
    if (st == NEXAR_OK)
        st = nx_bundle_make(seed->key, leaf.data, leaf.size, nx_ca_trust(seed->ca), &seed->bundle);
    nx_der_free(&leaf);
    return st;
}

static nexar_status make_config(struct nx_seed *seed)
{
    /* A stranger may have one stream, and little on it. */
    struct nx_quic_settings s = {.alpn = {NX_ALPN_JOIN},
                                 .pkcs12 = seed->bundle->pkcs12,
                                 .pkcs12_len = seed->bundle->pkcs12_size,
                                 .connection_window = 16 * 1024,
                                 .stream_window = 16 * 1024,
                                 .bidi_streams = 1,
                                 .handshake_timeout = 5 * NX_S,
                                 .idle_timeout = 20 * NX_S,
                                 .keep_alive = NX_S,
                                 .disconnect = 5 * NX_S};

    return nx_quic_config_open(&s, &seed->config);
}

/* With a secret there is no token and no join string. */
static nexar_status make_proof(struct nx_seed *seed, const struct nx_seed_options *options, struct nx_join_string *join)
{
    nexar_status st;

    *join = (struct nx_join_string){.host_count = options->host_count};
    if (options->secret != NULL) {
        seed->proof = *options->secret;
        return NEXAR_OK;
    }
    st = nx_token_make(join->token);
    return st == NEXAR_OK ? nx_proof_key_from_token(join->token, &seed->proof) : st;
}

static nexar_status make_text(struct nx_seed *seed, const struct nx_seed_options *options, struct nx_join_string *join)
{
    if (options->secret != NULL)
        return NEXAR_OK;
    memcpy(join->ca_sha256, nx_trust_sha256(nx_ca_trust(seed->ca)), NX_SHA256_SIZE);
    for (size_t i = 0; i < options->host_count; i++) {
        join->hosts[i] = options->hosts[i];
        join->hosts[i].port = seed->port;
    }
    return nx_join_string_format(join, &seed->text);
}

static nexar_status listen_on(struct nx_seed *seed, const struct sockaddr *address)
{
    static const char *const alpn[] = {NX_ALPN_JOIN};
    struct sockaddr_storage bound;
    char text[NX_ADDRESS_SIZE];
    nexar_status st = nx_quic_listen(address, alpn, 1, accept_caller, seed, &seed->listener);

    if (st != NEXAR_OK) {
        char why[128];

        nx_address_text(address, text, sizeof(text));
        snprintf(why, sizeof(why), "%s", nexar_last_error());
        return nx_fail(st, "the seed at %s: %s", text, why);
    }
    nx_quic_listener_address(seed->listener, &bound);
    seed->port = ntohs(((struct sockaddr_in *)(void *)&bound)->sin_port);
    return NEXAR_OK;
}

static void free_seed(struct nx_seed *seed)
{
    nx_quic_config_close(seed->config);
    nx_free_secret(seed->text);
    nx_bundle_free(seed->bundle);
    nx_key_free(seed->key);
    nx_ca_free(seed->ca);
    explicit_bzero(&seed->proof, sizeof(seed->proof));
    nx_mutex_fini(&seed->lock);
    nx_free(seed);
}

nexar_status nx_seed_serve(const struct nx_seed_options *options, struct nx_seed **out)
{
    struct nx_seed *seed = nx_calloc(1, sizeof(*seed));
    struct nx_join_string join;
    nexar_status st;

    *out = NULL;
    if (seed == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a seed");
    nx_mutex_init(&seed->lock, NX_LOCK_NODE);
    nx_list_init(&seed->callers);
    nx_list_init(&seed->waiters);
    nx_timer_init(&seed->timer, tick);
    st = make_identity(seed);
    if (st == NEXAR_OK)
        st = make_config(seed);
    if (st == NEXAR_OK)
        st = make_proof(seed, options, &join);
    if (st == NEXAR_OK) {
        const struct nx_der *ca = nx_trust_der(nx_ca_trust(seed->ca));

        nx_seed_init(&seed->machine, options->size, options->timeout, nx_trust_cluster_id(nx_ca_trust(seed->ca)),
                     nx_bytes(ca->data, ca->size), &seed_ops, seed);
        st = listen_on(seed, (const struct sockaddr *)&options->listen);
    }
    if (st == NEXAR_OK)
        st = make_text(seed, options, &join);
    explicit_bzero(join.token, sizeof(join.token));
    if (st != NEXAR_OK) {
        nexar_error error = *nx_last_error();

        nx_quic_listener_close(seed->listener);
        free_seed(seed);
        return nx_fail_with(&error);
    }
    *out = seed;
    return NEXAR_OK;
}

const char *nx_seed_text(const struct nx_seed *seed)
{
    return seed->text;
}

uint16_t nx_seed_port(const struct nx_seed *seed)
{
    return seed->port;
}

static nexar_status wait_for(struct nx_seed *seed, bool end, nx_time deadline)
{
    struct waiting w = {.for_end = end};
    nexar_status st;

    nx_waiter_init(&w.waiter);
    nx_lock(&seed->lock);
    nx_list_push_back(&seed->waiters, &w.link);
    wake(seed);
    nx_unlock(&seed->lock);
    st = nx_waiter_wait(&w.waiter, deadline);
    nx_lock(&seed->lock);
    nx_list_remove(&w.link);
    nx_unlock(&seed->lock);
    return st;
}

nexar_status nx_seed_wait(struct nx_seed *seed, nx_time deadline)
{
    nexar_status st = wait_for(seed, false, deadline);

    if (st != NEXAR_OK)
        return st;
    return seed->error.status == NEXAR_OK ? NEXAR_OK : nx_fail_with(&seed->error);
}

static void end_all(void *arg)
{
    struct nx_seed *seed = arg;

    nx_seed_cancel(&seed->machine);
    settle(seed);
    nx_seed_fini(&seed->machine);
    nx_timer_cancel(&seed->timer);
    nx_list_for_each_safe(pos, tmp, &seed->callers)
    {
        struct caller *c = nx_container_of(pos, struct caller, link);

        /* Those that were told something hang up themselves; the others are of no interest. */
        if (!c->talk.deaf)
            nx_quic_conn_shutdown(c->quic, NX_CLOSE_DONE);
    }
}

void nx_seed_end(struct nx_seed *seed)
{
    if (seed == NULL)
        return;
    nx_quic_listener_close(seed->listener);
    if (nx_call(end_all, seed) != NEXAR_OK)
        return; /* in a forked child: nothing of this is ours */
    while (wait_for(seed, true, NX_NEVER) == NEXAR_EINTR)
        continue;
    /* When this has run, so has the callback that woke us, to its end. */
    nx_fence();
    free_seed(seed);
}
