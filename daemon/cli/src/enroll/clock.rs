//! Local time, as the machine's own date(1) tells it: it knows the time zone.

use std::time::{SystemTime, UNIX_EPOCH};

use super::Refused;
use super::expiry::{Expires, Stamp};
use crate::program::Program;

/// When a key ends, in local time, if it ends.
///
/// # Errors
/// It is over already, or date(1) does not answer.
pub fn resolve(expires: &Expires) -> Result<Option<Stamp>, Refused> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|_| Refused::new("the clock of this machine stands before 1970"))?;
    let at = expires.at(now.as_secs(), local)?;
    at.map_err(|error| Refused::from(error).about("--expires"))
}

fn local(unix: u64) -> Result<Stamp, Refused> {
    let date = Program::find(&["/usr/bin/date", "/bin/date"])
        .ok_or_else(|| Refused::new("this machine has no '/usr/bin/date'"))?;
    let digits = date.ask(&["-d", &format!("@{unix}"), "+%Y%m%d%H%M%S"])?;
    let digits = String::from_utf8_lossy(&digits);
    Stamp::parse(digits.trim()).ok_or_else(|| {
        Refused::new(format!(
            "'{}' says no local time: {digits}",
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
        assert!(soon < later, "{soon} {later}");
        assert_eq!(resolve(&"never".parse().unwrap()).unwrap(), None);
        assert_eq!(later.as_str().len(), 14);
        let past = resolve(&"2020-01-01".parse().unwrap()).unwrap_err();
        assert_eq!(past.message, "--expires: it is in the past");
    }
}
