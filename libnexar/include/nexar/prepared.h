/** nexar/prepared.h - a blocking call as one argument, for bindings whose calls cost by their arguments.
 *
 *  The struct says what is called on what; running it is one call with one pointer, which can be repeated.  The caller
 *  owns the struct, and all that it points to. */
#ifndef NEXAR_PREPARED_H
#define NEXAR_PREPARED_H

#include "nexar/coll.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum nexar_prepared_call {
    NEXAR_PREPARED_SEND = 1,
    NEXAR_PREPARED_RECV = 2,
    NEXAR_PREPARED_ALL_REDUCE = 3,
    NEXAR_PREPARED_REDUCE = 4,
    NEXAR_PREPARED_SCAN = 5,
    NEXAR_PREPARED_EXCLUSIVE_SCAN = 6,
    NEXAR_PREPARED_BROADCAST = 7,
    NEXAR_PREPARED_ALL_GATHER = 8,
    NEXAR_PREPARED_GATHER = 9,
    NEXAR_PREPARED_SCATTER = 10,
    NEXAR_PREPARED_REDUCE_SCATTER = 11,
    NEXAR_PREPARED_ALL_TO_ALL = 12,
    NEXAR_PREPARED_BARRIER = 13,
} nexar_prepared_call;

/** Through which the prepared calls of a communicator reach it, so that it is closed when none of them is inside. */
typedef struct nexar_gate {
    nexar_comm *comm; /**< set it before the first call; NULL: shut */
    uint32_t users;   /**< the library's; 0 to begin with */
    uint32_t reserved;
} nexar_gate;

/** Memory that a call relies on: if it is not as it was, the call is not made. */
typedef struct nexar_watch {
    const void *at;
    const void *was;
    size_t nbytes;
} nexar_watch;

/** What nexar_prepared_run returns beside statuses. */
#define NEXAR_PREPARED_TOLD 1    /**< RECV: done, but `got...` is other than before; read it, then set `busy` to 0 */
#define NEXAR_PREPARED_BUSY 2    /**< nothing was done: another thread is in it, or has not set `busy` to 0 */
#define NEXAR_PREPARED_SHUT 3    /**< nothing was done: the gate is shut */
#define NEXAR_PREPARED_CHANGED 4 /**< nothing was done: what is watched has changed */

typedef struct nexar_prepared {
    uint32_t size;
    uint32_t busy; /**< which thread is inside, by gettid(); 0: none */
    nexar_prepared_call call;
    nexar_dtype dtype;
    nexar_reduce_op op;
    uint32_t rank; /**< dest of SEND, src of RECV, root */
    uint32_t tag;
    uint32_t watches;
    nexar_gate *gate;
    const void *send; /**< the arguments of the call, by their names; BROADCAST has its `buf` in `recv` */
    void *recv;
    size_t count; /**< bytes of SEND and RECV */
    const nexar_call_opts *opts;
    const nexar_watch *watch; /**< `watches` of them, looked at in their order; NULL: none */
    nexar_op *running;        /**< see NEXAR_EAGAIN */
    uint64_t got;             /**< bytes of the last RECV that was done */
    uint32_t got_source;      /**< its source */
    uint32_t got_tag;
} nexar_prepared;

/** Makes the call, as the function of its name would.  What is not done within 10 ms, or when a signal handler runs,
 *  goes on as an op: the result is NEXAR_EAGAIN and `running` the op, which the caller waits for and closes as any
 *  other; `busy` is set until the caller has taken it and set it to 0.  So nobody is inside for long, and an
 *  interpreter can look at signals.
 *  @returns as the call; NEXAR_EAGAIN; one of NEXAR_PREPARED_*; NEXAR_EINVAL for what is no prepared call
 *  @threads any; one that comes while another one is inside gets NEXAR_PREPARED_BUSY */
NEXAR_API int32_t nexar_prepared_run(nexar_prepared *prepared);

/** Shuts the gate for good, and returns when nobody is inside any more; then the communicator may be closed, and the
 *  gate freed when no call is made by it.
 *  @returns nothing; NULL is legal.  @threads any that is not inside itself */
NEXAR_API void nexar_gate_shut(nexar_gate *gate);

#ifdef __cplusplus
}
#endif

#endif
