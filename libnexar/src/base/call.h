/* base/call.h - running a function on the engine and waiting for it. */
#ifndef NX_BASE_CALL_H
#define NX_BASE_CALL_H

#include "base/engine.h"

/* Runs `fn` on the engine and returns when it has run; at once if this is the engine.  NEXAR_EFORK. */
nexar_status nx_call(void (*fn)(void *arg), void *arg);

/* Returns when everything that runs on the engine now has run to its end. */
nexar_status nx_fence(void);

#endif
