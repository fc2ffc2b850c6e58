/* simnet.c - the network in virtual time. */
#include "simnet.h"

#include "check.h"
#include "wire/codec.h"

enum kind { ACCEPT, CONNECTED, MESSAGE, CLOSED, CALL };

struct event {
    struct nx_heap_node node;
    struct simconn *conn; /* or */
    void (*fn)(void *arg);
    void *arg;
    int side; /* to which it happens */
    enum kind kind;
    const char *why;
    size_t n;
    uint8_t archive[];
};

static void *get(size_t size)
{
    void *p = calloc(1, size);

    if (p == NULL)
        abort();
    return p;
}

void simnet_init(struct simnet *net, uint64_t seed, nx_time delay_max, nx_time notice_max)
{
    *net = (struct simnet){.rng.state = seed, .now = NX_S, .delay_max = delay_max, .notice_max = notice_max};
    nx_list_init(&net->conns);
}

void simnet_fini(struct simnet *net)
{
    while (net->events != NULL) {
        struct event *event = nx_container_of(net->events, struct event, node);

        net->events = nx_heap_remove(net->events, &event->node);
        free(event);
    }
    while (!nx_list_empty(&net->conns))
        free(nx_container_of(nx_list_pop(&net->conns), struct simconn, link));
}

void simhost_init(struct simhost *host, struct simnet *net, const struct simhost_events *events, void *arg)
{
    *host = (struct simhost){.net = net, .events = events, .arg = arg};
}

nx_time simnet_soon(struct simnet *net, nx_time span)
{
    return net->now + (span <= 0 ? 0 : (nx_time)(rng_next(&net->rng) % (uint64_t)span));
}

/* ---- events ---- */

static void put(struct simnet *net, struct event *event, nx_time at)
{
    event->node.at = at;
    net->events = nx_heap_insert(net->events, &event->node);
}

/* Something is on its way to an end; nothing overtakes what was sent before. */
static void put_ordered(struct simconn *conn, struct event *event, nx_time at)
{
    int side = event->side;

    if (at <= conn->last[side])
        at = conn->last[side] + 1;
    conn->last[side] = at;
    put(conn->host[0]->net, event, at);
}

static struct event *new_event(struct simconn *conn, int side, enum kind kind)
{
    struct event *event = get(sizeof(*event));

    event->conn = conn;
    event->side = side;
    event->kind = kind;
    return event;
}

void simnet_at(struct simnet *net, nx_time at, void (*fn)(void *arg), void *arg)
{
    struct event *event = get(sizeof(*event));

    event->kind = CALL;
    event->fn = fn;
    event->arg = arg;
    put(net, event, at);
}

void simhost_settle(struct simhost *host)
{
    struct simnet *net = host->net;
    nx_time at = host->dead ? NX_NEVER : host->events->tick(host->arg);

    if (host->timer_set)
        net->timers = nx_heap_remove(net->timers, &host->timer);
    host->timer_set = at != NX_NEVER;
    if (!host->timer_set)
        return;
    host->timer.at = at;
    net->timers = nx_heap_insert(net->timers, &host->timer);
}

/* ---- connections ---- */

struct simconn *simnet_connect(struct simhost *from, struct simhost *to, void *user)
{
    struct simnet *net = from->net;
    struct simconn *conn = get(sizeof(*conn));

    conn->host[0] = from;
    conn->host[1] = to;
    conn->user[0] = user;
    nx_list_push_back(&net->conns, &conn->link);
    put_ordered(conn, new_event(conn, 1, ACCEPT), simnet_soon(net, 2 * net->delay_max));
    return conn;
}

void simnet_send(struct simconn *conn, int side, const struct nx_message *message)
{
    struct simnet *net = conn->host[0]->net;
    struct event *event;
    size_t n;

    /* A machine must know to whom it can speak. */
    assert_int_equal(conn->state[side], SIMEND_OPEN);
    if (conn->broken || conn->state[!side] >= SIMEND_CLOSING)
        return;
    assert_ok(nx_message_size(message, &n));
    event = get(sizeof(*event) + n);
    event->conn = conn;
    event->side = !side;
    event->kind = MESSAGE;
    event->n = n;
    assert_ok(nx_message_encode(message, event->archive, n));
    put_ordered(conn, event, simnet_soon(net, net->delay_max));
}

static void put_closed(struct simconn *conn, int side, nx_time at, const char *why)
{
    struct event *event = new_event(conn, side, CLOSED);

    event->why = why;
    put_ordered(conn, event, at);
}

void simnet_close(struct simconn *conn, int side, nx_time linger)
{
    struct simnet *net = conn->host[0]->net;
    nx_time at = net->now + linger;

    if (conn->state[side] == SIMEND_CLOSED || conn->state[side] == SIMEND_CLOSING)
        return;
    conn->state[side] = SIMEND_CLOSING;
    put_closed(conn, side, at + 1, "closed here");
    if (conn->state[!side] == SIMEND_OPEN && !conn->broken)
        put_closed(conn, !side, simnet_soon(net, net->delay_max) + linger, "it closed the connection");
    /* Half a connection; or what is not acknowledged is lost. */
    if (conn->state[!side] == SIMEND_NEW || (linger == 0 && rng_below(&net->rng, 4) == 0))
        conn->broken = true;
}

void simnet_break(struct simconn *conn)
{
    struct simnet *net = conn->host[0]->net;

    if (conn->fault)
        return;
    conn->broken = conn->fault = true;
    for (int side = 0; side < 2; side++) {
        if (conn->state[side] == SIMEND_OPEN || (side == 0 && conn->state[side] == SIMEND_NEW))
            put_closed(conn, side, simnet_soon(net, net->notice_max), "it does not answer any more");
    }
}

void simhost_kill(struct simhost *host)
{
    if (host->dead)
        return;
    host->dead = true;
    nx_list_for_each_safe(pos, tmp, &host->net->conns)
    {
        struct simconn *conn = nx_container_of(pos, struct simconn, link);

        if (conn->host[0] == host || conn->host[1] == host)
            simnet_break(conn);
    }
}

/* ---- running ---- */

static void accept_one(struct simconn *conn)
{
    struct simnet *net = conn->host[0]->net;
    struct simhost *host = conn->host[1];

    if (conn->broken)
        return;
    conn->state[1] = SIMEND_OPEN;
    if (host->dead || !host->events->accept(host->arg, conn, 1)) {
        conn->state[1] = SIMEND_CLOSED;
        put_closed(conn, 0, simnet_soon(net, net->delay_max), "nobody there, or refused");
        return;
    }
    put_ordered(conn, new_event(conn, 0, CONNECTED), simnet_soon(net, net->delay_max));
}

static void deliver(struct event *event)
{
    struct simconn *conn = event->conn;
    struct simhost *host = conn->host[event->side];
    struct nx_message message;
    uint8_t *archive;

    if (conn->broken || conn->state[event->side] != SIMEND_OPEN)
        return;
    archive = get(event->n); /* memory of its own, so that a sanitizer sees who keeps a pointer into it */
    memcpy(archive, event->archive, event->n);
    assert_ok(nx_message_decode(archive, event->n, &message));
    host->events->message(host->arg, conn, event->side, &message, archive, event->n);
    free(archive);
}

static void close_end(struct event *event)
{
    struct simconn *conn = event->conn;
    struct simhost *host = conn->host[event->side];

    if (conn->state[event->side] == SIMEND_CLOSED)
        return;
    conn->state[event->side] = SIMEND_CLOSED;
    if (!host->dead)
        host->events->closed(host->arg, conn, event->side, event->why);
}

static void run_event(struct simnet *net)
{
    struct event *event = nx_container_of(net->events, struct event, node);
    struct simhost *host = event->kind == CALL ? NULL : event->conn->host[event->side];

    net->events = nx_heap_remove(net->events, &event->node);
    net->now = event->node.at;
    switch (event->kind) {
    case ACCEPT:
        accept_one(event->conn);
        break;
    case CONNECTED:
        if (!event->conn->broken && !host->dead && event->conn->state[0] == SIMEND_NEW) {
            event->conn->state[0] = SIMEND_OPEN;
            host->events->connected(host->arg, event->conn, 0);
        }
        break;
    case MESSAGE:
        if (!host->dead)
            deliver(event);
        break;
    case CLOSED:
        close_end(event);
        break;
    case CALL:
        event->fn(event->arg);
        break;
    }
    if (host != NULL)
        simhost_settle(host);
    free(event);
    if (net->after != NULL)
        net->after(net->after_arg);
}

void simnet_run(struct simnet *net, nx_time until)
{
    for (;;) {
        nx_time event_at = net->events == NULL ? NX_NEVER : net->events->at;
        nx_time timer_at = net->timers == NULL ? NX_NEVER : net->timers->at;

        if (event_at > until && timer_at > until)
            break;
        assert_true(++net->steps < 2000000); /* else a machine spins */
        if (event_at <= timer_at) {
            run_event(net);
        } else {
            if (timer_at > net->now)
                net->now = timer_at;
            simhost_settle(nx_container_of(net->timers, struct simhost, timer));
        }
    }
    net->now = until;
}
