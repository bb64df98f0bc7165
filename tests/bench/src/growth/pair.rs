//! Calls two daemons in turns.

use std::time::Instant;

use remit_common::client::Client;
use remit_common::outcome::State;
use remit_common::wire::{Reply, Request};
use serde::Serialize;

use crate::Failure;
use crate::members::Spent;
use crate::rounds::CALLS_PER_USER;
use crate::series::{Series, Summary};
use crate::stage::Stage;

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cost {
    /// Microseconds from request to answer.
    #[serde(flatten)]
    pub time: Summary,
    /// Processor time of the warden per call, in microseconds.
    pub warden: f64,
    pub broker: f64,
    /// PID 1 of the jobs' namespace, and the worker.
    pub helpers: f64,
    /// The job and its sandbox set-up.
    pub job: f64,
}

pub const PARTS: [&str; 4] = ["warden", "broker", "helpers", "job"];

impl Cost {
    pub fn cpu(&self) -> f64 {
        self.parts().iter().sum()
    }

    pub fn parts(&self) -> [f64; 4] {
        [self.warden, self.broker, self.helpers, self.job]
    }
}

pub struct Side<'a> {
    stage: &'a mut Stage,
    request: Request,
    series: Series,
    spent: Spent,
    calls: u32,
}

impl<'a> Side<'a> {
    pub fn new(stage: &'a mut Stage, request: Request) -> Self {
        Self {
            stage,
            request,
            series: Series::default(),
            spent: Spent::default(),
            calls: 0,
        }
    }

    /// Opens a connection as a new user, because the request rate of one user is limited.
    fn open(&mut self) -> Result<Open, Failure> {
        let mut client = self.stage.client()?;
        ran(&client.call(self.request.clone(), drop)?)?;
        Ok(Open {
            client,
            before: self.stage.members()?.cpu()?,
        })
    }

    fn go(&mut self, open: &mut Open) -> Result<(), Failure> {
        let request = self.request.clone();
        let start = Instant::now();
        let reply = open.client.call(request, drop)?;
        self.series.push(start.elapsed());
        self.calls += 1;
        ran(&reply)
    }

    fn close(&mut self, open: &Open) -> Result<(), Failure> {
        let more = self.stage.members()?.cpu()?.since(open.before);
        self.spent.warden += more.warden;
        self.spent.broker += more.broker;
        self.spent.helpers += more.helpers;
        self.spent.jobs += more.jobs;
        Ok(())
    }

    fn cost(&self) -> Cost {
        let each = |spent: std::time::Duration| spent.as_secs_f64() * 1e6 / f64::from(self.calls);
        Cost {
            time: self.series.summary(),
            warden: each(self.spent.warden),
            broker: each(self.spent.broker),
            helpers: each(self.spent.helpers),
            job: each(self.spent.jobs),
        }
    }
}

struct Open {
    client: Client,
    before: Spent,
}

/// Calls each side `rounds` times in turns, so other load of the machine affects both alike.
pub fn compare(
    mut small: Side<'_>,
    mut large: Side<'_>,
    rounds: usize,
) -> Result<[Cost; 2], Failure> {
    let mut left = rounds;
    while left > 0 {
        let block = left.min(CALLS_PER_USER);
        let (mut one, mut other) = (small.open()?, large.open()?);
        for round in 0..block {
            // Alternates which side is first.
            if round % 2 == 0 {
                small.go(&mut one)?;
                large.go(&mut other)?;
            } else {
                large.go(&mut other)?;
                small.go(&mut one)?;
            }
        }
        small.close(&one)?;
        large.close(&other)?;
        left -= block;
    }
    Ok([small.cost(), large.cost()])
}

/// Fails unless a job has ended with 0.
fn ran(reply: &Reply) -> Result<(), Failure> {
    match reply {
        Reply::Job { report, .. }
            if report.state == State::Exited
                && report.ending.as_ref().and_then(|it| it.exit) == Some(0) =>
        {
            Ok(())
        }
        other => Err(format!("'true' did not run: {other:?}").into()),
    }
}
