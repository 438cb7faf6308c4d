// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio_blk_uring: what the device says about its rings
 */
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/uio.h>

#include "vbu.h"

static bool vbu_fits(u32 offset, u64 bytes, u32 size)
{
	return IS_ALIGNED(offset, 4) && offset + bytes <= size;
}

static bool vbu_layout_ok(struct vbu *vbu)
{
	const struct vbu_layout *l = &vbu->layout;
	const u32 fields[] = {
		l->sq_head, l->sq_tail, l->sq_flags,
		l->cq_head, l->cq_tail, l->cq_flags,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(fields); i++) {
		if (!vbu_fits(fields[i], sizeof(u32), l->ring_bytes))
			return false;
	}
	return IS_ALIGNED(l->cqes, 8) &&
	       vbu_fits(l->cqes, (u64)vbu->cq_entries *
			sizeof(struct io_uring_cqe), l->ring_bytes) &&
	       vbu_fits(0, (u64)vbu->sq_entries * sizeof(struct io_uring_sqe),
			l->sqe_bytes) &&
	       l->ring_align < PAGE_SHIFT + MAX_PAGE_ORDER &&
	       get_order(l->ring_bytes) <= MAX_PAGE_ORDER &&
	       get_order(l->sqe_bytes) <= MAX_PAGE_ORDER;
}

/*
 * Reads all that stays as it is.  Returns NULL, or why these rings are of no
 * use to us; num_poll is right in either case.
 */
const char *vbu_read_descriptor(struct vbu *vbu)
{
	struct vbu_layout *l = &vbu->layout;
	u64 features;

	if (vbu_get32(vbu, magic) != VIRTIO_BLK_URING_MAGIC)
		return "the device describes no rings";
	if (vbu_get16(vbu, version) != VIRTIO_BLK_URING_VERSION)
		return "the device is of a later version, use a later driver";
	if (vbu_get16(vbu, size) < sizeof(struct virtio_blk_uring_config))
		return "the device's description of its rings is incomplete";
	if (vbu_get16(vbu, num_rings) != vbu->num_queues)
		return "the device has not one ring for each virtqueue";
	if (vbu_get16(vbu, num_poll_rings) >= vbu->num_queues)
		return "the device has polled rings only";
	vbu->num_poll = vbu_get16(vbu, num_poll_rings);
	if (virtio_has_feature(vbu->vdev, VIRTIO_F_ACCESS_PLATFORM))
		return "the device's addresses are not those of guest memory";

	features = vbu_get64(vbu, features);
	vbu->vectors = features & BIT_ULL(VIRTIO_BLK_URING_F_VECTOR);
	vbu->dsync = features & BIT_ULL(VIRTIO_BLK_URING_F_DSYNC);
	vbu->opcodes = vbu_get64(vbu, opcodes);
	vbu->sq_entries = vbu_get32(vbu, sq_entries);
	vbu->cq_entries = vbu_get32(vbu, cq_entries);
	if (!is_power_of_2(vbu->sq_entries) || !is_power_of_2(vbu->cq_entries) ||
	    vbu->cq_entries < 2)
		return "the rings' sizes are no powers of 2";

	/* Zero is unknown everywhere, and then we ask for little. */
	vbu->max_segments = clamp(vbu_get32(vbu, max_segments), 1U,
				  VBU_MAX_SEGMENTS);
	vbu->max_bytes = vbu_get32(vbu, max_bytes) ?: PAGE_SIZE;
	vbu->mem_align = vbu_get32(vbu, mem_align) ?: PAGE_SIZE;
	vbu->offset_align = vbu_get32(vbu, offset_align) ?: PAGE_SIZE;
	if (!is_power_of_2(vbu->mem_align) ||
	    !is_power_of_2(vbu->offset_align))
		return "the rings' alignments are no powers of 2";

	l->ring_align = vbu_get16(vbu, ring_align);
	l->ring_bytes = vbu_get32(vbu, ring_bytes);
	l->sqe_bytes = vbu_get32(vbu, sqe_bytes);
	l->sq_head = vbu_get32(vbu, sq_head);
	l->sq_tail = vbu_get32(vbu, sq_tail);
	l->sq_flags = vbu_get32(vbu, sq_flags);
	l->cq_head = vbu_get32(vbu, cq_head);
	l->cq_tail = vbu_get32(vbu, cq_tail);
	l->cq_flags = vbu_get32(vbu, cq_flags);
	l->cqes = vbu_get32(vbu, cqes);
	if (!vbu_layout_ok(vbu))
		return "the layout of the rings' memory makes no sense";
	return NULL;
}
