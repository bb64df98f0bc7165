use super::*;
use crate::load::template::{Parsed, parse};

/// Lints a template in words, with `{x}` for a value. The span of a finding is the position of its word.
fn found(template: &str, stdin: &Stdin) -> Vec<(Severity, usize)> {
    found_with(template, &[], stdin)
}

fn found_with(template: &str, params: &[WithSpan<Param>], stdin: &Stdin) -> Vec<(Severity, usize)> {
    let part = |(at, text): (usize, &str)| WithSpan {
        value: Part::Word(match parse(text).unwrap() {
            Parsed::Literal(text) => Word::Literal(text),
            Parsed::Value { before, .. } if before.is_empty() => Word::Value(0),
            Parsed::Value { before, .. } => Word::Attached(before, 0),
        }),
        span: at..at,
    };
    let argv: Vec<_> = template.split(' ').enumerate().map(part).collect();
    let findings = lint(&argv, params, stdin).into_iter();
    findings
        .map(|finding| (finding.severity, finding.span.start))
        .collect()
}

#[test]
fn a_value_is_never_code_nor_a_program() {
    for (template, at) in [
        ("/bin/sh -c {x}", 2), // V22
        ("/bin/sh -c echo {x}", 3),
        ("/bin/bash -ec echo sh {x}", 4),
        ("/bin/bash -o errexit -c {x}", 4),
        ("/bin/bash -o {x} -c a", 2),
        ("/bin/bash --norc -lc {x}", 3),
        ("/usr/bin/pwsh -NoProfile -Command x {x}", 4),
        ("/bin/dash {x}", 1),
        ("/bin/sh -e {x}", 2),
        ("/usr/bin/zsh --x={x}", 1),
        ("/usr/bin/python3.11 -c {x}", 2),
        ("/usr/bin/python3 {x}", 1),
        ("/usr/bin/python3 -m {x}", 2),
        ("/usr/bin/python3 -X {x} a.py", 2),
        ("/usr/bin/perl -ne {x}", 2),
        ("/usr/bin/perl5.36 -e a -e {x}", 4),
        ("/usr/bin/ruby -e {x}", 2),
        ("/usr/bin/node --eval={x}", 1),
        ("/usr/bin/awk {x} /f", 1),
        ("/usr/bin/awk -v {x} a /f", 2),
        ("/usr/bin/gawk -f {x} /f", 2),
        ("/usr/bin/sed {x} /f", 1),
        ("/usr/bin/sed -n -e {x} /f", 3),
        ("/usr/bin/sed -ne {x} /f", 2),
        ("/usr/bin/sed --expression={x} /f", 1),
        ("/usr/bin/env {x}", 1), // V31
        ("/usr/bin/env A=b {x}", 2),
        ("/usr/bin/env -u A {x}", 3),
        ("/usr/bin/env -u {x} /bin/df", 2),
        ("/usr/bin/env -S a {x}", 1),
        ("/usr/bin/env df {x}", 1),
        ("/usr/bin/env A=b /bin/sh -c {x}", 4),
        ("/usr/bin/nice -n 5 {x}", 3),
        ("/usr/bin/nohup {x}", 1),
        ("/usr/bin/timeout {x} /bin/df", 1),
        ("/usr/bin/timeout 5 {x}", 2),
        ("/usr/bin/timeout -k 1 5 {x}", 4),
        ("/usr/bin/xargs {x}", 1),
        ("/usr/bin/xargs -n 1 {x}", 3),
        ("/usr/bin/sudo -u root {x}", 3),
        ("/usr/bin/setsid -w {x}", 2),
        ("/usr/bin/stdbuf -o L {x}", 3),
        ("/bin/busybox {x}", 1),
        ("/bin/busybox sh -c {x}", 1),
        ("/usr/bin/strace -o /f {x}", 3),
        ("/usr/bin/flock /f {x}", 2),
        ("/usr/sbin/chroot /d {x}", 2),
        ("/usr/bin/find /d -exec {x} ;", 3),
        ("/usr/bin/find /d -execdir /bin/sh -c {x} ;", 5),
        ("/usr/bin/find /d -fprintf {x}", 3),
        ("/usr/bin/tar -I {x} -xf /f", 2),
        ("/usr/bin/tar --checkpoint-action={x}", 1),
        ("/usr/bin/git -c {x} log", 2),
        ("/usr/bin/apt-get -oAPT::Update::Pre-Invoke::={x} update", 1),
        ("/usr/bin/ssh -oProxyCommand={x} host", 1),
        ("/usr/bin/docker exec web {x}", 3),
        ("/usr/bin/docker exec -u root web /bin/sh -c {x}", 7),
        ("/usr/bin/podman run image {x}", 3),
        ("/usr/bin/kubectl -n a exec pod -- {x}", 6),
        ("/usr/sbin/ip netns exec blue {x}", 4),
        ("/lib64/ld-linux-x86-64.so.2 {x}", 1),
        ("/usr/bin/vim.tiny -c {x}", 2),
        ("/bin/sh.distrib -c {x}", 2),
        ("/usr/bin/socat {x} -", 1),
        ("/usr/bin/split --filter={x} /f", 1),
        ("/usr/bin/git fetch --upload-pack={x}", 2),
        ("/usr/bin/ssh -o {x} host", 2),
        ("/usr/bin/ssh host df {x}", 3),
        ("/usr/bin/ssh -p 22 {x} -- df {x}", 6),
        ("/usr/bin/watch -n 1 /bin/ls {x}", 4),
        ("/usr/bin/watch {x}", 1),
        ("/usr/bin/tmux new-session {x}", 2),
        ("/usr/bin/su agent -c {x}", 1),
        ("/usr/sbin/runuser -u agent -- {x}", 4),
        ("/usr/bin/zip -TT {x} a", 2),
        ("/usr/bin/vim -c {x}", 2),
        ("/usr/bin/make --eval={x}", 1),
        ("/usr/bin/apt-get -o {x} update", 2),
        ("/usr/bin/dpkg --pre-invoke={x}", 1),
        ("/usr/bin/sort --compress-program={x}", 1),
    ] {
        assert_eq!(
            found(template, &Stdin::None),
            [(Severity::Error, at)],
            "{template}"
        );
    }
}

#[test]
fn fixed_code_is_warned_of_plain_programs_not() {
    for template in [
        "/bin/sh -c true",
        "/bin/sh /usr/local/bin/a {x}",
        "/usr/bin/python3 /usr/local/bin/a.py {x}",
        "/usr/bin/python3 -c code {x}",
        "/usr/bin/perl -ne code {x}",
        "/usr/bin/awk code {x}",
        "/usr/bin/sed -n -e 1p {x}",
        "/usr/bin/env A=b /bin/df {x}",
        "/usr/bin/timeout -k 1 5 /bin/df {x}",
        "/usr/bin/nice -n 5 /bin/df --x={x}",
        "/bin/busybox ls",
        "/usr/bin/watch ls",
        "/usr/bin/ssh -p 22 {x} -- df",
    ] {
        assert_eq!(
            found(template, &Stdin::None),
            [(Severity::Warning, 0)],
            "{template}"
        );
    }
    for template in [
        "/usr/sbin/nginx -t -c {x}",
        "/usr/bin/find {x} -name {x}",
        "/usr/bin/git -C {x} log --max-count={x} --end-of-options {x} --",
        "/usr/bin/tar --create --file=/f --directory={x} .",
        "/usr/bin/showenv {x}",
    ] {
        assert_eq!(found(template, &Stdin::None), [], "{template}");
    }
}

#[test]
fn a_caller_writes_no_scripts() {
    for template in [
        // V28
        "/bin/bash",
        "/bin/bash -s",
        "/usr/bin/python3 -i",
        "/usr/bin/xargs",
        "/usr/bin/env",
    ] {
        for stdin in [Stdin::Caller, Stdin::Secret(0), Stdin::Plan] {
            let error = [(Severity::Error, 0)];
            assert_eq!(found(template, &stdin), error, "{template} {stdin:?}");
        }
        assert_eq!(
            found(template, &Stdin::None),
            [(Severity::Warning, 0)],
            "{template}"
        );
    }
    let script = found("/bin/bash /usr/local/bin/a", &Stdin::Caller);
    assert_eq!(script, [(Severity::Warning, 0)]);
}

#[test]
fn c10_what_executes_its_arguments_is_refused() {
    for (template, at) in [
        ("/usr/bin/sqlite3 /f {x}", 2),
        ("/usr/bin/git {x}", 1),
        ("/usr/bin/git submodule foreach {x}", 3),
        ("/usr/bin/git --git-dir={x} log", 1),
        ("/usr/bin/rsync -ae {x}", 2),
        ("/usr/bin/tar -xIf {x}", 2),
        ("/usr/sbin/service {x} start", 1),
        ("/usr/bin/run-parts {x}", 1),
        ("/usr/sbin/logrotate {x}", 1),
        ("/usr/bin/crontab {x}", 1),
        ("/usr/bin/at -f {x}", 2),
        ("/usr/bin/systemd-cat {x}", 1),
        ("/usr/bin/systemd-inhibit {x}", 1),
        ("/usr/bin/systemd-nspawn {x}", 1),
        ("/usr/bin/perf stat {x}", 2),
        ("/usr/bin/perf stat -a {x}", 3),
        ("/usr/sbin/logsave /f {x}", 2),
        ("/usr/bin/snap run {x}", 2),
        ("/usr/bin/flatpak run {x}", 2),
        ("/usr/bin/ctr run {x}", 2),
        ("/usr/bin/lxc-attach {x}", 1),
        ("/usr/bin/rpm --eval={x}", 1),
        ("/usr/bin/rpm --eval {x}", 2),
        ("/usr/bin/rpm --define={x}", 1),
        ("/usr/bin/dnf --setopt={x}", 1),
        ("/usr/bin/bpftrace -e {x}", 2),
        ("/usr/bin/ansible -a {x}", 2),
        ("/usr/bin/virsh qemu-agent-command d {x}", 3),
        ("/usr/bin/docker run -v {x} image", 3),
        ("/usr/bin/docker compose -f {x} up", 3),
        ("/usr/bin/kubectl --kubeconfig={x} get pods", 1),
        ("/usr/bin/openssl -engine {x}", 2),
        ("/usr/bin/openssl req -engine {x}", 3),
        ("/usr/bin/redis-cli --eval {x}", 2),
        ("/usr/bin/systemctl {x} a.service", 1),
        ("/usr/bin/systemctl edit {x}", 2),
        ("/usr/bin/systemctl link {x}", 2),
        ("/usr/sbin/sysctl -w {x}", 2),
        ("/usr/sbin/modprobe {x}", 1),
        ("/usr/sbin/insmod {x}", 1),
        ("/usr/bin/mount -o {x} /a", 2),
        ("/usr/bin/apt-get install {x}", 2),
        ("/usr/bin/pip install {x}", 2),
        ("/usr/bin/npm run {x}", 2),
        ("/usr/bin/psql -Atc {x}", 2),
        ("/usr/bin/vim -es {x}", 2),
    ] {
        let findings = found(template, &Stdin::None);
        assert_eq!(findings.first(), Some(&(Severity::Error, at)), "{template}");
        let fixed = template.replace("{x}", "/usr/bin/true");
        let findings = found(&fixed, &Stdin::None);
        let is_error = |(severity, _): &(Severity, usize)| *severity == Severity::Error;
        assert!(!findings.iter().any(is_error), "{fixed}: {findings:?}");
    }
    for (template, at) in [
        ("/usr/bin/curl -o {x} http://a", 2),
        ("/usr/bin/curl -sSo {x} http://a", 2),
        ("/usr/bin/sort -o {x} /f", 2),
        ("/usr/bin/sort --output={x} /f", 1),
        ("/usr/bin/tcpdump -w {x}", 2),
        ("/usr/bin/tee {x}", 1),
    ] {
        let found = found(template, &Stdin::None);
        assert_eq!(found, [(Severity::Warning, at)], "{template}");
    }
    for template in [
        "/usr/bin/systemctl restart {x}",
        "/usr/bin/git -C {x} status",
        "/usr/bin/curl -sS {x}",
        "/usr/bin/rsync -av {x} {x}",
        "/usr/bin/tar -czf /f {x}",
        "/usr/bin/docker logs {x}",
        "/usr/bin/kubectl logs -f {x}",
        "/usr/bin/apt-cache policy {x}",
        "/usr/bin/rpm -qi {x}",
        "/usr/bin/sqlite3 {x} .tables",
    ] {
        assert_eq!(found(template, &Stdin::None), [], "{template}");
    }
}

#[test]
fn apt_takes_no_package_for_an_expression() {
    let package = [WithSpan {
        value: Param {
            name: "x".to_owned(),
            kind: ParamKind::Package,
            summary: String::new(),
            optional: false,
            default: None,
            most: 1,
        },
        span: 0..0,
    }];
    for (template, at) in [
        ("/usr/bin/apt-get install -- {x}", Some(3)),
        ("/usr/bin/apt-get --yes install {x}", Some(3)),
        ("/usr/bin/apt remove {x}", Some(2)),
        ("/usr/bin/apt-cache policy -- {x}", Some(3)),
        ("/usr/bin/apt-mark hold {x}", Some(2)),
        ("/usr/bin/nice /usr/bin/apt-get install {x}", Some(3)),
        (
            "/usr/bin/apt-get -oAPT::Cmd::Pattern-Only=false install {x}",
            Some(3),
        ),
        (
            "/usr/bin/apt-get -oAPT::Cmd::Pattern-Only install {x}",
            Some(3),
        ),
        (
            "/usr/bin/apt-get install -- -oAPT::Cmd::Pattern-Only=true {x}",
            Some(4),
        ),
        (
            "/usr/bin/apt-get -oAPT::Cmd::Pattern-Only=1 -o APT::Cmd::Pattern-Only=0 install {x}",
            Some(5),
        ),
        (
            "/usr/bin/apt-get -oAPT::Cmd::Pattern-Only=true install -- {x}",
            None,
        ),
        (
            "/usr/bin/apt-get -o apt::cmd::pattern-only=1 install {x}",
            None,
        ),
        (
            "/usr/bin/apt-get --option=APT::Cmd::Pattern-Only=true install {x}",
            None,
        ),
        (
            "/usr/bin/apt-get --option APT::Cmd::Pattern-Only=yes install {x}",
            None,
        ),
        (
            "/usr/bin/apt-cache -o=APT::Cmd::Pattern-Only=true policy {x}",
            None,
        ),
        ("/usr/bin/dpkg --status -- {x}", None),
        ("/usr/bin/dnf install {x}", None),
    ] {
        let found = found_with(template, &package, &Stdin::None);
        let errors = found
            .iter()
            .filter(|(severity, _)| *severity == Severity::Error);
        let errors: Vec<usize> = errors.map(|(_, at)| *at).collect();
        assert_eq!(errors, Vec::from_iter(at), "{template}");
    }
}
