// Memory that is short, in the whole program: every allocation of a request is refused once, and the client gets the right answer, a
// clean 503, or, behind the first words, an answer that says that it broke off; the next request is served as ever, and nothing
// leaks. The same while the program starts. MEMORY_RUNS=N: how many runs for each request (0 = all; `make test-memory`).
import assert from 'node:assert/strict';
import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import http from 'node:http';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {after, before, test} from 'node:test';
import {OpenAiSite} from '../sites/openai.mjs';
import {binary, configText, Gateway} from './lib/gateway.mjs';
import {ALL, canRefuse, Memory, places} from './lib/memory.mjs';

const RUNS = process.env.MEMORY_RUNS === undefined ? 16 : Number(process.env.MEMORY_RUNS) || Infinity;
const skip = canRefuse ? false : 'libshort_memory.so is not built';
const KEY = 'sk-of-the-test-0001', LONG_KEY = `sk-${'upstream'.repeat(200)}`; // too long to share a block of memory with others

const chat = (more) => ({model: 'up/gpt-test', messages: [{role: 'user', content: 'hello memory, hello'}], ...more});
const REQUESTS = {
  'chat, whole': ['/v1/chat/completions', chat()],
  'chat, streamed': ['/v1/chat/completions', chat({stream: true})],
  'completions, whole': ['/v1/completions', {model: 'up/gpt-test', prompt: 'hello memory, hello'}],
  'completions, streamed': ['/v1/completions', {model: 'up/gpt-test', prompt: 'hello memory, hello', stream: true}],
  'messages, whole': ['/v1/messages', chat({max_tokens: 1000})],
  'messages, streamed': ['/v1/messages', chat({max_tokens: 1000, stream: true})],
  'responses, whole': ['/v1/responses', {model: 'up/gpt-test', input: 'hello memory, hello'}],
  'responses, streamed': ['/v1/responses', {model: 'up/gpt-test', input: 'hello memory, hello', stream: true}],
  'over TLS': ['/v1/chat/completions', chat({model: 'tls/gpt-test', stream: true})],
  'a relay': ['/v1/embeddings', {model: 'up/embed', input: 'hello'}],
  'a route': ['/raw/v1/chat/completions', {model: 'gpt-test', messages: [{role: 'user', content: 'hello memory, hello'}]}],
  'a route with a key': ['/keyed/v1/chat/completions?alt=sse', {model: 'gpt-test', messages: [{role: 'user', content: 'hello memory, hello'}]}],
  'a route with a key in its query': ['/queried/v1/chat/completions?alt=sse', {model: 'gpt-test', messages: [{role: 'user', content: 'hello memory, hello'}]}],
  'tools that the site does not have': ['/v1/chat/completions', chat({model: 'plain/gpt-test', tools: [
    {type: 'function', function: {name: 'get', parameters: {type: 'object', properties: {a: {type: 'string'}}}}}]})],
  'the list of models': ['/v1/models', null],
  'figures': ['/metrics', null],
};

let site, secure, keyed, memory, gateway;

before(async () => {
  if (skip) return;
  site = await new OpenAiSite({keys: null, tls: false}).start();
  secure = await new OpenAiSite({keys: null}).start();
  keyed = await new OpenAiSite({keys: [LONG_KEY], tls: false}).start();
  memory = new Memory();
  const base_url = site.origin + '/v1';
  gateway = new Gateway({
    server: {log_level: 'error'},
    keys: [{name: 'k', key: KEY}],
    sites: [{name: 'up', adapter: 'openai', base_url}, {name: 'plain', adapter: 'openai', base_url, tools: 'emulate'},
      {...secure.config(), name: 'tls', adapter: 'openai', base_url: secure.origin + '/v1'}],
    routes: [{prefix: '/raw', upstream: site.origin, inject: 'none', strip_prefix: true},
      {prefix: '/keyed', upstream: keyed.origin, inject: 'bearer', key: LONG_KEY, strip_prefix: true},
      {prefix: '/queried', upstream: site.origin, inject: 'query:token', key: LONG_KEY, strip_prefix: true}],
  }, {env: memory.env()});
  await gateway.start();
  await hasLists();
});

/** The lists of the sites are fetched soon after the start: one that lost its memory here would come in the middle of a later test. */
async function hasLists() {
  const end = Date.now() + 10000;
  for (;;) {
    const {text} = await ask(REQUESTS['the list of models']);
    const owners = new Set(JSON.parse(text).data.map((m) => m.owned_by));
    if (owners.size === 3) return;
    assert.ok(Date.now() < end, `only lists of ${[...owners]}`);
  }
}

after(async () => {
  try {
    await gateway?.stop(); // exit code 0, and a sanitizer that kept silent about leaks
  } finally {
    await site?.stop();
    await secure?.stop();
    await keyed?.stop();
    memory?.close();
  }
});

/** {status, text, complete, error}: whatever came. A connection of its own for each. */
function ask([path, body]) {
  return new Promise((done) => {
    const answer = {status: 0, text: '', complete: false};
    const request = http.request(gateway.origin + path, {
      method: body ? 'POST' : 'GET', agent: false, timeout: 20000,
      headers: {authorization: `Bearer ${KEY}`, ...(body ? {'content-type': 'application/json'} : {})},
    }, (response) => {
      answer.status = response.statusCode;
      answer.type = response.headers['content-type'] ?? '';
      response.setEncoding('utf8');
      response.on('data', (d) => (answer.text += d));
      response.on('end', () => (answer.complete = response.complete));
      response.on('error', (e) => (answer.error = e));
      response.on('close', () => done(answer));
    });
    request.on('timeout', () => request.destroy(new Error('nothing for 20 s')));
    request.on('error', (e) => {
      answer.error = e;
      done(answer);
    });
    request.end(body ? JSON.stringify(body) : undefined);
  });
}

/** Nothing is under way any more: what a refusal left behind would hang there for ever. */
async function isQuiet() {
  const end = Date.now() + 5000;
  for (;;) {
    const {text} = await ask(['/health', null]);
    if (text && JSON.parse(text).active === 0) return true;
    if (Date.now() > end) return false;
  }
}

/** What changes from answer to answer is left out. */
const lasting = (text) => text.replace(/"(id|created|created_at|completed_at|item_id|response_id)":("[^"]*"|\d+)/g, '"$1":0')
  .replace(/_[0-9a-f]{8,}/g, '_x').replace(/"obfuscation":"[^"]*"/g, '');

/** Which of the allowed ends it is; anything else fails the test. */
function judge(answer, good, what) {
  const show = `${what}: ${answer.status} ${answer.error ?? ''} ${answer.text.slice(0, 1500)}`;
  assert.doesNotMatch(String(answer.error ?? ''), /nothing for/, show);
  if (answer.status === 0) return 'closed';
  if (answer.status === 200 && answer.complete) {
    if (lasting(answer.text) === lasting(good.text) || what.startsWith('figures')) return 'good';
    if (/out of memory/.test(answer.text)) return 'told';
    // What may be left out: figures of tokens, what only a later request would need.
    assert.match(answer.text, /hello/, show);
    return 'less';
  }
  if (answer.status === 200) return 'cut'; // not even memory to say so
  assert.ok([503, 529].includes(answer.status), show);
  assert.match(answer.type, /application\/json/, show);
  const {error} = JSON.parse(answer.text);
  assert.match(error.message, /memory/, show);
  return 'refused';
}

for (const [name, request] of Object.entries(REQUESTS)) {
  test(`${name}: every allocation is refused once`, {skip, timeout: 600000}, async () => {
    await ask(request);
    const good = await ask(request);
    assert.equal(good.status, 200, good.text);
    const seen = {};
    let counted = Infinity; // the store's writes now and then are not the request's
    for (let i = 0; i < 3; i++) {
      memory.arm();
      await ask(request);
      counted = Math.min(counted, memory.disarm().counted);
    }
    for (const n of [1n, ALL]) {
      for (const at of places(counted + 2, RUNS)) {
        memory.arm(at, n);
        const answer = await ask(request);
        memory.disarm();
        if (request[0].startsWith('/queried')) assert.equal(site.requests.at(-1).url, `/v1/chat/completions?alt=sse&token=${LONG_KEY}`);
        const end = judge(answer, good, `${name}, allocation ${at} of ${counted}${n === 1n ? '' : ' and all behind it'}`);
        seen[end] = (seen[end] ?? 0) + 1;
        if (process.env.MEMORY_TELL === '2') console.log(name, n === 1n ? 'once' : 'all', at, end, answer.text.slice(0, 300));
        const next = await ask(request);
        if (!(await isQuiet())) assert.fail(`something of ${name} goes on for ever, behind allocation ${at} of ${counted} (${n})`);
        assert.equal(next.status, 200, `the next request, behind allocation ${at}: ${next.error} ${next.text}`);
        assert.equal(gateway.child.exitCode, null, `it ended at allocation ${at}: ${gateway.stderr.slice(-3000)}`);
      }
    }
    if (process.env.MEMORY_TELL) console.log(name, counted, seen);
  });
}

/** Libraries that do not look at what they get: libseccomp reads through it, libuv calls abort() when a loop's first table or a thread
 * of its pool cannot be had. Both are asked at the start alone. */
function isLibrarys(err) {
  const frames = [...err.matchAll(/^ +#\d+ .*$/gm)].map(([line]) => line).filter((line) => !/lib(asan|c|short_memory)\.so|libsanitizer|short_memory\.c|raise|abort/.test(line));
  return /libseccomp|libuv/.test(frames[0] ?? '');
}

test('at the start: a sentence and an exit code, or a start', {skip, timeout: 600000}, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'dragoman-start-')), file = join(directory, 'gateway.toml');
  const plan = new Memory(), seen = {};
  writeFileSync(file, configText({
    server: {listen: ['127.0.0.1:0'], data_dir: join(directory, 'data'), log_level: 'error', watch: true},
    keys: [{name: 'k', key: KEY, rpm: 5}],
    sites: [{name: 'up', adapter: 'openai', base_url: 'http://127.0.0.1:1/v1', accounts: [{name: 'a', api_key: 'x'}]},
      {name: 'demo', adapter: 'demo'}],
    models: [{id: 'm', targets: ['up/gpt-test', 'demo/echo']}],
  }), {mode: 0o600});

  const start = async (at) => {
    plan.arm(at);
    const child = spawn(binary, ['serve', '-c', file], {env: {PATH: process.env.PATH, LANG: 'C.UTF-8', ...plan.env()}, stdio: ['ignore', 'pipe', 'pipe']});
    let out = '', err = '';
    child.stderr.on('data', (d) => (err += d));
    child.stdout.on('data', (d) => {
      out += d;
      if (out.includes('\n')) child.kill('SIGTERM');
    });
    const timer = setTimeout(() => child.kill('SIGKILL'), 60000);
    const [code, signal] = await once(child, 'close');
    clearTimeout(timer);
    return {code, signal, out, err, ...plan.disarm()};
  };

  try {
    const whole = await start(0);
    assert.equal(whole.code, 0, whole.err);
    for (const at of places(whole.counted, RUNS)) {
      const r = await start(at), show = `allocation ${at} of ${whole.counted}: ${r.code} ${r.signal}\n${r.out}${r.err}`;
      if (isLibrarys(r.err)) {
        seen.library = (seen.library ?? 0) + 1;
        continue;
      }
      assert.equal(r.signal, null, show);
      assert.doesNotMatch(r.err, /(AddressSanitizer|LeakSanitizer|runtime error:|Assertion `)/, show);
      if (r.code !== 0) assert.match(r.err, /\w+ \w+/, show);
      seen[r.code] = (seen[r.code] ?? 0) + 1;
    }
    if (process.env.MEMORY_TELL) console.log('start', whole.counted, seen);
  } finally {
    plan.close();
    rmSync(directory, {recursive: true, force: true});
  }
});
