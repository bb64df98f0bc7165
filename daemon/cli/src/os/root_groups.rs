//! Lists groups with power equal or close to root. enroll refuses accounts in such a group, and doctor reports them.

const GROUPS: &[(&str, &str)] = &[
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

pub fn why(group: &str) -> Option<&'static str> {
    let found = GROUPS.iter().find(|(name, _)| *name == group);
    found.map(|(_, why)| *why)
}
