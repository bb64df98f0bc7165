//! The most important ratios of one run. Pure: all of them are in other tables as well.

use crate::calls::Calls;
use crate::lanes;
use crate::load::Load;
use crate::section::{Section, ratio};
use crate::starts::Starts;

pub fn section(
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
