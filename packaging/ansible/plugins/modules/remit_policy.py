#!/usr/bin/python
# Copyright (c) the remit developers
# MIT or Apache-2.0, as you like
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Installs files of remit's policy together, if all of the policy is right with them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: remit_policy
short_description: Distribute files of remit's policy
version_added: 0.1.0
description:
  - Installs, changes and removes files in F(/etc/remit/policy.d).
  - A policy is right or wrong as a whole. So C(remit policy check) judges a copy of the configuration of the host with all of
    the new files. If it finds an error, nothing is changed, and the task fails with each error, its file and its line.
  - Then the files are replaced and the daemon loads them. If the daemon refuses them, the old files are put back.
  - The daemon also loads them if no file had to be changed. It is changed if the policy in force was another one then.
  - It needs root.
options:
  files:
    description:
      - Content of each file by its name, which ends in C(.toml).
      - A file that is replaced keeps its mode and owner. All users of the host can read a new one.
    type: dict
    default: {}
  absent:
    description:
      - Names of files that must not be there.
    type: list
    elements: str
    default: []
  config:
    description:
      - Configuration directory of the daemon.
    type: path
    default: /etc/remit
  executable:
    description:
      - Path of C(remit), if it is in no directory of E(PATH).
    type: path
requirements:
  - remit on the host (role P(remit.remit.install#role))
attributes:
  check_mode:
    description: The new policy is checked, and the differences are returned.
    details:
      - Check mode does not see that the daemon has another policy in force than the files say.
      - It warns of each way to root that the policy opens, as C(remit policy check --prove). The daemon refuses a policy that opens a new one.
    support: partial
  diff_mode:
    description: The differences of the files are returned.
    support: full
seealso:
  - module: remit.remit.remit_agent
author:
  - The remit developers (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Agents may ask for restarts of nginx
  remit.remit.remit_policy:
    files:
      60-changes.toml: "{{ lookup('ansible.builtin.file', 'policy/60-changes.toml', rstrip=false) }}"
    absent:
      - 61-trial.toml
  become: true
"""

RETURN = r"""
files:
  description: Paths of the files that were changed or removed, or would be.
  returned: success
  type: list
  elements: str
  sample: [/etc/remit/policy.d/60-changes.toml]
findings:
  description: Errors and warnings of C(remit policy check), each as it prints it.
  returned: always
  type: list
  elements: str
  sample: []
changes:
  description: Who gains and who loses what, in words of the daemon.
  returned: when the daemon has loaded the files
  type: list
  elements: str
  sample: ["%remit gains service.restart (needs approval by %remit-admin, asked for at most 10 min)"]
"""

import json
import os
import re
import stat
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.text.converters import to_bytes

from ansible_collections.remit.remit.plugins.module_utils.remit import Remit, readable

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\.toml")
# A file beside the policy, with the pid of the run that made it.
BESIDE = re.compile(r"\.policy-(?:old-.+-([0-9]+)|new-([0-9]+)-.+)")


class Change:
    """One file of the policy: its bytes now, and its bytes afterwards. None is no file."""

    def __init__(self, directory, name, after):
        self.name = name
        self.path = os.path.join(directory, name)
        self.after = after
        self.before = None
        # Mode and owner to keep. A link to /dev/null, which leaves out a file of the package, has none.
        self.like = None
        # Files in the directory above, which the daemon does not read: the new one, and then the old one.
        self.new = None
        self.old = None
        # Whether the name has its new content, or is gone.
        self.is_made = False
        if os.path.lexists(self.path):
            with open(self.path, "rb") as opened:
                self.before = opened.read()
            found = os.lstat(self.path)
            if stat.S_ISREG(found.st_mode):
                self.like = found

    def needed(self):
        """Returns whether the file is not yet as it has to be."""
        return self.before != self.after

    def prepare(self):
        """Writes the new bytes beside. All that can fail for want of space fails here, where nothing is changed yet."""
        if self.after is not None:
            self.new = written(os.path.dirname(os.path.dirname(self.path)), self.after, self.like)

    def make(self):
        """Replaces the file in one step, and keeps the old one with its mode and owner."""
        old = os.path.join(os.path.dirname(os.path.dirname(self.path)), ".policy-old-%s-%d" % (self.name, os.getpid()))
        if self.after is None:
            os.rename(self.path, old)
            self.old = old
        else:
            if self.before is not None:
                os.link(self.path, old, follow_symlinks=False)
                self.old = old
            os.rename(self.new, self.path)
            self.new = None
        self.is_made = True

    def undo(self):
        """Puts the old file back. A second name of a file that was not replaced is left to clean: rename(2) would keep it."""
        if not self.is_made:
            return
        if self.old is not None:
            os.rename(self.old, self.path)
            self.old = None
        else:
            os.unlink(self.path)

    def clean(self):
        """Removes what lies beside."""
        for path in (self.new, self.old):
            if path is not None:
                os.unlink(path)

    def diff(self):
        """Returns the difference as Ansible shows it."""
        return dict(
            before_header=self.path if self.before is not None else "/dev/null",
            after_header=self.path if self.after is not None else "/dev/null",
            before=readable(self.before or b""),
            after=readable(self.after or b""),
        )


def written(directory, content, like):
    """Returns the path of a new file with these bytes, with mode and owner of the old one; without one, all can read it."""
    handle, path = tempfile.mkstemp(dir=directory, prefix=".policy-new-%d-" % os.getpid())
    try:
        with os.fdopen(handle, "wb") as opened:
            opened.write(content)
            if like is not None:
                os.fchown(opened.fileno(), like.st_uid, like.st_gid)
            os.fchmod(opened.fileno(), 0o644 if like is None else stat.S_IMODE(like.st_mode))
            os.fsync(opened.fileno())
    except OSError as failed:
        os.unlink(path)
        # One of a write does not name the file.
        raise OSError(failed.errno, failed.strerror, path)
    return path


def wanted(module):
    """Returns the changes that the parameters ask for. Names that are wrong fail the module."""
    params = module.params
    directory = os.path.join(params["config"], "policy.d")
    for name in list(params["files"]) + params["absent"]:
        if not NAME.fullmatch(name):
            module.fail_json(msg="'%s' is no name of a policy file: it has letters, digits, '.', '_' and '-', and ends in '.toml'" % name)
    for name in set(params["files"]) & set(params["absent"]):
        module.fail_json(msg="'%s' is in files and in absent: take it out of one of them" % name)
    for name, content in params["files"].items():
        if not isinstance(content, str):
            module.fail_json(msg="the content of '%s' is no text" % name)
    # Through a link, the copy that is checked would be the real directory. The daemon refuses one, too.
    if os.path.islink(directory):
        module.fail_json(msg="'%s' is a symbolic link, which the daemon refuses: put the real directory there" % directory)
    if not os.path.isdir(directory):
        module.fail_json(msg="there is no directory '%s': apply the role remit.remit.install first" % directory)
    try:
        changes = [Change(directory, name, to_bytes(content)) for name, content in sorted(params["files"].items())]
        return changes + [Change(directory, name, None) for name in sorted(set(params["absent"]))]
    except OSError as error:
        module.fail_json(msg="cannot read '%s': %s" % (error.filename, error.strerror))


def check(module, remit, changes):
    """Returns what 'remit policy check' finds in a copy of the configuration with the changes. An error fails the module."""
    config = module.params["config"]
    try:
        # The way to the copy has to belong to root, too; that to Ansible's own temporary directory may not.
        with tempfile.TemporaryDirectory(dir="/run", prefix="remit-policy-") as copy:
            module.run_command(["cp", "-a", os.path.join(config, "."), copy], check_rc=True)
            for change in changes:
                path = os.path.join(copy, "policy.d", change.name)
                if os.path.lexists(path):
                    os.unlink(path)
                if change.after is not None:
                    os.rename(written(copy, change.after, change.like), path)
            # The daemon itself looks for ways to root when it loads the files.
            prove = ["--prove"] if module.check_mode else []
            answer = remit.expect(["policy", "check", "--config", copy] + prove)
    except OSError as failed:
        module.fail_json(msg="cannot check the policy: '%s': %s" % (failed.filename, failed.strerror))
    # Only the files of the copy have another path.
    findings = [(one["severity"], one["shown"].replace(copy + "/", config.rstrip("/") + "/")) for one in answer["findings"]]
    shown = [text for severity, text in findings]
    if not answer["loads"]:
        module.fail_json(
            msg="the policy is wrong, and nothing was changed: %s" % "\n".join(text for severity, text in findings if severity == "error"),
            findings=shown,
        )
    for severity, text in findings:
        module.warn(text)
    return shown


def loaded(remit):
    """Returns the digest of the policy that the daemon has in force; None if it does not run."""
    return remit.call(["status"])[1].get("policy")


def install(module, remit, changes, before):
    """Makes the changes and has the daemon load them. Returns what they mean; all files are as before if that fails.

    before is the digest of the policy that was in force; None if the daemon did not run.
    """
    try:
        replace(changes)
        answer = reload(remit)
    except OSError as failed:
        problem = "cannot write '%s': %s" % (failed.filename, failed.strerror)
        module.fail_json(msg="%s; %s" % (problem, back(module, remit, changes, problem)))
    except ValueError as failed:
        module.fail_json(msg="%s; %s" % (failed, back(module, remit, changes, failed)))
    error = answer.get("error")
    # A daemon that ran until now may have ended because of this policy.
    if error and (before is not None or error["code"] != "daemon_unavailable"):
        remit.refused(error, "the daemon did not load the policy (%s)" % back(module, remit, changes, error.get("message")))
    try:
        for change in changes:
            change.clean()
        clean_after_others(module.params["config"])
    except OSError as failed:
        module.warn("cannot remove '%s', which the daemon does not read: %s" % (failed.filename, failed.strerror))
    if error:
        module.warn("the daemon does not run, and loads the policy when it starts: %s" % error.get("message"))
    return answer


def clean_after_others(directory):
    """Removes what runs left that were killed."""
    for name in sorted(os.listdir(directory)):
        made = BESIDE.fullmatch(name)
        if made and not os.path.exists("/proc/%s" % (made[1] or made[2])):
            os.unlink(os.path.join(directory, name))


def replace(changes):
    """Writes all new files, and then gives each its name."""
    for change in changes:
        change.prepare()
    for change in changes:
        change.make()


def reload(remit):
    """Has the daemon load the policy. An answer that is none is a ValueError, as is no answer."""
    try:
        status, out, err = remit.raw(["--json", "policy", "reload"])
    except OSError as error:
        raise ValueError(remit.unstarted(error)) from error
    try:
        answer = json.loads(readable(out))
        if isinstance(answer, dict):
            return answer
    except ValueError:
        pass
    said = readable(err or out).strip()
    raise ValueError("cannot read the answer of 'remit policy reload' (status %s): %s" % (status, said[:300]))


def back(module, remit, changes, why):
    """Undoes changes, the last one first, and returns what became of them. One that fails does not keep the others."""
    problems = []
    for change in reversed(changes):
        try:
            change.undo()
            change.clean()
        except OSError as failed:
            problems.append("'%s' is in '%s' (%s)" % (change.path, change.old, failed.strerror))
    if problems:
        module.fail_json(msg="%s; the policy is not as before: the old content of %s" % (why, ", of ".join(problems)), changed=True)
    if not changes:
        return "all files are as before"
    # The daemon may have loaded the new ones, although no answer came.
    try:
        problem = reload(remit).get("error", {}).get("message")
    except ValueError as failed:
        problem = failed
    return "all files are as before" + (
        ", which the daemon did not load again: %s; correct that, and run 'remit policy reload'" % problem if problem else ""
    )


def main():
    """Checks, shows, and installs."""
    module = AnsibleModule(
        argument_spec=dict(
            files=dict(type="dict", default={}),
            absent=dict(type="list", elements="str", default=[]),
            config=dict(type="path", default="/etc/remit"),
            executable=dict(type="path"),
        ),
        supports_check_mode=True,
    )
    if os.geteuid() != 0:
        module.fail_json(msg="policy files belong to root: add 'become: true' to the task")
    remit = Remit(module)
    changes = [change for change in wanted(module) if change.needed()]
    findings = check(module, remit, changes)
    result = dict(
        changed=bool(changes),
        files=[change.path for change in changes],
        findings=findings,
        diff=[change.diff() for change in changes],
    )
    if not module.check_mode:
        before = loaded(remit)
        answer = install(module, remit, changes, before)
        result["changes"] = answer.get("changes", [])
        # An earlier task may have ended between its files and their load.
        if before is not None and answer.get("policy", before) != before:
            result["changed"] = True
    module.exit_json(**result)


if __name__ == "__main__":
    main()
