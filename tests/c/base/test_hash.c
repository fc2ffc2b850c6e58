/* The hash table against a naive one, with hashes that collide, and with no memory to grow. */
#include "base/hash.h"
#include "check.h"
#include "rng.h"

enum { NODES = 3000 };

struct entry {
    struct nx_hash_node node;
    uint64_t key;
    bool in;
    int seen;
};

static struct entry entry[NODES];

static int count_found(struct nx_hash *table, uint64_t hash, const struct entry *wanted)
{
    int n = 0;

    for (struct nx_hash_node *node = nx_hash_first(table, hash); node != NULL; node = nx_hash_next(node)) {
        assert_true(node->hash == hash);
        n += (struct entry *)node == wanted;
    }
    return n;
}

static void check_walk(struct nx_hash *table)
{
    size_t n = 0;

    for (int i = 0; i < NODES; i++)
        entry[i].seen = 0;
    for (struct nx_hash_node *node = nx_hash_walk(table, NULL); node != NULL; node = nx_hash_walk(table, node)) {
        ((struct entry *)node)->seen++;
        n++;
    }
    assert_int_equal(n, table->count);
    for (int i = 0; i < NODES; i++)
        assert_int_equal(entry[i].seen, entry[i].in);
}

/* `spread`: how many different hashes there are. */
static void against_model(uint64_t spread, uint64_t seed, bool no_memory)
{
    struct rng rng = {.state = seed};
    struct nx_hash table;
    size_t in = 0;

    nx_hash_init(&table);
    for (int i = 0; i < NODES; i++) {
        entry[i].key = spread == 0 ? rng_next(&rng) : rng_below(&rng, spread);
        entry[i].in = false;
    }
    for (int round = 0; round < 20000; round++) {
        struct entry *e = &entry[rng_below(&rng, NODES)];

        if (no_memory)
            nx_mem_fail_at(1);
        if (e->in) {
            nx_hash_remove(&table, &e->node);
            in--;
        } else {
            nx_hash_insert(&table, &e->node, e->key);
            in++;
        }
        nx_mem_fail_at(0);
        e->in = !e->in;
        assert_int_equal(table.count, in);
        e = &entry[rng_below(&rng, NODES)];
        assert_int_equal(count_found(&table, e->key, e), e->in);
        if (round % 1000 == 0)
            check_walk(&table);
    }
    if (no_memory)
        assert_ptr_equal(table.bucket, table.first);
    for (int i = 0; i < NODES; i++) {
        if (entry[i].in)
            nx_hash_remove(&table, &entry[i].node);
        entry[i].in = false;
    }
    check_walk(&table);
    nx_hash_fini(&table);
}

static void test_against_model(void **state)
{
    uint64_t blocks = live_blocks();

    (void)state;
    against_model(0, 1, false);
    against_model(100, 2, false);
    against_model(1, 3, false);
    against_model(0, 4, true);
    assert_int_equal(live_blocks(), blocks);
}

/* Keys in a row, as tags of users are, must not end in one bucket. */
static void test_mix_spreads(void **state)
{
    int bucket[256] = {0};

    (void)state;
    for (uint64_t key = 0; key < 256 * 64; key++)
        bucket[nx_hash_mix(nx_hash_mix(0, 7), key << 24) & 255]++;
    for (int i = 0; i < 256; i++)
        assert_in_range(bucket[i], 24, 128);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_model),
        cmocka_unit_test(test_mix_spreads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
