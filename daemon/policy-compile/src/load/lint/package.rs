//! Checks names of packages that apt is to read. Without a package of that name, it takes one with a dot or a plus sign
//! for a regular expression over all names (apt-get(8)), so a rule about one name would not hold.

use remit_policy::model::command::ParamKind;

use super::{LintWord, Linter};

const PROGRAMS: [&str; 4] = ["apt", "apt-get", "apt-cache", "apt-mark"];
const LITERAL: &str = "APT::Cmd::Pattern-Only";

impl Linter {
    /// Refuses a package as an operand of such a program, unless an option makes it the name that it is.
    pub(super) fn package(&mut self, name: &str, rest: &[LintWord<'_>]) {
        if !PROGRAMS.contains(&name) || is_literal(rest) {
            return;
        }
        let is_package = |word: &&LintWord<'_>| {
            matches!(word.kind, Some(ParamKind::Package)) && !word.is_option()
        };
        if let Some(word) = rest.iter().find(is_package) {
            let message = format!(
                "a package that {name} takes for a regular expression if no package has that name, as open.sl for \
                 openssl: rules about openssl would not hold"
            );
            let help = format!("write \"--option={LITERAL}=true\" in 'argv' before it");
            self.refuse_with_help(&word.span, message, help);
        }
    }
}

/// Returns true if the last option about it says yes.
fn is_literal(rest: &[LintWord<'_>]) -> bool {
    let mut words = rest.iter().filter(|word| !word.value).map(|word| word.text);
    let mut literal = false;
    while let Some(word) = words.next().filter(|word| *word != "--") {
        let attached = ["--option=", "-o="]
            .iter()
            .find_map(|name| word.strip_prefix(name));
        let setting = match word {
            "-o" | "--option" => words.next(),
            _ => attached.or_else(|| word.strip_prefix("-o")),
        };
        if let Some((key, value)) = setting.and_then(|text| text.split_once('='))
            && key.eq_ignore_ascii_case(LITERAL)
        {
            let yes = ["1", "true", "yes", "on", "with", "enable"];
            literal = yes.iter().any(|yes| value.eq_ignore_ascii_case(yes));
        }
    }
    literal
}
