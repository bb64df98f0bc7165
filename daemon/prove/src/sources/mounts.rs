//! File systems whose server or whose user decides who writes: what is on them stays unknown.

use crate::lines::lines;
use crate::look::Look;
use crate::path::FilePath;

pub fn look(look: &mut Look<'_>) {
    const REMOTE: [&[u8]; 8] = [
        b"nfs",
        b"cifs",
        b"smb",
        b"fuse",
        b"9p",
        b"ceph",
        b"glusterfs",
        b"afs",
    ];
    let content = look
        .machine
        .read(&FilePath::fixed("/proc/self/mounts"))
        .unwrap_or_default();
    for (_, line) in lines(&content) {
        let mut fields = line.split(|byte| *byte == b' ');
        let (path, kind) = (fields.nth(1).and_then(FilePath::new), fields.next());
        if let (Some(path), Some(kind)) = (path, kind)
            && REMOTE.iter().any(|prefix| kind.starts_with(prefix))
            && kind != b"fusectl"
        {
            let why = format!(
                "who writes on this file system ({}) is not decided here",
                kind.escape_ascii()
            );
            look.machine.unknown(&path, why);
        }
    }
}
