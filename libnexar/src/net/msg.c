/* net/msg.c - the bytes of one message: kept in chunks until a receive comes, then written into its memory.
 *
 * Owner: the engine while a message comes in, then whoever delivers it; never two at a time.  It knows no lists and no
 * limits. */
#include "net/match.h"

#include "base/slab.h"

#include <string.h>

/* Chunks have exactly the sizes of the buffer pool. */
enum {
    CHUNK_MIN = 256,
    CHUNK_MAX = 256 * 1024,
};

static struct nx_slab slab = NX_SLAB_INIT(struct nx_msg, 4096);

struct nx_msg *nx_msg_new(uint32_t peer, const struct nx_head *head, struct nx_source *source)
{
    struct nx_msg *msg = nx_slab_get(&slab);

    if (msg == NULL)
        return NULL;
    *msg = (struct nx_msg){
        .key = {.peer = peer, .lane = head->lane, .scope = head->scope, .id = head->id},
        .len = head->len,
        .call = head->call,
        .count = head->count,
        .order = head->order,
        .source = source,
    };
    nx_list_init(&msg->link);
    nx_list_init(&msg->scope_link);
    return msg;
}

static void free_chunks(struct nx_buffer *chunk)
{
    while (chunk != NULL) {
        struct nx_buffer *next = chunk->next;

        nx_buffer_put(chunk);
        chunk = next;
    }
}

void nx_msg_free(struct nx_msg *msg)
{
    free_chunks(msg->first);
    nx_slab_put(&slab, msg);
}

/* A list of chunks that grows. */
struct chunks {
    struct nx_buffer **first, **last;
    uint64_t have; /* bytes that have come, here or before */
    uint64_t left; /* of the message */
};

/* Chunks grow with what has come, not with what was announced, and never beyond that. */
static struct nx_buffer *new_chunk(const struct chunks *c, uint64_t n)
{
    uint64_t want = c->have > n ? c->have : n;
    size_t size = CHUNK_MIN;

    if (want > c->left)
        want = c->left;
    while (size < CHUNK_MAX && 4 * size <= want)
        size *= 4;
    return nx_buffer_get(size);
}

static nexar_status append(struct chunks c, const uint8_t *bytes, uint64_t n)
{
    while (n > 0) {
        struct nx_buffer *last = *c.last;
        size_t take;

        if (last == NULL || last->used == last->room) {
            last = new_chunk(&c, n);
            if (last == NULL)
                return nx_fail(NEXAR_ENOMEM, "no memory for a message that nobody waits for yet");
            if (*c.last == NULL)
                *c.first = last;
            else
                (*c.last)->next = last;
            *c.last = last;
        }
        take = last->room - last->used;
        if (take > n)
            take = (size_t)n;
        memcpy(last->data + last->used, bytes, take);
        last->used += take;
        c.have += take;
        c.left -= take;
        bytes += take;
        n -= take;
    }
    return NEXAR_OK;
}

nexar_status nx_msg_append(struct nx_msg *msg, const uint8_t *bytes, size_t n)
{
    struct chunks c = {.first = &msg->first, .last = &msg->last, .have = msg->got, .left = msg->len - msg->got};

    return append(c, bytes, n);
}

/* Into pieces that lie one after the other in the message, from its byte `at` on. */
static void scatter(const nexar_iov *piece, uint64_t at, const uint8_t *bytes, size_t n)
{
    while (n > 0) {
        size_t take;

        for (; at >= piece->nbytes; piece++)
            at -= piece->nbytes;
        take = piece->nbytes - at < n ? piece->nbytes - at : n;
        memcpy((uint8_t *)piece->base + at, bytes, take);
        bytes += take;
        n -= take;
        at += take;
    }
}

void nx_msg_put(struct nx_msg *msg, const uint8_t *bytes, size_t n)
{
    struct nx_recv *recv = msg->recv;

    while (n > 0 && msg->delivered < recv->skip) {
        recv->prefix[msg->delivered++] = *bytes++;
        n--;
    }
    if (n == 0)
        return;
    if (recv->fn != NULL)
        nx_reduce_feed(&msg->reduce, bytes, n);
    else if (recv->pieces != NULL)
        scatter(recv->pieces, msg->delivered, bytes, n);
    else
        memcpy(recv->dst + (msg->delivered - recv->skip), bytes, n);
    msg->delivered += n;
}

void nx_msg_flush(struct nx_lanes *lanes, struct nx_msg *msg)
{
    if (msg->small) {
        nx_msg_put(msg, msg->bytes, msg->len);
        atomic_fetch_add_explicit(&lanes->stats.copies, msg->len, memory_order_relaxed);
    }
    while (msg->first != NULL) {
        struct nx_buffer *chunk = msg->first;

        nx_msg_put(msg, chunk->data, chunk->used);
        atomic_fetch_add_explicit(&lanes->stats.copies, chunk->used, memory_order_relaxed);
        msg->first = chunk->next;
        nx_buffer_put(chunk);
    }
    msg->last = NULL;
}

/* The first `n` bytes of what a receive got. */
static nexar_status append_received(struct chunks c, const struct nx_recv *recv, uint64_t n)
{
    nexar_status st = NEXAR_OK;

    if (recv->pieces == NULL)
        return append(c, recv->dst, n);
    for (const nexar_iov *piece = recv->pieces; n > 0 && st == NEXAR_OK; piece++) {
        uint64_t take = piece->nbytes < n ? piece->nbytes : n;

        st = append(c, piece->base, take);
        c.have += take;
        c.left -= take;
        n -= take;
    }
    return st;
}

nexar_status nx_msg_take_back(struct nx_msg *msg)
{
    struct nx_recv *recv = msg->recv;
    struct nx_buffer *first = NULL, *last = NULL;
    struct chunks c = {.first = &first, .last = &last, .left = msg->delivered};
    uint64_t prefix = msg->delivered < recv->skip ? msg->delivered : recv->skip;
    nexar_status st = append(c, recv->prefix, prefix);

    c.left -= prefix;
    if (st == NEXAR_OK)
        st = append_received(c, recv, msg->delivered - prefix);
    if (st != NEXAR_OK) {
        free_chunks(first);
        return st;
    }
    msg->delivered = 0;
    if (first == NULL)
        return NEXAR_OK;
    last->next = msg->first;
    msg->first = first;
    if (msg->last == NULL)
        msg->last = last;
    return NEXAR_OK;
}
