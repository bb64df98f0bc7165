//! Runs each injection without remit, where it works, and through named commands, where it does not.

use std::collections::BTreeSet;

use remit_common::refusal::Code;
use remit_tests::caller::{Caller, named, stdout};
use remit_tests::daemon::{Daemon, Options, user_a};
use remit_tests::test_dir::{TestDir, missing};
use remit_wire::outcome::State;
use remit_wire::{Bytes, Run};

use super::fixture::{INJECTIONS, InjectionFixture, MARK, installed};

/// One sensible command for each tool. The profile would permit harm: the attacker's program is executable and
/// the protected files are writable.
const POLICY: &str = r##"
[profile.soft]
base = "strict"
read = ["@D", "-/var/lib/dpkg", "-/etc/apt"]
write = ["@P/out", "@P/notes"]
leads_to_root = true
exec = ["@P/tools"]
# Where nothing is written, every job trusts all repositories.
env = { GIT_CONFIG_COUNT = "1", GIT_CONFIG_KEY_0 = "safe.directory", GIT_CONFIG_VALUE_0 = "*" }

[[command]]
name = "git.log"
summary = "The newest commit"
argv = ["/usr/bin/git", "-C", "{repository}", "log", "--max-count=1", "--end-of-options", "{revision}", "--"]
effect = "read"
profile = "soft"
args.repository = { type = "path", under = "@D", is = "directory" }
args.revision = { type = "string", pattern = "[A-Za-z0-9._:@/+-]+" }

[[command]]
name = "git.grep"
summary = "Lines with a text"
argv = ["/usr/bin/git", "-C", "@R", "grep", "-e", "{text}", "--"]
effect = "read"
profile = "soft"
args.text = { type = "string", pattern = "[ -~]+" }

[[command]]
name = "git.remote"
summary = "Names on a server"
argv = ["/usr/bin/git", "ls-remote", "--", "{url}"]
effect = "read"
profile = "soft"
args.url = { type = "string", pattern = "[A-Za-z0-9._:@/+-]+" }

[[command]]
name = "find.name"
summary = "Files by name"
argv = ["/usr/bin/find", "{directory}", "-xdev", "-maxdepth", "2", "-name", "{name}"]
effect = "read"
profile = "soft"
args.directory = { type = "path", under = "@D", is = "directory" }
args.name = { type = "string", pattern = "[ -~]+" }

[[command]]
name = "tar.list"
summary = "What an archive holds"
argv = ["/usr/bin/tar", "--list", "--file={archive}"]
effect = "read"
profile = "soft"
args.archive = { type = "path", under = "@D" }

[[command]]
name = "tar.create"
summary = "An archive"
argv = ["/usr/bin/tar", "--create", "--file=/tmp/x.tar", "--directory={directory}", "--", "{member}"]
effect = "read"
profile = "soft"
args.directory = { type = "path", under = "@D", is = "directory" }
args.member = { type = "string", pattern = "[ -~]+" }

[[command]]
name = "sed.head"
summary = "The first lines"
argv = ["/usr/bin/sed", "-n", "1,20p", "{file}"]
effect = "read"
profile = "soft"
args.file = { type = "path", under = "@D" }

[[command]]
name = "sort.file"
summary = "Sorted lines"
argv = ["/usr/bin/sort", "--", "{file}"]
effect = "read"
profile = "soft"
args.file = { type = "path", under = "@D" }

[[command]]
name = "awk.first"
summary = "First words"
argv = ["/usr/bin/awk", "{{print $1}}", "{file}"]
effect = "read"
profile = "soft"
args.file = { type = "path", under = "@D" }

[[command]]
name = "env.print"
summary = "A text"
argv = ["/usr/bin/env", "LC_ALL=C", "/usr/bin/printf", "[%s]", "{text}"]
effect = "read"
profile = "soft"
args.text = { type = "string", pattern = "[ -~]+" }

[[command]]
name = "xargs.print"
summary = "A text"
argv = ["/usr/bin/xargs", "/usr/bin/printf", "[%s]", "{text}"]
effect = "read"
profile = "soft"
args.text = { type = "string", pattern = "[ -~]+" }

[[command]]
name = "nice.print"
summary = "A text"
argv = ["/usr/bin/nice", "/usr/bin/printf", "[%s]", "{text}"]
effect = "read"
profile = "soft"
args.text = { type = "string", pattern = "[ -~]+" }

[[command]]
name = "timeout.print"
summary = "A text"
argv = ["/usr/bin/timeout", "5", "/usr/bin/printf", "[%s]", "{text}"]
effect = "read"
profile = "soft"
args.text = { type = "string", pattern = "[ -~]+" }

[[command]]
name = "strace.print"
summary = "A text"
argv = ["/usr/bin/strace", "/usr/bin/printf", "[%s]", "{text}"]
effect = "read"
profile = "soft"
args.text = { type = "string", pattern = "[ -~]+" }

[[command]]
name = "ssh.uptime"
summary = "How long a host is up"
argv = ["/usr/bin/ssh", "-oBatchMode=yes", "-oConnectTimeout=1", "--", "{host}", "uptime"]
effect = "read"
profile = "soft"
args.host = { type = "string", pattern = "[A-Za-z0-9._:@/+-]+" }

[[command]]
name = "curl.get"
summary = "A page"
argv = ["/usr/bin/curl", "--silent", "--max-time", "2", "--", "{url}"]
effect = "read"
profile = "soft"
args.url = { type = "string", pattern = "[ -~]+" }

[[command]]
name = "apt-get.simulate"
summary = "What an installation would do"
argv = ["/usr/bin/apt-get", "--option=APT::Cmd::Pattern-Only=true", "--simulate", "install", "--", "{package}"]
effect = "read"
profile = "soft"
args.package = { type = "package" }

[[command]]
name = "dpkg.status"
summary = "A package"
argv = ["/usr/bin/dpkg", "--status", "--", "{package}"]
effect = "read"
profile = "soft"
args.package = { type = "package" }

[[command]]
name = "zip.file"
summary = "A file, packed"
argv = ["/usr/bin/zip", "-q", "/tmp/x.zip", "--", "{file}"]
effect = "read"
profile = "soft"
args.file = { type = "path", under = "@D" }

[[command]]
name = "vim.print"
summary = "A file"
argv = ["/usr/bin/vim", "-es", "-u", "NONE", "+%print", "+q!", "--", "{file}"]
effect = "read"
profile = "soft"
args.file = { type = "path", under = "@D" }

[[command]]
name = "make.target"
summary = "A target of the project"
argv = ["/usr/bin/make", "--silent", "-C", "@D/project", "--", "{target}"]
effect = "read"
profile = "soft"
args.target = { type = "string", pattern = "[A-Za-z0-9._:@/+-]+" }

[[command]]
name = "tee.note"
summary = "Standard input into a note"
argv = ["/usr/bin/tee", "--", "{file}"]
effect = "read"
profile = "soft"
stdin = "caller"
args.file = { type = "path", under = "@P/notes" }

[[command]]
name = "sloppy.find"
summary = "What must never be written: any words"
argv = ["/usr/bin/find", "{words}"]
effect = "read"
profile = "soft"
args.words = { type = "string", pattern = "[ -~]+", dash = true, repeat = 8 }

[[grant]]
name = "tools"
to = ["#64001"]
allow = ["*.*"]
effect = "change"

[[grant]]
name = "others"
to = ["#0", "#64002"]
allow = ["run"]
"##;

const CALLS: &[(&str, &[(&str, &str)])] = &[
    ("git.log", &[("repository", "@R"), ("revision", "HEAD")]),
    ("git.grep", &[("text", "text")]),
    ("git.remote", &[("url", "@R")]),
    ("find.name", &[("directory", "@D/tree"), ("name", "f*")]),
    ("tar.list", &[("archive", "@D/good.tar")]),
    ("tar.create", &[("directory", "@D"), ("member", "tree")]),
    ("sed.head", &[("file", "@D/tree/file")]),
    ("sort.file", &[("file", "@D/tree/file")]),
    ("awk.first", &[("file", "@D/tree/file")]),
    ("env.print", &[("text", "x")]),
    ("xargs.print", &[("text", "x")]),
    ("nice.print", &[("text", "x")]),
    ("timeout.print", &[("text", "x")]),
    ("strace.print", &[("text", "x")]),
    ("ssh.uptime", &[("host", "host.invalid")]),
    ("curl.get", &[("url", "file://@D/tree/file")]),
    ("apt-get.simulate", &[("package", "dpkg")]),
    ("dpkg.status", &[("package", "dpkg")]),
    ("zip.file", &[("file", "@D/tree/file")]),
    ("vim.print", &[("file", "@D/tree/file")]),
    ("make.target", &[("target", "all")]),
    ("tee.note", &[("file", "@P/notes/a")]),
];

/// Commands that may fail with valid arguments: no network, no ptrace, a repository of another user, no package
/// of this name.
const MAY_FAIL: [&str; 5] = [
    "strace.print",
    "ssh.uptime",
    "git.remote",
    "apt-get.simulate",
    "dpkg.status",
];

fn tool(command: &str) -> &str {
    command.split('.').next().unwrap_or_default()
}

fn has(tool: &str) -> bool {
    let has = installed(tool);
    if !has {
        missing(&format!("'/usr/bin/{tool}'"));
    }
    has
}

fn call(fixture: &InjectionFixture, command: &str, args: &[(&str, String)]) -> Run {
    let args: Vec<(&str, &str)> = args
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let run = named(command, &args);
    let stdin = (command == "tee.note").then(|| Bytes::from(b"kept\n".to_vec()));
    let _ = fixture;
    Run { stdin, ..run }
}

fn right(fixture: &InjectionFixture, args: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    args.iter()
        .map(|(name, value)| (*name, fixture.fill(value)))
        .collect()
}

#[test]
fn each_works_on_a_machine_without_remit() {
    let test_dir = TestDir::new();
    let fixture = InjectionFixture::new(test_dir.path());
    let mut harmless = Vec::new();
    let names: BTreeSet<&str> = INJECTIONS.iter().map(|injection| injection.id).collect();
    assert!(names.len() >= 61, "{} injections", names.len());
    assert_eq!(names.len(), INJECTIONS.len());
    for injection in INJECTIONS {
        if !has(injection.tool) {
            continue;
        }
        let test_dir = TestDir::new();
        let fixture = InjectionFixture::new(test_dir.path());
        assert_eq!(fixture.traces(), [""; 0]);
        let said = fixture.alone(injection);
        if fixture.traces().is_empty() {
            harmless.push(format!("{}: {said}", injection.id));
        }
    }
    drop(fixture);
    assert!(harmless.is_empty(), "left no trace: {harmless:#?}");
}

#[test]
fn injections_fail_as_named_command_values() {
    let daemon = Daemon::start(Options::default());
    let fixture = InjectionFixture::new(daemon.path());
    daemon.set_file("config/policy.d/10-test.toml", &fixture.fill(POLICY));
    let reloaded = daemon.remit(
        &remit_tests::process::Identity::new(0, &[0]),
        &["policy", "reload"],
    );
    let said = String::from_utf8_lossy(&reloaded.stderr);
    assert!(reloaded.status.success(), "{said}");
    let mut caller = Caller::new(&daemon, &user_a());

    // The sandbox permits these traces: only the argument types prevent them.
    let words = ["@D/tree", "-exec", "@C", ";"].map(|word| ("words", fixture.fill(word)));
    let report = caller
        .run_patiently(&call(&fixture, "sloppy.find", &words))
        .expect("it is granted");
    assert!(stdout(&report).contains(MARK), "{report:?}");
    assert_eq!(fixture.traces(), ["executed"], "{report:?}");
    let words = ["@D/tree", "-fprint", "@W"].map(|word| ("words", fixture.fill(word)));
    let _ = caller
        .run_patiently(&call(&fixture, "sloppy.find", &words))
        .expect("it is granted");
    assert_eq!(fixture.traces(), ["executed", "written"]);
    fixture.clean();

    for (command, args) in CALLS.iter().filter(|(command, _)| has(tool(command))) {
        let run = call(&fixture, command, &right(&fixture, args));
        let report = caller
            .run_patiently(&run)
            .unwrap_or_else(|why| panic!("{command}: {why}"));
        let exit = report.ending.as_ref().and_then(|ending| ending.exit);
        assert_eq!(report.state, State::Exited, "{command}: {report:?}");
        assert!(
            exit == Some(0) || MAY_FAIL.contains(command),
            "{command}: {report:?}"
        );
    }

    let (mut refused, mut harmless) = (0, 0);
    for injection in INJECTIONS {
        let hostile: Vec<String> = injection
            .hostile
            .iter()
            .map(|word| fixture.fill(word))
            .collect();
        let mut values: Vec<Vec<String>> = hostile.iter().map(|word| vec![word.clone()]).collect();
        values.push(vec![hostile.join(" ")]);
        values.push(vec![hostile.join("=")]);
        values.push(vec!["--".into(), hostile.join(" ")]);
        values.push(hostile);
        values.sort();
        values.dedup();
        let calls = CALLS
            .iter()
            .filter(|(command, _)| tool(command) == injection.tool);
        let mut tried = 0;
        for (command, args) in calls.filter(|(command, _)| has(tool(command))) {
            for (at, (name, _)) in args.iter().enumerate() {
                for values in &values {
                    let mut args = right(&fixture, args);
                    args.splice(at..=at, values.iter().map(|value| (*name, value.clone())));
                    let run = call(&fixture, command, &args);
                    tried += 1;
                    let shown = match caller.run_patiently(&run) {
                        Err(refusal) => {
                            assert_eq!(
                                refusal.code,
                                Code::InvalidArgs,
                                "{command} {values:?}: {refusal}"
                            );
                            refused += 1;
                            String::new()
                        }
                        Ok(report) => {
                            harmless += 1;
                            stdout(&report)
                        }
                    };
                    let traces = fixture.traces();
                    assert!(
                        traces.is_empty() && !shown.contains(MARK),
                        "{}: {command} {name}={values:?}: {traces:?} {shown}",
                        injection.id
                    );
                }
            }
        }
        assert!(
            tried > 0 || !installed(injection.tool),
            "{}: never tried",
            injection.id
        );
    }
    eprintln!("{refused} attempts were refused, {harmless} ran and did no harm");
    assert!(refused > harmless && harmless > 0, "{refused} {harmless}");
    daemon.is_well();
    daemon.stop();
}
