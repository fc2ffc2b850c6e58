/* node/env_look.h - looking for launchers: what env.c and launcher.c share. */
#ifndef NX_NODE_ENV_LOOK_H
#define NX_NODE_ENV_LOOK_H

#include "base/status.h"
#include "node/env.h"

struct nx_look {
    const struct nx_config *config;
    char *const *environment;
    const struct nx_env_host *host;
    struct nx_env *env;
    bool forced; /* NEXAR_DETECT names this launcher */
    /* variables that rank and size were taken from, for texts */
    const char *rank_name, *size_name, *local_rank_name, *local_size_name;
    const char *starter_variable; /* tells a rank from its starter */
    bool unique;                  /* `job` is no other job's on this host */
    char notes[512];              /* launchers that were not taken, and why */
};

enum nx_verdict {
    NX_ABSENT,
    NX_FOUND,
    NX_HALF,  /* some of its variables are missing; the last error says which */
    NX_WRONG, /* they make no sense; the last error says why */
};

struct nx_launcher {
    const char *name;
    enum nx_detect detect;
    enum nx_verdict (*look)(struct nx_look *look);
};

extern const struct nx_launcher nx_launchers[];
extern const size_t nx_launcher_count;

/* NULL if it is not set, or empty. */
const char *nx_look_variable(const struct nx_look *look, const char *name);

/* Adds to a text, as much as fits. */
void nx_append(char *out, size_t cap, const char *format, ...) NX_PRINTF(3, 4);

#endif
