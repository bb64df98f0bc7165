//! A copy-on-write view of the machine: each mount is an overlay over a read-only clone of it, whose owners are mapped to
//! the ids of the view's user namespace. What is written goes to a file system in memory of a fixed size.
//!
//! **Invariant:** no mount of the view leads to a file of the machine that can be written.

mod budget;
mod furnish;
mod hidden;
mod known;
mod lay;
mod lines;
mod mask;
mod mounts;
mod name;
mod packages;
mod probe;
mod site;
mod stand_ins;
mod table;
mod users;
mod walk;
mod walker;

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::mount::{MntFlags, umount2};
use remit_core::view::{self, IDS, Index, VIEW, lower, mask, upper};

use crate::steps::landlock::Fence;
use crate::steps::private_root::c_string;
use crate::steps::report::{EnabledLayers, Fault};
use crate::sys::{self, ForkCall, Propagation};
use crate::{Layer, Why};
use budget::hideable;
pub(crate) use furnish::devices;
use hidden::{Cover, Hidden};
#[cfg(test)]
pub(crate) use known::Part;
pub(crate) use known::{Known, Watched, WatchedMount};
pub(crate) use lay::Laying;
use mask::{Mask, copy_properties, is_masked};
use mounts::{Mounted, Mounts};
pub(crate) use probe::probe;
use remit_core::mount_table::is_in;
use site::{NO_WRITE, SITE_OPTIONS, Site};
pub(crate) use table::{Shown, points};
pub(crate) use users::{CAPABILITIES, become_root_of, enter_view, first_id, user_namespace};
use walk::Tree;

/// Path at which the view is built: in this namespace `/proc` is of no other use.
const SITE: &CStr = c"/proc";
/// An id that nobody has, for a try, and for who looks.
const PROBE: u32 = u32::MAX - 2;

pub(crate) struct Building<'a> {
    pub(crate) layers: EnabledLayers,
    pub(crate) call: ForkCall,
    pub(crate) propagation: Propagation,
    /// The machine's `/proc`.
    pub(crate) proc: BorrowedFd<'a>,
    pub(crate) users: BorrowedFd<'a>,
    /// The job's own ids, which no view has.
    pub(crate) own: (u32, u32),
    pub(crate) groups: &'a [u32],
    /// What is known of the machine's directories.
    pub(crate) watched: Option<&'a Watched<'a>>,
    /// Root reads all of it but what is kept back from every view.
    pub(crate) sees_all: bool,
    /// Mount options of the file system that gets what is written, and of a private directory open to all.
    pub(crate) area: &'a CStr,
    pub(crate) shared: &'a CStr,
    pub(crate) ruleset: Option<(BorrowedFd<'a>, &'a Fence)>,
}

/// A view, and what is known of it once it is built.
pub(crate) struct Built {
    /// What is left of it after its job.
    pub(crate) kept: OwnedFd,
    pub(crate) hidden: Hidden,
    /// What its worker should know of the machine's directories.
    pub(crate) news: Vec<u8>,
}

impl Building<'_> {
    /// Builds the view, and moves to its top.
    pub(crate) fn build(&self) -> Result<Built, Fault> {
        let started = SystemTime::now().duration_since(UNIX_EPOCH);
        let started = started.map_err(io::Error::other)?;
        let host = sys::open(c"/", libc::O_PATH | libc::O_DIRECTORY)?;
        // Before the clones: an unbindable mount has none.
        sys::set_whole_tree(0, self.propagation)?;
        let mounts = Mounts::read(self.proc, host.as_fd(), self.sees_all)?;
        if !mounts
            .shown
            .first()
            .is_some_and(|root| root.at.is_empty() && root.is_copied)
        {
            return Err(Fault::because(Why::WrongKind));
        }
        let mut news = Vec::new();
        let mut hidden = match self.layers.is_on(Layer::Mask) {
            true if self.sees_all => hidden::kept_back()?,
            true => {
                let (found, new) = self.unreadable(&mounts)?;
                news = new;
                found
            }
            false => Hidden::new(),
        };
        for path in &mounts.others {
            let cut = CString::new(hideable(path.to_bytes())).map_err(io::Error::other)?;
            hidden.insert(cut, Cover::Closed);
        }
        hidden.remove(c"");
        for mount in &mounts.shown {
            if let Some(cover) = hidden.get_mut(&mount.at) {
                *cover = Cover::Closed;
            }
        }
        sys::change_dir(SITE)?;
        sys::mount_tmpfs_here(SITE_OPTIONS, true)?;
        let site = sys::open(SITE, libc::O_PATH | libc::O_DIRECTORY)?;
        let site = Site::new(site, self.area)?;
        let made = self.overlays(&site, &mounts, &mut hidden)?;
        let points = self.attach(&site, &mounts, made)?;
        let covered = |by: Cover| {
            let paths = hidden.iter().filter(|(_, cover)| **cover == by);
            paths.map(|(path, _)| path.to_bytes().to_vec()).collect()
        };
        let kept = site.kept(&Index {
            started_ns: i128::try_from(started.as_nanos()).map_err(io::Error::other)?,
            points,
            hidden: covered(Cover::Closed),
            emptied: covered(Cover::Empty),
        })?;
        let view = site.directory(VIEW)?;
        self.furnish(view.as_fd(), host.as_fd())?;
        self.furnish_stand_ins(&site, view.as_fd(), host.as_fd())?;
        sys::change_to(view.as_fd())?;
        sys::pivot_here()?;
        self.grant()?;
        Ok(Built { kept, hidden, news })
    }

    fn unreadable<'a>(&self, mounts: &'a Mounts) -> io::Result<(Hidden, Vec<u8>)> {
        let nothing = Known::new();
        // After the clones of the mounts are made.
        let watched = self.watched.filter(|watched| watched.is_right());
        let watched_mounts = watched.map_or(&[][..], |watched| watched.watched_mounts);
        let copied = mounts.shown.iter().filter(|mount| mount.is_copied);
        let tree = |mount: &'a Mounted| {
            let clone = mount.clone.as_fd();
            let stat = sys::stat_of(clone)?;
            let this = WatchedMount {
                at: mount.at.to_bytes().to_vec(),
                device: stat.st_dev,
                inode: stat.st_ino,
            };
            Ok(Tree {
                at: &mount.at,
                clone,
                watched: Some(this).filter(|this| watched_mounts.contains(this)),
            })
        };
        let trees = copied.map(tree).collect::<io::Result<Vec<Tree<'a>>>>()?;
        let known = watched.map_or(&nothing, |watched| watched.known);
        let points = mounts.points().map(AsRef::as_ref).collect();
        let (mut found, news) = walker::hidden(self.call, self.groups, (&trees, &points), known)?;
        found.retain(|path, _| is_masked(path.to_bytes()));
        Ok((found, news))
    }

    /// Makes the overlay of each mount, the innermost first: one that cannot be made is hidden in the one around it.
    fn overlays(
        &self,
        site: &Site,
        mounts: &Mounts,
        hidden: &mut Hidden,
    ) -> io::Result<Vec<Option<(OwnedFd, bool)>>> {
        let mut made = Vec::new();
        for (number, mount) in mounts.shown.iter().enumerate().rev() {
            let at = mount.at.to_bytes();
            let is_hidden = hidden.keys().any(|path| is_in(at, path.to_bytes()));
            let overlay = match is_hidden {
                true => None,
                false => match self.overlay(site, (number, mount), mounts, hidden) {
                    Err(_) if !at.is_empty() => {
                        hidden.insert(mount.at.clone(), Cover::Closed);
                        None
                    }
                    overlay => Some(overlay?),
                },
            };
            made.push(overlay);
        }
        made.reverse();
        Ok(made)
    }

    fn attach(
        &self,
        site: &Site,
        mounts: &Mounts,
        made: Vec<Option<(OwnedFd, bool)>>,
    ) -> io::Result<Vec<view::Point>> {
        let mut points = Vec::new();
        for (mount, made) in mounts.shown.iter().zip(made) {
            let mut is_copied = made.as_ref().is_some_and(|(_, is_copied)| *is_copied);
            if let Some((overlay, _)) = made {
                let view = site.directory(VIEW)?;
                let target = match mount.at.is_empty() {
                    true => Ok(view),
                    false => sys::open_plain(view.as_fd(), &mount.at, libc::O_PATH),
                };
                match target
                    .and_then(|target| sys::attach_mount_on(overlay.as_fd(), target.as_fd()))
                {
                    Err(error) if mount.at.is_empty() => return Err(error),
                    // The machine has moved it: the node in the layer around it hides what is there.
                    Err(_) => is_copied = false,
                    Ok(()) => {}
                }
            }
            points.push(view::Point {
                at: mount.at.to_bytes().to_vec(),
                is_copied,
            });
        }
        points.extend(mounts.others.iter().map(|at| view::Point {
            at: at.to_bytes().to_vec(),
            is_copied: false,
        }));
        Ok(points)
    }

    /// Returns an overlay over a mount, and true if it can be written. The owners of some file systems cannot be mapped.
    fn overlay(
        &self,
        site: &Site,
        (number, mount): (usize, &Mounted),
        mounts: &Mounts,
        hidden: &mut Hidden,
    ) -> io::Result<(OwnedFd, bool)> {
        let clone = mount.clone.as_fd();
        let is_on = self.layers.is_on(Layer::UserNamespace);
        let is_copied = mount.is_copied
            && match is_on.then(|| sys::set_mapped_mount(clone, NO_WRITE, self.users)) {
                Some(Err(error)) if !mount.at.is_empty() && is_unmappable(&error) => false,
                Some(mapped) => mapped.map(|()| true)?,
                None => true,
            };
        if !is_copied || !is_on {
            sys::set_mount(clone, NO_WRITE)?;
        }
        let [area, shown] = ["area", "shown"].map(|name| format!("{name}/{number}"));
        let (low, up, mask, work) = (
            lower(number),
            upper(number),
            mask(number),
            format!("{area}/work"),
        );
        for name in [&low, &mask, &area, &up, &work, &shown] {
            site.make(name)?;
        }
        sys::attach_mount_on(clone, site.directory(&low)?.as_fd())?;
        let low_dir = site.directory_to_own(&low)?;
        let layer = site.directory_to_own(&mask)?;
        let masking = Mask {
            layer: layer.as_fd(),
            host: low_dir.as_fd(),
            unknown: self.own,
            files: &mounts.files,
            mapped: &|id| self.mapped(id),
            known: &|id| self.known(id),
        };
        // What a mount covers stays hidden, also if the mount itself cannot be shown.
        let all = hidden.keys().chain(mounts.points());
        let all: BTreeSet<&CStr> = all.map(AsRef::as_ref).collect();
        let mut closed = Vec::new();
        for (path, inside) in topmost(&all, mount.at.to_bytes()) {
            let cover = hidden.get(path).copied().unwrap_or(Cover::Closed);
            if masking.hide(path, inside, cover)? == Cover::Closed && cover == Cover::Empty {
                closed.push(path.to_owned());
            }
        }
        let at = mount.at.to_bytes();
        let covered = all.iter().copied();
        let covered = covered.filter(|path| inside(path.to_bytes(), at).is_some());
        self.put_stand_ins(&masking, at, covered)?;
        hidden.extend(closed.into_iter().map(|path| (path, Cover::Closed)));
        // After the nodes, which would have the access lists for what is new in it.
        for name in [&up, &mask] {
            copy_properties(&low_dir, &site.directory_to_own(name)?)?;
        }
        let lower = format!("{mask}:{low}");
        // A layer to write to lets the tests switch this layer off.
        let upper =
            (is_copied || !self.layers.is_on(Layer::ReadOnlyMounts)).then_some([&up, &work]);
        site.overlay(&lower, upper, &shown)?;
        let made = sys::copy_mount_of(site.directory(&shown)?.as_fd(), false)?;
        umount2(c_string(shown)?.as_c_str(), MntFlags::MNT_DETACH)?;
        Ok((made, is_copied))
    }

    fn mapped(&self, id: u32) -> u32 {
        match self.layers.is_on(Layer::UserNamespace) && id < IDS {
            true => first_id(self.own.0) + id,
            false => id,
        }
    }

    /// Returns the view's id of an owner with that id of the machine.
    fn known(&self, id: u32) -> Option<u32> {
        match self.layers.is_on(Layer::UserNamespace) {
            true => id.checked_sub(first_id(self.own.0)).filter(|id| *id < IDS),
            false => Some(id),
        }
    }
}

/// EPERM: the machine has mapped its owners already.
fn is_unmappable(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EPERM))
}

/// Returns the paths that lie in a mount and beneath no other one of them, each with its part in the mount.
fn topmost<'a>(
    all: &'a BTreeSet<&'a CStr>,
    mount: &'a [u8],
) -> impl Iterator<Item = (&'a CStr, &'a [u8])> {
    let bytes: BTreeSet<&[u8]> = all.iter().map(|path| path.to_bytes()).collect();
    let in_mount = |path: &&'a CStr| Some((*path, inside(path.to_bytes(), mount)?));
    let found = all.iter().filter_map(in_mount);
    found.filter(move |(path, inside)| {
        let path = path.to_bytes();
        let start = path.len() - inside.len();
        let mut slashes = inside.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        !slashes.any(|(end, _)| {
            path.get(..start + end)
                .is_some_and(|above| bytes.contains(above))
        })
    })
}

/// Returns the part of `path` beneath a mount point; `None` if it is elsewhere, or the point itself.
fn inside<'a>(path: &'a [u8], point: &[u8]) -> Option<&'a [u8]> {
    match point {
        [] => Some(path).filter(|path| !path.is_empty()),
        point => path.strip_prefix(point)?.strip_prefix(b"/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_topmost_path_of_a_mount_is_hidden() {
        let all = [
            c"a", c"a-b", c"a/b", c"a/b/c", c"m", c"m/x", c"m/x/y", c"n/x/y",
        ];
        let all: BTreeSet<&CStr> = all.into();
        let of = |mount: &'static [u8]| -> Vec<(&CStr, &[u8])> { topmost(&all, mount).collect() };
        let whole = |path: &'static CStr| (path, path.to_bytes());
        assert_eq!(of(b""), [c"a", c"a-b", c"m", c"n/x/y"].map(whole));
        assert_eq!(of(b"m"), [(c"m/x", &b"x"[..])]);
    }
}
