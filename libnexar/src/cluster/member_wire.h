/* cluster/member_wire.h - messages of the membership <-> framed messages of wire/. */
#ifndef NX_CLUSTER_MEMBER_WIRE_H
#define NX_CLUSTER_MEMBER_WIRE_H

#include "cluster/member_msg.h"
#include "wire/message.h"

/* Of the bytes in them. */
enum {
    NX_STAND_HEAD = 32,
    NX_STAND_READY = 1,
    NX_STAND_LEAVING = 2,
    NX_ENTRY_AGREE = 1,
    NX_ENTRY_CHECKPOINT = 2,
    NX_ENTRY_WHOLE = 4, /* the whole list, to one who joins */
};

#define NX_GONE_LEFT ((uint32_t)1 << 31)

struct nx_member_wire {
    struct nx_message message; /* its bytes point into: */
    uint8_t *memory;           /* to be freed by nx_free */
};

/* NEXAR_ENOMEM. */
nexar_status nx_member_to_wire(const struct nx_member_msg *m, struct nx_member_wire *out);

/* Reads what another member sent.  An entry is sent as its change, and made again from the one before it, which must be
 * in `own`; where it is not, the entry is left out, as the machine does not look at it then.
 * NEXAR_EPROTO: no member says that.  NEXAR_ENOMEM. */
nexar_status nx_member_from_wire(const struct nx_acceptor *own, const struct nx_message *wire,
                                 struct nx_member_msg **out);

#endif
