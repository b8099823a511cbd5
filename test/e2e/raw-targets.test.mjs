// Request lines and headers that are clear but odd: methods, targets, hosts, versions, sizes; HEAD and OPTIONS everywhere, and
// what a browser asks before it asks. Whether the connection goes on is part of each answer.
import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';
import {startDemo} from './lib/gateway.mjs';
import {checkStream} from './lib/http.mjs';
import {RawClient, chunked, contentOf, echo, get, head, isError, post} from './lib/raw.mjs';

const hello = echo('hello');
const latin = (text) => Buffer.from(text, 'latin1');

/** One request, its answer, and that the connection goes on (or ends, where the answer says so). */
async function ask(port, bytes, {head: bodiless = false, closes = false} = {}) {
  const client = await RawClient.open(port);
  try {
    await client.send(bytes);
    const answer = await client.answer({head: bodiless});
    assert.equal(answer.headers.connection, closes ? 'close' : undefined, 'Connection');
    if (closes) await client.isClosed();
    else await client.isUsable();
    return answer;
  } finally {
    client.close();
  }
}

describe('targets', () => {
  let gateway;
  before(async () => (gateway = await startDemo()));
  after(async () => {
    await gateway?.stop();
    // Whatever the targets held, the log has one line for each request, and nothing that moves a terminal's cursor.
    for (const line of gateway.stderr.split('\n').slice(0, -1)) assert.match(line, /^\d{4}-\d\d-\d\d [\d:.]+ \w+ +\S[^\0-\x1f\x7f]*$/);
  });

  for (const target of ['/health', '/health/', '//health', '/health?', '/health?a=b&c', '/health#x', '/v1/health', '/v1/v1/health', '/v1/v1/v1//health//', '///v1///health///?//x//',
    '/health?http://evil.example/', '/health?%zz%00', '/health?a?b#c', '/health?\xff', '/health?{}|\\^`"<>', 'http://127.0.0.1/health', 'HTTP://LOCALHOST/health', 'https://127.0.0.1/v1//health/?x', 'http://[::1]:8080/health']) {
    it(`GET ${target} is the health check`, async () => {
      assert.equal(JSON.parse((await ask(gateway.port, latin(get(target)))).text).status, 'ok');
    });
  }

  for (const target of ['/chat/completions', '/v1/v1/v1/chat/completions/', '//v1//chat//completions//', '/v1/chat/completions?api-version=2024-10-21&user=%zz', '/v1/chat/completions#x']) {
    it(`POST ${target} is served`, async () => {
      assert.equal(contentOf(await ask(gateway.port, post(hello, [], {target}))), 'hello');
    });
  }

  for (const target of ['/v1/../health', '/./health', '/health/.', '/health/..', '/%2e%2e/health', '/v1/%2e/health', '/..%2fhealth', '/%2fhealth', '/%2Fv1%2Fhealth', '/health%00', '/health%20', '/health%0d%0aX:%20y',
    '/%zz', '/%', '/%2', '/health;x', '/health,', '/Health', '/HEALTH', '/v2/health', '/V1/health', '/v1health', '/v1', '/v1/', '/v1/v1', '/health/x', '/models2', '/chat', '/chat/completions/x', '/v1/chat/completions%00',
    '/v1/chat%2fcompletions', '/\xff\xfe', '/\xc0\xaf', '/\xf0\x9f\x98\x80'.slice(0, 4), '/"', '/{}', '/admin/../v1/models', '/v1/moderations', '/favicon.ico', '/robots.txt', '/.env', '/http://127.0.0.1/health', 'ftp://127.0.0.1/health', '*health',
    `/${'a'.repeat(8000)}`, `/${'%41'.repeat(2000)}`, `/${'../'.repeat(2000)}etc/passwd`]) {
    it(`GET ${JSON.stringify(target.slice(0, 40))} is a 404 that helps`, async () => {
      const answer = await ask(gateway.port, latin(get(target)));
      const {message} = isError(answer, 404, 'unknown_url');
      assert.match(message, /\/v1/);
      assert.ok(message.length < 1000);
      assert.doesNotMatch(message, /[\0-\x1f]/);
      assert.ok(message.isWellFormed?.() ?? true);
    });
  }

  it('shows markup in a target as JSON only', async () => {
    for (const target of ['/<script>alert(1)</script>', '/v1/models/<img src=x>'.replace(' ', '%20')]) {
      const {status, headers, text} = await ask(gateway.port, get(target));
      assert.deepEqual([status, headers['content-type'], typeof JSON.parse(text).error.message], [404, 'application/json', 'string']);
    }
  });

  for (const id of ['%00', '..', '%2e%2e', '%2e%2e%2f%2e%2e%2fetc%2fpasswd', '../health', 'demo', 'demo/', 'demo/%00', 'demo/echo%00', 'demo%252fecho', 'demo/echo%', '%zz', '%ff%fe', '\xff', '%22%7d', '%0d%0aX-Evil:%20y', 'a'.repeat(8000), '%41'.repeat(2600)]) {
    it(`GET /v1/models/${id.slice(0, 40)} is no model`, async () => {
      const answer = await ask(gateway.port, latin(get(`/v1/models/${id}`)));
      const {message} = isError(answer, 404, 'model_not_found');
      assert.ok(message.length < 1000 && !/[\0-\x1f]/.test(message), JSON.stringify(message));
      assert.ok(!('x-evil' in answer.headers));
    });
  }

  it('finds a model by any spelling of its id', async () => {
    for (const id of ['demo/echo', 'demo%2Fecho', 'demo%2fecho', '%64emo/ech%6f', 'demo//echo', 'demo/echo/', 'demo/echo?x=y', '%64%65%6d%6f%2f%65%63%68%6f']) {
      assert.equal(JSON.parse((await ask(gateway.port, get(`/v1/models/${id}`))).text).id, 'demo/echo', id);
    }
  });

  for (const target of ['health', 'v1/models', '?x', '#', '127.0.0.1:80', 'http', 'http:', 'http:/', 'http//x', '\\health', '%2fhealth', '.', '"/health"', '@/health']) {
    it(`GET ${target} is no request target`, async () => {
      isError(await ask(gateway.port, get(target), {closes: true}), 400, 'invalid_value');
    });
  }

  it('is no proxy, and knows no target but a path for *', async () => {
    isError(await ask(gateway.port, head('CONNECT 127.0.0.1:80 HTTP/1.1')), 400, 'invalid_value');
    isError(await ask(gateway.port, head('CONNECT [::1]:80 HTTP/1.1')), 400, 'invalid_value');
    isError(await ask(gateway.port, get('*')), 404, 'unknown_url');
    isError(await ask(gateway.port, post(hello, [], {target: '*'})), 404, 'unknown_url');
  });

  it('takes a target of 8 KiB, and refuses more before the rest of it comes', async () => {
    isError(await ask(gateway.port, get(`/${'a'.repeat(8191)}`)), 404, 'unknown_url');
    isError(await ask(gateway.port, get(`/${'a'.repeat(8192)}`), {closes: true}), 414, 'invalid_value');
    assert.equal((await ask(gateway.port, get(`/health?${'a'.repeat(8000)}`))).status, 200);
    for (const endless of [`GET /${'a'.repeat(9000)}`, `POST /${'a'.repeat(300000)}`]) {
      const answer = await ask(gateway.port, endless, {closes: true});
      assert.equal(answer.reason, 'URI Too Long');
      isError(answer, 414, 'invalid_value');
    }
  });
});

describe('methods', () => {
  let gateway;
  before(async () => (gateway = await startDemo()));
  after(() => gateway?.stop());
  const routes = {'/': 'GET', '/health': 'GET', '/v1/models': 'GET', '/v1/models/demo/echo': 'GET', '/v1/chat/completions': 'POST', '/v1/completions': 'POST'};

  for (const [route, right] of Object.entries(routes)) {
    it(`HEAD ${route} is GET without its body`, async () => {
      const {status, headers} = await ask(gateway.port, head(`HEAD ${route} HTTP/1.1`), {head: true});
      assert.equal(status, right === 'GET' ? 200 : 405);
      assert.match(headers['x-request-id'], /\S/);
      if (right !== 'GET') return void assert.match(headers.allow, /POST/);
      const whole = await ask(gateway.port, get(route));
      assert.deepEqual([headers['content-type'], Number(headers['content-length'])], [whole.headers['content-type'], Buffer.byteLength(whole.text)]);
    });

    for (const method of ['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'TRACE', 'PROPFIND', 'PURGE', 'M-SEARCH', 'SOURCE'].filter((m) => m !== right)) {
      it(`${method} ${route} is a 405 with Allow`, async () => {
        for (const [headers, body] of [[[], ''], [['Content-Length: 2'], '{}'], [['Transfer-Encoding: chunked'], chunked('{}').toString()]]) {
          const answer = await ask(gateway.port, head(`${method} ${route} HTTP/1.1`, headers) + body);
          isError(answer, 405, 'method_not_allowed');
          assert.ok(answer.headers.allow.split(', ').includes(right) && answer.headers.allow.includes('OPTIONS') && !answer.headers.allow.includes(method), answer.headers.allow);
          assert.equal(answer.reason, 'Method Not Allowed');
        }
      });
    }

    it(`OPTIONS ${route} is a 204 without a body`, async () => {
      for (const [headers, body] of [[[], ''], [['Content-Length: 2'], '{}'], [['Transfer-Encoding: chunked'], chunked('{}').toString()]]) {
        const {status, headers: got} = await ask(gateway.port, head(`OPTIONS ${route} HTTP/1.1`, headers) + body);
        assert.deepEqual([status, got['content-length'], got['transfer-encoding']], [204, undefined, undefined]);
      }
    });
  }

  it('answers OPTIONS for what is not there, and for *', async () => {
    for (const target of ['/nowhere', '*', '/%zz', '/v1/models/x', 'http://127.0.0.1/v1/models']) assert.equal((await ask(gateway.port, head(`OPTIONS ${target} HTTP/1.1`))).status, 204, target);
  });

  it('answers HEAD without a body where it refuses', async () => {
    for (const [line, headers, status, closes] of [['HEAD /nowhere HTTP/1.1', [], 404, false], ['HEAD /v1/models/none HTTP/1.1', [], 404, false], ['HEAD /health HTTP/1.1', ['Bad Name: x'], 400, true],
      ['HEAD /health HTTP/1.1', ['Content-Length: x'], 400, true], ['HEAD /health HTTP/1.1', ['Content-Length: 1', 'Transfer-Encoding: chunked'], 400, true], ['HEAD /health HTTP/3', [], 400, true],
      [`HEAD /${'x'.repeat(9000)} HTTP/1.1`, [], 414, true], ['HEAD /health HTTP/1.1', [`X: ${'x'.repeat(70000)}`], 431, true]]) {
      assert.equal((await ask(gateway.port, head(line, headers), {head: true, closes})).status, status, line.slice(0, 30));
    }
  });

  for (const method of ['BREW', 'get', 'Get', 'post', 'GETT', 'GE', 'G', 'QUERY', 'X'.repeat(31), 'X'.repeat(33), 'X'.repeat(70000), 'GET\0', 'GET:', 'PRI', 'DESCRIBE', '!', "!#$%&'*+-.^_`|~"]) {
    it(`refuses the method ${JSON.stringify(method.slice(0, 36))}`, async () => {
      isError(await ask(gateway.port, head(`${method} /health HTTP/1.1`), {closes: true}), 400, 'invalid_value');
    });
  }
});

describe('hosts', () => {
  let open, keyed;
  const key = 'sk-a-key-that-is-long-enough';
  before(async () => {
    open = await startDemo();
    keyed = await startDemo({keys: [{name: 'k', key}]});
  });
  after(async () => {
    await open?.stop();
    await keyed?.stop();
  });

  for (const host of ['127.0.0.1', '127.0.0.1:1', '127.0.0.1:65535', '127.0.0.1:', '127.255.0.9', '127.0.0.1.', 'localhost', 'LocalHost:80', 'localhost.', 'app.localhost', '[::1]', '[::1]:80', '[::ffff:127.0.0.1]:80', '[0:0:0:0:0:0:0:1]', '192.168.1.7', '  127.0.0.1\t']) {
    it(`serves Host ${JSON.stringify(host)} without keys`, async () => {
      assert.equal((await ask(open.port, get('/v1/models', [], {host}))).status, 200);
    });
  }

  for (const host of ['evil.example', 'evil.example:80', 'localhost.evil.example', '127.0.0.1.evil.example', 'evil.example.', 'localhost:80@evil.example', 'user@127.0.0.1', '127.0.0.1@evil.example', 'evil.example#127.0.0.1', 'localhost/evil',
    'localhost?x', 'localhost\\x', 'localhost:x', 'localhost:80:80', 'localhost:99999', 'localhost:-1', 'localhost evil', 'localhost,evil.example', 'evil.example,localhost', '[::1', '::1]', '[::1]x', '[]', '[::1%lo]', '[localhost]', '.localhost', '.', ':80', '@',
    '127.1', '0x7f.1', '2130706433', '0177.0.0.1', '127.0.0.1.nip.io', 'ｌocalhost', 'notlocalhost', 'xn--localhost', 'a'.repeat(60000), '', '*', '%6cocalhost']) {
    it(`refuses Host ${JSON.stringify(host.slice(0, 40))} without keys, and before anything else`, async () => {
      const {message} = isError(await ask(open.port, get('/v1/models', [], {host})), 403, 'access_denied', 'permission_error');
      assert.ok(message.length < 500);
      isError(await ask(open.port, post(hello, ['Origin: http://127.0.0.1'], {host})), 403, 'access_denied', 'permission_error');
      assert.equal((await ask(open.port, head('OPTIONS /v1/models HTTP/1.1', ['Origin: http://evil.example', 'Access-Control-Request-Method: GET'], {host}))).status, 403);
    });
  }

  for (const target of ['http://evil.example/v1/models', 'http://evil.example:80', 'http://127.0.0.1@evil.example/v1/models', 'http://evil.example@127.0.0.1/v1/models', 'http:///v1/models', 'http://:80/v1/models', 'https://localhost.evil.example?x', 'http://[::1/v1/models', 'HTTP://evil.example/v1/models']) {
    it(`refuses the target ${target} without keys`, async () => {
      isError(await ask(open.port, get(target)), 403, 'access_denied', 'permission_error');
      isError(await ask(open.port, `GET ${target} HTTP/1.0\r\n\r\n`, {closes: true}), 403, 'access_denied', 'permission_error');
    });
  }

  it('refuses a good target with a foreign Host', async () => {
    isError(await ask(open.port, get('http://127.0.0.1/v1/models', [], {host: 'evil.example'})), 403, 'access_denied', 'permission_error');
  });

  it('needs a Host in HTTP/1.1, and goes on after that', async () => {
    for (const port of [open.port, keyed.port]) {
      isError(await ask(port, get('/health', [], {host: null})), 400, 'invalid_value');
      isError(await ask(port, get('http://127.0.0.1/health', [], {host: null})), 400, 'invalid_value');
      isError(await ask(port, post(hello, [], {host: null})), 400, 'invalid_value');
    }
  });

  it('needs none in HTTP/1.0', async () => {
    assert.equal((await ask(open.port, 'GET /health HTTP/1.0\r\n\r\n', {closes: true})).status, 200);
  });

  it('refuses two of them', async () => {
    for (const second of ['127.0.0.1', 'evil.example', '']) isError(await ask(open.port, get('/health', [`Host: ${second}`]), {closes: true}), 400, 'invalid_value');
  });

  it('takes any Host where there are keys', async () => {
    for (const host of ['gateway.lan', 'gateway.lan:8443', '[2001:db8::1]', '', 'a'.repeat(60000)]) {
      assert.equal((await ask(keyed.port, get('/v1/models', [`Authorization: Bearer ${key}`], {host}))).status, 200, host.slice(0, 40));
    }
    const page = await ask(keyed.port, get('/', [], {host: '"><script>alert(1)</script>'}));
    assert.doesNotMatch(page.text, /<script/);
  });
});

describe('keys, letter by letter', () => {
  const key = 'sk-a-key-that-is-long-enough', other = 'sk-another-key-0123456789', wrong = 'sk-this-one-is-wrong-012345';
  let gateway;
  before(async () => (gateway = await startDemo({keys: [{name: 'k', key}, {name: 'o', key: other}]})));
  after(() => gateway?.stop());

  for (const lines of [[`Authorization: Bearer ${key}`], [`authorization:bearer ${key}`], [`AUTHORIZATION: BEARER   ${key}\t `], [`x-api-key:${key}`], [`API-KEY: ${key}`], [`X-Goog-Api-Key: ${key}`], ['Authorization: Bearer null', `x-api-key: ${key}`],
    ['Authorization: Bearer', `api-key: ${key}`], ['Authorization: Basic eDp5', `x-api-key: ${key}`], [`Authorization: Bearer ${key}`, `X-Api-Key: ${key}`, `api-key: ${key}`], [`Authorization: Bearer ${key}`, `X-Api-Key: ${other}`]]) {
    it(`takes ${JSON.stringify(lines)}`, async () => assert.equal((await ask(gateway.port, get('/v1/models', lines))).status, 200));
  }

  for (const [code, cases] of Object.entries({
    missing_api_key: [[], ['Authorization:'], ['Authorization: Bearer'], ['Authorization: Bearer \t '], ['Authorization: Bearer null'], ['Authorization: Bearer undefined'], ['Authorization: Basic eDp5'], [`Authorization: ${key}`], [`Authorization: Bearer${key}`], [`Authorization: Token ${key}`],
      ['x-api-key:'], ['x-api-key: null', 'api-key: undefined'], [`Cookie: key=${key}`], [`x-apikey: ${key}`], [`Proxy-Authorization: Bearer ${key}`]],
    invalid_api_key: [[`Authorization: Bearer ${wrong}`], [`Authorization: Bearer ${key}x`], [`Authorization: Bearer ${key.slice(0, -1)}`], [`Authorization: Bearer ${key.toUpperCase()}`], [`Authorization: Bearer "${key}"`], [`Authorization: Bearer ${key},`], [`Authorization: Bearer ${key} ${key}`],
      [`Authorization: Bearer Bearer ${key}`], [`x-api-key: Bearer ${key}`], [`Authorization: Bearer ${'x'.repeat(60000)}`], ['Authorization: Bearer \xff\xfe']],
  })) {
    for (const lines of cases) {
      it(`${code}: ${JSON.stringify(lines).slice(0, 60)}`, async () => {
        for (const bytes of [get('/v1/models', lines), get('/v1/models/demo/echo', lines), post(hello, lines).toString('latin1'), get(`/v1/models?key=${key}`, lines)]) {
          const answer = await ask(gateway.port, latin(bytes));
          isError(answer, 401, code, 'authentication_error');
          assert.equal(answer.headers['www-authenticate'], 'Bearer');
          assert.ok(!answer.text.includes('sk-'), answer.text);
        }
      });
    }
  }

  it('keeps them out of the log', () => assert.doesNotMatch(gateway.stderr, /sk-/));
});

describe('browsers', () => {
  let all, named, none;
  const key = 'sk-a-key-that-is-long-enough', origin = 'https://app.example';
  before(async () => {
    all = await startDemo({server: {cors_origins: ['*']}});
    named = await startDemo({server: {cors_origins: [origin, 'http://localhost:3000']}, keys: [{name: 'k', key}]});
    none = await startDemo({server: {cors_origins: []}});
  });
  after(async () => {
    for (const gateway of [all, named, none]) await gateway?.stop();
  });
  const preflight = (target, headers = [], from = origin) => head(`OPTIONS ${target} HTTP/1.1`, [`Origin: ${from}`, 'Access-Control-Request-Method: POST', ...headers]);
  const wish = (names) => `Access-Control-Request-Headers: ${names}`;

  it('get a preflight on every route, without a key, and again on the same connection', async () => {
    const client = await RawClient.open(named.port);
    for (const target of ['/v1/chat/completions', '/v1/models', '/v1/models/demo/echo', '/health', '/', '/nowhere', '*']) {
      await client.send(preflight(target, [wish('authorization')]));
      const {status, headers} = await client.answer();
      assert.deepEqual([status, headers['access-control-allow-origin'], headers['access-control-allow-headers'], headers.vary], [204, origin, 'authorization', 'Origin'], target);
      for (const method of ['GET', 'POST']) assert.ok(headers['access-control-allow-methods'].split(', ').includes(method));
      assert.match(headers['x-request-id'], /\S/);
    }
    client.close();
  });

  it('hear every name that they asked for, however many', async () => {
    for (const names of ['authorization,content-type,x-stainless-os', 'X-A , x-b', 'x'.repeat(60000), Array.from({length: 4000}, (_, i) => `x-header-${i}`).join(',')]) {
      assert.equal((await ask(all.port, preflight('/v1/models', [wish(names)]))).headers['access-control-allow-headers'], names);
    }
    const most = 'y'.repeat(65536 - preflight('/', [wish('')]).length); // the largest head that there is
    assert.equal((await ask(all.port, preflight('/', [wish(most)]))).headers['access-control-allow-headers'], most);
    isError(await ask(all.port, preflight('/', [wish(`${most}y`)]), {closes: true}), 431, 'invalid_value');
  });

  it('cannot make a header of the answer out of one of theirs', async () => {
    const {headers} = await ask(all.port, latin(preflight('/', [wish('x\xff\t\xe4, y%0d%0aX-Evil: 1')])));
    assert.ok(!('x-evil' in headers));
    assert.equal(headers['access-control-allow-headers'], 'x\xff\t\xe4, y%0d%0aX-Evil: 1');
  });

  it('are told apart by their whole origin', async () => {
    for (const stranger of ['https://evil.example', 'https://app.example.evil.example', 'http://app.example', 'https://app.example:444', 'https://APP.example', 'null', '*', '', `${origin}, https://evil.example`, `${origin}/`]) {
      const {status, headers} = await ask(named.port, preflight('/v1/models', [], stranger));
      assert.equal(headers['access-control-allow-origin'], undefined, stranger);
      assert.ok(status < 500);
    }
    assert.equal((await ask(named.port, preflight('/v1/models', [], 'http://localhost:3000'))).headers['access-control-allow-origin'], 'http://localhost:3000');
  });

  it('have the header on every answer that knows their origin', async () => {
    const from = [`Origin: ${origin}`], auth = [...from, `Authorization: Bearer ${key}`];
    const answers = [[get('/health', from), 200], [get('/', from), 200], [get('/v1/models', from), 401], [get('/v1/models', auth), 200], [get('/v1/models/none', auth), 404], [get('/nowhere', from), 404],
      [head('DELETE /health HTTP/1.1', from), 405], [post(hello, auth), 200], [post('{', auth), 400], [post(hello, from), 401], [post(echo('!error rate_limited 3'), auth), 429], [post(echo('x', {stream: true}), auth), 200],
      [head('POST /v1/chat/completions HTTP/1.1', [...auth, 'Content-Length: 99999999999']), 413, true], [head('POST /v1/chat/completions HTTP/1.1', [...auth, 'Transfer-Encoding: chunked']) + 'zz\r\n', 400, true]];
    for (const [bytes, status, closes] of answers) {
      const answer = await ask(named.port, bytes, {closes});
      assert.deepEqual([answer.status, answer.headers['access-control-allow-origin'], answer.headers.vary], [status, origin, 'Origin'], answer.text);
      assert.match(answer.headers['access-control-expose-headers'], /x-request-id.*retry-after/);
    }
    for (const bad of [get('nowhere'), 'x', get('/', ['a b: c'])]) {
      const client = await RawClient.open(all.port);
      await client.send(bad);
      await client.send('\r\n\r\n');
      assert.equal((await client.answer()).headers['access-control-allow-origin'], '*');
      client.close();
    }
  });

  it('get nothing where nothing is configured', async () => {
    for (const bytes of [preflight('/v1/models', [wish('authorization')]), get('/v1/models', [`Origin: ${origin}`]), post(echo('x', {stream: true}), [`Origin: ${origin}`])]) {
      const {status, headers} = await ask(none.port, bytes);
      assert.ok(status < 300);
      assert.equal(headers['access-control-allow-origin'], undefined);
    }
  });
});

describe('heads', () => {
  let gateway;
  before(async () => (gateway = await startDemo()));
  after(() => gateway?.stop());
  const filler = (size) => `X: ${'x'.repeat(size)}`;

  it('may have 64 KiB, and not a byte more', async () => {
    const room = 65536 - get('/health', [filler(0)]).length;
    assert.equal((await ask(gateway.port, get('/health', [filler(room)]))).status, 200);
    for (const size of [room + 1, 100000, 1000000]) {
      const answer = await ask(gateway.port, get('/health', [filler(size)]), {closes: true});
      isError(answer, 431, 'invalid_value');
      assert.equal(answer.reason, 'Request Header Fields Too Large');
    }
    isError(await ask(gateway.port, `GET /health HTTP/1.1\r\n${'x'.repeat(70000)}`, {closes: true}), 431, 'invalid_value'); // a name without end
  });

  it('may have 512 headers', async () => {
    const many = (count) => Array.from({length: count}, (_, i) => `H${i}: v`);
    assert.equal((await ask(gateway.port, get('/health', many(511)))).status, 200); // and Host
    isError(await ask(gateway.port, get('/health', many(512)), {closes: true}), 431, 'invalid_value');
    isError(await ask(gateway.port, get('/health', Array(30000).fill('A:')), {closes: true}), 431, 'invalid_value');
  });

  it('of the largest size are served one behind the other', async () => {
    const room = 65536 - get('/health', [filler(0)]).length, client = await RawClient.open(gateway.port);
    await client.send(Buffer.concat(Array(6).fill(Buffer.from(get('/health', [filler(room)])))));
    for (let i = 0; i < 6; i++) assert.equal((await client.answer()).status, 200);
    await client.isUsable();
    client.close();
  });

  it('may repeat what is no framing', async () => {
    const twice = ['Accept: a', 'Accept: b', 'Cookie: a=b', 'Cookie: c=d', 'Content-Type: text/plain', 'Authorization: Bearer x', 'Authorization: Bearer y', 'X-Forwarded-For: 1.2.3.4', 'X-Forwarded-For: 5.6.7.8', 'Origin: a', 'Origin: b', 'Connection: a', 'Connection: keep-alive'];
    assert.equal(contentOf(await ask(gateway.port, post(hello, twice))), 'hello');
  });

  it('do not choose an encoding for us', async () => {
    for (const stream of [false, true]) {
      const answer = await ask(gateway.port, post(echo('hello', {stream}), ['Accept-Encoding: gzip, deflate, br, zstd', 'TE: gzip', 'Accept: application/xml;q=1, */*;q=0', 'Range: bytes=0-5', 'If-None-Match: *', 'If-Modified-Since: Thu, 01 Jan 2099 00:00:00 GMT']));
      assert.deepEqual([answer.status, answer.headers['content-encoding']], [200, undefined]);
      if (stream) assert.equal(checkStream(answer.text).content, 'hello');
      else assert.equal(contentOf(answer), 'hello');
    }
  });

  it('of HTTP/1.0 decide whether the connection goes on', async () => {
    const old = (headers, body = hello) => post(body, headers, {version: '1.0'});
    assert.equal(contentOf(await ask(gateway.port, old([]), {closes: true})), 'hello');
    const client = await RawClient.open(gateway.port);
    for (let i = 0; i < 3; i++) {
      await client.send(old(['Connection: Keep-Alive']));
      const answer = await client.answer();
      assert.deepEqual([contentOf(answer), answer.headers.connection, answer.headers['transfer-encoding']], ['hello', 'keep-alive', undefined]);
    }
    await client.send(old(['Connection: keep-alive'], echo('hello', {stream: true}))); // a stream has no length: it ends with the connection
    const stream = await client.answer();
    assert.deepEqual([checkStream(stream.text).content, stream.headers.connection, stream.headers['content-length'], stream.headers['transfer-encoding']], ['hello', 'close', undefined, undefined]);
    await client.isClosed();
    client.close();
    isError(await ask(gateway.port, 'POST /v1/chat/completions HTTP/1.0\r\n\r\n', {closes: true}), 400, 'invalid_json'); // no length, no body
    const both = await ask(gateway.port, old(['Connection: keep-alive, close']), {closes: true});
    assert.equal(contentOf(both), 'hello');
    const expecting = await ask(gateway.port, old(['Expect: 100-continue']), {closes: true});
    assert.deepEqual([contentOf(expecting), expecting.continues], ['hello', 0]);
  });
});
