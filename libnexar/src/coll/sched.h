/* coll/sched.h - a schedule: one rank's part of a collective, as data.
 *
 * Steps in a directed acyclic graph, each with at most two predecessors.  Slices are relative to the caller's buffers,
 * so a schedule is a plan: built once for a shape, run with any pointers, by any number of runs at the same time (it is
 * constant after nx_sched_finish).  Whoever builds it never sees a network; whoever runs it never sees an algorithm. */
#ifndef NX_COLL_SCHED_H
#define NX_COLL_SCHED_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where a slice lies.  SEND and RESIDUAL are never written; in place, SEND and RECV are the same memory. */
enum nx_buf {
    NX_BUF_SEND,
    NX_BUF_RECV,
    NX_BUF_SCRATCH,  /* contents undefined at the start; nx_sched.scratch elements */
    NX_BUF_RESIDUAL, /* of all_reduce_compressed, if there is one: as long as SEND */
};
#define NX_BUFS 4

struct nx_slice {
    enum nx_buf buf;
    size_t off; /* elements */
    size_t count;
};

enum nx_step_kind {
    NX_STEP_SEND,        /* src to peer; done when src may be overwritten, whatever the peer has done */
    NX_STEP_RECV,        /* from peer into dst */
    NX_STEP_RECV_REDUCE, /* from peer; dst = dst op what came */
    NX_STEP_COPY,        /* dst = src */
    NX_STEP_REDUCE,      /* dst = dst op src */
    NX_STEP_FILL,        /* dst = the identity of the operator */
    NX_STEP_ENCODE,      /* dst = src in fewer bytes (math/compress.h); words of 4 bytes on both sides */
    NX_STEP_DECODE,      /* dst = what src, which was made by `peer`, stands for */
    NX_STEP_DECODE_ADD,  /* dst = dst + what src, which was made by `peer`, stands for */
    NX_STEP_JOIN,        /* nothing; for a step that needs more than two predecessors */
};

/* No predecessor, no step. */
#define NX_NONE (-1)

/* Both ends of a message know it by (sender, receiver, tag); tags are below this. */
#define NX_TAG_LIMIT ((UINT32_C(1) << 24) - 1) /* the last is for notes, see watch.c */

/* More steps than any sensible plan needs: 200 MB of them. */
#define NX_STEPS_LIMIT (UINT32_C(1) << 22)

struct nx_step {
    uint8_t kind;    /* enum nx_step_kind */
    uint8_t src_buf; /* enum nx_buf; SEND, COPY, REDUCE, and those that encode and decode */
    uint8_t dst_buf; /* enum nx_buf; all but SEND, JOIN */
    uint8_t type;    /* nexar_dtype of what is reduced, where an operation has several */
    uint32_t peer;
    uint32_t tag;
    uint32_t index;   /* SEND: among the sends; RECV, RECV_REDUCE: among the receives */
    int32_t after[2]; /* earlier steps, or NX_NONE */
    size_t src, dst;  /* offsets in elements */
    size_t count;     /* elements; 0 is legal, and its message is sent */
    size_t src_count; /* of src: another number than of dst where something is encoded or decoded */
};

struct nx_sched {
    struct nx_step *steps; /* owned; predecessors first */
    uint32_t count;
    uint32_t cap;
    uint32_t sends;
    uint32_t recvs;
    uint32_t tags;       /* that are taken on all ranks, where some use fewer */
    size_t scratch;      /* elements */
    const char *failure; /* sticky; what went wrong while building */

    /* After nx_sched_finish; one allocation, owned by `succ_at`. */
    uint8_t *waits;    /* per step: how many different predecessors it has */
    uint32_t *succ_at; /* per step and one more: its successors are succ[succ_at[i]] .. succ[succ_at[i + 1] - 1] */
    uint32_t *succ;    /* in the order of the steps */
    uint32_t *ready;   /* the steps that wait for nothing, in order */
    uint32_t nready;
    size_t nbytes; /* memory held by all of this */
};

/* A zeroed nx_sched is an empty one.  Each of these adds a step after the steps a0 and a1 (NX_NONE: none) and returns
 * its number.  Failure is sticky: the step is NX_NONE and nx_sched_finish says why.  A tag is used once per peer and
 * direction. */
int32_t nx_sched_send(struct nx_sched *s, uint32_t peer, uint32_t tag, struct nx_slice src, int32_t a0, int32_t a1);
int32_t nx_sched_recv(struct nx_sched *s, uint32_t peer, uint32_t tag, struct nx_slice dst, int32_t a0, int32_t a1);
int32_t nx_sched_recv_reduce(struct nx_sched *s, uint32_t peer, uint32_t tag, struct nx_slice dst, int32_t a0,
                             int32_t a1);
/* The two slices have the same length and do not overlap. */
int32_t nx_sched_copy(struct nx_sched *s, struct nx_slice src, struct nx_slice dst, int32_t a0, int32_t a1);
int32_t nx_sched_reduce(struct nx_sched *s, struct nx_slice src, struct nx_slice dst, int32_t a0, int32_t a1);
int32_t nx_sched_fill(struct nx_sched *s, struct nx_slice dst, int32_t a0, int32_t a1);
/* `plain` and `encoded`: of these lengths on either side. */
int32_t nx_sched_encode(struct nx_sched *s, struct nx_slice plain, struct nx_slice encoded, int32_t a0, int32_t a1);
/* `add`: to what `plain` has. */
int32_t nx_sched_decode(struct nx_sched *s, struct nx_slice encoded, uint32_t peer, struct nx_slice plain, bool add,
                        int32_t a0, int32_t a1);
int32_t nx_sched_join(struct nx_sched *s, int32_t a0, int32_t a1);

/* A schedule as a part of another one. */
struct nx_nest {
    enum nx_buf into[NX_BUFS]; /* where its buffers lie, from `offset` on */
    size_t offset[NX_BUFS];
    size_t scale;          /* elements that one of its is */
    uint32_t tag;          /* that its own are added to */
    uint8_t type;          /* of its reductions */
    const uint32_t *ranks; /* its ranks; NULL: the same */
};
/* `inner` is finished.  It begins after the step `after`; returns the step that comes when all of it is done. */
int32_t nx_sched_nest(struct nx_sched *s, const struct nx_sched *inner, const struct nx_nest *nest, int32_t after);
/* One more than the greatest tag, 0 if there is none; or as many as are taken.  The same on all ranks. */
uint32_t nx_sched_tags(const struct nx_sched *s);

/* Computes what a runner needs; afterwards running it allocates nothing here.  NEXAR_OK, NEXAR_ENOMEM (memory, or more
 * steps or tags than there may be). */
nexar_status nx_sched_finish(struct nx_sched *s);

/* Accepts one that is half built or zeroed. */
void nx_sched_fini(struct nx_sched *s);

/* "step 3 (recv from rank 2, tag 5, 1024 elements)", cut at `cap` bytes. */
void nx_sched_describe(const struct nx_sched *s, uint32_t step, char *text, size_t cap);

#endif
