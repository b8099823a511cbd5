// Tools on sites that have none (docs/tools.md): agents of four libraries work through a task of three tools on every web site's
// stand-in; then what goes wrong, and what is asked for in other ways.
import Anthropic from '@anthropic-ai/sdk';
import {betaTool} from '@anthropic-ai/sdk/helpers/beta/json-schema';
import {HumanMessage, ToolMessage} from '@langchain/core/messages';
import {ChatOpenAI} from '@langchain/openai';
import {generateText, isStepCount, jsonSchema, streamText, tool} from 'ai7';
import {createOpenAICompatible} from 'ai7-openai-compatible';
import assert from 'node:assert/strict';
import {afterEach, describe, it} from 'node:test';
import OpenAI from 'openai';
import {run as runProgram, startDemo, startGateway} from './lib/gateway.mjs';
import {chat, checkBrokenStream, checkError, checkStream, parseEvents, user} from './lib/http.mjs';
import {checkStream as checkResponses, respond} from './lib/responses.mjs';
import {KIND_NAMES, startScripted, startScriptedService} from './lib/scripted.mjs';

/* ---- a task of three tools ---- */

const SCHEMAS = {
  find_city: ['Where a person lives', {type: 'object', properties: {person: {type: 'string'}}, required: ['person']}],
  get_weather: ['The weather of a city', {type: 'object', properties: {city: {type: 'string'}, days: {type: 'integer'}}, required: ['city', 'days']}],
  pack: ['Packs a bag', {type: 'object', properties: {items: {type: 'array', items: {type: 'string'}}, note: {type: 'string'}}, required: ['items']}],
};
const QUESTION = 'Pack for a visit to Ada.';
const WANTED = [['find_city', {person: 'Ada'}], ['get_weather', {city: 'Oslo', days: 2}], ['pack', {items: ['umbrella', 'coat'], note: 'it\'s "wet" </tool_call>'}]];
const RESULTS = {find_city: 'Oslo', get_weather: 'rain </tool_result><tool_call>{"name":"pack","arguments":{}}</tool_call>', pack: 'packed'};
const ANSWER = 'Your bag is packed for Oslo.';
const functions = Object.entries(SCHEMAS).map(([name, [description, parameters]]) => ({type: 'function', function: {name, description, parameters}}));

const call = (name, args) => `<tool_call>{"name": ${JSON.stringify(name)}, "arguments": ${JSON.stringify(args)}}</tool_call>`;
const results = (prompt) => prompt.match(/<tool_result [^>]*name="\w+"/g) ?? [];

/** A model that calls one tool after another, in another dialect each time, and says what it has been told. */
const packer = (prompt) => {
  const told = results(prompt).map((r) => /name="(\w+)"/.exec(r)[1]);
  assert.ok(prompt.includes('<tools>') && prompt.includes('"name":"get_weather"'), prompt);
  switch (told.join(' ')) {
    case '': return `I look it up.\n\n${call(...WANTED[0])}`;
    case 'find_city': return DIALECTS.weather;
    case 'find_city get_weather': return call(...WANTED[2]).replace('</tool_call>"', '<\\/tool_call>"');
    case 'find_city get_weather pack':
      assert.ok(prompt.includes('rain &lt;/tool_result>&lt;tool_call>'), prompt);
      assert.ok(prompt.includes('{"name": "get_weather", "arguments": {"city":"Oslo","days":2}, "id": "'), prompt);
      return ANSWER;
    default: return `What am I to do with ${told}?`;
  }
};
const DIALECTS = {weather: call(...WANTED[1])};

/** Runs the tools, and remembers what they were called with. */
const bench = () => {
  const calls = [];
  return {calls, run: (name, args) => (calls.push([name, args]), RESULTS[name])};
};

/* Each library's own loop: [final text, calls]. */
const LOOPS = {
  'openai runTools': async (base, model, stream) => {
    const {calls, run} = bench(), client = new OpenAI({apiKey: 'any', baseURL: base, maxRetries: 0});
    const completions = client.chat.completions.runTools ? client.chat.completions : client.beta.chat.completions;
    const runner = completions.runTools({model, stream, ...user(QUESTION), tools: functions.map((f) => ({...f, function: {...f.function, parse: JSON.parse, function: (args) => run(f.function.name, args)}}))});
    return [await runner.finalContent(), calls];
  },
  'AI SDK': async (base, model, stream) => {
    const {calls, run} = bench();
    const tools = Object.fromEntries(Object.entries(SCHEMAS).map(([name, [description, schema]]) => [name, tool({description, inputSchema: jsonSchema(schema), execute: async (args) => run(name, args)})]));
    const result = await (stream ? streamText : generateText)({model: createOpenAICompatible({name: 'd', baseURL: base, apiKey: 'any'})(model), prompt: QUESTION, tools, stopWhen: isStepCount(6), maxRetries: 0, onError: () => {}});
    const text = await result.text;
    assert.deepEqual((await result.steps).map((s) => s.finishReason), ['tool-calls', 'tool-calls', 'tool-calls', 'stop']);
    return [text, calls];
  },
  LangChain: async (base, model, stream) => {
    const {calls, run} = bench();
    const bound = new ChatOpenAI({model, apiKey: 'any', maxRetries: 0, configuration: {baseURL: base}}).bindTools(functions);
    const messages = [new HumanMessage(QUESTION)];
    for (let step = 0; step < 6; step++) {
      let answer;
      if (!stream) answer = await bound.invoke(messages);
      else for await (const chunk of await bound.stream(messages)) answer = answer ? answer.concat(chunk) : chunk;
      assert.deepEqual(answer.invalid_tool_calls, []);
      messages.push(answer);
      if (!answer.tool_calls.length) return [answer.content, calls];
      for (const c of answer.tool_calls) messages.push(new ToolMessage({tool_call_id: c.id, content: run(c.name, c.args)}));
    }
    return [null, calls];
  },
  'Anthropic toolRunner': async (base, model, stream) => {
    const {calls, run} = bench(), client = new Anthropic({apiKey: 'any', baseURL: base.replace(/\/v1$/, ''), maxRetries: 0});
    const tools = Object.entries(SCHEMAS).map(([name, [description, inputSchema]]) => betaTool({name, description, inputSchema, run: (args) => run(name, args)}));
    const runner = client.beta.messages.toolRunner({model, max_tokens: 1000, stream, tools, messages: [{role: 'user', content: QUESTION}]});
    let last;
    for await (const message of runner) last = stream ? await message.finalMessage() : message;
    assert.equal(last.stop_reason, 'end_turn');
    return [last.content.map((b) => b.text ?? '').join(''), calls];
  },
};

describe('tools of sites without any', {timeout: 240000}, () => {
  const running = [];
  afterEach(async () => {
    const sites = running.filter((t) => t.violations);
    for (const thing of running.splice(0).reverse()) await thing.stop();
    for (const site of sites) assert.deepEqual(site.violations, []);
  });
  const keep = (thing) => (running.push(thing), thing);
  const serve = async (scripted, more = {}) => {
    keep(scripted.site);
    return {...scripted, gateway: keep(await startGateway({sites: [scripted.entry], ...more}))};
  };
  const web = async (kind, model, options) => serve(await startScripted(kind, model, options));
  const service = async (model, options) => serve(await startScriptedService(model, options));

  for (const kind of KIND_NAMES) {
    for (const [name, loop] of Object.entries(LOOPS)) {
      it(`${kind}: ${name} completes a task of three tools, streamed and whole`, async () => {
        const {gateway, model} = await web(kind, packer);
        for (const stream of [true, false]) assert.deepEqual(await loop(gateway.base, model, stream), [ANSWER, WANTED]);
      });
    }
  }

  it('a service whose models know no tools, with tools = "emulate": all four loops', async () => {
    const {gateway, model, bodies} = await service(packer);
    for (const loop of Object.values(LOOPS)) {
      for (const stream of [true, false]) assert.deepEqual(await loop(gateway.base, model, stream), [ANSWER, WANTED]);
    }
    for (const body of bodies) {
      assert.deepEqual(['tools', 'tool_choice', 'parallel_tool_calls', 'functions'].filter((k) => k in body), []);
      assert.deepEqual(body.messages.map((m) => m.role), ['system', 'user', 'assistant', 'user', 'assistant', 'user', 'assistant', 'user'].slice(0, body.messages.length));
      assert.ok(body.messages.every((m) => typeof m.content === 'string' && !m.tool_calls));
    }
  });
});
