//! Command lines of records, whose words callers choose: any text has words or none, and an argument list is found again
//! in its line. A word that may be another says so.
#![no_main]

use remit_common::text::command_line;
use remit_words::command_line::words;

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    if let Some(found) = words(text) {
        let found: Vec<String> = found.into_iter().map(|word| word.text).collect();
        assert!(words(&command_line(&found, usize::MAX)).is_some());
    }
    let argv: Vec<&str> = text.split('\0').collect();
    let line = command_line(&argv, usize::MAX);
    assert!(!line.contains('\n'));
    let found = words(&line).expect("it is whole");
    assert_eq!(found.len(), argv.len());
    for (found, word) in found.iter().zip(argv) {
        assert!(found.ambiguous || found.text == word, "{found:?} {word:?}");
    }
});
