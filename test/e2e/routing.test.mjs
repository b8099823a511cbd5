// Where a model id leads, through the real program: weights, options of targets, patterns, fallback by the kind of failure, and
// model lists that outlive a restart.
import assert from 'node:assert/strict';
import {once} from 'node:events';
import {mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, describe, it} from 'node:test';
import {OpenAiSite} from '../sites/openai.mjs';
import {Gateway, run, startGateway} from './lib/gateway.mjs';
import {chat, checkBrokenStream, checkError, checkStream, user} from './lib/http.mjs';

const running = [];
afterEach(async () => {
  for (const thing of running.splice(0).reverse()) await thing.stop();
});
const keep = (thing) => (running.push(thing), thing);

const account = [{name: 'a', api_key: 'sk-upstream'}];
/** Two services, `up` and `down`, and the demo site; `models` stand before them. */
async function serve(models, more = {}) {
  const up = keep(await new OpenAiSite().start()), down = keep(await new OpenAiSite().start());
  const gateway = keep(await startGateway({...more, models, sites: [
    {name: 'up', adapter: 'openai', ...up.config(), accounts: account},
    {name: 'down', adapter: 'openai', ...down.config(), accounts: account},
    {name: 'web', adapter: 'zai', ...down.config(), accounts: [{name: 'g', guest: true}]}, // gives one choice at a time; never asked
    {name: 'demo', adapter: 'demo'}]}));
  return {up, down, gateway, ask: (model, body = {}, text = 'hello', options) => chat(gateway.base, {model, ...user(text), ...body}, options)};
}
const route = (response) => response.headers.get('x-dragoman-route');
const listed = async (gateway) => (await (await fetch(`${gateway.base}/models`)).json()).data.map((m) => m.id);

describe('targets with weights', () => {
  it('take turns, exactly and evenly', async () => {
    const {ask} = await serve([{id: 'mix', targets: [{target: 'up/a', weight: 3}, 'down/b', {target: 'demo/echo', weight: 0}]}]);
    const seen = [];
    for (let i = 0; i < 8; i++) {
      const response = await ask('mix');
      await response.text();
      seen.push(route(response));
    }
    const a = 'up/a; tries=1', b = 'down/b; tries=1';
    assert.deepEqual(seen, [a, a, b, a, a, a, b, a]);
  });

  it('are fallbacks of each other, in the order of the file', async () => {
    const {up, down, ask} = await serve([{id: 'mix', targets: ['up/a', {target: 'down/b', weight: 2}, 'demo/echo']}]);
    down.plans.push({status: 500, json: {error: {message: 'broken'}}});
    up.plans.push({status: 500, json: {error: {message: 'broken'}}});
    const response = await ask('mix');
    await response.text();
    assert.equal(route(response), 'demo/echo; tries=3');
    assert.deepEqual([down.chatRequests().length, up.chatRequests().length], [1, 1]);
  });

  it('go on where they were after a reload', async () => {
    const {ask, gateway} = await serve([{id: 'mix', targets: [{target: 'up/a', weight: 2}, 'down/b']}]);
    const next = async () => route(await ask('mix')).split(';')[0];
    const seen = [await next()];
    const from = gateway.stderr.length;
    gateway.signal('SIGHUP');
    await gateway.logged(/configuration reloaded/, {from});
    seen.push(await next(), await next(), await next());
    assert.deepEqual(seen, ['up/a', 'down/b', 'up/a', 'up/a']);
  });

  it('a key that is tied to some of them shares out among those', async () => {
    const {up, gateway} = await serve([{id: 'mix', targets: [{target: 'demo/echo', weight: 5}, {target: 'up/a', weight: 1}, {target: 'down/b', weight: 1}]}],
      {keys: [{name: 'k', key: 'sk-tied-0001', accounts: ['up/a', 'down/a']}]});
    const headers = {authorization: 'Bearer sk-tied-0001'};
    const seen = [];
    for (let i = 0; i < 4; i++) seen.push(route(await chat(gateway.base, {model: 'mix', ...user('x')}, {headers})).split(';')[0]);
    assert.deepEqual(seen, ['up/a', 'down/b', 'up/a', 'down/b']);
    assert.equal(up.chatRequests().length, 2);
  });
});

describe('options of a target', () => {
  const options = {reasoning_effort: 'high', temperature: 0.25, top_k: 40, thinking: {type: 'enabled'}};

  it('are set for that target, over what the client says, and for no other', async () => {
    const {up, down, ask} = await serve([{id: 'm', targets: [{target: 'up/a', options}, 'down/b']}]);
    up.plans.push({status: 500, json: {error: {message: 'broken'}}});
    const response = await ask('m', {temperature: 1, enable_thinking: false, seed: 7, x_own: {y: [1]}});
    assert.equal(route(response), 'down/b; tries=2');
    const [first, second] = [up.chatRequests()[0].json, down.chatRequests()[0].json];
    assert.deepEqual(first, {model: 'a', messages: [{role: 'user', content: 'hello'}], seed: 7, x_own: {y: [1]}, ...options});
    assert.deepEqual(second, {model: 'b', messages: [{role: 'user', content: 'hello'}], temperature: 1, enable_thinking: false, seed: 7, x_own: {y: [1]}});
  });

  it('what we do ourselves follows them: a limit, a stop', async () => {
    const {ask} = await serve([
      {id: 'short', targets: [{target: 'demo/echo', options: {max_tokens: 2}}]},
      {id: 'stops', targets: [{target: 'demo/echo', options: {stop: ['four']}}]}]);
    const short = await (await ask('short', {max_completion_tokens: 500}, 'one two three four five')).json();
    assert.equal(short.choices[0].finish_reason, 'length');
    assert.equal(short.choices[0].message.content, 'one two');
    const stopped = checkStream(await (await ask('stops', {stream: true, stop: ['two']}, 'one two three four five')).text());
    assert.equal(stopped.content, 'one two three ');
  });

  it('reach every run of several choices, and text completions', async () => {
    const {up, gateway, ask} = await serve([{id: 'm', targets: [{target: 'up/a', options: {top_k: 3}}, 'web/m']}]);
    const answer = await (await ask('m', {n: 3})).json();
    assert.equal(answer.choices.length, 3);
    const response = await chat(gateway.base, {model: 'm', prompt: ['x', 'y'], top_k: 9}, {path: '/completions'});
    assert.equal((await response.json()).choices.length, 2);
    assert.equal(up.chatRequests().length, 5);
    assert.deepEqual(up.chatRequests().map((r) => r.json.top_k), Array(5).fill(3));
    assert.deepEqual(up.chatRequests().map((r) => r.json.messages[0].content).sort(), ['hello', 'hello', 'hello', 'x', 'y']);
    assert.deepEqual(up.chatRequests().map((r) => r.json.n ?? 1), Array(5).fill(1));
  });

  it('a passed-through request stays as it is', async () => {
    const {up, gateway} = await serve([{id: 'e', targets: [{target: 'up/embed', options: {top_k: 3}}]}]);
    const response = await chat(gateway.base, {model: 'e', input: 'abc'}, {path: '/embeddings'});
    assert.equal(response.status, 200);
    assert.deepEqual(up.requests.find((r) => r.path.endsWith('/embeddings')).json, {model: 'embed', input: 'abc'});
  });

  it('of the wrong type are an error of the configuration', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'dragoman-e2e-route-'));
    keep({stop: () => rmSync(folder, {recursive: true, force: true})});
    const gateway = new Gateway({sites: [{name: 'demo', adapter: 'demo'}], models: [{id: 'm', targets: [{target: 'demo/echo', options: {temperature: 'hot'}}]}]});
    keep({stop: () => rmSync(gateway.directory, {recursive: true, force: true})});
    gateway.write(gateway.config);
    const {code, stderr} = await run(['check', '-c', gateway.file]);
    assert.equal(code, 2);
    assert.match(stderr, /gateway\.toml:\d+:\d+: the options of the target "demo\/echo": temperature must be a number/);
  });
});

describe('patterns', () => {
  it('lead where nothing more exact does, and `*` is the id that was asked for', async () => {
    const {up, down, gateway, ask} = await serve([
      {id: 'gpt-4*', targets: ['up/*']}, {id: '*', targets: ['down/rest']}, {id: 'gpt-4o', targets: ['down/exact']}]);
    const to = async (model) => {
      const response = await ask(model);
      assert.equal((await response.json()).model, model); // clients see the id they asked for
      return route(response).split(';')[0];
    };
    assert.equal(await to('gpt-4o'), 'down/exact');
    assert.equal(await to('gpt-4.1-mini'), 'up/gpt-4.1-mini');
    assert.equal(await to('gpt-test'), 'up/gpt-test'); // a site has it
    assert.equal(await to('down/gpt-4o'), 'down/gpt-4o');
    assert.equal(await to('claude'), 'down/rest');
    assert.deepEqual(up.chatRequests().map((r) => r.json.model), ['gpt-4.1-mini', 'gpt-test']);
    const ids = await listed(gateway);
    assert.ok(ids.includes('gpt-4o'));
    assert.deepEqual(ids.filter((id) => /[*?]/.test(id)), []);
    const one = await (await fetch(`${gateway.base}/models/gpt-4.1-mini`)).json();
    assert.deepEqual([one.id, one.owned_by], ['gpt-4.1-mini', 'up']);
    assert.equal(down.violations.length + up.violations.length, 0);
  });

  it('near ids are those that the key may use', async () => {
    const {gateway, ask} = await serve([{id: 'secret-1', targets: ['demo/echo']}, {id: 'secret-2', targets: ['up/m']}, {id: 'open-1', targets: ['demo/echo']}],
      {keys: [{name: 'few', key: 'sk-few', models: ['open-*']}, {name: 'tied', key: 'sk-tied', accounts: ['up/a']}, {name: 'all', key: 'sk-all'}]});
    const near = async (key, options) => {
      const {error} = await checkError(await ask(...options, {headers: {authorization: `Bearer ${key}`}}), {status: 404, type: 'invalid_request_error', code: 'model_not_found'});
      return error.message;
    };
    const asked = ['secret-', {}, 'x'];
    assert.match(await near('sk-few', ['open-', {}, 'x']), /near are: open-1; GET/);
    assert.match(await near('sk-all', asked), /near are: secret-1, secret-2, /);
    assert.doesNotMatch(await near('sk-tied', asked), /secret-1|demo/);
    const one = await fetch(`${gateway.base}/models/open-`, {headers: {authorization: 'Bearer sk-few'}});
    assert.match((await one.json()).error.message, /near are: open-1; GET/);
  });

  it('do not open what a key may not use', async () => {
    const {gateway} = await serve([{id: 'gpt-*', targets: ['up/*']}], {keys: [{name: 'k', key: 'sk-some-0001', models: ['gpt-4*']}]});
    const headers = {authorization: 'Bearer sk-some-0001'};
    assert.equal((await chat(gateway.base, {model: 'gpt-4o', ...user('x')}, {headers})).status, 200);
    await checkError(await chat(gateway.base, {model: 'gpt-5', ...user('x')}, {headers}), {status: 403, type: 'permission_error', code: 'model_not_allowed'});
  });
});

describe('the next target', () => {
  const helps = ['rate_limited 7', 'unavailable', 'overloaded 9', 'credential', 'challenge', 'unreachable', 'timeout', 'cut', 'empty', 'protocol', 'bridge', 'unsupported'];
  const doesNot = {bad_request: {code: 'upstream_bad_request', noRetry: true}, content_filter: {code: 'content_filter', noRetry: true}, context_length: {code: 'context_length_exceeded'}};

  it('is asked when the first one could not answer', async () => {
    const {up, ask} = await serve([{id: 'safe', targets: ['demo/echo', 'up/m']}]);
    for (const kind of helps) {
      for (const stream of [false, true]) {
        const response = await ask('safe', {stream}, `!error ${kind}`), text = await response.text();
        assert.equal(response.status, 200, `${kind}: ${text}`);
        assert.equal(route(response).split(';')[0], 'up/m', kind);
        if (stream) assert.equal(checkStream(text).content, `!error ${kind}`);
      }
    }
    assert.equal(up.chatRequests().length, helps.length * 2);
  });

  it('is not asked when the request is at fault', async () => {
    const {up, ask} = await serve([{id: 'safe', targets: ['demo/echo', 'up/m']}]);
    for (const [kind, row] of Object.entries(doesNot)) {
      for (const stream of [false, true]) {
        const response = await ask('safe', {stream}, `!error ${kind}`);
        assert.equal(route(response), 'demo/echo; tries=1', kind);
        await checkError(response, {status: 400, type: 'invalid_request_error', ...row});
      }
    }
    assert.equal(up.chatRequests().length, 0);
  });

  it('is not asked once there was text', async () => {
    const {up, ask} = await serve([{id: 'safe', targets: ['demo/echo', 'up/m']}]);
    for (const kind of [...helps.filter((k) => k !== 'unsupported'), ...Object.keys(doesNot)]) {
      const {content} = checkBrokenStream(await (await ask('safe', {stream: true}, `!error ${kind} after 2 words`)).text());
      assert.equal(content, 'Here are', kind);
    }
    assert.equal(up.chatRequests().length, 0);
  });

  it('has a queue of its own for who waited in vain at the first one', async () => {
    const up = keep(await new OpenAiSite().start()), down = keep(await new OpenAiSite().start()), held = [];
    const config = {max_concurrent: 1, adapter: 'openai', accounts: account};
    const {base} = keep(await startGateway({models: [{id: 'chain', targets: ['up/a', 'down/b']}], sites: [
      {name: 'up', ...config, ...up.config(), queue_timeout: '100ms'}, {name: 'down', ...config, ...down.config()}]}));
    for (const site of [up, down]) site.plans.push(function (r, res) {
      held.push(() => this.json(res, 200, {choices: [{index: 0, message: {role: 'assistant', content: 'x'}, finish_reason: 'stop'}]}));
      this.emit('held');
    });
    const busy = [];
    for (const [site, model] of [[up, 'up/a'], [down, 'down/b']]) {
      busy.push(chat(base, {model, ...user('x')}));
      await once(site, 'held');
    }
    setTimeout(() => held.forEach((go) => go()), 500); // of `up` it is too late for who waits: 100 ms are over
    const response = await chat(base, {model: 'chain', ...user('hello')});
    await response.text();
    assert.deepEqual([response.status, route(response)], [200, 'down/b; tries=1']);
    for (const answer of busy) await (await answer).text();
  });

  it('is asked while every account of the first one rests', async () => {
    const {up, down, ask} = await serve([{id: 'safe', targets: ['up/m', 'down/m']}]);
    up.plans.push({status: 429, json: {error: {message: 'slow down'}}, headers: {'retry-after': '60'}});
    assert.equal(route(await ask('safe')), 'down/m; tries=2');
    assert.equal(route(await ask('safe')), 'down/m; tries=1');
    assert.deepEqual([up.chatRequests().length, down.chatRequests().length], [1, 2]);
  });
});

describe('a limit', () => {
  const limited = (s) => ({status: 429, json: {error: {message: 'slow down'}}, headers: {'retry-after': `${s}`}});
  const says = async (response, retryAfter, sentence) => assert.match(
    (await checkError(response, {status: 429, type: 'rate_limit_error', code: 'upstream_rate_limited', retryAfter})).error.message, sentence);

  it('of every account and target names the site that is ready first, and when', async () => {
    const {up, down, ask} = await serve([{id: 'safe', targets: ['up/m', 'down/m']}]);
    up.plans.push(limited(90));
    down.plans.push(limited(600));
    await says(await ask('safe'), 90, /^down limits the rate .*; up is ready again in 90 s$/);
    await says(await ask('safe'), undefined, /^every account of up rests .*; up is ready again in \d+ s$/);
    await says(await ask('down/m'), undefined, /^every account of down rests after the site's rate limit; ready again in \d+ s$/);
    assert.equal(up.chatRequests().length + down.chatRequests().length, 2);
  });
});

describe("a site's model list", () => {
  it('is there at once after a restart, also when the site is not', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'dragoman-e2e-route-'));
    keep({stop: () => rmSync(folder, {recursive: true, force: true})});
    const site = await new OpenAiSite({models: ['m-one', 'org/m-two']}).start();
    let up = true;
    keep({stop: () => up && site.stop()});
    const config = {server: {data_dir: join(folder, 'data')}, sites: [{name: 's', adapter: 'openai', ...site.config(), accounts: account}]};
    const first = keep(await startGateway(config));
    await first.logged(/site s: 2 models/);
    assert.deepEqual(await listed(first), ['m-one', 'org/m-two']);
    first.signal('SIGTERM'); // what was saved is written before it ends
    await once(first.child, 'close');

    await site.stop();
    up = false;
    const second = keep(await startGateway(config));
    assert.deepEqual(await listed(second), ['m-one', 'org/m-two']);
    await second.logged(/site s: no model list/); // asked for in the background, and kept
    assert.deepEqual(await listed(second), ['m-one', 'org/m-two']);
    await checkError(await chat(second.base, {model: 'm-one', ...user('x')}), {status: 502, type: 'upstream_error', code: 'upstream_unreachable'});
  });

  it('is replaced by what the site says now', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'dragoman-e2e-route-'));
    keep({stop: () => rmSync(folder, {recursive: true, force: true})});
    const site = keep(await new OpenAiSite({models: ['old']}).start());
    const config = {server: {data_dir: join(folder, 'data')}, sites: [{name: 's', adapter: 'openai', ...site.config(), accounts: account}]};
    const first = keep(await startGateway(config));
    await first.logged(/site s: 1 models/);
    first.signal('SIGTERM');
    await once(first.child, 'close');
    site.models = ['new-1', 'new-2'];
    const second = keep(await startGateway(config));
    await second.logged(/site s: 2 models/);
    assert.deepEqual(await listed(second), ['new-1', 'new-2']);
  });
});
