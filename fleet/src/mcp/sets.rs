//! Calls that are about a set: a change or a plan on many hosts, and the state of a set.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use remit_common::names::SetId;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::call::SetLimits;
use super::reply::Reply;
use crate::config::Host;
use crate::engine::group::{self, Fold};
use crate::engine::{Engine, report};
use crate::host_name::HostName;
use crate::link::HostCall;
use crate::releases;
use crate::set::{self, Set, SetCall, Sets};

/// What a call waits if it does not say, as mcp-shim does.
const WAIT_MS: u64 = 20_000;
const LONGEST_MS: u64 = 50_000;

type Plans = BTreeMap<HostName, String>;

/// Starts a change on many hosts, and returns its state once it rests or the wait is over.
pub async fn change(
    engine: &Arc<Engine>,
    sets: &Sets,
    (hosts, mut call, plans): (&[Host], HostCall, Option<Plans>),
    limits: SetLimits,
) -> Result<Reply, String> {
    limits.check(hosts.len())?;
    let hosts: Vec<HostName> = hosts.iter().map(|host| host.name.clone()).collect();
    if let Some(plans) = &plans {
        for host in &hosts {
            plan_of(host, plans)?;
        }
    } else if call.arguments.contains_key("plan_id") {
        return Err(
            "this plan_id belongs to one host; call plan on all of them, and change with the plan_id of that answer"
                .to_owned(),
        );
    }
    let id = set::id_of(&call.tool, &call.arguments, &hosts);
    let until = until(&mut call.arguments);
    call.set = Some(id);
    // Its jobs are followed for as long as they take.
    call.until = None;
    // A request that was sent may wait for a person or run, whatever became of the connection.
    call.is_patient = true;
    call.may_become_master = engine.keeps_masters(hosts.len());
    let call = SetCall {
        hosts,
        call,
        plans,
        order: limits.order,
    };
    let set = sets.start(engine, id, call)?;
    let caller = set.called();
    set.rests(until).await;
    caller.answers();
    Ok(reply(engine, &set))
}

/// Shows a set, or stops it.
pub async fn named(
    engine: &Arc<Engine>,
    sets: &Sets,
    tool: &str,
    (id, arguments): (SetId, &Map<String, Value>),
) -> Result<Reply, String> {
    let set = sets.find(id).ok_or_else(|| {
        format!("this server has no set {id}: a set ends with the server; history and job of each host have its jobs")
    })?;
    if tool == "job_stop" {
        set.stop();
    }
    set.rests(until(&mut arguments.clone())).await;
    Ok(reply(engine, &set))
}

/// Makes a plan on each host. Its id is that of the plans of all hosts.
pub async fn plan(
    engine: &Arc<Engine>,
    sets: &Sets,
    hosts: &[Host],
    mut call: HostCall,
) -> Result<Reply, String> {
    let names: Vec<HostName> = hosts.iter().map(|host| host.name.clone()).collect();
    let id = set::id_of(&call.tool, &call.arguments, &names);
    call.set = Some(id);
    let outcomes = engine.call_all(&names, &call, None).await;
    let named = outcomes.iter();
    let mut own = releases::other_releases(named.map(|(host, outcome)| (host.as_str(), outcome)));
    let outcomes = names.iter().cloned().zip(outcomes);
    let outcomes =
        outcomes.map(|(host, (_, outcome))| (host, outcome.map(|answered| answered.result)));
    let (answers, plans) = set::planned(outcomes.collect());
    let grouped = group::group(answers, Fold::Exact);
    own.insert("set".to_owned(), json!(id.to_string()));
    if !plans.is_empty() {
        let next = format!(
            "nothing has changed; compare the groups; change {{\"plan_id\": \"{id}\", \"reason\": …}} asks each of these \
             hosts for its own plan"
        );
        own.insert("plan_id".to_owned(), json!(id.to_string()));
        let planned = match plans.len() <= set::HOSTS {
            true => json!(plans.keys().map(HostName::as_str).collect::<Vec<_>>()),
            // A change goes to fewer, and the groups have the names.
            false => json!(plans.len()),
        };
        own.insert("planned".to_owned(), planned);
        own.insert("next".to_owned(), json!(next));
    }
    let is_error = plans.is_empty();
    sets.keep_plans(id, plans);
    let mut reply = Reply::plain(report::fitted_with(&grouped, own, budget(engine)));
    reply.is_error = is_error;
    Ok(reply)
}

/// Returns the plan that this host made.
pub fn plan_of<'a>(host: &HostName, plans: &'a Plans) -> Result<&'a str, String> {
    plans.get(host).map(String::as_str).ok_or_else(|| {
        let made = plans
            .keys()
            .map(HostName::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        format!("{host} made no such plan; it is of {made}")
    })
}

fn reply(engine: &Engine, set: &Set) -> Reply {
    let board = set.snapshot();
    let outcomes = set.hosts().iter().zip(&board.outcomes);
    let outcomes = outcomes.filter_map(|(host, outcome)| Some((host.as_str(), outcome.as_ref()?)));
    let releases = releases::other_releases(outcomes);
    let size = Value::Object(releases.clone()).to_string().len();
    let mut data = set::report(set, budget(engine).saturating_sub(size));
    data.extend(releases);
    Reply::plain(data)
}

fn budget(engine: &Engine) -> usize {
    usize::try_from(engine.fleet.limits.answer_bytes).unwrap_or(0)
}

/// Takes out how long the call waits, and returns when it ends.
fn until(arguments: &mut Map<String, Value>) -> Instant {
    let asked = arguments.remove("wait_ms").and_then(|wait| wait.as_u64());
    let wait = asked.unwrap_or(WAIT_MS).min(LONGEST_MS);
    Instant::now() + Duration::from_millis(wait)
}
