//! Generated messages: nothing outside the table arrives at the bus, and a library reads what arrives as it was meant.

use std::io::Write;

use remit_bus::header;
use remit_bus::message::{self, Call};
use remit_bus::table::{Table, Verdict};
use zbus::wire::{Endian, serialized};

use crate::client::{Client, DRIVER, Reply, bytes, call, read};
use crate::fake::FakeBus;
use crate::stage::Proxy;

const INTERFACES: [&str; 10] = [
    "",
    "org.freedesktop.DBus",
    "org.freedesktop.DBus.Properties",
    "org.freedesktop.DBus.Peer",
    "org.freedesktop.DBus.Monitoring",
    "org.freedesktop.systemd1.Manager",
    "org.freedesktop.systemd1.Unit",
    "org.freedesktop.login1.Manager",
    "org.freedesktop.hostname1",
    "org.freedesktop.systemd1.Managers",
];
const MEMBERS: [&str; 24] = [
    "Get",
    "GetAll",
    "Set",
    "Ping",
    "GetUnit",
    "LoadUnit",
    "StartUnit",
    "StopUnit",
    "KillUnit",
    "Reload",
    "ListUnits",
    "Subscribe",
    "AddMatch",
    "RequestName",
    "BecomeMonitor",
    "SetHostname",
    "Describe",
    "PowerOff",
    "CanPowerOff",
    "Inhibit",
    "StartServiceByName",
    "SetUnitProperties",
    "GetNameOwner",
    "getunit",
];
const DESTINATIONS: [&str; 5] = [
    "org.freedesktop.DBus",
    "org.freedesktop.systemd1",
    "org.freedesktop.hostname1",
    ":1.7",
    "a-b.c",
];
const PATHS: [&str; 4] = [
    "/",
    "/org/freedesktop/DBus",
    "/org/freedesktop/systemd1/unit/a_2eb",
    "/_0",
];
const BODIES: [(&str, &[u8]); 6] = [
    ("", b""),
    ("s", b"\x01\0\0\0x\0"),
    ("ss", b"\x01\0\0\0x\0\0\0\x01\0\0\0y\0"),
    ("u", b"\x01\0\0\0"),
    ("as", b"\0\0\0\0"),
    ("b", b"\x01\0\0\0"),
];
/// What the members of calls that read begin with: a rule that is not the table's.
const READS: [&str; 10] = [
    "Get",
    "List",
    "Lookup",
    "Can",
    "Describe",
    "Introspect",
    "Ping",
    "Hello",
    "NameHasOwner",
    "LoadUnit",
];

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    fn one<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn call(&mut self) -> Call<'static> {
        let (signature, body) = self.one(&BODIES);
        Call {
            serial: u32::try_from(self.below(1 << 20)).unwrap() + 2,
            wants_reply: self.below(2) == 0,
            path: self.one(&PATHS),
            interface: self.one(&INTERFACES),
            member: self.one(&MEMBERS),
            destination: self.one(&DESTINATIONS),
            signature,
            body,
        }
    }

    /// Returns a message that is broken more or less often: bytes changed, inserted, removed, fields repeated.
    fn message(&mut self, out: &mut Vec<u8>, most_changes: usize) {
        out.clear();
        header::forward(out, &self.call(), true);
        for _ in 0..self.below(most_changes + 1) {
            let at = self.below(out.len());
            match self.below(6) {
                0 => out[at] = self.one(&[0, 1, 2, 3, 4, 5, 8, 9, 0x6c, 0x42, 0x7f, 0x80, 0xff]),
                1 => out[at] ^= 1 << self.below(8),
                2 => out.truncate(at.max(1)),
                3 => out.insert(at, self.one(b"\0\x01\x06s")),
                // Another field, in the length of the fields, too.
                4 if out.len() > 32 => {
                    let field: Vec<u8> = out[16..32].to_vec();
                    out.splice(16..16, field);
                    out[12] = out[12].wrapping_add(16);
                }
                _ if out.len() > 2 => out[2] = self.one(&[0, 1, 2, 4, 7, 0xff]),
                _ => {}
            }
        }
    }
}

/// Checks by zbus that a forwarded message has these five fields, and by a rule of this test that it reads.
fn check(forwarded: &[u8], call: Option<&Call<'_>>) {
    let context = serialized::Context::new(Endian::Little, 0);
    let data = serialized::Data::new(forwarded.to_vec(), context);
    let message = unsafe { zbus::Message::from_bytes(data) }.unwrap();
    let (header, shown) = (message.header(), String::from_utf8_lossy(forwarded));
    let member = header.member().unwrap().as_str();
    assert!(
        READS.iter().any(|start| member.starts_with(start)),
        "{shown}"
    );
    let interface = header.interface().unwrap().as_str();
    assert!(INTERFACES[1..9].contains(&interface), "{shown}");
    assert!(forwarded[2] & !3 == 0, "{shown}");
    let destination = header.destination().unwrap().as_str();
    let may_start = destination == "org.freedesktop.hostname1";
    assert_eq!(forwarded[2] & 2 == 0, may_start, "{shown}");
    if let Some(call) = call {
        assert_eq!(member, call.member);
        assert_eq!(interface, call.interface);
        assert_eq!(destination, call.destination);
        assert_eq!(header.path().unwrap().as_str(), call.path);
        let signature = zbus::Signature::try_from(call.signature).unwrap();
        assert_eq!(header.signature(), &signature);
        assert_eq!(header.primary().serial_num().get(), call.serial);
        assert!(forwarded.ends_with(call.body));
    }
}

#[test]
fn million_generated_headers_forward_nothing_but_reads() {
    let (mut random, table) = (Random(1), Table::default());
    let (mut message, mut out) = (Vec::new(), Vec::new());
    let (mut parsed, mut forwarded) = (0, 0);
    // All of them where nothing may be left out: they take 7 s of processor time.
    let count = match std::env::var_os("REMIT_TESTS_MUST_RUN") {
        Some(_) => 1_000_000,
        None => 200_000,
    };
    for _ in 0..count {
        random.message(&mut message, 3);
        let Ok(call) = message::parse(&message) else {
            continue;
        };
        parsed += 1;
        if let Verdict::Forward { may_start } = table.decide(&call) {
            forwarded += 1;
            out.clear();
            header::forward(&mut out, &call, may_start);
            assert_eq!(message::parse(&out), Ok(call));
            // The library takes most of the time.
            if forwarded % 20 == 0 {
                check(&out, Some(&call));
            }
        }
    }
    assert!(
        parsed > count / 5 && forwarded > count / 100,
        "{parsed} {forwarded}"
    );
}

#[test]
fn generated_messages_reach_a_real_socket_only_if_they_read() {
    let bus = FakeBus::start();
    let proxy = Proxy::start(&bus.path);
    let mut random = Random(2);
    proxy.job(|| {
        let mut message = Vec::new();
        for number in 0..2000 {
            // A new job, with all its calls, also if each one is a list.
            if number % 4 == 0 {
                proxy.end();
            }
            let mut client = Client::new();
            for _ in 0..5 {
                random.message(&mut message, 0);
                client.send(&message);
            }
            let last = call(u32::MAX, DRIVER, "AddMatch");
            client.send(&bytes(&last));
            while client.reply().answers() != last.serial {}
            // What follows a broken message is read as its rest, or not at all.
            for _ in 0..5 {
                random.message(&mut message, 3);
                if client.0.write_all(&message).is_err() {
                    break;
                }
            }
            let last = Call {
                wants_reply: false,
                ..random.call()
            };
            let _ = client.0.write_all(&bytes(&last));
            let _ = client.0.shutdown(std::net::Shutdown::Write);
            while read(&mut client.0).is_some() {}
        }
    });
    let seen = bus.seen();
    let is_other = |one: &&Reply| !one.text().contains("Hello");
    assert!(seen.iter().filter(is_other).count() > 100, "{}", seen.len());
    for one in &seen {
        check(&one.bytes, None);
    }
}
