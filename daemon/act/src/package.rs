//! Changes packages by apt-get(8) or dnf(8), by the database that this machine uses. Asks no question, and keeps
//! configuration files that an administrator changed. Removes only the named packages and what depends on them. The
//! package manager simulates each change first. A change of `remit` itself is refused: it would end the running job.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use remit_common::text;

use crate::args::{Fault, PackageVerb};

pub fn describe(verb: PackageVerb, names: &[String]) -> Result<(), Fault> {
    let manager = manager()?;
    for line in described(manager, changes(manager, verb, names, true))? {
        println!("{line}");
    }
    Ok(())
}

/// Why there is no list of the packages that change.
#[derive(Debug, PartialEq, Eq)]
enum Unlisted {
    /// The package manager would not do it, or cannot answer.
    ByManager(String),
    OfRemit(Fault),
}

impl From<Unlisted> for Fault {
    fn from(why: Unlisted) -> Self {
        match why {
            Unlisted::ByManager(why) => Self::Refused(why),
            Unlisted::OfRemit(fault) => fault,
        }
    }
}

/// Without cached repository lists dnf cannot answer. The job checks again, with the repositories.
fn without_lists<T>(
    manager: PackageManager,
    listed: Result<T, Unlisted>,
) -> Result<Result<T, String>, Fault> {
    match (manager, listed) {
        (_, Ok(lines)) => Ok(Ok(lines)),
        (PackageManager::Dnf, Err(Unlisted::ByManager(why))) => Ok(Err(why)),
        (_, Err(why)) => Err(why.into()),
    }
}

fn described(
    manager: PackageManager,
    listed: Result<Vec<String>, Unlisted>,
) -> Result<Vec<String>, Fault> {
    Ok(match without_lists(manager, listed)? {
        Ok(mut lines) => {
            // Nothing changes below that heading of dnf.
            let changed = lines
                .iter()
                .take_while(|line| !line.starts_with("Skipping packages"));
            let count = changed.filter(|line| manager.is_package(line)).count();
            let first = format!("packages that change, as the package manager says now: {count}");
            lines.insert(0, first);
            lines
        }
        Err(why) => vec![format!(
            "the package manager cannot say now which packages change: {why}"
        )],
    })
}

pub fn act(verb: PackageVerb, names: &[String]) -> Result<(), Fault> {
    let manager = manager()?;
    let described = match manager {
        PackageManager::Apt => None,
        PackageManager::Dnf => without_lists(manager, changes(manager, verb, names, true))?.ok(),
    };
    is_as_described(described.as_deref(), &changes(manager, verb, names, false)?)?;
    let (program, words) = options(manager, verb);
    let status = Command::new(program)
        .args(words)
        .args(names)
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Mode "l" lists services that run old code and restarts none of them.
        .env("NEEDRESTART_MODE", "l")
        .stdin(Stdio::null())
        .status()
        .map_err(|error| Fault::Failed(format!("cannot run '{program}': {error}")))?;
    match status.success() {
        true => Ok(()),
        false => Err(Fault::Failed(format!("'{program}' ended with {status}"))),
    }
}

/// Refuses other packages than described: dnf has fetched lists that its cache had not. Without a description, the
/// approver has seen that there is none.
fn is_as_described(described: Option<&[String]>, lines: &[String]) -> Result<(), Fault> {
    match described {
        Some(described) if described != lines => Err(Fault::Refused(
            "dnf has fetched lists of repositories, and with them other packages would change than were shown: ask again"
                .to_owned(),
        )),
        Some(_) | None => Ok(()),
    }
}

// Bytes of a line, and number of lines.
const LINE: usize = 400;
const LINES: usize = 400;

fn changes(
    manager: PackageManager,
    verb: PackageVerb,
    names: &[String],
    cached: bool,
) -> Result<Vec<String>, Unlisted> {
    let (program, words) = simulation(manager, verb, cached);
    let output = Command::new(program)
        .args(words)
        .args(names)
        .env("LC_ALL", "C")
        .env("COLUMNS", "200")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            Unlisted::OfRemit(Fault::Failed(format!("cannot run '{program}': {error}")))
        })?;
    listed(manager, names, &output)
}

/// Returns the packages that change by the output of a simulation, or why this is refused.
fn listed(
    manager: PackageManager,
    names: &[String],
    output: &Output,
) -> Result<Vec<String>, Unlisted> {
    let refused = |why: String| Err(Unlisted::OfRemit(Fault::Refused(why)));
    let (program, said) = match manager {
        PackageManager::Apt => (APT, apt_changes(output)),
        PackageManager::Dnf => (DNF, dnf_changes(output)),
    };
    let lines = said.map_err(|why| {
        let why = text::line(why.as_bytes(), LINE);
        Unlisted::ByManager(format!("'{program}' would not do it: {why}"))
    })?;
    if lines.len() > LINES {
        return refused(format!("more than {LINES} packages would change"));
    }
    if manager == PackageManager::Dnf
        && let Some((asked, name)) = versioned(names, &lines)
    {
        return refused(format!(
            "'{asked}' is the package '{name}' with a version: use the name without the version"
        ));
    }
    match lines.iter().find(|line| is_of_remit(line)) {
        None => Ok(lines),
        Some(line) => refused(format!(
            "this would change the package 'remit', and end this job in the middle of it: {line}"
        )),
    }
}

/// What apt does to a package that is only unpacked: it executes its scripts.
const CONF: &str = "Conf ";
const APT_ACTS: [&str; 4] = ["Inst ", "Remv ", "Purg ", CONF];
/// A package that was only there for others stays when they are removed.
const BY_HAND: &str = " set to manually installed.";

/// `Inst nginx [1.22.0-1] (1.22.1-9 Debian:12.5/stable [amd64])`, `Remv nginx [1.22.0-1]`, `Conf half (1 [amd64])`
fn apt_changes(output: &Output) -> Result<Vec<String>, String> {
    if !output.status.success() {
        return Err(last_line(&output.stderr));
    }
    let all = String::from_utf8_lossy(&output.stdout);
    let name = |line: &str, act: &str| -> Option<String> {
        let name = line.strip_prefix(act)?.split_whitespace().next()?;
        Some(name.to_owned())
    };
    let installed: BTreeSet<String> = all.lines().filter_map(|line| name(line, "Inst ")).collect();
    // Of one that is installed the line before says it.
    let is_installed = |line: &str| name(line, CONF).is_some_and(|name| installed.contains(&name));
    let is_change = |line: &&str| {
        let is_act = APT_ACTS.iter().any(|act| line.starts_with(act));
        (is_act && !is_installed(line)) || line.ends_with(BY_HAND)
    };
    Ok(all.lines().filter(is_change).map(plain).collect())
}

/// Returns the rows between the column heading and the summary. dnf exits with 1 if something would change.
fn dnf_changes(output: &Output) -> Result<Vec<String>, String> {
    let all = String::from_utf8_lossy(&output.stdout);
    let table = all.lines().skip_while(|line| !is_heading(line)).skip(1);
    let table = table.take_while(|line| !line.starts_with("Transaction Summary"));
    let rows = table.filter(|line| !line.trim_start_matches('=').trim().is_empty());
    let rows: Vec<String> = rows.map(plain).collect();
    match rows.is_empty() && !output.status.success() {
        true => Err(last_line(&output.stderr)),
        false => Ok(rows),
    }
}

/// `Package x is already installed.` is no heading. In narrow columns it has short words.
fn is_heading(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let has = |all: [&str; 2]| words.iter().any(|word| all.contains(word));
    words.first() == Some(&"Package")
        && has(["Architecture", "Arch"])
        && has(["Repository", "Repo"])
}

/// Finds a name that dnf read as another package with a version: `openssl-3.0.7` for `openssl`.
fn versioned<'a>(names: &'a [String], lines: &'a [String]) -> Option<(&'a str, &'a str)> {
    let changed = || lines.iter().filter_map(|line| line.split(' ').next());
    let unknown = names
        .iter()
        .filter(|name| !changed().any(|one| is_name(name, one)));
    unknown.into_iter().find_map(|asked| {
        let is_version = |one: &&str| {
            let rest = asked.strip_prefix(*one);
            let rest = rest.and_then(|rest| rest.strip_prefix('-'));
            rest.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
        };
        Some((asked.as_str(), changed().find(is_version)?))
    })
}

fn is_name(asked: &str, name: &str) -> bool {
    let rest = asked.strip_prefix(name);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn plain(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    text::line(words.join(" ").as_bytes(), LINE)
}

fn last_line(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let last = said.lines().rfind(|line| !line.trim().is_empty());
    last.unwrap_or("it does not say why").trim().to_owned()
}

fn is_of_remit(line: &str) -> bool {
    let words = line
        .split(' ')
        .skip_while(|word| ["Inst", "Remv", "Purg", "Conf", "replacing"].contains(word));
    let first = words.take(1).next().unwrap_or_default();
    first == "remit" || first.starts_with("remit.") || first.starts_with("remit:")
}

const APT: &str = "/usr/bin/apt-get";
const DNF: &str = "/usr/bin/dnf";
/// The database of dpkg. apt can be installed on a machine of another family; this file is empty then.
const DPKG: &str = "/var/lib/dpkg/status";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackageManager {
    Apt,
    Dnf,
}

impl PackageManager {
    /// Returns true for the line of a package that changes. The others are headings and what follows from such a line.
    fn is_package(self, line: &str) -> bool {
        match self {
            Self::Apt => APT_ACTS.iter().any(|act| line.starts_with(act)),
            Self::Dnf => {
                let is_other = line.ends_with(':') || line.starts_with("replacing ");
                !is_other && line.split(' ').count() >= COLUMNS
            }
        }
    }
}

/// Of a row of dnf: name, architecture, version and repository.
const COLUMNS: usize = 4;

const APT_OPTIONS: [&str; 16] = [
    "--quiet",
    "--assume-yes",
    "-o",
    "APT::Get::AutomaticRemove=false",
    // Otherwise a name that is not a package is a regular expression, and its dots match any character.
    "-o",
    "APT::Cmd::Pattern-Only=true",
    "-o",
    "Dpkg::Options::=--force-confdef",
    "-o",
    "Dpkg::Options::=--force-confold",
    "-o",
    "Dpkg::Use-Pty=false",
    "-o",
    "DPkg::Lock::Timeout=60",
    "-o",
    "APT::Color=false",
];
const DNF_OPTIONS: [&str; 3] = [
    "--assumeyes",
    "--setopt=clean_requirements_on_remove=False",
    // Otherwise expired lists are fetched between the description, which uses them as they are, and the change. A
    // repository's file can have this setting, so the main one alone decides nothing.
    "--setopt=*.metadata_expire=-1",
];

pub fn manager() -> Result<PackageManager, Fault> {
    let has_dpkg = fs::metadata(DPKG).is_ok_and(|status| status.len() > 0);
    chosen(has_dpkg, Path::new(APT).exists(), Path::new(DNF).exists()).ok_or_else(|| {
        let why =
            format!("there is neither '{APT}' with a database of dpkg nor '{DNF}' on this machine");
        Fault::Refused(why)
    })
}

/// Chooses by the database in use, not by the installed program.
const fn chosen(has_dpkg: bool, has_apt: bool, has_dnf: bool) -> Option<PackageManager> {
    match (has_dpkg, has_apt, has_dnf) {
        (true, true, _) => Some(PackageManager::Apt),
        (_, _, true) => Some(PackageManager::Dnf),
        _ => None,
    }
}

pub fn options(manager: PackageManager, verb: PackageVerb) -> (&'static str, Vec<&'static str>) {
    match manager {
        PackageManager::Apt => (APT, apt_arguments(verb)),
        PackageManager::Dnf => (DNF, dnf_arguments(verb)),
    }
}

/// Returns what changes nothing, with the repository lists of [`options`]. `cached`: contacts no repository.
fn simulation(
    manager: PackageManager,
    verb: PackageVerb,
    cached: bool,
) -> (&'static str, Vec<&'static str>) {
    let (program, mut words) = options(manager, verb);
    match (manager, cached) {
        (PackageManager::Apt, _) => words.insert(0, "--simulate"),
        // `--assumeno` answers dnf's own question with no.
        (PackageManager::Dnf, true) => words
            .splice(0..1, ["--assumeno", "--cacheonly"])
            .for_each(drop),
        (PackageManager::Dnf, false) => words.splice(0..1, ["--assumeno"]).for_each(drop),
    }
    (program, words)
}

/// Returns the arguments before the names. Install and upgrade remove nothing.
fn apt_arguments(verb: PackageVerb) -> Vec<&'static str> {
    let order: &[&str] = match verb {
        PackageVerb::Install => &["--no-remove", "install", "--"],
        PackageVerb::Upgrade => &["--no-remove", "--only-upgrade", "install", "--"],
        PackageVerb::Remove => &["remove", "--"],
    };
    [APT_OPTIONS.as_slice(), order].concat()
}

fn dnf_arguments(verb: PackageVerb) -> Vec<&'static str> {
    let order = match verb {
        PackageVerb::Install => "install",
        PackageVerb::Upgrade => "upgrade",
        PackageVerb::Remove => "remove",
    };
    [DNF_OPTIONS.as_slice(), &[order, "--"]].concat()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    fn output(status: i32, out: &str, err: &str) -> Output {
        Output {
            status: ExitStatus::from_raw(status << 8),
            stdout: out.as_bytes().to_vec(),
            stderr: err.as_bytes().to_vec(),
        }
    }

    #[test]
    fn c12_what_apt_would_do_is_read() {
        let said = output(
            0,
            "NOTE: This is only a simulation!\nThe following packages will be REMOVED:\n  libc-bin remit\n\
             b set to manually installed.\nRemv remit [0.1.0]\nRemv libc-bin [2.36-9]\nInst a (1 Debian [amd64])\n\
             Conf a (1 Debian [amd64])\nConf half (1 Debian [amd64])\nConf remit (0.1.0 [amd64])\n",
            "",
        );
        let lines = apt_changes(&said).unwrap();
        assert_eq!(
            lines,
            [
                "b set to manually installed.",
                "Remv remit [0.1.0]",
                "Remv libc-bin [2.36-9]",
                "Inst a (1 Debian [amd64])",
                "Conf half (1 Debian [amd64])",
                "Conf remit (0.1.0 [amd64])"
            ]
        );
        let of_remit: Vec<bool> = lines.iter().map(|line| is_of_remit(line)).collect();
        assert_eq!(of_remit, [false, true, false, false, false, true]);
        let first = "packages that change, as the package manager says now:";
        for (said, expect) in [
            (
                "Conf half (1 [amd64])\n",
                vec![format!("{first} 1"), "Conf half (1 [amd64])".to_owned()],
            ),
            (
                "b set to manually installed.\n",
                vec![
                    format!("{first} 0"),
                    "b set to manually installed.".to_owned(),
                ],
            ),
            (
                "b is already the newest version (1).\n",
                vec![format!("{first} 0")],
            ),
        ] {
            let apt = PackageManager::Apt;
            let listed = listed(apt, &[], &output(0, said, ""));
            assert_eq!(described(apt, listed).unwrap(), expect);
        }
        let half = listed(
            PackageManager::Apt,
            &[],
            &output(0, "Conf remit (1 [amd64])\n", ""),
        );
        assert!(matches!(half, Err(Unlisted::OfRemit(Fault::Refused(_)))));
        let why =
            apt_changes(&output(100, "", "W: x\nE: Unable to locate package nope\n")).unwrap_err();
        assert_eq!(why, "E: Unable to locate package nope");
    }

    #[test]
    fn c12_what_dnf_would_do_is_read() {
        let table = "Dependencies resolved.\n=====\n Package   Architecture  Version  Repository  Size\n=====\n\
                     Installing:\n nginx  x86_64  1:1.20  appstream  36 k\n     replacing  remit.x86_64 0.1-1\n\
                     \nTransaction Summary\n=====\nInstall  1 Package\n";
        let lines = dnf_changes(&output(1, table, "Operation aborted.\n")).unwrap();
        assert_eq!(
            lines,
            [
                "Installing:",
                "nginx x86_64 1:1.20 appstream 36 k",
                "replacing remit.x86_64 0.1-1"
            ]
        );
        assert!(is_of_remit(&lines[2]));
        let missing = "Error: Unable to find a match: nope";
        for out in [
            "",
            "Package bash-5.2-1.x86_64 is already installed.\nNo match for argument: nope\n",
        ] {
            let said = dnf_changes(&output(1, out, &format!("{missing}\n")));
            assert_eq!(said, Err(missing.to_owned()));
        }
        let there = "Package bash-5.2-1.x86_64 is already installed.\nDependencies resolved.\nNothing to do.\nComplete!\n";
        assert_eq!(dnf_changes(&output(0, there, "")), Ok(Vec::new()));
        let both = "Package bash-5.2-1.x86_64 is already installed.\nDependencies resolved.\n Package  Arch  Version  Repo  Size\n\
                    Removing:\n foo  x86_64  1-1  @base  1 k\nRemoving dependent packages:\n bar  noarch  1-1  @base  1 k\n\
                    Skipping packages with broken dependencies:\n baz  x86_64  2-1  updates  1 k\nEnabling module streams:\n nodejs  18\n\nTransaction Summary\n";
        let dnf = PackageManager::Dnf;
        let lines = described(
            dnf,
            listed(dnf, &[], &output(1, both, "Operation aborted.\n")),
        );
        let lines = lines.unwrap();
        assert_eq!(
            lines[0],
            "packages that change, as the package manager says now: 2"
        );
        assert_eq!(lines[2], "foo x86_64 1-1 @base 1 k");
        assert!(!dnf.is_package("replacing remit x86_64 0.1-1 @base 1 k"));
        assert_eq!(
            dnf_changes(&output(0, "Nothing to do.\n", "")),
            Ok(Vec::new())
        );
    }

    #[test]
    fn q05_name_with_a_version_is_known() {
        let all =
            |words: &[&str]| -> Vec<String> { words.iter().map(|&word| word.into()).collect() };
        let lines = all(&[
            "Installing:",
            "openssl x86_64 1:3.0.7-1 baseos 1 M",
            "gcc-12 x86_64 12 appstream 1 M",
        ]);
        for (asked, expect) in [
            ("openssl-3.0.7", Some(("openssl-3.0.7", "openssl"))),
            (
                "openssl-3.0.7-1.x86_64",
                Some(("openssl-3.0.7-1.x86_64", "openssl")),
            ),
            ("openssl", None),
            ("openssl.x86_64", None),
            ("gcc-12", None),
            ("openssl-devel", None),
        ] {
            let asked = all(&[asked]);
            assert_eq!(versioned(&asked, &lines), expect, "{asked:?}");
        }
    }

    #[test]
    fn c12_other_packages_are_not_remit() {
        for (line, is) in [
            ("Remv remit [1]", true),
            ("Inst remit:amd64 (1)", true),
            ("remit x86_64 0.1 @System 3 M", true),
            ("Remv remittance [1]", false),
            ("Inst libremit (1)", false),
            ("", false),
        ] {
            assert_eq!(is_of_remit(line), is, "{line}");
        }
    }

    #[test]
    fn change_uses_the_lists_of_its_description() {
        let own = ["--assumeyes", "--assumeno", "--simulate"];
        for manager in [PackageManager::Apt, PackageManager::Dnf] {
            for verb in [
                PackageVerb::Install,
                PackageVerb::Upgrade,
                PackageVerb::Remove,
            ] {
                let rest = |words: Vec<&'static str>| -> Vec<&str> {
                    words
                        .into_iter()
                        .filter(|word| !own.contains(word))
                        .collect()
                };
                let change = rest(options(manager, verb).1);
                assert_eq!(rest(simulation(manager, verb, false).1), change);
                let mut described = rest(simulation(manager, verb, true).1);
                // It only keeps lists from being fetched that are not in the cache.
                described.retain(|word| *word != "--cacheonly");
                assert_eq!(described, change);
                let keeps_lists = change.contains(&"--setopt=*.metadata_expire=-1");
                assert_eq!(keeps_lists, manager == PackageManager::Dnf);
            }
        }
    }

    #[test]
    fn other_packages_than_described_are_refused() {
        let [one, two] =
            ["a x86_64 1 base 1 k", "a x86_64 2 new 1 k"].map(|line| vec![line.to_owned()]);
        assert_eq!(is_as_described(Some(&one), &one), Ok(()));
        assert_eq!(is_as_described(None, &one), Ok(()));
        assert!(matches!(
            is_as_described(Some(&one), &two),
            Err(Fault::Refused(_))
        ));
    }

    #[test]
    fn only_what_dnf_cannot_say_is_a_line_for_the_approver() {
        let names = ["openssl-3.0.7".to_owned()];
        let table = |rows: &str| {
            let head = "Package Architecture Version Repository Size";
            output(1, &format!("{head}\n{rows}\nTransaction Summary\n"), "")
        };
        let many = "a x86_64 1 base 1 k\n".repeat(LINES + 1);
        let (no_lists, versioned) = (
            output(1, "", "Error: Cache-only enabled but no cache for 'base'\n"),
            table("openssl x86_64 1:3.0.7-1 baseos 1 M"),
        );
        for (said, refused) in [
            (&no_lists, None),
            (&versioned, Some("with a version")),
            (
                &table("remit x86_64 1 base 1 k"),
                Some("the package 'remit'"),
            ),
            (&table(&many), Some("more than 400 packages")),
        ] {
            let lines = described(
                PackageManager::Dnf,
                listed(PackageManager::Dnf, &names, said),
            );
            match refused {
                None => assert_eq!(
                    lines.unwrap(),
                    [
                        "the package manager cannot say now which packages change: '/usr/bin/dnf' would not do it: Error: Cache-only \
                         enabled but no cache for 'base'"
                    ]
                ),
                Some(why) => assert!(
                    matches!(&lines, Err(Fault::Refused(said)) if said.contains(why)),
                    "{lines:?}"
                ),
            }
        }
        let apt = listed(PackageManager::Apt, &names, &no_lists);
        assert!(described(PackageManager::Apt, apt).is_err());
        let fine = listed(PackageManager::Dnf, &[], &versioned);
        assert_eq!(
            described(PackageManager::Dnf, fine).unwrap(),
            [
                "packages that change, as the package manager says now: 1",
                "openssl x86_64 1:3.0.7-1 baseos 1 M"
            ]
        );
    }

    #[test]
    fn names_come_after_the_last_option() {
        for verb in [
            PackageVerb::Install,
            PackageVerb::Upgrade,
            PackageVerb::Remove,
        ] {
            assert_eq!(apt_arguments(verb).last(), Some(&"--"));
            assert_eq!(dnf_arguments(verb).last(), Some(&"--"));
        }
    }

    #[test]
    fn c12_the_database_in_use_decides() {
        for (has_dpkg, has_apt, has_dnf, expect) in [
            (true, true, false, Some(PackageManager::Apt)),
            (true, true, true, Some(PackageManager::Apt)),
            // Fedora with the package 'apt' installed.
            (false, true, true, Some(PackageManager::Dnf)),
            (false, false, true, Some(PackageManager::Dnf)),
            (false, true, false, None),
            (false, false, false, None),
        ] {
            assert_eq!(chosen(has_dpkg, has_apt, has_dnf), expect);
        }
    }

    #[test]
    fn only_what_is_named_is_removed() {
        assert!(apt_arguments(PackageVerb::Install).contains(&"--no-remove"));
        assert!(apt_arguments(PackageVerb::Upgrade).contains(&"--no-remove"));
        assert!(apt_arguments(PackageVerb::Upgrade).contains(&"--only-upgrade"));
        assert!(
            !apt_arguments(PackageVerb::Remove)
                .iter()
                .any(|word| word.contains("essential"))
        );
    }
}
