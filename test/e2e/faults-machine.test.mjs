// The machine under the gateway fails: no more file descriptors, a full or read-only disk, a file that another program has locked.
// It goes on with what it has, says so, and puts everything in its place once it can.
import assert from 'node:assert/strict';
import {execFileSync, spawn} from 'node:child_process';
import {once} from 'node:events';
import {mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {describe, it} from 'node:test';
import {OpenAiSite} from '../sites/openai.mjs';
import {Zai} from '../sites/zai.mjs';
import {within} from '../sites/site.mjs';
import {Companion, cleanUp} from '../faults/behind.mjs';
import {namespacesMissing} from '../faults/nameserver.mjs';
import {descriptors} from './lib/clients.mjs';
import {Gateway} from './lib/gateway.mjs';
import {chat, checkStream, user} from './lib/http.mjs';
import {RawClient, get} from './lib/raw.mjs';
import {checkResponse, respond, textOf} from './lib/responses.mjs';

const mounting = namespacesMissing() ?? false;

describe('a machine that fails', {concurrency: true, timeout: 60000}, () => {
  /** A place for data, which may be a disk of its own (`mount`: its options), and two sites: one with guests, one for responses. */
  const place = async (t, {mount} = {}) => {
    const running = cleanUp(t), later = (stop) => running.push({stop: async () => stop()});
    const data = mkdtempSync(join(tmpdir(), 'dragoman-e2e-machine-'));
    later(() => rmSync(data, {recursive: true, force: true}));
    if (mount) {
      execFileSync('mount', ['-t', 'tmpfs', '-o', `mode=700,${mount}`, 'none', data]);
      later(() => execFileSync('umount', ['-l', data]));
    }
    const zai = await new Zai({tls: false}).start(), up = await new OpenAiSite({tls: false}).start(), companion = await new Companion().prepare();
    running.push(zai, up);
    const sites = [{name: 'zai', adapter: 'zai', ...zai.config(), accounts: [{name: 'g', guest: true}]},
      {name: 'up', adapter: 'openai', ...up.config({base_url: `${up.origin}/v1`, models: ['gpt-test']}), accounts: [{name: 'a', api_key: 'sk-upstream'}]}, companion.entry];
    running.push(companion);
    const serve = async ({limit, accompany = true, server = {}} = {}) => {
      const gateway = new Gateway({server: {data_dir: data, ...server}, sites});
      if (limit) [gateway.program, gateway.args] = ['prlimit', [...limit, gateway.program, ...gateway.args]];
      running.push(gateway);
      later(() => companion.finish?.()); // before the gateway stops, which waits for its stream
      await gateway.start();
      if (accompany) await companion.accompany(gateway);
      return gateway;
    };
    const end = async (gateway) => {
      running.splice(running.indexOf(gateway), 1);
      companion.finish?.();
      await gateway.stop();
    };
    return {data, zai, up, serve, end, later};
  };
  /** A guest session has to be had, and is worth nothing if it is lost. */
  const askGuest = async (gateway) => {
    const answer = await chat(gateway.base, {model: 'zai/glm-4.6', stream: true, ...user('hi')});
    assert.equal(answer.status, 200);
    assert.equal(checkStream(await answer.text()).content, '你好, world 🌍');
  };
  const askStored = async (gateway, input, previous) => (await respond(gateway.base, {model: 'up/gpt-test', input, ...(previous ? {previous_response_id: previous} : {})})).json();

  it('no file descriptor is left: who is there is served, who comes waits, and nothing spins', async (t) => {
    const {serve} = await place(t);
    const gateway = await serve({limit: ['--nofile=64:64']});
    const first = await RawClient.open(gateway.port);
    const others = [];
    for (let i = 0; i < 100; i++) others.push(await RawClient.open(gateway.port));
    await gateway.logged(/cannot accept connections: .*; \d+ are open, new ones wait/);
    assert.ok(descriptors(gateway) < 70);
    const ticks = () => readFileSync(`/proc/${gateway.child.pid}/stat`, 'latin1').split(') ')[1].split(' ').slice(11, 13).reduce((a, b) => a + Number(b), 0);
    const before = ticks();
    await new Promise((resolve) => setTimeout(resolve, 1000));
    assert.ok(ticks() - before < 60, `${ticks() - before} ticks of CPU time in a second`); // of 100
    await first.send(get('/health'));
    assert.equal((await first.answer()).status, 200);
    // It needs a connection to the site, for which there is no descriptor.
    const body = JSON.stringify({model: 'up/gpt-test', ...user('hi')});
    await first.send(`POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    const answer = await first.answer();
    assert.ok([502, 503].includes(answer.status), answer.text);
    assert.equal(typeof JSON.parse(answer.text).error.code, 'string');
    for (const client of others) client.rst();
    assert.equal((await within(5000, chat(gateway.base, {model: 'up/gpt-test', ...user('hi')}), 'an answer')).status, 200);
    await askGuest(gateway);
    first.close();
  });

  for (const [what, {mount, fill, limit}] of Object.entries({
    'a full disk': {mount: 'size=400k', fill: true},
    'a limit on the size of files': {limit: ['--fsize=65536:65536']},
  })) {
    it(`${what}: all is answered, a warning says so`, {skip: mount && mounting}, async (t) => {
      const {data, zai, serve, end} = await place(t, {mount});
      const gateway = await serve({limit});
      const kept = fill ? (await askStored(gateway, 'kept')).id : null;
      if (fill) assert.throws(() => writeFileSync(join(data, 'filler'), Buffer.alloc(1 << 20)), /ENOSPC/);
      let status = 0;
      for (let i = 0; i < 40 && !/kept in memory until it can be written/.test(gateway.stderr); i++) {
        const response = await respond(gateway.base, {model: 'up/gpt-test', input: 'x'.repeat(20000)});
        status = response.status;
        await response.text();
        assert.ok([200, 500, 502, 503].includes(status), `${status}`);
      }
      await gateway.logged(/kept in memory until it can be written/);
      await askGuest(gateway);
      assert.equal((await fetch(`${gateway.origin}/health`)).status, 200);
      if (!fill) return end(gateway);
      rmSync(join(data, 'filler'));
      const after = await askStored(gateway, 'after'); // which tries all of it again
      checkResponse(after);
      await end(gateway);
      const next = await serve({accompany: false});
      await askGuest(next);
      assert.equal(zai.guestsMade, 1, 'the guest session was lost');
      for (const [id, text] of [[kept, 'kept'], [after.id, 'after']]) {
        const found = await fetch(`${next.base}/responses/${id}`);
        assert.equal(found.status, 200, `the response ${text} was lost`);
        assert.equal(textOf(await found.json()), text);
      }
    });
  }

  it('a read-only disk at the start: all is kept in memory, and written once it can be', {skip: mounting}, async (t) => {
    const {zai, data, serve, end} = await place(t, {mount: 'size=2m,ro'});
    const gateway = await serve();
    await askGuest(gateway);
    await gateway.logged(/warn .*(read-only|kept in memory)/i);
    execFileSync('mount', ['-o', 'remount,rw', data]);
    const stored = checkResponse(await askStored(gateway, 'stored'));
    await end(gateway);
    const next = await serve({accompany: false});
    await askGuest(next);
    assert.equal(zai.guestsMade, 1, 'the guest session was lost');
    assert.equal((await fetch(`${next.base}/responses/${stored.id}`)).status, 200);
  });

  it('another program holds the lock of the data file: requests go on, nothing is lost', async (t) => {
    const {data, zai, serve, end, later} = await place(t);
    const gateway = await serve();
    const kept = checkResponse(await askStored(gateway, 'kept'));
    const sqlite = spawn('sqlite3', [join(data, 'dragoman.db')], {stdio: ['pipe', 'pipe', 'inherit']});
    later(() => sqlite.kill('SIGKILL'));
    const said = once(sqlite.stdout, 'data');
    sqlite.stdin.write("BEGIN IMMEDIATE;\nSELECT 'locked';\n");
    assert.match(String(await within(5000, said, 'the lock')), /locked/);
    const waits = askGuest(gateway); // its session is to be on disk before it is used
    const read = await fetch(`${gateway.base}/responses/${kept.id}`);
    assert.ok([200, 500, 503].includes(read.status));
    await within(10000, waits, 'an answer in spite of the lock');
    await gateway.logged(/locked.*kept in memory until it can be written/);
    const closed = once(sqlite, 'close');
    sqlite.stdin.end('COMMIT;\n');
    await closed;
    const after = checkResponse(await askStored(gateway, 'after'));
    await end(gateway);
    const next = await serve({accompany: false});
    await askGuest(next);
    assert.equal(zai.guestsMade, 1, 'the guest session was lost');
    for (const {id} of [kept, after]) assert.equal((await fetch(`${next.base}/responses/${id}`)).status, 200);
  });
});
