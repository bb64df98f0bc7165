use crate::steps::child_env::ChildEnv;
use crate::steps::fd_layout::{go_at, steps_at};
use crate::steps::{UNREPORTED, UNREPORTED_LEN};
use crate::sys;

/// Returns true if the warden knows of this child. Otherwise its worker was killed before it could report the child,
/// and it must not become the job: it only reports its pid, to be reaped. `moved`: descriptors have their final
/// numbers.
pub(crate) fn is_reported(child_env: &ChildEnv<'_>, moved: bool) -> bool {
    let Some(go) = child_env.inherited.and_then(|inherited| inherited.go) else {
        return true;
    };
    let [go, steps] = match moved {
        false => [go, child_env.steps],
        true => [go_at(child_env), steps_at(child_env)].map(sys::borrowed),
    };
    let reported = matches!(sys::read(go, &mut [0]), Ok(1));
    if moved {
        sys::close_one(go_at(child_env));
    }
    let mut said = [UNREPORTED; UNREPORTED_LEN];
    // The tree is the host's, and so are the pids in its /proc.
    if !reported
        && let Some(pid) = said.get_mut(1..)
        && let Ok(length) = sys::read_link(c"/proc/self", pid)
    {
        let _ = sys::write(steps, said.get(..=length).unwrap_or_default());
    }
    reported
}
