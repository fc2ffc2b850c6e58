/* fakearrive.c - messages that arrive at fakehost.c: written down, with difficulties made up by chance.
 *
 * Owner: the engine; what has arrived whole is under the pair's lock. */
#include "fakehost.h"

#include <string.h>

struct nexar_arrival {
    struct nx_list link;
    nexar_link *way;
    struct fake_message *message;
    uint64_t got;
    bool given;  /* memory, and not yet filled */
    bool memory; /* it is one of those that are given memory */
    void (*resume)(void *arg);
    void *arg;
};

struct later {
    struct nx_timer timer;
    nexar_link *link;
    uint32_t generation;
    void (*resume)(void *arg);
    void *arg;
};

static void resume_fire(struct nx_timer *timer)
{
    struct later *later = nx_container_of(timer, struct later, timer);

    if (later->link->half != NULL && later->link->generation == later->generation)
        later->resume(later->arg);
    atomic_fetch_sub(&later->link->later, 1);
    free(later);
}

/* By chance: says no, and calls `resume` a little later. */
static bool again(nexar_link *link, void (*resume)(void *arg), void *arg)
{
    struct later *later;

    if (rng_below(&link->rng, 100) >= link->pair->options.again)
        return false;
    later = malloc(sizeof(*later));
    EXPECT(later != NULL);
    *later = (struct later){.link = link, .generation = link->generation, .resume = resume, .arg = arg};
    atomic_fetch_add(&link->later, 1);
    nx_timer_init(&later->timer, resume_fire);
    nx_timer_set(&later->timer, nx_now() + (nx_time)rng_below(&link->rng, 500) * NX_US);
    return true;
}

static struct fake_message *new_message(const void *head, uint32_t head_nbytes, uint64_t nbytes)
{
    struct fake_message *m = malloc(sizeof(*m) + nbytes);

    EXPECT(nx_engine_inside() && head_nbytes >= 1 && head_nbytes <= NEXAR_BULK_HEAD_MAX && m != NULL);
    *m = (struct fake_message){.head_nbytes = head_nbytes, .nbytes = nbytes};
    memcpy(m->head, head, head_nbytes);
    return m;
}

static void keep(nexar_link *link, struct fake_message *m)
{
    nx_lock(&link->pair->lock);
    *link->last = m;
    link->last = &m->next;
    nx_unlock(&link->pair->lock);
    atomic_fetch_add(&link->received_bytes, m->nbytes);
    atomic_fetch_add(&link->received, 1);
}

static uint32_t open_count(const nexar_link *link)
{
    uint32_t n = 0;

    for (const struct nx_list *pos = link->open.next; pos != &link->open; pos = pos->next)
        n++;
    return n;
}

static nexar_status arrive_begin(nexar_link *link, const void *head, uint32_t head_nbytes, uint64_t nbytes, int alone,
                                 void (*resume)(void *arg), void *arg, nexar_arrival **out)
{
    nexar_arrival *a;

    (void)alone;
    EXPECT(atomic_load(&link->state) == FAKE_READY && open_count(link) < NEXAR_BULK_OPEN_MAX);
    if (again(link, resume, arg))
        return NEXAR_EAGAIN;
    a = calloc(1, sizeof(*a));
    EXPECT(a != NULL);
    *a = (nexar_arrival){.way = link, .message = new_message(head, head_nbytes, nbytes), .resume = resume, .arg = arg};
    a->memory = rng_below(&link->rng, 100) < link->pair->options.memory;
    nx_list_push_back(&link->open, &a->link);
    *out = a;
    return NEXAR_OK;
}

static nexar_status arrive_whole(nexar_link *link, const void *head, uint32_t head_nbytes, const void *payload,
                                 uint64_t nbytes, void (*resume)(void *arg), void *arg)
{
    struct fake_message *m;

    EXPECT(atomic_load(&link->state) == FAKE_READY);
    if (again(link, resume, arg))
        return NEXAR_EAGAIN;
    m = new_message(head, head_nbytes, nbytes);
    if (nbytes != 0)
        memcpy(m->payload, payload, nbytes);
    atomic_fetch_add(&link->whole, 1);
    keep(link, m);
    return NEXAR_OK;
}

static nexar_status arrive_memory(nexar_arrival *a, void **p, uint64_t *n)
{
    uint64_t left = a->message->nbytes - a->got;

    EXPECT(nx_engine_inside() && !a->given && *n > 0 && left > 0);
    if (!a->memory)
        return NEXAR_ENOTSUP;
    if (again(a->way, a->resume, a->arg))
        return NEXAR_EAGAIN;
    if (*n > left)
        *n = left;
    if (rng_below(&a->way->rng, 4) == 0)
        *n = 1 + rng_below(&a->way->rng, *n);
    *p = a->message->payload + a->got;
    a->given = true;
    return NEXAR_OK;
}

static void arrive_filled(nexar_arrival *a, uint64_t n)
{
    EXPECT(nx_engine_inside() && a->given && n <= a->message->nbytes - a->got);
    a->given = false;
    a->got += n;
    atomic_fetch_add(&a->way->direct, n);
}

static nexar_status arrive_write(nexar_arrival *a, const void *bytes, size_t n, size_t *taken)
{

    EXPECT(nx_engine_inside() && !a->given && n <= a->message->nbytes - a->got);
    *taken = n;
    if (n > 0 && again(a->way, a->resume, a->arg))
        *taken = rng_below(&a->way->rng, n);
    memcpy(a->message->payload + a->got, bytes, *taken);
    a->got += *taken;
    return *taken == n ? NEXAR_OK : NEXAR_EAGAIN;
}

static void arrive_end(nexar_arrival *a)
{
    EXPECT(nx_engine_inside() && !a->given && a->got == a->message->nbytes);
    nx_list_remove(&a->link);
    keep(a->way, a->message);
    free(a);
}

void fake_arrive_drop(nexar_link *link)
{
    struct nx_list *pos;

    while ((pos = nx_list_pop(&link->open)) != NULL) {
        nexar_arrival *a = nx_container_of(pos, nexar_arrival, link);

        free(a->message);
        free(a);
    }
}

void fake_arrive_functions(nexar_host *host)
{
    host->arrive_begin = arrive_begin;
    host->arrive_whole = arrive_whole;
    host->arrive_memory = arrive_memory;
    host->arrive_filled = arrive_filled;
    host->arrive_write = arrive_write;
    host->arrive_end = arrive_end;
}
