//! Shows standard input that is a plan of changes of files: what becomes of each path, its risks, its diff.

use std::collections::BTreeMap;
use std::ffi::CStr;

use remit_approval::{CheckEnd, UNCONFIRMED, UNDOES};
use remit_common::escape::{start, words};
use remit_edit::{COUNTED, Tabs, ViewText as _, kinds, packages, sort_worst_first};
use remit_plan::{Bundle, Plan, PlanPath, UNDO_RISK, View, risk_sentences};

use crate::hex;
use crate::verified::{Verified, is_commit};
use crate::view::{EntryView, Extent, OVERHEAD, PlanView, exact, is_cut};

/// Bytes of all entries on a page, and of the longest diff and the longest path.
const ALL: usize = 24 << 10;
const DIFF: usize = 16 << 10;
const PATH: usize = 1 << 10;
const NAMES: usize = 1 << 10;
/// Of one kind, in the summary of a long page. A first one is there whole, however long it is.
const PACKAGES: usize = 90;
const RISK: usize = 1 << 10;
const UNDONE: usize = 500;
const CHECK: usize = 500;
/// Least number of bytes of a diff, if so many are left.
const SHARE: usize = 2 << 10;

impl Verified {
    /// Returns the plan that standard input is, if the program takes it for one. Others, as a shell, may read lines in it.
    pub(crate) fn plan(&self) -> Option<Bundle> {
        if !self.is_call_of_commit(c"commit") || self.request.secret_stdin.is_some() {
            return None;
        }
        Bundle::decode(self.stdin.clone()?).ok()
    }

    pub(crate) fn is_undo(&self) -> bool {
        self.is_call_of_commit(c"undo")
    }

    fn is_call_of_commit(&self, word: &CStr) -> bool {
        let first = self.request.argv.get(1);
        is_commit(&self.request) && first.is_some_and(|first| first.as_c_str() == word)
    }
}

/// Returns which commit an undo undoes. Only the first line says it: the others name paths, or are of commands that follow.
pub fn undoes(verified: &Verified) -> Option<&str> {
    let first = verified.request.does.first();
    let first = first.filter(|_| verified.is_undo());
    first.and_then(|line| line.strip_prefix(UNDOES))
}

/// Returns the risks that the daemon found for an undo, and the other lines of what a request does.
pub fn undo_risks(verified: &Verified) -> (Vec<String>, Vec<String>) {
    let is_undo = verified.is_undo();
    let (mut risks, mut lines) = (Vec::new(), Vec::new());
    let shown = usize::from(undoes(verified).is_some());
    for line in verified.request.does.iter().skip(shown) {
        match line.strip_prefix(UNDO_RISK).filter(|_| is_undo) {
            Some(risk) => risks.push(words(risk, RISK)),
            None => lines.push(line.clone()),
        }
    }
    (risks, lines)
}

/// Old bytes that the approver could read, by path; of the others there is a size.
pub type OldBytes = BTreeMap<PlanPath, Vec<u8>>;

/// What a view of a plan leaves out.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlanCuts {
    /// Something that [`crate::whole`] has.
    pub is_cut: bool,
    /// Old bytes of which there is a hash alone.
    pub hides_old: bool,
}

pub fn plan(
    bundle: &Bundle,
    old: &OldBytes,
    does: &[String],
    extent: Extent,
) -> (PlanView, PlanCuts) {
    let (mut free_bytes, path, most) = match extent {
        Extent::Page => (ALL, PATH, DIFF),
        Extent::Whole => (usize::MAX, usize::MAX, usize::MAX),
    };
    let plan = bundle.plan();
    let mut views: Vec<View<'_>> = known(bundle, old).collect();
    sort_worst_first(&mut views, plan.pack().is_some());
    let all = views.len();
    let mut entries = Vec::new();
    let mut cuts = PlanCuts::default();
    for (at, view) in views.iter().enumerate() {
        let shown = exact(view.entry.path.as_bytes(), path);
        let head = shown.len() + view.what().len() + 3 * OVERHEAD;
        let Some(left) = free_bytes.checked_sub(head) else {
            break;
        };
        let share = (left / (all - at)).max(SHARE);
        let most = left.min(most).min(share);
        let diff = match extent {
            Extent::Page => view.brief(most, Tabs::Escaped),
            Extent::Whole => view.diff(most, Tabs::Escaped),
        };
        let diff: Vec<String> = diff.lines().map(str::to_owned).collect();
        let length: usize = diff.iter().map(|line| line.len() + OVERHEAD).sum();
        free_bytes = left.saturating_sub(length);
        let has_cut = view.is_cut(diff.iter().map(String::as_str));
        cuts.is_cut |= has_cut || is_cut(&shown);
        cuts.hides_old |= view.hides_old();
        entries.push(EntryView {
            path: shown,
            what: view.what(),
            diff,
        });
    }
    let more = all - entries.len();
    let left_out = (more > 0).then(|| {
        let digest = hex(&plan.digest());
        format!("[… paths that are not shown: {more}, digest of the whole plan {digest} …]")
    });
    let packages = packages(views.iter().copied());
    let in_words = packages
        .as_ref()
        .map_or_else(String::new, |packages| format!(", {packages}"));
    let view = PlanView {
        commit_id: plan.commit_id(),
        content_sha256: hex(&plan.content_digest()),
        names: names(plan, &views, &in_words),
        paths: names(plan, &views, ""),
        packages: packages.map_or_else(Vec::new, |packages| packages.lines(PACKAGES)),
        undone: does.iter().find_map(|line| undone(line)),
        checked: Vec::new(),
        entries,
        left_out,
    };
    cuts.is_cut |= more > 0;
    (view, cuts)
}

/// Returns what becomes of a commit that nobody confirms. Lines of commands that follow begin with other words.
fn undone(line: &str) -> Option<String> {
    let rest = line.strip_prefix(UNCONFIRMED)?;
    Some(words(rest, UNDONE))
}

impl PlanView {
    /// Those that failed come first.
    pub fn with(mut self, checks: &[CheckEnd]) -> Self {
        let (well, failed): (Vec<_>, Vec<_>) = checks.iter().partition(|check| check.is_well);
        let all = failed.into_iter().chain(well);
        self.checked = all.map(|check| words(&check.text, CHECK)).collect();
        self
    }
}

/// Returns the lines but the one that the view of the plan has whole.
pub fn untold(does: &[String], plan: Option<&PlanView>) -> Vec<String> {
    let shown = plan.and_then(|plan| plan.undone.as_deref());
    let is_shown = |line: &String| shown.is_some() && line.strip_prefix(UNCONFIRMED) == shown;
    does.iter()
        .filter(|line| !is_shown(line))
        .cloned()
        .collect()
}

fn known<'a>(bundle: &'a Bundle, old: &'a OldBytes) -> impl Iterator<Item = View<'a>> {
    bundle.views().map(|view| View {
        old: view.old.or(old.get(&view.entry.path).map(Vec::as_slice)),
        ..view
    })
}

/// `2 paths: /etc/hosts, /srv/new`; `9 paths, by dpkg's lists it installs tree 2.1.0-1: /usr/bin/tree, …`. Of many it has the kinds before.
fn names(plan: &Plan, all: &[View<'_>], packages: &str) -> String {
    let count = match all.len() {
        1 => "1 path".to_owned(),
        count if count > COUNTED => format!("{count} paths ({})", kinds(plan)),
        count => format!("{count} paths"),
    };
    let mut text = format!("{count}{packages}: ");
    let most = text.len() + NAMES;
    for (at, View { entry, .. }) in all.iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        let (path, taken) = start(entry.path.as_bytes(), NAMES);
        if taken < entry.path.as_bytes().len() || text.len() + path.len() > most {
            let more = all.len() - at;
            text.push_str(&format!("{comma}[… {more} more …]"));
            break;
        }
        text.push_str(comma);
        text.push_str(&path);
    }
    text
}

pub fn sentences(bundle: &Bundle, old: &OldBytes) -> Vec<String> {
    risk_sentences(known(bundle, old))
}

#[cfg(test)]
mod tests {
    use remit_approval::ActContext;
    use remit_common::wire::Bytes;
    use remit_edit::{Action, Edit, Edits};
    use remit_plan::{
        Base, Change, Content, Entry, Kind, Metadata, OldCapabilities, Plan, PlanPath, Source,
        Stat, sha256,
    };
    use remit_policy::Profile;

    use super::*;
    use crate::fixture::Scene;
    use crate::verified::Unverified;
    use crate::{is_of_cut, shown, whole};

    fn bundle(files: &[(&str, &[u8])]) -> Bundle {
        let edit = |(path, bytes): &(&str, &[u8])| Edit {
            path: PlanPath::new(*path).unwrap(),
            action: Action::Write(bytes.to_vec()),
            mode: None,
            uid: None,
            gid: None,
            base_sha256: None,
            create_only: false,
        };
        let edits = Edits {
            edits: files.iter().map(edit).collect(),
        };
        let planned = edits
            .edits
            .iter()
            .filter_map(|edit| edit.apply(None).unwrap());
        remit_edit::bundle(planned.collect()).unwrap()
    }

    #[test]
    fn standard_input_that_is_a_plan_is_shown_as_one() {
        let bundle = bundle(&[
            ("/etc/sudoers.d/x", b"agent ALL=(ALL) NOPASSWD: ALL\n"),
            ("/srv/a\nb", b"\tx\x1b[2J\n"),
        ]);
        let scene = Scene::new();
        let page = shown(&scene.commit(bundle.as_bytes()));
        let plan = page.plan.expect("it is a plan");
        assert_eq!(plan.names, "2 paths: /etc/sudoers.d/x, /srv/a\\nb");
        assert_eq!(plan.commit_id, bundle.plan().commit_id());
        assert_eq!(plan.content_sha256, hex(&bundle.plan().content_digest()));
        let [sudo, other] = &plan.entries[..] else {
            panic!("{plan:?}");
        };
        assert_eq!(sudo.what, "new file of 30 bytes, mode 0644, owner 0:0");
        assert_eq!(sudo.diff[1], "+agent ALL=(ALL) NOPASSWD: ALL");
        assert_eq!(other.path, "/srv/a\\nb");
        assert_eq!(other.diff[1], "+… \\tx\\x1b[2J");
        let risk = "/etc/sudoers.d/x: it decides who may become root";
        assert!(page.risks.contains(&risk.to_owned()), "{:?}", page.risks);
        let stdin = page.stdin.unwrap();
        assert!(stdin.ends_with("a plan, shown above"), "{stdin}");
    }

    #[test]
    fn packages_have_lines_beside_the_paths() {
        let list = "/var/lib/dpkg/info/nightly.list";
        let page = shown(&Scene::new().commit(bundle(&[(list, b"/usr\n")]).as_bytes()));
        let plan = page.plan.unwrap();
        let line = "by dpkg's lists it installs nightly";
        assert_eq!(plan.packages, [line]);
        assert_eq!(plan.names, format!("1 path, {line}: {list}"));
        assert_eq!(plan.paths, format!("1 path: {list}"));
    }

    #[test]
    fn risks_of_an_undo_come_before_what_it_does() {
        let scene = Scene::new();
        let risk = "/etc/sudoers.d/x: it decides who may become root";
        let line = "'/etc/sudoers.d/x' is removed; the commit left a file of 9 bytes";
        let does = vec![format!("{UNDO_RISK}{risk}"), line.to_owned()];
        let mut undo = scene.undo();
        undo.request.does = does.clone();
        assert_eq!(
            shown(&undo).risks,
            [risk.to_owned(), format!("does: {line}")]
        );
        // Another program says what it likes.
        let mut other = scene.script(b"true", b"");
        other.request.does = does.clone();
        let risks = shown(&other).risks;
        assert!(
            risks.contains(&format!("does: {UNDO_RISK}{risk}")),
            "{risks:?}"
        );
        // Which commit it is comes first, and only the daemon's first line of an undo says it.
        let commit = "commit 0123 of 2026-11-29 19:22:03 UTC";
        let head = format!("{UNDOES}{commit}");
        let first = [std::slice::from_ref(&head), &does[..]].concat();
        let last = [&does[..], &[head]].concat();
        for (does, is_first) in [(&first, true), (&last, false)] {
            undo.request.does = does.clone();
            let page = shown(&undo);
            assert_eq!(page.undoes.as_deref(), is_first.then_some(commit));
            assert_eq!(page.risks.concat().contains(commit), !is_first, "{page:?}");
        }
        other.request.does = first;
        assert_eq!(shown(&other).undoes, None);
    }

    #[test]
    fn risks_come_before_what_is_cut_and_paths_hide_no_words() {
        let name = "x".repeat(200);
        let path = format!("/etc/sudoers.d/{name}");
        let other = format!("/etc/sudoers.d/{name}y");
        let long = b"a line\n".repeat(9000);
        let risk = "it decides who may become root";
        for (files, more) in [
            (&[(path.as_str(), &long[..])][..], ""),
            (
                &[(path.as_str(), &long[..]), (&other, &long)],
                ", [… 1 more …]",
            ),
        ] {
            let page = shown(&Scene::new().commit(bundle(files).as_bytes()));
            let [first, .., last] = &page.risks[..] else {
                panic!("{:?}", page.risks);
            };
            assert!(
                first.starts_with("/etc/sudoers.d/x") && first.contains("x…xx"),
                "{first}"
            );
            assert!(first.ends_with(&format!("xx{more}: {risk}")), "{first}");
            assert!(first.len() < 2 * 60, "{first}");
            assert!(last.starts_with("the plan is cut on this page"), "{last}");
            assert!(is_of_cut(last) && !is_of_cut(first), "{:?}", page.risks);
            assert_eq!(page.plan.unwrap().entries[0].path, path);
        }
        let mut undo = Scene::new().undo();
        let line = "'/a\\'' is removed; the commit left a symbolic link to 'x…x'";
        undo.request.does = vec![
            format!("{UNDO_RISK}/etc/sudoers.d/a\\nb…c: {risk}"),
            line.to_owned(),
        ];
        assert_eq!(
            shown(&undo).risks,
            [
                format!("/etc/sudoers.d/a\\nb…c: {risk}"),
                format!("does: {line}")
            ]
        );
    }

    /// The last of several risks of a long page is overlooked, and a good check is in its head.
    #[test]
    fn failed_check_is_in_the_head_and_before_other_risks() {
        let bundle = bundle(&[("/etc/sudoers.d/x", b"x ALL=(ALL) ALL\n")]);
        let end = |is_well, text: &str| CheckEnd {
            is_well,
            text: text.to_owned(),
        };
        let (well, failed) = (end(true, "exit 0, now: a"), end(false, "FAILED, now: b"));
        for (checks, checked, first) in [
            (vec![well.clone()], vec!["exit 0, now: a"], None),
            (
                vec![well, failed],
                vec!["FAILED, now: b", "exit 0, now: a"],
                Some("check of exactly these files: FAILED, now: b"),
            ),
        ] {
            let mut asked = Scene::new().asks_to_commit(bundle.as_bytes(), Vec::new());
            asked.context.checks = checks;
            let page = shown(&asked.verified());
            assert_eq!(page.plan.unwrap().checked, checked);
            let is_of_check = |risk: &String| risk.starts_with("check of exactly");
            let found = page.risks.iter().filter(|risk| is_of_check(risk)).count();
            assert_eq!(found, usize::from(first.is_some()), "{:?}", page.risks);
            if first.is_some() {
                assert_eq!(page.risks.first().map(String::as_str), first);
            }
        }
    }

    /// Facts that hold for each commit would hide those of this one.
    #[test]
    fn harmless_commit_and_undo_have_no_risk() {
        let scene = Scene::new();
        let page = shown(&scene.commit(bundle(&[("/srv/a", b"x\n")]).as_bytes()));
        assert!(page.risks.is_empty(), "{:?}", page.risks);
        let page = shown(&scene.undo());
        assert!(page.risks.is_empty(), "{:?}", page.risks);
    }

    fn act(text: &str, argv: &[&str], profile: Profile) -> ActContext {
        ActContext {
            text: text.to_owned(),
            argv: argv
                .iter()
                .map(|arg| Bytes::from(arg.as_bytes().to_vec()))
                .collect(),
            profile,
            is_own_program: argv[0].ends_with("/remit-act"),
        }
    }

    #[test]
    fn commands_that_follow_are_shown_with_their_risks() {
        let bundle = bundle(&[("/srv/a", b"x\n")]);
        let own = "/usr/libexec/remit/remit-act";
        let restart = "service.restart unit=nginx.service";
        let acts = vec![
            act(
                restart,
                &[own, "unit", "restart", "nginx.service"],
                Profile::read(),
            ),
            act(
                "site.update",
                &["/usr/bin/apt-get", "install", "remit"],
                Profile::host(),
            ),
        ];
        let mut asked = Scene::new().asks_to_commit(bundle.as_bytes(), acts);
        asked.context.host_jobs = vec!["a [0123]".to_owned()];
        let page = shown(&asked.verified());
        assert_eq!(page.then, [restart, "site.update"]);
        assert!(page.plan.is_some());
        let risks = page.risks.join("\n");
        for risk in [
            "then service.restart: nginx.service stops and starts again",
            "then site.update: no sandbox: it runs as root",
            "then site.update: a restart of remitd by it would cut these jobs",
        ] {
            assert!(risks.contains(risk), "{risk}: {risks}");
        }
        assert!(!risks.contains("service.restart: no sandbox"));
        assert!(
            shown(&Scene::new().commit(bundle.as_bytes()))
                .then
                .is_empty()
        );
    }

    /// The daemon says what runs, and only the texts are signed.
    #[test]
    fn commands_that_follow_are_the_signed_ones() {
        let bundle = bundle(&[("/srv/a", b"x\n")]);
        let restart = || act("site.restart", &["/bin/true"], Profile::read());
        let refused = |change: fn(&mut Vec<ActContext>)| {
            let mut asked = Scene::new().asks_to_commit(bundle.as_bytes(), vec![restart()]);
            change(&mut asked.context.acts);
            Verified::from_answer(&asked.answer()).err()
        };
        assert_eq!(refused(|_| ()), None);
        let other = Some(Unverified::OtherCommand);
        assert_eq!(refused(Vec::clear), other);
        assert_eq!(refused(|acts| acts[0].text.push('x')), other);
        assert_eq!(refused(|acts| acts.push(acts[0].clone())), other);
    }

    #[test]
    fn one_byte_less_or_other_is_no_plan() {
        let bytes = bundle(&[("/srv/a", b"x\n")]).as_bytes().to_vec();
        let mut other = bytes.clone();
        *other.last_mut().unwrap() ^= 1;
        let cut = &bytes[..bytes.len() - 1];
        for bytes in [cut, &other] {
            let page = shown(&Scene::new().commit(bytes));
            assert_eq!(page.plan, None);
        }
    }

    #[test]
    fn long_diff_is_counted_on_the_page_and_whole_on_demand() {
        let long = b"a line\n".repeat(9000);
        let many: Vec<String> = (0..3000)
            .map(|at| format!("/srv/some-directory/{at}"))
            .collect();
        let many: Vec<(&str, &[u8])> = many.iter().map(|path| (path.as_str(), &b"x"[..])).collect();
        for (bundle, lines) in [(bundle(&[("/srv/a", &long)]), 9001), (bundle(&many), 9000)] {
            let verified = Scene::new().commit(bundle.as_bytes());
            let page = shown(&verified);
            let cut = "the plan is cut on this page";
            assert!(page.risks[0].starts_with(cut), "{:?}", page.risks);
            let plan = page.plan.unwrap();
            let count =
                |plan: &PlanView| plan.entries.iter().map(|one| one.diff.len()).sum::<usize>();
            assert!(count(&plan) < lines && !plan.entries.is_empty());
            let page = whole(&verified);
            assert!(
                !page.risks.iter().any(|risk| risk.contains("is cut")),
                "{:?}",
                page.risks
            );
            let plan = page.plan.unwrap();
            assert_eq!((count(&plan), plan.left_out), (lines, None));
        }
    }

    #[test]
    fn long_path_is_cut_on_the_page_and_whole_on_demand() {
        let path = format!("/srv{}", format!("/{}", "x".repeat(250)).repeat(5));
        let verified = Scene::new().commit(bundle(&[(&path, b"x\n")]).as_bytes());
        let page = shown(&verified);
        assert!(is_cut(&page.plan.unwrap().entries[0].path));
        let cut = "the plan is cut on this page";
        assert!(page.risks[0].starts_with(cut), "{:?}", page.risks);
        let page = whole(&verified);
        assert_eq!(page.plan.unwrap().entries[0].path, path);
        assert!(page.risks.is_empty(), "{:?}", page.risks);
    }

    /// No option shows these.
    #[test]
    fn old_bytes_by_hash_alone_are_said_with_no_way_to_read_them() {
        let base = file_of(0o644, 1 << 20, Some([7; 32]));
        let bundle = bundle_of("/srv/a", Change::Remove { base }, b"");
        let verified = Scene::new().commit(bundle.as_bytes());
        for page in [shown(&verified), whole(&verified)] {
            let risk = "the plan has old bytes by their hash alone: an approval covers what is removed of them, too";
            assert_eq!(page.risks, [risk]);
            assert!(is_of_cut(risk));
            let diff = page.plan.unwrap().entries.remove(0).diff;
            assert!(
                diff[0].starts_with("[… 1048576 old bytes are not shown, sha256 "),
                "{diff:?}"
            );
        }
    }

    #[test]
    fn script_and_standard_input_are_whole_on_demand() {
        let long = "echo this is a long script\n".repeat(30_000);
        let line = format!("{}\nend", "x".repeat(70_000));
        for (script, stdin) in [(&long, &line), (&line, &long)] {
            let verified = Scene::new().script(script.as_bytes(), stdin.as_bytes());
            let page = shown(&verified);
            assert!(
                page.risks[0].contains("is cut on this page")
                    && page.risks[0].ends_with("; to read it: remit show --all"),
                "{:?}",
                page.risks
            );
            let page = whole(&verified);
            assert!(
                !page.risks.iter().any(|risk| risk.contains("is cut")),
                "{:?}",
                page.risks
            );
            assert!(
                page.script[0].ends_with(", all of it:"),
                "{}",
                page.script[0]
            );
            assert_eq!(page.script.len() - 1, script.lines().count());
            let expect = stdin.replace('\n', "\\n");
            assert!(page.stdin.unwrap().ends_with(&expect));
        }
    }

    fn file_of(mode: u32, size: usize, sha256: Option<[u8; 32]>) -> Base {
        let meta = Metadata {
            mode,
            uid: 0,
            gid: 0,
        };
        let stat = Stat {
            kind: Kind::File,
            dev: 1,
            ino: 2,
            ctime_ns: 3,
            size: size as u64,
            meta,
        };
        Base {
            stat,
            sha256,
            capabilities: OldCapabilities::Unread,
        }
    }

    fn bundle_of(path: &str, change: Change, new: &[u8]) -> Bundle {
        let path = PlanPath::new(path).unwrap();
        let plan = Plan::new(vec![Entry { path, change }]).unwrap();
        Bundle::new(&plan, new, b"").unwrap()
    }

    fn private(path: &str, old: &[u8], new: &[u8]) -> Bundle {
        let base = file_of(0o440, old.len(), None);
        let content = Content {
            size: new.len() as u64,
            sha256: sha256(new),
            source: Source::Bundle,
            capabilities: None,
            mtime: None,
        };
        let meta = base.stat.meta;
        let change = Change::Replace {
            base,
            content,
            meta,
        };
        bundle_of(path, change, new)
    }

    /// What the file is for comes first; that its old bytes are unread is said once, and only to whom that applies.
    #[test]
    fn unread_old_bytes_are_a_risk_unless_the_approver_sees_them() {
        let bundle = private("/etc/sudoers.d/x", b"old\n", b"new\n");
        let unread = Scene::new().commit(bundle.as_bytes());
        let page = shown(&unread);
        let sudo = "/etc/sudoers.d/x: it decides who may become root";
        let old = "/etc/sudoers.d/x: its old content was not read for this plan: read it before you approve";
        assert_eq!(page.risks, [sudo, old]);
        let line = "[… 4 old bytes were not read for this plan; to see them: sudo remit show …]";
        let diff = page.plan.unwrap().entries.remove(0).diff;
        assert_eq!(diff, [line, "@@ -0,0 +1 @@", "+new"]);
        let page = shown(&unread.with_old(|_, _| Some(b"old\n".to_vec())));
        assert_eq!(page.risks, [sudo]);
        let diff = page.plan.unwrap().entries.remove(0).diff;
        assert_eq!(diff, ["@@ -1 +1 @@", "-old", "+new"]);
    }

    /// With the old bytes, only accounts that change are facts.
    #[test]
    fn old_bytes_of_the_approver_count_for_the_risks() {
        let (old, new) = (b"root:$6$a:1\nann:!:1\n", b"root:$6$a:1\nann:$6$b:1\n");
        let bundle = private("/etc/shadow", old, new);
        let page = shown(
            &Scene::new()
                .commit(bundle.as_bytes())
                .with_old(|_, _| Some(old.to_vec())),
        );
        let passwords = "/etc/shadow: it holds passwords";
        assert_eq!(
            page.risks,
            [passwords, "/etc/shadow: account 'ann' gets a password"]
        );
    }

    #[test]
    fn mode_of_an_unread_file_is_no_removal_of_its_lines() {
        let bundle = metadata_of(None);
        let unread = Scene::new().commit(bundle.as_bytes());
        let page = shown(&unread.with_old(|_, _| Some(b"old\n".to_vec())));
        assert_eq!(page.plan.unwrap().entries.remove(0).diff, [""; 0]);
    }

    #[test]
    fn binary_file_has_size_and_hash_and_all_bytes_on_demand() {
        let bytes: Vec<u8> = (0..=255).cycle().take(4096).collect();
        let bundle = bundle(&[("/srv/tool", &bytes)]);
        let verified = Scene::new().commit(bundle.as_bytes());
        let page = shown(&verified);
        let sha256 = hex(&sha256(&bytes));
        let line = format!("[… 4096 new bytes are not text, sha256 {sha256} …]");
        assert_eq!(page.plan.unwrap().entries.remove(0).diff, [line]);
        assert!(
            page.risks[0].starts_with("the plan is cut"),
            "{:?}",
            page.risks
        );
        let page = whole(&verified);
        assert!(page.risks.is_empty(), "{:?}", page.risks);
        let diff = page.plan.unwrap().entries.remove(0).diff;
        assert!(diff.iter().all(|line| !line.starts_with("[…")), "{diff:?}");
    }

    fn metadata(hash: [u8; 32]) -> Bundle {
        metadata_of(Some(hash))
    }

    fn metadata_of(sha256: Option<[u8; 32]>) -> Bundle {
        let base = file_of(0o644, 4, sha256);
        let meta = Metadata {
            mode: 0o640,
            ..base.stat.meta
        };
        bundle_of("/srv/a", Change::SetMetadata { base, meta }, b"")
    }

    /// Only remit-commit takes standard input for a plan. A shell runs its lines, and a hash can be one.
    #[test]
    fn standard_input_of_another_program_is_shown_as_its_bytes() {
        let line = *b"\necho agent>>/etc/sudoers.d/x\n#\n";
        let bundle = metadata(line.first_chunk().copied().unwrap());
        let verified = Scene::new().script(b"exec sh -s", bundle.as_bytes());
        for page in [shown(&verified), whole(&verified)] {
            let stdin = page.stdin.unwrap();
            assert!(stdin.contains("echo agent>>/etc/sudoers.d/x"), "{stdin}");
        }
    }

    #[test]
    fn worst_risk_is_not_hidden_by_many_others() {
        let mut paths: Vec<String> = (0..40).map(|at| format!("/etc/firewalld/{at}")).collect();
        paths.push("/etc/sudoers.d/x".to_owned());
        let files: Vec<(&str, &[u8])> = paths
            .iter()
            .map(|path| (path.as_str(), &b"x"[..]))
            .collect();
        let page = shown(&Scene::new().commit(bundle(&files).as_bytes()));
        let sudo = "/etc/sudoers.d/x: it decides who may become root".to_owned();
        assert!(page.risks.contains(&sudo), "{:#?}", page.risks);
    }

    /// Entries are shown in the order of their paths: long diffs before it can hide one that gives root.
    #[test]
    fn dangerous_entry_is_shown_whole_before_long_ones() {
        let long = b"a line\n".repeat(3000);
        let files: &[(&str, &[u8])] = &[
            ("/etc/a", &long),
            ("/etc/b", &long),
            ("/etc/sudoers.d/x", b"agent ALL=(ALL) NOPASSWD: ALL\n"),
        ];
        let page = shown(&Scene::new().commit(bundle(files).as_bytes()));
        let plan = page.plan.unwrap();
        let lines = plan.entries.iter().flat_map(|entry| &entry.diff);
        let is_shown = lines.into_iter().any(|line| line.contains("NOPASSWD"));
        assert!(is_shown, "{:?}", plan.left_out);
    }
}
