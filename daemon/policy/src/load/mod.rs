//! From texts to a [`Policy`]: bounds, the order of reading, the digest.

pub(crate) mod accounts;
pub(crate) mod commands;
pub(crate) mod destination;
pub(crate) mod diagnostic;
pub(crate) mod document;
pub(crate) mod environment;
pub(crate) mod examples;
pub(crate) mod kinds;
pub(crate) mod limits;
pub(crate) mod lint;
pub(crate) mod loading;
pub(crate) mod paths;
pub(crate) mod patterns;
pub(crate) mod profiles;
pub(crate) mod reader;
pub(crate) mod rules;
pub(crate) mod scope;
pub(crate) mod tables;
pub(crate) mod template;
pub(crate) mod text;

use remit_common::caps;

use crate::load::accounts::Resolved;
use crate::load::diagnostic::{Diagnostic, Findings, Pass};
use crate::load::document::Document;
use crate::load::loading::Loading;
use crate::model::machine::Machine;
use crate::model::policy::{Parts, Policy};

/// One policy file, as read by the warden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its path, for diagnostics and for naming rules.
    pub name: String,
    /// Its content, not looked at yet.
    pub text: Vec<u8>,
}

/// Reads all sources. Their order does not matter; names that two of them
/// share are refused, so the caller has replaced and masked beforehand.
///
/// A grant to an account that does not exist is a warning and grants nobody; a
/// denial of one is an error.
///
/// # Errors
/// Every finding of every file (at most 100 errors and 100 warnings are kept);
/// at least one of them is an error.
pub fn load(
    sources: &[Source],
    machine: &dyn Machine,
) -> Result<(Policy, Vec<Diagnostic>), Vec<Diagnostic>> {
    pass(sources, machine, Pass::First)
}

/// The same policy again, where [`load`] has just made it of the same sources and answers: examples,
/// `[[test]]` tables and whatever is only worth a warning are not looked at again. In any other case it
/// may take what [`load`] refuses.
///
/// # Errors
/// As [`load`], without warnings.
pub fn load_again(sources: &[Source], machine: &dyn Machine) -> Result<Policy, Vec<Diagnostic>> {
    pass(sources, machine, Pass::Again).map(|(policy, _)| policy)
}

fn pass(
    sources: &[Source],
    machine: &dyn Machine,
    pass: Pass,
) -> Result<(Policy, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut sorted: Vec<&Source> = sources.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));

    let mut findings = Findings::of(pass);
    check_amount(&sorted, &mut findings);
    let documents: Vec<Document<'_>> = sorted
        .iter()
        .filter_map(|source| Document::parse(source, &mut findings))
        .collect();
    let mut loading = Loading::new(machine);
    let mut tests = Vec::new();
    for document in &documents {
        let (mut top, mut report) = document.open(&mut findings);
        for key in ["command", "grant", "deny"] {
            top.get(key);
        }
        loading.read_profiles(&mut top, &mut report);
        if report.proves() {
            let tables = top.tables("test", "[[test]]", &mut report);
            let read = tables
                .into_iter()
                .map(|fields| tables::read(fields, machine, &mut report));
            tests.push((document, read.flatten().collect::<Vec<_>>()));
        } else {
            top.get("test");
        }
        top.finish(&mut report);
    }
    for document in &documents {
        let (mut top, mut report) = document.open(&mut findings);
        loading.read_commands(&mut top, &mut report);
    }
    for document in &documents {
        let (mut top, mut report) = document.open(&mut findings);
        loading.read_rules(&mut top, &mut report);
    }
    for document in &documents {
        let (_, mut report) = document.open(&mut findings);
        loading.report_unsaid(&mut report);
    }
    if findings.errors() > 0 {
        return Err(findings.sorted());
    }
    let digest_input = canonical(&sorted, &loading.resolved);
    let commands = loading.commands.into_iter();
    let policy = Policy::new(Parts {
        grants: loading.grants,
        denies: loading.denies,
        commands: commands
            .filter_map(|(name, command)| Some((name, command.value?)))
            .collect(),
        profiles: loading
            .profiles
            .into_iter()
            .map(|(name, one)| (name, one.value))
            .collect(),
        digest_input,
    });
    for (document, tests) in tests {
        let (_, mut report) = document.open(&mut findings);
        for test in tests {
            test.check(&policy, &mut report);
        }
    }
    match findings.errors() {
        0 => Ok((policy, findings.sorted())),
        _ => Err(findings.sorted()),
    }
}

/// Bounds over all sources together.
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

/// The encoding behind [`Policy::digest_input`]: a version line, then every
/// part with its length before it (u64, little-endian), so that no two
/// different inputs encode alike.
fn canonical(sorted: &[&Source], resolved: &Resolved) -> Vec<u8> {
    let mut out = b"remit policy 2\n".to_vec();
    let number = |out: &mut Vec<u8>, number: usize| {
        out.extend((number as u64).to_le_bytes());
    };
    let part = |out: &mut Vec<u8>, bytes: &[u8]| {
        number(out, bytes.len());
        out.extend(bytes);
    };
    number(&mut out, sorted.len());
    for source in sorted {
        part(&mut out, source.name.as_bytes());
        part(&mut out, &source.text);
    }
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
            part(&mut out, address.to_string().as_bytes());
        }
    }
    // Nothing where no denial speaks of a group: what was kept under such a digest keeps it.
    for (gid, uids) in &resolved.members {
        part(&mut out, &gid.to_le_bytes());
        let uids: Vec<u8> = uids.iter().flat_map(|uid| uid.to_le_bytes()).collect();
        part(&mut out, &uids);
    }
    out
}
