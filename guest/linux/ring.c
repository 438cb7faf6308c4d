// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio_blk_uring: one ring of the host, and requests in it
 *
 * All of it works on memory that the host's kernel reads and writes at the
 * same time.  The host has the same one CPU or more whatever the guest has,
 * hence virt_*() barriers, which are not dropped on one-CPU guests.
 */
#include <linux/blk-mq.h>
#include <linux/bvec.h>
#include <linux/fs.h>
#include <linux/io.h>

#include "vbu.h"

/* -EAGAIN and the like: retries at once, then retries later, then no more */
#define VBU_TRIES_AT_ONCE	3
#define VBU_TRIES		10

/* Looks for a place in a full SQ, a pause each, before blk-mq has to wait */
#define VBU_SQ_SPINS		100

/* Finds @len bytes from the guest physical address @gpa on; false: nowhere. */
static bool vbu_translate(struct vbu_queue *q, u64 gpa, u64 len, u64 *addr)
{
	struct vbu *vbu = q->vbu;
	unsigned int i = READ_ONCE(q->window);
	const struct vbu_window *w = &vbu->windows[i];

	if (unlikely(gpa - w->gpa >= w->size ||
		     w->size - (gpa - w->gpa) < len)) {
		for (i = 0; i < vbu->num_windows; i++) {
			w = &vbu->windows[i];
			if (gpa - w->gpa < w->size &&
			    w->size - (gpa - w->gpa) >= len)
				break;
		}
		if (i == vbu->num_windows)
			return false;
		WRITE_ONCE(q->window, i);
	}
	*addr = gpa + w->bias;
	return true;
}

static bool vbu_prepare_data(struct vbu_queue *q, struct request *rq,
			     struct vbu_op *op)
{
	struct vbu_req *r = blk_mq_rq_to_pdu(rq);
	struct vbu *vbu = q->vbu;
	u64 off = (u64)blk_rq_pos(rq) << SECTOR_SHIFT;
	u32 bytes = blk_rq_bytes(rq);
	struct req_iterator iter;
	unsigned int n = 0;
	struct bio_vec bv;
	u64 misfit = 0, end = 0;

	if (((off | bytes) & (vbu->desc.offset_align - 1)) ||
	    bytes > vbu->desc.max_bytes)
		return false;
	rq_for_each_bvec(bv, rq, iter) {
		struct vbu_iovec *v = &r->iov[n];
		u64 gpa = page_to_phys(bv.bv_page) + bv.bv_offset, addr;
		/* Ring addresses alone may join where a window ends. */
		bool joins = n && gpa == end;

		if (!vbu_translate(q, gpa, bv.bv_len, &addr))
			return false;
		end = gpa + bv.bv_len;
		if (joins && v[-1].base + v[-1].len == addr) {
			v[-1].len += bv.bv_len;
			continue;
		}
		/* What ends here, and what begins. */
		misfit |= addr;
		if (n)
			misfit |= v[-1].len;
		if (n == vbu->max_segments)
			return false;
		v->base = addr;
		v->len = bv.bv_len;
		n++;
	}
	if (!n)
		return false;
	misfit |= r->iov[n - 1].len;
	if (misfit & (vbu->desc.mem_align - 1))
		return false;
	op->off = off;
	op->len = n;
	return vbu_translate(q, virt_to_phys(r->iov), n * sizeof(*r->iov),
			     &op->addr);
}

/*
 * Whether a ring can do @rq, and if so how.  Not under sq_lock: what it writes
 * belongs to the request, and windows don't change while the ring is open.
 */
bool vbu_ring_prepare(struct vbu_queue *q, struct request *rq,
		      struct vbu_op *op)
{
	struct vbu *vbu = q->vbu;

	*op = (struct vbu_op) { };
	switch (req_op(rq)) {
	case REQ_OP_READ:
		op->opcode = IORING_OP_READV;
		break;
	case REQ_OP_WRITE:
		op->opcode = IORING_OP_WRITEV;
		if (rq->cmd_flags & REQ_FUA) {
			if (!vbu->desc.dsync)
				return false;
			op->rw_flags = (__force u32)RWF_DSYNC;
		}
		break;
	case REQ_OP_FLUSH:
		op->opcode = IORING_OP_FSYNC;
		op->rw_flags = IORING_FSYNC_DATASYNC;
		return !q->iopoll &&
		       (vbu->desc.opcodes & BIT_ULL(IORING_OP_FSYNC));
	default:
		return false;
	}
	return (vbu->desc.opcodes & BIT_ULL(op->opcode)) &&
	       vbu_prepare_data(q, rq, op);
}

/*
 * Hands all SQEs up to tail to the host.  True: the host's thread sleeps, ring
 * the doorbell.  sq_lock held.
 */
static bool vbu_publish(struct vbu_queue *q)
{
	if (q->published == q->tail)
		return false;
	WRITE_ONCE(q->published, q->tail);
	/* The SQEs come before it. */
	virt_store_release(q->sq_tail, q->tail);
	virt_mb();	/* the host sets the flag, then looks at the tail again */
	if (!(READ_ONCE(*q->sq_flags) & IORING_SQ_NEED_WAKEUP))
		return false;
	q->doorbells++;
	return true;
}

void vbu_ring_publish(struct vbu_queue *q)
{
	bool wakeup;

	spin_lock(&q->sq_lock);
	wakeup = vbu_publish(q);
	spin_unlock(&q->sq_lock);
	if (wakeup)
		virtqueue_notify(q->vq);
}

static bool vbu_sq_full(struct vbu_queue *q)
{
	return q->tail - READ_ONCE(*q->sq_head) >= q->vbu->desc.sq_entries;
}

/*
 * The host posts what it could complete at once, and interrupts, before it
 * moves the SQ's head.  So there may be no completion left to wait for, but
 * then the thread is awake and a place near: worth a few us, as what blk-mq
 * does without one takes ms.  sq_lock held, all SQEs published.
 */
static bool vbu_sq_wait(struct vbu_queue *q)
{
	unsigned int i;

	for (i = 0; i < VBU_SQ_SPINS; i++) {
		if (!vbu_sq_full(q))
			return true;
		if (READ_ONCE(*q->sq_flags) & IORING_SQ_NEED_WAKEUP)
			return false;
		cpu_relax();
	}
	return false;
}

/*
 * Looks for a place in a full SQ.  False: there is none, and who reaps next
 * runs the queue again.  @wakeup: as vbu_publish().  sq_lock held.
 */
static bool vbu_sq_make_room(struct vbu_queue *q, bool *wakeup)
{
	unsigned long flags;

	*wakeup = vbu_publish(q);
	if (!*wakeup && vbu_sq_wait(q))
		return true;
	spin_lock_irqsave(&q->cq_lock, flags);
	q->starved = true;
	spin_unlock_irqrestore(&q->cq_lock, flags);
	/* Who has reaped before may have seen the host move its head. */
	if (!vbu_sq_full(q))
		return true;
	q->sq_full++;
	return false;
}

blk_status_t vbu_ring_submit(struct vbu_queue *q, struct request *rq,
			     const struct vbu_op *op, bool last)
{
	struct io_uring_sqe *sqe;
	bool wakeup = false;
	bool full;

	spin_lock(&q->sq_lock);
	full = unlikely(vbu_sq_full(q)) && !vbu_sq_make_room(q, &wakeup);
	if (likely(!full)) {
		sqe = &q->sqes[q->tail & (q->vbu->desc.sq_entries - 1)];
		*sqe = (struct io_uring_sqe) {
			.opcode		= op->opcode,
			.flags		= IOSQE_FIXED_FILE,
			.fd		= 0,
			.off		= op->off,
			.addr		= op->addr,
			.len		= op->len,
			.rw_flags	= op->rw_flags,
			.user_data	= rq->tag,
		};
		/* From here on the ring owns the request. */
		WRITE_ONCE(q->slot[rq->tag], rq);
		WRITE_ONCE(q->tail, q->tail + 1);
		WRITE_ONCE(q->submitted, q->submitted + 1);
		if (last && vbu_publish(q))
			wakeup = true;
	}
	spin_unlock(&q->sq_lock);

	if (wakeup)
		virtqueue_notify(q->vq);
	/*
	 * Not DEV_RESOURCE: that relies on a completion to run the queue again,
	 * and all may have been completed by now.
	 */
	return full ? BLK_STS_RESOURCE : BLK_STS_OK;
}

/* What was taken out of a ring. */
struct vbu_batch {
	unsigned int n;
	bool drained;	/* the ring is closed and has nothing left */
	bool starved;	/* somebody found the SQ full */
	bool broken;	/* this is no CQ any more */
	struct {
		struct request *rq;
		int res;
	} done[VBU_REAP_BATCH];
};

/* Takes completed requests out of the ring, as many as @b has places. */
static void vbu_take(struct vbu_queue *q, struct vbu_batch *b)
{
	struct vbu *vbu = q->vbu;
	u32 tail, head;
	unsigned long flags;
	unsigned int n = 0;

	b->drained = false;
	b->starved = false;
	b->broken = false;
	spin_lock_irqsave(&q->cq_lock, flags);
	if (unlikely(!q->live))
		goto out;
	head = q->head;
	/* The CQEs come after it. */
	tail = virt_load_acquire(q->cq_tail);
	if (unlikely(tail - head > vbu->desc.cq_entries)) {
		b->broken = true;
		goto out;
	}
	while (head != tail && n < VBU_REAP_BATCH) {
		struct io_uring_cqe *cqe;
		u64 tag;
		int res;

		cqe = &q->cqes[head++ & (vbu->desc.cq_entries - 1)];
		tag = READ_ONCE(cqe->user_data);
		res = READ_ONCE(cqe->res);
		if (unlikely(tag >= vbu->set.queue_depth || !q->slot[tag])) {
			q->stray++;
			dev_err_ratelimited(&vbu->vdev->dev,
					    "queue %u: completion %d for request %llu, which is not in flight\n",
					    q->index, res, tag);
			continue;
		}
		b->done[n].rq = q->slot[tag];
		b->done[n].res = res;
		n++;
		/* Now it is ours again. */
		WRITE_ONCE(q->slot[tag], NULL);
	}
	if (head != q->head) {
		WRITE_ONCE(q->head, head);
		/* They are copied, the host may write over them. */
		virt_store_release(q->cq_head, head);
		WRITE_ONCE(q->completed, q->completed + n);
	}
	if (unlikely(n && q->starved)) {
		b->starved = true;
		q->starved = false;
	}
	b->drained = n && !READ_ONCE(q->open) &&
		     READ_ONCE(q->submitted) == q->completed;
out:
	spin_unlock_irqrestore(&q->cq_lock, flags);
	b->n = n;
}

static void vbu_finish(struct request *rq, int res, struct io_comp_batch *iob)
{
	struct vbu_req *r = blk_mq_rq_to_pdu(rq);
	unsigned int expected;

	expected = req_op(rq) == REQ_OP_FLUSH ? 0 : blk_rq_bytes(rq);
	r->by_ring = true;
	r->res = res;
	if (blk_mq_complete_request_remote(rq))
		return;
	if (likely(res == expected) &&
	    blk_mq_add_to_batch(rq, iob, false, blk_mq_end_request_batch))
		return;
	vbu_ring_complete(rq);
}

static bool vbu_cq_empty(struct vbu_queue *q)
{
	return READ_ONCE(*q->cq_tail) == READ_ONCE(q->head);
}

static void vbu_cq_broken(struct vbu_queue *q)
{
	struct vbu *vbu = q->vbu;

	if (READ_ONCE(vbu->give_up))
		return;
	dev_err(&vbu->vdev->dev,
		"queue %u: the CQ's tail %u is nowhere near its head %u, giving the rings up\n",
		q->index, READ_ONCE(*q->cq_tail), READ_ONCE(q->head));
	WRITE_ONCE(vbu->give_up, true);
	vbu_path_kick(vbu);
}

/*
 * Takes a batch out of the ring and completes it.  Kept out of vbu_ring_reap(),
 * so that looking at an empty CQ, which is what pollers do most, has no arrays
 * to set up.
 */
static noinline unsigned int vbu_reap_batch(struct vbu_queue *q,
					    struct io_comp_batch *iob)
{
	struct vbu_batch b __uninitialized;
	DEFINE_IO_COMP_BATCH(own);
	unsigned int i;

	vbu_take(q, &b);
	if (unlikely(b.broken))
		vbu_cq_broken(q);
	/* Both before the last one is completed, and the queue may go. */
	if (unlikely(b.starved))
		blk_mq_run_hw_queue(q->hctx, true);
	if (unlikely(b.drained))
		vbu_path_kick(q->vbu);
	for (i = 0; i < b.n; i++) {
		int res = b.done[i].res;

		if (unlikely(res < 0 && READ_ONCE(q->vbu->dying))) {
			atomic_long_inc(&q->replayed);
			res = -ECANCELED;
		}
		vbu_finish(b.done[i].rq, res, iob ?: &own);
	}
	if (!rq_list_empty(&own.req_list))
		own.complete(&own);
	return b.n;
}

/*
 * Completes what the host has completed; in any context.  @iob: from .poll(),
 * or NULL.
 */
unsigned int vbu_ring_reap(struct vbu_queue *q, struct io_comp_batch *iob)
{
	unsigned int n, total = 0;

	if (!READ_ONCE(q->live) || vbu_cq_empty(q))
		return 0;
	do {
		n = vbu_reap_batch(q, iob);
		total += n;
	} while (n == VBU_REAP_BATCH);
	return total;
}

/*
 * Reaps.  One caller at a time.  Only a busy ring has its interrupts switched
 * off meanwhile: the flag is in a line that the host's thread polls, and what
 * it posts after this has looked at the CQ interrupts again.
 */
void vbu_ring_interrupt(struct vbu_queue *q)
{
	if (!READ_ONCE(q->live))
		return;
	WRITE_ONCE(q->interrupts, q->interrupts + 1);
	if (vbu_reap_batch(q, NULL) < VBU_REAP_BATCH)
		return;
	do {
		WRITE_ONCE(*q->cq_flags, IORING_CQ_EVENTFD_DISABLED);
		vbu_ring_reap(q, NULL);
		WRITE_ONCE(*q->cq_flags, 0);
		virt_mb();	/* what the host posts from here on interrupts */
	} while (!vbu_cq_empty(q) && READ_ONCE(q->live) &&
		 !READ_ONCE(q->vbu->give_up));
}

/*
 * Completes all that the ring owns with @res, and has nobody look at the ring
 * again.  Only when nothing of it can reach disk or memory any more.
 */
unsigned int vbu_ring_end(struct vbu_queue *q, int res)
{
	unsigned int tag, n = 0;

	spin_lock_irq(&q->cq_lock);
	q->live = false;
	spin_unlock_irq(&q->cq_lock);

	for (tag = 0; q->slot && tag < q->vbu->set.queue_depth; tag++) {
		struct request *rq;

		spin_lock_irq(&q->cq_lock);
		rq = q->slot[tag];
		if (rq) {
			WRITE_ONCE(q->slot[tag], NULL);
			WRITE_ONCE(q->completed, q->completed + 1);
		}
		spin_unlock_irq(&q->cq_lock);
		if (!rq)
			continue;
		n++;
		vbu_finish(rq, res, NULL);
	}
	return n;
}

/* Has blk-mq queue what is left of @rq again, @delay ms from now. */
static void vbu_requeue(struct request *rq, unsigned int delay)
{
	struct request_queue *rq_queue = rq->q;

	/* Keeps its flags and is not merged with others. */
	rq->rq_flags |= RQF_DONTPREP;
	blk_mq_requeue_request(rq, !delay);
	if (delay)
		blk_mq_delay_kick_requeue_list(rq_queue, delay);
}

static void vbu_retry(struct request *rq)
{
	struct vbu_req *r = blk_mq_rq_to_pdu(rq);
	unsigned int delay = 0;

	r->tries++;
	if (r->tries > VBU_TRIES)
		r->flags |= VBU_REQ_VIRTQUEUE;
	else if (r->tries > VBU_TRIES_AT_ONCE)
		delay = 1U << (r->tries - VBU_TRIES_AT_ONCE - 1);
	vbu_requeue(rq, delay);
}

static void vbu_short(struct request *rq, unsigned int bytes)
{
	struct vbu_req *r = blk_mq_rq_to_pdu(rq);

	atomic_long_inc(&vbu_rq_queue(rq)->shorts);
	bytes = round_down(bytes, queue_logical_block_size(rq->q));
	if (!bytes) {
		/*
		 * The image ends here or in this block, which no retry helps.
		 * QEMU knows what to do: it reads zeroes there.
		 */
		r->flags |= VBU_REQ_VIRTQUEUE;
		vbu_requeue(rq, 0);
		return;
	}
	/* Moves the request's start, so that what is queued is the rest. */
	if (WARN_ON_ONCE(!blk_update_request(rq, BLK_STS_OK, bytes))) {
		__blk_mq_end_request(rq, BLK_STS_OK);
		return;
	}
	r->tries = 0;
	vbu_requeue(rq, 0);
}

/* Decides what the ring's result means for the request; in any context. */
void vbu_ring_complete(struct request *rq)
{
	struct vbu_req *r = blk_mq_rq_to_pdu(rq);
	unsigned int bytes = blk_rq_bytes(rq);
	int res = r->res;

	if (res >= 0) {
		if (req_op(rq) == REQ_OP_FLUSH || res == bytes) {
			blk_mq_end_request(rq, BLK_STS_OK);
		} else if (res < bytes) {
			vbu_short(rq, res);
		} else {
			r->flags |= VBU_REQ_VIRTQUEUE;
			vbu_requeue(rq, 0);
		}
		return;
	}

	switch (res) {
	case -EAGAIN:
	case -EINTR:
		atomic_long_inc(&vbu_rq_queue(rq)->again);
		vbu_retry(rq);
		return;
	/* what the disk says */
	case -EIO:
	case -ENOSPC:
	case -EDQUOT:
	case -ETIMEDOUT:
	case -EREMOTEIO:
	case -ENODATA:
	case -EILSEQ:
	case -ENOLINK:
	case -EBADE:
	case -ENODEV:
		if (res == -EDQUOT)
			res = -ENOSPC;
		blk_mq_end_request(rq, errno_to_blk_status(res));
		return;
	/* what the ring says, and QEMU may know better */
	default:
		r->flags |= VBU_REQ_VIRTQUEUE;
		vbu_requeue(rq, 0);
	}
}
