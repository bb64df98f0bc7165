//! Arguments of `remit access` and `remit host`.

use std::ffi::OsString;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueHint};

use remit_common::host::Section;

#[derive(Debug, Args)]
pub struct AccessArgs {
    /// Ask about this sandbox profile [default: read]
    #[arg(long, value_name = "NAME", requires = "argv")]
    pub profile: Option<String>,

    /// Explain this named command, and whether you may use it
    #[arg(long, value_name = "COMMAND",
          conflicts_with_all = ["profile", "argv"])]
    pub name: Option<String>,

    /// List only commands that have all these words in their name or summary
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["name", "profile", "argv"])]
    pub query: Option<String>,

    /// Ask whether this command would be allowed
    #[arg(trailing_var_arg = true, value_name = "ARGV", value_hint = ValueHint::CommandWithArguments)]
    pub argv: Vec<OsString>,
}

#[derive(Debug, Args)]
pub struct HostArgs {
    /// Only these sections
    #[arg(value_name = "SECTION", value_parser = section())]
    pub sections: Vec<Section>,
}

fn section() -> impl TypedValueParser<Value = Section> {
    PossibleValuesParser::new(Section::ALL.map(Section::name)).try_map(|name| name.parse())
}
