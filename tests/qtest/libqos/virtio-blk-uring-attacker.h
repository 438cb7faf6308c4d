/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile SQEs: how they are made, what the kernel may answer to them, and
 * whether it does
 *
 * What each is allowed to achieve is worked out from the SQE and its iovecs
 * themselves, not by the one who made them: an opcode or flag that is not
 * permitted has to fail, and no more bytes may move than lie in guest memory.
 */

#ifndef TESTS_LIBQOS_VIRTIO_BLK_URING_ATTACKER_H
#define TESTS_LIBQOS_VIRTIO_BLK_URING_ATTACKER_H

#include "virtio-blk-uring-attack-host.h"
#include "virtio-blk-uring-attack-random.h"
#include "virtio-blk-uring-attack-ring.h"

/* The kernel's UIO_MAXIOV */
#define QVBU_MAX_IOVECS     1024

/* The most of an SQ that is attacked */
#define QVBU_MAX_SLOTS      64
/* SQEs that are remembered, some having been replaced in the SQ already */
#define QVBU_RECORDS        (8 * QVBU_MAX_SLOTS)

#define QVBU_LIST_BYTES     4096
#define QVBU_DATA_BYTES     8192

enum {
    QVBU_CLASS_READV,
    QVBU_CLASS_WRITEV,
    QVBU_CLASS_FSYNC,
    QVBU_CLASS_FORBIDDEN,       /* the opcode, or one of the SQE's flags */
    QVBU_CLASSES,
};

typedef struct QVBUTally {
    uint64_t refused;           /* -EACCES, -EINVAL */
    uint64_t failed;            /* otherwise */
    uint64_t succeeded;
} QVBUTally;

/* An SQE, and what may become of it */
typedef struct QVBURecord {
    struct io_uring_sqe sqe;
    unsigned slot;
    unsigned class;
    bool may_succeed;
    bool may_be_silent;
    int64_t max_bytes;
} QVBURecord;

/* What was written into one ring */
typedef struct QVBULedger {
    uint64_t sequence;          /* of the next SQE, and its user_data */
    QVBURecord records[QVBU_RECORDS];   /* at user_data modulo their number */
    QVBURecord *slots[QVBU_MAX_SLOTS];
    /* user_data to most bytes: may be silent or, after any time, succeed */
    GHashTable *late;
} QVBULedger;

typedef struct QVBUAttacker {
    QVirtioBlkUring *u;
    QVBURam *ram;
    QVBURandom random;
    /* Only guest memory is named: QEMU is as good as the guest. */
    bool tame;
    /* IOSQE_IO_DRAIN is left out, see qvbu_attacker_probe_drain(). */
    bool no_drain;
    /*
     * Writes may change the first so many bytes of the disk.  Of those that
     * could change more, nothing is to come: they go to the disk's end.
     */
    uint64_t writable;

    /* Guest memory as SQEs name it, and as the guest does */
    GArray *windows;            /* of QVBURange */
    GArray *window_gpas;        /* of uint64_t */
    /* Of others, whom the attack looks for: QVBURange */
    GArray *targets;
    /* The jail's own code, which a write to the disk may read */
    QVBURange code;

    uint64_t lists;             /* guest physical; one of iovecs for a slot */
    uint64_t data;              /* behind it, no memory is in use */
    QVBULedger ledgers[QVBU_MAX_QUEUES];
    QVBULedger *ledger;         /* of the ring that is being used */
    QVBUTally tally[QVBU_CLASSES];
    uint64_t taken;             /* by the kernel */
    uint64_t late;              /* answers to SQEs that nobody remembers */
} QVBUAttacker;

/*
 * @u's rings run, and all guest memory has been allocated that is going to be:
 * reads may fill what lies above.  Until the test ends.
 */
void qvbu_attacker_init(QVBUAttacker *a, QVirtioBlkUring *u, QVBURam *ram,
                        uint64_t seed);
/* The rings are others than before, and so may be their owner. */
void qvbu_attacker_look(QVBUAttacker *a);

/*
 * Whether a chain that is refused, with a drain in it, stops the ring @f for
 * good, as it does with Linux 6.12.  The ring is not to be used any more.
 */
bool qvbu_attacker_probe_drain(QVBUAttacker *a, QVBUFastRing *f);

/* What SQEs have to call guest memory at @gpa */
uint64_t qvbu_attacker_addr(QVBUAttacker *a, uint64_t gpa);
/* The iovecs of @slot, QVBU_LIST_BYTES of them */
struct iovec *qvbu_attacker_list(QVBUAttacker *a, unsigned slot);
/* For what costs much time and is to happen all the same */
bool qvbu_attacker_rarely(QVBUAttacker *a);

/* Make the SQE for @slot.  @n counts from 0 and selects among what there is. */
typedef void QVBUMakeSQE(QVBUAttacker *a, unsigned slot,
                         struct io_uring_sqe *sqe, uint64_t n);

QVBUMakeSQE qvbu_make_honest;       /* a read or write that works */
QVBUMakeSQE qvbu_make_opcode;       /* @n: all opcodes with all flags */
QVBUMakeSQE qvbu_make_field;        /* @n: each field, at its edges */
QVBUMakeSQE qvbu_make_random;       /* any bytes */
QVBUMakeSQE qvbu_make_address;      /* memory that is not the guest's */
QVBUMakeSQE qvbu_make_offset;       /* beyond the disk */

/*
 * Have the kernel take @count SQEs, of which @make makes @different ones at
 * least, and check what it answers to each.  Returns how many there were.
 */
uint64_t qvbu_attack(QVBUAttacker *a, QVBUFastRing *f, uint64_t count,
                     uint64_t different, QVBUMakeSQE *make);

/* A line for each class, and one for all */
void qvbu_attacker_report(QVBUAttacker *a, const char *name);

#endif
