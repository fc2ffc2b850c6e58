/* The intrusive list against an array. */
#include "base/list.h"
#include "check.h"
#include "rng.h"

enum { ITEMS = 40 };

struct item {
    struct nx_list link;
    int number;
};

struct model {
    int at[ITEMS];
    size_t n;
};

static void insert(struct model *m, size_t where, int number)
{
    memmove(&m->at[where + 1], &m->at[where], (m->n - where) * sizeof(m->at[0]));
    m->at[where] = number;
    m->n++;
}

static void erase(struct model *m, int number)
{
    size_t where = 0;

    while (m->at[where] != number)
        where++;
    m->n--;
    memmove(&m->at[where], &m->at[where + 1], (m->n - where) * sizeof(m->at[0]));
}

static void check(struct nx_list *head, const struct model *m)
{
    struct nx_list *pos = head->next;

    assert_int_equal(nx_list_empty(head), m->n == 0);
    for (size_t i = 0; i < m->n; i++, pos = pos->next) {
        assert_int_equal(nx_container_of(pos, struct item, link)->number, m->at[i]);
        assert_ptr_equal(pos->next->prev, pos);
    }
    assert_ptr_equal(pos, head);
}

static void test_against_model(void **state)
{
    struct rng rng = {.state = 1};
    struct item item[ITEMS];
    struct nx_list head[2];
    struct model model[2] = {0};
    int where[ITEMS];

    (void)state;
    nx_list_init(&head[0]);
    nx_list_init(&head[1]);
    for (int i = 0; i < ITEMS; i++) {
        item[i].number = i;
        nx_list_init(&item[i].link);
        where[i] = -1;
    }
    for (int round = 0; round < 20000; round++) {
        int i = (int)rng_below(&rng, ITEMS), l = (int)rng_below(&rng, 2);
        struct nx_list *popped;

        switch (rng_below(&rng, 6)) {
        case 0:
        case 1:
            if (where[i] >= 0) {
                nx_list_remove(&item[i].link);
                assert_true(nx_list_empty(&item[i].link));
                erase(&model[where[i]], i);
                where[i] = -1;
            } else if (rng_below(&rng, 2) == 0) {
                nx_list_push_back(&head[l], &item[i].link);
                insert(&model[l], model[l].n, i);
                where[i] = l;
            } else {
                nx_list_push_front(&head[l], &item[i].link);
                insert(&model[l], 0, i);
                where[i] = l;
            }
            break;
        case 2:
            nx_list_remove(&item[i].link); /* also of one that is in no list */
            if (where[i] >= 0)
                erase(&model[where[i]], i);
            where[i] = -1;
            break;
        case 3:
            popped = nx_list_pop(&head[l]);
            assert_int_equal(popped == NULL, model[l].n == 0);
            if (popped != NULL) {
                int number = nx_container_of(popped, struct item, link)->number;
                assert_int_equal(number, model[l].at[0]);
                erase(&model[l], number);
                where[number] = -1;
            }
            break;
        case 4:
            if (where[i] < 0 && model[l].n > 0) {
                int before = model[l].at[rng_below(&rng, model[l].n)];
                size_t at = 0;

                while (model[l].at[at] != before)
                    at++;
                nx_list_insert_before(&item[before].link, &item[i].link);
                insert(&model[l], at, i);
                where[i] = l;
            }
            break;
        default:
            if (rng_below(&rng, 20) == 0) {
                nx_list_splice(&head[l], &head[1 - l]);
                while (model[1 - l].n > 0) {
                    int number = model[1 - l].at[0];
                    erase(&model[1 - l], number);
                    insert(&model[l], model[l].n, number);
                    where[number] = l;
                }
            }
        }
        check(&head[0], &model[0]);
        check(&head[1], &model[1]);
    }
}

static void test_walk_while_removing(void **state)
{
    struct nx_list head;
    struct item item[10];
    int seen = 0;

    (void)state;
    nx_list_init(&head);
    for (int i = 0; i < 10; i++) {
        item[i].number = i;
        nx_list_push_back(&head, &item[i].link);
    }
    nx_list_for_each_safe(pos, tmp, &head)
    {
        assert_int_equal(nx_container_of(pos, struct item, link)->number, seen++);
        nx_list_remove(pos);
    }
    assert_int_equal(seen, 10);
    assert_true(nx_list_empty(&head));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_model),
        cmocka_unit_test(test_walk_while_removing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
