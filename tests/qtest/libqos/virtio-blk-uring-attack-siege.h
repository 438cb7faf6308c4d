/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A machine with a virtio-blk-uring under attack: what there is beside it that
 * must not notice, and the checks before and after
 *
 * The environment's VBU_ATTACK_SEED makes all that is random, and
 * VBU_ATTACK_SQES is the number of SQEs in all of these tests together.
 */

#ifndef TESTS_LIBQOS_VIRTIO_BLK_URING_ATTACK_SIEGE_H
#define TESTS_LIBQOS_VIRTIO_BLK_URING_ATTACK_SIEGE_H

#include "virtio-blk-uring-attacker.h"

/* What writes may change of the disk; what lies behind is not to change. */
#define QVBU_SIEGE_WRITABLE (4 * 1024 * 1024)

/* What is under attack, and what must not notice */
typedef struct QVBUSiege {
    const char *isolation;
    QVBUDisk *disk;
    QVBUDisk *other_disk;
    QVBURam *ram;

    QVirtioBlkUring *u;
    QVirtioBlkUring other;      /* another device, with another disk */
    QVBUCanary canary;
    QVBUHoldings before;
    QVBUAttacker attacker;
    QVBURandom random;
    int kernel_log;
    gint64 slowest_us;          /* of QEMU's answers */
} QVBUSiege;

/*
 * Registers test @func, whose data is a QVBUSiege, as attack/@name, with a
 * device that has @isolation and the options @device, or NULL.
 */
void qvbu_siege_add_test(const char *name, QOSTestFunc func,
                         const char *isolation, const char *device);

/* So many percent of all SQEs */
uint64_t qvbu_siege_share(unsigned percent);

bool qvbu_siege_isolated(QVBUSiege *s);

/* Plug a device with the other disk into @slot; @u becomes its driver. */
void qvbu_siege_plug(QVBUSiege *s, QVirtioBlkUring *u, const char *id,
                     unsigned slot);

/*
 * An honest driver comes and goes, and with it what is kept for good; then
 * @queues rings of @u run, and another device is there.
 */
void qvbu_siege_begin(QVBUSiege *s, QVirtioBlkUring *u, unsigned queues);

/* To have the other device work beside the attack */
void qvbu_siege_start_other(QVBUSiege *s);

/* After that, when memory is not allocated any more */
void qvbu_siege_start_attacker(QVBUSiege *s);

/*
 * To leave out what a guest can stop its own ring with on some kernels.  The
 * rings are others after that.
 */
void qvbu_siege_probe_drain(QVBUSiege *s);

/* QEMU goes on answering, whatever the guest does. */
void qvbu_siege_check_alive(QVBUSiege *s);
void qvbu_siege_check_canary(QVBUSiege *s);
/* For attacks that spare what is not QVBU_SIEGE_WRITABLE */
void qvbu_siege_check_guard(QVBUSiege *s);

/* The guest sees reason, and finds all as it was. */
void qvbu_siege_end(QVBUSiege *s, unsigned queues);

#endif
