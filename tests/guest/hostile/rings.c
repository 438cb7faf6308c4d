// SPDX-License-Identifier: GPL-2.0-only
/*
 * vbu_hostile: rings as an honest driver would use them
 */
#include <linux/delay.h>
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/jiffies.h>
#include <linux/pci.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/string.h>

#include "hostile.h"

#define HOSTILE_PATIENCE	(20 * HZ)
/* A device that is tired of us takes no ACTIVATE for up to 32 s. */
#define HOSTILE_PATH_PATIENCE	(60 * HZ)
#define HOSTILE_SEAL		0xdb

void hostile_read_layout(struct hostile *h)
{
	h->num_rings = hostile_get16(h, num_rings);
	h->opcodes = hostile_get64(h, opcodes);
	h->sq_entries = hostile_get32(h, sq_entries);
	h->cq_entries = hostile_get32(h, cq_entries);
	h->ring_bytes = hostile_get32(h, ring_bytes);
	h->sqe_bytes = hostile_get32(h, sqe_bytes);
	h->sq_head = hostile_get32(h, sq_head);
	h->sq_tail = hostile_get32(h, sq_tail);
	h->sq_flags = hostile_get32(h, sq_flags);
	h->cq_head = hostile_get32(h, cq_head);
	h->cq_tail = hostile_get32(h, cq_tail);
	h->cq_flags = hostile_get32(h, cq_flags);
	h->cqes = hostile_get32(h, cqes);
}

static int hostile_pause(void)
{
	if (fatal_signal_pending(current))
		return -EINTR;
	usleep_range(500, 1000);
	return 0;
}

static void *hostile_pages(unsigned int order)
{
	return (void *)__get_free_pages(GFP_KERNEL | __GFP_ZERO, order);
}

/* Each area may be named as the other one, so both have the larger size. */
static unsigned int hostile_ring_order(struct hostile *h)
{
	return get_order(max(h->ring_bytes, h->sqe_bytes));
}

/* Only few rings are given requests, and have memory for them. */
static unsigned int hostile_slots(struct hostile *h)
{
	return h->num_rings > HOSTILE_RINGS ? 0 : HOSTILE_SLOTS;
}

int hostile_alloc_rings(struct hostile *h)
{
	unsigned int i, s;

	for (i = 0; i < h->num_rings; i++) {
		struct hostile_ring *ring = &h->rings[i];

		ring->ring_mem = hostile_pages(hostile_ring_order(h));
		ring->sqe_mem = hostile_pages(hostile_ring_order(h));
		if (!ring->ring_mem || !ring->sqe_mem)
			goto fail;
		for (s = 0; s < hostile_slots(h); s++) {
			ring->slots[s].iov = hostile_pages(HOSTILE_ORDER);
			ring->slots[s].data = hostile_pages(HOSTILE_ORDER);
			if (!ring->slots[s].iov || !ring->slots[s].data)
				goto fail;
		}
	}
	return 0;

fail:
	hostile_free_rings(h);
	return -ENOMEM;
}

/* After a reset only: the host may be writing to all of it until then. */
void hostile_free_rings(struct hostile *h)
{
	unsigned int i, s;

	for (i = 0; i < h->num_rings; i++) {
		struct hostile_ring *ring = &h->rings[i];

		free_pages((unsigned long)ring->ring_mem,
			   hostile_ring_order(h));
		free_pages((unsigned long)ring->sqe_mem,
			   hostile_ring_order(h));
		for (s = 0; s < hostile_slots(h); s++) {
			free_pages((unsigned long)ring->slots[s].iov,
				   HOSTILE_ORDER);
			free_pages((unsigned long)ring->slots[s].data,
				   HOSTILE_ORDER);
		}
	}
}

static void hostile_read_windows(struct hostile *h)
{
	unsigned int i, num = hostile_get16(h, num_windows);

	h->num_windows = min(num, HOSTILE_WINDOWS);
	for (i = 0; i < h->num_windows; i++) {
		hostile_set16(h, window_select, i);
		h->windows[i].gpa = hostile_get64(h, window_gpa);
		h->windows[i].size = hostile_get64(h, window_size);
		h->windows[i].addr = hostile_get64(h, window_addr);
	}
}

/* Whether any of these bytes is one that the guest may name. */
bool hostile_in_window(struct hostile *h, u64 addr, u64 len)
{
	unsigned int i;

	for (i = 0; i < h->num_windows; i++) {
		const struct hostile_window *w = &h->windows[i];

		if (addr - w->addr < w->size || w->addr - addr < len)
			return true;
	}
	return false;
}

static u64 hostile_ring_address(struct hostile *h, void *mem)
{
	u64 gpa = virt_to_phys(mem);
	unsigned int i;

	for (i = 0; i < h->num_windows; i++) {
		const struct hostile_window *w = &h->windows[i];

		if (gpa - w->gpa < w->size)
			return gpa - w->gpa + w->addr;
	}
	return 0;
}

/* The rings have ended: all slots are free, and nobody may write to them. */
void hostile_ended(struct hostile *h)
{
	unsigned int i, s;

	if (!h->live)
		return;
	h->live = false;
	for (i = 0; i < h->num_rings; i++) {
		for (s = 0; s < hostile_slots(h); s++) {
			struct hostile_slot *slot = &h->rings[i].slots[s];

			slot->busy = false;
			memset(slot->data, HOSTILE_SEAL, HOSTILE_BYTES);
		}
	}
	h->sealed = true;
}

static void hostile_unseal(struct hostile *h)
{
	unsigned int i, s;

	if (!h->sealed)
		return;
	h->sealed = false;
	for (i = 0; i < h->num_rings; i++) {
		for (s = 0; s < hostile_slots(h); s++) {
			if (memchr_inv(h->rings[i].slots[s].data, HOSTILE_SEAL,
				       HOSTILE_BYTES))
				h->results.late++;
		}
	}
}

/*
 * Tells the device where the memory of all rings is, and to interrupt by the
 * vector of the config interrupt or by that interrupt itself.
 */
void hostile_place(struct hostile *h)
{
	u16 vector = hostile_one_in(h, 2) ? 0 : VIRTIO_BLK_URING_NO_VECTOR;
	unsigned int i;

	for (i = 0; i < h->num_rings; i++) {
		struct hostile_ring *ring = &h->rings[i];

		hostile_set16(h, queue_select, i);
		hostile_set16(h, queue_vector, vector);
		hostile_set64(h, queue_ring, virt_to_phys(ring->ring_mem));
		hostile_set64(h, queue_sqes, virt_to_phys(ring->sqe_mem));
	}
}

static void hostile_adopt(struct hostile *h)
{
	unsigned int i, s;

	hostile_read_windows(h);
	for (i = 0; i < h->num_rings; i++) {
		struct hostile_ring *ring = &h->rings[i];

		ring->tail = 0;
		ring->head = 0;
		memset(ring->sqe_mem, 0, h->sqe_bytes);
		/* Who looks at the CQ anyway seldom needs interrupts. */
		WRITE_ONCE(*hostile_word(h, ring, h->cq_flags),
			   hostile_one_in(h, 4) ? 0 : IORING_CQ_EVENTFD_DISABLED);
		for (s = 0; s < hostile_slots(h); s++) {
			struct hostile_slot *slot = &ring->slots[s];

			slot->busy = false;
			slot->iov_addr = hostile_ring_address(h, slot->iov);
			slot->data_addr = hostile_ring_address(h, slot->data);
			/* What is executed again by mistake is harmless. */
			hostile_prepare(h, slot, IORING_OP_NOP);
		}
	}
	h->live = true;
	h->disordered = false;
	h->results.activations++;
}

/* ACTIVATE with the addresses that the device has; true: rings run. */
bool hostile_activate(struct hostile *h)
{
	unsigned long end = jiffies + HOSTILE_PATIENCE;
	u32 state;

	hostile_unseal(h);
	hostile_set32(h, command, VIRTIO_BLK_URING_CMD_ACTIVATE);
	do {
		state = hostile_get32(h, path_state);
		if (state == VIRTIO_BLK_URING_RING) {
			hostile_adopt(h);
			return true;
		}
		if (state != VIRTIO_BLK_URING_STARTING)
			return false;
		usleep_range(500, 1000);
	} while (time_before(jiffies, end));
	return false;
}

/* Until the device would take an ACTIVATE, in the state VIRTQUEUE. */
int hostile_await_activatable(struct hostile *h)
{
	unsigned long end = jiffies + HOSTILE_PATH_PATIENCE;
	int err;

	while (!(hostile_get32(h, path_flags) &
		 VIRTIO_BLK_URING_PATH_ACTIVATABLE)) {
		if (time_after(jiffies, end))
			return -ETIMEDOUT;
		err = hostile_pause();
		if (err)
			return err;
	}
	return 0;
}

static void hostile_be_ready(struct hostile *h)
{
	struct virtio_device *vdev = h->vdev;
	u8 status = vdev->config->get_status(vdev);

	pci_set_master(to_pci_dev(vdev->dev.parent));
	if (!(status & VIRTIO_CONFIG_S_DRIVER_OK))
		vdev->config->set_status(vdev, status |
					 VIRTIO_CONFIG_S_DRIVER_OK);
}

static bool hostile_runs(struct hostile *h)
{
	u32 state = hostile_get32(h, path_state);

	return state == VIRTIO_BLK_URING_RING ||
	       state == VIRTIO_BLK_URING_SUSPENDING;
}

/*
 * From whatever state to the one that is wanted, VIRTQUEUE or RING with rings
 * that are in order.
 */
static int hostile_reach(struct hostile *h, u32 wanted)
{
	unsigned long end = jiffies + HOSTILE_PATH_PATIENCE;
	u32 state = ~0U;
	int err;

	hostile_be_ready(h);
	while (time_before(jiffies, end)) {
		state = hostile_get32(h, path_state);
		switch (state) {
		case VIRTIO_BLK_URING_VIRTQUEUE:
			hostile_ended(h);
			if (wanted == state)
				return 0;
			if (!(hostile_get32(h, path_flags) &
			      VIRTIO_BLK_URING_PATH_ACTIVATABLE))
				break;
			hostile_place(h);
			if (hostile_activate(h))
				return 0;
			break;
		case VIRTIO_BLK_URING_RING:
			if (wanted == state && h->live && !h->disordered)
				return 0;
			fallthrough;
		case VIRTIO_BLK_URING_SUSPENDING:
			hostile_set32(h, command, VIRTIO_BLK_URING_CMD_GIVE_UP);
			continue;
		case VIRTIO_BLK_URING_DEAD:
			h->results.deaths++;
			hostile_ended(h);
			hostile_set32(h, command, VIRTIO_BLK_URING_CMD_BURIED);
			continue;
		}
		err = hostile_pause();
		if (err)
			return err;
	}
	dev_err(&h->vdev->dev, "the path stays in state %u, reason %u\n", state,
		hostile_get32(h, path_reason));
	return -ETIMEDOUT;
}

int hostile_start(struct hostile *h)
{
	return hostile_reach(h, VIRTIO_BLK_URING_RING);
}

int hostile_end(struct hostile *h)
{
	return hostile_reach(h, VIRTIO_BLK_URING_VIRTQUEUE);
}

static void hostile_count(struct hostile *h, struct hostile_slot *slot, s32 res)
{
	struct hostile_results *r = &h->results;
	const struct io_uring_sqe *sqe = &slot->sqe;

	switch (res) {
	case -EFAULT:
		r->efault++;
		break;
	case -EACCES:
		r->eacces++;
		break;
	case -EINVAL:
		r->einval++;
		break;
	case -EBADF:
		r->ebadf++;
		break;
	default:
		if (res < 0) {
			r->other++;
			break;
		}
		r->ok++;
		r->bytes += res;
	}
	if ((slot->verdict == HOSTILE_NO_BYTES && res > 0) ||
	    (slot->verdict == HOSTILE_NO_SUCCESS && res >= 0))
		hostile_report(h,
			       "op %u flags %#x fd %d off %#llx addr %#llx len %u rw %#x: %d, iovec %#llx+%#llx",
			       sqe->opcode, sqe->flags, sqe->fd, sqe->off,
			       sqe->addr, sqe->len, (u32)sqe->rw_flags, res,
			       slot->iov[0].base, slot->iov[0].len);
}

static void hostile_reap_ring(struct hostile *h, struct hostile_ring *ring)
{
	const struct io_uring_cqe *cqes = ring->ring_mem + h->cqes;
	/* The CQEs come after it. */
	u32 tail = smp_load_acquire(hostile_word(h, ring, h->cq_tail));

	if (tail - ring->head > h->cq_entries) {
		h->results.stray++;
		ring->head = tail;
	}
	while (ring->head != tail) {
		const struct io_uring_cqe *cqe =
			&cqes[ring->head++ & (h->cq_entries - 1)];
		u64 cookie = READ_ONCE(cqe->user_data);
		struct hostile_slot *slot =
			&ring->slots[(u8)cookie % HOSTILE_SLOTS];

		if (!slot->busy || slot->cookie != cookie) {
			h->results.stray++;
			continue;
		}
		hostile_count(h, slot, READ_ONCE(cqe->res));
		slot->busy = false;
	}
	if (!h->disordered &&
	    READ_ONCE(*hostile_word(h, ring, h->sq_flags)) &
	    IORING_SQ_CQ_OVERFLOW)
		h->results.overflows++;
	/* They are looked at, the host may write over them. */
	smp_store_release(hostile_word(h, ring, h->cq_head), ring->head);
}

void hostile_reap(struct hostile *h)
{
	unsigned int i;

	for (i = 0; h->live && i < h->num_rings; i++)
		hostile_reap_ring(h, &h->rings[i]);
}

static unsigned int hostile_in_flight(struct hostile *h)
{
	unsigned int i, s, n = 0;

	for (i = 0; i < h->num_rings; i++) {
		for (s = 0; s < hostile_slots(h); s++)
			n += h->rings[i].slots[s].busy;
	}
	return n;
}

static void hostile_kick_all(struct hostile *h)
{
	unsigned int i;

	for (i = 0; i < h->num_rings; i++)
		hostile_kick(h, &h->rings[i]);
}

/* Reaps until nothing is in flight. */
int hostile_wait(struct hostile *h)
{
	unsigned long end = jiffies + HOSTILE_PATIENCE;
	unsigned int spins = 0;
	int err;

	hostile_kick_all(h);
	for (;;) {
		hostile_reap(h);
		if (!hostile_in_flight(h))
			return 0;
		if (time_after(jiffies, end))
			break;
		if (++spins < 64) {
			cond_resched();
			continue;
		}
		err = hostile_pause();
		if (err)
			return err;
	}
	/* They may still come: to be known, not to be reused. */
	h->results.unanswered += hostile_in_flight(h);
	h->disordered = true;
	return hostile_start(h);
}

/* Whether @slot's request is answered within @patience. */
bool hostile_await(struct hostile *h, struct hostile_slot *slot,
		   unsigned long patience)
{
	unsigned long end = jiffies + patience;

	hostile_kick_all(h);
	for (;;) {
		hostile_reap(h);
		if (!slot->busy)
			return true;
		if (time_after(jiffies, end) || hostile_pause())
			return false;
	}
}

/*
 * A slot that is free and has a place in its ring's SQ; NULL: none becomes
 * free, or the rings have ended.
 */
struct hostile_slot *hostile_slot(struct hostile *h, struct hostile_ring **ring)
{
	unsigned long end = jiffies + HOSTILE_PATIENCE;
	struct hostile_ring *r = &h->rings[hostile_below(h, h->num_rings)];
	unsigned int s, spins = 0;

	*ring = r;
	while (time_before(jiffies, end)) {
		u32 head = READ_ONCE(*hostile_word(h, r, h->sq_head));

		hostile_reap(h);
		for (s = 0; r->tail - head < h->sq_entries &&
		     s < HOSTILE_SLOTS; s++) {
			if (!r->slots[s].busy)
				return &r->slots[s];
		}
		hostile_kick(h, r);
		if (++spins < 64)
			cond_resched();
		else if (hostile_pause() || !hostile_runs(h))
			return NULL;
	}
	h->results.unanswered++;
	h->disordered = true;
	return NULL;
}

/* Puts the slot's SQE into the ring; hostile_kick() publishes. */
void hostile_submit(struct hostile *h, struct hostile_ring *ring,
		    struct hostile_slot *slot)
{
	struct io_uring_sqe *sqes = ring->sqe_mem;

	slot->cookie = (hostile_random(h) & ~0xffULL) | (slot - ring->slots);
	/* By that who watches can tell them from those that are counted. */
	if (h->probing)
		slot->cookie &= U32_MAX;
	slot->sqe.user_data = slot->cookie;
	slot->busy = true;
	sqes[ring->tail++ & (h->sq_entries - 1)] = slot->sqe;
	h->results.submitted++;
}

void hostile_kick(struct hostile *h, struct hostile_ring *ring)
{
	/* The SQEs come before it. */
	smp_store_release(hostile_word(h, ring, h->sq_tail), ring->tail);
	virt_mb();	/* the host sets the flag, then looks at the tail again */
	if (READ_ONCE(*hostile_word(h, ring, h->sq_flags)) &
	    IORING_SQ_NEED_WAKEUP)
		virtqueue_notify(ring->vq);
}
