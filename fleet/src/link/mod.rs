//! The way to one host: logs in at the first call, and again after a lost connection.
//!
//! **Invariant:** a call that starts something has a `request_id`, so that a repetition after a lost connection starts it
//! once.

pub mod answer;
mod call;
mod incoming;
pub mod reason;
mod session;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use remit_common::calendar::now_ms;
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::config::Limits;
use crate::host_name::HostName;
use crate::ssh;

use answer::{ServerInfo, ToolResult};
use session::{Lost, Session};

pub use call::HostCall;
pub use session::News;

/// Time for the answer beyond the wait that the call asks for.
const SLACK: Duration = Duration::from_secs(10);
/// Times that a call is sent while the connection is lost without an answer.
const TRIES: u32 = 2;
const PATIENT: u32 = 6;
/// Before the third try. It doubles.
const PAUSE: Duration = Duration::from_secs(2);
/// Time for the answer of an idle session to a ping.
const PING: Duration = Duration::from_secs(5);
/// What mcp-shim waits if the call does not say.
const WAIT_DEFAULT: Duration = Duration::from_secs(20);
const WAIT_LONGEST: Duration = Duration::from_secs(50);
/// Time in which mcp-shim answers a call that does not wait for a job: it also stops one, or finds a daemon that restarts.
const UNWAITED: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    pub result: ToolResult,
    pub server: ServerInfo,
    /// When it was asked and when it had answered, by this computer's clock, in milliseconds since 1970.
    pub asked_ms: (u64, u64),
}

/// Why there is no answer, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreachable(pub String);

#[derive(Debug)]
pub struct Link {
    host: HostName,
    session: Mutex<Option<Arc<Session>>>,
    /// What ssh made of the name at the last login.
    address: OnceLock<String>,
    /// Number of the last call, for the choice of sessions to close.
    used: AtomicU64,
}

impl Link {
    pub fn new(host: HostName) -> Self {
        Self {
            host,
            session: Mutex::default(),
            address: OnceLock::new(),
            used: AtomicU64::new(0),
        }
    }

    pub fn last_used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub fn address(&self) -> Option<String> {
        self.address.get().cloned()
    }

    /// Returns true if a session is open.
    pub fn is_open(&self) -> bool {
        let session = self.session.try_lock();
        session.is_ok_and(|session| session.as_ref().is_some_and(|one| one.is_open()))
    }

    /// Ends the session if no call uses it.
    pub fn close_if_idle(&self) -> bool {
        let Ok(mut session) = self.session.try_lock() else {
            return false;
        };
        let is_idle = session.as_ref().is_some_and(|session| session.is_idle());
        if is_idle {
            *session = None;
        }
        is_idle
    }

    /// Makes the call, again if the connection was lost.
    pub async fn call(
        &self,
        ssh: &ssh::Client,
        limits: &Limits,
        call: &HostCall,
        (number, news): (u64, News),
    ) -> Result<Answered, Unreachable> {
        self.used.store(number, Ordering::Relaxed);
        let started = Instant::now();
        let mut lost: Option<String> = None;
        for attempt in 0..if call.is_patient { PATIENT } else { TRIES } {
            if attempt > 1 {
                sleep(PAUSE * 2_u32.pow(attempt - 2)).await;
            }
            let session = match (self.session(ssh, limits, call).await, &mut lost) {
                (Ok(session), _) => session,
                (Err(why), None) => return Err(Unreachable(why)),
                (Err(why), Some(lost)) => {
                    // The first two reasons say most.
                    if attempt == 1 {
                        *lost += &format!(", and then: {why}");
                    }
                    continue;
                }
            };
            let arguments = with_wait(call, started, Instant::now());
            let left = call
                .until
                .map(|until| until.saturating_duration_since(Instant::now()));
            let limit = limit(call, &arguments).min(left.unwrap_or(Duration::MAX));
            let answer = session.call(call, &arguments, news.clone());
            let asked = now_ms();
            match timeout(limit, answer).await {
                Ok(Ok(result)) => {
                    let server = session.server.clone();
                    let asked_ms = (asked, now_ms());
                    return Ok(Answered {
                        result,
                        server,
                        asked_ms,
                    });
                }
                Ok(Err(Lost(why))) => {
                    self.forget(&session);
                    lost.get_or_insert(format!("the connection was lost: {why}"));
                }
                Err(_) => {
                    // What is silent now would be silent at the next call, too.
                    self.forget(&session);
                    lost.get_or_insert(format!("no answer within {} s", limit.as_secs()));
                    if !call.is_patient {
                        break;
                    }
                }
            }
        }
        Err(Unreachable(
            lost.unwrap_or_default() + &call.hint(&ssh.typed()),
        ))
    }

    /// Returns the open session, or logs in. Calls that come meanwhile wait for the same login.
    async fn session(
        &self,
        ssh: &ssh::Client,
        limits: &Limits,
        call: &HostCall,
    ) -> Result<Arc<Session>, String> {
        let end = call
            .until
            .unwrap_or_else(|| Instant::now() + 4 * limits.connect());
        let login = async {
            let mut open = self.session.lock().await;
            let mut is_suspect = false;
            if let Some(session) = open.as_ref().filter(|session| session.is_open()) {
                // After sleep of this computer, a connection is dead and nobody says so.
                if session.is_alive(limits.idle(), PING).await {
                    return Ok(Arc::clone(session));
                }
                is_suspect = true;
            }
            *open = None;
            let session = Arc::new(self.log_in(ssh, limits, call, is_suspect).await?);
            *open = Some(Arc::clone(&session));
            Ok(session)
        };
        let late = |_| "not logged in: the time for this call was over".to_owned();
        timeout_at(end, login).await.map_err(late)?
    }

    async fn log_in(
        &self,
        ssh: &ssh::Client,
        limits: &Limits,
        call: &HostCall,
        is_master_suspect: bool,
    ) -> Result<Session, String> {
        let way = ssh.way(&self.host, call.may_become_master).await?;
        // The first one stays: a change of the configuration is seen at the next start.
        let _ = self.address.set(way.effective.address.clone());
        if is_master_suspect {
            ssh.drop_master(&way).await;
        }
        let patience = limits.connect();
        let started = Instant::now();
        let shim = ssh::RemoteCommand::shim();
        let typed = ssh.typed();
        let open = async |way: &ssh::Way| {
            let child = ssh.start(&self.host, way, limits, &shim, ssh::ProcessGroup::Own);
            Session::open(child.await?, &call.client, patience, &typed).await
        };
        let first = match open(&way).await {
            Ok(session) => {
                ssh.note_use(&way);
                return Ok(session);
            }
            Err(why) => why,
        };
        if way.hides_reasons() && reason::gives_no_reason(&first) {
            // The key exchange has failed, so this starts nothing twice.
            return open(&way.without_master()).await;
        }
        // A master connection that is dead hangs until its keep-alives fail.
        let was_silent = started.elapsed() >= patience;
        if !was_silent || !ssh.drop_master(&way).await {
            return Err(first);
        }
        open(&way).await
    }

    /// Another call that holds the lock tries this session or replaces it, which may take longer than this call has.
    fn forget(&self, session: &Arc<Session>) {
        if let Ok(mut open) = self.session.try_lock()
            && open.as_ref().is_some_and(|open| Arc::ptr_eq(open, session))
        {
            *open = None;
        }
    }
}

fn wait_ms(arguments: &Map<String, Value>) -> Option<Duration> {
    let wait = arguments.get("wait_ms").and_then(Value::as_u64)?;
    Some(Duration::from_millis(wait).min(WAIT_LONGEST))
}

/// Returns the arguments with what is left of the wait after `started`. A wait that the call does not name stays unnamed
/// if it fits, because mcp-shim then does not wait for approvals.
fn with_wait(call: &HostCall, started: Instant, now: Instant) -> Map<String, Value> {
    let mut arguments = call.arguments.clone();
    if !["run", "change", "job"].contains(&call.tool.as_str()) {
        return arguments;
    }
    let until = call.until.map(|until| until.saturating_duration_since(now));
    let fits = until.map_or(WAIT_LONGEST, |left| left.saturating_sub(SLACK / 2));
    let asked = wait_ms(&arguments);
    let left = match asked {
        Some(asked) => asked
            .saturating_sub(now.saturating_duration_since(started))
            .min(fits),
        None if call.tool == "run" && fits < WAIT_DEFAULT => fits,
        None => return arguments,
    };
    let left = u64::try_from(left.as_millis()).unwrap_or(0);
    arguments.insert("wait_ms".to_owned(), left.into());
    arguments
}

fn limit(call: &HostCall, arguments: &Map<String, Value>) -> Duration {
    let wait = match call.tool.as_str() {
        "run" | "change" | "job" => wait_ms(arguments).unwrap_or(WAIT_DEFAULT),
        // It waits for a program, its extraction and its checks.
        "plan" => WAIT_LONGEST,
        _ => UNWAITED,
    };
    wait + SLACK
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(tool: &str, arguments: Value, until: Option<Instant>) -> HostCall {
        HostCall {
            tool: tool.into(),
            arguments: arguments.as_object().unwrap().clone(),
            set: None,
            behalf: None,
            client: String::new(),
            until,
            may_become_master: false,
            follows: false,
            is_patient: false,
        }
    }

    #[test]
    fn wait_ends_with_the_call() {
        let now = Instant::now();
        let after = |s| Some(now + Duration::from_secs(s));
        for (tool, arguments, until, expect) in [
            ("run", json!({}), None, None),
            ("run", json!({}), after(55), None),
            ("run", json!({}), after(15), Some(10_000)),
            ("run", json!({"wait_ms": 50_000}), after(55), Some(47_000)),
            ("run", json!({"wait_ms": 50_000}), after(30), Some(25_000)),
            ("run", json!({"wait_ms": 900_000}), None, Some(47_000)),
            ("change", json!({}), after(15), None),
            ("change", json!({"wait_ms": 9000}), after(1), Some(0)),
            ("access", json!({}), after(1), None),
        ] {
            let call = call(tool, arguments, until);
            let arguments = with_wait(&call, now - Duration::from_secs(3), now);
            let wait = arguments.get("wait_ms").and_then(Value::as_u64);
            assert_eq!(wait, expect, "{call:?}");
        }
    }

    #[test]
    fn host_has_as_long_as_its_shim_may_take() {
        for (tool, arguments, seconds) in [
            ("run", json!({}), 30),
            ("run", json!({"wait_ms": 900_000}), 60),
            ("job", json!({"wait_ms": 0}), 10),
            ("plan", json!({}), 60),
            ("job_stop", json!({}), 40),
            ("access", json!({}), 40),
            ("host", json!({}), 40),
            ("history", json!({}), 40),
        ] {
            let call = call(tool, arguments, None);
            let limit = limit(&call, &call.arguments);
            assert_eq!(limit, Duration::from_secs(seconds), "{call:?}");
        }
    }

    #[test]
    fn lost_start_names_its_request() {
        let hint = |tool: &str, set| {
            HostCall {
                set,
                ..call(tool, json!({"request_id": "r1"}), None)
            }
            .hint("ssh")
        };
        let set = Some(remit_common::names::SetId([1; 16]));
        let same = "; it may have started: the same call with request_id 'r1' gives that job, or starts it";
        let alone = "; it may have started: job without job_id, or history, on this host shows it; the same change on this \
            host alone with request_id 'r1' gives that job, or starts it";
        for (tool, set, expect) in [
            ("run", None, same),
            ("change", None, same),
            ("change", set, alone),
        ] {
            assert_eq!(hint(tool, set), expect, "{tool} {set:?}");
        }
        assert_eq!(call("access", json!({}), None).hint("ssh"), "");
        let person = HostCall {
            follows: true,
            ..call("run", json!({"request_id": "r1"}), None)
        };
        assert_eq!(
            person.hint("ssh -F /c"),
            "; a job that it started goes on there: with a login of your own, 'ssh -F /c HOST remit jobs' lists it, and \
             'ssh -F /c HOST remit stop ID' ends it"
        );
    }
}
