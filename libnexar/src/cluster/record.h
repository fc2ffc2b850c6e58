/* cluster/record.h - the record of an acceptor in memory that outlives its process: by it a witness votes for the dead.
 *
 * Two slots and a number: what is written goes to the other slot, and then the number says so; a process that is killed
 * at any instruction leaves what was before or what is after.  Whoever writes has read what it follows: else another
 * witness was faster, and the vote is not cast. */
#ifndef NX_CLUSTER_RECORD_H
#define NX_CLUSTER_RECORD_H

#include "cluster/acceptor.h"

struct nx_record;

/* The lock of a record is held for one write alone; one that a dead process held is taken over. */
struct nx_record_writer {
    uint32_t self;
    bool (*dead)(void *arg, uint32_t writer);
    void *arg;
};

/* Of a record in a job of so many: zeroed memory, aligned to 8 bytes. */
size_t nx_record_bytes(uint32_t members);

/* Keeps `a`, if the record still has the number that it was read with, *number (0: it was never written), which is then
 * one more.  False: it has not, another one writes, it does not fit, or there is no memory. */
bool nx_record_write(struct nx_record *record, size_t nbytes, const struct nx_record_writer *writer, uint32_t *number,
                     const struct nx_acceptor *a);
/* By its owner: as if it had never been written.  Nobody votes by it any more. */
void nx_record_forget(struct nx_record *record);
/* The caller owns *out.  False: nothing was written, or it is no record, or there is no memory. */
bool nx_record_read(const struct nx_record *record, size_t nbytes, uint32_t *number, struct nx_acceptor *out);

#endif
