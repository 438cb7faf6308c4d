/*
 * What the ring tests have in common: a file, a ring on it, and the side that
 * publishes SQEs and reaps CQEs
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Waiting is for the ring's eventfd.  What has no event (the SQPOLL thread
 * falling asleep, a thread's end) is looked at once a millisecond.  Either ends
 * the test with a failure after RIG_PATIENCE_MS.
 */
#ifndef TEST_RING_RIG_H
#define TEST_RING_RIG_H

#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include "qapi/error.h"
#include "qemu/atomic.h"
#include "qemu/event_notifier.h"
#include "block/restricted-ring.h"

#define RIG_PATIENCE_MS 20000
/* How long is waited for what must not happen. */
#define RIG_NOTHING_MS  60

#define RIG_FILE_SIZE   (256 * 1024)
#define RIG_DATA_SIZE   (256 * 1024)

typedef struct RingRig {
    RestrictedRingParams params;    /* a test changes them before rig_start() */
    RestrictedRing *ring;
    RestrictedRingLayout layout;    /* outlives the ring */
    EventNotifier notifier;
    char *mem;
    size_t mem_size;
    struct iovec *iov;              /* a page of them */
    char *data;
    uint32_t sq_tail, cq_head;      /* ours */
} RingRig;

/* The byte at @offset of a file that was filled with @seed. */
static inline char rig_byte(off_t offset, unsigned seed)
{
    return (offset * 7 + (offset >> 8) * 13 + seed * 101) & 0xff;
}

/*
 * A file in a directory that is on a disk as a rule (tmpfs has no O_DIRECT
 * worth the name); its name is gone already, and the fd is the caller's.
 */
static inline int rig_temp_file(off_t size, unsigned seed)
{
    g_autofree char *name = g_strdup("/var/tmp/ring-test-XXXXXX");
    g_autofree char *bytes = g_malloc(size);
    int fd = g_mkstemp_full(name, O_RDWR | O_CLOEXEC, 0600);

    g_assert_cmpint(fd, >=, 0);
    unlink(name);
    for (off_t i = 0; i < size; i++) {
        bytes[i] = rig_byte(i, seed);
    }
    g_assert_cmpint(pwrite(fd, bytes, size, 0), ==, size);
    return fd;
}

/* Skips the test if the kernel cannot do what all of these tests need. */
static inline bool rig_have_io_uring(void)
{
    /* No SQPOLL: its thread might still be there when a test counts them. */
    struct io_uring_params p = { .flags = IORING_SETUP_NO_SQARRAY };
    int fd = syscall(__NR_io_uring_setup, 1, &p);

    if (fd >= 0) {
        close(fd);
        return true;
    }
    switch (errno) {
    case ENOSYS:
        g_test_skip("io_uring (not in this kernel, or hidden by seccomp)");
        break;
    case EPERM:
        g_test_skip("io_uring (sysctl kernel.io_uring_disabled, or seccomp)");
        break;
    case EINVAL:
        g_test_skip("IORING_SETUP_NO_SQARRAY (Linux 6.6)");
        break;
    default:
        g_error("io_uring_setup: %s", strerror(errno));
    }
    return false;
}

/* Memory and parameters of a ring on @file_fd, which becomes the rig's. */
static inline void rig_init(RingRig *rig, int file_fd)
{
    size_t page = qemu_real_host_page_size();
    size_t ring_size = 2 * page;
    size_t sqe_size = page;

    memset(rig, 0, sizeof(*rig));
    rig->mem_size = ring_size + sqe_size + page + RIG_DATA_SIZE;
    rig->mem = mmap(NULL, rig->mem_size, PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    g_assert(rig->mem != MAP_FAILED);
    rig->iov = (struct iovec *)(rig->mem + ring_size + sqe_size);
    rig->data = rig->mem + ring_size + sqe_size + page;
    g_assert_cmpint(event_notifier_init(&rig->notifier, 0), ==, 0);

    rig->params = (RestrictedRingParams) {
        .ring_mem = rig->mem,
        .ring_size = ring_size,
        .sqe_mem = rig->mem + ring_size,
        .sqe_size = sqe_size,
        .sq_entries = 32,
        .cq_entries = 64,
        .idle_ms = 20,
        .cpu = -1,
        .attach_fd = -1,
        .file_fd = file_fd,
        .event_fd = event_notifier_get_fd(&rig->notifier),
    };
}

/* A disabled ring. */
static inline void rig_create(RingRig *rig)
{
    rig->ring = restricted_ring_new(&rig->params, &error_abort);
    rig->layout = *restricted_ring_layout(rig->ring);
    rig->sq_tail = 0;
    rig->cq_head = 0;
}

static inline void rig_start(RingRig *rig)
{
    rig_create(rig);
    g_assert_true(restricted_ring_enable(rig->ring, &error_abort));
}

static inline void rig_free_ring(RingRig *rig)
{
    restricted_ring_free(rig->ring);
    rig->ring = NULL;
}

static inline void rig_destroy(RingRig *rig)
{
    rig_free_ring(rig);
    event_notifier_cleanup(&rig->notifier);
    if (rig->params.file_fd >= 0) {
        close(rig->params.file_fd);
    }
    munmap(rig->mem, rig->mem_size);
}

/* A rig on a file of its own, without a ring; false: the test is skipped. */
static inline bool rig_prepare(RingRig *rig)
{
    if (!rig_have_io_uring()) {
        return false;
    }
    rig_init(rig, rig_temp_file(RIG_FILE_SIZE, 0));
    return true;
}

/* The same, with an enabled ring. */
static inline bool rig_begin(RingRig *rig)
{
    if (!rig_prepare(rig)) {
        return false;
    }
    rig_start(rig);
    return true;
}

static inline uint32_t *rig_word(RingRig *rig, uint32_t offset)
{
    return (uint32_t *)(rig->mem + offset);
}

static inline uint32_t rig_cq_tail(RingRig *rig)
{
    return qatomic_load_acquire(rig_word(rig, rig->layout.cq_tail));
}

static inline struct io_uring_sqe rig_sqe(uint8_t opcode, unsigned nsegs,
                                          struct iovec *iov, off_t offset)
{
    return (struct io_uring_sqe) {
        .opcode = opcode,
        .flags = IOSQE_FIXED_FILE,
        .addr = (uintptr_t)iov,
        .len = nsegs,
        .off = offset,
    };
}

/* Segment 0: @len bytes at the data area's @at. */
static inline struct io_uring_sqe rig_rw(RingRig *rig, uint8_t opcode,
                                         size_t at, size_t len, off_t offset)
{
    rig->iov[0] = (struct iovec) { rig->data + at, len };
    return rig_sqe(opcode, 1, rig->iov, offset);
}

/* Publishes without ringing the doorbell. */
static inline void rig_publish_quietly(RingRig *rig,
                                       const struct io_uring_sqe *sqes,
                                       unsigned n)
{
    const RestrictedRingLayout *l = &rig->layout;
    struct io_uring_sqe *sq = rig->params.sqe_mem;

    for (unsigned i = 0; i < n; i++) {
        sq[rig->sq_tail++ & (l->sq_entries - 1)] = sqes[i];
    }
    qatomic_store_release(rig_word(rig, l->sq_tail), rig->sq_tail);
}

static inline void rig_publish(RingRig *rig, const struct io_uring_sqe *sqes,
                               unsigned n)
{
    rig_publish_quietly(rig, sqes, n);
    restricted_ring_wakeup(rig->ring);
}

/* Whether the eventfd is signalled within @ms; clears it. */
static inline bool rig_signalled(RingRig *rig, int ms)
{
    struct pollfd pfd = {
        .fd = event_notifier_get_fd(&rig->notifier),
        .events = POLLIN,
    };

    return RETRY_ON_EINTR(poll(&pfd, 1, ms)) > 0 &&
           event_notifier_test_and_clear(&rig->notifier);
}

/* Waits for the next CQE and takes it. */
static inline struct io_uring_cqe rig_reap(RingRig *rig)
{
    const RestrictedRingLayout *l = &rig->layout;
    struct io_uring_cqe *cq = (struct io_uring_cqe *)(rig->mem + l->cqes);
    struct io_uring_cqe cqe;

    while (rig_cq_tail(rig) == rig->cq_head) {
        g_assert_true(rig_signalled(rig, RIG_PATIENCE_MS));
    }
    cqe = cq[rig->cq_head++ & (l->cq_entries - 1)];
    qatomic_store_release(rig_word(rig, l->cq_head), rig->cq_head);
    return cqe;
}

/* Has one request executed: its result. */
static inline int rig_execute(RingRig *rig, struct io_uring_sqe sqe)
{
    rig_publish(rig, &sqe, 1);
    return rig_reap(rig).res;
}

/*
 * Whether nothing completes for a while, though it could.  A signal may be a
 * late one, for what was reaped before.
 */
static inline bool rig_is_silent(RingRig *rig)
{
    while (rig_cq_tail(rig) == rig->cq_head) {
        if (!rig_signalled(rig, RIG_NOTHING_MS)) {
            return rig_cq_tail(rig) == rig->cq_head;
        }
    }
    return false;
}

#define RIG_AWAIT(condition)                                        \
    do {                                                            \
        int64_t end_ = g_get_monotonic_time() +                     \
                       RIG_PATIENCE_MS * 1000LL;                    \
        while (!(condition)) {                                      \
            g_assert_cmpint(g_get_monotonic_time(), <, end_);       \
            g_usleep(1000);                                         \
        }                                                           \
    } while (0)

static inline bool rig_sleeps(RingRig *rig)
{
    return qatomic_read(rig_word(rig, rig->layout.sq_flags)) &
           IORING_SQ_NEED_WAKEUP;
}

/* Threads of this process that execute rings. */
static inline unsigned rig_sqpoll_threads(void)
{
    g_autoptr(GDir) dir = g_dir_open("/proc/self/task", 0, NULL);
    const char *tid;
    unsigned n = 0;

    g_assert_nonnull(dir);
    while ((tid = g_dir_read_name(dir))) {
        g_autofree char *path = g_strdup_printf("/proc/self/task/%s/comm", tid);
        g_autofree char *comm = NULL;

        if (g_file_get_contents(path, &comm, NULL, NULL)) {
            n += g_str_has_prefix(comm, "iou-sqp");
        }
    }
    return n;
}

/*
 * Whether file @fd holds, from @offset, the @len bytes that were written to
 * it when it was made.
 */
static inline void rig_assert_file_as_made(int fd, off_t offset, size_t len,
                                           unsigned seed)
{
    g_autofree char *bytes = g_malloc(len);

    g_assert_cmpint(pread(fd, bytes, len, offset), ==, len);
    for (size_t i = 0; i < len; i++) {
        g_assert_cmpint(bytes[i], ==, rig_byte(offset + i, seed));
    }
}

static inline void rig_assert_all(const char *bytes, char value, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        g_assert_cmpint(bytes[i], ==, value);
    }
}

#endif /* TEST_RING_RIG_H */
