//! Tables of passwords, which a copy has without hashes.

use std::fs;
use std::path::Path;

use remit_extract::{ContentSource, Extraction, RefusalReason};
use remit_plan::{Change, LineError, Source, sha256};

use crate::scene::{Scene, at, entries, put, seen};

const TABLE: &[u8] = b"root:$y$abc:1:0:99999:7:::\nbob:$6$x:1:0:99999:7:::\n";
const SHOWN: &[u8] = b"root:!:1:0:99999:7:::\nbob:!:1:0:99999:7:::\n";

/// A copy in which `new` is the table, written as shadow-utils do.
fn scene(new: &[u8]) -> Scene {
    let put_all = |dir: &Path, table: &[u8]| {
        for name in ["etc/shadow", "etc/shadow-"] {
            put(&dir.join(name), table, 0o640, 42);
        }
    };
    let mut scene = Scene::with("/mnt/mask:", |lower| {
        put_all(lower, TABLE);
        put_all(&at("mask"), SHOWN);
    });
    scene.hidden = [b"/etc/shadow".to_vec(), b"/etc/shadow-".to_vec()].into();
    fs::copy(seen("etc/shadow"), seen("etc/shadow-")).unwrap();
    put(&seen("etc/shadow+"), new, 0o640, 42);
    fs::rename(seen("etc/shadow+"), seen("etc/shadow")).unwrap();
    scene
}

fn text(scene: &Scene, extraction: &Extraction) -> Vec<u8> {
    let (machine, mut text) = (scene.machine(), Vec::new());
    let source = ContentSource::new(&machine);
    let mut keep = |piece: &[u8]| {
        text.extend_from_slice(piece);
        Ok(())
    };
    let entry = &extraction.entries()[0];
    source.write_new(entry, &mut keep).unwrap();
    text
}

#[test]
fn the_plan_has_the_changed_lines_and_no_hash_of_the_table() {
    let scene = scene(&[SHOWN, b"new:!:2::::::\n"].concat());
    let extraction = scene.extract();
    assert_eq!(extraction.refusals, []);
    assert_eq!(entries(&extraction), ["~/etc/shadow"]);
    let Change::Replace { base, content, .. } = extraction.entries()[0].change else {
        panic!("{extraction:?}");
    };
    assert_eq!(base.sha256, None);
    let lines = text(&scene, &extraction);
    assert_eq!(lines, b"+new:!:2::::::\n");
    assert_eq!(
        (content.source, content.sha256),
        (Source::Lines, sha256(&lines))
    );
    assert!(extraction.plan().is_ok());
    let notes: Vec<String> = extraction.notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        [
            "'/etc/shadow-' is left out: it is what the table of passwords was before, without its passwords"
        ]
    );
}

#[test]
fn stand_ins_are_never_planned() {
    use remit_common::view::STAND_INS;
    let put_all = || {
        for stand_in in STAND_INS {
            put(&seen(stand_in.path), stand_in.text, 0o755, 0);
        }
    };
    let scene = Scene::with("/mnt/mask:", |lower| {
        put(&lower.join("usr/bin/systemctl"), b"real", 0o755, 0);
        fs::create_dir_all(lower.join("usr/sbin")).unwrap();
        fs::create_dir_all(lower.join("bin")).unwrap();
        put(&at("mask/usr/bin/systemctl"), STAND_INS[0].text, 0o755, 0);
    });
    crate::scene::chmod(&seen("usr/bin/systemctl"), 0o755);
    put_all();
    let extraction = scene.extract();
    assert_eq!((entries(&extraction), extraction.equal), (Vec::new(), 3));
    crate::scene::chmod(&seen("usr/bin/systemctl"), 0o711);
    fs::copy(seen("usr/sbin/policy-rc.d"), seen("etc/copied")).unwrap();
    let extraction = scene.is_refused(&[
        ("/etc/copied", RefusalReason::StandIn),
        ("/usr/bin/systemctl", RefusalReason::StandIn),
    ]);
    assert_eq!(entries(&extraction), Vec::<String>::new());
    // An upgrade of the package.
    fs::remove_file(seen("etc/copied")).unwrap();
    put(&seen("usr/bin/systemctl"), b"next", 0o755, 0);
    assert_eq!(entries(&scene.extract()), ["~/usr/bin/systemctl"]);
}

#[test]
fn table_that_was_written_again_is_equal() {
    let extraction = scene(SHOWN).extract();
    assert_eq!((extraction.entries(), extraction.equal), (&[][..], 1));
}

#[test]
fn password_or_mode_of_the_table_cannot_change() {
    let password = RefusalReason::Lines(LineError::Password(b"bob".to_vec()));
    let new = b"root:!:1:0:99999:7:::\nbob:$6$mine:1:0:99999:7:::\n";
    let extraction = scene(new).is_refused(&[("/etc/shadow", password)]);
    assert_eq!(
        extraction.refusals[0].to_string(),
        "cannot plan a change of '/etc/shadow': the password of 'bob' was set, locked or unlocked; a copy does not know \
         it, so do that on the machine"
    );
    let renamed = b"root:!:1:0:99999:7:::\nrob:!:1:0:99999:7:::\n";
    let [from, to] = [&b"bob"[..], b"rob"].map(<[u8]>::to_vec);
    let refused = RefusalReason::Lines(LineError::Renamed { from, to });
    let extraction = scene(renamed).is_refused(&[("/etc/shadow", refused)]);
    assert_eq!(
        extraction.refusals[0].to_string(),
        "cannot plan a change of '/etc/shadow': 'bob' was removed and 'rob' is new; if that is its new name, the password of \
         'bob' would be lost, which a copy does not know; rename it on the machine, or plan the removal first and the new one after \
         that change"
    );
    let scene = scene(SHOWN);
    crate::scene::chmod(&seen("etc/shadow"), 0o644);
    scene.is_refused(&[("/etc/shadow", RefusalReason::HiddenChanged)]);
}
