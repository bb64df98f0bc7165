// check.mjs SCHEMA SERVER_JSON BUNDLE UNPACKED: server.json by its schema and by the bundle, and the bundle by its program.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { createInterface } from "node:readline";
import { getMcpConfigForManifest } from "@anthropic-ai/mcpb";
import Ajv from "ajv";
import addFormats from "ajv-formats";

const [schemaFile, serverFile, bundle, unpacked] = process.argv.slice(2);
const read = (file) => JSON.parse(readFileSync(file, "utf8"));
const server = read(serverFile);

// Examples and comments are no keywords of JSON Schema.
const ajv = new Ajv({ strict: false, allErrors: true });
addFormats(ajv);
const isValid = ajv.compile(read(schemaFile));
assert.ok(isValid(server), ajv.errorsText(isValid.errors));
assert.equal(server.$schema, read(schemaFile).$id);
for (const [path, value] of [
  ["name", "remit"],
  ["description", "x".repeat(101)],
  ["version", undefined],
  ["packages", [{ ...server.packages[0], version: "latest" }]],
  ["packages", [{ ...server.packages[0], transport: undefined }]],
  ["packages", [{ ...server.packages[0], fileSha256: "none" }]],
]) {
  const wrong = JSON.parse(JSON.stringify({ ...server, [path]: value }));
  assert.ok(!isValid(wrong), `valid with ${path} ${JSON.stringify(value)}`);
}
const [one] = server.packages;
assert.equal(one.fileSha256, createHash("sha256").update(readFileSync(bundle)).digest("hex"));
assert.equal(basename(one.identifier), basename(bundle));

const manifest = read(`${unpacked}/manifest.json`);
assert.deepEqual([manifest.name, manifest.version], [server.name.split("/")[1], server.version]);

// What a client makes of it, without and with the user's setting.
const config = (userConfig) => getMcpConfigForManifest({
  manifest, extensionPath: unpacked, systemDirs: {}, userConfig, pathSeparator: "/",
});
assert.deepEqual((await config({ agent: "/run/agent" })).env, { SSH_AUTH_SOCK: "/run/agent" });
const { command, args, env } = await config({});
assert.deepEqual(env, { SSH_AUTH_SOCK: "" });

const child = spawn(command, args, { env: { HOME: "/nonexistent", ...env }, stdio: ["pipe", "pipe", "inherit"], timeout: 60_000 });
const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
const request = async (id, method, params) => {
  child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", id, method, params })}\n`);
  const { value } = await lines.next();
  assert.ok(value, `no answer to ${method}`);
  return JSON.parse(value).result;
};
const hello = await request(1, "initialize", {
  protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "check", version: "1" },
});
assert.equal(hello.serverInfo.version, manifest.version);
const { tools } = await request(2, "tools/list", {});
assert.deepEqual(tools.map(({ name }) => name), manifest.tools.map(({ name }) => name));
// Without fleet.toml each call says what to write.
const refused = await request(3, "tools/call", { name: "hosts", arguments: {} });
assert.ok(refused.isError && /fleet\.toml/.test(refused.content[0].text), JSON.stringify(refused));
child.stdin.end();
console.log(`${basename(bundle)} and server.json: valid, and it starts`);
