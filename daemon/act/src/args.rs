//! Parses the command line of remit-act. Pure. [`Fault`] is the reason why a verb did not succeed.

use remit_common::builtin::UnitName;
use remit_common::service::is_protected;

const USAGE: &str = "usage: remit-act [describe [--changed]] unit start|stop|restart|reload|enable|disable [--instances] UNIT, [describe [--changed]] units reload, \
                     [describe] package install|upgrade|remove NAME…, container start|stop|restart NAME, \
                     [describe] reboot --in MINUTES, [describe] reboot --cancel";
const PACKAGES: usize = 32;
// Bytes.
const NAME: usize = 128;

#[derive(Debug, PartialEq, Eq)]
pub enum Ask {
    Unit(UnitVerb, UnitName),
    /// Changes nothing: prints what the verb would do. `true`: a change of files comes before, whose paths are on standard input.
    DescribeUnit(UnitVerb, UnitName, bool),
    /// The service manager reads the files of all units again.
    ReloadUnits,
    DescribeReloadUnits(bool),
    DescribePackage(PackageVerb, Vec<String>),
    Package(PackageVerb, Vec<String>),
    Container(ContainerVerb, String),
    /// Unit: minutes.
    Reboot(u64),
    KeepRunning,
    /// Changes nothing: prints which shutdown is scheduled, for both of these. Unit: minutes; a cancel has none.
    DescribeReboot(Option<u64>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitVerb {
    Start,
    Stop,
    Restart,
    Reload,
    Enable,
    Disable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerVerb {
    Start,
    Stop,
    Restart,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackageVerb {
    Install,
    Upgrade,
    Remove,
}

pub fn parse(words: &[String]) -> Result<Ask, String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["unit", words @ ..] => {
            let (verb, unit) = unit_words(words)?;
            Ok(Ask::Unit(verb, unit))
        }
        ["describe", "unit", words @ ..] => {
            let (verb, unit) = unit_words(words)?;
            Ok(Ask::DescribeUnit(verb, unit, false))
        }
        ["describe", "--changed", "unit", words @ ..] => {
            let (verb, unit) = unit_words(words)?;
            Ok(Ask::DescribeUnit(verb, unit, true))
        }
        ["units", "reload"] => Ok(Ask::ReloadUnits),
        ["describe", "units", "reload"] => Ok(Ask::DescribeReloadUnits(false)),
        ["describe", "--changed", "units", "reload"] => Ok(Ask::DescribeReloadUnits(true)),
        ["package", verb, names @ ..] => Ok(Ask::Package(package_verb(verb)?, packages(names)?)),
        ["describe", "package", verb, names @ ..] => {
            Ok(Ask::DescribePackage(package_verb(verb)?, packages(names)?))
        }
        ["container", verb, name] => {
            let name = remit_engine::named(name)?.to_owned();
            Ok(Ask::Container(container_verb(verb)?, name))
        }
        ["reboot", words @ ..] => reboot(words),
        ["describe", "reboot", words @ ..] => Ok(Ask::DescribeReboot(match reboot(words)? {
            Ask::Reboot(minutes) => Some(minutes),
            _ => None,
        })),
        _ => Err(USAGE.into()),
    }
}

fn reboot(words: &[&str]) -> Result<Ask, String> {
    match words {
        ["--in", minutes] => match minutes.parse() {
            Ok(minutes @ 1..=60) => Ok(Ask::Reboot(minutes)),
            _ => Err("a reboot is at least 1 and at most 60 minutes away".into()),
        },
        ["--cancel"] => Ok(Ask::KeepRunning),
        _ => Err(USAGE.into()),
    }
}

/// Parses a verb and a unit. `name@text` needs `--instances`: the template's program gets the text, mostly as root.
fn unit_words(words: &[&str]) -> Result<(UnitVerb, UnitName), String> {
    let (verb, unit, instances) = match words {
        [verb, "--instances", unit] => (verb, unit, true),
        [verb, unit] => (verb, unit, false),
        _ => return Err(USAGE.into()),
    };
    let (verb, name) = (unit_verb(verb)?, unit_name(unit)?);
    if name.stem().contains('@') && !instances {
        return Err(format!(
            "unit '{name}' is an instance: the text after the @ is passed to its program. Your own command allows \
             instances: 'unit VERB --instances {{unit}}' in its argv, and 'instances = true' for its argument"
        ));
    }
    Ok((verb, name))
}

fn unit_verb(word: &str) -> Result<UnitVerb, String> {
    Ok(match word {
        "start" => UnitVerb::Start,
        "stop" => UnitVerb::Stop,
        "restart" => UnitVerb::Restart,
        "reload" => UnitVerb::Reload,
        "enable" => UnitVerb::Enable,
        "disable" => UnitVerb::Disable,
        _ => return Err(USAGE.into()),
    })
}

fn package_verb(word: &str) -> Result<PackageVerb, String> {
    Ok(match word {
        "install" => PackageVerb::Install,
        "upgrade" => PackageVerb::Upgrade,
        "remove" => PackageVerb::Remove,
        _ => return Err(USAGE.into()),
    })
}

fn container_verb(word: &str) -> Result<ContainerVerb, String> {
    Ok(match word {
        "start" => ContainerVerb::Start,
        "stop" => ContainerVerb::Stop,
        "restart" => ContainerVerb::Restart,
        _ => return Err(USAGE.into()),
    })
}

fn whole(text: &str) -> Result<UnitName, String> {
    text.parse()
        .map_err(|why| format!("the name of the unit {why}"))
}

/// Parses a full unit name. Refuses a name that is protected; other names of the same unit are checked later.
fn unit_name(text: &str) -> Result<UnitName, String> {
    let name = whole(text)?;
    match is_protected(name.as_str()) {
        Some(why) => Err(format!("unit '{}' is protected: {why}", name.as_str())),
        None => Ok(name),
    }
}

/// Accepts only names that no package manager reads as an option, a pattern, a file or an action.
fn packages(names: &[&str]) -> Result<Vec<String>, String> {
    if names.is_empty() || names.len() > PACKAGES {
        return Err(format!("between 1 and {PACKAGES} packages must be named"));
    }
    for name in names {
        let stem = name.split_once(':').map_or(*name, |(stem, _)| stem);
        let architecture = name.split_once(':').map_or("all", |(_, after)| after);
        let plain = name.len() <= NAME
            && stem.starts_with(|first: char| first.is_ascii_alphanumeric())
            && stem
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+._-".contains(&byte))
            && !architecture.is_empty()
            && architecture
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        // apt: "name-" means remove and "name+" means install.
        let order = stem.ends_with('-') || (stem.ends_with('+') && !stem.ends_with("++"));
        // dnf and apt read such a name as a file.
        let file = [".rpm", ".deb"].iter().any(|end| stem.ends_with(end));
        if !plain || order || file {
            return Err("a name is not that of a package".into());
        }
        if is_own(stem) {
            return Err("package 'remit' is not changed by remit: it would end this job".into());
        }
    }
    Ok(names.iter().map(|name| (*name).to_owned()).collect())
}

/// Returns true for the package remit. dnf also accepts a version or an architecture after the name.
fn is_own(stem: &str) -> bool {
    let rest = stem.strip_prefix("remit");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.']))
}

#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    Failed(String),
    /// It was not tried.
    Refused(String),
}

#[cfg(test)]
mod tests {
    use remit_programs::has_units_started;

    use super::*;
    use crate::unit::effects::Act;

    fn asked(line: &str) -> Result<Ask, String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        parse(&words)
    }

    #[test]
    fn verb_with_an_act_is_a_start_for_the_prover() {
        let verbs = USAGE.split_once("unit ").unwrap().1;
        let verbs = verbs.split_once(' ').unwrap().0;
        for word in verbs.split('|') {
            let act = Act::from_verb(unit_verb(word).unwrap());
            assert_eq!(has_units_started(word), act.is_some(), "{word}");
        }
    }

    #[test]
    fn what_is_said_is_what_is_done() {
        let nginx: UnitName = "nginx.service".parse().unwrap();
        for (line, ask) in [
            (
                "unit restart nginx.service",
                Ask::Unit(UnitVerb::Restart, nginx.clone()),
            ),
            (
                "describe unit stop nginx.service",
                Ask::DescribeUnit(UnitVerb::Stop, nginx.clone(), false),
            ),
            (
                "describe --changed unit start nginx.service",
                Ask::DescribeUnit(UnitVerb::Start, nginx.clone(), true),
            ),
            ("unit disable nginx", Ask::Unit(UnitVerb::Disable, nginx)),
            (
                "unit start --instances site@a.service",
                Ask::Unit(UnitVerb::Start, "site@a.service".parse().unwrap()),
            ),
            (
                "package install g++ libc6:amd64",
                Ask::Package(
                    PackageVerb::Install,
                    vec!["g++".into(), "libc6:amd64".into()],
                ),
            ),
            (
                "container stop web-1",
                Ask::Container(ContainerVerb::Stop, "web-1".into()),
            ),
            ("units reload", Ask::ReloadUnits),
            ("describe units reload", Ask::DescribeReloadUnits(false)),
            (
                "describe --changed units reload",
                Ask::DescribeReloadUnits(true),
            ),
            ("reboot --in 60", Ask::Reboot(60)),
            ("reboot --cancel", Ask::KeepRunning),
            ("describe reboot --in 60", Ask::DescribeReboot(Some(60))),
            ("describe reboot --cancel", Ask::DescribeReboot(None)),
        ] {
            assert_eq!(asked(line), Ok(ask), "{line}");
        }
    }

    #[test]
    fn c03_instance_needs_option_of_the_command() {
        for words in [
            "unit start",
            "unit stop",
            "unit enable",
            "describe unit restart",
        ] {
            let said = asked(&format!("{words} site@a.service")).unwrap_err();
            assert!(said.contains("instances = true"), "{said}");
            assert!(asked(&format!("{words} --instances site@a.service")).is_ok());
            for unit in ["podman-kube@srv-x.service", "modprobe@x.service"] {
                let said = asked(&format!("{words} --instances {unit}")).unwrap_err();
                assert!(said.contains("is protected"), "{said}");
            }
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for line in [
            "",
            "unit",
            "unit restart",
            "unit restart a.service b.service",
            "unit kill nginx.service",
            "unit RESTART nginx.service",
            "unit restart --force",
            "unit --instances restart nginx.service",
            "unit restart --instances --instances nginx.service",
            "describe nginx.service",
            "describe reboot",
            "describe reboot --in 61",
            "describe --changed reboot --cancel",
            "describe describe unit stop nginx.service",
            "unit restart nginx.service\n",
            "unit restart ../nginx.service",
            "unit restart php@.service",
            "package install",
            "package purge nginx",
            "package install -- nginx",
            "package install --reinstall",
            "package install ./x.deb",
            "package install x.deb/",
            "package install evil.rpm",
            "package install x.deb:amd64",
            "package install nginx-",
            "package install nginx+",
            "package install nginx*",
            "package install ^nginx",
            "package install nginx:",
            "package install nginx=1",
            "package install nginx/sid",
            "package install @core",
            "package remove nginx remit",
            "package remove remit:amd64",
            "package remove remit.x86_64",
            "package upgrade remit-0.6.0-1.x86_64",
            "container stop",
            "container kill web",
            "container stop -a",
            "container stop web/../db",
            "container stop web?t=0",
            "container start web db",
            "reboot",
            "reboot now",
            "reboot --in 0",
            "reboot --in 61",
            "reboot --in -1",
            "reboot --in 5 --force",
        ] {
            assert!(asked(line).is_err(), "{line}");
        }
        let many = format!("package install{}", " a".repeat(PACKAGES + 1));
        assert!(asked(&many).is_err());
    }

    #[test]
    fn a_protected_unit_is_refused_by_its_name() {
        for unit in [
            "ssh",
            "sshd.service",
            "remitd.socket",
            "dbus.service",
            "multi-user.target",
            "home.mount",
        ] {
            let said = asked(&format!("unit stop {unit}")).unwrap_err();
            assert!(said.contains("is protected"), "{unit}: {said}");
        }
    }
}
