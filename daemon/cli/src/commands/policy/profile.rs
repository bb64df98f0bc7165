//! Describes a sandbox in plain words.

use nix::unistd::{Gid, Group};
use remit_policy::{Base, Command, Listed, Network, Profile, ProfileLimits, User};
use remit_policy_files::Names;

use crate::render::units;

/// Returns names and descriptions; a description may have several lines.
pub fn words(profile: &Profile, names: &Names) -> Vec<(&'static str, String)> {
    let mut words = vec![("profile", format!("{}\n{}", profile.name, profile.summary))];
    let base = match profile.base {
        Base::Read => {
            "sees what an operator's account sees, changes nothing but what is listed here"
        }
        Base::Strict => "sees /usr and what is listed here, in namespaces of its own",
        Base::Host => "no sandbox: whatever its user may",
    };
    words.push(("base", format!("{}: {base}", base_name(profile.base))));
    words.push((
        "runs as",
        match &profile.user {
            User::Own => "a uid of its own for each job, without privilege".to_owned(),
            User::Fixed { name, uid, gid } => format!("{name} (uid {uid}, gid {gid})"),
        },
    ));
    let groups: Vec<String> = profile
        .groups
        .iter()
        .map(|gid| group(*gid, names))
        .collect();
    let besides = [
        ("groups", groups.join(" ")),
        ("capabilities", profile.capability_names().join(" ")),
        ("reads", listed(&profile.read)),
        ("writes", written(profile)),
        ("executes", listed(&profile.exec)),
        ("scratch", profile.scratch.join(" ")),
        ("devices", listed(&profile.devices)),
        ("sockets", listed(&profile.sockets)),
        ("network", network(&profile.network)),
        (
            "variables",
            profile.env.keys().cloned().collect::<Vec<_>>().join(" "),
        ),
        ("limits", limits(profile)),
    ];
    words.extend(besides.into_iter().filter(|(_, value)| !value.is_empty()));
    words
}

/// Returns the profile with the command's variables and limits, which override its own.
pub fn of_command(profile: &Profile, command: &Command) -> Profile {
    let mut of_command = profile.clone();
    of_command.env.extend(command.env.clone());
    let (own, others) = (command.limits, profile.limits);
    of_command.limits = ProfileLimits {
        runtime_s: own.runtime_s.or(others.runtime_s),
        memory: own.memory.or(others.memory),
        tasks: own.tasks.or(others.tasks),
        cpu_percent: own.cpu_percent.or(others.cpu_percent),
        open_files: own.open_files.or(others.open_files),
        tmp: own.tmp.or(others.tmp),
    };
    of_command
}

pub fn group(gid: u32, names: &Names) -> String {
    let of_machine = || Some(Group::from_gid(Gid::from_raw(gid)).ok()??.name);
    names
        .group_of(gid)
        .or_else(of_machine)
        .unwrap_or_else(|| format!("#{gid}"))
}

fn base_name(base: Base) -> &'static str {
    match base {
        Base::Read => "read",
        Base::Strict => "strict",
        Base::Host => "host",
    }
}

fn listed(all: &[Listed]) -> String {
    let word = |listed: &Listed| match listed.optional {
        true => format!("{} (if it is there)", listed.path),
        false => listed.path.clone(),
    };
    all.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn written(profile: &Profile) -> String {
    let all = listed(&profile.write);
    match profile.write_and_exec {
        true => format!("{all}\nwhat it writes may be executed"),
        false => all,
    }
}

fn network(network: &Network) -> String {
    match network {
        Network::None => "none".to_owned(),
        Network::Loopback => "itself alone".to_owned(),
        Network::Host => "what the host reaches".to_owned(),
        Network::Connect(all) => {
            let all = all.iter().map(|to| {
                let addresses: Vec<String> = to.addresses.iter().map(ToString::to_string).collect();
                let addresses = match addresses.is_empty() {
                    true => "no address: nothing runs here".to_owned(),
                    false => addresses.join(" "),
                };
                format!("{} port {} ({addresses})", to.host, to.port)
            });
            format!("itself, and by TCP {}", all.collect::<Vec<_>>().join(", "))
        }
    }
}

fn limits(profile: &Profile) -> String {
    let limits = &profile.limits;
    let all = [
        limits.runtime_s.map(|s| format!("runtime {s} s")),
        limits
            .memory
            .map(|bytes| format!("memory {}", units::bytes(bytes))),
        limits.tasks.map(|tasks| format!("tasks {tasks}")),
        limits.cpu_percent.map(|percent| format!("cpu {percent} %")),
        limits.open_files.map(|files| format!("open files {files}")),
        limits
            .tmp
            .map(|bytes| format!("tmp {}", units::bytes(bytes))),
    ];
    all.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
