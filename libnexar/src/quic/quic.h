/* quic/quic.h - connections, streams and sends over MsQuic: what the layers above may call.
 *
 * Bytes of streams go up, buffers go down; what the bytes mean is not known here.  All events come on the engine
 * (base/engine.h), one at a time.  Functions may be called from any thread unless they say "engine". */
#ifndef NX_QUIC_QUIC_H
#define NX_QUIC_QUIC_H

#include "base/clock.h"
#include "base/list.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct nx_quic_config;
struct nx_quic_listener;
struct nx_quic_conn;
struct nx_quic_stream;

/* ---- what a side is and allows ---- */

struct nx_quic_settings {
    bool client;
    const char *alpn[2];   /* in order of preference; the second may be NULL */
    const uint8_t *pkcs12; /* own certificate, key and chain; NULL for a client that has none */
    size_t pkcs12_len;
    bool want_certificate; /* server: ask the client for one (the certificate event judges it, or its absence) */
    uint64_t connection_window;
    uint64_t stream_window; /* a power of two */
    uint16_t uni_streams;   /* how many the peer may have open */
    uint16_t bidi_streams;
    nx_time handshake_timeout;
    nx_time idle_timeout;
    nx_time keep_alive; /* 0: none */
    nx_time disconnect; /* after which a peer that does not answer is lost; with keep_alive, time in which this
                           process got no core does not count */
};

/* NEXAR_ESYSTEM, NEXAR_ENOMEM, NEXAR_EAUTH (the certificate cannot be used). */
nexar_status nx_quic_config_open(const struct nx_quic_settings *settings, struct nx_quic_config **config);
/* After all connections that use it have closed. */
void nx_quic_config_close(struct nx_quic_config *config);

/* ---- connections ---- */

struct nx_quic_conn_events {
    /* The peer's certificate and the chain that came with it (PKCS#7 DER), as judged by nobody yet; leaf NULL: it has
     * none. NEXAR_OK lets the handshake go on. */
    nexar_status (*certificate)(void *arg, const uint8_t *leaf, size_t leaf_len, const uint8_t *chain,
                                size_t chain_len);
    /* The handshake is over.  On a client, the server may still refuse our certificate. */
    void (*connected)(void *arg, const char *alpn);
    /* The peer opened a stream; nx_quic_stream_bind it, or return false to refuse it. */
    bool (*stream)(void *arg, struct nx_quic_stream *stream, bool bidirectional);
    /* The last event.  `code` is the peer's if it closed the connection (status NEXAR_ECLOSED). */
    void (*closed)(void *arg, nexar_status status, uint64_t code, const char *why);
};

/* Starts connecting; `closed` follows in any case.  The caller holds a reference. */
nexar_status nx_quic_connect(struct nx_quic_config *config, const struct sockaddr *to, const char *server_name,
                             const struct nx_quic_conn_events *events, void *arg, struct nx_quic_conn **conn);
void nx_quic_conn_hold(struct nx_quic_conn *conn);
void nx_quic_conn_drop(struct nx_quic_conn *conn);
/* Ends the connection; data that is not acknowledged is lost.  `closed` follows. */
void nx_quic_conn_shutdown(struct nx_quic_conn *conn, uint64_t code);
const struct sockaddr_storage *nx_quic_conn_remote(const struct nx_quic_conn *conn);

/* Engine.  Our own address; false once it is closed. */
bool nx_quic_conn_local(struct nx_quic_conn *conn, struct sockaddr_storage *out);
/* Engine.  From now on the peer is lost if nothing comes from it for `disconnect`.  Until then only what it does not
 * acknowledge for four times as long counts: while a job of many ranks forms, they fight for the cores. */
void nx_quic_conn_listen(struct nx_quic_conn *conn);
/* Engine.  The peer may be dead: if it is, that is seen in half the time. */
void nx_quic_conn_probe(struct nx_quic_conn *conn);

struct nx_quic_conn_stats {
    uint64_t rtt_us;
    uint64_t sent_bytes, received_bytes; /* of datagrams */
    uint64_t sent_packets, received_packets, lost_packets;
};
/* Engine.  False once it is closed. */
bool nx_quic_conn_stats(struct nx_quic_conn *conn, struct nx_quic_conn_stats *out);

/* ---- listening ---- */

/* A connection came.  Returns the configuration to go on with and fills in events and arg, or NULL to refuse it.  The
 * callee gets a reference if it accepts. */
typedef struct nx_quic_config *(*nx_quic_accept_fn)(void *listener_arg, struct nx_quic_conn *conn, const char *alpn,
                                                    const struct sockaddr *from,
                                                    const struct nx_quic_conn_events **events, void **arg);

nexar_status nx_quic_listen(const struct sockaddr *address, const char *const *alpn, size_t alpn_count,
                            nx_quic_accept_fn accept, void *arg, struct nx_quic_listener **listener);
void nx_quic_listener_address(struct nx_quic_listener *listener, struct sockaddr_storage *address);
/* Blocks until no accept can come any more; not on the engine.  NULL is legal. */
void nx_quic_listener_close(struct nx_quic_listener *listener);

/* ---- streams ---- */

struct nx_quic_stream_events {
    /* Bytes in order.  Returns how many it took; if that is less, the stream pauses until nx_quic_stream_resume and the
     * rest is given again. */
    size_t (*receive)(void *arg, const uint8_t *bytes, size_t n);
    /* The last event: the peer finished (NEXAR_OK), or aborted, or the connection is gone.  The stream may not be used
     * after. */
    void (*ended)(void *arg, nexar_status status);
};

/* Engine, inside the stream event. */
void nx_quic_stream_bind(struct nx_quic_stream *stream, const struct nx_quic_stream_events *events, void *arg);
/* Goes on with a stream that has paused.  The stream must not have ended: hold the lock under which `ended` forgets it.
 * */
void nx_quic_stream_resume(struct nx_quic_stream *stream);

enum nx_quic_priority {
    NX_QUIC_BULK = 0x7fff,
    NX_QUIC_SMALL = 0xfffe,
    NX_QUIC_CONTROL = 0xffff,
};

/* Engine.  Opens a stream of our own that lasts as long as the connection, and may be used, in vain, after its end, as
 * long as somebody has a reference. `events` may be NULL for one that only sends. */
nexar_status nx_quic_stream_open(struct nx_quic_conn *conn, enum nx_quic_priority priority, bool bidirectional,
                                 const struct nx_quic_stream_events *events, void *arg, struct nx_quic_stream **stream);

/* ---- sending ---- */

/* As MsQuic lays out its QUIC_BUFFER; conn.c asserts it. */
struct nx_quic_buf {
    uint32_t len;
    uint8_t *base;
};

enum {
    NX_QUIC_BUFS = 6,
    /* The most that one send takes; larger messages are several sends. */
    NX_QUIC_SEND_MAX = 1 << 30,
};

/* A gather list on its way; it and the memory that it points to belong to MsQuic until `done`. */
struct nx_quic_send {
    struct nx_quic_buf buf[NX_QUIC_BUFS];
    uint32_t bufs;
    /* Engine: acknowledged (NEXAR_OK), or lost with the stream or the connection. */
    void (*done)(struct nx_quic_send *send, nexar_status status);
};

/* Appends to a stream; `last` ends it.  Order is that of the calls, so calls for one stream must not race.
 * On failure (NEXAR_EPEER, NEXAR_ENOMEM) `done` is not called. */
nexar_status nx_quic_stream_send(struct nx_quic_stream *stream, struct nx_quic_send *send, bool last);

/* Opens a unidirectional stream for one message and sends its first part; `*stream` is for the others, and may be NULL
 * when `last`.  It vanishes by itself when the last part is done. */
nexar_status nx_quic_message_send(struct nx_quic_conn *conn, struct nx_quic_send *send, bool last,
                                  struct nx_quic_stream **stream);

/* ---- the process ---- */

/* Version of the MsQuic in use, "2.5.1".  Opens it if need be. */
nexar_status nx_quic_version(char *text, size_t cap);

#endif
