// The other side breaks: clients that vanish, stand still, come byte by byte or end half of their connection, with HTTP and HTTPS. What
// the gateway owes then is to the site (which is left at once), to its other clients, and to itself.
import assert from 'node:assert/strict';
import {writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {after, before, describe, it} from 'node:test';
import {certificates} from '../sites/certs.mjs';
import {within} from '../sites/site.mjs';
import {Companion, TEXT, startBehind} from '../faults/behind.mjs';
import {Relay, places} from '../faults/relay.mjs';
import {answerPiece, descriptors} from './lib/clients.mjs';
import {startGateway} from './lib/gateway.mjs';
import {checkStream, user} from './lib/http.mjs';
import {RawClient, get, post} from './lib/raw.mjs';
import {stopAll} from './lib/stop.mjs';

const HELLO = /^\x16\x03/;

for (const secure of [false, true]) {
  describe(`clients over ${secure ? 'HTTPS' : 'HTTP'}`, {timeout: 60000}, () => {
    const REQUEST = secure ? /^\x17\x03\x03/ : /^P/; // not within a ClientHello, whose length and version may look like it
    let gateway, behind, companion, relay;
    const endless = function (r, res) { // an answer that never ends by itself
      this.sseHead(res);
      const timer = setInterval(() => this.event(res, answerPiece({content: 'more '})), 5);
      res.on('close', () => clearInterval(timer));
    };
    before(async () => {
      companion = await new Companion().prepare();
      behind = await startBehind('openai');
      const {good, ca} = certificates();
      const directory = join(ca, '..');
      writeFileSync(join(directory, 'listener.key'), good.key, {mode: 0o600});
      writeFileSync(join(directory, 'listener.pem'), good.cert, {mode: 0o600});
      gateway = await startGateway({
        server: {listen: ['127.0.0.1:0'], ...(secure ? {tls_cert: join(directory, 'listener.pem'), tls_key: join(directory, 'listener.key')} : {})},
        sites: [companion.entry, {...behind.entry, max_concurrent: 100}]});
      relay = await new Relay(gateway, {gateway: 'far'}).start();
      // The companion is a client as all are, but for the relay.
      if (!secure) await companion.accompany(gateway);
    });
    after(() => stopAll(companion, relay, gateway, behind));
    const open = (port = relay.port) => RawClient.open(port, {secure});
    const body = (word, stream = true) => ({model: behind.model, stream, ...user(`Say ${word}.`)});
    const well = async () => {
      const client = await open(gateway.port);
      await client.send(post(body('it')));
      assert.equal(checkStream((await client.answer()).text).content, TEXT);
      client.close();
    };
    const calm = async () => {
      for (let end = Date.now() + 5000; ;) {
        const client = await open(gateway.port);
        await client.send(get('/health'));
        const n = JSON.parse((await client.answer()).text).active;
        client.close();
        if (n <= (secure ? 0 : 1)) return;
        assert.ok(Date.now() < end, `${n} requests are still under way`);
      }
    };

    it('leave in the middle of a request: it never reaches the site', async () => {
      const before = behind.site.requests.length;
      for (const act of ['reset', 'fin']) {
        for (const at of secure ? [40, 200] : [3, 60, 160]) { // inside a record; in the line, the head, the body
          const {struck, left} = relay.next({when: REQUEST, way: 'up', place: places.byte(at), act});
          const client = await open();
          await client.send(post(body('never')));
          await within(3000, struck, 'the fault');
          await within(3000, left, 'the end of the connection');
          client.close();
        }
      }
      await calm();
      assert.equal(behind.site.requests.slice(before).filter((r) => r.json).length, 0);
      await well();
    });

    for (const act of ['reset', 'fin']) {
      it(`leave in the middle of an answer (${act}): the site is left at once`, async () => {
        for (const event of [1, 5]) {
          const from = behind.site.requests.length;
          behind.site.plans = {length: 0, shift: () => endless};
          const {struck} = relay.next({when: REQUEST, place: secure ? places.tlsRecord(event + 1, {type: 23}) : places.behindChunk(event), act});
          const client = await open();
          await client.send(post(body('endless')));
          await within(5000, struck, 'the fault');
          const left = Date.now(), closed = await within(5000, behind.site.requests[from].aborted, "the end of the site's request");
          assert.ok(closed - left < 1500, `${closed - left} ms later`);
          client.close();
        }
        behind.site.plans = {length: 0, shift: () => behind.spoken};
        await calm();
        await well();
      });
    }

    it('a request byte by byte, and an answer byte by byte', async () => {
      for (const way of ['up', 'down']) {
        relay.next({when: secure ? HELLO : /^P/, way, act: 'drip'});
        const client = await open();
        await client.send(post(body('it')));
        assert.equal(checkStream((await client.answer()).text).content, TEXT);
        client.close();
      }
    });

    if (secure) {
      it('a handshake that ends anywhere ends the connection, and leaves nothing behind', async () => {
        await calm();
        const files = descriptors(gateway);
        for (const act of ['reset', 'fin']) {
          for (const [way, n, inside] of [['up', 1, 3], ['up', 1, 40], ['up', 1], ['down', 1], ['up', 2, 2], ['up', 2], ['up', 3]]) {
            const {struck, left} = relay.next({when: HELLO, way, place: places.tlsRecord(n, {inside}), act});
            await Promise.allSettled([open().then((client) => client.close()), within(3000, struck, 'the fault')]);
            await within(3000, left, `the end of the connection: ${act} at record ${n} ${way}`);
          }
        }
        await well();
        assert.ok(descriptors(gateway) <= files + 2, `${descriptors(gateway)} descriptors, ${files} before`);
      });

      it('a record with a wrong bit ends the connection; its request is not answered', async () => {
        const {struck, left} = relay.next({when: REQUEST, way: 'up', place: places.byte(30), act: 'flip'});
        const client = await open();
        await client.send(post(body('never')));
        await within(3000, struck, 'the fault');
        await within(3000, left, 'the end of the connection');
        client.close();
        await well();
      });
    }
  });
}
