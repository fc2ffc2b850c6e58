/* coll/table.c - the algorithms by name, and the rules that choose among them.
 *
 * Constant.  How a rule is chosen, and what the user may put in front of them, is in select.c. */
#include "coll/table.h"

#define KiB UINT64_C(1024)
#define MiB (1024 * KiB)
#define ANY_N 1, UINT32_MAX
#define ANY_BYTES 0, UINT64_MAX
#define ANYWHERE 0

enum {
    ALL_REDUCE_FLAT,
    ALL_REDUCE_DIRECT,
    ALL_REDUCE_DOUBLING,
    ALL_REDUCE_RING,
    ALL_REDUCE_HALVING,
    ALL_REDUCE_BRUCK,
    ALL_REDUCE_CUBE,
    ALL_REDUCE_HOSTS,
    ALL_REDUCE_RELAY,
    BROADCAST_BINOMIAL,
    BROADCAST_SCATTER,
    BROADCAST_CHAIN,
    BROADCAST_HOSTS,
    BARRIER_DISSEMINATION,
    BARRIER_HOSTS,
    REDUCE_FLAT,
    REDUCE_DIRECT,
    REDUCE_BINOMIAL,
    REDUCE_CHAIN,
    REDUCE_HOSTS,
    ALL_GATHER_FLAT,
    ALL_GATHER_DOUBLING,
    ALL_GATHER_BRUCK,
    ALL_GATHER_RING,
    ALL_GATHER_HOSTS,
    REDUCE_SCATTER_DIRECT,
    REDUCE_SCATTER_RING,
    REDUCE_SCATTER_HALVING,
    REDUCE_SCATTER_HOSTS,
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
    ALL_GATHER_V_HOSTS,
    REDUCE_SCATTER_V_DIRECT,
    REDUCE_SCATTER_V_RING,
    REDUCE_SCATTER_V_HALVING,
    REDUCE_SCATTER_V_HOSTS,
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

const struct nx_algorithm nx_algorithms[] = {
    [ALL_REDUCE_FLAT] = {NX_COLL_ALL_REDUCE, "flat", nx_build_all_reduce_flat, true, 0},
    [ALL_REDUCE_DIRECT] = {NX_COLL_ALL_REDUCE, "direct", nx_build_all_reduce_direct, true, 256 * KiB},
    [ALL_REDUCE_DOUBLING] = {NX_COLL_ALL_REDUCE, "rd", nx_build_all_reduce_rd, false, 0},
    [ALL_REDUCE_RING] = {NX_COLL_ALL_REDUCE, "ring", nx_build_all_reduce_ring, false, 256 * KiB},
    [ALL_REDUCE_HALVING] = {NX_COLL_ALL_REDUCE, "rsag", nx_build_all_reduce_rsag, false, 0},
    [ALL_REDUCE_BRUCK] = {NX_COLL_ALL_REDUCE, "bruck", nx_build_all_reduce_bruck, true, 0},
    [ALL_REDUCE_CUBE] = {NX_COLL_ALL_REDUCE, "cube", nx_build_all_reduce_cube, true, 0},
    [ALL_REDUCE_HOSTS] = {NX_COLL_ALL_REDUCE, "hosts", nx_build_all_reduce_hosts, false, 256 * KiB},
    [ALL_REDUCE_RELAY] = {NX_COLL_ALL_REDUCE, "relay", nx_build_all_reduce_relay, true, 256 * KiB},
    [BROADCAST_BINOMIAL] = {NX_COLL_BROADCAST, "binomial", nx_build_broadcast_binomial, true, 0},
    [BROADCAST_SCATTER] = {NX_COLL_BROADCAST, "scatter", nx_build_broadcast_scatter, true, 256 * KiB},
    [BROADCAST_CHAIN] = {NX_COLL_BROADCAST, "chain", nx_build_broadcast_chain, true, 256 * KiB},
    [BROADCAST_HOSTS] = {NX_COLL_BROADCAST, "hosts", nx_build_broadcast_hosts, true, 256 * KiB},
    [BARRIER_DISSEMINATION] = {NX_COLL_BARRIER, "dissemination", nx_build_barrier_dissemination, true, 0},
    [BARRIER_HOSTS] = {NX_COLL_BARRIER, "hosts", nx_build_barrier_hosts, true, 0},
    [REDUCE_FLAT] = {NX_COLL_REDUCE, "flat", nx_build_reduce_flat, true, 0},
    [REDUCE_DIRECT] = {NX_COLL_REDUCE, "direct", nx_build_reduce_direct, true, 256 * KiB},
    [REDUCE_BINOMIAL] = {NX_COLL_REDUCE, "binomial", nx_build_reduce_binomial, false, 0},
    [REDUCE_CHAIN] = {NX_COLL_REDUCE, "chain", nx_build_reduce_chain, true, 256 * KiB},
    [REDUCE_HOSTS] = {NX_COLL_REDUCE, "hosts", nx_build_reduce_hosts, false, 256 * KiB},
    [ALL_GATHER_FLAT] = {NX_COLL_ALL_GATHER, "flat", nx_build_all_gather_flat, true, 0},
    [ALL_GATHER_DOUBLING] = {NX_COLL_ALL_GATHER, "rd", nx_build_all_gather_rd, true, 0},
    [ALL_GATHER_BRUCK] = {NX_COLL_ALL_GATHER, "bruck", nx_build_all_gather_bruck, true, 0},
    [ALL_GATHER_RING] = {NX_COLL_ALL_GATHER, "ring", nx_build_all_gather_ring, true, 0},
    [ALL_GATHER_HOSTS] = {NX_COLL_ALL_GATHER, "hosts", nx_build_all_gather_hosts, true, 0},
    [REDUCE_SCATTER_DIRECT] = {NX_COLL_REDUCE_SCATTER, "direct", nx_build_reduce_scatter_direct, true, 256 * KiB},
    [REDUCE_SCATTER_RING] = {NX_COLL_REDUCE_SCATTER, "ring", nx_build_reduce_scatter_ring, false, 256 * KiB},
    [REDUCE_SCATTER_HALVING] = {NX_COLL_REDUCE_SCATTER, "halving", nx_build_reduce_scatter_halving, false, 0},
    [REDUCE_SCATTER_HOSTS] = {NX_COLL_REDUCE_SCATTER, "hosts", nx_build_reduce_scatter_hosts, false, 0},
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
    [ALL_GATHER_V_HOSTS] = {NX_COLL_ALL_GATHER_V, "hosts", nx_build_all_gather_hosts, true, 0},
    [REDUCE_SCATTER_V_DIRECT] = {NX_COLL_REDUCE_SCATTER_V, "direct", nx_build_reduce_scatter_direct, true, 256 * KiB},
    [REDUCE_SCATTER_V_RING] = {NX_COLL_REDUCE_SCATTER_V, "ring", nx_build_reduce_scatter_ring, false, 256 * KiB},
    [REDUCE_SCATTER_V_HALVING] = {NX_COLL_REDUCE_SCATTER_V, "halving", nx_build_reduce_scatter_halving, false, 0},
    [REDUCE_SCATTER_V_HOSTS] = {NX_COLL_REDUCE_SCATTER_V, "hosts", nx_build_reduce_scatter_hosts, false, 0},
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
const uint32_t nx_algorithm_count = sizeof(nx_algorithms) / sizeof(nx_algorithms[0]);
const uint32_t nx_algorithm_named = NAMED;

/* To be tuned by measurement; tests/vectors/select.txt freezes what it chooses.  Small vectors: fewest messages, since
 * each costs both ends some microseconds of a core, and as long as there are few ranks fewest rounds.  Large ones:
 * fewest bytes.  Up to 16 ranks all sums are by rank; so are those of the rules after one that is for any size, which
 * are for many ranks that insist on it. */
const struct nx_rule nx_rules[] = {
    /* Several hosts: what is not sent between them is not paid for.  The relay keeps sums by rank, but takes two
     * latencies for each host, so a short vector of few ranks is as if all were equally far apart. */
    {&nx_algorithms[ALL_REDUCE_HOSTS], ANY_N, ANY_BYTES, NX_ON_HOSTS | NX_ANY_ORDER},
    {&nx_algorithms[ALL_REDUCE_RELAY], 1, 16, 32 * KiB + 1, UINT64_MAX, NX_ON_HOSTS | NX_IN_A_ROW},
    {&nx_algorithms[ALL_REDUCE_HOSTS], 17, UINT32_MAX, ANY_BYTES, NX_ON_HOSTS},
    {&nx_algorithms[ALL_REDUCE_RELAY], 17, UINT32_MAX, 32 * KiB + 1, UINT64_MAX, NX_ON_HOSTS | NX_IN_A_ROW},
    {&nx_algorithms[BROADCAST_HOSTS], ANY_N, ANY_BYTES, NX_ON_HOSTS},
    {&nx_algorithms[BARRIER_HOSTS], ANY_N, ANY_BYTES, NX_ON_HOSTS},
    {&nx_algorithms[REDUCE_HOSTS], ANY_N, ANY_BYTES, NX_ON_HOSTS | NX_ANY_ORDER},
    {&nx_algorithms[REDUCE_HOSTS], 17, UINT32_MAX, ANY_BYTES, NX_ON_HOSTS},
    {&nx_algorithms[ALL_GATHER_HOSTS], 1, 16, ANY_BYTES, NX_ON_HOSTS}, /* many short blocks: rounds count, below */
    {&nx_algorithms[ALL_GATHER_HOSTS], 17, UINT32_MAX, 64 * KiB + 1, UINT64_MAX, NX_ON_HOSTS},
    {&nx_algorithms[REDUCE_SCATTER_HOSTS], 1, 16, ANY_BYTES, NX_ON_HOSTS | NX_ANY_ORDER},
    {&nx_algorithms[REDUCE_SCATTER_HOSTS], 17, UINT32_MAX, 64 * KiB + 1, UINT64_MAX, NX_ON_HOSTS},
    {&nx_algorithms[ALL_GATHER_V_HOSTS], ANY_N, ANY_BYTES, NX_ON_HOSTS},
    {&nx_algorithms[REDUCE_SCATTER_V_HOSTS], ANY_N, ANY_BYTES, NX_ON_HOSTS | NX_ANY_ORDER},
    {&nx_algorithms[REDUCE_SCATTER_V_HOSTS], 17, UINT32_MAX, ANY_BYTES, NX_ON_HOSTS},
    {&nx_algorithms[ALL_REDUCE_BRUCK], 4, 16, 0, 16 * KiB, ANYWHERE},
    {&nx_algorithms[ALL_REDUCE_FLAT], 1, 16, 0, 32 * KiB, ANYWHERE},
    /* 16 messages instead of direct's 24; measured where 4 ranks share 2 cores.  More ranks were not. */
    {&nx_algorithms[ALL_REDUCE_CUBE], 4, 4, 32 * KiB + 1, 64 * KiB, ANYWHERE},
    {&nx_algorithms[ALL_REDUCE_DIRECT], 1, 16, ANY_BYTES, ANYWHERE},
    {&nx_algorithms[ALL_REDUCE_DOUBLING], ANY_N, 0, 64 * KiB, ANYWHERE},
    {&nx_algorithms[ALL_REDUCE_RING], ANY_N, ANY_BYTES, ANYWHERE},
    {&nx_algorithms[ALL_REDUCE_FLAT], ANY_N, 0, 32 * KiB, ANYWHERE},
    {&nx_algorithms[ALL_REDUCE_DIRECT], ANY_N, ANY_BYTES, ANYWHERE},
    {&nx_algorithms[BROADCAST_SCATTER], 3, UINT32_MAX, 256 * KiB, UINT64_MAX, ANYWHERE},
    {&nx_algorithms[BROADCAST_BINOMIAL], ANY_N, ANY_BYTES, ANYWHERE},
    {&nx_algorithms[BARRIER_DISSEMINATION], ANY_N, ANY_BYTES, ANYWHERE},
    /* The chain moves half of direct's bytes at the root, but takes n rounds until the first one is there. */
    {&nx_algorithms[REDUCE_FLAT], 1, 16, 0, 32 * KiB, ANYWHERE},
    {&nx_algorithms[REDUCE_DIRECT], 1, 16, 0, 4 * MiB, ANYWHERE},
    {&nx_algorithms[REDUCE_BINOMIAL], ANY_N, 0, 256 * KiB, ANYWHERE},
    {&nx_algorithms[REDUCE_CHAIN], ANY_N, ANY_BYTES, ANYWHERE},
    /* Doubling copies nothing, but pays for idle ranks where n is no power of two: one rule for each power would be
     * many, so bruck does it for all. */
    {&nx_algorithms[ALL_GATHER_FLAT], 1, 8, 0, 64 * KiB, ANYWHERE},
    {&nx_algorithms[ALL_GATHER_BRUCK], ANY_N, 0, 64 * KiB, ANYWHERE},
    {&nx_algorithms[ALL_GATHER_RING], ANY_N, ANY_BYTES, ANYWHERE},
    {&nx_algorithms[REDUCE_SCATTER_DIRECT], 1, 16, ANY_BYTES, ANYWHERE},
    {&nx_algorithms[REDUCE_SCATTER_HALVING], ANY_N, 0, 256 * KiB, ANYWHERE},
    {&nx_algorithms[REDUCE_SCATTER_RING], ANY_N, ANY_BYTES, ANYWHERE},
    {&nx_algorithms[REDUCE_SCATTER_DIRECT], ANY_N, ANY_BYTES, ANYWHERE},
    /* In one round up to NX_PEERS_AT_ONCE peers; beyond that rounds count if blocks are some hundred bytes. */
    {&nx_algorithms[ALL_TO_ALL_BRUCK], 10, 64, 0, 4 * KiB, ANYWHERE},
    {&nx_algorithms[ALL_TO_ALL_BRUCK], 65, UINT32_MAX, 0, 64 * KiB, ANYWHERE},
    {&nx_algorithms[ALL_TO_ALL_PAIRWISE], ANY_N, ANY_BYTES, ANYWHERE},
    {&nx_algorithms[GATHER_BINOMIAL], 5, UINT32_MAX, 0, 64 * KiB, ANYWHERE},
    {&nx_algorithms[GATHER_LINEAR], ANY_N, ANY_BYTES, ANYWHERE},
    {&nx_algorithms[SCATTER_BINOMIAL], 5, UINT32_MAX, 0, 64 * KiB, ANYWHERE},
    {&nx_algorithms[SCATTER_LINEAR], ANY_N, ANY_BYTES, ANYWHERE},
    /* A chain is slow for the last rank until there are more segments than ranks. */
    {&nx_algorithms[SCAN_FLAT], 1, 16, 0, 64 * KiB, ANYWHERE},
    {&nx_algorithms[SCAN_DOUBLING], 17, UINT32_MAX, 0, 1 * MiB, ANYWHERE},
    {&nx_algorithms[SCAN_CHAIN], ANY_N, ANY_BYTES, ANYWHERE},
    {&nx_algorithms[EXCLUSIVE_SCAN_FLAT], 1, 16, 0, 64 * KiB, ANYWHERE},
    {&nx_algorithms[EXCLUSIVE_SCAN_DOUBLING], 17, UINT32_MAX, 0, 1 * MiB, ANYWHERE},
    {&nx_algorithms[EXCLUSIVE_SCAN_CHAIN], ANY_N, ANY_BYTES, ANYWHERE},
    {&nx_algorithms[ALL_GATHER_V_FLAT], 1, 16, 0, 64 * KiB, ANYWHERE},
    {&nx_algorithms[ALL_GATHER_V_RING], ANY_N, ANY_BYTES, ANYWHERE},
    {&nx_algorithms[REDUCE_SCATTER_V_DIRECT], 1, 16, ANY_BYTES, ANYWHERE},
    {&nx_algorithms[REDUCE_SCATTER_V_HALVING], ANY_N, 0, 256 * KiB, ANYWHERE},
    {&nx_algorithms[REDUCE_SCATTER_V_RING], ANY_N, ANY_BYTES, ANYWHERE},
    {&nx_algorithms[REDUCE_SCATTER_V_DIRECT], ANY_N, ANY_BYTES, ANYWHERE},
    {&nx_algorithms[ALL_TO_ALL_V_PAIRWISE], ANY_N, ANY_BYTES, ANYWHERE},
    {&nx_algorithms[GATHER_V_LINEAR], ANY_N, ANY_BYTES, ANYWHERE},
    {&nx_algorithms[SCATTER_V_LINEAR], ANY_N, ANY_BYTES, ANYWHERE},
    /* What they consist of is chosen by the rules of all_reduce. */
    {&nx_algorithms[ALL_REDUCE_COMPRESSED], ANY_N, ANY_BYTES, ANYWHERE},
    {&nx_algorithms[ALL_REDUCE_BUCKETED], ANY_N, ANY_BYTES, ANYWHERE},
};
const size_t nx_rule_count = sizeof(nx_rules) / sizeof(nx_rules[0]);

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
    return (uint32_t)(algorithm - nx_algorithms);
}

const struct nx_algorithm *nx_algorithm_at(uint32_t number)
{
    return number < nx_algorithm_count ? &nx_algorithms[number] : NULL;
}
