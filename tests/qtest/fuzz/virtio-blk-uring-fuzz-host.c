/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzer of virtio-blk-uring: what the host's administrator sees and does
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qemu/timer.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-qdev.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "qom/object.h"
#include "qom/qom-qobject.h"
#include "block/block-global-state.h"
#include "block/passthrough-file.h"
#include "exec/address-spaces.h"
#include "monitor/qdev.h"
#include "system/runstate.h"
#include "fuzz.h"
#include "virtio-blk-uring-fuzz.h"

#define ACPI_PCIHP_EJECT 0xae08     /* of -machine pc */
#define PATIENCE_MS     50

/* To be unreferenced */
static QDict *query_path(void)
{
    return qobject_to(QDict, object_property_get_qobject(rig.device, "path",
                                                         &error_abort));
}

static char *path_state(void)
{
    return object_property_get_str(rig.device, "path-state", &error_abort);
}

bool vbu_fuzz_path_is(const char *state)
{
    g_autofree char *is = path_state();

    return !strcmp(is, state);
}

void vbu_fuzz_await_started(void)
{
    while (vbu_fuzz_path_is("starting")) {
        main_loop_wait(false);
    }
}

void vbu_fuzz_complain(const char *what)
{
    QDict *path = query_path();
    g_autoptr(GString) json = qobject_to_json(QOBJECT(path));

    error_report("virtio-blk-uring-fuzz: %s; path: %s", what, json->str);
    abort();
}

void vbu_fuzz_check(void)
{
    if (vbu_fuzz_path_is("ring") || vbu_fuzz_path_is("suspending")) {
        if (!passthrough_file_is_reserved(bdrv_find_node("disk0"))) {
            vbu_fuzz_complain("there are rings on a disk that is not reserved");
        }
    } else if (vbu_fuzz_path_is("virtqueue") || vbu_fuzz_path_is("dead")) {
        if (passthrough_file_is_reserved(bdrv_find_node("disk0"))) {
            vbu_fuzz_complain("the disk is reserved for rings that are gone");
        }
    }
}

/* What the administrator does */

void do_admin(Input *in)
{
    QDict *path;
    int64_t pid;

    switch (take_below(in, 8)) {
    case 0:
        object_property_set_str(rig.device, "passthrough", "off",
                                &error_abort);
        break;
    case 1:
        object_property_set_str(rig.device, "passthrough", "on", &error_abort);
        break;
    case 2:
        if (runstate_is_running()) {
            vm_stop(RUN_STATE_PAUSED);
        }
        break;
    case 3:
        if (!runstate_is_running()) {
            vm_start();
        }
        break;
    case 4:
        qobject_unref(query_path());
        break;
    case 5:
        path = query_path();
        pid = qdict_get_try_int(path, "jail-pid", 0);
        if (pid > 0) {
            kill(pid, SIGKILL);
            rig.killed = true;
        }
        qobject_unref(path);
        break;
    case 6:
        qemu_system_reset(SHUTDOWN_CAUSE_GUEST_RESET);
        break;
    default:
        flush_events(rig.qts);
    }
}

/*
 * A memory module comes or goes: what a pc-dimm does, without the guest's part
 * in it.
 */
void vbu_fuzz_move_more_ram(bool in)
{
    MemoryRegion *mr = host_memory_backend_get_memory(rig.more_ram);

    if (in && !mr->container) {
        memory_region_add_subregion(get_system_memory(), MORE_RAM_AT, mr);
    } else if (!in && mr->container) {
        memory_region_del_subregion(get_system_memory(), mr);
    }
}

void do_memory(Input *in)
{
    vbu_fuzz_move_more_ram(take(in, 1) & 1);
}

void vbu_fuzz_replug(void)
{
    QDict *options;

    qmp_device_del("drv0", &error_abort);
    qtest_outl(rig.qts, ACPI_PCIHP_EJECT, 1u << PCI_SLOT);
    drain_call_rcu();
    if (object_resolve_path(DEVICE_PATH, NULL)) {
        vbu_fuzz_complain("the device does not go");
    }
    options = qobject_to(QDict, qobject_from_json(rig.device_json,
                                                  &error_abort));
    qmp_device_add(options, NULL, &error_abort);
    qobject_unref(options);
    rig.device = object_resolve_path(DEVICE_PATH, NULL);
    vbu_fuzz_restore_pci();
}

void do_replug(Input *in)
{
    vbu_fuzz_replug();
}

static void time_is_up(void *opaque)
{
    *(bool *)opaque = true;
}

/* For what comes by itself: the end of a jail, for instance */
void do_await(Input *in)
{
    g_autofree char *was = path_state();
    bool up = false;
    QEMUTimer *timer = timer_new_ms(QEMU_CLOCK_REALTIME, time_is_up, &up);

    timer_mod(timer, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + PATIENCE_MS);
    while (!up && vbu_fuzz_path_is(was)) {
        main_loop_wait(false);
    }
    timer_free(timer);
}
