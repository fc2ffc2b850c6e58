/* bench_pin.c - what it costs to pin memory for a card and let go of it again, against a copy of the same bytes.
 *
 * The pages are pinned by io_uring (registered buffers): the kernel does then what it does for a registration of RDMA,
 * without a card, whose own command comes on top.  Medians; pages of 4 KiB, resident.  docs/RDMA.md quotes it. */
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 4 << 20, ROUNDS = 501 };

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static double median(double *x)
{
    qsort(x, ROUNDS, sizeof(*x), compare);
    return x[ROUNDS / 2];
}

static char *memory(void)
{
    char *p = mmap(NULL, MOST, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    madvise(p, MOST, MADV_NOHUGEPAGE);
    memset(p, 1, MOST);
    return p;
}

int main(void)
{
    struct io_uring_params params = {0};
    long ring = syscall(SYS_io_uring_setup, 4, &params);
    char *from = memory(), *to = memory();
    double pin[ROUNDS], copy[ROUNDS];

    if (ring < 0) {
        perror("io_uring_setup");
        return 77;
    }
    printf("%10s %18s %10s\n", "bytes", "pin and let go", "copy");
    for (size_t n = 4096; n <= MOST; n *= 2) {
        struct iovec iov = {.iov_base = from, .iov_len = n};

        for (int i = 0; i < ROUNDS; i++) {
            double begun = now(), done;

            if (syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &iov, 1) != 0) {
                perror("io_uring_register");
                return 1;
            }
            syscall(SYS_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, NULL, 0);
            done = now();
            pin[i] = done - begun;
            memcpy(to, from, n);
            copy[i] = now() - done;
        }
        printf("%10zu %15.1f us %7.1f us\n", n, median(pin), median(copy));
    }
    return 0;
}
