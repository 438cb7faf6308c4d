/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest of virtio-blk-uring: rings are given up for who needs the disk, and the
 * driver learns when it may have others
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qapi/error.h"
#include "qemu/module.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "libqos/virtio-blk-uring-disk.h"

typedef struct Operation {
    const char *command;
    const char *arguments;
    const char *undo;           /* NULL: over at once */
    const char *undo_arguments;
    const char *says;           /* why there are no rings until then */
} Operation;

/* Each takes the disk while rings run, and none is refused. */
static const Operation operations[] = {
    { "block_resize", "{ 'device': 'drive0', 'size': 8388608 }" },
    { "block-dirty-bitmap-add", "{ 'node': 'drive0', 'name': 'bitmap0' }",
      "block-dirty-bitmap-remove", "{ 'node': 'drive0', 'name': 'bitmap0' }",
      "dirty bitmap" },
    { "block_set_io_throttle", "{ 'device': 'drive0', 'bps': 0, 'bps_rd': 0,"
      " 'bps_wr': 0, 'iops': 100, 'iops_rd': 0, 'iops_wr': 0 }",
      "block_set_io_throttle", "{ 'device': 'drive0', 'bps': 0, 'bps_rd': 0,"
      " 'bps_wr': 0, 'iops': 0, 'iops_rd': 0, 'iops_wr': 0 }",
      "throttled" },
    { "block-set-write-threshold", "{ 'node-name': 'node0',"
      " 'write-threshold': 1099511627776 }", "block-set-write-threshold",
      "{ 'node-name': 'node0', 'write-threshold': 0 }", "write threshold" },
};

static void run_operation(QVirtioBlkUring *u, const char *command,
                          const char *arguments)
{
    qtest_qmp_assert_success(u->qts, "{ 'execute': %s, 'arguments': %p }",
                             command, qobject_from_json(arguments,
                                                        &error_abort));
}

static bool error_says(QVirtioBlkUring *u, const char *what)
{
    g_autoptr(QDict) path = qvbu_query_path(u);

    return strstr(qdict_get_str(path, "error"), what);
}

/* The rings are gone at once, and the driver learns when it may have others. */
static void test_yields(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    unsigned i;

    qvbu_start(u, 1);
    for (i = 0; i < ARRAY_SIZE(operations); i++) {
        const Operation *operation = &operations[i];

        g_test_message("%s", operation->command);
        run_operation(u, operation->command, operation->arguments);
        qvbu_assert_state(u, VIRTIO_BLK_URING_DEAD,
                          VIRTIO_BLK_URING_REASON_BACKEND);
        g_assert_cmpuint(qvbu_command(u, VIRTIO_BLK_URING_CMD_BURIED), ==,
                         VIRTIO_BLK_URING_VIRTQUEUE);
        qvbu_check_virtqueue(&u->rings[0], data);
        if (operation->undo) {
            g_assert_cmpuint(qvbu_activate(u), ==, VIRTIO_BLK_URING_VIRTQUEUE);
            qvbu_await(error_says(u, operation->says));
            g_assert_false(qvbu_activatable(u));
            run_operation(u, operation->undo, operation->undo_arguments);
        }
        qvbu_await(qvbu_activatable(u));
        g_assert_cmpuint(qvbu_activate(u), ==, VIRTIO_BLK_URING_RING);
        qvbu_check_ring(&u->rings[0], data);
    }
    qvbu_cleanup(u);
}

/* A block job has the disk for itself for as long as it takes. */
static void test_backup(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    QVBUDisk *target = qvbu_disk_new();

    qvbu_disk_fill(data, 0, QVBU_DISK_BYTES, 1);
    qvbu_start(u, 1);
    qtest_qmp_assert_success(u->qts, "{ 'execute': 'drive-backup',"
                             " 'arguments': { 'device': 'drive0',"
                             " 'job-id': 'job0', 'target': %s,"
                             " 'format': 'raw', 'mode': 'existing',"
                             " 'sync': 'full' } }", target->path);
    qvbu_assert_state(u, VIRTIO_BLK_URING_DEAD,
                      VIRTIO_BLK_URING_REASON_BACKEND);
    qtest_qmp_eventwait(u->qts, "BLOCK_JOB_COMPLETED");
    qvbu_disk_check(target, 0, QVBU_DISK_BYTES, 1);
    g_assert_cmpuint(qvbu_command(u, VIRTIO_BLK_URING_CMD_BURIED), ==,
                     VIRTIO_BLK_URING_VIRTQUEUE);
    qvbu_await(qvbu_activatable(u));
    g_assert_cmpuint(qvbu_activate(u), ==, VIRTIO_BLK_URING_RING);
    qvbu_check_ring(&u->rings[0], data);
    qvbu_cleanup(u);
}

/* What came in between makes ACTIVATE fail, and says so. */
static void test_backend(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;

    qvbu_negotiate(u, 1, 0);
    qtest_qmp_assert_success(u->qts, "{ 'execute': 'block-dirty-bitmap-add',"
                             " 'arguments': { 'node': 'drive0',"
                             " 'name': 'bitmap0' } }");
    g_assert_cmpuint(qvbu_activate(u), ==, VIRTIO_BLK_URING_VIRTQUEUE);
    g_assert_cmpuint(qvbu_get(u, path_reason), ==,
                     VIRTIO_BLK_URING_REASON_BACKEND);
    qvbu_assert_path(u, "virtqueue", "backend");
    qvbu_check_virtqueue(&u->rings[0], data);

    qtest_qmp_assert_success(u->qts,
                             "{ 'execute': 'block-dirty-bitmap-remove',"
                             " 'arguments': { 'node': 'drive0',"
                             " 'name': 'bitmap0' } }");
    qvbu_await(qvbu_activatable(u));
    g_assert_cmpuint(qvbu_activate(u), ==, VIRTIO_BLK_URING_RING);
    qvbu_check_ring(&u->rings[0], data);
    qvbu_cleanup(u);
}

static void register_tests(void)
{
    QOSGraphTestOptions opts = { .before = qvbu_disk_before };

    qos_add_test("yield/operations", "virtio-blk-uring", test_yields, &opts);
    qos_add_test("yield/backup", "virtio-blk-uring", test_backup, &opts);
    qos_add_test("yield/before-activation", "virtio-blk-uring", test_backend,
                 &opts);
}

libqos_init(register_tests);
