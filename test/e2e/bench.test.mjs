// The programs of `make bench`: they build, a short run through the gateway loses nothing, and the load generator sees it when something is
// lost. Nothing is timed here.
import assert from 'node:assert/strict';
import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {mkdtempSync, readFileSync, rmSync} from 'node:fs';
import http from 'node:http';
import {tmpdir} from 'node:os';
import {dirname, join, resolve} from 'node:path';
import {test} from 'node:test';
import {binary} from './lib/gateway.mjs';

const programs = dirname(binary);

/** Runs one of them, or the script by its path, to its end: {code, stdout, stderr}. */
async function run(name, args, env = {}) {
  const child = spawn(resolve(programs, name), args, {env: {...process.env, ...env}, stdio: ['ignore', 'pipe', 'pipe']});
  const timer = setTimeout(() => child.kill('SIGKILL'), 60000);
  let stdout = '', stderr = '';
  child.stdout.on('data', (d) => (stdout += d));
  child.stderr.on('data', (d) => (stderr += d));
  const [code] = await once(child, 'close');
  clearTimeout(timer);
  return {code, stdout, stderr};
}

/** What bench_load counts when it asks a site that sends chunks with these numbers, of `chunks` that it wants. */
async function load(numbers, {chunks = 4, end = 'data: [DONE]\n\n'} = {}) {
  const server = http.createServer((req, res) => {
    req.resume().on('end', () => {
      res.writeHead(200, {'content-type': 'text/event-stream'});
      for (const n of numbers) {
        const content = `${String(n).padStart(8, '0')}${'0'.repeat(16)}xxxxxxx `;
        res.write(`data: ${JSON.stringify({choices: [{delta: {content}}]})}\n\n`);
      }
      res.end(end);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const {code, stdout} = await run('bench_load', [`port=${server.address().port}`, `model=s${chunks}g0z32`, 'requests=1', 'limit=20']);
  server.close();
  server.closeAllConnections();
  return {code, ...Object.fromEntries(stdout.trim().split('\n').map((line) => line.split(' ')).map(([k, v]) => [k, Number(v)]))};
}

test('a short run by turns loses no chunk, plain and over TLS', async (t) => {
  const results = mkdtempSync(join(tmpdir(), 'dragoman-bench-'));
  t.after(() => rmSync(results, {recursive: true}));
  const {code, stdout, stderr} = await run(resolve(import.meta.dirname, '../../scripts/bench'), [], {
    BENCH_PROGRAMS: programs, BENCH_RESULTS: results, QUICK: '1', BENCH_ROUNDS: '1', BENCH_SECONDS: '0.2',
    BENCH_TARGETS: 'direct,openai,zai', BENCH_WORKS: 'whole32,streams32,tls-streams32'});
  assert.equal(code, 0, stderr);
  for (const name of ['direct', 'dragoman openai→openai', 'dragoman zai→OpenAI']) {
    const rows = stdout.split('\n').filter((line) => line.startsWith(`| ${name} | `) && !line.includes(' goal '));
    assert.ok(rows.length >= 2, `${name} is missing:\n${stdout}`);
  }
  assert.equal(readFileSync(join(results, 'table.md'), 'utf8'), stdout);
  assert.ok(JSON.parse(readFileSync(join(results, 'results.json'), 'utf8')));
});

test('paced streams live to their end', async () => {
  const {code, stdout, stderr} = await run('bench_run', [], {
    QUICK: '1', BENCH_SLOW_ROUNDS: '1', BENCH_STREAMS: '20', BENCH_TARGETS: 'openai', BENCH_WORKS: 'paced512'});
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^No more than 20 paced streams, whatever the titles below say\.$/m);
});

test('chunks as they should be', async () => {
  const r = await load([0, 1, 2, 3]);
  assert.deepEqual([r.code, r.faults, r.complete], [0, 0, 1]);
});

for (const [what, numbers, options, counted] of [
  ['a missing chunk is counted', [0, 1, 3], {}, {missing: 1}],
  ['a missing last chunk is counted', [0, 1, 2], {}, {missing: 1}],
  ['a repeated chunk is counted', [0, 1, 1, 2, 3], {}, {repeated: 1}],
  ['chunks in another order are counted', [0, 2, 1, 3], {}, {reordered: 1}],
  ['a chunk that nobody asked for is counted', [0, 1, 2, 3, 4], {}, {garbled: 1}],
  ['a stream without its end is counted', [0, 1, 2, 3], {end: ''}, {cut: 1}],
]) {
  test(what, async () => {
    const r = await load(numbers, options);
    assert.equal(r.code, 1);
    for (const name of ['missing', 'repeated', 'reordered', 'garbled', 'refused', 'cut', 'hung']) {
      assert.equal(r[name], counted[name] ?? 0, name);
    }
  });
}
