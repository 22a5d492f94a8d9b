# SPDX-License-Identifier: GPL-2.0-only
#
# lfpool: "make help" lists what there is to make.

TESTS := parity uapi uapi32 concurrency lifecycle steady readme exhaustion death quarantine \
	 hostile soak crash demo tool examples cpp trace faults fuzz_ioctl

# of the running kernel; "make module KDIR=..." for another one
KDIR ?= /lib/modules/$(shell uname -r)/build

# what "make vm-test" runs: T is one test or several ("parity uapi")
T ?= parity
K ?= 6.1

prefix ?= /usr/local
export prefix DESTDIR

all: userlib tool man examples selftests $(if $(wildcard $(KDIR)/.),module,no-module)

help:
	@echo 'Main targets:'
	@echo '  all              module, library, tool, man pages, examples, selftests (default)'
	@echo '  demo             build, boot a virtual machine and show the pools at work'
	@echo '  check            all tests, on all kernels; installs what it needs (as root);'
	@echo '                   LFPOOL_KNOWN= searches again what was searched in the same files'
	@echo
	@echo 'Build:'
	@echo '  module           lfpool.ko for the kernel in KDIR (default: the running one)'
	@echo '  userlib          build/userlib/liblfpool.{a,so}'
	@echo '  tool             build/userlib/lfpool, the command'
	@echo '  man              build/userlib/man'
	@echo '  examples         build/userlib/examples'
	@echo '  selftests        build/selftests'
	@echo '  deps             install the packages that these and the demo need (as root)'
	@echo '  install-deps     install the few that "make install" needs (as root)'
	@echo '  clean            remove build/'
	@echo
	@echo 'Install (DESTDIR, prefix, libdir):'
	@echo '  install          library, headers, command, man pages, completion; udev rule,'
	@echo '                   group lfpool, and loading the module at boot'
	@echo '  uninstall        remove them'
	@echo '  modules_install  lfpool.ko into /lib/modules (KDIR, INSTALL_MOD_PATH)'
	@echo '  modules_uninstall'
	@echo '                   remove it'
	@echo '  deb              Debian packages, in build/deb'
	@echo
	@echo 'Tests:'
	@echo '  vm-test          T=test K=kernel: one test in a virtual machine; T is one of'
	@echo '$(TESTS)' | fold -s -w 60 | sed 's/^/                   /'
	@echo '                   and K one of 6.1 6.12 rt (Debian), kasan kcsan (built once, 10 minutes)'
	@echo '  test-native      the recovery engine and the library, without a module, under'
	@echo '                   ASan, UBSan and TSan'
	@echo '  model            the protocol in spin, and mutants that must fail'
	@echo '  lint             what checkpatch, sparse, coccicheck, clang and others find'
	@echo '  test-cross       the contract and the library on other word sizes and byte orders'
	@echo '  coverage         lines of module and library that the tests reach (kernel kasan)'
	@echo '  fuzz             the recovery engine under libFuzzer (SECONDS=60)'
	@echo '  bench-module     what the calls of the module cost, in a virtual machine (K=kernel)'
	@echo '  bench            lfpool beside other pools and allocators (OUT=folder REPS=9)'

# Kbuild puts objects beside its sources: it gets a mirror of them.
module:
	@mkdir -p build/module
	@[ -d "$(KDIR)" ] || { echo 'make module: no kernel headers in $(KDIR);' \
		'Debian has them in linux-headers-$(shell uname -r)' >&2; exit 1; }
	@cp -pru Kbuild module uapi build/module/
	$(MAKE) -C $(KDIR) M=$(CURDIR)/build/module modules

no-module:
	@echo 'make: no kernel headers in $(KDIR): the module was left out'

modpath = $(abspath $(INSTALL_MOD_PATH))
# as in the module itself; "make kernelrelease" says something else of Debian's headers
release = $(shell sed -n 's/.*UTS_RELEASE "\(.*\)"/\1/p' $(KDIR)/include/generated/utsrelease.h)
# the kernel's makefile leaves it out without a System.map, which Debian's headers have not
depmod = PATH="$$PATH:/usr/sbin:/sbin" depmod $(if $(modpath),-b $(modpath)) $(release)

modules_install: module
	$(MAKE) -C $(KDIR) M=$(CURDIR)/build/module $(if $(modpath),INSTALL_MOD_PATH=$(modpath)) \
		modules_install
	$(depmod)

modules_uninstall:
	rm -f $(foreach folder,updates extra,$(modpath)/lib/modules/$(release)/$(folder)/lfpool.ko*)
	$(depmod)

userlib:
	@$(MAKE) -s -C userlib

tool: userlib
	@$(MAKE) -s -C userlib/tool

man:
	@$(MAKE) -s -C userlib/man

examples: userlib
	@$(MAKE) -s -C userlib/examples

parts := userlib userlib/tool userlib/man userlib/dist

install: userlib tool man
	@[ -n "$(DESTDIR)" ] || [ ! -e "$(prefix)" ] || [ -w "$(prefix)" ] || \
		{ echo 'make install: may not write to $(prefix): be root, or give prefix=' >&2; exit 1; }
	@set -e; for part in $(parts); do $(MAKE) -s -C $$part install; done

uninstall:
	@set -e; for part in $(parts); do $(MAKE) -s -C $$part uninstall; done

deb:
	@sh selftests/deps.sh deb
	@sh userlib/dist/deb.sh build/deb

deps:
	@sh selftests/deps.sh build

install-deps:
	@sh selftests/deps.sh install

selftests: userlib tool examples
	@$(MAKE) -s -C selftests OUTPUT="$(CURDIR)/build/selftests"

# Exits as the test does: 0 passed, 4 skipped. VMARGS: see selftests/vm/run.sh
# exec: no shell may be in between, run.sh ends when make is killed (inside.sh)
vm-test: selftests
	@exec bash selftests/vm/run.sh "$(T)" "$(K)" $(VMARGS)

# The packages first: everything else is built with them.
demo:
	@sh selftests/deps.sh build
	@$(MAKE) -s tool
	@bash selftests/vm/run.sh demo 6.1

test-native:
	@bash selftests/native/run.sh

model:
	@bash selftests/model/run.sh

bench: userlib
	@bash selftests/bench/run.sh

bench-module: selftests
	@bash selftests/vm/run.sh costs "$(K)" | sed -n 's/^  # \(|.*\|\)$$/\1/p'

# COVERAGE_RUN=no: of what tests with K=kasan-gcov left
coverage: selftests
	@bash selftests/coverage.sh

lint:
	@bash selftests/lint.sh

test-cross:
	@bash selftests/cross.sh

SECONDS ?= 60
fuzz:
	@bash selftests/fuzz/run.sh $(SECONDS)

# Installs what is missing, builds, and runs everything by itself.
check:
	@bash selftests/check.sh

clean:
	rm -rf build

.PHONY: all help module no-module modules_install modules_uninstall userlib tool man examples \
	install uninstall deb deps install-deps selftests vm-test demo test-native model lint \
	test-cross coverage fuzz bench bench-module check clean
