// One story: a person with three accounts at one site and two at another, a visitor's session at a third, a guest at a fourth. Limits
// that end by themselves, credentials that die and are renewed, a site that wants a human, two restarts in the middle. What
// `dragoman accounts` shows in each state is kept in build/test-results/accounts.txt.
import assert from 'node:assert/strict';
import {mkdirSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {after, before, describe, it} from 'node:test';
import {OpenAiSite} from '../sites/openai.mjs';
import {Sophnet} from '../sites/sophnet.mjs';
import {Zai} from '../sites/zai.mjs';
import {root, run, Gateway} from './lib/gateway.mjs';
import {chat, checkError, checkStream, user} from './lib/http.mjs';

const THREE = ['anna', 'ben', 'cleo'], TWO = ['work', 'home'];
const key = (name) => `sk-${name}-0123456789`;
const PATIENCE_MS = 15000;

const limited = (headers, message = 'slow down') => ({status: 429, json: {error: {message}}, headers});
const refused = {status: 401, json: {error: {message: 'this key was revoked'}}};
function humanCheck(r, res) {
  res.writeHead(403, {'content-type': 'text/html'});
  res.end('<!doctype html><title>Just a moment...</title>');
}

/** Answers by the account's name: plans[name] are what it meets next. */
class ByAccount extends OpenAiSite {
  constructor(names) {
    super({keys: names.map(key)});
    this.by = Object.fromEntries(names.map((name) => [name, []]));
  }

  nameOf(r) {
    return /sk-(\w+)-/.exec(r.headers.authorization ?? '')?.[1];
  }

  chat(r, res) {
    const plan = this.by[this.nameOf(r)]?.shift();
    if (plan) this.plans.unshift(plan);
    return super.chat(r, res);
  }

  asked(from = 0) {
    return this.chatRequests().slice(from).map((r) => this.nameOf(r));
  }
}

describe('the life of accounts', {timeout: 240000}, () => {
  const sites = {};
  const pages = []; // of the table
  let gateway, config;

  const table = () => run(['accounts', '-c', gateway.file]);
  const states = async () => Object.fromEntries(
    JSON.parse((await run(['accounts', '--json', '-c', gateway.file])).stdout).accounts.map((a) => [`${a.site}/${a.account}`, a]));
  const show = async (title) => {
    const {stdout, code} = await table();
    assert.equal(code, 0);
    assert.doesNotMatch(stdout, /sk-\w+-0123456789|eyJ|anon-/);
    pages.push(`# ${title}\n\n${stdout}`);
    return stdout;
  };
  /** Looks until the account is as wanted. */
  const becomes = async (name, wanted) => {
    for (const end = Date.now() + PATIENCE_MS; ;) {
      const all = await states();
      if (wanted(all[name])) return all[name];
      assert.ok(Date.now() < end, `${name} stays ${JSON.stringify(all[name])}`);
    }
  };
  const ready = (name) => becomes(name, (a) => a.state === 'ready');
  let talks = 0; // each a conversation of its own: no account is preferred for having answered it
  const ask = (model, more = {}) => chat(gateway.base, {model, ...user(`talk ${++talks}`), ...more});
  const good = async (model, options) => {
    const response = await ask(model, options);
    assert.equal(response.status, 200, await response.clone().text());
    return response.text();
  };
  const fails = async (model, wanted) => (await checkError(await ask(model), wanted)).error.message;
  const RATE = {status: 429, type: 'rate_limit_error', code: 'upstream_rate_limited'};

  /** Ends the gateway and starts it again on the same file. */
  const restart = async (signal) => {
    gateway.signal(signal);
    if (signal === 'SIGTERM') assert.equal(await gateway.exit(), 0);
    else await gateway.closed;
    gateway.stdout = '';
    await gateway.start();
  };
  const reload = async (change) => {
    const from = gateway.stderr.length;
    change(config);
    gateway.write(config);
    gateway.signal('SIGHUP');
    await gateway.logged(/configuration reloaded/, {from});
  };
  const site = (name) => config.sites.find((s) => s.name === name);

  before(async () => {
    sites.big = await new ByAccount(THREE).start();
    sites.small = await new ByAccount(TWO).start();
    sites.soph = await new Sophnet().start();
    sites.zai = await new Zai().start();
    const accounts = (names) => names.map((name) => ({name, api_key: key(name)}));
    config = {sites: [
      {name: 'big', adapter: 'openai', strategy: 'fill_first', models: ['m'], ...sites.big.config({accounts: accounts(THREE)})},
      {name: 'small', adapter: 'openai', strategy: 'fill_first', limits: 'model', models: ['m', 'n'], ...sites.small.config({accounts: accounts(TWO)})},
      {name: 'soph', adapter: 'sophnet', ...sites.soph.config({accounts: [{name: 'visitor', guest: true}]})},
      {name: 'zai', adapter: 'zai', ...sites.zai.config({accounts: [{name: 'guest', guest: true}]})},
    ], models: [{id: 'any', targets: ['big/m', 'small/m']}]};
    gateway = new Gateway(config);
    await gateway.start();
  });

  after(async () => {
    mkdirSync(join(root, 'build/test-results'), {recursive: true});
    writeFileSync(join(root, 'build/test-results/accounts.txt'), pages.join('\n'));
    await gateway?.stop();
    for (const s of Object.values(sites)) await s.stop();
    for (const s of Object.values(sites)) assert.deepEqual(s.violations, []);
  });

  it('begins ready', async () => {
    await good('big/m');
    await good('soph/DeepSeek-V3-Fast');
    await good('zai/glm-4.7');
    assert.match(await show('at the beginning'), /^big +anna +ready +- +0 +1 +0$/m);
    assert.deepEqual(Object.values(await states()).map((a) => a.state), Array(7).fill('ready'));
  });

  it('a limit: another account works, the limited one is back after Retry-After and not before', async () => {
    sites.big.by.anna.push(limited({'retry-after': '1'}));
    const from = sites.big.asked().length;
    await good('big/m');
    assert.deepEqual(sites.big.asked(from), ['anna', 'ben']);
    const [limitedAt] = sites.big.chatRequests().slice(from).map((r) => r.at);
    let back;
    for (const end = Date.now() + PATIENCE_MS; !back && Date.now() < end;) {
      const n = sites.big.asked().length;
      await states(); // which takes a while: not hundreds of requests
      await good('big/m');
      if (sites.big.asked(n)[0] === 'anna') back = sites.big.chatRequests().at(-1).at;
    }
    assert.ok(back - limitedAt >= 990, `asked again after ${back - limitedAt} ms`);
    const {state, last_error, failures} = (await states())['big/anna'];
    assert.deepEqual([state, last_error, failures], ['ready', null, 1]);
  });

  it('a service that tells its reset time in another way is believed, too', async () => {
    sites.big.by.anna.push(limited({'x-ratelimit-remaining-requests': '0', 'x-ratelimit-reset-requests': '1s', 'x-ratelimit-remaining-tokens': '900', 'x-ratelimit-reset-tokens': '6m0s'}));
    await good('big/m');
    const {until} = await becomes('big/anna', (a) => a.state === 'cooling');
    assert.ok(until - Date.now() / 1000 < 3, `${until}`);
    await ready('big/anna');
    await good('big/m');
    assert.equal(sites.big.asked().at(-1), 'anna');
  });

  it('a model rests, the others of the account do not', async () => {
    sites.small.by.work.push(limited({'retry-after': '600'}));
    sites.small.by.home.push(limited({'retry-after': '900'}));
    assert.match(await fails('small/m', {...RATE, retryAfter: 600}), /^small limits the rate of account "home".*ready again in 600 s$/);
    await good('small/n');
    assert.equal(sites.small.asked().at(-1), 'work');
    assert.match(await fails('small/m', RATE), /^every account of small rests after the site's rate limit; ready again in (600|599|598) s$/);
    const text = await show('a model of two accounts rests');
    assert.match(text, /^small +work +ready +- .*\n +m +cooling +\d\d:\d\d:\d\d \(in 10 min\)\nsmall +home +ready .*\n +m +cooling +\d\d:\d\d:\d\d \(in 15 min\)$/m);
  });

  it('a dead account, a challenged one, a tired one, one at work: all in one table', async () => {
    sites.big.by.anna.push(refused);
    sites.big.by.ben.push(limited({'retry-after': '300'}));
    await good('big/m'); // by cleo
    let go;
    const begun = new Promise((resolve) => sites.big.by.cleo.push(function (r, res) {
      this.sseHead(res);
      this.event(res, {id: 'c', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{index: 0, delta: {role: 'assistant', content: 'slowly'}, finish_reason: null}]});
      go = () => {
        this.event(res, {id: 'c', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{index: 0, delta: {}, finish_reason: 'stop'}]});
        res.end('data: [DONE]\n\n');
      };
      resolve();
    }));
    const stream = await ask('big/m', {stream: true});
    await begun;
    sites.small.by.work.push(humanCheck);
    await fails('small/n', {status: 403, type: 'upstream_error', code: 'upstream_challenge', noRetry: true});
    const text = await show('every state at once: expired, cooling, in flight, challenged, a model that rests');
    assert.match(text, /^big +anna +expired +- +0 +\d+ +\d+ +big refuses the credential of account "anna"/m);
    assert.match(text, /^big +ben +cooling +\d\d:\d\d:\d\d \(in 5 min\) +0 /m);
    assert.match(text, /^big +cleo +ready +- +1 /m);
    assert.match(text, /^small +work +challenged +- .*wants to see a human/m);
    assert.match(text, /^small +home +ready/m);
    go();
    assert.equal(checkStream(await stream.text()).content, 'slowly');
    assert.equal((await states())['big/cleo'].in_flight, 0);
  });

  for (const signal of ['SIGKILL', 'SIGTERM']) {
    it(`a restart in the middle (${signal}) changes nothing and asks nobody`, async () => {
      const pick = (all) => Object.fromEntries(Object.entries(all).map(([name, a]) => [name, [a.state, a.models.map((m) => m.model), a.requests_today]]));
      const times = (all) => Object.values(all).flatMap((a) => [a.until, ...a.models.map((m) => m.until)]).filter(Boolean);
      if (signal === 'SIGKILL') { // a new session is on disk before it is used, and takes the counters along that wait to be written
        sites.soph.anonymous.clear();
        await good('soph/DeepSeek-V3-Fast');
      }
      const before = await states();
      const n = Object.values(sites).map((s) => s.chatRequests().length), tokens = [sites.soph.logins, sites.zai.guestsMade];
      await restart(signal);
      const now = await states();
      assert.deepEqual(pick(now), pick(before));
      times(now).forEach((t, i) => assert.ok(Math.abs(t - times(before)[i]) <= 1, `${t}`));
      await show(`after a restart (${signal})`);
      assert.deepEqual(Object.values(sites).map((s) => s.chatRequests().length), n);
      const from = sites.big.asked().length;
      await good('big/m');
      assert.deepEqual(sites.big.asked(from), ['cleo']);
      await good('soph/DeepSeek-V3-Fast');
      await good('zai/glm-4.7');
      assert.deepEqual([sites.soph.logins, sites.zai.guestsMade], tokens);
    });
  }

  it('a session that the site ended is renewed once, and the new one outlives a kill', async () => {
    const made = [sites.soph.logins + 1, sites.zai.guestsMade + 1];
    sites.soph.anonymous.clear();
    sites.zai.tokens.clear();
    await good('soph/DeepSeek-V3-Fast');
    await good('zai/glm-4.7');
    assert.deepEqual([sites.soph.logins, sites.zai.guestsMade], made);
    await restart('SIGKILL');
    await good('soph/DeepSeek-V3-Fast');
    await good('zai/glm-4.7');
    assert.deepEqual([sites.soph.logins, sites.zai.guestsMade], made);
  });

  it('a guest\'s token is renewed before the end that it tells', async () => {
    sites.zai.lifeS = 61; // a minute before its end it counts as over
    sites.zai.tokens.clear();
    await good('zai/glm-4.7');
    const made = sites.zai.guestsMade;
    const first = sites.zai.chatRequests().at(-1).headers.authorization;
    for (const end = Date.now() + PATIENCE_MS; sites.zai.guestsMade === made && Date.now() < end;) {
      await states();
      await good('zai/glm-4.7');
    }
    assert.equal(sites.zai.guestsMade, made + 1);
    assert.notEqual(sites.zai.chatRequests().at(-1).headers.authorization, first);
    const {state, failures} = (await states())['zai/guest'];
    assert.deepEqual([state, failures], ['ready', 0]); // no request was refused for it
    sites.zai.lifeS = undefined;
  });

  it('check tells who is alive, asks nobody who rests, and brings the challenged one back', async () => {
    const n = sites.big.requests.length;
    const {stdout, code} = await run(['accounts', 'check', '-c', gateway.file], {timeout: 60000});
    assert.equal(code, 1); // ben rests
    pages.push(`# dragoman accounts check\n\n${stdout}`);
    assert.match(stdout, /^big\/ben +rests for \d+ s more/m);
    assert.match(stdout, /^big\/cleo +fine \(\d+ models\)$/m);
    assert.match(stdout, /^small\/work +fine/m);
    assert.ok(!sites.big.requests.slice(n).some((r) => sites.big.nameOf(r) === 'ben'));
    const all = await states();
    assert.equal(all['small/work'].state, 'ready');
    assert.equal(all['small/work'].models.length, 1); // its model rests on
  });

  it('clear ends a rest by hand', async () => {
    for (const name of ['big/ben', 'small/work', 'small/home']) {
      const {stdout} = await run(['accounts', 'clear', name, '-c', gateway.file]);
      assert.equal(stdout, `${name} is ready\n`);
    }
    await good('small/m');
    assert.equal(sites.small.asked().at(-1), 'work');
    await restart('SIGKILL'); // for good
    assert.deepEqual(Object.values(await states()).map((a) => [a.state, a.models.length]), Array(7).fill(['ready', 0]));
  });

  it('a key that is dead is reported, asked as the last resort, and good again when it is good', async () => {
    for (const name of THREE) sites.big.by[name].push(refused);
    assert.match(await fails('big/m', {status: 403, type: 'upstream_error', code: 'upstream_credential', noRetry: true}), /^big refuses the credential of account "\w+"/);
    assert.deepEqual(sites.big.asked().slice(-3), THREE);
    const all = await states();
    assert.deepEqual(THREE.map((name) => all[`big/${name}`].state), ['expired', 'expired', 'expired']);
    await good('any'); // the site takes one of them again: no other target is needed
    assert.equal((await states())['big/anna'].state, 'ready');
  });

  it('another key brings an account back, over a reload, without what the former one met', async () => {
    sites.big.keys.push(key('ben2'));
    sites.big.by.ben2 = [];
    await reload(() => (site('big').accounts[1].api_key = key('ben2')));
    const all = await states();
    assert.deepEqual([all['big/ben'].state, all['big/ben'].last_error, all['big/cleo'].state], ['ready', null, 'expired']);
  });

  it('every account and every target rests: one 429 that names who is first; then all goes on by itself', async () => {
    for (const name of ['anna', 'ben2', 'cleo']) sites.big.by[name].push(limited({'retry-after': '3'}));
    for (const name of TWO) sites.small.by[name].push(limited({'retry-after': '600'}));
    const message = await fails('any', RATE);
    assert.match(message, /; big is ready again in [123] s$/);
    const from = sites.big.asked().length;
    await fails('any', RATE);
    assert.equal(sites.big.asked().length, from);
    await show('everything rests');
    await ready('big/anna');
    await good('any');
    assert.equal(sites.big.asked().length, from + 1);
    await show('at the end');
  });
});
