//! Where files lie that decide what runs, who may do what, and whether the machine can be reached.

use crate::PlanPath;
use crate::risk::Risk;

/// What lies at or beneath these paths has this effect.
pub(crate) const WHERE: &[(&str, Risk)] = &[
    ("/etc/sudoers", Risk::Sudo),
    ("/etc/sudoers.d", Risk::Sudo),
    ("/etc/doas.conf", Risk::Sudo),
    ("/etc/polkit-1", Risk::Sudo),
    ("/usr/share/polkit-1", Risk::Sudo),
    ("/etc/dbus-1", Risk::Sudo),
    ("/usr/share/dbus-1", Risk::Sudo),
    ("/etc/pam.d", Risk::Pam),
    ("/etc/pam.conf", Risk::Pam),
    ("/etc/security", Risk::Pam),
    ("/etc/nsswitch.conf", Risk::Pam),
    ("/etc/nologin", Risk::Pam),
    ("/etc/login.defs", Risk::Pam),
    ("/etc/shells", Risk::Pam),
    ("/etc/sssd", Risk::Pam),
    ("/etc/krb5.conf", Risk::Pam),
    ("/etc/ssh", Risk::Sshd),
    ("/etc/default/ssh", Risk::Sshd),
    ("/etc/hosts.equiv", Risk::Sshd),
    ("/etc/shadow", Risk::Passwords),
    ("/etc/gshadow", Risk::Passwords),
    ("/etc/passwd", Risk::Accounts),
    ("/etc/group", Risk::Accounts),
    ("/etc/subuid", Risk::Accounts),
    ("/etc/subgid", Risk::Accounts),
    ("/var/lib/extrausers", Risk::Accounts),
    ("/etc/userdb", Risk::Accounts),
    ("/usr/local/lib/userdb", Risk::Accounts),
    ("/usr/lib/userdb", Risk::Accounts),
    ("/lib/userdb", Risk::Accounts),
    ("/etc/crontab", Risk::RunsByItself),
    ("/etc/anacrontab", Risk::RunsByItself),
    ("/etc/cron.allow", Risk::RunsByItself),
    ("/etc/cron.d", Risk::RunsByItself),
    ("/etc/at.allow", Risk::RunsByItself),
    ("/var/spool/at", Risk::RunsByItself),
    ("/root/.bashrc", Risk::RunsByItself),
    ("/root/.bash_profile", Risk::RunsByItself),
    ("/root/.profile", Risk::RunsByItself),
    ("/root/.bash_login", Risk::RunsByItself),
    ("/root/.zshrc", Risk::RunsByItself),
    ("/etc/cron.hourly", Risk::RunsByItself),
    ("/etc/cron.daily", Risk::RunsByItself),
    ("/etc/cron.weekly", Risk::RunsByItself),
    ("/etc/cron.monthly", Risk::RunsByItself),
    ("/var/spool/cron", Risk::RunsByItself),
    ("/etc/systemd", Risk::RunsByItself),
    ("/usr/lib/systemd", Risk::RunsByItself),
    ("/lib/systemd", Risk::RunsByItself),
    ("/usr/local/lib/systemd", Risk::RunsByItself),
    ("/etc/tmpfiles.d", Risk::RunsByItself),
    ("/usr/lib/tmpfiles.d", Risk::RunsByItself),
    ("/etc/init.d", Risk::RunsByItself),
    ("/etc/rc.local", Risk::RunsByItself),
    ("/etc/udev", Risk::RunsByItself),
    ("/usr/lib/udev", Risk::RunsByItself),
    ("/etc/logrotate.d", Risk::RunsByItself),
    ("/etc/apt/apt.conf", Risk::RunsByItself),
    ("/etc/apt/apt.conf.d", Risk::RunsByItself),
    ("/etc/profile", Risk::Login),
    ("/etc/profile.d", Risk::Login),
    ("/etc/bash.bashrc", Risk::Login),
    ("/etc/bashrc", Risk::Login),
    ("/etc/zsh", Risk::Login),
    ("/etc/zshrc", Risk::Login),
    ("/etc/zshenv", Risk::Login),
    ("/etc/environment", Risk::Login),
    ("/etc/ld.so.preload", Risk::Loader),
    ("/etc/ld.so.conf", Risk::Loader),
    ("/etc/ld.so.conf.d", Risk::Loader),
    ("/etc/ld.so.cache", Risk::Loader),
    ("/boot", Risk::Boot),
    ("/efi", Risk::Boot),
    ("/etc/default/grub", Risk::Boot),
    ("/etc/default/grub.d", Risk::Boot),
    ("/etc/fstab", Risk::Boot),
    ("/etc/crypttab", Risk::Boot),
    ("/etc/modules", Risk::Boot),
    ("/etc/modules-load.d", Risk::Boot),
    ("/etc/modprobe.d", Risk::Boot),
    ("/etc/initramfs-tools", Risk::Boot),
    ("/etc/dracut.conf.d", Risk::Boot),
    ("/lib/modules", Risk::Boot),
    ("/usr/lib/modules", Risk::Boot),
    ("/etc/network", Risk::Network),
    ("/etc/netplan", Risk::Network),
    ("/etc/NetworkManager", Risk::Network),
    ("/etc/sysconfig/network-scripts", Risk::Network),
    ("/etc/systemd/network", Risk::Network),
    ("/etc/systemd/networkd.conf", Risk::Network),
    ("/etc/systemd/resolved.conf", Risk::Network),
    ("/etc/resolv.conf", Risk::Network),
    ("/etc/dhcp", Risk::Network),
    ("/etc/dhcpcd.conf", Risk::Network),
    ("/etc/wpa_supplicant", Risk::Network),
    ("/etc/wireguard", Risk::Network),
    ("/etc/sysctl.conf", Risk::Network),
    ("/etc/sysctl.d", Risk::Network),
    ("/etc/nftables.conf", Risk::Network),
    ("/etc/nftables.d", Risk::Network),
    ("/etc/nftables", Risk::Network),
    ("/etc/iptables", Risk::Network),
    ("/etc/firewalld", Risk::Network),
    ("/etc/ufw", Risk::Network),
    ("/etc/default/ufw", Risk::Network),
    ("/etc/fail2ban", Risk::Network),
    ("/etc/hosts.allow", Risk::Network),
    ("/etc/hosts.deny", Risk::Network),
    ("/etc/sudo.conf", Risk::Sudo),
    ("/usr/local/share/polkit-1", Risk::Sudo),
    ("/usr/local/share/dbus-1", Risk::Sudo),
    ("/usr/lib/pam.d", Risk::Pam),
    ("/usr/lib/sysusers.d", Risk::Accounts),
    ("/etc/sysusers.d", Risk::Accounts),
    ("/usr/local/lib/tmpfiles.d", Risk::RunsByItself),
    ("/usr/local/lib/udev", Risk::RunsByItself),
    ("/etc/logrotate.conf", Risk::RunsByItself),
    ("/etc/update-motd.d", Risk::RunsByItself),
    ("/etc/containers/systemd", Risk::RunsByItself),
    ("/etc/dpkg/dpkg.cfg", Risk::RunsByItself),
    ("/etc/dpkg/dpkg.cfg.d", Risk::RunsByItself),
    ("/etc/rc.d", Risk::RunsByItself),
    ("/etc/rcS.d", Risk::RunsByItself),
    ("/etc/rc2.d", Risk::RunsByItself),
    ("/etc/rc3.d", Risk::RunsByItself),
    ("/etc/rc5.d", Risk::RunsByItself),
    ("/etc/rc0.d", Risk::RunsByItself),
    ("/etc/rc1.d", Risk::RunsByItself),
    ("/etc/rc4.d", Risk::RunsByItself),
    ("/etc/rc6.d", Risk::RunsByItself),
    ("/etc/ppp", Risk::RunsByItself),
    ("/etc/aliases", Risk::RunsByItself),
    ("/etc/rsyslog.d", Risk::RunsByItself),
    ("/etc/rsyslog.conf", Risk::RunsByItself),
    ("/root/.config", Risk::RunsByItself),
    ("/etc/environment.d", Risk::Login),
    ("/etc/csh.cshrc", Risk::Login),
    ("/etc/csh.login", Risk::Login),
    ("/etc/skel", Risk::Login),
    ("/etc/grub.d", Risk::Boot),
    ("/etc/kernel", Risk::Boot),
    ("/etc/dracut.conf", Risk::Boot),
    ("/usr/lib/modprobe.d", Risk::Boot),
    ("/usr/lib/modules-load.d", Risk::Boot),
    ("/usr/lib/NetworkManager", Risk::Network),
    ("/usr/lib/sysctl.d", Risk::Network),
];

/// Shells and mail servers run what is in these, whosever home they lie in.
const STARTUP: [&str; 22] = [
    ".bash_aliases",
    ".bash_login",
    ".bash_logout",
    ".bash_profile",
    ".bashrc",
    ".cshrc",
    ".forward",
    ".kshrc",
    ".login",
    ".logout",
    ".pam_environment",
    ".procmailrc",
    ".profile",
    ".tcshrc",
    ".xprofile",
    ".xsession",
    ".xsessionrc",
    ".zlogin",
    ".zlogout",
    ".zprofile",
    ".zshenv",
    ".zshrc",
];

/// Directories in `.config`.
const STARTED: [&str; 3] = ["autostart", "environment.d", "systemd"];

/// Returns true for a file that runs when its user logs in.
pub(crate) fn is_startup(path: &PlanPath) -> bool {
    STARTUP.iter().any(|name| path.name() == name.as_bytes())
}

/// Returns true for a hidden file or directory of a home, /root or /home/USER, and for what lies beneath it; in other homes
/// for what a user's service manager and desktop start.
pub(crate) fn is_hidden_in_home(path: &PlanPath) -> bool {
    let starts = |part: &[u8]| STARTED.iter().any(|name| part == name.as_bytes());
    let mut beneath = path.as_bytes().split(|byte| *byte == b'/');
    if beneath.any(|part| part == b".config") && beneath.next().is_some_and(starts) {
        return true;
    }
    let mut parts = path.as_bytes().split(|byte| *byte == b'/').skip(1);
    match parts.next() {
        Some(b"root") => {}
        Some(b"home") if parts.next().is_some() => {}
        _ => return false,
    }
    parts.next().is_some_and(|part| part.starts_with(b"."))
}

/// Returns true if this path alone is a risk.
pub(crate) fn decides(path: &PlanPath) -> bool {
    path.holds_login_keys() || is_startup(path) || is_hidden_in_home(path) || is_listed(path)
}

/// Returns true if it lies at or beneath a path of [`WHERE`].
pub(crate) fn is_listed(path: &PlanPath) -> bool {
    WHERE.iter().any(|(at, _)| path.is_in(at.as_bytes()))
}
