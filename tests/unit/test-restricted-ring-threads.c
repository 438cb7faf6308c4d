/*
 * Restricted ring: SQPOLL threads, own and shared, and the end
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "ring-rig.h"

static void assert_reads(RingRig *rig, unsigned seed)
{
    memset(rig->data, 0x55, 512);
    g_assert_cmpint(rig_execute(rig, rig_rw(rig, IORING_OP_READV, 0, 512, 0)),
                    ==, 512);
    for (int i = 0; i < 512; i++) {
        g_assert_cmpint(rig->data[i], ==, rig_byte(i, seed));
    }
}

/*
 * Two rigs, on files of seed 0 and 1; threads of earlier tests are gone.  @b
 * shares @a's thread, if @shared, and is still to be started.
 */
static bool prepare_pair(RingRig *a, RingRig *b, bool shared)
{
    if (!rig_prepare(a)) {
        return false;
    }
    RIG_AWAIT(rig_sqpoll_threads() == 0);
    rig_init(b, rig_temp_file(RIG_FILE_SIZE, 1));
    rig_start(a);
    if (shared) {
        b->params.attach_fd = restricted_ring_fd(a->ring);
    }
    return true;
}

static bool begin_pair(RingRig *a, RingRig *b, bool shared)
{
    if (!prepare_pair(a, b, shared)) {
        return false;
    }
    rig_start(b);
    return true;
}

static void test_own_threads(void)
{
    RingRig a, b;

    if (!begin_pair(&a, &b, false)) {
        return;
    }
    assert_reads(&a, 0);
    assert_reads(&b, 1);
    RIG_AWAIT(rig_sqpoll_threads() == 2);
    rig_destroy(&a);
    rig_destroy(&b);
}

static void test_shared_thread(void)
{
    RingRig a, b;

    if (!begin_pair(&a, &b, true)) {
        return;
    }
    assert_reads(&a, 0);
    assert_reads(&b, 1);
    assert_reads(&a, 0);
    RIG_AWAIT(rig_sqpoll_threads() == 1);
    rig_destroy(&a);
    rig_destroy(&b);
}

/* Rights go with the ring, not with the thread. */
static void test_shared_restrictions(void)
{
    RingRig a, b;

    if (!prepare_pair(&a, &b, true)) {
        return;
    }
    b.params.readonly = true;
    rig_start(&b);
    g_assert_cmpint(rig_execute(&a, rig_rw(&a, IORING_OP_WRITEV, 0, 512, 0)),
                    ==, 512);
    g_assert_cmpint(rig_execute(&b, rig_rw(&b, IORING_OP_WRITEV, 0, 512, 0)),
                    ==, -EACCES);
    rig_assert_file_as_made(b.params.file_fd, 0, RIG_FILE_SIZE, 1);
    rig_destroy(&a);
    rig_destroy(&b);
}

/* A thread that polls a disk for one ring and not for the other */
static void test_shared_iopoll(void)
{
    RingRig a, b;

    if (!prepare_pair(&a, &b, true)) {
        return;
    }
    b.params.iopoll = true;
    rig_start(&b);
    for (unsigned i = 0; i < 2; i++) {
        g_assert_cmpint(rig_execute(&b, rig_rw(&b, IORING_OP_READV, 0, 512, 0)),
                        ==, -EOPNOTSUPP);
        assert_reads(&a, 0);
        RIG_AWAIT(rig_sleeps(&a) && rig_sleeps(&b));
    }
    rig_destroy(&a);
    rig_destroy(&b);
}

/* The thread outlives the ring that brought it. */
static void test_shared_first_gone(void)
{
    RingRig a, b;

    if (!begin_pair(&a, &b, true)) {
        return;
    }
    rig_destroy(&a);
    assert_reads(&b, 1);
    RIG_AWAIT(rig_sleeps(&b));
    assert_reads(&b, 1);
    RIG_AWAIT(rig_sqpoll_threads() == 1);
    rig_destroy(&b);
}

/* The end */

static void test_thread_ends(void)
{
    RingRig rig;

    if (!rig_prepare(&rig)) {
        return;
    }
    rig_start(&rig);
    RIG_AWAIT(rig_sqpoll_threads() > 0);
    rig_free_ring(&rig);
    RIG_AWAIT(rig_sqpoll_threads() == 0);
    rig_destroy(&rig);
}

static void test_free_null(void)
{
    restricted_ring_free(NULL);
}

/*
 * A READV waits on an empty pipe when the ring is freed.  That the kernel has
 * let go of the pipe is told by POLLERR at its other end; the request then must
 * have left everything alone.
 */
static void test_free_in_flight(void)
{
    struct pollfd writer = { .events = 0 };
    struct io_uring_sqe sqe;
    int pipefd[2];
    RingRig rig;

    if (!rig_have_io_uring()) {
        return;
    }
    g_assert_cmpint(pipe(pipefd), ==, 0);
    writer.fd = pipefd[1];
    rig_init(&rig, pipefd[0]);
    rig_start(&rig);
    memset(rig.data, 0x55, 4096);
    sqe = rig_rw(&rig, IORING_OP_READV, 0, 4096, -1);
    rig_publish(&rig, &sqe, 1);
    /* A new ring is asleep: that it sleeps alone would say nothing. */
    RIG_AWAIT(qatomic_read(rig_word(&rig, rig.layout.sq_head)) == 1);
    RIG_AWAIT(rig_sleeps(&rig));

    close(rig.params.file_fd);
    rig.params.file_fd = -1;
    g_assert_cmpint(poll(&writer, 1, 0), ==, 0);
    rig_free_ring(&rig);
    g_assert_cmpint(poll(&writer, 1, RIG_PATIENCE_MS), ==, 1);
    g_assert_cmpint(writer.revents, ==, POLLERR);
    rig_assert_all(rig.data, 0x55, 4096);
    close(pipefd[1]);
    rig_destroy(&rig);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/restricted-ring/threads/own", test_own_threads);
    g_test_add_func("/restricted-ring/threads/shared", test_shared_thread);
    g_test_add_func("/restricted-ring/threads/shared-restrictions",
                    test_shared_restrictions);
    g_test_add_func("/restricted-ring/threads/shared-iopoll",
                    test_shared_iopoll);
    g_test_add_func("/restricted-ring/threads/shared-first-gone",
                    test_shared_first_gone);
    g_test_add_func("/restricted-ring/free/thread-ends", test_thread_ends);
    g_test_add_func("/restricted-ring/free/null", test_free_null);
    g_test_add_func("/restricted-ring/free/in-flight", test_free_in_flight);

    return g_test_run();
}
