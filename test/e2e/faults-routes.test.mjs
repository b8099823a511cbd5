// What is passed on as it is, and breaks on its way: what came before is passed on, and the client can see that it is not all.
import assert from 'node:assert/strict';
import {once} from 'node:events';
import http from 'node:http';
import {after, before, describe, it} from 'node:test';
import {listen, unlisten} from '../sites/listener.mjs';
import {within} from '../sites/site.mjs';
import {Companion, PIECES, TEXT} from '../faults/behind.mjs';
import {Relay, places} from '../faults/relay.mjs';
import {startGateway} from './lib/gateway.mjs';
import {stopAll} from './lib/stop.mjs';

describe('a route whose upstream breaks', {timeout: 60000}, () => {
  const upstream = {sockets: new Set(), connections: 0, asked: 0};
  let gateway, companion, relay, words = 0;
  before(async () => {
    upstream.server = http.createServer(async (req, res) => {
      res.on('error', () => {});
      req.on('error', () => {}).resume();
      await once(req, 'end').catch(() => {});
      upstream.asked++;
      if (/long/.test(req.url)) res.setHeader('content-length', TEXT.length);
      for (const piece of PIECES.slice(0, -1)) {
        res.write(piece);
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
      res.end(PIECES.at(-1));
    });
    await listen(upstream.server, upstream);
    relay = await new Relay(upstream).start();
    companion = await new Companion().prepare();
    const route = {upstream: `http://127.0.0.1:${relay.port}`, key: 'sk-route-0123456789', connect_timeout: '10s'};
    gateway = await startGateway({sites: [companion.entry], routes: [{prefix: '/pass', ...route}, {prefix: '/hasty', ...route, first_byte_timeout: '1s', idle_timeout: '1s'}]});
    await companion.accompany(gateway);
  });
  after(() => stopAll(companion, gateway, relay, {stop: () => upstream.server && unlisten(upstream.server, upstream)}));

  /** {status, text, cut}: what came, and whether the client was told that there should be more. */
  const get = async (path, prefix = '/pass') => {
    const response = await within(8000, fetch(`${gateway.origin}${prefix}${path}`), 'a head');
    let text = '', cut = false;
    try {
      for await (const bytes of response.body) text += Buffer.from(bytes).toString();
    } catch {
      cut = true;
    }
    return {status: response.status, text, cut};
  };
  const well = async () => assert.deepEqual(await get('/well'), {status: 200, text: TEXT, cut: false});
  const strike = async (name, {place, want, act, path = ''}) => {
    const word = `word-${++words}-`, {struck} = relay.next({when: new RegExp(word), place, act});
    const got = await get(`/${word}${path}`, act === 'stall' ? '/hasty' : '/pass'), link = await within(3000, struck, `the fault; but ${JSON.stringify(got)}`);
    const {status, text = null, cut = false} = typeof want === 'function' ? want(link, act) : want;
    assert.deepEqual([got.status, got.cut], [status, cut], `${act} ${name}: ${JSON.stringify(got)}`);
    if (text !== null) assert.equal(got.text, text, `${act} ${name}`);
    else if (status !== 200) assert.equal(typeof JSON.parse(got.text).error.code, 'string');
    await gateway.logged(new RegExp(`path=/(pass|hasty)/${word}${path} .* end=${status !== 200 ? 'failed' : cut ? 'cut' : 'complete'} `));
  };
  const lost = (link, act) => ({status: act === 'stall' ? 504 : 502});
  const half = {status: 200, text: PIECES[0], cut: true}, whole = {status: 200, text: TEXT};
  const cases = {
    'before the head': {place: places.atOnce, want: (link, act) => (act !== 'stall' && link.answers > 1 ? whole : lost(link, act))},
    'in the head': {place: places.inHead, want: lost},
    'behind the head': {place: places.afterHead, want: {status: 200, text: '', cut: true}},
    'between two chunks': {place: places.behindChunk(1), want: half},
    'inside a chunk': {place: places.insideChunk(2), want: {status: 200, text: PIECES[0] + PIECES[1].slice(0, PIECES[1].length >> 1), cut: true}},
    'before the end of the body': {place: places.beforeEnd, want: {status: 200, text: TEXT, cut: true}},
    'behind the last byte': {place: places.afterEnd, want: whole},
    'in a body with a length': {path: 'long', place: places.midBody, want: {status: 200, text: TEXT.slice(0, TEXT.length >> 1), cut: true}},
  };

  for (const act of ['reset', 'fin', 'half']) {
    it(`${act}, at every place`, async () => {
      for (const [name, c] of Object.entries(cases)) {
        await strike(name, {...c, act});
        await well();
      }
    });
  }

  it('stands still, at every place: all at the same time', async () => {
    const results = await Promise.allSettled(Object.entries(cases).filter(([name]) => name !== 'behind the last byte').map(([name, c]) => strike(name, {...c, act: 'stall'})));
    for (const {reason} of results) assert.ifError(reason);
    await well();
  });

  it('comes byte by byte', async () => {
    relay.next({when: /drip/, act: 'drip'});
    assert.deepEqual(await get('/drip'), {status: 200, text: TEXT, cut: false});
  });
});
