// One session of a JavaScript client: clients.mjs sdk|legacy|auto COMMAND [ARGUMENT...].
// 'sdk' is the first generation, the others are modes of the second.
import { session } from "./expect.mjs";

const [kind, command, ...args] = process.argv.slice(2);
const implementation = { name: "remit-tests", version: "1" };
const server = { command, args };

if (kind === "sdk") {
  const { Client } = await import("@modelcontextprotocol/sdk/client/index.js");
  const { StdioClientTransport } = await import("@modelcontextprotocol/sdk/client/stdio.js");
  const client = new Client(implementation, { capabilities: {} });
  await client.connect(new StdioClientTransport(server));
  await session(kind, client, (params, options) => client.callTool(params, undefined, options));
} else {
  const { Client } = await import("@modelcontextprotocol/client");
  const { StdioClientTransport } = await import("@modelcontextprotocol/client/stdio");
  const client = new Client(implementation, { capabilities: {}, versionNegotiation: { mode: kind } });
  await client.connect(new StdioClientTransport(server));
  await session(kind, client, (params, options) => client.callTool(params, options));
}
