// dragoman replay: recorded answers through their adapters, from the tree and from captures of the running program.
import assert from 'node:assert/strict';
import {mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join, resolve} from 'node:path';
import {afterEach, describe, it} from 'node:test';
import {ChatGlm, SIGN_SECRET, event, finish, jwt, say, siteError} from '../sites/chatglm.mjs';
import {ClaudeWeb, key} from '../sites/claude_web.mjs';
import {OpenAiSite} from '../sites/openai.mjs';
import {root, run, startGateway} from './lib/gateway.mjs';
import {chat, user} from './lib/http.mjs';

const folder = join(root, 'test/transcripts');
const parse = (stdout) => stdout.trim().split('\n').map((line) => JSON.parse(line));
const textOf = (lines, kind) => lines.filter((l) => l.delta === kind && !l.choice).map((l) => l.text).join('');

describe('dragoman replay', {timeout: 300000}, () => {
  const running = [];
  let scratch;
  afterEach(async () => {
    for (const thing of running.splice(0).reverse()) await thing.stop();
    if (scratch) rmSync(scratch, {recursive: true});
    scratch = null;
  });
  const place = (files) => {
    scratch = mkdtempSync(join(tmpdir(), 'dragoman-replay-'));
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(join(scratch, name, '..'), {recursive: true});
      writeFileSync(join(scratch, name), typeof text === 'object' && !Buffer.isBuffer(text) ? JSON.stringify(text) : text);
    }
    return (name, ...words) => run(['replay', join(scratch, name), ...words]);
  };

  for (const site of readdirSync(folder)) {
    it(`every transcript of ${site} gives what is expected of it`, async () => {
      const files = readdirSync(join(folder, site)).filter((name) => !/\.expected\.json$|setup\.json$/.test(name));
      assert.ok(files.length > 0);
      for (const file of files) {
        const expected = JSON.parse(readFileSync(join(folder, site, file.replace(/\.\w+$/, '.expected.json')), 'utf8'));
        const {code, stdout, stderr} = await run(['replay', join(folder, site, file)]);
        assert.deepEqual([code, stderr], [0, ''], `${site}/${file}`);
        const lines = parse(stdout), end = lines.at(-1);
        if ('error' in expected) assert.equal(end.failure?.kind, expected.error?.kind, `${site}/${file}`);
        if (typeof expected.content === 'string') assert.equal(textOf(lines, 'text'), expected.content, `${site}/${file}`);
        if (typeof expected.reasoning_content === 'string') assert.equal(textOf(lines, 'reasoning'), expected.reasoning_content, `${site}/${file}`);
        if (expected.finish_reason) assert.equal(lines.find((l) => l.delta === 'finish' && !l.choice)?.text, expected.finish_reason, `${site}/${file}`);
      }
    });
  }

  it('cuts at every split when asked, and says how many', async () => {
    const file = join(folder, 'chatglm/same-fragments.sse');
    const {code, stdout} = await run(['replay', '--every-split', file]);
    const end = parse(stdout).at(-1);
    assert.deepEqual([code, end.splits, end.different], [0, readFileSync(file).length - 1, 0]);
    const kimi = parse((await run(['replay', join(folder, 'kimi/plain.bin'), '--every-split'])).stdout).at(-1);
    assert.deepEqual([kimi.end, kimi.different], ['complete', 0]);
  });

  it('a file alone needs the name of its adapter, or a folder of that name', async () => {
    const bytes = readFileSync(join(folder, 'openai/plain.sse'));
    const replay = place({'x.sse': bytes, 'openai/x.sse': bytes, 'odd/setup.json': {adapter: 'openai'}, 'odd/x.sse': bytes});
    const none = await replay('x.sse');
    assert.deepEqual([none.code, none.stdout], [2, '']);
    assert.match(none.stderr, /--adapter NAME/);
    const wrong = await replay('x.sse', '--adapter', 'nothing');
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /no such adapter/);
    assert.equal((await replay('x.sse', '--adapter', 'demo')).code, 2);
    const all = [await replay('x.sse', '--adapter=openai'), await replay('openai/x.sse'), await replay('odd/x.sse')];
    for (const {code, stdout} of all) assert.deepEqual([code, stdout], [0, all[0].stdout]);
  });

  it('says what is wrong: no file, no JSON, no such words, a request that nobody recorded', async () => {
    const replay = place({'a.sse': '', 'a.setup.json': '{', 'qwen/b.sse': 'data: {}\n\n', 'claude_web/c.sse': '', 'claude_web/c.setup.json': {steps: [{request: {method: 'POST', target: '/elsewhere'}}]},
      'openai/big.sse': 'x'.repeat(70000)});
    for (const [words, pattern, wanted] of [
      [['missing.sse'], /there is no file/, 1],
      [['a.sse', '--adapter', 'openai'], /is no JSON/, 1],
      [['claude_web/c.sse'], /asks for something that is not in the setup: \w+ \//, 1],
      [['openai/big.sse', '--every-split'], /too large for --every-split/, 1],
      [['claude_web/c.setup.json'], /is a setup: say which recording/, 1],
      [['a.sse', 'b.sse'], /one word too many/, 2],
      [['a.sse', '--odd'], /unknown option --odd/, 2],
      [['a.sse', '--adapter'], /no name after --adapter/, 2],
    ]) {
      const {code, stderr} = await replay(...words);
      assert.equal(code, wanted, words.join(' '));
      assert.match(stderr, pattern);
    }
    const {code, stderr} = await run(['replay']);
    assert.equal(code, 2);
    assert.match(stderr, /say which file/);
  });

  it('foreign setups of any shape are no crash', async () => {
    const bytes = readFileSync(join(folder, 'openai/plain.sse'));
    const setups = [[], 1, {steps: 1}, {steps: [1, null, 'x']}, {steps: [{answer: {status: 'x', splits: ['a', -1, 5, 3, 1e9, 7], headers: [['a'], 1, ['b', 'c'], [1, 2]], end: 1, retry_after: -5}}]},
      {account: {credentials: [1, null, 'x', ''], held: {a: 'b', '': 1, c: 5}, guest: 7, name: 1}, options: [], model: 5, tools: [1], now_ms: -1, base_url: 'x', path: 'y'},
      {steps: Array.from({length: 100}, () => ({}))}, {steps: [{answer: {body_base64: '!!'}}, {}]}];
    const files = {};
    setups.forEach((setup, i) => Object.assign(files, {[`${i}/x.sse`]: bytes, [`${i}/setup.json`]: JSON.stringify(setup)}));
    const replay = place(files);
    for (let i = 0; i < setups.length; i++) {
      const {code} = await replay(`${i}/x.sse`, '--adapter', 'openai');
      assert.ok(code === 0 || code === 1, `${JSON.stringify(setups[i])}: ${code}`);
    }
  });

  const captured = async (gateway) => {
    const [, file] = await gateway.logged(/captured as (\S+)/);
    const path = resolve(gateway.directory, file);
    const setup = JSON.parse(readFileSync(path.replace(/\.\w+$/, '.setup.json'), 'utf8'));
    return {path, setup};
  };
  const glm = async () => {
    const refresh = jwt('refresh');
    const site = await new ChatGlm({refreshTokens: [refresh]}).start();
    running.push(site);
    const gateway = await startGateway({server: {capture_dir: 'captures'}, sites: [{name: 'glm', adapter: 'chatglm', ...site.config({options: {sign_secret: SIGN_SECRET}}), accounts: [{name: 'me', refresh_token: refresh}]}]});
    running.push(gateway);
    return {site, gateway, ask: async (body = {}) => (await chat(gateway.base, {model: 'glm/glm-5.3', ...user('x'), ...body})).text()};
  };
  const hologram = event('init', {id: 'm', logic_id: 'z', status: 'init', content: [{type: 'hologram', hologram: 'x'}]});

  for (const [what, plan] of Object.entries({
    'an error after some text': [...say('a', 'text', 'Half ', '一半').slice(0, 2), siteError(10025, 'broken')],
    'an answer that is cut': (r, res, send) => {
      say('a', 'text', 'Half ', 'an answer').slice(0, 2).forEach(send);
      res.once('drain', () => {});
      setImmediate(() => res.destroy());
    },
    'another shape': {status: 200, json: {nothing: 'that is known'}},
    'an HTTP failure': {status: 502, json: {message: 'bad gateway'}},
    'a web page': {html: '<!doctype html><title>Just a moment</title>', status: 403},
    'drift and an error': [hologram, ...say('a', 'text', 'Half').slice(0, 1), siteError(10025, 'broken')],
  })) {
    it(`a capture of ${what} says the same failure again`, async () => {
      const {site, gateway, ask} = await glm();
      site.next(plan);
      await ask({stream: true});
      const {path, setup} = await captured(gateway);
      const {code, stdout, stderr} = await run(['replay', path]);
      assert.deepEqual([code, stderr], [0, '']);
      const end = parse(stdout).at(-1);
      assert.ok(setup.failure, JSON.stringify(setup));
      assert.deepEqual([end.failure.kind, end.failure.message], [setup.failure.kind, setup.failure.message]);
      assert.deepEqual(end.drift, setup.drift);
      assert.equal(setup.drift.length, what.startsWith('drift') ? 1 : 0);
    });
  }

  it('a capture of a good answer with drift gives its text, from an access token that was there already', async () => {
    const {site, gateway, ask} = await glm();
    await ask();
    site.next([hologram, ...say('a', 'text', '你好', ' there'), finish]);
    await ask();
    const {path, setup} = await captured(gateway);
    assert.equal(setup.steps.length, 1);
    const {code, stdout} = await run(['replay', path]);
    const lines = parse(stdout);
    assert.deepEqual([code, textOf(lines, 'text'), lines.at(-1).end, lines.at(-1).drift], [0, '你好 there', 'complete', ['unknown content type']]);
    assert.equal(parse((await run(['replay', path, '--every-split'])).stdout).at(-1).different, 0);
  });

  it('a capture whose paths hold what the account had before, an organization of claude.ai', async () => {
    const site = await new ClaudeWeb().start();
    running.push(site);
    const gateway = await startGateway({server: {capture_dir: 'captures'}, sites: [{name: 'claude', adapter: 'claude_web', ...site.config(), accounts: [{name: 'me', session_key: key('one')}]}]});
    running.push(gateway);
    const ask = async () => (await chat(gateway.base, {model: 'claude/claude-sonnet-5', ...user('x')})).text();
    await ask();
    site.next('lateError');
    await ask();
    const {path, setup} = await captured(gateway);
    assert.deepEqual(Object.keys(setup.account.held), ['organization']);
    const {code, stdout, stderr} = await run(['replay', path]);
    assert.deepEqual([code, stderr], [0, '']);
    assert.deepEqual([textOf(parse(stdout), 'text'), parse(stdout).at(-1).failure.message], ['Half an answer', setup.failure.message]);
  });

  it('a time-out in the middle is what the transport said', async () => {
    const site = await new OpenAiSite().start();
    running.push(site);
    const gateway = await startGateway({server: {capture_dir: 'captures'}, sites: [{name: 'open', adapter: 'openai', idle_timeout: '300ms', ...site.config({base_url: `${site.origin}/v1`}), accounts: [{name: 'a', api_key: 'sk-upstream'}]}]});
    running.push(gateway);
    site.plans.push(function (r, res) {
      this.sseHead(res);
      this.event(res, {choices: [{index: 0, delta: {content: 'Half'}}]});
    });
    await (await chat(gateway.base, {model: 'open/m', stream: true, ...user('x')})).text();
    const {path, setup} = await captured(gateway);
    assert.equal(setup.failure.kind, 'timeout');
    const lines = parse((await run(['replay', path])).stdout);
    assert.deepEqual([textOf(lines, 'text'), lines.at(-1).failure.kind, lines.at(-1).failure.message], ['Half', 'timeout', setup.failure.message]);
  });
});
