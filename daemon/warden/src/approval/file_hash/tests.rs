//! Uses real files below /run, because only root can change the directories above.

use std::ffi::CStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::*;

struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        let dir = nix::unistd::mkdtemp("/run/remit-measure-XXXXXX").unwrap();
        fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
        Self(dir)
    }

    fn file(&self, name: &str, mode: u32, text: &str) -> CString {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        self.path(name)
    }

    fn path(&self, name: &str) -> CString {
        CString::new(self.0.join(name).into_os_string().into_encoded_bytes()).unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn wanted(argv: Vec<Option<CString>>, path: &[CString]) -> Wanted {
    let word = |word: Option<CString>| word.map_or(Word::Settled, Word::Literal);
    Wanted {
        argv: argv.into_iter().map(word).collect(),
        path: path.to_vec(),
        cwd: c"/".to_owned(),
        chosen: false,
        text_files: FileBinding::Seen,
        undo: None,
        acts: Vec::new(),
        changed: None,
        describe: None,
        reader: ReaderIdentity::alone(0),
        uid: 0,
        people: Question {
            accounts: [(0, "root".to_owned())].into(),
            gids: BTreeSet::new(),
        },
        signature: None,
        accepted: None,
    }
}

/// Does not fork, which needs a process of one thread. Uses the encoding of the pipe.
fn measure(wanted: &Wanted) -> Measurement {
    let found = MeasuredFiles::of(wanted, None, &[]);
    let bytes = postcard::to_extend(&found, Vec::new()).unwrap();
    assert_eq!(postcard::from_bytes(&bytes), Ok(found.clone()));
    found
}

#[test]
fn program_interpreters_and_literal_files_are_measured() {
    let dir = Dir::new();
    let data = dir.file("data", 0o644, "data");
    let tool = dir.file("tool", 0o755, "\x7fELF and so on");
    let env = dir.file("env", 0o755, "\x7fELF");
    let text = format!("#!{} tool -x\n", env.to_str().unwrap());
    dir.file("by-env", 0o755, &text.replace(" -x", ""));
    dir.file(
        "script",
        0o755,
        &format!("#! {}  -e\n", tool.to_str().unwrap()),
    );
    symlink(dir.0.join("script"), dir.0.join("link")).unwrap();
    let found = measure(&wanted(
        vec![
            Some(c"link".to_owned()),
            Some(data.clone()),
            None,
            Some(dir.path("")),
            Some(c"/no/such/file".to_owned()),
            Some(c"data".to_owned()),
            Some(c"/proc/self/status".to_owned()),
        ],
        &[c"/no/such".to_owned(), dir.path("")],
    ))
    .unwrap();
    let short = |name: &CString| {
        let name = name.to_str().unwrap();
        name.rsplit('/').next().unwrap().to_owned()
    };
    let files: Vec<_> = found
        .found
        .files
        .iter()
        .map(|file| {
            (
                file.what.as_str(),
                short(&file.measured.path),
                short(&file.real),
            )
        })
        .collect();
    assert_eq!(
        files,
        [
            ("program", "link".to_owned(), "script".to_owned()),
            ("interpreter", "tool".to_owned(), "tool".to_owned()),
            ("argument 1", "data".to_owned(), "data".to_owned()),
        ]
    );
    let last = &found.found.files[2].measured;
    assert_eq!(last.sha256, <[u8; 32]>::from(Sha256::digest("data")));
    assert_eq!((last.size, &last.path), (4, &data));
    assert!(found.people.groups(0, "root").contains(&0));

    let found = measure(&wanted(vec![Some(dir.path("by-env"))], &[dir.path("")])).unwrap();
    let paths = found
        .found
        .files
        .iter()
        .map(|file| short(&file.measured.path));
    assert_eq!(paths.collect::<Vec<_>>(), ["by-env", "env", "tool"]);
}

#[test]
fn what_cannot_be_approved_is_said() {
    let dir = Dir::new();
    dir.file("plain", 0o644, "x");
    dir.file("open", 0o757, "x");
    dir.file("relative", 0o755, "#!sh\n");
    dir.file("inner", 0o755, "#!/bin/sh\n");
    dir.file(
        "twice",
        0o755,
        &format!("#!{}\n", dir.path("inner").to_str().unwrap()),
    );
    dir.file("orphan", 0o755, "#!/no/such/interpreter\n");
    dir.file("tool", 0o755, "\x7fELF");
    dir.file("loose", 0o666, "x");
    let large = dir.file("large", 0o644, "");
    let large_file = fs::File::options().write(true).open(dir.0.join("large"));
    large_file.unwrap().set_len((64 << 20) + 1).unwrap();
    nix::unistd::mkfifo(dir.path("fifo").as_c_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let some = |name: &str| Some(dir.path(name));
    for (argv, want) in [
        (vec![some("none")], "'~/none' does not exist"),
        (vec![some("plain")], "'~/plain' is not an executable file"),
        (vec![some("fifo")], "'~/fifo' is not a regular file"),
        (vec![some("")], "'~/' is not a regular file"),
        (
            vec![some("open")],
            "'~/open' cannot be approved, because it may change",
        ),
        (
            vec![some("relative")],
            "names no interpreter by an absolute path",
        ),
        (
            vec![some("twice")],
            "its interpreter '~/inner' is itself a script",
        ),
        (
            vec![some("orphan")],
            "'/no/such/interpreter' does not exist",
        ),
        (
            vec![Some(c"none".to_owned())],
            "there is no program 'none' in the PATH",
        ),
        (vec![Some(c"./tool".to_owned())], "needs an absolute path"),
        (
            vec![Some(c"/proc/self/exe".to_owned())],
            "'/proc/self/exe' cannot be approved: it is a different",
        ),
        (
            vec![some("tool"), Some(large)],
            "'~/large' cannot be approved: it is larger than 64 MiB",
        ),
        (
            vec![some("tool"), some("loose")],
            "'~/loose' cannot be approved, because it may change",
        ),
    ] {
        let unmeasured = measure(&wanted(argv, &[dir.path("")])).unwrap_err();
        let why = unmeasured.why().replace(dir.0.to_str().unwrap(), "~");
        assert!(matches!(unmeasured, Unmeasured::Unbindable(_)), "{why}");
        assert!(why.contains(want), "{want}: {why}");
    }
}

/// What does not answer now may answer later: the files can be as they were.
#[test]
fn description_that_fails_is_a_failed_look() {
    let busy = [
        c"/bin/sh",
        c"-c",
        c"echo 'remit-act: apt-get is busy' >&2; exit 1",
    ];
    let busy: Vec<CString> = busy.map(CStr::to_owned).to_vec();
    let of_act = ("then 'a' runs".to_owned(), Some(busy.clone()));
    for (describe, acts) in [(Some(busy), Vec::new()), (None, vec![of_act])] {
        let wanted = Wanted {
            describe,
            acts,
            ..wanted(vec![Some(c"/bin/sh".to_owned())], &[])
        };
        let why = "cannot show what it would do: apt-get is busy".to_owned();
        assert_eq!(measure(&wanted), Err(Unmeasured::Failed(why)));
    }
    assert!(matches!(late(), Unmeasured::Failed(_)));
}

#[test]
fn path_that_the_requester_cannot_open_is_refused_with_one_text() {
    let dir = Dir::new();
    let private = dir.0.join("private");
    fs::create_dir(&private).unwrap();
    let large = |name: &str| {
        let file = fs::File::create(dir.0.join(name)).unwrap();
        file.set_len((64 << 20) + 1).unwrap();
    };
    large("private/large");
    large("large");
    fs::create_dir(private.join("directory")).unwrap();
    dir.file("private/changed", 0o666, "x");
    let fifo = dir.path("private/fifo");
    nix::unistd::mkfifo(fifo.as_c_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::set_permissions(&private, Permissions::from_mode(0o700)).unwrap();
    let tool = dir.file("tool", 0o755, "\x7fELF");
    let why = |name: &str, copied: bool| {
        let (path, is) = (dir.path(name), PathIs::File);
        let mut wanted = wanted(vec![Some(tool.clone())], &[]);
        wanted.argv.push(Word::Path { path, is, copied });
        wanted.uid = 64_001;
        let copy = memfd::empty(c"file").unwrap();
        let copies = [copy.as_fd()];
        let copies = if copied { &copies[..] } else { &[] };
        let why = MeasuredFiles::of(&wanted, None, copies).unwrap_err();
        why.why().replace(dir.0.join(name).to_str().unwrap(), "~")
    };
    let absent = "argument 1, '~', is not a file that the job can open";
    for (copied, or) in [
        (true, "is larger than 8 MiB"),
        (false, "is one that others than root can change"),
    ] {
        let expect = format!("{absent}, or {or}");
        for name in ["none", "fifo", "directory", "large"] {
            assert_eq!(why(&format!("private/{name}"), copied), expect, "{name}");
        }
    }
    assert!(why("private/changed", false).starts_with(absent));
    // What the requester can open, the requester knows.
    assert!(why("large", true).ends_with("it is larger than 8 MiB"));
    assert!(why("large", false).contains("it is larger than 64 MiB"));
}

/// Other half of A10: a changed byte, a rename and a touch are all detected.
#[test]
fn every_change_is_another_measure() {
    let dir = Dir::new();
    let tool = dir.file("tool", 0o755, "one");
    let look = || measure(&wanted(vec![Some(tool.clone())], &[])).unwrap();
    let before = look();
    assert_eq!(before, look());
    let path = dir.0.join("tool");
    let times = fs::metadata(&path).unwrap();
    let mut seen = vec![before];
    fs::write(&path, "two").unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(times.modified().unwrap()).unwrap();
    seen.push(look());
    fs::copy(&path, dir.0.join("copy")).unwrap();
    fs::rename(dir.0.join("copy"), &path).unwrap();
    seen.push(look());
    fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    seen.push(look());
    for (at, one) in seen.iter().enumerate() {
        assert!(!seen[..at].contains(one), "{at}: {one:?}");
    }
}
