//! Runs the complete benchmark, from the start of the daemon to the result.

use std::fs;

use serde::Serialize;

use crate::against::Against;
use crate::calls::{self, Calls};
use crate::changes::{self, Changes};
use crate::conditions::Conditions;
use crate::copies::{self, Copies};
use crate::decide::{self, Decision};
use crate::fleet;
use crate::flood::{self, Meanwhile};
use crate::footprint::{self, Footprint, Starts};
use crate::growth::Growths;
use crate::lanes::{self, Ways};
use crate::load::{self, Load};
use crate::output::Outputs;
use crate::prove::{self, Proofs};
use crate::replay::{self, Replay};
use crate::search::{self, Searches};
use crate::section::{Section, ratio};
use crate::soak::{self, Soak};
use crate::stage::Stage;
use crate::{Args, Failure};

#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub conditions: Option<Conditions>,
    pub calls: Option<Calls>,
    pub against: Option<Against>,
    pub starts: Option<Starts>,
    pub load: Option<Load>,
    pub growth: Option<Growths>,
    pub output: Option<Outputs>,
    pub footprint: Option<Footprint>,
    pub floods: Option<Vec<Meanwhile>>,
    pub search: Option<Searches>,
    pub decide: Option<Vec<Decision>>,
    pub replay: Option<Replay>,
    pub prove: Option<Proofs>,
    pub changes: Option<Changes>,
    pub copies: Option<Copies>,
    pub fleet: Option<fleet::Runs>,
    pub soak: Option<Soak>,
}

pub fn run(args: Args) -> Result<(), Failure> {
    if args.needs_stage() && !nix::unistd::geteuid().is_root() {
        return Err("the daemon must be started by root; 'make bench' sees to it".into());
    }
    let report = measure(&args)?;
    let sections = report.sections();
    for section in &sections {
        println!("{}", section.text());
    }
    let cannot =
        |path: &std::path::Path, error| format!("cannot write '{}': {error}", path.display());
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&report)?;
        fs::write(path, text + "\n").map_err(|error| cannot(path, error))?;
    }
    if let Some(path) = &args.markdown {
        let figures: String = sections.iter().map(Section::markdown).collect();
        let document = fs::read_to_string(path).map_err(|error| cannot(path, error))?;
        let document = with_figures(&document, &figures)?;
        fs::write(path, document).map_err(|error| cannot(path, error))?;
    }
    Ok(())
}

fn measure(args: &Args) -> Result<Report, Failure> {
    let mut report = Report::default();
    if args.needs_stage() {
        with_daemon(args, &mut report)?;
        // Each of these starts its own daemons.
        report.growth = wanted(args, "growth", || Growths::take(args))?;
        report.output = wanted(args, "output", || Outputs::take(args))?;
        report.changes = wanted(args, "changes", || changes::take(args))?;
        report.copies = wanted(args, "copies", || copies::take(args))?;
        report.fleet = wanted(args, "fleet", || fleet::take(args))?;
        report.prove = wanted(args, "prove", || prove::take(args))?;
        report.soak = wanted(args, "soak", || soak::take(args))?;
        report.footprint = wanted(args, "footprint", || Footprint::take(args))?;
    }
    report.decide = wanted(args, "decide", decide::take)?;
    report.replay = wanted(args, "replay", replay::take)?;
    Ok(report)
}

fn with_daemon(args: &Args, report: &mut Report) -> Result<(), Failure> {
    let mut stage = Stage::set(args)?;
    report.conditions = Some(Conditions::read(args, lanes::enforced(&mut stage)?)?);
    let is_compared = args.against.is_some();
    if let Some(other) = &args.against {
        report.against = wanted(args, "calls", || Against::take(args, other))?;
    }
    if args.has("calls") && !is_compared || args.has("flood") {
        let ways = Ways::open(args)?;
        if !is_compared {
            report.calls = wanted(args, "calls", || calls::take(args, &mut stage, &ways))?;
        }
        report.floods = wanted(args, "flood", || {
            flood::take(&mut stage, &ways, args.rounds)
        })?;
    }
    report.starts = wanted(args, "starts", || footprint::take(args, &mut stage))?;
    report.load = wanted(args, "load", || load::take(&mut stage))?;
    report.search = wanted(args, "search", || search::take(&mut stage))?;
    Ok(())
}

fn wanted<T>(
    args: &Args,
    part: &str,
    take: impl FnOnce() -> Result<T, Failure>,
) -> Result<Option<T>, Failure> {
    if !args.has(part) {
        return Ok(None);
    }
    let start = std::time::Instant::now();
    eprint!("{part} … ");
    let taken = take().map_err(|error| format!("{part}: {error}"))?;
    eprintln!("{:.0} s", start.elapsed().as_secs_f64());
    Ok(Some(taken))
}

impl Report {
    fn sections(&self) -> Vec<Section> {
        let mut all = Vec::new();
        all.extend(self.conditions.iter().map(Conditions::section));
        all.extend(in_short(
            self.calls.as_ref(),
            self.load.as_ref(),
            self.starts.as_ref(),
        ));
        all.extend(self.calls.iter().flat_map(Calls::sections));
        all.extend(self.against.iter().flat_map(Against::sections));
        all.extend(self.starts.iter().map(Starts::section));
        all.extend(self.load.iter().flat_map(Load::sections));
        all.extend(self.growth.iter().flat_map(Growths::sections));
        all.extend(self.output.iter().flat_map(Outputs::sections));
        all.extend(self.footprint.iter().flat_map(Footprint::sections));
        all.extend(self.soak.iter().map(soak::section));
        all.extend(self.floods.iter().map(|floods| flood::section(floods)));
        all.extend(self.search.iter().map(search::section));
        all.extend(self.changes.iter().map(changes::section));
        all.extend(self.copies.iter().flat_map(Copies::sections));
        all.extend(self.fleet.iter().map(fleet::section));
        all.extend(self.decide.iter().map(|all| decide::section(all)));
        all.extend(self.replay.iter().map(replay::section));
        all.extend(self.prove.iter().flat_map(prove::sections));
        all
    }
}

const BEGIN: &str = "<!-- figures: made by 'make bench MARKDOWN=FILE', not by hand -->\n";
const END: &str = "<!-- end of figures -->\n";

/// Replaces the figures between two marks of a document.
fn with_figures(document: &str, figures: &str) -> Result<String, Failure> {
    let marked = document.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    let (before, after) = marked.ok_or("the document has no two marks for figures")?;
    Ok(format!(
        "{before}{BEGIN}\n{}\n\n{END}{after}",
        figures.trim()
    ))
}

/// The most important ratios of one run; all of them are in other tables as well.
fn in_short(
    calls: Option<&Calls>,
    load: Option<&Load>,
    starts: Option<&Starts>,
) -> Option<Section> {
    let mut section = Section::new("In short", &["ratio", "p50", "p10"]);
    let mut rows = 0;
    let mut row = |name: String, cells: [String; 2]| {
        section.row(name, cells);
        rows += 1;
    };
    if let Some(calls) = calls {
        let mut over = |name: &str, key: &str, baseline: &str| {
            if let Some([p50, p10]) = calls.over(key, baseline) {
                row(name.to_owned(), [ratio(p50), ratio(p10)]);
            }
        };
        over(
            "sandbox 'read' alone, over fork + exec",
            lanes::READ,
            lanes::FORK,
        );
        over(
            "sandbox 'strict' alone, over fork + exec",
            lanes::STRICT,
            lanes::FORK,
        );
        over(
            "a call through mcp-shim, over the MCP server that only spawns",
            lanes::SHIM,
            lanes::MCP,
        );
        over(
            "the same through ssh, over mcp-shim without",
            lanes::SSH_SHIM,
            lanes::SHIM,
        );
        for peer in calls.peers() {
            let name = format!("a call through mcp-shim, over {peer}");
            over(&name, lanes::SHIM, peer);
        }
    }
    if let Some(load) = load {
        for (in_flight, times) in load.through_shim() {
            let name = format!("calls/s with {in_flight} in flight, over one after another");
            row(name, [ratio(times), String::new()]);
        }
    }
    if let Some(starts) = starts {
        let [p50, p10] = [starts.initialize.p50, starts.initialize.p10];
        let ms = |micros: f64| format!("{:.2} ms", micros / 1e3);
        row(
            "mcp-shim answers initialize after".to_owned(),
            [ms(p50), ms(p10)],
        );
    }
    (rows > 0).then_some(section)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let document = format!("a\n{BEGIN}old\n{END}b\n");
        let new = with_figures(&document, "\nnew\n").expect("it has marks");
        assert_eq!(new, format!("a\n{BEGIN}\nnew\n\n{END}b\n"));
        assert_eq!(with_figures(&new, "new").expect("it has marks"), new);
        assert!(with_figures("a\nb\n", "new").is_err());
    }
}
