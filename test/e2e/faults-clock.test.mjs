// The wall clock jumps, forwards and back: what is measured by it ends or holds, what only passes goes on as if nothing had been.
import assert from 'node:assert/strict';
import {mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {describe, it} from 'node:test';
import {FaultsSite} from '../sites/faults.mjs';
import {OpenAiSite} from '../sites/openai.mjs';
import {Zai} from '../sites/zai.mjs';
import {Clock, clockMissing} from '../faults/clock.mjs';
import {Companion, cleanUp} from '../faults/behind.mjs';
import {Gateway} from './lib/gateway.mjs';
import {chat, checkError, checkStream, user} from './lib/http.mjs';

const HOUR = 3600, DAY = 86400, KEY = 'sk-gateway-000001', auth = {headers: {authorization: `Bearer ${KEY}`}};

describe('a clock that jumps', {concurrency: true, timeout: 60000, skip: clockMissing() ?? false}, () => {
  const place = async (t, {site, ...config}) => {
    const running = cleanUp(t);
    running.push(site);
    const data = mkdtempSync(join(tmpdir(), 'dragoman-e2e-clock-')), clock = new Clock(data);
    running.push({stop: async () => rmSync(data, {recursive: true, force: true})});
    const companion = await new Companion().prepare();
    running.push(companion);
    const serve = async () => {
      const gateway = new Gateway({...config, server: {data_dir: data, sandbox: 'off', ...config.server}, sites: [companion.entry, ...config.sites]}, {env: clock.env});
      running.push(gateway, {stop: async () => companion.finish?.()});
      await gateway.start();
      await companion.accompany(gateway, config.keys ? auth : {});
      return gateway;
    };
    const end = async (gateway) => {
      running.splice(running.indexOf(gateway), 1);
      companion.finish();
      await gateway.stop();
    };
    return {clock, serve, end};
  };

  it('a rest that a site asked for is not longer nor shorter for it, and a restart in another time makes it no longer', async (t) => {
    const site = await new FaultsSite({tls: false}).start();
    const {clock, serve, end} = await place(t, {site, sites: [{name: 'f', adapter: 'openai', ...site.config({models: ['m']}), accounts: [{name: 'a', api_key: 'sk-upstream'}]}]});
    let gateway = await serve();
    const limited = {status: 429, type: 'rate_limit_error', code: 'upstream_rate_limited'};
    const rests = async (model = 'fine') => {
      const response = await chat(gateway.base, {model: `f/${model}`, ...user('x')}), wait = Number(response.headers.get('retry-after'));
      await checkError(response, limited);
      assert.ok(wait >= 1 && wait <= 17, `Retry-After ${wait}`);
    };
    await rests('status-429');
    const asked = site.requests.length;
    for (const jump of [3 * DAY, -3 * DAY, HOUR, -30 * 365 * DAY, 0]) {
      clock.jump(jump);
      await rests();
    }
    assert.equal(site.requests.length, asked);
    await end(gateway);
    clock.jump(-2 * DAY);
    gateway = await serve();
    await rests();
    await end(gateway);
    clock.jump(DAY); // over, by the only clock that there is
    gateway = await serve();
    assert.equal((await chat(gateway.base, {model: 'f/fine', ...user('x')})).status, 200);
  });

  it("a day's budget is there again on the next day, and once only", async (t) => {
    const site = await new OpenAiSite({tls: false}).start();
    const {clock, serve} = await place(t, {site, keys: [{name: 'k', key: KEY, requests_per_day: 3}],
      sites: [{name: 'up', adapter: 'openai', ...site.config({base_url: `${site.origin}/v1`, models: ['gpt-test']}), accounts: [{name: 'a', api_key: 'sk-upstream'}]}]});
    const gateway = await serve(); // its companion is the first request
    const ask = async () => (await chat(gateway.base, {model: 'up/gpt-test', ...user('x')}, auth)).status;
    assert.deepEqual([await ask(), await ask(), await ask()], [200, 200, 429]);
    clock.jump(DAY);
    assert.deepEqual([await ask(), await ask(), await ask(), await ask()], [200, 200, 200, 429]);
    clock.jump(0); // and back: nobody gets more for it than a day has
    const refused = await chat(gateway.base, {model: 'up/gpt-test', ...user('x')}, auth), wait = Number(refused.headers.get('retry-after'));
    if (refused.status === 429) assert.ok(wait >= 1 && wait <= 2 * DAY, `Retry-After ${wait}`);
    else assert.equal(refused.status, 200);
    await refused.text();
    clock.jump(2 * DAY);
    assert.equal(await ask(), 200);
  });

  it('a session that has ended by the clock is had anew before it is used, one that has not is used', async (t) => {
    const site = await new Zai({tls: false}).start();
    site.lifeS = HOUR;
    const {clock, serve} = await place(t, {site, sites: [{name: 'zai', adapter: 'zai', ...site.config(), accounts: [{name: 'g', guest: true}]}]});
    const gateway = await serve();
    const ask = async () => {
      const response = await chat(gateway.base, {model: 'zai/glm-4.6', stream: true, ...user('hi')}), text = await response.text();
      assert.equal(response.status, 200, text);
      assert.equal(checkStream(text).content, '你好, world 🌍');
    };
    // The site looks at the time that is sent along; it is not what is tested here.
    site.check = () => {};
    await ask();
    await ask();
    assert.equal(site.guestsMade, 1);
    clock.jump(2 * HOUR);
    await ask();
    assert.equal(site.guestsMade, 2);
    clock.jump(-2 * HOUR);
    await ask();
    assert.ok(site.guestsMade <= 3);
    clock.jump(0);
    await ask();
  });

  it('certificates are judged by the clock as it is; the next connection is good again when it is', async (t) => {
    const site = await new OpenAiSite().start();
    const {clock, serve} = await place(t, {site, sites: [{name: 'up', adapter: 'openai', ...site.config({base_url: `${site.origin}/v1`, models: ['gpt-test']}), accounts: [{name: 'a', api_key: 'sk-upstream'}]}]});
    const gateway = await serve();
    const ask = () => {
      for (const socket of site.sockets) socket.destroy(); // no connection from before
      return chat(gateway.base, {model: 'up/gpt-test', ...user('x')});
    };
    assert.equal((await ask()).status, 200);
    for (const jump of [20 * DAY, -20 * DAY]) {
      clock.jump(jump);
      const response = await ask();
      // A session from before may still be resumed: then there is no certificate to look at.
      if (response.status !== 200) await checkError(response, {status: 502, type: 'upstream_error', code: 'upstream_unreachable'});
      clock.jump(0);
      assert.equal((await ask()).status, 200);
    }
  });

  it('durations are true whatever the clock says: in the log, of timeouts, of streams', async (t) => {
    const site = await new FaultsSite({tls: false}).start();
    const {clock, serve} = await place(t, {site, sites: [{name: 'f', adapter: 'openai', ...site.config({models: ['m'], idle_timeout: '600ms'}), accounts: [{name: 'a', api_key: 'sk-upstream'}]}]});
    const gateway = await serve();
    for (const jump of [DAY, -DAY, 0]) {
      const start = performance.now(), response = await chat(gateway.base, {model: 'f/stall-after-text', stream: true, ...user('x')});
      clock.jump(jump);
      await response.text();
      const took = performance.now() - start;
      assert.ok(took > 400 && took < 10000, `${took} ms`);
      const [, ms] = await gateway.logged(new RegExp(`id=${response.headers.get('x-request-id')} .* ms=(-?\\d+) `));
      assert.ok(ms > 400 && ms < 10000, `ms=${ms}`);
    }
  });
});
