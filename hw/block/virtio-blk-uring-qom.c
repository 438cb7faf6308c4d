/*
 * virtio-blk-uring: properties to look at, and to set at run time
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-types-common.h"
#include "qapi/qapi-visit-virtio-blk-uring.h"
#include "qapi/util.h"
#include "qapi/visitor.h"
#include "hw/qdev-properties.h"
#include "hw/virtio/virtio.h"
#include "virtio-blk-uring-internal.h"

static void get_passthrough(Object *obj, Visitor *v, const char *name,
                            void *opaque, Error **errp)
{
    int value = VIRTIO_BLK_URING(obj)->passthrough_mode;

    visit_type_enum(v, name, &value, &OnOffAuto_lookup, errp);
}

static void switch_passthrough(VirtIOBlkUring *s, OnOffAuto mode, Error **errp)
{
    bool on = mode != ON_OFF_AUTO_OFF;

    if (on && !s->offered) {
        error_setg(errp, "the guest was told at start that there is no "
                   "passthrough; start the device with passthrough=on");
        return;
    }
    if (on && !s->passthrough && !s->probed &&
        !virtio_blk_uring_try_host(s, errp)) {
        return;
    }
    s->passthrough_mode = mode;
    if (on == s->passthrough) {
        return;
    }
    s->passthrough = on;
    if (on) {
        virtio_blk_uring_backoff_clear(s);
        virtio_blk_uring_look(s);
    } else if (s->state == VIRTIO_BLK_URING_RING) {
        virtio_blk_uring_suspend(s, VIRTIO_BLK_URING_REASON_ADMIN);
    } else if (s->state == VIRTIO_BLK_URING_STARTING) {
        virtio_blk_uring_revoke(s, VIRTIO_BLK_URING_REASON_ADMIN);
    }
}

static void set_passthrough(Object *obj, Visitor *v, const char *name,
                            void *opaque, Error **errp)
{
    VirtIOBlkUring *s = VIRTIO_BLK_URING(obj);
    int value;

    if (!visit_type_enum(v, name, &value, &OnOffAuto_lookup, errp)) {
        return;
    }
    if (DEVICE(obj)->realized) {
        switch_passthrough(s, value, errp);
        return;
    }
    s->passthrough_mode = value;
    s->passthrough = value != ON_OFF_AUTO_OFF;
}

static void set_passthrough_default(ObjectProperty *op, const Property *prop)
{
    object_property_set_default_str(
        op, qapi_enum_lookup(&OnOffAuto_lookup, prop->defval.i));
}

/* May be set at run time: off suspends the path, on and auto resume it. */
const PropertyInfo virtio_blk_uring_prop_passthrough = {
    .type = "OnOffAuto",
    .description = "on/off/auto",
    .enum_table = &OnOffAuto_lookup,
    .realized_set_allowed = true,
    .get = get_passthrough,
    .set = set_passthrough,
    .set_default_value = set_passthrough_default,
};

static void get_isolation(Object *obj, Visitor *v, const char *name,
                          void *opaque, Error **errp)
{
    visit_type_enum(v, name, &VIRTIO_BLK_URING(obj)->isolation,
                    &VirtioBlkUringIsolation_lookup, errp);
}

static void set_isolation(Object *obj, Visitor *v, const char *name,
                          void *opaque, Error **errp)
{
    visit_type_enum(v, name, &VIRTIO_BLK_URING(obj)->isolation,
                    &VirtioBlkUringIsolation_lookup, errp);
}

static void set_isolation_default(ObjectProperty *op, const Property *prop)
{
    object_property_set_default_str(
        op, qapi_enum_lookup(&VirtioBlkUringIsolation_lookup, prop->defval.i));
}

const PropertyInfo virtio_blk_uring_prop_isolation = {
    .type = "VirtioBlkUringIsolation",
    .enum_table = &VirtioBlkUringIsolation_lookup,
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

/* The property "path": the device's part of what query-virtio-blk-uring says */
static void get_path(Object *obj, Visitor *v, const char *name, void *opaque,
                     Error **errp)
{
    g_autoptr(VirtioBlkUringInfo) info =
        virtio_blk_uring_info(VIRTIO_BLK_URING(obj));

    visit_type_VirtioBlkUringInfo(v, name, &info, errp);
}

void virtio_blk_uring_class_qom(ObjectClass *klass)
{
    object_class_property_add(klass, "path", "VirtioBlkUringInfo", get_path,
                              NULL, NULL, NULL);
}
