/*
 * virtio-blk-uring: finding out at start what could fail later
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include "qapi/error.h"
#include "qemu/memfd.h"
#include "qemu/units.h"
#include "block/block-io.h"
#include "system/block-backend.h"
#include "virtio-blk-uring-internal.h"

#define PROBE_TIMEOUT_MS 10000

/* Scratch memory of the throw-away ring, in place of a guest's */
typedef struct Scratch {
    int fd;
    void *mem;
    uint64_t addr;      /* what the ring's owner calls it */
    size_t size;
    size_t ring_size;
    size_t sqe_size;
    struct iovec *iov;
    void *data;
    size_t data_size;   /* bytes to read; 0: none */
    bool iopoll;        /* the ring is to poll the disk */
    uint64_t offset;    /* on the disk, of the block to read */
    bool lost;          /* to a request that the storage does not answer */
} Scratch;

/* What to do about a ring that does not read */
static const char *way_out(Scratch *scratch)
{
    return scratch->iopoll ? "iopoll=off" : "passthrough=off";
}

/* One ring that reads, and memory that all others can have in common. */
static bool alloc_scratch(VirtIOBlkUring *s, Scratch *scratch, Error **errp)
{
    size_t page = qemu_real_host_page_size();

    scratch->ring_size = ROUND_UP(restricted_ring_min_bytes(s->cq_entries),
                                  page);
    scratch->sqe_size = ROUND_UP(s->sq_entries * sizeof(struct io_uring_sqe),
                                 page);
    scratch->size = 2 * (scratch->ring_size + scratch->sqe_size) + page +
                    ROUND_UP(scratch->data_size, page);
    scratch->fd = qemu_memfd_create("ring-probe", scratch->size, false, 0, 0,
                                    errp);
    if (scratch->fd < 0) {
        return false;
    }
    scratch->mem = mmap(NULL, scratch->size, PROT_READ | PROT_WRITE,
                        MAP_SHARED, scratch->fd, 0);
    if (scratch->mem == MAP_FAILED) {
        error_setg_errno(errp, errno, "no %zu bytes of memory are left to try "
                         "a ring on; give QEMU more", scratch->size);
        close(scratch->fd);
        return false;
    }
    scratch->addr = s->isolation == VIRTIO_BLK_URING_ISOLATION_PROCESS ?
                    RING_JAIL_BASE : (uintptr_t)scratch->mem;
    scratch->iov = scratch->mem +
                   2 * (scratch->ring_size + scratch->sqe_size);
    scratch->data = (char *)scratch->iov + page;
    return true;
}

static void free_scratch(Scratch *scratch)
{
    munmap(scratch->mem, scratch->size);
    close(scratch->fd);
}

/* The same place for the owner of the ring */
static uint64_t owners(Scratch *scratch, void *mem)
{
    return scratch->addr + ((char *)mem - (char *)scratch->mem);
}

typedef enum ReadResult {
    READ_WELL,
    READ_FAILED,
    READ_UNANSWERED,    /* the storage still has the request */
} ReadResult;

/* Reads a block through the group's ring, as a guest would. */
static ReadResult read_block(RingGroup *group, Scratch *scratch,
                             EventNotifier *notifier, Error **errp)
{
    const RestrictedRingLayout *l = ring_group_layout(group, 0);
    struct io_uring_sqe *sqe = scratch->mem + scratch->ring_size;
    struct io_uring_cqe *cqe = scratch->mem + l->cqes;
    struct pollfd pfds[] = {
        { .fd = event_notifier_get_fd(notifier), .events = POLLIN },
        { .fd = ring_group_end_fd(group), .events = POLLIN },
    };
    int ret;

    *scratch->iov = (struct iovec) {
        .iov_base = (void *)(uintptr_t)owners(scratch, scratch->data),
        .iov_len = scratch->data_size,
    };
    *sqe = (struct io_uring_sqe) {
        .opcode = IORING_OP_READV,
        .flags = IOSQE_FIXED_FILE,
        .addr = owners(scratch, scratch->iov),
        .len = 1,
        .off = scratch->offset,
    };
    qatomic_store_release((uint32_t *)(scratch->mem + l->sq_tail), 1);
    ring_group_doorbell(group, 0);

    ret = RETRY_ON_EINTR(poll(pfds, ARRAY_SIZE(pfds), PROBE_TIMEOUT_MS));
    if (ret > 0 && !pfds[0].revents) {
        error_setg(errp, "the jail of the rings ended while it read the disk's "
                   "first block; see the host's log for what killed it (a "
                   "memory limit, a seccomp filter)");
        return READ_FAILED;
    }
    if (ret <= 0) {
        error_setg(errp, "a ring did not read the disk's first block within "
                   "%d s; see whether the host's storage answers, or use %s",
                   PROBE_TIMEOUT_MS / 1000, way_out(scratch));
        return READ_UNANSWERED;
    }
    if (scratch->iopoll && cqe->res == -EOPNOTSUPP) {
        error_setg(errp, "the host's disk cannot be polled (%s); for NVMe, add "
                   "nvme.poll_queues=1 or more to the parameters of the host's "
                   "kernel", strerror(EOPNOTSUPP));
        return READ_FAILED;
    }
    if (cqe->res != scratch->data_size) {
        error_setg(errp, "a ring cannot read the disk's first block (%s); use "
                   "%s", cqe->res < 0 ? strerror(-cqe->res) :
                   "it ends too early", way_out(scratch));
        return READ_FAILED;
    }
    return READ_WELL;
}

/* How many rings of the device are to poll the disk, or all others */
static unsigned count_rings(VirtIOBlkUring *s, bool iopoll)
{
    return iopoll ? s->poll_queues : s->num_rings;
}

/*
 * As many rings as the device can have, since locked memory and processes are
 * limited.
 */
static void add_rings(VirtIOBlkUring *s, RingGroup *group, Scratch *scratch,
                      EventNotifier *notifier)
{
    size_t one = scratch->ring_size + scratch->sqe_size;
    RestrictedRingParams params;

    for (unsigned i = 0; i < count_rings(s, scratch->iopoll); i++) {
        size_t at = i ? one : 0;

        virtio_blk_uring_ring_params(s, &params);
        params.ring_mem = (void *)(uintptr_t)(scratch->addr + at);
        params.ring_size = scratch->ring_size;
        params.sqe_mem = (char *)params.ring_mem + scratch->ring_size;
        params.sqe_size = scratch->sqe_size;
        params.event_fd = i ? -1 : event_notifier_get_fd(notifier);
        params.iopoll = scratch->iopoll;
        params.attach_fd = i ? 0 : -1;
        ring_group_add(group, &params, (char *)scratch->mem + at);
    }
}

/*
 * Why there can be no rings, if it is for want of locked memory.  A launcher's
 * limit is not known here.
 */
static void explain_memlock(VirtIOBlkUring *s, Scratch *scratch, Error **errp)
{
    uint64_t need = s->num_rings * (uint64_t)(scratch->ring_size +
                                              scratch->sqe_size);
    struct rlimit limit;

    if (s->jail || !strstr(error_get_pretty(*errp), strerror(ENOMEM)) ||
        getrlimit(RLIMIT_MEMLOCK, &limit) < 0 ||
        limit.rlim_cur == RLIM_INFINITY) {
        return;
    }
    error_prepend(errp, "the device's %u rings need %" PRIu64 " KiB of locked "
                  "memory, and RLIMIT_MEMLOCK is %" PRIu64 " KiB for all that "
                  "this user has locked (ulimit -l, LimitMEMLOCK=): ",
                  s->num_rings, need / KiB, (uint64_t)limit.rlim_cur / KiB);
}

static RingGroup *make_group(VirtIOBlkUring *s, PassthroughFile *file,
                             Scratch *scratch, Error **errp)
{
    RingJailRegion memory = { .size = scratch->size, .fd = scratch->fd };
    RingJailConfig jail = virtio_blk_uring_jail_config(s);

    if (s->isolation == VIRTIO_BLK_URING_ISOLATION_NONE) {
        return ring_group_new(file, NULL, errp);
    }
    jail.regions = &memory;
    jail.num_regions = 1;
    return ring_group_new(file, &jail, errp);
}

/* The guest is told one layout for all rings. */
static bool take_layout(VirtIOBlkUring *s, const RestrictedRingLayout *layout,
                        bool iopoll, Error **errp)
{
    if (!iopoll) {
        s->layout = *layout;
    } else if (memcmp(&s->layout, layout, sizeof(*layout))) {
        error_setg(errp, "the kernel lays a ring that polls the disk out "
                   "unlike others; report this as a bug and use iopoll=off");
        return false;
    }
    return true;
}

/* @file is gone when this returns. */
static bool try_ring(VirtIOBlkUring *s, PassthroughFile *file,
                     Scratch *scratch, Error **errp)
{
    ERRP_GUARD();
    ReadResult result = READ_FAILED;
    g_autofree char *frozen = NULL;
    EventNotifier notifier;
    RingGroup *group;

    if (event_notifier_init(&notifier, 0) < 0) {
        error_setg_errno(errp, errno, "no eventfd is left for a ring; raise "
                         "the limit of open files (ulimit -n)");
        passthrough_file_close(file);
        return false;
    }
    group = make_group(s, file, scratch, errp);
    if (!group) {
        passthrough_file_close(file);
        event_notifier_cleanup(&notifier);
        return false;
    }
    add_rings(s, group, scratch, &notifier);
    if (!ring_group_start(group, errp)) {
        explain_memlock(s, scratch, errp);
    } else if (take_layout(s, ring_group_layout(group, 0), scratch->iopoll,
                           errp)) {
        result = scratch->data_size ?
                 read_block(group, scratch, &notifier, errp) : READ_WELL;
    }
    event_notifier_cleanup(&notifier);
    if (result == READ_UNANSWERED) {
        /* Waiting for the storage could take for ever. */
        scratch->lost = true;
        ring_group_abandon(group);
        return false;
    }
    frozen = ring_group_stop(group, true);
    if (frozen) {
        scratch->lost = true;
        ring_group_abandon(group);
    } else {
        ring_group_free(group);
    }
    return result == READ_WELL;
}

static void take_limits(VirtIOBlkUring *s, PassthroughFile *file,
                        uint32_t block_size)
{
    uint32_t bytes = passthrough_file_max_bytes(file);
    uint32_t segments = passthrough_file_max_segments(file);

    bytes = MAX(ROUND_DOWN(bytes, block_size), bytes ? block_size : 0);
    s->max_bytes = MIN_NON_ZERO(bytes, VIRTIO_BLK_URING_MAX_BYTES);
    s->max_segments = MIN_NON_ZERO(segments, VIRTIO_BLK_URING_MAX_SEGMENTS);
    s->mem_align = passthrough_file_mem_align(file);
}

/*
 * A ring that polls can always be made; whether the disk can be polled only a
 * read of it tells.  (A write does not: file systems do it without polling.)
 */
static bool prepare_iopoll(Scratch *scratch, PassthroughFile *file,
                           uint32_t block_size, Error **errp)
{
    int64_t offset = passthrough_file_find_data(file, block_size);

    if (!passthrough_file_is_direct(file)) {
        error_setg(errp, "the drive goes through the host's page cache, which "
                   "has no disk to poll; use cache.direct=on (cache=none)");
        return false;
    }
    if (offset < 0) {
        error_setg(errp, "the image has no data yet, the reading of which "
                   "would tell whether its disk can be polled; start again "
                   "when it has");
        return false;
    }
    scratch->offset = offset;
    scratch->iopoll = true;
    return true;
}

static bool probe_ring(VirtIOBlkUring *s, bool iopoll, Error **errp)
{
    BlockConf *conf = &VIRTIO_BLK(s)->conf.conf;
    uint32_t block_size = conf->logical_block_size;
    bool writable = blk_supports_write_perm(conf->blk);
    PassthroughFile *file;
    Scratch scratch = {};
    bool ok;

    file = passthrough_file_open(conf->blk, writable, errp);
    if (!file) {
        return false;
    }
    block_size = MAX(block_size, passthrough_file_offset_align(file));
    s->offset_align = block_size;
    take_limits(s, file, block_size);
    s->probed_file = passthrough_file_id(file);
    /* An image that ends within its first block can be read by QEMU only. */
    scratch.data_size = passthrough_file_size(file) < block_size ? 0 :
                        block_size;
    if ((iopoll && !prepare_iopoll(&scratch, file, block_size, errp)) ||
        !alloc_scratch(s, &scratch, errp)) {
        passthrough_file_close(file);
        return false;
    }
    ok = try_ring(s, file, &scratch, errp);
    if (!scratch.lost) {
        free_scratch(&scratch);
    }
    return ok;
}

static bool probe_iopoll(VirtIOBlkUring *s, Error **errp)
{
    Error *err = NULL;

    if (s->iopoll == ON_OFF_AUTO_OFF || !s->poll_queues) {
        s->iopoll_error = g_strdup(s->poll_queues ? "iopoll is off" : "");
        return true;
    }
    if (probe_ring(s, true, &err)) {
        return true;
    }
    if (s->iopoll == ON_OFF_AUTO_ON) {
        error_setg(errp, "iopoll=on is not available: %s, or use "
                   "iopoll=auto or iopoll=off", error_get_pretty(err));
        error_free(err);
        return false;
    }
    s->iopoll_error = g_strdup(error_get_pretty(err));
    error_free(err);
    return true;
}

bool virtio_blk_uring_probe(VirtIOBlkUring *s, Error **errp)
{
    g_clear_pointer(&s->iopoll_error, g_free);
    s->probed = passthrough_file_check(VIRTIO_BLK(s)->conf.conf.blk, errp) &&
                probe_ring(s, false, errp) && probe_iopoll(s, errp);
    return s->probed;
}

bool virtio_blk_uring_probe_again(VirtIOBlkUring *s, PassthroughFile *file,
                                  Error **errp)
{
    PassthroughFileId id = passthrough_file_id(file);
    uint32_t max_bytes = s->max_bytes;
    uint32_t max_segments = s->max_segments;
    uint32_t mem_align = s->mem_align;
    bool ok;

    if (passthrough_file_mem_align(file) > mem_align) {
        error_setg(errp, "the drive's file wants memory aligned to more "
                   "than the guest was told; use cache.direct as at the "
                   "start, or start the device anew");
        return false;
    }
    if (!memcmp(&id, &s->probed_file, sizeof(id)) || s->iopoll_error) {
        return true;
    }
    ok = probe_ring(s, true, errp);
    if (!ok) {
        s->probed_file = (PassthroughFileId) {};
    }
    /* The guest has been told, and larger ones work, too. */
    s->max_bytes = max_bytes;
    s->max_segments = max_segments;
    s->mem_align = mem_align;
    return ok;
}
