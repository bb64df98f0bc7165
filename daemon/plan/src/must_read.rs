//! What an approver has to read, and so is no upload: at its own path, or where links of the plan lead to, as far as its paths
//! say. Links that are on the machine are not known here.

use crate::codec::PlanError;
use crate::deciding::{by_path, is_setting_in_home, is_startup};
use crate::of_packages::PackageNames;
use crate::risk::{Reading, Risk};
use crate::view::View;
use crate::ways::{Led, LinkWays, target_of};
use crate::{OLD_BYTES, PlanPath};

/// Links that decide beside uploads, at most.
const DECIDING: usize = 1000;
const MANY: &str =
    "the plan has uploads, and too many links that decide who may do what: make two plans";
const FAR: &str = "the plan has uploads, and links that decide who may do what lead to too many other links: make two plans";
const LINKED: &str = "it is a link that decides who may do what, and what it leads to may be an upload of this plan, which nobody \
                      reads: make two plans";
const UPLOADED: &str = "whoever approves reads it, so give it with 'write', not as an upload";

/// Long files in these are no text.
const BINARY: [&str; 7] = [
    "/boot",
    "/efi",
    "/lib/modules",
    "/usr/lib/modules",
    "/etc/ld.so.cache",
    "/etc/udev/hwdb.bin",
    "/usr/lib/udev/hwdb.bin",
];
const TEXT: [&str; 5] = [".cfg", ".conf", ".dep", ".alias", ".softdep"];

/// Returns true if an approver has to read what is in it, whatever else the plan has.
#[must_use]
pub fn is_read(path: &PlanPath, size: u64) -> bool {
    let is_text = TEXT.iter().any(|end| path.name().ends_with(end.as_bytes()));
    let is_binary = !is_text && BINARY.iter().any(|dir| path.is_in(dir.as_bytes()));
    let is_short = size <= OLD_BYTES;
    path.holds_login_keys()
        || is_startup(path)
        || match reading(path) {
            Reading::Whole => !is_binary || is_short,
            Reading::Short => is_short,
            Reading::Hash => false,
        }
}

/// Returns true if what a link here leads to decides as well. A link among other settings leads to a program of a package or to
/// a certificate, mostly.
fn is_strong(path: &PlanPath) -> bool {
    path.holds_login_keys() || is_startup(path) || reading(path) == Reading::Whole
}

fn reading(path: &PlanPath) -> Reading {
    let of_home = is_setting_in_home(path).then_some(Reading::Short);
    let all = by_path(path).map(Risk::reading).chain(of_home);
    all.max().unwrap_or(Reading::Hash)
}

/// Fails for uploads whose content an approver has to read. Its time grows with the plan, and no faster.
pub fn check_uploads(views: &[View<'_>]) -> Result<(), PlanError> {
    let refused = |path: &PlanPath, why| PlanError::Entry {
        path: path.clone(),
        why,
    };
    let mut uploads = views.iter().filter_map(|view| {
        let uploaded = view.entry.change.uploaded()?;
        Some((&view.entry.path, uploaded))
    });
    if uploads.clone().next().is_none() {
        return Ok(());
    }
    let packages = PackageNames::new(views.iter().map(|view| &view.entry.path));
    if let Some((path, _)) = uploads.find(|(path, new)| packages.is_read(path, new.size)) {
        return Err(refused(path, UPLOADED));
    }
    let leads = |view: &&View<'_>| target_of(view).is_some() && is_strong(&view.entry.path);
    let deciding = views.iter().filter(leads);
    let deciding: Vec<&PlanPath> = deciding.map(|view| &view.entry.path).collect();
    if let Some(path) = deciding.get(DECIDING) {
        return Err(refused(path, MANY));
    }
    match LinkWays::new(views).first_led(&deciding) {
        Some((link, Led::ToUpload)) => Err(refused(link, LINKED)),
        Some((link, Led::TooFar)) => Err(refused(link, FAR)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Change, Content, Entry, Metadata, New, Source};
    use crate::{Bundle, Plan, sha256};

    fn made(path: &str, new: New, mode: u32) -> Entry {
        let meta = Metadata {
            mode,
            uid: 0,
            gid: 0,
        };
        Entry {
            path: PlanPath::new(path).unwrap(),
            change: Change::Create { new, meta },
        }
    }

    fn content(bytes: &[u8], is_uploaded: bool) -> Content {
        Content {
            size: bytes.len() as u64,
            sha256: sha256(bytes),
            source: match is_uploaded {
                true => Source::Upload,
                false => Source::Bundle,
            },
            capabilities: None,
            mtime: None,
        }
    }

    /// A plan with these links, with text at `shown`, and with uploads at `uploads`. Returns whether there is one.
    fn is_refused(links: &[(&str, &str)], shown: &[&str], uploads: &[&str]) -> bool {
        let mut entries: Vec<Entry> = links
            .iter()
            .map(|(path, target)| made(path, New::Link(content(target.as_bytes(), false)), 0o777))
            .collect();
        entries.extend(
            shown
                .iter()
                .map(|path| made(path, New::File(content(b"x", false)), 0o644)),
        );
        entries.extend(
            uploads
                .iter()
                .map(|path| made(path, New::File(content(b"u", true)), 0o644)),
        );
        let plan = Plan::new(entries).unwrap();
        let new: Vec<u8> = plan
            .entries()
            .iter()
            .filter(|entry| entry.change.bundled().is_some())
            .flat_map(|entry| {
                let path = entry.path.to_string();
                let link = links.iter().find(|(link, _)| *link == path);
                link.map_or(b"x".to_vec(), |(_, target)| target.as_bytes().to_vec())
            })
            .collect();
        Bundle::new(&plan, &new, b"").is_err()
    }

    #[test]
    fn link_that_decides_leads_to_no_upload_of_its_plan() {
        const UNIT: &str = "/etc/systemd/system/a.service";
        for (links, shown, uploads, expect) in [
            (&[(UNIT, "/srv/x")][..], &[][..], &["/srv/x"][..], true),
            (&[(UNIT, "/srv/x")], &[], &["/srv/y"], false),
            (&[("/srv/a", "/srv/x")], &[], &["/srv/x"], false),
            (&[(UNIT, "../../../srv/./x")], &[], &["/srv/x"], true),
            // By another link of the plan, or a directory that is one.
            (&[(UNIT, "/srv/l"), ("/srv/l", "x")], &[], &["/srv/x"], true),
            (
                &[(UNIT, "/srv/l/x"), ("/srv/l", "/opt")],
                &[],
                &["/opt/x"],
                true,
            ),
            (
                &[(UNIT, "/srv/l"), ("/srv/l", "x")],
                &["/srv/x"],
                &["/srv/y"],
                false,
            ),
            // To a directory with one.
            (&[(UNIT, "/opt/dir")], &[], &["/opt/dir/x"], true),
            (&[(UNIT, "/opt/dir/")], &[], &["/opt/dir/x"], true),
            (&[(UNIT, "../..")], &[], &["/etc/x"], true),
            (&[(UNIT, "/")], &[], &["/srv/x"], true),
            // What lies at a path of the plan is there, whatever has the same name elsewhere.
            (
                &[("/etc/rc2.d/S01a", "../init.d/a")],
                &["/etc/init.d/a"],
                &["/usr/sbin/a"],
                false,
            ),
            (
                &[("/etc/rc2.d/S01a", "../init.d/a")],
                &[],
                &["/usr/sbin/a"],
                true,
            ),
            // A directory of the target may be a link.
            (&[(UNIT, "/srv/l/../a")], &["/srv/a"], &["/opt/a"], true),
            (
                &[(UNIT, "/srv/l/.."), ("/srv/l", "/opt/dir/sub")],
                &[],
                &["/opt/dir/x.conf"],
                true,
            ),
            // Further links where it leads to.
            (
                &[(UNIT, "/opt/dir"), ("/opt/dir/x.conf", "/srv/u")],
                &[],
                &["/srv/u"],
                true,
            ),
            (
                &[(UNIT, "/opt/dir"), ("/opt/dir/x.conf", "/srv/u")],
                &["/opt/dir/y"],
                &["/srv/u"],
                true,
            ),
            // Two links to one unit, as systemctl enable makes them.
            (
                &[
                    (UNIT, "/lib/systemd/system/x.service"),
                    (
                        "/etc/systemd/system/b.wants/x.service",
                        "/lib/systemd/system/x.service",
                    ),
                ],
                &["/usr/lib/systemd/system/x.service"],
                &["/usr/sbin/x"],
                false,
            ),
            (
                &[(UNIT, "b"), ("/etc/systemd/system/b", "a.service")],
                &[],
                &["/srv/x"],
                true,
            ),
            (
                &[(UNIT, "/lib/systemd/system/a.service")],
                &["/usr/lib/systemd/system/a.service"],
                &["/usr/sbin/a"],
                false,
            ),
        ] {
            assert_eq!(
                is_refused(links, shown, uploads),
                expect,
                "{links:?} {uploads:?}"
            );
        }
    }

    #[test]
    fn text_that_decides_is_read_and_long_files_of_a_boot_are_not() {
        let long = OLD_BYTES + 1;
        for (path, size, expect) in [
            ("/srv/app", 1, false),
            ("/srv/app/.ssh/authorized_keys", long, true),
            ("/etc/sudoers.d/x", long, true),
            ("/etc/modprobe.d/x", long, true),
            ("/boot/initrd.img", long, false),
            ("/boot/initrd.img", OLD_BYTES, true),
            ("/boot/grub/grub.cfg", long, true),
            ("/lib/modules/6.1/x.ko", long, false),
            ("/lib/modules/6.1/modules.alias", long, true),
        ] {
            assert_eq!(
                is_read(&PlanPath::new(path).unwrap(), size),
                expect,
                "{path}"
            );
        }
    }

    /// A stranger sends plans, and the daemon reads them before it decides anything.
    #[test]
    fn time_grows_with_the_plan_and_no_faster() {
        let cost = |count: usize| {
            let paths: Vec<(String, String)> = (0..count)
                .map(|n| match n < 500 {
                    true => (
                        format!("/etc/systemd/system/{n:05}.service"),
                        format!("/srv/{n:05}"),
                    ),
                    false => (format!("/srv/{:05}", n - 500), format!("/opt/{n:05}/a")),
                })
                .collect();
            let links: Vec<(&str, &str)> = paths
                .iter()
                .map(|(path, to)| (path.as_str(), to.as_str()))
                .collect();
            let before = cpu_ns();
            assert!(!is_refused(&links, &[], &["/srv/u"]));
            cpu_ns().saturating_sub(before)
        };
        let (few, many) = (cost(600), cost(6000));
        assert!(many < few.saturating_mul(100), "{few} {many}");
    }

    /// Processor time of this thread.
    fn cpu_ns() -> u64 {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        text.split(' ').next().unwrap().parse().unwrap()
    }
}
