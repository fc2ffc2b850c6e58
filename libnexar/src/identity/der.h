/* identity/der.h - a certificate or a request as bytes, in memory of its own. */
#ifndef NX_IDENTITY_DER_H
#define NX_IDENTITY_DER_H

#include "base/mem.h"

#include <stdint.h>
#include <string.h>

struct nx_der {
    uint8_t *data;
    size_t size;
};

/* Of what is secret. */
static inline void nx_der_wipe(struct nx_der *der)
{
    if (der->data != NULL)
        explicit_bzero(der->data, der->size);
    nx_free(der->data);
    *der = (struct nx_der){0};
}

static inline void nx_der_free(struct nx_der *der)
{
    nx_free(der->data);
    *der = (struct nx_der){0};
}

#endif
