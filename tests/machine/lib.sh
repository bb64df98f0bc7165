# shellcheck shell=bash
# lib.sh: what the scripts of this directory share. Sourced, never run.
#
# Everything a machine is made of lies below $REMIT_TESTBED:
#   key, key.pub          the ssh key that opens every machine
#   roots/ROOT            a root file system; roots/ROOT.ok holds the recipe it was built from
#   kernels/SERIES        vmlinuz and initrd of one kernel series
#   debs/SUITE/PACKAGE    a package with what it depends on, for test-packages-copies; debs/SUITE/PACKAGE.ok: for which machine
#   ansible-RECIPE        ansible-core for test-ansible, installed by pip: the recipe is its pins and the Python that runs it
#   machines/NAME         one machine: console, ssh (a client configuration), its writes
#   arm64/…               the same for machines of that architecture, with REMIT_ARCH=arm64: virtual machines only

REMIT_TESTBED=${REMIT_TESTBED:-/var/tmp/remit-testbed}
MACHINE_DIR=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
PATH=$PATH:/usr/sbin:/sbin
# Debian's name of the architecture, and the GNU triplet if it is not this computer's.
REMIT_ARCH=${REMIT_ARCH:-$(dpkg --print-architecture)}
foreign=''
if [ "$REMIT_ARCH" != "$(dpkg --print-architecture)" ]; then
  [ "$REMIT_ARCH" = arm64 ] || { echo "REMIT_ARCH is '$REMIT_ARCH': arm64 is the only other architecture" >&2; exit 2; }
  foreign=aarch64-linux-gnu
  [[ $REMIT_TESTBED == */arm64 ]] || REMIT_TESTBED+=/arm64
fi

fail() {
  echo "FAIL  ${0##*/}: $*" >&2
  exit 1
}

need_root() {
  [ "$(id -u)" = 0 ] || fail "must be run as root"
}

# need PACKAGE...: install what this computer lacks.
need() { "$MACHINE_DIR/packages" "$@"; }

# locked COMMAND...: one builder at a time below $REMIT_TESTBED.
locked() {
  mkdir -p "$REMIT_TESTBED"
  (
    flock 9
    "$@"
  ) 9>"$REMIT_TESTBED/lock"
}

# The Debian mirror this computer uses itself, up to and without '/debian': no mirror is named here.
mirror() {
  local url
  url=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
    sed -nE 's,^(URIs:|deb( \[[^]]*\])?) +(https?://[^ ]+)/debian/?( .*)?$,\3,p' | head -n 1)
  [ -n "$url" ] || fail "no Debian mirror found in /etc/apt/sources.list and /etc/apt/sources.list.d"
  echo "$url"
}

# index_of WORK SUITE...: the index of these suites of Debian, below WORK; the options of apt for it are in $apt.
index_of() {
  local work=$1 suite url
  url=$(mirror)
  mkdir -p "$work"/{lists/partial,archives/partial}
  for suite in $(printf '%s\n' "${@:2}" | sort -u); do echo "deb $url/debian $suite main"; done >"$work/sources.list"
  apt=(-qq -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$work/lists"
    -o Dir::Cache="$work" -o Acquire::Languages=none -o APT::Sandbox::User=root
    -o APT::Architecture="$REMIT_ARCH" -o APT::Architectures="$REMIT_ARCH")
  apt-get "${apt[@]}" update
}

# machine_dir NAME, machine_cgroup NAME: where a machine lies. All its processes are in the one cgroup, which is how
# they are found and ended; it is not named remit-…, for a daemon clears what looks like its own. cgroup v2 may be
# mounted beside v1 (hybrid) or alone.
machine_dir() { echo "$REMIT_TESTBED/machines/$1"; }
machine_cgroup() { echo "$(findmnt -rnt cgroup2 -o TARGET | head -n 1)/throwaway-$1"; }
machine_alive() { grep -qs '^populated 1' "$(machine_cgroup "$1")/cgroup.events"; }

# login USER NAME COMMAND...: as that user, over ssh. All commands of a user share one connection, because a login costs
# half a second, and many seconds on an emulated machine. It does not wait long for a machine that does not answer; an
# emulated one may stop for seconds when this computer is busy.
login() {
  local user=$1 dir
  dir=$(machine_dir "$2")
  ssh -F "$dir/ssh" -o ConnectTimeout=30 -o ControlMaster=auto -o ControlPath="$dir/login-%r" -o ControlPersist=yes \
    -o LogLevel=FATAL -o ServerAliveInterval=60 -o ServerAliveCountMax=5 \
    "$user@$2" "${@:3}"
}
on() { login root "$@"; }

# log_out NAME [USER...]: the next command of these users, or of everybody, is a new login. A login keeps the groups that
# its user had.
log_out() {
  local user dir
  dir=$(machine_dir "$1")
  shift
  [ $# -gt 0 ] || set -- root alice bob
  for user; do
    [ ! -S "$dir/login-$user" ] || ssh -F "$dir/ssh" -o ControlPath="$dir/login-$user" -O exit "${dir##*/}" 2>/dev/null || rm -f "$dir/login-$user"
  done
}

# wait_up NAME: until systemd has started everything. A failed unit fails the boot, unless DEGRADED_OK=1.
wait_up() {
  local name=$1 state='' deadline=$((SECONDS + ${BOOT_TIMEOUT:-600}))
  until state=$(on "$name" systemctl is-system-running --wait 2>/dev/null) || [ "$state" = degraded ]; do
    machine_alive "$name" || fail "machine '$name' ended while it booted"
    [ $SECONDS -lt "$deadline" ] || fail "machine '$name' is not up in time"
    sleep 0.1 # sshd is not there yet: nothing to wait on from outside
  done
  [ "$state" = running ] || [ -n "${DEGRADED_OK-}" ] || {
    on "$name" systemctl --failed >&2
    fail "machine '$name' has failed units (DEGRADED_OK=1 accepts them)"
  }
}

# built: the directory of the built binaries.
built() { readlink -f "${REMIT_BUILT:-${CARGO_TARGET_DIR:-$MACHINE_DIR/../../target}/${foreign:+aarch64-unknown-linux-gnu/}debug}"; }

# put_program NAME PROGRAM...: programs of the tests into the machine's /usr/local/bin. Through a pipe and without what
# only a debugger reads: an emulated machine takes seconds for what that would weigh.
put_program() {
  local name=$1 program dir
  shift
  dir=$(mktemp -d)
  for program; do "${foreign:+$foreign-}strip" -o "$dir/$program" "$(built)/$program"; done
  # By name: the mode of the temporary directory is nobody's business in the machine.
  (cd "$dir" && tar -c -- *) | on "$name" tar -C /usr/local/bin -x --no-same-owner
  rm -rf "$dir"
}

# apt_install NAME FILE: a package that lies in the machine. There is no network in there: what it depends on is
# installed.
apt_install() {
  on "$1" "DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Options::=--force-confold install '$2' >/root/apt.log 2>&1 || {
    status=\$?; cat /root/apt.log; exit \$status; }" >&2
}

# emulated NAME: a virtual machine, whose processor is a program, so that everything takes its time; else a container.
emulated() { ! on "$1" systemd-detect-virt -q --container; }
