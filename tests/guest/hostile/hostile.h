/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vbu_hostile: what its files share
 *
 * An attack must not harm the guest that it runs in, or its end would prove
 * nothing.  So whatever is aimed at guest memory, by a valid address, is aimed
 * at what belongs to a slot, also when addresses, lengths and opcodes of
 * several requests get mixed up.
 */
#ifndef VBU_HOSTILE_H
#define VBU_HOSTILE_H

#include <linux/mutex.h>
#include <linux/prandom.h>
#include <linux/types.h>
#include <linux/virtio.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>

#include <uapi/linux/io_uring.h>

#include "virtio_blk_uring.h"

#define HOSTILE_RINGS		4U	/* that can be given requests */
#define HOSTILE_MAX_RINGS	64U	/* that can be activated */
#define HOSTILE_SLOTS		32U	/* of each ring */
#define HOSTILE_WINDOWS		16U
#define HOSTILE_TARGETS		96U
#define HOSTILE_REPORTS		8U
#define HOSTILE_ORDER		2	/* pages of a slot's iovecs, and of its data */
#define HOSTILE_BYTES		(PAGE_SIZE << HOSTILE_ORDER)
#define HOSTILE_IOVS		(HOSTILE_BYTES / sizeof(struct hostile_iovec))

/* RAM that PCs hide: system management mode's, and what firmware shadows. */
#define HOSTILE_HIDDEN		0xa0000ULL
#define HOSTILE_SHADOW		0xc0000ULL
#define HOSTILE_SHADOW_END	0x100000ULL

struct hostile_iovec {
	u64 base;
	u64 len;
};

/* What a request's result must not be. */
enum hostile_verdict {
	HOSTILE_ANY,		/* any will do */
	HOSTILE_NO_BYTES,	/* it moves none */
	HOSTILE_NO_SUCCESS,	/* it is refused */
};

/* A request, and the memory that it may use. */
struct hostile_slot {
	bool busy;
	enum hostile_verdict verdict;
	u64 cookie;		/* user_data; its low byte is the slot's index */
	struct io_uring_sqe sqe;
	struct hostile_iovec *iov;
	u8 *data;
	u64 iov_addr;		/* as the ring names them */
	u64 data_addr;
};

struct hostile_ring {
	struct virtqueue *vq;
	void *ring_mem;		/* SQ and CQ */
	void *sqe_mem;
	u32 tail;		/* as if nobody had scribbled over the ring's */
	u32 head;
	struct hostile_slot slots[HOSTILE_SLOTS];
};

struct hostile_window {
	u64 gpa;
	u64 size;
	u64 addr;
};

struct hostile_results {
	unsigned long submitted;
	unsigned long ok;
	unsigned long efault;
	unsigned long eacces;
	unsigned long einval;
	unsigned long ebadf;
	unsigned long other;
	unsigned long bytes;
	unsigned long unanswered;	/* no CQE, from rings left in order */
	unsigned long stray;		/* CQEs of nothing that is in flight */
	unsigned long overflows;	/* looks at a CQ that has overflowed */
	unsigned long drain_stalls;	/* a drain in a refused chain stops a ring */
	unsigned long commands;		/* ACTIVATEs written by storms */
	unsigned long activations;
	unsigned long deaths;
	unsigned long late;		/* memory changed after the rings' end */
	unsigned long escaped;		/* what must not succeed, and did */
	unsigned int reports;
	char report[HOSTILE_REPORTS][160];
};

struct hostile {
	struct virtio_device *vdev;
	struct mutex lock;	/* one attack at a time */
	struct rnd_state rnd;
	unsigned int num_rings;
	struct hostile_ring rings[HOSTILE_MAX_RINGS];
	u64 capacity;		/* bytes */
	u64 opcodes;
	u32 sq_entries;
	u32 cq_entries;
	u32 ring_bytes;
	u32 sqe_bytes;
	u32 sq_head;
	u32 sq_tail;
	u32 sq_flags;
	u32 cq_head;
	u32 cq_tail;
	u32 cq_flags;
	u32 cqes;
	unsigned int num_windows;
	struct hostile_window windows[HOSTILE_WINDOWS];
	bool live;		/* rings run, and tail and head are theirs */
	bool disordered;	/* what they answer says nothing any more */
	bool probing;		/* what is submitted is no part of the attack */
	bool sealed;		/* the slots' data is a pattern */
	unsigned int num_targets;
	u64 targets[HOSTILE_TARGETS];
	struct hostile_results results;
};

/* Fields of struct virtio_blk_uring_config */
#define hostile_offset(field) \
	(VIRTIO_BLK_URING_CONFIG_OFFSET + \
	 offsetof(struct virtio_blk_uring_config, field))
#define hostile_get16(h, field) virtio_cread16((h)->vdev, hostile_offset(field))
#define hostile_get32(h, field) virtio_cread32((h)->vdev, hostile_offset(field))
#define hostile_get64(h, field) virtio_cread64((h)->vdev, hostile_offset(field))
#define hostile_set16(h, field, v) \
	virtio_cwrite16((h)->vdev, hostile_offset(field), v)
#define hostile_set32(h, field, v) \
	virtio_cwrite32((h)->vdev, hostile_offset(field), v)
#define hostile_set64(h, field, v) \
	virtio_cwrite64((h)->vdev, hostile_offset(field), v)

static inline u32 *hostile_word(struct hostile *h, struct hostile_ring *ring,
				u32 offset)
{
	return ring->ring_mem + offset;
}

static inline u32 hostile_below(struct hostile *h, u32 n)
{
	return prandom_u32_state(&h->rnd) % n;
}

static inline bool hostile_one_in(struct hostile *h, u32 n)
{
	return !hostile_below(h, n);
}

static inline u64 hostile_random(struct hostile *h)
{
	return (u64)prandom_u32_state(&h->rnd) << 32 |
	       prandom_u32_state(&h->rnd);
}

/* main.c: the device as an honest driver would set it up */
void hostile_negotiate(struct hostile *h);
void hostile_renegotiate(struct hostile *h);
__printf(2, 3) void hostile_report(struct hostile *h, const char *format, ...);

/* rings.c: rings as an honest driver would use them */
int hostile_alloc_rings(struct hostile *h);
void hostile_free_rings(struct hostile *h);
void hostile_read_layout(struct hostile *h);
int hostile_start(struct hostile *h);
int hostile_end(struct hostile *h);
void hostile_ended(struct hostile *h);
void hostile_place(struct hostile *h);
bool hostile_activate(struct hostile *h);
int hostile_await_activatable(struct hostile *h);
struct hostile_slot *hostile_slot(struct hostile *h, struct hostile_ring **ring);
void hostile_submit(struct hostile *h, struct hostile_ring *ring,
		    struct hostile_slot *slot);
void hostile_kick(struct hostile *h, struct hostile_ring *ring);
void hostile_reap(struct hostile *h);
int hostile_wait(struct hostile *h);
bool hostile_await(struct hostile *h, struct hostile_slot *slot,
		   unsigned long patience);
bool hostile_in_window(struct hostile *h, u64 addr, u64 len);

/* requests.c: SQEs and iovecs */
u64 hostile_bad_address(struct hostile *h, u64 len);
void hostile_prepare(struct hostile *h, struct hostile_slot *slot, u8 opcode);
void hostile_judge(struct hostile *h, struct hostile_slot *slot);
int hostile_sqes(struct hostile *h, u32 count);
int hostile_chains(struct hostile *h, u32 count);
int hostile_offsets(struct hostile *h, u32 count);
int hostile_flip(struct hostile *h, u32 count);

/* memory.c: addresses that are none of the guest's */
int hostile_peek(struct hostile *h, u32 count);
int hostile_poke(struct hostile *h, u32 count);
int hostile_hidden(struct hostile *h, u32 count);
int hostile_iovecs(struct hostile *h, u32 count);

/* registers.c: indices, doorbells, config space, states */
int hostile_indices(struct hostile *h, u32 count);
int hostile_overflow(struct hostile *h, u32 count);
int hostile_flushes(struct hostile *h, u32 count);
int hostile_doorbells(struct hostile *h, u32 count);
int hostile_places(struct hostile *h, u32 count);
int hostile_config(struct hostile *h, u32 count);
int hostile_states(struct hostile *h, u32 count);

/* storm.c: registers written by all CPUs at a time; @seconds long */
int hostile_storm_bad(struct hostile *h, u32 seconds);
int hostile_storm_good(struct hostile *h, u32 seconds);
int hostile_storm_mix(struct hostile *h, u32 seconds);

#endif /* VBU_HOSTILE_H */
