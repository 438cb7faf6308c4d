/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * virtio_blk_uring: what differs between kernels, from Linux 6.1 on
 *
 * The other files are written for the newest kernel, and call by the names of
 * here what older ones have otherwise.  The number is that of the first kernel
 * which has it the newer way.  Where stable kernels took such a change later,
 * it is their headers that are asked, not their number.
 */
#ifndef VBU_COMPAT_H
#define VBU_COMPAT_H

#include <linux/blk-mq.h>
#include <linux/mmzone.h>
#include <linux/version.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>

#define VBU_BEFORE(major, minor) \
	(KERNEL_VERSION(major, minor, 0) > LINUX_VERSION_CODE)

#if VBU_BEFORE(6, 14)
#include <linux/blk-mq-virtio.h>
#endif

/*
 * 6.2: a driver can get MSI-X vectors after its device's first ones.  Without,
 * all rings complete by the config interrupt.
 */
#if VBU_BEFORE(6, 2)
#include <linux/pci.h>

struct msi_map {
	int index;
	int virq;
};

#define MSI_ANY_INDEX	UINT_MAX

static inline bool pci_msix_can_alloc_dyn(struct pci_dev *pdev)
{
	return false;
}

static inline struct msi_map
pci_msix_alloc_irq_at(struct pci_dev *pdev, unsigned int index,
		      const struct irq_affinity_desc *affinity)
{
	return (struct msi_map){ .index = -EOPNOTSUPP };
}

static inline void pci_msix_free_irq(struct pci_dev *pdev, struct msi_map map)
{
}
#else
#include <linux/msi_api.h>
#endif

/* 6.2: asked for a set of tags, not for a queue that has them */
static inline void vbu_wait_quiesce_done(struct blk_mq_tag_set *set,
					 struct request_queue *queue)
{
#if VBU_BEFORE(6, 2)
	blk_mq_wait_quiesce_done(queue);
#else
	blk_mq_wait_quiesce_done(set);
#endif
}

/* 6.4: the order is the largest that there is; 6.8: its name */
#ifndef MAX_PAGE_ORDER
#if VBU_BEFORE(6, 4)
#define MAX_PAGE_ORDER	(MAX_ORDER - 1)
#else
#define MAX_PAGE_ORDER	MAX_ORDER
#endif
#endif

/*
 * 6.9: a request that is polled for may be completed by an interrupt, too;
 * before, bio_put() warns, so that what takes a virtqueue must not look so.
 * What polls for it does not mind.
 */
static inline void vbu_completes_by_interrupt(struct request *rq)
{
#if VBU_BEFORE(6, 9)
	struct bio *bio;

	if (rq->cmd_flags & REQ_POLLED)
		__rq_for_each_bio(bio, rq)
			bio_clear_polled(bio);
#endif
}

/* 6.9: a disk comes with its limits; before, they are told one by one */
#if VBU_BEFORE(6, 9)
static inline void vbu_set_limits(struct request_queue *q,
				  const struct queue_limits *lim)
{
	blk_queue_logical_block_size(q, lim->logical_block_size);
	if (lim->physical_block_size)
		blk_queue_physical_block_size(q, lim->physical_block_size);
	if (lim->alignment_offset)
		blk_queue_alignment_offset(q, lim->alignment_offset);
	if (lim->io_min)
		blk_queue_io_min(q, lim->io_min);
	if (lim->io_opt)
		blk_queue_io_opt(q, lim->io_opt);
	blk_queue_max_hw_sectors(q, lim->max_hw_sectors);
	blk_queue_max_segments(q, lim->max_segments);
	blk_queue_max_segment_size(q, lim->max_segment_size);
	blk_queue_max_write_zeroes_sectors(q, lim->max_write_zeroes_sectors);
	blk_queue_max_discard_sectors(q, lim->max_hw_discard_sectors);
	blk_queue_max_secure_erase_sectors(q, lim->max_secure_erase_sectors);
	if (lim->max_discard_segments) {
		blk_queue_max_discard_segments(q, lim->max_discard_segments);
		q->limits.discard_granularity = lim->discard_granularity;
	}
}
#endif

/*
 * 6.11: that it has a cache, and no moving parts, is among the limits; before,
 * both are flags of the queue, of which the latter is not the default
 */
static inline struct gendisk *vbu_alloc_disk(struct blk_mq_tag_set *set,
					     struct queue_limits *lim,
					     bool write_cache, bool fua,
					     void *data)
{
	struct gendisk *disk;

#ifdef BLK_FEAT_WRITE_CACHE
	if (write_cache)
		lim->features |= BLK_FEAT_WRITE_CACHE;
	if (fua)
		lim->features |= BLK_FEAT_FUA;
#endif
#if VBU_BEFORE(6, 9)
	disk = blk_mq_alloc_disk(set, data);
	if (!IS_ERR(disk))
		vbu_set_limits(disk->queue, lim);
#else
	disk = blk_mq_alloc_disk(set, lim, data);
#endif
#ifndef BLK_FEAT_WRITE_CACHE
	if (!IS_ERR(disk)) {
		blk_queue_write_cache(disk->queue, write_cache, fua);
		blk_queue_flag_set(QUEUE_FLAG_NONROT, disk->queue);
	}
#endif
	return disk;
}

/* 6.11: a virtqueue's name and callback are one entry of one array */
#if VBU_BEFORE(6, 11)
struct virtqueue_info {
	const char *name;
	vq_callback_t *callback;
};

static inline int vbu_virtio_find_vqs(struct virtio_device *vdev,
				      unsigned int n, struct virtqueue *vqs[],
				      struct virtqueue_info infos[],
				      struct irq_affinity *affinity)
{
	vq_callback_t **callbacks;
	const char **names;
	unsigned int i;
	int err = -ENOMEM;

	callbacks = kcalloc(n, sizeof(*callbacks), GFP_KERNEL);
	names = kcalloc(n, sizeof(*names), GFP_KERNEL);
	if (!callbacks || !names)
		goto out;
	for (i = 0; i < n; i++) {
		callbacks[i] = infos[i].callback;
		names[i] = infos[i].name;
	}
	err = virtio_find_vqs(vdev, n, vqs, callbacks, names, affinity);
out:
	kfree(names);
	kfree(callbacks);
	return err;
}
#else
#define vbu_virtio_find_vqs	virtio_find_vqs
#endif

/*
 * 6.13, and stable kernels before it: a list of requests has a type and
 * functions, and a plug's are one; before, it is macros and its first request
 */
#ifdef rq_list_pop
#undef rq_list_pop
#undef rq_list_add_tail

struct rq_list {
	struct request *head;
	struct request *tail;
};

static inline void rq_list_add_tail(struct rq_list *list, struct request *rq)
{
	struct request **link = list->tail ? &list->tail->rq_next : &list->head;

	rq->rq_next = NULL;
	*link = rq;
	list->tail = rq;
}

/* The first, which is in no list then; NULL: there is none. */
static inline struct request *rq_list_pop(struct rq_list *list)
{
	struct request *first = list->head;

	if (!first)
		return NULL;
	list->head = first->rq_next;
	first->rq_next = NULL;
	if (!list->head)
		list->tail = NULL;
	return first;
}

#define VBU_PLUG	struct request *

/* Only to be popped from: who is last is not known. */
static inline struct rq_list vbu_plug_list(VBU_PLUG *plug)
{
	return (struct rq_list){ .head = *plug };
}

static inline void vbu_plug_set(VBU_PLUG *plug, struct rq_list list)
{
	*plug = list.head;
}
#else
#define VBU_PLUG	struct rq_list

static inline struct rq_list vbu_plug_list(VBU_PLUG *plug)
{
	return *plug;
}

static inline void vbu_plug_set(VBU_PLUG *plug, struct rq_list list)
{
	*plug = list;
}
#endif

/* 6.14: any device's interrupts tell how to spread its queues over CPUs */
static inline void vbu_map_hw_queues(struct blk_mq_queue_map *map,
				     struct virtio_device *vdev)
{
#if VBU_BEFORE(6, 14)
	blk_mq_virtio_map_queues(map, vdev, 0);
#else
	blk_mq_map_hw_queues(map, &vdev->dev, 0);
#endif
}

/* 6.14: requests are merged without a flag that says so */
#if VBU_BEFORE(6, 14)
#define VBU_MQ_F_MERGE	BLK_MQ_F_SHOULD_MERGE
#else
#define VBU_MQ_F_MERGE	0
#endif

/* 6.14: while a queue is frozen, memory is had without I/O */
static inline unsigned int vbu_freeze_queue(struct request_queue *queue)
{
#if VBU_BEFORE(6, 14)
	blk_mq_freeze_queue(queue);
	return 0;
#else
	return blk_mq_freeze_queue(queue);
#endif
}

static inline void vbu_unfreeze_queue(struct request_queue *queue,
				      unsigned int memflags)
{
#if VBU_BEFORE(6, 14)
	blk_mq_unfreeze_queue(queue);
#else
	blk_mq_unfreeze_queue(queue, memflags);
#endif
}

/* 6.15: the queue is that of the request */
static inline unsigned int vbu_map_sg(struct request *rq,
				      struct scatterlist *sg)
{
#if VBU_BEFORE(6, 15)
	return blk_rq_map_sg(rq->q, rq, sg);
#else
	return blk_rq_map_sg(rq, sg);
#endif
}

/* 6.16: the same */
static inline int vbu_map_kern(struct request *rq, void *buf, unsigned int len)
{
#if VBU_BEFORE(6, 16)
	return blk_rq_map_kern(rq->q, rq, buf, len, GFP_KERNEL);
#else
	return blk_rq_map_kern(rq, buf, len, GFP_KERNEL);
#endif
}

/* 6.15: virtio asks its drivers; before, the core does, and by struct device */
#if VBU_BEFORE(6, 15)
#define vbu_shutdown_arg	device
#define vbu_shutdown_vdev(dev)	dev_to_virtio(dev)
#define VBU_SHUTDOWN		driver.shutdown
#else
#define vbu_shutdown_arg	virtio_device
#define vbu_shutdown_vdev(vdev)	(vdev)
#define VBU_SHUTDOWN		shutdown
#endif

/* 6.18: geometry is a disk's, before that it is a partition's */
#if VBU_BEFORE(6, 18)
#define vbu_getgeo_arg		block_device
#define vbu_getgeo_disk(bdev)	((bdev)->bd_disk)
#else
#define vbu_getgeo_arg		gendisk
#define vbu_getgeo_disk(disk)	(disk)
#endif

/* 7.1, and stable kernels before it: a node is an int, as "none" is below 0 */
#define vbu_node_t							\
	__typeof__(__builtin_choose_expr(				\
		__builtin_types_compatible_p(				\
			typeof(((struct blk_mq_ops *)0)->init_request),	\
			int (*)(struct blk_mq_tag_set *, struct request *, \
				unsigned int, unsigned int)),		\
		0U, 0))

#endif /* VBU_COMPAT_H */
