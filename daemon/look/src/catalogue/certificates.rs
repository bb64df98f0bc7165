//! `certificates.list`: until when certificates are valid.

use std::fs;
use std::process::ExitCode;

use serde::Serialize;
use x509_parser::pem::Pem;
use x509_parser::prelude::{ParsedExtension, X509Certificate};

use super::walk::Walk;
use super::{lines_but, number};
use crate::times::{now, stamp};

/// Larger files hold more than certificates of this machine: collections of authorities.
const MOST: u64 = 64 << 10;
const DAY: i64 = 86_400;

#[derive(Debug, Serialize)]
struct Certificate {
    /// Negative: it has expired.
    days_left: i64,
    valid_until: String,
    subject: String,
    names: Vec<String>,
    issuer: String,
    path: String,
}

pub fn list(directory: &str, count: &str) -> Result<ExitCode, String> {
    let most: usize = number(count)?;
    let now = i64::try_from(now()).unwrap_or(i64::MAX);
    let (mut walk, mut found) = (Walk::new(directory)?, Vec::new());
    let mut unseen = 0;
    for (path, metadata) in walk.by_ref() {
        if !metadata.is_file() || metadata.len() > MOST {
            continue;
        }
        match fs::read(&path) {
            Ok(bytes) => found.extend(certificates(&bytes, &path.to_string_lossy(), now)),
            Err(_) => unseen += 1,
        }
    }
    found.sort_by(|a, b| (a.days_left, &a.path).cmp(&(b.days_left, &b.path)));
    found.truncate(most);
    lines_but(found, walk.unseen + unseen)
}

/// Those of a file, PEM or DER.
fn certificates(bytes: &[u8], path: &str, now: i64) -> Vec<Certificate> {
    if bytes.starts_with(&[0x30, 0x82]) {
        return one(bytes, path, now).into_iter().collect();
    }
    if !bytes.windows(10).any(|text| text == b"-----BEGIN") {
        return Vec::new();
    }
    let pems = Pem::iter_from_buffer(bytes).filter_map(Result::ok);
    let own = pems.filter(|pem| pem.label.ends_with("CERTIFICATE"));
    own.filter_map(|pem| one(&pem.contents, path, now))
        .collect()
}

fn one(der: &[u8], path: &str, now: i64) -> Option<Certificate> {
    let (_, parsed) = x509_parser::parse_x509_certificate(der).ok()?;
    let end = parsed.validity().not_after.timestamp();
    Some(Certificate {
        days_left: (end - now).div_euclid(DAY),
        valid_until: stamp(u64::try_from(end).unwrap_or(0)),
        subject: parsed.subject().to_string(),
        names: names(&parsed),
        issuer: parsed.issuer().to_string(),
        path: path.to_owned(),
    })
}

/// For whom it speaks.
fn names(parsed: &X509Certificate<'_>) -> Vec<String> {
    let extensions = parsed.extensions().iter();
    let alternatives = extensions.filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
        _ => None,
    });
    alternatives.flatten().map(ToString::to_string).collect()
}
