/* bulk/shm_group.c - the ranks of a host agree on a segment: one makes it, all map it, or nobody uses it.
 *
 * Owner: the engine.  The member with the lowest rank makes the segment and listens on a socket that has no file; the
 * others are told its name and a token over their authenticated connections.  Each brings the descriptor that wakes it;
 * when all have, each gets the segment and all those descriptors; when all have mapped it, all are told so.  The
 * sockets stay open: their end is the end of a process. */
#include "bulk/shm_group.h"

#include "base/mem.h"
#include "base/status.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    PATIENCE_S = 15,
    STRANGERS_MAX = 64,
    NAME = 32, /* of the socket, in hexadecimal digits */
};

/* What is said over the connections, and over the sockets. */
enum { SAY_INVITE = 1, SAY_HELLO, SAY_SEGMENT, SAY_MAPPED, SAY_GO, SAY_NO };

struct words {
    uint8_t what;
    uint8_t zero[3];
    uint32_t index;
    uint8_t token[16];
    char text[NAME + 96]; /* INVITE: name of the socket; NO: why */
};

static struct words say(uint8_t what)
{
    return (struct words){.what = what};
}

/* ---- sockets ---- */

static bool send_words(int fd, const struct words *w, const int *fds, uint32_t n)
{
    union {
        char bytes[CMSG_SPACE((NX_SHM_RANKS + 1) * sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)w, .iov_len = sizeof(*w)};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

    if (n > 0) {
        struct cmsghdr *c;

        m.msg_control = control.bytes;
        m.msg_controllen = CMSG_SPACE(n * sizeof(int));
        c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n * sizeof(int));
    }
    return sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof(*w);
}

/* What came, with at most `max` descriptors, which are the caller's.  1: words; 0: nothing now; -1: the end, or no
 * words of ours. */
static int recv_words(int fd, struct words *w, int *fds, uint32_t max, uint32_t *count)
{
    union {
        char bytes[CMSG_SPACE((NX_SHM_RANKS + 1) * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {.iov_base = w, .iov_len = sizeof(*w)};
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
    ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    *count = 0;
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); n > 0 && c != NULL; c = CMSG_NXTHDR(&m, c)) {
        size_t k = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        for (size_t i = 0; c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && i < k; i++) {
            int got;

            memcpy(&got, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (*count < max)
                fds[(*count)++] = got;
            else
                close(got);
        }
    }
    if (n == (ssize_t)sizeof(*w) && (m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0)
        return 1;
    while (*count > 0)
        close(fds[--*count]);
    return -1;
}

static void close_wire(struct nx_shm_wire *wire)
{
    wire->shm->host->unwatch(wire->watch);
    wire->watch = NULL;
    if (wire->fd >= 0)
        close(wire->fd);
    wire->fd = -1;
}

static void address_of(const char *name, struct sockaddr_un *a, socklen_t *len)
{
    *a = (struct sockaddr_un){.sun_family = AF_UNIX};
    *len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
                       (size_t)snprintf(a->sun_path + 1, sizeof(a->sun_path) - 1, "nexar-%.*s", NAME, name));
}

/* `pid`: 0 if it is one of another namespace. */
static bool same_user(int fd, int32_t *pid)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0 || cred.uid != geteuid())
        return false;
    *pid = cred.pid;
    return true;
}

static void process_ended(void *arg, uint32_t events)
{
    struct nx_shm_wire *wire = arg;

    (void)events;
    close_wire(wire);
    nx_shm_died(wire->shm, wire->index);
}

/* Its socket has ended, as all that it had open does before the process itself: who starts processes is to know of that
 * end not later than we do. */
static void await_end(struct nx_shm_wire *wire)
{
    struct nx_shm *shm = wire->shm;

    close_wire(wire);
    if (wire->pid > 0 && wire->pid != getpid())
        wire->fd = (int)syscall(SYS_pidfd_open, wire->pid, 0);
    if (wire->fd < 0 ||
        shm->host->watch_fd(shm->node, wire->fd, EPOLLIN, process_ended, wire, &wire->watch) != NEXAR_OK)
        process_ended(wire, 0);
}

/* ---- verdicts ---- */

static void drop_stranger(struct nx_shm_wire *wire)
{
    struct nx_shm *shm = wire->shm;

    close_wire(wire);
    nx_list_remove(&wire->link);
    shm->stranger_count--;
    nx_free(wire);
}

/* Nobody joins any more. */
static void close_doors(struct nx_shm *shm)
{
    while (!nx_list_empty(&shm->strangers))
        drop_stranger(nx_container_of(shm->strangers.next, struct nx_shm_wire, link));
    shm->host->unwatch(shm->listening);
    shm->host->unwatch(shm->patience);
    shm->listening = shm->patience = NULL;
    if (shm->listener >= 0)
        close(shm->listener);
    shm->listener = -1;
}

static void shared(struct nx_shm *shm)
{
    shm->state = NX_SHM_SHARED;
    nx_shm_seg_settle(&shm->seg);
    close_doors(shm);
    nx_shm_settled(shm);
}

void nx_shm_group_fail(struct nx_shm *shm, const char *why)
{
    struct words no = say(SAY_NO);

    if (shm->state != NX_SHM_FORMING)
        return;
    shm->state = NX_SHM_NONE;
    snprintf(shm->why, sizeof(shm->why), "%s", why);
    snprintf(no.text, sizeof(no.text), "%.90s", why);
    for (uint32_t i = 0; i < shm->size; i++) {
        if (shm->wire[i].fd >= 0)
            (void)send_words(shm->wire[i].fd, &no, NULL, 0); /* if it is lost, so is the socket */
    }
    nx_shm_group_close(shm);
    nx_shm_settled(shm);
}

static void patience_ends(void *arg)
{
    struct nx_shm *shm = arg;

    if (shm->self != 0 && shm->seg.header != NULL)
        return; /* the maker may have told the others that all have mapped it: the verdict is its, or its end */
    nx_shm_group_fail(shm, "not all ranks of this host took part in time");
}

void nx_shm_group_left(struct nx_shm *shm)
{
    if (shm->self == 0 || shm->seg.header == NULL) /* else the verdict is the maker's */
        nx_shm_group_fail(shm, "another rank of this host does not take part");
}

/* ---- a member ---- */

static void take_segment(struct nx_shm *shm, int *fds, uint32_t n)
{
    struct words mapped = say(SAY_MAPPED);
    bool fits = n == shm->size + 1;

    for (uint32_t i = 0; i < n; i++) {
        if (i > 0 && i - 1 != shm->self && fits)
            shm->bell[i - 1] = fds[i];
        else if (i > 0 || !fits)
            close(fds[i]);
    }
    if (!fits || nx_shm_seg_map(fds[0], shm->size, shm->self, &shm->seg) != NEXAR_OK)
        nx_shm_group_fail(shm, fits ? nexar_last_error() : "what the maker of the segment sent is not it");
    else if (!send_words(shm->wire[0].fd, &mapped, NULL, 0))
        nx_shm_group_fail(shm, "the maker of the segment is gone");
}

/* Something from the maker, or its end. */
static void maker_says(void *arg, uint32_t events)
{
    struct nx_shm_wire *wire = arg;
    struct nx_shm *shm = wire->shm;
    int fds[NX_SHM_RANKS + 1];
    struct words w;
    uint32_t n;
    int got = recv_words(wire->fd, &w, fds, NX_SHM_RANKS + 1, &n);

    (void)events;
    if (got == 0)
        return;
    if (got > 0 && w.what == SAY_SEGMENT && shm->state == NX_SHM_FORMING && shm->seg.header == NULL) {
        take_segment(shm, fds, n);
        return;
    }
    while (n > 0)
        close(fds[--n]);
    if (got > 0 && w.what == SAY_GO && shm->state == NX_SHM_FORMING && shm->seg.header != NULL) {
        shared(shm);
        return;
    }
    w.text[sizeof(w.text) - 1] = '\0';
    if (shm->state == NX_SHM_SHARED) {
        await_end(wire);
        return;
    }
    close_wire(wire);
    nx_shm_group_fail(shm, got > 0 && w.what == SAY_NO ? w.text : "the maker of the segment is gone");
}

static void accept_invitation(struct nx_shm *shm, const struct words *w)
{
    struct nx_shm_wire *wire = &shm->wire[0];
    struct words hello = say(SAY_HELLO);
    struct sockaddr_un a;
    socklen_t len;

    address_of(w->text, &a, &len);
    hello.index = shm->self;
    memcpy(hello.token, w->token, sizeof(hello.token));
    wire->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (wire->fd < 0 || connect(wire->fd, (struct sockaddr *)&a, len) != 0 || !same_user(wire->fd, &wire->pid) ||
        !send_words(wire->fd, &hello, &shm->bell[shm->self], 1) ||
        shm->host->watch_fd(shm->node, wire->fd, EPOLLIN, maker_says, wire, &wire->watch) != NEXAR_OK)
        nx_shm_group_fail(shm, "the rank that makes the segment cannot be reached by a local socket");
}

void nx_shm_group_told(struct nx_shm *shm, const void *bytes, size_t n)
{
    struct words w;

    if (n != sizeof(w) || shm->self == 0 || shm->wire[0].fd >= 0 || shm->state != NX_SHM_FORMING)
        return; /* late, or no word of ours: the verdict comes without it */
    memcpy(&w, bytes, sizeof(w));
    if (w.what == SAY_INVITE)
        accept_invitation(shm, &w);
}

/* ---- the maker ---- */

/* All have brought their bells. */
static void give_segment(struct nx_shm *shm)
{
    struct words w = say(SAY_SEGMENT);
    int fds[NX_SHM_RANKS + 1];
    uint64_t heap_nbytes;

    (void)nx_shm_heap_size(shm->host->setting("NEXAR_SHM_HEAP"), shm->size, &heap_nbytes); /* looked at before */
    if (nx_shm_seg_make(shm->size, heap_nbytes, &shm->seg) != NEXAR_OK) {
        nx_shm_group_fail(shm, nexar_last_error());
        return;
    }
    fds[0] = shm->seg.fd;
    memcpy(fds + 1, shm->bell, shm->size * sizeof(int));
    for (uint32_t i = 1; i < shm->size && shm->state == NX_SHM_FORMING; i++) {
        if (!send_words(shm->wire[i].fd, &w, fds, shm->size + 1))
            nx_shm_group_fail(shm, "a rank of this host is gone");
    }
}

static void all_have_mapped(struct nx_shm *shm)
{
    struct words go = say(SAY_GO);

    for (uint32_t i = 1; i < shm->size; i++) {
        if (!send_words(shm->wire[i].fd, &go, NULL, 0)) {
            nx_shm_group_fail(shm, "a rank of this host is gone");
            return;
        }
    }
    shared(shm);
}

/* Something from a member that has said who it is, or its end. */
static void member_says(void *arg, uint32_t events)
{
    struct nx_shm_wire *wire = arg;
    struct nx_shm *shm = wire->shm;
    int fd = -1;
    struct words w;
    uint32_t n;
    int got = recv_words(wire->fd, &w, &fd, 1, &n);

    (void)events;
    if (n > 0)
        close(fd);
    if (got == 0)
        return;
    if (got > 0 && w.what == SAY_MAPPED && shm->state == NX_SHM_FORMING && shm->seg.header != NULL) {
        if (++shm->mapped == shm->size - 1)
            all_have_mapped(shm);
        return;
    }
    w.text[sizeof(w.text) - 1] = '\0';
    if (shm->state == NX_SHM_SHARED) {
        await_end(wire);
        return;
    }
    close_wire(wire);
    nx_shm_group_fail(shm, got > 0 && w.what == SAY_NO ? w.text : "a rank of this host is gone");
}

static bool equal(const uint8_t *a, const uint8_t *b, size_t n)
{
    uint8_t differ = 0;

    for (size_t i = 0; i < n; i++)
        differ |= a[i] ^ b[i];
    return differ == 0;
}

/* Who is that? */
static void stranger_says(void *arg, uint32_t events)
{
    struct nx_shm_wire *wire = arg;
    struct nx_shm *shm = wire->shm;
    struct nx_shm_wire *place;
    int bell = -1;
    struct words w;
    uint32_t n;
    int got = recv_words(wire->fd, &w, &bell, 1, &n);

    (void)events;
    if (got == 0)
        return;
    place = got > 0 && w.index > 0 && w.index < shm->size ? &shm->wire[w.index] : NULL;
    if (place == NULL || place->fd >= 0 || w.what != SAY_HELLO || n != 1 || shm->state != NX_SHM_FORMING ||
        !equal(w.token, shm->token, sizeof(shm->token))) {
        if (n > 0)
            close(bell);
        drop_stranger(wire);
        return;
    }
    shm->bell[w.index] = bell;
    shm->host->unwatch(wire->watch);
    wire->watch = NULL;
    place->fd = wire->fd;
    place->pid = wire->pid;
    wire->fd = -1;
    drop_stranger(wire);
    if (shm->host->watch_fd(shm->node, place->fd, EPOLLIN, member_says, place, &place->watch) != NEXAR_OK)
        nx_shm_group_fail(shm, nexar_last_error());
    else if (++shm->hellos == shm->size - 1)
        give_segment(shm);
}

static void accept_stranger(void *arg, uint32_t events)
{
    struct nx_shm *shm = arg;
    int fd = accept4(shm->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct nx_shm_wire *wire;
    int32_t pid = 0;

    (void)events;
    if (fd < 0)
        return;
    wire = shm->stranger_count < STRANGERS_MAX && same_user(fd, &pid) ? nx_calloc(1, sizeof(*wire)) : NULL;
    if (wire == NULL) {
        close(fd);
        return;
    }
    wire->shm = shm;
    wire->fd = fd;
    wire->pid = pid;
    wire->index = UINT32_MAX;
    nx_list_push_back(&shm->strangers, &wire->link);
    shm->stranger_count++;
    if (shm->host->watch_fd(shm->node, fd, EPOLLIN, stranger_says, wire, &wire->watch) != NEXAR_OK)
        drop_stranger(wire);
}

static nexar_status random_bytes(void *p, size_t n)
{
    if (getrandom(p, n, 0) == (ssize_t)n)
        return NEXAR_OK;
    return nx_fail(NEXAR_ESYSTEM, "no random bytes: %s", strerror(errno));
}

static nexar_status invite(struct nx_shm *shm)
{
    struct words w = say(SAY_INVITE);
    uint8_t name[NAME / 2];
    struct sockaddr_un a;
    socklen_t len;
    nexar_status st = random_bytes(name, sizeof(name));

    if (st == NEXAR_OK)
        st = random_bytes(shm->token, sizeof(shm->token));
    if (st != NEXAR_OK)
        return st;
    for (size_t i = 0; i < sizeof(name); i++)
        snprintf(w.text + 2 * i, 3, "%02x", name[i]);
    memcpy(w.token, shm->token, sizeof(w.token));
    address_of(w.text, &a, &len);
    shm->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (shm->listener < 0 || bind(shm->listener, (struct sockaddr *)&a, len) != 0 ||
        listen(shm->listener, NX_SHM_RANKS) != 0)
        return nx_fail(NEXAR_ESYSTEM, "a local socket cannot be made: %s", strerror(errno));
    st = shm->host->watch_fd(shm->node, shm->listener, EPOLLIN, accept_stranger, shm, &shm->listening);
    return st == NEXAR_OK ? nx_shm_tell_all(shm, &w, sizeof(w)) : st;
}

/* ---- both ---- */

void nx_shm_group_joined(struct nx_shm *shm)
{
    if (shm->patience == NULL && shm->host->watch_timer(shm->node, patience_ends, shm, &shm->patience) == NEXAR_OK)
        shm->host->timer_set(shm->patience, PATIENCE_S * NX_S);
    if (shm->self == 0 && shm->attached == shm->size - 1 && shm->state == NX_SHM_FORMING && invite(shm) != NEXAR_OK)
        nx_shm_group_fail(shm, nexar_last_error());
}

void nx_shm_group_close(struct nx_shm *shm)
{
    close_doors(shm);
    for (uint32_t i = 0; i < shm->size; i++)
        close_wire(&shm->wire[i]);
}
