/* cluster/talk.h - framed messages back to back on one bidirectional stream: how a worker and the seed talk.
 *
 * Owner: the engine.  It knows no meaning of messages. */
#ifndef NX_CLUSTER_TALK_H
#define NX_CLUSTER_TALK_H

#include "net/outbox.h"
#include "wire/codec.h"
#include "wire/stream.h"

/* A message of a stranger may be this long: the largest honest one is a proof with its signing request. */
#define NX_TALK_STRANGER_MAX 4096
/* The longest roster, of NX_RANKS_MAX ranks with all their addresses, is shorter. */
#define NX_TALK_MEMBER_MAX (4 << 20)

struct nx_talk {
    struct nx_outbox out;
    struct nx_buffer *in; /* of the message that is coming */
    size_t limit;         /* of a message, header included */
    /* A message and the bytes of its archive, both gone afterwards.  False: the peer broke the protocol, nothing more
     * is read. */
    bool (*message)(void *arg, const struct nx_message *message, const uint8_t *archive, size_t n);
    /* What came is no message; nothing more is read. */
    void (*broken)(void *arg, const char *why);
    void *arg;
    bool deaf; /* nothing more is read */
};

/* The events to open or bind the stream with; their arg is the talk. */
extern const struct nx_quic_stream_events nx_talk_events;

void nx_talk_init(struct nx_talk *talk, size_t limit, void *arg,
                  bool (*message)(void *, const struct nx_message *, const uint8_t *, size_t),
                  void (*broken)(void *, const char *));
void nx_talk_fini(struct nx_talk *talk);

/* The stream is there: what was said leaves. */
void nx_talk_open(struct nx_talk *talk, struct nx_quic_stream *stream);

/* NEXAR_ENOMEM, NEXAR_EPEER, NEXAR_EINVAL (a text is not UTF-8, ...).  `archive` (may be NULL) gets a copy of what was
 * said; its buffer is the caller's. */
nexar_status nx_talk_say(struct nx_talk *talk, const struct nx_message *message, struct nx_buffer **archive);

#endif
