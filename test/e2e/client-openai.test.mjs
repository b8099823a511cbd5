// OpenAI's own SDK for Node, the present one and the one before its rewrite, before an OpenAI-compatible service: what scripts rely on.
// The demo site through the same SDKs is in demo.test.mjs.
import assert from 'node:assert/strict';
import {after, afterEach, before, describe, it} from 'node:test';
import {OpenAiSite} from '../sites/openai.mjs';
import {KEY, WORST, active, answerPiece, leftAtOnce, says, saysHello, settled, startWorst} from './lib/clients.mjs';
import {startGateway} from './lib/gateway.mjs';
import {user} from './lib/http.mjs';

const NARROW = 'sk-gateway-narrow';
const add = {type: 'function', function: {name: 'add', description: 'a plus b',
  parameters: {type: 'object', required: ['a', 'b'], properties: {a: {type: 'number'}, b: {type: 'number'}}}}};

for (const name of ['openai', 'openai4']) {
  describe(`${name}: an OpenAI-compatible service`, {timeout: 120000}, () => {
    let site, gateway, sdk, client;
    const make = (more = {}) => new sdk({apiKey: KEY, baseURL: gateway.base, maxRetries: 0, ...more});
    const completions = () => client.chat.completions;
    const helpers = () => (completions().runTools ? completions() : client.beta.chat.completions);
    const sent = () => site.chatRequests().at(-1);
    before(async () => {
      sdk = (await import(name)).default;
      site = await new OpenAiSite().start();
      gateway = await startGateway({
        keys: [{name: 'ours', key: KEY}, {name: 'narrow', key: NARROW, models: ['demo/*']}],
        sites: [
          {name: 'up', adapter: 'openai', ...site.config({base_url: `${site.origin}/v1`, models: ['gpt-test', 'org/nested:free'], max_concurrent: 1}), accounts: [{name: 'a', api_key: 'sk-upstream'}]},
          {name: 'demo', adapter: 'demo'}],
      });
      client = make();
    });
    after(async () => {
      await gateway?.stop();
      await site?.stop();
    });
    afterEach(async () => {
      assert.deepEqual(site.violations, []);
      assert.deepEqual(site.plans, []);
      await settled(gateway);
    });

    it('lists models, and retrieves each, also those with slashes and colons', async () => {
      const ids = [];
      for await (const model of client.models.list()) {
        assert.deepEqual([model.object, Number.isInteger(model.created), typeof model.owned_by], ['model', true, 'string']);
        ids.push(model.id);
      }
      assert.ok(ids.includes('org/nested:free') && ids.includes('demo/echo'), ids.join(' '));
      for (const id of [...ids, 'up/org/nested:free']) assert.equal((await client.models.retrieve(id)).id, id);
      await assert.rejects(client.models.retrieve('elsewhere/nested:paid'), (e) => e instanceof sdk.NotFoundError && e.code === 'model_not_found');
    });

    it('a whole answer, with the id of the request', async () => {
      const {data, response, request_id} = await completions().create({model: 'up/org/nested:free', ...user('Größe 你好 🌍')}).withResponse();
      assert.deepEqual(data.choices.map((c) => [c.index, c.message.role, c.message.content, c.message.refusal, c.finish_reason]), [[0, 'assistant', 'Größe 你好 🌍', null, 'stop']]);
      assert.deepEqual([data.usage.prompt_tokens, data.usage.completion_tokens, data.usage.total_tokens], [4, 5, 9]);
      assert.equal(sent().json.model, 'org/nested:free');
      assert.match(data._request_id ?? request_id, /^req_/);
      assert.equal(response.headers.get('x-request-id'), data._request_id);
    });

    it('a stream, piece by piece, with the numbers at the end', async () => {
      const seen = [];
      for await (const chunk of await completions().create({model: 'up/gpt-test', stream: true, stream_options: {include_usage: true}, ...user('one two three')})) {
        seen.push(chunk.choices.length ? chunk.choices[0].delta.content ?? chunk.choices[0].finish_reason : chunk.usage.total_tokens);
      }
      assert.deepEqual(seen, ['', 'one', ' two', ' three', 'stop', 9]);
    });

    it('the stream helper: events, and everything that it promises at the end', async () => {
      const stream = helpers().stream({model: 'up/gpt-test', stream_options: {include_usage: true}, ...user('one two three')});
      const pieces = [];
      let ended = 0;
      stream.on('content', (delta) => pieces.push(delta)).on('end', () => ended++);
      assert.equal(await stream.finalContent(), 'one two three');
      assert.deepEqual(pieces.filter(Boolean), ['one', ' two', ' three']);
      const final = await stream.finalChatCompletion();
      assert.deepEqual([final.object, final.model, final.choices[0].finish_reason, final.usage.total_tokens], ['chat.completion', 'up/gpt-test', 'stop', 9]);
      const message = await stream.finalMessage();
      assert.deepEqual([message.role, message.content], ['assistant', 'one two three']);
      assert.equal((await stream.totalUsage()).total_tokens, 9);
      assert.equal(ended, 1);
    });

    it('the stream helper puts a tool call together', async () => {
      const stream = helpers().stream({model: 'up/gpt-test', tools: [add], ...user('add')});
      const {message, finish_reason} = (await stream.finalChatCompletion()).choices[0];
      assert.equal(finish_reason, 'tool_calls');
      assert.deepEqual(message.tool_calls.map((c) => [c.id, c.type, c.function.name, c.function.arguments]), [['call_a', 'function', 'add', '{"x": 1}']]);
    });

    for (const stream of [false, true]) {
      const how = stream ? 'streamed' : 'whole';

      it(`a tool's round trip, ${how}: call, result, answer`, async () => {
        const calls = [];
        const call = [{id: 'call_7', type: 'function', function: {name: 'add', arguments: '{"a": 2, "b": 40}'}}];
        site.next(function (r, res) {
          if (!stream) return this.json(res, 200, {id: 'x', object: 'chat.completion', created: 1, model: 'm', choices: [{index: 0, message: {role: 'assistant', content: null, tool_calls: call}, finish_reason: 'tool_calls'}]});
          this.sseHead(res);
          const piece = (delta, finish) => this.event(res, answerPiece(delta, finish));
          piece({role: 'assistant', tool_calls: [{index: 0, id: 'call_7', type: 'function', function: {name: 'add', arguments: ''}}]});
          for (const part of ['{"a": 2', ', "b": 4', '0}']) piece({tool_calls: [{index: 0, function: {arguments: part}}]});
          piece({}, 'tool_calls');
          return res.end('data: [DONE]\n\n');
        }, function (r, res) {
          const [, asked, result] = r.json.messages;
          this.same('the call', asked.tool_calls.map((c) => [c.id, c.function.name, JSON.parse(c.function.arguments)]), [['call_7', 'add', {a: 2, b: 40}]]);
          this.same('the result', [result.role, result.tool_call_id, result.content], ['tool', 'call_7', '42']);
          if (!stream) return this.json(res, 200, {id: 'y', object: 'chat.completion', created: 1, model: 'm', choices: [{index: 0, message: {role: 'assistant', content: 'It is 42.'}, finish_reason: 'stop'}]});
          this.sseHead(res);
          for (const content of ['It is', ' 42.']) this.event(res, answerPiece({content}));
          this.event(res, answerPiece({}, 'stop'));
          return res.end('data: [DONE]\n\n');
        });
        const runner = helpers().runTools({model: 'up/gpt-test', stream, ...user('2 + 40?'), tools: [{type: 'function', function: {
          ...add.function, parse: JSON.parse, function: ({a, b}) => {
            calls.push([a, b]);
            return String(a + b);
          }}}]});
        assert.equal(await runner.finalContent(), 'It is 42.');
        assert.deepEqual(calls, [[2, 40]]);
        assert.deepEqual(runner.messages.map((m) => m.role), ['user', 'assistant', 'tool', 'assistant']);
      });

      it(`a site that fails once is asked again, by the SDK's own rules, ${how}`, async () => {
        const patient = make({maxRetries: 2});
        const from = site.chatRequests().length, began = Date.now();
        site.next({status: 429, json: {error: {message: 'slow down'}}, headers: {'retry-after': '1'}});
        const answer = await patient.chat.completions.create({model: 'up/gpt-test', stream, ...user('later')});
        let text = answer.choices?.[0].message.content ?? '';
        if (stream) for await (const chunk of answer) text += chunk.choices[0].delta.content ?? '';
        assert.equal(text, 'later');
        assert.equal(site.chatRequests().length - from, 2);
        assert.ok(Date.now() - began >= 950, `Retry-After: 1 was obeyed after ${Date.now() - began} ms`);
      });

      for (const [what, plan, code] of [
        ['a request that the site finds wrong', {status: 422, json: {error: {message: 'no such voice'}}}, 'upstream_bad_request'],
        ['a refused credential', {status: 401, json: {error: {message: 'expired'}}}, 'upstream_credential'],
        ['a bot check page', function (r, res) {
          res.writeHead(403, {'content-type': 'text/html'});
          res.end('<html><title>Just a moment...</title></html>');
        }, 'upstream_challenge'],
      ]) {
        it(`${what} reaches the site once, however patient the SDK is, ${how}`, async () => {
          const patient = make({maxRetries: 5});
          const from = site.chatRequests().length;
          site.next(plan);
          await assert.rejects(patient.chat.completions.create({model: 'up/gpt-test', stream, ...user('x')}),
            (e) => e.code === code && e instanceof sdk.APIError);
          assert.equal(site.chatRequests().length - from, 1);
        });
      }
    }

    it('a failure that time does not cure is not repeated by the SDK', async () => {
      let fetched = 0;
      const patient = make({maxRetries: 5, fetch: (...args) => {
        fetched++;
        return fetch(...args);
      }});
      await assert.rejects(patient.chat.completions.create({model: 'demo/echo', ...user('!error bridge')}), (e) => e.status === 503 && e.code === 'bridge_not_connected');
      assert.equal(fetched, 1);
    });

    it('a failure that other accounts have met as well is not repeated by the SDK', async () => {
      const two = await startGateway({sites: [{name: 'up', adapter: 'openai', ...site.config({base_url: `${site.origin}/v1`, models: ['gpt-test']}),
        accounts: [{name: 'a', api_key: 'sk-upstream'}, {name: 'b', api_key: 'sk-upstream'}]}]});
      try {
        const from = site.chatRequests().length;
        site.next(...Array(2).fill({status: 500, json: {error: {message: 'boom'}}}));
        await assert.rejects(make({baseURL: two.base, maxRetries: 5}).chat.completions.create({model: 'up/gpt-test', ...user('x')}), (e) => e.status === 502 && e.code === 'upstream_failed');
        assert.equal(site.chatRequests().length - from, 2);
      } finally {
        await two.stop();
      }
    });

    it('one class for each kind of error, with code, type, param and the id of the request', async () => {
      const create = (more, who = client) => who.chat.completions.create({model: 'up/gpt-test', ...user('x'), ...more});
      const rows = [
        [() => create({messages: [{role: 'user', content: 7}]}), sdk.BadRequestError, 400, 'invalid_request_error', 'invalid_value', 'messages[0].content'],
        [() => create({}, make({apiKey: 'sk-wrong'})), sdk.AuthenticationError, 401, 'authentication_error', 'invalid_api_key', null],
        [() => create({}, make({apiKey: NARROW})), sdk.PermissionDeniedError, 403, 'permission_error', 'model_not_allowed', 'model'],
        [() => create({model: 'up'}), sdk.NotFoundError, 404, 'invalid_request_error', 'model_not_found', 'model'],
        [() => create({model: 'demo/echo', ...user('!error rate_limited 7')}), sdk.RateLimitError, 429, 'rate_limit_error', 'upstream_rate_limited', null],
        [() => create({model: 'demo/echo', ...user('!error unavailable')}), sdk.InternalServerError, 502, 'upstream_error', 'upstream_failed', null],
        [() => create({model: 'demo/echo', ...user('!error overloaded 9')}), sdk.InternalServerError, 503, 'upstream_error', 'upstream_overloaded', null],
        [() => create({model: 'demo/echo', ...user('!error timeout')}), sdk.InternalServerError, 504, 'upstream_error', 'upstream_timeout', null],
      ];
      for (const [call, type, ...want] of rows) {
        const error = await call().then(() => assert.fail('no error'), (e) => e);
        assert.equal(error.constructor, type, error.stack);
        assert.deepEqual([error.status, error.type, error.code, error.param], want);
        assert.match(error.requestID ?? error.request_id, /^req_/);
        assert.equal(error.message, `${error.status} ${error.error.message}`);
      }
    });

    for (const [how, leave] of [
      ['breaks out of the loop', async (client) => {
        for await (const chunk of await client.chat.completions.create({model: 'up/gpt-test', stream: true, ...user('x')})) if (chunk.choices[0].delta.content) break;
      }],
      ['aborts with its signal', async (client) => {
        const controller = new AbortController();
        const stream = await client.chat.completions.create({model: 'up/gpt-test', stream: true, ...user('x')}, {signal: controller.signal});
        for await (const chunk of stream) if (chunk.choices[0].delta.content) controller.abort();
      }],
      ["aborts the stream's controller", async (client) => {
        const stream = await client.chat.completions.create({model: 'up/gpt-test', stream: true, ...user('x')});
        for await (const chunk of stream) if (chunk.choices[0].delta.content) stream.controller.abort();
      }],
      ['aborts the helper', async (client) => {
        const stream = (client.chat.completions.stream ? client.chat : client.beta.chat).completions.stream({model: 'up/gpt-test', ...user('x')});
        stream.on('content', () => stream.abort());
        await assert.rejects(stream.done(), sdk.APIUserAbortError);
      }],
      ['gives up on a whole answer', async (client, begun) => {
        const controller = new AbortController();
        const answer = client.chat.completions.create({model: 'up/gpt-test', ...user('x')}, {signal: controller.signal});
        begun.then(() => controller.abort());
        await assert.rejects(answer, sdk.APIUserAbortError);
      }],
      ['runs out of time', async (client) => {
        await assert.rejects(client.chat.completions.create({model: 'up/gpt-test', ...user('x')}, {timeout: 1500}), sdk.APIConnectionTimeoutError);
      }],
    ]) {
      it(`the client ${how}: the site's request ends, the only account is free`, async () => {
        const begun = saysHello(site);
        await leave(client, begun);
        await leftAtOnce(await begun);
        assert.equal((await completions().create({model: 'up/gpt-test', ...user('next')})).choices[0].message.content, 'next');
      });
    }

    for (const [what, order, code] of [
      ['the site fails', '!error unavailable after 2 words', 'upstream_failed'],
      ['the answer breaks off', '!cut after 2 words', 'upstream_cut'],
      ['the limit is reached', '!error rate_limited 7 after 2 words', 'upstream_rate_limited'],
    ]) {
      it(`${what} after some words: an APIError, never an end`, async () => {
        let text = '';
        const is = (e) => e instanceof sdk.APIError && e.status === undefined && e.code === code && e.message === e.error.message && 'param' in e && typeof e.type === 'string';
        await assert.rejects(async () => {
          for await (const chunk of await completions().create({model: 'demo/echo', stream: true, ...user(order)})) text += chunk.choices[0].delta.content ?? '';
        }, is);
        assert.equal(text, 'Here are');
        const helper = helpers().stream({model: 'demo/echo', ...user(order)});
        await assert.rejects(helper.finalChatCompletion(), is);
        assert.equal(helper.currentChatCompletionSnapshot?.choices[0].finish_reason ?? null, null);
        await assert.rejects(completions().create({model: 'demo/echo', ...user(order)}), (e) => e instanceof sdk.APIError && e.status >= 429 && e.code === code);
      });
    }
  });

  describe(`${name}: the worst cases`, {timeout: 120000}, () => {
    let worst, sdk;
    before(async () => {
      sdk = (await import(name)).default;
      worst = await startWorst();
    });
    after(() => worst?.stop());
    for (const stream of [false, true]) {
      for (const bad of WORST) {
        if (stream && bad.what === "the site's limit") continue; // it rests already
        it(`${bad.what}, ${stream ? 'streamed' : 'whole'}`, async () => {
          worst.prepare(bad);
          const client = new sdk({apiKey: bad.key, baseURL: worst.base, maxRetries: 0});
          let text = '';
          const error = await (async () => {
            const answer = await client.chat.completions.create({model: bad.model, stream, ...user('Hello')});
            for await (const chunk of stream ? answer : []) text += chunk.choices[0].delta.content ?? '';
          })().then(() => assert.fail('looks like a whole answer'), (e) => e);
          const late = stream && bad.partial;
          says(error.message, bad, {before: late ? '' : `${bad.status} `});
          assert.deepEqual([error.status, error.type, error.code, error.param], [late ? undefined : bad.status, bad.type, bad.code, bad.param]);
          assert.equal(text, late ? bad.partial : '');
        });
      }
    }
  });
}

describe('openai: three hundred calls at once', {timeout: 120000}, () => {
  const N = 300;
  let site, gateway, sdk;
  before(async () => {
    sdk = (await import('openai')).default;
    site = await new OpenAiSite().start();
    gateway = await startGateway({sites: [{name: 'demo', adapter: 'demo'},
      {name: 'up', adapter: 'openai', ...site.config({base_url: `${site.origin}/v1`, models: ['gpt-test']}), accounts: [{name: 'a', api_key: 'sk-upstream'}]}]});
  });
  after(async () => {
    await gateway?.stop();
    await site?.stop();
  });

  /** Word by word, and between two words every other answer has its turn. */
  async function slowly(r, res) {
    const words = r.json.messages.at(-1).content.match(/\s*\S+/g);
    this.sseHead(res);
    for (const content of words) {
      this.event(res, answerPiece({content}));
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.event(res, answerPiece({}, 'stop'));
    res.end('data: [DONE]\n\n');
  }

  for (const [model, plan] of [['up/gpt-test', slowly], ['demo/slow', null]]) {
    it(`${model}: all right, none mixed up, none asked twice`, async () => {
      if (plan) site.next(...Array(N).fill(plan));
      const from = site.chatRequests().length;
      let fetched = 0;
      const client = new sdk({apiKey: 'any', baseURL: gateway.base, maxRetries: 0, fetch: (...args) => {
        fetched++;
        return fetch(...args);
      }});
      const ids = new Set();
      await Promise.all(Array.from({length: N}, async (_, i) => {
        const prompt = `5 token-${i}-begin ${Array(12).fill(`token-${i}`).join(' ')} token-${i}-end`;
        if (i % 2) {
          let text = '', finish;
          for await (const chunk of await client.chat.completions.create({model, stream: true, ...user(prompt)})) {
            text += chunk.choices[0].delta.content ?? '';
            finish = chunk.choices[0].finish_reason;
            ids.add(`${i} ${chunk.id}`);
          }
          assert.deepEqual([text, finish], [prompt, 'stop']);
        } else {
          const answer = await client.chat.completions.create({model, ...user(prompt)});
          assert.deepEqual([answer.choices[0].message.content, answer.choices[0].finish_reason], [prompt, 'stop']);
          ids.add(`${i} ${answer.id}`);
        }
      }));
      assert.equal(ids.size, N);
      assert.equal(fetched, N);
      if (plan) assert.equal(site.chatRequests().length - from, N);
      assert.deepEqual(site.violations, []);
      await settled(gateway);
      assert.equal(await active(gateway), 0);
    });
  }
});
