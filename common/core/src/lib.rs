//! What the spawner needs of what all parts of remit share: data, text formats and a token bucket. No decisions, no
//! privilege, and no IO except on a given stream.

#![forbid(unsafe_code)]

pub mod accounts;
pub mod bus;
pub mod disks {
    //! File systems on which this machine's kernel keeps owners and modes itself (statfs(2)): only there do they say who
    //! can change a file. A FUSE server decides at each read, and whoever runs a network server can change its files. So
    //! only listed types are trusted, and those at [`OF_THE_MACHINE`], whose server is root here without remit.

    /// Mount points whose file systems are trusted whatever their type.
    pub const OF_THE_MACHINE: [&str; 2] = ["/", "/usr"];

    /// Types as in `f_type` of statfs(2).
    const KEPT_HERE: [u32; 19] = [
        0x0000_EF53, // ext2, ext3, ext4
        0x5846_5342, // xfs
        0x9123_683E, // btrfs
        0x2FC1_2FC1, // zfs
        0xCA45_1A4E, // bcachefs
        0xF2F5_2010, // f2fs
        0x3153_464A, // jfs
        0x5265_4973, // reiserfs
        0x0000_3434, // nilfs2
        0x0102_1994, // tmpfs
        0x8584_58F6, // ramfs
        0x794C_7630, // overlay: mounted by root, of directories that root names
        0x7371_7368, // squashfs
        0xE0F5_E1E2, // erofs
        0x28CD_3D45, // cramfs
        0x0000_9660, // iso9660
        0x1501_3346, // udf
        0x0000_4D44, // vfat, as of /boot/efi
        0x2011_BAB0, // exfat
    ];

    #[must_use]
    pub fn is_kept_here(f_type: u32) -> bool {
        KEPT_HERE.contains(&f_type)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a07_what_others_serve_is_not_kept_here() {
            for (name, f_type) in [
                ("fuse", 0x6573_5546),
                ("nfs", 0x6969),
                ("9p", 0x0102_1997),
                ("cifs", 0xFF53_4D42),
                ("smb2", 0xFE53_4D42),
                ("ceph", 0x00C3_6400),
                ("afs", 0x6B41_4653),
                ("proc", 0x9FA0),
                ("unknown", 0),
            ] {
                assert!(!is_kept_here(f_type), "{name}");
            }
            assert!(is_kept_here(0xEF53));
        }
    }
}
pub mod frame;
pub mod hosts_file;
pub mod mount_table;
pub mod panics {
    /// Makes a panic of any thread end the process, as in packages, also where a build unwinds: development builds and tests
    /// share what they compile. A task that died must not leave the others with half a state.
    pub fn end_process() {
        if cfg!(panic = "unwind") {
            let print = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                print(info);
                std::process::abort()
            }));
        }
    }
}
/// Directories of its own that a job has in each sandbox. They cover those of the host.
pub const PRIVATE: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

pub mod shebang;
pub mod token_bucket;
pub mod view;
