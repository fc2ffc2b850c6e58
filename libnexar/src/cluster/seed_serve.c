/* cluster/seed_serve.c - the life of a serving seed: identity, listening, waiting for the result, the end.
 *
 * Owner: made and ended by one thread; any number may wait meanwhile.  What it says to whom is in seed.c and seed_io.c.
 * */
#include "cluster/seed_serve.h"

#include "base/call.h"
#include "base/mem.h"
#include "net/conn.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

struct waiting {
    struct nx_list link;
    struct nx_waiter waiter;
    bool for_end;
};

static void tick(struct nx_timer *timer)
{
    nx_seed_settle(nx_container_of(timer, struct nx_seed, timer));
}

static nexar_status make_identity(struct nx_seed *seed, const struct nx_seed_options *options)
{
    int64_t now = nx_seed_clock(), lifetime = NX_SEED_LIFETIME;
    struct nx_der leaf = {0};
    nexar_status st;

    if (options->ca == NULL) {
        st = nx_ca_make(now, lifetime, &seed->ca);
        if (st == NEXAR_OK && options->grows)
            st = nx_ca_key(seed->ca, &seed->authority);
    } else {
        st = nx_ca_key(options->ca, &seed->authority);
        if (st == NEXAR_OK)
            st = nx_ca_restore(nx_ca_trust(options->ca), seed->authority.data, seed->authority.size, &seed->ca);
    }
    if (st == NEXAR_OK)
        st = nx_key_make(&seed->key);
    if (st == NEXAR_OK)
        st = nx_ca_issue_seed(seed->ca, seed->key, now, lifetime, &leaf);
    if (st == NEXAR_OK)
        st = nx_bundle_make(seed->key, leaf.data, leaf.size, nx_ca_trust(seed->ca), &seed->bundle);
    nx_der_free(&leaf);
    return st;
}

static nexar_status make_config(struct nx_seed *seed, const struct nx_seed_options *options)
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
                                 .keep_alive = options->ca != NULL ? options->keep_alive : NX_S,
                                 .disconnect = options->ca != NULL ? options->disconnect : 10 * NX_S};

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
    nexar_status st = nx_quic_listen(address, alpn, 1, nx_seed_accept, seed, &seed->listener);

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
    nx_der_wipe(&seed->authority);
    explicit_bzero(&seed->proof, sizeof(seed->proof));
    nx_mutex_fini(&seed->lock);
    nx_free(seed);
}

nexar_status nx_seed_serve(const struct nx_seed_options *options, struct nx_seed **out)
{
    struct nx_join_string join = {.host_count = 0};
    struct nx_seed *seed;
    nexar_status st;

    *out = NULL;
    if (options->size == 0 || options->size > NX_RANKS_MAX)
        return nx_fail(NEXAR_EINVAL, "a job of %u ranks: it has 1 to %u", options->size, NX_RANKS_MAX);
    seed = nx_calloc(1, sizeof(*seed));
    if (seed == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a seed");
    nx_mutex_init(&seed->lock, NX_LOCK_NODE);
    nx_list_init(&seed->callers);
    nx_list_init(&seed->waiters);
    nx_timer_init(&seed->timer, tick);
    seed->full = options->full;
    seed->full_arg = options->full_arg;
    seed->elsewhere = options->elsewhere;
    seed->elsewhere_arg = options->elsewhere_arg;
    if (nx_process_self(&seed->self) != NEXAR_OK)
        seed->self = (struct nx_process){0};
    st = make_identity(seed, options);
    if (st == NEXAR_OK)
        st = make_config(seed, options);
    if (st == NEXAR_OK)
        st = make_proof(seed, options, &join);
    if (st == NEXAR_OK) {
        const struct nx_der *ca = nx_trust_der(nx_ca_trust(seed->ca));

        nx_seed_init(&seed->machine, options->size, options->timeout, nx_trust_cluster_id(nx_ca_trust(seed->ca)),
                     nx_bytes(ca->data, ca->size), &nx_seed_ops, seed);
        seed->machine.authority = nx_bytes(seed->authority.data, seed->authority.size);
        if (options->ca != NULL) {
            nx_seed_take_over(&seed->machine);
            seed->over = true;
        }
        st = listen_on(seed, (const struct sockaddr *)&options->listen);
    }
    if (st == NEXAR_OK)
        st = make_text(seed, options, &join);
    explicit_bzero(join.token, sizeof(join.token));
    if (st != NEXAR_OK) {
        nexar_error error = *nx_last_error();

        if (seed->listener != NULL)
            nx_seed_end(seed); /* somebody may have called already */
        else
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

struct nx_seed_machine *nx_seed_machine_of(struct nx_seed *seed)
{
    return &seed->machine;
}

struct pointing {
    struct nx_seed *seed;
    const char (*addresses)[NX_ADDRESS_SIZE];
    uint32_t count;
    bool fine;
};

static void point(void *arg)
{
    struct pointing *p = arg;

    p->fine = nx_seed_grows(&p->seed->machine) && p->seed->machine.state == NX_SEED_FORMED && p->seed->nexts != 0;
    if (!p->fine)
        return;
    p->seed->nexts = p->count < NX_ADDRESSES_MAX ? p->count : NX_ADDRESSES_MAX;
    memcpy(p->seed->next, p->addresses, p->seed->nexts * NX_ADDRESS_SIZE);
}

nexar_status nx_seed_point_to(struct nx_seed *seed, const char addresses[][NX_ADDRESS_SIZE], uint32_t count)
{
    struct pointing p = {.seed = seed, .addresses = addresses, .count = count};
    nexar_status st = nx_call(point, &p);

    if (st == NEXAR_OK && (!p.fine || count == 0))
        return nx_fail(NEXAR_EINVAL, "seed: its job does not grow, or has not formed yet");
    return st;
}

/* ---- waiting, and the end ---- */

void nx_seed_wake(struct nx_seed *seed)
{
    bool others = false;

    nx_list_for_each_safe(pos, tmp, &seed->waiters)
    {
        struct waiting *w = nx_container_of(pos, struct waiting, link);

        others = others || !w->for_end;
        if (!w->for_end && seed->over)
            nx_waiter_wake(&w->waiter);
    }
    if (others || seed->connections > 0)
        return;
    nx_list_for_each_safe(pos, tmp, &seed->waiters)
    {
        nx_waiter_wake(&nx_container_of(pos, struct waiting, link)->waiter);
    }
}

/* For the end, it waits until there are no connections and nobody else waits; else for the result, into *error. */
static nexar_status wait_for(struct nx_seed *seed, nexar_error *error, nx_time deadline)
{
    struct waiting w = {.for_end = error == NULL};
    nexar_status st;

    nx_waiter_init(&w.waiter);
    nx_lock(&seed->lock);
    nx_list_push_back(&seed->waiters, &w.link);
    nx_seed_wake(seed);
    nx_unlock(&seed->lock);
    st = nx_waiter_wait(&w.waiter, deadline);
    nx_lock(&seed->lock);
    nx_list_remove(&w.link);
    if (error != NULL)
        *error = seed->error;
    nx_seed_wake(seed);
    nx_unlock(&seed->lock);
    return st;
}

nexar_status nx_seed_wait(struct nx_seed *seed, nx_time deadline)
{
    nexar_error error;
    nexar_status st = wait_for(seed, &error, deadline);

    if (st != NEXAR_OK)
        return st;
    return error.status == NEXAR_OK ? NEXAR_OK : nx_fail_with(&error);
}

static void end_all(void *arg)
{
    struct nx_seed *seed = arg;

    nx_seed_cancel(&seed->machine);
    nx_seed_settle(seed);
    nx_seed_fini(&seed->machine);
    nx_timer_cancel(&seed->timer);
    nx_seed_hang_up(seed);
}

void nx_seed_end(struct nx_seed *seed)
{
    if (seed == NULL || nx_engine_may_block() != NEXAR_OK)
        return; /* in a forked child nothing of this is ours; in a callback it stays until the process ends */
    nx_quic_listener_close(seed->listener);
    if (nx_call(end_all, seed) != NEXAR_OK)
        return;
    while (wait_for(seed, NULL, NX_NEVER) == NEXAR_EINTR)
        continue;
    /* When this has run, so has the callback that woke us, to its end. */
    nx_fence();
    free_seed(seed);
}
