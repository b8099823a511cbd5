// An OpenAI-compatible service behind the gateway: what goes up, what comes down, byte for byte where it must be.
import assert from 'node:assert/strict';
import {after, afterEach, before, describe, it} from 'node:test';
import {BIG, OpenAiSite} from '../sites/openai.mjs';
import {within} from '../sites/site.mjs';
import {answerPiece} from './lib/clients.mjs';
import {startGateway} from './lib/gateway.mjs';
import {chat, checkError, checkStream, parseEvents, user} from './lib/http.mjs';

const tool = {type: 'function', function: {name: 'f', parameters: {type: 'object', properties: {model: {type: 'string'}}}}};

describe('an OpenAI-compatible service', () => {
  let site, gateway;
  before(async () => {
    site = await new OpenAiSite().start();
    gateway = await startGateway({sites: [{name: 'up', adapter: 'openai', ...site.config({base_url: `${site.origin}/v1`}), accounts: [{name: 'a', api_key: 'sk-upstream'}]}]});
  });
  after(async () => {
    await gateway?.stop();
    await site?.stop();
  });
  afterEach(() => assert.deepEqual(site.violations, []));
  const sent = () => site.chatRequests().at(-1);

  it('streams, and asks for usage by itself', async () => {
    const response = await chat(gateway.base, {model: 'up/gpt-test', stream: true, ...user('Größe 你好 🌍 ok')});
    const answer = checkStream(await response.text());
    assert.equal(answer.content, 'Größe 你好 🌍 ok');
    assert.equal(sent().json.model, 'gpt-test');
    assert.equal(sent().json.stream_options.include_usage, true);
    assert.match(await (await gateway.logged(/end=complete/)).input, /model=up\/gpt-test/);
  });

  it('passes usage on when it was asked for', async () => {
    const response = await chat(gateway.base, {model: 'up/gpt-test', stream: true, stream_options: {include_usage: true}, ...user('x')});
    assert.deepEqual(checkStream(await response.text(), {usage: true}).usage, {prompt_tokens: 4, completion_tokens: 5, total_tokens: 9, dragoman_source: 'upstream'});
  });

  it('passes unknown fields and 64-bit integers up unchanged', async () => {
    const body = `{"model":"up/gpt-test","messages":[{"role":"user","content":"x","x_mark":${BIG}}],"seed":${BIG},"x_new":{"deep":[1.10,null,"\\u00e9"]},"metadata":{"a":"b"}}`;
    assert.equal((await chat(gateway.base, body)).status, 200);
    const text = sent().body.toString();
    assert.ok(text.includes(`"seed":${BIG}`) && text.includes(`"x_mark":${BIG}`) && text.includes('"x_new":{"deep":[1.10,null,"\\u00e9"]}') && text.includes('"metadata":{"a":"b"}'), text);
  });

  it('passes unknown fields and 64-bit integers down', async () => {
    const whole = await (await chat(gateway.base, {model: 'up/gpt-test', ...user('x')})).text();
    assert.ok(whole.includes(`"x_big":${BIG}`) && whole.includes('"system_fingerprint":"fp_1"') && whole.includes('"x_choice":0') && whole.includes('"x_cost":0.25'), whole);
    const stream = await (await chat(gateway.base, {model: 'up/gpt-test', stream: true, ...user('x')})).text();
    assert.ok(stream.includes(`"x_big":${BIG}`), stream);
  });

  it('an answer that is nothing but unknown members (sound in pieces): each piece goes out as it comes', async () => {
    let more;
    const go = new Promise((resolve) => (more = resolve));
    site.next(async function (r, res) {
      this.sseHead(res);
      this.event(res, answerPiece({role: 'assistant', content: null}));
      for (const data of ['a', 'b']) this.event(res, answerPiece({audio: {data}}));
      await go;
      this.event(res, answerPiece({audio: {data: 'c'}}));
      this.event(res, answerPiece({}, 'stop'));
      this.event(res, '[DONE]');
      res.end();
    });
    let text = '';
    for await (const bytes of (await chat(gateway.base, {model: 'up/gpt-test', stream: true, ...user('x')})).body) {
      text += Buffer.from(bytes).toString();
      if (text.includes('"b"')) more();
    }
    assert.deepEqual([...text.matchAll(/"audio":/g)].length, 3);
    assert.deepEqual(parseEvents(text).events.slice(0, -1).map((e) => e.choices[0].delta.audio?.data).filter(Boolean), ['a', 'b', 'c']);
  });

  it('tools: schema untouched, call in fragments', async () => {
    const response = await chat(gateway.base, {model: 'up/gpt-test', stream: true, tools: [tool], ...user('x')});
    const {calls, finish} = checkStream(await response.text());
    assert.deepEqual([finish, calls], ['tool_calls', [{id: 'call_a', name: 'f', arguments: '{"x": 1}'}]]);
    assert.deepEqual(sent().json.tools, [tool]);
    const whole = await (await chat(gateway.base, {model: 'up/gpt-test', tools: [tool], ...user('x')})).json();
    assert.equal(whole.choices[0].message.tool_calls[0].function.arguments, '{"x": 1}');
  });

  it('n and logprobs', async () => {
    const {choices} = checkStream(await (await chat(gateway.base, {model: 'up/gpt-test', stream: true, n: 3, logprobs: true, ...user('a b')})).text(), {n: 3});
    assert.deepEqual(choices.map((c) => c.content), ['a b', 'a b', 'a b']);
    const whole = await (await chat(gateway.base, {model: 'up/gpt-test', n: 2, logprobs: true, ...user('a b')})).json();
    assert.deepEqual(whole.choices.map((c) => c.logprobs.content[0].logprob), [-0.5, -0.5]);
  });

  it('reads gzip, though it asked for identity', async () => {
    assert.match(sent().headers['accept-encoding'] ?? 'identity', /^identity$/);
    assert.equal(checkStream(await (await chat(gateway.base, {model: 'up/gpt-test', stream: true, ...user('gzip me')})).text()).content, 'gzip me');
    assert.equal((await (await chat(gateway.base, {model: 'up/gpt-test', ...user('gzip me')})).json()).choices[0].message.content, 'gzip me');
  });

  it('takes a whole answer to a streaming request', async () => {
    assert.equal(checkStream(await (await chat(gateway.base, {model: 'up/gpt-test', stream: true, ...user('json')})).text()).content, 'json');
  });

  it('lists the models of the service, also those with slashes and colons', async () => {
    let ids;
    for (let i = 0; i < 50; i++) { // the list is fetched behind the first answer
      ids = (await (await fetch(`${gateway.base}/models`)).json()).data.map((m) => m.id);
      if (ids.length) break;
      await gateway.logged(/./, {from: gateway.stderr.length, ms: 1000}).catch(() => {});
    }
    const found = ids.filter((id) => /nested/.test(id));
    assert.equal(found.length, 1, JSON.stringify(ids));
    const model = await (await fetch(`${gateway.base}/models/${encodeURIComponent(found[0])}`)).json();
    assert.equal(model.id, found[0]);
    assert.equal((await (await fetch(`${gateway.base}/models/${found[0]}`)).json()).id, found[0]);
    assert.equal((await chat(gateway.base, {model: found[0], ...user('x')})).status, 200);
    assert.equal(sent().json.model, 'org/nested:free');
  });

  it("never shows the account's key", async () => {
    site.next({status: 400, json: {error: {message: 'the key sk-upstream is not for this model', code: 'x'}}});
    const {error} = await checkError(await chat(gateway.base, {model: 'up/gpt-test', ...user('x')}), {status: 400, type: 'invalid_request_error', code: 'upstream_bad_request', noRetry: true});
    assert.doesNotMatch(error.message + gateway.stderr + gateway.stdout, /sk-upstream/);
  });

  it('keeps connections and TLS sessions', async () => {
    const before = site.connections;
    for (let i = 0; i < 5; i++) await (await chat(gateway.base, {model: 'up/gpt-test', ...user('x')})).text();
    assert.ok(site.connections - before <= 1, `${site.connections - before} new connections for five requests`);
  });

  for (const stream of [true, false]) {
    it(`ends the site's request at once when the client leaves, ${stream ? 'streamed' : 'whole'}`, async () => {
      let record;
      const begun = new Promise((resolve) => {
        site.next(function (r, res) {
          record = r;
          this.sseHead(res);
          this.event(res, {id: 'x', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{index: 0, delta: {role: 'assistant', content: 'begun'}, finish_reason: null}]});
          resolve();
        });
      });
      const from = gateway.stderr.length, leave = new AbortController();
      const answer = chat(gateway.base, {model: 'up/gpt-test', stream, ...user('x')}, {signal: leave.signal}).then((r) => r.text()).catch(() => {});
      await within(5000, begun, 'the request at the site');
      const left = Date.now();
      leave.abort();
      const closed = await within(2000, record.aborted, "the end of the site's request");
      assert.ok(closed - left < 1000, `${closed - left} ms`);
      await answer;
      await gateway.logged(/end=cancelled/, {from});
      assert.equal((await chat(gateway.base, {model: 'up/gpt-test', ...user('next')})).status, 200);
    });
  }

  it('does not wait for the whole stream before the first word', async () => {
    let more;
    site.next(async function (r, res) {
      this.sseHead(res);
      const say = (content, finish_reason = null) => this.event(res, {id: 'x', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{index: 0, delta: content ? {content} : {}, finish_reason}]});
      say('first');
      await new Promise((resolve) => (more = resolve));
      say(' second');
      say(null, 'stop');
      this.event(res, '[DONE]');
      res.end();
    });
    const response = await chat(gateway.base, {model: 'up/gpt-test', stream: true, ...user('x')});
    const reader = response.body.getReader();
    let text = '';
    while (!text.includes('first')) text += new TextDecoder().decode((await within(3000, reader.read(), 'the first word')).value);
    assert.doesNotMatch(text, /second/);
    more();
    for (;;) {
      const {done, value} = await reader.read();
      if (done) break;
      text += new TextDecoder().decode(value);
    }
    assert.equal(checkStream(text).content, 'first second');
  });
});

describe('site keys for OpenAI-compatible services', () => {
  const running = [];
  afterEach(async () => {
    for (const thing of running.splice(0).reverse()) await thing.stop();
  });
  const serve = async (siteOptions, siteConfig, more = {}) => {
    const site = await new OpenAiSite(siteOptions).start();
    running.push(site);
    const gateway = await startGateway({sites: [{name: 'up', adapter: 'openai', ...site.config(typeof siteConfig === 'function' ? siteConfig(site) : siteConfig)}], ...more});
    running.push(gateway);
    return {site, gateway};
  };

  it('needs no account where the service has no keys, and speaks plain HTTP', async () => {
    const {site, gateway} = await serve({keys: null, tls: false, host: '127.0.0.1'}, (s) => ({base_url: `${s.origin}/v1`}));
    assert.equal((await chat(gateway.base, {model: 'up/gpt-test', ...user('x')})).status, 200);
    assert.deepEqual(site.violations, []);
  });

  it('keeps a path prefix, and puts /v1 where there is none', async () => {
    for (const [prefix, path] of [['/api/paas/v4', '/api/paas/v4'], ['/v1', '']]) {
      const {site, gateway} = await serve({keys: null, prefix}, (s) => ({base_url: `${s.origin}${path}`}));
      assert.equal((await chat(gateway.base, {model: 'up/gpt-test', ...user('x')})).status, 200);
      assert.deepEqual(site.violations, []);
    }
  });

  it('renames fields at every depth', async () => {
    const {site, gateway} = await serve({keys: null}, (s) => ({base_url: `${s.origin}/v1`, field_aliases: {max_tokens: 'max_new_tokens'}}));
    await chat(gateway.base, {model: 'up/gpt-test', max_tokens: 5, x: [[{max_tokens: 6}]], ...user('x')});
    const body = site.chatRequests()[0].json;
    assert.deepEqual([body.max_new_tokens, body.x, 'max_tokens' in body], [5, [[{max_new_tokens: 6}]], false]);
  });

  for (const [reasoning, content, thought] of [['field', 'answer', 'hm'], ['think', '<think>\nhm\n</think>\n\nanswer', ''], ['drop', 'answer', '']]) {
    it(`reasoning = "${reasoning}"`, async () => {
      const {site, gateway} = await serve({keys: null}, (s) => ({base_url: `${s.origin}/v1`, reasoning}));
      const plan = function (r, res) {
        this.sseHead(res);
        for (const delta of [{reasoning_content: 'hm'}, {content: 'answer'}]) this.event(res, {id: 'x', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{index: 0, delta, finish_reason: null}]});
        this.event(res, {id: 'x', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{index: 0, delta: {}, finish_reason: 'stop'}]});
        res.end('data: [DONE]\n\n');
      };
      site.next(plan, plan);
      const streamed = checkStream(await (await chat(gateway.base, {model: 'up/m', stream: true, ...user('x')})).text());
      assert.deepEqual([streamed.content, streamed.reasoning], [content, thought]);
      const {message} = (await (await chat(gateway.base, {model: 'up/m', ...user('x')})).json()).choices[0];
      assert.deepEqual([message.content, message.reasoning_content ?? ''], [content, thought]);
    });
  }

  it('one request at a time where max_concurrent says so; the others wait their turn', async () => {
    const {site, gateway} = await serve({keys: null}, (s) => ({base_url: `${s.origin}/v1`, max_concurrent: 1}));
    let now = 0, most = 0;
    const plan = async function (r, res) {
      most = Math.max(most, ++now);
      await new Promise((done) => setTimeout(done, 30));
      now--;
      this.json(res, 200, {id: 'x', object: 'chat.completion', created: 1, model: 'm', choices: [{index: 0, message: {role: 'assistant', content: 'ok'}, finish_reason: 'stop'}]});
    };
    site.next(...Array(6).fill(plan));
    const answers = await Promise.all(Array.from({length: 6}, () => chat(gateway.base, {model: 'up/m', ...user('x')})));
    assert.deepEqual(answers.map((a) => a.status), Array(6).fill(200));
    assert.equal(most, 1);
  });
});

describe("a client's own key", () => {
  const running = [];
  afterEach(async () => {
    for (const thing of running.splice(0).reverse()) await thing.stop();
  });
  const serve = async (keys) => {
    const site = await new OpenAiSite({keys: ['sk-upstream', 'sk-of-the-client']}).start();
    running.push(site);
    const entry = (name, more) => ({name, adapter: 'openai', ...site.config({base_url: `${site.origin}/v1`, ...more}), accounts: [{name: 'a', api_key: 'sk-upstream'}]});
    const gateway = await startGateway({keys, sites: [entry('closed', {models: ['m']}), entry('open', {models: ['m', 'n'], keys: {passthrough: true}})],
      models: [{id: 'chain', targets: ['closed/m', 'open/n']}]});
    running.push(gateway);
    return {site, gateway};
  };
  const ours = [{name: 'ours', key: 'sk-gateway-000001'}];
  const ask = (gateway, model, key, body = {}) => chat(gateway.base, {model, ...user('x'), ...body}, {headers: key ? {authorization: `Bearer ${key}`} : {}});
  const used = (site) => site.chatRequests().map((r) => r.headers.authorization);

  it('goes to the site that takes it, and to no other', async () => {
    const {site, gateway} = await serve(ours);
    assert.equal((await ask(gateway, 'open/m', 'sk-of-the-client')).status, 200);
    assert.equal((await ask(gateway, 'chain', 'sk-of-the-client')).status, 200);
    await checkError(await ask(gateway, 'closed/m', 'sk-of-the-client'), {status: 401, type: 'authentication_error', code: 'invalid_api_key'});
    assert.deepEqual(used(site), ['Bearer sk-of-the-client', 'Bearer sk-of-the-client']);
    const models = await (await fetch(`${gateway.base}/models`, {headers: {authorization: 'Bearer sk-of-the-client'}})).json();
    assert.deepEqual(models.data.map((m) => m.owned_by), ['open', 'open']);
    assert.match(gateway.stderr, /account=visitor-[0-9a-f]{12} /);
    assert.doesNotMatch(gateway.stderr + gateway.stdout, /sk-of-the-client/);
  });

  it('leaves our keys and our accounts alone', async () => {
    const {site, gateway} = await serve(ours);
    assert.equal((await ask(gateway, 'open/m', 'sk-gateway-000001')).status, 200);
    assert.equal((await ask(gateway, 'closed/m', 'sk-gateway-000001')).status, 200);
    assert.deepEqual(used(site), ['Bearer sk-upstream', 'Bearer sk-upstream']);
    const {error} = await checkError(await ask(gateway, 'open/m', 'sk-refused-there'), {status: 403, type: 'upstream_error', code: 'upstream_credential', noRetry: true});
    assert.doesNotMatch(error.message + gateway.stderr, /sk-refused-there/);
    assert.equal((await ask(gateway, 'open/m', 'sk-gateway-000001')).status, 200); // its account is not the worse for it
    await checkError(await ask(gateway, 'open/m', null), {status: 401, type: 'authentication_error', code: 'missing_api_key'});
    assert.equal(site.chatRequests().length, 4);
  });

  it('works without keys of ours as well', async () => {
    const {site, gateway} = await serve([]);
    assert.equal((await ask(gateway, 'open/m', 'sk-of-the-client')).status, 200);
    assert.equal((await ask(gateway, 'closed/m', 'sk-of-the-client')).status, 200);
    assert.equal((await ask(gateway, 'open/m', null)).status, 200);
    assert.deepEqual(used(site), ['Bearer sk-of-the-client', 'Bearer sk-upstream', 'Bearer sk-upstream']);
  });
});
