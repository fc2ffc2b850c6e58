/* A rank of an all_reduce_compressed that sends what no encoder makes, over a real connection: the other names it, its
 * memory is as it should be, and so is its residual. */
#include "coll/op.h"
#include "job.h"
#include "math/compress.h"
#include "wire/tag.h"

enum { COUNT = 1000, K = 4, WORDS = 512 };

static void sent(struct nx_send_req *req, nexar_status status)
{
    (void)req, (void)status;
}

/* What rank 1 sends in place of the first message of its first collective; it lives on until the job has ended. */
struct lie {
    const nexar_compression *form;
    uint32_t words[WORDS];
    size_t nbytes;
    nexar_status status;
    const char *what;
    struct nx_send_req req;
};

/* As coll/start.c would, of a call that fits that of rank 0. */
static void tell(nexar_comm *comm, struct lie *lie, uint64_t call)
{
    nexar_status st;
    uint64_t id;

    must(nx_tag_make(1, 0, &id));
    lie->req =
        (struct nx_send_req){.head = {.lane = NX_LANE_COLL, .scope = comm->id, .id = id, .call = call, .count = COUNT},
                             .payload = lie->words,
                             .payload_len = lie->nbytes,
                             .done = sent};
    st = nx_send(comm->net->peer[0], &lie->req);
    must(st == NEXAR_OK || st == NEXAR_EAGAIN);
}

/* The call of rank 0, which is running. */
static uint64_t call_of(nexar_comm *comm)
{
    uint64_t call = 0;

    nx_lock(&comm->lock);
    nx_list_for_each_safe(pos, tmp, &comm->running)
    {
        call = nx_container_of(pos, struct nx_coll_op, link)->announced.call;
    }
    nx_unlock(&comm->lock);
    return call;
}

static void lie_to_rank_0(struct lie *lie)
{
    static float x[COUNT], y[COUNT + 16], residual[COUNT], zeros[COUNT];
    nexar_compression form = *lie->form;
    nexar_error error = {.size = sizeof(error)};
    nexar_op *op;
    struct job job;

    form.size = sizeof(form);
    form.residual = form.k != 0 ? residual : NULL;
    for (int i = 0; i < COUNT; i++)
        x[i] = (float)i;
    memset(y, 0x55, sizeof(y));
    job_local(&job, 2, NULL);
    assert_ok(nexar_all_reduce_compressed(job.comm[0], x, y, COUNT, NEXAR_FLOAT32, NEXAR_SUM, &form, NULL, &op));
    assert_true(call_of(job.comm[0]) != 0);
    tell(job.comm[1], lie, call_of(job.comm[0]));
    assert_status(nexar_op_wait(op, NEXAR_FOREVER), lie->status);
    assert_ok(nexar_op_error(op, &error));
    assert_int_equal(error.peer, 1);
    job_check_words(error.text, lie->what);
    for (int i = COUNT; i < COUNT + 16; i++)
        assert_memory_equal(&y[i], "\x55\x55\x55\x55", 4);
    assert_memory_equal(residual, zeros, sizeof(zeros));
    nexar_op_close(op);
    job_close(&job);
}

static const nexar_compression top_k = {.kind = NEXAR_COMPRESS_TOP_K, .k = K};
static const nexar_compression int8 = {.kind = NEXAR_COMPRESS_INT8, .block = 256};

static void test_c5_indices(void **state)
{
    static struct lie lies[] = {
        {.form = &top_k, .words = {0, 1, 2, COUNT}, .what = "index 1000 as number 3 of 4, for a vector of 1000"},
        {.form = &top_k, .words = {UINT32_MAX, 0, 0, 0}, .what = "index 4294967295 as number 0"},
        {.form = &top_k, .words = {7, 7, 8, 9}, .what = "index 7 as number 1 of 4|out of order"},
        {.form = &top_k, .words = {9, 8, 7, 6}, .what = "index 8 as number 1 of 4|out of order"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        lies[i].nbytes = 8 * K;
        lies[i].status = NEXAR_EPROTO;
        lie_to_rank_0(&lies[i]);
    }
}

static void test_c5_sizes(void **state)
{
    static struct lie lies[] = {{.form = &top_k, .nbytes = 8 * K - 4},
                                {.form = &top_k, .nbytes = 8 * K + 4},
                                {.form = &top_k, .nbytes = 0},
                                {.form = &int8, .nbytes = 499},
                                {.form = &int8, .nbytes = 2048}};

    (void)state;
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        lies[i].status = NEXAR_EPROTO;
        lies[i].what = "rank 1|sent a message of another length than the schedule says";
        lie_to_rank_0(&lies[i]);
    }
}

static void test_c5_scales(void **state)
{
    static struct lie lies[] = {{.form = &int8, .words = {0, 0x7f800000}},
                                {.form = &int8, .words = {0, 0x7fc00000}},
                                {.form = &int8, .words = {0, 0xbf800000}}};
    const struct nx_compress how = {.kind = NEXAR_COMPRESS_INT8, .block = 256};

    (void)state;
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        lies[i].nbytes = 4 * nx_compress_words(&how, 512); /* rank 0's half: two blocks of four */
        lies[i].status = NEXAR_EPROTO;
        lies[i].what = "rank 1|sent what no encoder makes|as the scale of block 1";
        lie_to_rank_0(&lies[i]);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_c5_indices),
        cmocka_unit_test(test_c5_sizes),
        cmocka_unit_test(test_c5_scales),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
