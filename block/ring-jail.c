/*
 * The jail of a virtual machine's rings, as QEMU sees it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <poll.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include "qapi/error.h"
#include "qemu/atomic.h"
#include "qemu/cutils.h"
#include "qemu/lockable.h"
#include "qemu/thread.h"
#include "block/ring-jail.h"
#include "trace.h"

#define HELPER          "qemu-ring-jail"
#define PATIENCE_S      10
#define COUNTERS_MS     100     /* of the main loop's time, */
#define COUNTERS_REST_MS 2000   /* and not again for so long */

/* Newer than some C libraries' headers (Linux 5.4) */
#ifndef P_PIDFD
#define P_PIDFD         3
#endif

/* What the kernel said of a ring when it was asked last */
typedef struct RingCounters {
    bool known;
    RestrictedRingCounters counters;
} RingCounters;

/*
 * A query to the kernel for all rings, which may take its time; freed by the
 * later of its users.
 */
typedef struct Query {
    QemuSemaphore answered;
    int users;              /* who asks, and the thread that reads */
    unsigned num;
    int fdinfo[RING_JAIL_MAX_RINGS];    /* copies */
    RingCounters rings[RING_JAIL_MAX_RINGS]; /* known: set last */
} Query;

struct RingJail {
    /* Protects the fields down to enabling: another thread may cancel. */
    QemuMutex lock;
    int control;            /* socket; its end ends the process */
    int pidfd;              /* -1: not known yet */
    pid_t child;            /* 0: not ours */
    bool cancelled;
    bool writes_memory;     /* a ring was asked for, which lies there */

    int doorbell;           /* eventfd that the process sleeps on */
    unsigned num_rings;
    int fdinfo[RING_JAIL_MAX_RINGS];    /* -1: none */
    RingCounters counters[RING_JAIL_MAX_RINGS];
    Query *unanswered;      /* NULL: none */
    int64_t asking_since;   /* us; what follows is of the time since then */
    int64_t asked_us;
};

/* Getting a process */

static bool start_helper(RingJail *jail, int end, Error **errp)
{
    g_autofree char *path = get_relocated_path(CONFIG_QEMU_HELPERDIR
                                               "/" HELPER);
    char *argv[] = { (char *)HELPER, NULL };
    char *envp[] = { NULL };
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int ret;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, end, RING_JAIL_CONTROL_FD);
    WITH_QEMU_LOCK_GUARD(&jail->lock) {
        if (jail->cancelled) {
            ret = ECANCELED;
        } else {
            ret = posix_spawn(&pid, path, &actions, NULL, argv, envp);
            jail->child = ret ? 0 : pid;
        }
    }
    posix_spawn_file_actions_destroy(&actions);
    if (ret) {
        error_setg(errp, "cannot start the jail of the rings, %s: %s; %s",
                   path, strerror(ret),
                   ret == EPERM || ret == EACCES ?
                   "if QEMU must not start processes (-sandbox spawn=deny), "
                   "have a launcher do it and give it as jail=PATH, or use "
                   "isolation=none for a guest that you trust" :
                   "see whether QEMU was installed completely, or give a "
                   "launcher as jail=PATH");
        return false;
    }
    return true;
}

/* From here on ring_jail_cancel() ends whatever waits for the socket. */
static void set_control(RingJail *jail, int fd)
{
    QEMU_LOCK_GUARD(&jail->lock);
    jail->control = fd;
    if (jail->cancelled) {
        shutdown(fd, SHUT_RDWR);
    }
}

static bool ask_launcher(int launcher, int end, Error **errp)
{
    RingJailRequest request = {
        .version = RING_JAIL_VERSION,
        .type = RING_JAIL_SPAWN,
    };
    struct iovec iov = { &request, sizeof(request) };
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {
        .header = {
            .cmsg_level = SOL_SOCKET,
            .cmsg_type = SCM_RIGHTS,
            .cmsg_len = CMSG_LEN(sizeof(int)),
        },
    };
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };

    memcpy(CMSG_DATA(&control.header), &end, sizeof(end));
    if (RETRY_ON_EINTR(sendmsg(launcher, &msg,
                               MSG_NOSIGNAL | MSG_DONTWAIT)) < 0) {
        error_setg_errno(errp, errno, "cannot ask the launcher at jail=fd: for "
                         "a jail; see whether it still runs and the socket is "
                         "of the type SOCK_SEQPACKET");
        return false;
    }
    return true;
}

static bool get_process(RingJail *jail, const RingJailConfig *config,
                        Error **errp)
{
    bool ok;
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
        error_setg_errno(errp, errno, "no socket is left for the jail of the "
                         "rings; raise the limit of open files (ulimit -n)");
        return false;
    }
    set_control(jail, ends[0]);
    ok = config->launcher_fd >= 0 ?
         ask_launcher(config->launcher_fd, ends[1], errp) :
         start_helper(jail, ends[1], errp);
    close(ends[1]);
    return ok;
}

static bool set_patience(int fd)
{
    struct timeval patience = { .tv_sec = PATIENCE_S };

    return setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience,
                      sizeof(patience)) == 0 &&
           setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience,
                      sizeof(patience)) == 0;
}

/*
 * What the launcher starts gets guest RAM and the disk.  So it has to be of
 * somebody who could have these anyway.
 */
static bool check_launcher(int fd, const char *path, Error **errp)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0) {
        error_setg_errno(errp, errno, "cannot tell whose socket jail='%s' is; "
                         "see the host's security modules", path);
        return false;
    }
    if (peer.uid != 0 && peer.uid != geteuid()) {
        error_setg(errp, "the launcher at jail='%s' runs as user %u, who is "
                   "neither root nor QEMU's user %u, and would be given guest "
                   "memory and the disk; start the launcher as one of these",
                   path, peer.uid, geteuid());
        return false;
    }
    return true;
}

static bool connect_launcher(RingJail *jail, const char *path, Error **errp)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd;

    if (strlen(path) >= sizeof(addr.sun_path)) {
        error_setg(errp, "jail='%s' is longer than the %zu bytes that the name "
                   "of a socket may have; use a shorter one", path,
                   sizeof(addr.sun_path) - 1);
        return false;
    }
    pstrcpy(addr.sun_path, sizeof(addr.sun_path), path);
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0 || !set_patience(fd) ||
        RETRY_ON_EINTR(connect(fd, (struct sockaddr *)&addr,
                               sizeof(addr))) < 0) {
        error_setg_errno(errp, errno, "cannot get a jail from jail='%s'; see "
                         "whether its launcher runs, listens on a socket of "
                         "the type SOCK_SEQPACKET, and lets QEMU's user in",
                         path);
        if (fd >= 0) {
            close(fd);
        }
        return false;
    }
    set_control(jail, fd);
    return check_launcher(fd, path, errp);
}

/* Talking to it */

/* How the process ended, for a sentence; to be freed. */
static char *describe_end(RingJail *jail)
{
    siginfo_t info = {};

    /* It is about to end, unless its cgroup is frozen. */
    for (unsigned i = 0; jail->child && !info.si_pid && i < 100; i++) {
        if (i) {
            g_usleep(1000);
        }
        if (waitid(P_PID, jail->child, &info, WEXITED | WNOHANG) < 0) {
            break;
        }
    }
    if (info.si_pid) {
        WITH_QEMU_LOCK_GUARD(&jail->lock) {
            jail->child = 0;
        }
        if (info.si_code == CLD_EXITED &&
            info.si_status == RING_JAIL_EXIT_UNMAP) {
            return g_strdup("it could not unmap all but guest memory (a kernel "
                            "with CONFIG_MSEAL_SYSTEM_MAPPINGS does not let "
                            "it)");
        }
        if (info.si_code == CLD_EXITED &&
            info.si_status == RING_JAIL_EXIT_RING) {
            return g_strdup("it could not enable its rings");
        }
        return info.si_code == CLD_EXITED ?
               g_strdup_printf("it ended with status %d", info.si_status) :
               g_strdup_printf("signal %d ended it", info.si_status);
    }
    return g_strdup("it ended");
}

static void set_silence_error(RingJail *jail, int err, Error **errp)
{
    g_autofree char *how = NULL;

    if (err == EAGAIN || err == EWOULDBLOCK) {
        error_setg(errp, "the jail of the rings did not answer within %d s; "
                   "see whether the host is overloaded or its launcher hangs",
                   PATIENCE_S);
        return;
    }
    how = describe_end(jail);
    error_setg(errp, "the jail of the rings is gone before it was ready: %s; "
               "see the host's log for what killed it (a seccomp filter, a "
               "memory limit), and whether it is this QEMU's own " HELPER, how);
}

static void set_reply_error(const RingJailReply *reply, Error **errp)
{
    static const struct {
        const char *what;
        const char *hint;
    } steps[] = {
        [RING_JAIL_STEP_REQUEST] = {
            "understand QEMU", "use the " HELPER " of this very QEMU" },
        [RING_JAIL_STEP_PIDFD] = {
            "give QEMU a handle of itself (pidfd_open)",
            "use Linux 6.12 or later, and let the host's seccomp profile "
            "allow it" },
        [RING_JAIL_STEP_LIMITS] = {
            "limit its resources", "see the limits of QEMU's user" },
        [RING_JAIL_STEP_CGROUP] = {
            "enter a cgroup of jail-cgroup=",
            "see whether it takes processes (a cgroup of version 2 with "
            "children that have controllers takes none)" },
        [RING_JAIL_STEP_PRIVILEGES] = {
            "drop its privileges", "see the host's security modules" },
        [RING_JAIL_STEP_MAP] = {
            "map guest memory",
            "use -object memory-backend-memfd,share=on with a size that is a "
            "multiple of the memory's page size" },
        [RING_JAIL_STEP_THREAD] = {
            "start the thread that ends it with QEMU",
            "raise the limit of processes (ulimit -u, pids cgroup)" },
        [RING_JAIL_STEP_SECCOMP] = {
            "filter its system calls", "use a kernel with seccomp filters" },
    };

    if (reply->step == RING_JAIL_STEP_RING &&
        reply->ring_step <= RESTRICTED_RING_ENABLE) {
        restricted_ring_set_error(errp, reply->ring_step, reply->error);
    } else if (reply->step < ARRAY_SIZE(steps) && steps[reply->step].what) {
        error_setg(errp, "the jail of the rings cannot %s: %s; %s",
                   steps[reply->step].what, strerror(reply->error),
                   steps[reply->step].hint);
    } else {
        error_setg(errp, "the jail of the rings failed at an unknown step %u; "
                   "use the " HELPER " of this very QEMU", reply->step);
    }
}

static bool send_request(RingJail *jail, RingJailRequest *request,
                         const int *fds, unsigned num_fds)
{
    struct iovec iov = { request, sizeof(*request) };
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(RING_JAIL_MAX_FDS * sizeof(int))];
    } control = {
        .header = {
            .cmsg_level = SOL_SOCKET,
            .cmsg_type = SCM_RIGHTS,
            .cmsg_len = CMSG_LEN(num_fds * sizeof(int)),
        },
    };
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
    };

    request->version = RING_JAIL_VERSION;
    if (num_fds) {
        memcpy(CMSG_DATA(&control.header), fds, num_fds * sizeof(int));
        msg.msg_control = &control;
        msg.msg_controllen = CMSG_SPACE(num_fds * sizeof(int));
    }
    return RETRY_ON_EINTR(sendmsg(jail->control, &msg, MSG_NOSIGNAL)) ==
           sizeof(*request);
}

/* @fd: what came with the reply, -1 if nothing did; or NULL. */
static bool receive_reply(RingJail *jail, RingJailReply *reply, int *fd,
                          Error **errp)
{
    struct iovec iov = { reply, sizeof(*reply) };
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };
    int got = -1;
    ssize_t len;

    len = RETRY_ON_EINTR(recvmsg(jail->control, &msg, MSG_CMSG_CLOEXEC));
    if (len <= 0) {
        set_silence_error(jail, len < 0 ? errno : 0, errp);
        return false;
    }
    if (msg.msg_controllen >= CMSG_LEN(sizeof(int)) &&
        control.header.cmsg_level == SOL_SOCKET &&
        control.header.cmsg_type == SCM_RIGHTS) {
        memcpy(&got, CMSG_DATA(&control.header), sizeof(got));
    }
    if (fd) {
        *fd = got;
    } else if (got >= 0) {
        close(got);
    }
    if (msg.msg_flags & MSG_CTRUNC) {
        error_setg(errp, "QEMU has no file descriptor left for the jail of the "
                   "rings; raise the limit of open files (ulimit -n)");
        goto fail;
    }
    if (len != sizeof(*reply)) {
        *reply = (RingJailReply) { .step = RING_JAIL_STEP_REQUEST,
                                   .error = EPROTO };
    }
    if (reply->step) {
        set_reply_error(reply, errp);
        goto fail;
    }
    return true;

fail:
    if (fd && got >= 0) {
        close(got);
        *fd = -1;
    }
    return false;
}

static bool request(RingJail *jail, RingJailRequest *req, const int *fds,
                    unsigned num_fds, RingJailReply *reply, int *fd,
                    Error **errp)
{
    RingJailReply unused;

    /* If the jail has ended, there is an answer or an end that says why. */
    if (!send_request(jail, req, fds, num_fds) && errno != EPIPE &&
        errno != ECONNRESET) {
        error_setg_errno(errp, errno, "cannot talk to the jail of the rings; "
                         "see QEMU's limits of open files and memory, and the "
                         "host's security modules");
        return false;
    }
    return receive_reply(jail, reply ?: &unused, fd, errp);
}

/* Setting it up */

/* Opens the cgroup.procs of each directory in @list, which may be NULL. */
static bool open_cgroups(const char *list, int *fds, unsigned *num_fds,
                         Error **errp)
{
    g_auto(GStrv) dirs = g_strsplit(list ?: "", ":", -1);

    for (char **dir = dirs; *dir; dir++) {
        g_autofree char *path = g_build_filename(*dir, "cgroup.procs", NULL);

        if (*num_fds == RING_JAIL_MAX_FDS) {
            error_setg(errp, "jail-cgroup names more than %d directories; one "
                       "for each controller is enough", RING_JAIL_MAX_FDS - 2);
            return false;
        }
        fds[*num_fds] = open(path, O_WRONLY | O_CLOEXEC);
        if (fds[*num_fds] < 0) {
            error_setg_errno(errp, errno, "jail-cgroup: cannot open '%s'; make "
                             "that cgroup and let QEMU's user write to it",
                             path);
            return false;
        }
        ++*num_fds;
    }
    return true;
}

static bool confine(RingJail *jail, const RingJailConfig *config, Error **errp)
{
    RingJailRequest req = {
        .type = RING_JAIL_CONFINE,
        .confine.file_size = config->file_size,
    };
    int fds[RING_JAIL_MAX_FDS] = { config->file_fd, jail->doorbell };
    unsigned num_fds = 2;
    int pidfd = -1;
    bool ok;

    ok = open_cgroups(config->cgroups, fds, &num_fds, errp) &&
         request(jail, &req, fds, num_fds, NULL, &pidfd, errp);
    WITH_QEMU_LOCK_GUARD(&jail->lock) {
        jail->pidfd = pidfd;
    }
    for (unsigned i = 2; i < num_fds; i++) {
        close(fds[i]);
    }
    if (ok && jail->pidfd < 0) {
        error_setg(errp, "the jail of the rings gave no handle of itself; use "
                   "the " HELPER " of this very QEMU");
        return false;
    }
    return ok;
}

static bool map_region(RingJail *jail, const RingJailRegion *region,
                       Error **errp)
{
    RingJailRequest req = {
        .type = RING_JAIL_REGION,
        .region = {
            .gpa = region->gpa,
            .size = region->size,
            .offset = region->offset,
        },
    };

    if (region->gpa > RING_JAIL_END - RING_JAIL_BASE ||
        region->size > RING_JAIL_END - RING_JAIL_BASE - region->gpa) {
        error_setg(errp, "guest memory at 0x%" PRIx64 " lies beyond the %llu "
                   "TiB that the jail of the rings has room for; use a smaller "
                   "maxmem or passthrough=off", region->gpa,
                   (RING_JAIL_END - RING_JAIL_BASE) >> 40);
        return false;
    }
    return request(jail, &req, &region->fd, 1, NULL, NULL, errp);
}

RingJail *ring_jail_alloc(Error **errp)
{
    int doorbell = eventfd(0, EFD_CLOEXEC);
    RingJail *jail;

    /* Not one that never blocks, as an EventNotifier has. */
    if (doorbell < 0) {
        error_setg_errno(errp, errno, "no eventfd is left for the jail of the "
                         "rings; raise the limit of open files (ulimit -n)");
        return NULL;
    }
    jail = g_new0(RingJail, 1);
    qemu_mutex_init(&jail->lock);
    jail->control = -1;
    jail->pidfd = -1;
    jail->doorbell = doorbell;
    return jail;
}

bool ring_jail_start(RingJail *jail, const RingJailConfig *config,
                     Error **errp)
{
    bool ok = config->launcher_path ?
              connect_launcher(jail, config->launcher_path, errp) :
              get_process(jail, config, errp);

    if (!ok) {
        return false;
    }
    if (!set_patience(jail->control)) {
        error_setg_errno(errp, errno, "cannot set a time limit for the jail of "
                         "the rings; report this as a bug");
        return false;
    }
    if (!confine(jail, config, errp)) {
        return false;
    }
    for (unsigned i = 0; i < config->num_regions; i++) {
        if (!map_region(jail, &config->regions[i], errp)) {
            return false;
        }
    }
    trace_ring_jail_new(jail, ring_jail_pid(jail), config->num_regions);
    return true;
}

RingJail *ring_jail_new(const RingJailConfig *config, Error **errp)
{
    RingJail *jail = ring_jail_alloc(errp);

    if (jail && !ring_jail_start(jail, config, errp)) {
        ring_jail_free(jail);
        return NULL;
    }
    return jail;
}

bool ring_jail_add_ring(RingJail *jail, const RestrictedRingParams *params,
                        RestrictedRingLayout *layout, Error **errp)
{
    RingJailRequest req = {
        .type = RING_JAIL_RING,
        .ring = {
            .ring_addr = (uintptr_t)params->ring_mem,
            .sqe_addr = (uintptr_t)params->sqe_mem,
            .ring_size = params->ring_size,
            .sqe_size = params->sqe_size,
            .sq_entries = params->sq_entries,
            .cq_entries = params->cq_entries,
            .idle_ms = params->idle_ms,
            .max_workers = params->max_workers,
            .cpu = params->cpu,
            .attach = params->attach_fd,
            .iopoll = params->iopoll,
            .readonly = params->readonly,
        },
    };
    RingJailReply reply;

    WITH_QEMU_LOCK_GUARD(&jail->lock) {
        jail->writes_memory = !jail->cancelled;
    }
    if (!jail->writes_memory) {
        error_setg(errp, "the start of the rings was cancelled");
        return false;
    }
    if (jail->num_rings == RING_JAIL_MAX_RINGS) {
        error_setg(errp, "a jail has room for %d rings; use fewer queues",
                   RING_JAIL_MAX_RINGS);
        return false;
    }
    if (!request(jail, &req, &params->event_fd, params->event_fd >= 0, &reply,
                 &jail->fdinfo[jail->num_rings], errp)) {
        return false;
    }
    *layout = reply.layout;
    jail->num_rings++;
    return true;
}

bool ring_jail_enable(RingJail *jail, Error **errp)
{
    RingJailRequest req = { .type = RING_JAIL_ENABLE };
    union {
        RingJailReply reply;
        char running;
    } answer = {};
    ssize_t len;

    send_request(jail, &req, NULL, 0);
    len = RETRY_ON_EINTR(recv(jail->control, &answer, sizeof(answer), 0));
    trace_ring_jail_enable(jail, len);
    if (len == 1 && answer.running == RING_JAIL_RUNNING) {
        return true;
    }
    if (len == sizeof(answer.reply) && answer.reply.step) {
        set_reply_error(&answer.reply, errp);
    } else {
        set_silence_error(jail, len < 0 ? errno : 0, errp);
    }
    return false;
}

/* While it runs */

void ring_jail_doorbell(RingJail *jail)
{
    static const uint64_t one = 1;

    /* The count would have to come near 2^64 for this to fail or block. */
    while (write(jail->doorbell, &one, sizeof(one)) < 0 && errno == EINTR) {
        continue;
    }
}

static void put_query(Query *q)
{
    if (qatomic_fetch_dec(&q->users) == 1) {
        qemu_sem_destroy(&q->answered);
        for (unsigned i = 0; i < q->num; i++) {
            if (q->fdinfo[i] >= 0) {
                close(q->fdinfo[i]);
            }
        }
        g_free(q);
    }
}

static void *answer(void *opaque)
{
    Query *q = opaque;

    for (unsigned i = 0; i < q->num; i++) {
        bool known = q->fdinfo[i] >= 0 &&
                     restricted_ring_read_counters(q->fdinfo[i],
                                                   &q->rings[i].counters);

        qatomic_store_release(&q->rings[i].known, known);
    }
    qemu_sem_post(&q->answered);
    put_query(q);
    return NULL;
}

static Query *start_query(RingJail *jail)
{
    Query *q = g_new0(Query, 1);
    GThread *thread;

    q->users = 2;
    q->num = jail->num_rings;
    for (unsigned i = 0; i < q->num; i++) {
        q->fdinfo[i] = jail->fdinfo[i] < 0 ? -1 : qemu_dup(jail->fdinfo[i]);
    }
    qemu_sem_init(&q->answered, 0);
    thread = g_thread_try_new("ring-counters", answer, q, NULL);
    if (!thread) {
        /* Not worth more than that there are no counters. */
        put_query(q);
        put_query(q);
        return NULL;
    }
    g_thread_unref(thread);
    return q;
}

/*
 * In a thread: the kernel lists all completions that found the CQ full along
 * with the counters, and a guest can have made millions of these.
 */
void ring_jail_read_counters(RingJail *jail)
{
    int64_t start = g_get_monotonic_time();
    Query *q = jail->unanswered;

    memset(jail->counters, 0, sizeof(jail->counters));
    if (start - jail->asking_since > COUNTERS_REST_MS * 1000) {
        jail->asking_since = start;
        jail->asked_us = 0;
    } else if (jail->asked_us > COUNTERS_MS * 1000) {
        return;
    }
    if (q) {
        /* The kernel is still at it; what it says will be old. */
        if (qemu_sem_timedwait(&q->answered, 0) < 0) {
            return;
        }
        put_query(q);
        jail->unanswered = NULL;
    }
    q = start_query(jail);
    if (!q) {
        return;
    }
    if (qemu_sem_timedwait(&q->answered, COUNTERS_MS) < 0) {
        jail->unanswered = q;
    }
    jail->asked_us += g_get_monotonic_time() - start;
    for (unsigned i = 0; i < q->num; i++) {
        if (qatomic_load_acquire(&q->rings[i].known)) {
            jail->counters[i] = q->rings[i];
        }
    }
    if (!jail->unanswered) {
        put_query(q);
    }
}

bool ring_jail_get_counters(RingJail *jail, unsigned index,
                            RestrictedRingCounters *counters)
{
    assert(index < jail->num_rings);
    *counters = jail->counters[index].counters;
    return jail->counters[index].known;
}

pid_t ring_jail_pid(RingJail *jail)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fdinfo/%d",
                                            jail->pidfd);
    g_autofree char *text = NULL;
    const char *line;
    int pid;

    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        return 0;
    }
    line = strstr(text, "\nPid:\t");
    /* -1: it has ended, 0: it is of another PID namespace. */
    return line && qemu_strtoi(line + strlen("\nPid:\t"), &line, 10,
                               &pid) == 0 && pid > 0 ? pid : 0;
}

int ring_jail_pidfd(RingJail *jail)
{
    return jail->pidfd;
}

/* Its end */

void ring_jail_kill(RingJail *jail)
{
    QEMU_LOCK_GUARD(&jail->lock);
    trace_ring_jail_kill(jail);
    if (jail->control >= 0) {
        /* A jail of another user can only be asked, by the socket's end. */
        shutdown(jail->control, SHUT_RDWR);
    }
    if (jail->pidfd >= 0) {
        syscall(__NR_pidfd_send_signal, jail->pidfd, SIGKILL, NULL, 0);
    } else if (jail->child) {
        kill(jail->child, SIGKILL);
    }
}

bool ring_jail_cancel(RingJail *jail)
{
    WITH_QEMU_LOCK_GUARD(&jail->lock) {
        jail->cancelled = true;
    }
    ring_jail_kill(jail);
    /* Set by nobody any more. */
    return jail->writes_memory;
}

static void reap_child(RingJail *jail)
{
    if (jail->child) {
        /* Somebody (-daemonize, a test) may have SIGCHLD ignored: no child. */
        while (waitpid(jail->child, NULL, 0) < 0 && errno == EINTR) {
            continue;
        }
        WITH_QEMU_LOCK_GUARD(&jail->lock) {
            jail->child = 0;
        }
    }
}

bool ring_jail_ended(RingJail *jail, int timeout_ms)
{
    struct pollfd pfd = { .fd = jail->pidfd, .events = POLLIN };
    int64_t start = g_get_monotonic_time();
    int ret;

    if (jail->pidfd < 0) {
        return true;
    }
    do {
        int64_t left = timeout_ms - (g_get_monotonic_time() - start) / 1000;

        ret = poll(&pfd, 1, timeout_ms < 0 ? -1 : MAX(left, 0));
    } while (ret < 0 && errno == EINTR);
    return ret > 0;
}

/* The contents of a cgroup's file, or NULL; to be freed. */
static char *read_cgroup(const char *mount, const char *group,
                         const char *file)
{
    g_autofree char *path = g_build_filename("/sys/fs/cgroup", mount, group,
                                             file, NULL);
    char *text = NULL;

    g_file_get_contents(path, &text, NULL, NULL);
    return text;
}

char *ring_jail_frozen(RingJail *jail)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/cgroup",
                                            ring_jail_pid(jail));
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;

    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        return NULL;
    }
    lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++) {
        /* number:controllers:path; version 2 lets frozen processes die */
        g_auto(GStrv) part = g_strsplit(*line, ":", 3);
        g_autofree char *state = NULL;

        if (g_strv_length(part) < 3) {
            continue;
        }
        if (g_str_equal(part[1], "freezer")) {
            state = read_cgroup("freezer", part[2], "freezer.state");
            if (state && g_str_has_prefix(state, "FR")) {
                return g_strdup(part[2]);   /* FROZEN or FREEZING */
            }
        }
    }
    return NULL;
}

void ring_jail_free(RingJail *jail)
{
    int64_t start = g_get_monotonic_time();

    if (!jail) {
        return;
    }
    ring_jail_kill(jail);
    ring_jail_ended(jail, -1);
    reap_child(jail);
    trace_ring_jail_free(jail, g_get_monotonic_time() - start);
    for (unsigned i = 0; i < jail->num_rings; i++) {
        if (jail->fdinfo[i] >= 0) {
            close(jail->fdinfo[i]);
        }
    }
    if (jail->unanswered) {
        put_query(jail->unanswered);
    }
    if (jail->control >= 0) {
        close(jail->control);
    }
    if (jail->pidfd >= 0) {
        close(jail->pidfd);
    }
    close(jail->doorbell);
    qemu_mutex_destroy(&jail->lock);
    g_free(jail);
}
