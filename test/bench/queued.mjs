// What a request costs while it waits for a busy account: many real connections, each with one small chat, behind one account that is busy for good.
// Memory is the gateway's resident set; the kernel's socket buffers are not in it. The slope between the two counts leaves fixed costs out.
// usage: node queued.mjs GATEWAY_BINARY [FEW [MANY]]   (MANY + 100 file descriptors are needed: ulimit -n)
import {spawn} from 'node:child_process';
import {mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';

const [binary, few = '2000', many = '10000'] = process.argv.slice(2);
const AT_ONCE = 200; // connections that are being opened

const upstream = http.createServer((request) => request.resume()).listen(0, '127.0.0.1'); // takes every request and never answers
await new Promise((resolve) => upstream.once('listening', resolve));
const directory = mkdtempSync(join(tmpdir(), 'dragoman-bench-'));
const file = join(directory, 'gateway.toml');
writeFileSync(file, `[server]\nlisten = ["127.0.0.1:0"]\nlog_level = "error"\ndata_dir = "${directory}"\nmax_connections = 1000000\n
[[sites]]\nname = "up"\nadapter = "openai"\nbase_url = "http://127.0.0.1:${upstream.address().port}/v1"
max_concurrent = 1\nqueue_max = 1000000\nqueue_timeout = "1h"\nfirst_byte_timeout = "1h"\n[[sites.accounts]]\nname = "main"\napi_key = "key-of-the-bench"\n`, {mode: 0o600});
const gateway = spawn('sh', ['-c', 'ulimit -n $(ulimit -H -n); exec "$0" "$@"', binary, '-c', file], {stdio: ['ignore', 'pipe', 'inherit']});
const line = await new Promise((resolve) => gateway.stdout.once('data', resolve));
const port = Number(String(line).match(/http:\/\/127\.0\.0\.1:(\d+)/)[1]);

const body = JSON.stringify({model: 'up/some-model', stream: true, messages: [{role: 'system', content: 'You are a helpful assistant.'}, {role: 'user', content: 'Hello, who are you? Answer in one sentence.'}]});
const head = `POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAuthorization: Bearer sk-anything\r\nAccept: application/json\r\nContent-Type: application/json\r\n` +
  'User-Agent: OpenAI/JS 4.104.0\r\nX-Stainless-Lang: js\r\nX-Stainless-Package-Version: 4.104.0\r\nX-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\nX-Stainless-Runtime: node\r\n' +
  `X-Stainless-Runtime-Version: v20.0.0\r\nX-Stainless-Retry-Count: 0\r\nAccept-Encoding: gzip,deflate\r\nConnection: keep-alive\r\nContent-Length: ${body.length}\r\n\r\n`;

const sockets = [];
const open = () => new Promise((resolve, reject) => {
  const socket = net.connect({host: '127.0.0.1', port, noDelay: true}, () => socket.write(head + body, resolve));
  socket.on('error', reject);
  sockets.push(socket);
});
const active = async () => (await (await fetch(`http://127.0.0.1:${port}/health`)).json()).active;
const resident = () => Number(readFileSync(`/proc/${gateway.pid}/status`, 'utf8').match(/VmRSS:\s+(\d+)/)[1]) * 1024;

/* Opens up to n and returns when the gateway has them all. */
async function queue(n) {
  while (sockets.length < n) await Promise.all(Array.from({length: Math.min(AT_ONCE, n - sockets.length)}, open));
  while ((await active()) < n);
  return resident();
}

await queue(1);
const empty = resident();
const some = await queue(Number(few));
const all = await queue(Number(many));
console.log(`${many} requests wait for one account (head ${head.length} bytes, body ${body.length}): ${((all - empty) / Number(many)).toFixed(0)} bytes each, ` +
  `${((all - some) / (Number(many) - Number(few))).toFixed(0)} from ${few} on; ${((all - empty) / 1e6).toFixed(1)} MB in all`);
for (const socket of sockets) socket.destroy();
gateway.kill('SIGKILL');
upstream.closeAllConnections();
upstream.close();
rmSync(directory, {recursive: true, force: true});
