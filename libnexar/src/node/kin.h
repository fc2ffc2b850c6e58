/* node/kin.h - the processes of the other ranks of this host: the moment when one of them ends.
 *
 * Each rank says to those of its host which process it is; a descriptor of it tells of its end at once, whichever way
 * the bytes take.  Engine. */
#ifndef NX_NODE_KIN_H
#define NX_NODE_KIN_H

#include "net/net.h"

struct nx_kin;

/* NEXAR_ENOMEM. */
nexar_status nx_kin_open(struct nx_net *net, struct nx_kin **kin);
/* NULL is legal, here and below. */
void nx_kin_close(struct nx_kin *kin);

/* Says to a rank which process this is. */
void nx_kin_tell(struct nx_kin *kin, uint32_t rank);
/* A rank says which process it is.  False: that is none. */
bool nx_kin_told(struct nx_kin *kin, uint32_t rank, struct nx_text process);
/* Whether the process of a rank has ended, as the kernel says. */
bool nx_kin_ended(const struct nx_kin *kin, uint32_t rank);

#endif
