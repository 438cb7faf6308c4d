/*
 * Restricted ring: the order of set-up, and its failures
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <sys/prctl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include "ring-rig.h"

/* Order */

static void test_nothing_before_enable(void)
{
    struct io_uring_sqe sqe;
    RingRig rig;

    if (!rig_prepare(&rig)) {
        return;
    }
    rig_create(&rig);
    memset(rig.data, 0x55, 4096);
    sqe = rig_rw(&rig, IORING_OP_WRITEV, 0, 4096, 0);
    rig_publish(&rig, &sqe, 1);
    g_assert_true(rig_is_silent(&rig));
    rig_assert_file_as_made(rig.params.file_fd, 0, 4096, 0);

    g_assert_true(restricted_ring_enable(rig.ring, &error_abort));
    g_assert_cmpint(rig_reap(&rig).res, ==, 4096);
    rig_destroy(&rig);
}

/* What was published too early is judged by the restrictions all the same. */
static void test_early_bird_restricted(void)
{
    struct io_uring_sqe sqe = rig_sqe(IORING_OP_NOP, 0, NULL, 0);
    RingRig rig;

    if (!rig_prepare(&rig)) {
        return;
    }
    rig_create(&rig);
    rig_publish(&rig, &sqe, 1);
    g_assert_true(restricted_ring_enable(rig.ring, &error_abort));
    g_assert_cmpint(rig_reap(&rig).res, ==, -EACCES);
    rig_destroy(&rig);
}

static void test_enable_twice(void)
{
    Error *err = NULL;
    RingRig rig;

    if (!rig_prepare(&rig)) {
        return;
    }
    rig_start(&rig);
    g_assert_false(restricted_ring_enable(rig.ring, &err));
    g_assert_nonnull(strstr(error_get_pretty(err),
                            "IORING_REGISTER_ENABLE_RINGS"));
    error_free(err);
    rig_destroy(&rig);
}

/* The fds that were given may be closed once there is a ring. */
static void test_fds_not_needed(void)
{
    RingRig rig;

    if (!rig_prepare(&rig)) {
        return;
    }
    rig_create(&rig);
    close(rig.params.file_fd);
    rig.params.file_fd = -1;
    g_assert_true(restricted_ring_enable(rig.ring, &error_abort));
    g_assert_cmpint(rig_execute(&rig, rig_rw(&rig, IORING_OP_READV, 0, 512, 0)),
                    ==, 512);
    g_assert_cmpint(rig.data[9], ==, rig_byte(9, 0));
    rig_destroy(&rig);
}

/* Layout */

static void test_layout(void)
{
    const RestrictedRingLayout *l;
    RingRig rig;

    if (!rig_prepare(&rig)) {
        return;
    }
    rig_create(&rig);
    l = restricted_ring_layout(rig.ring);
    g_assert_cmpuint(l->sq_entries, ==, 32);
    g_assert_cmpuint(l->cq_entries, ==, 64);
    g_assert_cmpuint(l->ring_bytes, ==, restricted_ring_min_bytes(64));
    g_assert_cmpuint(l->cqes + 64 * sizeof(struct io_uring_cqe), ==,
                     l->ring_bytes);
    g_assert_cmpuint(l->sqe_bytes, ==, 32 * sizeof(struct io_uring_sqe));
    g_assert_cmpuint(*rig_word(&rig, l->sq_ring_mask), ==, 31);
    g_assert_cmpuint(*rig_word(&rig, l->cq_ring_mask), ==, 63);
    rig_destroy(&rig);
}

/* A guest is told one layout for all its rings. */
static void test_layout_iopoll(void)
{
    RestrictedRingLayout layout;
    RingRig rig;

    if (!rig_prepare(&rig)) {
        return;
    }
    rig_create(&rig);
    layout = rig.layout;
    rig_free_ring(&rig);
    rig_destroy(&rig);

    rig_prepare(&rig);
    rig.params.iopoll = true;
    rig_create(&rig);
    g_assert_cmpmem(&rig.layout, sizeof(layout), &layout, sizeof(layout));
    rig_destroy(&rig);
}

/* Whatever lies in the memory: nothing of it is executed or counted. */
static void test_dirty_memory(void)
{
    RingRig rig;

    if (!rig_prepare(&rig)) {
        return;
    }
    memset(rig.params.ring_mem, 0xff, rig.params.ring_size);
    memset(rig.params.sqe_mem, 0xff, rig.params.sqe_size);
    rig_start(&rig);
    g_assert_true(rig_is_silent(&rig));
    g_assert_cmpint(rig_execute(&rig, rig_rw(&rig, IORING_OP_READV, 0, 512, 0)),
                    ==, 512);
    g_assert_true(rig_is_silent(&rig));
    rig_destroy(&rig);
}

/*
 * The same, with what a driver that crashed has published.  The former ring's
 * file is a pipe: POLLERR at its other end tells that the kernel is done with
 * that ring, which until then may write to the memory.
 */
static void test_former_ring(void)
{
    struct pollfd writer = { .events = 0 };
    struct io_uring_sqe sqe;
    int pipefd[2], file_fd;
    RingRig rig;

    if (!rig_prepare(&rig)) {
        return;
    }
    g_assert_cmpint(pipe(pipefd), ==, 0);
    writer.fd = pipefd[1];
    file_fd = rig.params.file_fd;
    rig.params.file_fd = pipefd[0];
    rig_create(&rig);
    memset(rig.data, 0x55, 4096);
    sqe = rig_rw(&rig, IORING_OP_WRITEV, 0, 4096, 0);
    rig_publish(&rig, &sqe, 1);
    rig_free_ring(&rig);
    close(pipefd[0]);
    g_assert_cmpint(poll(&writer, 1, RIG_PATIENCE_MS), ==, 1);
    close(pipefd[1]);

    rig.params.file_fd = file_fd;
    rig_start(&rig);
    g_assert_true(rig_is_silent(&rig));
    rig_assert_file_as_made(file_fd, 0, 4096, 0);
    rig_destroy(&rig);
}

/* Failures */

static unsigned count_fds(void)
{
    g_autoptr(GDir) dir = g_dir_open("/proc/self/fd", 0, NULL);
    unsigned n = 0;

    while (g_dir_read_name(dir)) {
        n++;
    }
    return n;
}

/*
 * A ring of @rig's parameters is not to be had, the reason names @step and
 * @why, and no fd is left behind.
 */
static void assert_fails(RingRig *rig, const char *step, const char *why)
{
    unsigned fds = count_fds();
    Error *err = NULL;

    g_assert_null(restricted_ring_new(&rig->params, &err));
    g_test_message("%s", error_get_pretty(err));
    g_assert_nonnull(strstr(error_get_pretty(err), step));
    g_assert_nonnull(strstr(error_get_pretty(err), why));
    g_assert_null(strchr(error_get_pretty(err), '\n'));
    error_free(err);
    g_assert_cmpuint(count_fds(), ==, fds);
}

static void break_file(RingRig *rig)
{
    rig->params.file_fd = INT_MAX;
}

static void break_eventfd(RingRig *rig)
{
    rig->params.event_fd = rig->params.file_fd;
}

static void break_ring_alignment(RingRig *rig)
{
    rig->params.ring_mem += 64;
    rig->params.ring_size -= 64;
}

static void break_sqe_alignment(RingRig *rig)
{
    rig->params.sqe_mem += 64;
    rig->params.sqe_size -= 64;
}

static void break_ring_size(RingRig *rig)
{
    rig->params.ring_size = restricted_ring_min_bytes(64) - 1;
}

static void break_sqe_size(RingRig *rig)
{
    rig->params.sqe_size = 32 * sizeof(struct io_uring_sqe) - 1;
}

static void break_ring_memory(RingRig *rig)
{
    rig->params.ring_size = 0;
    rig->params.ring_mem = NULL;
}

static void break_cpu(RingRig *rig)
{
    rig->params.cpu = CPU_SETSIZE * 8;
}

static void break_cq(RingRig *rig)
{
    rig->params.cq_entries = 16;
}

static void break_sq(RingRig *rig)
{
    rig->params.sq_entries = 65536;
    rig->params.cq_entries = 65536;
}

static void break_attach(RingRig *rig)
{
    rig->params.attach_fd = rig->params.file_fd;
}

typedef struct Failure {
    const char *name;
    void (*break_it)(RingRig *rig);
    const char *step;
    const char *why;
} Failure;

static const Failure failures[] = {
    { "file", break_file, "IORING_REGISTER_FILES", "Bad file descriptor" },
    { "eventfd", break_eventfd, "IORING_REGISTER_EVENTFD", "Invalid" },
    { "ring-alignment", break_ring_alignment, "io_uring_setup", "Invalid" },
    { "sqe-alignment", break_sqe_alignment, "io_uring_setup", "Invalid" },
    { "ring-size", break_ring_size, "io_uring_setup", "too large" },
    { "sqe-size", break_sqe_size, "io_uring_setup", "too large" },
    { "ring-memory", break_ring_memory, "io_uring_setup", "cannot create" },
    { "cpu", break_cpu, "io_uring_setup", "sqpoll-cpu" },
    { "cq-smaller-than-sq", break_cq, "io_uring_setup", "Invalid" },
    { "sq-too-large", break_sq, "io_uring_setup", "Invalid" },
    { "attach-to-no-ring", break_attach, "io_uring_setup", "Invalid" },
};

static void test_failure(const void *opaque)
{
    const Failure *failure = opaque;
    RingRig rig;

    if (!rig_prepare(&rig)) {
        return;
    }
    failure->break_it(&rig);
    assert_fails(&rig, failure->step, failure->why);
    rig_destroy(&rig);
}

/*
 * What another kernel or a container would say: a seccomp filter has one
 * system call, and for io_uring_register one opcode, fail with the errno of
 * choice.
 */
typedef struct Denial {
    const char *name;
    int nr;
    int opcode;         /* second argument, -1: any */
    int err;
    const char *step;
    const char *remedy;
} Denial;

static const Denial denials[] = {
    { "setup/enosys", __NR_io_uring_setup, -1, ENOSYS, "io_uring_setup",
      "seccomp" },
    { "setup/eperm", __NR_io_uring_setup, -1, EPERM, "io_uring_setup",
      "kernel.io_uring_disabled" },
    { "setup/enomem", __NR_io_uring_setup, -1, ENOMEM, "io_uring_setup",
      "RLIMIT_MEMLOCK" },
    { "setup/einval", __NR_io_uring_setup, -1, EINVAL, "io_uring_setup",
      "Linux 6.12" },
    { "files", __NR_io_uring_register, IORING_REGISTER_FILES, EMFILE,
      "IORING_REGISTER_FILES", "5.1" },
    { "eventfd", __NR_io_uring_register, IORING_REGISTER_EVENTFD, EINVAL,
      "IORING_REGISTER_EVENTFD", "5.2" },
    { "workers", __NR_io_uring_register, IORING_REGISTER_IOWQ_MAX_WORKERS,
      EINVAL, "IORING_REGISTER_IOWQ_MAX_WORKERS", "5.15" },
    { "restrict", __NR_io_uring_register, IORING_REGISTER_RESTRICTIONS, EINVAL,
      "IORING_REGISTER_RESTRICTIONS", "5.10" },
};

static bool deny(const Denial *denial)
{
    uint32_t ret = SECCOMP_RET_ERRNO | denial->err;
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, denial->nr, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                 offsetof(struct seccomp_data, args[1]) +
                 (HOST_BIG_ENDIAN ? 4 : 0)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, denial->opcode, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, ret),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {
        .len = ARRAY_SIZE(filter),
        .filter = filter,
    };

    if (denial->opcode < 0) {
        filter[3].jf = 0;
    }
    return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
           !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

static void test_denial(const void *opaque)
{
    const Denial *denial = opaque;
    RingRig rig;

    if (!g_test_subprocess()) {
        if (denial->nr == __NR_io_uring_register && !rig_have_io_uring()) {
            return;
        }
        if (prctl(PR_GET_SECCOMP) < 0) {
            g_test_skip("seccomp filters (CONFIG_SECCOMP_FILTER)");
            return;
        }
        g_test_trap_subprocess(NULL, 0, 0);
        g_test_trap_assert_passed();
        return;
    }
    rig_init(&rig, rig_temp_file(4096, 0));
    rig.params.max_workers = 1;
    g_assert_true(deny(denial));
    assert_fails(&rig, denial->step, denial->remedy);
    assert_fails(&rig, denial->step, strerror(denial->err));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/restricted-ring/order/nothing-before-enable",
                    test_nothing_before_enable);
    g_test_add_func("/restricted-ring/order/early-bird-restricted",
                    test_early_bird_restricted);
    g_test_add_func("/restricted-ring/order/enable-twice", test_enable_twice);
    g_test_add_func("/restricted-ring/order/fds-not-needed",
                    test_fds_not_needed);
    g_test_add_func("/restricted-ring/memory/layout", test_layout);
    g_test_add_func("/restricted-ring/memory/layout-iopoll",
                    test_layout_iopoll);
    g_test_add_func("/restricted-ring/memory/dirty", test_dirty_memory);
    g_test_add_func("/restricted-ring/memory/former-ring", test_former_ring);
    for (int i = 0; i < ARRAY_SIZE(failures); i++) {
        g_autofree char *path = g_strdup_printf("/restricted-ring/failure/%s",
                                                failures[i].name);

        g_test_add_data_func(path, &failures[i], test_failure);
    }
    for (int i = 0; i < ARRAY_SIZE(denials); i++) {
        g_autofree char *path = g_strdup_printf("/restricted-ring/denied/%s",
                                                denials[i].name);

        g_test_add_data_func(path, &denials[i], test_denial);
    }

    return g_test_run();
}
