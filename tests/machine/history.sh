# shellcheck shell=bash
# history.sh: some hours of an agent and of those who answer for it, on one machine, for tests of what one can read of it
# afterwards. Sourced after check.sh.

# asks_for ARGUMENTS: alice asks for a change; prints its job.
asks_for() { alice "remit --json change --no-wait -m '$1' ${*:2}" 2>/dev/null | jq -r .job_id; }
# over JOB: alice waits for its end, whatever it is.
over() { alice "remit --json job --wait $1" >/dev/null 2>&1 || true; }

# a_history: alice is the agent, bob approves, mallory has no right at all. What the test has to know of it is in $ran,
# $approved, $denied, $expired, $void, $taken_back, $given, $as_root, $stopped, $cut (by a crash of the daemon) and $stopped_with (it).
a_history() {
  day_lasts :/etc/localtime
  root 'usermod -aG remit-admin bob; id mallory >/dev/null 2>&1 || useradd -m mallory
    printf "[Service]\nExecStart=/bin/sleep infinity\n" >/run/systemd/system/nginx.service; systemctl daemon-reload
    sed "s/expires = \"30min\"/expires = \"10s\"/" /usr/share/doc/remit/examples/changes.toml >/etc/remit/policy.d/60-changes.toml
    remit policy reload >/dev/null'
  ran=$(alice remit --json run -- uname -sr | jq -r .job_id)
  alice remit run -- cat /etc/shadow >/dev/null 2>&1 || true
  alice "remit run --script 'ls /etc | wc -l; touch /etc/nologin'" >/dev/null 2>&1 || true
  alice remit run --timeout 1 -- sleep 600 >/dev/null 2>&1 || true
  alice remit run -- no-such-program >/dev/null 2>&1 || true

  # Refused: no rule grants it, no such command, nobody at all.
  alice remit run --profile host -- id >/dev/null 2>&1 || true
  alice remit change -m tidy package.remove packages=nginx >/dev/null 2>&1 || true
  root 'setpriv --reuid mallory --regid mallory --groups remit remit run --profile strict -- id' >/dev/null 2>&1 || true

  # Asked, and what becomes of it.
  approved=$(asks_for 'ticket 7' service.restart unit=nginx.service)
  alice "remit approve $approved" </dev/null >/dev/null 2>&1 || true
  bob "remit approve $approved --digest $(bob "remit --json show $approved" | jq -r .digest)" >/dev/null
  over "$approved"
  denied=$(asks_for 'it is slow' service.stop unit=nginx.service)
  bob "remit deny $denied -m 'not on a Friday'" >/dev/null
  void=$(asks_for 'ticket 8' service.stop unit=nginx.service)
  root "sed -i 's/^allow = \[\"service.start\", /&\"service.enable\", /' /etc/remit/policy.d/60-changes.toml; remit policy reload >/dev/null"
  expired=$(asks_for 'ticket 9' package.install packages=sudo)
  over "$expired"
  taken_back=$(asks_for 'ticket 10' service.start unit=nginx.service)
  alice "remit stop $taken_back" >/dev/null 2>&1 || true

  # Approved beforehand.
  bob 'remit grant alice --for 1h --uses 2 service.start unit=nginx.service' >/dev/null
  given=$(asks_for 'ticket 11' service.start unit=nginx.service)
  over "$given"
  bob remit revoke --all >/dev/null

  # A policy that is wrong, and root tries a profile.
  root 'printf "[[grant]]\nto = [\"%%remit\"]\nallow = [\"nonsense *\"]\n" >/etc/remit/policy.d/70-wrong.toml
    remit policy reload >/dev/null 2>&1; rm /etc/remit/policy.d/70-wrong.toml; remit policy reload >/dev/null
    remit try --profile read -- id >/dev/null 2>&1'

  # As root and without a sandbox, where a rule says so.
  root 'cat >/etc/remit/policy.d/70-root.toml && remit policy reload >/dev/null' <<'END'
[profile.as-root]
base = "host"
user = "root"

[[command]]
name = "root.id"
summary = "Who root is"
argv = ["/usr/bin/id"]
effect = "change"
profile = "as-root"

[[grant]]
to = ["%remit"]
allow = ["root.id"]
unconfined = true
END
  as_root=$(asks_for 'ticket 12' root.id)
  over "$as_root"

  # Stopped by its owner; locked.
  alice 'remit run -- sleep 600' >/dev/null 2>&1 &
  running; stopped=$job
  alice "remit stop $stopped" >/dev/null
  root "remit lock -m 'somebody tries things'" >/dev/null
  alice remit run -- true >/dev/null 2>&1 || true
  root remit unlock >/dev/null

  # The daemon dies, and is stopped in order, each with a job that runs.
  alice 'remit run -- sleep 600' >/dev/null 2>&1 &
  running; cut=$job
  root 'systemctl kill -s KILL --kill-whom=main remitd.service; remit status >/dev/null 2>&1; timeout 60 sh -c "until remit status >/dev/null 2>&1; do sleep 0.05; done"'
  alice 'remit run -- sleep 600' >/dev/null 2>&1 &
  running; stopped_with=$job
  root systemctl restart remitd.service
  alice remit run -- uptime >/dev/null
  wait
}

# no_history: the machine is as it was, but for its journal.
no_history() {
  root 'systemctl stop nginx.service; rm -f /run/systemd/system/nginx.service /etc/remit/policy.d/{60-changes,70-root}.toml
    systemctl daemon-reload; gpasswd -d bob remit-admin >/dev/null; userdel -r mallory 2>/dev/null; remit policy reload >/dev/null'
}

# running: alice's one job that runs is in $job.
running() {
  job=
  until [ -n "$job" ]; do
    job=$(alice remit --json jobs | jq -r '[.jobs[] | select(.state == "running")][0].job_id // empty')
  done
}
