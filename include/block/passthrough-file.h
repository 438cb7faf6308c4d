/*
 * The host file behind a BlockBackend, opened once more for a passthrough ring
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A ring goes around QEMU's block layer.  What the block layer would have done
 * on the way must therefore be nothing, which passthrough_file_check() makes
 * sure of, and what it has to know is told by passthrough_file_note_writes().
 */
#ifndef BLOCK_PASSTHROUGH_FILE_H
#define BLOCK_PASSTHROUGH_FILE_H

#include "qemu/typedefs.h"
#include "qapi/qapi-types-common.h"

typedef struct PassthroughFile PassthroughFile;

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

bool passthrough_file_is_readonly(const PassthroughFile *file);

/*
 * Bytes that start and length of each segment of a request have to be a
 * multiple of, as far as the kernel tells (STATX_DIOALIGN, Linux 6.1); 1
 * without O_DIRECT.
 */
uint32_t passthrough_file_mem_align(const PassthroughFile *file);

/* The same for a request's offset and length; 1 where the kernel says none. */
uint32_t passthrough_file_offset_align(const PassthroughFile *file);

/*
 * Until passthrough_file_wait_unused(), has the block layer take the file for
 * one that others write to: it skips no flush, and it refuses what relies on
 * seeing all writes or on having the disk for itself: block jobs, snapshots,
 * resizing, dirty bitmaps, throttling.  The refusal names the device @owner.
 * Main thread, BQL held.
 */
void passthrough_file_reserve(PassthroughFile *file, const char *owner);

/*
 * False, with @errp set, if @bs is of a file that is reserved.  For operations
 * that ask no op blocker; configure has block/dirty-bitmap.c and
 * block/qapi-system.c call this.  Main thread, BQL held.
 */
bool passthrough_file_permits(BlockDriverState *bs, Error **errp);

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
