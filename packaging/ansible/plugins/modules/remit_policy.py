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
  - It needs root.
options:
  files:
    description:
      - Content of each file by its name, which ends in C(.toml).
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
    support: full
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

import os
import re
import shutil
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.text.converters import to_bytes, to_text

from ansible_collections.remit.remit.plugins.module_utils.remit import Remit

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\.toml")


class Change:
    """One file of the policy: its bytes now, and its bytes afterwards. None is no file."""

    def __init__(self, directory, name, after):
        self.name = name
        self.path = os.path.join(directory, name)
        self.after = after
        self.before = None
        if os.path.lexists(self.path):
            with open(self.path, "rb") as opened:
                self.before = opened.read()

    def needed(self):
        """Returns whether the file is not yet as it has to be."""
        return self.before != self.after

    def make(self, path=None):
        """Gives the file its new bytes."""
        write(path or self.path, self.after)

    def undo(self):
        """Gives the file its old bytes."""
        write(self.path, self.before)

    def diff(self):
        """Returns the difference as Ansible shows it."""
        return dict(
            before_header=self.path if self.before is not None else "/dev/null",
            after_header=self.path if self.after is not None else "/dev/null",
            before=to_text(self.before or b"", errors="surrogate_or_replace"),
            after=to_text(self.after or b"", errors="surrogate_or_replace"),
        )


def write(path, content):
    """Replaces a file in one step; None removes it. Its temporary name is in the directory above, which the daemon does not read."""
    if content is None:
        if os.path.lexists(path):
            os.unlink(path)
        return
    handle, beside = tempfile.mkstemp(dir=os.path.dirname(os.path.dirname(path)), prefix=".policy-")
    try:
        with os.fdopen(handle, "wb") as opened:
            opened.write(content)
            os.fchmod(opened.fileno(), 0o644)
            os.fsync(opened.fileno())
        os.rename(beside, path)
    except OSError:
        os.unlink(beside)
        raise


def wanted(module):
    """Returns the changes that the parameters ask for. Names that are wrong fail the module."""
    params = module.params
    directory = os.path.join(params["config"], "policy.d")
    for name in list(params["files"]) + params["absent"]:
        if not NAME.fullmatch(name):
            module.fail_json(msg="'%s' is no name of a policy file: it has letters, digits, '.', '_' and '-', and ends in '.toml'" % name)
    for name in set(params["files"]) & set(params["absent"]):
        module.fail_json(msg="'%s' is in files and in absent: take it out of one of them" % name)
    if not os.path.isdir(directory):
        module.fail_json(msg="there is no directory '%s': apply the role remit.remit.install first" % directory)
    try:
        changes = [Change(directory, name, to_bytes(content)) for name, content in sorted(params["files"].items())]
        return changes + [Change(directory, name, None) for name in sorted(params["absent"])]
    except OSError as error:
        module.fail_json(msg="cannot read '%s': %s" % (error.filename, error.strerror))


def check(module, remit, changes):
    """Returns what 'remit policy check' finds in a copy of the configuration with the changes. An error fails the module."""
    config = module.params["config"]
    # The way to the copy has to belong to root, too; that to Ansible's own temporary directory may not.
    copy = tempfile.mkdtemp(dir="/run", prefix="remit-policy-")
    try:
        module.run_command(["cp", "-a", os.path.join(config, "."), copy], check_rc=True)
        for change in changes:
            change.make(os.path.join(copy, "policy.d", change.name))
        answer = remit.expect(["policy", "check", "--config", copy])
    finally:
        shutil.rmtree(copy, ignore_errors=True)
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


def install(module, remit, changes):
    """Makes the changes and has the daemon load them. Returns what they mean; all files are as before if that fails."""
    done = []
    try:
        for change in changes:
            done.append(change)
            change.make()
    except OSError as error:
        back(done)
        module.fail_json(msg="cannot write '%s': %s; all files are as before" % (error.filename, error.strerror))
    answer = remit.call(["policy", "reload"])[1]
    error = answer.get("error")
    if not error:
        return answer["changes"]
    if error["code"] == "daemon_unavailable":
        module.warn("the daemon does not run: it loads the policy when it starts")
        return []
    back(done)
    remit.call(["policy", "reload"])
    remit.refused(error, "the daemon refuses the policy, and all files are as before")


def back(changes):
    """Undoes changes, the last one first."""
    for change in reversed(changes):
        change.undo()


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
    if changes and not module.check_mode:
        result["changes"] = install(module, remit, changes)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
