//! A daemon's answer, split into its parts and checked: what is shown is what the digest covers.

use std::fmt;

use remit_approval::{AnswerHead, ApprovalRequest, COPIES, Context, Statement};
use remit_common::escape::foreign;
use remit_common::names::JobId;
use remit_plan::{Change, PlanPath, Stat};
use remit_policy::model::command::THEN_WORD;
use sha2::{Digest, Sha256};

use crate::decode::{Undecodable, decode};
use crate::hex;
use crate::shown::OldBytes;

/// Bytes of the line with the command.
const COMMAND: usize = 512;

/// A request whose digest was computed here, with contents that have its hashes.
#[derive(Clone, Debug)]
pub struct Verified {
    pub(crate) request: ApprovalRequest,
    pub(crate) context: Context,
    pub(crate) digest: [u8; 32],
    pub(crate) script: Option<Vec<u8>>,
    /// Absent if it is a plan that is withheld.
    pub(crate) stdin: Option<Vec<u8>>,
    /// In the order of [`ApprovalRequest::copied`], the first [`COPIES`]. Empty if they are withheld.
    pub(crate) copies: Vec<Vec<u8>>,
    pub(crate) is_withheld: bool,
    /// Of a plan: old bytes that the requester did not read, and the approver may.
    pub(crate) old: OldBytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unverified {
    Torn,
    Undecodable(Undecodable),
    OtherDigest {
        computed: [u8; 32],
        listed: [u8; 32],
    },
    OtherJob(JobId),
    /// The list entry names another command than the signed one.
    OtherCommand,
    OtherProfile,
    OtherContent(String),
}

impl fmt::Display for Unverified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the daemon's answer is not shown, and nothing was approved: ")?;
        match self {
            Self::Torn => f.write_str("its parts do not fit together"),
            Self::Undecodable(why) => write!(f, "its bytes are not a request: {why}"),
            Self::OtherDigest { computed, listed } => write!(
                f,
                "its bytes have the digest {}, but the daemon lists the request with {}",
                hex(computed),
                hex(listed)
            ),
            Self::OtherJob(job) => write!(f, "it is about another request, {job}"),
            Self::OtherCommand => f.write_str("it names another command than the request's"),
            Self::OtherProfile => f.write_str("it describes another sandbox than the request's"),
            Self::OtherContent(what) => write!(f, "{what} is not what the request's hash covers"),
        }
    }
}

impl std::error::Error for Unverified {}

impl Verified {
    /// Checks an answer of the daemon. Fails if any part of it contradicts another.
    pub fn from_answer(answer: &[u8]) -> Result<Self, Unverified> {
        let Answer {
            context,
            request: bytes,
            contents,
            is_withheld,
        } = Answer::split(answer).ok_or(Unverified::Torn)?;
        let request = decode(bytes).map_err(Unverified::Undecodable)?;
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        let listed = context.pending.digest;
        if digest != listed {
            let computed = digest;
            return Err(Unverified::OtherDigest { computed, listed });
        }
        if request.job != context.pending.job {
            return Err(Unverified::OtherJob(request.job));
        }
        let listed = context.pending.command.split(' ').next();
        if request.command.is_some() && request.command.as_deref() != listed {
            return Err(Unverified::OtherCommand);
        }
        if request.profile != context.profile.name {
            return Err(Unverified::OtherProfile);
        }
        let listed = context.acts.iter().map(|act| act.text.as_bytes());
        if !listed.eq(followed(&request)) {
            return Err(Unverified::OtherCommand);
        }
        let mut contents = contents.into_iter();
        // Only a plan is withheld: without one, standard input is there whoever reads it.
        let others = usize::from(request.script.is_some());
        let has_stdin = !is_withheld || contents.len() > others;
        let mut next = |what: &str, sha256: &[u8; 32]| {
            let content = contents.next().unwrap_or_default();
            match <[u8; 32]>::from(Sha256::digest(content)) == *sha256 {
                true => Ok(content.to_vec()),
                false => Err(Unverified::OtherContent(what.to_owned())),
            }
        };
        let script = request.script.as_ref();
        let script = script
            .map(|sha256| next("the script", sha256))
            .transpose()?;
        let stdin = request.stdin.as_ref().filter(|_| has_stdin);
        let stdin = stdin.map(|sha256| next("standard input", sha256));
        let stdin = stdin.transpose()?;
        let copies = request.copied().into_iter().take(COPIES);
        let has_withheld = copies.len() > 0 || request.stdin.is_some() && stdin.is_none();
        if is_withheld && !has_withheld {
            return Err(Unverified::Torn);
        }
        let copies = copies.filter(|_| !is_withheld);
        let copies = copies.map(|(at, file)| {
            let what = format!("the copy of argument {at}");
            let copy = next(&what, &file.sha256)?;
            match u64::try_from(copy.len()) == Ok(file.size) {
                true => Ok(copy),
                false => Err(Unverified::OtherContent(what)),
            }
        });
        let copies = copies.collect::<Result<Vec<_>, _>>()?;
        match contents.next() {
            Some(_) => Err(Unverified::Torn),
            None => Ok(Self {
                request,
                context,
                digest,
                script,
                stdin,
                copies,
                is_withheld,
                old: OldBytes::new(),
            }),
        }
    }

    /// Reads old files that the requester did not read: `read` gives bytes that the approver may read, if unchanged.
    #[must_use]
    pub fn with_old(mut self, read: impl Fn(&PlanPath, &Stat) -> Option<Vec<u8>>) -> Self {
        if let Some(bundle) = self.plan() {
            let entries = bundle.plan().entries().iter();
            let unread = entries.filter_map(|entry| {
                // A change of mode or owner has no diff.
                let (Change::Replace { base, .. }
                | Change::ReplaceKind { base, .. }
                | Change::Remove { base }) = entry.change
                else {
                    return None;
                };
                if !entry.change.has_unread_base() {
                    return None;
                }
                let bytes = read(&entry.path, &base.stat)?;
                Some((entry.path.clone(), bytes))
            });
            self.old = unread.collect();
        }
        self
    }

    /// Returns the text that an approver signs.
    #[must_use]
    pub fn statement(&self) -> String {
        Statement::of(&self.request, self.digest, self.context.head).to_string()
    }

    /// Returns the same, with the command of the signed bytes in place of the one that the list names: whoever sent the
    /// list is not believed.
    #[must_use]
    pub fn from_afar(mut self) -> Self {
        // Whole: only the mark of the cut here is not the requester's.
        let command = Statement::command(&self.request, usize::MAX);
        self.context.pending.command = foreign(&command, COMMAND);
        self
    }

    /// Returns whether the daemon has sent neither the content of copied files nor a plan. Such a page is read, and approves
    /// nothing.
    #[must_use]
    pub const fn is_withheld(&self) -> bool {
        self.is_withheld
    }

    /// Returns the hash of a plan that the daemon has not sent.
    pub(crate) fn withheld_plan(&self) -> Option<[u8; 32]> {
        self.request.stdin.filter(|_| self.stdin.is_none())
    }

    #[must_use]
    pub const fn job(&self) -> JobId {
        self.request.job
    }

    /// Returns the SHA-256 of the signed bytes. An approval of what is shown has this digest.
    #[must_use]
    pub const fn digest(&self) -> [u8; 32] {
        self.digest
    }
}

/// Returns true if a named command of the policy commits or undoes changes of files. Its arguments are the policy's.
pub(crate) fn is_commit(request: &ApprovalRequest) -> bool {
    let program = request.argv.first();
    let is_it = program.is_some_and(|program| program.as_bytes().ends_with(b"/remit-commit"));
    is_it && request.command.is_some()
}

/// Returns the calls of commands that follow a commit, as its arguments have them.
pub(crate) fn followed(request: &ApprovalRequest) -> impl Iterator<Item = &[u8]> {
    let own = is_commit(request).then_some(request.argv.as_slice());
    let pairs = own.unwrap_or_default().windows(2);
    pairs.filter_map(|pair| match pair {
        [word, call] if word.as_bytes() == THEN_WORD.as_bytes() => Some(call.as_bytes()),
        _ => None,
    })
}

/// The parts of an answer. None of them is checked.
#[derive(Debug)]
pub struct Answer<'a> {
    pub context: Context,
    pub request: &'a [u8],
    pub contents: Vec<&'a [u8]>,
    pub is_withheld: bool,
}

impl<'a> Answer<'a> {
    /// Returns the parts of `bytes`, or `None` if the lengths do not cover exactly all of them.
    #[must_use]
    pub fn split(bytes: &'a [u8]) -> Option<Self> {
        let (head, mut rest) = postcard::take_from_bytes::<AnswerHead>(bytes).ok()?;
        let mut take = |length: u64| {
            let (part, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            rest = after;
            Some(part)
        };
        let request = take(head.request)?;
        let contents = head.contents.iter().map(|length| take(*length));
        let contents = contents.collect::<Option<Vec<_>>>()?;
        rest.is_empty().then_some(Self {
            context: head.context,
            request,
            contents,
            is_withheld: head.is_withheld,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Asked, Scene};

    fn copied() -> Asked {
        Scene::new().asks_with_copies(&[b"abc"])
    }

    fn refused(change: fn(&mut Asked)) -> Unverified {
        let mut asked = copied();
        change(&mut asked);
        Verified::from_answer(&asked.answer()).unwrap_err()
    }

    #[test]
    fn copy_has_the_signed_hash_and_size() {
        assert_eq!(copied().verified().copies, [b"abc"]);
        let other = Unverified::OtherContent("the copy of argument 1".into());
        assert_eq!(refused(|asked| asked.contents[0] = b"abd".to_vec()), other);
        assert_eq!(refused(|asked| asked.contents.clear()), other);
        assert_eq!(refused(|asked| asked.request.files[0].size = 4), other);
        let more = refused(|asked| asked.contents.push(b"more".to_vec()));
        assert_eq!(more, Unverified::Torn);
    }

    #[test]
    fn withheld_copies_are_absent_and_said() {
        let withheld = |change: fn(&mut Asked)| {
            let mut asked = copied();
            (asked.is_withheld, asked.contents) = (true, Vec::new());
            change(&mut asked);
            Verified::from_answer(&asked.answer())
        };
        let verified = withheld(|_| {}).unwrap();
        assert!(verified.is_withheld() && !copied().verified().is_withheld());
        let shown = crate::shown(&verified);
        let (first, sha256) = (&shown.risks[0], hex(&Sha256::digest(b"abc")));
        assert!(first.contains("is not shown to you"), "{first}");
        let expect =
            format!("[… argument 1, in a copy: 3 bytes, sha256 {sha256}; not shown to you …]");
        assert_eq!(shown.script, [expect]);
        assert_eq!(verified.digest(), copied().verified().digest());
        // Its content beside the mark, and a mark without a copy.
        let more = withheld(|asked| asked.contents.push(b"abc".to_vec()));
        assert_eq!(more.unwrap_err(), Unverified::Torn);
        let none = withheld(|asked| {
            asked.request.slots.clear();
            asked.request.files.pop();
        });
        assert_eq!(none.unwrap_err(), Unverified::Torn);
    }

    #[test]
    fn withheld_plan_is_absent_and_said() {
        let plan = b"a plan";
        let commit = || Scene::new().asks_to_commit(plan, Vec::new());
        let mut asked = commit();
        (asked.is_withheld, asked.contents) = (true, Vec::new());
        let verified = asked.verified();
        let page = crate::shown(&verified);
        let sha256 = hex(&Sha256::digest(plan));
        let stdin = format!("sha256 {sha256}: a plan, not shown to you");
        assert_eq!(page.stdin, Some(stdin));
        let is_said = |risk: &&String| risk.contains("is not shown to you");
        assert_eq!(page.risks.iter().filter(is_said).count(), 1, "{page:?}");
        assert!(page.plan.is_none() && !page.pending.yours, "{page:?}");
        assert_eq!(verified.digest(), commit().verified().digest());
        // A mark with all of the contents, no contents without a mark, and other bytes in their position.
        for (is_withheld, contents, expect) in [
            (true, vec![plan.to_vec()], Unverified::Torn),
            (
                false,
                vec![],
                Unverified::OtherContent("standard input".into()),
            ),
            (
                true,
                vec![b"another".to_vec()],
                Unverified::OtherContent("standard input".into()),
            ),
        ] {
            let mut asked = commit();
            (asked.is_withheld, asked.contents) = (is_withheld, contents);
            let refused = Verified::from_answer(&asked.answer()).unwrap_err();
            assert_eq!(refused, expect, "{is_withheld}");
        }
    }

    #[test]
    fn listed_command_is_the_signed_one() {
        let listed = |command: &str| {
            let mut asked = copied();
            asked.request.command = Some("site.look".into());
            asked.context.pending.command = command.to_owned();
            Verified::from_answer(&asked.answer()).map(|verified| verified.job())
        };
        for command in ["site.look", "site.look page=a"] {
            assert!(listed(command).is_ok(), "{command}");
        }
        for command in ["", "site.looks", "look site.look", "'site.look' page=a"] {
            assert_eq!(listed(command), Err(Unverified::OtherCommand), "{command}");
        }
    }

    #[test]
    fn mark_of_a_cut_is_not_the_requesters() {
        let command = |word: &str| {
            let asked = Scene::new().program(&[b"/usr/bin/true", word.as_bytes()]);
            asked.from_afar().context.pending.command
        };
        assert_eq!(command("…"), r"run: /usr/bin/true '\u{2026}'");
        let long = command(&"y".repeat(600));
        assert!(long.ends_with("yy…") && long.len() <= COMMAND, "{long}");
    }

    #[test]
    fn digest_is_computed_over_the_bytes() {
        let asked = copied();
        let bytes = remit_approval::encode(&asked.request);
        let computed: [u8; 32] = Sha256::digest(&bytes).into();
        assert_eq!(copied().verified().digest(), computed);
        let listed = [0; 32];
        let refused = Verified::from_answer(&asked.lies(&bytes)).unwrap_err();
        assert_eq!(refused, Unverified::OtherDigest { computed, listed });
    }

    #[test]
    fn answer_cut_anywhere_is_refused() {
        let answer = copied().answer();
        for end in 0..answer.len() {
            assert!(Verified::from_answer(&answer[..end]).is_err(), "{end}");
        }
    }
}
