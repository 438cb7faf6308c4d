# SPDX-License-Identifier: GPL-2.0-or-later
#
# What can be done after ./configure. Everything is made below build/; the
# scripts know what is up to date.

scripts := scripts
PREFIX ?= $(shell cat build/prefix 2>/dev/null || echo /usr/local)
DESTDIR ?=

emulator := qemu-system-x86_64 qemu-img tools/qemu-ring-jail
daemon := storage-daemon/qemu-storage-daemon
qtests := tests/qtest/qos-test
units = $(patsubst %.c,%,$(wildcard tests/unit/test-*.c))

.PHONY: all guest guest-module nested help
all: configured
	@$(scripts)/qemu-build.sh $(emulator)

guest-module: configured
	@$(scripts)/step.sh 'module of the guest' $(scripts)/guest-module.sh

guest: guest-module
	@$(scripts)/step.sh 'root file system of the guest' $(scripts)/guest-image.sh

nested: guest
	@$(scripts)/step.sh 'disk of the emulated machine' $(scripts)/nested-image.sh

# Tests. A machine without io_uring is told so before anything is built.
.PHONY: check check-full check-kernels check-entry check-unit check-qtest check-guest check-nvme check-asan check-fuzz check-style check-roots
check: runnable
	@$(scripts)/qemu-build.sh $(emulator) $(daemon) $(qtests) $(units)
	@$(MAKE) --no-print-directory nested
	@$(scripts)/check.py $(CHECK)

# The attack suite at length, and the tests that take long.
check-full: export VBU_FULL := 1
check-full: export VBU_ATTACK_SQES := 10000000
check-full: export VBU_HOSTILE_SQES := 20000
check-full:
	@$(MAKE) --no-print-directory check

# The guest's driver with other kernels of Debian's, each fetched the first time.
KERNELS ?= 6.1 6.12 newest
check-kernels: runnable
	@$(scripts)/qemu-build.sh $(emulator)
	@$(scripts)/check-kernels.py $(CHECK) $(KERNELS)

check-entry: configured
	@$(scripts)/check.py $(CHECK) entry

check-unit: runnable
	@$(scripts)/qemu-build.sh $(units) tools/qemu-ring-jail
	@$(scripts)/check.py $(CHECK) unit

check-qtest: runnable
	@$(scripts)/qemu-build.sh $(emulator) $(qtests)
	@$(scripts)/check.py $(CHECK) qtest

check-guest: runnable
	@$(scripts)/qemu-build.sh $(emulator)
	@$(MAKE) --no-print-directory guest
	@$(scripts)/check.py $(CHECK) guest

# One loaded guest to which everything happens; SOAK="--minutes=N --seed=S"
.PHONY: check-soak
check-soak: runnable
	@$(scripts)/qemu-build.sh $(emulator)
	@$(MAKE) --no-print-directory guest
	@tests/soak/run.sh $(SOAK)

# In an emulated machine with KVM and an NVMe drive, or on this one:
# NVME="--disk=/dev/nvme0n1p3 --i-own-this-disk"
check-nvme: export NVME := $(NVME)
check-nvme: runnable
	@$(scripts)/qemu-build.sh $(emulator) $(daemon)
	@$(MAKE) --no-print-directory nested
	@$(scripts)/check.py $(CHECK) nvme

# A second build, by clang; make check-fuzz SANITIZED=--install-deps installs it.
check-asan: runnable
	@$(scripts)/sanitized.sh $(SANITIZED) build $(emulator) $(qtests) $(units)
	@$(scripts)/sanitized.sh run $(scripts)/check.py $(CHECK) unit qtest

check-fuzz: runnable
	@$(scripts)/sanitized.sh $(SANITIZED) build qemu-fuzz-x86_64 tools/qemu-ring-jail
	@$(scripts)/sanitized.sh run tests/fuzz/run.sh $(FUZZ)

check-style: configured
	@$(scripts)/check-style.sh

check-roots:
	@tests/minimal-root.sh

.PHONY: bench bench-nvme bench-migration
bench: runnable
	@$(scripts)/qemu-build.sh $(emulator) $(daemon)
	@$(MAKE) --no-print-directory guest
	@bench/run.sh $(BENCH)

bench-nvme: runnable
	@$(scripts)/qemu-build.sh $(emulator) $(daemon)
	@$(MAKE) --no-print-directory nested
	@bench/nested.sh $(BENCH)

# A hundred live migrations of each take some 13 minutes.
bench-migration: runnable
	@$(scripts)/qemu-build.sh $(emulator)
	@$(MAKE) --no-print-directory guest
	@bench/migrations.py $(BENCH)

# Instructions per I/O in the guest; a third build of QEMU, with plugins.
.PHONY: profile
profile: runnable guest
	@tools/insn-profile/run.sh $(PROFILE)

.PHONY: install clean distclean
install: all
	@$(scripts)/install.sh '$(DESTDIR)' '$(PREFIX)'

# What was downloaded stays; distclean takes that too.
clean:
	-[ ! -f build/qemu/build.ninja ] || ninja -C build/qemu -t clean
	rm -rf build/qemu-asan build/fuzz build/qemu-plugins build/insn-profile
	rm -rf build/guest/module build/guest/root build/guest/modules \
	    build/guest/initramfs.cpio.gz build/guest/image.inputs \
	    build/guest/virtio_blk_uring.ko build/guest/vbu_hostile.ko \
	    build/kernels/*/tests $(addprefix build/kernels/*/guest/,module root \
	    modules initramfs.cpio.gz image.inputs virtio_blk_uring.ko) \
	    build/tests build/bench build/nested

distclean:
	rm -rf build

.PHONY: configured runnable
configured:
	@[ -f build/qemu/build.ninja ] || \
	    { echo 'error: nothing is configured yet; run ./configure first (see ./configure --help)' >&2; exit 1; }

runnable: configured
	@$(scripts)/host.sh run

help:
	@echo 'make               the emulator, build/qemu/qemu-system-x86_64'
	@echo 'make check         all tests; CHECK=-v lists each, CHECK="-p PATTERN" selects'
	@echo 'make check-full    the same with ten million hostile requests and the long tests'
	@echo 'make check-kernels the driver of the guest with other kernels; KERNELS="6.1 6.12 newest"'
	@echo 'make check-entry   what ./configure refuses, and how our files are laid into QEMU'
	@echo 'make check-unit    the ring by itself, on this kernel'
	@echo 'make check-qtest   the device, through libqos; also the tests of QEMU itself'
	@echo 'make check-guest   a Linux guest with its driver'
	@echo 'make check-soak    ten minutes of everything that can happen to a disk, in random order, under load; SOAK="--minutes=N --seed=S"'
	@echo 'make check-nvme    a guest under KVM on an NVMe drive, in an emulated machine; NVME="--disk=DEVICE --i-own-this-disk": on this one'
	@echo 'make check-asan    unit and qtest with the address and undefined behaviour sanitizers (clang)'
	@echo 'make check-fuzz    random guests and administrators against the device; FUZZ="--runs=N --seed=N"'
	@echo 'make check-style   checkpatch, sparse and W=1'
	@echo 'make check-roots   configure and build in a minimal Debian 12 and 13 (root, mmdebstrap)'
	@echo 'make bench         measure; BENCH="--runtime=10 ..." goes to bench/run.sh'
	@echo 'make bench-migration  live migrations under load, beside virtio-blk; BENCH="--count=20"'
	@echo 'make bench-nvme    measure on an NVMe drive under KVM, as make check-nvme; build/bench/report.html'
	@echo 'make profile       instructions per I/O in the guest, by function; PROFILE="--functions"'
	@echo 'make guest-module  the driver of the guest for its kernel, build/guest/virtio_blk_uring.ko'
	@echo 'make guest         the initramfs of the tests, build/guest/initramfs.cpio.gz'
	@echo 'make install       the emulator, its jail and qemu-ring-watch; DESTDIR and PREFIX [$(PREFIX)] as usual'
	@echo 'make clean         remove what was built; make distclean: also what was downloaded'
