// Pictures that clients give by their URL (server.fetch_images): a server that sends all that it should not, and a site that wants
// to see what came of it.
import assert from 'node:assert/strict';
import {afterEach, describe, it} from 'node:test';
import {certificates} from '../sites/certs.mjs';
import {OpenAiSite} from '../sites/openai.mjs';
import {PictureServer, bomb, drip, endless, png} from '../sites/pictures.mjs';
import {within} from '../sites/site.mjs';
import {Zai, jwt} from '../sites/zai.mjs';
import {startGateway} from './lib/gateway.mjs';
import {chat, checkError} from './lib/http.mjs';

const INSIDE = '127.0.0.2'; // where the configuration lets pictures come from; 127.0.0.1 is the inside that nobody may see
const FETCH = {fetch_images: true, fetch_images_from: [`${INSIDE}/32`], fetch_images_max: '64KiB', fetch_images_timeout: '10s'};
const picture = (url) => ({type: 'image_url', image_url: {url}});
const text = (words) => ({type: 'text', text: words});
const user = (...content) => ({role: 'user', content});

describe('pictures by URL', {timeout: 240000}, () => {
  const running = [];
  afterEach(async () => {
    const done = running.splice(0).reverse();
    for (const thing of done) await thing.stop();
    for (const {violations} of done) assert.deepEqual(violations ?? [], []);
  });
  const keep = (thing) => (running.push(thing), thing);
  const serve = async ({server = FETCH, host = INSIDE, tls, env} = {}) => {
    const site = keep(await new Zai().start());
    const pictures = keep(await new PictureServer({host, tls}).start());
    const gateway = keep(await startGateway({server, sites: [{name: 'zai', adapter: 'zai', ...site.config(), accounts: [{name: 'me', token: jwt('person')}]}]}, {env}));
    const ask = (messages, options) => chat(gateway.base, {model: 'zai/glm-4.6v', messages}, options);
    const see = (...urls) => ask([user(text('What is it?'), ...urls.map(picture))]);
    return {site, pictures, gateway, ask, see, sent: () => [...site.files.values()].map(({meta}) => [meta.content_type, meta.size])};
  };
  const bad = (code, part = 1) => ({status: 400, type: 'invalid_request_error', code, param: `messages[0].content[${part}]`});
  const heard = (site) => site.requests.map((r) => r.path).filter((path) => path !== '/api/models');
  /** Refused, in the same words whatever stood there; the site hears nothing. */
  const refused = async ({see, site, gateway}, url, code, words) => {
    const {error} = await checkError(await see(url), bad(code));
    assert.match(error.message, words);
    assert.doesNotMatch(error.message, /secret|127\.|localhost|404|refused/);
    assert.deepEqual(heard(site), []);
    return gateway;
  };
  const NOT_PUBLIC = /^this URL does not lead to a public server, at port 80 or 443.*data: URL$/;
  const NO_PICTURE = /^what stands at this URL is no picture of a kind that can be sent on/;
  const NOT_GIVEN = /^the server of this URL gave no picture; send the picture itself as a data: URL$/;

  it('a picture is fetched without anything of ours, and reaches the site with its true type', async () => {
    const {pictures, see, sent} = await serve();
    pictures.on('/a%20b', (req, res) => pictures.send(res, png(1), {'content-type': 'text/plain'}));
    assert.equal((await see(`${pictures.origin}/a b?x=1#y`)).status, 200);
    assert.deepEqual(sent(), [['image/png', png(1).length]]);
    const [{method, url, headers}] = pictures.requests;
    assert.deepEqual([method, url], ['GET', '/a%20b?x=1']);
    assert.deepEqual(Object.keys(headers).sort(), ['accept', 'accept-encoding', 'connection', 'host', 'user-agent']);
    assert.equal(headers.host, `${INSIDE}:${pictures.port}`);
  });

  it('without the option a link is refused before any request, and the sentence names the option', async () => {
    const served = await serve({server: {}});
    const {error} = await checkError(await served.see(`${served.pictures.origin}/1`), bad('unsupported_value'));
    assert.match(error.message, /fetch_images/);
    assert.deepEqual([heard(served.site), served.pictures.requests], [[], []]);
  });

  it('what is not public is refused without a connection, in one sentence for all of it', async () => {
    const served = await serve();
    const inner = keep(await new PictureServer({host: '127.0.0.1'}).start());
    for (const host of ['127.0.0.1', 'localhost', '[::1]', '[::ffff:127.0.0.1]', '[::ffff:7f00:1]', '[::127.0.0.1]', '10.0.0.1', '169.254.169.254', '100.64.0.1',
      '0.0.0.0', '[::]', '[fe80::1]', '[fd00::1]', '[64:ff9b::7f00:1]', '[2002:7f00:1::]', '224.0.0.1', '255.255.255.255', '192.0.2.1', '198.18.0.1', 'no-such-name.invalid']) {
      await refused(served, `http://${host}:${inner.port}/secret`, 'unsupported_value', NOT_PUBLIC);
      await refused(served, `http://${host}/secret`, 'unsupported_value', NOT_PUBLIC);
    }
    assert.equal(inner.requests.length, 0);
  });

  it('URLs that mean something else to some programs are refused unread', async () => {
    const served = await serve();
    for (const [url, words] of [['http://2130706433/', /unusual form/], ['http://0x7f.1/', /unusual form/], ['http://0177.0.0.1/', /unusual form/], ['http://127.1/', /unusual form/],
      ['http://user:secret@example.org/', /user name/], ['http://example.org\\@127.0.0.1/', /backslash/], ['http://[fe80::1%25eth0]/', /IPv6/], ['http:///a', /no host/],
      ['http://127。0。0。1/', /ASCII/], ['http://exa mple.org/', /no host that can be used/]]) {
      await refused(served, url, 'invalid_value', words);
    }
    for (const url of ['file:///etc/passwd', 'ftp://example.org/a.png', 'gopher://127.0.0.1/', '/a.png']) {
      await refused(served, url, 'unsupported_value', /only http:, https: and data: URLs/);
    }
  });

  it('redirects are followed five times, and each is looked at anew', async () => {
    const served = await serve();
    const {pictures, see} = served;
    const inner = keep(await new PictureServer({host: '127.0.0.1'}).start());
    for (let i = 1; i <= 6; i++) pictures.redirect(`/r/${i}`, i === 1 ? '/7' : `../r/./${i - 1}`, [301, 302, 303, 307, 308][i % 5]);
    assert.equal((await see(`${pictures.origin}/r/5`)).status, 200);
    served.site.requests.length = 0;
    await refused(served, `${pictures.origin}/r/6`, 'invalid_value', /redirected too often/);
    await refused(served, pictures.redirect('/loop', '/loop'), 'invalid_value', /redirected too often/);
    for (const to of [`${inner.origin}/secret`, `//localhost:${inner.port}/secret`, 'http://169.254.169.254/latest/meta-data']) {
      await refused(served, pictures.redirect(`/to/${encodeURIComponent(to)}`, to), 'unsupported_value', NOT_PUBLIC);
    }
    for (const to of ['file:///etc/passwd', 'http://2130706433/', 'data:image/png;base64,AAAA', 'http://u:p@127.0.0.2/', '']) {
      await refused(served, pictures.redirect(`/bad/${encodeURIComponent(to)}`, to), 'unsupported_value', /redirected to one that cannot be used/);
    }
    assert.equal(inner.requests.length, 0);
  });

  it('only what begins as a picture is one', async () => {
    const served = await serve();
    const {pictures} = served;
    const sends = (path, body, headers) => pictures.on(path, (req, res) => pictures.send(res, Buffer.from(body), headers));
    await refused(served, sends('/html', '<!doctype html><title>secret</title>'), 'invalid_value', NO_PICTURE);
    await refused(served, sends('/svg', '<svg xmlns="http://www.w3.org/2000/svg"/>', {'content-type': 'image/svg+xml'}), 'invalid_value', NO_PICTURE);
    await refused(served, sends('/nothing', ''), 'invalid_value', NO_PICTURE);
    await refused(served, sends('/text', `BMsecret ${'x'.repeat(100)}`), 'invalid_value', NO_PICTURE);
    await refused(served, pictures.on('/404', (req, res) => { res.writeHead(404, {'content-type': 'image/png'}); res.end(png()); }), 'invalid_value', NOT_GIVEN);
    await refused(served, pictures.on('/204', (req, res) => { res.writeHead(204); res.end(); }), 'invalid_value', NOT_GIVEN);
    await refused(served, pictures.on('/reset', (req) => req.socket.destroy()), 'invalid_value', NOT_GIVEN);
    await refused(served, pictures.on('/short', (req, res) => { res.writeHead(200, {'content-length': 1000}); res.write(png()); setImmediate(() => req.socket.destroy()); }), 'invalid_value', NOT_GIVEN);
  });

  it('what is too large ends at the limit: told, endless, or packed', async () => {
    const served = await serve();
    const {pictures} = served;
    const large = /larger than 64 KiB \(server\.fetch_images_max\)/;
    for (const plan of [endless, bomb, (req, res) => pictures.send(res, png(1, 65536))]) {
      await refused(served, pictures.on('/large', plan), 'invalid_value', large);
    }
    assert.equal((await served.see(pictures.on('/just', (req, res) => pictures.send(res, png(1, 60000))))).status, 200);
  });

  it('a server that drips, and one that never answers, end with the time', async () => {
    const served = await serve({server: {...FETCH, fetch_images_timeout: '700ms'}});
    for (const plan of [drip, () => {}]) {
      const from = Date.now();
      await refused(served, served.pictures.on('/slow', plan), 'invalid_value', /did not come within 700 ms \(server\.fetch_images_timeout\)/);
      assert.ok(Date.now() - from < 5000);
    }
  });

  it('TLS is verified: an authority that nobody knows, another host, an old certificate', async () => {
    const {ca, selfSigned, good, expired, wrongHost} = certificates();
    for (const [tls, status] of [[selfSigned, 400], [expired, 400], [wrongHost, 400], [good, 200]]) {
      const served = await serve({tls, host: '127.0.0.1', server: {...FETCH, fetch_images_from: ['127.0.0.1/32']}, env: {SSL_CERT_FILE: ca}});
      const url = `${served.pictures.origin}/1`;
      if (status === 200) assert.equal((await served.see(url)).status, 200);
      else await refused(served, url, 'invalid_value', NOT_GIVEN);
    }
    const served = await serve({tls: good, host: '127.0.0.1', server: {...FETCH, fetch_images_from: ['127.0.0.1/32']}});
    await refused(served, `${served.pictures.origin}/1`, 'invalid_value', NOT_GIVEN);
    assert.equal(served.pictures.requests.length, 0);
  });

  it('a redirect does not leave TLS', async () => {
    const {ca, good} = certificates();
    const served = await serve({tls: good, host: '127.0.0.1', server: {...FETCH, fetch_images_from: ['127.0.0.0/8']}, env: {SSL_CERT_FILE: ca}});
    const plain = keep(await new PictureServer({host: INSIDE}).start());
    await refused(served, served.pictures.redirect('/down', `${plain.origin}/1`), 'unsupported_value', /redirected to one that cannot be used/);
    assert.equal(plain.requests.length, 0);
  });

  it('the same URL is fetched once in a request, and once in a few minutes; the part that is bad is named', async () => {
    const served = await serve();
    const {pictures, ask, see, sent} = served;
    const url = (n) => `${pictures.origin}/${n}`;
    assert.equal((await see(url(1), url(2), url(1), url(3), url(4), url(5), url(6))).status, 200);
    assert.equal((await see(url(1), url(6))).status, 200);
    assert.deepEqual(pictures.requests.map((r) => r.url).sort(), ['/1', '/2', '/3', '/4', '/5', '/6']);
    const uncached = pictures.on('/private', (req, res) => pictures.send(res, png(9), {'cache-control': 'private, no-store'}));
    await see(uncached);
    await see(uncached);
    assert.equal(pictures.count('/private'), 2);
    const before = sent().length;
    const messages = [user(text('a'), picture(url(1))), {role: 'assistant', content: 'b'}, user(text('c'), picture(url(2)), picture(pictures.redirect('/gone', 'gopher://x')))];
    await checkError(await ask(messages), {status: 400, type: 'invalid_request_error', code: 'unsupported_value', param: 'messages[2].content[2]'});
    assert.equal(sent().length, before);
    await checkError(await see(...Array.from({length: 33}, (_, i) => url(100 + i))), bad('unsupported_value', 33));
  });

  it('a client that leaves ends the fetch; nobody waits for an account meanwhile', async () => {
    const {site, pictures, ask, see} = await serve();
    let arrived, left;
    const asked = new Promise((resolve) => { arrived = resolve; });
    const gone = new Promise((resolve) => { left = resolve; });
    pictures.onLeft = left;
    const leave = new AbortController();
    const answer = ask([user(picture(pictures.on('/never', () => arrived())))], {signal: leave.signal}).catch(() => 'left');
    await within(5000, asked, 'the request for the picture');
    assert.equal((await see(`${pictures.origin}/1`)).status, 200); // zai lets one request at a time
    leave.abort();
    await within(5000, gone, 'the end of the fetch');
    assert.equal(await answer, 'left');
    assert.equal(site.chatRequests().length, 1);
  });

  it('a stream waits for its pictures, and a refusal is a true 400', async () => {
    const {pictures, gateway} = await serve({server: {...FETCH, fetch_images_timeout: '300ms'}});
    const ask = (url) => chat(gateway.base, {model: 'zai/glm-4.6v', stream: true, messages: [user(picture(url))]});
    await checkError(await ask(pictures.on('/never', () => {})), bad('invalid_value', 0));
    assert.match(await (await ask(`${pictures.origin}/1`)).text(), /\[DONE\]/);
  });

  it('sites that take URLs get the URL; after one that does not, in a chain, as well', async () => {
    const pictures = keep(await new PictureServer({host: INSIDE}).start());
    const zai = keep(await new Zai().start());
    const open = keep(await new OpenAiSite().start());
    const gateway = keep(await startGateway({server: FETCH, sites: [{name: 'zai', adapter: 'zai', ...zai.config(), accounts: [{name: 'me', token: jwt('person')}]},
      {name: 'open', adapter: 'openai', ...open.config({base_url: `${open.origin}/v1`}), accounts: [{name: 'me', api_key: 'sk-upstream'}]}], models: [{id: 'chain', targets: ['zai/glm-4.6v', 'open/any']}]}));
    const url = `${pictures.origin}/1`, hidden = 'http://127.0.0.1:1/secret';
    assert.equal((await chat(gateway.base, {model: 'open/any', messages: [user(text('a'), picture(url))]})).status, 200);
    assert.equal((await chat(gateway.base, {model: 'chain', messages: [user(text('a'), picture(hidden))]})).status, 200);
    assert.deepEqual(open.chatRequests().map((r) => r.json.messages[0].content[1].image_url.url), [url, hidden]);
    assert.equal(pictures.requests.length, 0);
  });
});
