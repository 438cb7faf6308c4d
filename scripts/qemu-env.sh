# SPDX-License-Identifier: GPL-2.0-or-later
#
# The environment in which QEMU is configured and built. Sourced after lib.sh.

# meson, where the release's own is too old for QEMU (fetched by configure).
if [ -d "$build/tools/meson" ]; then
    export PYTHONPATH=$build/tools/meson/usr/lib/python3/dist-packages
fi

# Debian's /usr/lib/ccache lacks cc when gcc and ccache were installed together.
if [ -x /usr/bin/ccache ]; then
    mkdir -p "$build/tools/ccache"
    ln -sfn /usr/bin/ccache "$build/tools/ccache/cc"
    PATH=$build/tools/ccache:$PATH
fi

# The same object for every checkout: paths below it count relative, and the
# directory that ends up in debug information does not count at all.
export CCACHE_BASEDIR=$repo
export CCACHE_NOHASHDIR=1
