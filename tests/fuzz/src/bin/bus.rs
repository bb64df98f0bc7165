//! A job's call of the system bus, and the orders and reports of `remit-bus`. Any bytes are one call or an error. A
//! call that is forwarded is read back as the same, and its header is written from its fields alone.
#![no_main]

use remit_bus::header;
use remit_bus::message::{FIXED, MESSAGE, length, parse};
use remit_bus::table::{Table, Verdict, refusal};
use remit_common::bus::{Order, Report, is_call};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(order) = Order::decode(bytes) {
        let again = order.encode().expect("it was within its bounds");
        assert_eq!(Order::decode(&again).ok(), Some(order));
    }
    if let Ok(report) = Report::decode(bytes) {
        let again = report.encode().expect("it was within its bounds");
        assert_eq!(Report::decode(&again).ok(), Some(report));
    }
    if let Some(all) = bytes.first_chunk::<FIXED>().map(length) {
        assert!(all.is_err() || all.is_ok_and(|all| (FIXED..=MESSAGE).contains(&all)));
    }
    let Ok(call) = parse(bytes) else { return };
    let mut out = Vec::new();
    header::forward(&mut out, &call, true);
    assert_eq!(parse(&out), Ok(call));
    match Table::default().decide(&call) {
        Verdict::Forward { .. } | Verdict::Empty => assert!(is_call(&call.name())),
        Verdict::Refused => {
            let text = refusal(&call);
            assert!(text.len() < 1024 && text.chars().all(remit_common::text::is_plain));
        }
    }
});
