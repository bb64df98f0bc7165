//! The names that the service manager reads a unit by (systemd.unit(5)).

/// Directories of a unit's dependencies.
const DEPENDENCIES: [&str; 3] = ["wants", "requires", "upholds"];

/// Splits `a-b@c.service` into `a-b`, `c` and `service`.
fn split(name: &str) -> (&str, Option<&str>, &str) {
    let (stem, kind) = name.rsplit_once('.').unwrap_or((name, ""));
    match stem.split_once('@') {
        Some((prefix, instance)) => (prefix, Some(instance), kind),
        None => (stem, None, kind),
    }
}

/// Returns the template of an instance, and of nothing else.
pub fn template(name: &str) -> Option<String> {
    let (prefix, instance, kind) = split(name);
    instance
        .filter(|instance| !instance.is_empty())
        .map(|_| format!("{prefix}@.{kind}"))
}

/// Returns the names of files that can define a unit: its own, then that of its template.
pub fn names_of_files(name: &str) -> Vec<String> {
    [name.to_owned()]
        .into_iter()
        .chain(template(name))
        .collect()
}

/// Returns the names of directories that add to a unit (systemd.unit(5)): of drop-ins for its kind, for units whose names begin alike,
/// for its template and for itself, and of its dependencies.
pub fn names_of_directories(name: &str) -> Vec<String> {
    let (prefix, instance, kind) = split(name);
    let mut prefixes = vec![prefix];
    let mut rest = prefix;
    while let Some(dash) = rest.strip_suffix('-').unwrap_or(rest).rfind('-') {
        rest = rest.get(..=dash).unwrap_or_default();
        prefixes.push(rest);
    }
    let mut all = vec![format!("{kind}.d")];
    for prefix in prefixes {
        match instance {
            Some(instance) => all.extend([
                format!("{prefix}@{instance}.{kind}.d"),
                format!("{prefix}@.{kind}.d"),
            ]),
            None => all.push(format!("{prefix}.{kind}.d")),
        }
    }
    let files = names_of_files(name);
    all.extend(
        files
            .iter()
            .flat_map(|name| DEPENDENCIES.map(|of| format!("{name}.{of}"))),
    );
    all
}

/// Returns the name that a unit has by a link `link` to a file `target` which can define it: that of the link, with the
/// instance of the unit if the link is a template.
pub fn name_by_link(link: &str, target: &str, unit: &str) -> Option<String> {
    if !names_of_files(unit).iter().any(|file| file == target) {
        return None;
    }
    let (prefix, instance, kind) = split(link);
    let (_, own, _) = split(unit);
    match (instance, own) {
        (Some(""), Some(own)) => Some(format!("{prefix}@{own}.{kind}")),
        _ => Some(link.to_owned()),
    }
}
