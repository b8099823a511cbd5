// Accounts through the real program: pace, turns, conversations, queues.
import assert from 'node:assert/strict';
import {afterEach, describe, it} from 'node:test';
import {OpenAiSite} from '../sites/openai.mjs';
import {startGateway} from './lib/gateway.mjs';
import {chat, checkError, checkStream, user} from './lib/http.mjs';

const running = [];
afterEach(async () => {
  for (const thing of running.splice(0).reverse()) await thing.stop();
});

/** A site with these accounts (name: weight), and a gateway before it. */
async function serve(accounts, more = {}, {keys = []} = {}) {
  const site = await new OpenAiSite({keys: Object.keys(accounts).map((name) => `sk-${name}`)}).start();
  running.push(site);
  const gateway = await startGateway({keys, sites: [{name: 's', adapter: 'openai', ...site.config(more),
    accounts: Object.entries(accounts).map(([name, weight]) => ({name, api_key: `sk-${name}`, weight}))}]});
  running.push(gateway);
  const who = () => site.chatRequests().map((r) => r.headers.authorization.slice(10)).join('');
  return {site, gateway, who, ask: (text, body, options) => chat(gateway.base, {model: 's/m', ...user(text), ...body}, options)};
}
/** The site's answers wait until they are let go, in the order of the requests. */
function hold(site, n) {
  const held = [];
  for (let i = 0; i < n; i++) site.plans.push(function (r, res) {
    held.push(() => this.json(res, 200, {id: 'x', object: 'chat.completion', created: 1, model: 'm', choices: [{index: 0, message: {role: 'assistant', content: r.json.messages[0].content}, finish_reason: 'stop'}]}));
    site.emit?.('held');
  });
  return held;
}
const until = async (condition, what) => {
  for (let i = 0; i < 400 && !condition(); i++) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.ok(condition(), what);
};

describe('accounts', () => {
  it('take turns by weight', async () => {
    const {who, ask} = await serve({a: 2, b: 1});
    for (let i = 0; i < 6; i++) await (await ask(`question ${i}`)).text();
    assert.equal(who(), 'abaaba');
  });

  it('fill_first asks the first, and the next when it is at work', async () => {
    const {site, who, ask} = await serve({a: 1, b: 1}, {strategy: 'fill_first', max_concurrent: 1});
    await (await ask('one')).text();
    const held = hold(site, 2);
    const both = [ask('two'), ask('three')];
    await until(() => held.length === 2, 'two requests at the site');
    held.forEach((go) => go());
    await Promise.all(both.map(async (r) => (await r).text()));
    assert.equal(who(), 'aab');
  });

  it('a conversation returns to its account', async () => {
    const {who, ask} = await serve({a: 1, b: 1, c: 1});
    await (await ask('my first words')).text();
    for (let i = 0; i < 4; i++) {
      await (await ask(`somebody else ${i}`)).text();
      await (await ask('my first words', {messages: [{role: 'user', content: 'my first words'}, {role: 'assistant', content: 'x'}, {role: 'user', content: `turn ${i}`}]})).text();
    }
    const mine = [...who()].filter((_, i) => i % 2 === 0);
    assert.deepEqual(mine, Array(5).fill('a'));
  });

  it('min_gap is kept, in the order of arrival', async () => {
    const {site, ask} = await serve({a: 1}, {min_gap: '300ms'});
    const begun = Date.now();
    const answers = await Promise.all(['one', 'two', 'three', 'four'].map(async (text, i) => {
      await new Promise((resolve) => setTimeout(resolve, i * 20));
      return (await (await ask(text)).json()).choices[0].message.content;
    }));
    assert.deepEqual(answers, ['one', 'two', 'three', 'four']);
    assert.deepEqual(site.chatRequests().map((r) => r.json.messages[0].content), ['one', 'two', 'three', 'four']);
    assert.ok(Date.now() - begun >= 890, `${Date.now() - begun} ms for four requests 300 ms apart`);
  });

  it('per_hour is kept: the next one waits, and is told 503 when that takes too long', async () => {
    const {site, ask} = await serve({a: 1, b: 1}, {per_hour: 1, queue_timeout: '200ms'});
    await (await ask('one')).text();
    await (await ask('two')).text();
    const response = await ask('three');
    assert.ok(Number(response.headers.get('retry-after')) > 0);
    await checkError(response, {status: 503, type: 'server_error', code: 'overloaded'});
    assert.equal(site.chatRequests().length, 2);
  });

  it('a limit for one model leaves the others alone', async () => {
    const {site, ask} = await serve({a: 1}, {limits: 'model'});
    site.plans.push({status: 429, json: {error: {message: 'slow down'}}, headers: {'retry-after': '60'}});
    await checkError(await ask('x', {model: 's/big'}), {status: 429, type: 'rate_limit_error', code: 'upstream_rate_limited'});
    await checkError(await ask('x', {model: 's/big'}), {status: 429, type: 'rate_limit_error', code: 'upstream_rate_limited'});
    assert.equal((await ask('x', {model: 's/small'})).status, 200);
    assert.equal(site.chatRequests().length, 2); // the second one was not sent
  });

  it('a full queue is 503 at once', async () => {
    const {site, ask} = await serve({a: 1}, {max_concurrent: 1, queue_max: 2});
    const held = hold(site, 3);
    const first = [ask('1'), ask('2'), ask('3')];
    await until(() => held.length === 1, 'one request at the site');
    await checkError(await ask('4'), {status: 503, type: 'server_error', code: 'overloaded'});
    for (let i = 0; i < 3; i++) {
      await until(() => held.length > i, 'the next request');
      held[i]();
    }
    const texts = await Promise.all(first.map(async (r) => (await (await r).json()).choices[0].message.content));
    assert.deepEqual(texts, ['1', '2', '3']);
  });

  it('keys take turns: a batch does not hold up a chat', async () => {
    const keys = ['batch', 'chat'].map((name) => ({name, key: `sk-client-${name}`}));
    const {site, gateway, ask} = await serve({a: 1}, {max_concurrent: 1}, {keys});
    const as = (name, text) => ask(text, {}, {headers: {authorization: `Bearer sk-client-${name}`}}).then((r) => r.text());
    const held = hold(site, 8);
    const all = [];
    for (let i = 0; i < 6; i++) all.push(as('batch', `batch ${i}`));
    await until(() => held.length === 1, 'the first request');
    const health = async () => (await (await fetch(`${gateway.origin}/health`)).json()).active;
    for (let i = 0; i < 400 && (await health()) < 6; i++);
    all.push(as('chat', 'chat 0'), as('chat', 'chat 1'));
    for (let i = 0; i < 400 && (await health()) < 8; i++);
    for (let i = 0; i < 8; i++) {
      await until(() => held.length > i, 'the next request');
      held[i]();
    }
    await Promise.all(all);
    const order = site.chatRequests().map((r) => r.json.messages[0].content[0]).join('');
    assert.match(order, /^bb?cbcbbb?b?$/, order);
  });

  it('a stream that waits is told its place', {timeout: 40000}, async () => {
    const {site, ask} = await serve({a: 1}, {max_concurrent: 1});
    const held = hold(site, 1);
    const first = ask('first');
    await until(() => held.length === 1, 'the first request');
    const second = ask('second', {stream: true}), response = await second;
    const reader = response.body.getReader();
    let text = Buffer.from((await reader.read()).value).toString();
    assert.equal(text, ': queued 1\n\n');
    held[0]();
    await (await first).text();
    for (let piece; !(piece = await reader.read()).done;) text += Buffer.from(piece.value);
    assert.equal(checkStream(text).content, 'second');
  });
});
