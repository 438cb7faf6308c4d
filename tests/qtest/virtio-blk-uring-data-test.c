/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest of virtio-blk-uring: data through the rings, doorbells, durability
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "standard-headers/linux/virtio_blk.h"
#include "libqos/virtio-blk-uring-disk.h"

static void test_read(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    uint32_t size;

    qvbu_start(u, 1);
    for (size = 512; size <= 1 * MiB; size *= 2) {
        uint64_t mem = qvbu_mem_new(u, size + 512, 1);

        qvbu_disk_fill(data, 3 * size, size, size);
        g_assert_cmpint(qvbu_rw(&u->rings[0], IORING_OP_READV, 3 * size, mem,
                                size), ==, size);
        qvbu_mem_check(u, mem, size, size);
        guest_free(alloc, mem);
    }
    qvbu_cleanup(u);
}

static void test_write(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    uint32_t size;

    qvbu_start(u, 1);
    for (size = 512; size <= 1 * MiB; size *= 2) {
        uint64_t mem = qvbu_mem_new(u, size, size);

        g_assert_cmpint(qvbu_rw(&u->rings[0], IORING_OP_WRITEV, 3 * size, mem,
                                size), ==, size);
        qvbu_disk_check(data, 3 * size, size, size);
        /* What lies behind has stayed as it was. */
        qvbu_disk_check_zero(data, 4 * size, 512);
        guest_free(alloc, mem);
    }
    qvbu_cleanup(u);
}

static void test_segments(void *obj, void *data, QGuestAllocator *alloc)
{
    static const uint32_t len[] = { 512, 4096, 1024, 65536, 2048, 512 };
    QVirtioBlkUring *u = obj;
    QVBURing *r = &u->rings[0];
    uint64_t gpa[ARRAY_SIZE(len)];
    struct io_uring_sqe sqe;
    uint64_t offset = 1 * MiB;
    uint32_t total = 0;
    unsigned i;

    qvbu_start(u, 1);
    for (i = 0; i < ARRAY_SIZE(len); i++) {
        gpa[i] = qvbu_mem_new(u, len[i], i);
        total += len[i];
    }
    qvbu_prep_rw(r, &sqe, IORING_OP_WRITEV, offset, gpa, len,
                 ARRAY_SIZE(len));
    g_assert_cmpint(qvbu_do(r, &sqe), ==, total);
    for (i = 0; i < ARRAY_SIZE(len); i++) {
        qvbu_disk_check(data, offset, len[i], i);
        qvbu_disk_fill(data, offset, len[i], i + 50);
        offset += len[i];
    }

    qvbu_prep_rw(r, &sqe, IORING_OP_READV, 1 * MiB, gpa, len,
                 ARRAY_SIZE(len));
    g_assert_cmpint(qvbu_do(r, &sqe), ==, total);
    for (i = 0; i < ARRAY_SIZE(len); i++) {
        qvbu_mem_check(u, gpa[i], len[i], i + 50);
    }
    qvbu_cleanup(u);
}

/* As many as are in flight at most, three times over, in any order */
static void test_many(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    QVBURing *r = &u->rings[0];
    const uint32_t len = 4096;
    g_autofree bool *seen = NULL;
    unsigned n, i, done = 0;

    qvbu_start(u, 1);
    n = 3 * u->desc.cq_entries;
    seen = g_new0(bool, n);
    for (i = 0; i < n; i++) {
        struct io_uring_sqe sqe;
        uint64_t mem, which;

        if (i - done == u->desc.cq_entries) {
            g_assert_cmpint(qvbu_reap(r, &which), ==, len);
            g_assert_cmpuint(which, <, i);
            g_assert_false(seen[which]);
            seen[which] = true;
            done++;
        }
        mem = qvbu_mem_new(u, len, i);
        qvbu_prep_rw(r, &sqe, IORING_OP_WRITEV, i * len, &mem, &len, 1);
        sqe.user_data = i;
        qvbu_queue_sqe(r, &sqe);
        qvbu_publish(r);
        if (qvbu_asleep(r)) {
            qvbu_doorbell(r);
        }
    }
    while (done < n) {
        uint64_t which;

        g_assert_cmpint(qvbu_reap(r, &which), ==, len);
        g_assert_cmpuint(which, <, n);
        g_assert_false(seen[which]);
        seen[which] = true;
        done++;
    }
    g_assert_false(qvbu_has_cqe(r));
    for (i = 0; i < n; i++) {
        qvbu_disk_check(data, i * len, len, i);
    }
    qvbu_cleanup(u);
}

/* Doorbells */

/* What is in the SQ is left there. */
static bool stays_untaken(QVBURing *r)
{
    gint64 end = g_get_monotonic_time() + G_USEC_PER_SEC / 10;

    do {
        if (qvbu_has_cqe(r) ||
            qvbu_ring_read(r, r->u->desc.sq_head) == r->sq_tail) {
            return false;
        }
    } while (g_get_monotonic_time() < end);
    return true;
}

static void test_doorbell(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    QVBURing *r = &u->rings[0];
    const uint32_t len = 4096;
    struct io_uring_sqe sqe;
    uint64_t mem, at;
    unsigned tries;

    qvbu_start(u, 1);
    qvbu_check_ring(r, data);
    mem = qvbu_mem_new(u, len, 1);
    for (tries = 0; ; tries++) {
        at = 65536 + tries * len;
        qvbu_await(qvbu_asleep(r));
        qvbu_prep_rw(r, &sqe, IORING_OP_WRITEV, at, &mem, &len, 1);
        qvbu_queue_sqe(r, &sqe);
        qvbu_publish(r);
        if (stays_untaken(r)) {
            break;
        }
        /* An earlier doorbell came late, or the thread was not asleep yet. */
        g_assert_cmpuint(tries, <, 20);
        g_assert_cmpint(qvbu_reap(r, NULL), ==, len);
    }
    qvbu_disk_check_zero(data, at, len);

    qvbu_doorbell(r);
    g_assert_cmpint(qvbu_reap(r, NULL), ==, len);
    qvbu_disk_check(data, at, len, 1);
    qvbu_cleanup(u);
}

/* The flag is in memory that the guest can write: it must not be asked. */
static void test_doorbell_without_flag(void *obj, void *data,
                                       QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    QVBURing *r = &u->rings[0];

    qvbu_start(u, 1);
    qvbu_check_ring(r, data);
    qvbu_await(qvbu_asleep(r));
    qvbu_ring_write(r, u->desc.sq_flags, 0);
    qvbu_check_ring(r, data);
    qvbu_cleanup(u);
}

/* Doorbells come in by the write itself, by an eventfd, in another thread. */
static void test_doorbell_route(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    unsigned i;

    qvbu_start(u, 1);
    for (i = 0; i < 3; i++) {
        qvbu_await(qvbu_asleep(&u->rings[0]));
        qvbu_check_ring(&u->rings[0], data);
        qvbu_check_virtqueue(&u->rings[0], data);
    }
    qvbu_renegotiate(u, 1);
    g_assert_cmpuint(qvbu_activate(u), ==, VIRTIO_BLK_URING_RING);
    qvbu_check_ring(&u->rings[0], data);
    qvbu_cleanup(u);
}

/* Several queues */

static void test_queues(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    unsigned i, k;

    qvbu_start(u, 4);
    for (i = 0; i < u->nrings; i++) {
        qvbu_check_ring(&u->rings[i], data);
        for (k = 0; k < u->nrings; k++) {
            g_assert_false(qvbu_has_cqe(&u->rings[k]));
            g_assert_cmpuint(qvbu_query_counter(u, k, "submitted"), ==,
                             k <= i ? 2 : 0);
        }
    }
    g_assert_cmpuint(qvbu_sqpoll_threads(u), ==, 1);
    qvbu_cleanup(u);
}

static void test_thread_per_ring(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    unsigned i;

    qvbu_start(u, 3);
    /* A thread has its name when it first runs. */
    qvbu_await(qvbu_sqpoll_threads(u) >= 3);
    g_assert_cmpuint(qvbu_sqpoll_threads(u), ==, 3);
    for (i = 0; i < u->nrings; i++) {
        qvbu_check_ring(&u->rings[i], data);
    }
    qvbu_cleanup(u);
}

/* Durability */

/* Something else may flush at any moment, the kernel for instance. */
static void write_dirty(QVBURing *r, QVBUDisk *disk, uint64_t mem)
{
    unsigned tries = 0;

    do {
        g_assert_cmpuint(tries++, <, 20);
        g_assert_cmpint(qvbu_rw(r, IORING_OP_WRITEV, 0, mem, 65536), ==,
                        65536);
    } while (!qvbu_disk_dirty_pages(disk, 0, 65536));
}

static void test_fsync(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    QVBURing *r = &u->rings[0];
    struct io_uring_sqe sqe;
    uint64_t mem;

    if (!qvbu_disk_can_tell_dirty(data)) {
        return;
    }
    qvbu_start(u, 1);
    mem = qvbu_mem_new(u, 65536, 1);
    write_dirty(r, data, mem);

    qvbu_prep_fsync(&sqe);
    g_assert_cmpint(qvbu_do(r, &sqe), ==, 0);
    g_assert_cmpuint(qvbu_disk_dirty_pages(data, 0, 65536), ==, 0);
    qvbu_cleanup(u);
}

/* The block layer has not seen the write; its flush has to work even so. */
static void test_flush_by_virtqueue(void *obj, void *data,
                                    QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    QVBURing *r = &u->rings[0];
    uint64_t mem;
    unsigned i;

    if (!qvbu_disk_can_tell_dirty(data)) {
        return;
    }
    qvbu_start(u, 1);
    mem = qvbu_mem_new(u, 65536, 1);
    /* Twice, since it could be that only the first flush is a real one. */
    for (i = 0; i < 2; i++) {
        write_dirty(r, data, mem);
        g_assert_cmpuint(qvbu_virtqueue_request(r, VIRTIO_BLK_T_FLUSH, 0, 0,
                                                0), ==, VIRTIO_BLK_S_OK);
        g_assert_cmpuint(qvbu_disk_dirty_pages(data, 0, 65536), ==, 0);
    }
    qvbu_cleanup(u);
}

/* Nor did it see what a ring wrote that is gone since. */
static void test_flush_after_suspend(void *obj, void *data,
                                     QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    QVBURing *r = &u->rings[0];
    uint64_t mem;

    if (!qvbu_disk_can_tell_dirty(data)) {
        return;
    }
    qvbu_start(u, 1);
    mem = qvbu_mem_new(u, 65536, 1);
    g_assert_cmpint(qvbu_rw(r, IORING_OP_WRITEV, 0, mem, 65536), ==, 65536);
    qvbu_set_passthrough(u, false);
    qvbu_await_state(u, VIRTIO_BLK_URING_SUSPENDING);
    g_assert_cmpuint(qvbu_command(u, VIRTIO_BLK_URING_CMD_SUSPENDED), ==,
                     VIRTIO_BLK_URING_VIRTQUEUE);

    g_assert_cmpuint(qvbu_virtqueue_request(r, VIRTIO_BLK_T_FLUSH, 0, 0, 0),
                     ==, VIRTIO_BLK_S_OK);
    g_assert_cmpuint(qvbu_disk_dirty_pages(data, 0, 65536), ==, 0);
    qvbu_cleanup(u);
}

/* FUA */
static void test_dsync(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    QVBURing *r = &u->rings[0];
    uint32_t len = 65536;
    struct io_uring_sqe sqe;
    uint64_t mem;

    if (!qvbu_disk_can_tell_dirty(data)) {
        return;
    }
    qvbu_start(u, 1);
    mem = qvbu_mem_new(u, len, 1);
    qvbu_prep_rw(r, &sqe, IORING_OP_WRITEV, 0, &mem, &len, 1);
    sqe.rw_flags = RWF_DSYNC;
    g_assert_cmpint(qvbu_do(r, &sqe), ==, len);
    g_assert_cmpuint(qvbu_disk_dirty_pages(data, 0, len), ==, 0);
    qvbu_cleanup(u);
}

/* Without a write cache, each write is durable. */
static void test_no_write_cache(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    uint64_t mem;

    if (!qvbu_disk_can_tell_dirty(data)) {
        return;
    }
    qvbu_start(u, 1);
    mem = qvbu_mem_new(u, 65536, 1);
    g_assert_cmpint(qvbu_rw(&u->rings[0], IORING_OP_WRITEV, 0, mem, 65536),
                    ==, 65536);
    g_assert_cmpuint(qvbu_disk_dirty_pages(data, 0, 65536), ==, 0);
    qvbu_cleanup(u);
}

/* A host block device instead of a file, and with larger blocks */

static char *loop;

static void *host_device_before(GString *cmd_line, void *arg)
{
    QVBUDisk *disk = qvbu_disk_new();

    g_free(loop);
    loop = qvbu_loop_new(disk, 4096);
    g_string_append_printf(cmd_line, " -drive if=none,id=drive0,file=%s,"
                           "format=raw,cache=none ", loop ?: disk->path);
    return disk;
}

static void test_host_device(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    QVBURing *r = &u->rings[0];
    uint64_t mem;

    if (!loop) {
        return;
    }
    qvbu_start(u, 1);
    g_assert_cmpuint(qvbu_get(u, offset_align), ==, 4096);
    qvbu_check_ring(r, data);
    mem = qvbu_mem_new(u, 512, 1);
    g_assert_cmpint(qvbu_rw(r, IORING_OP_READV, 0, mem, 512), ==, -EINVAL);
    qvbu_check_ring(r, data);
    qvbu_cleanup(u);
}

/* The same; the kernel has to split what is larger than 64 KiB. */
static void *small_requests_before(GString *cmd_line, void *arg)
{
    QVBUDisk *disk = host_device_before(cmd_line, arg);
    g_autofree char *path = NULL;
    int fd;

    if (loop) {
        path = g_strdup_printf("/sys/block/%s/queue/max_sectors_kb",
                               loop + strlen("/dev/"));
        fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, "64", 2) != 2) {
            g_clear_pointer(&loop, g_free);
            g_test_skip("needs a /sys that can be written to");
        }
        if (fd >= 0) {
            close(fd);
        }
    }
    return disk;
}

/* A guest is told to keep its requests as small as the host's disk wants. */
static void test_max_bytes(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    uint64_t mem;

    if (!loop) {
        return;
    }
    qvbu_start(u, 1);
    g_assert_cmpuint(qvbu_get(u, max_bytes), ==, 64 * 1024);
    mem = qvbu_mem_new(u, 64 * 1024, 1);
    g_assert_cmpint(qvbu_rw(&u->rings[0], IORING_OP_WRITEV, 0, mem, 64 * 1024),
                    ==, 64 * 1024);
    qvbu_disk_check(data, 0, 64 * 1024, 1);
    qvbu_cleanup(u);
}

static void test_direct(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;

    qvbu_start(u, 1);
    qvbu_check_ring(&u->rings[0], data);
    qvbu_cleanup(u);
}

/* Beside the rings */

static uint64_t block_stat(QVirtioBlkUring *u, const char *key)
{
    g_autoptr(QDict) reply = qtest_qmp(u->qts,
                                       "{ 'execute': 'query-blockstats' }");
    QListEntry *entry;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(reply, "return"), entry) {
        QDict *info = qobject_to(QDict, qlist_entry_obj(entry));

        if (!g_strcmp0(qdict_get_try_str(info, "device"), "drive0")) {
            return qdict_get_int(qdict_get_qdict(info, "stats"), key);
        }
    }
    g_assert_not_reached();
}

/* Each way counts its own requests, and counts them exactly. */
static void test_counters(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    QVBURing *r = &u->rings[0];
    struct io_uring_sqe sqe;
    uint64_t mem;
    unsigned i;

    qvbu_start(u, 1);
    mem = qvbu_mem_new(u, 4096, 1);
    for (i = 0; i < 100; i++) {
        g_assert_cmpint(qvbu_rw(r, IORING_OP_WRITEV, 0, mem, 4096), ==, 4096);
    }
    qvbu_prep_fsync(&sqe);
    g_assert_cmpint(qvbu_do(r, &sqe), ==, 0);
    for (i = 0; i < 7; i++) {
        qvbu_check_virtqueue(r, data);
    }

    g_assert_cmpuint(qvbu_query_counter(u, 0, "submitted"), ==, 101);
    g_assert_cmpuint(qvbu_query_counter(u, 0, "completed"), ==, 101);
    g_assert_cmpuint(qvbu_query_counter(u, 0, "in-flight"), ==, 0);
    g_assert_cmpuint(qvbu_query_counter(u, 0, "doorbells"), >=, 101);
    g_assert_cmpuint(block_stat(u, "wr_operations"), ==, 7);
    g_assert_cmpuint(block_stat(u, "flush_operations"), ==, 0);

    /* They outlive a ring. */
    qvbu_renegotiate(u, 1);
    g_assert_cmpuint(qvbu_activate(u), ==, VIRTIO_BLK_URING_RING);
    g_assert_cmpint(qvbu_rw(r, IORING_OP_WRITEV, 0, mem, 4096), ==, 4096);
    g_assert_cmpuint(qvbu_query_counter(u, 0, "submitted"), ==, 102);
    g_assert_cmpuint(qvbu_query_counter(u, 0, "completed"), ==, 102);
    qvbu_cleanup(u);
}

/* What a ring cannot do goes over the virtqueue while the ring runs. */
static void test_virtqueue_beside(void *obj, void *data,
                                  QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    QVBURing *r = &u->rings[0];
    uint64_t mem;
    char serial[VIRTIO_BLK_ID_BYTES + 1] = "";

    qvbu_start(u, 1);
    mem = qvbu_mem_new(u, 4096, 1);
    g_assert_cmpint(qvbu_rw(r, IORING_OP_WRITEV, 0, mem, 4096), ==, 4096);
    qvbu_mem_fill(u, mem, 4096, 2);
    g_assert_cmpuint(qvbu_virtqueue_request(r, VIRTIO_BLK_T_IN, 0, mem, 4096),
                     ==, VIRTIO_BLK_S_OK);
    qvbu_mem_check(u, mem, 4096, 1);

    g_assert_cmpuint(qvbu_virtqueue_request(r, VIRTIO_BLK_T_GET_ID, 0, mem,
                                            VIRTIO_BLK_ID_BYTES), ==,
                     VIRTIO_BLK_S_OK);
    qtest_memread(u->qts, mem, serial, VIRTIO_BLK_ID_BYTES);
    g_assert_cmpstr(serial, ==, "ring-and-virtqueue");
    qvbu_check_ring(r, data);
    qvbu_cleanup(u);
}

static void add(const char *name, QOSTestFunc func, const char *device,
                const char *drive)
{
    QOSGraphTestOptions opts = {
        .before = qvbu_disk_before,
        .arg = (void *)drive,
        .edge.extra_device_opts = device,
    };

    if (func == test_host_device) {
        opts.before = host_device_before;
    } else if (func == test_max_bytes) {
        opts.before = small_requests_before;
    }
    if (device && strstr(device, "iothread=")) {
        opts.edge.after_cmd_line = "-object iothread,id=thread0";
    }

    qos_add_test(name, "virtio-blk-uring", func, &opts);
}

static void register_tests(void)
{
    add("read", test_read, NULL, NULL);
    add("write", test_write, NULL, NULL);
    add("segments", test_segments, NULL, NULL);
    add("many", test_many, NULL, NULL);
    add("doorbell/asleep", test_doorbell, NULL, NULL);
    add("doorbell/without-flag", test_doorbell_without_flag, NULL, NULL);
    add("doorbell/ioeventfd-off", test_doorbell_route, "ioeventfd=off", NULL);
    add("doorbell/iothread", test_doorbell_route, "iothread=thread0", NULL);
    add("queues/separate", test_queues, "num-queues=2,poll-queues=2", NULL);
    add("queues/thread-per-ring", test_thread_per_ring,
        "num-queues=3,sqpoll-threads=0", NULL);
    add("fsync", test_fsync, NULL, NULL);
    add("flush/virtqueue", test_flush_by_virtqueue, NULL, NULL);
    add("flush/after-suspend", test_flush_after_suspend, NULL, NULL);
    add("dsync", test_dsync, NULL, NULL);
    add("no-write-cache", test_no_write_cache, "write-cache=off", NULL);
    add("direct", test_direct, NULL, "cache=none");
    add("host-device", test_host_device,
        "logical_block_size=4096,physical_block_size=4096", NULL);
    add("host-device/max-bytes", test_max_bytes,
        "logical_block_size=4096,physical_block_size=4096", NULL);
    add("counters", test_counters, NULL, NULL);
    add("virtqueue-beside", test_virtqueue_beside,
        "serial=ring-and-virtqueue", NULL);
}

libqos_init(register_tests);
