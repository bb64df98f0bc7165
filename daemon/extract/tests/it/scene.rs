//! An overlay of its own for each test, and the host's directory beneath it.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use remit_extract::{CopiedMachine, Extraction, Overlay, RefusalReason, extract};
use remit_plan::Change;

/// Every test sees its own file system here.
const AT: &str = "/mnt";

pub struct Scene {
    pub started_ns: i128,
    pub hidden: BTreeSet<Vec<u8>>,
    pub emptied: BTreeSet<Vec<u8>>,
    pub mounts: BTreeSet<Vec<u8>>,
    /// Further overlays: the path on the host, and the name of the layers' directory.
    nested: Vec<(String, String)>,
}

pub fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}");
}

pub fn put(path: &Path, bytes: &[u8], mode: u32, owner: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
    chown(path, Some(owner), Some(owner)).unwrap();
    chmod(path, mode);
}

pub fn append(path: &Path, bytes: &[u8]) {
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

pub fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub fn set_attribute(path: &Path, name: &str, value: &[u8]) {
    let name = std::ffi::CString::new(name).unwrap();
    remit_sys::sys::set_xattr(File::open(path).unwrap(), &name, value).unwrap();
}

pub fn ctime_ns(path: &Path) -> i128 {
    let seen = fs::symlink_metadata(path).unwrap();
    i128::from(seen.ctime()) * 1_000_000_000 + i128::from(seen.ctime_nsec())
}

/// The host's directory.
fn make_base(lower: &Path) {
    put(&lower.join("etc/hosts"), b"127.0.0.1\n", 0o644, 0);
    put(&lower.join("etc/secret"), b"secret\n", 0o600, 5);
    put(&lower.join("etc/dir/a"), b"a\n", 0o640, 7);
    put(&lower.join("etc/dir/b"), b"", 0o644, 0);
    put(&lower.join("etc/dir/sub/c"), &[7; 100_000], 0o755, 0);
    symlink("hosts", lower.join("etc/link")).unwrap();
    symlink("c", lower.join("etc/dir/sub/link")).unwrap();
    fs::create_dir(lower.join("etc/empty")).unwrap();
    put(&lower.join("var/log/app.log"), b"log\n", 0o644, 0);
    put(&lower.join("var/log/old/x"), b"log\n", 0o644, 0);
    put(
        &lower.join("var/cache/debconf/config.dat"),
        b"q\n",
        0o644,
        0,
    );
    put(&lower.join("var/cache/apt/x"), b"x\n", 0o644, 0);
    put(&lower.join("root/key"), b"key\n", 0o600, 0);
    for dir in ["tmp", "var/tmp", "srv/data"] {
        fs::create_dir_all(lower.join(dir)).unwrap();
    }
}

impl Scene {
    pub fn new() -> Self {
        Self::with("", |_| {})
    }

    /// `base` changes the host's directory before the plan. `mask` is a layer above it.
    pub fn with(mask: &str, base: impl FnOnce(&Path)) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "this test needs root");
        // Of this thread alone, and of what it starts.
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
        let options = Some("size=512m,nr_inodes=0,mode=755");
        mount(Some("none"), AT, Some("tmpfs"), MsFlags::empty(), options).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let scene = Self {
            // All of the base is older: tests of this rule have a time of their own.
            started_ns: i128::try_from(now.as_nanos()).unwrap() + 3_600_000_000_000,
            hidden: BTreeSet::new(),
            emptied: BTreeSet::new(),
            mounts: [b"/proc".to_vec()].into(),
            nested: Vec::new(),
        };
        for layer in ["lower", "mask"] {
            fs::create_dir(at(layer)).unwrap();
        }
        make_base(&at("lower"));
        base(&at("lower"));
        fs::create_dir(at("copy")).unwrap();
        scene.mount_overlay("/", "", mask);
        scene
    }

    /// Mounts an overlay of `NAMElower` on `target` of the first one.
    pub fn nest(&mut self, target: &str, name: &str) {
        self.mount_overlay(target, name, "");
        self.mounts.insert(target.as_bytes().to_vec());
        self.nested.push((target.to_owned(), name.to_owned()));
    }

    fn mount_overlay(&self, target: &str, name: &str, mask: &str) {
        let layer = |kind: &str| at(&format!("{name}{kind}"));
        let seen = fs::metadata(layer("lower")).unwrap();
        for kind in ["upper", "work"] {
            let mut builder = DirBuilder::new();
            builder.mode(seen.mode()).create(layer(kind)).unwrap();
            chown(layer(kind), Some(seen.uid()), Some(seen.gid())).unwrap();
            chmod(&layer(kind), seen.mode());
        }
        let _ = fs::create_dir(at("merged"));
        let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        let lower = layer("clone");
        fs::create_dir(&lower).unwrap();
        let none = None::<&str>;
        mount(Some(&layer("lower")), &lower, none, MsFlags::MS_BIND, none).unwrap();
        mount(none, &lower, none, read_only, none).unwrap();
        let layers = format!(
            "lowerdir={mask}{},upperdir={},workdir={},redirect_dir=off,metacopy=off,index=off",
            layer("lower").display(),
            layer("upper").display(),
            layer("work").display()
        );
        let on = at("merged").join(target.trim_start_matches('/'));
        let flags = MsFlags::empty();
        mount(
            Some("overlay"),
            &on,
            Some("overlay"),
            flags,
            Some(layers.as_str()),
        )
        .unwrap();
    }

    pub fn machine(&self) -> CopiedMachine {
        let first = [("/".to_owned(), String::new())];
        let all = first.iter().chain(&self.nested);
        let overlay = |(path, name): &(String, String)| Overlay {
            at: path.as_bytes().to_vec(),
            upper: open(&at(&format!("{name}upper"))),
            made: open(&at(&format!("{name}clone"))),
            merged: open(&at("merged").join(path.trim_start_matches('/'))),
            lower: open(&at(&format!("{name}clone"))),
        };
        CopiedMachine {
            overlays: all.map(overlay).collect(),
            started_ns: self.started_ns,
            hidden: self.hidden.clone(),
            emptied: self.emptied.clone(),
            mounts: self.mounts.clone(),
        }
    }

    pub fn extract(&self) -> Extraction {
        extract(&self.machine())
    }

    #[track_caller]
    pub fn is_refused(&self, expect: &[(&str, RefusalReason)]) -> Extraction {
        let extraction = self.extract();
        let refusals = extraction.refusals.iter();
        let found: Vec<_> = refusals
            .map(|one| {
                (
                    String::from_utf8_lossy(&one.path).into_owned(),
                    one.reason.clone(),
                )
            })
            .collect();
        let expect: Vec<_> = expect
            .iter()
            .map(|(path, reason)| ((*path).to_owned(), reason.clone()))
            .collect();
        assert_eq!(found, expect);
        assert!(extraction.plan().is_err());
        extraction
    }
}

fn open(path: &Path) -> OwnedFd {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, Mode::empty()).unwrap()
}

pub fn at(relative: &str) -> PathBuf {
    Path::new(AT).join(relative)
}

/// A path as the plan's programs see it.
pub fn seen(relative: &str) -> PathBuf {
    at("merged").join(relative)
}

/// A path of the host.
pub fn host(relative: &str) -> PathBuf {
    at("lower").join(relative)
}

/// Entries in short: `+` new, `~` replaced, `m` metadata, `-` removed.
pub fn entries(extraction: &Extraction) -> Vec<String> {
    let short = |entry: &remit_plan::Entry| {
        let mark = match entry.change {
            Change::Create { .. } => '+',
            Change::Replace { .. } | Change::ReplaceKind { .. } => '~',
            Change::SetMetadata { .. } => 'm',
            Change::Remove { .. } => '-',
        };
        format!("{mark}{}", entry.path)
    };
    extraction.entries().iter().map(short).collect()
}
