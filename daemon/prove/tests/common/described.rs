//! The description of a machine: a TOML file of `tests/machines`.

use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Described {
    /// What it is about.
    #[allow(dead_code)]
    pub about: String,
    #[serde(default)]
    pub user: Vec<User>,
    #[serde(default)]
    pub group: Vec<Group>,
    /// Programs of root that exist, and are no scripts.
    #[serde(default)]
    pub programs: Vec<String>,
    #[serde(default)]
    pub file: Vec<File>,
    #[serde(default)]
    pub policy: String,
    /// The account that is asked about.
    pub agent: String,
    /// Goals with the steps to each, in their order. Empty: no path.
    #[serde(default)]
    pub reaches: Vec<Reached>,
    /// Changes after each of which there is no path: each makes one step untrue.
    #[serde(default)]
    pub mend: Vec<Mend>,
    /// Parts of what is unknown: `path: reason`.
    #[serde(default)]
    pub unknown: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    pub name: String,
    pub uid: u32,
    /// Its primary group has its name and number.
    #[serde(default)]
    pub groups: Vec<String>,
    #[serde(default)]
    pub home: Option<String>,
    #[serde(default)]
    pub shell: Option<String>,
    #[serde(default)]
    pub password: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    pub name: String,
    pub gid: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    pub path: String,
    #[serde(default = "root")]
    pub owner: String,
    #[serde(default)]
    pub group: Option<String>,
    /// In octal; of a file 0644, of a directory 0755.
    #[serde(default)]
    pub mode: Option<String>,
    /// A directory has none of the next three.
    #[serde(default)]
    pub text: Option<String>,
    #[serde(default)]
    pub link: Option<String>,
    #[serde(default)]
    pub socket: bool,
    /// `["user", NAME, BITS]` or `["group", NAME, BITS]`.
    #[serde(default)]
    pub acl: Option<(String, String, u16)>,
    /// Bits of file capabilities.
    #[serde(default)]
    pub capabilities: Option<u32>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reached {
    pub goal: String,
    /// `RULE PART`: the rule of the step, and a part of its fact.
    pub steps: Vec<String>,
    /// Parts of what closes it.
    #[serde(default)]
    pub closed_by: Vec<String>,
    /// Why no single change closes it. Without it, the answer must name one.
    #[serde(default)]
    pub several_changes: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mend {
    pub about: String,
    /// Each replaces the file of its path, or is a new one.
    #[serde(default)]
    pub file: Vec<File>,
    /// Paths of files that go.
    #[serde(default)]
    pub remove: Vec<String>,
    /// `USER GROUP`: the user leaves the group.
    #[serde(default)]
    pub leaves: Vec<String>,
    /// A part of the policy, and what it becomes.
    #[serde(default)]
    pub policy: Option<(String, String)>,
}

fn root() -> String {
    "root".to_owned()
}

impl Described {
    pub fn parse(name: &str, toml: &str) -> Self {
        toml::from_str(toml).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The same machine after a change.
    pub fn mended(&self, mend: &Mend) -> Self {
        let mut mended = self.clone();
        for path in &mend.remove {
            let before = mended.file.len() + mended.programs.len();
            mended.file.retain(|file| file.path != *path);
            mended.programs.retain(|program| program != path);
            assert!(
                mended.file.len() + mended.programs.len() < before,
                "there is no {path}"
            );
        }
        for file in &mend.file {
            match mended.file.iter_mut().find(|one| one.path == file.path) {
                Some(one) => *one = file.clone(),
                None => mended.file.push(file.clone()),
            }
        }
        for leaves in &mend.leaves {
            let (name, group) = leaves.split_once(' ').unwrap();
            let user = mended.user.iter_mut().find(|user| user.name == name);
            let groups = &mut user.unwrap().groups;
            assert!(groups.iter().any(|one| one == group), "{leaves}");
            groups.retain(|one| one != group);
        }
        if let Some((before, after)) = &mend.policy {
            assert!(self.policy.contains(before), "{before}");
            mended.policy = self.policy.replace(before, after);
        }
        mended.reaches.clear();
        mended.unknown.clear();
        mended
    }
}
