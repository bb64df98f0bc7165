//! Loads the shadow policy in a process of its own: whatever is wrong with it, the policy in force loads.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd;
use remit_common::wire::Bytes;
use remit_policy::{Machine, Source};
use remit_policy_files::{LastKnown, Names, Owners};
use remit_sys::{Answer, in_child_with};
use serde::{Deserialize, Serialize};

use super::DIRECTORY;
use crate::config::policy_reload::compiler::{self, Runs};
use crate::config::policy_reload::in_short;
use crate::startup::arguments::Args;
use crate::startup::error::chain;

/// Bytes of its answer. The warden holds the model beside that of the policy in force.
pub const MODEL: usize = 16 << 20;
/// Time for it after the other policy was read.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Serialize, Deserialize)]
pub enum Loaded {
    Model(Bytes),
    /// Why it is not in use.
    Unusable(String),
}

/// A load that was forked before this process had threads, and begins later: compilers run one after another, as they
/// have one uid.
pub struct ShadowLoad {
    answer: Answer,
    begin: OwnedFd,
}

impl ShadowLoad {
    /// Returns the load, or why there is none. `None`: this machine has no shadow policy.
    pub fn prepare(args: &Args, last: &LastKnown, runs: Runs) -> Option<Result<Self, String>> {
        let admin = args.config.join(DIRECTORY);
        match args.config.join("shadow").symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => return Some(Err(format!("cannot read '{}': {error}", admin.display()))),
            Ok(_) if !admin.is_dir() => {
                return Some(Err(format!("there is no directory '{}'", admin.display())));
            }
            Ok(_) => {}
        }
        let vendor = args.vendor.join("policy.d");
        let own = [&args.config, &args.vendor, &args.state, &args.runtime];
        let own = remit_policy_files::own_files(&own.map(PathBuf::as_path));
        let fork = || {
            let (wait, begin) = unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
            let names = || Names::new(own.clone()).after(last.clone());
            let answer = in_child_with(&[wait.as_fd()], |kept| {
                let loaded = match kept.first().map(|gate| is_to_begin(*gate)) {
                    Some(true) => read(&vendor, &admin, &names(), runs),
                    Some(false) | None => Loaded::Unusable(String::new()),
                };
                postcard::to_extend(&loaded, Vec::new()).unwrap_or_default()
            });
            let answer = answer.map_err(io::Error::other)?.up_to(MODEL);
            Ok(Self { answer, begin })
        };
        Some(fork().map_err(|error: io::Error| format!("it was not read: {error}")))
    }

    /// Begins the load, and returns its result after at most [`PATIENCE`].
    pub fn finish(mut self) -> Loaded {
        let end = Instant::now() + PATIENCE;
        if let Err(errno) = unistd::write(&self.begin, b"b") {
            return Loaded::Unusable(format!("it was not read: {}", errno.desc()));
        }
        loop {
            match self.answer.read() {
                Ok(Some(bytes)) => {
                    return postcard::from_bytes(&bytes).unwrap_or_else(|_| {
                        Loaded::Unusable("the process that read it died".to_owned())
                    });
                }
                Ok(None) => {}
                Err(error) => return Loaded::Unusable(chain(&error)),
            }
            let left = end.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(self.answer.fd(), PollFlags::POLLIN)];
            let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            if let Ok(0) = poll(&mut fds, left) {
                let seconds = PATIENCE.as_secs();
                return Loaded::Unusable(format!("it was not read in {seconds} s"));
            }
        }
    }
}

fn is_to_begin(gate: BorrowedFd<'_>) -> bool {
    unistd::read(gate, &mut [0]) == Ok(1)
}

fn read(vendor: &Path, admin: &Path, names: &Names, runs: Runs) -> Loaded {
    let compile = |sources: &[Source], machine: &dyn Machine| {
        let compiled = compiler::compile(sources, machine, None, runs);
        let compiled = compiled.map_err(compiler::NotCompiled::findings)?;
        Ok((compiled.policy, compiled.warnings))
    };
    match remit_policy_files::load(vendor, admin, Owners::Root, names, &compile) {
        Ok(loaded) => Loaded::Model(loaded.policy.encode().into()),
        Err(found) => {
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            Loaded::Unusable(in_short(&found.join("\n")))
        }
    }
}
