/*
 * Leaves rings behind that the kernel cannot free
 *
 *   stuck-rings FILE NUMBER
 *
 * Gives each of NUMBER rings of its own a read of FILE, says "in flight", and
 * ends when its standard input does.  If FILE lies on storage that does not
 * answer, the kernel has the rings on its hands until it does, and Linux so
 * far ends no more than 64 of a host's rings at a time.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#define _GNU_SOURCE             /* O_DIRECT */
#include <err.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BLOCK   4096
#define BLOCKS  64              /* of FILE that are read */

static void *map_ring(int ring, size_t size, off_t what)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, ring,
                        what);

    if (memory == MAP_FAILED) {
        err(1, "mmap of a ring");
    }
    return memory;
}

/* One ring with one read in flight, for the rest of this process's life. */
static void read_by_ring(int file, off_t offset)
{
    struct io_uring_params params = { 0 };
    struct io_uring_sqe *sqe;
    void *data, *rings;
    int ring = syscall(__NR_io_uring_setup, 1, &params);

    if (ring < 0) {
        err(1, "io_uring_setup");
    }
    if (posix_memalign(&data, BLOCK, BLOCK)) {
        errx(1, "no memory");
    }
    rings = map_ring(ring, params.sq_off.array +
                     params.sq_entries * sizeof(uint32_t),
                     IORING_OFF_SQ_RING);
    sqe = map_ring(ring, params.sq_entries * sizeof(*sqe), IORING_OFF_SQES);
    *sqe = (struct io_uring_sqe) {
        .opcode = IORING_OP_READ,
        .fd = file,
        .off = offset,
        .addr = (uintptr_t)data,
        .len = BLOCK,
    };
    /* A new ring's array of indices is zeroes, and SQE 0 is meant. */
    __atomic_store_n((uint32_t *)(rings + params.sq_off.tail), 1,
                     __ATOMIC_RELEASE);
    if (syscall(__NR_io_uring_enter, ring, 1, 0, 0, NULL, 0) != 1) {
        err(1, "io_uring_enter");
    }
}

int main(int argc, char **argv)
{
    int number, file;

    if (argc != 3) {
        errx(2, "usage: stuck-rings FILE NUMBER");
    }
    number = atoi(argv[2]);
    file = open(argv[1], O_RDONLY | O_DIRECT);
    if (file < 0) {
        err(1, "%s", argv[1]);
    }
    for (int i = 0; i < number; i++) {
        read_by_ring(file, i % BLOCKS * BLOCK);
    }
    puts("in flight");
    fflush(stdout);
    while (getchar() != EOF) {
    }
    return 0;
}
