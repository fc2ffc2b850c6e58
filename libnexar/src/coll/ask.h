/* coll/ask.h - a public call on its way to the executor: its arguments are checked one after the other, and the first
 * thing that is wrong counts; then its algorithm is chosen and it runs.
 *
 * Nothing is sent before all is right, so a wrong argument leaves the communicator as it was. */
#ifndef NX_COLL_ASK_H
#define NX_COLL_ASK_H

#include "coll/exec.h"

/* Blocks of unequal length of so many ranks need no allocation. */
#define NX_ASK_FEW 32

struct nx_ask {
    nexar_comm *comm;
    const char *call;   /* its name */
    enum nx_coll rules; /* by which its algorithm is chosen; what is announced is args.call.coll */
    nexar_status st;    /* of all checks so far; the error is this thread's last one */
    struct nx_coll_args args;
    struct nx_shape shape;
    size_t elements; /* of the whole vector, by which the algorithm is chosen */
    struct nx_range *blocks[2];
    struct nx_range few[2][NX_ASK_FEW];
};

/* The first and the last call.  In between each checks what it is given, and does nothing if something was wrong
 * already. */
void nx_ask_begin(struct nx_ask *ask, nexar_comm *comm, enum nx_coll coll, nexar_op **op_out);
nexar_status nx_ask_run(struct nx_ask *ask, const nexar_call_opts *opts, nexar_op **op_out);

void nx_ask_type(struct nx_ask *ask, nexar_dtype dtype);
/* A type that is reduced. */
void nx_ask_reduction(struct nx_ask *ask, nexar_dtype dtype, nexar_reduce_op op);
void nx_ask_root(struct nx_ask *ask, uint32_t root);

/* `blocks` times `count` elements, all ranks alike; sets the shape's count and what is announced. */
void nx_ask_count(struct nx_ask *ask, size_t count, uint32_t blocks);
void nx_ask_buffer(struct nx_ask *ask, const char *what, const void *buf, size_t count);
/* They may not overlap; `elsewhere`: where the one that is in place would be. */
void nx_ask_apart(struct nx_ask *ask, const void *send, size_t send_count, const void *recv, size_t recv_count,
                  const char *elsewhere);

/* Vectors of `count` elements, in place if they are one; those that the schedule sees. */
void nx_ask_vectors(struct nx_ask *ask, const void *send, void *recv, size_t count);

/* Blocks in `buf`, which is the argument `what`: `counts` of them at `displs`, or back to back if that is NULL.  Blocks
 * that are written may not overlap each other.  Becomes the shape's send_blocks or recv_blocks. */
enum nx_ask_side { NX_ASK_SEND, NX_ASK_RECV };
void nx_ask_blocks(struct nx_ask *ask, enum nx_ask_side side, const void *buf, const size_t *counts,
                   const size_t *displs);
/* The end of the last one, and the sum of all. */
size_t nx_ask_extent(const struct nx_ask *ask, enum nx_ask_side side);
size_t nx_ask_total(const struct nx_ask *ask, enum nx_ask_side side);

/* Element `i` of `buf`. */
static inline void *nx_ask_at(const struct nx_ask *ask, const void *buf, size_t i)
{
    return (void *)((uintptr_t)buf + i * ask->args.element);
}

static inline bool nx_ask_ok(const struct nx_ask *ask)
{
    return ask->st == NEXAR_OK;
}

/* Sets the buffers that the schedule sees. */
static inline void nx_ask_bind(struct nx_ask *ask, const void *send, const void *recv, bool in_place)
{
    ask->args.send = send;
    ask->args.recv = (void *)(uintptr_t)recv;
    ask->shape.in_place = in_place;
}

#endif
