// Fifteen seconds of silence (clients.md S5, S21): the head and the role chunk go out, then comments, and what fails then is an event.
import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';
import {OpenAiSite} from '../sites/openai.mjs';
import {startGateway} from './lib/gateway.mjs';
import {chat, checkBrokenStream, checkStream, user} from './lib/http.mjs';

const chunk = (res, delta, finish_reason = null) => res.write(`data: ${JSON.stringify({id: 'x', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{index: 0, delta, finish_reason}]})}\n\n`);

describe('a silent site', {concurrency: true}, () => {
  let site, gateway;
  const waiting = new Map(); // the site's answers that have been begun, by what was asked
  before(async () => {
    site = await new OpenAiSite().start();
    gateway = await startGateway({sites: [
      {name: 's', adapter: 'openai', ...site.config({accounts: [{name: 'a', api_key: 'sk-upstream'}]})},
      {name: 'short', adapter: 'openai', max_concurrent: 1, queue_timeout: '16s', ...site.config({accounts: [{name: 'a', api_key: 'sk-upstream'}]})},
      {name: 'one', adapter: 'openai', max_concurrent: 1, ...site.config({accounts: [{name: 'a', api_key: 'sk-upstream'}]})}]});
    for (let i = 0; i < 9; i++) site.plans.push(function (r, res) {
      res.writeHead(200, {'content-type': 'text/event-stream'});
      res.flushHeaders();
      waiting.get(r.json.messages[0].content)(res);
    });
  });
  after(async () => {
    await gateway?.stop();
    await site?.stop();
  });
  /** Asks; `begin` gets the site's answer. Resolves with a reader of the stream: its pieces and when each came. */
  async function ask(what, {model = 's/m', body = {}} = {}) {
    let res;
    const begun = new Promise((resolve) => waiting.set(what, resolve)).then((r) => (res = r));
    const start = Date.now();
    const head = chat(gateway.base, {model, stream: true, ...user(what), ...body});
    return {begun, head, start, get res() { return res; }, async read(count) {
      this.reader ??= (await head).body.getReader();
      this.pieces ??= [];
      while (this.pieces.length < count) {
        const {value, done} = await this.reader.read();
        if (done) break;
        this.pieces.push({text: Buffer.from(value).toString(), ms: Date.now() - start});
      }
      return this.pieces[count - 1];
    }, async rest() {
      while (!(await this.reader.read().then(({value, done}) => (value && this.pieces.push({text: Buffer.from(value).toString(), ms: Date.now() - start}), done))));
      return this.pieces.map((p) => p.text).join('');
    }};
  }
  const about = (ms, wanted) => assert.ok(ms > wanted - 500 && ms < wanted + 4000, `${ms} ms instead of about ${wanted}`);

  it('before the first piece: head and role chunk, then comments, then the answer', async () => {
    const asked = await ask('nothing yet');
    const first = await asked.read(1);
    about(first.ms, 15000);
    assert.match(first.text, /"role":"assistant"/);
    const second = await asked.read(2);
    about(second.ms, 30000);
    assert.equal(second.text, ': keep-alive\n\n');
    chunk(asked.res, {content: 'at last'});
    chunk(asked.res, {}, 'stop');
    asked.res.end('data: [DONE]\n\n');
    assert.equal(checkStream(await asked.rest()).content, 'at last');
  });

  it('a failure then is an event, not a status', async () => {
    const asked = await ask('it fails');
    about((await asked.read(1)).ms, 15000);
    asked.res.end('data: {"error":{"message":"the model is gone"}}\n\n');
    const {content, error} = checkBrokenStream(await asked.rest());
    assert.deepEqual([(await asked.head).status, content, error.code], [200, '', 'upstream_failed']);
  });

  it('between two pieces: a comment', async () => {
    const asked = await ask('some words');
    await asked.begun;
    chunk(asked.res, {content: 'some'});
    assert.match((await asked.read(1)).text, /"content":"some"/);
    assert.equal((await asked.read(2)).text, ': keep-alive\n\n');
    about(asked.pieces[1].ms, 15000);
    chunk(asked.res, {content: ' words'});
    chunk(asked.res, {}, 'stop');
    asked.res.end('data: [DONE]\n\n');
    assert.equal(checkStream(await asked.rest()).content, 'some words');
  });

  it('in the queue for a busy account: comments, though nothing has begun', async () => {
    const busy = await ask('keeps it busy', {model: 'one/m'});
    await busy.begun;
    const queued = await ask('queued', {model: 'one/m'});
    const first = await queued.read(1);
    about(first.ms, 15000);
    chunk(busy.res, {content: 'x'});
    chunk(busy.res, {}, 'stop');
    busy.res.end('data: [DONE]\n\n');
    await busy.read(1);
    await busy.rest();
    await queued.begun;
    chunk(queued.res, {content: 'my turn'});
    chunk(queued.res, {}, 'stop');
    queued.res.end('data: [DONE]\n\n');
    assert.equal(checkStream(await queued.rest()).content, 'my turn');
  });

  it('too long in the queue, after a comment: an event says so', async () => {
    const busy = await ask('keeps it busy for long', {model: 'short/m'});
    await busy.begun;
    const queued = await ask('in vain', {model: 'short/m'});
    assert.equal((await queued.read(1)).text, ': queued 1\n\n');
    const {content, error} = checkBrokenStream(await queued.rest());
    assert.equal(content, '');
    assert.equal(error.code, 'overloaded');
    chunk(busy.res, {content: 'x'});
    chunk(busy.res, {}, 'stop');
    busy.res.end('data: [DONE]\n\n');
    assert.equal(checkStream((await (await busy.head).text())).content, 'x');
  });

  it('a whole answer waits without a word', async () => {
    const asked = await ask('whole', {body: {stream: false}});
    const res = await asked.begun;
    let head = null;
    asked.head.then((r) => (head = r));
    await new Promise((resolve) => setTimeout(resolve, 17000)); // what is tested is that nothing comes
    assert.equal(head, null);
    res.end('data: {"choices":[{"index":0,"message":{"role":"assistant","content":"slow"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n');
    assert.equal((await (await asked.head).json()).choices[0].message.content, 'slow');
  });
});
