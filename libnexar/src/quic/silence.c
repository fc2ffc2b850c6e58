/* quic/silence.c - a peer from which nothing has come for too long is lost.
 *
 * Owner: the engine.  MsQuic measures by the clock, and takes a peer for dead when it was this process that had no
 * core, was stopped, or slept with its machine.  Here silence is counted in looks that the engine really made, and
 * keep-alives see to it that something comes; MsQuic's own limit stands behind, for a way that is lost in one
 * direction. */
#include "quic/internal.h"

#include <stdio.h>

enum { LOOKS = 8 };

static void look_later(struct nx_quic_conn *conn)
{
    nx_timer_set(&conn->silence.look, nx_now() + conn->silence.limit / LOOKS);
}

static void look(struct nx_timer *timer)
{
    struct nx_quic_conn *conn = nx_container_of(timer, struct nx_quic_conn, silence.look);
    struct nx_quic_silence *silence = &conn->silence;
    struct nx_quic_conn_stats stats;

    if (!nx_quic_conn_stats(conn, &stats))
        return; /* it has ended */
    if (stats.received_packets != silence->packets) {
        silence->looks = silence->suspect ? LOOKS / 2 : 0;
        silence->suspect = false;
    }
    silence->packets = stats.received_packets;
    if (silence->looks++ < LOOKS) {
        look_later(conn);
        return;
    }
    snprintf(conn->end_why, sizeof(conn->end_why), "%s", nx_quic_status_text(QUIC_STATUS_CONNECTION_TIMEOUT));
    nx_quic_api()->ConnectionShutdown(conn->handle, QUIC_CONNECTION_SHUTDOWN_FLAG_SILENT, 0);
}

void nx_quic_conn_probe(struct nx_quic_conn *conn)
{
    /* A peer that lives is heard within a keep-alive or two, and what it says sets this back.  Not what the next look
     * finds, which may have been on its way before. */
    if (conn->silence.looks < LOOKS / 2)
        conn->silence.looks = LOOKS / 2;
    conn->silence.suspect = true;
}

void nx_quic_silence_init(struct nx_quic_silence *silence)
{
    nx_timer_init(&silence->look, look);
}

void nx_quic_conn_listen(struct nx_quic_conn *conn)
{
    if (conn->silence.limit != 0 && conn->handle != NULL)
        look_later(conn);
}

void nx_quic_silence_end(struct nx_quic_conn *conn)
{
    nx_timer_cancel(&conn->silence.look);
}
