//! Prints the report of this machine as JSON: `host [SECTION…]`.

use remit_facts::{Sources, report};
use remit_wire::host::UnknownSection;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), UnknownSection> {
    let sections = std::env::args()
        .skip(1)
        .map(|name| name.parse())
        .collect::<Result<Vec<_>, _>>()?;
    let start = std::time::Instant::now();
    let report = report(sections, Sources::host()).await;
    let took = start.elapsed();
    let json = serde_json::to_string_pretty(&report).unwrap_or_default();
    println!("{json}");
    let compact = serde_json::to_string(&report).map_or(0, |json| json.len());
    eprintln!("{} ms, {compact} bytes of JSON", took.as_millis());
    Ok(())
}
