// Cherry Studio's core (@cherrystudio/ai-core on ai 6) with the headers that the app sends: chat with thinking, its stop button, and its
// connection check, which leaves at the first piece every time.
import assert from 'node:assert/strict';
import {after, afterEach, before, describe, it} from 'node:test';
import {createExecutor} from '@cherrystudio/ai-core';
import {OpenAiSite} from '../sites/openai.mjs';
import {within} from '../sites/site.mjs';
import {Zai, jwt, say} from '../sites/zai.mjs';
import {KEY, WORST, active, answerPiece, descriptors, leftAtOnce, resident, says, settled, startUsual, startWorst} from './lib/clients.mjs';
import {startGateway} from './lib/gateway.mjs';

/** The app's executor for a provider of type OpenAI, as a person has set it up. */
const cherry = (base, apiKey = KEY) => createExecutor('openai-compatible', {
  name: 'custom', baseURL: base, apiKey, includeUsage: true,
  headers: {'X-Api-Key': apiKey, 'HTTP-Referer': 'https://cherry-ai.com', 'X-Title': 'Cherry Studio'},
});
const quiet = {maxRetries: 0, onError: () => {}};

/** A streamed chat as the app reads it: text, thinking, errors, numbers. */
async function talk(executor, model, content, more = {}) {
  const result = await executor.streamText({model, messages: [{role: 'user', content}], ...quiet, ...more});
  const seen = {text: '', reasoning: '', errors: [], types: []};
  for await (const part of result.fullStream) {
    seen.types.push(part.type);
    if (part.type === 'text-delta') seen.text += part.text;
    if (part.type === 'reasoning-delta') seen.reasoning += part.text;
    if (part.type === 'error') seen.errors.push(part.error);
    if (part.type === 'finish') Object.assign(seen, {finish: part.finishReason, usage: part.totalUsage});
  }
  return seen;
}

/** The check button: 'test', 'hi', and away at the first piece that `leaves` takes. */
async function check(executor, model, leaves) {
  const controller = new AbortController();
  const result = await executor.streamText({model, system: 'test', messages: [{role: 'user', content: 'hi'}], ...quiet, abortSignal: controller.signal});
  const types = [];
  try {
    for await (const part of result.fullStream) {
      types.push(part.type);
      assert.notEqual(part.type, 'error', String(part.error));
      if (!controller.signal.aborted && leaves(part)) controller.abort();
    }
  } catch (error) {
    assert.equal(error.name, 'AbortError', error.stack);
  }
  assert.ok(controller.signal.aborted, types.join(' '));
}

describe('cherry: Z.ai, an OpenAI-compatible service, the demo site', {timeout: 120000}, () => {
  let usual, site, zai, gateway, executor;
  before(async () => {
    usual = await startUsual({keys: [{name: 'cherry', key: KEY}]});
    ({site, zai, gateway} = usual);
    executor = await cherry(gateway.base);
  });
  after(() => usual?.stop());
  afterEach(() => usual.calm());

  it('a chat with thinking and numbers', async () => {
    zai.next('reasoning');
    const seen = await talk(executor, 'zai/glm-4.6', 'sum', {providerOptions: {custom: {reasoningEffort: 'high'}}});
    assert.deepEqual([seen.reasoning, seen.text, seen.finish, seen.usage.totalTokens, seen.errors], ['First I add. Then I check.', 'The sum is 4.', 'stop', 20, []]);
    assert.ok(seen.types.indexOf('reasoning-start') < seen.types.indexOf('text-start'));
  });

  it('the second turn carries the thinking of the first', async () => {
    const seen = await talk(executor, 'up/gpt-test', undefined, {messages: [
      {role: 'user', content: 'sum'}, {role: 'assistant', content: [{type: 'reasoning', text: 'I add.'}, {type: 'text', text: 'It is 4.'}]},
      {role: 'user', content: [{type: 'text', text: 'And'}, {type: 'text', text: 'now?'}]}]});
    assert.deepEqual([seen.text, seen.finish, seen.errors], ['And now?', 'stop', []]);
    assert.equal(site.chatRequests().at(-1).json.messages[1].reasoning_content, 'I add.');
  });

  it('a whole answer, as for naming a topic', async () => {
    const answer = await executor.generateText({model: 'demo/reasoner', system: 'name it', prompt: 'a topic', maxRetries: 0});
    assert.deepEqual([answer.text, answer.finishReason], ['a topic', 'stop']);
    assert.ok(answer.reasoningText.length > 0);
  });

  it("its headers stay here: the service sees none of them", async () => {
    await talk(executor, 'up/gpt-test', 'x');
    const {headers} = site.chatRequests().at(-1);
    assert.equal(headers.authorization, 'Bearer sk-upstream');
    for (const name of ['x-api-key', 'http-referer', 'x-title']) assert.equal(headers[name], undefined, name);
  });

  it("the stop button: the text so far, the site's request ends, the only account is free", async () => {
    let record;
    zai.next(function (r, res) {
      record = r;
      this.sseHead(res);
      this.event(res, say('Hello'));
    });
    const controller = new AbortController();
    const result = await executor.streamText({model: 'zai/glm-4.6', prompt: 'x', ...quiet, abortSignal: controller.signal});
    let text = '';
    for await (const part of result.fullStream) {
      if (part.type !== 'text-delta') continue;
      text += part.text;
      controller.abort();
    }
    assert.equal(text, 'Hello');
    await leftAtOnce(record);
    assert.equal((await talk(executor, 'zai/glm-4.6', 'next')).text, '你好, world 🌍');
  });

  for (const order of ['!error unavailable after 2 words', '!cut after 2 words']) {
    it(`${order}: the text, then an error block`, async () => {
      const seen = await talk(executor, 'demo/echo', order);
      assert.deepEqual([seen.text, seen.errors.map((e) => e.message ?? e)], ['Here are', [`the demo site fails as it was asked to: ${/cut|unavailable/.exec(order)}`]]);
      assert.notEqual(seen.finish, 'stop');
    });
  }
});

describe('cherry: the connection check', {timeout: 240000}, () => {
  const KINDS = {
    'at the very first part, often before our head': () => true,
    'at the first piece of the answer': (part) => part.type === 'text-delta' || part.type === 'reasoning-delta',
    'when a piece of the answer begins': (part) => part.type === 'text-start' || part.type === 'reasoning-start',
  };
  const running = [];
  afterEach(async () => {
    for (const thing of running.splice(0).reverse()) await thing.stop();
  });

  /** `n` checks in a row; every other answer would go on for ever. Then nothing is left: no request, socket, lease, memory. */
  async function checks(n, site, config, model, hold) {
    running.push(site);
    // A small quarantine: otherwise what the sanitizer keeps of freed memory hides what is not freed.
    const gateway = await startGateway({keys: [{name: 'cherry', key: KEY}], server: {log_level: 'info'}, sites: [config]},
      {env: {ASAN_OPTIONS: 'detect_leaks=1:exitcode=99:quarantine_size_mb=1'}});
    running.push(gateway);
    const executor = await cherry(gateway.base);
    const kinds = Object.values(KINDS);
    const held = [];
    const some = async (count) => {
      for (let i = 0; i < count; i++) {
        if (i % 2) site.plans = [function (r, res) {
          held.push(r.aborted);
          return hold.call(this, res);
        }];
        await check(executor, model, kinds[i % kinds.length]);
        site.plans = [];
      }
      await settled(gateway);
      await Promise.all(held.splice(0).map((aborted) => within(5000, aborted, 'the gateway leaves the site')));
    };
    await some(Math.ceil(n / 4)); // pools, caches and the allocator have their size now
    const before = {fds: descriptors(gateway), kib: resident(gateway), sockets: site.sockets.size, requests: site.chatRequests().length};
    await some(n);
    const growth = {fds: descriptors(gateway) - before.fds, kib: resident(gateway) - before.kib, sockets: site.sockets.size - before.sockets};
    assert.equal(await active(gateway), 0);
    assert.ok(site.chatRequests().length - before.requests >= n / 2, `${site.chatRequests().length - before.requests} requests reached the site`);
    assert.ok(growth.fds <= 2 && growth.sockets <= 1 && site.sockets.size <= 2, JSON.stringify(growth));
    assert.ok(growth.kib < 6144, `${n} checks: ${growth.kib} KiB more`); // without sanitizers it is 0; one exchange alone would be 10 and more
    const {text, finish} = await talk(executor, model, 'still there?');
    assert.ok(text && finish === 'stop');
    assert.deepEqual(site.violations, []);
  }

  it('a thousand times at a service with one account for one request', async () => {
    const site = await new OpenAiSite({tls: false}).start();
    await checks(1000, site, {name: 'up', adapter: 'openai', ...site.config({base_url: `${site.origin}/v1`, models: ['gpt-test'], max_concurrent: 1}), accounts: [{name: 'a', api_key: 'sk-upstream'}]},
      'up/gpt-test', function (res) {
        this.sseHead(res);
        this.event(res, answerPiece({role: 'assistant', content: 'Hello'}));
      });
  });

  it('two hundred times at Z.ai, over TLS', async () => {
    const site = await new Zai().start();
    await checks(200, site, {name: 'zai', adapter: 'zai', ...site.config({max_concurrent: 1}), accounts: [{name: 'me', token: jwt('person')}]},
      'zai/glm-4.6', function (res) {
        this.sseHead(res);
        this.event(res, say('Let me see', 'thinking'));
      });
  });
});

describe('cherry: the worst cases', {timeout: 120000}, () => {
  let worst;
  before(async () => (worst = await startWorst()));
  after(() => worst?.stop());
  for (const bad of WORST) {
    it(`${bad.what}: the error block has the gateway's sentence`, async () => {
      worst.prepare(bad);
      const seen = await talk(await cherry(worst.base, bad.key), bad.model, 'Hello');
      assert.equal(seen.text, bad.partial ?? '');
      assert.equal(seen.errors.length, 1);
      says(seen.errors[0].message, bad);
      if (!bad.partial) assert.deepEqual([seen.errors[0].statusCode, seen.errors[0].data.error.code], [bad.status, bad.code]);
      assert.equal(seen.finish, bad.partial ? 'error' : undefined);
    });
  }
});
