// chat.qwen.ai with the openai SDK as the client and the real program between, through a stand-in that checks every request against
// the dossier; pictures go to a stand-in of the object storage under its own name.
import assert from 'node:assert/strict';
import {once} from 'node:events';
import {readFileSync, readdirSync} from 'node:fs';
import {join} from 'node:path';
import {afterEach, describe, it} from 'node:test';
import OpenAI from 'openai';
import {Proxy} from '../sites/proxy.mjs';
import {Qwen, STORAGE_HOST, Storage, challenge, jwt, refusal, say} from '../sites/qwen.mjs';
import {within} from '../sites/site.mjs';
import {Gateway, root, startGateway} from './lib/gateway.mjs';
import {chat, checkBrokenStream, checkError, checkStream, refused, user} from './lib/http.mjs';

const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
const picture = {type: 'image_url', image_url: {url: `data:image/png;base64,${PNG}`}};
const up = 'upstream_error';
const expired = {status: 403, type: up, code: 'upstream_credential', noRetry: true};

describe('qwen', {timeout: 180000}, () => {
  const running = [];
  afterEach(async () => {
    const sites = running.filter((t) => t instanceof Qwen || t instanceof Storage);
    for (const thing of running.splice(0).reverse()) await thing.stop();
    for (const site of sites) assert.deepEqual(site.violations, []);
  });
  const serve = async ({site: siteOptions = {}, accounts, options, ...more} = {}) => {
    const token = jwt('person');
    const site = await new Qwen({tokens: [token], ...siteOptions}).start();
    running.push(site);
    const gateway = await startGateway({sites: [{name: 'qwen', adapter: 'qwen', ...site.config({...(options ? {options} : {}), ...more}),
      accounts: accounts ?? [{name: 'me', token}]}]});
    running.push(gateway);
    return {site, gateway, token, client: new OpenAI({apiKey: 'any', baseURL: gateway.base, maxRetries: 0})};
  };
  const ask = (gateway, body = {}, options) => chat(gateway.base, {model: 'qwen/qwen3.6-plus', ...user('你好'), ...body}, options);
  const create = (client, body = {}) => client.chat.completions.create({model: 'qwen/qwen3.6-plus', ...user('你好'), ...body});

  it('streamed and whole, with reasoning and usage; each chat is deleted', async () => {
    const {site, client} = await serve();
    const deleted = once(site, 'deleted');
    let content = '', finishReason, usage;
    for await (const chunk of await create(client, {stream: true, stream_options: {include_usage: true}})) {
      content += chunk.choices[0]?.delta.content ?? '';
      finishReason = chunk.choices[0]?.finish_reason ?? finishReason;
      usage = chunk.usage ?? usage;
    }
    assert.deepEqual([content, finishReason, usage.prompt_tokens, usage.completion_tokens, usage.total_tokens], ['你好, world 🌍', 'stop', 11, 9, 20]);
    assert.equal(site.chatRequests()[0].json.messages[0].content, '你好');
    await within(5000, deleted, 'the deletion of the chat');
    site.next('reasoning');
    const again = once(site, 'deleted');
    const answer = await create(client, {reasoning_effort: 'high', thinking_budget: 4321});
    const {choices: [{message, finish_reason}]} = answer;
    assert.deepEqual([message.content, message.reasoning_content, finish_reason], ['The sum is 4.', 'First I add. Then I check.', 'stop']);
    assert.equal(answer.usage.completion_tokens_details.reasoning_tokens, 5);
    assert.equal(site.chatRequests()[1].json.messages[0].feature_config.thinking_budget, 4321);
    await within(5000, again, 'the second deletion');
    assert.ok([...site.chats.values()].every((c) => c.deleted));
  });

  it('lists models, those that the site tells', async () => {
    const {client, gateway} = await serve();
    await create(client);
    const ids = (await client.models.list()).data.map((m) => m.id);
    assert.ok(ids.some((i) => i.endsWith('qwen3.6-plus')), `${ids}`);
    assert.ok(!ids.some((i) => i.endsWith('film')));
    for (const model of ['qwen/qwen3.6-plus-thinking', 'qwen/Qwen3.6-Plus', 'qwen/some-new-model-search']) assert.equal((await ask(gateway, {model})).status, 200);
  });

  it('sources are annotations, once', async () => {
    const {site, client} = await serve();
    site.next('search');
    const {choices: [{message}]} = await create(client, {model: 'qwen/qwen3.6-plus-search'});
    assert.equal(message.content, 'Green tea.');
    assert.deepEqual(message.annotations.map((a) => [a.url_citation.url, a.url_citation.title]), [['https://tea.example/1', 'Cup 1'], ['https://tea.example/2', 'Cup 2']]);
    assert.equal(site.chatRequests()[0].json.messages[0].chat_type, 'search');
  });

  it('the whole history goes into one message', async () => {
    const {site, client} = await serve();
    await create(client, {messages: [{role: 'system', content: 'Be brief.'}, {role: 'user', content: 'a'}, {role: 'assistant', content: 'b'}, {role: 'user', content: 'c'}]});
    assert.equal(site.chatRequests()[0].json.messages[0].content, 'System: Be brief.\n\nUser: a\n\nAssistant: b\n\nUser: c\n\nAssistant:');
  });

  // ---- pictures ----

  it('pictures go to the storage first, to its own name, without our bearer', async () => {
    const token = jwt('person');
    const site = await new Qwen({tokens: [token], storage: true}).start();
    const storage = await new Storage(site).start();
    const ports = {get port() {
      return proxy.asked.at(-1).where.startsWith(STORAGE_HOST) ? storage.port : site.port;
    }};
    const proxy = await new Proxy('http', ports).start();
    running.push(site, storage, proxy);
    const gateway = await startGateway({sites: [{name: 'qwen', adapter: 'qwen', ...site.config({proxy: proxy.url('http')}), accounts: [{name: 'me', token}]}]});
    running.push(gateway);
    const answer = await ask(gateway, {messages: [{role: 'user', content: [{type: 'text', text: 'What is it?'}, picture, picture]}]});
    assert.equal(answer.status, 200, await answer.text());
    assert.deepEqual([...site.files.values()].map((f) => [f.mime, f.bytes.toString('base64')]), [['image/png', PNG], ['image/png', PNG]]);
    assert.equal(site.chatRequests()[0].json.messages[0].content, 'What is it?\n[image 1]\n[image 2]');
    assert.equal(storage.requests.length, 2);
    assert.ok(proxy.asked.some((a) => a.where === `${STORAGE_HOST}:443`));
    for (const r of storage.requests) assert.ok(!JSON.stringify(r.headers).includes(token));
  });

  it('pictures: the storage may be the site itself', async () => {
    const {site, gateway} = await serve();
    assert.equal((await ask(gateway, {messages: [{role: 'user', content: [picture]}]})).status, 200);
    assert.equal([...site.files.values()][0].bytes.toString('base64'), PNG);
  });

  it('pictures that cannot be sent are refused before any request', async () => {
    const {site, gateway} = await serve();
    const unsupported = {status: 400, type: 'invalid_request_error', code: 'unsupported_value', param: 'messages[0].content[0]'};
    await checkError(await ask(gateway, {model: 'qwen/qwen3.7-max', messages: [{role: 'user', content: [picture]}]}), unsupported);
    await checkError(await ask(gateway, {messages: [{role: 'user', content: [{type: 'image_url', image_url: {url: 'https://x.example/a.png'}}]}]}), unsupported);
    assert.equal(site.requests.filter((r) => r.path !== '/api/models').length, 0);
  });

  it('a storage that refuses, and a ticket for another place', async () => {
    const {site, gateway} = await serve();
    site.put = (r, res) => {
      res.writeHead(403, {'content-type': 'application/xml'});
      res.end('<Error><Code>SignatureDoesNotMatch</Code></Error>');
    };
    await checkError(await ask(gateway, {messages: [{role: 'user', content: [picture]}]}), {status: 502, type: up, code: 'upstream_protocol'});
    const ticket = site.ticket;
    site.ticket = function (r, res) {
      const json = this.json;
      this.json = (to, status, value) => json.call(this, to, status, {...value, data: {...value.data, file_url: 'https://evil.example/x'}});
      ticket.call(this, r, res);
      this.json = json;
    };
    await checkError(await ask(gateway, {messages: [{role: 'user', content: [picture]}]}), {status: 502, type: up, code: 'upstream_protocol'});
  });

  // ---- credentials ----

  it('a token near its end is renewed during the run, and the new one is used', async () => {
    const token = jwt('person', 100); // less than the two minutes that must be left
    const {site, client} = await serve({site: {tokens: [token]}, accounts: [{name: 'me', token}]});
    for (let i = 0; i < 3; i++) await create(client);
    assert.equal(site.refreshes, 1);
    assert.ok(!site.tokens.has(token));
  });

  it('tokens that live for less than two minutes are renewed before each request', async () => {
    const token = jwt('person', 100);
    const {site, client} = await serve({site: {tokens: [token], lifeS: 100}, accounts: [{name: 'me', token}]});
    for (let i = 0; i < 3; i++) await create(client);
    assert.equal(site.refreshes, 3);
  });

  it('many at once share one renewal', async () => {
    const token = jwt('person', 100);
    const {site, client} = await serve({site: {tokens: [token]}, accounts: [{name: 'me', token}], max_concurrent: 8});
    await Promise.all(Array.from({length: 8}, (_, i) => create(client, user(`n${i}`))));
    assert.equal(site.refreshes, 1);
  });

  it('a renewed token outlives a kill right after the renewal', async () => {
    const token = jwt('person', 100);
    const site = await new Qwen({tokens: [token]}).start();
    running.push(site);
    const config = {sites: [{name: 'qwen', adapter: 'qwen', ...site.config(), accounts: [{name: 'me', token}]}]};
    const first = await new Gateway(config).start();
    running.push({stop: async () => first.stop()});
    config.server = {data_dir: join(first.directory, 'data')};
    site.next(() => first.signal('SIGKILL')); // the token is being used: it must be on disk
    await assert.rejects(async () => (await ask(first)).text());
    await first.closed;
    first.child = null;
    const second = await new Gateway(config).start();
    running.push(second);
    assert.equal((await ask(second)).status, 200);
    assert.equal(site.refreshes, 1);
  });

  it('a password buys a token when there is none, when it ends and when it is refused; it is told to nobody', async () => {
    const password = 'correct horse battery';
    const {site, client, gateway} = await serve({site: {tokens: [], passwords: {'me@example.org': password}}, accounts: [{name: 'me', email: 'me@example.org', password, token: jwt('old', -1)}]});
    await create(client);
    await create(client);
    assert.equal(site.signIns, 1);
    site.tokens.clear(); // the site forgets it during the run
    assert.equal((await create(client)).choices[0].message.content, '你好, world 🌍');
    assert.equal(site.signIns, 2);
    assert.ok(!gateway.stderr.includes(password));
    for (const token of site.tokens) assert.ok(!gateway.stderr.includes(token));
  });

  it('a wrong password, an ended token and a refused one are an expired account', async () => {
    const wrong = await serve({site: {passwords: {'me@example.org': 'a'}}, accounts: [{name: 'me', email: 'me@example.org', password: 'bbbbbb'}]});
    await refused(await ask(wrong.gateway), expired);
    const over = await serve({accounts: [{name: 'me', token: jwt('person', -1)}]});
    await refused(await ask(over.gateway), expired);
    assert.equal(over.site.requests.length, 0);
    const unknown = await serve({site: {tokens: []}});
    await refused(await ask(unknown.gateway), expired);
    assert.ok(!unknown.gateway.stderr.includes(unknown.token));
    const good = jwt('two');
    const next = await serve({site: {tokens: [good]}, accounts: [{name: 'one', token: jwt('one')}, {name: 'two', token: good}]});
    assert.equal((await ask(next.gateway)).status, 200);
  });

  it('guests, and a cookie of the person\'s own browser', async () => {
    const guest = await serve({site: {guests: true, tokens: []}, accounts: [{name: 'g', guest: true}]});
    assert.equal((await ask(guest.gateway)).status, 200);
    assert.ok(guest.site.requests.every((r) => !r.headers.authorization && r.method !== 'DELETE'));
    await checkError(await ask(guest.gateway, {messages: [{role: 'user', content: [picture]}]}), {status: 400, type: 'invalid_request_error', code: 'unsupported_value'});
    const token = jwt('person'), cookie = `acw_tc=1; token=${token}`;
    const browser = await serve({site: {tokens: [token]}, accounts: [{name: 'me', cookie}]});
    assert.equal((await ask(browser.gateway)).status, 200);
    assert.equal(browser.site.chatRequests()[0].headers.cookie, cookie);
  });

  // ---- failures ----

  for (const [title, plan, expected] of [
    ['a bot check in JSON', {json: challenge}, {status: 403, type: up, code: 'upstream_challenge', noRetry: true}],
    ['a bot check in the stream', [challenge], {status: 403, type: up, code: 'upstream_challenge', noRetry: true}],
    ['a bot check page', {html: '<!doctypehtml><html>aliyun_waf</html>'}, {status: 403, type: up, code: 'upstream_challenge', noRetry: true}],
    ['the firewall', {status: 405, json: {}}, {status: 403, type: up, code: 'upstream_challenge', noRetry: true}],
    ['the limit of the day', {json: refusal({code: 'RateLimited', details: 'upper limit', num: 4})}, {status: 429, type: 'rate_limit_error', code: 'upstream_rate_limited', wait: [14390, 14400]}],
    ['too many requests', {status: 429, json: {}, headers: {'retry-after': '30'}}, {status: 429, type: 'rate_limit_error', code: 'upstream_rate_limited', wait: [25, 30]}],
    ['a quota', [{error: {code: 'quota_limit', message: 'x'}}], {status: 429, type: 'rate_limit_error', code: 'upstream_rate_limited', wait: [50, 60]}],
    ['too long a conversation', [{error: {code: 'Bad_Request', details: 'Range of input length should be [1, 9]'}}], {status: 400, type: 'invalid_request_error', code: 'context_length_exceeded'}],
    ['an unknown model', {json: refusal({code: 'Not_Found', details: 'Model not found'})}, {status: 400, type: 'invalid_request_error', code: 'upstream_bad_request', noRetry: true}],
    ['refused content', [{error: {code: 'data_inspection_failed', details: 'inappropriate content'}}], {status: 400, type: 'invalid_request_error', code: 'content_filter', noRetry: true}],
    ['a crowd', [{error: {message: 'overloaded'}}], {status: 503, type: up, code: 'upstream_overloaded'}],
    ['a failure', {status: 500, json: refusal({code: 'Internal_Error'})}, {status: 502, type: up, code: 'upstream_failed'}],
    ['an answer without text', 'empty', {status: 502, type: up, code: 'upstream_empty'}],
    ['an empty stream', [], {status: 502, type: up, code: 'upstream_empty'}],
    ['other JSON', {json: {hello: 'world'}}, {status: 502, type: up, code: 'upstream_protocol'}],
  ]) {
    it(`${title}: ${expected.code}`, async () => {
      for (const stream of [false, true]) {
        const {site, gateway} = await serve();
        site.next(...Array.from({length: 4}, () => plan));
        const error = await refused(await ask(gateway, {stream}), expected);
        assert.ok(!/被挤爆|aliyun/.test(error.message), error.message);
      }
    });
  }

  it('an account at its limit is relieved by the next', async () => {
    const tokens = [jwt('one'), jwt('two')];
    const {site, gateway} = await serve({site: {tokens}, accounts: tokens.map((token, i) => ({name: `n${i}`, token}))});
    site.next({json: refusal({code: 'RateLimited', num: 4})});
    assert.equal((await ask(gateway)).status, 200);
    assert.equal(new Set(site.chatRequests().map((r) => r.headers.authorization)).size, 2);
  });

  it('a failure after text is an error event; refused content after text is a finish', async () => {
    const {site, gateway} = await serve();
    for (const [plan, code] of [['lateError', 'upstream_failed'], ['cut', 'upstream_cut']]) {
      site.next(plan);
      const broken = checkBrokenStream(await (await ask(gateway, {stream: true})).text());
      assert.deepEqual([broken.content, broken.error.code], ['Half an answer', code]);
    }
    site.next([say('Well'), {error: {code: 'DataInspectionFailed'}}]);
    assert.equal(checkStream(await (await ask(gateway, {stream: true})).text()).finish, 'content_filter');
  });

  it('a client that leaves: the request ends, and the chat is deleted', async () => {
    const {site, gateway} = await serve();
    const deleted = once(site, 'deleted');
    const leave = new AbortController();
    let record;
    site.next(function (r, res) {
      record = r;
      this.sseHead(res);
      this.event(res, say('x'));
      leave.abort();
    });
    await ask(gateway, {stream: true}, {signal: leave.signal}).then((r) => r.text()).catch(() => {});
    await within(5000, record.aborted, 'the end at the site');
    await within(5000, deleted, 'the deletion');
    assert.equal((await ask(gateway)).status, 200);
  });

  it('delete_chat = false keeps chats', async () => {
    const {site, gateway} = await serve({options: {delete_chat: false}});
    await (await ask(gateway)).text();
    await gateway.stop();
    running.splice(running.indexOf(gateway), 1);
    assert.deepEqual([...site.chats.values()].map((c) => c.deleted), [false]);
  });

  it('the transcripts of the tree give the same through the whole program', async () => {
    const folder = join(root, 'test/transcripts/qwen');
    const {site, gateway} = await serve();
    for (const file of readdirSync(folder).filter((name) => name.endsWith('.sse') && !name.startsWith('older'))) {
      const expected = JSON.parse(readFileSync(join(folder, file.replace('.sse', '.expected.json')), 'utf8'));
      if (expected.error) continue;
      site.next(function (r, res) {
        this.sseHead(res);
        res.end(readFileSync(join(folder, file)));
      });
      const answer = checkStream(await (await ask(gateway, {stream: true})).text());
      assert.deepEqual([answer.content, answer.reasoning, answer.finish], [expected.content, expected.reasoning_content, expected.finish_reason], file);
      if (expected.citations) assert.deepEqual(answer.annotations.map((a) => a.url_citation.url), expected.citations, file);
    }
  });
});
