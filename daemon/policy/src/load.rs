//! From texts to a [`Policy`]: bounds, text, the sum of all files.

use remit_common::caps;

use crate::accounts::Resolved;
use crate::diagnostic::{Diagnostic, Findings};
use crate::machine::Machine;
use crate::policy::{Parts, Policy};
use crate::reader::Report;
use crate::rules::Loading;

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
    let mut sorted: Vec<&Source> = sources.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));

    let mut findings = Findings::default();
    check_amount(&sorted, &mut findings);
    let mut loading = Loading::new(machine);
    for source in &sorted {
        if let Some(text) = text(source, &mut findings) {
            loading.file(&mut Report::new(&source.name, text, &mut findings));
        }
    }
    if findings.errors() > 0 {
        return Err(findings.sorted());
    }
    let Loading {
        grants,
        denies,
        resolved,
        ..
    } = loading;
    let parts = Parts {
        grants,
        denies,
        digest_input: canonical(&sorted, &resolved),
        ..Parts::default()
    };
    Ok((Policy::new(parts), findings.sorted()))
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

/// The text of a file that a TOML parser may see.
fn text<'a>(source: &'a Source, findings: &mut Findings) -> Option<&'a str> {
    let refusal = if source.text.len() > caps::POLICY_FILE {
        format!(
            "the file has {} bytes, over {}",
            source.text.len(),
            caps::POLICY_FILE
        )
    } else if source.text.starts_with(b"\xef\xbb\xbf") {
        "the file begins with a byte order mark; save it as plain UTF-8".into()
    } else if let Some(at) = source.text.iter().position(|byte| *byte == 0) {
        format!("the file has a NUL at byte {at}, so it is not text")
    } else {
        match std::str::from_utf8(&source.text) {
            Ok(text) => return Some(text),
            Err(error) => {
                let good = source.text.get(..error.valid_up_to()).unwrap_or_default();
                let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
                format!("the file is not UTF-8 at byte {} (line {line})", good.len())
            }
        }
    };
    findings.refuse_file(&source.name, refusal);
    None
}

/// The encoding behind [`Policy::digest_input`]: a version line, then every
/// part with its length before it (u64, little-endian), so that no two
/// different inputs encode alike.
fn canonical(sorted: &[&Source], resolved: &Resolved) -> Vec<u8> {
    let mut out = b"remit policy 1\n".to_vec();
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
    for names in [&resolved.users, &resolved.groups] {
        number(&mut out, names.len());
        for (name, id) in names {
            part(&mut out, name.as_bytes());
            match id {
                Some(id) => part(&mut out, &id.to_le_bytes()),
                None => part(&mut out, b""),
            }
        }
    }
    out
}
