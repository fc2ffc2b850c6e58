/* quic/internal.h - what the files of quic/ share: the API table and the objects behind the handles. */
#ifndef NX_QUIC_INTERNAL_H
#define NX_QUIC_INTERNAL_H

#include "base/engine.h"
#include "quic/quic.h"

#define QUIC_API_ENABLE_PREVIEW_FEATURES 1 /* custom execution */
#include <msquic.h>
#include <stdatomic.h>

struct nx_quic_config {
    HQUIC handle;
    nx_time silence; /* after which a peer is lost; 0: nobody listens for it */
};

struct nx_quic_silence {
    nx_time limit;
    struct nx_timer look;
    uint64_t packets; /* that had come at the last look */
    uint32_t looks;   /* since something came */
    bool suspect;     /* since the last look that found something; that one does not count for the peer */
};

struct nx_quic_conn {
    /* const after init */
    HQUIC handle;
    const struct nx_quic_conn_events *events;
    void *arg;
    struct sockaddr_storage remote;
    /* atomic */
    _Atomic uint32_t refs;
    _Atomic uint32_t users; /* threads inside MsQuic with one of our handles; CLOSING once no more may enter */
    /* lock */
    struct nx_mutex lock;
    struct nx_list resume; /* streams to go on with */
    struct nx_list unsent; /* streams that could not be started: to be closed */
    /* engine */
    struct nx_task task, close_task;
    struct nx_list
        opened; /* persistent streams of our own: closed with the connection, freed with its last reference */
    struct nx_list finished; /* streams that have shut down and wait to be closed in a batch */
    uint32_t finished_count;
    struct nx_timer sweep; /* closes an incomplete batch */
    struct nx_quic_silence silence;
    nexar_status end_status;
    uint64_t end_code;
    char end_why[96];
};

struct nx_quic_stream {
    HQUIC handle;
    struct nx_quic_conn *conn; /* a reference, unless it is persistent */
    const struct nx_quic_stream_events *events;
    void *arg;
    struct nx_list link;        /* opened or finished */
    struct nx_list resume_link; /* conn->lock */
    bool persistent, ended;
};

static inline size_t nx_quic_address_size(const struct sockaddr *address)
{
    return address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

/* Opens MsQuic, the registration and the execution, once per process. */
nexar_status nx_quic_open(void);
const QUIC_API_TABLE *nx_quic_api(void);
HQUIC nx_quic_registration(void);

/* An MsQuic status in words. */
nexar_status nx_quic_fail(QUIC_STATUS status, const char *what);
const char *nx_quic_status_text(QUIC_STATUS status);

/* Wraps a handle that a listener got. */
nexar_status nx_quic_conn_wrap(HQUIC handle, const struct sockaddr *remote, struct nx_quic_conn **conn);
/* Ends a connection that MsQuic will close by itself, without further events. */
void nx_quic_conn_lost(struct nx_quic_conn *conn, QUIC_STATUS status);
QUIC_STATUS nx_quic_conn_callback(HQUIC handle, void *context, QUIC_CONNECTION_EVENT *event);

void nx_quic_silence_init(struct nx_quic_silence *silence);
/* Engine: with the limit set; until the end. */
void nx_quic_silence_end(struct nx_quic_conn *conn);

/* Keeps handles of the connection from being closed while a thread uses them. */
bool nx_quic_enter(struct nx_quic_conn *conn);
void nx_quic_leave(struct nx_quic_conn *conn);

struct nx_quic_stream *nx_quic_stream_wrap(struct nx_quic_conn *conn);
/* With its reference to the connection; without. */
void nx_quic_stream_free(struct nx_quic_stream *stream);
void nx_quic_stream_put(struct nx_quic_stream *stream);
QUIC_STATUS nx_quic_stream_callback(HQUIC handle, void *context, QUIC_STREAM_EVENT *event);
/* Engine: StreamClose for all that have finished. */
void nx_quic_sweep(struct nx_quic_conn *conn);
/* Engine: a stream of which nothing more will come. */
void nx_quic_finished(struct nx_quic_stream *stream);
/* Engine: what other threads left to be done with streams. */
void nx_quic_run_posted(struct nx_quic_conn *conn);
/* Any thread: has it done soon. */
void nx_quic_post(struct nx_quic_conn *conn);

#endif
