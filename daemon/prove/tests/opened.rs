//! What a change opens: each machine of `tests/machines` is described as a change of its mended one, and not made. The
//! answer has the paths and steps of the real one. Needs root.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use common::described::{Described, Mend};
use common::laid::goals;
use common::{Laid, machines};
use remit_common::prove::{Compared, Content, FileAfter, FileChange, Opened, Question};
use remit_prove::machine::{Bounds, Machine};
use remit_prove::question::opened;
use remit_prove::report::Step;

/// Everything beneath a directory, by its path from there.
fn tree(root: &Path) -> BTreeMap<PathBuf, Metadata> {
    let (mut found, mut left) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            if metadata.is_dir() {
                left.push(path.clone());
            }
            found.insert(path.strip_prefix(root).unwrap().to_owned(), metadata);
        }
    }
    found
}

fn attribute(path: &Path, name: &std::ffi::CStr) -> Vec<u8> {
    let file = fs::File::open(path).unwrap();
    remit_sys::sys::xattr(&file, name).unwrap_or_default()
}

fn change(path: &Path, after: Option<FileAfter>) -> FileChange {
    let path = Path::new("/").join(path).into_os_string();
    FileChange {
        path: path.into_encoded_bytes().into(),
        after,
    }
}

/// `None`: the machines differ in what no change says: a socket, an access list.
fn changes(before: &Path, after: &Path) -> Option<Vec<FileChange>> {
    let (old, new) = (tree(before), tree(after));
    let gone = old.keys().filter(|path| !new.contains_key(*path));
    let mut changes: Vec<FileChange> = gone.map(|path| change(path, None)).collect();
    for (path, metadata) in &new {
        let known = old.get(path);
        let (was, is) = (before.join(path), after.join(path));
        let content = match metadata.file_type() {
            kind if kind.is_socket() && known.is_none() => return None,
            kind if kind.is_symlink() => {
                let text = |path: &Path| fs::read_link(path).unwrap().into_os_string();
                match known.is_some_and(Metadata::is_symlink) && text(&was) == text(&is) {
                    true => Content::Same,
                    false => Content::Link(text(&is).into_encoded_bytes().into()),
                }
            }
            kind if kind.is_file() => {
                let content = fs::read(&is).unwrap();
                match known.is_some_and(|known| known.is_file())
                    && fs::read(&was).unwrap() == content
                {
                    true => Content::Same,
                    false => Content::File(content.into()),
                }
            }
            _ if known.is_some() => Content::Same,
            _ => Content::Directory,
        };
        let list = |path: &Path| match path.is_file() || path.is_dir() {
            true => attribute(path, c"system.posix_acl_access"),
            false => Vec::new(),
        };
        if list(&is) != known.map_or_else(Vec::new, |_| list(&was)) {
            return None;
        }
        let bits = match metadata.is_file() {
            true => attribute(&is, c"security.capability"),
            false => Vec::new(),
        };
        changes.push(change(
            path,
            Some(FileAfter {
                uid: metadata.uid(),
                gid: metadata.gid(),
                mode: metadata.mode() & 0o7777,
                capabilities: remit_plan::permitted_capabilities(&bits),
                content,
            }),
        ));
    }
    Some(changes)
}

/// Asks what the difference of the two machines opens on the first. `None`: no change says it.
fn asked(before: &Laid, after: &Laid) -> Option<Opened> {
    let compared = Compared {
        before: Some(before.question().policy),
        changes: changes(before.root(), after.root())?,
        permitted: Vec::new(),
        milliseconds: 60_000,
    };
    let question = Question {
        root: before.question().root,
        ..after.question()
    };
    let mut machine = Machine::open(before.root(), Bounds::default()).unwrap();
    Some(opened(&question, &compared, &mut machine).unwrap())
}

/// Returns true if the mend takes a rule about approvers or their group away, and nothing else.
fn is_about_people(described: &Described, mend: &Mend) -> bool {
    let mended = described.mended(mend);
    let is_same = mend.file.is_empty() && mend.remove.is_empty() && mend.leaves.is_empty();
    is_same && mended.policy != described.policy && described.policy.contains("approval")
}

#[test]
fn change_opens_the_paths_of_the_machine_that_it_makes() {
    let (mut wrong, mut judged, mut left_out) = (Vec::new(), 0, Vec::new());
    for (name, described) in machines() {
        let real = Laid::of(&described);
        let expect = real.report();
        for mend in &described.mend {
            let mended = Laid::of(&described.mended(mend));
            let (Some(found), Some(back)) = (asked(&mended, &real), asked(&real, &mended)) else {
                left_out.push(format!("{name}: {}", mend.about));
                continue;
            };
            judged += 1;
            if !back.paths.is_empty() {
                wrong.push(format!("{name}, {}, back: {back:#?}", mend.about));
            }
            let shown: Vec<&str> = found.paths.iter().map(|path| path.goal.as_str()).collect();
            let steps: Vec<&String> = found.paths.iter().flat_map(|path| &path.steps).collect();
            // Only approvers and agents are other: no permission is new.
            if shown.is_empty() && is_about_people(&described, mend) {
                continue;
            }
            let reaches = expect.subjects[0].reaches.iter();
            let expected: Vec<_> = reaches.flat_map(|path| &path.steps).collect();
            let is_step = |(found, step): (&&String, &&Step)| {
                let fact = found.strip_suffix(&format!(" [{}]", step.rule));
                // Lines of private files are not quoted.
                fact.is_some_and(|fact| step.fact.starts_with(fact))
            };
            let all = steps.len() == expected.len() && steps.iter().zip(&expected).all(is_step);
            if shown != goals(&expect.subjects[0]) || !all {
                wrong.push(format!("{name}, {}: {found:#?}", mend.about));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(
        judged > 100 && left_out.len() < 15,
        "{judged} {left_out:#?}"
    );
}
