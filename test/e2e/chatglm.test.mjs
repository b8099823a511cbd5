// chatglm.cn with the openai SDK as the client and the real program between, through a stand-in that checks every request against
// the dossier.
import assert from 'node:assert/strict';
import {once} from 'node:events';
import {readFileSync, readdirSync} from 'node:fs';
import {join} from 'node:path';
import {afterEach, describe, it} from 'node:test';
import OpenAI from 'openai';
import {ChatGlm, SIGN_SECRET, answers, event, jwt, say, siteError} from '../sites/chatglm.mjs';
import {within} from '../sites/site.mjs';
import {Gateway, root, startGateway} from './lib/gateway.mjs';
import {chat, checkBrokenStream, checkStream, refused, user} from './lib/http.mjs';

const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
const picture = {type: 'image_url', image_url: {url: `data:image/png;base64,${PNG}`}};
const up = 'upstream_error';

describe('chatglm', {timeout: 180000}, () => {
  const running = [];
  afterEach(async () => {
    const sites = running.filter((t) => t instanceof ChatGlm);
    for (const thing of running.splice(0).reverse()) await thing.stop();
    for (const site of sites) assert.deepEqual(site.violations, []);
  });
  const serve = async ({site: siteOptions = {}, accounts, options = {sign_secret: SIGN_SECRET}, ...more} = {}) => {
    const refresh = jwt('refresh');
    const site = await new ChatGlm({refreshTokens: [refresh], ...siteOptions}).start();
    running.push(site);
    const gateway = await startGateway({sites: [{name: 'glm', adapter: 'chatglm', ...site.config({options, ...more}),
      accounts: accounts ?? [{name: 'me', refresh_token: refresh}]}]});
    running.push(gateway);
    const client = new OpenAI({apiKey: 'any', baseURL: gateway.base, maxRetries: 0});
    return {site, gateway, client, refresh};
  };
  const ask = (gateway, body = {}, options) => chat(gateway.base, {model: 'glm/glm-5.3', ...user('你好'), ...body}, options);
  const create = (client, body = {}) => client.chat.completions.create({model: 'glm/glm-5.3', ...user('你好'), ...body});

  it('streamed and whole, with reasoning; each conversation is deleted', async () => {
    const {site, client} = await serve();
    const deleted = once(site, 'deleted');
    let content = '', finishReason;
    for await (const chunk of await create(client, {stream: true})) {
      content += chunk.choices[0]?.delta.content ?? '';
      finishReason = chunk.choices[0]?.finish_reason ?? finishReason;
    }
    assert.deepEqual([content, finishReason], ['你好, world 🌍', 'stop']);
    await within(5000, deleted, 'the deletion of the conversation');
    site.next('reasoning');
    const again = once(site, 'deleted');
    const {choices: [{message, finish_reason}]} = await create(client, {reasoning_effort: 'high'});
    assert.deepEqual([message.content, message.reasoning_content, finish_reason], ['The sum is 4.', 'First I add. Then I check.', 'stop']);
    assert.deepEqual([site.chatRequests()[1].json.meta_data.chat_mode, site.refreshes], ['thinking', 1]);
    await within(5000, again, 'the second deletion');
    assert.ok([...site.conversations.values()].every((c) => c.deleted));
    assert.equal(site.stopped.length, 0);
  });

  it('lists models, those that the site adds too', async () => {
    const {client, gateway} = await serve();
    await create(client);
    const ids = (await client.models.list()).data.map((m) => m.id);
    for (const id of ['glm-5.3-flash', 'glm-5.3', 'glm-4-plus', 'glm-4-deepresearch']) assert.ok(ids.some((i) => i === id || i === `glm/${id}`), `${id} in ${ids}`);
    assert.equal((await ask(gateway, {model: 'glm/65a232c082ff90a2ad2f15e2'})).status, 200);
    assert.equal((await ask(gateway, {model: 'glm/glm-4-plus-thinking'})).status, 200);
    assert.equal((await ask(gateway, {model: 'glm/some-new-model-search'})).status, 200);
  });

  it('citations are links in the text and annotations once', async () => {
    const {site, client} = await serve();
    site.next('search');
    const {choices: [{message}]} = await create(client, {model: 'glm/glm-5.3-search'});
    assert.equal(message.content, 'Green [1](https://tea.example/2) tea.');
    assert.deepEqual(message.annotations.map((a) => [a.type, a.url_citation.url, a.url_citation.title]), [['url_citation', 'https://tea.example/2', 'Cup']]);
    assert.equal(site.chatRequests()[0].json.meta_data.is_networking, true);
  });

  it('drawings come as Markdown pictures', async () => {
    const {site, client} = await serve();
    site.next('drawing');
    assert.equal((await create(client)).choices[0].message.content, '![](https://pic.example/1.jpg)\n');
  });

  for (const olderUpload of [false, true]) {
    it(`pictures and documents are uploaded first${olderUpload ? ', in the older way where the newer is gone' : ''}`, async () => {
      const {site, client} = await serve({site: {olderUpload}});
      const document = {type: 'file', file: {filename: 'a.pdf', file_data: `data:application/pdf;base64,${Buffer.from('%PDF').toString('base64')}`}};
      await create(client, {messages: [{role: 'user', content: [{type: 'text', text: 'What is it?'}, picture, document]}]});
      assert.deepEqual([...site.files.values()].map((f) => [f.filename, f.type, f.bytes.length]), [['image-1.png', 'image/png', Buffer.from(PNG, 'base64').length], ['a.pdf', 'application/pdf', 4]]);
      assert.deepEqual(site.chatRequests()[0].json.messages[0].content.map((c) => c.type), ['text', 'image', 'file']);
    });
  }

  it('the whole history goes into one message', async () => {
    const {site, client} = await serve();
    await create(client, {messages: [{role: 'system', content: 'Be brief.'}, {role: 'user', content: 'a'}, {role: 'assistant', content: 'b'}, {role: 'user', content: 'c'}]});
    assert.equal(site.chatRequests()[0].json.messages[0].content[0].text, '<|system|>\nBe brief.\n<|user|>\na\n<|assistant|>\nb\n<|user|>\nc\n<|assistant|>\n');
  });

  // ---- credentials ----

  it('an access token that ends is renewed, and each refresh token is used once', async () => {
    const {site, client} = await serve({site: {lifeS: 100}}); // less than the two minutes that must be left
    for (let i = 0; i < 3; i++) await create(client);
    assert.deepEqual([site.refreshes, site.dead.size], [3, 3]);
  });

  it('an access token that the site forgets is renewed once, and the same request goes out again', async () => {
    const {site, client} = await serve();
    await create(client);
    site.access.clear();
    assert.equal((await create(client)).choices[0].message.content, '你好, world 🌍');
    assert.equal(site.refreshes, 2);
  });

  it('many at once share one refresh', async () => {
    const {site, client} = await serve({max_concurrent: 8});
    await Promise.all(Array.from({length: 8}, async (_, i) => {
      const sole = () => [...site.conversations.values()].forEach((c) => (c.running = false));
      sole();
      await create(client, user(`n${i}`));
    }));
    assert.equal(site.refreshes, 1);
  });

  it('rotated tokens outlive a restart, and a kill right after the refresh', async () => {
    const refresh = jwt('refresh');
    const site = await new ChatGlm({refreshTokens: [refresh]}).start();
    running.push(site);
    const config = {sites: [{name: 'glm', adapter: 'chatglm', ...site.config({options: {sign_secret: SIGN_SECRET}}), accounts: [{name: 'me', refresh_token: refresh}]}]};
    const first = await new Gateway(config).start();
    running.push({stop: async () => first.stop()});
    config.server = {data_dir: join(first.directory, 'data')};
    site.next(() => first.signal('SIGKILL')); // the token is being used: it must be on disk
    await assert.rejects(async () => (await ask(first)).text());
    await first.closed;
    first.child = null;
    const second = await new Gateway(config).start();
    running.push(second);
    for (const c of site.conversations.values()) c.running = false;
    assert.equal((await ask(second)).status, 200);
    assert.equal(site.refreshes, 1);
    site.access.clear();
    assert.equal((await ask(second)).status, 200); // with the rotated one
    assert.equal(site.refreshes, 2);
  });

  it('a refresh token that is refused makes the account expired, and the next one answers', async () => {
    const good = jwt('refresh');
    const {gateway} = await serve({site: {refreshTokens: [good]}, accounts: [{name: 'old', refresh_token: jwt('refresh')}, {name: 'new', refresh_token: good}]});
    assert.equal((await ask(gateway)).status, 200);
    assert.equal((await ask(gateway)).status, 200);
    const lone = await serve({accounts: [{name: 'old', refresh_token: jwt('refresh')}]});
    await refused(await ask(lone.gateway), {status: 403, type: up, code: 'upstream_credential', noRetry: true});
    assert.equal(lone.site.refreshes, 1);
  });

  it('an access token alone works, and nothing is renewed', async () => {
    const token = jwt('access');
    const {site, client, gateway} = await serve({site: {accessTokens: [token]}, accounts: [{name: 'me', token}]});
    await create(client);
    site.access.clear();
    await refused(await ask(gateway), {status: 403, type: up, code: 'upstream_credential', noRetry: true});
    assert.equal(site.refreshes, 0);
    const over = await serve({accounts: [{name: 'me', token: jwt('access', {lifeS: -1})}]});
    await refused(await ask(over.gateway), {status: 403, type: up, code: 'upstream_credential', noRetry: true});
    assert.equal(over.site.requests.length, 0);
  });

  it('one visitor is made, kept, refreshed, and not replaced when it is limited', async () => {
    const {site, gateway} = await serve({accounts: [{name: 'g', guest: true}], site: {lifeS: 100}});
    assert.equal((await ask(gateway)).status, 200);
    assert.equal((await ask(gateway)).status, 200);
    site.next({status: 200, json: {status: 40012, message: 'no more for guests'}});
    await refused(await ask(gateway), {status: 429, type: 'rate_limit_error', code: 'upstream_rate_limited', wait: [590, 601]});
    assert.deepEqual([site.guestsMade, site.refreshes], [1, 2]);
  });

  // ---- failures ----

  for (const [title, plan, expected] of [
    ['a bot check page', {html: '<!doctype html><title>check</title>'}, {status: 403, type: up, code: 'upstream_challenge', noRetry: true}],
    ['a firewall', {status: 405, json: {}}, {status: 403, type: up, code: 'upstream_challenge', noRetry: true}],
    ['another answer of this account', {status: 200, json: {status: 10061, message: '请等待其他对话生成完毕'}}, {status: 429, type: 'rate_limit_error', code: 'upstream_rate_limited', wait: [1, 5]}],
    ['too many requests', {status: 429, json: {}, headers: {'retry-after': '30'}}, {status: 429, type: 'rate_limit_error', code: 'upstream_rate_limited', wait: [25, 30]}],
    ['too long a conversation', 'tooLong', {status: 400, type: 'invalid_request_error', code: 'context_length_exceeded'}],
    ['a missing header', {status: 200, json: {status: 40002, message: 'header missing'}}, {status: 400, type: 'invalid_request_error', code: 'upstream_bad_request', noRetry: true}],
    ['a crowd', [siteError(10062, 'upstream busy')], {status: 503, type: up, code: 'upstream_overloaded'}],
    ['a failure', [siteError(10024, 'generator exit')], {status: 502, type: up, code: 'upstream_failed'}],
    ['moderation', 'moderated', {status: 400, type: 'invalid_request_error', code: 'content_filter', noRetry: true}],
    ['an empty answer', 'empty', {status: 502, type: up, code: 'upstream_empty'}],
    ['nothing at all', [], {status: 502, type: up, code: 'upstream_empty'}],
    ['other JSON', {status: 200, json: {hello: 'world'}}, {status: 502, type: up, code: 'upstream_protocol'}],
  ]) {
    it(`${title}: ${expected.code}`, async () => {
      for (const stream of [false, true]) {
        const {site, gateway} = await serve();
        site.next(...Array.from({length: 4}, () => plan));
        await refused(await ask(gateway, {stream}), expected);
      }
    });
  }

  it('without the page\'s secret the refusal names the option', async () => {
    const {gateway} = await serve({options: {}});
    const error = await refused(await ask(gateway), {status: 403, type: up, code: 'upstream_challenge', noRetry: true});
    assert.match(error.message, /sign_secret/);
    const wrong = await serve({options: {sign_secret: 'yesterday'}});
    assert.match((await refused(await ask(wrong.gateway), {status: 403, type: up, code: 'upstream_challenge', noRetry: true})).message, /sign_secret/);
  });

  it('a failure after text is an error event', async () => {
    const {site, gateway} = await serve();
    for (const [plan, code, content] of [['lateError', 'upstream_failed', 'Half an answer'], ['cut', 'upstream_cut', 'Half']]) {
      site.next(plan);
      const broken = checkBrokenStream(await (await ask(gateway, {stream: true})).text());
      assert.deepEqual([broken.content, broken.error.code], [content, code]);
    }
    site.next([...say('a', 'text', 'Well'), ...answers.moderated]);
    assert.equal(checkStream(await (await ask(gateway, {stream: true})).text()).finish, 'content_filter');
  });

  it('a client that leaves: the site is told to stop, and the conversation is deleted', async () => {
    const {site, gateway} = await serve();
    const stopped = once(site, 'stopped'), deleted = once(site, 'deleted');
    const leave = new AbortController();
    site.next((r, res, send) => {
      send(event('init'));
      say('a', 'text', 'x', 'y').forEach(send); // and it does not end
    });
    const reader = (await ask(gateway, {stream: true}, {signal: leave.signal})).body.getReader();
    await reader.read(); // the answer has begun
    leave.abort();
    await assert.rejects(async () => {
      for (;;) if ((await reader.read()).done) return;
    });
    await within(5000, stopped, 'stop_stream');
    await within(5000, deleted, 'the deletion');
    assert.equal((await ask(gateway)).status, 200); // nothing is in its way
  });

  it('a client that leaves while the token is renewed: the new pair is kept', async () => {
    const {site, gateway} = await serve();
    const leave = new AbortController(), asked = once(site, 'asked'), sell = site.sell.bind(site);
    let open;
    const gate = new Promise((resolve) => (open = resolve));
    site.sell = async (...account) => {
      site.emit('asked');
      await gate;
      return sell(...account);
    };
    const left = assert.rejects(ask(gateway, {stream: true}, {signal: leave.signal}));
    await within(5000, asked, 'the refresh');
    leave.abort();
    await left;
    await gateway.logged(/cancelled/);
    const next = ask(gateway);
    open();
    assert.equal((await next).status, 200); // with what the first one obtained: the former pair is dead
    assert.equal(site.refreshes, 1);
  });

  it('a clean-up that never ends holds the account no longer than 10 s, and the program not at all', async () => {
    const {site, gateway} = await serve({max_concurrent: 1});
    const drips = [];
    site.stopStream = (r, res) => {
      res.writeHead(200, {'content-type': 'application/json'});
      drips.push(setInterval(() => res.write(' '), 100));
    };
    const endless = (r, res, send, conversation) => {
      say('a', 'text', 'One, t', 'wo, th', 'r', 'ee, four').slice(0, 4).forEach(send);
      conversation.running = false;
    };
    try {
      site.next(endless);
      await (await ask(gateway, {stop: ['three']})).text();
      site.next(endless);
      assert.equal((await within(25000, ask(gateway, {stop: ['three']}), 'the next answer')).status, 200);
      running.splice(running.indexOf(gateway), 1);
      gateway.signal('SIGTERM');
      await gateway.logged(/stopping: no new/);
      gateway.signal('SIGTERM'); // no more patience
      await gateway.stop();
    } finally {
      drips.forEach(clearInterval);
    }
  });

  it('a long token that the site repeats is not shown, nor a part of it', async () => {
    for (const [length, times] of [[2400, 1], [600, 2]]) {
      const token = jwt('access', {uid: 'u'.repeat(length)});
      const {site, gateway} = await serve({site: {accessTokens: [token]}, accounts: [{name: 'me', token}]});
      site.next({status: 200, json: {status: 40001, message: `no ${token.repeat(times)}`}});
      const text = await (await ask(gateway)).text();
      assert.match(text, /upstream_bad_request/);
      assert.ok(!text.includes(token.slice(0, 12)) && !gateway.stderr.includes(token.slice(0, 12)), text);
    }
  });

  it('our own limit ends the answer at the site, too', async () => {
    const {site, gateway} = await serve();
    const stopped = once(site, 'stopped');
    site.next((r, res, send) => say('a', 'text', 'One, t', 'wo, th', 'r', 'ee, four').slice(0, 4).forEach(send)); // and it does not end
    const answer = await (await ask(gateway, {stop: ['three']})).json();
    assert.deepEqual([answer.choices[0].message.content, answer.choices[0].finish_reason], ['One, two, ', 'stop']);
    await within(5000, stopped, 'stop_stream');
  });

  it('the next request waits until the site has heard that it is to stop', async () => {
    const {site, gateway} = await serve();
    const stopping = once(site, 'stopping');
    let open;
    site.stopGate = new Promise((resolve) => (open = resolve));
    site.next((r, res, send) => say('a', 'text', 'One, t', 'wo, th', 'r', 'ee, four').slice(0, 4).forEach(send)); // and it does not end
    await (await ask(gateway, {stop: ['three']})).text();
    await within(5000, stopping, 'stop_stream');
    const next = ask(gateway);
    for (let i = 0; i < 50; i++) await (await fetch(`${gateway.origin}/health`)).text(); // it has been read by then
    assert.equal(site.chatRequests().length, 1);
    open();
    assert.equal((await next).status, 200);
  });

  it('delete_chat = false keeps conversations', async () => {
    const {site, gateway} = await serve({options: {sign_secret: SIGN_SECRET, delete_chat: false}});
    await (await ask(gateway)).text();
    await gateway.stop();
    running.splice(running.indexOf(gateway), 1);
    assert.deepEqual([...site.conversations.values()].map((c) => c.deleted), [false]);
  });

  it('no token and no secret is in the log', async () => {
    const {site, gateway, refresh} = await serve();
    await (await ask(gateway)).text();
    site.next({status: 500, json: {status: 500, message: `no ${refresh} ${SIGN_SECRET}`}});
    const text = await (await ask(gateway)).text();
    await gateway.logged(/end=failed|end=refused/);
    for (const secret of [refresh, site.last.access, site.last.refresh]) {
      assert.ok(!gateway.stderr.includes(secret), 'a token in the log');
      assert.ok(!text.includes(secret), 'a token in the answer');
    }
    assert.ok(!gateway.stderr.includes(SIGN_SECRET));
  });

  it('the transcripts of the tree give the same through the whole program', async () => {
    const folder = join(root, 'test/transcripts/chatglm');
    const {site, gateway} = await serve();
    for (const file of readdirSync(folder).filter((name) => name.endsWith('.sse'))) {
      const expected = JSON.parse(readFileSync(join(folder, file.replace('.sse', '.expected.json')), 'utf8'));
      if (expected.error) continue;
      site.next((r, res, send, conversation) => {
        conversation.running = false;
        site.conversations.set('66a0c0ffee0123456789abcd', {...conversation, id: '66a0c0ffee0123456789abcd'});
        res.end(readFileSync(join(folder, file)));
      });
      const answer = checkStream(await (await ask(gateway, {stream: true})).text());
      assert.deepEqual([answer.content, answer.reasoning, answer.finish], [expected.content, expected.reasoning_content, expected.finish_reason], file);
    }
  });
});
