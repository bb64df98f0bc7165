//! Reads small files whole, and is safe in directories that untrusted users can write.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;

const MOST_BYTES: u64 = 1 << 20;

/// Returns the bytes of a regular file of at most 1 MiB; `None` if it does not exist. Does not follow a link and does
/// not block on a FIFO.
pub fn bytes(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = match OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)
    {
        Ok(file) => file,
        Err(error) => {
            return match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(None),
                _ => Err(error),
            };
        }
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= MOST_BYTES => Ok(Some(bytes)),
        Ok(_) | Err(_) => Err(io::Error::other(format!(
            "it is larger than {MOST_BYTES} bytes"
        ))),
    }
}

/// As [`bytes`], with invalid UTF-8 replaced.
pub fn text(path: &Path) -> io::Result<Option<String>> {
    Ok(bytes(path)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn a_trap_is_not_stepped_into() {
        let dir = std::env::temp_dir().join(format!("remit-read-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let at = |name: &str| dir.join(name);
        fs::write(at("file"), "text").unwrap();
        fs::write(at("large"), vec![b'x'; 1 + MOST_BYTES as usize]).unwrap();
        symlink(at("file"), at("link")).unwrap();
        mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
        let found = ["file", "missing", "file/x"].map(|name| bytes(&at(name)));
        let refused = ["large", "link", "fifo", "."].map(|name| bytes(&at(name)).is_err());
        fs::remove_dir_all(&dir).unwrap();
        let [file, missing, below] = found.map(Result::unwrap);
        assert_eq!(file.as_deref(), Some(&b"text"[..]));
        assert_eq!((missing, below), (None, None));
        assert_eq!(refused, [true; 4]);
    }
}
