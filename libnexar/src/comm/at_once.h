/* comm/at_once.h - messages that leave, or are received, within a call.  Arguments have been checked. */
#ifndef NX_COMM_AT_ONCE_H
#define NX_COMM_AT_ONCE_H

#include "comm/comm.h"

/* False: it has not left. */
bool nx_send_at_once(nexar_comm *comm, const void *buf, size_t nbytes, uint32_t dest, uint64_t id,
                     const nexar_call_opts *opts);
/* One that is here already, or about to be.  False: it is not. */
bool nx_recv_at_once(nexar_comm *comm, void *buf, size_t nbytes, const struct nx_key *key, const nexar_call_opts *opts,
                     nexar_recv_info *info);

#endif
