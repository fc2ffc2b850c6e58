/* main.c - nexar-yardstick: what bare MsQuic does between two processes of this machine; the measure for nexar-bench.
 *
 * Owner: the main thread.  It starts server and client of each size as processes of their own and prints what the
 * client measured.  It does nothing that nexar does over MsQuic: no matching, no order, no mesh. */
#include "yardstick.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZES 64
#define SECONDS 0.4
#define BURST_BYTES (64u << 20)
#define WINDOW_BYTES (8u << 20)

struct choice {
    struct task task;
    size_t window;
    const char *sizes;
    bool json;
};

static void usage(FILE *out)
{
    fprintf(out, "usage: nexar-yardstick p2p|stream [--sizes 8,64k,1m] [--seconds S] [--json] [scheme]\n\n"
                 "Starts two processes, which exchange messages over MsQuic with nothing in between.\n\n"
                 "  p2p        a message there and back; times are one way, half of the round trip\n"
                 "  stream     messages one way, several under way; times are of one message\n\n"
                 "scheme:\n"
                 "  --caller   custom execution, polled by the main thread without a pause; else MsQuic's own worker\n"
                 "  --pin      that thread stays on one core, another for each process\n"
                 "  --poll US  how long MsQuic's worker polls before it sleeps (default: 0)\n"
                 "  --each     a stream for each message; else one for all\n"
                 "  --drop     bytes are counted, not copied into the receiver's memory\n"
                 "  --window N messages under way (default: those of 8 MiB, at least 4, at most 16384)\n");
}

static unsigned long number(const char *text)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);

    if (*text != '\0' && *end == '\0' && *text != '-' && value <= 1000000)
        return value;
    fprintf(stderr, "nexar-yardstick: %s is no value for this option\n", text);
    exit(2);
}

static void parse(int argc, char **argv, struct choice *c)
{
    static const struct option known[] = {
        {"sizes", required_argument, NULL, 's'},  {"seconds", required_argument, NULL, 't'},
        {"json", no_argument, NULL, 'j'},         {"caller", no_argument, NULL, 'c'},
        {"pin", no_argument, NULL, 'p'},          {"poll", required_argument, NULL, 'u'},
        {"each", no_argument, NULL, 'e'},         {"drop", no_argument, NULL, 'd'},
        {"window", required_argument, NULL, 'w'}, {NULL, 0, NULL, 0},
    };
    struct scheme *scheme = &c->task.scheme;
    int letter;

    while ((letter = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (letter) {
        case 's':
            c->sizes = optarg;
            break;
        case 't':
            c->task.seconds = bench_parse_seconds(optarg);
            break;
        case 'j':
            c->json = true;
            break;
        case 'c':
            scheme->caller = true;
            break;
        case 'p':
            scheme->pin = true;
            break;
        case 'u':
            scheme->poll_us = (uint32_t)number(optarg);
            break;
        case 'e':
            scheme->each = true;
            break;
        case 'd':
            scheme->drop = true;
            break;
        case 'w':
            c->window = number(optarg);
            break;
        default:
            usage(stderr);
            exit(2);
        }
    }
    if (optind + 1 == argc && strcmp(argv[optind], "p2p") == 0)
        c->task.work = PING_PONG;
    else if (optind + 1 == argc && strcmp(argv[optind], "stream") == 0)
        c->task.work = STREAM;
    else
        c->task.seconds = 0;
    if (c->task.seconds > 0)
        return;
    usage(stderr);
    exit(2);
}

static size_t within(size_t value, size_t least, size_t most)
{
    return value < least ? least : value > most ? most : value;
}

static void print(const struct end *end, bool json)
{
    const struct scheme *s = &end->task->scheme;
    char more[160];
    struct bench_result result = {.name = end->task->work == STREAM ? "stream" : "p2p",
                                  .ranks = 2,
                                  .nbytes = end->task->nbytes,
                                  .dtype = "uint8",
                                  .transport = "msquic",
                                  .bus = 1,
                                  .wrong = end->wrong,
                                  .more = more};

    snprintf(more, sizeof(more), "%s%s%s poll %u us, %s%s%s", json ? ", \"scheme\": \"" : "  ",
             s->caller ? "caller" : "worker", s->pin ? " pinned" : "", s->poll_us,
             s->each ? "stream each" : "one stream", s->drop ? ", dropped" : "", json ? "\"" : "");
    bench_result_times(&result, end->us, end->n);
    bench_print(&result, json);
}

static pid_t start(struct end *end, const int *port_pipe, bool json)
{
    pid_t parent = getpid(), pid = fork();
    uint16_t port = 0;

    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    work_open(end);
    open_quic(end);
    if (end->server) {
        port = listen_quic(end);
        if (write(port_pipe[1], &port, sizeof(port)) != sizeof(port))
            die("the client has gone", QUIC_STATUS_ABORTED);
    } else {
        if (read(port_pipe[0], &port, sizeof(port)) != sizeof(port))
            die("the server has gone", QUIC_STATUS_ABORTED);
        connect_quic(end, port);
    }
    run_quic(end);
    print(end, json);
    _exit(end->wrong != 0);
}

/* Exit status of the client.  The server never ends by itself. */
static int run_pair(const struct task *task, bool json)
{
    struct end server = {.task = task, .server = true};
    struct end client = {.task = task};
    int port_pipe[2], status;
    pid_t pid[2], ended;

    if (pipe(port_pipe) != 0)
        return 1;
    fflush(stdout);
    pid[0] = start(&server, port_pipe, json);
    pid[1] = start(&client, port_pipe, json);
    if (pid[0] < 0 || pid[1] < 0)
        exit(1); /* which ends what was started */
    close(port_pipe[0]);
    close(port_pipe[1]);
    ended = waitpid(-1, &status, 0);
    kill(ended == pid[0] ? pid[1] : pid[0], SIGKILL);
    waitpid(-1, NULL, 0);
    return ended == pid[1] && WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int main(int argc, char **argv)
{
    struct choice c = {.task = {.seconds = SECONDS}, .sizes = "64,4k,64k,1m,16m"};
    size_t sizes[SIZES], n;
    int failed = 0;

    parse(argc, argv, &c);
    n = bench_parse_sizes(c.sizes, sizes, SIZES);
    if (n == 0) {
        fprintf(stderr, "nexar-yardstick: '%s' is no list of sizes such as 8,64k,1m\n", c.sizes);
        return 2;
    }
    if (!c.json)
        bench_print_header();
    for (size_t i = 0; i < n; i++) {
        c.task.nbytes = sizes[i] != 0 ? sizes[i] : 1;
        c.task.burst = within(BURST_BYTES / c.task.nbytes, 8, 20000);
        c.task.window = c.window != 0 ? c.window : within(WINDOW_BYTES / c.task.nbytes, 4, 16384);
        failed |= run_pair(&c.task, c.json);
    }
    return failed;
}
