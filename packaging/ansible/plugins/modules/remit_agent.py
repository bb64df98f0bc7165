#!/usr/bin/python
# Copyright (c) the remit developers
# MIT or Apache-2.0, as you like
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Enrolls agents of remit and removes them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: remit_agent
short_description: Enroll an agent of remit
version_added: 0.1.0
description:
  - Gives an agent an account and a key for remit, and for nothing else, with C(remit enroll); or takes them away with
    C(remit unenroll).
  - It needs root.
options:
  name:
    description:
      - The agent's account. It is created if it does not exist; this is the better way.
    type: str
    required: true
  key:
    description:
      - The public key of the agent's computer, as one line.
      - With O(state=absent) only this key is removed. Without it all keys of the agent are, and the account if it was created.
    type: str
  expires:
    description:
      - The end of the key, a day (V(2026-12-31)), a time (V(2026-12-31T08:00Z)), or V(never). Without it a key keeps what it has.
      - A duration is refused, because each run would set another end.
    type: str
  state:
    description:
      - Whether the agent, or its key, is there.
    type: str
    choices: [present, absent]
    default: present
  executable:
    description:
      - Path of C(remit), if it is in no directory of E(PATH).
    type: path
requirements:
  - remit on the host (role P(remit.remit.install#role))
attributes:
  check_mode:
    description: The key is read, and the host is compared with what would be done.
    support: full
  diff_mode:
    description: The account, its group, keys and their ends are shown.
    support: full
seealso:
  - module: remit.remit.remit_policy
author:
  - The remit developers (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Enroll an agent
  remit.remit.remit_agent:
    name: agent
    key: "{{ lookup('ansible.builtin.file', 'keys/agent.pub') }}"
    expires: 2027-03-31
  become: true

- name: Remove another one
  remit.remit.remit_agent:
    name: trial
    state: absent
  become: true
"""

RETURN = r"""
file:
  description: The file with the keys of the agent.
  returned: when it was enrolled
  type: str
  sample: /home/agent/.ssh/authorized_keys
client:
  description: The command that the agent's client starts.
  returned: when it was enrolled
  type: str
  sample: ssh -T agent@web1 mcp-shim
"""

import calendar
import grp
import json
import os
import pwd
import re
import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.remit.remit.plugins.module_utils.remit import Remit

RECORDS = "/var/lib/remit/enrolled"
DURATION = re.compile(r"([0-9]+[a-z]+)+")


def found(name):
    """Returns what the host has of this agent. The record of enroll is docs/formats.md's 'enrolled accounts'."""
    record = {}
    try:
        with open(os.path.join(RECORDS, name), encoding="utf-8") as opened:
            record = json.load(opened)
    except FileNotFoundError:
        pass
    try:
        account = pwd.getpwnam(name).pw_uid
    except KeyError:
        account = None
    members = []
    try:
        members = grp.getgrnam("remit").gr_mem
    except KeyError:
        pass
    return dict(
        account=account is not None,
        enrolled=bool(record),
        group=name in members,
        keys=dict(("%s %s" % (key["kind"], key["base64"]), key.get("expires")) for key in record.get("keys", [])),
    )


def shown(state):
    """Returns a state as Ansible shows it in a difference."""
    lines = ["account: %s" % state["account"], "in group remit: %s" % state["group"]]
    for key, expires in sorted(state["keys"].items()):
        end = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(expires)) if expires else "never"
        lines.append("key: %s, expires: %s" % (key, end))
    return "".join(line + "\n" for line in lines)


def end_of(params):
    """Returns the option of enroll about the end of the key."""
    return ["--expires", params["expires"]] if params["expires"] is not None else []


def predicted(module, remit, before):
    """Returns the state after the module, for check mode. A bad key or end fails the module."""
    params = module.params
    after = dict(before, keys=dict(before["keys"]))
    key = None
    if params["key"] is not None:
        line = remit.expect(["enroll", "--print"] + end_of(params) + [params["name"], "-"], params["key"] + "\n")["line"]
        # restrict,command="…"[,expiry-time="…"] TYPE KEY COMMENT
        options, key = re.fullmatch(r'((?:[^" ]|"[^"]*")*) (\S+ \S+).*', line.strip()).groups()
        expires = re.search(r'expiry-time="([0-9]+)Z"', options)
    if params["state"] == "absent":
        if key is None:
            after["keys"] = {}
            after["group"] = after["enrolled"] = False
        else:
            after["keys"].pop(key, None)
        return after
    after["account"] = after["group"] = after["enrolled"] = True
    if params["expires"] is not None or key not in after["keys"]:
        after["keys"][key] = seconds(expires.group(1)) if expires else None
    return after


def seconds(stamp):
    """Returns the time of an expiry-time in UTC, in seconds since 1970."""
    return calendar.timegm(time.strptime(stamp.ljust(14, "0")[:14], "%Y%m%d%H%M%S"))


def act(module, remit, before):
    """Enrolls or removes the agent, and returns what to tell of it."""
    params = module.params
    name, key = params["name"], params["key"]
    if params["state"] == "present":
        answer = remit.expect(["enroll"] + end_of(params) + [name, "-"], key + "\n")
        notes = answer["warnings"] + answer["daemon_refuses"]
        result = dict(file=answer["file"], client=answer["client"])
    else:
        if not before["enrolled"]:
            return dict()
        answer = remit.expect(["unenroll", name] + ([] if key is None else ["-"]), None if key is None else key + "\n")
        notes = answer["notes"] + answer["daemon_refuses"]
        result = dict()
        if answer["problems"]:
            module.fail_json(msg="'%s' could not be removed wholly: %s" % (name, "; ".join(answer["problems"])))
    for note in notes:
        module.warn(note)
    return result


def main():
    """Compares, acts, and compares again: what enroll repeats is no change."""
    module = AnsibleModule(
        argument_spec=dict(
            name=dict(type="str", required=True),
            key=dict(type="str", no_log=False),
            expires=dict(type="str"),
            state=dict(type="str", choices=["present", "absent"], default="present"),
            executable=dict(type="path"),
        ),
        required_if=[("state", "present", ["key"])],
        supports_check_mode=True,
    )
    params = module.params
    if os.geteuid() != 0:
        module.fail_json(msg="accounts and keys belong to root: add 'become: true' to the task")
    if params["expires"] is not None and DURATION.fullmatch(params["expires"]):
        module.fail_json(msg="expires '%s' would be another end in each run: write a day or a time, as 2026-12-31" % params["expires"])
    remit = Remit(module)
    before = found(params["name"])
    if module.check_mode:
        result = dict()
        after = predicted(module, remit, before)
    else:
        result = act(module, remit, before)
        after = found(params["name"])
    module.exit_json(changed=before != after, diff=dict(before=shown(before), after=shown(after)), **result)


if __name__ == "__main__":
    main()
