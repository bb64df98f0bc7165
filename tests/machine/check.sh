# shellcheck shell=bash
# check.sh: assertions for the system tests below this directory. Sourced after lib.sh.

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

# records [MATCH...]: the daemon's own records in there, oldest first, an object a line. Anybody can write fields into
# the journal; only root's daemon has _UID 0 and this program.
records() {
  root journalctl --sync
  root journalctl -o json --no-pager _UID=0 _EXE=/usr/libexec/remit/remitd "$@"
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
  root 'until pgrep -f "^remit-test-left" >/dev/null; do sleep 0.05; done'
}
no_job_left() { equal "${1:-nothing of any job is left}" '' "$(root 'pgrep -f "^remit-test-left"' || true)"; }
