// Anthropic's Messages API behind OpenAI's SDK, through a stand-in that refuses what the real service refuses.
import assert from 'node:assert/strict';
import {afterEach, describe, it} from 'node:test';
import Sdk from '@anthropic-ai/sdk';
import OpenAI from 'openai';
import {Anthropic, MODELS} from '../sites/anthropic.mjs';
import {startGateway} from './lib/gateway.mjs';
import {chat, checkBrokenStream, checkError, checkStream, user} from './lib/http.mjs';

const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
const TEXT = '雪 falls softly ❄️.';
const weather = {type: 'function', function: {name: 'get.weather', description: 'of a city',
  parameters: {type: 'object', required: ['city'], properties: {city: {type: 'string'}, n: {type: 'number'}}}}};

describe('anthropic', {timeout: 120000}, () => {
  const running = [];
  afterEach(async () => {
    const sites = running.filter((t) => t instanceof Anthropic);
    for (const thing of running.splice(0).reverse()) await thing.stop();
    for (const site of sites) assert.deepEqual([site.violations, site.refusals], [[], site.expected ?? []]);
  });
  const serve = async ({site: siteOptions = {}, accounts = [{name: 'me', api_key: 'sk-ant-test'}], ...more} = {}, config = {}) => {
    const site = await new Anthropic(siteOptions).start();
    running.push(site);
    const gateway = await startGateway({sites: [{name: 'anthropic', adapter: 'anthropic', ...site.config(more), base_url: site.origin + site.prefix, accounts}], ...config});
    running.push(gateway);
    const client = new OpenAI({apiKey: 'none', baseURL: gateway.base, maxRetries: 0});
    const ask = (body = {}, options) => chat(gateway.base, {model: 'anthropic/claude-sonnet-4-5', ...user('hi'), ...body}, options);
    return {site, gateway, client, ask, sent: () => site.chatRequests().at(-1).json};
  };

  it('streams, with usage that counts the cache', async () => {
    const {ask, sent} = await serve();
    const answer = checkStream(await (await ask({stream: true, stream_options: {include_usage: true}, user: 'me', seed: 1, n: 1})).text(), {usage: true});
    assert.deepEqual([answer.content, answer.finish], [TEXT, 'stop']);
    assert.deepEqual([answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.prompt_tokens_details.cached_tokens], [20, 15, 5]);
    assert.deepEqual(Object.keys(sent()).sort(), ['max_tokens', 'messages', 'model', 'stream']);
  });

  it('answers whole, and reasons in every generation of models', async () => {
    const {client, site} = await serve();
    for (const [model, {generation}] of Object.entries(MODELS)) {
      const answer = await client.chat.completions.create({model: `anthropic/${model}`, reasoning_effort: 'high', temperature: 0.5, top_p: 0.5, ...user('hi')});
      const {message, finish_reason} = answer.choices[0];
      assert.deepEqual([message.content, finish_reason], [TEXT, 'stop']);
      assert.equal(!!message.reasoning_content, generation >= 307 && model !== 'claude-odd-9', model);
    }
    assert.equal(site.chatRequests().length, Object.keys(MODELS).length);
  });

  for (const model of ['claude-sonnet-4-5', 'claude-opus-4-5', 'claude-sonnet-4-6', 'claude-opus-4-7']) {
    it(`${model}: tools in three steps, each with the thinking before it`, async () => {
      const {client, site} = await serve();
      const got = [];
      const runner = client.chat.completions.runTools({
        model: `anthropic/${model}`, stream: true, reasoning_effort: 'low', messages: [{role: 'system', content: 'Be brief.'}, {role: 'user', content: 'Weather?'}],
        tools: [{type: 'function', function: {...weather.function, parse: JSON.parse, function: (a) => (got.push(a), '4 degrees')}}],
      });
      assert.equal(await runner.finalContent(), TEXT);
      assert.deepEqual(got.map((a) => [a.city, a.n]), [['札幌', 1], ['札幌', 3], ['札幌', 2]]);
      const bodies = site.chatRequests().map((r) => r.json);
      assert.equal(bodies.length, 3);
      for (const b of bodies) assert.ok(b.thinking, 'asked without thinking');
      assert.deepEqual(bodies[2].messages.filter((m) => m.role === 'assistant').map((m) => m.content.map((c) => c.type)),
        [['thinking', 'text', 'tool_use'], ['thinking', 'text', 'tool_use', 'tool_use']]);
    });
  }

  it('goes on without thinking where the proof is not known, and with calls of another service', async () => {
    const {ask, sent} = await serve();
    const messages = [{role: 'user', content: 'a'},
      {role: 'assistant', content: null, tool_calls: [{id: 'call:old/1', type: 'function', function: {name: 'get.weather', arguments: ''}}]},
      {role: 'tool', tool_call_id: 'call:old/1', content: '4'}, {role: 'user', content: 'And?'}];
    assert.equal((await ask({messages, reasoning_effort: 'high'})).status, 200);
    assert.equal(sent().thinking, undefined);
    assert.deepEqual(sent().tool_choice, {type: 'none'});
  });

  it('takes pictures, documents and schemas', async () => {
    const {client, sent} = await serve();
    await client.chat.completions.create({model: 'claude-sonnet-4-5', messages: [{role: 'user', content: [
      {type: 'image_url', image_url: {url: `data:image/png;base64,${PNG}`}}, {type: 'image_url', image_url: {url: 'https://x.example/a.jpg'}},
      {type: 'file', file: {filename: 'a.pdf', file_data: 'data:application/pdf;base64,JVBERi0='}}, {type: 'text', text: 'What?'}]}],
    response_format: {type: 'json_schema', json_schema: {name: 'a', schema: {type: 'object', properties: {a: {type: 'object', properties: {}}}}}}});
    assert.deepEqual(sent().messages[0].content.map((c) => c.source?.type ?? c.type), ['base64', 'url', 'base64', 'text']);
    await client.chat.completions.create({model: 'claude-3-5-sonnet-20241022', ...user('a'), response_format: {type: 'json_object'}});
    assert.match(sent().system[0].text, /JSON/);
    await checkError(await (await serve()).ask({messages: [{role: 'user', content: [{type: 'input_audio', input_audio: {data: 'aaaa', format: 'wav'}}]}]}),
      {status: 400, type: 'invalid_request_error', code: 'unsupported_value'});
  });

  it('repairs what the service would refuse', async () => {
    const {ask, sent} = await serve();
    for (const model of ['claude-sonnet-4-5', 'claude-opus-4-7']) {
      const messages = [{role: 'assistant', content: 'Hello '}, {role: 'user', content: 'a'}, {role: 'user', content: ' '}, {role: 'system', content: 's'},
        {role: 'assistant', content: ''}, {role: 'user', content: 'b'}, {role: 'assistant', content: 'Once upon '}];
      assert.equal((await ask({model, messages, stop: ['\n', 'END'], parallel_tool_calls: false, tools: []})).status, 200);
      assert.deepEqual(sent().messages.map((m) => m.role).slice(0, 4), ['user', 'assistant', 'user', 'assistant']);
    }
  });

  it('leaves a field out that a model refuses, and remembers it', async () => {
    const {site, ask} = await serve();
    site.noTemperature = true;
    site.expected = ['`temperature` is deprecated for this model.'];
    for (let i = 0; i < 3; i++) assert.equal((await ask({temperature: 0.5})).status, 200);
    assert.equal(site.chatRequests().length, 4);
  });

  it('lists the models of all pages, and heeds what the list says of them', async () => {
    const {client, site, sent} = await serve();
    const ids = async () => (await client.models.list()).data.map((m) => m.id);
    await ids();
    await site.request((r) => r.query.get('after_id'));
    for (let i = 0; i < 200 && !(await ids()).includes('claude-3-5-sonnet-20241022'); i++);
    assert.deepEqual((await ids()).sort(), Object.keys(MODELS).sort());
    await client.chat.completions.create({model: 'claude-odd-9', max_tokens: 9000, ...user('a')});
    assert.equal(sent().max_tokens, 3000);
  });

  it('sends the key as a bearer, betas, and below a prefix', async () => {
    const {site, ask} = await serve({site: {bearer: true, prefix: '/anthropic'}, options: {auth: 'bearer', betas: 'a-2025,b-2025'}});
    assert.equal((await ask()).status, 200);
    assert.equal(site.chatRequests()[0].headers['anthropic-beta'], 'a-2025,b-2025');
  });

  it('calls failures by their names', async () => {
    const {site, ask} = await serve();
    const error = (status, type, message, headers) => function (r, res) {
      this.error(res, status, type, message, headers);
    };
    const page = (status, text) => (r, res) => res.writeHead(status, {'content-type': 'text/html'}).end(`<html><title>${text}</title></html>`);
    const up = 'upstream_error', bad = 'invalid_request_error';
    const rows = [
      [error(400, bad, 'prompt is too long: 9 tokens > 8 maximum'), 400, bad, 'context_length_exceeded'],
      [error(400, bad, 'odd'), 400, bad, 'upstream_bad_request'],
      [error(404, 'not_found_error', 'model: x'), 404, bad, 'model_not_found'],
      [error(413, 'request_too_large', 'big'), 400, bad, 'upstream_bad_request'],
      [error(500, 'api_error', 'Internal', {'x-should-retry': 'false'}), 502, up, 'upstream_failed'],
      [error(504, 'timeout_error', 'late'), 504, up, 'upstream_timeout'],
      [error(529, 'overloaded_error', 'Overloaded'), 503, up, 'upstream_overloaded'],
    ];
    for (const [plan, status, type, code] of rows) {
      site.next(plan);
      const answer = await ask();
      await checkError(answer, {status, type, code, noRetry: ['upstream_bad_request', 'upstream_failed'].includes(code)});
    }
    for (const [plan, status, type, code] of [
      [page(403, 'Just a moment...'), 403, up, 'upstream_challenge'],
      [error(401, 'authentication_error', 'invalid x-api-key'), 403, up, 'upstream_credential'],
      [error(403, 'permission_error', 'no'), 403, up, 'upstream_credential'],
      [error(400, bad, 'Your credit balance is too low to access the Anthropic API.'), 429, 'rate_limit_error', 'upstream_rate_limited'],
      [error(429, 'rate_limit_error', 'slow', {'retry-after': '7'}), 429, 'rate_limit_error', 'upstream_rate_limited'],
    ]) {
      const other = await serve();
      other.site.next(plan);
      const answer = await other.ask();
      if (code === 'upstream_rate_limited') assert.ok(['7', '3600'].includes(answer.headers.get('retry-after')), answer.headers.get('retry-after'));
      await checkError(answer, {status, type, code, noRetry: status === 403});
    }
  });

  it('never makes half an answer look whole', async () => {
    const {site, ask} = await serve();
    const begin = function (then) {
      return function (r, res) {
        this.begin(res, r.json.model);
        this.put(res, 'content_block_start', {index: 0, content_block: {type: 'text', text: 'Half'}});
        then.call(this, res);
      };
    };
    site.next(begin((res) => res.end()), begin((res) => res.socket.end()), begin(function (res) {
      this.put(res, 'error', {error: {type: 'overloaded_error', message: 'Overloaded'}});
      res.end();
    }));
    for (const code of ['upstream_cut', 'upstream_cut', 'upstream_overloaded']) {
      const answer = checkBrokenStream(await (await ask({stream: true})).text());
      assert.deepEqual([answer.content, answer.error.code], ['Half', code]);
    }
  });

  it("loses nothing of what Anthropic's own SDK says", async () => {
    const {gateway, site, sent} = await serve({options: {betas: 'ours-2025'}});
    const client = new Sdk({apiKey: 'none', baseURL: gateway.base.replace(/\/v1$/, ''), maxRetries: 0});
    const cache_control = {type: 'ephemeral'};
    const body = {
      model: 'claude-sonnet-4-5', max_tokens: 3000, thinking: {type: 'enabled', budget_tokens: 1500}, metadata: {user_id: 'u-1'},
      system: [{type: 'text', text: 'Be brief.', cache_control}],
      tools: [{name: 'get_weather', description: 'of a city', input_schema: {type: 'object', properties: {city: {type: 'string'}}}, cache_control}],
      tool_choice: {type: 'auto', disable_parallel_tool_use: true},
      messages: [{role: 'user', content: [{type: 'document', source: {type: 'text', media_type: 'text/plain', data: 'Oslo'}, title: 't', citations: {enabled: true}}, {type: 'text', text: 'Weather?', cache_control}]}],
    };
    for (let round = 0; round < 3; round++) {
      const answer = await client.messages.stream(body, {headers: {'anthropic-beta': 'mine-2025'}}).finalMessage();
      const {stream, ...said} = sent();
      assert.deepEqual([stream, said], [true, {...body, model: 'claude-sonnet-4-5'}]);
      assert.equal(site.chatRequests().at(-1).headers['anthropic-beta'], 'ours-2025,mine-2025');
      const calls = answer.content.filter((c) => c.type === 'tool_use');
      assert.deepEqual([answer.stop_reason, answer.usage.input_tokens, answer.usage.cache_read_input_tokens, answer.usage.cache_creation_input_tokens, answer.usage.output_tokens],
        [round < 2 ? 'tool_use' : 'end_turn', 12, 5, 3, 15]);
      if (round === 2) break;
      assert.equal(calls.length, round + 1);
      body.messages.push({role: 'assistant', content: answer.content},
        {role: 'user', content: calls.map((c) => ({type: 'tool_result', tool_use_id: c.id, is_error: true, content: [{type: 'text', text: 'broken', cache_control}]}))});
    }
  });
});
