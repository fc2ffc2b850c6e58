/* rank.c - a rank of the jobs that tests/rdma runs: messages and collectives on data that depends on rank and index,
 * every element checked; or a job in the middle of which a rank dies.
 *
 * Owner: one thread.  Where the others are, and which way bytes take, the environment says; what the counters must
 * prove at the end, the arguments. */
#include <nexar/nexar.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define MOST 8 /* ranks */
#define CHECK(call)                                                                                            \
    do {                                                                                                       \
        nexar_status st_ = (call);                                                                             \
        if (st_ != NEXAR_OK) {                                                                                 \
            fprintf(stderr, "rank %u: %s: %s: %s\n", rank, #call, nexar_status_name(st_), nexar_last_error()); \
            exit(1);                                                                                           \
        }                                                                                                      \
    } while (0)

static nexar_comm *comm;
static uint32_t rank, size;
static uint64_t sent; /* bytes of messages from this rank to others, at least */

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ---- data ---- */

static int32_t value(uint32_t of, size_t i)
{
    return (int32_t)((i * 7 + of * 31 + i / 5) % 101) - 50;
}

static int32_t *array(size_t count)
{
    int32_t *x = calloc(count + 1, sizeof(*x)); /* one more: never of no bytes */

    if (x == NULL)
        exit(2);
    return x;
}

static int32_t *own(size_t count)
{
    int32_t *x = array(count);

    for (size_t i = 0; i < count; i++)
        x[i] = value(rank, i);
    return x;
}

static void must_be(int32_t got, int32_t wanted, const char *call, size_t i)
{
    if (got != wanted) {
        fprintf(stderr, "rank %u: %s: element %zu is %d, not %d\n", rank, call, i, got, wanted);
        exit(1);
    }
}

/* `y` is elements `first`, `first` + 1, ... of the sum over the lowest `ranks` ranks. */
static void must_be_sum(const int32_t *y, uint32_t ranks, size_t first, size_t count, const char *call)
{
    for (size_t i = 0; i < count; i++) {
        int32_t sum = 0;

        for (uint32_t r = 0; r < ranks; r++)
            sum += value(r, first + i);
        must_be(y[i], sum, call, i);
    }
}

static void must_be_of(const int32_t *y, uint32_t of, size_t first, size_t count, const char *call)
{
    for (size_t i = 0; i < count; i++)
        must_be(y[i], value(of, first + i), call, i);
}

/* ---- what a job does ---- */

static void messages(size_t nbytes)
{
    uint32_t left = (rank + size - 1) % size, right = (rank + 1) % size;
    uint8_t *x = malloc(nbytes + 1), *y = malloc(nbytes + 1);
    nexar_recv_info info;

    if (x == NULL || y == NULL)
        exit(2);
    for (size_t i = 0; i < nbytes; i++)
        x[i] = (uint8_t)(rank * 37 + i * 7 + (i >> 8) * 13 + (i >> 16) * 29);
    if (rank % 2 == 0) /* one after the other, and then all at the same time */
        CHECK(nexar_send(comm, x, nbytes, right, 4, NULL, NULL));
    CHECK(nexar_recv(comm, y, nbytes, left, 4, &info, NULL));
    if (rank % 2 != 0)
        CHECK(nexar_send(comm, x, nbytes, right, 4, NULL, NULL));
    memset(y, 0xee, nbytes + 1);
    CHECK(nexar_sendrecv(comm, x, nbytes, right, 5, y, nbytes, NEXAR_ANY, 5, &info, NULL));
    must_be((int32_t)info.source, (int32_t)left, "sendrecv, source", 0);
    must_be((int32_t)(info.nbytes == nbytes), 1, "sendrecv, length", 0);
    for (size_t i = 0; i < nbytes; i++)
        must_be(y[i], (uint8_t)(left * 37 + i * 7 + (i >> 8) * 13 + (i >> 16) * 29), "sendrecv", i);
    sent += 2 * (uint64_t)nbytes;
    free(x);
    free(y);
}

static void reductions(size_t count)
{
    int32_t *x = own(count), *y = array(count), *blocks = own(count * size);
    uint32_t root = size - 1;

    CHECK(nexar_all_reduce(comm, x, y, count, NEXAR_INT32, NEXAR_SUM, NULL, NULL));
    must_be_sum(y, size, 0, count, "all_reduce");
    CHECK(nexar_reduce(comm, x, y, count, NEXAR_INT32, NEXAR_SUM, root, NULL, NULL));
    if (rank == root)
        must_be_sum(y, size, 0, count, "reduce");
    CHECK(nexar_scan(comm, x, y, count, NEXAR_INT32, NEXAR_SUM, NULL, NULL));
    must_be_sum(y, rank + 1, 0, count, "scan");
    CHECK(nexar_exclusive_scan(comm, x, y, count, NEXAR_INT32, NEXAR_SUM, NULL, NULL));
    must_be_sum(y, rank, 0, count, "exclusive_scan");
    CHECK(nexar_reduce_scatter(comm, blocks, y, count, NEXAR_INT32, NEXAR_SUM, NULL, NULL));
    must_be_sum(y, size, rank * count, count, "reduce_scatter");
    free(x);
    free(y);
    free(blocks);
}

static void moves(size_t count)
{
    int32_t *x = own(count), *blocks = own(count * size), *y = array(count * size);
    uint32_t root = size / 2;

    CHECK(nexar_all_gather(comm, x, y, count, NEXAR_INT32, NULL, NULL));
    for (uint32_t r = 0; r < size; r++)
        must_be_of(y + r * count, r, 0, count, "all_gather");
    memset(y, 0, count * size * sizeof(*y));
    CHECK(nexar_gather(comm, x, y, count, NEXAR_INT32, root, NULL, NULL));
    for (uint32_t r = 0; rank == root && r < size; r++)
        must_be_of(y + r * count, r, 0, count, "gather");
    CHECK(nexar_scatter(comm, blocks, y, count, NEXAR_INT32, root, NULL, NULL));
    must_be_of(y, root, rank * count, count, "scatter");
    CHECK(nexar_all_to_all(comm, blocks, y, count, NEXAR_INT32, NULL, NULL));
    for (uint32_t r = 0; r < size; r++)
        must_be_of(y + r * count, r, rank * count, count, "all_to_all");
    CHECK(nexar_broadcast(comm, x, count, NEXAR_INT32, root, NULL, NULL));
    must_be_of(x, root, 0, count, "broadcast");
    free(x);
    free(y);
    free(blocks);
}

/* Rank r has, or is sent by each, count * (r % 3) elements. */
static void ragged(size_t count)
{
    size_t counts[MOST], same[MOST], mine = count * (rank % 3), before = 0, all = 0;
    uint32_t root = size - 1;
    int32_t *x, *y;

    for (uint32_t r = 0; r < size; r++) {
        counts[r] = count * (r % 3);
        same[r] = mine;
        before += r < rank ? counts[r] : 0;
        all += counts[r];
    }
    x = own(all);
    y = array(all + mine * size);
    CHECK(nexar_all_gather_v(comm, x, mine, y, counts, NULL, NEXAR_INT32, NULL, NULL));
    for (uint32_t r = 0, at = 0; r < size; at += (uint32_t)counts[r++])
        must_be_of(y + at, r, 0, counts[r], "all_gather_v");
    memset(y, 0, all * sizeof(*y));
    CHECK(nexar_gather_v(comm, x, mine, y, counts, NULL, NEXAR_INT32, root, NULL, NULL));
    for (uint32_t r = 0, at = 0; rank == root && r < size; at += (uint32_t)counts[r++])
        must_be_of(y + at, r, 0, counts[r], "gather_v");
    CHECK(nexar_scatter_v(comm, x, counts, NULL, y, mine, NEXAR_INT32, root, NULL, NULL));
    must_be_of(y, root, before, mine, "scatter_v");
    CHECK(nexar_reduce_scatter_v(comm, x, y, counts, NEXAR_INT32, NEXAR_SUM, NULL, NULL));
    must_be_sum(y, size, before, mine, "reduce_scatter_v");
    CHECK(nexar_all_to_all_v(comm, x, counts, NULL, y, same, NULL, NEXAR_INT32, NULL, NULL));
    for (uint32_t r = 0; r < size; r++)
        must_be_of(y + r * mine, r, before, mine, "all_to_all_v");
    free(x);
    free(y);
}

/* ---- what the counters prove ---- */

static uint64_t counter(const char *json, const char *way, const char *name)
{
    char key[64];
    const char *at = strstr(json, "\"transports\"");

    snprintf(key, sizeof(key), "\"%s\"", way);
    at = at == NULL ? NULL : strstr(at, key);
    snprintf(key, sizeof(key), "\"%s\"", name);
    at = at == NULL ? NULL : strstr(at, key);
    at = at == NULL ? NULL : strchr(at, ':');
    return at == NULL ? 0 : strtoull(at + 1, NULL, 10);
}

/* `ways` is "tcp" or "shm,tcp": each has carried messages of this rank, all together the bytes; no other has. */
static int prove(const char *ways)
{
    static const char *const known[] = {"quic", "shm", "tcp", "rdma"};
    static char json[1 << 16];
    uint64_t bytes = 0;
    size_t need;
    int wrong = 0;

    CHECK(nexar_comm_stats(comm, json, sizeof(json), &need));
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        uint64_t messages_sent = counter(json, known[i], "messages_sent");
        uint64_t lost = counter(json, known[i], "lost");
        int wanted = strstr(ways, known[i]) != NULL;

        wrong |= (messages_sent > 0) != wanted || lost != 0;
        bytes += wanted ? counter(json, known[i], "bytes_sent") : 0;
        if (messages_sent > 0 || wanted)
            printf("rank %u: %llu messages, %llu bytes by %s, which broke %llu times\n", rank,
                   (unsigned long long)messages_sent, (unsigned long long)counter(json, known[i], "bytes_sent"),
                   known[i], (unsigned long long)lost);
    }
    if (wrong || bytes < sent) {
        fprintf(stderr, "rank %u: %llu bytes and more should all have gone by %s: %.*s\n", rank,
                (unsigned long long)sent, ways, 600,
                strstr(json, "\"transports\"") == NULL ? json : strstr(json, "\"transports\""));
        return 1;
    }
    return 0;
}

static int verify(const char *ways, size_t most)
{
    static const size_t lengths[] = {0, 1, 7, 64, 1000, 4096, 65537, 262145, 1 << 20, 16 << 20};
    static const size_t counts[] = {1, 1003, 40009, 300007};
    double began = seconds();

    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        if (lengths[i] <= most)
            messages(lengths[i]);
    }
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        if (counts[i] * sizeof(int32_t) > most)
            continue;
        reductions(counts[i]);
        moves(counts[i]);
        ragged(counts[i]);
    }
    CHECK(nexar_barrier(comm, NULL, NULL));
    printf("rank %u: all as it must be, in %.1f s\n", rank, seconds() - began);
    return prove(ways);
}

/* ---- a rank that dies ---- */

/* Says that this rank has seen it, and waits until all that live have: who leaves earlier is lost to others, too. */
static int meet(const char *folder)
{
    double deadline = seconds() + 10;
    char path[256];
    uint32_t seen;
    int fd;

    snprintf(path, sizeof(path), "%s/%u", folder, rank);
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    if (fd < 0) {
        perror(path);
        return 1;
    }
    close(fd);
    do {
        seen = 0;
        for (uint32_t r = 0; r < size; r++) {
            snprintf(path, sizeof(path), "%s/%u", folder, r);
            seen += access(path, F_OK) == 0;
        }
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL); /* between two looks */
    } while (seen < size - 1 && seconds() < deadline);
    return seen == size - 1 ? 0 : 1;
}

static void killed(int signum)
{
    (void)signum;
    kill(getpid(), SIGKILL);
}

/* The last rank is killed in the middle of one collective after the other; the others name it within 5 seconds. */
static int die(const char *folder)
{
    const size_t count = 200003;
    int32_t *x = own(count), *y = array(count);
    nexar_error error = {.size = sizeof(error)};
    double began;
    nexar_status st;

    CHECK(nexar_barrier(comm, NULL, NULL));
    if (rank == size - 1) {
        struct itimerval alarm = {.it_value = {.tv_usec = 700000}};

        signal(SIGALRM, killed);
        setitimer(ITIMER_REAL, &alarm, NULL);
    }
    do {
        began = seconds();
        st = nexar_all_reduce(comm, x, y, count, NEXAR_INT32, NEXAR_SUM, NULL, NULL);
    } while (st == NEXAR_OK);
    nexar_last_error_info(&error);
    printf("rank %u: %s after %.2f s: %s\n", rank, nexar_status_name(st), seconds() - began, nexar_last_error());
    free(x);
    free(y);
    if (st != NEXAR_EPEER || error.peer != size - 1 || seconds() - began > 5)
        return 1;
    return meet(folder);
}

/* ---- a link that breaks and comes back ---- */

static void say(const char *folder, const char *what)
{
    char path[256];
    int fd;

    snprintf(path, sizeof(path), "%s/%s-%u", folder, what, rank);
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    if (fd >= 0)
        close(fd);
}

/* Sums that are right while the way breaks, without it, and when it is back; ends when all have seen all three. */
static int mend(const char *folder, const char *way)
{
    enum { WHOLE, BROKEN, BACK };
    static char json[1 << 16];
    const size_t count = 50021;
    int32_t *x = own(count), *y = array(count), seen = WHOLE, least;
    double deadline = seconds() + 50;
    uint64_t carried = 0;
    size_t need;

    CHECK(nexar_barrier(comm, NULL, NULL));
    say(folder, "begun");
    do {
        memset(y, 0, count * sizeof(*y));
        CHECK(nexar_all_reduce(comm, x, y, count, NEXAR_INT32, NEXAR_SUM, NULL, NULL));
        must_be_sum(y, size, 0, count, "all_reduce");
        CHECK(nexar_comm_stats(comm, json, sizeof(json), &need));
        if (seen == WHOLE && counter(json, way, "lost") > 0) {
            seen = BROKEN;
            carried = counter(json, way, "messages_sent");
            printf("rank %u: it broke, and QUIC carries\n", rank);
            say(folder, "broken");
        } else if (seen == BROKEN && counter(json, way, "messages_sent") > carried + 10) {
            seen = BACK;
            printf("rank %u: it is back\n", rank);
        }
        CHECK(nexar_all_reduce(comm, &seen, &least, 1, NEXAR_INT32, NEXAR_MIN, NULL, NULL));
    } while (least != BACK && seconds() < deadline);
    free(x);
    free(y);
    return least == BACK ? 0 : 1;
}

int main(int argc, char **argv)
{
    int result = 2;

    if (argc < 3 || argc > 4) {
        fprintf(stderr, "usage: %s verify WAYS [LONGEST-MESSAGE]\n       %s die FOLDER\n       %s mend FOLDER WAY\n",
                argv[0], argv[0], argv[0]);
        return 2;
    }
    CHECK(nexar_init(NULL, &comm));
    rank = nexar_comm_rank(comm);
    size = nexar_comm_size(comm);
    if (size > MOST)
        return 2;
    if (strcmp(argv[1], "verify") == 0)
        result = verify(argv[2], argc == 4 ? strtoull(argv[3], NULL, 10) : SIZE_MAX);
    else if (strcmp(argv[1], "die") == 0)
        result = die(argv[2]);
    else if (strcmp(argv[1], "mend") == 0 && argc == 4)
        result = mend(argv[2], argv[3]);
    nexar_comm_close(comm);
    return result;
}
