//! After any sequence of crashes, the audit log is complete.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use remit_audit_verify::{Entry, Expected, Report, Verifier};

use super::*;
use crate::audit::record::Event;

#[derive(Clone, Copy, Debug)]
enum Deed {
    Write {
        sync: bool,
    },
    Refused,
    /// The daemon is killed. `out`: after it wrote the pending record.
    Kill {
        pending: bool,
        out: bool,
    },
    /// The power fails. Part of the unsynced data is on the disk.
    PowerCut {
        pending: bool,
        out: bool,
        head: prop::sample::Index,
        records: prop::sample::Index,
    },
    Stop {
        reboot: bool,
    },
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let cut = any::<(bool, bool, prop::sample::Index, prop::sample::Index)>();
    let deed = prop_oneof![
        6 => any::<bool>().prop_map(|sync| Deed::Write { sync }),
        1 => Just(Deed::Refused),
        2 => any::<(bool, bool)>().prop_map(|(pending, out)| Deed::Kill { pending, out }),
        2 => cut.prop_map(|(pending, out, head, records)| Deed::PowerCut { pending, out, head, records }),
        1 => any::<bool>().prop_map(|reboot| Deed::Stop { reboot }),
    ];
    prop::collection::vec(deed, 1..30)
}

struct Machine {
    path: PathBuf,
    chain: Chain,
    boot: u8,
    is_file: bool,
    entries: Vec<Entry>,
    synced: usize,
    heads: Vec<Vec<u8>>,
    written: u64,
}

impl Machine {
    fn new(is_file: bool) -> Self {
        let name = format!("remit-crashes-{is_file}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_file(&path);
        let chain = Chain::open(&path, [1; 16], |_| false).unwrap();
        let heads = vec![fs::read(&path).unwrap()];
        Self {
            path,
            chain,
            boot: 1,
            is_file,
            entries: Vec::new(),
            synced: 0,
            heads,
            written: 0,
        }
    }

    fn note_head(&mut self, is_synced: bool) {
        if is_synced {
            self.heads.clear();
        }
        self.heads.push(fs::read(&self.path).unwrap());
    }

    fn link(&mut self) -> (Linked, Entry) {
        self.written += 1;
        let record = Record::new(Event::Start, self.written.to_string());
        let linked = self.chain.link(record, 0).unwrap();
        let record = &linked.record;
        self.note_head(false);
        let head = [
            ("MESSAGE", record.message.as_str()),
            ("MESSAGE_ID", record.event.message_id()),
            ("PRIORITY", record.priority),
        ];
        let mut fields: Vec<(String, String)> = head.map(|(n, v)| (n.into(), v.into())).into();
        let more = linked.fields();
        fields.extend(more.map(|(n, v)| (format!("REMIT_{n}"), v.to_owned())));
        let position = String::new();
        (linked, Entry { fields, position })
    }

    fn pending(&mut self, pending: bool, out: bool) {
        if pending {
            let (_, entry) = self.link();
            self.entries.extend(out.then_some(entry));
        }
    }

    fn open(&mut self) {
        let newest = self.entries.last().and_then(|entry| entry.fields.last());
        let newest = newest.map(|(_, hash)| hash.clone());
        let is_file = self.is_file;
        let is_written = |hash: &str| is_file && newest.as_deref() == Some(hash);
        self.chain = Chain::open(&self.path, [self.boot; 16], is_written).unwrap();
        self.note_head(true);
    }

    fn does(&mut self, deed: Deed) {
        match deed {
            Deed::Write { sync } => {
                let sync = sync && self.is_file;
                let (linked, entry) = self.link();
                self.entries.push(entry);
                if sync {
                    self.synced = self.entries.len();
                }
                self.chain.commit(&linked, sync).unwrap();
                self.note_head(sync);
            }
            Deed::Refused => {
                self.link();
                self.chain.withdraw().unwrap();
                self.note_head(false);
            }
            Deed::Kill { pending, out } => {
                self.pending(pending, out);
                self.open();
            }
            Deed::PowerCut {
                pending,
                out,
                head,
                records,
            } => {
                self.pending(pending, out);
                fs::write(&self.path, head.get(&self.heads)).unwrap();
                let kept = self.synced + records.index(self.entries.len() - self.synced + 1);
                self.entries.truncate(kept);
                self.synced = kept;
                self.boot += 1;
                self.open();
            }
            Deed::Stop { reboot } => {
                self.chain.stop().unwrap();
                self.note_head(true);
                self.synced = self.entries.len();
                self.boot += u8::from(reboot);
                self.open();
            }
        }
    }

    fn verified(&self) -> Report {
        let mut verifier = Verifier::default();
        self.entries.iter().for_each(|entry| verifier.take(entry));
        let Link { seq, hash } = self.chain.newest();
        verifier.finish(Some(Expected { seq, hash }))
    }
}

proptest! {
    #[test]
    fn audit_log_survives_any_crash(is_file: bool, deeds in deeds()) {
        let mut machine = Machine::new(is_file);
        for deed in deeds {
            machine.does(deed);
        }
        machine.does(Deed::Write { sync: true });
        let report = machine.verified();
        prop_assert!(report.findings.is_empty(), "{:?}", report.findings);
        fs::remove_file(&machine.path).unwrap();
    }
}
