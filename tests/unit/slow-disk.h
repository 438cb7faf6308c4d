/*
 * A disk that holds back its first read or flush until it is told to go on
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A FUSE file system that consists of one file.  It is served by a process of
 * its own: a test that dies with a request in flight could not end if it had to
 * answer that request itself.
 */
#ifndef TEST_SLOW_DISK_H
#define TEST_SLOW_DISK_H

#include <poll.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <linux/fuse.h>

#define SLOW_DISK_SIZE      (256 * 1024)
#define SLOW_DISK_BYTE      0x5d
#define SLOW_DISK_PATIENCE_MS 10000

typedef struct SlowDisk {
    char *path;
    int control;        /* 'h' comes: one is held; 'r' goes: release it */
    pid_t server;
} SlowDisk;

typedef struct SlowRequest {
    struct fuse_in_header in;
    union {
        struct fuse_init_in init;
        struct fuse_read_in read;
        char room[160 * 1024];
    };
} SlowRequest;

static inline void slow_reply(int dev, uint64_t unique, int err,
                              const void *body, size_t len)
{
    struct fuse_out_header out = {
        .len = sizeof(out) + (err ? 0 : len),
        .error = -err,
        .unique = unique,
    };
    struct iovec iov[2] = {
        { &out, sizeof(out) },
        { (void *)body, err ? 0 : len },
    };

    /* An error means that nobody waits for the answer any more. */
    if (writev(dev, iov, 2) < 0) {
        return;
    }
}

static inline void slow_answer(int dev, const SlowRequest *request)
{
    static char bytes[SLOW_DISK_SIZE];
    struct fuse_init_out init = {
        .major = FUSE_KERNEL_VERSION,
        .minor = FUSE_KERNEL_MINOR_VERSION,
        .max_write = 128 * 1024,
    };
    struct fuse_attr_out attr = {
        .attr = {
            .ino = FUSE_ROOT_ID,
            .size = SLOW_DISK_SIZE,
            .mode = S_IFREG | 0600,
            .nlink = 1,
            .uid = getuid(),
            .gid = getgid(),
            .blksize = 4096,
        },
    };
    struct fuse_open_out open = {};
    uint64_t unique = request->in.unique;

    switch (request->in.opcode) {
    case FUSE_INIT:
        slow_reply(dev, unique, 0, &init, sizeof(init));
        break;
    case FUSE_GETATTR:
        slow_reply(dev, unique, 0, &attr, sizeof(attr));
        break;
    case FUSE_OPEN:
        slow_reply(dev, unique, 0, &open, sizeof(open));
        break;
    case FUSE_READ:
        memset(bytes, SLOW_DISK_BYTE, sizeof(bytes));
        slow_reply(dev, unique, 0, bytes,
                   MIN(request->read.size, sizeof(bytes)));
        break;
    case FUSE_FSYNC:
        slow_reply(dev, unique, 0, NULL, 0);
        break;
    case FUSE_INTERRUPT:
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
        break;
    default:
        slow_reply(dev, unique, ENOSYS, NULL, 0);
    }
}

/* Until the file system is gone, or the test for so long that it is dead. */
static inline void slow_serve(int dev, int control)
{
    static SlowRequest request, held;
    enum { WAITING, HOLDING, RELEASED } state = WAITING;
    struct pollfd fds[2] = {
        { .fd = dev, .events = POLLIN },
        { .fd = control, .events = POLLIN },
    };

    for (;;) {
        int n = poll(fds, 2, SLOW_DISK_PATIENCE_MS);
        char c;

        if (n == 0 || fds[1].revents) {
            if (state == HOLDING) {
                slow_answer(dev, &held);
                state = RELEASED;
            }
            if (n == 0 || read(control, &c, 1) != 1) {
                return;
            }
        } else if (fds[0].revents) {
            if (read(dev, &request, sizeof(request)) < 0) {
                if (errno == EINTR || errno == EAGAIN || errno == ENOENT) {
                    continue;
                }
                return;
            }
            if (state == WAITING && (request.in.opcode == FUSE_READ ||
                                     request.in.opcode == FUSE_FSYNC)) {
                held = request;
                state = HOLDING;
                if (write(control, "h", 1) != 1) {
                    return;
                }
            } else {
                slow_answer(dev, &request);
            }
        }
    }
}

/* Skips the test if no file system can be mounted. */
static inline bool slow_disk_start(SlowDisk *disk)
{
    g_autofree char *options = NULL;
    int dev = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    int ends[2];
    int fd;

    if (dev < 0) {
        g_test_skip("/dev/fuse (kernel module fuse, and the right to open it)");
        return false;
    }
    disk->path = g_strdup("/var/tmp/slow-disk-XXXXXX");
    fd = g_mkstemp_full(disk->path, O_RDWR | O_CLOEXEC, 0600);
    g_assert_cmpint(fd, >=, 0);
    close(fd);
    options = g_strdup_printf("fd=%d,rootmode=100600,user_id=%d,group_id=%d",
                              dev, getuid(), getgid());
    if (mount("slow-disk", disk->path, "fuse", MS_NOSUID | MS_NODEV,
              options) < 0) {
        unlink(disk->path);
        g_free(disk->path);
        close(dev);
        g_test_skip("a FUSE mount (the right to mount: CAP_SYS_ADMIN)");
        return false;
    }
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends),
                    ==, 0);
    disk->control = ends[0];
    disk->server = fork();
    g_assert_cmpint(disk->server, >=, 0);
    if (!disk->server) {
        close(ends[0]);
        slow_serve(dev, ends[1]);
        _exit(0);
    }
    close(ends[1]);
    close(dev);
    return true;
}

/* Takes the name away, so that nothing is left of a test that fails. */
static inline void slow_disk_unlink(SlowDisk *disk)
{
    umount2(disk->path, MNT_DETACH);
    unlink(disk->path);
    g_free(disk->path);
}

/* Waits until the disk has got a read or flush, which it holds. */
static inline void slow_disk_await(SlowDisk *disk)
{
    struct pollfd pfd = { .fd = disk->control, .events = POLLIN };
    char c;

    g_assert_cmpint(RETRY_ON_EINTR(poll(&pfd, 1, SLOW_DISK_PATIENCE_MS)), ==,
                    1);
    g_assert_cmpint(read(disk->control, &c, 1), ==, 1);
    g_assert_cmpint(c, ==, 'h');
}

static inline void slow_disk_release(SlowDisk *disk)
{
    g_assert_cmpint(write(disk->control, "r", 1), ==, 1);
}

static inline void slow_disk_stop(SlowDisk *disk)
{
    close(disk->control);
    g_assert_cmpint(waitpid(disk->server, NULL, 0), ==, disk->server);
}

#endif /* TEST_SLOW_DISK_H */
