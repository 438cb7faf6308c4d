// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio_blk_uring: requests in a virtqueue
 *
 * The path for what a ring cannot do, and for all requests while there is no
 * ring.
 */
#include <linux/blk-mq.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>

#include "vbu.h"

/* Writes the header; what the chain carries is told by @sgs' entries. */
static bool vbu_fill_header(struct vbu *vbu, struct request *rq)
{
	struct vbu_req *r = blk_mq_rq_to_pdu(rq);
	u32 type, flags = 0;
	u64 sector = 0;

	switch (req_op(rq)) {
	case REQ_OP_READ:
		type = VIRTIO_BLK_T_IN;
		sector = blk_rq_pos(rq);
		break;
	case REQ_OP_WRITE:
		type = VIRTIO_BLK_T_OUT;
		sector = blk_rq_pos(rq);
		break;
	case REQ_OP_FLUSH:
		type = VIRTIO_BLK_T_FLUSH;
		break;
	case REQ_OP_DISCARD:
		type = VIRTIO_BLK_T_DISCARD;
		break;
	case REQ_OP_WRITE_ZEROES:
		type = VIRTIO_BLK_T_WRITE_ZEROES;
		if (!(rq->cmd_flags & REQ_NOUNMAP))
			flags = VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
		break;
	case REQ_OP_SECURE_ERASE:
		type = VIRTIO_BLK_T_SECURE_ERASE;
		break;
	case REQ_OP_DRV_IN:
		type = VIRTIO_BLK_T_GET_ID;
		break;
	default:
		return false;
	}
	if (r->flags & VBU_REQ_FLUSH) {
		type = VIRTIO_BLK_T_FLUSH;
		sector = 0;
	}
	r->hdr.type = cpu_to_virtio32(vbu->vdev, type);
	r->hdr.ioprio = cpu_to_virtio32(vbu->vdev, req_get_ioprio(rq));
	r->hdr.sector = cpu_to_virtio64(vbu->vdev, sector);
	r->range.sector = cpu_to_le64(blk_rq_pos(rq));
	r->range.num_sectors = cpu_to_le32(blk_rq_sectors(rq));
	r->range.flags = cpu_to_le32(flags);
	return true;
}

/* vq_lock held */
static int vbu_add(struct vbu_queue *q, struct request *rq)
{
	struct vbu_req *r = blk_mq_rq_to_pdu(rq);
	struct scatterlist hdr, payload, status, *sgs[3];
	unsigned int out = 0, in = 0;

	sg_init_one(&hdr, &r->hdr, sizeof(r->hdr));
	sgs[out++] = &hdr;
	switch (req_op(rq)) {
	case REQ_OP_READ:
	case REQ_OP_DRV_IN:
		vbu_map_sg(rq, q->sg);
		sgs[out + in++] = q->sg;
		break;
	case REQ_OP_WRITE:
		if (!(r->flags & VBU_REQ_FLUSH)) {
			vbu_map_sg(rq, q->sg);
			sgs[out++] = q->sg;
		}
		break;
	case REQ_OP_DISCARD:
	case REQ_OP_WRITE_ZEROES:
	case REQ_OP_SECURE_ERASE:
		sg_init_one(&payload, &r->range, sizeof(r->range));
		sgs[out++] = &payload;
		break;
	default:
		break;
	}
	sg_init_one(&status, &r->status, sizeof(r->status));
	sgs[out + in++] = &status;
	/* It takes a copy, so that the queue's sg serves all requests. */
	return virtqueue_add_sgs(q->vq, sgs, out, in, rq, GFP_ATOMIC);
}

blk_status_t vbu_vq_submit(struct vbu_queue *q, struct request *rq, bool last)
{
	struct vbu_req *r = blk_mq_rq_to_pdu(rq);
	bool notify = false;
	unsigned long flags;
	int err;

	/* The device did not come back, see vbu_restore(). */
	if (unlikely(!q->vq))
		return BLK_STS_IOERR;
	if (!vbu_fill_header(q->vbu, rq))
		return BLK_STS_NOTSUPP;
	r->by_ring = false;
	vbu_completes_by_interrupt(rq);
	spin_lock_irqsave(&q->vq_lock, flags);
	err = vbu_add(q, rq);
	if (err == -ENOSPC)
		q->vq_starved = true;
	if (!err)
		q->vq_requests++;
	if (last || err) {
		notify = virtqueue_kick_prepare(q->vq);
		q->vq_unkicked = false;
	} else {
		q->vq_unkicked = true;
	}
	spin_unlock_irqrestore(&q->vq_lock, flags);

	if (notify)
		virtqueue_notify(q->vq);
	if (!err)
		return BLK_STS_OK;
	return err == -ENOSPC || err == -ENOMEM ? BLK_STS_RESOURCE :
						  BLK_STS_IOERR;
}

void vbu_vq_kick(struct vbu_queue *q)
{
	unsigned long flags;
	bool notify;

	spin_lock_irqsave(&q->vq_lock, flags);
	notify = virtqueue_kick_prepare(q->vq);
	q->vq_unkicked = false;
	spin_unlock_irqrestore(&q->vq_lock, flags);
	if (notify)
		virtqueue_notify(q->vq);
}

/* The virtqueue's callback. */
void vbu_vq_done(struct virtqueue *vq)
{
	struct vbu *vbu = vq->vdev->priv;
	struct vbu_queue *q = &vbu->queues[vq->index];
	struct request *rq;
	unsigned long flags;
	unsigned int len;

	spin_lock_irqsave(&q->vq_lock, flags);
	do {
		virtqueue_disable_cb(vq);
		while ((rq = virtqueue_get_buf(vq, &len))) {
			/* Before it is completed, and the queue may go. */
			if (q->vq_starved) {
				q->vq_starved = false;
				blk_mq_run_hw_queue(q->hctx, true);
			}
			if (!blk_mq_complete_request_remote(rq))
				vbu_vq_complete(rq);
		}
	} while (!virtqueue_enable_cb(vq));
	spin_unlock_irqrestore(&q->vq_lock, flags);
}

/* Fails all that a virtqueue owns, which is broken, so that it stays empty. */
void vbu_vq_end(struct vbu_queue *q)
{
	struct request *rq;
	unsigned long flags;

	if (!q->vq)
		return;
	spin_lock_irqsave(&q->vq_lock, flags);
	while ((rq = virtqueue_detach_unused_buf(q->vq))) {
		struct vbu_req *r = blk_mq_rq_to_pdu(rq);

		r->status = VIRTIO_BLK_S_IOERR;
		if (!blk_mq_complete_request_remote(rq))
			vbu_vq_complete(rq);
	}
	spin_unlock_irqrestore(&q->vq_lock, flags);
}

void vbu_vq_complete(struct request *rq)
{
	struct vbu_req *r = blk_mq_rq_to_pdu(rq);
	struct vbu *vbu = vbu_rq_queue(rq)->vbu;

	switch (r->status) {
	case VIRTIO_BLK_S_OK:
		if (req_op(rq) == REQ_OP_WRITE &&
		    (rq->cmd_flags & REQ_FUA) && vbu->write_cache &&
		    !(r->flags & VBU_REQ_FLUSH)) {
			/* Virtqueues know no FUA: flush before it is done. */
			r->flags |= VBU_REQ_VIRTQUEUE | VBU_REQ_FLUSH;
			rq->rq_flags |= RQF_DONTPREP;
			blk_mq_requeue_request(rq, true);
			return;
		}
		blk_mq_end_request(rq, BLK_STS_OK);
		return;
	case VIRTIO_BLK_S_UNSUPP:
		blk_mq_end_request(rq, BLK_STS_NOTSUPP);
		return;
	default:
		blk_mq_end_request(rq, BLK_STS_IOERR);
	}
}
