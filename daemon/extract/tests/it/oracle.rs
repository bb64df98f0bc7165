//! Applies an extraction to a copy of the host's directory, and compares that with what the plan's programs see.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, lchown, symlink};
use std::path::{Path, PathBuf};

use remit_extract::{ContentSource, Extraction, NoPlan};
use remit_plan::{
    BUNDLE_BYTES, Base, Bundle, Change, Entry, Kind, Metadata, New, OldCapabilities, PlanError,
    sha256,
};
use remit_sys::sys;

use crate::scene::{Scene, at, chmod, run, set_attribute};

#[derive(Debug, PartialEq, Eq)]
pub struct Facts {
    mode: u32,
    owner: (u32, u32),
    bytes: Vec<u8>,
    capabilities: Option<Vec<u8>>,
}

/// Returns the attribute of a file.
pub fn capabilities(path: &Path) -> Option<Vec<u8>> {
    let file = fs::File::open(path).unwrap();
    sys::xattr(&file, c"security.capability").ok()
}

/// Extracts, and fails unless the entries make the tree that the overlay shows.
#[track_caller]
pub fn check(scene: &Scene) -> Extraction {
    let machine = scene.machine();
    let source = ContentSource::new(&machine);
    let extraction = remit_extract::extract(&machine);
    assert_eq!(extraction.refusals, [], "{:?}", extraction.refusals);
    fs::remove_dir_all(at("copy")).unwrap();
    run("cp", &["-a", "/mnt/lower", "/mnt/copy"]);
    match extraction.plan() {
        Err(NoPlan::Plan(PlanError::Empty)) => {}
        plan => {
            let plan = plan.unwrap();
            bundle(&plan, &source);
            for number in plan.operations() {
                apply(&plan.entries()[number], &source);
            }
        }
    }
    let (made, seen) = (tree(&at("copy")), tree(&at("merged")));
    for path in made.keys().chain(seen.keys()) {
        let (made, seen) = (made.get(path), seen.get(path));
        assert!(made == seen, "{path:?}: {made:?}, expected {seen:?}");
    }
    extraction
}

/// The bytes of a bundle come in the order of its entries.
fn bundle(plan: &remit_plan::Plan, source: &ContentSource<'_>) {
    let (mut new, mut old) = (Vec::new(), Vec::new());
    for (entry, shown) in plan.entries().iter().zip(plan.shown_old()) {
        new.extend(new_bytes(entry, source));
        let sink = &mut |bytes: &[u8]| {
            old.extend_from_slice(bytes);
            Ok(())
        };
        if let Some(shown) = shown {
            source.write_old(entry, shown, sink).unwrap();
        }
    }
    let size = 8 + plan.encode().len() + new.len() + old.len();
    match Bundle::new(plan, &new, &old) {
        Err(PlanError::Bundle) if size > BUNDLE_BYTES => {}
        bundle => drop(bundle.unwrap()),
    }
}

fn new_bytes(entry: &Entry, source: &ContentSource<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let sink = &mut |piece: &[u8]| {
        assert!(piece.len() <= 64 << 10);
        bytes.extend_from_slice(piece);
        Ok(())
    };
    source.write_new(entry, sink).unwrap();
    bytes
}

fn apply(entry: &Entry, source: &ContentSource<'_>) {
    let relative = std::ffi::OsStr::from_bytes(&entry.path.as_bytes()[1..]);
    let target = at("copy").join(relative);
    if let Some(base) = entry.change.base() {
        check_base(base, &at("lower").join(relative));
    }
    let bytes = new_bytes(entry, source);
    match entry.change {
        Change::Create {
            new: New::Directory,
            meta,
        } => {
            fs::create_dir(&target).unwrap();
            set_metadata(&target, meta);
        }
        Change::Create { meta, .. }
        | Change::Replace { meta, .. }
        | Change::ReplaceKind { meta, .. } => {
            if entry.change.base().is_some() {
                fs::remove_file(&target).unwrap();
            }
            assert!(fs::symlink_metadata(&target).is_err());
            if let Some(New::Link(_)) = entry.change.makes() {
                symlink(std::ffi::OsString::from_vec(bytes), &target).unwrap();
                lchown(&target, Some(meta.uid), Some(meta.gid)).unwrap();
            } else {
                fs::write(&target, bytes).unwrap();
                set_metadata(&target, meta);
                let content = entry.change.content().unwrap();
                if let Some(own) = content.capabilities {
                    set_attribute(&target, "security.capability", &own.encode());
                }
            }
        }
        Change::SetMetadata { meta, .. } => {
            let is_file = fs::symlink_metadata(&target).unwrap().is_file();
            let own = is_file.then(|| capabilities(&target)).flatten();
            set_metadata(&target, meta);
            if let Some(own) = own {
                set_attribute(&target, "security.capability", &own);
            }
        }
        Change::Remove { base } if base.stat.kind == Kind::Directory => {
            fs::remove_dir(&target).unwrap();
        }
        Change::Remove { .. } => fs::remove_file(&target).unwrap(),
    }
}

fn set_metadata(path: &Path, meta: Metadata) {
    lchown(path, Some(meta.uid), Some(meta.gid)).unwrap();
    chmod(path, meta.mode);
}

fn check_base(base: &Base, path: &Path) {
    let seen = fs::symlink_metadata(path).unwrap();
    let stat = base.stat;
    assert_eq!(
        (stat.dev, stat.ino, stat.size),
        (seen.dev(), seen.ino(), seen.size())
    );
    assert_eq!(stat.ctime_ns, crate::scene::ctime_ns(path));
    let meta = (stat.meta.mode, stat.meta.uid, stat.meta.gid);
    assert_eq!(meta, (seen.mode() & 0o7777, seen.uid(), seen.gid()));
    let bytes = match stat.kind {
        Kind::File => Some(fs::read(path).unwrap()),
        Kind::Symlink => Some(fs::read_link(path).unwrap().into_os_string().into_vec()),
        Kind::Directory | Kind::Special => None,
    };
    assert_eq!(base.sha256, bytes.as_deref().map(sha256));
    if stat.kind == Kind::File {
        assert_ne!(base.capabilities, OldCapabilities::Unread);
        assert!(base.capabilities.fits(capabilities(path).as_deref()));
    }
}

fn tree(root: &Path) -> BTreeMap<PathBuf, Facts> {
    let (mut tree, mut left) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(path) = left.pop() {
        let seen = fs::symlink_metadata(&path).unwrap();
        let bytes = match seen.file_type() {
            kind if kind.is_symlink() => fs::read_link(&path).unwrap().into_os_string().into_vec(),
            kind if kind.is_dir() => {
                let names = fs::read_dir(&path).unwrap();
                left.extend(names.map(|name| name.unwrap().path()));
                Vec::new()
            }
            _ => fs::read(&path).unwrap(),
        };
        let capabilities = seen.is_file().then(|| capabilities(&path)).flatten();
        let facts = Facts {
            mode: seen.mode(),
            owner: (seen.uid(), seen.gid()),
            bytes,
            capabilities,
        };
        tree.insert(path.strip_prefix(root).unwrap().to_owned(), facts);
    }
    tree
}
