/* net/module.c - finds modules and loads those that are files.
 *
 * Owner: the thread that opens a node.  It opens no module and judges none but by its own words. */
#include "net/module.h"

#include "base/status.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

static bool is_name(const char *name)
{
    size_t n = name == NULL ? 0 : strlen(name);

    return n > 0 && n < 16 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == n;
}

static nexar_status check(const nexar_module *m, const char *path)
{
    if (m->abi != NEXAR_MODULE_ABI)
        return nx_fail(NEXAR_ECONFIG, "%s is a module for version %u of nexar/ext.h, this is %d", path, m->abi,
                       NEXAR_MODULE_ABI);
    if (m->size < sizeof(*m) || !is_name(m->name) || m->open == NULL || m->attach == NULL || m->told == NULL ||
        m->detach == NULL || m->close == NULL)
        return nx_fail(NEXAR_ECONFIG, "%s is not a whole module", path);
    return NEXAR_OK;
}

static nexar_status add(struct nx_modules *modules, const nexar_module *m, void *library, bool foreign, uint32_t max)
{
    if (nx_modules_find(modules, m->name) != NULL || modules->count == max) {
        nx_module_unload(library);
        return nx_fail(NEXAR_ECONFIG, "the module %s is there twice, or there are more than %u modules", m->name, max);
    }
    modules->found[modules->count++] = (struct nx_module_found){.module = m, .library = library, .foreign = foreign};
    return NEXAR_OK;
}

static nexar_status load(struct nx_modules *modules, const char *path, bool foreign, uint32_t max)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const nexar_module *m = library == NULL ? NULL : dlsym(library, "nexar_module_v1");
    nexar_status st;

    if (library == NULL)
        return nx_fail(NEXAR_ECONFIG, "%s cannot be loaded: %s", path, dlerror());
    st = m == NULL ? nx_fail(NEXAR_ECONFIG, "%s is no module: it has no nexar_module_v1", path) : check(m, path);
    if (st != NEXAR_OK) {
        dlclose(library);
        return st;
    }
    return add(modules, m, library, foreign, max);
}

/* A file in the folder of this library: true if it is there. */
static bool beside(const char *name, char *path, size_t cap)
{
    Dl_info info;
    const char *slash;
    FILE *file;

    if (dladdr(&nexar_last_error, &info) == 0 || (slash = strrchr(info.dli_fname, '/')) == NULL)
        return false;
    snprintf(path, cap, "%.*s/%s", (int)(slash - info.dli_fname), info.dli_fname, name);
    file = fopen(path, "rb");
    if (file != NULL)
        fclose(file);
    return file != NULL;
}

nexar_status nx_modules_look(struct nx_modules *modules, const nexar_module *const *own, const char *paths,
                             uint32_t max)
{
    nexar_status st = NEXAR_OK;
    char path[1024];

    for (const char *p = paths; p != NULL && *p != '\0' && st == NEXAR_OK;) {
        size_t n = strcspn(p, ":");

        if (n >= sizeof(path))
            return nx_fail(NEXAR_ECONFIG, "NEXAR_MODULES has a path of %zu bytes, %zu are allowed", n,
                           sizeof(path) - 1);
        snprintf(path, sizeof(path), "%.*s", (int)n, p);
        if (n != 0)
            st = load(modules, path, true, max);
        p += n + (p[n] == ':');
    }
    for (; *own != NULL && st == NEXAR_OK; own++) {
        if (own[1] == NULL && nx_modules_find(modules, "rdma") == NULL &&
            beside("libnexar_rdma.so", path, sizeof(path)))
            st = load(modules, path, false, max);
        if (st == NEXAR_OK)
            st = add(modules, *own, NULL, false, max);
    }
    return st;
}

struct nx_module_found *nx_modules_find(const struct nx_modules *modules, const char *name)
{
    for (uint32_t i = 0; i < modules->count; i++) {
        if (strcmp(modules->found[i].module->name, name) == 0)
            return &modules->found[i];
    }
    return NULL;
}

void nx_module_unload(void *library)
{
    if (library != NULL)
        dlclose(library);
}
