/* verbs.c - libibverbs, loaded when a node asks for it: whoever has none needs none.
 *
 * Owner: a lock, for the first call of a process; const after it.  The library is never unloaded: its providers leave
 * threads and handlers behind.  Needs the libibverbs of rdma-core 32 (2020) or later, which tells the types of GIDs. */
#include "rdma.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct nx_verbs verbs;
static bool loaded;

/* A library that finds no device may still start threads and map memory: it is not asked if the kernel has none. */
static bool kernel_has_devices(void)
{
    DIR *dir = opendir("/sys/class/infiniband");
    const struct dirent *entry;
    bool found = false;

    while (dir != NULL && (entry = readdir(dir)) != NULL)
        found = found || entry->d_name[0] != '.';
    if (dir != NULL)
        closedir(dir);
    return found;
}

static bool find(void *library, const char *name, void *out)
{
    void *found = dlsym(library, name);

    memcpy(out, &found, sizeof(found));
    return found != NULL;
}

static bool load(const char *path, char *why, size_t cap)
{
    void *library;
    const char *missing = NULL;

    if (path == NULL && !kernel_has_devices()) {
        snprintf(why, cap, "this host has no RDMA device");
        return false;
    }
    library = dlopen(path == NULL ? "libibverbs.so.1" : path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (library == NULL) {
        snprintf(why, cap, "%s", dlerror());
        return false;
    }
#define NX_VERB(type, name, arguments)             \
    if (!find(library, "ibv_" #name, &verbs.name)) \
        missing = "ibv_" #name;
    NX_VERBS(NX_VERB)
#undef NX_VERB
    if (!find(library, "ibv_query_port", &verbs.query_port))
        missing = "ibv_query_port";
    if (!find(library, "_ibv_query_gid_table", &verbs.query_gid_table))
        missing = "_ibv_query_gid_table";
    if (missing == NULL)
        return true;
    snprintf(why, cap, "libibverbs has no %s: it is older than rdma-core 32", missing);
    dlclose(library);
    return false;
}

const struct nx_verbs *nx_verbs_load(const char *path, char *why, size_t cap)
{
    pthread_mutex_lock(&lock);
    if (!loaded)
        loaded = load(path, why, cap);
    pthread_mutex_unlock(&lock);
    return loaded ? &verbs : NULL;
}

int nx_verbs_port(const struct nx_verbs *v, struct ibv_context *context, uint8_t port, struct ibv_port_attr *out)
{
    struct verbs_context *extended = verbs_get_ctx_op(context, query_port);

    memset(out, 0, sizeof(*out));
    return extended != NULL ? extended->query_port(context, port, out, sizeof(*out))
                            : v->query_port(context, port, out);
}
