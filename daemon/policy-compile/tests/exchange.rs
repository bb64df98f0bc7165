//! Messages between the daemon and the compiler: a frame that is cut, of another version or too long is an error.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

use std::io::ErrorKind;

use remit_policy::exchange::{Answer, FromCompiler, Question, ToCompiler, receive, send};
use remit_policy::{Diagnostic, Excerpt, Ids, MachineTable, Program, Severity};

fn sent(message: &FromCompiler) -> Vec<u8> {
    let mut bytes = Vec::new();
    send(&mut bytes, message).unwrap();
    bytes
}

fn received(bytes: &[u8]) -> Result<FromCompiler, ErrorKind> {
    receive(&mut &bytes[..]).map_err(|error| error.kind())
}

#[test]
fn only_a_whole_frame_is_a_message() {
    let message = FromCompiler::Asks(Question::User("ann".to_owned()));
    let whole = sent(&message);
    assert_eq!(received(&whole), Ok(message));
    for at in 0..whole.len() {
        assert_eq!(
            received(&whole[..at]),
            Err(ErrorKind::UnexpectedEof),
            "{at}"
        );
    }
    let changed = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        received(&bytes)
    };
    // Another version, more than 64 MiB, fewer bytes than the message needs, no such message.
    for (at, byte) in [(0, 2), (4, 5), (1, 3), (5, 99)] {
        assert_eq!(changed(at, byte), Err(ErrorKind::InvalidData), "{at}");
    }
    let mut more = sent(&FromCompiler::Asks(Question::Protected));
    more.push(0);
    more[1] += 1;
    assert_eq!(received(&more), Err(ErrorKind::InvalidData));
}

#[test]
fn answers_are_those_of_the_machine() {
    let machine = MachineTable {
        users: [("ann".to_owned(), Ids { uid: 7, gid: 8 })].into(),
        groups: [("ops".to_owned(), 9)].into(),
        listed: [(9, vec![7])].into(),
        protected: vec!["/etc/remit".to_owned()],
        ..MachineTable::default()
    };
    let name = |name: &str| name.to_owned();
    for (question, answer) in [
        (
            Question::User(name("ann")),
            Answer::Ids(Some(Ids { uid: 7, gid: 8 })),
        ),
        (Question::User(name("bob")), Answer::Ids(None)),
        (Question::Group(name("ops")), Answer::Id(Some(9))),
        (Question::GroupsOf(name("ann")), Answer::List(Vec::new())),
        (Question::Members(9), Answer::List(vec![7])),
        (Question::LastUid(name("ann")), Answer::Id(None)),
        (Question::LastGid(name("ops")), Answer::Id(None)),
        (
            Question::Addresses(name("a.example")),
            Answer::Addresses(Vec::new()),
        ),
        (
            Question::Program(name("/bin/x")),
            Answer::Program(Program::Trusted),
        ),
        (Question::Protected, Answer::Paths(vec![name("/etc/remit")])),
    ] {
        let mut bytes = Vec::new();
        send(&mut bytes, &ToCompiler::Answer(question.ask(&machine))).unwrap();
        let found: ToCompiler = receive(&mut bytes.as_slice()).unwrap();
        assert_eq!(found, ToCompiler::Answer(answer), "{question:?}");
    }
}

#[test]
fn finding_that_cannot_be_shown_is_not_bounded() {
    let whole = |message: &str| Diagnostic::whole(Severity::Error, "a.toml", message);
    let at = |skip, width| {
        let excerpt = Excerpt {
            line: 1,
            column: 1,
            shown: "x".to_owned(),
            skip,
            width,
        };
        Diagnostic::at(Severity::Error, "a.toml", excerpt, "m".to_owned())
    };
    assert!(whole("é").is_bounded() && at(99, 1).is_bounded());
    let long = "x".repeat(20_000);
    for odd in [
        whole("\u{1b}[2J"),
        whole(&long),
        at(70_000, 1),
        at(1, usize::MAX),
    ] {
        assert!(!odd.is_bounded());
    }
}
