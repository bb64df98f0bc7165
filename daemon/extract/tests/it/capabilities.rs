//! Capabilities of files, as the programs of a package set them.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use remit_plan::{Change, FileCapabilities};
use remit_sys::sys;

use crate::oracle::{capabilities, check};
use crate::scene::{Scene, append, chmod, entries, put, seen, set_attribute};

const RAW: FileCapabilities = FileCapabilities {
    permitted: 1 << 13,
    inheritable: 0,
    is_effective: true,
};
const BIND: FileCapabilities = FileCapabilities {
    permitted: 1 << 10,
    inheritable: 1 << 10,
    is_effective: false,
};

fn give(path: &Path, own: FileCapabilities) {
    set_attribute(path, "security.capability", &own.encode());
}

fn take(path: &Path) {
    let file = fs::File::open(path).unwrap();
    sys::remove_xattr(&file, c"security.capability").unwrap();
}

#[test]
fn capabilities_are_planned_with_the_content() {
    let names = [
        "changed",
        "given",
        "kept",
        "mode",
        "owned",
        "owned-again",
        "taken",
        "touched",
        "written",
    ];
    let scene = Scene::with("", |lower| {
        for name in names {
            put(&lower.join(name), b"x", 0o755, 0);
            if name != "given" {
                give(&lower.join(name), RAW);
            }
        }
    });
    put(&seen("new"), b"x", 0o755, 0);
    give(&seen("new"), RAW);
    give(&seen("given"), RAW);
    give(&seen("changed"), BIND);
    take(&seen("taken"));
    // The kernel takes them away with the bytes and with the owner.
    append(&seen("written"), b"x");
    assert_eq!(capabilities(&seen("written")), None);
    chown(seen("owned"), Some(5), None).unwrap();
    assert_eq!(capabilities(&seen("owned")), None);
    chown(seen("owned-again"), Some(5), None).unwrap();
    give(&seen("owned-again"), RAW);
    chmod(&seen("mode"), 0o700);
    // Copied up, and the same again.
    chmod(&seen("touched"), 0o700);
    chmod(&seen("touched"), 0o755);
    fs::remove_file(seen("kept")).unwrap();
    put(&seen("kept"), b"y", 0o755, 0);
    give(&seen("kept"), RAW);
    let extraction = check(&scene);
    assert_eq!(
        entries(&extraction),
        [
            "~/changed",
            "~/given",
            "~/kept",
            "m/mode",
            "+/new",
            "~/owned",
            "~/owned-again",
            "~/taken",
            "~/written"
        ]
    );
    assert_eq!(extraction.equal, 1);
    for entry in extraction.entries() {
        let expect = match entry.path.name() {
            b"changed" => Some(BIND),
            b"given" | b"kept" | b"new" | b"owned-again" => Some(RAW),
            _ => None,
        };
        if let Some(content) = entry.change.content() {
            let seen = fs::metadata(seen(&entry.path.to_string()[1..])).unwrap();
            let time = seen.mtime() * 1_000_000_000 + seen.mtime_nsec();
            assert_eq!(content.mtime, Some(time), "{}", entry.path);
        }
        let own = match entry.change {
            Change::SetMetadata { .. } => None,
            change => change.content().and_then(|content| content.capabilities),
        };
        assert_eq!(own, expect, "{}", entry.path);
    }
}
