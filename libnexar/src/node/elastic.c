/* node/elastic.c - the job forms anew at a checkpoint: who stays, who is new, who leaves: the public calls.
 *
 * Owner: the thread that calls; the lobby and the nodes are the engine's.  A checkpoint is an all_gather of what each
 * rank knows, from which all compute the same; then, if somebody comes or goes, those who stay join a job of the new
 * size at the lobby of the first of them, as at any seed, while the old job is there still.  A formation is of all or
 * of nobody: if it fails, they are where they were, and ask each other again.  Whoever is in the new one votes in the
 * old one no more, so that the two can never go on beside each other. */
#include "nexar/elastic.h"
#include "base/call.h"
#include "base/log.h"
#include "base/mem.h"
#include "nexar/coll.h"
#include "node/node_parts.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

/* How often the first of them looks whether enough are there. */
#define LOOK_AGAIN (50 * NX_MS)

/* What each rank tells the others. */
struct said {
    uint32_t leaves;    /* 1; or 0 */
    uint32_t waiting;   /* in its lobby, to join */
    uint32_t formation; /* of its lobby, the next */
    uint32_t min, max;  /* its configuration's */
    uint32_t late;      /* 1: too few were there for too long */
    uint32_t formed;    /* 1: it is a rank of the new formation already */
};

enum { SAID_COUNT = sizeof(struct said) / sizeof(uint32_t) };

enum stage {
    ASKING,
    SHORT, /* fewer than min_world: waits for others */
    FORMING,
    OVER,
};

struct nexar_elastic {
    nexar_comm *comm; /* a reference */
    struct nx_node *node;
    nx_time deadline;
    enum stage stage;
    struct said mine, *all; /* owned; by rank */
    nexar_op *gather;       /* of ASKING */
    /* what follows from that */
    uint32_t first;       /* rank of those who stay that lets the others in */
    uint32_t stay;        /* so many */
    uint32_t place;       /* of this rank among them */
    uint32_t joined;      /* new */
    struct nx_node *heir; /* of FORMING */
    nexar_comm *made;     /* of ASKING, once it has formed: those who leave are told so */
    nexar_error lost;     /* engine: why it cannot form */
};

/* ---- asking each other ---- */

static void look_into_lobby(void *arg)
{
    struct nexar_elastic *e = arg;
    const struct nx_seed_machine *m;

    if (e->node->lobby == NULL)
        return; /* the new formation has it */
    m = nx_seed_machine_of(nx_lobby_seed(e->node->lobby));
    e->mine.waiting = nx_seed_waiting(m);
    e->mine.formation = m->formation;
}

static nexar_status ask(struct nexar_elastic *e)
{
    nexar_call_opts opts = {.size = sizeof(opts), .timeout_ns = NEXAR_FOREVER};
    nx_time now = nx_now();
    nexar_status st = nx_call(look_into_lobby, e);

    if (e->deadline != NX_NEVER)
        opts.timeout_ns = e->deadline > now ? e->deadline - now : 1;
    e->stage = ASKING;
    return st != NEXAR_OK ? st
                          : nexar_all_gather(e->comm, &e->mine, e->all, SAID_COUNT, NEXAR_UINT32, &opts, &e->gather);
}

static uint32_t most(uint32_t max)
{
    return max == 0 || max > NX_RANKS_MAX ? NX_RANKS_MAX : max;
}

/* The same on all ranks. */
static void compute(struct nexar_elastic *e)
{
    const struct said *host;
    uint32_t room;

    e->first = NEXAR_NO_RANK;
    e->stay = e->joined = 0;
    for (uint32_t i = 0; i < e->comm->size; i++) {
        if (e->all[i].leaves != 0)
            continue;
        if (e->first == NEXAR_NO_RANK)
            e->first = i;
        if (i == e->comm->rank)
            e->place = e->stay;
        e->stay++;
    }
    if (e->first == NEXAR_NO_RANK)
        return;
    host = &e->all[e->first];
    room = most(host->max) > e->stay ? most(host->max) - e->stay : 0;
    e->joined = host->waiting < room ? host->waiting : room;
}

/* ---- forming anew ---- */

/* Engine.  Whoever is lost to the old job is lost to the new one, and sooner. */
void nx_elastic_disturbed(struct nx_node *node, const nexar_error *error)
{
    if (node->heir != NULL && node->heir->joining != NULL)
        nx_joining_mesh_failed(node->heir->joining, error);
}

static void expect(void *arg)
{
    struct nexar_elastic *e = arg;
    struct nx_seed *seed = nx_lobby_seed(e->node->lobby);

    nx_seed_expect(nx_seed_machine_of(seed), e->stay + e->joined, e->stay, nx_now());
    nx_seed_settle(seed);
}

static void pass(void *arg)
{
    struct nexar_elastic *e = arg;
    struct nx_seed *seed;

    if (e->node->lobby == NULL)
        return;
    seed = nx_lobby_seed(e->node->lobby);
    nx_seed_pass(nx_seed_machine_of(seed), "the members do not form the job anew");
    nx_seed_settle(seed);
}

/* From here on losses end it; those of before are looked for. */
static void watch(void *arg)
{
    struct nexar_elastic *e = arg;
    nexar_comm *comm = e->comm;

    e->node->heir = e->heir;
    for (uint32_t i = 0; i < comm->size; i++) {
        if (i == comm->rank || nx_lane_peer_status(&e->node->net.lanes, nx_comm_world(comm, i)) != NEXAR_EPEER)
            continue;
        nx_error_set(&e->lost, NEXAR_EPEER, i, "rank %u was lost", i);
        nx_elastic_disturbed(e->node, &e->lost);
        return;
    }
}

static void unwatch(void *arg)
{
    struct nexar_elastic *e = arg;

    e->node->heir = NULL;
}

static nexar_status form(struct nexar_elastic *e)
{
    const struct nx_lobby_place *place = &e->node->places[nx_comm_world(e->comm, e->first)];
    struct nx_node_options options = e->node->options;
    struct nx_join_options *j = &options.join;
    nx_time now = nx_now();
    nexar_status st = NEXAR_OK;

    j->seed_count = 0;
    for (uint32_t i = 0; i < place->count && j->seed_count < NX_JOIN_HOSTS; i++)
        j->seed_count += nx_address_of(place->address[i], &j->seeds[j->seed_count]) == NEXAR_OK;
    snprintf(j->seed_text, sizeof(j->seed_text), "%s", place->address[0]);
    j->patient = false;
    j->formation = e->all[e->first].formation;
    j->rank_plus_one = e->place + 1;
    j->size = e->stay + e->joined;
    if (e->deadline != NX_NEVER)
        options.join_timeout = e->deadline > now ? e->deadline - now : 1;
    options.lobby = e->node->lobby;
    if (e->comm->rank == e->first)
        st = nx_call(expect, e);
    if (st == NEXAR_OK)
        st = nx_node_start(&options, &e->heir);
    if (st == NEXAR_OK)
        st = nx_call(watch, e);
    explicit_bzero(j->token, sizeof(j->token));
    explicit_bzero(&j->proof, sizeof(j->proof));
    e->stage = FORMING;
    return st;
}

static void give_up_forming(struct nexar_elastic *e)
{
    if (e->heir == NULL)
        return;
    (void)nx_call(unwatch, e);
    nx_node_free(e->heir);
    e->heir = NULL;
}

/* ---- step by step ---- */

/* A formation is of all who stay.  One that hears it from the others has been given up by them. */
static nexar_status end_formed(struct nexar_elastic *e)
{
    nexar_error error;

    e->stage = OVER;
    if (e->mine.leaves != 0)
        return NEXAR_OK; /* and nobody waits for it any more */
    nx_error_set(&error, NEXAR_EPEER, e->comm->rank,
                 "elastic_checkpoint: the others have formed the job anew, without this rank");
    return nx_fail_with(&error);
}

/* All have said what they know. */
static nexar_status decide(struct nexar_elastic *e, nexar_comm **out)
{
    uint32_t min;

    compute(e);
    for (uint32_t i = 0; i < e->comm->size; i++) {
        if (e->all[i].formed != 0)
            return end_formed(e);
    }
    if (e->first == NEXAR_NO_RANK) {
        e->stage = OVER; /* all have left */
        return NEXAR_OK;
    }
    min = e->all[e->first].min;
    if (e->all[e->first].late != 0) {
        nx_fail(NEXAR_ETIMEDOUT, "elastic_checkpoint: %u ranks of at least %u are there, and too few join", e->stay,
                min);
        nx_error_hint(nx_last_error(), "start others with the job's join string, or with a smaller NEXAR_MIN_WORLD");
        return NEXAR_ETIMEDOUT;
    }
    if (e->stay + e->joined < min) {
        e->stage = SHORT;
        return NEXAR_OK;
    }
    if (e->stay + e->joined == e->comm->size && e->joined == 0) {
        e->stage = OVER;
        *out = e->comm;
        return NEXAR_OK;
    }
    return e->mine.leaves != 0 ? ask(e) : form(e);
}

/* The first waits until enough are there; the others in the next all_gather. */
static nexar_status wait_for_others(struct nexar_elastic *e, nx_time until)
{
    struct timespec pause = {.tv_nsec = LOOK_AGAIN};
    nexar_status st = NEXAR_OK;

    while (st == NEXAR_OK && e->comm->rank == e->first) {
        nx_time now = nx_now();

        st = nx_call(look_into_lobby, e);
        /* A little before all of them run out of time. */
        e->mine.late = e->deadline != NX_NEVER && e->deadline - now < NX_S / 2;
        if (e->stay + e->mine.waiting >= e->mine.min || e->mine.late != 0)
            break;
        if (now >= until)
            return NEXAR_EAGAIN;
        if (ppoll(NULL, 0, &pause, NULL) < 0)
            return nx_fail(NEXAR_EINTR, "interrupted in a checkpoint");
    }
    return st == NEXAR_OK ? ask(e) : st;
}

static nexar_status wait_gather(struct nexar_elastic *e, nx_time until, nexar_comm **out)
{
    nx_time now = nx_now();
    nexar_status st = nexar_op_wait(e->gather, until == NX_NEVER ? NEXAR_FOREVER : until > now ? until - now : 0);
    nexar_error error;

    if (st == NEXAR_EAGAIN || st == NEXAR_EINTR)
        return st;
    error = *nx_last_error();
    nexar_op_close(e->gather);
    e->gather = NULL;
    if (e->made != NULL) { /* whatever became of the old job */
        *out = e->made;
        e->made = NULL;
        e->stage = OVER;
        return NEXAR_OK;
    }
    if (st != NEXAR_OK) {
        (void)nx_call(pass, e);
        return nx_fail_with(&error);
    }
    return decide(e, out);
}

/* Those who leave wait until it has formed: if it had not, they would be asked again. */
static nexar_status tell_leavers(struct nexar_elastic *e, nexar_comm *made, nexar_comm **out)
{
    nx_time enough = nx_after(nx_now(), e->node->options.linger);

    e->made = made;
    e->mine.formed = 1;
    if (e->deadline > enough)
        e->deadline = enough;
    if (e->stay < e->comm->size && ask(e) == NEXAR_OK)
        return NEXAR_OK;
    *out = made;
    e->made = NULL;
    e->stage = OVER;
    return NEXAR_OK;
}

/* Of all or of nobody: who fails asks again, and is told there who is lost. */
static nexar_status wait_heir(struct nexar_elastic *e, nx_time until, nexar_comm **out)
{
    nexar_comm *made;
    nexar_error error;
    nexar_status st = nx_node_wait(e->heir, until, &made);

    if (st == NEXAR_EAGAIN || st == NEXAR_EINTR)
        return st;
    if (st == NEXAR_OK) {
        nx_node_hand_over(e->node, e->heir);
        e->heir = NULL;
        return tell_leavers(e, made, out);
    }
    error = *nx_last_error();
    nx_info("the job does not form anew: %s", error.text);
    give_up_forming(e);
    if (nx_now() >= e->deadline ||
        (st != NEXAR_EPEER && st != NEXAR_ETIMEDOUT && st != NEXAR_EPROTO && st != NEXAR_ECONFIG))
        return nx_fail_with(&error);
    return ask(e);
}

nexar_status nexar_elastic_wait(nexar_elastic *e, int64_t timeout_ns, nexar_comm **out)
{
    nx_time until = nx_after(nx_now(), timeout_ns);
    nexar_status st = NEXAR_OK;

    if (e == NULL || out == NULL)
        return nx_fail(NEXAR_EINVAL, "elastic_checkpoint: it is NULL, or there is no place for the communicator");
    *out = NULL;
    if (e->stage == OVER)
        return nx_fail(NEXAR_EINVAL, "elastic_checkpoint: its end was told already");
    while (st == NEXAR_OK && e->stage != OVER) {
        if (e->stage == ASKING)
            st = wait_gather(e, until, out);
        else if (e->stage == SHORT)
            st = wait_for_others(e, until);
        else
            st = wait_heir(e, until, out);
    }
    if (st != NEXAR_OK && st != NEXAR_EAGAIN && st != NEXAR_EINTR)
        e->stage = OVER;
    return st;
}

/* ---- the beginning and the end ---- */

/* Whoever is a member has a part in it. */
static nexar_status check(nexar_comm *comm, const struct nx_node *node)
{
    nexar_status st = NEXAR_OK;

    if (node->places == NULL || node->lobby == NULL) {
        st = nx_fail(NEXAR_ENOTSUP, node->places == NULL ? "elastic_checkpoint: the job is not elastic"
                                                         : "elastic_checkpoint: the job has formed anew since then");
        nx_error_hint(nx_last_error(), node->places == NULL ? "set NEXAR_ELASTIC=1 on all ranks and the seed"
                                                            : "call it on the communicator that the last one gave");
        return st;
    }
    for (uint32_t i = 0; i < node->net.config.size; i++) {
        if (nx_members_has(node->members, i) && nx_comm_rank_of(comm, i) == NEXAR_NO_RANK) {
            st = nx_fail(NEXAR_ENOTSUP, "elastic_checkpoint: this communicator does not have all members of the job");
            nx_error_hint(nx_last_error(), "call it on the world, or on what was shrunk from it");
        }
    }
    return st;
}

struct checking {
    nexar_comm *comm;
    nexar_status st;
    nexar_error error;
};

static void check_members(void *arg)
{
    struct checking *c = arg;

    c->st = check(c->comm, nx_node_of(c->comm));
    c->error = *nx_last_error();
}

nexar_status nexar_elastic_start(nexar_comm *comm, uint32_t leave, const nexar_call_opts *opts, nexar_elastic **out)
{
    struct checking c = {.comm = comm};
    nexar_elastic *e;
    nx_time now, deadline;
    nexar_status st = nx_comm_check(comm, "elastic_checkpoint", true);

    if (out == NULL || leave > 1)
        return nx_fail(NEXAR_EINVAL, "elastic_checkpoint: leave is %u, or there is nowhere to put it", leave);
    *out = NULL;
    if (st == NEXAR_OK)
        st = nx_deadline(opts, comm->timeout, &now, &deadline);
    if (st == NEXAR_OK)
        st = nx_call(check_members, &c);
    if (st == NEXAR_OK && c.st != NEXAR_OK)
        st = nx_fail_with(&c.error);
    if (st != NEXAR_OK)
        return st;
    e = nx_calloc(1, sizeof(*e));
    if (e != NULL)
        e->all = nx_calloc(comm->size, sizeof(*e->all));
    if (e == NULL || e->all == NULL) {
        nx_free(e);
        return nx_fail(NEXAR_ENOMEM, "elastic_checkpoint: no memory for %u ranks", comm->size);
    }
    e->comm = comm;
    e->node = nx_node_of(comm);
    e->deadline = deadline;
    e->mine = (struct said){.leaves = leave, .min = e->node->options.min_world, .max = e->node->options.max_world};
    nx_comm_hold(comm);
    st = ask(e);
    if (st != NEXAR_OK) {
        nexar_error error = *nx_last_error();

        nexar_elastic_close(e);
        return nx_fail_with(&error);
    }
    *out = e;
    return NEXAR_OK;
}

void nexar_elastic_close(nexar_elastic *e)
{
    if (e == NULL)
        return;
    nexar_op_close(e->gather);
    if (e->stage != OVER)
        (void)nx_call(pass, e);
    give_up_forming(e);
    nexar_comm_close(e->made);
    nx_comm_drop(e->comm);
    nx_free(e->all);
    nx_free(e);
}

static nexar_status to_its_end(nexar_comm *comm, uint32_t leave, const nexar_call_opts *opts, nexar_comm **out)
{
    nexar_elastic *e;
    nexar_error error;
    nexar_status st = nexar_elastic_start(comm, leave, opts, &e);

    if (st != NEXAR_OK)
        return st;
    do
        st = nexar_elastic_wait(e, NEXAR_FOREVER, out);
    while (st == NEXAR_EINTR);
    error = *nx_last_error();
    nexar_elastic_close(e);
    return st == NEXAR_OK ? st : nx_fail_with(&error);
}

nexar_status nexar_elastic_checkpoint(nexar_comm *comm, const nexar_call_opts *opts, nexar_comm **out)
{
    if (out == NULL)
        return nx_fail(NEXAR_EINVAL, "elastic_checkpoint: there is no place for the communicator");
    *out = NULL;
    return to_its_end(comm, 0, opts, out);
}

nexar_status nexar_comm_leave(nexar_comm *comm, const nexar_call_opts *opts)
{
    nexar_comm *none;

    return to_its_end(comm, 1, opts, &none);
}
