/*
 * virtio-blk-uring: finding out at start what could fail later
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <poll.h>
#include <sys/mman.h>
#include "qapi/error.h"
#include "qemu/units.h"
#include "block/block-io.h"
#include "system/block-backend.h"
#include "virtio-blk-uring-internal.h"

#define PROBE_TIMEOUT_MS 10000

/* Scratch memory of the throw-away ring; the same on the stack of no thread. */
typedef struct Scratch {
    void *mem;
    size_t size;
    size_t ring_size;
    size_t sqe_size;
    struct iovec *iov;
    void *data;
    bool lost;          /* to a request that the storage does not answer */
} Scratch;

static bool alloc_scratch(VirtIOBlkUring *s, Scratch *scratch,
                          uint32_t block_size, Error **errp)
{
    size_t page = qemu_real_host_page_size();

    scratch->ring_size = ROUND_UP(restricted_ring_min_bytes(s->cq_entries),
                                  page);
    scratch->sqe_size = ROUND_UP(s->sq_entries * sizeof(struct io_uring_sqe),
                                 page);
    scratch->size = scratch->ring_size + scratch->sqe_size + page +
                    ROUND_UP(block_size, page);
    scratch->mem = mmap(NULL, scratch->size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (scratch->mem == MAP_FAILED) {
        error_setg_errno(errp, errno, "no %zu bytes of memory are left to try "
                         "a ring on; give QEMU more", scratch->size);
        return false;
    }
    scratch->iov = scratch->mem + scratch->ring_size + scratch->sqe_size;
    scratch->data = (char *)scratch->iov + page;
    return true;
}

/* Reads the first block through @ring, as a guest would. */
static bool read_first_block(RestrictedRing *ring, Scratch *scratch,
                             uint32_t block_size, EventNotifier *notifier,
                             Error **errp)
{
    const RestrictedRingLayout *l = restricted_ring_layout(ring);
    struct io_uring_sqe *sqe = scratch->mem + scratch->ring_size;
    struct io_uring_cqe *cqe = scratch->mem + l->cqes;
    struct pollfd pfd = {
        .fd = event_notifier_get_fd(notifier),
        .events = POLLIN,
    };
    int ret;

    *scratch->iov = (struct iovec) {
        .iov_base = scratch->data,
        .iov_len = block_size,
    };
    *sqe = (struct io_uring_sqe) {
        .opcode = IORING_OP_READV,
        .flags = IOSQE_FIXED_FILE,
        .addr = (uintptr_t)scratch->iov,
        .len = 1,
    };
    qatomic_store_release((uint32_t *)(scratch->mem + l->sq_tail), 1);
    restricted_ring_wakeup(ring);

    ret = RETRY_ON_EINTR(poll(&pfd, 1, PROBE_TIMEOUT_MS));
    if (ret <= 0) {
        /* Waiting for the kernel to be done with it could take for ever. */
        scratch->lost = true;
        error_setg(errp, "a ring did not read the disk's first block within "
                   "%d s; see whether the host's storage answers, or use "
                   "passthrough=off", PROBE_TIMEOUT_MS / 1000);
        return false;
    }
    if (cqe->res != block_size) {
        error_setg(errp, "a ring cannot read the disk's first block (%s); use "
                   "passthrough=off", cqe->res < 0 ? strerror(-cqe->res) :
                   "it ends too early");
        return false;
    }
    return true;
}

static bool try_ring(VirtIOBlkUring *s, PassthroughFile *file,
                     Scratch *scratch, uint32_t block_size, bool read,
                     Error **errp)
{
    RestrictedRingParams params;
    RestrictedRing *ring;
    EventNotifier notifier;
    bool ok;

    if (event_notifier_init(&notifier, 0) < 0) {
        error_setg_errno(errp, errno, "no eventfd is left for a ring; raise "
                         "the limit of open files (ulimit -n)");
        return false;
    }
    virtio_blk_uring_ring_params(s, &params);
    params.ring_mem = scratch->mem;
    params.ring_size = scratch->ring_size;
    params.sqe_mem = scratch->mem + scratch->ring_size;
    params.sqe_size = scratch->sqe_size;
    params.event_fd = event_notifier_get_fd(&notifier);
    params.file_fd = passthrough_file_fd(file);
    params.readonly = passthrough_file_is_readonly(file);

    ring = restricted_ring_new(&params, errp);
    ok = ring && restricted_ring_enable(ring, errp) &&
         (!read ||
          read_first_block(ring, scratch, block_size, &notifier, errp));
    if (ok) {
        s->layout = *restricted_ring_layout(ring);
    }
    restricted_ring_free(ring);
    event_notifier_cleanup(&notifier);
    return ok;
}

static bool check_block_size(PassthroughFile *file, uint32_t block_size,
                             Error **errp)
{
    uint32_t align = passthrough_file_offset_align(file);

    if (align > block_size) {
        error_setg(errp, "with cache.direct=on (cache=none) the host's disk "
                   "takes blocks of %" PRIu32 " bytes only, while "
                   "logical_block_size is %" PRIu32 "; use "
                   "logical_block_size=%" PRIu32 ",physical_block_size=%" PRIu32
                   ", cache.direct=off or passthrough=off", align, block_size,
                   align, align);
        return false;
    }
    return true;
}

bool virtio_blk_uring_probe(VirtIOBlkUring *s, Error **errp)
{
    BlockConf *conf = &VIRTIO_BLK(s)->conf.conf;
    uint32_t block_size = conf->logical_block_size;
    bool writable = blk_supports_write_perm(conf->blk);
    PassthroughFile *file;
    Scratch scratch = {};
    bool ok;

    if (!passthrough_file_check(conf->blk, errp)) {
        return false;
    }
    if (!alloc_scratch(s, &scratch, block_size, errp)) {
        return false;
    }
    file = passthrough_file_open(conf->blk, writable, errp);
    ok = file && check_block_size(file, block_size, errp) &&
         try_ring(s, file, &scratch, block_size,
                  blk_getlength(conf->blk) >= block_size, errp);
    if (file) {
        s->mem_align = passthrough_file_mem_align(file);
    }
    if (scratch.lost) {
        return false;
    }
    if (file) {
        /* The scratch memory is the ring's until then. */
        passthrough_file_wait_unused(file);
    }
    munmap(scratch.mem, scratch.size);
    return ok;
}
