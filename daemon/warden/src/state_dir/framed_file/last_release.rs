//! Reads files that release 0.1.0 wrote, whole and cut at each byte: nothing panics, and no state is silently empty.

use std::fs;
use std::path::PathBuf;

use crate::approval::grants::store::GrantStore;
use crate::audit::chain::Chain;
use crate::state_dir::ledger::{Ledger, Past};

const GRANTS: &[u8] = b"\
    remit grants v1\n\xc7\xd4\x9d=\xca\x0ea\xac\xb3\xef\xfc\x8c\xbe\xd2\x85\xd8\xe0Q\xf15\
    \xe8)\xaa,\xda\xcd7\x10\xc0a\xb5\x17$5a9a746b-1ea5-47f3-8f07-0e92a959a38b\xe4\xf9\xc5\
    \xa6\xa04\x86\xc2\xa8\x08\x02\x01\x01\x00\x06#64001\x81\xf4\x03\x0bsite.reload\x00<\
    \x01\x03\x00\x85\xf4\x03\x00\x00\x06#64005\xaa\xf0\xc5\xa6\xa04\x8a\xc5\xc9\xa6\xa04\
    \xac\x8d\xac\x08\x01\x00\x01\x01\x01\x0bsite.reload\xdf\xaf&\x85_\xb6Qy\xad\xac]TV\x1e\
    \x0c\xeef>\xb1W\xa0\xed\xb0m\xa8\x17>\xb1\x09\xa0\\@";
const HEAD: &[u8] = b"\
    remit audit head 02\nZ\x9atk\x1e\xa5G\xf3\x8f\x07\x0e\x92\xa9Y\xa3\x8b\x07\x00\x00\x00\
    \x00\x00\x00\x00\xf5\x82\xedU\xb1\xd0ut\xd5\xb6@\x8b9\x07\x95\x12cW\xae\xd4-\x9b\xc3r\
    \xa5I#\xb2\xc8L\xa8\xe6\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\
    \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\
    \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07\x00\x01\x00\x00\x00\x00\x00\x04\
    \x00\x00\x00\x00\x00\x00\x00\x00\xe4*\xa5\x85\x89q\x9d1j\xe0\xca\x1f\xc1\x9dt=poB\x13\
    \xabDA<\x94\x89\xf0 Q\x89\xfb\xe1";
const LEDGER: &[u8] = include_bytes!("../../../tests/state-of-0.1.0/open");

struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("remit-last-release-XXXXXX"));
        let dir = dir.unwrap();
        fs::create_dir(dir.join("warden")).unwrap();
        Self(dir)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join("warden").join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn grants_are_read_and_cut_ones_quarantined() {
    let scratch = Scratch::new();
    let store = GrantStore::in_state(&scratch.0);
    for cut in 0..=GRANTS.len() {
        let bytes = &GRANTS[..cut];
        fs::write(scratch.file("grants"), bytes).unwrap();
        match store.load().unwrap() {
            Ok(saved) => {
                let saved = saved.unwrap();
                assert_eq!((cut, saved.table.grants.len()), (GRANTS.len(), 1));
            }
            Err(damage) => {
                assert!(cut < GRANTS.len(), "{damage:?}");
                assert_eq!(fs::read(damage.kept_as.unwrap()).unwrap(), bytes);
            }
        }
    }
}

#[test]
fn head_is_read_and_cut_ones_refused() {
    let scratch = Scratch::new();
    let path = scratch.file("audit-head");
    for cut in 0..=HEAD.len() {
        fs::write(&path, &HEAD[..cut]).unwrap();
        let opened = Chain::open(&path, [1; 16], |_| false);
        // A new file is empty.
        let is_head = [0, HEAD.len()].contains(&cut);
        assert_eq!(opened.is_ok(), is_head, "{cut}: {opened:?}");
        if !is_head {
            assert_eq!(fs::read(&path).unwrap(), &HEAD[..cut]);
        }
        if cut == HEAD.len() {
            assert_eq!(opened.unwrap().newest().seq, 7);
        }
    }
}

#[test]
fn ledger_is_read_and_cut_slots_are_reported() {
    let whole: Vec<(u64, Past)> = read(LEDGER).0;
    let [(_, Past::Ending(_) | Past::Ended(_)), (_, Past::Running(_))] = whole.as_slice() else {
        panic!("{whole:?}");
    };
    let (slot, entry) = (8 << 10, 3 << 10);
    let cuts = (0..32).chain((slot..LEDGER.len()).filter(|cut| cut % slot < slot / 2));
    for cut in cuts {
        let (found, is_damaged) = read(&LEDGER[..cut]);
        // The header takes as much as a slot.
        let before = (cut / slot).saturating_sub(1);
        let in_entry = cut > slot && cut % slot > entry;
        assert!(found.starts_with(&whole[..before]), "{cut}");
        let is_known = found.len() > before;
        assert!(found.len() <= before + 1, "{cut}");
        if (1..16).contains(&cut) || (in_entry && !is_known) {
            assert!(is_damaged, "{cut}");
        }
        if is_known {
            assert_eq!(found[before], whole[before], "{cut}");
        }
    }
}

/// Returns the jobs, and whether something was damaged.
fn read(bytes: &[u8]) -> (Vec<(u64, Past)>, bool) {
    let scratch = Scratch::new();
    fs::write(scratch.file("open"), bytes).unwrap();
    let mut ledger = Ledger::open_file(&scratch.0).unwrap();
    let (jobs, damage) = ledger.read_back().unwrap();
    if let Some(damage) = &damage {
        let kept = fs::read(damage.kept_as.as_ref().unwrap()).unwrap();
        assert_eq!(kept, bytes);
    }
    let jobs = jobs.into_iter().map(|job| (job.entry.number, job.past));
    (jobs.collect(), damage.is_some())
}
