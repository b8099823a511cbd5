// The demo site through OpenAI's own SDKs, the present one and the one before the rewrite: what people's scripts do.
import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';
import {startDemo} from './lib/gateway.mjs';
import {chat, checkStream, user} from './lib/http.mjs';

const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
const weather = {type: 'function', function: {name: 'get_weather', description: 'The weather',
  parameters: {type: 'object', required: ['city', 'days'], properties: {city: {type: 'string'}, days: {type: 'integer'}}}}};

let gateway;
before(async () => (gateway = await startDemo()));
after(() => gateway?.stop());

for (const name of ['openai', 'openai4']) {
  describe(`${name}: the SDK`, () => {
    let client, sdk;
    before(async () => {
      sdk = (await import(name)).default;
      client = new sdk({apiKey: 'any', baseURL: gateway.base, maxRetries: 0});
    });

    it('lists and retrieves models', async () => {
      const ids = [];
      for await (const model of client.models.list()) {
        assert.deepEqual([model.object, typeof model.created, model.owned_by], ['model', 'number', 'demo']);
        ids.push(model.id);
      }
      assert.deepEqual(ids.sort(), ['demo/echo', 'demo/reasoner', 'demo/slow', 'demo/tools']);
      assert.equal((await client.models.retrieve('demo/echo')).id, 'demo/echo');
      await assert.rejects(client.models.retrieve('demo/nothing'), (e) => e.status === 404 && e.code === 'model_not_found');
    });

    it('gets a whole answer', async () => {
      const answer = await client.chat.completions.create({model: 'demo/echo', ...user('Größe 你好 🌍')});
      assert.equal(answer.object, 'chat.completion');
      const [choice] = answer.choices;
      assert.deepEqual(choice.message, {role: 'assistant', content: 'Größe 你好 🌍', refusal: null});
      assert.deepEqual([choice.finish_reason, choice.logprobs], ['stop', null]);
      assert.deepEqual(answer.usage, {prompt_tokens: 3, completion_tokens: 3, total_tokens: 6, dragoman_source: 'upstream'});
      assert.match(answer._request_id, /^req_/);
    });

    it('iterates over a stream', async () => {
      const stream = await client.chat.completions.create({model: 'demo/echo', stream: true, stream_options: {include_usage: true}, ...user('one two three')});
      let text = '', usage, pieces = 0;
      for await (const chunk of stream) {
        if (chunk.usage) usage = chunk.usage;
        pieces += chunk.choices[0]?.delta.content ? 1 : 0;
        text += chunk.choices[0]?.delta.content ?? '';
      }
      assert.equal(text, 'one two three');
      assert.equal(pieces, 3);
      assert.equal(usage.total_tokens, 6);
    });

    it('accumulates with the stream helper', async () => {
      const helper = client.chat?.completions?.stream ?? client.beta.chat.completions.stream;
      const owner = client.chat.completions.stream ? client.chat.completions : client.beta.chat.completions;
      const stream = helper.call(owner, {model: 'demo/reasoner', ...user('think about it')});
      const final = await stream.finalChatCompletion();
      assert.equal(final.choices[0].message.content, 'think about it');
      assert.equal(final.choices[0].finish_reason, 'stop');
    });

    for (const stream of [false, true]) {
      it(`runs tools, ${stream ? 'streamed' : 'whole'}`, async () => {
        const calls = [];
        const owner = client.chat.completions.runTools ? client.chat.completions : client.beta.chat.completions;
        const runner = owner.runTools({model: 'demo/tools', stream, ...user('How is the weather?'), tools: [{type: 'function', function: {
          ...weather.function, parse: JSON.parse, function: (args) => {
            calls.push(args);
            return 'sunny, 21 degrees';
          }}}]});
        assert.equal(await runner.finalContent(), 'The tool says: sunny, 21 degrees');
        assert.deepEqual(calls, [{city: 'example', days: 1}]);
      });
    }

    it('gets several tool calls', async () => {
      const answer = await client.chat.completions.create({model: 'demo/tools', tools: [weather], ...user('twice please')});
      const [{message, finish_reason}] = answer.choices;
      assert.equal(finish_reason, 'tool_calls');
      assert.equal(message.content, null);
      assert.equal(message.tool_calls.length, 2);
      assert.notEqual(message.tool_calls[0].id, message.tool_calls[1].id);
      for (const call of message.tool_calls) assert.deepEqual(JSON.parse(call.function.arguments), {city: 'example', days: 1});
    });

    it('gets several choices', async () => {
      const answer = await client.chat.completions.create({model: 'demo/echo', n: 3, ...user('again')});
      assert.deepEqual(answer.choices.map((c) => [c.index, c.message.content, c.finish_reason]),
        [[0, 'again', 'stop'], [1, 'again', 'stop'], [2, 'again', 'stop']]);
    });

    it('gets typed errors', async () => {
      const fail = (text) => client.chat.completions.create({model: 'demo/echo', ...user(text)});
      await assert.rejects(fail('!error rate_limited 7'), (e) => e instanceof sdk.RateLimitError && e.code === 'upstream_rate_limited');
      await assert.rejects(fail('!error challenge'), (e) => e instanceof sdk.PermissionDeniedError && e.code === 'upstream_challenge');
      await assert.rejects(fail('!error context_length'), (e) => e instanceof sdk.BadRequestError && e.code === 'context_length_exceeded');
      await assert.rejects(client.chat.completions.create({model: 'nothing', ...user('hi')}), (e) => e instanceof sdk.NotFoundError);
      await assert.rejects(fail('!cut after 2 words'), (e) => e.status === 502 && e.code === 'upstream_cut');
    });

    it('sees a stream that breaks off as an error, never as an end', async () => {
      const stream = await client.chat.completions.create({model: 'demo/echo', stream: true, ...user('!cut after 2 words')});
      let text = '';
      await assert.rejects(async () => {
        for await (const chunk of stream) text += chunk.choices[0].delta.content ?? '';
      });
      assert.equal(text, 'Here are');
    });

    it('is not asked again where asking cannot help', async () => {
      const patient = new sdk({apiKey: 'any', baseURL: gateway.base, maxRetries: 2});
      const from = gateway.stderr.length;
      await assert.rejects(patient.chat.completions.create({model: 'demo/echo', ...user('!error credential')}));
      await gateway.logged(/end=failed/, {from});
      assert.equal(gateway.stderr.slice(from).match(/end=failed/g).length, 1);
    });

    it('leaves, and the gateway notices', async () => {
      const from = gateway.stderr.length;
      const stream = await client.chat.completions.create({model: 'demo/slow', stream: true, ...user('20 ' + 'word '.repeat(200))});
      let n = 0;
      for await (const _ of stream) if (++n === 3) break;
      await gateway.logged(/end=cancelled/, {from, ms: 3000});
    });
  });
}

describe('the demo site, by hand', () => {
  const ask = async (body) => (await chat(gateway.base, body)).json();

  it('streams in the exact shape of the contract', async () => {
    const response = await chat(gateway.base, {model: 'demo/reasoner', stream: true, stream_options: {include_usage: true}, ...user('two words')});
    assert.equal(response.status, 200);
    assert.equal(response.headers.get('content-type'), 'text/event-stream; charset=utf-8');
    assert.equal(response.headers.get('cache-control'), 'no-cache, no-transform');
    assert.equal(response.headers.get('x-accel-buffering'), 'no');
    assert.equal(response.headers.get('content-encoding'), null);
    assert.equal(response.headers.get('content-length'), null);
    const answer = checkStream(await response.text(), {usage: true});
    assert.equal(answer.content, 'two words');
    assert.equal(answer.reasoning, 'The person says 2 words. I shall say them again.');
    assert.equal(answer.finish, 'stop');
  });

  it('keeps n choices apart in a stream', async () => {
    const response = await chat(gateway.base, {model: 'demo/echo', stream: true, n: 2, ...user('a b')});
    const {choices} = checkStream(await response.text(), {n: 2});
    assert.deepEqual(choices.map((c) => c.content), ['a b', 'a b']);
  });

  it('streams tool calls in fragments', async () => {
    const response = await chat(gateway.base, {model: 'demo/tools', stream: true, tools: [weather], ...user('twice')});
    const {calls, finish} = checkStream(await response.text());
    assert.equal(finish, 'tool_calls');
    assert.deepEqual(calls.map((c) => [c.name, JSON.parse(c.arguments)]), [['get_weather', {city: 'example', days: 1}], ['get_weather', {city: 'example', days: 1}]]);
  });

  it('sees pictures', async () => {
    const answer = await ask({model: 'demo/echo', messages: [{role: 'user', content: [{type: 'image_url', image_url: {url: `data:image/png;base64,${PNG}`}}]}]});
    assert.equal(answer.choices[0].message.content, `I see 1 picture of type image/png, ${Buffer.from(PNG, 'base64').length} bytes.`);
  });

  it('honours stop, max_tokens and response_format', async () => {
    assert.equal((await ask({model: 'demo/echo', stop: 'two', ...user('one two')})).choices[0].message.content, 'one ');
    const short = (await ask({model: 'demo/echo', max_tokens: 1, ...user('one two')})).choices[0];
    assert.deepEqual([short.message.content, short.finish_reason], ['one', 'length']);
    const object = await ask({model: 'demo/echo', response_format: {type: 'json_object'}, ...user('x')});
    assert.deepEqual(JSON.parse(object.choices[0].message.content), {echo: 'x'});
  });

  it('delivers half an answer beside the error', async () => {
    const response = await chat(gateway.base, {model: 'demo/echo', ...user('!error unavailable after 2 words')});
    assert.equal(response.status, 502);
    const body = await response.json();
    assert.equal(body.error.code, 'upstream_failed');
    assert.equal(body.dragoman_partial.choices[0].message.content, 'Here are');
    assert.equal(body.dragoman_partial.choices[0].finish_reason, null);
  });

  it('puts the first words out before the last are known', async () => {
    const response = await chat(gateway.base, {model: 'demo/slow', stream: true, ...user('150 a b c d e f')});
    const times = [];
    for await (const _ of response.body) times.push(Date.now());
    assert.ok(times.length >= 6, `${times.length} reads`);
    assert.ok(times.at(-1) - times[0] > 500, 'all at once');
  });

  for (const body of [
    {messages: [{role: 'system', content: 'x'}]}, {messages: [{role: 'assistant', content: 'hi'}, {role: 'user', content: null}]},
    {messages: [{role: 'developer', content: 'x'}, {role: 'user', content: 'y'}, {role: 'assistant', content: 'prefill'}]},
    {messages: [{role: 'user', content: 'y', name: 'Ann', extra: {deep: [1]}}], temperature: null, seed: 7, x_unknown: {a: 1}},
  ]) {
    it(`answers odd lists: ${JSON.stringify(body.messages).slice(0, 60)}`, async () => {
      const answer = await ask({model: 'demo/echo', ...body});
      assert.equal(typeof answer.choices?.[0].message.content, 'string', JSON.stringify(answer));
    });
  }

  it('mends half an emoji instead of failing', async () => {
    const response = await chat(gateway.base, '{"model":"demo/echo","stream":true,"messages":[{"role":"user","content":"cut \\ud83d off\\u0000 end"}]}');
    assert.equal(checkStream(await response.text()).content, 'cut \ufffd off\0 end');
  });
});
