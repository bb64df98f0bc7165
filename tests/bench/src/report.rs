//! Runs the complete benchmark, from the start of the daemon to the result.

use std::fs;

use serde::Serialize;

use crate::Failure;
use crate::args::Args;
use crate::calls::{self, Calls};
use crate::conditions::Conditions;
use crate::decide::{self, Decision};
use crate::document;
use crate::flood::{self, Meanwhile};
use crate::footprint::Footprint;
use crate::growth::Growths;
use crate::lanes::{self, Ways};
use crate::load::{self, Load};
use crate::output::Outputs;
use crate::search::{self, Searches};
use crate::section::Section;
use crate::stage::Stage;
use crate::starts::{self, Starts};
use crate::summary;

#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub conditions: Option<Conditions>,
    pub calls: Option<Calls>,
    pub starts: Option<Starts>,
    pub load: Option<Load>,
    pub growth: Option<Growths>,
    pub output: Option<Outputs>,
    pub footprint: Option<Footprint>,
    pub floods: Option<Vec<Meanwhile>>,
    pub search: Option<Searches>,
    pub decide: Option<Vec<Decision>>,
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
        let document = document::with_figures(&document, &figures)?;
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
        report.footprint = wanted(args, "footprint", || Footprint::take(args))?;
    }
    report.decide = wanted(args, "decide", decide::take)?;
    Ok(report)
}

fn with_daemon(args: &Args, report: &mut Report) -> Result<(), Failure> {
    let mut stage = Stage::set(args)?;
    report.conditions = Some(Conditions::read(args, lanes::enforced(&mut stage)?)?);
    if args.has("calls") || args.has("flood") {
        let ways = Ways::open(args)?;
        report.calls = wanted(args, "calls", || calls::take(args, &mut stage, &ways))?;
        report.floods = wanted(args, "flood", || {
            flood::take(&mut stage, &ways, args.rounds)
        })?;
    }
    report.starts = wanted(args, "starts", || starts::take(args, &mut stage))?;
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
        all.extend(summary::section(
            self.calls.as_ref(),
            self.load.as_ref(),
            self.starts.as_ref(),
        ));
        all.extend(self.calls.iter().flat_map(Calls::sections));
        all.extend(self.starts.iter().map(Starts::section));
        all.extend(self.load.iter().flat_map(Load::sections));
        all.extend(self.growth.iter().flat_map(Growths::sections));
        all.extend(self.output.iter().flat_map(Outputs::sections));
        all.extend(self.footprint.iter().flat_map(Footprint::sections));
        all.extend(self.floods.iter().map(|floods| flood::section(floods)));
        all.extend(self.search.iter().map(search::section));
        all.extend(self.decide.iter().map(|all| decide::section(all)));
        all
    }
}
