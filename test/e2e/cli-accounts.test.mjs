// dragoman accounts and keys: what a person sees, of a running gateway and of none.
import assert from 'node:assert/strict';
import {once} from 'node:events';
import {rmSync, statSync, writeFileSync} from 'node:fs';
import {connect} from 'node:net';
import {join} from 'node:path';
import {afterEach, describe, it} from 'node:test';
import {OpenAiSite} from '../sites/openai.mjs';
import {Gateway, run, startGateway} from './lib/gateway.mjs';
import {chat, checkError, user} from './lib/http.mjs';

const running = [];
afterEach(async () => {
  for (const thing of running.splice(0).reverse()) await thing.stop();
});

const names = ['tired', 'dead', 'good', 'checked'];
async function serve() {
  const site = await new OpenAiSite({keys: names.map((name) => `sk-${name}-0123456789`)}).start();
  running.push(site);
  const gateway = await startGateway({sites: names.map((name) => ({name, adapter: 'openai', limits: name === 'tired' ? 'model' : 'account', ...site.config({accounts: [{name: 'main', api_key: `sk-${name}-0123456789`}]})}))});
  running.push(gateway);
  const accounts = (...words) => run(['accounts', '-c', gateway.file, ...words]);
  const states = async () => Object.fromEntries(JSON.parse((await accounts('--json')).stdout).accounts.map((a) => [a.site, a]));
  return {site, gateway, accounts, states, ask: (model) => chat(gateway.base, {model, ...user('x')})};
}

describe('dragoman accounts', () => {
  it('tells each state, in words and as JSON', async () => {
    const {site, gateway, accounts, states, ask} = await serve();
    site.plans.push({status: 429, json: {error: {message: 'slow down'}}, headers: {'retry-after': '300'}});
    await (await ask('tired/m')).text();
    site.plans.push({status: 401, json: {error: {message: 'key sk-dead-0123456789 was revoked'}}});
    await (await ask('dead/m')).text();
    site.plans.push(function (r, res) {
      res.writeHead(403, {'content-type': 'text/html'});
      res.end('<!doctype html><title>Just a moment...</title>');
    });
    await (await ask('checked/m')).text();
    await (await ask('good/m')).text();

    const all = await states();
    assert.deepEqual(names.map((name) => all[name].state), ['ready', 'expired', 'ready', 'challenged']);
    const [{model, until}] = all.tired.models;
    assert.equal(model, 'm');
    assert.ok(Math.abs(until - Date.now() / 1000 - 300) < 5, `${until}`);
    assert.deepEqual([all.good.requests_today, all.good.requests, all.good.failures, all.good.last_error], [1, 1, 0, null]);
    assert.match(all.dead.last_error, /refuses the credential/);

    const {code, stdout} = await accounts();
    assert.equal(code, 0);
    const lines = stdout.trim().split('\n');
    assert.match(lines[0], /^SITE +ACCOUNT +STATE +UNTIL +IN FLIGHT +TODAY +FAILURES +LAST ERROR$/);
    assert.match(stdout, /^tired +main +ready/m);
    assert.match(stdout, /^ +m +cooling +\d\d:\d\d:\d\d \(in 5 min\)/m);
    assert.match(stdout, /^dead +main +expired .*refuses the credential/m);
    assert.match(stdout, /^checked +main +challenged/m);
    assert.match(stdout, /^good +main +ready +- +0 +1 +0$/m);

    const log = gateway.stderr.split('\n').filter((line) => / account /.test(line)).map((line) => line.replace(/^\S+ \S+ /, ''));
    assert.equal(log.length, 3, log.join('\n'));
    assert.match(log[0], /^info  account tired\/main rests for 300 s for m: tired limits the rate/);
    assert.match(log[1], /^warn  account dead\/main is expired: dead refuses the credential/);
    assert.match(log[2], /^warn  account checked\/main is challenged: /);
    await (await ask('dead/m')).text(); // it is good after all
    await gateway.logged(/info {2}account dead\/main is ready again/);
    assert.doesNotMatch(stdout + gateway.stderr, /sk-\w+-0123456789/);
  });

  it('clear ends a cool-down', async () => {
    const {site, accounts, states, ask} = await serve();
    site.plans.push({status: 429, json: {error: {message: 'slow down'}}, headers: {'retry-after': '300'}});
    await (await ask('tired/m')).text();
    await checkError(await ask('tired/m'), {status: 429, type: 'rate_limit_error', code: 'upstream_rate_limited'});
    const cleared = await accounts('clear', 'tired/main');
    assert.deepEqual([cleared.code, cleared.stdout], [0, 'tired/main is ready\n']);
    assert.deepEqual((await states()).tired.models, []);
    assert.equal((await ask('tired/m')).status, 200);
    for (const name of ['nobody/main', 'tired', 'tired/']) {
      const {code, stderr} = await accounts('clear', name);
      assert.equal(code, 1);
      assert.match(stderr, /there is no account/);
    }
  });

  it('counts what is at work', async () => {
    const {site, states, ask} = await serve();
    let go;
    const begun = new Promise((resolve) => site.plans.push(function (r, res) {
      go = () => this.json(res, 200, {choices: [{index: 0, message: {role: 'assistant', content: 'x'}, finish_reason: 'stop'}]});
      resolve();
    }));
    const answer = ask('good/m');
    await begun;
    assert.equal((await states()).good.in_flight, 1);
    go();
    await (await answer).text();
    assert.equal((await states()).good.in_flight, 0);
  });

  it('the socket is for its owner alone, and goes with the gateway', async () => {
    const {gateway} = await serve();
    const socket = join(gateway.directory, 'data/control.sock');
    assert.equal(statSync(socket).mode & 0o777, 0o600);
    gateway.signal('SIGTERM');
    await gateway.exit();
    assert.throws(() => statSync(socket));
  });

  it('is not held up by those who connect and say nothing, or take no answer', async () => {
    const {gateway, accounts} = await serve();
    const callers = [];
    for (let i = 0; i < 40;) {
      const caller = connect(join(gateway.directory, 'data/control.sock'));
      caller.on('error', () => {});
      try {
        await once(caller, 'connect');
      } catch (error) {
        assert.equal(error.code, 'EAGAIN'); // more than the gateway has looked at so far
        continue;
      }
      callers.push(caller);
      if (i++ % 2) caller.pause().write('accounts\n');
    }
    const {code, stdout} = await accounts();
    for (const caller of callers) caller.destroy();
    assert.equal(code, 0);
    assert.match(stdout, /^good +main +ready/m);
  });

  it('a killed gateway leaves nothing in the way of the next', async () => {
    const {gateway, accounts} = await serve();
    gateway.signal('SIGKILL');
    await gateway.closed;
    const alone = await accounts();
    assert.match(alone.stdout, /^good +main +ready/m);
    assert.match(alone.stderr, /no gateway runs/);
    const next = await new Gateway(null, {args: ['serve', '-c', gateway.file]}).start();
    try {
      assert.match((await accounts()).stdout, /^good +main +ready/m);
    } finally {
      await next.stop();
      running.splice(running.indexOf(gateway), 1);
    }
  });
});

describe('dragoman accounts without a gateway', () => {
  it('tells what the last one wrote down, and clear forgets it', async () => {
    const {site, gateway, accounts, states, ask} = await serve();
    for (const model of ['tired/m', 'good/m']) {
      site.plans.push({status: 429, json: {error: {message: 'slow down'}}, headers: {'retry-after': '300'}});
      await (await ask(model)).text();
    }
    gateway.signal('SIGTERM');
    assert.equal(await gateway.exit(), 0);

    const table = await accounts();
    assert.equal(table.code, 0);
    assert.match(table.stdout, /^good +main +cooling +\d\d:\d\d:\d\d \(in \d min\) +0 +1 +0 +good limits the rate/m);
    assert.match(table.stdout, /^ +m +cooling/m);
    assert.match(table.stderr, /no gateway runs/);
    const json = (await accounts('--json')).stdout;
    assert.match(json, /^\{"running":false,.*\}\n$/);
    assert.deepEqual(JSON.parse(json).accounts.map((a) => [a.state, a.requests_today]), [['ready', 1], ['ready', 0], ['cooling', 1], ['ready', 0]]);

    for (const name of ['tired/main', 'good/main']) assert.deepEqual(await accounts('clear', name), {code: 0, stdout: `${name} is ready\n`, stderr: ''});
    const nobody = await accounts('clear', 'nobody/main');
    assert.deepEqual([nobody.code, nobody.stderr], [1, 'dragoman: there is no account nobody/main\n']);
    assert.deepEqual([(await states()).good.state, (await states()).tired.models], ['ready', []]);

    const next = await new Gateway(null, {args: ['serve', '-c', gateway.file]}).start();
    running.push(next);
    for (const model of ['tired/m', 'good/m']) assert.equal((await chat(next.base, {model, ...user('x')})).status, 200);
  });

  it('makes no file, and says why it cannot read one', async () => {
    const {gateway, accounts, states} = await serve();
    gateway.signal('SIGTERM');
    assert.equal(await gateway.exit(), 0);
    const data = join(gateway.directory, 'data');
    writeFileSync(join(data, 'dragoman.db'), 'this is no database of anybody'.repeat(40));
    const {code, stdout, stderr} = await accounts();
    assert.deepEqual([code, (await accounts('clear', 'good/main')).code], [0, 1]);
    assert.match(stdout, /^good +main +not known/m);
    assert.match(stderr, /what was stored is not shown: .*damaged/);
    rmSync(data, {recursive: true});
    assert.equal((await states()).good.state, 'ready');
    assert.equal((await accounts('clear', 'good/main')).code, 0);
    assert.throws(() => statSync(data));
  });
});

describe('a restart', () => {
  for (const signal of ['SIGTERM', 'SIGKILL']) {
    it(`loses no state of an account and no count of a key (${signal})`, async () => {
      const site = await new OpenAiSite({keys: names.map((name) => `sk-${name}-0123456789`)}).start();
      running.push(site);
      const gateway = await startGateway({keys: [{name: 'few', key: 'sk-few', requests_per_day: 5}],
        sites: names.map((name) => ({name, adapter: 'openai', limits: name === 'tired' ? 'model' : 'account', ...site.config({accounts: [{name: 'main', api_key: `sk-${name}-0123456789`}]})}))});
      const ask = (base, model) => chat(base, {model, ...user('x')}, {headers: {authorization: 'Bearer sk-few'}});
      site.plans.push({status: 429, json: {error: {message: 'slow down'}}, headers: {'retry-after': '300'}});
      await (await ask(gateway.base, 'tired/m')).text();
      site.plans.push({status: 429, json: {error: {message: 'slow down'}}, headers: {'retry-after': '200'}});
      await (await ask(gateway.base, 'good/m')).text();
      site.plans.push({status: 401, json: {error: {message: 'revoked'}}});
      await (await ask(gateway.base, 'dead/m')).text();
      if (signal === 'SIGKILL') await new Promise((resolve) => setTimeout(resolve, 2500)); // counters may wait for a second
      gateway.signal(signal);
      await gateway.closed;
      const next = await new Gateway(null, {args: ['serve', '-c', gateway.file]}).start();
      try {
        const {stdout} = await run(['accounts', '--json', '-c', gateway.file]);
        const all = Object.fromEntries(JSON.parse(stdout).accounts.map((a) => [a.site, a]));
        assert.deepEqual(names.map((name) => all[name].state), ['ready', 'expired', 'cooling', 'ready']);
        assert.equal(all.tired.models[0].model, 'm');
        assert.deepEqual(names.map((name) => [all[name].requests_today, all[name].requests]), [[1, 0], [1, 0], [1, 0], [0, 0]]);
        const left = all.good.until - Date.now() / 1000;
        assert.ok(left > 180 && left <= 201, `${left} s`);
        assert.match(all.dead.last_error, /refuses the credential/);
        const sent = site.chatRequests().length;
        assert.equal((await ask(next.base, 'good/m')).status, 429); // it still rests, and is not asked
        assert.equal(site.chatRequests().length, sent);
        assert.equal((await ask(next.base, 'checked/m')).status, 200); // the fifth of the day
        await checkError(await ask(next.base, 'checked/m'), {status: 429, type: 'rate_limit_error', code: 'rate_limit_exceeded'});
      } finally {
        await next.stop();
        rmSync(gateway.directory, {recursive: true, force: true});
      }
    });
  }
});

describe('dragoman keys new', () => {
  it('makes a key that works, and shows it once', async () => {
    const {code, stdout} = await run(['keys', 'new', 'Cherry']);
    assert.equal(code, 0);
    const [, key] = /^(sk-dragoman-[a-z0-9]{40})\n/.exec(stdout);
    const [, hash] = /^key_sha256 = "([0-9a-f]{64})"$/m.exec(stdout);
    assert.equal(stdout.split(key).length, 2);
    const gateway = await startGateway({keys: [{name: 'Cherry', key_sha256: hash}], sites: [{name: 'demo', adapter: 'demo'}]});
    running.push(gateway);
    assert.equal((await fetch(`${gateway.base}/models`, {headers: {authorization: `Bearer ${key}`}})).status, 200);
    assert.equal((await fetch(`${gateway.base}/models`, {headers: {authorization: 'Bearer sk-other'}})).status, 401);
    assert.notEqual((await run(['keys', 'new', 'Cherry'])).stdout.slice(0, 50), stdout.slice(0, 50));
  });

  it('refuses what is no name, and says what is missing', async () => {
    for (const words of [['keys'], ['keys', 'new'], ['keys', 'old', 'x'], ['keys', 'new', 'a"b'], ['keys', 'new', ''], ['keys', 'new', 'a', 'b'], ['accounts', 'clear'], ['accounts', 'shut', 'a/b'], ['keys', '--json']]) {
      const {code, stderr} = await run(words);
      assert.equal(code, 2, words.join(' '));
      assert.match(stderr, /^dragoman: /);
    }
  });
});
