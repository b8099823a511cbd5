// What every server of the stand-ins has: a port that the kernel chose, a count of connections, and an end that waits for nobody.
import {once} from 'node:events';

/** Starts it; `owner.sockets` (a Set) and `owner.connections` follow its connections, `owner.port` is where. */
export async function listen(server, owner) {
  server.keepAliveTimeout = 60000;
  server.on('connection', (socket) => {
    owner.connections++;
    owner.sockets.add(socket);
    socket.on('close', () => owner.sockets.delete(socket));
    socket.on('error', () => {});
    socket.setNoDelay(true);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  owner.port = server.address().port;
}

export async function unlisten(server, owner) {
  const closed = once(server, 'close');
  server.close();
  for (const socket of owner.sockets) socket.destroy();
  await closed;
}
