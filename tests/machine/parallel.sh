# shellcheck shell=bash
# parallel.sh: several runs of test-package at once, each with a log of its own. Sourced after lib.sh.
#
# A run is started with begin and never talks to the terminal; finish waits for all, prints the logs in the order of
# their beginning (whole where one failed), and fails when one has. On ctrl-C every run ends its machine first.

logs=$(mktemp -d)
declare -a titles=() pids=()

end_runs() {
  local pid
  trap '' INT TERM
  # Each run is a process group of its own: what it waits for ends too, so that it comes to its own clearing up.
  for pid in "${pids[@]}"; do kill -TERM -- "-$pid" 2>/dev/null || true; done
  wait
  rm -rf "$logs"
}
trap end_runs EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# begin TITLE ARGUMENT...: test-package with these arguments, as soon as fewer than $most runs are under way. What fails
# on an emulated machine is tried once more, and said: those stand still for many seconds by themselves, and hang (75).
# What is wrong with remit fails twice. The log of the n-th run is $logs/n, from 0 on. A run that hangs is ended after
# $limit seconds, with its whole process group, because a log is printed only when all have ended.
begin() {
  local title=$1 log=$logs/${#titles[@]} again=75
  shift
  [ "$1" != -k ] || again=
  while [ "$(jobs -rp | wc -l)" -ge "${most:-4}" ]; do wait -n || true; done
  # shellcheck disable=SC2016 # for the inner shell
  setsid timeout --kill-after=120 "${limit:-7200}" bash -c 'again=$1; shift
    "$@" || { status=$?; [ $status = "${again:-$status}" ] && echo "once more, on a new machine ($status)" && "$@"; }
    echo $? >"$0"' "$log.status" "$again" "$MACHINE_DIR/test-package" "$@" </dev/null >"$log" 2>&1 &
  pids+=($!)
  titles+=("$title")
}

# fact NAME LOG: what test-package, or a test, said of the machine.
fact() { sed -n "s/^$1: //p" "$2" | tail -n 1; }
# attacks LOG: what test-sandbox counted.
attacks() { if grep -qE '^[0-9]+ held' "$1"; then grep -oE '^[0-9]+ held|[0-9]+ lost$' "$1" | paste -sd ' '; else echo FAILED; fi; }

# reason LOG: why a run failed: what a test printed from its last FAIL or LOST on, or last at all, then the end of the
# daemon's journal, which test-package prints after it.
reason() {
  local printed line
  printed=$(sed '/^-- journal/,$d' "$1")
  # A test that was killed printed neither. Nothing here may end before it read everything: pipefail takes the writer's
  # SIGPIPE for a failure.
  line=$(grep -nE '^(FAIL|LOST) ' <<<"$printed" | tail -n 1 | cut -d : -f 1) || true
  if [ "$line" ]; then sed -n "$line,$((line + 19))p" <<<"$printed"; else tail -n 20 <<<"$printed"; fi
  sed -n '/^-- journal/,$p' "$1" | tail -n 20
}

# finish: exit status 1 when a run failed. What failed is printed last; whole logs are kept in target/machine-logs.
finish() {
  local i kept=$MACHINE_DIR/../../target/machine-logs
  local -a failed=()
  wait
  pids=()
  for i in "${!titles[@]}"; do
    echo "-- ${titles[$i]}"
    grep -E '^ *[0-9]+ s  |^once more' "$logs/$i" || true
    [ "$(cat "$logs/$i.status" 2>/dev/null)" = 0 ] || failed+=("$i")
  done
  rm -rf "$kept"
  mkdir -p "$kept"
  cp "$logs"/* "$kept"
  chown -R --reference="$MACHINE_DIR" "$kept"
  for i in "${failed[@]}"; do
    echo "FAILED: ${titles[$i]} (status $(cat "$logs/$i.status" 2>/dev/null), target/machine-logs/$i)"
    reason "$logs/$i"
  done
  [ ${#failed[@]} = 0 ]
}
