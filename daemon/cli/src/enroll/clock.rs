//! Local time, as the machine's own date(1) reads it: it knows the time zone.

use std::time::{SystemTime, UNIX_EPOCH};

use super::Refused;
use super::expiry::{End, Expires};
use crate::program::Program;

/// When a key ends, if it ends.
///
/// # Errors
/// It is over already, or there is no such time by this machine's clock.
pub fn resolve(expires: &Expires) -> Result<Option<End>, Refused> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|_| Refused::new("the clock of this machine stands before 1970"))?;
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
            "'{}' reads '{local}' as no time: {seconds}",
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
