/* node/environment.h - environments for tests: the `env` lines of a case of tests/vectors/. */
#ifndef NX_TESTS_NODE_ENVIRONMENT_H
#define NX_TESTS_NODE_ENVIRONMENT_H

#include "vectors.h"

#include <string.h>

/* As `environ`; at most 63 variables. */
struct environment {
    char *text[64];
};

__attribute__((unused)) static struct environment environment_of(const struct vector *v)
{
    struct environment e = {{NULL}};

    for (size_t i = 0, n = 0; i < v->n; i++) {
        if (strcmp(v->lines[i].key, "env") == 0) {
            e.text[n++] = v->lines[i].value;
            assert_true(n < sizeof(e.text) / sizeof(e.text[0]));
        }
    }
    return e;
}

#endif
