//! One file to or from one host. Time and bytes of a host are bounded.

use std::fs::File;
use std::future::pending;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::pin::pin;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use remit_common::RELEASE;
use remit_plan::Upload;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::naming::Naming;
use super::receipt::Said;
use crate::engine::Engine;
use crate::exit::say;
use crate::host_name::HostName;
use crate::link::reason;
use crate::remote;
use crate::ssh::{Process, ProcessGroup, RemoteCommand, Way};

const PIECE: usize = 64 << 10;
/// Time until the first byte: the job that prints it may wait for a slot, or for a person.
const FIRST: Duration = Duration::from_secs(600);
/// Time for each further piece, and for the end after the last one.
const NEXT: Duration = Duration::from_secs(60);
/// Time for the end after the last piece that ssh took: on a slow line, what ssh and the kernel hold takes minutes.
const DRAINED: Duration = Duration::from_secs(300);
/// Time for words after the end: something else can hold standard error open.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Bytes that a host may print while it gets a file, such as a login's words.
const CHATTER: u64 = 64 << 10;

/// What a host may send, and the way out if that is too little.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    pub bytes: u64,
    pub way_out: &'static str,
}

/// The way to one host.
#[derive(Clone, Debug)]
pub struct Road {
    pub engine: Arc<Engine>,
    pub host: HostName,
    pub may_become_master: bool,
}

impl Road {
    pub fn each(engine: &Arc<Engine>, hosts: &[HostName]) -> impl Iterator<Item = Self> {
        let may_become_master = engine.keeps_masters(hosts.len());
        hosts.iter().map(move |host| Self {
            engine: Arc::clone(engine),
            host: host.clone(),
            may_become_master,
        })
    }

    /// Returns the road of another login, which says why this one failed: a login that becomes a master may hide it.
    fn again(&self, why: &str) -> Option<Self> {
        let is_hidden = self.may_become_master && reason::gives_no_reason(why);
        is_hidden.then(|| Self {
            may_become_master: false,
            ..self.clone()
        })
    }
}

/// Sends the bytes that the upload names.
pub async fn put(road: &Road, upload: Upload, file: &File) -> Result<(), String> {
    match put_once(road, upload, file).await {
        Err(why) if let Some(road) = road.again(&why) => put_once(&road, upload, file).await,
        sent => sent,
    }
}

async fn put_once(road: &Road, upload: Upload, file: &File) -> Result<(), String> {
    let (mut session, way) = Transfer::start(road, &RemoteCommand::put(upload)).await?;
    let heard = Arc::clone(&session.heard);
    let sent = session.put(&road.host, upload, file, DRAINED);
    watched(road, &way, &heard, sent).await
}

/// Writes what the host prints, within the bound. Returns their name.
pub async fn get<W: Write>(
    road: &Road,
    path: &[u8],
    to: &mut W,
    most: Bound,
) -> Result<Upload, String> {
    let mut received = 0;
    match get_once(road, path, to, most, &mut received).await {
        Err(why)
            if received == 0
                && let Some(road) = road.again(&why) =>
        {
            get_once(&road, path, to, most, &mut received).await
        }
        got => got,
    }
}

/// `received` becomes the number of bytes that came.
async fn get_once<W: Write>(
    road: &Road,
    path: &[u8],
    to: &mut W,
    most: Bound,
    received: &mut u64,
) -> Result<Upload, String> {
    let (mut session, way) = Transfer::start(road, &RemoteCommand::get(path)).await?;
    let heard = Arc::clone(&session.heard);
    let got = async {
        let (_, mut stdout) = session.pipes()?;
        let heard = Arc::clone(&session.heard);
        let work = receive(&mut stdout, to, most, (&heard, received));
        let (upload, status) = session.attend(&road.host, work).await?;
        session.judge(status, upload)?;
        Ok(upload)
    };
    watched(road, &way, &heard, got).await
}

/// Does the work. If the host is silent for as long as a login may take, leaves its master if that hangs: the next session
/// would hang in it, too. A host that gets a file is silent until its end, and a job may wait, so this session goes on.
async fn watched<T>(
    road: &Road,
    way: &Way,
    heard: &Notify,
    work: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let silence = async {
        let patience = road.engine.fleet.limits.connect();
        if timeout(patience, heard.notified()).await.is_err() {
            road.engine.ssh().drop_hanging_master(way).await;
        }
        pending().await
    };
    tokio::select! {
        done = work => done,
        never = silence => never,
    }
}

/// An ssh process, which ends when this is dropped, and its words so far.
struct Transfer {
    child: Process,
    said: Said,
    /// How a person types this ssh.
    ssh: String,
    /// The first byte of the host.
    heard: Arc<Notify>,
}

impl Transfer {
    async fn start(road: &Road, command: &RemoteCommand) -> Result<(Self, Way), String> {
        let (ssh, limits) = (road.engine.ssh(), &road.engine.fleet.limits);
        let way = ssh.way(&road.host, road.may_become_master).await?;
        let child = ssh
            .start(&road.host, &way, limits, command, ProcessGroup::Own)
            .await?;
        ssh.note_use(&way);
        let transfer = Self {
            child,
            said: Said::default(),
            ssh: ssh.typed(),
            heard: Arc::default(),
        };
        Ok((transfer, way))
    }

    /// After the last piece, the host has this time for the end of its output.
    async fn put(
        &mut self,
        host: &HostName,
        upload: Upload,
        file: &File,
        limit: Duration,
    ) -> Result<(), String> {
        let (mut stdin, mut stdout) = self.pipes()?;
        let heard = Arc::clone(&self.heard);
        let work = async {
            let mut sent = pin!(async {
                send(&mut stdin, upload, file).await?;
                // It reads to the end.
                drop(stdin);
                Ok(())
            });
            let mut passed = pin!(pass_over(&mut stdout, &heard));
            tokio::select! {
                sent = &mut sent => {
                    sent?;
                    let passed = timeout(limit, passed).await;
                    passed.unwrap_or_else(|_| Err(late("the end", limit)))
                }
                passed = &mut passed => {
                    passed?;
                    sent.await
                }
            }
        };
        let ((), status) = self.attend(host, work).await?;
        self.judge(status, upload)
    }

    fn pipes(&mut self) -> Result<(ChildStdin, ChildStdout), String> {
        let pipes = self.child.stdin.take().zip(self.child.stdout.take());
        pipes.ok_or_else(|| "ssh has no pipes".to_owned())
    }

    /// Does the work with the pipes, waits for the end of ssh, and reads its words meanwhile.
    async fn attend<T>(
        &mut self,
        host: &HostName,
        work: impl Future<Output = Result<T, String>>,
    ) -> Result<(T, ExitStatus), String> {
        let stderr = self.child.stderr.take().ok_or("ssh has no pipes")?;
        let child = &mut self.child;
        let mut work = pin!(async {
            let done = work.await?;
            let status = timeout(NEXT, child.wait()).await;
            let status = status.map_err(|_| late("the end", NEXT))?;
            let status = status.map_err(|error| format!("cannot wait for ssh: {error}"))?;
            Ok((done, status))
        });
        let mut listening = pin!(listen(stderr, &mut self.said, &self.heard, host));
        let (done, is_silent) = tokio::select! {
            biased;
            done = &mut work => (done, false),
            () = &mut listening => (work.await, true),
        };
        if !is_silent {
            // What came until then counts.
            let _ = timeout(LAST_WORDS, listening).await;
        }
        done
    }

    /// Fails unless all was well there, and the receipt names these bytes: something else than mcp-shim may have answered.
    fn judge(&self, status: ExitStatus, expected: Upload) -> Result<(), String> {
        match (status.code(), self.said.receipt()) {
            (Some(0), Some(receipt)) if receipt == expected => Ok(()),
            (Some(0), Some(receipt)) => Err(format!(
                "its receipt is for {} other bytes; a login there that prints something spoils files",
                receipt.size
            )),
            (Some(0), None) => Err(format!(
                "no receipt came: mcp-shim of remit {RELEASE} has to answer there"
            )),
            (Some(code), _) if let Some(own) = self.said.own() => {
                Err(format!("{own} (status {code})"))
            }
            _ => Err(remote::failure(status, &self.said.last(), &self.ssh)),
        }
    }
}

/// Reads standard error to its end. Shows why nothing comes yet, once.
async fn listen(mut from: ChildStderr, said: &mut Said, heard: &Notify, host: &HostName) {
    let mut buffer = [0; 4096];
    let mut is_shown = false;
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        heard.notify_one();
        let waiting = said.add(buffer.get(..count).unwrap_or_default());
        if let Some(waiting) = waiting
            && !is_shown
        {
            say(&format!("{host}: {waiting}"));
            is_shown = true;
        }
    }
    said.end();
}

fn late(what: &str, limit: Duration) -> String {
    format!("{what} did not come within {} s", limit.as_secs())
}

async fn send(to: &mut ChildStdin, upload: Upload, file: &File) -> Result<(), String> {
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    while at < upload.size {
        let length = piece
            .len()
            .min(usize::try_from(upload.size - at).unwrap_or(PIECE));
        let read = file.read_at(piece.get_mut(..length).unwrap_or_default(), at);
        let read = read.map_err(|error| format!("cannot read the file: {error}"))?;
        if read == 0 {
            // It is shorter now. The host says so.
            break;
        }
        let sent = to.write_all(piece.get(..read).unwrap_or_default());
        match timeout(NEXT, sent).await {
            Err(_) => return Err(format!("it takes nothing for {} s", NEXT.as_secs())),
            // Its words and its status say why.
            Ok(Err(error)) if error.kind() == ErrorKind::BrokenPipe => break,
            Ok(Err(error)) => return Err(format!("cannot write to ssh: {error}")),
            Ok(Ok(())) => at += read as u64,
        }
    }
    Ok(())
}

/// Reads what nobody asked for. A host that prints without end would wait for its reader.
async fn pass_over(from: &mut ChildStdout, heard: &Notify) -> Result<(), String> {
    let mut buffer = [0; 4096];
    let mut printed = 0;
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        heard.notify_one();
        printed += count as u64;
        if printed > CHATTER {
            return Err("it prints without end, and mcp-shim prints nothing".to_owned());
        }
    }
    Ok(())
}

async fn receive(
    from: &mut ChildStdout,
    to: &mut impl Write,
    most: Bound,
    (heard, received): (&Notify, &mut u64),
) -> Result<Upload, String> {
    let (mut naming, mut piece) = (Naming::default(), vec![0; PIECE]);
    loop {
        let (what, limit) = match naming.size() {
            0 => ("a first byte", FIRST),
            _ => ("more of the file", NEXT),
        };
        let read = timeout(limit, from.read(&mut piece)).await;
        let read = read.map_err(|_| late(what, limit))?;
        let read = read.map_err(|error| format!("cannot read from ssh: {error}"))?;
        if read == 0 {
            return Ok(naming.end());
        }
        heard.notify_one();
        let bytes = piece.get(..read).unwrap_or_default();
        naming.add(bytes);
        *received = naming.size();
        if naming.size() > most.bytes {
            return Err(format!(
                "it sent more than {} bytes; {}",
                most.bytes, most.way_out
            ));
        }
        to.write_all(bytes)
            .map_err(|error| format!("cannot write the file here: {error}"))?;
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use tokio::process::Command;
    use tokio::runtime::Builder;

    use super::*;

    /// It takes the file, and neither ends nor closes its output.
    #[test]
    fn host_without_an_end_is_left() {
        let path = "/proc/self/exe";
        let upload = "0".repeat(64) + "-7";
        let upload: Upload = upload.parse().unwrap();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let outcome = runtime.block_on(async {
            let mut command = Command::new("sh");
            command.args(["-c", "cat >/dev/null; exec sleep 1000 2>/dev/null"]);
            let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
            let command = command.stderr(Stdio::piped());
            let mut transfer = Transfer {
                child: Process::spawn(command, ProcessGroup::Own, None).unwrap(),
                said: Said::default(),
                ssh: "ssh".to_owned(),
                heard: Arc::default(),
            };
            let file = File::open(path).unwrap();
            let host = "web1".parse().unwrap();
            transfer.put(&host, upload, &file, Duration::ZERO).await
        });
        assert_eq!(outcome, Err("the end did not come within 0 s".to_owned()));
    }
}
