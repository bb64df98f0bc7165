#!/usr/bin/python
# Copyright (c) the remit developers
# MIT or Apache-2.0, as you like
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Asks remit for a change, and waits for its approval and its end."""

from __future__ import annotations

DOCUMENTATION = r"""
module: remit_change
short_description: Change something with remit, after its approval
version_added: 0.1.0
description:
  - Asks the daemon of the host for a change with C(remit change). This is a named command, a program or script that runs once,
    or a plan of changes of files.
  - If the policy asks for an approval, another person decides on the host, with C(remit show) and C(remit approve).
    The module waits for that up to O(timeout) seconds, and then for the end of the job.
  - It is changed if the job ran in this run of the task, also if it failed then.
  - A job that ran when remitd died may have changed something, and when it ended is not known. It is changed in each run of the task.
  - A request that is denied, expired, void or refused fails the task. So does one that is still pending after O(timeout).
    The message names the request and the line that approves it.
  - The same O(request_id) is the same request. A task that is repeated runs nothing again and returns the result of the first run.
options:
  request_id:
    description:
      - Name of this request, up to 128 bytes, such as the name and the release of what is deployed.
      - If the user of the task has used it before, nothing is started. The first job is awaited and returned.
      - The daemon refuses the same id with another command, arguments or reason.
      - The daemon remembers the newest 256 changes of a user, and 512 of all users. After that an id would start a new job.
    type: str
    required: true
  reason:
    description:
      - Why. It is recorded, and whoever approves the change reads it.
    type: str
    required: true
  timeout:
    description:
      - Seconds to wait for an approval. The request stays pending afterwards; repeat the task to go on waiting.
      - The policy says how long a request can be approved.
    type: int
    default: 600
  plan:
    description:
      - Make exactly the changes of this plan of the user of the task. C(remit plan) prints its id.
    type: str
  then:
    description:
      - Commands after O(plan) in the same approval, as V(service.reload unit=nginx.service); up to four.
    type: list
    elements: str
extends_documentation_fragment:
  - remit.remit.job
attributes:
  check_mode:
    description: Nothing is asked for. A named command fails if the policy does not grant it.
    details:
      - The daemon has no way to look up a O(request_id), so check mode says changed also for what has been done.
    support: partial
  diff_mode:
    description: There is no difference to show. C(remit plan) shows that of files.
    support: none
seealso:
  - module: remit.remit.remit_run
author:
  - The remit developers (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Restart nginx once for this release
  remit.remit.remit_change:
    name: service.restart
    args:
      unit: nginx.service
    reason: "release {{ release }} needs it"
    request_id: "restart-{{ release }}"
    timeout: 1800

- name: Run a script as root, once, if somebody approves exactly it
  remit.remit.remit_change:
    script: "{{ lookup('ansible.builtin.file', 'repair.sh') }}"
    reason: ticket 4711
    request_id: ticket-4711

- name: Request a change each time this task runs
  remit.remit.remit_change:
    name: log.vacuum
    args:
      size: 500M
    reason: monthly
    request_id: "vacuum-{{ now(utc=true).isoformat() }}"
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
repeated:
  description:
    - True if the job ended before this task began, because O(request_id) was used before.
    - False for one that ran when remitd died, whose end is not known.
  returned: when a job was started
  type: bool
  sample: false
approval:
  description: Who can approve it, until when, by which line, and the digest of what they approve.
  returned: when it is pending
  type: dict
  sample:
    by: [ann]
    expires_ms: 1795771488587
    line: remit approve ec8b-cd37
then:
  description: The commands that followed, each with its state.
  returned: when there are some
  type: list
  elements: dict
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
"""

import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.remit.remit.plugins.module_utils.remit import (
    JOB_OPTIONS,
    PENDING,
    Remit,
    end_problem,
    ended_before,
    job_result,
    job_words,
    was_started,
)


def expected(module, remit):
    """Ends check mode: a named command must be granted, and what would happen is said."""
    name = module.params["name"]
    approval = None
    if name is not None:
        answer = remit.expect(["access", "--name=" + name])
        approval = (answer.get("asked") or {}).get("approval")
    module.exit_json(changed=True, msg="would ask for it; %s" % (approval or "the policy decides about an approval"))


def main():
    """Asks, waits, and says whether something was changed."""
    module = AnsibleModule(
        argument_spec=dict(
            JOB_OPTIONS,
            request_id=dict(type="str", required=True),
            reason=dict(type="str", required=True),
            timeout=dict(type="int", default=600),
            plan=dict(type="str"),
            then=dict(type="list", elements="str"),
        ),
        mutually_exclusive=[("name", "argv", "script", "plan")],
        required_one_of=[("name", "argv", "script", "plan")],
        required_by=dict(interpreter=["script"], then=["plan"]),
        supports_check_mode=True,
    )
    remit = Remit(module)
    if module.check_mode:
        expected(module, remit)
    params = module.params
    options = ["--request-id=" + params["request_id"], "--reason=" + params["reason"]]
    if params["plan"] is not None:
        options.append("--plan=" + params["plan"])
        options += ["--then=" + call for call in params["then"] or []]
    began_ms = int(time.time() * 1000)
    job = remit.start("change", options + job_words(module), params["stdin"])
    job = remit.wait(job, params["timeout"])
    job = remit.whole_output(job)
    repeated = ended_before(job, began_ms)
    # A program that failed may have changed something before.
    changed = was_started(job) and not repeated
    problem = end_problem(job)
    if problem:
        if job["state"] == PENDING:
            problem += ". It stays pending: repeat this task to go on waiting"
        module.fail_json(msg=problem, changed=changed, repeated=repeated, **job_result(job))
    module.exit_json(changed=changed, repeated=repeated, **job_result(job))


if __name__ == "__main__":
    main()
