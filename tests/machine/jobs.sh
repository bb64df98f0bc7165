# shellcheck shell=bash
# jobs.sh: jobs that an end of the daemon meets, and what must be known of them afterwards. Sourced after check.sh.

# So it is started, and so it is found.
left='bash -c "echo so far; echo trouble >&2; exec -a remit-test-left sleep 600"'

# before_end: alice has a job that has ended, and one that has written something and goes on.
before_end() {
  ended_job=$(alice remit --json run -- echo ended before | jq -r .job_id)
  request_id=$(date +%s.%N)
  alice "remit run --request-id $request_id -- $left" >/dev/null 2>&1 &
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
    "$(alice "remit --json run --request-id $request_id -- $left" 2>/dev/null | jq -r '"\(.job_id) \(.state)"')"
  equal "$1: nothing was run again" "$begun" "$(records REMIT_EVENT=intent | wc -l)"
}

# state_of JOB: as in alice's own list.
state_of() { alice remit --json jobs --limit 100 | jq -r --arg id "$1" '.jobs[] | select(.job_id == $id).state'; }
# last_records JOB: the records of its end.
last_records() { records "REMIT_JOB=$1" REMIT_EVENT=end + "REMIT_JOB=$1" REMIT_EVENT=interrupted; }
