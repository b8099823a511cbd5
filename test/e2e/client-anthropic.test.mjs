// Anthropic's own SDK, and requests as Claude Code makes them, on top of sites that are not Anthropic's: /v1/messages (clients.md
// §2.8, §3.12).
import Anthropic from '@anthropic-ai/sdk';
import {betaTool} from '@anthropic-ai/sdk/helpers/beta/json-schema';
import assert from 'node:assert/strict';
import net from 'node:net';
import {after, afterEach, before, describe, it} from 'node:test';
import {Anthropic as Official} from '../sites/anthropic.mjs';
import {Gemini} from '../sites/gemini.mjs';
import {OpenAiSite} from '../sites/openai.mjs';
import {Zai, jwt} from '../sites/zai.mjs';
import {KEY, active, answerPiece, leftAtOnce, saysHello, settled} from './lib/clients.mjs';
import {startGateway} from './lib/gateway.mjs';

const NARROW = 'sk-gateway-narrow', LIMITED = 'sk-gateway-limited';
const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
const hi = (content, more = {}) => ({max_tokens: 100, messages: [{role: 'user', content}], ...more});
const weather = {name: 'get_weather', description: 'Temperature of a city',
  input_schema: {type: 'object', properties: {city: {type: 'string'}}, required: ['city']}};

/** The events of a stream: [[event, data]], in the only form that the API has. */
function eventsOf(text) {
  assert.ok(text.endsWith('\n\n'));
  return text.split('\n\n').slice(0, -1).filter((e) => !e.startsWith(':')).map((block) => {
    const [, name, data] = /^event: (\w+)\ndata: (.*)$/.exec(block) ?? assert.fail(`no event: ${JSON.stringify(block)}`);
    const parsed = JSON.parse(data);
    assert.equal(parsed.type, name);
    return parsed;
  });
}

/** Sends these bytes on a connection of its own; the one answer to them. */
async function speak(port, bytes) {
  const socket = net.connect(port, '127.0.0.1').on('error', () => {});
  socket.write(bytes);
  let text = '';
  for await (const piece of socket) {
    text += piece;
    const [head, body] = text.split('\r\n\r\n');
    if (body?.length >= Number(/content-length: (\d+)/i.exec(head)[1])) break;
  }
  socket.destroy();
  return text;
}

describe("Anthropic's SDK", {timeout: 120000}, () => {
  let site, zai, gateway, client;
  const make = (more = {}) => new Anthropic({apiKey: KEY, baseURL: gateway.origin, maxRetries: 0, ...more});
  const sent = () => site.chatRequests().at(-1).json;
  const raw = (path, body, headers = {}) => fetch(gateway.origin + path, {method: 'POST', body: typeof body === 'string' ? body : JSON.stringify(body),
    headers: {'content-type': 'application/json', 'anthropic-version': '2023-06-01', 'x-api-key': KEY, ...headers}});
  before(async () => {
    site = await new OpenAiSite().start();
    zai = await new Zai().start();
    gateway = await startGateway({
      keys: [{name: 'ours', key: KEY}, {name: 'narrow', key: NARROW, models: ['demo/*']}, {name: 'limited', key: LIMITED, rpm: 1}],
      sites: [
        {name: 'demo', adapter: 'demo'},
        {name: 'up', adapter: 'openai', ...site.config({base_url: `${site.origin}/v1`, models: ['gpt-test']}), accounts: [{name: 'a', api_key: 'sk-upstream'}]},
        {name: 'zai', adapter: 'zai', ...zai.config(), accounts: [{name: 'main', token: jwt('person')}]}],
      models: [{id: 'claude-*', targets: ['up/gpt-test']}],
    });
    client = make();
  });
  after(async () => {
    await gateway?.stop();
    await site?.stop();
    await zai?.stop();
  });
  afterEach(async () => {
    for (const s of [site, zai]) {
      assert.deepEqual(s.violations, []);
      assert.deepEqual(s.plans, []);
    }
    await settled(gateway);
  });

  it('a whole answer of each site, with the id of the request', async () => {
    for (const [model, text] of [['demo/echo', 'Größe 你好 🌍'], ['up/gpt-test', 'Größe 你好 🌍'], ['zai/glm-4.6', '你好, world 🌍']]) {
      const {data, response} = await client.messages.create({model, ...hi('Größe 你好 🌍')}).withResponse();
      assert.deepEqual([data.type, data.role, data.model, data.stop_reason, data.stop_sequence], ['message', 'assistant', model, 'end_turn', null]);
      assert.deepEqual(data.content, [{type: 'text', text}]);
      assert.match(data.id, /^msg_/);
      assert.ok(data.usage.input_tokens > 0 && data.usage.output_tokens > 0);
      assert.deepEqual([data.usage.cache_read_input_tokens, data.usage.cache_creation_input_tokens], [0, 0]);
      assert.equal(data._request_id, response.headers.get('request-id'));
      assert.match(data._request_id, /^req_/);
    }
  });

  it('a stream: the events in their order, and what the helper makes of them', async () => {
    for (const [model, text] of [['demo/echo', 'one two three'], ['up/gpt-test', 'one two three'], ['zai/glm-4.6', '你好, world 🌍']]) {
      const stream = client.messages.stream({model, ...hi('one two three')});
      const types = [], pieces = [];
      stream.on('streamEvent', (e) => types.push(e.type)).on('text', (t) => pieces.push(t));
      const message = await stream.finalMessage();
      assert.deepEqual([message.content, message.stop_reason, await stream.finalText()], [[{type: 'text', text}], 'end_turn', text]);
      assert.ok(pieces.length > 1, pieces.join('|'));
      assert.ok(message.usage.input_tokens > 0 && message.usage.output_tokens > 0);
      assert.deepEqual(types.filter((t) => t !== 'content_block_delta'),
        ['message_start', 'content_block_start', 'content_block_stop', 'message_delta', 'message_stop']);
    }
  });

  it('thinking comes first, in blocks of its own, and may come back', async () => {
    const {content, usage} = await client.messages.create({model: 'demo/reasoner', thinking: {type: 'enabled', budget_tokens: 2000}, ...hi('Hello there')});
    assert.deepEqual(content.map((b) => b.type), ['thinking', 'text']);
    assert.deepEqual([content[0].thinking, content[0].signature, content[1].text], ['The person says 2 words. I shall say them again.', '', 'Hello there']);
    assert.ok(usage.output_tokens_details.thinking_tokens > 0);
    zai.next('reasoning');
    const stream = client.messages.stream({model: 'zai/glm-4.6', thinking: {type: 'adaptive'}, ...hi('2+2')});
    const thoughts = [];
    stream.on('thinking', (t) => thoughts.push(t));
    const message = await stream.finalMessage();
    assert.deepEqual(message.content, [{type: 'thinking', thinking: 'First I add. Then I check.', signature: ''}, {type: 'text', text: 'The sum is 4.'}]);
    assert.equal(thoughts.join(''), 'First I add. Then I check.');
    assert.equal(zai.chatRequests().at(-1).json.features.enable_thinking, true);
    await client.messages.create({model: 'zai/glm-4.6', max_tokens: 100, thinking: {type: 'disabled'}, messages: [
      {role: 'user', content: '2+2'}, {role: 'assistant', content: message.content}, {role: 'user', content: 'Sure?'}]});
    assert.equal(zai.chatRequests().at(-1).json.features.enable_thinking, false);
    assert.ok(!JSON.stringify(zai.chatRequests().at(-1).json.messages).includes('I check'));
    const alone = await raw('/v1/messages', {model: 'demo/echo', max_tokens: 9, messages: [{role: 'assistant', content: message.content.slice(0, 1)}]});
    assert.equal((await alone.json()).type, 'message');
  });

  it('a thinking budget reaches OpenAI-like services as an effort', async () => {
    await client.messages.create({model: 'up/gpt-test', ...hi('x'), max_tokens: 20000, thinking: {type: 'enabled', budget_tokens: 16384}});
    assert.deepEqual([sent().reasoning_effort, sent().max_completion_tokens, 'thinking' in sent(), 'max_tokens' in sent()], ['high', 20000, false, false]);
    await client.messages.create({model: 'up/gpt-test', ...hi('x'), output_config: {effort: 'low'}});
    assert.equal(sent().reasoning_effort, 'low');
  });

  it('calls of tools, streamed and whole, and their results', async () => {
    const request = {model: 'up/gpt-test', tools: [weather], tool_choice: {type: 'any', disable_parallel_tool_use: true}, ...hi('weather')};
    const whole = await client.messages.create(request);
    assert.deepEqual([whole.stop_reason, whole.content.at(-1)], ['tool_use', {type: 'tool_use', id: 'call_a', name: 'get_weather', input: {x: 1}}]);
    assert.deepEqual(sent().tools, [{type: 'function', function: {name: weather.name, description: weather.description, parameters: weather.input_schema}}]);
    assert.deepEqual([sent().tool_choice, sent().parallel_tool_calls], ['required', false]);
    const stream = client.messages.stream(request);
    const pieces = [];
    stream.on('inputJson', (piece) => pieces.push(piece));
    const message = await stream.finalMessage();
    assert.deepEqual([message.stop_reason, message.content], ['tool_use', [{type: 'tool_use', id: 'call_a', name: 'get_weather', input: {x: 1}}]]);
    assert.equal(pieces.join(''), '{"x": 1}');
    const last = await client.messages.create({model: 'up/gpt-test', max_tokens: 100, messages: [{role: 'user', content: 'weather'},
      {role: 'assistant', content: message.content},
      {role: 'user', content: [{type: 'tool_result', tool_use_id: 'call_a', is_error: true, content: [{type: 'text', text: 'no such city'},
        {type: 'image', source: {type: 'base64', media_type: 'image/png', data: PNG}}]}, {type: 'text', text: 'Try again'}]}]});
    assert.equal(last.content[0].text, 'Try again');
    assert.deepEqual(sent().messages.slice(1), [
      {role: 'assistant', content: null, tool_calls: [{id: 'call_a', type: 'function', function: {name: 'get_weather', arguments: '{"x":1}'}}]},
      {role: 'tool', tool_call_id: 'call_a', content: 'Error: no such city'},
      {role: 'user', content: [{type: 'text', text: 'Belongs to the result of the tool call:\ncall_a'},
        {type: 'image_url', image_url: {url: `data:image/png;base64,${PNG}`}}]},
      {role: 'user', content: 'Try again'}]);
  });

  it('the runner of tools goes round until there is text', async () => {
    const seen = [];
    const add = betaTool({name: 'add', description: 'a plus b', inputSchema: {type: 'object', properties: {x: {type: 'number'}}},
      run: ({x}) => (seen.push(x), `x is ${x}`)});
    site.next(function (r, res) {
      this.sseHead(res);
      const call = (piece) => this.event(res, answerPiece({tool_calls: [{index: 0, ...piece}]}));
      call({id: 'call_1', type: 'function', function: {name: 'add', arguments: ''}});
      call({function: {arguments: '{"x":'}});
      call({function: {arguments: '41}'}});
      this.event(res, answerPiece({}, 'tool_calls'));
      res.end('data: [DONE]\n\n');
    }, function (r, res) {
      this.sseHead(res);
      this.event(res, answerPiece({content: r.json.messages.at(-1).content}));
      this.event(res, answerPiece({}, 'stop'));
      res.end('data: [DONE]\n\n');
    });
    const runner = client.beta.messages.toolRunner({model: 'up/gpt-test', max_tokens: 100, stream: true, tools: [add], messages: [{role: 'user', content: 'go'}]});
    let text;
    for await (const stream of runner) text = (await stream.finalMessage()).content.map((b) => b.text ?? '').join('');
    assert.deepEqual([seen, text], [[41], 'x is 41']);
    assert.deepEqual([sent().messages.map((m) => m.role), sent().tools.length, 'thread' in sent()], [['user', 'assistant', 'tool'], 1, false]);
  });

  it('calls whose arguments come side by side become blocks one after the other', async () => {
    site.next(function (r, res) {
      this.sseHead(res);
      const call = (index, piece) => this.event(res, answerPiece({tool_calls: [{index, ...piece}]}));
      call(0, {id: 'c0', type: 'function', function: {name: 'f', arguments: ''}});
      call(1, {id: 'c1', type: 'function', function: {name: 'g', arguments: ''}});
      call(1, {function: {arguments: '{"b":"}'}});
      call(0, {function: {arguments: '{"a":'}});
      call(0, {function: {arguments: '{}}'}});
      call(1, {function: {arguments: '"}'}});
      this.event(res, answerPiece({}, 'tool_calls'));
      res.end('data: [DONE]\n\n');
    });
    const message = await client.messages.stream({model: 'up/gpt-test', tools: [weather], ...hi('x')}).finalMessage();
    assert.deepEqual(message.content.map((b) => [b.id, b.name, b.input]), [['c0', 'f', {a: {}}], ['c1', 'g', {b: '}'}]]);
  });

  it('pictures and documents, by data and by URL', async () => {
    const image = {type: 'image', source: {type: 'base64', media_type: 'image/png', data: PNG}};
    const seen = await client.messages.create({model: 'demo/echo', ...hi([{type: 'text', text: 'Look'}, image])});
    assert.match(seen.content[0].text, /1 picture of type image\/png, 70 bytes/);
    await client.messages.create({model: 'up/gpt-test', ...hi([image, {type: 'image', source: {type: 'url', url: 'https://example.com/a.png'}},
      {type: 'document', title: 'notes', source: {type: 'text', media_type: 'text/plain', data: 'words'}},
      {type: 'document', title: 'a.pdf', source: {type: 'base64', media_type: 'application/pdf', data: 'JVBERi0='}}, {type: 'text', text: 'So?'}])});
    assert.deepEqual(sent().messages[0].content, [{type: 'image_url', image_url: {url: `data:image/png;base64,${PNG}`}},
      {type: 'image_url', image_url: {url: 'https://example.com/a.png'}}, {type: 'text', text: 'notes:\nwords'},
      {type: 'file', file: {filename: 'a.pdf', file_data: 'data:application/pdf;base64,JVBERi0='}}, {type: 'text', text: 'So?'}]);
  });

  it('the stop text that was met, and the limit', async () => {
    const stopped = await client.messages.create({model: 'zai/glm-4.6', ...hi('x'), stop_sequences: ['nothing', ', wor']});
    assert.deepEqual([stopped.content[0].text, stopped.stop_reason, stopped.stop_sequence], ['你好', 'stop_sequence', ', wor']);
    const echoed = await client.messages.create({model: 'demo/echo', ...hi('one two three'), stop_sequences: ['three', ' two']});
    assert.deepEqual([echoed.content[0].text, echoed.stop_reason, echoed.stop_sequence], ['one', 'stop_sequence', ' two']);
    const limited = await client.messages.stream({model: 'demo/echo', ...hi('one two three'), max_tokens: 2}).finalMessage();
    assert.deepEqual([limited.content[0].text, limited.stop_reason, limited.stop_sequence], ['one two', 'max_tokens', null]);
  });

  it("a schema of the answer goes to services that take one, in OpenAI's form", async () => {
    const schema = {type: 'object', properties: {a: {type: 'string'}}, additionalProperties: false};
    await client.messages.create({model: 'up/gpt-test', ...hi('x'), output_config: {format: {type: 'json_schema', schema}}});
    assert.deepEqual(sent().response_format, {type: 'json_schema', json_schema: {name: 'answer', schema}});
    await client.messages.create({model: 'zai/glm-4.6', ...hi('x'), output_config: {format: {type: 'json_schema', schema}}});
    assert.ok(zai.requests.some(({body}) => body.includes(JSON.stringify(JSON.stringify(schema)).slice(1, -1)))); // in the prompt
  });

  it('tokens are counted at once, without any site', async () => {
    const before = site.requests.length;
    const {input_tokens: small} = await client.messages.countTokens({model: 'up/gpt-test', messages: [{role: 'user', content: 'Hello there'}]});
    const large = await client.messages.countTokens({model: 'up/gpt-test', system: 'Be brief. '.repeat(100), tools: [weather], messages: [{role: 'user', content: 'Hello there'}]});
    assert.ok(small > 2 && small < 20, String(small));
    assert.ok(large.input_tokens > small + 200, String(large.input_tokens));
    assert.deepEqual(Object.keys(large), ['input_tokens']);
    assert.equal(site.requests.length, before);
    assert.equal((await raw('/messages/count_tokens?beta=true', {model: 'demo/echo', messages: [{role: 'user', content: 'x'}]})).status, 200);
    await assert.rejects(client.messages.countTokens({model: 'no/such', messages: [{role: 'user', content: 'x'}]}), Anthropic.NotFoundError);
    await assert.rejects(client.messages.countTokens({model: 'demo/echo', messages: []}), Anthropic.BadRequestError);
    await assert.rejects(make({apiKey: NARROW}).messages.countTokens({model: 'up/gpt-test', messages: [{role: 'user', content: 'x'}]}), Anthropic.PermissionDeniedError);
  });

  it('errors by their class, in their own shape, with the id of the request', async () => {
    const ask = (more, by = client) => by.messages.create({model: 'demo/echo', ...hi('x'), ...more});
    const fails = (promise, kind, type, message) => assert.rejects(promise, (e) => {
      assert.ok(e instanceof kind, `${e.constructor.name}: ${e.message}`);
      assert.deepEqual([e.error.type, e.error.error.type, e.error.request_id], ['error', type, e.requestID]);
      assert.deepEqual([Object.keys(e.error), Object.keys(e.error.error)], [['type', 'error', 'request_id'], ['type', 'message']]);
      assert.match(e.error.error.message, message);
      return true;
    });
    await fails(ask({}, make({apiKey: 'sk-wrong'})), Anthropic.AuthenticationError, 'authentication_error', /not one of the gateway's keys/);
    await fails(ask({model: 'up/gpt-test'}, make({apiKey: NARROW})), Anthropic.PermissionDeniedError, 'permission_error', /may not use the model/);
    await fails(ask({model: 'no/such'}), Anthropic.NotFoundError, 'not_found_error', /^model: there is no model "no\/such"/);
    await fails(ask({max_tokens: undefined}), Anthropic.BadRequestError, 'invalid_request_error', /^max_tokens: is required/);
    await fails(ask({messages: [{role: 'user', content: [{type: 'text', text: 'a'}, {type: 'image', source: {type: 'base64'}}]}]}),
      Anthropic.BadRequestError, 'invalid_request_error', /^messages\.0\.content\.1\.source\.media_type: is required/);
    await fails(ask({model: 'zai/glm-4.6', tools: [weather], tool_choice: {type: 'tool', name: 'other'}}), Anthropic.BadRequestError, 'invalid_request_error', /^tool_choice .*"other"/);
    await fails(ask({model: 'up/gpt-test', tools: [{type: 'web_search_20250305', name: 'web_search'}]}), Anthropic.BadRequestError, 'invalid_request_error', /^tools: up does not know the built-in tools/);
    await fails(ask({model: 'up/gpt-test', messages: [{role: 'user', content: [{type: 'search_result', source: 's', title: 't', content: []}]}]}),
      Anthropic.BadRequestError, 'invalid_request_error', /^messages\.0\.content\.0: /);
    await fails(ask({model: 'up/gpt-test', system: [{type: 'never_seen'}]}), Anthropic.BadRequestError, 'invalid_request_error', /^system: /);
    await fails(client.get('/v1/nothing/here'), Anthropic.NotFoundError, 'not_found_error', /nothing at/);
    await fails(client.get('/v1/messages'), Anthropic.APIError, 'invalid_request_error', /use POST/);
    await fails(client.models.retrieve('no/such'), Anthropic.NotFoundError, 'not_found_error', /no model/);
    site.next({status: 503, json: {error: {message: 'too many', type: 'server_error'}}, headers: {'retry-after': '7'}});
    await fails(ask({model: 'up/gpt-test'}), Anthropic.OverloadedError ?? Anthropic.InternalServerError, 'overloaded_error', /too many/);
  });

  it('our own limit is a 429 that says when', async () => {
    const limited = make({apiKey: LIMITED});
    await limited.messages.create({model: 'demo/echo', ...hi('x')});
    await assert.rejects(limited.messages.create({model: 'demo/echo', ...hi('x')}), (e) => e instanceof Anthropic.RateLimitError && e.error.error.type === 'rate_limit_error' && Number(e.headers.get('retry-after')) > 0);
    await limited.messages.countTokens({model: 'demo/echo', messages: [{role: 'user', content: 'x'}]}); // it asks no site: as a list of models, it is free
  });

  it('a body that is too large, or no HTTP at all, is told in the same shape', async () => {
    for (const [head, status, type] of [
      ['POST /v1/messages?beta=true HTTP/1.1\r\nContent-Length: 99999999999\r\n', 413, 'request_too_large'],
      [`POST /v1/elsewhere HTTP/1.1\r\nanthropic-version: 2023-06-01\r\nContent-Length: 99999999999\r\n`, 404, 'not_found_error'],
    ]) {
      const answer = await speak(gateway.port, `${head}Host: localhost\r\nx-api-key: ${KEY}\r\n\r\n`);
      assert.match(answer, new RegExp(`^HTTP/1.1 ${status} `));
      const body = JSON.parse(answer.slice(answer.indexOf('\r\n\r\n') + 4));
      assert.deepEqual([body.type, body.error.type], ['error', type]);
      assert.equal(body.request_id, /\r\nrequest-id: (\S+)/.exec(answer)[1]);
    }
    const bad = await raw('/v1/messages', '{"model":');
    assert.deepEqual([bad.status, (await bad.json()).error.type], [400, 'invalid_request_error']);
    const expects = await fetch(`${gateway.origin}/v1/messages`, {method: 'DELETE', headers: {'x-api-key': KEY}});
    assert.deepEqual([expects.status, (await expects.json()).type, expects.headers.get('allow')], [405, 'error', 'POST, OPTIONS']);
  });

  it('a failure behind the head is an error event', async () => {
    site.next(function (r, res) {
      this.sseHead(res);
      this.event(res, answerPiece({role: 'assistant', content: 'Half an'}));
      setImmediate(() => r.socket.destroy());
    });
    const pieces = [];
    const stream = client.messages.stream({model: 'up/gpt-test', ...hi('x')}).on('text', (t) => pieces.push(t));
    await assert.rejects(stream.finalMessage(), (e) => e instanceof Anthropic.APIError && e.error.error.type === 'api_error' && /broke off/.test(e.error.error.message));
    assert.deepEqual(pieces, ['Half an']);
    const text = await (async () => {
      site.next(function (r, res) {
        this.sseHead(res);
        this.event(res, answerPiece({role: 'assistant', content: 'Half'}));
        setImmediate(() => r.socket.destroy());
      });
      return (await raw('/v1/messages', {model: 'up/gpt-test', stream: true, ...hi('x')})).text();
    })();
    const events = eventsOf(text);
    assert.deepEqual(events.map((e) => e.type), ['message_start', 'ping', 'content_block_start', 'content_block_delta', 'error']);
    assert.match(events.at(-1).request_id, /^req_/);
    assert.ok(!text.includes('[DONE]') && !text.includes('message_stop'));
  });

  it('asks again where that helps, and the person who leaves frees the site', async () => {
    site.next({status: 500, json: {error: {message: 'once', type: 'server_error'}}});
    const again = await make({maxRetries: 1}).messages.create({model: 'up/gpt-test', ...hi('again')});
    assert.equal(again.content[0].text, 'again');
    const asked = saysHello(site);
    const stream = client.messages.stream({model: 'up/gpt-test', ...hi('x')});
    const ended = assert.rejects(stream.finalMessage(), Anthropic.APIUserAbortError);
    const record = await asked;
    await new Promise((resolve) => stream.once('text', resolve));
    stream.abort();
    await ended;
    await leftAtOnce(record);
    assert.equal(await active(gateway), 0);
  });

  it("models in the asker's dialect", async () => {
    const ids = [];
    for await (const model of client.models.list()) {
      assert.deepEqual([model.type, model.display_name, new Date(model.created_at).getTime() > 0], ['model', model.id, true]);
      ids.push(model.id);
    }
    assert.ok(ids.includes('demo/echo') && ids.includes('gpt-test'), ids.join(' '));
    const page = await client.models.list();
    assert.deepEqual([page.has_more, page.first_id, page.last_id], [false, ids[0], ids.at(-1)]);
    const one = await client.models.retrieve('up/gpt-test');
    assert.deepEqual([one.id, one.type, one.object, one.owned_by], ['up/gpt-test', 'model', 'model', 'up']);
    const plain = await (await fetch(`${gateway.base}/models`, {headers: {authorization: `Bearer ${KEY}`}})).json();
    assert.deepEqual([Object.keys(plain), Object.keys(plain.data[0])], [['object', 'data'], ['id', 'object', 'created', 'owned_by']]);
  });

  it('what Claude Code sends, on any site, by any of its paths', async () => {
    const request = {
      model: 'demo/echo', max_tokens: 32000, stream: true, temperature: 1, top_k: 5, metadata: {user_id: 'user_0123_account__session_4567'},
      betas: ['claude-code-20250219'], context_management: {edits: [{type: 'clear_thinking_20251015', keep: 'all'}]}, thinking: {type: 'adaptive'},
      output_config: {effort: 'medium'}, service_tier: 'auto',
      system: [{type: 'text', text: 'You are Claude Code. '.repeat(2000), cache_control: {type: 'ephemeral'}}, {type: 'text', text: 'Be brief.', cache_control: {type: 'ephemeral', ttl: '1h'}}],
      tools: Array.from({length: 24}, (_, i) => ({...weather, name: `tool_${i}`, ...(i === 23 ? {cache_control: {type: 'ephemeral'}} : {})})),
      tool_choice: {type: 'auto'},
      messages: [{role: 'user', content: [{type: 'text', text: '<system-reminder>x</system-reminder>'}, {type: 'text', text: 'Hello', cache_control: {type: 'ephemeral'}}]}],
    };
    const headers = {'anthropic-beta': 'claude-code-20250219,interleaved-thinking-2025-05-14,never-heard-of-2031-01-01', 'x-claude-code-session-id': 'x', 'user-agent': 'claude-cli/2.0'};
    const echoed = eventsOf(await (await raw('/v1/messages?beta=true', {...request, tools: undefined, tool_choice: undefined}, headers)).text());
    assert.equal(echoed.filter((e) => e.type === 'content_block_delta').map((e) => e.delta.text).join(''), '<system-reminder>x</system-reminder>\nHello');
    const small = await (await raw('/v1/messages', {model: 'claude-haiku-4-5', max_tokens: 1, ...hi('quota')}, headers)).json();
    assert.deepEqual([small.model, small.content[0].text, sent().model], ['claude-haiku-4-5', 'quota', 'gpt-test']);
    for (const path of ['/messages?beta=true', '/v1/v1/messages', '/v1/messages/']) {
      const events = eventsOf(await (await raw(path, {...request, model: 'up/gpt-test'}, {...headers, 'x-api-key': '', authorization: `Bearer ${KEY}`})).text());
      assert.deepEqual([events[0].type, events.at(-1).type, events.at(-2).delta.stop_reason], ['message_start', 'message_stop', 'tool_use']);
    }
    assert.deepEqual(Object.keys(sent()).sort(), ['max_completion_tokens', 'messages', 'model', 'reasoning_effort', 'stream', 'stream_options', 'temperature', 'tool_choice', 'tools']);
    assert.equal(sent().tools.length, 24);
    assert.ok(!JSON.stringify(sent()).includes('cache_control'));
  });
});

// The same SDK before the services of Anthropic and Google: its own words unchanged, and words of somebody else.
describe("Anthropic's SDK before official APIs", {timeout: 120000}, () => {
  let official, gemini, gateway, client;
  const sent = () => official.chatRequests().at(-1);
  before(async () => {
    official = await new Official().start();
    gemini = await new Gemini().start();
    gateway = await startGateway({keys: [{name: 'ours', key: KEY}], sites: [
      {name: 'anthropic', adapter: 'anthropic', ...official.config(), accounts: [{name: 'a', api_key: 'sk-ant-test'}]},
      {name: 'gemini', adapter: 'gemini', ...gemini.config(), accounts: [{name: 'a', api_key: 'AIza-test'}]}]});
    client = new Anthropic({apiKey: KEY, baseURL: gateway.origin, maxRetries: 0});
  });
  after(async () => {
    await gateway?.stop();
    await official?.stop();
    await gemini?.stop();
  });
  afterEach(() => {
    assert.deepEqual([official.violations, official.plans, official.refusals.splice(0)], [[], [], official.expected ?? []]);
    assert.deepEqual([gemini.violations, gemini.plans], [[], []]);
    official.expected = [];
  });

  for (const [model, thinking] of [['anthropic/claude-sonnet-4-5', {type: 'enabled', budget_tokens: 2000}], ['anthropic/claude-opus-4-7', {type: 'adaptive', display: 'summarized'}]]) {
    it(`${model}: the runner of tools carries the thinking, with its proofs, through three steps`, async () => {
      const seen = [];
      const tool = betaTool({name: 'get_weather', description: 'of a city', inputSchema: {type: 'object', properties: {city: {type: 'string'}, n: {type: 'number'}}},
        run: ({city, n}) => (seen.push([city, n]), '4 degrees')});
      const runner = client.beta.messages.toolRunner({model, max_tokens: 8000, stream: true, thinking, tools: [tool], betas: ['interleaved-thinking-2025-05-14'],
        system: [{type: 'text', text: 'Be brief.', cache_control: {type: 'ephemeral'}}], messages: [{role: 'user', content: [{type: 'text', text: 'Weather?', cache_control: {type: 'ephemeral', ttl: '1h'}}]}]});
      let last;
      for await (const stream of runner) last = await stream.finalMessage();
      assert.deepEqual(seen, [['札幌', 1], ['札幌', 3], ['札幌', 2]]);
      assert.deepEqual([last.content.map((b) => b.type), last.content[1].text, last.stop_reason], [['thinking', 'text'], '雪 falls softly ❄️.', 'end_turn']);
      assert.deepEqual([last.usage.input_tokens, last.usage.cache_creation_input_tokens, last.usage.cache_read_input_tokens, last.usage.output_tokens], [12, 3, 5, 15]);
      const {json: first} = official.chatRequests().at(-3), {json, headers} = sent(); // the SDK takes the marks of what was answered away
      assert.equal(headers['anthropic-beta'], 'interleaved-thinking-2025-05-14');
      assert.deepEqual([first.thinking, first.max_tokens, first.system, first.messages[0].content], [thinking, 8000, [{type: 'text', text: 'Be brief.', cache_control: {type: 'ephemeral'}}],
        [{type: 'text', text: 'Weather?', cache_control: {type: 'ephemeral', ttl: '1h'}}]]);
      assert.deepEqual(json.messages[1].content.map((b) => b.type), ['thinking', 'text', 'tool_use']);
    });
  }

  it('what the service refuses is told with its own sentence', async () => {
    official.expected = ['`temperature` and `top_p` cannot both be specified for this model. Please use only one.'];
    await assert.rejects(client.messages.create({model: 'anthropic/claude-sonnet-4-5', ...hi('x'), temperature: 1, top_p: 0.9}),
      (e) => e instanceof Anthropic.BadRequestError && e.error.error.message.includes(official.expected[0]));
  });

  it('stop words of its own, thinking that nobody can read, an error behind the head', async () => {
    official.next(function (r, res) {
      this.begin(res, r.json.model);
      this.write(res, 0, {type: 'redacted_thinking', data: 'Emw+'});
      this.text(res, 1, 'Let me');
      this.end(res, 'pause_turn');
    }, function (r, res) {
      this.begin(res, r.json.model);
      this.text(res, 0, 'One');
      this.end(res, 'stop_sequence', {stop_sequence: 'two'});
    }, function (r, res) {
      this.begin(res, r.json.model);
      this.text(res, 0, 'Half');
      this.put(res, 'error', {error: {type: 'overloaded_error', message: 'Overloaded'}});
      res.end();
    });
    const ask = (more) => client.messages.stream({model: 'anthropic/claude-sonnet-4-5', ...hi('x'), ...more}).finalMessage();
    const paused = await ask();
    assert.deepEqual([paused.content, paused.stop_reason], [[{type: 'redacted_thinking', data: 'Emw+'}, {type: 'text', text: 'Let me'}], 'pause_turn']);
    const stopped = await ask({stop_sequences: ['two']});
    assert.deepEqual([stopped.stop_reason, stopped.stop_sequence, sent().json.stop_sequences], ['stop_sequence', 'two', ['two']]);
    await assert.rejects(ask(), (e) => e.error.error.type === 'overloaded_error');
  });

  it('gemini: texts, thoughts, pictures, and calls with their results', async () => {
    const model = 'gemini/gemini-2.5-flash';
    const said = await client.messages.create({model, thinking: {type: 'enabled', budget_tokens: 1024}, ...hi('Größe 你好 🌍'), max_tokens: 4000});
    assert.deepEqual([said.content.map((b) => b.type), said.content[0].thinking, said.content.at(-1).text, said.stop_reason], [['thinking', 'text'], '**Plan**\nLet me see.', 'Größe 你好 🌍', 'end_turn']);
    const tools = [{name: 'get_weather', input_schema: {type: 'object', properties: {city: {type: 'string'}}}}];
    const messages = [{role: 'user', content: 'tools'}];
    const first = await client.messages.stream({model, max_tokens: 1000, tools, messages}).finalMessage();
    const calls = first.content.filter((b) => b.type === 'tool_use');
    assert.ok(first.stop_reason === 'tool_use' && calls.length > 0, JSON.stringify(first));
    const second = await client.messages.create({model, max_tokens: 1000, tools, messages: [...messages, {role: 'assistant', content: first.content},
      {role: 'user', content: calls.map((c) => ({type: 'tool_result', tool_use_id: c.id, content: '4 degrees'}))}]});
    assert.ok(second.content.length > 0);
  });
});

// The adapter of the same dialect speaks to the front: what one says, the other must understand.
describe('a gateway behind a gateway, in Anthropic\'s words', {timeout: 120000}, () => {
  let site, behind, gateway, client;
  before(async () => {
    site = await new OpenAiSite().start();
    behind = await startGateway({keys: [{name: 'ours', key: 'sk-behind'}], sites: [{name: 'demo', adapter: 'demo'},
      {name: 'up', adapter: 'openai', ...site.config({base_url: `${site.origin}/v1`, models: ['gpt-test']}), accounts: [{name: 'a', api_key: 'sk-upstream'}]}]});
    gateway = await startGateway({keys: [{name: 'ours', key: KEY}], sites: [{name: 'next', adapter: 'anthropic', base_url: behind.origin,
      models: ['demo/echo', 'demo/reasoner', 'demo/tools', 'up/gpt-test'], accounts: [{name: 'a', api_key: 'sk-behind'}]}]});
    client = new Anthropic({apiKey: KEY, baseURL: gateway.origin, maxRetries: 0});
  });
  after(async () => {
    await gateway?.stop();
    await behind?.stop();
    await site?.stop();
  });
  afterEach(() => assert.deepEqual([site.violations, site.plans], [[], []]));

  it('texts and thinking, whole and streamed', async () => {
    for (const model of ['next/demo/echo', 'next/demo/reasoner']) {
      const whole = await client.messages.create({model, ...hi('Größe 你好 🌍')});
      const streamed = await client.messages.stream({model, ...hi('Größe 你好 🌍')}).finalMessage();
      assert.deepEqual(streamed.content, whole.content);
      assert.deepEqual([streamed.stop_reason, whole.stop_reason, whole.content.at(-1).text], ['end_turn', 'end_turn', 'Größe 你好 🌍']);
      assert.deepEqual([whole.usage.input_tokens, whole.usage.output_tokens], [streamed.usage.input_tokens, streamed.usage.output_tokens]);
    }
  });

  it('tools, their results, and the stop text that was met', async () => {
    const tools = [{...weather, cache_control: {type: 'ephemeral'}}];
    const first = await client.messages.stream({model: 'next/up/gpt-test', tools, ...hi('weather')}).finalMessage();
    assert.deepEqual([first.stop_reason, first.content], ['tool_use', [{type: 'tool_use', id: 'call_a', name: 'get_weather', input: {x: 1}}]]);
    const second = await client.messages.create({model: 'next/up/gpt-test', max_tokens: 50, messages: [{role: 'user', content: 'weather'}, {role: 'assistant', content: first.content},
      {role: 'user', content: [{type: 'tool_result', tool_use_id: 'call_a', is_error: true, content: 'none'}, {type: 'text', text: 'So?'}]}]});
    assert.equal(second.content[0].text, 'So?');
    assert.equal(site.chatRequests().at(-1).json.messages[2].content, 'Error: none');
  });

  it('failures keep their kind', async () => {
    const ask = (more) => client.messages.create({model: 'next/up/gpt-test', ...hi('x'), ...more});
    await assert.rejects(ask({tools: [{type: 'web_search_20250305', name: 'web_search'}]}), (e) => e instanceof Anthropic.BadRequestError && /built-in tools/.test(e.error.error.message));
    site.next({status: 503, json: {error: {message: 'too many', type: 'server_error'}}});
    await assert.rejects(ask({}), (e) => e.status === 529 && e.error.error.type === 'overloaded_error');
  });

  it('OpenAI\'s clients reach it as well', async () => {
    const answer = await (await fetch(`${gateway.base}/chat/completions`, {method: 'POST', headers: {'content-type': 'application/json', authorization: `Bearer ${KEY}`},
      body: JSON.stringify({model: 'next/demo/reasoner', messages: [{role: 'user', content: 'Hello there'}]})})).json();
    assert.deepEqual([answer.choices[0].message.content, answer.choices[0].message.reasoning_content], ['Hello there', 'The person says 2 words. I shall say them again.']);
  });
});
