/* The heap of timers: always gives the earliest, whatever is removed from its middle. */
#include "base/heap.h"
#include "check.h"
#include "rng.h"

enum { NODES = 500 };

struct entry {
    struct nx_heap_node node;
    bool in;
};

static struct entry entry[NODES];

static nx_time earliest(void)
{
    nx_time at = NX_NEVER;

    for (int i = 0; i < NODES; i++) {
        if (entry[i].in && entry[i].node.at < at)
            at = entry[i].node.at;
    }
    return at;
}

static void test_random_against_scan(void **state)
{
    struct rng rng = {.state = 1};
    struct nx_heap_node *root = NULL;

    (void)state;
    for (int round = 0; round < 100000; round++) {
        struct entry *e = &entry[rng_below(&rng, NODES)];

        if (e->in) {
            root = nx_heap_remove(root, &e->node);
        } else {
            e->node.at = (nx_time)rng_below(&rng, 1000); /* many are equal */
            root = nx_heap_insert(root, &e->node);
        }
        e->in = !e->in;
        if (rng_below(&rng, 4) == 0 && root != NULL) {
            ((struct entry *)root)->in = false;
            assert_true(root->at <= earliest());
            root = nx_heap_remove(root, root);
        }
        if (round % 16 == 0)
            assert_true((root == NULL ? NX_NEVER : root->at) == earliest());
    }
    for (nx_time last = 0; root != NULL; root = nx_heap_remove(root, root)) {
        assert_true(root->at >= last);
        last = root->at;
        ((struct entry *)root)->in = false;
    }
    assert_true(earliest() == NX_NEVER);
}

static void test_many_sorted(void **state)
{
    enum { MANY = 100000 };
    struct nx_heap_node *node = calloc(MANY, sizeof(*node)), *root = NULL;
    nx_time last = 0;

    (void)state;
    for (int i = 0; i < MANY; i++) {
        node[i].at = MANY - i;
        root = nx_heap_insert(root, &node[i]);
    }
    for (int i = 0; i < MANY; i++) {
        assert_true(root->at > last);
        last = root->at;
        root = nx_heap_remove(root, root);
    }
    assert_null(root);
    free(node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_against_scan),
        cmocka_unit_test(test_many_sorted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
