//! Judges one signature of an approver: which of the keys made it, over exactly this text, and what a security key says
//! about who touched it. Decides nothing else: the daemon compares that with the rule and the account. Pure.

#![forbid(unsafe_code)]

use remit_approval::verifier::{Answer, Bad, Good, Question};
use remit_common::signed::Touch;
use ssh_key::public::KeyData;
use ssh_key::{Algorithm, EcdsaCurve, HashAlg, PublicKey, Signature, SshSig};

/// Bytes after the signature of a security key: flags, and a counter in four bytes.
const REPORT: usize = 5;

#[must_use]
pub fn judge(question: &Question) -> Answer {
    match good(question) {
        Ok(good) => Answer::Good(good),
        Err(bad) => Answer::Bad(bad),
    }
}

fn good(question: &Question) -> Result<Good, Bad> {
    let Question {
        namespace,
        text,
        signature,
        keys,
    } = question;
    if question.is_too_long() {
        return Err(Bad::NotASignature);
    }
    let signed = SshSig::from_pem(signature.trim()).map_err(|_| Bad::NotASignature)?;
    if signed.namespace() != namespace || namespace.is_empty() {
        return Err(Bad::OtherNamespace);
    }
    let used = signed.public_key();
    if !is_accepted(&used.algorithm()) {
        return Err(Bad::Kind);
    }
    // A key of one kind does not verify the signature of another.
    if signed.algorithm() != used.algorithm() || !signed.reserved().is_empty() {
        return Err(Bad::NotASignature);
    }
    let mut lines = Vec::new();
    for (line, key) in keys {
        let key = PublicKey::from_openssh(key).map_err(|_| Bad::Key(*line))?;
        if key.key_data() == used {
            lines.push(*line);
        }
    }
    if lines.is_empty() {
        return Err(Bad::NotListed);
    }
    PublicKey::from(used.clone())
        .verify(namespace, text.as_bytes(), &signed)
        .map_err(|_| Bad::OtherText)?;
    Ok(Good {
        lines,
        fingerprint: used.fingerprint(HashAlg::Sha256).to_string(),
        touch: touch(used, signed.signature())?,
    })
}

fn is_accepted(kind: &Algorithm) -> bool {
    matches!(
        kind,
        Algorithm::Ed25519
            | Algorithm::SkEd25519
            | Algorithm::SkEcdsaSha2NistP256
            | Algorithm::Ecdsa {
                curve: EcdsaCurve::NistP256
            }
    )
}

/// Returns what a security key reports. Fails if it reports nothing.
fn touch(key: &KeyData, signature: &Signature) -> Result<Option<Touch>, Bad> {
    if !matches!(key, KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_)) {
        return Ok(None);
    }
    let report = signature.as_bytes().last_chunk::<REPORT>();
    let [flags, counter @ ..] = report.ok_or(Bad::NotASignature)?;
    Ok(Some(Touch {
        flags: *flags,
        counter: u32::from_be_bytes(*counter),
    }))
}
