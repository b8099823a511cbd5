// response_format on sites that have none (docs/structured-output.md): chat.z.ai as a stand-in, an OpenAI-compatible service that does
// not heed it, the demo site; with the clients that people use for it.
import assert from 'node:assert/strict';
import {after, afterEach, before, describe, it} from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import {ChatOpenAI} from '@langchain/openai';
import {Output, generateObject, generateText, streamObject} from 'ai';
import {createOpenAICompatible} from '@ai-sdk/openai-compatible';
import OpenAI from 'openai';
import {zodResponseFormat, zodTextFormat} from 'openai/helpers/zod';
import {z} from 'zod';
import {OpenAiSite} from '../sites/openai.mjs';
import {Zai, done, jwt, say, siteError, usage} from '../sites/zai.mjs';
import {answerPiece} from './lib/clients.mjs';
import {startGateway} from './lib/gateway.mjs';
import {chat, checkError, parseEvents, user} from './lib/http.mjs';

const Person = z.object({name: z.string(), age: z.number().int()});
const anna = {name: 'Anna', age: 7}, GOOD = JSON.stringify(anna, null, 2), WRONG = '{"name": "Anna", "age": "seven"}';
const format = zodResponseFormat(Person, 'person');
const jsonSchema = (schema) => ({type: 'json_schema', json_schema: {name: 'x', schema}});

/** An answer of chat.z.ai, in pieces of 3 characters. */
const said = (text, thoughts) => [...(thoughts ? [say(thoughts, 'thinking')] : []), ...(text.match(/[^]{1,3}/gu) ?? []).map((t) => say(t)), usage, done];

/** One of the service: its whole text at once, with a finish reason. */
const served = (text, end = 'stop') => function (r, res) {
  this.sseHead(res);
  for (const piece of text.match(/[^]{1,5}/gu) ?? []) this.event(res, answerPiece({content: piece}));
  this.event(res, answerPiece({}, end));
  this.event(res, '[DONE]');
  res.end();
};

describe('response_format where the site has none', {timeout: 180000, concurrency: false}, () => {
  let zai, site, gateway, client, dragoman;
  before(async () => {
    zai = await new Zai().start();
    site = await new OpenAiSite().start();
    const up = site.config({adapter: 'openai', base_url: `${site.origin}/v1`, models: ['m'], accounts: [{name: 'a', api_key: 'sk-upstream'}]});
    const web = zai.config({adapter: 'zai', base_url: zai.origin, accounts: [{name: 'main', token: jwt('person')}]});
    gateway = await startGateway({
      sites: [{name: 'zai', ...web}, {name: 'no', ...web, structured_output: 'refuse'}, {name: 'up', ...up, structured_output: 'emulate'},
        {name: 'native', ...up}, {name: 'demo', adapter: 'demo'}, {name: 'echo', adapter: 'demo', structured_output: 'emulate'}],
      models: [{id: 'either', targets: ['no/glm-4.6', 'zai/glm-4.6']}],
    });
    client = new OpenAI({apiKey: 'none', baseURL: gateway.base, maxRetries: 0});
    dragoman = createOpenAICompatible({name: 'dragoman', baseURL: gateway.base, apiKey: 'any', includeUsage: true, supportsStructuredOutputs: true});
  });
  after(async () => {
    await gateway?.stop();
    await zai?.stop();
    await site?.stop();
  });
  afterEach(() => {
    for (const s of [zai, site]) {
      assert.deepEqual(s.violations, []);
      assert.deepEqual(s.plans.splice(0), [], 'answers that nobody asked for');
      s.requests.length = 0;
    }
  });
  const ask = {model: 'zai/glm-4.6', ...user('Who is it?'), response_format: format};
  const prompts = () => zai.chatRequests().map((r) => JSON.stringify(r.json.messages));
  const parse = (more = {}) => client.chat.completions.parse({...ask, ...more});
  const stream = async (more = {}) => {
    const {events} = parseEvents(await (await chat(gateway.base, {...ask, stream: true, ...more})).text());
    assert.equal(events.pop(), '[DONE]');
    return {content: events.map((e) => e.choices[0]?.delta.content ?? '').join(''), verdict: events.at(-1).dragoman_structured,
      finish: events.at(-1).choices[0].finish_reason, early: events.slice(0, -1).some((e) => e.dragoman_structured)};
  };

  it('the schema is told, and a good answer is parsed', async () => {
    zai.next(said(GOOD));
    const answer = await parse();
    assert.deepEqual([answer.choices[0].message.parsed, answer.dragoman_structured], [anna, {valid: true}]);
    assert.equal(prompts().length, 1);
    assert.match(prompts()[0], /Your answer must be one JSON object and nothing else.* called \\"person\\":\\n\{\\"type.*additionalProperties/);
  });

  for (const [what, text] of [['in a fence', `\`\`\`json\n${GOOD}\n\`\`\``], ['with words around it', `Here is the JSON:\n\n\`\`\`json\n${GOOD}\n\`\`\`\nAnything else?`],
    ['behind a byte order mark', `\ufeff ${GOOD}\n`]]) {
    it(`JSON ${what}: whole and streamed`, async () => {
      zai.next(said(text), said(text));
      const answer = await parse();
      assert.deepEqual([answer.choices[0].message.content, answer.dragoman_structured], [GOOD, {valid: true}]);
      assert.deepEqual(await stream(), {content: GOOD, verdict: {valid: true}, finish: 'stop', early: false});
      assert.equal(prompts().length, 2);
    });
  }

  it('a wrong answer is asked for once more, with what is wrong with it', async () => {
    const from = gateway.stderr.length;
    zai.next(said(WRONG, 'Hm.'), said(GOOD, 'Oh.'));
    const answer = await parse();
    assert.deepEqual([answer.choices[0].message.parsed, answer.dragoman_structured], [anna, {valid: true, repaired: true}]);
    assert.equal(answer.choices[0].message.reasoning_content, 'Oh.');
    const [, second] = prompts();
    assert.match(second, /seven/);
    assert.match(second, /\$\.age: must be an integer/);
    assert.deepEqual([answer.usage.prompt_tokens, answer.usage.completion_tokens], [22, 18], 'both runs count');
    await gateway.logged(/asked_again=structured_output structured=valid/, {from});
  });

  it('JSON that is wrong in form alone is mended, and not asked for again', async () => {
    zai.next(said("```json\n{'name': 'Anna', age: 7, // years\n}\n```"));
    const answer = await parse();
    assert.deepEqual([answer.choices[0].message.parsed, answer.dragoman_structured], [anna, {valid: true, mended: true}]);
    assert.equal(prompts().length, 1);
  });

  it('wrong twice: the better one, with the verdict', async () => {
    const from = gateway.stderr.length;
    zai.next(said('I do not know.'), said(WRONG));
    let answer = await client.chat.completions.create(ask);
    const verdict = {valid: false, error: '$.age: must be an integer', repaired: true};
    assert.deepEqual([answer.choices[0].message.content, answer.dragoman_structured], [WRONG, verdict]);
    zai.next(said(WRONG), said('I do not know.'));
    answer = await client.chat.completions.create(ask);
    assert.deepEqual([answer.choices[0].message.content, answer.dragoman_structured], [WRONG, verdict]);
    assert.equal(answer.choices[0].finish_reason, 'stop');
    await gateway.logged(/structured=invalid structured_error="\$\.age: must be an integer"/, {from});
  });

  it('the second try fails: the first answer is better than none', async () => {
    zai.next(said(WRONG), [siteError({code: 'INTERNAL_ERROR', detail: 'Oops'})]);
    const answer = await client.chat.completions.create(ask);
    assert.deepEqual([answer.choices[0].message.content, answer.dragoman_structured.valid], [WRONG, false]);
  });

  it('a stream that is wrong is told at its end', async () => {
    zai.next(said(WRONG), said('I cannot say who.'));
    assert.deepEqual(await stream(), {content: WRONG, verdict: {valid: false, error: '$.age: must be an integer'}, finish: 'stop', early: false});
    assert.deepEqual((await stream()).verdict, {valid: false, error: 'it is no JSON'});
    assert.equal(prompts().length, 2);
  });

  it('json_object', async () => {
    const body = {...ask, response_format: {type: 'json_object'}};
    zai.next(said('```\n{"a": 1}\n```'), said('[1]'), said('{}'));
    assert.equal((await client.chat.completions.create(body)).choices[0].message.content, '{"a": 1}');
    assert.equal((await client.chat.completions.create(body)).choices[0].message.content, '{}');
  });

  it('a limit: what is cut is told, and not asked for again', async () => {
    zai.next(said(GOOD), said(GOOD));
    const body = {...ask, max_tokens: 5};
    const answer = await client.chat.completions.create(body);
    const error = 'it was cut off before its end (finish_reason is "length")';
    assert.deepEqual([answer.choices[0].finish_reason, answer.dragoman_structured], ['length', {valid: false, error}]);
    assert.ok(GOOD.startsWith(answer.choices[0].message.content));
    assert.deepEqual((await stream({max_tokens: 5})).verdict, {valid: false, error});
  });

  it('several choices are judged one by one', async () => {
    zai.next(said(GOOD), said(GOOD));
    const answer = await client.chat.completions.create({...ask, n: 2});
    assert.deepEqual(answer.choices.map((c) => [c.message.content, c.dragoman_structured]), [[GOOD, {valid: true}], [GOOD, {valid: true}]]);
    zai.next(said(GOOD), said(WRONG));
    const {events} = parseEvents(await (await chat(gateway.base, {...ask, n: 2, stream: true})).text());
    const ends = events.flatMap((e) => e.choices ?? []).filter((c) => c.finish_reason);
    assert.deepEqual(ends.map((c) => c.dragoman_structured.valid).sort(), [false, true]);
  });

  it('with tools: a call is no answer to be judged', async () => {
    const tools = [{type: 'function', function: {name: 'look', parameters: {type: 'object', properties: {who: {type: 'string'}}}}}];
    zai.next(said('<tool_call>{"name": "look", "arguments": {"who": "Anna"}}</tool_call>'), said(`Fine:\n${GOOD}`));
    const first = await client.chat.completions.create({...ask, tools});
    assert.deepEqual([first.choices[0].message.tool_calls[0].function.name, first.choices[0].finish_reason, first.dragoman_structured],
      ['look', 'tool_calls', undefined]);
    const messages = [...ask.messages, first.choices[0].message, {role: 'tool', tool_call_id: first.choices[0].message.tool_calls[0].id, content: 'Anna, 7'}];
    const second = await parse({messages, tools: [{...tools[0], function: {...tools[0].function, strict: true}}]});
    assert.deepEqual([second.choices[0].message.parsed, second.dragoman_structured], [anna, {valid: true}]);
  });

  it('refuse, and what a fallback can do', async () => {
    await checkError(await chat(gateway.base, {...ask, model: 'no/glm-4.6'}),
      {status: 400, type: 'invalid_request_error', code: 'unsupported_value', param: 'response_format'});
    zai.next(said(GOOD));
    assert.deepEqual((await parse({model: 'either'})).choices[0].message.parsed, anna);
  });

  it('what is no schema is the client\'s mistake', async () => {
    const mistake = {status: 400, type: 'invalid_request_error', code: 'invalid_value', param: 'response_format.json_schema.schema'};
    const refused = async (schema) => (await checkError(await chat(gateway.base, {...ask, response_format: jsonSchema(schema)}), mistake)).error.message;
    assert.match(await refused({type: 'objekt'}), /^the schema is no JSON Schema: \$\.type: must be/);
    assert.match(await refused({$ref: 'https://example.org/schema'}), /only references within the schema/);
    const messages = await chat(gateway.base, {model: ask.model, max_tokens: 9, messages: ask.messages, output_config: {format: {type: 'json_schema', schema: {type: 'objekt'}}}}, {path: '/messages'});
    assert.equal(messages.status, 400);
    assert.match((await messages.json()).error.message, /^output_config\.format\.schema: the schema is no JSON Schema: \$\.type/);
    assert.equal(zai.requests.length, 0);
  });

  it('a hostile schema holds nobody up', async () => {
    const defs = {d0: {type: 'string'}};
    for (let i = 1; i <= 40; i++) defs[`d${i}`] = {anyOf: [{$ref: `#/$defs/d${i - 1}`}, {$ref: `#/$defs/d${i - 1}`}]};
    zai.next(said('{}'));
    const answer = await client.chat.completions.create({...ask, response_format: jsonSchema({$defs: defs, $ref: '#/$defs/d40'})});
    assert.equal(answer.dragoman_structured.valid, null);
  });

  it('OpenAI\'s SDK: streaming and the Responses API', async () => {
    zai.next(said(GOOD), said(`\`\`\`json\n${GOOD}\n\`\`\``));
    const completion = await client.chat.completions.stream({...ask}).finalChatCompletion();
    assert.deepEqual(completion.choices[0].message.parsed, anna);
    const response = await client.responses.parse({model: ask.model, input: 'Who?', text: {format: zodTextFormat(Person, 'person')}});
    assert.deepEqual([response.output_parsed, response.dragoman_structured], [anna, {valid: true}]);
  });

  it('Anthropic\'s SDK: output_config.format', async () => {
    const anthropic = new Anthropic({apiKey: 'none', baseURL: gateway.base.replace(/\/v1$/, ''), maxRetries: 0});
    zai.next(said(WRONG), said(`\`\`\`json\n${GOOD}\n\`\`\``));
    const schema = format.json_schema.schema;
    const message = await anthropic.messages.create({model: ask.model, max_tokens: 500, messages: ask.messages, output_config: {format: {type: 'json_schema', schema}}});
    assert.deepEqual(JSON.parse(message.content[0].text), anna);
  });

  it('the AI SDK: generateObject, streamObject and Output.object', async () => {
    const model = dragoman('zai/glm-4.6'), quiet = {model, prompt: 'Who?', maxRetries: 0};
    zai.next(said(WRONG), said(`Sure:\n${GOOD}`), said(`Here it is:\n\`\`\`json\n${GOOD}\n\`\`\``), said(GOOD));
    assert.deepEqual((await generateObject({...quiet, schema: Person})).object, anna);
    const result = streamObject({...quiet, schema: Person, onError: () => {}});
    let partial;
    for await (const p of result.partialObjectStream) partial = p;
    assert.deepEqual([partial, await result.object], [anna, anna]);
    assert.deepEqual((await generateText({...quiet, output: Output.object({schema: Person})})).output, anna);
  });

  it('LangChain: withStructuredOutput', async () => {
    const llm = new ChatOpenAI({model: 'zai/glm-4.6', apiKey: 'any', maxRetries: 0, configuration: {baseURL: gateway.base}});
    zai.next(said(`\`\`\`json\n${GOOD}\n\`\`\``), said(GOOD));
    for (const method of ['jsonSchema', 'jsonMode']) {
      assert.deepEqual(await llm.withStructuredOutput(Person, {name: 'person', method}).invoke('Who?'), anna);
    }
  });

  it('an OpenAI-compatible service: emulated on demand, its own body otherwise as it was', async () => {
    site.next(served(WRONG), served(GOOD));
    const answer = await parse({model: 'up/m', user: 'me', seed: 7});
    assert.deepEqual([answer.choices[0].message.parsed, answer.dragoman_structured], [anna, {valid: true, repaired: true}]);
    const [first, second] = site.chatRequests().map((r) => r.json);
    assert.deepEqual([first.response_format, first.user, first.seed, first.messages.map((m) => m.role)], [undefined, 'me', 7, ['system', 'user']]);
    assert.deepEqual(second.messages.map((m) => m.role), ['system', 'user', 'assistant', 'user']);
    assert.equal(second.messages[2].content, WRONG);
    site.next(served(GOOD));
    await parse({model: 'native/m'});
    assert.deepEqual(site.chatRequests().at(-1).json.response_format, ask.response_format);
  });

  it('the demo site has its own; emulated, it repeats what it is told, and that is no JSON', async () => {
    const parsed = (await parse({model: 'demo/echo'})).choices[0].message.parsed;
    assert.deepEqual(Object.keys(parsed), ['name', 'age']);
    const answer = await client.chat.completions.create({...ask, model: 'echo/echo', ...user(GOOD)});
    assert.deepEqual([answer.choices[0].message.content, answer.dragoman_structured], [GOOD, {valid: true}]);
    const other = await client.chat.completions.create({...ask, model: 'echo/echo'});
    assert.deepEqual([other.dragoman_structured.valid, other.dragoman_structured.repaired], [false, true]);
  });
});
