/* rdma.h - the RDMA module: what its files share.  It is written against nexar/ext.h and infiniband/verbs.h alone.
 *
 * Between two ranks: one reliable connected queue pair, frames of at most 8 KiB into buffers that wait at the peer, and
 * RDMA READ for what is longer.  Owner of everything that no other is named for: the engine. */
#ifndef NX_RDMA_H
#define NX_RDMA_H

#include <infiniband/verbs.h>
#include <nexar/ext.h>
#include <nexar/stats.h>

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* These are the protocol: what the two ends must have in common goes with NX_RDMA_VERSION. */
enum {
    NX_RDMA_VERSION = 1,
    NX_RDMA_SLOT = 8192,  /* bytes of a frame */
    NX_RDMA_CREDITS = 32, /* frames with messages that may be under way, or unread at the peer */
    NX_RDMA_ACKS = 8,     /* frames without, beside these */
    NX_RDMA_SLOTS = NX_RDMA_CREDITS + NX_RDMA_ACKS,
    NX_RDMA_PIECES = 16, /* of the sender's memory, for one message */
    NX_RDMA_PLACES = 16, /* ports and GIDs that one end offers */
};

enum {
    NX_RDMA_READS = 8,            /* under way */
    NX_RDMA_READ_MAX = 1 << 20,   /* bytes of one, and of one registration */
    NX_RDMA_BOUNCE = 32 << 10,    /* bytes of one that goes through our memory */
    NX_RDMA_CLAIM_MAX = 16 << 20, /* bytes that are asked of the host at once */
    NX_RDMA_OPEN = 16,            /* messages that are being read */
    NX_RDMA_DEVICES = 16,
    NX_RDMA_POLLED = 16, /* links that are looked at in each turn; of more, the completion channel says which */
    NX_RDMA_WHY = 200,
};

_Static_assert((int)NX_RDMA_OPEN < (int)NEXAR_BULK_OPEN_MAX, "more messages open than the library allows");

/* ---- verbs.c ---- */

/* The functions of libibverbs that are used, without ibv_.  Others (ibv_post_send, ...) are inline. */
#define NX_VERBS(X)                                                                                   \
    X(struct ibv_device **, get_device_list, (int *count))                                            \
    X(void, free_device_list, (struct ibv_device * *list))                                            \
    X(const char *, get_device_name, (struct ibv_device * device))                                    \
    X(struct ibv_context *, open_device, (struct ibv_device * device))                                \
    X(int, close_device, (struct ibv_context * context))                                              \
    X(int, query_device, (struct ibv_context * context, struct ibv_device_attr * out))                \
    X(struct ibv_pd *, alloc_pd, (struct ibv_context * context))                                      \
    X(int, dealloc_pd, (struct ibv_pd * pd))                                                          \
    X(struct ibv_mr *, reg_mr, (struct ibv_pd * pd, void *at, size_t n, int access))                  \
    X(int, dereg_mr, (struct ibv_mr * mr))                                                            \
    X(struct ibv_comp_channel *, create_comp_channel, (struct ibv_context * context))                 \
    X(int, destroy_comp_channel, (struct ibv_comp_channel * channel))                                 \
    X(struct ibv_cq *, create_cq,                                                                     \
      (struct ibv_context * context, int n, void *arg, struct ibv_comp_channel *channel, int vector)) \
    X(int, destroy_cq, (struct ibv_cq * cq))                                                          \
    X(int, get_cq_event, (struct ibv_comp_channel * channel, struct ibv_cq * *cq, void **arg))        \
    X(void, ack_cq_events, (struct ibv_cq * cq, unsigned int n))                                      \
    X(struct ibv_qp *, create_qp, (struct ibv_pd * pd, struct ibv_qp_init_attr * attr))               \
    X(int, modify_qp, (struct ibv_qp * qp, struct ibv_qp_attr * attr, int mask))                      \
    X(int, destroy_qp, (struct ibv_qp * qp))                                                          \
    X(int, get_async_event, (struct ibv_context * context, struct ibv_async_event * event))           \
    X(void, ack_async_event, (struct ibv_async_event * event))                                        \
    X(const char *, wc_status_str, (enum ibv_wc_status status))                                       \
    X(const char *, event_type_str, (enum ibv_event_type type))

struct nx_verbs {
#define NX_VERB(type, name, arguments) type(*name) arguments;
    NX_VERBS(NX_VERB)
#undef NX_VERB
    int (*query_port)(struct ibv_context *context, uint8_t port, struct ibv_port_attr *out);
    ssize_t (*query_gid_table)(struct ibv_context *context, struct ibv_gid_entry *out, size_t max, uint32_t flags,
                               size_t entry_size);
};

/* Loads `path`, or libibverbs.so.1 if it is NULL, at the first call of the process.  NULL: `why` says why not. */
const struct nx_verbs *nx_verbs_load(const char *path, char *why, size_t cap);
int nx_verbs_port(const struct nx_verbs *v, struct ibv_context *context, uint8_t port, struct ibv_port_attr *out);

/* ---- a node, and its devices ---- */

struct nx_rdma_device {
    struct nx_rdma *self;
    struct ibv_context *context;
    struct ibv_pd *pd;
    struct ibv_comp_channel *channel;
    struct ibv_device_attr attr;
    nexar_watch *completions, *events;
    const char *name;
    bool dead;
};

struct nx_rdma {
    const nexar_host *host;
    nexar_node *node;
    const struct nx_verbs *v;
    struct nx_rdma_device device[NX_RDMA_DEVICES];
    uint32_t devices;
    struct nx_rdma_half *halves, *next_half; /* the one after that which is looked at */
    uint32_t connected;                      /* of these: their cards talk */
    nexar_watch *poll;
    uint8_t *known; /* a bit per rank with which it has worked */
    /* settings; const after open.  -1, or 0, or NULL: not set */
    const char *want_device;
    int want_port, want_gid, want_mtu;
};

/* ---- negotiate.c ---- */

enum nx_rdma_kind { NX_RDMA_IB = 1, NX_RDMA_ROCE_V1 = 2, NX_RDMA_ROCE_V2 = 3 };

/* A GID of a port of a device. */
struct nx_rdma_place {
    uint8_t kind;
    uint8_t routed; /* its address is that of the QUIC connection */
    uint8_t mtu;    /* enum ibv_mtu */
    uint8_t reads;  /* that it serves at once */
    uint16_t lid;
    uint8_t gid[16];
    /* of our own */
    uint8_t device, port;
    uint16_t index;
    uint32_t max_message;
};

enum nx_rdma_word { NX_RDMA_WORD_PLACES = 1, NX_RDMA_WORD_PAIR = 2, NX_RDMA_WORD_UP = 3 };

/* What the two ends tell each other. */
struct nx_rdma_words {
    uint8_t word;
    uint8_t count;     /* PLACES */
    uint32_t qpn, psn; /* PAIR */
    struct nx_rdma_place place[NX_RDMA_PLACES];
};

enum { NX_RDMA_WORDS_MAX = 4 + NX_RDMA_PLACES * 24 };
_Static_assert((int)NX_RDMA_WORDS_MAX <= (int)NEXAR_TELL_MAX, "too many places for one word");

/* The places that can be used now. */
uint32_t nx_rdma_places(struct nx_rdma *self, nexar_link *link, struct nx_rdma_place *out);
/* The best pair of places: both ends come to the same.  false: none reaches any. */
bool nx_rdma_choose(const struct nx_rdma_place *low, uint32_t lows, const struct nx_rdma_place *high, uint32_t highs,
                    uint32_t *i, uint32_t *j);
size_t nx_rdma_words_write(uint8_t *out, const struct nx_rdma_words *words);
/* false: they make no sense. */
bool nx_rdma_words_read(const uint8_t *bytes, size_t n, struct nx_rdma_words *out);

/* ---- one end of a link ---- */

/* A message on its way out. */
struct nx_rdma_out {
    struct nx_rdma_out *next;
    nexar_bulk_done done; /* NULL: nobody waits */
    void *arg;
    uint64_t nbytes;
    bool large;
    uint8_t head_nbytes, n;
    uint8_t head[NEXAR_BULK_HEAD_MAX];
    nexar_iov iov[NX_RDMA_PIECES];
    struct ibv_mr *mr[NX_RDMA_PIECES]; /* large */
    uint8_t own[];                     /* the payload, if it was copied */
};

struct nx_rdma_list {
    struct nx_rdma_out *first, **last;
};

/* Memory of the peer's. */
struct nx_rdma_piece {
    uint64_t at, nbytes;
    uint32_t rkey, zero;
};

/* A message that is read from the peer's memory. */
struct nx_rdma_large {
    struct nx_rdma_half *half;
    nexar_arrival *arrival; /* NULL: nobody needs the bytes */
    bool begun;             /* the host has said so */
    bool held;              /* the host says when to go on */
    bool no_memory;         /* its receive's memory cannot be registered */
    uint64_t nbytes, asked, arrived;
    uint32_t n, i;  /* pieces, and the next to be read ... */
    uint64_t at;    /* ... from there */
    uint8_t *claim; /* memory of the host's, or NULL */
    uint64_t claim_nbytes, claim_asked, claim_read;
    struct nx_rdma_piece piece[NX_RDMA_PIECES];
};

struct nx_rdma_read {
    struct nx_rdma_large *large;
    struct ibv_mr *mr; /* NULL: into the bounce buffer of that number */
    uint32_t nbytes, written;
    bool complete;
};

/* Bytes of one end's memory: frames that come in, frames that go out, bounce buffers; registered once. */
enum {
    NX_RDMA_OUT_AT = NX_RDMA_SLOTS * NX_RDMA_SLOT,
    NX_RDMA_BOUNCE_AT = 2 * NX_RDMA_OUT_AT,
    NX_RDMA_MEMORY = NX_RDMA_BOUNCE_AT + NX_RDMA_READS * NX_RDMA_BOUNCE,
};

enum nx_rdma_stage { NX_RDMA_OFFERS, NX_RDMA_PAIRS, NX_RDMA_PROVES, NX_RDMA_READY };

struct nx_rdma_half {
    struct nx_rdma *self;
    nexar_link *host_link;
    struct nx_rdma_half *next, **prev;
    nexar_watch *job, *timer;
    uint32_t depth; /* of calls that are in it; it is freed by the last */
    bool detached, busy, again;
    /* negotiation */
    enum nx_rdma_stage stage;
    bool told_up; /* the peer can take frames */
    bool up;      /* and so can this end */
    struct nx_rdma_place place[NX_RDMA_PLACES], mine, theirs;
    uint32_t places;
    uint32_t psn;
    /* the queue pair; const once it is ready */
    struct nx_rdma_device *device;
    struct ibv_cq *cq;
    struct ibv_qp *qp;
    uint8_t *memory;
    struct ibv_mr *memory_mr;
    uint32_t read_max;
    nexar_bulk_ops ops;
    /* frames that have come and wait: slots, in their order */
    bool stalled; /* the host says when to go on */
    struct {
        uint32_t slot, nbytes;
    } in[NX_RDMA_CREDITS];
    uint32_t in_first, in_count;
    uint32_t eaten, acks_eaten, finished; /* frames with messages, without; messages that were read: since it began */
    /* messages that are read */
    struct nx_rdma_large large[NX_RDMA_OPEN];
    uint32_t large_first, large_count;
    struct nx_rdma_read read[NX_RDMA_READS];
    uint32_t read_first, read_count;
    /* atomic */
    _Atomic bool failing, failed;
    _Atomic uint64_t backlog;
    char why[NX_RDMA_WHY]; /* const once it has failed */
    bool suspect;
    /* lock */
    pthread_mutex_t lock;
    struct nx_rdma_list queue, announced, done;
    uint32_t slot, slots_used;                             /* the next to be written; those that the card reads */
    uint32_t sent, sent_eaten, acks_sent, acks_sent_eaten; /* of ours: posted, and what the peer has said of them */
    uint32_t announces, announces_finished;                /* likewise */
    uint32_t said_eaten, said_acks_eaten, said_finished;   /* of the peer's: what it knows */
    uint32_t news_eaten, news_acks_eaten, news_finished;   /* what it shall know */
};

/* half.c */
nexar_status nx_rdma_attach(void *self, nexar_link *link, void **half);
void nx_rdma_told(void *half, const void *bytes, size_t n);
void nx_rdma_detach(void *half, int orderly);
/* Any thread.  It is of no use any more; the host is told soon. */
void nx_rdma_fail(struct nx_rdma_half *h, bool suspect, const char *format, ...) __attribute__((format(printf, 3, 4)));
void nx_rdma_enter(struct nx_rdma_half *h);
void nx_rdma_leave(struct nx_rdma_half *h);
void nx_rdma_log(struct nx_rdma *self, int level, const char *format, ...) __attribute__((format(printf, 3, 4)));

static inline bool nx_rdma_over(const struct nx_rdma_half *h)
{
    return h->detached || atomic_load_explicit(&h->failed, memory_order_relaxed);
}

/* wr_id: what it was, in the upper half, and which. */
enum { NX_RDMA_ID_RECV = 1, NX_RDMA_ID_SEND = 2, NX_RDMA_ID_READ = 3 };

/* A frame has come over the cards: messages may follow. */
void nx_rdma_proven(struct nx_rdma_half *h);

/* qp.c.  false: it has failed, and said so. */
bool nx_rdma_pair_new(struct nx_rdma_half *h);
bool nx_rdma_pair_connect(struct nx_rdma_half *h, uint32_t qpn, uint32_t psn);
/* The card touches no memory of this end any more. */
void nx_rdma_pair_free(struct nx_rdma_half *h);
bool nx_rdma_post_recv(struct nx_rdma_half *h, uint32_t slot);
bool nx_rdma_post_send(struct nx_rdma_half *h, uint32_t slot, uint32_t nbytes);
bool nx_rdma_post_read(struct nx_rdma_half *h, uint32_t number, void *to, uint32_t lkey, uint32_t nbytes, uint64_t from,
                       uint32_t rkey);

/* send.c */
nexar_status nx_rdma_send(void *half, const nexar_bulk_message *m, nexar_bulk_done done, void *arg);
uint64_t nx_rdma_backlog(void *half);
/* Sends a frame without a message. */
void nx_rdma_prove(struct nx_rdma_half *h);
/* What the peer said of our frames: false if it cannot be. */
bool nx_rdma_heard(struct nx_rdma_half *h, uint32_t eaten, uint32_t acks_eaten, uint32_t finished);
void nx_rdma_left(struct nx_rdma_half *h); /* the card has read a frame of ours */
/* Sends what waits, and the news; ends what is done. */
void nx_rdma_flush(struct nx_rdma_half *h);
void nx_rdma_send_drop(struct nx_rdma_half *h);

/* recv.c */
bool nx_rdma_progress(struct nx_rdma_half *h);

/* large.c */
/* An announcement, of `n` bytes after its header; as nexar_host.arrive_begin. */
nexar_status nx_rdma_large_begin(struct nx_rdma_half *h, const uint8_t *head, uint32_t head_nbytes, uint32_t pieces,
                                 uint64_t nbytes);
void nx_rdma_read_done(struct nx_rdma_half *h, uint32_t number);
/* Reads and hands in what can be. */
void nx_rdma_large_work(struct nx_rdma_half *h);
void nx_rdma_large_drop(struct nx_rdma_half *h);

/* mr.c */
struct nx_rdma_out *nx_rdma_out_new(struct nx_rdma_half *h, const nexar_bulk_message *m, nexar_bulk_done done,
                                    void *arg, bool large);
void nx_rdma_out_free(struct nx_rdma_half *h, struct nx_rdma_out *out);
/* The host's memory, for one read; NULL if it cannot be had. */
struct ibv_mr *nx_rdma_register(struct nx_rdma_half *h, void *at, size_t nbytes, int access);
void nx_rdma_deregister(struct nx_rdma_half *h, struct ibv_mr *mr);

/* ---- frames ---- */

enum { NX_RDMA_MESSAGE = 1, NX_RDMA_ANNOUNCE = 2, NX_RDMA_ACK = 3 };

/* Little endian.  Then the head; then the payload, or `pieces` of struct nx_rdma_piece. */
struct nx_rdma_frame {
    uint8_t kind;
    uint8_t head_nbytes;
    uint16_t pieces;
    uint32_t eaten, acks_eaten, finished; /* of the other direction, since it began */
    uint64_t nbytes;                      /* of the payload */
};

_Static_assert(sizeof(struct nx_rdma_frame) == 24, "the frame's header is part of the protocol");
_Static_assert(sizeof(struct nx_rdma_piece) == 24, "pieces are part of the protocol");
_Static_assert(sizeof(struct nx_rdma_frame) + NEXAR_BULK_HEAD_MAX + NX_RDMA_PIECES * sizeof(struct nx_rdma_piece) <
                   NX_RDMA_SLOT,
               "an announcement fits a frame");

#endif
