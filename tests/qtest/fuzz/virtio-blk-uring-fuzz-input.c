/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzer of virtio-blk-uring: how an input is read, and how libFuzzer makes
 * another of it
 */

#include "qemu/osdep.h"
#include "fuzz.h"
#include "virtio-blk-uring-fuzz.h"

uint64_t take(Input *in, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes && in->left; i++) {
        value |= (uint64_t)*in->data++ << i * 8;
        in->left--;
    }
    return value;
}

uint64_t take_below(Input *in, uint64_t limit)
{
    return take(in, limit <= 0x100 ? 1 : limit <= 0x10000 ? 2 : 4) % limit;
}

unsigned take_width(Input *in)
{
    return 1u << take_below(in, 3);
}

uint64_t take_value(Input *in)
{
    static const uint64_t edges[] = {
        RAM_BYTES, RAM_BYTES - 4096, 0xa0000, 0x9f000, 0xc0000, 0xfffff000,
        0xffffffff, 0x100000000, UINT64_MAX, 0xfffffffffffff000,
        1ull << 63, 0xfee00000,
    };
    unsigned kind = take(in, 1);

    switch (kind % 10) {
    case 0:
    case 8:
    case 9:
        /* What a queue, a window or a vector may be called, and a bit more */
        return take_below(in, 8);
    case 1:
        return take(in, 1);
    case 2:
        return take(in, 2);
    case 3:
        return take(in, 4);
    case 4:
        return take(in, 8);
    case 5:
        return RING_MEM(0) + take(in, 1) * 4096;
    case 6:
        return edges[take_below(in, ARRAY_SIZE(edges))];
    default:
        return take(in, 1) << take_below(in, 64);
    }
}

/* Mutation that leaves actions whole */

static void mutate_action(uint8_t *action, GRand *random)
{
    switch (g_rand_int_range(random, 0, 4)) {
    case 0:
        /* Another one altogether */
        for (unsigned i = 0; i < ACTION_BYTES; i++) {
            action[i] = g_rand_int(random);
        }
        break;
    case 1:
        /* A choice among a few things, as most arguments are */
        action[g_rand_int_range(random, 1, 6)] =
            g_rand_int_range(random, 0, 10);
        break;
    default:
        LLVMFuzzerMutate(action + 1, ACTION_BYTES - 1, ACTION_BYTES - 1);
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size,
                               unsigned int seed)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(seed);
    size_t n = size / ACTION_BYTES, max = max_size / ACTION_BYTES;
    unsigned changes = g_rand_int_range(random, 1, 5);

    if (!rig.device_json) {
        /* Another target's */
        return LLVMFuzzerMutate(data, size, max_size);
    }
    while (changes--) {
        size_t at = n ? g_rand_int_range(random, 0, n) : 0;
        uint8_t *action = data + at * ACTION_BYTES;
        bool insert = n < max && (!n || g_rand_boolean(random));

        if (insert) {
            memmove(action + ACTION_BYTES, action, (n++ - at) * ACTION_BYTES);
        } else if (n > 1 && g_rand_int_range(random, 0, 4) == 0) {
            memmove(action, action + ACTION_BYTES, (--n - at) * ACTION_BYTES);
            continue;
        }
        if (insert) {
            memset(action, 0, ACTION_BYTES);
            action[0] = g_rand_int(random);
        }
        mutate_action(action, random);
    }
    return n * ACTION_BYTES;
}

/* The beginning of one input and the end of another */
size_t vbu_fuzz_crossover(const uint8_t *data1, size_t size1,
                          const uint8_t *data2, size_t size2,
                          uint8_t *out, size_t max_out_size,
                          unsigned int seed)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(seed);
    size_t max = max_out_size / ACTION_BYTES;
    size_t n1 = g_rand_int_range(random, 0, size1 / ACTION_BYTES + 1);
    size_t n2 = g_rand_int_range(random, 0, size2 / ACTION_BYTES + 1);

    n1 = MIN(n1, max);
    n2 = MIN(n2, max - n1);
    memcpy(out, data1, n1 * ACTION_BYTES);
    memcpy(out + n1 * ACTION_BYTES,
           data2 + (size2 / ACTION_BYTES - n2) * ACTION_BYTES,
           n2 * ACTION_BYTES);
    return (n1 + n2) * ACTION_BYTES;
}
