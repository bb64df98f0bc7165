//! Records of what has happened that the sink did not take. They are written before any other record, in their order.

use std::collections::VecDeque;

use super::record::Record;

/// Maximum number of records, and of their bytes as in [`Record::weight`].
const RECORDS: usize = 256;
const BYTES: usize = 256 << 10;

#[derive(Debug, Default)]
pub struct Undelivered {
    /// With milliseconds since 1970, when it happened.
    records: VecDeque<(Record, u64)>,
    bytes: usize,
}

impl Undelivered {
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Keeps a record. Returns false if it is one too many.
    pub fn keep(&mut self, record: Record, at_ms: u64) -> bool {
        let bytes = self.bytes.saturating_add(record.weight());
        let fits = self.records.len() < RECORDS && bytes <= BYTES;
        if fits {
            self.bytes = bytes;
            self.records.push_back((record, at_ms));
        }
        fits
    }

    pub fn first(&self) -> Option<(Record, u64)> {
        self.records.front().cloned()
    }

    pub fn remove_first(&mut self) {
        if let Some((record, _)) = self.records.pop_front() {
            self.bytes = self.bytes.saturating_sub(record.weight());
        }
    }

    pub fn sentences(&self) -> impl Iterator<Item = &str> {
        self.records
            .iter()
            .map(|(record, _)| record.message.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::path::PathBuf;

    use nix::sys::socket::setsockopt;
    use nix::sys::socket::sockopt::SndBuf;

    use super::*;
    use crate::audit::{Audit, Event, Unwritten};

    /// An audit log whose socket is read by the test.
    struct Scene {
        dir: PathBuf,
        reader: UnixDatagram,
        filler: UnixDatagram,
        audit: Audit,
    }

    impl Scene {
        fn new() -> Self {
            let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("remit-later-XXXXXX"));
            let dir = dir.unwrap();
            std::fs::create_dir(dir.join("warden")).unwrap();
            let (socket, reader) = UnixDatagram::pair().unwrap();
            let filler = socket.try_clone().unwrap();
            // The audit log sends without blocking in any case.
            filler.set_nonblocking(true).unwrap();
            reader.set_nonblocking(true).unwrap();
            let audit = Audit::with_socket(socket, &dir);
            Self {
                dir,
                reader,
                filler,
                audit,
            }
        }

        /// Fills the queue of the socket, as a flood of other senders does.
        fn fill(&self) {
            while self.filler.send(b"x").is_ok() {}
        }

        /// Empties the queue. Returns the records that were in it.
        fn read(&self) -> Vec<String> {
            let mut all = Vec::new();
            let mut buffer = vec![0; 1 << 16];
            while let Ok(length) = self.reader.recv(&mut buffer) {
                let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
                all.extend((text != "x").then_some(text));
            }
            all
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }

    fn value<'a>(record: &'a str, name: &str) -> Option<&'a str> {
        let name = format!("{name}=");
        record.lines().find_map(|line| line.strip_prefix(&name))
    }

    #[test]
    fn what_happened_while_the_sink_was_full_is_the_next_record() {
        for (event, name, field) in [
            (Event::Lock, "KILL", "yes"),
            (Event::Revoked, "GRANT", "7"),
            (Event::Paused, "PAUSED", "changes"),
        ] {
            let mut scene = Scene::new();
            scene.audit.note(Record::new(Event::Start, "first"));
            scene.fill();
            scene
                .audit
                .note(Record::new(event, "it happened").field(name, field));
            let full = scene.audit.write(Record::new(Event::Intent, "not run"));
            assert!(matches!(full, Err(Unwritten::Later)), "{full:?}");
            assert!(scene.audit.has_undelivered() && !scene.audit.deliver());
            assert_eq!(scene.read().len(), 1);
            scene
                .audit
                .write(Record::new(Event::Intent, "run"))
                .unwrap();
            let records = scene.read();
            let brief = records.iter().map(|record| {
                let value = |name| value(record, name).unwrap_or_default();
                (value("MESSAGE"), value("REMIT_SEQ"))
            });
            let brief: Vec<_> = brief.collect();
            assert_eq!(brief, [("it happened", "2"), ("run", "3")]);
            let [happened, run] = records.as_slice() else {
                panic!("{records:?}");
            };
            assert_eq!(value(happened, "REMIT_EVENT"), Some(event.name()));
            assert_eq!(value(happened, &format!("REMIT_{name}")), Some(field));
            assert_eq!(value(run, "REMIT_PREV"), value(happened, "REMIT_HASH"));
            assert_eq!(value(run, "REMIT_LOST"), None);
            assert_eq!(scene.audit.totals().lost_records, 0);
        }
    }

    #[test]
    fn what_is_kept_is_written_without_another_record() {
        let mut scene = Scene::new();
        scene.fill();
        scene.audit.note(Record::new(Event::Lock, "a"));
        scene.audit.note(Record::new(Event::Unlock, "b"));
        scene.read();
        assert!(scene.audit.deliver() && !scene.audit.has_undelivered());
        let records = scene.read();
        let messages: Vec<_> = records.iter().map(|one| value(one, "MESSAGE")).collect();
        assert_eq!(messages, [Some("a"), Some("b")]);
    }

    #[test]
    fn only_what_is_too_much_is_lost_and_counted() {
        let mut scene = Scene::new();
        scene.fill();
        for _ in 0..RECORDS + 3 {
            scene.audit.note(Record::new(Event::Revoked, "x"));
        }
        assert_eq!(scene.audit.totals().lost_records, 3);
        scene.read();
        let mut records = Vec::new();
        while !scene.audit.deliver() {
            records.extend(scene.read());
        }
        records.extend(scene.read());
        assert_eq!(records.len(), RECORDS);
        assert!(records.iter().all(|one| value(one, "REMIT_LOST").is_none()));
        scene.audit.note(Record::new(Event::Stop, "y"));
        let [stop] = scene.read().try_into().unwrap();
        assert_eq!(value(&stop, "REMIT_LOST"), Some("3"));
    }

    #[test]
    fn record_longer_than_a_datagram_is_in_the_way_of_no_other() {
        let mut scene = Scene::new();
        setsockopt(&scene.filler, SndBuf, &4096).unwrap();
        let long = "x".repeat(8000);
        let record = Record::new(Event::Revoked, "long");
        scene
            .audit
            .note(record.field("CAUSE", &long).field("WHAT", &long));
        assert!(scene.audit.has_undelivered());
        scene.audit.write(Record::new(Event::Intent, "y")).unwrap();
        let [next] = scene.read().try_into().unwrap();
        let lost = value(&next, "REMIT_LOST");
        assert_eq!((value(&next, "REMIT_SEQ"), lost), (Some("1"), Some("1")));
    }

    #[test]
    fn kept_records_are_bounded_in_number_and_bytes() {
        let fill = |record: &Record| {
            let mut kept = Undelivered::default();
            let count = (0..).take_while(|_| kept.keep(record.clone(), 0)).count();
            assert!(kept.bytes <= BYTES, "{}", kept.bytes);
            while !kept.is_empty() {
                kept.remove_first();
            }
            assert_eq!(kept.bytes, 0);
            count
        };
        let short = Record::new(Event::Lock, "x");
        assert_eq!(fill(&short), RECORDS);
        let long = short.field("CAUSE", "x".repeat(8000));
        assert_eq!(fill(&long), BYTES / long.weight());
    }
}
