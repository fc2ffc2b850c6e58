/* verbs_kit.h - the fake libibverbs, loaded and in order before each test and after it. */
#ifndef NX_TEST_VERBS_KIT_H
#define NX_TEST_VERBS_KIT_H

#include "check.h"
#include "fake_verbs.h"

#include <dlfcn.h>

/* Of infiniband/verbs.h, which tests do without. */
enum { MTU_1024 = 3, MTU_2048 = 4, MTU_4096 = 5 };
enum { EVENT_QP_FATAL = 1, EVENT_DEVICE_FATAL = 8, EVENT_PORT_ERR = 10 };
enum { ACCESS_LOCAL_WRITE = 1, ACCESS_REMOTE_READ = 4 };

static const struct fake_verbs *verbs;

static inline void *kit_load(const char *path, const char *symbol)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void *found = library == NULL ? NULL : dlsym(library, symbol);

    if (found == NULL)
        fail_msg("%s: %s", path, dlerror());
    return found;
}

/* For each test. */
static inline int kit_verbs(void **state)
{
    (void)state;
    verbs = kit_load(RDMA_VERBS, "fake_verbs");
    verbs->reset();
    return 0;
}

/* Nothing is left. */
static inline int kit_teardown_any(void **state)
{
    (void)state;
    return verbs->counts().live == 0 ? 0 : -1;
}

/* And no message met a queue without a buffer. */
static inline int kit_teardown(void **state)
{
    return verbs->counts().rnr == 0 ? kit_teardown_any(state) : -1;
}

#endif
