/* bulk/tcp.h - the TCP transport's own state, and what its files offer each other.
 *
 * tcp.c: the module.  tcp_half.c: one link's end, agreement, failure.  tcp_listen.c: where it can be dialled.
 * tcp_dial.c, tcp_hello.c: from an address to a hello, at both ends.  tcp_send.c, tcp_recv.c: messages.
 * tcp_sock.c: bytes.
 *
 * Owner: the engine, but for what is under a half's lock, which senders take on any thread. */
#ifndef NX_BULK_TCP_H
#define NX_BULK_TCP_H

#include "nexar/ext.h"
#include "nexar/stats.h"

#include "base/clock.h"
#include "base/list.h"
#include "base/status.h"
#include "base/thread.h"
#include "bulk/tcp_frame.h"
#include "bulk/tcp_tls.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum {
    NX_TCP_IN = 64 << 10,  /* plain bytes read, not yet looked at */
    NX_TCP_OUT = 32 << 10, /* small frames gathered */
    NX_TCP_SMALL = 4096,   /* payloads up to this are gathered */
    NX_TCP_ENDS = 160,     /* text: both ends of a connection */
    NX_TCP_WHY = 256,
};

enum nx_tcp_stage {
    NX_TCP_CONNECTS,
    NX_TCP_KNOCKS, /* accepted: its preamble is awaited */
    NX_TCP_SHAKES, /* TLS */
    NX_TCP_GREETS, /* its hello is awaited */
    NX_TCP_RUNS,
    NX_TCP_LINGERS, /* we have said CLOSE; its end is awaited */
};

struct nx_tcp;
struct nx_tcp_half;

/* A message that send took and could not give away at once. */
struct nx_tcp_message {
    struct nx_list link;  /* half->queue, or half->finished */
    nexar_bulk_done done; /* NULL: the payload is a copy */
    void *arg;
    uint32_t seq, head_nbytes;
    uint8_t head[NEXAR_BULK_HEAD_MAX];
    uint64_t total;
    uint64_t begun; /* bytes that connections have taken upon them */
    uint64_t left;  /* bytes that have not left */
    uint32_t i;     /* where `begun` is in iov */
    size_t at;
    bool large;                                                /* not of the slab */
    enum { NX_TCP_OTHERS, NX_TCP_MINE, NX_TCP_MINE_LEFT } own; /* of the thread that is in send, which looks at it */
    nexar_iov *iov;
    uint32_t iov_count;
    nexar_iov few[4];
};

/* One connection. */
struct nx_tcp_sock {
    struct nx_list link; /* self->strangers, half->tries, or self->ending */
    struct nx_tcp *self;
    struct nx_tcp_half *half; /* NULL: not known yet, or detached */
    /* engine */
    int fd;
    enum nx_tcp_stage stage;
    uint8_t stream;
    bool dialled;
    nexar_watch *watch;
    uint32_t events;
    nx_time deadline;
    uint8_t hello[NX_TCP_FRAME_MAX];
    size_t hello_at;
    uint8_t *in;
    size_t in_at, in_end;
    bool later;    /* what it has is not its turn */
    bool closed;   /* the peer has said CLOSE */
    bool large;    /* its last message was */
    bool in_frame; /* and `frame_left` bytes of its payload are to come */
    struct nx_tcp_frame frame;
    uint64_t frame_left;
    char ends[NX_TCP_ENDS];
    /* the half's lock, once it runs */
    struct nx_tls *tls;
    uint8_t *out;
    size_t out_at, out_end;
    bool full;                      /* the kernel takes no more: EPOLLOUT tells */
    struct nx_tcp_message *message; /* whose piece follows `out` */
    uint64_t piece_left;
    uint32_t i;
    size_t at;
};

/* One end of a link. */
struct nx_tcp_half {
    struct nx_list link; /* self->halves */
    struct nx_tcp *self;
    nexar_link *host_link;
    /* engine */
    bool acceptor, wished, ready, detached, orderly, suspect;
    uint32_t depth;            /* functions of it on the stack */
    uint8_t streams;           /* both ends' */
    uint8_t running;           /* connections */
    struct nx_tcp_words offer; /* ours, or the peer's */
    nx_time offer_until, deadline;
    char peer_name[128];  /* in its certificate */
    bool spread;          /* connection i dials address i of the offer: the first attempt, if there are several */
    uint8_t address;      /* that all of them dial, else */
    uint8_t attempt;      /* counts them */
    struct nx_list tries; /* connections that do not run yet */
    nexar_watch *job;
    bool stalled; /* the host says not now */
    bool moved;   /* `flow` has, which other connections may wait for */
    struct nx_tcp_flow flow;
    nexar_arrival *arrival;
    bool dropped; /* the message that arrives is of no use: its bytes are skipped */
    char why[NX_TCP_WHY];
    nexar_bulk_ops ops;
    /* const once it is ready */
    struct nx_tcp_sock *sock[NX_TCP_STREAMS_MAX];
    /* any thread */
    _Atomic bool failed; /* `why` is written; nothing is taken any more */
    _Atomic uint64_t backlog;
    /* lock */
    struct nx_mutex lock;
    uint32_t seq;
    struct nx_list queue, finished;
    bool shut;   /* no more sends: the peer has closed */
    bool broken; /* a send failed; `broken_why`.  The job says so */
    char broken_why[NX_TCP_WHY];
};

/* Of a node. */
struct nx_tcp {
    const nexar_host *host;
    nexar_node *node;
    /* const after open */
    bool tls;
    uint8_t streams;
    /* engine */
    struct nx_tls_context *context;
    nexar_watch *timer, *poll;
    nx_time looked; /* for dead connections */
    nx_time due;    /* when the timer was to fire */
    bool timer_on;
    uint32_t socks; /* that run */
    uint32_t rest;  /* calls of the poll that do nothing */
    struct nx_list listeners, strangers, halves, ending;
    struct nx_list *next_half; /* of the walk that goes on; whatever is called on the way may end any of them */
    uint32_t stranger_count;
    uint8_t *known; /* a bit per rank with which a link was ready once */
};

/* ---- tcp.c ---- */

/* Something has a deadline. */
void nx_tcp_wake_timer(struct nx_tcp *self);
void nx_tcp_log(struct nx_tcp *self, int level, const char *format, ...) NX_PRINTF(3, 4);

/* ---- tcp_half.c ---- */

/* Engine, around what may lead to a detach: it is taken down when nobody has it on the stack any more.  `detached`
 * is to be looked at after each call of the host. */
void nx_tcp_enter(struct nx_tcp_half *half);
void nx_tcp_leave(struct nx_tcp_half *half);
/* It is of no use any more; the host hears of it soon, by the job.  `sock`, which may be NULL, is the one to blame. */
void nx_tcp_fail(struct nx_tcp_half *half, const struct nx_tcp_sock *sock, bool suspect, const char *why);
/* All connections run. */
void nx_tcp_agreed(struct nx_tcp_half *half);
nexar_status nx_tcp_half_new(struct nx_tcp *self, nexar_link *link, struct nx_tcp_half **out);
/* Once a second: ends it if the kernel says that the peer is gone. */
void nx_tcp_look(struct nx_tcp_half *half);
/* Past its deadline, or a connection of it. */
void nx_tcp_expire(struct nx_tcp_half *half, nx_time now);
void nx_tcp_told(void *half, const void *bytes, size_t n);
void nx_tcp_detach(void *half, int orderly);

/* ---- tcp_listen.c ---- */

/* Adds addresses to the offer at which this node can be dialled for this link. */
nexar_status nx_tcp_listen(struct nx_tcp_half *half);
bool nx_tcp_interface_listed(const char *list, const char *name);
void nx_tcp_listen_end(struct nx_tcp *self);
/* "10.0.0.7:41234", "[::1]:41234". */
bool nx_tcp_address_parse(const char *text, struct sockaddr_storage *out, socklen_t *size);
bool nx_tcp_same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b);
void nx_tcp_address_text(const struct sockaddr_storage *address, char *text, size_t cap);

/* ---- tcp_dial.c ---- */

/* Dials all streams: each at another address of the offer, then all at the first that works. */
void nx_tcp_dial(struct nx_tcp_half *half);
/* A connection that does not run yet has something. */
void nx_tcp_sock_step(struct nx_tcp_sock *sock);
/* A connection that was accepted. */
void nx_tcp_knock(struct nx_tcp *self, int fd);
/* What is past its deadline ends. */
void nx_tcp_tries_expire(struct nx_tcp_half *half, nx_time now);
void nx_tcp_strangers_expire(struct nx_tcp *self, nx_time now);

/* ---- tcp_hello.c ---- */

nexar_status nx_tcp_hello_say(struct nx_tcp_sock *sock);
/* Of the frame in sock->hello; NEXAR_OK: it is the rank that it should be, and its connection is wanted. */
nexar_status nx_tcp_hello_judge(const struct nx_tcp_sock *sock);
/* Connections of an attempt that has not led to a link. */
void nx_tcp_drop_running(struct nx_tcp_half *half);

/* ---- tcp_sock.c: bytes; the record step is here and in tcp_tls.c alone ---- */

struct nx_tcp_sock *nx_tcp_sock_new(struct nx_tcp *self, int fd, enum nx_tcp_stage stage);
/* Both ends are on this host, where there is no network to be fair to: its congestion control is the simplest one,
 * which does not pace what is sent. */
void nx_tcp_sock_stay_within(struct nx_tcp_sock *sock);
/* Closes it, wherever it is. */
void nx_tcp_sock_free(struct nx_tcp_sock *sock);
/* Engine.  Watches for these events. */
bool nx_tcp_sock_watch(struct nx_tcp_sock *sock, uint32_t events);
void nx_tcp_sock_ready(void *sock, uint32_t events);
/* With the lock.  Bytes put to `p`, then, if `p` is full, to `more`; fewer: no more are here.  0: none now; -1: the end
 * or an error, with a sentence. */
ssize_t nx_tcp_sock_read(struct nx_tcp_sock *sock, void *p, size_t n, void *more, size_t more_n);
/* With the lock.  Bytes taken of a list of `n` entries; 0: not before what was taken has left; -1 with a sentence. */
ssize_t nx_tcp_sock_write(struct nx_tcp_sock *sock, const struct iovec *iov, int n);
/* With the lock.  1: all that was taken has left. */
int nx_tcp_sock_flush(struct nx_tcp_sock *sock);
/* Whether its process or the way to it is gone, as the kernel sees it. */
bool nx_tcp_sock_is_dead(const struct nx_tcp_sock *sock);
void nx_tcp_sock_linger(struct nx_tcp_sock *sock);

/* ---- tcp_send.c ---- */

nexar_status nx_tcp_send(void *half, const nexar_bulk_message *m, nexar_bulk_done done, void *arg);
uint64_t nx_tcp_backlog(void *half);
/* Engine: sends what can be sent and calls `done` of what has left. */
void nx_tcp_pump(struct nx_tcp_half *half);
/* Frees what is queued without calling anybody. */
void nx_tcp_send_drop(struct nx_tcp_half *half);

/* ---- tcp_recv.c ---- */

/* Engine: reads and hands in what is here.  True if there was something. */
bool nx_tcp_receive(struct nx_tcp_sock *sock);
/* The same for all of a link's connections, of which some may have waited for their turn. */
bool nx_tcp_receive_all(struct nx_tcp_half *half);
void nx_tcp_set_events(struct nx_tcp_sock *sock);

#endif
