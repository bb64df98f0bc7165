//! Requests on admin.sock that several verbs share, and `remitd --check` (remitd(8)). Only the daemon judges the files.

use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::unistd::{AccessFlags, access};
use remit_common::admin::{AdminReply, AdminRequest, AnyJob, Status};
use remit_common::id_prefix::IdPrefix;
use remit_common::names::{JobId, Runtime};
use remit_common::refusal::{Code, Refusal};
use remit_page::{Unverified, Verified};
use remit_plan::{OLD_BYTES, PlanPath, Stat};
use remit_wire::client::{self, ClientError};

use crate::client::activation;
use crate::error::Failure;
use crate::external_program::Program;
use crate::render::output::{self, Context, Form};

/// A daemon that does not answer for so long is not up. Its event loop waits for nothing.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Returns true if the caller may connect to admin.sock. access(2) checks the real ids; they equal the effective ones.
pub fn may_ask(context: &Context) -> bool {
    let socket = context.runtime.admin_socket();
    access(&socket, AccessFlags::W_OK).is_ok()
}

/// Sends a request and extracts its reply with `take`; another kind is a protocol error. Fails as [`client::admin`].
pub fn ask<T>(
    context: &Context,
    request: AdminRequest,
    take: impl FnOnce(AdminReply) -> Option<T>,
) -> Result<T, Failure> {
    let reply = client::admin(&context.runtime.admin_socket(), request)?;
    take(reply).ok_or_else(Failure::off_protocol)
}

/// Asks a daemon that runs. `None`: it is stopped. Fails with the reason if there is no answer in this time.
/// A reader of figures or records must not start what was stopped.
pub fn answer_within(
    patience: Duration,
    runtime: &Runtime,
    request: AdminRequest,
) -> Result<Option<Result<AdminReply, ClientError>>, String> {
    let runtime = runtime.clone();
    let (sender, answer) = mpsc::channel();
    let asking = move || {
        let runs = !activation::would_start(&runtime);
        sender.send(runs.then(|| client::admin(&runtime.admin_socket(), request)))
    };
    let started = thread::Builder::new().spawn(asking);
    started.map_err(|error| format!("no thread can be started to ask remitd: {error}"))?;
    answer
        .recv_timeout(patience)
        .map_err(|_| format!("remitd does not answer within {} s", patience.as_secs()))
}

/// Asks for the status in time. Returns why there is no answer. Fails if the answer is a refusal or another one.
pub fn status(context: &Context) -> Result<Result<Box<Status>, String>, Failure> {
    match answer_within(PATIENCE, &context.runtime, AdminRequest::Status) {
        Ok(None) => Ok(Err("remitd is stopped".into())),
        Ok(Some(Ok(AdminReply::Status(status)))) => Ok(Ok(status)),
        Ok(Some(Ok(_))) => Err(Failure::off_protocol()),
        Ok(Some(Err(why @ (ClientError::NotRunning { .. } | ClientError::Broken(_))))) => {
            Ok(Err(why.to_string()))
        }
        Ok(Some(Err(why))) => Err(why.into()),
        Err(why) => Ok(Err(why)),
    }
}

pub fn done(context: &Context, request: AdminRequest) -> Result<String, Failure> {
    ask(context, request, |reply| match reply {
        AdminReply::Done(sentence) => Some(sentence),
        _ => None,
    })
}

/// Approves a request. Returns the daemon's sentence, and how many people still have to approve it.
pub fn approve(
    context: &Context,
    job: JobId,
    digest: [u8; 32],
    signature: Option<String>,
) -> Result<(String, u8), Failure> {
    let request = AdminRequest::Approve {
        job,
        digest,
        signature,
    };
    ask(context, request, |reply| match reply {
        AdminReply::Done(text) => Some((text, 0)),
        AdminReply::Counted { text, missing } => Some((text, missing)),
        _ => None,
    })
}

pub fn tell_done(context: &Context, request: AdminRequest) -> Result<(), Failure> {
    let sentence = done(context, request)?;
    match context.form {
        Form::Json => output::json(&serde_json::json!({ "done": sentence })),
        Form::Text => output::text(&format!("{sentence}\n")),
    }
}

/// Requests the job whose id starts with `id`. If `wait`, the answer comes at its end. An older daemon disconnects.
pub fn any_job(context: &Context, id: impl Into<String>, wait: bool) -> Result<AnyJob, Failure> {
    let id = id.into();
    ask(
        context,
        AdminRequest::Job { id, wait },
        |reply| match reply {
            AdminReply::Job(job) => Some(*job),
            _ => None,
        },
    )
}

/// Returns a request with its digest. Fails if the answer contradicts itself.
pub fn verified(context: &Context, id: IdPrefix) -> Result<Verified, Failure> {
    Ok(answer(context, id)?.0.with_old(old_bytes))
}

/// Returns a request, checked, and the daemon's answer that has it.
pub fn answer(context: &Context, id: IdPrefix) -> Result<(Verified, Vec<u8>), Failure> {
    let answer = client::show(&context.runtime.admin_socket(), id.clone().into())?;
    let verified =
        Verified::from_answer(&answer).and_then(|verified| match id.begins(verified.job()) {
            true => Ok(verified),
            false => Err(Unverified::OtherJob(verified.job())),
        });
    let verified = verified.map(|verified| (verified, answer));
    verified.map_err(|why| {
        let refusal = Refusal::new(Code::InvalidArgs, why.to_string());
        Failure::Machine(refusal.lift("compare the releases: remit --version, remit status"))
    })
}

/// Returns the bytes of a file that this user may read, if it is what a plan says. Opens nothing else: no device, no FIFO.
fn old_bytes(path: &PlanPath, base: &Stat) -> Option<Vec<u8>> {
    let is_base = |found: &Metadata| {
        let ctime = i128::from(found.ctime()) * 1_000_000_000 + i128::from(found.ctime_nsec());
        let identity = (found.dev(), found.ino(), found.len(), ctime);
        found.is_file() && identity == (base.dev, base.ino, base.size, base.ctime_ns)
    };
    let named = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_PATH.bits() | OFlag::O_NOFOLLOW.bits())
        .open(OsStr::from_bytes(path.as_bytes()))
        .ok()?;
    if base.size > OLD_BYTES || !is_base(&named.metadata().ok()?) {
        return None;
    }
    let mut file = File::open(format!("/proc/self/fd/{}", named.as_raw_fd())).ok()?;
    let mut bytes = Vec::new();
    file.by_ref()
        .take(OLD_BYTES + 1)
        .read_to_end(&mut bytes)
        .ok()?;
    let is_whole = is_base(&file.metadata().ok()?) && bytes.len() as u64 == base.size;
    is_whole.then_some(bytes)
}

pub const REMITD: &str = "/usr/libexec/remit/remitd";

#[derive(Debug, PartialEq, Eq)]
pub enum ConfigAnswer {
    Taken {
        /// Its digest.
        policy: String,
        /// The digest of its texts alone.
        texts: String,
        warnings: Vec<ConfigFinding>,
    },
    /// The daemon would not start, and a reload would change nothing. `errors` is never empty.
    Refused {
        errors: Vec<ConfigFinding>,
        warnings: Vec<ConfigFinding>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFinding {
    pub what: String,
    pub help: Option<String>,
}

/// Runs `remitd --check`. Needs root, because only root can read all files. Fails if `remitd` is missing or cannot be run.
pub fn check_configuration() -> Result<ConfigAnswer, String> {
    let remitd = Program::find(&[REMITD]).ok_or_else(|| format!("there is no '{REMITD}'"))?;
    let output = remitd
        .run(&["--check"])
        .map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(taken(&text(&output.stdout))),
        false => Ok(refused(&text(&output.stderr), &output.status.to_string())),
    }
}

/// Parses stdout of a successful check: warnings, then a last line "… are valid; policy DIGEST, texts DIGEST".
fn taken(said: &str) -> ConfigAnswer {
    let (warnings, good) = said.trim_end().rsplit_once('\n').unwrap_or(("", said));
    let good = good.trim_end();
    let (_, digests) = good.rsplit_once("; policy ").unwrap_or(("", good));
    let (policy, texts) = digests.split_once(", texts ").unwrap_or((digests, ""));
    ConfigAnswer::Taken {
        policy: policy.to_owned(),
        texts: texts.to_owned(),
        warnings: findings(warnings),
    }
}

fn refused(said: &str, status: &str) -> ConfigAnswer {
    // Errors outside the files have no severity word, so every line without ": warning: " is an error.
    let (warnings, mut errors): (Vec<_>, Vec<_>) = findings(said)
        .into_iter()
        .partition(|finding| finding.what.contains(": warning: "));
    if errors.is_empty() {
        errors.push(ConfigFinding {
            what: format!("'{REMITD} --check' failed ({status})"),
            help: None,
        });
    }
    ConfigAnswer::Refused { errors, warnings }
}

/// Returns one finding for each line that is not indented. Indented lines show the position, and after `=` the help.
fn findings(said: &str) -> Vec<ConfigFinding> {
    let mut found: Vec<ConfigFinding> = Vec::new();
    for line in said.lines() {
        let line = line.strip_prefix("remitd: ").unwrap_or(line);
        match (line.starts_with(' '), found.last_mut()) {
            (true, Some(last)) => {
                if let Some(help) = line.trim_start().strip_prefix("= ") {
                    last.help = Some(help.to_owned());
                }
            }
            (_, _) => found.push(ConfigFinding {
                what: line.trim().to_owned(),
                help: None,
            }),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(what: &str, help: Option<&str>) -> ConfigFinding {
        ConfigFinding {
            what: what.into(),
            help: help.map(Into::into),
        }
    }

    #[test]
    fn a_warning_of_several_lines_is_one() {
        let said = "/p/10.toml:1:18: warning: there is no user 'x'\n\
        \x20 1 | grant = [{ to = [\"x\"] }]\n    |                  ^^^\n\
        /p/90.conf: warning: it is not read\n  = rename it\n\
        configuration and policy are valid; policy abc, texts de\n";
        let expect = ConfigAnswer::Taken {
            policy: "abc".into(),
            texts: "de".into(),
            warnings: vec![
                finding("/p/10.toml:1:18: warning: there is no user 'x'", None),
                finding("/p/90.conf: warning: it is not read", Some("rename it")),
            ],
        };
        assert_eq!(taken(said), expect);
        let none = ConfigAnswer::Taken {
            policy: "abc".into(),
            texts: "de".into(),
            warnings: Vec::new(),
        };
        assert_eq!(taken("all is valid; policy abc, texts de\n"), none);
    }

    #[test]
    fn errors_are_split_from_warnings_without_daemon_name() {
        let said = "remitd: /p/10.toml:1:18: warning: there is no user 'x'\n\
        remitd:   1 | grant = 1\n\
        remitd: /p/20.toml:3:7: error: there is no user 'y', so this denial would hit nobody\n\
        remitd:   3 | to = [\"y\"]\nremitd:     |       ^^^\nremitd:     = create it\n";
        let expect = ConfigAnswer::Refused {
            errors: vec![finding(
                "/p/20.toml:3:7: error: there is no user 'y', so this denial would hit nobody",
                Some("create it"),
            )],
            warnings: vec![finding(
                "/p/10.toml:1:18: warning: there is no user 'x'",
                None,
            )],
        };
        assert_eq!(refused(said, "x"), expect);
    }

    #[test]
    fn a_refusal_without_a_word_is_still_one() {
        let ConfigAnswer::Refused { errors, .. } = refused("", "signal: 9") else {
            panic!("it is refused");
        };
        assert!(errors[0].what.contains("signal: 9"), "{errors:?}");
    }
}
