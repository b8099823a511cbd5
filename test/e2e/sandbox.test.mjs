// server.sandbox: the real program is locked in, in all its threads, and still does everything it is for.
import assert from 'node:assert/strict';
import {mkdirSync, readFileSync, readdirSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {afterEach, describe, it} from 'node:test';
import {OpenAiSite} from '../sites/openai.mjs';
import {startGateway} from './lib/gateway.mjs';
import {chat, user} from './lib/http.mjs';

/** What the kernel says of each of its threads. */
const threads = (gateway) => readdirSync(`/proc/${gateway.child.pid}/task`).map((id) => {
  const text = readFileSync(`/proc/${gateway.child.pid}/task/${id}/status`, 'utf8');
  return {seccomp: Number(/^Seccomp:\s+(\d)/m.exec(text)[1]), noNewPrivileges: Number(/^NoNewPrivs:\s+(\d)/m.exec(text)[1])};
});

describe('sandbox', {timeout: 60000}, () => {
  const running = [];
  afterEach(async () => {
    for (const thing of running.splice(0).reverse()) await thing.stop();
  });
  const serve = async (server = {}, account = {api_key: 'sk-upstream'}) => {
    const site = await new OpenAiSite().start();
    running.push(site);
    const sites = [{name: 'up', adapter: 'openai', ...site.config({base_url: `${site.origin}/v1`, models: ['gpt-test']}), accounts: [{name: 'main', ...account}]}];
    const gateway = await startGateway({server, sites});
    running.push(gateway);
    return {site, gateway, sites, ask: async () => (await chat(gateway.base, {model: 'up/gpt-test', ...user('Hello')})).status};
  };
  const locks = async (gateway) => /files (\w+), system calls (\w+)/.exec((await gateway.logged(/sandbox: files \w+, system calls \w+/))[0]);

  it('locks every thread, and requests over TLS still go through', async (t) => {
    const {gateway, ask} = await serve();
    const [, , calls] = await locks(gateway);
    if (calls !== 'locked') return t.skip('this kernel has no seccomp filters');
    assert.equal(await ask(), 200); // names were looked up, a certificate checked, the store written: all threads are there
    assert.ok(threads(gateway).length > 1);
    for (const thread of threads(gateway)) assert.deepEqual(thread, {seccomp: 2, noNewPrivileges: 1});
  });

  it('a reload reads what lies where the configuration pointed at the start, and says why it cannot read elsewhere', async (t) => {
    const {gateway, sites, ask} = await serve();
    const [, files] = await locks(gateway);
    if (files !== 'locked') return t.skip('this kernel has no Landlock');
    const inside = join(gateway.directory, 'token');
    writeFileSync(inside, 'sk-upstream\n', {mode: 0o600});
    sites[0].accounts = [{name: 'main', api_key_file: inside}];
    gateway.write({sites});
    gateway.signal('SIGHUP');
    await gateway.logged(/configuration reloaded/);
    assert.equal(await ask(), 200);
    const elsewhere = `${gateway.directory}-elsewhere`;
    mkdirSync(elsewhere);
    running.push({stop: async () => (await import('node:fs')).rmSync(elsewhere, {recursive: true})});
    writeFileSync(join(elsewhere, 'token'), 'sk-upstream\n', {mode: 0o600});
    sites[0].accounts = [{name: 'main', api_key_file: join(elsewhere, 'token')}];
    gateway.write({sites});
    gateway.signal('SIGHUP');
    await gateway.logged(/since the start only folders that the configuration named/);
    assert.equal(await ask(), 200); // with the old one
  });

  it('off is off', async () => {
    const {gateway, ask} = await serve({sandbox: 'off'});
    assert.equal(await ask(), 200);
    for (const thread of threads(gateway)) assert.equal(thread.seccomp, 0);
  });

  it('captures, logs and the control socket have their places', async () => {
    const {gateway, site, ask} = await serve({capture_dir: 'captures', log_file: 'gateway.log'});
    site.next((r, res) => res.end('<html>what is this</html>'));
    assert.notEqual(await ask(), 200);
    const end = Date.now() + 5000;
    const captured = () => readdirSync(join(gateway.directory, 'captures')).length;
    while (!captured() && Date.now() < end) await new Promise((r) => setTimeout(r, 20));
    assert.ok(captured() > 0);
    assert.match(readFileSync(join(gateway.directory, 'gateway.log'), 'utf8'), /end=failed/);
  });
});
