// The AI SDK (ai 7 with its provider for OpenAI-compatible services): what web apps and agents are built on.
import assert from 'node:assert/strict';
import {after, afterEach, before, describe, it} from 'node:test';
import {APICallError, generateText, isStepCount, jsonSchema, streamText, tool} from 'ai7';
import {createOpenAICompatible} from 'ai7-openai-compatible';
import {WORST, answerPiece, leftAtOnce, says, startUsual, startWorst} from './lib/clients.mjs';

const provider = (base, apiKey = 'any') => createOpenAICompatible({name: 'dragoman', baseURL: base, apiKey, includeUsage: true});
const quiet = {maxRetries: 0, onError: () => {}}; // streamText prints errors otherwise

/** All parts of a stream, by type; the text and the thinking in one piece each. */
async function parts(result) {
  const all = [];
  for await (const part of result.fullStream) all.push(part);
  const join = (type) => all.filter((p) => p.type === type).map((p) => p.text ?? p.delta).join('');
  return {all, types: new Set(all.map((p) => p.type)), text: join('text-delta'), reasoning: join('reasoning-delta'), errors: all.filter((p) => p.type === 'error').map((p) => p.error)};
}

describe('ai: an OpenAI-compatible service, the demo site, Z.ai', {timeout: 120000}, () => {
  let usual, site, zai, gateway, dragoman;
  before(async () => {
    usual = await startUsual();
    ({site, zai, gateway} = usual);
    dragoman = provider(gateway.base);
  });
  after(() => usual?.stop());
  afterEach(() => usual.calm());
  const ask = (model, prompt, more = {}) => ({model: dragoman(model), prompt, ...quiet, ...more});
  const numbers = (u) => [u.inputTokens, u.outputTokens, u.totalTokens];

  it('a whole answer, with its numbers', async () => {
    const answer = await generateText(ask('up/gpt-test', 'Größe 你好 🌍'));
    assert.deepEqual([answer.text, answer.finishReason, numbers(answer.usage)], ['Größe 你好 🌍', 'stop', [4, 5, 9]]);
    assert.match(answer.response.headers['x-request-id'], /^req_/);
    assert.equal(answer.response.modelId, 'up/gpt-test');
  });

  it('a stream, with its numbers', async () => {
    const result = streamText(ask('up/gpt-test', 'one two three'));
    const pieces = [];
    for await (const piece of result.textStream) pieces.push(piece);
    assert.deepEqual(pieces, ['one', ' two', ' three']);
    assert.deepEqual([await result.finishReason, numbers(await result.usage)], ['stop', [4, 5, 9]]);
  });

  it('thinking comes as parts of its own, before the text', async () => {
    zai.next('reasoning', 'reasoning');
    const streamed = streamText(ask('zai/glm-4.6', 'sum'));
    const {all, text, reasoning, errors} = await parts(streamed);
    assert.deepEqual([reasoning, text, errors], ['First I add. Then I check.', 'The sum is 4.', []]);
    const at = (type) => all.findIndex((p) => p.type === type);
    assert.ok(at('reasoning-start') < at('reasoning-end') && at('reasoning-end') <= at('text-start') + 1, all.map((p) => p.type).join(' '));
    assert.deepEqual([await streamed.reasoningText, numbers(await streamed.usage)], ['First I add. Then I check.', [11, 9, 20]]);
    const whole = await generateText(ask('zai/glm-4.6', 'sum'));
    assert.deepEqual([whole.reasoningText, whole.text, numbers(whole.usage)], ['First I add. Then I check.', 'The sum is 4.', [11, 9, 20]]);
    const {types} = await parts(streamText(ask('demo/reasoner', 'hello')));
    assert.ok(types.has('reasoning-delta') && types.has('text-delta') && !types.has('error'), [...types].join(' '));
  });

  const weather = (calls) => tool({description: 'The weather',
    inputSchema: jsonSchema({type: 'object', required: ['city', 'days'], properties: {city: {type: 'string'}, days: {type: 'integer'}}}),
    execute: async (input) => {
      calls.push(input);
      return 'sunny, 21 degrees';
    }});

  for (const [how, run] of [['whole', generateText], ['streamed', streamText]]) {
    it(`tools in several steps, ${how}`, async () => {
      const calls = [];
      const result = await run(ask('demo/tools', 'twice: get_weather', {tools: {get_weather: weather(calls)}, stopWhen: isStepCount(5)}));
      assert.equal(await result.text, 'The tool says: sunny, 21 degrees');
      assert.deepEqual(calls, Array(2).fill({city: 'example', days: 1}));
      const steps = await result.steps;
      assert.deepEqual(steps.map((s) => [s.finishReason, s.toolCalls.length]), [['tool-calls', 2], ['stop', 0]]);
      assert.equal(new Set(steps[0].toolCalls.map((c) => c.toolCallId)).size, 2);
    });

    it(`tools of a service, ${how}: three rounds, each with all that was said`, async () => {
      const asked = [];
      const round = (n) => function (r, res) {
        asked.push(r.json.messages.map((m) => m.role));
        const call = {id: `call_${n}`, type: 'function', function: {name: 'get_weather', arguments: `{"city": "c${n}", "days": ${n}}`}};
        const last = n === 3;
        if (!r.json.stream) {
          return this.json(res, 200, {id: 'x', object: 'chat.completion', created: 1, model: 'm', choices: [{index: 0, finish_reason: last ? 'stop' : 'tool_calls',
            message: {role: 'assistant', ...(last ? {content: 'It stays sunny.'} : {content: null, tool_calls: [call]})}}]});
        }
        this.sseHead(res);
        if (last) this.event(res, answerPiece({content: 'It stays sunny.'}));
        else {
          this.event(res, answerPiece({tool_calls: [{index: 0, ...call, function: {...call.function, arguments: ''}}]}));
          for (const piece of call.function.arguments.match(/.{1,5}/g)) this.event(res, answerPiece({tool_calls: [{index: 0, function: {arguments: piece}}]}));
        }
        this.event(res, answerPiece({}, last ? 'stop' : 'tool_calls'));
        res.end('data: [DONE]\n\n');
      };
      site.next(round(1), round(2), round(3));
      const calls = [];
      const result = await run(ask('up/gpt-test', 'weather', {tools: {get_weather: weather(calls)}, stopWhen: isStepCount(5)}));
      assert.equal(await result.text, 'It stays sunny.');
      assert.deepEqual(calls, [{city: 'c1', days: 1}, {city: 'c2', days: 2}]);
      assert.deepEqual(asked.map((roles) => roles.join(' ')), ['user', 'user assistant tool', 'user assistant tool assistant tool']);
    });
  }

  it('an error has the status, the gateway\'s sentence, and its fields', async () => {
    const error = await generateText(ask('nothing', 'x')).then(() => assert.fail('no error'), (e) => e);
    assert.ok(APICallError.isInstance(error), error.stack);
    assert.deepEqual([error.statusCode, error.isRetryable, error.data.error.type, error.data.error.code, error.data.error.param], [404, false, 'invalid_request_error', 'model_not_found', 'model']);
    assert.equal(error.message, error.data.error.message);
    assert.equal(JSON.parse(error.responseBody).error.message, error.message);
    assert.match(error.responseHeaders['x-request-id'], /^req_/);
    const limit = await generateText(ask('demo/echo', '!error rate_limited 7')).then(() => assert.fail('no error'), (e) => e);
    assert.deepEqual([limit.statusCode, limit.isRetryable, limit.responseHeaders['retry-after']], [429, true, '7']);
  });

  it("a limit's Retry-After is obeyed", async () => {
    site.next({status: 429, json: {error: {message: 'slow down'}}, headers: {'retry-after': '1'}});
    const from = site.chatRequests().length, began = Date.now();
    assert.equal((await generateText(ask('up/gpt-test', 'later', {maxRetries: 2}))).text, 'later');
    assert.equal(site.chatRequests().length - from, 2);
    assert.ok(Date.now() - began >= 950);
  });

  for (const order of ['!error unavailable after 2 words', '!cut after 2 words']) {
    it(`${order}: the text, then an error part, and the answer does not look whole`, async () => {
      const result = streamText(ask('demo/echo', order));
      const {text, errors, all} = await parts(result);
      assert.equal(text, 'Here are');
      assert.deepEqual(errors.map((e) => e.message ?? e), [`the demo site fails as it was asked to: ${/cut|unavailable/.exec(order)}`]);
      assert.ok(!all.some((p) => p.type === 'finish' && p.finishReason === 'stop'), JSON.stringify(all.at(-1)));
    });
  }

  it('the app stops: the site\'s request ends, the only account is free', async () => {
    const hold = (resolve) => function (r, res) {
      this.sseHead(res);
      this.event(res, answerPiece({role: 'assistant', content: 'Hello'}));
      resolve(r);
    };
    const streamed = new Promise((resolve) => site.next(hold(resolve)));
    const controller = new AbortController();
    const {types} = await (async () => {
      const result = streamText(ask('up/gpt-test', 'x', {abortSignal: controller.signal}));
      const seen = [];
      for await (const part of result.fullStream) {
        seen.push(part.type);
        if (part.type === 'text-delta') controller.abort();
      }
      return {types: seen};
    })();
    assert.equal(types.at(-1), 'abort');
    await leftAtOnce(await streamed);

    const whole = new Promise((resolve) => site.next(hold(resolve)));
    const second = new AbortController();
    const answer = generateText(ask('up/gpt-test', 'x', {abortSignal: second.signal}));
    const record = await whole;
    second.abort();
    await assert.rejects(answer, {name: 'AbortError'});
    await leftAtOnce(record);
    assert.equal((await generateText(ask('up/gpt-test', 'next'))).text, 'next');
  });
});

describe('ai: the worst cases', {timeout: 120000}, () => {
  let worst;
  before(async () => (worst = await startWorst()));
  after(() => worst?.stop());
  for (const bad of WORST) {
    it(`${bad.what}, whole`, async () => {
      worst.prepare(bad);
      const error = await generateText({model: provider(worst.base, bad.key)(bad.model), prompt: 'Hello', maxRetries: 0}).then(() => assert.fail('looks like a whole answer'), (e) => e);
      assert.ok(APICallError.isInstance(error), error.stack);
      says(error.message, bad);
      assert.deepEqual([error.statusCode, error.data.error.type, error.data.error.code, error.data.error.param], [bad.status, bad.type, bad.code, bad.param]);
    });
    if (bad.what === "the site's limit") continue; // it rests already
    it(`${bad.what}, streamed`, async () => {
      worst.prepare(bad);
      const {text, errors, all} = await parts(streamText({model: provider(worst.base, bad.key)(bad.model), prompt: 'Hello', ...quiet}));
      assert.equal(text, bad.partial ?? '');
      assert.equal(errors.length, 1);
      says(errors[0].message, bad);
      assert.equal(errors[0].name, bad.partial ? 'AI_StreamProviderError' : 'AI_APICallError');
      if (!bad.partial) assert.deepEqual([errors[0].statusCode, errors[0].data.error.code], [bad.status, bad.code]);
      for (const end of all.filter((p) => p.type === 'finish')) assert.equal(end.finishReason, 'error');
    });
  }
});
