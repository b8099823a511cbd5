// Pass-through routes (docs/routes.md; sites/passthrough.md part A) against recording upstreams over TLS.
import assert from 'node:assert/strict';
import {after, afterEach, before, beforeEach, describe, it} from 'node:test';
import {Recorder} from '../sites/recorder.mjs';
import {run, startGateway} from './lib/gateway.mjs';
import {Wire} from './lib/http.mjs';

// The sites here tell clients what they were asked, credentials included.
const startPassing = (config) => startGateway(config, {passes: true});

const OURS = 'gateway-key-0123456789', ACCOUNT = 'sk-account-0123456789abcdef';
const json = {'content-type': 'application/json'};

describe('what a route sends up', () => {
  let site, gateway;
  const get = (path, headers = {}, more = {}) => fetch(gateway.origin + path, {headers: {authorization: `Bearer ${OURS}`, ...headers}, ...more});
  before(async () => {
    site = await new Recorder({forbidden: [OURS]}).start();
    gateway = await startPassing({keys: [{name: 'app', key: OURS}], routes: [
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

describe('headers, both ways', () => {
  let site, gateway;
  before(async () => {
    site = await new Recorder({forbidden: [OURS]}).start();
    gateway = await startPassing({keys: [{name: 'app', key: OURS}], server: {cors_origins: ['https://app.example']},
      routes: [site.route({preset: 'openai', key: ACCOUNT}), site.route({preset: 'anthropic', key: ACCOUNT})]});
  });
  after(async () => {
    await gateway?.stop();
    await site?.stop();
  });
  afterEach(() => assert.deepEqual(site.violations, []));

  it('up: what is the client\'s own business stays here, what the service reads goes on', async () => {
    const kept = {'Content-Type': 'application/x-odd; a="b"', Accept: 'text/event-stream', 'User-Agent': 'OpenAI/JS 7.55.0', 'anthropic-version': '2023-06-01', 'anthropic-beta': 'x,y',
      'OpenAI-Beta': 'assistants=v2', 'OpenAI-Organization': 'org', 'OpenAI-Project': 'p', 'x-goog-api-client': 'gl', 'x-goog-upload-command': 'start', 'Idempotency-Key': 'i',
      'x-stainless-lang': 'js', Range: 'bytes=0-9', 'X-Odd': 'h\xe9 "'};
    const dropped = {Cookie: 'a=b', Origin: 'https://app.example', Referer: 'https://app.example/x', 'Sec-Fetch-Mode': 'cors', 'X-Forwarded-For': '1.2.3.4', 'X-Forwarded-Host': 'x',
      Forwarded: 'for=1', 'CF-Ray': '1', 'X-Real-IP': '1.2.3.4', 'Keep-Alive': 'timeout=5', 'Proxy-Authorization': 'Basic x', TE: 'trailers', Trailer: 'X-T', Via: '1.1 x', 'X-Named': 'hop', 'Accept-Encoding': 'gzip, br',
      'x-api-key': OURS, 'api-key': OURS, 'x-goog-api-key': OURS};
    const wire = await Wire.open(gateway.port);
    const lines = Object.entries({...kept, ...dropped}).map(([k, v]) => `${k}: ${v}\r\n`).join('');
    wire.write(Buffer.from(`POST /openai/v1/x HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: keep-alive, x-named\r\nAuthorization: Bearer ${OURS}\r\n${lines}Content-Length: 2\r\n\r\n{}`, 'latin1'));
    const answer = await wire.answer();
    wire.socket.destroy();
    assert.equal(answer.status, 200);
    const {headers} = site.last;
    for (const [name, value] of Object.entries(kept)) assert.equal(headers[name.toLowerCase()], value, name);
    for (const name of Object.keys(dropped)) assert.equal(headers[name.toLowerCase()], name === 'Accept-Encoding' ? 'identity' : undefined, name);
    assert.deepEqual([headers.authorization, headers.connection, headers['content-length']], [`Bearer ${ACCOUNT}`, 'keep-alive', '2']);
  });

  it('down: a reason phrase with control characters becomes the usual one', async () => {
    site.next((req) => req.socket.end('HTTP/1.1 404 O\x1bK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}'));
    const answer = await fetch(`${gateway.origin}/openai/v1/x`, {headers: {authorization: `Bearer ${OURS}`}});
    assert.deepEqual([answer.status, answer.statusText, await answer.text()], [404, 'Not Found', '{}']);
  });

  it('down: hop-by-hop, cookies, CORS and transport policies stay here; ids and limits go on; the reason phrase too', async () => {
    site.next((req, res) => {
      res.writeHead(418, 'Short and Stout', {'content-type': 'application/json', 'x-request-id': 'req-up', 'request-id': 'r2', 'retry-after': '7', 'retry-after-ms': '7000', 'x-should-retry': 'true',
        'anthropic-ratelimit-requests-limit': '5', 'openai-processing-ms': '12', 'x-ratelimit-limit-requests': '9', 'x-goog-x': 'y', 'set-cookie': ['a=b', 'c=d'], 'access-control-allow-origin': '*',
        'access-control-allow-credentials': 'true', 'alt-svc': 'h3', 'strict-transport-security': 'max-age=1', connection: 'keep-alive, x-hop', 'x-hop': '1', 'proxy-authenticate': 'Basic', 'www-authenticate': 'Basic realm="x"', 'keep-alive': 'timeout=3', 'content-length': 2});
      res.end('{}');
    });
    const wire = await Wire.open(gateway.port);
    wire.write(`GET /openai/v1/x HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: https://app.example\r\nAuthorization: Bearer ${OURS}\r\n\r\n`);
    const {status, reason, headers, body} = await wire.answer();
    wire.socket.destroy();
    assert.deepEqual([status, reason, body], [418, 'Short and Stout', '{}']);
    for (const [name, value] of Object.entries({'x-request-id': 'req-up', 'request-id': 'r2', 'retry-after': '7', 'retry-after-ms': '7000', 'x-should-retry': 'true', 'anthropic-ratelimit-requests-limit': '5',
      'openai-processing-ms': '12', 'x-ratelimit-limit-requests': '9', 'x-goog-x': 'y', 'content-length': '2', 'access-control-allow-origin': 'https://app.example', vary: 'Origin'})) assert.equal(headers[name], value, name);
    for (const name of ['set-cookie', 'access-control-allow-credentials', 'alt-svc', 'strict-transport-security', 'connection', 'x-hop', 'proxy-authenticate', 'www-authenticate', 'keep-alive']) assert.equal(headers[name], undefined, name);
    const exposed = headers['access-control-expose-headers'].split(', ');
    for (const name of ['x-request-id', 'request-id', 'retry-after', 'anthropic-ratelimit-requests-limit', 'x-goog-x']) assert.ok(exposed.includes(name), name);
    assert.deepEqual(exposed.filter((name, i) => exposed.indexOf(name) !== i), []);
    await gateway.logged(/passage .*status=418 .*site_id=r(eq-up|2)/);
  });

  it('an id of ours where the upstream gives none', async () => {
    const answer = await fetch(`${gateway.origin}/anthropic/v1/models`, {headers: {'x-api-key': OURS}});
    const id = answer.headers.get('x-request-id');
    assert.match(id, /^req_/);
    assert.equal(answer.headers.get('request-id'), id);
    await answer.text();
    await gateway.logged(new RegExp(`passage id=${id} `));
  });

  it('preflights never reach the upstream', async () => {
    const before = site.requests.length;
    const preflight = (origin) => fetch(`${gateway.origin}/anthropic/v1/messages`, {method: 'OPTIONS', headers: {origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'x-api-key, anthropic-version'}});
    const good = await preflight('https://app.example');
    assert.equal(good.status, 204);
    assert.equal(good.headers.get('access-control-allow-origin'), 'https://app.example');
    assert.equal(good.headers.get('access-control-allow-headers'), 'x-api-key, anthropic-version');
    assert.equal(good.headers.get('access-control-allow-methods'), 'GET, POST, PUT, PATCH, DELETE, OPTIONS');
    assert.equal(good.headers.get('access-control-max-age'), '86400');
    assert.match(good.headers.get('vary'), /Origin/);
    assert.equal(good.headers.get('access-control-allow-credentials'), null);
    const bad = await preflight('https://evil.example');
    assert.equal(bad.status, 403);
    assert.equal(bad.headers.get('access-control-allow-origin'), null);
    assert.equal(bad.headers.get('access-control-allow-headers'), null);
    assert.equal(site.requests.length, before);
  });

  it('errors of ours carry CORS headers, too', async () => {
    const answer = await fetch(`${gateway.origin}/anthropic/v1/messages`, {method: 'POST', headers: {origin: 'https://app.example', 'x-api-key': 'wrong'}, body: '{}'});
    assert.equal(answer.status, 401);
    assert.equal(answer.headers.get('access-control-allow-origin'), 'https://app.example');
    await answer.text();
  });
});

describe('what a route refuses', () => {
  let site, gateway;
  before(async () => {
    site = await new Recorder({forbidden: [OURS]}).start();
    gateway = await startPassing({keys: [{name: 'app', key: OURS}, {name: 'tied', key: 'key-of-the-tied-one', accounts: ['demo/default']}, {name: 'rare', key: 'key-of-the-rare-one', rpm: 1}],
      sites: [{name: 'demo', adapter: 'demo'}], routes: [
        site.route({preset: 'openai', key: ACCOUNT}), site.route({preset: 'anthropic', key: ACCOUNT}), site.route({preset: 'gemini', key: ACCOUNT}),
        site.route({prefix: '/few', methods: ['GET'], paths: ['/a/*', '/b']}),
        {preset: 'openai', prefix: '/nobody', upstream: 'https://127.0.0.1:1', key: ACCOUNT},
      ]});
  });
  after(async () => {
    await gateway?.stop();
    await site?.stop();
  });
  const raw = async (line, more = '') => {
    const wire = await Wire.open(gateway.port);
    wire.write(`${line} HTTP/1.1\r\nHost: 127.0.0.1:${gateway.port}\r\nAuthorization: Bearer ${OURS}\r\n${more}\r\n`);
    const answer = await wire.answer();
    wire.socket.destroy();
    return answer;
  };

  for (const target of ['/openai//evil.example/x', '/openai//', '/openai/v1//x', '//openai/v1/models', '/openai/../gemini/v1beta/models', '/openai/./v1', '/openai/..', '/openai/v1/..;/x', '/openai/%2e%2e/x', '/openai/.%2E/x',
    '/openai/v1%2Fmodels', '/openai/%2f%2fevil.example', '/openai/v1%5cx', '/openai/v1\\x', '/openai\\evil.example', '/openai@evil.example/', '/openai/@evil.example/', '/openai/x:y@evil.example', '/openai%2f..', '/openai:80/x',
    '/openai/%0d%0aX:y', '/openai/a%00b', '/openai/%zz', '/openai/v1#x', 'http://evil.example/openai/v1/models', 'https://evil.example:1/openai/x']) {
    it(`400 for ${target}, and nothing goes up`, async () => {
      const before = site.requests.length;
      const {status, body} = await raw(`GET ${target}`);
      assert.equal(status, 400, body);
      assert.equal(JSON.parse(body).error.code, 'invalid_value');
      assert.equal(site.requests.length, before);
    });
  }

  it('CONNECT and absolute forms elsewhere are no open proxy', async () => {
    const before = site.requests.length;
    assert.equal((await raw('CONNECT evil.example:443')).status, 400);
    assert.equal((await raw('CONNECT /openai/v1/models')).status, 400);
    assert.ok((await raw('GET http://evil.example/other')).status >= 400);
    assert.equal(site.requests.length, before);
  });

  it('header values that could become lines are refused', async () => {
    for (const value of ['a\nX-Evil: 1', 'a\rb', 'a\0b']) assert.equal((await raw('GET /openai/v1/models', `X-Odd: ${value}\r\n`)).status, 400);
    assert.ok(site.requests.every((r) => !('x-evil' in r.headers)));
  });

  it('an @ further behind is a version\'s sign, not a host\'s', async () => {
    const {status} = await raw('GET /openai/models/claude@20250514:rawPredict');
    assert.equal(status, 200);
    assert.equal(site.last.url, '/models/claude@20250514:rawPredict');
  });

  it('methods and paths', async () => {
    const post = await raw('POST /few/a/b', 'Content-Length: 0\r\n');
    assert.deepEqual([post.status, post.headers.allow], [405, 'GET, OPTIONS']);
    assert.equal((await raw('TRACE /openai/x')).status, 405);
    assert.equal((await raw('GET /few/c')).status, 404);
    assert.equal((await raw('GET /fewer/a/b')).status, 404);
    assert.equal((await raw('GET /few/a/b/c?d')).status, 200);
    assert.equal((await raw('GET /few/b')).status, 200);
  });

  it('errors in the words of the protocol', async () => {
    const ask = async (path, key = 'wrong') => {
      const answer = await fetch(gateway.origin + path, {method: 'POST', headers: {authorization: `Bearer ${key}`}, body: '{}'});
      return {status: answer.status, headers: answer.headers, body: await answer.json()};
    };
    const openai = await ask('/openai/v1/x'), anthropic = await ask('/anthropic/v1/messages'), google = await ask('/gemini/v1beta/models/m:generateContent');
    assert.deepEqual([openai.status, openai.body.error.code, openai.headers.get('www-authenticate')], [401, 'invalid_api_key', 'Bearer']);
    assert.deepEqual([anthropic.status, anthropic.body.type, anthropic.body.error.type, anthropic.body.request_id], [401, 'error', 'authentication_error', anthropic.headers.get('request-id')]);
    assert.deepEqual([google.status, google.body.error.code, google.body.error.status], [401, 401, 'UNAUTHENTICATED']);
    assert.equal((await ask('/openai/v1/x', '')).body.error.code, 'missing_api_key');
    const tied = await ask('/openai/v1/x', 'key-of-the-tied-one');
    assert.deepEqual([tied.status, tied.body.error.code], [403, 'access_denied']);
    assert.equal((await ask('/openai/v1/x', 'key-of-the-rare-one')).status, 200);
    const limited = await ask('/anthropic/v1/x', 'key-of-the-rare-one');
    assert.deepEqual([limited.status, limited.body.error.type], [429, 'rate_limit_error']);
    assert.ok(Number(limited.headers.get('retry-after')) > 0);
    const nobody = await ask('/nobody/v1/x', OURS);
    assert.deepEqual([nobody.status, nobody.body.error.code], [502, 'upstream_unreachable']);
  });

  it('two different keys are one too many', async () => {
    const answer = await fetch(`${gateway.origin}/openai/v1/x`, {headers: {authorization: `Bearer ${OURS}`, 'x-api-key': 'other'}});
    assert.equal(answer.status, 401);
    assert.equal((await fetch(`${gateway.origin}/openai/v1/x?key=${OURS}`, {headers: {'x-api-key': OURS}})).status, 200);
  });

  it('our own API is where it was', async () => {
    const models = await fetch(`${gateway.base}/models`, {headers: {authorization: `Bearer ${OURS}`}});
    assert.deepEqual((await models.json()).data[0].owned_by, 'demo');
  });
});

describe('accounts of a route', () => {
  let site, gateway;
  const A = 'sk-account-aaaaaaaaaaaaaaa', B = 'sk-account-bbbbbbbbbbbbbbb';
  const ask = (path = '/openai/v1/x', more = {}) => fetch(gateway.origin + path, {method: 'POST', body: '{"q":1}', ...more});
  const usedKey = (r) => r.headers.authorization?.slice(7);
  beforeEach(async () => {
    site = await new Recorder().start();
    gateway = await startPassing({routes: [site.route({preset: 'openai', accounts: [{name: 'a', key: A}, {name: 'b', key: B}]})]});
  });
  afterEach(async () => {
    await gateway?.stop();
    await site?.stop();
    assert.deepEqual(site.violations, []);
  });
  const refuse = (status, headers = {}) => (req, res) => res.writeHead(status, {'content-type': 'application/json', ...headers}).end(`{"error":"${status}"}`);

  for (const status of [401, 403, 429, 500, 503, 529]) {
    it(`${status}: the other account gets the same request, and the client sees nothing of it`, async () => {
      site.next(refuse(status, {'retry-after': '30'}));
      const answer = await ask();
      assert.equal(answer.status, 200);
      assert.equal((await answer.json()).bytes, 7);
      assert.deepEqual(site.requests.map(usedKey).sort(), [A, B]);
      assert.equal(site.last.body.toString(), '{"q":1}');
      await gateway.logged(/passage .*site_status=200 .*tries=2/);
      if (status === 429) { // it rests: the next three go to the other one
        const before = site.requests.length;
        for (let i = 0; i < 3; i++) await (await ask()).text();
        assert.ok(site.requests.slice(before).every((r) => usedKey(r) === usedKey(site.requests[1])));
      }
    });
  }

  it('none is left: the upstream\'s own answer; and when all rest, a 429 of ours', async () => {
    site.next(refuse(429, {'retry-after': '30'}), refuse(429, {'retry-after': '40', 'x-mark': 'theirs'}));
    const theirs = await ask();
    assert.deepEqual([theirs.status, theirs.headers.get('x-mark'), await theirs.text()], [429, 'theirs', '{"error":"429"}']);
    const ours = await ask();
    assert.equal(ours.status, 429);
    assert.equal((await ours.json()).error.code, 'upstream_rate_limited');
    assert.ok(Number(ours.headers.get('retry-after')) <= 30);
    assert.equal(site.requests.length, 2);
  });

  it('Gemini tells in the body that a key is wrong, or how long it has to rest', async () => {
    const own = await startPassing({routes: [site.route({preset: 'gemini', accounts: [{name: 'a', key: A}, {name: 'b', key: B}]})]});
    const google = (status, details, more = '') => (req, res) => res.writeHead(status, {'content-type': 'application/json; charset=UTF-8'}).end(JSON.stringify({error: {code: status, message: 'no', status: 'X', details: [details]}}, null, 2) + more);
    const wrong = {'@type': 'type.googleapis.com/google.rpc.ErrorInfo', reason: 'API_KEY_INVALID'}, rest = {'@type': 'type.googleapis.com/google.rpc.RetryInfo', retryDelay: '3600.5s'};
    const states = async () => JSON.parse((await run(['accounts', '-c', own.file, '--json'])).stdout).accounts;
    try {
      const go = () => fetch(`${own.origin}/gemini/v1beta/models/m:generateContent`, {method: 'POST', body: '{}'});
      const key = (r) => r.headers['x-goog-api-key'];
      site.next(google(429, rest));
      assert.equal((await go()).status, 200);
      assert.notEqual(key(site.requests[0]), key(site.requests[1]));
      const [cooling] = (await states()).filter((a) => a.state === 'cooling');
      assert.equal((await fetch(`${own.origin}/gemini/x`)).status, 200);
      site.next(google(400, {reason: 'BAD_FIELD'}), google(400, wrong), google(429, rest, ' '.repeat(200_000)));
      const bad = await go(), theirs = await go(), long = await go();
      assert.deepEqual([bad.status, (await bad.json()).error.details[0].reason], [400, 'BAD_FIELD']);
      assert.deepEqual([theirs.status, (await theirs.json()).error.details[0].reason], [400, 'API_KEY_INVALID']);
      assert.equal((await long.json()).error.details[0].retryDelay, '3600.5s'); // too long to be held, and whole all the same
      assert.ok(cooling);
      assert.equal((await go()).status, 429);
    } finally {
      await own.stop();
    }
  });

  it('other refusals are the client\'s own', async () => {
    for (const status of [400, 404, 413, 422]) {
      site.next(refuse(status));
      assert.equal((await ask()).status, status);
    }
    assert.equal(site.requests.length, 4);
  });

  it('a body over 8 MiB is not kept for another try', async () => {
    site.next(refuse(500));
    const answer = await ask('/openai/v1/x', {body: Buffer.alloc(9 << 20)});
    assert.equal(answer.status, 500);
    assert.equal(site.requests.length, 1);
    assert.equal(site.last.bytes, 9 << 20);
  });

  it('a kept body goes out whole the second time, with a length and chunked', async () => {
    const body = Buffer.alloc(5 << 20, 'k');
    for (const chunked of [false, true]) {
      site.next(refuse(500));
      const more = chunked ? {body: new ReadableStream({start(c) { c.enqueue(body.subarray(0, 3 << 20)); c.enqueue(body.subarray(3 << 20)); c.close(); }}), duplex: 'half'} : {body};
      assert.equal((await (await ask('/openai/v1/x', more)).json()).bytes, body.length);
      assert.ok(site.last.body.equals(body));
    }
    assert.equal(site.requests.length, 4);
  });

  it('a connection that was closed while idle costs nothing', async () => {
    await (await ask()).text();
    await (await ask()).text();
    for (const socket of site.sockets) socket.destroy();
    assert.equal((await ask()).status, 200);
    await (await ask()).text();
    site.next((req, res) => res.destroy()); // closed just when the request came
    const again = await ask();
    assert.deepEqual([again.status, (await again.json()).bytes, site.requests.length], [200, 7, 6]);
    assert.equal((await ask('/openai/v1/x', {body: new ReadableStream({start(c) { c.enqueue(Buffer.from('abc')); c.close(); }}), duplex: 'half'})).status, 200);
  });
});

describe('the account\'s key', () => {
  it('never comes back: not in bodies, across pieces, in the reason phrase, headers, errors or the log', async () => {
    const site = await new Recorder({forbidden: [OURS]}).start();
    const gateway = await startPassing({keys: [{name: 'app', key: OURS}], routes: [site.route({preset: 'openai', key: ACCOUNT}), site.route({prefix: '/q', inject: 'query:key', key: ACCOUNT})]});
    try {
      const text = `{"error":"Incorrect API key provided: ${ACCOUNT}","again":"${ACCOUNT}${ACCOUNT}"}`;
      const echo = (split) => (req, res) => {
        res.writeHead(400, `Bad key ${ACCOUNT}`, {'content-type': 'application/json', 'content-length': text.length, 'x-echo': `key ${ACCOUNT}!`, location: `https://x/?key=${ACCOUNT}&a=b`});
        let i = 0;
        const next = () => {
          if (i >= text.length) return res.end();
          res.write(text.slice(i, i += split), () => setImmediate(next));
        };
        next();
      };
      for (const split of [1, 7, 40, 1000]) {
        site.next(echo(split));
        const answer = await fetch(`${gateway.origin}/openai/v1/x`, {headers: {authorization: `Bearer ${OURS}`}, redirect: 'manual'});
        const body = await answer.text();
        assert.equal(body, text.replaceAll(ACCOUNT, '*'.repeat(ACCOUNT.length)));
        assert.equal(answer.statusText, 'Bad key ***');
        assert.equal(answer.headers.get('x-echo'), 'key ***!');
        assert.equal(answer.headers.get('location'), 'https://x/?key=***&a=b');
      }
      // what only looks like its beginning arrives whole
      site.next((req, res) => res.writeHead(200, {'content-type': 'text/plain'}).end(ACCOUNT.slice(0, -1)));
      assert.equal(await (await fetch(`${gateway.origin}/q/x`, {headers: {authorization: `Bearer ${OURS}`}})).text(), ACCOUNT.slice(0, -1));
      assert.doesNotMatch(gateway.stderr + gateway.stdout, new RegExp(`${ACCOUNT}|${OURS}`));
      assert.deepEqual(site.violations, []);
    } finally {
      await gateway.stop();
      await site.stop();
    }
  });
});

describe('a route to one of the sites', () => {
  let site, gateway;
  const KEY = 'sk-of-the-site-0123456789';
  const ask = (path, headers = {}, more = {}) => fetch(gateway.origin + path, {method: 'POST', body: '{}', headers, ...more});
  before(async () => {
    site = await new Recorder({forbidden: [OURS]}).start();
    const {upstream, ca_file} = site.route();
    gateway = await startPassing({keys: [{name: 'app', key: OURS}, {name: 'tied', key: 'key-of-the-tied-one', accounts: ['slow/a']}], sites: [
      {name: 'up', adapter: 'openai', base_url: `${upstream}/v1`, ca_file, models: ['m'], accounts: [{name: 'a', api_key: KEY}]},
      {name: 'slow', adapter: 'openai', base_url: upstream, ca_file, models: ['m'], max_concurrent: 1, queue_timeout: '2s', accounts: [{name: 'a', api_key: KEY}]},
      {name: 'open', adapter: 'openai', base_url: upstream, ca_file, models: ['m'], keys: {passthrough: true}, accounts: [{name: 'a', api_key: KEY}]},
      {name: 'bare', adapter: 'openai', base_url: upstream, ca_file, models: ['m']},
    ], routes: ['up', 'slow', 'open', 'bare'].map((name) => ({prefix: `/${name}`, site: name}))});
  });
  after(async () => {
    await gateway?.stop();
    await site?.stop();
  });
  afterEach(() => assert.deepEqual(site.violations, []));
  const auth = {authorization: `Bearer ${OURS}`};

  it('has its address, its accounts and its CA; a repeated version is said once', async () => {
    await (await ask('/up/v1/chat/completions', auth)).text();
    assert.deepEqual([site.last.url, site.last.headers.authorization], ['/v1/chat/completions', `Bearer ${KEY}`]);
    await (await ask('/up/chat/completions', auth)).text();
    assert.equal(site.last.url, '/v1/chat/completions');
    await gateway.logged(/passage .*route=\/up .*site=up account=a status=200/);
    await (await ask('/bare/x', auth)).text();
    assert.equal(site.last.headers.authorization, undefined);
  });

  it('keeps its pace: who comes second waits, with the body still to come', async () => {
    let free;
    site.next((req, res) => (free = () => res.end('first')));
    const first = ask('/slow/x', auth);
    while (!free) await new Promise(setImmediate);
    const body = Buffer.alloc(3 << 20, 'b'), second = ask('/slow/y', auth, {body}), before = site.requests.length;
    assert.equal(site.requests.length, before);
    free();
    assert.equal(await (await first).text(), 'first');
    assert.equal((await (await second).json()).bytes, body.length);
    site.next((req, res) => (free = () => res.end('third')));
    free = null;
    const third = ask('/slow/x', auth);
    while (!free) await new Promise(setImmediate);
    const late = await ask('/slow/y', auth);
    assert.deepEqual([late.status, (await late.json()).error.code], [503, 'overloaded']);
    const gone = new AbortController(), waiting = ask('/slow/y', auth, {signal: gone.signal}).catch(() => {});
    gone.abort();
    await waiting;
    free();
    await (await third).text();
  });

  it('serves keys that are tied to it, and no others', async () => {
    assert.equal((await ask('/slow/x', {authorization: 'Bearer key-of-the-tied-one'})).status, 200);
    assert.equal((await ask('/up/x', {authorization: 'Bearer key-of-the-tied-one'})).status, 403);
  });

  it('takes a client\'s own key where the site does', async () => {
    await (await ask('/open/x', {authorization: 'Bearer sk-their-own'})).text();
    assert.equal(site.last.headers.authorization, 'Bearer sk-their-own');
    await (await ask('/open/x', auth)).text();
    assert.equal(site.last.headers.authorization, `Bearer ${KEY}`);
    assert.equal((await ask('/up/x', {authorization: 'Bearer sk-their-own'})).status, 401);
  });
});

describe('routes and reloads', () => {
  it('the next request meets the new configuration, the running one keeps its own', async () => {
    const site = await new Recorder().start();
    const config = (key, more = {}) => ({routes: [site.route({preset: 'openai', accounts: [{name: 'a', key}], ...more})]});
    const gateway = await startPassing(config('sk-first-0123456789'));
    try {
      let res;
      const begun = new Promise((resolve) => site.next((req, r) => (res = r, r.write('a', resolve))));
      const running = await fetch(`${gateway.origin}/openai/x`, {method: 'POST', body: '{}'});
      await begun;
      gateway.write(config('sk-second-0123456789', {prefix: '/other'}));
      const from = gateway.stderr.length;
      gateway.signal('SIGHUP');
      await gateway.logged(/reload|configuration/i, {from});
      assert.equal((await fetch(`${gateway.origin}/openai/x`)).status, 404);
      assert.equal((await fetch(`${gateway.origin}/other/x`)).status, 200);
      assert.equal(site.last.headers.authorization, 'Bearer sk-second-0123456789');
      res.end('b');
      assert.equal(await running.text(), 'ab');
      const {stdout} = await run(['accounts', '-c', gateway.file, '--json']);
      assert.deepEqual(JSON.parse(stdout).accounts.map((a) => [a.site, a.account, a.state]), [['route.other', 'a', 'ready']]);
      const check = await run(['check', '-c', gateway.file]);
      assert.equal(check.code, 0);
      assert.match(check.stdout, /\[\[routes\]\]\nprefix = "\/other"/);
      assert.doesNotMatch(check.stdout, /sk-second/);
    } finally {
      await gateway.stop();
      await site.stop();
    }
  });
});
