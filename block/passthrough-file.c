/*
 * The host file behind a BlockBackend, opened once more for a passthrough ring
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <linux/magic.h>
#include <sys/vfs.h>
#include "qapi/error.h"
#include "qobject/qdict.h"
#include "qemu/guest-random.h"
#include "qemu/main-loop.h"
#include "block/aio.h"
#include "block/block_int.h"
#include "block/dirty-bitmap.h"
#include "block/passthrough-file.h"
#include "block/write-threshold.h"
#include "system/block-backend.h"
#include "trace.h"

struct PassthroughFile {
    int fd;             /* the rings' open file description */
    int probe_fd;       /* another one of the same file */
    off_t mark;         /* byte that @fd has locked, see mark_description() */
    bool readonly;
    bool direct;
    uint32_t mem_align;
    uint32_t offset_align;
    uint32_t max_bytes;
    uint32_t max_segments;
    BlockDriverState *nodes[2]; /* format and protocol node, referenced */
    unsigned num_nodes;
    PassthroughFileWanted *wanted; /* NULL: not reserved */
    void *opaque;
    QLIST_ENTRY(PassthroughFile) next;
};

/* Changed with the BQL and the lock held, read with either of them. */
static QLIST_HEAD(, PassthroughFile) reserved =
    QLIST_HEAD_INITIALIZER(reserved);
static QemuMutex reserved_lock;
static unsigned num_reserved;   /* so that most callers need no lock */

static void __attribute__((constructor)) init_reserved_lock(void)
{
    qemu_mutex_init(&reserved_lock);
}

/* The node that holds the file: @bs itself, or what a raw node lies on. */
static BlockDriverState *GRAPH_RDLOCK find_file_node(BlockDriverState *bs)
{
    if (!strcmp(bs->drv->format_name, "raw")) {
        return bs->file ? bs->file->bs : NULL;
    }
    return bs;
}

static bool GRAPH_RDLOCK check_node(BlockDriverState *bs, Error **errp)
{
    const char *name = bdrv_get_device_or_node_name(bs);
    Error *busy = NULL;

    /* Block jobs block each other, and by that can be told. */
    if (bdrv_op_is_blocked(bs, BLOCK_OP_TYPE_MIRROR_SOURCE, &busy)) {
        error_setg(errp, "%s; a ring that goes around QEMU has to wait until "
                   "that is over", error_get_pretty(busy));
        error_free(busy);
        return false;
    }
    if (bs->detect_zeroes != BLOCKDEV_DETECT_ZEROES_OPTIONS_OFF) {
        error_setg(errp, "node '%s' has detect-zeroes, which a ring that goes "
                   "around QEMU cannot do; use detect-zeroes=off or "
                   "passthrough=off", name);
        return false;
    }
    if (qatomic_read(&bs->copy_on_read)) {
        error_setg(errp, "node '%s' has copy-on-read, which a ring that goes "
                   "around QEMU cannot do; use copy-on-read=off or "
                   "passthrough=off", name);
        return false;
    }
    if (!QLIST_EMPTY(&bs->dirty_bitmaps)) {
        error_setg(errp, "node '%s' has a dirty bitmap, which would miss what "
                   "a ring writes; remove the bitmap or use passthrough=off",
                   name);
        return false;
    }
    if (bdrv_write_threshold_get(bs)) {
        error_setg(errp, "node '%s' has a write threshold, which would miss "
                   "what a ring writes; set it to 0 (block-set-write-"
                   "threshold) or use passthrough=off", name);
        return false;
    }
    if (bs->bl.zoned != BLK_Z_NONE) {
        error_setg(errp, "node '%s' is a zoned device, whose zones a ring that "
                   "goes around QEMU cannot track; use passthrough=off", name);
        return false;
    }
    return true;
}

bool passthrough_file_check(BlockBackend *blk, Error **errp)
{
    BlockDriverState *bs = blk_bs(blk);
    BlockDriverState *file;
    const char *name;

    GLOBAL_STATE_CODE();
    GRAPH_RDLOCK_GUARD_MAINLOOP();

    if (!bs) {
        error_setg(errp, "the drive has no medium that a ring could be given; "
                   "insert one or use passthrough=off");
        return false;
    }
    name = bdrv_get_device_or_node_name(bs);

    if (blk_get_public(blk)->throttle_group_member.throttle_state) {
        error_setg(errp, "drive '%s' is throttled, which a ring that goes "
                   "around QEMU would escape; remove the throttling (limit the "
                   "host's cgroup instead) or use passthrough=off", name);
        return false;
    }
    if (bs->drv->is_filter) {
        error_setg(errp, "node '%s' is a '%s' filter, which a ring that goes "
                   "around QEMU would escape; remove the filter or use "
                   "passthrough=off", name, bs->drv->format_name);
        return false;
    }
    file = find_file_node(bs);
    if (bs->open_flags & BDRV_O_TEMPORARY) {
        error_setg(errp, "drive '%s' has snapshot=on, which keeps all writes "
                   "in a temporary image of another format, and a ring can "
                   "only be given a raw image; use snapshot=off or "
                   "passthrough=off", name);
        return false;
    }
    if (!file || passthrough_file_posix_fd(file) < 0) {
        error_setg(errp, "node '%s' is %s'%s', and a ring can only be given a "
                   "raw image in a file or a host block device; convert the "
                   "disk (qemu-img convert -O raw) or use passthrough=off",
                   name, file && file != bs ? "raw on " : "",
                   file ? file->drv->format_name : bs->drv->format_name);
        return false;
    }
    if (bs->probed && blk_supports_write_perm(blk)) {
        /* QEMU keeps such a guest from writing another format's header. */
        error_setg(errp, "the format of node '%s' was guessed, and a guest "
                   "could make its disk another format by a ring; say "
                   "format=raw or use passthrough=off", name);
        return false;
    }
    if (bs != file && (qdict_haskey(bs->options, "offset") ||
                       qdict_haskey(bs->options, "size"))) {
        error_setg(errp, "node '%s' is a part of its file (offset=, size=), "
                   "and a ring would reach all of the file; give the part a "
                   "file or partition of its own or use passthrough=off", name);
        return false;
    }
    if (!check_node(bs, errp) || (bs != file && !check_node(file, errp))) {
        return false;
    }
    return true;
}

/*
 * Locks a byte far behind any file's end through @fd's open file description.
 * Such a lock (F_OFD_SETLK, Linux 3.15) goes when the description goes, and
 * each ring and each request in flight holds a reference to that.  So when the
 * lock is gone, they are: the only word of it that comes from the kernel
 * itself and needs no privilege.
 */
static bool mark_description(PassthroughFile *file, Error **errp)
{
    struct flock lock = {
        .l_type = file->readonly ? F_RDLCK : F_WRLCK,
        .l_whence = SEEK_SET,
        .l_len = 1,
    };
    uint64_t random;

    /*
     * Nobody else's byte: others, whose process numbers we need not see, may
     * hold the same disk read-only.
     */
    qemu_guest_getrandom_nofail(&random, sizeof(random));
    lock.l_start = (1LL << 61) + (random >> 4);

    if (fcntl(file->fd, F_OFD_SETLK, &lock) < 0) {
        error_setg_errno(errp, errno, "cannot lock a byte of the disk's file, "
                         "by which the end of a ring is told; use a file "
                         "system with locks or passthrough=off");
        return false;
    }
    file->mark = lock.l_start;
    return true;
}

static bool is_marked(PassthroughFile *file)
{
    struct flock lock = {
        .l_type = F_WRLCK,
        .l_whence = SEEK_SET,
        .l_start = file->mark,
        .l_len = 1,
    };

    /* Without an answer we have to suppose that requests are in flight. */
    return fcntl(file->probe_fd, F_OFD_GETLK, &lock) < 0 ||
           lock.l_type != F_UNLCK;
}

/*
 * What the kernel says that O_DIRECT wants of requests to @fd, in bytes
 * (STATX_DIOALIGN, Linux 6.1).  False: it does not say.
 */
static bool read_dio_alignment(int fd, uint32_t *mem_align,
                               uint32_t *offset_align)
{
    struct statfs fs;
#ifdef STATX_DIOALIGN
    struct statx stx;

    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
        stx.stx_mask & STATX_DIOALIGN && stx.stx_dio_mem_align &&
        is_power_of_2(stx.stx_dio_offset_align)) {
        *mem_align = stx.stx_dio_mem_align;
        *offset_align = stx.stx_dio_offset_align;
        return true;
    }
#endif
    if (fstatfs(fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC) {
        /* It takes O_DIRECT (Linux 6.6), and then any request. */
        *mem_align = *offset_align = 1;
        return true;
    }
    return false;
}

void passthrough_file_correct_alignment(BlockDriverState *bs, int fd,
                                        bool direct)
{
    uint32_t mem_align, offset_align;

    /* 0: the probe has failed, and its caller reports that. */
    if (!direct || !bs->bl.request_alignment) {
        return;
    }
    if (read_dio_alignment(fd, &mem_align, &offset_align) &&
        (offset_align < bs->bl.request_alignment ||
         lseek(fd, 0, SEEK_END) % offset_align == 0)) {
        /*
         * Not if the file ends within a block: a padded write to that would
         * make the file larger.
         */
        bs->bl.request_alignment = offset_align;
    }
}

/* What O_DIRECT wants of the file's requests. */
static void find_alignment(PassthroughFile *file, BlockDriverState *bs)
{
    uint32_t mem_align, offset_align;

    file->mem_align = bdrv_min_mem_align(bs);
    if (read_dio_alignment(file->fd, &mem_align, &offset_align)) {
        /* A segment's length has to be whole blocks in any case. */
        file->mem_align = MAX(mem_align, offset_align);
        file->offset_align = offset_align;
    }
}

/*
 * QEMU reads, changes and writes back a block of a node's request_alignment
 * when a request is smaller.  No ring may write to a part of such a block.
 */
static void find_node_alignment(PassthroughFile *file, BlockDriverState *bs)
{
    file->offset_align = MAX(file->offset_align, bs->bl.request_alignment);
}

/*
 * What is larger than the disk's limits the kernel has to split, which it does
 * not do without blocking.  A segment can be a page anywhere in host memory.
 */
static void find_limits(PassthroughFile *file, BlockDriverState *bs)
{
    uint64_t bytes = bs->bl.max_hw_transfer;
    uint64_t segments = MAX(bs->bl.max_hw_iov, 0);

    bytes = MIN_NON_ZERO(bytes, segments * qemu_real_host_page_size());
    file->max_bytes = MIN(bytes, BDRV_REQUEST_MAX_BYTES);
    file->max_segments = segments;
}

PassthroughFile *passthrough_file_open(BlockBackend *blk, bool writable,
                                       Error **errp)
{
    g_autofree char *path = NULL;
    PassthroughFile *file;
    BlockDriverState *bs;
    int node_fd, node_flags, flags;
    const char *name;

    GLOBAL_STATE_CODE();
    GRAPH_RDLOCK_GUARD_MAINLOOP();

    bs = blk_bs(blk);
    name = bdrv_get_device_or_node_name(bs);
    node_fd = passthrough_file_posix_fd(find_file_node(bs));
    node_flags = fcntl(node_fd, F_GETFL);
    file = g_new(PassthroughFile, 1);
    *file = (PassthroughFile) {
        .fd = -1,
        .probe_fd = -1,
        .mem_align = 1,
        .offset_align = 1,
        .readonly = !writable,
    };

    /* Through the fd, since what the name leads to may have been replaced. */
    path = g_strdup_printf("/proc/self/fd/%d", node_fd);
    flags = (file->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC |
            (node_flags & O_DIRECT) |
            (blk_enable_write_cache(blk) ? 0 : O_DSYNC);
    file->fd = open(path, flags);
    file->probe_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (file->fd < 0 || file->probe_fd < 0) {
        error_setg_errno(errp, errno, "cannot open the file of node '%s' once "
                         "more for a ring; let QEMU's user open it %s or use "
                         "passthrough=off", name,
                         file->readonly ? "for reading" : "for writing");
        goto fail;
    }
    if (!mark_description(file, errp)) {
        goto fail;
    }
    file->direct = flags & O_DIRECT;
    if (file->direct) {
        find_alignment(file, bs);
        find_limits(file, find_file_node(bs));
    }
    file->nodes[file->num_nodes++] = bs;
    if (find_file_node(bs) != bs) {
        file->nodes[file->num_nodes++] = find_file_node(bs);
    }
    for (unsigned i = 0; i < file->num_nodes; i++) {
        bdrv_ref(file->nodes[i]);
        find_node_alignment(file, file->nodes[i]);
    }
    trace_passthrough_file_open(file, name, file->fd, file->readonly,
                                flags & O_DIRECT, flags & O_DSYNC);
    return file;

fail:
    if (file->fd >= 0) {
        close(file->fd);
    }
    if (file->probe_fd >= 0) {
        close(file->probe_fd);
    }
    g_free(file);
    return NULL;
}

int passthrough_file_fd(const PassthroughFile *file)
{
    return file->fd;
}

PassthroughFileId passthrough_file_id(const PassthroughFile *file)
{
    PassthroughFileId id = {};
    struct stat st;

    if (fstat(file->fd, &st) == 0) {
        bool block = S_ISBLK(st.st_mode);

        id.dev = block ? st.st_rdev : st.st_dev;
        id.ino = block ? 0 : st.st_ino;
    }
    return id;
}

bool passthrough_file_is_readonly(const PassthroughFile *file)
{
    return file->readonly;
}

bool passthrough_file_is_direct(const PassthroughFile *file)
{
    return file->direct;
}

uint32_t passthrough_file_mem_align(const PassthroughFile *file)
{
    return file->mem_align;
}

uint32_t passthrough_file_offset_align(const PassthroughFile *file)
{
    return file->offset_align;
}

uint32_t passthrough_file_max_bytes(const PassthroughFile *file)
{
    return file->max_bytes;
}

uint32_t passthrough_file_max_segments(const PassthroughFile *file)
{
    return file->max_segments;
}

int64_t passthrough_file_size(const PassthroughFile *file)
{
    return lseek(file->probe_fd, 0, SEEK_END);
}

int64_t passthrough_file_find_data(PassthroughFile *file, uint32_t block_size)
{
    off_t data = lseek(file->probe_fd, 0, SEEK_DATA);
    off_t hole = data < 0 ? -1 : lseek(file->probe_fd, data, SEEK_HOLE);

    if (data < 0 && errno == EINVAL) {
        return 0;       /* a block device, which has no holes */
    }
    data = ROUND_UP(data, block_size);
    return hole - data >= block_size ? data : -1;
}

static void end_reservation(PassthroughFile *file)
{
    if (!file->wanted) {
        return;
    }
    file->wanted = NULL;
    for (unsigned i = 0; i < file->num_nodes; i++) {
        /*
         * The next flush has something to do, if we have written.  Before that
         * can be skipped again.
         */
        qatomic_inc(&file->nodes[i]->write_gen);
    }
    WITH_QEMU_LOCK_GUARD(&reserved_lock) {
        QLIST_REMOVE(file, next);
        qatomic_dec(&num_reserved);
    }
}

static bool has_node(const PassthroughFile *file, BlockDriverState *bs)
{
    for (unsigned i = 0; i < file->num_nodes; i++) {
        if (file->nodes[i] == bs) {
            return true;
        }
    }
    return false;
}

bool passthrough_file_is_reserved(BlockDriverState *bs)
{
    PassthroughFile *file;

    if (!qatomic_read(&num_reserved)) {
        return false;
    }
    QEMU_LOCK_GUARD(&reserved_lock);
    QLIST_FOREACH(file, &reserved, next) {
        if (has_node(file, bs)) {
            return true;
        }
    }
    return false;
}

bool passthrough_file_reserve(PassthroughFile *file,
                              PassthroughFileWanted *wanted, void *opaque,
                              Error **errp)
{
    GLOBAL_STATE_CODE();

    file->wanted = wanted;
    file->opaque = opaque;
    WITH_QEMU_LOCK_GUARD(&reserved_lock) {
        QLIST_INSERT_HEAD(&reserved, file, next);
        qatomic_inc(&num_reserved);
    }
    /*
     * Pairs with passthrough_file_begin_rmw(): either that sees the
     * reservation, or its request is seen here.
     */
    smp_mb();
    for (unsigned i = 0; i < file->num_nodes; i++) {
        if (qatomic_read(&file->nodes[i]->serialising_in_flight)) {
            end_reservation(file);
            error_setg(errp, "a request that QEMU has to pad to a whole block "
                       "of the disk is in flight on node '%s'; rings have to "
                       "wait until it is done",
                       bdrv_get_device_or_node_name(file->nodes[i]));
            return false;
        }
    }
    return true;
}

bool passthrough_file_is_of(const PassthroughFile *file, BlockBackend *blk)
{
    BlockDriverState *bs;

    GLOBAL_STATE_CODE();
    GRAPH_RDLOCK_GUARD_MAINLOOP();

    bs = blk_bs(blk);
    return bs && bs == file->nodes[0] &&
           find_file_node(bs) == file->nodes[file->num_nodes - 1];
}

static void revoke_rings(BlockDriverState *bs, const char *why)
{
    PassthroughFile *file, *next;

    GLOBAL_STATE_CODE();
    QLIST_FOREACH_SAFE(file, &reserved, next, next) {
        if (has_node(file, bs)) {
            file->wanted(file->opaque, why);
        }
    }
}

void passthrough_file_take_back(BlockDriverState *bs)
{
    revoke_rings(bs, NULL);
}

/* A request that waits until no ring writes to its node */
typedef struct Rmw {
    BlockDriverState *bs;       /* stays while the request is in flight */
    Coroutine *co;
} Rmw;

static void revoke_for_rmw(void *opaque)
{
    Rmw *rmw = opaque;

    revoke_rings(rmw->bs, "a request is smaller than the blocks of the disk, "
                 "so that QEMU reads and writes back a whole block, which a "
                 "ring must not write to meanwhile (a larger "
                 "logical_block_size avoids this)");
    aio_co_wake(rmw->co);
}

void coroutine_fn passthrough_file_begin_rmw(BlockDriverState *bs)
{
    Rmw rmw = { .bs = bs, .co = qemu_coroutine_self() };

    /* Pairs with passthrough_file_reserve(). */
    smp_mb();
    if (!passthrough_file_is_reserved(bs)) {
        return;
    }
    trace_passthrough_file_begin_rmw(bs);
    aio_bh_schedule_oneshot(qemu_get_aio_context(), revoke_for_rmw, &rmw);
    qemu_coroutine_yield();
}

void passthrough_file_release_nodes(PassthroughFile *file)
{
    end_reservation(file);
    while (file->num_nodes) {
        bdrv_unref(file->nodes[--file->num_nodes]);
    }
}

void passthrough_file_close(PassthroughFile *file)
{
    if (file->fd >= 0) {
        close(file->fd);
    }
    close(file->probe_fd);
    passthrough_file_release_nodes(file);
    g_free(file);
}

bool passthrough_file_let_go(PassthroughFile *file)
{
    if (file->fd >= 0) {
        close(file->fd);
        file->fd = -1;
    }
    return !is_marked(file);
}

void passthrough_file_wait_unused(PassthroughFile *file)
{
    int64_t start = g_get_monotonic_time();

    /*
     * A blocking lock would need a writable fd, which a read-only disk has
     * not, and there is no event for a lock that goes.
     */
    while (!passthrough_file_let_go(file)) {
        g_usleep(200);
    }
    trace_passthrough_file_unused(file, g_get_monotonic_time() - start);
    passthrough_file_close(file);
}
