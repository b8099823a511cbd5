// Pass-through routes: bodies of any size and shape, ends of every kind, and the official SDKs.
import assert from 'node:assert/strict';
import {randomBytes} from 'node:crypto';
import {once} from 'node:events';
import {readFileSync} from 'node:fs';
import {after, afterEach, before, describe, it} from 'node:test';
import {gzipSync} from 'node:zlib';
import Anthropic from '@anthropic-ai/sdk';
import {GoogleGenAI} from '@google/genai';
import OpenAI, {toFile} from 'openai';
import {Recorder, streaming} from '../sites/recorder.mjs';
import {within} from '../sites/site.mjs';
import {startGateway} from './lib/gateway.mjs';
import {Wire} from './lib/http.mjs';

// The sites here tell clients what they were asked, credentials included.
const startPassing = (config) => startGateway(config, {passes: true});

const OURS = 'gateway-key-0123456789', ACCOUNT = 'sk-account-0123456789abcdef';
const auth = {authorization: `Bearer ${OURS}`};
const memory = (pid) => Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) * 1024;

let site, gateway;
const post = (path, body, more = {}) => fetch(gateway.origin + path, {method: 'POST', body, ...more, headers: {...auth, ...more.headers}});
// What is freed would count as used for as long as the sanitizer holds it back.
const env = {ASAN_OPTIONS: 'detect_leaks=1:exitcode=99:detect_stack_use_after_return=1:quarantine_size_mb=1:thread_local_quarantine_size_kb=64'};
const setUp = async () => {
  site = await new Recorder({forbidden: [OURS]}).start();
  gateway = await startPassing({keys: [{name: 'app', key: OURS}], routes: [
    site.route({preset: 'openai', key: ACCOUNT}), site.route({preset: 'anthropic', key: ACCOUNT}), site.route({preset: 'gemini', key: ACCOUNT}),
    site.route({prefix: '/hasty', key: ACCOUNT, first_byte_timeout: '1s', idle_timeout: '1s'})]}, {env});
};
const tearDown = async () => {
  await gateway?.stop();
  await site?.stop();
};

describe('streams through a route', () => {
  before(setUp);
  after(tearDown);
  afterEach(() => assert.deepEqual(site.violations, []));

  it('30 MB up to a slow upstream: all of it arrives, and memory stays bounded', async () => {
    const piece = randomBytes(1 << 20);
    const slow = streaming((req, res, record) => {
      let waited = 0;
      req.on('data', (d) => {
        record.bytes += d.length;
        if (record.bytes - waited < 1 << 20) return;
        waited = record.bytes;
        req.pause();
        setTimeout(() => req.resume(), 25);
      });
      req.on('end', () => res.end('{}'));
    });
    const before = memory(gateway.child.pid);
    let most = 0;
    const watch = setInterval(() => (most = Math.max(most, memory(gateway.child.pid) - before)), 5);
    for (const chunked of [false, true]) {
      site.next(slow);
      let left = 30;
      const body = new ReadableStream({pull(c) { left-- > 0 ? c.enqueue(piece) : c.close(); }});
      if (chunked) {
        assert.equal((await post('/openai/v1/files', body, {duplex: 'half'})).status, 200);
        assert.equal(site.last.headers['transfer-encoding'], 'chunked');
      } else {
        assert.equal((await post('/openai/v1/files', Buffer.concat(Array(30).fill(piece)))).status, 200);
        assert.equal(site.last.headers['content-length'], String(30 << 20));
      }
      assert.equal(site.last.bytes, 30 << 20);
    }
    clearInterval(watch);
    // A chunked body is kept up to 8 MiB (which a growing buffer may take three times for a moment); one that is announced as larger is not.
    // The rest is what AddressSanitizer keeps of freed memory: the release build takes 10 MiB.
    assert.ok(most < 40 << 20, `${most >> 20} MiB more`);
    console.log(`      ${(most / (1 << 20)).toFixed(1)} MiB more at most`);
  });

  it('64 MB down to a client that does not read for a while: the upstream waits, memory stays bounded, every byte arrives', async () => {
    const piece = randomBytes(1 << 20);
    let sent = 0;
    site.next((req, res) => {
      res.writeHead(200, {'content-type': 'application/octet-stream', 'content-length': 64 << 20});
      const more = () => {
        while (sent < 64) if (++sent && !res.write(piece)) return res.once('drain', more);
        res.end();
      };
      more();
    });
    const before = memory(gateway.child.pid);
    const wire = await Wire.open(gateway.port);
    wire.socket.removeAllListeners('data');
    wire.socket.pause();
    wire.write(`GET /openai/v1/x HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${OURS}\r\n\r\n`);
    let last = -1;
    for (let same = 0; same < 10; same = sent === last ? same + 1 : 0) { // until nothing moves any more
      last = sent;
      await new Promise((r) => setTimeout(r, 50));
    }
    assert.ok(sent > 0 && sent < 40, `${sent} MiB were sent to nobody`);
    const more = memory(gateway.child.pid) - before;
    assert.ok(more < 8 << 20, `${more >> 20} MiB more`);
    let n = 0;
    wire.socket.on('data', (d) => (n += d.length));
    wire.socket.resume();
    while (n < 64 << 20) await within(10000, once(wire.socket, 'data'), 'more of the body');
    wire.socket.destroy();
    assert.equal(sent, 64);
  });

  it('server-sent events, one byte per packet: each leaves as it comes', async () => {
    const text = 'event: a\r\ndata: {"x":"é"}\n\n: comment\n\ndata: [DONE]\n\n', bytes = Buffer.from(text);
    let step;
    site.next((req, res) => {
      res.writeHead(200, {'content-type': 'text/event-stream'});
      res.flushHeaders();
      let i = 0;
      step = () => i < bytes.length && (res.write(bytes.subarray(i, ++i)), i === bytes.length && res.end());
      step();
    });
    const answer = await post('/openai/v1/chat/completions', '{"stream":true}');
    assert.deepEqual([answer.headers.get('content-type'), answer.headers.get('x-accel-buffering'), answer.headers.get('cache-control')], ['text/event-stream', 'no', 'no-cache']);
    let got = Buffer.alloc(0);
    for await (const chunk of answer.body) { // the next byte is sent when the last one is here
      got = Buffer.concat([got, chunk]);
      step();
    }
    assert.equal(got.toString(), text);
  });

  it('audio and multipart, bytes for bytes', async () => {
    const sound = randomBytes(3_000_000), form = new FormData();
    form.set('model', 'm');
    form.set('file', new Blob([sound]), 'a\r\n"b.wav');
    site.next((req, res) => res.writeHead(200, {'content-type': 'audio/mpeg'}).end(sound));
    const answer = await post('/openai/v1/audio/x', form);
    assert.equal(answer.headers.get('content-type'), 'audio/mpeg');
    assert.ok(Buffer.from(await answer.arrayBuffer()).equals(sound));
    assert.match(site.last.headers['content-type'], /^multipart\/form-data; boundary=/);
    assert.ok(site.last.body.includes(sound));
  });

  it('gzip although identity was asked for, and a compressed request', async () => {
    const packed = gzipSync('hello');
    site.next((req, res) => res.writeHead(200, {'content-type': 'text/plain', 'content-encoding': 'gzip', 'content-length': packed.length}).end(packed));
    const wire = await Wire.open(gateway.port);
    wire.write(`POST /openai/x HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${OURS}\r\nContent-Encoding: gzip\r\nContent-Length: ${packed.length}\r\n\r\n`).write(packed);
    await wire.until((t) => t.includes('\r\n\r\n') && t.split('\r\n\r\n')[1].length >= packed.length);
    assert.match(wire.got.toString('latin1'), new RegExp(`content-encoding: gzip\r\n[^]*content-length: ${packed.length}\r\n`, 'i'));
    assert.ok(wire.got.subarray(-packed.length).equals(packed));
    assert.equal(site.last.headers['content-encoding'], 'gzip');
    assert.ok(site.last.body.equals(packed));
    wire.socket.destroy();
  });

  it('HEAD, 204 and 304 have no body, and the connection goes on', async () => {
    const wire = await Wire.open(gateway.port);
    const ask = (method, path = '/openai/v1/x') => wire.write(`${method} ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${OURS}\r\n\r\n`);
    site.next((req, res) => res.writeHead(200, {'content-type': 'text/plain', 'content-length': 12345}).end());
    ask('HEAD');
    const head = await wire.answer({head: true});
    assert.deepEqual([head.status, head.headers['content-length']], [200, '12345']);
    assert.equal(site.last.method, 'HEAD');
    site.next((req, res) => res.writeHead(204).end());
    ask('DELETE');
    const none = await wire.answer();
    assert.deepEqual([none.status, none.headers['content-length'], none.headers['transfer-encoding']], [204, undefined, undefined]);
    site.next((req, res) => res.writeHead(304, {etag: '"x"'}).end());
    ask('GET');
    const same = await wire.answer({head: true});
    assert.deepEqual([same.status, same.headers.etag], [304, '"x"']);
    ask('GET');
    assert.equal((await wire.answer()).status, 200);
    wire.socket.destroy();
  });

  it('interim answers and trailers stay on their hop', async () => {
    site.next((req, res) => {
      res.writeProcessing();
      res.writeEarlyHints({link: '</x>; rel=preload'});
      res.writeHead(200, {'content-type': 'text/plain', trailer: 'x-t'});
      res.write('a');
      res.addTrailers({'x-t': '1'});
      res.end('b');
    });
    const wire = await Wire.open(gateway.port);
    wire.write(`GET /openai/v1/x HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${OURS}\r\n\r\n`);
    const answer = await wire.answer();
    assert.deepEqual([answer.status, answer.body, answer.headers.trailer], [200, 'ab', undefined]);
    wire.socket.destroy();
  });

  it('Expect: 100-continue is answered here, and not passed on', async () => {
    const wire = await Wire.open(gateway.port);
    wire.write(`POST /openai/v1/x HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${OURS}\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n`);
    await wire.until((t) => t.includes('100 Continue\r\n\r\n'));
    wire.write('{}');
    const answer = await wire.answer();
    assert.ok(wire.continued);
    assert.equal(JSON.parse(answer.body).bytes, 2);
    wire.socket.destroy();
  });

  it('redirects are handed back as they are, and not followed', async () => {
    const before = site.requests.length;
    site.next((req, res) => res.writeHead(307, {location: 'https://elsewhere.example/x?y#z'}).end('moved'));
    const answer = await post('/openai/v1/x', '{}', {redirect: 'manual'});
    assert.deepEqual([answer.status, answer.headers.get('location'), await answer.text()], [307, 'https://elsewhere.example/x?y#z', 'moved']);
    assert.equal(site.requests.length, before + 1);
  });

  it('an answer that comes before the upload has ended', async () => {
    site.next(streaming((req, res) => req.once('data', () => res.writeHead(413, {'content-type': 'application/json', 'content-length': 2}).end('{}'))));
    const wire = await Wire.open(gateway.port);
    wire.write(`POST /openai/v1/x HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${OURS}\r\nContent-Length: 100000000\r\n\r\nbegin`);
    const answer = await wire.answer();
    assert.deepEqual([answer.status, answer.body, answer.headers.connection], [413, '{}', 'close']);
    wire.socket.destroy();
  });

  it('both directions at once', async () => {
    site.next(streaming((req, res) => {
      res.writeHead(200, {'content-type': 'text/plain'});
      req.on('data', (d) => res.write(`<${d}>`));
      req.on('end', () => res.end('!'));
    }));
    const wire = await Wire.open(gateway.port);
    wire.write(`POST /openai/v1/x HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${OURS}\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n`);
    await wire.until((t) => t.includes('<a>'));
    wire.write('1\r\nb\r\n');
    await wire.until((t) => t.includes('<b>'));
    wire.write('0\r\n\r\n');
    assert.equal((await wire.answer()).body, '<a><b>!');
    wire.socket.destroy();
  });
});

describe('ends', () => {
  before(setUp);
  after(tearDown);
  afterEach(() => assert.deepEqual(site.violations, []));
  const head = `POST /openai/v1/x HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${OURS}\r\n`;

  it('the client leaves in the middle of the answer: the upstream\'s is closed within a second', async () => {
    let record, begun = new Promise((resolve) => site.next((req, res, r) => {
      record = r;
      res.writeHead(200, {'content-type': 'text/event-stream'});
      res.write('data: 1\n\n', resolve);
    }));
    const stop = new AbortController();
    const answer = await post('/openai/v1/x', '{}', {signal: stop.signal});
    await begun;
    const left = Date.now();
    stop.abort();
    await answer.text().catch(() => {});
    const closed = await within(2000, record.closed, 'the end of the request');
    assert.ok(closed - left < 1000);
    await gateway.logged(/passage .*end=cancelled/);
  });

  it('the client leaves in the middle of the upload, and before the answer', async () => {
    for (const half of [true, false]) {
      let record;
      const begun = new Promise((resolve) => site.next(streaming((req, res, r) => {
        record = r;
        req.on('data', resolve);
      })));
      const wire = await Wire.open(gateway.port);
      wire.write(`${head}Content-Length: ${half ? 100 : 4}\r\n\r\nbody`);
      await begun;
      const left = Date.now();
      wire.socket.destroy();
      assert.ok(await within(2000, record.closed, 'the end of the request') - left < 1000);
    }
  });

  it('the upstream leaves in the middle: broken for the client, never a clean end', async () => {
    for (const headers of [{}, {'content-length': 1000}]) {
      site.next((req, res) => {
        res.writeHead(200, {'content-type': 'text/event-stream', ...headers});
        res.write('data: half\n\n', () => setTimeout(() => res.destroy(), 30));
      });
      const wire = await Wire.open(gateway.port);
      wire.write(`${head}Content-Length: 2\r\n\r\n{}`);
      await wire.until(() => false);
      const text = wire.got.toString();
      assert.match(text, /data: half/);
      assert.doesNotMatch(text, /\r\n0\r\n\r\n$/);
      await gateway.logged(/passage .*end=cut error=cut/);
      wire.socket.destroy();
      await assert.rejects(async () => {
        site.next((req, res) => {
          res.writeHead(200, headers);
          res.write('half', () => setTimeout(() => res.destroy(), 30));
        });
        await (await post('/openai/v1/x', '{}')).text();
      });
    }
  });

  it('answers that are no HTTP, or an odd one', async () => {
    for (const [text, status] of [['HTTP/1.1 000 Odd\r\nContent-Length: 0\r\n\r\n', 502], ['HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n', 502], ['HTTP/1.1 101 Up\r\nUpgrade: x\r\n\r\n', 502],
      ['SSH-2.0\r\n', 502], ['HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n', 999], ['HTTP/1.1 200 \r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n', 0],
      ['HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n', 204], ['HTTP/1.1 200 OK\r\n\r\nuntil the end', 200]]) {
      site.next((req, res) => res.socket.end(text));
      const answer = await post('/openai/v1/x', '{}');
      if (status) assert.equal(answer.status, status, text);
      await answer.text().catch(() => {});
    }
    assert.equal((await post('/openai/v1/x', '{}')).status, 200); // still there
  });

  it('the upstream leaves without an answer, or says nothing in time: errors of ours', async () => {
    site.next((req, res) => res.destroy(), (req, res) => res.destroy()); // the first time may be the connection's fault
    const gone = await post('/anthropic/v1/messages', '{}');
    assert.equal(gone.status, 502);
    assert.equal((await gone.json()).error.type, 'api_error');
    site.next(() => {});
    const silent = await post('/hasty/x', '{}');
    assert.equal(silent.status, 504);
    assert.equal((await silent.json()).error.code, 'upstream_timeout');
  });

  it('a client that sends slowly is waited for, whatever first_byte_timeout says', async () => {
    const wire = await Wire.open(gateway.port);
    wire.write(`${head.replace('/openai/v1/x', '/hasty/x')}Content-Length: 4\r\n\r\n`);
    for (const byte of 'slow') {
      await new Promise((r) => setTimeout(r, 700)); // the clock itself is what is tested
      wire.write(byte);
    }
    assert.equal(JSON.parse((await wire.answer()).body).bytes, 4);
    wire.socket.destroy();
  });

  it('a chunked upload that breaks the rules reaches the upstream as no whole one', async () => {
    let record;
    const begun = new Promise((resolve) => site.next(streaming((req, res, r) => {
      record = r;
      req.on('data', resolve);
      req.on('end', () => (r.ended = true));
    })));
    const wire = await Wire.open(gateway.port);
    wire.write(`${head}Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n`);
    await begun;
    wire.write('zz\r\n');
    assert.equal((await wire.answer()).status, 400);
    await within(2000, record.closed, 'the end of the request');
    assert.equal(record.ended, undefined);
    wire.socket.destroy();
  });

  it('a stop lets a stream come to its end', async () => {
    const own = await startPassing({routes: [site.route({preset: 'openai', key: ACCOUNT})]});
    let res, begun = new Promise((resolve) => site.next((req, r) => {
      res = r;
      res.writeHead(200, {'content-type': 'text/event-stream'});
      res.write('data: 1\n\n', resolve);
    }));
    const answer = await fetch(`${own.origin}/openai/v1/x`, {method: 'POST', body: '{}'});
    await begun;
    own.signal('SIGTERM');
    await own.logged(/stop|shut/i);
    res.end('data: 2\n\n');
    assert.equal(await answer.text(), 'data: 1\n\ndata: 2\n\n');
    assert.equal(await own.exit(), 0); // before another signal hurries it
    await own.stop();
  });
});

describe('uploads that are led on by an address', () => {
  before(setUp);
  after(tearDown);

  it('come back through the route', async () => {
    site.next((req, res) => res.writeHead(200, {'x-goog-upload-url': `${site.origin}/upload/v1beta/files?upload_id=1&upload_protocol=resumable`, 'x-goog-upload-status': 'active'}).end());
    const start = await post('/gemini/upload/v1beta/files', '{}', {headers: {'x-goog-upload-command': 'start', 'x-goog-upload-protocol': 'resumable'}});
    assert.equal(start.headers.get('x-goog-upload-url'), `${gateway.origin}/gemini/upload/v1beta/files?upload_id=1&upload_protocol=resumable`);
    await start.text();
    await (await fetch(start.headers.get('x-goog-upload-url'), {method: 'POST', headers: {...auth, 'x-goog-upload-command': 'upload, finalize', 'x-goog-upload-offset': '0'}, body: 'data'})).text();
    assert.deepEqual([site.last.url, site.last.headers['x-goog-upload-offset'], site.last.headers['x-goog-api-key']], ['/upload/v1beta/files?upload_id=1&upload_protocol=resumable', '0', ACCOUNT]);
  });

  it('elsewhere are refused', async () => {
    for (const url of ['https://elsewhere.example/upload/x', `${site.origin}.evil.example/x`, `${site.origin}@evil.example/`]) {
      site.next((req, res) => res.writeHead(200, {'x-goog-upload-url': url}).end());
      const answer = await post('/gemini/upload/v1beta/files', '{}');
      assert.equal(answer.status, 502);
      assert.equal((await answer.json()).error.status, 'UNAVAILABLE');
    }
  });
});

describe('requests with a service\'s own key', () => {
  before(async () => {
    site = await new Recorder({forbidden: [OURS]}).start();
    gateway = await startPassing({keys: [{name: 'app', key: OURS}], server: {passthrough_unknown_keys: true}, sites: [{name: 'demo', adapter: 'demo'}], routes: [
      site.route({preset: 'openai', key: ACCOUNT}), site.route({preset: 'anthropic', key: ACCOUNT}), site.route({preset: 'gemini', key: ACCOUNT})]});
  });
  after(tearDown);
  afterEach(() => assert.deepEqual(site.violations, []));
  const ask = async (path, headers, more = {}) => {
    const answer = await fetch(gateway.origin + path, {method: 'POST', body: '{}', headers, ...more});
    return {status: answer.status, body: await answer.json()};
  };

  it('go to the service that their signs name, with their key and no other', async () => {
    assert.equal((await ask('/v1/chat/completions', {authorization: 'Bearer sk-their-own'})).status, 200);
    assert.deepEqual([site.last.url, site.last.headers.authorization], ['/v1/chat/completions', 'Bearer sk-their-own']);
    await ask('/v1/messages?beta=true', {'x-api-key': 'sk-ant-own'});
    assert.deepEqual([site.last.url, site.last.headers['x-api-key'], site.last.headers['anthropic-version']], ['/v1/messages?beta=true', 'sk-ant-own', '2023-06-01']);
    await ask('/v1/messages', {authorization: 'Bearer sk-ant-oat', 'anthropic-version': '2023-06-01'});
    assert.deepEqual([site.last.headers.authorization, site.last.headers['x-api-key']], ['Bearer sk-ant-oat', undefined]);
    await ask('/v1beta/models/m:generateContent', {'x-goog-api-key': 'AIza-own'});
    assert.deepEqual([site.last.url, site.last.headers['x-goog-api-key']], ['/v1beta/models/m:generateContent', 'AIza-own']);
    await ask('/v1beta/models/m:generateContent?alt=sse&key=AIza-own', {});
    assert.deepEqual([site.last.url, site.last.headers['x-goog-api-key']], ['/v1beta/models/m:generateContent?alt=sse', 'AIza-own']);
    await ask('/v1/x', {'x-api-key': 'sk-ant-own', authorization: 'Bearer sk-other-service'});
    assert.deepEqual([site.last.headers['x-api-key'], site.last.headers.authorization], ['sk-ant-own', undefined]);
    await gateway.logged(/passage .*account=visitor-/);
    assert.doesNotMatch(gateway.stderr, /sk-their-own|sk-ant-own|AIza-own/);
  });

  it('a key of ours is served here, and never sent', async () => {
    const before = site.requests.length;
    const models = await fetch(`${gateway.base}/models`, {headers: auth});
    assert.equal((await models.json()).data[0].owned_by, 'demo');
    assert.equal((await ask('/v1/chat/completions', {authorization: `Bearer ${OURS}`, 'x-api-key': 'sk-ant-own', 'content-type': 'application/json'})).status, 400);
    assert.equal(site.requests.length, before);
    assert.equal((await ask('/v1beta/models/m:generateContent', {'x-goog-api-key': OURS})).status, 200); // the route's own path
    assert.equal(site.last.headers['x-goog-api-key'], ACCOUNT);
  });

  it('no key is no key; and behind a prefix only ours open', async () => {
    assert.equal((await ask('/v1/chat/completions', {})).status, 401);
    assert.equal((await ask('/openai/v1/chat/completions', {authorization: 'Bearer sk-their-own'})).status, 401);
    assert.equal((await ask('/v1//x', {authorization: 'Bearer sk-their-own'})).status, 400);
  });
});

describe('the official SDKs', () => {
  before(setUp);
  after(tearDown);
  afterEach(() => assert.deepEqual(site.violations, []));

  it('openai: a stream, an upload, speech', async () => {
    const client = new OpenAI({baseURL: `${gateway.origin}/openai/v1`, apiKey: OURS, maxRetries: 0});
    const chunk = (content, finish_reason = null) => `data: ${JSON.stringify({id: 'c', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{index: 0, delta: {content}, finish_reason}]})}\n\n`;
    site.next((req, res) => res.writeHead(200, {'content-type': 'text/event-stream'}).end(`${chunk('Hel')}${chunk('lo', 'stop')}data: [DONE]\n\n`));
    let text = '';
    for await (const c of await client.chat.completions.create({model: 'm', stream: true, messages: [{role: 'user', content: 'x'}]})) text += c.choices[0].delta.content;
    assert.equal(text, 'Hello');
    assert.equal(site.last.headers.authorization, `Bearer ${ACCOUNT}`);
    assert.match(site.last.headers['user-agent'], /^OpenAI/);
    assert.ok(site.last.headers['x-stainless-lang']);
    const bytes = randomBytes(1_000_000);
    site.next((req, res) => res.writeHead(200, {'content-type': 'application/json'}).end('{"id":"file-1"}'));
    assert.equal((await client.files.create({file: await toFile(bytes, 'x.bin'), purpose: 'assistants'})).id, 'file-1');
    assert.ok(site.last.body.includes(bytes));
    site.next((req, res) => res.writeHead(200, {'content-type': 'audio/mpeg'}).end(bytes));
    assert.ok(Buffer.from(await (await client.audio.speech.create({model: 'm', voice: 'alloy', input: 'x'})).arrayBuffer()).equals(bytes));
    site.next((req, res) => res.writeHead(404, {'content-type': 'application/json', 'x-request-id': 'req_up'}).end('{"error":{"message":"none such","type":"invalid_request_error","code":"model_not_found"}}'));
    await assert.rejects(client.models.retrieve('x'), (e) => e.status === 404 && e.code === 'model_not_found' && e.requestID === 'req_up');
  });

  it('@anthropic-ai/sdk: its streaming helper, errors of theirs and ours', async () => {
    const client = new Anthropic({baseURL: `${gateway.origin}/anthropic`, apiKey: OURS, maxRetries: 0});
    const event = (e) => `event: ${e.type}\ndata: ${JSON.stringify(e)}\n\n`;
    site.next((req, res) => {
      res.writeHead(200, {'content-type': 'text/event-stream', 'request-id': 'req_a'});
      res.write(event({type: 'message_start', message: {id: 'msg', type: 'message', role: 'assistant', model: 'm', content: [], stop_reason: null, stop_sequence: null, usage: {input_tokens: 1, output_tokens: 1}}}));
      res.write(event({type: 'content_block_start', index: 0, content_block: {type: 'text', text: ''}}));
      for (const text of ['Hel', 'lo']) res.write(event({type: 'content_block_delta', index: 0, delta: {type: 'text_delta', text}}));
      res.write(event({type: 'content_block_stop', index: 0}));
      res.write(event({type: 'message_delta', delta: {stop_reason: 'end_turn', stop_sequence: null}, usage: {output_tokens: 2}}));
      res.end(event({type: 'message_stop'}));
    });
    const stream = client.messages.stream({model: 'm', max_tokens: 10, messages: [{role: 'user', content: 'x'}]});
    assert.equal(await stream.finalText(), 'Hello');
    assert.deepEqual([site.last.url, site.last.headers['x-api-key']], ['/v1/messages', ACCOUNT]);
    assert.match(site.last.headers['anthropic-version'], /^20\d\d-\d\d-\d\d$/); // the SDK's own
    site.next((req, res) => res.writeHead(529, {'content-type': 'application/json', 'request-id': 'req_b'}).end('{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_b"}'));
    await assert.rejects(client.messages.create({model: 'm', max_tokens: 1, messages: []}), (e) => e.status === 529 && e.requestID === 'req_b' && e.error.error.type === 'overloaded_error');
    const stranger = new Anthropic({baseURL: `${gateway.origin}/anthropic`, apiKey: 'wrong', maxRetries: 0});
    await assert.rejects(stranger.messages.create({model: 'm', max_tokens: 1, messages: []}), (e) => e instanceof Anthropic.AuthenticationError && e.error.error.type === 'authentication_error');
  });

  it('@google/genai: whole, stream, file upload', async () => {
    const ai = new GoogleGenAI({apiKey: OURS, httpOptions: {baseUrl: `${gateway.origin}/gemini`}});
    const part = (text) => ({candidates: [{content: {role: 'model', parts: [{text}]}, index: 0}]});
    site.next((req, res) => res.writeHead(200, {'content-type': 'application/json'}).end(JSON.stringify(part('Hello'))));
    assert.equal((await ai.models.generateContent({model: 'gemini-2.5-flash', contents: 'x'})).text, 'Hello');
    assert.deepEqual([site.last.url, site.last.headers['x-goog-api-key']], ['/v1beta/models/gemini-2.5-flash:generateContent', ACCOUNT]);
    site.next((req, res) => res.writeHead(200, {'content-type': 'text/event-stream'}).end(['Hel', 'lo'].map((t) => `data: ${JSON.stringify(part(t))}\r\n\r\n`).join('')));
    let text = '';
    for await (const c of await ai.models.generateContentStream({model: 'gemini-2.5-flash', contents: 'x'})) text += c.text;
    assert.equal(text, 'Hello');
    assert.equal(site.last.url, '/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse');
    const bytes = randomBytes(300_000);
    site.next((req, res) => res.writeHead(200, {'x-goog-upload-url': `${site.origin}/upload/v1beta/files?upload_id=7`, 'x-goog-upload-status': 'active', 'content-type': 'application/json'}).end('{}'),
      (req, res) => res.writeHead(200, {'x-goog-upload-status': 'final', 'content-type': 'application/json'}).end('{"file":{"name":"files/x","uri":"u"}}'));
    assert.equal((await ai.files.upload({file: new Blob([bytes]), config: {mimeType: 'audio/wav'}})).name, 'files/x');
    assert.equal(site.last.url, '/upload/v1beta/files?upload_id=7');
    assert.ok(site.last.body.equals(bytes));
  });
});
