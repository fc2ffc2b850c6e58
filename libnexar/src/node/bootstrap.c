/* node/bootstrap.c - joining a job: the public calls.
 *
 * Owner: the thread that calls; `meet` is the engine's from the start of rank 0's node until its seed has ended.  What
 * the environment means is decided in env.c, how ranks find each other here: by join string, by a shared secret, by a
 * file on one host, or not at all for one rank. */
#include "base/engine.h"
#include "base/log.h"
#include "base/mem.h"
#include "nexar/node.h"
#include "node/meet.h"
#include "node/options.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How often a name is asked for again that no name server knows yet; and how often a rank that has found rank 0's file,
 * but not rank 0, looks for another file. */
#define LOOK_AGAIN (250 * NX_MS)

struct nexar_joining {
    struct nx_setup *setup; /* of a job that grows it goes with the node */
    struct nx_node *node;   /* until its communicator is given */
    nx_time deadline;
    bool locating; /* it is not known yet where the seed is */
    bool seeking;  /* the way is by file, and this is not rank 0 */
    struct nx_meet_folders folders;
    char found[NX_MEET_ID]; /* the file that the node was started with, or "" */
    struct nx_meet *meet;   /* rank 0's, until all have joined */
};

/* ---- rank 0: its seed goes with its node ---- */

static void end_seed(void *seed)
{
    nx_seed_end(seed);
}

/* Engine: nobody else needs to find this job, and the next one has the same name. */
static void all_here(void *arg)
{
    struct nexar_joining *j = arg;

    nx_meet_withdraw(j->meet);
    j->meet = NULL;
}

static nexar_status start_node(struct nexar_joining *j, struct nx_seed *seed)
{
    nexar_status st;

    j->setup->options.join_timeout = j->deadline == NX_NEVER ? NX_NEVER : j->deadline - nx_now();
    st = nx_node_start(&j->setup->options, &j->node);
    if (st != NEXAR_OK) {
        nexar_error error = *nx_last_error();

        nx_seed_end(seed);
        return nx_fail_with(&error);
    }
    if (seed != NULL)
        nx_node_attach(j->node, seed, end_seed);
    return NEXAR_OK;
}

/* Waits for the node.  A job that grows and could not take this process in is asked again. */
static nexar_status wait_node(struct nexar_joining *j, nx_time until, nexar_comm **comm)
{
    nexar_status st = nx_node_wait(j->node, until, comm);

    while (st == NEXAR_EPEER && nx_node_may_try_again(j->node) && nx_now() < j->deadline) {
        nx_info("joining is tried again: %s", nexar_last_error());
        nx_node_free(j->node);
        j->node = NULL;
        st = start_node(j, NULL);
        if (st == NEXAR_OK)
            st = nx_node_wait(j->node, until, comm);
    }
    return st;
}

static void free_setup(void *setup)
{
    nx_setup_free(setup);
    nx_free_secret(setup);
}

/* By join string or secret.  NEXAR_EAGAIN: a name is not known yet. */
static nexar_status locate(struct nexar_joining *j)
{
    const struct nx_config *c = &j->setup->config;
    bool by_secret = j->setup->way == NX_WAY_SECRET;
    struct nx_seed *seed = NULL;
    nexar_status st = by_secret ? nx_setup_by_secret(j->setup)
                                : nx_setup_by_join_string(j->setup, c->join, nx_config_name(c, &c->join));

    j->locating = st == NEXAR_EAGAIN;
    if (st == NEXAR_OK && by_secret && j->setup->env.rank == 0)
        st = nx_setup_serve(j->setup, NULL, NULL, &seed);
    return st == NEXAR_OK ? start_node(j, seed) : st;
}

static nexar_status locate_again(struct nexar_joining *j, nx_time until)
{
    struct timespec pause = {.tv_nsec = LOOK_AGAIN};
    nexar_status st;

    while (j->locating) {
        char why[300];

        snprintf(why, sizeof(why), "%s", nexar_last_error());
        if (nx_now() >= j->deadline)
            return nx_fail(NEXAR_ETIMEDOUT, "it could not be found where rank 0 or the seed is: %s", why);
        if (nx_now() >= until)
            return NEXAR_EAGAIN;
        if (ppoll(NULL, 0, &pause, NULL) < 0)
            return nx_fail(NEXAR_EINTR, "interrupted while joining");
        st = locate(j);
        if (st != NEXAR_OK && st != NEXAR_EAGAIN)
            return st;
    }
    return NEXAR_OK;
}

/* `job` NULL: nobody is waited for. */
static nexar_status publish(struct nexar_joining *j, const char *job)
{
    struct nx_seed *seed;
    nexar_status st = nx_setup_serve(j->setup, all_here, j, &seed);

    if (st != NEXAR_OK)
        return st;
    st = nx_setup_by_join_string(j->setup, nx_seed_text(seed), "rank 0's own join string");
    if (st == NEXAR_OK && job != NULL)
        st = nx_meet_publish(&j->folders, job, nx_seed_text(seed), &j->meet);
    if (st == NEXAR_OK)
        return start_node(j, seed);
    nx_seed_end(seed);
    return st;
}

/* ---- the others of one host ---- */

/* Looks until `until` for a file that is not the one found before, and starts over with it.  NEXAR_EAGAIN: there is
 * none. */
static nexar_status seek(struct nexar_joining *j, nx_time until)
{
    struct nx_meet_found file;
    nexar_status st =
        nx_meet_find(&j->folders, j->setup->env.here, j->found[0] == '\0' ? NULL : j->found, until, &file);

    if (st == NEXAR_ETIMEDOUT && until < j->deadline)
        return NEXAR_EAGAIN;
    if (st != NEXAR_OK)
        return st;
    if (j->node != NULL)
        nx_info("rank 0 was not where its first file says; it has left another");
    nx_node_free(j->node);
    j->node = NULL;
    memcpy(j->found, file.id, sizeof(j->found));
    st = nx_setup_by_join_string(j->setup, file.join, "the join string that rank 0 has left");
    nx_free_secret(file.join);
    return st == NEXAR_OK ? start_node(j, NULL) : st;
}

/* Waits for the node, but as long as it has not reached rank 0, looks for another file from time to time: what it found
 * may be of a process that was about to end. */
static nexar_status wait_seeking(struct nexar_joining *j, nx_time until, nexar_comm **comm)
{
    nexar_status st = NEXAR_OK;

    if (j->node == NULL) {
        st = seek(j, until < j->deadline ? until : j->deadline);
        if (st != NEXAR_OK)
            return st;
    }
    for (;;) {
        nx_time slice = nx_after(nx_now(), LOOK_AGAIN);

        if (nx_node_welcomed(j->node))
            return wait_node(j, until, comm);
        st = nx_node_wait(j->node, slice < until ? slice : until, comm);
        if (st != NEXAR_EAGAIN || until <= slice)
            return st;
        if (nx_node_welcomed(j->node))
            continue;
        st = seek(j, nx_now());
        if (st != NEXAR_OK && st != NEXAR_EAGAIN && st != NEXAR_ETIMEDOUT)
            return st;
    }
}

/* ---- public ---- */

static nexar_status begin(struct nexar_joining *j, const nexar_config *config)
{
    nexar_status st = nx_setup_load(config, false, j->setup);

    if (st != NEXAR_OK)
        return st;
    j->deadline = nx_after(nx_now(), j->setup->config.join_timeout_ns);
    switch (j->setup->way) {
    case NX_WAY_ALONE:
        return j->setup->config.elastic != 0 ? publish(j, NULL) : start_node(j, NULL);
    case NX_WAY_JOIN:
    case NX_WAY_SECRET:
        st = locate(j);
        if (j->locating)
            nx_info("where rank 0 or the seed is, is not known yet: %s", nexar_last_error());
        return j->locating ? NEXAR_OK : st;
    case NX_WAY_FILE:
        break;
    }
    nx_meet_folders(getenv("XDG_RUNTIME_DIR"), &j->folders);
    j->seeking = j->setup->env.rank != 0;
    return j->seeking ? NEXAR_OK : publish(j, j->setup->env.here);
}

nexar_status nexar_join_start(const nexar_config *config, nexar_joining **out)
{
    nexar_joining *j;
    nexar_status st;

    if (out == NULL)
        return nx_fail(NEXAR_EINVAL, "init: there is no place for the result");
    *out = NULL;
    st = nx_engine_may_block();
    if (st != NEXAR_OK)
        return st;
    j = nx_calloc(1, sizeof(*j));
    if (j != NULL)
        j->setup = nx_calloc(1, sizeof(*j->setup));
    if (j == NULL || j->setup == NULL) {
        nx_free(j);
        return nx_fail(NEXAR_ENOMEM, "init: no memory");
    }
    st = begin(j, config);
    if (st != NEXAR_OK) {
        nexar_error error = *nx_last_error();

        nexar_join_close(j);
        return nx_fail_with(&error);
    }
    *out = j;
    return NEXAR_OK;
}

nexar_status nexar_join_wait(nexar_joining *j, int64_t timeout_ns, nexar_comm **comm)
{
    nx_time until = nx_after(nx_now(), timeout_ns);
    nexar_status st;

    if (j == NULL || comm == NULL)
        return nx_fail(NEXAR_EINVAL, "init: it is NULL, or there is no place for the communicator");
    *comm = NULL;
    st = nx_engine_may_block();
    if (st != NEXAR_OK)
        return st;
    if (j->node == NULL && !j->seeking && !j->locating)
        return nx_fail(NEXAR_EINVAL, "init: the communicator was given already, or joining has failed");
    st = locate_again(j, until);
    if (st != NEXAR_OK)
        return st;
    st = j->seeking ? wait_seeking(j, until, comm) : wait_node(j, until, comm);
    if (st == NEXAR_OK && j->setup->config.elastic != 0) {
        nx_node_attach(j->node, j->setup, free_setup);
        j->setup = NULL;
    }
    if (st == NEXAR_OK) {
        j->node = NULL;
        j->seeking = false;
    }
    return st;
}

void nexar_join_close(nexar_joining *j)
{
    if (j == NULL)
        return;
    nx_node_free(j->node);
    nx_meet_withdraw(j->meet);
    if (j->setup != NULL)
        free_setup(j->setup);
    nx_free_secret(j);
}

nexar_status nexar_init(const nexar_config *config, nexar_comm **comm)
{
    nexar_joining *j;
    nexar_error error;
    nexar_status st;

    if (comm == NULL)
        return nx_fail(NEXAR_EINVAL, "init: there is no place for the communicator");
    *comm = NULL;
    st = nexar_join_start(config, &j);
    if (st != NEXAR_OK)
        return st;
    do
        st = nexar_join_wait(j, NX_NEVER, comm);
    while (st == NEXAR_EINTR);
    if (st == NEXAR_OK) {
        nexar_join_close(j);
        return st;
    }
    error = *nx_last_error();
    nexar_join_close(j);
    return nx_fail_with(&error);
}
