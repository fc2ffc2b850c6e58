/* cluster/record_io.c - the records of votes in the memory that the ranks of a host share: this rank's, kept for the
 * time after its death, and those of the others.
 *
 * Owner: the engine. */
#include "cluster/record_io.h"

#include "base/log.h"

static bool writer_is_dead(void *arg, uint32_t world)
{
    struct nx_members *members = arg;

    return world < members->net->config.size && members->owner->dead(members->owner_arg, world);
}

/* Read again each time: another witness may have voted with it. */
struct nx_acceptor *nx_members_record(void *arg, const struct nx_uid *dead)
{
    struct nx_members *members = arg;
    uint32_t world = nx_members_rank(members, dead);
    struct nx_record *r = world == NEXAR_NO_RANK ? NULL : members->owner->record(members->owner_arg, world);

    nx_acceptor_fini(&members->witnessed);
    members->witnessed_of = *dead;
    if (r == NULL || !nx_record_read(r, members->record_bytes, &members->witnessed_number, &members->witnessed))
        return NULL;
    return &members->witnessed;
}

bool nx_members_commit(void *arg, const struct nx_uid *who, const struct nx_acceptor *a)
{
    struct nx_members *members = arg;
    struct nx_record_writer writer = {.self = members->net->config.rank, .dead = writer_is_dead, .arg = members};
    bool own = nx_uid_same(who, &members->uid[members->net->config.rank]);
    struct nx_record *r = members->owner->record(members->owner_arg, nx_members_rank(members, who));

    if (own && !members->recorded)
        return true; /* nobody will vote for this process when it is dead: its memory is enough */
    if (r == NULL || (!own && !nx_uid_same(who, &members->witnessed_of)))
        return false;
    return nx_record_write(r, members->record_bytes, &writer,
                           own ? &members->record_number : &members->witnessed_number, a);
}

/* A death is certain for the machine only where there is a record to vote with: the machine counts on such votes. */
bool nx_members_is_witnessed(struct nx_members *members, uint32_t world)
{
    return members->owner->dead(members->owner_arg, world) && nx_members_record(members, &members->uid[world]) != NULL;
}

/* Too few are in reach: those of this host may have gone on without this rank, while it was frozen, say.  They say
 * nothing to it any more, but their records tell. */
void nx_members_look_at_records(struct nx_members *members, nx_time now)
{
    for (uint32_t i = 0; i < members->net->config.size && members->machine.is_short; i++) {
        const struct nx_acceptor *a =
            members->fate[i] != NX_FATE_GONE ? NULL : nx_members_record(members, &members->uid[i]);

        if (a != NULL)
            nx_member_shown(&members->machine, a, now);
    }
}

void nx_members_keep_record(struct nx_members *members)
{
    members->recorded = true;
    members->recorded = nx_members_commit(members, &members->uid[members->net->config.rank], &members->machine.own);
    if (!members->recorded)
        nx_debug("no record of this rank's votes is kept: nobody votes for it when it is dead");
}

void nx_members_retire(struct nx_members *members)
{
    nx_members_stop(members);
    if (members->recorded)
        nx_record_forget(members->owner->record(members->owner_arg, members->net->config.rank));
    members->recorded = false;
}
