//! The policy files that the packages have: on a usual machine an agent with a grant of each command reaches nothing. Needs
//! root.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::Laid;
use common::laid::goals;
use remit_common::prove::{PermittedGrant, PermittedTo, Question};
use remit_policy::{Command, Inspect, Policy, Source};
use remit_prove::accounts::Accounts;
use remit_prove::machine::{Bounds, Machine};
use remit_prove::question::answer;
use remit_prove::report::Report;
use remit_prove::text::text as shown;

const MACHINE: &str = r#"
about = ""
agent = "agent"
programs = [
  "/usr/sbin/cron", "/usr/bin/git", "/usr/bin/python3", "/usr/bin/sh", "/usr/bin/systemctl", "/usr/bin/tar", "/usr/sbin/nginx",
]
user = [
  { name = "agent", uid = 5001, groups = ["remit"] },
  { name = "ann", uid = 5002, groups = ["remit-admin"], password = true },
  { name = "www-data", uid = 33 },
  { name = "remit-look", uid = 990 },
  { name = "remit-notify", uid = 991 },
  { name = "remit-sql", uid = 992 },
]
group = [{ name = "remit", gid = 6003 }, { name = "remit-admin", gid = 6004 }]

[[file]]
path = "/srv/site"
owner = "www-data"

[[file]]
path = "/srv/site/.git"
owner = "www-data"

[[file]]
path = "/etc/cron.d"

[[file]]
path = "/var/backups/remit"
mode = "700"

[[file]]
path = "/etc/nginx/nginx.conf"
text = ""
"#;

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging")
}

fn sources(directory: &str) -> Vec<Source> {
    let files = fs::read_dir(packaging().join(directory)).unwrap();
    let files = files.map(|file| file.unwrap().path());
    let mut files: Vec<PathBuf> = files
        .filter(|file| file.extension().is_some_and(|end| end == "toml"))
        .collect();
    files.sort();
    let sources = files.iter().map(|file| Source {
        name: file.file_name().unwrap().to_string_lossy().into_owned(),
        text: fs::read(file).unwrap(),
    });
    sources.collect()
}

fn load(sources: &[Source], accounts: &Accounts) -> Policy {
    let policy = remit_policy_compile::load(sources, &accounts.table());
    let (policy, _) = policy.unwrap_or_else(|found| panic!("{}", found[0]));
    policy
}

/// What an agent reaches by a temporary grant of these commands, with a rule that asks about each of them.
fn report(laid: &Laid, policy: &[Source], is_granted: fn(&Command) -> bool) -> Report {
    let accounts = Accounts::read(&Machine::open(laid.root(), Bounds::default()).unwrap());
    let all = load(policy, &accounts);
    let commands = all.commands().filter(|command| is_granted(command));
    let names: Vec<String> = commands.map(|command| command.name.clone()).collect();
    let list: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    let text = format!(
        "[[grant]]\nname = 'all'\nto = ['agent']\nallow = [{}]\napproval = {{ by = ['root'] }}\n",
        list.join(", ")
    );
    let own = Source {
        name: "z.toml".into(),
        text: text.into_bytes(),
    };
    let grant = PermittedGrant {
        to: PermittedTo::User(5001),
        commands: names.into_iter().collect(),
        args: Vec::new(),
        paths: Vec::new(),
        by: "grant 1".to_owned(),
        ended_by: None,
        left_ms: 60_000,
        is_counted: false,
        survives_reboot: false,
    };
    let policy: Vec<Source> = policy.iter().cloned().chain([own]).collect();
    let question = Question {
        policy: load(&policy, &accounts).encode().into(),
        in_force: vec![grant],
        ..laid.question()
    };
    let machine = Machine::open(laid.root(), Bounds::default()).unwrap();
    answer(&question, &machine).unwrap()
}

/// The rule about a private file names it. A commit that a grant covers changes nothing by which root runs code.
#[test]
fn commands_of_the_packages_are_no_path() {
    let laid = Laid::out("shipped", MACHINE);
    let mut wrong = Vec::new();
    let examples = sources("examples").into_iter().map(Some);
    for example in [None].into_iter().chain(examples) {
        let policy: Vec<Source> = sources("policy.d").into_iter().chain(example).collect();
        let is_granted =
            |one: &Command| !one.is_commit() && one.profile.inspect != Some(Inspect::File);
        let report = report(&laid, &policy, is_granted);
        let of_commands = |(path, _): &(String, String)| path.starts_with("/etc/remit");
        if !goals(&report.subjects[0]).is_empty() || report.unknown.iter().any(of_commands) {
            let name = policy.last().map(|one| one.name.clone()).unwrap();
            wrong.push(format!("{name}:\n{}", shown(&report, true)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    let commits = report(&laid, &sources("policy.d"), Command::is_commit);
    assert_eq!(goals(&commits.subjects[0]), [""; 0]);
}
