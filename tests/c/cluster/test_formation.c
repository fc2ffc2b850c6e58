/* Jobs form over QUIC on the loopback interface: sizes, several at once, ranks, refusals, and the ends of seeds. */
#include "job.h"

#include "base/pool.h"
#include "nexar/nexar.h"

#include <pthread.h>

/* ---- all goes well ---- */

static void test_b1_jobs_of_all_sizes(void **state)
{
    static const uint32_t sizes[] = {1, 2, 3, 5, 8};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct job job;

        job_form(&job, sizes[i]);
        job_works(&job);
        job_close(&job);
    }
}

/* What a job has left behind when it has ended is some free objects, kept for the next. */
static void test_no_memory_is_left(void **state)
{
    struct nx_mem_stats before, after;

    (void)state;
    for (int round = 0; round < 8; round++) {
        struct job job;

        job_form(&job, 3);
        job_works(&job);
        job_close(&job);
        nx_pool_trim();
        if (round == 2)
            nx_mem_stats(&before);
    }
    nx_mem_stats(&after);
    assert_true(after.bytes < before.bytes + 4096); /* 15 nodes later */
}

static void test_several_jobs_at_once(void **state)
{
    struct job job[4];

    (void)state;
    for (uint32_t k = 0; k < 4; k++)
        job[k] = (struct job){.size = k + 1, .seed = job_seed(k + 1, 60 * NX_S, NULL)};
    for (uint32_t i = 0; i < 4; i++) {
        for (uint32_t k = i; k < 4; k++)
            job[k].node[i] = job_join(nx_seed_text(job[k].seed), 0, 60 * NX_S);
    }
    for (uint32_t k = 0; k < 4; k++)
        job_finish_forming(&job[k]);
    for (uint32_t k = 0; k < 4; k++)
        job_works(&job[k]);
    for (uint32_t k = 0; k < 4; k++)
        job_close(&job[k]);
}

/* Ranks do not come in the order in which processes start. */
static void test_b5_requested_ranks(void **state)
{
    static const uint32_t wishes[4] = {3, 0, 1, 0};
    struct job job = {.size = 4, .seed = job_seed(4, 60 * NX_S, NULL)};

    (void)state;
    for (uint32_t i = 0; i < 4; i++)
        job.node[i] = job_join(nx_seed_text(job.seed), wishes[i], 60 * NX_S);
    for (uint32_t i = 0; i < 4; i++) {
        nexar_comm *comm;

        assert_ok(job_wait(job.node[i], &comm));
        if (wishes[i] != 0)
            assert_int_equal(nexar_comm_rank(comm), wishes[i] - 1);
        job.comm[nexar_comm_rank(comm)] = comm;
    }
    job_works(&job);
    job_close(&job);
}

/* By a secret that all share there is no join string, and no fingerprint. */
static void test_s3_secret_instead_of_token(void **state)
{
    struct nx_proof_key right, wrong;
    struct nx_node_options o;
    struct nx_node *stranger;
    struct job job = {.size = 2};

    (void)state;
    assert_ok(nx_proof_key_from_secret("0123456789abcdef0123456789abcdef", 32, &right));
    assert_ok(nx_proof_key_from_secret("0123456789abcdef0123456789abcdeF", 32, &wrong));
    job.seed = job_seed(2, 60 * NX_S, &right);
    assert_null(nx_seed_text(job.seed));
    job_options_secret(nx_seed_port(job.seed), &right, &o);
    job.node[0] = job_start(&o);
    o.join.proof = wrong;
    stranger = job_start(&o);
    job_fails(stranger, NEXAR_EAUTH, "does not know the secret (NEXAR_SECRET) of this rank|127.0.0.1:");
    o.join.proof = right;
    job.node[1] = job_start(&o);
    job_finish_forming(&job);
    job_works(&job);
    job_close(&job);
}

/* ---- refusals: each with its reason, and the others form ---- */

struct refusal {
    struct job job;
    struct nx_node_options o;
};

/* One of two ranks has joined. */
static void begin(struct refusal *r)
{
    r->job = (struct job){.size = 2, .seed = job_seed(2, 60 * NX_S, NULL)};
    r->job.node[0] = job_join(nx_seed_text(r->job.seed), 1, 60 * NX_S);
    job_options(nx_seed_text(r->job.seed), &r->o);
}

static void refused(struct refusal *r, nexar_status status, const char *words)
{
    job_fails(job_start(&r->o), status, words);
}

/* The other one joins, and all is well. */
static void end(struct refusal *r)
{
    r->job.node[1] = job_join(nx_seed_text(r->job.seed), 2, 60 * NX_S);
    job_finish_forming(&r->job);
    job_works(&r->job);
    job_close(&r->job);
}

/* The seed proves first: who has a wrong token says nothing that is worth anything. */
static void test_b4_wrong_token(void **state)
{
    struct refusal r;

    (void)state;
    begin(&r);
    r.o.join.proof.bytes[31] ^= 1;
    refused(&r, NEXAR_EAUTH, "does not know the token of the join string|127.0.0.1:");
    end(&r);
}

static void test_s2_wrong_fingerprint(void **state)
{
    struct refusal r;

    (void)state;
    begin(&r);
    r.o.join.ca_sha256[0] ^= 1;
    refused(&r, NEXAR_EAUTH, "is not the one of the join string|fingerprint");
    end(&r);
}

/* The join string of another job, with this one's address. */
static void test_s2_join_string_of_another_job(void **state)
{
    struct nx_seed *other = job_seed(2, 60 * NX_S, NULL);
    struct sockaddr_storage here;
    struct refusal r;

    (void)state;
    begin(&r);
    here = r.o.join.seeds[0];
    job_options(nx_seed_text(other), &r.o);
    r.o.join.seeds[0] = here;
    refused(&r, NEXAR_EAUTH, "is not the one of the join string|the seed of another job, or somebody in between");
    nx_seed_end(other);
    end(&r);
}

static void test_rank_taken(void **state)
{
    struct refusal r;

    (void)state;
    begin(&r);
    r.o.join.rank_plus_one = 1;
    /* It may come before the first has joined: then that one is refused, so wait until it has. */
    assert_eventually(job_seed_proven(r.job.seed) == 1);
    refused(&r, NEXAR_EAUTH, "rank 0 is taken already, by 127.0.0.1:");
    end(&r);
}

static void test_rank_out_of_range(void **state)
{
    struct refusal r;

    (void)state;
    begin(&r);
    r.o.join.rank_plus_one = 3;
    refused(&r, NEXAR_EAUTH, "rank 2 is not one of the 2 ranks");
    end(&r);
}

static void test_wrong_size(void **state)
{
    struct refusal r;

    (void)state;
    begin(&r);
    r.o.join.size = 3;
    refused(&r, NEXAR_ECONFIG, "the seed expects 2 ranks, this worker 3");
    end(&r);
}

static void test_too_many(void **state)
{
    struct job job;

    (void)state;
    job_form(&job, 2);
    job_fails(job_join(nx_seed_text(job.seed), 0, 60 * NX_S), NEXAR_ECONFIG, "the job has all its 2 ranks");
    job_works(&job);
    job_close(&job);
}

/* Both ends know, and nothing is sent. */
static void test_different_settings(void **state)
{
    struct job job = {.size = 2, .seed = job_seed(2, 60 * NX_S, NULL)};
    struct nx_node_options o;

    (void)state;
    job.node[0] = job_join(nx_seed_text(job.seed), 1, 60 * NX_S);
    job_options(nx_seed_text(job.seed), &o);
    o.reproducible = true;
    o.join.rank_plus_one = 2;
    job.node[1] = job_start(&o);
    job_fails(job.node[0], NEXAR_ECONFIG, "rank 1|different settings");
    job_fails(job.node[1], NEXAR_ECONFIG, "rank 0|gave up|different settings");
    assert_status(nx_seed_wait(job.seed, nx_now() + CHECK_PATIENCE), NEXAR_ECONFIG);
    nx_seed_end(job.seed);
}

/* ---- ends ---- */

static void test_nobody_there(void **state)
{
    struct nx_seed *seed = job_seed(2, 60 * NX_S, NULL);
    struct nx_node_options o;

    (void)state;
    job_options(nx_seed_text(seed), &o);
    nx_seed_end(seed);
    o.join_timeout = 200 * NX_MS;
    job_fails(job_start(&o), NEXAR_ETIMEDOUT, "cannot reach the seed at 127.0.0.1:|attempts");
}

/* The seed comes up after the workers. */
static void test_seed_comes_late(void **state)
{
    struct nx_proof_key secret;
    struct nx_seed_options so = {.size = 2, .timeout = 60 * NX_S, .secret = &secret};
    struct nx_seed *first;
    struct nx_node_options o;
    struct job job = {.size = 2};
    uint16_t port;

    (void)state;
    assert_ok(nx_proof_key_from_secret("0123456789abcdef0123456789abcdef", 32, &secret));
    first = job_seed(2, 60 * NX_S, &secret);
    port = nx_seed_port(first);
    job_options_secret(port, &secret, &o);
    so.listen = o.join.seeds[0];
    nx_seed_end(first);
    job.node[0] = job_start(&o);
    job.node[1] = job_start(&o);
    assert_status(nx_node_wait(job.node[0], nx_now() + 200 * NX_MS, &job.comm[0]), NEXAR_EAGAIN); /* it goes on */
    assert_ok(nx_seed_serve(&so, &job.seed));
    job_finish_forming(&job);
    job_works(&job);
    job_close(&job);
}

/* All that have joined learn who is missing, the seed and the workers alike, whoever's time is over first. */
static void test_b3_deadline_names_the_missing(void **state)
{
    (void)state;
    for (int first = 0; first < 2; first++) {
        nx_time short_time = 300 * NX_MS, long_time = 60 * NX_S;
        struct nx_seed *seed = job_seed(3, first == 0 ? short_time : long_time, NULL);
        struct nx_node *a = job_join(nx_seed_text(seed), 1, first == 0 ? long_time : short_time);
        struct nx_node *c = job_join(nx_seed_text(seed), 3, first == 0 ? long_time : short_time + NX_S);
        struct nx_node_options o;

        job_options(nx_seed_text(seed), &o);
        o.join.size = 4;
        job_fails(job_start(&o), NEXAR_ECONFIG, "expects 3 ranks");
        job_fails(a, NEXAR_ETIMEDOUT, "did not form in time|2 of 3 ranks have joined, missing: rank 1|this worker 4");
        if (first == 0) {
            job_fails(c, NEXAR_ETIMEDOUT, "missing: rank 1|this worker 4");
            assert_status(nx_seed_wait(seed, nx_now() + CHECK_PATIENCE), NEXAR_ETIMEDOUT);
            job_check_words(nexar_last_error(), "missing: rank 1|this worker 4");
        } else {
            job_fails(c, NEXAR_ETIMEDOUT, "missing: ranks 0, 1|this worker 4|gave up");
            assert_status(nx_seed_wait(seed, nx_now()), NEXAR_EAGAIN); /* others may still come */
        }
        nx_seed_end(seed);
    }
}

static void test_seed_closed_while_forming(void **state)
{
    struct nx_seed *seed = job_seed(2, 60 * NX_S, NULL);
    struct nx_node *node = job_join(nx_seed_text(seed), 1, 60 * NX_S);

    (void)state;
    assert_eventually(job_seed_proven(seed) == 1);
    nx_seed_end(seed);
    job_fails(node, NEXAR_EPEER, "the seed was closed before the job had formed");
}

static void *wait_for_seed(void *arg)
{
    return (void *)(intptr_t)nx_seed_wait(arg, NX_NEVER);
}

/* Whoever waits for it is told, before it is gone. */
static void test_seed_closed_while_others_wait(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        struct nx_seed *seed = job_seed(2, 60 * NX_S, NULL);
        pthread_t thread[2];
        void *st;

        for (int i = 0; i < 2; i++)
            assert_int_equal(pthread_create(&thread[i], NULL, wait_for_seed, seed), 0);
        assert_eventually(job_seed_waiting(seed) == 2);
        nx_seed_end(seed);
        for (int i = 0; i < 2; i++) {
            pthread_join(thread[i], &st);
            assert_int_equal((nexar_status)(intptr_t)st, NEXAR_ECLOSED);
        }
    }
}

/* A seed that ends at once after the job has formed has told everybody. */
static void test_b6_seed_ends_at_once(void **state)
{
    (void)state;
    for (int round = 0; round < 5; round++) {
        struct job job = {.size = 4, .seed = job_seed(4, 60 * NX_S, NULL)};

        for (uint32_t i = 0; i < 4; i++)
            job.node[i] = job_join(nx_seed_text(job.seed), 0, 60 * NX_S);
        assert_ok(nx_seed_wait(job.seed, nx_now() + CHECK_PATIENCE));
        nx_seed_end(job.seed);
        job.seed = NULL;
        for (uint32_t i = 0; i < 4; i++)
            assert_ok(job_wait(job.node[i], &job.comm[i]));
        job_works(&job);
        job_close(&job);
    }
}

static void test_sizes_that_cannot_be(void **state)
{
    struct nx_seed_options o = {.size = 0, .timeout = NX_S};
    struct nx_seed *seed;

    (void)state;
    assert_status(nx_seed_serve(&o, &seed), NEXAR_EINVAL);
    o.size = NX_RANKS_MAX + 1;
    assert_status(nx_seed_serve(&o, &seed), NEXAR_EINVAL);
    assert_null(seed);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_b1_jobs_of_all_sizes),
        cmocka_unit_test(test_no_memory_is_left),
        cmocka_unit_test(test_several_jobs_at_once),
        cmocka_unit_test(test_b5_requested_ranks),
        cmocka_unit_test(test_s3_secret_instead_of_token),
        cmocka_unit_test(test_b4_wrong_token),
        cmocka_unit_test(test_s2_wrong_fingerprint),
        cmocka_unit_test(test_s2_join_string_of_another_job),
        cmocka_unit_test(test_rank_taken),
        cmocka_unit_test(test_rank_out_of_range),
        cmocka_unit_test(test_wrong_size),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_different_settings),
        cmocka_unit_test(test_nobody_there),
        cmocka_unit_test(test_seed_comes_late),
        cmocka_unit_test(test_b3_deadline_names_the_missing),
        cmocka_unit_test(test_seed_closed_while_forming),
        cmocka_unit_test(test_seed_closed_while_others_wait),
        cmocka_unit_test(test_b6_seed_ends_at_once),
        cmocka_unit_test(test_sizes_that_cannot_be),
    };

    return cmocka_run_group_tests(tests, job_log_begin, NULL);
}
