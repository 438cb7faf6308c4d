/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the tests of virtio-blk-uring look at from the host's side: the image
 * file, its page cache, QEMU's threads and open files
 */

#include "qemu/osdep.h"
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include "../libqtest.h"
#include "qemu/bswap.h"
#include "qemu/ctype.h"
#include "qemu/cutils.h"
#include "qobject/qbool.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "qobject/qnum.h"
#include "qobject/qstring.h"
#include "standard-headers/linux/virtio_blk.h"
#include "virtio-blk-uring-disk.h"

/* The same for all architectures; newer than some C libraries' headers */
#define SYSCALL_CACHESTAT 451

static void disk_free(void *opaque)
{
    QVBUDisk *disk = opaque;

    close(disk->fd);
    unlink(disk->path);
    g_free(disk->path);
    g_free(disk);
    /* The next test has another image, even if its name comes again. */
    qos_invalidate_command_line();
}

QVBUDisk *qvbu_disk_new(void)
{
    QVBUDisk *disk = g_new0(QVBUDisk, 1);

    disk->fd = g_file_open_tmp("qtest-vbu.XXXXXX", &disk->path, NULL);
    g_assert_cmpint(disk->fd, >=, 0);
    /* QEMU's open files are counted. */
    qemu_set_cloexec(disk->fd);
    g_assert_cmpint(ftruncate(disk->fd, QVBU_DISK_BYTES), ==, 0);
    g_test_queue_destroy(disk_free, disk);
    return disk;
}

void *qvbu_disk_before(GString *cmd_line, void *arg)
{
    QVBUDisk *disk = qvbu_disk_new();
    const char *more = arg;

    g_string_append_printf(cmd_line, " -drive if=none,id=drive0,"
                           "node-name=node0,file=%s,format=raw,"
                           "auto-read-only=off%s%s ", disk->path,
                           more ? "," : "", more ?: "");
    return disk;
}

static void close_loop(void *opaque)
{
    /* Nobody else having it open, the device is taken apart. */
    close(GPOINTER_TO_INT(opaque));
    qos_invalidate_command_line();
}

char *qvbu_loop_new(QVBUDisk *disk, unsigned block_size)
{
    struct loop_config config = {
        .fd = disk->fd,
        .block_size = block_size,
        .info.lo_flags = LO_FLAGS_AUTOCLEAR,
    };
    g_autofree char *path = NULL;
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    int number = -1, fd = -1;

    if (control >= 0) {
        number = ioctl(control, LOOP_CTL_GET_FREE);
        close(control);
    }
    if (number >= 0) {
        path = g_strdup_printf("/dev/loop%d", number);
        fd = open(path, O_RDWR | O_CLOEXEC);
    }
    if (fd < 0 || ioctl(fd, LOOP_CONFIGURE, &config) < 0) {
        g_test_skip("needs a loop device, and root to set it up");
        if (fd >= 0) {
            close(fd);
        }
        return NULL;
    }
    g_test_queue_destroy(close_loop, GINT_TO_POINTER(fd));
    return g_steal_pointer(&path);
}

/* Different in each 32-bit word, so that a misplaced byte is noticed */
static void make_pattern(uint32_t *words, uint32_t len, uint32_t seed)
{
    uint32_t i;

    for (i = 0; i < len / sizeof(*words); i++) {
        words[i] = cpu_to_le32(seed * 0x9e3779b9u + i * 0x01000193u);
    }
}

static void check_pattern(const void *data, uint32_t len, uint32_t seed)
{
    g_autofree void *wanted = g_malloc(len);

    make_pattern(wanted, len, seed);
    g_assert_cmpmem(data, len, wanted, len);
}

void qvbu_disk_fill(QVBUDisk *disk, uint64_t offset, uint32_t len,
                    uint32_t seed)
{
    g_autofree void *data = g_malloc(len);

    make_pattern(data, len, seed);
    g_assert_cmpint(pwrite(disk->fd, data, len, offset), ==, len);
}

void qvbu_disk_check(QVBUDisk *disk, uint64_t offset, uint32_t len,
                     uint32_t seed)
{
    g_autofree void *data = g_malloc(len);

    g_assert_cmpint(pread(disk->fd, data, len, offset), ==, len);
    check_pattern(data, len, seed);
}

void qvbu_disk_check_zero(QVBUDisk *disk, uint64_t offset, uint32_t len)
{
    g_autofree void *data = g_malloc(len);

    g_assert_cmpint(pread(disk->fd, data, len, offset), ==, len);
    g_assert_true(buffer_is_zero(data, len));
}

void qvbu_mem_fill(QVirtioBlkUring *u, uint64_t gpa, uint32_t len,
                   uint32_t seed)
{
    g_autofree void *data = g_malloc(len);

    make_pattern(data, len, seed);
    qtest_bufwrite(u->qts, gpa, data, len);
}

void qvbu_mem_check(QVirtioBlkUring *u, uint64_t gpa, uint32_t len,
                    uint32_t seed)
{
    g_autofree void *data = g_malloc(len);

    qtest_bufread(u->qts, gpa, data, len);
    check_pattern(data, len, seed);
}

bool qvbu_mem_is(QVirtioBlkUring *u, uint64_t gpa, uint32_t len, uint8_t byte)
{
    g_autofree uint8_t *data = g_malloc(len);

    qtest_bufread(u->qts, gpa, data, len);
    return data[0] == byte && !memcmp(data, data + 1, len - 1);
}

uint64_t qvbu_mem_new(QVirtioBlkUring *u, uint32_t len, uint32_t seed)
{
    uint64_t gpa = guest_alloc(u->alloc, len);

    qvbu_mem_fill(u, gpa, len, seed);
    return gpa;
}

void qvbu_check_virtqueue(QVBURing *r, QVBUDisk *disk)
{
    static uint32_t seed = 0x100000;
    uint64_t mem = qvbu_mem_new(r->u, 4096, ++seed);

    g_assert_cmpuint(qvbu_virtqueue_request(r, VIRTIO_BLK_T_OUT, 8, mem, 4096),
                     ==, VIRTIO_BLK_S_OK);
    qvbu_disk_check(disk, 8 * 512, 4096, seed);
    guest_free(r->u->alloc, mem);
}

void qvbu_check_ring(QVBURing *r, QVBUDisk *disk)
{
    static uint32_t seed = 0x200000;
    uint64_t mem = qvbu_mem_new(r->u, 4096, ++seed);

    g_assert_cmpint(qvbu_rw(r, IORING_OP_WRITEV, 8192, mem, 4096), ==, 4096);
    qvbu_disk_check(disk, 8192, 4096, seed);

    qvbu_disk_fill(disk, 8192, 4096, ++seed);
    g_assert_cmpint(qvbu_rw(r, IORING_OP_READV, 8192, mem, 4096), ==, 4096);
    qvbu_mem_check(r->u, mem, 4096, seed);
    guest_free(r->u->alloc, mem);
}

void qvbu_check_activation(QVirtioBlkUring *u, QVBUDisk *disk)
{
    unsigned i;

    g_assert_true(qvbu_activatable(u));
    g_assert_cmpuint(qvbu_activate(u), ==, VIRTIO_BLK_URING_RING);
    for (i = 0; i < u->nrings; i++) {
        qvbu_check_ring(&u->rings[i], disk);
    }
}

/* cachestat(), Linux 6.5, as C libraries do not have it yet */
typedef struct CacheRange {
    uint64_t off;
    uint64_t len;
} CacheRange;

typedef struct CacheStat {
    uint64_t cache;
    uint64_t dirty;
    uint64_t writeback;
    uint64_t evicted;
    uint64_t recently_evicted;
} CacheStat;

static int get_cachestat(QVBUDisk *disk, uint64_t offset, uint32_t len,
                         CacheStat *stat)
{
    CacheRange range = { .off = offset, .len = len };

    return syscall(SYSCALL_CACHESTAT, disk->fd, &range, stat, 0);
}

unsigned qvbu_disk_dirty_pages(QVBUDisk *disk, uint64_t offset, uint32_t len)
{
    CacheStat stat;

    g_assert_cmpint(get_cachestat(disk, offset, len, &stat), ==, 0);
    return stat.dirty + stat.writeback;
}

bool qvbu_disk_can_tell_dirty(QVBUDisk *disk)
{
    uint64_t last = QVBU_DISK_BYTES - 4096;
    CacheStat stat;

    if (get_cachestat(disk, last, 4096, &stat) < 0) {
        g_test_skip("needs cachestat() (Linux 6.5) to see the page cache");
        return false;
    }
    qvbu_disk_fill(disk, last, 4096, 1);
    g_assert_cmpint(fdatasync(disk->fd), ==, 0);
    if (qvbu_disk_dirty_pages(disk, last, 4096)) {
        g_test_skip("needs TMPDIR on a disk: this file system's pages are "
                    "always dirty");
        return false;
    }
    return true;
}

static unsigned count_sqpoll(const char *pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%s/task", pid);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *tid;
    unsigned n = 0;

    /* It may end while it is looked at. */
    while (dir && (tid = g_dir_read_name(dir))) {
        g_autofree char *file = g_build_filename(path, tid, "comm", NULL);
        g_autofree char *comm = NULL;

        if (g_file_get_contents(file, &comm, NULL, NULL)) {
            n += g_str_has_prefix(comm, "iou-sqp-");
        }
    }
    return n;
}

static bool is_child(const char *pid, pid_t parent)
{
    g_autofree char *path = g_strdup_printf("/proc/%s/status", pid);
    g_autofree char *line = g_strdup_printf("\nPPid:\t%d\n", parent);
    g_autofree char *status = NULL;

    return g_file_get_contents(path, &status, NULL, NULL) &&
           strstr(status, line);
}

unsigned qvbu_sqpoll_threads(QVirtioBlkUring *u)
{
    g_autofree char *qemu = g_strdup_printf("%d", qtest_pid(u->qts));
    g_autoptr(GDir) dir = g_dir_open("/proc", 0, NULL);
    unsigned n = count_sqpoll(qemu);
    const char *pid;

    g_assert_nonnull(dir);
    while ((pid = g_dir_read_name(dir))) {
        if (qemu_isdigit(*pid) && is_child(pid, qtest_pid(u->qts))) {
            n += count_sqpoll(pid);
        }
    }
    return n;
}

unsigned qvbu_open_files(QVirtioBlkUring *u, const char *path)
{
    g_autofree char *fds = g_strdup_printf("/proc/%d/fd", qtest_pid(u->qts));
    g_autoptr(GDir) dir = g_dir_open(fds, 0, NULL);
    const char *fd;
    unsigned n = 0;

    g_assert_nonnull(dir);
    while ((fd = g_dir_read_name(dir))) {
        g_autofree char *link = g_strdup_printf("%s/%s", fds, fd);
        g_autofree char *target = g_file_read_link(link, NULL);

        n += !g_strcmp0(target, path);
    }
    return n;
}

QDict *qvbu_query_path(QVirtioBlkUring *u)
{
    return qtest_qmp_assert_success_ref(u->qts,
                                        "{ 'execute': 'qom-get', 'arguments': {"
                                        " 'path': '/machine/peripheral/drv0',"
                                        " 'property': 'path' } }");
}

/* Element @key of ring @index in @path, which goes on owning it */
static QObject *find_in_ring(QDict *path, unsigned index, const char *key)
{
    const QListEntry *entry = qlist_first(qdict_get_qlist(path, "rings"));

    while (index--) {
        g_assert_nonnull(entry);
        entry = qlist_next(entry);
    }
    g_assert_nonnull(entry);
    return qdict_get(qobject_to(QDict, qlist_entry_obj(entry)), key);
}

/*
 * The path when what it says of ring @index is the kernel's word: that may be
 * too busy to say it for a while, and QEMU asks only so often.
 */
static QDict *query_kernel(QVirtioBlkUring *u, unsigned index)
{
    gint64 end = g_get_monotonic_time() + QVBU_TIMEOUT_US;

    for (;;) {
        QDict *path = qvbu_query_path(u);
        QString *source = qobject_to(QString,
                                     find_in_ring(path, index, "source"));

        if (!strcmp(qstring_get_str(source), "kernel")) {
            return path;
        }
        qobject_unref(path);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(50 * 1000);
    }
}

uint64_t qvbu_query_counter(QVirtioBlkUring *u, unsigned index,
                            const char *key)
{
    g_autoptr(QDict) path = query_kernel(u, index);
    QNum *value = qobject_to(QNum, find_in_ring(path, index, key));

    g_assert_nonnull(value);
    return qnum_get_uint(value);
}

bool qvbu_query_flag(QVirtioBlkUring *u, unsigned index, const char *key)
{
    g_autoptr(QDict) path = qvbu_query_path(u);
    QBool *value = qobject_to(QBool, find_in_ring(path, index, key));

    g_assert_nonnull(value);
    return qbool_get_bool(value);
}

void qvbu_assert_path(QVirtioBlkUring *u, const char *state,
                      const char *reason)
{
    g_autoptr(QDict) path = qvbu_query_path(u);

    g_assert_cmpstr(qdict_get_str(path, "state"), ==, state);
    g_assert_cmpstr(qdict_get_str(path, "reason"), ==, reason);
}

void qvbu_set_passthrough(QVirtioBlkUring *u, bool on)
{
    qtest_qmp_assert_success(u->qts,
                             "{ 'execute': 'qom-set', 'arguments': {"
                             " 'path': '/machine/peripheral/drv0',"
                             " 'property': 'passthrough', 'value': %s } }",
                             on ? "on" : "off");
}
