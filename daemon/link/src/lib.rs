//! Protocol between the warden (root) and the broker (no privilege): a SOCK_SEQPACKET pair with postcard datagrams.
//! Descriptors travel only from the warden to the broker. The warden trusts nothing from the broker.

// Whoever speaks a protocol or reads a format needs to know each part.

pub mod closer {
    //! Messages to the process that closes descriptors for the warden: `remit-broker --sink`.

    /// Argument of that process.
    pub const ARGUMENT: &std::ffi::CStr = c"--sink";
    /// Message byte: keep the attached descriptor.
    pub const HOLD: u8 = b'h';
    /// Message byte: close all kept descriptors. The sender has closed its own copies.
    pub const CLOSE: u8 = b'c';
}
pub mod foreign;
pub mod memfd {
    //! Sealed memory files: bytes that nobody can change (memfd_create(2)).

    use std::ffi::CStr;
    use std::io::{self, Read, Seek, Write};
    use std::os::fd::{AsFd, OwnedFd};

    use nix::errno::Errno;
    use nix::fcntl::{FcntlArg, SealFlag, fcntl};
    use nix::sys::memfd::{MFdFlags, memfd_create};

    fn all_seals() -> SealFlag {
        SealFlag::F_SEAL_SEAL
            | SealFlag::F_SEAL_SHRINK
            | SealFlag::F_SEAL_GROW
            | SealFlag::F_SEAL_WRITE
    }

    /// Returns a sealed file with `bytes`, positioned at its start. `name` is visible in /proc and must not be secret.
    pub fn seal(name: &CStr, bytes: &[u8]) -> io::Result<OwnedFd> {
        let mut file = std::fs::File::from(empty(name)?);
        file.write_all(bytes)?;
        close(&mut file)?;
        Ok(file.into())
    }

    /// Returns an empty writable file, to be sealed by [`close`].
    pub fn empty(name: &CStr) -> io::Result<OwnedFd> {
        let plain = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        // Linux 6.3 adds files that can never be executed. Nothing here depends on it.
        let fd = memfd_create(name, plain | MFdFlags::from_bits_retain(libc_noexec_seal()))
            .or_else(|error| match error {
                Errno::EINVAL => memfd_create(name, plain),
                other => Err(other),
            })?;
        Ok(fd)
    }

    /// Seals a file of [`empty`] and rewinds it.
    pub fn close(file: &mut std::fs::File) -> io::Result<()> {
        file.rewind()?;
        fcntl(file, FcntlArg::F_ADD_SEALS(all_seals()))?;
        Ok(())
    }

    /// MFD_NOEXEC_SEAL (memfd_create(2)), which nix does not define.
    const fn libc_noexec_seal() -> u32 {
        8
    }

    /// Returns the size of a received file. Fails with `InvalidData` if it is not fully sealed or exceeds `cap` bytes.
    pub fn check(fd: impl AsFd, cap: usize) -> io::Result<usize> {
        let refuse = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidData, why.to_owned()));
        let seals = fcntl(&fd, FcntlArg::F_GET_SEALS)
            .map(SealFlag::from_bits_retain)
            .unwrap_or(SealFlag::empty());
        if !seals.contains(all_seals()) {
            return refuse("not a sealed memory file");
        }
        match usize::try_from(nix::sys::stat::fstat(fd)?.st_size) {
            Ok(size) if size <= cap => Ok(size),
            Ok(_) | Err(_) => refuse("sealed memory file is too large"),
        }
    }

    /// Verifies a received file as [`check`] does and returns its content.
    pub fn read(fd: OwnedFd, cap: usize) -> io::Result<Vec<u8>> {
        let size = check(&fd, cap)?;
        let mut file = std::fs::File::from(fd);
        file.rewind()?;
        let mut bytes = vec![0; size];
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn sealed_file_is_readable_and_read_only() {
            let fd = seal(c"test", b"echo hello").unwrap();
            let mut file = std::fs::File::from(fd.try_clone().unwrap());
            assert!(file.write_all(b"x").is_err());
            assert!(file.set_len(0).is_err());
            assert_eq!(read(fd, 10).unwrap(), b"echo hello");
        }

        #[test]
        fn unsealed_or_too_large_is_refused() {
            let plain = memfd_create(c"test", MFdFlags::MFD_ALLOW_SEALING).unwrap();
            assert!(check(&plain, 10).is_err());
            let pipe = nix::unistd::pipe().unwrap().0;
            assert!(check(&pipe, 10).is_err());
            let fd = seal(c"test", b"12345").unwrap();
            assert_eq!(check(&fd, 5).unwrap(), 5);
            assert!(check(&fd, 4).is_err());
        }
    }
}
pub mod message;
mod parts;
pub mod socket;
pub mod sys;

pub use foreign::ForeignSocket;
pub use message::{
    Answer, Delivery, HistoryMark, HistoryRecord, JobMeta, Owner, SameRequest, Spec, SpecWhat,
    Startable, ToBroker, ToWarden, Totals, WaitReason, WaitingApproval,
};
pub use parts::LinkError;
pub use socket::Link;
