// `getWorkers()` of Bull and BullMQ finds all workers of a queue, on any thread of the proxy:
// `node workers.mjs PORT`.
import assert from 'node:assert/strict';
import Bull from 'bull';
import {Queue, Worker} from 'bullmq';

const port = Number(process.argv[2]);
const connection = {host: '127.0.0.1', port};
const COUNT = 6;
const range = (n) => Array.from({length: n}, (_, i) => i);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Workers name their connection after they are ready.
async function finds(what, getWorkers, wanted) {
  let found = [];
  for (let round = 0; round < 100; round += 1) {
    found = await getWorkers();
    if (found.length === wanted) break;
    await sleep(50);
  }
  assert.equal(found.length, wanted, `${what}: ${JSON.stringify(found)}`);
  assert.equal(new Set(found.map((worker) => worker.id)).size, wanted, `${what}: ids`);
  return found;
}

async function bullmq() {
  const queue = new Queue('paint', {connection});
  const other = new Queue('cars', {connection});
  const done = [];
  const make = (i) => new Worker('paint', async (job) => done.push(job.data.n), {connection, name: `w${i}`});
  const workers = range(COUNT).map(make);
  await Promise.all(workers.map((worker) => worker.waitUntilReady()));
  const found = await finds('bullmq', () => queue.getWorkers(), COUNT);
  assert.deepEqual(found.map((worker) => worker.rawname.split(':').at(-1)).sort(), range(COUNT).map((i) => `w${i}`));
  assert.equal(await queue.getWorkersCount(), COUNT);
  assert.equal((await other.getWorkers()).length, 0);
  await queue.addBulk(range(20).map((n) => ({name: 'job', data: {n}})));
  for (let round = 0; done.length < 20 && round < 200; round += 1) await sleep(25);
  assert.deepEqual(done.toSorted((a, b) => a - b), range(20));
  await workers[0].close();
  await finds('bullmq after one left', () => queue.getWorkers(), COUNT - 1);
  await Promise.all(workers.slice(1).map((worker) => worker.close()));
  await Promise.all([queue.close(), other.close()]);
}

async function bull() {
  const make = () => new Bull('video', {redis: connection});
  const asker = make();
  const workers = range(COUNT).map(make);
  const done = [];
  for (const worker of workers) worker.process(async (job) => { done.push(job.data.n); });
  await Promise.all(workers.map((worker) => worker.isReady()));
  await finds('bull', () => asker.getWorkers(), COUNT);
  await Promise.all(range(20).map((n) => asker.add({n})));
  for (let round = 0; done.length < 20 && round < 200; round += 1) await sleep(25);
  assert.deepEqual(done.toSorted((a, b) => a - b), range(20));
  await Promise.all(workers.map((worker) => worker.close()));
  await finds('bull after all left', () => asker.getWorkers(), 0);
  await asker.close();
}

await bullmq();
await bull();
console.log(`port ${port}: Bull and BullMQ find their workers`);
process.exit(0);
