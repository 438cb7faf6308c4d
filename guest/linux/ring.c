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

/* Once there is memory for it: where things are, and how many. */
void vbu_ring_init(struct vbu_queue *q)
{
	const struct vbu_desc *desc = &q->vbu->desc;

	q->opcodes = desc->opcodes;
	q->max_bytes = desc->max_bytes;
	q->offset_mask = desc->offset_align - 1;
	q->mem_mask = desc->mem_align - 1;
	q->sq_mask = desc->sq_entries - 1;
	q->cq_mask = desc->cq_entries - 1;
	q->depth = q->vbu->set.queue_depth;

	q->sqes = q->sqe_mem;
	q->sq_head = q->ring_mem + desc->sq_head;
	q->sq_tail = q->ring_mem + desc->sq_tail;
	q->sq_flags = q->ring_mem + desc->sq_flags;
	q->cq_head = q->ring_mem + desc->cq_head;
	q->cq_tail = q->ring_mem + desc->cq_tail;
	q->cq_flags = q->ring_mem + desc->cq_flags;
	q->cqes = q->ring_mem + desc->cqes;
}

/* What an SQE asks for.  Only ever in registers: no function has its address. */
struct vbu_op {
	u8 opcode;
	u32 len;
	u32 rw_flags;
	u64 off;
	u64 addr;
};

static bool vbu_fits(const struct vbu_window *w, u64 gpa, u64 len)
{
	u64 off = gpa - w->gpa;

	return off < w->size && w->size - off >= len;
}

static noinline const struct vbu_window *
vbu_find_window(struct vbu_queue *q, u64 gpa, u64 len)
{
	struct vbu *vbu = q->vbu;
	unsigned int i;

	for (i = 0; i < vbu->num_windows; i++) {
		const struct vbu_window *w = &vbu->windows[i];

		if (vbu_fits(w, gpa, len)) {
			WRITE_ONCE(q->window, w);
			return w;
		}
	}
	return NULL;
}

/* Which has @len bytes from the guest physical address @gpa on; NULL: none. */
static __always_inline const struct vbu_window *
vbu_window(struct vbu_queue *q, u64 gpa, u64 len)
{
	const struct vbu_window *w = READ_ONCE(q->window);

	if (likely(vbu_fits(w, gpa, len)))
		return w;
	return vbu_find_window(q, gpa, len);
}

static u64 vbu_bvec_gpa(const struct bio_vec *bv)
{
	return page_to_phys(bv->bv_page) + bv->bv_offset;
}

/* Fills the request's iovec; how many entries it has, or 0: not for a ring. */
static noinline unsigned int vbu_prepare_segments(struct vbu_queue *q,
						  struct request *rq)
{
	struct vbu_req *r = blk_mq_rq_to_pdu(rq);
	struct vbu *vbu = q->vbu;
	struct req_iterator iter;
	unsigned int n = 0;
	struct bio_vec bv;
	u64 misfit = 0, end = 0;

	rq_for_each_bvec(bv, rq, iter) {
		struct vbu_iovec *v = &r->iov[n];
		u64 gpa = vbu_bvec_gpa(&bv);
		const struct vbu_window *w = vbu_window(q, gpa, bv.bv_len);
		/* Ring addresses alone may join where a window ends. */
		bool joins = n && gpa == end;
		u64 addr;

		if (!w)
			return 0;
		addr = gpa + w->bias;
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
			return 0;
		v->base = addr;
		v->len = bv.bv_len;
		n++;
	}
	if (!n)
		return 0;
	misfit |= r->iov[n - 1].len;
	return misfit & q->mem_mask ? 0 : n;
}

static bool vbu_allows(struct vbu_queue *q, u8 opcode)
{
	return q->opcodes & BIT_ULL(opcode);
}

/* Fills @op, but for what is to be done, for a read or a write. */
static __always_inline bool vbu_prepare_data(struct vbu_queue *q,
					     struct request *rq,
					     struct vbu_op *op)
{
	struct vbu_req *r = blk_mq_rq_to_pdu(rq);
	u64 off = (u64)blk_rq_pos(rq) << SECTOR_SHIFT;
	struct bio_vec bv __uninitialized;
	u32 bytes = blk_rq_bytes(rq);
	const struct vbu_window *w;
	u64 gpa;

	if (((off | bytes) & q->offset_mask) || bytes > q->max_bytes || !bytes)
		return false;
	op->off = off;
	bv = mp_bvec_iter_bvec(rq->bio->bi_io_vec, rq->bio->bi_iter);
	if (likely(bv.bv_len == bytes)) {
		gpa = vbu_bvec_gpa(&bv);
		w = vbu_window(q, gpa, bytes);
		if (unlikely(!w))
			return false;
		gpa += w->bias;
		if (unlikely((gpa | bytes) & q->mem_mask))
			return false;
		r->iov[0].base = gpa;
		r->iov[0].len = bytes;
		op->len = 1;
	} else {
		op->len = vbu_prepare_segments(q, rq);
		if (!op->len)
			return false;
	}
	gpa = virt_to_phys(r->iov);
	w = vbu_window(q, gpa, op->len * sizeof(*r->iov));
	if (unlikely(!w))
		return false;
	op->addr = gpa + w->bias;
	return vbu_allows(q, op->opcode);
}

/*
 * Whether a ring can do @rq, and if so how.  Needs no lock: what it writes
 * belongs to the request, and windows don't change while the ring is open.
 */
static __always_inline bool vbu_prepare(struct vbu_queue *q,
					struct request *rq, struct vbu_op *op)
{
	op->rw_flags = 0;
	switch (req_op(rq)) {
	case REQ_OP_READ:
		op->opcode = IORING_OP_READV;
		break;
	case REQ_OP_WRITE:
		op->opcode = IORING_OP_WRITEV;
		if (rq->cmd_flags & REQ_FUA) {
			if (!q->vbu->desc.dsync)
				return false;
			op->rw_flags = (__force u32)RWF_DSYNC;
		}
		break;
	case REQ_OP_FLUSH:
		op->opcode = IORING_OP_FSYNC;
		op->rw_flags = IORING_FSYNC_DATASYNC;
		op->len = 0;
		op->off = 0;
		op->addr = 0;
		return !q->iopoll && vbu_allows(q, IORING_OP_FSYNC);
	default:
		return false;
	}
	return vbu_prepare_data(q, rq, op);
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
	virt_wmb();	/* the SQEs come before it */
	/* The host sets the flag, then looks at the tail again. */
	virt_store_mb(*q->sq_tail, q->tail);
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

/* sq_lock held */
static bool vbu_sq_full(struct vbu_queue *q)
{
	if (likely(q->tail - q->seen <= q->sq_mask))
		return false;
	/* It is in a line that the host's thread writes: look when we must. */
	q->seen = READ_ONCE(*q->sq_head);
	return q->tail - q->seen > q->sq_mask;
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

/* What came of looking for a place in a full SQ */
#define VBU_SQ_ROOM	BIT(0)
#define VBU_SQ_WAKEUP	BIT(1)	/* as vbu_publish() */

/*
 * Without VBU_SQ_ROOM there is none, and who reaps next runs the queue again.
 * sq_lock held.
 */
static noinline unsigned int vbu_sq_make_room(struct vbu_queue *q)
{
	unsigned int found = 0;
	unsigned long flags;

	if (vbu_publish(q))
		found = VBU_SQ_WAKEUP;
	else if (vbu_sq_wait(q))
		return VBU_SQ_ROOM;
	spin_lock_irqsave(&q->cq_lock, flags);
	q->starved = true;
	spin_unlock_irqrestore(&q->cq_lock, flags);
	/* Who has reaped before may have seen the host move its head. */
	if (!vbu_sq_full(q))
		return found | VBU_SQ_ROOM;
	q->sq_full++;
	return found;
}

/* sq_lock held, and the SQ has a place. */
static __always_inline void vbu_add_sqe(struct vbu_queue *q,
					struct request *rq,
					const struct vbu_op *op)
{
	struct io_uring_sqe *sqe;

	/*
	 * What is not written here is 0 for ever: vbu_activate() zeroes it, and
	 * the host only reads SQEs.
	 */
	sqe = &q->sqes[q->tail & q->sq_mask];
	sqe->opcode = op->opcode;
	sqe->flags = IOSQE_FIXED_FILE;
	sqe->off = op->off;
	sqe->addr = op->addr;
	sqe->len = op->len;
	sqe->rw_flags = op->rw_flags;
	sqe->user_data = (u32)rq->tag;
	/* From here on the ring owns the request. */
	WRITE_ONCE(q->slot[rq->tag], rq);
	WRITE_ONCE(q->tail, q->tail + 1);
	WRITE_ONCE(q->submitted, q->submitted + 1);
}

/*
 * Queues @rq, and publishes it if it is the @last one.  BLK_STS_NOTSUPP: the
 * ring cannot do it, a virtqueue can.
 */
blk_status_t vbu_ring_submit(struct vbu_queue *q, struct request *rq, bool last)
{
	struct vbu_op op __uninitialized;
	unsigned int found = VBU_SQ_ROOM;
	bool wakeup;

	if (unlikely(!vbu_prepare(q, rq, &op)))
		return BLK_STS_NOTSUPP;
	spin_lock(&q->sq_lock);
	if (unlikely(vbu_sq_full(q)))
		found = vbu_sq_make_room(q);
	wakeup = found & VBU_SQ_WAKEUP;
	if (likely(found & VBU_SQ_ROOM)) {
		vbu_add_sqe(q, rq, &op);
		if (last && vbu_publish(q))
			wakeup = true;
	}
	spin_unlock(&q->sq_lock);

	if (unlikely(wakeup))
		virtqueue_notify(q->vq);
	/*
	 * Not DEV_RESOURCE: that relies on a completion to run the queue again,
	 * and all may have been completed by now.
	 */
	return likely(found & VBU_SQ_ROOM) ? BLK_STS_OK : BLK_STS_RESOURCE;
}

/*
 * Queues a plug's requests, of any queues, and publishes each queue's at once.
 * Returns what a ring has no place for or cannot do, not started.
 */
struct rq_list vbu_ring_submit_list(struct rq_list todo)
{
	struct rq_list others = { };
	struct request *rq = rq_list_pop(&todo);
	struct vbu_op op __uninitialized;
	struct vbu_queue *q;
	bool wakeup;

	while (rq) {
		q = vbu_rq_queue(rq);
		spin_lock(&q->sq_lock);
		do {
			/* As in vbu_queue_rq(); RCU is held here, too. */
			if (likely(smp_load_acquire(&q->open)) &&
			    likely(!(rq->rq_flags & RQF_DONTPREP)) &&
			    likely(!vbu_sq_full(q)) &&
			    likely(vbu_prepare(q, rq, &op))) {
				vbu_start(rq);
				vbu_add_sqe(q, rq, &op);
			} else {
				rq_list_add_tail(&others, rq);
			}
			rq = rq_list_pop(&todo);
		} while (rq && vbu_rq_queue(rq) == q);
		wakeup = vbu_publish(q);
		spin_unlock(&q->sq_lock);
		if (unlikely(wakeup))
			virtqueue_notify(q->vq);
	}
	return others;
}

/* Whether @res is what the ring says when all of @rq is done. */
static bool vbu_all_done(struct request *rq, int res)
{
	return res == (req_op(rq) == REQ_OP_FLUSH ? 0 : blk_rq_bytes(rq));
}

/* Completes @rq, whose res and by_ring are set, on the CPU that it is of. */
static void vbu_finish(struct request *rq, struct io_comp_batch *iob)
{
	struct vbu_req *r = blk_mq_rq_to_pdu(rq);

	if (blk_mq_complete_request_remote(rq))
		return;
	if (likely(vbu_all_done(rq, r->res)) &&
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

/* To be done before the last request is completed, and the queue may go. */
#define VBU_BROKEN	BIT(0)	/* this is no CQ any more */
#define VBU_STARVED	BIT(1)	/* somebody found the SQ full */
#define VBU_DRAINED	BIT(2)	/* the ring is closed and has nothing left */

static noinline void vbu_tell(struct vbu_queue *q, unsigned int what)
{
	if (what & VBU_BROKEN)
		vbu_cq_broken(q);
	if (what & VBU_STARVED)
		blk_mq_run_hw_queue(q->hctx, true);
	if (what & VBU_DRAINED)
		vbu_path_kick(q->vbu);
}

static noinline void vbu_stray(struct vbu_queue *q, u64 tag, int res)
{
	q->stray++;
	dev_err_ratelimited(&q->vbu->vdev->dev,
			    "queue %u: completion %d for request %llu, which is not in flight\n",
			    q->index, res, tag);
}

/* A request that cannot simply go into the batch; as vbu_finish(). */
static void vbu_finish_other(struct vbu_queue *q, struct request *rq,
			     struct io_comp_batch *iob)
{
	struct vbu_req *r = blk_mq_rq_to_pdu(rq);

	if (unlikely(r->res < 0 && READ_ONCE(q->vbu->dying))) {
		atomic_long_inc(&q->replayed);
		r->res = -ECANCELED;
	}
	vbu_finish(rq, iob);
}

/*
 * Takes all completed requests out of the ring.  Those that polled for it and
 * are done go into @iob as they come; all others are chained, and finished
 * without the lock.
 */
static noinline unsigned int vbu_reap(struct vbu_queue *q,
				      struct io_comp_batch *iob)
{
	struct rq_list others = { };
	unsigned long flags = 0;
	unsigned int what = 0;
	unsigned int n = 0;
	struct request *rq;
	u32 tail, head;

	/* No interrupt takes the lock of a polled ring. */
	if (q->polled)
		spin_lock(&q->cq_lock);
	else
		spin_lock_irqsave(&q->cq_lock, flags);
	if (unlikely(!q->live))
		goto out;
	head = q->head;
	/* The CQEs come after it. */
	tail = virt_load_acquire(q->cq_tail);
	if (unlikely(tail - head > q->cq_mask + 1)) {
		what = VBU_BROKEN;
		goto out;
	}
	if (unlikely(head == tail))
		goto out;
	do {
		struct io_uring_cqe *cqe = &q->cqes[head++ & q->cq_mask];
		u64 tag = READ_ONCE(cqe->user_data);
		int res = READ_ONCE(cqe->res);
		struct vbu_req *r;

		if (unlikely(tag >= q->depth || !q->slot[tag])) {
			vbu_stray(q, tag, res);
			continue;
		}
		rq = q->slot[tag];
		n++;
		/* Now it is ours again. */
		WRITE_ONCE(q->slot[tag], NULL);
		if (likely(rq->cmd_flags & REQ_POLLED &&
			   res == blk_rq_bytes(rq)) &&
		    blk_mq_add_to_batch(rq, iob, false,
					blk_mq_end_request_batch)) {
			blk_mq_set_request_complete(rq);
			continue;
		}
		r = blk_mq_rq_to_pdu(rq);
		r->by_ring = true;
		r->res = res;
		rq_list_add_tail(&others, rq);
	} while (head != tail);
	WRITE_ONCE(q->head, head);
	/* They are read, the host may write over them. */
	virt_store_release(q->cq_head, head);
	WRITE_ONCE(q->completed, q->completed + n);
	if (unlikely(n && q->starved)) {
		what |= VBU_STARVED;
		q->starved = false;
	}
	if (unlikely(!READ_ONCE(q->open)) && n &&
	    READ_ONCE(q->submitted) == q->completed)
		what |= VBU_DRAINED;
out:
	if (q->polled)
		spin_unlock(&q->cq_lock);
	else
		spin_unlock_irqrestore(&q->cq_lock, flags);

	if (unlikely(what))
		vbu_tell(q, what);
	while ((rq = rq_list_pop(&others)))
		vbu_finish_other(q, rq, iob);
	return n;
}

static bool vbu_reapable(struct vbu_queue *q)
{
	return READ_ONCE(q->live) && !vbu_cq_empty(q);
}

/* Has what the host has completed be completed with @iob; from .poll(). */
unsigned int vbu_ring_poll(struct vbu_queue *q, struct io_comp_batch *iob)
{
	return vbu_reapable(q) ? vbu_reap(q, iob) : 0;
}

/* Completes what the host has completed; in any context. */
unsigned int vbu_ring_reap(struct vbu_queue *q)
{
	DEFINE_IO_COMP_BATCH(iob);
	unsigned int n;

	if (!vbu_reapable(q))
		return 0;
	n = vbu_reap(q, &iob);
	/* Set with the first request that is in it. */
	if (iob.complete)
		iob.complete(&iob);
	return n;
}

/*
 * Reaps.  One caller at a time.  While other requests are on their way the ring
 * is kept from interrupting for what is found here anyway; a single one is not
 * worth it, as the flag is in a line that the host's thread polls.
 *
 * It can be late and write cq_flags after the ring has ended.  The memory is the
 * driver's then, and if a new ring uses it already, this serves the new ring.
 */
void vbu_ring_interrupt(struct vbu_queue *q)
{
	unsigned int n = 0;

	if (!READ_ONCE(q->live))
		return;
	WRITE_ONCE(q->interrupts, q->interrupts + 1);
	if (READ_ONCE(q->submitted) - READ_ONCE(q->completed) <= 1) {
		n = vbu_ring_reap(q);
		goto out;
	}
	do {
		WRITE_ONCE(*q->cq_flags, IORING_CQ_EVENTFD_DISABLED);
		n += vbu_ring_reap(q);
		WRITE_ONCE(*q->cq_flags, 0);
		virt_mb();	/* what the host posts from here on interrupts */
	} while (vbu_reapable(q) && !READ_ONCE(q->vbu->give_up));
out:
	if (!n)
		WRITE_ONCE(q->empty, q->empty + 1);
}

/*
 * Whether the ring's memory still holds what this driver wrote there last.  The
 * device exchanges the memory for zeroes when a ring has ended for good, and
 * zeroes are completions of request 0 to who takes them for a CQ.  Only when
 * nobody submits.
 */
bool vbu_ring_intact(struct vbu_queue *q)
{
	bool intact;

	spin_lock_irq(&q->cq_lock);
	intact = q->live && READ_ONCE(*q->sq_tail) == q->published &&
		 READ_ONCE(*q->cq_head) == q->head;
	spin_unlock_irq(&q->cq_lock);
	return intact;
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
		struct vbu_req *r;
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
		r = blk_mq_rq_to_pdu(rq);
		r->by_ring = true;
		r->res = res;
		vbu_finish(rq, NULL);
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
