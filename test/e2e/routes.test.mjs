// Pass-through routes (docs/routes.md; sites/passthrough.md part A) against recording upstreams over TLS.
import assert from 'node:assert/strict';
import {after, afterEach, before, describe, it} from 'node:test';
import {Recorder} from '../sites/recorder.mjs';
import {startGateway} from './lib/gateway.mjs';

const OURS = 'gateway-key-0123456789', ACCOUNT = 'sk-account-0123456789abcdef';
const json = {'content-type': 'application/json'};

describe('what a route sends up', () => {
  let site, gateway;
  const get = (path, headers = {}, more = {}) => fetch(gateway.origin + path, {headers: {authorization: `Bearer ${OURS}`, ...headers}, ...more});
  before(async () => {
    site = await new Recorder({forbidden: [OURS]}).start();
    gateway = await startGateway({keys: [{name: 'app', key: OURS}], routes: [
      site.route({preset: 'openai', key: ACCOUNT}), site.route({preset: 'anthropic', key: ACCOUNT}), site.route({preset: 'gemini', key: ACCOUNT}),
      site.route({prefix: '/q', inject: 'query:access', key: 'a b&c=1'}),
      site.route({prefix: '/deep/er', upstream: `${site.origin}/api/v1`, inject: 'header:X-Token', key: ACCOUNT}),
      site.route({prefix: '/whole', strip_prefix: false, inject: 'none'}),
    ]});
  });
  after(async () => {
    await gateway?.stop();
    await site?.stop();
  });
  afterEach(() => assert.deepEqual(site.violations, []));

  it('POST with JSON: the account\'s bearer instead of ours, the body as it is', async () => {
    const body = ' {"model":"m",  "x":9007199254740993}';
    const answer = await get('/openai/v1/chat/completions', json, {method: 'POST', body});
    assert.equal(answer.status, 200);
    const seen = await answer.json();
    assert.deepEqual([seen.method, seen.url], ['POST', '/v1/chat/completions']);
    assert.equal(site.last.headers.authorization, `Bearer ${ACCOUNT}`);
    assert.equal(site.last.headers['content-length'], String(body.length));
    assert.equal(site.last.body.toString(), body);
    await gateway.logged(/passage .*key=app route=\/openai method=POST path=\/openai\/v1\/chat\/completions .*status=200 end=complete/);
  });

  it('GET: the query byte for byte', async () => {
    await (await get('/openai/v1/models?x=%2F%7e&&y=+a')).json();
    assert.equal(site.last.url, '/v1/models?x=%2F%7e&&y=+a');
    assert.equal(site.last.headers['content-length'], undefined);
  });

  it('Anthropic: x-api-key, and the version only where it is missing', async () => {
    await (await get('/anthropic/v1/messages?beta=true', {authorization: '', 'x-api-key': OURS, 'anthropic-beta': 'b1', ...json}, {method: 'POST', body: '{}'})).json();
    assert.deepEqual([site.last.url, site.last.headers['x-api-key'], site.last.headers['anthropic-version'], site.last.headers['anthropic-beta'], site.last.headers.authorization],
      ['/v1/messages?beta=true', ACCOUNT, '2023-06-01', 'b1', undefined]);
    await (await get('/anthropic/v1/messages', {'anthropic-version': '2099-01-01'}, {method: 'POST', body: ''})).json();
    assert.deepEqual([site.last.headers['anthropic-version'], site.last.headers['content-length']], ['2099-01-01', '0']);
  });

  it('Gemini: the key pair is cut out of the query, nothing else moves', async () => {
    const ask = async (query) => {
      assert.equal((await fetch(`${gateway.origin}/gemini/v1beta/models/m:streamGenerateContent?${query}`, {method: 'POST', body: '{}'})).status, 200);
      return site.last.url;
    };
    assert.equal(await ask(`alt=sse&key=${OURS}`), '/v1beta/models/m:streamGenerateContent?alt=sse');
    assert.equal(site.last.headers['x-goog-api-key'], ACCOUNT);
    assert.equal(await ask(`key=${OURS}`), '/v1beta/models/m:streamGenerateContent');
    assert.equal(await ask(`a=%2f&k%65y=${OURS}&&b=`), '/v1beta/models/m:streamGenerateContent?a=%2f&&b=');
  });

  it('the key in a query, in a header of any name, nowhere; prefixes of the upstream stay', async () => {
    await (await get('/q/x?access=mine&z=1')).json();
    assert.equal(site.last.url, '/x?z=1&access=a%20b%26c%3D1');
    await (await get('/deep/er/chat/completions')).json();
    assert.deepEqual([site.last.url, site.last.headers['x-token'], site.last.headers.authorization], ['/api/v1/chat/completions', ACCOUNT, undefined]);
    await (await get('/deep/er/v1/models')).json();
    assert.equal(site.last.url, '/api/v1/models');
    await (await get('/whole/a')).json();
    assert.deepEqual([site.last.url, site.last.headers.authorization], ['/whole/a', undefined]);
    await (await get('/deep/er')).json();
    assert.equal(site.last.url, '/api/v1/');
  });
});
