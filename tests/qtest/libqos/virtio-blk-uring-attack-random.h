/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random numbers that come again with the same seed
 */

#ifndef TESTS_LIBQOS_VIRTIO_BLK_URING_ATTACK_RANDOM_H
#define TESTS_LIBQOS_VIRTIO_BLK_URING_ATTACK_RANDOM_H

#include <stdint.h>

typedef struct QVBURandom {
    uint64_t state;
} QVBURandom;

uint64_t qvbu_random(QVBURandom *rnd);
uint64_t qvbu_random_below(QVBURandom *rnd, uint64_t n);
/* At the edges of what @bits bits hold, or anything */
uint64_t qvbu_random_edge(QVBURandom *rnd, unsigned bits);

#endif
