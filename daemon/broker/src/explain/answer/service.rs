//! What those are told who want a service: of the network, of the service manager, of the package manager.

use remit_common::builtin::UnitName;
use remit_common::denial::Layer;

use super::super::commands::Command;
use super::super::view::View;
use super::{Answer, BY_COMMAND};

fn named(tool: &str, name: &str, args: &str) -> String {
    match args.is_empty() {
        true => format!("{tool} {{\"name\": \"{name}\"}}"),
        false => format!("{tool} {{\"name\": \"{name}\", \"args\": {{{args}}}}}"),
    }
}

/// How a command that only reads is called.
pub fn run(name: &str, args: &str) -> String {
    named("run", name, args)
}

/// A packaged command that changes something: it may be granted or not.
pub fn change(name: &str, args: &str) -> String {
    format!(
        "call access: where it lists {name}, {}, with a reason",
        named("change", name, args)
    )
}

/// How people let somebody use a packaged command.
pub fn grant(name: &str, args: &str) -> String {
    let args = if args.is_empty() {
        String::new()
    } else {
        format!(" {args}")
    };
    format!(
        "a rule that grants {name}, as in /usr/share/doc/remit/examples/changes.toml; where it asks for an approval: \
         remit grant USER {name}{args} --for 1h"
    )
}

/// A unit's whole name, as commands take it; `NAME` where it is none.
pub fn unit(name: Option<&str>) -> String {
    let name = name.and_then(|name| name.parse::<UnitName>().ok());
    name.map_or_else(|| "NAME".to_owned(), |name| name.to_string())
}

/// Where a network program wants to go, as its arguments say.
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

/// Without a network, or with one that reaches some places alone.
pub fn network(view: &View<'_>, object: Option<String>) -> Option<Answer> {
    let profile = view.profile();
    let (rule, next) = match view.network() {
        [one] if one == "host" => return None,
        [] => no_network(profile),
        [one] if one == "none" => no_network(profile),
        [one] if one == "loopback" => (
            format!(
                "profile '{profile}' has a loopback interface of its own, and reaches no other host"
            ),
            "host {\"sections\": [\"network\", \"ports\"]} tells what this machine has and who listens",
        ),
        some => (
            format!(
                "profile '{profile}' reaches {} and nothing else",
                some.join(", ")
            ),
            "connect to what the profile reaches, by that name and port",
        ),
    };
    let lift = "a command of the policy whose profile, of base strict, names the destination in `network`: remit-policy(5)";
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
        format!("profile '{profile}' has no network, to other hosts or to this one"),
        "a failure says nothing of the other side: host {\"sections\": [\"ports\", \"units\", \"network\"]} tells who listens here and what is up",
    )
}

/// Without the bus.
pub fn bus(view: &View<'_>, next: String, lift: Option<String>) -> Option<Answer> {
    const BUS: &str = "/run/dbus/system_bus_socket";
    if view.reaches(BUS) {
        return None;
    }
    let lift = lift.unwrap_or_else(|| {
        format!("a command of the policy whose profile, of base strict, lists {BUS}; who reaches it as root can do what root can")
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

/// A unit that is to be changed.
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
        let next = "nothing here does; a unit is shown by ".to_owned()
            + &run("service.status", &format!("\"unit\": \"{name}\""));
        return bus(view, next, Some(BY_COMMAND.to_owned()));
    }
    let command = format!("service.{verb}");
    let next = change(&command, &format!("\"unit\": \"{name}\""));
    bus(view, next, Some(grant(&command, &format!("unit={name}"))))
}

/// Packages that are to be changed.
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
            "profile '{}': packages are root's to change",
            view.profile()
        ),
        next: Some(change(&command, &format!("\"packages\": [{names}]"))),
        lift: Some(grant(&command, "")),
    })
}
