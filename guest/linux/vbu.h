/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * virtio_blk_uring: what its files share
 *
 * Who owns a request: blk-mq until .queue_rq() accepts it; then the ring (its
 * entry in vbu_queue.slot[] is set) or the virtqueue (it is the token of a
 * descriptor chain); then whoever took it out of there, who completes it or
 * gives it back to blk-mq to be queued again.
 */
#ifndef VBU_H
#define VBU_H

#include <linux/atomic.h>
#include <linux/blk-mq.h>
#include <linux/cache.h>
#include <linux/mutex.h>
#include <linux/scatterlist.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/virtio.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include <uapi/linux/io_uring.h>

#include "compat.h"
#include "virtio_blk_uring.h"

#ifdef __BIG_ENDIAN
#error "a host's io_uring is little-endian wherever this device exists"
#endif

/* More would make each request's memory larger than it is worth. */
#define VBU_MAX_SEGMENTS	128U
/* Memory beyond so many windows takes the virtqueues. */
#define VBU_MAX_WINDOWS		16U

/* struct iovec as the host has it, whatever the guest's word size is */
struct vbu_iovec {
	u64 base;
	u64 len;
};

/* vbu_req.flags; they last as long as the request, however often it is queued */
#define VBU_REQ_VIRTQUEUE	BIT(0)	/* no ring for this one any more */
#define VBU_REQ_FLUSH		BIT(1)	/* FUA by virtqueue: written, not flushed */

struct vbu_req {
	struct virtio_blk_outhdr hdr;			/* device reads */
	struct virtio_blk_discard_write_zeroes range;	/* device reads */
	u8 status;					/* device writes */
	bool by_ring;		/* what took it, and so what res means */
	u8 flags;
	u8 tries;		/* returned by the ring without progress */
	unsigned int timeouts;
	int res;		/* a CQE's */
	/* Host reads; apart, so that requests lie close together. */
	struct vbu_iovec *iov;
};

/* Where guest memory is for the rings. */
struct vbu_window {
	u64 gpa;
	u64 size;
	u64 bias;		/* add to a guest physical address */
};

/*
 * What the device says about its rings; settled by probe, and checked again
 * before each activation, since migration can put another device here.  Only
 * offset_align may change from one activation to the next, see vbu_open().
 */
struct vbu_desc {
	u32 num_poll;
	u32 vectors;		/* a ring can have its own interrupt */
	u32 dsync;
	u32 sq_entries;
	u32 cq_entries;
	u32 max_segments;
	u32 max_bytes;
	u32 mem_align;
	u32 offset_align;
	/* where things are in the memory of each ring */
	u32 ring_align;		/* log2 */
	u32 ring_bytes;
	u32 sqe_bytes;
	u32 sq_head;
	u32 sq_tail;
	u32 sq_flags;
	u32 cq_head;
	u32 cq_tail;
	u32 cq_flags;
	u32 cqes;
	u32 reserved;
	u64 opcodes;
};

struct vbu;

struct vbu_queue {
	/* the first line is what each request reads and seldom anybody writes */
	struct vbu *vbu;
	struct virtqueue *vq;
	const struct vbu_window *window;	/* the last one that fitted */
	struct request **slot;	/* by tag: the requests that the ring owns */
	u64 opcodes;		/* as in vbu_desc, and so the next four */
	u32 max_bytes;
	u32 offset_mask;	/* an alignment - 1 */
	u32 mem_mask;
	u32 sq_mask;		/* a number of entries - 1 */
	/*
	 * open: .queue_rq() may submit; read under RCU, so that after closing
	 * and a grace period nobody submits.  live: the CQ may be read; changed
	 * under cq_lock.  Both are written by path.c only.
	 */
	bool open;
	bool live;
	bool polled;
	bool iopoll;		/* FSYNC is refused here */
	bool vq_unkicked;	/* under vq_lock */

	/* submission; everything up to the next lock is under sq_lock */
	spinlock_t sq_lock ____cacheline_aligned_in_smp;
	u32 tail;		/* including SQEs that are not published yet */
	u32 published;
	u32 seen;		/* the host's head when we last had to look */
	struct io_uring_sqe *sqes;
	u32 *sq_head;		/* host writes */
	u32 *sq_tail;		/* we write */
	u32 *sq_flags;		/* host writes */
	unsigned long submitted;
	unsigned long doorbells;
	unsigned long sq_full;

	/* completion; under cq_lock */
	spinlock_t cq_lock ____cacheline_aligned_in_smp;
	u32 head;
	u32 cq_mask;		/* a number of entries - 1 */
	u32 depth;		/* tags are below */
	struct io_uring_cqe *cqes;	/* host writes */
	u32 *cq_head;		/* we write */
	u32 *cq_tail;		/* host writes */
	unsigned long completed;
	bool starved;		/* a request waits for a place in the SQ */
	u32 *cq_flags;		/* we write */
	unsigned long stray;	/* CQEs for nothing that is in flight */
	unsigned long interrupts;
	unsigned long empty;	/* interrupts that found nothing completed */

	/* slow path; under vq_lock */
	spinlock_t vq_lock ____cacheline_aligned_in_smp;
	struct scatterlist *sg;
	bool vq_starved;
	unsigned long vq_requests;

	/* seldom */
	struct blk_mq_hw_ctx *hctx;
	unsigned int index;
	atomic_long_t shorts;
	atomic_long_t again;
	atomic_long_t replayed;
	void *ring_mem;
	void *sqe_mem;
	struct msi_map vector;	/* index < 0: none */
	char irq_name[32];
	char name[16];		/* of vq, which keeps a pointer to it */
};

struct vbu {
	struct virtio_device *vdev;
	struct gendisk *disk;
	struct blk_mq_tag_set set;
	struct vbu_queue *queues;
	unsigned int num_queues;
	unsigned int num_poll;	/* the last ones */
	int index;		/* in the disk's name */
	bool write_cache;	/* what is written needs a flush to be durable */
	bool fua;		/* or says so itself, on its way through a ring */
	bool readonly;
	struct {
		u16 cylinders;
		u8 heads;
		u8 sectors;
	} geometry;

	bool can_ring;
	struct vbu_desc desc;
	u32 max_segments;	/* that a request has place for */

	/* changes only while the rings are closed */
	unsigned int num_windows;
	struct vbu_window windows[VBU_MAX_WINDOWS];

	/*
	 * The path that requests take; under path_lock, which is also what
	 * keeps the selectors of the config space to one user.
	 */
	struct mutex path_lock;
	struct delayed_work path_work;
	struct work_struct capacity_work;
	wait_queue_head_t path_wait;	/* something may have been drained */
	u32 state;		/* as last read */
	u32 reason;
	u32 told;		/* the state in which we gave our command */
	unsigned long activations;
	bool rings_live;	/* the queues are, as long as they are not drained */
	bool closed;		/* no request enters a ring */
	bool leaving;		/* no ring is to be started any more */
	/* we gave up, or were refused; so long until the next try */
	unsigned int refrain_s;
	unsigned long refrain_until;	/* jiffies */
	bool dying;		/* what fails now failed because its ring died */
	bool give_up;		/* a request is stuck, take the rings away */
	u32 said;		/* the last reason that was logged */
};

/* Fields of struct virtio_blk_uring_config; process context only. */
#define vbu_offset(field) \
	(VIRTIO_BLK_URING_CONFIG_OFFSET + \
	 offsetof(struct virtio_blk_uring_config, field))
#define vbu_get16(vbu, field) virtio_cread16((vbu)->vdev, vbu_offset(field))
#define vbu_get32(vbu, field) virtio_cread32((vbu)->vdev, vbu_offset(field))
#define vbu_get64(vbu, field) virtio_cread64((vbu)->vdev, vbu_offset(field))
#define vbu_set16(vbu, field, v) \
	virtio_cwrite16((vbu)->vdev, vbu_offset(field), v)
#define vbu_set32(vbu, field, v) \
	virtio_cwrite32((vbu)->vdev, vbu_offset(field), v)
#define vbu_set64(vbu, field, v) \
	virtio_cwrite64((vbu)->vdev, vbu_offset(field), v)

static inline struct vbu_queue *vbu_rq_queue(struct request *rq)
{
	return rq->mq_hctx->driver_data;
}

/* What each request needs before it is anywhere but with blk-mq. */
static inline void vbu_start(struct request *rq)
{
	struct vbu_req *r = blk_mq_rq_to_pdu(rq);

	/* Set by vbu_requeue(), for requests that have a history. */
	if (!(rq->rq_flags & RQF_DONTPREP)) {
		/* Two of them only because all are one store then. */
		r->status = 0;
		r->by_ring = false;
		r->flags = 0;
		r->tries = 0;
		r->timeouts = 0;
	}
	blk_mq_start_request(rq);
}

/* It was pulled out, or did not come back from a suspended machine. */
static inline bool vbu_is_gone(struct vbu *vbu)
{
	return !vbu->queues[0].vq || virtqueue_is_broken(vbu->queues[0].vq);
}

/* main.c */
extern struct workqueue_struct *vbu_wq;
int vbu_get_id(struct vbu *vbu, char *id);

/* ring.c: one ring, and requests in it */
void vbu_ring_init(struct vbu_queue *q);
blk_status_t vbu_ring_submit(struct vbu_queue *q, struct request *rq,
			     bool last);
struct rq_list vbu_ring_submit_list(struct rq_list todo);
void vbu_ring_publish(struct vbu_queue *q);
unsigned int vbu_ring_poll(struct vbu_queue *q, struct io_comp_batch *iob);
unsigned int vbu_ring_reap(struct vbu_queue *q);
void vbu_ring_interrupt(struct vbu_queue *q);
bool vbu_ring_intact(struct vbu_queue *q);
unsigned int vbu_ring_end(struct vbu_queue *q, int res);
void vbu_ring_complete(struct request *rq);

/* virtqueue.c: requests in a virtqueue */
blk_status_t vbu_vq_submit(struct vbu_queue *q, struct request *rq, bool last);
void vbu_vq_kick(struct vbu_queue *q);
void vbu_vq_done(struct virtqueue *vq);
void vbu_vq_complete(struct request *rq);
void vbu_vq_end(struct vbu_queue *q);

/* path.c: virtqueues or rings */
void vbu_path_init(struct vbu *vbu);
int vbu_path_alloc(struct vbu *vbu);
void vbu_path_free(struct vbu *vbu);
void vbu_path_update(struct vbu *vbu);
void vbu_path_kick(struct vbu *vbu);
void vbu_path_config_changed(struct vbu *vbu);
void vbu_path_leave(struct vbu *vbu);
void vbu_path_enter(struct vbu *vbu);
void vbu_path_abandon(struct vbu *vbu);
void vbu_path_shutdown(struct vbu *vbu);
const char *vbu_state_name(u32 state);
const char *vbu_reason_name(u32 reason);

/* descriptor.c: what the device says about its rings */
bool vbu_read_offset_align(struct vbu *vbu, u32 *align);
const char *vbu_read_descriptor(struct vbu *vbu, struct vbu_desc *d);

/* limits.c */
int vbu_read_limits(struct vbu *vbu, struct queue_limits *lim);

/* vector.c: completion interrupts */
void vbu_vectors_alloc(struct vbu *vbu);
void vbu_vectors_free(struct vbu *vbu);

/* sysfs.c */
extern const struct attribute_group *vbu_attr_groups[];

#endif /* VBU_H */
