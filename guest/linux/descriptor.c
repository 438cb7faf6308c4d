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

static bool vbu_layout_ok(const struct vbu_desc *d)
{
	const u32 fields[] = {
		d->sq_head, d->sq_tail, d->sq_flags,
		d->cq_head, d->cq_tail, d->cq_flags,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(fields); i++) {
		if (!vbu_fits(fields[i], sizeof(u32), d->ring_bytes))
			return false;
	}
	return IS_ALIGNED(d->cqes, 8) &&
	       vbu_fits(d->cqes, (u64)d->cq_entries *
			sizeof(struct io_uring_cqe), d->ring_bytes) &&
	       vbu_fits(0, (u64)d->sq_entries * sizeof(struct io_uring_sqe),
			d->sqe_bytes) &&
	       d->ring_align < PAGE_SHIFT + MAX_PAGE_ORDER &&
	       get_order(d->ring_bytes) <= MAX_PAGE_ORDER &&
	       get_order(d->sqe_bytes) <= MAX_PAGE_ORDER;
}

/*
 * Reads the alignment that requests of rings need, in bytes.  Returns false if
 * the device says what is none.
 */
bool vbu_read_offset_align(struct vbu *vbu, u32 *align)
{
	/* Zero is unknown, and then we ask for little. */
	*align = vbu_get32(vbu, offset_align) ?: PAGE_SIZE;
	return is_power_of_2(*align);
}

/*
 * Reads all that stays as it is, and offset_align.  Returns NULL, or why these
 * rings are of no use to us.
 */
const char *vbu_read_descriptor(struct vbu *vbu, struct vbu_desc *d)
{
	u64 features;

	memset(d, 0, sizeof(*d));
	if (vbu_get32(vbu, magic) != VIRTIO_BLK_URING_MAGIC)
		return "the device describes no rings";
	if (vbu_get16(vbu, version) != VIRTIO_BLK_URING_VERSION)
		return "the device is of a later version, use a later driver";
	if (vbu_get16(vbu, size) < sizeof(struct virtio_blk_uring_config))
		return "the device's description of its rings is incomplete";
	if (virtio_has_feature(vbu->vdev, VIRTIO_F_ACCESS_PLATFORM))
		return "the device's addresses are not those of guest memory";
	if (vbu_get16(vbu, num_rings) != vbu->num_queues)
		return "the device has not one ring for each virtqueue";
	d->num_poll = vbu_get16(vbu, num_poll_rings);
	if (d->num_poll >= vbu->num_queues)
		return "the device has polled rings only";

	features = vbu_get64(vbu, features);
	d->vectors = !!(features & BIT_ULL(VIRTIO_BLK_URING_F_VECTOR));
	d->dsync = !!(features & BIT_ULL(VIRTIO_BLK_URING_F_DSYNC));
	d->opcodes = vbu_get64(vbu, opcodes);
	d->sq_entries = vbu_get32(vbu, sq_entries);
	d->cq_entries = vbu_get32(vbu, cq_entries);
	if (!is_power_of_2(d->sq_entries) || !is_power_of_2(d->cq_entries) ||
	    d->cq_entries < 2)
		return "the rings' sizes are no powers of 2";

	/* Zero is unknown, and then we ask for little. */
	d->max_segments = clamp(vbu_get32(vbu, max_segments), 1U,
				VBU_MAX_SEGMENTS);
	d->max_bytes = vbu_get32(vbu, max_bytes) ?: PAGE_SIZE;
	d->mem_align = vbu_get32(vbu, mem_align) ?: PAGE_SIZE;
	if (!is_power_of_2(d->mem_align) ||
	    !vbu_read_offset_align(vbu, &d->offset_align))
		return "the rings' alignments are no powers of 2";

	d->ring_align = vbu_get16(vbu, ring_align);
	d->ring_bytes = vbu_get32(vbu, ring_bytes);
	d->sqe_bytes = vbu_get32(vbu, sqe_bytes);
	d->sq_head = vbu_get32(vbu, sq_head);
	d->sq_tail = vbu_get32(vbu, sq_tail);
	d->sq_flags = vbu_get32(vbu, sq_flags);
	d->cq_head = vbu_get32(vbu, cq_head);
	d->cq_tail = vbu_get32(vbu, cq_tail);
	d->cq_flags = vbu_get32(vbu, cq_flags);
	d->cqes = vbu_get32(vbu, cqes);
	if (!vbu_layout_ok(d))
		return "the layout of the rings' memory makes no sense";
	return NULL;
}
