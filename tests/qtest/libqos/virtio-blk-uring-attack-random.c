/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random numbers that come again with the same seed
 */

#include "qemu/osdep.h"
#include "virtio-blk-uring-attack-random.h"

/* Steele, Lea and Flood's SplitMix64 */

uint64_t qvbu_random(QVBURandom *rnd)
{
    uint64_t z = rnd->state += 0x9e3779b97f4a7c15;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

uint64_t qvbu_random_below(QVBURandom *rnd, uint64_t n)
{
    return qvbu_random(rnd) % n;
}

uint64_t qvbu_random_edge(QVBURandom *rnd, unsigned bits)
{
    uint64_t mask = bits == 64 ? UINT64_MAX : (1ull << bits) - 1;
    uint64_t power = 1ull << qvbu_random_below(rnd, bits);
    uint64_t value;

    switch (qvbu_random_below(rnd, 8)) {
    case 0:
        value = 0;
        break;
    case 1:
        value = mask;
        break;
    case 2:
        value = mask >> 1;
        break;
    case 3:
        value = power;
        break;
    case 4:
        value = power - 1;
        break;
    case 5:
        value = power + 1;
        break;
    case 6:
        value = -power;
        break;
    default:
        value = qvbu_random(rnd);
        break;
    }
    return value & mask;
}
