// The real SillyTavern: its server with a data folder of its own, and its API spoken as its page speaks it.
import assert from 'node:assert/strict';
import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync} from 'node:fs';
import net from 'node:net';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {root} from '../../e2e/lib/gateway.mjs';
import {anyOf} from '../../e2e/lib/wait.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const program = join(here, '../node_modules/sillytavern/server.js');
const compiled = join(root, 'build/sillytavern'); // its page's libraries: 20 s of webpack, once
const START_MS = 120000, STOP_MS = 15000;

/** What keeps it at home; everything else as it comes. */
const CONFIG = `listen: false
browserLaunch: {enabled: false}
whitelistDockerHosts: false
enableDownloadableTokenizers: false
enableServerPluginsAutoUpdate: false
extensions: {autoUpdate: false, models: {autoDownload: false}}
`;

async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const {port} = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

export class Tavern {
  async start() {
    this.directory = mkdtempSync(join(tmpdir(), 'dragoman-tavern-'));
    const config = join(this.directory, 'config.yaml'), data = join(this.directory, 'data');
    writeFileSync(config, CONFIG);
    mkdirSync(compiled, {recursive: true});
    mkdirSync(data);
    symlinkSync(compiled, join(data, '_webpack'));
    this.origin = `http://127.0.0.1:${await freePort()}`;
    this.log = '';
    // Without git in its PATH: it would look at our repository.
    this.child = spawn(process.execPath, ['--import', join(here, 'loopback-only.mjs'), program, '--configPath', config, '--dataRoot', data,
      '--port', new URL(this.origin).port], {env: {PATH: dirname(process.execPath), HOME: this.directory, LANG: 'C.UTF-8'},
      cwd: this.directory, stdio: ['ignore', 'pipe', 'pipe']});
    this.child.stdout.on('data', (d) => (this.log += d));
    this.child.stderr.on('data', (d) => (this.log += d));
    this.closed = once(this.child, 'close');
    const end = Date.now() + START_MS;
    while (!/Go to: /.test(this.log)) {
      assert.equal(this.child.exitCode, null, `SillyTavern ended:\n${this.log.slice(-3000)}`);
      assert.ok(Date.now() < end, `SillyTavern is not ready within ${START_MS} ms:\n${this.log.slice(-3000)}`);
      await anyOf(1000, [this.child.stdout, 'data'], [this.child, 'close']);
    }
    const response = await fetch(`${this.origin}/csrf-token`);
    this.headers = {
      'content-type': 'application/json', 'x-csrf-token': (await response.json()).token,
      cookie: response.headers.getSetCookie().map((c) => c.split(';')[0]).join('; '),
    };
    return this;
  }

  async stop() {
    if (!this.child) return;
    const timer = setTimeout(() => this.child.kill('SIGKILL'), STOP_MS);
    this.child.kill('SIGTERM');
    await this.closed;
    clearTimeout(timer);
    rmSync(this.directory, {recursive: true, force: true});
  }

  post(path, body, {signal} = {}) {
    return fetch(this.origin + path, {method: 'POST', headers: this.headers, body: JSON.stringify(body), signal});
  }

  /** What a person types into "Custom API Key". */
  async setKey(value) {
    const response = await this.post('/api/secrets/write', {key: 'api_key_custom', value, label: ''});
    assert.equal(response.status, 200);
  }

  /** "Connect": {status, data: models} or {status, error}. */
  async connect(custom_url) {
    const response = await this.post('/api/backends/chat-completions/status', {
      chat_completion_source: 'custom', custom_url, custom_include_headers: '', reverse_proxy: '', proxy_password: '',
    });
    return {status: response.status, ...await response.json()};
  }

  /** What its page sends for a message; `more` overrides. */
  generate(custom_url, messages, more = {}, {signal} = {}) {
    return this.post('/api/backends/chat-completions/generate', {
      type: 'normal', messages: typeof messages === 'string' ? [{role: 'user', content: messages}] : messages,
      model: 'demo/echo', temperature: 1, frequency_penalty: 0, presence_penalty: 0, top_p: 1, max_tokens: 300, stream: false,
      chat_completion_source: 'custom', custom_url, user_name: 'Ann', char_name: 'Seraphina', group_names: [], include_reasoning: true,
      reasoning_effort: 'auto', enable_web_search: false, request_images: false, custom_prompt_post_processing: '',
      custom_include_body: '', custom_exclude_body: '', custom_include_headers: '', ...more,
    }, {signal});
  }
}
