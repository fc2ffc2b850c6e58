/* cluster/record_io.h - the records of a host's ranks, for member_io.c. */
#ifndef NX_CLUSTER_RECORD_IO_H
#define NX_CLUSTER_RECORD_IO_H

#include "cluster/member_io.h"

/* nx_member_ops.record and commit. */
struct nx_acceptor *nx_members_record(void *members, const struct nx_uid *dead);
bool nx_members_commit(void *members, const struct nx_uid *who, const struct nx_acceptor *a);

/* This rank's own is there from now on, if there is a place for it. */
void nx_members_keep_record(struct nx_members *members);
bool nx_members_is_witnessed(struct nx_members *members, uint32_t world);
void nx_members_look_at_records(struct nx_members *members, nx_time now);

/* ---- member_io.c ---- */

/* NEXAR_NO_RANK: it was not among those that formed the job. */
uint32_t nx_members_rank(const struct nx_members *members, const struct nx_uid *uid);

#endif
