/* comm/iov.h - lists of pieces of memory that together are one message. */
#ifndef NX_COMM_IOV_H
#define NX_COMM_IOV_H

#include "nexar/base.h"

/* NEXAR_EINVAL for a list that is none, or has a piece that is; *total: bytes of all. */
nexar_status nx_iov_check(const char *call, const nexar_iov *iov, size_t n, size_t *total);

/* NEXAR_EINVAL if two of them share memory; NEXAR_ENOMEM. */
nexar_status nx_iov_apart(const char *call, const nexar_iov *iov, size_t n);

/* The pieces that are not empty; returns how many, at most `max` of which were written. */
size_t nx_iov_pack(const nexar_iov *iov, size_t n, nexar_iov *out, size_t max);

/* All bytes, one piece after the other. */
void nx_iov_gather(const nexar_iov *iov, size_t n, void *to);

#endif
