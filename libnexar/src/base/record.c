/* base/record.c - reads the flight recorder; see record.h.
 *
 * Owner: any thread.  It knows no names: what a record means is said by those who dump it. */
#include "base/record.h"

bool nx_record_get(struct nx_recorder *recorder, uint64_t number, struct nx_record *out)
{
    struct nx_record_slot *slot = &recorder->slot[number % NX_RECORDS];
    uint64_t word[7];

    if (atomic_load_explicit(&slot->number, memory_order_acquire) != number + 1)
        return false;
    for (int i = 0; i < 7; i++)
        word[i] = atomic_load_explicit(&slot->word[i], memory_order_acquire);
    if (atomic_load_explicit(&slot->number, memory_order_relaxed) != number + 1)
        return false;
    *out = (struct nx_record){.comm = word[0],
                              .id = word[1],
                              .call = word[2],
                              .count = word[3],
                              .begun = (nx_time)word[4],
                              .ended = (nx_time)word[5],
                              .peer = (uint32_t)(word[6] >> 32),
                              .status = (uint8_t)(word[6] >> 8),
                              .kind = (uint8_t)word[6]};
    return true;
}

uint32_t nx_record_list(struct nx_recorder *recorder, struct nx_record *out, uint64_t *before)
{
    uint64_t end = atomic_load_explicit(&recorder->next, memory_order_acquire);
    uint64_t begin = end > NX_RECORDS ? end - NX_RECORDS : 0;
    uint32_t n = 0;

    *before = begin;
    for (uint64_t number = begin; number < end; number++) {
        if (nx_record_get(recorder, number, &out[n]))
            n++;
    }
    return n;
}
