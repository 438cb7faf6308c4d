/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest of virtio-blk-uring: what the administrator is told, by QMP when asked
 * and unasked, and in the human monitor
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qemu/module.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "qobject/qnum.h"
#include "libqos/virtio-blk-uring-disk.h"

#define EVENT       "VIRTIO_BLK_URING_PATH_CHANGE"
#define DRV0        "/machine/peripheral/drv0"
#define OTHER       "/machine/peripheral/other"
#define OTHER_SLOT  6

/* Of -machine pc */
#define ACPI_PCIHP_EJECT 0xae08

/* What docs/system/devices says of the events of a device */
#define BURST       16
#define PERIOD_NS   (250 * 1000 * 1000)

/* The query */

static QList *query_all(QTestState *qts)
{
    g_autoptr(QDict) answer =
        qtest_qmp(qts, "{ 'execute': 'query-virtio-blk-uring' }");

    g_assert_true(qdict_haskey(answer, "return"));
    return qobject_ref(qdict_get_qlist(answer, "return"));
}

/* The device number @index of @count */
static QDict *query_nth(QTestState *qts, unsigned index, unsigned count)
{
    g_autoptr(QList) all = query_all(qts);
    QObject *found = NULL;

    g_assert_cmpuint(qlist_size(all), ==, count);
    do {
        qobject_unref(found);
        found = qlist_pop(all);
    } while (index--);
    return qobject_to(QDict, found);
}

/* The command says what the property says, unless something comes between. */
static bool query_is_path(QVirtioBlkUring *u)
{
    g_autoptr(QDict) info = query_nth(u->qts, 0, 1);
    g_autoptr(QDict) path = qvbu_query_path(u);

    return qobject_is_equal(QOBJECT(info), QOBJECT(path));
}

/* Checks what has to be true always. */
static void check_query(QVirtioBlkUring *u, const char *state,
                        const char *reason, const char *error,
                        bool passthrough)
{
    g_autoptr(QDict) info = NULL;
    QListEntry *entry;
    uint64_t in_flight = 0;
    unsigned n = 0;

    qvbu_await(query_is_path(u));
    info = query_nth(u->qts, 0, 1);
    g_assert_cmpstr(qdict_get_str(info, "id"), ==, "drv0");
    g_assert_cmpstr(qdict_get_str(info, "qom-path"), ==, DRV0);
    g_assert_cmpstr(qdict_get_str(info, "state"), ==, state);
    g_assert_cmpstr(qdict_get_str(info, "reason"), ==, reason);
    if (*error) {
        g_assert_nonnull(strstr(qdict_get_str(info, "error"), error));
    } else {
        g_assert_cmpstr(qdict_get_str(info, "error"), ==, "");
    }
    g_assert_cmpstr(qdict_get_str(info, "iopoll-error"), ==, "");
    g_assert_cmpstr(qdict_get_str(info, "isolation"), ==, "process");
    g_assert_true(qdict_get_bool(info, "offered"));
    g_assert_cmpint(qdict_get_bool(info, "passthrough"), ==, passthrough);

    QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "rings"), entry) {
        QDict *ring = qobject_to(QDict, qlist_entry_obj(entry));
        bool has_rings = !strcmp(state, "ring") ||
                         !strcmp(state, "suspending");

        g_assert_cmpint(qdict_get_int(ring, "queue"), ==, n++);
        g_assert_cmpint(qdict_get_bool(ring, "active"), ==, has_rings);
        in_flight += qdict_get_int(ring, "in-flight");
    }
    g_assert_cmpuint(n, ==, 2);
    g_assert_cmpint(qdict_get_int(info, "in-flight"), ==, in_flight);
}

/* The windows are those of which the driver knows. */
static void check_windows(QVirtioBlkUring *u)
{
    g_autoptr(QDict) info = query_nth(u->qts, 0, 1);
    QListEntry *entry;
    unsigned n = 0;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "windows"), entry) {
        QDict *window = qobject_to(QDict, qlist_entry_obj(entry));

        qvbu_set(u, window_select, n++);
        g_assert_cmphex(qdict_get_int(window, "guest-address"), ==,
                        qvbu_get(u, window_gpa));
        g_assert_cmphex(qdict_get_int(window, "size"), ==,
                        qvbu_get(u, window_size));
        g_assert_cmphex(qdict_get_int(window, "ring-address"), ==,
                        qvbu_get(u, window_addr));
    }
    g_assert_cmpuint(n, ==, u->desc.num_windows);
}

static bool is_jail(int64_t pid)
{
    g_autofree char *file = g_strdup_printf("/proc/%" PRId64 "/comm", pid);
    g_autofree char *comm = NULL;

    return g_file_get_contents(file, &comm, NULL, NULL) &&
           !strcmp(comm, "qemu-ring-jail\n");
}

static int64_t query_number(QVirtioBlkUring *u, const char *key)
{
    g_autoptr(QDict) info = query_nth(u->qts, 0, 1);

    return qdict_get_int(info, key);
}

static void add_bitmap(QVirtioBlkUring *u)
{
    qtest_qmp_assert_success(u->qts, "{ 'execute': 'block-dirty-bitmap-add',"
                             " 'arguments': { 'node': 'drive0',"
                             " 'name': 'bitmap0' } }");
}

static void remove_bitmap(QVirtioBlkUring *u)
{
    qtest_qmp_assert_success(u->qts,
                             "{ 'execute': 'block-dirty-bitmap-remove',"
                             " 'arguments': { 'node': 'drive0',"
                             " 'name': 'bitmap0' } }");
}

static void test_query(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;

    qvbu_negotiate(u, 2, 0);
    check_query(u, "virtqueue", "none", "", true);
    check_windows(u);
    g_assert_cmpint(query_number(u, "jail-pid"), ==, 0);
    g_assert_cmpint(query_number(u, "activations"), ==, 0);

    g_assert_cmpuint(qvbu_activate(u), ==, VIRTIO_BLK_URING_RING);
    qvbu_check_ring(&u->rings[1], data);
    check_query(u, "ring", "none", "", true);
    check_windows(u);
    g_assert_true(is_jail(query_number(u, "jail-pid")));
    g_assert_cmpint(query_number(u, "activations"), ==, 1);
    g_assert_cmpuint(qvbu_query_counter(u, 0, "submitted"), ==, 0);
    g_assert_cmpuint(qvbu_query_counter(u, 1, "submitted"), ==, 2);
    g_assert_cmpuint(qvbu_query_counter(u, 1, "completed"), ==, 2);

    qvbu_set_passthrough(u, false);
    check_query(u, "suspending", "administrator", "", false);
    g_assert_cmpuint(qvbu_command(u, VIRTIO_BLK_URING_CMD_SUSPENDED), ==,
                     VIRTIO_BLK_URING_VIRTQUEUE);
    check_query(u, "virtqueue", "administrator", "", false);
    g_assert_cmpint(query_number(u, "jail-pid"), ==, 0);
    qvbu_set_passthrough(u, true);
    qvbu_check_activation(u, data);
    g_assert_cmpint(query_number(u, "activations"), ==, 2);

    g_assert_cmpuint(qvbu_command(u, VIRTIO_BLK_URING_CMD_GIVE_UP), ==,
                     VIRTIO_BLK_URING_DEAD);
    check_query(u, "dead", "driver", "", true);
    g_assert_cmpuint(qvbu_command(u, VIRTIO_BLK_URING_CMD_BURIED), ==,
                     VIRTIO_BLK_URING_VIRTQUEUE);
    check_query(u, "virtqueue", "driver", "", true);

    add_bitmap(u);
    qvbu_activate(u);
    check_query(u, "virtqueue", "backend", "dirty bitmap", true);
    qvbu_cleanup(u);
}

/* Events */

/* The next event, which has come already; NULL: there is none */
static QDict *next_event(QTestState *qts)
{
    QDict *event, *data;

    /* All that came before its answer is here after it. */
    qtest_qmp_assert_success(qts, "{ 'execute': 'query-status' }");
    event = qtest_qmp_event_ref(qts, EVENT);
    if (!event) {
        return NULL;
    }
    data = qobject_ref(qdict_get_qdict(event, "data"));
    qobject_unref(event);
    return data;
}

static void check_event(QDict *event, const char *path, const char *old_state,
                        const char *old_reason, const char *state,
                        const char *reason, unsigned unsaid)
{
    g_assert_nonnull(event);
    g_assert_cmpstr(qdict_get_str(event, "id"), ==, g_strrstr(path, "/") + 1);
    g_assert_cmpstr(qdict_get_str(event, "qom-path"), ==, path);
    g_assert_cmpstr(qdict_get_str(event, "old-state"), ==, old_state);
    g_assert_cmpstr(qdict_get_str(event, "old-reason"), ==, old_reason);
    g_assert_cmpstr(qdict_get_str(event, "state"), ==, state);
    g_assert_cmpstr(qdict_get_str(event, "reason"), ==, reason);
    g_assert_cmpint(qdict_get_int(event, "unsaid"), ==, unsaid);
}

static void expect_no_event(QTestState *qts)
{
    g_autoptr(QDict) event = next_event(qts);

    g_assert_null(event);
}

/* The next event, with a part of its sentence; NULL: it has none */
static void expect(QVirtioBlkUring *u, const char *old_state,
                   const char *old_reason, const char *state,
                   const char *reason, const char *error)
{
    g_autoptr(QDict) event = next_event(u->qts);

    check_event(event, DRV0, old_state, old_reason, state, reason, 0);
    if (error) {
        g_assert_nonnull(strstr(qdict_get_str(event, "error"), error));
    } else {
        g_assert_false(qdict_haskey(event, "error"));
    }
}

/* Without a change of the path nothing is said. */
static void test_event_none(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;

    qvbu_negotiate(u, 1, 0);
    qvbu_give_memory(u);
    qvbu_command(u, VIRTIO_BLK_URING_CMD_BURIED);
    qvbu_renegotiate(u, 1);
    expect_no_event(u->qts);
    qvbu_cleanup(u);
}

static void test_event_suspend(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;

    qvbu_start(u, 1);
    expect(u, "virtqueue", "none", "ring", "none", NULL);
    qvbu_set_passthrough(u, false);
    expect(u, "ring", "none", "suspending", "administrator", NULL);
    qvbu_command(u, VIRTIO_BLK_URING_CMD_SUSPENDED);
    expect(u, "suspending", "administrator", "virtqueue", "administrator",
           NULL);
    qvbu_set_passthrough(u, true);
    expect_no_event(u->qts);
    qvbu_activate(u);
    expect(u, "virtqueue", "administrator", "ring", "none", NULL);
    expect_no_event(u->qts);
    qvbu_cleanup(u);
}

static void test_event_dead(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;

    qvbu_start(u, 1);
    expect(u, "virtqueue", "none", "ring", "none", NULL);
    qvbu_command(u, VIRTIO_BLK_URING_CMD_GIVE_UP);
    expect(u, "ring", "none", "dead", "driver", NULL);
    qvbu_command(u, VIRTIO_BLK_URING_CMD_BURIED);
    expect(u, "dead", "driver", "virtqueue", "driver", NULL);
    qvbu_activate(u);
    expect(u, "virtqueue", "driver", "ring", "none", NULL);
    kill(query_number(u, "jail-pid"), SIGKILL);
    qvbu_await_state(u, VIRTIO_BLK_URING_DEAD);
    expect(u, "ring", "none", "dead", "died", NULL);
    qvbu_renegotiate(u, 1);
    expect(u, "dead", "died", "virtqueue", "none", NULL);
    expect_no_event(u->qts);
    qvbu_cleanup(u);
}

static void test_event_stop(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;

    qvbu_start(u, 1);
    expect(u, "virtqueue", "none", "ring", "none", NULL);
    qtest_qmp_assert_success(u->qts, "{ 'execute': 'stop' }");
    expect(u, "ring", "none", "dead", "machine-stopped", NULL);
    qtest_qmp_assert_success(u->qts, "{ 'execute': 'cont' }");
    expect_no_event(u->qts);
    qvbu_command(u, VIRTIO_BLK_URING_CMD_BURIED);
    expect(u, "dead", "machine-stopped", "virtqueue", "machine-stopped", NULL);
    qvbu_cleanup(u);
}

/* The sentence is there with the first event that it belongs to. */
static void test_event_backend(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;

    qvbu_start(u, 1);
    expect(u, "virtqueue", "none", "ring", "none", NULL);
    add_bitmap(u);
    expect(u, "ring", "none", "dead", "backend",
           "needs exclusive access to the disk");
    qvbu_command(u, VIRTIO_BLK_URING_CMD_BURIED);
    /* It needs the disk, or by now somebody has seen the dirty bitmap. */
    expect(u, "dead", "backend", "virtqueue", "backend", "di");
    remove_bitmap(u);
    qvbu_await(qvbu_activatable(u));
    expect_no_event(u->qts);
    qvbu_activate(u);
    expect(u, "virtqueue", "backend", "ring", "none", NULL);
    qvbu_cleanup(u);
}

/* So is that of an activation that fails, and a reset forgets about it. */
static void test_event_failure(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;

    qvbu_negotiate(u, 1, 0);
    qvbu_give_memory(u);
    qvbu_set(u, queue_select, 0);
    qvbu_set(u, queue_sqes, 1ull << 40);
    qvbu_command(u, VIRTIO_BLK_URING_CMD_ACTIVATE);
    expect(u, "virtqueue", "none", "virtqueue", "bad-address",
           "not page-aligned guest RAM");
    qvbu_command(u, VIRTIO_BLK_URING_CMD_ACTIVATE);
    expect_no_event(u->qts);
    qvbu_renegotiate(u, 1);
    expect(u, "virtqueue", "bad-address", "virtqueue", "none", NULL);
    qvbu_cleanup(u);
}

/* The limit */

/* Two changes, and back where it was */
static void change_twice(QVirtioBlkUring *u)
{
    qvbu_give_memory(u);
    qvbu_set(u, queue_select, 0);
    qvbu_set(u, queue_sqes, 1ull << 40);
    qvbu_command(u, VIRTIO_BLK_URING_CMD_ACTIVATE);
    qvbu_renegotiate(u, 1);
}

/* All that has been said; the last of it has so many unsaid. */
static unsigned count_events(QTestState *qts, unsigned *changes,
                             unsigned *unsaid)
{
    unsigned n = 0;

    *changes = *unsaid = 0;
    for (;;) {
        g_autoptr(QDict) event = next_event(qts);

        if (!event) {
            return n;
        }
        n++;
        *unsaid = qdict_get_int(event, "unsaid");
        *changes += 1 + *unsaid;
    }
}

/* A guest that changes all the time is not heard more often than is said. */
static void test_limit(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    unsigned changes, unsaid, i;

    qvbu_negotiate(u, 1, 0);
    for (i = 0; i < BURST; i++) {
        change_twice(u);
    }
    g_assert_cmpuint(count_events(u->qts, &changes, &unsaid), ==, BURST);
    g_assert_cmpuint(changes, ==, BURST);

    /* The rest of it is told without any further change, */
    qtest_clock_step(u->qts, PERIOD_NS);
    g_assert_cmpuint(count_events(u->qts, &changes, &unsaid), ==, 1);
    g_assert_cmpuint(changes, ==, BURST);
    g_assert_cmpuint(unsaid, ==, BURST - 1);

    /* and from then on there is one for each period. */
    for (i = 0; i < 3; i++) {
        change_twice(u);
        change_twice(u);
        expect_no_event(u->qts);
        qtest_clock_step(u->qts, PERIOD_NS);
        g_assert_cmpuint(count_events(u->qts, &changes, &unsaid), ==, 1);
        g_assert_cmpuint(unsaid, ==, 3);
    }

    /* Nobody is told of nothing, and calm is rewarded. */
    qtest_clock_step(u->qts, BURST * (int64_t)PERIOD_NS);
    expect_no_event(u->qts);
    for (i = 0; i < BURST; i++) {
        change_twice(u);
    }
    g_assert_cmpuint(count_events(u->qts, &changes, &unsaid), ==, BURST);
    qvbu_cleanup(u);
}

/* What is told late is what is true then. */
static void test_limit_last(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    unsigned changes, unsaid, i;

    qvbu_negotiate(u, 1, 0);
    for (i = 0; i < BURST / 2; i++) {
        change_twice(u);
    }
    count_events(u->qts, &changes, &unsaid);
    g_assert_cmpuint(qvbu_activate(u), ==, VIRTIO_BLK_URING_RING);
    expect_no_event(u->qts);
    qvbu_set_passthrough(u, false);
    qtest_clock_step(u->qts, PERIOD_NS);
    {
        g_autoptr(QDict) event = next_event(u->qts);

        check_event(event, DRV0, "virtqueue", "none", "suspending",
                    "administrator", 1);
    }
    qvbu_cleanup(u);
}

/* Several devices */

static void test_several(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj, other;
    QVBUDisk *disk = qvbu_disk_new(), *stock = qvbu_disk_new();
    QTestState *qts = u->qts;
    QVirtioPCIDevice *pci;
    g_autoptr(QDict) first = NULL;
    g_autoptr(QDict) second = NULL;
    g_autoptr(QDict) late = NULL;
    g_autoptr(QDict) gone = NULL;
    unsigned changes, unsaid, i;

    qtest_qmp_assert_success(qts, "{ 'execute': 'blockdev-add', 'arguments':"
                             " { 'driver': 'file', 'node-name': 'node1',"
                             " 'filename': %s } }", disk->path);
    qtest_qmp_assert_success(qts, "{ 'execute': 'blockdev-add', 'arguments':"
                             " { 'driver': 'file', 'node-name': 'node2',"
                             " 'filename': %s } }", stock->path);
    qtest_qmp_device_add(qts, "virtio-blk-pci", "another",
                         "{ 'addr': '7.0', 'drive': 'node2' }");
    qtest_qmp_device_add(qts, "virtio-blk-uring", "other",
                         "{ 'addr': %s, 'drive': 'node1' }",
                         stringify(OTHER_SLOT) ".0");
    pci = virtio_pci_new(u->pci->pdev->bus, &(QPCIAddress) {
                             .devfn = QPCI_DEVFN(OTHER_SLOT, 0) });
    g_assert_nonnull(pci);
    qvirtio_pci_device_enable(pci);
    qvirtio_start_device(&pci->vdev);
    qvbu_init(&other, pci, alloc);

    /* The noise of one device does not drown the other. */
    qvbu_negotiate(u, 1, 0);
    for (i = 0; i < BURST; i++) {
        change_twice(u);
    }
    g_assert_cmpuint(count_events(qts, &changes, &unsaid), ==, BURST);
    qvbu_start(&other, 1);
    {
        g_autoptr(QDict) event = next_event(qts);

        check_event(event, OTHER, "virtqueue", "none", "ring", "none", 0);
    }
    first = query_nth(qts, 0, 2);
    second = query_nth(qts, 1, 2);
    g_assert_cmpstr(qdict_get_str(first, "id"), ==, "drv0");
    g_assert_cmpstr(qdict_get_str(first, "state"), ==, "virtqueue");
    g_assert_cmpstr(qdict_get_str(second, "id"), ==, "other");
    g_assert_cmpstr(qdict_get_str(second, "state"), ==, "ring");

    /* What is unsaid when a device goes, is said then. */
    for (i = 0; i < BURST; i++) {
        change_twice(&other);
    }
    count_events(qts, &changes, &unsaid);
    g_assert_cmpuint(unsaid, ==, 0);
    /* libqos's function for it loses the events that come before its own. */
    qtest_qmp_device_del_send(qts, "other");
    qtest_outl(qts, ACPI_PCIHP_EJECT, 1 << OTHER_SLOT);
    late = next_event(qts);
    check_event(late, OTHER, "virtqueue", "bad-address", "virtqueue", "none",
                2 * BURST - (BURST - 1) - 1);
    gone = query_nth(qts, 0, 1);
    g_assert_cmpstr(qdict_get_str(gone, "id"), ==, "drv0");

    qvbu_cleanup(&other);
    qos_object_destroy(&pci->obj);
    qvbu_cleanup(u);
}

/* The human monitor */

static void expect_line(QVirtioBlkUring *u, const char *wanted)
{
    g_autofree char *text = qtest_hmp(u->qts, "info virtio-blk-uring");

    if (!strstr(text, wanted)) {
        g_error("'%s' is not in:\n%s", wanted, text);
    }
}

static void test_hmp(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    g_autofree char *jail = NULL;
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;

    qvbu_start(u, 2);
    qvbu_check_ring(&u->rings[1], data);
    qvbu_await((g_free(text),
                text = qtest_hmp(u->qts, "info virtio-blk-uring"),
                !strstr(text, "(the guest's word)")));
    lines = g_strsplit(text, "\r\n", 0);
    jail = g_strdup_printf("  isolation process, jail is process %" PRId64
                           "; rings started 1 time",
                           query_number(u, "jail-pid"));
    g_assert_cmpstr(lines[0], ==, "drv0: ring, passthrough on, 0 in flight");
    /* The test's drive goes through the page cache. */
    g_assert_true(g_str_has_prefix(lines[1], "  no iopoll: the drive goes "));
    g_assert_cmpstr(lines[2], ==, jail);
    g_assert_true(g_regex_match_simple("^ +0 interrupt yes +0 +0 +0 +[0-9]+ "
                                       "+0$", lines[4], 0, 0));
    g_assert_true(g_regex_match_simple("^ +1 polled    yes +2 +2 +0 +[0-9]+ "
                                       "+0$", lines[5], 0, 0));
    expect_line(u, "  guest memory 0x0-0x");
    /* It fits on a terminal. */
    g_assert_cmpuint(strlen(lines[3]), <, 80);
    g_assert_cmpuint(strlen(lines[4]), ==, strlen(lines[3]));

    qvbu_set_passthrough(u, false);
    expect_line(u, "drv0: suspending (administrator), passthrough off, "
                "0 in flight");
    qvbu_command(u, VIRTIO_BLK_URING_CMD_SUSPENDED);
    expect_line(u, "  isolation process; rings started 1 time");
    qvbu_set_passthrough(u, true);
    add_bitmap(u);
    qvbu_activate(u);
    expect_line(u, "drv0: virtqueue (backend), passthrough on, 0 in flight");
    expect_line(u, "  no rings: ");
    expect_line(u, "dirty bitmap");
    qvbu_cleanup(u);
}

/* A machine that has other devices only */
static void test_no_device(void)
{
    QTestState *qts = qtest_init("-drive if=none,id=drive0,driver=null-co "
                                 "-device virtio-blk-pci,drive=drive0");
    g_autofree char *text = qtest_hmp(qts, "info virtio-blk-uring");
    g_autoptr(QList) all = query_all(qts);

    g_assert_true(qlist_empty(all));
    g_assert_cmpstr(text, ==, "No virtio-blk-uring devices\r\n");
    qtest_quit(qts);
}

/* Without passthrough there is nothing to tell of rings. */
static void test_plain(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    g_autoptr(QDict) info = query_nth(u->qts, 0, 1);

    g_assert_false(qdict_get_bool(info, "offered"));
    g_assert_false(qdict_get_bool(info, "passthrough"));
    g_assert_cmpstr(qdict_get_str(info, "state"), ==, "virtqueue");
    g_assert_true(qlist_empty(qdict_get_qlist(info, "rings")));
    g_assert_true(qlist_empty(qdict_get_qlist(info, "windows")));
    expect_line(u, "drv0: virtqueue, passthrough off, 0 in flight");
    expect_no_event(u->qts);
}

static void add(const char *name, QOSTestFunc func, const char *device)
{
    QOSGraphTestOptions opts = {
        .before = qvbu_disk_before,
        .edge.extra_device_opts = device,
    };

    qos_add_test(name, "virtio-blk-uring-admin", func, &opts);
}

static void register_tests(void)
{
    add("query", test_query, "num-queues=2");
    add("event/none", test_event_none, NULL);
    add("event/suspend", test_event_suspend, NULL);
    add("event/dead", test_event_dead, NULL);
    add("event/stop", test_event_stop, NULL);
    add("event/backend", test_event_backend, NULL);
    add("event/failure", test_event_failure, NULL);
    add("limit/rate", test_limit, NULL);
    add("limit/last", test_limit_last, NULL);
    add("several", test_several, NULL);
    add("hmp", test_hmp, "num-queues=1,poll-queues=1");
    add("plain", test_plain, "passthrough=off");
    qtest_add_func("virtio-blk-uring-admin/no-device", test_no_device);
}

libqos_init(register_tests);
