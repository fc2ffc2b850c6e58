/* The mesh's machine: who dials whom, again and where, until all are up; and what a roster may not be. */
#include "cluster/mesh.h"

#include "check.h"
#include "text.h"

enum { RANKS = 4 };

struct fake_mesh {
    struct nx_mesh_machine m;
    nx_time now;
    struct text log;
    const char *fails; /* dialling this address fails at once */
    nexar_error error;
};

static void dial(void *arg, uint32_t rank, const char *address)
{
    struct fake_mesh *f = arg;

    text_print(&f->log, "dial %u %s\n", rank, address);
    if (f->fails != NULL && strcmp(address, f->fails) == 0)
        nx_mesh_dial_failed(&f->m, rank, false, NEXAR_ESYSTEM, "its address is none", f->now);
}

static void complete(void *arg)
{
    text_print(&((struct fake_mesh *)arg)->log, "complete\n");
}

static void failed(void *arg, const nexar_error *error)
{
    struct fake_mesh *f = arg;

    text_print(&f->log, "failed\n");
    f->error = *error;
}

struct list {
    struct nx_msg_roster roster;
    uint8_t nodes[RANKS * NX_ID_SIZE], groups[RANKS * NX_ID_SIZE];
    struct nx_pair pairs[RANKS * (NX_ADDRESSES_MAX + 1)];
};

/* Rank r has the node id r + 1 and `addresses` addresses. */
static void make_list(struct list *l, uint32_t addresses)
{
    static const char *const texts[RANKS][3] = {
        {"a0", "b0", "c0"}, {"a1", "b1", "c1"}, {"a2", "b2", "c2"}, {"a3", "b3", "c3"}};
    size_t n = 0;

    memset(l, 0, sizeof(*l));
    for (uint32_t r = 0; r < RANKS; r++) {
        l->nodes[r * NX_ID_SIZE] = (uint8_t)(r + 1);
        for (uint32_t i = 0; i < addresses; i++)
            l->pairs[n++] = (struct nx_pair){.key = r, .text = nx_text(texts[r][i % 3])};
    }
    l->roster = (struct nx_msg_roster){.addresses = {.count = n, .items = l->pairs},
                                       .nodes = nx_bytes(l->nodes, sizeof(l->nodes)),
                                       .groups = nx_bytes(l->groups, sizeof(l->groups))};
}

static void init(struct fake_mesh *f)
{
    static const struct nx_mesh_ops ops = {.dial = dial, .complete = complete, .failed = failed};

    memset(f, 0, sizeof(*f));
    f->now = 1000 * NX_S;
    nx_mesh_init(&f->m, f->now + 60 * NX_S, &ops, f);
}

static void open_mesh(struct fake_mesh *f, uint32_t rank, uint32_t addresses, const char *fails)
{
    struct list l;

    init(f);
    f->fails = fails;
    make_list(&l, addresses);
    assert_ok(nx_mesh_start(&f->m, rank, RANKS, &l.roster));
    memset(&l, 0xff, sizeof(l)); /* it does not outlive the message */
}

static void shut(struct fake_mesh *f)
{
    text_free(&f->log);
    nx_mesh_fini(&f->m);
}

static void did(struct fake_mesh *f, const char *wanted)
{
    assert_string_equal(f->log.data == NULL ? "" : f->log.data, wanted);
    text_free(&f->log);
}

static void test_lower_dials_higher(void **state)
{
    static const char *const dials[RANKS] = {"dial 1 a1\ndial 2 a2\ndial 3 a3\n", "dial 2 a2\ndial 3 a3\n",
                                             "dial 3 a3\n", ""};
    struct fake_mesh f;

    (void)state;
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        open_mesh(&f, rank, 1, NULL);
        did(&f, dials[rank]);
        for (uint32_t other = 0; other < RANKS; other++) {
            if (other == rank)
                continue;
            did(&f, "");
            nx_mesh_up(&f.m, other);
            nx_mesh_up(&f.m, other); /* twice is once */
        }
        did(&f, "complete\n");
        assert_int_equal(nx_mesh_tick(&f.m, f.now + 3600 * NX_S), NX_NEVER);
        shut(&f);
    }
}

static void test_alone(void **state)
{
    struct fake_mesh f;
    struct list l;

    (void)state;
    init(&f);
    make_list(&l, 1);
    l.roster.nodes.len = l.roster.groups.len = NX_ID_SIZE;
    l.roster.addresses.count = 1;
    assert_ok(nx_mesh_start(&f.m, 0, 1, &l.roster));
    did(&f, "complete\n");
    shut(&f);
}

static void test_who_is_who(void **state)
{
    uint8_t node[NX_ID_SIZE] = {3};
    struct fake_mesh f;

    (void)state;
    init(&f);
    assert_int_equal(nx_mesh_rank_of(&f.m, node), NEXAR_NO_RANK);
    assert_int_equal(nx_mesh_tick(&f.m, f.now), NX_NEVER); /* before the roster, the one who joins watches the clock */
    open_mesh(&f, 0, 1, NULL);
    assert_int_equal(nx_mesh_rank_of(&f.m, node), 2);
    node[NX_ID_SIZE - 1] = 1;
    assert_int_equal(nx_mesh_rank_of(&f.m, node), NEXAR_NO_RANK);
    shut(&f);
}

/* The next address at once, a pause when all have been tried. */
static void test_dialling_again(void **state)
{
    nx_time pause = 20 * NX_MS;
    struct fake_mesh f;

    (void)state;
    open_mesh(&f, 2, 3, NULL);
    did(&f, "dial 3 a3\n");
    for (int round = 0; round < 12; round++) {
        nx_mesh_dial_failed(&f.m, 3, false, NEXAR_EPEER, "no answer", f.now);
        nx_mesh_tick(&f.m, f.now);
        did(&f, "dial 3 b3\n");
        nx_mesh_dial_failed(&f.m, 3, false, NEXAR_EPEER, "no answer", f.now);
        nx_mesh_tick(&f.m, f.now);
        did(&f, "dial 3 c3\n");
        nx_mesh_dial_failed(&f.m, 3, false, NEXAR_EPEER, "no answer", f.now);
        assert_int_equal(nx_mesh_tick(&f.m, f.now), f.now + pause);
        did(&f, "");
        f.now += pause;
        assert_int_equal(nx_mesh_tick(&f.m, f.now), f.m.deadline);
        did(&f, "dial 3 a3\n");
        pause = 2 * pause < NX_S ? 2 * pause : NX_S;
    }
    shut(&f);
}

/* A dial that fails before it returns is not forgotten. */
static void test_dial_that_fails_at_once(void **state)
{
    struct fake_mesh f;

    (void)state;
    open_mesh(&f, 2, 3, "b3");
    did(&f, "dial 3 a3\n");
    nx_mesh_dial_failed(&f.m, 3, false, NEXAR_EPEER, "no answer", f.now);
    assert_int_equal(nx_mesh_tick(&f.m, f.now), f.now); /* come again at once */
    did(&f, "dial 3 b3\n");
    assert_int_equal(nx_mesh_tick(&f.m, f.now), f.m.deadline);
    did(&f, "dial 3 c3\n");
    shut(&f);

    open_mesh(&f, 2, 1, "a3");
    did(&f, "dial 3 a3\n");
    assert_int_equal(nx_mesh_tick(&f.m, f.now), f.now + 20 * NX_MS);
    f.now += 20 * NX_MS;
    assert_int_equal(nx_mesh_tick(&f.m, f.now), f.now + 40 * NX_MS);
    did(&f, "dial 3 a3\n");
    shut(&f);
}

static void test_refused_for_good(void **state)
{
    struct fake_mesh f;

    (void)state;
    open_mesh(&f, 1, 1, NULL);
    text_free(&f.log);
    nx_mesh_dial_failed(&f.m, 2, true, NEXAR_ECONFIG, "different settings", f.now);
    did(&f, "failed\n");
    assert_int_equal(f.error.status, NEXAR_ECONFIG);
    assert_int_equal(f.error.peer, 2);
    assert_string_equal(f.error.text, "rank 2 (a2): different settings");
    nx_mesh_dial_failed(&f.m, 3, true, NEXAR_ECONFIG, "x", f.now); /* it has failed already */
    nx_mesh_up(&f.m, 0);
    nx_mesh_lost(&f.m, 0, "x");
    assert_int_equal(nx_mesh_tick(&f.m, f.now + 3600 * NX_S), NX_NEVER);
    did(&f, "");
    shut(&f);
}

/* Once it was up: whether the others were or not. */
static void test_lost(void **state)
{
    struct fake_mesh f;

    (void)state;
    for (uint32_t ups = 1; ups < RANKS; ups++) {
        open_mesh(&f, 3, 1, NULL);
        for (uint32_t i = 0; i < ups; i++)
            nx_mesh_up(&f.m, i);
        text_free(&f.log);
        nx_mesh_lost(&f.m, 0, "it was killed");
        did(&f, "failed\n");
        assert_int_equal(f.error.status, NEXAR_EPEER);
        assert_int_equal(f.error.peer, 0);
        assert_string_equal(f.error.text, "rank 0 (a0) was lost while the job formed: it was killed");
        shut(&f);
    }
    open_mesh(&f, 3, 1, NULL);
    nx_mesh_stop(&f.m); /* nobody wants to know any more */
    nx_mesh_lost(&f.m, 0, "it was killed");
    did(&f, "");
    shut(&f);
}

static void test_deadline_names_ranks(void **state)
{
    struct fake_mesh f;

    (void)state;
    open_mesh(&f, 1, 1, NULL);
    nx_mesh_dial_failed(&f.m, 2, false, NEXAR_EPEER, "no host there", f.now);
    text_free(&f.log);
    f.now = f.m.deadline;
    assert_int_equal(nx_mesh_tick(&f.m, f.now), NX_NEVER);
    did(&f, "failed\n");
    assert_int_equal(f.error.status, NEXAR_ETIMEDOUT);
    assert_int_equal(f.error.peer, 0);
    assert_string_equal(f.error.text,
                        "rank 1 is not connected with 3 of the others in time: rank 0 (a0 has not called), "
                        "rank 2 (a2: no host there), rank 3 (a3: no answer)");
    shut(&f);
}

/* ---- rosters ---- */

static void refuse(const struct list *l, const char *text)
{
    struct fake_mesh f;

    init(&f);
    assert_status(nx_mesh_start(&f.m, 1, RANKS, &l->roster), NEXAR_EPROTO);
    assert_string_equal(nexar_last_error(), text);
    did(&f, "");
    shut(&f);
}

static void test_rosters_that_cannot_be(void **state)
{
    char longest[NX_ADDRESS_SIZE + 1];
    struct list l;

    (void)state;
    make_list(&l, 1);
    l.roster.nodes.len--;
    refuse(&l, "the seed's list of ranks has not 4 of them");
    make_list(&l, 1);
    l.roster.groups.len = 0;
    refuse(&l, "the seed's list of ranks has not 4 of them");
    make_list(&l, 1);
    l.pairs[2].key = RANKS;
    refuse(&l, "the seed's list of ranks has an address that cannot be");
    make_list(&l, 1);
    memset(longest, 'x', sizeof(longest));
    l.pairs[2].text = (struct nx_text){.data = longest, .len = NX_ADDRESS_SIZE};
    refuse(&l, "the seed's list of ranks has an address that cannot be");
    make_list(&l, 1);
    l.pairs[2].key = 1;
    refuse(&l, "the seed's list of ranks has no address of rank 2");
}

/* More addresses than are kept: the best are. */
static void test_many_addresses(void **state)
{
    struct fake_mesh f;

    (void)state;
    open_mesh(&f, 3, NX_ADDRESSES_MAX + 1, NULL);
    assert_int_equal(f.m.peer[0].addresses, NX_ADDRESSES_MAX);
    assert_string_equal(f.m.peer[0].address[0], "a0");
    shut(&f);
}

static void test_no_memory(void **state)
{
    struct fake_mesh f;
    struct list l;

    (void)state;
    init(&f);
    make_list(&l, 1);
    nx_mem_fail_at(1);
    assert_status(nx_mesh_start(&f.m, 1, RANKS, &l.roster), NEXAR_ENOMEM);
    shut(&f);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lower_dials_higher),
        cmocka_unit_test(test_alone),
        cmocka_unit_test(test_who_is_who),
        cmocka_unit_test(test_dialling_again),
        cmocka_unit_test(test_dial_that_fails_at_once),
        cmocka_unit_test(test_refused_for_good),
        cmocka_unit_test(test_lost),
        cmocka_unit_test(test_deadline_names_ranks),
        cmocka_unit_test(test_rosters_that_cannot_be),
        cmocka_unit_test(test_many_addresses),
        cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
