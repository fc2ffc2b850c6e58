/* fake_wire.c - the wire between the queue pairs of fake_verbs.c: one thread that executes what is posted.
 *
 * Owner: fake_lock.  Requests of one queue pair are executed and completed in their order; between queue pairs, chance
 * decides.  After an error a queue pair gives everything back unexecuted, as a card does. */
#include "fake_wire.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

static pthread_cond_t work = PTHREAD_COND_INITIALIZER;
static pthread_t thread;
static bool stopping, is_cut, paused;
static uint64_t dice = 88172645463325252u;
static uint32_t (*tamper_fn)(void *arg, uint8_t *bytes, uint32_t n);
static void *tamper_arg;

static uint64_t roll(void)
{
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    return dice;
}

/* ---- completions ---- */

static void complete(struct ibv_cq *cq, const struct fake_pair *p, uint64_t id, enum ibv_wc_status status, uint32_t n)
{
    struct fake_queue *q = (struct fake_queue *)cq;

    FAKE_EXPECT(q->count < (uint32_t)cq->cqe);
    q->wc[(q->first + q->count++) % FAKE_QUEUE] =
        (struct ibv_wc){.wr_id = id, .status = status, .byte_len = n, .qp_num = p->qp.qp_num};
    if (!q->armed)
        return;
    q->armed = false;
    q->events++;
    eventfd_write(cq->channel->fd, 1);
}

static struct fake_request take(struct fake_posted *posted)
{
    struct fake_request r = posted->request[posted->first];

    posted->first = (posted->first + 1) % FAKE_POSTED;
    posted->count--;
    return r;
}

static void flush(struct fake_pair *p)
{
    p->qp.state = IBV_QPS_ERR;
    while (p->send.count > 0)
        complete(p->qp.send_cq, p, take(&p->send).id, IBV_WC_WR_FLUSH_ERR, 0);
    while (p->recv.count > 0)
        complete(p->qp.recv_cq, p, take(&p->recv).id, IBV_WC_WR_FLUSH_ERR, 0);
}

/* The first request that was posted ends like this, and with it the queue pair. */
static void fail(struct fake_pair *p, enum ibv_wc_status status)
{
    complete(p->qp.send_cq, p, take(&p->send).id, status, 0);
    flush(p);
}

int fake_poll_cq(struct ibv_cq *cq, int n, struct ibv_wc *wc)
{
    struct fake_queue *q = (struct fake_queue *)cq;
    int got = 0;

    pthread_mutex_lock(&fake_lock);
    for (; got < n && q->count > 0; got++, q->count--) {
        wc[got] = q->wc[q->first];
        q->first = (q->first + 1) % FAKE_QUEUE;
    }
    pthread_mutex_unlock(&fake_lock);
    return got;
}

int fake_req_notify_cq(struct ibv_cq *cq, int solicited_only)
{
    pthread_mutex_lock(&fake_lock);
    FAKE_EXPECT(!solicited_only);
    ((struct fake_queue *)cq)->armed = true;
    pthread_mutex_unlock(&fake_lock);
    return 0;
}

/* ---- posting ---- */

static int post(struct fake_pair *p, struct fake_posted *posted, enum ibv_qp_state least, const struct fake_request *r)
{
    int st = 0;

    pthread_mutex_lock(&fake_lock);
    if (p->qp.state < least)
        st = EINVAL;
    else if (posted->count == posted->max)
        st = ENOMEM;
    else
        posted->request[(posted->first + posted->count++) % FAKE_POSTED] = *r;
    if (st == 0 && p->qp.state == IBV_QPS_ERR)
        flush(p);
    pthread_cond_signal(&work);
    pthread_mutex_unlock(&fake_lock);
    return st;
}

int fake_post_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
    struct fake_pair *p = (struct fake_pair *)qp;
    struct fake_request r = {.id = wr->wr_id, .sge = wr->sg_list[0], .opcode = wr->opcode};

    FAKE_EXPECT(wr->next == NULL && wr->num_sge == 1 && (wr->opcode == IBV_WR_SEND || wr->opcode == IBV_WR_RDMA_READ));
    if (wr->opcode == IBV_WR_RDMA_READ) {
        r.remote = wr->wr.rdma.remote_addr;
        r.rkey = wr->wr.rdma.rkey;
    }
    *bad = wr;
    return post(p, &p->send, IBV_QPS_RTS, &r);
}

int fake_post_recv(struct ibv_qp *qp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
    struct fake_pair *p = (struct fake_pair *)qp;
    struct fake_request r = {.id = wr->wr_id, .sge = wr->sg_list[0]};

    FAKE_EXPECT(wr->next == NULL && wr->num_sge == 1);
    *bad = wr;
    return post(p, &p->recv, IBV_QPS_INIT, &r);
}

/* ---- executing ---- */

/* Memory by its key, or NULL if the card may not touch it. */
static uint8_t *reach(const struct fake_pair *p, uint32_t key, uint64_t at, uint64_t n, int access)
{
    for (const struct fake_mr *mr = fake_mrs; mr != NULL; mr = mr->next) {
        uint64_t base = (uintptr_t)mr->mr.addr;

        if (mr->mr.lkey == key && mr->mr.pd == p->qp.pd && (mr->access & access) == access && at >= base &&
            n <= mr->mr.length && at - base <= mr->mr.length - n)
            return (uint8_t *)mr->mr.addr + (at - base);
    }
    return NULL;
}

static struct fake_pair *peer_of(const struct fake_pair *p)
{
    struct fake_pair *peer = fake_pairs;

    while (peer != NULL && peer->qp.qp_num != p->peer)
        peer = peer->next;
    if (peer == NULL || peer->peer != p->qp.qp_num ||
        (peer->qp.state != IBV_QPS_RTR && peer->qp.state != IBV_QPS_RTS) || fake_device_of(peer->qp.context)->down)
        return NULL;
    return peer;
}

/* false: it has to be tried again. */
static bool do_send(struct fake_pair *p, struct fake_pair *peer, const struct fake_request *r)
{
    const uint8_t *from = reach(p, r->sge.lkey, r->sge.addr, r->sge.length, 0);
    const struct fake_request *to = &peer->recv.request[peer->recv.first];
    uint32_t n = r->sge.length;
    uint8_t *at;

    if (peer->recv.count == 0) {
        fake_count.rnr++;
        return false;
    }
    at = reach(peer, to->sge.lkey, to->sge.addr, to->sge.length, IBV_ACCESS_LOCAL_WRITE);
    if (from == NULL || at == NULL) {
        fail(from == NULL ? p : peer, IBV_WC_LOC_PROT_ERR);
        return true;
    }
    if (n > to->sge.length) {
        flush(peer);
        fail(p, IBV_WC_REM_INV_REQ_ERR);
        return true;
    }
    memcpy(at, from, n);
    if (tamper_fn != NULL)
        n = tamper_fn(tamper_arg, at, n);
    complete(peer->qp.recv_cq, peer, take(&peer->recv).id, IBV_WC_SUCCESS, n);
    complete(p->qp.send_cq, p, take(&p->send).id, IBV_WC_SUCCESS, 0);
    return true;
}

static void do_read(struct fake_pair *p, struct fake_pair *peer, const struct fake_request *r)
{
    uint8_t *to = reach(p, r->sge.lkey, r->sge.addr, r->sge.length, IBV_ACCESS_LOCAL_WRITE);
    const uint8_t *from = reach(peer, r->rkey, r->remote, r->sge.length, IBV_ACCESS_REMOTE_READ);

    FAKE_EXPECT(r->sge.length <= fake_device_of(p->qp.context)->longest);
    if (to == NULL) {
        fail(p, IBV_WC_LOC_PROT_ERR);
        return;
    }
    if (from == NULL || (peer->access & IBV_ACCESS_REMOTE_READ) == 0) {
        struct ibv_async_event event = {.event_type = IBV_EVENT_QP_ACCESS_ERR, .element.qp = &peer->qp};

        fail(p, IBV_WC_REM_ACCESS_ERR);
        flush(peer);
        fake_raise(peer->qp.context, &event);
        return;
    }
    memcpy(to, from, r->sge.length);
    fake_count.reads += r->sge.length;
    complete(p->qp.send_cq, p, take(&p->send).id, IBV_WC_SUCCESS, r->sge.length);
}

/* true: something was done. */
static bool step(struct fake_pair *p)
{
    const struct fake_request *r = &p->send.request[p->send.first];
    struct fake_pair *peer = peer_of(p);

    if (p->send.count == 0)
        return false;
    if (peer == NULL || is_cut || fake_device_of(p->qp.context)->down) {
        fail(p, IBV_WC_RETRY_EXC_ERR);
        return true;
    }
    if (r->opcode == IBV_WR_SEND)
        return do_send(p, peer, r);
    do_read(p, peer, r);
    return true;
}

static void *run(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&fake_lock);
    while (!stopping) {
        bool did = false;

        for (struct fake_pair *p = fake_pairs; p != NULL && !paused; p = p->next) {
            if (p->send.count > 0 && roll() % 2 == 0)
                did = step(p) || did;
            else
                did = did || p->send.count > 0;
        }
        if (!did) {
            pthread_cond_wait(&work, &fake_lock);
            continue;
        }
        pthread_mutex_unlock(&fake_lock);
        pthread_mutex_lock(&fake_lock);
    }
    pthread_mutex_unlock(&fake_lock);
    return NULL;
}

void fake_wire_start(void)
{
    stopping = false;
    FAKE_EXPECT(pthread_create(&thread, NULL, run, NULL) == 0);
}

void fake_wire_stop(void)
{
    pthread_mutex_lock(&fake_lock);
    stopping = true;
    pthread_cond_signal(&work);
    pthread_mutex_unlock(&fake_lock);
    pthread_join(thread, NULL);
}

void fake_wire_reset(void)
{
    is_cut = paused = false;
    tamper_fn = NULL;
}

void fake_wire_cut(int on)
{
    pthread_mutex_lock(&fake_lock);
    is_cut = on != 0;
    pthread_mutex_unlock(&fake_lock);
}

void fake_wire_pause(int on)
{
    pthread_mutex_lock(&fake_lock);
    paused = on != 0;
    pthread_cond_signal(&work);
    pthread_mutex_unlock(&fake_lock);
}

void fake_wire_tamper(uint32_t (*fn)(void *arg, uint8_t *bytes, uint32_t n), void *arg)
{
    pthread_mutex_lock(&fake_lock);
    tamper_fn = fn;
    tamper_arg = arg;
    pthread_mutex_unlock(&fake_lock);
}
