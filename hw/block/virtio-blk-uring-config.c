/*
 * virtio-blk-uring: its part of the config space
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * docs/specs/virtio-blk-uring.rst says what the fields mean.
 */
#include "qemu/osdep.h"
#include "qemu/log.h"
#include "qemu/units.h"
#include "hw/virtio/virtio.h"
#include "system/block-backend.h"
#include "virtio-blk-uring-internal.h"
#include "trace.h"

typedef struct virtio_blk_uring_config Config;

static VirtIOBlkUringRing *selected_ring(VirtIOBlkUring *s)
{
    return s->queue_select < s->num_rings ? &s->rings[s->queue_select] : NULL;
}

/*
 * While rings run these are the windows as they were at the activation, even
 * when memory has been added since: a driver that reads them one after the
 * other must not meet half of a change.
 */
GArray *virtio_blk_uring_windows(VirtIOBlkUring *s)
{
    return s->state == VIRTIO_BLK_URING_RING ||
           s->state == VIRTIO_BLK_URING_SUSPENDING ? s->windows :
           s->ram.windows;
}

static void fill_window(VirtIOBlkUring *s, Config *c)
{
    GArray *windows = virtio_blk_uring_windows(s);
    VirtIOBlkUringWindow *w;

    c->window_select = cpu_to_le16(s->window_select);
    if (s->window_select >= windows->len) {
        return;
    }
    w = &g_array_index(windows, VirtIOBlkUringWindow, s->window_select);
    c->window_gpa = cpu_to_le64(w->gpa);
    c->window_size = cpu_to_le64(w->size);
    c->window_addr = cpu_to_le64(w->addr);
}

static void fill_queue(VirtIOBlkUring *s, Config *c)
{
    VirtIOBlkUringRing *ring = selected_ring(s);

    c->queue_select = cpu_to_le16(s->queue_select);
    c->queue_vector = cpu_to_le16(VIRTIO_BLK_URING_NO_VECTOR);
    if (!ring) {
        return;
    }
    c->queue_vector = cpu_to_le16(ring->vector);
    c->queue_flags = cpu_to_le32(
        (ring->poll ? VIRTIO_BLK_URING_QUEUE_POLL : 0) |
        (ring->iopoll ? VIRTIO_BLK_URING_QUEUE_IOPOLL : 0));
    c->queue_ring = cpu_to_le64(ring->ring_gpa);
    c->queue_sqes = cpu_to_le64(ring->sqes_gpa);
}

void virtio_blk_uring_get_config(VirtIOBlkUring *s, uint8_t *config)
{
    const RestrictedRingLayout *l = &s->layout;
    uint64_t features = 1ULL << VIRTIO_BLK_URING_F_DSYNC |
                        1ULL << VIRTIO_BLK_URING_F_VECTOR;
    Config c;

    c = (Config) {
        .magic = cpu_to_le32(VIRTIO_BLK_URING_MAGIC),
        .version = cpu_to_le16(VIRTIO_BLK_URING_VERSION),
        .size = cpu_to_le16(sizeof(c)),
        .features = cpu_to_le64(features),
        .num_rings = cpu_to_le16(s->num_rings),
        .num_poll_rings = cpu_to_le16(s->poll_queues),
        .num_windows = cpu_to_le16(virtio_blk_uring_windows(s)->len),
        .ring_align = cpu_to_le16(ctz64(qemu_real_host_page_size())),
        .sq_entries = cpu_to_le32(l->sq_entries),
        .cq_entries = cpu_to_le32(l->cq_entries),
        .opcodes = cpu_to_le64(restricted_ring_opcodes(
                                   !blk_is_writable(VIRTIO_BLK(s)->blk))),
        .max_segments = cpu_to_le32(s->max_segments),
        .max_bytes = cpu_to_le32(s->max_bytes),
        .mem_align = cpu_to_le32(s->mem_align),
        .offset_align = cpu_to_le32(s->offset_align),
        .ring_bytes = cpu_to_le32(virtio_blk_uring_pages(l->ring_bytes)),
        .sqe_bytes = cpu_to_le32(virtio_blk_uring_pages(l->sqe_bytes)),
        .sq_head = cpu_to_le32(l->sq_head),
        .sq_tail = cpu_to_le32(l->sq_tail),
        .sq_ring_mask = cpu_to_le32(l->sq_ring_mask),
        .sq_flags = cpu_to_le32(l->sq_flags),
        .sq_dropped = cpu_to_le32(l->sq_dropped),
        .cq_head = cpu_to_le32(l->cq_head),
        .cq_tail = cpu_to_le32(l->cq_tail),
        .cq_ring_mask = cpu_to_le32(l->cq_ring_mask),
        .cq_flags = cpu_to_le32(l->cq_flags),
        .cq_overflow = cpu_to_le32(l->cq_overflow),
        .cqes = cpu_to_le32(l->cqes),
        .path_state = cpu_to_le32(s->state),
        .path_reason = cpu_to_le32(s->reason),
        .path_flags = cpu_to_le32(virtio_blk_uring_activatable(s) ?
                                  VIRTIO_BLK_URING_PATH_ACTIVATABLE : 0),
    };
    fill_window(s, &c);
    fill_queue(s, &c);
    memcpy(config + VIRTIO_BLK_URING_CONFIG_OFFSET, &c, sizeof(c));
}

static void run_command(VirtIOBlkUring *s, uint32_t command)
{
    trace_virtio_blk_uring_command(s, command,
                                   virtio_blk_uring_state_name(s->state));
    switch (command) {
    case VIRTIO_BLK_URING_CMD_ACTIVATE:
        if (s->state == VIRTIO_BLK_URING_VIRTQUEUE) {
            virtio_blk_uring_activate(s);
            return;
        }
        break;
    case VIRTIO_BLK_URING_CMD_SUSPENDED:
        if (s->state == VIRTIO_BLK_URING_SUSPENDING) {
            virtio_blk_uring_suspended(s);
            return;
        }
        break;
    case VIRTIO_BLK_URING_CMD_BURIED:
        if (s->state == VIRTIO_BLK_URING_DEAD) {
            virtio_blk_uring_buried(s);
            return;
        }
        break;
    case VIRTIO_BLK_URING_CMD_GIVE_UP:
        if (s->state == VIRTIO_BLK_URING_STARTING ||
            s->state == VIRTIO_BLK_URING_RING ||
            s->state == VIRTIO_BLK_URING_SUSPENDING) {
            virtio_blk_uring_give_up(s);
            return;
        }
        break;
    }
    qemu_log_mask(LOG_GUEST_ERROR,
                  "virtio-blk-uring: command %" PRIu32 " in state %s ignored\n",
                  command, virtio_blk_uring_state_name(s->state));
}

/*
 * The guest wrote some bytes, and virtio does not tell which; but all others
 * are as we last filled them in, so what differs was written.
 */
void virtio_blk_uring_set_config(VirtIOBlkUring *s, uint8_t *config)
{
    Config c;
    VirtIOBlkUringRing *ring;
    uint16_t window_select, queue_select;

    memcpy(&c, config + VIRTIO_BLK_URING_CONFIG_OFFSET, sizeof(c));
    window_select = le16_to_cpu(c.window_select);
    queue_select = le16_to_cpu(c.queue_select);

    if (window_select != s->window_select) {
        s->window_select = window_select;
    } else if (queue_select != s->queue_select) {
        s->queue_select = queue_select;
    } else if (c.command) {
        run_command(s, le32_to_cpu(c.command));
    } else {
        ring = selected_ring(s);
        /* Rings are built from these; they do not move afterwards. */
        if (ring && s->state == VIRTIO_BLK_URING_VIRTQUEUE) {
            ring->vector = le16_to_cpu(c.queue_vector);
            ring->ring_gpa = le64_to_cpu(c.queue_ring);
            ring->sqes_gpa = le64_to_cpu(c.queue_sqes);
        }
    }
}
