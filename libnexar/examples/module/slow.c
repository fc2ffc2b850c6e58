/* A transport as a module of its own: nexar/ext.h in about 250 lines.
 *
 * It carries messages in the one thing that every module has, the words between its two halves: pieces of at most
 * 2 KiB, a few of them under way at a time.  So it is slow; and because a transport must be able to fail, it does so on
 * purpose: SLOW_FAIL=n breaks each link when n pieces have been sent on it, in the middle of a message.
 *
 *     cc -shared -fPIC slow.c -o slow.so $(nexar info --cflags)
 *     NEXAR_MODULES=./slow.so NEXAR_TRANSPORTS=slow,quic nexar run -n 2 ... */
#include <nexar/ext.h>

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum {
    PIECE = 2048,
    CREDITS = 32, /* pieces under way */
};

/* BEGIN: head_nbytes, nbytes, the head.  MORE: bytes.  TAKEN: nothing, a credit comes back. */
enum kind { BEGIN = 1, MORE = 2, TAKEN = 3 };

struct piece {
    uint8_t kind;
    uint8_t head_nbytes;
    uint16_t used;
    uint32_t zero;
    uint64_t nbytes;
    uint8_t bytes[PIECE];
};
#define PIECE_SIZE(p) (offsetof(struct piece, bytes) + (p)->used)

/* A message that waits to be sent, or is being sent. */
struct outgoing {
    struct outgoing *next;
    nexar_bulk_done done; /* NULL: the payload is ours */
    void *arg;
    uint64_t nbytes, sent;
    int begun;
    uint32_t head_nbytes;
    uint8_t head[NEXAR_BULK_HEAD_MAX];
    uint32_t n;
    nexar_iov iov[]; /* then the payload, if it is ours */
};

struct half {
    const nexar_host *host;
    nexar_link *link;
    nexar_bulk_ops ops;
    nexar_watch *pump;
    /* engine: coming in */
    nexar_arrival *arrival;
    uint64_t left;
    struct piece in[CREDITS];
    uint32_t first, count; /* pieces that wait */
    size_t at;             /* bytes of the first that were taken */
    /* engine: going out */
    uint32_t credits;
    long until_failure; /* pieces; negative: never */
    int over;
    /* lock */
    pthread_mutex_t lock;
    struct outgoing *queue, **tail;
    uint64_t backlog;
};

struct self {
    const nexar_host *host;
    nexar_node *node;
};

/* ---- going out ---- */

static nexar_status send_message(void *arg, const nexar_bulk_message *m, nexar_bulk_done done, void *done_arg)
{
    struct half *h = arg;
    int copy = m->must_copy != 0;
    size_t list = (copy ? 1 : m->n) * sizeof(nexar_iov);
    struct outgoing *o = malloc(sizeof(*o) + list + (copy ? m->nbytes : 0));

    if (o == NULL)
        return NEXAR_ENOMEM;
    memset(o, 0, sizeof(*o));
    o->nbytes = m->nbytes;
    o->head_nbytes = m->head_nbytes;
    memcpy(o->head, m->head, m->head_nbytes);
    o->n = copy ? 1 : m->n;
    if (copy) {
        uint8_t *to = (uint8_t *)&o->iov[1];

        o->iov[0].base = to;
        o->iov[0].nbytes = m->nbytes;
        for (uint32_t i = 0; i < m->n; to += m->iov[i++].nbytes)
            memcpy(to, m->iov[i].base, m->iov[i].nbytes);
    } else {
        memcpy(o->iov, m->iov, list);
        o->done = done;
        o->arg = done_arg;
    }
    pthread_mutex_lock(&h->lock);
    *h->tail = o;
    h->tail = &o->next;
    h->backlog += m->nbytes;
    pthread_mutex_unlock(&h->lock);
    h->host->job_post(h->pump);
    return copy ? NEXAR_OK : NEXAR_EAGAIN;
}

static uint64_t backlog(void *arg)
{
    struct half *h = arg;
    uint64_t bytes;

    pthread_mutex_lock(&h->lock);
    bytes = h->backlog;
    pthread_mutex_unlock(&h->lock);
    return bytes;
}

/* The next bytes of the payload. */
static void fill(struct outgoing *o, struct piece *p)
{
    uint64_t at = o->sent;
    const nexar_iov *iov = o->iov;

    for (p->used = 0; p->used < PIECE && o->sent < o->nbytes; iov++, at = 0) {
        uint64_t n = PIECE - (uint64_t)p->used;

        while (at >= iov->nbytes)
            at -= iov++->nbytes;
        if (n > iov->nbytes - at)
            n = iov->nbytes - at;
        memcpy(p->bytes + p->used, (uint8_t *)iov->base + at, n);
        p->used = (uint16_t)(p->used + n);
        o->sent += n;
    }
}

/* Engine.  Sends while there is something, and credit. */
static void pump(void *arg)
{
    struct half *h = arg;

    while (h->credits > 0 && !h->over) {
        struct piece p = {0};
        struct outgoing *o;

        pthread_mutex_lock(&h->lock);
        o = h->queue;
        pthread_mutex_unlock(&h->lock);
        if (o == NULL)
            return;
        if (!o->begun) {
            p.kind = BEGIN;
            p.head_nbytes = (uint8_t)o->head_nbytes;
            p.nbytes = o->nbytes;
            p.used = (uint16_t)o->head_nbytes;
            memcpy(p.bytes, o->head, o->head_nbytes);
            o->begun = 1;
        } else {
            p.kind = MORE;
            fill(o, &p);
        }
        if (h->until_failure == 0 || h->host->tell(h->link, &p, PIECE_SIZE(&p)) != NEXAR_OK) {
            h->over = 1;
            h->host->lost(h->link, "it fails on purpose");
            return; /* detached: `h` is gone */
        }
        h->until_failure -= h->until_failure > 0;
        h->credits--;
        if (o->sent < o->nbytes)
            continue;
        pthread_mutex_lock(&h->lock);
        h->queue = o->next;
        if (h->queue == NULL)
            h->tail = &h->queue;
        h->backlog -= o->nbytes;
        pthread_mutex_unlock(&h->lock);
        if (o->done != NULL)
            o->done(o->arg, NEXAR_OK);
        free(o);
    }
}

/* ---- coming in ---- */

static void work_off(void *arg);

/* The bytes of a piece: NEXAR_OK if all were taken. */
static nexar_status take(struct half *h, const struct piece *p)
{
    nexar_status st = NEXAR_OK;
    size_t taken;

    if (p->kind == BEGIN) {
        if (h->arrival != NULL || p->head_nbytes != p->used)
            return NEXAR_EPROTO;
        st = h->host->arrive_begin(h->link, p->bytes, p->head_nbytes, p->nbytes, 0, work_off, h, &h->arrival);
        h->left = p->nbytes;
    } else {
        if (h->arrival == NULL || p->used > h->left)
            return NEXAR_EPROTO;
        while (st == NEXAR_OK && h->at < p->used) {
            st = h->host->arrive_write(h->arrival, p->bytes + h->at, p->used - h->at, &taken);
            h->at += taken;
            h->left -= taken;
        }
    }
    if (st == NEXAR_OK && h->left == 0 && h->arrival != NULL) {
        h->host->arrive_end(h->arrival);
        h->arrival = NULL;
    }
    return st;
}

static void work_off(void *arg)
{
    struct half *h = arg;
    struct piece taken = {.kind = TAKEN};

    while (h->count > 0 && !h->over) {
        nexar_status st = take(h, &h->in[h->first]);

        if (st == NEXAR_EAGAIN)
            return; /* it is called again */
        if (st != NEXAR_OK || h->host->tell(h->link, &taken, PIECE_SIZE(&taken)) != NEXAR_OK) {
            h->over = 1;
            h->host->lost(h->link, "the other half makes no sense");
            return;
        }
        h->at = 0;
        h->first = (h->first + 1) % CREDITS;
        h->count--;
    }
}

static void told(void *arg, const void *bytes, size_t n)
{
    struct half *h = arg;
    struct piece *p = &h->in[(h->first + h->count) % CREDITS];
    uint8_t kind = n == 0 ? 0 : *(const uint8_t *)bytes;

    if (h->over)
        return;
    if (kind == TAKEN && h->credits < CREDITS) {
        h->credits++;
        pump(h);
        return;
    }
    if ((kind != BEGIN && kind != MORE) || h->count == CREDITS || n < offsetof(struct piece, bytes) || n > sizeof(*p)) {
        h->over = 1;
        h->host->lost(h->link, "the other half makes no sense");
        return;
    }
    memcpy(p, bytes, n);
    if (PIECE_SIZE(p) != n) {
        h->over = 1;
        h->host->lost(h->link, "the other half makes no sense");
        return;
    }
    h->count++;
    if (h->count == 1)
        work_off(h);
}

/* ---- life ---- */

static nexar_status open_node(const nexar_host *host, nexar_node *node, void **out)
{
    struct self *self = malloc(sizeof(*self));

    *out = self;
    if (self == NULL)
        return NEXAR_ENOMEM;
    self->host = host;
    self->node = node;
    return NEXAR_OK;
}

static nexar_status attach(void *arg, nexar_link *link, void **out)
{
    struct self *self = arg;
    const char *fail = self->host->setting("SLOW_FAIL");
    struct half *h = calloc(1, sizeof(*h));
    nexar_status st;

    *out = h;
    if (h == NULL)
        return NEXAR_ENOMEM;
    h->host = self->host;
    h->link = link;
    h->credits = CREDITS;
    h->until_failure = fail == NULL ? -1 : strtol(fail, NULL, 10);
    h->tail = &h->queue;
    pthread_mutex_init(&h->lock, NULL);
    h->ops.size = sizeof(h->ops);
    h->ops.flags = NEXAR_BULK_TAGGED;
    h->ops.send = send_message;
    h->ops.backlog = backlog;
    st = h->host->watch_job(self->node, pump, h, &h->pump);
    if (st != NEXAR_OK) {
        free(h);
        return st;
    }
    h->host->ready(link, &h->ops, h);
    return NEXAR_OK;
}

static void detach(void *arg, int orderly)
{
    struct half *h = arg;

    (void)orderly;
    h->host->unwatch(h->pump);
    while (h->queue != NULL) {
        struct outgoing *o = h->queue;

        h->queue = o->next;
        if (o->done != NULL)
            o->done(o->arg, NEXAR_EPEER);
        free(o);
    }
    pthread_mutex_destroy(&h->lock);
    free(h);
}

static void close_node(void *arg)
{
    free(arg);
}

const nexar_module nexar_module_v1 = {
    .size = sizeof(nexar_module_v1),
    .abi = NEXAR_MODULE_ABI,
    .name = "slow",
    .open = open_node,
    .attach = attach,
    .told = told,
    .detach = detach,
    .close = close_node,
};
