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

/* The same for a request's offset and length; 1 where the kernel says none. */
uint32_t passthrough_file_offset_align(const PassthroughFile *file);

/*
 * Largest request, in bytes and in segments, that the kernel hands to the disk
 * in one piece, as far as it is known; 0: not known, or the page cache makes
 * its own.  Larger ones work, but the kernel has a worker thread do them, and
 * does not poll for them.
 */
uint32_t passthrough_file_max_bytes(const PassthroughFile *file);
uint32_t passthrough_file_max_segments(const PassthroughFile *file);

/*
 * Offset of a block of @block_size bytes, a power of 2, for which the kernel
 * has to ask the disk: in a hole of an image it need not.  -1: there is none.
 */
int64_t passthrough_file_find_data(PassthroughFile *file, uint32_t block_size);

/*
 * Somebody needs all writes to the disk to be seen by the block layer.  When it
 * returns, nothing goes around it any more: passthrough_file_close() or
 * passthrough_file_wait_unused() was called.
 */
typedef void PassthroughFileWanted(void *opaque);

/*
 * Until passthrough_file_wait_unused(), has the block layer take the file for
 * one that others write to, so that it skips no flush.  @wanted is called by
 * passthrough_file_take_back().  Main thread, BQL held.
 */
void passthrough_file_reserve(PassthroughFile *file,
                              PassthroughFileWanted *wanted, void *opaque);

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
 * Has the block layer be rid of a file whose end nobody waits for, so that
 * QEMU can end before it.
 */
void passthrough_file_release_nodes(PassthroughFile *file);

/*
 * Whether any file is reserved, so that no flush may be taken for superfluous
 * on the ground that the block layer has written nothing since the last one;
 * configure has block/io.c ask.  Any thread.
 */
bool passthrough_file_any_reserved(void);

/*
 * The fd of a file-posix node, which must not be closed or kept, or -1 if @bs
 * is none.  Implemented within block/file-posix.c.
 */
int passthrough_file_posix_fd(BlockDriverState *bs);

#endif /* BLOCK_PASSTHROUGH_FILE_H */
