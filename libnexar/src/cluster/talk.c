/* cluster/talk.c - puts messages together from a stream, and writes messages to it.
 *
 * Owner: the engine.  Buffers grow with what has come, up to the limit; the limit is small until the peer is known. */
#include "cluster/talk.h"

#include <string.h>

void nx_talk_init(struct nx_talk *talk, size_t limit, void *arg,
                  bool (*message)(void *, const struct nx_message *, const uint8_t *, size_t),
                  void (*broken)(void *, const char *))
{
    *talk = (struct nx_talk){.limit = limit, .message = message, .broken = broken, .arg = arg};
    nx_outbox_init(&talk->out);
}

void nx_talk_fini(struct nx_talk *talk)
{
    nx_outbox_fini(&talk->out);
    nx_buffer_put(talk->in);
    talk->in = NULL;
}

void nx_talk_open(struct nx_talk *talk, struct nx_quic_stream *stream)
{
    nx_outbox_open(&talk->out, stream);
}

static bool give_up(struct nx_talk *talk, const char *why)
{
    talk->deaf = true;
    talk->broken(talk->arg, why);
    return false;
}

static bool append(struct nx_talk *talk, const uint8_t *bytes, size_t n)
{
    struct nx_buffer *in = talk->in;

    if (in == NULL || in->used + n > in->room) {
        struct nx_buffer *larger = nx_buffer_get((in == NULL ? 0 : 2 * in->used) + n);

        if (larger == NULL)
            return give_up(talk, "there is no memory for what it says");
        if (in != NULL) {
            memcpy(larger->data, in->data, in->used);
            larger->used = in->used;
        }
        nx_buffer_put(in);
        talk->in = in = larger;
    }
    memcpy(in->data + in->used, bytes, n);
    in->used += n;
    return true;
}

/* How many bytes the message that is coming still needs; 0: it is whole.  SIZE_MAX: it is no message. */
static size_t missing(struct nx_talk *talk)
{
    size_t have = talk->in == NULL ? 0 : talk->in->used;
    struct nx_frame_header header;

    if (have < NX_FRAME_HEADER)
        return NX_FRAME_HEADER - have;
    if (nx_frame_header_decode(talk->in->data, talk->limit, &header) != NEXAR_OK)
        return SIZE_MAX;
    return NX_FRAME_HEADER + header.payload_length - have;
}

static bool deliver(struct nx_talk *talk)
{
    struct nx_buffer *in = talk->in;
    struct nx_message message;
    bool fine;

    talk->in = NULL;
    if (nx_message_decode(in->data + NX_FRAME_HEADER, in->used - NX_FRAME_HEADER, &message) != NEXAR_OK) {
        nx_buffer_put(in);
        return give_up(talk, nexar_last_error());
    }
    fine = talk->message(talk->arg, &message, in->data + NX_FRAME_HEADER, in->used - NX_FRAME_HEADER);
    nx_buffer_put(in);
    if (!fine)
        talk->deaf = true;
    return fine;
}

static size_t receive(void *arg, const uint8_t *bytes, size_t n)
{
    struct nx_talk *talk = arg;
    size_t at = 0;

    while (!talk->deaf) {
        size_t need = missing(talk), take;

        if (need == SIZE_MAX) {
            give_up(talk, nexar_last_error());
            break;
        }
        if (need == 0) {
            deliver(talk);
            continue;
        }
        if (at == n)
            break;
        take = n - at < need ? n - at : need;
        if (!append(talk, bytes + at, take))
            break;
        at += take;
    }
    return n;
}

/* The stream vanishes soon after the peer has ended it, so nothing may leave any more. */
static void ended(void *arg, nexar_status status)
{
    struct nx_talk *talk = arg;

    nx_outbox_close(&talk->out);
    if (talk->deaf)
        return;
    talk->deaf = true;
    if (status != NEXAR_EPEER) /* else it is the connection that has ended, and that will be told */
        talk->broken(talk->arg, "it ended its stream");
}

const struct nx_quic_stream_events nx_talk_events = {.receive = receive, .ended = ended};

nexar_status nx_talk_say(struct nx_talk *talk, const struct nx_message *message, struct nx_buffer **archive)
{
    struct nx_buffer *buffer;
    uint8_t header[NX_FRAME_HEADER];
    size_t n;
    nexar_status st = nx_message_size(message, &n);

    if (st != NEXAR_OK)
        return st;
    buffer = nx_buffer_get(n);
    if (buffer == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a message");
    buffer->used = n;
    nx_frame_header_encode(&(struct nx_frame_header){.payload_length = (uint32_t)n}, header);
    st = nx_message_encode(message, buffer->data, n);
    if (st == NEXAR_OK)
        st = nx_outbox_put(&talk->out, header, sizeof(header), buffer->data, n, true);
    if (st == NEXAR_OK && archive != NULL)
        *archive = buffer;
    else
        nx_buffer_put(buffer);
    return st;
}
