/* memsim.c - the world of memsim.h: time, links, and the running of one machine after another. */
#include "memsim.h"

#include "base/mem.h"

#include <stdlib.h>

static void append(struct memsim_events *list, const struct memsim_event *e)
{
    if (list->n == list->room) {
        list->room = list->room == 0 ? 16 : 2 * list->room;
        list->at = realloc(list->at, list->room * sizeof(*list->at));
        if (list->at == NULL)
            abort();
    }
    list->at[list->n++] = *e;
}

static void drop_load(const struct memsim_load *load)
{
    nx_member_msg_drop(load->msg);
}

static struct memsim_load hold_load(struct memsim_load load)
{
    if (load.msg != NULL)
        nx_member_msg_hold(load.msg);
    return load;
}

static void free_events(struct memsim_events *list)
{
    for (uint32_t i = 0; i < list->n; i++)
        drop_load(&list->at[i].load);
    free(list->at);
    *list = (struct memsim_events){0};
}

nx_time memsim_expo(struct rng *r, nx_time mean)
{
    for (uint64_t whole = 0;; whole++) {
        uint64_t first = rng_next(r), last = first, v;
        bool even = false;

        for (v = rng_next(r); v < last; v = rng_next(r)) {
            last = v;
            even = !even;
        }
        if (!even)
            return (nx_time)((uint64_t)mean * whole + ((uint64_t)mean * (first >> 32) >> 32));
    }
}

nx_time memsim_local(const struct memsim *s, uint32_t u)
{
    return s->now * s->member[u].rate / 1000000;
}

uint32_t memsim_slot(const struct memsim *s, const struct nx_uid *uid)
{
    uint32_t number = (uint32_t)uid->bytes[12] << 24 | (uint32_t)uid->bytes[13] << 16 | (uint32_t)uid->bytes[14] << 8 |
                      uid->bytes[15];

    return number < 1000 ? number : number - 1000 + s->initial;
}

int64_t memsim_epoch(const struct memsim *s, uint32_t u)
{
    return nx_acceptor_epoch(&s->member[u].m.own);
}

static bool sooner(const struct memsim_event *a, const struct memsim_event *b)
{
    return a->at != b->at ? a->at < b->at : a->seq < b->seq;
}

void memsim_push(struct memsim *s, nx_time in, struct memsim_event e)
{
    struct memsim_events *q = &s->queue;
    uint32_t i;

    e.at = s->now + in;
    e.seq = ++s->seq;
    append(q, &e);
    for (i = q->n - 1; i > 0 && sooner(&e, &q->at[(i - 1) / 2]); i = (i - 1) / 2)
        q->at[i] = q->at[(i - 1) / 2];
    q->at[i] = e;
}

static struct memsim_event pop(struct memsim_events *q)
{
    struct memsim_event top = q->at[0], last = q->at[--q->n];
    uint32_t i = 0;

    for (;;) {
        uint32_t child = 2 * i + 1;

        if (child >= q->n)
            break;
        if (child + 1 < q->n && sooner(&q->at[child + 1], &q->at[child]))
            child++;
        if (sooner(&last, &q->at[child]))
            break;
        q->at[i] = q->at[child];
        i = child;
    }
    if (q->n > 0)
        q->at[i] = last;
    return top;
}

/* ---- links ---- */

static nx_time delay(struct memsim *s)
{
    nx_time d = memsim_expo(&s->rng, s->slow);

    if (s->tail != 0 && memsim_chance(&s->rng, s->tail))
        d *= 10;
    return (d < 400 * NX_MS ? d : 400 * NX_MS) + 200 * NX_US;
}

/* Takes over the load. */
void memsim_send(struct memsim *s, uint32_t a, uint32_t b, struct memsim_load load)
{
    struct memsim_link *l = &s->link[a][b];
    nx_time t;

    if (l->down) { /* kept for retransmission, or lost with the connection */
        if (memsim_chance(&s->rng, 500)) {
            if (l->held.n == l->held.room) {
                l->held.room = l->held.room == 0 ? 8 : 2 * l->held.room;
                l->held.at = realloc(l->held.at, l->held.room * sizeof(*l->held.at));
                if (l->held.at == NULL)
                    abort();
            }
            l->held.at[l->held.n++] = load;
        } else {
            drop_load(&load);
        }
        return;
    }
    t = s->now + delay(s);
    if (t < l->last + 100)
        t = l->last + 100;
    l->last = t;
    s->stats.messages++;
    memsim_push(s, t - s->now,
                (struct memsim_event){.kind = MEMSIM_MSG, .a = a, .b = b, .load = load, .generation = l->generation});
}

static void remember(struct memsim_link *l, struct memsim_load load)
{
    if (l->n_recent == 3) {
        drop_load(&l->recent[0]);
        l->recent[0] = l->recent[1];
        l->recent[1] = l->recent[2];
        l->n_recent--;
    }
    l->recent[l->n_recent++] = hold_load(load);
}

/* ---- running one machine ---- */

static void told_send(void *arg, const struct nx_uid *to, struct nx_member_msg *msg);
static struct nx_acceptor *record_of(void *arg, const struct nx_uid *dead);
static bool commit(void *arg, const struct nx_uid *who, const struct nx_acceptor *record);
static void told_event(void *arg, const struct nx_member_event *event);

static const struct nx_member_ops ops = {.send = told_send, .record = record_of, .commit = commit, .event = told_event};
static struct memsim *world; /* of the step that runs: the ops know their member alone */

static void told_send(void *arg, const struct nx_uid *to, struct nx_member_msg *msg)
{
    struct memsim_member *m = arg;

    append(&m->out, &(struct memsim_event){.b = memsim_slot(world, to), .load.msg = nx_member_msg_hold(msg)});
}

static struct nx_acceptor *record_of(void *arg, const struct nx_uid *dead)
{
    struct memsim_member *m = arg, *d = &world->member[memsim_slot(world, dead)];

    return d->stored && d->host == m->host ? &d->record : NULL;
}

static bool commit(void *arg, const struct nx_uid *who, const struct nx_acceptor *record)
{
    (void)arg;
    memsim_accepted(world, memsim_slot(world, who), record);
    return true;
}

static void told_event(void *arg, const struct nx_member_event *event)
{
    struct memsim_member *m = arg;

    if (m->n_events == sizeof(m->event) / sizeof(m->event[0]))
        abort();
    m->event[m->n_events] = *event;
    nx_entry_hold((struct nx_entry *)(uintptr_t)event->entry);
    m->n_events++;
}

void memsim_begin(struct memsim *s, uint32_t u)
{
    world = s;
    s->member[u].n_events = 0;
    if (s->short_memory)
        nx_mem_fail_at(1 + rng_below(&s->memory, 200));
}

static void send_out(struct memsim *s, uint32_t u, const struct memsim_event *out)
{
    struct memsim_member *m = &s->member[u];
    bool beat = out->load.msg->kind == NX_MEMBER_BEAT;

    if (!m->alive) {
        drop_load(&out->load);
        return;
    }
    if (s->trace != NULL)
        memsim_text_send(s, out->b, out->load.msg);
    if (m->bomb && !beat) {
        m->bomb = false;
        if (m->bomb_after > 0) {
            m->bomb = true;
            m->bomb_after--;
        } else if (m->bomb_freeze != 0) { /* stopped between two sends; the rest leaves later */
            m->frozen = true;
            memsim_push(s, m->bomb_freeze, (struct memsim_event){.kind = MEMSIM_THAW, .a = u});
        } else { /* dies between two sends */
            drop_load(&out->load);
            memsim_crash(s, u, false);
            return;
        }
    }
    if (m->frozen)
        append(&m->inbox, &(struct memsim_event){.kind = MEMSIM_LATE, .a = u, .b = out->b, .load = out->load});
    else
        memsim_send(s, u, out->b, out->load);
}

void memsim_end(struct memsim *s, uint32_t u)
{
    struct memsim_member *m = &s->member[u];
    struct memsim_events out = m->out;

    nx_mem_fail_at(0);
    m->out = (struct memsim_events){0};
    for (uint32_t i = 0; i < m->n_events; i++) {
        memsim_observe(s, u, &m->event[i]);
        nx_entry_drop((struct nx_entry *)(uintptr_t)m->event[i].entry);
    }
    memsim_check(s, u);
    for (uint32_t i = 0; i < out.n; i++)
        send_out(s, u, &out.at[i]);
    free(out.at);
}

void memsim_add(struct memsim *s, uint32_t host, bool joins, const struct nx_uid *contacts, uint32_t n)
{
    uint32_t u = s->n++;
    struct memsim_member *m = &s->member[u];
    struct nx_member_config config = nx_member_defaults();
    nexar_status status;

    if (s->n > MEMSIM_SLOTS)
        abort();
    config.timeout = 1600 * NX_MS;
    config.witnessed = s->witnessed;
    *m = (struct memsim_member){.number = u < s->initial ? u : u - s->initial + 1000, .seen = -1};
    m->host = host == UINT32_MAX ? m->number : host;
    m->alive = m->stored = true;
    m->rate = memsim_span(&s->rng, 930000, 1070001);
    struct nx_uid uid = {{[14] = (uint8_t)(m->number >> 8), [15] = (uint8_t)m->number}};
    status = joins ? nx_member_init_joining(&m->m, &uid, &config, contacts, n, memsim_local(s, u), &ops, m)
                   : nx_member_init(&m->m, &uid, &config, s->entry[0], memsim_local(s, u), &ops, m);
    if (status != NEXAR_OK)
        abort();
    m->m.next_beat = memsim_local(s, u) + (nx_time)rng_below(&s->rng, 500 * NX_MS);
    memsim_push(s, (nx_time)rng_below(&s->rng, 120 * NX_MS), (struct memsim_event){.kind = MEMSIM_TICK, .a = u});
    memsim_push(s, (nx_time)rng_below(&s->rng, NX_S), (struct memsim_event){.kind = MEMSIM_APP, .a = u});
}

void memsim_crash(struct memsim *s, uint32_t u, bool with_host)
{
    struct memsim_member *m = &s->member[u];

    if (!m->alive)
        return;
    m->alive = m->frozen = false;
    m->record = m->m.own; /* its memory outlives it */
    for (uint32_t i = 0; i < m->record.n; i++)
        nx_entry_hold(m->record.history[i]);
    if (m->record.value != NULL)
        nx_entry_hold(m->record.value);
    s->stats.crashes++;
    for (uint32_t v = 0; v < s->n; v++) {
        const struct memsim_member *other = &s->member[v];

        if (!other->alive || with_host)
            continue;
        if (other->host == m->host)
            memsim_push(s, memsim_span(&s->rng, 500 * NX_US, 10 * NX_MS),
                        (struct memsim_event){.kind = MEMSIM_DIED, .a = v, .b = u});
        else if (memsim_chance(&s->rng, 700))
            memsim_push(s, memsim_span(&s->rng, 5 * NX_MS, NX_S),
                        (struct memsim_event){.kind = MEMSIM_CLOSED, .a = v, .b = u});
    }
}

/* ---- events ---- */

static void arrive(struct memsim *s, struct memsim_event *e)
{
    struct memsim_link *l = &s->link[e->a][e->b];
    struct memsim_member *m = &s->member[e->b];
    struct nx_member_msg *msg = e->load.msg;

    if (e->generation != l->generation || !m->alive)
        return;
    if (l->down) {
        memsim_send(s, e->a, e->b, hold_load(e->load));
    } else if (m->frozen) {
        e->load = hold_load(e->load);
        append(&m->inbox, e);
    } else {
        if (msg == NULL || msg->kind != NX_MEMBER_BEAT)
            remember(l, e->load);
        if (msg == NULL) {
            memsim_take(s, e->b, e->a, e->load.tag);
            return;
        }
        if (msg->kind == NX_MEMBER_JOIN)
            m->asked_by[e->a] = true;
        msg = s->by_wire ? memsim_by_wire(s, e->b, msg) : nx_member_msg_hold(msg);
        memsim_begin(s, e->b);
        if (msg != NULL)
            nx_member_said(&m->m, &s->member[e->a].m.uid, msg, memsim_local(s, e->b));
        memsim_end(s, e->b);
        nx_member_msg_drop(msg);
    }
}

static void tick(struct memsim *s, uint32_t u)
{
    memsim_begin(s, u);
    nx_member_tick(&s->member[u].m, memsim_local(s, u));
    memsim_end(s, u);
}

static void talk(struct memsim *s, uint32_t u)
{
    const struct nx_member *m = &s->member[u].m;

    for (uint32_t i = 0; m->state == NX_MEMBER_IN && i < nx_acceptor_entry(&m->own)->roll->n; i++) {
        uint32_t to = memsim_slot(s, &nx_acceptor_entry(&m->own)->roll->uid[i]);

        if (to != u && memsim_chance(&s->rng, 300))
            memsim_send(s, u, to, (struct memsim_load){.tag = memsim_epoch(s, u)});
    }
}

static void thaw(struct memsim *s, uint32_t u)
{
    struct memsim_member *m = &s->member[u];
    struct memsim_events box = m->inbox;

    if (!m->frozen)
        return;
    m->frozen = false;
    m->inbox = (struct memsim_events){0};
    if (memsim_chance(&s->rng, 500)) /* timers may fire before the sockets are read */
        tick(s, u);
    for (uint32_t i = 0; i < box.n && s->fault[0] == '\0'; i++)
        memsim_event(s, &box.at[i]);
    free_events(&box);
}

static void see(struct memsim *s, struct memsim_event *e)
{
    struct memsim_member *m = &s->member[e->a];

    if (m->frozen) {
        append(&m->inbox, e);
        return;
    }
    memsim_begin(s, e->a);
    if (e->kind == MEMSIM_DIED)
        nx_member_died(&m->m, &s->member[e->b].m.uid, memsim_local(s, e->a));
    else
        nx_member_closed(&m->m, &s->member[e->b].m.uid, memsim_local(s, e->a));
    memsim_end(s, e->a);
}

/* The load stays the caller's. */
void memsim_event(struct memsim *s, struct memsim_event *e)
{
    if (s->trace != NULL)
        memsim_text_event(s, e);
    if (e->kind == MEMSIM_CALL) {
        memsim_call(s, e);
        return;
    }
    if (e->kind == MEMSIM_MSG) {
        arrive(s, e);
        return;
    }
    if (!s->member[e->a].alive)
        return;
    switch (e->kind) {
    case MEMSIM_TICK:
    case MEMSIM_APP:
        memsim_push(s, e->kind == MEMSIM_TICK ? 125 * NX_MS : 1300 * NX_MS,
                    (struct memsim_event){.kind = e->kind, .a = e->a});
        if (s->member[e->a].frozen)
            break;
        if (e->kind == MEMSIM_TICK)
            tick(s, e->a);
        else
            talk(s, e->a);
        break;
    case MEMSIM_LATE:
        memsim_send(s, e->a, e->b, hold_load(e->load));
        break;
    case MEMSIM_DIED:
    case MEMSIM_CLOSED:
        see(s, e);
        break;
    case MEMSIM_THAW:
        thaw(s, e->a);
        break;
    case MEMSIM_MSG:
    case MEMSIM_CALL:
        break;
    }
}

void memsim_run(struct memsim *s, nx_time until)
{
    while (s->queue.n > 0 && s->queue.at[0].at <= until && s->fault[0] == '\0') {
        struct memsim_event e = pop(&s->queue);

        s->now = e.at;
        memsim_event(s, &e);
        drop_load(&e.load);
    }
    s->now = until;
}

void memsim_fini(struct memsim *s)
{
    for (uint32_t a = 0; a < s->n; a++) {
        for (uint32_t b = 0; b < s->n; b++) {
            struct memsim_link *l = &s->link[a][b];

            for (uint32_t i = 0; i < l->n_recent; i++)
                drop_load(&l->recent[i]);
            for (uint32_t i = 0; i < l->held.n; i++)
                drop_load(&l->held.at[i]);
            free(l->held.at);
        }
        free_events(&s->member[a].inbox);
        free_events(&s->member[a].early);
        nx_acceptor_fini(&s->member[a].record);
        nx_member_fini(&s->member[a].m);
    }
    free_events(&s->queue);
    for (uint32_t i = 0; i < MEMSIM_EPOCHS; i++) {
        nx_entry_drop(s->entry[i]);
        nx_entry_drop(s->agreed[i]);
    }
    for (uint32_t i = 0; i < s->n_votes; i++)
        nx_entry_drop(s->votes[i].value);
    free(s->votes);
    memset(s, 0, sizeof(*s));
}
