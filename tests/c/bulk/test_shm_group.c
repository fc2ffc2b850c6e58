/* How the ranks of a host come to share a segment, with strangers at the door, and with a maker, a member and a sharer
 * that lie: those who tell the truth share it, or nobody does; nobody crashes, waits, or keeps what came. */
#include "bulk/bulk.h"
#include "bulk/shm_link.h"
#include "fakekit.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* As on the wire. */
enum { INVITE = 1, HELLO, SEGMENT, MAPPED, GO, NO };

struct words {
    uint8_t what;
    uint8_t zero[3];
    uint32_t index;
    uint8_t token[16];
    char text[128];
};

enum { STRANGERS = 40, FDS = 8 };

/* ---- sockets ---- */

static socklen_t address_of(const char *name, struct sockaddr_un *a)
{
    *a = (struct sockaddr_un){.sun_family = AF_UNIX};
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
                       (size_t)snprintf(a->sun_path + 1, sizeof(a->sun_path) - 1, "nexar-%s", name));
}

static int dial(const char *name)
{
    struct sockaddr_un a;
    socklen_t len = address_of(name, &a);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, len), 0);
    return fd;
}

static void say(int fd, const void *bytes, size_t n, const int *fds, uint32_t count)
{
    union {
        char bytes[CMSG_SPACE(FDS * sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = n};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

    if (count > 0) {
        m.msg_control = control.bytes;
        m.msg_controllen = CMSG_SPACE(count * sizeof(int));
        CMSG_FIRSTHDR(&m)->cmsg_level = SOL_SOCKET;
        CMSG_FIRSTHDR(&m)->cmsg_type = SCM_RIGHTS;
        CMSG_FIRSTHDR(&m)->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), fds, count * sizeof(int));
    }
    assert_int_equal(sendmsg(fd, &m, MSG_NOSIGNAL), n);
}

/* Its other end has been closed. */
static bool is_closed(int fd)
{
    char c;
    ssize_t n = recv(fd, &c, sizeof(c), MSG_DONTWAIT | MSG_PEEK);

    return n == 0 || (n < 0 && errno != EAGAIN);
}

/* Words that are there, and the descriptors beside them, which are closed. */
static bool hears(int fd, uint8_t what)
{
    union {
        char bytes[CMSG_SPACE(FDS * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct words w;
    struct iovec iov = {.iov_base = &w, .iov_len = sizeof(w)};
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
    ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    for (struct cmsghdr *c = n <= 0 ? NULL : CMSG_FIRSTHDR(&m); c != NULL; c = CMSG_NXTHDR(&m, c)) {
        for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
            int got;

            memcpy(&got, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            close(got);
        }
    }
    return n == (ssize_t)sizeof(w) && w.what == what;
}

static struct fake_options options(bool (*words)(void *, uint32_t, void *, size_t), void *arg)
{
    return (struct fake_options){.module = &nx_shm_module, .seed = 1, .near = true, .words = words, .arg = arg};
}

/* ---- strangers ---- */

struct door {
    struct words invitation;
    bool open;
    int stranger[STRANGERS];
    int bell;
};

/* Engine.  They come before the one who was invited. */
static bool strangers_come(void *arg, uint32_t from, void *bytes, size_t n)
{
    struct door *door = arg;
    struct words hello = {.what = HELLO, .index = 1};
    uint8_t more[sizeof(hello) + 8] = {HELLO};

    assert_int_equal(from, 0);
    assert_int_equal(n, sizeof(door->invitation));
    memcpy(&door->invitation, bytes, n);
    door->bell = eventfd(0, EFD_CLOEXEC);
    for (int i = 0; i < STRANGERS; i++)
        door->stranger[i] = dial(door->invitation.text);
    say(door->stranger[0], &hello, sizeof(hello), &door->bell, 1); /* the token is wrong */
    memcpy(hello.token, door->invitation.token, sizeof(hello.token));
    say(door->stranger[1], &hello, sizeof(hello), NULL, 0); /* without a bell */
    say(door->stranger[2], &hello, sizeof(hello) - 1, &door->bell, 1);
    say(door->stranger[3], more, sizeof(more), &door->bell, 1);
    hello.index = 0;
    say(door->stranger[4], &hello, sizeof(hello), &door->bell, 1); /* the maker's own place */
    hello.index = 2;
    say(door->stranger[5], &hello, sizeof(hello), &door->bell, 1); /* one that there is not */
    hello.index = 1;
    hello.what = MAPPED;
    say(door->stranger[6], &hello, sizeof(hello), &door->bell, 1);
    say(door->stranger[7], "", 1, NULL, 0);
    close(door->stranger[8]);
    door->stranger[8] = -1; /* the rest is silent */
    door->open = true;
    return true;
}

static void test_strangers_do_not_keep_the_right_one_out(void **state)
{
    struct door door = {0};
    struct fake_options o = options(strangers_come, &door);
    struct fake_pair *pair = kit_open(&o);
    uint8_t p[100];

    (void)state;
    assert_true(door.open);
    for (int i = 0; i < STRANGERS; i++) {
        if (door.stranger[i] >= 0) {
            assert_driven(is_closed(door.stranger[i]));
            close(door.stranger[i]);
        }
    }
    close(door.bell);
    assert_int_equal(kit_send(pair, 0, 7, p, sizeof(p), true), NEXAR_OK);
    assert_driven(fake_received(pair, 1) == 1);
    kit_expect(pair, 1, 7, sizeof(p));
    fake_close(pair);
}

/* ---- a member that lies ---- */

/* Engine.  The invitation goes to us. */
static bool keep_invitation(void *arg, uint32_t from, void *bytes, size_t n)
{
    struct door *door = arg;

    (void)from;
    assert_int_equal(n, sizeof(door->invitation));
    memcpy(&door->invitation, bytes, n);
    door->open = true;
    return false;
}

static int come_in(const struct door *door)
{
    struct words hello = {.what = HELLO, .index = 1};
    int fd = dial(door->invitation.text), bell = eventfd(0, EFD_CLOEXEC);

    memcpy(hello.token, door->invitation.token, sizeof(hello.token));
    say(fd, &hello, sizeof(hello), &bell, 1);
    close(bell);
    assert_driven(hears(fd, SEGMENT));
    return fd;
}

static void test_member_that_goes_or_talks_nonsense(void **state)
{
    static const struct words answers[] = {{.what = 77}, {.what = HELLO, .index = 1}, {.what = NO, .text = "not I"}};

    (void)state;
    for (size_t i = 0; i <= sizeof(answers) / sizeof(answers[0]); i++) {
        struct door door = {0};
        struct fake_options o = options(keep_invitation, &door);
        struct fake_pair *pair = fake_open(&o);
        int fd;

        assert_driven(door.open);
        fd = come_in(&door);
        assert_int_equal(fake_state(pair, 0), FAKE_ATTACHED);
        if (i < sizeof(answers) / sizeof(answers[0]))
            say(fd, &answers[i], sizeof(answers[i]), NULL, 0);
        else
            close(fd);
        assert_driven(fake_state(pair, 0) == FAKE_UNUSABLE);
        assert_non_null(strstr(pair->node[0].link.why, i == 2 ? "not I" : "gone"));
        if (i < sizeof(answers) / sizeof(answers[0]))
            close(fd);
        fake_close(pair);
    }
}

/* ---- a maker that lies ---- */

struct maker {
    char name[33];
    int listener;
    _Atomic bool asked;
};

/* Engine.  Rank 1 is sent to us. */
static bool send_elsewhere(void *arg, uint32_t from, void *bytes, size_t n)
{
    struct maker *maker = arg;

    (void)from, (void)n;
    memcpy(bytes + offsetof(struct words, text), maker->name, sizeof(maker->name));
    atomic_store(&maker->asked, true);
    return true;
}

static void maker_init(struct maker *maker, int number)
{
    struct sockaddr_un a;
    socklen_t len;

    *maker = (struct maker){.listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    snprintf(maker->name, sizeof(maker->name), "%024x%08x", number, (unsigned)getpid());
    len = address_of(maker->name, &a);
    assert_int_equal(bind(maker->listener, (struct sockaddr *)&a, len), 0);
    assert_int_equal(listen(maker->listener, 4), 0);
}

static int file_of(uint64_t nbytes, int seals)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)nbytes), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

/* What is given instead of the segment: descriptors, the first of which is it. */
static uint32_t lie(int number, int *fds)
{
    struct nx_shm_layout l;

    nx_shm_layout(2, 0, &l);
    for (int i = 1; i < 4; i++)
        fds[i] = eventfd(0, EFD_CLOEXEC);
    switch (number) {
    case 0: /* it could shrink */
        fds[0] = file_of(l.total, F_SEAL_GROW | F_SEAL_SEAL);
        return 3;
    case 1: /* too small */
        fds[0] = file_of(4096, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
        return 3;
    case 2: /* nothing is in it */
        fds[0] = file_of(l.total, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
        return 3;
    case 3: /* no file at all */
        fds[0] = eventfd(0, EFD_CLOEXEC);
        return 3;
    case 4: /* too few descriptors */
        fds[0] = file_of(l.total, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
        return 2;
    case 5: /* too many */
        fds[0] = file_of(l.total, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
        return 4;
    default: /* none */
        fds[0] = eventfd(0, EFD_CLOEXEC);
        return 0;
    }
}

static void test_maker_that_lies(void **state)
{
    static const char *const whys[] = {"not sealed", "not sealed", "not ours", "not sealed",
                                       "is not it",  "is not it",  "is not it"};

    (void)state;
    for (int number = 0; number < 7; number++) {
        struct words segment = {.what = SEGMENT};
        struct fake_options o;
        struct fake_pair *pair;
        struct maker maker;
        int fd = -1, fds[4];
        uint32_t n;

        maker_init(&maker, number);
        o = options(send_elsewhere, &maker);
        pair = fake_open(&o);
        assert_driven((fd = accept4(maker.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0);
        assert_driven(hears(fd, HELLO));
        n = lie(number, fds);
        say(fd, &segment, sizeof(segment), fds, n);
        for (int i = 0; i < 4; i++)
            close(fds[i]);
        assert_driven(fake_state(pair, 1) == FAKE_UNUSABLE);
        assert_non_null(strstr(pair->node[1].link.why, whys[number]));
        assert_driven(is_closed(fd) || hears(fd, NO));
        close(fd);
        close(maker.listener);
        fake_close(pair);
    }
}

/* ---- a sharer that lies ---- */

static struct nx_shm_ring *ring_of(struct fake_pair *pair, uint32_t from, uint32_t to)
{
    struct nx_shm *shm = pair->node[from].link.self;

    return nx_shm_seg_ring(&shm->seg, from, to);
}

static void test_nonsense_in_a_ring_cuts_its_writer_off(void **state)
{
    static const struct nx_shm_cell lies[] = {
        {.kind = 0, .head_nbytes = 48},
        {.kind = 9, .head_nbytes = 48},
        {.kind = NX_SHM_WHOLE, .head_nbytes = 0},
        {.kind = NX_SHM_WHOLE, .head_nbytes = NX_SHM_HEAD + 1},
        {.kind = NX_SHM_WHOLE, .head_nbytes = 48, .len = NX_SHM_INLINE + 1, .total = NX_SHM_INLINE + 1},
        {.kind = NX_SHM_BEGIN, .head_nbytes = 48, .total = UINT64_MAX, .far = {.off = 0, .len = UINT32_MAX}},
        {.kind = NX_SHM_BEGIN, .head_nbytes = 48, .total = 100, .far = {.off = UINT32_MAX, .len = 100}},
        {.kind = NX_SHM_MORE, .head_nbytes = 48, .total = 100, .far = {.off = 0, .len = 100}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        struct fake_options o = options(NULL, NULL);
        struct fake_pair *pair = kit_open(&o);
        struct nx_shm_ring *ring = ring_of(pair, 0, 1);
        size_t from = offsetof(struct nx_shm_cell, kind);

        memcpy((uint8_t *)&ring->cell[0] + from, (const uint8_t *)&lies[i] + from, sizeof(lies[i]) - from);
        atomic_store(&ring->cell[0].seq, 1);
        assert_driven(fake_state(pair, 1) == FAKE_LOST);
        assert_non_null(strstr(pair->node[1].link.why, "makes no sense"));
        assert_int_equal(fake_received(pair, 1), 0);
        assert_int_equal(fake_state(pair, 0), FAKE_READY); /* the other end has seen nothing */
        fake_close(pair);
    }
}

/* ---- nothing is left ---- */

static uint32_t open_before;

static int setup(void **state)
{
    struct fake_options o = options(NULL, NULL);

    (void)state;
    fake_close(kit_open(&o)); /* starts the engine, whose descriptors stay */
    open_before = kit_descriptors();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return kit_descriptors() == open_before ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_strangers_do_not_keep_the_right_one_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_member_that_goes_or_talks_nonsense, setup, teardown),
        cmocka_unit_test_setup_teardown(test_maker_that_lies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nonsense_in_a_ring_cuts_its_writer_off, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
