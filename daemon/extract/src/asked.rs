//! What programs asked of the service manager in a view, which has none: lines of a file that the job wrote.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use remit_common::view::{ACTS, ASKED};

/// Bytes that are read, and acts that are shown.
const BYTES: usize = 64 << 10;
const SHOWN: usize = 32;
const UNIT: usize = 255;

/// Verbs of systemctl(1), and the command that does the same after a commit.
const COMMANDS: [(&str, Option<&str>); 11] = [
    ("start", Some("service.start")),
    ("stop", Some("service.stop")),
    ("restart", Some("service.restart")),
    ("try-restart", Some("service.restart")),
    ("condrestart", Some("service.restart")),
    ("reload", Some("service.reload")),
    ("force-reload", Some("service.reload")),
    ("reload-or-restart", Some("service.reload")),
    ("try-reload-or-restart", Some("service.reload")),
    ("kill", None),
    ("isolate", None),
];

/// It is about no unit. What was asked of units needs it before.
const RELOAD: &[u8] = b"daemon-reload -";
const RELOADED: &str = "'systemctl daemon-reload' was asked for, and a copy has no services; it can follow the change, as 'then': service.daemon_reload";

/// Returns a sentence for each act, in the order in which they were asked for. `tree` is the top of a kept view. No file: none.
pub fn acts(tree: impl AsFd) -> Vec<String> {
    let open = |dir: &dyn AsFd, path: &str, flags: OFlag| -> nix::Result<OwnedFd> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(dir.as_fd(), path, flags, Mode::empty())
    };
    let directory = open(&tree.as_fd(), ACTS, OFlag::O_PATH | OFlag::O_DIRECTORY);
    // The job may have made a FIFO or a link of it.
    let file = directory.and_then(|dir| open(&dir, ASKED, OFlag::O_RDONLY | OFlag::O_NONBLOCK));
    let Ok(file) = file.map(File::from) else {
        return Vec::new();
    };
    let mut bytes = Vec::new();
    match file.metadata() {
        Ok(found) if found.is_file() => {
            let mut some = file.take(BYTES as u64 + 1);
            match some.read_to_end(&mut bytes) {
                Ok(_) => sentences(&bytes),
                Err(_) => Vec::new(),
            }
        }
        _ => Vec::new(),
    }
}

fn sentences(bytes: &[u8]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let is_cut = bytes.len() > BYTES;
    let bytes = if is_cut { whole_lines(bytes) } else { bytes };
    let lines = bytes.split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.is_empty() && seen.insert(*line));
    let (reloads, of_units): (Vec<&[u8]>, Vec<&[u8]>) = lines.partition(|line| *line == RELOAD);
    let shown = of_units.iter().filter_map(|line| act(line)).take(SHOWN);
    let mut acts: Vec<String> = shown.collect();
    let more = of_units.len() - acts.len();
    if !reloads.is_empty() {
        acts.insert(0, RELOADED.to_owned());
    }
    if more > 0 {
        acts.push(format!(
            "{more} more acts were asked of the service manager: of other names, or too many"
        ));
    }
    if is_cut {
        acts.push(format!(
            "more than {BYTES} bytes of acts were asked of the service manager: the rest was not read"
        ));
    }
    acts
}

/// Returns the whole lines of what was read. A line that is cut can name another unit.
fn whole_lines(bytes: &[u8]) -> &[u8] {
    let read = bytes.get(..BYTES).unwrap_or(bytes);
    let end = read.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    read.get(..end).unwrap_or_default()
}

fn act(line: &[u8]) -> Option<String> {
    let (verb, unit) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    let (verb, command) = COMMANDS.iter().find(|(known, _)| *known == verb)?;
    let is_unit = |byte: u8| byte.is_ascii_alphanumeric() || b":_.\\@-".contains(&byte);
    if unit.is_empty() || unit.len() > UNIT || !unit.bytes().all(is_unit) {
        return None;
    }
    let unit = match unit.contains('.') {
        true => unit.to_owned(),
        false => format!("{unit}.service"),
    };
    let after = match command {
        Some(command) => format!("it can follow the change, as 'then': {command} unit={unit}"),
        None => "no command does that".to_owned(),
    };
    Some(format!(
        "'systemctl {verb} {unit}' was asked for, and a copy has no services; {after}"
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn known_acts_of_units_are_named_once() {
        let said = sentences(b"start nginx\nstart nginx\ndaemon-reload -\nrestart a@b.service\nkill x.scope\nboil tea\nstart\nstart a b\nstart \x1b\n");
        assert_eq!(
            said,
            [
                RELOADED,
                "'systemctl start nginx.service' was asked for, and a copy has no services; it can follow the change, as 'then': \
                 service.start unit=nginx.service",
                "'systemctl restart a@b.service' was asked for, and a copy has no services; it can follow the change, as 'then': \
                 service.restart unit=a@b.service",
                "'systemctl kill x.scope' was asked for, and a copy has no services; no command does that",
                "4 more acts were asked of the service manager: of other names, or too many",
            ]
        );
    }

    /// The job is root of the directory.
    #[test]
    fn only_a_file_is_read() {
        let top = std::env::temp_dir().join(format!("remit-asked-{}", std::process::id()));
        let (dir, other) = (top.join(ACTS), top.join("other"));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(&other, "start other\n").unwrap();
        let said = || acts(File::open(&top).unwrap()).len();
        assert_eq!(said(), 0);
        let at = dir.join(ASKED);
        std::os::unix::fs::symlink(&other, &at).unwrap();
        assert_eq!(said(), 0);
        std::fs::remove_file(&at).unwrap();
        nix::unistd::mkfifo(&at, Mode::S_IRWXU).unwrap();
        assert_eq!(said(), 0);
        std::fs::remove_file(&at).unwrap();
        std::fs::rename(&other, &at).unwrap();
        assert_eq!(said(), 1);
        std::fs::remove_dir_all(&top).unwrap();
    }

    #[test]
    fn line_that_is_cut_names_no_unit() {
        let rest = "start other-unit\n";
        // All but the first bytes of the last line are read.
        let line = format!("boil {}\n", "x".repeat(BYTES - 6 - "start other".len()));
        let said = sentences(format!("{line}{rest}").as_bytes());
        assert_eq!(
            said,
            [
                "1 more acts were asked of the service manager: of other names, or too many",
                "more than 65536 bytes of acts were asked of the service manager: the rest was not read",
            ]
        );
        let whole = format!("{}\n{rest}", "x".repeat(BYTES - rest.len() - 1));
        assert_eq!(whole.len(), BYTES);
        let said = sentences(whole.as_bytes());
        assert!(
            said[0].contains("'systemctl start other-unit.service'"),
            "{said:?}"
        );
        assert_eq!(said.len(), 2);
    }

    #[test]
    fn acts_end() {
        let lines: String = (0..100)
            .map(|number| format!("start unit-{number}\n"))
            .collect();
        let said = sentences(lines.as_bytes());
        assert_eq!(said.len(), SHOWN + 1);
        assert_eq!(
            said.last().map(String::as_str),
            Some("68 more acts were asked of the service manager: of other names, or too many")
        );
    }
}
