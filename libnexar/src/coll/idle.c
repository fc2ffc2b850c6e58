/* coll/idle.c - memory of collectives in flight, kept from one call to the next.
 *
 * Owner: any thread; the communicator's lock for the list.  A call like the one before allocates nothing. */
#include "base/mem.h"
#include "coll/op.h"

enum {
    IDLE_MAX = 16,
    IDLE_BYTES_MAX = 32 << 20,
};

static size_t aligned(size_t n)
{
    return (n + 63) & ~(size_t)63;
}

/* One block: the op, its arrays, its scratch memory. */
static struct nx_coll_op *allocate(struct nx_plan *plan, size_t element)
{
    const struct nx_sched *s = &plan->sched;
    size_t recvs = aligned(sizeof(struct nx_coll_op)), sends, waits, finished, ready, scratch, total;
    struct nx_coll_op *op;
    char *block;

    sends = aligned(recvs + s->recvs * sizeof(struct nx_coll_recv));
    waits = aligned(sends + s->sends * sizeof(struct nx_coll_send));
    finished = aligned(waits + s->count);
    ready = aligned(finished + s->count * sizeof(uint32_t));
    scratch = aligned(ready + s->count * sizeof(uint32_t));
    if (__builtin_mul_overflow(s->scratch, element, &total) || __builtin_add_overflow(total, scratch, &total))
        return NULL;
    block = nx_alloc(total);
    if (block == NULL)
        return NULL;
    op = (struct nx_coll_op *)(void *)block;
    op->bytes = total;
    op->recvs = (struct nx_coll_recv *)(void *)(block + recvs);
    op->sends = (struct nx_coll_send *)(void *)(block + sends);
    op->waits = (uint8_t *)(block + waits);
    op->finished = (uint32_t *)(void *)(block + finished);
    op->ready = (uint32_t *)(void *)(block + ready);
    op->scratch = (uint8_t *)(block + scratch);
    return op;
}

/* With the communicator's lock: one that was left over by a call of the same plan. */
static struct nx_coll_op *take_idle(nexar_comm *comm, const struct nx_plan *plan, size_t element)
{
    nx_list_for_each_safe(pos, tmp, &comm->idle)
    {
        struct nx_coll_op *op = nx_container_of(pos, struct nx_coll_op, link);

        if (op->plan != plan || op->args.element != element)
            continue;
        nx_list_remove(pos);
        comm->idle_count--;
        comm->idle_bytes -= op->bytes;
        return op;
    }
    return NULL;
}

static void free_op(struct nx_coll_op *op)
{
    nx_plan_drop(op->plan);
    nx_free(op);
}

/* Nobody refers to it any more: kept for the next call, in place of the one that was not used for longest. */
void nx_coll_release(struct nx_coll_op *op)
{
    nexar_comm *comm = op->comm;
    struct nx_list old, *pos;

    nx_list_init(&old);
    nx_mutex_fini(&op->lock);
    nx_pieces_free(op->args.pieces);
    op->args.pieces = NULL;
    if (op->bytes > IDLE_BYTES_MAX) {
        free_op(op);
        nx_comm_drop(comm);
        return;
    }
    nx_lock(&comm->lock);
    nx_list_push_front(&comm->idle, &op->link);
    comm->idle_count++;
    comm->idle_bytes += op->bytes;
    while (comm->idle_count > IDLE_MAX || comm->idle_bytes > IDLE_BYTES_MAX) {
        struct nx_coll_op *last = nx_container_of(comm->idle.prev, struct nx_coll_op, link);

        nx_list_remove(&last->link);
        comm->idle_count--;
        comm->idle_bytes -= last->bytes;
        nx_list_push_back(&old, &last->link);
    }
    nx_unlock(&comm->lock);
    while ((pos = nx_list_pop(&old)) != NULL)
        free_op(nx_container_of(pos, struct nx_coll_op, link));
    nx_comm_drop(comm);
}

void nx_coll_free_idle(nexar_comm *comm)
{
    struct nx_list *pos;

    while ((pos = nx_list_pop(&comm->idle)) != NULL)
        free_op(nx_container_of(pos, struct nx_coll_op, link));
}

/* An op for the plan, from those left over or new. */
nexar_status nx_coll_op_get(nexar_comm *comm, const struct nx_plan_key *key, size_t element, struct nx_coll_op **out)
{
    struct nx_plan *plan;
    nexar_status st;

    *out = NULL;
    nx_lock(&comm->lock);
    st = nx_plan_get(&comm->plans, key, &plan);
    if (st == NEXAR_OK)
        *out = take_idle(comm, plan, element);
    nx_unlock(&comm->lock);
    if (st != NEXAR_OK)
        return st;
    if (*out != NULL) {
        nx_plan_drop(plan); /* it has a reference of its own */
        return NEXAR_OK;
    }
    *out = allocate(plan, element);
    if (*out == NULL) {
        nx_plan_drop(plan);
        return nx_fail(NEXAR_ENOMEM, "no memory for the steps of a collective");
    }
    (*out)->plan = plan;
    return NEXAR_OK;
}
