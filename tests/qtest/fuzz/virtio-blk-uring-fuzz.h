/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzer of virtio-blk-uring: what its source files share
 */

#ifndef VIRTIO_BLK_URING_FUZZ_H
#define VIRTIO_BLK_URING_FUZZ_H

#include "standard-headers/linux/virtio_blk_uring.h"
#include "system/hostmem.h"
#include "tests/qtest/libqos/virtio-pci.h"

#define NUM_QUEUES      3           /* the last one is for polling */
#define QUEUE_SIZE      64
#define PCI_SLOT        4
#define DEVICE_PATH     "/machine/peripheral/drv0"
#define DISK_BYTES      (1 * MiB)
#define RAM_BYTES       (64 * MiB)

/* Guest memory */
#define RING_MEM(q)     (16 * MiB + (q) * 0x10000)
#define SQES_MEM(q)     (RING_MEM(q) + 0x8000)
#define VQ_MEM(q)       (17 * MiB + (q) * 0x4000)
#define VQ_BYTES        0x4000
#define DATA_MEM        (18 * MiB)
#define DATA_BYTES      0x10000
#define IOVEC_MEM       (19 * MiB)
/* Where further memory is plugged in and pulled out */
#define MORE_RAM_AT     (1 * GiB)

/* The machine and what is known of the device in it */
typedef struct VBUFuzz {
    QTestState *qts;
    QVirtioPCIDevice *pci;
    QPCIBar legacy_bar;
    uint8_t msix;               /* offset of the capability */
    Object *device;
    char *device_json;          /* as -device and device_add take it */
    HostMemoryBackend *more_ram;
    struct virtio_blk_uring_config desc;
    /*
     * Rings without a jail reach all of QEMU's memory, so that an SQE of the
     * input's own would crash the fuzzer rightly.
     */
    bool jailed;
    /* The input has placed rings itself; what the SQEs are, nobody knows. */
    bool strange;
    bool killed;                /* a jail, whereupon the device wants a rest */
} VBUFuzz;

extern VBUFuzz rig;

/* The input: its actions have this size, of which the first says which. */

#define ACTION_BYTES    16

/* The arguments of an action; behind their end there are zeroes. */
typedef struct Input {
    const uint8_t *data;
    size_t left;
} Input;

uint64_t take(Input *in, unsigned bytes);
uint64_t take_below(Input *in, uint64_t limit);
/* 1, 2 or 4: what a guest's instruction can do to a PCI device, but for 8 */
unsigned take_width(Input *in);
/* A number, or an address at which something ends or begins */
uint64_t take_value(Input *in);

size_t vbu_fuzz_crossover(const uint8_t *data1, size_t size1,
                          const uint8_t *data2, size_t size2,
                          uint8_t *out, size_t max_out_size,
                          unsigned int seed);

/* libFuzzer's names */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size,
                               unsigned int seed);

/* Actions: those of a proper driver, */

void do_negotiate(Input *in);
void do_activate(Input *in);
void do_command(Input *in);
void do_msix(Input *in);
void do_request(Input *in);
void do_reap(Input *in);
void do_virtqueue_request(Input *in);
void do_notify(Input *in);

/* what any guest can do, */

void do_select(Input *in);
void do_uring_field(Input *in);
void do_config_write(Input *in);
void do_config_read(Input *in);
void do_common_write(Input *in);
void do_pci_config(Input *in);
void do_pci_command(Input *in);
void do_legacy(Input *in);
void do_msix_table(Input *in);
void do_host_bridge(Input *in);
void do_poke(Input *in);

/* and what the host's administrator can do */

void do_admin(Input *in);
void do_memory(Input *in);
void do_replug(Input *in);
void do_await(Input *in);

/* The device as the administrator sees it */

bool vbu_fuzz_path_is(const char *state);
/* Until the device has made up its mind; if it hangs, that is a finding. */
void vbu_fuzz_await_started(void);
/* A finding: says @what, and of which path */
void vbu_fuzz_complain(const char *what);
/* What has to hold in between */
void vbu_fuzz_check(void);

/* The machine */

/* What PCI enumeration has come to, after a reset has undone it */
void vbu_fuzz_restore_pci(void);
void vbu_fuzz_move_more_ram(bool in);
/* The guest lets go of the device, and gets a new one in the same place. */
void vbu_fuzz_replug(void);

/* The descriptor as it stands in config space */
void vbu_fuzz_read_descriptor(void);

#endif /* VIRTIO_BLK_URING_FUZZ_H */
