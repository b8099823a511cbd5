// Bodies: in every coding and in every piece, at the limit and past it, with and without Expect, and with everything in them that
// is no text, no JSON, or only just.
import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';
import {startDemo} from './lib/gateway.mjs';
import {checkErrorObject, checkStream, user} from './lib/http.mjs';
import {RawClient, chunked, contentOf, echo, get, head, isError, post} from './lib/raw.mjs';

const MAX = 65536;
const model = 'demo/echo';
const chunks = 'Transfer-Encoding: chunked';
const chatHead = (...headers) => head('POST /v1/chat/completions HTTP/1.1', ['Content-Type: application/json', ...headers]);
const hello = JSON.stringify(echo('hello'));
const whole = (text, ...headers) => post(text, headers);
const inChunks = (text, ...more) => Buffer.concat([Buffer.from(chatHead(chunks)), chunked(text, ...more)]);

/** A chat request of exactly so many bytes, and what it says. */
function ofSize(size) {
  const bare = JSON.stringify(echo('')).length, content = 'é'.repeat(Math.floor((size - bare) / 2)) + 'x'.repeat((size - bare) % 2);
  return {text: JSON.stringify(echo(content)), content};
}

describe('bodies on a raw socket', () => {
  let gateway;
  before(async () => (gateway = await startDemo({server: {max_body: MAX}, keys: [{name: 'k', key: 'sk-a-key-that-is-long-enough'}, {name: 'any', key: 'open-sesame-0123456789'}]})));
  after(() => gateway?.stop());
  const key = 'Authorization: Bearer open-sesame-0123456789';
  const withKey = (bytes) => Buffer.from(bytes.toString('latin1').replace('\r\n', `\r\n${key}\r\n`), 'latin1');

  async function talk(f) {
    const client = await RawClient.open(gateway.port);
    try {
      return await f(client);
    } finally {
      client.close();
    }
  }

  describe('in pieces', () => {
    const text = JSON.stringify(echo('naïve café 漢字 😀 \u{10ffff}'));
    for (const [title, bytes] of [['with a length', whole(text)], ['in one chunk', inChunks(text)], ['in chunks of one byte', inChunks(text, 1)], ['in chunks of seven', inChunks(text, 7, {extension: ';a="b"', trailers: ['X-A: b', 'X-B:']})]]) {
      for (const size of [1, 2, 3, 5, 64, 1 << 20]) {
        it(`${title}, ${size} at a time`, () => talk(async (client) => {
          await client.sendBy(size, withKey(bytes));
          assert.equal(contentOf(await client.answer()), 'naïve café 漢字 😀 \u{10ffff}');
          await client.isUsable();
        }));
      }
    }

    it('a body that comes in a burst with its neighbours', () => talk(async (client) => {
      const bytes = withKey(inChunks(hello, 3)), three = Buffer.concat([bytes, withKey(whole(hello)), bytes]);
      for (const cut of [1, bytes.length - 1, bytes.length, bytes.length + 1, three.length - 1]) {
        await client.send(three.subarray(0, cut), three.subarray(cut));
        for (let i = 0; i < 3; i++) assert.equal(contentOf(await client.answer()), 'hello');
      }
      await client.isUsable();
    }));
  });

  describe('at the limit', () => {
    for (const size of [MAX - 1, MAX]) {
      const {text, content} = ofSize(size);
      for (const [title, bytes] of [['with a length', whole(text)], ['in one chunk', inChunks(text)], ['in chunks of 1000', inChunks(text, 1000)], ['in chunks of 16', inChunks(text, 16)]]) {
        it(`${size} bytes ${title} are served`, () => talk(async (client) => {
          await client.sendBy(10007, withKey(bytes));
          assert.equal(contentOf(await client.answer()), content);
          await client.isUsable();
        }));
      }
    }

    for (const size of [MAX + 1, MAX + 1000, 1 << 20]) {
      const {text} = ofSize(size);
      for (const [title, bytes] of [['with a length', whole(text)], ['in one chunk', inChunks(text)], ['in chunks of 1000', inChunks(text, 1000)], ['in chunks of 16', inChunks(text, 16)]]) {
        it(`${size} bytes ${title} are a 413 that arrives although they are sent on`, () => talk(async (client) => {
          await client.sendBy(10007, withKey(bytes));
          isError(await client.answer(), 413, 'request_too_large');
          await client.isClosed();
        }));
      }
    }

    it('is known before the bytes come', async () => {
      for (const headers of [[`Content-Length: ${MAX + 1}`], ['Content-Length: 1073741824']]) {
        await talk(async (client) => {
          await client.send(withKey(chatHead(...headers)));
          isError(await client.answer(), 413, 'request_too_large');
          await client.isClosed();
        });
      }
      for (const first of [`${(MAX + 1).toString(16)}\r\n`, `1\r\n{\r\n${MAX.toString(16)}\r\n`]) {
        await talk(async (client) => {
          await client.send(withKey(chatHead(chunks)), first);
          const error = isError(await client.answer(), 413, 'request_too_large');
          assert.match(error.message, /max_body/);
          await client.isClosed();
        });
      }
    });

    it('does not hold for what is refused anyway: up to 1 MiB is thrown away and the connection goes on', async () => {
      const keep = Buffer.alloc(1 << 20, 'x'), end = Buffer.alloc((1 << 20) + 1, 'x');
      for (const [headers, body] of [[[`Content-Length: ${keep.length}`], keep], [[chunks], chunked(keep.subarray(0, 900000), 5000)]]) {
        await talk(async (client) => {
          await client.send(head('POST /nowhere HTTP/1.1', headers));
          isError(await client.answer(), 404, 'unknown_url'); // before a byte of the body
          await client.sendBy(100000, body);
          await client.isUsable();
        });
      }
      await talk(async (client) => {
        await client.send(head('POST /nowhere HTTP/1.1', [`Content-Length: ${end.length}`]));
        const answer = await client.answer();
        isError(answer, 404, 'unknown_url');
        assert.equal(answer.headers.connection, 'close');
        await client.send(end);
        await client.isClosed();
      });
      await talk(async (client) => { // and bad chunks there end it
        await client.send(head('POST /nowhere HTTP/1.1', [chunks]));
        isError(await client.answer(), 404, 'unknown_url');
        await client.send('zz\r\n', get('/health'));
        await client.isClosed();
      });
    });
  });

  describe('Expect: 100-continue', () => {
    const expect = 'Expect: 100-continue', length = `Content-Length: ${hello.length}`;
    const refusals = [
      ['without a key', chatHead(length, expect), 401, 'missing_api_key', 'authentication_error'], ['with a wrong key', chatHead(length, expect, 'X-Api-Key: wrong'), 401, 'invalid_api_key', 'authentication_error'],
      ['at no place', head('POST /nowhere HTTP/1.1', [length, expect]), 404, 'unknown_url'], ['with a wrong method', head('PUT /v1/chat/completions HTTP/1.1', [length, expect]), 405, 'method_not_allowed'],
      ['without a Host', head('POST /v1/chat/completions HTTP/1.1', [length, expect], {host: null}), 400, 'invalid_value'], ['too large', chatHead(`Content-Length: ${MAX + 1}`, expect, key), 413, 'request_too_large'],
      ['far too large', chatHead('Content-Length: 99999999999999999999999', expect, key), 413, 'request_too_large'], ['in both codings', chatHead(length, chunks, expect, key), 400, 'invalid_value'],
      ['chunked, without a key', chatHead(chunks, expect), 401, 'missing_api_key', 'authentication_error'],
    ];
    for (const [title, bytes, status, code, type] of refusals) {
      it(`${title}: the final status instead of 100, and the body is no request`, () => talk(async (client) => {
        await client.send(bytes);
        const answer = await client.answer();
        isError(answer, status, code, type);
        assert.deepEqual([answer.continues, answer.headers.connection], [0, 'close']);
        await client.send(get('/health')); // a body that came all the same, or the next request: nobody can tell
        await client.isClosed();
      }));
    }

    for (const line of [expect, 'expect:100-Continue', 'EXPECT: 100-CONTINUE', 'Expect: 100-continue, x', 'Expect: x\r\nExpect: 100-continue', 'Expect: 100-continue\r\nExpect: x']) {
      it(`${JSON.stringify(line)}: one 100, then the answer`, () => talk(async (client) => {
        await client.send(withKey(chatHead(length, line)));
        await client.isWelcome();
        await client.send(Buffer.from(hello.slice(0, 5)), Buffer.from(hello.slice(5)));
        const answer = await client.answer();
        assert.deepEqual([contentOf(answer), answer.continues], ['hello', 1]);
        await client.isUsable();
      }));
    }

    it('is not said when the body is there already, or there is none', () => talk(async (client) => {
      for (const [bytes, status] of [[whole(hello, expect), 200], [Buffer.concat([Buffer.from(chatHead(chunks, expect)), chunked(hello)]), 200], [whole('', expect), 400], [get('/health', [expect]), 200], [get('/v1/models', [expect, 'Content-Length: 0']), 200], [head('OPTIONS * HTTP/1.1', [expect]), 204]]) {
        await client.send(withKey(bytes));
        const answer = await client.answer();
        assert.deepEqual([answer.status, answer.continues], [status, 0]);
      }
      await client.isUsable();
    }));

    it('may precede chunks, and chunks that become too many', async () => {
      await talk(async (client) => {
        await client.send(withKey(chatHead(chunks, expect)));
        await client.isWelcome();
        await client.sendBy(9, chunked(hello, 4));
        const answer = await client.answer();
        assert.deepEqual([contentOf(answer), answer.continues], ['hello', 1]);
        await client.isUsable();
      });
      await talk(async (client) => {
        await client.send(withKey(chatHead(chunks, expect)));
        await client.isWelcome();
        await client.send(chunked(Buffer.alloc(MAX + 1, ' '), 4096));
        const answer = await client.answer();
        isError(answer, 413, 'request_too_large');
        assert.equal(answer.continues, 1);
        await client.isClosed();
      });
    });

    it('is answered in turn when it is pipelined', () => talk(async (client) => {
      const slow = JSON.stringify({model: 'demo/slow', stream: true, ...user('10 one two three')});
      await client.send(withKey(whole(slow)), withKey(chatHead(length, expect)));
      const first = await client.answer();
      assert.deepEqual([checkStream(first.text).content, first.continues], ['10 one two three', 0]);
      await client.isWelcome();
      await client.send(Buffer.concat([Buffer.from(hello), withKey(chatHead(length, expect))]));
      const second = await client.answer();
      assert.deepEqual([contentOf(second), second.continues], ['hello', 1]);
      await client.isWelcome();
      await client.send(Buffer.concat([Buffer.from(hello), Buffer.from(get('/health'))]));
      const third = await client.answer();
      assert.deepEqual([contentOf(third), third.continues], ['hello', 1]);
      assert.equal((await client.answer()).status, 200);
      await client.isUsable();
    }));

    it('is no reason to fail when it asks for something else', () => talk(async (client) => {
      for (const line of ['Expect: 200-ok', 'Expect:', 'Expect: 100-continued', 'Expect: 100 continue']) {
        await client.send(withKey(whole(hello, line)));
        const answer = await client.answer();
        assert.ok((answer.status === 200 || answer.status === 417) && answer.continues === 0, line);
      }
    }));

    it('and a client that thinks better of it disturb nobody', async () => {
      for (const leave of ['fin', 'rst', 'close']) {
        await talk(async (client) => {
          await client.send(withKey(chatHead(length, expect)));
          await client.isWelcome();
          client[leave]();
        });
      }
      await talk((client) => client.isUsable());
    });
  });

  describe('what is in them', () => {
    const chat = (inner) => `{"model":"${model}","messages":[{"role":"user","content":"hello"}]${inner}}`;
    const said = (bytes) => Buffer.concat([Buffer.from(`{"model":"${model}","messages":[{"role":"user","content":"`), Buffer.from(bytes), Buffer.from('"}]}')]);
    const nested = (n) => '['.repeat(n) + ']'.repeat(n);

    async function one(body) {
      return talk(async (client) => {
        await client.send(withKey(whole(body)));
        const answer = await client.answer();
        await client.isUsable();
        return answer;
      });
    }

    const served = {
      'blanks around': ` \t\r\n${hello}\r\n \t\n`, 'no blanks at all': hello, 'many blanks': hello.replace(':', `: ${' '.repeat(5000)}`), 'escapes in names': hello.replace('"model"', '"\\u006dodel"'), 'escapes in values': hello.replace('demo/echo', 'demo\\/ech\\u006f'),
      'an unknown field': chat(',"x":{"y":[1,2,{"z":null}]}'), 'a name twice': chat(',"x":1,"x":2'), 'an empty name': chat(',"":1'), 'the number -0': chat(',"temperature":-0'), 'the number 1E-400': chat(',"x":1E-400'), 'the number 0.1e1': chat(',"temperature":0.1e1'),
      'nesting 100 deep': chat(`,"x":${nested(100)}`), '5,000 fields': chat(Array.from({length: 5000}, (_, i) => `,"f${i}":0`).join('')), 'a name of 30 kB': chat(`,"${'n'.repeat(30000)}":1`), 'non-characters': said([0xef, 0xbf, 0xbe, 0xef, 0xbf, 0xbf]),
    };
    for (const [title, body] of Object.entries(served)) {
      it(`${title}: served`, async () => assert.equal((await one(body)).status, 200));
    }

    const either = {
      'a UTF-8 BOM': `\ufeff${hello}`, 'a number of 30 digits': chat(`,"x":${'9'.repeat(30)}`), 'a seed of 30 digits': chat(`,"seed":${'9'.repeat(30)}`), 'the number 1e999': chat(',"x":1e999'), 'a number of 30,000 digits': chat(`,"x":${'9'.repeat(30000)}`),
      'a fraction of 30,000 digits': chat(`,"x":0.${'9'.repeat(30000)}`), 'nesting 1,000 deep': chat(`,"x":${nested(1000)}`), 'nesting 10,000 deep': chat(`,"x":${nested(10000)}`), 'max_tokens -1': chat(',"max_tokens":-1'), 'max_tokens 2^63': chat(',"max_tokens":9223372036854775808'),
      'the model twice': chat(',"model":"demo/slow"'),
    };
    for (const [title, body] of Object.entries(either)) {
      it(`${title}: served or a clean 400`, async () => {
        const {status, text} = await one(body);
        assert.ok(status === 200 || status === 400, text);
        if (status === 400) checkErrorObject(JSON.parse(text).error);
      });
    }

    const invalid = {
      'nothing': '', 'blanks': ' \r\n ', 'a NUL': '\0', 'a NUL before': `\0${hello}`, 'a NUL behind': `${hello}\0`, 'a NUL between': hello.replace(':', ':\0'), 'a NUL in a string': said([0]), 'a line break in a string': said([10]), 'a DEL is fine, an ESC is not': said([0x7f, 0x1b]),
      'a vertical tab': `\v${hello}`, 'a no-break space': `\u00a0${hello}`, 'two objects': `${hello}${hello}`, 'two lines': `${hello}\n${hello}`, 'a comment': hello.replace('{', '{/*x*/'), 'a hash': `${hello}#`, 'a comma at the end': hello.replace(/}$/, ',}'), 'a comma too many': chat(',,"x":1'),
      'no comma': chat('"x":1'), 'no quotes': hello.replace('"model"', 'model'), 'NaN': chat(',"x":NaN'), 'Infinity': chat(',"x":-Infinity'), 'the number 01': chat(',"x":01'), 'the number +1': chat(',"x":+1'), 'the number .5': chat(',"x":.5'), 'the number 1.': chat(',"x":1.'), 'the number 0x1': chat(',"x":0x1'),
      'a lone minus': chat(',"x":-'), 'True': chat(',"x":True'), 'undefined': chat(',"x":undefined'), 'the escape \\x': chat(',"x":"\\x41"'), 'a short escape': chat(',"x":"\\u12"'), "the escape \\'": chat(',"x":"\\\'"'), 'no end of a string': '{"model":"x', 'half an escape at the end': '{"model":"\\',
      'half a character at the end': Buffer.from([...Buffer.from('{"model":"'), 0xe2, 0x82]), 'only brackets': '['.repeat(60000), 'only objects': '{"a":'.repeat(12000), 'nesting 30,000 deep': chat(`,"x":${nested(30000)}`), 'a number': '1', 'a list of the object': `[${hello}]`, 'true': 'true', 'XML': '<?xml version="1.0"?><a/>', 'a form': 'model=demo%2Fecho&messages=x',
      'UTF-16': Buffer.from(`\ufeff${hello}`, 'utf16le'), 'UTF-16 without a BOM': Buffer.from(hello, 'utf16le'), 'Latin-1': said(Buffer.from('caf\xe9', 'latin1')), 'an overlong slash': said([0xc0, 0xaf]), 'an overlong NUL': said([0xc0, 0x80]), 'an overlong of three bytes': said([0xe0, 0x80, 0xaf]),
      'a surrogate': said([0xed, 0xa0, 0x80]), 'a pair of surrogates (CESU-8)': said([0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80]), 'past U+10FFFF': said([0xf4, 0x90, 0x80, 0x80]), 'five bytes': said([0xf8, 0x88, 0x80, 0x80, 0x80]), 'a lone continuation': said([0x80]), 'a start without its rest': said([0xe2, 0x82]), 'an FF in a name': Buffer.from(chat(',"\xff":1'), 'latin1'),
      'gzip': Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]),
    };
    for (const [title, body] of Object.entries(invalid)) {
      it(`${title}: a 400, and the connection goes on`, async () => {
        const answer = await one(body);
        isError(answer, 400, 'invalid_json');
      });
    }

    const surrogates = {'\\ud83d': '\ufffd', '\\ude00': '\ufffd', 'a\\ud83db': 'a\ufffdb', '\\ud83d\\ud83d\\ude00': '\ufffd😀', '\\ude00\\ud83d': '\ufffd\ufffd', '\\uD83D\\uDE00': '😀', '\\ud83d\\u0041': '\ufffdA', '\\ud83d\\n': '\ufffd\n', '\\udbff\\udfff': '\u{10ffff}'};
    for (const [escaped, text] of Object.entries(surrogates)) {
      it(`${escaped} is understood or replaced, never passed on broken`, async () => {
        for (const stream of [false, true]) {
          const answer = await one(`{"model":"${model}","stream":${stream},"messages":[{"role":"user","content":"${escaped}"}]}`);
          assert.equal(answer.status, 200, answer.text);
          assert.ok(!/\\ud[89ab]/i.test(answer.text.replace(/\\ud[89ab]..\\ud[c-f]../gi, '')), answer.text);
          assert.equal((stream ? checkStream(answer.text).content : contentOf(answer)).replace(/\ufffd+/g, '\ufffd'), text.replace(/\ufffd+/g, '\ufffd'));
        }
      });
    }

    it('\\u0000 and other controls come back as they were, or replaced', async () => {
      for (const stream of [false, true]) {
        const answer = await one(`{"model":"${model}","stream":${stream},"messages":[{"role":"user","content":"a\\u0000b\\u0001c\\u001fd\\u007fe\\u2028f"}]}`);
        assert.equal(answer.status, 200, answer.text);
        assert.doesNotMatch(answer.text, /[\0-\x09\x0b-\x1f]/);
        assert.match(stream ? checkStream(answer.text).content : contentOf(answer), /^a[\0\ufffd]b[\x01\ufffd]c[\x1f\ufffd]d[^]e[^]f$/u);
      }
    });

    it('such a model is not found, and its name comes back whole', async () => {
      for (const name of ['a\\u0000b', '\\ud83d', '\\"', '\\u001b[31m', '\\u2028', '<b>'.replace('<', '\\u003c'), '../..', 'x'.repeat(30000)]) {
        const answer = await one(`{"model":"${name}","messages":[{"role":"user","content":"x"}]}`);
        assert.equal(answer.status, 404);
        const {error} = JSON.parse(answer.text);
        assert.deepEqual([error.code, error.param, error.message.length < 1000], ['model_not_found', 'model', true]);
      }
    });

    it('any Content-Type is served or refused, never an accident', async () => {
      for (const type of ['application/json', 'application/json;charset=UTF-8', 'application/json; charset=latin1', 'text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', 'application/octet-stream', '', ';', '\xff', 'a'.repeat(5000)]) {
        await talk(async (client) => {
          await client.send(Buffer.from(head('POST /v1/chat/completions HTTP/1.1', [key, `Content-Type: ${type}`, `Content-Length: ${hello.length}`]) + hello, 'latin1'));
          assert.ok([200, 400, 415].includes((await client.answer()).status), type);
          await client.isUsable();
        });
      }
    });
  });
});
