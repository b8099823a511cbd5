// The client side of HTTP, mostly by hand: what well-behaved libraries, old ones, proxies and strangers send.
import assert from 'node:assert/strict';
import {execFile} from 'node:child_process';
import {writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {after, before, describe, it} from 'node:test';
import {promisify} from 'node:util';
import {startDemo, startGateway} from './lib/gateway.mjs';
import {Wire, chat, checkError, checkErrorObject, checkStream, raw, request, user} from './lib/http.mjs';

const curl = async (...args) => (await promisify(execFile)('curl', ['-sS', '--max-time', '20', ...args], {maxBuffer: 64 << 20})).stdout;
const hello = JSON.stringify({model: 'demo/echo', ...user('hello')});
const post = (body = hello, headers = {}) => request('POST', '/v1/chat/completions', {'Content-Type': 'application/json', ...headers}, body);
const content = (answer) => JSON.parse(answer.body).choices[0].message.content;

describe('paths and methods', () => {
  let gateway;
  before(async () => (gateway = await startDemo()));
  after(() => gateway?.stop());

  for (const path of ['/v1/chat/completions', '/chat/completions', '/v1/v1/chat/completions', '/v1/chat/completions/', '/v1//chat/completions', '/v1/chat/completions?api-version=1']) {
    it(`serves POST ${path}`, async () => {
      assert.equal(content(await raw(gateway.port, request('POST', path, {}, hello))), 'hello');
    });
  }

  for (const path of ['/v1/models', '/models', '/v1/models/', '/v1/models?limit=20']) {
    it(`serves GET ${path}`, async () => {
      const answer = JSON.parse((await raw(gateway.port, request('GET', path))).body);
      assert.equal(answer.object, 'list');
      assert.equal(answer.data.length, 4);
      for (const m of answer.data) assert.deepEqual([m.object, Number.isInteger(m.created), m.owned_by], ['model', true, 'demo']);
    });
  }

  it('finds a model by its id, bare and percent-encoded', async () => {
    for (const path of ['/v1/models/demo/echo', '/v1/models/demo%2Fecho', '/v1/models/demo%2fecho/']) {
      const {status, body} = await raw(gateway.port, request('GET', path));
      assert.deepEqual([status, JSON.parse(body).id], [200, 'demo/echo'], path);
    }
  });

  it('has a page and a health check that need nothing', async () => {
    const page = await raw(gateway.port, request('GET', '/'));
    assert.deepEqual([page.status, page.headers['content-type']], [200, 'text/html; charset=utf-8']);
    assert.match(page.body, /http:\/\/127\.0\.0\.1/);
    assert.match(page.body, /curl -N [^]*"model":"demo\/echo"/);
    const health = await raw(gateway.port, request('GET', '/health'));
    assert.deepEqual([health.status, JSON.parse(health.body).status], [200, 'ok']);
  });

  it('answers 404 and 405 as JSON that helps', async () => {
    const lost = await fetch(`${gateway.origin}/v2/nothing`);
    const body = await checkError(lost, {status: 404, type: 'invalid_request_error', code: 'unknown_url'});
    assert.match(body.error.message, /\/v1/);
    const wrong = await fetch(`${gateway.base}/chat/completions`);
    await checkError(wrong, {status: 405, type: 'invalid_request_error', code: 'method_not_allowed'});
    assert.match(wrong.headers.get('allow'), /POST/);
    const models = await fetch(`${gateway.base}/models`, {method: 'POST', body: '{}'});
    assert.match(models.headers.get('allow'), /GET/);
    assert.equal(models.status, 405);
    await models.text();
  });

  it('answers HEAD without a body and keeps the connection', async () => {
    const wire = await Wire.open(gateway.port);
    wire.write(request('HEAD', '/v1/models') + request('GET', '/health'));
    assert.equal((await wire.answer({head: true})).status, 200);
    assert.equal((await wire.answer()).status, 200);
    wire.close();
  });

  it('says the reason in the status line', async () => {
    assert.equal((await raw(gateway.port, request('GET', '/nothing'))).reason, 'Not Found');
    assert.equal((await raw(gateway.port, post(JSON.stringify({model: 'demo/echo', ...user('!error rate_limited 3')})))).reason, 'Too Many Requests');
  });
});

describe('CORS', () => {
  let open, named;
  before(async () => {
    open = await startDemo({server: {cors_origins: ['*']}});
    named = await startDemo({server: {cors_origins: ['https://app.example']}, keys: [{name: 'a', key: 'sk-a-long-enough-key'}]});
  });
  after(async () => {
    await open?.stop();
    await named?.stop();
  });
  const preflight = (origin) => request('OPTIONS', '/v1/chat/completions', {Origin: origin, 'Access-Control-Request-Method': 'POST',
    'Access-Control-Request-Headers': 'authorization, content-type, x-stainless-os'});

  it('answers a preflight without a key', async () => {
    for (const gateway of [open, named]) {
      const {status, headers, body} = await raw(gateway.port, preflight('https://app.example'));
      assert.equal(status, 204);
      assert.equal(body, '');
      assert.ok(['*', 'https://app.example'].includes(headers['access-control-allow-origin']));
      assert.equal(headers['access-control-allow-headers'], 'authorization, content-type, x-stainless-os');
      assert.match(headers['access-control-allow-methods'], /GET.*POST|POST.*GET/);
    }
  });

  it('allows only named origins, when there are some', async () => {
    const stranger = await raw(named.port, preflight('https://evil.example'));
    assert.equal(stranger.headers['access-control-allow-origin'], undefined);
    assert.ok(stranger.status < 500);
  });

  it('has the headers on errors and streams as well', async () => {
    const denied = await raw(named.port, post(hello, {Origin: 'https://app.example'}));
    assert.deepEqual([denied.status, denied.headers['access-control-allow-origin']], [401, 'https://app.example']);
    assert.match(denied.headers.vary, /Origin/i);
    const stream = await raw(open.port, post(JSON.stringify({model: 'demo/echo', stream: true, ...user('x')}), {Origin: 'https://any.example'}));
    assert.equal(stream.headers['access-control-allow-origin'], '*');
    assert.match(stream.headers['access-control-expose-headers'], /x-request-id/);
    assert.match(stream.headers['access-control-expose-headers'], /retry-after/);
  });
});

describe('keys', () => {
  const key = 'sk-the-right-key-0123456789';
  let gateway;
  before(async () => (gateway = await startDemo({keys: [
    {name: 'all', key}, {name: 'few', key: 'sk-few-models-0123456789', models: ['demo/e*']},
    {name: 'far', key: 'sk-from-far-away-0123456789', allow: ['192.0.2.0/24']}]})));
  after(() => gateway?.stop());
  const models = (headers) => fetch(`${gateway.base}/models`, {headers});

  for (const [title, headers] of [['Bearer', {authorization: `Bearer ${key}`}], ['bearer in small letters', {authorization: `bearer ${key}`}],
    ['x-api-key', {'x-api-key': key}], ['api-key', {'api-key': key}], ['x-goog-api-key', {'x-goog-api-key': key}],
    ['two at once', {authorization: `Bearer ${key}`, 'x-api-key': key}]]) {
    it(`takes ${title}`, async () => assert.equal((await models(headers)).status, 200));
  }

  for (const [title, headers] of [['none', {}], ['an empty bearer', {authorization: 'Bearer '}], ['Bearer null', {authorization: 'Bearer null'}],
    ['Bearer undefined', {authorization: 'Bearer undefined'}], ['Basic', {authorization: `Basic ${btoa(`x:${key}`)}`}]]) {
    it(`misses the key: ${title}`, async () => {
      const response = await models(headers);
      assert.equal(response.headers.get('www-authenticate'), 'Bearer');
      await checkError(response, {status: 401, type: 'authentication_error', code: 'missing_api_key'});
    });
  }

  it('refuses a wrong key and does not repeat it', async () => {
    const from = gateway.stderr.length;
    const body = await checkError(await models({authorization: 'Bearer sk-wrong-secret-value'}), {status: 401, type: 'authentication_error', code: 'invalid_api_key'});
    assert.doesNotMatch(JSON.stringify(body) + gateway.stderr.slice(from), /wrong-secret/);
  });

  it('keeps a key to its models', async () => {
    const few = {authorization: 'Bearer sk-few-models-0123456789'};
    const list = await (await models(few)).json();
    assert.deepEqual(list.data.map((m) => m.id), ['demo/echo']);
    assert.equal((await chat(gateway.base, {model: 'demo/echo', ...user('x')}, {headers: few})).status, 200);
    await checkError(await chat(gateway.base, {model: 'demo/slow', ...user('x')}, {headers: few}),
      {status: 403, type: 'permission_error', code: 'model_not_allowed', param: 'model'});
  });

  it('keeps a key to its addresses', async () => {
    await checkError(await models({authorization: 'Bearer sk-from-far-away-0123456789'}), {status: 403, type: 'permission_error', code: 'access_denied'});
  });

  it('lets the health check through, and refuses before the body comes', async () => {
    assert.equal((await fetch(`${gateway.origin}/health`)).status, 200);
    const wire = await Wire.open(gateway.port);
    wire.write(request('POST', '/v1/chat/completions', {'Content-Length': '1000000', 'Content-Type': 'application/json', Expect: '100-continue'}));
    const answer = await wire.answer();
    assert.equal(answer.status, 401);
    assert.ok(!wire.continued, '100 Continue before the refusal');
    wire.close();
  });

  it('needs no known Host where there are keys', async () => {
    assert.equal((await raw(gateway.port, request('GET', '/v1/models', {Host: 'gateway.lan', Authorization: `Bearer ${key}`}))).status, 200);
  });
});

describe('addresses', () => {
  it('checks Host where no keys are configured', async () => {
    const gateway = await startDemo();
    try {
      for (const host of ['127.0.0.1', `127.0.0.1:${gateway.port}`, 'localhost', `LOCALHOST:${gateway.port}`, '[::1]']) {
        assert.equal((await raw(gateway.port, request('GET', '/v1/models', {Host: host}))).status, 200, host);
      }
      for (const host of ['evil.example', 'localhost.evil.example', '127.0.0.1.evil.example', 'localhost:80@evil.example']) {
        const {status, body} = await raw(gateway.port, request('GET', '/v1/models', {Host: host}));
        assert.deepEqual([status, JSON.parse(body).error.code], [403, 'access_denied'], host);
      }
    } finally {
      await gateway.stop();
    }
  });

  for (const [access, status] of [[{allow: ['127.0.0.0/8']}, 200], [{allow: ['10.0.0.0/8']}, 403], [{deny: ['127.0.0.1']}, 403],
    [{allow: ['127.0.0.1'], deny: ['127.0.0.0/8']}, 403], [{allow: ['::ffff:127.0.0.1']}, 200]]) {
    it(`${JSON.stringify(access)}: ${status}`, async () => {
      const gateway = await startDemo({access});
      try {
        const response = await fetch(`${gateway.base}/models`);
        if (status === 200) assert.equal(response.status, 200);
        else await checkError(response, {status, type: 'permission_error', code: 'access_denied'});
      } finally {
        await gateway.stop();
      }
    });
  }

  it('believes X-Forwarded-For only from a trusted proxy', async () => {
    const forwarded = {'x-forwarded-for': '203.0.113.9'};
    const keys = [{name: 'k', key: 'sk-some-long-key-012345'}], headers = {authorization: 'Bearer sk-some-long-key-012345', ...forwarded};
    const trusting = await startDemo({keys, access: {deny: ['203.0.113.0/24'], trusted_proxies: ['127.0.0.1']}});
    const wary = await startDemo({keys, access: {deny: ['203.0.113.0/24']}});
    try {
      assert.equal((await fetch(`${trusting.base}/models`, {headers})).status, 403);
      assert.equal((await fetch(`${wary.base}/models`, {headers})).status, 200);
    } finally {
      await trusting.stop();
      await wary.stop();
    }
  });
});

describe('bodies', () => {
  let gateway;
  before(async () => (gateway = await startDemo({server: {max_body: '1MiB'}})));
  after(() => gateway?.stop());

  const invalid = {
    'nothing': '', 'a list': '[]', 'null': 'null', 'a text': '"x"', 'half an object': '{"model":', 'single quotes': "{'model':'x'}",
    'trailing text': `${hello} x`, 'raw control characters': '{"model":"a\u0001b"}', 'deep nesting': '['.repeat(100000),
    'a number too large': '{"model":"demo/echo","temperature":1e999,"messages":[{"role":"user","content":"x"}]}',
  };
  for (const [title, body] of Object.entries(invalid)) {
    it(`refuses ${title}`, async () => {
      const response = await chat(gateway.base, body);
      const {error} = JSON.parse(await response.text());
      assert.equal(response.status, 400);
      checkErrorObject(error);
      assert.ok(['invalid_json', 'invalid_value'].includes(error.code), error.code);
    });
  }

  for (const [title, bytes] of [['overlong UTF-8', [0xc0, 0xaf]], ['an encoded surrogate', [0xed, 0xa0, 0xbd]], ['stray bytes', [0xff]]]) {
    it(`refuses ${title}`, async () => {
      const body = Buffer.concat([Buffer.from('{"model":"demo/echo","messages":[{"role":"user","content":"'), Buffer.from(bytes), Buffer.from('"}]}')]);
      await checkError(await chat(gateway.base, body), {status: 400, type: 'invalid_request_error', code: 'invalid_json'});
    });
  }

  const fields = [
    [{...user('x')}, 'model'], [{model: 'demo/echo'}, 'messages'], [{model: 7, ...user('x')}, 'model'], [{model: '', ...user('x')}, 'model'],
    [{model: 'demo/echo', messages: []}, 'messages'], [{model: 'demo/echo', messages: 'hi'}, 'messages'], [{model: 'demo/echo', messages: ['hi']}, 'messages[0]'],
    [{model: 'demo/echo', messages: [{role: 'robot', content: 'x'}]}, 'messages[0].role'], [{model: 'demo/echo', messages: [{role: 'user', content: 7}]}, 'messages[0].content'],
    [{model: 'demo/echo', messages: [{role: 'user', content: [{type: 'smell'}]}]}, 'messages[0].content[0]'],
    [{model: 'demo/echo', stream: 'yes', ...user('x')}, 'stream'], [{model: 'demo/echo', n: 0, ...user('x')}, 'n'],
  ];
  for (const [body, param] of fields) {
    it(`names the field at fault: ${param} in ${JSON.stringify(body).slice(0, 70)}`, async () => {
      const {error} = await checkError(await chat(gateway.base, body), {status: 400, type: 'invalid_request_error', code: 'invalid_value'});
      assert.ok(error.param === param || error.param.startsWith(param), `param ${error.param}`);
    });
  }

  it('takes a null for everything optional', async () => {
    const nothing = Object.fromEntries(['stream', 'stream_options', 'temperature', 'top_p', 'max_tokens', 'max_completion_tokens', 'n', 'stop', 'tools', 'tool_choice',
      'response_format', 'reasoning_effort', 'logprobs', 'seed', 'user', 'functions', 'presence_penalty', 'frequency_penalty', 'logit_bias', 'parallel_tool_calls'].map((k) => [k, null]));
    const response = await chat(gateway.base, {model: 'demo/echo', ...nothing, ...user('x')});
    assert.equal(response.status, 200, await response.text());
  });

  it('answers 413 early, and lets the client finish sending', async () => {
    const response = await chat(gateway.base, JSON.stringify({model: 'demo/echo', ...user('x'.repeat(3 << 20))}));
    await checkError(response, {status: 413, type: 'invalid_request_error', code: 'request_too_large'});
    assert.match(await curl('-w', '%{http_code}', '-o', '/dev/null', '-H', 'Content-Type: application/json', '--data-binary', `@${(() => {
      const file = join(gateway.directory, 'big');
      writeFileSync(file, Buffer.alloc(4 << 20, 0x20));
      return file;
    })()}`, `${gateway.base}/chat/completions`), /413/);
  });

  it('counts chunked bodies too', async () => {
    const wire = await Wire.open(gateway.port);
    wire.write(request('POST', '/v1/chat/completions', {'Transfer-Encoding': 'chunked'}));
    for (let i = 0; i < 20 && !wire.ended; i++) wire.write(`10000\r\n${'x'.repeat(65536)}\r\n`);
    assert.equal((await wire.answer()).status, 413);
    wire.close();
  });

  for (const type of ['application/json; charset=utf-8', 'APPLICATION/JSON', 'text/plain', null]) {
    it(`serves Content-Type ${type}`, async () => {
      assert.equal(content(await raw(gateway.port, post(hello, {'Content-Type': type}))), 'hello');
    });
  }

  it('serves or refuses a BOM, without more', async () => {
    const {status} = await raw(gateway.port, post(`\ufeff${hello}`));
    assert.ok([200, 400].includes(status));
  });
});

describe('framing', () => {
  let gateway;
  before(async () => (gateway = await startDemo()));
  after(() => gateway?.stop());
  const alive = async () => assert.equal((await fetch(`${gateway.origin}/health`)).status, 200);

  it('keeps the connection for the next request, after errors too', async () => {
    const wire = await Wire.open(gateway.port);
    for (const [text, status] of [[post(), 200], [post('{'), 400], [request('GET', '/nothing'), 404], [post(), 200]]) {
      wire.write(text);
      assert.equal((await wire.answer()).status, status);
    }
    wire.close();
  });

  it('answers pipelined requests in order', async () => {
    const wire = await Wire.open(gateway.port);
    const slow = JSON.stringify({model: 'demo/slow', stream: true, ...user('20 one two three')});
    wire.write(post(slow) + post() + request('GET', '/health'));
    checkStream((await wire.answer()).body);
    assert.equal(content(await wire.answer()), 'hello');
    assert.equal(JSON.parse((await wire.answer()).body).status, 'ok');
    wire.close();
  });

  it('honours Connection: close', async () => {
    const wire = await Wire.open(gateway.port);
    wire.write(post(hello, {Connection: 'close'}));
    assert.equal((await wire.answer()).headers.connection, 'close');
    await wire.until(() => false, 3000);
    assert.ok(wire.ended);
  });

  it('gives HTTP/1.0 no chunked coding, streams included', async () => {
    for (const stream of [false, true]) {
      const wire = await Wire.open(gateway.port);
      const body = JSON.stringify({model: 'demo/echo', stream, ...user('hello')});
      wire.write(`POST /v1/chat/completions HTTP/1.0\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
      const answer = await wire.answer();
      assert.equal(answer.headers['transfer-encoding'], undefined);
      if (stream) assert.equal(checkStream(answer.body).content, 'hello');
      else assert.equal(content(answer), 'hello');
      await wire.until(() => false, 3000);
      assert.ok(wire.ended, 'the connection stays open');
    }
  });

  it('takes a chunked body, with extensions and trailers, in any pieces', async () => {
    const wire = await Wire.open(gateway.port);
    const chunks = `${(5).toString(16)};x=1\r\n${hello.slice(0, 5)}\r\n${(hello.length - 5).toString(16).toUpperCase()}\r\n${hello.slice(5)}\r\n0\r\nX-Trailer: 1\r\n\r\n`;
    const all = request('POST', '/v1/chat/completions', {'Transfer-Encoding': 'chunked', 'Content-Type': 'application/json'}) + chunks;
    for (const piece of all.match(/[^]{1,11}/g)) {
      wire.write(piece);
      await new Promise(setImmediate);
    }
    assert.equal(content(await wire.answer()), 'hello');
    wire.close();
  });

  it('serves a client that sends byte by byte', async () => {
    const wire = await Wire.open(gateway.port);
    for (const byte of post()) {
      wire.write(byte);
      await new Promise(setImmediate);
    }
    assert.equal(content(await wire.answer()), 'hello');
    wire.close();
  });

  it('says 100 Continue when the body is welcome', async () => {
    const wire = await Wire.open(gateway.port);
    wire.write(request('POST', '/v1/chat/completions', {'Content-Length': String(hello.length), Expect: '100-continue'}));
    await wire.until((t) => t.startsWith('HTTP/1.1 100'));
    wire.write(hello);
    assert.equal(content(await wire.answer()), 'hello');
    wire.close();
  });

  const bad = {
    'two lengths': request('POST', '/v1/chat/completions', {'Content-Length': '5'}).replace('Content-Length: 5', 'Content-Length: 5\r\nContent-Length: 6') + 'hello',
    'length and chunked': request('POST', '/v1/chat/completions', {'Content-Length': '5', 'Transfer-Encoding': 'chunked'}) + '0\r\n\r\n',
    'a negative length': request('POST', '/v1/chat/completions', {'Content-Length': '-5'}),
    'a hexadecimal length': request('POST', '/v1/chat/completions', {'Content-Length': '0x5'}) + 'hello',
    'a huge length': request('POST', '/v1/chat/completions', {'Content-Length': '99999999999999999999'}),
    'no Host': 'GET /health HTTP/1.1\r\n\r\n',
    'a folded header': 'GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n c\r\n\r\n',
    'a blank before the colon': 'GET /health HTTP/1.1\r\nHost : localhost\r\n\r\n',
    'a NUL in a header': 'GET /health HTTP/1.1\r\nHost: local\0host\r\n\r\n',
    'a bad version': 'GET /health HTTP/7.1\r\nHost: localhost\r\n\r\n',
    'an unknown method': 'BREW /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n',
    'a bad chunk size': request('POST', '/v1/chat/completions', {'Transfer-Encoding': 'chunked'}) + 'zz\r\n',
    'a path of 70 kB': request('GET', `/${'a'.repeat(70000)}`),
    '200 kB of headers': request('GET', '/health', {'X-Big': 'y'.repeat(200000)}),
    'CONNECT': 'CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n',
  };
  for (const [title, bytes] of Object.entries(bad)) {
    it(`refuses ${title}`, async () => {
      const answer = await raw(gateway.port, bytes);
      assert.ok(answer.status >= 400 && answer.status <= 505, `${answer.status}`);
      checkErrorObject(JSON.parse(answer.body).error);
      await alive();
    });
  }

  const noise = {
    'a TLS hello': Buffer.from('16030100ca010000c60303', 'hex'), 'an HTTP/2 preface': Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), 'NULs': Buffer.alloc(5000),
    'garbage': Buffer.from(Array.from({length: 5000}, (_, i) => (i * 7919) % 251)),
  };
  for (const [title, bytes] of Object.entries(noise)) {
    it(`survives ${title}`, async () => {
      const wire = await Wire.open(gateway.port);
      wire.write(bytes);
      wire.socket.end();
      await wire.until((t) => t.includes('\r\n\r\n'), 5000);
      if (wire.got.length) assert.match(wire.got.toString('latin1'), /^HTTP\/1\.1 [45]/);
      wire.close();
      await alive();
    });
  }

  it('serves 80 headers and a large cookie', async () => {
    const headers = Object.fromEntries(Array.from({length: 80}, (_, i) => [`X-H${i}`, 'v'.repeat(20)]));
    assert.equal((await raw(gateway.port, request('GET', '/health', {...headers, Cookie: 'c'.repeat(8000)}))).status, 200);
  });

  it('serves the absolute form of its own address', async () => {
    assert.equal((await raw(gateway.port, request('GET', `http://127.0.0.1:${gateway.port}/health`))).status, 200);
  });

  for (const path of ['/%zz', '/v1/%00', '/v1/../admin', '/v1/models/%2e%2e/x']) {
    it(`answers ${path} in 4xx`, async () => {
      const {status} = await raw(gateway.port, request('GET', path));
      assert.ok(status >= 400 && status < 500, `${status}`);
    });
  }

  it('is not disturbed by 20 clients that break off', async () => {
    const body = JSON.stringify({model: 'demo/slow', stream: true, ...user(`5 ${'w '.repeat(300)}`)});
    for (let i = 0; i < 20; i++) {
      const wire = await Wire.open(gateway.port);
      wire.write(post(body));
      if (i % 2) await wire.until((t) => t.includes('"content":" w'));
      if (i % 3) wire.socket.resetAndDestroy(); // RST
      else wire.close();                        // FIN
    }
    assert.equal(content(await raw(gateway.port, post())), 'hello');
  });

  it('serves 40 requests at once, each with its own answer', async () => {
    const answers = await Promise.all(Array.from({length: 40}, async (_, i) => {
      const response = await chat(gateway.base, {model: 'demo/echo', stream: i % 2 === 0, ...user(`number ${i}`)});
      const text = await response.text();
      return i % 2 ? JSON.parse(text).choices[0].message.content : checkStream(text).content;
    }));
    answers.forEach((text, i) => assert.equal(text, `number ${i}`));
  });

  it('waits for a reader that does not read, and loses nothing', async () => {
    const words = `${'0123456789abcdef'.repeat(8)} `.repeat(8000).trim();
    const wire = await Wire.open(gateway.port);
    wire.socket.pause();
    wire.write(post(JSON.stringify({model: 'demo/echo', stream: true, ...user(words)})));
    await new Promise((done) => setTimeout(done, 300)); // the buffers between us fill up
    assert.equal(content(await raw(gateway.port, post())), 'hello');
    wire.socket.resume();
    assert.equal(checkStream((await wire.answer({ms: 30000})).body).content, words);
    wire.close();
  });
});

describe('curl', () => {
  let gateway;
  before(async () => (gateway = await startDemo()));
  after(() => gateway?.stop());
  const json = ['-H', 'Content-Type: application/json'];

  it('streams', async () => {
    const text = await curl('-N', ...json, '-d', JSON.stringify({model: 'demo/echo', stream: true, ...user('a b c')}), `${gateway.base}/chat/completions`);
    assert.equal(checkStream(text).content, 'a b c');
  });

  it('speaks HTTP/1.0', async () => {
    const text = await curl('-0', ...json, '-d', hello, `${gateway.base}/chat/completions`);
    assert.equal(JSON.parse(text).choices[0].message.content, 'hello');
  });

  it('uploads 2 MB chunked, with Expect', async () => {
    const file = join(gateway.directory, 'body.json');
    writeFileSync(file, JSON.stringify({model: 'demo/echo', ...user('x'.repeat(2 << 20))}));
    for (const more of [['-H', 'Transfer-Encoding: chunked'], ['-H', 'Expect: 100-continue']]) {
      const text = await curl(...json, ...more, '--data-binary', `@${file}`, `${gateway.base}/chat/completions`);
      assert.equal(JSON.parse(text).choices[0].message.content.length, 2 << 20);
    }
  });

  it('reuses its connection', async () => {
    const url = `${gateway.origin}/health`;
    const text = await curl('-w', ' %{num_connects}\n', url, url, url);
    assert.deepEqual(text.trim().split('\n').map((l) => l.split(' ').at(-1)), ['1', '0', '0']);
  });
});

describe('a unix socket', () => {
  it('serves curl --unix-socket', async () => {
    const gateway = await startGateway({server: {listen: ['127.0.0.1:0', 'unix:./dragoman.sock']}, sites: [{name: 'demo', adapter: 'demo'}]});
    try {
      const text = await curl('--unix-socket', join(gateway.directory, 'dragoman.sock'), 'http://localhost/health');
      assert.equal(JSON.parse(text).status, 'ok');
    } finally {
      await gateway.stop();
    }
  });
});
