// The Responses API through those who speak it: OpenAI's SDK, the AI SDK's provider for OpenAI, and requests as Codex makes them.
// Behind it stand a service, a web site and the demo site: none of them has this API.
import assert from 'node:assert/strict';
import {mkdtempSync, readFileSync, readdirSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {after, afterEach, before, describe, it} from 'node:test';
import {createOpenAI} from '@ai-sdk/openai';
import {generateText, jsonSchema, stepCountIs, streamText, tool} from 'ai';
import OpenAI from 'openai';
import {Anthropic} from '../sites/anthropic.mjs';
import {Gemini} from '../sites/gemini.mjs';
import {OpenAiSite} from '../sites/openai.mjs';
import {done, say, usage} from '../sites/zai.mjs';
import {KEY, answerPiece, settled, startUsual} from './lib/clients.mjs';
import {Gateway, startGateway} from './lib/gateway.mjs';
import {checkResponse, checkStream, events, respond, textOf} from './lib/responses.mjs';

const add = {type: 'function', name: 'add', description: 'a plus b', strict: true,
  parameters: {type: 'object', required: ['a', 'b'], properties: {a: {type: 'number'}, b: {type: 'number'}}, additionalProperties: false}};
const PNG = 'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';

describe('responses: a service, Z.ai, the demo site', {timeout: 120000}, () => {
  let usual, site, zai, gateway, client;
  before(async () => {
    usual = await startUsual();
    ({site, zai, gateway} = usual);
    client = new OpenAI({apiKey: 'any', baseURL: gateway.base, maxRetries: 0});
  });
  after(() => usual?.stop());
  afterEach(() => usual.calm());
  const sent = () => site.chatRequests().at(-1).json;
  const refused = async (body) => {
    const answer = await respond(gateway.base, {model: 'demo/echo', input: 'x', ...body});
    return [answer.status, (await answer.json()).error];
  };

  describe('openai', () => {
    it('a whole answer: text, numbers, everything that was asked told back', async () => {
      const r = checkResponse(await client.responses.create({model: 'up/gpt-test', input: 'Größe 你好 🌍', instructions: 'Be short', metadata: {a: 'b'}, temperature: 0.5,
        max_output_tokens: 99, text: {verbosity: 'low'}, safety_identifier: 'me', reasoning: {effort: 'low', summary: 'auto'}}));
      assert.equal(r.output_text, 'Größe 你好 🌍');
      assert.deepEqual([r.usage.input_tokens, r.usage.output_tokens], [4, 5]);
      assert.deepEqual([r.instructions, r.metadata, r.temperature, r.max_output_tokens, r.text.verbosity, r.reasoning, r.store],
        ['Be short', {a: 'b'}, 0.5, 99, 'low', {effort: 'low', summary: 'auto'}, true]);
      const {messages, model, ...rest} = sent();
      assert.deepEqual(messages, [{role: 'system', content: 'Be short'}, {role: 'user', content: 'Größe 你好 🌍'}]);
      assert.deepEqual([model, rest.temperature, rest.max_completion_tokens, rest.verbosity, rest.safety_identifier, rest.reasoning_effort], ['gpt-test', 0.5, 99, 'low', 'me', 'low']);
      for (const key of ['input', 'instructions', 'text', 'store', 'metadata', 'max_output_tokens']) assert.ok(!(key in rest), key);
    });

    it('the stream helper puts the answer together, event by event', async () => {
      const stream = client.responses.stream({model: 'up/gpt-test', input: 'one two three'});
      const types = [];
      for await (const event of stream) types.push(event.type);
      const r = checkResponse(await stream.finalResponse());
      assert.equal(r.output_text, 'one two three');
      assert.deepEqual(types.filter((t, i) => t !== types[i - 1]), ['response.created', 'response.in_progress', 'response.output_item.added', 'response.content_part.added',
        'response.output_text.delta', 'response.output_text.done', 'response.content_part.done', 'response.output_item.done', 'response.completed']);
    });

    it('thinking of a web site comes as a summary, before the text', async () => {
      zai.next('reasoning', 'reasoning');
      const stream = client.responses.stream({model: 'zai/glm-4.6', input: 'sum', reasoning: {effort: 'high'}});
      let thinking = '';
      stream.on('response.reasoning_summary_text.delta', (e) => (thinking += e.delta));
      const r = checkResponse(await stream.finalResponse());
      assert.deepEqual([thinking, r.output.map((i) => i.type), r.output[0].summary[0].text, r.output_text],
        ['First I add. Then I check.', ['reasoning', 'message'], 'First I add. Then I check.', 'The sum is 4.']);
      assert.equal(zai.chatRequests().at(-1).json.features.enable_thinking, true);
      const whole = await client.responses.create({model: 'zai/glm-4.6', input: 'sum'});
      assert.deepEqual(whole.output.map((i) => i.type), ['reasoning', 'message']);
    });

    for (const stream of [false, true]) {
      it(`a tool's round trip with previous_response_id, ${stream ? 'streamed' : 'whole'}`, async () => {
        const ask = async (body) => (stream ? client.responses.stream(body).finalResponse() : client.responses.create(body));
        const first = checkResponse(await ask({model: 'demo/tools', input: 'please add twice', tools: [add]}));
        assert.deepEqual(first.output.map((i) => [i.type, i.name, i.status, JSON.parse(i.arguments)]), [['function_call', 'add', 'completed', {a: 1, b: 1}], ['function_call', 'add', 'completed', {a: 1, b: 1}]]);
        const second = await ask({model: 'demo/tools', previous_response_id: first.id, tools: [add],
          input: first.output.map((call) => ({type: 'function_call_output', call_id: call.call_id, output: '2'}))});
        assert.equal(second.output_text, 'The tool says: 2');
        assert.equal(second.previous_response_id, first.id);
      });
    }

    it('a service gets the whole conversation in its own words', async () => {
      const first = await client.responses.create({model: 'up/gpt-test', input: 'a call', tools: [add]});
      assert.deepEqual(first.output.map((i) => [i.type, i.call_id, i.name, i.arguments]).at(-1), ['function_call', 'call_a', 'add', '{"x": 1}']);
      await client.responses.create({model: 'up/gpt-test', instructions: 'Anew', previous_response_id: first.id, input: [{type: 'function_call_output', call_id: 'call_a', output: [{type: 'input_text', text: '42'}]}]});
      const {messages} = sent();
      assert.deepEqual(messages.map((m) => m.role), ['system', 'user', 'assistant', 'tool']);
      assert.deepEqual(messages[2].tool_calls, [{id: 'call_a', type: 'function', function: {name: 'add', arguments: '{"x": 1}'}}]);
      assert.deepEqual([messages[3].tool_call_id, messages[3].content], ['call_a', '42']);
    });

    it('tools arrive as functions, and the choice among them', async () => {
      const tools = [add, {type: 'web_search'}, {type: 'custom', name: 'patch', description: 'Edits', format: {type: 'grammar', syntax: 'lark', definition: 'start: "x"'}}];
      await client.responses.create({model: 'up/gpt-test', input: 'x', tools, tool_choice: {type: 'function', name: 'add'}, parallel_tool_calls: false});
      assert.deepEqual(sent().tools[0], {type: 'function', function: {name: 'add', description: 'a plus b', parameters: add.parameters, strict: true}});
      assert.deepEqual([sent().tools.length, sent().tools[1].function.name, sent().tools[1].function.parameters.required], [2, 'patch', ['input']]);
      assert.match(sent().tools[1].function.description, /^Edits\n[^]*lark grammar:\nstart: "x"$/);
      assert.deepEqual([sent().tool_choice, sent().parallel_tool_calls], [{type: 'function', function: {name: 'add'}}, false]);
      await client.responses.create({model: 'up/gpt-test', input: 'x', tools, tool_choice: {type: 'allowed_tools', mode: 'required', tools: [{type: 'custom', name: 'patch'}]}});
      assert.deepEqual([sent().tools.map((t) => t.function.name), sent().tool_choice], [['patch'], 'required']);
    });

    it('structured output: a parsed object', async () => {
      const format = {type: 'json_schema', name: 'city', strict: true, schema: {type: 'object', required: ['name'], properties: {name: {type: 'string'}}, additionalProperties: false}};
      const r = await client.responses.parse({model: 'demo/echo', input: 'x', text: {format}});
      assert.deepEqual(JSON.parse(r.output_text), {name: 'example'});
      await client.responses.create({model: 'up/gpt-test', input: 'x', text: {format}});
      const {type, ...schema} = format;
      assert.deepEqual(sent().response_format, {type, json_schema: schema});
    });

    it('pictures and files of a message', async () => {
      const r = await client.responses.create({model: 'demo/echo', input: [{role: 'user', content: [{type: 'input_text', text: 'Look: '}, {type: 'input_image', detail: 'auto', image_url: PNG}]}]});
      assert.match(r.output_text, /1 picture of type image\/png/);
      await client.responses.create({model: 'up/gpt-test', input: [{role: 'user', content: [{type: 'input_file', filename: 'a.pdf', file_data: 'data:application/pdf;base64,JVBERi0='}, {type: 'input_text', text: 'x'}]}]});
      assert.deepEqual(sent().messages[0].content[0], {type: 'file', file: {filename: 'a.pdf', file_data: 'data:application/pdf;base64,JVBERi0='}});
    });

    it('an answer that meets its limit is incomplete, streamed and whole', async () => {
      const body = {model: 'demo/echo', input: 'one two three four', max_output_tokens: 2};
      const whole = checkResponse(await client.responses.create(body), 'incomplete');
      assert.deepEqual([whole.incomplete_details, whole.output_text, whole.output[0].status], [{reason: 'max_output_tokens'}, 'one two', 'incomplete']);
      const streamed = checkStream(await (await respond(gateway.base, {...body, stream: true})).text(), 'incomplete');
      assert.deepEqual([streamed.incomplete_details, textOf(streamed)], [{reason: 'max_output_tokens'}, 'one two']);
    });

    it('a failure before the first piece is a status, one after it the event response.failed', async () => {
      await assert.rejects(client.responses.create({model: 'demo/echo', input: '!error rate_limited 7', stream: true}),
        (e) => e instanceof OpenAI.RateLimitError && e.code === 'upstream_rate_limited' && e.headers.get('retry-after') === '7');
      const answer = await respond(gateway.base, {model: 'demo/echo', input: '!error overloaded after 2 words', stream: true});
      const failed = events(await answer.text()).at(-1);
      assert.deepEqual([failed.type, failed.response.status, failed.response.error.code, textOf(failed.response)], ['response.failed', 'failed', 'upstream_overloaded', 'Here are']);
      const stored = await fetch(`${gateway.base}/responses/${failed.response.id}`);
      assert.equal(stored.status, 404);
    });

    it('citations of a service become annotations', async () => {
      const citation = {type: 'url_citation', url_citation: {url: 'https://a.example/', title: 'A', start_index: 0, end_index: 2}};
      site.next(function (r, res) {
        this.sseHead(res);
        this.event(res, answerPiece({role: 'assistant', content: 'So it is'}));
        this.event(res, answerPiece({annotations: [citation]}));
        this.event(res, answerPiece({}, 'stop'));
        res.end('data: [DONE]\n\n');
      });
      const r = checkStream(await (await respond(gateway.base, {model: 'up/gpt-test', input: 'x', stream: true})).text());
      assert.equal(textOf(r), 'So it is');
      assert.deepEqual(r.output[0].content[0].annotations, [{type: 'url_citation', start_index: 0, end_index: 2, url: 'https://a.example/', title: 'A'}]);
    });
  });

  describe('stored responses', () => {
    it('are retrieved as they were told, listed with what they were asked, and deleted', async () => {
      const first = await client.responses.create({model: 'demo/echo', input: [{role: 'user', content: 'one'}, {role: 'assistant', content: 'two'}, {role: 'user', content: 'three'}]});
      const again = await client.responses.retrieve(first.id);
      const {_request_id: _, ...plain} = again, {_request_id: __, ...told} = first;
      assert.deepEqual(plain, told);
      const second = await client.responses.create({model: 'demo/echo', input: 'four', previous_response_id: first.id});
      const texts = [], ids = new Set();
      for await (const item of client.responses.inputItems.list(second.id, {order: 'asc', limit: 2})) {
        assert.ok(item.id && item.type === 'message', JSON.stringify(item));
        texts.push(item.content[0].text);
        ids.add(item.id);
      }
      assert.deepEqual([texts, ids.size], [['one', 'two', 'three', 'three', 'four'], 5]);
      const newest = await client.responses.inputItems.list(first.id);
      assert.deepEqual(newest.data.map((i) => i.content[0].text), ['three', 'two', 'one']);
      await client.responses.delete(first.id);
      await assert.rejects(client.responses.retrieve(first.id), (e) => e instanceof OpenAI.NotFoundError && e.code === 'response_not_found');
      await assert.rejects(client.responses.delete(first.id), OpenAI.NotFoundError);
      await assert.rejects(client.responses.create({model: 'demo/echo', input: 'x', previous_response_id: second.id}),
        (e) => e instanceof OpenAI.BadRequestError && e.code === 'previous_response_not_found' && e.param === 'previous_response_id');
    });

    it('store: false leaves nothing behind', async () => {
      const r = await client.responses.create({model: 'demo/echo', input: 'x', store: false});
      assert.equal(r.store, false);
      await assert.rejects(client.responses.retrieve(r.id), OpenAI.NotFoundError);
    });

    it('an item is enough of a name: item_reference', async () => {
      const first = await client.responses.create({model: 'demo/tools', input: 'add', tools: [add]});
      const call = first.output[0];
      const r = await client.responses.create({model: 'up/gpt-test', input: [{role: 'user', content: 'add'}, {type: 'item_reference', id: call.id}, {type: 'function_call_output', call_id: call.call_id, output: '2'}]});
      assert.deepEqual(sent().messages.map((m) => m.role), ['user', 'assistant', 'tool']);
      assert.equal(sent().messages[1].tool_calls[0].function.name, 'add');
      const items = await client.responses.inputItems.list(r.id, {order: 'asc'});
      assert.deepEqual(items.data.map((i) => i.type), ['message', 'function_call', 'function_call_output']);
    });
  });

  describe('what is refused', () => {
    const invalid = [
      ['no input', {input: undefined}, 'input'],
      ['an input that is a number', {input: 7}, 'input'],
      ['an empty list', {input: []}, 'input'],
      ['an item that is a text', {input: ['x']}, 'input[0]'],
      ['an unknown item', {input: [{role: 'user', content: 'x'}, {type: 'wish'}]}, 'input[1]'],
      ['an unknown role', {input: [{role: 'king', content: 'x'}]}, 'input[0].role'],
      ['an unknown part', {input: [{role: 'user', content: [{type: 'input_text', text: 'x'}, {type: 'smell'}]}]}, 'input[0].content[1]'],
      ['a picture without a URL', {input: [{role: 'user', content: [{type: 'input_image'}]}]}, 'input[0].content[0]'],
      ['a torn data: URL', {input: [{role: 'user', content: [{type: 'input_image', image_url: 'data:image/png'}]}]}, 'input[0].content[0]'],
      ['an output without its call', {input: [{type: 'function_call_output', output: 'x'}]}, 'input[0]'],
      ['a reference that leads nowhere', {input: [{type: 'item_reference', id: 'msg_nobody_0'}]}, 'input[0]'],
      ['a tool without a name', {tools: [{type: 'function'}]}, 'tools[0].name'],
      ['a limit of 0', {max_output_tokens: 0}, 'max_output_tokens'],
      ['a format without a schema', {text: {format: {type: 'json_schema', name: 'x'}}}, 'text.format.schema'],
      ['a temperature in words', {temperature: 'warm'}, 'temperature'],
      ['an effort that is a number', {reasoning: {effort: 3}}, 'reasoning.effort'],
    ];
    for (const [what, body, param] of invalid) {
      it(`${what}: 400 that names ${param}`, async () => {
        const [status, error] = await refused(body);
        assert.deepEqual([status, error.type, error.param, error.code], [400, 'invalid_request_error', param, 'invalid_value'], error.message);
      });
    }
    const unsupported = [
      ['a tool of OpenAI\'s own that must be called', {tools: [{type: 'web_search'}], tool_choice: {type: 'web_search'}}, 'tool_choice'],
      ['no other tool, and one must be called', {tools: [{type: 'web_search'}], tool_choice: 'required'}, 'tool_choice'],
      ['answers in the background', {background: true}, 'background'],
      ['conversations', {conversation: 'conv_1'}, 'conversation'],
      ['stored prompts', {prompt: {id: 'pmpt_1'}}, 'prompt'],
      ['logprobs', {include: ['message.output_text.logprobs']}, 'include'],
    ];
    for (const [what, body, param] of unsupported) {
      it(`${what}: 400 unsupported_value`, async () => {
        const [status, error] = await refused(body);
        assert.deepEqual([status, error.param, error.code], [400, param, 'unsupported_value']);
      });
    }

    it('a part that the site cannot take is named by the client\'s own position', async () => {
      const [status, error] = await refused({model: 'zai/glm-4.6', input: [{role: 'user', content: 'x'}, {role: 'user', content: [{type: 'input_text', text: 'x'}, {type: 'input_file', file_data: 'data:application/pdf;base64,JVBERi0='}]}]});
      assert.deepEqual([status, error.code, error.param], [400, 'unsupported_value', 'input[1].content[1]']);
    });

    it('hosted tools that nobody asks for, unknown fields and hosted calls of the past are passed over', async () => {
      const answer = await respond(gateway.base, {model: 'demo/echo', tools: [{type: 'web_search'}, {type: 'local_shell'}], tool_choice: 'auto', whatever: {a: 1}, prompt_cache_key: 'k', truncation: 'auto',
        input: [{type: 'web_search_call', id: 'ws_1', status: 'completed', action: {}}, {role: 'user', content: 'fine'}]});
      assert.equal(textOf(checkResponse(await answer.json())), 'fine');
    });

    it('the wrong method is 405, a path below is 404', async () => {
      for (const [method, path, status, allow] of [['GET', '/responses', 405, 'POST, OPTIONS'], ['POST', '/responses/resp_x', 405, 'GET, HEAD, DELETE, OPTIONS'],
        ['DELETE', '/responses/resp_x/input_items', 405, 'GET, HEAD, OPTIONS'], ['GET', '/responses/resp_x/else', 404, null], ['GET', '/responses/resp_x', 404, null]]) {
        const answer = await fetch(gateway.base + path, {method});
        assert.deepEqual([answer.status, answer.headers.get('allow')], [status, allow], `${method} ${path}`);
        assert.ok((await answer.json()).error.message);
      }
      const {id} = await client.responses.create({model: 'demo/echo', input: 'x'});
      for (const path of [`/responses/${id}`, `/responses/${id}/input_items`]) {
        const head = await fetch(gateway.base + path, {method: 'HEAD'});
        assert.deepEqual([head.status, head.headers.get('content-type'), await head.text()], [200, 'application/json', '']);
      }
      const preflight = await fetch(`${gateway.base}/responses/${id}`, {method: 'OPTIONS', headers: {origin: 'https://app.example', 'access-control-request-method': 'DELETE'}});
      assert.match(preflight.headers.get('access-control-allow-methods'), /DELETE/);
      for (const query of ['limit=0', 'limit=x', 'order=up', 'after=nobody']) assert.equal((await fetch(`${gateway.base}/responses/${id}/input_items?${query}`)).status, 400, query);
      assert.equal((await fetch(`${gateway.base}/responses/${id}?stream=true`)).status, 400);
    });
  });

  describe('requests as Codex makes them', () => {
    const codex = (input, more = {}) => ({model: 'zai/glm-4.6', instructions: 'You are a coding agent. '.repeat(2000), input, store: false, stream: true, tool_choice: 'auto', parallel_tool_calls: true,
      reasoning: {effort: 'medium', summary: 'auto'}, include: ['reasoning.encrypted_content'], prompt_cache_key: '0199-session', text: {verbosity: 'low'}, ...more});
    const shell = {type: 'function', name: 'shell', description: 'Runs a command', strict: false,
      parameters: {type: 'object', properties: {command: {type: 'array', items: {type: 'string'}}}, required: ['command'], additionalProperties: false}};
    const user = (text) => ({type: 'message', role: 'user', content: [{type: 'input_text', text}]});

    it('thinking goes to the client and comes back with it, to a web site', async () => {
      zai.next('reasoning', [say('Done'), usage, done]);
      const first = checkStream(await (await respond(gateway.base, codex([user('sum')]), {headers: {originator: 'codex_cli_rs'}})).text());
      const [thinking, message] = first.output;
      assert.ok(thinking.encrypted_content.length > 10 && first.store === false);
      const second = checkStream(await (await respond(gateway.base, codex([user('sum'), {type: 'reasoning', summary: thinking.summary, content: null, encrypted_content: thinking.encrypted_content}, {type: 'message', role: 'assistant', content: message.content}, user('go on')]))).text());
      assert.equal(textOf(second), 'Done');
    });

    for (const model of ['demo/tools', 'up/gpt-test']) {
      it(`parallel tools, with ${model}`, async () => {
        const tools = [shell, {type: 'custom', name: 'apply_patch', description: 'Edits files', format: {type: 'grammar', syntax: 'lark', definition: 'start: begin'}}, {type: 'web_search'}, {type: 'local_shell'}];
        const first = checkStream(await (await respond(gateway.base, codex([user('shell twice')], {model, tools}))).text());
        const calls = first.output.filter((i) => i.type === 'function_call');
        assert.ok(calls.length >= 1 && calls.every((c) => c.name === 'shell' && c.call_id && JSON.parse(c.arguments)));
        const back = calls.map(({id, status, ...call}) => call), results = calls.map((c) => ({type: 'function_call_output', call_id: c.call_id, output: 'ok'}));
        const second = checkStream(await (await respond(gateway.base, codex([user('shell twice'), ...back, ...results], {model, tools}))).text());
        if (model === 'demo/tools') assert.equal(textOf(second), 'The tool says: ok');
        else assert.deepEqual(sent().messages.map((m) => m.role), ['system', 'user', 'assistant', 'tool']);
      });
    }

    it('a custom tool gets its text, and tells its result', async () => {
      const tools = [{type: 'custom', name: 'apply_patch', description: 'Edits files'}];
      const first = checkStream(await (await respond(gateway.base, codex([user('apply_patch')], {model: 'demo/tools', tools}))).text());
      const {id, status, ...call} = first.output[0];
      assert.deepEqual([call.type, call.name, call.input], ['custom_tool_call', 'apply_patch', 'example']);
      const second = await (await respond(gateway.base, codex([user('apply_patch'), call, {type: 'custom_tool_call_output', call_id: call.call_id, output: 'patched'}], {model: 'up/gpt-test', stream: false, tools: []}))).json();
      checkResponse(second);
      assert.deepEqual(sent().messages.slice(2).map((m) => [m.role, m.tool_calls?.[0].function.arguments, m.content]), [['assistant', '{"input":"example"}', null], ['tool', undefined, 'patched']]);
    });
  });

  describe('@ai-sdk/openai', () => {
    const openai = () => createOpenAI({baseURL: gateway.base, apiKey: 'any'});
    const quiet = {maxRetries: 0, onError: () => {}};

    it('streams text with thinking and numbers', async () => {
      zai.next('reasoning');
      const result = streamText({model: openai()('zai/glm-4.6'), prompt: 'sum', ...quiet, providerOptions: {openai: {reasoningSummary: 'auto', forceReasoning: true}}});
      assert.deepEqual([await result.text, await result.reasoningText, await result.finishReason, (await result.usage).inputTokens], ['The sum is 4.', 'First I add. Then I check.', 'stop', 11]);
    });

    for (const store of [true, false]) {
      it(`a tool loop, ${store ? 'by references to stored items' : 'with store: false'}`, async () => {
        const answer = await generateText({model: openai()('demo/tools'), prompt: 'add', stopWhen: stepCountIs(3), ...quiet, providerOptions: {openai: {store}},
          tools: {add: tool({description: 'adds', inputSchema: jsonSchema(add.parameters), execute: async ({a, b}) => a + b})}});
        assert.deepEqual([answer.text, answer.steps.length], ['The tool says: 2', 2]);
      });
    }

    it('a conversation goes on by references, and by previous_response_id', async () => {
      const first = await generateText({model: openai()('up/gpt-test'), prompt: 'hello', ...quiet});
      await generateText({model: openai()('up/gpt-test'), messages: [{role: 'user', content: 'hello'}, ...first.response.messages, {role: 'user', content: 'more'}], ...quiet});
      assert.deepEqual(sent().messages.map((m) => [m.role, m.content]), [['user', 'hello'], ['assistant', 'hello'], ['user', 'more']]);
      await generateText({model: openai()('up/gpt-test'), prompt: 'again', ...quiet, providerOptions: {openai: {previousResponseId: first.providerMetadata.openai.responseId}}});
      assert.deepEqual(sent().messages.map((m) => [m.role, m.content]), [['user', 'hello'], ['assistant', 'hello'], ['user', 'again']]);
    });
  });
});

// Both refuse their own thinking without its proof. Each round meets a gateway that was just started: it knows what the client or
// the data file brings, nothing else.
describe('responses: proofs of thinking through tools, over restarts', {timeout: 120000}, () => {
  const weather = {type: 'function', name: 'weather', description: 'of a city', parameters: {type: 'object', required: ['city'], properties: {city: {type: 'string'}}}};
  const services = [
    ['anthropic/claude-sonnet-4-5', Anthropic, {adapter: 'anthropic', api_key: 'sk-ant-test'}],
    ['gemini/gemini-3-flash-preview', Gemini, {adapter: 'gemini', api_key: 'AIza-test'}],
  ];
  for (const [model, Service, {adapter, api_key}] of services) {
    for (const store of [true, false]) {
      it(`${model}, ${store ? 'with previous_response_id' : 'with encrypted_content alone'}`, async () => {
        const site = await new Service().start(), data_dir = mkdtempSync(join(tmpdir(), 'dragoman-e2e-proofs-'));
        const config = {server: {data_dir}, sites: [{name: adapter, adapter, ...site.config(), ...(adapter === 'anthropic' ? {base_url: site.origin} : {}), accounts: [{name: 'me', api_key}]}]};
        const ask = async (body) => {
          const gateway = await startGateway(config);
          try {
            return checkStream(await (await respond(gateway.base, {model, tools: [weather], stream: true, store, include: ['reasoning.encrypted_content'], reasoning: {effort: 'high', summary: 'auto'}, ...body})).text());
          } finally {
            await gateway.stop();
          }
        };
        try {
          let input = [{role: 'user', content: 'two steps'}], previous;
          for (let round = 0; round < 3; round++) {
            const r = await ask({input, ...(store && previous ? {previous_response_id: previous.id} : {})});
            const calls = r.output.filter((i) => i.type === 'function_call');
            const results = calls.map((c) => ({type: 'function_call_output', call_id: c.call_id, output: '4 degrees'}));
            input = [...(store ? [] : [...input, ...r.output.map(({status, ...item}) => item)]), ...(results.length ? results : [{role: 'user', content: 'And?'}])];
            previous = r;
          }
          assert.deepEqual([site.violations, site.refusals ?? []], [[], []]);
          const sent = JSON.stringify(site.chatRequests().at(-1).json);
          const proofs = adapter === 'anthropic' ? [...site.signed.keys()] : [...site.signatures.keys()];
          assert.ok(proofs.length >= 2 && proofs.slice(0, 2).every((p) => sent.includes(p)), `${proofs} in ${sent}`);
        } finally {
          await site.stop();
          rmSync(data_dir, {recursive: true, force: true});
        }
      });
    }
  }
});

describe('responses: keys, restarts, limits', {timeout: 120000}, () => {
  const running = [];
  afterEach(async () => {
    for (const thing of running.splice(0).reverse()) await thing.stop();
  });
  const OTHER = 'sk-gateway-other';
  const demo = {name: 'demo', adapter: 'demo'};
  const start = async (more = {}) => {
    const g = await startGateway({sites: [demo], ...more});
    running.push(g);
    return g;
  };
  const sdk = (gateway, apiKey = 'any') => new OpenAI({apiKey, baseURL: gateway.base, maxRetries: 0});

  it('one key never sees the responses of another', async () => {
    const gateway = await start({keys: [{name: 'ours', key: KEY}, {name: 'other', key: OTHER}]});
    const ours = sdk(gateway, KEY), other = sdk(gateway, OTHER);
    const r = await ours.responses.create({model: 'demo/echo', input: 'secret'});
    await assert.rejects(other.responses.retrieve(r.id), OpenAI.NotFoundError);
    await assert.rejects(other.responses.inputItems.list(r.id), OpenAI.NotFoundError);
    await assert.rejects(other.responses.delete(r.id), OpenAI.NotFoundError);
    await assert.rejects(other.responses.create({model: 'demo/echo', input: 'x', previous_response_id: r.id}), (e) => e.code === 'previous_response_not_found');
    await assert.rejects(other.responses.create({model: 'demo/echo', input: [{type: 'item_reference', id: r.output[0].id}]}), OpenAI.BadRequestError);
    assert.equal((await ours.responses.retrieve(r.id)).output_text ?? 'secret', 'secret');
    await assert.rejects(sdk(gateway, 'sk-wrong').responses.retrieve(r.id), OpenAI.AuthenticationError);
  });

  it('two visitors with keys of their own never see each other\'s', async () => {
    const site = await new OpenAiSite({keys: ['sk-visitor-one', 'sk-visitor-two']}).start();
    running.push(site);
    const gateway = await start({keys: [{name: 'ours', key: KEY}],
      sites: [{name: 'up', adapter: 'openai', ...site.config({base_url: `${site.origin}/v1`, models: ['gpt-test']}), keys: {passthrough: true}, accounts: [{name: 'a', api_key: 'sk-upstream'}]}]});
    const one = sdk(gateway, 'sk-visitor-one'), two = sdk(gateway, 'sk-visitor-two');
    const r = await one.responses.create({model: 'up/gpt-test', input: 'secret'});
    assert.equal((await one.responses.retrieve(r.id)).id, r.id);
    await assert.rejects(two.responses.retrieve(r.id), OpenAI.NotFoundError);
    await assert.rejects(sdk(gateway, KEY).responses.retrieve(r.id), OpenAI.NotFoundError);
  });

  for (const secret of [undefined, 'a secret of more than sixteen letters']) {
    it(`a chain goes on after a crash${secret ? ', encrypted' : ''}`, async () => {
      const data_dir = mkdtempSync(join(tmpdir(), 'dragoman-e2e-responses-'));
      const config = {server: {data_dir, ...(secret ? {secret_key: secret} : {})}, sites: [demo]};
      try {
        let gateway = await new Gateway(config).start();
        const first = await sdk(gateway).responses.create({model: 'demo/echo', input: 'needle in the file'});
        const second = await sdk(gateway).responses.stream({model: 'demo/echo', input: 'two', previous_response_id: first.id}).finalResponse();
        gateway.signal('SIGKILL'); // as soon as the client was told
        await gateway.closed;
        const bytes = readdirSync(data_dir).filter((f) => f.startsWith('dragoman.db')).map((f) => readFileSync(`${data_dir}/${f}`, 'latin1')).join('');
        assert.equal(bytes.includes('needle in the file'), !secret);
        rmSync(gateway.directory, {recursive: true, force: true});
        gateway = await start(config);
        const items = await sdk(gateway).responses.inputItems.list(second.id, {order: 'asc'});
        assert.deepEqual(items.data.map((i) => i.content[0].text), ['needle in the file', 'needle in the file', 'two']);
        const third = await sdk(gateway).responses.create({model: 'demo/echo', input: 'three', previous_response_id: second.id});
        assert.equal(third.output_text, 'three');
      } finally {
        for (const g of running.splice(0)) await g.stop();
        rmSync(data_dir, {recursive: true, force: true});
      }
    });
  }

  it('responses end after their time', async () => {
    const gateway = await start({server: {responses_ttl: '1ms'}});
    const r = await sdk(gateway).responses.create({model: 'demo/echo', input: 'x'});
    assert.equal(r.store, true);
    await assert.rejects(sdk(gateway).responses.retrieve(r.id), OpenAI.NotFoundError);
  });

  it('where nothing is to be stored the answer says so', async () => {
    const gateway = await start({server: {responses_ttl: '0s'}});
    const r = await sdk(gateway).responses.create({model: 'demo/echo', input: 'x'});
    assert.equal(r.store, false);
    const streamed = await sdk(gateway).responses.stream({model: 'demo/echo', input: 'x'}).finalResponse();
    assert.equal(streamed.store, false);
    await assert.rejects(sdk(gateway).responses.create({model: 'demo/echo', input: 'x', previous_response_id: r.id}),
      (e) => e.code === 'previous_response_not_found' && /not found\. It was not stored here, .*send the whole conversation/.test(e.message));
  });

  it('a data directory that cannot be had: answered, and not stored', async () => {
    const gateway = await start({server: {data_dir: '/dev/null/nowhere'}});
    const r = await sdk(gateway).responses.create({model: 'demo/echo', input: 'x'});
    assert.deepEqual([r.output_text, r.store], ['x', false]);
    await assert.rejects(sdk(gateway).responses.retrieve(r.id), (e) => e.status === 500 && e.code === 'internal_error');
  });

  it('what is too much goes, what ends first first', async () => {
    const gateway = await start({server: {responses_max: '20KiB'}});
    const client = sdk(gateway), ids = [];
    for (let i = 0; i < 12; i++) ids.push((await client.responses.create({model: 'demo/echo', input: `${i} ${'x'.repeat(1000)}`})).id);
    await assert.rejects(client.responses.retrieve(ids[0]), OpenAI.NotFoundError);
    assert.equal((await client.responses.retrieve(ids.at(-1))).id, ids.at(-1));
    const large = await client.responses.create({model: 'demo/echo', input: 'x'.repeat(30000)});
    assert.equal(large.store, false);
    await settled(gateway);
  });

  it('a client that leaves takes nothing down', async () => {
    const gateway = await start();
    const leaving = new AbortController();
    const stream = await sdk(gateway).responses.create({model: 'demo/slow', input: '50 a b c d e f g h', stream: true}, {signal: leaving.signal});
    for await (const event of stream) if (event.type === 'response.output_text.delta') break;
    leaving.abort();
    await settled(gateway);
    assert.equal((await sdk(gateway).responses.create({model: 'demo/echo', input: 'x'})).output_text, 'x');
  });
});
