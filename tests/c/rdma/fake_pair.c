/* fake_pair.c - queue pairs of fake_verbs.c: made, brought from state to state with what each step needs, destroyed.
 *
 * Owner: fake_lock. */
#include "fake_wire.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

static uint32_t next_pair; /* another process has others: pairs of two processes do not reach each other */

struct ibv_qp *ibv_create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *init)
{
    struct fake_pair *p;

    FAKE_EXPECT(init->qp_type == IBV_QPT_RC && init->sq_sig_all == 1 && init->send_cq == init->recv_cq &&
                init->cap.max_send_wr <= FAKE_POSTED && init->cap.max_recv_wr <= FAKE_POSTED &&
                (int)(init->cap.max_send_wr + init->cap.max_recv_wr) <= init->send_cq->cqe);
    pthread_mutex_lock(&fake_lock);
    p = fake_new(sizeof(*p));
    p->qp = (struct ibv_qp){.context = pd->context, .pd = pd, .send_cq = init->send_cq, .recv_cq = init->recv_cq};
    p->qp.qp_num = ((uint32_t)getpid() << 12 | (++next_pair & 0xfff)) & 0xffffff;
    p->qp.state = IBV_QPS_RESET;
    p->send.max = init->cap.max_send_wr;
    p->recv.max = init->cap.max_recv_wr;
    p->next = fake_pairs;
    fake_pairs = p;
    ((struct fake_pd *)pd)->objects++;
    ((struct fake_queue *)init->send_cq)->pairs++;
    pthread_mutex_unlock(&fake_lock);
    return &p->qp;
}

static bool is_gid_of(const struct fake_device *d, uint32_t index)
{
    return index < FAKE_GIDS && d->gid[index].address != NULL;
}

static int connect_pair(struct fake_pair *p, const struct ibv_qp_attr *a)
{
    const struct fake_device *d = fake_device_of(p->qp.context);

    if ((int)a->path_mtu > d->mtu || a->max_dest_rd_atomic > d->reads || a->ah_attr.port_num != 1 ||
        (!d->infiniband && !a->ah_attr.is_global) || (a->ah_attr.is_global && !is_gid_of(d, a->ah_attr.grh.sgid_index)))
        return EINVAL;
    p->peer = a->dest_qp_num;
    fake_count.mtu = (uint32_t)a->path_mtu;
    fake_count.port = a->ah_attr.port_num;
    fake_count.index = a->ah_attr.grh.sgid_index;
    fake_count.lid = a->ah_attr.dlid;
    return 0;
}

int ibv_modify_qp(struct ibv_qp *qp, struct ibv_qp_attr *a, int mask)
{
    static const int needed[] = {[IBV_QPS_INIT] = IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS,
                                 [IBV_QPS_RTR] = IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
                                                 IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER,
                                 [IBV_QPS_RTS] = IBV_QP_STATE | IBV_QP_SQ_PSN | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
                                                 IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC};
    struct fake_pair *p = (struct fake_pair *)qp;
    int st = 0;

    pthread_mutex_lock(&fake_lock);
    if (a->qp_state < IBV_QPS_INIT || a->qp_state > IBV_QPS_RTS || mask != needed[a->qp_state] ||
        a->qp_state != qp->state + 1)
        st = EINVAL;
    else if (a->qp_state == IBV_QPS_INIT)
        p->access = a->qp_access_flags;
    else if (a->qp_state == IBV_QPS_RTR)
        st = connect_pair(p, a);
    if (st == 0)
        qp->state = a->qp_state;
    pthread_mutex_unlock(&fake_lock);
    return st;
}

/* Nobody hears of it any more. */
static void forget_events(const struct ibv_qp *qp)
{
    struct fake_context *c = (struct fake_context *)qp->context;
    uint32_t kept = 0;
    eventfd_t one;

    for (uint32_t i = 0; i < c->events; i++) {
        if (c->event[i].element.qp == qp)
            eventfd_read(c->context.async_fd, &one);
        else
            c->event[kept++] = c->event[i];
    }
    c->events = kept;
}

int ibv_destroy_qp(struct ibv_qp *qp)
{
    struct fake_pair *p = (struct fake_pair *)qp, **at = &fake_pairs;

    pthread_mutex_lock(&fake_lock);
    forget_events(qp);
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    ((struct fake_pd *)qp->pd)->objects--;
    ((struct fake_queue *)qp->send_cq)->pairs--;
    fake_free(p);
    pthread_mutex_unlock(&fake_lock);
    return 0;
}
