//! A file system of its own for each test, the plans for it, and its whole content for comparisons.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use remit_edit::{Action, Edit, Found, Planned};
use remit_plan::{
    Base, Bundle, Change, Content, Entry, Kind, Metadata, New, OldCapabilities, PlanPath, Source,
    Stat, sha256,
};
use remit_sys::sys;

use crate::capabilities::{self, BIND};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_remit-commit");

/// Every test sees its own file system here.
const AT: &str = "/mnt";
const EXT4: &[&str] = &["mkfs.ext4", "-q", "-F"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// A tmpfs with these options.
    Memory(&'static str),
    /// ext4 in a file, by a loop device.
    Ext4,
    /// The same, small enough to be copied often.
    SmallExt4,
    /// btrfs in the same way.
    Btrfs,
}

pub struct Scene {
    pub image: Option<PathBuf>,
}

pub struct Result {
    pub code: Option<i32>,
    pub text: String,
}

/// All of a file, as far as a commit may change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub inode: u64,
    pub mode: u32,
    pub owner: (u32, u32),
    pub bytes: Vec<u8>,
    pub attributes: BTreeMap<Vec<u8>, Vec<u8>>,
}

pub type Tree = BTreeMap<PathBuf, Facts>;

pub fn unique() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Returns the id that the commit of a bundle has.
pub fn id_of(bundle: &[u8]) -> String {
    Bundle::decode(bundle.to_vec()).unwrap().plan().id()
}

impl Scene {
    pub fn new(disk: Disk) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "this test needs root");
        // Of this thread alone, and of what it starts.
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        let none = None::<&str>;
        mount(none, "/", none, private, none).unwrap();
        let image = match disk {
            Disk::Memory(options) => {
                mount(
                    Some("none"),
                    AT,
                    Some("tmpfs"),
                    MsFlags::empty(),
                    Some(options),
                )
                .unwrap();
                None
            }
            Disk::Ext4 => Some(image(64, EXT4)),
            Disk::SmallExt4 => Some(image(16, EXT4)),
            Disk::Btrfs => Some(image(128, &["mkfs.btrfs", "-q"])),
        };
        fs::create_dir(at("state")).unwrap();
        fs::create_dir(at("etc")).unwrap();
        Self { image }
    }
}

/// Makes a file system of this many MiB in a file, and mounts it.
fn image(size: u64, words: &[&str]) -> PathBuf {
    let name = format!("commit-{}-{}.disk", std::process::id(), unique());
    let image = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    File::create(&image).unwrap().set_len(size << 20).unwrap();
    run(Command::new(words[0]).args(&words[1..]).arg(&image));
    run(Command::new("mount")
        .args(["-o", "loop"])
        .arg(&image)
        .arg(AT));
    image
}

/// Returns whether this kernel has btrfs. Says so if not, and fails where no test may be left out.
pub fn has_btrfs() -> bool {
    let _ = Command::new("modprobe").args(["-q", "btrfs"]).status();
    let known = fs::read_to_string("/proc/filesystems").unwrap();
    let is_known = known.lines().any(|line| line.trim() == "btrfs");
    let must = std::env::var("REMIT_TESTS_MUST_RUN").as_deref() == Ok("1");
    assert!(is_known || !must, "this kernel has no btrfs");
    if !is_known {
        eprintln!("skipped: this kernel has no btrfs");
    }
    is_known
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(image) = &self.image {
            let _ = nix::mount::umount(AT);
            let _ = fs::remove_file(image);
        }
    }
}

pub fn run(command: &mut Command) {
    let status = command.status().expect("it starts");
    assert!(status.success(), "{command:?}");
}

pub fn at(relative: &str) -> PathBuf {
    Path::new(AT).join(relative)
}

pub fn put(relative: &str, bytes: &[u8], mode: u32, owner: u32) {
    let path = at(relative);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    chown(&path, Some(owner), Some(owner)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

pub fn read(relative: &str) -> Vec<u8> {
    fs::read(at(relative)).unwrap()
}

pub fn append(relative: &str, bytes: &[u8]) {
    use std::io::Write;
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(at(relative))
        .unwrap();
    file.write_all(bytes).unwrap();
}

/// Returns what is at a path, as remit-look does.
pub fn found(relative: &str) -> Option<Found> {
    let path = at(relative);
    let seen = fs::symlink_metadata(&path).ok()?;
    let kind = match seen.file_type() {
        kind if kind.is_file() => Kind::File,
        kind if kind.is_dir() => Kind::Directory,
        kind if kind.is_symlink() => Kind::Symlink,
        _ => Kind::Special,
    };
    let bytes = match kind {
        Kind::File => Some(fs::read(&path).unwrap()),
        Kind::Symlink => Some(
            fs::read_link(&path)
                .unwrap()
                .into_os_string()
                .into_encoded_bytes(),
        ),
        Kind::Directory | Kind::Special => None,
    };
    let stat = Stat {
        kind,
        dev: seen.dev(),
        ino: seen.ino(),
        ctime_ns: i128::from(seen.ctime()) * 1_000_000_000 + i128::from(seen.ctime_nsec()),
        size: seen.size(),
        meta: Metadata {
            mode: seen.mode() & 0o7777,
            uid: seen.uid(),
            gid: seen.gid(),
        },
    };
    let sha256 = bytes.as_deref().map(sha256);
    let capabilities = match kind {
        Kind::File => {
            let value = attributes(&path).remove(&b"security.capability"[..]);
            OldCapabilities::from_attribute(value.as_deref())
        }
        _ => OldCapabilities::Unread,
    };
    Some(Found {
        base: Base {
            stat,
            sha256,
            capabilities,
        },
        bytes,
    })
}

pub fn edit(relative: &str, action: Action) -> Edit {
    Edit {
        path: PlanPath::new(at(relative).as_os_str().as_encoded_bytes()).unwrap(),
        action,
        mode: None,
        uid: None,
        gid: None,
        base_sha256: None,
        create_only: false,
    }
}

pub fn write(relative: &str, text: &str) -> Edit {
    edit(relative, Action::Write(text.as_bytes().to_vec()))
}

pub fn mode(relative: &str, mode: u32) -> Edit {
    Edit {
        mode: Some(mode),
        ..edit(relative, Action::Keep)
    }
}

/// Makes the bundle of these edits.
pub fn plan(edits: &[Edit]) -> Vec<u8> {
    let planned = edits.iter().filter_map(|edit| {
        let path = String::from_utf8(edit.path.as_bytes().to_vec()).unwrap();
        let relative = path
            .strip_prefix(AT)
            .unwrap()
            .trim_start_matches('/')
            .to_owned();
        let found = found(&relative);
        turned(edit, found.as_ref()).or_else(|| edit.apply(found.as_ref()).unwrap())
    });
    let bundle = remit_edit::bundle(planned.collect()).unwrap();
    bundle.as_bytes().to_vec()
}

/// A link in place of a file, or a file in place of a link: of a copy of the machine, no edit says so.
fn turned(edit: &Edit, found: Option<&Found>) -> Option<Planned> {
    let found = found?;
    let content = |bytes: &[u8]| Content {
        size: bytes.len() as u64,
        sha256: sha256(bytes),
        source: Source::Bundle,
        capabilities: None,
        mtime: None,
    };
    let (bytes, new, mode) = match (&edit.action, found.base.stat.kind) {
        (Action::Link(bytes), Kind::File) => (bytes, New::Link(content(bytes)), 0o777),
        (Action::Write(bytes), Kind::Symlink) => {
            (bytes, New::File(content(bytes)), edit.mode.unwrap_or(0o644))
        }
        _ => return None,
    };
    let meta = Metadata {
        mode,
        uid: edit.uid.unwrap_or_default(),
        gid: edit.gid.unwrap_or_default(),
    };
    let (base, path) = (found.base, edit.path.clone());
    let change = Change::ReplaceKind { base, new, meta };
    Some(Planned {
        entry: Entry { path, change },
        new: Some(bytes.clone()),
        old: found.bytes.clone(),
    })
}

pub fn memory_file(bytes: &[u8]) -> OwnedFd {
    sys::sealed_memfd(c"plan", bytes).unwrap()
}

pub fn start(wrapper: &[String], arguments: &[&str], input: Option<&[u8]>) -> Child {
    let mut words = wrapper
        .iter()
        .map(String::as_str)
        .chain([PROGRAM])
        .chain(arguments.iter().copied());
    let mut command = Command::new(words.next().unwrap());
    command
        .args(words)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    match input {
        Some(bytes) => command.stdin(memory_file(bytes)),
        None => command.stdin(Stdio::null()),
    };
    command.spawn().expect("it starts")
}

pub fn end(child: Child) -> Result {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    Result {
        code: output.status.code(),
        text,
    }
}

/// Fails if the program has ended: what a test waits for will not come.
pub fn is_running(child: &mut Child) {
    let ended = child.try_wait().unwrap();
    assert!(ended.is_none(), "{ended:?}");
    std::thread::sleep(std::time::Duration::from_millis(1));
}

/// Calls `act` while the process that delays a call is stopped: the call stays delayed as long as that takes.
pub fn held<T>(child: &Child, act: impl FnOnce() -> T) -> T {
    let signal = |signal| nix::sys::signal::kill(Pid::from_raw(child.id().cast_signed()), signal);
    signal(Signal::SIGSTOP).unwrap();
    let is_stopped = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        assert!(!stat.contains(") Z "), "it has ended");
        stat.contains(") T ")
    };
    while !is_stopped() {
        std::thread::yield_now();
    }
    let result = act();
    signal(Signal::SIGCONT).unwrap();
    result
}

/// Returns the state of a file's lease, `BREAKING` while an open of another is blocked by it. proc_locks(5).
pub fn lease(relative: &str) -> Option<String> {
    let found = fs::metadata(at(relative)).unwrap();
    let [major, minor] = [libc::major(found.dev()), libc::minor(found.dev())];
    // Other tests have the same inode numbers.
    let inode = format!("{major:02x}:{minor:02x}:{}", found.ino());
    let locks = fs::read_to_string("/proc/locks").unwrap();
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_lease = fields.get(1) == Some(&"LEASE") && fields.contains(&inode.as_str());
        is_lease.then(|| fields[2].to_owned())
    })
}

/// Writes to a file in a thread. Returns as soon as its open is blocked by a lease, or all is written.
pub fn writer(relative: &str, write: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let writer = std::thread::spawn(write);
    while !writer.is_finished() && lease(relative).as_deref() != Some("BREAKING") {
        std::thread::yield_now();
    }
    writer
}

pub fn state() -> String {
    at("state").to_str().unwrap().to_owned()
}

pub fn commit(input: &[u8]) -> Result {
    end(start(&[], &["commit", &state()], Some(input)))
}

/// Commits a plan of these edits. Returns its id.
pub fn done(edits: &[Edit]) -> String {
    let input = plan(edits);
    commit(&input).is_done();
    id_of(&input)
}

pub fn undo(id: &str) -> Result {
    end(start(&[], &["undo", &state(), id], None))
}

/// Undoes all but what somebody else has changed.
pub fn undo_partly(id: &str) -> Result {
    end(start(&[], &["undo", &state(), id, "--partly"], None))
}

/// Undoes all, with what others have changed in new directories.
pub fn undo_with_contents(id: &str) -> Result {
    end(start(&[], &["undo", &state(), id, "--with-contents"], None))
}

/// The state of adjtimex(2) of a clock that is synchronised, and of one that is not.
pub const RIGHT: i32 = 0;
pub const UNKNOWN: i32 = 5;

/// Has a program see a clock in this state. The status in its buffer is 0, as before the call.
pub fn clock(state: i32) -> Vec<String> {
    let inject = format!("inject=adjtimex:retval={state}");
    let words = [
        "strace",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=adjtimex",
        "-e",
        &inject,
    ];
    words.map(str::to_owned).to_vec()
}

/// A recovery that forgets, with further arguments, on a machine whose clock is right.
pub fn recover_with(arguments: &[&str]) -> Result {
    recover_by(RIGHT, arguments)
}

pub fn recover_by(clock_state: i32, arguments: &[&str]) -> Result {
    let directory = state();
    let all = [&["recover", &directory, "--forget"], arguments].concat();
    end(start(&clock(clock_state), &all, None))
}

/// A recovery as remitd starts it.
pub fn recover() -> Result {
    recover_with(&[])
}

impl Result {
    #[track_caller]
    pub fn is_done(&self) {
        assert_eq!(self.code, Some(0), "{}", self.text);
    }

    /// Nothing was changed, and the reason has these words.
    #[track_caller]
    pub fn is_refused(&self, words: &str) {
        self.is_nothing(1, words);
    }

    /// Another process has the lock.
    #[track_caller]
    pub fn is_busy(&self) {
        self.is_nothing(
            75,
            "nothing was changed: another commit, undo or recovery runs",
        );
    }

    #[track_caller]
    fn is_nothing(&self, code: i32, words: &str) {
        assert_eq!(self.code, Some(code), "{}", self.text);
        assert!(self.text.contains(words), "{}", self.text);
    }
}

pub fn attributes(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let file = File::open(path).unwrap();
    let names = sys::xattr_names(&file).unwrap();
    let names = names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    let value = |name: &[u8]| sys::xattr(&file, &std::ffi::CString::new(name).unwrap()).unwrap();
    names.map(|name| (name.to_vec(), value(name))).collect()
}

pub fn set_attribute(relative: &str, name: &str, value: &[u8]) {
    let file = File::open(at(relative)).unwrap();
    sys::set_xattr(&file, &std::ffi::CString::new(name).unwrap(), value).unwrap();
}

/// Returns everything beneath `etc`.
pub fn tree() -> Tree {
    let mut tree = Tree::new();
    walk(&at("etc"), &mut tree);
    tree
}

fn walk(path: &Path, tree: &mut Tree) {
    let seen = fs::symlink_metadata(path).unwrap();
    let (is_link, is_dir) = (seen.is_symlink(), seen.is_dir());
    let bytes = match seen.file_type() {
        _ if is_link => fs::read_link(path)
            .unwrap()
            .into_os_string()
            .into_encoded_bytes(),
        _ if is_dir => Vec::new(),
        _ => fs::read(path).unwrap(),
    };
    let attributes = if is_link {
        BTreeMap::new()
    } else {
        attributes(path)
    };
    let facts = Facts {
        inode: seen.ino(),
        mode: seen.mode(),
        owner: (seen.uid(), seen.gid()),
        bytes,
        attributes,
    };
    tree.insert(path.to_owned(), facts);
    if is_dir {
        for entry in fs::read_dir(path).unwrap() {
            walk(&entry.unwrap().path(), tree);
        }
    }
}

/// The same without inode numbers, which a new file has of its own.
pub fn content(tree: &Tree) -> Tree {
    let facts = |facts: &Facts| Facts {
        inode: 0,
        ..facts.clone()
    };
    tree.iter()
        .map(|(path, one)| (path.clone(), facts(one)))
        .collect()
}

/// Returns names in the state directory.
pub fn kept() -> Vec<String> {
    let names = fs::read_dir(at("state")).unwrap();
    names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// Makes a tree in `etc`, and returns edits of 60 entries of every kind.
pub fn sixty() -> Vec<Edit> {
    let edits = of_every_kind(17, 10, 8, 9);
    assert_eq!(edits.len(), 60);
    edits
}

/// Makes a tree in `etc`, and returns edits of entries of every kind: so many files each that are changed, get another owner
/// and mode, are removed, and are made in a new directory.
pub fn of_every_kind(changed: u32, meta: u32, removed: u32, made: u32) -> Vec<Edit> {
    let _ = fs::remove_dir_all(at("etc"));
    let _ = fs::remove_dir_all(at("state"));
    fs::create_dir(at("state")).unwrap();
    fs::create_dir(at("etc")).unwrap();
    let mut edits = Vec::new();
    for number in 0..changed {
        let name = format!("etc/changed/{number}");
        put(&name, format!("old {number}\n").as_bytes(), 0o640, number);
        set_attribute(&name, "user.remit", &[number as u8; 5]);
        edits.push(write(&name, &format!("new {number}\n")));
    }
    let last = format!("etc/changed/{}", changed - 1);
    set_attribute(&last, capabilities::NAME, &BIND.encode());
    symlink("/old", at("etc/changed/link")).unwrap();
    edits.push(edit("etc/changed/link", Action::Link(b"/new".to_vec())));
    put("etc/changed/to-link", b"old\n", 0o4750, 5);
    set_attribute("etc/changed/to-link", "user.remit", b"x");
    edits.push(Edit {
        uid: Some(7),
        ..edit("etc/changed/to-link", Action::Link(b"3".to_vec()))
    });
    symlink("3", at("etc/changed/to-file")).unwrap();
    edits.push(Edit {
        uid: Some(7),
        mode: Some(0o4750),
        ..write("etc/changed/to-file", "new\n")
    });
    for number in 0..meta {
        let name = format!("etc/meta/{number}");
        put(&name, b"kept\n", 0o644, 7);
        edits.push(Edit {
            uid: Some(number),
            ..mode(&name, 0o600)
        });
    }
    for number in 0..removed {
        let name = format!("etc/removed/{number}");
        put(&name, b"gone\n", 0o604, 3);
        edits.push(edit(&name, Action::Remove));
    }
    symlink("/nowhere", at("etc/removed/link")).unwrap();
    edits.push(edit("etc/removed/link", Action::Remove));
    edits.push(edit("etc/removed", Action::Remove));
    edits.push(edit("etc/made", Action::CreateDirectory));
    edits.push(Edit {
        mode: Some(0o750),
        gid: Some(9),
        ..edit("etc/made/deep", Action::CreateDirectory)
    });
    edits.push(edit("etc/made/link", Action::Link(b"deep/0".to_vec())));
    for number in 0..made {
        if number < made - 1 {
            edits.push(write(&format!("etc/made/{number}"), "made\n"));
        }
        edits.push(Edit {
            mode: Some(0o4755),
            ..write(&format!("etc/made/deep/{number}"), "made\n")
        });
    }
    edits
}

/// A commit that waits before its renames, long enough for others to come between.
pub fn delayed(number: usize, milliseconds: u64) -> Vec<String> {
    let inject = format!(
        "inject=renameat2:delay_enter={}:when={number}",
        milliseconds * 1000
    );
    [
        "strace",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=renameat2",
        "-e",
        &inject,
    ]
    .map(str::to_owned)
    .to_vec()
}
