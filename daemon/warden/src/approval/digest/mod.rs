//! Computes the SHA-256 of all that will run ([`remit_approval::encode()`]). Approvers approve it, and records name it.

use std::fmt;

use remit_approval::{
    ApprovalRequest, BoundArgument, BoundFile, BoundLimits, BoundPass, BoundPath, Statement,
};
use remit_common::admin::AuditHead;
use remit_policy::RuleId;
use remit_spawn::Measured;
use remit_sys::Limits;
use sha2::{Digest, Sha256};

use crate::approval::file_hash::FileFound;
use crate::approval::opens::Opens;
use crate::job::confirmation::window::ConfirmWindow;
use crate::request::{ArgumentSlot, BoundCall, Draft, Passed, SlotWhat, Whole};

/// 256 random bits, drawn at start and known only to this process. A secret is hashed with it.
pub struct Key(pub [u8; 32]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    pub machine_id: &'a str,
    pub key: &'a Key,
    pub draft: &'a Draft,
    pub files: &'a [FileFound],
    pub does: &'a [String],
    pub opens: &'a Opens,
    pub rule: &'a RuleId,
    pub expires_ms: u64,
}

pub fn digest(encoded: &[u8]) -> [u8; 32] {
    Sha256::digest(encoded).into()
}

pub fn encode(parts: &Parts<'_>) -> Vec<u8> {
    remit_approval::encode(&signed(parts))
}

/// Returns what an approver signs.
pub fn statement(parts: &Parts<'_>, digest: [u8; 32], head: AuditHead) -> Statement {
    Statement::of(&signed(parts), digest, head)
}

fn signed(parts: &Parts<'_>) -> ApprovalRequest {
    let Parts {
        machine_id,
        key,
        draft,
        files,
        does,
        opens,
        rule,
        expires_ms,
    } = parts;
    let Whole {
        job,
        subject,
        path,
        bound,
        name,
        reason,
        // A name that a client gives itself.
        client: _,
        script,
        stdin,
    } = draft.whole();
    let BoundCall {
        argv,
        slots,
        secret_stdin,
        env,
        cwd,
        limits,
        runtime,
        compiled,
        effect,
        policy,
        // Selects elements to measure; the result is in `files`.
        literal: _,
        // Files that are in `stdin`.
        staged: _,
        leaves_copy: _,
        asked: _,
        // What these do is in `does`, and the commands that follow by request are in `argv`.
        undo: _,
        confirm,
        acts: _,
        after_undo: _,
    } = bound;
    let confirm = confirm.iter().map(ConfirmWindow::line);
    ApprovalRequest {
        machine_id: (*machine_id).to_owned(),
        job,
        requester_uid: subject.uid(),
        requester_name: subject.user().to_owned(),
        command: name.map(str::to_owned),
        effect: *effect,
        path: path.to_vec(),
        argv: argv.to_vec(),
        slots: slots.iter().map(|slot| argument(slot, key)).collect(),
        files: files.iter().map(file).collect(),
        does: confirm.chain(does.iter().cloned()).collect(),
        opens: opens.paths.clone(),
        opens_unknown: opens.unknown.clone(),
        script: script.map(|script| script.sha256),
        stdin: stdin.map(|stdin| stdin.sha256),
        secret_stdin: secret_stdin.as_ref().map(|secret| key.of(secret)),
        cwd: cwd.clone(),
        env: env.clone(),
        profile: compiled.name().to_owned(),
        policy: policy.clone(),
        rule: rule.to_string(),
        limits: bounds(limits),
        runtime_s: runtime.seconds,
        reason: reason.map(str::to_owned),
        expires_ms: *expires_ms,
    }
}

impl Key {
    fn of(&self, secret: &[u8]) -> [u8; 32] {
        let hash = Sha256::new_with_prefix(self.0).chain_update(secret);
        hash.finalize().into()
    }
}

fn argument(slot: &ArgumentSlot, key: &Key) -> BoundArgument {
    let ArgumentSlot {
        index,
        before,
        what,
    } = slot;
    let (index, before) = (*index, before.clone());
    match what {
        SlotWhat::Path {
            under,
            beneath,
            is,
            pass,
        } => BoundArgument::Path(BoundPath {
            index,
            before,
            under: under.clone(),
            beneath: beneath.clone(),
            is: *is,
            pass: match pass {
                Passed::Text => BoundPass::Path,
                Passed::Descriptor => BoundPass::Descriptor,
                Passed::Copy(_) => BoundPass::Copy,
            },
        }),
        SlotWhat::Secret(secret) => BoundArgument::Secret {
            index,
            before,
            keyed: key.of(secret),
        },
    }
}

fn file(found: &FileFound) -> BoundFile {
    let FileFound {
        what,
        held,
        measured,
        real,
    } = found;
    let Measured {
        path,
        dev,
        ino,
        ctime_ns,
        size,
        sha256,
    } = measured;
    BoundFile {
        what: what.clone(),
        held: *held,
        name: path.clone(),
        real: real.clone(),
        dev: *dev,
        ino: *ino,
        ctime_ns: *ctime_ns,
        size: *size,
        sha256: *sha256,
    }
}

fn bounds(limits: &Limits) -> BoundLimits {
    let Limits {
        nofile,
        nproc,
        // Processes that its user has when it starts.
        others: _,
        data,
        cpu_s,
        fsize,
        tmp_bytes,
        tmp_inodes,
        memory,
        tasks,
        cpu_percent,
    } = *limits;
    BoundLimits {
        nofile,
        nproc,
        data,
        cpu_s,
        fsize,
        tmp_bytes,
        tmp_inodes,
        memory,
        tasks,
        cpu_percent,
    }
}

#[cfg(test)]
mod tests;
