/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzer of virtio-blk-uring: a guest and an administrator out of their minds
 *
 * An input is a sequence of actions of 16 bytes each: one says which, the
 * others are its arguments.  Some are what a proper driver does, so that an
 * input of two actions gets as far as running rings; others write anything
 * anywhere that a guest can reach.  After each input the machine is reset, and
 * nothing of the rings may be left.
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qapi/error.h"
#include "qom/object.h"
#include "hw/pci/pci_regs.h"
#include "system/runstate.h"
#include "tests/qtest/libqos/pci-pc.h"
#include "tests/qtest/libqos/qgraph.h"
#include "fuzz.h"
#include "virtio-blk-uring-fuzz.h"

/* Files that a run may have open beyond those of the first inputs */
#define FILES_SLACK     32
#define FILES_WARM_UP   8

VBUFuzz rig;

/* What PCI enumeration has come to */
static struct {
    uint32_t bars[6];
    uint16_t command;
} saved;

static char *disk_path;

/* seeds.txt calls them by these numbers. */
static void (*const actions[])(Input *in) = {
    [0x00] = do_negotiate,
    [0x01] = do_activate,
    [0x02] = do_command,
    [0x03] = do_msix,
    [0x04] = do_request,
    [0x05] = do_reap,
    [0x06] = do_virtqueue_request,
    [0x07] = do_notify,
    [0x08] = do_uring_field,
    [0x09] = do_config_write,
    [0x0a] = do_config_read,
    [0x0b] = do_common_write,
    [0x0c] = do_pci_config,
    [0x0d] = do_pci_command,
    [0x0e] = do_legacy,
    [0x0f] = do_msix_table,
    [0x10] = do_host_bridge,
    [0x11] = do_poke,
    [0x12] = do_admin,
    [0x13] = do_await,
    [0x14] = do_memory,
    [0x15] = do_replug,
    [0x16] = do_select,
};

/* Between two inputs */

void vbu_fuzz_restore_pci(void)
{
    for (unsigned i = 0; i < ARRAY_SIZE(saved.bars); i++) {
        qpci_config_writel(rig.pci->pdev, PCI_BASE_ADDRESS_0 + i * 4,
                           saved.bars[i]);
    }
    qpci_config_writew(rig.pci->pdev, PCI_COMMAND, saved.command);
    qpci_config_writew(rig.pci->pdev, rig.msix + PCI_MSIX_FLAGS,
                       PCI_MSIX_FLAGS_ENABLE);
}

static unsigned count_files(void)
{
    g_autoptr(GDir) dir = g_dir_open("/proc/self/fd", 0, NULL);
    unsigned n = 0;

    while (g_dir_read_name(dir)) {
        n++;
    }
    return n;
}

/* Jails that live, or have died and nobody took notice */
static unsigned count_jails(void)
{
    g_autofree char *path = g_strdup_printf("/proc/self/task/%d/children",
                                            getpid());
    g_autofree char *list = NULL;
    g_auto(GStrv) pids = NULL;
    unsigned n = 0;

    if (!g_file_get_contents(path, &list, NULL, NULL)) {
        return 0;
    }
    pids = g_strsplit(g_strchomp(list), " ", -1);
    for (unsigned i = 0; pids[i]; i++) {
        g_autofree char *file = g_strdup_printf("/proc/%s/comm", pids[i]);
        g_autofree char *comm = NULL;

        n += g_file_get_contents(file, &comm, NULL, NULL) &&
             !strcmp(comm, "qemu-ring-jail\n");
    }
    return n;
}

/* As after power-on, and nothing may be left of what was before */
static void start_over(void)
{
    static unsigned inputs, files;
    unsigned now;

    fuzz_reset(rig.qts);
    vbu_fuzz_move_more_ram(false);
    vbu_fuzz_await_started();
    if (!vbu_fuzz_path_is("virtqueue")) {
        vbu_fuzz_complain("a reset does not end the rings");
    }
    vbu_fuzz_check();
    if (count_jails()) {
        vbu_fuzz_complain("a reset leaves a jail behind");
    }
    if (rig.killed) {
        vbu_fuzz_replug();
        rig.killed = false;
    }
    object_property_set_str(rig.device, "passthrough", "on", &error_abort);
    if (!runstate_is_running()) {
        vm_start();
    }
    flush_events(rig.qts);

    now = count_files();
    inputs++;
    if (inputs <= FILES_WARM_UP) {
        files = MAX(files, now);
    } else if (now > files + FILES_SLACK) {
        vbu_fuzz_complain("files are opened and never closed");
    }
}

static void fuzz(QTestState *s, const unsigned char *data, size_t size)
{
    rig.strange = false;
    vbu_fuzz_restore_pci();
    for (size_t at = 0; at < size; at += ACTION_BYTES) {
        Input in = {
            .data = data + at + 1,
            .left = MIN(ACTION_BYTES, size - at) - 1,
        };

        actions[data[at] % ARRAY_SIZE(actions)](&in);
        flush_events(s);
        vbu_fuzz_check();
    }
    start_over();
}

/*
 * libqos comes as a whole, and our part of it wants this of qos-test, for which
 * there is no need here.
 */
void qos_invalidate_command_line(void)
{
}

/* The machine */

static void remove_disk(void)
{
    unlink(disk_path);
}

static GString *command_line(const char *isolation)
{
    GString *line = g_string_new("qemu-fuzz");
    int fd = g_file_open_tmp("vbu-fuzz.XXXXXX", &disk_path, NULL);

    g_assert(fd >= 0);
    g_assert(ftruncate(fd, DISK_BYTES) == 0);
    close(fd);
    atexit(remove_disk);

    rig.device_json = g_strdup_printf(
        "{\"driver\": \"virtio-blk-uring-pci\", \"id\": \"drv0\", "
        "\"drive\": \"disk0\", \"addr\": \"%d.0\", \"isolation\": \"%s\", "
        "\"num-queues\": %d, \"poll-queues\": 1, \"queue-size\": %d, "
        "\"sqpoll-idle-ms\": 1}",
        PCI_SLOT, isolation, NUM_QUEUES - 1, QUEUE_SIZE);
    g_string_append_printf(line,
        " -display none -nodefaults -M pc,accel=qtest,memory-backend=mem"
        " -m %" PRIu64 "M"
        " -object memory-backend-memfd,id=mem,size=%" PRIu64 "M,share=on"
        " -object memory-backend-memfd,id=more,size=1M,share=on"
        " -blockdev driver=file,filename=%s,node-name=disk0,auto-read-only=off"
        " -device '%s'",
        (uint64_t)(RAM_BYTES / MiB), (uint64_t)(RAM_BYTES / MiB), disk_path,
        rig.device_json);
    return line;
}

static GString *command_line_jailed(FuzzTarget *t)
{
    rig.jailed = true;
    return command_line("process");
}

static GString *command_line_bare(FuzzTarget *t)
{
    return command_line("none");
}

static void pre_fuzz(QTestState *s)
{
    QPCIAddress addr = { .devfn = QPCI_DEVFN(PCI_SLOT, 0) };
    sigset_t set;

    rig.qts = s;
    rig.pci = virtio_pci_new(qpci_new_pc(s, NULL), &addr);
    g_assert(rig.pci);
    qvirtio_pci_device_enable(rig.pci);
    qpci_msix_enable(rig.pci->pdev);
    rig.legacy_bar = qpci_iomap(rig.pci->pdev, 0, NULL);

    for (unsigned i = 0; i < ARRAY_SIZE(saved.bars); i++) {
        saved.bars[i] = qpci_config_readl(rig.pci->pdev,
                                          PCI_BASE_ADDRESS_0 + i * 4);
    }
    saved.command = qpci_config_readw(rig.pci->pdev, PCI_COMMAND);
    rig.msix = qpci_find_capability(rig.pci->pdev, PCI_CAP_ID_MSIX, 0);
    rig.device = object_resolve_path(DEVICE_PATH, NULL);
    g_assert(rig.device);
    rig.more_ram = MEMORY_BACKEND(object_resolve_path("/objects/more", NULL));
    vbu_fuzz_read_descriptor();

    /* QEMU blocks the signal by which libFuzzer finds what takes too long. */
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void register_fuzz_targets(void)
{
    fuzz_add_target(&(FuzzTarget) {
        .name = "virtio-blk-uring-process",
        .description = "virtio-blk-uring with its rings in a jail",
        .get_init_cmdline = command_line_jailed,
        .pre_fuzz = pre_fuzz,
        .fuzz = fuzz,
        .crossover = vbu_fuzz_crossover,
    });
    fuzz_add_target(&(FuzzTarget) {
        .name = "virtio-blk-uring-none",
        .description = "virtio-blk-uring with its rings in QEMU itself",
        .get_init_cmdline = command_line_bare,
        .pre_fuzz = pre_fuzz,
        .fuzz = fuzz,
        .crossover = vbu_fuzz_crossover,
    });
}

fuzz_target_init(register_fuzz_targets);
