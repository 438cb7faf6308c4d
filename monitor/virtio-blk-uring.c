/*
 * virtio-blk-uring: "info virtio-blk-uring" of the human monitor
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "monitor/hmp.h"
#include "monitor/monitor.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-virtio-blk-uring.h"

static void print_sentence(Monitor *mon, const char *label,
                           const char *sentence)
{
    if (*sentence) {
        monitor_printf(mon, "  %s: %s\n", label, sentence);
    }
}

static void print_owner(Monitor *mon, const VirtioBlkUringInfo *info)
{
    monitor_printf(mon, "  isolation %s",
                   VirtioBlkUringIsolation_str(info->isolation));
    if (info->jail_pid) {
        monitor_printf(mon, ", jail is process %" PRId64, info->jail_pid);
    }
    monitor_printf(mon, "; rings started %" PRIu64 " time%s\n",
                   info->activations, info->activations == 1 ? "" : "s");
}

static const char *kind(const VirtioBlkUringRingInfo *ring)
{
    return ring->iopoll ? "iopoll" : ring->polled ? "polled" : "interrupt";
}

static const char *source(const VirtioBlkUringRingInfo *ring)
{
    return ring->source == VIRTIO_BLK_URING_COUNTER_SOURCE_GUEST_MEMORY ?
           "  (the guest's word)" : "";
}

static void print_rings(Monitor *mon, const VirtioBlkUringInfo *info)
{
    VirtioBlkUringRingInfoList *each;

    monitor_printf(mon, "  queue kind      ring   submitted   completed "
                   "in flight  doorbells interrupts\n");
    for (each = info->rings; each; each = each->next) {
        VirtioBlkUringRingInfo *ring = each->value;

        monitor_printf(mon, "  %5" PRIu32 " %-9s %-4s %11" PRIu64
                       " %11" PRIu64 " %9" PRIu64 " %10" PRIu64
                       " %10" PRIu64 "%s\n",
                       ring->queue, kind(ring), ring->active ? "yes" : "no",
                       ring->submitted, ring->completed, ring->in_flight,
                       ring->doorbells, ring->interrupts, source(ring));
    }
}

static void print_windows(Monitor *mon, const VirtioBlkUringInfo *info)
{
    VirtioBlkUringWindowInfoList *each;

    for (each = info->windows; each; each = each->next) {
        VirtioBlkUringWindowInfo *window = each->value;

        monitor_printf(mon, "  guest memory 0x%" PRIx64 "-0x%" PRIx64
                       " is at 0x%" PRIx64 " for the rings\n",
                       window->guest_address,
                       window->guest_address + window->size - 1,
                       window->ring_address);
    }
}

static void print_device(Monitor *mon, const VirtioBlkUringInfo *info)
{
    monitor_printf(mon, "%s: %s", info->id ?: info->qom_path,
                   VirtioBlkUringPathState_str(info->state));
    if (info->reason != VIRTIO_BLK_URING_PATH_REASON_NONE) {
        monitor_printf(mon, " (%s)",
                       VirtioBlkUringPathReason_str(info->reason));
    }
    monitor_printf(mon, ", passthrough %s, %" PRIu64 " in flight\n",
                   info->passthrough ? "on" : "off", info->in_flight);
    print_sentence(mon, "no rings", info->error);
    print_sentence(mon, "no iopoll", info->iopoll_error);
    if (info->offered) {
        print_owner(mon, info);
        print_rings(mon, info);
        print_windows(mon, info);
    }
}

void hmp_info_virtio_blk_uring(Monitor *mon, const QDict *qdict)
{
    g_autoptr(VirtioBlkUringInfoList) devices =
        qmp_query_virtio_blk_uring(&error_abort);

    if (!devices) {
        monitor_printf(mon, "No virtio-blk-uring devices\n");
    }
    for (VirtioBlkUringInfoList *entry = devices; entry; entry = entry->next) {
        print_device(mon, entry->value);
    }
}
