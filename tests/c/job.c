/* job.c - a real job on the loopback interface. */
#include "job.h"

#include "base/call.h"
#include "cluster/seed_serve.h"

#include <arpa/inet.h>
#include <pthread.h>

static void loopback(struct sockaddr_storage *address, uint16_t port)
{
    struct sockaddr_in *in = (struct sockaddr_in *)(void *)address;

    memset(address, 0, sizeof(*address));
    in->sin_family = AF_INET;
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    in->sin_port = htons(port);
}

struct nx_seed *job_seed(uint32_t size, nx_time timeout, const struct nx_proof_key *secret)
{
    struct nx_seed_options o = {.size = size, .timeout = timeout, .secret = secret, .host_count = 1};
    struct nx_seed *seed;

    loopback(&o.listen, 0);
    strcpy(o.hosts[0].name, "127.0.0.1");
    assert_ok(nx_seed_serve(&o, &seed));
    return seed;
}

struct look {
    const struct nx_seed *seed;
    uint32_t proven;
};

static void look(void *arg)
{
    struct look *l = arg;

    l->proven = l->seed->machine.proven;
}

uint32_t job_seed_proven(struct nx_seed *seed)
{
    struct look l = {.seed = seed};

    assert_ok(nx_call(look, &l));
    return l.proven;
}

uint32_t job_seed_waiting(struct nx_seed *seed)
{
    uint32_t n = 0;

    nx_lock(&seed->lock);
    nx_list_for_each_safe(pos, tmp, &seed->waiters) n++;
    nx_unlock(&seed->lock);
    return n;
}

/* ---- the log ---- */

static struct {
    pthread_mutex_t lock;
    char text[65536];
    size_t at;
} journal = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void keep_line(void *arg, nexar_log_level level, const char *line)
{
    size_t n = strlen(line);

    (void)arg, (void)level;
    pthread_mutex_lock(&journal.lock);
    if (journal.at + n + 2 > sizeof(journal.text))
        journal.at = 0;
    memcpy(journal.text + journal.at, line, n);
    memcpy(journal.text + journal.at + n, "\n", 2);
    journal.at += n + 1;
    pthread_mutex_unlock(&journal.lock);
}

int job_log_begin(void **state)
{
    (void)state;
    nexar_log_set(keep_line, NULL);
    nexar_log_set_level(NEXAR_LOG_INFO);
    return 0;
}

void job_log_clear(void)
{
    pthread_mutex_lock(&journal.lock);
    journal.at = 0;
    journal.text[0] = '\0';
    pthread_mutex_unlock(&journal.lock);
}

static bool has_words(const char *text, const char *words, const char **lacks)
{
    static _Thread_local char list[512];
    char *save = NULL;

    snprintf(list, sizeof(list), "%s", words);
    for (char *word = strtok_r(list, "|", &save); word != NULL; word = strtok_r(NULL, "|", &save)) {
        *lacks = word;
        if (strstr(text, word) == NULL)
            return false;
    }
    return true;
}

bool job_logged(const char *words)
{
    char *save = NULL, *text;
    const char *lacks;
    bool found = false;

    pthread_mutex_lock(&journal.lock);
    text = strdup(journal.text);
    pthread_mutex_unlock(&journal.lock);
    assert_non_null(text);
    for (char *line = strtok_r(text, "\n", &save); line != NULL && !found; line = strtok_r(NULL, "\n", &save))
        found = has_words(line, words, &lacks);
    free(text);
    return found;
}

void job_check_words(const char *text, const char *words)
{
    const char *lacks = "";

    if (!has_words(text, words, &lacks))
        fail_msg("\"%s\" lacks \"%s\"", text, lacks);
}

/* ---- nodes ---- */

static nexar_status addresses(void *arg, const struct sockaddr *seed, uint16_t port,
                              char text[NX_ADDRESSES_MAX][NX_ADDRESS_SIZE], uint32_t *count)
{
    (void)arg, (void)seed;
    snprintf(text[0], NX_ADDRESS_SIZE, "127.0.0.1:%u", port);
    *count = 1;
    return NEXAR_OK;
}

static void fill(uint16_t port, struct nx_node_options *o)
{
    const char *transports = getenv("NEXAR_TRANSPORTS");

    *o = (struct nx_node_options){.transports = transports == NULL ? "quic" : transports,
                                  .modules = getenv("NEXAR_MODULES"),
                                  .join_timeout = 60 * NX_S,
                                  .small_bytes = 16384,
                                  .limits = {16 << 20, 4096, 48 << 20},
                                  .timeout = 60 * NX_S,
                                  .linger = 20 * NX_S,
                                  .addresses = addresses};
    o->member = nx_member_defaults();
    o->member.quorum_wait = 2 * NX_S;
    o->join.seed_count = 1;
    loopback(&o->join.seeds[0], port);
    snprintf(o->join.seed_text, sizeof(o->join.seed_text), "127.0.0.1:%u", port);
    loopback(&o->mesh.listen, 0);
    o->mesh.connection_window = 64 << 20;
    o->mesh.stream_window = 1 << 20;
    o->mesh.keep_alive = 500 * NX_MS;
    o->mesh.disconnect = 2 * NX_S;
}

void job_options(const char *join_string, struct nx_node_options *o)
{
    struct nx_join_string js;

    assert_ok(nx_join_string_parse(join_string, &js));
    fill(js.hosts[0].port, o);
    o->join.by_fingerprint = true;
    memcpy(o->join.ca_sha256, js.ca_sha256, NX_SHA256_SIZE);
    assert_ok(nx_proof_key_from_token(js.token, &o->join.proof));
}

void job_options_secret(uint16_t port, const struct nx_proof_key *secret, struct nx_node_options *o)
{
    fill(port, o);
    o->join.proof = *secret;
}

struct nx_node *job_start(const struct nx_node_options *options)
{
    struct nx_node *node;

    assert_ok(nx_node_start(options, &node));
    return node;
}

struct nx_node *job_join(const char *join_string, uint32_t rank_plus_one, nx_time timeout)
{
    const char *patience = getenv("NEXAR_PEER_TIMEOUT"); /* set for emulated machines */
    struct nx_node_options o;

    job_options(join_string, &o);
    if (patience != NULL)
        o.mesh.disconnect = atoi(patience) * NX_S;
    o.join.rank_plus_one = rank_plus_one;
    o.join_timeout = timeout;
    return job_start(&o);
}

nexar_status job_wait(struct nx_node *node, nexar_comm **comm)
{
    nx_time until = nx_now() + CHECK_PATIENCE;
    nexar_status st;

    do
        st = nx_node_wait(node, until, comm);
    while (st == NEXAR_EINTR);
    return st;
}

void job_fails(struct nx_node *node, nexar_status status, const char *words)
{
    nexar_comm *comm;
    nexar_status st = job_wait(node, &comm);

    if (st != status)
        fail_msg("%s, not %s: %s", nexar_status_name(st), nexar_status_name(status), nexar_last_error());
    job_check_words(nexar_last_error(), words);
    nx_node_free(node);
}

void job_finish_forming(struct job *job)
{
    for (uint32_t i = 0; i < job->size; i++) {
        nexar_comm *comm;

        assert_ok(job_wait(job->node[i], &comm));
        assert_int_equal(nexar_comm_size(comm), job->size);
        assert_null(job->comm[nexar_comm_rank(comm)]);
        job->comm[nexar_comm_rank(comm)] = comm;
    }
    assert_ok(nx_seed_wait(job->seed, nx_now() + CHECK_PATIENCE));
}

void job_form(struct job *job, uint32_t size)
{
    *job = (struct job){.size = size, .seed = job_seed(size, 60 * NX_S, NULL)};
    for (uint32_t i = 0; i < size; i++)
        job->node[i] = job_join(nx_seed_text(job->seed), i + 1, 60 * NX_S);
    job_finish_forming(job);
}

void job_local(struct job *job, uint32_t size, const nexar_config *config)
{
    /* On a machine that has more to do than tests, a rank may be silent for long and be alive. */
    const char *transports = getenv("NEXAR_TRANSPORTS");
    nexar_config patient = {.size = sizeof(patient), .peer_timeout_ns = 20 * NX_S};

    if (config != NULL)
        patient = *config;
    if (patient.transports == NULL && transports == NULL)
        patient.transports = "quic";
    *job = (struct job){.size = size};
    assert_ok(nexar_local_cluster(size, &patient, job->comm));
}

void job_close(struct job *job)
{
    for (uint32_t i = 0; i < job->size; i++) {
        nexar_comm_close(job->comm[i]);
        job->comm[i] = NULL;
    }
    nx_seed_end(job->seed);
    job->seed = NULL;
}

void job_must_fail(const char *file, int line, const char *call, nexar_status status, nexar_status wanted,
                   uint32_t peer, const char *words)
{
    nexar_error error = {.size = sizeof(error)};
    const char *lacks = "";

    nexar_last_error_info(&error);
    if (status == wanted && error.status == wanted && (error.peer == peer || peer == JOB_ANY_PEER) &&
        has_words(error.text, words, &lacks))
        return;
    fprintf(stderr, "%s:%d: %s: %s, peer %d, not %s, peer %d; \"%s\" lacks \"%s\"\n", file, line, call,
            nexar_status_name(status), (int)error.peer, nexar_status_name(wanted), (int)peer, error.text, lacks);
    abort();
}

struct call {
    nexar_comm *comm;
    void (*fn)(nexar_comm *comm, void *arg);
    void *arg;
};

static void *run(void *arg)
{
    struct call *call = arg;

    call->fn(call->comm, call->arg);
    return NULL;
}

void job_each(struct job *job, void (*fn)(nexar_comm *comm, void *arg), void *arg)
{
    struct call call[JOB_RANKS];
    pthread_t thread[JOB_RANKS];

    for (uint32_t i = 0; i < job->size; i++) {
        call[i] = (struct call){.comm = job->comm[i], .fn = fn, .arg = arg};
        if (job->comm[i] != NULL)
            assert_int_equal(pthread_create(&thread[i], NULL, run, &call[i]), 0);
    }
    for (uint32_t i = 0; i < job->size; i++) {
        if (job->comm[i] != NULL)
            pthread_join(thread[i], NULL);
    }
}

static void work(nexar_comm *comm, void *arg)
{
    enum { COUNT = 10007 };
    uint32_t rank = nexar_comm_rank(comm), size = nexar_comm_size(comm);
    double *in = malloc(COUNT * sizeof(*in)), *out = malloc(COUNT * sizeof(*out));

    (void)arg;
    must(in != NULL && out != NULL);
    for (int i = 0; i < COUNT; i++)
        in[i] = (rank + 1) * (double)i;
    must(nexar_all_reduce(comm, in, out, COUNT, NEXAR_FLOAT64, NEXAR_SUM, NULL, NULL) == NEXAR_OK);
    for (int i = 0; i < COUNT; i++)
        must(out[i] == size * (size + 1) / 2 * (double)i);
    must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
    free(in);
    free(out);
}

void job_works(struct job *job)
{
    job_each(job, work, NULL);
}

static void cut(void *arg)
{
    nexar_comm *comm = arg;

    for (uint32_t r = 0; r < comm->size; r++) {
        nexar_status st;
        nexar_conn *conn = r == comm->rank ? NULL : nx_peer_conn(comm->net->peer[r], &st);

        if (conn != NULL)
            nx_conn_shutdown(conn, NX_CLOSE_ABORTED);
        nx_conn_drop(conn);
    }
}

void job_cut(nexar_comm *comm)
{
    must(nx_call(cut, comm) == NEXAR_OK);
}
