/* work.c - the messages: sent from inside MsQuic's callbacks, which is its fastest way, and put into the receiver's
 * memory, as a message-passing library must.
 *
 * Owner: MsQuic's thread.  Memory is taken before there is a connection; a slot is free again when MsQuic says that its
 * bytes are acknowledged. */
#include "yardstick.h"

#include <stdlib.h>
#include <string.h>

#define WARM_UP 0.25   /* of the time to measure */
#define LOOKED_AT 256  /* messages of which each byte is checked; it is still warming up then */
#define ANSWER_BYTES 8 /* to a burst */

/* ---- memory ---- */

static void *take(size_t count, size_t size)
{
    void *p = calloc(count, size);

    if (p == NULL)
        die("no memory", QUIC_STATUS_OUT_OF_MEMORY);
    return p;
}

static struct slot *make_slots(size_t n, size_t nbytes, uint32_t sender)
{
    struct slot *slots = take(n, sizeof(*slots));
    uint8_t *bytes = take(n, nbytes);

    for (size_t i = 0; i < n; i++) {
        slots[i].bytes = bytes + i * nbytes;
        slots[i].next = i + 1 < n ? &slots[i + 1] : NULL;
        for (size_t k = 0; k < nbytes; k++)
            slots[i].bytes[k] = bench_byte(sender, 0, k);
    }
    return slots;
}

void work_open(struct end *end)
{
    const struct task *task = end->task;
    size_t streams = task->scheme.each ? 2 * task->window + CLOSED_TOGETHER : 1;
    struct inbound *inbounds = take(streams, sizeof(*inbounds));

    end->in_nbytes = end->out_nbytes = task->nbytes;
    if (task->work == STREAM && end->server)
        end->out_nbytes = ANSWER_BYTES;
    else if (task->work == STREAM)
        end->in_nbytes = ANSWER_BYTES;
    end->free_out = make_slots(task->window, end->out_nbytes, end->server);
    end->free_in = make_slots(2 * task->window, end->in_nbytes, 2); /* what nobody sends */
    for (size_t i = 0; i < streams; i++) {
        inbounds[i].end = end;
        inbounds[i].next = end->inbounds;
        end->inbounds = &inbounds[i];
    }
    if (!end->server)
        end->us = take(BENCH_ROUNDS_MOST, sizeof(end->us[0]));
    sem_init(&end->done_sem, 0, 0);
}

static struct slot *pop(struct slot **list)
{
    struct slot *slot = *list;

    if (slot != NULL)
        *list = slot->next;
    return slot;
}

static void push(struct slot **list, struct slot *slot)
{
    slot->next = *list;
    *list = slot;
}

/* ---- out ---- */

static void pump(struct end *end);

/* Closing streams one by one costs a packet in the other direction each. */
static void close_later(struct end *end, HQUIC stream)
{
    end->closing[end->closings++] = stream;
    if (end->closings < CLOSED_TOGETHER)
        return;
    for (size_t i = 0; i < end->closings; i++)
        end->quic->StreamClose(end->closing[i]);
    end->closings = 0;
}

static QUIC_STATUS on_out(HQUIC stream, void *arg, QUIC_STREAM_EVENT *event)
{
    struct end *end = arg;

    if (event->Type == QUIC_STREAM_EVENT_SEND_COMPLETE) {
        push(&end->free_out, event->SEND_COMPLETE.ClientContext);
        pump(end);
    } else if (event->Type == QUIC_STREAM_EVENT_SHUTDOWN_COMPLETE) {
        close_later(end, stream);
    }
    return QUIC_STATUS_SUCCESS;
}

static HQUIC open_stream(struct end *end)
{
    HQUIC stream;
    QUIC_STATUS status =
        end->quic->StreamOpen(end->connection, QUIC_STREAM_OPEN_FLAG_UNIDIRECTIONAL, on_out, end, &stream);

    if (QUIC_FAILED(status))
        die("no stream", status);
    return stream;
}

static void send_one(struct end *end, struct slot *slot)
{
    QUIC_SEND_FLAGS flags = QUIC_SEND_FLAG_NONE;
    QUIC_STATUS status;

    if (end->out_nbytes >= sizeof(end->sent))
        memcpy(slot->bytes, &end->sent, sizeof(end->sent));
    end->sent++;
    if (end->task->scheme.each) {
        end->out = open_stream(end);
        flags = QUIC_SEND_FLAG_START | QUIC_SEND_FLAG_FIN;
    }
    slot->buffer = (QUIC_BUFFER){.Length = (uint32_t)end->out_nbytes, .Buffer = slot->bytes};
    status = end->quic->StreamSend(end->out, &slot->buffer, 1, flags, slot);
    if (QUIC_FAILED(status))
        die("a message cannot be sent", status);
}

static void pump(struct end *end)
{
    while (end->to_send != 0 && end->free_out != NULL) {
        end->to_send--;
        send_one(end, pop(&end->free_out));
    }
}

/* ---- rounds ---- */

static void begin_round(struct end *end)
{
    end->began = bench_now();
    end->to_send = end->task->work == STREAM ? end->task->burst : 1;
    pump(end);
}

static void end_round(struct end *end)
{
    uint64_t now = bench_now();
    double share = end->task->work == STREAM ? (double)end->task->burst : 2;

    if (end->began >= end->warm)
        end->us[end->n++] = (double)(now - end->began) / 1e3 / share;
    if (end->n < BENCH_ROUNDS_MOST && (now < end->over || end->n < BENCH_ROUNDS_LEAST)) {
        begin_round(end);
        return;
    }
    end->done = true;
    sem_post(&end->done_sem);
}

void work_begin(struct end *end)
{
    uint64_t span = (uint64_t)(end->task->seconds * 1e9);

    if (!end->task->scheme.each) {
        end->out = open_stream(end);
        end->quic->StreamStart(end->out, QUIC_STREAM_START_FLAG_NONE);
    }
    end->warm = bench_now() + (uint64_t)(WARM_UP * (double)span);
    end->over = end->warm + span;
    if (!end->server)
        begin_round(end);
}

/* ---- in ---- */

/* Each message bears its number.  On streams of their own they may overtake each other. */
static void look_at(struct end *end, const struct slot *slot)
{
    uint64_t number = end->received, slack = end->task->scheme.each ? 2 * end->task->window : 0;
    size_t stamp = end->in_nbytes >= sizeof(number) ? sizeof(number) : 0;

    memcpy(&number, slot->bytes, stamp);
    end->wrong += number > end->received + slack || end->received > number + slack;
    for (size_t i = stamp; end->received < LOOKED_AT && i < end->in_nbytes; i++)
        end->wrong += slot->bytes[i] != bench_byte(!end->server, 0, i);
}

static void message_came(struct end *end, const struct slot *slot)
{
    const struct task *task = end->task;

    if (!task->scheme.drop)
        look_at(end, slot);
    end->received++;
    if (!end->server) {
        end_round(end);
    } else if (task->work == PING_PONG || end->received % task->burst == 0) {
        end->to_send++;
        pump(end);
    }
}

static void bytes_came(struct inbound *in, const uint8_t *bytes, size_t n)
{
    struct end *end = in->end;

    while (n != 0) {
        size_t part = end->in_nbytes - in->at < n ? end->in_nbytes - in->at : n;

        if (in->slot == NULL)
            in->slot = pop(&end->free_in);
        if (in->slot == NULL)
            die("more messages than there is room for", QUIC_STATUS_OUT_OF_MEMORY);
        if (!end->task->scheme.drop)
            memcpy(in->slot->bytes + in->at, bytes, part);
        in->at += part;
        bytes += part;
        n -= part;
        if (in->at < end->in_nbytes)
            break;
        message_came(end, in->slot);
        push(&end->free_in, in->slot);
        in->slot = NULL;
        in->at = 0;
    }
}

static QUIC_STATUS on_in(HQUIC stream, void *arg, QUIC_STREAM_EVENT *event)
{
    struct inbound *in = arg;
    struct end *end = in->end;

    if (event->Type == QUIC_STREAM_EVENT_RECEIVE) {
        for (uint32_t i = 0; i < event->RECEIVE.BufferCount; i++)
            bytes_came(in, event->RECEIVE.Buffers[i].Buffer, event->RECEIVE.Buffers[i].Length);
    } else if (event->Type == QUIC_STREAM_EVENT_SHUTDOWN_COMPLETE) {
        in->next = end->inbounds;
        end->inbounds = in;
        close_later(end, stream);
    }
    return QUIC_STATUS_SUCCESS;
}

void work_accept(struct end *end, HQUIC stream)
{
    struct inbound *in = end->inbounds;

    if (in == NULL)
        die("more streams than there is room for", QUIC_STATUS_OUT_OF_MEMORY);
    end->inbounds = in->next;
    in->at = 0;
    end->quic->SetCallbackHandler(stream, (void *)(uintptr_t)on_in, in);
}
