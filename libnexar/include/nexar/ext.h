/** nexar/ext.h - for writers of transports: what a module gives, and what the library lends to it.
 *
 *  QUIC connects all ranks and carries everything.  A module offers another way for the bytes between two ranks: a
 *  socket, shared memory, a network card.  It carries *messages*, each a head that only the library understands and a
 *  payload, and hands them in at the other end by arrive_begin, arrive_write (or arrive_memory) and arrive_end, the
 *  same door by which those of QUIC come in: matching, order, limits and errors are the library's.  So is the choice:
 *  the best way that is ready is taken for each message, and QUIC when there is none, or when it refuses.
 *
 *  A module is a shared library that exports `nexar_module_v1` and links to nothing of ours; the environment variable
 *  NEXAR_MODULES lists paths of such files, separated by colons.  It is used between two ranks if both have it.
 *
 *  Life: `open` once per node; `attach` per connection, on both ends, when the job forms; the two halves agree by
 *  `tell` and `told`; each then says `ready`, or `unusable`.  `detach` when the connection ends, the way is lost, or
 *  the node closes; `close` last.
 *
 *  Threads: the library's *engine* is one thread at a time, which polls sockets and runs callbacks; see THREADS.md.
 *  Every function below is called on the engine and must not block, unless it says otherwise. */
#ifndef NEXAR_EXT_H
#define NEXAR_EXT_H

#include "nexar/comm.h"

#ifdef __cplusplus
extern "C" {
#endif

#define NEXAR_MODULE_ABI 1

/** Heads are at most so long. */
#define NEXAR_BULK_HEAD_MAX 80

/** How many messages of one link may have begun to arrive and not ended. */
#define NEXAR_BULK_OPEN_MAX 32

/** Longest text of one `tell`. */
#define NEXAR_TELL_MAX 3072

typedef struct nexar_node nexar_node;       /**< a rank of this process */
typedef struct nexar_link nexar_link;       /**< a connection to another rank, seen by one module */
typedef struct nexar_arrival nexar_arrival; /**< a message that has begun to arrive */
typedef struct nexar_watch nexar_watch;     /**< a descriptor, timer, job or poll function on the engine */

/* ---- sending ---- */

/** A message on its way out. */
typedef struct nexar_bulk_message {
    uint32_t size;
    uint32_t head_nbytes; /**< 1 to NEXAR_BULK_HEAD_MAX */
    const void *head;     /**< readable until send returns */
    const nexar_iov *iov; /**< the payload; the list is readable until send returns */
    uint32_t n;           /**< entries of iov; 0 for an empty payload */
    uint32_t must_copy;   /**< not 0: the payload, too, is readable only until send returns */
    uint64_t nbytes;      /**< of the payload, all entries */
} nexar_bulk_message;

/** The payload's memory is not needed any more (NEXAR_OK), or the link has failed before all of it was taken
 *  (NEXAR_EPEER).  Once per message for which send returned NEXAR_EAGAIN, on the engine. */
typedef void (*nexar_bulk_done)(void *arg, nexar_status status);

/** Properties of a way. */
typedef enum nexar_bulk_flags {
    NEXAR_BULK_TAGGED = 1, /**< it is offered the messages of all lanes; without, those of the raw lane alone */
    NEXAR_BULK_SURE = 2,   /**< it cannot fail while the peer lives: nothing is kept to be sent again */
} nexar_bulk_flags;

/** A way to one peer.  BulkTransport; with NEXAR_BULK_TAGGED, TaggedBulkTransport.  Const once it is given to `ready`,
 *  which puts it into the connection's extension slot of that name. */
typedef struct nexar_bulk_ops {
    uint32_t size;
    uint32_t flags;     /**< nexar_bulk_flags */
    uint64_t max_bytes; /**< longest payload; longer messages take another way.  0: any */
    /** Any thread, also several at once; never blocks.  Messages arrive in the order in which send took them.
     *  @returns NEXAR_OK: taken, and the payload's memory is free; `done` is not called.  NEXAR_EAGAIN: taken, `done`
     *  follows (never with must_copy).  Anything else: not taken, nothing of it arrives, and the library sends it
     *  another way. */
    nexar_status (*send)(void *self, const nexar_bulk_message *message, nexar_bulk_done done, void *arg);
    /** Any thread.  Bytes that were taken and have not left; the library stops to copy when there are many. */
    uint64_t (*backlog)(void *self);
} nexar_bulk_ops;

/* ---- what the library lends ---- */

/** Certificate, key and authority of this rank, and the name that the peer's certificate must have as its URI.  PEM,
 *  terminated; valid until the call that gave them returns to the engine. */
typedef struct nexar_tls_identity {
    uint32_t size;
    uint32_t reserved;
    const char *certificate;
    const char *key;
    const char *authority;
    const char *peer; /**< subjectAltName URI of the peer */
} nexar_tls_identity;

typedef struct nexar_host {
    uint32_t size;
    uint32_t reserved;

    /* -- who is who; any thread -- */
    uint32_t (*rank)(nexar_node *node);
    uint32_t (*world_size)(nexar_node *node);
    uint32_t (*link_rank)(nexar_link *link);
    /** Not 0 if that rank runs on this host, can share memory with this one, and offers to.  Engine; once a link is
     *  attached. */
    int (*near)(nexar_node *node, uint32_t rank);
    /** Addresses of the QUIC connection, "10.0.0.7:41234"; cut at `cap` bytes. */
    void (*link_addresses)(nexar_link *link, char *own, char *peer, size_t cap);
    /** The value of a setting that is a variable of the environment, "NEXAR_TCP_TLS"; NULL if it is not set. */
    const char *(*setting)(const char *variable);
    void (*log)(int level, const char *line);

    /* -- negotiation; engine -- */
    /** Sends at most NEXAR_TELL_MAX bytes to the module at the other end, authenticated, encrypted, in order. */
    nexar_status (*tell)(nexar_link *link, const void *bytes, size_t n);
    nexar_status (*tls_identity)(nexar_link *link, nexar_tls_identity *out);
    /** From now on messages may go this way; the peer can take them. */
    void (*ready)(nexar_link *link, const nexar_bulk_ops *ops, void *self);
    /** It will not be ready; `why` is told to the user if he has asked for this module by name. */
    void (*unusable)(nexar_link *link, const char *why);
    /** It was ready, and is broken: what has not arrived goes another way, `detach` follows. */
    void (*lost)(nexar_link *link, const char *why);
    /** The peer's process has ended, as far as this module can see: the library looks at once. */
    void (*suspect)(nexar_link *link, const char *why);

    /* -- messages that arrive; engine; with no lock held that `send` takes: what has arrived may lead to a send at once
     *    -- */
    /** A message begins.  `resume` is called, on the engine, when a call below that gave NEXAR_EAGAIN is worth
     *  repeating.  `alone` not 0: its payload waits at the sender, so it is not asked for before somebody receives it.
     *  @returns NEXAR_OK, with *out NULL if there is nothing more to do for it; NEXAR_EAGAIN: no room now, nothing has
     *  begun, `resume` follows, then begin it again; NEXAR_EPROTO (the head is none, or too many are open),
     *  NEXAR_ENOMEM: the link is of no use, say `lost`. */
    nexar_status (*arrive_begin)(nexar_link *link, const void *head, uint32_t head_nbytes, uint64_t nbytes, int alone,
                                 void (*resume)(void *arg), void *arg, nexar_arrival **out);
    /** All of a message that is here in one piece: begin, write and end in one, at the least cost.
     *  @returns as arrive_begin. */
    nexar_status (*arrive_whole)(nexar_link *link, const void *head, uint32_t head_nbytes, const void *payload,
                                 uint64_t nbytes, void (*resume)(void *arg), void *arg);
    /** Where the next bytes belong, if they can be put there directly: at most `*n` bytes, at `*p`, until
     *  arrive_filled, which must follow before anything else is done with this arrival.
     *  @returns NEXAR_OK; NEXAR_ENOTSUP: use arrive_write; NEXAR_EAGAIN: nobody receives it yet, `resume` follows when
     *  somebody does, or when there is no use in waiting (then NEXAR_ENOTSUP). */
    nexar_status (*arrive_memory)(nexar_arrival *arrival, void **p, uint64_t *n);
    /** `n` of the bytes are there.  Memory that was given may be written until this, and not after. */
    void (*arrive_filled)(nexar_arrival *arrival, uint64_t n);
    /** The next bytes, copied.  Fewer than `n` were taken with NEXAR_EAGAIN: the rest again when resumed.
     *  NEXAR_EPROTO, NEXAR_ENOMEM: as arrive_begin. */
    nexar_status (*arrive_write)(nexar_arrival *arrival, const void *bytes, size_t n, size_t *taken);
    /** All bytes have come.  Not called for those that are open when the link is lost or detached. */
    void (*arrive_end)(nexar_arrival *arrival);

    /* -- the engine -- */
    /** Engine.  Calls `ready` when epoll reports one of `events` (EPOLLIN, ...; level triggered). */
    nexar_status (*watch_fd)(nexar_node *node, int fd, uint32_t events, void (*ready)(void *arg, uint32_t events),
                             void *arg, nexar_watch **out);
    nexar_status (*watch_change)(nexar_watch *watch, uint32_t events);
    /** Engine.  Calls `poll` on each turn of the engine, also while a blocked thread spins: it must be quick.  It
     *  returns not 0 if it has done something. */
    nexar_status (*watch_poll)(nexar_node *node, int (*poll)(void *arg), void *arg, nexar_watch **out);
    /** Engine.  A timer, not set. */
    nexar_status (*watch_timer)(nexar_node *node, void (*fire)(void *arg), void *arg, nexar_watch **out);
    void (*timer_set)(nexar_watch *timer, int64_t nanoseconds_from_now);
    /** Engine.  A job, not posted. */
    nexar_status (*watch_job)(nexar_node *node, void (*run)(void *arg), void *arg, nexar_watch **out);
    /** Any thread: runs it on the engine, soon, once. */
    void (*job_post)(nexar_watch *job);
    /** Engine.  Its function is not called any more.  NULL is legal.  Does not close the descriptor. */
    void (*unwatch)(nexar_watch *watch);
} nexar_host;

/* ---- what a module gives ---- */

typedef enum nexar_module_flags {
    NEXAR_MODULE_NEAR = 1, /**< for ranks of one host; without, `auto` takes it for ranks of different hosts */
} nexar_module_flags;

typedef struct nexar_module {
    uint32_t size;
    uint32_t abi;   /**< NEXAR_MODULE_ABI */
    uint32_t flags; /**< nexar_module_flags */
    uint32_t reserved;
    const char *name; /**< "tcp": in NEXAR_TRANSPORTS, in stats; letters, digits and _, at most 15 */
    /** A node begins.  NEXAR_ENOTSUP: it cannot be used here (no such device); nexar_host.log may say why. */
    nexar_status (*open)(const nexar_host *host, nexar_node *node, void **self);
    /** A connection is there, and the other end has this module, too. */
    nexar_status (*attach)(void *self, nexar_link *link, void **half);
    void (*told)(void *half, const void *bytes, size_t n);
    /** Nothing of this link may be used after it returns.  Messages of which not all has left: `done` with NEXAR_EPEER.
     *  Those that were arriving are the library's.  `orderly` not 0: the peer has everything that was sent. */
    void (*detach)(void *half, int orderly);
    /** After the last detach. */
    void (*close)(void *self);
} nexar_module;

/** What a module's file exports. */
NEXAR_API extern const nexar_module nexar_module_v1;

#ifdef __cplusplus
}
#endif

#endif
