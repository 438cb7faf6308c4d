/*
 * Passthrough file: which disks a ring may be given, and how their file is
 * opened
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qobject/qdict.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "block/block.h"
#include "block/block_int.h"
#include "block/dirty-bitmap.h"
#include "block/passthrough-file.h"
#include "crypto/random.h"
#include "system/block-backend.h"

#define DISK_SIZE (1024 * 1024)

/* A file of DISK_SIZE zeroes.  The caller unlinks it. */
static char *make_disk(void)
{
    char *path = g_strdup("/var/tmp/ring-disk-XXXXXX");
    int fd = g_mkstemp_full(path, O_RDWR | O_CLOEXEC, 0600);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, DISK_SIZE), ==, 0);
    close(fd);
    return path;
}

/*
 * A drive on a new disk: @json is what -blockdev takes, with a %s for the
 * file's name.  NULL if this cannot be opened here.
 */
static BlockBackend *try_drive(const char *json, int flags, Error **errp)
{
    g_autofree char *path = make_disk();
    char *text = g_strdup_printf("json:{ \"read-only\": %s, %s }",
                                 flags & BDRV_O_RDWR ? "false" : "true", json);
    g_autofree char *marked = text;
    g_auto(GStrv) parts = g_strsplit(marked, "%s", -1);
    g_autofree char *filename = g_strjoinv(path, parts);
    BlockBackend *blk = blk_new_open(filename, NULL, NULL, flags, errp);

    unlink(path);
    return blk;
}

#define FILE_NODE "'driver': 'file', 'filename': '%s'"
#define RAW "'driver': 'raw', 'file': { " FILE_NODE " }"

static BlockBackend *drive(const char *json)
{
    return try_drive(json, BDRV_O_RDWR, &error_abort);
}

static void assert_accepted(BlockBackend *blk)
{
    g_assert_true(passthrough_file_check(blk, &error_abort));
}

/* Refused by one sentence that says @what and the way out. */
static void assert_refused(BlockBackend *blk, const char *what)
{
    Error *err = NULL;

    g_assert_false(passthrough_file_check(blk, &err));
    g_test_message("%s", error_get_pretty(err));
    g_assert_nonnull(strstr(error_get_pretty(err), what));
    g_assert_null(strchr(error_get_pretty(err), '\n'));
    error_free(err);
}

static void test_accept(const void *json)
{
    BlockBackend *blk = drive(json);

    assert_accepted(blk);
    blk_unref(blk);
}

typedef struct Refusal {
    const char *name;
    const char *json;
    const char *what;
} Refusal;

static const Refusal refusals[] = {
    { "offset", "'offset': 65536, " RAW, "offset=" },
    { "size", "'size': 65536, " RAW, "size=" },
    { "detect-zeroes", "'detect-zeroes': 'on', " RAW, "detect-zeroes=off" },
    { "detect-zeroes-below", "'driver': 'raw', 'file': { "
      "'detect-zeroes': 'on', " FILE_NODE " }", "detect-zeroes=off" },
    { "copy-on-read-filter", "'driver': 'copy-on-read', 'file': { " RAW " }",
      "'copy-on-read' filter" },
    { "blkdebug", "'driver': 'blkdebug', 'image': { " RAW " }",
      "'blkdebug' filter" },
    { "filter-below", "'driver': 'raw', 'file': { 'driver': 'blkdebug', "
      "'image': { " FILE_NODE " } }", "raw on 'blkdebug'" },
    { "raw-on-raw", "'driver': 'raw', 'file': { " RAW " }", "raw on 'raw'" },
    { "null-co", "'driver': 'null-co'", "'null-co'" },
    { "raw-on-null-co", "'driver': 'raw', 'file': { 'driver': 'null-co' }",
      "raw on 'null-co'" },
};

static void test_refuse(const void *opaque)
{
    const Refusal *refusal = opaque;
    BlockBackend *blk = drive(refusal->json);

    assert_refused(blk, refusal->what);
    blk_unref(blk);
}

static void test_refuse_no_medium(void)
{
    BlockBackend *blk = blk_new(qemu_get_aio_context(), 0, BLK_PERM_ALL);

    assert_refused(blk, "no medium");
    blk_unref(blk);
}

static void test_refuse_qcow2(void)
{
    g_autofree char *path = make_disk();
    QDict *options = qdict_new();
    BlockBackend *blk;

    bdrv_img_create(path, "qcow2", NULL, NULL, NULL, DISK_SIZE,
                    BDRV_O_RDWR, true, &error_abort);
    qdict_put_str(options, "driver", "qcow2");
    blk = blk_new_open(path, NULL, options, BDRV_O_RDWR, &error_abort);
    unlink(path);
    assert_refused(blk, "qemu-img convert");
    blk_unref(blk);
}

static void test_refuse_throttled(void)
{
    BlockBackend *blk = drive(RAW);

    blk_io_limits_enable(blk, "group");
    assert_refused(blk, "throttled");
    blk_io_limits_disable(blk);
    assert_accepted(blk);
    blk_unref(blk);
}

static void test_refuse_copy_on_read(void)
{
    BlockBackend *blk = drive(RAW);

    bdrv_enable_copy_on_read(blk_bs(blk));
    assert_refused(blk, "copy-on-read=off");
    bdrv_disable_copy_on_read(blk_bs(blk));
    assert_accepted(blk);
    blk_unref(blk);
}

static void refuse_bitmap_of(BlockBackend *blk, BlockDriverState *bs)
{
    BdrvDirtyBitmap *bitmap = bdrv_create_dirty_bitmap(bs, 65536, "b",
                                                       &error_abort);

    assert_refused(blk, "dirty bitmap");
    bdrv_release_dirty_bitmap(bitmap);
    assert_accepted(blk);
}

static BlockDriverState *file_node(BlockBackend *blk)
{
    GRAPH_RDLOCK_GUARD_MAINLOOP();

    return blk_bs(blk)->file->bs;
}

static void test_refuse_bitmap(void)
{
    BlockBackend *blk = drive(RAW);

    refuse_bitmap_of(blk, blk_bs(blk));
    blk_unref(blk);
}

static void test_refuse_bitmap_below(void)
{
    BlockBackend *blk = drive(RAW);

    refuse_bitmap_of(blk, file_node(blk));
    blk_unref(blk);
}

/* Opening */

static int open_flags(BlockBackend *blk, bool writable)
{
    PassthroughFile *file;
    int flags;

    assert_accepted(blk);
    file = passthrough_file_open(blk, writable, &error_abort);
    g_assert_cmpint(passthrough_file_is_readonly(file), ==, !writable);
    flags = fcntl(passthrough_file_fd(file), F_GETFL);
    g_assert_cmpint(flags, >=, 0);
    g_assert_cmpint(fcntl(passthrough_file_fd(file), F_GETFD), ==, FD_CLOEXEC);
    passthrough_file_wait_unused(file);
    return flags;
}

static void test_open_writable(void)
{
    BlockBackend *blk = drive(RAW);

    g_assert_cmpint(open_flags(blk, true) & O_ACCMODE, ==, O_RDWR);
    blk_unref(blk);
}

static void test_open_readonly(void)
{
    BlockBackend *blk = try_drive(RAW, 0, &error_abort);

    g_assert_cmpint(open_flags(blk, false) & O_ACCMODE, ==, O_RDONLY);
    blk_unref(blk);
}

/* A read-only device on a writable node. */
static void test_open_readonly_of_writable(void)
{
    BlockBackend *blk = drive(RAW);

    g_assert_cmpint(open_flags(blk, false) & O_ACCMODE, ==, O_RDONLY);
    blk_unref(blk);
}

static void test_open_buffered(void)
{
    BlockBackend *blk = drive(RAW);

    g_assert_cmpint(open_flags(blk, true) & O_DIRECT, ==, 0);
    blk_unref(blk);
}

static void test_open_direct(void)
{
    BlockBackend *blk;
    Error *err = NULL;

    blk = try_drive("'cache': { 'direct': true }, " RAW, BDRV_O_RDWR, &err);
    if (!blk) {
        g_test_skip("O_DIRECT (not on the file system of /var/tmp)");
        error_free(err);
        return;
    }
    if (blk_bs(blk)->bl.request_alignment > 512) {
        g_test_skip("O_DIRECT by 512 bytes (not on the disk of /var/tmp)");
    } else {
        g_assert_cmpint(open_flags(blk, true) & O_DIRECT, ==, O_DIRECT);
    }
    blk_unref(blk);
}

/*
 * Data that a read has to ask the disk for: the first whole block of it, the
 * file being what fallocate() and write() made it.
 */
static void test_find_data(void)
{
    BlockBackend *blk = drive(RAW);
    PassthroughFile *file = passthrough_file_open(blk, true, &error_abort);
    const size_t kib = 1024;
    g_autofree char *bytes = g_malloc0(64 * kib);

    if (lseek(passthrough_file_fd(file), 0, SEEK_DATA) == 0) {
        g_test_skip("files with holes (not on the file system of /var/tmp)");
        goto out;
    }
    g_assert_cmpint(passthrough_file_find_data(file, 512), ==, -1);
    g_assert_cmpint(pwrite(passthrough_file_fd(file), bytes, 64 * kib,
                           192 * kib), ==, 64 * kib);
    g_assert_cmpint(passthrough_file_find_data(file, 512), ==, 192 * kib);
    g_assert_cmpint(passthrough_file_find_data(file, 64 * kib), ==, 192 * kib);
    /* What it has to be aligned to it does not hold. */
    g_assert_cmpint(passthrough_file_find_data(file, 128 * kib), ==, -1);
out:
    passthrough_file_wait_unused(file);
    blk_unref(blk);
}

static void test_open_writeback(void)
{
    BlockBackend *blk = drive(RAW);

    blk_set_enable_write_cache(blk, true);
    g_assert_cmpint(open_flags(blk, true) & O_DSYNC, ==, 0);
    blk_unref(blk);
}

static void test_open_writethrough(void)
{
    BlockBackend *blk = drive(RAW);

    blk_set_enable_write_cache(blk, false);
    g_assert_cmpint(open_flags(blk, true) & O_DSYNC, ==, O_DSYNC);
    blk_unref(blk);
}

static void assert_same_file(int fd, int other)
{
    struct stat a, b;

    g_assert_cmpint(fstat(fd, &a), ==, 0);
    g_assert_cmpint(fstat(other, &b), ==, 0);
    g_assert_cmpuint(a.st_dev, ==, b.st_dev);
    g_assert_cmpuint(a.st_ino, ==, b.st_ino);
}

/* The disk's name is gone (drive() unlinks it), and that does not matter. */
static void test_open_same_file(void)
{
    BlockBackend *blk = drive(RAW);
    PassthroughFile *file = passthrough_file_open(blk, true, &error_abort);

    g_assert_cmpint(passthrough_file_fd(file), !=,
                    passthrough_file_posix_fd(file_node(blk)));
    assert_same_file(passthrough_file_fd(file),
                     passthrough_file_posix_fd(file_node(blk)));
    passthrough_file_wait_unused(file);
    blk_unref(blk);
}

/* The block layer's file position and flags stay its own. */
static void test_open_own_description(void)
{
    BlockBackend *blk = drive(RAW);
    PassthroughFile *file = passthrough_file_open(blk, true, &error_abort);

    g_assert_cmpint(lseek(passthrough_file_fd(file), 12345, SEEK_SET), ==,
                    12345);
    g_assert_cmpint(lseek(passthrough_file_posix_fd(file_node(blk)), 0,
                          SEEK_CUR), !=, 12345);
    passthrough_file_wait_unused(file);
    blk_unref(blk);
}

/* Several times at once, as the rings of a reset follow each other. */
static void test_open_again(void)
{
    BlockBackend *blk = drive(RAW);
    PassthroughFile *first = passthrough_file_open(blk, true, &error_abort);
    PassthroughFile *second = passthrough_file_open(blk, true, &error_abort);

    passthrough_file_wait_unused(first);
    g_assert_cmpint(fcntl(passthrough_file_fd(second), F_GETFD), >=, 0);
    passthrough_file_wait_unused(second);
    blk_unref(blk);
}

/* The lock by which the end is told leaves QEMU's image locks alone. */
static void test_open_image_locks(void)
{
    g_autofree char *path = make_disk();
    QDict *options = qdict_new();
    PassthroughFile *file;
    BlockBackend *blk;
    Error *err = NULL;

    qdict_put_str(options, "driver", "raw");
    blk = blk_new_open(path, NULL, qdict_clone_shallow(options), BDRV_O_RDWR,
                       &error_abort);
    /* As a device has it that shares its disk with no other writer. */
    blk_set_perm(blk, BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE,
                 BLK_PERM_ALL & ~BLK_PERM_WRITE, &error_abort);
    file = passthrough_file_open(blk, true, &error_abort);
    passthrough_file_wait_unused(file);

    /* Still locked against a second writer. */
    g_assert_null(blk_new_open(path, NULL, qdict_clone_shallow(options),
                               BDRV_O_RDWR, &err));
    error_free(err);
    blk_unref(blk);
    blk = blk_new_open(path, NULL, options, BDRV_O_RDWR, &error_abort);
    blk_unref(blk);
    unlink(path);
}

int main(int argc, char **argv)
{
    module_call_init(MODULE_INIT_QOM);
    qcrypto_random_init(&error_abort);
    bdrv_init();
    qemu_init_main_loop(&error_abort);

    g_test_init(&argc, &argv, NULL);

    g_test_add_data_func("/passthrough-file/check/accept/raw", RAW,
                         test_accept);
    g_test_add_data_func("/passthrough-file/check/accept/file", FILE_NODE,
                         test_accept);
    for (int i = 0; i < ARRAY_SIZE(refusals); i++) {
        g_autofree char *path =
            g_strdup_printf("/passthrough-file/check/refuse/%s",
                            refusals[i].name);

        g_test_add_data_func(path, &refusals[i], test_refuse);
    }
    g_test_add_func("/passthrough-file/check/refuse/no-medium",
                    test_refuse_no_medium);
    g_test_add_func("/passthrough-file/check/refuse/qcow2", test_refuse_qcow2);
    g_test_add_func("/passthrough-file/check/refuse/throttled",
                    test_refuse_throttled);
    g_test_add_func("/passthrough-file/check/refuse/copy-on-read",
                    test_refuse_copy_on_read);
    g_test_add_func("/passthrough-file/check/refuse/bitmap",
                    test_refuse_bitmap);
    g_test_add_func("/passthrough-file/check/refuse/bitmap-below",
                    test_refuse_bitmap_below);

    g_test_add_func("/passthrough-file/open/writable", test_open_writable);
    g_test_add_func("/passthrough-file/open/readonly", test_open_readonly);
    g_test_add_func("/passthrough-file/open/readonly-of-writable",
                    test_open_readonly_of_writable);
    g_test_add_func("/passthrough-file/open/buffered", test_open_buffered);
    g_test_add_func("/passthrough-file/open/direct", test_open_direct);
    g_test_add_func("/passthrough-file/find-data", test_find_data);
    g_test_add_func("/passthrough-file/open/writeback", test_open_writeback);
    g_test_add_func("/passthrough-file/open/writethrough",
                    test_open_writethrough);
    g_test_add_func("/passthrough-file/open/same-file", test_open_same_file);
    g_test_add_func("/passthrough-file/open/own-description",
                    test_open_own_description);
    g_test_add_func("/passthrough-file/open/again", test_open_again);
    g_test_add_func("/passthrough-file/open/image-locks",
                    test_open_image_locks);

    return g_test_run();
}
