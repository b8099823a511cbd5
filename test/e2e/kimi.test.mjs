// Kimi through a stand-in that checks every request: tokens that end and rotate while it runs, pictures, search, clean-up; OpenAI's
// SDK is among the clients.
import assert from 'node:assert/strict';
import {once} from 'node:events';
import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {afterEach, describe, it} from 'node:test';
import OpenAI from 'openai';
import {Kimi, OlderKimi, done, heartbeat, say} from '../sites/kimi.mjs';
import {within} from '../sites/site.mjs';
import {Gateway, root, startGateway} from './lib/gateway.mjs';
import {chat, checkBrokenStream, checkError, checkStream, user} from './lib/http.mjs';

const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
const picture = {type: 'image_url', image_url: {url: `data:image/png;base64,${PNG}`}};
const up = 'upstream_error';

describe('kimi', {timeout: 240000}, () => {
  const running = [];
  const stop = async (thing) => {
    running.splice(running.indexOf(thing), 1);
    await thing.stop();
  };
  afterEach(async () => {
    const sites = running.filter((t) => t instanceof Kimi);
    for (const thing of running.splice(0).reverse()) await thing.stop();
    for (const site of sites) assert.deepEqual([...site.violations, ...site.auth.violations], []);
  });
  const configured = (site, {accounts = [{name: 'me', refresh_token: 'cpmt_0'}], options = {}, ...more} = {}) => ({
    sites: [{name: 'kimi', adapter: 'kimi', ...site.config({options: {auth_url: site.auth.origin, ...options}, ...more}), accounts}],
  });
  const serve = async ({site: siteOptions = {}, ...more} = {}) => {
    const site = await new Kimi(siteOptions).start();
    running.push(site);
    const gateway = await startGateway(configured(site, more));
    running.push(gateway);
    return {site, gateway};
  };
  const ask = (gateway, body = {}, options) => chat(gateway.base, {model: 'kimi-k2.6', ...user('你好'), ...body}, options);

  it('streamed and whole, through the SDK', async () => {
    const {site, gateway} = await serve();
    const client = new OpenAI({apiKey: 'any', baseURL: gateway.base, maxRetries: 0});
    let text = '', finish;
    for await (const chunk of await client.chat.completions.create({model: 'kimi/kimi-k2.6', ...user('你好'), stream: true})) {
      text += chunk.choices[0]?.delta.content ?? '';
      finish = chunk.choices[0]?.finish_reason ?? finish;
    }
    assert.deepEqual([text, finish], ['你好, world 🌍', 'stop']);
    site.next('reasoning');
    const whole = await client.chat.completions.create({model: 'kimi/kimi-k2.6-thinking', ...user('2+2?')});
    assert.deepEqual([whole.choices[0].message.content, whole.choices[0].message.reasoning_content], ['The sum is 4.', 'First I add. Then I check.']);
    assert.deepEqual(site.chatRequests().map((r) => r.json.options.thinking), [false, true]);
    site.next('search');
    const found = await client.chat.completions.create({model: 'kimi/kimi-k2.6-search', ...user('find')});
    assert.deepEqual(found.choices[0].message.annotations.map((a) => a.url_citation.url), [1, 2, 3].map((n) => `https://pages.example/${n}`));
    assert.equal(site.chatRequests().at(-1).json.tools.length, 1);
    assert.ok(whole.usage.total_tokens > 0); // counted here: the site tells none
    assert.equal(site.refreshes, 1);
  });

  it('the newer form of a request', async () => {
    const {site, gateway} = await serve();
    assert.equal((await ask(gateway, {model: 'kimi/SCENARIO_CHAT:k2d6-chat', reasoning_effort: 'low'})).status, 200);
    assert.equal((await ask(gateway, {model: 'kimi-k3'})).status, 200);
    assert.deepEqual(site.chatRequests().map((r) => r.json.options), [
      {thinking: true, enable_plugin: false, reasoning_effort: 'REASONING_EFFORT_LOW', model: 'k2d6-chat'},
      {thinking: true, enable_plugin: false, reasoning_effort: 'REASONING_EFFORT_MEDIUM', model: 'k3'}]);
  });

  it('a conversation becomes one message, and nothing is lost', async () => {
    const {site, gateway} = await serve();
    await (await ask(gateway, {messages: [{role: 'system', content: 'Be brief.'}, {role: 'user', content: 'a'}, {role: 'assistant', content: 'b'}, {role: 'user', content: 'c'}]})).text();
    assert.equal(site.chatRequests()[0].json.message.blocks[0].text.content, 'system:Be brief.\nuser:a\nassistant:b\nuser:c');
  });

  // ---- tokens ----

  it('tokens end and rotate while it runs, and each refresh token is used once', async () => {
    const {site, gateway} = await serve({site: {lifeS: 20}}); // worth nothing to the gateway after the turn that obtained it
    for (let i = 1; i <= 4; i++) {
      assert.equal((await ask(gateway, {stream: i % 2 === 0})).status, 200);
      assert.equal(site.refreshes, i);
    }
    const used = site.requests.filter((r) => r.path === '/api/auth/token/refresh').map((r) => site.bearer(r));
    assert.deepEqual(used, ['cpmt_0', 'cpmt_1', 'cpmt_2', 'cpmt_3']);
  });

  it('many at once share one refresh', async () => {
    const {site, gateway} = await serve({max_concurrent: 8});
    const answers = await Promise.all(Array.from({length: 8}, () => ask(gateway)));
    assert.deepEqual(answers.map((a) => a.status), Array(8).fill(200));
    assert.equal(site.refreshes, 1);
    assert.equal(site.devices.size <= 2, true); // one before the token told its own
  });

  it('an access token that the site takes back is replaced once, and the same bytes are sent again', async () => {
    const {site, gateway} = await serve();
    await (await ask(gateway)).text();
    site.access.clear();
    assert.equal((await ask(gateway)).status, 200);
    assert.equal(site.refreshes, 2);
    const [, refused, again] = site.chatRequests();
    assert.deepEqual(refused.body, again.body);
    site.next({end: {error: {code: 'unauthenticated', message: 'x'}}}); // inside the stream
    assert.equal((await ask(gateway)).status, 200);
    assert.equal(site.refreshes, 3);
    site.next(...Array(2).fill({status: 401, json: {code: 'unauthenticated', message: 'x'}})); // and no third time
    await checkError(await ask(gateway), {status: 403, type: up, code: 'upstream_credential', noRetry: true});
  });

  it('a rotated token survives kill -9 at the moment of its first use', async () => {
    const site = await new Kimi({lifeS: 20}).start();
    running.push(site);
    const first = await new Gateway(configured(site)).start();
    running.push(first);
    const data = `${first.directory}/data`;
    site.next(function () {
      first.signal('SIGKILL'); // the token before it is worth nothing now
    });
    await assert.rejects(async () => (await ask(first)).text());
    await first.closed;
    first.child = null;
    const again = await startGateway({server: {data_dir: data}, ...configured(site)});
    running.push(again);
    assert.equal((await ask(again)).status, 200);
    assert.deepEqual(site.requests.filter((r) => r.path === '/api/auth/token/refresh').map((r) => site.bearer(r)), ['cpmt_0', 'cpmt_1']);
    await stop(again);
  });

  it('where the older refresh is gone, the other server is asked', async () => {
    const {site, gateway} = await serve({site: {v1: 404}, accounts: [{name: 'me', refresh_token: 'cpmt_0', cookie: 'seen=1'}]});
    assert.equal((await ask(gateway)).status, 200);
    assert.deepEqual([site.refreshes, site.auth.requests.length], [1, 1]);
    assert.equal(site.chatRequests()[0].headers.cookie, 'seen=1');
    const {site: other, gateway: second} = await serve({options: {refresh: 'v2'}});
    assert.equal((await ask(second)).status, 200);
    assert.equal(other.requests.some((r) => r.path === '/api/auth/token/refresh'), false);
  });

  it('a refresh token that is no good: 403, and no secret is told', async () => {
    const {site, gateway} = await serve({accounts: [{name: 'me', refresh_token: 'cpmt_stolen_secret'}]});
    const {error} = await checkError(await ask(gateway), {status: 403, type: up, code: 'upstream_credential', noRetry: true});
    assert.match(error.message, /refresh_token/);
    assert.ok(!(error.message + gateway.stderr).includes('cpmt_stolen_secret'));
    assert.equal(site.chatRequests().length, 0);
  });

  it('an access token alone serves while it lasts', async () => {
    const site = await new Kimi().start();
    running.push(site);
    const accounts = [{name: 'me', token: site.grant()}];
    const gateway = await startGateway(configured(site, {accounts}));
    running.push(gateway);
    assert.equal((await ask(gateway)).status, 200);
    site.access.clear();
    await checkError(await ask(gateway), {status: 403, type: up, code: 'upstream_credential', noRetry: true});
    assert.equal(site.refreshes, 0);
  });

  it('another account takes over', async () => {
    const {site, gateway} = await serve({site: {refreshTokens: ['cpmt_0', 'cpmt_b']}, accounts: [{name: 'a', refresh_token: 'cpmt_0'}, {name: 'b', refresh_token: 'cpmt_b'}]});
    site.next({status: 429, json: {code: 'resource_exhausted', message: 'slow'}});
    assert.equal((await ask(gateway)).status, 200);
    assert.equal(site.chatRequests().length, 2);
  });

  // ---- pictures ----

  it('pictures are uploaded, waited for, and shown', async () => {
    const {site, gateway} = await serve();
    site.slowFiles = 2;
    const content = [{type: 'text', text: 'What is it?'}, picture];
    const began = Date.now();
    assert.equal((await ask(gateway, {messages: [{role: 'user', content}]})).status, 200);
    assert.ok(Date.now() - began >= 900, 'it did not wait between two questions');
    const [file] = site.files.values();
    assert.deepEqual([file.polls, file.read, file.bytes.equals(Buffer.from(PNG, 'base64'))], [2, true, true]);
    assert.equal(site.chatRequests()[0].json.message.blocks.length, 2);
  });

  it('a client that leaves while a picture is read ends the questions', async () => {
    const {site, gateway} = await serve();
    site.slowFiles = 1000;
    const leave = new AbortController();
    const answer = ask(gateway, {messages: [{role: 'user', content: [picture]}]}, {signal: leave.signal}).catch(() => {});
    await within(10000, site.request((r) => r.path.endsWith('GetFileParseProgress')), 'the first question');
    leave.abort();
    await answer;
    await gateway.logged(/end=cancelled/);
    const asked = site.requests.length;
    site.slowFiles = 0;
    assert.equal((await ask(gateway)).status, 200); // max_concurrent is 2, and nothing hangs
    assert.equal(site.requests.length, asked + 1);
  });

  it('a picture that the site cannot read, and one that is a link', async () => {
    const {site, gateway} = await serve();
    site.slowFiles = 1;
    site.brokenFiles = true;
    await checkError(await ask(gateway, {messages: [{role: 'user', content: [picture]}]}), {status: 400, type: 'invalid_request_error', code: 'upstream_bad_request', param: 'messages[0].content[0]', noRetry: true});
    await checkError(await ask(gateway, {messages: [{role: 'user', content: [{type: 'image_url', image_url: {url: 'https://x.example/a.png'}}]}]}), {status: 400, type: 'invalid_request_error', code: 'unsupported_value'});
  });

  // ---- failures ----

  const rows = [
    [{status: 200, html: '<!doctype html><title>check</title>'}, {status: 403, type: up, code: 'upstream_challenge', noRetry: true}],
    [{status: 403, html: '<html>blocked</html>'}, {status: 403, type: up, code: 'upstream_challenge', noRetry: true}],
    [{status: 403, json: {code: 'permission_denied', message: 'no'}}, {status: 403, type: up, code: 'upstream_credential', noRetry: true}],
    [{status: 429, json: {message: 'slow down'}, headers: {'retry-after': '21'}}, {status: 429, type: 'rate_limit_error', code: 'upstream_rate_limited', retryAfter: 21}],
    [{end: {error: {code: 'resource_exhausted'}}}, {status: 429, type: 'rate_limit_error', code: 'upstream_rate_limited', retryAfter: 60}],
    ['crowded', {status: 503, type: up, code: 'upstream_overloaded'}],
    ['filter', {status: 400, type: 'invalid_request_error', code: 'content_filter', noRetry: true}],
    [{end: {error: {code: 'failed_precondition', message: 'subscription required'}}}, {status: 400, type: 'invalid_request_error', code: 'upstream_bad_request', noRetry: true}],
    [{end: {error: {code: 'invalid_argument', message: 'the content is too long'}}}, {status: 400, type: 'invalid_request_error', code: 'context_length_exceeded'}],
    [{end: {error: {code: 'internal', message: 'x'}}}, {status: 502, type: up, code: 'upstream_failed'}],
    [{status: 200, json: {hello: 1}}, {status: 502, type: up, code: 'upstream_protocol'}],
    ['nothing', {status: 502, type: up, code: 'upstream_empty'}],
    [{end: {}}, {status: 502, type: up, code: 'upstream_empty'}],
    [function (r, res) {
      this.streamHead(res);
      res.end(Buffer.from([0, 0, 0, 0, 9, 0x7b]));
    }, {status: 502, type: up, code: 'upstream_cut'}],
    [function (r, res) {
      this.streamHead(res);
      res.end(Buffer.from([0, 0xff, 0xff, 0xff, 0xff, 0x7b]));
    }, {status: 502, type: up, code: 'upstream_protocol'}],
  ];
  it('every failure is told as what it is', async () => {
    const site = await new Kimi({rotates: false}).start();
    running.push(site);
    for (const [plan, row] of rows) {
      const gateway = await startGateway(configured(site));
      running.push(gateway);
      site.plans = [plan, plan, plan];
      await checkError(await ask(gateway, {stream: true}), row).catch((e) => {
        throw new Error(`${JSON.stringify(plan)}: ${e.message}`);
      });
      await stop(gateway);
    }
    site.plans = [];
  });

  it('a failure after text is an event at the end', async () => {
    const {site, gateway} = await serve();
    site.next('lateError');
    const {content, error} = checkBrokenStream(await (await ask(gateway, {stream: true})).text());
    assert.deepEqual([content, error.code], ['Half an answer', 'upstream_failed']);
  });

  // ---- what we leave behind ----

  it('the chat is deleted afterwards, also when it failed or the client has left', async () => {
    const {site, gateway} = await serve();
    let deleted = once(site, 'deleted');
    await (await ask(gateway, {stream: true})).text();
    await within(5000, deleted, 'the removal');
    deleted = once(site, 'deleted');
    site.next('crowded');
    await (await ask(gateway)).text();
    await within(5000, deleted, 'the removal after a failure');
    deleted = once(site, 'deleted');
    const leave = new AbortController();
    site.next(function (r, res, text) {
      this.streamHead(res);
      this.preamble(res, text);
      this.send(res, say('x', {op: 'set'}));
    });
    const answer = await ask(gateway, {stream: true}, {signal: leave.signal});
    const reader = answer.body.getReader();
    let seen = '';
    while (!seen.includes('"x"')) seen += Buffer.from((await reader.read()).value).toString();
    leave.abort();
    await within(5000, deleted, 'the removal after the client left');
    assert.ok([...site.chats.values()].every((c) => c.deleted));
  });

  it('delete_chat = false leaves it', async () => {
    const {site, gateway} = await serve({options: {delete_chat: false}});
    await (await ask(gateway)).text();
    await gateway.stop();
    running.splice(running.indexOf(gateway), 1);
    assert.equal(site.requests.some((r) => r.path.endsWith('DeleteChat')), false);
  });

  // ---- the rest ----

  it('text goes out as it comes, however the envelopes are cut', async () => {
    const {site, gateway} = await serve();
    const folder = join(root, 'test/transcripts/kimi');
    for (const [n, name] of ['plain', 'thinking', 'search'].entries()) {
      const bytes = readFileSync(join(folder, `${name}.bin`)), expected = JSON.parse(readFileSync(join(folder, `${name}.expected.json`), 'utf8'));
      site.next(async function (r, res) {
        this.chats.set('19b7aa00-1111-8222-8000-0a0000000001', {deleted: false});
        this.streamHead(res);
        for (let at = 0; at < bytes.length; at += 37) {
          res.write(bytes.subarray(at, at + 37));
          await new Promise(setImmediate);
        }
        res.end();
      });
      const answer = checkStream(await (await ask(gateway, {stream: true})).text());
      assert.deepEqual([answer.content, answer.reasoning ?? '', answer.finish], [expected.content, expected.reasoning_content, expected.finish_reason], name);
      assert.deepEqual((answer.annotations ?? []).map((a) => a.url_citation.url), expected.citations ?? []);
      await within(5000, site.request((r) => r.path.endsWith('DeleteChat'), n), 'the removal');
    }
  });

  it('heartbeats keep an answer alive', async () => {
    const {site, gateway} = await serve({idle_timeout: '1s'});
    site.next(async function (r, res, text) {
      this.streamHead(res);
      this.preamble(res, text);
      for (let i = 0; i < 4; i++) {
        await new Promise((resolve) => setTimeout(resolve, 500)); // longer than idle_timeout together
        this.send(res, heartbeat);
      }
      this.send(res, say('Here.', {op: 'set'}));
      this.send(res, done);
      res.end();
    });
    const answer = checkStream(await (await ask(gateway, {stream: true})).text());
    assert.equal(answer.content, 'Here.');
  });

  it('the older form: tokens, pictures, a chat, its removal', async () => {
    const site = await new OlderKimi().start();
    running.push(site);
    const gateway = await startGateway(configured(site, {options: {api: 'rest'}}));
    running.push(gateway);
    const deleted = once(site, 'deleted');
    const content = [{type: 'text', text: 'What is it?'}, picture];
    const answer = checkStream(await (await ask(gateway, {model: 'kimi/kimi-search', stream: true, messages: [{role: 'user', content}]})).text());
    assert.deepEqual([answer.content, answer.finish, answer.annotations.map((a) => a.url_citation.url)], ['大江东去', 'stop', ['https://pages.example/1']]);
    assert.ok(site.puts[0].equals(Buffer.from(PNG, 'base64')));
    assert.deepEqual([site.chatRequests()[0].json.refs, site.chatRequests()[0].json.use_search], [['f2'], true]);
    await within(5000, deleted, 'the removal');
    site.access.clear(); // a token that is taken back
    assert.equal((await ask(gateway, {model: 'kimi/kimi'})).status, 200);
    assert.equal(site.refreshes, 2);
    assert.ok(!gateway.stderr.includes('sign=secret'));
  });

  it('models of the live list', async () => {
    const {site, gateway} = await serve();
    await (await ask(gateway)).text(); // now there is an access token to ask with
    await gateway.stop();
    running.splice(running.indexOf(gateway), 1);
    const accounts = [{name: 'me', token: site.grant()}];
    const again = await startGateway(configured(site, {accounts}));
    running.push(again);
    await (await fetch(`${again.base}/models`)).json();
    await within(10000, site.request((r) => r.path.endsWith('GetAvailableModels')), 'the list');
    for (let tries = 0; tries < 100; tries++) {
      const ids = (await (await fetch(`${again.base}/models`)).json()).data.map((m) => m.id);
      if (ids.some((id) => id.endsWith('kimi-k4'))) break;
      assert.ok(tries < 99, ids.join(' '));
    }
    assert.equal((await ask(again, {model: 'kimi/kimi-k4-search-thinking'})).status, 200);
    assert.equal((await ask(again, {model: 'kimi/kimi-k4-agent-swarm'})).status, 200);
    const [, next, swarm] = site.chatRequests().map((r) => r.json);
    assert.deepEqual([next.scenario, next.options.thinking, next.tools.length], ['SCENARIO_NEXT', true, 1]);
    assert.deepEqual([swarm.scenario, swarm.kimiplusId, swarm.agentMode], ['SCENARIO_OK_COMPUTER', 'swarm', 'TYPE_ULTRA']);
    await checkError(await ask(again, {model: 'kimi/kimi-k99'}), {status: 400, type: 'invalid_request_error', code: 'upstream_bad_request', param: 'model', noRetry: true});
  });
});
