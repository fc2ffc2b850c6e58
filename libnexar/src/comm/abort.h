/* comm/abort.h - a communicator that one of its ranks has given up: nothing ends well in it any more. */
#ifndef NX_COMM_ABORT_H
#define NX_COMM_ABORT_H

#include "comm/comm.h"

/* NEXAR_OK, or NEXAR_ECLOSED with who aborted it and why. */
nexar_status nx_comm_stopped_by(nexar_comm *comm, const char *call);

static inline nexar_status nx_comm_stopped(nexar_comm *comm, const char *call)
{
    return atomic_load_explicit(&comm->stopped, memory_order_seq_cst) ? nx_comm_stopped_by(comm, call) : NEXAR_OK;
}

/* Engine.  Those who are left shrink it, because a member is lost: everything in flight in it, here and on the others,
 * ends with NEXAR_EPEER that names it, and so does what begins later. */
void nx_comm_give_up(nexar_comm *comm, uint32_t lost);
/* Engine.  A member says so. */
void nx_comm_given_up(nexar_comm *comm, uint32_t peer, const struct nx_msg_comm_shrinks *shrinks);
/* Engine.  A member has aborted it. */
void nx_comm_aborted(nexar_comm *comm, uint32_t peer, const struct nx_msg_comm_aborted *aborted);

#endif
