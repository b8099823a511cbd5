// Twenty seconds of the soak; `make soak` runs it for as long as you like.
import assert from 'node:assert/strict';
import {describe, it} from 'node:test';
import {seedOf} from '../faults/random.mjs';
import {soak} from '../faults/soak.mjs';

describe('the soak', {timeout: 180000}, () => {
  it('20 seconds: every answer is right, nothing grows, nothing leaks', async () => {
    const seed = seedOf(process.env.SOAK_SEED);
    console.log(`      SOAK_SEED=${seed}`);
    const {problems, serial, gateway} = await soak({seed, seconds: 20, workers: 8});
    assert.deepEqual(problems, [], `SOAK_SEED=${seed}; the log's last lines:\n${gateway?.stderr.slice(-3000)}`);
    console.log(`      ${serial} requests`);
  });
});
