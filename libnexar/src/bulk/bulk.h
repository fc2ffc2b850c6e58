/* bulk/bulk.h - the transports that come with the library, as modules of nexar/ext.h. */
#ifndef NX_BULK_BULK_H
#define NX_BULK_BULK_H

#include "nexar/ext.h"

/* Shared memory, within a host; see bulk/shm.h for more of it. */
extern const nexar_module nx_shm_module;

/* TCP with mutual TLS, between hosts. */
extern const nexar_module nx_tcp_module;

#endif
