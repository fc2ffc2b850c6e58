/* coll/select.c - the algorithms by name, the rules that choose among them, and the parser of rules of the user.
 *
 * Owner: whoever owns the nx_select; constant after init.  It does not read the environment and does not know the
 * transports. */
#include "coll/select.h"

#include "base/bytes.h"

#include <stdio.h>
#include <string.h>

#define KiB UINT64_C(1024)
#define MiB (1024 * KiB)
#define ANY_N 1, UINT32_MAX
#define ANY_BYTES 0, UINT64_MAX

enum {
    ALL_REDUCE_FLAT,
    ALL_REDUCE_DIRECT,
    ALL_REDUCE_DOUBLING,
    ALL_REDUCE_RING,
    ALL_REDUCE_HALVING,
    ALL_REDUCE_BRUCK,
    ALL_REDUCE_CUBE,
    BROADCAST_BINOMIAL,
    BROADCAST_SCATTER,
    BROADCAST_CHAIN,
    BARRIER_DISSEMINATION,
    REDUCE_FLAT,
    REDUCE_DIRECT,
    REDUCE_BINOMIAL,
    REDUCE_CHAIN,
    ALL_GATHER_FLAT,
    ALL_GATHER_DOUBLING,
    ALL_GATHER_BRUCK,
    ALL_GATHER_RING,
    REDUCE_SCATTER_DIRECT,
    REDUCE_SCATTER_RING,
    REDUCE_SCATTER_HALVING,
    ALL_TO_ALL_PAIRWISE,
    ALL_TO_ALL_BRUCK,
    GATHER_LINEAR,
    GATHER_BINOMIAL,
    SCATTER_LINEAR,
    SCATTER_BINOMIAL,
    SCAN_FLAT,
    SCAN_DOUBLING,
    SCAN_CHAIN,
    EXCLUSIVE_SCAN_FLAT,
    EXCLUSIVE_SCAN_DOUBLING,
    EXCLUSIVE_SCAN_CHAIN,
    ALL_GATHER_V_FLAT,
    ALL_GATHER_V_RING,
    REDUCE_SCATTER_V_DIRECT,
    REDUCE_SCATTER_V_RING,
    REDUCE_SCATTER_V_HALVING,
    ALL_TO_ALL_V_PAIRWISE,
    GATHER_V_LINEAR,
    SCATTER_V_LINEAR,
    ALL_REDUCE_COMPRESSED,
    ALL_REDUCE_BUCKETED,
    NAMED, /* those before can be chosen by name */
    ALL_REDUCE_SHM = NAMED,
    BROADCAST_SHM,
    BARRIER_SHM,
    REDUCE_SHM,
    ALL_GATHER_SHM,
    REDUCE_SCATTER_SHM,
    ALL_TO_ALL_SHM,
    GATHER_SHM,
    SCATTER_SHM,
    SCAN_SHM,
    EXCLUSIVE_SCAN_SHM,
};

static const struct nx_algorithm algorithms[] = {
    [ALL_REDUCE_FLAT] = {NX_COLL_ALL_REDUCE, "flat", nx_build_all_reduce_flat, true, 0},
    [ALL_REDUCE_DIRECT] = {NX_COLL_ALL_REDUCE, "direct", nx_build_all_reduce_direct, true, 256 * KiB},
    [ALL_REDUCE_DOUBLING] = {NX_COLL_ALL_REDUCE, "rd", nx_build_all_reduce_rd, false, 0},
    [ALL_REDUCE_RING] = {NX_COLL_ALL_REDUCE, "ring", nx_build_all_reduce_ring, false, 256 * KiB},
    [ALL_REDUCE_HALVING] = {NX_COLL_ALL_REDUCE, "rsag", nx_build_all_reduce_rsag, false, 0},
    [ALL_REDUCE_BRUCK] = {NX_COLL_ALL_REDUCE, "bruck", nx_build_all_reduce_bruck, true, 0},
    [ALL_REDUCE_CUBE] = {NX_COLL_ALL_REDUCE, "cube", nx_build_all_reduce_cube, true, 0},
    [BROADCAST_BINOMIAL] = {NX_COLL_BROADCAST, "binomial", nx_build_broadcast_binomial, true, 0},
    [BROADCAST_SCATTER] = {NX_COLL_BROADCAST, "scatter", nx_build_broadcast_scatter, true, 256 * KiB},
    [BROADCAST_CHAIN] = {NX_COLL_BROADCAST, "chain", nx_build_broadcast_chain, true, 256 * KiB},
    [BARRIER_DISSEMINATION] = {NX_COLL_BARRIER, "dissemination", nx_build_barrier_dissemination, true, 0},
    [REDUCE_FLAT] = {NX_COLL_REDUCE, "flat", nx_build_reduce_flat, true, 0},
    [REDUCE_DIRECT] = {NX_COLL_REDUCE, "direct", nx_build_reduce_direct, true, 256 * KiB},
    [REDUCE_BINOMIAL] = {NX_COLL_REDUCE, "binomial", nx_build_reduce_binomial, false, 0},
    [REDUCE_CHAIN] = {NX_COLL_REDUCE, "chain", nx_build_reduce_chain, true, 256 * KiB},
    [ALL_GATHER_FLAT] = {NX_COLL_ALL_GATHER, "flat", nx_build_all_gather_flat, true, 0},
    [ALL_GATHER_DOUBLING] = {NX_COLL_ALL_GATHER, "rd", nx_build_all_gather_rd, true, 0},
    [ALL_GATHER_BRUCK] = {NX_COLL_ALL_GATHER, "bruck", nx_build_all_gather_bruck, true, 0},
    [ALL_GATHER_RING] = {NX_COLL_ALL_GATHER, "ring", nx_build_all_gather_ring, true, 0},
    [REDUCE_SCATTER_DIRECT] = {NX_COLL_REDUCE_SCATTER, "direct", nx_build_reduce_scatter_direct, true, 256 * KiB},
    [REDUCE_SCATTER_RING] = {NX_COLL_REDUCE_SCATTER, "ring", nx_build_reduce_scatter_ring, false, 256 * KiB},
    [REDUCE_SCATTER_HALVING] = {NX_COLL_REDUCE_SCATTER, "halving", nx_build_reduce_scatter_halving, false, 0},
    [ALL_TO_ALL_PAIRWISE] = {NX_COLL_ALL_TO_ALL, "pairwise", nx_build_all_to_all_pairwise, true, 0},
    [ALL_TO_ALL_BRUCK] = {NX_COLL_ALL_TO_ALL, "bruck", nx_build_all_to_all_bruck, true, 0},
    [GATHER_LINEAR] = {NX_COLL_GATHER, "linear", nx_build_gather_linear, true, 0},
    [GATHER_BINOMIAL] = {NX_COLL_GATHER, "binomial", nx_build_gather_binomial, true, 0},
    [SCATTER_LINEAR] = {NX_COLL_SCATTER, "linear", nx_build_scatter_linear, true, 0},
    [SCATTER_BINOMIAL] = {NX_COLL_SCATTER, "binomial", nx_build_scatter_binomial, true, 0},
    [SCAN_FLAT] = {NX_COLL_SCAN, "flat", nx_build_scan_flat, true, 0},
    [SCAN_DOUBLING] = {NX_COLL_SCAN, "rd", nx_build_scan_rd, false, 0},
    [SCAN_CHAIN] = {NX_COLL_SCAN, "chain", nx_build_scan_chain, true, 64 * KiB},
    [EXCLUSIVE_SCAN_FLAT] = {NX_COLL_EXCLUSIVE_SCAN, "flat", nx_build_exclusive_scan_flat, true, 0},
    [EXCLUSIVE_SCAN_DOUBLING] = {NX_COLL_EXCLUSIVE_SCAN, "rd", nx_build_exclusive_scan_rd, false, 0},
    [EXCLUSIVE_SCAN_CHAIN] = {NX_COLL_EXCLUSIVE_SCAN, "chain", nx_build_exclusive_scan_chain, true, 64 * KiB},
    [ALL_GATHER_V_FLAT] = {NX_COLL_ALL_GATHER_V, "flat", nx_build_all_gather_flat, true, 0},
    [ALL_GATHER_V_RING] = {NX_COLL_ALL_GATHER_V, "ring", nx_build_all_gather_ring, true, 0},
    [REDUCE_SCATTER_V_DIRECT] = {NX_COLL_REDUCE_SCATTER_V, "direct", nx_build_reduce_scatter_direct, true, 256 * KiB},
    [REDUCE_SCATTER_V_RING] = {NX_COLL_REDUCE_SCATTER_V, "ring", nx_build_reduce_scatter_ring, false, 256 * KiB},
    [REDUCE_SCATTER_V_HALVING] = {NX_COLL_REDUCE_SCATTER_V, "halving", nx_build_reduce_scatter_halving, false, 0},
    [ALL_TO_ALL_V_PAIRWISE] = {NX_COLL_ALL_TO_ALL_V, "pairwise", nx_build_all_to_all_pairwise, true, 0},
    [GATHER_V_LINEAR] = {NX_COLL_GATHER_V, "linear", nx_build_gather_linear, true, 0},
    [SCATTER_V_LINEAR] = {NX_COLL_SCATTER_V, "linear", nx_build_scatter_linear, true, 0},
    [ALL_REDUCE_COMPRESSED] = {NX_COLL_ALL_REDUCE_COMPRESSED, "compressed", nx_build_all_reduce_compressed, true,
                               256 * KiB},
    [ALL_REDUCE_BUCKETED] = {NX_COLL_ALL_REDUCE_BUCKETED, "bucketed", nx_build_all_reduce_bucketed, true, 4 * MiB},
    [ALL_REDUCE_SHM] = {NX_COLL_ALL_REDUCE, "shm", nx_build_near, true, 0},
    [BROADCAST_SHM] = {NX_COLL_BROADCAST, "shm", nx_build_near, true, 0},
    [BARRIER_SHM] = {NX_COLL_BARRIER, "shm", nx_build_near, true, 0},
    [REDUCE_SHM] = {NX_COLL_REDUCE, "shm", nx_build_near, true, 0},
    [ALL_GATHER_SHM] = {NX_COLL_ALL_GATHER, "shm", nx_build_near, true, 0},
    [REDUCE_SCATTER_SHM] = {NX_COLL_REDUCE_SCATTER, "shm", nx_build_near, true, 0},
    [ALL_TO_ALL_SHM] = {NX_COLL_ALL_TO_ALL, "shm", nx_build_near, true, 0},
    [GATHER_SHM] = {NX_COLL_GATHER, "shm", nx_build_near, true, 0},
    [SCATTER_SHM] = {NX_COLL_SCATTER, "shm", nx_build_near, true, 0},
    [SCAN_SHM] = {NX_COLL_SCAN, "shm", nx_build_near, true, 0},
    [EXCLUSIVE_SCAN_SHM] = {NX_COLL_EXCLUSIVE_SCAN, "shm", nx_build_near, true, 0},
};
#define ALGORITHMS (sizeof(algorithms) / sizeof(algorithms[0]))

/* To be tuned by measurement; tests/vectors/select.txt freezes what it chooses.  Small vectors: fewest messages, since
 * each costs both ends some microseconds of a core, and as long as there are few ranks fewest rounds.  Large ones:
 * fewest bytes.  Up to 16 ranks all sums are by rank; so are those of the rules after one that is for any size, which
 * are for many ranks that insist on it. */
static const struct nx_rule defaults[] = {
    {&algorithms[ALL_REDUCE_BRUCK], 4, 16, 0, 16 * KiB},
    {&algorithms[ALL_REDUCE_FLAT], 1, 16, 0, 32 * KiB},
    /* 16 messages instead of direct's 24; measured where 4 ranks share 2 cores.  More ranks were not. */
    {&algorithms[ALL_REDUCE_CUBE], 4, 4, 32 * KiB + 1, 64 * KiB},
    {&algorithms[ALL_REDUCE_DIRECT], 1, 16, ANY_BYTES},
    {&algorithms[ALL_REDUCE_DOUBLING], ANY_N, 0, 64 * KiB},
    {&algorithms[ALL_REDUCE_RING], ANY_N, ANY_BYTES},
    {&algorithms[ALL_REDUCE_FLAT], ANY_N, 0, 32 * KiB},
    {&algorithms[ALL_REDUCE_DIRECT], ANY_N, ANY_BYTES},
    {&algorithms[BROADCAST_SCATTER], 3, UINT32_MAX, 256 * KiB, UINT64_MAX},
    {&algorithms[BROADCAST_BINOMIAL], ANY_N, ANY_BYTES},
    {&algorithms[BARRIER_DISSEMINATION], ANY_N, ANY_BYTES},
    /* The chain moves half of direct's bytes at the root, but takes n rounds until the first one is there. */
    {&algorithms[REDUCE_FLAT], 1, 16, 0, 32 * KiB},
    {&algorithms[REDUCE_DIRECT], 1, 16, 0, 4 * MiB},
    {&algorithms[REDUCE_BINOMIAL], ANY_N, 0, 256 * KiB},
    {&algorithms[REDUCE_CHAIN], ANY_N, ANY_BYTES},
    /* Doubling copies nothing, but pays for idle ranks where n is no power of two: one rule for each power would be
     * many, so bruck does it for all. */
    {&algorithms[ALL_GATHER_FLAT], 1, 8, 0, 64 * KiB},
    {&algorithms[ALL_GATHER_BRUCK], ANY_N, 0, 64 * KiB},
    {&algorithms[ALL_GATHER_RING], ANY_N, ANY_BYTES},
    {&algorithms[REDUCE_SCATTER_DIRECT], 1, 16, ANY_BYTES},
    {&algorithms[REDUCE_SCATTER_HALVING], ANY_N, 0, 256 * KiB},
    {&algorithms[REDUCE_SCATTER_RING], ANY_N, ANY_BYTES},
    {&algorithms[REDUCE_SCATTER_DIRECT], ANY_N, ANY_BYTES},
    /* In one round up to NX_PEERS_AT_ONCE peers; beyond that rounds count if blocks are some hundred bytes. */
    {&algorithms[ALL_TO_ALL_BRUCK], 10, 64, 0, 4 * KiB},
    {&algorithms[ALL_TO_ALL_BRUCK], 65, UINT32_MAX, 0, 64 * KiB},
    {&algorithms[ALL_TO_ALL_PAIRWISE], ANY_N, ANY_BYTES},
    {&algorithms[GATHER_BINOMIAL], 5, UINT32_MAX, 0, 64 * KiB},
    {&algorithms[GATHER_LINEAR], ANY_N, ANY_BYTES},
    {&algorithms[SCATTER_BINOMIAL], 5, UINT32_MAX, 0, 64 * KiB},
    {&algorithms[SCATTER_LINEAR], ANY_N, ANY_BYTES},
    /* A chain is slow for the last rank until there are more segments than ranks. */
    {&algorithms[SCAN_FLAT], 1, 16, 0, 64 * KiB},
    {&algorithms[SCAN_DOUBLING], 17, UINT32_MAX, 0, 1 * MiB},
    {&algorithms[SCAN_CHAIN], ANY_N, ANY_BYTES},
    {&algorithms[EXCLUSIVE_SCAN_FLAT], 1, 16, 0, 64 * KiB},
    {&algorithms[EXCLUSIVE_SCAN_DOUBLING], 17, UINT32_MAX, 0, 1 * MiB},
    {&algorithms[EXCLUSIVE_SCAN_CHAIN], ANY_N, ANY_BYTES},
    {&algorithms[ALL_GATHER_V_FLAT], 1, 16, 0, 64 * KiB},
    {&algorithms[ALL_GATHER_V_RING], ANY_N, ANY_BYTES},
    {&algorithms[REDUCE_SCATTER_V_DIRECT], 1, 16, ANY_BYTES},
    {&algorithms[REDUCE_SCATTER_V_HALVING], ANY_N, 0, 256 * KiB},
    {&algorithms[REDUCE_SCATTER_V_RING], ANY_N, ANY_BYTES},
    {&algorithms[REDUCE_SCATTER_V_DIRECT], ANY_N, ANY_BYTES},
    {&algorithms[ALL_TO_ALL_V_PAIRWISE], ANY_N, ANY_BYTES},
    {&algorithms[GATHER_V_LINEAR], ANY_N, ANY_BYTES},
    {&algorithms[SCATTER_V_LINEAR], ANY_N, ANY_BYTES},
    /* What they consist of is chosen by the rules of all_reduce. */
    {&algorithms[ALL_REDUCE_COMPRESSED], ANY_N, ANY_BYTES},
    {&algorithms[ALL_REDUCE_BUCKETED], ANY_N, ANY_BYTES},
};
#define DEFAULTS (sizeof(defaults) / sizeof(defaults[0]))

static const char *const colls[NX_CALLS] = {
    [NX_COLL_ALL_REDUCE] = "all_reduce",
    [NX_COLL_BROADCAST] = "broadcast",
    [NX_COLL_BARRIER] = "barrier",
    [NX_COLL_REDUCE] = "reduce",
    [NX_COLL_ALL_GATHER] = "all_gather",
    [NX_COLL_REDUCE_SCATTER] = "reduce_scatter",
    [NX_COLL_ALL_TO_ALL] = "all_to_all",
    [NX_COLL_GATHER] = "gather",
    [NX_COLL_SCATTER] = "scatter",
    [NX_COLL_SCAN] = "scan",
    [NX_COLL_EXCLUSIVE_SCAN] = "exclusive_scan",
    [NX_COLL_ALL_GATHER_V] = "all_gather_v",
    [NX_COLL_REDUCE_SCATTER_V] = "reduce_scatter_v",
    [NX_COLL_ALL_TO_ALL_V] = "all_to_all_v",
    [NX_COLL_GATHER_V] = "gather_v",
    [NX_COLL_SCATTER_V] = "scatter_v",
    [NX_COLL_ALL_REDUCE_COMPRESSED] = "all_reduce_compressed",
    [NX_COLL_ALL_REDUCE_BUCKETED] = "all_reduce_bucketed",
    [NX_COLL_SPLIT] = "split",
    [NX_COLL_DUP] = "dup",
    [NX_COLL_SPLIT_BY_HOST] = "split_by_host",
};

bool nx_coll_is_unequal(enum nx_coll coll)
{
    return coll >= NX_COLL_ALL_GATHER_V && coll <= NX_COLL_SCATTER_V;
}

const char *nx_coll_name(enum nx_coll coll)
{
    return colls[coll];
}

uint32_t nx_algorithm_number(const struct nx_algorithm *algorithm)
{
    return (uint32_t)(algorithm - algorithms);
}

const struct nx_algorithm *nx_algorithm_at(uint32_t number)
{
    return number < ALGORITHMS ? &algorithms[number] : NULL;
}

/* --- Parsing ------------------------------------------------------------------------------------------------------ */

/* A part of the string, not terminated. */
struct part {
    const char *at;
    size_t length;
};

static struct part cut(const char *at, const char *end)
{
    return (struct part){.at = at, .length = (size_t)(end - at)};
}

/* The part up to the next `mark` or the end; moves `rest` behind the mark.  False if there is no mark. */
static bool next_part(struct part *rest, char mark, struct part *out)
{
    const char *found = memchr(rest->at, mark, rest->length);

    if (found == NULL) {
        *out = *rest;
        *rest = cut(rest->at + rest->length, rest->at + rest->length);
        return false;
    }
    *out = cut(rest->at, found);
    *rest = cut(found + 1, rest->at + rest->length);
    return true;
}

static bool is(struct part part, const char *word)
{
    return strlen(word) == part.length && memcmp(word, part.at, part.length) == 0;
}

static nexar_status fail(struct part rule, struct part part, const char *reason)
{
    return nx_fail(NEXAR_ECONFIG, "NEXAR_COLL_TUNE: in \"%.*s\": \"%.*s\" %s", (int)rule.length, rule.at,
                   (int)part.length, part.at, reason);
}

static bool parse_size(struct part text, uint64_t *out)
{
    uint64_t value = 0;
    uint64_t unit = 1;
    size_t digits = text.length;

    if (digits > 0) {
        char last = text.at[digits - 1];

        unit = last == 'k' ? KiB : last == 'm' ? MiB : last == 'g' ? KiB * MiB : 1;
        digits -= unit != 1;
    }
    if (digits == 0)
        return false;
    for (size_t i = 0; i < digits; i++) {
        if (text.at[i] < '0' || text.at[i] > '9' || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(text.at[i] - '0'), &value))
            return false;
    }
    return !__builtin_mul_overflow(value, unit, out);
}

/* Adds the names that would have been right: of the collectives (coll < 0), or of the algorithms of one. */
static void list_names(int coll, char *text, size_t cap)
{
    size_t names = coll < 0 ? NX_COLLS : NAMED;
    const char *separator = ": ";

    for (size_t i = 0; i < names; i++) {
        size_t at = strlen(text);

        if (coll >= 0 && algorithms[i].coll != (enum nx_coll)coll)
            continue;
        snprintf(text + at, cap - at, "%s%s", separator, coll < 0 ? colls[i] : algorithms[i].name);
        separator = ", ";
    }
}

static nexar_status parse_algorithm(struct part rule, struct part coll, struct part name,
                                    const struct nx_algorithm **out)
{
    char reason[320];
    int found = -1;

    for (int i = 0; i < NX_COLLS; i++)
        if (is(coll, colls[i]))
            found = i;
    for (size_t i = 0; i < NAMED; i++)
        if (found >= 0 && algorithms[i].coll == (enum nx_coll)found && is(name, algorithms[i].name)) {
            *out = &algorithms[i];
            return NEXAR_OK;
        }
    snprintf(reason, sizeof(reason), "%s", found < 0 ? "is no collective" : "is none of its algorithms");
    list_names(found, reason, sizeof(reason));
    return fail(rule, found < 0 ? coll : name, reason);
}

static nexar_status parse_rule(struct part text, struct nx_rule *out)
{
    struct part rest = text;
    struct part coll;
    struct part range;
    struct part from;
    nexar_status st;

    *out = (struct nx_rule){.min_n = 1, .max_n = UINT32_MAX, .max_bytes = UINT64_MAX};
    if (!next_part(&rest, ':', &coll) || !next_part(&rest, ':', &range))
        return fail(text, text, "is not of the form collective:from-to:algorithm");
    st = parse_algorithm(text, coll, rest, &out->algorithm);
    if (st != NEXAR_OK)
        return st;
    if (!next_part(&range, '-', &from))
        return fail(text, from, "is no range of sizes (from-to, or from- for all above)");
    if (!parse_size(from, &out->min_bytes))
        return fail(text, from, "is no size (digits, then k, m, g or nothing)");
    if (range.length != 0 && !parse_size(range, &out->max_bytes))
        return fail(text, range, "is no size (digits, then k, m, g or nothing)");
    if (out->min_bytes > out->max_bytes)
        return fail(text, range, "ends the range before it begins");
    return NEXAR_OK;
}

/* --- The table in force ------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t digest, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;

    for (size_t i = 0; i < n; i++)
        digest = (digest ^ p[i]) * UINT64_C(0x100000001b3); /* FNV-1a */
    return digest;
}

/* Of names and numbers, so that it is the same on every machine. */
static uint64_t digest_of(const struct nx_select *select)
{
    uint64_t digest = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < select->count; i++) {
        const struct nx_rule *rule = &select->rules[i];
        const uint64_t numbers[] = {rule->min_n, rule->max_n, rule->min_bytes, rule->max_bytes,
                                    rule->algorithm->segment};

        digest = mix(digest, colls[rule->algorithm->coll], strlen(colls[rule->algorithm->coll]) + 1);
        digest = mix(digest, rule->algorithm->name, strlen(rule->algorithm->name) + 1);
        for (size_t k = 0; k < sizeof(numbers) / sizeof(numbers[0]); k++) {
            uint8_t bytes[8];

            nx_store64(bytes, numbers[k]);
            digest = mix(digest, bytes, sizeof(bytes));
        }
    }
    return digest;
}

nexar_status nx_select_init(struct nx_select *select, const char *tune, bool reproducible)
{
    struct part rest = {.at = tune, .length = tune == NULL ? 0 : strlen(tune)};
    bool more = rest.length != 0;

    *select = (struct nx_select){0};
    while (more) {
        struct nx_rule rule;
        struct part text;
        nexar_status st;

        more = next_part(&rest, ',', &text);
        st = parse_rule(text, &rule);
        if (st != NEXAR_OK)
            return st;
        if (reproducible && !rule.algorithm->by_rank)
            return fail(text, cut(text.at + text.length - strlen(rule.algorithm->name), text.at + text.length),
                        "does not sum in the order of ranks, which NEXAR_REPRODUCIBLE asks for");
        if (select->count == NX_RULES_LIMIT - DEFAULTS)
            return nx_fail(NEXAR_ECONFIG, "NEXAR_COLL_TUNE: more than %zu rules", select->count);
        select->rules[select->count++] = rule;
        select->tuned++;
    }
    for (size_t i = 0; i < DEFAULTS; i++)
        if (!reproducible || defaults[i].algorithm->by_rank)
            select->rules[select->count++] = defaults[i];
    select->digest = digest_of(select);
    return NEXAR_OK;
}

static const struct nx_rule *first_rule(const struct nx_select *select, enum nx_coll coll, uint32_t n, uint64_t nbytes)
{
    const struct nx_rule *rule = select->rules;

    while (rule->algorithm->coll != coll || n < rule->min_n || n > rule->max_n || nbytes < rule->min_bytes ||
           nbytes > rule->max_bytes)
        rule++;
    return rule;
}

const struct nx_algorithm *nx_select_algorithm(const struct nx_select *select, enum nx_coll coll, uint32_t n,
                                               uint64_t nbytes)
{
    return first_rule(select, coll, n, nbytes)->algorithm;
}

const struct nx_algorithm *nx_select_near(const struct nx_select *select, enum nx_coll coll, uint32_t n,
                                          uint64_t nbytes)
{
    const struct nx_rule *rule = first_rule(select, coll, n, nbytes);

    for (size_t i = NAMED; i < ALGORITHMS && (size_t)(rule - select->rules) >= select->tuned; i++) {
        if (algorithms[i].coll == coll)
            return &algorithms[i];
    }
    return rule->algorithm;
}
