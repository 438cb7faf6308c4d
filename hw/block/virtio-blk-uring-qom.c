/*
 * virtio-blk-uring: properties to look at, and to set at run time
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/util.h"
#include "qapi/visitor.h"
#include "hw/qdev-properties.h"
#include "hw/virtio/virtio.h"
#include "virtio-blk-uring-internal.h"

static void get_passthrough(Object *obj, Visitor *v, const char *name,
                            void *opaque, Error **errp)
{
    visit_type_bool(v, name, &VIRTIO_BLK_URING(obj)->passthrough, errp);
}

static void set_passthrough(Object *obj, Visitor *v, const char *name,
                            void *opaque, Error **errp)
{
    VirtIOBlkUring *s = VIRTIO_BLK_URING(obj);
    bool value;

    if (!visit_type_bool(v, name, &value, errp)) {
        return;
    }
    if (!DEVICE(obj)->realized) {
        s->passthrough = value;
        return;
    }
    if (value && !s->offered) {
        error_setg(errp, "the guest was told at start that there is no "
                   "passthrough; start the device with passthrough=on");
        return;
    }
    if (value == s->passthrough) {
        return;
    }
    s->passthrough = value;
    if (!value && s->state == VIRTIO_BLK_URING_RING) {
        virtio_blk_uring_suspend(s, VIRTIO_BLK_URING_REASON_ADMIN);
    } else if (virtio_blk_uring_activatable(s)) {
        virtio_notify_config(VIRTIO_DEVICE(s));
    }
}

static void set_passthrough_default(ObjectProperty *op, const Property *prop)
{
    object_property_set_default_bool(op, prop->defval.u);
}

/* May be set at run time: off suspends the path, on has it resumed. */
const PropertyInfo virtio_blk_uring_prop_passthrough = {
    .type = "bool",
    .realized_set_allowed = true,
    .get = get_passthrough,
    .set = set_passthrough,
    .set_default_value = set_passthrough_default,
};

static const char *const isolation_names[] = {
    [VIRTIO_BLK_URING_ISOLATION_PROCESS] = "process",
    [VIRTIO_BLK_URING_ISOLATION_NONE] = "none",
};

static const QEnumLookup isolation_lookup = {
    .array = isolation_names,
    .size = ARRAY_SIZE(isolation_names),
};

static void get_isolation(Object *obj, Visitor *v, const char *name,
                          void *opaque, Error **errp)
{
    visit_type_enum(v, name, &VIRTIO_BLK_URING(obj)->isolation,
                    &isolation_lookup, errp);
}

static void set_isolation(Object *obj, Visitor *v, const char *name,
                          void *opaque, Error **errp)
{
    visit_type_enum(v, name, &VIRTIO_BLK_URING(obj)->isolation,
                    &isolation_lookup, errp);
}

static void set_isolation_default(ObjectProperty *op, const Property *prop)
{
    object_property_set_default_str(
        op, qapi_enum_lookup(&isolation_lookup, prop->defval.i));
}

const PropertyInfo virtio_blk_uring_prop_isolation = {
    .type = "VirtIOBlkUringIsolation",
    .enum_table = &isolation_lookup,
    .get = get_isolation,
    .set = set_isolation,
    .set_default_value = set_isolation_default,
};

static void get_path_state(Object *obj, Visitor *v, const char *name,
                           void *opaque, Error **errp)
{
    char *state = (char *)virtio_blk_uring_state_name(
        VIRTIO_BLK_URING(obj)->state);

    visit_type_str(v, name, &state, errp);
}

/* Read-only; a property of the device proper so that "info qtree" shows it. */
const PropertyInfo virtio_blk_uring_prop_path_state = {
    .type = "str",
    .get = get_path_state,
};

static bool visit_uint64(Visitor *v, const char *name, uint64_t value,
                         Error **errp)
{
    return visit_type_uint64(v, name, &value, errp);
}

static bool visit_bool(Visitor *v, const char *name, bool value, Error **errp)
{
    return visit_type_bool(v, name, &value, errp);
}

static bool visit_str(Visitor *v, const char *name, const char *value,
                      Error **errp)
{
    char *str = (char *)value;

    return visit_type_str(v, name, &str, errp);
}

/* What the guest's word of a ring is ahead of the kernel's last one */
static uint32_t not_counted(VirtIOBlkUringRing *ring, uint32_t shown,
                            uint32_t last)
{
    return ring->group ? MAX((int32_t)(shown - last), 0) : 0;
}

static bool visit_ring_fields(Visitor *v, VirtIOBlkUringRing *ring,
                              Error **errp)
{
    uint64_t doorbells;
    bool from_kernel;

    virtio_blk_uring_update_counters(ring);
    from_kernel = !ring->group || ring->shown.from_kernel;
    WITH_QEMU_LOCK_GUARD(&ring->lock) {
        doorbells = ring->doorbells;
    }
    return visit_uint64(v, "queue", ring->index, errp) &&
           visit_bool(v, "polled", ring->poll, errp) &&
           visit_bool(v, "iopoll", false, errp) &&
           visit_bool(v, "active", ring->group, errp) &&
           visit_uint64(v, "submitted", ring->submitted +
                        not_counted(ring, ring->shown.submitted,
                                    ring->last.submitted), errp) &&
           visit_uint64(v, "completed", ring->completed +
                        not_counted(ring, ring->shown.completed,
                                    ring->last.completed), errp) &&
           visit_uint64(v, "in-flight",
                        ring->group ? (uint32_t)(ring->shown.submitted -
                                                 ring->shown.completed) : 0,
                        errp) &&
           visit_uint64(v, "doorbells", doorbells, errp) &&
           visit_uint64(v, "interrupts", ring->interrupts, errp) &&
           visit_str(v, "source", from_kernel ? "kernel" : "guest-memory",
                     errp);
}

static bool visit_rings(Visitor *v, VirtIOBlkUring *s, Error **errp)
{
    bool ok = true;

    if (!visit_start_list(v, "rings", NULL, 0, errp)) {
        return false;
    }
    for (unsigned i = 0; ok && i < s->num_rings; i++) {
        ok = visit_start_struct(v, NULL, NULL, 0, errp);
        if (ok) {
            ok = visit_ring_fields(v, &s->rings[i], errp);
            visit_end_struct(v, NULL);
        }
    }
    visit_end_list(v, NULL);
    return ok;
}

/*
 * The property "path": a structure that tells what way requests take, why, and
 * what each ring has done since the device was created.
 */
static void get_path(Object *obj, Visitor *v, const char *name, void *opaque,
                     Error **errp)
{
    VirtIOBlkUring *s = VIRTIO_BLK_URING(obj);

    if (!visit_start_struct(v, name, NULL, 0, errp)) {
        return;
    }
    if (visit_str(v, "state", virtio_blk_uring_state_name(s->state), errp) &&
        visit_str(v, "reason", virtio_blk_uring_reason_name(s->reason),
                  errp) &&
        visit_str(v, "error", s->error ?: "", errp) &&
        visit_str(v, "isolation", isolation_names[s->isolation], errp) &&
        visit_uint64(v, "jail-pid", s->group ? ring_group_pid(s->group) : 0,
                     errp) &&
        visit_uint64(v, "activations", s->activations, errp)) {
        visit_rings(v, s, errp);
    }
    visit_end_struct(v, NULL);
}

void virtio_blk_uring_class_qom(ObjectClass *klass)
{
    object_class_property_add(klass, "path", "VirtIOBlkUringPath", get_path,
                              NULL, NULL, NULL);
}
