/*
 * The jail of rings: what a ring in it reaches, and what it refuses
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/memfd.h"
#include "qemu/units.h"
#include "block/ring-jail.h"
#include "ring-rig.h"

/* Two pieces of "guest RAM", with a hole between them and 4 GiB on the way */
#define LOW_SIZE    (1 * MiB)
#define HIGH_GPA    (4 * GiB)
#define HIGH_SIZE   (1 * MiB)

#define RING_GPA    0
#define SQES_GPA    (64 * KiB)
#define IOV_GPA     (128 * KiB)
#define DATA_GPA    (256 * KiB)

#define FILE_BYTES  (256 * KiB)

typedef struct JailRig {
    pid_t launcher;
    int launcher_socket;
    int memory;
    char *low, *high;           /* as the test, in place of QEMU, has it */
    int file;
    EventNotifier notifier;
    RingJail *jail;
    RestrictedRingLayout layout;
    uint32_t sq_tail, cq_head;
} JailRig;

/* A jail that waits for requests; its socket is the caller's. */
static int start_helper(pid_t *pid)
{
    g_autofree char *path = g_build_filename(
        g_getenv("G_TEST_BUILDDIR") ?: ".", "..", "..", "tools",
        "qemu-ring-jail", NULL);
    char *argv[] = { path, NULL };
    char *envp[] = { NULL };
    posix_spawn_file_actions_t actions;
    int ends[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0,
                               ends), ==, 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], RING_JAIL_CONTROL_FD);
    g_assert_cmpint(posix_spawn(pid, path, &actions, NULL, argv, envp), ==, 0);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    return ends[0];
}

static RingJail *start_jail(JailRig *rig, Error **errp)
{
    RingJailRegion regions[] = {
        { .gpa = 0, .size = LOW_SIZE, .fd = rig->memory },
        { .gpa = HIGH_GPA, .size = HIGH_SIZE, .offset = LOW_SIZE,
          .fd = rig->memory },
    };
    RingJailConfig config = {
        .launcher_fd = rig->launcher_socket,
        .file_fd = rig->file,
        .file_size = FILE_BYTES,
        .regions = regions,
        .num_regions = ARRAY_SIZE(regions),
    };

    return ring_jail_new(&config, errp);
}

static void new_memory(JailRig *rig)
{
    if (rig->low) {
        munmap(rig->low, LOW_SIZE + HIGH_SIZE);
        close(rig->memory);
    }
    rig->memory = qemu_memfd_create("ram", LOW_SIZE + HIGH_SIZE, false, 0, 0,
                                    &error_abort);
    rig->low = mmap(NULL, LOW_SIZE + HIGH_SIZE, PROT_READ | PROT_WRITE,
                    MAP_SHARED, rig->memory, 0);
    g_assert(rig->low != MAP_FAILED);
    rig->high = rig->low + LOW_SIZE;
    rig->sq_tail = 0;
    rig->cq_head = 0;
}

static bool jail_up(JailRig *rig)
{
    if (!rig_have_io_uring()) {
        return false;
    }
    *rig = (JailRig) {};
    rig->launcher_socket = start_helper(&rig->launcher);
    new_memory(rig);
    rig->file = rig_temp_file(FILE_BYTES, 0);
    g_assert_cmpint(event_notifier_init(&rig->notifier, 0), ==, 0);
    rig->jail = start_jail(rig, &error_abort);
    return true;
}

static void jail_run_iopoll(JailRig *rig, bool iopoll)
{
    RestrictedRingParams params = {
        .ring_mem = (void *)(uintptr_t)(RING_JAIL_BASE + RING_GPA),
        .ring_size = 64 * KiB,
        .sqe_mem = (void *)(uintptr_t)(RING_JAIL_BASE + SQES_GPA),
        .sqe_size = 64 * KiB,
        .sq_entries = 32,
        .cq_entries = 64,
        .idle_ms = 1,
        .cpu = -1,
        .attach_fd = -1,
        .event_fd = event_notifier_get_fd(&rig->notifier),
        .iopoll = iopoll,
    };

    g_assert_true(ring_jail_add_ring(rig->jail, &params, &rig->layout,
                                     &error_abort));
    g_assert_true(ring_jail_enable(rig->jail, &error_abort));
}

static void jail_run(JailRig *rig)
{
    jail_run_iopoll(rig, false);
}

static void jail_down(JailRig *rig)
{
    ring_jail_free(rig->jail);
    close(rig->launcher_socket);
    g_assert_cmpint(waitpid(rig->launcher, NULL, 0), ==, rig->launcher);
    event_notifier_cleanup(&rig->notifier);
    munmap(rig->low, LOW_SIZE + HIGH_SIZE);
    close(rig->memory);
    close(rig->file);
}

/* Executes a request with one segment at @addr: its result. */
static int jail_rw(JailRig *rig, uint8_t opcode, uint64_t addr, size_t len,
                   off_t offset)
{
    struct io_uring_sqe *sqes = (void *)(rig->low + SQES_GPA);
    struct io_uring_cqe *cqes = (void *)(rig->low + rig->layout.cqes);
    uint32_t *cq_tail = (uint32_t *)(rig->low + rig->layout.cq_tail);
    struct pollfd pfd = {
        .fd = event_notifier_get_fd(&rig->notifier),
        .events = POLLIN,
    };

    *(struct iovec *)(rig->low + IOV_GPA) = (struct iovec) {
        (void *)(uintptr_t)addr, len
    };
    sqes[rig->sq_tail % rig->layout.sq_entries] = (struct io_uring_sqe) {
        .opcode = opcode,
        .flags = IOSQE_FIXED_FILE,
        .addr = RING_JAIL_BASE + IOV_GPA,
        .len = 1,
        .off = offset,
    };
    qatomic_store_release((uint32_t *)(rig->low + rig->layout.sq_tail),
                          ++rig->sq_tail);
    ring_jail_doorbell(rig->jail);
    while (qatomic_load_acquire(cq_tail) == rig->cq_head) {
        g_assert_cmpint(poll(&pfd, 1, RIG_PATIENCE_MS), ==, 1);
        event_notifier_test_and_clear(&rig->notifier);
    }
    return cqes[rig->cq_head++ % rig->layout.cq_entries].res;
}

/* An address is the guest's, plus a constant, in each piece of RAM. */
static void test_data(void)
{
    JailRig rig;

    if (!jail_up(&rig)) {
        return;
    }
    jail_run(&rig);
    g_assert_cmpint(jail_rw(&rig, IORING_OP_READV, RING_JAIL_BASE + DATA_GPA,
                            4096, 8192), ==, 4096);
    g_assert_cmpint(jail_rw(&rig, IORING_OP_READV, RING_JAIL_BASE + HIGH_GPA +
                            HIGH_SIZE - 4096, 4096, 8192), ==, 4096);
    for (unsigned i = 0; i < 4096; i++) {
        g_assert_cmpint(rig.low[DATA_GPA + i], ==, rig_byte(8192 + i, 0));
        g_assert_cmpint(rig.high[HIGH_SIZE - 4096 + i], ==,
                        rig_byte(8192 + i, 0));
    }
    memset(rig.high, 0x77, 4096);
    g_assert_cmpint(jail_rw(&rig, IORING_OP_WRITEV, RING_JAIL_BASE + HIGH_GPA,
                            4096, 0), ==, 4096);
    g_assert_cmpint(pread(rig.file, rig.low + DATA_GPA, 4096, 0), ==, 4096);
    rig_assert_all(rig.low + DATA_GPA, 0x77, 4096);
    jail_down(&rig);
}

/*
 * A ring of the jail's polls the disk if it is told to.  The page cache cannot
 * be polled, and the ring says so as one of QEMU's does.
 */
static void test_iopoll(void)
{
    JailRig rig;

    if (!jail_up(&rig)) {
        return;
    }
    jail_run_iopoll(&rig, true);
    for (unsigned i = 0; i < 2; i++) {
        g_assert_cmpint(jail_rw(&rig, IORING_OP_READV,
                                RING_JAIL_BASE + DATA_GPA, 4096, 0), ==,
                        -EOPNOTSUPP);
        g_assert_cmpint(jail_rw(&rig, IORING_OP_WRITEV,
                                RING_JAIL_BASE + DATA_GPA, 4096, 0), ==,
                        -EOPNOTSUPP);
    }
    jail_down(&rig);
}

/* All else is nowhere: this process's memory, the hole, what lies around. */
static void test_confined(void)
{
    static char secret[4096] __attribute__((aligned(4096)));
    char stack[64];
    const uint64_t nowhere[] = {
        (uintptr_t)secret, (uintptr_t)stack, (uintptr_t)&test_data,
        0, 4096, RING_JAIL_BASE - 4096, RING_JAIL_BASE + LOW_SIZE,
        RING_JAIL_BASE + HIGH_GPA - 4096, RING_JAIL_BASE + HIGH_GPA + HIGH_SIZE,
        0x7ffffffff000 - 4096, 1ull << 47, 1ull << 63, -4096ull,
    };
    JailRig rig;

    if (!jail_up(&rig)) {
        return;
    }
    memset(secret, 0x5e, sizeof(secret));
    jail_run(&rig);
    for (unsigned i = 0; i < ARRAY_SIZE(nowhere); i++) {
        g_assert_cmpint(jail_rw(&rig, IORING_OP_READV, nowhere[i], 64, 0), ==,
                        -EFAULT);
        g_assert_cmpint(jail_rw(&rig, IORING_OP_WRITEV, nowhere[i], 64, 0), ==,
                        -EFAULT);
    }
    rig_assert_all(secret, 0x5e, sizeof(secret));
    rig_assert_file_as_made(rig.file, 0, FILE_BYTES, 0);
    jail_down(&rig);
}

/* Whether its first thread is in read() (0 on x86-64) of the doorbell, fd 4 */
static bool waits_for_doorbell(JailRig *rig)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/syscall",
                                            ring_jail_pid(rig->jail));
    g_autofree char *now = NULL;

    return g_file_get_contents(path, &now, NULL, NULL) &&
           g_str_has_prefix(now, "0 0x4 0x0 0x8 ");
}

/* It sleeps between doorbells instead of spinning, and each one wakes it. */
static void test_sleeps(void)
{
    JailRig rig;

    if (access("/proc/self/syscall", R_OK)) {
        g_test_skip("needs /proc/PID/syscall to see what the jail does");
        return;
    }
    if (!jail_up(&rig)) {
        return;
    }
    jail_run(&rig);
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmpint(jail_rw(&rig, IORING_OP_READV,
                                RING_JAIL_BASE + DATA_GPA, 4096, 0), ==, 4096);
        RIG_AWAIT(waits_for_doorbell(&rig));
        RIG_AWAIT(*(uint32_t *)(rig.low + rig.layout.sq_flags) &
                  IORING_SQ_NEED_WAKEUP);
    }
    jail_down(&rig);
}

/* The disk's end is the end, though the file could grow. */
static void test_file_size(void)
{
    struct stat st;
    JailRig rig;

    if (!jail_up(&rig)) {
        return;
    }
    jail_run(&rig);
    g_assert_cmpint(jail_rw(&rig, IORING_OP_WRITEV, RING_JAIL_BASE + DATA_GPA,
                            4096, FILE_BYTES), ==, -EFBIG);
    g_assert_cmpint(jail_rw(&rig, IORING_OP_WRITEV, RING_JAIL_BASE + DATA_GPA,
                            8192, FILE_BYTES - 4096), ==, 4096);
    g_assert_cmpint(fstat(rig.file, &st), ==, 0);
    g_assert_cmpint(st.st_size, ==, FILE_BYTES);
    jail_down(&rig);
}

static bool jail_ends(JailRig *rig)
{
    struct pollfd pfd = { .fd = ring_jail_pidfd(rig->jail), .events = POLLIN };

    return poll(&pfd, 1, RIG_PATIENCE_MS) == 1;
}

static void test_killed(void)
{
    JailRig rig;

    if (!jail_up(&rig)) {
        return;
    }
    jail_run(&rig);
    ring_jail_kill(rig.jail);
    g_assert_true(jail_ends(&rig));
    /* It has ended a moment before its number is gone. */
    RIG_AWAIT(ring_jail_pid(rig.jail) == 0);
    jail_down(&rig);
}

/* One that is still being set up ends with its socket just as well. */
static void test_killed_early(void)
{
    JailRig rig;

    if (!jail_up(&rig)) {
        return;
    }
    ring_jail_kill(rig.jail);
    g_assert_true(jail_ends(&rig));
    jail_down(&rig);
}

/* Its launcher makes another one, and another. */
static void test_again(void)
{
    JailRig rig;

    if (!jail_up(&rig)) {
        return;
    }
    for (unsigned i = 0; i < 3; i++) {
        jail_run(&rig);
        g_assert_cmpint(jail_rw(&rig, IORING_OP_READV,
                                RING_JAIL_BASE + DATA_GPA, 4096, 0), ==, 4096);
        ring_jail_free(rig.jail);
        /* The last ring writes to its memory for a while. */
        new_memory(&rig);
        rig.jail = start_jail(&rig, &error_abort);
    }
    jail_down(&rig);
}

/* What comes out of order, or from another version, ends it with an answer. */
static void check_refused(const RingJailRequest *requests, unsigned n,
                          uint32_t step)
{
    RingJailReply reply;
    pid_t pid;
    int control = start_helper(&pid);

    for (unsigned i = 0; i < n; i++) {
        g_assert_cmpint(send(control, &requests[i], sizeof(*requests), 0), ==,
                        sizeof(*requests));
    }
    g_assert_cmpint(recv(control, &reply, sizeof(reply), 0), ==,
                    sizeof(reply));
    g_assert_cmpint(reply.step, ==, step);
    g_assert_cmpint(reply.error, ==, EPROTO);
    g_assert_cmpint(recv(control, &reply, sizeof(reply), 0), ==, 0);
    close(control);
    g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
}

static void test_order(void)
{
    for (unsigned type = RING_JAIL_CONFINE; type <= RING_JAIL_SPAWN + 1;
         type++) {
        RingJailRequest request = {
            .version = RING_JAIL_VERSION,
            .type = type,
        };

        /* All without the file descriptors that they need, or too early */
        check_refused(&request, 1, RING_JAIL_STEP_REQUEST);
    }
}

static void test_version(void)
{
    RingJailRequest request = {
        .version = RING_JAIL_VERSION + 1,
        .type = RING_JAIL_CONFINE,
    };

    check_refused(&request, 1, RING_JAIL_STEP_REQUEST);
}

/* Regions that overlap, go down, or leave the room that there is for them */
static void test_regions(void)
{
    static const struct { uint64_t gpa, size; } bad[] = {
        { 0, 4096 },
        { HIGH_GPA - 4096, 8192 },
        { HIGH_GPA + HIGH_SIZE, 0 },
        { RING_JAIL_END - RING_JAIL_BASE, 4096 },
        { -RING_JAIL_BASE, 4096 },
        { -4096ull, 8192 },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        RingJailRegion regions[2];
        RingJailConfig config = {
            .regions = regions,
            .num_regions = ARRAY_SIZE(regions),
        };
        Error *err = NULL;
        JailRig rig;

        if (!jail_up(&rig)) {
            return;
        }
        regions[0] = (RingJailRegion) {
            .gpa = HIGH_GPA, .size = HIGH_SIZE, .fd = rig.memory };
        regions[1] = (RingJailRegion) {
            .gpa = bad[i].gpa, .size = bad[i].size, .fd = rig.memory };
        config.launcher_fd = rig.launcher_socket;
        config.file_fd = rig.file;
        g_assert_null(ring_jail_new(&config, &err));
        g_assert_nonnull(err);
        error_free(err);
        jail_down(&rig);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    error_init(argv[0]);

    g_test_add_func("/ring-jail/data", test_data);
    g_test_add_func("/ring-jail/iopoll", test_iopoll);
    g_test_add_func("/ring-jail/confined", test_confined);
    g_test_add_func("/ring-jail/sleeps", test_sleeps);
    g_test_add_func("/ring-jail/file-size", test_file_size);
    g_test_add_func("/ring-jail/killed", test_killed);
    g_test_add_func("/ring-jail/killed-early", test_killed_early);
    g_test_add_func("/ring-jail/again", test_again);
    g_test_add_func("/ring-jail/refused/order", test_order);
    g_test_add_func("/ring-jail/refused/version", test_version);
    g_test_add_func("/ring-jail/refused/regions", test_regions);
    return g_test_run();
}
