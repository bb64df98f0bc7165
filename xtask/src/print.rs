use std::fmt::Write;

use crate::classified::LineCounts;
use crate::report::{OldNames, RepositoryReport};
use crate::type_names::OldName;

pub fn report(report: &RepositoryReport) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = lines(&mut out, report)
        .and_then(|()| names(&mut out, report))
        .and_then(|()| circles(&mut out, report))
        .and_then(|()| words(&mut out, report));
    out
}

fn lines(out: &mut String, report: &RepositoryReport) -> std::fmt::Result {
    writeln!(
        out,
        "{:<24} {:>8} {:>8} {:>9} {:>6}",
        "Lines", "code", "comment", "test code", "tests"
    )?;
    for (name, counts) in &report.packages {
        line(out, name, counts)?;
    }
    line(out, "= shipped", &report.shipped)?;
    line(out, "= all", &report.all)?;
    writeln!(out, "\nRoot processes")?;
    for (name, process) in &report.root_processes {
        let packages: Vec<&str> = process.packages.iter().map(String::as_str).collect();
        writeln!(
            out,
            "  {name}: {} lines of code in {} crates, {} crates from elsewhere",
            process.code,
            packages.len(),
            process.external_crates
        )?;
        writeln!(out, "    {}", packages.join(", "))?;
    }
    writeln!(out, "\nEntries")?;
    for (dir, entries) in &report.entries {
        writeln!(out, "  {dir}: {entries}")?;
    }
    writeln!(out, "\nFiles in git: {}", report.files_in_git)
}

fn line(out: &mut String, name: &str, counts: &LineCounts) -> std::fmt::Result {
    let LineCounts {
        code,
        comments,
        test_code,
        tests,
    } = counts;
    writeln!(
        out,
        "  {name:<22} {code:>8} {comments:>8} {test_code:>9} {tests:>6}"
    )
}

fn names(out: &mut String, report: &RepositoryReport) -> std::fmt::Result {
    writeln!(
        out,
        "\nType names more than once in a crate: {}",
        report.repeated_types.len()
    )?;
    for (name, locations) in &report.repeated_types {
        writeln!(out, "  {name}: {}", locations.join(", "))?;
    }
    writeln!(
        out,
        "\nType names in more than one crate: {}",
        report.shared_types.len()
    )?;
    for (name, packages) in &report.shared_types {
        writeln!(out, "  {name}: {}", packages.join(", "))?;
    }
    writeln!(
        out,
        "\nTypes with inherent impl blocks in more than {} files: {}",
        crate::type_names::LIMIT,
        report.impl_spread.len()
    )?;
    for (name, files) in &report.impl_spread {
        writeln!(out, "  {name}: {files}")?;
    }
    Ok(())
}

fn circles(out: &mut String, report: &RepositoryReport) -> std::fmt::Result {
    let all: usize = report
        .circles
        .values()
        .map(|found| found.circles.len())
        .sum();
    let without_parents: usize = report
        .circles
        .values()
        .map(|found| found.besides_parents)
        .sum();
    writeln!(
        out,
        "\nCircles of files: {all}, and {without_parents} if no file needed the modules above it"
    )?;
    for (package, found) in &report.circles {
        for circle in &found.circles {
            writeln!(
                out,
                "  {package}, {} files: {}",
                circle.len(),
                circle.join(" ")
            )?;
        }
    }
    Ok(())
}

fn words(out: &mut String, report: &RepositoryReport) -> std::fmt::Result {
    writeln!(out, "\nBanned words: {}", report.hits.len())?;
    for (word, kinds) in &report.words {
        let sum: usize = kinds.values().sum();
        let kinds: Vec<String> = kinds
            .iter()
            .map(|(kind, count)| format!("{count} {kind:?}").to_lowercase())
            .collect();
        writeln!(out, "  {word:<12} {sum:>6}  {}", kinds.join(", "))?;
    }
    let OldNames {
        files,
        types,
        functions,
    } = &report.old_names;
    writeln!(
        out,
        "\nOld names: {} files, {} types, {} functions",
        files.len(),
        types.len(),
        functions.len()
    )
}

pub fn locations(report: &RepositoryReport, only: Option<&str>) -> String {
    let mut out = String::new();
    let is_wanted = |name: &str| only.is_none_or(|only| only.eq_ignore_ascii_case(name));
    for hit in report.hits.iter().filter(|hit| is_wanted(&hit.word)) {
        let kind = format!("{:?}", hit.kind).to_lowercase();
        let instead = report.instead.get(&hit.word).map_or("", String::as_str);
        let _ = writeln!(
            out,
            "{}:{}: {kind}: {} -> {instead}",
            hit.file, hit.line, hit.word
        );
    }
    let OldNames {
        files,
        types,
        functions,
    } = &report.old_names;
    for (kind, names) in [("file", files), ("type", types), ("function", functions)] {
        for OldName { location, old, new } in names.iter().filter(|name| is_wanted(&name.old)) {
            let _ = writeln!(out, "{location}: old {kind}: {old} -> {new}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::{TextKind, WordHit};

    fn sample() -> RepositoryReport {
        let hit = |word: &str, line| WordHit {
            file: "a.rs".into(),
            line,
            kind: TextKind::Comment,
            word: word.into(),
        };
        let mut report = RepositoryReport {
            hits: vec![hit("told", 1), hit("wall", 2)],
            ..RepositoryReport::default()
        };
        report.instead.insert("told".into(), "reported".into());
        report
    }

    #[test]
    fn locations_name_line_and_replacement() {
        let text = locations(&sample(), None);
        assert_eq!(
            text.lines().next(),
            Some("a.rs:1: comment: told -> reported")
        );
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn locations_of_one_word_leave_out_others() {
        assert_eq!(locations(&sample(), Some("TOLD")).lines().count(), 1);
        assert_eq!(locations(&sample(), Some("room")), "");
    }

    #[test]
    fn report_has_all_sections() {
        let text = report(&sample());
        for section in [
            "Lines",
            "Root processes",
            "Circles of files: 0",
            "Banned words: 2",
            "Old names",
        ] {
            assert!(text.contains(section), "{section}: {text}");
        }
    }
}
