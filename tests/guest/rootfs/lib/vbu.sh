# SPDX-License-Identifier: GPL-2.0-or-later
#
# What test scripts may use inside the guest.

# find_port NAME: the device node of the virtio-serial port of that name.
find_port() {
    for _p in /sys/class/virtio-ports/*; do
        if [ "$(cat "$_p/name" 2>/dev/null)" = "$1" ]; then
            echo "/dev/${_p##*/}"
            return 0
        fi
    done
    return 1
}

# start_cpus: those that the command line has the kernel leave alone at boot;
# vm.ONE_CPU says why.
start_cpus() {
    for _c in /sys/devices/system/cpu/cpu*/online; do
        [ ! -e "$_c" ] || echo 1 >"$_c"
    done
}

# load MODULE [PARAMETER=VALUE...]: insert one module, wherever it lies.
load() {
    [ -d "/sys/module/$(echo "$1" | tr - _)" ] && return 0
    _ko=$(find /lib/modules /usr/lib/modules -name "$1.ko" 2>/dev/null | head -n 1)
    if [ -z "$_ko" ]; then
        echo "load: the guest's initramfs has no module $1" >&2
        return 1
    fi
    shift
    insmod "$_ko" "$@"
}

# disks: a line "DISK DRIVER VIRTIO-DEVICE" for each virtio disk with a driver.
disks() {
    for _b in /sys/bus/virtio/devices/*/block/*; do
        [ -e "$_b" ] || continue
        _d=$(readlink -f "$_b/device")
        _v=$(readlink "$_d/driver")
        echo "${_b##*/} ${_v##*/} ${_d##*/}"
    done
}

# disk_of SERIAL: the disk that has it, whatever it is called this time.
disk_of() {
    for _b in /sys/block/vd*/serial; do
        if [ "$(cat "$_b" 2>/dev/null)" = "$1" ]; then
            _b=${_b%/serial}
            echo "${_b##*/}"
            return 0
        fi
    done
    echo "disk_of: the guest has no disk $1" >&2
    return 1
}

# real PROGRAM ARGUMENT...: run a program that busybox has an applet of too.
real() {
    for _d in /usr/sbin /sbin /usr/bin /bin; do
        case $(readlink -f "$_d/$1" 2>/dev/null) in
        '' | */busybox) continue ;;
        esac
        [ -x "$_d/$1" ] || continue
        _exe=$_d/$1
        shift
        "$_exe" "$@"
        return
    done
    echo "real: the guest's initramfs has no $1" >&2
    return 127
}

# start NAME SCRIPT: run SCRIPT in the background; its output goes to
# /run/NAME.out.  finish NAME waits for it, prints that output and returns
# its exit status.
start() {
    rm -f "/run/$1.rc"
    mkfifo "/run/$1.rc" || return 1
    (
        set +e      # what fails is to be reported, not to end this
        (eval "$2") >"/run/$1.out" 2>&1 </dev/null
        echo $? >"/run/$1.rc"
    ) >/dev/null 2>&1 </dev/null &
}
finish() {
    read -r _rc <"/run/$1.rc"
    cat "/run/$1.out"
    rm -f "/run/$1.rc" "/run/$1.out"
    return "$_rc"
}

# null_disk POLL-QUEUES: a null_blk of 256 MiB that completes at once, the
# ceiling of what this guest's block layer and fio can do.
null_disk() {
    load configfs && load null_blk nr_devices=0 || return 1
    mkdir -p /sys/kernel/config
    grep -q configfs /proc/mounts ||
        mount -t configfs configfs /sys/kernel/config || return 1
    _n=/sys/kernel/config/nullb/nullb0
    mkdir "$_n" || return 1
    echo 256 >"$_n/size"
    echo 0 >"$_n/completion_nsec"
    echo 0 >"$_n/irqmode"
    echo 2 >"$_n/queue_mode"
    echo 512 >"$_n/blocksize"
    echo "$1" >"$_n/poll_queues"
    echo 1 >"$_n/power"
}
