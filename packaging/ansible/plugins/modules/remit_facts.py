#!/usr/bin/python
# Copyright (c) the remit developers
# MIT or Apache-2.0, as you like
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Returns facts about a host from remit's daemon."""

from __future__ import annotations

DOCUMENTATION = r"""
module: remit_facts
short_description: Facts about a host, from remit
version_added: 0.1.0
description:
  - Returns what C(remit host) says about the host as facts, and with O(since) what changed on it.
  - The daemon answers without starting anything.
options:
  sections:
    description:
      - Only these sections, such as V(os), V(memory), V(disks), V(units) or V(updates). C(remit host --help) lists them.
        Without it the daemon shows the most useful ones.
    type: list
    elements: str
    default: []
  since:
    description:
      - Also return what changed since then, a time as V(-1h) or V(2026-11-20T10:00:00Z), V(boot), or the id of a job.
    type: str
  executable:
    description:
      - Path of C(remit), if it is in no directory of E(PATH).
    type: path
requirements:
  - remit on the host (role P(remit.remit.install#role))
attributes:
  check_mode:
    description: It runs in check mode, because it changes nothing.
    support: full
  diff_mode:
    description: There is no difference to show.
    support: none
seealso:
  - module: remit.remit.remit_run
author:
  - The remit developers (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Ask for a part of the facts
  remit.remit.remit_facts:
    sections: [os, memory, disks]

- name: Say how much memory is free
  ansible.builtin.debug:
    msg: "{{ remit_host.memory.available | human_readable }} of {{ remit_host.os.hostname }}"

- name: Ask what changed since yesterday
  remit.remit.remit_facts:
    sections: [os]
    since: yesterday

- name: Fail if units changed
  ansible.builtin.assert:
    that: remit_changes.sections | selectattr('section', 'equalto', 'units') | list == []
"""

RETURN = r"""
ansible_facts:
  description: The facts of this module.
  returned: always
  type: dict
  contains:
    remit_version:
      description: Release of remit on the host.
      returned: always
      type: str
      sample: 0.1.0
    remit_host:
      description: What C(remit host --json) says; remit(1) has its keys. A section that was not asked for is null.
      returned: always
      type: dict
      sample:
        os:
          id: debian
          version: "12"
    remit_changes:
      description: What C(remit host --json --since) says.
      returned: with O(since)
      type: dict
      sample:
        sections: []
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.remit.remit.plugins.module_utils.remit import Remit, readable


def main():
    """Asks the daemon, and returns its answers as facts."""
    module = AnsibleModule(
        argument_spec=dict(
            sections=dict(type="list", elements="str", default=[]),
            since=dict(type="str"),
            executable=dict(type="path"),
        ),
        supports_check_mode=True,
    )
    remit = Remit(module)
    facts = dict(remit_host=asked(remit, ["host", "--"] + module.params["sections"]))
    if module.params["since"] is not None:
        facts["remit_changes"] = asked(remit, ["host", "--since=" + module.params["since"]])
    facts["remit_version"] = readable(remit.ended(["--version"])[1]).strip().split(" ")[-1]
    module.exit_json(changed=False, ansible_facts=facts)


def asked(remit, words):
    """Returns what the daemon says, without the status of remit."""
    answer = remit.expect(words)
    del answer["status"]
    return answer


if __name__ == "__main__":
    main()
