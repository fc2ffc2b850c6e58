/* all_reduce.c - every rank gives an array, every rank gets the sum; each element is checked.
 *
 *     cc all_reduce.c $(nexar info --cflags --libs) -o all_reduce
 *     nexar run -n 4 -- ./all_reduce
 *
 * Started alone it is a job of one rank. */
#include <nexar/nexar.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static int fail(const char *what, nexar_status status)
{
    fprintf(stderr, "%s: %s: %s\n", what, nexar_status_name(status), nexar_last_error());
    return 1;
}

/* Rank 0 sends each other rank its own rank number; the others check what came. */
static nexar_status send_ranks(nexar_comm *comm)
{
    uint32_t rank = nexar_comm_rank(comm);
    uint32_t size = nexar_comm_size(comm);
    const uint32_t tag = 7;

    for (uint32_t dest = 1; rank == 0 && dest < size; dest++) {
        nexar_status status = nexar_send(comm, &dest, sizeof(dest), dest, tag, NULL, NULL);
        if (status != NEXAR_OK)
            return status;
    }
    if (rank != 0) {
        uint32_t got = 0;
        nexar_recv_info info;
        nexar_status status = nexar_recv(comm, &got, sizeof(got), 0, tag, &info, NULL);
        if (status != NEXAR_OK)
            return status;
        if (got != rank || info.source != 0 || info.tag != tag || info.nbytes != sizeof(got)) {
            fprintf(stderr, "rank %" PRIu32 ": got %" PRIu32 " from rank %" PRIu32 "\n", rank, got, info.source);
            return NEXAR_EPROTO;
        }
    }
    return NEXAR_OK;
}

int main(void)
{
    enum { COUNT = 65537 };
    nexar_comm *comm;
    uint32_t rank;
    uint32_t size;
    size_t wrong = 0;
    float *x;

    nexar_status status = nexar_init(NULL, &comm); /* rank and seed from the environment */
    if (status != NEXAR_OK)
        return fail("nexar_init", status);
    rank = nexar_comm_rank(comm);
    size = nexar_comm_size(comm);

    x = malloc(COUNT * sizeof(*x));
    if (x == NULL)
        return fail("malloc", NEXAR_ENOMEM);
    for (size_t i = 0; i < COUNT; i++)
        x[i] = (float)(rank + 1) * (float)(i % 100);
    status = nexar_all_reduce(comm, x, x, COUNT, NEXAR_FLOAT32, NEXAR_SUM, NULL, NULL);
    if (status != NEXAR_OK)
        return fail("nexar_all_reduce", status);

    /* Small whole numbers: their sum is exact in any order. */
    for (size_t i = 0; i < COUNT; i++)
        wrong += x[i] != (float)(size * (size + 1) / 2) * (float)(i % 100);
    free(x);

    status = send_ranks(comm);
    if (status != NEXAR_OK)
        return fail("send_ranks", status);
    printf("rank %" PRIu32 " of %" PRIu32 ": %d elements, %zu wrong\n", rank, size, COUNT, wrong);
    nexar_comm_close(comm);
    return wrong != 0;
}
