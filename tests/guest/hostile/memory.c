// SPDX-License-Identifier: GPL-2.0-only
/*
 * vbu_hostile: requests for memory that is none of the guest's
 */
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/mm.h>

#include "hostile.h"

/* One iovec; the caller answers for what a READV overwrites. */
static int hostile_vector(struct hostile *h, u8 opcode, u64 base, u64 len,
			  enum hostile_verdict verdict)
{
	struct hostile_ring *ring;
	struct hostile_slot *slot = hostile_slot(h, &ring);

	if (!slot)
		return -ETIMEDOUT;
	hostile_prepare(h, slot, opcode);
	slot->iov[0].base = base;
	slot->iov[0].len = len;
	slot->verdict = verdict;
	hostile_submit(h, ring, slot);
	return 0;
}

/* An array of iovecs at @addr; @n entries. */
static int hostile_array(struct hostile *h, u8 opcode, u64 addr, u32 n)
{
	struct hostile_ring *ring;
	struct hostile_slot *slot = hostile_slot(h, &ring);

	if (!slot)
		return -ETIMEDOUT;
	hostile_prepare(h, slot, opcode);
	slot->sqe.addr = addr;
	slot->sqe.len = n;
	hostile_judge(h, slot);
	hostile_submit(h, ring, slot);
	return 0;
}

/*
 * Each address that the host's test named, as one to write from or read to,
 * and as that of an array of iovecs.
 */
static int hostile_aim(struct hostile *h, u8 opcode, u32 rounds)
{
	u32 round, i;
	int err = 0;

	for (round = 0; round < rounds; round++) {
		for (i = 0; !err && i < h->num_targets; i++) {
			u64 addr = h->targets[i];

			if (round)
				addr += hostile_below(h, PAGE_SIZE - 512);
			if (hostile_in_window(h, addr, PAGE_SIZE))
				continue;
			err = hostile_vector(h, opcode, addr,
					     round ? 512 : PAGE_SIZE,
					     HOSTILE_NO_BYTES);
			if (!err)
				err = hostile_array(h, opcode, addr, 1);
		}
	}
	return err ?: hostile_wait(h);
}

/* Takes memory of the host's to the disk. */
int hostile_peek(struct hostile *h, u32 count)
{
	return hostile_aim(h, IORING_OP_WRITEV, count);
}

/* Puts what is on the disk into memory of the host's. */
int hostile_poke(struct hostile *h, u32 count)
{
	return hostile_aim(h, IORING_OP_READV, count);
}

/*
 * RAM that the machine hides from its CPUs, and what lies beyond all RAM.  The
 * first window starts at address 0, so it tells the address that they would
 * have if they were in it.
 */
int hostile_hidden(struct hostile *h, u32 count)
{
	const struct hostile_window *first = &h->windows[0];
	const struct hostile_window *last = &h->windows[h->num_windows - 1];
	u64 gpa, addr;
	u32 i;
	int err = 0;

	for (gpa = HOSTILE_HIDDEN; !err && gpa < HOSTILE_SHADOW_END;
	     gpa += PAGE_SIZE) {
		addr = gpa - first->gpa + first->addr;
		/* The firmware's tables may be visible; we live on them. */
		if (gpa >= HOSTILE_SHADOW &&
		    hostile_in_window(h, addr, PAGE_SIZE))
			continue;
		err = hostile_vector(h, IORING_OP_WRITEV, addr, PAGE_SIZE,
				     HOSTILE_NO_BYTES);
		if (!err)
			err = hostile_vector(h, IORING_OP_READV, addr,
					     PAGE_SIZE, HOSTILE_NO_BYTES);
		if (!err)
			err = hostile_array(h, IORING_OP_WRITEV, addr, 1);
	}
	for (i = 0; !err && i < count; i++) {
		addr = last->addr + last->size +
		       PAGE_SIZE * (i ? 1ULL << hostile_below(h, 36) : 0);
		if (hostile_in_window(h, addr, PAGE_SIZE))
			continue;
		err = hostile_vector(h, i & 1 ? IORING_OP_READV :
						IORING_OP_WRITEV,
				     addr, PAGE_SIZE, HOSTILE_NO_BYTES);
	}
	return err ?: hostile_wait(h);
}

/* Two iovecs, of which the first, or the second, is bad. */
static int hostile_pair(struct hostile *h, u8 opcode, unsigned int bad)
{
	struct hostile_ring *ring;
	struct hostile_slot *slot = hostile_slot(h, &ring);
	struct hostile_iovec *v;

	if (!slot)
		return -ETIMEDOUT;
	hostile_prepare(h, slot, opcode);
	slot->sqe.len = 2;
	v = &slot->iov[bad];
	v->len = hostile_one_in(h, 2) ? PAGE_SIZE :
		 hostile_random(h) >> hostile_below(h, 64);
	v->base = hostile_bad_address(h, v->len);
	hostile_judge(h, slot);
	hostile_submit(h, ring, slot);
	return 0;
}

/* The array at an odd address, with entries that are right. */
static int hostile_misaligned(struct hostile *h, u8 opcode)
{
	struct hostile_ring *ring;
	struct hostile_slot *slot = hostile_slot(h, &ring);
	u32 shift = 1 + hostile_below(h, 15);

	if (!slot)
		return -ETIMEDOUT;
	hostile_prepare(h, slot, opcode);
	memmove((u8 *)slot->iov + shift, slot->iov, sizeof(*slot->iov));
	slot->sqe.addr = slot->iov_addr + shift;
	hostile_submit(h, ring, slot);
	return 0;
}

/* Arrays of iovecs everywhere, of any length, and entries of any length. */
int hostile_iovecs(struct hostile *h, u32 count)
{
	static const u32 numbers[] = {
		0, 1, 2, 1023, 1024, 1025, 65536, S32_MAX, 1U << 31, U32_MAX,
	};
	const struct hostile_window *last = &h->windows[h->num_windows - 1];
	u64 end = last->addr + last->size;
	u32 i;
	int err = 0;

	for (i = 0; !err && i < count; i++) {
		u8 opcode = i & 1 ? IORING_OP_WRITEV : IORING_OP_READV;
		u32 n = numbers[hostile_below(h, ARRAY_SIZE(numbers))];

		switch (hostile_below(h, 8)) {
		case 0:
		case 1:
			err = hostile_array(h, opcode,
					    hostile_bad_address(h, HOSTILE_BYTES),
					    n);
			break;
		case 2:		/* across the end of RAM; who knows what is there */
			err = hostile_array(h, IORING_OP_WRITEV,
					    end - hostile_below(h, 64), n ?: 1);
			break;
		case 3:
		case 4:
			err = hostile_pair(h, opcode, hostile_below(h, 2));
			break;
		case 5:
			err = hostile_misaligned(h, opcode);
			break;
		case 6:		/* data across the end of RAM */
			err = hostile_vector(h, IORING_OP_WRITEV,
					     end - hostile_below(h, 2 * PAGE_SIZE),
					     4 * PAGE_SIZE, HOSTILE_ANY);
			break;
		default:	/* all of RAM from here on, and beyond */
			err = hostile_vector(h, IORING_OP_WRITEV,
					     end - hostile_below(h, 1 << 20),
					     hostile_one_in(h, 2) ? S64_MAX :
					     1ULL << (20 + hostile_below(h, 44)),
					     HOSTILE_ANY);
		}
	}
	return err ?: hostile_wait(h);
}
