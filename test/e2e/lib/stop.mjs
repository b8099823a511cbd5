// The end of what a test started.

/** Stops all of them in this order, also when one fails to (that is told once the others are stopped); what never started is passed over. */
export async function stopAll(...things) {
  const failures = [];
  for (const thing of things) {
    try {
      await thing?.stop();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length) throw failures[0];
}
