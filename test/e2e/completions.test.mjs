// POST /v1/completions, OpenAI's older API, on top of chats.
import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';
import {OpenAiSite} from '../sites/openai.mjs';
import {startGateway} from './lib/gateway.mjs';
import {chat, checkError, parseEvents} from './lib/http.mjs';

describe('/v1/completions', () => {
  let site, gateway;
  before(async () => {
    site = await new OpenAiSite().start();
    gateway = await startGateway({sites: [{name: 'demo', adapter: 'demo'}, {name: 'up', adapter: 'openai', ...site.config({accounts: [{name: 'a', api_key: 'sk-upstream'}]})}]});
  });
  after(async () => {
    await gateway?.stop();
    await site?.stop();
  });
  const complete = (body) => chat(gateway.base, {model: 'demo/echo', ...body}, {path: '/completions'});

  it('a whole answer', async () => {
    const answer = await (await complete({prompt: 'Once upon a time'})).json();
    assert.match(answer.id, /^cmpl-/);
    assert.equal(answer.object, 'text_completion');
    assert.deepEqual(answer.choices, [{text: 'Once upon a time', index: 0, logprobs: null, finish_reason: 'stop'}]);
    assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
  });

  it('a stream, with usage', async () => {
    const response = await complete({prompt: 'Größe 你好 🌍', stream: true, stream_options: {include_usage: true}});
    assert.match(response.headers.get('content-type'), /^text\/event-stream/);
    const {events} = parseEvents(await response.text());
    assert.equal(events.pop(), '[DONE]');
    const last = events.pop();
    assert.deepEqual(last.choices, []);
    assert.ok(last.usage.total_tokens > 0);
    assert.equal(events.map((e) => e.choices[0].text).join(''), 'Größe 你好 🌍');
    for (const event of events) {
      assert.deepEqual([event.object, event.usage, event.choices.length, event.choices[0].index], ['text_completion', null, 1, 0]);
      assert.deepEqual(Object.keys(event).sort(), ['choices', 'created', 'id', 'model', 'object', 'usage']);
    }
    assert.deepEqual(events.map((e) => e.choices[0].finish_reason).filter(Boolean), ['stop']);
  });

  for (const stream of [false, true]) {
    it(`several prompts, each n times, ${stream ? 'streamed' : 'whole'}: index runs over them in order`, async () => {
      const response = await complete({prompt: ['alpha', 'beta', 'gamma'], n: 2, stream});
      const texts = Array(6).fill(''), finished = Array(6).fill(null);
      const note = ({index, text, finish_reason}) => {
        texts[index] += text;
        finished[index] ??= finish_reason;
      };
      if (stream) parseEvents(await response.text()).events.slice(0, -1).forEach((e) => e.choices.forEach(note));
      else (await response.json()).choices.forEach(note);
      assert.deepEqual(texts, ['alpha', 'alpha', 'beta', 'beta', 'gamma', 'gamma']);
      assert.deepEqual(finished, Array(6).fill('stop'));
    });
  }

  it('echo puts the prompt before its answer', async () => {
    const {choices} = await (await complete({prompt: ['ab ', 'cd '], echo: true})).json();
    assert.deepEqual(choices.map((c) => c.text.startsWith(['ab ', 'cd '][c.index])), [true, true]);
    assert.ok(choices[0].text.length > 3);
    const {events} = parseEvents(await (await complete({prompt: 'ab ', echo: true, stream: true})).text());
    assert.equal(events[0].choices[0].text, 'ab ');
  });

  it('parameters reach the site, also unknown ones; the prompt becomes a user message', async () => {
    await (await complete({model: 'up/m', prompt: 'a "quoted"\n\u0001 text', temperature: 0.5, top_k: 7, max_tokens: 9, stop: ['x']})).text();
    const {json} = site.chatRequests().at(-1);
    assert.deepEqual([json.messages, json.temperature, json.top_k, json.max_tokens, json.stop, 'prompt' in json],
      [[{role: 'user', content: 'a "quoted"\n\u0001 text'}], 0.5, 7, 9, ['x'], false]);
  });

  it('what cannot be: 400 with the field', async () => {
    const bad = {status: 400, type: 'invalid_request_error'};
    for (const [more, code, param] of [[{}, 'invalid_value', 'prompt'], [{prompt: 5}, 'invalid_value', 'prompt'], [{prompt: []}, 'invalid_value', 'prompt'],
      [{prompt: ['a', 5]}, 'unsupported_value', 'prompt'], [{prompt: ['a', null]}, 'invalid_value', 'prompt'], [{prompt: [1, 2]}, 'unsupported_value', 'prompt'],
      [{prompt: [[1, 2]]}, 'unsupported_value', 'prompt'], [{prompt: 'x', suffix: 'y'}, 'unsupported_value', 'suffix'],
      [{prompt: 'x', best_of: 3}, 'unsupported_value', 'best_of'], [{prompt: 'x', logprobs: 3}, 'unsupported_value', 'logprobs'],
      [{prompt: Array(100).fill('x'), n: 2}, 'invalid_value', 'n'], [{prompt: 'x', n: 0}, 'invalid_value', 'n'], [{prompt: Array(129).fill('x')}, 'invalid_value', 'prompt']]) {
      await checkError(await complete(more), {...bad, code, param});
    }
    await checkError(await complete({prompt: 'x', model: 'nobody'}), {status: 404, type: 'invalid_request_error', code: 'model_not_found', param: 'model'});
    await checkError(await chat(gateway.base, '{"prompt": ', {path: '/completions'}), {...bad, code: 'invalid_json'});
  });

  it('many prompts with much beside them: refused, not copied', async () => {
    const much = {user: 'j'.repeat(1_000_000)};
    await checkError(await complete({prompt: Array(128).fill('x'), ...much}), {status: 413, type: 'invalid_request_error', code: 'request_too_large', param: 'prompt'});
    assert.equal((await (await complete({prompt: Array(8).fill('x'), ...much})).json()).choices.length, 8);
  });

  it('harmless forms of the same fields are taken', async () => {
    const response = await complete({prompt: 'x', suffix: null, best_of: 1, logprobs: null, echo: false, user: 'u', n: null});
    assert.equal((await response.json()).choices[0].text, 'x');
  });
});
