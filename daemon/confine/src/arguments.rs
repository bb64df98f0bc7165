//! Arguments that name something: a path, looked up inside by the job's own identity, or a secret
//! that only the job can read.

use crate::floor;
use crate::notes::{Fault, Taken};
use crate::steps::Why;
use crate::trust;
use crate::{Error, Result};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, RawFd};

/// One element of the argument vector that stands for a thing.
#[derive(Clone, Copy, Debug)]
pub struct Argument<'a> {
    /// Which element of `Job::argv`; what stands there is replaced. Not 0.
    pub index: usize,
    /// What the element begins with: `--config=`, or nothing.
    pub before: &'a [u8],
    /// What follows it.
    pub what: What<'a>,
}

/// What an argument stands for.
#[derive(Clone, Copy, Debug)]
pub enum What<'a> {
    /// A file or directory, that is there, below a directory, without a link on the way.
    Path {
        /// Absolute, as seen inside.
        under: &'a CStr,
        /// Relative, without `.`, `..` or empty parts; empty for `under` itself.
        beneath: &'a CStr,
        /// What it must be.
        is: PathIs,
        /// The job gets a descriptor opened for reading, and its name in `/proc/self/fd`; else
        /// the path, which then nobody but root and the job's own user may be able to redirect.
        by_descriptor: bool,
        /// A sealed memfd that the job gets in place of the file, where it was copied before. The file must be there
        /// and readable for the job all the same. Only with `by_descriptor`.
        copy: Option<BorrowedFd<'a>>,
    },
    /// A sealed memfd; the job gets its name in `/proc/self/fd`.
    Secret(BorrowedFd<'a>),
}

/// What a path must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathIs {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// One of both.
    Either,
}

/// Most of them that a job can have.
pub(crate) const MOST: usize = 64;

/// An argument made ready before the fork.
#[derive(Debug)]
pub(crate) struct Prepared<'a> {
    /// Which element of `argv`.
    index: u16,
    /// The number of its descriptor, where it has one.
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

/// The whole argument vector, and what is to be opened for it. Descriptors get numbers from
/// `first` on.
pub(crate) fn prepare<'a>(
    argv: &[CString],
    places: &'a [Argument<'a>],
    first: RawFd,
) -> Result<(Vec<CString>, Vec<Prepared<'a>>)> {
    let refused = |why| Error::refused("cannot spawn a job", why);
    if places.len() > MOST {
        return Err(refused("it has more than 64 paths and secrets"));
    }
    let mut argv = argv.to_vec();
    let mut all = Vec::new();
    let mut numbers = first..;
    for place in places {
        let element = argv.get_mut(place.index).filter(|_| place.index > 0);
        let (Some(element), Ok(index)) = (element, u16::try_from(place.index)) else {
            return Err(refused("a path or a secret is none of its arguments"));
        };
        let (thing, name, by_descriptor) = match place.what {
            What::Path {
                under,
                beneath,
                is,
                by_descriptor,
                copy,
            } => {
                if copy.is_some_and(|copy| !by_descriptor || !floor::is_sealed(copy)) {
                    return Err(refused("a copy of a file is not a sealed memfd"));
                }
                let path = join(under, beneath)
                    .ok_or_else(|| refused("a path argument is not a plain one"))?;
                let name = path.to_bytes().to_vec();
                (Thing::Path { path, is, copy }, name, by_descriptor)
            }
            What::Secret(fd) if floor::is_sealed(fd) => (Thing::Secret(fd), Vec::new(), true),
            What::Secret(_) => return Err(refused("a secret is not a sealed memfd")),
        };
        let number = by_descriptor.then(|| numbers.next()).flatten();
        let name = number.map_or(name, |n| format!("/proc/self/fd/{n}").into_bytes());
        *element = CString::new([place.before, &name].concat())
            .map_err(|_| refused("an argument has a NUL"))?;
        all.push(Prepared {
            index,
            number,
            thing,
        });
    }
    Ok((argv, all))
}

/// `under` and `beneath` as one absolute path without `.`, `..` or empty parts.
fn join(under: &CStr, beneath: &CStr) -> Option<CString> {
    let plain = |part: &[u8]| ![&b""[..], b".", b".."].contains(&part);
    let under = under.to_bytes().strip_prefix(b"/")?;
    let parts = [under, beneath.to_bytes()];
    let parts: Vec<&[u8]> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let whole = parts.join(&b'/');
    let fine = whole.is_empty() || whole.split(|b| *b == b'/').all(plain);
    fine.then(|| CString::new([b"/", whole.as_slice()].concat()).ok())?
}

/// Opens what the arguments name, in the child, as the job's user. `trusted` may own the way to a path
/// that is given as text, as root may.
pub(crate) fn open(all: &[Prepared<'_>], trusted: u32) -> std::result::Result<Taken, Fault> {
    if all.is_empty() {
        return Ok(Taken::Absent);
    }
    let root = floor::open(c"/", libc::O_PATH | libc::O_DIRECTORY)?;
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
    Ok(Taken::Done)
}

/// How the job gets an argument that was opened.
enum To {
    /// By its name.
    Text,
    /// As this descriptor.
    Number(RawFd),
    /// Its copy is in its place already.
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
    let place = floor::open_plain(root, relative, libc::O_PATH)?;
    let stat = floor::stat_of(place.as_fd())?;
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
    // A FIFO put there meanwhile would stall us.
    let file = floor::open_plain(root, relative, libc::O_RDONLY | libc::O_NONBLOCK)?;
    let same = floor::stat_of(file.as_fd())?;
    if (same.st_dev, same.st_ino) != (stat.st_dev, stat.st_ino) {
        return Err(Fault::because(Why::WrongKind));
    }
    match to {
        To::Number(number) => Ok(floor::place(file.as_fd(), number)?),
        To::Text | To::Nowhere => Ok(()),
    }
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
    fn elements_become_what_the_program_is_given() {
        let argv = [c"prog".to_owned(), c"x".to_owned(), c"y".to_owned()];
        let secret = floor::sealed_memfd(c"secret", b"s").unwrap();
        let path = What::Path {
            under: c"/etc",
            beneath: c"passwd",
            is: PathIs::File,
            by_descriptor: false,
            copy: None,
        };
        let places = [
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
        let (argv, all) = prepare(&argv, &places, 4).unwrap();
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
