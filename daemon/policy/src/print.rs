//! Commands and profiles as text.
use crate::{command::Command, profile::Profile};
pub(crate) fn command_lines(one: &Command) -> Vec<String> {
    let Command {
        name: _,
        summary,
        effect,
        profile,
        id: _,
        argv,
        params,
        stdin,
        env,
        cwd,
        limits,
        ..
    } = one;
    let mut lines = vec![
        format!("summary = {summary:?}"),
        format!("effect = {effect:?}"),
        format!("profile = {:?}", profile.name),
        format!("argv = {argv:?}"),
        format!("stdin = {stdin:?}"),
        format!("env = {env:?}"),
        format!("cwd = {cwd:?}"),
        format!("limits = {limits:?}"),
    ];
    lines.extend(
        params
            .iter()
            .map(|param| format!("args.{} = {param:?}", param.name)),
    );
    lines
}
pub(crate) fn profile_lines(one: &Profile) -> Vec<String> {
    let Profile {
        name: _,
        summary,
        base,
        user: _,
        groups,
        capabilities,
        read,
        write,
        exec,
        scratch,
        write_and_exec,
        devices,
        sockets,
        network,
        env,
        limits,
        ..
    } = one;
    vec![
        format!("summary = {summary:?}"),
        format!("base = {base:?}"),
        format!("groups = {groups:?}"),
        format!("capabilities = {capabilities:?}"),
        format!("read = {read:?}"),
        format!("write = {write:?}"),
        format!("exec = {exec:?}"),
        format!("scratch = {scratch:?}"),
        format!("write_and_exec = {write_and_exec}"),
        format!("devices = {devices:?}"),
        format!("sockets = {sockets:?}"),
        format!("network = {network:?}"),
        format!("env = {env:?}"),
        format!("limits = {limits:?}"),
    ]
}
