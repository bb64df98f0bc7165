//! Options of ssh(1) for a host that is not believed.

/// The host gets no agent, ticket, display, port or tunnel of the user, and runs the command of this program. ssh(1), ssh_config(5); all
/// of OpenSSH 7.6 or older.
pub const CONFINED: [&str; 10] = [
    "-T",
    "-a",
    "-k",
    "-x",
    "-o",
    "ClearAllForwardings=yes",
    "-o",
    "Tunnel=no",
    "-o",
    "RemoteCommand=none",
];
