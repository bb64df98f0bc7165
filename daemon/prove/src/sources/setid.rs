//! Programs that give whoever executes them another account or capabilities: set-id bits, capabilities(7).

use crate::facts::SetId;
use crate::look::Look;
use crate::path::FilePath;

/// Each with how deep it is looked at.
const DIRECTORIES: [(&str, usize); 9] = [
    ("/usr/bin", 1),
    ("/usr/sbin", 1),
    ("/bin", 1),
    ("/sbin", 1),
    ("/usr/local", 4),
    ("/usr/libexec", 2),
    ("/opt", 4),
    ("/srv", 3),
    ("/home", 2),
];
const SET_UID: u32 = 0o4000;
/// CHOWN, DAC_OVERRIDE, FOWNER, SETGID, SETUID, SYS_MODULE, SYS_RAWIO, SYS_PTRACE, SYS_ADMIN, SETFCAP: each leads to root,
/// SETGID by the groups of disks and passwords.
pub const STRONG: u64 =
    1 | 1 << 1 | 1 << 3 | 1 << 6 | 1 << 7 | 1 << 16 | 1 << 17 | 1 << 19 | 1 << 21 | 1 << 31;

pub fn look(look: &mut Look<'_>) {
    for (directory, depth) in DIRECTORIES {
        walk(look, &FilePath::fixed(directory), depth);
    }
}

fn walk(look: &mut Look<'_>, directory: &FilePath, depth: usize) {
    let Some(next) = depth.checked_sub(1) else {
        return;
    };
    for name in look.machine.list(directory) {
        // A link leads to a file that is looked at where it lies, or is not looked at.
        let Some(path) = directory.join(name) else {
            continue;
        };
        let Some((real, entry)) = look.machine.entry(&path).filter(|(real, _)| *real == path)
        else {
            continue;
        };
        if entry.is_directory() {
            walk(look, &real, next);
        } else if entry.is_executable()
            && (entry.mode & SET_UID != 0 || entry.capabilities & STRONG != 0)
        {
            let uid = match entry.capabilities & STRONG {
                0 => entry.uid,
                _ => 0,
            };
            let is_script = look.machine.is_script(&real);
            if !is_script || entry.capabilities != 0 {
                look.way(&real);
                look.facts.set_ids.push(SetId { uid, program: real });
            }
        }
    }
}
