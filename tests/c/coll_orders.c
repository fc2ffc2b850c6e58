/* coll_orders.c - the algorithms of all collectives, and their orders of sums written once more, as simply as can
 * be. */
#include "coll_case.h"

static float by_rank(uint32_t n, uint32_t root, uint32_t rank, const float *x)
{
    float sum = x[0];

    (void)root;
    (void)rank;
    for (uint32_t r = 1; r < n; r++)
        sum += x[r];
    return sum;
}

/* What the place has after its children 1, 2, 4, ... places further, below `size`, gave theirs. */
static float subtree(uint32_t n, uint32_t root, uint32_t place, uint32_t size, const float *x)
{
    float sum = x[(root + place) % n];

    for (uint32_t d = 1; d < size && place + d < n; d *= 2)
        sum += subtree(n, root, place + d, d, x);
    return sum;
}

static float up_the_tree(uint32_t n, uint32_t root, uint32_t rank, const float *x)
{
    (void)rank;
    return subtree(n, root, 0, UINT32_MAX, x);
}

static float round_the_ring(uint32_t n, uint32_t root, uint32_t rank, const float *x)
{
    float sum = x[(rank + 1) % n];

    (void)root;
    for (uint32_t r = 2; r <= n; r++)
        sum += x[(rank + r) % n];
    return sum;
}

static float far_first(uint32_t n, uint32_t root, uint32_t rank, const float *x)
{
    float v[MOST_RANKS];
    uint32_t workers = 1;

    (void)root;
    (void)rank;
    while (2 * workers <= n)
        workers *= 2;
    for (uint32_t w = 0; w < workers; w++)
        v[w] = w < n - workers ? x[2 * w] + x[2 * w + 1] : x[w + n - workers];
    for (uint32_t d = workers / 2; d > 0; d /= 2)
        for (uint32_t w = 0; w < d; w++)
            v[w] += v[w + d];
    return v[0];
}

/* The last of n ranks, after each has added what those 1, 2, 4, ... places before it had. */
static float doubling(uint32_t n, uint32_t root, uint32_t rank, const float *x)
{
    float v[MOST_RANKS];

    (void)root;
    (void)rank;
    for (uint32_t r = 0; r < n; r++)
        v[r] = x[r];
    for (uint32_t d = 1; d < n; d *= 2)
        for (uint32_t r = n; r-- > d;)
            v[r] += v[r - d];
    return v[n - 1];
}

const struct coll_algorithm coll_algorithms[] = {
    {NX_COLL_BROADCAST, "binomial", nx_build_broadcast_binomial, false, NULL},
    {NX_COLL_BROADCAST, "scatter", nx_build_broadcast_scatter, true, NULL},
    {NX_COLL_BROADCAST, "chain", nx_build_broadcast_chain, true, NULL},
    {NX_COLL_BROADCAST, "hosts", nx_build_broadcast_hosts, true, NULL},
    {NX_COLL_REDUCE, "flat", nx_build_reduce_flat, false, by_rank},
    {NX_COLL_REDUCE, "direct", nx_build_reduce_direct, true, by_rank},
    {NX_COLL_REDUCE, "binomial", nx_build_reduce_binomial, false, up_the_tree},
    {NX_COLL_REDUCE, "chain", nx_build_reduce_chain, true, by_rank},
    {NX_COLL_REDUCE, "hosts", nx_build_reduce_hosts, true, by_rank}, /* all ranks share a host here */
    {NX_COLL_ALL_GATHER, "flat", nx_build_all_gather_flat, false, NULL},
    {NX_COLL_ALL_GATHER, "rd", nx_build_all_gather_rd, false, NULL},
    {NX_COLL_ALL_GATHER, "bruck", nx_build_all_gather_bruck, false, NULL},
    {NX_COLL_ALL_GATHER, "ring", nx_build_all_gather_ring, false, NULL},
    {NX_COLL_ALL_GATHER, "hosts", nx_build_all_gather_hosts, false, NULL},
    {NX_COLL_REDUCE_SCATTER, "direct", nx_build_reduce_scatter_direct, true, by_rank},
    {NX_COLL_REDUCE_SCATTER, "ring", nx_build_reduce_scatter_ring, true, round_the_ring},
    {NX_COLL_REDUCE_SCATTER, "halving", nx_build_reduce_scatter_halving, false, far_first},
    {NX_COLL_REDUCE_SCATTER, "hosts", nx_build_reduce_scatter_hosts, false, by_rank},
    {NX_COLL_ALL_TO_ALL, "pairwise", nx_build_all_to_all_pairwise, false, NULL},
    {NX_COLL_ALL_TO_ALL, "bruck", nx_build_all_to_all_bruck, false, NULL},
    {NX_COLL_GATHER, "linear", nx_build_gather_linear, false, NULL},
    {NX_COLL_GATHER, "binomial", nx_build_gather_binomial, false, NULL},
    {NX_COLL_SCATTER, "linear", nx_build_scatter_linear, false, NULL},
    {NX_COLL_SCATTER, "binomial", nx_build_scatter_binomial, false, NULL},
    {NX_COLL_SCAN, "flat", nx_build_scan_flat, false, by_rank},
    {NX_COLL_SCAN, "rd", nx_build_scan_rd, false, doubling},
    {NX_COLL_SCAN, "chain", nx_build_scan_chain, true, by_rank},
    {NX_COLL_EXCLUSIVE_SCAN, "flat", nx_build_exclusive_scan_flat, false, by_rank},
    {NX_COLL_EXCLUSIVE_SCAN, "rd", nx_build_exclusive_scan_rd, false, doubling},
    {NX_COLL_EXCLUSIVE_SCAN, "chain", nx_build_exclusive_scan_chain, true, by_rank},
    {NX_COLL_ALL_GATHER_V, "flat", nx_build_all_gather_flat, false, NULL},
    {NX_COLL_ALL_GATHER_V, "ring", nx_build_all_gather_ring, false, NULL},
    {NX_COLL_ALL_GATHER_V, "hosts", nx_build_all_gather_hosts, false, NULL},
    {NX_COLL_REDUCE_SCATTER_V, "direct", nx_build_reduce_scatter_direct, true, by_rank},
    {NX_COLL_REDUCE_SCATTER_V, "ring", nx_build_reduce_scatter_ring, true, round_the_ring},
    {NX_COLL_REDUCE_SCATTER_V, "halving", nx_build_reduce_scatter_halving, false, far_first},
    {NX_COLL_REDUCE_SCATTER_V, "hosts", nx_build_reduce_scatter_hosts, false, by_rank},
    {NX_COLL_ALL_TO_ALL_V, "pairwise", nx_build_all_to_all_pairwise, false, NULL},
    {NX_COLL_GATHER_V, "linear", nx_build_gather_linear, false, NULL},
    {NX_COLL_SCATTER_V, "linear", nx_build_scatter_linear, false, NULL},
};
const size_t coll_algorithm_count = sizeof(coll_algorithms) / sizeof(coll_algorithms[0]);
