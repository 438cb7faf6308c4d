/*
 * The rings of one disk, whoever owns them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "block/ring-group.h"
#include "trace.h"

/* A process takes no longer to die but for its storage or a frozen cgroup. */
#define KILL_MS         100
#define LINGER_MS       20

typedef struct GroupRing {
    RestrictedRingParams params;
    const void *mem;            /* SQ and CQ ring, in QEMU */
    RestrictedRingLayout layout;
    RestrictedRing *ring;       /* NULL: in the jail */
} GroupRing;

struct RingGroup {
    PassthroughFile *file;
    RingJail *jail;             /* NULL: QEMU owns the rings */
    RingJailConfig config;      /* with copies of all that it points to */
    bool no_fds;                /* one of the copies failed */
    GArray *rings;              /* of GroupRing */
    RingGroupStarted *started;
    RingGroupEnded *ended;
    void *opaque;
    QEMUTimer *linger;          /* for the end of what nobody waits for */

    /* The start, in a thread of its own */
    QemuMutex lock;             /* protects cancelled */
    bool cancelled;
    GThread *thread;            /* NULL: it is over */
    QEMUBH *done;               /* scheduled at its end */
    Error *error;
};

static GroupRing *get_ring(RingGroup *group, unsigned ring)
{
    assert(ring < group->rings->len);
    return &g_array_index(group->rings, GroupRing, ring);
}

/* Set-up */

static int copy_fd(RingGroup *group, int fd)
{
    int copy = qemu_dup(fd);

    group->no_fds |= copy < 0;
    return copy;
}

/* Memory and drive may be unplugged while another thread uses these. */
static void copy_config(RingGroup *group, const RingJailConfig *config)
{
    RingJailRegion *regions = g_memdup2(config->regions, config->num_regions *
                                        sizeof(*regions));

    group->config = *config;
    group->config.launcher_path = g_strdup(config->launcher_path);
    group->config.cgroups = g_strdup(config->cgroups);
    group->config.launcher_fd = config->launcher_fd < 0 ? -1 :
                                copy_fd(group, config->launcher_fd);
    for (unsigned i = 0; i < config->num_regions; i++) {
        regions[i].fd = copy_fd(group, config->regions[i].fd);
    }
    group->config.regions = regions;
    group->config.file_fd = passthrough_file_fd(group->file);
}

static void close_copy(int fd)
{
    if (fd >= 0) {
        close(fd);
    }
}

static void free_config(RingGroup *group)
{
    if (!group->jail) {
        return;
    }
    for (unsigned i = 0; i < group->config.num_regions; i++) {
        close_copy(group->config.regions[i].fd);
    }
    close_copy(group->config.launcher_fd);
    g_free((void *)group->config.regions);
    g_free((void *)group->config.launcher_path);
    g_free((void *)group->config.cgroups);
    group->config = (RingJailConfig) { .launcher_fd = -1 };
    for (unsigned i = 0; i < group->rings->len; i++) {
        close_copy(get_ring(group, i)->params.event_fd);
        get_ring(group, i)->params.event_fd = -1;
    }
}

RingGroup *ring_group_new(PassthroughFile *file, const RingJailConfig *jail,
                          Error **errp)
{
    RingJail *process = NULL;
    RingGroup *group;

    if (jail) {
        process = ring_jail_alloc(errp);
        if (!process) {
            return NULL;
        }
    }
    group = g_new(RingGroup, 1);
    *group = (RingGroup) {
        .file = file,
        .jail = process,
        .rings = g_array_new(false, true, sizeof(GroupRing)),
    };
    qemu_mutex_init(&group->lock);
    if (jail) {
        copy_config(group, jail);
    }
    return group;
}

const PassthroughFile *ring_group_file(const RingGroup *group)
{
    return group->file;
}

void ring_group_add(RingGroup *group, const RestrictedRingParams *params,
                    const void *mem)
{
    GroupRing ring = { .params = *params, .mem = mem };

    ring.params.readonly = passthrough_file_is_readonly(group->file);
    ring.params.file_fd = passthrough_file_fd(group->file);
    if (group->jail && params->event_fd >= 0) {
        ring.params.event_fd = copy_fd(group, params->event_fd);
    }
    g_array_append_val(group->rings, ring);
}

/* Any thread, as all down to run() */
static bool create_ring(RingGroup *group, GroupRing *ring, Error **errp)
{
    RestrictedRingParams params = ring->params;

    if (group->jail) {
        return ring_jail_add_ring(group->jail, &params, &ring->layout, errp);
    }
    if (params.attach_fd >= 0) {
        params.attach_fd =
            restricted_ring_fd(get_ring(group, params.attach_fd)->ring);
    }
    ring->ring = restricted_ring_new(&params, errp);
    if (!ring->ring) {
        return false;
    }
    ring->layout = *restricted_ring_layout(ring->ring);
    return true;
}

/* A jail has a say of its own about being cancelled. */
static bool enable_rings(RingGroup *group, Error **errp)
{
    if (group->jail) {
        return ring_jail_enable(group->jail, errp);
    }
    for (unsigned i = 0; i < group->rings->len; i++) {
        if (!restricted_ring_enable(get_ring(group, i)->ring, errp)) {
            return false;
        }
    }
    return true;
}

/* The guest is told one layout for all rings. */
static bool check_layouts(RingGroup *group, Error **errp)
{
    for (unsigned i = 1; i < group->rings->len; i++) {
        if (memcmp(&get_ring(group, i)->layout, &get_ring(group, 0)->layout,
                   sizeof(RestrictedRingLayout))) {
            error_setg(errp, "the kernel laid ring %u out unlike the first "
                       "one; report this as a bug and use passthrough=off", i);
            return false;
        }
    }
    return true;
}

static bool is_cancelled(RingGroup *group, Error **errp)
{
    QEMU_LOCK_GUARD(&group->lock);
    if (group->cancelled) {
        error_setg(errp, "the start of the rings was cancelled");
    }
    return group->cancelled;
}

static bool run(RingGroup *group, Error **errp)
{
    if (group->no_fds) {
        error_setg(errp, "no file descriptor is left for the rings; raise the "
                   "limit of open files (ulimit -n)");
        return false;
    }
    if (group->jail && !ring_jail_start(group->jail, &group->config, errp)) {
        return false;
    }
    for (unsigned i = 0; i < group->rings->len; i++) {
        if (is_cancelled(group, errp) ||
            !create_ring(group, get_ring(group, i), errp)) {
            return false;
        }
    }
    return check_layouts(group, errp) && !is_cancelled(group, errp) &&
           enable_rings(group, errp);
}

bool ring_group_start(RingGroup *group, Error **errp)
{
    bool ok = run(group, errp);

    free_config(group);
    return ok;
}

static void jail_ended(void *opaque)
{
    RingGroup *group = opaque;

    qemu_set_fd_handler(ring_jail_pidfd(group->jail), NULL, NULL, NULL);
    /* May free the group. */
    group->ended(group->opaque);
}

static void watch(RingGroup *group, RingGroupEnded *ended, void *opaque)
{
    group->ended = ended;
    group->opaque = opaque;
    qemu_set_fd_handler(ring_jail_pidfd(group->jail), jail_ended, NULL, group);
}

/* Back in the main loop */
static void start_done(void *opaque)
{
    RingGroup *group = opaque;

    g_thread_join(g_steal_pointer(&group->thread));
    if (group->cancelled) {
        error_free(g_steal_pointer(&group->error));
        ring_group_abandon(group);
        return;
    }
    free_config(group);
    if (!group->error && group->jail) {
        watch(group, group->ended, group->opaque);
    }
    group->started(group->opaque, g_steal_pointer(&group->error));
}

static void *start_thread(void *opaque)
{
    RingGroup *group = opaque;

    if (!run(group, &group->error) && group->jail) {
        /* Here, so that the main loop finds it ended. */
        ring_jail_cancel(group->jail);
        ring_jail_ended(group->jail, KILL_MS);
    }
    qemu_bh_schedule(group->done);
    return NULL;
}

bool ring_group_start_async(RingGroup *group, RingGroupStarted *started,
                            RingGroupEnded *ended, void *opaque, Error **errp)
{
    group->started = started;
    group->ended = ended;
    group->opaque = opaque;
    /* A context that no nested loop of a virtual CPU's thread polls */
    group->done = aio_bh_new(iohandler_get_aio_context(), start_done, group);
    group->thread = g_thread_try_new("ring-start", start_thread, group, NULL);
    if (!group->thread) {
        error_setg(errp, "no thread is left to start the rings; raise the "
                   "limit of processes (ulimit -u, pids cgroup)");
        return false;
    }
    return true;
}

bool ring_group_cancel(RingGroup *group)
{
    if (!group->thread) {
        return true;
    }
    WITH_QEMU_LOCK_GUARD(&group->lock) {
        group->cancelled = true;
    }
    if (group->jail && !ring_jail_cancel(group->jail)) {
        passthrough_file_release_nodes(group->file);
        return false;
    }
    /* It waits for nothing but a process that has been killed. */
    g_thread_join(g_steal_pointer(&group->thread));
    qemu_bh_cancel(group->done);
    error_free(g_steal_pointer(&group->error));
    return true;
}

/* While they run */

const RestrictedRingLayout *ring_group_layout(RingGroup *group, unsigned ring)
{
    return &get_ring(group, ring)->layout;
}

int ring_group_doorbell(RingGroup *group, unsigned ring)
{
    if (group->jail) {
        ring_jail_doorbell(group->jail);
        return 0;
    }
    return restricted_ring_wakeup(get_ring(group, ring)->ring);
}

void ring_group_read_counters(RingGroup *group)
{
    if (group->jail) {
        ring_jail_read_counters(group->jail);
    }
}

void ring_group_get_counters(RingGroup *group, unsigned ring,
                             RestrictedRingCounters *counters)
{
    GroupRing *r = get_ring(group, ring);

    if (r->ring) {
        restricted_ring_get_counters(r->ring, counters);
    } else if (!ring_jail_get_counters(group->jail, ring, counters)) {
        restricted_ring_guess_counters(r->mem, &r->layout, counters);
    }
}

pid_t ring_group_pid(RingGroup *group)
{
    return group->jail ? ring_jail_pid(group->jail) : 0;
}

/* Their end */

bool ring_group_ends_by_itself(RingGroup *group)
{
    return group->jail;
}

int ring_group_end_fd(RingGroup *group)
{
    return group->jail ? ring_jail_pidfd(group->jail) : -1;
}

void ring_group_end(RingGroup *group)
{
    ring_jail_kill(group->jail);
}

static void unwatch(RingGroup *group)
{
    if (ring_jail_pidfd(group->jail) >= 0) {
        qemu_set_fd_handler(ring_jail_pidfd(group->jail), NULL, NULL, NULL);
    }
}

static void free_rings(RingGroup *group)
{
    for (unsigned i = 0; i < group->rings->len; i++) {
        restricted_ring_free(g_steal_pointer(&get_ring(group, i)->ring));
    }
}

/*
 * Whether the kernel has taken all SQEs that the guest has published, and has
 * posted a CQE for each.
 */
static bool is_idle(RingGroup *group)
{
    for (unsigned i = 0; i < group->rings->len; i++) {
        GroupRing *r = get_ring(group, i);
        const uint32_t *tail = (const uint32_t *)((const char *)r->mem +
                                                  r->layout.sq_tail);
        RestrictedRingCounters now;

        if (!r->ring) {
            continue;       /* The start has failed before. */
        }
        restricted_ring_get_counters(r->ring, &now);
        if (!now.from_kernel || now.submitted != now.completed ||
            now.submitted != qatomic_read(tail)) {
            return false;
        }
    }
    return true;
}

char *ring_group_stop(RingGroup *group, bool quiesced)
{
    int64_t start = g_get_monotonic_time();
    char *frozen = NULL;

    if (group->jail) {
        unwatch(group);
        ring_jail_kill(group->jail);
        while (!frozen && !ring_jail_ended(group->jail, KILL_MS)) {
            frozen = ring_jail_frozen(group->jail);
        }
    } else {
        bool idle = quiesced && is_idle(group);

        free_rings(group);
        while (!passthrough_file_let_go(group->file) && !idle) {
            g_usleep(200);
        }
    }
    passthrough_file_let_go(group->file);
    passthrough_file_release_nodes(group->file);
    trace_ring_group_stop(group, frozen ?: "", g_get_monotonic_time() - start);
    return frozen;
}

bool ring_group_ended(RingGroup *group)
{
    return !group->jail || ring_jail_ended(group->jail, 0);
}

bool ring_group_released(RingGroup *group)
{
    return ring_group_ended(group) && passthrough_file_let_go(group->file);
}

void ring_group_free(RingGroup *group)
{
    if (!group) {
        return;
    }
    free_rings(group);
    free_config(group);
    if (group->jail) {
        unwatch(group);
        ring_jail_free(group->jail);
    }
    if (group->linger) {
        timer_free(group->linger);
    }
    if (group->done) {
        qemu_bh_delete(group->done);
    }
    passthrough_file_close(group->file);
    qemu_mutex_destroy(&group->lock);
    g_array_free(group->rings, true);
    g_free(group);
}

static void free_if_ended(void *opaque)
{
    RingGroup *group = opaque;

    if (ring_group_ended(group)) {
        ring_group_free(group);
    } else {
        timer_mod(group->linger, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) +
                                 LINGER_MS);
    }
}

void ring_group_abandon(RingGroup *group)
{
    passthrough_file_let_go(group->file);
    passthrough_file_release_nodes(group->file);
    if (group->jail) {
        unwatch(group);
        ring_jail_kill(group->jail);
    } else {
        free_rings(group);
    }
    group->linger = timer_new_ms(QEMU_CLOCK_REALTIME, free_if_ended, group);
    free_if_ended(group);
}
