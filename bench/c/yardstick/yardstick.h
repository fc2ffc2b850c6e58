/* yardstick.h - nexar-yardstick: what one pair of processes does, and how MsQuic is set up for it. */
#ifndef YARDSTICK_H
#define YARDSTICK_H

#include "result.h"

#define QUIC_API_ENABLE_PREVIEW_FEATURES 1 /* where threads run, custom execution */
#include <msquic.h>
#include <semaphore.h>

/* Which is best depends on the machine and what else it does: all are measured. */
struct scheme {
    bool caller;      /* custom execution, polled without a pause by the main thread; else MsQuic's own worker */
    bool pin;         /* that thread stays on the core of its process's number */
    uint32_t poll_us; /* how long MsQuic's worker polls before it sleeps */
    bool each;        /* a stream for each message; else one for all */
    bool drop;        /* messages are counted, not copied to the receiver's memory */
};

enum work { PING_PONG, STREAM };

struct task {
    struct scheme scheme;
    enum work work;
    size_t nbytes;
    size_t burst;  /* messages of STREAM that are answered together */
    size_t window; /* messages under way at most */
    double seconds;
};

/* Room for a message. */
struct slot {
    QUIC_BUFFER buffer;
    uint8_t *bytes;
    struct slot *next;
};

/* A stream that the other process sends on. */
struct inbound {
    struct end *end;
    struct slot *slot; /* where the message goes */
    size_t at;         /* bytes of it that have come */
    struct inbound *next;
};

#define CLOSED_TOGETHER 64

/* One of the two processes.  All of it belongs to MsQuic's thread, once there is a connection. */
struct end {
    const struct task *task;
    bool server;
    const QUIC_API_TABLE *quic;
    QUIC_EXECUTION *execution;
    int epoll;
    HQUIC registration, configuration, connection;
    HQUIC out; /* where the next message goes */

    size_t in_nbytes, out_nbytes; /* of a message */
    struct slot *free_out;
    struct slot *free_in;
    struct inbound *inbounds; /* free */
    HQUIC closing[CLOSED_TOGETHER];
    size_t closings;

    uint64_t sent, received; /* messages */
    size_t to_send;          /* of this round */
    uint64_t began, warm, over;
    double *us; /* times that were measured: n */
    size_t n;
    uint64_t wrong;
    _Atomic bool done;
    sem_t done_sem;
};

/* PKCS#12 of a self-signed P-256 certificate; the caller frees it.  NULL if OpenSSL fails. */
uint8_t *make_identity(uint32_t *nbytes);

/* MsQuic with the threads of the scheme, and the server's certificate. */
void open_quic(struct end *end);
/* The server's port. */
uint16_t listen_quic(struct end *end);
void connect_quic(struct end *end, uint16_t port);
/* Until `done`. */
void run_quic(struct end *end);

/* Memory; before open_quic. */
void work_open(struct end *end);
/* There is a connection. */
void work_begin(struct end *end);
/* The other process has opened a stream. */
void work_accept(struct end *end, HQUIC stream);

/* Ends the process. */
_Noreturn void die(const char *what, QUIC_STATUS status);

#endif
