use std::os::unix::fs::symlink;

use super::*;

/// Directories of units in the order of the service manager, `control` before `etc` before `lib`.
struct Scene(PathBuf);

impl Scene {
    fn new(test: &str, files: &[&str]) -> Self {
        let dir = std::env::temp_dir().join(format!("remit-act-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        for dir_of in ["etc", "lib", "opt"] {
            fs::create_dir_all(dir.join(dir_of)).unwrap();
        }
        for file in files {
            fs::create_dir_all(dir.join(file).parent().unwrap()).unwrap();
            fs::write(dir.join(file), "[Unit]\n").unwrap();
        }
        Self(dir)
    }

    fn search(&self) -> Vec<String> {
        ["control", "etc", "lib"]
            .map(|dir| self.0.join(dir).to_str().unwrap().to_owned())
            .into()
    }

    fn changed(&self, all: &[(&str, Becomes)]) -> Changed {
        Changed::new(all.iter().map(|(path, becomes)| ChangedPath {
            path: self.0.join(path).into_os_string().into_vec(),
            becomes: becomes.clone(),
            is_for_generators: path.ends_with("tab"),
        }))
    }

    fn short(&self, path: &Path) -> String {
        path.strip_prefix(&self.0)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    }

    fn known(&self, name: &str, fragment: &str) -> Known {
        Known {
            id: name.to_owned(),
            names: vec![name.to_owned()],
            fragment: self.0.join(fragment).to_str().unwrap().to_owned(),
            ..Known::default()
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const FILE: Becomes = Becomes::File(None);
/// Of an undo: its target is not known.
const LINK: Becomes = Becomes::Link(None);

fn text(text: &str) -> Becomes {
    Becomes::File(Some(text.as_bytes().to_vec()))
}

#[test]
fn each_entry_that_can_change_a_unit_is_one_of_its() {
    let scene = Scene::new("own", &["lib/a-b@.service", "opt/notes.txt", "opt/1/c.txt"]);
    symlink("1", scene.0.join("opt/current")).unwrap();
    symlink(
        scene.0.join("opt/notes.txt"),
        scene.0.join("etc/linked.service"),
    )
    .unwrap();
    symlink("../opt/current/c.txt", scene.0.join("etc/far.service")).unwrap();
    symlink("lib", scene.0.join("other")).unwrap();
    let search = scene.search();
    for (path, becomes, name, fragment, is_own) in [
        (
            "etc/a-b@1.service",
            FILE,
            "a-b@1.service",
            "lib/a-b@.service",
            true,
        ),
        (
            "control/a-b@.service",
            FILE,
            "a-b@1.service",
            "lib/a-b@.service",
            true,
        ),
        (
            "etc/a-b@.service",
            LINK,
            "a-b@1.service",
            "lib/a-b@.service",
            true,
        ),
        (
            "etc/a-b@1.service.d/x.conf",
            FILE,
            "a-b@1.service",
            "lib/a-b@.service",
            true,
        ),
        (
            "lib/a-b@.service.d/x.conf",
            Becomes::Gone,
            "a-b@1.service",
            "lib/a-b@.service",
            true,
        ),
        (
            "lib/a-@.service.d/x.conf",
            FILE,
            "a-b@1.service",
            "lib/a-b@.service",
            true,
        ),
        (
            "lib/service.d/x.conf",
            FILE,
            "a-b@1.service",
            "lib/a-b@.service",
            true,
        ),
        (
            "lib/a-b@1.service.wants/x.service",
            LINK,
            "a-b@1.service",
            "lib/a-b@.service",
            true,
        ),
        (
            "opt/notes.txt",
            FILE,
            "linked.service",
            "etc/linked.service",
            true,
        ),
        ("opt/current", LINK, "far.service", "etc/far.service", true),
        ("opt/1/c.txt", FILE, "far.service", "etc/far.service", true),
        // No unit, or another one.
        (
            "etc/a-b@2.service",
            FILE,
            "a-b@1.service",
            "lib/a-b@.service",
            false,
        ),
        (
            "etc/a.service.d/x.conf",
            FILE,
            "a-b@1.service",
            "lib/a-b@.service",
            false,
        ),
        (
            "etc/timer.d/x.conf",
            FILE,
            "a-b@1.service",
            "lib/a-b@.service",
            false,
        ),
        (
            "opt/a-b@1.service",
            FILE,
            "a-b@1.service",
            "lib/a-b@.service",
            false,
        ),
        (
            "etc/a-b@1.service",
            Becomes::Same,
            "a-b@1.service",
            "lib/a-b@.service",
            false,
        ),
        (
            "etc/a-b@1.service.d",
            Becomes::Directory,
            "a-b@1.service",
            "lib/a-b@.service",
            false,
        ),
    ] {
        let changed = scene.changed(&[(path, becomes)]);
        let found = changed.of(&scene.known(name, fragment), &search);
        assert_eq!(!found.is_empty(), is_own, "{path}");
    }
    let generated = Known {
        source: scene.0.join("opt/notes.txt").to_str().unwrap().to_owned(),
        ..scene.known("a.service", "run/a.service")
    };
    let changed = scene.changed(&[("opt/notes.txt", FILE)]);
    assert_eq!(changed.of(&generated, &search).len(), 1);
}

#[test]
fn each_entry_that_the_service_manager_reads_is_named() {
    let scene = Scene::new("manager", &[]);
    symlink("lib", scene.0.join("control")).unwrap();
    let search = scene.search();
    for (path, becomes, is_read) in [
        ("etc/other.service", FILE, true),
        ("etc/multi-user.target.wants/a.service", LINK, true),
        ("control", LINK, true),
        ("lib", Becomes::Gone, true),
        ("x/systemd/system-generators/x", FILE, true),
        ("x/systemd/system-generators/x", Becomes::Same, true),
        ("etc/other.service", Becomes::Same, false),
        ("opt/fstab", FILE, true),
        ("opt/a.service", FILE, false),
        ("etc", Becomes::Directory, false),
    ] {
        let found = !scene
            .changed(&[(path, becomes)])
            .of_manager(&search)
            .is_empty();
        assert_eq!(found, is_read, "{path}");
    }
}

#[test]
fn file_that_defines_a_unit_is_the_first_of_the_manager() {
    let files = ["etc/a.service", "lib/b.service", "lib/t@1.service"];
    let scene = Scene::new("first", &files);
    let search = scene.search();
    for (entries, name, expect) in [
        (
            &[("lib/n.service", FILE)][..],
            "n.service",
            Some("made lib/n.service"),
        ),
        (
            &[("lib/n.service", FILE), ("etc/n.service", FILE)],
            "n.service",
            Some("made etc/n.service"),
        ),
        (
            &[("control/n.service", FILE), ("etc/n.service", FILE)],
            "n.service",
            Some("made control/n.service"),
        ),
        // The machine's own file is before it.
        (
            &[("lib/a.service", FILE)],
            "a.service",
            Some("there etc/a.service"),
        ),
        (
            &[("etc/t@.service", FILE)],
            "t@1.service",
            Some("there lib/t@1.service"),
        ),
        (
            &[("etc/t@.service", FILE)],
            "t@2.service",
            Some("made etc/t@.service"),
        ),
        (
            &[("etc/a.service", Becomes::Gone), ("lib/a.service", FILE)],
            "a.service",
            Some("made lib/a.service"),
        ),
        (
            &[("etc/a.service", Becomes::Gone)],
            "a.service",
            Some("missing"),
        ),
        (&[("opt/n.service", FILE)], "n.service", Some("missing")),
        (
            &[("etc/n.service", LINK), ("lib/n.service", FILE)],
            "n.service",
            None,
        ),
        (&[("control", LINK)], "b.service", None),
    ] {
        let found = scene.changed(entries).definition(name, &search).ok();
        let found = found.map(|found| match found {
            Definition::Made(path) => format!("made {}", scene.short(&path)),
            Definition::There(path) => format!("there {}", scene.short(&path)),
            Definition::Missing => "missing".to_owned(),
        });
        assert_eq!(found.as_deref(), expect, "{name}: {entries:?}");
    }
}

#[test]
fn drop_ins_are_those_of_the_machine_and_of_the_change() {
    let scene = Scene::new(
        "drop",
        &[
            "lib/a-.service.d/1.conf",
            "etc/a-b.service.d/2.conf",
            "etc/a-b.service.d/no.txt",
        ],
    );
    let changed = scene.changed(&[
        ("control/a-b.service.d/3.conf", FILE),
        ("etc/a-b.service.d/2.conf", Becomes::Gone),
        ("etc/service.d/4.conf", LINK),
        ("etc/a-b.service.wants/5.conf", LINK),
    ]);
    let found = changed.drop_ins("a-b.service", &scene.search()).unwrap();
    let found: Vec<String> = found.iter().map(|path| scene.short(path)).collect();
    assert_eq!(
        found,
        [
            "control/a-b.service.d/3.conf",
            "etc/service.d/4.conf",
            "lib/a-.service.d/1.conf"
        ]
    );
}

#[test]
fn install_section_is_that_after_the_change_or_is_refused() {
    let scene = Scene::new("after", &["lib/b.service.d/1.conf"]);
    let search = scene.search();
    let alias = "[Install]\nAlias=cron.service\nWantedBy=multi-user.target\n";
    for (entries, expect) in [
        (
            &[(
                "etc/b.service",
                text("[Install]\nWantedBy=multi-user.target\n"),
            )][..],
            Ok(&[][..]),
        ),
        (&[("etc/b.service", text(alias))], Ok(&["cron.service"])),
        (
            &[
                ("etc/b.service", text("")),
                ("etc/b.service.d/2.conf", text(alias)),
            ],
            Ok(&["cron.service"]),
        ),
        (
            &[("etc/b.service", text("[Install]\nAlso=x.timer\n"))],
            Err("Also="),
        ),
        (&[("etc/b.service", FILE)], Err("cannot be known before")),
        (
            &[
                ("etc/b.service", text("")),
                ("lib/b.service.d/1.conf", LINK),
            ],
            Err("cannot be known before"),
        ),
        (
            &[("etc/b.service", text("[Install]\nAlias='a.service'\n"))],
            Err("plain name"),
        ),
    ] {
        let changed = scene.changed(entries);
        let found = changed.install("b.service", &scene.0.join("etc/b.service"), &search);
        match (found, expect) {
            (Ok(found), Ok(expect)) => assert_eq!(found.alias, expect, "{entries:?}"),
            (Err(Fault::Refused(why)), Err(expect)) => assert!(why.contains(expect), "{why}"),
            (found, _) => panic!("{entries:?}: {found:?}"),
        }
    }
}

#[test]
fn directories_of_a_unit_are_those_of_systemd() {
    let drop_ins = |name| -> Vec<String> {
        names_of_directories(name)
            .into_iter()
            .filter(|name| name.ends_with(".d"))
            .collect()
    };
    assert_eq!(drop_ins("a.service"), ["service.d", "a.service.d"]);
    assert_eq!(
        drop_ins("a--b-c.timer"),
        [
            "timer.d",
            "a--b-c.timer.d",
            "a--b-.timer.d",
            "a--.timer.d",
            "a-.timer.d"
        ]
    );
    assert_eq!(
        drop_ins("a-b@i-j.service"),
        [
            "service.d",
            "a-b@i-j.service.d",
            "a-b@.service.d",
            "a-@i-j.service.d",
            "a-@.service.d"
        ]
    );
}

fn leads(target: &str) -> Becomes {
    Becomes::Link(Some(target.as_bytes().to_vec()))
}

/// systemd 252 read a drop-in in a directory that is a link, a unit file through a link, and the drop-ins of each name that a link
/// gives the unit.
#[test]
fn links_of_the_change_are_followed() {
    let scene = Scene::new("links", &["etc/known.service", "opt/there/1.conf"]);
    symlink("../opt/there", scene.0.join("etc/known.service.d")).unwrap();
    let search = scene.search();
    let known = scene.known("known.service", "etc/known.service");
    for (entries, own) in [
        // A directory of drop-ins becomes a link; it is one already.
        (
            &[
                ("lib/known.service.d", leads("../opt/d")),
                ("opt/d/x.conf", FILE),
                ("opt/other/x.conf", FILE),
            ][..],
            &["lib/known.service.d", "opt/d/x.conf"][..],
        ),
        (&[("opt/there/2.conf", FILE)], &["opt/there/2.conf"]),
        // The same of all services, and of what starts with it.
        (
            &[("lib/service.d", leads("/nowhere")), ("etc/x", FILE)],
            &["lib/service.d"],
        ),
        (
            &[
                ("etc/known.service.wants", leads("../opt/w")),
                ("opt/w/evil.service", leads("/srv/evil.service")),
            ],
            &["etc/known.service.wants", "opt/w/evil.service"],
        ),
        // Another file defines it.
        (
            &[
                ("control/known.service", leads("../opt/k.service")),
                ("opt/k.service", FILE),
            ],
            &["control/known.service", "opt/k.service"],
        ),
        // Another name, and its drop-ins.
        (
            &[
                ("etc/alias.service", leads("known.service")),
                ("etc/alias.service.d/x.conf", FILE),
                ("etc/other.service.d/x.conf", FILE),
            ],
            &["etc/alias.service", "etc/alias.service.d/x.conf"],
        ),
    ] {
        let changed = scene.changed(entries);
        let found = changed.of(&known, &search);
        let found: Vec<String> = found.iter().map(|path| scene.short(path)).collect();
        assert_eq!(found, own, "{entries:?}");
        let all = changed.of_manager(&search);
        let all: Vec<String> = all.iter().map(|path| scene.short(path)).collect();
        assert!(
            own.iter().all(|path| all.contains(&path.to_string())),
            "{all:?}"
        );
    }
}

#[test]
fn unit_of_the_change_behind_a_link_is_that_file() {
    let scene = Scene::new("behind", &["opt/old.service"]);
    let search = scene.search();
    let file = ("opt/n.service", FILE);
    for (entries, expect) in [
        (
            &[("etc/n.service", leads("../opt/n.service")), file.clone()][..],
            Ok("opt/n.service"),
        ),
        (
            &[
                ("etc/n.service", leads("../opt/l")),
                ("opt/l", leads("n.service")),
                file.clone(),
            ],
            Ok("opt/n.service"),
        ),
        (
            &[
                ("control", leads("opt")),
                file.clone(),
                ("lib/n.service", FILE),
            ],
            Ok("opt/n.service"),
        ),
        // The bytes are not of the change, or of another unit; or nobody knows where it leads.
        (
            &[("etc/n.service", leads("../opt/old.service"))],
            Err("symbolic link"),
        ),
        (
            &[("etc/n.service", leads("/dev/null"))],
            Err("symbolic link"),
        ),
        (
            &[("etc/n.service", leads("n.service"))],
            Err("symbolic link"),
        ),
        (&[("etc/n.service", LINK), file], Err("symbolic link")),
        (
            &[
                ("etc/n.service", leads("m.service")),
                ("etc/m.service", FILE),
            ],
            Err("another name of"),
        ),
    ] {
        let found = scene.changed(entries).definition("n.service", &search);
        match (found, expect) {
            (Ok(Definition::Made(path)), Ok(expect)) => assert_eq!(scene.short(&path), expect),
            (Err(Fault::Refused(why)), Err(expect)) => assert!(why.contains(expect), "{why}"),
            (found, _) => panic!("{entries:?}: {found:?}"),
        }
    }
}

#[test]
fn drop_ins_behind_links_of_the_change_are_found() {
    let scene = Scene::new("dropped", &[]);
    let search = scene.search();
    for (entries, expect) in [
        (
            &[("etc/n.service.d", leads("/OPT/d")), ("opt/d/x.conf", FILE)][..],
            Some(&["opt/d/x.conf"][..]),
        ),
        (
            &[
                ("etc/n.service.d/x.conf", leads("/OPT/evil")),
                ("opt/evil", FILE),
            ],
            Some(&["etc/n.service.d/x.conf", "opt/evil"]),
        ),
        (
            &[
                ("etc/alias.service", leads("n.service")),
                ("etc/alias.service.d/x.conf", FILE),
            ],
            Some(&["etc/alias.service.d/x.conf"]),
        ),
        (&[("etc/n.service.d", LINK)], None),
    ] {
        let opt = scene.0.join("opt");
        let entries: Vec<(&str, Becomes)> = entries
            .iter()
            .map(|(path, becomes)| match becomes {
                Becomes::Link(Some(target)) => {
                    let target = String::from_utf8(target.clone()).unwrap();
                    (*path, leads(&target.replace("/OPT", opt.to_str().unwrap())))
                }
                other => (*path, other.clone()),
            })
            .collect();
        let found = scene.changed(&entries).drop_ins("n.service", &search).ok();
        let found = found
            .map(|found| -> Vec<String> { found.iter().map(|path| scene.short(path)).collect() });
        let expect = expect.map(|expect| expect.iter().map(ToString::to_string).collect());
        assert_eq!(found, expect, "{entries:?}");
    }
}

#[test]
fn name_by_a_link_has_the_instance() {
    use names::name_by_link;
    for (link, target, unit, expect) in [
        ("b.service", "a.service", "a.service", Some("b.service")),
        ("b.service", "c.service", "a.service", None),
        (
            "b@.service",
            "a@.service",
            "a@1.service",
            Some("b@1.service"),
        ),
        (
            "b@2.service",
            "a@.service",
            "a@1.service",
            Some("b@2.service"),
        ),
        (
            "b@.service",
            "a@1.service",
            "a@1.service",
            Some("b@1.service"),
        ),
    ] {
        assert_eq!(
            name_by_link(link, target, unit).as_deref(),
            expect,
            "{link}"
        );
    }
}

#[test]
fn programs_and_settings_of_the_change_are_named() {
    let scene = Scene::new("named", &["opt/1/run"]);
    symlink("1", scene.0.join("opt/current")).unwrap();
    let root = scene.0.to_str().unwrap();
    for (line, path, expect) in [
        ("as root: ROOT/opt/run -c x", "opt/run", true),
        ("as root: /bin/sh -c 'ROOT/opt/run x'", "opt/run", true),
        ("as root: /bin/x --config=ROOT/opt/run", "opt/run", true),
        (
            "EnvironmentFiles ROOT/opt/env, PassEnvironment A",
            "opt/env",
            true,
        ),
        ("BindPaths ROOT/opt:/usr/bin", "opt/a/run", true),
        ("as root, within ROOT/opt: /bin/x", "opt/bin/x", true),
        ("as root: ROOT/opt/current/run", "opt/1/run", true),
        ("as root: ROOT/opt/current/run", "opt/current", true),
        ("as root: ROOT/opt/running", "opt/run", false),
        ("as root: /bin/x /tmp", "opt/run", false),
        ("as root: /bin/x opt/run", "opt/run", false),
    ] {
        let changed = scene.changed(&[(path, FILE), ("lib/other", FILE)]);
        let found = changed.named(&[line.replace("ROOT", root)]);
        let expected: Vec<PathBuf> = expect.then(|| scene.0.join(path)).into_iter().collect();
        let found: Vec<PathBuf> = found.into_iter().map(Path::to_path_buf).collect();
        assert_eq!(found, expected, "{line}");
    }
}

#[test]
fn generator_is_followed_to_the_file_that_runs() {
    let scene = Scene::new("generators", &["opt/gen", "opt/tool/run", "opt/other"]);
    symlink(scene.0.join("opt/gen"), scene.0.join("lib/gen")).unwrap();
    for (entries, expect) in [
        (&[("opt/gen", FILE)][..], &["opt/gen"][..]),
        (&[("opt/gen", Becomes::Same)], &["opt/gen"]),
        (&[("opt/other", FILE), ("opt/tool", Becomes::Same)], &[]),
        (
            &[
                ("lib/new", link(&scene, "opt/tool/run")),
                ("opt/tool/run", FILE),
            ],
            &["lib/new", "opt/tool/run"],
        ),
        // The directory itself leads elsewhere.
        (
            &[
                ("lib", link(&scene, "opt/tool")),
                ("opt/tool/run", Becomes::Same),
            ],
            &["lib", "opt/tool/run"],
        ),
    ] {
        let mut changed = scene.changed(entries);
        changed.generators = vec![scene.0.join("lib")];
        let found = changed.of_manager(&[]);
        let found: Vec<String> = found.iter().map(|path| scene.short(path)).collect();
        assert_eq!(found, expect, "{entries:?}");
    }
}

fn link(scene: &Scene, target: &str) -> Becomes {
    let target = scene.0.join(target).into_os_string().into_vec();
    Becomes::Link(Some(target))
}

/// Links and names were tried with `systemctl disable` of systemd 252.
#[test]
fn disable_removes_each_link_to_the_file() {
    let scene = Scene::new(
        "removed",
        &[
            "lib/n.service",
            "lib/t@.service",
            "lib/o.service",
            "opt/p.service",
        ],
    );
    let link = |path: &str, target: &str| {
        let path = scene.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(scene.0.join(target), path).unwrap();
    };
    for (path, target) in [
        ("etc/multi-user.target.wants/n.service", "lib/n.service"),
        ("etc/hand.service", "lib/n.service"),
        ("etc/hand2.service", "etc/hand.service"),
        ("etc/odd/deep/q.service", "lib/n.service"),
        ("etc/multi-user.target.wants/o.service", "lib/o.service"),
        ("etc/multi-user.target.wants/t@a.service", "lib/t@.service"),
        ("etc/multi-user.target.wants/t@b.service", "lib/t@.service"),
        ("control/r.service", "lib/n.service"),
        ("etc/p.service", "opt/p.service"),
    ] {
        link(path, target);
    }
    let (config, search) = (scene.0.join("etc"), scene.search());
    let removed = |changed: &Changed, units: &[&str]| -> Result<Vec<String>, Fault> {
        let all = changed.removed_links(units, &config, &search)?;
        Ok(all.iter().map(|path| scene.short(path)).collect())
    };
    let none = Changed::default();
    let of_n = [
        "etc/hand.service",
        "etc/hand2.service",
        "etc/multi-user.target.wants/n.service",
        "etc/odd/deep/q.service",
    ];
    assert_eq!(removed(&none, &["n.service"]).unwrap(), of_n);
    for (units, expect) in [
        (
            &["t@a.service"][..],
            &["etc/multi-user.target.wants/t@a.service"][..],
        ),
        (
            &["o.service", "t@.service"],
            &[
                "etc/multi-user.target.wants/o.service",
                "etc/multi-user.target.wants/t@a.service",
                "etc/multi-user.target.wants/t@b.service",
            ],
        ),
        (&["none.service"], &[]),
    ] {
        assert_eq!(removed(&none, units).unwrap(), expect, "{units:?}");
    }
    // The file is known by its link alone.
    for units in [&["p.service"][..], &["n.service", "p.service"]] {
        let Err(Fault::Refused(why)) = removed(&none, units) else {
            panic!("{units:?}");
        };
        assert!(
            why.contains("etc/p.service' to '") && why.contains("opt/p.service'"),
            "{why}"
        );
    }
    let lib = scene.0.join("lib/n.service").into_os_string().into_vec();
    let after = scene.changed(&[
        ("etc/hand.service", Becomes::Gone),
        ("etc/hand2.service", Becomes::Gone),
        ("etc/new.service", Becomes::Link(Some(lib))),
    ]);
    assert_eq!(
        removed(&after, &["n.service"]).unwrap(),
        [
            "etc/multi-user.target.wants/n.service",
            "etc/new.service",
            "etc/odd/deep/q.service"
        ]
    );
    let missing = none.removed_links(&["n.service"], &scene.0.join("no"), &search);
    assert_eq!(missing, Ok(Vec::new()));
}
