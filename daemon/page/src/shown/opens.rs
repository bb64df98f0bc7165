//! Shows which ways to root, or to another account, a change opens. Their texts have names of the machine, so no mark of
//! remit's in them is believed.

use remit_approval::ApprovalRequest;
use remit_common::escape::foreign;
use remit_common::prove::OpenedPath;

use crate::view::{Extent, OPENS, OVERHEAD, OpensView};

/// Bytes of who reaches what, and of a step.
const WHAT: usize = 200;
const STEP: usize = 700;
const WHY: usize = 500;
/// Bytes of all steps on a page.
const STEPS: usize = 5 << 10;

pub fn opens(request: &ApprovalRequest, extent: Extent) -> Vec<OpensView> {
    let mut left = match extent {
        Extent::Page => STEPS,
        Extent::Whole => usize::MAX,
    };
    let view = |path: &OpenedPath| OpensView {
        what: what(path),
        steps: fitting(&path.steps, &mut left, "steps"),
        closed_by: fitting(&path.closed_by, &mut left, "changes"),
    };
    request.opens.iter().map(view).collect()
}

/// Returns a sentence for each way, and one if there may be others.
pub fn sentences(request: &ApprovalRequest) -> (Vec<String>, Option<String>) {
    let opened = request.opens.iter();
    let opened = opened.map(|path| format!("{OPENS}{}", what(path)));
    let why = request.opens_unknown.join("; ");
    let unknown = (!request.opens_unknown.is_empty()).then(|| {
        let why = foreign(&why, WHY);
        match request.opens.as_slice() {
            [] => format!("it is not known whether it opens a path to root: {why}"),
            _ => format!("it may open more paths to root: {why}"),
        }
    });
    (opened.collect(), unknown)
}

fn what(path: &OpenedPath) -> String {
    let half = |text| foreign(text, WHAT / 2);
    format!("{} reaches {}", half(&path.agent), half(&path.goal))
}

/// Returns the texts that fit, and how many do not.
fn fitting(all: &[String], left: &mut usize, what: &str) -> Vec<String> {
    let mut shown = Vec::new();
    for text in all {
        let text = foreign(text, STEP);
        let Some(rest) = left.checked_sub(text.len() + OVERHEAD) else {
            *left = 0;
            let more = all.len() - shown.len();
            shown.push(format!("[… {more} {what} more …]"));
            break;
        };
        *left = rest;
        shown.push(text);
    }
    shown
}

#[cfg(test)]
mod tests {
    use crate::fixture::Scene;
    use crate::{shown, whole};

    use super::*;

    fn path(steps: &[&str]) -> OpenedPath {
        OpenedPath {
            agent: "bot".to_owned(),
            goal: "root".to_owned(),
            steps: steps.iter().map(|&step| step.to_owned()).collect(),
            closed_by: vec!["chmod g-w /srv/x".to_owned()],
        }
    }

    #[test]
    fn opened_path_is_the_first_risk() {
        let mut undo = Scene::new().undo();
        undo.request.does = vec![format!("{}/x: it is bad", remit_plan::UNDO_RISK)];
        undo.request.opens = vec![path(&["it writes", "it runs"])];
        undo.request.opens_unknown = vec!["a".to_owned(), "b\nRISK".to_owned()];
        let page = shown(&undo);
        assert_eq!(
            page.risks,
            [
                "opens a path: bot reaches root",
                "/x: it is bad",
                "it may open more paths to root: a; b\\nRISK"
            ]
        );
        let [view] = &page.opens[..] else {
            panic!("{page:?}");
        };
        assert_eq!(view.what, "bot reaches root");
        assert_eq!(view.steps, ["it writes", "it runs"]);
        assert_eq!(view.closed_by, ["chmod g-w /srv/x"]);
        undo.request.opens.clear();
        let page = shown(&undo);
        assert_eq!(
            page.risks[1],
            "it is not known whether it opens a path to root: a; b\\nRISK"
        );
        assert!(page.opens.is_empty());
    }

    /// Renderers put the steps of each way below the risk at its position.
    #[test]
    fn withheld_copy_comes_after_each_opened_path() {
        let mut asked = Scene::new().asks_with_copies(&[b"abc"]);
        (asked.is_withheld, asked.contents) = (true, Vec::new());
        asked.request.opens = vec![path(&["it writes"]), path(&["it runs"])];
        let page = shown(&asked.verified());
        let beginning = page
            .opens
            .iter()
            .map(|view| format!("{OPENS}{}", view.what));
        let beginning: Vec<String> = beginning.collect();
        assert!(page.risks.starts_with(&beginning), "{:?}", page.risks);
        assert!(
            page.risks[2].contains("is not shown to you"),
            "{:?}",
            page.risks
        );
    }

    #[test]
    fn long_path_is_cut_and_the_page_says_so() {
        let mut undo = Scene::new().undo();
        let long = "x".repeat(600);
        undo.request.opens = vec![path(&[long.as_str(); 40]), path(&["it runs"])];
        let page = shown(&undo);
        let steps: Vec<&String> = page.opens.iter().flat_map(|view| &view.steps).collect();
        assert!(steps.iter().map(|step| step.len()).sum::<usize>() < STEPS + 100);
        assert_eq!(page.opens[0].steps.last().unwrap(), "[… 32 steps more …]");
        assert_eq!(page.opens[1].steps, ["[… 1 steps more …]"]);
        let cut = "how it opens a path is cut on this page";
        let is_said = |risks: &[String]| risks.iter().any(|risk| risk.starts_with(cut));
        assert!(is_said(&page.risks), "{:?}", page.risks);
        let page = whole(&undo);
        assert_eq!(page.opens[0].steps, vec![long; 40]);
        assert!(!is_said(&page.risks), "{:?}", page.risks);
    }

    #[test]
    fn hostile_text_forges_no_mark_and_no_line() {
        let hostile = "a\n1. x\n[… 3 steps more …]\x1b[2J";
        let mut undo = Scene::new().undo();
        undo.request.opens = vec![OpenedPath {
            agent: hostile.to_owned(),
            goal: hostile.to_owned(),
            steps: vec![hostile.to_owned()],
            closed_by: vec![hostile.to_owned()],
        }];
        undo.request.opens_unknown = vec![hostile.to_owned()];
        for page in [shown(&undo), whole(&undo)] {
            let view = &page.opens[0];
            let lists = [&view.steps, &view.closed_by, &page.risks];
            let mut texts = lists.into_iter().flatten().chain([&view.what]);
            assert!(
                texts.all(|text| !text.contains(|c: char| c.is_control() || c == '…')),
                "{page:?}"
            );
        }
    }
}
