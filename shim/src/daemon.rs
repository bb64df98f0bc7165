//! The daemon as the tools see it: connected at the first call, and again after a loss or a time without calls. A call
//! whose connection breaks or is ended by the daemon is retried once. That is safe: a run has a request id, so the daemon
//! returns the job of the first time. A daemon that was reached may be restarting, so it is waited for; another is not.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use remit_wire::request_id;
use remit_wire::{PROTOCOL, Reply, Request, Run, protocol_of_daemon};
use tokio::sync::{Mutex, Notify};
use tokio::time::{sleep, timeout};

use crate::clock::CallClock;
use crate::connection::{CallError, ConnectError, Connection, News};

/// Time for the daemon beyond the requested wait. The sum stays below 60 s, after which clients give up.
pub const SLACK: Duration = Duration::from_secs(8);
/// Timeout of a call that does not wait for a job.
const UNWAITED: Duration = Duration::from_secs(30);

const HELLO: Duration = Duration::from_secs(5);
/// Timeout after a loss: the service manager's socket accepts before the daemon runs. The call's limit ends first.
const HELLO_AGAIN: Duration = Duration::from_secs(30);
/// Time for which the socket may be unused after a loss.
const GONE: Duration = Duration::from_secs(5);
/// Pause between two attempts to connect: first, and maximum.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// The daemon, connected while calls are made.
pub struct Daemon {
    socket: PathBuf,
    last: Arc<Mutex<LastConnection>>,
    clock: Arc<CallClock>,
    outdated: Notify,
}

#[derive(Default)]
enum LastConnection {
    /// There was none, or none for a while.
    #[default]
    None,
    Open(Connection),
    /// It was closed here, because no call needed it.
    Idle,
    /// The daemon was found to be gone when a call needed it again.
    Gone(Instant),
}

impl LastConnection {
    /// Returns when the daemon was lost, if it was reached before.
    fn lost(&self) -> Option<Instant> {
        match self {
            Self::None => None,
            Self::Open(connection) => connection.ended(),
            // Whether the daemon is there shows only now.
            Self::Idle => Some(Instant::now()),
            Self::Gone(lost) => Some(*lost),
        }
    }

    /// Closes the connection, unless `clock` counts a call in flight. Returns true if it does not.
    fn rest(&mut self, clock: &CallClock) -> bool {
        let is_quiet = clock.is_quiet();
        if is_quiet && matches!(self, Self::Open(_)) {
            *self = Self::Idle;
        }
        is_quiet
    }
}

/// Closes the connection once no call was made for [`IDLE`](crate::clock::IDLE): the daemon has few for one user.
async fn close_idle(clock: Arc<CallClock>, last: Arc<Mutex<LastConnection>>) {
    loop {
        clock.idle().await;
        if last.lock().await.rest(&clock) {
            clock.stop();
            return;
        }
    }
}

impl Daemon {
    pub fn new(socket: PathBuf) -> Self {
        Self {
            socket,
            last: Arc::default(),
            clock: Arc::default(),
            outdated: Notify::new(),
        }
    }

    /// Returns once a daemon with a newer protocol has refused this program.
    pub async fn outdated(&self) {
        self.outdated.notified().await;
    }

    pub async fn connect(&self, client: &str) -> Result<Connection, ConnectError> {
        let connected = self.connection(client).await;
        if let Err(ConnectError::Refused(refusal)) = &connected
            && protocol_of_daemon(refusal) > Some(PROTOCOL)
        {
            self.outdated.notify_one();
        }
        connected
    }

    async fn connection(&self, client: &str) -> Result<Connection, ConnectError> {
        let mut last = self.last.lock().await;
        let lost = last.lost();
        let connection = match (&*last, lost) {
            (LastConnection::Open(connection), None) => return Ok(connection.clone()),
            (_, Some(lost)) if lost.elapsed() < GONE => {
                // Of several calls the first one decides how long the daemon is waited for.
                *last = LastConnection::Gone(lost);
                Box::pin(reopen(&self.socket, client, lost)).await?
            }
            // Both futures are boxed, because a rare case should not enlarge every call.
            _ => Box::pin(Connection::open(&self.socket, client, HELLO)).await?,
        };
        *last = LastConnection::Open(connection.clone());
        Ok(connection)
    }

    /// Makes a call and reports its progress to `news`. Dropping the future cancels the call, but its job continues.
    pub async fn call(
        &self,
        client: &str,
        mut request: Request,
        news: News,
    ) -> Result<Reply, Refusal> {
        let _in_flight = self.clock.begin();
        if self.clock.start() {
            tokio::spawn(close_idle(Arc::clone(&self.clock), Arc::clone(&self.last)));
        }
        if let Request::Run(run) = &mut request {
            identify(run)?;
        }
        let limit = limit(&request);
        let hint = lost_hint(&request);
        match timeout(limit, self.call_twice(client, request, news)).await {
            Ok(reply) => reply,
            Err(_) => Err(unanswered(limit, &hint)),
        }
    }

    async fn call_twice(
        &self,
        client: &str,
        request: Request,
        news: News,
    ) -> Result<Reply, Refusal> {
        let started = Instant::now();
        let connection = self.connect(client).await?;
        let farewell = match connection.call(request.clone(), &news).await {
            Ok(reply) => return Ok(reply),
            Err(CallError::Refused(refusal)) => return Err(refusal),
            Err(CallError::Dismissed(refusal)) => Some(refusal),
            Err(CallError::Lost(_)) => None,
        };
        let hint = lost_hint(&request);
        // Such a refusal is about a connection: the call that was sent may have started a job.
        let dismissed = |refusal: Refusal| {
            let next = match &refusal.next {
                Some(next) => format!("{next}; {hint}"),
                None => hint.clone(),
            };
            refusal.next(next)
        };
        let lost = |why: &dyn std::fmt::Display| match farewell.clone() {
            Some(refusal) => dismissed(refusal),
            None => Refusal::new(
                Code::DaemonUnavailable,
                format!("the connection to remitd was lost during the call, and then: {why}"),
            )
            .lift("systemctl status remitd shows why")
            .next(hint.clone()),
        };
        let connection = self.connect(client).await.map_err(|error| match error {
            ConnectError::Refused(refusal) => dismissed(refusal),
            ConnectError::NotAllowed(_)
            | ConnectError::Absent(_)
            | ConnectError::Unavailable(_) => lost(&Refusal::from(error).message),
        })?;
        let again = shortened(request, started.elapsed());
        match connection.call(again, &news).await {
            Ok(reply) => Ok(reply),
            Err(CallError::Refused(refusal)) => Err(refusal),
            Err(CallError::Dismissed(refusal)) => Err(dismissed(refusal)),
            Err(CallError::Lost(why)) => Err(lost(&why)),
        }
    }
}

/// Reconnects to a daemon that was lost at `lost` and may be restarting.
async fn reopen(socket: &Path, client: &str, lost: Instant) -> Result<Connection, ConnectError> {
    let (mut pause, longest) = PAUSES;
    loop {
        match Connection::open(socket, client, HELLO_AGAIN).await {
            // For a moment a new socket lacks its final owner and mode.
            Err(ConnectError::Absent(_) | ConnectError::NotAllowed(_))
                if lost.elapsed() + pause < GONE =>
            {
                sleep(pause).await;
            }
            end => return end,
        }
        pause = (pause * 2).min(longest);
    }
}

/// Adds a request id to a run without one, because the run may be sent twice.
pub fn identify(run: &mut Run) -> Result<(), Refusal> {
    if run.request_id.is_none() {
        let id = request_id::fresh().map_err(|error| {
            Refusal::new(
                Code::NotStarted,
                format!("cannot read '/dev/urandom' for a request id: {error}"),
            )
            .next("give a request_id of your own")
        })?;
        run.request_id = Some(id);
    }
    Ok(())
}

pub fn unanswered(limit: Duration, hint: &str) -> Refusal {
    let message = format!("remitd did not answer within {} seconds", limit.as_secs());
    Refusal::new(Code::DaemonUnavailable, message).next(hint)
}

fn limit(request: &Request) -> Duration {
    let wait = match request {
        // The default is the daemon's, in full also the second time: only without a number it does not wait for a person.
        Request::Run(run) => run.wait_ms.unwrap_or(2 * caps::WAIT_MS_DEFAULT),
        Request::Job(query) => query.wait_ms,
        Request::Follow(query) => query.wait_ms,
        Request::Stop { .. }
        | Request::Access(_)
        | Request::Host { .. }
        | Request::HostChanges(_)
        | Request::Snapshots
        | Request::Upload(_)
        | Request::DropCopy { .. }
        | Request::Jobs { .. }
        | Request::History(_) => {
            return UNWAITED;
        }
    };
    Duration::from_millis(wait.into()) + SLACK
}

fn shortened(mut request: Request, gone: Duration) -> Request {
    let left = |wait: u32| wait.saturating_sub(u32::try_from(gone.as_millis()).unwrap_or(u32::MAX));
    match &mut request {
        Request::Run(run) => run.wait_ms = run.wait_ms.map(left),
        Request::Job(query) => query.wait_ms = left(query.wait_ms),
        Request::Follow(query) => query.wait_ms = left(query.wait_ms),
        Request::Stop { .. }
        | Request::Access(_)
        | Request::Host { .. }
        | Request::HostChanges(_)
        | Request::Snapshots
        | Request::Upload(_)
        | Request::DropCopy { .. }
        | Request::Jobs { .. }
        | Request::History(_) => {}
    }
    request
}

pub fn lost_hint(request: &Request) -> String {
    match request {
        Request::Run(run) => format!(
            "it may have started: call job without arguments to list your jobs, or call \
             again with the same arguments and request_id '{}', which gives that same job",
            run.request_id.as_deref().unwrap_or_default()
        ),
        Request::Stop { .. } => "look at the job before stopping it again".to_owned(),
        Request::Job(_)
        | Request::Follow(_)
        | Request::Jobs { .. }
        | Request::Access(_)
        | Request::History(_)
        | Request::Host { .. }
        | Request::HostChanges(_)
        | Request::Snapshots
        | Request::Upload(_)
        | Request::DropCopy { .. } => "call again".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::{fs, thread};

    use remit_common::frame;
    use remit_common::names::JobId;
    use remit_wire::{FromClient, JobQuery, Purpose, ToClient, What};
    use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
    use tokio::task::yield_now;
    use tokio::time::{advance, pause, resume};

    use super::*;
    use crate::clock::IDLE;

    /// Time after which an event that does not come fails a test.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// Serves connections one after another, and reports what comes. Jobs are listed at once, snapshots when `may_answer`
    /// says so.
    fn serve(
        listener: &UnixListener,
        events: &UnboundedSender<&'static str>,
        mut may_answer: UnboundedReceiver<()>,
    ) {
        while let Ok((mut stream, _)) = listener.accept() {
            while let Ok(message) = frame::read(&mut stream, caps::FRAME) {
                let reply = match message {
                    FromClient::Hello(_) => {
                        let _ = events.send("hello");
                        ToClient::Welcome {
                            protocol: PROTOCOL,
                            release: String::new(),
                        }
                    }
                    FromClient::Call { id, request } => {
                        let _ = events.send("call");
                        if request == Request::Snapshots && may_answer.blocking_recv().is_none() {
                            return;
                        }
                        let reply = Ok(Reply::Jobs(Vec::new()));
                        ToClient::Reply { id, reply }
                    }
                    FromClient::Forget { .. } => continue,
                };
                frame::write(&mut stream, &reply, caps::FRAME).unwrap();
            }
            let _ = events.send("closed");
        }
    }

    /// Lets the runtime's time pass without sleeping. No call is in flight, so no timeout of one ends.
    async fn pass_a_minute() {
        pause();
        for _ in 0..8 {
            advance(IDLE / 4).await;
            yield_now().await;
        }
        resume();
    }

    #[tokio::test]
    async fn idle_connection_is_closed_and_the_next_call_makes_another() {
        let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("mcp-shim-XXXXXX")).unwrap();
        let socket = dir.join("remit.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let (sender, mut events) = unbounded_channel();
        let mut next = async || timeout(PATIENCE, events.recv()).await.ok().flatten();
        let (answer, may_answer) = unbounded_channel();
        thread::spawn(move || serve(&listener, &sender, may_answer));
        let daemon = Daemon::new(socket.clone());
        let rest = || async { daemon.last.lock().await.rest(&daemon.clock) };
        let call = |request| daemon.call("test", request, None);
        rest().await;
        assert!(
            daemon.last.lock().await.lost().is_none(),
            "it was never reached"
        );
        for round in 0..2 {
            call(Request::Jobs { limit: 1 }).await.unwrap();
            for expect in ["hello", "call"] {
                assert_eq!(next().await, Some(expect), "{round}");
            }
            // A call in flight keeps it, and so do those after it.
            let whole = async {
                assert_eq!(next().await, Some("call"), "{round}");
                rest().await;
                answer.send(()).unwrap();
            };
            let (answered, ()) = tokio::join!(call(Request::Snapshots), whole);
            answered.unwrap();
            call(Request::Jobs { limit: 1 }).await.unwrap();
            assert_eq!(next().await, Some("call"), "{round}");
            pass_a_minute().await;
            assert_eq!(next().await, Some("closed"), "{round}");
        }
        assert!(daemon.last.lock().await.lost().is_some(), "it was reached");
        fs::remove_dir_all(&dir).unwrap();
    }

    fn run(wait_ms: Option<u32>) -> Request {
        Request::Run(Run {
            wait_ms,
            request_id: Some("r".to_owned()),
            ..Run::new(What::Argv(vec![]), Purpose::Use)
        })
    }

    /// With a number the daemon would wait for an approval, too.
    #[tokio::test]
    async fn default_wait_stays_one_after_a_loss() {
        let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("mcp-shim-XXXXXX")).unwrap();
        let socket = dir.join("remit.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let calls = thread::spawn(move || {
            [false, true].map(|may_answer| {
                let (mut stream, _) = listener.accept().unwrap();
                let hello: FromClient = frame::read(&mut stream, caps::FRAME).unwrap();
                assert!(matches!(hello, FromClient::Hello(_)));
                let welcome = ToClient::Welcome {
                    protocol: PROTOCOL,
                    release: String::new(),
                };
                frame::write(&mut stream, &welcome, caps::FRAME).unwrap();
                let Ok(FromClient::Call { id, request }) = frame::read(&mut stream, caps::FRAME)
                else {
                    panic!("no call");
                };
                if may_answer {
                    let reply = Ok(Reply::Jobs(Vec::new()));
                    frame::write(&mut stream, &ToClient::Reply { id, reply }, caps::FRAME).unwrap();
                }
                request
            })
        });
        let daemon = Daemon::new(socket);
        daemon.call("test", run(None), None).await.unwrap();
        assert_eq!(calls.join().unwrap(), [run(None), run(None)]);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn every_wait_stays_below_sixty_seconds() {
        let query = Request::Job(JobQuery {
            job: JobId([0; 16]),
            wait_ms: caps::WAIT_MS,
            part: None,
        });
        for request in [
            run(None),
            run(Some(caps::WAIT_MS)),
            query,
            Request::Jobs { limit: 1 },
        ] {
            assert!(limit(&request) < Duration::from_secs(60));
        }
    }

    #[test]
    fn second_try_has_remaining_timeout() {
        let again = shortened(run(Some(5000)), Duration::from_millis(2000));
        assert_eq!(again, run(Some(3000)));
        assert_eq!(
            shortened(run(Some(1)), Duration::from_secs(9)),
            run(Some(0))
        );
        let default = u64::from(caps::WAIT_MS_DEFAULT);
        assert!(limit(&run(None)) > Duration::from_millis(2 * default));
    }
}
