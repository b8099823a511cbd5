// kill -9 under load, again and again: tokens rotate, responses are stored, an account rests. After each, the program starts without
// a hand, and nothing that it had acknowledged is lost.
import assert from 'node:assert/strict';
import {mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {after, describe, it} from 'node:test';
import {Kimi} from '../sites/kimi.mjs';
import {OpenAiSite} from '../sites/openai.mjs';
import {generator, seedOf} from '../faults/random.mjs';
import {Gateway} from './lib/gateway.mjs';
import {chat, user} from './lib/http.mjs';
import {respond, textOf} from './lib/responses.mjs';

const ROUNDS = Number(process.env.KILL_ROUNDS ?? 20);

describe('kill -9, again and again', {timeout: 240000}, () => {
  const running = [];
  after(async () => {
    for (const thing of running.splice(0).reverse()) await thing.stop();
  });

  it(`${ROUNDS} times, and nothing is lost`, async () => {
    const seed = seedOf(process.env.KILL_SEED), random = generator(seed);
    console.log(`      KILL_SEED=${seed}`);
    const data = mkdtempSync(join(tmpdir(), 'dragoman-e2e-kill-'));
    running.push({stop: async () => rmSync(data, {recursive: true, force: true})});
    const kimi = await new Kimi({tls: false}).start(); // its refresh tokens are worth nothing once their successor was used
    const up = await new OpenAiSite({tls: false}).start(), strict = await new OpenAiSite({tls: false}).start();
    running.push(kimi, up, strict);
    strict.chat = (r, res) => strict.json(res, 429, {error: {message: 'too many', type: 'requests', param: null, code: 'rate_limit_exceeded'}}, {'retry-after': '3600'});
    const entry = (name, site) => ({name, adapter: 'openai', ...site.config({base_url: `${site.origin}/v1`, models: ['gpt-test'], max_concurrent: 8}), accounts: [{name: 'a', api_key: 'sk-upstream'}]});
    const config = {server: {data_dir: data, ...(random.chance(0.5) ? {secret_key: 'a long random text of the test'} : {})}, sites: [entry('up', up), entry('strict', strict),
      {name: 'kimi', adapter: 'kimi', ...kimi.config({options: {auth_url: kimi.auth.origin}, max_concurrent: 8}), accounts: [{name: 'me', refresh_token: 'cpmt_0'}]}]};
    const stored = new Map(); // id → text: whole answers that arrived
    const holds = async (gateway, id) => {
      const found = await fetch(`${gateway.base}/responses/${id}`), body = await found.json();
      assert.equal(found.status, 200, `response ${id} was lost: ${JSON.stringify(body)}`);
      assert.equal(textOf(body), stored.get(id));
    };
    let serial = 0;
    const loads = (gateway) => ({
      async store() {
        const text = `number ${serial++}`, response = await respond(gateway.base, {model: 'up/gpt-test', input: text, stream: random.chance(0.5)}), body = await response.text();
        if (response.status !== 200) return;
        const done = body.startsWith('{') ? JSON.parse(body) : /event: response\.completed\ndata: (.*)\n\n$/.exec(body) && JSON.parse(/event: response\.completed\ndata: (.*)\n\n$/.exec(body)[1]).response;
        if (done) stored.set(done.id, text);
      },
      async renew() {
        kimi.access.clear(); // a new one is wanted
        const response = await chat(gateway.base, {model: 'kimi/kimi-k2.6', ...user('hi')}), body = await response.text();
        assert.equal(response.status, 200, body);
      },
      async rest() {
        assert.equal((await chat(gateway.base, {model: 'strict/gpt-test', ...user('hi')})).status, 429);
      },
    });
    const working = async (gateway, work, over) => {
      while (!over.now) {
        try {
          await work();
        } catch (error) {
          if (over.now && !(error instanceof assert.AssertionError)) return; // killed under its request
          throw error;
        }
      }
    };
    for (let round = 0; round < ROUNDS; round++) {
      const gateway = await new Gateway(config).start();
      running.push(gateway);
      assert.doesNotMatch(gateway.stderr, /damaged|rebuild/);
      for (const id of [...stored.keys()].slice(-3)) await holds(gateway, id);
      const load = loads(gateway), over = {now: false};
      await load.renew(); // with what was held, or not at all
      const asked = strict.requests.length;
      await load.rest();
      if (round > 0) assert.equal(strict.requests.length, asked, 'the rest was forgotten');
      const works = [load.store, load.store, load.store, load.renew, load.rest].map((work) => working(gateway, work, over));
      await new Promise((resolve) => setTimeout(resolve, random.between(10, 250)));
      over.now = true;
      gateway.signal('SIGKILL');
      await gateway.closed;
      assert.equal(gateway.child.signalCode, 'SIGKILL', gateway.stderr.slice(-2000));
      gateway.child = null;
      running.pop();
      rmSync(gateway.directory, {recursive: true, force: true});
      await Promise.all(works);
    }
    const last = await new Gateway(config).start();
    running.push(last);
    for (const id of stored.keys()) await holds(last, id);
    assert.ok(stored.size > ROUNDS && kimi.refreshes > ROUNDS / 2, `${stored.size} responses, ${kimi.refreshes} renewals: too little was at stake`);
    assert.deepEqual([up.violations, kimi.violations, kimi.auth.violations], [[], [], []]);
    console.log(`      ${stored.size} responses and ${kimi.refreshes} renewals survived`);
  });
});
