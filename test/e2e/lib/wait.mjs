/** Waits until one of the [emitter, event] pairs happens, or until `ms` have passed. Leaves no listener behind. */
export function anyOf(ms, ...pairs) {
  return new Promise((resolve) => {
    const finish = () => {
      clearTimeout(timer);
      for (const [emitter, event] of pairs) emitter.off(event, finish);
      resolve();
    };
    const timer = setTimeout(finish, ms);
    for (const [emitter, event] of pairs) emitter.on(event, finish);
  });
}
