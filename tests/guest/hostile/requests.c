// SPDX-License-Identifier: GPL-2.0-only
/*
 * vbu_hostile: SQEs and iovecs that no honest driver writes
 */
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/mm.h>

#include "hostile.h"

#define HOSTILE_BATCH	16U

static const u64 hostile_edges[] = {
	0, 1, 2, 7, 255, 256, 511, 512, 4095, 4096, 1023, 1024, 1025, 65535,
	65536, S32_MAX, 1ULL << 31, U32_MAX, 1ULL << 32, 1ULL << 40, 1ULL << 47,
	S64_MAX - 4095, S64_MAX, 1ULL << 63, -4096ULL, -512ULL, -2ULL, -1ULL,
};

static u64 hostile_edge(struct hostile *h)
{
	switch (hostile_below(h, 4)) {
	case 0:
		return hostile_random(h);
	case 1:
		return 1ULL << hostile_below(h, 64);
	default:
		return hostile_edges[hostile_below(h, ARRAY_SIZE(hostile_edges))];
	}
}

static u64 hostile_any_address(struct hostile *h)
{
	const struct hostile_window *w =
		&h->windows[hostile_below(h, h->num_windows)];

	switch (hostile_below(h, 8)) {
	case 0:
		return w->addr + w->size + hostile_below(h, 1 << 21);
	case 1:
		return w->addr - 1 - hostile_below(h, 1 << 21);
	case 2:			/* not translated */
		return w->gpa + hostile_below(h, U32_MAX);
	case 3:			/* of our kernel, and maybe of the host's */
		return (unsigned long)h->rings[0].ring_mem;
	case 4:
		return hostile_random(h);
	case 5:			/* where user space has its mappings */
		return 0x7f0000000000 + (hostile_random(h) & 0xfffffff000);
	case 6:
		return hostile_edge(h);
	default:
		return h->num_targets ?
			h->targets[hostile_below(h, h->num_targets)] : 0;
	}
}

/*
 * Where @len bytes begin of which none is guest memory.  What is far from there
 * does not matter, since nothing is moved if the first byte cannot be.
 */
u64 hostile_bad_address(struct hostile *h, u64 len)
{
	u64 addr;

	len = min(len, 1ULL << 20);
	do {
		addr = hostile_any_address(h);
		if (hostile_one_in(h, 4))
			addr += hostile_below(h, PAGE_SIZE);
	} while (hostile_in_window(h, addr, len));
	return addr;
}

/* A request as an honest driver makes it, of 4 KiB within the slot. */
void hostile_prepare(struct hostile *h, struct hostile_slot *slot, u8 opcode)
{
	unsigned int i;
	u64 blocks = h->capacity / PAGE_SIZE;

	for (i = 0; i < HOSTILE_IOVS; i++) {
		slot->iov[i].base = slot->data_addr +
			PAGE_SIZE * (i % (HOSTILE_BYTES / PAGE_SIZE));
		slot->iov[i].len = i ? 512 : PAGE_SIZE;
	}
	slot->verdict = HOSTILE_ANY;
	slot->sqe = (struct io_uring_sqe) {
		.opcode = opcode,
		.flags = IOSQE_FIXED_FILE,
	};
	if (opcode == IORING_OP_FSYNC)
		return;
	slot->sqe.off = (hostile_random(h) % blocks) * PAGE_SIZE;
	slot->sqe.addr = slot->iov_addr;
	slot->sqe.len = 1;
}

/* What the request must not achieve, as far as can be told. */
void hostile_judge(struct hostile *h, struct hostile_slot *slot)
{
	const struct io_uring_sqe *sqe = &slot->sqe;

	slot->verdict = HOSTILE_ANY;
	if (sqe->opcode >= 64 || !(h->opcodes & BIT_ULL(sqe->opcode)) ||
	    sqe->flags != IOSQE_FIXED_FILE || sqe->fd) {
		slot->verdict = HOSTILE_NO_SUCCESS;
		return;
	}
	if (sqe->opcode == IORING_OP_FSYNC || !sqe->len)
		return;
	if (!hostile_in_window(h, sqe->addr, sizeof(*slot->iov)) ||
	    (sqe->addr == slot->iov_addr && slot->iov[0].len &&
	     !hostile_in_window(h, slot->iov[0].base, 1)))
		slot->verdict = HOSTILE_NO_BYTES;
	/* Where the host's file ends; -1 is its idea of a current offset. */
	if (sqe->opcode == IORING_OP_WRITEV && sqe->off >= h->capacity &&
	    sqe->off != -1ULL &&
	    !(sqe->rw_flags & (__force u32)RWF_APPEND))
		slot->verdict = HOSTILE_NO_BYTES;
}

static void hostile_mutate(struct hostile *h, struct hostile_slot *slot)
{
	struct io_uring_sqe *sqe = &slot->sqe;

	switch (hostile_below(h, 16)) {
	case 0:
	case 1:
		sqe->opcode = hostile_below(h, hostile_one_in(h, 4) ? 256 : 64);
		break;
	case 2:
		sqe->flags = hostile_random(h);
		break;
	case 3:
		sqe->flags ^= 1U << hostile_below(h, 8);
		break;
	case 4:
		sqe->ioprio = hostile_edge(h);
		break;
	case 5:
		sqe->fd = hostile_one_in(h, 2) ? hostile_edge(h) :
						 hostile_below(h, 64);
		break;
	case 6:
		sqe->off = hostile_edge(h);
		break;
	case 7:
		sqe->addr = hostile_bad_address(h, HOSTILE_BYTES);
		break;
	case 8:
		sqe->len = hostile_edge(h);
		break;
	case 9:
		sqe->rw_flags ^= 1U << hostile_below(h, 32);
		break;
	case 10:
		sqe->rw_flags = hostile_edge(h);
		break;
	case 11:
		sqe->buf_index = hostile_edge(h);
		sqe->personality = hostile_edge(h);
		break;
	case 12:
		sqe->splice_fd_in = hostile_edge(h);
		sqe->addr3 = hostile_bad_address(h, PAGE_SIZE);
		sqe->__pad2[0] = hostile_edge(h);
		break;
	case 13:
		slot->iov[0].base = hostile_bad_address(h, PAGE_SIZE);
		break;
	case 14:
		/* Only with a bad base, or it would run over our own memory. */
		slot->iov[0].len = hostile_edge(h);
		slot->iov[0].base = hostile_bad_address(h, slot->iov[0].len);
		break;
	default:
		slot->iov[1].base = hostile_bad_address(h, PAGE_SIZE);
		sqe->len = 2;
	}
}

/*
 * Of a chain of links that fails, what has IOSQE_CQE_SKIP_SUCCESS and what
 * follows is not answered.  Here all are to be, so it goes by itself.
 */
static int hostile_submit_alone(struct hostile *h, struct hostile_ring *ring,
				struct hostile_slot *slot)
{
	int err = hostile_wait(h);

	if (err)
		return err;
	hostile_submit(h, ring, slot);
	return hostile_wait(h);
}

/* What the last requests were answered is not what an attack is about. */
static void hostile_forget_answers(struct hostile *h)
{
	struct hostile_results *r = &h->results;

	r->submitted = 0;
	r->ok = 0;
	r->efault = 0;
	r->eacces = 0;
	r->einval = 0;
	r->ebadf = 0;
	r->other = 0;
	r->bytes = 0;
}

/*
 * Linux 6.12 heeds IOSQE_IO_DRAIN before it looks at the restrictions.  After
 * this chain, all of which is refused, it executes nothing of that ring any
 * more, and answers nothing.  Later kernels do.
 */
static int hostile_probe_drain(struct hostile *h)
{
	static const u8 chain[] = {
		IOSQE_IO_LINK,
		IOSQE_IO_LINK | IOSQE_IO_DRAIN,
		0,
		IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS,
		IOSQE_CQE_SKIP_SUCCESS,
	};
	struct hostile_ring *ring = &h->rings[0];
	unsigned int i, reads = 3;

	h->probing = true;
	for (i = 0; i < ARRAY_SIZE(chain) + reads; i++) {
		struct hostile_slot *slot = &ring->slots[i];

		hostile_prepare(h, slot, IORING_OP_READV);
		if (i < ARRAY_SIZE(chain))
			slot->sqe.flags = chain[i];
		hostile_judge(h, slot);
		hostile_submit(h, ring, slot);
	}
	for (i = 0; i < reads; i++) {
		if (!hostile_await(h, &ring->slots[ARRAY_SIZE(chain) + i],
				   2 * HZ)) {
			h->results.drain_stalls = 1;
			break;
		}
	}
	h->probing = false;
	hostile_forget_answers(h);
	/* Of the chain not all is answered, so these rings have done. */
	h->disordered = true;
	return hostile_start(h);
}

/* Every opcode and flag by itself, then all fields at random. */
int hostile_sqes(struct hostile *h, u32 count)
{
	static const u8 opcodes[] = {
		IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_READV,
		IORING_OP_WRITEV, IORING_OP_FSYNC,
	};
	struct hostile_ring *ring;
	struct hostile_slot *slot;
	u32 i, m;
	int err = hostile_probe_drain(h);

	for (i = 0; !err && i < 256 + 256 + count; i++) {
		slot = hostile_slot(h, &ring);
		if (!slot)
			return -ETIMEDOUT;
		hostile_prepare(h, slot, opcodes[hostile_below(h, sizeof(opcodes))]);
		if (i < 256)
			slot->sqe.opcode = i;
		else if (i < 512)
			slot->sqe.flags = i - 256;
		else
			for (m = hostile_below(h, 4); m; m--)
				hostile_mutate(h, slot);
		if (h->results.drain_stalls)
			slot->sqe.flags &= ~IOSQE_IO_DRAIN;
		hostile_judge(h, slot);
		if (slot->sqe.flags & IOSQE_CQE_SKIP_SUCCESS) {
			err = hostile_submit_alone(h, ring, slot);
			continue;
		}
		hostile_submit(h, ring, slot);
		if (hostile_one_in(h, HOSTILE_BATCH)) {
			hostile_kick(h, ring);
			/* A CQ that overflows once is never filled again. */
			hostile_reap(h);
		}
	}
	return err ?: hostile_wait(h);
}

/* Chains of good requests with all flags, whether they are answered or not. */
int hostile_chains(struct hostile *h, u32 count)
{
	struct hostile_ring *ring;
	struct hostile_slot *slot;
	u32 i, n;
	int err;

	for (i = 0; i < count; i++) {
		err = hostile_start(h);
		if (err)
			return err;
		for (n = 1 + hostile_below(h, h->sq_entries); n; n--) {
			slot = hostile_slot(h, &ring);
			if (!slot)
				return -ETIMEDOUT;
			hostile_prepare(h, slot, n & 1 ? IORING_OP_WRITEV :
							 IORING_OP_READV);
			if (hostile_one_in(h, 2))
				slot->sqe.flags |= hostile_random(h) &
					(IOSQE_IO_LINK | IOSQE_IO_HARDLINK |
					 IOSQE_IO_DRAIN | IOSQE_CQE_SKIP_SUCCESS);
			if (hostile_one_in(h, 8))
				slot->sqe.opcode = IORING_OP_LINK_TIMEOUT;
			hostile_judge(h, slot);
			hostile_submit(h, ring, slot);
		}
		for (n = 0; n < h->num_rings; n++)
			hostile_kick(h, &h->rings[n]);
		usleep_range(200, 1000);
		hostile_reap(h);
		h->disordered = true;
	}
	return 0;
}

static int hostile_at(struct hostile *h, u8 opcode, u64 off, u32 bytes,
		      u32 rw_flags)
{
	struct hostile_ring *ring;
	struct hostile_slot *slot = hostile_slot(h, &ring);

	if (!slot)
		return -ETIMEDOUT;
	hostile_prepare(h, slot, opcode);
	slot->iov[0].len = bytes;
	slot->sqe.off = off;
	slot->sqe.rw_flags = rw_flags;
	hostile_judge(h, slot);
	hostile_submit(h, ring, slot);
	return 0;
}

/* Reads and writes around the end of the disk, and far behind it. */
int hostile_offsets(struct hostile *h, u32 count)
{
	static const u32 flags[] = {
		0, (__force u32)RWF_DSYNC, (__force u32)RWF_APPEND,
		(__force u32)(RWF_APPEND | RWF_DSYNC), 0x20 /* RWF_NOAPPEND */,
	};
	static const u32 sizes[] = { 1, 512, PAGE_SIZE, HOSTILE_BYTES };
	u32 i;

	for (i = 0; i < count; i++) {
		u8 opcode = i & 1 ? IORING_OP_WRITEV : IORING_OP_READV;
		u32 bytes = sizes[hostile_below(h, ARRAY_SIZE(sizes))];
		u64 off = h->capacity;
		int err;

		switch (hostile_below(h, 4)) {
		case 0:		/* straddling it, touching it */
			off -= hostile_below(h, 2 * bytes + 1);
			break;
		case 1:
			off += hostile_below(h, 1 << 20);
			break;
		case 2:
			off += hostile_random(h) >> hostile_below(h, 64);
			break;
		default:
			off = hostile_edge(h);
		}
		err = hostile_at(h, opcode, off, bytes,
				 flags[hostile_below(h, ARRAY_SIZE(flags))]);
		if (err)
			return err;
	}
	return hostile_wait(h);
}

/* Good values or bad ones for some of what the host reads. */
static void hostile_turn(struct hostile_slot *slot, struct io_uring_sqe *sqe,
			 u32 what, bool good, u64 bad)
{
	u32 v;

	if (what & BIT(0)) {
		WRITE_ONCE(sqe->opcode, good ? slot->sqe.opcode :
					       IORING_OP_OPENAT);
		WRITE_ONCE(sqe->flags, good ? IOSQE_FIXED_FILE : 0);
	}
	if (what & BIT(1))
		WRITE_ONCE(sqe->addr, good ? slot->iov_addr : bad);
	for (v = 0; what & BIT(2) && v < 8; v++)
		WRITE_ONCE(slot->iov[v].base, good ? slot->data_addr : bad);
}

/*
 * Changes SQEs and iovecs while the host reads them.  Each of the values that
 * it may see is safe for us with each of the others.
 */
int hostile_flip(struct hostile *h, u32 count)
{
	struct hostile_ring *ring;
	struct hostile_slot *slot;
	u32 i, n;

	for (i = 0; i < count; i++) {
		u32 what = BIT(hostile_below(h, 3));
		struct io_uring_sqe *sqe;
		u64 bad;

		slot = hostile_slot(h, &ring);
		if (!slot)
			return -ETIMEDOUT;
		hostile_prepare(h, slot, i & 1 ? IORING_OP_WRITEV :
						 IORING_OP_READV);
		bad = h->num_targets ?
			h->targets[hostile_below(h, h->num_targets)] :
			hostile_bad_address(h, PAGE_SIZE);
		slot->sqe.len = 8;
		sqe = ring->sqe_mem;
		sqe += ring->tail & (h->sq_entries - 1);
		hostile_submit(h, ring, slot);
		hostile_kick(h, ring);
		for (n = 0; slot->busy && n < 1000; n++) {
			hostile_turn(slot, sqe, what, n & 1, bad);
			hostile_reap(h);
		}
		/* Before its place in the SQ is used again. */
		if (hostile_wait(h))
			return -ETIMEDOUT;
	}
	return 0;
}
