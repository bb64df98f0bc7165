//! Tests help and usage.

use std::path::Path;
use std::process::Stdio;

use crate::fake::{Said, remit};

fn said(args: &[&str]) -> Said {
    remit(Path::new("/nonexistent"), args)
        .output()
        .unwrap()
        .into()
}

#[test]
fn help_and_version_go_to_stdout() {
    for args in [
        &["--help"][..],
        &["--version"],
        &["run", "--help"],
        &["policy", "--help"],
    ] {
        let said = said(args);
        assert_eq!(
            (said.status, said.stderr.as_str()),
            (Some(0), ""),
            "{args:?}"
        );
        assert!(said.text().contains("remit"), "{args:?}");
    }
}

#[test]
fn usage_is_64_on_stderr() {
    for args in [
        &[][..],
        &["rnu"],
        &["run"],
        &["run", "--nope", "x"],
        &["policy"],
    ] {
        let said = said(args);
        assert_eq!((said.status, said.text()), (Some(64), ""), "{args:?}");
        assert!(said.stderr.contains("Usage: remit"), "{args:?} {said:?}");
    }
}

#[test]
fn a_closed_reader_is_no_panic() {
    for args in [&["--help"][..], &["completions", "zsh"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = remit(Path::new("/nonexistent"), args)
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn();
        let said = Said::from(child.unwrap().wait_with_output().unwrap());
        assert_eq!(
            (said.status, said.stderr.as_str()),
            (Some(0), ""),
            "{args:?}"
        );
    }
}
