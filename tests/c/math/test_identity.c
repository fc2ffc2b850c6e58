/* test_identity.c - the identity of every operator changes nothing, for every type that it exists for. */
#include "math/reduce.h"

#include "rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

/* Random bits, which in bool are 0 or 1; NaN becomes the quiet one by a sum with 0. */
static void random_element(struct rng *rng, nexar_dtype dtype, unsigned char out[8])
{
    static const unsigned char zero[8];
    uint64_t bits = rng_next(rng);

    if (dtype == NEXAR_BOOL)
        bits &= 1;
    memcpy(out, &bits, 8);
    if (dtype != NEXAR_BOOL)
        nx_reduce_kernel(NEXAR_SUM, dtype)(out, zero, 1);
}

static void test_it_changes_nothing(void **state)
{
    struct rng rng = {41};
    int pairs = 0;

    (void)state;
    for (int dtype = 0; dtype <= NEXAR_BOOL; dtype++)
        for (int op = 0; op <= NEXAR_BXOR; op++) {
            nx_reduce_fn fn = nx_reduce_kernel((nexar_reduce_op)op, (nexar_dtype)dtype);
            size_t size = nexar_dtype_size((nexar_dtype)dtype);

            if (fn == NULL)
                continue;
            pairs++;
            for (int i = 0; i < 1000; i++) {
                unsigned char acc[8];
                unsigned char x[8];

                nx_reduce_identity((nexar_reduce_op)op, (nexar_dtype)dtype, acc);
                random_element(&rng, (nexar_dtype)dtype, x);
                fn(acc, x, 1);
                if (memcmp(acc, x, size) != 0)
                    fail_msg("%s of %s changes an element", nexar_reduce_op_name((nexar_reduce_op)op),
                             nexar_dtype_name((nexar_dtype)dtype));
            }
        }
    assert_true(pairs > 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_it_changes_nothing)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
