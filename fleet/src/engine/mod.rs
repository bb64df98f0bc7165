//! Calls on one host or many: chooses them, keeps their sessions within a bound, and asks several at a time.

pub mod diff;
mod each;
mod events;
pub mod group;
pub mod logs;
pub mod report;
pub mod timeline;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

pub use each::{Unfinished, each};

use crate::config::{Fleet, Host};
use crate::host_name::HostName;
use crate::link::{Answered, HostCall, Link, News, Unreachable};
use crate::remote::{self, Manner, NotDone};
use crate::selector::{self, SelectError};
use crate::ssh;

/// Time for an answer of `remit` on a host beyond its login.
const SLACK: Duration = Duration::from_secs(30);
/// Between two questions about a job. A host may answer at once.
pub const BETWEEN: Duration = Duration::from_secs(1);
/// Why there is no answer of a host.
const TOO_LATE: &str = "no answer before the time for this call was over";
const NOT_ASKED: &str = "it was not asked before the end of this call";
/// Sessions that stay open between calls. Each is an ssh process.
const SESSIONS: usize = 64;

/// All hosts of a configuration, and the ways to them.
#[derive(Debug)]
pub struct Engine {
    pub fleet: Fleet,
    ssh: ssh::Client,
    links: Mutex<BTreeMap<HostName, Arc<Link>>>,
    calls: AtomicU64,
}

pub type HostOutcome = Result<Answered, Unreachable>;

impl Engine {
    pub fn new(fleet: Fleet) -> Arc<Self> {
        Arc::new(Self {
            ssh: ssh::Client::new(fleet.ssh.clone(), &fleet.limits),
            fleet,
            links: Mutex::default(),
            calls: AtomicU64::new(1),
        })
    }

    /// The ways to hosts, for sessions of another kind than calls.
    pub fn ssh(&self) -> &ssh::Client {
        &self.ssh
    }

    pub fn has_masters(&self) -> bool {
        self.ssh.has_masters()
    }

    /// Chooses hosts. Without words it is the only host, if there is one only.
    pub fn choose(&self, words: Option<&[&str]>) -> Result<Vec<&Host>, SelectError> {
        let hosts = &self.fleet.hosts;
        let chosen = match (words, hosts.as_slice()) {
            (None, [_]) => vec![0],
            (None, _) => selector::select(hosts, &[]).map_err(|SelectError(why)| {
                SelectError(format!(
                    "'on' is required, because there are {} hosts: {why}",
                    hosts.len()
                ))
            })?,
            (Some(words), _) => selector::select(hosts, words)?,
        };
        Ok(chosen.iter().filter_map(|at| hosts.get(*at)).collect())
    }

    /// Returns true if a call of so many hosts may make master connections. More masters than are kept would only push each
    /// other out.
    pub fn keeps_masters(&self, hosts: usize) -> bool {
        hosts <= self.fleet.limits.masters()
    }

    /// Returns `USER@HOSTNAME:PORT` of a host that was asked.
    pub fn address(&self, host: &HostName) -> Option<String> {
        let link = self.links().get(host).cloned();
        link.and_then(|link| link.address())
    }

    /// Returns the reason with the host's name instead of its `HostName` of ssh.
    fn with_own_name(&self, host: &HostName, why: String) -> String {
        let address = self.address(host);
        let name = address.as_ref().and_then(|address| {
            let (_, name) = address.rsplit_once('@')?;
            name.rsplit_once(':').map(|(name, _)| name)
        });
        match name {
            Some(name) => group::renamed(&why, name, host.as_str()),
            None => why,
        }
    }

    pub fn is_connected(&self, host: &HostName) -> bool {
        let link = self.links().get(host).cloned();
        link.is_some_and(|link| link.is_open())
    }

    pub async fn call(&self, host: &HostName, call: &HostCall, news: News) -> HostOutcome {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let link = self.link(host);
        let limits = &self.fleet.limits;
        let mut asked = Instant::now();
        let mut answer = link.call(&self.ssh, limits, call, (number, news)).await;
        let first = answer.as_ref().ok().map(|first| first.asked_ms.0);
        while let Some(follow) = following(call, &answer) {
            sleep_until(asked + BETWEEN).await;
            asked = Instant::now();
            answer = link.call(&self.ssh, limits, &follow, (number, None)).await;
        }
        if let (Ok(answer), Some(first)) = (&mut answer, first) {
            answer.asked_ms.0 = first;
        }
        self.close_old();
        answer
    }

    /// Makes the same call on each host.
    pub async fn call_all(
        self: &Arc<Self>,
        hosts: &[HostName],
        call: &HostCall,
        done: Option<mpsc::UnboundedSender<usize>>,
    ) -> Vec<(String, HostOutcome)> {
        let end = too_late(call.until);
        self.call_all_until(hosts, call, end, done).await
    }

    /// As [`Engine::call_all`], until `end` says why nothing more is waited for.
    pub async fn call_all_until(
        self: &Arc<Self>,
        hosts: &[HostName],
        call: &HostCall,
        end: impl Future<Output = &'static str>,
        done: Option<mpsc::UnboundedSender<usize>>,
    ) -> Vec<(String, HostOutcome)> {
        let mut call = call.clone();
        call.may_become_master &= self.keeps_masters(hosts.len());
        let call = Arc::new(call);
        let calls = hosts.iter().map(|host| (host.clone(), Arc::clone(&call)));
        self.call_each(calls.collect(), end, done).await
    }

    /// Makes a call on each host, at most `parallel` at a time, until `end` says why nothing more is waited for. `done` gets
    /// the number of answers. Dropping the future ends all calls.
    pub async fn call_each(
        self: &Arc<Self>,
        calls: Vec<(HostName, Arc<HostCall>)>,
        end: impl Future<Output = &'static str>,
        done: Option<mpsc::UnboundedSender<usize>>,
    ) -> Vec<(String, HostOutcome)> {
        let hosts: Vec<String> = calls.iter().map(|(host, _)| host.to_string()).collect();
        let slots = usize::try_from(self.fleet.limits.parallel).unwrap_or(1);
        let ssh = self.ssh.typed();
        let hints: Vec<String> = calls.iter().map(|(_, call)| call.hint(&ssh)).collect();
        let calls = calls.into_iter().map(|(host, call)| {
            let engine = Arc::clone(self);
            async move {
                let answer = engine.call(&host, &call, None).await;
                // Reasons of several hosts are compared, and ssh says the address of each.
                answer.map_err(|Unreachable(why)| Unreachable(engine.with_own_name(&host, why)))
            }
        });
        let not_asked = || Err(Unreachable(NOT_ASKED.to_owned()));
        let mut outcomes: Vec<(String, HostOutcome)> =
            hosts.into_iter().map(|host| (host, not_asked())).collect();
        let mut count = 0;
        each(calls, slots, end, |at, outcome| {
            let hint = hints.get(at).map_or("", String::as_str);
            let outcome = match outcome {
                Ok(answer) => {
                    count += 1;
                    if let Some(done) = &done {
                        let _ = done.send(count);
                    }
                    answer
                }
                Err(Unfinished::Started(why)) => Err(Unreachable(format!("{why}{hint}"))),
                Err(Unfinished::NotStarted) => not_asked(),
            };
            if let Some((_, slot)) = outcomes.get_mut(at) {
                *slot = outcome;
            }
        })
        .await;
        outcomes
    }

    /// Runs `remit` with the words of each host. Outcomes are in the order of the hosts.
    pub async fn remit(
        self: &Arc<Self>,
        hosts: impl IntoIterator<Item = (HostName, Vec<String>)>,
        manner: Manner,
    ) -> Vec<(HostName, Result<Vec<u8>, NotDone>)> {
        let hosts: Vec<_> = hosts.into_iter().collect();
        let mut outcomes: Vec<_> = hosts
            .iter()
            .map(|(host, _)| (host.clone(), Err(NotDone::not_asked())))
            .collect();
        let end = std::future::pending();
        self.remit_until(hosts, manner, end, |at, outcome| {
            if let Some((_, slot)) = outcomes.get_mut(at) {
                *slot = outcome;
            }
        })
        .await;
        outcomes
    }

    /// As [`Engine::remit`], until `end` says why nothing more is waited for. Hands over the outcome of each host as it comes, with
    /// its number.
    pub async fn remit_until(
        self: &Arc<Self>,
        hosts: Vec<(HostName, Vec<String>)>,
        manner: Manner,
        end: impl Future<Output = &'static str>,
        mut done: impl FnMut(usize, Result<Vec<u8>, NotDone>),
    ) {
        let works = hosts.into_iter().map(|(host, words)| {
            let engine = Arc::clone(self);
            async move {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let limits = &engine.fleet.limits;
                remote::remit(&engine.ssh, limits, &host, (&words, manner)).await
            }
        });
        each(works, manner.at_a_time, end, |at, outcome| {
            let unfinished = |unfinished| match unfinished {
                Unfinished::Started(why) => NotDone::Unknown(why.to_owned()),
                Unfinished::NotStarted => NotDone::not_asked(),
            };
            done(at, outcome.map_err(unfinished).flatten());
        })
        .await;
    }

    /// Asks as many hosts at a time as calls do, and waits for an answer for a while beyond the login.
    pub fn manner(&self) -> Manner {
        Manner {
            limit: Some(self.fleet.limits.connect() + SLACK),
            at_a_time: usize::try_from(self.fleet.limits.parallel).unwrap_or(1),
        }
    }

    fn link(&self, host: &HostName) -> Arc<Link> {
        let mut links = self.links();
        let link = links.entry(host.clone());
        Arc::clone(link.or_insert_with(|| Arc::new(Link::new(host.clone()))))
    }

    /// Closes the least recently used idle sessions beyond the bound.
    fn close_old(&self) {
        let links: Vec<Arc<Link>> = self.links().values().map(Arc::clone).collect();
        let mut open: Vec<Arc<Link>> = links.into_iter().filter(|link| link.is_open()).collect();
        let mut too_many = open.len().saturating_sub(SESSIONS);
        if too_many == 0 {
            return;
        }
        open.sort_by_key(|link| link.last_used());
        for link in open {
            if too_many > 0 && link.close_if_idle() {
                too_many -= 1;
            }
        }
    }

    /// The content is valid even if poisoned, because no code panics with the lock held.
    fn links(&self) -> MutexGuard<'_, BTreeMap<HostName, Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the call that waits for the end of a job.
fn following(call: &HostCall, answer: &HostOutcome) -> Option<HostCall> {
    let data = &answer.as_ref().ok().filter(|_| call.follows)?.result.data;
    let state = data.get("state").and_then(Value::as_str);
    let goes_on = state.is_some_and(|state| ["running", "queued"].contains(&state));
    let job = data.get("job_id").filter(|_| goes_on)?;
    let wait = ("wait_ms".to_owned(), Value::from(50_000));
    let arguments = Map::from_iter([("job_id".to_owned(), job.clone()), wait]);
    Some(HostCall {
        tool: "job".to_owned(),
        arguments,
        ..call.clone()
    })
}

/// Ends calls at this time, if there is one.
pub async fn too_late(until: Option<Instant>) -> &'static str {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
    TOO_LATE
}

/// Returns the end of a call that began now, for clients that give up after 60 seconds.
pub fn end_for_clients() -> Instant {
    Instant::now() + Duration::from_secs(55)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::runtime::Builder;

    use super::*;
    use crate::config::{Limits, Ssh};
    use crate::hosts::access;

    /// The first host may have the request, the second has not.
    #[test]
    fn call_without_time_left_names_the_request_of_hosts_that_were_asked() {
        let silent = std::env::temp_dir().join(format!("silent-ssh-{}", std::process::id()));
        // Another process writes it: a child that another test forks meanwhile would cause ETXTBSY.
        let script = "printf '#!/bin/sh\\nexec sleep 1000\\n' >\"$1\" && chmod 700 \"$1\"";
        let mut written = std::process::Command::new("sh");
        written.args(["-c", script, "sh"]).arg(&silent);
        assert!(written.status().unwrap().success());
        let engine = Engine::new(Fleet {
            typed: String::new(),
            hosts: Vec::new(),
            limits: Limits {
                parallel: 1,
                masters: 0,
                ..Limits::default()
            },
            ssh: Ssh {
                program: silent.clone(),
                config: None,
            },
            files: None,
        });
        let hosts = ["web1", "web2"].map(|host| host.parse().unwrap());
        let arguments = json!({"request_id": "mine"});
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let outcomes = runtime.block_on(async {
            let call = HostCall {
                tool: "run".to_owned(),
                arguments: arguments.as_object().unwrap().clone(),
                until: Some(Instant::now() + Duration::from_secs(1)),
                ..access("test")
            };
            engine.call_all(&hosts, &call, None).await
        });
        std::fs::remove_file(&silent).unwrap();
        let why = |at: usize| outcomes[at].1.clone().unwrap_err().0;
        assert!(why(0).starts_with(TOO_LATE), "{}", why(0));
        assert!(why(0).contains("request_id 'mine'"), "{}", why(0));
        assert_eq!(why(1), NOT_ASKED);
    }
}
