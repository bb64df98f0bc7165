//! Compares names of packages. A package has several spellings that apt-get(8) and dnf(8) accept. A rule that denies
//! or asks for an approval is about all of them.

use crate::model::glob::Glob;

/// Architectures that RPM writes after a dot (rpm(8), `rpm --showrc`).
const RPM: [&str; 18] = [
    "noarch",
    "src",
    "x86_64",
    "x86_64_v2",
    "x86_64_v3",
    "i386",
    "i486",
    "i586",
    "i686",
    "athlon",
    "aarch64",
    "armv7hl",
    "armv7l",
    "ppc64",
    "ppc64le",
    "s390x",
    "riscv64",
    "loongarch64",
];

/// Strips the architecture: `openssl` of `openssl:amd64` and of `openssl.x86_64`.
fn name(text: &str) -> &str {
    let text = text.split_once(':').map_or(text, |(name, _)| name);
    match text.rsplit_once('.') {
        Some((name, arch)) if RPM.contains(&arch) => name,
        _ => text,
    }
}

/// Returns true if a pattern is about a package in any spelling, with or without architecture. A pattern with an
/// architecture includes the package without one, which may be of that architecture.
pub(crate) fn is_about(glob: &Glob, value: &str) -> bool {
    let (plain, pattern) = (name(value), name(glob.as_str()));
    let is_native = plain == value && pattern != glob.as_str();
    glob.matches(value) || glob.matches(plain) || (is_native && Glob::new(pattern).matches(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q05_package_matches_in_every_spelling() {
        for (pattern, value, expect) in [
            ("auditd", "auditd", true),
            ("auditd", "auditd:amd64", true),
            ("auditd", "auditd.x86_64", true),
            ("audit*", "auditd.noarch", true),
            ("auditd:amd64", "auditd", true),
            ("auditd:amd64", "auditd:amd64", true),
            ("auditd.x86_64", "auditd", true),
            ("auditd:amd64", "auditd:i386", false),
            ("auditd", "auditd-plugins", false),
            ("auditd", "auditd.d", false),
            ("python3", "python3.11", false),
            ("python3.11", "python3.11:amd64", true),
        ] {
            assert_eq!(
                is_about(&Glob::new(pattern), value),
                expect,
                "{pattern} {value}"
            );
        }
    }
}
