// SPDX-License-Identifier: GPL-2.0-only
/*
 * vbu_hostile: registers written as fast as they go, by all CPUs at a time
 *
 * Nothing is put into the rings: it is the way to them, and back, that is to
 * cost the host more than it should.  The CPUs take no care of one another, so
 * that queue_select may be another CPU's when an address is written: whatever
 * comes of that has to be as harmless, and as bad or as good, as what was meant.
 */
#include <linux/delay.h>
#include <linux/io.h>
#include <linux/jiffies.h>
#include <linux/pci.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "hostile.h"

#define HOSTILE_NO_RAM		BIT_ULL(47)	/* and nothing above it is */
#define HOSTILE_MSIX_MOST	2048U

struct hostile_stormer {
	struct work_struct work;
	struct hostile *h;
	void (*step)(struct hostile_stormer *s);
	struct rnd_state rnd;
	unsigned long end;	/* jiffies */
	unsigned long commands;	/* ACTIVATEs written */
	unsigned long active;	/* of which so many led to rings */
	bool first;		/* only one of them resets the device */
};

static u32 storm_below(struct hostile_stormer *s, u32 n)
{
	return prandom_u32_state(&s->rnd) % n;
}

static u64 storm_random(struct hostile_stormer *s)
{
	return (u64)prandom_u32_state(&s->rnd) << 32 |
	       prandom_u32_state(&s->rnd);
}

/* Not RAM, or not aligned; the host must not start anything for it. */
static u64 storm_bad_address(struct hostile_stormer *s)
{
	struct hostile *h = s->h;
	u64 own = virt_to_phys(h->rings[storm_below(s, h->num_rings)].ring_mem);

	switch (storm_below(s, 4)) {
	case 0:
		return own + 1 + storm_below(s, PAGE_SIZE - 1);
	case 1:
		return -PAGE_SIZE;
	case 2:
		return 0xfee00000;	/* interrupts are delivered there */
	default:
		return HOSTILE_NO_RAM << storm_below(s, 16);
	}
}

static u16 storm_bad_vector(struct hostile_stormer *s)
{
	return HOSTILE_MSIX_MOST +
	       storm_below(s, VIRTIO_BLK_URING_NO_VECTOR - HOSTILE_MSIX_MOST);
}

static void storm_activate(struct hostile_stormer *s)
{
	hostile_set32(s->h, command, VIRTIO_BLK_URING_CMD_ACTIVATE);
	s->commands++;
	if (hostile_get32(s->h, path_state) == VIRTIO_BLK_URING_RING)
		s->active++;
}

/* Valid places of ring @i, which other CPUs may mix up meanwhile. */
static void storm_place(struct hostile_stormer *s, unsigned int i)
{
	struct hostile *h = s->h;
	struct hostile_ring *ring = &h->rings[i];

	hostile_set16(h, queue_select, i);
	hostile_set16(h, queue_vector, VIRTIO_BLK_URING_NO_VECTOR);
	hostile_set64(h, queue_ring, virt_to_phys(ring->ring_mem));
	hostile_set64(h, queue_sqes, virt_to_phys(ring->sqe_mem));
}

/*
 * The last ring has a fault that stays.  Nobody selects it, so what two CPUs
 * together make of an address never repairs it.
 */
static void storm_bad(struct hostile_stormer *s)
{
	struct hostile *h = s->h;

	storm_place(s, storm_below(s, h->num_rings - 1));
	switch (storm_below(s, 8)) {
	case 0:
		hostile_set16(h, queue_vector, storm_bad_vector(s));
		break;
	case 1:
		hostile_set64(h, queue_ring, storm_bad_address(s));
		break;
	case 2:
		hostile_set64(h, queue_sqes, storm_bad_address(s));
		break;
	}
	storm_activate(s);
}

/* Rings that are in order, given up as soon as they are there. */
static void storm_good(struct hostile_stormer *s)
{
	struct hostile *h = s->h;

	switch (hostile_get32(h, path_state)) {
	case VIRTIO_BLK_URING_VIRTQUEUE:
		storm_activate(s);
		break;
	case VIRTIO_BLK_URING_STARTING:
		cond_resched();
		break;
	case VIRTIO_BLK_URING_DEAD:
		hostile_set32(h, command, VIRTIO_BLK_URING_CMD_BURIED);
		break;
	default:
		hostile_set32(h, command, VIRTIO_BLK_URING_CMD_GIVE_UP);
	}
}

/* A place in some ring's memory, or nowhere. */
static u64 storm_any_address(struct hostile_stormer *s)
{
	struct hostile *h = s->h;
	struct hostile_ring *ring = &h->rings[storm_below(s, h->num_rings)];

	if (!storm_below(s, 8))
		return storm_bad_address(s);
	return virt_to_phys(storm_below(s, 2) ? ring->ring_mem : ring->sqe_mem);
}

static void storm_status(struct hostile_stormer *s)
{
	struct virtio_device *vdev = s->h->vdev;
	u8 status = vdev->config->get_status(vdev);

	if (storm_below(s, 4)) {
		vdev->config->set_status(vdev,
					 status & ~VIRTIO_CONFIG_S_DRIVER_OK);
	} else {
		vdev->config->reset(vdev);
		hostile_negotiate(s->h);
		status = vdev->config->get_status(vdev);
	}
	vdev->config->set_status(vdev, status | VIRTIO_CONFIG_S_DRIVER_OK);
}

static void storm_bus_master(struct hostile_stormer *s)
{
	struct pci_dev *pdev = to_pci_dev(s->h->vdev->dev.parent);

	pci_clear_master(pdev);
	pci_set_master(pdev);
}

/*
 * Any register.  What keeps rings from being started, or ends them at once,
 * is seldom, since it is their start that costs the host something.
 */
static void storm_mix(struct hostile_stormer *s)
{
	struct hostile *h = s->h;
	unsigned int i;

	switch (storm_below(s, storm_below(s, 1024) ? 13 : 16)) {
	case 13:
		hostile_set16(h, queue_select, storm_random(s));
		hostile_set16(h, queue_vector, storm_random(s));
		break;
	case 14:
		hostile_set64(h, queue_ring, storm_any_address(s));
		break;
	case 15:
		hostile_set64(h, queue_sqes, storm_any_address(s));
		break;
	case 0:
		hostile_set16(h, window_select, storm_random(s));
		hostile_get64(h, window_addr);
		break;
	case 1:
		virtio_cwrite8(h->vdev, offsetof(struct virtio_blk_config, wce),
			       storm_below(s, 2));
		break;
	case 2:
		hostile_set32(h, command, storm_random(s));
		break;
	case 3:
		virtqueue_notify(h->rings[storm_below(s, h->num_rings)].vq);
		break;
	case 4:
		if (s->first && !storm_below(s, 16))
			storm_status(s);
		break;
	case 5:
		if (s->first && !storm_below(s, 16))
			storm_bus_master(s);
		break;
	case 6:
		for (i = 0; s->first && i < h->num_rings; i++)
			storm_place(s, i);
		fallthrough;
	case 7:
	case 8:
		storm_activate(s);
		break;
	default:
		if (!storm_below(s, 64))
			hostile_set32(h, command, 1 + storm_below(s, 4));
	}
}

static void storm_work(struct work_struct *work)
{
	struct hostile_stormer *s =
		container_of(work, struct hostile_stormer, work);

	while (time_before(jiffies, s->end)) {
		s->step(s);
		cond_resched();
	}
}

/* @step by each CPU for so many seconds. */
static int hostile_storm(struct hostile *h, u32 seconds,
			 void (*step)(struct hostile_stormer *s))
{
	unsigned int i, n = num_online_cpus();
	struct hostile_stormer *stormers;

	stormers = kcalloc(n, sizeof(*stormers), GFP_KERNEL);
	if (!stormers)
		return -ENOMEM;
	for (i = 0; i < n; i++) {
		struct hostile_stormer *s = &stormers[i];

		s->h = h;
		s->step = step;
		s->first = !i;
		s->end = jiffies + seconds * HZ;
		prandom_seed_state(&s->rnd, hostile_random(h));
		INIT_WORK(&s->work, storm_work);
		queue_work(system_unbound_wq, &s->work);
	}
	for (i = 0; i < n; i++) {
		flush_work(&stormers[i].work);
		h->results.commands += stormers[i].commands;
		h->results.activations += stormers[i].active;
	}
	kfree(stormers);
	return 0;
}

/* Rings of which at least the last is nowhere, or has no vector. */
int hostile_storm_bad(struct hostile *h, u32 seconds)
{
	int err;

	hostile_place(h);
	hostile_set16(h, queue_select, h->num_rings - 1);
	switch (hostile_below(h, 3)) {
	case 0:
		hostile_set16(h, queue_vector, HOSTILE_MSIX_MOST);
		break;
	case 1:
		hostile_set64(h, queue_ring, HOSTILE_NO_RAM);
		break;
	default:
		hostile_set64(h, queue_sqes, HOSTILE_NO_RAM);
	}
	err = hostile_storm(h, seconds, storm_bad);
	if (!err && h->results.activations)
		hostile_report(h, "rings that are nowhere, or have no vector");
	return err;
}

/* Rings that come and go without a request. */
int hostile_storm_good(struct hostile *h, u32 seconds)
{
	hostile_place(h);
	return hostile_storm(h, seconds, storm_good);
}

/* All registers, doorbells, resets and bus mastering at random. */
int hostile_storm_mix(struct hostile *h, u32 seconds)
{
	int err;

	hostile_place(h);
	err = hostile_storm(h, seconds, storm_mix);
	/* The device has forgotten its virtqueues. */
	hostile_renegotiate(h);
	return err;
}
