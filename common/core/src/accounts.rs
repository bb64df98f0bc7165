//! Groups that are close to root, and tables of passwords as a copy of the machine has them: without hashes. shadow(5),
//! gshadow(5).

use std::borrow::Cow;

/// Position of the password in a line.
pub const PASSWORD: usize = 1;

/// Groups with power equal or close to root, and why.
pub const ROOT_GROUPS: &[(&str, &str)] = &[
    ("root", "may write what group root may"),
    ("sudo", "sudo makes its members root"),
    ("wheel", "sudo and su make its members root"),
    ("admin", "sudo makes its members root"),
    (
        "docker",
        "the docker daemon runs anything as root for its members",
    ),
    (
        "lxd",
        "its members start containers that are root on the host",
    ),
    (
        "incus",
        "its members start containers that are root on the host",
    ),
    (
        "incus-admin",
        "its members start containers that are root on the host",
    ),
    (
        "microk8s",
        "its members start containers that are root on the host",
    ),
    (
        "libvirt",
        "its members start virtual machines that have the host's disks",
    ),
    (
        "dockerroot",
        "the docker daemon runs anything as root for its members",
    ),
    ("google-sudoers", "sudo makes its members root"),
    (
        "lpadmin",
        "its members change what the printing service runs as root",
    ),
    (
        "netdev",
        "its members change the network of the machine, by NetworkManager too",
    ),
    ("ssh_keys", "its members read the machine's private keys"),
    ("ssl-cert", "its members read private keys of services"),
    ("wireshark", "its members read all traffic of the machine"),
    ("input", "its members read what is typed at the console"),
    ("disk", "its members write the disks under the file systems"),
    ("kmem", "its members read the memory of the kernel"),
    ("shadow", "its members read the hashes of passwords"),
    (
        "staff",
        "its members write /usr/local, from which root runs programs",
    ),
];

/// What a copy has in place of a password with which somebody could log in.
pub const NO_PASSWORD: &[u8] = b"!";

/// Returns what a copy has in place of this password. What nobody can log in with stays.
fn shown_password(password: &[u8]) -> &[u8] {
    let is_locked = !password.is_empty() && password.iter().all(|byte| b"!*".contains(byte));
    if is_locked { password } else { NO_PASSWORD }
}

/// Returns the line of an account as a copy has it; an empty one for a line of no account.
#[must_use]
pub fn shown_line(line: &[u8]) -> Cow<'_, [u8]> {
    let Some(password) = line.split(|byte| *byte == b':').nth(PASSWORD) else {
        return Cow::Borrowed(b"");
    };
    match shown_password(password) {
        shown if shown == password => Cow::Borrowed(line),
        shown => Cow::Owned(with_password(line, shown)),
    }
}

/// Returns the line of an account with another password.
#[must_use]
pub fn with_password(line: &[u8], password: &[u8]) -> Vec<u8> {
    let mut fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
    if let Some(own) = fields.get_mut(PASSWORD) {
        *own = password;
    }
    fields.join(&b':')
}

/// Returns the table as a copy has it.
#[must_use]
pub fn shown_table(table: &[u8]) -> Vec<u8> {
    let lines: Vec<Cow<'_, [u8]>> = table.split(|byte| *byte == b'\n').map(shown_line).collect();
    lines.join(&b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_hash_of_a_password_is_shown() {
        let table = b"root:$y$j9T$abc:19000:0:99999:7:::\nbin:*:19000::::::\nsync:!*:1::::::\nopen::1::::::\nold:!$6$x:1::::::\n";
        let want = b"root:!:19000:0:99999:7:::\nbin:*:19000::::::\nsync:!*:1::::::\nopen:!:1::::::\nold:!:1::::::\n";
        assert_eq!(shown_table(table), want);
        assert_eq!(shown_table(b"HASH\na:*"), b"\na:*");
    }
}
