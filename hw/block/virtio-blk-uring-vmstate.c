/*
 * virtio-blk-uring: what migrates besides the virtqueues
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * No ring does: migration has them taken away before it begins, and the driver
 * asks for others where it arrives.  But the driver may be stopped anywhere: in
 * front of a path that is DEAD, and between two accesses to registers.
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "hw/virtio/virtio.h"
#include "migration/vmstate.h"
#include "virtio-blk-uring-internal.h"

static bool registers_needed(void *opaque)
{
    return virtio_vdev_has_feature(VIRTIO_DEVICE(opaque), VIRTIO_BLK_F_URING);
}

static int registers_pre_load(void *opaque)
{
    VirtIOBlkUring *s = opaque;

    if (!s->offered) {
        error_report("virtio-blk-uring '%s': the guest that arrives knows of "
                     "rings, which this device could never have; give it the "
                     "drive and the properties that it has at the source",
                     virtio_blk_uring_name(s));
        return -EINVAL;
    }
    return 0;
}

static int registers_post_load(void *opaque, int version_id)
{
    VirtIOBlkUring *s = opaque;

    if (s->state != VIRTIO_BLK_URING_VIRTQUEUE &&
        s->state != VIRTIO_BLK_URING_DEAD) {
        error_report("virtio-blk-uring '%s': the path of the guest that "
                     "arrives is in state %" PRIu32 ", in which nothing can "
                     "migrate; report this as a bug of the source",
                     virtio_blk_uring_name(s), s->state);
        /* QEMU may live on, with a path that is as it was. */
        s->state = VIRTIO_BLK_URING_VIRTQUEUE;
        s->reason = VIRTIO_BLK_URING_REASON_NONE;
        return -EINVAL;
    }
    if (s->reason > VIRTIO_BLK_URING_REASON_MIGRATION) {
        s->reason = VIRTIO_BLK_URING_REASON_NONE;
    }
    virtio_blk_uring_event(s);
    return 0;
}

static const VMStateDescription vmstate_ring = {
    .name = "virtio-blk-uring/ring",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT64(ring_gpa, VirtIOBlkUringRing),
        VMSTATE_UINT64(sqes_gpa, VirtIOBlkUringRing),
        VMSTATE_UINT16(vector, VirtIOBlkUringRing),
        VMSTATE_END_OF_LIST()
    },
};

static const VMStateDescription vmstate_registers = {
    .name = "virtio-blk-uring/registers",
    .version_id = 1,
    .minimum_version_id = 1,
    .needed = registers_needed,
    .pre_load = registers_pre_load,
    .post_load = registers_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32(state, VirtIOBlkUring),
        VMSTATE_UINT32(reason, VirtIOBlkUring),
        VMSTATE_UINT16(window_select, VirtIOBlkUring),
        VMSTATE_UINT16(queue_select, VirtIOBlkUring),
        VMSTATE_UINT8(wce_shown, VirtIOBlkUring),
        VMSTATE_UINT32_EQUAL(num_rings, VirtIOBlkUring, "num-queues and "
                             "poll-queues must be those of the source"),
        VMSTATE_STRUCT_VARRAY_POINTER_UINT32(rings, VirtIOBlkUring, num_rings,
                                             vmstate_ring, VirtIOBlkUringRing),
        VMSTATE_END_OF_LIST()
    },
};

/* Without fields, so that a guest that knows no rings sends nothing of ours. */
static const VMStateDescription vmstate_device = {
    .name = "virtio-blk-uring",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_END_OF_LIST()
    },
    .subsections = (const VMStateDescription *const[]) {
        &vmstate_registers,
        NULL
    },
};

int virtio_blk_uring_save_vmstate(VirtIOBlkUring *s, QEMUFile *f)
{
    return vmstate_save_state(f, &vmstate_device, s, NULL);
}

int virtio_blk_uring_load_vmstate(VirtIOBlkUring *s, QEMUFile *f)
{
    return vmstate_load_state(f, &vmstate_device, s, 1);
}
