# shellcheck shell=bash
# mcp.sh: an agent's session over ssh, one line of JSON each way. Sourced after lib.sh and check.sh; one at a time.

# open_session USER [SSH-CONFIGURATION]: starts mcp-shim there; its ssh client is process $shim. The answer to
# initialize is in $welcome.
open_session() {
  # shellcheck disable=SC2154 # the test has it
  coproc SHIM { exec ssh -F "${2-$(machine_dir "$name")/ssh}" "$1@$name" mcp-shim; }
  # The pipes of a coprocess are closed in pipelines; copies of them are not.
  local to=${SHIM[1]} from=${SHIM[0]}
  # shellcheck disable=SC2154 # coproc sets SHIM_PID
  shim=$SHIM_PID
  exec {to_shim}>&"$to" {to}>&- {from_shim}<&"$from" {from}<&-
  # shellcheck disable=SC2034 # for those who ask
  welcome=$(call 0 initialize '{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}')
  send '{"jsonrpc":"2.0","method":"notifications/initialized"}'
}

# close_session: as a client does that ends; the shim ends, too.
close_session() {
  exec {to_shim}>&- {from_shim}<&-
  wait "$shim"
}

# drop_session: the connection is gone, and nobody said so.
drop_session() {
  kill -KILL "$shim"
  exec {to_shim}>&- {from_shim}<&-
  wait "$shim" 2>/dev/null || true
}

send() { printf '%s\n' "$1" >&"$to_shim"; }

# call ID METHOD PARAMETERS: sends a request, prints its result; notifications in between go to $heard, where that is set.
call() {
  local line
  send "{\"jsonrpc\":\"2.0\",\"id\":$1,\"method\":\"$2\",\"params\":$3}"
  while read -r -t 70 line <&"$from_shim"; do
    jq -ec "select(.id == $1) | .result // ." <<<"$line" && return
    [ -z "${heard-}" ] || printf '%s\n' "$line" >>"$heard"
  done
  echo "no answer to $2"
}

# tool ID NAME ARGUMENTS: the structured content of a tool's answer.
tool() { call "$1" tools/call "{\"name\":\"$2\",\"arguments\":$3}" | jq -c .structuredContent; }
