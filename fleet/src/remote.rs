//! Runs `remit` on a host over the user's own ssh, and bounds what comes back.
//!
//! **Invariant:** it neither makes nor uses a master connection to the host.

use std::process::ExitStatus;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use remit_common::text;
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{sleep, timeout};

use crate::config::Limits;
use crate::host_name::HostName;
use crate::link::answer;
use crate::link::reason::{self, OWN, Tail};
use crate::ssh::{self, RemoteCommand};

/// Bytes of an answer. The page of one request has less than 300,000.
const LARGEST: u64 = 1 << 20;
/// Bytes that are shown of what is no answer.
const EXCERPT: usize = 120;
/// Time for the last words of an ssh that has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Further logins of a host that takes no more at once, which is urgent to reach.
const AGAIN: u32 = 3;
/// How an object begins.
const START: &[u8] = b"{\"";
/// Of ssh itself.
const SSH_FAILED: i32 = 255;

/// How hosts are asked.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Time for the answer of one host. `None`: as long as it takes.
    pub limit: Option<Duration>,
    pub at_a_time: usize,
}

/// Why a host did not do something: a sentence about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotDone {
    NotAsked(String),
    /// Its command ended with a status. A part may be done: only the host's words say what.
    Failed(String),
    /// The connection ended or the time was over first.
    Unknown(String),
}

impl NotDone {
    pub fn not_asked() -> Self {
        Self::NotAsked("it was not asked".to_owned())
    }

    /// Returns the sentence about what should have been `done`.
    pub fn about(&self, done: &str) -> String {
        match self {
            Self::NotAsked(why) => format!("not {done}: {why}"),
            Self::Failed(why) => format!("remit there failed: {why}"),
            Self::Unknown(why) => format!("whether it is {done} is not known: {why}"),
        }
    }
}

impl From<NotDone> for String {
    fn from(not_done: NotDone) -> Self {
        match not_done {
            NotDone::NotAsked(why) | NotDone::Failed(why) | NotDone::Unknown(why) => why,
        }
    }
}

/// Returns what `remit WORDS` printed. The login is a person's, and ends with its command: through a master connection that
/// stays open, another program of this user could approve without the key.
pub async fn remit(
    ssh: &ssh::Client,
    limits: &Limits,
    host: &HostName,
    what: (&[&str], Manner),
) -> Result<Vec<u8>, NotDone> {
    for _ in 0..AGAIN {
        match remit_once(ssh, limits, host, what).await {
            // No key was exchanged, so nothing was started.
            Err(NotDone::Unknown(why)) if reason::is_crowded(&why) => sleep(pause()).await,
            answered => return answered,
        }
    }
    remit_once(ssh, limits, host, what).await
}

/// Returns 0.3 to 2 seconds, another time for each host: sshd refuses at random.
fn pause() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanoseconds = now.map_or(0, |now| now.subsec_nanos());
    Duration::from_millis(300 + u64::from(nanoseconds / 1000 % 1700))
}

async fn remit_once(
    ssh: &ssh::Client,
    limits: &Limits,
    host: &HostName,
    (words, manner): (&[&str], Manner),
) -> Result<Vec<u8>, NotDone> {
    let way = ssh.way(host, false).await;
    let way = way.map_err(NotDone::NotAsked)?.without_master();
    let command = RemoteCommand::remit(words);
    let child = ssh
        .start(host, &way, limits, &command, ssh::ProcessGroup::Terminal)
        .await;
    let mut child = child.map_err(NotDone::NotAsked)?;
    drop(child.stdin.take());
    let (Some(mut stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(NotDone::Unknown("ssh has no pipes".to_owned()));
    };
    let mut tail = Tail::default();
    let answer = async {
        // A host that prints too much would wait for its reader.
        let said = keep(&mut stderr, &mut tail);
        tokio::pin!(said);
        let ended = async {
            let output = read(&mut stdout).await?;
            let status = child.wait().await.map_err(|error| error.to_string())?;
            Ok::<_, String>((output, status))
        };
        tokio::pin!(ended);
        tokio::select! {
            ended = &mut ended => {
                // A process that a login left behind holds it open.
                let _ = timeout(LAST_WORDS, said).await;
                ended
            }
            () = &mut said => ended.await,
        }
    };
    let answered = match manner.limit {
        None => answer.await,
        Some(limit) => {
            let late = |_| Err(format!("no answer within {} s", limit.as_secs()));
            timeout(limit, answer).await.unwrap_or_else(late)
        }
    };
    let (output, status) = answered.map_err(NotDone::Unknown)?;
    let failure = || failure(status, &tail.lines(), &ssh.typed());
    match status.code() {
        Some(0) => Ok(output),
        Some(SSH_FAILED) | None => Err(NotDone::Unknown(failure())),
        Some(_) => Err(NotDone::Failed(failure())),
    }
}

fn is_of_remit(said: &str) -> bool {
    said.starts_with(OWN) || said.contains(&format!("; {OWN}"))
}

/// Returns the sentence about an ssh that ended so, with `ssh` as a person types it.
pub fn failure(status: ExitStatus, said: &str, ssh: &str) -> String {
    match status.code() {
        // What remit says needs no guess about its meaning.
        Some(code) if !reason::is_about_key(said) && is_of_remit(said) => {
            format!("{said} (status {code})")
        }
        Some(SSH_FAILED) => reason::sentence("ssh ended with status 255", said, "", ssh),
        Some(code) => reason::sentence(&format!("status {code}"), said, "", ssh),
        None => "ssh was killed".to_owned(),
    }
}

async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = from.take(LARGEST + 1).read_to_end(&mut bytes).await;
    read.map_err(|error| format!("cannot read its output: {error}"))?;
    match u64::try_from(bytes.len()).is_ok_and(|length| length <= LARGEST) {
        true => Ok(bytes),
        false => Err(format!("it printed more than {LARGEST} bytes")),
    }
}

async fn keep(from: &mut (impl AsyncRead + Unpin), tail: &mut Tail) {
    let mut buffer = vec![0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        tail.add(buffer.get(..count).unwrap_or_default());
    }
}

/// Reads the JSON object that `remit --json` printed, with all texts escaped: the last line that is one and has `key`, or else
/// the last one. What a login prints is passed over.
pub fn object(output: &[u8], key: &str) -> Result<Map<String, Value>, String> {
    let mut last = None;
    for line in output.rsplit(|byte| *byte == b'\n') {
        match answer_in(line) {
            Some(object) if object.contains_key(key) => return Ok(object),
            object => last = last.or(object),
        }
    }
    last.ok_or_else(|| {
        let said = text::line(output.trim_ascii(), EXCERPT);
        let shown = match said.is_empty() {
            true => String::new(),
            false => format!(
                ": {said}; if a login there prints it, let it print nothing without a terminal"
            ),
        };
        format!("it printed no object of JSON{shown}")
    })
}

/// A login may print without a newline before the answer.
fn answer_in(line: &[u8]) -> Option<Map<String, Value>> {
    let begin = line.windows(START.len()).position(|part| part == START);
    let whole = serde_json::from_slice(line).ok();
    let value = whole.or_else(|| serde_json::from_slice(line.get(begin?..)?).ok())?;
    match answer::visible(value) {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_is_the_last_object_with_its_key() {
        for (output, expect) in [
            ("{\"a\":\"b\\u001b[2J\"}\n", "b\\x1b[2J"),
            ("{\"a\":1}", "1"),
            ("Welcome!\n{\"a\":1}\r\n", "1"),
            ("Hi {you}! {\"a\":1}\nBye\n", "1"),
            ("{\"a\":1}\n{\"a\":2}\n{\"b\":3}\n[4]\n", "2"),
            ("{\"b\":3}\n{}\n", "none"),
        ] {
            let found = object(output.as_bytes(), "a").unwrap();
            let found = found.get("a").map_or_else(
                || "none".to_owned(),
                |value| value.as_str().map_or(value.to_string(), str::to_owned),
            );
            assert_eq!(found, expect, "{output}");
        }
        for wrong in [&b"[]"[..], b"{", b"Welcome!\n", b"\xff"] {
            let why = object(wrong, "a").unwrap_err();
            assert!(why.ends_with("print nothing without a terminal"), "{why}");
        }
        let why = object(b"", "a").unwrap_err();
        assert_eq!(why, "it printed no object of JSON");
        let long = object(&[b'x'; 1 << 20], "a").unwrap_err();
        assert!(long.len() < 300, "{long}");
    }
}
