//! Other processes that change the same files at the same time: none of their bytes is lost.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use remit_edit::Action;

use crate::scene::*;

const MEMORY: Disk = Disk::Memory("size=64m,mode=755");

/// Runs `between` while a commit of these edits waits before its first step on a path.
fn with(edits: &[remit_edit::Edit], between: impl FnOnce()) -> Result {
    let input = plan(edits);
    // The first rename is that of the journal.
    let mut child = start(&delayed(2, 700), &["commit", &state()], Some(&input));
    let is_staged = || {
        fs::read_dir(at("etc")).unwrap().any(|entry| {
            entry
                .unwrap()
                .file_name()
                .to_string_lossy()
                .starts_with(".remit-")
        })
    };
    while !is_staged() {
        is_running(&mut child);
    }
    // All is staged when the phase says so.
    let is_applying = || {
        let journal = kept()
            .first()
            .map(|id| fs::read(at(&format!("state/{id}/journal"))).unwrap_or_default());
        journal.is_some_and(|journal| journal.get(16) == Some(&b'A'))
    };
    while !is_applying() {
        is_running(&mut child);
    }
    held(&child, between);
    end(child)
}

#[test]
fn file_that_another_replaces_in_the_window_goes_back() {
    let _scene = Scene::new(MEMORY);
    put("etc/a", b"old", 0o644, 0);
    put("etc/b", b"old", 0o644, 0);
    let edits = || {
        [
            write("etc/a", "new"),
            write("etc/b", "new"),
            write("etc/n", "new"),
        ]
    };
    let both = |a: &[u8], b: &[u8]| {
        assert_eq!((read("etc/a"), read("etc/b")), (a.to_vec(), b.to_vec()));
        assert!(kept().is_empty(), "{:?}", kept());
    };
    let replace = || {
        put("etc/.other", b"theirs", 0o644, 0);
        fs::rename(at("etc/.other"), at("etc/b")).unwrap();
    };
    with(&edits(), replace).is_refused("another file in the meantime");
    both(b"old", b"theirs");
    assert!(!at("etc/n").exists());
    with(&edits(), || put("etc/n", b"theirs", 0o644, 0)).is_refused("File exists");
    both(b"old", b"theirs");
    assert_eq!(read("etc/n"), b"theirs");
    fs::remove_file(at("etc/n")).unwrap();
    with(&edits(), || fs::remove_file(at("etc/b")).unwrap()).is_refused("No such file");
    assert!(!at("etc/b").exists());
    put("etc/b", b"old", 0o644, 0);
    let mode = || fs::set_permissions(at("etc/b"), fs::Permissions::from_mode(0o600)).unwrap();
    with(&edits(), mode).is_refused("mode or owner has changed in the meantime");
    both(b"old", b"old");
    with(&edits(), || set_attribute("etc/b", "user.x", b"y")).is_refused("attributes have changed");
    with(&edits(), || {
        fs::hard_link(at("etc/b"), at("etc/c")).unwrap()
    })
    .is_refused("another name");
}

#[test]
fn writer_that_opens_a_file_in_the_window_loses_nothing() {
    let _scene = Scene::new(MEMORY);
    put("etc/a", b"old\n", 0o644, 0);
    let mut other = None;
    let opened = || other = Some(writer("etc/a", || append("etc/a", b"theirs\n")));
    with(&[write("etc/a", "new\n"), write("etc/n", "new\n")], opened)
        .is_refused("opens it for writing");
    other.unwrap().join().unwrap();
    assert_eq!(read("etc/a"), b"old\ntheirs\n");
    assert!(!at("etc/n").exists());
}

#[test]
fn parent_that_is_swapped_in_the_window_goes_back() {
    let _scene = Scene::new(MEMORY);
    for link in [false, true] {
        let _ = fs::remove_dir_all(at("etc"));
        put("etc/a", b"old", 0o644, 0);
        put("etc/d/a", b"old", 0o644, 0);
        let swap = || {
            fs::rename(at("etc/d"), at("etc/moved")).unwrap();
            match link {
                true => symlink("moved", at("etc/d")).unwrap(),
                false => put("etc/d/a", b"theirs", 0o644, 0),
            }
        };
        with(&[write("etc/a", "new"), write("etc/d/a", "new")], swap)
            .is_refused("moved or replaced");
        assert_eq!(
            (read("etc/a"), read("etc/moved/a")),
            (b"old".to_vec(), b"old".to_vec())
        );
        assert!(link || read("etc/d/a") == b"theirs");
        assert!(kept().is_empty());
    }
}

#[test]
fn second_commit_at_the_same_time_is_refused() {
    let _scene = Scene::new(MEMORY);
    put("etc/a", b"old", 0o644, 0);
    let other = plan(&[write("etc/a", "other")]);
    let first = with(&[write("etc/a", "new")], || {
        commit(&other).is_busy();
        undo(&id_of(&other)).is_busy();
        recover().is_busy();
    });
    first.is_done();
    assert_eq!(read("etc/a"), b"new");
    commit(&other).is_refused("it is another file");
}

#[test]
fn file_that_appears_in_a_removed_directory_keeps_it() {
    let _scene = Scene::new(MEMORY);
    put("etc/d/a", b"old", 0o644, 0);
    let old = tree();
    let edits = [
        edit("etc/d", Action::Remove),
        edit("etc/d/a", Action::Remove),
    ];
    let input = plan(&edits);
    let mut child = start(&delayed(3, 300), &["commit", &state()], Some(&input));
    while at("etc/d/a").exists() {
        is_running(&mut child);
    }
    held(&child, || put("etc/d/theirs", b"theirs", 0o644, 0));
    end(child).is_refused("it is not empty");
    assert_eq!(read("etc/d/theirs"), b"theirs");
    fs::remove_file(at("etc/d/theirs")).unwrap();
    assert_eq!(tree(), old);
}

/// What another process does to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Writer {
    Append,
    Overwrite,
    Truncate,
    Replace,
    RemoveAndCreate,
    /// Gives it another name, and writes by that.
    Link,
    /// Writes to its pages in memory.
    Map,
}

const WRITERS: [Writer; 7] = [
    Writer::Append,
    Writer::Overwrite,
    Writer::Truncate,
    Writer::Replace,
    Writer::RemoveAndCreate,
    Writer::Link,
    Writer::Map,
];

/// Another program that maps files, one for each line of its input.
struct Mapper {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Mapper {
    const PROGRAM: &str = "
import mmap, sys
for line in sys.stdin:
    name, text = line.rstrip('\\n').split('\\t')
    with open(name, 'r+b') as file, mmap.mmap(file.fileno(), 0) as pages:
        file.close()
        pages[:len(text) + 1] = text.encode() + b'\\n'
        pages.flush()
    print(flush=True)
";

    fn start() -> Self {
        let mut child = Command::new("python3")
            .args(["-c", Self::PROGRAM])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, answers }
    }

    fn write(&mut self, name: &str, line: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        write!(stdin, "{}\t{line}", at(name).display()).unwrap();
        let mut answer = String::new();
        assert_eq!(self.answers.read_line(&mut answer).unwrap(), 1);
    }
}

impl Drop for Mapper {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

impl Writer {
    fn write(self, name: &str, line: &str, mapper: &mut Mapper) {
        let open = |options: &mut fs::OpenOptions, name: &str| {
            let mut file = options.open(at(name)).unwrap();
            file.write_all(line.as_bytes()).unwrap();
        };
        match self {
            Self::Append => append(name, line.as_bytes()),
            Self::Overwrite => open(fs::OpenOptions::new().write(true), name),
            Self::Truncate => open(fs::OpenOptions::new().write(true).truncate(true), name),
            Self::Replace => {
                fs::write(at("etc/.theirs"), line).unwrap();
                fs::rename(at("etc/.theirs"), at(name)).unwrap();
            }
            Self::RemoveAndCreate => {
                fs::remove_file(at(name)).unwrap();
                fs::write(at(name), line).unwrap();
            }
            Self::Link => {
                fs::hard_link(at(name), at("etc/.theirs")).unwrap();
                append("etc/.theirs", line.as_bytes());
            }
            Self::Map => mapper.write(name, line),
        }
    }

    fn is_kept(self, name: &str, line: &str) -> bool {
        let text = |name: &str| String::from_utf8(read(name)).unwrap();
        match self {
            Self::Append => text(name).ends_with(line),
            Self::Overwrite | Self::Map => text(name).starts_with(line),
            Self::Truncate | Self::Replace | Self::RemoveAndCreate => text(name) == line,
            Self::Link => text("etc/.theirs").ends_with(line),
        }
    }
}

/// 336 commits, 12 for each writer at each moment, and at some moment of each another writer.
#[test]
fn bytes_of_other_writers_are_never_lost() {
    let _scene = Scene::new(MEMORY);
    let names = ["etc/a", "etc/b", "etc/c"];
    let mut mapper = Mapper::start();
    // Done, gone back or refused, and gone back but for the file of the other.
    let mut ends: BTreeMap<Writer, [u32; 3]> = BTreeMap::new();
    let old = |round: usize| format!("old {round}\n").repeat(20);
    let new = |round: usize| format!("new {round}\n").repeat(20);
    for round in 0..336_usize {
        let _ = fs::remove_file(at("etc/.theirs"));
        for name in names {
            put(name, old(round).as_bytes(), 0o644, 0);
        }
        let input = plan(&names.map(|name| write(name, &new(round))));
        let id = id_of(&input);
        let is_reached = || match round / WRITERS.len() % 4 {
            0 => true,
            1 => at(&format!("etc/.remit-{id}")).exists(),
            2 => fs::read(at(&format!("state/{id}/journal")))
                .is_ok_and(|all| all.get(16) == Some(&b'A')),
            _ => fs::read(at("etc/a")).is_ok_and(|text| text == new(round).as_bytes()),
        };
        let has_ended = AtomicBool::new(false);
        let writer = WRITERS[round % WRITERS.len()];
        let name = names[round % names.len()];
        let line = format!("theirs {round}\n");
        let result = thread::scope(|scope| {
            let child = start(&[], &["commit", &state()], Some(&input));
            let thread = scope.spawn(|| {
                // Not by time: a machine is sometimes slow.
                while !is_reached() && !has_ended.load(Ordering::Acquire) {
                    thread::yield_now();
                }
                writer.write(name, &line, &mut mapper);
            });
            let result = end(child);
            has_ended.store(true, Ordering::Release);
            thread.join().unwrap();
            result
        });
        let what = format!(
            "round {round}, {writer:?}: {:?} {}",
            result.code, result.text
        );
        assert!(writer.is_kept(name, &line), "{what}");
        let ended = ends.entry(writer).or_default();
        let expected = match result.code {
            Some(0) => {
                ended[0] += 1;
                let _ = fs::remove_dir_all(at(&format!("state/{id}")));
                new(round)
            }
            Some(1) => {
                ended[1] += 1;
                assert!(
                    result.text.starts_with("nothing was changed: '/mnt/etc/"),
                    "{what}"
                );
                assert!(kept().is_empty(), "{what}");
                old(round)
            }
            Some(3) => {
                ended[2] += 1;
                assert!(result.text.contains("it was left as it is"), "{what}");
                recover().is_done();
                assert!(writer.is_kept(name, &line), "{what}");
                let _ = fs::remove_dir_all(at(&format!("state/{id}")));
                old(round)
            }
            _ => panic!("{what}"),
        };
        for other in names.iter().filter(|other| **other != name) {
            assert!(read(other) == expected.as_bytes(), "{what}");
        }
    }
    println!("writers, [done, back, left]: {ends:?}");
    for (writer, [done, back, left]) in ends {
        assert!(
            done > 0 && back + left > 0,
            "{writer:?}: {done} {back} {left}"
        );
    }
}
