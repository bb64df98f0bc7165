//! Values against each argument type: the result is exactly what the template permits, with one element for each
//! value, or nothing. The first byte selects the type. Bytes that are invalid in UTF-8 separate the values.
#![no_main]

use std::sync::{Arc, OnceLock};

use remit_policy::{ArgvElement, Command, MachineTable, Source};
use remit_policy_compile::load;

/// A type, true if a value may begin with a hyphen, and an independent check of its values.
type Type = (&'static str, bool, fn(&str) -> bool);

const TYPES: [Type; 16] = [
    ("type = 'string'", false, |value| {
        (1..=256).contains(&value.len()) && value.bytes().all(plain)
    }),
    ("type = 'string', dash = true, max = 5", true, |value| {
        (1..=5).contains(&value.len()) && value.bytes().all(plain)
    }),
    (
        "type = 'string', pattern = '(?s).*', max = 4096",
        false,
        |_| true,
    ),
    ("type = 'string', pattern = 'a|bc'", false, |value| {
        value == "a" || value == "bc"
    }),
    (
        "type = 'string', pattern = '(?m)^(x+x+)+y$'",
        false,
        |value| value.ends_with("xxy") && value.trim_start_matches('x') == "y",
    ),
    ("type = 'int', min = 1, max = 500", false, |value| {
        (1..=500).any(|number| number.to_string() == value)
    }),
    ("type = 'int', min = -20, max = 19", true, |value| {
        (-20..=19).any(|number| number.to_string() == value)
    }),
    (
        "type = 'enum', values = ['on', 'off', '-v', 'a b']",
        true,
        |value| ["on", "off", "-v", "a b"].contains(&value),
    ),
    ("type = 'unit'", false, |value| {
        value.contains('.')
            && value.bytes().all(|byte| plain(byte) || byte == b'\\')
            && !value.contains('/')
    }),
    ("type = 'user'", false, |value| {
        value.len() <= 32
            && !value.starts_with(|c: char| c.is_ascii_digit())
            && !value.contains([':', '/', ' ', '@'])
    }),
    ("type = 'package'", false, |value| {
        value.is_ascii()
            && !value.ends_with('-')
            && !value.contains(['/', '=', '*', ' ', '~', '^', '?'])
    }),
    ("type = 'path', under = '/srv/data'", false, |value| {
        value.starts_with("/srv/data/") && parts(value)
    }),
    (
        "type = 'path', under = '/srv/data', is = 'directory', pass = 'descriptor'",
        false,
        |value| (value == "/srv/data" || value.starts_with("/srv/data/")) && parts(value),
    ),
    ("type = 'path', under = '/', is = 'either'", false, parts),
    ("type = 'bool', flag = '-q'", true, |value| value == "-q"),
    ("type = 'secret', max = 64", true, |value| {
        (1..=64).contains(&value.len())
    }),
];

fn plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._:@/+-".contains(&byte)
}

fn parts(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else {
        return false;
    };
    rest.is_empty() || rest.split('/').all(|part| !["", ".", ".."].contains(&part))
}

/// A command for each type, with its values as separate arguments, after an option, and in a group.
fn commands() -> &'static [Arc<Command>] {
    static COMMANDS: OnceLock<Vec<Arc<Command>>> = OnceLock::new();
    COMMANDS.get_or_init(|| {
        let defined = |(at, (kind, ..)): (usize, &Type)| {
            let (behind, repeat) = match kind {
                _ if kind.contains("'bool'") => ("", ""),
                _ if kind.contains("'secret'") => (", '--o={x}'", ""),
                _ => (", '--o={x}'", ", repeat = 5"),
            };
            let text = format!(
                "[[command]]\nname = 'a.b{at}'\nsummary = 'x'\neffect = 'read'\nprofile = 'read'\n\
                 argv = ['/bin/x', '{{x}}'{behind}, ['-g', '{{x}}'], '--']\n\
                 args.x = {{ {kind}, optional = true{repeat} }}"
            );
            let source = Source {
                name: "a.toml".to_owned(),
                text: text.into_bytes(),
            };
            let (policy, _) =
                load(&[source], &MachineTable::default()).expect("the types are right");
            Arc::clone(policy.commands().next().expect("it is defined"))
        };
        TYPES.iter().enumerate().map(defined).collect()
    })
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    let at = usize::from(*first) % TYPES.len();
    let (kind, hyphen, holds) = TYPES[at];
    let Ok(values) = rest
        .split(|byte| *byte == 0xff)
        .map(|value| String::from_utf8(value.to_vec()))
        .collect::<Result<Vec<String>, _>>()
    else {
        return;
    };
    let args: Vec<(String, String)> = values
        .iter()
        .map(|value| ("x".to_owned(), value.clone()))
        .collect();
    let Ok(bound) = commands()[at].bind(&args, false) else {
        return;
    };
    let expected: Vec<&str> = match kind.contains("'bool'") {
        true => values
            .iter()
            .filter(|value| *value == "true")
            .map(|_| "-q")
            .collect(),
        false => values.iter().map(String::as_str).collect(),
    };
    for value in &expected {
        assert!(!value.contains('\0'), "{kind} {value:?}");
        assert!(hyphen || !value.starts_with('-'), "{kind} {value:?}");
        assert!(holds(value), "{kind} {value:?}");
    }
    let mut argv = vec!["/bin/x".to_owned()];
    argv.extend(expected.iter().map(|value| (*value).to_owned()));
    if !kind.contains("'bool'") {
        argv.extend(expected.iter().map(|value| format!("--o={value}")));
    }
    argv.extend(
        expected
            .iter()
            .flat_map(|value| ["-g".to_owned(), (*value).to_owned()]),
    );
    argv.push("--".to_owned());
    let found: Vec<String> = bound.argv.iter().map(element).collect();
    assert_eq!(found, argv, "{kind}");
});

/// Returns the argument that a program would see: a path's text, a secret's value.
fn element(bound_element: &ArgvElement) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("values are text");
    match bound_element {
        ArgvElement::Text(bytes) => text(bytes),
        ArgvElement::Path {
            before,
            under,
            beneath,
            ..
        } => {
            assert!(!beneath.starts_with('/'));
            let slash = if beneath.is_empty() || under == "/" {
                ""
            } else {
                "/"
            };
            format!("{}{under}{slash}{beneath}", text(before))
        }
        ArgvElement::Secret { before, value } => format!("{}{}", text(before), text(value)),
    }
}
