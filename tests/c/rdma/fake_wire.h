/* fake_wire.h - what fake_verbs.c and fake_wire.c share: the objects, and the lock around all of them. */
#ifndef NX_TEST_FAKE_WIRE_H
#define NX_TEST_FAKE_WIRE_H

#include "fake_verbs.h"

#include <infiniband/verbs.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { FAKE_QUEUE = 256, FAKE_POSTED = 128, FAKE_EVENTS = 16 };

#define FAKE_EXPECT(condition)                                                     \
    do {                                                                           \
        if (!(condition)) {                                                        \
            fprintf(stderr, "%s:%d: verbs: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                               \
        }                                                                          \
    } while (0)

/* The structs of libibverbs are first in ours. */
struct fake_context {
    struct ibv_context context;
    struct fake_context *next;
    uint32_t objects, events;
    struct ibv_async_event event[FAKE_EVENTS];
};

struct fake_pd {
    struct ibv_pd pd;
    uint32_t objects;
};

struct fake_mr {
    struct ibv_mr mr;
    struct fake_mr *next;
    int access;
};

struct fake_channel {
    struct ibv_comp_channel channel;
    struct fake_queue *queues;
};

struct fake_queue {
    struct ibv_cq cq;
    struct fake_queue *next;
    uint32_t pairs, events, unacknowledged;
    bool armed;
    uint32_t first, count;
    struct ibv_wc wc[FAKE_QUEUE];
};

struct fake_request {
    uint64_t id;
    struct ibv_sge sge;
    enum ibv_wr_opcode opcode;
    uint64_t remote;
    uint32_t rkey;
};

struct fake_posted {
    uint32_t max, first, count;
    struct fake_request request[FAKE_POSTED];
};

struct fake_pair {
    struct ibv_qp qp;
    struct fake_pair *next;
    struct fake_posted send, recv;
    uint32_t peer;
    unsigned int access;
};

extern pthread_mutex_t fake_lock;
extern struct fake_mr *fake_mrs;
extern struct fake_pair *fake_pairs;
extern struct fake_counts fake_count;

/* Objects of libibverbs, which are counted.  With the lock. */
void *fake_new(size_t n);
void fake_free(void *p);
const struct fake_device *fake_device_of(const struct ibv_context *context);
void fake_raise(struct ibv_context *context, const struct ibv_async_event *event);

int fake_poll_cq(struct ibv_cq *cq, int n, struct ibv_wc *wc);
int fake_req_notify_cq(struct ibv_cq *cq, int solicited_only);
int fake_post_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad);
int fake_post_recv(struct ibv_qp *qp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad);

void fake_wire_reset(void); /* with the lock */
void fake_wire_start(void); /* with the lock */
void fake_wire_stop(void);
void fake_wire_cut(int on);
void fake_wire_pause(int on);
void fake_wire_tamper(uint32_t (*fn)(void *arg, uint8_t *bytes, uint32_t n), void *arg);

#endif
