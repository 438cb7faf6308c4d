/*
 * Passthrough file: what is certain once the kernel has let go of it, and what
 * the block layer is told
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
/* First: liburing.h, which block headers include, has an older io_uring.h. */
#include "ring-rig.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-block-core.h"
#include "qobject/qdict.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "block/block.h"
#include "block/block_int.h"
#include "block/dirty-bitmap.h"
#include "block/passthrough-file.h"
#include "crypto/random.h"
#include "system/block-backend.h"
#include "slow-disk.h"

typedef struct Disk {
    BlockBackend *blk;
    PassthroughFile *file;
} Disk;

static BlockBackend *open_raw(const char *path)
{
    QDict *options = qdict_new();

    qdict_put_str(options, "driver", "raw");
    return blk_new_open(path, NULL, options, BDRV_O_RDWR, &error_abort);
}

/* A drive of @size bytes, filled with seed 0, and its file for rings. */
static void disk_open(Disk *disk, off_t size)
{
    int fd = rig_temp_file(size, 0);
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);

    disk->blk = open_raw(path);
    close(fd);
    g_assert_true(passthrough_file_check(disk->blk, &error_abort));
    disk->file = passthrough_file_open(disk->blk, true, &error_abort);
}

static void disk_close(Disk *disk)
{
    blk_unref(disk->blk);
}

/* @rig's file is not the rig's to close then. */
static void rig_start_on(RingRig *rig, PassthroughFile *file)
{
    rig_init(rig, passthrough_file_fd(file));
    rig_start(rig);
    rig->params.file_fd = -1;
}

static void test_without_ring(void)
{
    Disk disk;
    int fd;

    disk_open(&disk, RIG_FILE_SIZE);
    fd = passthrough_file_fd(disk.file);
    passthrough_file_wait_unused(disk.file);
    g_assert_cmpint(fcntl(fd, F_GETFD), ==, -1);
    disk_close(&disk);
}

/* The SQPOLL thread is awake when the ring is freed, and looks for SQEs. */
static void test_nothing_executed(void)
{
    struct io_uring_sqe sqe;
    char before[RIG_DATA_SIZE];
    RingRig rig;
    Disk disk;

    if (!rig_have_io_uring()) {
        return;
    }
    disk_open(&disk, RIG_FILE_SIZE);
    rig_init(&rig, passthrough_file_fd(disk.file));
    rig.params.idle_ms = 10000;
    rig_start(&rig);
    rig.params.file_fd = -1;
    g_assert_cmpint(rig_execute(&rig, rig_rw(&rig, IORING_OP_READV, 0, 512, 0)),
                    ==, 512);

    rig_free_ring(&rig);
    passthrough_file_wait_unused(disk.file);

    memset(rig.data, 0x55, 4096);
    sqe = rig_rw(&rig, IORING_OP_WRITEV, 0, 4096, 0);
    rig_publish_quietly(&rig, &sqe, 1);
    g_assert_true(rig_is_silent(&rig));
    g_assert_cmpuint(*rig_word(&rig, rig.layout.sq_head), ==, 1);
    g_assert_cmpint(blk_pread(disk.blk, 0, sizeof(before), before, 0), ==, 0);
    for (int i = 0; i < 4096; i++) {
        g_assert_cmpint(before[i], ==, rig_byte(i, 0));
    }
    rig_destroy(&rig);
    disk_close(&disk);
}

/* No thread that could execute a request is left. */
static void test_no_thread(void)
{
    RingRig a, b;
    Disk disk;

    if (!rig_have_io_uring()) {
        return;
    }
    RIG_AWAIT(rig_sqpoll_threads() == 0);
    disk_open(&disk, RIG_FILE_SIZE);
    rig_start_on(&a, disk.file);
    rig_start_on(&b, disk.file);
    RIG_AWAIT(rig_sqpoll_threads() == 2);
    rig_free_ring(&a);
    rig_free_ring(&b);
    passthrough_file_wait_unused(disk.file);
    RIG_AWAIT(rig_sqpoll_threads() == 0);
    rig_destroy(&a);
    rig_destroy(&b);
    disk_close(&disk);
}

/* Waiting for one file is not waiting for another one of the same disk. */
static void test_other_ring_runs(void)
{
    PassthroughFile *other;
    RingRig a, b;
    Disk disk;

    if (!rig_have_io_uring()) {
        return;
    }
    disk_open(&disk, RIG_FILE_SIZE);
    other = passthrough_file_open(disk.blk, true, &error_abort);
    rig_start_on(&a, disk.file);
    rig_start_on(&b, other);

    rig_free_ring(&a);
    passthrough_file_wait_unused(disk.file);
    g_assert_cmpint(rig_execute(&b, rig_rw(&b, IORING_OP_READV, 0, 512, 0)),
                    ==, 512);

    rig_free_ring(&b);
    passthrough_file_wait_unused(other);
    rig_destroy(&a);
    rig_destroy(&b);
    disk_close(&disk);
}

/* As many and as large reads as there is room for, when the ring is freed. */
static void test_busy(void)
{
    enum { READS = 32, SIZE = 2 * 1024 * 1024 };
    g_autofree struct io_uring_sqe *sqes = g_new0(struct io_uring_sqe, READS);
    size_t len = (size_t)READS * SIZE;
    RingRig rig;
    Disk disk;
    char *data;

    if (!rig_have_io_uring()) {
        return;
    }
    disk_open(&disk, SIZE);
    data = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                -1, 0);
    g_assert(data != MAP_FAILED);
    rig_start_on(&rig, disk.file);
    for (int i = 0; i < READS; i++) {
        rig.iov[i] = (struct iovec) { data + (size_t)i * SIZE, SIZE };
        sqes[i] = rig_sqe(IORING_OP_READV, 1, &rig.iov[i], 0);
    }
    rig_publish(&rig, sqes, READS);
    g_assert_true(rig_signalled(&rig, RIG_PATIENCE_MS));

    rig_free_ring(&rig);
    passthrough_file_wait_unused(disk.file);
    memset(data, 0x55, len);
    memset(rig.mem, 0x55, rig.params.ring_size);
    g_usleep(RIG_NOTHING_MS * 1000);
    rig_assert_all(data, 0x55, len);
    rig_assert_all(rig.mem, 0x55, rig.params.ring_size);
    munmap(data, len);
    rig_destroy(&rig);
    disk_close(&disk);
}

typedef struct Witness {
    SlowDisk *slow;
    const RingRig *rig;
    bool wait_is_over;
} Witness;

/* Sees that nobody takes the request for done before the disk is. */
static void *let_go_later(void *opaque)
{
    Witness *witness = opaque;

    /* Several times as long as the kernel needs for a ring at rest. */
    g_usleep(400 * 1000);
    g_assert_false(qatomic_read(&witness->wait_is_over));
    rig_assert_all(witness->rig->data, 0x55, 4096);
    slow_disk_release(witness->slow);
    return NULL;
}

/* The disk answers a request only long after the ring has been freed. */
static void test_slow(const void *opaque)
{
    uint8_t opcode = GPOINTER_TO_UINT(opaque);
    bool read = opcode == IORING_OP_READV;
    struct io_uring_sqe sqe;
    Witness witness = {};
    SlowDisk slow;
    GThread *thread;
    RingRig rig;
    Disk disk;

    if (!rig_have_io_uring() || !slow_disk_start(&slow)) {
        return;
    }
    disk.blk = open_raw(slow.path);
    slow_disk_unlink(&slow);
    disk.file = passthrough_file_open(disk.blk, true, &error_abort);
    rig_start_on(&rig, disk.file);
    memset(rig.data, 0x55, 4096);
    sqe = read ? rig_rw(&rig, opcode, 0, 4096, 0) : rig_sqe(opcode, 0, NULL, 0);
    rig_publish(&rig, &sqe, 1);
    slow_disk_await(&slow);

    witness.slow = &slow;
    witness.rig = &rig;
    thread = g_thread_new("witness", let_go_later, &witness);
    rig_free_ring(&rig);
    passthrough_file_wait_unused(disk.file);
    qatomic_set(&witness.wait_is_over, true);
    g_thread_join(thread);
    rig_assert_all(rig.data, read ? SLOW_DISK_BYTE : 0x55, 4096);
    rig_destroy(&rig);
    disk_close(&disk);
    slow_disk_stop(&slow);
}

/* What the block layer is told */

static BlockDriverState *file_node(BlockBackend *blk)
{
    GRAPH_RDLOCK_GUARD_MAINLOOP();

    return blk_bs(blk)->file->bs;
}

static bool is_flushed(BlockDriverState *bs)
{
    return bs->write_gen == bs->flushed_gen;
}

/* The owner of the rings gives the file up when it is wanted. */
static void give_up(void *opaque, const char *why)
{
    Disk *disk = opaque;

    passthrough_file_wait_unused(g_steal_pointer(&disk->file));
}

static void test_reserved(void)
{
    Disk disk, other;

    disk_open(&disk, RIG_FILE_SIZE);
    disk_open(&other, RIG_FILE_SIZE);
    g_assert_false(passthrough_file_is_reserved(blk_bs(disk.blk)));
    passthrough_file_take_back(blk_bs(disk.blk));
    g_assert_nonnull(disk.file);

    passthrough_file_reserve(disk.file, give_up, &disk, &error_abort);
    g_assert_true(passthrough_file_is_reserved(blk_bs(disk.blk)));
    g_assert_true(passthrough_file_is_reserved(file_node(disk.blk)));
    g_assert_false(passthrough_file_is_reserved(blk_bs(other.blk)));
    passthrough_file_take_back(blk_bs(other.blk));
    g_assert_nonnull(disk.file);

    passthrough_file_take_back(file_node(disk.blk));
    g_assert_null(disk.file);
    g_assert_false(passthrough_file_is_reserved(blk_bs(disk.blk)));

    passthrough_file_wait_unused(other.file);
    disk_close(&disk);
    disk_close(&other);
}

/* Whoever needs to see all writes, and drains nothing, takes the file back. */
static void test_reserved_bitmap(void)
{
    BdrvDirtyBitmap *bitmap;
    Disk disk;

    disk_open(&disk, RIG_FILE_SIZE);
    passthrough_file_reserve(disk.file, give_up, &disk, &error_abort);
    bitmap = bdrv_create_dirty_bitmap(blk_bs(disk.blk), 65536, "b",
                                      &error_abort);
    g_assert_null(disk.file);
    g_assert_false(passthrough_file_check(disk.blk, NULL));

    bdrv_release_dirty_bitmap(bitmap);
    g_assert_true(passthrough_file_check(disk.blk, &error_abort));
    disk_close(&disk);
}

static void test_reserved_threshold(void)
{
    Disk disk;

    disk_open(&disk, RIG_FILE_SIZE);
    passthrough_file_reserve(disk.file, give_up, &disk, &error_abort);
    qmp_block_set_write_threshold(bdrv_get_node_name(blk_bs(disk.blk)), 4096,
                                  &error_abort);
    g_assert_null(disk.file);
    g_assert_false(passthrough_file_check(disk.blk, NULL));

    qmp_block_set_write_threshold(bdrv_get_node_name(blk_bs(disk.blk)), 0,
                                  &error_abort);
    g_assert_true(passthrough_file_check(disk.blk, &error_abort));
    disk_close(&disk);
}

/* The drive that a file was opened for may get another one. */
static void test_is_of(void)
{
    Disk disk, other;

    disk_open(&disk, RIG_FILE_SIZE);
    disk_open(&other, RIG_FILE_SIZE);
    g_assert_true(passthrough_file_is_of(disk.file, disk.blk));
    g_assert_false(passthrough_file_is_of(disk.file, other.blk));
    blk_replace_bs(disk.blk, blk_bs(other.blk), &error_abort);
    g_assert_false(passthrough_file_is_of(disk.file, disk.blk));
    g_assert_true(passthrough_file_is_of(other.file, disk.blk));

    passthrough_file_wait_unused(disk.file);
    passthrough_file_wait_unused(other.file);
    disk_close(&disk);
    disk_close(&other);
}

/* What the rings wrote last has no flush in QEMU's books behind it. */
static void test_reserved_leaves_dirty(void)
{
    BlockDriverState *bs;
    Disk disk;

    disk_open(&disk, RIG_FILE_SIZE);
    bs = blk_bs(disk.blk);
    passthrough_file_reserve(disk.file, give_up, &disk, &error_abort);
    g_assert_cmpint(blk_flush(disk.blk), ==, 0);
    passthrough_file_wait_unused(disk.file);
    g_assert_false(is_flushed(bs) || is_flushed(file_node(disk.blk)));
    g_assert_cmpint(blk_flush(disk.blk), ==, 0);
    g_assert_true(is_flushed(bs) && is_flushed(file_node(disk.blk)));
    disk_close(&disk);
}

/*
 * No flush of a reserved file is skipped, and those of others are: a flush that
 * has something to do moves flushed_gen.
 */
static void test_reserved_flush(void)
{
    BlockDriverState *bs, *other_bs;
    unsigned gen, other_gen;
    Disk disk, other;

    disk_open(&disk, RIG_FILE_SIZE);
    disk_open(&other, RIG_FILE_SIZE);
    bs = file_node(disk.blk);
    other_bs = file_node(other.blk);
    passthrough_file_reserve(disk.file, give_up, &disk, &error_abort);
    g_assert_cmpint(blk_flush(disk.blk), ==, 0);
    g_assert_cmpint(blk_flush(other.blk), ==, 0);
    gen = bs->flushed_gen;
    other_gen = other_bs->flushed_gen;
    g_assert_cmpint(blk_flush(disk.blk), ==, 0);
    g_assert_cmpint(blk_flush(other.blk), ==, 0);
    g_assert_cmpuint(bs->flushed_gen, !=, gen);
    g_assert_cmpuint(other_bs->flushed_gen, ==, other_gen);

    passthrough_file_wait_unused(disk.file);
    passthrough_file_wait_unused(other.file);
    disk_close(&disk);
    disk_close(&other);
}

/* A request that is padded to a block may not begin while there are rings. */
static void test_reserved_rmw(void)
{
    static const char block[4096];
    BlockDriverState *bs;
    Error *err = NULL;
    Disk disk;

    disk_open(&disk, RIG_FILE_SIZE);
    bs = file_node(disk.blk);
    bs->bl.request_alignment = 4096;
    passthrough_file_reserve(disk.file, give_up, &disk, &error_abort);
    g_assert_cmpint(blk_pwrite(disk.blk, 4096, 4096, block, 0), ==, 0);
    g_assert_nonnull(disk.file);
    g_assert_cmpint(blk_pwrite(disk.blk, 512, 512, block, 0), ==, 0);
    g_assert_null(disk.file);
    disk_close(&disk);

    disk_open(&disk, RIG_FILE_SIZE);
    bs = file_node(disk.blk);
    bs->bl.request_alignment = 4096;
    passthrough_file_reserve(disk.file, give_up, &disk, &error_abort);
    g_assert_cmpint(blk_pwrite_zeroes(disk.blk, 512, 512, 0), ==, 0);
    g_assert_null(disk.file);
    disk_close(&disk);

    /* And there are no rings while there is such a request. */
    disk_open(&disk, RIG_FILE_SIZE);
    bs = file_node(disk.blk);
    bs->serialising_in_flight++;
    g_assert_false(passthrough_file_reserve(disk.file, give_up, &disk, &err));
    g_assert_false(passthrough_file_is_reserved(bs));
    error_free_or_abort(&err);
    bs->serialising_in_flight--;
    passthrough_file_wait_unused(disk.file);
    disk_close(&disk);
}

/* A block that is larger than a guest's is no place for a ring's small write */
static void test_node_alignment(void)
{
    PassthroughFile *file;
    Disk disk;

    disk_open(&disk, RIG_FILE_SIZE);
    file_node(disk.blk)->bl.request_alignment = 8192;
    file = passthrough_file_open(disk.blk, true, &error_abort);
    g_assert_cmpuint(passthrough_file_offset_align(file), ==, 8192);
    passthrough_file_close(file);
    passthrough_file_wait_unused(disk.file);
    disk_close(&disk);
}

int main(int argc, char **argv)
{
    module_call_init(MODULE_INIT_QOM);
    qcrypto_random_init(&error_abort);
    bdrv_init();
    qemu_init_main_loop(&error_abort);

    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/passthrough-file/unused/without-ring", test_without_ring);
    g_test_add_func("/passthrough-file/unused/nothing-executed",
                    test_nothing_executed);
    g_test_add_func("/passthrough-file/unused/no-thread", test_no_thread);
    g_test_add_func("/passthrough-file/unused/other-ring-runs",
                    test_other_ring_runs);
    g_test_add_func("/passthrough-file/unused/busy", test_busy);
    /* Waited for in the SQPOLL thread, and in a worker of io_uring's. */
    g_test_add_data_func("/passthrough-file/unused/slow-read",
                         GUINT_TO_POINTER(IORING_OP_READV), test_slow);
    g_test_add_data_func("/passthrough-file/unused/slow-flush",
                         GUINT_TO_POINTER(IORING_OP_FSYNC), test_slow);
    g_test_add_func("/passthrough-file/reserved/operations", test_reserved);
    g_test_add_func("/passthrough-file/reserved/bitmap", test_reserved_bitmap);
    g_test_add_func("/passthrough-file/reserved/threshold",
                    test_reserved_threshold);
    g_test_add_func("/passthrough-file/is-of", test_is_of);
    g_test_add_func("/passthrough-file/reserved/leaves-dirty",
                    test_reserved_leaves_dirty);
    g_test_add_func("/passthrough-file/reserved/flush", test_reserved_flush);
    g_test_add_func("/passthrough-file/reserved/read-modify-write",
                    test_reserved_rmw);
    g_test_add_func("/passthrough-file/node-alignment", test_node_alignment);

    return g_test_run();
}
