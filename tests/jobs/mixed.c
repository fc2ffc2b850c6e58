/* A rank of a job whose other ranks are programs in Python (mixed.py): every collective on data that depends on rank
 * and index, every element checked.  Also compiled as C++. */
#include <nexar/nexar.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 8 /* ranks */
#define CHECK(call)                                                                             \
    do {                                                                                        \
        nexar_status st_ = (call);                                                              \
        if (st_ != NEXAR_OK) {                                                                  \
            fprintf(stderr, "%s: %s: %s\n", #call, nexar_status_name(st_), nexar_last_error()); \
            exit(1);                                                                            \
        }                                                                                       \
    } while (0)

static uint32_t rank, size;

static int32_t value(uint32_t of, size_t i)
{
    return (int32_t)((i * 7 + of * 31 + i / 5) % 101) - 50;
}

static int32_t *array(size_t count)
{
    int32_t *x = (int32_t *)calloc(count + 1, sizeof(*x)); /* one more: never of no bytes */

    if (x == NULL)
        exit(2);
    return x;
}

static int32_t *own(uint32_t of, size_t count)
{
    int32_t *x = array(count);

    for (size_t i = 0; i < count; i++)
        x[i] = value(of, i);
    return x;
}

static int32_t total(uint32_t ranks, size_t i)
{
    int32_t sum = 0;

    for (uint32_t r = 0; r < ranks; r++)
        sum += value(r, i);
    return sum;
}

static void must_be(int32_t got, int32_t wanted, const char *call, size_t i)
{
    if (got != wanted) {
        fprintf(stderr, "%s: element %zu is %d, not %d\n", call, i, got, wanted);
        exit(1);
    }
}

static void reductions(nexar_comm *comm, size_t count)
{
    int32_t *x = own(rank, count), *y = array(count), *blocks = own(rank, count * size);
    uint32_t root = size - 1;

    CHECK(nexar_all_reduce(comm, x, y, count, NEXAR_INT32, NEXAR_SUM, NULL, NULL));
    for (size_t i = 0; i < count; i++)
        must_be(y[i], total(size, i), "all_reduce", i);
    CHECK(nexar_reduce(comm, x, y, count, NEXAR_INT32, NEXAR_SUM, root, NULL, NULL));
    for (size_t i = 0; rank == root && i < count; i++)
        must_be(y[i], total(size, i), "reduce", i);
    CHECK(nexar_scan(comm, x, y, count, NEXAR_INT32, NEXAR_SUM, NULL, NULL));
    for (size_t i = 0; i < count; i++)
        must_be(y[i], total(rank + 1, i), "scan", i);
    CHECK(nexar_exclusive_scan(comm, x, y, count, NEXAR_INT32, NEXAR_SUM, NULL, NULL));
    for (size_t i = 0; i < count; i++)
        must_be(y[i], total(rank, i), "exclusive_scan", i);
    CHECK(nexar_reduce_scatter(comm, blocks, y, count, NEXAR_INT32, NEXAR_SUM, NULL, NULL));
    for (size_t i = 0; i < count; i++)
        must_be(y[i], total(size, rank * count + i), "reduce_scatter", i);
    free(x);
    free(y);
    free(blocks);
}

static void moves(nexar_comm *comm, size_t count)
{
    int32_t *x = own(rank, count), *blocks = own(rank, count * size), *y = array(count * size);
    uint32_t root = size / 2;

    CHECK(nexar_broadcast(comm, x, count, NEXAR_INT32, root, NULL, NULL));
    for (size_t i = 0; i < count; i++)
        must_be(x[i], value(root, i), "broadcast", i);
    free(x);
    x = own(rank, count);
    CHECK(nexar_all_gather(comm, x, y, count, NEXAR_INT32, NULL, NULL));
    for (size_t i = 0; i < count * size; i++)
        must_be(y[i], value((uint32_t)(i / count), i % count), "all_gather", i);
    CHECK(nexar_gather(comm, x, y, count, NEXAR_INT32, root, NULL, NULL));
    for (size_t i = 0; rank == root && i < count * size; i++)
        must_be(y[i], value((uint32_t)(i / count), i % count), "gather", i);
    CHECK(nexar_scatter(comm, blocks, y, count, NEXAR_INT32, root, NULL, NULL));
    for (size_t i = 0; i < count; i++)
        must_be(y[i], value(root, rank * count + i), "scatter", i);
    CHECK(nexar_all_to_all(comm, blocks, y, count, NEXAR_INT32, NULL, NULL));
    for (size_t i = 0; i < count * size; i++)
        must_be(y[i], value((uint32_t)(i / count), rank * count + i % count), "all_to_all", i);
    free(x);
    free(y);
    free(blocks);
}

/* Rank r has count * (r % 3) elements. */
static void ragged(nexar_comm *comm, size_t count)
{
    size_t counts[MOST], all = 0, mine = count * (rank % 3), at = 0;
    int32_t *x = own(rank, mine), *y;

    for (uint32_t r = 0; r < size; r++) {
        counts[r] = count * (r % 3);
        all += counts[r];
    }
    y = array(all);
    CHECK(nexar_all_gather_v(comm, x, mine, y, counts, NULL, NEXAR_INT32, NULL, NULL));
    for (uint32_t r = 0; r < size; r++) {
        for (size_t i = 0; i < counts[r]; i++, at++)
            must_be(y[at], value(r, i), "all_gather_v", at);
    }
    free(x);
    free(y);
}

static void messages(nexar_comm *comm, size_t count)
{
    uint32_t left = (rank + size - 1) % size;
    int32_t *x = own(rank, count), *y = array(count);
    nexar_recv_info info;

    CHECK(nexar_sendrecv(comm, x, count * sizeof(*x), (rank + 1) % size, 5, y, count * sizeof(*y), NEXAR_ANY, 5, &info,
                         NULL));
    if (info.source != left || info.tag != 5 || info.nbytes != count * sizeof(*y))
        exit(3);
    for (size_t i = 0; i < count; i++)
        must_be(y[i], value(left, i), "sendrecv", i);
    free(x);
    free(y);
}

int main(void)
{
    static const size_t counts[] = {1, 1003, 40009};
    nexar_comm *comm;

    CHECK(nexar_init(NULL, &comm));
    rank = nexar_comm_rank(comm);
    size = nexar_comm_size(comm);
    if (size > MOST)
        return 2;
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
            reductions(comm, counts[i]);
            moves(comm, counts[i]);
            ragged(comm, counts[i]);
            messages(comm, counts[i]);
            CHECK(nexar_barrier(comm, NULL, NULL));
        }
    }
    printf("C: all as it must be\n");
    nexar_comm_close(comm);
    return 0;
}
