/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * overlapping-writes DEVICE SECONDS|ROUNDSx: one thread writes a whole block
 * with O_DIRECT, which a ring can do, while another zeroes one sector of it.
 * Both may win in that sector, but only the write names the other seven: they
 * hold its data when both are over. Prints "tries N lost M", where M counts the
 * rounds in which a sector held anything else.
 */
#include "disk.h"

enum { BLOCKS = 1024 };

static int zeroing;
static off_t block;
static int sector;
static int over;
static pthread_barrier_t before, after;

static void *zero_one(void *unused)
{
    for (;;) {
        pthread_barrier_wait(&before);
        if (over) {
            return unused;
        }
        zero_disk(zeroing, SECTOR, block + sector * SECTOR);
        pthread_barrier_wait(&after);
    }
}

static int block_is_right(const uint64_t *data, uint64_t value)
{
    for (int i = 0; i < SECTORS; i++) {
        const uint64_t *found = data + i * WORDS;

        if (!sector_is(found, value) && (i != sector || !sector_is(found, 0))) {
            return 0;
        }
    }
    return 1;
}

int main(int argc, char **argv)
{
    unsigned long tries = 0, lost = 0;
    struct limit limit;
    uint64_t *data;
    pthread_t thread;
    int fd;

    if (argc != 3) {
        fprintf(stderr, "usage: overlapping-writes DEVICE SECONDS|ROUNDSx\n");
        return 2;
    }
    fd = open_disk(argv[1], O_DIRECT);
    zeroing = open_disk(argv[1], 0);
    limit = parse_limit(argv[2]);
    data = new_block();
    pthread_barrier_init(&before, NULL, 2);
    pthread_barrier_init(&after, NULL, 2);
    if (pthread_create(&thread, NULL, zero_one, NULL)) {
        fail("pthread_create");
    }
    for (; !reached(&limit, tries); tries++) {
        block = AREA + (off_t)(random() % BLOCKS) * BLOCK;
        sector = random() % SECTORS;
        fill(data, BLOCK, tries + 1);
        pthread_barrier_wait(&before);
        write_disk(fd, data, BLOCK, block);
        pthread_barrier_wait(&after);
        fill(data, BLOCK, 0);
        read_disk(fd, data, BLOCK, block);
        lost += !block_is_right(data, tries + 1);
    }
    over = 1;
    pthread_barrier_wait(&before);
    pthread_join(thread, NULL);
    printf("tries %lu lost %lu\n", tries, lost);
    return lost != 0;
}
