// What the network does to an answer, at every place of it: what the client has of it then, that others do not notice, what the
// log says, and that the next request is answered as if nothing had been.
import assert from 'node:assert/strict';
import {after, before, describe, it} from 'node:test';
import {Companion, PIECES, TEXT, ask, asks, outcome, startBehind} from '../faults/behind.mjs';
import {within} from '../sites/site.mjs';
import {places} from '../faults/relay.mjs';
import {startGateway} from './lib/gateway.mjs';
import {stopAll} from './lib/stop.mjs';

const QUICK = {connect_timeout: '2s', first_byte_timeout: '2s', idle_timeout: '2s', max_concurrent: 40};
const WHOLE = {status: 200, content: TEXT, end: 'whole'};
const failed = (status, code) => ({status, content: '', end: 'error', code: `upstream_${code}`});
let words = 0;

/** The places of an answer, and what is left of it when it goes no further. `lost`: the failure, `late`: where it just stands still. */
function placesOf({firstPiece, kind}, stream) {
  const early = {
    // Asked again where the connection had served before: the site may have ended it meanwhile.
    'before the head': {place: places.atOnce, lost: (link) => (link.answers > 1 ? WHOLE : failed(502, 'unreachable')), late: failed(504, 'timeout')},
    'in the head': {place: places.inHead, lost: failed(502, 'unreachable'), late: failed(504, 'timeout')},
    'behind the head': {place: places.afterHead, lost: failed(502, 'cut'), late: failed(504, 'timeout')},
  };
  if (kind === 'openai' && !stream) { // its whole answer has a length, and no chunks
    return {...early, 'in the body': {place: places.midBody, lost: failed(502, 'cut'), late: failed(504, 'timeout')}};
  }
  const half = (code) => (stream ? {status: 200, end: 'marked'} : {status: code === 'timeout' ? 504 : 502, end: 'error'});
  const cut = {lost: {...half('cut'), content: PIECES[0], code: 'upstream_cut'}, late: {...half('timeout'), content: PIECES[0], code: 'upstream_timeout'}};
  return {
    ...early,
    'between two events': {place: places.behindChunk(firstPiece), ...cut},
    'inside an event': {place: places.insideChunk(firstPiece + 1), ...cut},
    'before the end of the body': {place: places.beforeEnd, lost: WHOLE, late: WHOLE},
    'behind the last byte': {place: places.afterEnd, lost: WHOLE, late: WHOLE},
  };
}

/** One request with one fault; what came must be `want`, and the log must say so. */
async function strike(gateway, behind, {place, act, stream, want}) {
  const word = `word-${++words}-`, fault = behind.relay.next({when: asks(word), place, act});
  const {id, ...got} = await outcome(ask(gateway, behind, {stream, word}));
  const link = await within(5000, fault.struck, `the fault; but ${JSON.stringify(got)}`);
  if (typeof want === 'function') want = want(link);
  assert.deepEqual(got, want);
  const end = got.end === 'whole' ? 'complete' : got.content ? 'cut' : 'failed', error = want.code?.replace('upstream_', '');
  await gateway.logged(new RegExp(`id=${id} .* status=${want.status} end=${end} ${error ? `error=${error} ` : ''}`));
}

describe('an answer that is broken on its way', {concurrency: true, timeout: 60000}, () => {
  for (const kind of ['openai', 'zai', 'kimi']) {
    describe(`from ${kind}`, {concurrency: false}, () => {
      let gateway, companion, behind, hasty; // hasty: the same site, by a gateway that soon gives up
      const well = async () => assert.deepEqual((({id, ...got}) => got)(await outcome(ask(gateway, behind))), WHOLE);
      before(async () => {
        companion = await new Companion().prepare();
        behind = await startBehind(kind);
        gateway = await startGateway({sites: [companion.entry, behind.entry, {...behind.entry, ...QUICK, name: 'hasty'}]});
        hasty = {...behind, model: behind.model.replace(kind, 'hasty')};
        await companion.accompany(gateway);
        await well();
      });
      after(async () => {
        await stopAll(companion, gateway, behind);
        assert.deepEqual(behind.site.violations, []);
      });

      for (const act of ['reset', 'fin', 'half', 'drip']) {
        it(`${act}, at every place, streamed and whole`, async () => {
          for (const stream of [true, false]) {
            for (const [name, {place, lost}] of Object.entries(placesOf(behind, stream))) {
              if (act === 'drip' && !/^before the head|^inside/.test(name)) continue; // they hold all the others
              try {
                await strike(gateway, behind, {place, act, stream, want: act === 'drip' ? WHOLE : lost});
                await well();
              } catch (error) {
                error.message = `${act} ${name}, ${stream ? 'streamed' : 'whole'}: ${error.message}`;
                throw error;
              }
            }
          }
        });
      }

      it('stands still, at every place, streamed and whole: all at the same time', async () => {
        const cases = [true, false].flatMap((stream) => Object.entries(placesOf(behind, stream)).map(([name, {place, late}]) => ({name, stream, place, want: late})));
        const results = await Promise.allSettled(cases.map((c) => strike(gateway, hasty, {...c, act: 'stall'})));
        behind.relay.sever(); // those that finished in time would be used again, and stand still
        results.forEach(({reason}, i) => assert.ifError(reason && new Error(`stall ${cases[i].name}, ${cases[i].stream ? 'streamed' : 'whole'}: ${reason.message}`)));
        await well();
      });

      it('a fresh connection is reset, closed or silent before it has served anything', async () => {
        for (const [act, want] of [['reset', failed(502, 'unreachable')], ['fin', failed(502, 'unreachable')], ['stall', failed(504, 'timeout')]]) {
          behind.relay.sever();
          behind.relay.next({when: 'connect', act});
          const {id, ...got} = await outcome(ask(gateway, act === 'stall' ? hasty : behind));
          assert.deepEqual(got, want, act);
          await well();
        }
      });

      it('a request that was sent once more is not sent a third time', async () => {
        const word = `word-${++words}-`;
        for (let i = 0; i < 3; i++) behind.relay.next({when: asks(word), act: 'reset'});
        const {id, ...got} = await outcome(ask(gateway, behind, {word}));
        assert.deepEqual(got, failed(502, 'unreachable'));
        assert.ok(behind.relay.faults.length > 0);
        behind.relay.faults.length = 0;
        await well();
      });
    });
  }
});
