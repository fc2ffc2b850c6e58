/* cluster/member_msg.c - messages of the membership in memory: made, shared, freed.
 *
 * Owner: the thread of the machine.  What is in them is made by health.c, ballot.c and learn.c, and read from the
 * network by member_wire.c. */
#include "cluster/member_msg.h"

#include "base/mem.h"

struct nx_member_msg *nx_member_msg_new(enum nx_member_kind kind, uint32_t n)
{
    struct nx_member_msg *m = nx_calloc(1, sizeof(*m) + n * sizeof(m->chain[0]));

    if (m == NULL)
        return NULL;
    m->refs = 1;
    m->kind = kind;
    return m;
}

struct nx_member_msg *nx_member_msg_hold(struct nx_member_msg *m)
{
    m->refs++;
    return m;
}

void nx_member_msg_drop(struct nx_member_msg *m)
{
    if (m == NULL || --m->refs != 0)
        return;
    for (uint32_t i = 0; i < m->n; i++)
        nx_entry_drop(m->chain[i]);
    nx_entry_drop(m->value);
    nx_uids_free(&m->stand.suspects);
    nx_uids_free(&m->stand.candidates);
    nx_uids_free(&m->uids);
    nx_free(m);
}

const char *nx_member_kind_name(enum nx_member_kind kind)
{
    static const char *const names[NX_MEMBER_KINDS] = {"BEAT", "PREPARE", "PROMISE", "PROPOSE", "ACCEPT",
                                                       "NACK", "CHAIN",   "JOIN",    "JOINACK"};

    return (unsigned)kind < NX_MEMBER_KINDS ? names[kind] : "?";
}
