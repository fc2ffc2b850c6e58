/* identity/der.h - a certificate or a request as bytes, in memory of its own. */
#ifndef NX_IDENTITY_DER_H
#define NX_IDENTITY_DER_H

#include "base/mem.h"

#include <stdint.h>

struct nx_der {
    uint8_t *data;
    size_t size;
};

static inline void nx_der_free(struct nx_der *der)
{
    nx_free(der->data);
    *der = (struct nx_der){0};
}

#endif
