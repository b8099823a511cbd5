// The watch over secrets (lib/secrets.mjs) sees what it is there to see: each test lets something slip on purpose.
import assert from 'node:assert/strict';
import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {after, before, test} from 'node:test';

const lib = new URL('./lib/', import.meta.url).href;
let folder;

before(() => (folder = mkdtempSync(join(tmpdir(), 'dragoman-secrets-'))));
after(() => rmSync(folder, {recursive: true, force: true}));

/** A test file of its own process, with a "gateway" that is a few lines of JavaScript: {code, stderr}. */
async function careless(program, steps, config = {}) {
  const fake = join(folder, 'fake');
  writeFileSync(fake, `#!${process.execPath}\n${program}`, {mode: 0o700});
  const script = `
    import http from 'node:http';
    import {once} from 'node:events';
    import {Gateway} from '${lib}gateway.mjs';
    const gateway = await new Gateway(${JSON.stringify(config)}, {program: ${JSON.stringify(fake)}}).start();
    ${steps}`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {stdio: ['ignore', 'ignore', 'pipe']});
  let stderr = '';
  child.stderr.on('data', (d) => (stderr += d));
  const timer = setTimeout(() => child.kill('SIGKILL'), 20000);
  const [code] = await once(child, 'close');
  clearTimeout(timer);
  return {code, stderr};
}

// Serves what the test wants, tells its base URL, and stops when it is asked to.
const serving = (handler, more = '') => `
  const http = require('node:http'), fs = require('node:fs');
  const server = http.createServer(${handler}).listen(0, '127.0.0.1', () => {
    ${more}
    console.log('http://127.0.0.1:' + server.address().port + '/v1');
  });
  process.on('SIGTERM', () => process.exit(0));`;
const fine = "(q, a) => a.end('fine')";
const config = {sites: [{name: 's', adapter: 'openai', accounts: [{name: 'a', api_key: 'sk-very-secret-1'}]}]};

test('a program that keeps its secrets passes', async () => {
  const {code, stderr} = await careless(serving(fine), 'await fetch(gateway.origin); await gateway.stop();', config);
  assert.equal(code, 0, stderr);
});

const leaks = {
  'a credential in the log': [serving(fine, "console.error('asking with sk-very-secret-1');"), 'await gateway.stop();'],
  'a credential in an answer': [serving("(q, a) => a.end(q.url === '/metrics' ? '' : 'no account for sk-very-secret-1')"), 'await (await fetch(gateway.origin)).text(); await gateway.stop();'],
  'a credential in an answer that comes in two pieces': [
    serving("(q, a) => { a.write('for sk-very'); setTimeout(() => a.end('-secret-1'), 50); }"), 'await (await fetch(gateway.origin + "/v1")).text(); await gateway.stop();'],
  'a credential in the metrics': [serving("(q, a) => a.end(q.url === '/metrics' ? 'requests{key=\"sk-very-secret-1\"} 1' : '')"), 'await gateway.stop();'],
  'a credential in a capture': [
    serving(fine, "fs.mkdirSync('captures'); fs.writeFileSync('captures/1.jsonl', '{\"authorization\":\"Bearer sk-very-secret-1\"}');"), 'await gateway.stop();'],
  'a credential in the log of a program that was killed': [
    serving(fine, "console.error('asking with sk-very-secret-1');"), "gateway.signal('SIGKILL'); await gateway.closed;"],
  'what a site was shown': [
    serving(fine, "console.error('asking with issued-token-2');"), `
    const site = http.createServer((q, a) => a.end()).listen(0, '127.0.0.1');
    await once(site, 'listening');
    await fetch('http://127.0.0.1:' + site.address().port, {headers: {authorization: 'Bearer issued-token-2'}});
    site.close();
    await gateway.stop();`],
  'a cookie that a site set': [
    serving(fine, "console.error('it set session-value-3');"), `
    const site = http.createServer((q, a) => a.setHeader('set-cookie', 'sid=session-value-3; Path=/').end()).listen(0, '127.0.0.1');
    await once(site, 'listening');
    await fetch('http://127.0.0.1:' + site.address().port);
    site.close();
    await gateway.stop();`],
};
for (const [name, [program, steps]] of Object.entries(leaks)) {
  test(`${name} is seen`, async () => {
    const {code, stderr} = await careless(program, steps, config);
    assert.equal(code, 1, stderr);
    assert.match(stderr, /says a secret/);
  });
}
