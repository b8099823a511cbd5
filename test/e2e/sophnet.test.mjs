// SophNet's two doors, through a stand-in that checks every request.
import assert from 'node:assert/strict';
import {afterEach, describe, it} from 'node:test';
import {Sophnet} from '../sites/sophnet.mjs';
import {startGateway} from './lib/gateway.mjs';
import {chat, checkError, checkStream, user} from './lib/http.mjs';

describe('sophnet', () => {
  const running = [];
  afterEach(async () => {
    for (const thing of running.splice(0).reverse()) await thing.stop();
  });
  const serve = async (accounts, more = {}, config = {}) => {
    const site = await new Sophnet().start();
    running.push(site);
    const gateway = await startGateway({sites: [{name: 'soph', adapter: 'sophnet', ...site.config(more), accounts}], ...config});
    running.push(gateway);
    return {site, gateway};
  };
  const key = [{name: 'k', api_key: 'soph-key'}], guest = [{name: 'g', guest: true}];
  const ask = (gateway, body) => chat(gateway.base, {model: 'soph/DeepSeek-V3-Fast', ...user('hi'), ...body});

  for (const [door, accounts] of [['official', key], ['playground', guest]]) {
    it(`${door}: streamed`, async () => {
      const {site, gateway} = await serve(accounts);
      const answer = checkStream(await (await ask(gateway, {stream: true, temperature: 0.6, stop: 'END'})).text());
      assert.deepEqual(site.violations, []);
      assert.deepEqual([answer.content, answer.reasoning, answer.finish], ['大河 flows.', 'Thinking.', 'stop']);
      assert.deepEqual(answer.annotations.map((a) => a.url_citation.url), ['https://river.example/']);
      assert.deepEqual(site.chatRequests()[0].json.stop, ['END']);
    });

    it(`${door}: whole`, async () => {
      const {site, gateway} = await serve(accounts);
      const answer = await (await ask(gateway, {})).json();
      assert.deepEqual(site.violations, []);
      assert.equal(answer.choices[0].message.content, '大河 flows.');
      assert.deepEqual(answer.usage, {prompt_tokens: 5, completion_tokens: 3, total_tokens: 8, dragoman_source: 'upstream'});
    });

    it(`${door}: without [DONE]`, async () => {
      const {site, gateway} = await serve(accounts);
      site.withoutDone = true;
      assert.equal(checkStream(await (await ask(gateway, {stream: true})).text()).finish, 'stop');
    });

    it(`${door}: developer becomes system, tools keep a parameter called model`, async () => {
      const {site, gateway} = await serve(accounts);
      const tools = [{type: 'function', function: {name: 'f', parameters: {type: 'object', properties: {model: {type: 'string'}}}}}];
      await (await ask(gateway, {tools, messages: [{role: 'developer', content: 'Be brief.'}, {role: 'user', content: 'hi'}]})).text();
      assert.deepEqual(site.violations, []);
      const body = site.chatRequests()[0].json;
      assert.deepEqual([body.messages[0].role, body.tools], ['system', tools]);
    });
  }

  it('playground: one login for all requests, kept over a restart', async () => {
    const {site, gateway} = await serve(guest);
    await Promise.all(Array.from({length: 5}, async () => (await ask(gateway, {})).text()));
    await (await ask(gateway, {stream: true})).text();
    assert.equal(site.logins, 1);
    const data = `${gateway.directory}/data`;
    gateway.signal('SIGTERM');
    assert.equal(await gateway.exit(), 0);
    gateway.child = null;
    running.splice(running.indexOf(gateway), 1);
    const again = await startGateway({server: {data_dir: data}, sites: gateway.config.sites});
    running.push(again);
    assert.equal((await ask(again, {})).status, 200);
    assert.equal(site.logins, 1);
    assert.deepEqual(site.violations, []);
  });

  it('playground: a used-up token is replaced once', async () => {
    const {site, gateway} = await serve(guest);
    await (await ask(gateway, {})).text();
    site.anonymous.clear();
    assert.equal((await ask(gateway, {})).status, 200);
    assert.equal(site.logins, 2);
  });

  it('playground: -Search', async () => {
    const {site, gateway} = await serve(guest);
    await (await ask(gateway, {model: 'soph/Kimi-K2-Search'})).text();
    const body = site.chatRequests()[0].json;
    assert.deepEqual([body.model_id, body.webSearchEnable], ['Kimi-K2', true]);
    assert.deepEqual(site.violations, []);
  });

  it('playground: defaults are filled in where a field is absent', async () => {
    const {site, gateway} = await serve(guest, {options: {default_temperature: 0.6, default_max_tokens: 16384}});
    await (await ask(gateway, {})).text();
    await (await ask(gateway, {temperature: 0, max_tokens: 7})).text();
    const [a, b] = site.chatRequests().map((r) => r.json);
    assert.deepEqual([a.temperature, a.max_tokens, b.temperature, b.max_tokens], [0.6, 16384, 0, 7]);
  });

  it('an error of the site is told as what it is', async () => {
    const {site, gateway} = await serve(key);
    site.next({status: 200, json: {status: 500, message: 'the model is asleep', result: null, timestamp: 1}});
    await checkError(await ask(gateway, {stream: true}), {status: 502, type: 'upstream_error', code: 'upstream_failed'});
    site.next({status: 200, json: {status: 1, message: '请完成人机验证 captcha', result: null, timestamp: 1}});
    await checkError(await ask(gateway, {}), {status: 403, type: 'upstream_error', code: 'upstream_challenge', noRetry: true});
  });

  it('a wrong key is 403, never 401', async () => {
    const {gateway} = await serve([{name: 'k', api_key: 'wrong'}]);
    await checkError(await ask(gateway, {}), {status: 403, type: 'upstream_error', code: 'upstream_credential', noRetry: true});
  });
});
