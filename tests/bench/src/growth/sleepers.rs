//! Starts jobs that only sleep.

use remit_common::outcome::State;
use remit_common::wire::{Reply, Request, Run};

use crate::Failure;
use crate::lanes;
use crate::stage::Stage;

const EACH: usize = 50;

/// Starts `count` jobs that sleep until the daemon ends, with as many users as necessary.
pub fn sleepers(stage: &mut Stage, count: usize) -> Result<(), Failure> {
    let mut left = count;
    while left > 0 {
        let mut client = stage.client()?;
        let some = left.min(EACH);
        for _ in 0..some {
            match client.call(sleep(), drop)? {
                Reply::Job { report, .. } if report.state == State::Running => {}
                other => return Err(format!("a job does not sleep: {other:?}").into()),
            }
        }
        left -= some;
    }
    Ok(())
}

fn sleep() -> Request {
    match lanes::run(&["/bin/sleep", "280"]) {
        Request::Run(run) => Request::Run(Run {
            wait_ms: Some(0),
            ..run
        }),
        other => other,
    }
}
