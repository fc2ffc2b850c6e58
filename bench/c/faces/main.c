/* main.c - face-LIBRARY: measures cases, each over some sizes, by the library that it is linked to.
 *
 * Owner: the main thread of each rank.  All ranks must be on one host.  It starts no ranks: `nexar run -n 2 -- ...` or
 * mpirun does. */
#include "face.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define SIZES 64
#define PAGE ((size_t)4096)
#define ASKS_FOR_HUGE_PAGES ((size_t)4 << 20)

struct order {
    const struct face_case *c;
    size_t sizes[SIZES];
    size_t n;
};

void face_die(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static _Noreturn void usage(FILE *out)
{
    fprintf(out,
            "usage: %s [--seconds S] [--alloc] [--json] CASE[:SIZES]...\n\n"
            "Every rank of a job runs it; all on one host.  CASE:8,64k,1m names sizes in bytes.\n\ncases:",
            program_invocation_short_name);
    for (size_t i = 0; face_case_name(i) != NULL; i++)
        fprintf(out, " %s", face_case_name(i));
    fprintf(out, "\n\n"
                 "  --seconds  how long one size is measured (default: 0.3)\n"
                 "  --alloc    in memory of the library's own\n"
                 "  --json     one object a line\n");
    exit(out == stdout ? 0 : 2);
}

static void parse_case(char *text, struct order *order)
{
    char *colon = strchr(text, ':');

    order->n = 1;
    order->sizes[0] = 8;
    if (colon != NULL) {
        *colon = '\0';
        order->n = bench_parse_sizes(colon + 1, order->sizes, SIZES);
    }
    order->c = face_case_of(text);
    if (order->c == NULL || order->n == 0) {
        fprintf(stderr, "%s is no case, or has no list of sizes such as 8,64k,1m\n", text);
        usage(stderr);
    }
    if (order->c->expected == NULL)
        order->n = 1; /* it has no size */
}

/* As numpy's memory: it asks for huge pages from 4 MiB on, with which peers that copy by the kernel are faster. */
static float *ordinary_memory(size_t nbytes)
{
    void *p = aligned_alloc(PAGE, (nbytes + PAGE) / PAGE * PAGE);

    if (p == NULL)
        face_die("no memory");
    if (nbytes >= ASKS_FOR_HUGE_PAGES)
        madvise(p, nbytes, MADV_HUGEPAGE);
    memset(p, 0, nbytes);
    return p;
}

static float *own_memory(size_t nbytes)
{
    if (face.memory == NULL)
        face_die("this library has no memory of its own");
    return face.memory(nbytes);
}

/* For a vector of so many bytes, of which each rank has at least one element. */
static size_t room(size_t nbytes, uint32_t size)
{
    return nbytes + size * sizeof(float);
}

static size_t largest(const struct order *orders, size_t n, uint32_t size)
{
    size_t most = 0;

    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < orders[i].n; k++)
            most = orders[i].sizes[k] > most ? orders[i].sizes[k] : most;
    return room(most, size);
}

/* One size of one case, in memory of its own unless there is some already. */
static void measure(const struct face_case *c, struct work *w, size_t nbytes, double seconds,
                    struct bench_result *result)
{
    bool given = w->x != NULL;

    if (!given) {
        w->x = ordinary_memory(room(nbytes, w->size));
        w->y = ordinary_memory(room(nbytes, w->size));
    }
    face_measure(c, w, nbytes, seconds, result);
    if (given)
        return;
    free(w->x);
    free(w->y);
    w->x = w->y = NULL;
}

static int run(const struct order *orders, size_t n, struct work *w, double seconds, bool json)
{
    struct bench_result result;
    uint64_t wrong = 0;

    if (w->rank == 0 && !json)
        bench_print_header();
    for (size_t i = 0; i < n; i++) {
        if (!orders[i].c->there() || (orders[i].c->pair && w->size < 2))
            continue;
        for (size_t k = 0; k < orders[i].n; k++) {
            measure(orders[i].c, w, orders[i].sizes[k], seconds, &result);
            wrong += result.wrong;
            if (!json)
                result.more = "";
            if (w->rank == 0)
                bench_print(&result, json);
        }
    }
    return wrong != 0;
}

int main(int argc, char **argv)
{
    static const struct option known[] = {
        {"seconds", required_argument, NULL, 's'},
        {"alloc", no_argument, NULL, 'a'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct work w = {0};
    struct order *orders;
    double seconds = 0.3;
    bool json = false, own = false;
    int letter, status;
    size_t n;

    while ((letter = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (letter == 's' && (seconds = bench_parse_seconds(optarg)) <= 0)
            usage(stderr);
        else if (letter == 'h' || letter == '?')
            usage(letter == 'h' ? stdout : stderr);
        json = json || letter == 'j';
        own = own || letter == 'a';
    }
    n = (size_t)(argc - optind);
    orders = calloc(n + 1, sizeof(*orders));
    if (n == 0 || orders == NULL)
        usage(stderr);
    for (size_t i = 0; i < n; i++)
        parse_case(argv[optind + (int)i], &orders[i]);
    face.open(&argc, &argv, &w.rank, &w.size);
    if (own) {
        w.x = own_memory(largest(orders, n, w.size));
        w.y = own_memory(largest(orders, n, w.size));
    }
    status = run(orders, n, &w, seconds, json);
    face.close();
    free(orders);
    return status;
}
