/* tests/aarch64/neon.c - the kernels of ARM against the oracle; check_neon.py compiles and runs it.
 *
 * Needs neither cmocka nor the rest of the library, so that a cross compiler and its libc are enough. */
#include "reduce_oracle.h"

#include <stdio.h>

int main(void)
{
    const struct nx_reduce_set *const sets[] = {&nx_reduce_scalar, nx_reduce_neon};
    int wrong = 0;

    for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
        const char *fault = sets[i] == NULL ? "was not compiled" : oracle_compare(sets[i]);

        printf("%s: %s\n", i == 0 ? "scalar" : "neon", fault == NULL ? "all kernels are right" : fault);
        wrong += fault != NULL;
    }
    return wrong;
}
