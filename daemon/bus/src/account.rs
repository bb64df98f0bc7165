//! The account of a job's uid, answered to nss-systemd(8) as by systemd-userdbd.service(8), for programs that need a
//! name. No list has it. Invariant: an answer depends on the uid alone; what is not understood has no record.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};
use remit_closer::Closer;
use remit_link::ForeignSocket;
use remit_link::foreign::Unread;

use crate::ends::{JobEnd, pair};
use crate::limits::QuestionRates;

/// Of user and group.
pub const NAME: &str = "remit-job";
/// Sizes of `/run/systemd/userdb/io.systemd.Multiplexer` and `….DynamicUser`, without and with the final NUL.
pub const ADDRESSES: [u64; 2] = [44, 45];
const QUESTION: usize = 4096;

#[derive(Debug)]
pub struct Lookup {
    pub uid: u32,
    pub since: Instant,
    /// Set by its owner, which then removes it.
    pub is_over: bool,
    job: ForeignSocket,
    question: Vec<u8>,
}

impl Lookup {
    /// Returns the job's end, too.
    pub fn open(
        uid: u32,
        now: Instant,
        closer: &Closer,
        counted: &Arc<()>,
    ) -> io::Result<(Self, JobEnd)> {
        let (job, end) = pair(closer, counted)?;
        let lookup = Self {
            uid,
            since: now,
            is_over: false,
            job,
            question: Vec::new(),
        };
        Ok((lookup, end))
    }

    #[must_use]
    pub fn end(&self) -> BorrowedFd<'_> {
        self.job.as_fd()
    }

    /// Reads once, and answers what is complete, until the job has asked too often or does not read.
    pub fn on_job(&mut self, asked: &mut QuestionRates, now: Instant) {
        let mut bytes = [0; QUESTION];
        match self.job.recv(&mut bytes) {
            Ok(piece) if piece.length > 0 => self
                .question
                .extend(bytes.get(..piece.length).unwrap_or_default()),
            Err(Unread::Errno(Errno::EAGAIN | Errno::EINTR)) => {}
            Ok(_) | Err(_) => self.is_over = true,
        }
        while !self.is_over
            && let Some(end) = self.question.iter().position(|byte| *byte == 0)
        {
            let question: Vec<u8> = self.question.drain(..=end).collect();
            if !asked.count(self.uid, now) {
                self.is_over = true;
                return;
            }
            let answer = answer(&question, self.uid) + "\0";
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            // A job that does not read what it asks for is not served.
            self.is_over = send(self.job.as_raw_fd(), answer.as_bytes(), flags) != Ok(answer.len());
        }
        self.is_over |= self.question.len() >= QUESTION;
    }
}

/// Answers a call of <https://systemd.io/USER_GROUP_API>. Unparsed: the answer is the job's own account or none.
fn answer(question: &[u8], uid: u32) -> String {
    let question = String::from_utf8_lossy(question);
    let asks = |text: &str| question.contains(text);
    let is_own = |id: &str, name: &str| {
        let by_id = [',', '}'].map(|end| format!("\"{id}\":{uid}{end}"));
        by_id.iter().any(|text| asks(text)) || asks(&format!("\"{name}\":\"{NAME}\""))
    };
    // nss-systemd refuses a record without its service.
    let record = |fields: String| {
        format!(
            "{{\"parameters\":{{\"record\":{{{fields},\"disposition\":\"dynamic\",\"service\":\"org.remit\"}},\"incomplete\":false}}}}"
        )
    };
    if asks("\"io.systemd.UserDatabase.GetUserRecord\"") && is_own("uid", "userName") {
        return record(format!(
            "\"userName\":\"{NAME}\",\"uid\":{uid},\"gid\":{uid},\"realName\":\"a job of remit\",\"homeDirectory\":\"/tmp/home\",\
             \"shell\":\"/usr/sbin/nologin\""
        ));
    }
    if asks("\"io.systemd.UserDatabase.GetGroupRecord\"") && is_own("gid", "groupName") {
        return record(format!("\"groupName\":\"{NAME}\",\"gid\":{uid}"));
    }
    "{\"error\":\"io.systemd.UserDatabase.NoRecordFound\",\"parameters\":{}}".to_owned()
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use nix::sys::socket::recv;

    use super::*;

    fn open() -> (Lookup, OwnedFd) {
        let opened = Lookup::open(7, Instant::now(), &Closer::default(), &Arc::default());
        let (lookup, end) = opened.unwrap();
        (lookup, end.fd)
    }

    const NOTHING: &[u8] = &[0; QUESTION];

    fn asking(rates: &mut QuestionRates, now: Instant, question: &[u8]) -> (Lookup, OwnedFd) {
        let (mut lookup, end) = open();
        let flags = MsgFlags::MSG_DONTWAIT;
        assert_eq!(send(end.as_raw_fd(), question, flags), Ok(question.len()));
        lookup.on_job(rates, now);
        (lookup, end)
    }

    fn heard(end: &OwnedFd) -> usize {
        let mut bytes = vec![0; 1 << 20];
        match recv(end.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => bytes[..length].iter().filter(|byte| **byte == 0).count(),
            Err(Errno::EAGAIN) => 0,
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn questions_have_the_rate_of_calls() {
        let (mut rates, now) = (QuestionRates::default(), Instant::now());
        let (lookup, end) = asking(&mut rates, now, &[0; 3]);
        assert_eq!((lookup.is_over, heard(&end)), (false, 3));
        while rates.count(7, now) {}
        let (lookup, end) = asking(&mut rates, now, &[0; 3]);
        assert_eq!((lookup.is_over, heard(&end)), (true, 0));
        let later = now + std::time::Duration::from_secs(1);
        let (lookup, end) = asking(&mut rates, later, &[0; 3]);
        assert_eq!((lookup.is_over, heard(&end)), (false, 3));
    }

    #[test]
    fn job_that_is_lost_is_answered_no_more() {
        let (mut rates, now) = (QuestionRates::default(), Instant::now());
        let (mut lookup, end) = open();
        send(end.as_raw_fd(), NOTHING, MsgFlags::MSG_DONTWAIT).unwrap();
        drop(end);
        lookup.on_job(&mut rates, now);
        assert!(lookup.is_over);
        let left = std::iter::from_fn(|| rates.count(7, now).then_some(())).count();
        let mut fresh = QuestionRates::default();
        let all = std::iter::from_fn(|| fresh.count(7, now).then_some(())).count();
        assert_eq!(left, all - 1, "the first answer found nobody");
    }

    #[test]
    fn only_the_own_account_is_there() {
        let asked = |method: &str, what: &str| {
            let question = format!(
                "{{\"method\":\"io.systemd.UserDatabase.{method}\",\"parameters\":{{{what},\"service\":\"x\"}}}}\0"
            );
            answer(question.as_bytes(), 70_000)
        };
        for (method, what, has) in [
            (
                "GetUserRecord",
                "\"uid\":70000",
                "\"userName\":\"remit-job\"",
            ),
            (
                "GetUserRecord",
                "\"userName\":\"remit-job\"",
                "\"uid\":70000",
            ),
            (
                "GetGroupRecord",
                "\"gid\":70000",
                "\"groupName\":\"remit-job\"",
            ),
            ("GetUserRecord", "\"uid\":7000", "NoRecordFound"),
            ("GetUserRecord", "\"uid\":700001", "NoRecordFound"),
            ("GetUserRecord", "\"gid\":70000", "NoRecordFound"),
            ("GetUserRecord", "\"userName\":\"root\"", "NoRecordFound"),
            (
                "GetMemberships",
                "\"userName\":\"remit-job\"",
                "NoRecordFound",
            ),
            ("GetUserRecord", "\"x\":1", "NoRecordFound"),
        ] {
            let answer = asked(method, what);
            assert!(answer.contains(has), "{method} {what}: {answer}");
        }
        assert!(answer(b"\xff\0", 1).contains("NoRecordFound"));
    }
}
