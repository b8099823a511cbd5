// LangChain (ChatOpenAI): what LibreChat and many agents stand on. Its wire is the OpenAI SDK's, its reading its own.
import assert from 'node:assert/strict';
import {after, afterEach, before, describe, it} from 'node:test';
import {AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage} from '@langchain/core/messages';
import {ChatOpenAI} from '@langchain/openai';
import {WORST, leftAtOnce, says, saysHello, startUsual, startWorst} from './lib/clients.mjs';

const weather = {type: 'function', function: {name: 'get_weather', description: 'The weather',
  parameters: {type: 'object', required: ['city', 'days'], properties: {city: {type: 'string'}, days: {type: 'integer'}}}}};
const langchain = (baseURL, model, {apiKey = 'any', ...more} = {}) => new ChatOpenAI({model, apiKey, maxRetries: 0, configuration: {baseURL}, ...more});

/** All chunks, and what LangChain makes of them together. */
async function merged(stream) {
  const chunks = [];
  for await (const chunk of await stream) chunks.push(chunk);
  return {chunks, message: chunks.reduce((a, b) => a.concat(b))};
}

describe('langchain: an OpenAI-compatible service, the demo site, Z.ai', {timeout: 120000}, () => {
  let usual, site, zai, gateway;
  before(async () => {
    usual = await startUsual();
    ({site, zai, gateway} = usual);
  });
  after(() => usual?.stop());
  afterEach(() => usual.calm());
  const chat = (model, more) => langchain(gateway.base, model, more);
  const numbers = (u) => [u.input_tokens, u.output_tokens, u.total_tokens];

  it('invoke: text, id, numbers, why it ended', async () => {
    const answer = await chat('up/gpt-test').invoke([new SystemMessage('Be brief.'), new HumanMessage('Größe 你好 🌍')]);
    assert.ok(AIMessage.isInstance(answer));
    assert.deepEqual([answer.content, numbers(answer.usage_metadata), answer.response_metadata.finish_reason], ['Größe 你好 🌍', [4, 5, 9], 'stop']);
    assert.match(answer.id, /^chatcmpl-/);
    assert.deepEqual(site.chatRequests().at(-1).json.messages.map((m) => m.role), ['system', 'user']);
  });

  it('stream: pieces of one message, of the right class, with one id and one set of numbers', async () => {
    const {chunks, message} = await merged(chat('up/gpt-test').stream('one two three'));
    assert.deepEqual(chunks.map((c) => c.content).filter(Boolean), ['one', ' two', ' three']);
    assert.ok(chunks.every((c) => c instanceof AIMessageChunk));
    assert.equal(message.content, 'one two three');
    assert.equal(chunks.filter((c) => c.usage_metadata).length, 1);
    assert.deepEqual([numbers(message.usage_metadata), message.response_metadata.finish_reason], [[4, 5, 9], 'stop']);
    assert.equal(new Set(chunks.map((c) => c.id).filter((id) => /^chatcmpl-/.test(id))).size, 1);
    assert.match(message.id, /^chatcmpl-/);
  });

  it('thinking is kept beside the text', async () => {
    zai.next('reasoning', 'reasoning');
    const whole = await chat('zai/glm-4.6').invoke('sum');
    const {message} = await merged(chat('zai/glm-4.6').stream('sum'));
    for (const m of [whole, message]) {
      assert.deepEqual([m.content, m.additional_kwargs.reasoning_content, numbers(m.usage_metadata)], ['The sum is 4.', 'First I add. Then I check.', [11, 9, 20]]);
    }
  });

  for (const [how, ask] of [['invoke', async (model, input) => model.invoke(input)], ['stream', async (model, input) => (await merged(model.stream(input))).message]]) {
    it(`bindTools, ${how}: the calls, their results, the answer`, async () => {
      const model = chat('demo/tools').bindTools([weather]);
      const question = new HumanMessage('twice: how is the weather?');
      const called = await ask(model, [question]);
      assert.deepEqual(called.tool_calls.map((c) => [c.name, c.args]), Array(2).fill(['get_weather', {city: 'example', days: 1}]));
      assert.deepEqual(called.invalid_tool_calls, []);
      assert.equal(new Set(called.tool_calls.map((c) => c.id)).size, 2);
      assert.equal(called.response_metadata.finish_reason, 'tool_calls');
      const results = called.tool_calls.map((c) => new ToolMessage({tool_call_id: c.id, content: 'sunny, 21 degrees'}));
      assert.equal((await ask(model, [question, called, ...results])).content, 'The tool says: sunny, 21 degrees');
    });
  }

  it("a service's tool call in fragments is one call", async () => {
    const {chunks, message} = await merged(chat('up/gpt-test').bindTools([weather]).stream('x'));
    assert.deepEqual(message.tool_calls.map((c) => [c.id, c.name, c.args]), [['call_a', 'get_weather', {x: 1}]]);
    assert.ok(chunks.filter((c) => c.tool_call_chunks?.length).length > 2);
    const whole = await chat('up/gpt-test').bindTools([weather]).invoke('x');
    assert.deepEqual(whole.tool_calls.map((c) => [c.id, c.name, c.args]), [['call_a', 'get_weather', {x: 1}]]);
  });

  it('its own six retries ask the site once where asking again cannot help', async () => {
    const from = site.chatRequests().length;
    site.next({status: 401, json: {error: {message: 'expired'}}});
    await assert.rejects(chat('up/gpt-test', {maxRetries: 6}).invoke('x'), (e) => e.code === 'upstream_credential' && e.status === 403);
    assert.equal(site.chatRequests().length - from, 1);
  });

  for (const order of ['!error unavailable after 2 words', '!cut after 2 words']) {
    it(`${order}: the text, then an exception`, async () => {
      let text = '';
      await assert.rejects(async () => {
        for await (const chunk of await chat('demo/echo').stream(order)) text += chunk.content;
      }, (e) => /^upstream_(failed|cut)$/.test(e.code) && e.message === e.error.message);
      assert.equal(text, 'Here are');
    });
  }

  it("the app stops: the site's request ends, the only account is free", async () => {
    for (const leave of ['break', 'signal', 'invoke']) {
      const begun = saysHello(site);
      const controller = new AbortController();
      const model = chat('up/gpt-test');
      if (leave === 'invoke') {
        begun.then(() => controller.abort());
        await assert.rejects(model.invoke('x', {signal: controller.signal}));
      } else {
        const read = async () => {
          for await (const chunk of await model.stream('x', {signal: controller.signal})) {
            if (!chunk.content) continue;
            if (leave === 'break') break;
            controller.abort();
          }
        };
        await (leave === 'break' ? read() : read().catch(() => {}));
      }
      await leftAtOnce(await begun);
    }
    assert.equal((await chat('up/gpt-test').invoke('next')).content, 'next');
  });
});

/** What LangChain puts below some messages. */
const hint = (status) => {
  const page = {401: 'MODEL_AUTHENTICATION', 404: 'MODEL_NOT_FOUND', 429: 'MODEL_RATE_LIMIT'}[status];
  return page ? `\n\nTroubleshooting URL: https://docs.langchain.com/oss/javascript/langchain/errors/${page}/\n` : '';
};

describe('langchain: the worst cases', {timeout: 120000}, () => {
  let worst;
  before(async () => (worst = await startWorst()));
  after(() => worst?.stop());
  for (const how of ['invoke', 'stream']) {
    for (const bad of WORST) {
      if (how === 'stream' && bad.what === "the site's limit") continue; // it rests already
      it(`${bad.what}, ${how}`, async () => {
        worst.prepare(bad);
        const model = langchain(worst.base, bad.model, {apiKey: bad.key});
        let text = '';
        const error = await (async () => {
          if (how === 'invoke') return model.invoke('Hello');
          for await (const chunk of await model.stream('Hello')) text += chunk.content;
        })().then(() => assert.fail('looks like a whole answer'), (e) => e);
        const late = how === 'stream' && bad.partial;
        says(error.message, bad, {before: late ? '' : `${bad.status} `, after: hint(bad.status)});
        assert.deepEqual([error.status, error.type, error.code, error.param], [late ? undefined : bad.status, bad.type, bad.code, bad.param]);
        assert.equal(text, late ? bad.partial : '');
      });
    }
  }
});
