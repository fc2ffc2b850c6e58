/* net/conn.h - a live connection to a peer: streams in, persistent streams out, extension slots.
 *
 * Owner: events come on the engine.  Sends come from any thread and go through two queues, one for control messages and
 * one for small ones; each is a stream of its own, so that neither waits for the other or for a large message. */
#ifndef NX_NET_CONN_H
#define NX_NET_CONN_H

#include "base/engine.h"
#include "net/outbox.h"
#include "net/peer.h"
#include "nexar/conn.h"
#include "quic/quic.h"

/* Who looks after connections that are being set up (cluster/). Engine. */
struct nx_conn_owner {
    /* Judges the peer's certificate; NEXAR_OK lets it in. */
    nexar_status (*certificate)(void *arg, nexar_conn *conn, const uint8_t *leaf, size_t leaf_len, const uint8_t *chain,
                                size_t chain_len);
    void (*connected)(void *arg, nexar_conn *conn);
    /* A control message that the connection does not handle itself; false: the peer broke the protocol. */
    bool (*control)(void *arg, nexar_conn *conn, const struct nx_message *message);
    /* The peer has everything that was sent before our farewell. */
    void (*farewell)(void *arg, nexar_conn *conn);
    /* The last event. */
    void (*closed)(void *arg, nexar_conn *conn, nexar_status status, uint64_t code, const char *why);
};

/* Application error codes of CONNECTION_CLOSE. */
enum nx_close_code {
    NX_CLOSE_DONE = 0,     /* in good order, as in the reference */
    NX_CLOSE_PROTOCOL = 1, /* the peer broke the protocol */
    NX_CLOSE_REFUSED = 2,  /* not a member, or not who it says it is */
    NX_CLOSE_ABORTED = 3,  /* this rank ends without waiting for anybody */
};

struct nexar_conn {
    /* const after init */
    struct nx_net *net;
    const struct nx_conn_owner *owner;
    void *owner_arg;
    bool dialled;
    struct nx_quic_conn *quic; /* a reference */
    /* atomic */
    _Atomic uint32_t refs;
    _Atomic(struct nx_peer *) peer; /* NULL until it is known who that is */
    _Atomic bool own;               /* libnexar/1; else nexar/1 */
    _Atomic bool ended;
    _Atomic uint64_t eager_bytes; /* copies on their way */
    _Atomic uint64_t messages;    /* sent, but for control messages */
    _Atomic uint64_t frame_bytes; /* of `frames` */
    _Atomic uint32_t cut;         /* messages whose rest comes by another way than their beginning (dock.c) */
    /* const once it is bound to its peer */
    struct nexar_link *links; /* owned: by module, best first */
    uint32_t link_count;
    /* own locks */
    struct nx_outbox control, small;
    /* lock */
    struct nx_mutex lock;
    struct nx_list slots; /* extensions */
    struct nx_task flush; /* holds a reference while it is queued */
    /* engine */
    bool connected;
    struct nx_list paused; /* streams that came before it was known who that is */
    struct nx_list frames; /* struct nx_frame: framed messages that are being put together */
    uint8_t node[16];      /* id from the certificate */
    uint32_t dialled_rank;
    uint64_t received; /* messages that have come to their end */
    uint64_t bye_at;   /* how many there will be, once the peer has said so */
    bool bye_said, bye_received, bye_answered, bye_acked;
    bool ways_heard; /* the peer has said which ways it offers */
    char alpn[16];
    char fault[128]; /* why we ended it ourselves */
};

/* Dials; events of `owner` follow, `closed` in any case.  The caller gets a reference. */
nexar_status nx_conn_dial(struct nx_net *net, struct nx_quic_config *config, const struct sockaddr *to,
                          const struct nx_conn_owner *owner, void *owner_arg, nexar_conn **conn);
/* For a listener's accept. */
nexar_status nx_conn_accept(struct nx_net *net, struct nx_quic_conn *quic, const struct nx_conn_owner *owner,
                            void *owner_arg, const struct nx_quic_conn_events **events, nexar_conn **conn);
void nx_conn_hold(nexar_conn *conn);
void nx_conn_drop(nexar_conn *conn);

/* Engine.  It is known who that is: messages may come in. */
void nx_conn_bind(nexar_conn *conn, struct nx_peer *peer);

/* Tells the peer that nothing more will be sent; `farewell` follows when it has all. */
nexar_status nx_conn_bye(nexar_conn *conn);
/* Ends it without waiting. */
void nx_conn_shutdown(nexar_conn *conn, enum nx_close_code code);
/* Engine.  The peer broke the protocol. */
void nx_conn_fault(nexar_conn *conn, const char *format, ...) NX_PRINTF(2, 3);

/* Engine.  The peer is dead, as others than QUIC have seen. */
void nx_conn_lost(nexar_conn *conn, const char *why);

/* A framed message on the control stream, in order.  On nexar/1 a stream of its own.  `later`: with a lock held; it
 * leaves soon. */
nexar_status nx_conn_control(nexar_conn *conn, const struct nx_message *message, bool later);

/* "10.0.0.7:41234" */
void nx_conn_address(const nexar_conn *conn, char *text, size_t cap);
void nx_address_text(const struct sockaddr *address, char *text, size_t cap);
/* And back: "10.0.0.1:7000", "[::1]:7000".  NEXAR_EPROTO, without a sentence. */
nexar_status nx_address_of(const char *text, struct sockaddr_storage *out);

/* ---- between the files of net/ ---- */

/* A stream of the peer's; takes it or refuses. */
bool nx_conn_stream(nexar_conn *conn, struct nx_quic_stream *stream, bool bidirectional);
/* Engine.  Goes on with the streams that were paused. */
void nx_conn_resume_paused(nexar_conn *conn);
/* Engine.  A message has come to its end: the peer may have been waiting for that to leave. */
void nx_conn_drained(nexar_conn *conn);
/* Engine.  A whole control message. */
void nx_conn_handle(nexar_conn *conn, const struct nx_message *message);
void nx_ext_free_all(nexar_conn *conn);

#endif
