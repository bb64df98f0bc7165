"""A session of the Python client for a script: ask.py MODE COMMAND [ARGUMENT...].

Each line of standard input is 'TOOL ARGUMENTS', with ARGUMENTS in JSON. The answer is one line of JSON: the structured
content, or {"refused": TEXT}. The client holds each result against the schema of its tool.
"""

import asyncio
import json
import sys

from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client


def say(value):
    print(json.dumps(value), flush=True)


async def session(mode, command, arguments):
    server = stdio_client(StdioServerParameters(command=command, args=arguments))
    async with Client(server, mode=mode) as client:
        listed = await client.list_tools()
        say({"server": client.server_info.name, "tools": [tool.name for tool in listed.tools]})
        while line := await asyncio.to_thread(sys.stdin.readline):
            tool, _, arguments = line.partition(" ")
            result = await client.call_tool(tool, json.loads(arguments or "{}"))
            if result.is_error and not result.structured_content:
                say({"refused": result.content[0].text})
            else:
                say(result.structured_content)


if __name__ == "__main__":
    asyncio.run(session(sys.argv[1], sys.argv[2], sys.argv[3:]))
