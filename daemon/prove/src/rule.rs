//! The rules: each a sentence that is true of Linux, with the document that says so. `rules/` applies them.

macro_rules! rules {
    ($($id:ident $name:literal $sentence:literal $source:literal;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum RuleId {
            $($id,)*
        }

        impl RuleId {
            pub const ALL: &[Self] = &[$(Self::$id,)*];

            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$id => $name,)*
                }
            }

            pub fn sentence(self) -> &'static str {
                match self {
                    $(Self::$id => $sentence,)*
                }
            }

            /// The document that says so.
            pub fn source(self) -> &'static str {
                match self {
                    $(Self::$id => $source,)*
                }
            }
        }
    };
}

rules! {
    Member "member" "who has an account acts with its groups" "credentials(7)";
    FileMode "file-mode" "who has the write bit of a file decides its content; the owner can set the bit" "path_resolution(7), chmod(2)";
    Directory "directory" "who can write a directory can replace what is in it, in a sticky one only what is theirs" "unlink(2), rename(2)";
    Create "create" "who can write a directory can make a file that is missing there" "open(2)";
    Link "link" "who can replace a link on the way to a file decides which file it is" "path_resolution(7)";
    UnitProgram "unit-program" "who can change a program that a unit starts has the unit's account" "systemd.service(5)";
    UnitFile "unit-file" "who can change the file of a unit decides what it starts, as whom" "systemd.unit(5)";
    UnitRights "unit-rights" "a process of a unit has the groups and capabilities that the unit lists" "systemd.exec(5), capabilities(7)";
    PulledUnit "pulled-unit" "who can have a unit started has those started that it wants, requires or activates" "systemd.unit(5)";
    DropIn "drop-in" "who can make a file in the .d directory of a unit decides what it starts" "systemd.unit(5)";
    UnitDirectory "unit-directory" "who can make a file in a directory of units has root start a unit of their own" "systemd.unit(5)";
    EnvironmentFile "environment-file" "who can change the EnvironmentFile of a unit sets its variables, LD_PRELOAD among them" "systemd.exec(5), ld.so(8)";
    LibraryPath "library-path" "who can write where the loader looks for libraries has the account that loads them" "ld.so(8)";
    Template "template-argument" "who can start a template with a text of their own writes an argument of its program, and this program executes it" "systemd.unit(5)";
    CronTable "cron-table" "who can write a table of cron has its account" "crontab(5), cron(8)";
    CronProgram "cron-program" "who can change a program that cron runs has its account" "crontab(5), run-parts(8)";
    SearchPath "search-path" "who can put a program into a directory of the search path has it run instead of others" "execvp(3), crontab(5)";
    Interpreter "interpreter" "who can change the interpreter of a script decides what the script does" "execve(2)";
    Mentioned "mentioned" "who can change a program that a script calls has the account that runs the script" "execve(2), sh(1)";
    StartFile "start-file" "who can change a start file of a shell has the account of its next login" "bash(1)";
    AuthorizedKeys "authorized-keys" "who can write the authorized_keys of an account logs in as it" "sshd(8)";
    SameKey "same-key" "who has the private key of an account logs in to each account that lists it" "sshd(8)";
    SystemTable "system-table" "who can write a table that says who is root, or what a login or the boot loads, is root" "passwd(5), sudoers(5), ld.so(8), pam.d(5)";
    EngineSocket "engine-socket" "who can connect to a container engine starts a container with the machine's root directory" "docker(1), unix(7)";
    EngineGroup "engine-group" "who is in the group of a container engine can connect to it" "docker(1), lxc(1)";
    Device "device" "who can write a disk or the memory as a device changes any file" "sd(4), mem(4)";
    PamModule "pam-module" "who can change a module of PAM has its code loaded by programs of root" "pam(8)";
    PamProgram "pam-program" "who can change a program that pam_exec runs has it run by root" "pam_exec(8)";
    Hook "hook" "who can change a hook of the system has it run by root at its event" "run-parts(8), systemd.generator(7), NetworkManager-dispatcher(8)";
    ConfiguredFile "configured-file" "who can write a configuration that has commands decides what root runs" "logrotate(8), apt.conf(5), dpkg(1), udev(7)";
    ConfiguredProgram "configured-program" "who can change a program that such a configuration names has it run by root" "logrotate(8), apt.conf(5), dpkg(1), udev(7)";
    PamTrust "pam-trust" "who a module of PAM asks for no password becomes another account by su" "pam_wheel(8), pam_permit(8), pam_unix(8), su(1)";
    BusService "bus-service" "who can change what the system bus starts has its account" "dbus-daemon(1)";
    PolkitRoot "polkit-root" "who gets a yes of polkit for this action does what root does" "polkit(8), systemd-run(1)";
    PolkitUnit "polkit-unit" "who gets a yes of polkit for a unit can have it started" "polkit(8)";
    SetId "set-id" "who can execute a program with another account or capabilities, and it executes its arguments, has them" "execve(2), capabilities(7)";
    Venv "venv" "who can write the packages of a Python environment has the account that runs its interpreter" "python3(1), site";
    GitHook "git-hook" "who can write the settings or hooks of a repository has the account that runs git in it" "githooks(5), git-config(1)";
    KeysCommand "keys-command" "who can change the program that sshd asks for keys logs in as everybody" "sshd_config(5)";
    SudoVariables "sudo-variables" "who may set variables for a program of sudo has libraries loaded into it" "sudoers(5), ld.so(8)";
    SudoAll "sudo-all" "who may run every command with sudo has the account that it runs as" "sudoers(5)";
    SudoCall "sudo-call" "who may run a program with sudo can have it run" "sudoers(5)";
    SudoProgram "sudo-program" "who can change a program that is run with sudo has the account that it runs as" "sudoers(5)";
    SudoArguments "sudo-arguments" "who may give any arguments to a program that executes some of them has its account" "sudoers(5)";
    RootWrites "root-writes" "who decides what root copies, or gets a file by root, decides what is in the file that root writes" "cp(1), tar(1), chown(1)";
    SudoWrites "sudo-writes" "who may run a program with sudo that writes files or accounts decides what is in them" "sudoers(5), tee(1), cp(1), passwd(1)";
    SudoUnit "sudo-unit" "who may run systemctl on a unit with sudo can have it started" "systemctl(1)";
    SudoEdit "sudo-edit" "who may edit a file with sudoedit decides its content" "sudo(8)";
    GrantCall "grant-call" "who may call a command without another person can have its program run" "remit-policy(5)";
    GrantProgram "grant-program" "who can change the program of a command that they may call decides what runs in its profile" "remit-policy(5), execve(2)";
    GrantInput "grant-input" "who gives input or files to a program that writes them decides what is where its profile writes" "remit-policy(5), tee(1), cp(1)";
    GrantWords "grant-words" "a caller of a program of root that changes accounts, or unpacks or mounts files, gets what its words say" "remit-policy(5), usermod(8), tar(1), mount(8)";
    GrantHost "grant-host" "code in a profile without a sandbox has the account of the profile" "remit-policy(5)";
    GrantUnit "grant-unit" "who may start a unit without another person can have it started" "remit-policy(5)";
    GrantWrite "grant-write" "code in a profile writes the paths that the profile lists" "remit-policy(5)";
    GrantSocket "grant-socket" "code of root that reaches the service manager or a container engine is root" "remit-policy(5)";
    GrantCommit "grant-commit" "who may change files by a plan without another person decides their content" "remit-policy(5)";
    RemitFile "remit-file" "who can write the policy or the programs of remit decides what agents may do" "remit-policy(5)";
}
