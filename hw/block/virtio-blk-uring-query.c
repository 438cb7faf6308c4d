/*
 * virtio-blk-uring: what the administrator is told when asking
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/qapi-commands-virtio-blk-uring.h"
#include "hw/virtio/virtio.h"
#include "virtio-blk-uring-internal.h"

VirtioBlkUringPathState virtio_blk_uring_qapi_state(uint32_t state)
{
    static const VirtioBlkUringPathState states[] = {
        [VIRTIO_BLK_URING_VIRTQUEUE] = VIRTIO_BLK_URING_PATH_STATE_VIRTQUEUE,
        [VIRTIO_BLK_URING_STARTING] = VIRTIO_BLK_URING_PATH_STATE_STARTING,
        [VIRTIO_BLK_URING_RING] = VIRTIO_BLK_URING_PATH_STATE_RING,
        [VIRTIO_BLK_URING_SUSPENDING] =
            VIRTIO_BLK_URING_PATH_STATE_SUSPENDING,
        [VIRTIO_BLK_URING_DEAD] = VIRTIO_BLK_URING_PATH_STATE_DEAD,
    };

    QEMU_BUILD_BUG_ON(ARRAY_SIZE(states) != VIRTIO_BLK_URING_PATH_STATE__MAX);
    /* What a migration brings is shown before it is checked. */
    return state < ARRAY_SIZE(states) ? states[state] :
           VIRTIO_BLK_URING_PATH_STATE_DEAD;
}

VirtioBlkUringPathReason virtio_blk_uring_qapi_reason(uint32_t reason)
{
#define REASON(abi, qapi) \
    [VIRTIO_BLK_URING_REASON_ ## abi] = VIRTIO_BLK_URING_PATH_REASON_ ## qapi
    static const VirtioBlkUringPathReason reasons[] = {
        REASON(NONE, NONE),
        REASON(ADMIN, ADMINISTRATOR),
        REASON(STOPPED, MACHINE_STOPPED),
        REASON(BAD_ADDRESS, BAD_ADDRESS),
        REASON(BAD_VECTOR, BAD_VECTOR),
        REASON(BACKEND, BACKEND),
        REASON(HOST, HOST),
        REASON(DIED, DIED),
        REASON(DRIVER, DRIVER),
        REASON(MEMORY, MEMORY),
        REASON(MIGRATION, MIGRATION),
    };
#undef REASON

    QEMU_BUILD_BUG_ON(ARRAY_SIZE(reasons) !=
                      VIRTIO_BLK_URING_PATH_REASON__MAX);
    return reason < ARRAY_SIZE(reasons) ? reasons[reason] :
           VIRTIO_BLK_URING_PATH_REASON_NONE;
}

const char *virtio_blk_uring_sentence(VirtIOBlkUring *s)
{
    return s->obstacle ?: s->error;
}

static VirtioBlkUringRingInfo *ring_info(VirtIOBlkUringRing *ring)
{
    VirtioBlkUringRingInfo *info = g_new(VirtioBlkUringRingInfo, 1);
    RestrictedRingCounters uncounted;
    bool from_kernel;

    uncounted = virtio_blk_uring_uncounted(ring);
    from_kernel = !ring->group || ring->shown.from_kernel;
    *info = (VirtioBlkUringRingInfo) {
        .queue = ring->index,
        .polled = ring->poll,
        .iopoll = ring->iopoll,
        .active = ring->group,
        .submitted = ring->submitted + uncounted.submitted,
        .completed = ring->completed + uncounted.completed,
        .in_flight = virtio_blk_uring_in_flight(ring),
        .interrupts = ring->interrupts,
        .source = from_kernel ? VIRTIO_BLK_URING_COUNTER_SOURCE_KERNEL :
                                VIRTIO_BLK_URING_COUNTER_SOURCE_GUEST_MEMORY,
    };
    WITH_QEMU_LOCK_GUARD(&ring->lock) {
        info->doorbells = ring->doorbells;
    }
    return info;
}

static void add_rings(VirtIOBlkUring *s, VirtioBlkUringInfo *info)
{
    VirtioBlkUringRingInfoList **tail = &info->rings;

    virtio_blk_uring_update_counters(s);
    for (unsigned i = 0; i < s->num_rings; i++) {
        VirtioBlkUringRingInfo *ring = ring_info(&s->rings[i]);

        info->in_flight += ring->in_flight;
        QAPI_LIST_APPEND(tail, ring);
    }
}

static void add_windows(VirtIOBlkUring *s, VirtioBlkUringInfo *info)
{
    VirtioBlkUringWindowInfoList **tail = &info->windows;
    GArray *windows = virtio_blk_uring_windows(s);

    for (unsigned i = 0; i < windows->len; i++) {
        VirtIOBlkUringWindow *from =
            &g_array_index(windows, VirtIOBlkUringWindow, i);
        VirtioBlkUringWindowInfo *to = g_new(VirtioBlkUringWindowInfo, 1);

        *to = (VirtioBlkUringWindowInfo) {
            .guest_address = from->gpa,
            .size = from->size,
            .ring_address = from->addr,
        };
        QAPI_LIST_APPEND(tail, to);
    }
}

VirtioBlkUringInfo *virtio_blk_uring_info(VirtIOBlkUring *s)
{
    VirtioBlkUringInfo *info = g_new(VirtioBlkUringInfo, 1);
    DeviceState *dev = virtio_blk_uring_device(s);

    *info = (VirtioBlkUringInfo) {
        .id = g_strdup(dev->id),
        .qom_path = object_get_canonical_path(OBJECT(dev)),
        .state = virtio_blk_uring_qapi_state(s->state),
        .reason = virtio_blk_uring_qapi_reason(s->reason),
        .error = g_strdup(virtio_blk_uring_sentence(s) ?: ""),
        .passthrough = s->passthrough,
        .offered = s->offered,
        .isolation = s->isolation,
        .jail_pid = s->group ? ring_group_pid(s->group) : 0,
        .iopoll_error = g_strdup(s->iopoll_error ?: ""),
        .activations = s->activations,
    };
    if (DEVICE(s)->realized && s->offered) {
        add_windows(s, info);
        add_rings(s, info);
    }
    return info;
}

static int add_if_ours(Object *obj, void *opaque)
{
    GPtrArray *found = opaque;

    if (object_dynamic_cast(obj, TYPE_VIRTIO_BLK_URING) &&
        DEVICE(obj)->realized) {
        g_ptr_array_add(found, virtio_blk_uring_info(VIRTIO_BLK_URING(obj)));
    }
    return 0;
}

static gint by_path(gconstpointer a, gconstpointer b)
{
    const VirtioBlkUringInfo *const *x = a, *const *y = b;

    return strcmp((*x)->qom_path, (*y)->qom_path);
}

VirtioBlkUringInfoList *qmp_query_virtio_blk_uring(Error **errp)
{
    g_autoptr(GPtrArray) found = g_ptr_array_new();
    VirtioBlkUringInfoList *list = NULL, **tail = &list;

    object_child_foreach_recursive(object_get_root(), add_if_ours, found);
    g_ptr_array_sort(found, by_path);
    for (unsigned i = 0; i < found->len; i++) {
        VirtioBlkUringInfo *info = g_ptr_array_index(found, i);

        QAPI_LIST_APPEND(tail, info);
    }
    return list;
}
