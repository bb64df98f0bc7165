// One session of a JavaScript client: clients.mjs sdk|legacy|auto COMMAND [ARGUMENT...].
// 'sdk' is the first generation, the others are modes of the second.
//
// What every JavaScript client must see. EXPECT in the environment is 'runs' or
// 'unavailable', SERVER the server's name; see the script 'run'.
import assert from "node:assert/strict";

const TOOLS = ["access", "host", "run", "plan", "change", "job", "job_stop", "history"];
const { SERVER } = process.env;
const EXPECTED = SERVER === "remit-fleet" ? ["hosts", ...TOOLS] : TOOLS;

// What differs from a change that is granted, and the code of the refusal.
const REFUSED = [
  [{ name: "clients.secret" }, "not_found"],
  [{ args: { words: ["--help"] } }, "invalid_args"],
  [{ reason: " " }, "invalid_args"],
];

async function session(kind, client, call) {
  assert.equal(client.getServerVersion()?.name, SERVER);
  assert.match(client.getInstructions() ?? "", /^Root-safe access/);

  const { tools } = await client.listTools();
  assert.deepEqual(tools.map((tool) => tool.name), EXPECTED);

  const heard = [];
  const options = { onprogress: ({ progress }) => heard.push(progress) };
  const script = "echo hello; sleep 5; exit 7";
  const result = await call({ name: "run", arguments: { script } }, options);
  if (process.env.EXPECT === "runs") {
    assert.ok(!result.isError, JSON.stringify(result));
    const { stdout, exit, job_id } = result.structuredContent;
    assert.deepEqual([stdout, exit], ["hello\n", 7]);
    assert.ok(heard.length > 0);
    assert.deepEqual(heard, [...new Set(heard)].sort((a, b) => a - b));
    // The client holds the results against the schemas.
    for (const name of ["access", "host", "job", "history"]) {
      const { isError } = await call({ name, arguments: {} });
      assert.ok(!isError, name);
    }
    for (const [part, said] of [[{ tail: true }, "page"], [{ grep: "hel+o" }, "matches"]]) {
      const { structuredContent } = await call({ name: "job", arguments: { job_id, ...part } });
      assert.ok(said in structuredContent, JSON.stringify(structuredContent));
    }
    const words = { words: ["b", "a", 7], loud: true };
    const change = { name: "clients.say", args: words, reason: "a test of clients" };
    const { structuredContent } = await call({ name: "change", arguments: change });
    assert.equal(structuredContent.stdout, "--loud b a 7\n", JSON.stringify(structuredContent));
    for (const [refused, code] of REFUSED) {
      const result = await call({ name: "change", arguments: { ...change, ...refused } });
      assert.ok(result.isError, JSON.stringify(result));
      assert.equal(result.structuredContent.error.code, code);
    }
    // A person decides: told at once, withdrawn by its job_id.
    const ask = { ...change, name: "clients.ask" };
    const waitsInProtocol = kind === "auto" && SERVER === "remit";
    const atOnce = waitsInProtocol ? { wait_ms: 0 } : {};
    const asked = await call({ name: "change", arguments: { ...ask, ...atOnce } });
    const waits = asked.structuredContent;
    assert.ok(!asked.isError, JSON.stringify(asked));
    assert.deepEqual([waits.state, waits.code], ["awaiting_approval", "needs_approval"]);
    assert.match(waits.approval.line, /^remit approve /);
    const stopped = await call({ name: "job_stop", arguments: { job_id: waits.job_id } });
    assert.equal(stopped.structuredContent.state, "cancelled", JSON.stringify(stopped));
    if (waitsInProtocol && process.env.APPROVES) {
      const approved = { ...ask, args: { words: ["approve"] } };
      const { structuredContent } = await call({ name: "change", arguments: approved });
      const { state, stdout } = structuredContent;
      assert.deepEqual([state, stdout], ["exited", "approve\n"], JSON.stringify(structuredContent));
    }
  } else {
    assert.ok(result.isError);
    assert.equal(result.structuredContent.error.code, "daemon_unavailable");
  }

  const bad = await call({ name: "run", arguments: { argv: "not a list" } });
  assert.ok(bad.isError);
  assert.match(bad.content[0].text, /argv/);

  await assert.rejects(call({ name: "nope", arguments: {} }), ({ code }) => code === -32602);
  const version = client.getNegotiatedProtocolVersion?.() ?? "version not told";
  await client.close();
  console.log(`javascript ${kind}: ${version}, content`);
}

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
