//! What the proxy of a copy reads: a job's request, a name server's answer, the machine's files of names. A request that is sent
//! on is read back as the same, and nothing that was not asked for is in it.
#![no_main]

use remit_common::hosts_file;
use remit_proxy::lookup::{self, IpFamily, MOST, NameAnswer};
use remit_proxy::request::{FORWARDED, LONGEST, parse};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let list = [
        ("deb.example.org".to_owned(), 80),
        ("pypi.example.org".to_owned(), 8080),
    ];
    match parse(bytes, &list) {
        None => assert!(bytes.len() < LONGEST),
        Some(Err(refusal)) => {
            let response = String::from_utf8(refusal.response()).expect("text");
            let (head, _) = response.split_once("\r\n\r\n").expect("an end");
            assert!(head.lines().count() == 4 && head.len() < 1024, "{head}");
            assert!((400..600).contains(&refusal.status));
        }
        Some(Ok(request)) => {
            let text = String::from_utf8(request.bytes).expect("it is text");
            assert!(
                text.ends_with("\r\nConnection: close\r\n\r\n")
                    && text.matches("\r\n\r\n").count() == 1
            );
            assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
            let mut headers = text.lines().skip(1).filter(|line| !line.is_empty());
            assert!(
                headers
                    .next()
                    .is_some_and(|first| first.starts_with("Host: "))
            );
            for header in headers {
                let (name, _) = header.split_once(": ").expect("a header");
                assert!(
                    FORWARDED.contains(&name) || header == "Connection: close",
                    "{text}"
                );
            }
            let (method, rest) = text.split_once(' ').expect("a method");
            assert!(method == "GET" || method == "HEAD");
            // With the two that were added there may be too many.
            if text.lines().count() > 100 {
                return;
            }
            let (host, port) = &list[request.listed];
            let again = format!("{method} http://{host}:{port}{rest}");
            let again = parse(again.as_bytes(), &list)
                .expect("it ends")
                .expect("it was taken");
            assert_eq!(again.bytes, text.as_bytes());
        }
    }
    for family in IpFamily::ALL {
        if let NameAnswer::Addresses(found) =
            lookup::answer(bytes, 0x3030, "deb.example.org", family)
        {
            assert!(found.len() <= MOST);
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert!(hosts_file::addresses(text, "deb.example.org").len() <= MOST);
        if let Ok(servers) = lookup::servers(text) {
            assert!((1..=3).contains(&servers.len()));
        }
    }
});
