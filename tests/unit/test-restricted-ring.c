/*
 * Restricted ring: what it executes and how that is told
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "ring-rig.h"

/* Lengths that are no multiple of anything, and one empty segment. */
static const size_t seg_lens[] = { 512, 1, 4096, 0, 777, 8192, 13 };

/* Spreads seg_lens over the data area with gaps; returns their sum. */
static size_t make_segments(RingRig *rig)
{
    size_t sum = 0;

    for (int i = 0; i < ARRAY_SIZE(seg_lens); i++) {
        rig->iov[i] = (struct iovec) {
            .iov_base = rig->data + i * 16384 + i,
            .iov_len = seg_lens[i],
        };
        sum += seg_lens[i];
    }
    return sum;
}

static void test_readv(void)
{
    const off_t offset = 4097;
    off_t at = offset;
    RingRig rig;
    size_t sum;

    if (!rig_begin(&rig)) {
        return;
    }
    sum = make_segments(&rig);
    memset(rig.data, 0x55, RIG_DATA_SIZE);

    g_assert_cmpint(rig_execute(&rig, rig_sqe(IORING_OP_READV,
                                              ARRAY_SIZE(seg_lens), rig.iov,
                                              offset)), ==, sum);
    for (int i = 0; i < ARRAY_SIZE(seg_lens); i++) {
        char *bytes = rig.iov[i].iov_base;

        for (size_t j = 0; j < seg_lens[i]; j++) {
            g_assert_cmpint(bytes[j], ==, rig_byte(at++, 0));
        }
        g_assert_cmpint(bytes[seg_lens[i]], ==, 0x55);
    }
    rig_destroy(&rig);
}

static void test_writev(void)
{
    const off_t offset = 8191;
    char bytes[16384];
    off_t at = 0;
    RingRig rig;
    size_t sum;

    if (!rig_begin(&rig)) {
        return;
    }
    sum = make_segments(&rig);
    g_assert_cmpint(sum, <=, sizeof(bytes));
    for (size_t i = 0; i < RIG_DATA_SIZE; i++) {
        rig.data[i] = rig_byte(i, 1);
    }

    g_assert_cmpint(rig_execute(&rig, rig_sqe(IORING_OP_WRITEV,
                                              ARRAY_SIZE(seg_lens), rig.iov,
                                              offset)), ==, sum);
    g_assert_cmpint(pread(rig.params.file_fd, bytes, sum, offset), ==, sum);
    for (int i = 0; i < ARRAY_SIZE(seg_lens); i++) {
        g_assert_cmpmem(bytes + at, seg_lens[i], rig.iov[i].iov_base,
                        seg_lens[i]);
        at += seg_lens[i];
    }
    rig_assert_file_as_made(rig.params.file_fd, 0, offset, 0);
    rig_assert_file_as_made(rig.params.file_fd, offset + sum, 4096, 0);
    rig_destroy(&rig);
}

static void test_fsync(void)
{
    struct io_uring_sqe sqe = rig_sqe(IORING_OP_FSYNC, 0, NULL, 0);
    RingRig rig;

    if (!rig_begin(&rig)) {
        return;
    }
    g_assert_cmpint(rig_execute(&rig, sqe), ==, 0);
    sqe.fsync_flags = IORING_FSYNC_DATASYNC;
    g_assert_cmpint(rig_execute(&rig, sqe), ==, 0);
    rig_destroy(&rig);
}

static void test_read_at_end(void)
{
    RingRig rig;

    if (!rig_begin(&rig)) {
        return;
    }
    g_assert_cmpint(rig_execute(&rig, rig_rw(&rig, IORING_OP_READV, 0, 4096,
                                             RIG_FILE_SIZE - 512)), ==, 512);
    g_assert_cmpint(rig_execute(&rig, rig_rw(&rig, IORING_OP_READV, 0, 4096,
                                             RIG_FILE_SIZE)), ==, 0);
    rig_destroy(&rig);
}

/* A failed request says so and does the ring no harm. */
static void test_bad_address(void)
{
    RingRig rig;
    char *hole;

    if (!rig_begin(&rig)) {
        return;
    }
    hole = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    g_assert(hole != MAP_FAILED);
    rig.iov[0] = (struct iovec) { hole, 512 };
    g_assert_cmpint(rig_execute(&rig, rig_sqe(IORING_OP_READV, 1, rig.iov, 0)),
                    ==, -EFAULT);
    g_assert_cmpint(rig_execute(&rig, rig_rw(&rig, IORING_OP_READV, 0, 512, 0)),
                    ==, 512);
    munmap(hole, 4096);
    rig_destroy(&rig);
}

/*
 * Indexes run past the ends of SQ and CQ many times, and each request is
 * completed once, under its own user_data.
 */
static void test_wrap(void)
{
    enum { BATCH = 3, BATCHES = 50 };
    RingRig rig;

    if (!rig_prepare(&rig)) {
        return;
    }
    rig.params.sq_entries = 4;
    rig.params.cq_entries = 8;
    rig_start(&rig);

    for (int batch = 0; batch < BATCHES; batch++) {
        struct io_uring_sqe sqes[BATCH];
        unsigned seen = 0;

        for (int i = 0; i < BATCH; i++) {
            off_t block = (batch * BATCH + i) % 256;

            rig.iov[i] = (struct iovec) { rig.data + i * 512, 512 };
            sqes[i] = rig_sqe(IORING_OP_READV, 1, &rig.iov[i], block * 512);
            sqes[i].user_data = batch * BATCH + i;
        }
        rig_publish(&rig, sqes, BATCH);
        for (int i = 0; i < BATCH; i++) {
            struct io_uring_cqe cqe = rig_reap(&rig);

            g_assert_cmpint(cqe.res, ==, 512);
            g_assert_cmpuint(cqe.user_data / BATCH, ==, batch);
            seen |= 1 << cqe.user_data % BATCH;
        }
        g_assert_cmpuint(seen, ==, (1 << BATCH) - 1);
        for (int i = 0; i < BATCH; i++) {
            g_assert_cmpint(rig.data[i * 512 + 7], ==,
                            rig_byte(sqes[i].off + 7, 0));
        }
    }
    rig_destroy(&rig);
}

/* Requests that complete at once, on whatever file system. */
static void fill_refused(struct io_uring_sqe *sqes, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        sqes[i] = rig_sqe(IORING_OP_NOP, 0, NULL, 0);
    }
}

static uint64_t read_eventfd(RingRig *rig)
{
    uint64_t count;

    g_assert_cmpint(read(event_notifier_get_fd(&rig->notifier), &count,
                         sizeof(count)), ==, sizeof(count));
    return count;
}

static void test_eventfd_batch(void)
{
    struct io_uring_sqe sqes[32];
    RingRig rig;

    if (!rig_prepare(&rig)) {
        return;
    }
    rig_create(&rig);
    fill_refused(sqes, ARRAY_SIZE(sqes));
    rig_publish_quietly(&rig, sqes, ARRAY_SIZE(sqes));
    g_assert_true(restricted_ring_enable(rig.ring, &error_abort));

    RIG_AWAIT(rig_cq_tail(&rig) == ARRAY_SIZE(sqes));
    RIG_AWAIT(rig_sleeps(&rig));
    g_assert_cmpuint(read_eventfd(&rig), ==, 1);
    rig_destroy(&rig);
}

static void test_eventfd_disabled(void)
{
    struct io_uring_sqe sqes[8];
    uint32_t *cq_flags;
    RingRig rig;

    if (!rig_begin(&rig)) {
        return;
    }
    fill_refused(sqes, ARRAY_SIZE(sqes));
    cq_flags = rig_word(&rig, rig.layout.cq_flags);

    qatomic_set(cq_flags, IORING_CQ_EVENTFD_DISABLED);
    rig_publish(&rig, sqes, ARRAY_SIZE(sqes));
    RIG_AWAIT(rig_cq_tail(&rig) == ARRAY_SIZE(sqes));
    g_assert_false(rig_signalled(&rig, RIG_NOTHING_MS));

    qatomic_set(cq_flags, 0);
    rig_publish(&rig, sqes, 1);
    g_assert_true(rig_signalled(&rig, RIG_PATIENCE_MS));
    rig_destroy(&rig);
}

static void test_no_eventfd(void)
{
    struct io_uring_sqe sqe = rig_sqe(IORING_OP_FSYNC, 0, NULL, 0);
    RingRig rig;

    if (!rig_prepare(&rig)) {
        return;
    }
    rig.params.event_fd = -1;
    rig_start(&rig);
    rig_publish(&rig, &sqe, 1);
    RIG_AWAIT(rig_cq_tail(&rig) == 1);
    g_assert_cmpint(rig_reap(&rig).res, ==, 0);
    rig_destroy(&rig);
}

static void test_doorbell(void)
{
    struct io_uring_sqe sqe;
    RingRig rig;

    if (!rig_begin(&rig)) {
        return;
    }
    sqe = rig_rw(&rig, IORING_OP_READV, 0, 512, 0);
    for (unsigned tries = 0; ; tries++) {
        RIG_AWAIT(rig_sleeps(&rig));
        rig_publish_quietly(&rig, &sqe, 1);
        if (rig_is_silent(&rig)) {
            break;
        }
        /* Between setting the flag and sleeping the thread looks once more. */
        g_assert_cmpuint(tries, <, 20);
        g_assert_cmpint(rig_reap(&rig).res, ==, 512);
    }

    restricted_ring_wakeup(rig.ring);
    g_assert_cmpint(rig_reap(&rig).res, ==, 512);
    rig_destroy(&rig);
}

/* Who shares the memory cannot talk us out of waking the thread. */
static void test_doorbell_flag_cleared(void)
{
    struct io_uring_sqe sqe;
    RingRig rig;

    if (!rig_begin(&rig)) {
        return;
    }
    RIG_AWAIT(rig_sleeps(&rig));
    qatomic_set(rig_word(&rig, rig.layout.sq_flags), 0);
    sqe = rig_rw(&rig, IORING_OP_READV, 0, 512, 0);
    rig_publish(&rig, &sqe, 1);
    g_assert_cmpint(rig_reap(&rig).res, ==, 512);
    rig_destroy(&rig);
}

static bool kernel_tells(RingRig *rig, RestrictedRingCounters *counters)
{
    restricted_ring_get_counters(rig->ring, counters);
    return counters->from_kernel;
}

/*
 * Counters from the kernel.  It tells none while the SQPOLL thread is busy,
 * which it still is for a moment after it has said that it sleeps.
 */
static RestrictedRingCounters get_counters(RingRig *rig)
{
    RestrictedRingCounters counters;

    RIG_AWAIT(rig_sleeps(rig));
    RIG_AWAIT(kernel_tells(rig, &counters));
    return counters;
}

static void test_counters(void)
{
    RestrictedRingCounters counters;
    RingRig rig;

    if (!rig_begin(&rig)) {
        return;
    }
    counters = get_counters(&rig);
    g_assert_cmpuint(counters.submitted, ==, 0);
    g_assert_cmpuint(counters.completed, ==, 0);

    for (int i = 0; i < 77; i++) {
        g_assert_cmpint(rig_execute(&rig, rig_rw(&rig, IORING_OP_READV, 0, 512,
                                                 512 * i)), ==, 512);
    }
    counters = get_counters(&rig);
    g_assert_cmpuint(counters.submitted, ==, 77);
    g_assert_cmpuint(counters.completed, ==, 77);
    rig_destroy(&rig);
}

/* A request in flight is submitted and not completed. */
static void test_counters_in_flight(void)
{
    RestrictedRingCounters counters;
    struct io_uring_sqe sqe;
    int pipefd[2];
    RingRig rig;

    if (!rig_have_io_uring()) {
        return;
    }
    g_assert_cmpint(pipe(pipefd), ==, 0);
    rig_init(&rig, pipefd[0]);
    rig_start(&rig);
    sqe = rig_rw(&rig, IORING_OP_READV, 0, 1, -1);
    rig_publish(&rig, &sqe, 1);

    RIG_AWAIT(get_counters(&rig).submitted == 1);
    counters = get_counters(&rig);
    g_assert_cmpuint(counters.completed, ==, 0);

    g_assert_cmpint(write(pipefd[1], "x", 1), ==, 1);
    g_assert_cmpint(rig_reap(&rig).res, ==, 1);
    g_assert_cmpuint(get_counters(&rig).completed, ==, 1);
    close(pipefd[1]);
    rig_destroy(&rig);
}

/* What the other side writes over the ring's indexes is not what counts. */
static void test_counters_forged(void)
{
    const RestrictedRingLayout *l;
    RestrictedRingCounters counters;
    RingRig rig;

    if (!rig_begin(&rig)) {
        return;
    }
    l = &rig.layout;
    g_assert_cmpint(rig_execute(&rig, rig_rw(&rig, IORING_OP_READV, 0, 512, 0)),
                    ==, 512);
    RIG_AWAIT(rig_sleeps(&rig));
    qatomic_set(rig_word(&rig, l->sq_head), 1000);
    qatomic_set(rig_word(&rig, l->cq_tail), 1000);
    counters = get_counters(&rig);
    g_assert_cmpuint(counters.submitted, ==, 1);
    g_assert_cmpuint(counters.completed, ==, 1);
    rig_destroy(&rig);
}

/*
 * A ring that polls the disk.  Whether there is a disk here that can be polled
 * nobody knows, but the page cache cannot.
 */

static bool begin_iopoll(RingRig *rig)
{
    if (!rig_prepare(rig)) {
        return false;
    }
    rig->params.iopoll = true;
    rig_start(rig);
    return true;
}

/* It says so, instead of reading without, in the way that all else comes. */
static void test_iopoll_unpolled(void)
{
    RingRig rig;

    if (!begin_iopoll(&rig)) {
        return;
    }
    memset(rig.data, 0x55, 512);
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmpint(rig_execute(&rig, rig_rw(&rig, IORING_OP_READV, 0, 512,
                                                 0)), ==, -EOPNOTSUPP);
        g_assert_cmpint(rig_execute(&rig, rig_rw(&rig, IORING_OP_WRITEV, 0,
                                                 512, 0)), ==, -EOPNOTSUPP);
    }
    rig_assert_all(rig.data, 0x55, 512);
    rig_assert_file_as_made(rig.params.file_fd, 0, 4096, 0);
    rig_destroy(&rig);
}

static void test_iopoll_fsync(void)
{
    RingRig rig;

    if (!begin_iopoll(&rig)) {
        return;
    }
    g_assert_cmpint(rig_execute(&rig, rig_sqe(IORING_OP_FSYNC, 0, NULL, 0)),
                    ==, -EINVAL);
    rig_destroy(&rig);
}

/* With nothing to poll for it sleeps as others do. */
static void test_iopoll_sleeps(void)
{
    RingRig rig;

    if (!begin_iopoll(&rig)) {
        return;
    }
    for (unsigned i = 0; i < 3; i++) {
        RIG_AWAIT(rig_sleeps(&rig));
        g_assert_cmpint(rig_execute(&rig, rig_rw(&rig, IORING_OP_READV, 0, 512,
                                                 0)), ==, -EOPNOTSUPP);
    }
    rig_destroy(&rig);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/restricted-ring/io/readv", test_readv);
    g_test_add_func("/restricted-ring/io/writev", test_writev);
    g_test_add_func("/restricted-ring/io/fsync", test_fsync);
    g_test_add_func("/restricted-ring/io/read-at-end", test_read_at_end);
    g_test_add_func("/restricted-ring/io/bad-address", test_bad_address);
    g_test_add_func("/restricted-ring/io/wrap", test_wrap);
    g_test_add_func("/restricted-ring/eventfd/once-per-batch",
                    test_eventfd_batch);
    g_test_add_func("/restricted-ring/eventfd/disabled", test_eventfd_disabled);
    g_test_add_func("/restricted-ring/eventfd/none", test_no_eventfd);
    g_test_add_func("/restricted-ring/doorbell/after-idle", test_doorbell);
    g_test_add_func("/restricted-ring/doorbell/flag-cleared",
                    test_doorbell_flag_cleared);
    g_test_add_func("/restricted-ring/counters/equal", test_counters);
    g_test_add_func("/restricted-ring/counters/in-flight",
                    test_counters_in_flight);
    g_test_add_func("/restricted-ring/counters/forged", test_counters_forged);

    g_test_add_func("/restricted-ring/iopoll/unpolled", test_iopoll_unpolled);
    g_test_add_func("/restricted-ring/iopoll/fsync", test_iopoll_fsync);
    g_test_add_func("/restricted-ring/iopoll/sleeps", test_iopoll_sleeps);

    return g_test_run();
}
