# SPDX-License-Identifier: GPL-2.0-or-later
#
# Which kernel the guest has, and $guest, where all that is made for it lies.
# It is 6.12 unless VBU_GUEST_KERNEL names another series, such as 6.1, or
# "newest": of all that Debian has. Sourced, after lib.sh.

series=${VBU_GUEST_KERNEL:-6.12}
case $series in
6.12) guest=$build/guest ;;
newest | [0-9].[0-9] | [0-9].[0-9][0-9] | [0-9][0-9].[0-9])
    # What else tests look for in their build directory is the usual.
    guest=$build/kernels/$series/guest
    mkdir -p "$build/kernels/$series"
    ln -sfn ../../qemu "$build/kernels/$series/qemu"
    ;;
*) die "'$series' is no series of kernels; name one as 6.1, or newest" ;;
esac
mkdir -p "$guest"
