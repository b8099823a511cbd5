// A web page that calls the gateway by itself, from an origin of its own: what the browser allows, and what it lets the page see.
import assert from 'node:assert/strict';
import {once} from 'node:events';
import http from 'node:http';
import {after, before, describe, it} from 'node:test';
import {startGateway} from '../e2e/lib/gateway.mjs';
import {startBrowser} from './lib/browser.mjs';

const KEY = 'sk-page-0123456789abcdef';

let server, browser, origin, page, gateway;
before(async () => {
  server = http.createServer((_, res) => res.setHeader('content-type', 'text/html').end('<!doctype html><title>a chat page</title>')).listen(0, '127.0.0.1');
  await once(server, 'listening');
  origin = `http://127.0.0.1:${server.address().port}`;
  browser = await startBrowser();
}, {timeout: 60000});
after(async () => {
  await browser?.close();
  server?.closeAllConnections();
  server?.close();
});

/** In the page: POST /chat/completions as the OpenAI SDK does it in a browser. */
async function ask(base, key, body) {
  try {
    const response = await fetch(`${base}/chat/completions`, {method: 'POST', body: JSON.stringify(body), headers: {
      'authorization': `Bearer ${key}`, 'content-type': 'application/json', 'x-stainless-lang': 'js', 'x-stainless-retry-count': '0'}});
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader(), pieces = [];
    for (let r = await reader.read(); !r.done; r = await reader.read()) pieces.push(r.value);
    return {status: response.status, pieces, text: pieces.join(''), headers: Object.fromEntries(response.headers)};
  } catch (error) {
    return {refused: error.message};
  }
}

const message = (content, more = {}) => ({model: 'demo/echo', messages: [{role: 'user', content}], ...more});
const serve = async (cors_origins) => {
  gateway = await startGateway({server: cors_origins ? {cors_origins} : {}, keys: [{name: 'page', key: KEY}], sites: [{name: 'demo', adapter: 'demo'}]});
  page = await browser.newPage();
  await page.goto(origin);
};
const leave = async () => {
  await page?.close();
  await gateway?.stop();
};

for (const [what, origins] of [['by its exact name', () => [origin]], ['as everybody is', () => undefined]]) {
  describe(`a page that is let in ${what}`, {timeout: 60000}, () => {
    before(() => serve(origins()));
    after(leave);

    it('lists models', async () => {
      const list = await page.evaluate(async (base, key) => (await fetch(`${base}/models`, {headers: {authorization: `Bearer ${key}`}})).json(), gateway.base, KEY);
      assert.ok(list.data.some((m) => m.id === 'demo/echo'));
    });

    it('reads a stream while it comes, after a preflight', async () => {
      const devtools = await page.createCDPSession();
      await devtools.send('Network.enable');
      const preflights = [];
      devtools.on('Network.responseReceived', ({type, response}) => type === 'Preflight' && preflights.push(response.status));
      const {status, pieces, text, headers} = await page.evaluate(ask, gateway.base, KEY, message('80 a b c d e f', {model: 'demo/slow', stream: true}));
      assert.equal(status, 200);
      assert.ok(pieces.length >= 4, `${pieces.length} pieces`);
      assert.match(text, /data: \[DONE\]\n\n$/);
      assert.match(headers['x-request-id'], /^req_/);
      assert.deepEqual(preflights, [204]);
    });

    it('reads an error, with its id and when to come back', async () => {
      const {status, text, headers} = await page.evaluate(ask, gateway.base, KEY, message('!error rate_limited 7'));
      assert.equal(status, 429);
      assert.equal(JSON.parse(text).error.code, 'upstream_rate_limited');
      assert.equal(headers['retry-after'], '7');
      assert.match(headers['x-request-id'], /^req_/);
    });

    it('reads why a key is refused', async () => {
      const {status, text} = await page.evaluate(ask, gateway.base, 'sk-wrong', message('x'));
      assert.equal(status, 401);
      assert.equal(JSON.parse(text).error.code, 'invalid_api_key');
    });

    it('reads half an answer and the error after it', async () => {
      const {status, text} = await page.evaluate(ask, gateway.base, KEY, message('!cut after 2 words', {stream: true}));
      assert.equal(status, 200);
      assert.match(text, /"content":"Here"[^]*"code":"upstream_cut"/);
    });
  });
}

for (const [what, origins] of [['no page is let in', () => []], ['another page is let in', () => ['https://chat.example', origin.replace('http:', 'https:')]]]) {
  describe(`where ${what}`, {timeout: 60000}, () => {
    before(() => serve(origins()));
    after(leave);

    it('the browser refuses, before the request is sent', async () => {
      const from = gateway.stderr.length;
      assert.deepEqual(await page.evaluate(ask, gateway.base, KEY, message('x')), {refused: 'Failed to fetch'});
      assert.doesNotMatch(gateway.stderr.slice(from), /POST/);
    });

    it('the browser hides what it may ask for without a preflight', async () => {
      assert.equal(await page.evaluate((url) => fetch(url).then((r) => r.text(), (e) => e.message), `${gateway.origin}/health`), 'Failed to fetch');
    });
  });
}
