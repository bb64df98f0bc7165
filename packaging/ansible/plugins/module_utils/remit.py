# Copyright (c) the remit developers
# MIT or Apache-2.0, as you like
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Calls the program remit, reads its JSON, and waits for jobs. Decides nothing about permissions: the daemon does."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time

from ansible.module_utils.common.text.converters import to_bytes, to_text

# Exit status of remit for arguments that it does not take. It prints no JSON then.
USAGE = 64
# States of a job from which it can still go on.
PENDING = "awaiting_approval"
OPEN = (PENDING, "queued", "running")
# States of a job whose program was started, whatever it did then.
STARTED = ("exited", "signalled", "timed_out", "oom_killed", "output_limit")
# What the cause of a job says that was not started because remitd ended.
NEVER_RAN = "it never ran"

# Options of the modules that start a job.
JOB_OPTIONS = dict(
    name=dict(type="str"),
    args=dict(type="dict", default={}),
    argv=dict(type="list", elements="str"),
    script=dict(type="str"),
    interpreter=dict(type="str"),
    profile=dict(type="str"),
    cwd=dict(type="path"),
    env=dict(type="dict", default={}),
    stdin=dict(type="str"),
    secrets=dict(type="dict", default={}, no_log=True),
    job_timeout=dict(type="str"),
    executable=dict(type="path"),
)


class Remit:
    """The program remit on this host."""

    def __init__(self, module):
        self.module = module
        # The job that was started, as it was last seen.
        self.started = None
        self.program = module.params.get("executable") or module.get_bin_path("remit")
        if not self.program:
            msg = "remit is not installed on this host: apply the role remit.remit.install first"
            # A task before may have installed it, if this were no check.
            if module.check_mode:
                module.exit_json(changed=False, skipped=True, msg=msg)
            module.fail_json(msg=msg)

    def call(self, words, data=None, seconds=None):
        """Runs a verb with --json. Returns its status and its object; None for both after so many seconds."""
        status, out, err = self.ended(["--json"] + words, data, seconds)
        if status is None:
            return None, None
        try:
            answer = json.loads(readable(out))
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            if status == USAGE:
                said = readable(err).split("\n\n")[0]
                self.fail("remit refused: %s" % " ".join(said.split()).replace("error: ", "", 1), rc=status)
            self.fail("cannot read the answer of '%s': %s" % (" ".join([self.program] + words[:2]), _first(err, out)), rc=status)
        return status, answer

    def ended(self, words, data=None, seconds=None):
        """Runs remit as raw does. A program that cannot be started fails the module."""
        try:
            return self.raw(words, data, seconds)
        except OSError as error:
            self.fail(self.unstarted(error))

    def unstarted(self, error):
        """Returns the message about an OSError of raw."""
        return "cannot start '%s': %s" % (self.program, error.strerror)

    def raw(self, words, data=None, seconds=None):
        """Runs remit with these words. Returns its status and the bytes of both streams; None for all after so many seconds.

        A program that cannot be started is an OSError: a caller that has changed something undoes that first.
        """
        command = [to_bytes(word, errors="surrogate_or_strict") for word in [self.program] + words]
        try:
            ended = subprocess.run(command, input=to_bytes(data or ""), capture_output=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            return None, None, None
        return ended.returncode, ended.stdout, ended.stderr

    def expect(self, words, data=None):
        """Runs a verb with --json and returns its object, with the status of remit. A refusal fails the module."""
        status, answer = self.call(words, data)
        if "error" in answer:
            self.refused(answer["error"])
        return dict(answer, status=status)

    def refused(self, error, what=None):
        """Fails the module with what a refusal says, and with its way out."""
        msg = error.get("message")
        if what is None and error.get("code") != "daemon_unavailable":
            what = "remit refused"
        if what is not None:
            msg = "%s: %s" % (what, msg)
        if error.get("next"):
            msg += "; to go on: %s" % error["next"]
        if error.get("lift"):
            msg += "; to lift it: %s" % error["lift"]
        self.fail(msg, code=error.get("code"), next=error.get("next"), lift=error.get("lift"))

    def fail(self, msg, **result):
        """Fails the module. A job that was started is named: how it ended is not known."""
        if self.started is not None:
            msg += "; 'remit job %s' shows the job that was started" % short_id(self.started)
            result["job_id"] = self.started["job_id"]
        self.module.fail_json(msg=msg, **result)

    def start(self, verb, options, data):
        """Asks for a job and returns it as it is then. A request id that is known returns its first job."""
        return self.job(self.expect([verb, "--no-wait"] + options, data))

    def job(self, answer):
        """Returns the answer if it is a job. Another one, as of another release, fails the module."""
        if not all(isinstance(answer.get(key), str) for key in ("job_id", "state")):
            self.fail("the answer of '%s' is no job: install the release of this collection" % self.program)
        self.started = answer
        return answer

    def wait(self, job, approval_seconds):
        """Waits for the end of a job, and returns it. A request that is still pending after these seconds is returned."""
        deadline = time.monotonic() + approval_seconds
        while job["state"] in OPEN:
            left = max(0.0, deadline - time.monotonic()) if job["state"] == PENDING else None
            if left == 0:
                break
            status, answer = self.call(["job", job["job_id"], "--wait"], seconds=left)
            if answer is None:
                # It may just have been approved; then its end is awaited as well.
                answer = self.expect(["job", job["job_id"]])
            else:
                if "error" in answer:
                    self.refused(answer["error"])
                answer["status"] = status
            job = self.job(answer)
        return job

    def whole_output(self, job):
        """Returns a job with all of its output: an answer has only the beginning and the end of a long one."""
        if not job.get("truncated"):
            return job
        job = dict(job)
        for stream in ("stdout", "stderr"):
            try:
                status, out, err = self.raw(["job", job["job_id"], "--" + stream])
                problem = "the output of job %s is not kept whole: %s" % (job["job_id"], _first(err, b"")) if status != 0 else None
            except OSError as error:
                # The job has ended all the same, and may have changed something.
                problem = "the output of job %s is not whole: %s" % (job["job_id"], self.unstarted(error))
            if problem:
                self.module.warn(problem)
                return job
            job[stream] = readable(out)
        job["truncated"] = False
        return job


def job_words(module):
    """Returns the options and words of run and change for the module's parameters. A value that is no word fails the module."""
    try:
        return _words(module, module.params)
    except ValueError as error:
        module.fail_json(msg=str(error))


def _words(module, params):
    if params["args"] and params["name"] is None:
        raise ValueError("'args' are those of 'name', which is not given: arguments of a program belong into 'argv'")
    if params["argv"] == []:
        raise ValueError("'argv' is empty: it has a program and its arguments")
    # In one word with its option, a value may begin with a hyphen.
    words = []
    for key in ("profile", "cwd", "interpreter"):
        if params[key] is not None:
            words.append("--%s=%s" % (key, params[key]))
    if params["job_timeout"] is not None:
        words.append("--timeout=" + params["job_timeout"])
    for name in sorted(params["env"]):
        words.append("--env=%s=%s" % (name, _text(params["env"][name])))
    for key in sorted(params["secrets"]):
        words.append("--secret=%s=%s" % (key, private_file(module, _text(params["secrets"][key]))))
    if params["stdin"] is not None:
        words.append("--stdin")
    if params["script"] is not None:
        words += ["--script-file", private_file(module, params["script"])]
    elif params["argv"] is not None:
        words += ["--"] + params["argv"]
    elif params["name"] is not None:
        words += ["--name=" + params["name"], "--"]
        for key in sorted(params["args"]):
            values = params["args"][key]
            for value in values if isinstance(values, list) else [values]:
                words.append("%s=%s" % (key, _text(value)))
    return words


def private_file(module, text):
    """Returns the path of a file with this text, which only the user of the module can read."""
    handle, path = tempfile.mkstemp(dir=module.tmpdir, prefix="remit-")
    module.add_cleanup_file(path)
    with os.fdopen(handle, "wb") as opened:
        opened.write(to_bytes(text))
    return path


def job_result(job):
    """Returns what the modules return of a job, without newlines at the end of its output, as Ansible's own modules do."""
    result = dict(
        job_id=job["job_id"],
        command=job.get("command"),
        state=job["state"],
        rc=job.get("exit"),
        stdout=job.get("stdout", "").rstrip("\r\n"),
        stderr=job.get("stderr", "").rstrip("\r\n"),
        truncated=job.get("truncated", False),
    )
    for key in ("signal", "cause", "code", "next", "approval", "enforced", "denials", "notes", "then", "started_ms", "runtime_ms"):
        if key in job:
            result[key] = job[key]
    return result


def readable(data):
    """Returns bytes as text, with an escape for each that is none. Ansible refuses a result with surrogates, also after a change."""
    return data.decode("utf-8", errors="backslashreplace")


def short_id(job):
    """Returns the beginning of a job's id as people type it."""
    return "%s-%s" % (job["job_id"][:4], job["job_id"][4:8])


def was_started(job):
    """Returns whether the program of a job that has ended was started. A job that was withdrawn has no time then."""
    return job["state"] in STARTED or job.get("runtime_ms", 0) > 0 or is_end_unknown(job)


def ended_before(job, began_ms):
    """Returns whether a job is known to have ended before this time."""
    if job["state"] == PENDING or is_end_unknown(job):
        return False
    return job.get("started_ms", began_ms) + job.get("runtime_ms", 0) < began_ms


def is_end_unknown(job):
    """Returns whether a job ran when remitd died: then it has no time. One that was not started has none either, and says so."""
    if job["state"] != "interrupted" or job.get("runtime_ms", 0) > 0:
        return False
    return "code" not in job and NEVER_RAN not in job.get("cause", "")


def end_problem(job):
    """Returns why a job did not end well; None if it did."""
    name = "'%s' (%s)" % (job.get("command"), short_id(job))
    state, cause = job["state"], job.get("cause")
    if state == PENDING:
        approval = job.get("approval") or {}
        until = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(approval.get("expires_ms", 0) / 1000.0))
        return "%s waits for the approval of %s until %s: they run '%s'" % (
            name, ", ".join(approval.get("by", [])) or "another person", until, approval.get("line"),
        )
    if state == "exited":
        if job.get("exit", 0) != 0:
            return "%s exited with status %d" % (name, job["exit"])
        # The status of remit is that of the command that followed.
        return None if job["status"] == 0 else "%s was done, but a command after it ended with status %d" % (name, job["status"])
    problem = "%s ended as %s" % (name, state)
    if job.get("signal"):
        problem += " by signal %d" % job["signal"]
    if cause:
        problem += ": %s" % cause
    if job.get("next"):
        problem += "; to go on: %s" % job["next"]
    return problem


def _text(value):
    """Returns a value as a word. YAML's true is not Python's True."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)) or value is None:
        raise ValueError("a value is a text, a number or a boolean, not '%s'" % type(value).__name__)
    return to_text(value)


def _first(err, out):
    """Returns the first line of what a program said."""
    lines = (readable(err) or readable(out)).strip().splitlines()
    return lines[0] if lines else "it printed nothing"
