/*
 * Restricted ring: what it refuses
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "ring-rig.h"

/* Linux 6.19 and later; older headers do not name them. */
#define OP_NOP128       63
#define OP_URING_CMD128 64

/* The number of opcodes that this kernel has, which is not our headers'. */
static unsigned kernel_opcodes(void)
{
    struct io_uring_params p = {};
    g_autofree struct io_uring_probe *probe =
        g_malloc0(sizeof(*probe) + 256 * sizeof(probe->ops[0]));
    int fd = syscall(__NR_io_uring_setup, 1, &p);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(syscall(__NR_io_uring_register, fd, IORING_REGISTER_PROBE,
                            probe, 256), ==, 0);
    close(fd);
    return probe->last_op + 1;
}

/*
 * Opcodes with an SQE of 128 bytes, for which these rings were not made.  A
 * kernel that knows them may refuse them for their size, before it looks at
 * the restrictions.
 */
static bool needs_sqe128(unsigned op)
{
    return op == OP_NOP128 || op == OP_URING_CMD128;
}

static void assert_opcodes_refused(RingRig *rig, uint64_t allowed)
{
    unsigned known = kernel_opcodes();

    for (unsigned op = 0; op <= UINT8_MAX; op++) {
        int res;

        if (op < 64 && (allowed >> op & 1)) {
            continue;
        }
        res = rig_execute(rig, rig_sqe(op, 0, NULL, 0));
        g_test_message("opcode %u: %s", op, strerror(-res));
        if (op < known && needs_sqe128(op)) {
            g_assert_true(res == -EACCES || res == -EINVAL);
        } else {
            g_assert_cmpint(res, ==, op < known ? -EACCES : -EINVAL);
        }
    }
    g_assert_cmpuint(known, >=, IORING_OP_LAST);
}

static void test_opcodes(void)
{
    RingRig rig;

    if (!rig_begin(&rig)) {
        return;
    }
    assert_opcodes_refused(&rig, 1ULL << IORING_OP_READV |
                                 1ULL << IORING_OP_WRITEV |
                                 1ULL << IORING_OP_FSYNC);
    rig_destroy(&rig);
}

static bool begin_readonly(RingRig *rig)
{
    if (!rig_prepare(rig)) {
        return false;
    }
    rig->params.readonly = true;
    rig_start(rig);
    return true;
}

static void test_readonly_opcodes(void)
{
    RingRig rig;

    if (!begin_readonly(&rig)) {
        return;
    }
    assert_opcodes_refused(&rig, 1ULL << IORING_OP_READV |
                                 1ULL << IORING_OP_FSYNC);
    rig_destroy(&rig);
}

/* The file is open for writing: it is the ring that refuses. */
static void test_readonly_writev(void)
{
    RingRig rig;

    if (!begin_readonly(&rig)) {
        return;
    }
    memset(rig.data, 0x55, 4096);
    g_assert_cmpint(rig_execute(&rig, rig_rw(&rig, IORING_OP_WRITEV, 0, 4096,
                                             0)), ==, -EACCES);
    rig_assert_file_as_made(rig.params.file_fd, 0, RIG_FILE_SIZE, 0);
    rig_destroy(&rig);
}

static void test_readonly_reads(void)
{
    RingRig rig;

    if (!begin_readonly(&rig)) {
        return;
    }
    g_assert_cmpint(rig_execute(&rig, rig_rw(&rig, IORING_OP_READV, 0, 512,
                                             512)), ==, 512);
    g_assert_cmpint(rig.data[3], ==, rig_byte(515, 0));
    g_assert_cmpint(rig_execute(&rig, rig_sqe(IORING_OP_FSYNC, 0, NULL, 0)),
                    ==, 0);
    rig_destroy(&rig);
}

/* The opcode whose work would be seen in the file. */
static void assert_write_refused(RingRig *rig, uint8_t flags, int fd, int err)
{
    struct io_uring_sqe sqe;

    memset(rig->data, 0x55, 4096);
    sqe = rig_rw(rig, IORING_OP_WRITEV, 0, 4096, 0);
    sqe.flags = flags;
    sqe.fd = fd;
    g_assert_cmpint(rig_execute(rig, sqe), ==, -err);
    rig_assert_file_as_made(rig->params.file_fd, 0, RIG_FILE_SIZE, 0);
}

/*
 * Each flag on a ring of its own, since a refused one leaves traces there.
 * By READV, which knows them all.
 */
static void test_sqe_flag(const void *opaque)
{
    uint8_t flag = 1 << GPOINTER_TO_UINT(opaque);
    struct io_uring_sqe sqe;
    RingRig rig;

    if (!rig_begin(&rig)) {
        return;
    }
    memset(rig.data, 0x55, 4096);
    sqe = rig_rw(&rig, IORING_OP_READV, 0, 4096, 0);
    sqe.flags |= flag;
    g_assert_cmpint(rig_execute(&rig, sqe), ==,
                    flag <= IOSQE_CQE_SKIP_SUCCESS ? -EACCES : -EINVAL);
    rig_assert_all(rig.data, 0x55, 4096);
    rig_destroy(&rig);
}

/* A refused link must not carry what is linked to it. */
static void test_linked(void)
{
    struct io_uring_sqe sqes[2];
    RingRig rig;

    if (!rig_begin(&rig)) {
        return;
    }
    memset(rig.data, 0x55, 4096);
    sqes[0] = rig_rw(&rig, IORING_OP_WRITEV, 0, 4096, 0);
    sqes[1] = sqes[0];
    sqes[0].flags |= IOSQE_IO_LINK;
    rig_publish(&rig, sqes, 2);
    g_assert_cmpint(rig_reap(&rig).res, ==, -EACCES);
    g_assert_cmpint(rig_reap(&rig).res, ==, -ECANCELED);
    rig_assert_file_as_made(rig.params.file_fd, 0, RIG_FILE_SIZE, 0);
    rig_destroy(&rig);
}

/* An fd of the process is out of reach, be it that of the ring's own file. */
static void test_not_fixed_file(void)
{
    struct io_uring_sqe sqe;
    RingRig rig;

    if (!rig_begin(&rig)) {
        return;
    }
    assert_write_refused(&rig, 0, rig.params.file_fd, EACCES);

    sqe = rig_rw(&rig, IORING_OP_READV, 0, 512, 0);
    sqe.flags = 0;
    sqe.fd = rig.params.file_fd;
    g_assert_cmpint(rig_execute(&rig, sqe), ==, -EACCES);

    sqe = rig_sqe(IORING_OP_FSYNC, 0, NULL, 0);
    sqe.flags = 0;
    sqe.fd = rig.params.file_fd;
    g_assert_cmpint(rig_execute(&rig, sqe), ==, -EACCES);
    rig_destroy(&rig);
}

static void test_file_indexes(void)
{
    static const int indexes[] = { 1, 2, 3, 4, 63, 64, INT_MAX, -1, -2,
                                   INT_MIN };
    RingRig rig;

    if (!rig_begin(&rig)) {
        return;
    }
    for (int i = 0; i < ARRAY_SIZE(indexes); i++) {
        assert_write_refused(&rig, IOSQE_FIXED_FILE, indexes[i], EBADF);
    }
    assert_write_refused(&rig, IOSQE_FIXED_FILE, rig.params.file_fd, EBADF);
    rig_destroy(&rig);
}

static int register_errno(RingRig *rig, unsigned opcode, void *arg, unsigned n)
{
    long ret = syscall(__NR_io_uring_register, restricted_ring_fd(rig->ring),
                       opcode, arg, n);

    return ret < 0 ? errno : 0;
}

static void test_register(void)
{
    RingRig rig;

    if (!rig_begin(&rig)) {
        return;
    }
    for (unsigned op = 0; op <= UINT8_MAX; op++) {
        int err = register_errno(&rig, op, NULL, 0);

        g_test_message("register opcode %u: %s", op, strerror(err));
        if (op == IORING_REGISTER_ENABLE_RINGS) {
            /* Allowed, and without effect on a ring that is enabled. */
            g_assert_cmpint(err, ==, EBADFD);
        } else if (op < IORING_REGISTER_LAST) {
            g_assert_cmpint(err, ==, EACCES);
        } else {
            g_assert_true(err == EACCES || err == EINVAL);
        }
    }
    rig_destroy(&rig);
}

/* The call that would help an attacker most, with arguments that are right. */
static void test_register_files_update(void)
{
    RingRig rig;
    int other = rig_temp_file(4096, 2);
    struct io_uring_files_update update = {
        .fds = (uintptr_t)&other,
    };

    if (!rig_begin(&rig)) {
        close(other);
        return;
    }
    g_assert_cmpint(register_errno(&rig, IORING_REGISTER_FILES_UPDATE, &update,
                                   1), ==, EACCES);
    g_assert_cmpint(rig_execute(&rig, rig_rw(&rig, IORING_OP_READV, 0, 512, 0)),
                    ==, 512);
    g_assert_cmpint(rig.data[5], ==, rig_byte(5, 0));
    close(other);
    rig_destroy(&rig);
}

/* Restrictions cannot be loosened between the steps either. */
static void test_restrictions_final(void)
{
    struct io_uring_restriction nop = {
        .opcode = IORING_RESTRICTION_SQE_OP,
        .sqe_op = IORING_OP_NOP,
    };
    RingRig rig;

    if (!rig_prepare(&rig)) {
        return;
    }
    rig_create(&rig);
    g_assert_cmpint(register_errno(&rig, IORING_REGISTER_RESTRICTIONS, &nop, 1),
                    ==, EBUSY);
    g_assert_true(restricted_ring_enable(rig.ring, &error_abort));
    g_assert_cmpint(rig_execute(&rig, rig_sqe(IORING_OP_NOP, 0, NULL, 0)), ==,
                    -EACCES);
    rig_destroy(&rig);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/restricted-ring/deny/opcodes", test_opcodes);
    g_test_add_func("/restricted-ring/deny/readonly/opcodes",
                    test_readonly_opcodes);
    g_test_add_func("/restricted-ring/deny/readonly/writev",
                    test_readonly_writev);
    g_test_add_func("/restricted-ring/deny/readonly/reads",
                    test_readonly_reads);
    for (unsigned bit = 1; bit < 8; bit++) {
        g_autofree char *path =
            g_strdup_printf("/restricted-ring/deny/sqe-flag/%u", bit);

        g_test_add_data_func(path, GUINT_TO_POINTER(bit), test_sqe_flag);
    }
    g_test_add_func("/restricted-ring/deny/linked", test_linked);
    g_test_add_func("/restricted-ring/deny/not-fixed-file",
                    test_not_fixed_file);
    g_test_add_func("/restricted-ring/deny/file-indexes", test_file_indexes);
    g_test_add_func("/restricted-ring/deny/register", test_register);
    g_test_add_func("/restricted-ring/deny/register-files-update",
                    test_register_files_update);
    g_test_add_func("/restricted-ring/deny/restrictions-final",
                    test_restrictions_final);

    return g_test_run();
}
