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
    /* Other messages follow on the same stream: it pauses only when there is no room for any of this peer's. */
    bool shared;
    /* Its message is here in one piece: it is taken at once, or announced again. */
    bool whole;
    struct nx_list link; /* the table's */
};

void nx_source_init(struct nx_source *source, void (*resume)(struct nx_source *));
/* The stream is gone: it will not be resumed any more. */
void nx_source_forget(struct nx_lanes *lanes, struct nx_source *source);

/* Announces a message.  `source` must stay until end.  NULL with the reason in *st: NEXAR_EAGAIN (announce it again
 * when the source is resumed), NEXAR_ENOMEM, NEXAR_EPROTO. */
struct nx_msg *nx_arrive_begin(struct nx_lanes *lanes, uint32_t peer, const struct nx_head *head, bool ordered,
                               struct nx_source *source, nexar_status *st);

/* Returns how many bytes were taken.  If that is less than n: *st is NEXAR_EAGAIN (give the rest when the source is
 * resumed), NEXAR_ENOMEM or NEXAR_EPROTO (end it).  More than announced is a programming error. */
size_t nx_arrive_write(struct nx_lanes *lanes, struct nx_msg *msg, const uint8_t *bytes, size_t n, nexar_status *st);

/* Where the next bytes belong: at most *n, at *at, until nx_arrive_placed, which must follow.  NEXAR_ENOTSUP: there is
 * no such place; nx_arrive_write.  NEXAR_EAGAIN: nobody receives it yet; again when the source is resumed. */
nexar_status nx_arrive_place(struct nx_lanes *lanes, struct nx_msg *msg, uint8_t **at, uint64_t *n, bool wait);
/* `n` bytes are there. */
void nx_arrive_placed(struct nx_lanes *lanes, struct nx_msg *msg, uint64_t n);

/* The rest of the message comes from another source. */
void nx_arrive_move(struct nx_lanes *lanes, struct nx_msg *msg, struct nx_source *source);

/* The message is complete (NEXAR_OK) or will never be.  The message may not be used after this. */
void nx_arrive_end(struct nx_lanes *lanes, struct nx_msg *msg, nexar_status status);

/* A message that is all here.  True: somebody looked out for it, and has it.  False: nothing has happened. */
bool nx_arrive_expected(struct nx_lanes *lanes, uint32_t peer, const struct nx_head *head, struct nx_source *source,
                        const uint8_t *payload);

/* All of it in one, for a message of at most NX_MSG_SMALL bytes that are all here, on a stream of many.  NEXAR_OK: it
 * has been dealt with.  NEXAR_EAGAIN, NEXAR_ENOMEM, NEXAR_EPROTO: as nx_arrive_begin. */
nexar_status nx_arrive_small(struct nx_lanes *lanes, uint32_t peer, const struct nx_head *head, bool ordered,
                             struct nx_source *source, const uint8_t *payload);

/* A whole message from this process to itself: any thread.  NEXAR_ENOMEM. */
nexar_status nx_arrive_local(struct nx_lanes *lanes, uint32_t self, const struct nx_head *head, const void *payload);

#endif
