/*
 * virtio-blk-uring: what its source files share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * All functions want the BQL held unless they say otherwise.
 */
#ifndef HW_BLOCK_VIRTIO_BLK_URING_INTERNAL_H
#define HW_BLOCK_VIRTIO_BLK_URING_INTERNAL_H

#include "qapi/qapi-types-virtio-blk-uring.h"
#include "hw/qdev-properties.h"
#include "hw/virtio/virtio-blk-uring.h"

/*
 * An iovec array longer than UIO_MAXIOV is refused by the kernel; short ones
 * keep a guest's requests small.
 */
#define VIRTIO_BLK_URING_MAX_SEGMENTS   254
#define VIRTIO_BLK_URING_MAX_BYTES      (4 * MiB)
/*
 * An SQ of more entries than the kernel completes in a round lets requests
 * pile up in the kernel; 32 is what SQPOLL takes.
 */
#define VIRTIO_BLK_URING_SQ_ENTRIES     32
/* io-wq threads of a kind for one ring: requests that would block. */
#define VIRTIO_BLK_URING_MAX_WORKERS    8
#define VIRTIO_BLK_URING_MAX_WINDOWS    16

/* Bytes of the pages that @bytes of ring memory take: the kernel pins them. */
static inline size_t virtio_blk_uring_pages(size_t bytes)
{
    return ROUND_UP(bytes, qemu_real_host_page_size());
}

/* virtio-blk-uring-path.c: the path of the requests */
void virtio_blk_uring_path_init(VirtIOBlkUring *s);
/* Takes away the rings, if there are any. */
void virtio_blk_uring_path_cleanup(VirtIOBlkUring *s);

/*
 * VIRTQUEUE -> STARTING, and later RING; or stays, or goes back, with s->reason
 * and s->error set.
 */
void virtio_blk_uring_activate(VirtIOBlkUring *s);
/* RING -> SUSPENDING: asks the driver to drain; it has 10 s for that. */
void virtio_blk_uring_suspend(VirtIOBlkUring *s, uint32_t reason);
/*
 * SUSPENDING -> VIRTQUEUE, on the driver's word that it has drained.  If a jail
 * has the rings, the state follows when its process has ended.
 */
void virtio_blk_uring_suspended(VirtIOBlkUring *s);
/*
 * RING, SUSPENDING -> DEAD, because the driver wants it; when, is as above.
 * STARTING -> VIRTQUEUE.
 */
void virtio_blk_uring_give_up(VirtIOBlkUring *s);
/*
 * RING, SUSPENDING -> DEAD, STARTING -> VIRTQUEUE, for who needs the disk or
 * the memory.  When it returns nothing of the rings can still reach either,
 * save for ring memory before it is renewed.
 */
void virtio_blk_uring_revoke(VirtIOBlkUring *s, uint32_t reason);
/* The same because the driver has left, with the guest at fault. */
void virtio_blk_uring_driver_gone(VirtIOBlkUring *s);
/*
 * RING, SUSPENDING -> DEAD.  When it returns nothing of the rings can still
 * reach the disk or guest memory.
 */
void virtio_blk_uring_kill(VirtIOBlkUring *s, uint32_t reason);
/* The same for when the driver is about to go: without an interrupt. */
void virtio_blk_uring_kill_silently(VirtIOBlkUring *s, uint32_t reason);
/* DEAD -> VIRTQUEUE, on the driver's word that nothing is lost. */
void virtio_blk_uring_buried(VirtIOBlkUring *s);
/* Any state -> VIRTQUEUE, as after power-on. */
void virtio_blk_uring_path_reset(VirtIOBlkUring *s);
/* RING or SUSPENDING */
bool virtio_blk_uring_has_rings(VirtIOBlkUring *s);
/* Why the path is VIRTQUEUE, if it is and should not be. */
void virtio_blk_uring_change_reason(VirtIOBlkUring *s, uint32_t reason);
/* Whether an ACTIVATE would be welcome. */
bool virtio_blk_uring_activatable(VirtIOBlkUring *s);
/* Wakes the SQPOLL thread of ring @index.  Any thread. */
void virtio_blk_uring_doorbell(VirtIOBlkUring *s, unsigned index);
const char *virtio_blk_uring_state_name(uint32_t state);
const char *virtio_blk_uring_reason_name(uint32_t reason);
/* The device as the user knows it, which is not the one behind a transport */
DeviceState *virtio_blk_uring_device(VirtIOBlkUring *s);
/* What the user calls it */
const char *virtio_blk_uring_name(VirtIOBlkUring *s);

/* virtio-blk-uring-rings.c: the rings behind the path */

/* What all rings have in common: not their memory, file, eventfd and thread. */
void virtio_blk_uring_ring_params(VirtIOBlkUring *s,
                                  RestrictedRingParams *params);
/* Where the jail comes from; its disk and memory are the caller's to add. */
RingJailConfig virtio_blk_uring_jail_config(VirtIOBlkUring *s);
/* All that the guest has named for the rings.  Sets s->reason. */
bool virtio_blk_uring_check_rings(VirtIOBlkUring *s, Error **errp);
/*
 * Begins to build the rings; @started tells the outcome.  Sets s->reason in any
 * case; what is left of a failure, free_rings takes.
 */
bool virtio_blk_uring_start_rings(VirtIOBlkUring *s, RingGroupStarted *started,
                                  RingGroupEnded *ended, Error **errp);
/* Lets doorbells reach rings that have started, and their interrupts leave. */
bool virtio_blk_uring_attach_rings(VirtIOBlkUring *s, Error **errp);
/*
 * Has no doorbell reach the rings and no interrupt leave them any more, and
 * takes down what they have done.
 */
void virtio_blk_uring_detach_rings(VirtIOBlkUring *s);
/* Brings ring->submitted and the like of all rings up to date. */
void virtio_blk_uring_update_counters(VirtIOBlkUring *s);
/* What the guest's word is ahead of the kernel's last one, as of the update */
RestrictedRingCounters virtio_blk_uring_uncounted(VirtIOBlkUringRing *ring);
/* Requests that the kernel had in hand at the last update */
uint32_t virtio_blk_uring_in_flight(VirtIOBlkUringRing *ring);
/*
 * detach_rings, and retires them.  @drained: the driver says that nothing is in
 * flight.
 */
void virtio_blk_uring_free_rings(VirtIOBlkUring *s, bool drained);

/* virtio-blk-uring-retired.c: what is left of rings that have ended */
void virtio_blk_uring_retired_init(VirtIOBlkUring *s);
void virtio_blk_uring_retired_cleanup(VirtIOBlkUring *s);
/* @size bytes from @gpa on, in @w, are to be a ring's own memory. */
void virtio_blk_uring_note_memory(VirtIOBlkUring *s,
                                  const VirtIOBlkUringWindow *w, uint64_t gpa,
                                  uint64_t size);
/*
 * Ends @group, as ring_group_stop(), and owns it from then on.  While there is
 * one, there must be no new rings.
 */
void virtio_blk_uring_retire(VirtIOBlkUring *s, RingGroup *group,
                             bool quiesced);
/*
 * The driver does not look at ring memory any more: the guest gets other pages
 * there if the kernel may still write to those.
 */
void virtio_blk_uring_renew_memory(VirtIOBlkUring *s);
/* Whether new rings have nothing to wait for. */
bool virtio_blk_uring_check_retired(VirtIOBlkUring *s, Error **errp);

/* virtio-blk-uring-backoff.c: when the guest may have rings again */
void virtio_blk_uring_backoff_init(VirtIOBlkUring *s);
void virtio_blk_uring_backoff_cleanup(VirtIOBlkUring *s);
/* The guest has caused an end of rings. */
void virtio_blk_uring_backoff_guest(VirtIOBlkUring *s);
/* Rings could not be started, or were @lost. */
void virtio_blk_uring_backoff_failure(VirtIOBlkUring *s, bool lost);
void virtio_blk_uring_backoff_started(VirtIOBlkUring *s);
/* The administrator wants rings now. */
void virtio_blk_uring_backoff_clear(VirtIOBlkUring *s);

/* virtio-blk-uring-yield.c: giving the disk back while somebody needs it */
void virtio_blk_uring_yield_init(VirtIOBlkUring *s);
/* There are no rings any more. */
void virtio_blk_uring_yield_cleanup(VirtIOBlkUring *s);
/*
 * Whether the block layer or migration is in the way of rings.  Sets
 * s->obstacle, and takes the rings away if that is so; who may have them again
 * later is told then.
 */
bool virtio_blk_uring_obstructed(VirtIOBlkUring *s);
/* The same after something has changed: the driver learns that it may. */
void virtio_blk_uring_look(VirtIOBlkUring *s);
/* A PassthroughFileWanted; @opaque: the device */
void virtio_blk_uring_wanted(void *opaque, const char *why);
/* Implemented within virtio-blk.c. */
const BlockDevOps *virtio_blk_uring_parent_ops(void);

/* virtio-blk-uring-config.c: our part of the config space */
void virtio_blk_uring_get_config(VirtIOBlkUring *s, uint8_t *config);
/* What the driver is to go by; of VirtIOBlkUringWindow */
GArray *virtio_blk_uring_windows(VirtIOBlkUring *s);
/* @config is what the guest has just written to; brought up to date. */
void virtio_blk_uring_set_config(VirtIOBlkUring *s, uint8_t *config);

/*
 * virtio-blk-uring-probe.c: finds out at start what could fail later.  Sets
 * s->layout, s->mem_align, s->offset_align, s->max_bytes, s->max_segments,
 * s->iopoll_error and s->probed.
 */
bool virtio_blk_uring_probe(VirtIOBlkUring *s, Error **errp);
/*
 * Whether @file, which may be another one than what was probed, can do all that
 * the guest was told.
 */
bool virtio_blk_uring_probe_again(VirtIOBlkUring *s, PassthroughFile *file,
                                  Error **errp);

/*
 * virtio-blk-uring.c: probes, with all else that has to be right, and settles
 * which rings poll the disk.
 */
bool virtio_blk_uring_try_host(VirtIOBlkUring *s, Error **errp);

/* virtio-blk-uring-vmstate.c: what migrates besides the virtqueues */
int virtio_blk_uring_save_vmstate(VirtIOBlkUring *s, QEMUFile *f);
int virtio_blk_uring_load_vmstate(VirtIOBlkUring *s, QEMUFile *f);

/* virtio-blk-uring-qom.c: properties to look at and to set at run time */
extern const PropertyInfo virtio_blk_uring_prop_passthrough;
extern const PropertyInfo virtio_blk_uring_prop_isolation;
extern const PropertyInfo virtio_blk_uring_prop_path_state;
void virtio_blk_uring_class_qom(ObjectClass *klass);

/* virtio-blk-uring-query.c: what the administrator is told when asking */
VirtioBlkUringPathState virtio_blk_uring_qapi_state(uint32_t state);
VirtioBlkUringPathReason virtio_blk_uring_qapi_reason(uint32_t reason);
/* Why there are no rings, for the time being or since they failed; or NULL */
const char *virtio_blk_uring_sentence(VirtIOBlkUring *s);
/* To be freed */
VirtioBlkUringInfo *virtio_blk_uring_info(VirtIOBlkUring *s);

/* virtio-blk-uring-event.c: what the administrator is told without asking */
void virtio_blk_uring_event_init(VirtIOBlkUring *s);
/* What has not been told is told now. */
void virtio_blk_uring_event_cleanup(VirtIOBlkUring *s);
/* The state or its reason may have changed. */
void virtio_blk_uring_event(VirtIOBlkUring *s);

#endif /* HW_BLOCK_VIRTIO_BLK_URING_INTERNAL_H */
