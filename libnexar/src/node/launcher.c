/* node/launcher.c - the variables of each launcher that is known.
 *
 * Owner: none, no state.  Each function reads its launcher's variables alone; which launcher counts is env.c's. */
#include "base/status.h"
#include "node/env_look.h"
#include "node/hostlist.h"
#include "node/value.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *nx_look_variable(const struct nx_look *look, const char *name)
{
    const char *value = nx_variable(look->environment, name);

    return value == NULL || value[0] == '\0' ? NULL : value;
}

void nx_append(char *out, size_t cap, const char *format, ...)
{
    size_t n = strlen(out);
    va_list args;

    va_start(args, format);
    vsnprintf(out + n, cap - n, format, args);
    va_end(args);
}

/* A number, if the variable is there. */
static enum nx_verdict number(const struct nx_look *look, const char *name, uint32_t *out)
{
    const char *text = nx_look_variable(look, name);
    uint64_t value;

    if (text == NULL)
        return NX_ABSENT;
    if (!nx_value_count(text, &value) || value > UINT32_MAX - 1) {
        nx_fail(NEXAR_ECONFIG, "%s is \"%.64s\", which is no number of a rank", name, text);
        return NX_WRONG;
    }
    *out = (uint32_t)value;
    return NX_FOUND;
}

static enum nx_verdict half(const struct nx_look *look, const char *set, const char *missing)
{
    nx_fail(NEXAR_ECONFIG,
            "%s is set, %s is not: set both, or none, or NEXAR_DETECT=none if this process is not to join a job%s", set,
            missing, look->forced ? " (NEXAR_DETECT asks for this launcher)" : "");
    return NX_HALF;
}

/* Rank and size; both or none. */
static enum nx_verdict pair(struct nx_look *look, const char *rank_name, const char *size_name)
{
    enum nx_verdict rank = number(look, rank_name, &look->env->rank);
    enum nx_verdict size = rank == NX_WRONG ? NX_WRONG : number(look, size_name, &look->env->size);

    if (rank == NX_WRONG || size == NX_WRONG)
        return NX_WRONG;
    if (rank != size)
        return rank == NX_FOUND ? half(look, rank_name, size_name) : half(look, size_name, rank_name);
    if (rank == NX_ABSENT && look->forced) {
        nx_fail(NEXAR_ECONFIG, "NEXAR_DETECT asks for it, but neither %s nor %s is set", rank_name, size_name);
        return NX_HALF;
    }
    look->rank_name = look->starter_variable = rank_name;
    look->size_name = size_name;
    return rank;
}

/* Rank and number of ranks on this host; each may be missing. */
static enum nx_verdict local_pair(struct nx_look *look, const char *rank_name, const char *size_name)
{
    struct nx_env *env = look->env;
    enum nx_verdict rank = number(look, rank_name, &env->local_rank);
    enum nx_verdict size = rank == NX_WRONG ? NX_WRONG : number(look, size_name, &env->local_size);

    if (rank == NX_WRONG || size == NX_WRONG)
        return NX_WRONG;
    env->have_local_rank = rank == NX_FOUND;
    env->have_local_size = size == NX_FOUND;
    look->local_rank_name = rank_name;
    look->local_size_name = size_name;
    return NX_FOUND;
}

/* The size of a launcher that tells none; with a join string, the seed will. */
static bool take_size(struct nx_look *look)
{
    const struct nx_config *config = look->config;

    if (config->world_size == 0)
        return config->join != NULL;
    look->env->size = config->world_size;
    look->size_name = nx_config_name(config, &config->world_size);
    return true;
}

/* A job's name, which must not be cut. */
static enum nx_verdict name_job(struct nx_look *look, const char *format, ...) NX_PRINTF(2, 3);

static enum nx_verdict name_job(struct nx_look *look, const char *format, ...)
{
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(look->env->job, sizeof(look->env->job), format, args);
    va_end(args);
    if (n >= 0 && n < (int)sizeof(look->env->job))
        return NX_FOUND;
    nx_fail(NEXAR_ECONFIG, "the job's name is longer than %zu characters: %.64s...", sizeof(look->env->job) - 1,
            look->env->job);
    return NX_WRONG;
}

static const char *or_nothing(const char *text)
{
    return text == NULL ? "" : text;
}

static enum nx_verdict torchrun(struct nx_look *look)
{
    const char *run = nx_look_variable(look, "TORCHELASTIC_RUN_ID"), *host = nx_look_variable(look, "MASTER_ADDR");
    const char *port = nx_look_variable(look, "MASTER_PORT");
    enum nx_verdict found = pair(look, "RANK", "WORLD_SIZE");

    /* RANK or WORLD_SIZE alone can be anybody's. */
    if (found == NX_HALF && !look->forced && host == NULL)
        return NX_ABSENT;
    if (found != NX_FOUND)
        return found;
    /* A port is one job's at a time; "none" is the name of all runs that were given none. */
    look->unique = port != NULL || (run != NULL && strcmp(run, "none") != 0);
    if (name_job(look, "torchrun/%s/%s:%s/%s", or_nothing(run), or_nothing(host), or_nothing(port),
                 or_nothing(nx_look_variable(look, "TORCHELASTIC_RESTART_COUNT"))) != NX_FOUND)
        return NX_WRONG;
    return local_pair(look, "LOCAL_RANK", "LOCAL_WORLD_SIZE");
}

static enum nx_verdict openmpi(struct nx_look *look)
{
    const char *job = nx_look_variable(look, "PMIX_NAMESPACE");
    bool by_pmix = nx_look_variable(look, "OMPI_COMM_WORLD_RANK") == NULL && /* some builds leave it to PMIx */
                   nx_look_variable(look, "OMPI_COMM_WORLD_SIZE") != NULL &&
                   nx_look_variable(look, "PMIX_RANK") != NULL;
    enum nx_verdict found = pair(look, by_pmix ? "PMIX_RANK" : "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE");

    if (found != NX_FOUND)
        return found;
    if (job == NULL)
        job = nx_look_variable(look, "OMPI_MCA_ess_base_jobid");
    look->unique = job != NULL;
    if (name_job(look, "openmpi/%s", or_nothing(job)) != NX_FOUND)
        return NX_WRONG;
    return local_pair(look, "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE");
}

/* Slurm's variables are all there and are those of a step that srun started.  A batch script, a shell of salloc and one
 * of ssh have some of them, or all with the number of a step that is none. */
static const char *slurm_lacks(const struct nx_look *look)
{
    static const char *const needed[] = {"SLURM_JOB_ID",  "SLURM_PROCID",        "SLURM_NTASKS",
                                         "SLURM_LOCALID", "SLURM_STEP_NODELIST", "SLURM_STEP_ID"};
    uint64_t step;

    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
        if (nx_look_variable(look, needed[i]) == NULL)
            return needed[i];
    }
    if (!nx_value_count(nx_look_variable(look, "SLURM_STEP_ID"), &step) || step >= UINT64_C(0xfffffff0))
        return "SLURM_STEP_ID of a step that srun started";
    return NULL;
}

/* The step's size; SLURM_NTASKS is the allocation's in some shells. */
static const char *slurm_size(const struct nx_look *look)
{
    return nx_look_variable(look, "SLURM_STEP_NUM_TASKS") != NULL ? "SLURM_STEP_NUM_TASKS" : "SLURM_NTASKS";
}

/* A step of Slurm has started this process with this rank and size itself: Slurm then tells more. */
static bool is_slurm_too(const struct nx_look *look, uint32_t rank, const uint32_t *size)
{
    uint32_t slurm_rank = 0, tasks = 0;

    return !look->forced && slurm_lacks(look) == NULL && number(look, "SLURM_PROCID", &slurm_rank) == NX_FOUND &&
           number(look, slurm_size(look), &tasks) == NX_FOUND && slurm_rank == rank && (size == NULL || tasks == *size);
}

static enum nx_verdict pmi(struct nx_look *look)
{
    const char *job = nx_look_variable(look, "PMI_JOBID");
    struct nx_env *env = look->env;
    enum nx_verdict found = pair(look, "PMI_RANK", "PMI_SIZE"), local;

    if (found != NX_FOUND)
        return found;
    if (is_slurm_too(look, env->rank, &env->size))
        return NX_ABSENT;
    look->unique = job != NULL;
    if (name_job(look, "pmi/%s", or_nothing(job)) != NX_FOUND)
        return NX_WRONG;
    if (nx_look_variable(look, "MPI_LOCALNRANKS") == NULL)
        return local_pair(look, "PMI_LOCAL_RANK", "PMI_LOCAL_SIZE");
    local = local_pair(look, "MPI_LOCALRANKID", "MPI_LOCALNRANKS");
    if (env->have_local_rank && env->local_rank >= env->local_size) /* MPICH 3.3 counted itself alone */
        env->have_local_rank = env->have_local_size = false;
    return local;
}

static enum nx_verdict pmix(struct nx_look *look)
{
    const char *job = nx_look_variable(look, "PMIX_NAMESPACE");
    struct nx_env *env = look->env;
    enum nx_verdict found = number(look, "PMIX_RANK", &env->rank);

    if (found == NX_ABSENT && look->forced) {
        nx_fail(NEXAR_ECONFIG, "NEXAR_DETECT asks for it, but PMIX_RANK is not set");
        return NX_HALF;
    }
    if (found != NX_FOUND || is_slurm_too(look, env->rank, NULL))
        return found == NX_FOUND ? NX_ABSENT : found;
    if (!take_size(look))
        return half(look, "PMIX_RANK", "NEXAR_WORLD_SIZE (PMIx tells no size)");
    look->rank_name = look->starter_variable = "PMIX_RANK";
    look->unique = job != NULL;
    return name_job(look, "pmix/%s", or_nothing(job));
}

static enum nx_verdict slurm(struct nx_look *look)
{
    const char *job = nx_look_variable(look, "SLURM_JOB_ID"), *missing = slurm_lacks(look), *tasks, *nodes;
    struct nx_env *env = look->env;
    uint32_t node = 0;

    if (missing != NULL && look->forced) {
        nx_fail(NEXAR_ECONFIG, "NEXAR_DETECT is slurm, but there is no %s: were the ranks started with srun?", missing);
        return NX_HALF;
    }
    if (missing != NULL) {
        if (job != NULL)
            nx_append(look->notes, sizeof(look->notes),
                      "; in Slurm job %.32s, but there is no %s: ranks are started with srun", job, missing);
        return NX_ABSENT;
    }
    if (pair(look, "SLURM_PROCID", slurm_size(look)) != NX_FOUND ||
        number(look, "SLURM_LOCALID", &env->local_rank) != NX_FOUND)
        return NX_WRONG;
    env->have_local_rank = true;
    look->local_rank_name = "SLURM_LOCALID";
    look->local_size_name = "that node's part of SLURM_STEP_TASKS_PER_NODE";
    nodes = nx_look_variable(look, "SLURM_STEP_NODELIST");
    if (!nx_hostlist_first(nodes, env->host, sizeof(env->host))) {
        nx_fail(NEXAR_ECONFIG, "SLURM_STEP_NODELIST is \"%.64s\", which is no list of hosts", nodes);
        return NX_WRONG;
    }
    tasks = nx_look_variable(look, "SLURM_STEP_TASKS_PER_NODE");
    if (number(look, "SLURM_NODEID", &node) == NX_FOUND && tasks != NULL)
        env->have_local_size = nx_tasks_on_node(tasks, node, &env->local_size);
    look->unique = true;
    return name_job(look, "slurm/%s/%s.%s", or_nothing(nx_look_variable(look, "SLURM_CLUSTER_NAME")), job,
                    nx_look_variable(look, "SLURM_STEP_ID"));
}

/* "job-2.service.domain" and index 2: "job-0.service.domain" into env->host if there is a domain, "job.service.domain"
 * into `job`. */
static bool pod_names(const char *name, const char *index, struct nx_env *env, char *job, size_t cap)
{
    size_t label = strcspn(name, "."), digits = strlen(index), stem;

    if (label <= digits + 1 || name[label - digits - 1] != '-' || strncmp(name + label - digits, index, digits) != 0)
        return false;
    stem = label - digits - 1;
    snprintf(job, cap, "%.*s%s", (int)stem, name, name + label);
    if (name[label] == '.')
        snprintf(env->host, sizeof(env->host), "%.*s-0%s", (int)stem, name, name + label);
    return true;
}

static enum nx_verdict kubernetes(struct nx_look *look)
{
    const char *index = nx_look_variable(look, "JOB_COMPLETION_INDEX");
    char name[NX_ENV_HOST] = "", job[NX_ENV_HOST] = "";
    struct nx_env *env = look->env;
    enum nx_verdict found = number(look, "JOB_COMPLETION_INDEX", &env->rank);

    if (found == NX_ABSENT && look->forced) {
        nx_fail(NEXAR_ECONFIG, "NEXAR_DETECT is kubernetes, but JOB_COMPLETION_INDEX is not set");
        return NX_HALF;
    }
    if (found != NX_FOUND)
        return found;
    if (!take_size(look))
        return half(look, "JOB_COMPLETION_INDEX", "NEXAR_WORLD_SIZE (the job's completions)");
    env->local_size = 1; /* a pod is a host of its own */
    env->have_local_rank = env->have_local_size = true;
    look->rank_name = look->starter_variable = "JOB_COMPLETION_INDEX";
    look->local_rank_name = "the rank in a pod";
    look->local_size_name = "the number of ranks in a pod";
    look->unique = true;
    look->host->full_name(name, sizeof(name));
    if ((!pod_names(name, index, env, job, sizeof(job)) || env->host[0] == '\0') && look->config->master_addr == NULL &&
        nx_look_variable(look, "MASTER_ADDR") == NULL)
        nx_append(look->notes, sizeof(look->notes),
                  "; the pod is called %.64s: with a headless service and its name as the pods' subdomain, rank 0 "
                  "could be found by name",
                  name);
    return name_job(look, "kubernetes/%s", job);
}

const struct nx_launcher nx_launchers[] = {
    {"torchrun", NX_DETECT_TORCHRUN, torchrun},
    {"openmpi", NX_DETECT_OPENMPI, openmpi},
    {"pmi", NX_DETECT_PMI, pmi},
    {"pmix", NX_DETECT_PMIX, pmix},
    {"slurm", NX_DETECT_SLURM, slurm},
    {"kubernetes", NX_DETECT_KUBERNETES, kubernetes},
};
const size_t nx_launcher_count = sizeof(nx_launchers) / sizeof(nx_launchers[0]);
