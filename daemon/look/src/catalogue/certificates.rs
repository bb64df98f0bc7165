//! `certificates.*`: names and validity of certificates. JSON, because an issuer may put line feeds into a name.

use std::fs;
use std::process::ExitCode;

use serde::Serialize;
use x509_parser::pem::Pem;
use x509_parser::prelude::{ParsedExtension, X509Certificate};

use super::files::{Step, Walk};
use crate::text::{lines, lines_but, now, number, shown, stamp};

/// Maximum file size. Larger files are bundles of authorities, not certificates of this machine.
const MOST: u64 = 64 << 10;
/// A longer chain is no server's.
const CHAIN: usize = 10;
const DAY: i64 = 86_400;

#[derive(Debug, Serialize)]
pub struct Certificate {
    /// Negative after expiry.
    days_left: i64,
    valid_until: String,
    subject: String,
    names: Vec<String>,
    issuer: String,
    path: String,
}

#[derive(Debug, Serialize)]
struct CertificateDetails {
    serial: String,
    valid_from: String,
    #[serde(flatten)]
    certificate: Certificate,
}

pub fn show(file: &str) -> Result<ExitCode, String> {
    let cannot = |why: &str| format!("the file of the certificate {why}");
    let metadata =
        fs::metadata(file).map_err(|error| cannot(&format!("cannot be read: {error}")))?;
    if !metadata.is_file() || metadata.len() > MOST {
        return Err(cannot("is no file, or is longer than 64 KiB"));
    }
    let bytes = fs::read(file).map_err(|error| cannot(&format!("cannot be read: {error}")))?;
    // The name of what a descriptor has open.
    let path = match file.starts_with("/proc/self/fd/") {
        true => fs::read_link(file).map_err(|error| cannot(&format!("has no name: {error}")))?,
        false => file.into(),
    };
    let path = path.to_string_lossy();
    let now = i64::try_from(now()).unwrap_or(i64::MAX);
    let found: Vec<CertificateDetails> = ders(&bytes)
        .iter()
        .filter_map(|der| {
            let (_, parsed) = x509_parser::parse_x509_certificate(der).ok()?;
            let start = parsed.validity().not_before.timestamp();
            Some(CertificateDetails {
                serial: parsed.raw_serial_as_string(),
                valid_from: stamp(u64::try_from(start).unwrap_or(0)),
                certificate: one(der, &path, now)?,
            })
        })
        .collect();
    match found.is_empty() {
        false => lines(found),
        true => Err(cannot("has no certificate in it")),
    }
}

pub fn list(directory: &str, count: &str) -> Result<ExitCode, String> {
    let most: usize = number(count)?;
    let now = i64::try_from(now()).unwrap_or(i64::MAX);
    let (mut walk, mut found, mut links) = (Walk::new(directory)?, Vec::new(), 0);
    let keep_first = |found: &mut Vec<Certificate>| {
        found.sort_by(|a, b| (a.days_left, &a.path).cmp(&(b.days_left, &b.path)));
        found.truncate(most);
    };
    while let Some(step) = walk.next() {
        let Step::Found(path, inode) = step else {
            continue;
        };
        links += u64::from(inode.is_link());
        if !inode.is_file() || inode.length() > MOST {
            continue;
        }
        match fs::read(&path) {
            Ok(bytes) => found.extend(certificates(&bytes, &path.to_string_lossy(), now)),
            Err(_) => walk.unseen.add(&path),
        }
        if found.len() > most.saturating_mul(2) {
            keep_first(&mut found);
        }
    }
    keep_first(&mut found);
    if found.is_empty() {
        let directory = shown(directory.as_bytes());
        let links = match links {
            0 => String::new(),
            1 => ", where 1 link was not followed".to_owned(),
            links => format!(", where {links} links were not followed"),
        };
        eprintln!(
            "remit-look: no certificate was found in '{directory}' and below{links}; another directory: directory=/etc/NAME"
        );
    }
    lines_but(found, &walk.unseen)
}

/// Returns the certificates in what `openssl s_client -showcerts` printed: the chain as it was served.
pub fn of_session(bytes: &[u8], path: &str) -> Vec<Certificate> {
    let now = i64::try_from(now()).unwrap_or(i64::MAX);
    let mut chain = certificates(bytes, path, now);
    chain.truncate(CHAIN);
    chain
}

fn certificates(bytes: &[u8], path: &str, now: i64) -> Vec<Certificate> {
    let ders = ders(bytes);
    ders.iter().filter_map(|der| one(der, path, now)).collect()
}

fn ders(bytes: &[u8]) -> Vec<Vec<u8>> {
    if bytes.starts_with(&[0x30, 0x82]) {
        return vec![bytes.to_vec()];
    }
    if !bytes.windows(10).any(|text| text == b"-----BEGIN") {
        return Vec::new();
    }
    let pems = Pem::iter_from_buffer(bytes).filter_map(Result::ok);
    let own = pems.filter(|pem| pem.label.ends_with("CERTIFICATE"));
    own.map(|pem| pem.contents).collect()
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

fn names(parsed: &X509Certificate<'_>) -> Vec<String> {
    let extensions = parsed.extensions().iter();
    let alternatives = extensions.filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
        _ => None,
    });
    alternatives.flatten().map(ToString::to_string).collect()
}
