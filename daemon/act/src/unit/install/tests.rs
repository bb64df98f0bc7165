//! Uses unit files in a directory, and a table of units instead of the service manager.

use std::cell::RefCell;
use std::path::PathBuf;

use super::*;

struct Files {
    dir: PathBuf,
    asked: RefCell<Vec<String>>,
}

impl Files {
    fn new(test: &str, files: &[(&str, &str)]) -> Self {
        let dir = std::env::temp_dir().join(format!("remit-act-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        for (name, text) in files {
            fs::write(dir.join(name), text).unwrap();
        }
        Self {
            dir,
            asked: RefCell::default(),
        }
    }

    fn known(&self, name: &str) -> Known {
        let path = self.dir.join(name);
        let is_there = path.exists();
        Known {
            id: name.to_owned(),
            names: vec![name.to_owned()],
            load: if is_there { "loaded" } else { "not-found" }.to_owned(),
            fragment: path.to_str().unwrap().to_owned(),
            ..Known::default()
        }
    }

    fn linked(&self, verb: UnitVerb, known: &Known) -> Result<Install, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let search = [self.dir.to_str().unwrap().to_owned()];
        match runtime.block_on(linked(self, verb, known, &search)) {
            Ok(install) => Ok(install),
            Err(Fault::Refused(why) | Fault::Failed(why)) => Err(why),
        }
    }
}

impl Manager for Files {
    async fn unit(&self, name: &str) -> Result<Known, Fault> {
        self.asked.borrow_mut().push(name.to_owned());
        Ok(self.known(name))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn c08_names_in_install_sections_are_judged() {
    let files = Files::new(
        "install",
        &[
            ("innocent.service", "[Install]\nAlso=ssh.service\n"),
            ("named.service", "[Install]\nAlias = sshd.service\n"),
            ("deep.service", "[Install]\nAlso=innocent.service\n"),
            ("needed.service", "[Install]\nRequiredBy=dbus.service\n"),
            ("shell.service", "[Install]\nAlso=debug-shell.service\n"),
            (
                "plain.service",
                "[Install]\nWantedBy=multi-user.target\nAlso=more.timer\n",
            ),
            (
                "more.timer",
                "[Install]\nAlso=plain.service more.timer\nAlias=other.timer\n",
            ),
        ],
    );
    for (name, named) in [
        ("innocent.service", "'ssh.service'"),
        ("named.service", "'sshd.service'"),
        ("deep.service", "'ssh.service'"),
        ("shell.service", "'debug-shell.service'"),
    ] {
        for verb in [UnitVerb::Enable, UnitVerb::Disable] {
            let why = files.linked(verb, &files.known(name)).unwrap_err();
            assert!(why.contains(named), "{name}: {why}");
        }
    }
    let needed = files.known("needed.service");
    assert!(files.linked(UnitVerb::Enable, &needed).is_err());
    assert!(files.linked(UnitVerb::Disable, &needed).is_ok());
    let plain = files.linked(UnitVerb::Enable, &files.known("plain.service"));
    let expect = Install {
        also: vec!["more.timer".to_owned()],
        alias: vec!["other.timer".to_owned()],
        required_by: Vec::new(),
    };
    assert_eq!(plain, Ok(expect));
}

#[test]
fn c08_unread_unit_files_are_refused() {
    let files = Files::new(
        "stale",
        &[
            ("a.service", "[Install]\n"),
            ("x.conf", "[Install]\nAlso=ssh.service\n"),
        ],
    );
    let good = files.known("a.service");
    assert!(files.linked(UnitVerb::Enable, &good).is_ok());
    let stale = Known {
        is_stale: true,
        ..good.clone()
    };
    let unread = Known {
        drop_ins: vec!["/nonexistent/x.conf".to_owned()],
        ..good.clone()
    };
    let dropped = Known {
        drop_ins: vec![files.dir.join("x.conf").to_str().unwrap().to_owned()],
        ..good.clone()
    };
    let none = Known {
        fragment: String::new(),
        ..good.clone()
    };
    for (known, why) in [
        (stale, "daemon-reload"),
        (unread, "cannot be read"),
        (dropped, "'ssh.service'"),
        (none, "has no file"),
    ] {
        let said = files.linked(UnitVerb::Disable, &known).unwrap_err();
        assert!(said.contains(why), "{said}");
    }
    // The manager has read a file from a directory of lower priority.
    let below = Files::new("below", &[("a.service", "[Install]\n")]);
    let overshadowed = Known {
        fragment: below.dir.join("a.service").to_str().unwrap().to_owned(),
        ..good
    };
    let said = files.linked(UnitVerb::Enable, &overshadowed).unwrap_err();
    assert!(said.contains("daemon-reload"), "{said}");
}

#[test]
fn install_sections_are_read_as_systemd_does() {
    let mut all = Install::default();
    all.add(
        "[Unit]\nAlso=no.service\n[Install]\n# Also=no.service\n; x\nAlso=a.service \\\n# within\n  b.service\n\
         Also=\n Alias = \"c.service\" %p-%i.service\nWantedBy=no.target\nRequiredBy=d.service\n[X-Install]\nAlso=no\n",
        "t@1.service",
    )
    .unwrap();
    assert_eq!(all.also, ["a.service", "b.service"]);
    assert_eq!(all.alias, ["c.service", "t-1.service"]);
    assert_eq!(all.required_by, ["d.service"]);
    assert_eq!(
        resolved("%n %N %j %%", "a-b.timer").unwrap(),
        "a-b.timer a-b b %"
    );
    for word in ["%H.service", "x%", "%m"] {
        assert!(
            all.add(&format!("[Install]\nAlso={word}\n"), "a.service")
                .is_err()
        );
    }
}
