/* wire/tag.h - the 64 bits that name one message of a collective within its communicator.
 *
 *      63                                     24 23                     0
 *     +-----------------------------------------+------------------------+
 *     |        sequence of the operation        |          step          |
 *     +-----------------------------------------+------------------------+
 *
 * The communicator is the head's `scope`, and tags of users are on other lanes, so neither can collide with this.
 * Nothing is ever cut off or wrapped round: what does not fit is refused. */
#ifndef NX_WIRE_TAG_H
#define NX_WIRE_TAG_H

#include <stdbool.h>
#include <stdint.h>

#define NX_TAG_STEP_BITS 24
#define NX_TAG_STEP_MAX ((UINT64_C(1) << NX_TAG_STEP_BITS) - 1)
#define NX_TAG_SEQUENCE_MAX (UINT64_MAX >> NX_TAG_STEP_BITS)

/* False if either part is too large; *id is then 0. */
static inline bool nx_tag_make(uint64_t sequence, uint64_t step, uint64_t *id)
{
    *id = 0;
    if (sequence > NX_TAG_SEQUENCE_MAX || step > NX_TAG_STEP_MAX)
        return false;
    *id = sequence << NX_TAG_STEP_BITS | step;
    return true;
}

static inline uint64_t nx_tag_sequence(uint64_t id)
{
    return id >> NX_TAG_STEP_BITS;
}

static inline uint32_t nx_tag_step(uint64_t id)
{
    return (uint32_t)(id & NX_TAG_STEP_MAX);
}

#endif
