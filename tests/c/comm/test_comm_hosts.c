/* Collectives of ranks on several hosts, connected by QUIC: who knows what of the others' hosts, what is chosen, and
 * every element. */
#include "coll/exec.h"
#include "comm/comm.h"
#include "job.h"

enum { RANKS = 5, LONG = 300001 / JOB_SHORTER + 40000 };

/* Ranks 0 and 1 on one, 2, 3 and 4 on another; or 0, 2 and 4, and 1 and 3. */
static const char *const layouts[] = {"AABBB", "ABABA"};

static void form(struct job *job, const char *groups)
{
    *job = (struct job){.size = RANKS, .seed = job_seed(RANKS, 60 * NX_S, NULL)};
    for (uint32_t i = 0; i < RANKS; i++) {
        struct nx_node_options options;

        job_options(nx_seed_text(job->seed), &options);
        options.join.rank_plus_one = i + 1;
        options.join_timeout = 60 * NX_S;
        memset(options.join.group, groups[i], sizeof(options.join.group));
        job->node[i] = job_start(&options);
    }
    job_finish_forming(job);
}

static void known(const nexar_comm *comm, const char *groups, bool several, bool in_a_row)
{
    must((comm->where & NX_ON_HOSTS) == (several ? NX_ON_HOSTS : 0));
    must((comm->where & NX_IN_A_ROW) == (in_a_row ? NX_IN_A_ROW : 0));
    must((comm->hosts != NULL) == several);
    for (uint32_t i = 0; several && i < comm->size; i++)
        for (uint32_t k = 0; k < i; k++)
            must((comm->hosts[i] == comm->hosts[k]) ==
                 (groups[nx_comm_world(comm, i)] == groups[nx_comm_world(comm, k)]));
}

static const char *chosen(nexar_comm *comm, enum nx_coll coll, nexar_dtype dtype, uint64_t nbytes)
{
    const struct nx_call call = {.coll = coll, .dtype = dtype, .op = NEXAR_SUM};

    return nx_coll_choose(comm, coll, &call, nbytes)->name;
}

static int32_t value(uint32_t rank, size_t i)
{
    return (int32_t)(i * 31 + i / 7 + rank * 1009);
}

static int32_t sum(uint32_t n, size_t i)
{
    int32_t total = 0;

    for (uint32_t r = 0; r < n; r++)
        total += value(r, i);
    return total;
}

static void each_collective(nexar_comm *comm, size_t count)
{
    uint32_t n = nexar_comm_size(comm), rank = nexar_comm_rank(comm);
    int32_t *in = malloc((n * count + 1) * sizeof(*in)), *out = malloc((n * count + 1) * sizeof(*out));
    float *x = malloc((count + 1) * sizeof(*x));

    must(in != NULL && out != NULL && x != NULL);
    for (size_t i = 0; i < n * count; i++)
        in[i] = value(rank, i);
    must(nexar_all_reduce(comm, in, out, count, NEXAR_INT32, NEXAR_SUM, NULL, NULL) == NEXAR_OK);
    for (size_t i = 0; i < count; i++)
        must(out[i] == sum(n, i));
    for (size_t i = 0; i < count; i++)
        x[i] = 1.0F / (float)(rank + 2 + i % 50);
    must(nexar_all_reduce(comm, x, x, count, NEXAR_FLOAT32, NEXAR_SUM, NULL, NULL) == NEXAR_OK);
    for (size_t i = 0; i < count; i++) { /* by rank, to the bit */
        float want = 1.0F / (float)(2 + i % 50);

        for (uint32_t r = 1; r < n; r++)
            want += 1.0F / (float)(r + 2 + i % 50);
        must(memcmp(&x[i], &want, sizeof(want)) == 0);
    }
    must(nexar_reduce_scatter(comm, in, out, count, NEXAR_INT32, NEXAR_SUM, NULL, NULL) == NEXAR_OK);
    for (size_t i = 0; i < count; i++)
        must(out[i] == sum(n, rank * count + i));
    must(nexar_all_gather(comm, in, out, count, NEXAR_INT32, NULL, NULL) == NEXAR_OK);
    for (uint32_t r = 0; r < n; r++)
        for (size_t i = 0; i < count; i++)
            must(out[r * count + i] == value(r, i));
    for (uint32_t root = 0; root < n; root++) {
        must(nexar_reduce(comm, in, out, count, NEXAR_INT32, NEXAR_SUM, root, NULL, NULL) == NEXAR_OK);
        for (size_t i = 0; i < count && rank == root; i++)
            must(out[i] == sum(n, i));
        for (size_t i = 0; i < count; i++)
            out[i] = rank == root ? value(root, i) : 0;
        must(nexar_broadcast(comm, out, count, NEXAR_INT32, root, NULL, NULL) == NEXAR_OK);
        for (size_t i = 0; i < count; i++)
            must(out[i] == value(root, i));
    }
    must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
    free(in);
    free(out);
    free(x);
}

static void on_hosts(nexar_comm *comm, void *arg)
{
    static const size_t counts[] = {0, 1, 7, 1000, LONG};
    const char *groups = arg;
    bool in_a_row = strcmp(groups, layouts[0]) == 0;
    nexar_comm *backwards, *near, *apart;
    uint32_t rank = nexar_comm_rank(comm);

    known(comm, groups, true, in_a_row);
    must(strcmp(chosen(comm, NX_COLL_ALL_REDUCE, NEXAR_INT32, 8), "hosts") == 0);
    must(strcmp(chosen(comm, NX_COLL_ALL_REDUCE, NEXAR_FLOAT32, 1 << 20), in_a_row ? "relay" : "direct") == 0);
    must(strcmp(chosen(comm, NX_COLL_BROADCAST, NEXAR_UINT8, 8), "hosts") == 0);
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        each_collective(comm, counts[i]);
    must(nexar_comm_split(comm, 0, -(int32_t)rank, NULL, &backwards) == NEXAR_OK);
    known(backwards, groups, true, in_a_row);
    each_collective(backwards, 1000);
    nexar_comm_close(backwards);
    must(nexar_comm_split_by_host(comm, NULL, &near) == NEXAR_OK);
    known(near, groups, false, false);
    each_collective(near, 1000);
    nexar_comm_close(near);
    /* One rank of each, and the rest. */
    must(nexar_comm_split(comm, rank == 0 || rank == 3, 0, NULL, &apart) == NEXAR_OK);
    known(apart, groups, rank != 0 && rank != 3, rank != 0 && rank != 3);
    each_collective(apart, 1000);
    nexar_comm_close(apart);
}

static void test_layouts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
        struct job job;

        form(&job, layouts[i]);
        job_each(&job, on_hosts, (void *)(uintptr_t)layouts[i]);
        job_close(&job);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layouts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
