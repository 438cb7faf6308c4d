HXCOMM SPDX-License-Identifier: GPL-2.0-or-later

    {
        .name       = "virtio-blk-uring",
        .args_type  = "",
        .params     = "",
        .help       = "show what way the requests of virtio-blk-uring take",
        .cmd        = hmp_info_virtio_blk_uring,
    },

SRST
  ``info virtio-blk-uring``
    Show what way the requests of each virtio-blk-uring device take, why, and
    what its rings have done.
ERST
