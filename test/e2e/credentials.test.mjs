// What a site gives us is on disk before anybody relies on it: kill -9 at any moment of a login loses no token that was used.
import assert from 'node:assert/strict';
import {mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, describe, it} from 'node:test';
import {Sophnet} from '../sites/sophnet.mjs';
import {Gateway} from './lib/gateway.mjs';
import {chat, checkError, user} from './lib/http.mjs';

const ROUNDS = 6;

describe('credentials', () => {
  const running = [];
  afterEach(async () => {
    for (const thing of running.splice(0).reverse()) await thing.stop();
  });

  /** Tells the moments of a login and remembers the token of the last chat. */
  class Watched extends Sophnet {
    login(r, res) {
      this.at('the login is asked for');
      super.login(r, res);
      this.at('the login is answered');
    }

    playground(r, res) {
      const token = this.bearer(r);
      if (this.anonymous.has(token)) {
        this.used = token;
        this.at('the token is used');
      }
      return super.playground(r, res);
    }

    at(moment) {
      this.moments.push(moment);
      if (moment === this.fatal) this.kill();
    }
  }

  const place = async (server = {}) => {
    const folder = mkdtempSync(join(tmpdir(), 'dragoman-e2e-credentials-'));
    running.push({stop: () => rmSync(folder, {recursive: true, force: true})});
    const site = await new Watched().start();
    site.moments = [];
    running.push(site);
    const config = {server: {data_dir: join(folder, 'data'), ...server}, sites: [{name: 'soph', adapter: 'sophnet', ...site.config(), accounts: [{name: 'g', guest: true}]}]};
    const serve = async () => {
      const gateway = await new Gateway(config).start();
      running.push(gateway);
      return gateway;
    };
    const killed = async (gateway) => {
      await gateway.closed;
      assert.equal(gateway.child.signalCode, 'SIGKILL');
      gateway.child = null;
      running.splice(running.indexOf(gateway), 1);
      rmSync(gateway.directory, {recursive: true, force: true});
    };
    return {site, config, serve, killed};
  };
  const ask = (gateway) => chat(gateway.base, {model: 'soph/DeepSeek-V3-Fast', ...user('hi')});

  for (const [how, server] of [['in plain', {}], ['encrypted', {secret_key: 'a long random text of the test'}]]) {
    it(`a token that was used survives kill -9, ${how}`, async () => {
      const {site, serve, killed} = await place(server);
      for (let round = 0; round < ROUNDS; round++) {
        const gateway = await serve();
        site.anonymous.clear(); // what it holds is worth nothing any more: it has to log in
        site.kill = () => gateway.signal('SIGKILL');
        site.fatal = 'the token is used';
        await assert.rejects(async () => (await ask(gateway)).text());
        site.fatal = null;
        await killed(gateway);
        const {used, logins} = site;
        const next = await serve();
        assert.equal((await ask(next)).status, 200);
        assert.deepEqual([site.used, site.logins], [used, logins], 'it logged in again');
        await next.stop();
        running.splice(running.indexOf(next), 1);
      }
      assert.deepEqual(site.violations, []);
    });
  }

  it('a kill in the middle of a login costs a login, nothing else', async () => {
    const {site, serve, killed} = await place();
    for (const fatal of ['the login is asked for', 'the login is answered']) {
      const gateway = await serve();
      site.anonymous.clear();
      site.kill = () => gateway.signal('SIGKILL');
      site.fatal = fatal;
      await assert.rejects(async () => (await ask(gateway)).text());
      site.fatal = null;
      await killed(gateway);
      const next = await serve();
      assert.equal((await ask(next)).status, 200);
      await next.stop();
      running.splice(running.indexOf(next), 1);
    }
  });

  it('those who wait for a login that fails share its failure', async () => {
    const {site, config, serve} = await place();
    let wait = true;
    const login = site.login.bind(site);
    site.login = (r, res) => (wait ? site.at('no answer to the login') : login(r, res));
    config.sites[0].first_byte_timeout = '2s';
    const gateway = await serve();
    const answers = await Promise.all(Array.from({length: 8}, (_, i) => chat(gateway.base, {model: 'Kimi-K2', ...user(`hello ${i}`)})));
    for (const answer of answers) await checkError(answer, {status: 504, type: 'upstream_error', code: 'upstream_timeout'});
    assert.ok(site.moments.length <= 2, `${site.moments.length} logins: one after the other`);
    wait = false; // who comes later tries again
    assert.equal((await chat(gateway.base, {model: 'Kimi-K2', ...user('hello')})).status, 200);
  });

  it('those who wait for a login wait until it is safe, too', async () => {
    const {site, serve, killed} = await place();
    const gateway = await serve();
    site.kill = () => gateway.signal('SIGKILL');
    site.fatal = 'the token is used';
    await Promise.all(Array.from({length: 8}, () => assert.rejects(async () => (await ask(gateway)).text())));
    site.fatal = null;
    await killed(gateway);
    assert.equal(site.logins, 1);
    assert.equal((await ask(await serve())).status, 200);
    assert.equal(site.logins, 1);
  });
});
