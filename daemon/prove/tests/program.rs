//! The real program, with a question on its standard input. Needs root.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::io::Write;
use std::process::{Command, Stdio};

use common::Laid;
use remit_common::prove::Question;
use remit_policy::exchange::{receive, send};
use remit_prove::question::Answer;

const MACHINE: &str = include_str!("machines/cron-script-in-a-directory-of-a-group.toml");

fn asked(request: &[u8]) -> (Option<Answer>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_remit-prove"))
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(request).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (receive(&mut &output.stdout[..]).ok(), said)
}

fn bytes(question: &Question) -> Vec<u8> {
    let mut bytes = Vec::new();
    send(&mut bytes, question).unwrap();
    bytes
}

#[test]
fn confined_program_answers_as_the_library() {
    let laid = Laid::out("program", MACHINE);
    let (answer, said) = asked(&bytes(&laid.question()));
    let Some(Answer::Report(found)) = answer else {
        panic!("{answer:?} {said}");
    };
    assert_eq!(found.subjects, laid.report().subjects);
    assert!(!found.subjects[0].reaches.is_empty());
    assert!(found.unknown.is_empty(), "{:?}", found.unknown);
}

#[test]
fn wrong_questions_are_refused_with_the_reason() {
    let laid = Laid::out("questions", MACHINE);
    let question = laid.question();
    for (question, why) in [
        (
            Question {
                release: "0.0.1".into(),
                ..question.clone()
            },
            "was asked by release 0.0.1",
        ),
        (
            Question {
                root: b"/no/such/directory".to_vec().into(),
                ..question.clone()
            },
            "cannot open '/no/such/directory'",
        ),
        (
            Question {
                policy: b"nonsense".to_vec().into(),
                ..question.clone()
            },
            "the policy is not usable",
        ),
        (
            Question {
                subject: Some("stranger".into()),
                ..question.clone()
            },
            "there is no 'stranger'",
        ),
    ] {
        match asked(&bytes(&question)) {
            (Some(Answer::Refused(found)), _) => assert!(found.contains(why), "{found}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn nonsense_is_no_question() {
    for request in [
        &b""[..],
        &[1, 255, 255, 255, 255],
        &[1, 3, 0, 0, 0, 9, 9, 9],
    ] {
        let (answer, said) = asked(request);
        assert!(answer.is_none());
        assert!(said.starts_with("remit-prove: "), "{said}");
    }
}
