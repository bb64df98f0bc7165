//! Arguments that name a thing: a path, looked up inside with the job's identity, or a secret only for the job.

use crate::steps::report::{Fault, StepResult};
use crate::steps::trust;
use crate::sys;
use remit_spawn::{Argument, PathIs, What, Why, join};
use remit_sys::{Error, Result};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

#[derive(Debug)]
pub(crate) struct Prepared<'a> {
    index: u16,
    pub(crate) number: Option<RawFd>,
    pub(crate) thing: Thing<'a>,
}

#[derive(Debug)]
pub(crate) enum Thing<'a> {
    Path {
        path: CString,
        is: PathIs,
        copy: Option<BorrowedFd<'a>>,
    },
    Secret(BorrowedFd<'a>),
}

/// Returns the argument vector of a vetted job, and what is to be opened for it. Descriptors get numbers from `first` on.
pub(crate) fn prepare<'a>(
    argv: &[CString],
    arguments: &'a [Argument<'a>],
    first: RawFd,
) -> Result<(Vec<CString>, Vec<Prepared<'a>>)> {
    let refused = || Error::refused("cannot spawn a job", "it was not vetted");
    let mut argv = argv.to_vec();
    let mut all = Vec::new();
    let mut numbers = first..;
    for argument in arguments {
        let element = argv.get_mut(argument.index).filter(|_| argument.index > 0);
        let element = element.ok_or_else(refused)?;
        let index = u16::try_from(argument.index).map_err(|_| refused())?;
        let (thing, name, by_descriptor) = match argument.what {
            What::Path {
                under,
                beneath,
                is,
                by_descriptor,
                copy,
            } => {
                let path = join(under, beneath).ok_or_else(refused)?;
                let name = path.to_bytes().to_vec();
                (Thing::Path { path, is, copy }, name, by_descriptor)
            }
            What::Secret(fd) => (Thing::Secret(fd), Vec::new(), true),
        };
        let number = by_descriptor.then(|| numbers.next()).flatten();
        let name = number.map_or(name, |n| format!("/proc/self/fd/{n}").into_bytes());
        *element = CString::new([argument.before, &name].concat()).map_err(|_| refused())?;
        all.push(Prepared {
            index,
            number,
            thing,
        });
    }
    Ok((argv, all))
}

/// Opens what the arguments name, as the job's user. `trusted` and root may own the way to a path passed as text.
pub(crate) fn open(all: &[Prepared<'_>], trusted: u32) -> std::result::Result<StepResult, Fault> {
    if all.is_empty() {
        return Ok(StepResult::Absent);
    }
    let root = sys::open(c"/", libc::O_PATH | libc::O_DIRECTORY)?;
    for argument in all {
        if let Thing::Path { path, is, copy } = &argument.thing {
            let to = match (argument.number, copy) {
                (None, _) => To::Text,
                (Some(number), None) => To::Number(number),
                (Some(_), Some(_)) => To::Nowhere,
            };
            let opened = open_path(root.as_fd(), path, *is, to, trusted);
            opened.map_err(|fault| fault.at(argument.index))?;
        }
    }
    Ok(StepResult::Done)
}

enum To {
    Text,
    Number(RawFd),
    /// Its copy already has the number.
    Nowhere,
}

fn open_path(
    root: BorrowedFd<'_>,
    path: &CStr,
    is: PathIs,
    to: To,
    trusted: u32,
) -> std::result::Result<(), Fault> {
    let bytes = path.to_bytes_with_nul();
    let relative = bytes.get(1..).filter(|rest| rest.len() > 1);
    let relative = relative.and_then(|rest| CStr::from_bytes_with_nul(rest).ok());
    let relative = relative.unwrap_or(c".");
    let found = open_beneath(root, relative, libc::O_PATH)?;
    let stat = sys::stat_of(found.as_fd())?;
    let fits = match stat.st_mode & libc::S_IFMT {
        libc::S_IFREG => is != PathIs::Directory,
        libc::S_IFDIR => is != PathIs::File,
        _ => false,
    };
    if !fits {
        return Err(Fault::because(Why::WrongKind));
    }
    if let To::Text = to {
        return match trust::of_way(path, trusted) {
            true => Ok(()),
            false => Err(Fault::because(Why::Untrusted)),
        };
    }
    // Non-blocking: the open would hang on a FIFO that was put there meanwhile.
    let file = open_beneath(root, relative, libc::O_RDONLY | libc::O_NONBLOCK)?;
    let same = sys::stat_of(file.as_fd())?;
    if (same.st_dev, same.st_ino) != (stat.st_dev, stat.st_ino) {
        return Err(Fault::because(Why::WrongKind));
    }
    match to {
        To::Number(number) => Ok(sys::renumber(file.as_fd(), number)?),
        To::Text | To::Nowhere => Ok(()),
    }
}

/// Opens a plain path without links. openat2(2) is refused to many jobs, because no filter sees its flags.
fn open_beneath(root: BorrowedFd<'_>, path: &CStr, flags: i32) -> io::Result<OwnedFd> {
    let mut parts = path.to_bytes().split(|byte| *byte == b'/').peekable();
    let mut directory: Option<OwnedFd> = None;
    while let Some(part) = parts.next() {
        let flags = if parts.peek().is_some() {
            libc::O_PATH
        } else {
            flags
        };
        let from = directory.as_ref().map_or(root, AsFd::as_fd);
        let found = sys::open_at(Some(from), &CString::new(part)?, flags | libc::O_NOFOLLOW)?;
        // With O_PATH a link itself is opened.
        if sys::stat_of(found.as_fd())?.st_mode & libc::S_IFMT == libc::S_IFLNK {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
        directory = Some(found);
    }
    directory.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths_are_taken() {
        for (under, beneath, want) in [
            (c"/etc", c"passwd", Some(c"/etc/passwd")),
            (c"/etc/x", c"a/b", Some(c"/etc/x/a/b")),
            (c"/etc", c"", Some(c"/etc")),
            (c"/", c"etc", Some(c"/etc")),
            (c"/", c"", Some(c"/")),
            (c"etc", c"passwd", None),
            (c"/etc", c"../root", None),
            (c"/etc", c"a/../b", None),
            (c"/etc", c"a//b", None),
            (c"/etc", c"/a", None),
            (c"/etc/", c"a", None),
            (c"/etc", c".", None),
            (c"/etc/..", c"a", None),
        ] {
            assert_eq!(
                join(under, beneath).as_deref(),
                want,
                "{under:?} {beneath:?}"
            );
        }
    }

    #[test]
    fn named_elements_become_paths_and_fd_names() {
        let argv = [c"prog".to_owned(), c"x".to_owned(), c"y".to_owned()];
        let secret = sys::sealed_memfd(c"secret", b"s").unwrap();
        let path = What::Path {
            under: c"/etc",
            beneath: c"passwd",
            is: PathIs::File,
            by_descriptor: false,
            copy: None,
        };
        let arguments = [
            Argument {
                index: 1,
                before: b"--file=",
                what: path,
            },
            Argument {
                index: 2,
                before: b"",
                what: What::Secret(secret.as_fd()),
            },
        ];
        let (argv, all) = prepare(&argv, &arguments, 4).unwrap();
        assert_eq!(
            argv[1..],
            [
                c"--file=/etc/passwd".to_owned(),
                c"/proc/self/fd/4".to_owned()
            ]
        );
        assert_eq!([all[0].number, all[1].number], [None, Some(4)]);
        for index in [0, 3] {
            let odd = [Argument {
                index,
                before: b"",
                what: path,
            }];
            assert!(prepare(&argv, &odd, 3).is_err(), "{index}");
        }
    }
}
