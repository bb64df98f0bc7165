# shellcheck shell=bash
# copies.sh: an agent (alice) works in copies of the machine $name, bob approves what came of it. Sourced after check.sh.

# copies_allowed [COMMAND...]: the policy is in force, and each layer of a copy holds. COMMAND: may follow a commit.
copies_allowed() {
  # Nothing but the test changes files from here on.
  root "systemctl stop '*.timer'; usermod -aG remit-admin bob; cat >/etc/remit/policy.d/70-copies.toml" <<END
[[grant]]
name = "copies"
to = ["%remit"]
allow = ["run", "plan.extract"]
run_profile = "plan"
approval = "none"

[[grant]]
name = "commits"
to = ["%remit"]
allow = ["plan.commit", "plan.undo"$([ $# = 0 ] || printf ', "%s"' "$@")]
acts = [$([ $# = 0 ] || printf '"%s",' "$@")]
approval = { by = ["%remit-admin"] }
END
  # shellcheck disable=SC2154 # the test's
  log_out "$name" bob
  check 'the policy is in force' root remit policy reload
  copies_ready 'each layer of a copy holds'
}

# copies_ready WHAT: until the sandbox of copies is tested, which begins at the first policy with copies and at each start of the daemon.
copies_ready() {
  check "$1" root 'for try in $(seq 60); do
      said=$(remit doctor -v | grep " plan: ")
      grep -q "not tested yet" <<<"$said" || break
      sleep 0.5
    done
    echo "$said"
    ! grep -q "^ *FAILURE" <<<"$said" && grep -q "ok .*plan: mask" <<<"$said"'
}

# copies_over: the machine without that policy, and its record is whole.
copies_over() {
  root 'gpasswd -d bob remit-admin >/dev/null; rm /etc/remit/policy.d/70-copies.toml; remit policy reload >/dev/null'
  check 'the record is whole' chain_whole
}

# asked WHAT COMMAND...: alice asks, bob approves by the digest, and it ends well. The job is in $job.
asked() {
  local what=$1
  shift
  job=$(request "$@")
  check "$what: bob approves" bob "remit approve $job --digest $(digest_of "$job")"
  equal "$what: it ended well" 0 "$(alice remit job "$job" --wait --json | jq -r .exit)"
}

# confirmed: a commit that can lock people out stays only if somebody says so, from a login that began after it.
confirmed() {
  log_out "$name" bob
  check "$what: bob confirms" bob "remit confirm $(undo_of "$job")"
}

# fetch_debs DIRECTORY PACKAGE...: the packages and what each needs on this machine, once, into DIRECTORY/PACKAGE. The machine has no
# network, so this computer's apt reads what the machine has installed. TOGETHER=NAME: all of them into DIRECTORY/NAME.
fetch_debs() {
  local debs=$1 apt package url recipe
  shift
  apt=$(mktemp -d)
  # remit itself is another one each time.
  recipe=$(root dpkg-query -W | grep -v ^remit)
  mkdir -p "$apt"/{archives/partial,etc/apt.conf.d,etc/keys,lists/partial} "$debs"
  root cat /var/lib/dpkg/status >"$apt/status"
  root tar -C /etc/apt/trusted.gpg.d -c . | tar -C "$apt/etc/keys" -x
  url=$(mirror)
  printf 'deb %s bookworm%s main\n' "$url/debian" '' "$url/debian-security" -security >"$apt/etc/sources.list"
  get() {
    apt-get -qq -o Dir::State="$apt" -o Dir::State::status="$apt/status" -o Dir::Cache="$apt" -o Dir::Etc="$apt/etc" \
      -o Dir::Etc::trustedparts="$apt/etc/keys" -o APT::Sandbox::User=root "$@" </dev/null >"$apt/log" 2>&1 || { cat "$apt/log" >&2; return 1; }
  }
  # got NAME PACKAGE...
  got() {
    [ "$(cat "$debs/$1.ok" 2>/dev/null)" != "$recipe" ] || return 0
    [ -e "$apt/updated" ] || get update
    touch "$apt/updated"
    rm -rf "${debs:?}/$1"
    mkdir -p "$debs/$1/partial"
    get -o Dir::Cache::archives="$debs/$1" --no-install-recommends --reinstall --download-only -y install "${@:2}"
    rm -r "$debs/$1/partial" "$debs/$1/lock"
    echo "$recipe" >"$debs/$1.ok"
  }
  if [ -n "${TOGETHER-}" ]; then
    got "$TOGETHER" "$@"
  else
    for package; do got "$package" "$package"; done
  fi
  rm -r "$apt"
}

# tree_of DIRECTORY...: how these are, but for what systemd, remit, logs and caches write by themselves: names, kinds, modes, owners,
# targets of links, bytes, capabilities.
tree_of() {
  root "set -e
    paths() { find $* \( -path /var/log -o -path /var/cache -o -path /var/tmp -o -path /var/lib/remit -o -path /var/lib/systemd \
      -o -path /srv/debs \) -prune -o \"\$@\" | sort -z; }
    paths -printf '%p %y %m %U:%G %l\0' | tr '\0' '\n'
    paths -type f -print0 | xargs -0r sha256sum
    getcap -r /usr 2>/dev/null"
}
