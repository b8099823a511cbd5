// Opens N streams at once and reads them to the end: prints the delay of each chunk (from the upstream's stamp) as percentiles, and what went wrong.
// usage: node paced-client.mjs BASE_URL STREAMS CHUNKS GAP_MS MODEL
import http from 'node:http';
import https from 'node:https';

const [base, streams, chunks, gap, model] = process.argv.slice(2);
const now = () => Number(process.hrtime.bigint() / 1000n);
const delays = [];
let broken = 0;
const wire = base.startsWith('https:') ? https : http;
const agent = new wire.Agent({maxSockets: Infinity});
const url = new URL(`${base}/chat/completions`);

function one() {
  return new Promise((resolve) => {
    let got = 0, done = false, tail = '';
    const req = wire.request(url, {method: 'POST', agent, headers: {'content-type': 'application/json'}}, (res) => {
      res.on('data', (piece) => {
        const at = now();
        tail += piece;
        const lines = tail.split('\n');
        tail = lines.pop();
        for (const line of lines) {
          const stamp = line.match(/"content":"(\d+) "/);
          if (stamp) {
            got++;
            delays.push(at - Number(stamp[1]));
          }
          done ||= line === 'data: [DONE]';
        }
      });
      res.on('end', () => {
        if (got !== Number(chunks) || !done) broken++;
        resolve();
      });
    });
    req.on('error', () => {
      broken++;
      resolve();
    });
    req.end(JSON.stringify({model, stream: true, messages: [{role: 'user', content: `${chunks} ${gap}`}]}));
  });
}

await Promise.all(Array.from({length: Number(streams)}, one));
delays.sort((a, b) => a - b);
const at = (share) => delays[Math.min(delays.length - 1, Math.floor(delays.length * share))];
console.log(JSON.stringify({chunks: delays.length, broken, p50: at(0.5), p90: at(0.9), p99: at(0.99), max: delays.at(-1)}));
agent.destroy();
