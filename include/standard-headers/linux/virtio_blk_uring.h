/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-3-Clause */
/*
 * The guest ABI of virtio-blk-uring: what a driver has to know beyond
 * virtio-blk to hand its requests to a host io_uring.
 *
 * docs/specs/virtio-blk-uring.rst is the specification; this header gives its
 * names and layout to the device, the guest driver and the tests.
 */
#ifndef VIRTIO_BLK_URING_H
#define VIRTIO_BLK_URING_H

#include <linux/types.h>

/*
 * Device-specific feature bit.  Bits 0 to 23 belong to the virtio-blk of the
 * virtio specification, which uses or proposes those up to 18.
 * Offered only together with VIRTIO_F_VERSION_1.
 */
#define VIRTIO_BLK_F_URING              56

/* Where struct virtio_blk_uring_config starts in the device's config space. */
#define VIRTIO_BLK_URING_CONFIG_OFFSET  0x200

#define VIRTIO_BLK_URING_MAGIC          0x52554256u     /* "VBUR" */
#define VIRTIO_BLK_URING_VERSION        1

/* virtio_blk_uring_config.features; an unknown bit is to be ignored */
#define VIRTIO_BLK_URING_F_VECTOR       0   /* queue_vector is implemented */
#define VIRTIO_BLK_URING_F_DSYNC        1   /* RWF_DSYNC works in rw_flags */

/* virtio_blk_uring_config.path_state */
enum {
    /*
     * All requests go over the virtqueues; ring memory is the driver's, and its
     * content undefined after rings.
     */
    VIRTIO_BLK_URING_VIRTQUEUE  = 0,
    /* The device is building the rings; ring memory is the device's. */
    VIRTIO_BLK_URING_STARTING   = 1,
    /* The rings run. */
    VIRTIO_BLK_URING_RING       = 2,
    /* The rings run, and the driver is asked to drain them. */
    VIRTIO_BLK_URING_SUSPENDING = 3,
    /*
     * The rings are gone, with requests in them; nothing of them can still
     * reach the disk or guest memory, save for indexes in ring memory.
     */
    VIRTIO_BLK_URING_DEAD       = 4,
};

/* virtio_blk_uring_config.path_flags */
#define VIRTIO_BLK_URING_PATH_ACTIVATABLE (1u << 0) /* ACTIVATE is welcome */

/* virtio_blk_uring_config.path_reason: why the path is not, or no longer, RING */
enum {
    VIRTIO_BLK_URING_REASON_NONE        = 0,
    VIRTIO_BLK_URING_REASON_ADMIN       = 1, /* the administrator said so */
    VIRTIO_BLK_URING_REASON_STOPPED     = 2, /* the machine was stopped */
    VIRTIO_BLK_URING_REASON_BAD_ADDRESS = 3, /* queue_ring or queue_sqes */
    VIRTIO_BLK_URING_REASON_BAD_VECTOR  = 4, /* queue_vector */
    VIRTIO_BLK_URING_REASON_BACKEND     = 5, /* the disk cannot be passed now */
    VIRTIO_BLK_URING_REASON_HOST        = 6, /* the host could not build a ring */
    VIRTIO_BLK_URING_REASON_DIED        = 7, /* a ring was lost */
    VIRTIO_BLK_URING_REASON_DRIVER      = 8, /* the driver gave up */
    VIRTIO_BLK_URING_REASON_MEMORY      = 9, /* guest memory changed its layout */
    VIRTIO_BLK_URING_REASON_MIGRATION   = 10, /* the machine is migrated */
};

/* virtio_blk_uring_config.command */
enum {
    VIRTIO_BLK_URING_CMD_NONE       = 0,
    VIRTIO_BLK_URING_CMD_ACTIVATE   = 1, /* VIRTQUEUE: build the rings */
    VIRTIO_BLK_URING_CMD_SUSPENDED  = 2, /* SUSPENDING: the rings are drained */
    VIRTIO_BLK_URING_CMD_BURIED     = 3, /* DEAD: all is reaped or replayed */
    VIRTIO_BLK_URING_CMD_GIVE_UP    = 4, /* STARTING, RING, SUSPENDING: end */
};

/* virtio_blk_uring_config.queue_flags */
#define VIRTIO_BLK_URING_QUEUE_POLL     (1u << 0) /* meant to be polled */
#define VIRTIO_BLK_URING_QUEUE_IOPOLL   (1u << 1) /* FSYNC is refused here */

#define VIRTIO_BLK_URING_NO_VECTOR      0xffff

/*
 * All fields are little-endian and naturally aligned; each is to be accessed
 * at its own width, the 64-bit ones also as two 32-bit halves.  "r" fields are
 * written by the device alone, "rw" fields by the driver.  A field beyond
 * @size is absent and reads as unknown.
 */
struct virtio_blk_uring_config {
    /* 0x00: what this is */
    __le32 magic;               /* r */
    __le16 version;             /* r  raised only when older drivers break */
    __le16 size;                /* r  bytes of this structure in the device */
    __le64 features;            /* r  VIRTIO_BLK_URING_F_* */

    /* 0x10: what there is */
    __le16 num_rings;           /* r  one for each virtqueue */
    __le16 num_poll_rings;      /* r  the last so many of them are for polling */
    __le16 num_windows;         /* r  entries behind window_select */
    __le16 ring_align;          /* r  log2 of the alignment of ring memory */
    __le32 sq_entries;          /* r  a power of 2 */
    __le32 cq_entries;          /* r  a power of 2; most requests in flight */
    __le64 opcodes;             /* r  bit n set: IORING_OP n is allowed */
    __le32 max_segments;        /* r  iovecs in one request */
    __le32 max_bytes;           /* r  bytes in one request */
    __le32 mem_align;           /* r  bytes, of each segment's start and length */
    __le32 offset_align;        /* r  bytes, of offset and length; may differ */
                                /*    from one activation to the next */
    __le32 ring_bytes;          /* r  for the SQ and CQ of a ring, whole pages */
    __le32 sqe_bytes;           /* r  for the SQEs of a ring, whole pages */

    /* 0x40: byte offsets of struct io_rings' fields in that memory */
    __le32 sq_head;             /* r */
    __le32 sq_tail;             /* r */
    __le32 sq_ring_mask;        /* r */
    __le32 sq_flags;            /* r */
    __le32 sq_dropped;          /* r */
    __le32 cq_head;             /* r */
    __le32 cq_tail;             /* r */
    __le32 cq_ring_mask;        /* r */
    __le32 cq_flags;            /* r */
    __le32 cq_overflow;         /* r */
    __le32 cqes;                /* r */
    __le32 reserved0;           /* r  0 */

    /* 0x70: the path that requests take */
    __le32 path_state;          /* r */
    __le32 path_flags;          /* r */
    __le32 path_reason;         /* r */
    __le32 command;             /* rw reads as 0 */

    /* 0x80: guest memory as SQEs and iovecs have to name it */
    __le16 window_select;       /* rw */
    __le16 reserved1;           /* r  0 */
    __le32 reserved2;           /* r  0 */
    __le64 window_gpa;          /* r  first guest physical address */
    __le64 window_size;         /* r  bytes; 0: no such window */
    __le64 window_addr;         /* r  what names window_gpa */

    /* 0xa0: the selected queue */
    __le16 queue_select;        /* rw */
    __le16 queue_vector;        /* rw MSI-X vector of completions */
    __le32 queue_flags;         /* r  VIRTIO_BLK_URING_QUEUE_* */
    __le64 queue_ring;          /* rw guest physical address, ring_bytes long */
    __le64 queue_sqes;          /* rw guest physical address, sqe_bytes long */
};

#endif /* VIRTIO_BLK_URING_H */
