// Wishes for reasoning: the same words of a client mean the same at every site, on every API (docs/reasoning.md). What each site's
// body becomes, word by word, is in test_reasoning_controls.c.
import assert from 'node:assert/strict';
import {after, afterEach, before, describe, it} from 'node:test';
import AnthropicSdk from '@anthropic-ai/sdk';
import OpenAI from 'openai';
import {Anthropic} from '../sites/anthropic.mjs';
import {ChatGlm, SIGN_SECRET, jwt as glmToken} from '../sites/chatglm.mjs';
import {ClaudeWeb, key as claudeKey} from '../sites/claude_web.mjs';
import {Gemini} from '../sites/gemini.mjs';
import {Kimi} from '../sites/kimi.mjs';
import {OpenAiSite} from '../sites/openai.mjs';
import {Qwen, jwt as qwenToken} from '../sites/qwen.mjs';
import {Sophnet} from '../sites/sophnet.mjs';
import {Zai, jwt as zaiToken} from '../sites/zai.mjs';
import {startGateway} from './lib/gateway.mjs';
import {chat, checkError, user} from './lib/http.mjs';

const refresh = glmToken('refresh'), person = qwenToken('person');

/** Of each site: its stand-in, its configuration, a model, and what a request of it says: does the model think? */
const kinds = {
  zai: {make: () => new Zai({}), account: {token: zaiToken('person')}, model: 'glm-4.6', thinks: (r) => r.json.features.enable_thinking},
  chatglm: {make: () => new ChatGlm({refreshTokens: [refresh]}), account: {refresh_token: refresh}, options: {sign_secret: SIGN_SECRET}, model: 'glm-5.3',
    thinks: (r) => r.json.meta_data.chat_mode !== 'normal'},
  kimi: {make: () => new Kimi({}), account: {refresh_token: 'cpmt_0'}, options: (site) => ({auth_url: site.auth.origin}), model: 'kimi-k2.6',
    thinks: (r) => r.json.options.thinking},
  qwen: {make: () => new Qwen({tokens: [person]}), account: {token: person}, model: 'qwen3.6-plus',
    thinks: (r) => r.json.messages[0].feature_config.thinking_enabled},
  claude_web: {make: () => new ClaudeWeb({}), account: {session_key: claudeKey('one')}, model: 'claude-sonnet-5', thinks: (r) => r.json.thinking_mode !== 'off'},
  sophnet: {make: () => new Sophnet(), account: {api_key: 'soph-key'}, model: 'GLM-4.7', suffixes: false,
    thinks: (r) => r.json.enable_thinking ?? (r.json.reasoning_effort === 'high' || r.json.thinking.budget_tokens === 2000)},
  anthropic: {make: () => new Anthropic({}), account: {api_key: 'sk-ant-test'}, model: 'claude-sonnet-4-5',
    more: (site) => ({base_url: site.origin + site.prefix}), thinks: (r) => r.json.thinking?.type === 'enabled'},
  gemini: {make: () => new Gemini(), account: {api_key: 'AIza-test'}, model: 'gemini-2.5-flash',
    thinks: (r) => r.json.generationConfig.thinkingConfig.includeThoughts},
};

describe('wishes for reasoning', {timeout: 120000}, () => {
  const sites = {};
  let gateway, client, up;
  before(async () => {
    const configured = [];
    for (const [name, kind] of Object.entries(kinds)) {
      const site = await kind.make().start();
      sites[name] = site;
      const options = typeof kind.options === 'function' ? kind.options(site) : kind.options;
      configured.push({name, adapter: name, ...site.config({...(options ? {options} : {})}), ...kind.more?.(site), accounts: [{name: 'me', ...kind.account}]});
    }
    up = await new OpenAiSite().start();
    configured.push({name: 'up', adapter: 'openai', ...up.config({base_url: `${up.origin}/v1`}), accounts: [{name: 'a', api_key: 'sk-upstream'}]});
    configured.push({name: 'demo', adapter: 'demo'});
    gateway = await startGateway({sites: configured});
    client = new OpenAI({apiKey: 'any', baseURL: gateway.base, maxRetries: 0});
  });
  after(async () => {
    await gateway?.stop();
    for (const site of [...Object.values(sites), up]) await site?.stop();
  });
  afterEach(() => {
    for (const site of Object.values(sites)) assert.deepEqual(site.violations, []);
  });

  const create = (model, body = {}) => client.chat.completions.create({model, ...user('hello'), ...body});
  const requests = (site) => site.chatRequests?.() ?? site.requests;

  for (const [name, {model, thinks, suffixes = true}] of Object.entries(kinds)) {
    const wish = async (fields, suffix = '') => {
      await create(`${name}/${model}${suffix}`, fields);
      return Boolean(thinks(requests(sites[name]).at(-1)));
    };
    it(`${name}: a client's yes and no`, async () => {
      for (const yes of [{reasoning_effort: 'high'}, {reasoning: {effort: 'high'}}, {thinking: {type: 'enabled', budget_tokens: 2000}}]) {
        assert.equal(await wish(yes), true, JSON.stringify(yes));
      }
      for (const no of [{reasoning_effort: 'none'}, {enable_thinking: false}, {reasoning_effort: 'high', chat_template_kwargs: {thinking: false}}]) {
        assert.equal(await wish(no), false, JSON.stringify(no));
      }
    });

    if (suffixes) it(`${name}: a suffix of the model's id wins`, async () => {
      assert.equal(await wish({enable_thinking: false}, '-thinking'), true);
      assert.equal(await wish({reasoning_effort: 'high'}, '-nothinking'), false);
    });
  }

  it('an OpenAI-compatible service gets the words as they are', async () => {
    await create('up/gpt-test', {reasoning_effort: 'minimal', thinking: {type: 'adaptive'}, thinking_budget: 7});
    const {reasoning_effort, thinking, thinking_budget} = up.chatRequests().at(-1).json;
    assert.deepEqual([reasoning_effort, thinking, thinking_budget], ['minimal', {type: 'adaptive'}, 7]);
  });

  for (const fields of [{reasoning: {effort: 'high', exclude: true}}, {reasoning_effort: 'high', include_reasoning: false}]) {
    it(`${JSON.stringify(fields)}: it thinks, and the answer leaves without it`, async () => {
      sites.zai.next('reasoning');
      const {message} = (await create('zai/glm-4.6', fields)).choices[0];
      assert.deepEqual([message.content, 'reasoning_content' in message], ['The sum is 4.', false]);
      assert.equal(kinds.zai.thinks(sites.zai.chatRequests().at(-1)), true);
      sites.zai.next('reasoning');
      let content = '', reasoning = '';
      for await (const {choices: [{delta}]} of await create('zai/glm-4.6', {...fields, stream: true})) {
        content += delta.content ?? '';
        reasoning += delta.reasoning_content ?? '';
      }
      assert.deepEqual([content, reasoning], ['The sum is 4.', '']);
    });
  }

  it('without such a field it is there', async () => {
    sites.zai.next('reasoning');
    const {message} = (await create('zai/glm-4.6', {reasoning_effort: 'high', include_reasoning: true})).choices[0];
    assert.equal(message.reasoning_content, 'First I add. Then I check.');
  });

  it('the Responses API says it too', async () => {
    await client.responses.create({model: 'zai/glm-4.6', input: 'hello', reasoning: {effort: 'low'}});
    assert.equal(kinds.zai.thinks(sites.zai.chatRequests().at(-1)), true);
    await client.responses.create({model: 'zai/glm-4.6', input: 'hello', reasoning: {effort: 'none', summary: 'auto'}});
    assert.equal(kinds.zai.thinks(sites.zai.chatRequests().at(-1)), false);
  });

  it('the Messages API says it too, and a budget arrives where a site takes one', async () => {
    const anthropic = new AnthropicSdk({apiKey: 'any', baseURL: gateway.origin, maxRetries: 0});
    const send = (more) => anthropic.messages.create({model: 'qwen/qwen3.6-plus', max_tokens: 4000, ...user('hello'), ...more});
    const features = () => sites.qwen.chatRequests().at(-1).json.messages[0].feature_config;
    await send({thinking: {type: 'enabled', budget_tokens: 2345}});
    assert.deepEqual([features().thinking_enabled, features().thinking_budget], [true, 2345]);
    await send({thinking: {type: 'disabled'}, output_config: {effort: 'high'}});
    assert.equal(features().thinking_enabled, false);
  });

  it('a Messages client may use a suffix at Anthropic\'s own API', async () => {
    const anthropic = new AnthropicSdk({apiKey: 'any', baseURL: gateway.origin, maxRetries: 0});
    const send = (suffix, more) => anthropic.messages.create({model: `anthropic/claude-sonnet-4-5${suffix}`, max_tokens: 4000, ...user('hello'), ...more});
    const sent = () => requests(sites.anthropic).at(-1).json;
    await send('-thinking');
    assert.deepEqual([sent().model, sent().thinking, sent().max_tokens], ['claude-sonnet-4-5', {type: 'enabled', budget_tokens: 8192}, 12192]);
    await send('-nothinking', {thinking: {type: 'enabled', budget_tokens: 2000}});
    assert.deepEqual([sent().model, sent().thinking], ['claude-sonnet-4-5', undefined]);
  });

  it('the demo site\'s reasoner is told by all of them', async () => {
    const thinks = async (suffix, fields) => Boolean((await create(`demo/reasoner${suffix}`, fields)).choices[0].message.reasoning_content);
    assert.deepEqual([await thinks('', {}), await thinks('', {reasoning_effort: 'none'}), await thinks('-nothinking', {reasoning_effort: 'high'}),
      await thinks('-thinking', {enable_thinking: false}), await thinks('', {reasoning: {exclude: true}})], [true, false, false, true, false]);
  });

  it('OpenAI\'s own field has a type', async () => {
    await checkError(await chat(gateway.base, {model: 'demo/echo', ...user('hi'), reasoning_effort: 3}), {status: 400, type: 'invalid_request_error', code: 'invalid_value', param: 'reasoning_effort'});
    assert.equal((await chat(gateway.base, {model: 'demo/echo', ...user('hi'), enable_thinking: 3, thinking: 'odd', reasoning: []})).status, 200);
  });
});
