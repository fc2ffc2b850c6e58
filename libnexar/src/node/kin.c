/* node/kin.c - watches the processes of the other ranks of this host.
 *
 * Owner: the engine.  What cannot be judged from here is not watched, and then its connection tells of its end, later.
 * */
#include "node/kin.h"

#include "base/mem.h"
#include "base/watch.h"
#include "net/conn.h"
#include "net/peer.h"

/* What it has sent may still be on its way through this kernel; a way that hangs up says that it was the last. */
#define MOURN (100 * NX_MS)

struct one {
    struct nx_watch watch;
    struct nx_timer timer;
    struct nx_kin *kin;
    uint32_t rank;
    bool ended;
};

struct nx_kin {
    struct nx_net *net;
    char self[NX_PROCESS_TEXT]; /* empty: /proc does not tell */
    struct nx_process process;
    struct one one[]; /* by rank */
};

static void mourned(struct nx_timer *timer)
{
    struct one *one = nx_container_of(timer, struct one, timer);
    nexar_status st;
    nexar_conn *conn = nx_peer_conn(one->kin->net->peer[one->rank], &st);

    if (conn != NULL && !conn->bye_received)
        nx_conn_lost(conn, "its process has ended");
    nx_conn_drop(conn);
}

static void ended(struct nx_watch *watch)
{
    struct one *one = nx_container_of(watch, struct one, watch);
    struct nx_peer *peer = one->kin->net->peer[one->rank];

    one->ended = true;
    atomic_store(&peer->ended, true);
    nx_timer_set(&one->timer, nx_now() + MOURN);
}

nexar_status nx_kin_open(struct nx_net *net, struct nx_kin **out)
{
    uint32_t size = net->config.size;
    struct nx_kin *kin = nx_calloc(1, sizeof(*kin) + size * sizeof(kin->one[0]));

    *out = kin;
    if (kin == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for %u ranks", size);
    kin->net = net;
    if (nx_process_self(&kin->process) == NEXAR_OK)
        nx_process_text(&kin->process, kin->self);
    for (uint32_t i = 0; i < size; i++) {
        nx_watch_init(&kin->one[i].watch, ended);
        kin->one[i].kin = kin;
        kin->one[i].rank = i;
        nx_timer_init(&kin->one[i].timer, mourned);
    }
    return NEXAR_OK;
}

void nx_kin_close(struct nx_kin *kin)
{
    if (kin == NULL)
        return;
    for (uint32_t i = 0; i < kin->net->config.size; i++) {
        nx_watch_stop(&kin->one[i].watch);
        nx_timer_cancel(&kin->one[i].timer);
    }
    nx_free(kin);
}

void nx_kin_tell(struct nx_kin *kin, uint32_t rank)
{
    struct nx_message m = {.kind = NX_KIND_PROCESS, .process = {.process = nx_text(kin->self)}};
    nexar_status st;
    nexar_conn *conn = kin->self[0] == '\0' ? NULL : nx_peer_conn(kin->net->peer[rank], &st);

    if (conn != NULL)
        (void)nx_conn_control(conn, &m, false); /* if it fails, so does the connection */
    nx_conn_drop(conn);
}

bool nx_kin_told(struct nx_kin *kin, uint32_t rank, struct nx_text text)
{
    struct one *one = &kin->one[rank];

    if (nx_watch_is_on(&one->watch) || one->ended)
        return false;
    return nx_watch_start(&one->watch, &kin->process, text.data, text.len);
}

bool nx_kin_ended(const struct nx_kin *kin, uint32_t rank)
{
    return kin != NULL && kin->one[rank].ended;
}
