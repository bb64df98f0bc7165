//! Signatures of approvers and the file of their keys: any bytes are judged, without a panic, and what is good fits a line of
//! the file. The question and the answer of `remit-verify` are messages or errors.
#![no_main]

use remit_approval::signers::Signers;
use remit_approval::verifier::{Answer, Question};
use remit_common::signed::{NAMESPACE, armored, body};
use remit_verify::judge;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = Answer::read(&mut &bytes[..]);
    if let Ok(question) = Question::read(&mut &bytes[..]) {
        let _ = judge(&question);
    }
    // The file of keys, a NUL byte, the signature.
    let (keys, signature) = match bytes.iter().position(|byte| *byte == 0) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &[][..]),
    };
    let keys = Signers::parse(keys);
    let Ok(signature) = std::str::from_utf8(signature) else {
        return;
    };
    let keys = keys.map_or_else(|_| Vec::new(), |keys| keys.0);
    for key in &keys {
        let _ = (key.refuses(0), key.refuses(u64::MAX));
    }
    let mut question = Question {
        namespace: NAMESPACE.to_owned(),
        text: "text\n".to_owned(),
        signature: signature.to_owned(),
        keys: keys.into_iter().map(|key| (key.line, key.key)).collect(),
    };
    if let Answer::Good(good) = judge(&question) {
        assert!(good.is_plausible());
        assert!(
            good.lines
                .iter()
                .all(|line| question.keys.iter().any(|(other, _)| other == line))
        );
        // As the record keeps it.
        question.signature = armored(&body(signature));
        assert_eq!(judge(&question), Answer::Good(good));
    }
});
