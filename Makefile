# One command for each purpose; 'make help' lists them. A fresh Debian machine needs make and a Rust toolchain
# (rust-toolchain.toml says which); everything else is installed by 'make packages', which the others call.
#
# Building is done as whoever calls. Tests run as root, because they make namespaces, mounts and users' processes:
# called by another user, they go through sudo.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

SECONDS ?= 300
STAGE := tests/stage
ROOT := $(if $(filter 0,$(shell id -u)),,sudo -E)
NEXTEST := $(shell cargo nextest --version 2>/dev/null)
TEST := cargo $(if $(NEXTEST),nextest run,test)

# For packages that only tests install.
QUICKLY := CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
	REMIT_STATIC_OPT_LEVEL=0 REMIT_DEB_COMPRESSION=gzip REMIT_RPM_PAYLOAD=w1.zstdio

# Where cargo builds.
BUILT := $(abspath $(or $(CARGO_TARGET_DIR),target))
# The programs that a package has.
PROGRAMS := $(shell cat packaging/programs)
# cargo starts each test program through this: as root, with accounts that do not depend on the machine.
HERMETIC := $(strip $(ROOT) $(BUILT)/debug/hermetic)
runner = $(if $(1),--config 'target."cfg(all())".runner="$(1)"')

# What every build needs besides the toolchain.
COMPILER := gcc libc6-dev
# What the tests use besides bash, coreutils and util-linux.
PACKAGES := gcc g++ libc6-dev git btrfs-progs binutils iproute2 procps e2fsprogs jq perl shellcheck python3-venv \
	curl findutils make mawk openssh-client openssh-server patch sed strace tar vim zip $(if $(shell command -v npm),,npm)
# What tests/system/explain runs and the sandbox refuses.
PACKAGES += bind9-dnsutils cron dbus iptables iputils-ping passwd python3-pip sudo systemd systemd-journal-remote tcpdump wget
# What makes and checks packages, besides those.
DEB := $(COMPILER) git jq dpkg-dev lintian
PACKAGING := $(DEB) binutils rpm rpmlint zip
# What compiles for arm64 elsewhere, and runs a program of it.
AARCH64 := aarch64-unknown-linux-gnu
CROSS := gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static
# only NEXTEST-FILTER,CARGO-TEST-ARGUMENTS: a part of the tests. With nextest all are built with the features of the whole
# workspace, as in the other stages: 'cargo test -p' compiles what they depend on once more.
only = $(if $(NEXTEST),--workspace -E '$(1)',$(2))
# The sandbox's suite, which must also hold, with other layers, on a kernel without Landlock. With a second layer off, or for
# what is refused before a sandbox is made, Landlock makes no difference.
SANDBOX := $(call only,binary_id(remit-tests::system) and test(/^sandbox::/) and not test(/^sandbox::approved::|::disabled_layer_/),\
	-p remit-tests --test system sandbox::)

.PHONY: help
help: ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /  make \1\t/' | expand -t 22

.PHONY: packages
packages: ## install the Debian packages that the tests use
	@tests/machine/packages $(PACKAGES)

.PHONY: compiler
compiler:
	@tests/machine/packages $(COMPILER)

.PHONY: build
build: compiler ## the binaries, quickly and unoptimised
	cargo build --locked --workspace --bins

.PHONY: deb
deb: ## the .deb for this machine, in target/package: some minutes
	@tests/machine/packages $(DEB)
	packaging/build deb

.PHONY: package
package: ## the .deb, the .rpm, a static mcp-shim and remit-fleet, an .mcpb, in target/package
	@tests/machine/packages $(PACKAGING)
	packaging/build

.PHONY: package-arm64
package-arm64: aarch64 ## the .deb, the .rpm, static programs for arm64, by a cross compiler, in target/package/arm64
	@tests/machine/packages $(PACKAGING) $(CROSS)
	packaging/build arm64

.PHONY: aarch64
aarch64:
	@rustc --print target-libdir --target $(AARCH64) | xargs test -d || rustup target add $(AARCH64)

.PHONY: demo
demo: compiler ## show remit at work on this machine
	@tests/machine/packages procps iproute2
	tests/demo/run

.PHONY: test
test: packages ## everything that must be green
	@rm -f $(BUILT)/stages
	@$(STAGE) 'format' $(MAKE) -s check-format
	@$(STAGE) 'shell scripts' $(MAKE) -s shell
	@$(STAGE) 'modules for Ansible' $(MAKE) -s ansible
	@$(STAGE) 'clippy' $(MAKE) -s clippy
	@$(STAGE) 'documentation' $(MAKE) -s documentation
	@$(STAGE) 'cargo-deny' $(MAKE) -s deny
	@$(STAGE) 'build' $(MAKE) -s build
	@$(STAGE) 'build with sandbox layers that can be switched off' $(MAKE) -s mutate
	@$(STAGE) 'tests' $(MAKE) -s tests
	@$(STAGE) 'sandbox with layers switched off' $(MAKE) -s sandbox-without-layers
	@$(STAGE) 'sandbox without Landlock' $(MAKE) -s sandbox-without-landlock
	@$(STAGE) 'fuzz corpus' $(MAKE) -s fuzz-corpus
	@$(STAGE) 'system tests' $(MAKE) -s machine-tests
	@$(STAGE) --table

.PHONY: check
check: compiler check-format ## format, clippy, and the rules of the repository: a minute when warm
	cargo clippy --locked --workspace --all-targets -- -D warnings
	$(TEST) --locked -p remit-repo $(if $(NEXTEST),-E 'not test(/^binaries::|marked_examples/)',-- --skip binaries:: --skip marked_examples)

.PHONY: check-arm64
check-arm64: compiler aarch64 ## clippy for aarch64: two minutes the first time
	cargo clippy --locked --workspace --all-targets --target $(AARCH64) -- -D warnings

.PHONY: test-fast
test-fast: compiler ## unit tests, and the tests of single crates: two minutes when warm
	cargo build --locked --workspace --bin hermetic
	$(TEST) --locked --workspace $(if $(NEXTEST),--profile fast,--exclude remit-tests --exclude remit-facts --exclude remit-fleet) $(call runner,$(HERMETIC))

.PHONY: lint
lint: compiler check-format shell clippy documentation deny ## what needs no test to run

.PHONY: check-format
check-format:
	cargo fmt --all --check
	cargo fmt --manifest-path tests/fuzz/Cargo.toml --check

.PHONY: shell
shell:
	git -c safe.directory='*' grep -lE '^#!/bin/(ba)?sh' -- ':!tests/fuzz/seeds.txt' | xargs shellcheck --severity=warning --external-sources

.PHONY: ansible
ansible:
	python3 -B tests/repo/ansible.py

.PHONY: clippy
clippy:
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked --manifest-path tests/fuzz/Cargo.toml --target-dir $(BUILT) --bins -- -D warnings

.PHONY: documentation
documentation:
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps

.PHONY: deny
deny:
	@if cargo deny --version >/dev/null 2>&1; then cargo deny --offline check licenses bans sources; \
	else echo 'cargo-deny is not installed: its rules are held by the tests of tests/repo/src'; fi

.PHONY: figures
figures: compiler ## figures of code and texts: none worse than kept
	cargo fetch --locked --quiet
	cargo build --locked --quiet --workspace --bin xtask
	$(BUILT)/debug/xtask report --check --root .

# In a directory of its own, so that a binary with switches never lies where shipped ones do.
.PHONY: mutate
mutate:
	cargo build --locked --workspace --bins --features remitd/mutate,remit-spawner/mutate --target-dir $(BUILT)/mutate \
		--config 'build.build-dir="$(BUILT)"'

.PHONY: tests
tests: build
	$(if $(ROOT),,tests/crowded) $(TEST) --locked --no-fail-fast $(call only,not package(remit-facts),--workspace --exclude remit-facts) \
		$(call runner,$(HERMETIC))
	# Facts are compared with what the machine's own tools print, in the machine's own mount namespace.
	$(TEST) --locked --no-fail-fast $(call only,package(remit-facts),-p remit-facts) $(call runner,$(ROOT))

# With a layer switched off, what it refuses is possible. Without nextest all tests of the sandbox run so, and pass.
.PHONY: sandbox-without-layers
sandbox-without-layers: build
	$(TEST) --locked -p remit-spawner --features mutate --target-dir $(BUILT)/mutate --config 'build.build-dir="$(BUILT)"' \
		$(if $(NEXTEST),-E 'test(/without|disabled/)') $(call runner,$(HERMETIC))

.PHONY: sandbox-without-landlock
sandbox-without-landlock: build
	REMIT_TEST_LANDLOCK=none $(TEST) --locked $(SANDBOX) $(call runner,$(HERMETIC) $(BUILT)/debug/without landlock)

.PHONY: machine-tests
machine-tests: build
	# Making the machines' roots waits for the network and for disks, and the linker uses one core.
	@tests/machine/packages $(PACKAGING)
	# Nothing in the machines is timed: little is optimised, which takes most of a build. What is released is made by 'make package'.
	@$(ROOT) tests/machine/all --roots & $(QUICKLY) $(MAKE) -s package && built=0 || built=$$?; wait $$! && exit $$built
	@tests/mcp-bundle/check target/package & $(ROOT) tests/machine/all target/package/remit_*.deb && ran=0 || ran=$$?; wait $$! && exit $$ran

.PHONY: test-kernels
test-kernels: build package ## the package on kernels 5.10 to the newest, emulated: an hour (REMIT_UBUNTU_MIRROR: for 5.15)
	cargo test --locked -p remit-confine --lib --no-run --message-format json | jq -r '.executable // empty' | \
		xargs -I '{}' install '{}' $(BUILT)/debug/remit-confine-tests
	$(ROOT) tests/machine/kernels target/package/remit_*.deb

.PHONY: test-distributions
test-distributions: build deb ## the package on the next Debian, and beside netplan, snapd and AppArmor: ten minutes
	$(ROOT) tests/machine/distributions target/package/remit_*.deb

.PHONY: test-arm64
test-arm64: export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER := aarch64-linux-gnu-gcc
test-arm64: package-arm64 ## the package for arm64 on kernels 6.1 and the newest, emulated: 45 minutes
	cargo build --locked --target $(AARCH64) -p remit-tests --bins
	cargo test --locked --target $(AARCH64) -p remit-confine --lib --no-run --message-format json | jq -r '.executable // empty' | \
		xargs -I '{}' install '{}' $(BUILT)/$(AARCH64)/debug/remit-confine-tests
	$(ROOT) tests/machine/arm64 target/package/arm64/remit_*.deb

.PHONY: everyday
everyday: build ## everyday commands as root and through remit, compared (installs 2 GB)
	$(ROOT) tests/everyday/run

.PHONY: fuzz
fuzz: ## each fuzz target for SECONDS=300
	tests/fuzz/run $(SECONDS)

.PHONY: fuzz-corpus
# The corpus first, then a moment of search. Searching for long pays for optimised code, this does not.
fuzz-corpus:
	CARGO_PROFILE_RELEASE_OPT_LEVEL=1 tests/fuzz/run 3

# Both are left out where they are not installed, and the table says so.
BENCH_PACKAGES := openssh-server bubblewrap

.PHONY: bench
bench: ## what a call costs, beside floors and rivals, optimised: 20 minutes; ONLY=PARTS, AGAINST=DIR, JSON=FILE, MARKDOWN=FILE, PICTURE=FILE
	@tests/machine/packages $(BENCH_PACKAGES) || echo 'without $(BENCH_PACKAGES): ways that need them are left out'
	cargo build --locked --release $(addprefix -p ,$(PROGRAMS)) -p remit-fleet -p remit-bench
	REMIT_BENCH=1 cargo test --locked --release -p remitd --bin remitd $(call runner,$(ROOT)) cost_of_a_record -- --nocapture >$(BUILT)/release/records
	$(ROOT) tests/bench/run --records $(BUILT)/release/records $(if $(ONLY),--only $(ONLY)) \
		$(if $(AGAINST),--against $(abspath $(AGAINST))) $(if $(JSON),--json $(abspath $(JSON))) $(if $(MARKDOWN),--markdown $(abspath $(MARKDOWN))) \
		$(if $(SOAK_SECONDS),--seconds $(SOAK_SECONDS)) $(if $(PICTURE),--picture $(abspath $(PICTURE)))

.PHONY: soak
soak: build ## 10,000 jobs, and what is left of them: a minute
	REMIT_SOAK_JOBS=10000 cargo test --locked -p remit-tests --test system $(call runner,$(HERMETIC)) soak:: -- --nocapture --test-threads 1

.PHONY: chaos
chaos: build ## 200 kills of each process under load, and each pair 100 times: half an hour
	REMIT_CHAOS_KILLS=200 REMIT_CHAOS_PAIRS=100 cargo test --locked -p remit-tests --test system $(call runner,$(HERMETIC)) chaos:: \
		-- --nocapture --test-threads 1

.PHONY: fmt
fmt: ## format all code
	cargo fmt --all
	cargo fmt --manifest-path tests/fuzz/Cargo.toml

.PHONY: clean
clean: ## remove what was built; test machines too
	$(ROOT) tests/machine/machine clean
	cargo clean
	rm -rf tests/fuzz/target tests/fuzz/artifacts
