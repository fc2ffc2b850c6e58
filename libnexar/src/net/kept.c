/* net/kept.c - messages that left by a way that can fail, until the peer says that they are whole there.
 *
 * Owner: the link's lock; the peer's word, and the end of a link, come on the engine.  What a broken way has lost, QUIC
 * sends. */
#include "net/kept.h"

#include "base/bytes.h"
#include "base/slab.h"

#include <string.h>

/* A kept message that was copied. */
struct copy {
    struct nx_kept kept;
};

static struct nx_slab slab = NX_SLAB_INIT(struct copy, 256);

/* ---- the end of one ---- */

void nx_kept_finish(struct nx_kept *kept, nexar_status status)
{
    if (kept->req != NULL) {
        nx_send_landed(kept->req, status);
        return;
    }
    nx_buffer_put(kept->copy);
    nx_slab_put(&slab, nx_container_of(kept, struct copy, kept));
}

void nx_kept_take_out(nexar_link *link, struct nx_kept *kept, struct nx_list *to)
{
    nx_list_remove(&kept->link);
    if (kept->copy != NULL)
        link->kept_bytes -= kept->copy->used;
    else
        atomic_fetch_sub_explicit(&link->borrowed, 1, memory_order_relaxed);
    nx_list_push_back(to, &kept->link);
}

void nx_kept_finish_all(struct nx_list *list, nexar_status status)
{
    struct nx_list *pos;

    while ((pos = nx_list_pop(list)) != NULL)
        nx_kept_finish(nx_container_of(pos, struct nx_kept, link), status);
}

struct nx_kept *nx_kept_new(nexar_link *link, struct nx_send_req *req, bool copy)
{
    struct nx_kept *kept = &req->kept;
    struct copy *own;

    if (!copy) {
        *kept = (struct nx_kept){.way = link, .req = req};
        return kept;
    }
    own = nx_slab_get(&slab);
    if (own == NULL)
        return NULL;
    own->kept = (struct nx_kept){.way = link, .copy = nx_buffer_get(req->bytes_len + req->payload_len)};
    if (own->kept.copy == NULL) {
        nx_slab_put(&slab, own);
        return NULL;
    }
    own->kept.copy->used = req->bytes_len + req->payload_len;
    memcpy(own->kept.copy->data, req->bytes, req->bytes_len);
    if (req->payload_len != 0)
        memcpy(own->kept.copy->data + req->bytes_len, req->payload, req->payload_len);
    return &own->kept;
}

/* ---- answers ---- */

nexar_status nx_carry_arrived(nexar_link *link, uint64_t number)
{
    nexar_status st = NEXAR_OK;
    struct nx_list done;

    nx_list_init(&done);
    nx_lock(&link->lock);
    if (number > link->sent)
        st = nx_fail(NEXAR_EPROTO, "it has received more messages than were sent");
    nx_list_for_each_safe(pos, tmp, &link->kept)
    {
        struct nx_kept *kept = nx_container_of(pos, struct nx_kept, link);

        if (st != NEXAR_OK || kept->number > number)
            break;
        kept->arrived = true;
        if (kept->released)
            nx_kept_take_out(link, kept, &done);
    }
    nx_unlock(&link->lock);
    nx_kept_finish_all(&done, NEXAR_OK);
    return st;
}

void nx_carry_answer(nexar_link *link)
{
    const nexar_bulk_ops *ops = atomic_load(&link->ops);
    uint64_t arrived = atomic_load(&link->arrived);
    uint8_t head[8];
    nexar_bulk_message m = {.size = sizeof(m), .head = head, .head_nbytes = sizeof(head), .must_copy = 1};

    if (!atomic_load(&link->ready) || arrived == atomic_load(&link->answered))
        return;
    nx_store64(head, arrived);
    nx_lock(&link->lock);
    if (ops->send(atomic_load(&link->ops_self), &m, NULL, NULL) == NEXAR_OK)
        atomic_store(&link->answered, arrived);
    nx_unlock(&link->lock);
}

/* ---- the end of a link ---- */

static bool is_open(uint64_t number, uint64_t begun, const uint64_t *open, size_t count)
{
    bool found = number > begun;

    for (size_t i = 0; i < count; i++)
        found = found || open[i] == number;
    return found;
}

static void take_all(nexar_link *link, struct nx_list *out)
{
    nx_list_init(out);
    nx_lock(&link->lock);
    nx_list_splice(out, &link->kept);
    link->kept_bytes = 0;
    atomic_store(&link->borrowed, 0);
    nx_unlock(&link->lock);
}

static void take_promised(nexar_link *link, struct nx_list *out)
{
    nx_list_init(out);
    nx_lock(&link->lock);
    nx_list_splice(out, &link->promised);
    nx_unlock(&link->lock);
}

static void send_again(nexar_link *link, struct nx_send_req *req)
{
    atomic_fetch_add_explicit(&link->way->stats.resent, 1, memory_order_relaxed);
    nx_quic_again(req);
}

void nx_carry_resend(nexar_link *link, uint64_t begun, const uint64_t *open, size_t count)
{
    struct nx_list all, promised, *pos;

    take_all(link, &all);
    take_promised(link, &promised);
    while ((pos = nx_list_pop(&promised)) != NULL)
        send_again(link, nx_container_of(pos, struct nx_kept, link)->req);
    while ((pos = nx_list_pop(&all)) != NULL) {
        struct nx_kept *kept = nx_container_of(pos, struct nx_kept, link);
        struct nx_buffer *copy = kept->copy;

        if (kept->arrived || !is_open(kept->number, begun, open, count)) {
            nx_kept_finish(kept, NEXAR_OK);
            continue;
        }
        if (kept->req != NULL) {
            send_again(link, kept->req);
        } else {
            atomic_fetch_add_explicit(&link->way->stats.resent, 1, memory_order_relaxed);
            nx_slab_put(&slab, nx_container_of(kept, struct copy, kept));
            nx_quic_buffer(link->conn, copy);
        }
    }
}

void nx_carry_end(nexar_link *link, bool arrived)
{
    struct nx_list all;

    take_all(link, &all);
    nx_kept_finish_all(&all, arrived ? NEXAR_OK : NEXAR_EPEER);
    take_promised(link, &all);
    nx_kept_finish_all(&all, NEXAR_EPEER);
}
