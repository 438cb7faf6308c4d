/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an attack through virtio-blk-uring must not reach, and must not leave
 * behind, looked at from the host
 */

#include "qemu/osdep.h"
#include "../libqtest.h"
#include "qobject/qdict.h"
#include "virtio-blk-uring-attack-host.h"

/* Address spaces */

GArray *qvbu_host_maps(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/maps", pid);
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    GArray *maps;
    unsigned i;

    /* Of a process that may not be traced, the file is there but empty. */
    if (!g_file_get_contents(path, &text, NULL, NULL) || !text[0]) {
        return NULL;
    }
    maps = g_array_new(false, false, sizeof(QVBURange));
    lines = g_strsplit(text, "\n", -1);
    for (i = 0; lines[i]; i++) {
        uint64_t start, end;
        char protection[5];
        QVBURange range;

        if (sscanf(lines[i], "%" SCNx64 "-%" SCNx64 " %4s", &start, &end,
                   protection) != 3 || strstr(lines[i], "[vsyscall]")) {
            continue;
        }
        range = (QVBURange) {
            .start = start,
            .size = end - start,
            .executable = protection[2] == 'x',
        };
        g_array_append_val(maps, range);
    }
    return maps;
}

static int open_memory(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/mem", pid);

    return open(path, O_RDWR | O_CLOEXEC);
}

bool qvbu_host_read(pid_t pid, uint64_t addr, void *data, size_t len)
{
    int fd = open_memory(pid);
    ssize_t n = -1;

    if (fd >= 0) {
        n = pread(fd, data, len, addr);
        close(fd);
    }
    return n == len;
}

void qvbu_host_write(pid_t pid, uint64_t addr, const void *data, size_t len)
{
    int fd = open_memory(pid);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(pwrite(fd, data, len, addr), ==, len);
    close(fd);
}

/* The canary */

void qvbu_canary_before(GString *cmd_line)
{
    g_string_append_printf(cmd_line, " -object memory-backend-ram,id=canary,"
                           "size=%d,share=off,prealloc=on ",
                           QVBU_CANARY_BYTES);
}

static void *make_canary(QVBUCanary *c)
{
    uint8_t *data = g_malloc(QVBU_CANARY_BYTES);
    unsigned i;

    for (i = 0; i < QVBU_CANARY_BYTES; i += QVBU_SECRET_BYTES) {
        memcpy(data + i, c->secret, QVBU_SECRET_BYTES);
    }
    return data;
}

/* Memory that is not plugged in has no name there. */
static uint64_t find_block(QTestState *qts, uint64_t size)
{
    g_autofree char *blocks = qtest_hmp(qts, "info ramblock");
    /* Offset, used, total, HVA */
    g_autofree char *pattern = g_strdup_printf(
        "0x%016" PRIx64 " 0x%016" PRIx64 " 0x([0-9a-f]+) ", size, size);
    g_autoptr(GRegex) regex = g_regex_new(pattern, 0, 0, NULL);
    g_autoptr(GMatchInfo) match = NULL;
    g_autofree char *address = NULL;

    if (!g_regex_match(regex, blocks, 0, &match)) {
        g_error("no %" PRIu64 " bytes in: %s", size, blocks);
    }
    address = g_match_info_fetch(match, 1);
    return g_ascii_strtoull(address, NULL, 16);
}

void qvbu_canary_init(QVBUCanary *c, QTestState *qts, uint64_t seed)
{
    g_autofree void *data = NULL;
    unsigned i;

    c->addr = find_block(qts, QVBU_CANARY_BYTES);
    c->pid = qtest_pid(qts);
    for (i = 0; i < QVBU_SECRET_BYTES; i++) {
        /* No byte is 0, so that no hole and no empty page looks like it. */
        c->secret[i] = 0x80 | (seed >> (i % 8 * 8)) | i;
    }
    data = make_canary(c);
    qvbu_host_write(c->pid, c->addr, data, QVBU_CANARY_BYTES);
}

bool qvbu_canary_intact(QVBUCanary *c)
{
    g_autofree void *wanted = make_canary(c);
    g_autofree void *data = g_malloc(QVBU_CANARY_BYTES);

    g_assert_true(qvbu_host_read(c->pid, c->addr, data, QVBU_CANARY_BYTES));
    return !memcmp(data, wanted, QVBU_CANARY_BYTES);
}

bool qvbu_canary_leaked(QVBUCanary *c, QVBUDisk *disk)
{
    uint64_t size = lseek(disk->fd, 0, SEEK_END);
    const unsigned half = QVBU_SECRET_BYTES / 2;
    g_autofree uint8_t *data = NULL;
    uint64_t at;

    for (at = 0; at < size; ) {
        /* Sparse images may have grown beyond what memory holds. */
        off_t start = lseek(disk->fd, at, SEEK_DATA);
        const uint64_t chunk = 4 * 1024 * 1024;
        ssize_t n;

        if (start < 0) {
            break;
        }
        if (!data) {
            data = g_malloc(chunk);
        }
        n = pread(disk->fd, data, chunk, start);
        g_assert_cmpint(n, >, 0);
        if (memmem(data, n, c->secret, half) ||
            memmem(data, n, c->secret + half, half)) {
            return true;
        }
        at = start + MAX(n - half, 1);
        if (start + n == size) {
            break;
        }
    }
    return false;
}

/* Processes, threads, files */

typedef struct Process {
    char comm[32];
    int parent;
} Process;

static bool read_process(const char *path, Process *p)
{
    g_autofree char *text = NULL;
    char *end;

    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        return false;
    }
    /* "PID (COMM) STATE PPID ...", and COMM may hold anything */
    end = strrchr(text, ')');
    return sscanf(text, "%*d (%31[^)]", p->comm) == 1 && end &&
           sscanf(end, ") %*c %d", &p->parent) == 1;
}

static unsigned count_entries(pid_t pid, const char *what)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/%s", pid, what);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    unsigned n = 0;

    g_assert_nonnull(dir);
    while (g_dir_read_name(dir)) {
        n++;
    }
    return n;
}

static unsigned count_ring_threads(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/task", pid);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *tid;
    unsigned n = 0;

    g_assert_nonnull(dir);
    while ((tid = g_dir_read_name(dir))) {
        g_autofree char *file = g_strdup_printf("%s/%s/stat", path, tid);
        Process p;

        n += read_process(file, &p) && g_str_has_prefix(p.comm, "iou-");
    }
    return n;
}

unsigned qvbu_jails(pid_t pid)
{
    g_autoptr(GDir) dir = g_dir_open("/proc", 0, NULL);
    const char *name;
    unsigned n = 0;

    g_assert_nonnull(dir);
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *file = g_strdup_printf("/proc/%s/stat", name);
        Process p;

        n += g_ascii_isdigit(name[0]) && read_process(file, &p) &&
             p.parent == pid && !strcmp(p.comm, "qemu-ring-jail");
    }
    return n;
}

pid_t qvbu_jail_pid(QVirtioBlkUring *u)
{
    g_autoptr(QDict) path = qvbu_query_path(u);

    return qdict_get_try_int(path, "jail-pid", 0);
}

void qvbu_holdings(QVBUHoldings *h, pid_t pid)
{
    *h = (QVBUHoldings) {
        .files = count_entries(pid, "fd"),
        .threads = count_entries(pid, "task"),
        .ring_threads = count_ring_threads(pid),
        .jails = qvbu_jails(pid),
    };
}

void qvbu_await_holdings(const QVBUHoldings *before, pid_t pid)
{
    gint64 end = g_get_monotonic_time() + QVBU_TIMEOUT_US;

    for (;;) {
        QVBUHoldings now;

        qvbu_holdings(&now, pid);
        if (now.files <= before->files && now.threads <= before->threads &&
            now.ring_threads <= before->ring_threads &&
            now.jails <= before->jails) {
            return;
        }
        if (g_get_monotonic_time() > end) {
            g_error("QEMU has %u files (before: %u), %u threads (%u), %u "
                    "threads of rings (%u), %u jails (%u)", now.files,
                    before->files, now.threads, before->threads,
                    now.ring_threads, before->ring_threads, now.jails,
                    before->jails);
        }
        g_usleep(1000);
    }
}

/* The kernel's log */

int qvbu_kernel_log_open(void)
{
    char record[8192];
    int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

    /* Reading may be forbidden where opening is not. */
    if (fd >= 0 && lseek(fd, 0, SEEK_END) == 0 &&
        (read(fd, record, sizeof(record)) >= 0 || errno == EAGAIN ||
         errno == EPIPE)) {
        return fd;
    }
    if (fd >= 0) {
        close(fd);
    }
    g_test_message("/dev/kmsg cannot be read: nobody looks whether the host "
                   "kernel complains");
    return -1;
}

void qvbu_kernel_log_check(int fd)
{
    static const char *const complaints[] = {
        "BUG:", "WARNING:", "Oops", "general protection", "kernel BUG",
        "KASAN", "KCSAN", "UBSAN", "refcount_t", "list_add corruption",
        "list_del corruption", "soft lockup", "hard LOCKUP",
        "detected stall",
    };
    char record[8192 + 1];
    unsigned i;
    ssize_t n;

    if (fd < 0) {
        return;
    }
    for (;;) {
        n = read(fd, record, sizeof(record) - 1);
        if (n < 0 && errno == EPIPE) {
            continue;           /* The log was faster, and went over some. */
        }
        if (n <= 0) {
            break;
        }
        record[n] = '\0';
        for (i = 0; i < ARRAY_SIZE(complaints); i++) {
            if (strstr(record, complaints[i])) {
                g_error("the host kernel says: %s", record);
            }
        }
    }
    close(fd);
}
