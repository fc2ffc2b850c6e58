/* net/module.h - modules of nexar/ext.h: those of the library, one beside it, and those in files of the user. */
#ifndef NX_NET_MODULE_H
#define NX_NET_MODULE_H

#include "nexar/ext.h"

#include <stdbool.h>

struct nx_module_found {
    const nexar_module *module;
    void *library; /* to be unloaded, or NULL */
    bool foreign;  /* the user has named its file */
};

struct nx_modules {
    struct nx_module_found *found;
    uint32_t count;
};

/* Fills in at most `max`, best first: those of the files in `paths` (separated by colons, may be NULL), those of `own`
 * (ended by NULL), and libnexar_rdma.so, if it lies beside this library, before the last of these.
 * NEXAR_ECONFIG: a file cannot be loaded or is no module. */
nexar_status nx_modules_look(struct nx_modules *modules, const nexar_module *const *own, const char *paths,
                             uint32_t max);
/* NULL: there is none of this name. */
struct nx_module_found *nx_modules_find(const struct nx_modules *modules, const char *name);
/* NULL is legal. */
void nx_module_unload(void *library);

#endif
