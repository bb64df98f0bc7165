//! Turns the results of the daemon's self-test into checks. Pure.

use remit_common::admin::{Checkup, LayerState, ProfileCheck};

use super::check::{Check, Part};

/// The title in JSON.
pub const TITLE: &str = "walls";

pub fn part(checkup: &Checkup) -> Part {
    let checks = match checkup.profiles.as_slice() {
        [] => vec![Check::failure(
            "profiles",
            "the daemon has no profile to test",
            "journalctl -u remitd -n 20",
        )],
        some => some.iter().flat_map(profile).collect(),
    };
    Part {
        title: TITLE,
        checks,
    }
}

fn profile(profile: &ProfileCheck) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Some(why) = &profile.refused {
        checks.push(Check::failure(
            &profile.name,
            format!("nothing runs in profile '{}': {why}", profile.name),
            "correct what the reason names (the kernel or a setting), then: systemctl restart remitd",
        ));
    } else if profile.layers.is_empty() {
        checks.push(Check::failure(
            &profile.name,
            format!("no sandbox layer of profile '{}' was tested", profile.name),
            "systemctl restart remitd; if it stays: journalctl -u remitd -n 20",
        ));
    }
    checks.extend(profile.layers.iter().map(|layer| {
        let name = format!("{}: {}", profile.name, layer.name);
        match layer.state {
            LayerState::Held => Check::ok(name, layer.detail.trim_end_matches(": as it must be")),
            LayerState::Absent => Check::ok(name, format!("not in this kernel: {}", layer.detail)),
            LayerState::Broken => Check::failure(
                name,
                format!(
                    "sandbox layer '{}' does not hold: {}",
                    layer.name, layer.detail
                ),
                "boot a kernel that supports it, then: systemctl restart remitd",
            ),
        }
    }));
    checks
}

#[cfg(test)]
pub mod tests {
    use remit_common::admin::LayerCheck;

    use super::super::check::whys;
    use super::*;

    pub fn checkup() -> Checkup {
        let layer = |name: &str, state| LayerCheck {
            name: name.into(),
            state,
            detail: "it was refused".into(),
        };
        Checkup {
            kernel: "6.1.0".into(),
            landlock: 2,
            landlock_errata: 0,
            cgroup: Some("/x".into()),
            controllers: ["memory", "pids", "cpu"].map(str::to_owned).to_vec(),
            missing_controllers: Vec::new(),
            lowered_limits: Vec::new(),
            audit: "journald".into(),
            audit_error: None,
            profiles: vec![ProfileCheck {
                name: "read".into(),
                refused: None,
                layers: vec![
                    layer("mounts", LayerState::Held),
                    layer("landlock network", LayerState::Absent),
                ],
            }],
        }
    }

    #[test]
    fn broken_layer_is_a_failure() {
        let found = |checkup: &Checkup| whys(&part(checkup).checks);
        assert_eq!(found(&checkup()), [""; 0]);
        let mut broken = checkup();
        broken.profiles[0].layers[0].state = LayerState::Broken;
        broken.profiles[0].refused = Some("'mounts' does not hold".into());
        assert_eq!(
            found(&broken),
            [
                "failure: nothing runs in profile 'read': 'mounts' does not hold",
                "failure: sandbox layer 'mounts' does not hold: it was refused"
            ]
        );
        let mut untested = checkup();
        untested.profiles[0].layers.clear();
        let expect = "failure: no sandbox layer of profile 'read' was tested";
        assert_eq!(found(&untested), [expect]);
        untested.profiles.clear();
        assert_eq!(
            found(&untested),
            ["failure: the daemon has no profile to test"]
        );
    }

    #[test]
    fn expected_detail_is_left_out() {
        let mut good = checkup();
        good.profiles[0].layers[0].detail = "no capability is left: as it must be".into();
        let expect = Check::ok("read: mounts", "no capability is left");
        assert_eq!(part(&good).checks[0], expect);
    }
}
