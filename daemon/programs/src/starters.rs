//! Lists shells and interpreters.

use crate::program::{Class, Interpreter, Program};

const fn language(names: &'static [&'static str], code: &'static [&'static str]) -> Program {
    with_modules(names, code, &[])
}

const fn with_modules(
    names: &'static [&'static str],
    code: &'static [&'static str],
    modules: &'static [&'static str],
) -> Program {
    let starts_programs = true;
    Program {
        names,
        class: Class::Interpreter(Interpreter {
            code,
            modules,
            starts_programs,
        }),
    }
}

/// A language for text, whose words are mostly not programs.
const fn filter(names: &'static [&'static str], code: &'static [&'static str]) -> Program {
    let starts_programs = false;
    Program {
        names,
        class: Class::Interpreter(Interpreter {
            code,
            modules: &[],
            starts_programs,
        }),
    }
}

pub(crate) const PROGRAMS: &[Program] = &[
    Program {
        names: &[
            "sh", "bash", "dash", "zsh", "ksh", "mksh", "ash", "fish", "rbash", "csh", "tcsh",
            "yash", "pwsh", "elvish", "nu", "xonsh",
        ],
        class: Class::Shell,
    },
    with_modules(&["python", "pypy"], &["-c", "-m"], &["-m"]),
    with_modules(
        &["perl"],
        &["-e", "-E", "-M", "-m", "-I", "-x"],
        &["-M", "-m"],
    ),
    with_modules(&["ruby", "jruby", "irb"], &["-e", "-r", "-I"], &["-r"]),
    with_modules(
        &["node", "nodejs", "deno", "bun"],
        &[
            "-e",
            "-p",
            "--eval",
            "--print",
            "-r",
            "--require",
            "--import",
            "--loader",
        ],
        &["-r", "--require", "--import", "--loader"],
    ),
    with_modules(&["lua", "luajit"], &["-e", "-l"], &["-l"]),
    language(
        &["php", "php-cgi"],
        &["-r", "-B", "-R", "-E", "-F", "-f", "-d"],
    ),
    language(&["gunicorn"], &["--config"]),
    language(&["uwsgi"], &["-w", "--ini", "--module", "--wsgi-file"]),
    language(&["tclsh", "wish", "expect"], &["-c", "-f"]),
    language(
        &[
            "Rscript",
            "julia",
            "guile",
            "racket",
            "scheme",
            "octave",
            "scala",
            "osascript",
            "ghci",
            "erl",
            "elixir",
            "clojure",
            "groovy",
        ],
        &["-e", "-E", "-c", "-l", "--eval", "-eval"],
    ),
    language(
        &["dotnet", "mono", "qjs", "jshell"],
        &["-cp", "-jar", "-classpath"],
    ),
    with_modules(
        &["java"],
        &[
            "-cp",
            "-jar",
            "-classpath",
            "-javaagent:",
            "-agentpath:",
            "-m",
            "--module",
        ],
        &["-m", "--module"],
    ),
    language(
        &["gdb", "lldb"],
        &[
            "-ex",
            "-x",
            "-iex",
            "-ix",
            "-o",
            "-s",
            "--command",
            "--eval-command",
            "--source",
        ],
    ),
    filter(
        &["awk", "gawk", "mawk", "nawk"],
        &[
            "-f",
            "-e",
            "-i",
            "-l",
            "-E",
            "--file",
            "--source",
            "--include",
            "--load",
            "--exec",
        ],
    ),
    filter(&["sed", "gsed"], &["-e", "-f", "--expression", "--file"]),
    filter(&["m4"], &["-D", "-F", "-R"]),
    filter(&["bpftrace", "stap", "dtrace"], &["-e", "-n", "-s"]),
    filter(&["ed", "dc", "bc"], &["-e", "-f", "--expression", "--file"]),
];
