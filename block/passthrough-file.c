/*
 * The host file behind a BlockBackend, opened once more for a passthrough ring
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qobject/qdict.h"
#include "qemu/guest-random.h"
#include "qemu/main-loop.h"
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
    uint32_t mem_align;
    uint32_t offset_align;
    BlockDriverState *nodes[2]; /* format and protocol node, referenced */
    unsigned num_nodes;
    Error *blocker;     /* of operations on the nodes, NULL: none */
    QLIST_ENTRY(PassthroughFile) next;
};

static QLIST_HEAD(, PassthroughFile) reserved =
    QLIST_HEAD_INITIALIZER(reserved);
static unsigned num_reserved;   /* for who does not hold the BQL */

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

/* What O_DIRECT wants of the file's requests. */
static void find_alignment(PassthroughFile *file, BlockDriverState *bs)
{
    struct statx stx;

    file->mem_align = bdrv_min_mem_align(bs);
    file->offset_align = 1;

#ifdef STATX_DIOALIGN
    if (statx(file->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
        stx.stx_mask & STATX_DIOALIGN && stx.stx_dio_mem_align) {
        /* A segment's length has to be whole blocks in any case. */
        file->mem_align = MAX(stx.stx_dio_mem_align,
                              stx.stx_dio_offset_align);
        file->offset_align = stx.stx_dio_offset_align;
    }
#endif
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
    if (flags & O_DIRECT) {
        find_alignment(file, bs);
    }
    file->nodes[file->num_nodes++] = bs;
    if (find_file_node(bs) != bs) {
        file->nodes[file->num_nodes++] = find_file_node(bs);
    }
    for (unsigned i = 0; i < file->num_nodes; i++) {
        bdrv_ref(file->nodes[i]);
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

bool passthrough_file_is_readonly(const PassthroughFile *file)
{
    return file->readonly;
}

uint32_t passthrough_file_mem_align(const PassthroughFile *file)
{
    return file->mem_align;
}

uint32_t passthrough_file_offset_align(const PassthroughFile *file)
{
    return file->offset_align;
}

void passthrough_file_reserve(PassthroughFile *file, const char *owner)
{
    GLOBAL_STATE_CODE();
    GRAPH_RDLOCK_GUARD_MAINLOOP();

    error_setg(&file->blocker, "the disk is passed to the guest as an io_uring "
               "by '%s', which goes around QEMU; set the device's property "
               "passthrough to off (qom-set) first", owner);
    for (unsigned i = 0; i < file->num_nodes; i++) {
        bdrv_op_block_all(file->nodes[i], file->blocker);
    }
    QLIST_INSERT_HEAD(&reserved, file, next);
    qatomic_inc(&num_reserved);
}

bool passthrough_file_any_reserved(void)
{
    return qatomic_read(&num_reserved);
}

static void end_reservation(PassthroughFile *file)
{
    GRAPH_RDLOCK_GUARD_MAINLOOP();

    if (!file->blocker) {
        return;
    }
    QLIST_REMOVE(file, next);
    for (unsigned i = 0; i < file->num_nodes; i++) {
        /* The next flush has something to do, if we have written. */
        qatomic_inc(&file->nodes[i]->write_gen);
    }
    qatomic_dec(&num_reserved);
    for (unsigned i = 0; i < file->num_nodes; i++) {
        bdrv_op_unblock_all(file->nodes[i], file->blocker);
    }
    error_free(g_steal_pointer(&file->blocker));
}

bool passthrough_file_permits(BlockDriverState *bs, Error **errp)
{
    PassthroughFile *file;

    GLOBAL_STATE_CODE();
    QLIST_FOREACH(file, &reserved, next) {
        for (unsigned i = 0; i < file->num_nodes; i++) {
            if (file->nodes[i] == bs) {
                error_setg(errp, "Node '%s' is busy: %s",
                           bdrv_get_device_or_node_name(bs),
                           error_get_pretty(file->blocker));
                return false;
            }
        }
    }
    return true;
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
