/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest of virtio-blk-uring: what its queues' rings have each for itself, which
 * is whether the host polls the disk, and whose thread serves it
 *
 * Tests of IOPOLL on a disk that can be polled are in tests/nested.
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qemu/module.h"
#include "qobject/qdict.h"
#include "libqos/virtio-blk-uring-disk.h"

/*
 * Polled queues of a disk that the host does not poll: the guest is not told
 * that it does, the administrator is told why not, and all works.
 */
static void check_no_iopoll(QVirtioBlkUring *u, QVBUDisk *disk,
                            const char *why)
{
    g_autoptr(QDict) path = NULL;
    unsigned i;

    qvbu_start(u, 2);
    for (i = 0; i < 2; i++) {
        qvbu_set(u, queue_select, i);
        g_assert_cmphex(qvbu_get(u, queue_flags), ==,
                        i ? VIRTIO_BLK_URING_QUEUE_POLL : 0);
        g_assert_cmpint(qvbu_query_flag(u, i, "polled"), ==, i);
        g_assert_false(qvbu_query_flag(u, i, "iopoll"));
        qvbu_check_ring(&u->rings[i], disk);
    }
    path = qvbu_query_path(u);
    g_assert_nonnull(strstr(qdict_get_str(path, "iopoll-error"), why));
    qvbu_cleanup(u);
}

static void test_iopoll_page_cache(void *obj, void *data,
                                   QGuestAllocator *alloc)
{
    check_no_iopoll(obj, data, "page cache");
}

static void test_iopoll_no_data(void *obj, void *data, QGuestAllocator *alloc)
{
    check_no_iopoll(obj, data, "no data");
}

static void test_iopoll_off(void *obj, void *data, QGuestAllocator *alloc)
{
    check_no_iopoll(obj, data, "iopoll is off");
}

/* Nobody asked for anything that is to be explained. */
static void test_iopoll_nothing(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    g_autoptr(QDict) path = NULL;

    qvbu_start(u, 1);
    path = qvbu_query_path(u);
    g_assert_cmpstr(qdict_get_str(path, "iopoll-error"), ==, "");
    g_assert_false(qvbu_query_flag(u, 0, "iopoll"));
    qvbu_cleanup(u);
}

/*
 * Four rings on three threads: each has its own doorbell and counters, whatever
 * the order in which they were made.
 */
static void test_shared_threads(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    unsigned i, round;

    qvbu_start(u, 4);
    for (round = 1; round <= 2; round++) {
        for (i = 0; i < 4; i++) {
            qvbu_await(qvbu_asleep(&u->rings[i]));
            qvbu_check_ring(&u->rings[i], data);
            g_assert_cmpuint(qvbu_query_counter(u, i, "completed"), ==,
                             2 * round);
        }
    }
    g_assert_cmpuint(qvbu_sqpoll_threads(u), ==, 3);
    qvbu_cleanup(u);
}

static void add(const char *name, QOSTestFunc func, const char *device,
                const char *drive)
{
    QOSGraphTestOptions opts = {
        .before = qvbu_disk_before,
        .arg = (void *)drive,
        .edge.extra_device_opts = device,
    };

    qos_add_test(name, "virtio-blk-uring-queues", func, &opts);
}

static void register_tests(void)
{
    add("iopoll/page-cache", test_iopoll_page_cache, "poll-queues=1", NULL);
    add("iopoll/no-data", test_iopoll_no_data, "poll-queues=1", "cache=none");
    add("iopoll/off", test_iopoll_off, "poll-queues=1,iopoll=off", NULL);
    add("iopoll/no-polled-queues", test_iopoll_nothing, NULL, NULL);
    add("threads/shared", test_shared_threads,
        "num-queues=2,poll-queues=2,sqpoll-threads=3", NULL);
}

libqos_init(register_tests);
