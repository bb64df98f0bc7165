//! Answers for programs that need the network, the service manager or the package manager.

use remit_common::builtin::UnitName;
use remit_common::denial::Layer;

use super::super::commands::Command;
use super::super::view::View;
use super::{Answer, BY_COMMAND, named, run};

/// Text for a packaged command that changes the host, which may or may not be granted.
pub fn change(name: &str, args: &str) -> String {
    format!(
        "call access; if it lists {name}: {}, with a reason",
        named("change", name, args)
    )
}

pub fn grant(name: &str, args: &str) -> String {
    let args = if args.is_empty() {
        String::new()
    } else {
        format!(" {args}")
    };
    format!(
        "a rule that grants {name}, as in /usr/share/doc/remit/examples/changes.toml; if it requires an approval: \
         remit grant USER {name}{args} --for 1h"
    )
}

/// Returns the full unit name, or `NAME` if it is not valid.
pub fn unit(name: Option<&str>) -> String {
    let name = name.and_then(|name| name.parse::<UnitName>().ok());
    name.map_or_else(|| "NAME".to_owned(), |name| name.to_string())
}

pub fn target(command: &Command) -> Option<String> {
    let is_host = |word: &&str| {
        let sign = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]/@?=&%~+".contains(&byte);
        word.bytes().all(sign)
            && (word.contains("://") || word.contains('.') || *word == "localhost")
            && !word.starts_with(['/', '.'])
    };
    match command.name.as_str() {
        "git" => command
            .words()
            .find(|word| word.contains("://"))
            .map(str::to_owned),
        _ => command.words().find(is_host).map(str::to_owned),
    }
}

pub fn network(view: &View<'_>, object: Option<String>) -> Option<Answer> {
    let profile = view.profile();
    let (rule, next) = match view.network() {
        [one] if one == "host" => return None,
        [] => no_network(profile),
        [one] if one == "none" => no_network(profile),
        [one] if one == "loopback" => (
            format!(
                "profile '{profile}' has only its own loopback interface, and reaches no other host"
            ),
            "host {\"sections\": [\"network\", \"ports\"]} shows the machine's interfaces and listeners",
        ),
        some => (
            format!("profile '{profile}' reaches only {}", some.join(", ")),
            "connect to a destination that the profile lists, by that name and port",
        ),
    };
    let lift = "a policy command whose profile (base strict) lists the destination in `network`: remit-policy(5)";
    Some(Answer {
        layer: Layer::Network,
        operation: "connect",
        object,
        rule,
        next: Some(next.to_owned()),
        lift: Some(lift.to_owned()),
    })
}

fn no_network(profile: &str) -> (String, &'static str) {
    (
        format!("profile '{profile}' has no network, neither to other hosts nor to this one"),
        "the failure says nothing about the other side: host {\"sections\": [\"ports\", \"units\", \"network\"]} shows listeners and running units",
    )
}

pub fn bus(view: &View<'_>, next: String, lift: Option<String>) -> Option<Answer> {
    const BUS: &str = "/run/dbus/system_bus_socket";
    if view.reaches(BUS) {
        return None;
    }
    let lift = lift.unwrap_or_else(|| {
        format!("a command of the policy whose profile, of base strict, lists {BUS}; as root, it can do there what root can")
    });
    Some(Answer {
        layer: Layer::Network,
        operation: "connect",
        object: Some("the service manager, by the system bus".into()),
        rule: format!(
            "profile '{}' reaches no socket of a service",
            view.profile()
        ),
        next: Some(next),
        lift: Some(lift),
    })
}

pub fn unit_change(command: &Command, view: &View<'_>) -> Option<Answer> {
    let (verb, name) = match command.name.as_str() {
        "systemctl" => (command.words().next(), command.words().nth(1)),
        _ => (command.words().nth(1), command.words().next()),
    };
    let name = unit(name);
    let verb = match verb.unwrap_or_default() {
        "try-restart" | "reload-or-restart" => "restart",
        "force-reload" => "reload",
        verb => verb,
    };
    if !["start", "stop", "restart", "reload", "enable", "disable"].contains(&verb) {
        let next = "not possible here; to show a unit: ".to_owned()
            + &run("service.status", &format!("\"unit\": \"{name}\""));
        return bus(view, next, Some(BY_COMMAND.to_owned()));
    }
    let command = format!("service.{verb}");
    let next = change(&command, &format!("\"unit\": \"{name}\""));
    bus(view, next, Some(grant(&command, &format!("unit={name}"))))
}

pub fn packages(command: &Command, view: &View<'_>) -> Option<Answer> {
    let removes = [
        "remove",
        "purge",
        "autoremove",
        "erase",
        "rm",
        "-r",
        "--remove",
        "-P",
        "--purge",
        "-e",
    ];
    let upgrades = ["upgrade", "full-upgrade", "dist-upgrade", "-U"];
    let has = |some: &[&str]| command.args.iter().any(|arg| some.contains(&arg.as_str()));
    let verb = match () {
        () if has(&removes) => "remove",
        () if has(&upgrades) => "upgrade",
        () => "install",
    };
    let sign =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.:".contains(&byte);
    let plain = |word: &&str| {
        word.bytes().all(sign)
            && word.starts_with(|c: char| c.is_ascii_alphanumeric())
            && !word.ends_with(".deb")
    };
    let names: Vec<String> = command
        .words()
        .skip(1)
        .filter(plain)
        .take(4)
        .map(|name| format!("\"{name}\""))
        .collect();
    let names = if names.is_empty() {
        "\"NAME\"".to_owned()
    } else {
        names.join(", ")
    };
    let command = format!("package.{verb}");
    Some(Answer {
        layer: Layer::Identity,
        operation: "write",
        object: None,
        rule: format!(
            "profile '{}': only root can change packages",
            view.profile()
        ),
        next: Some(change(&command, &format!("\"packages\": [{names}]"))),
        lift: Some(grant(&command, "")),
    })
}
