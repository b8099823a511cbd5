// The configuration changes while the gateway serves: what is added, removed and changed takes effect, no stream is dropped, and what
// is known of an account stays with its name.
import assert from 'node:assert/strict';
import {mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {afterEach, describe, it} from 'node:test';
import {OpenAiSite} from '../sites/openai.mjs';
import {Gateway, configText, run, startDemo, startGateway} from './lib/gateway.mjs';
import {chat, checkError, checkStream, user} from './lib/http.mjs';

const running = [];
afterEach(async () => {
  for (const thing of running.splice(0).reverse()) await thing.stop();
});

const KEYS = ['sk-first-0123456789', 'sk-second-0123456789', 'sk-third-0123456789'];
const accounts = (...which) => which.map((i) => ({name: ['first', 'second', 'third'][i], api_key: KEYS[i]}));

async function startSite() {
  const site = await new OpenAiSite({keys: [...KEYS]}).start();
  running.push(site);
  return site;
}

async function start(config) {
  const gateway = await startGateway(config);
  running.push(gateway);
  return gateway;
}

async function reload(gateway, config) {
  const from = gateway.stderr.length;
  gateway.write(config);
  gateway.signal('SIGHUP');
  await gateway.logged(/configuration reloaded/, {from});
}

const states = async (gateway) => Object.fromEntries(
  JSON.parse((await run(['accounts', '--json', '-c', gateway.file])).stdout).accounts.map((a) => [`${a.site}/${a.account}`, a]));

/** The next chat at the site stops after its first word, until `go`. */
function hold(site) {
  const held = {};
  held.begun = new Promise((resolve) => site.plans.push(function (r, res) {
    const chunk = (delta, finish) => `data: ${JSON.stringify({id: 'c', object: 'chat.completion.chunk', created: 1, model: r.json.model,
      choices: [{index: 0, delta, finish_reason: finish}]})}\n\n`;
    res.writeHead(200, {'content-type': 'text/event-stream'});
    res.write(chunk({role: 'assistant', content: 'before '}, null));
    held.key = r.headers.authorization.slice(7);
    held.go = () => res.end(chunk({content: 'after'}, 'stop') + 'data: [DONE]\n\n');
    resolve();
  }));
  return held;
}

async function streamed(gateway, site, model, options) {
  const held = hold(site);
  const response = await chat(gateway.base, {model, stream: true, ...user('x')}, options);
  await held.begun;
  return {
    key: held.key,
    async finish() {
      held.go();
      assert.equal(checkStream(await response.text()).content, 'before after');
    },
  };
}

const ask = async (gateway, model, options) => {
  const response = await chat(gateway.base, {model, ...user('x')}, options);
  await response.text();
  return response.status;
};

describe('a reload', () => {
  it('adds and removes sites; a stream of one that is gone goes on to its end', async () => {
    const site = await startSite();
    const at = (name) => ({name, adapter: 'openai', ...site.config({accounts: accounts(0)})});
    const gateway = await start({sites: [at('old'), at('stays')]});
    const stream = await streamed(gateway, site, 'old/m');
    await reload(gateway, {sites: [at('stays'), at('new')]});
    await checkError(await chat(gateway.base, {model: 'old/m', ...user('x')}), {status: 404, type: 'invalid_request_error', code: 'model_not_found'});
    assert.equal(await ask(gateway, 'stays/m'), 200);
    assert.equal(await ask(gateway, 'new/m'), 200);
    assert.deepEqual(Object.keys(await states(gateway)), ['stays/first', 'new/first']);
    await stream.finish();
  });

  it('changes where a site is, for what comes next', async () => {
    const [before, after] = [await startSite(), await startSite()];
    const at = (site) => ({sites: [{name: 's', adapter: 'openai', ...site.config({accounts: accounts(0)})}]});
    const gateway = await start(at(before));
    const stream = await streamed(gateway, before, 's/m');
    await reload(gateway, at(after));
    assert.equal(await ask(gateway, 's/m'), 200);
    assert.deepEqual([before.chatRequests().length, after.chatRequests().length], [1, 1]);
    await stream.finish();
  });

  it('adds and removes accounts; a stream on one that is gone goes on to its end', async () => {
    const site = await startSite();
    const having = (...which) => ({sites: [{name: 's', adapter: 'openai', ...site.config({accounts: accounts(...which)})}]});
    const gateway = await start(having(0, 1));
    const stream = await streamed(gateway, site, 's/m');
    assert.equal(stream.key, KEYS[0]);
    await reload(gateway, having(1, 2));
    const from = site.requests.length;
    for (let i = 0; i < 4; i++) {
      assert.equal((await chat(gateway.base, {model: 's/m', ...user(`talk ${i}`)})).status, 200);
    }
    const used = site.requests.slice(from).filter((r) => r.path.endsWith('/chat/completions')).map((r) => r.headers.authorization.slice(7));
    assert.deepEqual(used.sort(), [KEYS[1], KEYS[1], KEYS[2], KEYS[2]]);
    await stream.finish();
    assert.deepEqual(Object.keys(await states(gateway)), ['s/second', 's/third']);
  });

  it('keeps what is known of an account, by its name; another credential is a new beginning', async () => {
    const site = await startSite();
    const having = (list, more = {}) => ({sites: [{name: 's', adapter: 'openai', ...more, ...site.config({accounts: list})}]});
    const gateway = await start(having(accounts(0, 1)));
    site.plans.push({status: 429, json: {error: {message: 'slow down'}}, headers: {'retry-after': '300'}});
    assert.equal(await ask(gateway, 's/m'), 200); // by the second, when the first is limited
    site.plans.push({status: 401, json: {error: {message: 'revoked'}}});
    assert.equal(await ask(gateway, 's/m'), 429); // the second's key is dead; the first will be ready again
    const known = (all) => ['s/first', 's/second'].map((name) => [all[name].state, all[name].requests_today, all[name].failures]);
    const before = await states(gateway);
    assert.deepEqual(known(before), [['cooling', 1, 1], ['expired', 2, 1]]);

    await reload(gateway, having([...accounts(2), ...accounts(1, 0)], {strategy: 'fill_first'})); // another order, one more
    const after = await states(gateway);
    assert.deepEqual(known(after), known(before));
    assert.ok(Math.abs(after['s/first'].until - before['s/first'].until) <= 1);
    assert.equal(after['s/third'].state, 'ready');

    site.keys.push('sk-renewed-0123456789');
    await reload(gateway, having([{name: 'second', api_key: 'sk-renewed-0123456789'}, ...accounts(0)]));
    assert.deepEqual(Object.values(await states(gateway)).map((a) => a.state), ['ready', 'cooling']);
    assert.equal(await ask(gateway, 's/m'), 200);
    assert.equal(site.requests.at(-1).headers.authorization, 'Bearer sk-renewed-0123456789');
  });

  it('knows an account that was gone, also over a restart', async () => {
    const site = await startSite();
    const having = (...which) => ({sites: [{name: 's', adapter: 'openai', strategy: 'fill_first', ...site.config({accounts: accounts(...which)})}]});
    const gateway = await start(having(0, 1));
    site.plans.push({status: 429, json: {error: {message: 'slow down'}}, headers: {'retry-after': '300'}});
    assert.equal(await ask(gateway, 's/m'), 200);
    const {until} = (await states(gateway))['s/first'];
    await reload(gateway, having(1));
    assert.deepEqual(Object.keys(await states(gateway)), ['s/second']);
    await reload(gateway, having(0, 1));
    const known = async () => {
      const {state, requests_today, until: later, last_error} = (await states(gateway))['s/first'];
      assert.deepEqual([state, requests_today], ['cooling', 1]);
      assert.ok(Math.abs(later - until) <= 1);
      assert.match(last_error, /limits the rate/);
    };
    await known();
    await reload(gateway, having(1));
    gateway.signal('SIGTERM');
    assert.equal(await gateway.exit(), 0);
    gateway.stdout = '';
    await gateway.start();
    await reload(gateway, having(0, 1));
    await known();
    const sent = site.chatRequests().length;
    assert.equal(await ask(gateway, 's/m'), 200); // by the second
    assert.deepEqual(site.chatRequests().slice(sent).map((r) => r.headers.authorization), [`Bearer ${KEYS[1]}`]);
  });

  it('another credential is a new beginning also when it was given between two runs', async () => {
    const site = await startSite();
    const having = (api_key) => ({sites: [{name: 's', adapter: 'openai', ...site.config({accounts: [{name: 'a', api_key}]})}]});
    const gateway = await start(having(KEYS[0]));
    site.plans.push({status: 401, json: {error: {message: 'revoked'}}});
    assert.equal(await ask(gateway, 's/m'), 403);
    gateway.signal('SIGTERM');
    assert.equal(await gateway.exit(), 0);
    gateway.write(having(KEYS[1]));
    gateway.stdout = '';
    await gateway.start();
    const {state, last_error, requests_today} = (await states(gateway))['s/a'];
    assert.deepEqual([state, requests_today], ['ready', 1]);
    assert.equal(last_error, null);
  });

  it('adds, removes and changes keys; a stream of a key that is gone goes on to its end', async () => {
    const site = await startSite();
    const sites = [{name: 's', adapter: 'openai', ...site.config({accounts: accounts(0)})}];
    const by = (key) => ({headers: {authorization: `Bearer ${key}`}});
    const gateway = await start({sites, keys: [{name: 'gone', key: 'sk-gone'}, {name: 'tight', key: 'sk-tight', requests_per_day: 2}]});
    assert.equal(await ask(gateway, 's/m', by('sk-tight')), 200);
    const stream = await streamed(gateway, site, 's/m', by('sk-gone'));
    await reload(gateway, {sites, keys: [{name: 'new', key: 'sk-new', models: ['s/allowed']}, {name: 'tight', key: 'sk-tight', requests_per_day: 1}]});
    assert.equal(await ask(gateway, 's/m', by('sk-gone')), 401);
    assert.equal(await ask(gateway, 's/m', by('sk-new')), 403);
    assert.equal(await ask(gateway, 's/allowed', by('sk-new')), 200);
    assert.equal(await ask(gateway, 's/m', by('sk-tight')), 429); // what it has used counts against the new limit
    await stream.finish();
  });

  it('lets who waits have the room that a reload makes', async () => {
    const site = await startSite();
    const having = (max_concurrent) => ({sites: [{name: 's', adapter: 'openai', max_concurrent, ...site.config({accounts: accounts(0)})}]});
    const gateway = await start(having(1));
    const stream = await streamed(gateway, site, 's/m');
    const waiting = ask(gateway, 's/m');
    await fetch(`${gateway.base}/models`); // a later one is answered: that one stands in the queue
    await reload(gateway, having(2));
    assert.equal(await waiting, 200);
    await stream.finish();
  });
});

describe('server.watch', () => {
  const demo = {name: 'demo', adapter: 'demo'};
  const server = {watch: true};
  const named = (id) => ({server, sites: [demo], models: [{id, targets: ['demo/echo']}]});
  const ids = async (gateway) => (await (await fetch(`${gateway.base}/models`)).json()).data.map((m) => m.id);

  async function sees(gateway, id, change) {
    const from = gateway.stderr.length;
    await change(id);
    await gateway.logged(/configuration reloaded/, {from});
    assert.ok((await ids(gateway)).includes(id), id);
  }

  function text(gateway, id) {
    const config = named(id);
    return configText({...config, server: {listen: ['127.0.0.1:0'], data_dir: join(gateway.directory, 'data'), log_level: 'debug', ...server}});
  }

  it('sees a file that is written, replaced, or removed and made again; twice each', async () => {
    const gateway = await startDemo({server});
    running.push(gateway);
    const stream = await chat(gateway.base, {model: 'demo/slow', stream: true, ...user('40 one two three four five six seven')});
    for (const round of [1, 2]) {
      await sees(gateway, `written-${round}`, (id) => gateway.write(named(id)));
      await sees(gateway, `replaced-${round}`, (id) => {
        writeFileSync(`${gateway.file}.new`, text(gateway, id), {mode: 0o600});
        renameSync(`${gateway.file}.new`, gateway.file);
      });
      await sees(gateway, `made-anew-${round}`, (id) => {
        rmSync(gateway.file);
        gateway.write(named(id));
      });
    }
    assert.equal(checkStream(await stream.text()).content, '40 one two three four five six seven');
  });

  it('reports a bad file, keeps the old configuration, and sees when it is mended', async () => {
    const gateway = await startDemo(named('good'));
    running.push(gateway);
    const from = gateway.stderr.length;
    writeFileSync(gateway.file, '[server]\nwatch = true\n[[sites]]\nname = "demo"\nadapter = "demmo"\n');
    await gateway.logged(/stays in force/, {from});
    assert.match(gateway.stderr.slice(from), /gateway\.toml:5:11/);
    assert.ok((await ids(gateway)).includes('good'));
    await sees(gateway, 'mended', (id) => gateway.write(named(id)));
  });

  it('follows a link to another file', async () => {
    const gateway = await startDemo(named('before'));
    running.push(gateway);
    const place = (id) => {
      const folder = join(gateway.directory, id);
      mkdirSync(folder);
      writeFileSync(join(folder, 'gateway.toml'), text(gateway, id), {mode: 0o600});
      symlinkSync(join(folder, 'gateway.toml'), `${gateway.file}.link`);
      renameSync(`${gateway.file}.link`, gateway.file);
    };
    await sees(gateway, 'linked', place);
    await sees(gateway, 'linked-again', place);
  });

  /** A gateway whose file is cfg/gateway.toml, made by `place`. */
  async function startIn(place) {
    const gateway = new Gateway(null, {args: ['serve', '-c', 'cfg/gateway.toml']});
    gateway.file = join(gateway.directory, 'cfg/gateway.toml');
    place(gateway);
    await gateway.start();
    running.push(gateway);
    return gateway;
  }
  const put = (gateway, folder, id) => {
    mkdirSync(join(gateway.directory, folder), {recursive: true});
    writeFileSync(join(gateway.directory, folder, 'gateway.toml'), text(gateway, id), {mode: 0o600});
  };

  it('follows ..data of Kubernetes, which is swapped for another folder', async () => {
    const swap = (gateway, id) => {
      put(gateway, `cfg/..${id}`, id);
      symlinkSync(`..${id}`, join(gateway.directory, 'cfg/..data_tmp'));
      renameSync(join(gateway.directory, 'cfg/..data_tmp'), join(gateway.directory, 'cfg/..data'));
    };
    const gateway = await startIn((g) => {
      swap(g, 'one');
      symlinkSync('..data/gateway.toml', join(g.directory, 'cfg/gateway.toml'));
    });
    for (const id of ['two', 'three']) {
      const before = id === 'two' ? 'one' : 'two';
      await sees(gateway, id, () => {
        swap(gateway, id);
        rmSync(join(gateway.directory, `cfg/..${before}`), {recursive: true});
      });
    }
  });

  it('follows the path when its folder is renamed, replaced, or gone for a while', async () => {
    const gateway = await startIn((g) => put(g, 'cfg', 'one'));
    for (const id of ['two', 'three']) {
      await sees(gateway, id, () => {
        renameSync(join(gateway.directory, 'cfg'), join(gateway.directory, `cfg-before-${id}`));
        put(gateway, `cfg-of-${id}`, id);
        renameSync(join(gateway.directory, `cfg-of-${id}`), join(gateway.directory, 'cfg'));
      });
    }
    const from = gateway.stderr.length;
    put(gateway, 'cfg-before-three', 'elsewhere'); // nobody's file any more
    rmSync(join(gateway.directory, 'cfg'), {recursive: true});
    assert.ok((await ids(gateway)).includes('three'));
    await sees(gateway, 'four', () => put(gateway, 'cfg', 'four'));
    await sees(gateway, 'five', () => put(gateway, 'cfg', 'five')); // and the new folder is watched
    assert.equal(gateway.stderr.slice(from).match(/configuration reloaded/g).length, 2);
  });

  it('sees a file that is changed where a link leads', async () => {
    const gateway = await startIn((g) => {
      put(g, 'elsewhere', 'one');
      mkdirSync(join(g.directory, 'cfg'));
      symlinkSync('../elsewhere/gateway.toml', g.file);
    });
    await sees(gateway, 'two', () => put(gateway, 'elsewhere', 'two'));
  });

  it('is not kept from looking by a busy folder, and reads the file once', async () => {
    const gateway = await startDemo(named('before'));
    running.push(gateway);
    let writing = true;
    const noise = (async () => {
      for (let i = 0; writing; i++) {
        writeFileSync(join(gateway.directory, 'noise.log'), `${i}\n`, {flag: 'a'});
        await new Promise((resolve) => setImmediate(resolve));
      }
    })();
    await sees(gateway, 'after', (id) => gateway.write(named(id)));
    await sees(gateway, 'after-that', (id) => gateway.write(named(id)));
    writing = false;
    await noise;
    assert.equal(gateway.stderr.match(/configuration reloaded/g).length, 2);
  });

  it('is turned on and off by a reload', async () => {
    const gateway = await startDemo();
    running.push(gateway);
    await reload(gateway, named('on'));
    await sees(gateway, 'seen', (id) => gateway.write(named(id)));
    await sees(gateway, 'off', (id) => gateway.write({...named(id), server: {watch: false}}));
    await reload(gateway, {...named('by-hand'), server: {watch: false}});
    assert.equal(gateway.stderr.match(/configuration reloaded/g).length, 4);
  });
});
