/* comm/dump_signal.c - folders for dumps, and SIGUSR1, on which all nodes of the process write theirs.
 *
 * Owner: this file's lock for the list of nodes.  The handler writes into an eventfd, and no more; the engine does the
 * rest.  A program's own handler stays, whether it comes before or after. */
#include "comm/dump.h"

#include "base/call.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NETS_MAX = 256 };

static struct {
    struct nx_mutex lock;
    struct nx_list nets; /* those with a folder */
    struct nx_event event;
    pid_t pid;
} watch = {.lock = {.m = PTHREAD_MUTEX_INITIALIZER, .rank = NX_LOCK_NODE}};

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void handle(int number)
{
    int saved = errno;
    uint64_t one = 1;

    (void)number;
    /* In a child the descriptor is still its parent's. */
    if (getpid() == watch.pid && write(watch.event.fd, &one, sizeof(one)) < 0) {
        /* It is full of signals already. */
    }
    errno = saved;
}

/* Engine. */
static void signalled(struct epoll_event *event)
{
    struct nx_net *net[NETS_MAX];
    uint64_t signals;
    uint32_t n = 0;

    (void)event;
    if (read(watch.event.fd, &signals, sizeof(signals)) < 0)
        return;
    nx_lock(&watch.lock);
    for (struct nx_list *pos = watch.nets.next; pos != &watch.nets && n < NETS_MAX; pos = pos->next)
        net[n++] = nx_container_of(pos, struct nx_net, dump_link);
    nx_unlock(&watch.lock);
    for (uint32_t i = 0; i < n; i++)
        nx_dump_on_signal(net[i]); /* whoever closes one now waits for us */
}

static void install(void)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &watch.event};
    struct sigaction ours = {.sa_handler = handle, .sa_flags = SA_RESTART}, before;

    nx_list_init(&watch.nets);
    watch.pid = getpid();
    watch.event = (struct nx_event){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .ready = signalled};
    if (watch.event.fd < 0 || epoll_ctl(nx_engine_epoll(), EPOLL_CTL_ADD, watch.event.fd, &event) != 0) {
        nx_warn("SIGUSR1 will write no dump: %s", strerror(errno));
        return;
    }
    sigemptyset(&ours.sa_mask);
    if (sigaction(SIGUSR1, NULL, &before) == 0 && before.sa_handler == SIG_DFL && (before.sa_flags & SA_SIGINFO) == 0)
        sigaction(SIGUSR1, &ours, NULL);
    else
        nx_info("SIGUSR1 belongs to the program and will write no dump");
}

nexar_status nx_dump_open(struct nx_net *net, const char *folder)
{
    size_t n;

    if (folder == NULL)
        return NEXAR_OK;
    n = strlen(folder) + 1;
    net->dump_folder = nx_alloc(n);
    if (net->dump_folder == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a node");
    memcpy(net->dump_folder, folder, n);
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        nx_warn("dumps cannot be written to %s: %s", folder, strerror(errno));
    pthread_once(&once, install);
    nx_lock(&watch.lock);
    nx_list_push_back(&watch.nets, &net->dump_link);
    nx_unlock(&watch.lock);
    return NEXAR_OK;
}

void nx_dump_close(struct nx_net *net)
{
    if (net->dump_folder == NULL)
        return;
    nx_lock(&watch.lock);
    nx_list_remove(&net->dump_link);
    nx_unlock(&watch.lock);
    nx_fence(); /* no signal is being handled for it any more */
    nx_free(net->dump_folder);
    net->dump_folder = NULL;
}
