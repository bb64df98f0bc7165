//! Kernel audit records, whose values jobs control. Any bytes are one record or none. Kept values are bounded and
//! safe to show. Bytes after a value change nothing before them.
#![no_main]

#[path = "../../../../daemon/broker/src/kernel_audit/calls.rs"]
mod calls;
#[path = "../../../../daemon/broker/src/kernel_audit/record.rs"]
mod record;

use record::{Record, read};

/// Length limit of an object, and the truncation mark.
const LONGEST: usize = 256 + '…'.len_utf8();

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some(record) = read(bytes) else { return };
    if let Record::Seccomp { refused, .. } | Record::Access { refused, .. } = &record {
        assert!(!refused.operation.is_empty());
        if let Some(object) = &refused.object {
            assert!(!object.is_empty() && object.len() <= LONGEST, "{object}");
            assert!(object.chars().all(remit_common::text::is_plain), "{object}");
            assert!(!object.contains('\n'), "{object}");
        }
    }
    // The first field with a name counts. Fields that a job controls come last, so they cannot replace it.
    let more = b" uid=0 domain=1 blockers=fs.execute path=\"/x\" syscall=165 code=0x50000 status=allocated";
    let again = read(&[bytes, more].concat());
    // A value that ended with the bytes is followed by a space, so it is complete.
    assert!(again.is_some());
    if let (Some(Record::Seccomp { uid, .. }), Record::Seccomp { uid: before, .. }) =
        (&again, &record)
    {
        assert_eq!(uid, before);
    }
});
