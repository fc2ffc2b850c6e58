/* mpi.c - the face of an MPI: compiled once by each that is installed.
 *
 * Owner: the main thread of each rank.  MPI ends the job when a call fails, as its default is. */
#include "faces/face.h"

#include <mpi.h>
#include <string.h>

static void join(int *argc, char ***argv, uint32_t *rank, uint32_t *size)
{
    int r, n;

    MPI_Init(argc, argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &r);
    MPI_Comm_size(MPI_COMM_WORLD, &n);
    *rank = (uint32_t)r;
    *size = (uint32_t)n;
}

static void leave(void)
{
    MPI_Finalize();
}

static const char *transport(void)
{
    static char text[MPI_MAX_LIBRARY_VERSION_STRING];
    int n;

    MPI_Get_library_version(text, &n);
    return strstr(text, "MPICH") != NULL ? "mpich" : strstr(text, "Open MPI") != NULL ? "openmpi" : "mpi";
}

static void all_reduce(float *x, size_t count)
{
    MPI_Allreduce(MPI_IN_PLACE, x, (int)count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
}

static void broadcast(float *x, size_t count, uint32_t root)
{
    MPI_Bcast(x, (int)count, MPI_FLOAT, (int)root, MPI_COMM_WORLD);
}

static void reduce(const float *x, float *y, size_t count, uint32_t root)
{
    MPI_Reduce(x, y, (int)count, MPI_FLOAT, MPI_SUM, (int)root, MPI_COMM_WORLD);
}

static void all_gather(const float *x, float *y, size_t block)
{
    MPI_Allgather(x, (int)block, MPI_FLOAT, y, (int)block, MPI_FLOAT, MPI_COMM_WORLD);
}

static void reduce_scatter(const float *x, float *y, size_t block)
{
    MPI_Reduce_scatter_block(x, y, (int)block, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
}

static void all_to_all(const float *x, float *y, size_t block)
{
    MPI_Alltoall(x, (int)block, MPI_FLOAT, y, (int)block, MPI_FLOAT, MPI_COMM_WORLD);
}

static void gather(const float *x, float *y, size_t block, uint32_t root)
{
    MPI_Gather(x, (int)block, MPI_FLOAT, y, (int)block, MPI_FLOAT, (int)root, MPI_COMM_WORLD);
}

static void scatter(const float *x, float *y, size_t block, uint32_t root)
{
    MPI_Scatter(x, (int)block, MPI_FLOAT, y, (int)block, MPI_FLOAT, (int)root, MPI_COMM_WORLD);
}

static void scan(const float *x, float *y, size_t count)
{
    MPI_Scan(x, y, (int)count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
}

static void barrier(void)
{
    MPI_Barrier(MPI_COMM_WORLD);
}

static void send(const float *x, size_t count, uint32_t to)
{
    MPI_Send(x, (int)count, MPI_FLOAT, (int)to, 0, MPI_COMM_WORLD);
}

static void recv(float *x, size_t count, uint32_t from)
{
    MPI_Recv(x, (int)count, MPI_FLOAT, (int)from, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}

const struct face face = {
    .open = join,
    .close = leave,
    .transport = transport,
    .all_reduce = all_reduce,
    .broadcast = broadcast,
    .reduce = reduce,
    .all_gather = all_gather,
    .reduce_scatter = reduce_scatter,
    .all_to_all = all_to_all,
    .gather = gather,
    .scatter = scatter,
    .scan = scan,
    .barrier = barrier,
    .send = send,
    .recv = recv,
};
