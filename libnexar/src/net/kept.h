/* net/kept.h - messages that are kept until it is known that they have arrived: for carry.c and kept.c. */
#ifndef NX_NET_KEPT_H
#define NX_NET_KEPT_H

#include "net/way.h"

/* With the link's lock.  A place for it; a copy of it, if it is to be one.  NULL: there is no memory for that. */
struct nx_kept *nx_kept_new(nexar_link *link, struct nx_send_req *req, bool copy);
/* With the link's lock: it is not kept any more. */
void nx_kept_take_out(nexar_link *link, struct nx_kept *kept, struct nx_list *to);
/* Without it: what a send of it is told. */
void nx_kept_finish(struct nx_kept *kept, nexar_status status);
void nx_kept_finish_all(struct nx_list *list, nexar_status status);

#endif
