// Several runs for one request (prompts, n) when they fail, wait and retry at the same time.
import assert from 'node:assert/strict';
import {afterEach, describe, it} from 'node:test';
import {OpenAiSite} from '../sites/openai.mjs';
import {Zai, jwt} from '../sites/zai.mjs';
import {active, answerPiece} from './lib/clients.mjs';
import {startGateway} from './lib/gateway.mjs';
import {chat, checkError, checkStream, parseEvents, user} from './lib/http.mjs';

const running = [];
async function serve({accounts = 1, ...more} = {}) {
  const keys = Array.from({length: accounts}, (_, i) => `sk-upstream-${i}`);
  const site = await new OpenAiSite({keys, tls: false, host: '127.0.0.1'}).start();
  running.push(site);
  const gateway = await startGateway({sites: [{name: 'up', adapter: 'openai', ...site.config({accounts: keys.map((api_key, i) => ({name: `a${i}`, api_key})), ...more})}]});
  running.push(gateway);
  return {site, gateway, complete: (body) => chat(gateway.base, {model: 'up/m', ...body}, {path: '/completions'}),
    ask: (body) => chat(gateway.base, {model: 'up/m', ...user('hello there'), ...body})};
}
afterEach(async () => {
  for (const thing of running.splice(0).reverse()) await thing.stop();
});
const limited = {status: 429, json: {error: {message: 'slow down'}}, headers: {'retry-after': '7'}};
const refused = {status: 401, json: {error: {message: 'bad key'}}};

describe('several runs', () => {
  for (const max_concurrent of [1, 2]) {
    for (const stream of [false, true]) {
      it(`a limit while others wait for the account (${max_concurrent} at once, ${stream ? 'streamed' : 'whole'}): one 429`, async () => {
        const {site, gateway, complete} = await serve({max_concurrent});
        site.next(limited, limited);
        await checkError(await complete({prompt: ['a', 'b', 'c', 'd'], stream}), {status: 429, type: 'rate_limit_error', code: 'upstream_rate_limited', retryAfter: 7});
        assert.equal(await active(gateway), 0);
        await checkError(await complete({prompt: 'a'}), {status: 429, type: 'rate_limit_error', code: 'upstream_rate_limited'});
      });
    }
  }

  it('one account refused, one limited: the runs find the third', async () => {
    const {site, gateway, complete} = await serve({accounts: 3, max_concurrent: 1});
    site.next(limited, refused);
    const {choices} = await (await complete({prompt: ['a', 'b', 'c', 'd', 'e']})).json();
    assert.deepEqual(choices.map((c) => c.text), ['a', 'b', 'c', 'd', 'e']);
    assert.equal(await active(gateway), 0);
  });

  it('every account is limited in turn', async () => {
    const {site, gateway, complete} = await serve({accounts: 2, max_concurrent: 1});
    site.next(limited, limited);
    const answers = await Promise.all([complete({prompt: ['a', 'b', 'c']}), complete({prompt: ['d', 'e', 'f'], stream: true}), complete({prompt: 'g'})]);
    for (const answer of answers) await checkError(answer, {status: 429, type: 'rate_limit_error', code: 'upstream_rate_limited'});
    assert.equal(await active(gateway), 0);
  });
});

describe('n choices of a large prompt', () => {
  it('are refused where each would be a request of its own, and taken where the site gives them', async () => {
    const zai = await new Zai({}).start();
    running.push(zai);
    const gateway = await startGateway({sites: [{name: 'z', adapter: 'zai', ...zai.config({accounts: [{name: 'me', token: jwt('person')}]})}]});
    running.push(gateway);
    const large = user('x'.repeat(9_000_000));
    await checkError(await chat(gateway.base, {model: 'z/glm-4.6', n: 64, ...large}), {status: 413, type: 'invalid_request_error', code: 'request_too_large', param: 'n'});
    const {site, ask} = await serve();
    const choices = (n) => ({status: 200, json: {id: 'x', object: 'chat.completion', created: 1, model: 'm', choices: Array.from({length: n}, (_, index) => ({index, message: {role: 'assistant', content: 'ok'}, finish_reason: 'stop'}))}});
    site.next(choices(64));
    assert.equal((await ask({n: 64, ...large})).status, 200);
    site.next(choices(1)); // it ignores n: the others would be requests of their own after all
    await checkError(await ask({n: 64, ...large}), {status: 413, type: 'invalid_request_error', code: 'request_too_large', param: 'n'});
  });
});

describe('a finish reason without any text before it', () => {
  const empty = function (r, res) {
    this.sseHead(res);
    this.event(res, answerPiece({role: 'assistant', content: ''}));
    this.event(res, answerPiece({}, 'stop'));
    setTimeout(() => {
      this.event(res, '[DONE]');
      res.end();
    }, 50);
  };

  it('another account gives the answer, and the client sees nothing of the first try', async () => {
    const {site, ask} = await serve({accounts: 2});
    site.next(empty);
    const {content, finish} = checkStream(await (await ask({stream: true})).text());
    assert.deepEqual([content, finish], ['hello there', 'stop']);
  });

  it('when every account does so: a true status', async () => {
    const {site, ask} = await serve({accounts: 2});
    site.next(empty, empty);
    await checkError(await ask({stream: true}), {status: 502, type: 'upstream_error', code: 'upstream_empty', noRetry: true});
  });

  it('an empty answer where a stop text may have met its beginning stays one', async () => {
    const {site, ask} = await serve();
    site.next(empty);
    const {content, finish} = checkStream(await (await ask({stream: true, stop: ['x']})).text());
    assert.deepEqual([content, finish], ['', 'stop']);
  });

  it('/v1/completions likewise', async () => {
    const {site, complete} = await serve({accounts: 2});
    site.next(empty);
    const {events} = parseEvents(await (await complete({prompt: 'hello there', echo: true, stream: true})).text());
    assert.equal(events.pop(), '[DONE]');
    assert.equal(events.map((e) => e.choices[0].text).join(''), 'hello therehello there');
    assert.deepEqual(events.map((e) => e.choices[0].finish_reason).filter(Boolean), ['stop']);
  });
});

describe('an answer larger than a whole one may be', () => {
  const large = function (r, res) {
    this.sseHead(res);
    const text = JSON.stringify(answerPiece({content: 'x'.repeat(4 << 20)}));
    for (let i = 0; i < 17; i++) this.event(res, text);
    this.event(res, answerPiece({}, 'stop'));
    this.event(res, '[DONE]');
    res.end();
  };
  it('of a built-in site likewise', async () => {
    const gateway = await startGateway({sites: [{name: 'demo', adapter: 'demo'}]});
    running.push(gateway);
    await checkError(await chat(gateway.base, {model: 'demo/echo', n: 64, ...user('x'.repeat(2_000_000))}),
      {status: 400, type: 'invalid_request_error', code: 'unsupported_value', param: 'stream'});
  });

  for (const path of ['/chat/completions', '/completions']) {
    it(`${path}: 400 that names the way out, and no second try`, async () => {
      const {site, gateway} = await serve({accounts: 2});
      site.next(large);
      const {error} = await checkError(await chat(gateway.base, {model: 'up/m', prompt: 'x', ...user('x')}, {path}),
        {status: 400, type: 'invalid_request_error', code: 'unsupported_value', param: 'stream'});
      assert.match(error.message, /64 MiB/);
      assert.equal(site.chatRequests().length, 1);
    });
  }
});
