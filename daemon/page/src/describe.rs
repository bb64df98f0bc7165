//! Describes a sandbox and its limits in plain words.

use remit_approval::BoundLimits;
use remit_common::escape::words;
use remit_common::text::first_of;
pub use remit_common::text::size;
use remit_policy::{Base, Eyes, Listed, Network, Profile, User};

const SENTENCE: usize = 700;
const PROFILE: usize = 5 << 10;

pub fn profile(profile: &Profile) -> Vec<String> {
    let Profile {
        name,
        // Text of the policy; the facts are shown instead.
        summary: _,
        base,
        user,
        groups,
        capabilities: _,
        read,
        write,
        exec,
        scratch,
        write_and_exec,
        devices,
        sockets,
        // The policy accepts that the listed paths lead to root.
        leads_to_root: _,
        network,
        space,
        eyes,
        inspect,
        env: _,
        // Shown with the limits of `remit.toml`.
        limits: _,
    } = profile;
    let mut description = vec![
        identity(name, *base, user, groups),
        base_words(*base, user, *eyes),
    ];
    description.extend(
        profile
            .capability_names()
            .iter()
            .map(|name| match capability(name) {
                Some(does) => format!("{name}: {does}"),
                None => format!("{name}: see capabilities(7)"),
            }),
    );
    if let Some(inspect) = inspect {
        description.push(format!("sees {}", inspect.meaning()));
    }
    let mut paths = |what: &str, listed: &[Listed]| {
        if !listed.is_empty() {
            description.push(list(what, listed.iter().map(path).collect()));
        }
    };
    paths("can change, on the machine itself:", write);
    paths("can read:", read);
    paths("can execute:", exec);
    paths("can use the devices:", devices);
    paths("can talk to what listens at:", sockets);
    if !scratch.is_empty() {
        let what = "has private directories, deleted at its end:";
        description.push(list(what, scratch.clone()));
    }
    if *write_and_exec {
        description.push("can execute files that it has changed".into());
    }
    if let Some(space) = space {
        description.push(format!("can write {} to its copy", size(*space)));
    }
    description.push(network_words(*base, network));
    bounded(description)
}

/// `source`: the setting that the runtime comes from.
pub fn limits(limits: &BoundLimits, runtime_s: u32, source: &str) -> Vec<String> {
    let BoundLimits {
        nofile,
        nproc,
        data,
        cpu_s,
        // Above the limit of the private directories, the only ones that a job can write.
        fsize: _,
        tmp_bytes,
        tmp_inodes,
        memory,
        tasks,
        cpu_percent,
    } = limits;
    let mut description = vec![
        format!("ended after {runtime_s} s ({source})"),
        match *data {
            u64::MAX => "memory is not limited".into(),
            data => format!("{} of memory per process", size(data)),
        },
        format!("{cpu_s} s of CPU time per process"),
        format!("{} processes and threads", tasks.unwrap_or(*nproc)),
        format!("{nofile} open files per process"),
        format!(
            "{} and {tmp_inodes} files in each private directory",
            size(*tmp_bytes)
        ),
    ];
    if let Some(memory) = memory {
        description.push(format!(
            "{} of memory in total where cgroups are available",
            size(*memory)
        ));
    }
    if let Some(percent) = cpu_percent {
        description.push(format!(
            "at most {} where cgroups are available",
            cores((*percent).into())
        ));
    }
    description
        .iter()
        .map(|description| words(description, SENTENCE))
        .collect()
}

/// `1 core`, `2.5 cores`.
fn cores(percent: u64) -> String {
    match (percent / 100, percent % 100) {
        (1, 0) => "1 core".into(),
        (cores, 0) => format!("{cores} cores"),
        (cores, rest) => format!("{cores}.{rest:02} cores"),
    }
}

pub fn user_name(user: &User) -> String {
    match user {
        User::Own => "a throw-away user".into(),
        User::Fixed { uid: 0, .. } => "root".into(),
        User::Fixed { name, .. } => name.clone(),
    }
}

pub fn unconfined(user: &User) -> String {
    match user {
        User::Fixed { uid: 0, .. } => "root and can do anything on this machine".into(),
        user => {
            let name = user_name(user);
            format!("{name} and can do anything that this user can on this machine")
        }
    }
}

pub fn some(names: &[String]) -> String {
    const MOST: usize = 6;
    first_of(names.iter().map(|name| words(name, 120)), MOST)
}

pub fn reaches(network: &Network) -> Option<String> {
    match network {
        Network::None | Network::Loopback => None,
        Network::Host => {
            Some("every network that the machine reaches, and all that listens on it".into())
        }
        Network::ThisHost => Some("every TCP port of this machine's own addresses".into()),
        Network::Connect(to) => {
            let all: Vec<_> = to
                .iter()
                .map(|to| format!("{}:{}", to.host, to.port))
                .collect();
            Some(some(&all))
        }
        Network::Names(names) => {
            let all: Vec<_> = names
                .iter()
                .map(|(host, port)| format!("{host}:{port}"))
                .collect();
            Some(format!("by GET and HEAD of http {}", some(&all)))
        }
    }
}

fn base_words(base: Base, user: &User, eyes: Eyes) -> String {
    match base {
        Base::Host => format!("no sandbox: it runs as {}", unconfined(user)),
        Base::Read => "sees files, logs and processes as an operator does; changes only what is \
                       listed here"
            .into(),
        Base::Strict => "sees /usr and what is listed here; no other files of the machine, and no \
                         processes of others"
            .into(),
        Base::Plan => {
            let eyes = eyes.meaning();
            format!("is root of a copy of the machine, {eyes}; the machine stays as it is")
        }
        Base::Extract => "reads what a job of base plan made of its copy of the machine".into(),
    }
}

/// Returns as whom it runs, and in which sandbox. The command line shows it beside the command.
fn identity(profile: &str, base: Base, user: &User, groups: &[u32]) -> String {
    let mut subject = user_name(user);
    if let User::Fixed { uid, gid, .. } = user {
        subject.push_str(&format!(" (uid {uid}, gid {gid})"));
    }
    if !groups.is_empty() {
        let all: Vec<_> = groups.iter().map(|gid| format!("#{gid}")).collect();
        subject.push_str(&format!(", member of {}", some(&all)));
    }
    match base {
        Base::Host => format!("{subject}, without a sandbox (profile '{profile}')"),
        Base::Read | Base::Strict | Base::Plan | Base::Extract => {
            format!("{subject}, in sandbox '{profile}' (base {})", base.name())
        }
    }
}

fn network_words(base: Base, network: &Network) -> String {
    match (base, network) {
        (Base::Host, _) => "reaches every network that the machine reaches".into(),
        (_, Network::None) => "reaches no network".into(),
        (_, Network::Loopback) => "reaches only its own loopback".into(),
        (_, network) => format!("reaches {}", reaches(network).unwrap_or_default()),
    }
}

fn path(listed: &Listed) -> String {
    match listed.optional {
        true => format!("{} (if it is there)", listed.path),
        false => listed.path.clone(),
    }
}

fn list(what: &str, all: Vec<String>) -> String {
    let mut description = what.to_owned();
    for (at, one) in all.iter().enumerate() {
        let comma = if at == 0 { " " } else { ", " };
        let one = words(one, SENTENCE / 2);
        if description.len() + one.len() + 30 > SENTENCE {
            let more = all.len() - at;
            description.push_str(&format!("{comma}and {more} more, see the policy"));
            break;
        }
        description.push_str(comma);
        description.push_str(&one);
    }
    description
}

fn bounded(description: Vec<String>) -> Vec<String> {
    let all = description.len();
    let mut free_bytes = PROFILE;
    let mut kept = Vec::new();
    for sentence in &description {
        let sentence = words(sentence, SENTENCE);
        let Some(left) = free_bytes.checked_sub(sentence.len() + 4) else {
            let more = all - kept.len();
            kept.push(format!("{more} more sentences, see the policy"));
            break;
        };
        free_bytes = left;
        kept.push(sentence);
    }
    kept
}

pub fn capability(name: &str) -> Option<&'static str> {
    Some(match name {
        "CAP_CHOWN" => "can give files to any user",
        "CAP_DAC_OVERRIDE" => "can read and change files whatever their permissions are",
        "CAP_DAC_READ_SEARCH" => "can read files whatever their permissions are",
        "CAP_FOWNER" => "can change the permissions of files of others",
        "CAP_FSETID" => "can keep the set-user-id and set-group-id bits of files that it changes",
        "CAP_KILL" => "can send signals to processes of any user",
        "CAP_SETGID" => "can become a member of any group",
        "CAP_SETUID" => "can become any user",
        "CAP_SETPCAP" => "can change which capabilities its own programs may get",
        "CAP_LINUX_IMMUTABLE" => "can make files unchangeable, and changeable again",
        "CAP_NET_BIND_SERVICE" => "can listen on ports below 1024",
        "CAP_NET_BROADCAST" => "can send to all machines of a network",
        "CAP_NET_ADMIN" => "can change interfaces, addresses, routes and firewall of its network",
        "CAP_NET_RAW" => "can send and read any packet of its network",
        "CAP_IPC_LOCK" => "can keep memory from being swapped out",
        "CAP_IPC_OWNER" => "can use shared memory of any user",
        "CAP_SYS_CHROOT" => "can choose another root directory for itself",
        "CAP_SYS_NICE" => "can raise its own priority, and change that of others",
        "CAP_LEASE" => "can delay others that open a file",
        "CAP_AUDIT_WRITE" => "can write records into the kernel's audit log",
        "CAP_AUDIT_READ" => "can read the kernel's audit log",
        "CAP_WAKE_ALARM" => "can set alarms that wake the machine",
        "CAP_BLOCK_SUSPEND" => "can keep the machine from suspending",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_described_with_its_number_or_as_not_limited() {
        for (data, expect) in [
            (64 << 20, "64 MiB of memory per process"),
            (u64::MAX, "memory is not limited"),
        ] {
            let bound = BoundLimits {
                data,
                ..BoundLimits::default()
            };
            assert_eq!(limits(&bound, 1, "x")[1], expect);
        }
    }
}
