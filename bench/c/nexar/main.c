/* main.c - nexar-bench: measures one kind of operation over sizes, by the public functions of the library alone, and
 * checks what it moved.
 *
 * Owner: the main thread of each rank.  It starts no ranks: `nexar run -n 2 -- nexar-bench p2p` does. */
#include "bench.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZES 64
#define SECONDS 0.4
#define CALLS 100000
#define CALLS_LEAST 1000

static const struct bench_case *const cases[] = {
    &bench_p2p,       &bench_stream,  &bench_cross,       &bench_all_reduce,
    &bench_broadcast, &bench_barrier, &bench_allocations, &bench_start,
};

static void usage(FILE *out)
{
    fprintf(out, "usage: nexar-bench CASE [--sizes 8,64k,1m] [--seconds S] [--calls N] [--since NS] [--json]\n\n"
                 "Every rank of a job runs it, as in: nexar run -n 2 -- nexar-bench p2p\n\ncases:\n");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        fprintf(out, "  %-12s %s\n", cases[i]->name, cases[i]->help);
    fprintf(out,
            "\n  --sizes    bytes of a message or an array\n"
            "  --seconds  how long one size is measured, after a quarter of it to warm up (default: %g)\n"
            "  --calls    calls of the case allocations (default: %d)\n"
            "  --since    CLOCK_MONOTONIC in nanoseconds, for the case start\n"
            "  --json     one object a line\n\n"
            "Times are microseconds, of the slowest rank in each round; bandwidths are 10^9 bytes a second at the\n"
            "median.  `wrong` counts elements that are not what they should be.\n",
            SECONDS, CALLS);
}

static const struct bench_case *case_of(const char *name)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (strcmp(cases[i]->name, name) == 0)
            return cases[i];
    return NULL;
}

static uint64_t parse_number(const char *text)
{
    char *end;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 10);
    return errno == 0 && *text != '\0' && *end == '\0' && *text != '-' ? value : 0;
}

/* Exit status 2 and a sentence for what cannot be understood. */
static void parse(int argc, char **argv, struct bench_options *options, const struct bench_case **c, const char **sizes)
{
    static const struct option known[] = {
        {"sizes", required_argument, NULL, 's'},
        {"seconds", required_argument, NULL, 't'},
        {"calls", required_argument, NULL, 'c'},
        {"since", required_argument, NULL, 'b'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int letter;

    while ((letter = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (letter == 's') {
            *sizes = optarg;
        } else if (letter == 't' && (options->seconds = bench_parse_seconds(optarg)) > 0) {
            continue;
        } else if (letter == 'c' && (options->calls = parse_number(optarg)) >= CALLS_LEAST) {
            continue;
        } else if (letter == 'b' && (options->since = parse_number(optarg)) != 0) {
            continue;
        } else if (letter == 'j') {
            options->json = true;
        } else if (letter == 'h') {
            usage(stdout);
            exit(0);
        } else {
            if (letter != '?')
                fprintf(stderr, "nexar-bench: %s is no value for this option\n", optarg);
            exit(2);
        }
    }
    *c = optind + 1 == argc ? case_of(argv[optind]) : NULL;
    if (*c != NULL)
        return;
    usage(stderr);
    exit(2);
}

static int run_case(const struct bench_case *c, const struct bench_options *options, const size_t *sizes, size_t n)
{
    struct bench_run run = {.options = options};
    struct bench_result result;
    uint64_t wrong = 0;

    bench_must(nexar_init(NULL, &run.comm));
    run.rank = nexar_comm_rank(run.comm);
    run.size = nexar_comm_size(run.comm);
    if (run.size < c->least_ranks) {
        fprintf(stderr, "nexar-bench: %s needs %u ranks\n", c->name, c->least_ranks);
        nexar_comm_close(run.comm);
        return 2;
    }
    if (run.rank == 0 && !options->json)
        bench_print_header();
    for (size_t i = 0; i < n; i++) {
        run.nbytes = sizes[i];
        bench_measure(c, &run, &result);
        wrong += result.wrong;
        if (run.rank == 0)
            bench_print(&result, options->json);
    }
    nexar_comm_close(run.comm);
    return wrong != 0;
}

int main(int argc, char **argv)
{
    struct bench_options options = {.seconds = SECONDS, .calls = CALLS, .since = bench_now()};
    const struct bench_case *c;
    const char *text = NULL;
    size_t sizes[SIZES] = {0}, n = 1;

    parse(argc, argv, &options, &c, &text);
    if (c->sizes != NULL) {
        n = bench_parse_sizes(text != NULL ? text : c->sizes, sizes, SIZES);
        if (n == 0) {
            fprintf(stderr, "nexar-bench: '%s' is no list of sizes such as 8,64k,1m\n", text);
            return 2;
        }
    }
    return run_case(c, &options, sizes, n);
}
