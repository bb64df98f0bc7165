# shellcheck shell=bash
# check.sh: assertions for the system tests below this directory, jobs that an end of the daemon meets, and a container
# engine. Sourced after lib.sh.

# A command that ends a test without a word is named.
set -E
trap 'status=$?; [ $BASH_SUBSHELL != 0 ] || [ "${0##*/}" = test-package ] || echo "FAIL  ${0##*/}, line $LINENO: status $status: ${BASH_COMMAND:0:300}" >&2' ERR

# check WHAT COMMAND...: the command succeeds; what it printed is shown where it does not.
check() {
  local what=$1 said
  shift
  if said=$("$@" 2>&1); then
    echo "  ok  $what"
  else
    echo "FAIL  $what (status $?): $*" >&2
    sed 's/^/      /' <<<"$said" >&2
    exit 1
  fi
}

# equal WHAT EXPECTED FOUND
equal() {
  [ "$2" = "$3" ] || { echo "FAIL  $1: expected '$2', found '$3'" >&2; exit 1; }
  echo "  ok  $1"
}

# matches WHAT REGEX FOUND
matches() {
  [[ $3 =~ $2 ]] || { echo "FAIL  $1: expected something like '$2', found '$3'" >&2; exit 1; }
  echo "  ok  $1"
}

# between WHAT LEAST FOUND MOST
between() { check "$1: $3, expected $2 to $4" eval "(($3 >= $2 && $3 <= $4))"; }

# refused WHAT STATUS COMMAND...: the command ends with that status, and says why on stderr.
refused() {
  local what=$1 expected=$2 status=0 said
  shift 2
  said=$("$@" 2>&1 >/dev/null) || status=$?
  equal "$what: status" "$expected" "$status"
  matches "$what: a reason" '.' "$said"
}

# The people of the machine $name.
# shellcheck disable=SC2154 # the test's
root() { on "$name" "$@"; }
alice() { login alice "$name" "$@"; }
bob() { login bob "$name" "$@"; }

# request COMMAND...: what alice asks for without an answer; the job's id. A refusal is shown.
request() {
  local answer
  answer=$(alice "$@" --no-wait --json 2>/dev/null) || { sed 's/^/      /' <<<"$answer" >&2; return 1; }
  jq -r .job_id <<<"$answer"
}
# digest_of JOB: the digest of a request.
digest_of() { bob remit pending --json | jq -r ".requests[] | select(.job_id == \"$1\").digest"; }

# day_lasts ZONE...: returns once the day has ten minutes left in each zone of TZ, for a test that asks for 'today'.
day_lasts() {
  root "for zone in $*; do
    left=\$((\$(TZ=\$zone date -d 'tomorrow 0:00' +%s) - \$(date +%s)))
    [ \$left -ge 600 ] || sleep \$((left + 1))
  done"
}

# undo_of JOB: the id of the undo that a commit names.
undo_of() { alice remit job "$1" --stdout | sed -n 's/.*undo: remit undo \([0-9a-f]*\).*/\1/p'; }

# breakers_off: for a test that is refused more often than any agent may be.
breakers_off() {
  root 'sed -Ei "s/^(failed_changes|slow_refusals|pause_refusals) = .*/\1 = 0/" /etc/remit/remit.toml; systemctl restart remitd'
}

# records [MATCH...]: the daemon's own records in there, oldest first, an object a line. Anybody can write fields into
# the journal; only root's have _UID 0.
records() {
  root journalctl --sync
  # Not by _EXE: journald cannot read it any more where it hears of a record after the daemon's end.
  root journalctl -o json --no-pager _UID=0 SYSLOG_IDENTIFIER=remitd "$@"
}

# logged TEXT: returns when root's journal has this text; a sync alone does not wait for what journald has not read yet.
logged() {
  root "timeout 60 sh -c 'until journalctl --sync && journalctl -q _UID=0 | grep -qF \"$1\"; do sleep 0.1; done'"
}

# chain_whole: the daemon's records are all there, in order, as they were written, up to the newest one that it knows;
# test-audit holds that 'remit audit verify' would tell.
chain_whole() {
  root remit audit verify --json | jq -e '.whole and .end'
}

# start_job: alice starts a job that lasts and leaves its session, its parent and its name behind; returns when it runs.
# Its ssh client is process $!.
start_job() {
  alice 'remit run -- bash -c "setsid bash -c \"exec -a remit-test-left sleep 600\" >/dev/null 2>&1 & sleep 600"' >/dev/null 2>&1 &
  root 'timeout 120 sh -c "until pgrep -f ^remit-test-left >/dev/null; do sleep 0.05; done"'
}
no_job_left() { equal "${1:-nothing of any job is left}" '' "$(root 'pgrep -f "^remit-test-left"' || true)"; }

# --- what alice is answered. $called has the names of all commands so far.

verb=run
# normal: lines without numbers and blanks, in any order: what is said on standard error comes when it comes.
normal() { sed -E 's,^(/usr)?/s?bin/,,; s/[0-9]+/N/g; s/[[:space:]]+/ /g; s/ $//' | sed '/^$/d' | sort; }
# look CALL...: what alice gets, on standard output in $out, all of it in $said, and its status in $status.
look() {
  local errors
  errors=$(mktemp)
  status=0
  called+="$1 "
  # shellcheck disable=SC2086,SC2046 # words
  out=$(alice remit $verb --name "$(printf '%q ' "$@")" 2>"$errors") || status=$?
  said=$out$'\n'$(grep -v '^remit: note: it printed nothing' "$errors" || true)
  rm -f "$errors"
}
# same 'CALL' 'ROOT': the same lines, but for numbers and blanks.
same() {
  local own try
  # Containers share a kernel: a disk that another one attaches between the two looks is no difference.
  for try in 1 2 3 4 5; do
    eval "look $1"
    own=$(root "$2" 2>&1) || true
    [ "$(normal <<<"$said")" != "$(normal <<<"$own")" ] || break
    [ "$try" != 5 ] ||
      { echo "FAIL  $1 (status $status): not what '$2' says:" >&2; diff <(normal <<<"$own") <(normal <<<"$said") | head -20 >&2 || true; exit 1; }
  done
  echo "  ok  $1"
}
# has 'CALL' REGEX...: it has a line like each.
has() {
  local regex call=$1
  eval "look $1"
  shift
  for regex; do
    grep -Eq -- "$regex" <<<"$said" || { echo "FAIL  $call (status $status): nothing like '$regex' in:" >&2; head -40 >&2 <<<"$said"; exit 1; }
  done
  echo "  ok  $call"
}
# data 'CALL' FILTER: JSON of which jq's filter holds.
data() {
  eval "look $1"
  jq -es "$2" <<<"$out" >/dev/null || { echo "FAIL  $1 (status $status): not '$2':" >&2; head -c 2000 >&2 <<<"$said"; exit 1; }
  echo "  ok  $1"
}
# plain WHAT TEXT: each line is an object of JSON, and no byte controls a terminal.
plain() {
  jq -e 'type == "object"' <<<"$2" >/dev/null || { echo "FAIL  $1: a line is no object" >&2; exit 1; }
  equal "$1" 0 "$(tr -d '[:print:]\n\t' <<<"$2" | LC_ALL=C tr -d '\200-\377' | wc -c)"
}

# --- jobs that an end of the daemon meets, and what must be known of them afterwards.

# So it is started, and so it is found.
left_job='bash -c "echo so far; echo trouble >&2; exec -a remit-test-left sleep 600"'

# before_end: alice has a job that has ended, and one that has written something and goes on.
before_end() {
  ended_job=$(alice remit --json run -- echo ended before | jq -r .job_id)
  request_id=$(date +%s.%N)
  alice "remit run --request-id $request_id -- $left_job" >/dev/null 2>&1 &
  root "timeout 60 sh -c 'until pgrep -f ^remit-test-left >/dev/null; do sleep 0.05; done'"
  open_job=$(alice remit --json jobs | jq -r '[.jobs[] | select(.state == "running")][0].job_id')
  alice "timeout 60 sh -c 'until [ \"\$(remit job $open_job --stdout)\" = \"so far\" ]; do sleep 0.05; done'"
  begun=$(records REMIT_EVENT=intent | wc -l)
}

# after_end WHAT: the daemon is back. Both are known, nothing runs, and nothing was run again.
after_end() {
  no_job_left "$1: nothing of the job that ran is left"
  equal "$1: it is" interrupted "$(state_of "$open_job")"
  equal "$1: what it wrote until then" 'so far' "$(alice remit job "$open_job" --stdout)"
  equal "$1: on standard error too" trouble "$(alice remit job "$open_job" --stderr)"
  equal "$1: its end is verified" true "$(alice remit --json job "$open_job" | jq .kill_verified)"
  equal "$1: its one last record" interrupted "$(last_records "$open_job" | jq -r .REMIT_STATE)"
  equal "$1: what had ended is" exited "$(state_of "$ended_job")"
  equal "$1: what that wrote" 'ended before' "$(alice remit job "$ended_job" --stdout)"
  equal "$1: its one last record" exited "$(last_records "$ended_job" | jq -r .REMIT_STATE)"
  equal "$1: asked for again, it is the same job" "$open_job interrupted" \
    "$(alice "remit --json run --request-id $request_id -- $left_job" 2>/dev/null | jq -r '"\(.job_id) \(.state)"')"
  equal "$1: nothing was run again" "$begun" "$(records REMIT_EVENT=intent | wc -l)"
}

# no_removal_by_job PROGRAM ARGUMENT...: a job as root without a sandbox that removes remit fails, and ends nothing. The program is in /usr/bin.
no_removal_by_job() {
  local before
  root 'cat >/etc/remit/policy.d/70-test.toml' <<END
[[command]]
name = "test.removal"
summary = "Remove remit"
argv = ["-/usr/bin/$1"$(printf ', "%s"' "${@:2}")]
effect = "change"
profile = "test-root"

[profile.test-root]
base = "host"

[[grant]]
to = ["%remit"]
allow = ["test.removal"]
unconfined = true
END
  root 'remit policy reload >/dev/null'
  before=$(root systemctl show -P MainPID remitd.service)
  matches 'a job does not remove remit' 'a job of remit cannot remove remit' "$(alice 'remit change -m removal test.removal 2>&1' || true)"
  equal 'a job does not remove remit: the daemon serves as before' "$before active" \
    "$(root systemctl show -P MainPID remitd.service) $(root systemctl is-active remitd.service)"
  root 'rm /etc/remit/policy.d/70-test.toml && remit policy reload >/dev/null'
}

# state_of JOB: as in alice's own list.
state_of() { alice remit --json jobs --limit 100 | jq -r --arg id "$1" '.jobs[] | select(.job_id == $id).state'; }
# last_records JOB: the records of its end.
last_records() { records "REMIT_JOB=$1" REMIT_EVENT=end REMIT_EVENT=interrupted; }

# --- a container engine in the machine, and an image for it.

# open_engine: Podman answers at its socket, without any container; image localhost/shop:1 has a shell and 'sleep'. In a
# container of its own an engine has neither control groups nor a network to give.
open_engine() {
  # shellcheck disable=SC2016 # expands in the machine
  root 'set -e
    mkdir -p /etc/containers
    printf "[storage]\ndriver = \"vfs\"\nrunroot = \"/run/containers/storage\"\ngraphroot = \"/var/lib/containers/storage\"\n" >/etc/containers/storage.conf
    printf "[containers]\ncgroups = \"disabled\"\nnetns = \"none\"\ndefault_sysctls = []\nlog_driver = \"k8s-file\"\nkeyring = false\n[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n" >/etc/containers/containers.conf
    rm -rf /var/lib/containers/storage; systemctl stop podman.service 2>/dev/null; systemctl start podman.socket
    image=$(mktemp -d); cp --parents /bin/sleep /bin/sh $(ldd /bin/sleep /bin/sh | grep -o "/lib[^ ]*" | sort -u) "$image"
    tar -C "$image" -c . | podman import -q - shop:1 >/dev/null; rm -rf "$image"'
}

# close_engine: all its containers, the image and the settings are gone.
close_engine() {
  root 'podman rm -fa -t 0; podman rmi -f localhost/shop:1
    rm -rf /etc/containers/containers.conf /etc/containers/storage.conf /var/lib/containers/storage' >/dev/null 2>&1 || true
}
