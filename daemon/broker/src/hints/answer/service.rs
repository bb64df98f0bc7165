//! Parts of answers: sockets, the network, and the command of remit that answers instead.

use remit_common::denial::Layer;
use remit_common::engines;
use remit_common::service::is_protected;
use remit_programs::{Alternative, Argument, shipped};

use super::super::commands::Command;
use super::{Answer, View, named};

/// Returns why no rule grants this call of a command of the package: it would change a unit that the machine needs.
pub fn protection<'a>(
    command: &str,
    args: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Option<String> {
    let changes = shipped(command).is_some_and(|shipped| shipped.changes);
    let mut args = args
        .into_iter()
        .filter(|(name, _)| changes && *name == "unit");
    args.find_map(|(_, unit)| {
        let why = is_protected(unit)?;
        Some(format!("no rule grants '{command}' of that unit: {why}"))
    })
}

/// As [`protection`], of an alternative.
pub fn refused_anyway(alternative: &Alternative) -> Option<String> {
    let args = alternative.args.iter().flat_map(|arg| {
        let values = arg.values.iter();
        values.map(|value| (arg.name, value.as_str()))
    });
    protection(alternative.command, args)
}

pub fn instead(alternative: &Alternative) -> String {
    let name = alternative.command;
    if let Some(why) = refused_anyway(alternative) {
        return format!("{why}; tell the person you work for what has to be done");
    }
    match changes(alternative) {
        true => format!("call access; if it lists {name}: {}", granted(alternative)),
        false => granted(alternative),
    }
}

/// Returns the call for a caller that may make it.
pub fn granted(alternative: &Alternative) -> String {
    match changes(alternative) {
        true => format!("{}, with a reason", call("change", alternative)),
        false => call("run", alternative),
    }
}

pub fn changes(alternative: &Alternative) -> bool {
    shipped(alternative.command).is_some_and(|shipped| shipped.changes)
}

fn call(tool: &str, alternative: &Alternative) -> String {
    let value = |value: &String| match value.bytes().all(|byte| byte.is_ascii_digit()) {
        true => value.clone(),
        false => format!("\"{}\"", value.replace('\\', "\\\\")),
    };
    let argument = |arg: &Argument| {
        let values: Vec<String> = arg.values.iter().map(value).collect();
        let values = values.join(", ");
        match arg.is_list {
            true => format!("\"{}\": [{values}]", arg.name),
            false => format!("\"{}\": {values}", arg.name),
        }
    };
    let args: Vec<String> = alternative.args.iter().map(argument).collect();
    named(tool, alternative.command, &args.join(", "))
}

/// Returns the rule that lifts a refusal; `None` if no rule does.
pub fn grant(alternative: &Alternative) -> Option<String> {
    let name = alternative.command;
    let shipped = shipped(name);
    if refused_anyway(alternative).is_some() {
        return None;
    }
    if shipped.is_some_and(|shipped| !shipped.changes) {
        return Some(format!(
            "a rule that grants {name} with unconfined = true: where it is not granted, its refusal shows the rule"
        ));
    }
    let plain = alternative.args.iter().filter(|arg| !arg.is_list);
    let args: String = plain
        .map(|arg| format!(" {}={}", arg.name, arg.values.join(",")))
        .collect();
    let example = shipped.and_then(|shipped| shipped.example());
    let example = example.map_or_else(String::new, |example| format!(", as in {example}"));
    Some(format!(
        "a rule that grants {name}{example}; if it requires an approval: remit grant USER {name}{args} --for 1h"
    ))
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

/// Returns `None` for a destination that the profile may reach: its refusal is the other side's.
pub fn network(view: &View<'_>, object: Option<String>) -> Option<Answer> {
    let profile = view.profile();
    if object
        .as_ref()
        .is_some_and(|object| is_listed(view, object))
    {
        return None;
    }
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

/// A destination without a port is listed with any.
fn is_listed(view: &View<'_>, destination: &str) -> bool {
    let (scheme, rest) = destination.split_once("://").unwrap_or(("", destination));
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let port = host.rsplit_once(':').map(|(_, port)| port);
    view.network().iter().any(|listed| {
        let (of_listed, at) = listed.rsplit_once(':').unwrap_or((listed, ""));
        match (port, scheme) {
            (Some(_), _) => host == listed,
            (None, "http") => host == of_listed && at == "80",
            (None, "https") => host == of_listed && at == "443",
            (None, _) => host == of_listed,
        }
    })
}

fn no_network(profile: &str) -> (String, &'static str) {
    (
        format!("profile '{profile}' has no network, neither to other hosts nor to this one"),
        "the failure says nothing about the other side: host {\"sections\": [\"ports\", \"units\", \"network\"]} shows listeners and running units",
    )
}

/// No socket of the service is reached: it is a unix socket, not the network.
pub fn service(view: &View<'_>, next: &str) -> Option<Answer> {
    Some(Answer {
        layer: Layer::Network,
        operation: "connect",
        object: Some("the service's socket".into()),
        rule: format!(
            "profile '{}' reaches no socket of a service",
            view.profile()
        ),
        next: Some(next.to_owned()),
        lift: Some("a policy command whose profile, of base strict, lists that socket in `sockets`: remit-policy(5)".into()),
    })
}

pub fn bus(view: &View<'_>, next: &str) -> Option<Answer> {
    const BUS: &str = "/run/dbus/system_bus_socket";
    if view.reaches(BUS) {
        return None;
    }
    let found = service(view, next)?;
    Some(Answer {
        object: Some("the service manager, by the system bus".into()),
        lift: Some(format!(
            "a command of the policy whose profile, of base strict, lists {BUS}; as root, it can do there what root can"
        )),
        ..found
    })
}

pub fn containers(view: &View<'_>) -> Option<Answer> {
    if engines::SOCKETS.iter().any(|socket| view.reaches(socket)) {
        return None;
    }
    let next = "host {\"sections\": [\"containers\"]} lists what runs";
    let found = service(view, next)?;
    Some(Answer {
        object: Some("the container engine's socket".into()),
        lift: Some("a command of the policy whose profile, of base strict, lists that socket; whoever reaches it is root on this machine".into()),
        ..found
    })
}

#[cfg(test)]
mod tests {
    use remit_common::denial::ProfileVisibility;

    use super::*;
    use crate::hints::{MayUse, visibility_of_read};

    #[test]
    fn named_example_has_the_grant() {
        for (command, example) in [
            (
                "service.restart",
                ", as in /usr/share/doc/remit/examples/changes.toml",
            ),
            ("name.lookup", ""),
            ("user.lock", ""),
            ("package.remove", ""),
            ("container.stop", ""),
        ] {
            let alternative = Alternative {
                command,
                args: Vec::new(),
            };
            let expect = format!(
                "a rule that grants {command}{example}; if it requires an approval: remit grant USER {command} --for 1h"
            );
            assert_eq!(grant(&alternative), Some(expect));
        }
    }

    #[test]
    fn destination_of_the_profile_is_not_refused_by_it() {
        let may_use = MayUse::default();
        let visibility = ProfileVisibility {
            network: vec!["127.0.0.1:9100".into(), "example.com:443".into()],
            ..visibility_of_read()
        };
        let view = View::new(&visibility, &may_use).unwrap();
        for (destination, is_refused) in [
            ("127.0.0.1", false),
            ("http://127.0.0.1:9100/metrics", false),
            ("https://example.com?x", false),
            ("http://example.com/", true),
            ("127.0.0.1:9101", true),
            ("http://127.0.0.1", true),
            ("example.com.evil:443", true),
            ("example.org", true),
        ] {
            let answer = network(&view, Some(destination.to_owned()));
            assert_eq!(answer.is_some(), is_refused, "{destination}");
        }
        assert!(network(&view, None).is_some());
    }
}
