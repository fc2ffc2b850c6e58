/* net/frame.h - framed messages whose kind is not known before their end: put together, within a budget. */
#ifndef NX_NET_FRAME_H
#define NX_NET_FRAME_H

#include "net/arrive.h"
#include "net/conn.h"
#include "wire/message.h"

/* One that is being put together. */
struct nx_frame {
    struct nx_source *source; /* to be resumed when there is room */
    struct nx_buffer *buf;
    struct nx_list link; /* conn->frames, from the first byte on */
    bool waits;          /* for room */
    bool whole;          /* all bytes are here: it waits for its lane, and room would not help it */
};

void nx_frame_init(struct nx_frame *frame, struct nx_source *source);

/* Engine, from here on.  The longest that may be announced. */
uint64_t nx_frame_limit(nexar_conn *conn);
/* Adds bytes.  NEXAR_EAGAIN: no room now; the source is resumed when there is.  NEXAR_ENOMEM. */
nexar_status nx_frame_add(nexar_conn *conn, struct nx_frame *frame, const uint8_t *bytes, size_t n);
/* Takes the last byte back. */
void nx_frame_unadd(nexar_conn *conn, struct nx_frame *frame);
/* Reads a whole one; the message borrows from it.  NEXAR_EPROTO, in words. */
nexar_status nx_frame_read(nexar_conn *conn, struct nx_frame *frame, struct nx_message *message);
/* Frees it; others may go on. */
void nx_frame_drop(nexar_conn *conn, struct nx_frame *frame);

#endif
