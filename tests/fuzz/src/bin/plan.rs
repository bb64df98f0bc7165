//! Plans, lists of edits, journals and names of uploads: any bytes are one that is encoded again as the same value, or an error.
#![no_main]

use remit_edit::Edits;
use remit_plan::{Journal, Plan, Upload, canonical};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(plan) = Plan::decode(bytes) {
        let again = Plan::decode(&plan.encode()).expect("it is checked");
        assert_eq!(again, plan);
        assert_eq!(canonical(&again), canonical(&plan));
        let mut order = plan.operations();
        order.sort_unstable();
        assert!(order.into_iter().eq(0..plan.entries().len()));
        let end = plan.ranges().last().map_or(0, |range| range.end);
        assert!(end <= remit_plan::CONTENT_BYTES);
    }
    if let Ok(journal) = Journal::decode(bytes) {
        assert_eq!(journal.inodes.len(), journal.plan.entries().len());
    }
    if let Ok(edits) = Edits::decode(bytes) {
        assert_eq!(Edits::decode(&edits.encode()), Ok(edits.clone()));
        for edit in &edits.edits {
            let _ = edit.apply(None);
        }
    }
    let text = String::from_utf8_lossy(bytes);
    if let Ok(upload) = text.parse::<Upload>() {
        assert_eq!(upload.to_string(), text);
    }
});
