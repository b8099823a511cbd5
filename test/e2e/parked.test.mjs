// A request that waits for a busy account keeps only its body, and is understood again when its turn comes: the site must see no difference.
import assert from 'node:assert/strict';
import {afterEach, describe, it} from 'node:test';
import {OpenAiSite} from '../sites/openai.mjs';
import {startGateway} from './lib/gateway.mjs';
import {checkError, checkStream} from './lib/http.mjs';

const running = [];
afterEach(async () => {
  for (const thing of running.splice(0).reverse()) await thing.stop();
});

const options = {temperature: 0.25, top_k: 40};
const WORDS = 'quote " slash \\ tab \t umlaut ü clef \u{1d11e} '.repeat(20);

/** One account for one request at a time, and a second site to fall back to. `held`: answers of the first site that wait to be let go. */
async function serve(more = {}) {
  const up = await new OpenAiSite({keys: ['sk-a']}).start();
  const spare = await new OpenAiSite({keys: ['sk-b']}).start();
  running.push(up, spare);
  const gateway = await startGateway({
    server: {cors_origins: ['https://app.example', 'https://other.example']},
    sites: [
      {name: 'up', adapter: 'openai', ...up.config({max_concurrent: 1, ...more}), accounts: [{name: 'a', api_key: 'sk-a'}]},
      {name: 'spare', adapter: 'openai', ...spare.config(), accounts: [{name: 'b', api_key: 'sk-b'}]},
    ],
    models: [{id: 'm', targets: [{target: 'up/x', options}]}, {id: 'f', targets: ['up/x', {target: 'spare/y', options}]}],
  });
  running.push(gateway);
  const held = [];
  const hold = () => up.plans.push(function (r, res) {
    held.push(() => this.json(res, 200, {id: 'x', object: 'chat.completion', created: 1, model: 'm', choices: [{index: 0, message: {role: 'assistant', content: 'first'}, finish_reason: 'stop'}]}));
  });
  const ask = (path, body, headers = {}) => fetch(`${gateway.base}${path}`, {method: 'POST', body: typeof body === 'string' ? body : JSON.stringify(body), headers: {'content-type': 'application/json', ...headers}});
  const active = async () => (await (await fetch(`${gateway.origin}/health`)).json()).active;
  /** Keeps the account busy: {first}, the answer to come, when its request is at the site. */
  const occupy = async () => {
    hold();
    const first = ask('/chat/completions', {model: 'up/x', messages: [{role: 'user', content: 'first'}]});
    for (let i = 0; i < 1000 && !held.length; i++) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.equal(held.length, 1);
    return {first};
  };
  /** Until so many requests are in the gateway. */
  const until = async (n) => {
    for (let i = 0; i < 1000 && (await active()) !== n; i++);
    assert.equal(await active(), n);
  };
  return {up, spare, gateway, held, ask, occupy, until};
}

/** Sends the request once while the account is free and once while it is busy: what the site got each time, and the answers. */
async function both({up, held, ask, occupy, until}, path, body, headers) {
  const at = () => up.chatRequests().length;
  const start = at();
  const plain = await (await ask(path, body, headers)).text();
  const free = up.chatRequests()[start].json;
  const {first} = await occupy();
  const second = ask(path, body, headers);
  await until(2);
  held.shift()();
  await (await first).text();
  const answer = await (await second).text();
  return {free, waited: up.chatRequests().at(-1).json, plain, answer};
}

describe('a request that waited', () => {
  it('reaches the site as one that did not: escapes, pictures, unknown fields, options of the target', async () => {
    const s = await serve();
    const {free, waited} = await both(s, '/chat/completions', {model: 'm', seed: 7, x_own: {y: [1, WORDS]}, stop: ['\u0000\n'], messages: [
      {role: 'system', content: WORDS}, {role: 'user', content: [{type: 'text', text: WORDS}, {type: 'image_url', image_url: {url: 'data:image/png;base64,iVBORw0KGgo='}}]}]});
    assert.deepEqual(waited, free);
    assert.equal(waited.temperature, options.temperature);
    assert.equal(waited.messages[1].content[0].text, WORDS);
  });

  it('also with a lone surrogate, which is mended in place', async () => {
    const s = await serve();
    const {free, waited} = await both(s, '/chat/completions', '{"model":"m","messages":[{"role":"user","content":"a\\ud800b"}]}');
    assert.deepEqual(waited, free);
    assert.equal(waited.messages[0].content, 'a\ufffdb');
  });

  it('also in the words of other APIs', async () => {
    const s = await serve();
    const messages = await both(s, '/messages', {model: 'm', max_tokens: 50, system: WORDS, messages: [{role: 'user', content: WORDS}]}, {'anthropic-beta': 'one-2025-01-01', origin: 'https://app.example'});
    assert.deepEqual(messages.waited, messages.free);
    const text = await both(s, '/completions', {model: 'm', prompt: WORDS, echo: true});
    assert.deepEqual(text.waited, text.free);
    assert.ok(JSON.parse(text.answer).choices[0].text.startsWith(WORDS), 'echo');
    const responses = await both(s, '/responses', {model: 'm', input: WORDS, instructions: 'be brief'});
    assert.deepEqual(responses.waited, responses.free);
  });

  it('goes to another target when its patience is over, as the other wants it', async () => {
    const {spare, held, ask, occupy} = await serve({queue_timeout: '200ms'});
    const {first} = await occupy();
    const answer = await ask('/chat/completions', {model: 'f', messages: [{role: 'user', content: WORDS}]});
    assert.equal((await answer.json()).choices[0].message.content, WORDS);
    assert.deepEqual(spare.chatRequests()[0].json, {model: 'y', messages: [{role: 'user', content: WORDS}], ...options});
    held[0]();
    await (await first).text();
  });

  it('keeps the origin of its page for the answer', async () => {
    const s = await serve();
    const {first} = await s.occupy();
    const second = s.ask('/chat/completions', {model: 'up/x', stream: true, messages: [{role: 'user', content: 'hi'}]}, {origin: 'https://app.example'});
    await s.until(2);
    s.held[0]();
    await (await first).text();
    const response = await second;
    assert.equal(response.headers.get('access-control-allow-origin'), 'https://app.example');
    assert.equal(checkStream(await response.text()).content, 'hi');
  });

  it('is told in its own words that nobody had time for it', async () => {
    const {held, ask, occupy} = await serve({queue_timeout: '100ms'});
    const {first} = await occupy();
    await checkError(await ask('/chat/completions', {model: 'up/x', messages: [{role: 'user', content: 'hi'}]}), {status: 503, type: 'server_error', code: 'overloaded'});
    held[0]();
    await (await first).text();
  });
});
