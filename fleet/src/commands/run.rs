//! `remit-fleet run`: a program on each host, followed to its end.

use std::future::pending;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::signal::ctrl_c;
use tokio::sync::{mpsc, watch};

use super::render::{self, print, print_folded};
use crate::args::RunArgs;
use crate::engine::{Engine, HostOutcome, group, report};
use crate::exit::{Exit, say};
use crate::host_name::HostName;
use crate::link::HostCall;
use crate::link::answer::is_well;
use crate::releases;
use crate::request_id;
use crate::selector;

pub async fn run(engine: &Arc<Engine>, args: RunArgs) -> Exit {
    let names = match chosen(engine, args.on.as_deref()) {
        Ok(names) => names,
        Err(exit) => return exit,
    };
    let fold = if args.fold_numbers {
        group::Fold::Numbers
    } else {
        group::Fold::Exact
    };
    let arguments = Map::from_iter([("argv".to_owned(), json!(args.argv))]);
    let call = match followed(arguments, "remit-fleet run") {
        Ok(call) => call,
        Err(exit) => return exit,
    };
    let interrupted = Interrupted::catch();
    let outcomes = answers(engine, &names, &call, &interrupted).await;
    let grouped = group::of_answers(outcomes, fold, names.len());
    let ran = |group: &group::Group| is_well(&group.facts);
    let all_ran = grouped.unreachable.is_empty() && grouped.groups.iter().all(ran);
    let printed = match args.json {
        true => {
            let report = report::fitted(&grouped, usize::MAX);
            print(&format!("{}\n", Value::Object(report)))
        }
        false => print_folded(&render::grouped(&grouped, &engine.ssh().typed())),
    };
    match printed {
        Exit::Ok if interrupted.is_true() => Exit::Interrupted,
        Exit::Ok if !all_ran => Exit::Failed,
        other => other,
    }
}

/// Returns the names of the hosts that the words choose.
pub fn chosen(engine: &Engine, on: Option<&str>) -> Result<Vec<HostName>, Exit> {
    let words: Option<Vec<&str>> = on.map(|on| selector::words(on).collect());
    match engine.choose(words.as_deref()) {
        Ok(chosen) => Ok(chosen.into_iter().map(|host| host.name.clone()).collect()),
        Err(error) => {
            say(&error.0.replacen("'on'", "'--on'", 1));
            Err(Exit::Usage)
        }
    }
}

/// Returns a call of `run` that is followed to its job's end.
pub fn followed(mut arguments: Map<String, Value>, client: &str) -> Result<HostCall, Exit> {
    let request_id = request_id::fresh().map_err(|error| {
        say(&format!("cannot read '/dev/urandom': {error}"));
        Exit::System
    })?;
    arguments.insert("request_id".to_owned(), json!(request_id));
    Ok(HostCall {
        tool: "run".to_owned(),
        arguments,
        set: None,
        behalf: remit_mcp::behalf_of_environment(),
        client: client.to_owned(),
        until: None,
        may_become_master: true,
        follows: true,
        is_patient: false,
    })
}

/// Whether SIGINT has come. It ends every wait of a command, which then shows the answers that came before.
#[derive(Debug)]
pub struct Interrupted(watch::Receiver<bool>);

impl Interrupted {
    /// Takes SIGINT from now on. Without a handler for it, it keeps its effect on the process.
    pub fn catch() -> Self {
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            if ctrl_c().await.is_ok() {
                sender.send_replace(true);
            }
        });
        Self(receiver)
    }

    pub fn is_true(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns why calls end, once SIGINT has come.
    pub async fn ends(&self) -> &'static str {
        if self.0.clone().wait_for(|has_come| *has_come).await.is_err() {
            pending::<()>().await;
        }
        "interrupted before its end"
    }
}

/// Makes the call on each host, and says how many have answered and which run another release.
pub async fn answers(
    engine: &Arc<Engine>,
    names: &[HostName],
    call: &HostCall,
    interrupted: &Interrupted,
) -> Vec<(String, HostOutcome)> {
    let (done, mut counts) = mpsc::unbounded_channel();
    let outcomes = {
        let answers = engine.call_all_until(names, call, interrupted.ends(), Some(done));
        tokio::pin!(answers);
        loop {
            tokio::select! {
                biased;
                outcomes = &mut answers => break outcomes,
                Some(count) = counts.recv() => {
                    if names.len() > 1 && count % 100 == 0 {
                        say(&format!("{count} of {} hosts have answered", names.len()));
                    }
                }
            }
        }
    };
    let named = outcomes.iter();
    let named = named.map(|(host, outcome)| (host.as_str(), outcome));
    for (release, of) in releases::others(named) {
        say(&format!("remit {release}: {}", of.join(" ")));
    }
    outcomes
}
