/* net/host.c - what the library lends to modules: the table of nexar/ext.h over links, arrivals and the engine.
 *
 * Owner: the engine, where ext.h says no other.  It translates; what happens is in link.c, dock.c and base/. */
#include "net/way.h"

#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- who is who ---- */

static uint32_t rank(nexar_node *node)
{
    return node->net->config.rank;
}

static uint32_t world_size(nexar_node *node)
{
    return node->net->config.size;
}

static uint32_t link_rank(nexar_link *link)
{
    return atomic_load(&link->conn->peer)->rank;
}

static int near(nexar_node *node, uint32_t other)
{
    nexar_status st;
    nexar_conn *conn;
    bool offers = false;

    if (node->net->peer[other] == NULL || !node->events.near(node->arg, other))
        return 0;
    conn = nx_peer_conn(node->net->peer[other], &st);
    for (uint32_t i = 0; conn != NULL && i < conn->link_count; i++)
        offers = offers || ((conn->links[i].way->module->flags & NEXAR_MODULE_NEAR) != 0 && conn->links[i].offered);
    nx_conn_drop(conn);
    return offers;
}

static void link_addresses(nexar_link *link, char *own, char *peer, size_t cap)
{
    struct sockaddr_storage local;

    snprintf(own, cap, "%s", "");
    if (nx_quic_conn_local(link->conn->quic, &local))
        nx_address_text((const struct sockaddr *)&local, own, cap);
    nx_conn_address(link->conn, peer, cap);
}

static const char *setting(const char *variable)
{
    return getenv(variable);
}

static void write_log(int level, const char *line)
{
    nx_log((nexar_log_level)level, "%s", line);
}

/* ---- negotiation ---- */

static nexar_status tls_identity(nexar_link *link, nexar_tls_identity *out)
{
    struct nexar_node *node = link->way->node;

    if (out->size < sizeof(*out))
        return nx_fail(NEXAR_EINVAL, "tls_identity: the struct's size is %u", out->size);
    return node->events.identity(node->arg, link->conn->node, out);
}

static void unusable(nexar_link *link, const char *why)
{
    nx_link_break(link, true, why);
}

static void lost(nexar_link *link, const char *why)
{
    nx_link_break(link, false, why);
}

static void suspect(nexar_link *link, const char *why)
{
    nexar_conn *conn = link->conn;
    bool sure = link->state == NX_LINK_READY && (atomic_load(&link->ops)->flags & NEXAR_BULK_SURE) != 0;

    if (conn->bye_received || atomic_load(&conn->ended))
        return; /* it has said that it leaves */
    nx_debug("rank %u may be dead: %s", link_rank(link), why);
    if (atomic_load(&atomic_load(&conn->peer)->ended))
        nx_conn_lost(conn, "its process has ended");
    else if (sure)
        nx_conn_lost(conn, why);
    else
        nx_quic_conn_probe(conn->quic);
}

/* ---- the engine ---- */

struct nexar_watch {
    struct nx_event event; /* its address is known to epoll */
    struct nx_list link;   /* node->watches, or `ended` */
    void (*ready)(void *arg, uint32_t events);
    int (*poll)(void *arg);
    void (*fire)(void *arg);
    void *arg;
    struct nx_poller poller;
    struct nx_timer timer;
    struct nx_task task;
    struct nx_task end;
    enum { WATCH_FD, WATCH_POLL, WATCH_TIMER, WATCH_JOB } kind;
    bool over;
};

static nexar_status new_watch(nexar_node *node, void *arg, nexar_watch **out)
{
    nexar_watch *w = nx_calloc(1, sizeof(*w));

    *out = w;
    if (w == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory to watch");
    w->arg = arg;
    nx_list_push_back(&node->watches, &w->link);
    return NEXAR_OK;
}

static void fd_ready(struct epoll_event *event)
{
    nexar_watch *w = nx_container_of((struct nx_event *)event->data.ptr, nexar_watch, event);

    if (!w->over)
        w->ready(w->arg, event->events);
}

static nexar_status watch_fd(nexar_node *node, int fd, uint32_t events, void (*ready)(void *arg, uint32_t events),
                             void *arg, nexar_watch **out)
{
    nexar_status st = new_watch(node, arg, out);
    nexar_watch *w = *out;
    struct epoll_event event = {.events = events};

    if (st != NEXAR_OK)
        return st;
    w->kind = WATCH_FD;
    w->event = (struct nx_event){.fd = fd, .ready = fd_ready};
    w->ready = ready;
    event.data.ptr = &w->event;
    if (epoll_ctl(nx_engine_epoll(), EPOLL_CTL_ADD, fd, &event) == 0)
        return NEXAR_OK;
    nx_list_remove(&w->link);
    nx_free(w);
    *out = NULL;
    return nx_fail(NEXAR_ESYSTEM, "cannot watch a descriptor: %s", strerror(errno));
}

static nexar_status watch_change(nexar_watch *w, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = &w->event};

    if (epoll_ctl(nx_engine_epoll(), EPOLL_CTL_MOD, w->event.fd, &event) == 0)
        return NEXAR_OK;
    return nx_fail(NEXAR_ESYSTEM, "cannot watch a descriptor: %s", strerror(errno));
}

static bool poller_poll(struct nx_poller *poller)
{
    nexar_watch *w = nx_container_of(poller, nexar_watch, poller);

    return w->poll(w->arg) != 0;
}

static nexar_status watch_poll(nexar_node *node, int (*poll)(void *arg), void *arg, nexar_watch **out)
{
    nexar_status st = new_watch(node, arg, out);

    if (st != NEXAR_OK)
        return st;
    (*out)->kind = WATCH_POLL;
    (*out)->poll = poll;
    (*out)->poller = (struct nx_poller){.poll = poller_poll};
    nx_poller_add(&(*out)->poller);
    return NEXAR_OK;
}

static void timer_fire(struct nx_timer *timer)
{
    nexar_watch *w = nx_container_of(timer, nexar_watch, timer);

    w->fire(w->arg);
}

static nexar_status watch_timer(nexar_node *node, void (*fire)(void *arg), void *arg, nexar_watch **out)
{
    nexar_status st = new_watch(node, arg, out);

    if (st != NEXAR_OK)
        return st;
    (*out)->kind = WATCH_TIMER;
    (*out)->fire = fire;
    nx_timer_init(&(*out)->timer, timer_fire);
    return NEXAR_OK;
}

static void timer_set(nexar_watch *w, int64_t nanoseconds)
{
    nx_timer_set(&w->timer, nx_after(nx_now(), nanoseconds));
}

static void job_run(struct nx_task *task)
{
    nexar_watch *w = nx_container_of(task, nexar_watch, task);

    if (!w->over)
        w->fire(w->arg);
}

static nexar_status watch_job(nexar_node *node, void (*run)(void *arg), void *arg, nexar_watch **out)
{
    nexar_status st = new_watch(node, arg, out);

    if (st != NEXAR_OK)
        return st;
    (*out)->kind = WATCH_JOB;
    (*out)->fire = run;
    nx_task_init(&(*out)->task, job_run);
    return NEXAR_OK;
}

static void job_post(nexar_watch *w)
{
    (void)nx_engine_post(&w->task); /* it may be queued already */
}

/* By now no event of this turn, and no task that was queued before, has to do with it. */
static void end_watch(struct nx_task *task)
{
    nx_free(nx_container_of(task, nexar_watch, end));
}

static void unwatch(nexar_watch *w)
{
    if (w == NULL || w->over)
        return;
    w->over = true;
    nx_list_remove(&w->link);
    if (w->kind == WATCH_FD)
        epoll_ctl(nx_engine_epoll(), EPOLL_CTL_DEL, w->event.fd, NULL);
    else if (w->kind == WATCH_POLL)
        nx_poller_remove(&w->poller);
    else if (w->kind == WATCH_TIMER)
        nx_timer_cancel(&w->timer);
    nx_task_init(&w->end, end_watch);
    nx_engine_post(&w->end);
}

const nexar_host nx_host = {
    .size = sizeof(nx_host),
    .rank = rank,
    .world_size = world_size,
    .link_rank = link_rank,
    .near = near,
    .link_addresses = link_addresses,
    .setting = setting,
    .log = write_log,
    .tell = nx_link_tell,
    .tls_identity = tls_identity,
    .ready = nx_link_ready,
    .unusable = unusable,
    .lost = lost,
    .suspect = suspect,
    .arrive_begin = nx_dock_begin,
    .arrive_whole = nx_dock_whole,
    .arrive_memory = nx_dock_memory,
    .arrive_filled = nx_dock_filled,
    .arrive_write = nx_dock_write,
    .arrive_end = nx_dock_end,
    .watch_fd = watch_fd,
    .watch_change = watch_change,
    .watch_poll = watch_poll,
    .watch_timer = watch_timer,
    .timer_set = timer_set,
    .watch_job = watch_job,
    .job_post = job_post,
    .unwatch = unwatch,
};
