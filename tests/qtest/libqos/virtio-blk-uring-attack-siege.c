/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A machine with a virtio-blk-uring under attack
 */

#include "qemu/osdep.h"
#include "../libqtest.h"
#include "qemu/cutils.h"
#include "qobject/qdict.h"
#include "virtio-blk-uring-attack-siege.h"

#define DEFAULT_SEED    1
#define DEFAULT_SQES    300000

#define OTHER_SLOT      6

/* What fills the disks */
#define GUARD_SEED      0x60000
#define OTHER_SEED      0x70000

/* A main loop that is so long silent is one that a guest has stopped. */
#define QMP_BOUND_US    (10 * G_USEC_PER_SEC)

static uint64_t env_number(const char *name, uint64_t fallback)
{
    const char *text = g_getenv(name);
    uint64_t value;

    if (!text || !text[0]) {
        return fallback;
    }
    if (qemu_strtou64(text, NULL, 0, &value) < 0) {
        g_error("%s is '%s', which is no number", name, text);
    }
    return value;
}

uint64_t qvbu_siege_share(unsigned percent)
{
    return env_number("VBU_ATTACK_SQES", DEFAULT_SQES) * percent / 100;
}

static void siege_free(void *opaque)
{
    g_free(opaque);
}

static void *siege_before(GString *cmd_line, void *arg)
{
    QVBUSiege *s = g_new0(QVBUSiege, 1);

    g_test_queue_destroy(siege_free, s);
    s->isolation = arg;
    s->ram = qvbu_ram_before(cmd_line);
    s->disk = qvbu_disk_before(cmd_line, NULL);
    s->other_disk = qvbu_disk_new();
    qvbu_canary_before(cmd_line);
    /* Not a -drive, which would go with the device that it is plugged with */
    g_string_append_printf(cmd_line, " -blockdev node-name=drive1,driver=raw,"
                           "file.driver=file,file.filename=%s ",
                           s->other_disk->path);
    return s;
}

void qvbu_siege_add_test(const char *name, QOSTestFunc func,
                         const char *isolation, const char *device)
{
    g_autofree char *path = g_strdup_printf("attack/%s", name);
    g_autofree char *options = g_strdup_printf("isolation=%s%s%s", isolation,
                                               device ? "," : "",
                                               device ?: "");
    QOSGraphTestOptions opts = {
        .before = siege_before,
        .arg = (void *)isolation,
        .edge.extra_device_opts = options,
    };

    /* Guest RAM is laid out and given as a PC has it. */
    if (!strcmp(qtest_get_arch(), "x86_64")) {
        qos_add_test(path, "virtio-blk-uring", func, &opts);
    }
}

bool qvbu_siege_isolated(QVBUSiege *s)
{
    return !strcmp(s->isolation, "process");
}

static void init_device(QVirtioBlkUring *u, QVirtioBlkUring *like,
                        unsigned slot)
{
    QVirtioPCIDevice *pci;

    pci = virtio_pci_new(like->pci->pdev->bus, &(QPCIAddress) {
                             .devfn = QPCI_DEVFN(slot, 0) });
    g_assert_nonnull(pci);
    qvirtio_pci_device_enable(pci);
    qvirtio_start_device(&pci->vdev);
    qvbu_init(u, pci, like->alloc);
}

void qvbu_siege_plug(QVBUSiege *s, QVirtioBlkUring *u, const char *id,
                     unsigned slot)
{
    g_autofree char *addr = g_strdup_printf("%u.0", slot);
    gint64 end = g_get_monotonic_time() + QVBU_TIMEOUT_US;

    bool plugged = false;

    /* One that was just unplugged may hold the drive for a moment longer. */
    do {
        g_autoptr(QDict) reply = qtest_qmp(
            s->u->qts, "{ 'execute': 'device_add', 'arguments': {"
            " 'driver': 'virtio-blk-uring', 'id': %s, 'addr': %s,"
            " 'drive': 'drive1', 'isolation': %s } }", id, addr, s->isolation);

        plugged = qdict_haskey(reply, "return");
        if (!plugged) {
            const char *why = qdict_get_str(qdict_get_qdict(reply, "error"),
                                            "desc");

            g_assert_nonnull(strstr(why, "Permission conflict"));
            g_assert_cmpint(g_get_monotonic_time(), <, end);
        }
    } while (!plugged);
    init_device(u, s->u, slot);
}

void qvbu_siege_check_alive(QVBUSiege *s)
{
    gint64 start = g_get_monotonic_time(), took;
    g_autoptr(QDict) status = qtest_qmp_assert_success_ref(
        s->u->qts, "{ 'execute': 'query-status' }");

    g_assert_true(qdict_get_bool(status, "running"));
    took = g_get_monotonic_time() - start;
    g_assert_cmpint(took, <, QMP_BOUND_US);
    s->slowest_us = MAX(s->slowest_us, took);
}

void qvbu_siege_check_canary(QVBUSiege *s)
{
    g_assert_true(qvbu_canary_intact(&s->canary));
    g_assert_false(qvbu_canary_leaked(&s->canary, s->disk));
    g_assert_false(qvbu_canary_leaked(&s->canary, s->other_disk));
}

void qvbu_siege_begin(QVBUSiege *s, QVirtioBlkUring *u, unsigned queues)
{
    uint64_t seed = env_number("VBU_ATTACK_SEED", DEFAULT_SEED);

    g_test_message("attack: seed %" PRIu64, seed);
    s->u = u;
    s->random.state = seed;
    s->kernel_log = qvbu_kernel_log_open();
    qvbu_siege_plug(s, &s->other, "other", OTHER_SLOT);

    qvbu_negotiate(u, queues, 0);
    qvbu_check_activation(u, s->disk);
    qvbu_check_virtqueue(&u->rings[0], s->disk);
    qvbu_negotiate(&s->other, 1, 0);
    qvbu_check_activation(&s->other, s->other_disk);
    qvirtio_reset(&u->pci->vdev);
    qvirtio_reset(&s->other.pci->vdev);
    qvbu_holdings(&s->before, qtest_pid(u->qts));

    qvbu_canary_init(&s->canary, u->qts, seed);
    qvbu_disk_fill(s->disk, QVBU_SIEGE_WRITABLE,
                   QVBU_DISK_BYTES - QVBU_SIEGE_WRITABLE, GUARD_SEED);
    qvbu_disk_fill(s->other_disk, 0, QVBU_DISK_BYTES, OTHER_SEED);
    qvbu_renegotiate(u, queues);
    g_assert_cmpuint(qvbu_activate(u), ==, VIRTIO_BLK_URING_RING);
}

void qvbu_siege_start_other(QVBUSiege *s)
{
    qvbu_renegotiate(&s->other, 1);
    g_assert_cmpuint(qvbu_activate(&s->other), ==, VIRTIO_BLK_URING_RING);
}

void qvbu_siege_start_attacker(QVBUSiege *s)
{
    qvbu_attacker_init(&s->attacker, s->u, s->ram, qvbu_random(&s->random));
    s->attacker.tame = !qvbu_siege_isolated(s);
}

void qvbu_siege_probe_drain(QVBUSiege *s)
{
    QVirtioBlkUring *u = s->u;
    QVBUFastRing f;

    qvbu_fast_init(&f, &u->rings[0], s->ram);
    s->attacker.no_drain = qvbu_attacker_probe_drain(&s->attacker, &f);
    if (s->attacker.no_drain) {
        g_test_message("attack: with this kernel a drain in a chain that is "
                       "refused stops the guest's own ring (Linux 6.12 does "
                       "so, 6.18 does not); IOSQE_IO_DRAIN is left out");
    }
    qvbu_renegotiate(u, u->nrings);
    qvbu_await(qvbu_activatable(u));
    g_assert_cmpuint(qvbu_activate(u), ==, VIRTIO_BLK_URING_RING);
    qvbu_attacker_look(&s->attacker);
}

void qvbu_siege_check_guard(QVBUSiege *s)
{
    qvbu_disk_check(s->disk, QVBU_SIEGE_WRITABLE,
                    QVBU_DISK_BYTES - QVBU_SIEGE_WRITABLE, GUARD_SEED);
}

static void check_other_disk(QVBUSiege *s)
{
    qvbu_disk_check(s->other_disk, 0, QVBU_DISK_BYTES, OTHER_SEED);
}

void qvbu_siege_end(QVBUSiege *s, unsigned queues)
{
    QVirtioBlkUring *u = s->u;
    int64_t size;

    qvbu_siege_check_alive(s);
    qvbu_siege_check_canary(s);
    check_other_disk(s);
    if (qvbu_get(&s->other, path_state) == VIRTIO_BLK_URING_RING) {
        qvbu_check_ring(&s->other.rings[0], s->other_disk);
    } else {
        qvbu_renegotiate(&s->other, 1);
        qvbu_check_activation(&s->other, s->other_disk);
    }
    /* Without a jail, nothing keeps a file from growing. */
    if (qvbu_siege_isolated(s)) {
        size = lseek(s->disk->fd, 0, SEEK_END);
        g_assert_cmpint(size, ==, QVBU_DISK_BYTES);
    }

    qvbu_renegotiate(u, queues);
    qvbu_await(qvbu_activatable(u));
    qvbu_check_activation(u, s->disk);
    qvbu_check_virtqueue(&u->rings[0], s->disk);

    qvirtio_reset(&u->pci->vdev);
    qvirtio_reset(&s->other.pci->vdev);
    qvbu_await_holdings(&s->before, qtest_pid(u->qts));
    qvbu_kernel_log_check(s->kernel_log);
    g_test_message("attack: QEMU's slowest answer took %" PRId64 " ms",
                   s->slowest_us / 1000);
    qvbu_cleanup(&s->other);
    qos_object_destroy(&s->other.pci->obj);
    qvbu_cleanup(u);
}
