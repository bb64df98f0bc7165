//! Synchronous client for the command line and for tests.

use std::fmt;
use std::io::{self, BufReader};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::admin::{ADMIN_PROTOCOL, AdminCall, AdminReply, AdminRequest};
use crate::caps;
use crate::frame::{self, FrameError};
use crate::refusal::Refusal;
use crate::wire::{FromClient, Hello, PROTOCOL, Progress, Reply, Request, ToClient};

/// Reason why a call has no answer.
#[derive(Debug)]
pub enum ClientError {
    /// Nothing listens on the socket.
    NotRunning {
        /// Path of the socket.
        socket: PathBuf,
        /// Error of connect(2).
        error: io::Error,
    },
    /// The socket exists, but this user may not connect.
    NotAllowed {
        /// Path of the socket.
        socket: PathBuf,
    },
    /// The connection broke, or the daemon speaks another protocol.
    Broken(FrameError),
    /// The daemon refused.
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

/// A connection to the daemon with one call at a time.
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
    let call = AdminCall {
        protocol: ADMIN_PROTOCOL,
        request,
    };
    let sent = frame::write(&mut stream, &call, caps::ADMIN_FRAME);
    match frame::read(&mut stream, caps::ADMIN_FRAME) {
        Ok(AdminReply::Refused(refusal)) => Err(ClientError::Refused(refusal)),
        Ok(reply) => Ok(reply),
        Err(error) => Err(sent.err().unwrap_or(error).into()),
    }
}

fn connect(socket: &Path) -> Result<UnixStream, ClientError> {
    UnixStream::connect(socket).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => ClientError::NotAllowed {
            socket: socket.to_path_buf(),
        },
        _ => ClientError::NotRunning {
            socket: socket.to_path_buf(),
            error,
        },
    })
}
