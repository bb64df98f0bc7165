//! The answers: by what it is so, what to do instead, and what a person can do. Data, and little else.
//!
//! Each sentence is true of the profile that it names, and names no way that there is not.

mod program;
mod service;

use remit_common::denial::{Denial, Layer};

use super::view::View;
pub use program::of;
pub use service::network;

/// Parts of a denial that hang on what it is about.
pub struct Answer {
    layer: Layer,
    operation: &'static str,
    object: Option<String>,
    rule: String,
    next: Option<String>,
    lift: Option<String>,
}

impl Answer {
    /// Whether a denial gives this answer.
    pub fn is(&self, denial: &Denial) -> bool {
        self.rule == denial.rule && self.next == denial.next
    }

    /// Whether it is about a network where `network` says so, and about something else where not.
    pub fn fits(&self, network: bool) -> bool {
        (self.layer == Layer::Network) == network
    }

    /// The denial, about `object` where the answer names no other. That is the job's choice of a text, and
    /// stands among our own words: a sentence is none.
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

/// Whether a text that a job chose is one word, so that no order is read in it. Blanks may be escaped.
pub fn is_word(text: &str) -> bool {
    !text.contains(|c: char| c.is_whitespace() || c == '\\')
}

/// For what no packaged command does.
const BY_COMMAND: &str = "a command of the policy that does exactly this, with a profile of base host, and a rule that grants it with an approval: remit-policy(5)";

/// A change of a file, without a program that has an answer of its own.
pub fn write(layer: Layer, object: Option<&str>, view: &View<'_>) -> Answer {
    let profile = view.profile();
    let lists = |list: &[String]| list.join(", ");
    let rule = match view.write() {
        [] => format!("profile '{profile}' changes nothing on the host"),
        some => format!(
            "profile '{profile}' changes {} and nothing else",
            lists(some)
        ),
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
        next: Some(format!(
            "write to {private} and gone at its end, or to standard output; for a change, call access: it lists the commands there are"
        )),
        lift: Some("a command of the policy whose profile lists the directory in `write`, granted by a rule: remit-policy(5)".into()),
    }
}

fn is_disk(path: &str) -> bool {
    let kinds = [
        "sd", "nvme", "vd", "xvd", "mmcblk", "dm-", "mapper/", "loop", "md", "disk/",
    ];
    path.strip_prefix("/dev/")
        .is_some_and(|name| kinds.iter().any(|kind| name.starts_with(kind)))
}

/// What ordinary permissions keep from the job's uid.
pub fn open(object: &str, view: &View<'_>) -> Answer {
    let next = match object {
        "/etc/shadow" | "/etc/gshadow" | "/etc/shadow-" | "/etc/gshadow-" => {
            "names, ids and shells of accounts: run {\"argv\": [\"getent\", \"passwd\"]}".to_owned()
        }
        "/etc/sudoers" => "groups and their members: run {\"argv\": [\"getent\", \"group\"]}".to_owned(),
        "/var/log/btmp" => "the journal has what was tried: ".to_owned() + &service::run("logs", "\"unit\": \"ssh\""),
        _ if is_disk(object) => "size and use can be read: host {\"sections\": [\"disks\"]}".to_owned(),
        _ if object.starts_with("/proc/") => {
            "of other users' processes status, stat, cmdline and limits can be read".to_owned()
        }
        _ => "logs for groups adm and systemd-journal and what everybody may read can be read; for this, call access: it lists the commands there are".to_owned(),
    };
    Answer {
        layer: Layer::Identity,
        operation: "open",
        object: None,
        rule: format!("profile '{}': the job's uid owns nothing, and this is not for everybody", view.profile()),
        next: Some(next),
        lift: Some("a command of the policy that shows it, with a profile of base strict that lists the path in `read` and has a `user` who may: remit-policy(5)".into()),
    }
}

/// What is not there in a sandbox that sees little.
pub fn unseen(view: &View<'_>) -> Answer {
    Answer {
        layer: Layer::Mounts,
        operation: "open",
        object: None,
        rule: format!("profile '{}' sees {} and the system's programs, and nothing else", view.profile(), match view.read() {
            [] => "no file of the machine".to_owned(),
            some => some.join(", "),
        }),
        next: Some("whether it is there cannot be told from here: run it in profile read, where access grants that".into()),
        lift: Some("a command of the policy whose profile lists the path in `read`, granted by a rule: remit-policy(5)".into()),
    }
}

/// A call of administration, of a program that nothing is known of.
pub fn privileged(view: &View<'_>) -> Answer {
    Answer {
        layer: Layer::Identity,
        operation: "privileged call",
        object: None,
        rule: format!(
            "profile '{}': jobs have a uid of their own, and calls of administration are refused",
            view.profile()
        ),
        next: Some("for a change, call access: it lists the commands there are".into()),
        lift: Some(BY_COMMAND.into()),
    }
}

/// A bound on each job.
pub enum Bound {
    /// Bytes of a private directory.
    Tmp,
    /// Descriptors of a process.
    Files,
    /// Memory.
    Memory,
    /// Processes and threads.
    Tasks,
}

/// A bound was reached.
pub fn bound(bound: &Bound, view: &View<'_>) -> Answer {
    let (layer, operation, of_profile, of_all, next) = match bound {
        Bound::Tmp => (
            Layer::Mounts,
            "write",
            "tmp",
            "tmp",
            "write less at a time, or to standard output",
        ),
        Bound::Files => (
            Layer::Rlimit,
            "open",
            "open_files",
            "files",
            "open fewer files at a time",
        ),
        Bound::Memory => (
            Layer::Rlimit,
            "memory",
            "memory",
            "memory",
            "work on less at a time: a stream, a part, the output of a filter",
        ),
        Bound::Tasks => (
            Layer::Rlimit,
            "fork",
            "tasks",
            "tasks",
            "start fewer processes and threads at a time",
        ),
    };
    let profile = view.profile();
    Answer {
        layer,
        operation,
        object: None,
        rule: format!("limits.{of_all}; the result's limits have the figure"),
        next: Some(next.into()),
        // No file defines those that come with remit.
        lift: Some(match ["read", "strict"].contains(&profile) {
            true => format!("a larger {of_all} in [limits] of remit.toml"),
            false => format!(
                "a larger {of_profile} in the limits of profile '{profile}', or {of_all} in [limits] of remit.toml"
            ),
        }),
    }
}
