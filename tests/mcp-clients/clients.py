"""One session of the Python client: clients.py legacy|auto COMMAND [ARGUMENT...].

EXPECT in the environment is 'runs' or 'unavailable', SERVER the server's name; see the script 'run'.
"""

import asyncio
import os
import sys

from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.shared.exceptions import MCPError

SERVER = os.environ["SERVER"]
NAMES = ["access", "host", "run", "plan", "change", "job", "job_stop", "history"]
if SERVER == "remit-fleet":
    NAMES = ["hosts", *NAMES]

# What differs from a change that is granted, and the code of the refusal.
REFUSED = [
    ({"name": "clients.secret"}, "not_found"),
    ({"name": "clients.nothing"}, "not_found"),
    ({"args": {"words": ["--help"]}}, "invalid_args"),
    ({"args": {"words": None}}, "invalid_args"),
    ({"reason": " "}, "invalid_args"),
]


def check(condition, what):
    """Ends the session with a sentence."""
    if not condition:
        sys.exit(f"not as expected: {what}")


async def session(mode, command, arguments):
    server = stdio_client(StdioServerParameters(command=command, args=arguments))
    async with Client(server, mode=mode) as client:
        check(client.server_info.name == SERVER, client.server_info)
        check((client.instructions or "").startswith("Root-safe access"), client.instructions)

        listed = await client.list_tools()
        names = [tool.name for tool in listed.tools]
        check(names == NAMES, names)

        heard = []

        async def hear(progress, total, message):
            heard.append(progress)

        script = "echo hello; sleep 5; exit 7"
        result = await client.call_tool("run", {"script": script}, progress_callback=hear)
        if os.environ["EXPECT"] == "runs":
            job = result.structured_content
            check(not result.is_error, result)
            check((job["stdout"], job["exit"]) == ("hello\n", 7), job)
            check(heard and heard == sorted(set(heard)), heard)
            # The client holds the results against the schemas.
            for tool in ["access", "host", "job", "history"]:
                result = await client.call_tool(tool, {})
                check(not result.is_error, result)
            for part, said in [({"tail": True}, "page"), ({"grep": "hel+o"}, "matches")]:
                result = await client.call_tool("job", {"job_id": job["job_id"], **part})
                check(said in result.structured_content, result)
            words = {"words": ["b", "a", 7], "loud": True}
            change = {"name": "clients.say", "args": words, "reason": "a test of clients"}
            result = await client.call_tool("change", change)
            check(not result.is_error, result)
            check(result.structured_content["stdout"] == "--loud b a 7\n", result)
            listed = await client.call_tool("access", {"query": "SAY"})
            commands = listed.structured_content["commands"]
            check([command["effect"] for command in commands] == ["change"], commands)
            for refused, code in REFUSED:
                result = await client.call_tool("change", {**change, **refused})
                check(result.is_error, result)
                check(result.structured_content["error"]["code"] == code, result)
            # A person decides: told at once, withdrawn by its job_id.
            ask = {**change, "name": "clients.ask"}
            waits_in_protocol = mode == "auto" and SERVER == "remit"
            at_once = {"wait_ms": 0} if waits_in_protocol else {}
            result = await client.call_tool("change", {**ask, **at_once})
            waits = result.structured_content
            check(not result.is_error, result)
            check((waits["state"], waits["code"]) == ("awaiting_approval", "needs_approval"), waits)
            check(waits["approval"]["line"].startswith("remit approve "), waits)
            result = await client.call_tool("job_stop", {"job_id": waits["job_id"]})
            check(result.structured_content["state"] == "cancelled", result)
            if waits_in_protocol and "APPROVES" in os.environ:
                result = await client.call_tool("change", {**ask, "args": {"words": ["approve"]}})
                job = result.structured_content
                check((job["state"], job["stdout"]) == ("exited", "approve\n"), result)
        else:
            check(result.is_error, result)
            check(result.structured_content["error"]["code"] == "daemon_unavailable", result)

        result = await client.call_tool("run", {"argv": "not a list"})
        check(result.is_error, result)
        check("argv" in result.content[0].text, result)

        try:
            await client.call_tool("nope", {})
        except MCPError as error:
            check(error.error.code == -32602, error)
        else:
            check(False, "a tool that is not there was called")
        print(f"python {mode}: {client.protocol_version}, content")


if __name__ == "__main__":
    asyncio.run(session(sys.argv[1], sys.argv[2], sys.argv[3:]))
