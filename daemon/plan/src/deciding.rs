//! Where files lie that decide what runs, who may do what, and whether the machine can be reached.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::LazyLock;

use crate::PlanPath;
use crate::risk::Risk;

/// What lies at or beneath these paths has this effect. A name without a slash before it is that of a directory or file in each
/// of [`SETTINGS`].
const WHERE: &[(Risk, &str)] = &[
    (
        Risk::Sudo,
        "/etc/sudoers /etc/sudoers.d /etc/sudo.conf /etc/sudo-ldap.conf /etc/doas.conf polkit-1 dbus-1 /var/lib/polkit-1",
    ),
    (Risk::Preload, "/etc/ld.so.preload"),
    (
        Risk::Pam,
        "/etc/pam.d /usr/lib/pam.d /etc/pam.conf pam-configs /etc/security /etc/nsswitch.conf /etc/nologin /etc/login.defs \
         /etc/shells /etc/sssd /etc/krb5.conf /etc/krb5.conf.d /etc/krb5.keytab /etc/nslcd.conf /etc/libnss-ldap.conf \
         /etc/pam_ldap.conf /etc/ldap.conf /etc/ldap.secret /etc/ldap/ldap.conf /etc/openldap/ldap.conf",
    ),
    (Risk::Sshd, "/etc/ssh /etc/default/ssh /etc/hosts.equiv"),
    (Risk::Passwords, "/etc/shadow /etc/gshadow"),
    (
        Risk::Accounts,
        "/etc/passwd /etc/group /etc/subuid /etc/subgid /var/lib/extrausers userdb sysusers.d /etc/adduser.conf \
         /etc/deluser.conf /etc/default/useradd",
    ),
    (
        Risk::Cron,
        "/etc/crontab /etc/anacrontab /etc/fcrontab /etc/cron.allow /etc/cron.deny /etc/cron.d /etc/cron.hourly \
         /etc/cron.daily /etc/cron.weekly /etc/cron.monthly /etc/cron.yearly /etc/at.allow /etc/at.deny /var/spool/at \
         /var/spool/cron /var/spool/anacron /var/spool/fcron",
    ),
    (
        Risk::Unit,
        "systemd xdg/systemd containers/systemd /var/lib/systemd/linger extensions /var/lib/extensions \
         /var/lib/extensions.mutable /run/extensions confexts /var/lib/confexts /run/confexts portables /var/lib/portables \
         /run/portables",
    ),
    (
        Risk::UnitSource,
        "/etc/fstab /etc/crypttab /etc/veritytab /etc/integritytab /system-update /etc/system-update /etc/zfs /etc/lvm /etc/nfs.conf \
         /etc/nfs.conf.d /etc/postgresql /etc/postgresql-common /etc/multipath.conf /etc/multipath",
    ),
    (
        Risk::RunsByItself,
        "/root/.bashrc /root/.bash_profile /root/.profile /root/.bash_login /root/.zshrc /root/.config tmpfiles.d credstore \
         credstore.encrypted /run/credstore /run/credstore.encrypted udev \
         binfmt.d binfmts /var/lib/binfmts /etc/init.d /etc/inittab /etc/init /etc/sv /etc/service /etc/runit /etc/rc.local \
         /etc/rc.d /etc/rcS.d /etc/rc0.d /etc/rc1.d /etc/rc2.d /etc/rc3.d /etc/rc4.d /etc/rc5.d /etc/rc6.d \
         /usr/lib/lsb/init-functions.d /etc/inetd.conf /etc/inetd.d /etc/xinetd.conf /etc/xinetd.d /etc/logrotate.d \
         /etc/logrotate.conf /etc/apt/apt.conf /etc/apt/apt.conf.d /etc/dpkg/dpkg.cfg /etc/dpkg/dpkg.cfg.d \
         /etc/update-motd.d /etc/ppp /etc/aliases /etc/rsyslog.d /etc/rsyslog.conf /etc/incron.d /etc/incron.conf \
         /var/spool/incron networkd-dispatcher NetworkManager/dispatcher.d /etc/network/if-pre-up.d /etc/network/if-up.d \
         /etc/network/if-down.d /etc/network/if-post-down.d dhcpcd /etc/dhcpcd.enter-hook /etc/dhcpcd.exit-hook \
         /etc/resolvconf /etc/acpi /etc/pm pm-utils /var/lib/cloud/scripts /var/lib/cloud/seed /etc/ca-certificates/update.d \
         /etc/letsencrypt/cli.ini /etc/letsencrypt/renewal /etc/letsencrypt/renewal-hooks /etc/request-key.conf \
         /etc/request-key.d /etc/etckeeper /etc/.git/hooks /etc/.git/config /etc/libvirt/hooks /etc/needrestart",
    ),
    (
        Risk::Commands,
        "/etc/default /etc/sysconfig /etc/audit/plugins.d /etc/openvpn /etc/ipsec.conf /etc/strongswan.conf \
         /etc/strongswan.d /etc/swanctl /etc/smartd.conf /etc/smartmontools /etc/mdadm /etc/mdadm.conf /etc/apcupsd /etc/nut \
         /etc/cloud /etc/monit /etc/monitrc /etc/supervisor /etc/supervisord.conf /etc/supervisord.d /etc/puppet \
         /etc/puppetlabs /etc/salt /etc/snmp /etc/munin /etc/nagios /etc/zabbix /etc/collectd /etc/syslog-ng /etc/exim \
         /etc/exim4 /etc/postfix /etc/rsyncd.conf /etc/samba /etc/cups /etc/keepalived /etc/libvirt /etc/docker \
         /etc/containerd containers /etc/cni /etc/lxc /etc/autofs.conf /etc/auto.master /etc/auto.master.d /etc/auto.misc \
         /etc/auto.net /etc/auto.smb /etc/ucf.conf /etc/debconf.conf",
    ),
    (
        Risk::Packages,
        "/etc/apt keyrings /etc/yum.conf /etc/yum.repos.d /etc/yum /etc/dnf /etc/zypp /etc/rpm /etc/pki/rpm-gpg \
         /var/lib/dpkg/diversions /var/lib/dpkg/statoverride /var/lib/dpkg/alternatives",
    ),
    (
        Risk::Login,
        "/etc/profile /etc/profile.d /etc/bash.bashrc /etc/bashrc /etc/zsh /etc/zshrc /etc/zshenv /etc/environment \
         environment.d /etc/csh.cshrc /etc/csh.login /etc/skel",
    ),
    (
        Risk::Boot,
        "/boot /efi /etc/default/grub /etc/default/grub.d /etc/grub.d /etc/fstab /etc/crypttab /etc/veritytab \
         /etc/integritytab /system-update /etc/system-update /etc/modules modules-load.d \
         modprobe.d /usr/lib/modules /etc/initramfs-tools /usr/share/initramfs-tools /etc/dracut.conf dracut.conf.d \
         /usr/lib/dracut kernel",
    ),
    (
        Risk::Network,
        "/etc/network /etc/netplan NetworkManager /etc/sysconfig/network-scripts /etc/systemd/network \
         /etc/systemd/networkd.conf /etc/systemd/resolved.conf /etc/resolv.conf /etc/dhcp /etc/dhcpcd.conf \
         /etc/wpa_supplicant /etc/wireguard /etc/sysctl.conf sysctl.d /etc/nftables.conf /etc/nftables.d /etc/nftables \
         /etc/iptables /etc/firewalld /etc/ufw /etc/default/ufw /etc/fail2ban /etc/hosts.allow /etc/hosts.deny",
    ),
    (
        Risk::LoaderSettings,
        "/etc/ld.so.conf /etc/ld.so.conf.d /etc/ld.so.cache ssl/openssl.cnf pki/tls/openssl.cnf /etc/pkcs11 /etc/gss/mech.d \
         /usr/share/p11-kit/modules",
    ),
    (
        Risk::Shares,
        "/etc/exports /etc/exports.d /etc/samba /etc/rsyncd.conf",
    ),
    (
        Risk::Shell,
        "/etc/bash_completion /etc/bash_completion.d /etc/bash.bash_logout /etc/fish /etc/ksh.kshrc /etc/mkshrc /etc/inputrc \
         /etc/vim /etc/vimrc /etc/emacs /etc/nanorc /etc/screenrc /etc/tmux.conf /etc/mailcap /etc/gdb /etc/gitconfig \
         /usr/share/git-core/templates /etc/X11 /etc/lightdm /etc/gdm3 /etc/gdm /etc/xdg/autostart",
    ),
    (Risk::Names, "/etc/hosts /etc/host.conf /etc/gai.conf"),
    (
        Risk::Trust,
        "ssl/certs ca-certificates /etc/ca-certificates.conf /etc/pki/ca-trust /etc/pki/tls/certs",
    ),
    (
        Risk::Guards,
        "apparmor apparmor.d selinux /var/lib/selinux /etc/audit",
    ),
    (
        Risk::Loader,
        "/etc/perl bash-completion fish zsh vim/vimfiles nvim perl5 perl /usr/lib/cups/backend",
    ),
];

/// Other paths that generators read (systemd.generator(7)): what they decide is said by a stronger word in [`WHERE`].
const FOR_GENERATORS: &str = "/etc/init.d /etc/rc.d /etc/rc.local /etc/rcS.d /etc/rc0.d /etc/rc1.d /etc/rc2.d /etc/rc3.d \
     /etc/rc4.d /etc/rc5.d /etc/rc6.d /etc/netplan /etc/cloud /etc/openvpn /etc/default /etc/sysconfig /etc/exports \
     /etc/exports.d /etc/kernel/cmdline";

/// Directories in which programs have their settings. The one of the machine comes first: there all is one.
const SETTINGS: [&str; 7] = [
    "/etc",
    "/usr/local/etc",
    "/usr/etc",
    "/usr/lib",
    "/usr/share",
    "/usr/local/lib",
    "/usr/local/share",
];
const OF_MACHINE: usize = 3;

/// Programs and what they load lie in these.
const PROGRAMS: [&[u8]; 3] = [b"/usr", b"/opt", b"/lib"];
const DOCUMENTS: &[u8] = b"/usr/share/doc";
const CODE: [&str; 13] = [
    ".el", ".jar", ".js", ".lua", ".php", ".pl", ".pm", ".py", ".pyc", ".rb", ".sh", ".tcl", ".vim",
];

/// By the paths of [`WHERE`], as [`as_merged`] has them.
static TABLE: LazyLock<HashMap<Vec<u8>, BTreeSet<Risk>>> = LazyLock::new(|| {
    let mut table: HashMap<Vec<u8>, BTreeSet<Risk>> = HashMap::new();
    for (path, risk) in deciding_paths() {
        let path = as_merged(path.as_bytes()).to_vec();
        table.entry(path).or_default().insert(risk.clone());
    }
    table
});

/// Directories with a path of [`WHERE`] beneath them by which people log in.
static ABOVE: LazyLock<HashSet<Vec<u8>>> = LazyLock::new(|| {
    let deciding = deciding_paths().filter(|(_, risk)| risk.is_of_logins());
    let above = |(path, _): (String, _)| {
        let path = path.into_bytes();
        let ends = path.iter().enumerate().skip(1);
        let ends = ends.filter(|(_, byte)| **byte == b'/');
        let above = ends.filter_map(|(end, _)| path.get(..end));
        let above: Vec<_> = above.map(|dir| as_merged(dir).to_vec()).collect();
        above
    };
    deciding.flat_map(above).collect()
});

/// Returns the paths of the table with their risks: what lies at or beneath one has it. Some are there twice.
pub fn deciding_paths() -> impl Iterator<Item = (String, &'static Risk)> {
    WHERE.iter().flat_map(|(risk, paths)| {
        let expand = |path: &'static str| {
            let all = match path.starts_with('/') {
                true => vec![path.to_owned()],
                false => SETTINGS.map(|dir| format!("{dir}/{path}")).to_vec(),
            };
            all.into_iter()
        };
        let all = paths.split_ascii_whitespace().flat_map(expand);
        all.map(move |path| (path, risk))
    })
}

/// Returns a path without `/usr` before `lib` and such: on most machines the one leads to the other.
pub(crate) fn as_merged(path: &[u8]) -> &[u8] {
    let merged = [
        &b"/bin"[..],
        b"/lib",
        b"/lib32",
        b"/lib64",
        b"/libx32",
        b"/sbin",
    ];
    match path.strip_prefix(b"/usr") {
        Some(rest) if merged.iter().any(|dir| is_beneath(rest, dir)) => rest,
        _ => path,
    }
}

fn is_beneath(path: &[u8], dir: &[u8]) -> bool {
    let rest = path.strip_prefix(dir);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// Returns what the paths decide at or beneath which it lies.
pub(crate) fn listed(path: &PlanPath) -> impl Iterator<Item = &'static Risk> {
    let all = std::iter::once(path.as_bytes()).chain(path.ancestors());
    let found = all.filter_map(|path| TABLE.get(as_merged(path)));
    found.flatten()
}

/// Returns what a path decides: by where it lies, by its name, and if nothing is known, by the directory of all settings.
pub(crate) fn by_path(path: &PlanPath) -> impl Iterator<Item = &'static Risk> {
    let mut known = listed(path).chain(by_name(path)).peekable();
    let mut settings = SETTINGS.iter().take(OF_MACHINE);
    let is_other = known.peek().is_none() && settings.any(|dir| path.is_in(dir.as_bytes()));
    known.chain(is_other.then_some(&Risk::Settings))
}

/// Returns true if a generator of the service manager reads it, as far as its path says.
pub(crate) fn makes_units(path: &PlanPath) -> bool {
    let mut others = FOR_GENERATORS.split_ascii_whitespace();
    listed(path).any(|risk| *risk == Risk::UnitSource)
        || others.any(|other| path.is_in(other.as_bytes()))
}

fn by_name(path: &PlanPath) -> Option<&'static Risk> {
    let name = path.name();
    let is_in = |dirs: &[&[u8]]| dirs.iter().any(|dir| path.is_in(dir));
    let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end.as_bytes()));
    let is_of_python = || {
        let mut parts = path.as_bytes().split(|byte| *byte == b'/');
        parts.any(|part| [&b"dist-packages"[..], b"site-packages"].contains(&part))
    };
    // Python runs these whenever it starts, glibc reads these for other character sets.
    let is_loaded_always = [&b"sitecustomize.py"[..], b"usercustomize.py"].contains(&name)
        || name.starts_with(b"gconv-modules")
        || name.ends_with(b".pth") && is_of_python();
    // `.so.1`, and no `ld.so.conf`
    let is_library = name.ends_with(b".so")
        || name
            .windows(5)
            .any(|part| part.starts_with(b".so.") && part.last().is_some_and(u8::is_ascii_digit));
    let is_of_dpkg = path.parent() == crate::dpkg::INFO;
    match () {
        () if is_loaded_always => Some(&Risk::LoaderSettings),
        () if is_library => Some(&Risk::Loader),
        () if is_in(&PROGRAMS) && !is_in(&[DOCUMENTS]) && ends(&CODE) => Some(&Risk::Loader),
        () if is_of_dpkg && ends(&crate::dpkg::SCRIPTS) => Some(&Risk::PackageScript),
        () if path.is_in(b"/var/lib/lxc") && name == b"config" => Some(&Risk::Commands),
        () => None,
    }
}

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

/// Returns true for such a file near to the home: further down are caches and what tools have installed.
pub(crate) fn is_setting_in_home(path: &PlanPath) -> bool {
    let mut parts = path.as_bytes().split(|byte| *byte == b'/');
    let is_config = parts.clone().any(|part| part == b".config");
    let beneath = parts.by_ref().skip_while(|part| !part.starts_with(b"."));
    is_hidden_in_home(path) && (is_config || beneath.count() <= 2)
}

/// Returns true if this path alone is a risk.
pub(crate) fn decides(path: &PlanPath) -> bool {
    path.holds_login_keys()
        || is_startup(path)
        || is_hidden_in_home(path)
        || listed(path).next().is_some()
}

/// Returns true if a path of [`WHERE`] by which people log in lies beneath it.
pub(crate) fn is_above_logins(path: &PlanPath) -> bool {
    ABOVE.contains(as_merged(path.as_bytes()))
}
