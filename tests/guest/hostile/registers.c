// SPDX-License-Identifier: GPL-2.0-only
/*
 * vbu_hostile: indices, doorbells, config space, states
 */
#include <linux/delay.h>
#include <linux/io.h>
#include <linux/kernel.h>
#include <linux/pci.h>
#include <linux/random.h>

#include "hostile.h"

#define HOSTILE_TAIL_LEAP	1000000
#define HOSTILE_NOTIFY_STRIDE	4	/* the device's notify_off_multiplier */
#define HOSTILE_NOTIFIERS	1024	/* queues that a device could have */

static int hostile_fill(struct hostile *h, u32 n)
{
	struct hostile_ring *ring;
	struct hostile_slot *slot;

	while (n--) {
		slot = hostile_slot(h, &ring);
		if (!slot)
			return -ETIMEDOUT;
		hostile_prepare(h, slot, n & 1 ? IORING_OP_WRITEV :
						 IORING_OP_READV);
		/* Replayed as often as the host likes, this costs it little. */
		if (hostile_one_in(h, 2))
			slot->sqe.opcode = IORING_OP_NOP;
		hostile_submit(h, ring, slot);
	}
	return 0;
}

static void hostile_scribble(struct hostile *h, struct hostile_ring *ring)
{
	u32 *words = ring->ring_mem;
	u32 i, n;

	switch (hostile_below(h, 8)) {
	case 0:
		WRITE_ONCE(*hostile_word(h, ring, h->sq_tail),
			   ring->tail + HOSTILE_TAIL_LEAP);
		break;
	case 1:
		WRITE_ONCE(*hostile_word(h, ring, h->sq_tail),
			   hostile_random(h));
		break;
	case 2:
		WRITE_ONCE(*hostile_word(h, ring, h->sq_head),
			   hostile_random(h));
		break;
	case 3:
		WRITE_ONCE(*hostile_word(h, ring, h->cq_head),
			   hostile_random(h));
		break;
	case 4:
		WRITE_ONCE(*hostile_word(h, ring, h->cq_tail),
			   hostile_random(h));
		break;
	case 5:
		WRITE_ONCE(*hostile_word(h, ring, h->sq_flags),
			   hostile_random(h));
		WRITE_ONCE(*hostile_word(h, ring, h->cq_flags),
			   hostile_random(h));
		break;
	case 6:		/* all that comes before the CQEs, masks included */
		for (i = 0; i < h->cqes / sizeof(*words); i++)
			WRITE_ONCE(words[i], hostile_random(h));
		break;
	default:
		for (n = 0; n < 64; n++)
			WRITE_ONCE(words[hostile_below(h, h->ring_bytes /
						       sizeof(*words))],
				   hostile_random(h));
	}
}

/* Scribbles over what guest and host share while the host uses it. */
int hostile_indices(struct hostile *h, u32 count)
{
	u32 i, n;
	int err = 0;

	for (i = 0; !err && i < count; i++) {
		struct hostile_ring *ring;

		err = hostile_start(h) ?: hostile_fill(h, 1 + hostile_below(h, 24));
		if (err)
			break;
		h->disordered = true;
		ring = &h->rings[hostile_below(h, h->num_rings)];
		hostile_kick(h, ring);
		for (n = 0; n < 4; n++) {
			hostile_scribble(h, ring);
			virtqueue_notify(ring->vq);
			usleep_range(100, 500);
		}
		err = hostile_end(h);
	}
	return err;
}

/* Has the host execute what lies in the SQ over and over. */
static void hostile_leap(struct hostile *h, struct hostile_ring *ring)
{
	u32 target = ring->tail + HOSTILE_TAIL_LEAP;
	u32 waits;

	h->disordered = true;
	/* The SQEs come before it. */
	smp_store_release(hostile_word(h, ring, h->sq_tail), target);
	virtqueue_notify(ring->vq);
	/* As far as the host lets it go. */
	for (waits = 0; waits < 500; waits++) {
		if (READ_ONCE(*hostile_word(h, ring, h->sq_head)) == target)
			break;
		usleep_range(500, 1000);
	}
	h->results.submitted +=
		READ_ONCE(*hostile_word(h, ring, h->sq_head)) - ring->tail;
}

/* Completions without end, and nobody takes one out of the CQ. */
int hostile_overflow(struct hostile *h, u32 count)
{
	u32 i;
	int err;

	for (i = 0; i < count; i++) {
		err = hostile_start(h) ?: hostile_fill(h, h->sq_entries / 2);
		if (err)
			return err;
		err = hostile_wait(h);
		if (err)
			return err;
		hostile_leap(h, &h->rings[i % h->num_rings]);
		err = hostile_end(h);
		if (err)
			return err;
	}
	return 0;
}

/*
 * Requests in flight without end: each FSYNC waits for a worker thread of the
 * host's.
 */
int hostile_flushes(struct hostile *h, u32 count)
{
	u32 i, n;
	int err;

	for (i = 0; i < count; i++) {
		struct hostile_ring *ring = &h->rings[i % h->num_rings];
		struct io_uring_sqe *sqes = ring->sqe_mem;

		err = hostile_start(h);
		if (err)
			return err;
		for (n = 0; n < h->sq_entries; n++)
			sqes[n] = (struct io_uring_sqe) {
				.opcode = IORING_OP_FSYNC,
				.flags = IOSQE_FIXED_FILE,
			};
		hostile_leap(h, ring);
		err = hostile_end(h);
		if (err)
			return err;
	}
	return 0;
}

static void hostile_doorbell(struct hostile *h, u32 queue, u16 value)
{
	/* The notifiers of all queues are one page, queue 0's comes first. */
	void __iomem *page = (void __iomem *)h->rings[0].vq->priv;

	iowrite16(value, page + queue * HOSTILE_NOTIFY_STRIDE);
}

/* Doorbells as fast as they go, of all queues that there could be. */
int hostile_doorbells(struct hostile *h, u32 count)
{
	u32 i;
	int err;

	for (i = 0; i < count; i++) {
		u32 queue = hostile_below(h, hostile_one_in(h, 8) ?
					  HOSTILE_NOTIFIERS : h->num_rings);

		hostile_doorbell(h, queue, hostile_one_in(h, 8) ?
				 hostile_random(h) : queue);
		if (hostile_one_in(h, 64)) {
			err = hostile_fill(h, 1);
			if (err)
				return err;
			cond_resched();
		}
	}
	return hostile_wait(h);
}

/* Addresses for ring memory that are not, or not as a whole, RAM. */
static const u64 hostile_no_ram[] = {
	0xa0000, 0xb0000, 0xb8000, 0xb0000000, 0xe0000000, 0xfec00000,
	0xfed00000, 0xfee00000, 0xfffc0000, 0xfffff000, 0x100000000,
	1ULL << 40, 1ULL << 47, 1ULL << 52, 1ULL << 63, -4096ULL,
};

static u64 hostile_bad_place(struct hostile *h, u32 bytes)
{
	const struct hostile_window *last = &h->windows[h->num_windows - 1];
	u64 own = virt_to_phys(h->rings[0].ring_mem);

	switch (hostile_below(h, 8)) {
	case 0:
		return own + 1 + hostile_below(h, PAGE_SIZE - 1);
	case 1:			/* its last page is none */
		return last->gpa + last->size + PAGE_SIZE - bytes;
	case 2:
		return last->gpa + last->size +
		       ((u64)PAGE_SIZE << hostile_below(h, 40));
	case 3:			/* a ring address, for one that wants a physical */
		return last->addr;
	default:
		return hostile_no_ram[hostile_below(h,
						    ARRAY_SIZE(hostile_no_ram))];
	}
}

/* One ring somewhere else, which must be refused. */
static int hostile_misplace(struct hostile *h)
{
	bool sqes = hostile_one_in(h, 2);
	u64 bad = hostile_bad_place(h, sqes ? h->sqe_bytes : h->ring_bytes);

	hostile_place(h);
	hostile_set16(h, queue_select, hostile_below(h, h->num_rings));
	if (sqes)
		hostile_set64(h, queue_sqes, bad);
	else
		hostile_set64(h, queue_ring, bad);
	if (hostile_activate(h))
		hostile_report(h, "rings with their %s at %#llx",
			       sqes ? "SQEs" : "SQ and CQ", bad);
	return hostile_end(h);
}

/* Rings that share memory with each other, and SQEs with CQEs. */
static int hostile_overlap(struct hostile *h)
{
	u64 places[2 * HOSTILE_RINGS];
	unsigned int i, n = 0;

	for (i = 0; i < h->num_rings; i++) {
		places[n++] = virt_to_phys(h->rings[i].ring_mem);
		places[n++] = virt_to_phys(h->rings[i].sqe_mem);
	}
	for (i = 0; i < h->num_rings; i++) {
		u64 same = places[hostile_below(h, n)];

		hostile_set16(h, queue_select, i);
		hostile_set16(h, queue_vector, VIRTIO_BLK_URING_NO_VECTOR);
		hostile_set64(h, queue_ring, same);
		hostile_set64(h, queue_sqes, same);
	}
	if (hostile_activate(h))
		hostile_report(h, "rings that share memory");
	return hostile_end(h);
}

static int hostile_bad_vector(struct hostile *h)
{
	u16 vector = 64 + hostile_below(h, 0xff00 - 64);

	hostile_place(h);
	hostile_set16(h, queue_select, 0);
	hostile_set16(h, queue_vector, vector);
	if (hostile_activate(h))
		hostile_report(h, "rings with vector %u", vector);
	return hostile_end(h);
}

/* Memory and vectors for rings that no honest driver would name. */
int hostile_places(struct hostile *h, u32 count)
{
	int err = hostile_end(h);
	u32 i;

	for (i = 0; !err && i < count; i++) {
		/* Otherwise the device would not even look at the places. */
		err = hostile_await_activatable(h);
		if (err)
			break;
		switch (hostile_below(h, 8)) {
		case 0:
			err = hostile_bad_vector(h);
			break;
		case 1:
			err = hostile_overlap(h);
			break;
		default:
			err = hostile_misplace(h);
		}
	}
	return err;
}

/* An address for a ring that the host may use without harm to us. */
static u64 hostile_harmless_place(struct hostile *h)
{
	struct hostile_ring *ring = &h->rings[hostile_below(h, h->num_rings)];

	if (hostile_one_in(h, 2))
		return 1ULL << (47 + hostile_below(h, 16));
	return virt_to_phys(hostile_one_in(h, 2) ? ring->ring_mem :
						   ring->sqe_mem);
}

static void hostile_write_config(struct hostile *h)
{
	const u32 first = hostile_offset(queue_ring);
	const u32 end = VIRTIO_BLK_URING_CONFIG_OFFSET +
			sizeof(struct virtio_blk_uring_config);
	u32 len = 1U << hostile_below(h, 4);
	u32 off = hostile_below(h, end - len);
	u64 value = hostile_one_in(h, 2) ? hostile_below(h, 8) :
					   hostile_random(h);

	if (hostile_one_in(h, 2))
		off = hostile_offset(path_state) +
		      hostile_below(h, end - len - hostile_offset(path_state));
	if (off + len > first) {
		/* Whole ones, so that no other address can come of it. */
		if (hostile_one_in(h, 2))
			hostile_set64(h, queue_ring, hostile_harmless_place(h));
		else
			hostile_set64(h, queue_sqes, hostile_harmless_place(h));
		return;
	}
	h->vdev->config->set(h->vdev, off, &value, len);
}

/* The config space, written at random while requests are in flight. */
int hostile_config(struct hostile *h, u32 count)
{
	u32 i;
	int err = 0;

	for (i = 0; !err && i < count; i++) {
		if (i % 64 == 0) {
			err = hostile_start(h) ?: hostile_fill(h, 8);
			if (err)
				break;
			hostile_kick(h, &h->rings[0]);
			/* Whatever becomes of the rings from here on. */
			h->disordered = true;
		}
		hostile_write_config(h);
		cond_resched();
	}
	return err;
}

/* Rings or none: what the device says now.  True: requests can be given. */
static bool hostile_look(struct hostile *h)
{
	u32 state = hostile_get32(h, path_state);

	if (state != VIRTIO_BLK_URING_RING &&
	    state != VIRTIO_BLK_URING_SUSPENDING)
		hostile_ended(h);
	return h->live;
}

static void hostile_status(struct hostile *h, u8 without)
{
	struct virtio_device *vdev = h->vdev;
	u8 status = vdev->config->get_status(vdev);

	vdev->config->set_status(vdev, status & ~without);
	usleep_range(10, 100);
	vdev->config->set_status(vdev, status);
}

static void hostile_bus_master(struct hostile *h)
{
	struct virtio_device *vdev = h->vdev;
	struct pci_dev *pdev = to_pci_dev(vdev->dev.parent);
	u8 status = vdev->config->get_status(vdev);

	pci_clear_master(pdev);
	usleep_range(10, 100);
	pci_set_master(pdev);
	vdev->config->set_status(vdev, status);
}

/* One step out of any order, in any state. */
static void hostile_step(struct hostile *h)
{
	switch (hostile_below(h, 16)) {
	case 0:
	case 1:
	case 2:
		hostile_place(h);
		/* Of rings that run already this is no new activation. */
		if (hostile_look(h))
			hostile_set32(h, command,
				      VIRTIO_BLK_URING_CMD_ACTIVATE);
		else
			hostile_activate(h);
		break;
	case 3:
		hostile_set32(h, command, VIRTIO_BLK_URING_CMD_SUSPENDED);
		break;
	case 4:
		hostile_set32(h, command, VIRTIO_BLK_URING_CMD_BURIED);
		break;
	case 5:
		hostile_set32(h, command, VIRTIO_BLK_URING_CMD_GIVE_UP);
		break;
	case 6:
		hostile_set32(h, command, 5 + hostile_random(h) % 0xfffffff0);
		break;
	case 7:
		hostile_status(h, VIRTIO_CONFIG_S_DRIVER_OK);
		break;
	case 8:
		virtio_cwrite8(h->vdev, offsetof(struct virtio_blk_config, wce),
			       hostile_below(h, 2));
		break;
	case 9:
		hostile_bus_master(h);
		break;
	case 10:
		hostile_renegotiate(h);
		break;
	default:
		if (!hostile_look(h))
			return;
		hostile_fill(h, 1 + hostile_below(h, 8));
	}
	hostile_look(h);
}

/* Commands, resets and the like in random order, with requests in flight. */
int hostile_states(struct hostile *h, u32 count)
{
	unsigned int r;
	u32 i;

	for (i = 0; i < count; i++) {
		hostile_step(h);
		h->disordered = true;
		for (r = 0; h->live && r < h->num_rings; r++)
			hostile_kick(h, &h->rings[r]);
		cond_resched();
	}
	return 0;
}
