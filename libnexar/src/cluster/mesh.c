/* cluster/mesh.c - the mesh as a machine.
 *
 * Owner: whoever calls; it has no thread, no clock and no socket.  It judges nobody: that a connection is who it says
 * is settled before nx_mesh_up. */
#include "cluster/mesh.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

static const nx_time PAUSE_FIRST = 20 * NX_MS, PAUSE_MAX = NX_S;

void nx_mesh_init(struct nx_mesh_machine *m, nx_time deadline, const struct nx_mesh_ops *ops, void *arg)
{
    *m = (struct nx_mesh_machine){.deadline = deadline, .ops = ops, .arg = arg};
}

void nx_mesh_fini(struct nx_mesh_machine *m)
{
    nx_free(m->peer);
    m->peer = NULL;
}

static nexar_status take_roster(struct nx_mesh_machine *m, const struct nx_msg_roster *roster)
{
    if (roster->nodes.len != (size_t)m->size * NX_ID_SIZE || roster->groups.len != roster->nodes.len)
        return nx_fail(NEXAR_EPROTO, "the seed's list of ranks has not %u of them", m->size);
    m->peer = nx_calloc(m->size, sizeof(*m->peer));
    if (m->peer == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for the list of %u ranks", m->size);
    for (uint32_t i = 0; i < m->size; i++) {
        memcpy(m->peer[i].node, roster->nodes.data + (size_t)i * NX_ID_SIZE, NX_ID_SIZE);
        memcpy(m->peer[i].group, roster->groups.data + (size_t)i * NX_ID_SIZE, NX_ID_SIZE);
        m->peer[i].pause = PAUSE_FIRST;
        m->peer[i].retry_at = NX_NEVER;
    }
    for (size_t i = 0; i < roster->addresses.count; i++) {
        struct nx_pair pair = nx_pairs_at(&roster->addresses, i);
        struct nx_mesh_peer *peer;

        if (pair.key >= m->size || pair.text.len >= NX_ADDRESS_SIZE)
            return nx_fail(NEXAR_EPROTO, "the seed's list of ranks has an address that cannot be");
        peer = &m->peer[pair.key];
        if (peer->addresses < NX_ADDRESSES_MAX)
            snprintf(peer->address[peer->addresses++], NX_ADDRESS_SIZE, "%.*s", (int)pair.text.len, pair.text.data);
    }
    for (uint32_t i = 0; i < m->size; i++) {
        if (m->peer[i].addresses == 0)
            return nx_fail(NEXAR_EPROTO, "the seed's list of ranks has no address of rank %u", i);
    }
    return NEXAR_OK;
}

static void dial(struct nx_mesh_machine *m, uint32_t rank)
{
    struct nx_mesh_peer *peer = &m->peer[rank];
    const char *address = peer->address[peer->next % peer->addresses];

    peer->next++;
    peer->retry_at = NX_NEVER;
    m->ops->dial(m->arg, rank, address);
}

nexar_status nx_mesh_start(struct nx_mesh_machine *m, uint32_t rank, uint32_t size, const struct nx_msg_roster *roster)
{
    nexar_status st;

    m->rank = rank;
    m->size = size;
    m->missing = size - 1;
    st = take_roster(m, roster);
    if (st != NEXAR_OK)
        return st;
    m->state = NX_MESH_CONNECTING;
    if (m->missing == 0) {
        m->state = NX_MESH_COMPLETE;
        m->ops->complete(m->arg);
        return NEXAR_OK;
    }
    for (uint32_t i = rank + 1; i < size && m->state == NX_MESH_CONNECTING; i++)
        dial(m, i);
    return NEXAR_OK;
}

void nx_mesh_stop(struct nx_mesh_machine *m)
{
    m->state = NX_MESH_FAILED;
}

uint32_t nx_mesh_rank_of(const struct nx_mesh_machine *m, const uint8_t node[NX_ID_SIZE])
{
    for (uint32_t i = 0; m->peer != NULL && i < m->size; i++) {
        if (memcmp(m->peer[i].node, node, NX_ID_SIZE) == 0)
            return i;
    }
    return NEXAR_NO_RANK;
}

void nx_mesh_up(struct nx_mesh_machine *m, uint32_t rank)
{
    struct nx_mesh_peer *peer = &m->peer[rank];

    if (m->state != NX_MESH_CONNECTING || peer->up)
        return;
    peer->up = true;
    peer->retry_at = NX_NEVER;
    if (--m->missing == 0) {
        m->state = NX_MESH_COMPLETE;
        m->ops->complete(m->arg);
    }
}

static void fail(struct nx_mesh_machine *m, const nexar_error *error)
{
    m->state = NX_MESH_FAILED;
    m->ops->failed(m->arg, error);
}

void nx_mesh_dial_failed(struct nx_mesh_machine *m, uint32_t rank, bool final, nexar_status status, const char *why,
                         nx_time now)
{
    struct nx_mesh_peer *peer = &m->peer[rank];
    nexar_error error;

    if (m->state != NX_MESH_CONNECTING || peer->up)
        return;
    snprintf(peer->last, sizeof(peer->last), "%s", why);
    if (final) {
        nx_error_set(&error, status, rank, "rank %u (%s): %s", rank, peer->address[0], why);
        fail(m, &error);
        return;
    }
    /* Other addresses at once; a pause when all have been tried. */
    peer->retry_at = peer->next % peer->addresses == 0 ? nx_after(now, peer->pause) : now;
    if (peer->next % peer->addresses == 0)
        peer->pause = 2 * peer->pause < PAUSE_MAX ? 2 * peer->pause : PAUSE_MAX;
}

void nx_mesh_lost(struct nx_mesh_machine *m, uint32_t rank, const char *why)
{
    nexar_error error;

    if (m->state != NX_MESH_CONNECTING && m->state != NX_MESH_COMPLETE)
        return;
    nx_error_set(&error, NEXAR_EPEER, rank, "rank %u (%s) was lost while the job formed: %s", rank,
                 m->peer[rank].address[0], why);
    fail(m, &error);
}

static void time_out(struct nx_mesh_machine *m)
{
    char text[300] = "";
    size_t at = 0;
    uint32_t first = NEXAR_NO_RANK;
    nexar_error error;

    for (uint32_t i = 0; i < m->size && at + 80 < sizeof(text); i++) {
        struct nx_mesh_peer *peer = &m->peer[i];

        if (i == m->rank || peer->up)
            continue;
        if (first == NEXAR_NO_RANK)
            first = i;
        at += (size_t)snprintf(text + at, sizeof(text) - at, "%srank %u (%s%s%.100s)", at == 0 ? "" : ", ", i,
                               peer->address[0], i < m->rank ? " has not called" : ": ",
                               i < m->rank             ? ""
                               : peer->last[0] == '\0' ? "no answer"
                                                       : peer->last);
    }
    nx_error_set(&error, NEXAR_ETIMEDOUT, first, "rank %u is not connected with %u of the others in time: %s", m->rank,
                 m->missing, text);
    nx_error_hint(&error, "see whether these hosts can reach each other by UDP; NEXAR_INTERFACE and NEXAR_ADVERTISE "
                          "choose other addresses");
    fail(m, &error);
}

nx_time nx_mesh_tick(struct nx_mesh_machine *m, nx_time now)
{
    nx_time next = m->deadline;

    if (m->state != NX_MESH_CONNECTING)
        return NX_NEVER;
    if (m->deadline <= now) {
        time_out(m);
        return NX_NEVER;
    }
    for (uint32_t i = m->rank + 1; i < m->size; i++) {
        if (m->peer[i].retry_at <= now)
            dial(m, i);
        /* A dial may fail at once. */
        if (m->peer[i].retry_at < next)
            next = m->peer[i].retry_at;
    }
    return m->state == NX_MESH_CONNECTING ? next : NX_NEVER;
}
