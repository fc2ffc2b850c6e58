/* base/completion.c - a queue of cookies with an eventfd that is readable while the queue is not empty.
 *
 * Owner: any thread, under the lock.  Room is reserved when a cookie is promised, so that finishing an op never needs
 * memory. */
#include "base/completion.h"

#include "base/mem.h"
#include "base/status.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct nx_completions *nx_completions_new(void)
{
    struct nx_completions *c = nx_calloc(1, sizeof(*c));

    if (c == NULL)
        return NULL;
    atomic_init(&c->refs, 1);
    c->fd = -1;
    nx_mutex_init(&c->lock, NX_LOCK_QUEUE);
    return c;
}

void nx_completions_hold(struct nx_completions *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
}

void nx_completions_drop(struct nx_completions *c)
{
    if (c == NULL || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (c->fd >= 0)
        close(c->fd);
    nx_free(c->cookie);
    nx_mutex_fini(&c->lock);
    nx_free(c);
}

static nexar_status grow(struct nx_completions *c)
{
    size_t room = c->room == 0 ? 16 : 2 * c->room;
    uint64_t *ring = nx_alloc(room * sizeof(*ring));

    if (ring == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a queue of %zu finished ops", room);
    for (size_t i = 0; i < c->count; i++)
        ring[i] = c->cookie[(c->first + i) % c->room];
    nx_free(c->cookie);
    c->cookie = ring;
    c->room = room;
    c->first = 0;
    return NEXAR_OK;
}

nexar_status nx_completion_reserve(struct nx_completions *c)
{
    nexar_status st = NEXAR_OK;

    nx_lock(&c->lock);
    if (c->count + c->reserved == c->room)
        st = grow(c);
    if (st == NEXAR_OK)
        c->reserved++;
    nx_unlock(&c->lock);
    return st;
}

static void signal_fd(struct nx_completions *c)
{
    static const uint64_t one = 1;
    ssize_t n = write(c->fd, &one, sizeof(one));

    (void)n; /* it would take 2^64 unread signals to fill it */
}

void nx_completion_push(struct nx_completions *c, uint64_t cookie)
{
    nx_lock(&c->lock);
    c->cookie[(c->first + c->count) % c->room] = cookie;
    c->count++;
    c->reserved--;
    if (c->count == 1 && c->fd >= 0)
        signal_fd(c);
    nx_unlock(&c->lock);
}

bool nx_completion_pop(struct nx_completions *c, uint64_t *cookie)
{
    bool any;

    nx_lock(&c->lock);
    any = c->count != 0;
    if (any) {
        *cookie = c->cookie[c->first];
        c->first = (c->first + 1) % c->room;
        c->count--;
    }
    if (c->count == 0 && c->fd >= 0) {
        uint64_t signals;
        ssize_t n = read(c->fd, &signals, sizeof(signals));
        (void)n; /* empties it, or it was empty */
    }
    nx_unlock(&c->lock);
    return any;
}

nexar_status nx_completion_fd(struct nx_completions *c, int32_t *fd)
{
    nexar_status st = NEXAR_OK;

    nx_lock(&c->lock);
    if (c->fd < 0) {
        c->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (c->fd < 0)
            st = nx_fail(NEXAR_ESYSTEM, "cannot create an eventfd: %s", strerror(errno));
        else if (c->count != 0)
            signal_fd(c);
    }
    *fd = c->fd;
    nx_unlock(&c->lock);
    return st;
}
