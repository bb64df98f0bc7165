//! Each fuzz target has inputs: a few to read in `tests/fuzz/seeds`, all others in one archive.

use std::process::Command;

use super::repo;

/// Returns the inputs of the archive as `./TARGET/NAME`, or `None` if xz is not installed.
fn corpus() -> Option<Vec<String>> {
    if Command::new("xz").arg("--version").output().is_err() {
        return None;
    }
    let output = Command::new("tar")
        .args(["-tJf", "tests/fuzz/corpus.tar.xz"])
        .current_dir(repo::root())
        .output()
        .expect("tar starts");
    assert!(output.status.success(), "{output:?}");
    let listing = String::from_utf8(output.stdout).expect("names are text");
    let inputs = listing.lines().filter(|name| !name.ends_with('/'));
    Some(inputs.map(str::to_owned).collect())
}

#[test]
fn each_fuzz_target_has_seeds_and_a_corpus() {
    let files = repo::files();
    let corpus = corpus();
    if corpus.is_none() {
        repo::missing("xz");
    }
    let targets: Vec<&str> = files
        .iter()
        .filter(|file| file.starts_with("tests/fuzz/src/bin"))
        .filter_map(|file| file.file_stem()?.to_str())
        .collect();
    assert!(!targets.is_empty());
    for target in targets {
        let seeds = format!("tests/fuzz/seeds/{target}");
        assert!(
            files.iter().any(|file| file.starts_with(&seeds)),
            "{seeds} is empty"
        );
        let packed = format!("./{target}/");
        assert!(
            corpus
                .as_ref()
                .is_none_or(|all| all.iter().any(|name| name.starts_with(&packed))),
            "corpus.tar.xz has no input for '{target}': 'tests/fuzz/run 60 {target}', then 'tests/fuzz/run merge {target}'"
        );
    }
}
