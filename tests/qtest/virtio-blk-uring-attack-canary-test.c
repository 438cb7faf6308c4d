/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest of virtio-blk-uring: memory of QEMU's and of the jail's, which the
 * guest names without having to guess
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "libqos/virtio-blk-uring-attack-siege.h"

/* A READV or WRITEV of 4096 bytes at @addr, which is nobody's but QEMU's */
static int32_t rw_at(QVBUSiege *s, uint8_t opcode, uint64_t offset,
                     uint64_t addr)
{
    QVBURing *r = &s->u->rings[0];
    uint64_t iov[2] = { cpu_to_le64(addr), cpu_to_le64(4096) };
    uint64_t list = guest_alloc(s->u->alloc, sizeof(iov));
    struct io_uring_sqe sqe = {
        .opcode = opcode,
        .flags = IOSQE_FIXED_FILE,
        .off = offset,
        .addr = qvbu_translate(s->u, list, sizeof(iov)),
        .len = 1,
    };

    qtest_memwrite(s->u->qts, list, iov, sizeof(iov));
    return qvbu_do(r, &sqe);
}

/* The iovec itself lies at @addr in QEMU, and names honest memory at @gpa. */
static int32_t rw_by_list_at(QVBUSiege *s, uint8_t opcode, uint64_t offset,
                             uint64_t addr, uint64_t gpa)
{
    uint64_t iov[2] = {
        cpu_to_le64(qvbu_translate(s->u, gpa, 4096)), cpu_to_le64(4096),
    };
    struct io_uring_sqe sqe = {
        .opcode = opcode,
        .flags = IOSQE_FIXED_FILE,
        .off = offset,
        .addr = addr,
        .len = 1,
    };

    qvbu_host_write(s->canary.pid, addr, iov, sizeof(iov));
    return qvbu_do(&s->u->rings[0], &sqe);
}

/*
 * That the attack would be seen: with no isolation it reaches everything.
 * What the canary test below claims is worth something only with this.
 */
static void test_canary_reached(void *obj, void *data, QGuestAllocator *alloc)
{
    QVBUSiege *s = data;
    QVirtioBlkUring *u = obj;
    uint64_t mem;
    uint8_t got[4096], wanted[4096];

    qvbu_siege_begin(s, u, 1);
    g_assert_false(qvbu_canary_leaked(&s->canary, s->disk));
    g_assert_true(qvbu_canary_intact(&s->canary));

    g_assert_cmpint(rw_at(s, IORING_OP_WRITEV, 0, s->canary.addr), ==, 4096);
    g_assert_true(qvbu_canary_leaked(&s->canary, s->disk));

    mem = qvbu_mem_new(u, 4096, 5);
    g_assert_cmpint(rw_by_list_at(s, IORING_OP_WRITEV, 4096,
                                  s->canary.addr + MiB, mem), ==, 4096);
    qvbu_disk_check(s->disk, 4096, 4096, 5);

    qvbu_canary_init(&s->canary, u->qts, 2);
    qvbu_disk_fill(s->disk, 8192, 4096, 6);
    g_assert_cmpint(rw_at(s, IORING_OP_READV, 8192, s->canary.addr + 4096),
                    ==, 4096);
    g_assert_false(qvbu_canary_intact(&s->canary));
    g_assert_true(qvbu_host_read(s->canary.pid, s->canary.addr + 4096, got,
                                 sizeof(got)));
    g_assert_cmpint(pread(s->disk->fd, wanted, sizeof(wanted), 8192), ==,
                    sizeof(wanted));
    g_assert_cmpmem(got, sizeof(got), wanted, sizeof(wanted));

    qvbu_disk_fill(s->disk, 0, QVBU_SIEGE_WRITABLE, 7);
    qvbu_canary_init(&s->canary, u->qts, 3);
    qvbu_siege_end(s, 1);
}

static void test_canary_kept(void *obj, void *data, QGuestAllocator *alloc)
{
    QVBUSiege *s = data;
    QVirtioBlkUring *u = obj;
    uint64_t list, mem, offset;

    qvbu_siege_begin(s, u, 1);
    list = s->canary.addr + MiB;
    mem = qvbu_mem_new(u, 4096, 5);
    qvbu_disk_fill(s->disk, 0, 65536, 8);
    for (offset = 0; offset < QVBU_CANARY_BYTES; offset += 65536 + 4096) {
        uint64_t addr = s->canary.addr + offset;

        g_assert_cmpint(rw_at(s, IORING_OP_WRITEV, 0, addr), ==, -EFAULT);
        g_assert_cmpint(rw_at(s, IORING_OP_READV, 0, addr), ==, -EFAULT);
    }
    qvbu_siege_check_canary(s);

    g_assert_cmpint(rw_by_list_at(s, IORING_OP_WRITEV, 4096, list, mem), ==,
                    -EFAULT);
    g_assert_cmpint(rw_by_list_at(s, IORING_OP_READV, 4096, list, mem), ==,
                    -EFAULT);
    qvbu_disk_check(s->disk, 0, 65536, 8);
    qvbu_mem_check(u, mem, 4096, 5);
    qvbu_canary_init(&s->canary, u->qts, 4);
    qvbu_check_ring(&u->rings[0], s->disk);
    qvbu_siege_end(s, 1);
}

/* All that a jail has beside guest memory is its code, which is no secret. */
static void test_jail_code(void *obj, void *data, QGuestAllocator *alloc)
{
    QVBUSiege *s = data;
    QVirtioBlkUring *u = obj;
    QVBURange *code = &s->attacker.code;
    g_autofree uint8_t *first = NULL;
    g_autofree uint8_t *second = NULL;
    uint64_t at;

    qvbu_siege_begin(s, u, 1);
    g_assert_cmpint(qvbu_jail_pid(u), !=, 0);
    qvbu_siege_start_attacker(s);
    if (!code->size) {
        g_test_skip("needs to see /proc/PID/maps of the jail");
        qvbu_siege_end(s, 1);
        return;
    }
    first = g_malloc0(code->size);
    second = g_malloc0(code->size);
    for (at = 0; at < code->size; at += 4096) {
        g_assert_cmpint(rw_at(s, IORING_OP_WRITEV, at, code->start + at), ==,
                        4096);
    }
    g_assert_cmpint(pread(s->disk->fd, first, code->size, 0), ==, code->size);

    qvbu_disk_fill(s->disk, 65536, 4096, 9);
    for (at = 0; at < code->size; at += 4096) {
        g_assert_cmpint(rw_at(s, IORING_OP_READV, 65536, code->start + at), ==,
                        -EFAULT);
    }
    /* It has not changed, and another jail's is the same. */
    qvbu_renegotiate(u, 1);
    qvbu_check_activation(u, s->disk);
    for (at = 0; at < code->size; at += 4096) {
        g_assert_cmpint(rw_at(s, IORING_OP_WRITEV, at, code->start + at), ==,
                        4096);
    }
    g_assert_cmpint(pread(s->disk->fd, second, code->size, 0), ==, code->size);
    g_assert_cmpmem(first, code->size, second, code->size);
    qvbu_siege_end(s, 1);
}

static void register_tests(void)
{
    qvbu_siege_add_test("canary/reached-without-isolation",
                        test_canary_reached, "none", NULL);
    qvbu_siege_add_test("canary/kept", test_canary_kept, "process", NULL);
    qvbu_siege_add_test("jail-code", test_jail_code, "process", NULL);
}

libqos_init(register_tests);
