// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio_blk_uring: a virtio block device whose requests the host's kernel
 * executes
 *
 * Drives virtio block devices that offer VIRTIO_BLK_F_URING and leaves all
 * others to virtio_blk.  docs/specs/virtio-blk-uring.rst is what it is written
 * to.  This file: the driver and its disk, as blk-mq and virtio see them.
 */
#include <linux/blk-mq.h>
#include <linux/hdreg.h>
#include <linux/idr.h>
#include <linux/interrupt.h>
#include <linux/math64.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/virtio_ring.h>

#include "vbu.h"

static bool passthrough = true;
module_param(passthrough, bool, 0444);
MODULE_PARM_DESC(passthrough,
		 "Use the host's io_uring; N: virtqueues only (default Y)");

static unsigned int queue_depth;
module_param(queue_depth, uint, 0444);
MODULE_PARM_DESC(queue_depth,
		 "Requests in flight per queue; 0: as many as the device takes (default 0)");

static unsigned int io_timeout = 30;
module_param(io_timeout, uint, 0444);
MODULE_PARM_DESC(io_timeout,
		 "Seconds after which the driver looks what became of a request; 0: the block layer's default (default 30)");

static unsigned int give_up = 4;
module_param(give_up, uint, 0644);
MODULE_PARM_DESC(give_up,
		 "Times that io_timeout may pass for a request in a ring before the driver has the rings taken away and does it over a virtqueue; 0: never (default 4)");

struct workqueue_struct *vbu_wq;
static DEFINE_IDA(vbu_ida);

/* Which no interrupt takes, see vbu_reap(). */
static struct lock_class_key vbu_polled_cq_lock;

static blk_status_t vbu_queue_rq(struct blk_mq_hw_ctx *hctx,
				 const struct blk_mq_queue_data *bd)
{
	struct vbu_queue *q = hctx->driver_data;
	struct request *rq = bd->rq;
	struct vbu_req *r = blk_mq_rq_to_pdu(rq);
	blk_status_t status = BLK_STS_NOTSUPP;

	vbu_start(rq);
	/* Pairs with vbu_open(); RCU, which blk-mq holds, with vbu_close(). */
	if (smp_load_acquire(&q->open) && !(r->flags & VBU_REQ_VIRTQUEUE))
		status = vbu_ring_submit(q, rq, bd->last);
	if (likely(status != BLK_STS_NOTSUPP)) {
		if (bd->last && READ_ONCE(q->vq_unkicked))
			vbu_vq_kick(q);
	} else {
		status = vbu_vq_submit(q, rq, bd->last);
		if (bd->last && READ_ONCE(q->tail) != READ_ONCE(q->published))
			vbu_ring_publish(q);
	}
	return status;
}

static void vbu_queue_rqs(VBU_PLUG *plug)
{
	vbu_plug_set(plug, vbu_ring_submit_list(vbu_plug_list(plug)));
}

static void vbu_commit_rqs(struct blk_mq_hw_ctx *hctx)
{
	struct vbu_queue *q = hctx->driver_data;

	if (READ_ONCE(q->tail) != READ_ONCE(q->published))
		vbu_ring_publish(q);
	if (READ_ONCE(q->vq_unkicked))
		vbu_vq_kick(q);
}

static void vbu_complete(struct request *rq)
{
	struct vbu_req *r = blk_mq_rq_to_pdu(rq);

	if (r->by_ring)
		vbu_ring_complete(rq);
	else
		vbu_vq_complete(rq);
}

/* What went over the queue's virtqueue is completed by its interrupt. */
static int vbu_poll(struct blk_mq_hw_ctx *hctx, struct io_comp_batch *iob)
{
	return vbu_ring_poll(hctx->driver_data, iob);
}

static bool vbu_ring_owns(struct vbu_queue *q, struct request *rq)
{
	unsigned int tag = READ_ONCE(rq->tag);

	return q->slot && tag < q->vbu->set.queue_depth &&
	       READ_ONCE(q->slot[tag]) == rq;
}

static enum blk_eh_timer_return vbu_timeout(struct request *rq)
{
	struct vbu_req *r = blk_mq_rq_to_pdu(rq);
	struct vbu_queue *q = vbu_rq_queue(rq);
	struct vbu *vbu = q->vbu;

	/* An interrupt or a doorbell may be lost, or a poller be gone. */
	vbu_ring_reap(q);
	vbu_vq_done(q->vq);
	/* It is somebody else's now, who may be changing it: hands off. */
	if (blk_mq_rq_state(rq) != MQ_RQ_IN_FLIGHT)
		return BLK_EH_DONE;
	if (!vbu_ring_owns(q, rq)) {
		virtqueue_notify(q->vq);
		return BLK_EH_RESET_TIMER;
	}
	r->timeouts++;
	/* The request's own: that of the disk can be changed by sysfs. */
	dev_warn_ratelimited(&vbu->vdev->dev,
			     "[%s] queue %u: the host has had request %d (%s) for %llu s\n",
			     vbu->disk->disk_name, q->index, rq->tag,
			     blk_op_str(req_op(rq)),
			     div_u64((u64)r->timeouts * rq->timeout, HZ));
	virtqueue_notify(q->vq);
	if (give_up && r->timeouts >= give_up) {
		WRITE_ONCE(vbu->give_up, true);
		vbu_path_kick(vbu);
	}
	return BLK_EH_RESET_TIMER;
}

static int vbu_init_request(struct blk_mq_tag_set *set, struct request *rq,
			    unsigned int hctx_index, vbu_node_t node)
{
	struct vbu_req *r = blk_mq_rq_to_pdu(rq);
	struct vbu *vbu = set->driver_data;

	r->iov = kcalloc_node(vbu->max_segments, sizeof(*r->iov), GFP_KERNEL,
			      node);
	return r->iov ? 0 : -ENOMEM;
}

static void vbu_exit_request(struct blk_mq_tag_set *set, struct request *rq,
			     unsigned int hctx_index)
{
	struct vbu_req *r = blk_mq_rq_to_pdu(rq);

	kfree(r->iov);
}

static int vbu_init_hctx(struct blk_mq_hw_ctx *hctx, void *data,
			 unsigned int index)
{
	struct vbu *vbu = data;

	hctx->driver_data = &vbu->queues[index];
	vbu->queues[index].hctx = hctx;
	return 0;
}

/*
 * Queues that CPUs submit to, save for polling.  The kernel can't spread more
 * queues than CPUs; such queues, of either kind, are left alone.
 */
static unsigned int vbu_default_queues(struct vbu *vbu)
{
	return min(vbu->num_queues - vbu->num_poll, num_possible_cpus());
}

static void vbu_map_queues(struct blk_mq_tag_set *set)
{
	struct vbu *vbu = set->driver_data;
	struct blk_mq_queue_map *map = &set->map[HCTX_TYPE_DEFAULT];

	map->queue_offset = 0;
	map->nr_queues = vbu_default_queues(vbu);
	vbu_map_hw_queues(map, vbu->vdev);
	if (set->nr_maps <= HCTX_TYPE_POLL)
		return;
	set->map[HCTX_TYPE_READ].nr_queues = 0;
	map = &set->map[HCTX_TYPE_POLL];
	map->queue_offset = vbu->num_queues - vbu->num_poll;
	map->nr_queues = min(vbu->num_poll, num_possible_cpus());
	blk_mq_map_queues(map);
}

static const struct blk_mq_ops vbu_mq_ops = {
	.queue_rq	= vbu_queue_rq,
	.queue_rqs	= vbu_queue_rqs,
	.commit_rqs	= vbu_commit_rqs,
	.complete	= vbu_complete,
	.poll		= vbu_poll,
	.timeout	= vbu_timeout,
	.init_request	= vbu_init_request,
	.exit_request	= vbu_exit_request,
	.init_hctx	= vbu_init_hctx,
	.map_queues	= vbu_map_queues,
};

/* @id: VIRTIO_BLK_ID_BYTES; not terminated if it is that long */
int vbu_get_id(struct vbu *vbu, char *id)
{
	struct request *rq;
	int err;

	rq = blk_mq_alloc_request(vbu->disk->queue, REQ_OP_DRV_IN, 0);
	if (IS_ERR(rq))
		return PTR_ERR(rq);
	err = vbu_map_kern(rq, id, VIRTIO_BLK_ID_BYTES);
	if (!err)
		err = blk_status_to_errno(blk_execute_rq(rq, false));
	blk_mq_free_request(rq);
	return err;
}

/* The device may be gone already, so from what was read from it. */
static int vbu_getgeo(struct vbu_getgeo_arg *arg, struct hd_geometry *geo)
{
	struct gendisk *disk = vbu_getgeo_disk(arg);
	struct vbu *vbu = disk->private_data;

	if (vbu->geometry.heads && vbu->geometry.sectors) {
		geo->cylinders = vbu->geometry.cylinders;
		geo->heads = vbu->geometry.heads;
		geo->sectors = vbu->geometry.sectors;
	} else {
		/* Any will do; this makes cylinders of 1 MiB. */
		geo->heads = 64;
		geo->sectors = 32;
		geo->cylinders = get_capacity(disk) / (64 * 32);
	}
	return 0;
}

static void vbu_free(struct vbu *vbu)
{
	unsigned int i;

	for (i = 0; i < vbu->num_queues; i++)
		kfree(vbu->queues[i].sg);
	kfree(vbu->queues);
	ida_free(&vbu_ida, vbu->index);
	kfree(vbu);
}

/* Somebody may have had it open until long after the device has gone. */
static void vbu_free_disk(struct gendisk *disk)
{
	vbu_free(disk->private_data);
}

static const struct block_device_operations vbu_fops = {
	.owner		= THIS_MODULE,
	.getgeo		= vbu_getgeo,
	.free_disk	= vbu_free_disk,
};

/*
 * Names start with vd because udev's rules go by that, and cannot be those of
 * virtio_blk, whose minors end before its names have five letters.
 */
static void vbu_name_disk(struct vbu *vbu, char *name)
{
	char letters[8], *p = letters + sizeof(letters) - 1;
	int n = vbu->index;

	*p = '\0';
	do {
		*--p = 'a' + n % 26;
		n = n / 26 - 1;
	} while (n >= 0);
	snprintf(name, DISK_NAME_LEN, "vduring%s", p);
}

static int vbu_find_vqs(struct vbu *vbu)
{
	unsigned int i, n = vbu->num_queues;
	/* Who polls is nothing to the vectors of the polled queues. */
	struct irq_affinity affinity = {
		.post_vectors = n - vbu_default_queues(vbu),
	};
	struct virtqueue_info *infos;
	struct virtqueue **vqs;
	int err = -ENOMEM;

	vqs = kcalloc(n, sizeof(*vqs), GFP_KERNEL);
	infos = kcalloc(n, sizeof(*infos), GFP_KERNEL);
	if (!vqs || !infos)
		goto out;
	for (i = 0; i < n; i++) {
		struct vbu_queue *q = &vbu->queues[i];

		snprintf(q->name, sizeof(q->name), "req.%u", i);
		infos[i].name = q->name;
		infos[i].callback = vbu_vq_done;
	}
	err = vbu_virtio_find_vqs(vbu->vdev, n, vqs, infos, &affinity);
	for (i = 0; !err && i < n; i++)
		vbu->queues[i].vq = vqs[i];
out:
	kfree(infos);
	kfree(vqs);
	return err;
}

static int vbu_alloc_queues(struct vbu *vbu)
{
	unsigned int i;

	vbu->queues = kcalloc(vbu->num_queues, sizeof(*vbu->queues),
			      GFP_KERNEL);
	if (!vbu->queues) {
		vbu->num_queues = 0;
		return -ENOMEM;
	}
	for (i = 0; i < vbu->num_queues; i++) {
		struct vbu_queue *q = &vbu->queues[i];

		q->vbu = vbu;
		q->index = i;
		q->vector.index = -1;
		spin_lock_init(&q->sq_lock);
		spin_lock_init(&q->cq_lock);
		spin_lock_init(&q->vq_lock);
	}
	return 0;
}

static int vbu_alloc_sgs(struct vbu *vbu)
{
	unsigned int i;

	for (i = 0; i < vbu->num_queues; i++) {
		struct vbu_queue *q = &vbu->queues[i];

		q->polled = i >= vbu->num_queues - vbu->num_poll;
		if (q->polled)
			lockdep_set_class(&q->cq_lock, &vbu_polled_cq_lock);
		q->sg = kcalloc(vbu->max_segments, sizeof(*q->sg), GFP_KERNEL);
		if (!q->sg)
			return -ENOMEM;
		sg_init_table(q->sg, vbu->max_segments);
	}
	return 0;
}

static int vbu_alloc_tags(struct vbu *vbu)
{
	struct blk_mq_tag_set *set = &vbu->set;
	struct virtqueue *vq = vbu->queues[0].vq;

	set->ops = &vbu_mq_ops;
	set->nr_hw_queues = vbu->num_queues;
	set->nr_maps = vbu->num_poll ? HCTX_TYPE_POLL + 1 : 1;
	set->queue_depth = virtqueue_get_vring_size(vq);
	if (!virtio_has_feature(vbu->vdev, VIRTIO_RING_F_INDIRECT_DESC))
		set->queue_depth /= 2;
	/* The CQ has a place for each request in flight, and not more. */
	if (vbu->can_ring)
		set->queue_depth = min(set->queue_depth, vbu->desc.cq_entries);
	if (queue_depth)
		set->queue_depth = min(set->queue_depth, queue_depth);
	set->numa_node = dev_to_node(vbu->vdev->dev.parent);
	set->cmd_size = sizeof(struct vbu_req);
	/*
	 * In jiffies, and the block layer says it in ms: some weeks at most.
	 * It has its own default for 0.
	 */
	set->timeout = min_t(unsigned int, io_timeout,
			     INT_MAX / max_t(long, HZ, MSEC_PER_SEC)) * HZ;
	/* The host schedules. */
	set->flags = VBU_MQ_F_MERGE | BLK_MQ_F_NO_SCHED_BY_DEFAULT;
	set->driver_data = vbu;
	return blk_mq_alloc_tag_set(set);
}

static struct vbu *vbu_alloc(struct virtio_device *vdev)
{
	struct vbu *vbu = kzalloc(sizeof(*vbu), GFP_KERNEL);

	if (!vbu)
		return NULL;
	vbu->index = ida_alloc(&vbu_ida, GFP_KERNEL);
	if (vbu->index < 0) {
		kfree(vbu);
		return NULL;
	}
	vbu->vdev = vdev;
	vbu_path_init(vbu);
	return vbu;
}

static void vbu_read_rings(struct vbu *vbu)
{
	const char *why = "the module parameter passthrough is N";

	if (passthrough)
		why = vbu_read_descriptor(vbu, &vbu->desc);
	vbu->can_ring = !why;
	if (vbu->can_ring)
		vbu->num_poll = vbu->desc.num_poll;
	else
		dev_info(&vbu->vdev->dev,
			 "requests go over the virtqueues: %s\n", why);
}

static int vbu_probe(struct virtio_device *vdev)
{
	struct queue_limits lim = { };
	struct gendisk *disk;
	u16 num_queues = 1;
	struct vbu *vbu;
	u64 capacity;
	int err;

	if (virtio_has_feature(vdev, VIRTIO_BLK_F_MQ))
		virtio_cread(vdev, struct virtio_blk_config, num_queues,
			     &num_queues);
	if (!num_queues) {
		dev_err(&vdev->dev, "the device has no queue\n");
		return -EINVAL;
	}
	vbu = vbu_alloc(vdev);
	if (!vbu)
		return -ENOMEM;
	vdev->priv = vbu;
	vbu->num_queues = num_queues;
	err = vbu_alloc_queues(vbu);
	if (err)
		goto free_vbu;
	vbu_read_rings(vbu);
	err = vbu_read_limits(vbu, &lim);
	if (err)
		goto free_vbu;
	vbu->max_segments = lim.max_segments;
	err = vbu_alloc_sgs(vbu);
	if (err)
		goto free_vbu;
	err = vbu_find_vqs(vbu);
	if (err)
		goto free_vbu;
	err = vbu_alloc_tags(vbu);
	if (err)
		goto del_vqs;
	if (vbu->can_ring && vbu_path_alloc(vbu)) {
		dev_warn(&vdev->dev,
			 "requests go over the virtqueues: no memory for the rings\n");
		vbu->can_ring = false;
	}

	disk = vbu_alloc_disk(&vbu->set, &lim, vbu->write_cache, vbu->fua, vbu);
	if (IS_ERR(disk)) {
		err = PTR_ERR(disk);
		goto free_rings;
	}
	vbu->disk = disk;
	disk->fops = &vbu_fops;
	disk->private_data = vbu;
	vbu_name_disk(vbu, disk->disk_name);
	set_disk_ro(disk, virtio_has_feature(vdev, VIRTIO_BLK_F_RO));
	virtio_cread(vdev, struct virtio_blk_config, capacity, &capacity);
	set_capacity(disk, capacity);
	vbu_vectors_alloc(vbu);

	virtio_device_ready(vdev);
	/* Its partitions are read over the virtqueues, see vbu_scan(). */
	err = device_add_disk(&vdev->dev, disk, vbu_attr_groups);
	if (err)
		goto reset;
	return 0;

reset:
	virtio_reset_device(vdev);
	vbu_vectors_free(vbu);
	cancel_delayed_work_sync(&vbu->path_work);
	put_disk(disk);
free_rings:
	vbu_path_free(vbu);
	blk_mq_free_tag_set(&vbu->set);
del_vqs:
	vdev->config->del_vqs(vdev);
free_vbu:
	vbu_free(vbu);
	return err;
}

/*
 * Right after probe, and so when config interrupts come at last, which rings
 * without a vector complete by.
 */
static void vbu_scan(struct virtio_device *vdev)
{
	vbu_path_update(vdev->priv);
}

static void vbu_config_changed(struct virtio_device *vdev)
{
	vbu_path_config_changed(vdev->priv);
}

/* The driver's part of the disk goes; what is still open stays as a shell. */
static void vbu_remove(struct virtio_device *vdev)
{
	struct vbu *vbu = vdev->priv;

	if (vbu_is_gone(vbu))
		vbu_path_abandon(vbu);
	else
		vbu_path_leave(vbu);
	del_gendisk(vbu->disk);

	virtio_reset_device(vdev);
	vbu_vectors_free(vbu);
	/* Whatever kicks it is over only now. */
	cancel_delayed_work_sync(&vbu->path_work);
	vdev->config->del_vqs(vdev);
	vbu_path_free(vbu);
	blk_mq_free_tag_set(&vbu->set);
	put_disk(vbu->disk);
}

/* The next kernel's memory is not to be written by rings of this one. */
static void vbu_shutdown(struct vbu_shutdown_arg *arg)
{
	struct vbu *vbu = vbu_shutdown_vdev(arg)->priv;

	if (!vbu_is_gone(vbu))
		vbu_path_shutdown(vbu);
}

#ifdef CONFIG_PM_SLEEP
static int vbu_freeze(struct virtio_device *vdev)
{
	struct vbu *vbu = vdev->priv;
	struct request_queue *queue = vbu->disk->queue;
	unsigned int memflags, i;

	vbu_path_leave(vbu);
	/*
	 * Once nothing is in flight, nothing is to come.  This waits for those
	 * who are still running the queue, as the virtqueues go next.
	 */
	memflags = vbu_freeze_queue(queue);
	blk_mq_quiesce_queue(queue);
	vbu_unfreeze_queue(queue, memflags);

	virtio_reset_device(vdev);
	vbu_vectors_free(vbu);
	cancel_delayed_work_sync(&vbu->path_work);
	vdev->config->del_vqs(vdev);
	for (i = 0; i < vbu->num_queues; i++)
		vbu->queues[i].vq = NULL;
	return 0;
}

static int vbu_restore(struct virtio_device *vdev)
{
	struct vbu *vbu = vdev->priv;
	int err;

	err = vbu_find_vqs(vbu);
	if (err) {
		/* What comes fails, rather than waits for a queue for ever. */
		blk_mq_unquiesce_queue(vbu->disk->queue);
		return err;
	}
	vbu_vectors_alloc(vbu);
	virtio_device_ready(vdev);
	blk_mq_unquiesce_queue(vbu->disk->queue);
	vbu_path_enter(vbu);
	return 0;
}
#endif

/*
 * A refusal leaves FAILED in the device's status, from the core, to the next
 * driver; QEMU does not mind.
 */
static int vbu_validate(struct virtio_device *vdev)
{
	if (!virtio_has_feature(vdev, VIRTIO_BLK_F_URING) ||
	    !virtio_has_feature(vdev, VIRTIO_F_VERSION_1))
		return -ENODEV;
	return 0;
}

static const struct virtio_device_id vbu_ids[] = {
	{ VIRTIO_ID_BLOCK, VIRTIO_DEV_ANY_ID },
	{ 0 },
};

static const unsigned int vbu_features[] = {
	VIRTIO_BLK_F_SIZE_MAX,
	VIRTIO_BLK_F_SEG_MAX,
	VIRTIO_BLK_F_GEOMETRY,
	VIRTIO_BLK_F_RO,
	VIRTIO_BLK_F_BLK_SIZE,
	VIRTIO_BLK_F_FLUSH,
	VIRTIO_BLK_F_TOPOLOGY,
	VIRTIO_BLK_F_CONFIG_WCE,
	VIRTIO_BLK_F_MQ,
	VIRTIO_BLK_F_DISCARD,
	VIRTIO_BLK_F_WRITE_ZEROES,
	VIRTIO_BLK_F_SECURE_ERASE,
	VIRTIO_BLK_F_URING,
};

static struct virtio_driver vbu_driver = {
	.driver.name		= KBUILD_MODNAME,
	.id_table		= vbu_ids,
	.feature_table		= vbu_features,
	.feature_table_size	= ARRAY_SIZE(vbu_features),
	.validate		= vbu_validate,
	.probe			= vbu_probe,
	.scan			= vbu_scan,
	.remove			= vbu_remove,
	.VBU_SHUTDOWN		= vbu_shutdown,
	.config_changed		= vbu_config_changed,
#ifdef CONFIG_PM_SLEEP
	.freeze			= vbu_freeze,
	.restore		= vbu_restore,
#endif
};

static int __init vbu_init(void)
{
	int err;

	/*
	 * Disks that memory is written out to depend on it.  Unbound, as what
	 * it does is about all queues, and so of no CPU.
	 */
	vbu_wq = alloc_workqueue("virtio_blk_uring",
				 WQ_MEM_RECLAIM | WQ_UNBOUND, 0);
	if (!vbu_wq)
		return -ENOMEM;
	err = register_virtio_driver(&vbu_driver);
	if (err)
		destroy_workqueue(vbu_wq);
	return err;
}

static void __exit vbu_exit(void)
{
	unregister_virtio_driver(&vbu_driver);
	destroy_workqueue(vbu_wq);
	ida_destroy(&vbu_ida);
}

module_init(vbu_init);
module_exit(vbu_exit);

MODULE_DEVICE_TABLE(virtio, vbu_ids);
MODULE_DESCRIPTION("Virtio block devices that pass a host io_uring through");
MODULE_LICENSE("GPL");
