/* fakehost.c - a host for modules that keeps no promise it need not keep.
 *
 * Owner: the engine; what tests look at from their own thread is atomic, or under the pair's lock.  It breaks off
 * (abort) where a module breaks the contract of nexar/ext.h. */
#include "fakehost.h"

#include "base/log.h"
#include "base/status.h"

#include <sched.h>
#include <string.h>

struct word {
    struct nx_list link;
    size_t n;
    uint8_t bytes[];
};

/* ---- who is who ---- */

static uint32_t rank_of(nexar_node *node)
{
    return node->link.rank;
}

static uint32_t world_size(nexar_node *node)
{
    (void)node;
    return 2;
}

static uint32_t link_rank(nexar_link *link)
{
    return 1 - link->rank;
}

static int near(nexar_node *node, uint32_t other)
{
    (void)other;
    return node->link.pair->options.near;
}

static void link_addresses(nexar_link *link, char *own, char *peer, size_t cap)
{
    const char *const *a = link->pair->options.address;

    snprintf(own, cap, "%s", a[link->rank] == NULL ? "127.0.0.1:1000" : a[link->rank]);
    snprintf(peer, cap, "%s", a[1 - link->rank] == NULL ? "127.0.0.1:1001" : a[1 - link->rank]);
}

/* Settings carry no node: each rank has its own function, and one pair is open at a time. */
static struct fake_pair *setting_pair;

static const char *setting_of(uint32_t rank, const char *variable)
{
    const char *const *s = setting_pair->options.setting[rank];
    size_t n = strlen(variable);

    for (int i = 0; i < FAKE_SETTINGS && s[i] != NULL; i++) {
        if (strncmp(s[i], variable, n) == 0 && s[i][n] == '=')
            return s[i] + n + 1;
    }
    return NULL;
}

static const char *setting0(const char *variable)
{
    return setting_of(0, variable);
}

static const char *setting1(const char *variable)
{
    return setting_of(1, variable);
}

static void write_log(int level, const char *line)
{
    nx_log((nexar_log_level)level, "%s", line);
}

/* ---- negotiation ---- */

static bool attached(const nexar_link *link)
{
    int state = atomic_load(&link->state);

    return state == FAKE_ATTACHED || state == FAKE_READY;
}

static void hear(struct nx_task *task)
{
    nexar_link *link = nx_container_of(task, nexar_link, tell);
    struct nx_list *pos;

    while (attached(link) && link->half != NULL && (pos = nx_list_pop(&link->told)) != NULL) {
        struct word *w = nx_container_of(pos, struct word, link);

        link->pair->options.module->told(link->half, w->bytes, w->n);
        free(w);
    }
}

static nexar_status tell(nexar_link *link, const void *bytes, size_t n)
{
    nexar_link *peer = &link->pair->node[1 - link->rank].link;
    struct word *w = malloc(sizeof(*w) + n);

    EXPECT(nx_engine_inside() && n <= NEXAR_TELL_MAX && w != NULL);
    w->n = n;
    memcpy(w->bytes, bytes, n);
    if (link->pair->options.words != NULL &&
        !link->pair->options.words(link->pair->options.arg, link->rank, w->bytes, n)) {
        free(w);
        return NEXAR_OK;
    }
    nx_list_push_back(&peer->told, &w->link);
    nx_engine_post(&peer->tell);
    return NEXAR_OK;
}

static nexar_status tls_identity(nexar_link *link, nexar_tls_identity *out)
{
    const struct fake_options *o = &link->pair->options;

    EXPECT(nx_engine_inside() && out->size == sizeof(*out));
    if (o->identity == NULL)
        return nx_fail(NEXAR_EAUTH, "there are no credentials");
    return o->identity(o->arg, link->rank, out);
}

static void ready(nexar_link *link, const nexar_bulk_ops *ops, void *self)
{
    EXPECT(nx_engine_inside() && atomic_load(&link->state) == FAKE_ATTACHED && ops->size == sizeof(*ops));
    atomic_store(&link->ops_self, self);
    atomic_store(&link->ops, ops);
    atomic_store(&link->state, FAKE_READY);
}

/* From now on nobody sends; then the module lets go. */
static void detach(nexar_link *link, enum fake_state state, bool orderly)
{
    void *half = link->half;

    atomic_store(&link->ops, NULL);
    while (atomic_load(&link->users) != 0)
        sched_yield();
    link->half = NULL;
    if (half != NULL)
        link->pair->options.module->detach(half, orderly);
    fake_arrive_drop(link);
    atomic_store(&link->state, (int)state);
}

static void end(nexar_link *link, enum fake_state state, const char *why)
{
    EXPECT(nx_engine_inside() && attached(link));
    snprintf(link->why, sizeof(link->why), "%s", why);
    detach(link, state, false);
}

static void unusable(nexar_link *link, const char *why)
{
    end(link, FAKE_UNUSABLE, why);
}

static void lost(nexar_link *link, const char *why)
{
    end(link, FAKE_LOST, why);
}

static void suspect(nexar_link *link, const char *why)
{
    (void)why;
    EXPECT(nx_engine_inside());
    atomic_fetch_add(&link->suspected, 1);
}

/* ---- a pair ---- */

struct job {
    struct nx_task task;
    void (*fn)(void *arg);
    void *arg;
    struct nx_waiter waiter;
};

static void run_job(struct nx_task *task)
{
    struct job *job = nx_container_of(task, struct job, task);

    job->fn(job->arg);
    nx_waiter_wake(&job->waiter);
}

void fake_run(void (*fn)(void *arg), void *arg)
{
    struct job job = {.fn = fn, .arg = arg};

    nx_task_init(&job.task, run_job);
    nx_waiter_init(&job.waiter);
    nx_engine_post(&job.task);
    while (nx_waiter_wait(&job.waiter, NX_NEVER) == NEXAR_EINTR)
        ;
}

static void attach_one(void *arg)
{
    nexar_link *link = arg;
    const nexar_module *m = link->pair->options.module;
    nexar_status st;

    EXPECT(link->half == NULL);
    link->why[0] = '\0';
    link->generation++;
    atomic_store(&link->state, FAKE_ATTACHED);
    st = m->attach(link->self, link, &link->half);
    if (st != NEXAR_OK) {
        snprintf(link->why, sizeof(link->why), "%s", nexar_last_error());
        atomic_store(&link->state, FAKE_UNUSABLE);
        link->half = NULL;
    }
    if (!attached(link))
        link->half = NULL; /* it said so at once */
    nx_engine_post(&link->tell);
}

struct detach_job {
    nexar_link *link;
    bool orderly;
};

static void detach_one(void *arg)
{
    struct detach_job *job = arg;
    nexar_link *link = job->link;
    struct nx_list *pos;

    if (link->half != NULL)
        detach(link, FAKE_DETACHED, job->orderly);
    while ((pos = nx_list_pop(&link->told)) != NULL)
        free(nx_container_of(pos, struct word, link));
}

void fake_attach(struct fake_pair *pair, uint32_t rank)
{
    fake_run(attach_one, &pair->node[rank].link);
}

void fake_detach(struct fake_pair *pair, uint32_t rank, bool orderly)
{
    struct detach_job job = {.link = &pair->node[rank].link, .orderly = orderly};

    fake_run(detach_one, &job);
}

static void open_both(void *arg)
{
    struct fake_pair *pair = arg;

    for (uint32_t i = 0; i < 2; i++) {
        nexar_link *link = &pair->node[i].link;

        if (pair->options.module->open(&pair->host[i], &pair->node[i], &link->self) != NEXAR_OK) {
            fprintf(stderr, "open: %s\n", nexar_last_error());
            abort();
        }
    }
    for (uint32_t i = 0; i < 2; i++)
        attach_one(&pair->node[i].link);
}

struct fake_pair *fake_open(const struct fake_options *options)
{
    struct fake_pair *pair = calloc(1, sizeof(*pair));

    EXPECT(pair != NULL && nx_engine_start() == NEXAR_OK);
    setting_pair = pair;
    pair->options = *options;
    nx_mutex_init(&pair->lock, NX_LOCK_LOG);
    for (uint32_t i = 0; i < 2; i++) {
        nexar_link *link = &pair->node[i].link;

        pair->host[i] = (nexar_host){.size = sizeof(nexar_host),
                                     .rank = rank_of,
                                     .world_size = world_size,
                                     .link_rank = link_rank,
                                     .near = near,
                                     .link_addresses = link_addresses,
                                     .setting = i == 0 ? setting0 : setting1,
                                     .log = write_log,
                                     .tell = tell,
                                     .tls_identity = tls_identity,
                                     .ready = ready,
                                     .unusable = unusable,
                                     .lost = lost,
                                     .suspect = suspect};
        fake_watch_functions(&pair->host[i]);
        fake_arrive_functions(&pair->host[i]);
        link->pair = pair;
        link->rank = i;
        link->rng.state = options->seed * 2 + i;
        link->last = &link->first;
        nx_list_init(&link->told);
        nx_list_init(&link->open);
        nx_task_init(&link->tell, hear);
    }
    fake_run(open_both, pair);
    return pair;
}

static void close_both(void *arg)
{
    struct fake_pair *pair = arg;

    for (uint32_t i = 0; i < 2; i++)
        pair->options.module->close(pair->node[i].link.self);
}

static void nothing(void *arg)
{
    (void)arg;
}

void fake_close(struct fake_pair *pair)
{
    struct fake_message *m;

    for (uint32_t i = 0; i < 2; i++)
        fake_detach(pair, i, true);
    fake_run(close_both, pair);
    do
        fake_run(nothing, NULL); /* what was posted before, `tell` of both ends among it, has run */
    while (atomic_load(&pair->node[0].link.later) != 0 || atomic_load(&pair->node[1].link.later) != 0);
    for (uint32_t i = 0; i < 2; i++) {
        while ((m = fake_take(pair, i)) != NULL)
            fake_free(m);
    }
    nx_mutex_fini(&pair->lock);
    free(pair);
}

/* ---- messages ---- */

static void sent(void *arg, nexar_status status)
{
    nexar_link *link = arg;

    EXPECT(nx_engine_inside());
    atomic_fetch_add(status == NEXAR_OK ? &link->done : &link->failed, 1);
}

nexar_status fake_send_iov(struct fake_pair *pair, uint32_t rank, const void *head, uint32_t head_nbytes,
                           const nexar_iov *iov, uint32_t n, bool must_copy)
{
    nexar_link *link = &pair->node[rank].link;
    const nexar_bulk_ops *ops;
    nexar_bulk_message m = {.size = sizeof(m), .head_nbytes = head_nbytes, .head = head, .iov = iov, .n = n};
    nexar_status st = NEXAR_EPEER;

    m.must_copy = must_copy;
    for (uint32_t i = 0; i < n; i++)
        m.nbytes += iov[i].nbytes;
    atomic_fetch_add(&link->users, 1);
    ops = atomic_load(&link->ops);
    if (ops != NULL)
        st = ops->send(atomic_load(&link->ops_self), &m, must_copy ? NULL : sent, link);
    atomic_fetch_sub(&link->users, 1);
    EXPECT(!(must_copy && st == NEXAR_EAGAIN));
    return st;
}

nexar_status fake_send(struct fake_pair *pair, uint32_t rank, const void *head, uint32_t head_nbytes,
                       const void *payload, uint64_t nbytes, bool must_copy)
{
    nexar_iov iov = {.base = (void *)(uintptr_t)payload, .nbytes = nbytes};

    return fake_send_iov(pair, rank, head, head_nbytes, &iov, nbytes != 0, must_copy);
}

struct fake_message *fake_take(struct fake_pair *pair, uint32_t rank)
{
    nexar_link *link = &pair->node[rank].link;
    struct fake_message *m;

    nx_lock(&pair->lock);
    m = link->first;
    if (m != NULL)
        link->first = m->next;
    if (link->first == NULL)
        link->last = &link->first;
    nx_unlock(&pair->lock);
    return m;
}

void fake_free(struct fake_message *message)
{
    free(message);
}
