/*
 * virtio-blk-uring: what -device virtio-blk-uring,help says of each property
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Most properties are inherited, and many of these say nothing of themselves.
 */
#include "qemu/osdep.h"
#include "qom/object.h"
#include "virtio-blk-uring-internal.h"

static const struct {
    const char *name;
    const char *description;
} descriptions[] = {
    /* ours */
    { "iopoll", "have the host poll the disk for the polled queues: on, off, "
      "auto (if the disk can be polled)" },
    { "isolation", "who owns the rings: process (confined to guest RAM), none "
      "(QEMU, for trusted guests only)" },
    { "jail", "launcher of the jail: PATH of its socket or fd:NAME, QEMU "
      "itself if not set" },
    { "jail-cgroup", "cgroup directories that the jail enters, separated by "
      "':'" },
    { "passthrough", "hand the disk to the guest as an io_uring: on, off, auto "
      "(if host and disk can); may be set at run time" },
    { "path", "state of the path that requests take and counters of its rings, "
      "read-only" },
    { "path-state", "virtqueue/starting/ring/suspending/dead, read-only" },
    { "poll-queues", "queues for polling, in addition to num-queues" },
    { "sqpoll-cpu", "host CPU of the SQPOLL threads, -1 for any" },
    { "sqpoll-idle-ms", "time without requests after which the host's SQPOLL "
      "thread sleeps, in ms" },
    { "sqpoll-threads", "SQPOLL threads that the rings share (those with "
      "iopoll have as many of their own), 0 for one per ring" },

    /* virtio-blk's */
    { "account-failed", "whether failed requests count in the statistics "
      "(on/off/auto)" },
    { "account-invalid", "whether invalid requests count in the statistics "
      "(on/off/auto)" },
    { "backend_defaults", "whether the host device's block sizes are taken "
      "over (on/off/auto)" },
    { "config-wce", "let the guest switch the write cache (on/off)" },
    { "cyls", "cylinders of the geometry, 0 to guess" },
    { "discard", "offer discard, over the virtqueues (on/off)" },
    { "discard_granularity", "bytes that a discard is a multiple of" },
    { "drive", "node name or ID of the disk: a raw image or a host block "
      "device" },
    { "heads", "heads of the geometry, 0 to guess" },
    { "iothread", "IOThread that serves the virtqueues" },
    { "lcyls", "cylinders that the firmware is told" },
    { "lheads", "heads that the firmware is told" },
    { "lsecs", "sectors per track that the firmware is told" },
    { "max-discard-sectors", "sectors of 512 bytes in one discard" },
    { "max-write-zeroes-sectors", "sectors of 512 bytes in one write zeroes" },
    { "min_io_size", "smallest efficient request in bytes, 0 for none" },
    { "num-queues", "queues for interrupts (65535: one for each vCPU); once "
      "realized, all queues" },
    { "opt_io_size", "best request size in bytes, 0 for none" },
    { "queue-size", "entries of a virtqueue, and requests in flight in a "
      "ring" },
    { "report-discard-granularity", "tell the guest discard_granularity "
      "(on/off)" },
    { "request-merging", "merge neighbouring requests of the virtqueues "
      "(on/off)" },
    { "rerror", "what read errors do: report (auto means that); others need "
      "passthrough=off" },
    { "secs", "sectors per track of the geometry, 0 to guess" },
    { "seg-max-adjust", "let the segments of a request follow queue-size "
      "(on/off)" },
    { "serial", "serial number, up to 20 characters" },
    { "share-rw", "let others write to the disk as well (on/off)" },
    { "werror", "what write errors do: report (auto means that); others need "
      "passthrough=off" },
    { "write-cache", "whether the guest sees a write cache, which it has to "
      "flush (on/off/auto)" },
    { "write-zeroes", "offer write zeroes, over the virtqueues (on/off)" },

    /* of virtio and PCI */
    { "acpi-index", "onboard device number in ACPI, 0 for none" },
    { "any_layout", "virtio feature: any framing of requests (on/off)" },
    { "bootindex", "place in the boot order, none if not set" },
    { "busnr", "number of the PCI bus, read-only" },
    { "class", "PCI class code, 0 for a storage controller" },
    { "event_idx", "virtio feature: notifications by index (on/off)" },
    { "failover_pair_id", "network cards only" },
    { "in_order", "virtio feature: buffers are used in order (on/off)" },
    { "indirect_desc", "virtio feature: indirect descriptors (on/off)" },
    { "iommu_platform", "virtio feature: addresses go through the platform's "
      "IOMMU; for passthrough=off only (on/off)" },
    { "notify_on_empty", "virtio feature: notify when a queue runs empty "
      "(on/off)" },
    { "packed", "virtio feature: packed virtqueues (on/off)" },
    { "queue_reset", "virtio feature: reset of single queues (on/off)" },
    { "rombar", "whether the option ROM is in a BAR (-1: as the machine "
      "wants)" },
    { "romfile", "file of the option ROM" },
    { "romsize", "bytes of the option ROM's BAR" },
    { "use-disabled-flag", "for migration from old versions (on/off)" },
    { "use-started", "for migration from old versions (on/off)" },
    { "vectors", "MSI-X vectors, by default one for the configuration and for "
      "each virtqueue and interrupting ring" },
    { "virtio-backend", "the device behind the transport" },
};

void virtio_blk_uring_describe(Object *obj)
{
    for (unsigned i = 0; i < ARRAY_SIZE(descriptions); i++) {
        const char *name = descriptions[i].name;
        ObjectProperty *prop = object_property_find(obj, name);

        /*
         * A property of the object alone we may describe as we like; one that
         * a class shares among devices only if nobody has.
         */
        if (prop && (g_hash_table_contains(obj->properties, name) ||
                     !prop->description || !*prop->description)) {
            object_property_set_description(obj, name,
                                            descriptions[i].description);
        }
    }
}
