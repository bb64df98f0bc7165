#!/usr/bin/python
# Copyright (c) the remit developers
# MIT or Apache-2.0, as you like
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Runs something in remit's read-only sandbox."""

from __future__ import annotations

DOCUMENTATION = r"""
module: remit_run
short_description: Run something that only reads, in remit's sandbox
version_added: 0.1.0
description:
  - Runs a program, a script or a named command that only reads, with C(remit run) on the host.
  - The kernel prevents changes, so the result is never changed. It also runs in check mode.
  - The daemon records each run in the journal of the host.
options:
  timeout:
    description:
      - Seconds to wait for an approval, if a rule of the policy asks for one. With V(0) a pending request fails at once.
    type: int
    default: 0
  request_id:
    description:
      - Start nothing if this id was used before, and return the job that it started. Otherwise each run is a new one.
      - The daemon remembers the newest 256 jobs of a user that change nothing. After that an id would start a new job.
    type: str
extends_documentation_fragment:
  - remit.remit.job
attributes:
  check_mode:
    description: It runs in check mode, because it changes nothing.
    support: full
  diff_mode:
    description: There is no difference to show.
    support: none
seealso:
  - module: remit.remit.remit_change
  - module: remit.remit.remit_facts
author:
  - The remit developers (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Look at the disks
  remit.remit.remit_run:
    argv: [df, -h]

- name: Ask a named command
  remit.remit.remit_run:
    name: service.status
    args:
      unit: nginx.service
  register: nginx
  failed_when: nginx.rc not in [0, 3]

- name: Run a script in the sandbox
  remit.remit.remit_run:
    script: |
      import collections, pathlib
      print(collections.Counter(path.suffix for path in pathlib.Path("/etc").rglob("*")).most_common(3))
    interpreter: python3
    job_timeout: 30s
"""

RETURN = r"""
job_id:
  description: Id of the job. C(remit job ID) shows it on the host.
  returned: when a job was started
  type: str
  sample: 3f0c9a5e7d214b86a1f2c3d4e5f60718
command:
  description: The command in words.
  returned: when a job was started
  type: str
  sample: df -h /
state:
  description: State of the job; V(exited) if the program ended by itself.
  returned: when a job was started
  type: str
  sample: exited
rc:
  description: Exit status of the program; null if it did not exit by itself.
  returned: when a job was started
  type: int
  sample: 0
stdout:
  description: Its standard output, without newlines at the end.
  returned: when a job was started
  type: str
  sample: ""
stderr:
  description: Its standard error, without newlines at the end.
  returned: when a job was started
  type: str
  sample: ""
truncated:
  description: True if the daemon does not keep all of the output any more.
  returned: when a job was started
  type: bool
  sample: false
cause:
  description: How the job ended, if RV(state) and RV(rc) do not say it all.
  returned: when there is one
  type: str
  sample: "denied by ann: after six, please"
code:
  description: Code of the refusal, as V(denied_rule), V(approval_denied) or V(approval_expired).
  returned: when it was refused
  type: str
  sample: approval_expired
denials:
  description: What the sandbox refused, with what to do instead.
  returned: when something was refused
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.remit.remit.plugins.module_utils.remit import (
    JOB_OPTIONS,
    Remit,
    end_problem,
    job_result,
    job_words,
)


def main():
    """Runs it and returns its output."""
    module = AnsibleModule(
        argument_spec=dict(JOB_OPTIONS, timeout=dict(type="int", default=0), request_id=dict(type="str")),
        mutually_exclusive=[("name", "argv", "script")],
        required_one_of=[("name", "argv", "script")],
        required_by=dict(interpreter=["script"]),
        supports_check_mode=True,
    )
    remit = Remit(module)
    options = job_words(module)
    # An empty one is refused: it would start a job in each run.
    if module.params["request_id"] is not None:
        options = ["--request-id=" + module.params["request_id"]] + options
    job = remit.wait(remit.start("run", options, module.params["stdin"]), module.params["timeout"])
    job = remit.whole_output(job)
    problem = end_problem(job)
    if problem:
        module.fail_json(msg=problem, changed=False, **job_result(job))
    module.exit_json(changed=False, **job_result(job))


if __name__ == "__main__":
    main()
