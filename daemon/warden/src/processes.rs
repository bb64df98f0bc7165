//! How many processes and threads a user has, as RLIMIT_NPROC counts them.

use std::fs;

/// Those of this uid now. Looks at every process of the machine: only for jobs of a named user, where no
/// controller counts theirs.
pub fn tasks_of(uid: u32) -> u64 {
    let Ok(all) = fs::read_dir("/proc") else {
        return 0;
    };
    let is_process =
        |name: &std::ffi::OsStr| name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    let entries = all
        .filter_map(Result::ok)
        .filter(|entry| is_process(&entry.file_name()));
    // What has ended meanwhile counts no more.
    let statuses = entries.filter_map(|entry| fs::read_to_string(entry.path().join("status")).ok());
    statuses.filter_map(|status| tasks(&status, uid)).sum()
}

/// The threads of a process, where this is its real uid. proc_pid_status(5).
fn tasks(status: &str, uid: u32) -> Option<u64> {
    let field = |name| status.lines().find_map(|line| line.strip_prefix(name));
    let real: u32 = field("Uid:")?.split_whitespace().next()?.parse().ok()?;
    match real == uid {
        true => field("Threads:")?.trim().parse().ok(),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_the_real_uid_count() {
        let status = "Name:\tUid:\nState:\tS\nUid:\t5\t0\t5\t5\nGid:\t0\t0\t0\t0\nThreads:\t3\n";
        assert_eq!(tasks(status, 5), Some(3));
        assert_eq!(tasks(status, 0), None);
        assert_eq!(tasks("Name:\tx\n", 5), None);
        assert!(
            tasks_of(nix::unistd::getuid().as_raw()) > 0,
            "this one at least"
        );
    }
}
