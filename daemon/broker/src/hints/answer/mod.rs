//! Texts of denials: the reason, an alternative, and what a person can change. Mostly data. Each sentence is true for
//! the named profile, and names only alternatives that exist. [`View`] answers questions about a profile's
//! permissions: paths are compared as text, links are not followed.

mod program;
mod service;

use remit_common::denial::{Denial, Layer, ProfileVisibility};
use remit_common::job_limit::JobLimit;

use super::may_use::MayUse;

pub use program::{bus_call, of};
pub use service::{changes, granted, instead, network, protection, refused_anyway};

pub struct Answer {
    layer: Layer,
    operation: &'static str,
    object: Option<String>,
    rule: String,
    next: Option<String>,
    lift: Option<String>,
}

impl Answer {
    pub fn is(&self, denial: &Denial) -> bool {
        self.rule == denial.rule && self.next == denial.next
    }

    pub fn fits(&self, network: bool) -> bool {
        (self.layer == Layer::Network) == network
    }

    /// Builds the denial about `object`, if the answer names no other. It is one word, because the job chose it.
    pub fn denial(self, object: Option<String>, guess: bool) -> Denial {
        Denial {
            layer: self.layer,
            operation: self.operation.to_owned(),
            object: self.object.or(object.filter(|object| is_word(object))),
            rule: self.rule,
            lift: self.lift,
            next: self.next,
            guess,
        }
    }
}

/// Returns true for a single word, which cannot contain an instruction. A backslash could escape blanks.
pub fn is_word(text: &str) -> bool {
    !text.contains(|c: char| c.is_whitespace() || c == '\\')
}

const BY_COMMAND: &str = "a policy command that does exactly this, with a profile of base host, and a rule that grants it with an approval: remit-policy(5)";

/// Returns the call of a named command as an MCP client makes it. `args`: members of a JSON object, or nothing.
pub fn named(tool: &str, name: &str, args: &str) -> String {
    match args.is_empty() {
        true => format!("{tool} {{\"name\": \"{name}\"}}"),
        false => format!("{tool} {{\"name\": \"{name}\", \"args\": {{{args}}}}}"),
    }
}

fn run(name: &str, args: &str) -> String {
    named("run", name, args)
}

pub fn write(layer: Layer, object: Option<&str>, view: &View<'_>) -> Answer {
    let profile = view.profile();
    let lists = |list: &[String]| list.join(", ");
    let rule = match view.write() {
        [] => format!("profile '{profile}' cannot change the host"),
        some => format!("profile '{profile}' can change only {}", lists(some)),
    };
    let private = match view.private() {
        [] => "/tmp, which is the job's own".to_owned(),
        some => format!("{}, which are the job's own", lists(some)),
    };
    if object.is_some_and(is_disk) {
        return Answer {
            layer,
            operation: "write",
            object: None,
            rule,
            next: Some("size and use can be read: host {\"sections\": [\"disks\"]}".into()),
            lift: Some(BY_COMMAND.into()),
        };
    }
    Answer {
        layer,
        operation: "write",
        object: None,
        rule,
        next: Some(view.or_change(
            format!(
                "write to {private} and removed at its end, or to standard output; to change a file of the machine use plan; \
                 for another change, call access, which lists the commands"
            ),
            true,
        )),
        lift: Some(
            "a rule that grants plan.make and plan.commit, or a policy command whose profile lists the directory in `write`: \
             remit-policy(5)"
                .into(),
        ),
    }
}

fn is_disk(path: &str) -> bool {
    let kinds = [
        "sd", "nvme", "vd", "xvd", "mmcblk", "dm-", "mapper/", "loop", "md", "disk/",
    ];
    path.strip_prefix("/dev/")
        .is_some_and(|name| kinds.iter().any(|kind| name.starts_with(kind)))
}

/// What a copy of the machine hides from its root.
pub fn hidden(view: &View<'_>) -> Answer {
    Answer {
        layer: Layer::Identity,
        operation: "open",
        object: None,
        rule: format!(
            "profile '{}': a copy hides what an operator's account cannot read, also from its root; and, as a whole, a directory \
             of a user that has too many files to be looked through",
            view.profile()
        ),
        next: Some(
            "plan the change of this file by itself: plan with edits and private, if plan.private is granted".into(),
        ),
        lift: None,
    }
}

/// Services that a copy of the machine does not have.
pub fn no_service(view: &View<'_>) -> Answer {
    Answer {
        layer: Layer::Network,
        operation: "connect",
        object: None,
        rule: format!("profile '{}': a copy has no service manager, no bus and no other service", view.profile()),
        next: Some(
            "leave that out of the script, and have it follow the commit: change {\"plan_id\": …, \"then\": [\"service.reload \
             unit=…\"]}"
                .into(),
        ),
        lift: None,
    }
}

pub fn open(object: &str, view: &View<'_>) -> Answer {
    let next = match object {
        "/etc/shadow" | "/etc/gshadow" | "/etc/shadow-" | "/etc/gshadow-" => {
            "names, ids and shells of accounts: run {\"argv\": [\"getent\", \"passwd\"]}".to_owned()
        }
        "/etc/sudoers" => "groups and their members: run {\"argv\": [\"getent\", \"group\"]}".to_owned(),
        "/var/log/btmp" => "the journal has what was tried: ".to_owned() + &run("logs", "\"unit\": \"ssh\""),
        _ if is_disk(object) => "size and use can be read: host {\"sections\": [\"disks\"]}".to_owned(),
        "/proc/kmsg" => "the kernel's messages: ".to_owned() + &run("host.kernel_log", ""),
        _ if is_of_kernel(object) => {
            "of the kernel's tables those that all may read: /proc/meminfo, vmstat, zoneinfo, buddyinfo, interrupts"
                .to_owned()
        }
        _ if object.starts_with("/proc/") => {
            "of other users' processes status, stat, cmdline and limits can be read; its program and open files: run \
             openfiles.process, if that is granted"
                .to_owned()
        }
        _ => "world-readable files and the logs of groups adm and systemd-journal can be read; of private directories \
              the names and sizes: run files.list or disks.explain; of one private file the content: run files.private, \
              which a person approves; each if it is granted"
            .to_owned(),
    };
    Answer {
        layer: Layer::Identity,
        operation: "open",
        object: None,
        rule: format!("profile '{}': jobs run under an unprivileged uid, and this is not world-readable", view.profile()),
        next: Some(next),
        lift: Some("grant these commands, as examples/inspect.toml does; or add a policy command whose profile (base strict) lists the path in `read` and has a `user` that may read it: remit-policy(5)".into()),
    }
}

fn is_of_kernel(path: &str) -> bool {
    let name = path.strip_prefix("/proc/").unwrap_or_default();
    let is_process = |c: char| c.is_ascii_digit() || c == '*';
    let of_self = ["self", "thread-self"]
        .iter()
        .any(|one| name.starts_with(one));
    !name.is_empty() && !name.starts_with(is_process) && !of_self
}

pub fn unseen(view: &View<'_>) -> Answer {
    Answer {
        layer: Layer::Mounts,
        operation: "open",
        object: None,
        rule: format!("profile '{}' sees only {} and the system's programs", view.profile(), match view.read() {
            [] => "no file of the machine".to_owned(),
            some => some.join(", "),
        }),
        next: Some("whether it exists cannot be seen from here: run it in profile read, where access grants that".into()),
        lift: Some("a policy command whose profile lists the path in `read`, granted by a rule: remit-policy(5)".into()),
    }
}

pub fn privileged(view: &View<'_>) -> Answer {
    Answer {
        layer: Layer::Identity,
        operation: "privileged call",
        object: None,
        rule: format!(
            "profile '{}': jobs have a uid of their own, and administrative system calls are refused",
            view.profile()
        ),
        next: Some(view.or_change(
            "call access with a word of what you want to know or to change: it lists the commands that can".into(),
            true,
        )),
        lift: Some(BY_COMMAND.into()),
    }
}

pub fn bound(limit: JobLimit, view: &View<'_>) -> Answer {
    let layer = match limit {
        JobLimit::Tmp | JobLimit::Space => Layer::Mounts,
        JobLimit::Memory
        | JobLimit::Tasks
        | JobLimit::CpuTime
        | JobLimit::Files
        | JobLimit::File => Layer::Rlimit,
    };
    Answer {
        layer,
        operation: limit.operation(),
        object: None,
        rule: format!("{}; the result's limits have the figure", limit.setting()),
        next: Some(limit.next().into()),
        lift: Some(limit.lift(view.profile())),
    }
}

/// Directories that base strict shows only if the profile lists a path in them.
const HIDDEN: [&str; 8] = [
    "/home", "/root", "/var", "/srv", "/opt", "/boot", "/mnt", "/media",
];

#[derive(Clone, Copy, Debug)]
pub struct View<'a>(&'a ProfileVisibility, &'a MayUse);

impl<'a> View<'a> {
    /// Returns `None` for base host: it has no sandbox, so refusals come from the host itself. For base extract, too: its
    /// program says all.
    pub fn new(visibility: &'a ProfileVisibility, may_use: &'a MayUse) -> Option<Self> {
        let is_explained = !["host", "extract"].contains(&visibility.base.as_str());
        is_explained.then_some(Self(visibility, may_use))
    }

    pub fn may_use(&self) -> &'a MayUse {
        self.1
    }

    /// Adds how the caller can ask for any change. `in_copy`: it has an effect in a copy of the machine.
    pub fn or_change(&self, next: String, in_copy: bool) -> String {
        next + &self.1.or_change(in_copy)
    }

    /// Returns true for a job that is root of a copy of the machine.
    pub fn is_copy(&self) -> bool {
        self.0.base == "plan"
    }

    pub fn profile(&self) -> &'a str {
        &self.0.profile
    }

    pub fn base(&self) -> &'a str {
        &self.0.base
    }

    pub fn read(&self) -> &'a [String] {
        &self.0.read
    }

    pub fn write(&self) -> &'a [String] {
        &self.0.write
    }

    pub fn private(&self) -> &'a [String] {
        &self.0.private
    }

    pub fn network(&self) -> &'a [String] {
        &self.0.network
    }

    pub fn reaches(&self, socket: &str) -> bool {
        // /var/run is a link to /run on every system.
        let same = [socket, &format!("/var{socket}")];
        let mut listed = self.0.sockets.iter();
        listed.any(|listed| same.contains(&listed.as_str()))
    }

    pub fn writes(&self, path: &str) -> bool {
        covers(self.write(), path) || covers(self.private(), path)
    }

    pub fn is_private(&self, path: &str) -> bool {
        covers(self.private(), path)
    }

    /// Returns true only if the sandbox certainly shows nothing at this path, whatever the host has there.
    pub fn hides(&self, path: &str) -> bool {
        let seen =
            |list: &[String]| covers(list, path) || list.iter().any(|listed| lies_in(listed, path));
        let ProfileVisibility {
            read,
            write,
            private,
            sockets,
            ..
        } = self.0;
        let named = HIDDEN.iter().any(|hidden| lies_in(path, hidden));
        self.base() == "strict"
            && is_plain(path)
            && named
            && ![read, write, private, sockets]
                .into_iter()
                .any(|list| seen(list))
    }
}

fn covers(list: &[String], path: &str) -> bool {
    is_plain(path) && list.iter().any(|listed| lies_in(path, listed))
}

pub fn lies_in(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || dir.ends_with('/'))
}

/// Absolute and without `..`, so that a comparison of texts is valid for the path.
pub fn is_plain(path: &str) -> bool {
    path.starts_with('/') && !path.split('/').any(|part| part == "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_texts() {
        let may_use = MayUse::default();
        let list = |paths: &[&str]| paths.iter().map(ToString::to_string).collect::<Vec<_>>();
        let visibility = ProfileVisibility {
            profile: "git".into(),
            base: "strict".into(),
            read: list(&["/srv/git"]),
            write: list(&["/var/lib/x"]),
            private: list(&["/tmp"]),
            sockets: list(&["/var/run/docker.sock", "/var/lib/lxd/unix.socket"]),
            network: list(&["none"]),
        };
        let view = View::new(&visibility, &may_use).unwrap();
        for (path, hides, writes) in [
            ("/srv/git/a", false, false),
            ("/srv", false, false),
            ("/srv/gitx", true, false),
            ("/home/alice/x", true, false),
            ("/homes", false, false),
            ("/etc/x", false, false),
            ("/var/lib/x/y", false, true),
            ("/var/lib/y", true, false),
            ("/tmp/../home/x", false, false),
            ("/tmp/x", false, true),
            ("home/x", false, false),
        ] {
            assert_eq!(
                (view.hides(path), view.writes(path)),
                (hides, writes),
                "{path}"
            );
        }
        assert!(view.reaches("/run/docker.sock") && !view.reaches("/run/x"));
        assert!(view.reaches("/var/lib/lxd/unix.socket"));
        let host = ProfileVisibility {
            base: "host".into(),
            ..visibility
        };
        assert!(View::new(&host, &may_use).is_none());
    }
}
