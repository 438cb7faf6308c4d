// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio_blk_uring: virtqueues or rings
 *
 * The device has the say about the path that requests take; here the driver
 * follows.  All runs under path_lock, mostly in a work that whatever may have
 * changed something kicks: the config interrupt, a closed ring whose last
 * request was completed, a request that is stuck.  I/O goes on meanwhile: from
 * the moment the rings are closed, new requests take the virtqueues.
 */
#include <linux/delay.h>
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/slab.h>

#include "vbu.h"

#define VBU_NOTHING	U32_MAX		/* vbu.told, vbu.said */
#define VBU_CHANGED	(U32_MAX - 1)	/* vbu.said */
#define VBU_START_MS	5000		/* more than a host needs for its rings */
#define VBU_SHUTDOWN_MS	1000		/* more than a host needs to end them */
#define VBU_REFRAIN_S	60U		/* then try again; doubles each time */
#define VBU_REFRAIN_MAX_S	3600U

const char *vbu_state_name(u32 state)
{
	switch (state) {
	case VIRTIO_BLK_URING_VIRTQUEUE:
		return "virtqueue";
	case VIRTIO_BLK_URING_STARTING:
		return "starting";
	case VIRTIO_BLK_URING_RING:
		return "ring";
	case VIRTIO_BLK_URING_SUSPENDING:
		return "suspending";
	case VIRTIO_BLK_URING_DEAD:
		return "dead";
	default:
		return "unknown";
	}
}

const char *vbu_reason_name(u32 reason)
{
	switch (reason) {
	case VIRTIO_BLK_URING_REASON_NONE:
		return "none";
	case VIRTIO_BLK_URING_REASON_ADMIN:
		return "the host's administrator wants it so";
	case VIRTIO_BLK_URING_REASON_STOPPED:
		return "the machine was stopped";
	case VIRTIO_BLK_URING_REASON_BAD_ADDRESS:
		return "the device cannot use the memory of a ring";
	case VIRTIO_BLK_URING_REASON_BAD_VECTOR:
		return "the device cannot use the interrupt vector of a ring";
	case VIRTIO_BLK_URING_REASON_BACKEND:
		return "the disk cannot be passed through now, the host's log says why";
	case VIRTIO_BLK_URING_REASON_HOST:
		return "the host could not build a ring, its log says why";
	case VIRTIO_BLK_URING_REASON_DIED:
		return "a ring was lost";
	case VIRTIO_BLK_URING_REASON_DRIVER:
		return "this driver gave up the rings";
	case VIRTIO_BLK_URING_REASON_MEMORY:
		return "guest memory has changed its layout";
	case VIRTIO_BLK_URING_REASON_MIGRATION:
		return "the machine is being migrated";
	default:
		return "unknown";
	}
}

void vbu_path_kick(struct vbu *vbu)
{
	mod_delayed_work(vbu_wq, &vbu->path_work, 0);
	wake_up(&vbu->path_wait);
}

static void vbu_reap_all(struct vbu *vbu)
{
	unsigned int i;

	for (i = 0; i < vbu->num_queues; i++)
		vbu_ring_reap(&vbu->queues[i]);
}

/* After closing: how many requests the rings still own. */
static unsigned long vbu_in_flight(struct vbu *vbu, bool polled_only)
{
	unsigned long n = 0;
	unsigned int i;

	for (i = 0; i < vbu->num_queues; i++) {
		struct vbu_queue *q = &vbu->queues[i];

		if (polled_only && !q->polled)
			continue;
		/* The lock orders this with vbu_reap()'s look at q->open. */
		spin_lock_irq(&q->cq_lock);
		n += q->submitted - q->completed;
		spin_unlock_irq(&q->cq_lock);
	}
	return n;
}

/* From here on no request enters a ring; those in flight go on. */
static void vbu_close(struct vbu *vbu)
{
	unsigned int i;

	if (vbu->closed)
		return;
	vbu->closed = true;
	for (i = 0; i < vbu->num_queues; i++)
		WRITE_ONCE(vbu->queues[i].open, false);
	/* .queue_rq() calls that saw it open are over after this. */
	vbu_wait_quiesce_done(&vbu->set, vbu->disk->queue);
	for (i = 0; i < vbu->num_queues; i++)
		vbu_ring_publish(&vbu->queues[i]);
}

/* The rings' memory is ours again, nobody looks at it. */
static void vbu_retire(struct vbu *vbu)
{
	unsigned int i;

	for (i = 0; i < vbu->num_queues; i++) {
		struct vbu_queue *q = &vbu->queues[i];

		spin_lock_irq(&q->cq_lock);
		q->live = false;
		spin_unlock_irq(&q->cq_lock);
	}
	vbu->rings_live = false;
}

static void vbu_read_windows(struct vbu *vbu)
{
	unsigned int i, n = 0, num = vbu_get16(vbu, num_windows);

	memset(vbu->windows, 0, sizeof(vbu->windows));
	for (i = 0; i < num && n < VBU_MAX_WINDOWS; i++) {
		struct vbu_window *w = &vbu->windows[n];

		vbu_set16(vbu, window_select, i);
		w->gpa = vbu_get64(vbu, window_gpa);
		w->size = vbu_get64(vbu, window_size);
		w->bias = vbu_get64(vbu, window_addr) - w->gpa;
		if (w->size)
			n++;
	}
	vbu->num_windows = n;
}

/* False: the state is another one meanwhile, or is to be. */
static bool vbu_open(struct vbu *vbu)
{
	u32 offset_align;
	bool aligned;
	unsigned int i;

	vbu->give_up = false;
	vbu_read_windows(vbu);
	aligned = vbu_read_offset_align(vbu, &offset_align);
	if (vbu_get32(vbu, path_state) != VIRTIO_BLK_URING_RING)
		return false;
	if (!aligned) {
		vbu->give_up = true;
		dev_err(&vbu->vdev->dev,
			"[%s] the rings' alignment %u is no power of 2\n",
			vbu->disk->disk_name, offset_align);
		return false;
	}
	vbu->said = VBU_NOTHING;
	vbu->dying = false;
	vbu->activations++;

	for (i = 0; i < vbu->num_queues; i++) {
		struct vbu_queue *q = &vbu->queues[i];

		vbu_set16(vbu, queue_select, i);
		q->iopoll = vbu_get32(vbu, queue_flags) &
			    VIRTIO_BLK_URING_QUEUE_IOPOLL;
		q->window = vbu->windows;
		q->offset_mask = offset_align - 1;
		/*
		 * The memory was zeroed before the host got it.  Both at once,
		 * as .commit_rqs() may be looking for what is not published.
		 */
		spin_lock(&q->sq_lock);
		WRITE_ONCE(q->tail, 0);
		WRITE_ONCE(q->published, 0);
		q->seen = 0;
		spin_unlock(&q->sq_lock);
		WRITE_ONCE(q->head, 0);
		if (q->polled)
			WRITE_ONCE(*q->cq_flags, IORING_CQ_EVENTFD_DISABLED);
		spin_lock_irq(&q->cq_lock);
		q->starved = false;
		q->live = true;
		spin_unlock_irq(&q->cq_lock);
	}
	vbu->rings_live = true;
	vbu->closed = false;
	for (i = 0; i < vbu->num_queues; i++) {
		/* Pairs with vbu_queue_rq(), which sees all of the above. */
		smp_store_release(&vbu->queues[i].open, true);
	}

	dev_info(&vbu->vdev->dev,
		 "[%s] requests go through the host's io_uring: %u rings, %u of them polled\n",
		 vbu->disk->disk_name, vbu->num_queues, vbu->num_poll);
	return true;
}

static void vbu_activate(struct vbu *vbu)
{
	unsigned int i, slept = 0, ms = 1;

	for (i = 0; i < vbu->num_queues; i++) {
		struct vbu_queue *q = &vbu->queues[i];

		memset(q->ring_mem, 0, vbu->desc.ring_bytes);
		memset(q->sqe_mem, 0, vbu->desc.sqe_bytes);
		vbu_set16(vbu, queue_select, i);
		vbu_set16(vbu, queue_vector, q->vector.index < 0 ?
			  VIRTIO_BLK_URING_NO_VECTOR : q->vector.index);
		vbu_set64(vbu, queue_ring, virt_to_phys(q->ring_mem));
		vbu_set64(vbu, queue_sqes, virt_to_phys(q->sqe_mem));
	}
	/* What was told was about the last rings. */
	vbu->told = VBU_NOTHING;
	vbu_set32(vbu, command, VIRTIO_BLK_URING_CMD_ACTIVATE);
	/*
	 * An interrupt tells the outcome, but who loads the driver expects the
	 * rings to be there when it is loaded, so this waits for a while.
	 */
	while (vbu_get32(vbu, path_state) == VIRTIO_BLK_URING_STARTING &&
	       slept < VBU_START_MS) {
		msleep(ms);
		slept += ms;
		ms = min(ms * 2, 50U);
	}
}

static void vbu_say_why(struct vbu *vbu)
{
	if (vbu->said == vbu->reason || vbu->said == VBU_CHANGED ||
	    vbu->reason == VIRTIO_BLK_URING_REASON_NONE)
		return;
	vbu->said = vbu->reason;
	dev_info(&vbu->vdev->dev,
		 "[%s] requests go over the virtqueues: %s\n",
		 vbu->disk->disk_name, vbu_reason_name(vbu->reason));
}

/*
 * The rings are gone, and nothing of them can reach disk or memory: complete
 * what they have done, and do the rest over the virtqueues.
 */
static void vbu_bury(struct vbu *vbu)
{
	unsigned int i, n = 0;

	vbu_close(vbu);
	WRITE_ONCE(vbu->dying, true);
	for (i = 0; i < vbu->num_queues; i++) {
		struct vbu_queue *q = &vbu->queues[i];
		unsigned int replayed;

		if (vbu_ring_intact(q))
			vbu_ring_reap(q);
		replayed = vbu_ring_end(q, -ECANCELED);
		atomic_long_add(replayed, &q->replayed);
		n += replayed;
	}
	vbu_retire(vbu);
	dev_info(&vbu->vdev->dev,
		 "[%s] the rings are gone, %u requests in them are done again\n",
		 vbu->disk->disk_name, n);
}

/* Asks for no rings for a while, which is longer each time. */
static void vbu_refrain(struct vbu *vbu)
{
	vbu->refrain_s = clamp(vbu->refrain_s * 2, VBU_REFRAIN_S,
			       VBU_REFRAIN_MAX_S);
	vbu->refrain_until = jiffies + vbu->refrain_s * HZ;
}

/* Whether to ask for rings, when the device would give them. */
static bool vbu_wants_rings(struct vbu *vbu)
{
	struct vbu_desc desc;
	const char *why;

	if (!vbu->can_ring || vbu->leaving)
		return false;
	if (vbu->refrain_s && time_before(jiffies, vbu->refrain_until)) {
		queue_delayed_work(vbu_wq, &vbu->path_work,
				   vbu->refrain_until - jiffies + 1);
		return false;
	}
	why = vbu_read_descriptor(vbu, &desc);
	/* May differ, and is read again when the rings run. */
	desc.offset_align = vbu->desc.offset_align;
	if (why || memcmp(&desc, &vbu->desc, sizeof(desc))) {
		if (vbu->said != VBU_CHANGED)
			dev_info(&vbu->vdev->dev,
				 "[%s] requests go over the virtqueues: the device's rings are others than when the driver was loaded, bind it anew to use them\n",
				 vbu->disk->disk_name);
		vbu->said = VBU_CHANGED;
		return false;
	}
	return true;
}

/*
 * Whether the last attempt failed by what this driver asked for, which another
 * one would not change.
 */
static bool vbu_was_refused(struct vbu *vbu)
{
	return vbu->reason == VIRTIO_BLK_URING_REASON_BAD_ADDRESS ||
	       vbu->reason == VIRTIO_BLK_URING_REASON_BAD_VECTOR;
}

/*
 * What to do in each state.  True: that may have changed the state.
 * @tried: whether this call of vbu_path_update() has asked for rings.
 */
static bool vbu_in_virtqueue(struct vbu *vbu, bool *tried)
{
	bool activatable = vbu_get32(vbu, path_flags) &
			   VIRTIO_BLK_URING_PATH_ACTIVATABLE;

	if (vbu->rings_live) {
		/* Not what the device is to do, but clear. */
		dev_warn(&vbu->vdev->dev, "[%s] the device took the rings away unasked\n",
			 vbu->disk->disk_name);
		vbu_bury(vbu);
	}
	/*
	 * Not for other reasons: the device is not activatable for a while
	 * after we gave up, too.
	 */
	if (!activatable && vbu->reason == VIRTIO_BLK_URING_REASON_ADMIN)
		vbu->refrain_s = 0;
	if (*tried && vbu_was_refused(vbu))
		vbu_refrain(vbu);
	if (activatable && !*tried && vbu_wants_rings(vbu)) {
		*tried = true;
		vbu_activate(vbu);
		return true;
	}
	vbu_say_why(vbu);
	return false;
}

/* True if the device was told to take the rings away. */
static bool vbu_gave_up(struct vbu *vbu)
{
	if (!READ_ONCE(vbu->give_up) || vbu->told == vbu->state)
		return false;
	dev_warn(&vbu->vdev->dev, "[%s] giving the rings up\n",
		 vbu->disk->disk_name);
	vbu_close(vbu);
	vbu->told = vbu->state;
	vbu_refrain(vbu);
	vbu_set32(vbu, command, VIRTIO_BLK_URING_CMD_GIVE_UP);
	return true;
}

static bool vbu_in_ring(struct vbu *vbu)
{
	if (vbu->rings_live)
		return vbu_gave_up(vbu);
	if (vbu->leaving || vbu->told == vbu->state || vbu_open(vbu))
		return false;
	/* Rings that are of no use, or another state. */
	return !vbu->give_up || vbu_gave_up(vbu);
}

static bool vbu_in_suspending(struct vbu *vbu)
{
	if (vbu->rings_live) {
		vbu_close(vbu);
		vbu_reap_all(vbu);
		if (vbu_in_flight(vbu, false)) {
			if (vbu_gave_up(vbu))
				return true;
			/*
			 * The last completion kicks us, save on polled rings,
			 * where there is none to await but by looking.
			 */
			queue_delayed_work(vbu_wq, &vbu->path_work,
					   vbu_in_flight(vbu, true) ? 1 : HZ);
			return false;
		}
		vbu_retire(vbu);
	}
	if (vbu->told == vbu->state)
		return false;
	vbu->told = vbu->state;
	vbu_set32(vbu, command, VIRTIO_BLK_URING_CMD_SUSPENDED);
	return true;
}

static bool vbu_in_dead(struct vbu *vbu)
{
	if (vbu->rings_live)
		vbu_bury(vbu);
	if (vbu->told == vbu->state)
		return false;
	vbu->told = vbu->state;
	vbu_set32(vbu, command, VIRTIO_BLK_URING_CMD_BURIED);
	return true;
}

static bool vbu_path_step(struct vbu *vbu, bool *tried)
{
	WRITE_ONCE(vbu->state, vbu_get32(vbu, path_state));
	WRITE_ONCE(vbu->reason, vbu_get32(vbu, path_reason));
	switch (vbu->state) {
	case VIRTIO_BLK_URING_VIRTQUEUE:
		return vbu_in_virtqueue(vbu, tried);
	case VIRTIO_BLK_URING_STARTING:
		/* A slow host; what takes so long is not to hold up probe. */
		queue_delayed_work(vbu_wq, &vbu->path_work, HZ / 10);
		return false;
	case VIRTIO_BLK_URING_RING:
		return vbu_in_ring(vbu);
	case VIRTIO_BLK_URING_SUSPENDING:
		return vbu_in_suspending(vbu);
	case VIRTIO_BLK_URING_DEAD:
		return vbu_in_dead(vbu);
	default:
		dev_warn_once(&vbu->vdev->dev, "unknown path state %u\n",
			      vbu->state);
		return false;
	}
}

/* Does what the device's state asks for; process context. */
void vbu_path_update(struct vbu *vbu)
{
	bool tried = false;

	mutex_lock(&vbu->path_lock);
	while (vbu_path_step(vbu, &tried))
		;
	mutex_unlock(&vbu->path_lock);
}

static void vbu_path_work(struct work_struct *work)
{
	vbu_path_update(container_of(to_delayed_work(work), struct vbu,
				     path_work));
}

static void vbu_capacity_work(struct work_struct *work)
{
	struct vbu *vbu = container_of(work, struct vbu, capacity_work);
	u64 capacity;

	virtio_cread(vbu->vdev, struct virtio_blk_config, capacity, &capacity);
	if (capacity == get_capacity(vbu->disk))
		return;
	dev_info(&vbu->vdev->dev, "[%s] the disk has %llu sectors now\n",
		 vbu->disk->disk_name, capacity);
	set_capacity_and_notify(vbu->disk, capacity);
}

/* The config interrupt; not before probe has returned. */
void vbu_path_config_changed(struct vbu *vbu)
{
	unsigned int i;

	/* Rings without a vector complete by this, too. */
	for (i = 0; i < vbu->num_queues; i++) {
		struct vbu_queue *q = &vbu->queues[i];

		if (!q->polled && q->vector.index < 0)
			vbu_ring_interrupt(q);
	}
	vbu_path_kick(vbu);
	schedule_work(&vbu->capacity_work);
}

/*
 * The device is gone, and with it whatever it was doing: all fails.  What
 * somebody has just taken out of a ring or virtqueue is left to them, and what
 * is still to come finds the virtqueues broken.
 */
void vbu_path_abandon(struct vbu *vbu)
{
	unsigned int i;

	virtio_break_device(vbu->vdev);
	mutex_lock(&vbu->path_lock);
	vbu->leaving = true;
	vbu_close(vbu);
	vbu_reap_all(vbu);
	for (i = 0; i < vbu->num_queues; i++)
		vbu_ring_end(&vbu->queues[i], -EIO);
	vbu_retire(vbu);
	mutex_unlock(&vbu->path_lock);
	cancel_work_sync(&vbu->capacity_work);

	for (i = 0; i < vbu->num_queues; i++)
		vbu_vq_end(&vbu->queues[i]);
}

/*
 * Back to the virtqueues, for good, before the device is reset.  The virtio
 * core delivers no config interrupts any more when this is called.
 */
void vbu_path_leave(struct vbu *vbu)
{
	bool live;

	mutex_lock(&vbu->path_lock);
	vbu->leaving = true;
	if (vbu->rings_live)
		vbu_close(vbu);
	mutex_unlock(&vbu->path_lock);

	do {
		vbu_path_update(vbu);
		/* All ones: it has vanished meanwhile. */
		if (vbu_is_gone(vbu) || vbu->state == U32_MAX) {
			vbu_path_abandon(vbu);
			return;
		}
		mutex_lock(&vbu->path_lock);
		if (vbu->rings_live) {
			vbu_reap_all(vbu);
			if (!vbu_in_flight(vbu, false))
				vbu_retire(vbu);
		}
		live = vbu->rings_live;
		mutex_unlock(&vbu->path_lock);
		/* Polled rings, and those without vector, have no event. */
		if (live)
			wait_event_timeout(vbu->path_wait,
					   !vbu_in_flight(vbu, false), 1);
	} while (live);
	cancel_work_sync(&vbu->capacity_work);
}

/* Whether the device has rings, or is about to. */
static bool vbu_device_has_rings(struct vbu *vbu)
{
	switch (vbu_get32(vbu, path_state)) {
	case VIRTIO_BLK_URING_STARTING:
	case VIRTIO_BLK_URING_RING:
	case VIRTIO_BLK_URING_SUSPENDING:
		return true;
	default:
		return false;
	}
}

/*
 * Has the rings end without waiting for what is in them, which goes over the
 * virtqueues, as all that is still to come.
 */
void vbu_path_shutdown(struct vbu *vbu)
{
	unsigned int slept;

	mutex_lock(&vbu->path_lock);
	vbu->leaving = true;
	vbu_close(vbu);
	if (vbu->can_ring && vbu_device_has_rings(vbu)) {
		vbu_set32(vbu, command, VIRTIO_BLK_URING_CMD_GIVE_UP);
		/* Until then the host may write to memory. */
		for (slept = 0; slept < VBU_SHUTDOWN_MS &&
		     vbu_device_has_rings(vbu); slept += 20)
			msleep(20);
	}
	mutex_unlock(&vbu->path_lock);
	vbu_path_update(vbu);
}

/* Rings again, for a device that was reset and is ready again. */
void vbu_path_enter(struct vbu *vbu)
{
	mutex_lock(&vbu->path_lock);
	vbu->leaving = false;
	vbu->told = VBU_NOTHING;
	mutex_unlock(&vbu->path_lock);
	vbu_path_update(vbu);
	schedule_work(&vbu->capacity_work);
}

void vbu_path_init(struct vbu *vbu)
{
	mutex_init(&vbu->path_lock);
	init_waitqueue_head(&vbu->path_wait);
	INIT_DELAYED_WORK(&vbu->path_work, vbu_path_work);
	INIT_WORK(&vbu->capacity_work, vbu_capacity_work);
	vbu->told = VBU_NOTHING;
	vbu->said = VBU_NOTHING;
	vbu->closed = true;
}

static unsigned int vbu_ring_order(struct vbu *vbu, u32 bytes)
{
	return max_t(int, get_order(bytes),
		     (int)vbu->desc.ring_align - PAGE_SHIFT);
}

static void *vbu_ring_alloc(struct vbu *vbu, u32 bytes)
{
	struct page *page;

	/* Aligned to its size, as whole orders are. */
	page = alloc_pages_node(dev_to_node(vbu->vdev->dev.parent),
				GFP_KERNEL | __GFP_ZERO,
				vbu_ring_order(vbu, bytes));
	return page ? page_address(page) : NULL;
}

static void vbu_ring_free(struct vbu *vbu, void *mem, u32 bytes)
{
	free_pages((unsigned long)mem, vbu_ring_order(vbu, bytes));
}

/* Gets the memory for all rings, once. */
int vbu_path_alloc(struct vbu *vbu)
{
	const struct vbu_desc *d = &vbu->desc;
	unsigned int i;

	for (i = 0; i < vbu->num_queues; i++) {
		struct vbu_queue *q = &vbu->queues[i];

		q->ring_mem = vbu_ring_alloc(vbu, d->ring_bytes);
		q->sqe_mem = vbu_ring_alloc(vbu, d->sqe_bytes);
		q->slot = kcalloc(vbu->set.queue_depth, sizeof(*q->slot),
				  GFP_KERNEL);
		if (!q->ring_mem || !q->sqe_mem || !q->slot) {
			vbu_path_free(vbu);
			return -ENOMEM;
		}
		vbu_ring_init(q);
	}
	return 0;
}

/* After the reset that ends the host's use of it. */
void vbu_path_free(struct vbu *vbu)
{
	unsigned int i;

	for (i = 0; i < vbu->num_queues; i++) {
		struct vbu_queue *q = &vbu->queues[i];

		vbu_ring_free(vbu, q->ring_mem, vbu->desc.ring_bytes);
		vbu_ring_free(vbu, q->sqe_mem, vbu->desc.sqe_bytes);
		kfree(q->slot);
		q->ring_mem = NULL;
		q->sqe_mem = NULL;
		q->slot = NULL;
	}
}
