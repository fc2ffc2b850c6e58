/* node/kin.c - watches the processes of the other ranks of this host.
 *
 * Owner: the engine.  A number of a process means something in one namespace of one boot alone, and is used again: what
 * cannot be judged is not watched, and then its connection tells of its end, later. */
#include "node/kin.h"

#include "base/log.h"
#include "base/mem.h"
#include "net/conn.h"
#include "net/peer.h"
#include "node/process.h"

#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What it has sent may still be on its way through this kernel; a way that hangs up says that it was the last. */
#define MOURN (100 * NX_MS)

struct one {
    struct nx_event event; /* fd: its process; -1: not watched */
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

static void unwatch(struct one *one)
{
    if (one->event.fd < 0)
        return;
    epoll_ctl(nx_engine_epoll(), EPOLL_CTL_DEL, one->event.fd, NULL);
    close(one->event.fd);
    one->event.fd = -1;
}

static void mourned(struct nx_timer *timer)
{
    struct one *one = nx_container_of(timer, struct one, timer);
    nexar_status st;
    nexar_conn *conn = nx_peer_conn(one->kin->net->peer[one->rank], &st);

    if (conn != NULL && !conn->bye_received)
        nx_conn_lost(conn, "its process has ended");
    nx_conn_drop(conn);
}

static void ended(struct epoll_event *event)
{
    struct one *one = nx_container_of((struct nx_event *)event->data.ptr, struct one, event);
    struct nx_peer *peer = one->kin->net->peer[one->rank];

    unwatch(one);
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
        kin->one[i].event = (struct nx_event){.fd = -1, .ready = ended};
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
        unwatch(&kin->one[i]);
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
    char copy[NX_PROCESS_TEXT] = "";
    struct nx_process process;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &one->event};

    if (text.len >= sizeof(copy) || one->event.fd >= 0 || one->ended)
        return false;
    memcpy(copy, text.data, text.len);
    if (!nx_process_parse(copy, &process))
        return false;
    /* A rank that is a thread of this process ends with it. */
    if (kin->self[0] == '\0' || strcmp(process.boot, kin->process.boot) != 0 ||
        process.pid_space != kin->process.pid_space || process.pid == kin->process.pid)
        return true;
    one->event.fd = (int)syscall(SYS_pidfd_open, process.pid, 0);
    /* If the number had been used again before it was opened, the process that was meant does not live any more. */
    if (one->event.fd < 0 || !nx_process_lives(&process) ||
        epoll_ctl(nx_engine_epoll(), EPOLL_CTL_ADD, one->event.fd, &event) != 0) {
        nx_debug("the process of rank %u cannot be watched", rank);
        unwatch(one);
    }
    return true;
}

bool nx_kin_ended(const struct nx_kin *kin, uint32_t rank)
{
    return kin != NULL && kin->one[rank].ended;
}
