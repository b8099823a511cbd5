// The data file: what survives a restart or a kill, in plain and encrypted; what is refused at the start, and --rebuild.
import assert from 'node:assert/strict';
import {once} from 'node:events';
import {chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, describe, it} from 'node:test';
import {Zai} from '../sites/zai.mjs';
import {Gateway, configText, run} from './lib/gateway.mjs';
import {chat, user} from './lib/http.mjs';

const KEY = 'a long random text of the test';
const PLAIN = /stored in plain in \S+dragoman\.db/;

describe('store', () => {
  const running = [];
  afterEach(async () => {
    for (const thing of running.splice(0).reverse()) await thing.stop();
  });
  const later = (stop) => running.push({stop});

  /** A site with guests, and a folder that outlives the gateways on it. */
  const place = async () => {
    const folder = mkdtempSync(join(tmpdir(), 'dragoman-e2e-store-'));
    later(() => rmSync(folder, {recursive: true, force: true}));
    const site = await new Zai().start();
    running.push(site);
    const data = join(folder, 'data'), file = join(data, 'dragoman.db'), toml = join(folder, 'gateway.toml');
    const config = (server) => ({server: {data_dir: data, ...server}, sites: [{name: 'zai', adapter: 'zai', ...site.config(), accounts: [{name: 'g', guest: true}]}]});
    const serve = async (server = {}, options) => {
      const gateway = new Gateway(config(server), options);
      running.push(gateway);
      if (options?.flags) gateway.args = ['serve', '-c', gateway.file, ...options.flags];
      return gateway.start();
    };
    /** Runs it to its end, which is to come at once. */
    const fails = async (server = {}, flags = []) => {
      writeFileSync(toml, configText(config({listen: ['127.0.0.1:0'], ...server})), {mode: 0o600});
      return run(['serve', '-c', toml, ...flags]);
    };
    const write = (bytes) => {
      mkdirSync(data, {mode: 0o700});
      writeFileSync(file, bytes, {mode: 0o600});
    };
    return {site, data, file, serve, fails, write};
  };
  const ask = async (gateway) => {
    const answer = await chat(gateway.base, {model: 'glm-4.6', ...user('hi')});
    assert.equal(answer.status, 200, await answer.text());
  };
  const end = async (gateway, signal = 'SIGTERM') => {
    const {child} = gateway;
    gateway.signal(signal);
    if (child.exitCode === null && !child.signalCode) await once(child, 'close');
    if (signal === 'SIGTERM') assert.equal(child.exitCode, 0);
    gateway.child = null;
    running.splice(running.indexOf(gateway), 1);
    rmSync(gateway.directory, {recursive: true, force: true});
  };
  const token = (site) => [...site.tokens].find(([, t]) => t.guest)[0];
  const inFiles = (data, text) => readdirSync(data, {withFileTypes: true}).some((file) => file.isFile() && readFileSync(join(data, file.name)).includes(text));

  it('a guest session survives a restart, in plain', async () => {
    const {site, data, file, serve} = await place();
    const first = await serve();
    await first.logged(PLAIN);
    await ask(first);
    await end(first);
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.equal(statSync(data).mode & 0o777, 0o700);
    assert.ok(inFiles(data, token(site)));
    await ask(await serve());
    assert.equal(site.guestsMade, 1);
  });

  it('and encrypted, also what was in plain before', async () => {
    const {site, data, serve} = await place();
    const first = await serve();
    await ask(first);
    await end(first);
    const second = await serve({secret_key: KEY});
    assert.ok(!inFiles(data, token(site)));
    await ask(second);
    await end(second);
    const third = await serve({secret_key: KEY});
    await ask(third);
    assert.equal(site.guestsMade, 1);
    assert.ok(!inFiles(data, token(site)));
    assert.doesNotMatch(second.stderr + third.stderr, PLAIN);
    assert.ok(!(second.stderr + third.stderr).includes(KEY));
  });

  it('and kill -9 once it is written', async () => {
    const {site, data, serve} = await place();
    const first = await serve();
    await ask(first);
    for (const end = Date.now() + 10000; !inFiles(data, token(site)) && Date.now() < end;) await ask(first);
    await end(first, 'SIGKILL');
    await ask(await serve());
    assert.equal(site.guestsMade, 1);
  });

  it('a wrong key and no key are refused, and nothing is lost', async () => {
    const {site, file, serve, fails} = await place();
    const first = await serve({secret_key: KEY});
    await ask(first);
    await end(first);
    const before = readFileSync(file);
    for (const [server, why] of [[{secret_key: `${KEY}!`}, /is encrypted with another server\.secret_key/], [{}, /server\.secret_key is missing/]]) {
      const {code, stderr} = await fails(server);
      assert.equal(code, 1);
      assert.match(stderr, why);
      assert.ok(stderr.includes(file));
      assert.ok(!stderr.includes(KEY));
      assert.deepEqual(readFileSync(file), before);
    }
    await ask(await serve({secret_key: KEY}));
    assert.equal(site.guestsMade, 1);
  });

  it('a second gateway is refused and told the first one\'s process', async () => {
    const {serve, fails, file} = await place();
    const first = await serve();
    for (const flags of [[], ['--rebuild']]) {
      const {code, stdout, stderr} = await fails({}, flags);
      assert.equal(code, 1);
      assert.equal(stdout, '');
      assert.match(stderr, new RegExp(`another dragoman \\(process ${first.child.pid}\\)`));
    }
    assert.ok(!existsSync(`${file}.bad-1`));
    await ask(first);
    await end(first, 'SIGKILL');
    await ask(await serve()); // the lock went with its process
  });

  it('a damaged file is refused and left alone; --rebuild moves it aside', async () => {
    const {site, file, serve, fails, write} = await place();
    const damage = Buffer.alloc(10000, 'damage ');
    write(damage);
    const {code, stdout, stderr} = await fails();
    assert.equal(code, 1);
    assert.equal(stdout, '');
    assert.match(stderr, /dragoman\.db is damaged \(file is not a database\).*`dragoman serve --rebuild`/);
    assert.deepEqual(readFileSync(file), damage);
    const gateway = await serve({}, {flags: ['--rebuild']});
    await gateway.logged(/dragoman\.db\.bad-1; a new one begins/);
    assert.deepEqual(readFileSync(`${file}.bad-1`), damage);
    await ask(gateway);
    await end(gateway);
    await ask(await serve());
    assert.equal(site.guestsMade, 1);
  });

  it('damage in the middle of a file of ours is found too', async () => {
    const {file, serve, fails} = await place();
    const first = await serve();
    await ask(first);
    await end(first);
    const bytes = readFileSync(file);
    bytes.fill(0xa5, 4096, 8192);
    writeFileSync(file, bytes);
    const {code, stderr} = await fails();
    assert.equal(code, 1);
    assert.match(stderr, /dragoman\.db is damaged \(/);
    assert.deepEqual(readFileSync(file), bytes);
  });

  it('a folder that cannot be written costs a warning', {skip: process.getuid() === 0 && 'root may write everywhere'}, async () => {
    const {data, serve} = await place();
    mkdirSync(data, {mode: 0o500});
    later(() => chmodSync(data, 0o700));
    const gateway = await serve();
    await gateway.logged(/dragoman\.lock: cannot lock it: .*kept in memory only/);
    await ask(gateway);
  });

  it('a data_dir that cannot be made costs a warning', async () => {
    const {data, serve} = await place();
    writeFileSync(data, 'in the way');
    const gateway = await serve();
    await gateway.logged(/kept in memory only/);
    await ask(gateway);
  });

  it('a reload tells that another data_dir or key waits for a restart', async () => {
    const {serve} = await place();
    const gateway = await serve();
    gateway.write({...gateway.config, server: {...gateway.config.server, secret_key: KEY}});
    gateway.signal('SIGHUP');
    await gateway.logged(/take effect with the next start/);
    await ask(gateway);
  });
});
