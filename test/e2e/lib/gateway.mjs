// Starts the real program with a configuration made for the test, and stops it: by its own process id, and only content with exit
// code 0 and a sanitizer that kept silent.
import assert from 'node:assert/strict';
import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join, resolve} from 'node:path';
import {fileURLToPath} from 'node:url';
import {addConfiguration, addEnvironment, found, Watch} from './secrets.mjs';
import {anyOf} from './wait.mjs';

const here = dirname(fileURLToPath(import.meta.url));
export const root = resolve(here, '../../..');
export const binary = process.env.DRAGOMAN_BIN ? resolve(process.env.DRAGOMAN_BIN) : join(root, 'build/debug/dragoman');

/** Every gateway of a run has so many event loops, where its configuration does not say: the whole suite can be run with several. */
const workers = process.env.DRAGOMAN_WORKERS ? {workers: Number(process.env.DRAGOMAN_WORKERS)} : {};

const SANITIZER = /(AddressSanitizer|LeakSanitizer|UndefinedBehaviorSanitizer|ThreadSanitizer|runtime error:|Assertion `)/;
const START_MS = 20000, STOP_MS = 15000;

/** What TOML writes, for the few types that a configuration needs. */
function toml(value) {
  if (typeof value === 'string') return JSON.stringify(value);
  if (value instanceof Date) return value.toISOString();
  if (Array.isArray(value)) return `[${value.map(toml).join(', ')}]`;
  if (value !== null && typeof value === 'object') {
    return `{${Object.entries(value).map(([k, v]) => `${JSON.stringify(k)} = ${toml(v)}`).join(', ')}}`;
  }
  return String(value);
}

const table = (object) => Object.entries(object).map(([k, v]) => `${k} = ${toml(v)}\n`).join('');

/** {server, access, keys: [], sites: [{…, accounts: []}], models: [], routes: [{…, accounts: []}]} as gateway.toml. */
export function configText({server = {}, access, keys = [], sites = [], models = [], routes = []}) {
  let text = `[server]\n${table(server)}`;
  if (access) text += `[access]\n${table(access)}`;
  for (const key of keys) text += `[[keys]]\n${table(key)}`;
  for (const {accounts = [], ...site} of sites) {
    text += `[[sites]]\n${table(site)}`;
    for (const account of accounts) text += `[[sites.accounts]]\n${table(account)}`;
  }
  for (const model of models) text += `[[models]]\n${table(model)}`;
  for (const {accounts = [], ...route} of routes) {
    text += `[[routes]]\n${table(route)}`;
    for (const account of accounts) text += `[[routes.accounts]]\n${table(account)}`;
  }
  return text;
}

const environment = (more) => ({
  PATH: process.env.PATH, HOME: '/nonexistent', LANG: 'C.UTF-8',
  ASAN_OPTIONS: 'detect_leaks=1:exitcode=99:detect_stack_use_after_return=1', UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1:exitcode=99',
  TSAN_OPTIONS: 'exitcode=99:second_deadlock_stack=1',
  ...more,
});

/** Runs the program to its end: {code, stdout, stderr}. */
export async function run(args, {env = {}, cwd, timeout = 20000} = {}) {
  const child = spawn(binary, args, {env: environment(env), cwd, stdio: ['ignore', 'pipe', 'pipe']});
  const timer = setTimeout(() => child.kill('SIGKILL'), timeout);
  let stdout = '', stderr = '';
  child.stdout.on('data', (d) => (stdout += d));
  child.stderr.on('data', (d) => (stderr += d));
  const [code] = await once(child, 'close');
  clearTimeout(timer);
  assert.doesNotMatch(stderr, SANITIZER);
  assert.deepEqual(found(stdout + stderr, `dragoman ${args[0]}`), []);
  return {code, stdout, stderr};
}

export class Gateway {
  /** `passes`: what its site answers reaches clients as it is, secrets that the site was told included. */
  constructor(config, {args, env = {}, program = binary, passes = false} = {}) {
    this.program = program;
    this.directory = mkdtempSync(join(tmpdir(), 'dragoman-e2e-'));
    this.file = join(this.directory, 'gateway.toml');
    this.config = config;
    this.args = args ?? ['serve', '-c', this.file];
    this.env = env;
    this.passes = passes;
    this.stdout = '';
    this.stderr = '';
  }

  write(config) {
    this.config = config;
    const server = {listen: ['127.0.0.1:0'], data_dir: join(this.directory, 'data'), log_level: 'debug', ...workers, ...config.server};
    addConfiguration(config);
    writeFileSync(this.file, typeof config.text === 'string' ? config.text : configText({...config, server}), {mode: 0o600});
  }

  async start() {
    if (this.config) this.write(this.config);
    addEnvironment(this.env);
    const watch = this.watch = new Watch({passes: this.passes});
    this.child = spawn(this.program, this.args, {env: environment(this.env), cwd: this.directory, stdio: ['ignore', 'pipe', 'pipe']});
    this.child.stdout.on('data', (d) => (this.stdout += d));
    this.child.stderr.on('data', (d) => (this.stderr += d));
    this.closed = once(this.child, 'close');
    this.child.on('close', () => watch.ended(this.stdout + this.stderr, this.directory));
    await this.#until(() => /\n/.test(this.stdout), 'the line with the base URL', START_MS);
    this.base = /(https?:\/\/\S+\/v1)/.exec(this.stdout)?.[1];
    assert.ok(this.base, `no base URL in ${JSON.stringify(this.stdout)}`);
    this.origin = this.base.slice(0, -3);
    this.port = Number(new URL(this.base).port);
    this.watch.listens(this.port);
    return this;
  }

  /** Resolves when `condition` holds; looks whenever the program says something. */
  async #until(condition, what, ms) {
    const end = Date.now() + ms;
    while (!condition()) {
      if (this.child.exitCode !== null || this.child.signalCode) {
        throw new Error(`dragoman ended (${this.child.exitCode ?? this.child.signalCode}) before ${what}:\n${this.stdout}${this.stderr}`);
      }
      const left = end - Date.now();
      if (left <= 0) throw new Error(`no ${what} within ${ms} ms:\n${this.stdout}${this.stderr}`);
      await anyOf(Math.min(left, 1000), [this.child.stdout, 'data'], [this.child.stderr, 'data'], [this.child, 'close']);
    }
  }

  /** Waits for a line of the log (standard error) that fits, from byte `from` on. */
  async logged(pattern, {from = 0, ms = 10000} = {}) {
    await this.#until(() => pattern.test(this.stderr.slice(from)), `log line ${pattern}`, ms);
    return pattern.exec(this.stderr.slice(from));
  }

  signal(name) {
    process.kill(this.child.pid, name);
  }

  /** The exit code, without asking it to stop. */
  async exit(ms = STOP_MS) {
    const timer = setTimeout(() => this.child.kill('SIGKILL'), ms);
    const [code, signal] = await this.closed;
    clearTimeout(timer);
    assert.doesNotMatch(this.stderr, SANITIZER);
    assert.equal(signal, null, `ended by ${signal}; its last words:\n${this.stderr.slice(-2000)}`);
    assert.deepEqual(this.watch.leaks, []);
    return code;
  }

  /** Where everybody on the machine may see them. */
  async #lookAtMetrics() {
    try {
      const answer = await fetch(`${this.origin}/metrics`, {headers: {connection: 'close'}, signal: AbortSignal.timeout(1000)});
      this.watch.metrics(await answer.text());
    } catch {} // full, stopping, or not ours to ask
  }

  async stop() {
    if (!this.child) return;
    try {
      if (this.child.exitCode === null && !this.child.signalCode) {
        await this.#lookAtMetrics();
        this.signal('SIGTERM');
      }
      assert.equal(await this.exit(), 0, `exit code; its last words:\n${this.stderr.slice(-2000)}`);
    } finally {
      rmSync(this.directory, {recursive: true, force: true});
    }
  }
}

export const startGateway = (config, options) => new Gateway(config, options).start();
export const startDemo = (more = {}) => startGateway({sites: [{name: 'demo', adapter: 'demo'}], ...more});
