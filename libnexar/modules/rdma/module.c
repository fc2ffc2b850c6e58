/* module.c - the module: RDMA between the ranks of two hosts; settings, devices, and what these report.
 *
 * Owner: the engine.  It opens the devices that have ports and watches their two descriptors: completions, and events
 * that nobody asked for.  Numbers, answers and sending again are the library's. */
#include "rdma.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

void nx_rdma_log(struct nx_rdma *self, int level, const char *format, ...)
{
    char line[2 * NX_RDMA_WHY];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    self->host->log(level, line);
}

/* ---- what devices report ---- */

static void on_completions(void *arg, uint32_t events)
{
    struct nx_rdma_device *d = arg;
    const struct nx_verbs *v = d->self->v;
    struct ibv_cq *cq;
    void *half;

    (void)events;
    while (!d->dead && v->get_cq_event(d->channel, &cq, &half) == 0) {
        struct nx_rdma_half *h = half;

        v->ack_cq_events(cq, 1);
        if (ibv_req_notify_cq(cq, 0) != 0)
            nx_rdma_fail(h, false, "%s does not say when something arrives", d->name);
        nx_rdma_progress(h);
    }
}

static bool concerns(const struct ibv_async_event *event, const struct nx_rdma_half *h)
{
    switch ((int)event->event_type) {
    case IBV_EVENT_CQ_ERR:
        return event->element.cq == h->cq;
    case IBV_EVENT_QP_FATAL:
    case IBV_EVENT_QP_REQ_ERR:
    case IBV_EVENT_QP_ACCESS_ERR:
        return event->element.qp == h->qp;
    case IBV_EVENT_PORT_ERR:
        return event->element.port_num == h->mine.port;
    case IBV_EVENT_DEVICE_FATAL:
        return true;
    default:
        return false;
    }
}

static void on_event(struct nx_rdma_device *d, const struct ibv_async_event *event)
{
    const char *what = d->self->v->event_type_str(event->event_type);

    if (event->event_type == IBV_EVENT_DEVICE_FATAL) {
        nx_rdma_log(d->self, NEXAR_LOG_WARN, "the RDMA device %s: %s", d->name, what);
        d->dead = true;
    }
    for (struct nx_rdma_half *h = d->self->halves; h != NULL; h = h->next) { /* it detaches nobody: jobs do */
        if (h->device == d && concerns(event, h))
            nx_rdma_fail(h, false, "%s: %s", d->name, what);
    }
}

static void on_events(void *arg, uint32_t events)
{
    struct nx_rdma_device *d = arg;
    struct ibv_async_event event;

    while (d->self->v->get_async_event(d->context, &event) == 0) {
        on_event(d, &event);
        d->self->v->ack_async_event(&event);
    }
    if (!d->dead && (events & (EPOLLHUP | EPOLLERR)) == 0)
        return;
    /* Nothing more comes from it, and its descriptors may be ready for ever. */
    d->dead = true;
    for (struct nx_rdma_half *h = d->self->halves; h != NULL; h = h->next) {
        if (h->device == d)
            nx_rdma_fail(h, false, "the device %s is gone", d->name);
    }
    d->self->host->unwatch(d->completions);
    d->self->host->unwatch(d->events);
    d->completions = d->events = NULL;
}

/* While a blocked caller spins, nothing but this lies between the card and it. */
static int poll_all(void *arg)
{
    struct nx_rdma *self = arg;
    bool did = false;

    if (self->connected > NX_RDMA_POLLED)
        return 0;
    for (struct nx_rdma_half *h = self->halves; h != NULL; h = self->next_half) {
        self->next_half = h->next;
        if (h->stage >= NX_RDMA_PROVES && !nx_rdma_over(h))
            did = nx_rdma_progress(h) || did;
    }
    return did;
}

/* ---- devices ---- */

static void close_device(struct nx_rdma_device *d)
{
    const struct nx_verbs *v = d->self->v;

    d->self->host->unwatch(d->completions);
    d->self->host->unwatch(d->events);
    if (d->channel != NULL)
        v->destroy_comp_channel(d->channel);
    if (d->pd != NULL)
        v->dealloc_pd(d->pd);
    if (d->context != NULL)
        v->close_device(d->context);
    *d = (struct nx_rdma_device){0};
}

static bool never_blocks(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

static bool open_device(struct nx_rdma *self, struct nx_rdma_device *d, struct ibv_device *device)
{
    const struct nx_verbs *v = self->v;

    *d = (struct nx_rdma_device){.self = self, .name = v->get_device_name(device), .context = v->open_device(device)};
    if (d->context != NULL && v->query_device(d->context, &d->attr) == 0)
        d->pd = v->alloc_pd(d->context);
    if (d->pd != NULL)
        d->channel = v->create_comp_channel(d->context);
    if (d->channel != NULL && never_blocks(d->channel->fd) && never_blocks(d->context->async_fd) &&
        self->host->watch_fd(self->node, d->channel->fd, EPOLLIN, on_completions, d, &d->completions) == NEXAR_OK &&
        self->host->watch_fd(self->node, d->context->async_fd, EPOLLIN, on_events, d, &d->events) == NEXAR_OK)
        return true;
    nx_rdma_log(self, NEXAR_LOG_INFO, "the RDMA device %s cannot be opened: %s", d->name, strerror(errno));
    close_device(d);
    return false;
}

static void open_devices(struct nx_rdma *self)
{
    int n = 0;
    struct ibv_device **list = self->v->get_device_list(&n);

    for (int i = 0; list != NULL && i < n && self->devices < NX_RDMA_DEVICES; i++) {
        if (list[i]->transport_type != IBV_TRANSPORT_IB || /* iWARP has other rules for what is read */
            (self->want_device != NULL && strcmp(self->want_device, self->v->get_device_name(list[i])) != 0))
            continue;
        self->devices += open_device(self, &self->device[self->devices], list[i]);
    }
    if (list != NULL)
        self->v->free_device_list(list); /* those that are open stay */
}

/* ---- settings ---- */

static bool read_number(struct nx_rdma *self, const char *variable, int low, int high, int *out)
{
    const char *text = self->host->setting(variable);
    char *end;
    long n;

    if (text == NULL || *text == '\0')
        return true;
    n = strtol(text, &end, 10);
    *out = (int)n;
    if (end != text && *end == '\0' && n >= low && n <= high)
        return true;
    nx_rdma_log(self, NEXAR_LOG_ERROR, "%s is \"%s\"; %d to %d are allowed", variable, text, low, high);
    return false;
}

static bool read_settings(struct nx_rdma *self)
{
    int mtu = 0;

    self->want_device = self->host->setting("NEXAR_RDMA_DEVICE");
    if (self->want_device != NULL && *self->want_device == '\0')
        self->want_device = NULL;
    self->want_port = self->want_gid = -1;
    if (!read_number(self, "NEXAR_RDMA_PORT", 1, 255, &self->want_port) ||
        !read_number(self, "NEXAR_RDMA_GID", 0, 255, &self->want_gid) ||
        !read_number(self, "NEXAR_RDMA_MTU", 256, 4096, &mtu))
        return false;
    for (int i = IBV_MTU_256; i <= IBV_MTU_4096 && self->want_mtu == 0; i++)
        self->want_mtu = mtu == 128 << i ? i : 0;
    if (mtu != 0 && self->want_mtu == 0)
        nx_rdma_log(self, NEXAR_LOG_ERROR, "NEXAR_RDMA_MTU is %d; 256, 512, 1024, 2048 and 4096 are allowed", mtu);
    return mtu == 0 || self->want_mtu != 0;
}

/* ---- life ---- */

static void close_node(void *arg)
{
    struct nx_rdma *self = arg;

    for (uint32_t i = 0; i < self->devices; i++)
        close_device(&self->device[i]);
    self->host->unwatch(self->poll);
    free(self->known);
    free(self);
}

/* Nobody needs to know, but those who have asked for it. */
static int level_of_absence(struct nx_rdma *self)
{
    const char *wanted = self->host->setting("NEXAR_TRANSPORTS");

    return wanted != NULL && strstr(wanted, "rdma") != NULL ? NEXAR_LOG_ERROR : NEXAR_LOG_INFO;
}

static nexar_status start(struct nx_rdma *self)
{
    char why[NX_RDMA_WHY];
    struct nx_rdma_place place[NX_RDMA_PLACES];

    self->v = nx_verbs_load(self->host->setting("NEXAR_RDMA_LIBRARY"), why, sizeof(why));
    if (self->v == NULL) {
        nx_rdma_log(self, level_of_absence(self), "no RDMA: %s", why);
        return NEXAR_ENOTSUP;
    }
    open_devices(self);
    if (nx_rdma_places(self, NULL, place) != 0)
        return self->host->watch_poll(self->node, poll_all, self, &self->poll);
    nx_rdma_log(self, level_of_absence(self), "no RDMA: of %u devices, no port is active, and as the settings want it",
                self->devices);
    return NEXAR_ENOTSUP;
}

static nexar_status open_node(const nexar_host *host, nexar_node *node, void **out)
{
    struct nx_rdma *self = calloc(1, sizeof(*self));
    nexar_status st;

    *out = NULL;
    if (self == NULL)
        return NEXAR_ENOMEM;
    self->host = host;
    self->node = node;
    self->known = calloc(host->world_size(node) / 8 + 1, 1);
    st = self->known == NULL ? NEXAR_ENOMEM : read_settings(self) ? start(self) : NEXAR_ECONFIG;
    if (st == NEXAR_OK)
        *out = self;
    else
        close_node(self);
    return st;
}

const nexar_module nexar_module_v1 = {
    .size = sizeof(nexar_module_v1),
    .abi = NEXAR_MODULE_ABI,
    .name = "rdma",
    .open = open_node,
    .attach = nx_rdma_attach,
    .told = nx_rdma_told,
    .detach = nx_rdma_detach,
    .close = close_node,
};
