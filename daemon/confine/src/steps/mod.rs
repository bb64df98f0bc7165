//! The set-up steps that a child takes, in the order of [`lists`].

pub(crate) mod arguments;
pub(crate) mod changes;
pub(crate) mod enter;

pub(crate) mod exec {
    use crate::spec::compiled::{Base, trusted};
    use crate::steps::enter::ChildEnv;
    use crate::steps::report::Failure;
    use crate::steps::trust::{self, Checked};
    use crate::sys;
    use crate::{Layer, Measured};
    use crate::{Step, Why};
    use std::ffi::CStr;
    use std::os::fd::AsFd;

    /// The approved program, checked and open.
    pub(crate) struct CheckedProgram<'a> {
        approved: &'a Measured,
        checked: Checked,
    }

    /// Checks the approved files, which may take seconds. `None`: nothing is to be checked.
    pub(crate) fn check<'a>(
        child_env: &ChildEnv<'a>,
    ) -> Result<Option<CheckedProgram<'a>>, Failure> {
        let approved = match child_env.measured {
            [program, ..] if child_env.sandbox.layers.is_on(Layer::Measured) => program,
            _ => return Ok(None),
        };
        let in_copy = matches!(child_env.sandbox.base, Base::View(_));
        let checked = trust::check(child_env.measured, in_copy);
        let step = Step::Exec;
        let checked = checked.map_err(|fault| Failure { step, fault })?;
        Ok(checked.map(|checked| CheckedProgram { approved, checked }))
    }

    pub(crate) fn execute(
        child_env: &ChildEnv<'_>,
        program: Option<CheckedProgram<'_>>,
    ) -> Failure {
        match program {
            Some(program) => as_measured(child_env, &program),
            None => by_name(child_env),
        }
    }

    /// Executes the approved program: it and the other hashed files are unchanged. An ELF file is executed by the same
    /// descriptor that was read, whatever happens to its name. Its loader and libraries are not hashed, as for any program
    /// of the host. `argv[0]` and `/proc/self/exe`, from which the loader makes `$ORIGIN`, are as usual. Before Linux 6.14
    /// the process's name (`comm`) is the descriptor's number. A script is executed by its name: by a descriptor it would
    /// be `/dev/fd/3` and not find files next to it. The kernel opens script and interpreter again, but only root can
    /// change them and the way to them (`trust`).
    fn as_measured(child_env: &ChildEnv<'_>, program: &CheckedProgram<'_>) -> Failure {
        let (path, Checked { file, is_elf }) = (&program.approved.path, &program.checked);
        let refused = match is_elf {
            true => sys::execve_open(file.as_fd(), &child_env.argv, &child_env.env),
            false => sys::execve(path, &child_env.argv, &child_env.env),
        };
        let errno = refused.raw_os_error().unwrap_or(0);
        let why = match errno {
            libc::ENOENT => Why::BadInterpreter,
            libc::EACCES => classify(path),
            libc::ENOEXEC => Why::NotExecutable,
            _ => Why::Errno,
        };
        Failure::of_exec(why, errno)
    }

    /// Tries each candidate. Like execvp(3) it continues after one that may not be executed, but it never gives a file to
    /// a shell. A user that is not the job's own executes nothing that others could have changed, nor its interpreter.
    fn by_name(child_env: &ChildEnv<'_>) -> Failure {
        let exec = Failure::of_exec;
        let mut refused = None;
        let credentials = &child_env.sandbox.credentials;
        for program in &child_env.candidates {
            // Not by execve(2): others could make it meanwhile.
            if credentials.user.is_some() && sys::is_missing(program) {
                continue;
            }
            if credentials.user.is_some()
                && !trust::of_whole_program(
                    program,
                    child_env.path,
                    trusted(credentials, child_env.uid),
                )
            {
                return exec(Why::Untrusted, 0);
            }
            let errno = sys::execve(program, &child_env.argv, &child_env.env)
                .raw_os_error()
                .unwrap_or(0);
            match errno {
                libc::ENOENT if sys::mode_of(program).is_ok() => {
                    return exec(Why::BadInterpreter, errno);
                }
                libc::ENOENT | libc::ENOTDIR => {}
                libc::EACCES => {
                    refused.get_or_insert(exec(classify(program), errno));
                }
                libc::ENOEXEC => return exec(Why::NotExecutable, errno),
                _ => return exec(Why::Errno, errno),
            }
        }
        refused.unwrap_or(exec(Why::NotFound, libc::ENOENT))
    }

    fn classify(program: &CStr) -> Why {
        match sys::mode_of(program) {
            Err(_) => Why::PermissionDenied,
            Ok(mode) => match mode & libc::S_IFMT {
                libc::S_IFDIR => Why::IsDirectory,
                libc::S_IFREG if mode & 0o111 == 0 => Why::NotExecutable,
                libc::S_IFREG => Why::PermissionDenied,
                _ => Why::NotRegular,
            },
        }
    }
}

pub(crate) mod identity {
    //! Sets a job's user, groups and capabilities.

    use crate::steps::enter::Entering;
    use crate::steps::report::{Fault, StepResult, Taken};
    use crate::steps::view::{become_root_of, enter_view};
    use crate::sys;
    use crate::{Layer, Why};
    use remit_sys::rights::drop_all_rights_bounded;
    use std::os::fd::AsFd;

    pub(crate) fn become_job(child: &mut Entering<'_>) -> Taken {
        let env = child.env;
        let (layers, credentials) = (env.sandbox.layers, &env.sandbox.credentials);
        let (uid, gid, groups) = (env.uid, env.gid, credentials.groups.as_slice());
        if !layers.is_on(Layer::Identity) {
            // Only for tests of the self-test, as is the next branch.
            sys::drop_bounding()?;
            sys::lock_securebits()?;
            sys::clear_capabilities()?;
        } else if !layers.is_on(Layer::Capabilities) {
            sys::keep_capabilities()?;
            sys::become_user(uid, gid, groups)?;
        } else if credentials.capabilities == 0 {
            drop_all_rights_bounded(uid, gid, groups)?;
        } else {
            become_capable_user(uid, gid, groups, credentials.capabilities)?;
        }
        Ok(StepResult::Done)
    }

    fn become_capable_user(uid: u32, gid: u32, groups: &[u32], kept: u64) -> Result<(), Fault> {
        sys::become_user_with(uid, gid, groups, kept)?;
        sys::set_dumpable(false)?;
        sys::die_with_parent()?;
        let settled = sys::is_user(uid, gid) && sys::has_exactly(kept)? && sys::securebits_locked();
        match settled {
            true => Ok(()),
            false => Err(Fault::because(Why::Unmet)),
        }
    }

    /// Becomes root of a view's user namespace, with the view's capabilities at most. Programs of this uid keep them.
    pub(crate) fn become_root_of_view(child: &mut Entering<'_>) -> Taken {
        let users = child.prepared.users.take();
        let users = users.ok_or(Fault::because(Why::Unmet))?;
        enter_view(child.env.sandbox.layers, users.as_fd())?;
        Ok(StepResult::Done)
    }

    /// Becomes root of the user namespace of a kept view, with the right to read everything in it, and no other.
    pub(crate) fn become_reader(child: &mut Entering<'_>) -> Taken {
        const DAC_READ_SEARCH: u64 = 1 << 2;
        let users = child.env.users.ok_or(Fault::because(Why::Unmet))?;
        become_root_of(Some(users), Some(DAC_READ_SEARCH))?;
        Ok(StepResult::Done)
    }

    /// Becomes a user as any program of the host does: root has root's rights, another user none.
    pub(crate) fn become_host_user(child: &mut Entering<'_>) -> Taken {
        let env = child.env;
        sys::become_user(env.uid, env.gid, &env.sandbox.credentials.groups)?;
        if env.uid != 0 {
            sys::clear_capabilities()?;
        }
        sys::die_with_parent()?;
        match sys::is_user(env.uid, env.gid) {
            true => Ok(StepResult::Done),
            false => Err(Fault::because(Why::Unmet)),
        }
    }
}
pub(crate) mod landlock;
pub(crate) mod lists;
pub(crate) mod mounts {
    //! The mounts of a `read` sandbox: the host's tree, read-only, with private directories and a minimal `/dev` over it.

    use crate::Layer;
    use crate::spec::overmounts::Overmounts;
    use crate::steps::private_root::{self, MountParams};
    use crate::steps::report::Fault;
    use crate::sys::{self, Propagation};
    use std::os::fd::{AsFd, BorrowedFd};

    /// Makes the whole tree read-only in one call. Then mounts and grants what the job gets, while files are open.
    pub(crate) fn confine(
        overmounts: &Overmounts,
        params: &MountParams<'_>,
        propagation: Propagation,
    ) -> Result<(), Fault> {
        let layers = params.layers;
        let flag = |layer, flag| if layers.is_on(layer) { flag } else { 0 };
        let attributes = flag(Layer::ReadOnlyMounts, sys::RDONLY)
            | flag(Layer::NoSuid, sys::NOSUID)
            | flag(Layer::NoDev, sys::NODEV);
        sys::set_whole_tree(attributes, propagation)?;
        let grant = |target: BorrowedFd<'_>, rights| match params.ruleset {
            Some((ruleset, _)) => sys::landlock_grant(ruleset, target, rights),
            None => Ok(()),
        };
        let (in_private_dirs, on_devices) = params.ruleset.map_or((0, 0), |(_, fence)| {
            (fence.in_private_dirs, fence.on_devices)
        });
        for path in &overmounts.private {
            if layers.is_on(Layer::PrivateTmp) {
                sys::mount_tmpfs(path, params.shared)?;
            }
            grant(sys::open(path, libc::O_PATH)?.as_fd(), in_private_dirs)?;
        }
        for path in &overmounts.devices {
            let mount = sys::copy_mount(path)?;
            sys::attach_mount(mount.as_fd(), path)?;
            sys::allow_devices(mount.as_fd())?;
            grant(mount.as_fd(), on_devices)?;
        }
        if let (Some(programs), Some((_, fence))) = (&overmounts.programs, params.ruleset) {
            for path in &programs.executed {
                grant(sys::open(path, libc::O_PATH)?.as_fd(), fence.on_programs)?;
            }
            for path in &programs.libraries {
                grant(sys::open(path, libc::O_PATH)?.as_fd(), fence.on_libraries)?;
            }
        }
        let host = sys::open(c"/", libc::O_PATH | libc::O_DIRECTORY)?;
        for (at, mount) in (0u16..).zip(&overmounts.listed) {
            private_root::put(mount, host.as_fd(), host.as_fd(), params)
                .map_err(|fault| fault.at(at))?;
        }
        Ok(())
    }
}
pub(crate) mod prepare;
pub(crate) mod private_root;
pub(crate) mod report;
pub(crate) mod seccomp;
pub(crate) mod setup {
    //! What a worker does once, and all its children have from their birth.

    use crate::steps::report::{StepResult, Taken};
    use crate::steps::seccomp;
    use crate::{Layer, Sandbox, sys};
    use std::io;
    use std::os::fd::OwnedFd;

    pub(crate) struct SettingUp<'a> {
        pub(crate) sandbox: &'a Sandbox,
        /// Gets its jobs' connect(2), if they have a bus.
        pub(crate) listener: Option<OwnedFd>,
    }

    pub(crate) fn not_dumpable(_: &mut SettingUp<'_>) -> Taken {
        sys::set_dumpable(false)?;
        Ok(StepResult::Done)
    }

    pub(crate) fn signals(_: &mut SettingUp<'_>) -> Taken {
        sys::default_signals()?;
        Ok(StepResult::Done)
    }

    pub(crate) fn umask(_: &mut SettingUp<'_>) -> Taken {
        sys::reset_umask_and_personality()?;
        Ok(StepResult::Done)
    }

    pub(crate) fn scheduling(SettingUp { sandbox, .. }: &mut SettingUp<'_>) -> Taken {
        sandbox
            .layers
            .take_if(Layer::Scheduling, sys::reset_scheduling)
    }

    /// A bounding set never grows, so a job gets no more capabilities than its profile has. capabilities(7).
    pub(crate) fn bounding_set(SettingUp { sandbox, .. }: &mut SettingUp<'_>) -> Taken {
        let kept = sandbox.credentials.capabilities;
        match sandbox.layers.is_on(Layer::Identity) {
            true => sandbox
                .layers
                .take_if(Layer::Capabilities, || sys::drop_bounding_but(kept)),
            false => Ok(StepResult::Absent),
        }
    }

    /// Before the filter that refuses seccomp(2).
    pub(crate) fn bus(own: &mut SettingUp<'_>) -> Taken {
        if !own.sandbox.class.bus {
            return Ok(StepResult::Absent);
        }
        let program = seccomp::bus().map_err(io::Error::other)?;
        match sys::install_filter_with_listener(program.instructions()) {
            Ok(listener) => own.listener = Some(listener),
            // Whoever supervises this machine, as managers of containers can, has the only listener that the kernel permits.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                let program = seccomp::no_bus().map_err(io::Error::other)?;
                sys::install_filter(program.instructions())?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(StepResult::Done)
    }

    pub(crate) fn filter(SettingUp { sandbox, .. }: &mut SettingUp<'_>) -> Taken {
        sandbox.filter.install_first()?;
        Ok(StepResult::Done)
    }
}
pub(crate) mod trust;
pub(crate) mod view;
