//! A separate user database: the daemon runs in a mount namespace with these files at /etc/passwd and /etc/group.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::directory::Directory;

/// Users and groups other than root and its group.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    /// Users of /etc/passwd: name and uid. The primary group has the same number.
    pub users: Vec<(&'static str, u32)>,
    /// Groups: name, gid and members.
    pub groups: Vec<(&'static str, u32, Vec<&'static str>)>,
    /// Users of a directory service, absent from /etc/passwd.
    pub directory: Vec<(&'static str, u32)>,
}

const DIR: &str = "accounts";

impl Accounts {
    /// Writes the files below `base_dir`. Overwrites existing files in place, because they are bind-mounted.
    pub fn write(&self, base_dir: &Path) {
        let dir = base_dir.join(DIR);
        fs::create_dir_all(dir.join("nscd")).expect("the directory is writable");
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
            fs::write(&path, text).expect("the directory is writable");
            let readable = fs::Permissions::from_mode(0o644);
            fs::set_permissions(&path, readable).expect("the file is ours");
        }
    }

    /// Returns a command that runs `program` with this user database, and the directory service if there is one.
    #[must_use]
    pub fn around(&self, base_dir: &Path, program: &Path) -> (Command, Option<Directory>) {
        self.write(base_dir);
        let dir = base_dir.join(DIR);
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
