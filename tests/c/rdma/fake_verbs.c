/* fake_verbs.c - libibverbs in memory: objects, registrations, completions, events.
 *
 * Owner: one lock for everything; the wire (fake_wire.c) moves bytes with it held. */
#include "fake_verbs.h"

#include "fake_wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

pthread_mutex_t fake_lock = PTHREAD_MUTEX_INITIALIZER;
struct fake_mr *fake_mrs;
struct fake_pair *fake_pairs;
struct fake_counts fake_count;

static const struct fake_device usual = {.name = "fake0",
                                         .mtu = IBV_MTU_4096,
                                         .reads = 16,
                                         .longest = 8 << 20,
                                         .gid = {{"fe80::1", 0}, {"fe80::1", 2}, {"::ffff:127.0.0.1", 2}}};
static struct fake_device config[FAKE_DEVICES];
static struct ibv_device devices[FAKE_DEVICES];
static size_t refuse_bytes;
static int refuse_access;
static uint32_t opened, next_key = 1;
static struct fake_context *contexts;

/* Before main, too: programs that know nothing of this use the defaults. */
__attribute__((constructor)) static void reset(void)
{
    pthread_mutex_lock(&fake_lock);
    FAKE_EXPECT(opened == 0);
    memset(config, 0, sizeof(config));
    config[0] = usual;
    refuse_bytes = 0;
    fake_count = (struct fake_counts){0};
    fake_wire_reset();
    pthread_mutex_unlock(&fake_lock);
}

const struct fake_device *fake_device_of(const struct ibv_context *context)
{
    return &config[context->device - devices];
}

void *fake_new(size_t n)
{
    void *p = calloc(1, n);

    FAKE_EXPECT(p != NULL);
    fake_count.live++;
    return p;
}

void fake_free(void *p)
{
    fake_count.live--;
    free(p);
}

/* ---- devices ---- */

struct ibv_device **ibv_get_device_list(int *count)
{
    struct ibv_device **list = calloc(FAKE_DEVICES + 1, sizeof(*list));

    FAKE_EXPECT(list != NULL);
    *count = 0;
    for (int i = 0; i < FAKE_DEVICES; i++) {
        if (config[i].name == NULL)
            continue;
        devices[i].node_type = IBV_NODE_CA;
        devices[i].transport_type = IBV_TRANSPORT_IB;
        snprintf(devices[i].name, sizeof(devices[i].name), "%s", config[i].name);
        list[(*count)++] = &devices[i];
    }
    return list;
}

void ibv_free_device_list(struct ibv_device **list)
{
    free(list);
}

const char *ibv_get_device_name(struct ibv_device *device)
{
    return device->name;
}

struct ibv_context *ibv_open_device(struct ibv_device *device)
{
    struct fake_context *c;

    pthread_mutex_lock(&fake_lock);
    c = fake_new(sizeof(*c));
    c->context.device = device;
    c->context.async_fd = eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC);
    c->context.ops.poll_cq = fake_poll_cq;
    c->context.ops.req_notify_cq = fake_req_notify_cq;
    c->context.ops.post_send = fake_post_send;
    c->context.ops.post_recv = fake_post_recv;
    c->next = contexts;
    contexts = c;
    if (opened++ == 0)
        fake_wire_start();
    pthread_mutex_unlock(&fake_lock);
    return &c->context;
}

int ibv_close_device(struct ibv_context *context)
{
    struct fake_context *c = (struct fake_context *)context, **at = &contexts;
    bool last;

    pthread_mutex_lock(&fake_lock);
    FAKE_EXPECT(c->objects == 0);
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    close(context->async_fd);
    fake_free(c);
    last = --opened == 0;
    pthread_mutex_unlock(&fake_lock);
    if (last)
        fake_wire_stop();
    return 0;
}

int ibv_query_device(struct ibv_context *context, struct ibv_device_attr *out)
{
    int reads = fake_device_of(context)->reads;

    *out = (struct ibv_device_attr){
        .max_qp_rd_atom = reads, .max_qp_init_rd_atom = reads, .phys_port_cnt = 1, .max_qp_wr = 1024, .max_sge = 4};
    return 0;
}

#undef ibv_query_port
int ibv_query_port(struct ibv_context *context, uint8_t number, struct _compat_ibv_port_attr *out)
{
    const struct fake_device *d = fake_device_of(context);
    struct ibv_port_attr *port = (struct ibv_port_attr *)out;

    if (number != 1)
        return EINVAL;
    pthread_mutex_lock(&fake_lock);
    port->state = d->down ? IBV_PORT_DOWN : IBV_PORT_ACTIVE;
    port->max_mtu = IBV_MTU_4096;
    port->active_mtu = (enum ibv_mtu)d->mtu;
    port->gid_tbl_len = FAKE_GIDS;
    port->max_msg_sz = d->longest;
    port->lid = d->lid;
    port->link_layer = d->infiniband ? IBV_LINK_LAYER_INFINIBAND : IBV_LINK_LAYER_ETHERNET;
    pthread_mutex_unlock(&fake_lock);
    return 0;
}

ssize_t _ibv_query_gid_table(struct ibv_context *context, struct ibv_gid_entry *out, size_t max, uint32_t flags,
                             size_t entry_size)
{
    const struct fake_device *d = fake_device_of(context);
    ssize_t n = 0;

    FAKE_EXPECT(flags == 0 && entry_size == sizeof(*out) && max >= FAKE_GIDS);
    for (uint32_t i = 0; i < FAKE_GIDS; i++) {
        if (d->gid[i].address == NULL)
            continue;
        out[n] = (struct ibv_gid_entry){.gid_index = i, .port_num = 1, .gid_type = (uint32_t)d->gid[i].type};
        if (out[n].gid_type == 0 && !d->infiniband)
            out[n].gid_type = IBV_GID_TYPE_ROCE_V1;
        FAKE_EXPECT(inet_pton(AF_INET6, d->gid[i].address, out[n].gid.raw) == 1);
        n++;
    }
    return n;
}

/* ---- memory ---- */

struct ibv_pd *ibv_alloc_pd(struct ibv_context *context)
{
    struct fake_pd *pd;

    pthread_mutex_lock(&fake_lock);
    pd = fake_new(sizeof(*pd));
    pd->pd.context = context;
    ((struct fake_context *)context)->objects++;
    pthread_mutex_unlock(&fake_lock);
    return &pd->pd;
}

int ibv_dealloc_pd(struct ibv_pd *pd)
{
    pthread_mutex_lock(&fake_lock);
    FAKE_EXPECT(((struct fake_pd *)pd)->objects == 0);
    ((struct fake_context *)pd->context)->objects--;
    fake_free(pd);
    pthread_mutex_unlock(&fake_lock);
    return 0;
}

#undef ibv_reg_mr
struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *at, size_t n, int access)
{
    struct fake_mr *mr;

    pthread_mutex_lock(&fake_lock);
    if (n <= refuse_bytes && (access & refuse_access) != 0) {
        pthread_mutex_unlock(&fake_lock);
        errno = ENOMEM;
        return NULL;
    }
    FAKE_EXPECT(at != NULL && n != 0);
    mr = fake_new(sizeof(*mr));
    mr->mr = (struct ibv_mr){.context = pd->context, .pd = pd, .addr = at, .length = n};
    mr->mr.lkey = next_key++;
    mr->mr.rkey = (access & IBV_ACCESS_REMOTE_READ) != 0 ? mr->mr.lkey : 0;
    mr->access = access;
    mr->next = fake_mrs;
    fake_mrs = mr;
    ((struct fake_pd *)pd)->objects++;
    fake_count.registrations++;
    pthread_mutex_unlock(&fake_lock);
    return &mr->mr;
}

int ibv_dereg_mr(struct ibv_mr *mr)
{
    struct fake_mr **at = &fake_mrs;

    pthread_mutex_lock(&fake_lock);
    while (&(*at)->mr != mr)
        at = &(*at)->next;
    *at = (*at)->next;
    ((struct fake_pd *)mr->pd)->objects--;
    fake_count.registrations--;
    fake_free(mr);
    pthread_mutex_unlock(&fake_lock);
    return 0;
}

/* ---- completions ---- */

struct ibv_comp_channel *ibv_create_comp_channel(struct ibv_context *context)
{
    struct fake_channel *c;

    pthread_mutex_lock(&fake_lock);
    c = fake_new(sizeof(*c));
    c->channel.context = context;
    c->channel.fd = eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC);
    ((struct fake_context *)context)->objects++;
    pthread_mutex_unlock(&fake_lock);
    return &c->channel;
}

int ibv_destroy_comp_channel(struct ibv_comp_channel *channel)
{
    pthread_mutex_lock(&fake_lock);
    FAKE_EXPECT(((struct fake_channel *)channel)->queues == NULL);
    ((struct fake_context *)channel->context)->objects--;
    close(channel->fd);
    fake_free(channel);
    pthread_mutex_unlock(&fake_lock);
    return 0;
}

struct ibv_cq *ibv_create_cq(struct ibv_context *context, int n, void *arg, struct ibv_comp_channel *channel,
                             int vector)
{
    struct fake_queue *q;
    struct fake_channel *c = (struct fake_channel *)channel;

    FAKE_EXPECT(vector == 0 && n > 0 && n <= FAKE_QUEUE);
    pthread_mutex_lock(&fake_lock);
    q = fake_new(sizeof(*q));
    q->cq = (struct ibv_cq){.context = context, .channel = channel, .cq_context = arg, .cqe = n};
    q->next = c->queues;
    c->queues = q;
    pthread_mutex_unlock(&fake_lock);
    return &q->cq;
}

int ibv_destroy_cq(struct ibv_cq *cq)
{
    struct fake_queue *q = (struct fake_queue *)cq, **at = &((struct fake_channel *)cq->channel)->queues;
    eventfd_t one;

    pthread_mutex_lock(&fake_lock);
    FAKE_EXPECT(q->pairs == 0 && q->unacknowledged == 0);
    for (; q->events > 0; q->events--)
        eventfd_read(cq->channel->fd, &one);
    while (*at != q)
        at = &(*at)->next;
    *at = q->next;
    fake_free(q);
    pthread_mutex_unlock(&fake_lock);
    return 0;
}

int ibv_get_cq_event(struct ibv_comp_channel *channel, struct ibv_cq **cq, void **arg)
{
    struct fake_queue *q;
    eventfd_t one;
    int st = -1;

    FAKE_EXPECT((fcntl(channel->fd, F_GETFL) & O_NONBLOCK) != 0);
    pthread_mutex_lock(&fake_lock);
    for (q = ((struct fake_channel *)channel)->queues; q != NULL && q->events == 0;)
        q = q->next;
    errno = EAGAIN;
    if (q != NULL) {
        q->events--;
        q->unacknowledged++;
        eventfd_read(channel->fd, &one);
        *cq = &q->cq;
        *arg = q->cq.cq_context;
        st = 0;
    }
    pthread_mutex_unlock(&fake_lock);
    return st;
}

void ibv_ack_cq_events(struct ibv_cq *cq, unsigned int n)
{
    struct fake_queue *q = (struct fake_queue *)cq;

    pthread_mutex_lock(&fake_lock);
    FAKE_EXPECT(n <= q->unacknowledged);
    q->unacknowledged -= n;
    pthread_mutex_unlock(&fake_lock);
}

/* ---- events that nobody asked for ---- */

/* With the lock. */
void fake_raise(struct ibv_context *context, const struct ibv_async_event *event)
{
    struct fake_context *c = (struct fake_context *)context;

    FAKE_EXPECT(c->events < FAKE_EVENTS);
    c->event[c->events++] = *event;
    eventfd_write(context->async_fd, 1);
}

int ibv_get_async_event(struct ibv_context *context, struct ibv_async_event *out)
{
    struct fake_context *c = (struct fake_context *)context;
    eventfd_t one;
    int st = -1;

    pthread_mutex_lock(&fake_lock);
    errno = EAGAIN;
    if (c->events > 0) {
        eventfd_read(context->async_fd, &one);
        *out = c->event[0];
        memmove(c->event, c->event + 1, --c->events * sizeof(c->event[0]));
        st = 0;
    }
    pthread_mutex_unlock(&fake_lock);
    return st;
}

void ibv_ack_async_event(struct ibv_async_event *event)
{
    (void)event;
}

const char *ibv_wc_status_str(enum ibv_wc_status status)
{
    static const char *const names[] = {[IBV_WC_SUCCESS] = "success",
                                        [IBV_WC_LOC_PROT_ERR] = "local protection error",
                                        [IBV_WC_WR_FLUSH_ERR] = "Work Request Flushed Error",
                                        [IBV_WC_REM_INV_REQ_ERR] = "remote invalid request error",
                                        [IBV_WC_REM_ACCESS_ERR] = "remote access error",
                                        [IBV_WC_RETRY_EXC_ERR] = "transport retry counter exceeded"};

    FAKE_EXPECT(status < sizeof(names) / sizeof(names[0]) && names[status] != NULL);
    return names[status];
}

const char *ibv_event_type_str(enum ibv_event_type type)
{
    return type == IBV_EVENT_DEVICE_FATAL ? "local catastrophic error"
           : type == IBV_EVENT_PORT_ERR   ? "port error"
                                          : "an event";
}

/* ---- what tests say ---- */

static void set_device(int number, const struct fake_device *device)
{
    pthread_mutex_lock(&fake_lock);
    config[number] = *device;
    pthread_mutex_unlock(&fake_lock);
}

static struct fake_counts counts(void)
{
    struct fake_counts c;

    pthread_mutex_lock(&fake_lock);
    c = fake_count;
    pthread_mutex_unlock(&fake_lock);
    return c;
}

static void refuse(size_t nbytes, int access)
{
    pthread_mutex_lock(&fake_lock);
    refuse_bytes = nbytes;
    refuse_access = access;
    pthread_mutex_unlock(&fake_lock);
}

static void raise_event(int number, int type)
{
    struct ibv_async_event event = {.event_type = (enum ibv_event_type)type, .element.port_num = 1};
    bool of_pair = type == IBV_EVENT_QP_FATAL || type == IBV_EVENT_QP_ACCESS_ERR || type == IBV_EVENT_QP_REQ_ERR;

    pthread_mutex_lock(&fake_lock);
    for (struct fake_context *c = contexts; c != NULL && !of_pair; c = c->next) {
        if (c->context.device == &devices[number])
            fake_raise(&c->context, &event);
    }
    for (struct fake_pair *p = fake_pairs; p != NULL && of_pair; p = p->next) {
        event.element.qp = &p->qp;
        if (p->qp.context->device == &devices[number])
            fake_raise(p->qp.context, &event);
    }
    pthread_mutex_unlock(&fake_lock);
}

__attribute__((visibility("default"))) const struct fake_verbs fake_verbs = {.reset = reset,
                                                                             .device = set_device,
                                                                             .counts = counts,
                                                                             .refuse = refuse,
                                                                             .cut = fake_wire_cut,
                                                                             .tamper = fake_wire_tamper,
                                                                             .event = raise_event,
                                                                             .pause = fake_wire_pause};
