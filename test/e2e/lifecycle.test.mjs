// The program's life: command line, start, reload, stop.
import assert from 'node:assert/strict';
import {chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {after, before, describe, it} from 'node:test';
import {Gateway, configText, run, startDemo, startGateway} from './lib/gateway.mjs';
import {Wire, chat, checkBrokenStream, checkStream, request, user} from './lib/http.mjs';

const demo = {name: 'demo', adapter: 'demo'};

describe('the command line', () => {
  let directory;
  before(() => (directory = mkdtempSync(join(tmpdir(), 'dragoman-cli-'))));
  after(() => rmSync(directory, {recursive: true, force: true}));
  const file = (config, name = 'gateway.toml') => {
    const path = join(directory, name);
    writeFileSync(path, typeof config === 'string' ? config : configText(config), {mode: 0o600});
    return path;
  };

  it('tells its version and its usage', async () => {
    const version = await run(['--version']);
    assert.equal(version.code, 0);
    assert.match(version.stdout, /^dragoman \d+\.\d+\.\d+\n/);
    const help = await run(['--help']);
    assert.equal(help.code, 0);
    for (const word of ['serve', 'demo', 'check', 'models', '-c FILE']) assert.ok(help.stdout.includes(word), word);
  });

  it('exits with 2 on wrong usage', async () => {
    for (const args of [['--nonsense'], ['fly'], ['serve', 'serve'], ['serve', '-c'], ['serve', '-c', '/nonexistent/gateway.toml']]) {
      const {code, stderr} = await run(args, {cwd: directory});
      assert.equal(code, 2, args.join(' '));
      assert.match(stderr, /\S/);
    }
  });

  it('names the place and the nearest key of a mistake', async () => {
    const path = file('[server]\nlisten = ["127.0.0.1:0"]\nmax_boddy = 1\n');
    for (const command of ['check', 'serve', 'models']) {
      const {code, stderr} = await run([command, '-c', path]);
      assert.equal(code, 2);
      assert.match(stderr, /gateway\.toml:3:\d+/);
      assert.match(stderr, /max_body/);
    }
  });

  it('checks, and masks the secrets', async () => {
    const secret = 'sk-very-secret-value-0123456789';
    const path = file({keys: [{name: 'cherry', key: secret}], sites: [demo, {name: 'up', adapter: 'openai', accounts: [{name: 'a', api_key: `${secret}-up`}]}],
      models: [{id: 'gpt-4o', targets: ['demo/echo', 'up/gpt-4o']}]});
    const {code, stdout, stderr} = await run(['check', '-c', path]);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /cherry/);
    assert.doesNotMatch(stdout + stderr, /very-secret/);
  });

  it('lists models with their targets', async () => {
    const path = file({sites: [demo], models: [{id: 'gpt-4o', targets: ['demo/echo']}]});
    const {code, stdout} = await run(['models', '-c', path]);
    assert.equal(code, 0);
    assert.match(stdout, /^gpt-4o -> demo\/echo$/m);
  });

  it('finds its configuration: $DRAGOMAN_CONFIG, then ./gateway.toml, then the home folder', async () => {
    const name = async (env, cwd) => /named-\w+/.exec((await run(['models'], {env, cwd})).stdout)?.[0];
    const named = (id) => ({sites: [demo], models: [{id: `named-${id}`, targets: ['demo/echo']}]});
    const here = mkdtempSync(join(directory, 'here-')), home = mkdtempSync(join(directory, 'home-')), bare = mkdtempSync(join(directory, 'bare-'));
    mkdirSync(join(home, '.config/dragoman'), {recursive: true});
    writeFileSync(join(here, 'gateway.toml'), configText(named('here')), {mode: 0o600});
    writeFileSync(join(home, '.config/dragoman/gateway.toml'), configText(named('home')), {mode: 0o600});
    const path = file(named('env'), 'env.toml');
    assert.equal(await name({DRAGOMAN_CONFIG: path, HOME: home}, here), 'named-env');
    assert.equal(await name({HOME: home}, here), 'named-here');
    assert.equal(await name({HOME: home}, bare), 'named-home');
  });

  it('expands variables and reads secrets from the environment and from files', async () => {
    writeFileSync(join(directory, 'key.txt'), 'sk-from-a-file-0123456789\n', {mode: 0o600});
    const gateway = new Gateway({sites: [demo], keys: [{name: 'env', key_env: 'MY_KEY'}, {name: 'file', key_file: join(directory, 'key.txt')}, {name: 'text', key: '${PART}-in-a-text'}]},
      {env: {MY_KEY: 'sk-from-the-environment', PART: 'sk-expanded'}});
    await gateway.start();
    try {
      for (const key of ['sk-from-the-environment', 'sk-from-a-file-0123456789', 'sk-expanded-in-a-text']) {
        assert.equal((await fetch(`${gateway.base}/models`, {headers: {authorization: `Bearer ${key}`}})).status, 200, key);
      }
    } finally {
      await gateway.stop();
    }
  });

  it('warns about a configuration that others can read', async () => {
    const path = file({keys: [{name: 'k', key: 'sk-0123456789abcdef'}], sites: [demo]}, 'open.toml');
    chmodSync(path, 0o644);
    const {stdout, stderr} = await run(['check', '-c', path]);
    assert.match(stdout + stderr, /open\.toml/);
    assert.match(stdout + stderr, /chmod|readable|others/i);
  });
});

describe('serving', () => {
  it('`dragoman demo` needs no configuration and no network', {timeout: 30000}, async () => {
    // It listens on the default address, which may be taken on this machine: then it has to say so and end with 1.
    const gateway = new Gateway(null, {args: ['demo']});
    try {
      await gateway.start();
    } catch (error) {
      assert.match(error.message, /ended \(1\)/);
      assert.match(error.message, /8080/);
      gateway.child = null;
      return;
    }
    try {
      const answer = await (await chat(gateway.base, {model: 'demo/echo', ...user('hello')})).json();
      assert.equal(answer.choices[0].message.content, 'hello');
    } finally {
      await gateway.stop();
    }
  });

  it('says in one line where it is', async () => {
    const gateway = await startDemo();
    assert.match(gateway.stdout, /^[^\n]*http:\/\/127\.0\.0\.1:\d+\/v1[^\n]*\n$/);
    await gateway.stop();
  });

  it('ends with 1 when the port is taken, and names it', async () => {
    const first = await startDemo();
    try {
      const second = new Gateway({server: {listen: [`127.0.0.1:${first.port}`]}, sites: [demo]});
      await assert.rejects(second.start(), (e) => e.message.includes('(1)') && e.message.includes(String(first.port)));
      rmSync(second.directory, {recursive: true, force: true});
    } finally {
      await first.stop();
    }
  });

  it('listens on several addresses, v6 among them', async (t) => {
    const gateway = new Gateway({server: {listen: ['127.0.0.1:0', '[::1]:0']}, sites: [demo]});
    try {
      await gateway.start();
    } catch (error) {
      if (/address not available|EADDRNOTAVAIL|::1/.test(error.message)) return t.skip('no IPv6 here');
      throw error;
    }
    const [, v6] = /(http:\/\/\[::1\]:\d+)\/v1/.exec(gateway.stdout);
    assert.equal((await fetch(`${v6}/health`)).status, 200);
    await gateway.stop();
  });

  it('keeps its data to itself', async () => {
    const gateway = await startDemo();
    const data = join(gateway.directory, 'data');
    if (existsSync(data)) assert.equal(statSync(data).mode & 0o077, 0);
    await gateway.stop();
  });
});

describe('SIGHUP', () => {
  let gateway;
  before(async () => (gateway = await startDemo()));
  after(() => gateway?.stop());
  const ids = async () => (await (await fetch(`${gateway.base}/models`)).json()).data.map((m) => m.id);

  it('takes a good configuration, without dropping a stream', async () => {
    const response = await chat(gateway.base, {model: 'demo/slow', stream: true, ...user('40 one two three four five six seven')});
    const from = gateway.stderr.length;
    gateway.write({sites: [demo], models: [{id: 'new-name', targets: ['demo/echo']}]});
    gateway.signal('SIGHUP');
    await gateway.logged(/reloaded/, {from});
    assert.ok((await ids()).includes('new-name'));
    assert.equal((await (await chat(gateway.base, {model: 'new-name', ...user('x')})).json()).model, 'new-name');
    assert.equal(checkStream(await response.text()).content, '40 one two three four five six seven');
  });

  it('says where it listens, when that has changed', async () => {
    const from = gateway.stderr.length;
    for (const [times, listen] of [[1, ['127.0.0.1:0']], [2, ['127.0.0.1:0', '127.0.0.2:0']]]) {
      gateway.write({server: {listen}, sites: [demo], models: [{id: 'new-name', targets: ['demo/echo']}]});
      gateway.signal('SIGHUP');
      await gateway.logged(new RegExp(`(configuration reloaded[^]*){${times}}`), {from});
    }
    const [, first, second] = await gateway.logged(/the addresses are now: (\S+) and (\S+)/, {from});
    assert.equal(first, gateway.base);
    assert.equal((await fetch(`${second}/models`)).status, 200);
    assert.equal(gateway.stderr.slice(from).split('the addresses are now').length, 2, 'once');
  });

  it('reports a bad one and keeps the old', async () => {
    const from = gateway.stderr.length;
    writeFileSync(gateway.file, '[server]\nlisten = ["127.0.0.1:0"]\n[[sites]]\nname = "demo"\nadapter = "demmo"\n');
    gateway.signal('SIGHUP');
    await gateway.logged(/stays in force/, {from});
    assert.match(gateway.stderr.slice(from), /gateway\.toml:\d+:\d+/);
    assert.ok((await ids()).includes('new-name'));
  });

  it('changes keys from one request to the next', async () => {
    const from = gateway.stderr.length;
    gateway.write({sites: [demo], keys: [{name: 'k', key: 'sk-now-there-is-a-key'}]});
    gateway.signal('SIGHUP');
    await gateway.logged(/reloaded/, {from});
    assert.equal((await fetch(`${gateway.base}/models`)).status, 401);
    assert.equal((await fetch(`${gateway.base}/models`, {headers: {authorization: 'Bearer sk-now-there-is-a-key'}})).status, 200);
  });
});

describe('stopping', () => {
  for (const signal of ['SIGTERM', 'SIGINT']) {
    it(`${signal}: streams end, new connections are refused, exit code 0`, async () => {
      const gateway = await startDemo();
      const response = await chat(gateway.base, {model: 'demo/slow', stream: true, ...user('60 one two three four five six')});
      const idle = await Wire.open(gateway.port);
      gateway.signal(signal);
      await gateway.logged(/stopping/);
      await assert.rejects(Wire.open(gateway.port));
      assert.equal(checkStream(await response.text()).content, '60 one two three four five six');
      const from = Date.now();
      assert.equal(await gateway.exit(), 0);
      assert.ok(Date.now() - from < 3000, 'an idle connection held it up');
      idle.close();
      rmSync(gateway.directory, {recursive: true, force: true});
    });
  }

  it('a second SIGTERM ends streams at once, with an error event', async () => {
    const gateway = await startDemo();
    const response = await chat(gateway.base, {model: 'demo/slow', stream: true, ...user('100 ' + 'word '.repeat(500))});
    const text = response.text().catch((e) => e);
    gateway.signal('SIGTERM');
    await gateway.logged(/stopping/);
    gateway.signal('SIGTERM');
    assert.equal(await gateway.exit(), 0);
    const got = await text;
    if (typeof got === 'string') assert.equal(checkBrokenStream(got).error.code, 'overloaded');
    rmSync(gateway.directory, {recursive: true, force: true});
  });

  it('requests on open connections get 503 while stopping', async () => {
    const gateway = await startDemo();
    const slow = await chat(gateway.base, {model: 'demo/slow', stream: true, ...user('80 a b c d e f g')});
    const wire = await Wire.open(gateway.port);
    wire.write(request('GET', '/health'));
    await wire.answer();
    gateway.signal('SIGTERM');
    await gateway.logged(/stopping/);
    wire.write(request('GET', '/v1/models'));
    await wire.until((t) => t.includes('\r\n\r\n'), 3000);
    if (wire.got.length) { // or the connection was closed, as idle ones are
      const answer = await wire.answer();
      assert.deepEqual([answer.status, JSON.parse(answer.body).error.code], [503, 'overloaded']);
      assert.ok(Number(answer.headers['retry-after']) > 0);
    }
    await slow.text();
    assert.equal(await gateway.exit(), 0);
    rmSync(gateway.directory, {recursive: true, force: true});
  });
});

describe('the access log', () => {
  it('names one end for every exchange', async () => {
    const gateway = await startDemo();
    const ends = [['complete', 'hello'], ['failed', '!error unavailable'], ['cut', '!cut']];
    for (const [end, text] of ends) {
      const from = gateway.stderr.length;
      await (await chat(gateway.base, {model: 'demo/echo', stream: true, ...user(text)})).text();
      await gateway.logged(new RegExp(`end=${end}`), {from});
    }
    const from = gateway.stderr.length;
    await (await chat(gateway.base, {model: 'nothing', ...user('x')})).text();
    await gateway.logged(/end=refused/, {from});
    await gateway.stop();
  });

  it('carries the id of the answer', async () => {
    const gateway = await startDemo();
    const response = await chat(gateway.base, {model: 'demo/echo', ...user('x')});
    await response.text();
    await gateway.logged(new RegExp(response.headers.get('x-request-id')));
    await gateway.stop();
  });

  it('holds nothing of what was said', async () => {
    const gateway = await startDemo();
    await (await chat(gateway.base, {model: 'demo/echo', ...user('a-very-private-thought')})).text();
    await gateway.logged(/end=complete/);
    assert.doesNotMatch(gateway.stderr, /private-thought/);
    await gateway.stop();
  });
});
