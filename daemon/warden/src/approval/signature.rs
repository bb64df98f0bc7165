//! Signatures of approvers. A child reads the keys and has `remit-verify` judge the signature; the loop compares what it
//! found with the rule and with who is connected. What the verifier says about a signature is all it decides.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::time::Duration;

use remit_approval::Statement;
use remit_approval::signers;
use remit_approval::verifier::{self, Answer, Question};
use remit_common::frame::FrameError;
use remit_common::refusal::{Code, Refusal};
use remit_common::signed::{NAMESPACE, SIGNATURE, Signed, Touch, body, proves};
use remit_policy::Proof;
use serde::{Deserialize, Serialize};

use crate::approval::accepted::read_keys;
use crate::approval::file_hash::MeasuredFiles;
use crate::approval::table::Request;
use crate::audit::Record;
use crate::audit::chain::hex;
use crate::service::helper::Helper;

/// Time for the verifier, which needs a millisecond. Its own limit is a second of processor time: on a busy machine the
/// program is not in memory yet. Shorter than the time limit for measuring, so a refusal names this program.
const PATIENCE: Duration = Duration::from_secs(5);

/// A signature to judge, and what it has to be of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureWanted {
    /// The directory with the file of keys.
    pub config: PathBuf,
    /// Uid and gid of the verifier: as the compiler's.
    pub id: u32,
    pub statement: Statement,
    pub signature: String,
    /// Account of the approver.
    pub account: String,
    /// Milliseconds since 1970.
    pub at_ms: u64,
}

/// A signature by a key of the approver, over exactly the text of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedSignature {
    pub statement: Statement,
    pub signature: String,
    pub fingerprint: String,
    /// As the file has it: kind and base64.
    pub key: String,
    pub touch: Option<Touch>,
    /// All accounts for which the key is listed, at any time.
    pub accounts: BTreeSet<String>,
}

/// Checks the form before anything is started.
pub fn check_form(signature: &str) -> Result<(), Refusal> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() || b" \r\n".contains(&byte);
    match signature.len() <= SIGNATURE && signature.bytes().all(is_plain) {
        true => Ok(()),
        false => {
            let text =
                format!("not approved: a signature has at most {SIGNATURE} bytes of ASCII text");
            let next =
                "send the output of ssh-keygen -Y sign by an ed25519, ECDSA P-256 or security key";
            Err(Refusal::new(Code::InvalidArgs, text).next(next))
        }
    }
}

impl SignatureWanted {
    /// Reads the keys and judges; may block. Fails with a sentence.
    pub fn verify(&self) -> Result<VerifiedSignature, String> {
        let file = self.config.join(signers::FILE);
        let file = file.display();
        let keys = read_keys(&self.config)?;
        let mut own = keys
            .0
            .iter()
            .filter(|key| key.is_of(&self.account))
            .peekable();
        if own.peek().is_none() {
            return Err(format!("{} has no key in '{file}'", self.account));
        }
        let question = Question {
            namespace: NAMESPACE.to_owned(),
            text: self.statement.to_string(),
            signature: self.signature.clone(),
            keys: keys
                .0
                .iter()
                .map(|key| (key.line, key.key.clone()))
                .collect(),
        };
        let good = match ask(&question, self.id)? {
            Answer::Good(good) => good,
            Answer::Bad(bad) => return Err(bad.to_string()),
        };
        let used = || keys.0.iter().filter(|key| good.lines.contains(&key.line));
        let mut refused = format!("its key is not one of {} in '{file}'", self.account);
        let is_valid = used().filter(|key| key.is_of(&self.account)).any(|key| {
            let why = key.refuses(self.at_ms);
            let is_valid = why.is_none();
            refused = why.unwrap_or_default();
            is_valid
        });
        if !is_valid {
            return Err(refused);
        }
        Ok(VerifiedSignature {
            statement: self.statement.clone(),
            signature: body(&self.signature),
            fingerprint: good.fingerprint,
            key: used().map(|key| key.key.clone()).next().unwrap_or_default(),
            touch: good.touch,
            accounts: used().flat_map(|key| key.names.iter().cloned()).collect(),
        })
    }
}

fn ask(question: &Question, id: u32) -> Result<Answer, String> {
    let name = verifier::PROGRAM;
    let cannot = |why: String| format!("it was not verified: '{name}' {why}");
    let mut helper = Helper::start(name, id, PATIENCE)
        .map_err(|error| cannot(format!("was not started: {error}")))?;
    let asked = question.write(&mut helper.to);
    let answer = asked.and_then(|()| Answer::read(&mut helper.from));
    let answer = answer.map_err(|error| cannot(helper.fault(&as_io(error), PATIENCE)))?;
    match answer {
        Answer::Good(good) if !good.is_plausible() => Err(cannot(
            "sent nonsense: a key without a fingerprint".to_owned(),
        )),
        answer => Ok(answer),
    }
}

fn as_io(error: FrameError) -> io::Error {
    match error {
        FrameError::Io(error) => error,
        FrameError::Closed => ErrorKind::UnexpectedEof.into(),
        error @ (FrameError::TooLong { .. } | FrameError::Malformed) => {
            io::Error::new(ErrorKind::InvalidData, error.to_string())
        }
    }
}

/// Decides whether the approval of this person is signed as the request's rules ask. Pure.
pub fn check_signed(request: &Request, found: &MeasuredFiles) -> Result<(), Refusal> {
    let asked = request.pending.approval().signed();
    let verified = match (&found.signature, asked) {
        (None, None) => return Ok(()),
        (None, Some(asked)) => return Err(unsigned(request, asked)),
        (Some(Err(why)), _) => return Err(not_accepted(why)),
        (Some(Ok(verified)), _) => verified,
    };
    proves(verified.touch, asked.unwrap_or(Signed::Key)).map_err(not_this_key)?;
    let is_of = |account: &str| verified.accounts.contains(account);
    if is_of(request.draft.requester.subject.user()) {
        return Err(not_this_key("its key is one of the requester, too"));
    }
    let mut earlier = request.approvals.iter();
    let is_shared = earlier.any(|one| {
        let own = one.signature.as_ref().map(|one| &one.accounts);
        is_of(one.by.user()) || own.is_some_and(|own| !own.is_disjoint(&verified.accounts))
    });
    match is_shared {
        true => Err(not_this_key(
            "its key is one of a person who has approved it already",
        )),
        false => Ok(()),
    }
}

/// Refuses an approval without a signature where one is asked for.
pub fn unsigned(request: &Request, asked: Signed) -> Refusal {
    let text = format!("not approved: its rule asks for {}", asked.asked());
    Refusal::new(Code::NeedsApproval, text)
        .by(request.pending.rule().to_string())
        .lift(request.line())
        .next("sign it with your own key; remit(1) has how, from here and from another computer")
}

fn not_accepted(why: impl AsRef<str>) -> Refusal {
    let text = format!(
        "not approved: the signature is not accepted: {}",
        why.as_ref()
    );
    Refusal::new(Code::DeniedRule, text).next("it still waits; sign again what remit show shows")
}

fn not_this_key(why: impl AsRef<str>) -> Refusal {
    not_accepted(why)
        .next("it still waits; sign again what remit show shows, with another key: --key FILE")
}

impl VerifiedSignature {
    pub const fn proof(&self) -> Proof {
        Proof { touch: self.touch }
    }

    /// Adds all that somebody needs to check it again without the daemon. `before`: the counter of its key's last signature.
    pub fn on_record(&self, record: Record, before: Option<u32>) -> Record {
        let Statement {
            summary,
            host,
            head,
            ..
        } = &self.statement;
        // With the record's job, digest and expiry these make the text again.
        let record = record
            .field("SIGNED_SUMMARY", summary)
            .field("SIGNED_HOST", host)
            .field("SIGNED_RECORD", format!("{}:{}", head.seq, hex(&head.hash)))
            .field("SIGNATURE", &self.signature)
            .field("SIGNED_BY", &self.fingerprint);
        let Some(Touch { flags, counter }) = self.touch else {
            return record;
        };
        let went_back = before.filter(|before| counter <= *before && (counter, *before) != (0, 0));
        let risk = went_back.map(|before| {
            format!(
                "the key's counter went from {before} to {counter}: there may be a copy of the key"
            )
        });
        record
            .number("SIGNED_FLAGS", flags)
            .number("SIGNED_COUNTER", counter)
            .maybe("SIGNED_RISK", risk)
    }
}
