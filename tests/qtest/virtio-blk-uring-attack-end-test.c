/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest of virtio-blk-uring: what is left of a device that is attacking when it
 * goes
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qemu/module.h"
#include "libqos/malloc-pc.h"
#include "libqos/pci-pc.h"
#include "libqos/virtio-blk-uring-attack-siege.h"

#define DEVICE_SLOT     5
#define PLUGGED_SLOT    7

/* Far more than is over when the device goes */
static void attack_without_end(QVBUSiege *s, QVirtioBlkUring *u)
{
    QVBUFastRing f;
    unsigned i;

    qvbu_fast_init(&f, &u->rings[0], s->ram);
    for (i = 0; i < u->desc.sq_entries; i++) {
        qvbu_make_honest(&s->attacker, i, &f.sqes[i], 0);
    }
    qvbu_fast_publish(&f, INT32_MAX);
}

static void test_unplug(void *obj, void *data, QGuestAllocator *alloc)
{
    QVBUSiege *s = data;
    QVirtioBlkUring *u = obj;
    pid_t pid = qtest_pid(u->qts);
    QVBUHoldings before;
    unsigned round;

    s->u = u;
    s->kernel_log = qvbu_kernel_log_open();
    qvbu_start(u, 1);
    qvbu_siege_start_attacker(s);
    qvbu_check_virtqueue(&u->rings[0], s->disk);
    for (round = 0; round < 3; round++) {
        qvbu_holdings(&before, pid);
        qvbu_siege_plug(s, &s->other, "plugged", PLUGGED_SLOT);
        qvbu_start(&s->other, 1);
        g_assert_cmpuint(qvbu_jails(pid), ==,
                         before.jails + qvbu_siege_isolated(s));
        attack_without_end(s, &s->other);
        qvbu_siege_check_alive(s);
        qpci_unplug_acpi_device_test(u->qts, "plugged", PLUGGED_SLOT);
        qvbu_await_holdings(&before, pid);
        qvbu_cleanup(&s->other);
        qos_object_destroy(&s->other.pci->obj);
    }
    qvbu_check_ring(&u->rings[0], s->disk);
    qvbu_siege_check_alive(s);
    qvbu_kernel_log_check(s->kernel_log);
    qvbu_cleanup(u);
}

/* Nothing survives QEMU, the rings' work least of all. */
static void test_quit(const void *isolation)
{
    g_autofree QVBUSiege *s = g_new0(QVBUSiege, 1);
    GString *options = g_string_new("-M pc");
    QVirtioBlkUring u = { };
    QGuestAllocator alloc;
    QTestState *qts;
    QPCIBus *bus;
    QVirtioPCIDevice *pci;
    pid_t jail;

    s->isolation = isolation;
    s->u = &u;
    s->kernel_log = qvbu_kernel_log_open();
    s->ram = qvbu_ram_before(options);
    s->disk = qvbu_disk_before(options, NULL);
    g_string_append_printf(options, " -device virtio-blk-uring,id=drv0,"
                           "drive=drive0,addr=" stringify(DEVICE_SLOT)
                           ".0,isolation=%s", s->isolation);
    qts = qtest_init(options->str);
    pc_alloc_init(&alloc, qts, 0);
    bus = qpci_new_pc(qts, &alloc);
    pci = virtio_pci_new(bus, &(QPCIAddress) {
                             .devfn = QPCI_DEVFN(DEVICE_SLOT, 0) });
    g_assert_nonnull(pci);
    qvirtio_pci_device_enable(pci);
    qvirtio_start_device(&pci->vdev);
    qvbu_init(&u, pci, &alloc);
    qvbu_start(&u, 1);
    qvbu_siege_start_attacker(s);
    jail = qvbu_jail_pid(&u);
    g_assert_cmpint(!jail, ==, !qvbu_siege_isolated(s));
    attack_without_end(s, &u);

    qvbu_cleanup(&u);
    qtest_quit(qts);
    if (jail) {
        gint64 end = g_get_monotonic_time() + QVBU_TIMEOUT_US;

        while (!kill(jail, 0)) {
            g_assert_cmpint(g_get_monotonic_time(), <, end);
            g_usleep(1000);
        }
    }
    qvbu_kernel_log_check(s->kernel_log);
    qos_object_destroy(&pci->obj);
    qpci_free_pc(bus);
    alloc_destroy(&alloc);
    g_string_free(options, true);
}

static void register_tests(void)
{
    qvbu_siege_add_test("unplug", test_unplug, "process", NULL);
    if (!strcmp(qtest_get_arch(), "x86_64")) {
        qtest_add_data_func("virtio-blk-uring/attack/quit", "process",
                            test_quit);
    }
}

libqos_init(register_tests);
