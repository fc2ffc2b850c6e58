/* qp.c - the queue pair of a link, the memory for its frames, and what is posted to it.
 *
 * Owner: the engine, but for nx_rdma_post_send, which is called with the half's lock.  A completion is known by the
 * number in its wr_id, and each link has a completion queue of its own: nobody takes another's. */
#include "rdma.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

enum {
    DEPTH_OUT = NX_RDMA_SLOTS + NX_RDMA_READS,
    TIMEOUT = 16, /* 4.096 us << 16 = 0.27 s until a packet is sent again, seven times */
    RETRIES = 7,
    FOR_EVER = 7, /* of RNR; a peer that keeps to its credits never says it */
    RNR_TIMER = 12,
    HOPS = 64,
};

static uint64_t id_of(uint32_t what, uint32_t number)
{
    return (uint64_t)what << 32 | number;
}

static bool get_memory(struct nx_rdma_half *h)
{
    void *p = mmap(NULL, NX_RDMA_MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p != MAP_FAILED) {
        h->memory = p;
        /* Kernels before 5.12 would give the page that the card writes to a child. */
        madvise(p, NX_RDMA_MEMORY, MADV_DONTFORK);
        h->memory_mr = nx_rdma_register(h, p, NX_RDMA_MEMORY, IBV_ACCESS_LOCAL_WRITE);
    }
    if (h->memory_mr != NULL)
        return true;
    nx_rdma_fail(h, false, "no %d KiB of memory for RDMA: %s (ulimit -l?)", NX_RDMA_MEMORY >> 10, strerror(errno));
    return false;
}

static bool make_pair(struct nx_rdma_half *h)
{
    const struct nx_verbs *v = h->self->v;
    struct nx_rdma_device *d = h->device;
    struct ibv_qp_init_attr init = {
        .qp_type = IBV_QPT_RC,
        .sq_sig_all = 1,
        .cap = {.max_send_wr = DEPTH_OUT, .max_recv_wr = NX_RDMA_SLOTS, .max_send_sge = 1, .max_recv_sge = 1}};
    struct ibv_qp_attr attr = {
        .qp_state = IBV_QPS_INIT, .port_num = h->mine.port, .qp_access_flags = IBV_ACCESS_REMOTE_READ};

    h->cq = v->create_cq(d->context, DEPTH_OUT + NX_RDMA_SLOTS, h, d->channel, 0);
    init.send_cq = init.recv_cq = h->cq;
    if (h->cq != NULL)
        h->qp = v->create_qp(d->pd, &init);
    if (h->qp != NULL &&
        v->modify_qp(h->qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS) == 0)
        return true;
    nx_rdma_fail(h, false, "%s gives no queue pair: %s", d->name, strerror(errno));
    return false;
}

bool nx_rdma_pair_new(struct nx_rdma_half *h)
{
    if (!get_memory(h) || !make_pair(h))
        return false;
    for (uint32_t i = 0; i < NX_RDMA_SLOTS; i++) {
        if (!nx_rdma_post_recv(h, i))
            return false;
    }
    if (ibv_req_notify_cq(h->cq, 0) == 0)
        return true;
    nx_rdma_fail(h, false, "%s does not say when something arrives", h->device->name);
    return false;
}

bool nx_rdma_pair_connect(struct nx_rdma_half *h, uint32_t qpn, uint32_t psn)
{
    const struct nx_rdma_place *mine = &h->mine, *theirs = &h->theirs;
    struct ibv_qp_attr attr = {
        .qp_state = IBV_QPS_RTR,
        .path_mtu = (enum ibv_mtu)(mine->mtu < theirs->mtu ? mine->mtu : theirs->mtu),
        .dest_qp_num = qpn,
        .rq_psn = psn,
        .max_dest_rd_atomic = mine->reads,
        .min_rnr_timer = RNR_TIMER,
        .ah_attr = {.dlid = theirs->lid, .port_num = mine->port, .is_global = mine->kind != NX_RDMA_IB}};
    int st;

    if (attr.ah_attr.is_global) {
        attr.ah_attr.grh.sgid_index = (uint8_t)mine->index;
        attr.ah_attr.grh.hop_limit = HOPS;
        memcpy(attr.ah_attr.grh.dgid.raw, theirs->gid, 16);
    }
    st = h->self->v->modify_qp(h->qp, &attr,
                               IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
                                   IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
    if (st == 0) {
        attr = (struct ibv_qp_attr){.qp_state = IBV_QPS_RTS,
                                    .sq_psn = h->psn,
                                    .timeout = TIMEOUT,
                                    .retry_cnt = RETRIES,
                                    .rnr_retry = FOR_EVER,
                                    .max_rd_atomic = mine->reads < theirs->reads ? mine->reads : theirs->reads};
        st = h->self->v->modify_qp(h->qp, &attr,
                                   IBV_QP_STATE | IBV_QP_SQ_PSN | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
                                       IBV_QP_MAX_QP_RD_ATOMIC);
    }
    if (st == 0)
        return true;
    nx_rdma_fail(h, false, "%s cannot be connected with that rank: %s", h->device->name, strerror(st));
    return false;
}

void nx_rdma_pair_free(struct nx_rdma_half *h)
{
    const struct nx_verbs *v = h->self->v;

    if (h->qp != NULL)
        v->destroy_qp(h->qp);
    if (h->cq != NULL)
        v->destroy_cq(h->cq);
    h->qp = NULL;
    h->cq = NULL;
    nx_rdma_deregister(h, h->memory_mr);
    h->memory_mr = NULL;
    if (h->memory != NULL)
        munmap(h->memory, NX_RDMA_MEMORY);
    h->memory = NULL;
}

/* ---- posting ---- */

bool nx_rdma_post_recv(struct nx_rdma_half *h, uint32_t slot)
{
    struct ibv_sge sge = {
        .addr = (uintptr_t)(h->memory + slot * NX_RDMA_SLOT), .length = NX_RDMA_SLOT, .lkey = h->memory_mr->lkey};
    struct ibv_recv_wr wr = {.wr_id = id_of(NX_RDMA_ID_RECV, slot), .sg_list = &sge, .num_sge = 1};
    struct ibv_recv_wr *bad;
    int st = ibv_post_recv(h->qp, &wr, &bad);

    if (st != 0)
        nx_rdma_fail(h, false, "%s takes no buffer: %s", h->device->name, strerror(st));
    return st == 0;
}

static bool post(struct nx_rdma_half *h, struct ibv_send_wr *wr)
{
    struct ibv_send_wr *bad;
    int st = ibv_post_send(h->qp, wr, &bad);

    if (st != 0)
        nx_rdma_fail(h, false, "%s takes no request: %s", h->device->name, strerror(st));
    return st == 0;
}

bool nx_rdma_post_send(struct nx_rdma_half *h, uint32_t slot, uint32_t nbytes)
{
    struct ibv_sge sge = {.addr = (uintptr_t)(h->memory + NX_RDMA_OUT_AT + slot * NX_RDMA_SLOT),
                          .length = nbytes,
                          .lkey = h->memory_mr->lkey};
    struct ibv_send_wr wr = {
        .wr_id = id_of(NX_RDMA_ID_SEND, slot), .sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_SEND};

    return post(h, &wr);
}

bool nx_rdma_post_read(struct nx_rdma_half *h, uint32_t number, void *to, uint32_t lkey, uint32_t nbytes, uint64_t from,
                       uint32_t rkey)
{
    struct ibv_sge sge = {.addr = (uintptr_t)to, .length = nbytes, .lkey = lkey};
    struct ibv_send_wr wr = {.wr_id = id_of(NX_RDMA_ID_READ, number),
                             .sg_list = &sge,
                             .num_sge = 1,
                             .opcode = IBV_WR_RDMA_READ,
                             .wr.rdma = {.remote_addr = from, .rkey = rkey}};

    return post(h, &wr);
}
