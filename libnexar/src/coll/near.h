/* coll/near.h - collectives directly in the memory that the ranks of a host share.
 *
 * Each rank of a communicator has two lines and two slots in its area, used in turn, by chunk.  An operation is a row
 * of chunks; each of them is: publish what is ours, wait for whom it needs, take what is theirs.  Every word has one
 * writer, and counters only grow, so there are no locks.  With chunk c of operation k published,
 *   I: this rank has read everything up to the chunk before;
 *   R: nobody writes his line or slot before all have published the chunk before, so all have read the one before that.
 * Every operation has an odd number of chunks, so that the last one of it and the first one of the next are in
 * different slots.  Whoever fails in an operation says so, and begins the next when all others have ended or failed in
 * it. */
#ifndef NX_COLL_NEAR_H
#define NX_COLL_NEAR_H

#include "bulk/shm_heap.h"
#include "coll/exec.h"

enum {
    NX_NEAR_LINE = 128, /* two cache lines: neighbours are fetched in pairs */
    NX_NEAR_INLINE = 96,
    NX_NEAR_AT_ONCE = 3, /* chunks */
};

struct nx_near_line {
    _Alignas(NX_NEAR_LINE) _Atomic uint64_t seq; /* of the last chunk that was published here; see nx_near_number */
    uint64_t call, count, sequence;              /* of its operation; written with chunk 0 */
    uint8_t data[NX_NEAR_INLINE];
};

/* A rank in the area. */
struct nx_near_rank {
    struct nx_near_line line[2];
    _Alignas(NX_NEAR_LINE) _Atomic uint64_t failed; /* the last operation that failed here */
    _Atomic uint64_t taken;                         /* the last one for which it took back what it had lent */
    /* 2 k + 1: it is at what others have lent to operation k; 2 k + 2: it was */
    _Alignas(NX_NEAR_LINE) _Atomic uint64_t touches;
};

#define NX_NEAR_LAST UINT64_C(0xfffffe)

/* Chunk `c` of operation `k`, so that later ones are greater. */
static inline uint64_t nx_near_number(uint64_t k, uint64_t c)
{
    return (k << 24 | c) + 1;
}

struct nx_coll_op;
struct nx_comms;

/* A rank's vectors, of the operation whose turn it is, if they lie in its heap. */
struct nx_near_loan {
    const uint8_t *send;
    uint8_t *recv;
    uint32_t member; /* const: of the host */
};

/* A word that is waited for. */
struct nx_near_want {
    const _Atomic uint64_t *line, *failed; /* `failed` may be NULL */
    uint64_t number, k;
    uint32_t rank; /* whose */
    bool takes;    /* it is to take what was published */
};

/* An operation that has ended here. */
struct nx_near_past {
    bool met;  /* all ranks are known to have ended it, and to have called the same */
    bool well; /* else it failed here */
    uint64_t call, count, sequence;
};

/* What a communicator has of it. */
struct nx_near {
    /* const */
    nexar_comm *comm; /* borrowed */
    struct nx_shm *shm;
    struct nx_near_rank *rank;
    uint8_t *slots;
    size_t slot;                /* bytes */
    struct nx_shm_heaps *heaps; /* NULL: there are none */
    struct nx_near_loan *loan;  /* owned; by rank; of one thread, as the operation */
    uint64_t members, others;   /* of the host, by index */
    struct nx_way_stats *stats;
    /* the communicator's lock */
    uint64_t numbered;     /* operations that have begun here */
    _Atomic uint64_t turn; /* the one that may run, those before it have ended; anybody may read it */
    uint64_t busy;         /* the operation that is none of the network's: nx_near_try; 0: there is none */
    uint64_t *skip;        /* owned: later ones that have ended, all of them early */
    size_t skips, skip_cap;
    struct nx_near_past last; /* operation turn - 1 */
    /* the list's lock */
    struct nx_list link;
    uint64_t gone;  /* ranks that have left in good order, by bits: what they have published is all that will be */
    uint64_t noted; /* those of them that `current` knows of */
    struct nx_coll_op *current; /* of `turn`, if it has to wait, or has not begun */
    struct nx_near_want want;   /* that it waits for; line NULL: look at it in any case */
};

/* An operation on its way through its chunks.  One thread at a time. */
struct nx_near_job {
    struct nx_near *near;
    const struct nx_coll_args *args;
    const struct nx_shape *shape;
    enum nx_coll coll;
    uint64_t k, call, sequence;
    /* set by nx_near_cut */
    uint32_t chunks, c;
    size_t per;      /* elements of a chunk */
    uint64_t nbytes; /* that were written for others */
    bool inside;     /* what travels is in the lines */
    bool sliced;
    uint8_t phase;
    /* near_direct.c */
    bool offers;    /* such a call: ranks say with chunk 0 whether they lend */
    bool lends;     /* this rank's vectors lie in its heap */
    bool published; /* chunk 0 */
    bool direct;    /* all ranks' do */
    uint64_t lent;  /* whose do, by bits */
    size_t done;    /* bytes of this rank's slice, if direct */
    nx_time since;  /* it waits for others to let go of what it has lent; 0: it does not */
    bool vain;      /* it waits for a rank that called something else and has given up: it will be told why */
    uint32_t q;     /* the ranks before it are there */
    /* a rank that called something else */
    uint32_t peer;
    uint64_t their_call, their_count, their_sequence;
};

enum nx_near_state {
    NX_NEAR_MORE,
    NX_NEAR_WAITS,
    NX_NEAR_DONE,
    NX_NEAR_MISFIT,
    NX_NEAR_NONSENSE, /* job->peer lends what it cannot have */
};

/* ---- near_job.c ---- */

/* Goes on until it has to wait, or a chunk is done. */
enum nx_near_state nx_near_job_step(struct nx_near_job *job);
/* Whether it needs more of one of `ranks` (bits) than that has published; *rank: of which. */
bool nx_near_job_lacks(const struct nx_near_job *job, uint64_t ranks, uint32_t *rank);
/* What it waits for. */
void nx_near_job_want(const struct nx_near_job *job, struct nx_near_want *want);

static inline bool nx_near_there(const struct nx_near_want *w)
{
    return w->line == NULL || atomic_load_explicit(w->line, memory_order_acquire) >= w->number ||
           (w->failed != NULL && atomic_load_explicit(w->failed, memory_order_acquire) >= w->k);
}

/* ---- near_kinds.c ---- */

/* Cuts it into chunks. */
void nx_near_cut(struct nx_near_job *job);
/* Whether this rank has a part in the chunk, and puts it there: so many bytes. */
bool nx_near_writes(const struct nx_near_job *job);
size_t nx_near_write(const struct nx_near_job *job);
/* Whether `rank` must have published the chunk before it is read. */
bool nx_near_needs(const struct nx_near_job *job, uint32_t rank);
void nx_near_read(const struct nx_near_job *job);
/* Whether a rank that has ended it knows that all others have published the last chunk. */
bool nx_near_meets(const struct nx_near_job *job);

/* The slice of a chunk that a rank sums up, in whole cache lines. */
struct nx_range nx_near_slice(const struct nx_near_job *job, uint32_t rank);

static inline uint32_t nx_near_parity(uint64_t k, uint64_t c)
{
    return (k + c) & 1;
}

/* ---- near_direct.c ---- */

/* When it is cut: whether this rank lends its vectors. */
void nx_near_lend(struct nx_near_job *job);
/* With chunk 0: where this rank's vectors are. */
void nx_near_offer(const struct nx_near_job *job, struct nx_near_line *line);
/* When all have published it.  False: that of job->peer makes no sense. */
bool nx_near_take_offers(struct nx_near_job *job);
/* Before and after what is lent is read or written.  False: rank job->q has taken it back, the operation is about to
 * fail. */
bool nx_near_touch(struct nx_near_job *job);
void nx_near_untouch(const struct nx_near_job *job);
/* Some of our slice, for all.  True: that was the last of it. */
bool nx_near_sum_direct(struct nx_near_job *job, struct nx_range slice);
/* It has failed, and no step of it is running.  False: another rank is still at what this one has lent; try again. */
bool nx_near_take_back(struct nx_near_job *job);
/* Waits for that: at most some tenths of a second. */
void nx_near_take_back_now(struct nx_near_job *job);

/* ---- near.c ---- */

/* With the communicator's lock: NULL if not all of its ranks share memory.  `make`: by rank 0, before another rank
 * asks. */
struct nx_near *nx_near_of(nexar_comm *comm, bool make);
/* The communicator is closed: when no other thread is in nx_near_try any more. */
void nx_near_quiesce(nexar_comm *comm);
/* Its area is not used here any more. */
void nx_near_detach(nexar_comm *comm);
void nx_near_free(nexar_comm *comm);

/* With the communicator's lock: the number of an operation that begins.  0: no memory. */
uint64_t nx_near_enter(struct nx_near *near);
/* Operation `k` has ended here; `job`: NULL if it failed.  True: another one waits for its turn, and for the engine. */
bool nx_near_leave(struct nx_near *near, uint64_t k, const struct nx_near_job *job);

/* ---- near_run.c ---- */

/* A blocking call of a few chunks that the others make at about the same time.  True: it is done.  Else job->k is 0 and
 * nothing has happened, or it has its numbers and has begun, and nx_near_handed is to be called when an op has taken it
 * over. */
bool nx_near_try(nexar_comm *comm, struct nx_near_job *job);
void nx_near_handed(struct nx_near *near);
/* With the op's lock, which it gives up: goes on as far as possible. */
void nx_near_go(struct nx_coll_op *op);
/* The engine looks after `op` from now on, when `want` is there (NULL: at once); NULL: there is nothing to do. */
void nx_near_await(struct nx_near *near, struct nx_coll_op *op, const struct nx_near_want *want);
/* As nx_coll_waits_for. */
uint32_t nx_near_waits_for(struct nx_coll_op *op, const char **what);
/* Engine.  A member has left in good order: operations that need more of it fail. */
void nx_near_peer_left(nexar_comm *comm, uint32_t peer);

/* Engine: from now on, and until, communicators of the node have operations in shared memory. */
void nx_near_begin(struct nx_comms *comms);
void nx_near_end(struct nx_comms *comms);

#endif
