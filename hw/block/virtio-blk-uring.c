/*
 * virtio-blk-uring: a virtio-blk whose data path is a host io_uring
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The device is a virtio-blk in all respects.  A guest driver that knows the
 * feature bit gives it memory for an io_uring per virtqueue, and from then on
 * has its requests executed by the host kernel; QEMU rings doorbells.  The
 * virtqueues stay for what a ring cannot do and for the time without rings.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/module.h"
#include "qemu/ctype.h"
#include "qemu/cutils.h"
#include "block/block.h"
#include "hw/qdev-properties.h"
#include "hw/virtio/virtio-blk.h"
#include "monitor/monitor.h"
#include "system/block-backend.h"
#include "system/runstate.h"
#include "system/tcg.h"
#include "virtio-blk-uring-internal.h"
#include "trace.h"

/* What TYPE_VIRTIO_BLK does, for each of what we do instead. */
static VirtioDeviceClass parent;

static void handle_output(VirtIODevice *vdev, VirtQueue *vq)
{
    VirtIOBlkUring *s = VIRTIO_BLK_URING(vdev);
    VirtIOBlock *vblk = VIRTIO_BLK(vdev);

    if (!vblk->ioeventfd_started && !vblk->ioeventfd_disabled) {
        /* The guest is early.  Starting ioeventfd notifies all queues. */
        virtio_device_start_ioeventfd(vdev);
        if (vblk->ioeventfd_started) {
            return;
        }
    }
    virtio_blk_uring_doorbell(s, virtio_get_queue_index(vq));
    virtio_blk_handle_vq(vblk, vq);
}

static void ram_changed(VirtIOBlkUringRam *ram, bool lost)
{
    VirtIOBlkUring *s = container_of(ram, VirtIOBlkUring, ram);

    trace_virtio_blk_uring_ram(s, ram->windows->len, lost);
    if (s->state == VIRTIO_BLK_URING_STARTING ||
        virtio_blk_uring_has_rings(s)) {
        /* A guest can move its memory about (PAM and SMRAM registers). */
        virtio_blk_uring_backoff_guest(s);
    }
    if (lost || s->state == VIRTIO_BLK_URING_STARTING) {
        virtio_blk_uring_revoke(s, VIRTIO_BLK_URING_REASON_MEMORY);
    } else if (s->state == VIRTIO_BLK_URING_RING) {
        /* There is more of it now, which the driver learns with new rings. */
        virtio_blk_uring_suspend(s, VIRTIO_BLK_URING_REASON_MEMORY);
    }
}

static void vm_state_changed(void *opaque, bool running, RunState state)
{
    VirtIOBlkUring *s = opaque;

    if (!running) {
        /* A stopped guest cannot drain, and a stopped machine does no I/O. */
        virtio_blk_uring_revoke(s, VIRTIO_BLK_URING_REASON_STOPPED);
    } else if (s->state != VIRTIO_BLK_URING_RING) {
        virtio_blk_uring_look(s);
        virtio_notify_config(VIRTIO_DEVICE(s));
    }
}

static uint64_t get_features(VirtIODevice *vdev, uint64_t features,
                             Error **errp)
{
    features = parent.get_features(vdev, features, errp);
    if (VIRTIO_BLK_URING(vdev)->offered) {
        virtio_add_feature(&features, VIRTIO_BLK_F_URING);
    }
    return features;
}

static void get_config(VirtIODevice *vdev, uint8_t *config)
{
    VirtIOBlkUring *s = VIRTIO_BLK_URING(vdev);

    if (blk_bs(VIRTIO_BLK(s)->blk)) {
        parent.get_config(vdev, config);
    } else if (config != vdev->config) {
        /*
         * The drive was taken away (drive_del), and the parent would look into
         * it.  Its part of the configuration stays what it was.
         */
        memcpy(config, vdev->config, vdev->config_len);
    }
    if (vdev->config_len > VIRTIO_BLK_URING_CONFIG_OFFSET) {
        virtio_blk_uring_get_config(s, config);
        s->wce_shown = ((struct virtio_blk_config *)config)->wce;
    }
}

static void set_config(VirtIODevice *vdev, const uint8_t *config)
{
    VirtIOBlkUring *s = VIRTIO_BLK_URING(vdev);

    if (vdev->config_len <= VIRTIO_BLK_URING_CONFIG_OFFSET) {
        parent.set_config(vdev, config);
        return;
    }
    /*
     * The parent takes each write for one to wce, the only field of its own
     * that can be written, and @config may be older than the last change.
     */
    if (((struct virtio_blk_config *)config)->wce != s->wce_shown) {
        parent.set_config(vdev, config);
        /* The rings' file was opened for the other kind of writes. */
        virtio_blk_uring_backoff_guest(s);
        virtio_blk_uring_revoke(s, VIRTIO_BLK_URING_REASON_DRIVER);
    } else {
        virtio_blk_uring_set_config(s, vdev->config);
    }
    /* The next write is told from what stands here. */
    get_config(vdev, vdev->config);
}

static void set_status(VirtIODevice *vdev, uint8_t status)
{
    if (!(status & VIRTIO_CONFIG_S_DRIVER_OK)) {
        virtio_blk_uring_driver_gone(VIRTIO_BLK_URING(vdev));
    }
    parent.set_status(vdev, status);
}

static void reset(VirtIODevice *vdev)
{
    VirtIOBlkUring *s = VIRTIO_BLK_URING(vdev);

    if (s->offered) {
        virtio_blk_uring_path_reset(s);
    }
    parent.reset(vdev);
    get_config(vdev, vdev->config);
}

/*
 * The transport stops to listen to the guest, as when bus mastering is
 * switched off.
 */
static void stop_ioeventfd(VirtIODevice *vdev)
{
    virtio_blk_uring_driver_gone(VIRTIO_BLK_URING(vdev));
    parent.stop_ioeventfd(vdev);
}

void virtio_blk_uring_dma_changed(VirtIOBlkUring *s)
{
    if (!s->offered) {
        return;
    }
    if (!s->transport->dma_enabled(s->transport_opaque)) {
        virtio_blk_uring_driver_gone(s);
    } else {
        virtio_blk_uring_look(s);
        if (s->state == VIRTIO_BLK_URING_DEAD) {
            /* Which the driver was not told when it could not listen. */
            virtio_notify_config(VIRTIO_DEVICE(s));
        }
    }
}

/* Properties that make no sense or that a ring cannot honour. */
static bool check_properties(VirtIOBlkUring *s, Error **errp)
{
    BlockConf *conf = &VIRTIO_BLK(s)->conf.conf;
    BlockdevOnError rerror = conf->rerror, werror = conf->werror;

    if (!s->transport) {
        error_setg(errp, "passthrough needs a PCI device, whose config space "
                   "has room for the rings' registers; use "
                   "virtio-blk-uring-pci or passthrough=off");
        return false;
    }
    if (!s->transport->check(s->transport_opaque, errp)) {
        return false;
    }
    if (!s->sqpoll_idle_ms || s->sqpoll_idle_ms > 60000) {
        error_setg(errp, "sqpoll-idle-ms is %" PRIu32 ", which is not a time "
                   "that the kernel keeps; use 1 to 60000", s->sqpoll_idle_ms);
        return false;
    }
    if (s->iopoll == ON_OFF_AUTO_ON && !s->poll_queues) {
        error_setg(errp, "iopoll=on is about polled queues, and there are "
                   "none; add poll-queues=1 or more, or use iopoll=auto");
        return false;
    }
    if (s->sqpoll_cpu < -1 || s->sqpoll_cpu >= CPU_SETSIZE) {
        error_setg(errp, "sqpoll-cpu is %" PRId32 ", which is no CPU; use a "
                   "CPU number or -1 for any", s->sqpoll_cpu);
        return false;
    }
    if (rerror == BLOCKDEV_ON_ERROR_AUTO) {
        rerror = blk_get_on_error(conf->blk, true);
    }
    if (werror == BLOCKDEV_ON_ERROR_AUTO) {
        werror = blk_get_on_error(conf->blk, false);
        if (werror == BLOCKDEV_ON_ERROR_ENOSPC) {
            /* A drive's default, not somebody's wish. */
            werror = BLOCKDEV_ON_ERROR_REPORT;
        }
    }
    if (rerror != BLOCKDEV_ON_ERROR_REPORT ||
        werror != BLOCKDEV_ON_ERROR_REPORT) {
        error_setg(errp, "%s is set, but errors of a ring go to the guest "
                   "without QEMU seeing them; use rerror=report,werror=report "
                   "or passthrough=off",
                   rerror != BLOCKDEV_ON_ERROR_REPORT ? "rerror" : "werror");
        return false;
    }
    return true;
}

/* Where the jail is to come from */
static bool check_jail(VirtIOBlkUring *s, Error **errp)
{
    const char *name;

    if (s->isolation == VIRTIO_BLK_URING_ISOLATION_NONE) {
        if (s->jail || s->jail_cgroup) {
            error_setg(errp, "isolation=none means that there is no jail; "
                       "leave out %s or use isolation=process",
                       s->jail ? "jail" : "jail-cgroup");
            return false;
        }
        return true;
    }
    if (s->jail && s->jail_cgroup) {
        error_setg(errp, "jail-cgroup is for a jail that QEMU starts; have the "
                   "launcher at jail= place its jails in a cgroup");
        return false;
    }
    if (VIRTIO_BLK(s)->conf.num_queues > RING_JAIL_MAX_RINGS) {
        error_setg(errp, "num-queues and poll-queues are %u together, and a "
                   "jail has room for %d rings; use fewer",
                   VIRTIO_BLK(s)->conf.num_queues, RING_JAIL_MAX_RINGS);
        return false;
    }
    if (s->jail && strstart(s->jail, "fd:", &name)) {
        int fd = monitor_fd_param(monitor_cur(), name, errp);

        if (fd < 0) {
            return false;
        }
        /* Several disks can have a numbered one; a named one is ours now. */
        s->jail_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        if (!qemu_isdigit(name[0])) {
            close(fd);
        }
        if (s->jail_fd < 0) {
            error_setg_errno(errp, errno, "jail=%s cannot be used; give a "
                             "SOCK_SEQPACKET socket that is open", s->jail);
            return false;
        }
    }
    return true;
}

static void release_jail(VirtIOBlkUring *s)
{
    if (s->offered && s->jail_fd >= 0) {
        close(s->jail_fd);
        s->jail_fd = -1;
    }
}

/* The parent has given its queues a handler that knows no doorbell. */
static void replace_queue_handlers(VirtIOBlkUring *s)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(s);

    for (unsigned i = 0; i < s->num_rings; i++) {
        VirtQueue *vq;

        virtio_del_queue(vdev, i);
        vq = virtio_add_queue(vdev, VIRTIO_BLK(s)->conf.queue_size,
                              handle_output);
        assert(virtio_get_queue_index(vq) == i);
    }
}

void virtio_blk_uring_plugged(VirtIOBlkUring *s)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(s);
    size_t old = vdev->config_len;
    size_t new = VIRTIO_BLK_URING_CONFIG_OFFSET +
                 sizeof(struct virtio_blk_uring_config);

    QEMU_BUILD_BUG_ON(sizeof(struct virtio_blk_config) >
                      VIRTIO_BLK_URING_CONFIG_OFFSET);
    if (!s->offered) {
        return;
    }
    vdev->config = g_realloc(vdev->config, new);
    memset((char *)vdev->config + old, 0, new - old);
    vdev->config_len = new;
    get_config(vdev, vdev->config);
}

static void save(VirtIODevice *vdev, QEMUFile *f)
{
    parent.save(vdev, f);
    virtio_blk_uring_save_vmstate(VIRTIO_BLK_URING(vdev), f);
}

static int load(VirtIODevice *vdev, QEMUFile *f, int version_id)
{
    return parent.load(vdev, f, version_id) ?:
           virtio_blk_uring_load_vmstate(VIRTIO_BLK_URING(vdev), f);
}

static void free_rings(VirtIOBlkUring *s)
{
    for (unsigned i = 0; i < s->num_rings; i++) {
        event_notifier_cleanup(&s->rings[i].notifier);
        qemu_mutex_destroy(&s->rings[i].lock);
    }
    g_clear_pointer(&s->rings, g_free);
    s->num_rings = 0;
}

static bool alloc_rings(VirtIOBlkUring *s, unsigned num, Error **errp)
{
    s->rings = g_new0(VirtIOBlkUringRing, num);
    for (s->num_rings = 0; s->num_rings < num; s->num_rings++) {
        VirtIOBlkUringRing *ring = &s->rings[s->num_rings];

        ring->dev = s;
        ring->index = s->num_rings;
        ring->poll = ring->index >= num - s->poll_queues;
        ring->vector = VIRTIO_BLK_URING_NO_VECTOR;
        if (event_notifier_init(&ring->notifier, 0) < 0) {
            error_setg_errno(errp, errno, "no eventfd is left for a ring; "
                             "raise the limit of open files (ulimit -n)");
            free_rings(s);
            return false;
        }
        qemu_mutex_init(&ring->lock);
    }
    return true;
}

bool virtio_blk_uring_try_host(VirtIOBlkUring *s, Error **errp)
{
    if (!virtio_blk_uring_ram_check(&s->ram, s->jail_cgroup, errp) ||
        !virtio_blk_uring_probe(s, errp)) {
        return false;
    }
    for (unsigned i = 0; i < s->num_rings; i++) {
        s->rings[i].iopoll = s->rings[i].poll && !s->iopoll_error;
    }
    return true;
}

/*
 * The guest that arrives was told of rings by another host.  If there are none
 * here, it goes on over the virtqueues.
 */
static void try_destination(VirtIOBlkUring *s)
{
    Error *err = NULL;

    if (s->passthrough && !virtio_blk_uring_try_host(s, &err)) {
        warn_report("virtio-blk-uring '%s': the incoming guest will go on "
                    "over the virtqueues: %s", virtio_blk_uring_name(s),
                    error_get_pretty(err));
        s->error = g_strdup(error_get_pretty(err));
        error_free(err);
    }
}

/* All that can fail, before the parent's realize, which we could not undo. */
static bool prepare_passthrough(VirtIOBlkUring *s, Error **errp)
{
    VirtIOBlkConf *conf = &VIRTIO_BLK(s)->conf;
    uint32_t queue_size = MAX(conf->queue_size, 4);

    if (!check_properties(s, errp) || !check_jail(s, errp) ||
        !blkconf_blocksizes(&conf->conf, errp) ||
        !alloc_rings(s, conf->num_queues, errp)) {
        return false;
    }
    /* A wrong queue-size is for the parent to refuse. */
    s->cq_entries = MIN(pow2ceil(queue_size), VIRTQUEUE_MAX_SIZE);
    s->sq_entries = MIN(VIRTIO_BLK_URING_SQ_ENTRIES, s->cq_entries);
    s->offset_align = conf->conf.logical_block_size;
    virtio_blk_uring_ram_init(&s->ram, s->isolation ==
                              VIRTIO_BLK_URING_ISOLATION_PROCESS, ram_changed);
    if (s->arriving) {
        try_destination(s);
    } else if (!virtio_blk_uring_try_host(s, errp)) {
        virtio_blk_uring_ram_cleanup(&s->ram);
        free_rings(s);
        return false;
    }
    if (tcg_enabled() && s->passthrough) {
        warn_report_once("virtio-blk-uring: under TCG, code that the guest "
                         "reads through a ring into memory that held other "
                         "code is not noticed; use accel=kvm, or "
                         "passthrough=off for a disk that programs run from");
    }
    return true;
}

/* A virtio-blk and nothing more; frees @err. */
static void go_on_without_rings(VirtIOBlkUring *s, Error *err)
{
    if (s->passthrough) {
        warn_report("virtio-blk-uring '%s': passthrough=auto goes on without "
                    "rings: %s", virtio_blk_uring_name(s),
                    error_get_pretty(err));
        g_free(s->error);
        s->error = g_strdup(error_get_pretty(err));
    }
    error_free(err);
    release_jail(s);
    s->offered = false;
}

static void realize(DeviceState *dev, Error **errp)
{
    VirtIOBlkUring *s = VIRTIO_BLK_URING(dev);
    VirtIOBlkConf *conf = &VIRTIO_BLK(dev)->conf;
    uint16_t num_queues = conf->num_queues;
    Error *err = NULL;

    if (num_queues == VIRTIO_BLK_AUTO_NUM_QUEUES) {
        conf->num_queues = 1;
    }
    if (conf->num_queues + s->poll_queues > VIRTIO_QUEUE_MAX) {
        error_setg(errp, "num-queues=%u and poll-queues=%u are more than the "
                   "%u queues that a device can have; use fewer",
                   conf->num_queues, s->poll_queues, VIRTIO_QUEUE_MAX);
        goto fail;
    }
    if (conf->num_queues) {
        conf->num_queues += s->poll_queues;
    }

    /* What is wrong with the drive itself the parent says. */
    s->arriving = runstate_check(RUN_STATE_INMIGRATE);
    s->offered = (s->passthrough || (s->arriving && s->transport)) &&
                 conf->num_queues && conf->conf.blk &&
                 blk_is_inserted(conf->conf.blk);
    s->jail_fd = -1;
    if (s->offered && !prepare_passthrough(s, &err)) {
        if (s->passthrough_mode == ON_OFF_AUTO_ON) {
            error_propagate(errp, err);
            error_append_hint(errp, "With passthrough=auto the device starts "
                              "without rings where they are not possible.\n");
            goto fail;
        }
        /* Guests that know no rings can still arrive. */
        go_on_without_rings(s, err);
        err = NULL;
    }

    parent.realize(dev, &err);
    if (err) {
        if (s->poll_queues && VIRTIO_BLK(s)->conf.iothread_vq_mapping_list) {
            error_prepend(&err, "iothread-vq-mapping has to cover the %u "
                          "polled queues, which come last, too: ",
                          s->poll_queues);
        }
        error_propagate(errp, err);
        if (s->offered) {
            free_rings(s);
            virtio_blk_uring_ram_cleanup(&s->ram);
        }
        goto fail;
    }
    if (!s->offered) {
        return;
    }
    virtio_blk_uring_path_init(s);
    virtio_blk_uring_yield_init(s);
    replace_queue_handlers(s);
    s->vm_state = qdev_add_vm_change_state_handler(dev, vm_state_changed, s);
    return;

fail:
    g_clear_pointer(&s->error, g_free);
    g_clear_pointer(&s->iopoll_error, g_free);
    release_jail(s);
    s->offered = false;
    conf->num_queues = num_queues;
}

static void unrealize(DeviceState *dev)
{
    VirtIOBlkUring *s = VIRTIO_BLK_URING(dev);

    if (s->offered) {
        virtio_blk_uring_path_cleanup(s);
        virtio_blk_uring_yield_cleanup(s);
        qemu_del_vm_change_state_handler(s->vm_state);
        virtio_blk_uring_ram_cleanup(&s->ram);
    }
    parent.unrealize(dev);
    if (s->offered) {
        free_rings(s);
        release_jail(s);
    }
    g_clear_pointer(&s->error, g_free);
    g_clear_pointer(&s->iopoll_error, g_free);
}

static const Property properties[] = {
    DEFINE_PROP_SIGNED("passthrough", VirtIOBlkUring, passthrough_mode,
                       ON_OFF_AUTO_ON, virtio_blk_uring_prop_passthrough,
                       OnOffAuto),
    DEFINE_PROP_SIGNED("isolation", VirtIOBlkUring, isolation,
                       VIRTIO_BLK_URING_ISOLATION_PROCESS,
                       virtio_blk_uring_prop_isolation, int),
    DEFINE_PROP_STRING("jail", VirtIOBlkUring, jail),
    DEFINE_PROP_STRING("jail-cgroup", VirtIOBlkUring, jail_cgroup),
    DEFINE_PROP_UINT16("poll-queues", VirtIOBlkUring, poll_queues, 0),
    DEFINE_PROP_ON_OFF_AUTO("iopoll", VirtIOBlkUring, iopoll,
                            ON_OFF_AUTO_AUTO),
    DEFINE_PROP_UINT32("sqpoll-idle-ms", VirtIOBlkUring, sqpoll_idle_ms, 20),
    DEFINE_PROP_INT32("sqpoll-cpu", VirtIOBlkUring, sqpoll_cpu, -1),
    DEFINE_PROP_UINT16("sqpoll-threads", VirtIOBlkUring, sqpoll_threads, 1),
    DEFINE_PROP_BOOL("x-migrate-with-rings", VirtIOBlkUring,
                     migrate_with_rings, false),
    DEFINE_PROP_UNSIGNED_NODEFAULT("path-state", VirtIOBlkUring, state,
                                   virtio_blk_uring_prop_path_state, uint32_t),
};

static void instance_init(Object *obj)
{
    virtio_blk_uring_describe(obj);
}

static void class_init(ObjectClass *klass, void *data)
{
    VirtioDeviceClass *vdc = VIRTIO_DEVICE_CLASS(klass);

    parent = *vdc;
    device_class_set_props(DEVICE_CLASS(klass), properties);
    virtio_blk_uring_class_qom(klass);
    DEVICE_CLASS(klass)->desc = "virtio block device that hands a host "
                                "io_uring to the guest";
    vdc->realize = realize;
    vdc->unrealize = unrealize;
    vdc->get_features = get_features;
    vdc->get_config = get_config;
    vdc->set_config = set_config;
    vdc->set_status = set_status;
    vdc->reset = reset;
    vdc->save = save;
    vdc->load = load;
    vdc->stop_ioeventfd = stop_ioeventfd;
}

static const TypeInfo types[] = {
    {
        .name = TYPE_VIRTIO_BLK_URING,
        .parent = TYPE_VIRTIO_BLK,
        .instance_size = sizeof(VirtIOBlkUring),
        .instance_init = instance_init,
        .class_init = class_init,
    },
};

DEFINE_TYPES(types)
