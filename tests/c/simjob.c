/* simjob.c - a job that forms in the simulated network. */
#include "simjob.h"

#include "check.h"

static nx_time now(const struct simworker *w)
{
    return w->job->net.now;
}

/* ---- the seed ---- */

static nexar_status challenge(void *arg, struct nx_seed_client *client, const struct nx_msg_join_hello *hello,
                              const uint8_t *archive, size_t n, struct nx_msg_join_challenge *out)
{
    (void)arg, (void)client, (void)hello, (void)archive, (void)n;
    *out = (struct nx_msg_join_challenge){.nonce = nx_bytes("nonce", 5)};
    return NEXAR_OK;
}

/* The proof says whether the worker knows the token, the request is its node id. */
static nexar_status admit(void *arg, struct nx_seed_client *client, const struct nx_msg_join_proof *proof)
{
    (void)arg;
    if (proof->proof.len != 4 || memcmp(proof->proof.data, "good", 4) != 0 || proof->csr.len != NX_ID_SIZE)
        return nx_fail(NEXAR_EAUTH, "the proof is wrong");
    memcpy(client->node, proof->csr.data, NX_ID_SIZE);
    return NEXAR_OK;
}

static void seed_send(void *arg, struct nx_seed_client *client, const struct nx_message *message)
{
    struct simconn *conn = client->io;

    (void)arg;
    if (conn->state[1] == SIMEND_OPEN)
        simnet_send(conn, 1, message);
}

static void seed_close(void *arg, struct nx_seed_client *client, bool told)
{
    (void)arg;
    simnet_close(client->io, 1, told ? 2 * NX_S : 0);
}

static void seed_forget(void *arg, struct nx_seed_client *client)
{
    struct simconn *conn = client->io;

    (void)arg;
    conn->user[1] = NULL;
}

/* Before anybody is told. */
static void seed_full(void *arg)
{
    struct simjob *job = arg;

    assert_int_equal(job->seed.proven, job->size);
    for (uint32_t i = 0; i < job->workers; i++)
        assert_false(job->worker[i].welcomed);
}

static const struct nx_seed_ops seed_ops = {.challenge = challenge,
                                            .admit = admit,
                                            .send = seed_send,
                                            .close = seed_close,
                                            .full = seed_full,
                                            .forget = seed_forget};

static bool seed_accept(void *arg, struct simconn *conn, int side)
{
    struct simjob *job = arg;
    char from[NX_ADDRESS_SIZE];

    (void)side;
    snprintf(from, sizeof(from), "w%u", ((struct simworker *)conn->host[0]->arg)->id);
    conn->user[1] = nx_seed_connected(&job->seed, conn, from, job->net.now);
    return conn->user[1] != NULL;
}

static void seed_message(void *arg, struct simconn *conn, int side, const struct nx_message *message,
                         const uint8_t *archive, size_t n)
{
    struct simjob *job = arg;

    (void)side;
    if (conn->user[1] != NULL)
        nx_seed_said(&job->seed, conn->user[1], message, archive, n, job->net.now);
}

static void seed_closed(void *arg, struct simconn *conn, int side, const char *why)
{
    struct simjob *job = arg;

    (void)side;
    if (conn->user[1] != NULL)
        nx_seed_gone(&job->seed, conn->user[1], why);
}

static nx_time seed_tick(void *arg)
{
    struct simjob *job = arg;

    return nx_seed_tick(&job->seed, job->net.now);
}

static const struct simhost_events seed_events = {
    .accept = seed_accept, .message = seed_message, .closed = seed_closed, .tick = seed_tick};

/* ---- a worker and its seed ---- */

static void node_of(uint32_t id, uint8_t node[NX_ID_SIZE])
{
    memset(node, 0, NX_ID_SIZE);
    node[0] = (uint8_t)(id + 1);
}

static void join_connect(void *arg, uint32_t attempt)
{
    struct simworker *w = arg;

    (void)attempt;
    assert_null(w->seed);
    w->seed = w->last_seed = simnet_connect(&w->host, &w->job->seed_host, NULL);
}

static void join_disconnect(void *arg, bool told)
{
    struct simworker *w = arg;

    if (w->seed != NULL)
        simnet_close(w->seed, 0, told ? NX_S : 0);
}

static void join_send(void *arg, const struct nx_message *message)
{
    struct simworker *w = arg;

    assert_non_null(w->seed);
    simnet_send(w->seed, 0, message);
}

static nexar_status join_hello(void *arg, struct nx_msg_join_hello *out)
{
    struct simworker *w = arg;

    *out = (struct nx_msg_join_hello){.version = NX_JOIN_VERSION,
                                      .rank_plus_one = w->rank_plus_one,
                                      .world_size = w->size,
                                      .local_rank_plus_one = w->local_rank_plus_one,
                                      .group = nx_bytes(w->group, NX_ID_SIZE)};
    return NEXAR_OK;
}

static nexar_status join_prove(void *arg, const struct nx_msg_join_challenge *c, const uint8_t *archive, size_t n,
                               struct nx_msg_join_proof *out)
{
    static _Thread_local uint8_t node[NX_ID_SIZE];
    struct simworker *w = arg;

    (void)c, (void)archive, (void)n;
    node_of(w->id, node);
    *out = (struct nx_msg_join_proof){.proof = nx_bytes(w->stranger ? "evil" : "good", 4),
                                      .csr = nx_bytes(node, NX_ID_SIZE)};
    return NEXAR_OK;
}

static nexar_status join_welcome(void *arg, const struct nx_msg_join_welcome *welcome, struct nx_msg_join_listen *out)
{
    static _Thread_local struct nx_pair pair[2];
    static _Thread_local char good[NX_ADDRESS_SIZE];
    struct simworker *w = arg;

    assert_false(w->welcomed);
    w->welcomed = true;
    if (w->rank_plus_one != 0)
        assert_int_equal(welcome->rank, w->rank_plus_one - 1);
    snprintf(good, sizeof(good), "w%u", w->id);
    pair[0] = (struct nx_pair){.text = nx_text(w->id % 3 == 0 ? "nowhere" : good)};
    pair[1] = (struct nx_pair){.text = nx_text(good)};
    out->addresses = (struct nx_pairs){.count = 2, .items = pair};
    return NEXAR_OK;
}

static void judge(struct simworker *w, struct simconn *conn);

static nexar_status join_mesh(void *arg, const struct nx_msg_roster *roster)
{
    struct simworker *w = arg;
    nexar_status st = nx_mesh_start(&w->mesh, w->join.rank, w->join.size, roster);

    for (uint32_t i = 0; st == NEXAR_OK && i < w->earlies; i++) {
        if (w->early[i]->state[1] == SIMEND_OPEN)
            judge(w, w->early[i]);
    }
    return st;
}

/* As nx_mesh_tell_formed; and a node that has failed ends its connections. */
static void join_done(void *arg)
{
    static const struct nx_message go = {.kind = NX_KIND_JOIN_GO};
    struct simworker *w = arg;
    bool formed = w->join.state == NX_JOIN_DONE;

    assert_false(w->over);
    w->over = true;
    w->over_at = now(w);
    for (uint32_t i = 0; formed && i < SIMJOB_RANKS; i++) {
        struct simconn *conn = w->peer[i];
        int side = conn != NULL && conn->host[1] == &w->host;

        if (conn != NULL && conn->state[side] == SIMEND_OPEN)
            simnet_send(conn, side, &go);
    }
    if (formed)
        return;
    nx_mesh_stop(&w->mesh);
    nx_list_for_each_safe(pos, tmp, &w->job->net.conns)
    {
        struct simconn *conn = nx_container_of(pos, struct simconn, link);
        int side = conn->host[1] == &w->host;

        if (conn->host[side] == &w->host && conn->host[1] != &w->job->seed_host)
            simnet_close(conn, side, 0);
    }
}

static const struct nx_join_ops join_ops = {.connect = join_connect,
                                            .disconnect = join_disconnect,
                                            .send = join_send,
                                            .hello = join_hello,
                                            .prove = join_prove,
                                            .welcome = join_welcome,
                                            .mesh = join_mesh,
                                            .done = join_done};

/* ---- a worker and the others ---- */

static void mesh_dial(void *arg, uint32_t rank, const char *address)
{
    struct simworker *w = arg;
    unsigned id;

    if (sscanf(address, "w%u", &id) == 1)
        simnet_connect(&w->host, &w->job->worker[id].host, (void *)(uintptr_t)(rank + 1));
    else
        nx_mesh_dial_failed(&w->mesh, rank, false, NEXAR_ESYSTEM, "its address is none", now(w));
}

static void mesh_complete(void *arg)
{
    struct simworker *w = arg;

    nx_join_meshed(&w->join);
}

static void mesh_failed(void *arg, const nexar_error *error)
{
    struct simworker *w = arg;

    nx_join_mesh_failed(&w->join, error, now(w));
}

static const struct nx_mesh_ops mesh_ops = {.dial = mesh_dial, .complete = mesh_complete, .failed = mesh_failed};

static void up(struct simworker *w, struct simconn *conn, uint32_t rank)
{
    assert_null(w->peer[rank]);
    w->peer[rank] = conn;
    nx_mesh_up(&w->mesh, rank);
}

/* Somebody has called: by his certificate he is this worker. */
static void judge(struct simworker *w, struct simconn *conn)
{
    struct nx_message ack = {.kind = NX_KIND_MESH_ACK};
    uint8_t node[NX_ID_SIZE];
    uint32_t rank;

    node_of(((struct simworker *)conn->host[0]->arg)->id, node);
    rank = nx_mesh_rank_of(&w->mesh, node);
    assert_true(rank < w->join.rank); /* the lower one calls */
    if (w->mesh.peer[rank].up) {
        struct nx_message out = {.kind = NX_KIND_ABORT};

        out.abort = (struct nx_msg_abort){.code = NX_ABORT_RANK, .reason = nx_text("connected already")};
        simnet_send(conn, 1, &out);
        simnet_close(conn, 1, NX_S);
        return;
    }
    ack.mesh_ack.rank = w->join.rank;
    simnet_send(conn, 1, &ack);
    up(w, conn, rank);
}

/* ---- events of a worker ---- */

static bool worker_accept(void *arg, struct simconn *conn, int side)
{
    struct simworker *w = arg;

    (void)conn, (void)side;
    return w->welcomed && !w->over && w->mesh.state <= NX_MESH_CONNECTING;
}

static void worker_connected(void *arg, struct simconn *conn, int side)
{
    struct nx_message hello = {.kind = NX_KIND_MESH_HELLO};
    struct simworker *w = arg;

    (void)side;
    if (conn == w->seed) {
        nx_join_connected(&w->join);
        return;
    }
    hello.mesh_hello.from = w->join.rank;
    simnet_send(conn, 0, &hello);
}

static void worker_message(void *arg, struct simconn *conn, int side, const struct nx_message *message,
                           const uint8_t *archive, size_t n)
{
    struct simworker *w = arg;

    if (conn == w->seed) {
        nx_join_said(&w->join, message, archive, n);
    } else if (message->kind == NX_KIND_MESH_HELLO && w->mesh.state == NX_MESH_IDLE) {
        assert_true(w->earlies < SIMJOB_RANKS);
        w->early[w->earlies++] = conn;
    } else if (message->kind == NX_KIND_MESH_HELLO) {
        judge(w, conn);
    } else if (message->kind == NX_KIND_MESH_ACK) {
        assert_int_equal((uintptr_t)conn->user[0], message->mesh_ack.rank + 1);
        up(w, conn, message->mesh_ack.rank);
    } else if (message->kind == NX_KIND_JOIN_GO) {
        nx_join_formed(&w->join);
    } else {
        assert_int_equal(message->kind, NX_KIND_ABORT);
        assert_int_equal(side, 0);
        nx_mesh_dial_failed(&w->mesh, (uint32_t)(uintptr_t)conn->user[0] - 1, true, NEXAR_EAUTH, "refused", now(w));
        simnet_close(conn, 0, 0);
    }
}

static void worker_closed(void *arg, struct simconn *conn, int side, const char *why)
{
    struct simworker *w = arg;

    if (conn == w->seed) {
        w->seed = NULL;
        nx_join_disconnected(&w->join, NEXAR_EPEER, why, now(w));
        return;
    }
    for (uint32_t rank = 0; rank < SIMJOB_RANKS; rank++) {
        if (w->peer[rank] == conn) {
            nx_mesh_lost(&w->mesh, rank, why);
            return;
        }
    }
    if (side == 0)
        nx_mesh_dial_failed(&w->mesh, (uint32_t)(uintptr_t)conn->user[0] - 1, false, NEXAR_EPEER, why, now(w));
}

static nx_time worker_tick(void *arg)
{
    struct simworker *w = arg;
    nx_time join_at, mesh_at = NX_NEVER;

    if (!w->started)
        return NX_NEVER;
    mesh_at = nx_mesh_tick(&w->mesh, now(w));
    join_at = nx_join_tick(&w->join, now(w));
    return join_at < mesh_at ? join_at : mesh_at;
}

static const struct simhost_events worker_events = {.accept = worker_accept,
                                                    .connected = worker_connected,
                                                    .message = worker_message,
                                                    .closed = worker_closed,
                                                    .tick = worker_tick};

/* ---- the job ---- */

void simjob_init(struct simjob *job, uint64_t seed, nx_time delay_max, nx_time notice_max, uint32_t size,
                 uint32_t workers, nx_time timeout)
{
    static const uint8_t cluster[NX_ID_SIZE];

    memset(job, 0, sizeof(*job));
    simnet_init(&job->net, seed, delay_max, notice_max);
    job->size = size;
    job->workers = workers;
    simhost_init(&job->seed_host, &job->net, &seed_events, job);
    nx_seed_init(&job->seed, size, timeout, cluster, nx_bytes("ca", 2), &seed_ops, job);
    for (uint32_t i = 0; i < workers; i++) {
        job->worker[i].id = i;
        job->worker[i].job = job;
        simhost_init(&job->worker[i].host, &job->net, &worker_events, &job->worker[i]);
    }
}

void simjob_fini(struct simjob *job)
{
    nx_seed_fini(&job->seed);
    for (uint32_t i = 0; i < job->workers; i++)
        nx_mesh_fini(&job->worker[i].mesh);
    simnet_fini(&job->net);
}

static void start(void *arg)
{
    struct simworker *w = arg;

    w->started = true;
    if (!w->host.dead)
        nx_join_start(&w->join);
    simhost_settle(&w->host);
}

void simjob_start(struct simworker *w, nx_time at, nx_time timeout)
{
    nx_mesh_init(&w->mesh, at + timeout, &mesh_ops, w);
    nx_join_init(&w->join, "seed", at, at + timeout, false, &join_ops, w);
    simnet_at(&w->job->net, at, start, w);
}

/* A link between two that is whole, or was until one of them ended it by itself. */
static bool linked(const struct simworker *a, const struct simworker *b)
{
    for (uint32_t i = 0; i < a->job->size; i++) {
        if (a->peer[i] != NULL && (a->peer[i]->host[0] == &b->host || a->peer[i]->host[1] == &b->host))
            return !a->peer[i]->fault;
    }
    return false;
}

const char *simjob_fault(const struct simjob *job)
{
    bool taken[SIMJOB_RANKS] = {false};
    uint32_t done = 0;

    if (!job->seed_host.dead && job->seed.state < NX_SEED_FORMED && job->seed.deadline != NX_NEVER)
        return "the seed still waits";
    for (uint32_t i = 0; i < job->workers; i++) {
        const struct simworker *w = &job->worker[i];

        if (w->host.dead || !w->started)
            continue;
        if (!w->over)
            return "a worker still waits";
        if (w->join.state == NX_JOIN_FAILED && (w->join.error.status == NEXAR_OK || w->join.error.text[0] == '\0'))
            return "a worker failed without a word";
        if (w->join.state != NX_JOIN_DONE)
            continue;
        done++;
        if (w->join.rank >= job->size || taken[w->join.rank])
            return "a rank twice, or out of range";
        taken[w->join.rank] = true;
    }
    if (done > 0 && !job->seed_host.dead && job->seed.state != NX_SEED_FORMED)
        return "a job without its seed's word";
    /* Half a job: only for those whom nobody that knew could tell any more. */
    for (uint32_t i = 0; done > 0 && i < job->workers; i++) {
        const struct simworker *w = &job->worker[i];

        if (w->host.dead || !w->welcomed || w->join.state == NX_JOIN_DONE)
            continue;
        if (!job->seed_host.dead && !w->last_seed->fault)
            return "half a job, and the seed could have told";
        for (uint32_t k = 0; k < job->workers; k++) {
            const struct simworker *other = &job->worker[k];

            if (other->over && !other->host.dead && other->join.state == NX_JOIN_DONE && linked(w, other))
                return "half a job, and another rank could have told";
        }
    }
    return NULL;
}
