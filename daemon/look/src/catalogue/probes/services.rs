//! What Redis and HAProxy report of themselves, and queries of databases. The role decides what a query may do.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

use remit_common::text;

use super::{Deadline, PAGE, connect, first_lines, no_answer, read_until, server, shown};
use crate::text::{lines, print};

const HAPROXY: &str = "/run/haproxy/admin.sock";
const MOST: u64 = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(10);
/// Of some hundred columns those that an operator asks for.
const COLUMNS: [&str; 20] = [
    "pxname",
    "svname",
    "status",
    "check_status",
    "last_chk",
    "lastchg",
    "downtime",
    "weight",
    "qcur",
    "qmax",
    "scur",
    "smax",
    "slim",
    "stot",
    "rate",
    "ereq",
    "econ",
    "eresp",
    "hrsp_5xx",
    "rtime",
];

const QUERIES: [&str; 7] = [
    "describe", "explain", "select", "show", "table", "values", "with",
];

/// `redis.info`: one fixed request, and its answer escaped.
pub fn redis_info(address: &str, port: &str, seconds: &str) -> Result<ExitCode, String> {
    let (to, deadline) = (server(address, port)?, Deadline::of_seconds(seconds)?);
    let mut connection = connect(to, deadline)?;
    let sent = connection.write_all(b"INFO\r\n");
    sent.map_err(|error| no_answer(to, "answer", deadline, &error))?;
    let (bytes, error) = read_until(&connection, PAGE, deadline, |bytes| answer(bytes).is_some());
    let (facts, is_cut) = match (answer(&bytes), error) {
        (Some(facts), _) => (facts?, false),
        (None, Some(error)) => return Err(no_answer(to, "whole answer", deadline, &error)),
        (None, None) => (beginning(&bytes)?, true),
    };
    print(&text::show(facts).text.replace("\\x0d\n", "\n"))?;
    if is_cut {
        eprintln!(
            "remit-look: the answer is longer: its first {} bytes are shown",
            facts.len()
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns as many whole lines of an answer that goes on as are shown.
fn beginning(bytes: &[u8]) -> Result<&[u8], String> {
    let (_, rest) =
        bulk(bytes).ok_or_else(|| format!("the answer is not one of Redis: {}", shown(bytes)))?;
    Ok(first_lines(rest))
}

/// Reads a bulk string of RESP, or an error. `None`: more has to come, or it is neither.
fn answer(bytes: &[u8]) -> Option<Result<&[u8], String>> {
    if let Some((length, rest)) = bulk(bytes) {
        return rest.get(..length).map(Ok);
    }
    let end = bytes.windows(2).position(|text| text == b"\r\n")?;
    let first = bytes.get(..end)?.strip_prefix(b"-")?;
    Some(Err(match first.starts_with(b"NOAUTH") {
        true => {
            "this Redis asks for a password, and none is sent: a command of your own can have one"
                .to_owned()
        }
        false => format!("Redis answers: {}", shown(first)),
    }))
}

/// Returns the length of a bulk string, and what has come of it.
fn bulk(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let end = bytes.windows(2).position(|text| text == b"\r\n")?;
    let length = bytes.get(..end)?.strip_prefix(b"$")?;
    let length = std::str::from_utf8(length).ok()?.parse().ok()?;
    Some((length, bytes.get(end + 2..)?))
}

/// `haproxy.status`: by one fixed request to the socket of statistics.
pub fn haproxy_status() -> Result<ExitCode, String> {
    let cannot = |error: std::io::Error| {
        format!(
            "cannot ask HAProxy at {HAPROXY}, which 'stats socket' in its configuration sets: {error}"
        )
    };
    let mut socket = UnixStream::connect(HAPROXY).map_err(cannot)?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(cannot)?;
    socket.write_all(b"show stat\n").map_err(cannot)?;
    let (answer, is_whole) = whole_lines(socket, MOST).map_err(cannot)?;
    if !is_whole {
        let most = MOST >> 20;
        eprintln!(
            "remit-look: the answer of HAProxy is longer than {most} MiB: the last servers are left out"
        );
    }
    lines(rows(&String::from_utf8_lossy(&answer)))
}

/// Reads an answer to its end. Of one with more than `most` bytes it returns the whole lines within, and false.
fn whole_lines(from: impl Read, most: u64) -> std::io::Result<(Vec<u8>, bool)> {
    let mut answer = Vec::new();
    let read = from.take(most + 1).read_to_end(&mut answer)? as u64;
    if read <= most {
        return Ok((answer, true));
    }
    answer.pop();
    let end = answer.iter().rposition(|byte| *byte == b'\n');
    answer.truncate(end.map_or(0, |end| end + 1));
    Ok((answer, false))
}

fn rows(answer: &str) -> Vec<BTreeMap<&'static str, String>> {
    let mut all = answer.lines();
    let names: Vec<&str> = all
        .next()
        .unwrap_or_default()
        .trim_start_matches("# ")
        .split(',')
        .collect();
    all.filter(|line| !line.is_empty())
        .map(|line| {
            let values = fields(line);
            let pairs = names.iter().zip(values).filter_map(|(name, value)| {
                let column = COLUMNS.into_iter().find(|column| column == name)?;
                let value = text::line(value.as_bytes(), 256);
                (!value.is_empty()).then_some((column, value))
            });
            pairs.collect()
        })
        .collect()
}

/// Splits a line of CSV. Quotes hold commas; a doubled quote is one.
fn fields(line: &str) -> Vec<String> {
    let (mut all, mut field, mut is_quoted) = (Vec::new(), String::new(), false);
    let mut signs = line.chars().peekable();
    while let Some(sign) = signs.next() {
        match sign {
            '"' if is_quoted && signs.peek() == Some(&'"') => field.extend(signs.next()),
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => all.push(std::mem::take(&mut field)),
            sign => field.push(sign),
        }
    }
    all.push(field);
    all
}

/// `postgres.query` and `mariadb.query`: replaces this process with the distribution's client. Returns only if it cannot.
pub fn query(client: &str, database: &str, sql: &str) -> Result<ExitCode, String> {
    check(sql)?;
    let (program, arguments) = client_command(client, database, sql)?;
    let error = Command::new(program).args(arguments).exec();
    Err(format!("cannot start the client of the database: {error}"))
}

fn client_command(
    client: &str,
    database: &str,
    sql: &str,
) -> Result<(&'static str, Vec<String>), String> {
    let (program, options, own): (_, &[&str], _) = match client {
        "postgres" => (
            "/usr/bin/psql",
            &[
                "--no-psqlrc",
                "--quiet",
                "--no-password",
                "--csv",
                "--host=/run/postgresql",
            ],
            [format!("--dbname={database}"), format!("--command={sql}")],
        ),
        "mariadb" => (
            "/usr/bin/mariadb",
            &[
                "--no-defaults",
                "--protocol=socket",
                "--batch",
                // Otherwise the client executes its own commands after each ';', 'system' in a shell.
                "--binary-mode",
                "--socket=/run/mysqld/mysqld.sock",
                "--connect-timeout=10",
            ],
            [format!("--database={database}"), format!("--execute={sql}")],
        ),
        other => return Err(format!("'{other}' is no database that can be asked")),
    };
    let options = options.iter().map(|&option| option.to_owned());
    Ok((program, options.chain(own).collect()))
}

/// Refuses what psql and, in binary mode, mariadb execute themselves: a backslash. A query is one line that begins with
/// the word of a query; the server decides about what follows.
fn check(sql: &str) -> Result<(), String> {
    let word = sql
        .split(|sign: char| !sign.is_ascii_alphabetic())
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    if !QUERIES.contains(&word.as_str()) {
        return Err(format!(
            "a query begins with one of: {}",
            QUERIES.join(", ")
        ));
    }
    match sql.contains(['\\', '\n', '\r', '\0']) {
        true => Err("a query is one line, without a backslash".to_owned()),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_whole_or_not() {
        assert_eq!(answer(b"$5\r\na:1\r\n\r\n"), Some(Ok(&b"a:1\r\n"[..])));
        for part in [
            &b"$5\r\na:1\r"[..],
            b"$5\r",
            b"",
            b"+OK\r\n",
            b"$-1\r\n",
            b"$x\r\n",
        ] {
            assert_eq!(answer(part), None, "{part:?}");
        }
        assert!(matches!(answer(b"-NOAUTH x\r\n"), Some(Err(why)) if why.contains("password")));
        assert!(matches!(answer(b"-ERR \x1b[2J\r\n"), Some(Err(why)) if !why.contains('\x1b')));
    }

    #[test]
    fn answer_that_goes_on_is_shown_up_to_its_last_whole_line() {
        let line = "keys:1\r\n";
        let many = line.repeat(PAGE);
        let long = format!("${}\r\n{}", many.len(), &many[..PAGE + 9]);
        assert_eq!(answer(long.as_bytes()), None);
        let expect = line.repeat(PAGE / line.len());
        assert_eq!(beginning(long.as_bytes()), Ok(expect.as_bytes()));
        assert_eq!(beginning(b"$9\r\na:1\r\n"), Ok(&b"a:1\r\n"[..]));
        for other in [&b"HTTP/1.1 400\r\n"[..], b"$-1\r\n", b""] {
            let refused = beginning(other).unwrap_err();
            assert!(refused.contains("is not one of Redis"), "{refused}");
        }
    }

    #[test]
    fn long_answer_is_cut_between_lines_and_known() {
        let answer = &b"# a\nb\ncd\n"[..];
        for (most, expect, is_whole) in [
            (9, answer, true),
            (8, &answer[..6], false),
            (6, &answer[..6], false),
            (5, &answer[..4], false),
            (2, b"", false),
        ] {
            let read = whole_lines(answer, most).unwrap();
            assert_eq!(read, (expect.to_vec(), is_whole), "{most}");
        }
    }

    #[test]
    fn rows_have_the_listed_columns() {
        let answer =
            "# pxname,svname,status,pid,last_chk,\nweb,app1,DOWN,1,\"L4CON, \"\"refused\"\"\",\n\n";
        let rows = rows(answer);
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0]["last_chk"], "L4CON, \"refused\"");
        assert_eq!(rows[0].get("pid"), None);
    }

    #[test]
    fn clients_own_commands_are_refused() {
        for sql in [
            "SELECT 1",
            "select(1)",
            "WITH a AS (SELECT 1) SELECT * FROM a; SELECT 2",
            "TABLE orders",
        ] {
            assert_eq!(check(sql), Ok(()), "{sql}");
        }
        for sql in [
            "",
            " SELECT 1",
            "\\! id",
            "SELECT 1 \\gexec",
            "SELECT 1;\nsystem id",
            "system id",
            "source /etc/passwd",
            "selectx",
            "COPY a TO PROGRAM 'id'",
            "DELETE FROM orders",
            "-- SELECT",
        ] {
            assert!(check(sql).is_err(), "{sql}");
        }
    }

    #[test]
    fn mariadb_executes_no_command_of_its_own() {
        let sql = "SELECT 1; system id;";
        let (program, arguments) = client_command("mariadb", "shop", sql).unwrap();
        assert_eq!(program, "/usr/bin/mariadb");
        let binary = arguments.iter().position(|word| word == "--binary-mode");
        let execute = format!("--execute={sql}");
        assert!(
            binary.is_some() && arguments.last() == Some(&execute),
            "{arguments:?}"
        );
        assert!(client_command("sqlite", "shop", sql).is_err());
    }
}
