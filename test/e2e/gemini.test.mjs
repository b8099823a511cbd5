// Google's Gemini API, through OpenAI's own SDK and plain requests, before a stand-in that refuses what Google refuses.
import Anthropic from '@anthropic-ai/sdk';
import assert from 'node:assert/strict';
import {after, afterEach, before, describe, it} from 'node:test';
import OpenAI from 'openai';
import {Gemini} from '../sites/gemini.mjs';
import {run, startGateway} from './lib/gateway.mjs';
import {chat, checkBrokenStream, checkError, checkStream, user} from './lib/http.mjs';

const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
const functions = ['get weather!', 'get_time'].map((name) => ({type: 'function', function: {name, description: 'of a city', strict: true,
  parameters: {$schema: 'x', type: 'object', properties: {city: {type: 'string'}}, additionalProperties: false}}}));
const quota = (quotaId, delay) => ({error: {code: 429, status: 'RESOURCE_EXHAUSTED', message: 'You exceeded your current quota.', details: [
  {'@type': 'type.googleapis.com/google.rpc.QuotaFailure', violations: [{quotaId}]},
  {'@type': 'type.googleapis.com/google.rpc.RetryInfo', retryDelay: delay}]}});

describe('gemini', {timeout: 120000}, () => {
  let site, gateway, client;
  before(async () => {
    site = await new Gemini().start();
    gateway = await startGateway({sites: [
      {name: 'gemini', adapter: 'gemini', ...site.config(), accounts: [{name: 'main', api_key: 'AIza-test'}]},
      {name: 'searching', adapter: 'gemini', ...site.config({options: {google_search: true, safety: 'BLOCK_NONE'}}), accounts: [{name: 'main', api_key: 'AIza-test'}]}]});
    client = new OpenAI({apiKey: 'any', baseURL: gateway.base, maxRetries: 0});
  });
  after(async () => {
    await gateway?.stop();
    await site?.stop();
  });
  afterEach(() => assert.deepEqual(site.violations, []));
  const create = (body) => client.chat.completions.create({model: 'gemini/gemini-2.5-flash', ...body});
  const ask = (body, options) => chat(gateway.base, {model: 'gemini/gemini-2.5-flash', ...body}, options);
  const sent = () => site.chatRequests().at(-1);

  it('streamed: text, thoughts, numbers', async () => {
    const answer = checkStream(await (await ask({stream: true, stream_options: {include_usage: true}, ...user('Größe 你好 🌍')})).text(), {usage: true});
    assert.deepEqual([answer.content, answer.reasoning, answer.finish], ['Größe 你好 🌍', '**Plan**\nLet me see.', 'stop']);
    assert.deepEqual([answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.completion_tokens_details.reasoning_tokens], [7, 8, 5]);
    assert.equal(sent().headers['x-goog-api-key'], 'AIza-test');
  });

  it('whole, though Google is asked for a stream', async () => {
    const answer = await create({...user('one two')});
    assert.deepEqual([answer.choices[0].message.content, answer.choices[0].message.reasoning_content, answer.choices[0].finish_reason],
      ['one two', '**Plan**\nLet me see.', 'stop']);
    assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
  });

  it('its models, of every page, without what generates nothing', async () => {
    let ids = [];
    for (let i = 0; i < 100 && !ids.includes('gemma-9-it'); i++) {
      ids = (await client.models.list()).data.filter((m) => m.owned_by === 'gemini').map((m) => m.id);
      if (!ids.includes('gemma-9-it')) await new Promise((resolve) => setTimeout(resolve, 50));
    }
    assert.deepEqual(ids, ['gemini-2.5-flash', 'gemini-2.5-pro', 'gemini-2.0-flash', 'gemini-3-flash', 'gemini-3-pro-preview', 'gemma-9-it']);
    // the list says which models think, whatever their name
    await create({model: 'gemini/gemma-9-it', ...user('hi')});
    assert.deepEqual(sent().json.generationConfig.thinkingConfig, {includeThoughts: true});
    await create({model: 'gemini/gemini-2.0-flash', reasoning_effort: 'high', ...user('hi')});
    assert.equal(sent().json.generationConfig.thinkingConfig, undefined);
  });

  it('an id that the list does not have is sent, and 404 is an unknown model', async () => {
    await checkError(await ask({model: 'gemini/unknown', ...user('hi')}), {status: 404, type: 'invalid_request_error', code: 'model_not_found', param: 'model'});
  });

  // A conversation of two steps with calls beside each other; `keeps`: does the client send back what it does not know?
  for (const model of ['gemini-2.5-flash', 'gemini-3-flash']) {
    for (const keeps of [true, false]) {
      for (const stream of [true, false]) {
        it(`${model}: tools in several steps, ${stream ? 'streamed' : 'whole'}, extra_content ${keeps ? 'kept' : 'dropped'}`, async () => {
          const messages = [{role: 'system', content: 'Be brief.'}, {role: 'user', content: 'both, in two steps'}];
          for (let step = 0; step < 2; step++) {
            let message;
            if (stream) {
              const runner = client.chat.completions.stream({model: `gemini/${model}`, messages, tools: functions});
              message = (await runner.finalChatCompletion()).choices[0].message;
            } else {
              message = (await create({model: `gemini/${model}`, messages, tools: functions})).choices[0].message;
            }
            assert.deepEqual(message.tool_calls.map((c) => [c.function.name, JSON.parse(c.function.arguments)]),
              functions.map((f) => [f.function.name, {city: '札幌', step}]));
            if (!stream) assert.match(message.tool_calls[0].extra_content.google.thought_signature, /=*$/);
            messages.push({role: 'assistant', content: null, tool_calls: message.tool_calls.map(({id, type, function: f, extra_content}) => (
              {id, type, function: {name: f.name, arguments: f.arguments}, ...(keeps && extra_content ? {extra_content} : {})}))});
            for (const call of message.tool_calls.toReversed()) messages.push({role: 'tool', tool_call_id: call.id, content: `result of ${call.function.name}`});
          }
          const last = await create({model: `gemini/${model}`, messages, tools: functions});
          assert.equal(last.choices[0].message.content, 'It says [{"output":"result of get weather!"},{"output":"result of get_time"}].');
          const signatures = sent().json.contents.filter((c) => c.role === 'model').map((c) => c.parts[0].thoughtSignature);
          assert.equal(new Set(signatures).size, 2);
          for (const signature of signatures) assert.ok(site.signatures.has(signature), `${signature} is none of Google's`);
        });
      }
    }
  }

  it('a history of calls that nobody knows is taken by Gemini 3 all the same', async () => {
    const answer = await create({model: 'gemini/gemini-3-flash', tools: functions, messages: [{role: 'user', content: 'x'},
      {role: 'assistant', tool_calls: [{id: 'foreign', type: 'function', function: {name: 'get_time', arguments: ''}}]},
      {role: 'tool', tool_call_id: 'foreign', content: '{"hour":7}'}]});
    assert.equal(answer.choices[0].message.content, 'It says [{"hour":7}].');
    assert.equal(sent().json.contents[1].parts[0].thoughtSignature, 'skip_thought_signature_validator');
  });

  it('tool_choice', async () => {
    await create({...user('x'), tools: functions, tool_choice: 'none'});
    assert.deepEqual(sent().json.toolConfig, {functionCallingConfig: {mode: 'NONE'}});
    const answer = await create({...user('x'), tools: functions, parallel_tool_calls: false, tool_choice: {type: 'function', function: {name: 'get_time'}}});
    assert.deepEqual(sent().json.toolConfig, {functionCallingConfig: {mode: 'ANY', allowedFunctionNames: ['get_time']}});
    assert.equal(answer.choices[0].finish_reason, 'tool_calls');
  });

  it('pictures are sent inline; those at an address are refused by their place', async () => {
    const image = (url) => ({type: 'image_url', image_url: {url}});
    const answer = await create(user([image(`data:image/png;base64,${PNG}`), {type: 'text', text: 'pictures'}]));
    assert.equal(answer.choices[0].message.content, `image/png ${Buffer.from(PNG, 'base64').length}`);
    const requests = site.requests.length;
    await checkError(await ask(user([{type: 'text', text: 'see'}, image('https://pictures.example/a.png')])),
      {status: 400, type: 'invalid_request_error', code: 'unsupported_value', param: 'messages[0].content[1]'});
    assert.equal(site.requests.length, requests);
  });

  it('a JSON schema', async () => {
    const schema = {type: 'object', properties: {city: {type: 'string'}, celsius: {type: 'number'}}, required: ['city', 'celsius'], additionalProperties: false};
    const answer = await client.chat.completions.parse({model: 'gemini/gemini-2.5-flash', ...user('Oslo'), response_format: {type: 'json_schema', json_schema: {name: 'w', strict: true, schema}}});
    assert.deepEqual(JSON.parse(answer.choices[0].message.content), {city: 'Oslo', celsius: 4});
    assert.deepEqual(sent().json.generationConfig.responseJsonSchema, schema);
  });

  it('reasoning effort, and none', async () => {
    await create({...user('x'), reasoning_effort: 'low'});
    assert.deepEqual(sent().json.generationConfig.thinkingConfig, {includeThoughts: true, thinkingBudget: 1024});
    const answer = await create({...user('x'), reasoning_effort: 'none'});
    assert.deepEqual(sent().json.generationConfig.thinkingConfig, {includeThoughts: false, thinkingBudget: 0});
    assert.equal(answer.choices[0].message.reasoning_content, undefined);
    await create({model: 'gemini/gemini-3-flash', ...user('x'), reasoning_effort: 'medium'});
    assert.deepEqual(sent().json.generationConfig.thinkingConfig, {includeThoughts: true, thinkingLevel: 'medium'});
  });

  it('a field that a model refuses is left out, and not sent to it again', async () => {
    const count = () => site.chatRequests().length;
    const before = count();
    for (let i = 0; i < 2; i++) {
      const answer = await create({model: 'gemini/gemini-2.5-pro', ...user('x'), presence_penalty: 1, frequency_penalty: 0.5, temperature: 0.25});
      assert.equal(answer.choices[0].message.content, 'x');
    }
    assert.equal(count() - before, 3);
    assert.deepEqual([sent().json.generationConfig.temperature, 'presencePenalty' in sent().json.generationConfig], [0.25, false]);
    await create({model: 'gemini/gemini-3-pro-preview', ...user('x'), reasoning_effort: 'medium'});
    assert.equal(sent().json.generationConfig.thinkingConfig.thinkingLevel, 'high');
    assert.equal(count() - before, 5);
  });

  it("Google's own search, safety settings, sources", async () => {
    const answer = checkStream(await (await ask({model: 'searching/gemini-2.5-flash', stream: true, ...user('what is new?')})).text());
    assert.deepEqual(answer.annotations.map((a) => a.url_citation.url), ['https://a.example/']);
    assert.deepEqual([sent().json.tools, sent().json.safetySettings.length], [[{googleSearch: {}}], 4]);
    const called = await create({model: 'searching/gemini-2.5-flash', ...user('x'), tools: functions});
    assert.equal(called.choices[0].finish_reason, 'tool_calls');
  });

  it('blocked before, and in the middle', async () => {
    const body = await checkError(await ask({...user('blocked'), reasoning_effort: 'none'}), {status: 400, type: 'invalid_request_error', code: 'content_filter', noRetry: true});
    assert.match(body.error.message, /PROHIBITED_CONTENT/);
    const answer = await create(user('filtered'));
    assert.deepEqual([answer.choices[0].message.content, answer.choices[0].finish_reason], ['Up to here', 'content_filter']);
  });

  it('cut: an error behind the text, never an end', async () => {
    const {content, error} = checkBrokenStream(await (await ask({stream: true, ...user('cut')})).text());
    assert.deepEqual([content, error.code], ['A part', 'upstream_cut']);
  });

  it("Google's 400 reaches the client", async () => {
    site.next({status: 400, json: {error: {code: 400, status: 'INVALID_ARGUMENT', message: 'The model is sleepy.'}}});
    const body = await checkError(await ask(user('x')), {status: 400, type: 'invalid_request_error', code: 'upstream_bad_request', noRetry: true});
    assert.match(body.error.message, /The model is sleepy\./);
  });

  it('an error inside a stream', async () => {
    site.next(function (r, res) {
      this.sseHead(res);
      res.write('data: {"candidates":[{"content":{"parts":[{"text":"A part"}]}}]}\r\n\r\n');
      res.end('{\n  "error": {\n    "code": 503,\n    "message": "The service is currently unavailable.",\n    "status": "UNAVAILABLE"\n  }\n}\n');
    });
    const {content, error} = checkBrokenStream(await (await ask({stream: true, ...user('x')})).text());
    assert.deepEqual([content, error.code], ['A part', 'upstream_overloaded']);
  });

  it('what the list said of a model outlives a restart', async (t) => {
    const own = await new Gemini().start();
    t.after(() => own.stop());
    const sites = [{name: 'gemini', adapter: 'gemini', ...own.config(), accounts: [{name: 'main', api_key: 'AIza-test'}]}];
    const first = await startGateway({sites});
    const thinking = async (base) => {
      await (await chat(base, {model: 'gemini/gemma-9-it', ...user('x')})).text();
      return own.chatRequests().at(-1).json.generationConfig.thinkingConfig;
    };
    for (let i = 0; i < 100 && !(await thinking(first.base)); i++) await new Promise((resolve) => setTimeout(resolve, 50));
    first.signal('SIGTERM');
    assert.equal(await first.exit(), 0);
    first.child = null;
    own.withoutList = true;
    const second = await startGateway({server: {data_dir: `${first.directory}/data`}, sites});
    assert.deepEqual(await thinking(second.base), {includeThoughts: true});
    await second.stop();
    await first.stop();
    assert.deepEqual(own.violations, []);
  });

  describe('behind other fronts', () => {
    const weather = {name: 'get weather!', description: 'of a city', input_schema: {type: 'object', properties: {city: {type: 'string'}}}};

    for (const stream of [true, false]) {
      it(`/v1/messages: thinking and tools in two steps, ${stream ? 'streamed' : 'whole'}`, async () => {
        const anthropic = new Anthropic({apiKey: 'any', baseURL: gateway.origin, maxRetries: 0});
        const messages = [{role: 'user', content: 'two steps'}];
        const turn = async () => {
          const body = {model: 'gemini/gemini-3-flash', max_tokens: 4000, system: 'Be brief.', thinking: {type: 'enabled', budget_tokens: 2000}, tools: [weather], messages};
          return stream ? anthropic.messages.stream(body).finalMessage() : anthropic.messages.create(body);
        };
        for (let step = 0; step < 2; step++) {
          const answer = await turn();
          assert.deepEqual([answer.stop_reason, answer.content.map((b) => b.type)], ['tool_use', ['thinking', 'tool_use']]);
          const [thinking, call] = answer.content;
          assert.deepEqual([thinking.thinking, call.name, call.input], ['**Plan**\nLet me see.', weather.name, {city: '札幌', step}]);
          messages.push({role: 'assistant', content: answer.content}, {role: 'user', content: [step
            ? {type: 'tool_result', tool_use_id: call.id, is_error: true, content: 'no such city'}
            : {type: 'tool_result', tool_use_id: call.id, content: [{type: 'text', text: '4 °C'}, {type: 'image', source: {type: 'base64', media_type: 'image/png', data: PNG}}]}]});
        }
        const answer = await turn();
        assert.equal(answer.content.at(-1).text, 'It says [{"error":"no such city"}].');
        assert.equal(answer.stop_reason, 'end_turn');
        const {contents, generationConfig} = sent().json;
        assert.deepEqual(generationConfig.thinkingConfig, {includeThoughts: true, thinkingLevel: 'low'});
        assert.deepEqual(contents.map((c) => c.parts.map((part) => Object.keys(part)[0])),
          [['text'], ['functionCall'], ['functionResponse', 'inlineData'], ['functionCall'], ['functionResponse']]);
        for (const i of [1, 3]) assert.ok(site.signatures.has(contents[i].parts[0].thoughtSignature), contents[i].parts[0].thoughtSignature);
      });
    }

    it('/v1/responses: a tool, and what came before by its id', async () => {
      const tools = [{type: 'function', name: 'get_time', description: 'of a city', strict: true, parameters: functions[1].function.parameters}];
      const first = await client.responses.create({model: 'gemini/gemini-3-flash', input: 'x', tools, reasoning: {effort: 'low'}});
      const call = first.output.find((item) => item.type === 'function_call');
      assert.deepEqual([call.name, JSON.parse(call.arguments)], ['get_time', {city: '札幌', step: 0}]);
      const second = await client.responses.create({model: 'gemini/gemini-3-flash', previous_response_id: first.id, tools,
        input: [{type: 'function_call_output', call_id: call.call_id, output: '7:00'}]});
      assert.equal(second.output_text, 'It says [{"output":"7:00"}].');
      assert.ok(site.signatures.has(sent().json.contents[1].parts[0].thoughtSignature));
    });
  });

  describe('accounts', () => {
    const serve = async (t, accounts, keys) => {
      const own = await new Gemini({keys}).start();
      const ours = await startGateway({sites: [{name: 'gemini', adapter: 'gemini', ...own.config(), accounts}]});
      t.after(async () => {
        await ours.stop();
        await own.stop();
      });
      return {own, ask: (body) => chat(ours.base, {model: 'gemini/gemini-2.5-flash', ...body}), ours};
    };

    it('are checked by their list of models', async (t) => {
      const {ours} = await serve(t, [{name: 'good', api_key: 'AIza-a'}, {name: 'bad', api_key: 'AIza-wrong'}], ['AIza-a']);
      const {stdout} = await run(['accounts', '-c', ours.file, 'check']);
      assert.match(stdout, /^gemini\/good +fine \(3 models\)$/m);
      assert.match(stdout, /^gemini\/bad .*refuses the key of account "bad".*API key not valid/m);
    });

    it('a limit: the account rests as long as Google says', async (t) => {
      const {own, ask: here} = await serve(t, [{name: 'a', api_key: 'AIza-a'}], ['AIza-a']);
      own.next({status: 429, json: quota('GenerateRequestsPerMinutePerProjectPerModel', '33.2s')});
      await checkError(await here(user('x')), {status: 429, type: 'rate_limit_error', code: 'upstream_rate_limited', retryAfter: 34});
      assert.equal(own.chatRequests().length, 1);
      assert.equal((await here(user('x'))).status, 429);
      assert.equal(own.chatRequests().length, 1);
    });

    it("a day's quota: until midnight at the Pacific, and another account goes on", async (t) => {
      const {own, ask: here} = await serve(t, [{name: 'a', api_key: 'AIza-a'}, {name: 'b', api_key: 'AIza-b'}], ['AIza-a', 'AIza-b']);
      own.next({status: 429, json: quota('GenerateRequestsPerDayPerProjectPerModel-FreeTier', '5s')});
      assert.equal((await here(user('x'))).status, 200);
      own.next({status: 429, json: quota('GenerateRequestsPerDayPerProjectPerModel-FreeTier', '5s')});
      const refused = await here(user('x'));
      assert.equal(refused.status, 429);
      const clock = new Intl.DateTimeFormat('en-GB', {timeZone: 'America/Los_Angeles', hour: 'numeric', minute: 'numeric', second: 'numeric', hourCycle: 'h23'});
      const at = new Date(Date.now() + Number(refused.headers.get('retry-after')) * 1000 + 30000);
      assert.match(clock.format(at), /^00:0[01]:/);
    });

    it('a key that Google does not know: 403; beside a good one it is not tried again', async (t) => {
      const lone = await serve(t, [{name: 'a', api_key: 'AIza-wrong'}], ['AIza-b']);
      const {error} = await checkError(await lone.ask(user('x')), {status: 403, type: 'upstream_error', code: 'upstream_credential', noRetry: true});
      assert.match(error.message, /account "a".*API key not valid/);
      const two = await serve(t, [{name: 'a', api_key: 'AIza-wrong'}, {name: 'b', api_key: 'AIza-b'}], ['AIza-b']);
      for (let i = 0; i < 6; i++) assert.equal((await two.ask(user('x'))).status, 200);
      assert.equal(two.own.chatRequests().filter((r) => r.headers['x-goog-api-key'] === 'AIza-wrong').length, 1);
    });
  });
});
