//! Reports whether SELinux enforces a policy, and in which domain the daemon runs. It judges no policy: remit ships no module
//! of SELinux (ADR 26). It changes nothing.

use std::path::Path;

use super::file_facts::read_text;
use super::report::Check;

const NAME: &str = "selinux";
/// Domains that a distribution's policy leaves alone: what systemd starts from a program without a policy of its own, by
/// Fedora's policy and by Debian's, and a login as root.
const FREE: [&str; 3] = ["unconfined_service_t", "initrc_t", "unconfined_t"];

/// Returns `None` if the kernel has no SELinux, or has it switched off. `root` is the machine's root directory, `pid` the daemon.
pub fn domain_of(root: &Path, pid: u32) -> Option<Check> {
    let enforce = match read_text(&root.join("sys/fs/selinux/enforce")) {
        Ok(None) => return None,
        Ok(Some(text)) => text,
        Err(error) => {
            let why = format!("cannot read '/sys/fs/selinux/enforce': {error}");
            return Some(Check::warning(NAME, why, "getenforce"));
        }
    };
    let is_enforcing = enforce.trim() != "0";
    let context = read_text(&root.join(format!("proc/{pid}/attr/current")));
    let context = context.ok().flatten().unwrap_or_default();
    let context = context.trim_end_matches(['\0', '\n']);
    let domain = context.split(':').nth(2).filter(|name| !name.is_empty());
    Some(match (is_enforcing, domain) {
        (false, domain) => Check::ok(
            NAME,
            format!(
                "permissive, refuses nothing; remitd runs in domain {}",
                domain.unwrap_or("unknown")
            ),
        ),
        (true, Some(domain)) if FREE.contains(&domain) => Check::ok(
            NAME,
            format!("enforcing; remitd runs in domain {domain}, which it leaves alone"),
        ),
        (true, Some(domain)) => Check::warning(
            NAME,
            format!(
                "enforcing; remitd runs in domain {domain}, for which remit has no policy: jobs, approved changes and clients \
                 may be refused by SELinux"
            ),
            "restorecon -RFv /usr/libexec/remit, then: systemctl restart remitd; what was refused: ausearch -m AVC -ts boot",
        ),
        (true, None) => Check::warning(
            NAME,
            "enforcing; the domain of remitd cannot be read",
            format!("sudo cat /proc/{pid}/attr/current"),
        ),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::checks::report::Verdict;

    /// The verdict and its text on a machine with these two files.
    fn found(case: &str, enforce: Option<&str>, context: Option<&str>) -> Option<(char, String)> {
        let root =
            std::env::temp_dir().join(format!("remit-selinux-{case}-{}", std::process::id()));
        let put = |path: &str, text: Option<&str>| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            text.map_or(Ok(()), |text| fs::write(path, text)).unwrap();
        };
        put("sys/fs/selinux/enforce", enforce);
        put("proc/7/attr/current", context);
        put(
            "proc/8/attr/current",
            Some("system_u:system_r:other_t:s0\0"),
        );
        let check = domain_of(&root, 7);
        fs::remove_dir_all(&root).unwrap();
        Some(match check?.verdict {
            Verdict::Ok(found) => ('o', found),
            Verdict::Warning(finding) => ('w', finding.why),
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn machine_without_selinux_has_no_line() {
        assert_eq!(found("none", None, Some("unconfined\n")), None);
    }

    #[test]
    fn enforcing_names_the_domain_and_warns_of_one_that_is_confined() {
        let domain = |case, name| {
            let context = format!("system_u:system_r:{name}:s0-s0:c0.c1023\0");
            found(case, Some("1"), Some(&context)).unwrap()
        };
        let free = "enforcing; remitd runs in domain unconfined_service_t, which it leaves alone";
        assert_eq!(
            domain("free", "unconfined_service_t"),
            ('o', free.to_owned())
        );
        let (verdict, why) = domain("init", "init_t");
        assert_eq!(verdict, 'w');
        assert!(why.starts_with("enforcing; remitd runs in domain init_t, for which"));
    }

    #[test]
    fn permissive_is_no_warning() {
        let context = Some("system_u:system_r:init_t:s0");
        let text = "permissive, refuses nothing; remitd runs in domain init_t";
        assert_eq!(
            found("permissive", Some("0"), context),
            Some(('o', text.to_owned()))
        );
        // Before a policy is loaded.
        let (verdict, text) = found("early", Some("0\n"), Some("kernel\0")).unwrap();
        assert_eq!(
            (verdict, &*text),
            (
                'o',
                "permissive, refuses nothing; remitd runs in domain unknown"
            )
        );
    }

    #[test]
    fn unknown_domain_is_a_warning() {
        for (case, context) in [
            ("absent", None),
            ("empty", Some("\0")),
            ("odd", Some("a:b:")),
        ] {
            let (verdict, why) = found(case, Some("1"), context).unwrap();
            assert_eq!(verdict, 'w', "{case}");
            assert!(
                why.ends_with("the domain of remitd cannot be read"),
                "{why}"
            );
        }
    }
}
