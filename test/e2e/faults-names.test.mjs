// Names of sites that are found late, never, or not at all; and what that means to others, whose names are looked up by the same few threads.
import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';
import {FaultsSite} from '../sites/faults.mjs';
import {Companion} from '../faults/behind.mjs';
import {NameServer, namespacesMissing} from '../faults/nameserver.mjs';
import {active} from './lib/clients.mjs';
import {Gateway} from './lib/gateway.mjs';
import {chat, checkError, checkStream, user} from './lib/http.mjs';
import {stopAll} from './lib/stop.mjs';

const missing = namespacesMissing(), up = 'upstream_error';

describe('names of sites', {timeout: 60000, skip: missing ?? false}, () => {
  const NAMES = {'quick.test': {delay: 0}, 'slow.test': {delay: 700}, 'late.test': {delay: 1900}, 'failing.test': 'failure', 'garbage.test': 'garbage', 'truncated.test': 'truncated',
    ...Object.fromEntries(Array.from({length: 5}, (_, i) => [`silent${i}.test`, 'silent']))};
  let names, site, gateway, companion;
  before(async () => {
    names = await new NameServer(NAMES).start();
    site = await new FaultsSite({tls: false}).start();
    companion = await new Companion().prepare();
    const entry = (host) => ({name: host.replace('.test', ''), adapter: 'openai', base_url: `http://${host}:${site.port}/v1`, models: ['fine'], connect_timeout: /slow/.test(host) ? '10s' : '1500ms', accounts: [{name: 'a', api_key: 'sk-upstream'}]});
    gateway = new Gateway({sites: [companion.entry, ...[...Object.keys(NAMES), 'missing.test', 'localhost'].map(entry)]});
    [gateway.program, gateway.args] = names.wrap(gateway.program, gateway.args, gateway.directory);
    await gateway.start();
    await companion.accompany(gateway);
  });
  after(() => stopAll(companion, gateway, site, names));
  const ask = (name, stream = true, signal = undefined) => chat(gateway.base, {model: `${name}/fine`, stream, ...user('x')}, {signal});
  const answers = async (name) => {
    const start = performance.now(), response = await ask(name);
    assert.equal(response.status, 200, name);
    assert.equal(checkStream(await response.text()).content, 'Hello there');
    return performance.now() - start;
  };

  it('are found at once, or after a while', async () => {
    await answers('quick');
    assert.ok(names.asked.includes('quick.test'));
    assert.ok(await answers('slow') > 600);
  });

  it('that nobody knows, or that the name server fails to find: 502', async () => {
    for (const name of ['missing', 'failing']) await checkError(await ask(name), {status: 502, type: up, code: 'upstream_unreachable'});
  });

  it('that never come do not keep others from being found, however often they are asked for', async () => {
    const silent = Array.from({length: 30}, (_, i) => ask(`silent${1 + i % 3}`)); // three of them: libuv looks up four at a time
    const from = names.asked.length;
    for (let end = Date.now() + 900; !['silent1.test', 'silent2.test', 'silent3.test'].every((name) => names.asked.slice(from).includes(name)) && Date.now() < end;) await new Promise((resolve) => setTimeout(resolve, 5));
    await answers('quick');
    await answers('localhost');
    for (const response of await Promise.all(silent)) assert.ok([502, 504].includes(response.status), `${response.status}`);
  });

  it('that do not come in time: 504 at the connect timeout, or 502 before', async () => {
    for (const name of ['silent0', 'late', 'garbage', 'truncated']) {
      const start = performance.now(), response = await ask(name, false), ms = performance.now() - start;
      const {code} = JSON.parse(await response.clone().text()).error;
      await checkError(response, code === 'upstream_timeout' ? {status: 504, type: up, code} : {status: 502, type: up, code: 'upstream_unreachable'});
      assert.ok(ms < 5000, `${name}: ${Math.round(ms)} ms`);
    }
  });

  it('and requests that leave while their name is looked up leave nothing behind', async () => {
    for (const name of ['silent4', 'late']) {
      const leaving = new AbortController(), asked = Array.from({length: 6}, () => ask(name, true, leaving.signal).catch((e) => e.name)), stays = ask(name);
      for (let end = Date.now() + 2000; !names.asked.includes(`${name}.test`) && Date.now() < end;) await new Promise((resolve) => setTimeout(resolve, 5));
      leaving.abort();
      assert.deepEqual(await Promise.all(asked), Array(6).fill('AbortError'));
      assert.ok([502, 504].includes((await stays).status));
    }
    for (const end = Date.now() + 3000; (await active(gateway)) > 1;) assert.ok(Date.now() < end, 'requests are still under way'); // the companion's goes on
    await answers('quick');
  });
});
