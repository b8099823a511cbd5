// Connections as they are in the world: pipelined, slow, half closed, reset, idle, too many, unread, and speaking another protocol.
// Whatever happens to one, the next request is served, and in the end nothing is held that was not held at the start.
import assert from 'node:assert/strict';
import {join} from 'node:path';
import {after, before, describe, it} from 'node:test';
import tls from 'node:tls';
import {certificates} from '../sites/certs.mjs';
import {OpenAiSite} from '../sites/openai.mjs';
import {within} from '../sites/site.mjs';
import {startDemo, startGateway} from './lib/gateway.mjs';
import {checkBrokenStream, checkStream, user} from './lib/http.mjs';
import {RawClient, chunked, contentOf, echo, get, head, held, isError, post} from './lib/raw.mjs';

const hello = echo('hello');
const slow = (text, ms = 10) => ({model: 'demo/slow', stream: true, ...user(`${ms} ${text}`)});
const HEAD_MS = 10000;

/** Asks until `fits(value)`, and gives up after `ms`. */
async function becomes(ms, what, look, fits) {
  const end = Date.now() + ms;
  for (;;) {
    const value = await look();
    if (fits(value)) return value;
    assert.ok(Date.now() < end, `${what} is still ${JSON.stringify(value)} after ${ms} ms`);
  }
}

async function active(port) {
  const client = await RawClient.open(port);
  await client.send(get('/health', ['Connection: close']));
  const {text} = await client.answer();
  await client.isClosed();
  client.close();
  return JSON.parse(text).active;
}

async function fine(port) {
  const client = await RawClient.open(port);
  await client.send(post(hello));
  assert.equal(contentOf(await client.answer()), 'hello');
  client.close();
}

describe('pipelining', () => {
  let gateway;
  before(async () => (gateway = await startDemo()));
  after(() => gateway?.stop());

  const kinds = [
    (i) => [get(`/health?${i}`), (a) => assert.equal(JSON.parse(a.text).status, 'ok')],
    (i) => [post(echo(`number ${i}`)), (a) => assert.equal(contentOf(a), `number ${i}`)],
    (i) => [post(echo(`stream ${i}`, {stream: true})), (a) => assert.equal(checkStream(a.text).content, `stream ${i}`)],
    (i) => [Buffer.concat([Buffer.from(head('POST /v1/chat/completions HTTP/1.1', ['Transfer-Encoding: chunked'])), chunked(JSON.stringify(echo(`chunk ${i}`)), 9)]), (a) => assert.equal(contentOf(a), `chunk ${i}`)],
    (i) => [head(`HEAD /v1/models?${i} HTTP/1.1`), (a) => assert.equal(a.status, 200), {head: true}],
    (i) => [head(`OPTIONS /${i} HTTP/1.1`), (a) => assert.equal(a.status, 204)],
    (i) => [get(`/lost/${i}`), (a) => assert.match(isError(a, 404, 'unknown_url').message, new RegExp(`/lost/${i};`))],
    (i) => [get(`/v1/models/none-${i}`), (a) => assert.match(isError(a, 404, 'model_not_found').message, new RegExp(`none-${i}\\b`))],
    (i) => [post(`{"broken":${i}`), (a) => isError(a, 400, 'invalid_json')],
    (i) => [post(echo(`!error unavailable after 1 words ${i}`)), (a) => assert.ok(a.status >= 200)],
    (i) => [head('DELETE /health HTTP/1.1', [`X-N: ${i}`, 'Content-Length: 5']) + 'hello', (a) => isError(a, 405, 'method_not_allowed')],
    (i) => [get(`/v1/models/demo/echo?${i}`, ['Content-Length: 4']) + 'GET ', (a) => assert.equal(JSON.parse(a.text).id, 'demo/echo')],
    (i) => [post({model: 'demo/slow', ...user(`1 slow ${i}`)}), (a) => assert.match(contentOf(a), new RegExp(`slow ${i}$`))],
    (i) => [`\r\n\r\n${get('/v1/models', [`X-N: ${i}`])}`, (a) => assert.equal(JSON.parse(a.text).object, 'list')],
  ];
  for (const size of [1, 13, 1000, 1 << 20]) {
    it(`answers a hundred mixed requests in order, sent ${size} bytes at a time`, async () => {
      const wanted = Array.from({length: size === 1 ? 28 : 100}, (_, i) => kinds[(i * 5 + (i >> 3)) % kinds.length](i)), client = await RawClient.open(gateway.port);
      const sent = client.sendBy(size, Buffer.concat(wanted.map(([bytes]) => Buffer.from(bytes))));
      for (const [, check, options] of wanted) check(await client.answer(options));
      await sent;
      await client.isUsable();
      client.close();
    });
  }

  for (const [title, bad, status] of [['two lengths', head('POST /v1/chat/completions HTTP/1.1', ['Content-Length: 1', 'Content-Length: 2']), 400], ['garbage', '\x01\x02\x03', 400], ['no version', 'GET /health\r\n', 400],
    ['a length too many', `${post(hello)}}`, 400], ['a body too large', head('POST /v1/chat/completions HTTP/1.1', ['Content-Length: 99999999999']), 413], ['a bad chunk', `${head('POST /v1/chat/completions HTTP/1.1', ['Transfer-Encoding: chunked'])}x\r\n`, 400]]) {
    it(`ends at what it cannot read (${title}), after all that came before and before all that comes behind`, async () => {
      const client = await RawClient.open(gateway.port), good = [post(echo('1')), post(slow('2')), post(echo('3', {stream: true}))];
      await client.send(Buffer.concat([...good, Buffer.from(bad), post(echo('ghost')), Buffer.from(get('/health'))]));
      assert.equal(contentOf(await client.answer()), '1');
      assert.equal(checkStream((await client.answer()).text).content, '10 2');
      assert.equal(checkStream((await client.answer()).text).content, '3');
      if (title === 'a length too many') assert.equal(contentOf(await client.answer()), 'hello');
      assert.equal((await client.answer()).status, status);
      await client.isClosed();
      client.close();
    });
  }

  it('goes on after a stream that failed: its body has an end, and no [DONE]', async () => {
    const client = await RawClient.open(gateway.port);
    for (const text of ['!error unavailable after 2 words', '!cut after 1 words', '!error rate_limited 3', '!error challenge after 1 words']) {
      await client.send(Buffer.concat([post(echo(text, {stream: true})), post(hello)]));
      const {status, text: body, headers} = await client.answer();
      if (status === 200) checkBrokenStream(body);
      else assert.equal(status, 429);
      assert.equal(headers.connection, undefined);
      assert.equal(contentOf(await client.answer()), 'hello');
    }
    client.close();
  });

  it('gives each answer an id of its own', async () => {
    const client = await RawClient.open(gateway.port), ids = new Set();
    const requests = [get('/health'), get('/'), get('/v1/models'), get('/nowhere'), head('OPTIONS * HTTP/1.1'), head('PUT / HTTP/1.1'), post(hello), post(echo('x', {stream: true})), post('{')];
    await client.send(Buffer.concat([...requests, ...requests, 'x y\r\n'].map((r) => Buffer.from(r))));
    for (let i = 0; i < 2 * requests.length + 1; i++) ids.add((await client.answer()).headers['x-request-id']);
    assert.equal(ids.size, 2 * requests.length + 1);
    for (const id of ids) assert.match(id, /^req_\w{16,}$/);
    client.close();
  });

  it('keeps thousands of requests behind a stream, though no buffer holds them', async () => {
    const client = await RawClient.open(gateway.port), count = 4000;
    const sent = client.send(post(slow('a b c d e', 50)), get('/health').repeat(count), post(echo('last'))); // 4000 · 40 bytes
    assert.equal(checkStream((await client.answer()).text).content, '50 a b c d e');
    for (let i = 0; i < count; i++) assert.equal((await client.answer()).status, 200);
    assert.equal(contentOf(await client.answer()), 'last');
    await sent;
    client.close();
  });

  it('holds a dozen unread streams on one socket, serves others, and loses nothing', async () => {
    const texts = Array.from({length: 12}, (_, i) => Array.from({length: 150}, (_, k) => `${i}:${k}:${'abcdefgh'.repeat(400)}`).join(' ')); // 480 kB each
    const client = await RawClient.open(gateway.port);
    client.socket.pause();
    const sent = client.send(...texts.map((text) => post(echo(text, {stream: true}))));
    for (let i = 0; i < 5; i++) await fine(gateway.port);
    client.socket.resume();
    for (const text of texts) assert.ok(checkStream((await client.answer({ms: 20000})).text).content === text);
    await sent;
    await client.isUsable();
    client.close();
  });
});

describe('leaving', () => {
  let site, gateway;
  before(async () => {
    site = await new OpenAiSite({tls: false, host: '127.0.0.1', keys: null}).start();
    gateway = await startGateway({server: {max_body: '1MiB'}, sites: [{name: 'demo', adapter: 'demo'},
      {name: 'up', adapter: 'openai', max_concurrent: 1, ...site.config({base_url: `${site.origin}/v1`})}]});
  });
  after(async () => {
    await gateway?.stop();
    await site?.stop();
  });
  const model = 'up/gpt-test';
  const up = (text, more = {}) => post({model, ...user(text), ...more});

  /** The site begins an answer (or not even that) and waits; resolves with the record of that request. */
  function holds(begin) {
    return new Promise((resolve) => site.next((record, res) => {
      begin?.(res);
      resolve(record);
    }));
  }
  const someText = (res) => {
    site.sseHead(res);
    site.event(res, {id: 'x', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{index: 0, delta: {role: 'assistant', content: 'Half'}, finish_reason: null}]});
  };

  async function nothingIsLeft() {
    await becomes(5000, 'the number of exchanges', () => active(gateway.port), (n) => n === 0);
    const client = await RawClient.open(gateway.port);
    await client.send(up('still there?'));
    assert.equal(contentOf(await client.answer()), 'still there?'); // the one place at the site is free
    client.close();
  }

  for (const [title, bytes, check] of [
    ['a GET', get('/v1/models'), (a) => assert.equal(JSON.parse(a.text).object, 'list')], ['a refused request', get('/nowhere'), (a) => isError(a, 404, 'unknown_url')], ['a broken head', 'x y z\r\n\r\n', (a) => isError(a, 400, 'invalid_value')],
    ['a whole answer', post(hello), (a) => assert.equal(contentOf(a), 'hello')], ['a stream', post(echo('a b c', {stream: true})), (a) => assert.equal(checkStream(a.text).content, 'a b c')], ['an early 413', head('POST /v1/chat/completions HTTP/1.1', ['Content-Length: 99999999']), (a) => isError(a, 413, 'request_too_large')],
    ['a request of HTTP/1.0', 'GET /health HTTP/1.0\r\n\r\n', (a) => assert.equal(a.status, 200)],
    ['a large answer', post(echo('w'.repeat(900000))), (a) => assert.equal(contentOf(a).length, 900000)],
  ]) {
    it(`half closed after ${title}: what is there at once still arrives`, async () => {
      const client = await RawClient.open(gateway.port);
      client.send(bytes);
      client.fin();
      check(await client.answer());
      await client.isClosed();
      client.close();
      await nothingIsLeft();
    });
  }

  it('half closed after several requests: the answers come whole and in order, then the end', async () => {
    const client = await RawClient.open(gateway.port);
    client.send(Buffer.concat([post(echo('1')), Buffer.from(get('/health')), post(echo('2', {stream: true})), Buffer.from(head('HEAD / HTTP/1.1')), post(echo('3'))]));
    client.fin();
    assert.equal(contentOf(await client.answer()), '1');
    assert.equal((await client.answer()).status, 200);
    assert.equal(checkStream((await client.answer()).text).content, '2');
    assert.equal((await client.answer({head: true})).status, 200);
    assert.equal(contentOf(await client.answer()), '3');
    await client.isClosed();
    client.close();
  });

  it('half closed after thousands of requests: whole answers up to some point, then the end', async () => {
    const client = await RawClient.open(gateway.port);
    client.send(Buffer.alloc(44 * 4000, get('/v1/models')));
    client.fin();
    let answers = 0;
    while (client.buffer.length || !client.ended) {
      assert.equal((await client.answer()).status, 200);
      answers++;
      if (!client.buffer.length) await new Promise(setImmediate);
      if (!client.buffer.length && !client.ended) await Promise.race(['data', 'end'].map((event) => new Promise((resolve) => client.socket.once(event, resolve))));
    }
    assert.ok(answers > 100, `${answers} answers`);
    client.close();
    await nothingIsLeft();
  });

  const leave = {fin: (c) => c.fin(), rst: (c) => c.rst(), close: (c) => c.close()};
  for (const [how, go] of Object.entries(leave)) {
    it(`by ${how} while the site thinks: the site's request ends at once, and nothing more comes`, async () => {
      for (const stream of [false, true]) {
        const asked = holds(), client = await RawClient.open(gateway.port);
        await client.send(up('hold', {stream}));
        const record = await within(5000, asked, 'the site is asked');
        go(client);
        assert.notEqual(await within(2000, record.aborted, "the end of the site's request"), null);
        if (how === 'fin') assert.equal((await client.rest()).toString(), '');
        client.close();
      }
      await nothingIsLeft();
    });

    it(`by ${how} within a stream: the site's request ends at once, and what came does not look whole`, async () => {
      const asked = holds(someText), client = await RawClient.open(gateway.port);
      await client.send(up('hold', {stream: true}), up('ghost'));
      const record = await within(5000, asked, 'the site is asked');
      while (!client.buffer.includes('Half')) await new Promise((resolve) => client.socket.once('data', resolve));
      const heard = site.chatRequests().length;
      go(client);
      assert.notEqual(await within(2000, record.aborted, "the end of the site's request"), null);
      if (how === 'fin') {
        const rest = (await client.rest()).toString();
        assert.doesNotMatch(rest, /\[DONE\]|"finish_reason":"|\r\n0\r\n\r\n$/);
      }
      client.close();
      await nothingIsLeft();
      assert.equal(site.chatRequests().length, heard + 1, 'the pipelined request of a client that left was served');
    });

    for (const [phase, bytes, wait] of [['at once', ''], ['within the request line', 'POST /v1/ch'], ['within a header', get('/health').slice(0, -9)], ['before the empty line', get('/health').slice(0, -2)], ['before a body', up('ghost').subarray(0, -up('ghost').toString().split('\r\n\r\n')[1].length)],
      ['within a body', up('ghost').subarray(0, -1)], ['within a chunk', Buffer.concat([Buffer.from(head('POST /v1/chat/completions HTTP/1.1', ['Transfer-Encoding: chunked'])), chunked(JSON.stringify({model, ...user('ghost')})).subarray(0, 20)])],
      ['before the last chunk', Buffer.concat([Buffer.from(head('POST /v1/chat/completions HTTP/1.1', ['Transfer-Encoding: chunked'])), chunked(JSON.stringify({model, ...user('ghost')})).subarray(0, -5)])],
      ['before the end of the last chunk', Buffer.concat([Buffer.from(head('POST /v1/chat/completions HTTP/1.1', ['Transfer-Encoding: chunked'])), chunked(JSON.stringify({model, ...user('ghost')})).subarray(0, -1)])],
      ['after 100 Continue', head('POST /v1/chat/completions HTTP/1.1', ['Content-Length: 100', 'Expect: 100-continue']), /100 Continue/],
      ['within a refused body', head('POST /nowhere HTTP/1.1', ['Content-Length: 1000']) + 'x', /404/], ['within a body that is too large', head('POST /v1/chat/completions HTTP/1.1', ['Content-Length: 9999999']) + 'x', /413/],
      ['after a request in HTTP/1.0', 'GET /health HTTP/1.0\r\n\r\n', /200/], ['after a bad request', 'nonsense\r\n', /400/]]) {
      it(`by ${how} ${phase}: forgotten`, async () => {
        const heard = site.chatRequests().length, client = await RawClient.open(gateway.port);
        if (bytes.length) await client.send(bytes);
        while (wait && !wait.test(client.buffer.toString('latin1'))) await new Promise((resolve) => client.socket.once('data', resolve));
        go(client);
        if (how === 'fin') {
          const rest = (await client.rest()).toString('latin1');
          if (!wait) assert.equal(rest, '');
        }
        client.close();
        await nothingIsLeft();
        assert.equal(site.chatRequests().length, heard + 1);
      });
    }
  }

  it('with more behind it than we read: it is noticed when the next piece goes out', async () => {
    let pulse;
    const asked = holds((res) => {
      someText(res);
      pulse = setInterval(() => site.event(res, {id: 'x', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{index: 0, delta: {content: 'more'}, finish_reason: null}]}), 20);
    });
    try {
      const client = await RawClient.open(gateway.port);
      await client.send(up('hold', {stream: true}));
      const record = await within(5000, asked, 'the site is asked');
      client.send(Buffer.alloc(1 << 20, get('/health')));
      while (!client.buffer.includes('more')) await new Promise((resolve) => client.socket.once('data', resolve));
      client.rst();
      assert.notEqual(await within(3000, record.aborted, "the end of the site's request"), null);
    } finally {
      clearInterval(pulse);
    }
    await nothingIsLeft();
  });

  it('twenty streams in a row, then one that stays: it does not wait for a place', async () => {
    for (let i = 0; i < 20; i++) {
      const asked = holds(i % 2 ? someText : null), client = await RawClient.open(gateway.port);
      await client.send(up(`broken ${i}`, {stream: true}));
      await within(5000, asked, `the site hears of stream ${i}, as the one before it has gone`);
      if (i % 2) while (!client.buffer.includes('Half')) await new Promise((resolve) => client.socket.once('data', resolve));
      Object.values(leave)[i % 3](client);
      if (i % 3 === 0) await client.rest();
      client.close();
    }
    await nothingIsLeft();
  });
});

describe('crowds', () => {
  let gateway, start;
  before(async () => {
    gateway = await startGateway({sites: [{name: 'demo', adapter: 'demo'}]}, {env: {ASAN_OPTIONS: 'detect_leaks=1:exitcode=99:detect_stack_use_after_return=0:quarantine_size_mb=1'}});
    for (let i = 0; i < 20; i++) await fine(gateway.port); // what is made once is made now
    do { // until the connections of those twenty are gone as well
      start = held(gateway.child.pid);
      await new Promise((resolve) => setTimeout(resolve, 200));
    } while (held(gateway.child.pid).files < start.files);
  });
  after(() => gateway?.stop());
  const filesAreBack = () => becomes(10000, 'the number of open files', async () => {
    assert.equal(await active(gateway.port), 0);
    return held(gateway.child.pid).files;
  }, (files) => files <= start.files);

  it('60 idle connections, 40 requests at once: each gets its own, the idle ones still work', async () => {
    const idle = await Promise.all(Array.from({length: 60}, () => RawClient.open(gateway.port)));
    await Promise.all(Array.from({length: 40}, async (_, i) => {
      const client = await RawClient.open(gateway.port), stream = i % 2 === 0;
      await client.send(post({model: i % 3 ? 'demo/echo' : 'demo/slow', stream, ...user(`5 for ${i}`)}));
      const answer = await client.answer();
      assert.equal(stream ? checkStream(answer.text).content : contentOf(answer), `5 for ${i}`);
      client.close();
    }));
    assert.ok(held(gateway.child.pid).files >= start.files + 60);
    for (const client of idle) await client.isUsable();
    for (const [i, client] of idle.entries()) Object.values({a: () => client.close(), b: () => client.rst(), c: () => client.fin()})[i % 3]();
    await filesAreBack();
    for (const client of idle) client.close();
  });

  it('500 connections that come and go leave nothing', async () => {
    const parts = ['', 'GET /', get('/health').slice(0, -2), 'x\r\n\r\n', get('/health'), post(hello).subarray(0, -3), post(slow('a b c d e f g')), head('POST /x HTTP/1.1', ['Content-Length: 7'])];
    for (let round = 0; round < 10; round++) {
      const clients = await Promise.all(Array.from({length: 50}, () => RawClient.open(gateway.port)));
      await Promise.all(clients.map((client, i) => client.send(parts[(round + i) % parts.length])));
      for (const [i, client] of clients.entries()) i % 2 ? client.rst() : client.close();
    }
    await becomes(5000, 'the number of exchanges', () => active(gateway.port), (n) => n === 0);
    await filesAreBack();
    await fine(gateway.port);
  });

  it('large bodies, heads and answers give their memory back', async () => {
    const text = 'm'.repeat(2 << 20);
    const round = async () => {
      const client = await RawClient.open(gateway.port);
      await client.send(post(echo(text)), get('/health', [`X: ${'x'.repeat(60000)}`]));
      assert.equal(contentOf(await client.answer({ms: 20000})).length, text.length);
      assert.equal((await client.answer()).status, 200);
      return client; // stays open and idle
    };
    const clients = [await round()];
    const {kB} = held(gateway.child.pid);
    for (let i = 0; i < 8; i++) clients.push(await round());
    const more = held(gateway.child.pid).kB - kB;
    assert.ok(more < 8 << 10, `${more} kB more for eight idle connections that had 2 MiB each`);
    for (const client of clients) client.close();
    await filesAreBack();
  });

  it('over max_connections_per_ip are told so, whoever else is there', async () => {
    const small = await startDemo({server: {max_connections_per_ip: 2}});
    try {
      const clients = await Promise.all([1, 2].map(() => RawClient.open(small.port)));
      for (const client of clients) await client.isUsable();
      const extra = await RawClient.open(small.port);
      await extra.send(get('/health'));
      const answer = await extra.answer();
      assert.match(isError(answer, 503, 'overloaded', 'server_error').message, /max_connections_per_ip is 2/);
      await extra.isClosed();
      extra.close();
      const other = await RawClient.open(small.port, {localAddress: '127.0.0.2'}); // another address
      await other.isUsable();
      other.close();
      clients[0].close();
      await becomes(5000, 'the status', async () => {
        const next = await RawClient.open(small.port);
        await next.send(get('/health'));
        const {status} = await next.answer();
        next.close();
        return status;
      }, (status) => status === 200);
      clients[1].close();
    } finally {
      await small.stop();
    }
  });

  it('over max_connections are told so, and served when there is room', async () => {
    const small = await startDemo({server: {max_connections: 3}});
    try {
      const clients = await Promise.all([1, 2, 3].map(() => RawClient.open(small.port)));
      for (const client of clients) await client.isUsable();
      for (const bytes of [get('/health'), post(hello), '']) {
        const extra = await RawClient.open(small.port);
        if (bytes) await extra.send(bytes);
        const answer = await extra.answer();
        isError(answer, 503, 'overloaded', 'server_error');
        assert.equal(answer.headers['retry-after'], '1');
        await extra.isClosed();
        extra.close();
      }
      for (const client of clients) await client.isUsable();
      clients[0].close();
      await becomes(5000, 'the status', async () => {
        const next = await RawClient.open(small.port);
        await next.send(get('/health'));
        const {status} = await next.answer();
        next.close();
        return status;
      }, (status) => status === 200);
      for (const client of clients) client.close();
    } finally {
      await small.stop();
    }
  });
});

describe('patience and other protocols', {concurrency: true}, () => {
  let plain, secure;

  before(async () => {
    plain = await startDemo();
    const {directory} = certificates();
    secure = await startDemo({server: {tls_cert: join(directory, 'good.pem'), tls_key: join(directory, 'good.key')}});
  });
  after(async () => {
    await plain?.stop();
    await secure?.stop();
  });

  const unfinished = {'nothing but a letter': 'G', 'half a request line': 'GET /hea', 'a line of a head': 'GET /health HTTP/1.1\r\n', 'all but the empty line': get('/health').slice(0, -2), 'all but an LF': get('/health').slice(0, -1), 'half a head after a request': get('/health') + 'GET / HT'};
  for (const [title, text] of Object.entries(unfinished)) {
    it(`a head that is never finished (${title}) is given up after ten seconds`, {timeout: 20000}, async () => {
      const client = await RawClient.open(plain.port);
      const from = Date.now();
      await client.send(text);
      if (text.startsWith(get('/health'))) assert.equal((await client.answer()).status, 200);
      isError(await client.answer({ms: HEAD_MS + 5000}), 400, 'invalid_value');
      const ms = Date.now() - from;
      assert.ok(ms > HEAD_MS - 1500 && ms < HEAD_MS + 4000, `${ms} ms`);
      await client.isClosed();
      client.close();
    });
  }

  it('a head that drips is given up as well, however often it moves', {timeout: 20000}, async () => {
    const client = await RawClient.open(plain.port), from = Date.now();
    client.send('GET /health HTTP/1.1\r\nHost: localhost\r\nX: ');
    const drip = setInterval(() => client.socket.writable && client.socket.write('x'), 100);
    try {
      isError(await client.answer({ms: HEAD_MS + 5000}), 400, 'invalid_value');
      assert.ok(Date.now() - from < HEAD_MS + 4000);
    } finally {
      clearInterval(drip);
    }
    await client.isClosed();
    client.close();
  });

  it('a TLS handshake that is never finished is given up after ten seconds', {timeout: 20000}, async () => {
    const client = await RawClient.open(secure.port), from = Date.now();
    await client.send(Buffer.from('16030100ca010000c60303', 'hex')); // the beginning of a ClientHello
    await client.rest(HEAD_MS + 5000);
    assert.ok(Date.now() - from > HEAD_MS - 1500);
    client.close();
  });

  it('a connection that says nothing may wait longer than a head', {timeout: 20000}, async () => {
    const client = await RawClient.open(plain.port);
    await client.send('\r\n'); // an empty line is no head yet
    await assert.rejects(client.rest(HEAD_MS + 1000), /still open/);
    await client.isUsable();
    client.close();
  });

  it('TLS on the plain port: a sentence, not silence', async () => {
    const error = await new Promise((resolve) => tls.connect({port: plain.port, host: '127.0.0.1', rejectUnauthorized: false}).on('error', resolve));
    assert.match(error.code, /SSL|PROTO|RESET|WRONG/);
    const client = await RawClient.open(plain.port);
    await client.send(Buffer.from('16030100ca010000c60303', 'hex'));
    assert.match(isError(await client.answer(), 400, 'invalid_value').message, /http:\/\//);
    await client.isClosed();
    client.close();
    await fine(plain.port);
  });

  it('plain text on the TLS port: a sentence as well', async () => {
    for (const bytes of [get('/health'), post(hello), 'G', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', post(echo('x'.repeat(300000)))]) {
      const client = await RawClient.open(secure.port);
      await client.send(bytes);
      assert.match(isError(await client.answer(), 400, 'invalid_value').message, /https:\/\//);
      await client.isClosed();
      client.close();
    }
  });

  const noises = {
    'an HTTP/2 preface': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04\0\0\0\0\0', 'SSH': 'SSH-2.0-OpenSSH_9.2\r\n', 'SMTP': 'EHLO me\r\nMAIL FROM:<a@b>\r\n', 'SOCKS5': '\x05\x01\0', 'SOCKS4': '\x04\x01\0\x50\x7f\0\0\x01\0', 'RTSP': 'DESCRIBE rtsp://127.0.0.1/x RTSP/1.0\r\nCSeq: 1\r\n\r\n',
    'SIP': 'INVITE sip:a@b SIP/2.0\r\n\r\n', 'Redis': '*1\r\n$4\r\nPING\r\n', 'a PROXY line': `PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n${get('/health')}`, 'a PROXY header': '\r\n\r\n\0\r\nQUIT\n!\x11\0\x0c', 'NULs': '\0'.repeat(5000), 'line breaks and then NULs': `${'\r\n'.repeat(3000)}\0`, 'JSON': JSON.stringify(hello), 'a BOM': '\xef\xbb\xbfGET / HTTP/1.1\r\n\r\n',
    'half a megabyte of garbage': Buffer.from(Array.from({length: 500000}, (_, i) => (i * 7919 + (i >> 7)) % 256)), 'half a megabyte of letters': 'A'.repeat(500000), 'SSLv2': Buffer.from('802e0100020015000000100100800200800300800400', 'hex'), 'an HTTP answer': 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
  };
  for (const [title, bytes] of Object.entries(noises)) {
    it(`${title}: one 400 and the end`, async () => {
      const client = await RawClient.open(plain.port);
      await client.send(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
      isError(await client.answer(), 400, 'invalid_value');
      await client.isClosed();
      client.close();
      await fine(plain.port);
    });

    it(`${title} on the TLS port: an end`, async () => {
      const client = await RawClient.open(secure.port);
      await client.send(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
      client.fin();
      await client.rest();
      client.close();
      const good = await RawClient.open(secure.port, {secure: true});
      await good.isUsable();
      good.close();
    });
  }

  it('speaks the same HTTP inside TLS', async () => {
    const client = await RawClient.open(secure.port, {secure: true});
    await client.sendBy(1, post(hello));
    assert.equal(contentOf(await client.answer()), 'hello');
    await client.send(Buffer.concat([post(echo('1')), post(slow('2')), Buffer.from(get('/nowhere')), post(echo('3', {stream: true}))]));
    assert.equal(contentOf(await client.answer()), '1');
    assert.equal(checkStream((await client.answer()).text).content, '10 2');
    isError(await client.answer(), 404, 'unknown_url');
    assert.equal(checkStream((await client.answer()).text).content, '3');
    await client.send(head('POST /v1/chat/completions HTTP/1.1', ['Content-Length: 1', 'Transfer-Encoding: chunked']) + get('/health'));
    isError(await client.answer(), 400, 'invalid_value');
    await client.isClosed();
    client.close();
    const cut = await RawClient.open(secure.port, {secure: true});
    await cut.send(post(slow('a b c d e f g h', 100)));
    cut.rst();
    await becomes(5000, 'the number of exchanges', async () => {
      const look = await RawClient.open(secure.port, {secure: true});
      await look.send(get('/health'));
      const {text} = await look.answer();
      look.close();
      return JSON.parse(text).active;
    }, (n) => n === 0);
  });
});
