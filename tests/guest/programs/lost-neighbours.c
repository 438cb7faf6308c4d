/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lost-neighbours DEVICE SECONDS|ROUNDSx: two requests for different sectors of
 * one block, at the same time, by different ways. One sector is written with
 * O_DIRECT, which a ring can do; the others of the block are zeroed. A host
 * that reads the block, changes it and writes it back must not undo what was
 * written meanwhile. Prints "tries N lost M".
 */
#include "disk.h"

enum { BLOCKS = 1024 };

static int zeroing;
static off_t block;
static int over;
static pthread_barrier_t before, after;

static void *zero_others(void *unused)
{
    for (;;) {
        pthread_barrier_wait(&before);
        if (over) {
            return unused;
        }
        zero_disk(zeroing, BLOCK - SECTOR, block);
        pthread_barrier_wait(&after);
    }
}

int main(int argc, char **argv)
{
    unsigned long tries = 0, lost = 0;
    struct limit limit;
    uint64_t *data;
    pthread_t thread;
    int fd;

    if (argc != 3) {
        fprintf(stderr, "usage: lost-neighbours DEVICE SECONDS|ROUNDSx\n");
        return 2;
    }
    fd = open_disk(argv[1], O_DIRECT);
    zeroing = open_disk(argv[1], 0);
    limit = parse_limit(argv[2]);
    data = new_block();
    pthread_barrier_init(&before, NULL, 2);
    pthread_barrier_init(&after, NULL, 2);
    if (pthread_create(&thread, NULL, zero_others, NULL)) {
        fail("pthread_create");
    }
    for (; !reached(&limit, tries); tries++) {
        off_t sector;

        block = AREA + (off_t)(random() % BLOCKS) * BLOCK;
        sector = block + BLOCK - SECTOR;
        fill(data, SECTOR, tries + 1);
        pthread_barrier_wait(&before);
        write_disk(fd, data, SECTOR, sector);
        pthread_barrier_wait(&after);
        fill(data, SECTOR, 0);
        read_disk(fd, data, SECTOR, sector);
        lost += !sector_is(data, tries + 1);
    }
    over = 1;
    pthread_barrier_wait(&before);
    pthread_join(thread, NULL);
    printf("tries %lu lost %lu\n", tries, lost);
    return lost != 0;
}
