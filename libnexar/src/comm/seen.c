/* comm/seen.c - operations in words: what this rank is doing, for those who ask.
 *
 * Owner: any thread.  The words travel: they are plain, and short. */
#include "comm/inquiry.h"

#include "base/op.h"
#include "coll/call.h"

#include <stdio.h>

void nx_record_title(const struct nx_record *r, char *text, size_t cap)
{
    const char *name = r->kind == NX_RECORD_SEND ? "send to" : "recv from";
    char rank[32] = "any rank", tag[40];

    if (r->kind == NX_RECORD_COLL) {
        unsigned coll = r->call & 0xff;

        snprintf(text, cap, "%s #%llu", coll < NX_CALLS ? nx_coll_name((enum nx_coll)coll) : "collective",
                 (unsigned long long)r->id);
        return;
    }
    if ((uint32_t)r->call != NEXAR_ANY)
        snprintf(rank, sizeof(rank), "rank %u", (unsigned)r->call);
    if ((uint32_t)r->id == NEXAR_ANY)
        snprintf(tag, sizeof(tag), "any tag");
    else
        snprintf(tag, sizeof(tag), "tag %u", (unsigned)r->id);
    snprintf(text, cap, "%s %s, %s", name, rank, tag);
}

static double seconds(nx_time span)
{
    return span < 0 ? 0.0 : (double)span / 1e9;
}

/* The one in flight that began first; false if there is none.  *others: how many there are besides. */
static bool first_in_flight(struct nx_net *net, struct nx_record *first, uint32_t *others)
{
    struct nexar_op *op;
    uint32_t n = nx_net_list_ops(net, &op, 1);
    bool told;

    if (n == 0)
        return false;
    told = nx_op_told(op, first);
    nx_op_drop(op);
    *others = n - 1;
    return told;
}

static bool last_ended(struct nx_net *net, struct nx_record *last)
{
    uint64_t next = atomic_load(&net->recorder->next);

    /* The last one may be being written. */
    for (uint64_t back = 1; back <= 4 && back <= next; back++) {
        if (nx_record_get(net->recorder, next - back, last))
            return true;
    }
    return false;
}

void nx_seen_text(struct nx_net *net, char *text, size_t cap)
{
    struct nx_record r;
    nx_time now = nx_now();
    char title[80], more[48] = "";
    uint32_t others;

    if (first_in_flight(net, &r, &others)) {
        nx_record_title(&r, title, sizeof(title));
        if (others != 0)
            snprintf(more, sizeof(more), ", with %u other%s", others, others == 1 ? "" : "s");
        snprintf(text, cap, "is in %s for %.3g s%s", title, seconds(now - r.begun), more);
    } else if (last_ended(net, &r)) {
        nx_record_title(&r, title, sizeof(title));
        snprintf(text, cap, "is in no call; its last, %s, %s %.3g s ago", title, r.status == 0 ? "ended" : "failed",
                 seconds(now - r.ended));
    } else {
        snprintf(text, cap, "is in no call, and was in none before");
    }
}
