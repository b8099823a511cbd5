// Loaded into SillyTavern before its own code: whoever wants to reach anything but this machine is named on standard error and
// refused (a first visit asks AI Horde for its state, and lives without an answer).
import net from 'node:net';

const here = /^(127(\.\d+){3}|::1|localhost)$/;
const connect = net.Socket.prototype.connect;

net.Socket.prototype.connect = function (...args) {
  const [first] = Array.isArray(args[0]) ? args[0] : args;
  const {path, host = 'localhost'} = typeof first === 'object' ? first : {host: args[1]};
  if (path || here.test(host)) return connect.apply(this, args);
  process.stderr.write(`OUTSIDE CONNECTION to ${host}\n`);
  process.nextTick(() => this.destroy(new Error(`no connection to ${host}: tests stay on this machine`)));
  return this;
};
