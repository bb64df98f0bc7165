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

# refused WHAT STATUS COMMAND...: the command ends with that status, and says why on stderr.
refused() {
  local what=$1 expected=$2 status=0 said
  shift 2
  said=$("$@" 2>&1 >/dev/null) || status=$?
  equal "$what: status" "$expected" "$status"
  matches "$what: a reason" '.' "$said"
}
