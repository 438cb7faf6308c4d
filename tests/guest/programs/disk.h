/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the programs have in common that write to one disk from several threads.
 * An error of the disk ends the program with status 2: it is not what they are
 * about.
 */
#ifndef DISK_H
#define DISK_H

#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum {
    SECTOR = 512,
    BLOCK = 4096,
    SECTORS = BLOCK / SECTOR,
    WORDS = SECTOR / sizeof(uint64_t),
    /* Where the blocks begin that are written; nothing else is there. */
    AREA = 1 << 20,
};

static void fail(const char *what)
{
    perror(what);
    exit(2);
}

static int open_disk(const char *path, int flags)
{
    int fd = open(path, O_RDWR | O_CLOEXEC | flags);

    if (fd < 0) {
        fail(path);
    }
    return fd;
}

/* Memory that O_DIRECT takes; zeroes. */
static uint64_t *new_block(void)
{
    void *block;

    if (posix_memalign(&block, BLOCK, BLOCK)) {
        fail("posix_memalign");
    }
    for (size_t i = 0; i < BLOCK / sizeof(uint64_t); i++) {
        ((uint64_t *)block)[i] = 0;
    }
    return block;
}

static void fill(uint64_t *data, size_t bytes, uint64_t value)
{
    for (size_t i = 0; i < bytes / sizeof(*data); i++) {
        data[i] = value;
    }
}

/* Whether a sector holds nothing but a value. */
static int sector_is(const uint64_t *data, uint64_t value)
{
    for (int i = 0; i < WORDS; i++) {
        if (data[i] != value) {
            return 0;
        }
    }
    return 1;
}

static void write_disk(int fd, const void *data, size_t bytes, off_t offset)
{
    if (pwrite(fd, data, bytes, offset) != (ssize_t)bytes) {
        fail("write");
    }
}

static void read_disk(int fd, void *data, size_t bytes, off_t offset)
{
    if (pread(fd, data, bytes, offset) != (ssize_t)bytes) {
        fail("read");
    }
}

/* No io_uring has such a request for a disk: it takes the virtqueue. */
static inline void zero_disk(int fd, size_t bytes, off_t offset)
{
    uint64_t range[2] = { offset, bytes };

    if (ioctl(fd, BLKZEROOUT, range)) {
        fail("BLKZEROOUT");
    }
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

/*
 * When to end: after the seconds that a word says or, if it ends with "x",
 * after so many rounds ("500x").
 */
struct limit {
    unsigned long rounds;
    double end;
};

static struct limit parse_limit(const char *word)
{
    struct limit limit = { 0, 0 };
    char *rest;
    double number = strtod(word, &rest);

    if (rest == word || number <= 0 || (*rest && (*rest != 'x' || rest[1]))) {
        fprintf(stderr, "%s: neither seconds nor rounds, such as 500x\n", word);
        exit(2);
    }
    if (*rest) {
        limit.rounds = number;
    } else {
        limit.end = now() + number;
    }
    return limit;
}

static int reached(const struct limit *limit, unsigned long rounds)
{
    return limit->rounds ? rounds >= limit->rounds : now() >= limit->end;
}

#endif /* DISK_H */
