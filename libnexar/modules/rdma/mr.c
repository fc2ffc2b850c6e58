/* mr.c - memory that the card may touch: registered for one operation, and no longer.
 *
 * Owner: whoever calls, until the message is in a list of its half.  There is no cache: nobody tells us when memory is
 * unmapped, and one that is found by its address alone reads the pages of a mapping that is gone.  docs/RDMA.md has
 * what a registration costs. */
#include "rdma.h"

#include <stdlib.h>
#include <string.h>

struct ibv_mr *nx_rdma_register(struct nx_rdma_half *h, void *at, size_t nbytes, int access)
{
    return h->self->v->reg_mr(h->device->pd, at, nbytes, access);
}

void nx_rdma_deregister(struct nx_rdma_half *h, struct ibv_mr *mr)
{
    if (mr != NULL)
        h->self->v->dereg_mr(mr);
}

void nx_rdma_out_free(struct nx_rdma_half *h, struct nx_rdma_out *out)
{
    for (uint32_t i = 0; out != NULL && i < out->n; i++)
        nx_rdma_deregister(h, out->mr[i]);
    free(out);
}

/* Its memory, in pieces that hold something: a copy if it must be one, or if there are too many. */
static void take_payload(struct nx_rdma_out *out, const nexar_bulk_message *m, bool copy)
{
    uint8_t *to = out->own;

    for (uint32_t i = 0; i < m->n; i++) {
        if (m->iov[i].nbytes == 0)
            continue;
        if (!copy) {
            out->iov[out->n++] = m->iov[i];
            continue;
        }
        memcpy(to, m->iov[i].base, m->iov[i].nbytes);
        to += m->iov[i].nbytes;
    }
    if (copy && m->nbytes != 0)
        out->iov[out->n++] = (nexar_iov){.base = out->own, .nbytes = (size_t)m->nbytes};
}

struct nx_rdma_out *nx_rdma_out_new(struct nx_rdma_half *h, const nexar_bulk_message *m, nexar_bulk_done done,
                                    void *arg, bool large)
{
    bool copy = m->must_copy != 0 || m->n > NX_RDMA_PIECES;
    struct nx_rdma_out *out = calloc(1, sizeof(*out) + (copy ? (size_t)m->nbytes : 0));

    if (out == NULL)
        return NULL;
    out->large = large;
    out->nbytes = m->nbytes;
    out->head_nbytes = (uint8_t)m->head_nbytes;
    memcpy(out->head, m->head, m->head_nbytes);
    if (!copy) {
        out->done = done;
        out->arg = arg;
    }
    take_payload(out, m, copy);
    for (uint32_t i = 0; large && i < out->n; i++) {
        out->mr[i] = nx_rdma_register(h, out->iov[i].base, out->iov[i].nbytes, IBV_ACCESS_REMOTE_READ);
        if (out->mr[i] != NULL)
            continue;
        nx_rdma_out_free(h, out);
        return NULL;
    }
    return out;
}
