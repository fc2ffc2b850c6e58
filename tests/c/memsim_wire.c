/* memsim_wire.c - messages of memsim.h through the codec: written, framed, read again by the receiver. */
#include "memsim.h"

#include "base/mem.h"
#include "base/status.h"
#include "cluster/member_wire.h"
#include "wire/codec.h"

#include <stdlib.h>

struct nx_member_msg *memsim_by_wire(struct memsim *s, uint32_t to, const struct nx_member_msg *m)
{
    struct nx_member_wire out = {0};
    struct nx_member_msg *back = NULL;
    struct nx_message read;
    uint8_t *archive = NULL;
    size_t n;

    if (nx_member_to_wire(m, &out) != NEXAR_OK || nx_message_size(&out.message, &n) != NEXAR_OK)
        abort();
    archive = malloc(n);
    if (archive == NULL || nx_message_encode(&out.message, archive, n) != NEXAR_OK)
        abort();
    s->stats.bytes += n;
    if (nx_message_decode(archive, n, &read) != NEXAR_OK ||
        nx_member_from_wire(&s->member[to].m.own, &read, &back) != NEXAR_OK)
        memsim_fault(s, "a %s to %u cannot be read: %s", nx_member_kind_name(m->kind), to, nx_last_error()->text);
    free(archive);
    nx_free(out.memory);
    return back;
}
