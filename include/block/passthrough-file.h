/*
 * The host file behind a BlockBackend, opened once more for a passthrough ring
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A ring goes around QEMU's block layer.  What the block layer would have done
 * on the way must therefore be nothing, which passthrough_file_check() makes
 * sure of; and who needs the block layer to see all writes takes the file back,
 * by draining the drive or by passthrough_file_take_back().
 */
#ifndef BLOCK_PASSTHROUGH_FILE_H
#define BLOCK_PASSTHROUGH_FILE_H

#include "qemu/typedefs.h"
#include "qapi/qapi-types-common.h"

typedef struct PassthroughFile PassthroughFile;

/* Tells two files or host block devices apart. */
typedef struct PassthroughFileId {
    uint64_t dev;
    uint64_t ino;               /* 0: a block device */
} PassthroughFileId;

/*
 * Whether requests may go to the file behind @blk without the block layer: a
 * raw image or host block device with nothing in between that would change,
 * count, hold back or redirect them.  If not, sets @errp to what is in the way
 * and what to do.  Main thread, BQL held.
 */
bool passthrough_file_check(BlockBackend *blk, Error **errp);

/*
 * Opens the file behind @blk once more, by an open file description of its
 * own: with O_DIRECT as the block node has it, and with O_DSYNC if @blk has no
 * write cache, so that a write is durable when it completes.  Main thread, BQL
 * held, after passthrough_file_check().
 */
PassthroughFile *passthrough_file_open(BlockBackend *blk, bool writable,
                                       Error **errp);

/* The fd to register with rings.  Stays the file's. */
int passthrough_file_fd(const PassthroughFile *file);

PassthroughFileId passthrough_file_id(const PassthroughFile *file);

bool passthrough_file_is_readonly(const PassthroughFile *file);

/* Whether requests go around the page cache, without which nothing is polled */
bool passthrough_file_is_direct(const PassthroughFile *file);

/*
 * Bytes that start and length of each segment of a request have to be a
 * multiple of, as far as the kernel tells (STATX_DIOALIGN, Linux 6.1); 1
 * without O_DIRECT.
 */
uint32_t passthrough_file_mem_align(const PassthroughFile *file);

/*
 * The same for a request's offset and length.  Not less than the
 * request_alignment of the file's nodes, so that all requests for a part of a
 * block that QEMU may read, change and write back go through QEMU.
 */
uint32_t passthrough_file_offset_align(const PassthroughFile *file);

/*
 * Largest request, in bytes and in segments, that the kernel hands to the disk
 * in one piece, as far as it is known; 0: not known, or the page cache makes
 * its own.  Larger ones work, but the kernel has a worker thread do them, and
 * does not poll for them.
 */
uint32_t passthrough_file_max_bytes(const PassthroughFile *file);
uint32_t passthrough_file_max_segments(const PassthroughFile *file);

/* Bytes in the file or block device, which may end in a part of a sector. */
int64_t passthrough_file_size(const PassthroughFile *file);

/*
 * Offset of a block of @block_size bytes, a power of 2, for which the kernel
 * has to ask the disk: in a hole of an image it need not.  -1: there is none.
 */
int64_t passthrough_file_find_data(PassthroughFile *file, uint32_t block_size);

/*
 * Somebody needs all writes to the disk to be seen by the block layer, or the
 * disk for itself.  When it returns, nothing goes around the block layer any
 * more, and the reservation has ended.  @why: a sentence, NULL for the usual
 * one.
 */
typedef void PassthroughFileWanted(void *opaque, const char *why);

/*
 * Until passthrough_file_release_nodes() or the end of @file, has the block
 * layer take the file for one that others write to: it skips no flush of its
 * nodes, and reads and writes back no part of a block before it has called
 * @wanted, as passthrough_file_take_back() does.  False, with @errp set, while
 * such a request is in flight.  Main thread, BQL held.
 */
bool passthrough_file_reserve(PassthroughFile *file,
                              PassthroughFileWanted *wanted, void *opaque,
                              Error **errp);

/*
 * Has the owners of all files that are reserved and that @bs is a node of give
 * them up.  For what neither drains the node nor could be undone by a drain
 * later: a dirty bitmap, throttling and a write threshold, from the moment on
 * that they are there, have to see all writes.  configure has
 * block/dirty-bitmap.c, block/qapi-system.c and block/write-threshold.c call
 * this.  Main thread, BQL held.
 */
void passthrough_file_take_back(BlockDriverState *bs);

/*
 * Whether @blk still leads to @file's nodes: the drive may have been given
 * others since.  Main thread, BQL held.
 */
bool passthrough_file_is_of(const PassthroughFile *file, BlockBackend *blk);

/*
 * Ends the reservation, closes the fd and waits until the kernel has let go of
 * the file, which it does when the last ring that it was registered with is
 * gone and the last request on it is done: from then on nothing of those rings
 * can reach the disk or the memory that they worked on.  The rings have to be
 * freed before, or this never returns.  Frees @file.
 *
 * Blocks for some 50 ms, and for as long as the storage needs for what is in
 * flight.
 */
void passthrough_file_wait_unused(PassthroughFile *file);

/*
 * The parts of that.  let_go() closes the fd, and tells whether the kernel has
 * let go of the file; to be called again until it has.  close() ends the
 * reservation and frees @file; before that is so only if there never was a
 * ring.
 */
bool passthrough_file_let_go(PassthroughFile *file);
void passthrough_file_close(PassthroughFile *file);

/*
 * Ends the reservation and gives up the nodes: nothing goes around the block
 * layer any more.  For a file that the kernel may keep for a while.
 */
void passthrough_file_release_nodes(PassthroughFile *file);

/*
 * Whether a file is reserved that @bs is a node of, so that no flush may be
 * taken for superfluous on the ground that the block layer has written nothing
 * since the last one; configure has block/io.c ask.  Any thread.
 */
bool passthrough_file_is_reserved(BlockDriverState *bs);

/*
 * To be called by a serialising request before it reads a block of @bs of
 * which it writes back a part unchanged: returns when no ring writes to @bs,
 * and none will until the request is done.  configure has block/io.c call this.
 * Any thread; yields until the main loop has revoked the rings.
 */
void coroutine_fn passthrough_file_begin_rmw(BlockDriverState *bs);

/*
 * Sets the request_alignment of the file-posix node @bs, which was opened with
 * O_DIRECT if @direct, to what the kernel says (STATX_DIOALIGN, Linux 6.1)
 * where it says something.  QEMU's own probe reads the first block, which in a
 * hole succeeds at any alignment.  configure has block/file-posix.c call this.
 */
void passthrough_file_correct_alignment(BlockDriverState *bs, int fd,
                                        bool direct);

/*
 * The fd of a file-posix node, which must not be closed or kept, or -1 if @bs
 * is none.  Implemented within block/file-posix.c.
 */
int passthrough_file_posix_fd(BlockDriverState *bs);

#endif /* BLOCK_PASSTHROUGH_FILE_H */
