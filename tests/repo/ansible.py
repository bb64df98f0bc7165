"""Tests the modules of packaging/ansible with a stand-in for ansible-core and one for remit: python3 -B tests/repo/ansible.py

tests/machine/test-ansible runs them with both. What is here is what a machine does not do on demand, such as a program that is
gone, and what a module refuses before it calls remit.
"""

import importlib.util
import json
import os
import pathlib
import re
import shlex
import stat
import subprocess
import sys
import tempfile
import textwrap
import types
import unittest
from unittest import mock

try:
    import jinja2
except ImportError:
    jinja2 = None
try:
    import tomllib
except ImportError:
    # Python before 3.11, as in Ubuntu 22.04.
    tomllib = None

COLLECTION = pathlib.Path(__file__).resolve().parents[2] / "packaging/ansible/plugins"
JOB = dict(job_id="3f0c9a5e7d214b86a1f2c3d4e5f60718", command="x", state="exited", exit=0, runtime_ms=5)


class Ended(SystemExit):
    """exit_json or fail_json: both exit, which no 'except Exception' sees."""

    def __init__(self, result):
        super().__init__(1 if result["failed"] else 0)
        self.result = result


class Module:
    """As much of AnsibleModule as the modules use."""

    values = {}

    def __init__(self, argument_spec, supports_check_mode, **rules):
        self.params = {name: self.values.get(name, one.get("default")) for name, one in argument_spec.items()}
        self.check_mode = self.values.get("_check_mode", False)
        self.tmpdir = None
        self.warnings = []
        for names in rules.get("mutually_exclusive", []):
            if sum(self.params[name] is not None for name in names) > 1:
                self.fail_json(msg="parameters are mutually exclusive: %s" % "|".join(names))

    def run_command(self, words, check_rc):
        subprocess.run(words, check=check_rc)

    def warn(self, text):
        self.warnings.append(text)

    def add_cleanup_file(self, path):
        pass

    def exit_json(self, **result):
        raise Ended(dict(dict(failed=False, warnings=self.warnings), **result))

    def fail_json(self, **result):
        raise Ended(dict(dict(failed=True, warnings=self.warnings), **result))


def stand_in(name, **content):
    """Makes a module with this content, and the packages above it."""
    above = ""
    for part in name.split(".")[:-1]:
        above = "%s.%s" % (above, part) if above else part
        sys.modules.setdefault(above, types.ModuleType(above))
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(content)


def loaded(name, path):
    """Returns a Python module of the collection."""
    spec = importlib.util.spec_from_file_location(name, COLLECTION / path)
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)
    return made


stand_in("ansible.module_utils.basic", AnsibleModule=Module)
stand_in(
    "ansible.module_utils.common.text.converters",
    to_bytes=lambda text, errors=None: text if isinstance(text, bytes) else text.encode(),
    to_text=str,
)
stand_in("ansible_collections.remit.remit.plugins.module_utils.remit")
loaded("ansible_collections.remit.remit.plugins.module_utils.remit", "module_utils/remit.py")
MODULES = {name: loaded(name, "modules/%s.py" % name) for name in ("remit_agent", "remit_change", "remit_facts", "remit_policy", "remit_run")}
# Only root can write in /run.
MODULES["remit_policy"].tempfile = types.SimpleNamespace(
    mkstemp=tempfile.mkstemp,
    TemporaryDirectory=lambda dir, prefix: tempfile.TemporaryDirectory(prefix=prefix),
)


class Case(unittest.TestCase):
    """A directory of its own with a program remit."""

    def setUp(self):
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.dir = pathlib.Path(made.name)
        self.program = self.dir / "remit"
        self.log = self.dir / "log"

    def remit(self, **verbs):
        """Writes a remit that runs a line of sh for each verb, and keeps its words, one a line."""
        lines = "".join("  *' %s '*) %s ;;\n" % (verb.replace("_", " "), line) for verb, line in verbs.items())
        self.program.write_text('#!/bin/sh\nprintf "%%s\\n" "$@" >>%s\ncase " $* " in\n%sesac\n' % (self.log, lines))
        self.program.chmod(0o755)

    def run_module(self, name, /, **values):
        uid = mock.patch("os.geteuid", return_value=values.get("_uid", 0))
        with mock.patch.object(Module, "values", dict(values, executable=str(self.program))), uid:
            with self.assertRaises(Ended) as ended:
                MODULES[name].main()
        return ended.exception.result


def says(answer, then="true"):
    """Returns a line of sh that prints an answer."""
    return "echo %s; %s" % (shlex.quote(json.dumps(answer)), then)


RIGHT = says(dict(loads=True, findings=[]))
IN_FORCE = says(dict(policy="old"))
UNAVAILABLE = says(dict(error=dict(code="daemon_unavailable", message="lost the connection to remitd")), "exit 69")


class Arguments(Case):
    """What a module refuses by itself, and what it passes on to remit."""

    def words(self):
        return self.log.read_text().split()

    def test_arguments_that_are_refused_without_a_call_of_remit(self):
        self.remit()
        for name, values, expect in [
            ("remit_run", dict(name="service.status", args={"unit": {"a": 1}}), "a value is a text, a number or a boolean, not 'dict'"),
            ("remit_run", dict(argv=["true"], args={"unit": "nginx"}), "'args' are those of 'name'"),
            ("remit_run", dict(argv=[]), "'argv' is empty"),
            ("remit_run", dict(argv=["true"], script="true"), "mutually exclusive: name|argv|script"),
            ("remit_change", dict(argv=["true"], plan="0000"), "mutually exclusive: name|argv|script|plan"),
            ("remit_policy", dict(files={"../remit.toml": ""}), "'../remit.toml' is no name of a policy file"),
            ("remit_policy", dict(files={"61-new.toml": ""}, _uid=1000), "add 'become: true'"),
            ("remit_agent", dict(name="../agent", state="absent"), "'../agent' is no name of an account"),
            ("remit_agent", dict(name="agent", key="t k", expires="30d"), "'30d' would be another end in each run"),
            ("remit_agent", dict(name="agent", key="t k", _uid=1000), "add 'become: true'"),
        ]:
            result = self.run_module(name, **values)
            self.assertTrue(result["failed"], values)
            self.assertIn(expect, result["msg"])
            self.assertFalse(self.log.exists(), values)

    def test_words_that_look_like_options_come_after_two_hyphens(self):
        self.remit(run=says(dict(JOB, state="not_started", exit=None, cause="no program '-rf'")), host=says({}))
        result = self.run_module("remit_run", argv=["-rf"], timeout=0)
        self.assertEqual(["--json", "run", "--no-wait", "--", "-rf"], self.words())
        self.assertEqual((True, "'x' (3f0c-9a5e) ended as not_started: no program '-rf'"), (result["failed"], result["msg"]))
        self.log.unlink()
        self.assertFalse(self.run_module("remit_facts", sections=["--runtime=/tmp"])["failed"])
        self.assertEqual(["--json", "host", "--", "--runtime=/tmp", "--version"], self.words())


class Policy(Case):
    """remit_policy installs all files, or none."""

    def setUp(self):
        super().setUp()
        self.config = self.dir / "etc"
        self.files = self.config / "policy.d"
        self.files.mkdir(parents=True)
        (self.files / "a.toml").write_text("old\n")
        (self.files / "b.toml").write_text("old\n")

    def state(self):
        return {
            str(path): (os.lstat(path).st_mode, os.lstat(path).st_uid, path.read_bytes() if path.is_file() else b"")
            for path in self.config.rglob("*")
        }

    def policy(self, **values):
        wanted = dict(files={"a.toml": "new\n", "c.toml": "new\n"}, absent=["b.toml"], config=str(self.config))
        return self.run_module("remit_policy", **dict(wanted, **values))

    def assert_as_before(self, before, result, why):
        self.assertTrue(result["failed"])
        self.assertIn(why, result["msg"])
        self.assertIn("all files are as before", result["msg"])
        self.assertEqual(before, self.state())

    def test_all_files_are_installed(self):
        self.remit(policy_check=RIGHT, status=IN_FORCE, policy_reload=says(dict(policy="new", changes=["x"])))
        result = self.policy()
        self.assertEqual((False, True, ["x"]), (result["failed"], result["changed"], result["changes"]))
        self.assertEqual(["a.toml", "c.toml"], sorted(path.name for path in self.files.iterdir()))
        self.assertEqual(["policy.d"], [path.name for path in self.config.iterdir()])

    def test_check_mode_also_looks_for_ways_to_root(self):
        way = "policy: warning: agent bot reaches root"
        self.remit(policy_check=says(dict(loads=True, findings=[dict(severity="warning", shown=way)])), status=IN_FORCE, policy_reload=IN_FORCE)
        before = self.state()
        result = self.policy(_check_mode=True)
        self.assertEqual((False, True, [way]), (result["failed"], result["changed"], result["warnings"]))
        self.assertEqual(before, self.state())
        self.assertEqual(["--prove"], self.log.read_text().split()[5:])
        self.log.write_text("")
        self.policy()
        self.assertNotIn("--prove", self.log.read_text().split())

    def test_a_program_that_is_gone_before_the_load(self):
        self.remit(policy_check=RIGHT, status=says(dict(policy="old"), 'rm "$0"'))
        before = self.state()
        result = self.policy()
        self.assert_as_before(before, result, "cannot start '%s': No such file or directory" % self.program)
        self.assertIn("which the daemon did not load again", result["msg"])

    def test_a_daemon_that_ends_at_the_load(self):
        once = "[ -e %s/reloaded ]" % self.dir
        self.remit(
            policy_check=RIGHT,
            status=IN_FORCE,
            policy_reload="if %s; then %s; else touch %s/reloaded; %s; fi" % (once, says(dict(policy="old")), self.dir, UNAVAILABLE),
        )
        before = self.state()
        result = self.policy()
        self.assert_as_before(before, result, "lost the connection to remitd")
        self.assertNotIn("did not load again", result["msg"])

    def test_a_daemon_that_did_not_run(self):
        self.remit(policy_check=RIGHT, status=UNAVAILABLE, policy_reload=UNAVAILABLE)
        result = self.policy()
        self.assertEqual((False, True), (result["failed"], result["changed"]))
        self.assertIn("lost the connection to remitd", result["warnings"][0])
        self.assertEqual("new\n", (self.files / "a.toml").read_text())

    def test_a_file_that_is_replaced_keeps_mode_and_owner(self):
        self.remit(policy_check="stat -c %%a $5/policy.d/a.toml >%s/checked; %s" % (self.dir, RIGHT), status=IN_FORCE, policy_reload=IN_FORCE)
        (self.files / "a.toml").chmod(0o600)
        if os.getuid() == 0:
            os.chown(self.files / "a.toml", 0, 4)
        before = os.lstat(self.files / "a.toml")
        self.assertTrue(self.policy()["changed"])
        after = os.lstat(self.files / "a.toml")
        self.assertEqual((before.st_mode, before.st_uid, before.st_gid), (after.st_mode, after.st_uid, after.st_gid))
        self.assertEqual("new\n", (self.files / "a.toml").read_text())
        self.assertEqual("600\n", (self.dir / "checked").read_text())
        self.assertEqual(0o644, stat.S_IMODE(os.lstat(self.files / "c.toml").st_mode))

    def test_a_link_to_no_file_has_no_mode_to_keep(self):
        self.remit(policy_check=RIGHT, status=IN_FORCE, policy_reload=IN_FORCE)
        (self.files / "a.toml").unlink()
        (self.files / "a.toml").symlink_to("/dev/null")
        self.assertTrue(self.policy()["changed"])
        self.assertEqual(stat.S_IFREG | 0o644, os.lstat(self.files / "a.toml").st_mode)

    def test_a_directory_that_is_a_link_is_refused(self):
        # Through a link, the copy that is checked would be what is in force.
        self.remit()
        self.files.rename(self.config / "real")
        self.files.symlink_to(self.config / "real")
        before = self.state()
        for is_check in (True, False):
            result = self.policy(_check_mode=is_check)
            self.assertTrue(result["failed"])
            self.assertIn("is a symbolic link, which the daemon refuses", result["msg"])
        self.assertEqual((before, False), (self.state(), self.log.exists()))

    def test_a_file_that_cannot_be_replaced_leaves_nothing(self):
        self.remit(policy_check=RIGHT, status=IN_FORCE, policy_reload=IN_FORCE)
        before, rename = self.state(), os.rename
        for name in ("a.toml", "c.toml"):

            def renamed(old, new, name=name):
                if new == str(self.files / name) and str(self.config) in old and ".policy-old-" not in old:
                    raise OSError(5, "Input/output error", old)
                rename(old, new)

            with mock.patch("os.rename", renamed):
                result = self.policy()
            self.assert_as_before(before, result, "Input/output error")

    def test_a_name_that_is_absent_twice(self):
        self.remit(policy_check=RIGHT, status=IN_FORCE, policy_reload=IN_FORCE)
        result = self.policy(files={}, absent=["b.toml", "b.toml"])
        self.assertEqual((False, [str(self.files / "b.toml")]), (result["failed"], result.get("files")))

    def test_an_old_file_that_cannot_be_removed(self):
        self.remit(policy_check=RIGHT, status=IN_FORCE, policy_reload=IN_FORCE)
        unlink = os.unlink

        def unlinked(path, **directory):
            if ".policy-old-" in str(path):
                raise OSError(5, "Input/output error", path)
            unlink(path, **directory)

        with mock.patch("os.unlink", unlinked):
            result = self.policy()
        self.assertEqual((False, True), (result["failed"], result["changed"]))
        self.assertIn("which the daemon does not read: Input/output error", result["warnings"][0])

    def test_what_a_killed_run_left_is_removed(self):
        self.remit(policy_check=RIGHT, status=IN_FORCE, policy_reload=IN_FORCE)
        gone = subprocess.Popen(["true"])
        gone.wait()
        kept = [".policy-old-a.toml-%d" % os.getppid(), ".policy-new-%d-x1" % os.getppid(), ".policy-mine", "remit.toml"]
        for name in kept + [".policy-old-a.toml-%d" % gone.pid, ".policy-old-b-1.toml-%d" % gone.pid, ".policy-new-%d-x1" % gone.pid]:
            (self.config / name).write_text("")
        for name in ("a.toml", "c.toml"):
            (self.files / name).write_text("new\n")
        (self.files / "b.toml").unlink()
        result = self.policy()
        self.assertEqual((False, False, []), (result["failed"], result["changed"], result["warnings"]))
        self.assertEqual(sorted(kept + ["policy.d"]), sorted(path.name for path in self.config.iterdir()))

    def test_no_space_for_the_copy(self):
        self.remit(policy_check=RIGHT)
        with mock.patch("os.mkdir", side_effect=OSError(28, "No space left on device", "/run/x")):
            result = self.policy()
        self.assertEqual((True, "cannot check the policy: '/run/x': No space left on device"), (result["failed"], result["msg"]))


class Job(Case):
    """remit_change and remit_run name what they started, and report what was changed."""

    def change(self, **values):
        return self.run_module("remit_change", **dict(dict(name="x", reason="r", request_id="i"), **values))

    def test_output_that_cannot_be_read_is_no_failure(self):
        self.remit(change=says(dict(JOB, started_ms=2**60, truncated=True), 'rm "$0"'))
        result = self.change()
        self.assertEqual((False, True, True), (result["failed"], result["changed"], result["truncated"]))
        self.assertIn("is not whole: cannot start", result["warnings"][0])

    def test_an_answer_that_is_no_job(self):
        self.remit(change=says({}))
        result = self.change()
        self.assertEqual((True, "the answer of '%s' is no job: install the release of this collection" % self.program), (result["failed"], result["msg"]))

    def test_a_job_whose_end_is_not_known(self):
        self.remit(change=says(dict(JOB, state="running")), job=UNAVAILABLE)
        result = self.change()
        self.assertEqual((True, JOB["job_id"]), (result["failed"], result.get("job_id")))
        self.assertIn("lost the connection to remitd; 'remit job 3f0c-9a5e' shows the job", result["msg"])

    def test_a_job_that_ran_when_remitd_died_may_have_changed_something(self):
        daemon = COLLECTION.parents[2] / "daemon/warden/src"
        recovery = (daemon / "state_dir/recovery.rs").read_text()
        causes = re.findall(r'"(.*)"', recovery[recovery.index("fn cut_off("):recovery.index("let cause = match")])
        self.assertEqual([True] * 3 + [False] * 3, ["never ran" in cause for cause in causes])
        causes.append(re.search(r'"(.*never ran)"', (daemon / "event_loop/shutdown.rs").read_text())[1])
        cases = [(cause, code, 0, code is None and "never ran" not in cause) for cause in causes for code in (None, "approval_void")]
        for cause, code, runtime_ms, may_have_changed in cases + [("remitd was stopped", None, 1, None)]:
            job = dict(JOB, state="interrupted", cause=cause, started_ms=1, runtime_ms=runtime_ms, **({"code": code} if code else {}))
            self.remit(change=says(job))
            result = self.change()
            expect = (True, bool(may_have_changed), not may_have_changed)
            self.assertEqual(expect, (result["failed"], result["changed"], result["repeated"]), (cause, code))

    def test_a_value_that_begins_with_a_hyphen_is_in_one_word_with_its_option(self):
        self.remit(change=says(dict(JOB, started_ms=2**60)))
        values = dict(name=None, plan="0000", then=["-t"], reason="-r", request_id="-i", cwd="-c", env={"-A": "b"}, job_timeout="-5s")
        self.assertFalse(self.change(**values)["failed"])
        words = self.log.read_text().split()
        expected = ["--request-id=-i", "--reason=-r", "--plan=0000", "--then=-t", "--cwd=-c", "--timeout=-5s", "--env=-A=b"]
        self.assertEqual(["--json", "change", "--no-wait"] + expected, words)

    def test_an_empty_request_id_reaches_the_daemon_that_refuses_it(self):
        self.remit(run=says(JOB))
        self.run_module("remit_run", argv=["true"], env={}, secrets={}, args={}, request_id="", timeout=0)
        self.assertIn("--request-id=", self.log.read_text().split())


class Agent(Case):
    """remit_agent in check mode."""

    def started(self, **values):
        """Returns a module of the agent bot, and its remit."""
        params = dict(values, name="bot", key="t k", executable=str(self.program))
        module = Module({name: dict(default=value) for name, value in params.items()}, True)
        return module, MODULES["remit_agent"].Remit(module)

    def test_an_account_that_is_already_gone_does_not_appear(self):
        before = dict(account=False, enrolled=True, orphan=False, made=False, joined=False, group=False, keys={"t k": None})
        module = types.SimpleNamespace(params=dict(name="bot", state="absent", key=None))
        self.assertFalse(MODULES["remit_agent"].predicted(module, None, before)["account"])

    def test_the_group_is_that_of_the_socket(self):
        with tempfile.NamedTemporaryFile() as socket:
            self.assertEqual(MODULES["remit_agent"].socket_group(socket.name).gr_gid, os.stat(socket.name).st_gid)

    def test_an_account_that_remit_forgot_is_no_absent_agent(self):
        before = dict(account=True, enrolled=False, orphan=True, home="/home/bot", group=True, keys={})
        module = Module(dict(name=dict(default="bot"), key=dict(), state=dict(default="absent")), True)
        with self.assertRaises(Ended) as ended:
            MODULES["remit_agent"].predicted(module, None, before)
        self.assertIn("userdel bot; rm -r /home/bot", ended.exception.result["msg"])

    def test_a_member_of_the_group_that_was_not_enrolled_is_said(self):
        before = dict(account=True, enrolled=False, orphan=False, home="/home/alice", group=True, keys={})
        module = Module(dict(name=dict(default="alice"), key=dict(), state=dict(default="absent")), True)
        self.assertEqual(MODULES["remit_agent"].predicted(module, None, before), before)
        self.assertIn("stays a member", module.warnings[0])


    def test_an_end_that_has_passed_is_no_failure_for_the_key_that_has_it(self):
        for stamp, kept, expect in [
            ("20200101000000Z", 1577836800, None),
            ("20200101000000Z", None, "in the past"),
            ("20200101000001Z", 1577836800, "in the past"),
            ("29990101000000Z", None, None),
        ]:
            self.remit(enroll=says(dict(line='restrict,command="x",expiry-time="%s" t k' % stamp)))
            before = dict(account=True, enrolled=True, orphan=False, group=True, keys={"t k": kept})
            module, remit = self.started(expires="2020-01-01", state="present")
            if expect is None:
                self.assertIn("t k", MODULES["remit_agent"].predicted(module, remit, before)["keys"])
                continue
            with self.assertRaises(Ended) as ended:
                MODULES["remit_agent"].predicted(module, remit, before)
            self.assertIn(expect, ended.exception.result["msg"])

    def test_a_time_with_an_offset_is_passed_on_in_utc(self):
        for expires, expect in [
            # What Ansible makes of an unquoted 2030-12-31T08:00:00Z.
            ("2030-12-31T08:00:00+00:00", "2030-12-31T08:00:00Z"),
            ("2030-12-31 08:00:00+00:00", "2030-12-31T08:00:00Z"),
            ("2030-12-31T08:00:00.500000+02:00", "2030-12-31T06:00:00Z"),
            ("2030-12-31T23:30-01:00", "2031-01-01T00:30:00Z"),
            ("2030-13-31T08:00+00:00", "2030-13-31T08:00+00:00"),
            ("2030-12-31T08:00Z", "2030-12-31T08:00Z"),
            ("2030-12-31", "2030-12-31"),
            ("never", "never"),
        ]:
            self.assertEqual(["--expires=" + expect], MODULES["remit_agent"].end_of(dict(expires=expires)))

    def test_a_usage_error_is_said_as_one(self):
        said = "error: invalid value 'x' for '--expires <TIME>':\n  not a duration\n\nFor more information, try '--help'.\n"
        self.remit(enroll="printf %%s %s >&2; exit 64" % shlex.quote(said))
        with self.assertRaises(Ended) as ended:
            MODULES["remit_agent"].read_key(*self.started(expires="x", state="present"))
        self.assertEqual("remit refused: invalid value 'x' for '--expires <TIME>': not a duration", ended.exception.result["msg"])

    def test_a_key_is_read_without_the_group_of_the_configuration(self):
        self.remit(**{"--group=remit": says(dict(line='restrict,command="x" t k')), "enroll": UNAVAILABLE})
        self.assertEqual(MODULES["remit_agent"].read_key(*self.started(expires=None, state="absent")), ("t k", None))


class CollectorRole(unittest.TestCase):
    """The role collector: what an earlier run has written and not applied is applied."""

    TASKS = COLLECTION.parent / "roles/collector/tasks"

    @unittest.skipIf(jinja2 is None, "no jinja2")
    def test_the_service_starts_again_for_what_changed_now_or_was_not_applied_before(self):
        environment = jinja2.Environment()
        environment.tests["changed"] = lambda result: result.get("changed", False)
        text = (self.TASKS / "configuration.yml").read_text()
        changed = environment.compile_expression(re.search(r"remit_collector_changed: >-\s+{{(.*?)}}", text, re.S)[1])
        for unapplied, settings, key, expect in [
            (False, False, None, False),
            (False, False, False, False),
            (False, True, False, True),
            (False, False, True, True),
            (True, False, False, True),
            (True, False, None, True),
        ]:
            results = dict(remit_collector_unapplied=dict(stat=dict(exists=unapplied)), remit_collector_settings=dict(changed=settings))
            if key is not None:
                results["remit_collector_key_copy"] = dict(changed=key)
            self.assertIs(changed(**results), expect, (unapplied, settings, key))

    def test_the_mark_is_made_before_the_first_file_and_removed_after_the_last_start(self):
        mark = re.search(r'path: "(.*){{ remit_collector_side }}"', (self.TASKS / "mark.yml").read_text())[1]
        for file, side in [("host.yml", "upload"), ("main.yml", "remote")]:
            tasks = re.split(r"^- name: ", (self.TASKS / file).read_text(), flags=re.M)[1:]
            order = [next(at for at, task in enumerate(tasks) if word in task) for word in ("mark.yml", "certificates.yml", "configuration.yml")]
            self.assertEqual(order, sorted(order), file)
            self.assertIn("remit_collector_side: %s\n" % side, tasks[order[0]])
            self.assertIn("path: %s%s\n    state: absent\n" % (mark, side), tasks[-1])


class Role(unittest.TestCase):
    """The role install."""

    @unittest.skipIf(jinja2 is None, "no jinja2")
    def test_an_absent_agent_is_removed_whole_unless_another_key_of_it_is_present(self):
        tasks = (COLLECTION.parent / "roles/install/tasks/main.yml").read_text()
        task = tasks[tasks.index("name: Remove agents"):]
        key = jinja2.Environment().from_string(re.search(r'^ +key: "(.*)"$', task, re.M)[1])
        absent = dict(name="a", key="old", state="absent")
        for others, expect in [
            ([], "OMIT"),
            ([dict(name="b", key="x")], "OMIT"),
            ([dict(name="a", key="older", state="absent")], "OMIT"),
            ([dict(name="a", key="new")], "old"),
            ([dict(name="a", key="new", state="present")], "old"),
        ]:
            self.assertEqual(key.render(item=absent, remit_agents=others + [absent], omit="OMIT"), expect, others)

    @unittest.skipIf(jinja2 is None, "no jinja2")
    def test_an_absent_agent_without_a_key_has_no_entry_that_is_present(self):
        tasks = (COLLECTION.parent / "roles/install/tasks/main.yml").read_text()
        task = tasks[tasks.index("name: Refuse agents"):tasks.index("name: Enroll agents")]
        holds = jinja2.Environment().compile_expression(re.search(r"^ +that: (.*)$", task, re.M)[1])
        for absent, others, expect in [
            (dict(name="a"), [], True),
            (dict(name="a"), [dict(name="b", key="x")], True),
            (dict(name="a"), [dict(name="a", key="old", state="absent")], True),
            (dict(name="a"), [dict(name="a", key="new")], False),
            (dict(name="a", key=None), [dict(name="a", key="new", state="present")], False),
            (dict(name="a", key="old"), [dict(name="a", key="new")], True),
        ]:
            item = dict(absent, state="absent")
            self.assertIs(holds(item=item, remit_agents=others + [item]), expect, (absent, others))


class Scripts(Case):
    """The scripts of the role install."""

    def run_script(self, file, task, *words, **programs):
        """Runs the script of a task with stand-ins for programs. Returns its status and what it printed."""
        text = (COLLECTION.parent / "roles/install/tasks" / file).read_text()
        text = text[text.index("- name: " + task):]
        lines = re.search(r"^( +)- \|\n((?:\1 .*\n)+)", text, re.M)[2]
        for name, line in programs.items():
            path = self.dir / name.replace("_", "-")
            path.write_text("#!/bin/sh\n%s\n" % line)
            path.chmod(0o755)
        environment = dict(os.environ, PATH="%s:%s" % (self.dir, os.environ["PATH"]), HOME=str(self.dir))
        command = ["sh", "-ceu", textwrap.dedent(lines), "sh", *words]
        ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        return ended.returncode, ended.stdout

    def test_another_build_of_the_installed_version_is_installed(self):
        packed, known = self.dir / "md5sums", self.dir / "known"
        packed.write_text("1  a\n2  b\n")
        made = subprocess.run(["tar", "-C", self.dir, "-c", "./md5sums"], capture_output=True, check=True).stdout
        (self.dir / "control.tar").write_bytes(made)
        for installed, is_check, expect in [
            ("1  a\n2  b\n", "False", (0, "", "")),
            ("1  a\n3  b\n", "False", (0, "installed\n", "--force-confdef --force-confold -i x.deb\n")),
            ("1  a\n3  b\n", "True", (0, "installed\n", "")),
            (None, "True", (0, "installed\n", "")),
        ]:
            known.unlink(missing_ok=True)
            self.log.write_text("")
            if installed is not None:
                known.write_text(installed)
            result = self.run_script(
                "package.yml", "Install the .deb if", "x.deb", is_check,
                dpkg_deb='case $1 in -f) echo remit;; *) cat "%s/control.tar";; esac' % self.dir,
                dpkg_query='[ "$2" = remit ] && [ -e %s ] && echo %s' % (known, known),
                dpkg='echo "$@" >>%s' % self.log,
            )
            self.assertEqual(expect, (*result, self.log.read_text()), (installed, is_check))

    def test_groups_are_taken_from_their_members(self):
        for getent, has, groups, is_check, status, taken in [
            ("exit 0", "ann remit-admin systemd-journal", "remit-admin systemd-journal", "False", 0, ["remit-admin", "systemd-journal"]),
            ("exit 0", "ann remit-admins remit", "remit-admin systemd-journal", "False", 0, []),
            ("exit 0", "ann remit", "remit", "True", 0, []),
            ("exit 2", "", "remit", "False", 0, []),
            # Accounts that cannot be read are no accounts that are absent.
            ("exit 1", "", "remit", "False", 1, []),
        ]:
            self.log.write_text("")
            gpasswd = 'printf "%%s\\n" "$3" >>%s' % self.log
            found, said = self.run_script("people.yml", "Take the groups", "ann", groups, is_check, getent=getent, id="echo " + has, gpasswd=gpasswd)
            self.assertEqual((status, taken), (found, self.log.read_text().split()), has)
            self.assertEqual("taken" in said, bool(taken) or is_check == "True", has)

    def test_a_key_is_removed_whatever_its_options_and_comment_are(self):
        keys = self.dir / ".ssh/authorized_keys"
        keys.parent.mkdir()
        for before, is_check, after in [
            ("t OLD ann\nt NEW ann\n", "False", "t NEW ann\n"),
            ('restrict,from="::1" t OLD ann@laptop\n', "False", ""),
            ("t OLD ann\n", "True", "t OLD ann\n"),
            ("t NEW ann\n", "False", "t NEW ann\n"),
            (None, "False", None),
        ]:
            keys.unlink(missing_ok=True)
            if before is not None:
                keys.write_text(before)
            found, said = self.run_script("people.yml", "Remove the keys", "ann", "t OLD", is_check, getent="exit 0", runuser='shift 3; exec "$@"')
            self.assertEqual((0, after), (found, keys.read_text() if keys.exists() else None))
            self.assertEqual("removed" in said, "OLD" in (before or ""))
            self.assertEqual([keys] if before is not None else [], list(keys.parent.iterdir()))
        keys.mkdir()
        self.assertNotEqual(0, self.run_script("people.yml", "Remove the keys", "ann", "t OLD", "False")[0], "what cannot be read is no absent key")


class Examples(unittest.TestCase):
    """The commands that the documents name."""

    @unittest.skipIf(tomllib is None and "REMIT_TESTS_MUST_RUN" not in os.environ, "no tomllib")
    def test_each_command_is_shipped_with_these_arguments(self):
        root = COLLECTION.parents[2]
        shipped = {}
        for file in sorted(root.glob("packaging/policy.d/*.toml")) + sorted(root.glob("packaging/examples/*.toml")):
            for command in tomllib.loads(file.read_text()).get("command", []):
                shipped[command["name"]] = command.get("args", {})
        texts = [path.read_text() for path in sorted(COLLECTION.glob("modules/*.py"))]
        texts.append((COLLECTION.parent / "README.md").read_text())
        pages = "".join(page.read_text() for page in sorted(root.glob("packaging/man/*.[57]")))
        task = re.compile(r"remit_(?:run|change):\n((?:[ ]{4,}.*\n)+)")
        seen = 0
        for words in task.findall("".join(texts)):
            name = re.search(r"^ +name: ([a-z_]+\.[a-z_.]+)$", words, re.M)
            if not name or name[1].startswith("site."):
                continue
            seen += 1
            if name[1] not in shipped:
                self.assertIn(name[1], pages, "a command that no file of policy has, and no page of the manual")
                continue
            given = re.search(r"^( +)args:\n((?:\1 +.*\n)+)", words, re.M)
            given = set(re.findall(r"^ +([a-z_]+):", given[2], re.M)) if given else set()
            args = shipped[name[1]]
            needed = {arg for arg, rule in args.items() if not {"default", "optional", "flag"} & set(rule)}
            self.assertLessEqual(given, set(args), words)
            self.assertLessEqual(needed, given, words)
        self.assertGreaterEqual(seen, 3)


if __name__ == "__main__":
    unittest.main()
