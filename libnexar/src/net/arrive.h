/* net/arrive.h - the one door in: whatever brings bytes calls these.
 *
 * Engine.  begin announces a message, write gives its payload in order, end says that it is complete.  A transport may
 * be asked to pause between two pieces; then `resume` is called when it may go on. */
#ifndef NX_NET_ARRIVE_H
#define NX_NET_ARRIVE_H

#include "net/lane.h"

#include "wire/stream.h"

/* Where a message comes from, for pausing.  `resume` may run on any thread with the table's lock held, so it may only
 * post. */
struct nx_source {
    void (*resume)(struct nx_source *source);
    bool shared; /* other messages follow on the same stream: it may not pause */
};

/* Announces a message.  `source` must stay until end.  NULL with NEXAR_ENOMEM or NEXAR_EPROTO in *st. */
struct nx_msg *nx_arrive_begin(struct nx_lanes *lanes, uint32_t peer, const struct nx_head *head, bool ordered,
                               struct nx_source *source, nexar_status *st);

/* Returns how many bytes were taken; less than n: pause.  More than announced is a programming error. */
size_t nx_arrive_write(struct nx_lanes *lanes, struct nx_msg *msg, const uint8_t *bytes, size_t n);

/* The message is complete (NEXAR_OK) or will never be.  The message may not be used after this. */
void nx_arrive_end(struct nx_lanes *lanes, struct nx_msg *msg, nexar_status status);

/* A whole message from this process to itself: any thread.  NEXAR_ENOMEM. */
nexar_status nx_arrive_local(struct nx_lanes *lanes, uint32_t self, const struct nx_head *head, const void *payload);

#endif
