//! Ways to read a file in a view: each of them with each kind of file that an operator's account cannot read, and with an
//! open one. The same program reads all of them as root of the machine, so a refusal is the view's.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use super::common::Ran;
use super::view::{Tree, run_in_view, view};
use remit_confine::sys;

/// Prints a line for each way and kind: `READ`, or the name of the error.
const WAYS: &str = r#"
import ctypes, errno, mmap, os, struct, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)

def call(*words):
    answer = libc.syscall(*[word if isinstance(word, bytes) else ctypes.c_long(word) if isinstance(word, int) else word for word in words])
    if answer < 0:
        raise OSError(ctypes.get_errno(), "call")
    return answer
def read(path):
    with open(path, "rb") as file:
        return file.read()
def run(*words):
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if done.returncode:
        raise OSError(errno.EACCES, "run")
    return done.stdout

def cat(path, own): return run("cat", path)
def copied(path, own):
    run("cp", path, own + "/copy")
    return read(own + "/copy")
def moved(path, own):
    run("mv", path, own + "/moved")
    os.chmod(own + "/moved", 0o777)
    return read(own + "/moved")
def exchanged(path, own):
    open(own + "/mine", "w").close()
    if libc.renameat2(-100, (own + "/mine").encode(), -100, path.encode(), 2):
        raise OSError(ctypes.get_errno(), "rename")
    return read(own + "/mine")
def mode(path, own):
    os.chmod(os.path.dirname(path), 0o777)
    os.chmod(path, 0o777)
    return read(path)
def owner(path, own):
    os.chown(os.path.dirname(path), 0, 0)
    os.chown(path, 0, 0)
    return read(path)
def listed(path, own):
    entry = lambda tag, may, who=0xffffffff: struct.pack("<HHI", tag, may, who)
    acl = struct.pack("<I", 2) + entry(1, 7) + entry(2, 7, 0) + entry(4, 7) + entry(16, 7) + entry(32, 7)
    os.setxattr(path, "system.posix_acl_access", acl)
    return read(path)
def linked(path, own):
    os.link(path, own + "/link")
    return read(own + "/link")
def symlinked(path, own):
    os.symlink(path, own + "/symlink")
    return read(own + "/symlink")
def by_descriptor(path, own):
    return read(f"/proc/self/fd/{os.open(path, os.O_PATH)}")
def by_directory(path, own):
    dir = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY)
    return os.read(os.open(os.path.basename(path), os.O_RDONLY, dir_fd=dir), 1 << 20)
def by_root(path, own):
    return read("/proc/self/root" + path)
def by_cwd(path, own):
    os.chdir(os.path.dirname(path))
    return read("/proc/self/cwd/" + os.path.basename(path))
def chrooted(path, own):
    os.chroot(os.path.dirname(path))
    return read("/" + os.path.basename(path))
def packed(path, own): return run("tar", "-cf", "-", path)
def raw(path, own): return run("dd", "status=none", "if=" + path)
def appended(path, own):
    file = os.open(path, os.O_RDWR | os.O_APPEND)
    return os.read(file, 1 << 20)
def mapped(path, own):
    file = os.open(path, os.O_RDONLY)
    return mmap.mmap(file, 0, prot=mmap.PROT_READ)[:]
def attribute(path, own): return os.getxattr(path, "user.secret")
def as_others(path, own):
    for user in (os.stat(os.path.dirname(path)).st_uid, 33, 1000, 1001, 65534):
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.setgroups([4, 24, 50, user])
                os.setresgid(user, user, user)
                os.setresuid(user, user, user)
                os.write(theirs, read(path))
            except OSError as error:
                os.write(theirs, str(error.errno).encode())
            os._exit(0)
        os.close(theirs)
        said = os.read(ours, 1 << 16)
        os.waitpid(pid, 0)
        if b"SECRET" in said:
            return said
    raise OSError(errno.EACCES, "as others")
def by_program(path, own):
    program = subprocess.Popen([path, "60"])
    try:
        return read(f"/proc/{program.pid}/exe")
    finally:
        program.kill()
def handle(path, own):
    handle = ctypes.create_string_buffer(struct.pack("<Ii", 128, 0), 136)
    mount = ctypes.c_int()
    if libc.name_to_handle_at(-100, path.encode(), handle, ctypes.byref(mount), 0):
        raise OSError(ctypes.get_errno(), "handle")
    file = libc.open_by_handle_at(os.open(own, os.O_RDONLY), handle, os.O_RDONLY)
    if file < 0:
        raise OSError(ctypes.get_errno(), "handle")
    return os.read(file, 1 << 20)
def mounted(path, own):
    open(own + "/on", "w").close()
    if libc.mount(path.encode(), (own + "/on").encode(), None, 4096, None):
        raise OSError(ctypes.get_errno(), "mount")
    return read(own + "/on")
def cloned(path, own):
    return read(f"/proc/self/fd/{call(428, -100, path.encode(), 1)}")
def layered(path, own):
    os.mkdir(own + "/over"); os.mkdir(own + "/empty")
    options = f"lowerdir={os.path.dirname(path)}:{own}/empty"
    if libc.mount(b"none", (own + "/over").encode(), b"overlay", 0, options.encode()):
        raise OSError(ctypes.get_errno(), "mount")
    return read(own + "/over/" + os.path.basename(path))

ways = [cat, copied, moved, exchanged, mode, owner, listed, linked, symlinked, by_descriptor, by_directory, by_root, by_cwd,
        chrooted, packed, raw, appended, mapped, attribute, as_others, by_program, handle, mounted, cloned, layered]
kinds = dict(word.split("=") for word in sys.argv[2:])
for way in ways:
    for kind, name in kinds.items():
        top = f"{sys.argv[1]}/{way.__name__}"
        own = f"{sys.argv[1]}/own/{way.__name__}-{kind}"
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.mkdir(own)
                said = "READ" if b"SECRET" in way(f"{top}/{name}", own) else "OTHER"
            except OSError as error:
                said = errno.errorcode[error.errno]
            os.write(theirs, said.encode())
            os._exit(0)
        os.close(theirs)
        print(way.__name__, kind, os.read(ours, 99).decode(), flush=True)
        os.close(ours)
        os.waitpid(pid, 0)
"#;

/// Names, as in the program.
const NAMES: [&str; 25] = [
    "cat",
    "copied",
    "moved",
    "exchanged",
    "mode",
    "owner",
    "listed",
    "linked",
    "symlinked",
    "by_descriptor",
    "by_directory",
    "by_root",
    "by_cwd",
    "chrooted",
    "packed",
    "raw",
    "appended",
    "mapped",
    "attribute",
    "as_others",
    "by_program",
    "handle",
    "mounted",
    "cloned",
    "layered",
];

/// Ways that no job in a view has, also to an open file. An overlay has no handles; the filter refuses the others.
const NO_WAY: [(&str, &str); 4] = [
    ("handle", "ENOTSUP"),
    ("mounted", "EPERM"),
    ("cloned", "EPERM"),
    ("layered", "EPERM"),
];

/// Kinds of files that an operator's account cannot read, and an open one: name, path, mode, owner.
const KINDS: [(&str, &str, u32, u32); 9] = [
    ("open", "open", 0o755, 0),
    ("root", "root", 0o700, 0),
    ("service", "service", 0o700, 33),
    ("person", "person", 0o700, 1000),
    ("group", "group", 0o750, 50),
    ("setid", "setid", 0o4711, 0),
    ("denied", "denied", 0o755, 0),
    ("emptied", "emptied/in", 0o755, 0),
    ("closed", "closed/in", 0o755, 1000),
];

/// Each kind of file, once for each way. Each is a program, with a secret behind its code and in an attribute.
fn lay() -> Tree {
    let tree = Tree::new();
    tree.dir("own", 0o755);
    let program = [&fs::read("/usr/bin/sleep").unwrap()[..], b"SECRET\n"].concat();
    for way in NAMES {
        tree.dir(way, 0o755);
        for (name, owner) in [("emptied", 0), ("closed", 1000)] {
            let path = tree.0.join(way).join(name);
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
            chown(&path, Some(owner), Some(owner)).unwrap();
        }
        for (kind, name, mode, owner) in KINDS {
            let path = tree.0.join(way).join(name);
            fs::write(&path, &program).unwrap();
            chown(&path, Some(owner), Some(owner)).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let file = File::open(&path).unwrap();
            sys::set_xattr(&file, c"user.secret", b"SECRET").unwrap();
            if kind == "denied" {
                // The account of a view has group 4.
                let list = super::view_emptied::list(4);
                sys::set_xattr(&file, c"system.posix_acl_access", &list).unwrap();
            }
        }
    }
    tree
}

fn argv(tree: &Tree) -> Vec<String> {
    let kinds = KINDS.map(|(kind, name, ..)| format!("{kind}={name}"));
    let head = ["/usr/bin/python3", "-c", WAYS, tree.at()];
    head.map(str::to_owned).into_iter().chain(kinds).collect()
}

type Answers = BTreeMap<(String, String), String>;

fn answers(out: &str) -> Answers {
    let line = |line: &str| {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let [way, kind, answer] = <[String; 3]>::try_from(words).unwrap();
        ((way, kind), answer)
    };
    let answers: Answers = out.lines().map(line).collect();
    assert_eq!(answers.len(), NAMES.len() * KINDS.len(), "{out}");
    answers
}

fn in_view(sandbox: &remit_confine::Sandbox) -> (Answers, Ran) {
    let tree = lay();
    let argv = argv(&tree);
    let ran = run_in_view(
        sandbox,
        &argv.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    (answers(&ran.out), ran)
}

/// Every way and kind that was read, without the open ones.
fn read(answers: &Answers) -> Vec<&(String, String)> {
    let is_read =
        |(key, answer): &(&(String, String), &String)| *answer == "READ" && key.1 != "open";
    answers.iter().filter(is_read).map(|(key, _)| key).collect()
}

#[test]
fn no_way_reads_what_is_hidden() {
    let (answers, ran) = in_view(&view());
    assert_eq!(read(&answers), Vec::<&(String, String)>::new(), "{ran:?}");
    for way in NAMES {
        let refused = NO_WAY.iter().find(|(name, _)| *name == way);
        let want = refused.map_or("READ", |(_, error)| error);
        let key = (way.to_owned(), "open".to_owned());
        assert_eq!(answers[&key], want, "{way}");
    }
}

/// So each of them is a way.
#[test]
fn root_of_the_machine_reads_all_by_each_way() {
    let tree = lay();
    let out = Command::new("unshare")
        .args(["-m", "--"])
        .args(argv(&tree))
        .output()
        .unwrap();
    let answers = answers(&String::from_utf8_lossy(&out.stdout));
    let refused: Vec<_> = answers
        .iter()
        .filter(|(_, answer)| *answer != "READ")
        .collect();
    assert!(refused.is_empty(), "{refused:?} {out:?}");
}

/// What hides is the mask: root of a view reads everything without it.
#[cfg(feature = "mutate")]
#[test]
fn without_the_mask_each_way_reads_each_kind() {
    use super::common::view_without;
    use super::view::profile;
    use remit_confine::probe;
    let sandbox = view_without(&profile(), &probe().unwrap(), remit_confine::Layer::Mask).unwrap();
    let (answers, _) = in_view(&sandbox);
    let refused: Vec<_> = answers
        .iter()
        .filter(|((way, _), answer)| {
            NO_WAY.iter().all(|(name, _)| name != way) && *answer != "READ"
        })
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
}
