//! Converts local time with date(1), which knows the machine's time zone.

use std::time::{SystemTime, UNIX_EPOCH};

use super::expiry::{End, Expires};
use super::refused::Refused;
use crate::os::external_program::Program;

/// Returns the expiry of a key. Fails if it has passed, or if this machine's clock has no such time.
pub fn resolve(expires: &Expires) -> Result<Option<End>, Refused> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|_| Refused::new("the clock of this machine is before 1970"))?;
    let at = expires.at(now.as_secs(), unix)?;
    at.map_err(|error| Refused::from(error).about("--expires"))
}

fn unix(local: &str) -> Result<u64, Refused> {
    let date = Program::find(&["/usr/bin/date", "/bin/date"])
        .ok_or_else(|| Refused::new("this machine has no '/usr/bin/date'"))?;
    let seconds = date.ask(&["-d", local, "+%s"])?;
    let seconds = String::from_utf8_lossy(&seconds);
    seconds.trim().parse().map_err(|_| {
        Refused::new(format!(
            "'{}' cannot read '{local}' as a time: {seconds}",
            date.path().display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_tells_local_time() {
        let soon = resolve(&"1d".parse().unwrap()).unwrap().unwrap();
        let later = resolve(&"2d".parse().unwrap()).unwrap().unwrap();
        assert_eq!(resolve(&"never".parse().unwrap()).unwrap(), None);
        assert_ne!(soon, later);
        assert_eq!(unix("2030-01-01 00:00:00").unwrap() / 100_000_000, 18);
        let past = resolve(&"2020-01-01".parse().unwrap()).unwrap_err();
        assert_eq!(past.message, "--expires: it is in the past");
    }
}
