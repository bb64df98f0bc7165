//! The text that an approver signs with a key of their own. It names the host, the job, the digest of all that will run,
//! until when an approval counts, and the newest record of the audit log when the request was recorded: so each
//! signature also fixes what was recorded before. Both sides make it from the request; it is never sent.

use std::fmt;

use remit_common::admin::AuditHead;
use remit_common::hex::hex;
use remit_common::names::JobId;
use remit_common::{calendar, text};
use serde::{Deserialize, Serialize};

use crate::request::ApprovalRequest;

const TITLE: &str = "remit approval 1";
/// Bytes of the line that says what will run.
const SUMMARY: usize = 300;
const NAME: usize = 64;
/// Bytes of the summary with all its parts.
const LINE: usize = 512;

/// What an approver signs. Its text has a line for each part, and no part can forge another line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// One line: who asks for what.
    pub summary: String,
    /// The machine id.
    pub host: String,
    pub job: JobId,
    pub digest: [u8; 32],
    /// Milliseconds since 1970.
    pub expires_ms: u64,
    pub head: AuditHead,
}

impl Statement {
    #[must_use]
    pub fn of(request: &ApprovalRequest, digest: [u8; 32], head: AuditHead) -> Self {
        let summary = format!(
            "{} (uid {}) asks for {}",
            text::line(request.requester_name.as_bytes(), NAME),
            request.requester_uid,
            Self::command(request, SUMMARY)
        );
        Self {
            summary,
            host: request.machine_id.clone(),
            job: request.job,
            digest,
            expires_ms: request.expires_ms,
            head,
        }
    }

    /// Returns the name of the command and its argv, cut to `most` bytes, in one line.
    #[must_use]
    pub fn command(request: &ApprovalRequest, most: usize) -> String {
        let argv: Vec<&[u8]> = request.argv.iter().map(|word| word.as_bytes()).collect();
        let name = request.command.as_deref().unwrap_or("run");
        format!(
            "{}: {}",
            text::line(name.as_bytes(), NAME),
            text::command_line(&argv, most)
        )
    }
}

/// The text that is signed. A part that came from a record is made a line again.
impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |text: &str, most| text::line(text.as_bytes(), most);
        writeln!(f, "{TITLE}\n{}", line(&self.summary, LINE))?;
        writeln!(f, "host {}", line(&self.host, NAME))?;
        writeln!(f, "job {}", self.job)?;
        writeln!(f, "digest {}", hex(&self.digest))?;
        writeln!(f, "expires {}", calendar::timestamp(self.expires_ms))?;
        writeln!(f, "record {} {}", self.head.seq, hex(&self.head.hash))
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use remit_common::signed::STATEMENT;
    use remit_common::wire::Effect;

    use super::*;
    use crate::request::BoundLimits;

    fn request(name: &str, argv: &[&str]) -> ApprovalRequest {
        ApprovalRequest {
            machine_id: "0f".repeat(16),
            job: JobId([0x7f; 16]),
            requester_uid: 1000,
            requester_name: name.to_owned(),
            command: None,
            effect: Effect::Change,
            path: Vec::new(),
            argv: argv
                .iter()
                .map(|word| CString::new(*word).unwrap())
                .collect(),
            slots: Vec::new(),
            files: Vec::new(),
            does: Vec::new(),
            opens: Vec::new(),
            opens_unknown: Vec::new(),
            script: None,
            stdin: None,
            secret_stdin: None,
            cwd: c"/".into(),
            env: Vec::new(),
            profile: "host".to_owned(),
            policy: String::new(),
            rule: String::new(),
            limits: BoundLimits::default(),
            runtime_s: 1,
            reason: None,
            expires_ms: 1_800_000_000_005,
        }
    }

    const HEAD: AuditHead = AuditHead {
        seq: 12,
        hash: [0xab; 32],
    };

    fn text(request: &ApprovalRequest) -> String {
        Statement::of(request, [1; 32], HEAD).to_string()
    }

    #[test]
    fn text_has_a_line_for_each_part() {
        let found = text(&request("ann", &["/bin/echo", "a b"]));
        let expect = format!(
            "remit approval 1\nann (uid 1000) asks for run: /bin/echo 'a b'\nhost {}\njob {}\ndigest {}\n\
             expires 2027-01-15T08:00:00.005Z\nrecord 12 {}\n",
            "0f".repeat(16),
            JobId([0x7f; 16]),
            "01".repeat(32),
            "ab".repeat(32)
        );
        assert_eq!(found, expect);
    }

    #[test]
    fn hostile_text_forges_no_line_and_is_bounded() {
        let long = "x\ndigest 00\u{202e}\\n".repeat(900);
        let made = Statement::of(&request(&long, &[&long, &long]), [1; 32], HEAD);
        let found = made.to_string();
        assert_eq!(found.lines().count(), 7, "{found}");
        assert!(found.len() <= STATEMENT, "{}", found.len());
        assert!(!found.contains('\u{202e}'));
        // As the audit log keeps it.
        let kept = Statement {
            summary: text::show(made.summary.as_bytes()).text,
            host: "x\ndigest 00".to_owned(),
            ..made
        };
        let again = kept.to_string();
        assert_eq!(again.lines().nth(1), found.lines().nth(1));
        assert_eq!(again.lines().count(), 7, "{again}");
    }
}
