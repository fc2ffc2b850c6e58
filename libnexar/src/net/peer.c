/* net/peer.c - the state of another rank.
 *
 * Owner: the peer's lock.  It does not decide that a peer is gone; connections do. */
#include "net/peer.h"

#include "net/send.h"

#include <stdio.h>

nexar_status nx_peer_new(struct nx_net *net, uint32_t rank, struct nx_peer **out)
{
    struct nx_peer *peer = nx_calloc(1, sizeof(*peer));

    *out = peer;
    if (peer == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for rank %u", rank);
    peer->net = net;
    peer->rank = rank;
    nx_mutex_init(&peer->lock, NX_LOCK_PEER);
    nx_hash_init(&peer->flows);
    return NEXAR_OK;
}

void nx_peer_free(struct nx_peer *peer)
{
    if (peer == NULL)
        return;
    nx_conn_drop(peer->conn);
    nx_hash_fini(&peer->flows);
    nx_mutex_fini(&peer->lock);
    nx_free(peer);
}

void nx_peer_up(struct nx_peer *peer, nexar_conn *conn)
{
    nx_conn_hold(conn);
    nx_lock(&peer->lock);
    peer->state = NX_PEER_UP;
    peer->conn = conn;
    nx_unlock(&peer->lock);
}

bool nx_peer_gone(struct nx_peer *peer, bool left, const char *why)
{
    nexar_status status = left ? NEXAR_ECLOSED : NEXAR_EPEER;
    bool first;

    nx_lock(&peer->lock);
    first = peer->state != NX_PEER_LEFT && peer->state != NX_PEER_LOST;
    if (first) {
        peer->state = left ? NX_PEER_LEFT : NX_PEER_LOST;
        snprintf(peer->why, sizeof(peer->why), "%s", why);
    }
    nx_unlock(&peer->lock);
    if (!first)
        return false;
    nx_send_peer_gone(peer, NEXAR_EPEER);
    nx_lanes_peer_gone(&peer->net->lanes, peer->rank, status);
    peer->net->events.gone(peer->net->owner, peer->rank, status);
    return true;
}

/* With the lock. */
static nexar_status fail(struct nx_peer *peer, uint32_t rank)
{
    char address[64] = "";

    if (peer->conn != NULL)
        nx_conn_address(peer->conn, address, sizeof(address));
    switch (peer->state) {
    case NX_PEER_LEFT:
        return nx_fail_peer(NEXAR_EPEER, rank, "rank %u (%s) has left: %s", rank, address, peer->why);
    case NX_PEER_LOST:
        return nx_fail_peer(NEXAR_EPEER, rank, "rank %u (%s) is lost: %s", rank, address, peer->why);
    default:
        return nx_fail_peer(NEXAR_EPEER, rank, "rank %u is not connected", rank);
    }
}

nexar_conn *nx_peer_conn(struct nx_peer *peer, nexar_status *st)
{
    nexar_conn *conn = NULL;

    *st = NEXAR_OK;
    nx_lock(&peer->lock);
    if (peer->state == NX_PEER_UP) {
        conn = peer->conn;
        nx_conn_hold(conn);
    } else {
        *st = fail(peer, peer->rank);
    }
    nx_unlock(&peer->lock);
    return conn;
}

nexar_status nx_peer_fail_as(struct nx_peer *peer, uint32_t rank)
{
    nexar_status st;

    nx_lock(&peer->lock);
    st = fail(peer, rank);
    nx_unlock(&peer->lock);
    return st;
}

void nx_peer_why(struct nx_peer *peer, char *text, size_t cap)
{
    nx_lock(&peer->lock);
    snprintf(text, cap, "%s", peer->why);
    nx_unlock(&peer->lock);
}

nexar_status nx_peer_fail(struct nx_peer *peer)
{
    return nx_peer_fail_as(peer, peer->rank);
}
