/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest of virtio-blk-uring: operations on a running machine that are refused,
 * each with a sentence and without harm to what goes on
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qapi/error.h"
#include "qemu/module.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "libqos/virtio-blk-uring-disk.h"

#define MAX_PARTS   4

typedef struct Refusal {
    const char *command;
    const char *arguments;
    const char *says[MAX_PARTS];    /* parts of the sentence */
} Refusal;

/* While rings run on drive0 */
static const Refusal refusals[] = {
    { "qom-set", "{ 'path': '/machine/peripheral/drv0', 'property': "
      "'isolation', 'value': 'none' }",
      { "'isolation'", "after it was realized" } },
    { "qom-set", "{ 'path': '/machine/peripheral/drv0', 'property': "
      "'path-state', 'value': 'ring' }", { "path-state" } },
    { "eject", "{ 'device': 'drive0', 'force': true }",
      { "'drive0'", "not removable" } },
    { "blockdev-del", "{ 'node-name': 'node0' }", { "node0", "in use" } },
    { "device_add", "{ 'driver': 'virtio-blk-pci', 'drive': 'node0' }",
      { "conflict", "drive0" } },
    { "device_add", "{ 'driver': 'virtio-blk-uring', 'drive': 'other', "
      "'isolation': 'none', 'werror': 'stop' }",
      { "werror is set", "without QEMU seeing them", "werror=report" } },
    { "device_add", "{ 'driver': 'virtio-blk-uring', 'drive': 'other', "
      "'isolation': 'none', 'rerror': 'ignore' }",
      { "rerror is set", "without QEMU seeing them", "rerror=report" } },
    { "device_add", "{ 'driver': 'virtio-blk-uring', 'drive': 'null', "
      "'isolation': 'none' }",
      { "'null' is 'null-co'", "raw image", "passthrough=off" } },
};

static void assert_says(const char *sentence, const char *const *says)
{
    for (unsigned i = 0; i < MAX_PARTS && says[i]; i++) {
        if (!strstr(sentence, says[i])) {
            g_error("'%s' does not say '%s'", sentence, says[i]);
        }
    }
}

/* Rings do, or may be had again if it took a drain to find out. */
static void check_goes_on(QVirtioBlkUring *u, QVBUDisk *disk)
{
    if (qvbu_get(u, path_state) == VIRTIO_BLK_URING_DEAD) {
        qvbu_command(u, VIRTIO_BLK_URING_CMD_BURIED);
        qvbu_await(qvbu_activatable(u));
        qvbu_activate(u);
    }
    qvbu_assert_state(u, VIRTIO_BLK_URING_RING, VIRTIO_BLK_URING_REASON_NONE);
    qvbu_check_ring(&u->rings[0], disk);
}

static void add_node(QVirtioBlkUring *u, const char *node)
{
    qtest_qmp_assert_success(u->qts, "{ 'execute': 'blockdev-add',"
                             " 'arguments': %p }",
                             qobject_from_json(node, &error_abort));
}

static void test_operations(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    QVBUDisk *other = qvbu_disk_new();
    g_autofree char *node = g_strdup_printf(
        "{ 'driver': 'raw', 'node-name': 'other', 'file': {"
        " 'driver': 'file', 'filename': '%s' } }", other->path);

    add_node(u, node);
    add_node(u, "{ 'driver': 'null-co', 'node-name': 'null' }");
    qvbu_start(u, 1);
    for (unsigned i = 0; i < ARRAY_SIZE(refusals); i++) {
        const Refusal *refusal = &refusals[i];
        QDict *error = qtest_qmp_assert_failure_ref(
            u->qts, "{ 'execute': %s, 'arguments': %p }", refusal->command,
            qobject_from_json(refusal->arguments, &error_abort));

        g_test_message("%s: %s", refusal->command,
                       qdict_get_str(error, "desc"));
        assert_says(qdict_get_str(error, "desc"), refusal->says);
        qobject_unref(error);
        check_goes_on(u, data);
    }
    qvbu_cleanup(u);
}

/* A raw image has no place for a snapshot, with or without rings. */
static void test_snapshots(void *obj, void *data, QGuestAllocator *alloc)
{
    static const char *const says[] = { "drive0", "writable",
                                        "not support snapshots", NULL };
    static const char *const commands[] = { "savevm one", "loadvm one" };
    QVirtioBlkUring *u = obj;

    qvbu_start(u, 1);
    for (unsigned i = 0; i < ARRAY_SIZE(commands); i++) {
        g_autofree char *sentence = qtest_hmp(u->qts, "%s", commands[i]);

        g_test_message("%s: %s", commands[i], sentence);
        assert_says(sentence, says);
        /* loadvm has stopped the machine before it found out. */
        qtest_qmp_assert_success(u->qts, "{ 'execute': 'cont' }");
        check_goes_on(u, data);
    }
    qvbu_cleanup(u);
}

/* What the guest was never told of cannot be switched on. */
static void test_never_offered(void *obj, void *data, QGuestAllocator *alloc)
{
    static const char *const says[] = { "told at start", "no passthrough",
                                        "start the device with "
                                        "passthrough=on", NULL };
    QVirtioBlkUring *u = obj;
    QDict *error = qtest_qmp_assert_failure_ref(
        u->qts, "{ 'execute': 'qom-set', 'arguments': {"
        " 'path': '/machine/peripheral/drv0', 'property': 'passthrough',"
        " 'value': 'on' } }");

    assert_says(qdict_get_str(error, "desc"), says);
    qobject_unref(error);
}

/* Migration */

typedef struct Arrival {
    const char *name;
    const char *device;             /* at the destination */
    const char *says[MAX_PARTS];
} Arrival;

/* Of a guest whose driver knows rings, from a device with one queue */
static const Arrival arrivals[] = {
    { "other-queues", "virtio-blk-uring,drive=drive0,num-queues=2,vectors=3",
      { "num_rings", "num-queues and poll-queues", "those of the source" } },
    /* What QEMU says of any device whose vectors are others. */
    { "other-vectors", "virtio-blk-uring,drive=drive0,num-queues=2",
      { "Bad config data", "0000:00:04.0" } },
    { "stock", "virtio-blk-pci,drive=drive0,num-queues=1,vectors=3",
      { "Failed to load virtio-blk" } },
    { "never-offered", "virtio-blk-uring,drive=drive0,num-queues=1,"
      "passthrough=off,sqpoll-idle-ms=0",
      { "knows of rings", "could never have", "at the source" } },
};

static bool migration_is(QTestState *qts, const char *status)
{
    g_autoptr(QDict) answer = qtest_qmp(qts, "{ 'execute': 'query-migrate' }");

    return !strcmp(qdict_get_try_str(qdict_get_qdict(answer, "return"),
                                     "status") ?: "", status);
}

static void test_arrivals(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    QVBUDisk *disk = data;
    g_autofree char *file = g_strdup_printf("%s.vm", disk->path);
    g_autofree char *uri = g_strdup_printf("file:%s", file);

    qvbu_start(u, 1);
    qtest_qmp_assert_success(u->qts, "{ 'execute': 'migrate', 'arguments': {"
                             " 'uri': %s } }", uri);
    qvbu_await(migration_is(u->qts, "completed"));
    for (unsigned i = 0; i < ARRAY_SIZE(arrivals); i++) {
        const Arrival *arrival = &arrivals[i];
        g_autofree char *options = g_strdup_printf(
            "exec %s -M pc -accel qtest -display none "
            "-object memory-backend-memfd,id=ram,size=128M,share=on "
            "-machine memory-backend=ram "
            "-drive if=none,id=drive0,format=raw,file.locking=off,file=%s "
            "-device %s%s,addr=04.0 -incoming %s",
            getenv("QTEST_QEMU_BINARY"), disk->path, arrival->device,
            strstr(arrival->device, "uring") ? ",isolation=none" : "", uri);
        char *argv[] = { (char *)"/bin/sh", (char *)"-c", options, NULL };
        g_autoptr(GError) error = NULL;
        g_autofree char *err = NULL;
        int status;

        g_spawn_sync(NULL, argv, NULL, G_SPAWN_DEFAULT, NULL, NULL, NULL,
                     &err, &status, &error);
        g_assert_no_error(error);
        g_test_message("%s: %s", arrival->name, err);
        g_assert_true(WIFEXITED(status) && WEXITSTATUS(status));
        assert_says(err, arrival->says);
    }
    unlink(file);
    qvbu_cleanup(u);
}

static void register_tests(void)
{
    QOSGraphTestOptions opts = { .before = qvbu_disk_before };

    qos_add_test("operations", "virtio-blk-uring-refused", test_operations,
                 &opts);
    qos_add_test("snapshots", "virtio-blk-uring-refused", test_snapshots,
                 &opts);
    qos_add_test("arrivals", "virtio-blk-uring-refused", test_arrivals, &opts);
    opts.edge.extra_device_opts = "passthrough=off";
    qos_add_test("never-offered", "virtio-blk-uring-refused",
                 test_never_offered, &opts);
}

libqos_init(register_tests);
