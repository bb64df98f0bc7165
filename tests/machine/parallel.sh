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

# begin TITLE ARGUMENT...: test-package with these arguments. An emulated machine may hang by itself (75): once more.
begin() {
  local title=$1
  shift
  # shellcheck disable=SC2016 # for the inner shell
  setsid bash -c '"$@" || { [ $? = 75 ] && echo "once more, on a new machine" && "$@"; }' - \
    "$MACHINE_DIR/test-package" "$@" </dev/null >"$logs/${#titles[@]}" 2>&1 &
  pids+=($!)
  titles+=("$title")
}

# finish: exit status 1 when a run failed.
finish() {
  local i status failed=0
  for i in "${!titles[@]}"; do
    status=0
    wait "${pids[$i]}" || status=$?
    echo "-- ${titles[$i]}"
    if [ $status = 0 ]; then
      grep -E '^ *[0-9]+ s  ' "$logs/$i"
    else
      cat "$logs/$i"
      echo "FAILED (status $status): ${titles[$i]}"
      failed=1
    fi
  done
  titles=() pids=()
  return $failed
}
