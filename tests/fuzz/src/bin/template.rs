//! Command templates: any argv and arguments give a command in which every value has a separate element, or a
//! list of findings. The first line is argv, the others are further keys.
#![no_main]

use remit_policy::{ArgvElement, Command, MachineTable, ParamKind, Part, Severity, Source, Word};
use remit_policy_compile::load;

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let (argv, rest) = text.split_once('\n').unwrap_or((text, ""));
    let file = format!(
        "[[command]]\nname = 'a.b'\nsummary = 'x'\neffect = 'read'\nprofile = 'strict'\nargv = [{argv}]\n{rest}"
    );
    let source = Source {
        name: "fuzz.toml".to_owned(),
        text: file.into_bytes(),
    };
    match load(&[source], &MachineTable::default()) {
        Ok((policy, _)) => policy.commands().for_each(|command| check(command)),
        Err(findings) => {
            assert!(findings.iter().any(|f| f.severity() == Severity::Error));
            for finding in findings {
                let shown = finding.to_string();
                assert!(
                    !shown.contains(|c: char| c.is_control() && c != '\n'),
                    "{shown:?}"
                );
            }
        }
    }
});

fn check(command: &Command) {
    let program = match command.argv.first() {
        Some(Part::Word(Word::Literal(path))) => path,
        other => panic!("the program is {other:?}"),
    };
    assert!(
        program.starts_with('/') && !program.contains("/../"),
        "{program}"
    );
    let mut used = vec![false; command.params.len()];
    for part in &command.argv {
        let (words, group) = match part {
            Part::Word(word) => (std::slice::from_ref(word), false),
            Part::Group(words) => (words.as_slice(), true),
        };
        let mut indices: Vec<usize> = words.iter().filter_map(parameter_index).collect();
        indices.iter().for_each(|at| used[*at] = true);
        indices.dedup();
        assert!(indices.len() == 1 || !group);
    }
    let secret = |kind: &ParamKind| matches!(kind, ParamKind::Secret { .. });
    for (param, used) in command.params.iter().zip(used) {
        assert!(used || secret(&param.kind), "{}", param.name);
    }
    // Defaults are a complete call, unless an argument is required; then the refusal names it.
    match command.bind(&[], false) {
        Ok(bound) => {
            assert_eq!(
                bound.argv.first(),
                Some(&ArgvElement::Text(program.clone().into_bytes()))
            );
        }
        Err(refusal) => {
            let object = refusal.object.unwrap_or_default();
            let bounds = ["args", "argv"];
            let is_param = command.params.iter().any(|param| param.name == object);
            assert!(is_param || bounds.contains(&object.as_str()), "{object}");
        }
    }
}

fn parameter_index(word: &Word) -> Option<usize> {
    match word {
        Word::Literal(_) => None,
        Word::Attached(before, at) => {
            assert!(before.starts_with('-') && before.ends_with('='), "{before}");
            Some(*at)
        }
        Word::Value(at) => Some(*at),
    }
}
