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
    details:
      - A line of the key that somebody removed from the file of keys, or changed, is written again. Check mode does not see that.
      - C(remit enroll) refuses an account that must be no agent, such as root or a member of remit-admin. Check mode does not see that.
    support: partial
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
import datetime
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
WITH_OFFSET = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{6})?)?[+-][0-9]{2}:[0-9]{2}")
# The daemon's own rule is stricter. This one keeps a name from being a path or an option.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def socket_group(socket="/run/remit/remit.sock"):
    """Returns the group that enroll gives by default, which remit.toml may name; None if there is none."""
    try:
        return grp.getgrgid(os.stat(socket).st_gid)
    except (OSError, KeyError):
        pass
    try:
        return grp.getgrnam("remit")
    except KeyError:
        return None


def found(module):
    """Returns what the host has of this agent. The record of enroll is docs/formats.md's 'enrolled accounts'."""
    name = module.params["name"]
    record = {}
    try:
        with open(os.path.join(RECORDS, name), encoding="utf-8") as opened:
            record = json.load(opened)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        module.fail_json(msg="cannot read the record of agent '%s': %s" % (name, error))
    try:
        account = pwd.getpwnam(name)
    except KeyError:
        account = None
    group = socket_group()
    is_primary = group is not None and account is not None and account.pw_gid == group.gr_gid
    return dict(
        account=account is not None,
        # A purge of the package forgets whom remit has enrolled, and keeps the account with its key.
        orphan=account is not None and not record and account.pw_gecos == "remit agent",
        home=account.pw_dir if account else None,
        enrolled=bool(record),
        made=record.get("account_made", False),
        joined=record.get("group_added") is not None,
        group=is_primary or group is not None and name in group.gr_mem,
        keys=dict(("%s %s" % (key["kind"], key["base64"]), key.get("expires")) for key in record.get("keys", [])),
    )


def shown(state):
    """Returns a state as Ansible shows it in a difference."""
    lines = ["account: %s" % state["account"], "in the group of remit.sock: %s" % state["group"]]
    for key, expires in sorted(state["keys"].items()):
        end = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(expires)) if expires else "never"
        lines.append("key: %s, expires: %s" % (key, end))
    return "".join(line + "\n" for line in lines)


def end_of(params):
    """Returns the option of enroll about the end of the key."""
    return ["--expires=" + in_utc(params["expires"])] if params["expires"] is not None else []


def in_utc(text):
    """Returns a time with an offset in the form with Z, which remit takes; another text as it is. YAML makes an offset of a Z."""
    if not WITH_OFFSET.fullmatch(text):
        return text
    try:
        return datetime.datetime.fromisoformat(text).astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return text


def read_key(module, remit):
    """Returns the key as the record has it, and its end. A bad key or end fails the module."""
    params = module.params
    # A key that is removed may have ended.
    end = end_of(params) if params["state"] == "present" else []
    # The line has no group: with one, a remit.toml that cannot be read stops nothing.
    words = ["enroll", "--print", "--group=remit"] + end + ["--", params["name"], "-"]
    line = remit.expect(words, params["key"] + "\n")["line"]
    # restrict,command="…"[,expiry-time="…"] TYPE KEY COMMENT
    options, key = re.fullmatch(r'((?:[^" ]|"[^"]*")*) (\S+ \S+).*', line.strip()).groups()
    expires = re.search(r'expiry-time="([0-9]+)Z"', options)
    return key, seconds(expires.group(1)) if expires else None


def has_nothing_to_remove(module, remit, before):
    """Returns whether the agent, or its key, is already absent. An account with a key that remit does not know fails the module."""
    name = module.params["name"]
    if before["orphan"]:
        way = "userdel %s; rm -r %s" % (name, before["home"])
        module.fail_json(msg="agent '%s' may still connect, and remit has no record of its enrollment: %s" % (name, way))
    if not before["enrolled"]:
        if before["group"]:
            module.warn("'%s' was not enrolled by remit, and stays a member of the group of remit.sock" % name)
        return True
    return module.params["key"] is not None and read_key(module, remit)[0] not in before["keys"]


def predicted(module, remit, before):
    """Returns the state after the module, for check mode."""
    params = module.params
    after = dict(before, keys=dict(before["keys"]))
    if params["state"] == "absent":
        if has_nothing_to_remove(module, remit, before):
            return after
        if params["key"] is None:
            after["keys"] = {}
            after["enrolled"] = False
            after["account"] = before["account"] and not before["made"]
            after["group"] = before["group"] and not before["joined"]
        else:
            after["keys"].pop(read_key(module, remit)[0], None)
        return after
    key, expires = read_key(module, remit)
    if expires is not None and expires <= time.time() and expires != before["keys"].get(key):
        module.fail_json(msg="remit refused: --expires: it is in the past")
    after["account"] = after["group"] = after["enrolled"] = True
    if params["expires"] is not None or key not in after["keys"]:
        after["keys"][key] = expires
    return after


def seconds(stamp):
    """Returns the time of an expiry-time in UTC, in seconds since 1970."""
    return calendar.timegm(time.strptime(stamp.ljust(14, "0")[:14], "%Y%m%d%H%M%S"))


def act(module, remit, before):
    """Enrolls or removes the agent. Returns what to tell of it, and whether the file of keys was changed."""
    params = module.params
    name, key = params["name"], params["key"]
    if params["state"] == "present":
        answer = remit.expect(["enroll"] + end_of(params) + ["--", name, "-"], key + "\n")
        notes = answer["warnings"] + answer["daemon_refuses"]
        result = dict(file=answer["file"], client=answer["client"])
        changed = answer["key"] != "unchanged"
    else:
        if has_nothing_to_remove(module, remit, before):
            return dict(), False
        answer = remit.expect(["unenroll", "--", name] + ([] if key is None else ["-"]), None if key is None else key + "\n")
        notes = answer["notes"] + answer["daemon_refuses"]
        result = dict()
        changed = True
        if answer["problems"]:
            module.fail_json(msg="'%s' could not be removed wholly: %s" % (name, "; ".join(answer["problems"])), changed=True)
    for note in notes:
        module.warn(note)
    return result, changed


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
    if not NAME.fullmatch(params["name"]):
        module.fail_json(msg="'%s' is no name of an account" % params["name"])
    remit = Remit(module)
    before = found(module)
    if module.check_mode:
        result, changed = dict(), False
        after = predicted(module, remit, before)
    else:
        result, changed = act(module, remit, before)
        after = found(module)
    module.exit_json(changed=changed or before != after, diff=dict(before=shown(before), after=shown(after)), **result)


if __name__ == "__main__":
    main()
