// Z.ai in both of its forms, through a stand-in that checks every request against the dossier.
import assert from 'node:assert/strict';
import {once} from 'node:events';
import {existsSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import {afterEach, describe, it} from 'node:test';
import {within} from '../sites/site.mjs';
import {SIGNING_KEY, Zai, done, jwt, say, usage} from '../sites/zai.mjs';
import {root, startGateway} from './lib/gateway.mjs';
import {chat, checkBrokenStream, checkError, checkStream, user} from './lib/http.mjs';

const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
const picture = {type: 'image_url', image_url: {url: `data:image/png;base64,${PNG}`}};
const up = 'upstream_error';

describe('zai', () => {
  const running = [];
  afterEach(async () => {
    const sites = running.filter((t) => t instanceof Zai);
    for (const thing of running.splice(0).reverse()) await thing.stop();
    for (const site of sites) assert.deepEqual(site.violations, []);
  });
  const serve = async ({site: siteOptions = {}, accounts = [{name: 'me', token: jwt('person')}], options, ...more} = {}) => {
    const site = await new Zai(siteOptions).start();
    running.push(site);
    const gateway = await startGateway({sites: [{name: 'zai', adapter: 'zai', ...site.config({...(options ? {options} : {}), ...more}), accounts}]});
    running.push(gateway);
    return {site, gateway};
  };
  const v2 = (more = {}) => serve({site: {signingKey: SIGNING_KEY}, options: {signing_key: SIGNING_KEY}, ...more});
  const ask = (gateway, body = {}, options) => chat(gateway.base, {model: 'glm-4.6', ...user('你好'), ...body}, options);

  for (const [form, start] of [['v1', serve], ['v2', v2]]) {
    it(`${form}: streamed`, async () => {
      const {site, gateway} = await start();
      const answer = checkStream(await (await ask(gateway, {stream: true, stream_options: {include_usage: true}})).text(), {usage: true});
      assert.deepEqual(site.violations, []);
      assert.deepEqual([answer.content, answer.finish, answer.usage], ['你好, world 🌍', 'stop', {prompt_tokens: 11, completion_tokens: 9, total_tokens: 20, dragoman_source: 'upstream'}]);
      assert.equal(site.chatRequests()[0].json.model, 'GLM-4-6-API-V1');
      assert.equal(site.chatRequests()[0].path, form === 'v1' ? '/api/chat/completions' : '/api/v2/chat/completions');
    });

    it(`${form}: whole, with reasoning`, async () => {
      const {site, gateway} = await start();
      site.next('reasoning');
      const answer = await (await ask(gateway, {reasoning_effort: 'high'})).json();
      assert.deepEqual(site.violations, []);
      const {message, finish_reason} = answer.choices[0];
      assert.deepEqual([message.content, message.reasoning_content, finish_reason], ['The sum is 4.', 'First I add. Then I check.', 'stop']);
      assert.equal(site.chatRequests()[0].json.features.enable_thinking, true);
    });

    it(`${form}: a guest's token is fetched once, kept, and replaced after 401`, async () => {
      const {site, gateway} = await start({accounts: [{name: 'g', guest: true}]});
      await (await ask(gateway)).text();
      await (await ask(gateway)).text();
      assert.equal(site.guestsMade, 1);
      site.tokens.clear();
      assert.equal((await ask(gateway)).status, 200);
      assert.equal(site.guestsMade, 2);
    });

    it(`${form}: pictures are uploaded first`, async () => {
      const {site, gateway} = await start();
      const answer = await ask(gateway, {model: 'glm-4.5v', messages: [{role: 'user', content: [{type: 'text', text: 'What is it?'}, picture]}]});
      assert.equal(answer.status, 200, await answer.text());
      assert.equal(site.files.size, 1);
      assert.equal([...site.files.values()][0].meta.size, Buffer.from(PNG, 'base64').length);
    });

    it(`${form}: a guest with a picture is refused before any request`, async () => {
      const {site, gateway} = await start({accounts: [{name: 'g', guest: true}]});
      await checkError(await ask(gateway, {model: 'glm-4.5v', messages: [{role: 'user', content: [picture]}]}), {status: 400, type: 'invalid_request_error', code: 'unsupported_value'});
      assert.equal(site.chatRequests().length, 0);
    });

    it(`${form}: the client leaves, the site's request ends, the account is free`, async () => {
      const {site, gateway} = await start();
      let record;
      const begun = new Promise((resolve) => {
        site.next(function (r, res) {
          record = r;
          this.sseHead(res);
          this.event(res, say('begun'));
          resolve();
        });
      });
      const leave = new AbortController();
      const answer = ask(gateway, {stream: true}, {signal: leave.signal}).then((r) => r.text()).catch(() => {});
      await within(5000, begun, 'the request at the site');
      const left = Date.now();
      leave.abort();
      assert.ok(await within(2000, record.aborted, 'the end at the site') - left < 1000);
      await answer;
      assert.equal((await ask(gateway)).status, 200); // max_concurrent is 1: a kept lease would hang here
    });

    const rows = [
      ['captcha', {status: 403, type: up, code: 'upstream_challenge', noRetry: true}],
      [{status: 200, html: '<!doctype html><title>check</title>'}, {status: 403, type: up, code: 'upstream_challenge', noRetry: true}],
      [{status: 405, html: '<html>blocked</html>'}, {status: 403, type: up, code: 'upstream_challenge', noRetry: true}],
      [{status: 426, json: {detail: 'client version outdated'}}, {status: 403, type: up, code: 'upstream_challenge', noRetry: true}],
      [{status: 400, json: {detail: '403: Signature validation failed: x'}}, {status: 403, type: up, code: 'upstream_challenge', noRetry: true}],
      [{status: 429, json: {detail: 'slow down'}, headers: {'retry-after': '21'}}, {status: 429, type: 'rate_limit_error', code: 'upstream_rate_limited', retryAfter: 21}],
      ['concurrency', {status: 429, type: 'rate_limit_error', code: 'upstream_rate_limited', retryAfter: 60}],
      ['busy', {status: 503, type: up, code: 'upstream_overloaded', retryAfter: 30}],
      [{status: 400, json: {detail: 'bad field'}}, {status: 400, type: 'invalid_request_error', code: 'upstream_bad_request', noRetry: true}],
      ['internal', {status: 502, type: up, code: 'upstream_failed'}],
      ['empty', {status: 502, type: up, code: 'upstream_empty'}],
      [{status: 500, json: {detail: 'x'}}, {status: 502, type: up, code: 'upstream_failed'}],
    ];
    it(`${form}: every failure is told as what it is`, async () => {
      for (const [plan, row] of rows) {
        const {site, gateway} = await start();
        site.next(plan, plan, plan);
        await checkError(await ask(gateway, {stream: true}), row).catch((e) => {
          throw new Error(`${JSON.stringify(plan)}: ${e.message}`);
        });
        await gateway.stop();
        running.splice(running.indexOf(gateway), 1);
      }
    });

    it(`${form}: a failure after text is an event at the end`, async () => {
      const {site, gateway} = await start();
      site.next('lateError');
      const {content, error} = checkBrokenStream(await (await ask(gateway, {stream: true})).text());
      assert.deepEqual([content, error.code], ['Half an answer', 'upstream_failed']);
    });

    it(`${form}: an expired sign-in is 403, and no secret is told`, async () => {
      const token = jwt('somebody-else');
      const {gateway} = await start({accounts: [{name: 'me', token}]});
      const {error} = await checkError(await ask(gateway), {status: 403, type: up, code: 'upstream_credential', noRetry: true});
      assert.ok(!(error.message + gateway.stderr).includes(token));
      assert.ok(!gateway.stderr.includes(encodeURIComponent(token)));
    });
  }

  it('v1: keeps roles, and asks for thinking and search by suffix', async () => {
    const {site, gateway} = await serve();
    await (await ask(gateway, {model: 'glm-4.6-thinking-search', messages: [{role: 'developer', content: 'Be brief.'}, {role: 'user', content: 'a'},
      {role: 'assistant', content: 'b'}, {role: 'user', content: [{type: 'text', text: 'c'}, {type: 'text', text: 'd'}]}]})).text();
    const b = site.chatRequests()[0].json;
    assert.deepEqual(b.messages, [{role: 'system', content: 'Be brief.'}, {role: 'user', content: 'a'}, {role: 'assistant', content: 'b'}, {role: 'user', content: 'c\nd'}]);
    assert.deepEqual([b.features.enable_thinking, b.features.web_search, b.features.auto_web_search], [true, true, true]);
  });

  it('v2: flattens the history into one message, losing nothing', async () => {
    const {site, gateway} = await v2();
    await (await ask(gateway, {messages: [{role: 'system', content: 'Be brief.'}, {role: 'user', content: 'a'}, {role: 'assistant', content: 'b'}, {role: 'user', content: 'c'}]})).text();
    assert.equal(site.chatRequests()[0].json.messages[0].content.trim(), 'system: Be brief.\nuser: a\nassistant: b\nuser: c');
  });

  it('v2: the chat is deleted afterwards, also when the client has left', async () => {
    const {site, gateway} = await v2();
    const deleted = once(site, 'deleted');
    await (await ask(gateway, {stream: true})).text();
    await within(5000, deleted, 'DELETE of the chat');
    const again = once(site, 'deleted');
    const leave = new AbortController();
    site.next(function (r, res) {
      this.sseHead(res);
      this.event(res, say('x'));
      leave.abort();
    });
    await ask(gateway, {stream: true}, {signal: leave.signal}).then((r) => r.text()).catch(() => {});
    await within(5000, again, 'DELETE of the chat after the client left');
    assert.ok([...site.chats.values()].every((c) => c.deleted));
  });

  it('v2 without a key sends no signature', async () => {
    const {site, gateway} = await serve({options: {api: 'v2'}});
    assert.equal((await ask(gateway)).status, 200);
    assert.equal(site.chatRequests()[0].headers['x-signature'], undefined);
  });

  it('a person that is limited is relieved by the next account', async () => {
    const tokens = [jwt('one'), jwt('two')];
    const {site, gateway} = await serve({site: {tokens}, accounts: tokens.map((token, i) => ({name: `n${i}`, token}))});
    site.next({status: 429, json: {detail: 'slow down'}, headers: {'retry-after': '30'}});
    assert.equal((await ask(gateway)).status, 200);
    const users = site.chatRequests().map((r) => r.headers.authorization);
    assert.equal(new Set(users).size, 2);
  });

  it('the transcripts of the tree give the same through the whole program', async () => {
    const folder = join(root, 'test/transcripts/zai');
    const {site, gateway} = await serve();
    for (const name of ['plain', 'reasoning', 'search', 'v2-tools']) {
      const file = join(folder, `${name}.sse`);
      if (!existsSync(file)) continue;
      const expected = JSON.parse(readFileSync(join(folder, `${name}.expected.json`), 'utf8'));
      site.next(function (r, res) {
        this.sseHead(res);
        res.end(readFileSync(file));
      });
      const answer = checkStream(await (await ask(gateway, {stream: true})).text());
      if ('content' in expected) assert.equal(answer.content, expected.content, name);
      if (expected.reasoning_content) assert.equal(answer.reasoning, expected.reasoning_content, name);
    }
  });

  for (const [title, body] of [['streamed', {stream: true}], ['streamed with usage', {stream: true, stream_options: {include_usage: true}}], ['whole', {}]]) {
    it(`stop is heeded, though the site goes on: ${title}`, async () => {
      const {site, gateway} = await serve();
      let record;
      site.next(function (r, res) {
        record = r;
        this.sseHead(res);
        for (const piece of ['One, t', 'wo, th', 'r', 'ee, four']) this.event(res, say(piece)); // and it does not end
      });
      const response = await ask(gateway, {...body, stop: ['xyz', 'three']});
      const usage = body.stream_options !== undefined;
      const answer = body.stream ? checkStream(await response.text(), {usage}) : await response.json();
      const [content, finish] = body.stream ? [answer.content, answer.finish] : [answer.choices[0].message.content, answer.choices[0].finish_reason];
      assert.deepEqual([content, finish], ['One, two, ', 'stop']);
      if (usage || !body.stream) assert.deepEqual([answer.usage.completion_tokens, answer.usage.dragoman_source], [5, 'counted']);
      await within(2000, record.aborted, "the end of the site's answer");
      await gateway.logged(/end=complete.* tokens_out=5 tokens_out_source=counted/);
    });
  }

  it('log_bodies shows all four directions, and no token', async () => {
    const site = await new Zai({}).start();
    running.push(site);
    const gateway = await startGateway({server: {log_bodies: true}, sites: [{name: 'zai', adapter: 'zai', ...site.config(), accounts: [{name: 'g', guest: true}]}]});
    running.push(gateway);
    assert.equal((await ask(gateway, {stream: true})).status, 200);
    await gateway.logged(/end=complete/);
    for (const direction of ['from client', 'to site', 'from site', 'to client']) assert.match(gateway.stderr, new RegExp(`body id=req_\\w+ direction="${direction}".* text=.*你好`));
    assert.match(gateway.stderr, /direction="from site" bytes=\d+ text="\(not shown/);
    for (const token of site.tokens.keys()) assert.ok(!gateway.stderr.includes(token));
  });
});
