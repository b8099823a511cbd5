// dragoman accounts check: every outcome, asked by a running gateway and without one.
import assert from 'node:assert/strict';
import {existsSync, rmSync} from 'node:fs';
import {join} from 'node:path';
import {afterEach, describe, it} from 'node:test';
import {OpenAiSite} from '../sites/openai.mjs';
import {Sophnet} from '../sites/sophnet.mjs';
import {Zai, jwt} from '../sites/zai.mjs';
import {Gateway, run, startGateway} from './lib/gateway.mjs';
import {chat, user} from './lib/http.mjs';

const running = [];
afterEach(async () => {
  for (const thing of running.splice(0).reverse()) await thing.stop();
});

const KEY = 'sk-good-0123456789', BAD = 'sk-bad-0123456789';

/** An OpenAI-like service whose model list does as the test says: (r, res) => …; undefined = as usual. */
class Service extends OpenAiSite {
  constructor(options = {}) {
    super({keys: [KEY], ...options});
  }

  async handle(r, res) {
    if (r.path.endsWith('/models') && this.list) {
      this.asked = (this.asked ?? 0) + 1;
      return this.list(r, res);
    }
    return super.handle(r, res);
  }
}

async function service(list) {
  const site = await new Service().start();
  site.list = list;
  running.push(site);
  return site;
}

const listed = (site) => site.requests.filter((r) => r.path.endsWith('/models'));
const openai = (name, site, api_key = KEY, more = {}) =>
  ({name, adapter: 'openai', models: ['m'], ...site.config({accounts: [{name: 'main', ...(api_key ? {api_key} : {})}]}), ...more});

/** A configuration file without a gateway, or with one. */
async function serve(sites, alone) {
  const gateway = new Gateway({sites});
  if (alone) {
    gateway.write(gateway.config);
    running.push({stop: () => rmSync(gateway.directory, {recursive: true, force: true})});
  } else {
    await gateway.start();
    running.push(gateway);
  }
  return {
    gateway,
    async check(...words) {
      const {code, stdout, stderr} = await run(['accounts', 'check', '-c', gateway.file, ...words], {timeout: 40000});
      assert.doesNotMatch(stdout + stderr, /sk-\w+-0123456789/);
      return {code, stdout, stderr, lines: stdout.trimEnd().split('\n')};
    },
    async json(...words) {
      const {code, stdout} = await run(['accounts', 'check', '--json', '-c', gateway.file, ...words]);
      return {code, ...JSON.parse(stdout)};
    },
    async states() {
      const {stdout} = await run(['accounts', '--json', '-c', gateway.file]);
      return Object.fromEntries(JSON.parse(stdout).accounts.map((a) => [a.site, a]));
    },
  };
}

for (const alone of [false, true]) {
  describe(`accounts check, ${alone ? 'without a gateway' : 'by the running gateway'}`, () => {
    it('says which are fine: exit code 0', async () => {
      const site = await service();
      const keyless = await new Service({keys: null}).start();
      running.push(keyless);
      const {check, json} = await serve([openai('good', site), openai('longer-name', site), openai('local', keyless, null)], alone);
      const {code, stdout, stderr} = await check();
      assert.deepEqual([code, stderr], [0, '']);
      assert.equal(stdout, 'good/main         fine (2 models)\nlonger-name/main  fine (2 models)\nlocal/main        fine (2 models; it goes without a credential)\n');
      const report = await json('good/main');
      assert.deepEqual(report, {code: 0, running: !alone, accounts: [{site: 'good', account: 'main', result: 'fine', message: 'fine (2 models)'}]});
    });

    it('says what is wrong, as requests are told it, and never a secret: exit code 1', async () => {
      const bad = await service(), limited = await service((r, res) => bad.json(res, 429, {error: {message: 'slow down'}}, {'retry-after': '300'}));
      const page = await service((r, res) => {
        res.writeHead(403, {'content-type': 'text/html'});
        res.end('<!doctype html><title>Just a moment...</title>');
      });
      const cut = await service((r, res) => res.destroy()), odd = await service((r, res) => bad.json(res, 200, {hello: 1}));
      const {check, json} = await serve([openai('good', bad), openai('bad', bad, BAD), openai('limited', limited), openai('page', page), openai('cut', cut), openai('odd', odd)], alone);
      const {code, stdout} = await check();
      assert.equal(code, 1);
      assert.match(stdout, /^good\/main +fine \(2 models\)$/m);
      assert.match(stdout, /^bad\/main +bad refuses the credential of account "main"; renew it \(HTTP 401\)/m);
      assert.match(stdout, /^limited\/main +limited limits the rate of account "main"/m);
      assert.match(stdout, /^page\/main +page answered with a web page \(HTTP 403\)/m);
      assert.match(stdout, /^cut\/main +.*clos|^cut\/main +.*reset/m);
      assert.match(stdout, /^odd\/main +odd answered no model list/m);
      const {code: again, accounts} = await json('bad/main');
      assert.deepEqual([again, accounts.length, accounts[0].result], [1, 1, 'failed']);
    });

    it('does not take a list for an answer that everybody gets', async () => {
      const site = await service((r, res) => site.json(res, 200, {data: [{id: 'm'}]}));
      const {check} = await serve([openai('open', site, BAD)], alone);
      const {code, stdout} = await check();
      assert.equal(code, 0);
      assert.match(stdout, /^open\/main +answers, but shows its models to everybody/m);
      assert.deepEqual(listed(site).map((r) => r.headers.authorization).slice(-2), [`Bearer ${BAD}`, undefined]);
    });

    it('takes a failure without the credential for no praise of it', async () => {
      const answers = {
        busy: (r, res) => busy.json(res, 503, {error: {message: 'busy'}}),
        limited: (r, res) => limited.json(res, 429, {error: {message: 'slow down'}}),
        cut: (r, res) => res.destroy(),
        refusing: (r, res) => refusing.json(res, 400, {error: {message: 'no key'}}),
      };
      const site = (name) => service((r, res) => (r.headers.authorization ? busy.json(res, 200, {data: [{id: 'm'}]}) : answers[name](r, res)));
      const busy = await site('busy'), limited = await site('limited'), cut = await site('cut'), refusing = await site('refusing');
      const {check} = await serve([openai('busy', busy), openai('limited', limited), openai('cut', cut), openai('refusing', refusing)], alone);
      const {code, lines} = await check();
      assert.equal(code, 0);
      for (const i of [0, 1, 2]) assert.match(lines[i], /^\w+\/main +answers, but did not say whether it shows its models to everybody/);
      assert.match(lines[3], /^refusing\/main +fine \(1 model\)$/);
    });

    it('says where there is nothing cheap to ask', async () => {
      const without = await service((r, res) => without.json(res, 404, {error: {message: 'no such path'}}));
      const sophnet = await new Sophnet().start(), zai = await new Zai().start();
      running.push(sophnet, zai);
      const {check} = await serve([openai('listless', without), {name: 'demo', adapter: 'demo'},
        {name: 'guest', adapter: 'zai', ...zai.config({accounts: [{name: 'g', guest: true}]})},
        {name: 'door', adapter: 'sophnet', ...sophnet.config({accounts: [{name: 'k', api_key: KEY}]})}], alone);
      const {code, lines} = await check();
      assert.equal(code, 0);
      assert.match(lines[0], /^listless\/main +answers, but has no model list to ask for; send a message$/);
      assert.match(lines[1], /^demo\/default +answers by itself, nothing to check$/);
      assert.match(lines[2], /^guest\/g +nothing cheap to ask; send a message$/);
      assert.match(lines[3], /^door\/k +nothing cheap to ask; send a message$/);
    });

    it('knows the words of each adapter', async () => {
      const zai = await new Zai().start(), sophnet = await new Sophnet().start();
      running.push(zai, sophnet);
      const good = jwt('u1', 'a@b.c');
      zai.tokens.set(good, {});
      const {check} = await serve([
        {name: 'z', adapter: 'zai', ...zai.config({accounts: [{name: 'good', token: good}, {name: 'old', token: jwt('u2', 'b@b.c')}]})},
        {name: 's', adapter: 'sophnet', ...sophnet.config({accounts: [{name: 'old', token: 'anon-nobody'}]})}], alone);
      const {code, lines} = await check();
      assert.equal(code, 1);
      assert.match(lines[0], /^z\/good +fine \(\d+ models?\)$/);
      assert.match(lines[1], /^z\/old +chat\.z\.ai refused the token \(401/);
      assert.match(lines[2], /^s\/old +.*(token|credential)/);
    });

    it('asks one site, one account, or says that there is none', async () => {
      const site = await service();
      const {check} = await serve([openai('a', site), openai('b', site)], alone);
      assert.deepEqual((await check('b')).lines, ['b/main  fine (2 models)']);
      assert.deepEqual((await check('a/main')).lines, ['a/main  fine (2 models)']);
      for (const name of ['c', 'a/other', 'a/', 'a/mainx']) {
        const {code, stdout, stderr} = await check(name);
        assert.deepEqual([code, stdout], [1, '']);
        assert.match(stderr, /there is no account/);
      }
    });

    it('asks four at a time', async () => {
      const held = [];
      let most = 0, open = 0;
      const site = await service((r, res) => {
        if (!r.headers.authorization) return site.json(res, 401, {error: {message: 'no key'}});
        most = Math.max(most, ++open);
        held.push(() => (open--, site.json(res, 200, {data: [{id: 'm'}]})));
        if (held.length === 4) setTimeout(() => held.splice(0).forEach((go) => go()), 100); // time for a fifth, if there were one
      });
      const {check} = await serve(Array.from({length: 8}, (_, i) => openai(`s${i}`, site)), alone);
      const {code, lines} = await check();
      assert.deepEqual([code, lines.length, most], [0, 8, 4]);
    });
  });
}

describe('accounts check', () => {
  it('tells the gateway how the accounts are; one that rests is not asked', async () => {
    const site = await service();
    const {gateway, check, states} = await serve([openai('dead', site), openai('limited', site)], false);
    site.plans.push({status: 401, json: {error: {message: 'revoked'}}});
    await (await chat(gateway.base, {model: 'dead/m', ...user('x')})).text();
    assert.equal((await states()).dead.state, 'expired');
    assert.equal((await check('dead')).code, 0);
    assert.deepEqual([(await states()).dead.state, (await states()).dead.last_error], ['ready', null]);

    site.list = (r, res) => site.json(res, 401, {error: {message: 'revoked again'}});
    assert.equal((await check('dead')).code, 1);
    const {dead} = await states();
    assert.equal(dead.state, 'expired');
    assert.match(dead.last_error, /refuses the credential/);

    site.list = (r, res) => site.json(res, 429, {error: {message: 'slow down'}}, {'retry-after': '300'});
    assert.equal((await check('limited')).code, 1);
    assert.equal((await states()).limited.state, 'cooling');
    const before = listed(site).length;
    const {code, stdout} = await check('limited');
    assert.equal(code, 1);
    assert.match(stdout, /^limited\/main +rests for \d+ s more/);
    assert.equal(listed(site).length, before);
  });

  it('a missing right to list models does not make a working account expired', async () => {
    const site = await service((r, res) => site.json(res, 403, {error: {message: 'missing scope model.read'}}));
    const {check, states} = await serve([openai('narrow', site)], false);
    const {code, stdout} = await check();
    assert.equal(code, 1);
    assert.match(stdout, /missing scope/);
    assert.equal((await states()).narrow.state, 'ready');
  });

  it('the gateway lets go when the asker leaves, when it is reloaded meanwhile, and when it stops', async () => {
    let begun;
    const seen = () => new Promise((resolve) => (begun = resolve));
    const site = await service((r, res) => {
      const closed = new Promise((resolve) => res.on('close', resolve));
      begun({res, closed});
    });
    const {gateway, check} = await serve([openai('slow', site)], false);
    let first = seen();
    const left = run(['accounts', 'check', '-c', gateway.file], {until: first});
    await (await first).closed;
    await left;

    first = seen();
    const answer = check();
    const {res} = await first;
    const from = gateway.stderr.length;
    gateway.write({sites: [{name: 'demo', adapter: 'demo'}]});
    gateway.signal('SIGHUP');
    await gateway.logged(/configuration reloaded/, {from});
    site.json(res, 401, {error: {message: 'revoked'}});
    assert.match((await answer).stdout, /^slow\/main +slow refuses the credential/);

    gateway.write({sites: [openai('slow', site)]});
    gateway.signal('SIGHUP');
    await gateway.logged(/configuration reloaded[^]*configuration reloaded/);
    first = seen();
    const third = check();
    await first;
    gateway.signal('SIGTERM');
    assert.equal(await gateway.exit(), 0);
    assert.equal((await third).code, 1);
  });

  it('without a gateway it reads what is stored, and makes no file', async () => {
    const site = await service();
    const {gateway, check} = await serve([openai('limited', site)], true);
    assert.equal((await check()).code, 0);
    assert.equal(existsSync(join(gateway.directory, 'data')), false);

    const next = await new Gateway(null, {args: ['serve', '-c', gateway.file]}).start();
    site.plans.push({status: 429, json: {error: {message: 'slow down'}}, headers: {'retry-after': '300'}});
    await (await chat(next.base, {model: 'limited/m', ...user('x')})).text();
    await next.stop();
    const {code, stdout} = await check();
    assert.equal(code, 1);
    assert.match(stdout, /^limited\/main +rests for \d+ s more/);
  });

  it('a data file that cannot be read is a remark, not an end', async () => {
    const site = await service();
    const {gateway, check} = await serve([openai('good', site)], true);
    const next = await new Gateway(null, {args: ['serve', '-c', gateway.file]}).start();
    running.push(next);
    rmSync(join(gateway.directory, 'data/control.sock')); // it cannot be asked, and holds the lock
    const {code, stdout, stderr} = await check();
    assert.deepEqual([code, stdout], [0, 'good/main  fine (2 models)\n']);
    assert.match(stderr, /^stored credentials are not used: another dragoman/);
  });
});
