/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest of virtio-blk-uring: what is refused at start, and whether the sentence
 * says what, why, and what to do instead
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qemu/module.h"
#include "libqos/virtio-blk-uring-disk.h"

#define GOOD_DRIVE  "-drive if=none,id=drive0,format=raw,file=%s"
#define GOOD_DEVICE "-device virtio-blk-uring,drive=drive0,isolation=none"
#define MEMORY      "-machine memory-backend=ram " \
                    "-object memory-backend-memfd,id=ram,size=128M,share=on"
#define SHARED      MEMORY " "
#define PREALLOCATED MEMORY ",prealloc=on "

/* At start */

typedef struct Refusal {
    const char *name;
    const char *options;        /* %s: the image's path */
    const char *says[5];        /* all of these; none: starts */
    bool starts;                /* although it says something */
    bool qcow2;
    unsigned block_size;        /* the image is behind a block device, */
                                /* which nobody can poll */
} Refusal;

static const Refusal refusals[] = {
    {
        /* That the others fail for what they say and not for something else */
        .name = "nothing",
        .options = GOOD_DRIVE " " GOOD_DEVICE,
    }, {
        /* Guests that know no rings arrive with whatever they had. */
        .name = "nothing-arriving",
        .options = GOOD_DRIVE " " GOOD_DEVICE
                   ",passthrough=off,rerror=stop -incoming defer",
    }, {
        .name = "nothing-jailed",
        .options = SHARED GOOD_DRIVE " -device virtio-blk-uring,drive=drive0",
    }, {
        .name = "private-memory",
        .options = GOOD_DRIVE " -device virtio-blk-uring,drive=drive0",
        .says = { "private to QEMU", "share=on", "isolation=none" },
    }, {
        .name = "private-memory-backend",
        .options = "-object memory-backend-memfd,id=ram,size=128M,share=off "
                   "-machine memory-backend=ram " GOOD_DRIVE
                   " -device virtio-blk-uring,drive=drive0",
        .says = { "'ram'", "private to QEMU", "share=on", "isolation=none" },
    }, {
        .name = "private-memory-auto",
        .options = GOOD_DRIVE " -device virtio-blk-uring,drive=drive0,"
                   "passthrough=auto",
        .says = { "passthrough=auto goes on without rings", "'pc.ram'",
                  "private to QEMU" },
        .starts = true,
    }, {
        .name = "errors-auto",
        .options = GOOD_DRIVE " " GOOD_DEVICE
                   ",passthrough=auto,rerror=stop,werror=stop",
        .says = { "passthrough=auto goes on without rings", "rerror" },
        .starts = true,
    }, {
        .name = "snapshot",
        .options = GOOD_DRIVE ",snapshot=on " GOOD_DEVICE,
        .says = { "snapshot=on", "snapshot=off", "passthrough=off",
                  "passthrough=auto" },
    }, {
        .name = "jail-without-isolation",
        .options = GOOD_DRIVE " " GOOD_DEVICE ",jail=/nowhere",
        .says = { "isolation=none", "no jail", "leave out jail" },
    }, {
        .name = "jail-cgroup-without-isolation",
        .options = GOOD_DRIVE " " GOOD_DEVICE ",jail-cgroup=/nowhere",
        .says = { "isolation=none", "no jail", "leave out jail-cgroup" },
    }, {
        .name = "jail-and-jail-cgroup",
        .options = SHARED GOOD_DRIVE " -device virtio-blk-uring,drive=drive0,"
                   "jail=/nowhere,jail-cgroup=/nowhere",
        .says = { "jail-cgroup", "that QEMU starts", "launcher" },
    }, {
        .name = "jail-nowhere",
        .options = SHARED GOOD_DRIVE " -device virtio-blk-uring,drive=drive0,"
                   "jail=/nowhere",
        .says = { "jail='/nowhere'", "launcher", "SOCK_SEQPACKET" },
    }, {
        .name = "jail-fd-unknown",
        .options = SHARED GOOD_DRIVE " -device virtio-blk-uring,drive=drive0,"
                   "jail=fd:nobody",
        .says = { "nobody" },
    }, {
        .name = "jail-cgroup-nowhere",
        .options = PREALLOCATED GOOD_DRIVE
                   " -device virtio-blk-uring,drive=drive0,"
                   "jail-cgroup=/nowhere",
        .says = { "jail-cgroup", "/nowhere/cgroup.procs", "QEMU's user" },
    }, {
        .name = "jail-cgroup-not-preallocated",
        .options = SHARED GOOD_DRIVE " -device virtio-blk-uring,drive=drive0,"
                   "jail-cgroup=/nowhere",
        .says = { "'ram'", "not preallocated", "jail-cgroup", "prealloc=on" },
    }, {
        .name = "jail-queues",
        .options = SHARED GOOD_DRIVE " -device virtio-blk-uring,drive=drive0,"
                   "num-queues=200,poll-queues=57",
        .says = { "257", "room for 256 rings" },
    }, {
        .name = "qcow2",
        .options = "-drive if=none,id=drive0,format=qcow2,file=%s "
                   GOOD_DEVICE,
        .says = { "qcow2", "raw image", "convert", "passthrough=off" },
        .qcow2 = true,
    }, {
        .name = "no-file",
        .options = "-drive if=none,id=drive0,driver=null-co " GOOD_DEVICE,
        .says = { "null-co", "raw image", "passthrough=off" },
    }, {
        .name = "offset",
        .options = GOOD_DRIVE ",offset=65536 " GOOD_DEVICE,
        .says = { "offset=", "all of the file", "passthrough=off" },
    }, {
        .name = "size",
        .options = GOOD_DRIVE ",size=1048576 " GOOD_DEVICE,
        .says = { "size=", "all of the file", "passthrough=off" },
    }, {
        .name = "throttling",
        .options = GOOD_DRIVE ",throttling.iops-total=100 " GOOD_DEVICE,
        .says = { "throttled", "escape", "passthrough=off" },
    }, {
        .name = "throttle-filter",
        .options = "-object throttle-group,id=group0,x-iops-total=100 "
                   "-drive if=none,id=drive0,driver=throttle,"
                   "throttle-group=group0,file.driver=raw,"
                   "file.file.driver=file,file.file.filename=%s " GOOD_DEVICE,
        .says = { "'throttle' filter", "escape", "passthrough=off" },
    }, {
        .name = "throttle-filter-below",
        .options = "-object throttle-group,id=group0,x-iops-total=100 "
                   "-drive if=none,id=drive0,driver=raw,file.driver=throttle,"
                   "file.throttle-group=group0,file.file.driver=file,"
                   "file.file.filename=%s " GOOD_DEVICE,
        .says = { "throttle", "passthrough=off" },
    }, {
        .name = "blkdebug",
        .options = "-drive if=none,id=drive0,driver=raw,file.driver=blkdebug,"
                   "file.image.driver=file,file.image.filename=%s "
                   GOOD_DEVICE,
        .says = { "blkdebug", "passthrough=off" },
    }, {
        .name = "detect-zeroes",
        .options = GOOD_DRIVE ",detect-zeroes=on " GOOD_DEVICE,
        .says = { "detect-zeroes", "detect-zeroes=off", "passthrough=off" },
    }, {
        .name = "copy-on-read",
        .options = GOOD_DRIVE ",copy-on-read=on " GOOD_DEVICE,
        .says = { "copy-on-read", "copy-on-read=off", "passthrough=off" },
    }, {
        .name = "werror",
        .options = GOOD_DRIVE " " GOOD_DEVICE ",werror=stop",
        .says = { "werror", "werror=report", "passthrough=off" },
    }, {
        .name = "rerror",
        .options = GOOD_DRIVE ",rerror=stop " GOOD_DEVICE,
        .says = { "rerror", "rerror=report", "passthrough=off" },
    }, {
        .name = "viommu",
        .options = "-M q35 -device intel-iommu " GOOD_DRIVE " " GOOD_DEVICE
                   ",iommu_platform=on,disable-legacy=on",
        .says = { "iommu_platform=on", "IOMMU", "iommu_platform=off",
                  "passthrough=off" },
    }, {
        .name = "iommu-platform",
        .options = GOOD_DRIVE " " GOOD_DEVICE
                   ",iommu_platform=on,disable-legacy=on",
        .says = { "iommu_platform=on", "IOMMU", "iommu_platform=off",
                  "passthrough=off" },
    }, {
        .name = "ats",
        .options = "-M q35 -device intel-iommu,device-iotlb=on " GOOD_DRIVE
                   " " GOOD_DEVICE ",ats=on",
        .says = { "ats=on", "IOMMU", "ats=off", "passthrough=off" },
    }, {
        /* What is smaller than the disk's blocks takes the virtqueues. */
        .name = "nothing-larger-blocks",
        .options = GOOD_DRIVE ",cache=none " GOOD_DEVICE,
        .block_size = 4096,
    }, {
        .name = "poll-queues",
        .options = GOOD_DRIVE " " GOOD_DEVICE ",poll-queues=2000",
        .says = { "poll-queues=2000", "1024", "fewer" },
    }, {
        .name = "poll-queues-wrap",
        .options = GOOD_DRIVE " " GOOD_DEVICE
                   ",num-queues=2,poll-queues=65535",
        .says = { "poll-queues=65535", "1024", "fewer" },
    }, {
        .name = "iopoll-without-poll-queues",
        .options = GOOD_DRIVE " " GOOD_DEVICE ",iopoll=on",
        .says = { "iopoll=on", "poll-queues=1", "iopoll=auto" },
    }, {
        .name = "iopoll-page-cache",
        .options = GOOD_DRIVE " " GOOD_DEVICE ",iopoll=on,poll-queues=1",
        .says = { "iopoll=on", "page cache", "cache.direct=on", "iopoll=auto",
                  "iopoll=off" },
    }, {
        .name = "iopoll-no-data",
        .options = GOOD_DRIVE ",cache=none " GOOD_DEVICE
                   ",iopoll=on,poll-queues=1",
        .says = { "iopoll=on", "no data", "iopoll=auto", "iopoll=off" },
    }, {
        .name = "iopoll-disk",
        .options = GOOD_DRIVE ",cache=none " GOOD_DEVICE
                   ",iopoll=on,poll-queues=1",
        .says = { "iopoll=on", "cannot be polled", "nvme.poll_queues=1",
                  "iopoll=auto", "iopoll=off" },
        .block_size = 512,
    }, {
        .name = "iopoll-disk-jailed",
        .options = SHARED GOOD_DRIVE ",cache=none"
                   " -device virtio-blk-uring,drive=drive0,"
                   "iopoll=on,poll-queues=1",
        .says = { "iopoll=on", "cannot be polled", "nvme.poll_queues=1",
                  "iopoll=auto", "iopoll=off" },
        .block_size = 512,
    }, {
        /* Not refused: what can be polled is not there, or not asked for. */
        .name = "nothing-iopoll-auto",
        .options = GOOD_DRIVE ",cache=none " GOOD_DEVICE ",poll-queues=1",
        .block_size = 512,
    }, {
        .name = "nothing-iopoll-off",
        .options = GOOD_DRIVE " " GOOD_DEVICE ",iopoll=off,poll-queues=1",
    }, {
        .name = "sqpoll-cpu",
        .options = GOOD_DRIVE " " GOOD_DEVICE ",sqpoll-cpu=100000",
        .says = { "sqpoll-cpu", "100000", "-1" },
    }, {
        .name = "sqpoll-cpu-negative",
        .options = GOOD_DRIVE " " GOOD_DEVICE ",sqpoll-cpu=-2",
        .says = { "sqpoll-cpu", "-2", "-1" },
    }, {
        /* A number as good as any other, for a CPU that no host has */
        .name = "sqpoll-cpu-absent",
        .options = GOOD_DRIVE " " GOOD_DEVICE ",sqpoll-cpu=1023",
        .says = { "CPU", "1023" },
    }, {
        .name = "sqpoll-idle",
        .options = GOOD_DRIVE " " GOOD_DEVICE ",sqpoll-idle-ms=0",
        .says = { "sqpoll-idle-ms", "1 to 60000" },
    }, {
        .name = "sqpoll-idle-long",
        .options = GOOD_DRIVE " " GOOD_DEVICE ",sqpoll-idle-ms=60001",
        .says = { "sqpoll-idle-ms", "1 to 60000" },
    }, {
        .name = "no-drive",
        .options = "-device virtio-blk-uring,isolation=none",
        .says = { "drive property not set" },
    }, {
        .name = "no-medium",
        .options = "-drive if=none,id=drive0 " GOOD_DEVICE,
        .says = { "Device needs media, but drive is empty" },
    }, {
        .name = "drive-of-another",
        .options = GOOD_DRIVE " -device virtio-blk-pci,drive=drive0 "
                   GOOD_DEVICE,
        .says = { "drive0", "in use" },
    },
};

/* Runs QEMU with a monitor that says "quit": it cannot stay. */
static int run_qemu(const char *options, char **out, char **err)
{
    g_autofree char *command = g_strdup_printf(
        "echo quit | exec %s -M pc -accel qtest -display none -nodefaults -S "
        "-monitor stdio %s", getenv("QTEST_QEMU_BINARY"), options);
    char *argv[] = { (char *)"/bin/sh", (char *)"-c", command, NULL };
    g_autoptr(GError) error = NULL;
    int status;

    g_spawn_sync(NULL, argv, NULL, G_SPAWN_DEFAULT, NULL, NULL, out, err,
                 &status, &error);
    g_assert_no_error(error);
    g_assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_at_start(const void *opaque)
{
    const Refusal *refusal = opaque;
    g_autofree char *options = NULL;
    g_autofree char *err = NULL;
    g_autofree char *loop = NULL;
    QVBUDisk *disk = qvbu_disk_new();
    unsigned i;
    int status;

    if (refusal->qcow2 && (!have_qemu_img() ||
                           !mkimg(disk->path, "qcow2", 16))) {
        g_test_skip("needs qemu-img (QTEST_QEMU_IMG) to make a qcow2 image");
        return;
    }
    if (refusal->block_size) {
        loop = qvbu_loop_new(disk, refusal->block_size);
        if (!loop) {
            return;
        }
    }
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    options = g_strdup_printf(refusal->options, loop ?: disk->path);
#pragma GCC diagnostic pop
    status = run_qemu(options, NULL, &err);
    g_test_message("exit status %d: %s", status, err);
    g_assert_cmpint(status, ==,
                    refusal->says[0] && !refusal->starts ? 1 : 0);
    for (i = 0; i < ARRAY_SIZE(refusal->says) && refusal->says[i]; i++) {
        if (!strstr(err, refusal->says[i])) {
            g_error("'%s' does not say '%s'", err, refusal->says[i]);
        }
    }
}

/* -device virtio-blk-uring,help tells what our own properties are for. */
static void test_help(void)
{
    static const char *const names[] = {
        "passthrough", "isolation", "jail", "jail-cgroup", "poll-queues",
        "iopoll", "sqpoll-idle-ms", "sqpoll-cpu", "sqpoll-threads",
    };
    g_autofree char *out = NULL;
    g_autofree char *err = NULL;
    unsigned i;

    g_assert_cmpint(run_qemu("-device virtio-blk-uring,help", &out, &err), ==,
                    0);
    for (i = 0; i < ARRAY_SIZE(names); i++) {
        g_autofree char *described = g_strdup_printf(
            "(?m)^ +%s=<[a-zA-Z0-9]+> +- [a-zA-Z]{3,} [a-zA-Z]{2,}", names[i]);

        if (!g_regex_match_simple(described, out, 0, 0)) {
            g_error("%s has no description in: %s", names[i], out);
        }
    }
}

static void register_tests(void)
{
    unsigned i;

    /* No graph leads to a machine that does not start. */
    if (strcmp(qtest_get_arch(), "x86_64")) {
        return;
    }
    qtest_add_func("virtio-blk-uring/help", test_help);
    for (i = 0; i < ARRAY_SIZE(refusals); i++) {
        g_autofree char *path = g_strdup_printf(
            "virtio-blk-uring/refused-at-start/%s", refusals[i].name);

        qtest_add_data_func(path, &refusals[i], test_at_start);
    }
}

libqos_init(register_tests);
