// TLS that breaks: handshakes that die after each flight, records that are cut or changed; directly and through proxies, whose own
// handshakes die as well.
import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';
import {within} from '../sites/site.mjs';
import {Proxy} from '../sites/proxy.mjs';
import {Companion, TEXT, ask, asks, outcome, startBehind} from '../faults/behind.mjs';
import {places} from '../faults/relay.mjs';
import {startGateway} from './lib/gateway.mjs';

const QUICK = {connect_timeout: '1200ms', first_byte_timeout: '1200ms', idle_timeout: '1200ms', max_concurrent: 40};
const HANDSHAKE = /^\x16\x03/, REQUEST = /\x17\x03\x03/; // of TLS 1.2: behind a handshake that was resumed, it comes with its end

async function setUp({via, scheme} = {}) {
  const companion = await new Companion().prepare();
  const behind = await startBehind('openai', {tls: true, via, models: ['gpt-test']});
  if (via) via.target.port = behind.site.port;
  if (via) behind.entry.proxy = `${scheme}://127.0.0.1:${behind.relay.port}`;
  const gateway = await startGateway({sites: [companion.entry, behind.entry, {...behind.entry, ...QUICK, name: 'hasty'}]});
  await companion.accompany(gateway);
  const hasty = {...behind, model: 'hasty/gpt-test'};
  const well = async () => assert.deepEqual((({status, content, end}) => [status, content, end])(await outcome(ask(gateway, behind))), [200, TEXT, 'whole']);
  await well();
  return {
    companion, behind, hasty, gateway, well,
    /** One request over a fresh connection, whose fault must strike. */
    async freshly(fault) {
      behind.relay.sever();
      const {struck} = behind.relay.next(fault);
      const got = await outcome(ask(gateway, fault.act === 'stall' ? hasty : behind));
      await within(2000, struck, `the fault; but ${JSON.stringify(got)}`);
      return got;
    },
    async stop() {
      try {
        await companion.stop();
      } finally {
        await gateway.stop();
        await behind.stop();
      }
      assert.deepEqual(behind.site.violations, []);
    },
  };
}

const dead = (act) => (act === 'stall' ? [504, 'upstream_timeout'] : [502, 'upstream_unreachable']);

describe('TLS that breaks on its way', {concurrency: true, timeout: 60000}, () => {
  describe('directly', {concurrency: false}, () => {
    let t;
    before(async () => (t = await setUp()));
    after(() => t?.stop());

    // What we send ('up'): ClientHello; key exchange, change of cipher, Finished. What the site sends: its hello and all behind it; its Finished.
    const flights = [['up', 1, 0], ['up', 1, 3], ['up', 1, 60], ['up', 1], ['down', 1, 3], ['down', 1, 20], ['down', 1], ['up', 2, 7], ['up', 2], ['up', 3], ['down', 2, 1], ['down', 2]];
    for (const act of ['reset', 'fin', 'stall']) {
      it(`a handshake that ends by ${act}, after each flight and inside it`, async () => {
        for (const [way, n, inside] of act === 'stall' ? flights.filter((_, i) => i % 4 === 2) : flights) { // a stall takes its time
          const {status, code} = await t.freshly({when: HANDSHAKE, way, place: places.tlsRecord(n, {inside}), act});
          assert.deepEqual([status, code], dead(act), `record ${n} ${way}, byte ${inside}`);
        }
        await t.well();
      });
    }

    it('a handshake byte by byte is a good one', async () => {
      for (const way of ['down', 'up']) {
        const got = await t.freshly({when: HANDSHAKE, way, place: places.atOnce, act: 'drip'});
        assert.deepEqual([got.content, got.end], [TEXT, 'whole']);
      }
    });

    it('a handshake with a wrong bit', async () => {
      for (const [way, n, inside] of [['down', 1, 30], ['down', 1, 5], ['up', 2, 9]]) {
        const {status, code} = await t.freshly({when: HANDSHAKE, way, place: places.tlsRecord(n, {inside}), act: 'flip'});
        assert.deepEqual([status, code], dead('flip'), `record ${n} ${way}`);
      }
      await t.well();
    });

    for (const act of ['reset', 'fin', 'flip', 'stall']) {
      it(`an answer's records: ${act} between them and inside them`, async () => {
        for (const stream of [true, false]) {
          for (const inside of act === 'stall' ? [20] : stream ? [undefined, 3, 20] : [3, 20]) {
            if (inside === undefined && act === 'flip') continue;
            const record = stream ? 3 : 1; // the head is the first; what is whole may be one alone
            const {struck} = t.behind.relay.next({when: REQUEST, place: places.tlsRecord(record, {inside, type: 23}), act});
            const got = await outcome(ask(t.gateway, act === 'stall' ? t.hasty : t.behind, {stream}));
            await within(2000, struck, `the fault; but ${JSON.stringify(got)}`);
            assert.ok(TEXT.startsWith(got.content) && got.content !== TEXT, got.content);
            if (stream && got.end === 'marked') assert.equal(got.code, act === 'stall' ? 'upstream_timeout' : 'upstream_cut');
            else assert.ok(got.end === 'error' && got.status >= 502 && got.status <= 504, JSON.stringify(got));
            if (stream) assert.ok(got.content.length > 0, 'what came before is there');
          }
        }
        await t.well();
      });
    }
  });

  for (const [kind, scheme, first] of [['http', 'http', /^CONNECT/], ['socks', 'socks5h', /^\x05/]]) {
    describe(`through a ${scheme} proxy`, {concurrency: false}, () => {
      let t, proxy;
      before(async () => {
        proxy = await new Proxy(kind, {}).start();
        t = await setUp({via: proxy, scheme});
      });
      after(async () => {
        await t?.stop();
        await proxy?.stop();
      });

      for (const act of ['reset', 'fin', 'stall']) {
        it(`${act} before, in and behind the proxy's words, and in the handshake behind them`, async () => {
          const all = [{when: first}, {when: first, place: places.byte(1)}, {when: HANDSHAKE}, {when: 'connect'}, {when: HANDSHAKE, place: places.tlsRecord(1)}];
          for (const fault of act === 'stall' ? all.slice(0, 3) : all) {
            const {status, code} = await t.freshly({...fault, act});
            assert.deepEqual([status, code], dead(act), `${fault.when} ${fault.place}`);
          }
          await t.well();
        });
      }

      it('an answer that breaks off', async () => {
        for (const act of ['reset', 'fin']) {
          const {struck} = t.behind.relay.next({when: REQUEST, place: places.tlsRecord(3, {inside: 9, type: 23}), act});
          const got = await outcome(ask(t.gateway, t.behind));
          await within(2000, struck, `the fault; but ${JSON.stringify(got)}`);
          assert.deepEqual([got.end, got.code], ['marked', 'upstream_cut']);
          assert.ok(TEXT.startsWith(got.content) && got.content !== TEXT);
        }
        await t.well();
      });

      it('byte by byte', async () => {
        const got = await t.freshly({when: first, act: 'drip'});
        assert.deepEqual([got.content, got.end], [TEXT, 'whole']);
      });
    });
  }
});
