//! Messages between the daemon's child that reads files and names, and the process that compiles them. Both are of
//! the same release. A frame is a version, a length and the message; the length is bounded.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::model::diagnostic::{Diagnostic, Source};
use crate::model::machine::{HostAddress, Ids, Machine, Program};

const VERSION: u8 = 1;
/// Maximum number of bytes of a message: a model with all patterns that a policy may have.
const MOST: u32 = 64 << 20;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToCompiler {
    Policy {
        /// That of the daemon. The compiler of another release may mean something else by the same bytes.
        release: String,
        sources: Vec<Source>,
        /// The encoded policy in force: what changes is reported.
        before: Option<Vec<u8>>,
    },
    Answer(Answer),
    Settings {
        release: String,
        file: String,
        text: String,
    },
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromCompiler {
    Asks(Question),
    Compiled {
        model: Vec<u8>,
        warnings: Vec<Diagnostic>,
        changes: Vec<String>,
    },
    Refused(Vec<Diagnostic>),
    Settings(Vec<u8>),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    User(String),
    Group(String),
    GroupsOf(String),
    Members(u32),
    LastUid(String),
    LastGid(String),
    Addresses(String),
    Program(String),
    Protected,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    Ids(Option<Ids>),
    Id(Option<u32>),
    List(Vec<u32>),
    Addresses(Vec<HostAddress>),
    Program(Program),
    Paths(Vec<String>),
}

impl Question {
    pub fn length(&self) -> usize {
        match self {
            Self::User(text)
            | Self::Group(text)
            | Self::GroupsOf(text)
            | Self::LastUid(text)
            | Self::LastGid(text)
            | Self::Addresses(text)
            | Self::Program(text) => text.len(),
            Self::Members(_) | Self::Protected => 0,
        }
    }

    pub fn ask(&self, machine: &dyn Machine) -> Answer {
        match self {
            Self::User(name) => Answer::Ids(machine.user(name)),
            Self::Group(name) => Answer::Id(machine.group(name)),
            Self::GroupsOf(user) => Answer::List(machine.groups_of(user)),
            Self::Members(gid) => Answer::List(machine.members(*gid)),
            Self::LastUid(user) => Answer::Id(machine.last_uid(user)),
            Self::LastGid(group) => Answer::Id(machine.last_gid(group)),
            Self::Addresses(host) => Answer::Addresses(machine.addresses(host)),
            Self::Program(path) => Answer::Program(machine.program(path)),
            Self::Protected => Answer::Paths(machine.protected()),
        }
    }
}

pub fn send(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let body = postcard::to_extend(message, Vec::new()).map_err(io::Error::other)?;
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    if length > MOST {
        return Err(io::Error::other("the message is too long"));
    }
    to.write_all(&[&[VERSION], length.to_le_bytes().as_slice(), &body].concat())
}

/// Reads one message. An end of the stream before or in it is an error.
pub fn receive<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<T> {
    let mut head = [0; 5];
    from.read_exact(&mut head)?;
    let [version, length @ ..] = head;
    let length = u32::from_le_bytes(length);
    if version != VERSION {
        return Err(invalid(format!(
            "its message has version {version}, not {VERSION}"
        )));
    }
    if length > MOST {
        return Err(invalid(format!(
            "its message has {length} bytes, over {MOST}"
        )));
    }
    let mut body = Vec::new();
    from.take(length.into()).read_to_end(&mut body)?;
    if body.len() != length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    match postcard::take_from_bytes(&body) {
        Ok((message, [])) => Ok(message),
        Ok(_) => Err(invalid(
            "its message has more bytes than it needs".to_owned(),
        )),
        Err(error) => Err(invalid(format!("its message cannot be decoded: {error}"))),
    }
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
