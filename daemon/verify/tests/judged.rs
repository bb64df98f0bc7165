//! Signatures of security keys in software, of both kinds, and what is done to them.

#![allow(clippy::panic, clippy::unwrap_used)]

use ed25519_dalek::{Signer as _, SigningKey};
use p256::ecdsa;
use remit_approval::verifier::{Answer, Bad, Question};
use remit_common::signed::{NAMESPACE, SIGNATURE, armored, body};
use remit_verify::judge;
use sha2::{Digest, Sha256, Sha512};

const TEXT: &str = "remit approval 1\nann (uid 1) asks for it\n";
const EDWARDS: &str = "sk-ssh-ed25519@openssh.com";
const CURVE: &str = "sk-ecdsa-sha2-nistp256@openssh.com";

fn string(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |chunk: &[u8]| {
        let bits = chunk
            .iter()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        let digit = |at: usize| {
            let index = usize::try_from(bits >> (18 - 6 * at) & 63).unwrap();
            DIGITS.get(index).map_or('=', |digit| char::from(*digit))
        };
        (0..4)
            .map(|at| if at <= chunk.len() { digit(at) } else { '=' })
            .collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

/// A number of the wire (RFC 4251, mpint): positive, without zeros at its beginning.
fn mpint(bytes: &[u8]) -> Vec<u8> {
    let start = bytes
        .iter()
        .position(|byte| *byte != 0)
        .unwrap_or(bytes.len());
    let digits = bytes.get(start..).unwrap();
    let sign = digits.first().filter(|byte| **byte > 0x7f).map(|_| 0_u8);
    string([sign.into_iter().collect(), digits.to_vec()].concat())
}

/// The key as a line, and its signature of `text` with these flags.
fn signed(kind: &str, seed: u8, text: &str, flags: u8) -> (String, String) {
    let report = [&[flags][..], &7_u32.to_be_bytes()].concat();
    let hash = Sha512::digest(text);
    let parts = [
        string(NAMESPACE),
        string(""),
        string("sha512"),
        string(hash),
    ];
    let message = [b"SSHSIG".to_vec(), parts.concat()].concat();
    let to_sign = [
        Sha256::digest("ssh:").to_vec(),
        report.clone(),
        Sha256::digest(&message).to_vec(),
    ]
    .concat();
    let (public, signature) = match kind {
        EDWARDS => {
            let key = SigningKey::from_bytes(&[seed; 32]);
            let public = string(key.verifying_key().to_bytes());
            (public, key.sign(&to_sign).to_bytes().to_vec())
        }
        _ => {
            let key = ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap();
            let point = key.verifying_key().to_sec1_point(false);
            let signature: ecdsa::Signature = key.sign(&to_sign);
            let (r, s) = signature.split_bytes();
            let public = [string("nistp256"), string(point.as_bytes())].concat();
            (public, [mpint(&r), mpint(&s)].concat())
        }
    };
    let blob = [string(kind), public, string("ssh:")].concat();
    let signature = [string(kind), string(signature), report].concat();
    let whole = [
        b"SSHSIG".to_vec(),
        1_u32.to_be_bytes().to_vec(),
        string(&blob),
        string(NAMESPACE),
        string(""),
        string("sha512"),
        string(signature),
    ];
    (
        format!("{kind} {}", base64(&blob)),
        armored(&base64(&whole.concat())),
    )
}

fn question(key: &str, signature: &str) -> Question {
    Question {
        namespace: NAMESPACE.to_owned(),
        text: TEXT.to_owned(),
        signature: signature.to_owned(),
        keys: vec![(3, key.to_owned()), (9, key.to_owned())],
    }
}

#[test]
fn flags_and_counter_are_those_that_are_signed() {
    for kind in [EDWARDS, CURVE] {
        for flags in [0, 1, 4, 5, 0xff] {
            let (key, signature) = signed(kind, 1, TEXT, flags);
            let Answer::Good(good) = judge(&question(&key, &signature)) else {
                panic!("{kind} {flags}: {signature}");
            };
            let touch = good.touch.unwrap();
            assert_eq!((touch.flags, touch.counter), (flags, 7));
            assert_eq!(good.lines, [3, 9]);
            assert!(good.is_plausible(), "{good:?}");
        }
    }
}

#[test]
fn what_is_changed_is_refused() {
    for kind in [EDWARDS, CURVE] {
        let (key, signature) = signed(kind, 1, TEXT, 1);
        let (other, _) = signed(kind, 2, TEXT, 1);
        let bad = |question: &Question| match judge(question) {
            Answer::Bad(bad) => bad,
            Answer::Good(good) => panic!("{good:?}"),
        };
        assert_eq!(bad(&question(&other, &signature)), Bad::NotListed);
        assert_eq!(bad(&question("ssh-ed25519 AAAA", &signature)), Bad::Key(3));
        for (namespace, text) in [("git", TEXT), (NAMESPACE, "other"), ("", TEXT)] {
            let asked = Question {
                namespace: namespace.to_owned(),
                text: text.to_owned(),
                ..question(&key, &signature)
            };
            let why = bad(&asked);
            assert!(matches!(why, Bad::OtherNamespace | Bad::OtherText), "{why}");
        }
        // Each character of it is covered.
        let base64 = body(&signature);
        for at in 0..base64.len() {
            let mut changed = base64.clone().into_bytes();
            if let Some(byte) = changed.get_mut(at) {
                *byte = if *byte == b'B' { b'C' } else { b'B' };
            }
            let changed = armored(&String::from_utf8(changed).unwrap());
            if changed != signature {
                let answer = judge(&question(&key, &changed));
                assert!(matches!(answer, Answer::Bad(_)), "{at}: {answer:?}");
            }
        }
        for cut in 0..signature.len() - 2 {
            let answer = judge(&question(&key, &signature[..cut]));
            assert_eq!(answer, Answer::Bad(Bad::NotASignature), "{cut}");
        }
        let long = format!("{signature}{}", " ".repeat(SIGNATURE));
        assert_eq!(bad(&question(&key, &long)), Bad::NotASignature);
    }
}

#[test]
fn bytes_behind_a_signature_are_refused() {
    let (key, signature) = signed(EDWARDS, 1, TEXT, 1);
    let body = body(&signature);
    let longer = body.replace("==", "AA");
    assert_ne!(longer, body);
    let answer = judge(&question(&key, &armored(&longer)));
    assert_eq!(answer, Answer::Bad(Bad::NotASignature));
}
