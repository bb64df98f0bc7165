# Copyright (c) the remit developers
# MIT or Apache-2.0, as you like
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Documents what remit_run and remit_change have in common."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of modules that start a job."""

    DOCUMENTATION = r"""
options:
  name:
    description:
      - A named command of the policy. C(remit access) lists those that a user may use.
    type: str
  args:
    description:
      - Arguments of O(name). A list gives an argument several times, if the command allows that.
    type: dict
    default: {}
  argv:
    description:
      - A program and its arguments. No shell reads them.
    type: list
    elements: str
  script:
    description:
      - A script, which O(interpreter) reads from a file.
    type: str
  interpreter:
    description:
      - Program that runs O(script); C(sh) if it is not given.
    type: str
  profile:
    description:
      - Sandbox profile of a program or script.
    type: str
  cwd:
    description:
      - Working directory in the sandbox.
    type: path
  env:
    description:
      - Variables of a program or script. The policy limits which may be set. All users of the host can see them.
    type: dict
    default: {}
  stdin:
    description:
      - Text for standard input, at most 1 MiB. Otherwise it is empty.
    type: str
  secrets:
    description:
      - Arguments of O(name) that no other user of the host may see. They are passed in private files.
    type: dict
    default: {}
  job_timeout:
    description:
      - End the job after this time, as V(90s), V(30m) or V(2h). The time before it starts does not count.
    type: str
  executable:
    description:
      - Path of C(remit), if it is in no directory of E(PATH).
    type: path
requirements:
  - remit on the host (role P(remit.remit.install#role))
notes:
  - The module runs on the host as the user of the task. This user must be allowed to connect to the daemon,
    as a member of group C(remit) or C(remit-admin), or as root.
  - Ansible writes the parameters of a module, except O(secrets), to the journal of the host and returns them.
    With C(no_log) on the task it does neither, for O(stdin), O(script) or O(args) that are secret.
  - A member of a group that has been added counts from the next login. Use C(meta) with V(reset_connection) after that.
author:
  - The remit developers (!UNKNOWN)
"""

    # What both return.
    RETURN = r""
