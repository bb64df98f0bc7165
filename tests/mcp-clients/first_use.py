"""An agent's first session on a real machine, by the Python client: first_use.py MODE COMMAND [ARGUMENT...]."""

import asyncio
import sys

from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from clients import NAMES, check


async def session(mode, command, arguments):
    server = stdio_client(StdioServerParameters(command=command, args=arguments))
    async with Client(server, mode=mode) as client:
        check(client.server_info.name == "remit", client.server_info)
        listed = await client.list_tools()
        names = [tool.name for tool in listed.tools]
        check(names == NAMES, names)

        # The client holds each result against its schema.
        async def call(tool, arguments):
            result = await client.call_tool(tool, arguments)
            check(not result.is_error, result)
            return result.structured_content

        access = await call("access", {})
        check(access["user"] == "agent", access)

        job = await call("run", {"argv": ["df", "-h"]})
        check(job["exit"] == 0 and job["stdout"].startswith("Filesystem"), job)
        check("enforced" not in job, job)
        detail = await call("job", {"job_id": job["job_id"], "detail": True})
        check(detail["enforced"]["profile"] == "read", detail)

        host = await call("host", {})
        check(host["os"]["init"] == "systemd", host)

        job = await call("run", {"name": "service.status", "args": {"unit": "remitd"}})
        check(job["exit"] == 0 and "active" in job["stdout"], job)
        job = await call("run", {"name": "logs", "args": {"unit": "remitd"}})
        check(job["exit"] == 0 and "agent runs in read" in job["stdout"], job)

        # Nothing is granted that changes the machine, whatever it is called.
        change = {"name": "service.restart", "args": {"unit": "ssh"}, "reason": "first use"}
        result = await client.call_tool("change", change)
        check(result.is_error, result)
        check(result.structured_content["error"]["code"] == "not_found", result)

        job = await call("run", {"script": "touch /etc/remit/mine"})
        check(job["exit"] != 0 and "Read-only" in job["stderr"], job)
        print(f"python {mode}: {client.protocol_version}, content")


if __name__ == "__main__":
    asyncio.run(session(sys.argv[1], sys.argv[2], sys.argv[3:]))
