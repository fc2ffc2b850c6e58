/* cluster/join_io.c - the worker's connection to the seed, its key and certificate, and the clock, for the machine of
 * join.c.
 *
 * Owner: the engine.  The private key is made here and stays here; what is said before the seed has proven itself gives
 * nothing away. */
#include "cluster/join_io.h"

#include "base/call.h"
#include "base/mem.h"
#include "base/process.h"
#include "cluster/talk.h"
#include "identity/csr.h"
#include "identity/digest.h"
#include "identity/key.h"
#include "identity/verify.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { LINGER_MS = 1000 };

struct nx_joining {
    struct nx_join_options options;
    const struct nx_join_owner *owner;
    void *arg;
    struct nx_join_machine machine;
    struct nx_timer timer;
    struct nx_quic_config *config;
    struct nx_key *key;
    struct nx_der csr;
    /* of this attempt */
    struct nx_quic_conn *quic; /* a reference; NULL between attempts */
    struct nx_talk talk;
    struct nx_seed_identity seed; /* of its certificate, as judged in the handshake */
    nexar_status verdict;
    char verdict_text[160];
    struct nx_proof_context context;
    uint8_t proof[NX_PROOF_SIZE];
    char process[NX_PROCESS_TEXT];
    struct nx_buffer *hello;
    struct nx_timer linger;
    bool finished;
    /* of the answer to a welcome */
    char addresses[NX_ADDRESSES_MAX][NX_ADDRESS_SIZE], lobby[NX_ADDRESSES_MAX][NX_ADDRESS_SIZE];
    struct nx_pair pairs[NX_ADDRESSES_MAX], lobby_pairs[NX_ADDRESSES_MAX];
    /* where the next attempt goes */
    struct sockaddr_storage seeds[2 * NX_JOIN_HOSTS]; /* first those that another seed has named */
    uint32_t seed_count, next;
    /* lock: who waits for the connection to be gone */
    struct nx_mutex lock;
    bool connected; /* `closed` has not come */
    struct nx_waiter *waiter;
};

static void settle(struct nx_joining *j)
{
    nx_time next = nx_join_tick(&j->machine, nx_now());

    if (next == NX_NEVER)
        nx_timer_cancel(&j->timer);
    else
        nx_timer_set(&j->timer, next);
}

static void tick(struct nx_timer *timer)
{
    settle(nx_container_of(timer, struct nx_joining, timer));
}

/* ---- the connection ---- */

static nexar_status on_certificate(void *arg, const uint8_t *leaf, size_t leaf_len, const uint8_t *chain,
                                   size_t chain_len)
{
    struct nx_joining *j = arg;
    const uint8_t *fingerprint = j->options.by_fingerprint ? j->options.ca_sha256 : NULL;
    enum nx_refusal why;

    nx_trust_free(j->seed.trust);
    j->seed.trust = NULL;
    j->verdict = nx_verify_seed(fingerprint, leaf, leaf_len, chain, chain_len, (int64_t)time(NULL), &j->seed, &why);
    if (j->verdict != NEXAR_OK)
        snprintf(j->verdict_text, sizeof(j->verdict_text), "%s", nexar_last_error());
    return j->verdict;
}

static bool on_message(void *arg, const struct nx_message *message, const uint8_t *archive, size_t n)
{
    struct nx_joining *j = arg;

    if (j->finished) { /* an answer to our last word: it has arrived */
        nx_quic_conn_shutdown(j->quic, NX_CLOSE_DONE);
        return false;
    }
    nx_join_said(&j->machine, message, archive, n);
    settle(j);
    return true;
}

static void on_broken(void *arg, const char *why)
{
    struct nx_joining *j = arg;

    nx_join_babbled(&j->machine, why);
    settle(j);
}

static void on_connected(void *arg, const char *alpn)
{
    struct nx_joining *j = arg;
    struct nx_quic_stream *stream;

    (void)alpn;
    if (nx_quic_stream_open(j->quic, NX_QUIC_CONTROL, true, &nx_talk_events, &j->talk, &stream) != NEXAR_OK) {
        nx_quic_conn_shutdown(j->quic, NX_CLOSE_ABORTED);
        return;
    }
    nx_talk_open(&j->talk, stream);
    nx_join_connected(&j->machine);
    settle(j);
}

static bool on_stream(void *arg, struct nx_quic_stream *stream, bool bidirectional)
{
    (void)arg, (void)stream, (void)bidirectional;
    return false;
}

static void forget_attempt(struct nx_joining *j)
{
    nx_timer_cancel(&j->linger);
    nx_talk_fini(&j->talk);
    nx_buffer_put(j->hello);
    j->hello = NULL;
    nx_trust_free(j->seed.trust);
    j->seed.trust = NULL;
    nx_quic_conn_drop(j->quic);
    j->quic = NULL;
}

static void on_closed(void *arg, nexar_status status, uint64_t code, const char *why)
{
    struct nx_joining *j = arg;

    (void)code;
    forget_attempt(j);
    nx_lock(&j->lock);
    j->connected = false;
    if (j->waiter != NULL)
        nx_waiter_wake(j->waiter);
    nx_unlock(&j->lock);
    if (j->verdict != NEXAR_OK)
        nx_join_disconnected(&j->machine, NEXAR_EAUTH, j->verdict_text, nx_now());
    else
        nx_join_disconnected(&j->machine, status, why, nx_now());
    if (!j->finished)
        settle(j);
}

static const struct nx_quic_conn_events conn_events = {
    .certificate = on_certificate, .connected = on_connected, .stream = on_stream, .closed = on_closed};

/* ---- actions of the machine ---- */

static void connect_seed(void *arg, uint32_t attempt)
{
    struct nx_joining *j = arg;
    const struct sockaddr *to = (const struct sockaddr *)&j->seeds[j->next++ % j->seed_count];

    (void)attempt;
    j->verdict = NEXAR_OK;
    nx_talk_init(&j->talk, NX_TALK_MEMBER_MAX, j, on_message, on_broken);
    if (nx_quic_connect(j->config, to, "localhost", &conn_events, j, &j->quic) == NEXAR_OK) {
        nx_lock(&j->lock);
        j->connected = true;
        nx_unlock(&j->lock);
        return;
    }
    forget_attempt(j);
    nx_join_disconnected(&j->machine, NEXAR_ESYSTEM, nexar_last_error(), nx_now());
}

/* What was said last has some time to arrive: the seed answers or hangs up when it has it. */
static void disconnect(void *arg, bool told)
{
    struct nx_joining *j = arg;

    if (j->quic == NULL)
        return;
    if (told)
        nx_timer_set(&j->linger, nx_now() + LINGER_MS * NX_MS);
    else
        nx_quic_conn_shutdown(j->quic, NX_CLOSE_DONE);
}

static void linger_over(struct nx_timer *timer)
{
    nx_quic_conn_shutdown(nx_container_of(timer, struct nx_joining, linger)->quic, NX_CLOSE_DONE);
}

static void say(void *arg, const struct nx_message *message)
{
    struct nx_joining *j = arg;
    bool keep = message->kind == NX_KIND_JOIN_HELLO;

    if (j->quic != NULL && nx_talk_say(&j->talk, message, keep ? &j->hello : NULL) != NEXAR_OK)
        nx_quic_conn_shutdown(j->quic, NX_CLOSE_ABORTED);
}

static nexar_status hello(void *arg, struct nx_msg_join_hello *out)
{
    struct nx_joining *j = arg;
    nexar_status st = nx_random(j->context.nonce_worker, NX_NONCE_SIZE);

    memcpy(j->context.seed_cert_sha256, j->seed.cert_sha256, NX_SHA256_SIZE);
    *out = (struct nx_msg_join_hello){.version = NX_JOIN_VERSION,
                                      .rank_plus_one = j->options.rank_plus_one,
                                      .world_size = j->options.size,
                                      .local_rank_plus_one = j->options.local_rank_plus_one,
                                      .local_size = j->options.local_size,
                                      .nonce = nx_bytes(j->context.nonce_worker, NX_NONCE_SIZE),
                                      .group = nx_bytes(j->options.group, NX_ID_SIZE),
                                      .software = nx_text("libnexar"),
                                      .formation = j->options.formation};
    return st;
}

static nexar_status prove(void *arg, const struct nx_msg_join_challenge *challenge, const uint8_t *archive, size_t n,
                          struct nx_msg_join_proof *out)
{
    struct nx_joining *j = arg;
    struct nx_span said[2];
    nexar_status st;

    if (challenge->nonce.len != NX_NONCE_SIZE || j->hello == NULL)
        return nx_fail(NEXAR_EPROTO, "the seed at %s sent a challenge that is none", j->options.seed_text);
    memcpy(j->context.nonce_seed, challenge->nonce.data, NX_NONCE_SIZE);
    said[0] = (struct nx_span){.data = j->hello->data, .size = j->hello->used};
    said[1] = (struct nx_span){.data = archive, .size = n};
    j->context.said = said;
    j->context.said_count = 1;
    st = nx_proof_check(&j->options.proof, NX_PROOF_SEED, &j->context, challenge->proof.data, challenge->proof.len);
    if (st == NEXAR_EAUTH)
        st = nx_fail(NEXAR_EAUTH,
                     j->options.by_fingerprint
                         ? "the seed at %s does not know the token of the join string"
                         : "whoever answers at %s does not know the secret (NEXAR_SECRET) of this rank",
                     j->options.seed_text);
    j->context.said_count = 2;
    if (st == NEXAR_OK)
        st = nx_proof_make(&j->options.proof, NX_PROOF_WORKER, &j->context, j->proof);
    j->context.said = NULL;
    *out = (struct nx_msg_join_proof){.proof = nx_bytes(j->proof, NX_PROOF_SIZE),
                                      .csr = nx_bytes(j->csr.data, j->csr.size),
                                      .process = nx_text(j->process)};
    return st;
}

static void fill_pairs(struct nx_pairs *out, char texts[][NX_ADDRESS_SIZE], struct nx_pair *pairs, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        pairs[i] = (struct nx_pair){.key = i, .text = nx_text(texts[i])};
    *out = (struct nx_pairs){.count = count, .items = pairs};
}

static nexar_status redirect(void *arg, const struct nx_pairs *addresses)
{
    struct nx_joining *j = arg;
    uint32_t n = 0;

    for (size_t i = 0; i < addresses->count && n < NX_JOIN_HOSTS; i++) {
        struct nx_text text = nx_pairs_at(addresses, i).text;
        char plain[NX_ADDRESS_SIZE];

        snprintf(plain, sizeof(plain), "%.*s", (int)text.len, text.data);
        if (text.len < sizeof(plain) && nx_address_of(plain, &j->seeds[n]) == NEXAR_OK)
            n++;
    }
    if (j->options.formation == 0 || n == 0)
        return nx_fail(NEXAR_EPROTO, "the seed at %s sends this worker nowhere", j->options.seed_text);
    memcpy(j->seeds + n, j->options.seeds, j->options.seed_count * sizeof(j->seeds[0]));
    j->seed_count = n + (uint32_t)j->options.seed_count;
    j->next = 0;
    return NEXAR_OK;
}

static nexar_status welcome(void *arg, const struct nx_msg_join_welcome *w, struct nx_msg_join_listen *out)
{
    struct nx_joining *j = arg;
    const struct nx_der *ca = nx_trust_der(j->seed.trust);
    const struct sockaddr *seed = (const struct sockaddr *)nx_quic_conn_remote(j->quic);
    struct nx_trust *trust;
    struct nx_bundle *bundle;
    uint32_t count = 0, lobby = 0;
    nexar_status st;

    /* Who is new to a job that grows takes what it gets. */
    if (j->options.formation != 1 && j->options.rank_plus_one != 0 && w->rank != j->options.rank_plus_one - 1)
        return nx_fail(NEXAR_EPROTO, "the seed at %s gave rank %u to a worker that is rank %u", j->options.seed_text,
                       w->rank, j->options.rank_plus_one - 1);
    if (w->authority.len != 0 && j->options.formation == 0)
        return nx_fail(NEXAR_EPROTO, "the seed at %s has a job that grows, for this worker it does not",
                       j->options.seed_text);
    if (j->options.formation != 1 && j->options.size != 0 && w->world_size != j->options.size)
        return nx_fail(NEXAR_EPROTO, "the seed at %s has %u ranks, this worker expects %u", j->options.seed_text,
                       w->world_size, j->options.size);
    /* The authority is the one that issued the seed's certificate; the message must not bring another. */
    if (w->ca.len != ca->size || memcmp(w->ca.data, ca->data, ca->size) != 0)
        return nx_fail(NEXAR_EAUTH, "the seed at %s gave the certificate of another authority than its own",
                       j->options.seed_text);
    st = nx_trust_make(ca->data, ca->size, &trust);
    if (st != NEXAR_OK)
        return st;
    st = nx_bundle_make(j->key, w->certificate.data, w->certificate.len, trust, &bundle);
    if (st != NEXAR_OK) {
        nx_trust_free(trust);
        return st;
    }
    if (w->authority.len != 0)
        st = j->owner->grow(j->arg, trust, w->authority, seed, j->lobby, &lobby);
    if (st != NEXAR_OK) {
        nx_bundle_free(bundle);
        nx_trust_free(trust);
        return st;
    }
    st = j->owner->welcome(j->arg, w->rank, w->world_size, seed, bundle, trust, j->addresses, &count);
    fill_pairs(&out->addresses, j->addresses, j->pairs, count);
    fill_pairs(&out->lobby, j->lobby, j->lobby_pairs, lobby);
    return st;
}

static nexar_status mesh(void *arg, const struct nx_msg_roster *roster)
{
    struct nx_joining *j = arg;

    return j->owner->mesh(j->arg, roster);
}

static void done(void *arg)
{
    struct nx_joining *j = arg;

    j->finished = true;
    nx_timer_cancel(&j->timer);
    j->owner->done(j->arg, j->machine.state == NX_JOIN_DONE ? NULL : &j->machine.error);
}

static const struct nx_join_ops ops = {.connect = connect_seed,
                                       .disconnect = disconnect,
                                       .send = say,
                                       .hello = hello,
                                       .prove = prove,
                                       .welcome = welcome,
                                       .redirect = redirect,
                                       .mesh = mesh,
                                       .done = done};

/* ---- life ---- */

static nexar_status make_config(struct nx_joining *j)
{
    struct nx_quic_settings s = {.client = true,
                                 .alpn = {NX_ALPN_JOIN},
                                 .connection_window = 2 * NX_TALK_MEMBER_MAX,
                                 .stream_window = NX_TALK_MEMBER_MAX,
                                 .handshake_timeout = 5 * NX_S,
                                 .idle_timeout = 20 * NX_S,
                                 .keep_alive = NX_S,
                                 .disconnect = 10 * NX_S};

    /* Who waits for a checkpoint finds another member when this one is gone. */
    if (j->options.formation != 0) {
        s.keep_alive = j->options.keep_alive;
        s.disconnect = j->options.disconnect;
    }

    return nx_quic_config_open(&s, &j->config);
}

static void free_joining(struct nx_joining *j)
{
    nx_quic_config_close(j->config);
    nx_key_free(j->key);
    nx_der_free(&j->csr);
    nx_mutex_fini(&j->lock);
    nx_free_secret(j); /* the proof key is in it */
}

nexar_status nx_joining_start(const struct nx_join_options *options, const struct nx_join_owner *owner, void *arg,
                              struct nx_joining **out)
{
    struct nx_joining *j = nx_calloc(1, sizeof(*j));
    struct nx_process self;
    nexar_status st;

    *out = NULL;
    if (j == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory to join");
    j->options = *options;
    memcpy(j->seeds, options->seeds, sizeof(options->seeds));
    j->seed_count = (uint32_t)options->seed_count;
    if (nx_process_self(&self) == NEXAR_OK)
        nx_process_text(&self, j->process);
    j->owner = owner;
    j->arg = arg;
    nx_mutex_init(&j->lock, NX_LOCK_NODE);
    nx_timer_init(&j->timer, tick);
    nx_timer_init(&j->linger, linger_over);
    st = nx_key_make(&j->key);
    if (st == NEXAR_OK)
        st = nx_csr_make(j->key, &j->csr);
    if (st == NEXAR_OK)
        st = make_config(j);
    if (st != NEXAR_OK) {
        free_joining(j);
        return st;
    }
    *out = j;
    nx_join_init(&j->machine, options->seed_text, nx_now(), options->deadline, options->patient, &ops, j);
    nx_join_start(&j->machine);
    if (!j->finished)
        settle(j);
    return NEXAR_OK;
}

void nx_joining_meshed(struct nx_joining *j)
{
    nx_join_meshed(&j->machine);
    settle(j);
}

void nx_joining_mesh_failed(struct nx_joining *j, const nexar_error *error)
{
    nx_join_mesh_failed(&j->machine, error, nx_now());
    settle(j);
}

void nx_joining_formed(struct nx_joining *j)
{
    nx_join_formed(&j->machine);
}

void nx_joining_cancel(struct nx_joining *j, nexar_status status, const char *why)
{
    nx_join_cancel(&j->machine, status, why);
}

bool nx_joining_may_try_again(const struct nx_joining *j)
{
    return j->options.formation == 1 && j->machine.formation > 1;
}

void nx_joining_free(struct nx_joining *j)
{
    struct nx_waiter waiter;
    bool connected;

    if (j == NULL)
        return;
    nx_waiter_init(&waiter);
    nx_lock(&j->lock);
    connected = j->connected;
    j->waiter = &waiter;
    nx_unlock(&j->lock);
    while (connected && nx_waiter_wait(&waiter, NX_NEVER) == NEXAR_EINTR)
        continue;
    /* When this has run, so has the callback that woke us, to its end. */
    if (nx_fence() == NEXAR_OK)
        free_joining(j);
}
