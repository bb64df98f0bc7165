//! Names of dpkg in a plan: its files about packages, and the words that are a name or a version.

/// Files of dpkg about each package, and the endings of those that it runs.
pub const INFO: &[u8] = b"/var/lib/dpkg/info";
pub(crate) const SCRIPTS: [&str; 5] = [".config", ".postinst", ".postrm", ".preinst", ".prerm"];
/// Bytes of the name and of the version of a package.
pub const WORD: usize = 64;

/// Returns a name or a version of deb-control(5) and deb-version(7), with an architecture or an epoch.
#[must_use]
pub fn word(bytes: &[u8]) -> Option<&str> {
    let is_of_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.:~".contains(byte);
    let begins = bytes.first().is_some_and(u8::is_ascii_alphanumeric);
    let is_word = begins && bytes.len() <= WORD && bytes.iter().all(is_of_word);
    is_word.then(|| str::from_utf8(bytes).ok()).flatten()
}
