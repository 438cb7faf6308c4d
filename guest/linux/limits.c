// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio_blk_uring: the disk's limits, from the config space of virtio-blk
 */
#include <linux/blkdev.h>
#include <linux/virtio_config.h>

#include "vbu.h"

#define vbu_cread(vbu, field, ptr) \
	virtio_cread((vbu)->vdev, struct virtio_blk_config, field, ptr)

static void vbu_read_topology(struct vbu *vbu, struct queue_limits *lim)
{
	u8 physical_exp, alignment;
	u16 min_io;
	u32 opt_io;

	if (!virtio_has_feature(vbu->vdev, VIRTIO_BLK_F_TOPOLOGY))
		return;
	vbu_cread(vbu, physical_block_exp, &physical_exp);
	vbu_cread(vbu, alignment_offset, &alignment);
	vbu_cread(vbu, min_io_size, &min_io);
	vbu_cread(vbu, opt_io_size, &opt_io);
	/* In logical blocks, all of them. */
	if (physical_exp && physical_exp < 16)
		lim->physical_block_size = lim->logical_block_size << physical_exp;
	lim->alignment_offset = lim->logical_block_size * alignment;
	lim->io_min = lim->logical_block_size * min_io;
	lim->io_opt = lim->logical_block_size * opt_io;
}

static int vbu_read_discard(struct vbu *vbu, struct queue_limits *lim)
{
	u32 granularity = 0, erase_granularity, sectors;

	if (virtio_has_feature(vbu->vdev, VIRTIO_BLK_F_WRITE_ZEROES)) {
		vbu_cread(vbu, max_write_zeroes_sectors, &sectors);
		lim->max_write_zeroes_sectors = sectors ?: UINT_MAX;
	}
	if (virtio_has_feature(vbu->vdev, VIRTIO_BLK_F_DISCARD)) {
		vbu_cread(vbu, max_discard_sectors, &sectors);
		lim->max_hw_discard_sectors = sectors ?: UINT_MAX;
		vbu_cread(vbu, discard_sector_alignment, &granularity);
	}
	if (virtio_has_feature(vbu->vdev, VIRTIO_BLK_F_SECURE_ERASE)) {
		vbu_cread(vbu, max_secure_erase_sectors, &sectors);
		vbu_cread(vbu, secure_erase_sector_alignment,
			  &erase_granularity);
		if (!sectors || !erase_granularity) {
			dev_err(&vbu->vdev->dev,
				"the device can erase securely, but says 0 as how much or how aligned\n");
			return -EINVAL;
		}
		lim->max_secure_erase_sectors = sectors;
		/* The block layer knows one granularity for both. */
		granularity = min_not_zero(granularity, erase_granularity);
	}
	if (lim->max_hw_discard_sectors || lim->max_secure_erase_sectors) {
		/* One range has its place in each request, see vbu_req. */
		lim->max_discard_segments = 1;
		lim->discard_granularity = granularity ?
			granularity << SECTOR_SHIFT : lim->logical_block_size;
	}
	return 0;
}

static void vbu_read_geometry(struct vbu *vbu)
{
	if (!virtio_has_feature(vbu->vdev, VIRTIO_BLK_F_GEOMETRY))
		return;
	vbu_cread(vbu, geometry.cylinders, &vbu->geometry.cylinders);
	vbu_cread(vbu, geometry.heads, &vbu->geometry.heads);
	vbu_cread(vbu, geometry.sectors, &vbu->geometry.sectors);
}

static void vbu_read_cache_mode(struct vbu *vbu)
{
	u8 write_back = virtio_has_feature(vbu->vdev, VIRTIO_BLK_F_FLUSH);

	if (virtio_has_feature(vbu->vdev, VIRTIO_BLK_F_CONFIG_WCE))
		vbu_cread(vbu, wce, &write_back);
	vbu->write_cache = write_back;
	vbu->fua = write_back && vbu->can_ring && vbu->desc.dsync;
}

/* After vbu_read_descriptor(). */
int vbu_read_limits(struct vbu *vbu, struct queue_limits *lim)
{
	u32 v;

	lim->logical_block_size = SECTOR_SIZE;
	if (virtio_has_feature(vbu->vdev, VIRTIO_BLK_F_BLK_SIZE))
		vbu_cread(vbu, blk_size, &lim->logical_block_size);
	/* Before 6.11 the block layer takes any, and trips over it later. */
	if (blk_validate_block_size(lim->logical_block_size)) {
		dev_err(&vbu->vdev->dev,
			"this kernel has no blocks of %u bytes; use a smaller logical_block_size\n",
			lim->logical_block_size);
		return -EINVAL;
	}

	lim->max_segments = 1;
	if (virtio_has_feature(vbu->vdev, VIRTIO_BLK_F_SEG_MAX)) {
		vbu_cread(vbu, seg_max, &v);
		lim->max_segments = clamp(v, 1U, VBU_MAX_SEGMENTS);
	}
	lim->max_hw_sectors = UINT_MAX;
	/* What is larger would have to take the virtqueues. */
	if (vbu->can_ring) {
		lim->max_segments = min_t(u32, lim->max_segments,
					  vbu->desc.max_segments);
		lim->max_hw_sectors = max_t(u32, PAGE_SIZE >> SECTOR_SHIFT,
					    vbu->desc.max_bytes >> SECTOR_SHIFT);
	}
	lim->max_segment_size = min_t(size_t, virtio_max_dma_size(vbu->vdev),
				      U32_MAX);
	if (virtio_has_feature(vbu->vdev, VIRTIO_BLK_F_SIZE_MAX)) {
		vbu_cread(vbu, size_max, &v);
		lim->max_segment_size = min(lim->max_segment_size, v);
	}

	vbu_read_topology(vbu, lim);
	vbu_read_cache_mode(vbu);
	vbu_read_geometry(vbu);
	return vbu_read_discard(vbu, lim);
}
