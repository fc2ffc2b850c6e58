/* base/record.h - the flight recorder: what a node did last.  A ring of fixed size that is always on.
 *
 * Any thread, no lock: whoever ends an operation takes the next slot and fills it.  A reader sees a slot whole or not
 * at all.  A writer that finds another one in its slot, which began a whole ring before, leaves it alone: its record is
 * lost. */
#ifndef NX_BASE_RECORD_H
#define NX_BASE_RECORD_H

#include "base/clock.h"
#include "nexar/base.h"

#include <stdatomic.h>
#include <stdbool.h>

enum { NX_RECORDS = 1024 };

enum nx_record_kind {
    NX_RECORD_NONE,
    NX_RECORD_COLL,
    NX_RECORD_SEND,
    NX_RECORD_RECV,
    NX_RECORD_KINDS,
};

struct nx_record {
    uint64_t comm;
    uint64_t id;    /* of a collective the sequence number, of a message `space << 32 | tag` */
    uint64_t call;  /* of a collective coll/call.h, of a message the other rank */
    uint64_t count; /* elements, or bytes */
    nx_time begun;
    nx_time ended;  /* 0: it runs */
    uint32_t peer;  /* to blame, or NEXAR_NO_RANK */
    uint8_t status; /* -nexar_status */
    uint8_t kind;   /* enum nx_record_kind */
};

#define NX_RECORD_WRITING UINT64_MAX

struct nx_record_slot {
    _Atomic uint64_t number; /* of its record + 1; 0: none; NX_RECORD_WRITING */
    _Atomic uint64_t word[7];
};

struct nx_recorder {
    _Atomic uint64_t next; /* records ever */
    struct nx_record_slot slot[NX_RECORDS];
};

static inline void nx_record_put(struct nx_recorder *recorder, const struct nx_record *r)
{
    uint64_t number = atomic_fetch_add_explicit(&recorder->next, 1, memory_order_relaxed);
    struct nx_record_slot *slot = &recorder->slot[number % NX_RECORDS];
    uint64_t word[7] = {r->comm,
                        r->id,
                        r->call,
                        r->count,
                        (uint64_t)r->begun,
                        (uint64_t)r->ended,
                        (uint64_t)r->peer << 32 | (uint64_t)r->status << 8 | r->kind};

    /* Each store is a release: who sees one of these words also sees that the number is not the old one any more. */
    if (atomic_exchange_explicit(&slot->number, NX_RECORD_WRITING, memory_order_acquire) == NX_RECORD_WRITING)
        return;
    for (int i = 0; i < 7; i++)
        atomic_store_explicit(&slot->word[i], word[i], memory_order_release);
    atomic_store_explicit(&slot->number, number + 1, memory_order_release);
}

/* Record `number`, counted from 0; false if it is not there (any more), or is being written. */
bool nx_record_get(struct nx_recorder *recorder, uint64_t number, struct nx_record *out);

/* All that are there, at most NX_RECORDS, oldest first; returns how many.  *before: how many there were before. */
uint32_t nx_record_list(struct nx_recorder *recorder, struct nx_record *out, uint64_t *before);

#endif
