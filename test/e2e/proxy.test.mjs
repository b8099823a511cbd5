// Sites behind a proxy: HTTP CONNECT and SOCKS5, with and without a password. TLS ends at the site, never at the proxy.
import assert from 'node:assert/strict';
import net from 'node:net';
import {once} from 'node:events';
import {afterEach, describe, it} from 'node:test';
import {setTimeout as sleep} from 'node:timers/promises';
import {OpenAiSite} from '../sites/openai.mjs';
import {Proxy} from '../sites/proxy.mjs';
import {within} from '../sites/site.mjs';
import {startGateway} from './lib/gateway.mjs';
import {chat, checkError, checkStream, user} from './lib/http.mjs';

const unreachable = {status: 502, type: 'upstream_error', code: 'upstream_unreachable'};

describe('a proxy', () => {
  const running = [];
  afterEach(async () => {
    for (const thing of running.splice(0).reverse()) await thing.stop();
  });
  const start = async (kind, scheme, {given, siteOptions = {}, base, ...options} = {}) => {
    const site = await new OpenAiSite({keys: null, ...siteOptions}).start();
    const proxy = await new Proxy(kind, site, options).start();
    running.push(site, proxy);
    const gateway = await startGateway({sites: [{name: 'up', adapter: 'openai', ...site.config({base_url: `${base?.(site) ?? site.origin}/v1`}),
      proxy: proxy.url(scheme, given)}]});
    running.push(gateway);
    return {site, proxy, gateway};
  };
  const ask = (gateway, more = {}) => chat(gateway.base, {model: 'up/gpt-test', ...user('through the tunnel'), ...more});

  for (const [kind, scheme] of [['http', 'http'], ['socks', 'socks5'], ['socks', 'socks5h']]) {
    for (const login of [null, 'me:pr0xy-password']) {
      it(`${scheme}${login ? ' with a password' : ''}: streamed and whole, one tunnel for both`, async () => {
        const {site, proxy, gateway} = await start(kind, scheme, {login});
        assert.equal(checkStream(await (await ask(gateway, {stream: true})).text()).content, 'through the tunnel');
        assert.equal((await (await ask(gateway)).json()).choices[0].message.content, 'through the tunnel');
        assert.deepEqual(site.violations, []);
        const chats = proxy.asked.map((a) => a.where);
        assert.ok(chats.length >= 1 && chats.length <= 2, `${chats}`); // the list of models may have had one of its own
        const expected = scheme === 'socks5' ? /^(127\.0\.0\.1|0{31}1):/ : /^localhost:/; // who resolves the name
        for (const where of chats) {
          assert.match(where, expected);
          assert.ok(where.endsWith(`:${site.port}`));
        }
      });
    }
  }

  it('takes a percent-encoded user and password', async () => {
    for (const [kind, scheme] of [['http', 'http'], ['socks', 'socks5h']]) {
      const {gateway} = await start(kind, scheme, {login: null, given: 'nobody:asks'});
      assert.equal((await ask(gateway)).status, 200, `${scheme}: a login that nobody wants`);
    }
    const strange = 'me@home:p%ä/ss';
    for (const [kind, scheme] of [['http', 'http'], ['socks', 'socks5h']]) {
      const {gateway} = await start(kind, scheme, {login: strange});
      assert.equal((await ask(gateway)).status, 200, scheme);
    }
  });

  it('a wrong password is 502 upstream_unreachable, and is not shown', async () => {
    for (const [kind, scheme] of [['http', 'http'], ['socks', 'socks5']]) {
      const {gateway} = await start(kind, scheme, {login: 'me:pr0xy-password', given: 'me:wr0ng-password'});
      const {error} = await checkError(await ask(gateway), unreachable);
      assert.match(error.message, /proxy/);
      assert.doesNotMatch(error.message + gateway.stderr + gateway.stdout, /wr0ng-password/);
    }
  });

  it('a tunnel that is refused is 502 upstream_unreachable, without the page of the proxy', async () => {
    for (const [kind, scheme, answer] of [['http', 'http', 403], ['http', 'http', 502], ['socks', 'socks5h', 5], ['socks', 'socks5h', 200]]) {
      const {site, gateway} = await start(kind, scheme, {answer});
      const {error} = await checkError(await ask(gateway), unreachable);
      assert.doesNotMatch(error.message, /secret page/);
      assert.equal(site.requests.length, 0);
    }
  });

  it('certificates are those of the site: a wrong one is refused through the tunnel too', async () => {
    for (const tls of ['wrongHost', 'expired']) {
      const {site, gateway} = await start('http', 'http', {siteOptions: {tls}});
      await checkError(await ask(gateway), unreachable);
      assert.equal(site.requests.length, 0);
    }
  });

  it('a proxy that is not there, or says nothing sensible: 502, or 504 where it is silent', async () => {
    const site = await new OpenAiSite({keys: null}).start();
    running.push(site);
    const sockets = new Set();
    const rude = net.createServer((s) => {
      sockets.add(s);
      s.on('error', () => {});
      s.write('220 mail.example ESMTP\r\n\r\n\r\n\r\n');
    }).listen(0, '127.0.0.1');
    const mute = net.createServer((s) => {
      sockets.add(s);
      s.on('error', () => {});
      s.resume();
    }).listen(0, '127.0.0.1');
    const gone = net.createServer().listen(0, '127.0.0.1');
    await Promise.all([rude, mute, gone].map((s) => once(s, 'listening')));
    const [a, b, c] = [rude, mute, gone].map((s) => s.address().port);
    gone.close();
    const entry = (name, scheme, port) => ({name, adapter: 'openai', ...site.config({base_url: `${site.origin}/v1`}), connect_timeout: '700ms', proxy: `${scheme}://127.0.0.1:${port}`});
    const gateway = await startGateway({sites: ['http', 'socks5', 'socks5h'].flatMap((s) =>
      [entry(`rude-${s}`, s, a), entry(`mute-${s}`, s, b), entry(`gone-${s}`, s, c)])});
    running.push(gateway);
    try {
      for (const s of ['http', 'socks5', 'socks5h']) {
        for (const name of ['rude', 'gone']) {
          const {error} = await checkError(await chat(gateway.base, {model: `${name}-${s}/m`, ...user('x')}), unreachable);
          assert.match(error.message, /proxy|connect/i);
        }
        await checkError(await chat(gateway.base, {model: `mute-${s}/m`, ...user('x')}), {status: 504, type: 'upstream_error', code: 'upstream_timeout'});
      }
    } finally {
      for (const s of sockets) s.destroy();
      rude.close();
      mute.close();
    }
  });

  it('the client leaves: the tunnel goes with it', async () => {
    const {site, proxy, gateway} = await start('socks', 'socks5h');
    let record;
    const begun = new Promise((resolve) => {
      site.next(function (r, res) {
        record = r;
        this.sseHead(res);
        resolve();
      });
    });
    const leave = new AbortController();
    const answer = chat(gateway.base, {model: 'up/gpt-test', stream: true, ...user('x')}, {signal: leave.signal}).catch(() => {});
    await within(5000, begun, 'the request at the site');
    const at = Date.now();
    leave.abort();
    assert.ok(await within(2000, record.aborted, "the end of the site's request") - at < 1000);
    await answer;
    for (let i = 0; proxy.left === 0 && i < 200; i++) await sleep(10); // its own end of it comes a moment later
    assert.ok(proxy.left >= 1);
    assert.equal((await ask(gateway)).status, 200);
  });

  it('plain HTTP goes through the tunnel as well', async () => {
    const {site, proxy, gateway} = await start('http', 'http', {siteOptions: {tls: false, host: '127.0.0.1'}});
    assert.equal((await ask(gateway)).status, 200);
    assert.equal(proxy.asked[0].where, `127.0.0.1:${site.port}`);
    assert.deepEqual(site.violations, []);
  });
});
