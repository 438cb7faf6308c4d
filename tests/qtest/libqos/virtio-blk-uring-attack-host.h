/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an attack through virtio-blk-uring must not reach, and must not leave
 * behind, looked at from the host: address spaces, a canary in QEMU's memory,
 * processes, threads, open files, the host kernel's log
 */

#ifndef TESTS_LIBQOS_VIRTIO_BLK_URING_ATTACK_HOST_H
#define TESTS_LIBQOS_VIRTIO_BLK_URING_ATTACK_HOST_H

#include "virtio-blk-uring-disk.h"

/* A range of some address space */
typedef struct QVBURange {
    uint64_t start;
    uint64_t size;
    bool executable;
} QVBURange;

/*
 * The mappings of process @pid as an array of QVBURange, [vsyscall] apart.
 * NULL if this user may not see them.
 */
GArray *qvbu_host_maps(pid_t pid);

/* Memory of a process that the test may trace.  False if it may not. */
bool qvbu_host_read(pid_t pid, uint64_t addr, void *data, size_t len);
void qvbu_host_write(pid_t pid, uint64_t addr, const void *data, size_t len);

/* A canary: memory of QEMU's that is no guest's, with a secret all over */

/* Nothing else in QEMU has this size. */
#define QVBU_CANARY_BYTES   (2 * 1024 * 1024 + 3 * 4096)
#define QVBU_SECRET_BYTES   16

typedef struct QVBUCanary {
    pid_t pid;
    uint64_t addr;              /* in QEMU */
    uint8_t secret[QVBU_SECRET_BYTES];
} QVBUCanary;

/* Puts the canary's memory on the command line. */
void qvbu_canary_before(GString *cmd_line);
/* Finds it in QEMU and fills it.  @seed makes the secret. */
void qvbu_canary_init(QVBUCanary *c, QTestState *qts, uint64_t seed);
bool qvbu_canary_intact(QVBUCanary *c);
/* Whether the secret, or half of it, lies anywhere in @disk */
bool qvbu_canary_leaked(QVBUCanary *c, QVBUDisk *disk);

/* Whoever has comm "qemu-ring-jail" and QEMU @pid for a parent; also zombies */
unsigned qvbu_jails(pid_t pid);
/* The property path's jail-pid of drv0; 0: there is no jail */
pid_t qvbu_jail_pid(QVirtioBlkUring *u);

/* What a QEMU has for as long as it needs it */
typedef struct QVBUHoldings {
    unsigned files;             /* open */
    unsigned threads;
    unsigned ring_threads;      /* of io_uring's, among them */
    unsigned jails;
} QVBUHoldings;

void qvbu_holdings(QVBUHoldings *h, pid_t pid);
/* Await that @pid has nothing more than @before. */
void qvbu_await_holdings(const QVBUHoldings *before, pid_t pid);

/*
 * The host kernel's log from now on.  -1, and a message, if this user may not
 * read it.  The check fails the test if the kernel complained of itself.
 */
int qvbu_kernel_log_open(void);
void qvbu_kernel_log_check(int fd);

#endif
