/* net/control.c - control messages that connections handle among themselves: holding back, leaving, and what is handed
 * up.
 *
 * Owner: the engine.  Messages of forming the mesh go to the connection's owner. */
#include "net/way.h"

/* The peer leaves when it has our answer; it gets it when all that it sent is in our hands. */
void nx_conn_drained(nexar_conn *conn)
{
    static const struct nx_message ack = {.kind = NX_KIND_BYE_ACK};
    struct nx_peer *peer = atomic_load(&conn->peer);

    if (!conn->bye_received || conn->bye_answered || conn->received < conn->bye_at)
        return;
    conn->bye_answered = true;
    if (nx_conn_control(conn, &ack, false) != NEXAR_OK)
        nx_conn_shutdown(conn, NX_CLOSE_ABORTED);
    nx_peer_gone(peer, true, "it closed its communicator");
}

static void handle_bye(nexar_conn *conn, struct nx_peer *peer, const struct nx_msg_bye *bye)
{
    conn->bye_received = true;
    conn->bye_at = bye->messages;
    /* Whatever the limits say: it is on its way, and its sender will be gone. */
    nx_lanes_drain(&conn->net->lanes, peer->rank);
    nx_conn_drained(conn);
}

nexar_status nx_conn_bye(nexar_conn *conn)
{
    struct nx_message bye = {.kind = NX_KIND_BYE};

    bye.bye.messages = atomic_load(&conn->messages);
    conn->bye_said = true;
    return nx_conn_control(conn, &bye, false);
}

static bool flow_key(const struct nx_msg_hold *hold, struct nx_key *key)
{
    *key = (struct nx_key){.lane = hold->lane, .scope = hold->scope, .id = hold->id};
    return nx_lane_known(hold->lane) && hold->lane != NX_LANE_COLL;
}

void nx_conn_handle(nexar_conn *conn, const struct nx_message *message)
{
    struct nx_peer *peer = atomic_load(&conn->peer);
    struct nx_key key;

    if (peer == NULL) {
        if (!conn->owner->control(conn->owner_arg, conn, message))
            nx_conn_fault(conn, "it sent %s before it was let in", nx_message_name(message->kind));
        return;
    }
    switch ((int)message->kind) {
    case NX_KIND_HOLD:
    case NX_KIND_RELEASE:
        if (!flow_key(&message->hold, &key))
            nx_conn_fault(conn, "it held back a lane that there is not");
        else if (nx_send_hold(peer, &key, message->kind == NX_KIND_HOLD) != NEXAR_OK)
            nx_conn_fault(conn, "%s", nexar_last_error());
        break;
    case NX_KIND_BYE:
        if (conn->bye_received)
            nx_conn_fault(conn, "it said its farewell twice");
        else
            handle_bye(conn, peer, &message->bye);
        break;
    case NX_KIND_BYE_ACK:
        if (!conn->bye_said || conn->bye_acked) {
            nx_conn_fault(conn, "it answered a farewell that was not said");
            break;
        }
        conn->bye_acked = true;
        conn->owner->farewell(conn->owner_arg, conn);
        break;
    case NX_KIND_RECALL:
        key = (struct nx_key){
            .peer = peer->rank, .lane = message->recall.lane, .scope = message->recall.scope, .id = message->recall.id};
        if (!nx_lane_known(key.lane) || key.lane == NX_LANE_COLL)
            nx_conn_fault(conn, "it took back a message of a lane that there is not");
        else if (nx_lanes_recall(&conn->net->lanes, &key, message->recall.order) != NEXAR_OK)
            nx_conn_fault(conn, "%s", nexar_last_error());
        break;
    case NX_KIND_WAYS:
    case NX_KIND_WAY_OPEN:
    case NX_KIND_WAY_TELL:
    case NX_KIND_WAY_LOST:
        if (conn->net->ways == NULL || !nx_links_handle(conn, message))
            nx_conn_fault(conn, "it sent %s that makes no sense", nx_message_name(message->kind));
        break;
    case NX_KIND_PROCESS:
    case NX_KIND_SHRUNK:
    case NX_KIND_MEMBER_BEAT:
    case NX_KIND_MEMBER_PREPARE:
    case NX_KIND_MEMBER_PROMISE:
    case NX_KIND_MEMBER_PROPOSE:
    case NX_KIND_MEMBER_ACCEPT:
    case NX_KIND_MEMBER_NACK:
    case NX_KIND_MEMBER_CHAIN:
    case NX_KIND_MEMBER_JOIN:
    case NX_KIND_MEMBER_JOINACK:
        if (!conn->net->events.member(conn->net->owner, peer->rank, message))
            nx_conn_fault(conn, "it sent %s that makes no sense", nx_message_name(message->kind));
        break;
    case NX_KIND_OP_ABORTED:
        conn->net->events.aborted(conn->net->owner, peer->rank, &message->op_aborted);
        break;
    case NX_KIND_ASK:
    case NX_KIND_TELL:
    case NX_KIND_COMM_ABORTED:
    case NX_KIND_COMM_SHRINKS:
        conn->net->events.word(conn->net->owner, peer->rank, message);
        break;
    default:
        if (!conn->owner->control(conn->owner_arg, conn, message))
            nx_conn_fault(conn, "it sent an unexpected %s", nx_message_name(message->kind));
    }
}
