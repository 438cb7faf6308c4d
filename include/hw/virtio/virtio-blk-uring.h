/*
 * virtio-blk-uring: a virtio-blk whose data path is a host io_uring
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_VIRTIO_BLK_URING_H
#define HW_VIRTIO_BLK_URING_H

#include "hw/virtio/virtio-blk.h"
#include "block/ring-group.h"
#include "qapi/qapi-types-migration.h"
#include "qemu/notify.h"
#include "standard-headers/linux/virtio_blk_uring.h"

#define TYPE_VIRTIO_BLK_URING "virtio-blk-uring-device"
OBJECT_DECLARE_SIMPLE_TYPE(VirtIOBlkUring, VIRTIO_BLK_URING)

/*
 * What the transport does for the completion interrupts of a ring.  To be set
 * before the device is realized.
 */
typedef struct VirtIOBlkUringTransportOps {
    /* Whether the transport's properties allow rings. */
    bool (*check)(void *opaque, Error **errp);
    /* Whether the guest may name @vector for a ring. */
    bool (*vector_valid)(void *opaque, uint16_t vector);
    /*
     * From here on each signal of @notifier raises @vector.  @interrupts is
     * increased with each that passes through QEMU.  False: no resources.
     */
    bool (*vector_attach)(void *opaque, unsigned ring, uint16_t vector,
                          EventNotifier *notifier, uint64_t *interrupts);
    /* The opposite; after it @notifier is nobody's. */
    void (*vector_detach)(void *opaque, unsigned ring);
    /*
     * Whether the device may access guest memory (PCI: bus mastering, D0);
     * virtio_blk_uring_dma_changed() is called when that has changed.
     */
    bool (*dma_enabled)(void *opaque);
} VirtIOBlkUringTransportOps;

/* Guest RAM as the rings' process has it in its address space. */
typedef struct VirtIOBlkUringWindow {
    hwaddr gpa;
    uint64_t size;
    uint64_t addr;              /* what SQEs and iovecs have to call @gpa */
    void *host;
    uint64_t offset;            /* of @host in @mr */
    MemoryRegion *mr;           /* referenced */
} VirtIOBlkUringWindow;

typedef struct VirtIOBlkUringRam VirtIOBlkUringRam;
/* @lost: what a window led to is gone, or about to go when this returns. */
typedef void VirtIOBlkUringRamChanged(VirtIOBlkUringRam *ram, bool lost);

struct VirtIOBlkUringRam {
    MemoryListener listener;
    GArray *windows;            /* of VirtIOBlkUringWindow, by rising gpa */
    GArray *next;               /* those of a layout that is being announced */
    bool jailed;                /* windows are addresses in a jail */
    VirtIOBlkUringRamChanged *changed;
};

/*
 * Watches guest RAM from here on.  @jailed: for a jail, which can have whole
 * pages of the memory only.  BQL held, for all of these.
 */
void virtio_blk_uring_ram_init(VirtIOBlkUringRam *ram, bool jailed,
                               VirtIOBlkUringRamChanged *changed);
void virtio_blk_uring_ram_cleanup(VirtIOBlkUringRam *ram);
/*
 * Whether all of guest RAM can be had by the rings' owner; if not, sets @errp
 * to what is in the way.  @preallocated: it has to be there already.
 */
bool virtio_blk_uring_ram_check(VirtIOBlkUringRam *ram, bool preallocated,
                                Error **errp);
/* The window that holds the @size bytes from @gpa on, or NULL. */
const VirtIOBlkUringWindow *
virtio_blk_uring_ram_find(VirtIOBlkUringRam *ram, hwaddr gpa, uint64_t size);
/* The windows as a jail needs them, in the same order; to be freed. */
RingJailRegion *virtio_blk_uring_ram_regions(VirtIOBlkUringRam *ram);

typedef struct VirtIOBlkUringRing {
    VirtIOBlkUring *dev;
    unsigned index;
    bool poll;                  /* no interrupts, the guest polls */
    bool iopoll;                /* and so does the host */

    /* What the driver says, until it says otherwise or resets the device. */
    uint64_t ring_gpa;
    uint64_t sqes_gpa;
    uint16_t vector;

    QemuMutex lock;             /* doorbells come in any thread */
    RingGroup *group;           /* protected by lock; NULL: no rings */
    unsigned number;            /* in the group; set before that */
    EventNotifier notifier;     /* signalled on completion */
    bool attached;              /* the notifier leads somewhere, */
    bool vector_attached;       /* and that is the vector */

    uint64_t submitted;         /* since the device was created */
    uint64_t completed;
    RestrictedRingCounters last; /* of the present ring, contained in those */
    RestrictedRingCounters shown; /* the same or, for now, the guest's word */
    uint64_t doorbells;         /* protected by lock */
    uint64_t interrupts;
} VirtIOBlkUringRing;

/* Each mode of migration has its own list of whom to tell. */
typedef struct VirtIOBlkUringMigration {
    VirtIOBlkUring *dev;
    NotifierWithReturn notifier;
} VirtIOBlkUringMigration;

/* What QMP knows of the path */
typedef struct VirtIOBlkUringEvents {
    uint32_t seen_state;        /* at the last change */
    uint32_t seen_reason;
    uint32_t told_state;        /* in the last event */
    uint32_t told_reason;
    uint64_t untold;            /* changes since then */
    uint64_t allowance;         /* events that may be sent at once, */
    int64_t refilled_ms;        /* as of then */
    QEMUTimer *timer;           /* pending: the next one waits for it */
} VirtIOBlkUringEvents;

/* Rings that have ended; see virtio-blk-uring-retired.c, whose own this is */
typedef struct VirtIOBlkUringRetired {
    RingGroup *group;           /* NULL: nothing is left of any */
    GArray *memory;             /* of the present rings or of the retired */
    QEMUTimer *timer;
    Notifier exit;
    int64_t since_ms;
    bool frozen;                /* its process cannot end */
    bool renewed;               /* the driver has given up the memory, */
    bool exchanged;             /* and has other pages there */
    bool warned;
} VirtIOBlkUringRetired;

/* When the guest may have rings again; see virtio-blk-uring-backoff.c */
typedef struct VirtIOBlkUringBackoff {
    QEMUTimer *timer;
    bool cooling;               /* no new rings before the timer fires */
    unsigned tokens;            /* ends of rings that the guest may cause */
    int64_t refilled_ms;
    unsigned failures;          /* in a row */
    int64_t started_ms;         /* when rings were last started */
} VirtIOBlkUringBackoff;

struct VirtIOBlkUring {
    VirtIOBlock parent_obj;

    /* properties */
    OnOffAuto passthrough_mode;
    int isolation;
    char *jail;                 /* launcher: PATH or fd:NAME, NULL: QEMU */
    char *jail_cgroup;
    uint16_t poll_queues;
    OnOffAuto iopoll;
    uint32_t sqpoll_idle_ms;
    int32_t sqpoll_cpu;
    uint16_t sqpoll_threads;
    bool migrate_with_rings;    /* which corrupts; for a test that it does */

    bool passthrough;           /* passthrough_mode is not off */

    /* settled by realize */
    bool offered;               /* the guest sees VIRTIO_BLK_F_URING */
    bool arriving;              /* the guest comes from another QEMU */
    bool probed;                /* host and disk can do what it is told */
    PassthroughFileId probed_file; /* what that was found out with */
    unsigned num_rings;
    VirtIOBlkUringRing *rings;
    uint32_t sq_entries;
    uint32_t cq_entries;
    uint32_t mem_align;
    uint32_t max_bytes;
    uint32_t max_segments;
    uint32_t offset_align;      /* of the present or the next rings */
    RestrictedRingLayout layout;
    char *iopoll_error;         /* why the host does not poll; NULL: it does */
    int jail_fd;                /* of jail=fd:NAME, or -1 */
    VMChangeStateEntry *vm_state;
    const VirtIOBlkUringTransportOps *transport;
    void *transport_opaque;

    /* the path, BQL held */
    uint32_t state;             /* VIRTIO_BLK_URING_VIRTQUEUE... */
    uint32_t reason;            /* VIRTIO_BLK_URING_REASON_... */
    VirtIOBlkUringEvents events;
    char *error;                /* of the last activation, or NULL */
    int64_t warned_ms;          /* when it was last reported, or 0 */
    uint64_t activations;
    RingGroup *group;           /* NULL: no rings */
    bool ending;                /* the group's end has begun */
    uint32_t state_at_end;      /* what follows then, and why */
    uint32_t reason_at_end;
    VirtIOBlkUringRetired retired;
    VirtIOBlkUringBackoff backoff;
    char *obstacle;             /* who needs the disk now, NULL: nobody */
    bool migrating;             /* guest memory leaves, */
    bool postcopy;              /* or is still to come */
    VirtIOBlkUringMigration migration[MIG_MODE__MAX];
    NotifierWithReturn postcopy_notifier;
    QEMUTimer *look_timer;      /* for the end of the obstacle */
    /*
     * Scheduled by any thread.  They end with the device: a reference to it
     * would not keep the proxy, of whose memory it is a part.
     */
    QEMUBH *look_bh;
    QEMUBH *yield_bh;           /* a drain in an IOThread waits for it */
    QEMUBH *lost_bh;            /* a doorbell found the rings' thread gone */
    QEMUBH *start_bh;           /* the driver wants rings */
    QEMUTimer *suspend_timer;   /* the driver's time for draining */
    VirtIOBlkUringRam ram;
    GArray *windows;            /* ram's at the last activation, unreferenced */

    /* selectors of the config space */
    uint16_t window_select;
    uint16_t queue_select;
    uint8_t wce_shown;          /* wce as the guest last saw it */
};

/*
 * To be called by the transport when it has plugged the device: only then does
 * the config space grow by our part, so that the legacy I/O BAR, which has a
 * copy of it and little room, stays as it is.
 */
void virtio_blk_uring_plugged(VirtIOBlkUring *s);

/* To be called by the transport when dma_enabled() may say something else. */
void virtio_blk_uring_dma_changed(VirtIOBlkUring *s);

/* Describes those of @obj's properties that have no description, for help. */
void virtio_blk_uring_describe(Object *obj);

#endif /* HW_VIRTIO_BLK_URING_H */
