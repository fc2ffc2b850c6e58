/* cluster/acceptor.c - the record of one acceptor of the chain.
 *
 * Owner: the thread of the machine that votes with it; who writes it back to shared memory does so before the answer
 * leaves.  A promise is forgotten by nothing but a later entry. */
#include "cluster/acceptor.h"

#include <string.h>

struct nx_entry *nx_acceptor_find(const struct nx_acceptor *a, uint64_t epoch)
{
    for (uint32_t i = a->n; i > 0; i--) {
        if (a->history[i - 1]->epoch == epoch)
            return a->history[i - 1];
    }
    return NULL;
}

void nx_acceptor_advance(struct nx_acceptor *a, struct nx_entry *e)
{
    nx_entry_hold(e);
    if (a->n == NX_HISTORY) {
        nx_entry_drop(a->history[0]);
        memmove(a->history, a->history + 1, (NX_HISTORY - 1) * sizeof(a->history[0]));
        a->n--;
    }
    a->history[a->n++] = e;
    nx_entry_drop(a->value);
    a->promised = a->accepted = (struct nx_ballot){0};
    a->value = NULL;
}

bool nx_acceptor_promise(struct nx_acceptor *a, struct nx_ballot b)
{
    if (nx_ballot_cmp(b, a->promised) < 0)
        return false;
    a->promised = b;
    return true;
}

bool nx_acceptor_accept(struct nx_acceptor *a, struct nx_ballot b, struct nx_entry *value)
{
    if (!nx_acceptor_promise(a, b))
        return false;
    nx_entry_hold(value);
    nx_entry_drop(a->value);
    a->accepted = b;
    a->value = value;
    return true;
}

void nx_acceptor_fini(struct nx_acceptor *a)
{
    for (uint32_t i = 0; i < a->n; i++)
        nx_entry_drop(a->history[i]);
    nx_entry_drop(a->value);
    *a = (struct nx_acceptor){0};
}
