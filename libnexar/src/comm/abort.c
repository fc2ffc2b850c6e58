/* comm/abort.c - giving up a communicator, for a reason of the program or because a rank is lost: on this rank, and on
 * word of another.
 *
 * Owner: any thread.  Everything in flight ends, what begins later fails at once; closing stays what it is.  It waits
 * for nobody, so ranks that are gone or frozen hold nothing up. */
#include "comm/abort.h"

#include "base/log.h"
#include "base/plain.h"
#include "coll/exec.h"
#include "net/conn.h"
#include "net/peer.h"

#include <stdio.h>
#include <string.h>

nexar_status nx_comm_stopped_by(nexar_comm *comm, const char *call)
{
    nexar_error error;

    nx_lock(&comm->lock);
    error = comm->broken_error;
    nx_unlock(&comm->lock);
    snprintf(error.op, sizeof(error.op), "%s", call);
    return nx_fail_with(&error);
}

/* Each rank that hears of it passes it on before it acts: on every connection this comes before a farewell. */
static void tell_all(nexar_comm *comm, uint32_t but, const struct nx_message *m)
{
    for (uint32_t i = 0; i < comm->size; i++) {
        nexar_conn *conn;
        nexar_status st;

        if (i == comm->rank || i == but)
            continue;
        conn = nx_peer_conn(comm->net->peer[nx_comm_world(comm, i)], &st);
        if (conn != NULL)
            st = nx_conn_control(conn, m, false);
        if (st != NEXAR_OK)
            nx_debug("rank %u was not told of the end of a communicator: %s", i, nexar_last_error());
        if (st == NEXAR_ENOMEM)
            nx_conn_shutdown(conn, NX_CLOSE_ABORTED); /* rather lose it than let it wait for us */
        nx_conn_drop(conn);
    }
}

/* False if it was stopped before: the first counts.  `but`: who need not be told. */
static bool stop(nexar_comm *comm, nexar_error *error, uint32_t but, const struct nx_message *m)
{
    error->comm = comm->id;
    nx_lock(&comm->lock);
    if (atomic_load(&comm->stopped)) {
        nx_unlock(&comm->lock);
        return false;
    }
    comm->broken = true;
    comm->broken_error = *error;
    /* From here on no message begins; those that had begun are found below. */
    atomic_store(&comm->stopped, true);
    nx_unlock(&comm->lock);
    tell_all(comm, but, m);
    nx_coll_break(comm, error);
    nx_net_condemn_ops(comm->net, comm->id, error, NEXAR_ECANCELLED);
    nx_scope_stop(&comm->net->lanes, comm->scope);
    return true;
}

static bool stop_aborted(nexar_comm *comm, uint32_t rank, const char *reason)
{
    struct nx_message m = {.kind = NX_KIND_COMM_ABORTED};
    nexar_error error;

    m.comm_aborted = (struct nx_msg_comm_aborted){.comm = comm->id, .rank = rank, .reason = nx_text(reason)};
    nx_error_set(&error, NEXAR_ECLOSED, rank, "rank %u aborted the communicator: %s", rank, reason);
    nx_error_hint(&error, "nothing can be done in it any more but closing it");
    return stop(comm, &error, rank, &m);
}

void nx_comm_give_up(nexar_comm *comm, uint32_t lost)
{
    struct nx_message m = {.kind = NX_KIND_COMM_SHRINKS, .comm_shrinks = {.comm = comm->id, .lost = lost}};
    nexar_error error;

    nx_error_set(&error, NEXAR_EPEER, lost, "rank %u is lost, and those who are left shrink the communicator", lost);
    nx_error_hint(&error, "shrink it here, too");
    stop(comm, &error, lost, &m);
}

void nx_comm_given_up(nexar_comm *comm, uint32_t peer, const struct nx_msg_comm_shrinks *shrinks)
{
    if (nx_comm_rank_of(comm, peer) != NEXAR_NO_RANK && shrinks->lost < comm->size && shrinks->lost != comm->rank)
        nx_comm_give_up(comm, shrinks->lost);
}

nexar_status nexar_comm_abort(nexar_comm *comm, const char *reason)
{
    nexar_status st = nx_comm_check(comm, "abort", false);
    char plain[NEXAR_REASON_MAX];

    if (st != NEXAR_OK)
        return st;
    if (reason == NULL || reason[0] == '\0')
        reason = "it gave no reason";
    nx_plain(plain, sizeof(plain), reason, strlen(reason));
    if (!stop_aborted(comm, comm->rank, plain))
        return NEXAR_OK;
    nx_info("this rank aborts communicator %llx: %s", (unsigned long long)comm->id, plain);
    nx_engine_kick(true); /* whoever aborts may end at once */
    return NEXAR_OK;
}

void nx_comm_aborted(nexar_comm *comm, uint32_t peer, const struct nx_msg_comm_aborted *aborted)
{
    char reason[NEXAR_REASON_MAX];

    if (nx_comm_rank_of(comm, peer) == NEXAR_NO_RANK || aborted->rank >= comm->size || aborted->rank == comm->rank)
        return;
    nx_plain(reason, sizeof(reason), aborted->reason.data, aborted->reason.len);
    stop_aborted(comm, aborted->rank, reason);
}
