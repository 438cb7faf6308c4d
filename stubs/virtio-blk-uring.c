/*
 * virtio-blk-uring: the query of a QEMU that has no such device
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/qapi-commands-virtio-blk-uring.h"

VirtioBlkUringInfoList *qmp_query_virtio_blk_uring(Error **errp)
{
    return NULL;
}
