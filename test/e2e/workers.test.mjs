// server.workers above 1: several event loops that share accounts, limits, conversations and figures, as if there were one. Each
// request comes on a connection of its own, so that the kernel spreads them over the loops.
import assert from 'node:assert/strict';
import {once} from 'node:events';
import {readFileSync} from 'node:fs';
import http from 'node:http';
import {join} from 'node:path';
import {after, before, describe, it} from 'node:test';
import {ChatGlm, SIGN_SECRET, jwt} from '../sites/chatglm.mjs';
import {OpenAiSite} from '../sites/openai.mjs';
import {within} from '../sites/site.mjs';
import {Sophnet} from '../sites/sophnet.mjs';
import {answerPiece, descriptors, resident} from './lib/clients.mjs';
import {binary, configText, Gateway, run, startGateway} from './lib/gateway.mjs';
import {checkStream, user} from './lib/http.mjs';
import {parsePrometheus, valueOf} from './lib/prometheus.mjs';
import {RawClient, get} from './lib/raw.mjs';

const WORKERS = 4, PATIENCE_MS = 60000;
const server = {workers: WORKERS};
const key = (name) => `sk-${name}-0123456789`;
const auth = (name) => ({authorization: `Bearer ${key(name)}`});

/** One request on a connection of its own: {status, headers, text}, or a rejection when the connection breaks. */
function send(gateway, path, {body, headers = {}, method = body ? 'POST' : 'GET', signal, at} = {}) {
  return new Promise((resolve, reject) => {
    const to = at ?? {host: '127.0.0.1', port: gateway.port};
    const req = http.request({...to, path, method, agent: false, signal, headers: {'content-type': 'application/json', ...headers}}, (res) => {
      let text = '';
      res.setEncoding('utf8');
      res.on('data', (d) => (text += d));
      res.on('error', reject);
      res.on('end', () => resolve({status: res.statusCode, headers: res.headers, text}));
    });
    req.on('error', reject);
    req.end(body ? JSON.stringify(body) : undefined);
  });
}

const ask = (gateway, text, {model = 'up/gpt-test', headers, signal, ...more} = {}) =>
  send(gateway, '/v1/chat/completions', {body: {model, ...user(text), ...more}, headers, signal});

const many = (n, what) => Promise.all(Array.from({length: n}, (_, i) => what(i)));

async function figures(gateway) {
  const {status, text} = await send(gateway, '/metrics');
  assert.equal(status, 200, text);
  return parsePrometheus(text);
}

/** Asks until `fits(value)`. */
async function becomes(what, look, fits) {
  for (const end = Date.now() + PATIENCE_MS; ;) {
    const value = await look();
    if (fits(value)) return value;
    assert.ok(Date.now() < end, `${what} is still ${JSON.stringify(value)}`);
  }
}

const waiting = async (gateway, site = 'up') => valueOf(await figures(gateway), 'dragoman_queue_length', {site});

async function settled(gateway) {
  await becomes('the number of requests', async () => JSON.parse((await send(gateway, '/health')).text).active, (n) => n === 0);
}

/** A service that sees how many requests of each account are under way at once, and can hold them back. */
class Counting extends OpenAiSite {
  constructor(names, options = {}) {
    super({keys: names.map(key), tls: false, host: '127.0.0.1', ...options});
    this.now = new Map();
    this.most = new Map();
    this.order = []; // the texts, as they were begun
    this.turns = []; // {name, begun, over, left} in ticks
    this.tick = 0;
    this.held = [];
    this.holds = false;
  }

  chat(r, res) {
    const name = /sk-(\w+)-/.exec(r.headers.authorization)[1], text = r.json.messages.at(-1).content;
    const n = (this.now.get(name) ?? 0) + 1;
    this.now.set(name, n);
    this.most.set(name, Math.max(n, this.most.get(name) ?? 0));
    this.order.push(text);
    this.emit('begun', text);
    const turn = {name, begun: ++this.tick, over: 0, left: false};
    this.turns.push(turn);
    const leave = () => {
      if (turn.over) return;
      this.now.set(name, this.now.get(name) - 1);
      turn.over = ++this.tick;
    };
    res.on('close', () => {
      leave();
      turn.left = !res.writableFinished;
    });
    const answer = () => {
      leave(); // the gateway may send the next one as soon as it has the answer
      super.chat(r, res);
    };
    if (this.holds) this.held.push(answer);
    else setImmediate(answer);
  }

  /**
   * Turns of one account at the same time, without those that the gateway broke off: what follows such a one comes on another connection,
   * and may be heard here before the end of the first.
   */
  overlaps() {
    const whole = this.turns.filter((t) => !t.left);
    return whole.flatMap((t, i) => whole.slice(i + 1).filter((u) => u.name === t.name && u.begun < t.over));
  }

  hold() {
    this.holds = true;
  }

  release() {
    this.holds = false;
    for (const answer of this.held.splice(0)) answer();
  }
}

const upstream = (site, names, more = {}) => ({
  name: 'up', adapter: 'openai', ...site.config({base_url: `${site.origin}/v1`, models: ['gpt-test']}), max_concurrent: 1, queue_max: 5000,
  queue_timeout: '50s', ...more, accounts: names.map((name) => ({name, api_key: key(name)})),
});

/** A gateway in front of such a service, for the duration of `what`. */
async function serving(names, config, what, more) {
  const site = await new Counting(names).start();
  const gateway = await startGateway({...config, server: {...server, ...config.server}, sites: [upstream(site, names, more)]});
  try {
    await what(gateway, site);
    await settled(gateway);
    assert.deepEqual(site.violations, []);
  } finally {
    site.release();
    await gateway.stop();
    await site.stop();
  }
}

/** Listening sockets of the program at the port. */
function listeners(gateway) {
  const hex = gateway.port.toString(16).toUpperCase().padStart(4, '0');
  return readFileSync(`/proc/${gateway.child.pid}/net/tcp`, 'utf8').split('\n').filter((l) => new RegExp(`:${hex} 00000000:0000 0A`).test(l)).length;
}

describe('several event loops', {timeout: 300000}, () => {
  it('have a listener each, at one port', async () => {
    const gateway = await startGateway({server, sites: [{name: 'demo', adapter: 'demo'}]});
    assert.equal(listeners(gateway), WORKERS);
    await many(40, async (i) => {
      const {status, text} = await ask(gateway, `hello ${i}`, {model: 'demo/echo', stream: true});
      assert.equal(status, 200);
      assert.equal(checkStream(text).content, `hello ${i}`);
    });
    await gateway.stop();
  });

  it('are as many as there are cores with workers = 0, and one without it', async () => {
    for (const [more, right] of [[{workers: 0}, (n) => n >= 1], [{workers: 1}, (n) => n === 1]]) {
      const gateway = await startGateway({server: more, sites: [{name: 'demo', adapter: 'demo'}]});
      assert.ok(right(listeners(gateway)), `${listeners(gateway)} listeners`);
      await gateway.stop();
    }
  });

  it('share a unix socket', async () => {
    const gateway = new Gateway({sites: [{name: 'demo', adapter: 'demo'}]});
    const path = join(gateway.directory, 'socket');
    gateway.config.server = {...server, listen: ['127.0.0.1:0', `unix:${path}`]};
    await gateway.start();
    const answers = await many(40, () => send(gateway, '/health', {at: {socketPath: path}}));
    assert.ok(answers.every((a) => a.status === 200));
    await gateway.stop();
  });

  it('do not begin at a port where another program listens, not even another dragoman', async () => {
    const gateway = await startGateway({server, sites: [{name: 'demo', adapter: 'demo'}]});
    const second = new Gateway({});
    second.write({server: {...server, listen: [`127.0.0.1:${gateway.port}`]}, sites: [{name: 'demo', adapter: 'demo'}]});
    const {code, stderr} = await run(['serve', '-c', second.file]);
    assert.equal(code, 1);
    assert.match(stderr, /address already in use/);
    await gateway.stop();
  });

  it('say so when they are to be more after a reload', async () => {
    const gateway = await startGateway({server, sites: [{name: 'demo', adapter: 'demo'}]});
    gateway.write({...gateway.config, server: {workers: 2}});
    gateway.signal('SIGHUP');
    await gateway.logged(/server\.workers takes effect with the next start/);
    await gateway.stop();
  });
});

describe('accounts of several event loops', {timeout: 300000}, () => {
  it('are never used by more requests at once than they may', async () => {
    const names = ['anna', 'ben', 'cleo'];
    await serving(names, {}, async (gateway, site) => {
      const answers = await many(240, (i) => ask(gateway, `talk ${i}`, {stream: i % 2 === 0}));
      assert.deepEqual(answers.filter((a) => a.status !== 200), []);
      assert.deepEqual(Object.fromEntries(site.most), {anna: 1, ben: 1, cleo: 1});
      assert.equal(site.chatRequests().length, 240);
    });
  });

  it('go to those who wait in fair turns, wherever they wait', async () => {
    const keys = ['batch', 'person'].map((name) => ({name, key: key(name)}));
    await serving(['one'], {keys}, async (gateway, site) => {
      site.hold();
      const first = ask(gateway, 'first', {headers: auth('batch')});
      await within(PATIENCE_MS, once(site, 'begun'), 'the first');
      const all = [first];
      for (let i = 0; i < 16; i++) { // each stands in the queue before the next one comes
        const name = i < 12 ? 'batch' : 'person';
        all.push(ask(gateway, `${name} ${i < 12 ? i : i - 12}`, {headers: auth(name)}));
        await becomes('the queue', async () => valueOf(parsePrometheus((await send(gateway, '/metrics', {headers: auth('batch')})).text), 'dragoman_queue_length', {site: 'up'}), (n) => n === i + 1);
      }
      site.release();
      assert.ok((await Promise.all(all)).every((a) => a.status === 200));
      const wanted = [0, 1, 2, 3].flatMap((i) => [`batch ${i}`, `person ${i}`]).concat([4, 5, 6, 7, 8, 9, 10, 11].map((i) => `batch ${i}`));
      assert.deepEqual(site.order, ['first', ...wanted]);
      assert.equal(site.most.get('one'), 1);
    });
  });

  it('are not lost with clients that leave while they wait, or just when it is their turn', async () => {
    await serving(['one', 'two'], {}, async (gateway, site) => {
      let left = 0;
      const answers = await many(300, async (i) => {
        const leaving = i % 3 ? AbortSignal.timeout(5 + (i * 7) % 400) : undefined;
        try {
          return (await ask(gateway, `talk ${i}`, {signal: leaving})).status;
        } catch (error) {
          assert.ok(leaving, error.stack);
          left++;
          return 200;
        }
      });
      assert.ok(answers.every((status) => status === 200), JSON.stringify(answers));
      assert.ok(left > 0);
      await settled(gateway);
      const all = await figures(gateway);
      for (const account of ['one', 'two']) assert.equal(valueOf(all, 'dragoman_account_in_flight', {site: 'up', account}), 0);
      assert.equal(valueOf(all, 'dragoman_queue_length', {site: 'up'}), 0);
      assert.equal(site.most.size, 2);
      assert.deepEqual(site.overlaps(), []);
      assert.equal((await ask(gateway, 'at last')).status, 200);
    });
  });

  it('keep their pace together', async () => {
    const GAP = 50, N = 12;
    await serving(['slow'], {}, async (gateway, site) => {
      const answers = await many(N, (i) => ask(gateway, `talk ${i}`));
      assert.ok(answers.every((a) => a.status === 200));
      const times = site.chatRequests().map((r) => r.at);
      assert.ok(times.at(-1) - times[0] >= (N - 1) * GAP - 20, `${N} requests within ${times.at(-1) - times[0]} ms`);
    }, {max_concurrent: 5, min_gap: `${GAP}ms`});
  });

  it('rest for all loops when one has met their limit', async () => {
    await serving(['only'], {}, async (gateway, site) => {
      site.next({status: 429, json: {error: {message: 'slow down'}}, headers: {'retry-after': '600'}});
      assert.equal((await ask(gateway, 'met')).status, 429);
      const answers = await many(40, (i) => ask(gateway, `talk ${i}`));
      assert.ok(answers.every((a) => a.status === 429 && Number(a.headers['retry-after']) > 500));
      assert.equal(site.chatRequests().length, 1);
      const shown = JSON.parse((await run(['accounts', '--json', '-c', gateway.file])).stdout).accounts;
      assert.equal(shown[0].state, 'cooling');
      assert.equal((await run(['accounts', 'clear', 'up/only', '-c', gateway.file])).code, 0);
      assert.ok((await many(20, (i) => ask(gateway, `again ${i}`))).every((a) => a.status === 200));
    });
  });

  it('obtain a credential once, however many loops want it', async () => {
    const site = await new Sophnet().start();
    const gateway = await startGateway({server, sites: [{name: 'soph', adapter: 'sophnet', ...site.config(), max_concurrent: 50, accounts: [{name: 'g', guest: true}]}]});
    const answers = await many(40, (i) => ask(gateway, `hi ${i}`, {model: 'soph/DeepSeek-V3-Fast'}));
    assert.deepEqual(answers.filter((a) => a.status !== 200), []);
    assert.equal(site.logins, 1);
    site.anonymous.clear(); // refused from now on: each loop finds out, one logs in
    assert.deepEqual((await many(40, (i) => ask(gateway, `ho ${i}`, {model: 'soph/DeepSeek-V3-Fast'}))).filter((a) => a.status !== 200), []);
    assert.ok(site.logins <= 3, `${site.logins} logins`);
    assert.deepEqual(site.violations, []);
    await gateway.stop();
    await site.stop();
  });
});

/** Ends the gateway the hard way when a token is used that it has logged in for. */
class Fatal extends Sophnet {
  playground(r, res) {
    const token = this.bearer(r);
    if (this.anonymous.has(token)) {
      this.used = token;
      this.kill?.();
    }
    return super.playground(r, res);
  }
}

describe('credentials of several event loops', {timeout: 300000}, () => {
  it('are on disk before any of them uses one', async () => {
    const site = await new Fatal().start();
    const config = {server, sites: [{name: 'soph', adapter: 'sophnet', ...site.config(), max_concurrent: 50, accounts: [{name: 'g', guest: true}]}]};
    const gateway = new Gateway(config);
    gateway.config.server = {...server, data_dir: join(gateway.directory, 'data')};
    for (let round = 0; round < 4; round++) {
      gateway.stdout = '';
      await gateway.start();
      site.anonymous.clear(); // what it holds is worth nothing any more: it has to log in
      site.kill = () => gateway.signal('SIGKILL');
      const answers = many(20, (i) => ask(gateway, `hi ${i}`, {model: 'soph/DeepSeek-V3-Fast'}).catch(() => null));
      await gateway.closed;
      await answers;
      site.kill = null;
      const {used, logins} = site;
      gateway.stdout = '';
      await gateway.start();
      assert.equal((await ask(gateway, 'again', {model: 'soph/DeepSeek-V3-Fast'})).status, 200);
      assert.deepEqual([site.used, site.logins], [used, logins], 'it logged in again');
      gateway.signal('SIGTERM');
      assert.equal(await gateway.exit(), 0);
    }
    await gateway.stop();
    await site.stop();
  });
});

describe('limits of several event loops', {timeout: 300000}, () => {
  const N = 25;

  it('of a key are one limit: requests a day', async () => {
    await serving(['a'], {keys: [{name: 'k', key: key('k'), requests_per_day: N}]}, async (gateway, site) => {
      const answers = await many(4 * N, (i) => ask(gateway, `talk ${i}`, {headers: auth('k')}));
      assert.equal(answers.filter((a) => a.status === 200).length, N);
      assert.equal(answers.filter((a) => a.status === 429 && JSON.parse(a.text).error.code === 'rate_limit_exceeded').length, 3 * N);
      assert.equal(site.chatRequests().length, N);
    }, {max_concurrent: 10});
  });

  it('of a key are one limit: requests at once', async () => {
    await serving(['a'], {keys: [{name: 'k', key: key('k'), max_concurrent: 3}, {name: 'other', key: key('other')}]}, async (gateway, site) => {
      site.hold();
      let refused = 0;
      const all = many(30, async (i) => {
        const answer = await ask(gateway, `talk ${i}`, {headers: auth('k')});
        if (answer.status === 429) refused++;
        return answer;
      });
      await becomes('the number of refusals', async () => (await send(gateway, '/health'), refused), (n) => n === 27);
      await becomes('the number that came through', async () => (await send(gateway, '/health'), site.held.length), (n) => n === 3);
      site.release();
      assert.equal((await all).filter((a) => a.status === 200).length, 3);
    }, {max_concurrent: 10});
  });

  for (const [what, limit] of [['of all connections', {max_connections: 10}], ['of one address', {max_connections_per_ip: 10}]]) {
    it(`${what} are those of the program`, async () => {
      const gateway = await startGateway({server: {...server, ...limit}, sites: [{name: 'demo', adapter: 'demo'}]});
      const clients = [], statuses = [];
      for (let i = 0; i < 30; i++) {
        const client = await RawClient.open(gateway.port);
        clients.push(client);
        await client.send(get('/health'));
        statuses.push((await client.answer()).status);
      }
      assert.deepEqual(statuses, [...Array(10).fill(200), ...Array(20).fill(503)]);
      for (const client of clients) client.close();
      await becomes('a new one', async () => {
        const client = await RawClient.open(gateway.port);
        await client.send(get('/health'));
        const {status} = await client.answer();
        client.close();
        return status;
      }, (status) => status === 200);
      await gateway.stop();
    });
  }
});

describe('what several event loops remember', {timeout: 300000}, () => {
  it('is one conversation, whichever gets the next turn', async () => {
    const token = jwt('refresh');
    const site = await new ChatGlm({refreshTokens: [token]}).start();
    const gateway = await startGateway({server, sites: [{name: 'site', adapter: 'chatglm', ...site.config({options: {sign_secret: SIGN_SECRET}}), reuse_conversations: true,
      accounts: [{name: 'a', refresh_token: token}]}]});
    const history = [];
    for (let turn = 0; turn < 12; turn++) {
      history.push({role: 'user', content: `turn ${turn}`});
      const {status, text} = await send(gateway, '/v1/chat/completions', {body: {model: 'site/glm-5.3', messages: history}});
      assert.equal(status, 200, text);
      history.push({role: 'assistant', content: JSON.parse(text).choices[0].message.content});
    }
    assert.equal(site.conversations.size, 1);
    await gateway.stop();
    await site.stop();
    assert.deepEqual(site.violations, []);
  });

  it('are responses that are gone on from, whichever has stored them', async () => {
    await serving(['a'], {}, async (gateway, site) => {
      await many(5, async (chain) => {
        let previous;
        for (let turn = 0; turn < 8; turn++) {
          const {status, text} = await send(gateway, '/v1/responses', {body: {model: 'up/gpt-test', input: `chain ${chain} turn ${turn}`, previous_response_id: previous}});
          assert.equal(status, 200, text);
          previous = JSON.parse(text).id;
        }
        const longest = site.chatRequests().filter((r) => r.json.messages.at(-1).content === `chain ${chain} turn 7`);
        assert.equal(longest[0].json.messages.filter((m) => m.role === 'user').length, 8);
        assert.equal((await send(gateway, `/v1/responses/${previous}`)).status, 200);
      });
    }, {max_concurrent: 10});
  });

  it('are the figures of all', async () => {
    await serving(['a'], {}, async (gateway) => {
      await many(40, (i) => ask(gateway, `talk ${i}`));
      await settled(gateway);
      const idle = await many(5, async () => {
        const client = await RawClient.open(gateway.port);
        await client.send(get('/health'));
        await client.answer();
        return client;
      });
      const seen = await many(12, () => figures(gateway));
      for (const all of seen) {
        assert.equal(valueOf(all, 'dragoman_requests_total', {api: 'chat', site: 'up', model: 'up/gpt-test', key: '', end: 'complete'}), 40);
        const on = (connection) => valueOf(all, 'dragoman_site_requests_total', {connection});
        assert.equal(on('new') + on('reused'), 40);
        assert.ok(valueOf(all, 'dragoman_client_connections') >= idle.length + 1);
        assert.ok(valueOf(all, 'dragoman_loop_busy_seconds_count') > 40);
      }
      for (const client of idle) client.close();
    }, {max_concurrent: 10});
  });

  it('is a list of models that one of them has fetched, also when all ask at once', async () => {
    const site = await new OpenAiSite({tls: false, host: '127.0.0.1', models: ['gpt-test', 'told-by-the-site']}).start();
    const gateway = await startGateway({server, sites: [{name: 'up', adapter: 'openai', ...site.config({base_url: `${site.origin}/v1`}), max_concurrent: 40, accounts: [{name: 'a', api_key: 'sk-upstream'}]}]});
    const answers = await many(40, (i) => ask(gateway, `talk ${i}`, {model: 'told-by-the-site'}));
    assert.deepEqual(answers.filter((a) => a.status !== 200), []);
    assert.equal(site.requests.filter((r) => r.path.endsWith('/models')).length, 1);
    for (const {status, text} of await many(20, () => send(gateway, '/v1/models'))) {
      assert.equal(status, 200);
      assert.match(text, /told-by-the-site/);
    }
    for (const {status} of await many(20, (i) => ask(gateway, 'x', {model: `none-${i}`}))) assert.equal(status, 404);
    await gateway.stop();
    await site.stop();
  });
});

describe('several event loops together', {timeout: 300000}, () => {
  it('reload while they work, and nothing of it stays', async () => {
    const names = ['anna', 'ben', 'cleo'];
    await serving(names, {keys: [{name: 'k', key: key('k'), rpm: 1000000}]}, async (gateway, site) => {
      let over = false, n = 0;
      const load = many(12, async (i) => {
        while (!over) {
          const {status, text} = await ask(gateway, `talk ${i} ${n++}`, {headers: auth('k'), stream: i % 2 === 0});
          assert.equal(status, 200, text);
        }
      });
      const full = gateway.config;
      const reload = async (i) => {
        const from = gateway.stderr.length;
        const sites = [upstream(site, i % 2 ? names : names.slice(0, 2))];
        gateway.write({...full, sites, server: {...server, listen: ['127.0.0.1:0', ...(i % 3 ? [] : ['127.0.0.2:0'])]}});
        gateway.signal('SIGHUP');
        await gateway.logged(/configuration reloaded/, {from});
      };
      for (let i = 0; i < 6; i++) await reload(i);
      const [open, memory] = [descriptors(gateway), resident(gateway)];
      for (let i = 0; i < 24; i++) await reload(i);
      over = true;
      await load;
      assert.ok(n > 50, `${n} requests`);
      assert.ok(descriptors(gateway) <= open + 20, `${open} descriptors became ${descriptors(gateway)}`);
      assert.ok(resident(gateway) < memory + 80 * 1024, `${memory} KiB became ${resident(gateway)} KiB`);
      assert.ok([...site.most.values()].every((most) => most === 1), JSON.stringify([...site.most]));
      assert.equal(listeners(gateway), WORKERS);
    });
  });

  it('keep the old configuration whole when the new one cannot be had', async () => {
    const taken = http.createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    await serving(['a'], {}, async (gateway) => {
      gateway.write({...gateway.config, server: {...server, listen: ['127.0.0.1:0', `127.0.0.1:${taken.address().port}`]}});
      gateway.signal('SIGHUP');
      await gateway.logged(/address already in use.*the old configuration stays in force/);
      assert.ok((await many(20, (i) => ask(gateway, `talk ${i}`))).every((a) => a.status === 200));
      assert.equal(listeners(gateway), WORKERS);
    }, {max_concurrent: 10});
    taken.close();
  });

  for (const [how, patient] of [['let their requests end', true], ['end at once when they are told twice', false]]) {
    it(`${how}, all of them`, async () => {
      const site = await new Counting(['a']).start();
      site.next(...Array.from({length: 24}, () => (r, res) => {
        site.sseHead(res);
        site.event(res, answerPiece({role: 'assistant', content: 'begun '}));
        site.held.push(() => {
          site.event(res, answerPiece({content: 'ended'}));
          site.event(res, answerPiece({}, 'stop'));
          res.end('data: [DONE]\n\n');
        });
        site.emit('streaming');
      }));
      const gateway = await startGateway({server, sites: [upstream(site, ['a'], {max_concurrent: 40})]});
      const all = many(24, (i) => ask(gateway, `talk ${i}`, {stream: true}).catch(() => ({text: ''})));
      await becomes('the streams', async () => (await send(gateway, '/health'), site.held.length), (n) => n === 24);
      gateway.signal('SIGTERM');
      await gateway.logged(/stopping: no new connections; running requests \(24\)/);
      await assert.rejects(send(gateway, '/health'));
      if (patient) site.release();
      else gateway.signal('SIGTERM');
      const answers = await all;
      assert.equal(await gateway.exit(), 0);
      if (patient) for (const {text} of answers) assert.equal(checkStream(text).content, 'begun ended');
      else for (const {text} of answers) assert.doesNotMatch(text, /\[DONE\]/);
      await gateway.stop();
      await site.stop();
    });
  }

  it('write down what they have used, and know it after a restart', async () => {
    const site = await new Counting(['a']).start();
    const config = {server, keys: [{name: 'k', key: key('k'), requests_per_day: 30}], sites: [upstream(site, ['a'], {max_concurrent: 10})]};
    const gateway = new Gateway(config);
    const data = join(gateway.directory, 'data');
    gateway.config.server = {...server, data_dir: data};
    await gateway.start();
    assert.ok((await many(20, (i) => ask(gateway, `talk ${i}`, {headers: auth('k')}))).every((a) => a.status === 200));
    gateway.signal('SIGTERM');
    assert.equal(await gateway.exit(), 0);
    gateway.stdout = '';
    await gateway.start();
    const answers = await many(40, (i) => ask(gateway, `again ${i}`, {headers: auth('k')}));
    assert.equal(answers.filter((a) => a.status === 200).length, 10);
    await gateway.stop();
    await site.stop();
  });
});
