// Requests that two readers could understand in two ways. Whoever stands before us may be loose; we are not: what is ambiguous is
// refused, the connection ends, and what stands behind it is never taken for a request. Each attack carries a ghost, a good request
// that would reach the site if the framing were lost; a witness sent afterwards proves that it did not.
import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';
import {OpenAiSite} from '../sites/openai.mjs';
import {startGateway} from './lib/gateway.mjs';
import {user} from './lib/http.mjs';
import {RawClient, chunked, contentOf, get, head, isError, post} from './lib/raw.mjs';

const model = 'up/gpt-test';
const ghost = post({model, ...user('ghost')});
const body = JSON.stringify({model, ...user('prey')});
const n = body.length;
const latin = (text) => Buffer.from(text, 'latin1');
const join = (...parts) => Buffer.concat(parts.map((p) => (typeof p === 'string' ? latin(p) : p)));

/** A chat request with these framing headers, and this body. */
const framed = (headers, content = body, version = '1.1') =>
  join(head(`POST /v1/chat/completions HTTP/${version}`, ['Content-Type: application/json', ...headers]), content);
const CHUNKED = 'Transfer-Encoding: chunked';

describe('requests that could be read in two ways', () => {
  let site, gateway, witnesses = 0;
  before(async () => {
    site = await new OpenAiSite({tls: false, host: '127.0.0.1', keys: null}).start();
    gateway = await startGateway({server: {max_body: '1MiB'}, sites: [{name: 'up', adapter: 'openai', ...site.config({base_url: `${site.origin}/v1`})}]});
  });
  after(async () => {
    await gateway?.stop();
    await site?.stop();
  });

  const asked = () => site.chatRequests().map((r) => r.json.messages[0].content);

  /** The site has heard `heard` since `from`, and now the witness: nothing else. */
  async function onlyHeard(from, ...heard) {
    const text = `witness ${++witnesses}`, client = await RawClient.open(gateway.port);
    await client.send(post({model, ...user(text)}));
    assert.equal(contentOf(await client.answer()), text);
    client.close();
    assert.deepEqual(asked().slice(from), [...heard, text]);
  }

  const refused = (title, bytes, {status = 400, code = 'invalid_value', pieces = 0} = {}) => it(`refuses ${title}`, async () => {
    const from = asked().length, client = await RawClient.open(gateway.port);
    const all = join(bytes, ghost);
    await (pieces ? client.sendBy(pieces, all) : client.send(all));
    isError(await client.answer(), status, code);
    await client.isClosed();
    client.close();
    await onlyHeard(from);
  });
  const tooLarge = {status: 413, code: 'request_too_large'}, tooMuch = {status: 431};

  const served = (title, bytes) => it(`serves ${title}`, async () => {
    const from = asked().length, client = await RawClient.open(gateway.port);
    await client.send(join(bytes, ghost));
    assert.equal(contentOf(await client.answer()), 'prey');
    assert.equal(contentOf(await client.answer()), 'ghost');
    await client.isUsable();
    client.close();
    await onlyHeard(from, 'prey', 'ghost');
  });

  describe('a length and a coding', () => {
    const empty = '0\r\n\r\n';
    refused('Content-Length, then Transfer-Encoding (CL.TE)', framed(['Content-Length: 5', CHUNKED], empty));
    refused('Transfer-Encoding, then Content-Length (TE.CL)', framed([CHUNKED, 'Content-Length: 5'], empty));
    refused('both, in pieces', framed(['Content-Length: 5', CHUNKED], empty), {pieces: 3});
    refused('both, where the chunks hold the whole request', framed([`Content-Length: ${chunked(body).length}`, CHUNKED], chunked(body)));
    refused('both, with a length that ends before the ghost', framed([CHUNKED, 'Content-Length: 4'], `${ghost.length.toString(16)}\r\n`));
    refused('both, with an unknown coding', framed(['Content-Length: 5', 'Transfer-Encoding: xchunked'], empty));
    refused('both, with an empty coding', framed(['Content-Length: 5', 'Transfer-Encoding:'], empty));
    refused('both, Content-Length 0', framed(['Content-Length: 0', CHUNKED], ''));
    refused('both, on a GET', join(get('/health', ['Content-Length: 5', CHUNKED]), empty));
  });

  describe('Content-Length', () => {
    refused('twice, different', framed([`Content-Length: ${n}`, 'Content-Length: 0']));
    refused('twice, different, the other way round', framed(['Content-Length: 0', `Content-Length: ${n}`]));
    refused('twice, equal', framed([`Content-Length: ${n}`, `Content-Length: ${n}`]));
    refused('twice, in capitals and not', framed([`Content-Length: ${n}`, `CONTENT-LENGTH: ${n}`]));
    for (const value of [`+${n}`, `-${n}`, '-1', `0x${n.toString(16)}`, `${n}, ${n}`, `${n},${n}`, `${n} 1`, ` ${n} ${n}`, `${n};`, `"${n}"`, `${n}.0`, `1e2`,
      `${n}\xb2`, `\xa0${n}`, '', 'x', `_${n}`, `1_0`, `${n}h`]) {
      refused(`Content-Length: ${JSON.stringify(value)}`, framed([`Content-Length: ${value}`]));
    }
    for (const value of [`${(1n << 64n) + BigInt(n)}`, `${(1n << 63n) + BigInt(n)}`, `${(1n << 32n) + BigInt(n)}`, '9'.repeat(40), '18446744073709551615',
      '9223372036854775807', '1048577']) {
      refused(`Content-Length: ${value}`, framed([`Content-Length: ${value}`]), tooLarge);
    }
    refused('a tab behind the length', framed([`Content-Length: ${n}\t`])); // it may stand there, but llhttp minds, and nobody sends it
    refused('a folded length', framed(['Content-Length:', ` ${n}`]));
    refused('a blank before the colon', framed([`Content-Length : ${n}`]));
    refused('a tab before the colon', framed([`Content-Length\t: ${n}`]));
    refused('a NUL in its name', framed([`Content\0-Length: ${n}`]));
    served('zeros before the length', framed([`Content-Length: 000${n}`]));
    served('no blank, and many', framed([`Content-Length:${n}   `]));
    served('names that only look like it', framed([`Content-Length: ${n}`, 'Content_Length: 0', 'X-Content-Length: 0', 'Content-Lengths: 0', 'Transfer_Encoding: chunked']));
  });

  describe('Transfer-Encoding', () => {
    const whole = chunked(body);
    for (const value of ['chunked, identity', 'identity, chunked', 'gzip, chunked', 'chunked, gzip', 'chunked, chunked', 'identity', 'gzip', 'xchunked', 'chunkedx', 'chunked;q=1',
      '"chunked"', "'chunked'", 'chunked,', ',chunked', 'chun ked', 'x chunked', 'chunked x', '', '\x0bchunked', '\x0cchunked', 'chunked\x00', '\xa0chunked', 'chun\x7fked', 'chunke\xe4']) {
      refused(`Transfer-Encoding: ${JSON.stringify(value)}`, framed([`Transfer-Encoding: ${value}`], whole));
    }
    refused('twice', framed([CHUNKED, CHUNKED], whole));
    refused('twice, identity first', framed(['Transfer-Encoding: identity', CHUNKED], whole));
    refused('twice, identity last', framed([CHUNKED, 'Transfer-Encoding: identity'], whole));
    refused('it in HTTP/1.0', framed([CHUNKED], whole, '1.0'));
    refused('it in HTTP/1.0 that wants to go on', framed([CHUNKED, 'Connection: keep-alive'], whole, '1.0'));
    refused('it folded', framed(['Transfer-Encoding:', ' chunked'], whole));
    refused('it behind a folded line', framed(['X: y', ` ${CHUNKED}`], whole));
    refused('a blank before the colon', framed(['Transfer-Encoding : chunked'], whole));
    refused('it behind a bare LF', framed([`X: y\n${CHUNKED}`], whole));
    refused('it behind a bare CR', framed([`X: y\r${CHUNKED}`], whole));
    refused('it behind a CR CR', framed([`X: y\r\r\n${CHUNKED}`], whole));
    served('it between tabs', framed(['Transfer-Encoding: \t chunked\t '], whole));
    served('it in any case', framed(['tRANSFER-eNCODING:CHUNKED'], whole));
    served('TE and Trailer beside it', framed(['TE: trailers, gzip', 'Trailer: X', CHUNKED], whole));
  });

  describe('the head', () => {
    const end = `\r\nContent-Length: ${n}\r\n\r\n${body}`;
    const start = 'POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1';
    const odd = {
      'lines that end in LF': start.replaceAll('\r\n', '\n') + end.replaceAll('\r\n', '\n'), 'an LF behind the request line': start.replace('\r\n', '\n') + end,
      'a CR behind the request line': start.replace('\r\n', '\r') + end, 'an empty line made of LF': `${start}\r\n\n${body}`, 'an empty line made of CR': `${start}\r\n\r${body}`,
      'an LF in a value': `${start}\r\nX: a\nb${end}`, 'a CR in a value': `${start}\r\nX: a\rb${end}`, 'an LF in a name': `${start}\r\nX\nY: a${end}`,
      'a NUL in a value': `${start}\r\nX: a\0b${end}`, 'a NUL in a name': `${start}\r\nX\0: a${end}`, 'a DEL in a value': `${start}\r\nX: \x7f${end}`, 'an ESC in a value': `${start}\r\nX: \x1b[31m${end}`,
      'a folded line': `${start}\r\nX: a\r\n b${end}`, 'a line folded with a tab': `${start}\r\nX: a\r\n\tb${end}`, 'a line of blanks': `${start}\r\n  ${end}`,
      'a folded line at once': start.replace('\r\n', '\r\n ') + end, 'a blank before a name': `${start}\r\n X: a${end}`, 'a line without a colon': `${start}\r\nXYZ${end}`,
      'an empty name': `${start}\r\n: a${end}`, 'a high byte in a name': `${start}\r\nX\xe4: a${end}`, 'a name in quotes': `${start}\r\n"X": a${end}`,
      'brackets in a name': `${start}\r\nX[1]: a${end}`, 'a second Host': `${start}\r\nHost: 127.0.0.1${end}`, 'another Host': `${start}\r\nhost: evil.example${end}`,
      'a blank before the method': ` ${start}${end}`, 'an LF before the method': `\n${start}${end}`, 'a CR before the method': `\r${start}${end}`, 'a tab between': start.replace('POST ', 'POST\t') + end,
      'two blanks between': start.replace('POST ', 'POST  ') + end, 'a blank behind the version': start.replace('1.1', '1.1 ') + end, 'a blank in the target': start.replace('/chat', '/ chat') + end,
      'a NUL in the target': start.replace('/chat', '/\0chat') + end, 'no version': 'GET /health\r\n\r\n', 'no version and no end': 'GET /health', 'HTTP/1.2': start.replace('1.1', '1.2') + end,
      'HTTP/01.1': start.replace('1.1', '01.1') + end, 'HTTP/1.10': start.replace('1.1', '1.10') + end, 'HTTP/2.0': start.replace('1.1', '2.0') + end, 'http/1.1': start.replace('HTTP', 'http') + end,
      'HTTP/1,1': start.replace('1.1', '1,1') + end, 'ICY': start.replace('HTTP/1.1', 'ICY/1.1') + end, 'a UTF-8 BOM': `\xef\xbb\xbf${start}${end}`, 'an answer instead': `HTTP/1.1 200 OK\r\n\r\n`,
    };
    for (const [title, text] of Object.entries(odd)) refused(title, latin(text));
    served('empty lines before the request line', latin(`\r\n\r\n\r\n${start}${end}`));
    served('an empty line behind the body, as old clients send it', latin(`${start}${end}\r\n`));
    served('high bytes in a value', latin(`${start}\r\nX-Title: caf\xe9 \xff\x80${end}`));
    served('tabs in a value', latin(`${start}\r\nX: a\tb\t${end}`));
    served('empty values', latin(`${start}\r\nX:\r\nY: \r\nAuthorization: Bearer ${end}`));
    served('an upgrade that nobody follows', latin(`${start}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__${end}`));
    served('a WebSocket handshake as what it is otherwise', latin(`${start}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13${end}`));
  });

  describe('chunks', () => {
    const hex = n.toString(16);
    const chunks = (text) => framed([CHUNKED], latin(text));
    for (const size of [`-${hex}`, `+${hex}`, `0x${hex}`, `0X${hex}`, ` ${hex}`, `\t${hex}`, `${hex} `, `${hex}\t`, `${hex}h`, `${hex},`, `${hex}.`, '', ' ', 'g', ';a=b', `"${hex}"`, `${hex}\0`, `\0${hex}`,
      `${hex} ${hex}`, `\xb2${hex}`, `${hex}\n`, `${hex}\r`]) {
      refused(`the chunk size ${JSON.stringify(size)}`, chunks(`${size}\r\n${body}\r\n0\r\n\r\n`));
    }
    for (const size of [((1n << 64n) + BigInt(n)).toString(16), ((1n << 63n) + BigInt(n)).toString(16), ((1n << 32n) + BigInt(n)).toString(16), 'f'.repeat(16), 'f'.repeat(40), '7fffffffffffffff', '100001']) {
      refused(`the chunk size ${size}`, chunks(`${size}\r\n${body}\r\n0\r\n\r\n`), tooLarge);
    }
    refused('a size line that ends in LF', chunks(`${hex}\n${body}\r\n0\r\n\r\n`));
    refused('no CRLF behind a chunk', chunks(`${hex}\r\n${body}0\r\n\r\n`));
    refused('an LF behind a chunk', chunks(`${hex}\r\n${body}\n0\r\n\r\n`));
    refused('a CR behind a chunk', chunks(`${hex}\r\n${body}\r0\r\n\r\n`));
    refused('a chunk that is longer than its size', chunks(`${hex}\r\n${body}x\r\n0\r\n\r\n`));
    refused('a chunk that is longer than its size by a CRLF', chunks(`${hex}\r\n${body}\r\n\r\n0\r\n\r\n`));
    refused('an LF in an extension', chunks(`${hex};a\n${body}\r\n0\r\n\r\n`));
    refused('a ghost behind an LF in an extension', chunks(`${hex};\nxx\r\n${body}\r\n0\r\n\r\n`));
    refused('a CR in an extension', chunks(`${hex};a\rb\r\n${body}\r\n0\r\n\r\n`));
    refused('a NUL in an extension', chunks(`${hex};a\0\r\n${body}\r\n0\r\n\r\n`));
    refused('an endless extension', chunks(`${hex};${'x'.repeat(17 << 10)}\r\n${body}\r\n0\r\n\r\n`), tooMuch);
    refused('many extensions that are long together', chunks(body.split('').map((c) => `1;${'x'.repeat(300)}\r\n${c}\r\n`).join('') + '0\r\n\r\n'), tooMuch);
    refused('endless zeros before a size', chunks(`${'0'.repeat(17 << 10)}${hex}\r\n${body}\r\n0\r\n\r\n`));
    refused('an LF at the end', chunks(`${hex}\r\n${body}\r\n0\r\n\n`));
    refused('a CR at the end', chunks(`${hex}\r\n${body}\r\n0\r\n\rx`));
    refused('a bad last size', chunks(`${hex}\r\n${body}\r\n0 \r\n\r\n`));
    refused('a folded trailer', chunks(`${hex}\r\n${body}\r\n0\r\nX: a\r\n b\r\n\r\n`));
    refused('a trailer with an LF', chunks(`${hex}\r\n${body}\r\n0\r\nX: a\nY: b\r\n\r\n`));
    refused('a trailer with a CR', chunks(`${hex}\r\n${body}\r\n0\r\nX: a\rY: b\r\n\r\n`));
    refused('a trailer with a NUL', chunks(`${hex}\r\n${body}\r\n0\r\nX: \0\r\n\r\n`));
    refused('a giant trailer', chunks(`${hex}\r\n${body}\r\n0\r\nX: ${'y'.repeat(17 << 10)}\r\n\r\n`), tooMuch);
    refused('giant trailers together', chunks(`${hex}\r\n${body}\r\n0\r\n${'X: y\r\n'.repeat(5000)}\r\n`), tooMuch);
    refused('chunks, in pieces', chunks(`${hex}\r\n${body}0\r\n\r\n`), {pieces: 5});
    served('zeros before a size', chunks(`0000000000000000000000000${hex}\r\n${body}\r\n000\r\n\r\n`));
    served('capital digits', chunks(`1\r\n{\r\n${(n - 1).toString(16).toUpperCase()}\r\n${body.slice(1)}\r\n0\r\n\r\n`));
    served('extensions', chunks(`${hex};a;b=c;d="e;f \t\xff"\r\n${body}\r\n0;last\r\n\r\n`));
    served('long extensions and trailers', chunks(`${hex};${'x'.repeat(7 << 10)}\r\n${body}\r\n0\r\nX: ${'y'.repeat(7 << 10)}\r\n\r\n`));
    served('trailers that would be framing', chunks(`${hex}\r\n${body}\r\n0\r\nContent-Length: 5\r\nTransfer-Encoding: gzip\r\nHost: evil.example\r\nConnection: close\r\n\r\n`));
    served('one byte a chunk', framed([CHUNKED], chunked(body, 1)));
  });

  it('takes a refused body off the connection, and what follows is a request', async () => {
    const from = asked().length;
    for (const [headers, content] of [[[`Content-Length: ${ghost.length}`], ghost], [[CHUNKED], chunked(ghost, 50)]]) {
      const client = await RawClient.open(gateway.port);
      await client.send(join(head('POST /nowhere HTTP/1.1', headers), content));
      isError(await client.answer(), 404, 'unknown_url');
      await client.isUsable();
      await client.send(join(head('POST /health HTTP/1.1', headers), content, ghost));
      isError(await client.answer(), 405, 'method_not_allowed');
      assert.equal(contentOf(await client.answer()), 'ghost');
      client.close();
    }
    await onlyHeard(from, 'ghost', 'ghost');
  });

  it('never reads the body of a GET as a request', async () => {
    const from = asked().length;
    for (const [headers, content] of [[[`Content-Length: ${ghost.length}`], ghost], [[CHUNKED], chunked(ghost, 50)]]) {
      for (const target of ['/health', '/v1/models', '/', '/nowhere']) {
        const client = await RawClient.open(gateway.port);
        await client.send(join(get(target, headers), content));
        assert.equal((await client.answer()).status, target === '/nowhere' ? 404 : 200);
        await client.isUsable();
        client.close();
      }
    }
    await onlyHeard(from);
  });

  it('drops what stands behind Connection: close', async () => {
    const from = asked().length;
    for (const value of ['close', 'Close', 'keep-alive, close', ', close,', 'x-a,close']) {
      const client = await RawClient.open(gateway.port);
      await client.send(join(get('/health', [`Connection: ${value}`]), ghost));
      const answer = await client.answer();
      assert.deepEqual([answer.status, answer.headers.connection], [200, 'close']);
      await client.isClosed();
      client.close();
    }
    await onlyHeard(from);
  });

  it('drops what stands behind an HTTP/1.0 request', async () => {
    const from = asked().length, client = await RawClient.open(gateway.port);
    await client.send(join('GET /health HTTP/1.0\r\n\r\n', ghost));
    assert.equal((await client.answer()).status, 200);
    await client.isClosed();
    client.close();
    await onlyHeard(from);
  });
});
