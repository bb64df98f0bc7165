//! Synchronous client for the command line and for tests.

use std::io::{self, BufReader};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use crate::{FromClient, Hello, PROTOCOL, Progress, Reply, Request, ToClient};
use remit_common::admin::{ADMIN_PROTOCOL, AdminCall, AdminReply, AdminRequest};
use remit_common::caps;
use remit_common::frame::{self, FrameError};
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};

#[derive(Debug)]
pub enum ClientError {
    NotRunning {
        socket: PathBuf,
        /// Of connect(2).
        error: io::Error,
    },
    /// The socket exists, but this user may not connect.
    NotAllowed {
        socket: PathBuf,
    },
    /// The connection broke, or the daemon speaks another protocol.
    Broken(FrameError),
    Refused(Refusal),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning { socket, error } => {
                write!(
                    f,
                    "remitd is not running: cannot connect to '{}': {error}",
                    socket.display()
                )
            }
            Self::NotAllowed { socket } => {
                let (contact, group) = match socket.ends_with("admin.sock") {
                    true => ("this is for administrators; ask one", "remit-admin"),
                    false => ("ask an administrator", "remit"),
                };
                write!(
                    f,
                    "you may not connect to '{}': {contact} to add you to its group \
                     ('{group}', unless remit.toml names another); it counts from your next login",
                    socket.display()
                )
            }
            Self::Broken(error) => write!(f, "lost the connection to remitd: {error}"),
            Self::Refused(refusal) => f.write_str(&refusal.sentence()),
        }
    }
}

impl std::error::Error for ClientError {}

impl From<FrameError> for ClientError {
    fn from(error: FrameError) -> Self {
        Self::Broken(error)
    }
}

/// One call at a time.
#[derive(Debug)]
pub struct Client {
    socket: BufReader<UnixStream>,
    next: u32,
}

impl Client {
    /// Connects and sends a hello as `name`.
    pub fn connect(socket: &Path, name: &str) -> Result<Self, ClientError> {
        let mut stream = BufReader::new(connect(socket)?);
        let hello = FromClient::Hello(Hello {
            protocol: PROTOCOL,
            client: name.to_owned(),
        });
        // The answer is read even if the write fails: a daemon that refuses may close before it reads the hello.
        let sent = frame::write(stream.get_mut(), &hello, caps::FRAME);
        match frame::read(&mut stream, caps::FRAME) {
            Ok(ToClient::Welcome { .. }) => Ok(Self {
                socket: stream,
                next: 0,
            }),
            Ok(ToClient::Goodbye(refusal)) => Err(ClientError::Refused(refusal)),
            Ok(ToClient::Progress { .. } | ToClient::Reply { .. }) => {
                Err(FrameError::Malformed.into())
            }
            Err(error) => Err(sent.err().unwrap_or(error).into()),
        }
    }

    /// Makes one call and waits. Fails with [`ClientError::Refused`], or with [`ClientError::Broken`].
    pub fn call(
        &mut self,
        request: Request,
        mut progress: impl FnMut(Progress),
    ) -> Result<Reply, ClientError> {
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        frame::write(
            self.socket.get_mut(),
            &FromClient::Call { id, request },
            caps::FRAME,
        )?;
        loop {
            match frame::read(&mut self.socket, caps::FRAME)? {
                ToClient::Reply { id: of, reply } if of == id => {
                    return reply.map_err(ClientError::Refused);
                }
                ToClient::Progress { progress: now, .. } => progress(now),
                ToClient::Goodbye(refusal) => return Err(ClientError::Refused(refusal)),
                ToClient::Reply { .. } | ToClient::Welcome { .. } => {
                    return Err(FrameError::Malformed.into());
                }
            }
        }
    }
}

/// Makes one request on the admin socket. Fails as [`Client::connect`] and [`Client::call`].
pub fn admin(socket: &Path, request: AdminRequest) -> Result<AdminReply, ClientError> {
    let mut stream = connect(socket)?;
    let sent = send_call(&mut stream, request)?;
    match frame::read(&mut stream, caps::ADMIN_FRAME) {
        Ok(AdminReply::Refused(refusal)) => Err(ClientError::Refused(refusal)),
        Ok(reply) => Ok(reply),
        Err(error) => Err(sent.err().unwrap_or(error).into()),
    }
}

/// Asks for a pending change by a prefix of its id. Returns the bytes of all parts of the answer. Fails as [`admin`],
/// and if the parts contradict each other or hold more than [`caps::SHOWN`] bytes.
pub fn show(socket: &Path, id: String) -> Result<Vec<u8>, ClientError> {
    let mut stream = connect(socket)?;
    let sent = send_call(&mut stream, AdminRequest::Show { id })?;
    let mut all = Vec::new();
    let mut expected = None;
    loop {
        match frame::read(&mut stream, caps::ADMIN_FRAME) {
            Ok(AdminReply::Shown { left, bytes }) => {
                let length = left.saturating_add(bytes.len() as u64);
                let fits = length <= caps::SHOWN as u64 && expected.is_none_or(|e| e == length);
                if bytes.is_empty() || !fits {
                    return Err(FrameError::Malformed.into());
                }
                all.extend_from_slice(&bytes);
                if left == 0 {
                    return Ok(all);
                }
                expected = Some(left);
            }
            Ok(AdminReply::Refused(refusal)) => return Err(ClientError::Refused(refusal)),
            Ok(_) => return Err(FrameError::Malformed.into()),
            Err(error) => return Err(sent.err().unwrap_or(error).into()),
        }
    }
}

/// Sends a request. An error of the socket is returned beside: the daemon may have answered before it closed. A request
/// that is too long is refused here, because the daemon never gets it and so never answers.
fn send_call(
    stream: &mut UnixStream,
    request: AdminRequest,
) -> Result<Result<(), FrameError>, ClientError> {
    let call = AdminCall {
        protocol: ADMIN_PROTOCOL,
        request,
    };
    match frame::write(stream, &call, caps::ADMIN_FRAME) {
        Err(FrameError::TooLong { length, cap }) => {
            let text = format!("the request has {length} bytes, the maximum is {cap}");
            Err(ClientError::Refused(Refusal::new(Code::InvalidArgs, text)))
        }
        sent => Ok(sent),
    }
}

/// The file in which a process sees its control group.
const OWN_CGROUP: &str = "/proc/self/cgroup";
/// Before the id of a job, in the name of its control group.
const JOB_CGROUP: &str = "remit-";

/// Returns true for the text of [`OWN_CGROUP`] in a job. One with a namespace of its own does not see it.
fn is_of_job(cgroup: &str) -> bool {
    let mut names = cgroup.lines().flat_map(|line| line.split('/'));
    names.any(|name| {
        let id = name.strip_prefix(JOB_CGROUP);
        id.is_some_and(|id| id.parse::<JobId>().is_ok())
    })
}

/// A membership in a group would not help a job, and that of approvers must not be the advice.
fn refused_to_job(socket: &Path) -> Refusal {
    let message = format!("a job may not connect to '{}'", socket.display());
    Refusal::new(Code::DeniedKernel, message).next(
        "leave the job: an agent asks by its tools (change with undo, plan_id or argv), and lines for approvers are \
         typed by a person in a terminal of their own",
    )
}

fn connect(socket: &Path) -> Result<UnixStream, ClientError> {
    UnixStream::connect(socket).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied
            if fs::read_to_string(OWN_CGROUP).is_ok_and(|cgroup| is_of_job(&cgroup)) =>
        {
            ClientError::Refused(refused_to_job(socket))
        }
        io::ErrorKind::PermissionDenied => ClientError::NotAllowed {
            socket: socket.to_path_buf(),
        },
        _ => ClientError::NotRunning {
            socket: socket.to_path_buf(),
            error,
        },
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::Bytes;

    /// Asks a daemon that answers with these parts: bytes that follow, and bytes.
    fn shown(name: &str, parts: Vec<(u64, Vec<u8>)>) -> Result<Vec<u8>, ClientError> {
        let socket = std::env::temp_dir().join(format!("remit-{}-{name}", std::process::id()));
        // Of a test that was killed.
        let _ = fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let daemon = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let call: AdminCall = frame::read(&mut stream, caps::ADMIN_FRAME).unwrap();
            assert_eq!(call.request, AdminRequest::Show { id: "abab".into() });
            for (left, bytes) in parts {
                let bytes = Bytes::from(bytes);
                let part = AdminReply::Shown { left, bytes };
                // The client may have refused an earlier part.
                let _ = frame::write(&mut stream, &part, caps::ADMIN_FRAME);
            }
        });
        let answer = show(&socket, "abab".into());
        daemon.join().unwrap();
        fs::remove_file(&socket).unwrap();
        answer
    }

    #[test]
    fn only_control_group_of_job_is_of_job() {
        let id = "ab".repeat(16);
        for (cgroup, expect) in [
            (
                format!("0::/system.slice/remitd.service/remit-{id}/x\n"),
                true,
            ),
            (format!("1:cpu:/\n0::/a/remit-{id}\n"), true),
            (
                "0::/user.slice/user-1000.slice/session-3.scope\n".to_owned(),
                false,
            ),
            ("0::/system.slice/remit-broker.service\n".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(is_of_job(&cgroup), expect, "{cgroup}");
        }
        let refusal = refused_to_job(Path::new("/run/remit/admin.sock"));
        assert!(!refusal.to_string().contains("remit-admin"), "{refusal}");
    }

    #[test]
    fn parts_of_an_answer_are_joined_within_the_bound() {
        let parts = vec![(3, b"ab".to_vec()), (2, b"c".to_vec()), (0, b"de".to_vec())];
        assert_eq!(shown("joined", parts).unwrap(), b"abcde");
        let most = caps::SHOWN as u64;
        for (name, parts, is_bound) in [
            ("more", vec![(3, b"ab".to_vec()), (3, b"c".to_vec())], true),
            ("less", vec![(3, b"ab".to_vec()), (0, b"c".to_vec())], true),
            ("empty", vec![(3, b"ab".to_vec()), (3, Vec::new())], true),
            ("large", vec![(most, b"a".to_vec())], true),
            ("overflow", vec![(u64::MAX, b"ab".to_vec())], true),
            ("most", vec![(most - 1, b"a".to_vec())], false),
        ] {
            let error = match shown(name, parts).unwrap_err() {
                ClientError::Broken(error) => error,
                other => panic!("{name}: {other}"),
            };
            // Otherwise only the daemon's end of the connection is an error.
            let refused = matches!(error, FrameError::Malformed);
            assert_eq!(refused, is_bound, "{name}: {error}");
        }
    }
}
