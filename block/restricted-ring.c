/*
 * A restricted io_uring that somebody else fills
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <sys/syscall.h>
#include "qapi/error.h"
#include "qemu/atomic.h"
#include "qemu/cutils.h"
#include "block/restricted-ring.h"
#include "trace.h"

struct RestrictedRing {
    int fd;
    int fdinfo;             /* what the kernel says of @fd, -1: nothing */
    void *ring_mem;
    RestrictedRingLayout layout;
};

long restricted_ring_syscall(long nr, long a, long b, long c, long d, long e)
{
    long ret = syscall(nr, a, b, c, d, e, 0);

    return ret < 0 ? -errno : ret;
}

static const struct {
    const char *what;
    const char *since;
} steps[] = {
    [RESTRICTED_RING_CREATE] = {
        "create a disabled ring in given memory (io_uring_setup with SQPOLL, "
        "R_DISABLED, NO_MMAP, NO_SQARRAY)", "6.6" },
    [RESTRICTED_RING_FILES] = {
        "register the disk as the ring's file (IORING_REGISTER_FILES)", "5.1" },
    [RESTRICTED_RING_EVENTFD] = {
        "register the ring's eventfd (IORING_REGISTER_EVENTFD)", "5.2" },
    [RESTRICTED_RING_WORKERS] = {
        "bound the ring's worker threads (IORING_REGISTER_IOWQ_MAX_WORKERS)",
        "5.15" },
    [RESTRICTED_RING_RESTRICT] = {
        "restrict the ring (IORING_REGISTER_RESTRICTIONS)", "5.10" },
    [RESTRICTED_RING_ENABLE] = {
        "enable the ring (IORING_REGISTER_ENABLE_RINGS)", "5.10" },
};

void restricted_ring_set_error(Error **errp, RestrictedRingStep step, int err)
{
    const char *hint = "";

    if (step == RESTRICTED_RING_CREATE) {
        switch (err) {
        case ENOSYS:
            hint = ": this kernel or a seccomp filter (a container's, as a "
                   "rule) has no io_uring; allow io_uring_setup, "
                   "io_uring_enter and io_uring_register there";
            break;
        case EPERM:
            hint = ": io_uring is switched off for this user; see sysctl "
                   "kernel.io_uring_disabled and kernel.io_uring_group, and "
                   "the container's seccomp profile";
            break;
        case ENOMEM:
            hint = ": the ring's memory counts against RLIMIT_MEMLOCK; raise "
                   "it (ulimit -l)";
            break;
        case EOVERFLOW:
            hint = ": this kernel wants more memory for a ring than any that "
                   "is known; report this as a bug";
            break;
        case EINVAL:
            hint = ": use Linux 6.12 or later, and sqpoll-cpu only with a CPU "
                   "that this process may run on";
            break;
        }
    } else if (step == RESTRICTED_RING_FILES ||
               step == RESTRICTED_RING_EVENTFD) {
        hint = ": see whether the disk is still there";
    } else if (err == EINVAL) {
        hint = ": use Linux 6.12 or later";
    }
    error_setg(errp, "cannot %s: %s (in Linux since %s)%s",
               steps[step].what, strerror(err), steps[step].since, hint);
}

RestrictedRing *restricted_ring_new(const RestrictedRingParams *params,
                                    Error **errp)
{
    g_autofree char *fdinfo = NULL;
    RestrictedRing *ring;
    RestrictedRingLayout layout;
    RestrictedRingStep step;
    int fd;

    /* The kernel would take -1 for "no file yet". */
    assert(params->file_fd >= 0);
    fd = restricted_ring_prepare(params, &layout, &step);
    if (fd < 0) {
        restricted_ring_set_error(errp, step, -fd);
        return NULL;
    }

    fdinfo = g_strdup_printf("/proc/self/fdinfo/%d", fd);
    ring = g_new(RestrictedRing, 1);
    *ring = (RestrictedRing) {
        .fd = fd,
        .fdinfo = open(fdinfo, O_RDONLY | O_CLOEXEC),
        .ring_mem = params->ring_mem,
        .layout = layout,
    };
    trace_restricted_ring_new(ring, fd, layout.sq_entries, layout.cq_entries,
                              params->readonly, params->iopoll);
    return ring;
}

bool restricted_ring_enable(RestrictedRing *ring, Error **errp)
{
    int ret = restricted_ring_core_enable(ring->fd);

    trace_restricted_ring_enable(ring, ret);
    if (ret < 0) {
        restricted_ring_set_error(errp, RESTRICTED_RING_ENABLE, -ret);
        return false;
    }
    return true;
}

int restricted_ring_wakeup(RestrictedRing *ring)
{
    int ret = restricted_ring_core_wakeup(ring->fd);

    trace_restricted_ring_wakeup(ring, ret);
    return ret;
}

const RestrictedRingLayout *restricted_ring_layout(const RestrictedRing *ring)
{
    return &ring->layout;
}

int restricted_ring_fd(const RestrictedRing *ring)
{
    return ring->fd;
}

/* The number behind @key in @text, which holds one "Key:\tvalue" a line. */
static bool find_number(const char *text, const char *key, uint32_t *value)
{
    const char *line = strstr(text, key);
    const char *end;
    uint64_t number;

    if (!line || parse_uint(line + strlen(key), &end, 10, &number) < 0) {
        return false;
    }
    *value = number;
    return true;
}

/*
 * The kernel says nothing while the SQPOLL thread holds the ring's lock; but a
 * guest that keeps it busy on purpose must not keep us.
 */
#define COUNTER_TRIES   8
#define COUNTER_US      20000

bool restricted_ring_read_counters(int fdinfo, RestrictedRingCounters *counters)
{
    int64_t start = g_get_monotonic_time();
    /*
     * What we look for stands before the list of requests and completions,
     * which can be long.
     */
    char text[1024];

    for (int i = 0; i < COUNTER_TRIES; i++) {
        ssize_t len = pread(fdinfo, text, sizeof(text) - 1, 0);

        if (len <= 0) {
            return false;
        }
        text[len] = 0;
        if (find_number(text, "CachedSqHead:\t", &counters->submitted) &&
            find_number(text, "CachedCqTail:\t", &counters->completed)) {
            counters->from_kernel = true;
            return true;
        }
        if (g_get_monotonic_time() - start > COUNTER_US) {
            return false;
        }
    }
    return false;
}

void restricted_ring_guess_counters(const void *ring_mem,
                                    const RestrictedRingLayout *layout,
                                    RestrictedRingCounters *counters)
{
    const char *mem = ring_mem;
    /* First, so that no request completes in between that was not submitted. */
    uint32_t completed =
        qatomic_load_acquire((uint32_t *)(mem + layout->cq_tail));

    *counters = (RestrictedRingCounters) {
        .submitted = qatomic_read((uint32_t *)(mem + layout->sq_head)),
        .completed = completed,
    };
}

void restricted_ring_get_counters(RestrictedRing *ring,
                                  RestrictedRingCounters *counters)
{
    if (!restricted_ring_read_counters(ring->fdinfo, counters)) {
        restricted_ring_guess_counters(ring->ring_mem, &ring->layout, counters);
    }
}

void restricted_ring_free(RestrictedRing *ring)
{
    if (ring) {
        trace_restricted_ring_free(ring, ring->fd);
        if (ring->fdinfo >= 0) {
            close(ring->fdinfo);
        }
        close(ring->fd);
        g_free(ring);
    }
}
