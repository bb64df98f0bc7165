//! Pending updates and reboots, from files only. Does not ask a package manager.

use std::cmp::Reverse;
use std::path::Path;

use remit_common::host::{List, Updates};

use crate::read::{self, Gaps, Why};
use crate::sources::Sources;

const MAX_LISTED: usize = 16;

pub(crate) fn gather(at: &Sources, gaps: &mut Gaps) -> Updates {
    let flag = at.run.join("reboot-required");
    let reboot_flag = flag
        .try_exists()
        .map_err(|err| read::cannot("look at", &flag, &err));
    let mut reboot_for: Vec<String> = read::text(&at.run.join("reboot-required.pkgs"), 64 << 10)
        .map(|text| {
            text.lines()
                .filter(|line| !line.is_empty())
                .map(read::shown)
                .collect()
        })
        .unwrap_or_default();
    reboot_for.sort();
    reboot_for.dedup();
    Updates {
        reboot_flag: gaps.known("updates.reboot_flag", reboot_flag),
        reboot_for: List::cut(reboot_for, MAX_LISTED),
        kernels: gaps.known("updates.kernels", kernels(&at.usr.join("lib/modules"))),
        pending: gaps.known("updates.pending", pending(at)),
    }
}

fn kernels(path: &Path) -> Result<List<String>, Why> {
    let mut found = read::entries(path)?;
    // The leftover directory of a removed kernel has no modules.dep.
    found.retain(|kernel| kernel.join("modules.dep").exists());
    found.sort_by_cached_key(|kernel| {
        Reverse(kernel.metadata().and_then(|meta| meta.modified()).ok())
    });
    Ok(List::cut(
        found
            .iter()
            .map(|kernel| read::shown(&read::name(kernel)))
            .collect(),
        MAX_LISTED,
    ))
}

/// Reads the file that Ubuntu's update-notifier keeps for the login message.
fn pending(at: &Sources) -> Result<u64, Why> {
    let path = at.var.join("lib/update-notifier/updates-available");
    let text = read::text(&path, 64 << 10).map_err(
        |_| "no file has it here: ask the package manager, for example 'apt list --upgradable'",
    )?;
    count(&text).ok_or_else(|| format!("'{}' has an unknown format", path.display()))
}

/// Parses `12 updates can be applied immediately.`
fn count(text: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (number, rest) = line.trim().split_once(' ')?;
        rest.contains("can be").then(|| number.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn count_is_found_in_the_greeting() {
        for (text, expect) in [
            (
                "\n12 updates can be applied immediately.\n3 of these updates are standard security updates.\n",
                Some(12),
            ),
            ("1 update can be applied immediately.", Some(1)),
            ("0 packages can be updated.", Some(0)),
            ("Expanded Security Maintenance is not enabled.\n", None),
            ("many updates can be applied", None),
            ("", None),
        ] {
            assert_eq!(count(text), expect, "{text}");
        }
    }
}
