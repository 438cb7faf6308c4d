/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * neighbour-writers DEVICE SECONDS|ROUNDSx: eight threads share a few blocks,
 * and each writes one sector of a block with O_DIRECT, its own. It checks that
 * the sector holds what it wrote there last: after the write, before the next
 * one and at the end. Prints "tries N lost M", where a try is one write.
 */
#include "disk.h"

/* So few that each write has others beside it all the time. */
enum { BLOCKS = 2 };

struct writer {
    pthread_t thread;
    unsigned int number;
    unsigned long tries;
    unsigned long lost;
};

static int fd;
static struct limit limit;

/* Counts a sector that does not hold what was written there last. */
static void look(struct writer *w, uint64_t *data, off_t offset, uint64_t last)
{
    read_disk(fd, data, SECTOR, offset);
    if (!sector_is(data, last)) {
        w->lost++;
    }
}

static void *write_own(void *opaque)
{
    struct writer *w = opaque;
    unsigned int seed = w->number;
    uint64_t *data = new_block();
    uint64_t last[BLOCKS] = { 0 };
    off_t own = AREA + w->number * SECTOR;

    for (; !reached(&limit, w->tries); w->tries++) {
        unsigned int block = rand_r(&seed) % BLOCKS;
        off_t offset = own + block * BLOCK;

        if (last[block]) {
            look(w, data, offset, last[block]);
        }
        last[block] = (w->tries + 1) * SECTORS + w->number;
        fill(data, SECTOR, last[block]);
        write_disk(fd, data, SECTOR, offset);
        look(w, data, offset, last[block]);
    }
    for (unsigned int block = 0; block < BLOCKS; block++) {
        if (last[block]) {
            look(w, data, own + block * BLOCK, last[block]);
        }
    }
    free(data);
    return NULL;
}

int main(int argc, char **argv)
{
    struct writer writers[SECTORS] = { 0 };
    unsigned long tries = 0, lost = 0;

    if (argc != 3) {
        fprintf(stderr, "usage: neighbour-writers DEVICE SECONDS|ROUNDSx\n");
        return 2;
    }
    fd = open_disk(argv[1], O_DIRECT);
    limit = parse_limit(argv[2]);
    for (unsigned int i = 0; i < SECTORS; i++) {
        writers[i].number = i;
        if (pthread_create(&writers[i].thread, NULL, write_own, &writers[i])) {
            fail("pthread_create");
        }
    }
    for (unsigned int i = 0; i < SECTORS; i++) {
        pthread_join(writers[i].thread, NULL);
        tries += writers[i].tries;
        lost += writers[i].lost;
    }
    printf("tries %lu lost %lu\n", tries, lost);
    return lost != 0;
}
