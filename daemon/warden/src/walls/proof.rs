//! Whether what a witness found lets jobs run.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use remit_confine::Finding;

use super::Compiled;
use super::ground::Ground;
use super::ready::Ready;
use crate::error::chain;

/// How long the start-up may wait for a child of its own. The loop waits for none.
const PATIENCE: Duration = Duration::from_secs(30);

/// When the walls are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Before anything runs.
    AtStart,
    /// While the daemon serves.
    Later,
}

/// Has all walls tried, and waits for it.
///
/// # Errors
/// Those that did not hold, or why they cannot be tried.
pub fn now(ground: &Ground, compiled: &Compiled, uid: u32) -> Result<(), String> {
    let failed = |error: remit_confine::Error| chain(&error);
    let (witness, cgroup) = ground.witness(compiled, uid).map_err(failed)?;
    // Emptied and removed whatever the witness says, once that is no more.
    let _left = Ready::of(cgroup);
    let mut witness = witness;
    let findings = loop {
        wait_for(witness.fd())?;
        if let Some(findings) = witness.read().map_err(failed)? {
            break findings;
        }
    };
    match broken(&findings, Asked::AtStart) {
        None => Ok(()),
        Some(why) => Err(why),
    }
}

/// Which walls did not hold, and what was seen of them; `None` when all did.
pub fn broken(findings: &[Finding], asked: Asked) -> Option<String> {
    let failed: Vec<String> = findings
        .iter()
        .filter(|finding| !finding.held)
        .map(|finding| {
            format!(
                "the wall '{}' does not hold ({})",
                finding.wall.name(),
                finding.detail
            )
        })
        .collect();
    match failed.is_empty() {
        // What tried nothing proves nothing.
        true if findings.is_empty() => Some("no wall was tried".to_owned()),
        true => None,
        false => is_judged(asked).then(|| failed.join("; ")),
    }
}

#[cfg(not(feature = "mutate"))]
const fn is_judged(_: Asked) -> bool {
    true
}

/// Under test, a daemon without a wall runs jobs all the same, so that the attack can be seen to
/// get through; with `REMIT_MUTATE_PROVE=start` it believes its witness from the start, with
/// `later` from then on.
#[cfg(feature = "mutate")]
fn is_judged(asked: Asked) -> bool {
    match std::env::var("REMIT_MUTATE_PROVE").as_deref() {
        Ok("start") => true,
        Ok(_) => asked == Asked::Later,
        Err(_) => std::env::var_os("REMIT_MUTATE").is_none(),
    }
}

fn wait_for(fd: BorrowedFd<'_>) -> Result<(), String> {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    let patience = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
    match poll(&mut fds, patience) {
        Ok(1..) => Ok(()),
        Ok(_) => Err(format!(
            "a witness of the sandbox does not answer in {} s",
            PATIENCE.as_secs()
        )),
        Err(errno) => Err(format!("cannot wait for a witness of the sandbox: {errno}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remit_confine::Wall;

    #[test]
    fn each_wall_that_does_not_hold_is_named() {
        let found = |wall, held| Finding {
            wall,
            held,
            detail: "tried: allowed".into(),
        };
        let all = [
            found(Wall::Identity, true),
            found(Wall::NoSuid, false),
            found(Wall::Rlimits, false),
        ];
        for (findings, want) in [
            (&all[..0], Some("no wall was tried")),
            (&all[..1], None),
            (
                &all[..],
                Some(
                    "the wall 'nosuid' does not hold (tried: allowed); \
                     the wall 'rlimits' does not hold (tried: allowed)",
                ),
            ),
        ] {
            assert_eq!(broken(findings, Asked::Later).as_deref(), want);
        }
    }
}
