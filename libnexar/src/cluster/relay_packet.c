/* cluster/relay_packet.c - the relay machine: what a packet looks like, and making one.
 *
 * Owner: the machine's thread.  The hops that are left stand in no seal, for they change on the way; all else of the
 * head is in it. */
#include "cluster/relay_parts.h"

#include "base/bytes.h"
#include "base/mem.h"
#include "base/status.h"

const char *nx_relay_refusal_name(enum nx_relay_refusal why)
{
    static const char *const names[NX_RELAY_REFUSALS + 1] = {
        "malformed", "another version", "another world", "unknown rank", "forged",    "old",        "beyond its credit",
        "a lie",     "hops used up",    "no route",      "no room",      "no memory", "not refused"};

    return names[why];
}

void nx_relay_write_head(const struct nx_relay_head *head, uint8_t out[NX_RELAY_HEADER])
{
    struct nx_writer w = nx_writer(out, NX_RELAY_HEADER);

    nx_write8(&w, head->version);
    nx_write8(&w, head->kind);
    nx_write16(&w, head->hops);
    nx_write32(&w, head->source);
    nx_write32(&w, head->destination);
    nx_write64(&w, head->world);
    nx_write64(&w, head->number);
}

struct nx_relay_head nx_relay_read_head(const uint8_t bytes[NX_RELAY_HEADER])
{
    struct nx_reader r = nx_reader(bytes, NX_RELAY_HEADER);
    struct nx_relay_head head;

    head.version = nx_read8(&r);
    head.kind = nx_read8(&r);
    head.hops = nx_read16(&r);
    head.source = nx_read32(&r);
    head.destination = nx_read32(&r);
    head.world = nx_read64(&r);
    head.number = nx_read64(&r);
    return head;
}

void nx_relay_write_hops(uint8_t bytes[NX_RELAY_HEADER], uint16_t hops)
{
    nx_store16(bytes + 2, hops);
}

void nx_relay_sealed_head(const struct nx_relay_head *head, uint8_t out[NX_RELAY_HEADER])
{
    struct nx_writer w = nx_writer(out, NX_RELAY_HEADER);

    nx_write64(&w, head->number);
    nx_write32(&w, head->kind);
    nx_write32(&w, head->source);
    nx_write32(&w, head->destination);
    nx_write64(&w, head->world);
}

struct nx_relay_packet *nx_relay_packet_new(struct nx_relay *r, const struct nx_relay_head *head, const uint8_t *text,
                                            size_t n)
{
    struct nx_relay_packet *p = nx_alloc(sizeof(*p) + NX_RELAY_HEADER + n + NX_RELAY_TAG);
    uint8_t sealed[NX_RELAY_HEADER];

    if (p == NULL) {
        nx_fail(NEXAR_ENOMEM, "no memory for a message of %zu bytes to rank %u", n, head->destination);
        return NULL;
    }
    *p = (struct nx_relay_packet){.refs = 1,
                                  .source = head->source,
                                  .destination = head->destination,
                                  .kind = head->kind,
                                  .n = NX_RELAY_HEADER + n + NX_RELAY_TAG};
    nx_list_init(&p->link);
    nx_relay_write_head(head, p->bytes);
    nx_relay_sealed_head(head, sealed);
    if (!r->ops->seal(r->arg, head->destination, sealed, text, n, p->bytes + NX_RELAY_HEADER)) {
        nx_relay_packet_drop(p);
        nx_fail_peer(NEXAR_ESYSTEM, head->destination, "a message to rank %u could not be sealed", head->destination);
        return NULL;
    }
    return p;
}

void nx_relay_packet_drop(struct nx_relay_packet *p)
{
    if (p != NULL && --p->refs == 0)
        nx_free(p);
}
