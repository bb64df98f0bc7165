//! A sandbox and its limits in plain words. Pure.

use remit_confine::Limits;
use remit_policy::{Base, Listed, Network, Profile, User};

use super::escape::words;
use crate::plan::Runtime;

/// Of one sentence.
const SENTENCE: usize = 700;
/// Of all sentences about a profile.
const PROFILE: usize = 5 << 10;

/// What a profile lets its jobs do, a sentence each; the first names it.
pub fn profile(profile: &Profile) -> Vec<String> {
    let Profile {
        name,
        // The policy's own words: told are what it is.
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
        // Whom it lets do what is said of each path.
        leads_to_root: _,
        network,
        // Shown with all variables of the program.
        env: _,
        // Shown with those of `remit.toml`.
        limits: _,
    } = profile;
    let mut told = vec![format!("profile '{name}': {}", base_words(*base, user))];
    told.extend(user_words(*base, user));
    if !groups.is_empty() {
        let all = groups.iter().map(|gid| format!("#{gid}"));
        told.push(list("member of the groups", all.collect()));
    }
    told.extend(
        profile
            .capability_names()
            .iter()
            .map(|name| match capability(name) {
                Some(does) => format!("{name}: {does}"),
                None => format!("{name}: see capabilities(7)"),
            }),
    );
    let mut paths = |what: &str, listed: &[Listed]| {
        if !listed.is_empty() {
            told.push(list(what, listed.iter().map(path).collect()));
        }
    };
    paths("can change, on the machine itself:", write);
    paths("can read:", read);
    paths("can execute:", exec);
    paths("can use the devices:", devices);
    paths("can talk to what listens at:", sockets);
    if !scratch.is_empty() {
        let what = "has empty directories of its own, gone at its end:";
        told.push(list(what, scratch.clone()));
    }
    if *write_and_exec {
        told.push("can execute files that it has changed".into());
    }
    told.push(network_words(*base, network));
    bounded(told)
}

/// What it may use.
pub fn limits(limits: &Limits, runtime: &Runtime) -> Vec<String> {
    let Limits {
        nofile,
        nproc,
        others: _,
        data,
        cpu_s,
        // Above that of the private directories, where a job can write nowhere else.
        fsize: _,
        tmp_bytes,
        tmp_inodes,
        memory,
        tasks,
        cpu_percent,
    } = limits;
    let mut told = vec![
        format!("it is ended after {runtime}"),
        format!("memory: {} of each process", size(*data)),
        format!("CPU time: {cpu_s} s of each process"),
        format!("processes and threads: {}", tasks.unwrap_or(*nproc)),
        format!("open files: {nofile} of each process"),
        format!(
            "private directories: {} and {tmp_inodes} files each",
            size(*tmp_bytes)
        ),
    ];
    if let Some(memory) = memory {
        told.push(format!(
            "memory in all: {}, where the machine counts it",
            size(*memory)
        ));
    }
    if let Some(percent) = cpu_percent {
        told.push(format!(
            "CPU: {percent} % of one, where the machine counts it"
        ));
    }
    told.iter().map(|told| words(told, SENTENCE)).collect()
}

/// Who its jobs are, as a name.
pub fn user_name(user: &User) -> String {
    match user {
        User::Own => "an own user".into(),
        User::Fixed { uid: 0, .. } => "root".into(),
        User::Fixed { name, .. } => name.clone(),
    }
}

/// What no sandbox means for a user.
pub fn unconfined(user: &User) -> String {
    match user {
        User::Fixed { uid: 0, .. } => "root, who can do anything on this machine".into(),
        user => {
            let name = user_name(user);
            format!("{name}, who can do all that this user may on this machine")
        }
    }
}

/// Names, as many as are of use in a sentence.
pub fn some(names: &[String]) -> String {
    const MOST: usize = 6;
    let shown = names.iter().take(MOST).map(|name| words(name, 120));
    let shown = shown.collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(MOST) {
        None | Some(0) => shown,
        Some(more) => format!("{shown} and {more} more"),
    }
}

/// Bytes for people.
pub fn size(bytes: u64) -> String {
    match (bytes >> 20, bytes % (1 << 20)) {
        (mebi @ 1.., 0) => format!("{mebi} MiB"),
        (_, _) if bytes == 1 => "1 byte".into(),
        _ => format!("{bytes} bytes"),
    }
}

/// What a network setting reaches; `None`: nothing but itself.
pub fn reaches(network: &Network) -> Option<String> {
    match network {
        Network::None | Network::Loopback => None,
        Network::Host => {
            Some("every network that the machine reaches, and all that listens on it".into())
        }
        Network::Connect(to) => {
            let all: Vec<_> = to
                .iter()
                .map(|to| format!("{}:{}", to.host, to.port))
                .collect();
            Some(some(&all))
        }
    }
}

fn base_words(base: Base, user: &User) -> String {
    match base {
        Base::Host => format!("no sandbox: {}", unconfined(user)),
        Base::Read => "sees files, logs and processes as an operator's account does; changes \
                       nothing but what is said here"
            .into(),
        Base::Strict => "sees /usr and what is said here; nothing else of the machine's files and \
                         no processes of others"
            .into(),
    }
}

fn user_words(base: Base, user: &User) -> Option<String> {
    match (base, user) {
        (Base::Host, _) => None,
        (_, User::Own) => Some("runs as a user of its own without any rights".into()),
        (_, User::Fixed { uid, gid, .. }) => Some(format!(
            "runs as {} (uid {uid}, gid {gid}) within this sandbox",
            user_name(user)
        )),
    }
}

fn network_words(base: Base, network: &Network) -> String {
    match (base, network) {
        (Base::Host, _) => "reaches every network that the machine reaches".into(),
        (_, Network::None) => "reaches no network".into(),
        (_, Network::Loopback) => "reaches no network but itself".into(),
        (_, network) => format!("reaches {}", reaches(network).unwrap_or_default()),
    }
}

fn path(listed: &Listed) -> String {
    match listed.optional {
        true => format!("{} (if it is there)", listed.path),
        false => listed.path.clone(),
    }
}

/// A sentence with a list that ends in a count where it is long.
fn list(what: &str, all: Vec<String>) -> String {
    let mut told = what.to_owned();
    for (at, one) in all.iter().enumerate() {
        let comma = if at == 0 { " " } else { ", " };
        let one = words(one, SENTENCE / 2);
        if told.len() + one.len() + 30 > SENTENCE {
            let more = all.len() - at;
            told.push_str(&format!("{comma}and {more} more, see the policy"));
            break;
        }
        told.push_str(comma);
        told.push_str(&one);
    }
    told
}

fn bounded(told: Vec<String>) -> Vec<String> {
    let all = told.len();
    let mut room = PROFILE;
    let mut kept = Vec::new();
    for sentence in &told {
        let sentence = words(sentence, SENTENCE);
        let Some(left) = room.checked_sub(sentence.len() + 4) else {
            let more = all - kept.len();
            kept.push(format!("{more} more sentences, see the policy"));
            break;
        };
        room = left;
        kept.push(sentence);
    }
    kept
}

/// What a capability lets a job do (capabilities(7)), for those that a profile can have.
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
