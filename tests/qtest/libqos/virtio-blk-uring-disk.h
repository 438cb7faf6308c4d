/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the tests of virtio-blk-uring look at from the host's side: the image
 * file, its page cache, QEMU's threads and open files
 */

#ifndef TESTS_LIBQOS_VIRTIO_BLK_URING_DISK_H
#define TESTS_LIBQOS_VIRTIO_BLK_URING_DISK_H

#include "virtio-blk-uring.h"

#define QVBU_DISK_BYTES     (16 * 1024 * 1024)

typedef struct QVBUDisk {
    char *path;
    int fd;
} QVBUDisk;

/*
 * A QOSGraphTestOptions.before: creates an image, which the test gets as its
 * data, and makes it "drive0".  @arg, if any, are further options of -drive.
 */
void *qvbu_disk_before(GString *cmd_line, void *arg);

/* An image that is gone when the test ends */
QVBUDisk *qvbu_disk_new(void);

/*
 * A block device with blocks of @block_size bytes in front of @disk, which is
 * gone when the test ends.  Skips the test and returns NULL if this user or
 * this host cannot have any.  To be freed.
 */
char *qvbu_loop_new(QVBUDisk *disk, unsigned block_size);

/* Fill @len bytes with, and check them for, a pattern that @seed tells. */
void qvbu_disk_fill(QVBUDisk *disk, uint64_t offset, uint32_t len,
                    uint32_t seed);
void qvbu_disk_check(QVBUDisk *disk, uint64_t offset, uint32_t len,
                     uint32_t seed);
void qvbu_disk_check_zero(QVBUDisk *disk, uint64_t offset, uint32_t len);

void qvbu_mem_fill(QVirtioBlkUring *u, uint64_t gpa, uint32_t len,
                   uint32_t seed);
void qvbu_mem_check(QVirtioBlkUring *u, uint64_t gpa, uint32_t len,
                    uint32_t seed);
/* Whether all @len bytes are @byte */
bool qvbu_mem_is(QVirtioBlkUring *u, uint64_t gpa, uint32_t len, uint8_t byte);

/* New guest memory with that pattern in it */
uint64_t qvbu_mem_new(QVirtioBlkUring *u, uint32_t len, uint32_t seed);

/* A write over the virtqueue arrives in the image. */
void qvbu_check_virtqueue(QVBURing *r, QVBUDisk *disk);
/* A write and a read through ring @r do what they should. */
void qvbu_check_ring(QVBURing *r, QVBUDisk *disk);

/* ACTIVATE is welcome and works, for all rings. */
void qvbu_check_activation(QVirtioBlkUring *u, QVBUDisk *disk);

/*
 * Pages of the page cache that hold what the storage has not got yet.  Skips
 * the test and returns false if this host cannot tell.
 */
bool qvbu_disk_can_tell_dirty(QVBUDisk *disk);
unsigned qvbu_disk_dirty_pages(QVBUDisk *disk, uint64_t offset, uint32_t len);

/* SQPOLL threads of QEMU and its jail */
unsigned qvbu_sqpoll_threads(QVirtioBlkUring *u);
/* Times that QEMU has @path open */
unsigned qvbu_open_files(QVirtioBlkUring *u, const char *path);

/* The property "path" of device drv0 */
QDict *qvbu_query_path(QVirtioBlkUring *u);
/* Of its ring @index: number @key, as the kernel says */
uint64_t qvbu_query_counter(QVirtioBlkUring *u, unsigned index,
                            const char *key);
bool qvbu_query_flag(QVirtioBlkUring *u, unsigned index, const char *key);
void qvbu_assert_path(QVirtioBlkUring *u, const char *state,
                      const char *reason);
void qvbu_set_passthrough(QVirtioBlkUring *u, bool on);

#endif
