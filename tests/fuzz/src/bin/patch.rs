//! A file and a patch, separated by a NUL byte: any bytes give a new file or an error. The diff of the two gives the
//! second, and its text for people has no control character and no mark of remit's but its own.
#![no_main]

use remit_edit::{Tabs, diff, patch, show};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let at = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    let (base, text) = bytes.split_at(at);
    let text = text.get(1..).unwrap_or_default();
    if let Ok(changed) = patch(base, text) {
        assert!(changed.len() <= base.len() + text.len());
    }
    let hunks = diff(base, text);
    if !hunks.is_empty() {
        assert_eq!(patch(base, &hunks).as_deref(), Ok(text));
    }
    for tabs in [Tabs::Shown, Tabs::Escaped] {
        let shown = show(&hunks, 2000, tabs);
        assert!(shown.len() < 2200);
        assert!(
            !shown
                .chars()
                .any(|c| c.is_control() && c != '\n' && c != '\t')
        );
    }
});
