//! Generates audit logs of a daemon that is killed and of a machine that crashes.

use proptest::prelude::*;
use remit_audit_verify::{Entry, Expected};
use remit_trail::{Hash, hash, hex, unhex};

#[derive(Clone, Copy, Debug)]
pub enum Shape {
    Written,
    Doubted {
        written: bool,
    },
    /// The machine crashes after `behind` records beyond the head's newest one. Some of them are lost.
    Down {
        behind: u64,
        kept: u64,
        synced: bool,
    },
}

pub fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    let shape = prop_oneof![
        8 => Just(Shape::Written),
        1 => any::<bool>().prop_map(|written| Shape::Doubted { written }),
        1 => (0_u64..4, 0_u64..4, any::<bool>()).prop_map(|(behind, kept, synced)| Shape::Down { behind, kept, synced }),
    ];
    prop::collection::vec(shape, 1..60)
}

pub struct AuditLog {
    pub entries: Vec<Entry>,
    /// Removing the record looks the same as a crash of the machine.
    excused: Vec<bool>,
    plain: bool,
}

impl AuditLog {
    pub fn plain(length: usize) -> Self {
        Self::of(&vec![Shape::Written; length - 1])
    }

    pub fn seeded(length: usize, seed: u64) -> Self {
        Self::made(&vec![Shape::Written; length - 1], seed)
    }

    pub fn of(shapes: &[Shape]) -> Self {
        Self::made(shapes, 0)
    }

    fn made(shapes: &[Shape], seed: u64) -> Self {
        let (mut seq, mut prev) = (0_u64, [0; 32]);
        let (mut entries, mut excused): (Vec<Entry>, Vec<bool>) = (vec![], vec![]);
        let mut plain = true;
        let mut special: Vec<(&str, String)> = vec![];
        let mut doubt: Option<(u64, u64)> = None;
        for shape in shapes.iter().chain([&Shape::Written]) {
            let mut put = |seq: u64,
                           prev: Hash,
                           special: &mut Vec<(&'static str, String)>,
                           doubt: Option<(u64, u64)>,
                           written: bool,
                           excuse: bool| {
                let entry = record(seq, prev, seed, special, doubt);
                let hash = hash_of(&entry);
                special.clear();
                if written {
                    entries.push(entry);
                    excused.push(excuse);
                }
                hash
            };
            match *shape {
                Shape::Written => {
                    seq += 1;
                    prev = put(seq, prev, &mut special, doubt.take(), true, false);
                }
                Shape::Doubted { written } => {
                    plain = false;
                    seq += 1;
                    let first = doubt.map_or(seq, |(first, _)| first);
                    if !special.is_empty() {
                        // A daemon that continues after a crash records that in one record, or starts again.
                        prev = put(seq, prev, &mut special, doubt.take(), true, false);
                        continue;
                    }
                    prev = put(seq, prev, &mut special, doubt, written, true);
                    doubt = Some((first, seq));
                }
                Shape::Down {
                    behind,
                    kept,
                    synced,
                } => {
                    if doubt.is_some() || !special.is_empty() || seq == 0 {
                        continue;
                    }
                    plain = false;
                    let known = (seq, prev);
                    let kept = kept.min(behind);
                    for number in 0..behind {
                        seq += 1;
                        let is_last = number + 1 == kept;
                        prev = put(seq, prev, &mut special, None, number < kept, is_last);
                    }
                    special = vec![("REMIT_AFTER", known.0.to_string())];
                    if synced {
                        special.push(("REMIT_SYNCED", known.0.to_string()));
                    } else if kept == 0
                        && let Some(last) = excused.last_mut()
                    {
                        *last = true;
                    }
                    (seq, prev) = (known.0 + 100, known.1);
                }
            }
        }
        Self {
            entries,
            excused,
            plain,
        }
    }

    pub fn head(&self) -> Expected {
        let last = self.entries.last().unwrap();
        Expected {
            seq: seq(last),
            hash: hash_of(last),
        }
    }

    pub fn hash(&self, seq: usize) -> Hash {
        hash_of(&self.entries[seq - 1])
    }

    pub fn is_excused(&self, at: usize) -> bool {
        self.excused[at]
    }

    pub fn is_plain(&self) -> bool {
        self.plain
    }
}

pub fn seq(entry: &Entry) -> u64 {
    value(entry, "REMIT_SEQ").parse().unwrap()
}

pub fn is_after_jump(entry: &Entry) -> bool {
    entry.fields.iter().any(|(name, _)| name == "REMIT_AFTER")
}

fn value<'a>(entry: &'a Entry, name: &str) -> &'a str {
    &entry.fields.iter().find(|(n, _)| n == name).unwrap().1
}

fn hash_of(entry: &Entry) -> Hash {
    unhex(value(entry, "REMIT_HASH")).unwrap()
}

fn record(
    seq: u64,
    prev: Hash,
    seed: u64,
    special: &[(&str, String)],
    doubt: Option<(u64, u64)>,
) -> Entry {
    let mut entry = Entry {
        fields: vec![],
        position: format!("record {seq}"),
    };
    let fields = [
        ("MESSAGE", format!("something happened, {seed}: \u{e9}")),
        ("MESSAGE_ID", "0".repeat(32)),
        ("PRIORITY", "6".into()),
        ("REMIT_EVENT", "end".into()),
        ("REMIT_SEQ", seq.to_string()),
        ("REMIT_TIME", "2026-11-20T08:30:00.123Z".into()),
        ("REMIT_BOOT", "ab".repeat(16)),
        ("REMIT_PREV", hex(&prev)),
        ("REMIT_NOTHING", String::new()),
    ];
    fields
        .iter()
        .for_each(|(name, value)| set(&mut entry, name, value));
    special
        .iter()
        .for_each(|(name, value)| set(&mut entry, name, value));
    match doubt {
        Some((first, last)) if first == last => set(&mut entry, "REMIT_DOUBT", &first.to_string()),
        Some((first, last)) => set(&mut entry, "REMIT_DOUBT", &format!("{first}-{last}")),
        None => {}
    }
    let (name, text) = ("MESSAGE", value(&entry, "MESSAGE").to_owned());
    forge(&mut entry, name, &text);
    entry
}

pub fn set(entry: &mut Entry, name: &str, value: &str) {
    match entry.fields.iter_mut().find(|(n, _)| n == name) {
        Some(field) => value.clone_into(&mut field.1),
        None => entry.fields.push((name.into(), value.into())),
    }
}

pub fn forge(entry: &mut Entry, name: &str, value: &str) {
    set(entry, name, value);
    let fields = entry.fields.iter().filter(|(name, _)| name != "REMIT_HASH");
    let hash = hash(fields.map(|(name, value)| (name.as_str(), value.as_str())));
    set(entry, "REMIT_HASH", &hex(&hash));
}

/// Returns every record in which the name of a field has swallowed those before it, so that the hashed bytes are the same.
pub fn swallowed(entry: &Entry) -> impl Iterator<Item = Entry> {
    let is_hashed = |field: &(String, String)| field.0 != "REMIT_HASH";
    let (mut hashed, rest): (Vec<_>, Vec<_>) = entry.fields.iter().cloned().partition(is_hashed);
    hashed.sort_unstable();
    let pairs = (0..hashed.len()).flat_map(|from| (1..3).map(move |count| (from, from + count)));
    let position = entry.position.clone();
    pairs.filter_map(move |(from, to)| {
        let (last, value) = hashed.get(to)?;
        let written =
            |(name, value): &(String, String)| format!("{name} {}\n{value}\n", value.len());
        let name: String = hashed[from..to].iter().map(written).collect();
        let mut fields = rest.clone();
        fields.extend_from_slice(&hashed[..from]);
        fields.push((name + last, value.clone()));
        fields.extend_from_slice(&hashed[to + 1..]);
        let position = position.clone();
        Some(Entry { fields, position })
    })
}
