// What a client key may use: requests a minute and at once, days' budgets, its end, its accounts. The real program; OpenAI's SDK.
import assert from 'node:assert/strict';
import {after, afterEach, before, describe, it} from 'node:test';
import OpenAI from 'openai';
import {OpenAiSite} from '../sites/openai.mjs';
import {settled} from './lib/clients.mjs';
import {run, startGateway} from './lib/gateway.mjs';
import {Wire, chat, checkBrokenStream, checkError, checkStream, request, user} from './lib/http.mjs';

const DEMO = {name: 'demo', adapter: 'demo'};
const LIMITED = {status: 429, type: 'rate_limit_error', code: 'rate_limit_exceeded'};
const key = (name, more = {}) => ({name, key: `sk-${name}`, ...more});
const echo = (content, more = {}) => ({model: 'demo/echo', ...user(content), ...more});

/** The x-ratelimit headers without that prefix. */
const limits = (response) => Object.fromEntries([...response.headers].filter(([k]) => k.startsWith('x-ratelimit-')).map(([k, v]) => [k.slice(12), v]));
const seconds = (text) => /^(?:(\d+)h)?(?:(\d+)m)?(\d+)s$/.exec(text).slice(1).reduce((sum, n) => sum * 60 + Number(n ?? 0), 0);
const untilMidnight = () => 86400 - (Date.now() / 1000) % 86400;

/** A day's budget cannot be tested while the day changes. */
function daily(name, test) {
  it(name, (t) => (untilMidnight() < 120 ? t.skip('the day (UTC) is about to change') : test(t)));
}

/** Around now, until 00:00 UTC. */
const isMidnight = (s) => assert.ok(Math.abs(s - untilMidnight()) < 30, `${s} s, not ${untilMidnight()}`);

describe('limits of a key', {timeout: 120000}, () => {
  let gateway;
  const ask = (name, body, options = {}) => chat(gateway.base, body, {...options, headers: {authorization: `Bearer sk-${name}`, ...options.headers}});
  const good = async (name, body) => {
    const response = await ask(name, body);
    assert.equal(response.status, 200, await response.clone().text());
    return {response, answer: await response.json()};
  };
  /** Asks until the key has used up its minute: the refusal. */
  const exhaust = async (name) => {
    for (let i = 0; i < 200; i++) {
      const response = await ask(name, echo('x'));
      if (response.status !== 200) return response;
      await response.arrayBuffer();
    }
    assert.fail('never refused');
  };

  before(async () => {
    gateway = await startGateway({
      sites: [DEMO],
      keys: [
        key('plain'), key('minute', {rpm: 10}), key('sdk', {rpm: 30}), key('shown', {rpm: 20, tokens_per_day: 1000}), key('free', {rpm: 3}),
        key('two', {max_concurrent: 2}), key('one', {max_concurrent: 1}),
        key('requests', {requests_per_day: 2}), key('tokens', {tokens_per_day: 10}), key('left', {tokens_per_day: 1000}), key('cut', {tokens_per_day: 1000}),
        key('past', {expires: new Date('2020-01-01')}), key('future', {expires: new Date('2999-01-01')}),
      ],
    });
  });
  after(() => gateway?.stop());
  afterEach(() => settled(gateway));

  it('rpm: so many at once, then a refusal that says when', async () => {
    const refusal = await exhaust('minute');
    const wait = Number(refusal.headers.get('retry-after'));
    assert.ok(wait >= 1 && wait <= 6, `Retry-After ${wait}`);
    const {error} = await checkError(refusal, {...LIMITED, retryAfter: wait});
    assert.equal(error.message, `the key "minute" has used up its 10 requests a minute (rpm); free again in ${wait}s`);
    const told = limits(refusal);
    assert.deepEqual([told['limit-requests'], told['remaining-requests']], ['10', '0']);
    assert.ok(seconds(told['reset-requests']) > 50 && seconds(told['reset-requests']) <= 60, told['reset-requests']);
    await gateway.logged(/ key=minute .*status=429 end=refused error=key_limit/);
    await good('plain', echo('others have not lost by it'));
  });

  it('the SDK: RateLimitError, and it waits as long as it is told', async () => {
    const seen = [];
    const fetched = async (...args) => {
      const response = await fetch(...args);
      seen.push({status: response.status, at: performance.now(), wait: Number(response.headers.get('retry-after'))});
      return response;
    };
    const client = new OpenAI({apiKey: 'sk-sdk', baseURL: gateway.base, fetch: fetched});
    for (let i = 0; seen.map((s) => s.status).join(' ') !== '429 200'; i++) {
      assert.ok(i < 5, JSON.stringify(seen));
      await (await exhaust('sdk')).arrayBuffer();
      seen.length = 0;
      await client.chat.completions.create(echo('x'));
    }
    assert.ok(seen[0].wait >= 1 && seen[0].wait <= 2, JSON.stringify(seen));
    assert.ok(seen[1].at - seen[0].at >= seen[0].wait * 1000 - 50, JSON.stringify(seen));

    await (await exhaust('sdk')).arrayBuffer();
    await assert.rejects(client.chat.completions.create(echo('x'), {maxRetries: 0}), (e) => {
      assert.ok(e instanceof OpenAI.RateLimitError);
      assert.deepEqual([e.status, e.type, e.code, e.param], [429, 'rate_limit_error', 'rate_limit_exceeded', null]);
      assert.match(e.message, /the key "sdk" has used up its 30 requests a minute \(rpm\); free again in \ds/);
      assert.equal(e.headers.get('x-ratelimit-remaining-requests'), '0');
      return true;
    });
  });

  daily('headers on every answer: whole, streamed, failed, refused; a web page may read them', async () => {
    const client = new OpenAI({apiKey: 'sk-shown', baseURL: gateway.base, maxRetries: 0});
    const {response} = await client.chat.completions.create(echo('one two three')).withResponse();
    const whole = limits(response);
    assert.deepEqual(Object.keys(whole).sort(), ['limit-requests', 'limit-tokens', 'remaining-requests', 'remaining-tokens', 'reset-requests', 'reset-tokens']);
    assert.deepEqual([whole['limit-requests'], whole['remaining-requests'], whole['limit-tokens'], whole['remaining-tokens']], ['20', '19', '1000', '994']);
    assert.match(whole['reset-requests'], /^[123]s$/);
    isMidnight(seconds(whole['reset-tokens']));
    const exposed = response.headers.get('access-control-expose-headers');
    for (const name of Object.keys(whole)) assert.ok(exposed.split(', ').includes(`x-ratelimit-${name}`), exposed);

    const stream = await ask('shown', echo('one two three', {stream: true}));
    assert.ok(['994', '988'].includes(limits(stream)['remaining-tokens'])); // it need not know its own yet
    checkStream(await stream.text());
    const failed = await ask('shown', echo('!error unavailable'));
    assert.deepEqual([failed.status, limits(failed)['remaining-tokens']], [502, '988']);
    await failed.arrayBuffer();
    for (const body of ['{', {model: 'nobody', ...user('x')}]) {
      const refused = await ask('shown', body);
      assert.ok([400, 404].includes(refused.status));
      assert.equal(limits(refused)['limit-requests'], '20');
      await refused.arrayBuffer();
    }
    assert.deepEqual(limits((await good('plain', echo('x'))).response), {});
    assert.deepEqual(limits((await good('two', echo('x'))).response), {});
  });

  it('lists of models and /health are free', async () => {
    for (let i = 0; i < 10; i++) {
      for (const path of ['/models', '/models/demo%2Fecho', '/health']) {
        const response = await fetch(gateway.base + path, {headers: {authorization: 'Bearer sk-free'}});
        assert.equal(response.status, 200);
        assert.deepEqual(limits(response), {});
        await response.arrayBuffer();
      }
    }
    assert.equal(limits((await good('free', echo('x'))).response)['remaining-requests'], '2');
  });

  it('max_concurrent: so many slow answers, no more; a place is free as soon as one ends', async () => {
    const slow = (leave) => ask('two', {model: 'demo/slow', stream: true, ...user(`40 ${'word '.repeat(200)}`)}, {signal: leave.signal});
    const leaves = [new AbortController(), new AbortController()];
    const open = await Promise.all(leaves.map(slow)); // their heads come with the first word
    const {error} = await checkError(await ask('two', echo('x')), {...LIMITED, retryAfter: 1});
    assert.equal(error.message, 'the key "two" has 2 unfinished requests, as many as it may (max_concurrent); free again when one of them ends: ask again in 1s');
    await good('plain', echo('x'));

    const from = gateway.stderr.length;
    leaves[0].abort();
    await assert.rejects(open[0].text());
    await gateway.logged(/key=two .*end=cancelled/, {from});
    await good('two', echo('x'));
    leaves[1].abort();
    await assert.rejects(open[1].text());
  });

  it('however an answer ends, its place is free for the next request', async () => {
    for (let i = 0; i < 20; i++) await good('one', echo('x'));
    for (let i = 0; i < 5; i++) {
      checkStream(await (await ask('one', echo('x', {stream: true}))).text());
      checkBrokenStream(await (await ask('one', echo('!cut after 2 words', {stream: true}))).text());
      for (const body of [echo('!error credential'), echo('!cut after 2 words'), {model: 'nobody', ...user('x')}, '{', echo('x', {n: 3})]) {
        const response = await ask('one', body);
        assert.notEqual(response.status, 429);
        await response.arrayBuffer();
      }
    }
  });

  it('also for one that was sent before the answer had ended', async () => {
    const wire = await Wire.open(gateway.port);
    const headers = {Authorization: 'Bearer sk-one', 'Content-Type': 'application/json'};
    wire.write(request('POST', '/v1/chat/completions', headers, JSON.stringify(echo('x'))).repeat(5));
    for (let i = 0; i < 5; i++) assert.equal((await wire.answer()).status, 200);
    wire.close();
  });

  daily('requests_per_day', async () => {
    for (const left of ['1', '0']) assert.equal(limits((await good('requests', echo('x'))).response)['remaining-requests'], left);
    const refusal = await ask('requests', echo('x'));
    const told = limits(refusal), wait = Number(refusal.headers.get('retry-after'));
    isMidnight(wait);
    isMidnight(seconds(told['reset-requests']));
    const {error} = await checkError(refusal, {...LIMITED, retryAfter: wait});
    assert.match(error.message, /^the key "requests" has used up its 2 requests of today \(requests_per_day\); free again at 00:00 UTC, in [\dhms]+$/);
  });

  daily('tokens_per_day: the answer that uses them up is the last', async () => {
    assert.equal(limits((await good('tokens', echo('one two three'))).response)['remaining-tokens'], '4');
    const last = await good('tokens', echo('one two three'));
    assert.equal(last.answer.usage.total_tokens, 6);
    assert.equal(limits(last.response)['remaining-tokens'], '0');
    const refusal = await ask('tokens', echo('x'));
    isMidnight(Number(refusal.headers.get('retry-after')));
    assert.match((await checkError(refusal, LIMITED)).error.message, /its 10 tokens of today \(tokens_per_day\)/);
  });

  daily('leaving before the end does not save tokens', async () => {
    const leave = new AbortController(), from = gateway.stderr.length;
    const stream = await ask('left', {model: 'demo/slow', stream: true, ...user(`20 ${'word '.repeat(300)}`)}, {signal: leave.signal});
    let text = '';
    for await (const piece of stream.body.pipeThrough(new TextDecoderStream())) {
      text += piece;
      if (text.match(/word/g)?.length >= 5) break;
    }
    leave.abort();
    await gateway.logged(/key=left .*end=cancelled/, {from});
    const left = Number(limits((await good('left', echo('x'))).response)['remaining-tokens']);
    assert.ok(left < 1000 - 2 - 300, `${left} are left`); // the prompt, the words that came, and one word there and back
    assert.ok(left > 300, `${left} are left`);
  });

  daily('nor does an answer that breaks off, or that never began', async () => {
    const stream = await ask('cut', echo('!cut after 3 words', {stream: true}));
    checkBrokenStream(await stream.text());
    const spent = 1000 - Number(limits((await good('cut', echo('x'))).response)['remaining-tokens']) - 2;
    assert.ok(spent >= 4, `${spent} tokens`);
    await (await ask('cut', echo('!error unavailable'))).arrayBuffer();
    assert.equal(1000 - Number(limits((await good('cut', echo('x'))).response)['remaining-tokens']), spent + 4);
  });

  it('a key that has expired', async () => {
    const client = new OpenAI({apiKey: 'sk-past', baseURL: gateway.base, maxRetries: 0});
    const expired = (e) => e instanceof OpenAI.AuthenticationError && e.code === 'invalid_api_key' &&
      e.message.includes('the key "past" has expired: it was good until 2020-01-01 00:00:00 UTC ("expires" in gateway.toml)');
    await assert.rejects(client.chat.completions.create(echo('x')), expired);
    await assert.rejects(client.models.list(), expired);
    await good('future', echo('x'));
  });
});

it('a reload keeps what was used', {timeout: 60000}, async () => {
  const config = (rpm) => ({sites: [DEMO], keys: [{name: 'k', key: 'sk-k', rpm}]});
  const gateway = await startGateway(config(10));
  const ask = () => chat(gateway.base, echo('x'), {headers: {authorization: 'Bearer sk-k'}});
  const reload = async (to) => {
    const from = gateway.stderr.length;
    gateway.write(to);
    gateway.signal('SIGHUP');
    await gateway.logged(/configuration reloaded/, {from});
  };
  try {
    for (let i = 0; i < 9; i++) assert.equal((await ask()).status, 200);
    await reload(config(8));
    const refusal = await ask();
    assert.equal(refusal.status, 429);
    assert.equal(limits(refusal)['limit-requests'], '8');
    await reload({sites: [DEMO], keys: [{name: 'k', key: 'sk-k'}]});
    for (let i = 0; i < 20; i++) assert.equal((await ask()).status, 200);
    assert.doesNotMatch(gateway.stderr, /later version/);
  } finally {
    await gateway.stop();
  }
});

describe('a key that is tied to accounts', {timeout: 60000}, () => {
  let site, gateway;
  const client = (name, more = {}) => new OpenAI({apiKey: `sk-${name}`, baseURL: gateway.base, maxRetries: 0, ...more});
  const ask = (name, model, content = 'x') => client(name).chat.completions.create({model, ...user(content)});
  const askedWith = (n) => site.chatRequests().slice(-n).map((r) => r.headers.authorization.slice(7));
  before(async () => {
    site = await new OpenAiSite({keys: ['sk-a', 'sk-b']}).start();
    const up = {adapter: 'openai', ...site.config({base_url: `${site.origin}/v1`, models: ['gpt-test'], max_concurrent: 4})};
    gateway = await startGateway({
      sites: [DEMO,
        {name: 'up', ...up, accounts: [{name: 'a', api_key: 'sk-a'}, {name: 'b', api_key: 'sk-b'}]},
        {name: 'other', ...up, models: ['gpt-other'], accounts: [{name: 'a', api_key: 'sk-a'}]}],
      keys: [key('a', {accounts: ['up/a']}), key('b', {accounts: ['up/b']}), key('all'), key('demo', {accounts: ['demo/default']})],
      models: [{id: 'either', targets: ['other/gpt-other', 'up/gpt-test']}, {id: 'first', targets: ['demo/echo', 'up/gpt-test']}, {id: 'never', targets: ['demo/echo', 'other/gpt-other']}],
    });
  });
  after(async () => {
    await gateway?.stop();
    await site?.stop();
  });
  afterEach(() => assert.deepEqual([site.violations, site.plans], [[], []]));

  it('is served by them alone', async () => {
    for (let i = 0; i < 6; i++) await ask('b', 'up/gpt-test');
    assert.deepEqual(askedWith(6), Array(6).fill('sk-b'));
    for (let i = 0; i < 4; i++) await ask('all', 'up/gpt-test', `question ${i}`); // one conversation would stay with one account
    assert.deepEqual(askedWith(4).sort(), ['sk-a', 'sk-a', 'sk-b', 'sk-b']);
    await Promise.all(Array.from({length: 12}, () => ask('b', 'up/gpt-test'))); // more than it serves at once: they wait for it
    assert.deepEqual(askedWith(12), Array(12).fill('sk-b'));
  });

  it('has only their models', async () => {
    const ids = async (name) => (await client(name).models.list()).data.map((m) => m.id).sort();
    assert.deepEqual(await ids('b'), ['either', 'first', 'gpt-test']);
    assert.deepEqual(await ids('demo'), ['demo/echo', 'demo/reasoner', 'demo/slow', 'demo/tools', 'first', 'never']);
    assert.deepEqual(await ids('all'), ['demo/echo', 'demo/reasoner', 'demo/slow', 'demo/tools', 'either', 'first', 'gpt-other', 'gpt-test', 'never']);
    for (const id of ['gpt-test', 'up/gpt-test', 'first']) assert.equal((await client('b').models.retrieve(id)).id, id);
    for (const id of ['demo/echo', 'gpt-other', 'never']) {
      await assert.rejects(client('b').models.retrieve(id), (e) => e instanceof OpenAI.PermissionDeniedError && e.code === 'model_not_allowed');
    }
  });

  it('is refused what they do not serve, and says so', async () => {
    const from = site.chatRequests().length;
    for (const model of ['demo/echo', 'gpt-other', 'other/gpt-other', 'never']) {
      await assert.rejects(ask('b', model), (e) => {
        assert.ok(e instanceof OpenAI.PermissionDeniedError);
        assert.deepEqual([e.status, e.type, e.code, e.param], [403, 'permission_error', 'model_not_allowed', 'model']);
        assert.ok(e.message.endsWith(`none of the accounts that the key "b" is tied to ("accounts" in gateway.toml) serves the model "${model}"`), e.message);
        return true;
      });
    }
    assert.equal(site.chatRequests().length, from);
  });

  it('of several targets, those that it opens', async () => {
    await ask('b', 'first');
    assert.deepEqual(askedWith(1), ['sk-b']);
    await ask('demo', 'first');
    await gateway.logged(/key=demo model=first site=demo account=default/);
  });

  it('while its account rests, no other is asked for it, and it is told when its own is ready', async () => {
    const limited = (wait) => ({status: 429, json: {error: {message: 'slow down'}}, headers: {'retry-after': String(wait)}});
    const from = site.chatRequests().length;
    const rests = (name, model, most) => assert.rejects(ask(name, model), (e) => {
      const wait = Number(e.headers.get('retry-after'));
      assert.equal(e.code, 'upstream_rate_limited');
      return wait > most - 5 && wait <= most;
    });
    site.next(limited(90));
    await rests('b', 'up/gpt-test', 90);
    await rests('b', 'up/gpt-test', 90); // without asking
    await ask('all', 'up/gpt-test');
    assert.deepEqual(askedWith(1), ['sk-a']);
    site.next(limited(40), limited(20));
    await rests('a', 'up/gpt-test', 40);
    await rests('all', 'gpt-other', 20);
    assert.equal(site.chatRequests().length, from + 4);
    await rests('b', 'either', 90); // earlier ones are not for it
    await rests('all', 'either', 20);
  });
});

it('check prints the limits', async () => {
  const text = `[[keys]]\nname = "k"\nkey = "sk-k"\nrpm = 7\nmax_concurrent = 2\nrequests_per_day = 100\ntokens_per_day = 5000\n` +
    `expires = 2030-06-30\naccounts = ["demo/default"]\n[[keys]]\nkey = "sk-other"\n[[sites]]\nname = "demo"\nadapter = "demo"\n`;
  const gateway = await startGateway({text: `[server]\nlisten = ["127.0.0.1:0"]\n${text}`});
  try {
    const {code, stdout, stderr} = await run(['check', '-c', gateway.file]);
    assert.equal(code, 0, stderr);
    for (const line of ['rpm = 7', 'max_concurrent = 2', 'requests_per_day = 100', 'tokens_per_day = 5000', 'expires = 2030-06-30', 'accounts = ["demo/default"]', 'expires = never', 'rpm = 0']) {
      assert.ok(stdout.split('\n').includes(line), `${line} is not in\n${stdout}`);
    }
    assert.doesNotMatch(stdout + stderr, /later/);
  } finally {
    await gateway.stop();
  }
});
