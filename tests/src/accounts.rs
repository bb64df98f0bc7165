//! A user database of a daemon's own: it runs in a mount namespace in which /etc/passwd and /etc/group are these.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::directory::Directory;

/// Users and groups, beside root and its group.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    /// Users of /etc/passwd: name and uid; the first group has the same number.
    pub users: Vec<(&'static str, u32)>,
    /// Groups: name, gid and members.
    pub groups: Vec<(&'static str, u32, Vec<&'static str>)>,
    /// Users of a directory service, which /etc/passwd does not have.
    pub directory: Vec<(&'static str, u32)>,
}

/// Below a daemon's place.
const DIR: &str = "accounts";

impl Accounts {
    /// Writes them for a daemon that lies in `place`: in the same files as before, since those are mounted.
    ///
    /// # Panics
    /// When the place cannot be written.
    pub fn write(&self, place: &Path) {
        let dir = place.join(DIR);
        fs::create_dir_all(dir.join("nscd")).expect("the place is ours");
        let line = |(name, uid): &(&str, u32)| format!("{name}:x:{uid}:{uid}::/:/bin/sh\n");
        let users: String = self.users.iter().map(line).collect();
        let groups = self.groups.iter().map(|(name, gid, members)| {
            let members = members.join(",");
            format!("{name}:x:{gid}:{members}\n")
        });
        let passwd = format!("root:x:0:0::/root:/bin/sh\n{users}");
        let directory: String = self.directory.iter().map(line).collect();
        let files = [
            ("passwd", passwd),
            (
                "group",
                format!("root:x:0:\n{}", groups.collect::<String>()),
            ),
            (
                "nsswitch.conf",
                "passwd: files\ngroup: files\nhosts: files\n".to_owned(),
            ),
            ("directory", directory),
        ];
        for (name, text) in files {
            let path = dir.join(name);
            fs::write(&path, text).expect("the place is ours");
            let readable = fs::Permissions::from_mode(0o644);
            fs::set_permissions(&path, readable).expect("the file is ours");
        }
    }

    /// Has `program` run where these are the user database; with the directory service, if there is one.
    #[must_use]
    pub fn around(&self, place: &Path, program: &Path) -> (Command, Option<Directory>) {
        self.write(place);
        let dir = place.join(DIR);
        let at = dir.display();
        let mut script = format!(
            "for file in passwd group nsswitch.conf; do\n\
             [ ! -e /etc/$file ] || mount --bind {at}/$file /etc/$file || exit 1\ndone\n"
        );
        let directory = (!self.directory.is_empty()).then(|| {
            script += &format!(
                "mount -t tmpfs none /run && mkdir /run/nscd && mount --bind {at}/nscd /run/nscd || exit 1\n"
            );
            Directory::start(&dir.join("nscd/socket"), &dir)
        });
        script += "exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &script, "sh"]).arg(program);
        (command, directory)
    }
}
