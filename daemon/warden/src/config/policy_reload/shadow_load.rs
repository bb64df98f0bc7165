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

use super::compiler::{self, Runs};
use super::refused::in_short;
use crate::startup::arguments::Args;
use crate::startup::error::chain;

/// Where it is, in the directory of the configuration.
const DIRECTORY: &str = "shadow/policy.d";
/// Bytes of its answer. The warden holds the model beside that of the policy in force.
pub const MODEL: usize = 16 << 20;
/// Time for it after the other policy was read, if so much is left of the time for both.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same for its host names together: a later answer counts as no address.
const HOSTS: Duration = Duration::from_secs(2);
/// Time that is left for what follows.
const REST: Duration = Duration::from_secs(2);

/// A load that was forked before this process had threads, and begins later: compilers run one after another, as they
/// have one uid.
pub struct ShadowLoad {
    answer: Answer,
    begin: OwnedFd,
    whole: Duration,
}

impl ShadowLoad {
    /// Returns the load, or why there is none. `None`: this machine has no shadow policy. `whole`: the time of both loads.
    pub fn prepare(
        args: &Args,
        last: &LastKnown,
        runs: Runs,
        whole: Duration,
        is_start: bool,
    ) -> Option<Result<Self, String>> {
        let at = args.config.join("shadow");
        // Without a look at what is below: that may be on a disk that does not answer.
        match at.symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => return Some(Err(format!("cannot read '{}': {error}", at.display()))),
            Ok(_) => {}
        }
        let (vendor, admin) = (args.vendor.join("policy.d"), args.config.join(DIRECTORY));
        let own = [&args.config, &args.vendor, &args.state, &args.runtime];
        let own = remit_policy_files::own_files(&own.map(PathBuf::as_path));
        let fork = || {
            let (wait, begin) = unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
            let answer = in_child_with(&[wait.as_fd()], |kept| {
                let names = Names::new(own.clone()).after(last.clone()).patience(HOSTS);
                let names = if is_start { names.at_start() } else { names };
                let loaded = match kept.first().is_some_and(|gate| is_to_begin(*gate)) {
                    true => read(&vendor, &admin, &names, runs),
                    false => Err(String::new()),
                };
                postcard::to_extend(&loaded, Vec::new()).unwrap_or_default()
            });
            let answer = answer.map_err(io::Error::other)?.up_to(MODEL);
            Ok(Self {
                answer,
                begin,
                whole,
            })
        };
        Some(fork().map_err(|error: io::Error| format!("it was not read: {error}")))
    }

    /// Begins the load, and returns its model. Fails with a sentence, also if it is not there in time. `since`: the begin
    /// of the load of both policies.
    pub fn finish(mut self, since: Instant) -> Result<Bytes, String> {
        let left = self.whole.saturating_sub(since.elapsed() + REST);
        let end = Instant::now() + left.min(PATIENCE);
        unistd::write(&self.begin, b"b")
            .map_err(|errno| format!("it was not read: {}", errno.desc()))?;
        loop {
            if let Some(bytes) = self.answer.read().map_err(|error| chain(&error))? {
                return postcard::from_bytes(&bytes)
                    .unwrap_or_else(|_| Err("the process that read it died".to_owned()));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err("it was not read in time".to_owned());
            }
            let mut fds = [PollFd::new(self.answer.fd(), PollFlags::POLLIN)];
            let _ = poll(
                &mut fds,
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX),
            );
        }
    }
}

fn is_to_begin(gate: BorrowedFd<'_>) -> bool {
    unistd::read(gate, &mut [0]) == Ok(1)
}

fn read(vendor: &Path, admin: &Path, names: &Names, runs: Runs) -> Result<Bytes, String> {
    if !admin.is_dir() {
        return Err(format!("there is no directory '{}'", admin.display()));
    }
    let compile = |sources: &[Source], machine: &dyn Machine| {
        let compiled = compiler::compile(sources, machine, None, runs);
        let compiled = compiled.map_err(compiler::NotCompiled::findings)?;
        Ok((compiled.policy, compiled.warnings))
    };
    match remit_policy_files::load(vendor, admin, Owners::Root, names, &compile) {
        Ok(loaded) => Ok(loaded.policy.encode().into()),
        Err(found) => {
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            Err(in_short(&found.join("\n")))
        }
    }
}
