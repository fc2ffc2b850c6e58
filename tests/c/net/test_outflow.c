/* Messages on their way out: who waits for whom, when a number is given, what may be in flight. */
#include "check.h"
#include "net/outflow.h"
#include "wire/tag.h"

enum { LANE_BYTES = 100000, INFLIGHT = 300000 };

static struct nx_net net;
static struct nx_peer *peer;
static _Atomic uint32_t counter;

static int setup(void **state)
{
    (void)state;
    net = (struct nx_net){.config = {.rank = 0,
                                     .size = 2,
                                     .inflight_bytes = INFLIGHT,
                                     .limits = {.lane_bytes = LANE_BYTES, .lane_messages = 10, .unread_bytes = 1}}};
    counter = 0;
    assert_ok(nx_peer_new(&net, 1, &peer));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_int_equal(nx_outflow_backlog(peer), 0);
    assert_int_equal(peer->stopped, 0);
    assert_int_equal(peer->held, 0);
    assert_int_equal(peer->flows.count, 0);
    nx_peer_free(peer);
    return 0;
}

static struct nx_send_req request(uint64_t tag, uint64_t len)
{
    struct nx_send_req req = {.head = {.lane = NX_LANE_RAW_TAGGED, .id = tag, .len = len}, .order = &counter};

    return req;
}

static struct nx_outflow *flow_of(const struct nx_send_req *req)
{
    struct nx_key key = nx_outflow_key(req);
    struct nx_outflow *flow = nx_outflow_get(peer, &key);

    assert_non_null(flow);
    return flow;
}

static void enqueue(struct nx_send_req *req)
{
    nx_list_init(&req->link);
    nx_outflow_enqueue(peer, flow_of(req), req);
}

static struct nx_key key_of_tag(uint64_t tag)
{
    return (struct nx_key){.lane = NX_LANE_RAW_TAGGED, .id = tag};
}

/* Whoever sees that nothing waits any more and sends at once gets a later number. */
static void test_o1_number_comes_before_the_queue_is_empty(void **state)
{
    struct nx_key key = key_of_tag(5);
    struct nx_send_req first = request(5, 10), second = request(5, 10), later = request(5, 10);
    struct nx_outflow *flow;

    (void)state;
    assert_ok(nx_outflow_hold(peer, &key, true));
    flow = flow_of(&first);
    enqueue(&first);
    enqueue(&second);
    assert_int_equal(peer->stopped, 1);
    assert_null(nx_outflow_next(peer, flow)); /* held back */
    assert_ok(nx_outflow_hold(peer, &key, false));
    assert_int_equal(peer->stopped, 1); /* they still wait */
    assert_ptr_equal(nx_outflow_next(peer, flow), &first);
    assert_ptr_equal(nx_outflow_next(peer, flow), &second);
    assert_null(nx_outflow_next(peer, flow));
    assert_int_equal(peer->stopped, 0);
    assert_int_equal(counter, 2);
    nx_outflow_number(&later);
    assert_int_equal(first.head.order, 0);
    assert_int_equal(second.head.order, 1);
    assert_int_equal(later.head.order, 2);
    nx_outflow_number(&later); /* once is enough */
    assert_int_equal(later.head.order, 2);
    nx_outflow_land(&first);
    nx_outflow_land(&second);
    nx_outflow_tidy(peer, flow);
}

static void test_o2_keys_wait_alone(void **state)
{
    struct nx_key key = key_of_tag(5), other = key_of_tag(6);
    struct nx_send_req waits = request(5, 10), goes = request(6, 10);

    (void)state;
    assert_ok(nx_outflow_hold(peer, &key, true));
    assert_ok(nx_outflow_hold(peer, &key, true)); /* again: nothing new */
    assert_int_equal(peer->held, 1);
    enqueue(&waits);
    assert_true(nx_outflow_stops(nx_outflow_find(peer, &key)));
    assert_null(nx_outflow_find(peer, &other));
    assert_true(nx_outflow_may_leave(peer, flow_of(&goes), &goes));
    nx_outflow_tidy(peer, nx_outflow_find(peer, &other));
    assert_true(nx_outflow_backlog(peer) > 0);
    assert_true(nx_outflow_withdraw(peer, &waits));
    assert_false(nx_outflow_withdraw(peer, &waits));
    assert_int_equal(peer->stopped, 1); /* held, though nothing waits */
    assert_ok(nx_outflow_hold(peer, &key, false));
    assert_ok(nx_outflow_hold(peer, &key, false));
    nx_outflow_tidy(peer, nx_outflow_find(peer, &key));
}

static void test_bytes_in_flight(void **state)
{
    struct nx_send_req huge = request(5, 10 * LANE_BYTES), half = request(5, LANE_BYTES / 2), rest = half, more = half;
    struct nx_outflow *flow = flow_of(&huge);

    (void)state;
    assert_true(nx_outflow_may_leave(peer, flow, &huge)); /* alone, whatever its size */
    nx_list_init(&huge.link);
    nx_outflow_leave(flow, &huge);
    assert_false(nx_outflow_may_leave(peer, flow, &half));
    enqueue(&half);
    enqueue(&rest);
    enqueue(&more);
    assert_null(nx_outflow_next(peer, flow));
    nx_outflow_land(&huge);
    assert_ptr_equal(nx_outflow_next(peer, flow), &half);
    assert_ptr_equal(nx_outflow_next(peer, flow), &rest);
    assert_null(nx_outflow_next(peer, flow));
    nx_outflow_land(&half);
    assert_ptr_equal(nx_outflow_next(peer, flow), &more);
    nx_outflow_land(&rest);
    nx_outflow_land(&more);
    nx_outflow_tidy(peer, flow);
}

static struct nx_send_req collective(uint64_t sequence, uint64_t step, uint64_t len)
{
    struct nx_send_req req = {.head = {.lane = NX_LANE_COLL, .scope = 1, .len = len}};

    assert_true(nx_tag_make(sequence, step, &req.head.id));
    return req;
}

/* The oldest operation goes first, and is never held up by younger ones. */
static void test_collectives_by_age(void **state)
{
    struct nx_send_req young = collective(9, 0, INFLIGHT), younger = collective(10, 0, 10), old = collective(8, 1, 10),
                       oldest = collective(8, 0, INFLIGHT);
    struct nx_outflow *flow = flow_of(&young);

    (void)state;
    nx_list_init(&young.link);
    nx_outflow_leave(flow, &young);
    assert_false(nx_outflow_may_leave(peer, flow, &younger));
    enqueue(&younger);
    enqueue(&old);
    enqueue(&oldest);
    assert_ptr_equal(nx_outflow_next(peer, flow), &oldest);
    assert_ptr_equal(nx_outflow_next(peer, flow), &old);
    assert_null(nx_outflow_next(peer, flow));
    assert_int_equal(counter, 0); /* no numbers */
    nx_outflow_land(&young);
    nx_outflow_land(&oldest);
    assert_ptr_equal(nx_outflow_next(peer, flow), &younger);
    nx_outflow_land(&old);
    nx_outflow_land(&younger);
    nx_outflow_tidy(peer, flow);
}

static void test_o6_all_that_waits_ends(void **state)
{
    struct nx_send_req waits[20], flies = request(3, 50);
    struct nx_key key;
    struct nx_list ended;
    int n = 0;

    (void)state;
    nx_list_init(&ended);
    for (uint64_t i = 0; i < 20; i++) {
        waits[i] = request(i % 4, 10);
        key = key_of_tag(i % 4);
        assert_ok(nx_outflow_hold(peer, &key, true));
        enqueue(&waits[i]);
    }
    nx_list_init(&flies.link);
    nx_outflow_leave(flow_of(&flies), &flies);
    nx_outflow_end(peer, &ended);
    for (struct nx_list *pos; (pos = nx_list_pop(&ended)) != NULL; n++)
        assert_false(nx_container_of(pos, struct nx_send_req, link)->waiting);
    assert_int_equal(n, 20);
    assert_int_equal(peer->flows.count, 1); /* of the one in flight */
    nx_outflow_land(&flies);
    nx_outflow_tidy(peer, flies.flow);
}

static void test_o2_held_keys_have_a_limit(void **state)
{
    struct nx_list none;
    struct nx_key key;

    (void)state;
    for (uint64_t i = 0; i < NX_HELD_MAX; i++) {
        key = key_of_tag(i);
        assert_ok(nx_outflow_hold(peer, &key, true));
    }
    assert_ok(nx_outflow_hold(peer, &key, true)); /* is held already */
    key = key_of_tag(NX_HELD_MAX);
    assert_status(nx_outflow_hold(peer, &key, true), NEXAR_EPROTO);
    key = key_of_tag(0);
    assert_ok(nx_outflow_hold(peer, &key, false));
    nx_outflow_tidy(peer, nx_outflow_find(peer, &key));
    key = key_of_tag(NX_HELD_MAX);
    assert_ok(nx_outflow_hold(peer, &key, true));
    nx_list_init(&none);
    nx_outflow_end(peer, &none);
    assert_true(nx_list_empty(&none));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_o1_number_comes_before_the_queue_is_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(test_o2_keys_wait_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bytes_in_flight, setup, teardown),
        cmocka_unit_test_setup_teardown(test_collectives_by_age, setup, teardown),
        cmocka_unit_test_setup_teardown(test_o6_all_that_waits_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(test_o2_held_keys_have_a_limit, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
