// Lists as long as a body lets them be cost time by their length, not by its square: while one request is read and written, nobody
// else is served. Each of these took minutes once.
import assert from 'node:assert/strict';
import {readFileSync} from 'node:fs';
import {after, before, describe, it} from 'node:test';
import {Anthropic} from '../sites/anthropic.mjs';
import {Gemini} from '../sites/gemini.mjs';
import {within} from '../sites/site.mjs';
import {startGateway} from './lib/gateway.mjs';
import {respond} from './lib/responses.mjs';

const N = 60000, SOON = 60000, CPU_MS = 10000;
const list = (make, n = N) => Array.from({length: n}, (_, i) => make(i));

describe('long lists', {timeout: 300000}, () => {
  let anthropic, gemini, gateway;
  before(async () => {
    anthropic = await new Anthropic().start();
    gemini = await new Gemini().start();
    for (const site of [anthropic, gemini]) site.handle = (r, res) => site.json(res, 400, {error: {message: 'too long'}});
    gateway = await startGateway({sites: [{name: 'demo', adapter: 'demo'},
      {name: 'anthropic', adapter: 'anthropic', ...anthropic.config(), accounts: [{name: 'me', api_key: 'sk-ant-test'}]},
      {name: 'gemini', adapter: 'gemini', ...gemini.config(), accounts: [{name: 'me', api_key: 'AIza-test'}]}]});
  });
  after(async () => {
    for (const thing of [gateway, gemini, anthropic]) await thing?.stop();
  });

  /** Milliseconds that the gateway has worked. */
  const cpu = () => {
    const [user, system] = readFileSync(`/proc/${gateway.child.pid}/stat`, 'latin1').split(') ')[1].split(' ').slice(11, 13);
    return (Number(user) + Number(system)) * 10;
  };
  const post = (path, body) => fetch(`${gateway.base}${path}`, {method: 'POST', headers: {'content-type': 'application/json'}, body: JSON.stringify(body)});
  /** What reaches the site, which finds it too long. */
  const sent = async (site, path, body) => {
    const before = cpu();
    const answer = await within(SOON, post(path, body), 'an answer');
    assert.equal(answer.status, 400, await answer.text());
    assert.ok(cpu() - before < CPU_MS, `${cpu() - before} ms`);
    return site.chatRequests().at(-1).json;
  };
  const hi = [{role: 'user', content: 'hi'}];

  it('fields at the top, which every look-up of one passes', async () => {
    const bodies = {'/chat/completions': {messages: hi}, '/completions': {prompt: 'hi'}, '/messages': {messages: hi, max_tokens: 5}, '/responses': {input: 'hi', store: false}};
    for (const [path, body] of Object.entries(bodies)) {
      const asked = (n) => post(path, {model: 'demo/echo', ...body, ...Object.fromEntries(list((i) => [`f${i}`, i], n))});
      const taken = await asked(5000), refused = await asked(10001);
      assert.deepEqual([taken.status, refused.status], [200, 400], path);
      assert.match((await refused.json()).error.message, /more than 10000 fields/);
      await taken.arrayBuffer();
    }
  });

  it('responses: the tools of allowed_tools', async () => {
    const tools = list((i) => ({type: 'function', name: `tool${i}`, parameters: {}}));
    const choice = {type: 'allowed_tools', mode: 'auto', tools: list((i) => ({type: 'function', name: `tool${i + N - 1}`}))};
    const body = await sent(anthropic, '/responses', {model: 'anthropic/claude-sonnet-4-5', input: 'hi', store: false, tools, tool_choice: choice});
    assert.deepEqual(body.tools.map((t) => t.name), [`tool${N - 1}`]);
  });

  it('responses: references to items of a long one', async () => {
    const stored = await (await respond(gateway.base, {model: 'demo/echo', input: list((i) => ({role: 'user', content: `say ${i}`}))})).json();
    const id = stored.id.replace('resp_', 'msg_');
    const body = await sent(gemini, '/responses', {model: 'gemini/gemini-2.0-flash', store: false, input: list((i) => ({type: 'item_reference', id: `${id}_i${N - 1 - i % 100}`}))});
    assert.deepEqual(body.contents[0].parts.slice(0, 2).map((p) => p.text), [`say ${N - 1}`, `say ${N - 2}`]);
  });

  it('responses: items that are referred to count as if they had been sent', async () => {
    const stored = await (await respond(gateway.base, {model: 'demo/echo', input: [{role: 'user', content: 'x'.repeat(1 << 20)}, ...hi]})).json();
    const ask = (n) => within(SOON, respond(gateway.base, {model: 'demo/echo', store: false, input: [...list(() => ({type: 'item_reference', id: `${stored.id.replace('resp_', 'msg_')}_i0`}), n), ...hi]}), 'an answer');
    assert.equal((await ask(30)).status, 200);
    const answer = await ask(32);
    const {error} = await answer.json();
    assert.deepEqual([answer.status, error.param], [400, 'input[31]']);
    assert.match(error.message, /32 MiB/);
  });

  it('anthropic: texts and calls in turn', async () => {
    const content = list((i) => (i % 2 ? {type: 'tool_use', id: `t${i}`, name: 'f', input: {}} : {type: 'text', text: `${i}`}));
    const body = await sent(anthropic, '/messages', {model: 'anthropic/claude-sonnet-4-5', max_tokens: 10, messages: [...hi, {role: 'assistant', content}],
      tools: [{name: 'f', input_schema: {type: 'object'}}]});
    assert.deepEqual(body.messages[1].content, content);
  });

  it('anthropic: functions of the history that nobody declared', async () => {
    const calls = list((i) => ({id: `c${i}`, type: 'function', function: {name: `f${i}`, arguments: '{}'}}));
    const body = await sent(anthropic, '/chat/completions', {model: 'anthropic/claude-sonnet-4-5', messages: [...hi, {role: 'assistant', content: null, tool_calls: calls}]});
    assert.deepEqual(body.tools.map((t) => t.name), calls.map((c) => c.function.name));
  });

  it('gemini: functions whose names Google does not take', async () => {
    const tools = list((i) => ({type: 'function', function: {name: `${i}`}}));
    const body = await sent(gemini, '/chat/completions', {model: 'gemini/gemini-2.0-flash', messages: hi, tools});
    assert.equal(new Set(body.tools[0].functionDeclarations.map((f) => f.name)).size, N);
  });
});
