//! Compiles texts into a [`Policy`]: bounds, the order of reading, the digest.

mod accepts;
pub(crate) mod accounts;
pub(crate) mod argument_filters;
pub(crate) mod commands;
mod commits;
mod denials;
pub(crate) mod destination;
pub(crate) mod limits;
pub(crate) mod lint;
pub(crate) mod loading;
pub(crate) mod parameters;
pub(crate) mod patterns;
pub(crate) mod profiles;
pub(crate) mod reader;
pub(crate) mod regex;
pub(crate) mod rules;
pub(crate) mod suggestion;
pub(crate) mod tables;
pub(crate) mod template;
pub(crate) mod text;
mod unused;
pub(crate) mod visibility;

use remit_common::caps;
use remit_common::hex::hex;
use sha2::{Digest, Sha256};

use crate::load::accounts::Resolved;
use crate::load::loading::Loading;
use crate::load::suggestion::Findings;
use crate::load::text::Document;
use remit_policy::Diagnostic;
use remit_policy::Source;
use remit_policy::model::machine::Machine;
use remit_policy::model::policy::{Parts, Policy};

/// Compiles all sources, in any order; the caller replaces and masks files first, as one name twice is refused. A grant
/// to a missing account is a warning, a denial an error. Fails with all findings, at most 100 errors and 100 warnings.
pub fn load(
    sources: &[Source],
    machine: &dyn Machine,
) -> Result<(Policy, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut sorted: Vec<&Source> = sources.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));

    let mut findings = Findings::default();
    check_amount(&sorted, &mut findings);
    let documents: Vec<Document<'_>> = sorted
        .iter()
        .filter_map(|source| Document::parse(source, &mut findings))
        .collect();
    let mut loading = Loading::new(machine);
    let mut tests = Vec::new();
    for document in &documents {
        let (mut top, mut report) = document.open(&mut findings);
        for key in ["command", "grant", "deny", "accept"] {
            top.get(key);
        }
        loading.read_types(&mut top, &mut report);
        loading.read_profiles(&mut top, &mut report);
        let tables = top.tables("test", "[[test]]", &mut report);
        let read = tables
            .into_iter()
            .map(|fields| tables::read(fields, machine, &mut report));
        tests.push((document, read.flatten().collect::<Vec<_>>()));
        top.finish(&mut report);
    }
    for document in &documents {
        let (mut top, mut report) = document.open(&mut findings);
        loading.read_commands(&mut top, &mut report);
    }
    for document in &documents {
        let (mut top, mut report) = document.open(&mut findings);
        loading.read_rules(&mut top, &mut report);
        loading.read_accepts(&mut top, &mut report);
    }
    let allowing = loading.allowing();
    for document in &documents {
        let (_, mut report) = document.open(&mut findings);
        loading.report_unsaid(&allowing, &mut report);
        loading.report_asked(&mut report);
    }
    if findings.errors() > 0 {
        return Err(findings.sorted());
    }
    let encoded = encode_texts(&sorted);
    let texts = digest(&encoded);
    let digest = digest(&with_names(encoded, &loading.resolved));
    let has_all_accounts = loading.resolved.has_all_accounts();
    let commands = loading.commands.into_iter();
    let policy = Policy::new(Parts {
        grants: loading.grants,
        denies: loading.denies,
        accepts: loading.accepts,
        commands: commands
            .filter_map(|(name, command)| Some((name, command.value?)))
            .collect(),
        profiles: loading
            .profiles
            .into_iter()
            .map(|(name, one)| (name, one.value))
            .collect(),
        digest,
        texts,
    });
    for (document, tests) in tests {
        let (_, mut report) = document.open(&mut findings);
        for test in tests {
            test.check(&policy, has_all_accounts, &mut report);
        }
    }
    match findings.errors() {
        0 => Ok((policy, findings.sorted())),
        _ => Err(findings.sorted()),
    }
}

fn check_amount(sorted: &[&Source], findings: &mut Findings) {
    if sorted.len() > caps::POLICY_FILES {
        let text = format!(
            "{} policy files are more than {}",
            sorted.len(),
            caps::POLICY_FILES
        );
        findings.refuse_file("policy", text);
    }
    let bytes: usize = sorted.iter().map(|source| source.text.len()).sum();
    if bytes > caps::POLICY {
        let text = format!(
            "all policy files together have {bytes} bytes, over {}",
            caps::POLICY
        );
        findings.refuse_file("policy", text);
    }
    for pair in sorted.windows(2) {
        if let [one, other] = pair
            && one.name == other.name
        {
            findings.refuse_file(&one.name, "this file was given twice");
        }
    }
}

fn digest(input: &[u8]) -> String {
    hex(&Sha256::digest(input))
}

fn number(out: &mut Vec<u8>, number: usize) {
    out.extend((number as u64).to_le_bytes());
}

fn part(out: &mut Vec<u8>, bytes: &[u8]) {
    number(out, bytes.len());
    out.extend(bytes);
}

/// Encodes the input for [`Policy::texts`] in one way: a version line, then each part after its length (u64, LE).
fn encode_texts(sorted: &[&Source]) -> Vec<u8> {
    let mut out = b"remit policy 2\n".to_vec();
    number(&mut out, sorted.len());
    for source in sorted {
        part(&mut out, source.name.as_bytes());
        part(&mut out, &source.text);
    }
    out
}

/// Adds what names mean now, in the same way. The whole is the input for [`Policy::digest`].
fn with_names(mut out: Vec<u8>, resolved: &Resolved) -> Vec<u8> {
    number(&mut out, resolved.users.len());
    for (name, ids) in &resolved.users {
        part(&mut out, name.as_bytes());
        let ids = ids.map(|ids| [ids.uid.to_le_bytes(), ids.gid.to_le_bytes()].concat());
        part(&mut out, &ids.unwrap_or_default());
    }
    number(&mut out, resolved.groups.len());
    for (name, gid) in &resolved.groups {
        part(&mut out, name.as_bytes());
        let gid = gid.map(|gid| gid.to_le_bytes().to_vec());
        part(&mut out, &gid.unwrap_or_default());
    }
    number(&mut out, resolved.hosts.len());
    for (name, addresses) in &resolved.hosts {
        part(&mut out, name.as_bytes());
        number(&mut out, addresses.len());
        for address in addresses {
            part(&mut out, address.ip.to_string().as_bytes());
            // Text of no address, and nothing for a name server's, so that older digests stay valid.
            if address.may_be_own {
                part(&mut out, b"may be own");
            }
        }
    }
    // Empty if no denial names a group, so that older digests stay valid.
    for (gid, uids) in &resolved.members {
        part(&mut out, &gid.to_le_bytes());
        let uids: Vec<u8> = uids.iter().flat_map(|uid| uid.to_le_bytes()).collect();
        part(&mut out, &uids);
    }
    // Likewise empty if all names exist.
    if !resolved.last.is_empty() {
        part(&mut out, b"last known");
    }
    for (name, id) in &resolved.last {
        part(&mut out, name.as_bytes());
        part(&mut out, &id.to_le_bytes());
    }
    out
}
