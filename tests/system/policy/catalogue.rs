//! Commands of the package: they load without warnings, those granted to everybody only read, and the manual page
//! lists each.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;

use remit_policy::{ArgvElement, Base, CallerIds, Command, Inspect, Policy, Source, User};
use remit_policy_compile::load;
use remit_wire::Effect;

use super::documents::{machine, root};

fn shipped() -> Vec<Source> {
    let dir = root().join("packaging/policy.d");
    let entries = fs::read_dir(dir).expect("the package brings a policy");
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let sources = paths.into_iter().map(|path| Source {
        name: path.display().to_string(),
        text: fs::read(&path).expect("it can be read"),
    });
    sources.collect()
}

/// Files of the .rpm: another file about packages replaces that for dpkg and apt.
fn shipped_as_rpm() -> Vec<Source> {
    let path = root().join("packaging/rpm/24-packages.toml");
    let own = Source {
        name: path.display().to_string(),
        text: fs::read(&path).expect("it can be read"),
    };
    let mut sources = shipped();
    let other = sources
        .iter_mut()
        .find(|source| source.name.ends_with("/24-packages.toml"))
        .expect("there is one to replace");
    *other = own;
    sources
}

fn policy() -> Policy {
    policy_of(&shipped())
}

fn policy_of(sources: &[Source]) -> Policy {
    match load(sources, &machine()) {
        Ok((policy, warnings)) => {
            let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
            assert_eq!(warnings, Vec::<String>::new());
            policy
        }
        Err(errors) => panic!(
            "{}",
            errors.iter().map(ToString::to_string).collect::<String>()
        ),
    }
}

#[test]
fn each_packaged_file_loads_by_itself() {
    for source in shipped().into_iter().chain(shipped_as_rpm()) {
        let name = source.name.clone();
        if let Err(errors) = load(&[source], &machine()) {
            panic!(
                "{name}: {}",
                errors.iter().map(ToString::to_string).collect::<String>()
            );
        }
    }
}

/// The interface of a command without its summary: types of parameters but not their limits, which differ because
/// rpm accepts no part of a path.
fn shape(command: &Command) -> Vec<String> {
    let (name, effect, profile) = (&command.name, command.effect, &command.profile.name);
    let mut shape = vec![format!("{name}: {effect:?} in {profile}")];
    for param in &command.params {
        let kind = std::mem::discriminant(&param.kind);
        let (optional, default, most) = (param.optional, &param.default, param.most);
        let name = &param.name;
        shape.push(format!("{name}: {kind:?} {optional} {default:?} {most}"));
    }
    shape
}

/// An agent uses the same commands on every distribution.
#[test]
fn both_packages_bring_the_same_commands() {
    let (deb, rpm) = (policy(), policy_of(&shipped_as_rpm()));
    let shapes = |policy: &Policy| -> Vec<Vec<String>> {
        policy.commands().map(|command| shape(command)).collect()
    };
    assert_eq!(shapes(&deb), shapes(&rpm));
    let packages = |policy: &Policy| -> Vec<String> {
        let all = policy.commands();
        let about = all.filter(|command| command.name.starts_with("packages."));
        about.map(|command| format!("{:?}", command.argv)).collect()
    };
    let (deb, rpm) = (packages(&deb), packages(&rpm));
    assert!(deb.iter().any(|argv| argv.contains("/usr/bin/dpkg")));
    assert!(rpm.iter().any(|argv| argv.contains("/usr/bin/rpm")));
    for argv in &rpm {
        assert!(!argv.contains("dpkg") && !argv.contains("/apt"), "{argv}");
    }
}

/// dnf uses only what root's dnf has fetched, never the network.
#[test]
fn no_command_has_dnf_fetch_something() {
    let path = root().join("packaging/rpm/24-packages.toml");
    let text = fs::read_to_string(&path).expect("it is text");
    let calls: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("argv = [\"-/usr/bin/dnf\""))
        .collect();
    assert!(calls.len() >= 5, "{calls:?}");
    for call in calls {
        assert!(
            call.starts_with("argv = [\"-/usr/bin/dnf\", \"--cacheonly\", "),
            "{call}"
        );
    }
}

/// A list that ends at a bound would otherwise look complete.
#[test]
fn lists_of_databases_have_their_length() {
    let policy = policy();
    let calls = policy
        .commands()
        .map(|command| format!("{:?}", command.argv));
    let cut: Vec<String> = calls.filter(|call| call.contains(" LIMIT ")).collect();
    assert!(cut.len() >= 6, "{cut:?}");
    for call in cut {
        assert!(
            call.to_lowercase().contains("count(*) over () as total"),
            "{call}"
        );
    }
}

/// Without this option apt takes an unknown name with a dot for a regular expression.
#[test]
fn apt_takes_a_name_as_it_is() {
    let policy = policy();
    for name in ["packages.versions", "packages.needed_by"] {
        let command = policy.command(name).expect("it is defined");
        let argv = format!("{:?}", command.argv);
        assert!(argv.contains("APT::Cmd::Pattern-Only=true"), "{argv}");
    }
    let search = policy.command("packages.search").expect("it is defined");
    for (word, is_word) in [("nginx", true), ("c++", false), ("a.b", false)] {
        let bound = search.bind(&[("word".to_owned(), word.to_owned())], false);
        assert_eq!(bound.is_ok(), is_word, "{word}");
    }
}

/// Of other users' processes a job cannot know what they wait in, nor the path of a lock.
#[test]
fn no_command_shows_what_the_kernel_hides() {
    let policy = policy();
    for command in policy
        .commands()
        .filter(|command| command.profile.inspect.is_none())
    {
        let argv = format!("{:?}", command.argv);
        assert!(!argv.contains("wchan"), "{argv}");
        let is_plain =
            !argv.contains("lslocks") || (argv.contains("--output=") && !argv.contains("PATH"));
        assert!(is_plain, "{argv}");
    }
}

/// A job has mounts of its own.
#[test]
fn mounts_are_those_of_the_host() {
    let policy = policy();
    for (name, expect) in [
        ("disks.mounts", "--task=1"),
        ("disks.usage", "remit-look"),
        ("disks.inodes", "remit-look"),
    ] {
        let command = policy.command(name).expect("it is defined");
        let argv = format!("{:?}", command.argv);
        assert!(argv.contains(expect), "{argv}");
    }
}

fn roff(text: &str) -> String {
    let escaped = [
        ("\\", "\\e"),
        ("-", "\\-"),
        ("'", "\\(aq"),
        ("~", "\\(ti"),
        ("^", "\\(ha"),
        ("`", "\\(ga"),
        ("…", "..."),
        // A long pattern may be broken here.
        ("|", "|\\:"),
    ];
    let text = escaped
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    match text.starts_with('.') {
        true => format!("\\&{text}"),
        false => text,
    }
}

/// The generated part, between head and foot that are written by hand.
fn page(policy: &Policy) -> String {
    let mut page = String::new();
    for (title, effect) in [
        ("COMMANDS THAT LOOK", Effect::Read),
        ("COMMANDS THAT CHANGE", Effect::Change),
    ] {
        let _ = writeln!(page, ".SH {title}");
        let mut area = "";
        for command in policy.commands().filter(|command| command.effect == effect) {
            let of = command.name.split('.').next().unwrap_or_default();
            if of != area {
                let _ = writeln!(page, ".SS {of}");
                area = of;
            }
            about(&mut page, command);
        }
    }
    page
}

fn about(page: &mut String, command: &Command) {
    let _ = writeln!(page, ".TP\n.B {}", roff(&command.usage()));
    let _ = writeln!(page, "{}.", roff(&command.summary));
    for line in command.describe() {
        let _ = writeln!(page, ".br\n{}", roff(&line));
    }
    if command.profile.name != "read" {
        let _ = writeln!(page, ".br\nprofile: {}", roff(&command.profile.name));
    }
}

/// Runs the command on this test's files. A quoted password in a repository's file must not be shown as a lock.
#[test]
fn c12_package_locks_show_no_repository_password() {
    let policy = policy_of(&shipped_as_rpm());
    let held = policy.command("packages.held").expect("it is defined");
    let bound = held.bind(&[], false).expect("it takes no argument");
    let mut argv: Vec<String> = bound
        .argv
        .iter()
        .map(|element| match element {
            ArgvElement::Text(text) => String::from_utf8_lossy(text).into_owned(),
            other => panic!("{other:?}"),
        })
        .collect();
    let test_dir = remit_tests::test_dir::TestDir::new();
    let dir = test_dir.path();
    for name in ["/etc/dnf", "/etc/yum.repos.d"] {
        let own = dir.join(name.trim_start_matches('/'));
        fs::create_dir_all(&own).expect("it can be made");
        let word = argv.iter_mut().find(|word| *word == name);
        *word.expect("it looks there") = own.display().to_string();
    }
    let write =
        |name: &str, text: &str| fs::write(dir.join(name), text).expect("it can be written");
    write(
        "etc/yum.repos.d/a.repo",
        "[a]\nname=A\npassword = \"secret-one\"\nusername = \"secret-two\"\nexclude=kernel*\n",
    );
    write(
        "etc/dnf/dnf.conf",
        "[main]\nproxy_password = \"secret-three\"\n",
    );
    write(
        "etc/dnf/versionlock.toml",
        "version = \"1.0\"\n[[packages]]\nname = \"bash\"\n[[packages.conditions]]\nkey = \"evr\"\n",
    );
    let (program, args) = argv.split_first().expect("a program");
    let out = std::process::Command::new(program)
        .args(args)
        .output()
        .expect("grep is there");
    let shown = String::from_utf8_lossy(&out.stdout);
    assert!(!shown.contains("secret"), "{shown}");
    for line in [
        "exclude=kernel*",
        "name = \"bash\"",
        "key = \"evr\"",
        "[[packages]]",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
}

/// `REMIT_WRITE_PAGES=1` writes the page again.
#[test]
fn page_lists_each_command() {
    let path = root().join("packaging/man/remit-commands.7");
    let old = fs::read_to_string(&path).expect("there is a page");
    let (head, rest) = old
        .split_once(".SH COMMANDS THAT LOOK\n")
        .expect("it has a head");
    let (_, foot) = rest.split_once(".SH SEE ALSO\n").expect("it has a foot");
    let new = format!("{head}{}.SH SEE ALSO\n{foot}", page(&policy()));
    if std::env::var_os("REMIT_WRITE_PAGES").is_some() {
        fs::write(&path, &new).expect("it can be written");
    }
    assert!(
        old == new,
        "write it again: REMIT_WRITE_PAGES=1 cargo test -p remit-tests --test policy the_page"
    );
}

/// Every user of the socket may run the granted commands, present and future. So commands with these prefixes
/// only read, and those that see more than `read` are named in full (Q4).
#[test]
fn commands_for_all_users_are_read_only() {
    let policy = policy();
    let granted = |command: &&std::sync::Arc<Command>| {
        let area = command.name.split('.').next().unwrap_or_default();
        GRANTED.contains(&area) || GRANTED_BY_NAME.contains(&area)
    };
    let (granted, others): (Vec<_>, Vec<_>) = policy.commands().partition(granted);
    for command in &granted {
        assert_eq!(command.effect, Effect::Read, "{}", command.name);
    }
    assert!(granted.len() >= 60, "{}", granted.len());
    // Those without a sandbox are granted to nobody.
    let reads: Vec<_> = others
        .iter()
        .filter(|command| command.effect == Effect::Read && command.profile.base != Base::Host)
        .filter(|command| command.profile.inspect.is_none())
        .collect();
    let names: Vec<&str> = reads.iter().map(|command| command.name.as_str()).collect();
    // An error of theirs can quote a file that only root reads; a plan is for those who may commit it.
    assert_eq!(
        names,
        [
            "apache.test",
            "logrotate.test",
            "plan.extract",
            "plan.make",
            "sshd.test",
            "sudoers.test"
        ]
    );
    let text =
        fs::read_to_string(root().join("packaging/policy.d/10-default.toml")).expect("it is text");
    // A pattern grants no more than `read`. All of containers.* exceeds that.
    for area in GRANTED.iter().filter(|area| **area != "containers") {
        assert!(text.contains(&format!("\"{area}.*\"")), "{area}");
    }
    // What inspects is granted to nobody, whatever its area.
    for command in granted
        .iter()
        .filter(|command| command.profile.inspect.is_none())
    {
        let is_named = text.contains(&format!("\"{}\"", command.name));
        assert_eq!(is_named, command.profile.name != "read", "{}", command.name);
    }
}

/// A program of root prints what it reads. By default only programs that print fixed facts of it run as root:
/// `remit-look` with one fixed request, `postqueue` about the queue, `fail2ban-client` about its jails.
#[test]
fn default_grants_have_few_profiles_of_root() {
    let policy = policy();
    let caller = CallerIds {
        uid: 64001,
        gids: &[901],
    };
    let usable = policy.access(caller).commands;
    let named = usable
        .iter()
        .filter(|usable| policy.command(usable.named.name()).is_some());
    let of_root: BTreeSet<&str> = named
        .filter(|usable| matches!(usable.profile.user, User::Fixed { uid: 0, .. }))
        .map(|usable| usable.profile.name.as_str())
        .collect();
    let expect = ["containers", "cron", "fail2ban", "haproxy", "mail-queue"];
    assert_eq!(of_root, BTreeSet::from(expect));
}

/// sshd, sudo, Apache and logrotate pass over an included directory that they do not see, with status 0.
#[test]
fn checks_as_root_see_what_services_include() {
    let policy = policy();
    for name in ["apache.test", "logrotate.test", "sshd.test", "sudoers.test"] {
        let command = policy.command(name).expect("it is defined");
        let read = &command.profile.read;
        for directory in ["/etc", "/opt", "/srv"] {
            let is_seen = read.iter().any(|listed| listed.path == directory);
            assert!(is_seen, "{name}: {directory}");
        }
        assert_eq!(unnamed(command), Vec::<&str>::new(), "{name}");
    }
}

/// What they do is described from the files of the host.
#[test]
fn jobs_of_unit_verbs_see_the_files_of_units() {
    let policy = policy();
    for name in ["service.enable", "service.disable"] {
        let command = policy.command(name).expect("it is defined");
        let read = &command.profile.read;
        for directory in ["/etc/systemd", "/opt", "/srv"] {
            let is_seen = read.iter().any(|listed| listed.path == directory);
            assert!(is_seen, "{name}: {directory}");
        }
    }
}

/// Returns what a command sees and does not say.
fn unnamed(command: &Command) -> Vec<&str> {
    let profile = &command.profile;
    let seen = profile.read.iter().chain(&profile.exec);
    let paths = seen.map(|listed| listed.path.as_str());
    paths
        .filter(|path| !command.summary.contains(path))
        .collect()
}

#[test]
fn check_of_a_unit_says_which_directories_it_sees() {
    let policy = policy();
    let command = policy.command("units.verify").expect("it is defined");
    assert_eq!(unnamed(command), Vec::<&str>::new());
}

/// A command without a sandbox, or one that inspects, is granted by its whole name only; without a sandbox also with
/// `unconfined = true` or an approval.
#[test]
fn what_only_root_sees_is_granted_by_name() {
    let with = |rule: &str| {
        let rule = Source {
            name: "90-site.toml".into(),
            text: format!("[[grant]]\nto = [\"#64001\"]\n{rule}\n").into(),
        };
        let sources = [shipped(), vec![rule]].concat();
        load(&sources, &machine()).map(|(policy, _)| policy)
    };
    let of = |is_one: fn(&Command) -> bool| -> Vec<String> {
        let policy = policy();
        let all = policy.commands().filter(|command| is_one(command));
        all.map(|command| command.name.clone()).collect()
    };
    let looks = of(|command| command.profile.name == "root-looks");
    let inspects = of(|command| {
        let inspect = command.profile.inspect;
        inspect.is_some_and(|inspect| inspect != Inspect::File)
    });
    assert_eq!(
        (looks.len(), inspects.len()),
        (5, 9),
        "{looks:?} {inspects:?}"
    );
    let usable = |rule: &str| {
        let policy = with(rule).expect("it loads");
        let caller = CallerIds {
            uid: 64001,
            gids: &[],
        };
        let access = policy.access(caller).commands.into_iter();
        let names = access.map(|usable| usable.named.name().to_owned());
        let all = [&looks[..], &inspects, &["files.private".to_owned()]].concat();
        names.filter(|name| all.contains(name)).count()
    };
    assert_eq!(usable(&format!("allow = {looks:?}\nunconfined = true")), 5);
    assert_eq!(usable(&format!("allow = {inspects:?}")), 9);
    for rule in [
        "allow = [\"*\"]\neffect = \"read\"",
        "allow = [\"*\"]\neffect = \"read\"\nunconfined = true",
        "allow = [\"firewall.*\", \"openfiles.*\", \"smart.*\", \"quotas.*\"]\nunconfined = true",
        "allow = [\"disks.*\", \"files.*\", \"openfiles.*\", \"io.*\", \"plan.*\"]\neffect = \"change\"\n\
         approval = { by = [\"#64002\"] }",
    ] {
        assert_eq!(usable(rule), 0, "{rule}");
    }
    assert!(with(&format!("allow = {looks:?}")).is_err());
    // The grant that older versions advised keeps loading, for what still has no sandbox.
    let older = "allow = [\"firewall.*\", \"openfiles.*\", \"quotas.*\", \"smart.*\"]\neffect = \"change\"\n\
                 approval = \"none\"\nunconfined = true";
    assert_eq!(usable(older), 5);
    let file = "allow = [\"files.private\"]\n";
    let by = "approval = { by = [\"#64002\"] }\n";
    for (rule, expect) in [
        (
            format!("{file}{by}args = {{ path = [\"/etc/nginx/*\"] }}"),
            true,
        ),
        (
            format!("{file}{by}args = {{ path = [\"/etc/shadow\"] }}"),
            true,
        ),
        (
            format!("{file}args = {{ path = [\"/etc/nginx/*\"] }}"),
            false,
        ),
        (format!("{file}{by}"), false),
        (format!("{file}{by}args = {{ path = [\"/etc/*\"] }}"), false),
        (
            format!("{file}{by}args = {{ path = [\"*/nginx/*\"] }}"),
            false,
        ),
        (format!("{file}{by}args = {{ bytes = [\"10\"] }}"), false),
    ] {
        assert_eq!(with(&rule).is_ok(), expect, "{rule}");
    }
}

/// Services, of which every command sees more than `read` does.
const GRANTED_BY_NAME: [&str; 8] = [
    "fail2ban", "haproxy", "mail", "mariadb", "postgres", "probe", "redis", "web",
];

const GRANTED: [&str; 18] = [
    "certificates",
    "containers",
    "cpu",
    "directories",
    "disks",
    "files",
    "hardware",
    "host",
    "logs",
    "memory",
    "network",
    "packages",
    "postfix",
    "processes",
    "schedule",
    "time",
    "units",
    "users",
];

/// Values that turn common tools against their caller: options, paths, extra arguments, odd bytes.
const ATTACKS: [&str; 42] = [
    "-",
    "--",
    "-x",
    "--help",
    "-oProxyCommand=id",
    "--checkpoint-action=exec=id",
    "--output=/tmp/x",
    "-exec",
    "-delete",
    "-fprint",
    "-f/etc/shadow",
    "--file=/etc/shadow",
    "",
    " ",
    "a b",
    "a\0b",
    "a\nb",
    "a\tb",
    "a\r",
    "\u{1b}[2J",
    "\u{202e}x",
    "\u{ff0d}x",
    "$(id)",
    "`id`",
    ";id",
    "|id",
    "&id",
    "*",
    "@/etc/shadow",
    "../../etc/shadow",
    "/etc/../root",
    "//etc",
    "/etc/./shadow",
    "{x}",
    "%s",
    "${HOME}",
    "1e9",
    "0x10",
    "010",
    "+5",
    "-1",
    "\u{ff15}",
];
const RIGHT: &[&str] = &[
    "0123456789abcdef0123456789abcdef",
    "true",
    "1",
    "web",
    "nginx.service",
    "127.0.0.1",
    "/etc/x",
    "/var/log/x",
    "500M",
    "yesterday",
    "bash",
    "alice",
    "22",
    "/x",
    "0",
    "/dev/sda",
    "http",
    "none",
    "/nginx_status",
];

/// An added or changed value changes only its own element of argv, and never becomes an option.
#[test]
fn value_is_one_word_and_no_option() {
    let (deb, rpm, mut tried) = (policy(), policy_of(&shipped_as_rpm()), 0);
    for command in deb.commands().chain(rpm.commands()) {
        let element = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut right: Vec<(String, String)> = Vec::new();
        for param in &command.params {
            let fits = RIGHT.iter().find(|value| {
                let all = [&right[..], &[element(&param.name, value)]].concat();
                let bound = command.bind(&all, false);
                bound.is_ok() || !complains_of(command, &all, &param.name)
            });
            right.push(element(
                &param.name,
                fits.unwrap_or_else(|| panic!("{}: {}", command.name, param.name)),
            ));
        }
        let usual = command
            .bind(&right, false)
            .unwrap_or_else(|refusal| panic!("{}: {refusal}", command.name));
        for at in 0..right.len() {
            for attack in ATTACKS {
                let mut args = right.clone();
                attack.clone_into(&mut args[at].1);
                tried += 1;
                let Ok(bound) = command.bind(&args, false) else {
                    continue;
                };
                let what = format!("{} {}={attack:?}", command.name, right[at].0);
                assert_eq!(bound.argv.len(), usual.argv.len(), "{what}");
                assert!(
                    !attack.bytes().any(|byte| byte < b' ' || byte == 0x7f),
                    "{what}"
                );
                let pairs = bound.argv.iter().zip(&usual.argv);
                let pairs = pairs.map(|(new, old)| (shown(new), shown(old)));
                for (new, old) in pairs.filter(|(new, old)| new != old) {
                    let behind_equals = new.starts_with("--")
                        && new
                            .split_once('=')
                            .is_some_and(|(_, value)| value == attack);
                    assert!(
                        behind_equals || (new == attack && !new.starts_with('-')),
                        "{what}: {old} is {new}"
                    );
                }
            }
        }
    }
    assert!(tried > 1000, "{tried}");
}

fn shown(element: &ArgvElement) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match element {
        ArgvElement::Text(bytes) => text(bytes),
        ArgvElement::Path {
            before,
            under,
            beneath,
            ..
        } => {
            let under = under.trim_end_matches('/');
            format!("{}{under}/{}", text(before), beneath)
        }
        ArgvElement::Secret { .. } => panic!("the catalogue has no secrets"),
    }
}

fn complains_of(command: &Command, args: &[(String, String)], name: &str) -> bool {
    let refusal = command.bind(args, false).expect_err("it was refused");
    refusal.to_string().contains(&format!("'{name}' of"))
}
