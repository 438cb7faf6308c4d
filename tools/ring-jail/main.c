/*
 * The jail of a virtual machine's rings
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * READV and WRITEV in a ring name addresses of the process that created the
 * ring.  So this one creates it, and then has nothing in its address space but
 * the guest's own RAM and a page of code without secrets: whatever address a
 * guest makes up, it is its own memory, that page, or nothing.
 *
 * Without a C library, since that would have to be unmapped under its own feet.
 * The order of the requests (block/ring-jail-protocol.h) is the argument for
 * safety: rights go first, rings are created disabled, and are enabled by the
 * page that stays when all else has been unmapped.
 */
#include <fcntl.h>
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include "block/ring-jail-protocol.h"

#define JAIL_STR_(x) #x
#define JAIL_STR(x) JAIL_STR_(x)

/* The fds of a jail that runs; below the rings' there is room for others. */
#define JAIL_FD_CONTROL     3
#define JAIL_FD_DOORBELL    4
#define JAIL_FD_DISK        5
#define JAIL_FD_RING0       64

#define JAIL_EXIT_REPLIED   1   /* QEMU has been told why */

/* The kernel's signal sets are 8 bytes long, not a C library's. */
#define KERNEL_SIGSET_SIZE  8

/* Memory of the last jail counts against RLIMIT_MEMLOCK for a while. */
#define MEMLOCK_TRIES       200
#define MEMLOCK_PAUSE_NS    2000000

/* meson builds this for no other architecture yet. */
#include "arch-x86-64.h"

__attribute__((noreturn)) void jail_main(void);     /* from _start */

typedef struct Request {
    RingJailRequest msg;
    int fds[RING_JAIL_MAX_FDS];
    unsigned num_fds;
} Request;

typedef struct Jail {
    uint64_t ram, ram_end;      /* first byte mapped, first byte behind */
    unsigned num_rings;
    unsigned num_threads;       /* so many rings have an SQPOLL thread */
    bool confined;
} Jail;

/* The compiler may ask for these. */
void *memset(void *dest, int c, size_t n)
{
    volatile char *d = dest;    /* or this would become a call of itself */

    while (n--) {
        *d++ = c;
    }
    return dest;
}

void *memcpy(void *dest, const void *src, size_t n)
{
    volatile char *d = dest;    /* as above */
    const char *s = src;

    while (n--) {
        *d++ = *s++;
    }
    return dest;
}

long restricted_ring_syscall(long nr, long a, long b, long c, long d, long e)
{
    return jail_syscall(nr, a, b, c, d, e, 0);
}

#define SYS1(name, a) \
    jail_syscall(__NR_##name, (long)(a), 0, 0, 0, 0, 0)
#define SYS2(name, a, b) \
    jail_syscall(__NR_##name, (long)(a), (long)(b), 0, 0, 0, 0)
#define SYS3(name, a, b, c) \
    jail_syscall(__NR_##name, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define SYS4(name, a, b, c, d) \
    jail_syscall(__NR_##name, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define SYS5(name, a, b, c, d, e) \
    jail_syscall(__NR_##name, (long)(a), (long)(b), (long)(c), (long)(d), \
                 (long)(e), 0)
#define SYS6(name, a, b, c, d, e, f) \
    jail_syscall(__NR_##name, (long)(a), (long)(b), (long)(c), (long)(d), \
                 (long)(e), (long)(f))

static __attribute__((noreturn)) void end(int status)
{
    for (;;) {
        SYS1(exit_group, status);
    }
}

/* Talking to QEMU */

/* Room for a cmsg with @n fds, aligned as the kernel wants it */
#define FDS_BUFFER(name, n)                                     \
    union {                                                     \
        struct cmsghdr header;                                  \
        char room[CMSG_SPACE((n) * sizeof(int))];               \
    } name

static void send_reply(const RingJailReply *reply, int fd)
{
    struct iovec iov = { (void *)reply, sizeof(*reply) };
    FDS_BUFFER(control, 1);
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (fd >= 0) {
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
        msg.msg_control = &control;
        msg.msg_controllen = sizeof(control);
    }
    if (SYS3(sendmsg, JAIL_FD_CONTROL, &msg, MSG_NOSIGNAL) !=
        sizeof(*reply)) {
        end(JAIL_EXIT_REPLIED);
    }
}

static __attribute__((noreturn)) void fail(RingJailStep step, long err)
{
    RingJailReply reply = { .step = step, .error = -err };

    send_reply(&reply, -1);
    end(JAIL_EXIT_REPLIED);
}

/* Waits for the next request; ends with QEMU. */
static void receive(Request *request)
{
    struct iovec iov = { &request->msg, sizeof(request->msg) };
    FDS_BUFFER(control, RING_JAIL_MAX_FDS);
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };
    long len = SYS3(recvmsg, JAIL_FD_CONTROL, &msg, MSG_CMSG_CLOEXEC);

    if (len == 0) {
        end(0);
    }
    if (len != sizeof(request->msg) ||
        request->msg.version != RING_JAIL_VERSION ||
        msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
        fail(RING_JAIL_STEP_REQUEST, len < 0 ? len : -EPROTO);
    }
    request->num_fds = 0;
    if (msg.msg_controllen >= CMSG_LEN(0) &&
        control.header.cmsg_type == SCM_RIGHTS) {
        request->num_fds = (control.header.cmsg_len - CMSG_LEN(0)) /
                           sizeof(int);
        memcpy(request->fds, CMSG_DATA(&control.header),
               request->num_fds * sizeof(int));
    }
}

/* CONFINE */

static long set_soft_limit(unsigned resource, uint64_t limit)
{
    struct { uint64_t soft, hard; } now;
    long ret = SYS4(prlimit64, 0, resource, NULL, &now);

    if (ret < 0) {
        return ret;
    }
    now.soft = limit < now.hard ? limit : now.hard;
    return SYS4(prlimit64, 0, resource, &now, NULL);
}

static long set_limits(uint64_t file_size)
{
    const uint64_t all_signals = ~(uint64_t)0;
    long ret;

    /*
     * What ends QEMU by signal is not to end us before it has drained.  A
     * session of our own would do for a terminal's, but the scheduler would
     * then weigh us as another user beside QEMU (autogroup).
     */
    ret = SYS4(rt_sigprocmask, SIG_SETMASK, &all_signals, NULL,
               KERNEL_SIGSET_SIZE);
    if (ret == 0) {
        ret = set_soft_limit(RLIMIT_NOFILE, ~(uint64_t)0);
    }
    if (ret == 0) {
        ret = set_soft_limit(RLIMIT_CORE, 0);
    }
    if (ret == 0) {
        /* The hard limit stays, so that the soft one can be moved later. */
        ret = set_soft_limit(RLIMIT_FSIZE, file_size);
    }
    return ret;
}

/* "0" in cgroup.procs of either version stands for who writes it. */
static long enter_cgroup(int procs)
{
    long ret = SYS3(write, procs, "0", 1);

    return ret < 0 ? ret : 0;
}

/*
 * An SQPOLL thread begins with all CPUs of the host, whatever its creator may
 * use, unless its creator has asked for its CPUs by itself (Linux 6.2).
 */
static void insist_on_cpus(void)
{
    int normal = 0;     /* sched_priority of SCHED_OTHER */

    uint64_t cpus[8192 / 64];
    long size = SYS3(sched_getaffinity, 0, sizeof(cpus), cpus);

    if (size > 0) {
        SYS3(sched_setaffinity, 0, size, cpus);
    }
    /* A priority that QEMU has is not for what a guest keeps busy. */
    SYS3(sched_setscheduler, 0, SCHED_NORMAL, &normal);
}

/*
 * Before any ring is created: its threads have the rights that its creator had
 * at that moment.
 */
static long drop_privileges(void)
{
    struct __user_cap_header_struct header = {
        .version = _LINUX_CAPABILITY_VERSION_3,
    };
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};
    long ret;

    /* Whoever may not lower the bound has nothing above it, either. */
    for (unsigned cap = 0; cap < 64; cap++) {
        SYS5(prctl, PR_CAPBSET_DROP, cap, 0, 0, 0);
    }
    ret = SYS5(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (ret == 0) {
        ret = SYS2(capset, &header, none);
    }
    if (ret == 0) {
        ret = SYS5(prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    }
    return ret;
}

/* Has @fd have the number @to. */
static long move_fd(int fd, int to)
{
    long ret = fd;

    if (fd != to) {
        ret = SYS3(dup3, fd, to, O_CLOEXEC);
        SYS1(close, fd);
    }
    return ret;
}

static void confine(Jail *jail, const Request *request)
{
    int self;
    long ret;

    if (jail->confined || request->num_fds < 2) {
        fail(RING_JAIL_STEP_REQUEST, -EPROTO);
    }
    self = SYS2(pidfd_open, SYS1(getpid, 0), 0);
    if (self < 0) {
        fail(RING_JAIL_STEP_PIDFD, self);
    }
    ret = set_limits(request->msg.confine.file_size);
    if (ret < 0) {
        fail(RING_JAIL_STEP_LIMITS, ret);
    }
    for (unsigned i = 2; i < request->num_fds; i++) {
        ret = enter_cgroup(request->fds[i]);
        if (ret < 0) {
            fail(RING_JAIL_STEP_CGROUP, ret);
        }
        SYS1(close, request->fds[i]);
    }
    insist_on_cpus();
    ret = drop_privileges();
    if (ret < 0) {
        fail(RING_JAIL_STEP_PRIVILEGES, ret);
    }
    jail->confined = true;
    send_reply(&(RingJailReply) {}, self);
    SYS1(close, self);

    /* Away first, since the other one may have the number that is wanted. */
    ret = move_fd(request->fds[1], JAIL_FD_RING0);
    if (ret >= 0) {
        ret = move_fd(request->fds[0], JAIL_FD_DISK);
    }
    if (ret >= 0) {
        ret = move_fd(JAIL_FD_RING0, JAIL_FD_DOORBELL);
    }
    if (ret < 0) {
        end(JAIL_EXIT_REPLIED);
    }
}

/* REGION */

/*
 * The page that stays unmaps what lies before and behind guest RAM.  Between
 * its pieces there has to be nothing, whatever the kernel or a guest that moves
 * its memory about may have come up with.
 */
static long check_gap(uint64_t start, uint64_t end)
{
    long ret;

    if (start == end) {
        return 0;
    }
    ret = SYS6(mmap, start, end - start, PROT_NONE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
               MAP_FIXED_NOREPLACE, -1, 0);
    if (ret < 0) {
        return ret;
    }
    return (uint64_t)ret == start ? SYS2(munmap, start, end - start) : -EEXIST;
}

static void map_region(Jail *jail, const Request *request)
{
    uint64_t gpa = request->msg.region.gpa;
    uint64_t size = request->msg.region.size;
    uint64_t addr = RING_JAIL_BASE + gpa;
    long ret;

    if (!jail->confined || jail->num_rings || request->num_fds != 1 ||
        !size || addr < jail->ram_end || addr < RING_JAIL_BASE ||
        addr > RING_JAIL_END || size > RING_JAIL_END - addr) {
        fail(RING_JAIL_STEP_REQUEST, -EPROTO);
    }
    ret = jail->ram_end ? check_gap(jail->ram_end, addr) : 0;
    if (ret < 0) {
        fail(RING_JAIL_STEP_MAP, ret);
    }
    ret = SYS6(mmap, addr, size, PROT_READ | PROT_WRITE,
               MAP_SHARED | MAP_FIXED_NOREPLACE, request->fds[0],
               request->msg.region.offset);
    if (ret < 0) {
        fail(RING_JAIL_STEP_MAP, ret);
    }
    if ((uint64_t)ret != addr) {
        /* A kernel that does not know MAP_FIXED_NOREPLACE */
        fail(RING_JAIL_STEP_MAP, -EEXIST);
    }
    if (!jail->ram_end) {
        jail->ram = addr;
    }
    jail->ram_end = addr + size;
    SYS1(close, request->fds[0]);
    send_reply(&(RingJailReply) {}, -1);
}

/* RING */

/* What the kernel says of ring @fd; -errno where there is no /proc. */
static int open_fdinfo(int fd)
{
    char path[] = "/proc/self/fdinfo/000";
    char *digit = path + sizeof(path) - 4;

    if (fd >= 100) {
        *digit++ = '0' + fd / 100;
    }
    *digit++ = '0' + fd / 10 % 10;
    *digit++ = '0' + fd % 10;
    *digit = 0;
    return SYS4(openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
}

static int prepare_ring(const RestrictedRingParams *params,
                        RestrictedRingLayout *layout, RestrictedRingStep *step)
{
    struct { int64_t sec, nsec; } pause = { 0, MEMLOCK_PAUSE_NS };
    int ret;

    for (unsigned i = 0; ; i++) {
        ret = restricted_ring_prepare(params, layout, step);
        if (ret != -ENOMEM || i == MEMLOCK_TRIES) {
            return ret;
        }
        SYS2(nanosleep, &pause, NULL);
    }
}

static void create_ring(Jail *jail, const Request *request)
{
    const RingJailRequest *msg = &request->msg;
    RestrictedRingParams params = {
        .ring_mem = (void *)msg->ring.ring_addr,
        .ring_size = msg->ring.ring_size,
        .sqe_mem = (void *)msg->ring.sqe_addr,
        .sqe_size = msg->ring.sqe_size,
        .sq_entries = msg->ring.sq_entries,
        .cq_entries = msg->ring.cq_entries,
        .idle_ms = msg->ring.idle_ms,
        .max_workers = msg->ring.max_workers,
        .cpu = msg->ring.cpu,
        .attach_fd = -1,
        .file_fd = JAIL_FD_DISK,
        .event_fd = request->num_fds ? request->fds[0] : -1,
        .iopoll = msg->ring.iopoll,
        .readonly = msg->ring.readonly,
    };
    RingJailReply reply = {};
    RestrictedRingStep step;
    int fd, info;

    if (!jail->ram_end || jail->num_rings == RING_JAIL_MAX_RINGS ||
        request->num_fds > 1 || msg->ring.attach >= (int)jail->num_threads) {
        fail(RING_JAIL_STEP_REQUEST, -EPROTO);
    }
    if (msg->ring.attach >= 0) {
        params.attach_fd = JAIL_FD_RING0 + msg->ring.attach;
    } else if (jail->num_threads == jail->num_rings) {
        jail->num_threads++;
    } else {
        /* The page that stays wakes the first so many. */
        fail(RING_JAIL_STEP_REQUEST, -EPROTO);
    }

    fd = prepare_ring(&params, &reply.layout, &step);
    if (fd >= 0) {
        fd = move_fd(fd, JAIL_FD_RING0 + jail->num_rings);
    }
    if (fd < 0) {
        reply.step = RING_JAIL_STEP_RING;
        reply.error = -fd;
        reply.ring_step = step;
        send_reply(&reply, -1);
        end(JAIL_EXIT_REPLIED);
    }
    jail->num_rings++;
    if (params.event_fd >= 0) {
        SYS1(close, params.event_fd);
    }
    info = open_fdinfo(fd);
    send_reply(&reply, info);
    if (info >= 0) {
        SYS1(close, info);
    }
}

/* ENABLE */

/*
 * What the page that stays needs, with the arguments that it uses.  There is
 * nobody who could make it do anything else; if there ever is, here it ends.
 */
#define LOAD(field) \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define ARG(n) \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, \
             offsetof(struct seccomp_data, args[n]))
#define UNLESS(value, skip) \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 0, (skip))
#define ALLOW   BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define KILL    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)

static long install_filter(void)
{
    struct sock_filter filter[] = {
        LOAD(arch),
        UNLESS(JAIL_AUDIT_ARCH, 1),
        LOAD(nr),
        /* falls through with the audit number if the architecture is wrong */
        UNLESS(__NR_munmap, 1), ALLOW,
        UNLESS(__NR_exit_group, 1), ALLOW,
        UNLESS(__NR_read, 4),
            ARG(0), UNLESS(JAIL_FD_DOORBELL, 1), ALLOW, KILL,
        UNLESS(__NR_recvfrom, 4),
            ARG(0), UNLESS(JAIL_FD_CONTROL, 1), ALLOW, KILL,
        UNLESS(__NR_sendto, 4),
            ARG(0), UNLESS(JAIL_FD_CONTROL, 1), ALLOW, KILL,
        UNLESS(__NR_io_uring_register, 4),
            ARG(1), UNLESS(IORING_REGISTER_ENABLE_RINGS, 1), ALLOW, KILL,
        UNLESS(__NR_io_uring_enter, 4),
            ARG(3), UNLESS(IORING_ENTER_SQ_WAKEUP, 1), ALLOW, KILL,
        KILL,
    };
    struct sock_fprog program = {
        .len = sizeof(filter) / sizeof(filter[0]),
        .filter = filter,
    };

    return SYS3(seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC,
                &program);
}

/*
 * The kernel kills us when QEMU's end of the socket closes.  The thread that
 * watches the socket cannot do that while we are stopped (SIGSTOP), and a
 * parent's death signal would be a launcher's.  QEMU sends nothing any more,
 * which would have the same effect.
 */
static long die_with_qemu(void)
{
    long ret = SYS3(fcntl, JAIL_FD_CONTROL, F_SETOWN, SYS1(getpid, 0));

    if (ret == 0) {
        ret = SYS3(fcntl, JAIL_FD_CONTROL, F_SETSIG, SIGKILL);
    }
    if (ret == 0) {
        ret = SYS3(fcntl, JAIL_FD_CONTROL, F_SETFL, O_ASYNC);
    }
    return ret;
}

static __attribute__((noreturn)) void enable(Jail *jail)
{
    long ret;

    if (!jail->num_rings) {
        fail(RING_JAIL_STEP_REQUEST, -EPROTO);
    }
    SYS3(close_range, JAIL_FD_DISK, JAIL_FD_RING0 - 1, 0);
    SYS3(close_range, JAIL_FD_RING0 + jail->num_rings, ~0u, 0);

    ret = jail_start_watch(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND |
                           CLONE_THREAD | CLONE_SYSVSEM);
    if (ret < 0) {
        fail(RING_JAIL_STEP_THREAD, ret);
    }
    ret = die_with_qemu();
    if (ret < 0) {
        fail(RING_JAIL_STEP_THREAD, ret);
    }
    /* For that thread and the rings' as well */
    ret = install_filter();
    if (ret) {
        fail(RING_JAIL_STEP_SECCOMP, ret < 0 ? ret : -ESRCH);
    }
    jail_leave((uintptr_t)jail_page, jail->ram, jail->ram_end,
               jail->num_rings, jail->num_threads);
}

/* SPAWN */

/* Returns in both: the new jail goes on as if it had been started. */
static void spawn(const Request *request)
{
    uint64_t ignore[4] = { (uintptr_t)SIG_IGN };
    long ret;

    if (request->num_fds != 1) {
        fail(RING_JAIL_STEP_REQUEST, -EPROTO);
    }
    /* Nobody waits for the children of a launcher. */
    SYS4(rt_sigaction, SIGCHLD, ignore, NULL, KERNEL_SIGSET_SIZE);
    ret = SYS5(clone, SIGCHLD, 0, 0, 0, 0);
    if (ret == 0) {
        move_fd(request->fds[0], JAIL_FD_CONTROL);
    } else {
        /* If there is no child, QEMU sees its end of the socket close. */
        SYS1(close, request->fds[0]);
    }
}

void jail_main(void)
{
    Jail jail = {};
    Request request;

    SYS3(close_range, 0, JAIL_FD_CONTROL - 1, 0);
    SYS3(close_range, JAIL_FD_CONTROL + 1, ~0u, 0);
    for (;;) {
        receive(&request);
        switch (request.msg.type) {
        case RING_JAIL_CONFINE:
            confine(&jail, &request);
            break;
        case RING_JAIL_REGION:
            map_region(&jail, &request);
            break;
        case RING_JAIL_RING:
            create_ring(&jail, &request);
            break;
        case RING_JAIL_ENABLE:
            enable(&jail);
        case RING_JAIL_SPAWN:
            if (!jail.confined) {
                spawn(&request);
                break;
            }
            /* fall through */
        default:
            fail(RING_JAIL_STEP_REQUEST, -EPROTO);
        }
    }
}
